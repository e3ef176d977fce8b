"""Pfeiffer Vacuum protocol: gauges and the drives of pumps, at their addresses on one RS-485 bus.

A telegram is the address (3 digits), the action (``00`` asks, ``10`` sets and answers), the number of the parameter
(3), the length of the data (2), the data, a checksum (3) and CR. A driver states the parameters as the manual does::

    motor = setting(23, boolean_old(), doc="Motor pump")
    speed = status(309, u_integer("Hz"), doc="Actual rotation speed")
    acknowledge = command(9, boolean_old(), True)

Source: the chapter *Pfeiffer Vacuum Protocol for "RS-485"* of every manual, such as TC 400, chapter 8.
"""

from __future__ import annotations

import enum
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, TypeVar

from .core import Bool, Command, Enum, Float, Integer, Lines, Readback, Setpoint, Text, ValueType
from .core.checksums import SUM8, Checksum
from .core.errors import AddressError, LimitError, RefusedError, ReplyError
from .core.parameters import Condition

T = TypeVar("T")
E = TypeVar("E", bound=enum.Enum)
Limits = tuple[float, float]

REFUSALS = {
    "NO_DEF": "there is no such parameter",
    "_RANGE": "the data is out of range",
    "_LOGIC": "no access to this parameter now",
}


def match(question: str, reply: str) -> str | None:
    """Return the data of a telegram that answers this one: from the same address, for the same parameter.

    Raises RefusedError for the three words that refuse (8.2), ReplyError if its length is not what it says.
    """
    if reply[:3] != question[:3] or reply[3:5] != "10" or reply[5:8] != question[5:8]:
        return None
    data = reply[10:]
    if reply[8:10] != f"{len(data):02d}":
        raise ReplyError(f"expected {reply[8:10]} characters of data, got {len(data)}: {data[:80]!r}")
    if data in REFUSALS:
        raise RefusedError(f"parameter {reply[5:8]}: {data}, {REFUSALS[data]}")
    return data


@dataclass(frozen=True, kw_only=True)
class Telegrams(Lines):
    """The protocol, as every device speaks it. An address is 1 to 255."""

    eol: str | tuple[str, ...] = "\r"
    checksum: Checksum | None = replace(SUM8, name="pfeiffer", form="decimal")
    timeout: float = 0.5
    match: Callable[[str, str], str | None] | None = match
    accepted: Callable[[str], bool] | None = lambda answer: True  # what refuses is told by match
    serial: Mapping[str, int | str] = field(default_factory=lambda: {"baudrate": 9600})
    gaps: Mapping[str, float] = field(
        default_factory=lambda: {"serial": 0.005}
    )  # to let go of a two-wire bus

    def addressed(self, address: str) -> str:
        """Return an address in three digits. Raises AddressError if it is none of a single device."""
        if not (address.isascii() and address.isdigit() and 1 <= int(address) <= 255):
            raise AddressError(f"expected an address from 1 to 255, got {address!r}")
        return f"{int(address):03d}"

    def unpacked(self, message: bytes) -> str:
        """Return a telegram without its checksum, and without what the bus gave before it, floating."""
        begin = next((at for at, byte in enumerate(message) if 32 <= byte < 127), 0)
        return super().unpacked(message[begin:])


def named(pattern: str) -> tuple[str, str]:
    """Return what identifies a device: the question for its name (349), and what that begins with."""
    return _asked(349), pattern


# The kinds of lines in a table of parameters


def status(
    parameter: int, value: ValueType[T], *, valid_if: Condition | None = None, doc: str = ""
) -> Readback[T]:
    """Return a parameter that is read (access R)."""
    return Readback(value, ask=_asked(parameter), valid_if=valid_if, doc=doc)


def setting(
    parameter: int, value: ValueType[T], *, refreshes: Iterable[Readback[Any]] = (), doc: str = ""
) -> Setpoint[T]:
    """Return a parameter that is read and written (access RW)."""
    ask, tell = _asked(parameter), _told(parameter, value)
    return Setpoint(value, ask=ask, tell=tell, refreshes=refreshes, idempotent=True, doc=doc)


def entry(
    parameter: int, value: ValueType[T], *, refreshes: Iterable[Readback[Any]] = (), doc: str = ""
) -> Setpoint[T]:
    """Return a parameter that is written only (access W)."""
    return Setpoint(value, tell=_told(parameter, value), refreshes=refreshes, doc=doc)


def command(
    parameter: int, value: ValueType[T], to: T, *, refreshes: Iterable[Readback[Any]] = (), doc: str = ""
) -> Command:
    """Return what writes one value to a parameter."""
    tell = _told(parameter, value).replace("{value}", value.encode(to))
    return Command(tell=tell, refreshes=refreshes, idempotent=True, doc=doc)


def _asked(parameter: int) -> str:
    return f"{{addr}}00{parameter:03d}02=?"


def _told(parameter: int, value: ValueType[Any]) -> str:
    return f"{{addr}}10{parameter:03d}{value.width or 0:02d}{{value}}"


# The data types (8.3), by their names in the manuals


def boolean_old() -> Bool:
    """Type 0: ``000000`` or ``111111``."""
    return Bool(on="111111", off="000000")


def u_integer(unit: str = "", *, limits: tuple[int, int] | None = None) -> Integer:
    """Type 1: six digits."""
    return Integer(unit, "06d", limits=limits or (0, 999_999))


def u_real(unit: str = "", *, limits: Limits | None = None) -> Float:
    """Type 2: six digits, two of them behind the point: ``001571`` is 15.71."""
    return Float(unit, "06d", counts=100, limits=limits or (0, 9999.99))


def string() -> Text:
    """Type 4: six characters."""
    return Text(width=6)


def boolean_new() -> Bool:
    """Type 6: ``0`` or ``1``."""
    value = Bool()
    value.width = 1
    return value


def u_short_int(unit: str = "", *, limits: tuple[int, int] | None = None) -> Integer:
    """Type 7: three digits."""
    return Integer(unit, "03d", limits=limits or (0, 999))


def choice(states: type[E], *, settable: Iterable[E] | None = None) -> Enum[E]:
    """Type 7 where each number has a meaning."""
    return Enum(states, "03d", settable=settable)


class UExpoNew(Float):
    """Type 10: four digits and the exponent of the first, plus 20: ``100023`` is 1.000e3."""

    expected = "a number such as 100023, which is 1.000e3"

    def __init__(self, unit: str = "", *, limits: Limits | None = None) -> None:
        super().__init__(unit, ".4g", limits=limits or (0, 9.999e79))
        self.width = 6

    def decode(self, text: str) -> float:
        """Return the number in a reply."""
        if len(text) != 6 or not (text.isascii() and text.isdigit()):
            raise ValueError(text)
        return float(f"{text[:4]}e{int(text[4:]) - 23}")

    def encode(self, value: float) -> str:
        """Return the six digits of a number. Raises LimitError if its exponent needs more."""
        mantissa, exponent = f"{value:.3e}".split("e")
        power = int(exponent) + 20 if value else 0
        if not 0 <= power <= 99:
            raise LimitError(f"expected a number from 1e-20 to 1e80, got {value!r}")
        return f"{mantissa.replace('.', '')}{power:02d}"


def u_expo_new(unit: str = "", *, limits: Limits | None = None) -> UExpoNew:
    """Type 10, see `UExpoNew`."""
    return UExpoNew(unit, limits=limits)


def string16() -> Text:
    """Type 11: sixteen characters."""
    return Text(width=16)


def string8() -> Text:
    """Type 12: eight characters."""
    return Text(width=8)


# Errors, as all devices tell them (parameter 303)


class Fault(enum.IntEnum):
    """How bad it is: an error switches a pump off."""

    NONE = 0
    WARNING = 1
    ERROR = 2


def fault_of(code: str) -> Fault:
    """Return how bad an error code is. Raises ValueError if it is none."""
    if code == "000000" or code.lower().startswith("no"):  # "no Err" from some control units
        return Fault.NONE
    faults = {"Err": Fault.ERROR, "Wrn": Fault.WARNING}
    if code[:3] not in faults:
        raise ValueError(f"{code!r} is no error code")
    return faults[code[:3]]
