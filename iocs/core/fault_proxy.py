"""A proxy before a real instrument, or anyone's simulator, that lets the line go wrong.

It serves a port of its own; each client there gets a link of its own to the instrument. Replies are cut out of the byte
stream by their terminator and pass through the same faults as a simulator's; bytes that no terminator ends
pass through after a second, untouched.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator

from labioc.drivers.core.errors import LinkDown, ReplyError, TruncatedReply
from labioc.drivers.core.exchanger import Exchanger
from labioc.drivers.core.framing import MAX_MESSAGE, Framer
from labioc.drivers.core.links import open_link, parse
from labioc.drivers.core.wire import Wire
from labioc.sim.core import Faults
from labioc.sim.core.connection import Connection
from labioc.sim.core.faults import FIN
from labioc.sim.core.serving import serve

log = logging.getLogger(__name__)

CONNECT_TIMEOUT = 3.0
UNTERMINATED = 1.0
MAX_QUEUE = 1000


class FaultProxy:
    """The proxy to one instrument; `async with proxy.serve(...)` as with a simulator.

    A command is what ends with `command_eol`; `only=` looks for its text there. A reply belongs to the latest
    command. A link that is lost, or can't be had, ends the connection of its client; behind a pseudo-terminal
    the next command tries again.

    Args:
        target: where the instrument is: tcp://host:port, serial:///dev/... or another scheme that links know.
        eol: what ends a reply.
        command_eol: what ends a command, if it is something else.
        faults: what goes wrong from the start.

    Raises AddressError for a target that is no URL, ValueError for a fault that a proxy can't have.
    """

    max_clients: int | None

    def __init__(
        self, target: str, *, eol: bytes = b"\n", command_eol: bytes = b"", faults: Faults | None = None
    ) -> None:
        self.target = target
        self.parts = parse(target)
        self.terminator_out = eol
        self._command_eol = command_eol or eol
        self.faults = faults or Faults()
        for kind, why in _EXCLUDED.items():
            self.faults.exclude(kind, f"the proxy {why}")
        # a serial line is opened by one at a time
        self.max_clients = None if self.parts.scheme == "tcp" else 1
        self.serial_line: dict[str, int | str] = {}
        self._links: set[asyncio.Task[None]] = set()

    @contextlib.asynccontextmanager
    async def serve(self, url: str) -> AsyncIterator[str]:
        """Serve at "tcp://127.0.0.1:0" or "pty:"; `async with` yields the URL for a client.

        Raises ValueError for another kind of URL, OSError if the port can't be had.
        """
        try:
            async with serve(self, url, lambda _, write, end: _Relay(self, write, end)) as address:
                yield address
        finally:
            await asyncio.gather(*self._links, return_exceptions=True)

    @property
    def connected(self) -> bool:
        """Whether there is a link to the instrument."""
        return bool(self._links)

    def start(self, link: Coroutine[None, None, None]) -> asyncio.Task[None]:
        """Start the work of a link; the end of `serve()` waits for it."""
        task = asyncio.create_task(link)
        self._links.add(task)
        task.add_done_callback(self._links.discard)
        return task

    def split(self, buffer: bytearray) -> Iterator[bytes]:
        """Yield the complete commands, terminators included."""
        while (end := buffer.find(self._command_eol) + len(self._command_eol)) >= len(self._command_eol):
            yield bytes(buffer[:end])
            del buffer[:end]
        if len(buffer) > MAX_MESSAGE:
            yield bytes(buffer)
            buffer.clear()

    def receive(self, message: bytes) -> bytes | None:
        """Nothing is answered here: the instrument's replies come later."""
        return None

    def refusal(self, message: bytes) -> bytes | None:
        """Excluded."""
        raise NotImplementedError

    def wrong_address(self, reply: bytes) -> bytes:
        """Excluded."""
        raise NotImplementedError

    def wrong_checksum(self, reply: bytes) -> bytes:
        """Excluded."""
        raise NotImplementedError

    def restart(self, off: float = 0.0) -> None:
        """Excluded."""
        raise NotImplementedError


_EXCLUDED = {
    "refuse": "does not know how the instrument refuses; give the text, as in refuse=ERR",
    "wrong-address": "does not know where in a reply an address stands",
    "wrong-checksum": "does not know where in a reply a checksum stands",
    "power-cycle": "can't switch the instrument off",
}


class _Relay(Connection):
    """One client and its link."""

    def __init__(self, proxy: FaultProxy, write: Callable[[bytes], None], end: Callable[[str], None]) -> None:
        super().__init__(proxy, write, end)
        self._proxy = proxy
        self._end_client = end
        self._latest = b""
        self._commands: asyncio.Queue[bytes] = asyncio.Queue(MAX_QUEUE)
        self._link = proxy.start(self._run())

    def execute(self, message: bytes) -> None:
        """Send a command to the instrument."""
        if self._link.done():
            self._link = self._proxy.start(self._run())
        self._latest = message
        with contextlib.suppress(asyncio.QueueFull):
            self._commands.put_nowait(message)

    def close(self) -> None:
        """Forget what came and what was to be sent, and hang up on the instrument."""
        super().close()
        self._commands = asyncio.Queue(MAX_QUEUE)
        self._link.cancel()

    async def _run(self) -> None:
        framer = _Framer(self._proxy.terminator_out)
        try:
            async with asyncio.timeout(CONNECT_TIMEOUT):
                exchanger = await open_link(self._proxy.parts, lambda: framer, Wire("fault_proxy"))
        except (LinkDown, TimeoutError) as error:
            log.warning("%s: %s", self._proxy.target, error if str(error) else "no connection in time")
        else:
            sending = asyncio.create_task(self._send(exchanger, self._commands))
            try:
                await self._pass_on_replies(exchanger, framer)
            finally:
                sending.cancel()
                await exchanger.close()
        self.flush()
        self._end_client(FIN)

    async def _send(self, exchanger: Exchanger, commands: asyncio.Queue[bytes]) -> None:
        with contextlib.suppress(LinkDown):  # whoever waits for replies sees it as well
            while True:
                await exchanger.send(await commands.get())

    async def _pass_on_replies(self, exchanger: Exchanger, framer: _Framer) -> None:
        while True:
            try:
                reply = await exchanger.receive(UNTERMINATED)
                self.answer(self._latest, reply)
            except TimeoutError:
                continue
            except LinkDown:
                return
            except TruncatedReply:
                self.pass_on(framer.take())
            except ReplyError as error:
                log.warning("%s: %s", self._proxy.target, error)
            self.flush()


class _Framer(Framer):
    """Cuts replies and leaves their terminators on."""

    def __init__(self, terminator: bytes) -> None:
        self._terminator = terminator
        self._buffer = b""
        self._cut_off = b""

    def feed(self, data: bytes) -> list[bytes]:
        """Take bytes, return the replies that they complete."""
        *replies, self._buffer = (self._buffer + data).split(self._terminator)
        replies = [reply + self._terminator for reply in replies]
        if len(self._buffer) > MAX_MESSAGE:
            replies.append(self._buffer)
            self._buffer = b""
        return replies

    @property
    def pending(self) -> bytes:
        """The beginning of a reply."""
        return self._buffer

    def clear(self) -> None:
        """The link is lost in the middle of a reply: keep the beginning for `take()`."""
        self._cut_off, self._buffer = self._cut_off + self._buffer, b""

    def take(self) -> bytes:
        """Return what no terminator ended."""
        self.clear()
        taken, self._cut_off = self._cut_off, b""
        return taken
