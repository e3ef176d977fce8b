"""Parameters of SCPI commands: numbers with their suffixes, booleans, mnemonics, texts; and the errors about them.

Sources: IEEE 488.2-1992 chapter 7.7; SCPI-1999 volume 1 chapter 7, volume 2 chapter 21.8.
"""

import math
import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

ERRORS = {
    0: "No error",
    -100: "Command error",
    -101: "Invalid character",
    -102: "Syntax error",
    -103: "Invalid separator",
    -104: "Data type error",
    -108: "Parameter not allowed",
    -109: "Missing parameter",
    -113: "Undefined header",
    -114: "Header suffix out of range",
    -120: "Numeric data error",
    -131: "Invalid suffix",
    -138: "Suffix not allowed",
    -151: "Invalid string data",
    -200: "Execution error",
    -211: "Trigger ignored",
    -213: "Init ignored",
    -220: "Parameter error",
    -221: "Settings conflict",
    -222: "Data out of range",
    -223: "Too much data",
    -224: "Illegal parameter value",
    -230: "Data corrupt or stale",
    -350: "Queue overflow",
    -363: "Input buffer overrun",
    -410: "Query INTERRUPTED",
    -420: "Query UNTERMINATED",
    -430: "Query DEADLOCKED",
    -440: "Query UNTERMINATED after indefinite response",
}
"""The texts of SCPI-1999; an instrument adds its own."""


class ScpiError(Exception):
    """Raised when a command is not executed; its code goes to the error queue."""

    def __init__(self, code: int) -> None:
        """Take the code."""
        super().__init__(code)
        self.code = code


@dataclass(frozen=True)
class Parameter:
    """A parameter: how it is read (raising ScpiError), how a reply shows it, and what MIN, MAX and DEF stand for."""

    parse: Callable[[str], Any]
    show: Callable[[Any], str] = str
    bounds: tuple[Any, Any] | None = None
    default: Any = None

    def special(self, text: str) -> Any:
        """Return what MINimum, MAXimum or DEFault stands for, or None if it is another text."""
        if self.bounds is not None and matches("MINimum", text):
            return self.bounds[0]
        if self.bounds is not None and matches("MAXimum", text):
            return self.bounds[1]
        return self.default if matches("DEFault", text) else None

    def read(self, text: str) -> Any:
        """Return the value of a text. Raises ScpiError."""
        special = self.special(text)
        return self.parse(text) if special is None else special


def matches(mnemonic: str, text: str) -> bool:
    """Tell whether a text is a mnemonic such as ``VOLTage``, in its long or its short form, in any case."""
    return text.upper() in (mnemonic.upper(), short(mnemonic))


def short(mnemonic: str) -> str:
    """Return the short form of a mnemonic: its capitals, digits and punctuation."""
    return re.sub("[a-z]", "", mnemonic)


def exponential(digits: int, sign: str = "", exponent: int = 2) -> Callable[[float], str]:
    """Return a function that shows numbers as NR3 with so many decimals: ``+1.000000E+00``."""

    def show(value: float) -> str:
        mantissa, _, power = f"{value + 0.0:{sign}.{digits}E}".partition("E")
        return f"{mantissa}E{int(power):+0{exponent + 1}d}"

    return show


_NUMBER = re.compile(r"([-+]?(?:\d+\.?\d*|\.\d+)(?:\s*[eE]\s*[-+]?\d+)?)\s*([A-Za-z%/]*)")
_OTHER_BASES = re.compile(r"#(?:H([0-9A-F]+)|Q([0-7]+)|B([01]+))", re.IGNORECASE)
_MULTIPLIERS = {
    "": 1.0, "EX": 1e18, "PE": 1e15, "T": 1e12, "G": 1e9, "MA": 1e6, "K": 1e3, "M": 1e-3, "U": 1e-6, "N": 1e-9,
    "P": 1e-12, "F": 1e-15, "A": 1e-18,
}  # fmt: skip


def _to_float(text: str, unit: str) -> float:
    if other := _OTHER_BASES.fullmatch(text):
        return float(int(other[other.lastindex or 0], (16, 8, 2)[(other.lastindex or 1) - 1]))
    found = _NUMBER.fullmatch(text)
    if found is None:
        raise ScpiError(-104 if not text[:1].isdigit() else -120)
    number, suffix = float(re.sub(r"\s", "", found[1])), found[2].upper()
    if math.isinf(number):
        raise ScpiError(-222)
    if not suffix:
        return number
    if not unit:
        raise ScpiError(-138)
    multiplier = suffix.removesuffix(unit.upper())
    if not suffix.endswith(unit.upper()) or multiplier not in _MULTIPLIERS:
        raise ScpiError(-131)
    # the milli of hertz and ohm is mega
    mega = multiplier == "M" and unit.upper() in ("HZ", "OHM")
    return number * (1e6 if mega else _MULTIPLIERS[multiplier])


def number(
    low: float,
    high: float,
    default: float | None = None,
    *,
    unit: str = "",
    show: Callable[[float], str] = exponential(6),  # noqa: B008  # a function, and no state
) -> Parameter:
    """Return a parameter for numbers from `low` to `high`, with or without the suffix `unit` and its multiples."""

    def parse(text: str) -> float:
        value = _to_float(text, unit)
        if not low <= value <= high:
            raise ScpiError(-222)
        return value

    return Parameter(parse, show, (low, high), default)


def integer(
    low: int, high: int, default: int | None = None, *, show: Callable[[int], str] = str
) -> Parameter:
    """Return a parameter for whole numbers, also in other bases (``#H1F``); others are rounded."""

    def parse(text: str) -> int:
        value = round(_to_float(text, ""))
        if not low <= value <= high:
            raise ScpiError(-222)
        return value

    return Parameter(parse, show, (low, high), default)


def boolean() -> Parameter:
    """Return a parameter for ON and OFF, or a number: 0 is off."""

    def parse(text: str) -> bool:
        if text.upper() in ("ON", "OFF"):
            return text.upper() == "ON"
        return round(_to_float(text, "")) != 0

    return Parameter(parse, lambda value: str(int(value)))


def choice(*mnemonics: str, show: Callable[[str], str] = str) -> Parameter:
    """Return a parameter for one of some mnemonics such as ``VOLTage``; its value is the short form."""

    def parse(text: str) -> str:
        for mnemonic in mnemonics:
            if matches(mnemonic, text):
                return short(mnemonic)
        raise ScpiError(-224)

    return Parameter(parse, show)


def string(length: int = 255) -> Parameter:
    """Return a parameter for a text in quotes, single or double; in a longer one the length is refused."""

    def parse(text: str) -> str:
        quote = text[:1]
        if quote not in ("'", '"') or len(text) < 2 or text[-1] != quote:
            raise ScpiError(-104 if quote not in ("'", '"') else -151)
        if quote in text[1:-1].replace(2 * quote, ""):
            raise ScpiError(-151)
        inside = text[1:-1].replace(2 * quote, quote)
        if len(inside) > length:
            raise ScpiError(-223)
        return inside

    return Parameter(parse, lambda value: '"' + value.replace('"', '""') + '"')
