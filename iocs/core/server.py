"""The Channel Access server: caproto's protocol, with a lifecycle, limits and a short way for events.

caproto's asyncio server is fit for the protocol, not for operation: a client that stops reading freezes the
monitors of all others, updates wait up to a second to be batched, an error leaves connections open and mute,
and stopping leaves clients connected. The subclasses here replace those parts.
"""

import asyncio
import itertools
import logging
import os
import socket
import struct
import sys
from collections import deque
from collections.abc import Coroutine, Iterable, Mapping, Sequence
from contextlib import suppress
from typing import Any

import caproto
from caproto._utils import apply_arr_filter, apply_deadband_filter, parse_channel_filter
from caproto.server.common import DisconnectedCircuit

from labioc.devices.core._caproto import (
    AccessRights,
    ChannelData,
    ChannelType,
    SubscriptionSpec,
    SubscriptionUpdate,
)
from labioc.iocs.core._caproto import (
    HEADER,
    CAStatus,
    Context,
    Subscription,
    Transport,
    VirtualCircuit,
    encode_event,
)
from labioc.iocs.core._sockets import broadcast_address, listen_on, port_of, search_socket

log = logging.getLogger("labioc.ca")

CA_VERSION = 13
MAX_REQUEST_BYTES = 64 << 20
MAX_QUEUED_EVENTS = 1000
MAX_QUEUED_BYTES = 1 << 20
MAX_WRITE_BUFFER = 1 << 16
"""asyncio's high-water mark: beyond it `drain` waits."""
MAX_ERROR_TEXT = 200
GATHER_SECONDS = 0.001
READ_BYTES = 1 << 16
STOP_SECONDS = 2.0
HOST_ENDIAN = ">" if sys.byteorder == "big" else "<"

_VERSION, _SEARCH, _BEACON = 0, 6, 13
_NO_FILTER = (None, None, None, None)


class _BoundedEvent(asyncio.Event):
    """An event with caproto's `wait(timeout)`; asyncio.wait_for would make a task for each read request."""

    async def wait(self, timeout: float | None = None) -> bool:  # type: ignore[override]
        if not self.is_set():
            with suppress(TimeoutError):
                async with asyncio.timeout(timeout):
                    await super().wait()
        return self.is_set()


class _Circuit(VirtualCircuit):
    """One client. Its events wait in a queue of its own, of which only the newest survive if it is slow."""

    def __init__(self, circuit: Any, client: Transport, context: "_Server") -> None:
        super().__init__(circuit, client, context)
        self.write_event = _BoundedEvent()
        self.write_event.set()
        self.events_on.set()
        self.context: _Server = context
        self._transport = client.writer.transport
        self._loop = asyncio.get_running_loop()
        self._events: deque[tuple[int, bytes]] = deque()
        self._event_bytes = 0
        self._max_events, self._max_event_bytes = MAX_QUEUED_EVENTS, MAX_QUEUED_BYTES
        self._flush_is_due = False
        self._flushed = 0.0
        self._is_blocked = False

    @property
    def who(self) -> str:
        """The client, as it calls itself, and its real address."""
        host, port = self.circuit.address
        return f"{self.client_username or '?'}@{self.client_hostname or '?'} ({host}:{port})"

    async def serve(self) -> None:
        """Answer this client until it or the server goes."""
        reader = self.client.reader
        try:
            while received := await reader.read(READ_BYTES):
                # A client that doesn't take its answers is not asked for more requests.
                await self.client.writer.drain()
                answers: list[Any] = []
                for command in self._parse(received):
                    answers.extend(await self._answer(command))
                if answers:
                    # What came in one piece is answered in one piece, after the events before it.
                    self._flush()
                    await self.client.send(b"".join(answers))
                if len(self.circuit._data) > MAX_REQUEST_BYTES:
                    raise caproto.RemoteProtocolError(f"a request of more than {MAX_REQUEST_BYTES} bytes")
        except (ConnectionError, caproto.CaprotoNetworkError, DisconnectedCircuit) as error:
            log.debug("client %s is gone: %s", self.who, error)
        except (OSError, caproto.CaprotoError) as error:
            log.info("dropped client %s: %s", self.who, error)
        except Exception:
            log.exception("dropped client %s", self.who)
        finally:
            await self._on_disconnect()

    def _parse(self, received: bytes) -> list[Any]:
        try:
            return list(self.circuit.recv(received)[0])
        except Exception as error:
            # caproto trips over a wrong message in many ways.
            raise caproto.RemoteProtocolError(f"can't parse what it sent: {error!r}") from None

    async def _answer(self, command: Any) -> list[Any]:
        """The buffers that answer one command."""
        if isinstance(command, caproto.VersionRequest) and self.circuit.priority is not None:
            # libca asks again, with another priority, on a circuit that began as a name server's.
            command = caproto.VersionRequest(priority=self.circuit.priority, version=command.version)
        if isinstance(command, caproto.CreateChanRequest) and not self.context.has(command.name):
            # Not by way of caproto's circuit, which can't hold a channel whose name it can't parse.
            return [bytes(caproto.CreateChFailResponse(command.cid))]
        try:
            self.circuit.process_command(command)
        except Exception as error:
            raise caproto.RemoteProtocolError(f"{type(command).__name__} out of place: {error!r}") from None
        try:
            answers = await self._process_command(command) or ()
        except caproto.RemoteProtocolError:
            raise
        except Exception as error:
            channel = self.circuit.channels_sid.get(getattr(command, "sid", None))
            if channel is None:
                raise
            status = (
                CAStatus.ECA_NORDACCESS if isinstance(error, caproto.Forbidden) else CAStatus.ECA_INTERNAL
            )
            log.info("%s: %s by %s: %s", channel.name, type(command).__name__, self.who, error)
            answers = [_error(command, channel, status, error)]
        buffers: list[Any] = self.circuit.send(*answers)
        return buffers

    async def _process_command(self, command: Any) -> Iterable[Any] | None:
        if isinstance(command, caproto.WriteRequest | caproto.WriteNotifyRequest):
            channel, entry = self._get_db_entry_from_command(command)
            self.write_event.clear()
            # A task for each put: tasks start in the order of their making, so puts reach the putter in order.
            self.tasks.create(self._put(channel, entry, command))
            return None
        if isinstance(command, caproto.EventAddRequest):
            _, entry = self._get_db_entry_from_command(command)
            # caproto asks for the right to read before a read only.
            if AccessRights.READ not in entry.check_access(self.client_hostname, self.client_username):
                raise caproto.Forbidden(f"{self.who} may not read")
        if isinstance(command, caproto.EventsOffRequest):
            self.events_on.clear()
            return None
        if isinstance(command, caproto.EventsOnRequest):
            self.events_on.set()
            self._keep_newest_events()
            self._flush()
            return None
        if isinstance(command, caproto.ClearChannelRequest):
            # A client may clear a channel without cancelling its monitors first.
            channel = self.circuit.channels_sid[command.sid]
            await self._cull_subscriptions(None, lambda sub: sub.channel is channel)
        return await super()._process_command(command)

    async def _put(self, channel: Any, entry: ChannelData, command: Any) -> None:
        status, reason = CAStatus.ECA_NORMAL, Exception()
        try:
            await entry.auth_write(
                self.client_hostname,
                self.client_username,
                command.data,
                command.data_type,
                command.metadata,
                user_address=self.circuit.address,
            )
        except Exception as error:
            forbidden = isinstance(error, caproto.Forbidden)
            status = CAStatus.ECA_NOWTACCESS if forbidden else CAStatus.ECA_PUTFAIL
            reason = error
            expected = forbidden or getattr(error, "expected", False)
            level = logging.INFO if expected else logging.ERROR
            log.log(level, "%s: put by %s failed: %s", channel.name, self.who, error, exc_info=not expected)
        finally:
            self.write_event.set()
        # The channel or the client may be gone by now; then nobody waits for the answer.
        with suppress(caproto.CaprotoError, DisconnectedCircuit):
            if isinstance(command, caproto.WriteNotifyRequest):
                await self.send(channel.write(command.ioid, command.data_type, command.data_count, status))
            elif status is not CAStatus.ECA_NORMAL:
                await self.send(_error(command, channel, status, reason))

    async def send(self, *commands: Any) -> None:
        """Send answers, after the events that happened before them."""
        self._flush()
        await super().send(*commands)

    async def _cull_subscriptions(
        self, db_entry: object, func: Any
    ) -> tuple[tuple[SubscriptionSpec, Subscription], ...]:
        removed = await super()._cull_subscriptions(db_entry, func)
        # No event may follow the answer to its cancellation.
        gone = {sub.subscriptionid for _, sub in removed}
        self._events = deque(event for event in self._events if event[0] not in gone)
        self._event_bytes = sum(len(message) for _, message in self._events)
        return removed

    async def _on_disconnect(self) -> None:
        await super()._on_disconnect()
        self._events.clear()
        # Closing waits for a client that may never read what is still buffered.
        self._transport.abort()

    def add_event(self, subscriptionid: int, message: bytes) -> None:
        """Send an event soon; events that come together leave together."""
        self._events.append((subscriptionid, message))
        self._event_bytes += len(message)
        if len(self._events) > self._max_events or self._event_bytes > self._max_event_bytes:
            self._flush()
            self._keep_newest_events()
        if not self._flush_is_due:
            self._flush_is_due = True
            # The first event leaves at once; those that follow on its heels leave together, not each by a call.
            wait = self._flushed + GATHER_SECONDS - self._loop.time()
            if wait > 0:
                self._loop.call_later(wait, self._flush_due)
            else:
                self._loop.call_soon(self._flush_due)

    def _flush_due(self) -> None:
        self._flush_is_due = False
        self._flush()

    def _flush(self) -> None:
        if not self._events or self._is_blocked or not self.events_on.is_set() or not self.connected:
            return
        self._flushed = self._loop.time()
        self._transport.write(b"".join([message for _, message in self._events]))
        self._events.clear()
        self._event_bytes = 0
        if self._transport.get_write_buffer_size() > MAX_WRITE_BUFFER:
            self._is_blocked = True
            self.tasks.create(self._unblock())

    async def _unblock(self) -> None:
        # A lost connection ends `serve`, which cleans up.
        with suppress(OSError):
            await self.client.writer.drain()
        self._is_blocked = False
        self._flush()

    def _keep_newest_events(self) -> None:
        """Of every monitor keep the newest event only, in the order in which they happened."""
        newest: dict[int, bytes] = {}
        for subscriptionid, message in self._events:
            newest.pop(subscriptionid, None)
            newest[subscriptionid] = message
        self._events = deque(newest.items())
        self._event_bytes = sum(map(len, newest.values()))
        # Twice what is left: dropping costs the same per event however many monitors there are.
        self._max_events = max(MAX_QUEUED_EVENTS, 2 * len(newest))
        self._max_event_bytes = max(MAX_QUEUED_BYTES, 2 * self._event_bytes)


def _error(command: Any, channel: Any, status: CAStatus, error: Exception) -> Any:
    text = str(error).encode("latin-1", "replace").decode("latin-1")[:MAX_ERROR_TEXT]
    return caproto.ErrorResponse(command, channel.cid, status, text)


class _Server(Context):
    """The listening sockets, and the way from a PV's event to the clients that monitor it."""

    def __init__(self, pvdb: Mapping[str, ChannelData], interfaces: Sequence[str]) -> None:
        super().__init__(pvdb, interfaces)
        # PVs queue their events here; they are sent on at once, so a queue and its task are not needed.
        self.subscription_queue = self
        self._listeners: list[asyncio.Server] = []
        self._datagrams: list[asyncio.DatagramTransport] = []
        self._beacon_from: dict[str, asyncio.DatagramTransport] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self.search_port = port_of("EPICS_CAS_SERVER_PORT", "EPICS_CA_SERVER_PORT", default=5064)
        self._beacon_port = port_of("EPICS_CAS_BEACON_PORT", "EPICS_CA_REPEATER_PORT", default=5065)

    def __getitem__(self, pvname: str) -> ChannelData:
        """The PV or field of this name. Raises KeyError if there is none, or not with these modifiers."""
        try:
            return self.pvdb[pvname]
        except KeyError:
            _, record, field, modifiers = caproto.parse_record_field(pvname)
        entry = self.pvdb[record]
        if field:
            try:
                entry = entry.get_field(field)
            except AttributeError:
                raise KeyError(pvname) from None
        if modifiers is not None:
            try:
                wanted = parse_channel_filter(modifiers.filter_)
            except ValueError as error:
                raise KeyError(f"{pvname}: {error}") from None
            is_text = entry.data_type in (ChannelType.STRING, ChannelType.CHAR)
            as_long_string = caproto.RecordModifiers.long_string in modifiers.modifiers
            if wanted.sync or (as_long_string and not is_text):
                raise KeyError(pvname)
        return entry

    def has(self, pvname: str) -> bool:
        """Whether this server has a PV or field of this name."""
        try:
            self[pvname]
        except KeyError:
            return False
        return True

    async def open(self) -> None:
        """Bind, listen and answer searches. Raises OSError, and ValueError for a wrong beacon address."""
        loop = asyncio.get_running_loop()
        self.port, listening = listen_on(self.interfaces, self.search_port)
        try:
            for interface in self.interfaces:
                await self._open_datagrams(loop, interface)
            targets = self._beacon_targets()
        except (OSError, ValueError):
            for sock in listening:
                sock.close()
            self._close_datagrams()
            raise
        for sock in listening:
            self._listeners.append(await asyncio.start_server(self._accept, sock=sock))
        self._start(self._send_beacons(targets))

    async def close(self) -> None:
        """Close every socket and end every task; takes STOP_SECONDS at most."""
        for listener in self._listeners:
            listener.close()
        self._close_datagrams()
        ending: set[asyncio.Task[Any]] = set(self._tasks)
        for circuit in list(self.circuits):
            ending.update(circuit.tasks.tasks)
        for task in ending:
            task.cancel()
        if ending:
            await asyncio.wait(ending, timeout=STOP_SECONDS)
        # Transports close their sockets one turn of the loop later.
        await asyncio.sleep(0)

    def _start(self, coroutine: Coroutine[Any, Any, None]) -> None:
        task = asyncio.create_task(coroutine)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        sock = writer.get_extra_info("socket")
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        # Finds clients that went without a word; nothing else ends an idle connection.
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        address = writer.get_extra_info("peername")
        circuit = _Circuit(
            caproto.VirtualCircuit(caproto.SERVER, address, None), Transport(reader, writer), self
        )
        self._start(self._serve(circuit))

    async def _serve(self, circuit: _Circuit) -> None:
        self.circuits.add(circuit)
        try:
            await circuit.serve()
        finally:
            self.circuits.discard(circuit)

    async def put(self, update: SubscriptionUpdate) -> None:
        """`put_nowait`, as caproto's own channels call it."""
        self.put_nowait(update)

    def put_nowait(self, update: SubscriptionUpdate) -> None:
        """Send one event to all that subscribed to it, or to the one that has just subscribed."""
        specs, metadata, values, flags, new = update
        for spec in specs:
            is_filtered = spec.channel_filter != _NO_FILTER
            for sub in (new,) if new is not None else self.subscriptions.get(spec, ()):
                if is_filtered:
                    filtered = self._filtered(sub, values, flags)
                    if filtered is not None:
                        sub.circuit.add_event(sub.subscriptionid, encode_event(sub, metadata, filtered))
                else:
                    sub.circuit.add_event(sub.subscriptionid, encode_event(sub, metadata, values))

    def _filtered(self, sub: Subscription, values: Any, flags: int) -> Any | None:
        """The values after the channel's filters, or None if they say that this event isn't for the client."""
        values = apply_arr_filter(sub.channel_filter.arr, values)
        if sub.channel_filter.dbnd is None:
            return values
        last = self.last_dead_band.get(sub)
        reference = apply_deadband_filter(last, values, sub, flags, HOST_ENDIAN)
        if reference is None:
            return None
        self.last_dead_band[sub] = reference
        return values

    async def _open_datagrams(self, loop: asyncio.AbstractEventLoop, interface: str) -> None:
        """Hear searches sent to the interface and, which takes a socket of its own, to its broadcast address."""
        unicast = await self._open_datagram(loop, interface, None)
        broadcast = broadcast_address(interface)
        if broadcast != "255.255.255.255":
            await self._open_datagram(loop, broadcast, unicast)
        self._beacon_from[interface] = unicast

    async def _open_datagram(
        self, loop: asyncio.AbstractEventLoop, address: str, answer_from: asyncio.DatagramTransport | None
    ) -> asyncio.DatagramTransport:
        sock = search_socket(address, self.search_port)
        transport, _ = await loop.create_datagram_endpoint(lambda: _Searches(self, answer_from), sock=sock)
        self._datagrams.append(transport)
        return transport

    def _close_datagrams(self) -> None:
        for transport in self._datagrams:
            transport.close()

    def answer_searches(self, datagram: bytes) -> bytes:
        """The answer to a datagram of search requests: empty if we have none of the PVs."""
        answer = b""
        version = b""
        at = 0
        while at + HEADER.size <= len(datagram):
            command, size, _, _, cid, _ = HEADER.unpack_from(datagram, at)
            at += HEADER.size
            name = datagram[at : at + size].partition(b"\0")[0].decode("latin-1")
            at += size
            if command == _VERSION:
                version = HEADER.pack(_VERSION, 0, 0, CA_VERSION, 0, 0)
            elif command == _SEARCH and self.has(name):
                # All ones: the server's address is where this datagram comes from.
                answer += HEADER.pack(_SEARCH, 8, self.port, 0, 0xFFFFFFFF, cid)
                answer += struct.pack(">H6x", CA_VERSION)
        return version + answer if answer else b""

    async def _send_beacons(
        self, targets: Sequence[tuple[asyncio.DatagramTransport, tuple[str, int]]]
    ) -> None:
        """Tell that we are here, at first often and then every EPICS_CAS_BEACON_PERIOD seconds."""
        longest = float(self.environ["EPICS_CAS_BEACON_PERIOD"])
        period = 0.02
        for count in itertools.count():
            beacon = HEADER.pack(_BEACON, 0, CA_VERSION, self.port, count & 0xFFFFFFFF, 0)
            for transport, target in targets:
                transport.sendto(beacon, target)
            await asyncio.sleep(period)
            period = min(2 * period, longest)

    def _beacon_targets(self) -> list[tuple[asyncio.DatagramTransport, tuple[str, int]]]:
        listed = []
        for item in os.environ.get("EPICS_CAS_BEACON_ADDR_LIST", "").split():
            host, _, port = item.partition(":")
            listed.append((socket.gethostbyname(host), int(port or self._beacon_port)))
        auto = os.environ.get("EPICS_CAS_AUTO_BEACON_ADDR_LIST", "YES").upper() != "NO"
        targets = []
        for interface, transport in self._beacon_from.items():
            wanted = set(listed)
            if auto:
                wanted.add((broadcast_address(interface), self._beacon_port))
            # Who serves on loopback only must not be heard elsewhere.
            targets += [
                (transport, target)
                for target in sorted(wanted)
                if not interface.startswith("127.") or target[0].startswith("127.")
            ]
        return targets


class _Searches(asyncio.DatagramProtocol):
    """Hears searches on one socket and answers them, from another one if this is bound to a broadcast address."""

    def __init__(self, server: _Server, answer_from: asyncio.DatagramTransport | None) -> None:
        self._server = server
        self._answer_from = answer_from

    def connection_made(self, transport: asyncio.DatagramTransport) -> None:  # type: ignore[override]
        self._answer_from = self._answer_from or transport

    def datagram_received(self, data: bytes, addr: tuple[str, int]) -> None:
        if addr[0] not in self._server.ignore_addresses and self._answer_from is not None:
            answer = self._server.answer_searches(data)
            if answer:
                self._answer_from.sendto(answer, addr)


class CAServer:
    """Serves PVs over Channel Access on the given interfaces; on loopback unless told otherwise.

    EPICS_CAS_SERVER_PORT or EPICS_CA_SERVER_PORT is the port of searches, and of connections if it is free.
    """

    def __init__(self, pvdb: Mapping[str, ChannelData], interfaces: Sequence[str] = ("127.0.0.1",)) -> None:
        """`pvdb` is looked into at every search, so PVs may be added to it at any time."""
        self._pvdb = pvdb
        self._interfaces = tuple(interfaces)
        self._server: _Server | None = None

    @property
    def port(self) -> int:
        """The TCP port. Raises RuntimeError if the server isn't started."""
        return self._started().port

    @property
    def search_port(self) -> int:
        """The UDP port of searches. Raises RuntimeError if the server isn't started."""
        return self._started().search_port

    def _started(self) -> _Server:
        if self._server is None:
            raise RuntimeError("the Channel Access server is not started")
        return self._server

    async def start(self) -> None:
        """Bind, listen and answer searches.

        Raises OSError if a port can't be bound, ValueError if an EPICS_CA... variable isn't a port number and
        RuntimeError if the server is started already.
        """
        if self._server is not None:
            raise RuntimeError("the Channel Access server is started already")
        server = _Server(self._pvdb, self._interfaces)
        await server.open()
        self._server = server

    async def stop(self) -> None:
        """Close all clients and sockets within a bounded time; a server that isn't started stays as it is."""
        server, self._server = self._server, None
        if server is not None:
            await server.close()
