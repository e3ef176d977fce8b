"""Devices that speak the Pfeiffer Vacuum protocol, on one RS-485 bus.

Source: the chapter *Pfeiffer Vacuum Protocol for "RS-485"* of the manuals, such as TC 400, chapter 8: 8.1 telegram
frame, 8.2 telegrams, 8.3 data types.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

from .core import Clock, Faults, Simulator

NO_DEF, RANGE, LOGIC = "NO_DEF", "_RANGE", "_LOGIC"
QUERY, CONTROL = "00", "10"
ALL = 0
GROUPS = 900


class RefusedError(Exception):
    """Raised with the word with which a telegram is refused."""


@dataclass(frozen=True)
class DataType:
    """How a value stands in a telegram (8.3).

    Attributes:
        size: characters.
        show: the text of a value, which is cut to that size.
        read: the value of a text of that size; ValueError if it is none.
    """

    size: int
    show: Callable[[Any], str]
    read: Callable[[str], Any]


def _digits(text: str) -> int:
    if not (text.isascii() and text.isdigit()):
        raise ValueError(text)
    return int(text)


def _expo(value: float) -> str:
    if value <= 0:
        return "000000"
    if value == math.inf:
        return "999999"
    mantissa, exponent = f"{value:.3e}".split("e")
    return f"{mantissa.replace('.', '')}{int(exponent) + 20:02d}"


def _text(size: int) -> DataType:
    return DataType(size, lambda text: f"{text:{size}.{size}}", str.strip)


BOOLEAN_OLD = DataType(
    6, lambda on: "111111" if on else "000000", lambda s: bool(("000000", "111111").index(s))
)
U_INTEGER = DataType(6, lambda n: f"{min(max(round(n), 0), 999_999):06d}", _digits)
U_REAL = DataType(6, lambda x: f"{min(max(round(100 * x), 0), 999_999):06d}", lambda s: _digits(s) / 100)
STRING = _text(6)
BOOLEAN_NEW = DataType(1, lambda on: f"{on:d}", lambda s: bool(("0", "1").index(s)))
U_SHORT_INT = DataType(3, lambda n: f"{min(max(round(n), 0), 999):03d}", _digits)
U_EXPO_NEW = DataType(6, _expo, lambda s: _digits(s[:4]) * 10.0 ** (_digits(s[4:]) - 23))
STRING16 = _text(16)
STRING8 = _text(8)


@dataclass(frozen=True)
class P:
    """One line of a table of parameters.

    Attributes:
        number: of the parameter.
        name: the attribute of the device that holds it.
        type: its data type.
        access: R, W or RW.
        low: the least that it takes.
        high: the most that it takes.
    """

    number: int
    name: str
    type: DataType
    access: str = "R"
    low: float | None = None
    high: float | None = None


class Unit:
    """One device on the bus.

    Attributes:
        is_on: whether it has power; if not it is silent.
    """

    table: ClassVar[tuple[P, ...]] = ()
    group: ClassVar[int] = 0
    """The address that all of its kind listen to, without an answer; 0: none."""

    is_on = True

    def parameters(self) -> Mapping[int, P]:
        """Return the parameters that it has, by number."""
        return {line.number: line for line in self.table}

    def check_access(self, line: P) -> None:
        """Raise RefusedError if the parameter may not be written now."""

    def power_cycle(self) -> None:
        """Lose what it loses without power."""

    def answer(self, action: str, number: int, data: str) -> str:
        """Return the data of the answer to a telegram."""
        line = self.parameters().get(number)
        try:
            if line is None:
                raise RefusedError(NO_DEF)
            if action == CONTROL:
                self._write(line, data)
                return data
            if "R" not in line.access:
                raise RefusedError(LOGIC)
            if data != "=?":
                raise RefusedError(RANGE)
            return line.type.show(getattr(self, line.name))
        except RefusedError as refused:
            return str(refused)

    def _write(self, line: P, data: str) -> None:
        if "W" not in line.access:
            raise RefusedError(LOGIC)
        if len(data) != line.type.size:
            raise RefusedError(RANGE)
        try:
            value = line.type.read(data)
        except ValueError:
            raise RefusedError(RANGE) from None
        if (line.low is not None and value < line.low) or (line.high is not None and value > line.high):
            raise RefusedError(RANGE)
        self.check_access(line)
        setattr(self, line.name, value)


class Bus(Simulator):
    """Devices at their addresses behind one port. The log has what reached a device, without checksums."""

    terminator_out = b"\r"
    serial_line = {"baudrate": 9600}
    frame: ClassVar[re.Pattern[str]] = re.compile(r"(\d{3})(00|10)(\d{3})(\d{2})([ -\x7f]*)")
    longest: ClassVar[int] = 128
    no_telegram: ClassVar[bytes] = bytes({*range(256)} - {*range(32, 128)})
    """What is in no telegram (8.1): the LF of a client that ends lines by CR LF, or what a floating bus gives."""

    def __init__(
        self, units: Mapping[int, Unit], *, clock: Clock | None = None, faults: Faults | None = None
    ) -> None:
        """Connect devices, by address."""
        super().__init__(clock=clock, faults=faults)
        self.units = dict(units)

    def split(self, buffer: bytearray) -> Iterator[bytes]:
        """Yield the telegrams, without CR."""
        *telegrams, rest = bytes(buffer).split(b"\r")
        buffer[:] = rest[-self.longest :]
        yield from telegrams

    def handle(self, message: bytes) -> bytes | None:
        """Give a telegram to whom it is for; what nobody feels addressed by is not answered (8.1)."""
        message = message.lstrip(self.no_telegram)
        body, checksum = message[:-3], message[-3:]
        found = self.frame.fullmatch(body.decode("latin-1"))
        if found is None or checksum != _checksum(body) or int(found[4]) != len(found[5]):
            return None
        self.log.append(found[0])
        address, action, number, data = int(found[1]), found[2], int(found[3]), found[5]
        if address == ALL or address > GROUPS:
            for unit in self.units.values():
                if unit.is_on and action == CONTROL and address in (ALL, unit.group):
                    unit.answer(action, number, data)
            return None
        if address not in self.units or not self.units[address].is_on:
            return None
        return telegram(address, number, self.units[address].answer(action, number, data))

    def ask(self, text: str) -> str:
        """Handle a telegram without its checksum; return the answer without checksum, "" for silence."""
        body = text.encode("latin-1")
        reply = self.receive(body + _checksum(body))
        return "" if reply is None else reply[:-4].decode("latin-1")

    def power_cycle(self) -> None:
        """Switch all devices off and on."""
        for unit in self.units.values():
            unit.power_cycle()

    def refusal(self, message: bytes) -> bytes | None:
        """Refuse a telegram, whatever it says."""
        return telegram(int(message[:3]), int(message[5:8]), LOGIC)

    def wrong_address(self, reply: bytes) -> bytes:
        """Return the reply as if another address had answered."""
        return telegram(int(reply[:3]) % 255 + 1, int(reply[5:8]), reply[10:-4].decode("latin-1"))

    def wrong_checksum(self, reply: bytes) -> bytes:
        """Return the reply with a checksum that doesn't fit."""
        return reply[:-4] + b"%03d\r" % ((int(reply[-4:-1]) + 1) % 256)


def telegram(address: int, number: int, data: str) -> bytes:
    """Return the telegram of an answer."""
    body = f"{address:03d}{CONTROL}{number:03d}{len(data):02d}{data}".encode("latin-1")
    return body + _checksum(body) + b"\r"


def _checksum(body: bytes) -> bytes:
    return b"%03d" % (sum(body) % 256)
