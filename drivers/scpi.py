"""SCPI: what drivers of instruments that speak it share.

Sources: IEEE 488.2-1992; SCPI-1999 volume 1 (6 program headers, 7.2 numbers, 7.3 booleans) and volume 2 (21.8
SYSTem:ERRor).
"""

from __future__ import annotations

import itertools
import math
import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from typing import NamedTuple, TypeVar

from .core import Array, Bool, Driver, Enum, Fields, Float, Lines, Readback, Text
from .core.protocol import Part, Request
from .core.values import E, Limits

N = TypeVar("N", bound=NamedTuple)

ASK_ERROR = ":SYST:ERR?"
INFINITE, NOT_A_NUMBER = 9.9e37, 9.91e37


def no_error(answer: str) -> bool:
    """Tell whether the answer to `ASK_ERROR` says that the queue is empty. Raises ValueError if it makes no sense."""
    return int(answer.partition(",")[0]) == 0


def was_off(answer: str) -> bool:
    """Tell whether the answer to ``*ESR?`` says that the instrument has been without power since it was asked."""
    return bool(int(answer) & 0b10000000)


@dataclass(frozen=True, kw_only=True)
class ScpiLines(Lines):
    """Lines as SCPI has them: questions are joined by ``;``, errors wait in a queue, replies may hold blocks.

    A command stands in a message of its own: behind one that is refused, the rest of the message is ignored. Its
    errors are asked for in the next message, until there is none; so are those that were there before.

    Args: as for `Lines`, with other defaults.
    """

    eol: str | tuple[str, ...] = ("\n", "\r\n")
    join: str | None = ";"
    blocks: bool = True
    confirm: tuple[str, Callable[[str], bool]] | None = (ASK_ERROR, no_error)
    confirm_queue: bool = True
    power_on: tuple[str, Callable[[str], bool]] | None = ("*ESR?", was_off)

    def requests(self, *parts: Part, joined: bool = True) -> tuple[Request, ...]:
        """Return the messages for a row of parts: questions joined, each command alone."""
        made: tuple[Request, ...] = ()
        for answered, row in itertools.groupby(parts, lambda part: part.answered):
            first, *others = row
            # where it is not the first in a message, a header begins at the root only with a colon
            rooted = [replace(part, text=_rooted(part.text)) for part in others]
            made += super().requests(first, *rooted, joined=joined and answered)
        return made

    def answers(self, text: str, count: int) -> list[str]:
        """Return the answers in a reply; a semicolon in a text or in a block does not part them.

        Raises ValueError if there are not as many as were asked for.
        """
        if count == 1 or self.join is None:
            return [text]
        parts = [part.lstrip(" ") for part in _split(text)]  # some put a blank behind the semicolon
        if len(parts) != count:
            raise ValueError(text)
        return parts


def _rooted(header: str) -> str:
    return header if header[:1] in (":", "*") else f":{header}"


_PIECE = re.compile(r'"(?:[^"]|"")*"|\'(?:[^\']|\'\')*\'|#([1-9])|;|[^;"\'#]+|.', re.DOTALL)


def _split(text: str) -> list[str]:
    """Split a reply at the semicolons that stand in no quotes and in no block."""
    if not any(sign in text for sign in "\"'#"):
        return text.split(";")
    parts, begin, at = [], 0, 0
    while at < len(text):
        piece = _PIECE.match(text, at)
        assert piece is not None  # the last alternative is any character
        at = piece.end()
        if piece[0] == ";":
            parts.append(text[begin : piece.start()])
            begin = at
        elif piece[1]:
            count = text[at : at + int(piece[1])]
            at += len(count) + (int(count) if count.isdigit() else 0)
    return [*parts, text[begin:]]


# Values


class Real(Float):
    """A number; in replies 9.9E37 is infinite, with its sign, and 9.91E37 is not a number (SCPI-1999 7.2.1.4).

    Args: as for `Float`.
    """

    def __init__(self, unit: str = "", spec: str = ".7g", *, limits: Limits | None = None) -> None:
        super().__init__(unit, spec, limits=limits)
        self.is_plain = False

    def decode(self, text: str) -> float:
        """Return the number in a reply."""
        number = super().decode(text)
        if not abs(number) >= INFINITE:
            return number
        return (
            math.nan
            if math.isclose(abs(number), NOT_A_NUMBER, rel_tol=1e-4)
            else math.copysign(math.inf, number)
        )


class OnOff(Bool):
    """On or off: ON and OFF, or a number, of which 0 is off (SCPI-1999 7.3)."""

    expected = "ON, OFF, 1 or 0"

    def decode(self, text: str) -> bool:
        """Return whether the reply says on."""
        word = text.strip().upper()
        return word == "ON" if word in ("ON", "OFF") else super().decode(text)

    def encode(self, value: bool) -> str:
        """Return ON or OFF."""
        return "ON" if value else "OFF"


def short(mnemonic: str) -> str:
    """Return the short form of a mnemonic: what is not in small letters."""
    return re.sub("[a-z]", "", mnemonic)


class Word(Enum[E]):
    """One of several mnemonics; replies may have the long or the short form, in any case, in quotes or without.

    Args:
        states: an enumeration whose values are the mnemonics as the manual prints them: ``"VOLTage"``.
        settable: the states that may be set; all, if not given.
    """

    def __init__(self, states: type[E], *, settable: Iterable[E] | None = None) -> None:
        super().__init__(states, settable=settable)
        self._by_word = {
            word: state for state in states for word in (short(state.value), state.value.upper())
        }

    def decode(self, text: str) -> E:
        """Return the state in a reply."""
        state = self._by_word.get(text.strip().strip("\"'").upper())
        if state is None:
            raise ValueError(text)
        return state

    def encode(self, value: E) -> str:
        """Return the short form of a state."""
        return short(value.value)


class Quoted(Text):
    """A text that stands in double quotes on the wire.

    Args: as for `Text`.
    """

    def __init__(self, max_length: int | None = None, *, forbidden: str = '"') -> None:
        super().__init__(max_length, forbidden=forbidden)

    def decode(self, text: str) -> str:
        """Return the text between the quotes."""
        inside = text.strip()
        if len(inside) > 1 and inside[0] == inside[-1] and inside[0] in "\"'":
            inside = inside[1:-1].replace(2 * inside[0], inside[0])
        return inside.strip()

    def encode(self, value: str) -> str:
        """Return the text in quotes."""
        return f'"{value}"'


class Rows(Fields[N]):
    """A table in one reply, row by row: ``V1,I1,V2,I2,...``. Each field is an array, a column of it.

    Args:
        kind: the NamedTuple of the columns.
        columns: an `Array` for each, by name and in the order of a row.
    """

    def __init__(self, kind: type[N], **columns: Array) -> None:
        super().__init__(kind, ",", **columns)
        self.expected = f"rows of {', '.join(columns)}"

    def decode(self, text: str) -> N:
        """Return the columns in a reply; an empty one has none. Raises ValueError for a row that is cut short."""
        texts = text.split(",") if text.strip() else []
        width = len(self.fields)
        if len(texts) % width:
            raise ValueError(text)
        columns = enumerate(self.fields.values())
        return self.kind(*(column.decode(",".join(texts[at::width])) for at, column in columns))


# What all instruments have


class Identity(NamedTuple):
    """*IDN?"""

    maker: str
    model: str
    serial: str
    firmware: str


class ScpiDriver(Driver):
    """An instrument that speaks SCPI: a subclass has a protocol of its own."""

    protocol = ScpiLines(identify=("*IDN?", r"[^,]+,[^,]+,[^,]*,"))

    identity = Readback(
        Fields(
            Identity,
            re.compile(r"([^,]*),([^,]*),([^,]*),(.*)"),
            maker=Text(),
            model=Text(),
            serial=Text(),
            firmware=Text(),
        ),
        ask="*IDN?",
    )
    error = Readback(Text(), ask=ASK_ERROR, doc="The last error in the instrument's queue")
