"""Numerals: how a number is written on the wire, by a short specification.

=========================  ==========================================================================================
``.3f``, ``+.4e``, ``d``   digits, as Python's format specifications write them
``06d``, ``8.3f``          in six, in eight characters: a number that needs more is refused
``04X``, ``#o``, ``08b``   hexadecimal, octal, binary; negative only with a sign in the specification, as in ``-x``
``+.4m``                   mantissa and exponent without point and letter: ``+1234-02`` is 12.34
``>i2``, ``<u4``, ``u1``   that many bytes, signed or not, most (``>``) or least (``<``) significant byte first
``>f4``, ``<f8``           IEEE 754, 4 or 8 bytes
``>bcd3``, ``<+bcd2``      packed decimal, two digits a byte; with ``+`` the first half byte is the sign
``>i2X``, ``<f4x``         those bytes, written as upper or lower case hexadecimal digits
=========================  ==========================================================================================

Bytes stand in text as Latin-1 does it: each is the character of its number.
"""

from __future__ import annotations

import re
import struct
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

from .errors import DefinitionError, LimitError

_FORMAT = re.compile(r"(?:.?[<>=^])?([-+ ]?)z?(#?)0?(\d*)(?:\.(\d+))?([a-zA-Z]?)")
_MANTISSA = re.compile(r"([-+ ]?)(?:\.([1-9]\d*))?m")
_RAW = re.compile(r"([<>]?)(i|u|f|\+?bcd)([1-9]\d?)([xX]?)")
_BASES = {"": 10, "d": 10, "b": 2, "o": 8, "x": 16, "X": 16}
_NUMPY = ("i1", "u1", "i2", "u2", "i4", "u4", "i8", "u8", "f4", "f8")

ByteOrder = Literal["big", "little"]
Packing = tuple[Callable[[Any], bytes], Callable[[bytes], Any], tuple[int, int] | None]


@dataclass(frozen=True, slots=True)
class Numeral:
    """How a number is written.

    Args:
        encode: from the number to its text; LimitError if it does not fit.
        decode: from the text to the number; ValueError if it is none.
        width: how many characters it has, if always as many.
        limits: the lowest and the highest number that it can write, if they are whole and known.
        whole: whether it writes whole numbers only.
        resolution: the step from one number to the next, if that is always the same; else 0.0.
        dtype: NumPy's name for it, if its text is the bytes of one of NumPy's types; else "".
    """

    encode: Callable[[Any], str]
    decode: Callable[[str], Any]
    width: int | None = None
    limits: tuple[int, int] | None = None
    whole: bool = False
    resolution: float = 0.0
    dtype: str = ""


def numeral(spec: str, *, whole: bool) -> Numeral:
    """Return how numbers, or whole numbers only, are written by a specification.

    Raises DefinitionError if there is no such specification.
    """
    made: Numeral | None = None
    if found := _RAW.fullmatch(spec):
        made = _raw(found[1], found[2], int(found[3]), found[4])
    elif (found := _MANTISSA.fullmatch(spec)) and not whole:
        made = _mantissa(found[1], int(found[2] or 6))
    elif found := _FORMAT.fullmatch(spec):
        made = _formatted(spec, found, whole)
    if made is None or (whole and not made.whole):
        kind, example = ("a whole number", "'06d'") if whole else ("a number", "'.3f'")
        raise DefinitionError(f"{spec!r} is no format of {kind}; expected one like {example} or '>i2'")
    return made


def _plain(text: str) -> str:
    """Return a text as it is. Raises ValueError if it is a number to Python alone, as ``1_000`` is."""
    if "_" in text:
        raise ValueError(text)
    return text


def decode_float(text: str) -> float:
    """Return the number in a text of digits."""
    return float(text if "_" not in text else _plain(text))


def decode_int(text: str) -> int:
    """Return the whole number in a text of digits."""
    return int(text if "_" not in text else _plain(text))


def _fitting(spec: str, width: int) -> Callable[[Any], str]:
    def encode(number: float) -> str:
        text = format(number, spec)
        if width and len(text) > width:
            raise LimitError(f"expected {width} characters, {number!r} needs {len(text)}: {text!r}")
        return text

    return encode


def _formatted(spec: str, found: re.Match[str], whole: bool) -> Numeral | None:
    sign, alternative, width, decimals, kind = found.groups()
    size = int(width or 0)
    is_whole = kind in _BASES and (kind != "" or whole)
    try:
        format(1 if is_whole else 1.0, spec)
    except ValueError:
        return None
    encode = _fitting(spec, size)
    if not is_whole:
        resolution = 10.0 ** -int(decimals) if kind == "f" and decimals else 0.0
        return Numeral(encode, decode_float, size or None, resolution=resolution)
    base = _BASES[kind]
    signed = base == 10 or bool(sign)
    limits = None
    if size:
        digits = size - (2 if alternative and base != 10 else 0)
        highest = base ** (digits - (sign in ("+", " "))) - 1
        limits = (1 - base ** (digits - 1) if signed else 0, highest)

    def decode(text: str) -> int:
        number = int(_plain(text), base)
        if number < 0 and not signed:
            raise ValueError(text)
        return number

    return Numeral(
        encode, decode_int if base == 10 else decode, size or None, limits, whole=True, resolution=1.0
    )


def _mantissa(sign: str, digits: int) -> Numeral:
    def encode(number: float) -> str:
        mantissa, exponent = format(number, f"{sign}.{digits - 1}e").split("e")
        shift = digits - 1 if number else 0
        return f"{mantissa.replace('.', '')}{int(exponent) - shift:+03d}"

    def decode(text: str) -> float:
        found = re.fullmatch(r"\s*([-+]?\d+)([-+]\d+)\s*", text)
        if found is None:
            raise ValueError(text)
        return float(f"{found[1]}e{found[2]}")

    return Numeral(encode, decode)


def _raw(order: str, kind: str, size: int, hexadecimal: str) -> Numeral | None:
    if size > 1 and not order:
        return None
    byteorder: ByteOrder = "little" if order == "<" else "big"
    if kind == "f":
        packing = _floating(byteorder, size)
    elif kind in ("i", "u"):
        packing = _binary(byteorder, size, signed=kind == "i")
    else:
        packing = _decimal(byteorder, size, signed=kind == "+bcd")
    if packing is None:
        return None
    to_bytes, from_bytes, limits = packing
    width = 2 * size if hexadecimal else size

    def encode(number: float) -> str:
        if limits is not None and not limits[0] <= number <= limits[1]:
            raise LimitError(f"expected {limits[0]} to {limits[1]} in {size} bytes, got {number!r}")
        try:
            raw = to_bytes(number)
        except OverflowError:
            raise LimitError(f"{number!r} does not fit into {size} bytes") from None
        if not hexadecimal:
            return raw.decode("latin-1")
        return raw.hex().upper() if hexadecimal == "X" else raw.hex()

    def decode(text: str) -> Any:
        raw = bytes.fromhex(text) if hexadecimal else text.encode("latin-1")
        if len(text) != width or len(raw) != size:
            raise ValueError(text)
        return from_bytes(raw)

    dtype = "" if hexadecimal or f"{kind}{size}" not in _NUMPY else f"{order}{kind}{size}"
    whole = kind != "f"
    return Numeral(encode, decode, width, limits, whole, 1.0 if whole else 0.0, dtype)


# How a number becomes so many bytes, how bytes become a number, and the limits


def _floating(order: ByteOrder, size: int) -> Packing | None:
    if size not in (4, 8):
        return None
    layout = struct.Struct((">" if order == "big" else "<") + ("f" if size == 4 else "d"))
    return layout.pack, lambda raw: layout.unpack(raw)[0], None


def _binary(order: ByteOrder, size: int, *, signed: bool) -> Packing:
    values = 256**size
    return (
        lambda number: number.to_bytes(size, order, signed=signed),
        lambda raw: int.from_bytes(raw, order, signed=signed),
        (-values // 2, values // 2 - 1) if signed else (0, values - 1),
    )


def _decimal(order: ByteOrder, size: int, *, signed: bool) -> Packing:
    digits = 2 * size - signed
    reverse = slice(None, None, 1 if order == "big" else -1)

    def to_bytes(number: int) -> bytes:
        sign = ("f" if number < 0 else "0") if signed else ""
        return bytes.fromhex(f"{sign}{abs(number):0{digits}d}")[reverse]

    def from_bytes(raw: bytes) -> int:
        text = raw[reverse].hex()
        # the sign is the highest bit; the three below it are digits of no number
        if signed and text[0] not in "089abcdef":
            raise ValueError(text)
        number = int(text[signed:])
        return -number if signed and text[0] != "0" else number

    return to_bytes, from_bytes, (1 - 10**digits if signed else 0, 10**digits - 1)
