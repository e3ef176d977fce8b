"""One client of the Channel Access server: its requests, its channels and its monitors.

The messages are read and written here as bytes; what is slow about a server in Python is an object per message.
Nothing waits in a circuit but puts, and a client that doesn't read: it is not read from then, and of each of its
monitors only the newest event is kept.
"""

import asyncio
import logging
from collections.abc import Callable, Coroutine
from typing import TYPE_CHECKING, Any

from labioc.devices.core._caproto import AccessRights, ChannelType
from labioc.devices.core.served import Served
from labioc.iocs.core._caproto import is_expected, read_stock, write
from labioc.iocs.core._channel import (
    TYPES,
    Channel,
    Monitor,
    Refused,
    decode_put,
    failed_dbr,
    payload_limit,
    read_answer,
    refusal_to_read,
)
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

if TYPE_CHECKING:
    from labioc.iocs.core.server import Serving

log = logging.getLogger("labioc.ca")

MAX_SMALL_REQUEST = 1 << 14
"""Bytes of a payload that any request may have; a put may have as many as its channel's elements need."""
MAX_REQUESTS_AT_ONCE = 256
"""Then others have their turn."""
MAX_PUTS = 256
"""Puts of one client that run at once; it isn't read from while it has as many."""
READ_AFTER_PUT_SECONDS = 0.25
CLOSE_SECONDS = 5.0
MAX_SHOWN = 40

_WRITES = (Command.WRITE, Command.WRITE_NOTIFY)
_READ, _WRITE = int(AccessRights.READ), int(AccessRights.WRITE)
_READ_NOTIFY = int(Command.READ_NOTIFY)
_Request = tuple[int, int, int, int, int, int]
"""A header: command, payload size, type, count, sid, ioid."""
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
        self.silence = 0
        """How often the server has looked since the client was last heard."""
        self.channels: dict[int, Channel] = {}
        self._last_sid = 0
        self._received = bytearray()
        self._wanted = HEADER.size
        self._skip = 0
        self._is_paused = False
        self._turn_is_due = False
        self._busy = 0
        """Puts, and reads that wait for one."""
        self._puts_of: dict[Any, set[asyncio.Task[None]]] = {}
        self._unstarted = 0
        """Puts whose tasks have not had their first step."""
        self._handlers: dict[int, Callable[..., None]] = {
            Command.READ_NOTIFY: self._read_notify,
            Command.WRITE: self._write,
            Command.WRITE_NOTIFY: self._write,
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
            Command.READ: self._read_notify,
            Command.READ_SYNC: self._read_sync,
        }

    def __str__(self) -> str:
        return f"{_shown(self.user)}@{_shown(self.host)} ({self.address[0]}:{self.address[1]})"

    # The connection

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Count a client."""
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport
        self._out = Outbox(transport, self._server.flusher, self._statistics)
        self.address = transport.get_extra_info("peername")[:2]
        self.is_open = True
        self._server.circuits.add(self)
        self._statistics.clients += 1

    def connection_lost(self, error: Exception | None) -> None:
        """End all channels. Puts go on: who puts and leaves wants the put."""
        self._release()
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
        self._out.clear()

    def pause_writing(self) -> None:
        """asyncio says that the client doesn't read."""
        self._out.is_blocked = True

    def resume_writing(self) -> None:
        """asyncio says that the client reads again."""
        self._out.is_blocked = False
        self._turn_soon()

    def get_buffer(self, sizehint: int) -> memoryview:
        """Where to receive: into one buffer for all circuits, as it is emptied at once."""
        return self._server.receive_buffer

    def buffer_updated(self, nbytes: int) -> None:
        """Something was received."""
        self.silence = 0
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
                    self._out.is_blocked
                    or handled >= MAX_REQUESTS_AT_ONCE
                    or self._busy >= MAX_PUTS
                    # What comes after a put sees what it does, unless that takes time.
                    or (self._unstarted > 0 and command not in _WRITES)
                )
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
                    self._complain(malformed, header(command, size, kind, count, first, second))
                    return
                if self._out.answer_bytes > MAX_WRITE_BUFFER:
                    self._out.flush()
        except Exception:
            log.exception("dropped client %s", self)
            self.abort()
            return
        del data[:at]
        if must_wait != self._is_paused and self.is_open:
            self._is_paused = must_wait
            (self._transport.pause_reading if must_wait else self._transport.resume_reading)()
        if handled >= MAX_REQUESTS_AT_ONCE:
            self._turn_soon()
        if not self._unstarted:
            self._out.flush()

    def _put_has_started(self) -> None:
        self._unstarted -= 1
        if not self._unstarted:
            self._turn()

    def _is_welcome(self, command: int, size: int, kind: int, count: int, sid: int, ioid: int) -> bool:
        """Whether to receive a request with so many bytes; if not, the client has been told."""
        if command not in _WRITES:
            raise _Malformed("it is too long", Status.TOLARGE)
        channel = self._channel(sid)
        if size <= payload_limit(channel, kind):
            return True
        request = header(command, size, kind, count, sid, ioid)
        text = f"{channel.name} has {channel.count} elements, {size} bytes are too many"
        self._out.answer(error(request, channel.cid, Status.TOLARGE, text))
        return False

    def _complain(self, malformed: _Malformed, request: bytes) -> None:
        self._statistics.malformed += 1
        text = f"dropped client {self} for a malformed request: {malformed} ({request.hex(' ', 4)})"
        self._server.complain(self.address[0], text)
        self._out.answer(error(request, malformed.cid, malformed.status, str(malformed)))
        self._out.flush()
        self.close()

    def _channel(self, sid: int) -> Channel:
        try:
            return self.channels[sid]
        except KeyError:
            raise _Malformed("there is no such channel") from None

    def _rights(self, channel: Channel) -> int:
        rights = int(channel.entry.check_access(self.host, self.user))
        return self._server.limited(rights, channel.name, self) if self._server.access else rights

    def _turn_soon(self) -> None:
        if not self._turn_is_due:
            self._turn_is_due = self._server.flusher.is_due = True
            self._loop.call_soon(self._turn)

    def _turn(self) -> None:
        """Go on with what had to wait."""
        self._turn_is_due = False
        if self.is_open:
            self._out.flush()
            if self._is_paused:
                self._work()
        # What a put has changed is told to others at once.
        self._server.flusher.flush()

    def _version(self, command: int, *rest: object) -> None:
        # libca asks again, with another priority, on a circuit that began as a name server's.
        self._out.answer(HEADER.pack(Command.VERSION, 0, 0, CA_VERSION, 0, 0))

    def _name(self, command: int, kind: int, count: int, first: int, second: int, payload: bytes) -> None:
        name = _text(payload)
        attribute = "host" if command == Command.HOST_NAME else "user"
        if self.channels and name != getattr(self, attribute):
            text = "a client can't change its name after its first channel"
            request = header(command, len(payload), kind, count, first, second)
            self._out.answer(error(request, SELF, Status.INTERNAL, text))
        else:
            setattr(self, attribute, name)

    def _echo(self, *request: object) -> None:
        self._out.answer(_ECHO)

    def _read_sync(self, *request: object) -> None:
        self._out.answer(HEADER.pack(Command.READ_SYNC, 0, 0, 0, 0, 0))

    def _search(self, command: int, kind: int, count: int, first: int, second: int, payload: bytes) -> None:
        if self._server.has(_text(payload)):
            self._out.answer(HEADER.pack(Command.SEARCH, 0, self._server.port, 0, SELF, first))
        elif kind == DO_REPLY:
            self._out.answer(HEADER.pack(Command.NOT_FOUND, 0, DO_REPLY, CA_VERSION, first, first))

    def _create_channel(
        self, command: int, kind: int, count: int, first: int, second: int, payload: bytes
    ) -> None:
        try:
            found = self._server.find(_text(payload))
        except KeyError:
            self._out.answer(HEADER.pack(Command.CREATE_FAILED, 0, 0, 0, first, 0))
            return
        entry = found.entry
        data_type, length = entry.data_type, entry.max_length
        if found.is_long_string and data_type == ChannelType.STRING:
            data_type, length = ChannelType.CHAR, entry.long_string_max_length
        self._last_sid += 1
        channel = self.channels[self._last_sid] = Channel(found, self._last_sid, first, length)
        self._statistics.channels += 1
        self._out.answer(
            HEADER.pack(Command.ACCESS_RIGHTS, 0, 0, 0, first, self._rights(channel))
            + header(Command.CREATE_CHANNEL, 0, data_type, length, first, channel.sid)
        )

    def _clear_channel(
        self, command: int, kind: int, count: int, first: int, second: int, payload: bytes
    ) -> None:
        # A client may clear a channel without cancelling its monitors first.
        self._forget(self._channel(first))
        self._out.answer(HEADER.pack(Command.CLEAR_CHANNEL, 0, 0, 0, first, second))

    def _forget(self, channel: Channel) -> None:
        for subid in list(channel.monitors):
            self._forget_monitor(channel, subid)
        del self.channels[channel.sid]
        self._statistics.channels -= 1

    # Reading

    def _read_notify(
        self, command: int, kind: int, count: int, first: int, second: int, payload: bytes
    ) -> None:
        channel = self._channel(first)
        if channel.is_ours and channel.entry not in self._puts_of:
            self._answer_read(channel, command, kind, count, second)
        else:
            self._run(self._read_later(channel, command, kind, count, second))

    async def _read_later(self, channel: Channel, command: int, kind: int, count: int, ioid: int) -> None:
        """Read a PV that is being put to: its client wants to see the put, as in the C IOC."""
        try:
            puts = self._puts_of.get(channel.entry)
            if puts:
                await asyncio.wait(puts, timeout=READ_AFTER_PUT_SECONDS)
            if channel.is_ours:
                self._answer_read(channel, command, kind, count, ioid)
            else:
                await self._answer_stock_read(channel, command, kind, count, ioid)
        finally:
            self._done()

    def _answer_read(self, channel: Channel, command: int, kind: int, count: int, ioid: int) -> None:
        status = refusal_to_read(channel, kind, count, self._rights(channel) & _READ)
        if status is Status.NORMAL:
            try:
                made = channel.dbr(kind)
            except ValueError:
                status = Status.GETFAIL
            else:
                assert made is not None
                first = 1 if command == _READ_NOTIFY else channel.cid
                self._out.answer(*read_answer(command, first, kind, count, ioid, *made))
                return
        self._refuse_read(channel, command, kind, count, ioid, status)

    async def _answer_stock_read(
        self, channel: Channel, command: int, kind: int, count: int, ioid: int
    ) -> None:
        status = refusal_to_read(channel, kind, count, self._rights(channel) & _READ)
        if status is Status.NORMAL:
            try:
                made = await read_stock(
                    *(channel.entry, channel.type_name(kind), self.user, self.host, self.address),
                    channel.channel_filter,
                )
            except Exception as failure:
                log.info("%s: get by %s failed: %r", channel.name, self, failure)
                status = Status.GETFAIL
            else:
                first = 1 if command == _READ_NOTIFY else channel.cid
                self._out.answer(*read_answer(command, first, kind, count, ioid, *made))
                return
        self._refuse_read(channel, command, kind, count, ioid, status)

    def _refuse_read(
        self, channel: Channel, command: int, kind: int, count: int, ioid: int, status: Status
    ) -> None:
        if command == _READ_NOTIFY:
            self._out.answer(failed_dbr(command, kind, status, ioid))
        else:
            request = header(command, 0, kind, count, channel.sid, ioid)
            self._out.answer(error(request, channel.cid, status, channel.name))

    # Monitors

    def _add_monitor(
        self, command: int, kind: int, count: int, first: int, second: int, payload: bytes
    ) -> None:
        channel = self._channel(first)
        mask = MASK.unpack_from(payload)[0] if len(payload) >= MASK.size else 0
        if not mask or kind >= len(TYPES):
            raise _Malformed(f"no monitor of {channel.name}", Status.ADDFAIL, channel.cid)
        if second in channel.monitors:
            self._forget_monitor(channel, second)
        monitor = channel.monitors[second] = Monitor(self, channel, kind, count, mask, second)
        self._statistics.monitors += 1
        status = refusal_to_read(channel, kind, count, self._rights(channel) & _READ)
        if status is Status.NORMAL:
            if not isinstance(channel.entry, Served):
                self._run(self._subscribe_stock(monitor))
                return
            try:
                _run_now(channel.entry.subscribe(monitor, monitor.spec, None))
                return
            except ValueError:
                status = Status.GETFAIL
        self._refuse_monitor(monitor, status)

    async def _subscribe_stock(self, monitor: Monitor) -> None:
        try:
            await self._server.stock_events.add(monitor, monitor.spec)
            if not monitor.is_on:
                await self._server.stock_events.remove(monitor, monitor.spec)
        except Exception as failure:
            log.info("%s: monitor by %s failed: %r", monitor.channel.name, self, failure)
            self._refuse_monitor(monitor, Status.GETFAIL)
        finally:
            self._done()

    def _refuse_monitor(self, monitor: Monitor, status: Status) -> None:
        # As an event, because libca hands that to who asked for the monitor.
        self._out.answer(failed_dbr(Command.EVENT_ADD, monitor.kind, status, monitor.subid))

    def _cancel_monitor(
        self, command: int, kind: int, count: int, first: int, second: int, payload: bytes
    ) -> None:
        channel = self._channel(first)
        monitor = channel.monitors.get(second)
        if monitor is None:
            raise _Malformed(f"there is no such monitor of {channel.name}", Status.BADMONID, channel.cid)
        self._forget_monitor(channel, second)
        self._out.answer(header(Command.EVENT_ADD, 0, monitor.kind, monitor.count, first, second))

    def _forget_monitor(self, channel: Channel, subid: int) -> None:
        monitor = channel.monitors.pop(subid)
        # No event may follow the answer to its cancellation; those that wait are not sent.
        monitor.is_on = False
        self._statistics.monitors -= 1
        if isinstance(channel.entry, Served):
            _run_now(channel.entry.unsubscribe(monitor, monitor.spec))
        else:
            self._server.start(self._server.stock_events.remove(monitor, monitor.spec))

    def _events_off(self, *request: object) -> None:
        self._out.events_are_on = False

    def _events_on(self, *request: object) -> None:
        self._out.events_are_on = True
        self._out.keep_newest_events()
        self._out.flush()

    def add_event(self, monitor: Monitor, dbr: bytes, count: int) -> None:
        """Send an event soon; events that come together leave together."""
        self._out.add_event(monitor, dbr, count)

    # Puts

    def _run(self, coroutine: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        self._busy += 1
        return self._server.start(coroutine)

    def _done(self) -> None:
        """The end of a put, and of each coroutine of `_run`."""
        self._busy -= 1
        if self.is_open:
            self._turn_soon()

    def _write(self, command: int, kind: int, count: int, first: int, second: int, payload: bytes) -> None:
        channel = self._channel(first)
        request = (command, len(payload), kind, count, first, second)
        if not self._rights(channel) & _WRITE:
            log.info("%s: put by %s is not allowed", channel.name, self)
            self._answer_put(channel, Status.NOWTACCESS, "this client may not write", request)
            return
        try:
            data = decode_put(kind, count, payload)
        except Refused as refused:
            log.info("%s: put by %s failed: %s", channel.name, self, refused)
            self._answer_put(channel, refused.status, str(refused), request)
            return
        # A task for each put: tasks start in the order of their making, so puts reach the putter in order.
        self._busy += 1
        task = self._loop.create_task(self._put(channel, data, request))
        self._server.tasks.add(task)
        self._puts_of.setdefault(channel.entry, set()).add(task)
        self._unstarted += 1
        self._server.flusher.is_due = True
        self._loop.call_soon(self._put_has_started)

    async def _put(self, channel: Channel, data: Any, request: _Request) -> None:
        status, text = Status.NORMAL, ""
        try:
            await write(channel.entry, data, TYPES[request[2]], self.user, self.host, self.address)
        except Exception as failure:
            status, text = Status.PUTFAIL, str(failure) or repr(failure)
            expected = is_expected(failure)
            level = logging.INFO if expected else logging.ERROR
            log.log(level, "%s: put by %s failed: %s", channel.name, self, text, exc_info=not expected)
        finally:
            task: Any = asyncio.current_task()
            self._server.tasks.discard(task)
            puts = self._puts_of[channel.entry]
            puts.discard(task)
            if not puts:
                del self._puts_of[channel.entry]
            self._done()
        if self.is_open:
            self._answer_put(channel, status, text, request)

    def _answer_put(self, channel: Channel, status: Status, text: str, request: _Request) -> None:
        command, _, kind, count, _, ioid = request
        if command == Command.WRITE_NOTIFY:
            self._out.answer(header(command, 0, kind, count, status, ioid))
        elif status is not Status.NORMAL:
            self._out.answer(error(header(*request), channel.cid, status, text))


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
