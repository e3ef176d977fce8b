"""One client of the Channel Access server: its requests, its channels and its monitors.

The messages are read and written here as bytes; what is slow about a server in Python is an object per message.
Nothing waits in a circuit but puts, and a client that doesn't read: it is not read from then, and of each of its
monitors only the newest event is kept.
"""

import asyncio
import logging
from collections import Counter
from collections.abc import Callable, Coroutine
from time import monotonic
from typing import TYPE_CHECKING, Any

from labioc.devices.core._caproto import AccessRights, ChannelType
from labioc.devices.core.served import Served
from labioc.iocs.core._channel import Channel, Monitor, failed_dbr, payload_limit, refusal_to_read
from labioc.iocs.core._gets import Gets
from labioc.iocs.core._messages import (
    CA_VERSION,
    DO_REPLY,
    HEADER,
    LONG,
    LONG_SIZE,
    MASK,
    SELF,
    Command,
    Status,
    error,
    header,
)
from labioc.iocs.core._outbox import MAX_WRITE_BUFFER, Outbox
from labioc.iocs.core._puts import Puts
from labioc.iocs.core._sockets import HangUp, hang_up, is_dead

if TYPE_CHECKING:
    from labioc.iocs.core.server import Serving

log = logging.getLogger("labioc.ca")

MAX_SMALL_REQUEST = 1 << 14
"""Bytes of a payload that any request may have; a put may have as many as its channel's elements need."""
MAX_REQUESTS_AT_ONCE = 256
TURN_SECONDS = 0.002
"""Then others have their turn, or after so many requests."""
REQUESTS_PER_LOOK = 16
"""How often it looks whether its turn is over, and after each answer that is long."""
MAX_PUTS = 256
"""Puts of one client, and gets that wait, at once; it isn't read from while it has as many."""
MAX_CHANNELS = 100_000
MAX_MONITORS = 100_000
MAX_MONITORS_OF_ONE = 5_000
"""Monitors that one client may have of one PV: who posts to it pays for each of them."""
CLOSE_SECONDS = 5.0
MAX_SHOWN = 40

_WRITES = (Command.WRITE, Command.WRITE_NOTIFY)
_READ = int(AccessRights.READ)
_ECHO = HEADER.pack(Command.ECHO, 0, 0, 0, 0, 0)


class _Malformed(Exception):
    """Raised for what no client in its right mind sends; it ends the circuit."""

    def __init__(self, text: str, status: Status = Status.INTERNAL, cid: int = SELF) -> None:
        super().__init__(text)
        self.status = status
        self.cid = cid


class Circuit(asyncio.BufferedProtocol):
    """One client's connection."""

    def __init__(self, server: "Serving") -> None:
        self._server = server
        self._loop = asyncio.get_running_loop()
        self._statistics = server.statistics
        self.user: str | None = None
        self.host: str | None = None
        self.address = ("", 0)
        self.is_open = False
        self._silence = 0
        """How often the server has looked since the client's last request."""
        self._hang_ups = 0
        """How often in a row it has seen then that the client sends no more."""
        self.channels: dict[int, Channel] = {}
        self._last_sid = 0
        self._received = bytearray()
        self._wanted = HEADER.size
        self._skip = 0
        self._is_paused = False
        self._turn_is_due = False
        self.busy = 0
        """Puts, gets that wait, and monitors of caproto's channels that begin."""
        self._puts = Puts(self, server)
        self._gets = Gets(self, server, self._puts)
        self._monitors_of: Counter[Any] = Counter()
        self._monitors = 0
        self._handlers: dict[int, Callable[..., None]] = {
            Command.READ_NOTIFY: self._gets.request,
            Command.WRITE: self._puts.request,
            Command.WRITE_NOTIFY: self._puts.request,
            Command.ECHO: self._echo,
            Command.EVENT_ADD: self._add_monitor,
            Command.EVENT_CANCEL: self._cancel_monitor,
            Command.CREATE_CHANNEL: self._create_channel,
            Command.CLEAR_CHANNEL: self._clear_channel,
            Command.SEARCH: self._search,
            Command.VERSION: self._version,
            Command.HOST_NAME: self._name,
            Command.CLIENT_NAME: self._name,
            Command.EVENTS_OFF: self._events_off,
            Command.EVENTS_ON: self._events_on,
            Command.READ: self._gets.request,
            Command.READ_SYNC: self._read_sync,
        }

    def __str__(self) -> str:
        return f"{_shown(self.user)}@{_shown(self.host)} ({self.address[0]}:{self.address[1]})"

    # The connection

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Count a client."""
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport
        self.out = Outbox(transport, self._server.flusher, self._statistics)
        peer = transport.get_extra_info("peername")
        if peer is None or self._server.is_stopping:
            # It was reset before it was accepted, and has no address any more.
            transport.abort()
            return
        self.address = peer[:2]
        self.is_open = True
        self._server.circuits.add(self)
        self._statistics.clients += 1

    def connection_lost(self, error: Exception | None) -> None:
        """End all channels. Puts go on: who puts and leaves wants the put."""
        self._release()
        if self in self._server.circuits:
            self._server.circuits.discard(self)
            self._statistics.clients -= 1

    def close(self) -> None:
        """End it within a bounded time; what has been answered is sent if the client takes it."""
        self._release()
        self._transport.close()
        self._loop.call_later(CLOSE_SECONDS, self._transport.abort)

    def abort(self) -> None:
        """End it at once."""
        self._release()
        self._transport.abort()

    def _release(self) -> None:
        if not self.is_open:
            return
        self.is_open = False
        for channel in list(self.channels.values()):
            self._forget(channel)
        self.out.clear()
        self._gets.clear()

    def why_to_end(self, looks: int) -> str:
        """Why nobody uses this connection any more, or nothing; the server looks now and then.

        It may be silent for so many looks, and with channels for ever.
        """
        self._silence += 1
        if not self.is_open or self._transport.is_closing():
            return ""
        if self._silence > looks and not self.channels:
            return "it is silent"
        sock = self._transport.get_extra_info("socket")
        if is_dead(sock):
            return "the other end doesn't answer"
        # While it isn't read from, nobody else finds out. What it has sent before it left is handled if that is soon.
        gone = hang_up(sock) if self._is_paused else HangUp.NO
        self._hang_ups = self._hang_ups + 1 if gone is HangUp.SENDS_NO_MORE else 0
        return "it has gone" if gone is HangUp.BOTH_WAYS or self._hang_ups > 1 else ""

    def follow_rights(self) -> None:
        """Tell the client where its rights have changed; its monitors begin and end with them."""
        for channel in list(self.channels.values()):
            before, channel.rights = channel.rights, self.rights(channel)
            if channel.rights == before:
                continue
            self.out.answer(HEADER.pack(Command.ACCESS_RIGHTS, 0, 0, 0, channel.cid, channel.rights))
            if (channel.rights ^ before) & _READ:
                for monitor in channel.monitors.values():
                    self._end_monitor(monitor)
                    self._begin_monitor(monitor)
        self.out.flush()

    def pause_writing(self) -> None:
        """asyncio says that the client doesn't read."""
        self.out.is_blocked = True

    def resume_writing(self) -> None:
        """asyncio says that the client reads again."""
        self.out.is_blocked = False
        self.turn_soon()

    def get_buffer(self, sizehint: int) -> memoryview:
        """Where to receive: into one buffer for all circuits, as it is emptied at once."""
        return self._server.receive_buffer

    def buffer_updated(self, nbytes: int) -> None:
        """Something was received."""
        received = self._received
        received += self._server.receive_buffer[:nbytes]
        if len(received) >= self._wanted or self._skip:
            self._work()

    # Requests

    def _work(self) -> None:
        """Handle what was received, as far as others, the client's puts and its reading allow."""
        data = self._received
        at = handled = 0
        must_wait = False
        next_look = REQUESTS_PER_LOOK
        until = monotonic() + TURN_SECONDS
        puts = self._puts
        try:
            while self.is_open:
                body = at + HEADER.size
                if self._skip or len(data) < body:
                    skipped = min(self._skip, len(data) - at)
                    self._skip -= skipped
                    at += skipped
                    self._wanted = HEADER.size
                    if skipped and not self._skip:
                        continue
                    break
                command, size, kind, count, first, second = HEADER.unpack_from(data, at)
                if size == LONG_SIZE:
                    body += LONG.size
                    if len(data) < body:
                        self._wanted = HEADER.size + LONG.size
                        break
                    size, count = LONG.unpack_from(data, body - LONG.size)
                must_wait = (
                    self.out.is_blocked
                    or self.busy >= MAX_PUTS
                    # What comes after a put sees what it does, unless that takes time.
                    or (puts.unstarted > 0 and command not in _WRITES)
                )
                if handled >= next_look and not must_wait:
                    next_look = handled + REQUESTS_PER_LOOK
                    if handled >= MAX_REQUESTS_AT_ONCE or monotonic() > until:
                        must_wait = True
                        self.turn_soon()
                if must_wait:
                    break
                try:
                    handler = self._handlers.get(command)
                    if handler is None or size & 7:
                        raise _Malformed("its length is wrong" if handler else "there is no such request")
                    if size > MAX_SMALL_REQUEST and not self._is_welcome(
                        command, size, kind, count, first, second
                    ):
                        self._skip = size
                        at = body
                        continue
                    if len(data) < body + size:
                        self._wanted = body + size - at
                        break
                    at = body + size
                    handled += 1
                    handler(command, kind, count, first, second, bytes(data[body:at]) if size else b"")
                except _Malformed as malformed:
                    self._end_for(malformed, header(command, size, kind, count, first, second))
                    return
                if self.out.answer_bytes > MAX_WRITE_BUFFER:
                    self.out.flush()
                    next_look = 0
        except Exception:
            log.exception("dropped client %s", self)
            self.abort()
            return
        del data[:at]
        if handled:
            self._silence = 0
        if must_wait != self._is_paused and self.is_open:
            self._is_paused = must_wait
            (self._transport.pause_reading if must_wait else self._transport.resume_reading)()
        if not puts.unstarted:
            self.out.flush()

    def _is_welcome(self, command: int, size: int, kind: int, count: int, sid: int, ioid: int) -> bool:
        """Whether to receive a request with so many bytes; if not, the client has been told."""
        if command not in _WRITES:
            raise _Malformed("it is too long", Status.TOLARGE)
        channel = self.channel(sid)
        if size <= payload_limit(channel, kind):
            return True
        request = header(command, size, kind, count, sid, ioid)
        text = f"{channel.name} has {channel.count} elements, {size} bytes are too many"
        self.out.answer(error(request, channel.cid, Status.TOLARGE, text))
        return False

    def _end_for(self, malformed: _Malformed, request: bytes) -> None:
        self._statistics.malformed += 1
        text = f"dropped client {self} for a malformed request: {malformed} ({request.hex(' ', 4)})"
        # By the host, as the connection ends with it.
        self._server.complaints.add(self.address[0], "request", text)
        self.out.answer(error(request, malformed.cid, malformed.status, str(malformed)))
        self.out.flush()
        self.close()

    def complain(self, about: str, text: str, failure: Exception | None = None) -> None:
        """Log what this client does, now and then; with a traceback if it is a bug of ours."""
        self._server.complaints.add("{}:{}".format(*self.address), about, text, failure)

    def channel(self, sid: int) -> Channel:
        """The channel that the client calls so."""
        try:
            return self.channels[sid]
        except KeyError:
            raise _Malformed("there is no such channel") from None

    def rights(self, channel: Channel) -> int:
        """What the client may do with a channel now."""
        rights = int(channel.entry.check_access(self.host, self.user))
        return self._server.limited(rights, channel.name, self) if self._server.access else rights

    def turn_soon(self) -> None:
        """Go on with what had to wait at the next turn of the event loop."""
        if not self._turn_is_due:
            self._turn_is_due = self._server.flusher.is_due = True
            self._loop.call_soon(self.turn)

    def turn(self) -> None:
        """Go on with what had to wait."""
        self._turn_is_due = False
        if self.is_open:
            self.out.flush()
            self._gets.go_on(monotonic() + TURN_SECONDS)
            if self._is_paused:
                self._work()
            elif not self._puts.unstarted:
                self.out.flush()
        # What a put has changed is told to others at once.
        self._server.flusher.flush()

    def done(self) -> None:
        """The end of something that was counted as busy."""
        self.busy -= 1
        if self.is_open:
            self.turn_soon()

    def _version(self, command: int, *rest: object) -> None:
        # libca asks again, with another priority, on a circuit that began as a name server's.
        self.out.answer(HEADER.pack(Command.VERSION, 0, 0, CA_VERSION, 0, 0))

    def _name(self, command: int, kind: int, count: int, first: int, second: int, payload: bytes) -> None:
        name = _text(payload)
        attribute = "host" if command == Command.HOST_NAME else "user"
        if self.channels and name != getattr(self, attribute):
            text = "a client can't change its name after its first channel"
            request = header(command, len(payload), kind, count, first, second)
            self.out.answer(error(request, SELF, Status.INTERNAL, text))
        else:
            setattr(self, attribute, name)

    def _echo(self, *request: object) -> None:
        self.out.answer(_ECHO)

    def _read_sync(self, *request: object) -> None:
        self.out.answer(HEADER.pack(Command.READ_SYNC, 0, 0, 0, 0, 0))

    def _search(self, command: int, kind: int, count: int, first: int, second: int, payload: bytes) -> None:
        if self._server.has(_text(payload)):
            self.out.answer(HEADER.pack(Command.SEARCH, 0, self._server.port, 0, SELF, first))
        elif kind == DO_REPLY:
            self.out.answer(HEADER.pack(Command.NOT_FOUND, 0, DO_REPLY, CA_VERSION, first, first))

    def _create_channel(
        self, command: int, kind: int, count: int, first: int, second: int, payload: bytes
    ) -> None:
        if len(self.channels) >= MAX_CHANNELS:
            raise _Malformed(f"it has {MAX_CHANNELS} channels already", Status.ALLOCMEM)
        name = _text(payload)
        try:
            found = self._server.find(name)
        except KeyError:
            self.out.answer(HEADER.pack(Command.CREATE_FAILED, 0, 0, 0, first, 0))
            return
        entry = found.entry
        data_type, length = entry.data_type, entry.max_length
        if found.is_long_string and data_type == ChannelType.STRING:
            data_type, length = ChannelType.CHAR, entry.long_string_max_length
        self._last_sid += 1
        channel = self.channels[self._last_sid] = Channel(found, self._last_sid, first, length)
        self._statistics.channels += 1
        channel.rights = self.rights(channel)
        announced = length
        if isinstance(entry, Served) and entry.announced is not None and name == found.name:
            announced = entry.announced
        self.out.answer(
            HEADER.pack(Command.ACCESS_RIGHTS, 0, 0, 0, first, channel.rights)
            + header(Command.CREATE_CHANNEL, 0, data_type, announced, first, channel.sid)
        )

    def _clear_channel(
        self, command: int, kind: int, count: int, first: int, second: int, payload: bytes
    ) -> None:
        # A client may clear a channel without cancelling its monitors first.
        self._forget(self.channel(first))
        self.out.answer(HEADER.pack(Command.CLEAR_CHANNEL, 0, 0, 0, first, second))

    def _forget(self, channel: Channel) -> None:
        for subid in list(channel.monitors):
            self._forget_monitor(channel, subid)
        del self.channels[channel.sid]
        self._statistics.channels -= 1

    # Monitors

    def _add_monitor(
        self, command: int, kind: int, count: int, first: int, second: int, payload: bytes
    ) -> None:
        channel = self.channel(first)
        mask = MASK.unpack_from(payload)[0] if len(payload) >= MASK.size else 0
        if not mask:
            raise _Malformed(f"no monitor of {channel.name}", Status.ALLOCMEM, channel.cid)
        if second in channel.monitors:
            self._forget_monitor(channel, second)
        if self._monitors >= MAX_MONITORS or self._monitors_of[channel.entry] >= MAX_MONITORS_OF_ONE:
            raise _Malformed(f"too many monitors, with that of {channel.name}", Status.ALLOCMEM, channel.cid)
        monitor = channel.monitors[second] = Monitor(self, channel, kind, count, mask, second)
        self._statistics.monitors += 1
        self._monitors += 1
        self._monitors_of[channel.entry] += 1
        self._begin_monitor(monitor)

    def _begin_monitor(self, monitor: Monitor) -> None:
        channel = monitor.channel
        monitor.is_on = True
        status = refusal_to_read(channel, monitor.kind, monitor.count, self.rights(channel) & _READ)
        if status is Status.NORMAL:
            if not isinstance(channel.entry, Served):
                self.busy += 1
                self._server.start(self._subscribe_stock(monitor))
                return
            try:
                _run_now(channel.entry.subscribe(monitor, monitor.spec, None))
                return
            except ValueError:
                status = Status.GETFAIL
        self._refuse_monitor(monitor, status)

    async def _subscribe_stock(self, monitor: Monitor) -> None:
        try:
            await self._server.stock_events.add(monitor)
            if not monitor.is_on:
                await self._server.stock_events.remove(monitor)
        except Exception as failure:
            self.complain("monitor", f"{monitor.channel.name}: monitor by {self} failed: {failure!r}")
            self._refuse_monitor(monitor, Status.GETFAIL)
        finally:
            self.done()

    def _refuse_monitor(self, monitor: Monitor, status: Status) -> None:
        # As an event, because libca hands that to who asked for the monitor.
        self.out.answer(failed_dbr(Command.EVENT_ADD, monitor.kind, status, monitor.subid))

    def _cancel_monitor(
        self, command: int, kind: int, count: int, first: int, second: int, payload: bytes
    ) -> None:
        channel = self.channel(first)
        monitor = channel.monitors.get(second)
        if monitor is None:
            raise _Malformed(f"there is no such monitor of {channel.name}", Status.BADMONID, channel.cid)
        self._forget_monitor(channel, second)
        self.out.answer(header(Command.EVENT_ADD, 0, monitor.kind, monitor.count, first, second))

    def _forget_monitor(self, channel: Channel, subid: int) -> None:
        self._end_monitor(channel.monitors.pop(subid))
        self._statistics.monitors -= 1
        self._monitors -= 1
        self._monitors_of[channel.entry] -= 1
        if not self._monitors_of[channel.entry]:
            del self._monitors_of[channel.entry]

    def _end_monitor(self, monitor: Monitor) -> None:
        # No event may follow the answer to its cancellation; those that wait are not sent.
        monitor.is_on = False
        self.out.forget(monitor)
        entry = monitor.channel.entry
        if isinstance(entry, Served):
            _run_now(entry.unsubscribe(monitor, monitor.spec))
        else:
            self._server.start(self._server.stock_events.remove(monitor))

    def _events_off(self, *request: object) -> None:
        self.out.events_off()

    def _events_on(self, *request: object) -> None:
        self.out.events_on()

    def add_event(self, monitor: Monitor, dbr: bytes, count: int) -> None:
        """Send an event soon; events that come together leave together."""
        self.out.add_event(monitor, dbr, count)


def _text(payload: bytes) -> str:
    return payload.partition(b"\0")[0].decode("latin-1")


def _shown(name: str | None) -> str:
    """A name that a client claims, fit for a line of a log."""
    letters = [letter if letter.isprintable() else "?" for letter in (name or "?")[:MAX_SHOWN]]
    return "".join(letters)


def _run_now(coroutine: Coroutine[Any, Any, None]) -> None:
    """Run a coroutine that never suspends; our PVs are subscribed to by such ones."""
    try:
        coroutine.send(None)
    except StopIteration:
        return
    coroutine.close()
    raise RuntimeError(f"{coroutine} has suspended")
