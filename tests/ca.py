"""Two Channel Access clients for tests: `Client` in this process, `Libca` (EPICS's own library) in another.

Both take ports and addresses from the EPICS_CA_... variables of the environment and start no repeater.
Every wait is bounded by PATIENCE seconds and ends in TimeoutError.
"""

import asyncio
import contextlib
import ctypes
import itertools
import json
import os
import queue
import socket
import struct
import sys
import threading
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Self

import caproto as ca
from caproto._status import eca_value_to_status

PATIENCE = 20.0
SEARCH_AGAIN = 0.2

_NOTIFY = {15: "ReadNotify", 19: "WriteNotify"}
DBE_VALUE, DBE_LOG, DBE_ALARM, DBE_PROPERTY = 1, 2, 4, 8


@dataclass(frozen=True)
class Reading:
    """What a client gets: the value as Python has it, alarm and time (seconds since 1970)."""

    value: Any
    status: int
    severity: int
    stamp: float
    nanoseconds: int = 0
    metadata: Any = None


class GetFailed(Exception):
    """Raised when the server answers a read with an error."""


async def until(condition: Callable[[], object]) -> None:
    """Let the event loop go on until the condition holds."""
    async with asyncio.timeout(PATIENCE):
        while not condition():  # noqa: ASYNC110 - there is no event for it
            await asyncio.sleep(0)


class PutFailed(Exception):
    """Raised when the server refuses a put, or a get; `status` is the ECA code's name."""

    def __init__(self, status: str, message: str = "") -> None:
        super().__init__(f"{status} {message}")
        self.status = status


class Events:
    """What a monitor delivers."""

    def __init__(self) -> None:
        self.received: list[Reading] = []
        self.on_event: Callable[[Reading], None] = lambda reading: None
        self._fresh: asyncio.Queue[Reading] = asyncio.Queue()

    def add(self, reading: Reading) -> None:
        self.received.append(reading)
        self.on_event(reading)
        self._fresh.put_nowait(reading)

    async def next(self, wanted: Callable[[Reading], bool] = lambda reading: True) -> Reading:
        """The next event of which `wanted` is true; those before it are skipped."""
        async with asyncio.timeout(PATIENCE):
            while True:
                reading = await self._fresh.get()
                if wanted(reading):
                    return reading


@dataclass
class Channel:
    """A connected channel of `Client`."""

    name: str
    circuit: "_Circuit"
    channel: Any
    is_cleared: bool = False

    @property
    def access(self) -> ca.AccessRights:
        return self.channel.access_rights

    @property
    def data_type(self) -> ca.ChannelType:
        return self.channel.native_data_type

    @property
    def count(self) -> int:
        return int(self.channel.native_data_count)


class _Circuit:
    """One TCP connection: sends requests and gives each answer to who waits for it."""

    def __init__(self, address: tuple[str, int]) -> None:
        self.protocol = ca.VirtualCircuit(our_role=ca.CLIENT, address=address, priority=0)
        self.address = address
        self.closed = asyncio.Event()
        self.errors: list[str] = []
        self._waiting: dict[tuple[str, int], asyncio.Future[Any]] = {}
        self._monitors: dict[int, Callable[[Any], None]] = {}
        self._creating: dict[int, asyncio.Future[Any]] = {}

    async def open(self) -> None:
        self._reader, self._writer = await asyncio.open_connection(*self.address)
        self.send(
            ca.VersionRequest(priority=0, version=ca.DEFAULT_PROTOCOL_VERSION),
            ca.HostNameRequest("testhost"),
            ca.ClientNameRequest("tester"),
        )
        self._task = asyncio.create_task(self._receive())

    def send(self, *commands: Any) -> None:
        self._writer.write(b"".join(bytes(part) for part in self.protocol.send(*commands)))

    async def create(self, name: str) -> Any:
        channel = ca.ClientChannel(name, self.protocol)
        future = self._creating[channel.cid] = asyncio.get_running_loop().create_future()
        self.send(channel.create())
        await future
        return channel

    async def ask(self, command: Any) -> Any:
        future: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        self._waiting[(type(command).__name__.removesuffix("Request"), command.ioid)] = future
        self.send(command)
        return await future

    def monitor(self, command: Any, deliver: Callable[[Any], None]) -> None:
        self._monitors[command.subscriptionid] = deliver
        self.send(command)

    def forget(self, subscriptionid: int) -> None:
        self._monitors.pop(subscriptionid, None)

    async def _receive(self) -> None:
        with contextlib.suppress(OSError):
            while data := await self._reader.read(1 << 16):
                for command in self.protocol.recv(data)[0]:
                    self.protocol.process_command(command)
                    self._dispatch(command)
        self._writer.close()
        self.closed.set()
        for future in (*self._waiting.values(), *self._creating.values()):
            if not future.done():
                future.set_exception(ConnectionResetError("the server closed the circuit"))

    def _dispatch(self, command: Any) -> None:
        name = type(command).__name__
        if name == "CreateChanResponse":
            self._creating.pop(command.cid).set_result(None)
        elif name == "CreateChFailResponse":
            self._creating.pop(command.cid).set_exception(KeyError("no such channel"))
        elif name == "EventAddResponse":
            deliver = self._monitors.get(command.subscriptionid)
            if deliver is not None:
                deliver(command)
        elif name == "ErrorResponse":
            text = bytes(command.error_message).partition(b"\0")[0].decode("latin-1")
            self.errors.append(f"{command.status.name} {text}")
            request = command.original_request
            waiting = self._waiting.pop((_NOTIFY.get(request.command, ""), request.parameter2), None)
            if waiting is not None and not waiting.done():
                waiting.set_exception(PutFailed(command.status.name, text))
        elif hasattr(command, "ioid"):
            future = self._waiting.pop((name.removesuffix("Response"), command.ioid))
            if not future.done():
                future.set_result(command)

    async def close(self) -> None:
        self._writer.close()
        self._task.cancel()
        await asyncio.wait([self._task])


class _Searcher(asyncio.DatagramProtocol):
    def __init__(self, heard: Callable[[bytes, tuple[str, int]], None]) -> None:
        self._heard = heard

    def datagram_received(self, data: bytes, addr: tuple[str, int]) -> None:
        self._heard(data, addr)


class Client:
    """An asynchronous client; an async context manager."""

    def __init__(self, address_list: str | None = None) -> None:
        port = int(os.environ["EPICS_CA_SERVER_PORT"])
        hosts = (address_list or os.environ["EPICS_CA_ADDR_LIST"]).split()
        self._targets = [(host, port) for host in hosts]
        self._circuits: dict[tuple[str, int], _Circuit] = {}
        self._channels: dict[str, Channel] = {}
        self._searches: dict[int, asyncio.Future[tuple[str, int]]] = {}
        self._search_ids = itertools.count()
        self._connecting = asyncio.Lock()

    async def __aenter__(self) -> Self:
        sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_BROADCAST, 1)
        sock.bind(("127.0.0.1", 0))
        loop = asyncio.get_running_loop()
        self._udp, _ = await loop.create_datagram_endpoint(lambda: _Searcher(self._heard), sock=sock)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._udp.close()
        for circuit in self._circuits.values():
            await circuit.close()
        await asyncio.sleep(0)

    def _heard(self, data: bytes, address: tuple[str, int]) -> None:
        for command in ca.Broadcaster(our_role=ca.CLIENT).recv(data, address):
            if isinstance(command, ca.SearchResponse):
                future = self._searches.get(command.cid)
                if future is not None and not future.done():
                    future.set_result((address[0], command.port))

    async def find(self, name: str, timeout: float = PATIENCE) -> tuple[str, int]:
        """The address of the server that has this PV."""
        search_id = next(self._search_ids)
        future: asyncio.Future[tuple[str, int]] = asyncio.get_running_loop().create_future()
        self._searches[search_id] = future
        request = bytes(ca.VersionRequest(priority=0, version=13)) + bytes(
            ca.SearchRequest(name, search_id, 13)
        )
        async with asyncio.timeout(timeout):
            while not future.done():
                for target in self._targets:
                    self._udp.sendto(request, target)
                await asyncio.wait([future], timeout=SEARCH_AGAIN)
        return future.result()

    async def connect(self, name: str, timeout: float = PATIENCE) -> Channel:
        """The channel of this name; its circuit is made anew if the server closed it."""
        known = self._channels.get(name)
        if known is not None and not known.circuit.closed.is_set():
            return known
        async with asyncio.timeout(timeout), self._connecting:
            address = await self.find(name, timeout)
            circuit = self._circuits.get(address)
            if circuit is None or circuit.closed.is_set():
                circuit = self._circuits[address] = _Circuit(address)
                await circuit.open()
            channel = Channel(name, circuit, await circuit.create(name))
        self._channels[name] = channel
        return channel

    async def clear(self, name: str) -> None:
        """Close one channel without cancelling its monitors."""
        channel = self._channels.pop(name)
        channel.is_cleared = True
        channel.circuit.send(channel.channel.clear())

    async def get(self, name: str, form: str | ca.ChannelType = "time", count: int = 0) -> Reading:
        """Read once, in a form ("native", "time", "control", ...) or as a DBR type. Raises GetFailed."""
        channel = await self.connect(name)
        request = channel.channel.read(data_type=form, data_count=count)
        async with asyncio.timeout(PATIENCE):
            answer = await channel.circuit.ask(request)
        if answer.status.name != "ECA_NORMAL":
            raise GetFailed(answer.status.name)
        return _reading(answer)

    async def put(
        self, name: str, value: Any, timeout: float = PATIENCE, data_type: ca.ChannelType | None = None
    ) -> None:
        """Put and wait until it is done. Raises PutFailed."""
        channel = await self.connect(name)
        values: Any = value if isinstance(value, list | tuple | bytes) else [value]
        if values and isinstance(values[0], str):
            values = [text.encode("latin-1") for text in values]
            data_type = data_type or ca.ChannelType.STRING
        elif values and isinstance(values[0], float):
            data_type = data_type or ca.ChannelType.DOUBLE
        request = channel.channel.write(values, data_type=data_type, data_count=len(values), notify=True)
        async with asyncio.timeout(timeout):
            answer = await channel.circuit.ask(request)
        if answer.status.name != "ECA_NORMAL":
            raise PutFailed(answer.status.name)

    @contextlib.asynccontextmanager
    async def monitor(
        self, name: str, mask: int = DBE_VALUE | DBE_ALARM, form: str | ca.ChannelType = "time"
    ) -> AsyncIterator[Events]:
        """The events of a PV; the first is its present value."""
        channel = await self.connect(name)
        events = Events()
        request = channel.channel.subscribe(data_type=form, mask=mask)
        channel.circuit.monitor(request, lambda command: events.add(_reading(command)))
        try:
            yield events
        finally:
            channel.circuit.forget(request.subscriptionid)
            if not channel.circuit.closed.is_set() and not channel.is_cleared:
                channel.circuit.send(channel.channel.unsubscribe(request.subscriptionid))


@dataclass(frozen=True)
class Message:
    """One message as it goes over the wire."""

    command: int
    kind: int = 0
    count: int = 0
    first: int = 0
    second: int = 0
    payload: bytes = b""

    def __bytes__(self) -> bytes:
        payload = self.payload.ljust(len(self.payload) + 7 & ~7, b"\0")
        return (
            _HEADER.pack(self.command, len(payload), self.kind, self.count, self.first, self.second) + payload
        )


_HEADER = struct.Struct(">HHHHII")


class Raw:
    """A bare connection, for what no client should send; an async context manager.

    `local` is the address that it comes from, `host` the name that it claims.
    """

    def __init__(self, port: int, local: str = "127.0.0.1", host: str = "testhost") -> None:
        self._port = port
        self._local = local
        self._host = host
        self._cids = itertools.count(1)

    async def __aenter__(self) -> Self:
        self.reader, self.writer = await asyncio.open_connection(
            "127.0.0.1", self._port, local_addr=(self._local, 0)
        )
        self.send(Message(0, count=13), Message(21, payload=self._host.encode() + b"\0"))
        assert (await self.receive()).command == 0
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.writer.close()
        with contextlib.suppress(OSError):
            await self.writer.wait_closed()

    def send(self, *messages: Message) -> None:
        """Send messages in one piece."""
        self.writer.write(b"".join(map(bytes, messages)))

    async def receive(self) -> Message:
        """The next message. Raises asyncio.IncompleteReadError at the end of the connection."""
        async with asyncio.timeout(PATIENCE):
            header = await self.reader.readexactly(_HEADER.size)
            command, size, kind, count, first, second = _HEADER.unpack(header)
            if size == 0xFFFF:
                size, count = struct.unpack(">II", await self.reader.readexactly(8))
            return Message(command, kind, count, first, second, await self.reader.readexactly(size))

    async def ask(self, *messages: Message) -> Message:
        """Send, and receive the next message."""
        self.send(*messages)
        return await self.receive()

    async def create(self, name: str) -> tuple[int, int]:
        """Open a channel: its number at the server, and the client's rights."""
        rights = await self.ask(Message(18, 0, 0, next(self._cids), 13, name.encode() + b"\0"))
        return (await self.receive()).second, rights.second

    async def closed(self) -> bytes:
        """What came before the server closed the connection."""
        received = b""
        async with asyncio.timeout(PATIENCE):
            with contextlib.suppress(ConnectionError):
                while piece := await self.reader.read(1 << 16):
                    received += piece
        return received


def _reading(command: Any) -> Reading:
    values = [value.decode("latin-1") if isinstance(value, bytes) else value for value in command.data]
    values = [value.item() if hasattr(value, "item") else value for value in values]
    metadata = command.metadata
    stamp = getattr(metadata, "stamp", None)
    return Reading(
        values[0] if len(values) == 1 else values,
        getattr(metadata, "status", 0),
        getattr(metadata, "severity", 0),
        0.0 if stamp is None else stamp.timestamp,
        0 if stamp is None else stamp.nanoSeconds,
        metadata,
    )


class Libca:
    """libca by pyepics in a process of its own, because it reads the environment once per process."""

    async def __aenter__(self) -> Self:
        self._process = await asyncio.create_subprocess_exec(
            sys.executable,
            __file__,
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.DEVNULL,
            limit=1 << 24,
            # pyepics decodes strings by this; Channel Access knows Latin-1 only.
            env=os.environ | {"PYTHONIOENCODING": "latin-1"},
        )
        self._answers: dict[int, asyncio.Future[Any]] = {}
        self._events: dict[int, Events] = {}
        self._ids = itertools.count()
        self._task = asyncio.create_task(self._receive())
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._process.returncode is None:
            self._process.kill()
        await self._process.wait()
        await self._task
        if self._process.stdin is not None:
            self._process.stdin.close()

    @property
    def pid(self) -> int:
        """The process, for signals."""
        return self._process.pid

    async def get(self, name: str, as_string: bool = False) -> Reading:
        """Read once; an enum or a CHAR array as text if wanted."""
        return _from_json(await self._ask("get", name=name, as_string=as_string))

    async def control(self, name: str) -> dict[str, Any]:
        """The DBR_CTRL metadata."""
        answer: dict[str, Any] = await self._ask("control", name=name)
        return answer

    async def put(self, name: str, value: Any) -> None:
        """Put with a callback. Raises PutFailed."""
        status = await self._ask("put", name=name, value=value)
        if status != "ECA_NORMAL":
            raise PutFailed(status)

    async def monitor(self, name: str, mask: int = DBE_VALUE | DBE_ALARM) -> Events:
        """The events of a PV for as long as the process lives."""
        events = Events()
        self._events[next(self._ids)] = events
        await self._ask("monitor", name=name, mask=mask, monitor=max(self._events))
        return events

    async def _ask(self, do: str, **arguments: Any) -> Any:
        ident = next(self._ids)
        future = self._answers[ident] = asyncio.get_running_loop().create_future()
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps({"id": ident, "do": do, **arguments}).encode() + b"\n")
        async with asyncio.timeout(PATIENCE):
            answer = await future
        if "error" in answer:
            raise RuntimeError(answer["error"])
        return answer["result"]

    async def _receive(self) -> None:
        assert self._process.stdout is not None
        while line := await self._process.stdout.readline():
            message = json.loads(line)
            if "event" in message:
                self._events[message["event"]].add(_from_json(message["result"]))
            else:
                self._answers.pop(message["id"]).set_result(message)


def _from_json(raw: dict[str, Any]) -> Reading:
    return Reading(raw["value"], raw["status"], raw["severity"], raw["stamp"])


def _serve_libca() -> None:
    """The other process: JSON requests on stdin, answers and events on stdout, one a line."""
    from epics import ca as libca
    from epics import dbr

    requests: queue.Queue[dict[str, Any] | None] = queue.Queue()

    def read() -> None:
        for line in sys.stdin:
            requests.put(json.loads(line))
        requests.put(None)

    def say(**message: Any) -> None:
        sys.stdout.write(json.dumps(message, default=lambda array: array.tolist()) + "\n")
        sys.stdout.flush()

    def reading(raw: dict[str, Any]) -> dict[str, Any]:
        return {
            "value": raw["value"],
            "status": raw["status"],
            "severity": raw["severity"],
            "stamp": raw["timestamp"],
        }

    def connect(name: str) -> Any:
        channel = libca.create_channel(name)
        if not libca.connect_channel(channel, timeout=PATIENCE / 2):
            raise RuntimeError(f"{name} does not connect")
        return channel

    def get(name: str, as_string: bool) -> dict[str, Any]:
        channel = connect(name)
        form = libca.promote_type(channel, use_time=True)
        if as_string and form == dbr.TIME_ENUM:
            form = dbr.TIME_STRING
        return reading(libca.get_with_metadata(channel, ftype=form, as_string=as_string))

    class PutDone(ctypes.Structure):
        _fields_ = [
            ("usr", ctypes.c_void_p),
            ("chid", ctypes.c_void_p),
            ("type", ctypes.c_long),
            ("count", ctypes.c_long),
            ("dbr", ctypes.c_void_p),
            ("status", ctypes.c_int),
        ]

    def put(name: str, value: Any) -> str:
        channel = connect(name)
        done: list[int] = []
        callback = ctypes.CFUNCTYPE(None, PutDone)(lambda arguments: done.append(arguments.status))
        values = value if isinstance(value, list) else [value]
        data: Any
        if isinstance(values[0], str):
            kind, data = dbr.STRING, (ctypes.c_char * 40 * len(values))()
            for slot, text in zip(data, values, strict=True):
                slot.value = text.encode("latin-1")
        else:
            kind, data = dbr.DOUBLE, (ctypes.c_double * len(values))(*values)
        # pyepics doesn't hand the status of a put to its callback.
        sent = libca.libca.ca_array_put_callback(kind, len(values), channel, data, callback, None)
        if sent != ca.CAStatus.ECA_NORMAL.value.code_with_severity:
            return _status_name(sent)
        libca.flush_io()
        while not done:
            libca.poll(evt=0.001, iot=1.0)
        return _status_name(done[0])

    def monitor(name: str, mask: int, monitor: int) -> None:
        def deliver(**raw: Any) -> None:
            say(event=monitor, result=reading(raw))

        kept.append(libca.create_subscription(connect(name), use_time=True, mask=mask, callback=deliver))

    def control(name: str) -> Any:
        return libca.get_ctrlvars(connect(name))

    kept: list[Any] = []
    actions: dict[str, Callable[..., Any]] = {"get": get, "put": put, "monitor": monitor, "control": control}
    threading.Thread(target=read, daemon=True).start()
    while True:
        libca.poll(evt=0.002, iot=1.0)
        try:
            request = requests.get_nowait()
        except queue.Empty:
            continue
        if request is None:
            return
        ident, action = request.pop("id"), actions[request.pop("do")]
        try:
            say(id=ident, result=action(**request))
        except Exception as error:
            say(id=ident, error=f"{type(error).__name__}: {error}")


def _status_name(code: int) -> str:
    return str(eca_value_to_status[code].name)


if __name__ == "__main__":
    _serve_libca()
