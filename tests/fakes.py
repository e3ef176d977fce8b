"""Fake links for the tests of ports and drivers: the test plays the instrument."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable, Sequence
from urllib.parse import SplitResult

from labioc.drivers.core import Lines
from labioc.drivers.core.errors import LabiocError
from labioc.drivers.core.framing import Framer
from labioc.drivers.core.port import LinkState, Port
from labioc.drivers.core.protocol import Part
from labioc.drivers.core.wire import Wire

HANG = 20.0  # a guard against hanging, no expectation of time
IDENTITY = "FAKE,1"
PROTOCOL = Lines(eol="\n", timeout=0.1, identify=("ID?", "FAKE,"), join=";", variants={"card": "CARD"})

Answer = Callable[[str], str | Sequence[str] | Exception | None]


class FakeLink:
    """An exchanger of messages; ``answer`` says what comes back at once for each."""

    def __init__(self, answer: Answer) -> None:
        self.answer = answer
        self.sent: list[str] = []
        self._came: asyncio.Queue[bytes | Exception] = asyncio.Queue()
        self._news = asyncio.Event()
        self._lost = asyncio.Event()
        self._identity = IDENTITY

    def say(self, *messages: str | Exception) -> None:
        """Let messages come."""
        for message in messages:
            self._came.put_nowait(message.encode() if isinstance(message, str) else message)

    def lose(self) -> None:
        """Cut the connection."""
        self._lost.set()

    async def asked(self, text: str, times: int = 1) -> None:
        """Wait until a message was sent so many times."""
        async with asyncio.timeout(HANG):
            while self.sent.count(text) < times:
                self._news.clear()
                await self._news.wait()

    async def send(self, message: bytes) -> None:
        text = message.decode().removesuffix("\n")
        if text == "ID?;ID?":
            # asked at each connect, whether it takes two questions in one line
            self.say(f"{self._identity};{self._identity}")
            return
        self.sent.append(text)
        self._news.set()
        reply = self.answer(text)
        if text == "ID?" and isinstance(reply, str):
            self._identity = reply
        if reply is not None:
            self.say(*([reply] if isinstance(reply, str | Exception) else reply))

    async def receive(self, timeout: float) -> bytes:
        async with asyncio.timeout(timeout):
            message = await self._came.get()
        if isinstance(message, Exception):
            raise message
        return message

    def resynchronise(self) -> int:
        size = self._came.qsize()
        while not self._came.empty():
            self._came.get_nowait()
        return size

    async def wait_lost(self) -> None:
        await self._lost.wait()

    async def close(self) -> None:
        self._lost.set()


def identify(text: str) -> str | None:
    """Answer the question for the identity and nothing else."""
    return IDENTITY if text == "ID?" else None


def echo(text: str) -> str:
    """Answer each question by its own name: "A?" by "a"."""
    return ";".join(identify(part) or part.removesuffix("?").lower() for part in text.split(";"))


class FakeNetwork:
    """Where ports find their fake links.

    Attributes:
        answer: how the links answer; changed, it holds for the present link too.
        fault: what the next attempts to connect fail with, if not None.
        links: all the links that were opened.
    """

    def __init__(self) -> None:
        self._answer: Answer = echo
        self.fault: LabiocError | None = None
        self.links: list[FakeLink] = []
        self.attempts = 0
        self._news = asyncio.Event()

    @property
    def answer(self) -> Answer:
        return self._answer

    @answer.setter
    def answer(self, answer: Answer) -> None:
        self._answer = answer
        if self.links:
            self.link.answer = answer

    @property
    def link(self) -> FakeLink:
        """The latest link."""
        return self.links[-1]

    async def attempted(self, times: int) -> None:
        """Wait until a connection was tried so many times."""
        async with asyncio.timeout(HANG):
            while self.attempts < times:
                self._news.clear()
                await self._news.wait()

    async def open_link(self, parts: SplitResult, framer: Callable[[], Framer], wire: Wire) -> FakeLink:
        self.attempts += 1
        self._news.set()
        if self.fault is not None:
            raise self.fault
        self.links.append(FakeLink(self._answer))
        return self.link


class Asker:
    """A port and short words to use it with."""

    def __init__(self, port: Port) -> None:
        self.port = port
        self._states: asyncio.Queue[LinkState] = asyncio.Queue()
        port.on_change.append(lambda: self._states.put_nowait(port.state))

    async def ask(self, text: str, *more: str, urgent: bool = False) -> list[str]:
        """Exchange one or several questions."""
        requests = self.port.protocol.requests(*(Part(part, True) for part in (text, *more)))
        async with asyncio.timeout(HANG):
            return await self.port.exchange(requests, lambda: f"value of {text}", urgent=urgent)

    async def tell(self, text: str) -> None:
        """Send a command."""
        async with asyncio.timeout(HANG):
            await self.port.exchange(
                self.port.protocol.requests(Part(text, False)), lambda: f"value of {text}", urgent=True
            )

    async def until(self, state: LinkState) -> None:
        """Wait for the next change to a state, of those not waited for yet."""
        async with asyncio.timeout(HANG):
            while await self._states.get() is not state:
                pass


@contextlib.asynccontextmanager
async def started(
    protocol: Lines = PROTOCOL, *, url: str = "tcp://127.0.0.1:1", variant: str = "", name: str = "fake"
) -> AsyncIterator[Asker]:
    """A started port, after its first attempt to connect."""
    port = Port(url, protocol, name=name, variant=variant)
    asker = Asker(port)
    await port.start()
    try:
        async with asyncio.timeout(HANG):
            await port.first_attempt()
        yield asker
    finally:
        await port.close()
