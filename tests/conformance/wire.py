"""A Channel Access client that shows what is on the wire: every DBR type, every mask, many requests at once.

It shares no code with caproto, so that labioc is not compared with its own encoder. It connects to a TCP port.
Every wait is bounded by PATIENCE seconds and ends in TimeoutError.
"""

import asyncio
import contextlib
import itertools
import struct
from collections.abc import Sequence
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any, NamedTuple, Self

PATIENCE = 20.0

TYPES = ("STRING", "SHORT", "FLOAT", "ENUM", "CHAR", "LONG", "DOUBLE")
STRING, SHORT, FLOAT, ENUM, CHAR, LONG, DOUBLE = range(7)
STS, TIME, GR, CTRL = 7, 14, 21, 28
PUT_ACKT, PUT_ACKS, STSACK_STRING, CLASS_NAME = 35, 36, 37, 38

VALUE, LOG, ALARM, PROPERTY = 1, 2, 4, 8

STATUSES = (
    "NO_ALARM READ WRITE HIHI HIGH LOLO LOW STATE COS COMM TIMEOUT HWLIMIT CALC SCAN LINK SOFT BAD_SUB UDF "
    "DISABLE SIMM READ_ACCESS WRITE_ACCESS"
).split()
SEVERITIES = "NO_ALARM MINOR MAJOR INVALID".split()
LIMITS = ("HOPR", "LOPR", "HIHI", "HIGH", "LOW", "LOLO", "DRVH", "DRVL")
"""Which field of an ao stands behind each limit of a DBR_CTRL, in the order of the wire."""

ECA = {
    1: "NORMAL",
    114: "BADTYPE",
    142: "INTERNAL",
    152: "GETFAIL",
    160: "PUTFAIL",
    176: "BADCOUNT",
    192: "DISCONN",
    410: "BADCHID",
    368: "NORDACCESS",
    376: "NOWTACCESS",
}

_VERSION, _EVENT_ADD, _EVENT_CANCEL, _WRITE, _ERROR, _CLEAR, _READ = 0, 1, 2, 4, 11, 12, 15
_CREATE, _WRITE_NOTIFY, _CLIENT_NAME, _HOST_NAME, _ACCESS, _ECHO, _CREATE_FAILED = 18, 19, 20, 21, 22, 23, 26

_HEADER = struct.Struct(">HHHHII")
_LONG_HEADER = struct.Struct(">HHHHIIII")
_FORMATS = {SHORT: "h", FLOAT: "f", ENUM: "H", CHAR: "B", LONG: "i", DOUBLE: "d"}
_STS_PAD = {CHAR: 1, DOUBLE: 4}
_TIME_PAD = {SHORT: 2, ENUM: 2, CHAR: 3, DOUBLE: 4}


class Dbr(NamedTuple):
    """A DBR, taken apart; what its type doesn't have is None."""

    dbr_type: int
    values: tuple[Any, ...]
    status: str | None = None
    severity: str | None = None
    stamp: tuple[int, int] | None = None
    """Seconds since 1990, nanoseconds."""
    units: str | None = None
    precision: int | None = None
    limits: tuple[float, ...] | None = None
    states: tuple[str, ...] | None = None
    acknowledge: tuple[int, int] | None = None
    """ACKT, ACKS."""

    @property
    def value(self) -> Any:
        """The only value, or all of them."""
        return self.values[0] if len(self.values) == 1 else self.values


class Refused(Exception):
    """Raised when the server answers with another status than ECA_NORMAL; the text is the status."""


def eca(code: int) -> str:
    """The name of a status of Channel Access, without ECA_."""
    return ECA.get(code, str(code))


def text_of(raw: bytes) -> str:
    """What stands before the NUL."""
    return raw.partition(b"\0")[0].decode("latin-1")


def decode(dbr_type: int, count: int, payload: bytes) -> Dbr:
    """Take a DBR apart."""
    if dbr_type == CLASS_NAME:
        return Dbr(dbr_type, (text_of(payload[:40]),))
    if dbr_type == STSACK_STRING:
        status, severity, ackt, acks = struct.unpack_from(">HHHH", payload)
        return Dbr(
            dbr_type,
            (text_of(payload[8:48]),),
            STATUSES[status],
            SEVERITIES[severity],
            acknowledge=(ackt, acks),
        )
    form, kind = dbr_type - dbr_type % 7, dbr_type % 7
    if form == 0:
        return Dbr(dbr_type, _values(kind, count, payload))
    code = _FORMATS.get(kind, "")
    status, severity = struct.unpack_from(">HH", payload)
    more: dict[str, Any] = {"status": STATUSES[status], "severity": SEVERITIES[severity]}
    at = 4
    if form == TIME:
        more["stamp"] = struct.unpack_from(">II", payload, at)
        at += 8 + _TIME_PAD.get(kind, 0)
    elif form == STS:
        at += _STS_PAD.get(kind, 0)
    elif kind == ENUM:
        (number,) = struct.unpack_from(">H", payload, at)
        more["states"] = tuple(
            text_of(payload[at + 2 + 26 * index : at + 28 + 26 * index]) for index in range(number)
        )
        at += 2 + 16 * 26
    elif kind != STRING:
        if kind in (FLOAT, DOUBLE):
            (more["precision"],) = struct.unpack_from(">h", payload, at)
            at += 4
        more["units"] = text_of(payload[at : at + 8])
        layout = struct.Struct(f">{6 if form == GR else 8}{code}")
        more["limits"] = layout.unpack_from(payload, at + 8)
        at += 8 + layout.size + (kind == CHAR)
    return Dbr(dbr_type, _values(kind, count, payload[at:]), **more)


def _values(kind: int, count: int, raw: bytes) -> tuple[Any, ...]:
    if kind == STRING:
        return tuple(text_of(raw[40 * index : 40 * index + 40]) for index in range(count))
    return struct.unpack_from(f">{count}{_FORMATS[kind]}", raw)


def encode(kind: int, values: Sequence[Any]) -> bytes:
    """Values as a plain DBR; text is cut so that its NUL fits in."""
    if kind == STRING:
        return b"".join(str(value).encode("latin-1")[:39].ljust(40, b"\0") for value in values)
    if kind in (PUT_ACKT, PUT_ACKS):
        kind = ENUM
    return struct.pack(f">{len(values)}{_FORMATS[kind]}", *values)


@dataclass
class Channel:
    """One channel: what the server says of it when it is made."""

    name: str
    cid: int
    made: asyncio.Future[None]
    sid: int = 0
    dbr_type: int = -1
    count: int = 0
    access: int = 0


@dataclass
class Monitor:
    """The events of one subscription, in their order."""

    dbr_type: int
    channel: Channel
    events: list[Dbr] = field(default_factory=list)
    waiting: asyncio.Event = field(default_factory=asyncio.Event)

    async def until(self, value: Any) -> None:
        """Wait for an event with this value."""
        async with asyncio.timeout(PATIENCE):
            while not any(event.value == value for event in self.events):
                self.waiting.clear()
                await self.waiting.wait()


class Circuit:
    """One connection to a server; an async context manager."""

    def __init__(self, port: int) -> None:
        self.port = port
        self.errors: list[str] = []
        """Status and text of what the server sent as CA_PROTO_ERROR."""
        self._ids = itertools.count(1)
        self._channels: dict[int, Channel] = {}
        self._by_name: dict[str, Channel] = {}
        self._answers: dict[tuple[int, int], asyncio.Future[Any]] = {}
        self._monitors: dict[int, Monitor] = {}
        self._echoes: list[asyncio.Future[None]] = []
        self._unsent: list[bytes] = []

    async def __aenter__(self) -> Self:
        async with asyncio.timeout(PATIENCE):
            self._reader, self._writer = await asyncio.open_connection("127.0.0.1", self.port)
        self._send(_VERSION, 0, 13)
        self._send(_CLIENT_NAME, payload=b"conformance\0")
        self._send(_HOST_NAME, payload=b"localhost\0")
        self._task = asyncio.create_task(self._receive())
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._writer.close()
        self._task.cancel()
        await asyncio.wait([self._task])
        with contextlib.suppress(OSError):
            await self._writer.wait_closed()

    async def channel(self, name: str) -> Channel:
        """The channel of this name. Raises KeyError if the server has none."""
        channel = self._by_name.get(name)
        if channel is None:
            cid = next(self._ids)
            channel = Channel(name, cid, asyncio.get_running_loop().create_future())
            self._by_name[name] = self._channels[cid] = channel
            self._send(_CREATE, 0, 0, cid, 13, name.encode("latin-1") + b"\0")
        if not channel.made.done():
            async with asyncio.timeout(PATIENCE):
                # Several may wait for the same channel.
                await asyncio.wait([channel.made])
        channel.made.result()
        return channel

    async def has(self, name: str) -> bool:
        """Whether the server has this channel."""
        try:
            await self.channel(name)
        except KeyError:
            return False
        return True

    async def get(self, name: str, form: int = 0, kind: int | None = None, count: int = 0) -> Dbr:
        """Read once: the native type or `kind`, plain or as STS, TIME, GR or CTRL. Raises Refused."""
        channel = await self.channel(name)
        dbr_type = form + (channel.dbr_type if kind is None else kind)
        ioid = next(self._ids)
        status, answer = await self._ask(_READ, dbr_type, count, channel.sid, ioid)
        if status != 1:
            raise Refused(eca(status))
        assert isinstance(answer, Dbr)
        return answer

    async def put(self, name: str, values: Sequence[Any], kind: int) -> str:
        """Put with a callback; the answer's status, then `!` and the text if it came as CA_PROTO_ERROR."""
        channel = await self.channel(name)
        payload = encode(kind, values)
        status, error = await self._ask(
            _WRITE_NOTIFY, kind, len(values), channel.sid, next(self._ids), payload
        )
        return eca(status) + ("!" if error else "")

    async def write(self, name: str, values: Sequence[Any], kind: int) -> None:
        """Put without a callback; an error arrives in `errors`, sooner or later."""
        channel = await self.channel(name)
        self._send(_WRITE, kind, len(values), channel.sid, next(self._ids), encode(kind, values))

    async def monitor(self, name: str, mask: int, form: int = TIME, kind: int | None = None) -> Monitor:
        """Subscribe; the present value is the first event, maybe still on its way."""
        channel = await self.channel(name)
        monitor = Monitor(form + (channel.dbr_type if kind is None else kind), channel)
        subscription = next(self._ids)
        self._monitors[subscription] = monitor
        payload = struct.pack(">fffHH", 0, 0, 0, mask, 0)
        self._send(_EVENT_ADD, monitor.dbr_type, 0, channel.sid, subscription, payload)
        return monitor

    async def echo(self) -> None:
        """Wait until the server has looked at everything that was sent before."""
        future = asyncio.get_running_loop().create_future()
        self._echoes.append(future)
        self._send(_ECHO)
        async with asyncio.timeout(PATIENCE):
            await future

    def _send(
        self,
        command: int,
        kind: int = 0,
        count: int = 0,
        first: int = 0,
        second: int = 0,
        payload: bytes = b"",
    ) -> None:
        payload = payload.ljust(len(payload) + 7 & ~7, b"\0")
        if len(payload) < 0xFFFF and count < 0xFFFF:
            header = _HEADER.pack(command, len(payload), kind, count, first, second)
        else:
            header = _LONG_HEADER.pack(command, 0xFFFF, kind, 0, first, second, len(payload), count)
        # What is sent in one turn of the event loop goes in one piece.
        if not self._unsent:
            asyncio.get_running_loop().call_soon(self._flush)
        self._unsent.append(header + payload)

    def _flush(self) -> None:
        self._writer.write(b"".join(self._unsent))
        self._unsent.clear()

    async def _ask(
        self, command: int, kind: int, count: int, sid: int, ioid: int, payload: bytes = b""
    ) -> tuple[int, Any]:
        future = self._answers[(command, ioid)] = asyncio.get_running_loop().create_future()
        self._send(command, kind, count, sid, ioid, payload)
        async with asyncio.timeout(PATIENCE):
            answer: tuple[int, Any] = await future
        return answer

    async def _receive(self) -> None:
        try:
            while True:
                raw = await self._reader.readexactly(_HEADER.size)
                command, size, kind, count, first, second = _HEADER.unpack(raw)
                if size == 0xFFFF:
                    size, count = struct.unpack(">II", await self._reader.readexactly(8))
                self._dispatch(command, kind, count, first, second, await self._reader.readexactly(size))
        except (OSError, asyncio.IncompleteReadError):
            pass
        finally:
            lost = ConnectionResetError("the server closed the circuit")
            for future in (*self._answers.values(), *self._echoes):
                if not future.done():
                    future.set_exception(lost)

    def _dispatch(self, command: int, kind: int, count: int, first: int, second: int, payload: bytes) -> None:
        if command == _ACCESS:
            self._channels[first].access = second
        elif command == _CREATE:
            channel = self._channels[first]
            channel.sid, channel.dbr_type, channel.count = second, kind, count
            channel.made.set_result(None)
        elif command == _CREATE_FAILED:
            channel = self._channels[first]
            channel.made.set_exception(KeyError(channel.name))
        elif command == _READ:
            answer = decode(kind, count, payload) if first == 1 else None
            self._answers.pop((command, second)).set_result((first, answer))
        elif command == _WRITE_NOTIFY:
            self._answers.pop((command, second)).set_result((first, None))
        elif command == _EVENT_ADD:
            # An empty one ends the subscription.
            if payload and second in self._monitors:
                monitor = self._monitors[second]
                monitor.events.append(decode(kind, count, payload))
                monitor.waiting.set()
        elif command == _ECHO:
            self._echoes.pop(0).set_result(None)
        elif command == _ERROR:
            request, _, _, _, _, ioid = _HEADER.unpack_from(payload)
            self.errors.append(eca(second))
            future = self._answers.pop((request, ioid), None)
            if future is not None:
                future.set_result((second, text_of(payload[_HEADER.size :])))
