"""What a client is sent: answers and events in their order, and less of them if it doesn't read."""

import asyncio

from labioc.iocs.core._channel import Monitor
from labioc.iocs.core._messages import BIG
from labioc.iocs.core._statistics import Statistics

MAX_QUEUED_EVENTS = 1000
MAX_QUEUED_BYTES = 1 << 20
MAX_WRITE_BUFFER = 1 << 16
"""asyncio's mark: with more bytes unsent, it says that the client doesn't read."""
FLUSHES_AT_ONCE = 8
GATHER_SECONDS = 0.001
"""Only so many times in this time events are sent as they come; then they are gathered."""


class Flusher:
    """Flushes the outboxes of all clients at the next turn of the event loop, or before.

    Attributes:
        is_due: whether somebody will call `flush`.
    """

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._outboxes: list[Outbox] = []
        self.is_due = False

    def soon(self, outbox: "Outbox") -> None:
        """Flush this one, too."""
        self._outboxes.append(outbox)
        if not self.is_due:
            self.is_due = True
            self._loop.call_soon(self.flush)

    def flush(self) -> None:
        """Flush all that wait for it."""
        self.is_due = False
        if self._outboxes:
            outboxes, self._outboxes = self._outboxes, []
            for outbox in outboxes:
                outbox.flush_due()


class Outbox:
    """The messages that wait to be sent to one client.

    While it doesn't read, or has turned its events off, of each of its monitors only the newest event is kept.

    Attributes:
        answer_bytes: how much is answered and not yet handed to the connection.
        is_blocked: whether the client doesn't read.
        events_are_on: what the client wants; see `events_off` and `events_on`.
    """

    def __init__(self, transport: asyncio.Transport, flusher: Flusher, statistics: Statistics) -> None:
        self._transport = transport
        self._flusher = flusher
        self._statistics = statistics
        self._loop = asyncio.get_running_loop()
        self.is_blocked = False
        self.events_are_on = True
        self.answer_bytes = 0
        # Answers have no monitor.
        self._queue: list[tuple[Monitor | None, bytes, int]] = []
        self._held: dict[Monitor, tuple[bytes, int]] = {}
        """The newest events while the client wants none, in the order in which they happened."""
        self._event_count = self._event_bytes = 0
        self._max_events, self._max_event_bytes = MAX_QUEUED_EVENTS, MAX_QUEUED_BYTES
        self._flush_is_due = False
        self._flushes = 0
        self._flushes_since = 0.0
        transport.set_write_buffer_limits(MAX_WRITE_BUFFER)

    def answer(self, *parts: bytes) -> None:
        """Add an answer for the next flush."""
        for part in parts:
            self._queue.append((None, part, 0))
            self.answer_bytes += len(part)

    def clear(self) -> None:
        """Forget what waits."""
        self._queue.clear()
        self._held.clear()

    def forget(self, monitor: Monitor) -> None:
        """A monitor has ended; what waits in the queue for it is not sent."""
        self._held.pop(monitor, None)

    def events_off(self) -> None:
        """Hold the events back, of each monitor the newest."""
        self.events_are_on = False
        queue, self._queue = self._queue, []
        self._event_count = self._event_bytes = 0
        for monitor, data, count in queue:
            if monitor is None:
                self._queue.append((monitor, data, count))
            elif monitor.is_on:
                self._hold(monitor, data, count)

    def events_on(self) -> None:
        """Send the newest events, and all that come."""
        self.events_are_on = True
        held, self._held = self._held, {}
        for monitor, (dbr, count) in held.items():
            self.add_event(monitor, dbr, count)
        self.flush()

    def _hold(self, monitor: Monitor, dbr: bytes, count: int) -> None:
        if self._held.pop(monitor, None) is not None:
            self._statistics.dropped_events += 1
        self._held[monitor] = dbr, count

    def add_event(self, monitor: Monitor, dbr: bytes, count: int) -> None:
        """Send an event soon; events that come together leave together."""
        if not self.events_are_on:
            self._hold(monitor, dbr, count)
            return
        self._queue.append((monitor, dbr, count))
        self._event_count += 1
        self._event_bytes += len(dbr)
        if self._event_count > self._max_events or self._event_bytes > self._max_event_bytes:
            self.flush()
            if self._event_count:
                self.keep_newest_events()
        if not (self._flush_is_due or self.is_blocked):
            self._flush_is_due = True
            now = self._loop.time()
            if now - self._flushes_since > GATHER_SECONDS:
                self._flushes_since, self._flushes = now, 0
            self._flushes += 1
            if self._flushes <= FLUSHES_AT_ONCE:
                self._flusher.soon(self)
            else:
                self._loop.call_later(GATHER_SECONDS, self.flush_due)

    def flush_due(self) -> None:
        """What the flusher calls, or the clock."""
        self._flush_is_due = False
        self.flush()

    def flush(self) -> None:
        """Send what waits, unless the client doesn't read."""
        queue = self._queue
        if not queue or self.is_blocked:
            return
        parts: list[bytes] = []
        self._queue = []
        self._event_count = self._event_bytes = 0
        for monitor, data, count in queue:
            if monitor is None:
                parts.append(data)
            elif monitor.is_on:
                parts += monitor.message(data, count)
        self.answer_bytes = 0
        small: list[bytes] = []
        for part in parts:
            if len(part) < BIG:
                small.append(part)
            else:
                self._transport.write(b"".join(small))
                self._transport.write(part)
                small.clear()
        if small:
            self._transport.write(b"".join(small))

    def keep_newest_events(self) -> None:
        """Of every monitor keep the newest event only, in the order in which they happened."""
        kept: list[tuple[Monitor | None, bytes, int]] = []
        seen: set[Monitor] = set()
        size = dropped = 0
        for waiting in reversed(self._queue):
            monitor = waiting[0]
            if monitor is not None:
                if monitor in seen or not monitor.is_on:
                    dropped += monitor.is_on
                    continue
                seen.add(monitor)
                size += len(waiting[1])
            kept.append(waiting)
        self._queue = kept[::-1]
        self._statistics.dropped_events += dropped
        self._event_count, self._event_bytes = len(seen), size
        # Twice what is left: dropping costs the same per event however many monitors there are.
        self._max_events = max(MAX_QUEUED_EVENTS, 2 * len(seen))
        self._max_event_bytes = max(MAX_QUEUED_BYTES, 2 * size)
