"""Simulators of instruments that speak Modbus, written as the manual's table of registers.

Both framings are understood on any link, as a device server has them: RTU with its checksum, and TCP with its header.
"""

import functools
import math
import operator
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, ClassVar

from .core import Clock, Faults, Simulator

READ_COILS, READ_DISCRETE, READ_HOLDING, READ_INPUT = 1, 2, 3, 4
WRITE_COIL, WRITE_REGISTER, READ_STATUS, DIAGNOSTICS = 5, 6, 7, 8
WRITE_COILS, WRITE_REGISTERS = 15, 16
ILLEGAL_FUNCTION, ILLEGAL_ADDRESS, ILLEGAL_VALUE, FAILURE = 1, 2, 3, 4
LONGEST = 260
MOST_BITS = 2000
FIXED_SIZES = {7: 1, 11: 1, 12: 1, 17: 1, 22: 7, 24: 3, 43: 4}
"""How long requests are, by function; others have 5 bytes, or say it."""
COUNTED_SIZES = {15: (6, 5), 16: (6, 5), 20: (2, 1), 21: (2, 1), 23: (10, 9)}
"""How long they are without their data, and where they say how much of it there is."""


class ModbusError(Exception):
    """Raised when a request is answered with an exception."""

    def __init__(self, code: int) -> None:
        super().__init__(code)
        self.code = code


@dataclass(frozen=True)
class Register:
    """One line of the manual's table.

    Attributes:
        number: its address.
        name: the attribute of the simulator, which may go through others: "alarms.0.setpoint".
        decimals: how many decimals are implied, or the name of the attribute that says it.
        low: the lowest value that it takes, or the name of the attribute that says it; `high` likewise.
        values: the values that it takes, if they are only some.
        settable: whether it is written, or the name of the attribute that says whether it is at present.
        time: whether it is a duration, in seconds.
        whole: whether it is a status, a state or a count, and no number with decimals.
    """

    number: int
    name: str
    decimals: int | str = 0
    low: float | str = -math.inf
    high: float | str = math.inf
    values: tuple[int, ...] | None = None
    settable: bool | str = True
    time: bool = False
    whole: bool = False


def crc(data: bytes) -> bytes:
    """Return the checksum of RTU, as it is sent."""
    value = 0xFFFF
    for byte in data:
        value ^= byte
        for _ in range(8):
            value = value >> 1 ^ 0xA001 if value & 1 else value >> 1
    return struct.pack("<H", value)


class ModbusSimulator(Simulator):
    """A simulator whose messages are Modbus frames, with a table of holding registers.

    Registers of 32 bits are in the area from `wide_from`: two addresses for each register, as in Eurotherm's
    instruments, with IEEE numbers, durations in milliseconds, or one word and `PADDING`.
    """

    table: ClassVar[tuple[Register, ...]] = ()
    """All registers."""
    functions: ClassVar[frozenset[int]] = frozenset((3, 4, 6, 8, 16))
    """The functions that it knows."""
    silent: ClassVar[bool] = False
    """Whether it does not answer other functions."""
    most_words: ClassVar[int] = 125
    """How many registers it gives in one answer."""
    most_written: ClassVar[int] = 123
    """How many registers it takes in one request."""
    coil_on: ClassVar[tuple[int, ...]] = (0xFF,)
    """What sets a coil, in the upper byte; 0 clears it."""
    hole: ClassVar[int | None] = None
    """What is read where there is no register, and what is written there in a block is dropped; None: exception 2."""
    wide_from: ClassVar[int | None] = None
    """Where the area of 32-bit registers begins."""
    PADDING: ClassVar[int] = 0x8000
    """What fills up a register of 16 bits there."""

    def __init__(self, *, unit: int = 1, clock: Clock | None = None, faults: Faults | None = None) -> None:
        """Make an instrument with this address."""
        super().__init__(clock=clock, faults=faults)
        self.unit = unit
        self._by_number = {register.number: register for register in self.table}

    # frames

    def split(self, buffer: bytearray) -> Iterator[bytes]:
        """Yield whole frames; bytes that begin none are dropped when a later one shows it."""
        while buffer:
            size = _tcp_size(buffer)
            if size > len(buffer) or (not size and _may_go_on(buffer)):
                return
            found = (0, size) if size else _found(buffer)
            if found is None:
                del buffer[:-LONGEST]
                return
            del buffer[: found[0]]
            yield _taken(buffer, found[1])

    def handle(self, message: bytes) -> bytes | None:
        """Execute a request for this unit, or for all."""
        is_tcp = bool(_tcp_size(message))
        unit, pdu = (message[6], message[7:]) if is_tcp else (message[0], message[1:-2])
        # over TCP the unit is for gateways: 0 and 255 are whoever is there
        if unit not in (self.unit, 0) and not (is_tcp and unit == 255):
            return None
        self.log.append(pdu.hex(" "))
        reply = self.answer(pdu)
        if reply is None or (unit == 0 and not is_tcp):
            return None
        return framed(message, reply)

    def answer(self, pdu: bytes) -> bytes | None:
        """Return the answer to a request, both without frame; None for silence."""
        function = pdu[0]
        if function not in self.functions:
            return None if self.silent else bytes([function | 0x80, ILLEGAL_FUNCTION])
        try:
            return self._execute(function, pdu[1:])
        except ModbusError as error:
            if error.code == ILLEGAL_FUNCTION and self.silent:
                return None
            return bytes([function | 0x80, error.code])

    def _execute(self, function: int, data: bytes) -> bytes:
        if len(data) + 1 != _pdu_size(bytes([function]) + data):
            raise ModbusError(ILLEGAL_VALUE)
        if function == READ_STATUS:
            return bytes([function, self.fast_status()])
        start, count = struct.unpack(">HH", data[:4])
        if function == DIAGNOSTICS:
            if start != 0:
                raise ModbusError(ILLEGAL_FUNCTION)
            return bytes([function]) + data
        if function in (READ_HOLDING, READ_INPUT):
            self._check(start, count, self.most_words)
            words = [self._read(number) for number in range(start, start + count)]
            return struct.pack(f">BB{count}H", function, 2 * count, *words)
        if function == WRITE_REGISTER:
            self._write(start, [count], alone=True)
            return bytes([function]) + data
        if function == WRITE_REGISTERS:
            if data[4] != 2 * count:
                raise ModbusError(ILLEGAL_VALUE)
            self._check(start, count, self.most_written)
            self._write(start, list(struct.unpack(f">{count}H", data[5:])), alone=False)
            return bytes([function]) + data[:4]
        if function in (READ_COILS, READ_DISCRETE):
            self._check(start, count, MOST_BITS)
            states = [self.read_bit(number) for number in range(start, start + count)]
            packed = [sum(bit << n for n, bit in enumerate(states[at : at + 8])) for at in range(0, count, 8)]
            return bytes([function, len(packed), *packed])
        if function == WRITE_COIL:
            if data[3] or data[2] not in (0, *self.coil_on):
                raise ModbusError(ILLEGAL_VALUE)
            self.write_bit(start, bool(data[2]))
            return bytes([function]) + data
        raise ModbusError(ILLEGAL_FUNCTION)

    @staticmethod
    def _check(start: int, count: int, most: int) -> None:
        if not 1 <= count <= most:
            raise ModbusError(ILLEGAL_VALUE)
        if start + count > 0x10000:
            raise ModbusError(ILLEGAL_ADDRESS)

    # registers

    def read_bit(self, number: int) -> bool:
        """Return a coil or discrete input. Raises ModbusError."""
        raise ModbusError(ILLEGAL_ADDRESS)

    def write_bit(self, number: int, state: bool) -> None:
        """Set a coil. Raises ModbusError."""
        raise ModbusError(ILLEGAL_ADDRESS)

    def fast_status(self) -> int:
        """Return the byte that function 7 is answered with."""
        return 0

    def changed(self, register: Register) -> None:
        """Act on a register that has been written."""

    def value(self, register: Register) -> float:
        """Return what a register stands for."""
        return float(_attribute(self, register.name))

    def _resolved(self, setting: Any) -> Any:
        return _attribute(self, setting) if isinstance(setting, str) else setting

    def _read(self, number: int) -> int:
        wide = self.wide_from
        if wide is not None and number >= wide:
            register = self._by_number.get((number - wide) // 2)
            return self._hole() if register is None else self._wide(register)[(number - wide) % 2]
        register = self._by_number.get(number)
        return self._hole() if register is None else self._narrow(register)

    def _hole(self) -> int:
        if self.hole is None:
            raise ModbusError(ILLEGAL_ADDRESS)
        return self.hole

    def _narrow(self, register: Register) -> int:
        value = self.value(register)
        if register.whole:
            return int(value) & 0xFFFF
        counts: int = round(value * 10 ** self._resolved(register.decimals))
        return max(-32767, min(counts, 32767)) & 0xFFFF

    def _wide(self, register: Register) -> tuple[int, int]:
        if register.whole:
            return self._narrow(register), self.PADDING
        value = self.value(register)
        packed = struct.pack(">I", round(1000 * value)) if register.time else struct.pack(">f", value)
        high, low = struct.unpack(">HH", packed)
        return high, low

    def _write(self, start: int, words: list[int], *, alone: bool) -> None:
        wide = self.wide_from
        if wide is None or start < wide:
            for number, word in enumerate(words, start):
                register = self._register(number, alone=alone)
                signed = word - 0x10000 if word & 0x8000 else word
                if register is not None:
                    value = signed if register.whole else signed / 10 ** self._resolved(register.decimals)
                    self._set(register, value)
            return
        if alone or (start - wide) % 2:
            raise ModbusError(ILLEGAL_ADDRESS)
        for at in range(0, len(words), 2):
            register = self._register((start - wide + at) // 2, alone=False)
            if register is None:
                continue
            if register.whole:
                self._set(register, words[at])
                continue
            if at + 1 >= len(words):
                raise ModbusError(ILLEGAL_VALUE)
            packed = struct.pack(">HH", *words[at : at + 2])
            unpacked = struct.unpack(">I" if register.time else ">f", packed)[0]
            self._set(register, unpacked / 1000 if register.time else unpacked)

    def _register(self, number: int, *, alone: bool) -> Register | None:
        """Return a register that is to be written; None if what is written there is dropped."""
        register = self._by_number.get(number)
        if register is None and (alone or self.hole is None):
            raise ModbusError(self.no_register)
        return register

    no_register: ClassVar[int] = ILLEGAL_ADDRESS
    """The exception for a single register that isn't there, when it is written."""

    def _set(self, register: Register, value: float) -> None:
        allowed = register.values is None or value in register.values
        low, high = self._resolved(register.low), self._resolved(register.high)
        if not (self._resolved(register.settable) and allowed and low <= value <= high):
            raise ModbusError(ILLEGAL_VALUE)
        owner, _, name = register.name.rpartition(".")
        target = _attribute(self, owner) if owner else self
        if isinstance(target, (list, dict)):
            target[int(name)] = value
        else:
            setattr(target, name, int(value) if register.whole else value)
        self.changed(register)

    # what the faults need to know

    def refusal(self, message: bytes) -> bytes:
        """Answer that the device has failed."""
        function = message[7] if _tcp_size(message) else message[1]
        return framed(message, bytes([function | 0x80, FAILURE]))

    def wrong_address(self, reply: bytes) -> bytes:
        """Return the reply as if another unit had sent it."""
        if _tcp_size(reply):
            return reply[:6] + bytes([reply[6] % 247 + 1]) + reply[7:]
        body = bytes([reply[0] % 247 + 1]) + reply[1:-2]
        return body + crc(body)

    def wrong_checksum(self, reply: bytes) -> bytes:
        """Return the reply with a wrong checksum; over TCP, which has none, with another protocol's number."""
        if _tcp_size(reply):
            return reply[:2] + b"\xff\xff" + reply[4:]
        return reply[:-2] + bytes([reply[-2] ^ 0xFF, reply[-1]])


def framed(request: bytes, pdu: bytes) -> bytes:
    """Return an answer in the frame of its request."""
    if _tcp_size(request):
        return request[:4] + struct.pack(">HB", len(pdu) + 1, request[6]) + pdu
    body = request[:1] + pdu
    return body + crc(body)


def _attribute(owner: Any, path: str) -> Any:
    return functools.reduce(
        lambda found, name: found[int(name)] if name.isdecimal() else operator.attrgetter(name)(found),
        path.split("."),
        owner,
    )


def _taken(buffer: bytearray, size: int) -> bytes:
    frame = bytes(buffer[:size])
    del buffer[:size]
    return frame


def _pdu_size(pdu: bytes | bytearray) -> int:
    """Return how long a request is, from its beginning; 0 if that can't be told yet."""
    if not pdu:
        return 0
    if pdu[0] in COUNTED_SIZES:
        fixed, at = COUNTED_SIZES[pdu[0]]
        return fixed + pdu[at] if len(pdu) > at else 0
    return FIXED_SIZES.get(pdu[0], 5)


def _tcp_size(message: bytes | bytearray) -> int:
    """Return the size of a frame of Modbus TCP that begins here; 0 if it can't be one."""
    if len(message) < 8 or message[2:4] != b"\0\0":
        return 0
    length = int.from_bytes(message[4:6], "big")
    # a request of RTU for the registers from 0 looks like it, but for its checksum
    is_tcp = 2 <= length <= LONGEST and not _rtu_size(message) and not _may_go_on(message)
    return length + 6 if is_tcp else 0


def _rtu_size(message: bytes | bytearray) -> int:
    """Return the size of a request of RTU that begins here, if it is whole and its checksum right; else 0."""
    size = _pdu_size(message[1:]) + 3
    if not 4 <= size <= len(message) or crc(bytes(message[: size - 2])) != message[size - 2 : size]:
        return 0
    return size


def _may_go_on(message: bytes | bytearray) -> bool:
    """Tell whether this is the beginning of a request of RTU that writes several registers, as it seems."""
    return (
        8 <= len(message) < 9 + message[6]
        and message[1] == WRITE_REGISTERS
        and 2 * int.from_bytes(message[4:6], "big") == message[6]
        and not (message[7] and len(message) == 6 + int.from_bytes(message[4:6], "big"))  # a frame of TCP
    )


def _found(buffer: bytearray) -> tuple[int, int] | None:
    """Return where the first whole frame is, and its size."""
    for at in range(len(buffer)):
        rest = buffer[at : at + 2 * LONGEST]
        size = _rtu_size(rest) or _tcp_size(rest)
        if 0 < size <= len(rest):
            return at, size
    return None
