"""Checksums: what instruments put behind a message to show that it came whole.

A `Checksum` says how the number is computed, how it is written and where it stands. The ones below are those that
instruments are known to use, binary, most significant byte first (`MODBUS` last, as on its wire), over the whole
message. A variant of one is a line::

    PFEIFFER = replace(SUM8, form="decimal")
    MODBUS_ASCII = replace(HEXLRC, form="HEX", start=1)

and so is a new one, with any function from bytes to a whole number::

    ACME = Checksum("acme", lambda data: 0x55 ^ sum(data))

`crc` makes such a function for any of the published CRCs.
"""

from __future__ import annotations

import binascii
import functools
import operator
import zlib
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Literal

from .errors import DefinitionError, ReplyError

Compute = Callable[[bytes], int]


@dataclass(frozen=True)
class Checksum:
    r"""A checksum: how it is computed, how it is written, where it stands.

    Args:
        name: what it is called, for error messages.
        compute: from the bytes that it covers to a number; what is beyond ``width`` bytes of it doesn't count.
        width: how many bytes the number has.
        form: how it is written. ``binary``: as it is; ``HEX`` or ``hex``: two digits for each byte, upper or lower
            case, both taken; ``nibbles``: two characters for each byte, each half of it plus 0x30, also known as poor
            man's hex; ``decimal``: as many digits as the largest number has.
        byteorder: which byte is the first; not for decimal digits.
        start: how many bytes of the message it leaves out at the beginning, such as STX.
        end: how many bytes before it it leaves out.
        after: what stands between the message and it, such as ETX, or ``*``. It covers that too, but for ``end``.
        before: what stands behind it, such as ETX. A terminator that the framer takes off does not.

    Raises DefinitionError if it can't be.
    """

    name: str
    compute: Compute
    width: int = 1
    form: Literal["binary", "HEX", "hex", "nibbles", "decimal"] = "binary"
    byteorder: Literal["big", "little"] = "big"
    start: int = 0
    end: int = 0
    after: bytes = b""
    before: bytes = b""

    def __post_init__(self) -> None:
        if self.width < 1 or self.start < 0 or self.end < 0 or self.form not in _FORMS:
            raise DefinitionError(
                f"checksum {self.name}: {self.width} bytes as {self.form!r}, {self.start} bytes left out before"
                f" and {self.end} after: that can't be"
            )

    def append(self, payload: bytes) -> bytes:
        """Return a message with its checksum, and with what stands beside it."""
        message = payload + self.after
        return message + self._written(message) + self.before

    def strip(self, message: bytes) -> bytes:
        """Return a message without its checksum and what stands beside it.

        Raises ReplyError, naming what was expected and what came, if it is not right.
        """
        size = _FORMS[self.form][0](self.width)
        end = len(message) - len(self.before)
        payload = message[: max(0, end - size - len(self.after))]
        covered = payload + self.after
        came, expected = message[len(covered) :], self._written(covered) + self.before
        if not message.startswith(covered) or not self._same(came, expected):
            raise ReplyError(
                f"checksum {self.name}: expected {self.after + expected!r}"
                f" behind {payload[:80]!r}, got {message[len(payload) :]!r}"
            )
        return payload

    def _written(self, message: bytes) -> bytes:
        covered = message[self.start : max(0, len(message) - self.end)]
        number = self.compute(covered) % 256**self.width
        return _FORMS[self.form][1](number, self.width, self.byteorder)

    def _same(self, came: bytes, expected: bytes) -> bool:
        return came.upper() == expected.upper() if self.form in ("HEX", "hex") else came == expected


def _nibbles(raw: bytes) -> bytes:
    return bytes(0x30 + half for byte in raw for half in divmod(byte, 16))


def _digits(width: int) -> int:
    return len(str(256**width - 1))


# the form's size for so many bytes, and the number in that form
_FORMS: dict[str, tuple[Callable[[int], int], Callable[[int, int, Literal["big", "little"]], bytes]]] = {
    "binary": (lambda width: width, lambda n, width, order: n.to_bytes(width, order)),
    "HEX": (lambda width: 2 * width, lambda n, width, order: n.to_bytes(width, order).hex().upper().encode()),
    "hex": (lambda width: 2 * width, lambda n, width, order: n.to_bytes(width, order).hex().encode()),
    "nibbles": (lambda width: 2 * width, lambda n, width, order: _nibbles(n.to_bytes(width, order))),
    "decimal": (_digits, lambda n, width, order: b"%0*d" % (_digits(width), n)),
}


def crc(width: int, polynomial: int, *, init: int = 0, reflected: bool = False, xorout: int = 0) -> Compute:
    """Return the function of a cyclic redundancy check, by the parameters under which they are published.

    Args:
        width: in bits, 8 or more.
        polynomial: without its highest term, most significant bit first, also for a reflected one.
        init: where it begins.
        reflected: whether bits go in, and the result comes out, least significant bit first.
        xorout: what the result is combined with.
    """
    if width < 8:
        raise DefinitionError(f"a CRC of {width} bits; expected 8 or more")
    if reflected:
        begin, polynomial = _mirrored(init, width), _mirrored(polynomial, width)
        low = _table(lambda byte: byte, lambda value: (value >> 1) ^ (polynomial if value & 1 else 0))

        def downwards(data: bytes) -> int:
            value = begin
            for byte in data:
                value = (value >> 8) ^ low[(value ^ byte) & 0xFF]
            return value ^ xorout

        return downwards

    top, mask, shift = 1 << (width - 1), (1 << width) - 1, width - 8
    high = _table(
        lambda byte: byte << shift, lambda value: (value << 1) & mask ^ (polynomial if value & top else 0)
    )

    def upwards(data: bytes) -> int:
        value = init
        for byte in data:
            value = (value << 8) & mask ^ high[(value >> shift) ^ byte]
        return value ^ xorout

    return upwards


def _table(begin: Callable[[int], int], step: Callable[[int], int]) -> list[int]:
    """Return what eight steps make of each byte."""
    table = [begin(byte) for byte in range(256)]
    for _ in range(8):
        table = [step(value) for value in table]
    return table


def _mirrored(number: int, width: int) -> int:
    return int(f"{number:0{width}b}"[::-1], 2)


def _xor(data: bytes) -> int:
    return functools.reduce(operator.xor, data, 0)


def _ones(data: bytes) -> int:
    return int.from_bytes(data, "big").bit_count()


def _hex_digits(data: bytes) -> str:
    return "".join(c for c in data.decode("latin-1") if c in "0123456789abcdefABCDEF")


def _hexlrc(data: bytes) -> int:
    digits = _hex_digits(data)
    return -sum(bytes.fromhex(digits.zfill(len(digits) + len(digits) % 2)))


def _leybold(data: bytes) -> int:
    number = 255 - sum(data) % 256
    return number if number >= 32 else number + 32


def _brooks_cryo(data: bytes) -> int:
    number = sum(byte & 0x7F for byte in data)
    return 0x30 + ((number ^ number >> 6) & 0x3F)


# sums of the bytes, their two's and one's complements
SUM8 = Checksum("sum8", sum)
SUM16 = Checksum("sum16", sum, 2)
SUM32 = Checksum("sum32", sum, 4)
NEGSUM8 = Checksum("negsum8", lambda data: -sum(data))
NEGSUM16 = replace(NEGSUM8, name="negsum16", width=2)
NEGSUM32 = replace(NEGSUM8, name="negsum32", width=4)
NOTSUM8 = Checksum("notsum8", lambda data: ~sum(data))
LRC = replace(NEGSUM8, name="lrc")

# the bytes, exclusive-or'ed
XOR8 = Checksum("xor8", _xor)
XOR7 = Checksum("xor7", lambda data: _xor(data) & 0x7F)
XOR8FF = Checksum("xor8ff", lambda data: _xor(data) ^ 0xFF)

# the hexadecimal digits in the message: their sum, and the LRC of the bytes that pairs of them make
HEXSUM8 = Checksum("hexsum8", lambda data: sum(int(digit, 16) for digit in _hex_digits(data)))
HEXLRC = Checksum("hexlrc", _hexlrc)

# the bits that are one
BITSUM8 = Checksum("bitsum8", _ones)
BITSUM16 = Checksum("bitsum16", _ones, 2)
BITSUM32 = Checksum("bitsum32", _ones, 4)

# cyclic redundancy checks; behind each its name in the RevEng catalogue
CRC8 = Checksum("crc8", crc(8, 0x07))  # CRC-8/SMBUS
CCITT8 = Checksum("ccitt8", crc(8, 0x31, reflected=True))  # CRC-8/MAXIM-DOW
CRC16 = Checksum("crc16", crc(16, 0x8005), 2)  # CRC-16/UMTS
CRC16R = Checksum("crc16r", crc(16, 0x8005, reflected=True), 2)  # CRC-16/ARC
MODBUS = Checksum(
    "modbus", crc(16, 0x8005, init=0xFFFF, reflected=True), 2, byteorder="little"
)  # CRC-16/MODBUS
CCITT16 = Checksum("ccitt16", lambda data: binascii.crc_hqx(data, 0xFFFF), 2)  # CRC-16/IBM-3740
CCITT16A = Checksum("ccitt16a", lambda data: binascii.crc_hqx(data, 0x1D0F), 2)  # CRC-16/SPI-FUJITSU
XMODEM = Checksum("xmodem", lambda data: binascii.crc_hqx(data, 0), 2)  # CRC-16/XMODEM
CRC32 = Checksum("crc32", crc(32, 0x04C11DB7, init=0xFFFFFFFF, xorout=0xFFFFFFFF), 4)  # CRC-32/BZIP2
CRC32R = Checksum("crc32r", zlib.crc32, 4)  # CRC-32/ISO-HDLC
JAMCRC = Checksum("jamcrc", lambda data: ~zlib.crc32(data), 4)  # CRC-32/JAMCRC
ADLER32 = Checksum("adler32", zlib.adler32, 4)  # RFC 1950

# of one maker each; none of them is ever a control character
LEYBOLD = Checksum("leybold", _leybold)
BROOKS_CRYO = Checksum("brooks-cryo", _brooks_cryo)
CPI = Checksum("cpi", lambda data: 32 + sum(byte - 32 for byte in data) % 95)
HV_MPS = Checksum("hv-mps", lambda data: 0x40 | -sum(data) & 0x7F)
