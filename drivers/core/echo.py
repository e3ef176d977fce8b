"""Half-duplex lines: what is sent comes back before the answer, and must be what was sent."""

from __future__ import annotations

import asyncio

from .errors import ReplyError
from .exchanger import StreamExchanger
from .framing import Framer
from .wire import Wire

SILENCE = 1.0  # how long an echo may pause, seconds
SLOWEST = 0.05  # per byte, seconds: 11 bits at 220 baud


class EchoFilter:
    """Takes the echo of a message out of what comes in, without I/O.

    While the line is in step, the first bytes after a message are its echo and nothing else. It is out of step at
    the start and after a failure: then what comes before the next message's echo is old, and dropped.
    """

    def __init__(self) -> None:
        self._sent = b""
        self._came = b""
        self._in_step = False

    @property
    def waits(self) -> bool:
        """Whether the echo of a message has not come back whole."""
        return bool(self._sent)

    def sent(self, message: bytes) -> None:
        """Expect the echo of a message."""
        self._sent = message
        self._came = b""

    def feed(self, data: bytes) -> bytes:
        """Take bytes, return what is behind the echo.

        Raises ReplyError if it is not the echo that comes.
        """
        if not self._sent:
            return data
        self._came += data
        at = self._came.find(self._sent)
        if at == 0 or (at > 0 and not self._in_step):
            rest = self._came[at + len(self._sent) :]
            self._sent = self._came = b""
            self._in_step = True
            return rest
        if self._in_step and not self._sent.startswith(self._came):
            raise self.failure()
        # as much as the next bytes can make whole, and what an error shows
        self._came = self._came[-max(len(self._sent), 80) :]
        return b""

    def failure(self) -> ReplyError | TimeoutError:
        """Give the echo up, and return what is to be said of it."""
        sent, came = self._sent[:80], self._came[:80]
        self._sent = self._came = b""
        self._in_step = False
        if not came:
            return TimeoutError(f"not even the echo of {sent!r} came")
        return ReplyError(f"expected the echo of {sent!r} first, got {came!r}")


class EchoExchanger(StreamExchanger):
    """An exchanger over a line that echoes. A message is sent when its echo is back.

    Raises, besides what a `StreamExchanger` does: ReplyError if something else comes back, TimeoutError if
    nothing does.
    """

    def __init__(self, framer: Framer, wire: Wire) -> None:
        super().__init__(framer, wire)
        self._echo = EchoFilter()
        self._news = asyncio.Event()
        self._wrong: ReplyError | TimeoutError | None = None

    def data_received(self, data: bytes) -> None:
        """Take out the echo; the rest is the instrument's."""
        if not self._echo.waits:
            super().data_received(data)
            return
        rest = b""
        try:
            rest = self._echo.feed(data)
        except ReplyError as error:
            self._wrong = error
        self._wire.received(data[: len(data) - len(rest)])
        self._news.set()
        if rest:
            super().data_received(rest)

    def connection_lost(self, exc: Exception | None) -> None:
        """Fail whoever waits for an echo or a reply."""
        super().connection_lost(exc)
        self._news.set()

    async def send(self, message: bytes) -> None:
        """Send one message and see its echo come back."""
        self._echo.sent(message)
        self._wrong = None
        try:
            await super().send(message)
            await self._back(self._loop.time() + SILENCE + len(message) * SLOWEST)
        finally:
            if self._echo.waits:
                self._echo.failure()

    async def _back(self, deadline: float) -> None:
        while self._echo.waits:
            self._news.clear()
            try:
                async with asyncio.timeout(min(SILENCE, deadline - self._loop.time())):
                    await self._news.wait()
            except TimeoutError:
                self._wrong = self._echo.failure()
            if self._lost.done():
                raise self._why_lost()
        if self._wrong is not None:
            raise self._wrong
