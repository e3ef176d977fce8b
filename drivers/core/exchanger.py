"""Exchangers: an open connection that carries whole messages; and the one over an asyncio transport."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from typing import Protocol

from .errors import LinkDown, ReplyError, TruncatedReply
from .framing import Framer
from .wire import CLOSED, LOST, OPENED, Wire

MAX_UNASKED = 256
MAX_UNSENT = 65536  # bytes that a line hasn't taken, after which it counts as dead


class Exchanger(Protocol):
    """An open connection that carries whole messages, over a byte stream or not.

    The port calls it from one task at a time, except for `wait_lost` and `close`.
    """

    async def send(self, message: bytes) -> None:
        """Send one message, terminator included. Raises LinkDown."""

    async def receive(self, timeout: float) -> bytes:
        """Return the next message, without terminator, within ``timeout`` seconds.

        Raises TimeoutError if nothing came, TruncatedReply if a beginning came, ReplyError if a message
        broke the framing, LinkDown if the connection went.
        """

    def resynchronise(self) -> int:
        """Forget all that has come in and was not received; return its size in bytes."""

    async def wait_lost(self) -> None:
        """Return when the connection is gone."""

    async def close(self) -> None:
        """Close at once; bounded, also with unsent output."""


class StreamExchanger(asyncio.Protocol):
    """An exchanger over an asyncio transport: TCP or serial.

    Args:
        framer: cuts the byte stream into messages.
        wire: where the bytes are shown.
    """

    def __init__(self, framer: Framer, wire: Wire) -> None:
        self._framer = framer
        self._wire = wire
        self._loop = asyncio.get_running_loop()
        self._transport: asyncio.Transport | None = None
        self._messages: deque[bytes] = deque()
        self._waiter: asyncio.Future[bytes] | None = None
        self._broken: ReplyError | TruncatedReply | None = None
        self._silence: asyncio.TimerHandle | None = None
        self._deadline = 0.0
        self._timer: asyncio.TimerHandle | None = None
        self._closing = False
        self._lost: asyncio.Future[Exception | None] = self._loop.create_future()

    # What the transport calls

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keep the transport."""
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport
        self._wire.event(OPENED)

    def data_received(self, data: bytes) -> None:
        """Cut the bytes into messages and hand over the first that is waited for."""
        self._wire.received(data)
        self._deliver(lambda: self._framer.feed(data))
        if self._framer.quiet:
            if self._silence is not None:
                self._silence.cancel()
            self._silence = self._loop.call_later(self._framer.quiet, self._deliver, self._framer.silent)

    def _deliver(self, cut: Callable[[], list[bytes]]) -> None:
        try:
            messages = cut()
        except (ReplyError, TruncatedReply) as error:
            if not self._wake(error):
                self._broken = error
            return
        if messages:
            self._messages.extend(messages)
            if self._waiter is not None and not self._waiter.done():
                self._waiter.set_result(self._messages.popleft())
            if len(self._messages) > MAX_UNASKED:
                self._messages.clear()
                self._broken = ReplyError(f"more than {MAX_UNASKED} messages came that nobody had asked for")

    def connection_lost(self, exc: Exception | None) -> None:
        """Fail whoever waits for a reply."""
        if not self._lost.done():
            self._lost.set_result(exc)
            if self._closing:
                self._wire.event(CLOSED)
            else:
                self._wire.event(LOST, str(exc or "the instrument closed the connection"))
        if self._waiter is not None:
            self._wake(self._why_lost())

    # What the port calls

    async def send(self, message: bytes) -> None:
        """Send one message."""
        if self._transport is None or self._lost.done() or self._closing:
            raise self._why_lost()
        unsent = self._transport.get_write_buffer_size()
        if unsent > MAX_UNSENT:
            raise LinkDown(f"the instrument takes nothing any more: {unsent} bytes are unsent")
        self._wire.sent(message)
        self._transport.write(message)

    async def receive(self, timeout: float) -> bytes:
        """Return the next message."""
        if self._messages:
            return self._messages.popleft()
        if self._broken is not None:
            error, self._broken = self._broken, None
            raise error
        if self._lost.done() or self._closing:
            raise self._why_lost()
        waiter: asyncio.Future[bytes] = self._loop.create_future()
        self._waiter = waiter
        self._deadline = self._loop.time() + timeout
        # one timer that looks after all exchanges: one for each costs a tenth of the exchange
        if self._timer is None or self._timer.when() > self._deadline:
            self._watch()
        try:
            return await waiter
        finally:
            self._waiter = None

    def resynchronise(self) -> int:
        """Forget all that has come in and was not received."""
        if not (self._messages or self._broken or self._framer.pending):
            return 0
        size = sum(map(len, self._messages)) + len(self._messages) + len(self._framer.pending)
        self._messages.clear()
        self._broken = None
        self._framer.clear()
        return max(1, size)

    async def wait_lost(self) -> None:
        """Return when the connection is gone."""
        await asyncio.shield(self._lost)

    async def close(self) -> None:
        """Abort: a graceful close waits for output that a dead line never takes."""
        self._closing = True
        self._wake(self._why_lost())
        for timer in (self._timer, self._silence):
            if timer is not None:
                timer.cancel()
        if self._transport is not None:
            self._transport.abort()
            await asyncio.wait([self._lost], timeout=1.0)

    def _watch(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._timer = self._loop.call_at(self._deadline, self._look)

    def _look(self) -> None:
        self._timer = None
        if self._waiter is None or self._waiter.done():
            return
        if self._loop.time() < self._deadline:
            self._watch()
            return
        pending = self._framer.pending
        self._wake(TruncatedReply(f"the reply stopped after {pending[:80]!r}") if pending else TimeoutError())

    def _wake(self, error: Exception) -> bool:
        if self._waiter is None or self._waiter.done():
            return False
        self._waiter.set_exception(error)
        return True

    def _why_lost(self) -> LinkDown | TruncatedReply:
        if self._closing:
            return LinkDown("closed while it waited")
        if self._framer.pending:
            pending = self._framer.pending
            self._framer.clear()
            return TruncatedReply(f"the connection closed in the middle of a reply, after {pending[:80]!r}")
        why = self._lost.result() if self._lost.done() else None
        return LinkDown(f"connection lost: {why}" if why else "the instrument closed the connection")
