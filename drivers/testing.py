"""A driver's test in the words of the manual: a transcript of what is sent and what is answered."""

from __future__ import annotations

import asyncio
import difflib
import itertools
import logging
from collections import deque
from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import asynccontextmanager
from typing import TypeVar
from urllib.parse import SplitResult

from .core.driver import Driver
from .core.errors import LinkDown
from .core.framing import Framer
from .core.protocol import Lines

D = TypeVar("D", bound=Driver)
Line = tuple[str, str | None]

_scripts: dict[str, _Script] = {}
_numbers = itertools.count(1)


@asynccontextmanager
async def transcript(
    driver: type[D], lines: Iterable[Line], *, identity: str = "", variant: str = ""
) -> AsyncIterator[D]:
    r"""Connect a driver to an instrument that answers by a transcript.

    What the port asks by itself, when it connects and when it has to get in step again, is answered by itself and
    does not stand in the transcript. All that is sent does, in its order, without the terminators::

        async with transcript(
            LakeShore336,
            [("RDGST? A;KRDG? A", "000;+77.350")],
            identity="LSCI,MODEL336,LSA23AB/#######,2.9",
        ) as controller:
            assert await controller.inputs["A"].temperature.read() == 77.35

    Args:
        driver: the driver's class.
        lines: what is sent, and what is answered; None is silence. A reply that the driver waits for in vain is a
            time-out at once, without the wait.
        identity: the answer to the protocol's question for it.
        variant: the variant of the instrument that the driver expects.

    Raises AssertionError, with both texts side by side, if something else was sent or a line was not used.
    """
    script = _Script(driver.protocol, list(lines), identity)
    key = f"{driver.__name__}-{next(_numbers)}"
    _scripts[key] = script
    try:
        async with driver.open(f"transcript://{key}", name=driver.__name__, variant=variant) as opened:
            yield opened
    except Exception as error:
        # what the driver made of the wrong answer is not the news
        if script.difference() and script.strayed:
            raise AssertionError(script.difference()) from error
        raise
    finally:
        del _scripts[key]
    if script.difference():
        raise AssertionError(script.difference())


async def open_transcript(
    parts: SplitResult, framer: Callable[[], Framer], wire: logging.Logger
) -> ScriptExchanger:
    """Open the link of a URL ``transcript://...``; for the entry point group ``labioc.links``."""
    if parts.netloc not in _scripts:
        raise LinkDown("there is no such transcript: this scheme is for tests")
    return ScriptExchanger(_scripts[parts.netloc])


class _Script:
    """What is to be said and what was said.

    Attributes:
        strayed: whether something was sent that is not in the transcript.
    """

    def __init__(self, protocol: Lines, lines: list[Line], identity: str) -> None:
        self._end = protocol.eol if protocol.send_eol is None else protocol.send_eol
        self._encoding = protocol.encoding
        self._lines = lines
        self._sent: list[str] = []
        self._fence = (protocol.identify[0], identity) if protocol.identify is not None else None
        self._greeting = deque([self._fence] if self._fence is not None else [])
        if self._fence is not None and protocol.join is not None:
            ask, join = self._fence[0], protocol.join
            self._greeting.append((f"{ask}{join}{ask}", f"{identity}{join}{identity}"))
        if protocol.confirm is not None:
            self._greeting.append((protocol.confirm[0], ""))
        self.strayed = False

    def reply_to(self, message: bytes) -> bytes | None:
        """Return the reply to a message, without terminator, or None for silence."""
        text = message.decode(self._encoding)
        text = text[: -len(self._end)] if text.endswith(self._end) else f"{text} without its terminator"
        if self._greeting and text == self._greeting[0][0]:
            return self._encoded(self._greeting.popleft()[1])
        expected: Line | None = None
        if not self.strayed and len(self._sent) < len(self._lines):
            expected = self._lines[len(self._sent)]
        if expected is not None and text == expected[0]:
            self._sent.append(text)
            return self._encoded(expected[1])
        if self._fence is not None and text == self._fence[0]:
            return self._encoded(self._fence[1])
        self._sent.append(text)
        self.strayed = True
        return None

    def difference(self) -> str:
        """Return what was sent beside what was to be sent, or "" if they are the same."""
        expected = [text for text, _ in self._lines]
        if self._sent == expected:
            return ""
        lines = difflib.ndiff(expected, self._sent)
        return "- in the transcript, + sent instead:\n" + "\n".join(line.rstrip("\n") for line in lines)

    def _encoded(self, reply: str | None) -> bytes | None:
        return None if reply is None else reply.encode(self._encoding)


class ScriptExchanger:
    """An exchanger that carries whole messages, without a byte stream."""

    def __init__(self, script: _Script) -> None:
        self._script = script
        self._replies: deque[bytes] = deque()
        self._closed = asyncio.Event()

    async def send(self, message: bytes) -> None:
        """Take one message."""
        reply = self._script.reply_to(message)
        if reply is not None:
            self._replies.append(reply)

    async def receive(self, timeout: float) -> bytes:
        """Return the reply. Raises TimeoutError at once if there is none: none will come."""
        await asyncio.sleep(0)
        if not self._replies:
            raise TimeoutError
        return self._replies.popleft()

    def resynchronise(self) -> int:
        """Forget the replies that nobody took."""
        size = sum(map(len, self._replies)) + len(self._replies)
        self._replies.clear()
        return size

    async def wait_lost(self) -> None:
        """Return when it is closed."""
        await self._closed.wait()

    async def close(self) -> None:
        """Close."""
        self._closed.set()
