"""Value types: what stands on the wire for a number, a name, a set of bits, and its unit and limits.

A value type decodes the text of a reply and encodes a value for a command. It holds all that the manual says of
the value: unit, limits, format. The same types serve alone and as the fields of a reply with several (`Fields`).

How a number is written is a short specification, the same for all types of numbers: `labioc.drivers.core.numerals`.
What no type describes is rewritten into what one does: `labioc.drivers.core.rewritten`.
"""

from __future__ import annotations

import datetime
import enum
import math
import numbers
import re
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Sequence
from typing import Any, Generic, NamedTuple, TypeVar, cast

from . import units
from .errors import DefinitionError, LimitError, ValueTypeError
from .numerals import Numeral, decode_float, decode_int, numeral

T = TypeVar("T")
E = TypeVar("E", bound=enum.Enum)
F = TypeVar("F", bound=enum.IntFlag)
N = TypeVar("N", bound=NamedTuple)

Limits = tuple[float, float]


class ValueType(ABC, Generic[T]):
    """How one value stands on the wire.

    Attributes:
        unit: its unit, as `labioc.drivers.core.units` knows it; empty if it has none.
        limits: the lowest and highest value that the instrument takes, or None.
        width: how many characters it has, if always as many; else None.
        expected: what a reply must be, for error messages.
    """

    unit: str = ""
    limits: Limits | None = None
    width: int | None = None
    expected: str

    @abstractmethod
    def decode(self, text: str) -> T:
        """Return the value in a reply.

        Raises ValueError if it is not one, ReadingInvalid if the text says that there is no valid one.
        """

    @abstractmethod
    def encode(self, value: T) -> str:
        """Return the text of a checked value for a command."""

    @abstractmethod
    def check(self, value: object) -> T:
        """Return the value in its own type.

        Raises ValueTypeError if it has another, LimitError if it is beyond the limits.
        """

    def agree(self, sent: T, kept: T) -> bool:
        """Tell whether what the instrument kept is what it was sent, to the resolution of the wire."""
        return sent == kept


def _ordered(limits: Limits | None, spec: str, written: Limits | None) -> Limits | None:
    """Return the limits, or those of what can be written if none are given."""
    if limits is None:
        return written
    if not limits[0] <= limits[1]:
        raise DefinitionError(f"expected limits as (lowest, highest), got {limits}")
    if written is not None and not written[0] <= limits[0] <= limits[1] <= written[1]:
        raise DefinitionError(f"{spec!r} writes {written[0]:g} to {written[1]:g}, not {limits}")
    return limits


def within(value: float, limits: Limits | None, unit: str) -> None:
    """Raise LimitError for a value beyond the limits."""
    if limits is not None and not limits[0] <= value <= limits[1]:
        low, high = limits
        raise LimitError(f"{value:.10g} is beyond the limits {low:.10g} to {high:.10g} {unit}".rstrip())


def split(text: str, separator: str, widths: Sequence[int | None]) -> list[str]:
    """Return the parts of a text: between separators, between blanks, or of so many characters each.

    Raises ValueError if it is shorter than these, or longer.
    """
    if separator:
        return text.split(None if separator == " " else separator)
    at, parts = 0, []
    for width in widths[:-1]:
        parts.append(text[at : at + (width or 0)])
        at += width or 0
    if at > len(text) or widths[-1] not in (None, len(text) - at):
        raise ValueError(text)
    return [*parts, text[at:]]


class Float(ValueType[float]):
    """A number.

    Args:
        unit: its unit on the wire.
        spec: how it is written, as in `labioc.drivers.core.numerals`; ``.3f`` is three decimals.
        limits: the lowest and highest value that the instrument takes.
        counts: where a whole number stands on the wire, how many of it make one unit; 10 is one implied decimal.

    Attributes:
        per: the same, 1.0 if not given.
        dtype: NumPy's name for what stands on the wire, if it is the bytes of one of NumPy's types; else "".
        is_plain: whether its text is a number to Python, too.
    """

    expected = "a number"
    _decode: Callable[[str], float]

    def __init__(
        self, unit: str = "", spec: str = ".6g", *, limits: Limits | None = None, counts: float | None = None
    ) -> None:
        self.unit = units.check(unit)
        self.spec = spec
        written = numeral(spec, whole=counts is not None)
        self.width = written.width
        self._encode, self._decode, self.dtype = written.encode, written.decode, written.dtype
        self.is_plain = written.decode is decode_float
        self._resolution = written.resolution
        self.per = 1.0
        written_limits: Limits | None = written.limits
        if written.whole:
            self.per = per = 1.0 if counts is None else counts
            if not per:
                raise DefinitionError("counts=0: a unit can't be made of nothing")
            self._encode = lambda value: written.encode(round(value * per))
            self._decode = lambda text: written.decode(text) / per
            self._resolution = abs(1.01 / per)  # one step, however it is rounded
            if written.limits is not None:
                low, high = sorted((written.limits[0] / per, written.limits[1] / per))
                written_limits = (low, high)
        # what is written in whole steps is kept in whole steps
        self._relative = 0.0 if written.whole else 1e-5
        self.limits = _ordered(limits, spec, written_limits)

    def decode(self, text: str) -> float:
        """Return the number in a reply."""
        return self._decode(text)

    def encode(self, value: float) -> str:
        """Return the number as the instrument takes it. Raises LimitError if it is too long."""
        return self._encode(value)

    def check(self, value: object) -> float:
        """Return the number. Raises ValueTypeError, LimitError (also for NaN and infinity)."""
        if isinstance(value, bool) or not isinstance(value, numbers.Real):  # NumPy's numbers count too
            raise ValueTypeError(f"expected a number, got {value!r}")
        value = float(value)
        if not math.isfinite(value):
            raise LimitError(f"expected a finite number, got {value!r}")
        within(value, self.limits, self.unit)
        self.encode(value)
        return value

    def agree(self, sent: float, kept: float) -> bool:
        """Compare with what was written, to its decimals, or to the five digits that any instrument keeps."""
        written = self.decode(self.encode(sent))
        return math.isclose(written, kept, rel_tol=self._relative, abs_tol=self._resolution)


class Time(Float):
    """A date and time, as seconds since 1970 UTC.

    Args:
        pattern: how it is written, as for `datetime.datetime.strftime`; ``%f`` is microseconds.
        zone: the time zone of the instrument's clock, where the text does not say it (``%z``).
    """

    def __init__(self, pattern: str = "%Y-%m-%d %H:%M:%S", *, zone: datetime.tzinfo = datetime.UTC) -> None:
        super().__init__("s", limits=(0, 253402214400))  # Python knows no time after the year 9999
        self.pattern = pattern
        self.zone = zone
        self._resolution = 1e-5 if "%f" in pattern else 1.0
        self._relative = 0.0
        self.is_plain = False
        self.expected = f"a time like {self.encode(0)!r}"

    def decode(self, text: str) -> float:
        """Return the time in a reply."""
        time = datetime.datetime.strptime(text.strip(), self.pattern)
        return (time if time.tzinfo is not None else time.replace(tzinfo=self.zone)).timestamp()

    def encode(self, value: float) -> str:
        """Return the time as the instrument takes it."""
        return datetime.datetime.fromtimestamp(value, self.zone).strftime(self.pattern)


class Integer(ValueType[int]):
    """A whole number.

    Args:
        unit: its unit on the wire.
        spec: how it is written, as in `labioc.drivers.core.numerals`; ``04X`` is four hexadecimal digits.
        limits: the lowest and highest value that the instrument takes.

    Attributes:
        dtype: NumPy's name for what stands on the wire, if it is the bytes of one of NumPy's types; else "".
        is_plain: whether its text is a number to Python, too.
    """

    expected = "a whole number"
    _decode: Callable[[str], int]

    def __init__(self, unit: str = "", spec: str = "d", *, limits: tuple[int, int] | None = None) -> None:
        self.unit = units.check(unit)
        self.spec = spec
        written = numeral(spec, whole=True)
        self.width = written.width
        self._encode, self._decode, self.dtype = written.encode, written.decode, written.dtype
        self.is_plain = written.decode is decode_int
        self.limits = _ordered(limits, spec, written.limits)

    def decode(self, text: str) -> int:
        """Return the number in a reply."""
        return self._decode(text)

    def encode(self, value: int) -> str:
        """Return the number as the instrument takes it."""
        return self._encode(value)

    def check(self, value: object) -> int:
        """Return the number. Raises ValueTypeError, LimitError."""
        if isinstance(value, bool) or not isinstance(value, numbers.Integral):
            raise ValueTypeError(f"expected a whole number, got {value!r}")
        value = int(value)
        within(value, self.limits, self.unit)
        return value


class Bool(ValueType[bool]):
    """On or off, as 1 or 0 or as two texts.

    Args:
        on: the text for on.
        off: the text for off.
    """

    expected = "0 or 1"

    def __init__(self, on: str = "1", off: str = "0") -> None:
        self._texts = (off, on)
        self._numeric = self._texts == ("0", "1")
        if on == off:
            raise DefinitionError(f"expected two texts for on and off, got {on!r} for both")
        if not self._numeric:
            self.expected = f"{off!r} or {on!r}"
            self.width = len(on) if len(on) == len(off) else None

    def decode(self, text: str) -> bool:
        """Return whether the reply says on."""
        if self._numeric:
            return bool((0, 1).index(decode_int(text)))
        return bool(self._texts.index(text if text in self._texts else text.strip()))

    def encode(self, value: bool) -> str:
        """Return the text for it."""
        return self._texts[value]

    def check(self, value: object) -> bool:
        """Return the value; 0 and 1 count. Raises ValueTypeError."""
        if not isinstance(value, int) or value not in (0, 1):
            raise ValueTypeError(f"expected True or False, got {value!r}")
        return bool(value)


class Text(ValueType[str]):
    """A text, without the blanks around it.

    Args:
        max_length: the most characters that the instrument takes.
        forbidden: characters that the instrument's command can't carry, such as its quotes.
        width: how many characters it always has, with blanks behind it.
    """

    expected = "a text"

    def __init__(
        self, max_length: int | None = None, *, forbidden: str = "", width: int | None = None
    ) -> None:
        self.max_length = width if max_length is None else max_length
        self.forbidden = forbidden
        self.width = width

    def decode(self, text: str) -> str:
        """Return the text in a reply."""
        return text.strip()

    def encode(self, value: str) -> str:
        """Return the text itself, with the blanks behind it."""
        return value.ljust(self.width or 0)

    def check(self, value: object) -> str:
        """Return the text.

        Raises ValueTypeError, and LimitError for a text that is too long or would break the command.
        """
        if not isinstance(value, str):
            raise ValueTypeError(f"expected a text, got {value!r}")
        if self.max_length is not None and len(value) > self.max_length:
            raise LimitError(f"expected at most {self.max_length} characters, got {len(value)}: {value!r}")
        wrong = [c for c in value if c in self.forbidden or not " " <= c <= "~"]
        if wrong:
            raise LimitError(f"the instrument does not take the character {wrong[0]!r} in {value!r}")
        return value


def _fit(codes: Iterable[int], written: Numeral, name: str) -> None:
    try:
        for code in codes:
            written.encode(code)
    except LimitError as error:
        raise DefinitionError(f"{name}: {error}") from None


class Enum(ValueType[E]):
    """One of a few states, each with a code on the wire: the members' values.

    Args:
        states: an enumeration whose values are the codes, whole numbers or texts.
        spec: how the numbers are written, as in `labioc.drivers.core.numerals`.
        settable: the states that may be set; all but ``default``, if not given.
        default: the state that any other code stands for.
    """

    def __init__(
        self,
        states: type[E],
        spec: str = "d",
        *,
        settable: Iterable[E] | None = None,
        default: E | None = None,
    ) -> None:
        if not (isinstance(states, type) and issubclass(states, enum.Enum)):
            raise DefinitionError(f"expected an enumeration, got {states!r}")
        self.states = states
        self.default = default
        self.settable = tuple((s for s in states if s is not default) if settable is None else settable)
        self._by_code: dict[Any, E] = {member.value: member for member in states}
        kinds = {type(code) for code in self._by_code}
        if kinds not in ({int}, {str}):
            raise DefinitionError(f"{states.__name__}: expected codes that are all numbers or all texts")
        self._numeral = numeral(spec, whole=True) if kinds == {int} else None
        if self._numeral is not None:
            self.width = self._numeral.width
            _fit((state.value for state in self.settable), self._numeral, states.__name__)
        self.expected = f"one of {', '.join(f'{code} ({m.name})' for code, m in self._by_code.items())}"

    def decode(self, text: str) -> E:
        """Return the state in a reply."""
        if self._numeral is not None:
            state = self._by_code.get(self._numeral.decode(text), self.default)
        else:
            state = self._by_code.get(text) or self._by_code.get(text.strip(), self.default)
        if state is None:
            raise ValueError(text)
        return state

    def encode(self, value: E) -> str:
        """Return the code of a state."""
        return str(value.value) if self._numeral is None else self._numeral.encode(value.value)

    def check(self, value: object) -> E:
        """Return the state; its code or its name count too. Raises ValueTypeError, LimitError."""
        state = value
        if isinstance(value, (int, str)) and not isinstance(value, (bool, self.states)):
            state = self.states.__members__.get(str(value)) or self._by_code.get(value)
            if state is None:
                raise LimitError(f"expected {self.expected}, got {value!r}")
        if isinstance(state, self.states):
            if state not in self.settable:
                allowed = ", ".join(member.name for member in self.settable)
                raise LimitError(f"{state.name} may not be set, only {allowed}")
            return state
        names = ", ".join(member.name for member in self.states)
        raise ValueTypeError(f"expected a {self.states.__name__} ({names}), got {value!r}")


class Flags(ValueType[F]):
    """A sum of bit weights. Bits that the manual does not name are kept.

    Args:
        bits: an enumeration whose values are the weights.
        spec: how the sum is written, as in `labioc.drivers.core.numerals`.
    """

    expected = "a sum of bit weights"

    def __init__(self, bits: type[F], spec: str = "d") -> None:
        self.bits = bits
        self._numeral = numeral(spec, whole=True)
        self.width = self._numeral.width
        _fit([sum(bit.value for bit in bits)], self._numeral, bits.__name__)

    def decode(self, text: str) -> F:
        """Return the bits in a reply."""
        number = self._numeral.decode(text)
        if number < 0:
            raise ValueError(text)
        return self.bits(number)

    def encode(self, value: F) -> str:
        """Return the sum of the weights."""
        return self._numeral.encode(int(value))

    def check(self, value: object) -> F:
        """Return the bits; their sum counts too. Raises ValueTypeError, LimitError."""
        if isinstance(value, bool) or not isinstance(value, int):
            raise ValueTypeError(f"expected {self.bits.__name__}, got {value!r}")
        known = sum(member.value for member in self.bits)
        if value < 0 or value & ~known:
            raise LimitError(f"expected bits out of {known:#x}, got {value!r}")
        return self.bits(value)


class Fields(ValueType[N]):
    """Several values in one reply, as a NamedTuple.

    Args:
        kind: the NamedTuple.
        separator: what stands between the fields. A blank is any number of blanks. "" is nothing: each field but the
            last has a ``width``. A compiled regular expression is the whole text instead, with a group for each field;
            such a value can only be read.
        fields: a value type for each field, by name and in order.
    """

    def __init__(
        self, kind: type[N], separator: str | re.Pattern[str] = ",", **fields: ValueType[Any]
    ) -> None:
        if tuple(fields) != kind._fields:
            raise DefinitionError(
                f"{kind.__name__} has the fields {', '.join(kind._fields)}; got types for {', '.join(fields)}"
            )
        self.kind = kind
        self.separator = separator
        self.fields = fields
        self._types = tuple(fields.values())
        widths = [value_type.width for value_type in self._types]
        self._widths = widths
        named = f"{len(fields)} fields ({', '.join(fields)})"
        if isinstance(separator, re.Pattern):
            if separator.groups != len(fields):
                raise DefinitionError(f"{separator.pattern!r} has {separator.groups} groups for {named}")
            self.expected = f"{named} as in {separator.pattern!r}"
        elif separator:
            self.expected = f"{named} with {separator!r} between them"
        elif None in widths[:-1]:
            raise DefinitionError(f"{list(fields)[widths.index(None)]}: of no width, with nothing behind it")
        else:
            self.expected = f"{named} of {', '.join(str(width or 'any') for width in widths)} characters"
            self.width = None if None in widths else sum(cast(list[int], widths))

    def decode(self, text: str) -> N:
        """Return the fields in a reply."""
        texts: Sequence[str]
        if isinstance(self.separator, re.Pattern):
            found = self.separator.fullmatch(text)
            texts = found.groups("") if found is not None else ()
        else:
            texts = split(text, self.separator, self._widths)
        if len(texts) != len(self._types):
            raise ValueError(text)
        return self.kind(*(t.decode(s) for t, s in zip(self._types, texts, strict=True)))

    def encode(self, value: N) -> str:
        """Return the fields with the separator between them."""
        assert isinstance(self.separator, str)
        items = cast(tuple[Any, ...], value)
        return self.separator.join(t.encode(x) for t, x in zip(self._types, items, strict=True))

    def check(self, value: object) -> N:
        """Return the fields, each checked. Raises ValueTypeError, LimitError, naming the field."""
        if isinstance(self.separator, re.Pattern):
            raise ValueTypeError("fields that a regular expression finds can't be written")
        if not isinstance(value, tuple) or len(value) != len(self.fields):
            raise ValueTypeError(f"expected {self.kind.__name__}{self.kind._fields}, got {value!r}")
        checked = []
        for (name, value_type), item in zip(self.fields.items(), value, strict=True):
            try:
                checked.append(value_type.check(item))
            except (ValueTypeError, LimitError) as error:
                raise type(error)(f"{name}: {error}") from None
            if isinstance(item, str) and self.separator and self.separator in item:
                raise LimitError(f"{name}: the instrument does not take {self.separator!r} in {item!r}")
        return self.kind(*checked)

    def agree(self, sent: N, kept: N) -> bool:
        """Compare field by field."""
        pairs = zip(
            self.fields.values(), cast(tuple[Any, ...], sent), cast(tuple[Any, ...], kept), strict=True
        )
        return all(t.agree(a, b) for t, a, b in pairs)
