"""Modbus: a family of protocols over a serial line (RTU) or TCP, with pymodbus' frames and messages.

A parameter is written as the manual's register table has it: the unit (the instrument's address), a kind of register
and its number, as it stands on the wire (from 0)::

    temperature = Readback(Float("degC", INT16, counts=10), ask=holding(1))
    setpoint = Setpoint(Float("degC", SINGLE), ask=holding(0x8004, 2), tell=preset(0x8004))

=========================  ================================  =======================
text                       what it does                      function
=========================  ================================  =======================
``1 coil 5 8``             reads 8 coils from number 5       1; the answer is 8 digits, the first coil first
``1 discrete 5``           reads a discrete input            2
``1 holding 2``            reads a holding register          3; the answer is 4 hexadecimal digits for each
``1 input 2 2``            reads two input registers         4
``1 coil 5 = 1``           writes a coil, or several         5, 15
``1 holding 2 = 00C8``     writes a register, or several     6, 16
``1 loopback``             has the message sent back         8
=========================  ================================  =======================

Registers that are asked for together are read in blocks. Where an instrument refuses a block, because there is a
hole in its map, halves of it are read from then on, down to single registers.

Source: MODBUS Application Protocol Specification V1.1b3; MODBUS over Serial Line V1.02; MODBUS Messaging on TCP/IP
Implementation Guide V1.0b.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, TypeVar

from .core import Bool, Rewritten, Text, ValueType
from .core.errors import (
    AddressError,
    DefinitionError,
    LimitError,
    MissingPackage,
    RefusedError,
    ReplyError,
    ReplyTimeout,
)
from .core.framing import MAX_MESSAGE, Framer
from .core.protocol import Part, Protocol, Request

try:
    from pymodbus.framer import FramerRTU, FramerSocket
    from pymodbus.pdu import DecodePDU, ModbusPDU
    from pymodbus.pdu import bit_message as bits
    from pymodbus.pdu import diag_message as diagnostics
    from pymodbus.pdu import register_message as registers
except ImportError as error:
    raise MissingPackage(f"Modbus needs pymodbus: pip install 'labioc[modbus]' ({error})") from None

T = TypeVar("T")

INT16, UINT16, INT32, UINT32, SINGLE = ">i2X", ">u2X", ">i4X", ">u4X", ">f4X"
"""How numbers stand in registers: `Integer`, `Float`, `Enum` and `Flags` take them as their ``spec``."""

READS: dict[str, tuple[int, type[ModbusPDU]]] = {
    "coil": (1, bits.ReadCoilsRequest),
    "discrete": (2, bits.ReadDiscreteInputsRequest),
    "holding": (3, registers.ReadHoldingRegistersRequest),
    "input": (4, registers.ReadInputRegistersRequest),
}
LOOPBACK = 8
MOST_BITS = 2000  # in a request
EXCEPTIONS = {
    1: "illegal function",
    2: "illegal data address",
    3: "illegal data value",
    4: "device failure",
    5: "acknowledge: it will take some time",
    6: "device busy",
    7: "negative acknowledge",
    8: "memory parity error",
    10: "gateway: no path to the instrument",
    11: "gateway: the instrument does not respond",
}
BUSY, NO_RESPONSE = 6, (10, 11)

_decoder = DecodePDU(is_server=False)
_rtu = FramerRTU(_decoder)
_socket = FramerSocket(_decoder)


# What parameters are made of


def holding(register: int, count: int = 1) -> str:
    """Return the question for holding registers, for ``ask=``."""
    return f"{{addr}} holding {register}" + (f" {count}" if count > 1 else "")


def preset(register: int) -> str:
    """Return the command that writes holding registers, for ``tell=``."""
    return f"{{addr}} holding {register} = {{value}}"


class Bit(Rewritten[bool]):
    """One bit of a register, which can only be read.

    Args:
        number: 0 for the least significant one.
    """

    def __init__(self, number: int) -> None:
        super().__init__(Bool(), lambda text: str(int(text, 16) >> number & 1))
        self.expected = "a register"


class Swapped(Rewritten[T]):
    """A value in several registers, of which the least significant comes first."""

    def __init__(self, value: ValueType[T]) -> None:
        super().__init__(value, _reversed, _reversed)


class Characters(Rewritten[str]):
    """A text in registers, two characters each, filled up with zeros.

    Args:
        count: how many registers it has.
    """

    def __init__(self, count: int) -> None:
        super().__init__(
            Text(2 * count),
            lambda text: bytes.fromhex(text).rstrip(b"\0").decode("latin-1"),
            lambda text: text.encode("latin-1").ljust(2 * count, b"\0").hex().upper(),
        )


def _reversed(text: str) -> str:
    return "".join(text[at : at + 4] for at in range(len(text) - 4, -1, -4))


# Messages


@dataclass(frozen=True, slots=True)
class _Said:
    """A text, taken apart; ``data`` is what is written."""

    unit: int
    kind: str
    start: int
    count: int
    data: str | None

    @property
    def end(self) -> int:
        """The number behind the last one."""
        return self.start + self.count


@lru_cache(maxsize=4096)
def _parsed(text: str) -> _Said:
    """Take a text apart. Raises ValueError."""
    left, equals, data = text.partition("=")
    unit, kind, *numbers = left.split()
    if kind == "loopback" and not numbers and not equals:
        return _Said(_unit(unit), kind, 0, 0, None)
    if kind not in READS or len(numbers) not in (1, 2):
        raise ValueError("expected something like '1 holding 5 2' or '1 coil 5 = 1'")
    start, count = [*map(int, numbers), 1][:2]
    if equals:
        data = data.strip()
        size = 1 if kind == "coil" else 4
        if kind not in ("coil", "holding") or not data or len(data) % size:
            raise ValueError(f"{data!r} can't be written to {kind}")
        count = len(data) // size
    if start < 0 or count < 1 or start + count > 0x10000:
        raise ValueError(f"there is no {kind} {start} to {start + count - 1}")
    return _Said(_unit(unit), kind, start, count, data if equals else None)


def _unit(text: str) -> int:
    unit = int(text)
    if not 0 < unit < 256:
        raise ValueError(f"the unit {unit} is not between 1 and 255")
    return unit


def _message(said: _Said, *, single: bool) -> bytes:
    """Return the unit and the PDU of a request."""
    pdu: ModbusPDU
    if said.kind == "loopback":
        pdu = diagnostics.ReturnQueryDataRequest(b"\x4c\x42")
    elif said.data is None:
        pdu = READS[said.kind][1](address=said.start, count=said.count)
    elif said.kind == "coil":
        states = [bool(int(digit)) for digit in said.data]
        kind = bits.WriteSingleCoilRequest if single and len(states) == 1 else bits.WriteMultipleCoilsRequest
        pdu = kind(address=said.start, bits=states)
    else:
        words = [int(said.data[at : at + 4], 16) for at in range(0, len(said.data), 4)]
        if single and len(words) == 1:
            pdu = registers.WriteSingleRegisterRequest(address=said.start, registers=words)
        else:
            pdu = registers.WriteMultipleRegistersRequest(address=said.start, registers=words)
    return bytes([said.unit, pdu.function_code]) + pdu.encode()


@dataclass(frozen=True, slots=True)
class _Layout:
    """What the answers to a request are: where each stands in the text of all registers, or in the bits."""

    first: _Said
    start: int
    count: int
    slices: tuple[slice, ...]


@lru_cache(maxsize=4096)
def _layout(text: str) -> _Layout:
    """Return the layout of a request for one part or several neighbours."""
    parts = [_parsed(each) for each in text.split(";")]
    start = min(part.start for part in parts)
    size = 1 if parts[0].kind in ("coil", "discrete") else 4
    slices = tuple(slice(size * (part.start - start), size * (part.end - start)) for part in parts)
    return _Layout(parts[0], start, max(part.end for part in parts) - start, slices)


def _accepts(answer: str) -> bool:
    return True  # what is refused raises


@dataclass(frozen=True, kw_only=True)
class Modbus(Protocol):
    """Modbus, over RTU or TCP as the link has it. Another than the usual is chosen in the URL: ``?framing=rtu``.

    Args:
        block: the most registers that the instrument gives in one request; 1: one value in a request.
        skip: how many registers that nobody asked for are read along, where that saves a request.
        single: whether one register is written with function 6, and one coil with 5; else with 16 and 15.
        loopback: whether the instrument answers function 8, with the same or a refusal. On a serial line that is how
            the port gets into step; if there is no answer, it is given ``max_late`` seconds of silence.
        Others: see `Protocol`.
    """

    block: int = 125
    skip: int = 16
    single: bool = True
    loopback: bool = True
    max_late: float | None = 1.0
    join: str | None = ";"
    max_joined: int = 250
    accepted: Callable[[str], bool] | None = _accepts

    def __post_init__(self) -> None:
        """Raises DefinitionError if it can't be right."""
        super().__post_init__()
        if not 1 <= self.block <= 125 or self.skip < 0:
            raise DefinitionError(f"expected 1 to 125 registers in a block, got {self.block}, {self.skip}")
        if self.max_late is None:
            raise DefinitionError(
                "where there is no loopback, nothing on a serial line names itself: max_late="
            )

    @property
    def cut(self) -> object:
        """What tells how messages are cut."""
        return "Modbus"

    @property
    def framings(self) -> tuple[str, ...]:
        """RTU or TCP, over any link."""
        return ("rtu", "tcp")

    def framer(self, framing: str = "") -> Framer:
        """Return a framer for what the instrument sends."""
        return TcpFramer() if framing == "tcp" else RtuFramer()

    @property
    def names_replies(self) -> bool:
        """A reply names the unit and the function."""
        return True

    @property
    def identity_is_unique(self) -> bool:
        """Another register may have the same value."""
        return False

    def fence(self, framing: str) -> str | None:
        """Return the loopback: over TCP each answer names itself, by the number of its transaction."""
        return "{addr} loopback" if framing != "tcp" and self.loopback else None

    def lateness(self, framing: str) -> float:
        """Return ``max_late`` for an instrument without a loopback on a serial line."""
        return 0.0 if framing == "tcp" or self.loopback else self.max_late or 0.0

    def gap(self, scheme: str, baudrate: int = 0) -> float:
        """Return 3.5 characters of silence, which end a message; above 19200 baud 1.75 ms."""
        own = super().gap(scheme, baudrate)
        return max(own, 38.5 / baudrate if baudrate <= 19200 else 0.00175) if baudrate else own

    @property
    def forbidden(self) -> tuple[str, ...]:
        """Nothing: values are digits."""
        return ()

    def addressed(self, address: str) -> str:
        """Return the unit. Raises AddressError if it is none."""
        try:
            return str(_unit(address))
        except ValueError:
            raise AddressError(f"{address!r} is no Modbus unit: expected a number from 1 to 255") from None

    def packed(self, text: str) -> bytes:
        """Return the unit and the PDU of a request. Raises LimitError if it can't be said."""
        try:
            if ";" not in text:
                return _message(_parsed(text), single=self.single)
            found = _layout(text)
            whole = _Said(found.first.unit, found.first.kind, found.start, found.count, None)
            return _message(whole, single=self.single)
        except ValueError as error:
            raise LimitError(f"{text!r} can't be said: {error}") from None

    def unpacked(self, message: bytes) -> str:
        """Return a message as hexadecimal digits."""
        return message.hex(" ")

    def rank(self, text: str) -> Any:
        """Return the place of a register."""
        said = _parsed(text)
        return said.unit, said.kind, said.start

    def requests(self, *parts: Part, joined: bool = True) -> tuple[Request, ...]:
        """Return the requests for a row of parts: neighbours that are read stand in one."""
        made: list[Request] = []
        block: list[str] = []
        first, start, end, timeout = None, 0, 0, 0.0
        for part in parts:
            limit = self.timeout if part.timeout is None else part.timeout
            said = _parsed(part.text)
            is_read = said.data is None and said.kind != "loopback"
            if first is not None and joined and is_read and self.block > 1:
                low, high = min(start, said.start), max(end, said.end)
                most = self.block if said.kind in ("holding", "input") else MOST_BITS
                near = said.start - end <= self.skip and start - said.end <= self.skip
                same = (said.unit, said.kind) == (first.unit, first.kind)
                if same and near and high - low <= most:
                    block.append(part.text)
                    start, end, timeout = low, high, max(timeout, limit)
                    continue
            if block:
                made.append(self._request(block, timeout))
            block, start, end, timeout = [part.text], said.start, said.end, limit
            first = said if is_read else None
        if block:
            made.append(self._request(block, timeout))
        return tuple(made)

    def _request(self, texts: Sequence[str], timeout: float) -> Request:
        text = ";".join(texts)
        return Request(self.packed(text), len(texts), text, timeout)

    def smaller(self, request: Request) -> tuple[Request, ...]:
        """Return two requests for a block, apart where the most registers between them were read in vain."""
        texts = request.text.split(";")
        if len(texts) < 2:
            return ()
        texts.sort(key=self.rank)
        gaps = [_parsed(after).start - _parsed(before).end for before, after in itertools.pairwise(texts)]
        at = 1 + gaps.index(max(gaps)) if max(gaps) > 0 else len(texts) // 2
        return self._request(texts[:at], request.timeout), self._request(texts[at:], request.timeout)

    def said(self, request: Request, reply: bytes) -> str | None:
        """Return what a reply says; None if it comes from another unit, or answers another request.

        Raises RefusedError for an exception; ReplyTimeout where a gateway has no answer, or the instrument is too busy
        to be read; ReplyError.
        """
        layout = _layout(request.text)
        asked = request.payload
        if reply[0] != asked[0] or reply[1] & 0x7F != asked[1]:
            return None
        if layout.first.kind == "loopback":
            return "" if reply[1] & 0x80 or reply == asked else None
        if reply[1] & 0x80 and len(reply) == 3:
            code = reply[2]
            text = f"exception {code}: {EXCEPTIONS.get(code, 'unknown')}"
            if code in NO_RESPONSE or (code == BUSY and layout.first.data is None):
                raise ReplyTimeout(text)
            raise RefusedError(text)
        pdu = _decoder.decode(reply[1:])
        if pdu is None or reply[1] & 0x80:
            raise ReplyError(f"no Modbus message: {reply[:80].hex(' ')}")
        if layout.first.data is not None:
            # functions 5 and 6 are answered by the request, 15 and 16 by its beginning
            return "" if reply[:6] == asked[:6] else None
        if layout.first.kind in ("coil", "discrete"):
            if len(pdu.bits) != -(-layout.count // 8) * 8:
                return None
            text = "".join(["1" if state else "0" for state in pdu.bits])
        else:
            if len(pdu.registers) != layout.count:
                return None
            text = "".join([f"{word:04X}" for word in pdu.registers])
        return ";".join([text[each] for each in layout.slices])


# Frames


class _Framer(Framer):
    """What both framings have in common. A message is the unit and the PDU."""

    def __init__(self) -> None:
        self._buffer = bytearray()

    @property
    def pending(self) -> bytes:
        """The beginning of a frame that is not complete."""
        return bytes(self._buffer)

    def clear(self) -> None:
        """Forget the beginning of a frame."""
        self._buffer.clear()

    def _refuse(self, why: str) -> ReplyError:
        came = bytes(self._buffer[:80])
        self.clear()
        return ReplyError(f"{why}: {came.hex(' ')}")


class TcpFramer(_Framer):
    """Modbus TCP. What does not answer the latest request, by the number of its transaction, is dropped."""

    def __init__(self) -> None:
        super().__init__()
        self._transaction = 0

    def seal(self, message: bytes) -> bytes:
        """Return a message with its header, and a number of its own."""
        self._transaction = self._transaction % 0xFFFF + 1
        return _socket.encode(message[1:], message[0], self._transaction)

    def feed(self, data: bytes) -> list[bytes]:
        """Take bytes, return the messages that they complete. Raises ReplyError if there is no such header."""
        self._buffer += data
        messages: list[bytes] = []
        while len(self._buffer) >= 8:
            if self._buffer[2:4] != b"\0\0":
                raise self._refuse("no Modbus TCP header")
            size, unit, transaction, pdu = _socket.decode(bytes(self._buffer))
            if not size:
                if len(self._buffer) > MAX_MESSAGE:
                    raise self._refuse("no end of a message")
                break
            del self._buffer[:size]
            if transaction == self._transaction and pdu:
                messages.append(bytes([unit]) + pdu)
        return messages


class RtuFramer(_Framer):
    """Modbus RTU on a byte stream: what unit and function are known tells how long a frame is.

    What comes before a frame of the unit and the function that were asked is noise, or another one's, and dropped.
    """

    def __init__(self) -> None:
        super().__init__()
        self._asked = b""

    def seal(self, message: bytes) -> bytes:
        """Return a message with its checksum."""
        self._asked = message[:2]
        return _rtu.encode(message[1:], message[0], 0)

    def feed(self, data: bytes) -> list[bytes]:
        """Take bytes, return the messages that they complete. Raises ReplyError if the checksum is wrong."""
        self._buffer += data
        messages: list[bytes] = []
        at = 0
        spoilt = False
        while (at := self._start(at)) >= 0:
            rest = bytes(self._buffer[at:])
            size = self._size(rest)
            if size > len(rest):
                del self._buffer[:at]
                return messages
            frame = rest[:size]
            _, unit, _, pdu = _rtu.decode(frame)
            if len(pdu) + 3 == size:
                messages.append(bytes([unit]) + pdu)
                del self._buffer[: at + size]
                at, spoilt = 0, False
            else:
                at, spoilt = at + 1, True
        if spoilt:
            raise self._refuse("the checksum is wrong")
        del self._buffer[: -1 if self._buffer.endswith(self._asked[:1]) else None]  # it may be the unit
        return messages

    def _start(self, at: int) -> int:
        """Return where a frame may begin, or -1."""
        unit, function = self._asked or b"\0\0"
        while (at := self._buffer.find(unit, at)) >= 0:
            if at + 1 < len(self._buffer) and self._buffer[at + 1] & 0x7F == function:
                return at
            at += 1
        return -1

    @staticmethod
    def _size(rest: bytes) -> int:
        """Return how long the frame is that begins here, or more than there is if that isn't known yet."""
        if len(rest) < 5:
            return 5
        kind = _decoder.lookupPduClass(rest)
        size = kind.calculateRtuFrameSize(rest) if kind is not None else 0
        return size or len(rest) + 1
