"""Value types: what stands on the wire for a number, a name, a set of bits, and its unit and limits.

A value type decodes the text of a reply and encodes a value for a command. It holds all that the manual says of
the value: unit, limits, format. The same types serve alone and as the fields of a reply with several (`Fields`).
"""

from __future__ import annotations

import enum
import math
import numbers
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable
from typing import Any, Generic, NamedTuple, TypeVar, cast

from . import units
from .errors import DefinitionError, LimitError, ValueTypeError

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
        expected: what a reply must be, for error messages.
    """

    unit: str = ""
    limits: Limits | None = None
    expected: str

    @abstractmethod
    def decode(self, text: str) -> T:
        """Return the value in a reply. Raises ValueError if it is not one."""

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


def _plain(text: str) -> str:
    # Python's own number grammar also takes "1_000"
    if "_" in text:
        raise ValueError(text)
    return text


def _ordered(limits: Limits | None) -> Limits | None:
    if limits is not None and not limits[0] <= limits[1]:
        raise DefinitionError(f"expected limits as (lowest, highest), got {limits}")
    return limits


def _within(value: float, limits: Limits | None, unit: str) -> None:
    if limits is not None and not limits[0] <= value <= limits[1]:
        raise LimitError(f"{value:g} is beyond the limits {limits[0]:g} to {limits[1]:g} {unit}".rstrip())


class Float(ValueType[float]):
    """A number.

    Args:
        unit: its unit on the wire.
        spec: how it is written in a command, as a format specification; ``.3f`` is three decimals.
        limits: the lowest and highest value that the instrument takes.
    """

    expected = "a number"

    def __init__(self, unit: str = "", spec: str = ".6g", *, limits: Limits | None = None) -> None:
        self.unit = units.check(unit)
        self.spec = spec
        self.limits = _ordered(limits)
        try:
            format(1.0, spec)
        except ValueError:
            raise DefinitionError(f"{spec!r} is no format of a number; expected one like '.3f'") from None
        decimals = spec.strip(".f")
        self._resolution = 10.0 ** -int(decimals) if spec.endswith("f") and decimals.isdigit() else 0.0

    def decode(self, text: str) -> float:
        """Return the number in a reply."""
        return float(text if "_" not in text else _plain(text))

    def encode(self, value: float) -> str:
        """Return the number as the instrument takes it."""
        return format(value, self.spec)

    def check(self, value: object) -> float:
        """Return the number. Raises ValueTypeError, LimitError (also for NaN and infinity)."""
        if isinstance(value, bool) or not isinstance(value, numbers.Real):  # NumPy's numbers count too
            raise ValueTypeError(f"expected a number, got {value!r}")
        value = float(value)
        if not math.isfinite(value):
            raise LimitError(f"expected a finite number, got {value!r}")
        _within(value, self.limits, self.unit)
        return value

    def agree(self, sent: float, kept: float) -> bool:
        """Compare to the decimals sent, or to the five digits that any instrument keeps."""
        return math.isclose(sent, kept, rel_tol=1e-5, abs_tol=self._resolution)


class Integer(ValueType[int]):
    """A whole number.

    Args:
        unit: its unit on the wire.
        limits: the lowest and highest value that the instrument takes.
    """

    expected = "a whole number"

    def __init__(self, unit: str = "", *, limits: tuple[int, int] | None = None) -> None:
        self.unit = units.check(unit)
        self.limits = _ordered(limits)

    def decode(self, text: str) -> int:
        """Return the number in a reply."""
        return int(_plain(text))

    def encode(self, value: int) -> str:
        """Return the number as digits."""
        return str(value)

    def check(self, value: object) -> int:
        """Return the number. Raises ValueTypeError, LimitError."""
        if isinstance(value, bool) or not isinstance(value, numbers.Integral):
            raise ValueTypeError(f"expected a whole number, got {value!r}")
        value = int(value)
        _within(value, self.limits, self.unit)
        return value


class Bool(ValueType[bool]):
    """On or off, as 1 or 0."""

    expected = "0 or 1"

    def decode(self, text: str) -> bool:
        """Return whether the reply is 1."""
        number = int(_plain(text))
        if number not in (0, 1):
            raise ValueError(text)
        return number == 1

    def encode(self, value: bool) -> str:
        """Return 1 or 0."""
        return "1" if value else "0"

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
    """

    expected = "a text"

    def __init__(self, max_length: int | None = None, *, forbidden: str = "") -> None:
        self.max_length = max_length
        self.forbidden = forbidden

    def decode(self, text: str) -> str:
        """Return the text in a reply."""
        return text.strip()

    def encode(self, value: str) -> str:
        """Return the text itself."""
        return value

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


class Enum(ValueType[E]):
    """One of a few states, each with a code on the wire: the members' values.

    Args:
        states: an enumeration whose values are the codes, whole numbers or texts.
        settable: the states that may be set; all, if not given.
    """

    def __init__(self, states: type[E], *, settable: Iterable[E] | None = None) -> None:
        if not (isinstance(states, type) and issubclass(states, enum.Enum)):
            raise DefinitionError(f"expected an enumeration, got {states!r}")
        self.states = states
        self.settable = tuple(states if settable is None else settable)
        self._by_code: dict[Any, E] = {member.value: member for member in states}
        kinds = {type(code) for code in self._by_code}
        if kinds not in ({int}, {str}):
            raise DefinitionError(f"{states.__name__}: expected codes that are all numbers or all texts")
        self._numeric = kinds == {int}
        self.expected = f"one of {', '.join(f'{code} ({m.name})' for code, m in self._by_code.items())}"

    def decode(self, text: str) -> E:
        """Return the state in a reply."""
        code = int(_plain(text)) if self._numeric else text.strip()
        try:
            return self._by_code[code]
        except KeyError:
            raise ValueError(text) from None

    def encode(self, value: E) -> str:
        """Return the code of a state."""
        return str(value.value)

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
    """

    expected = "a sum of bit weights"

    def __init__(self, bits: type[F]) -> None:
        self.bits = bits

    def decode(self, text: str) -> F:
        """Return the bits in a reply."""
        number = int(_plain(text))
        if number < 0:
            raise ValueError(text)
        return self.bits(number)

    def encode(self, value: F) -> str:
        """Return the sum of the weights."""
        return str(int(value))

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
        separator: what stands between the fields.
        fields: a value type for each field, by name and in order.
    """

    def __init__(self, kind: type[N], separator: str = ",", **fields: ValueType[Any]) -> None:
        if tuple(fields) != kind._fields:
            raise DefinitionError(
                f"{kind.__name__} has the fields {', '.join(kind._fields)}; got types for {', '.join(fields)}"
            )
        self.kind = kind
        self.separator = separator
        self.fields = fields
        self.expected = f"{len(fields)} fields ({', '.join(fields)}) with {separator!r} between them"

    def decode(self, text: str) -> N:
        """Return the fields in a reply."""
        texts = text.split(self.separator)
        if len(texts) != len(self.fields):
            raise ValueError(text)
        return self.kind(*(t.decode(s) for t, s in zip(self.fields.values(), texts, strict=True)))

    def encode(self, value: N) -> str:
        """Return the fields with the separator between them."""
        items = cast(tuple[Any, ...], value)
        return self.separator.join(t.encode(x) for t, x in zip(self.fields.values(), items, strict=True))

    def check(self, value: object) -> N:
        """Return the fields, each checked. Raises ValueTypeError, LimitError, naming the field."""
        if not isinstance(value, tuple) or len(value) != len(self.fields):
            raise ValueTypeError(f"expected {self.kind.__name__}{self.kind._fields}, got {value!r}")
        checked = []
        for (name, value_type), item in zip(self.fields.items(), value, strict=True):
            try:
                checked.append(value_type.check(item))
            except (ValueTypeError, LimitError) as error:
                raise type(error)(f"{name}: {error}") from None
            if isinstance(item, str) and self.separator in item:
                raise LimitError(f"{name}: the instrument does not take {self.separator!r} in {item!r}")
        return self.kind(*checked)

    def agree(self, sent: N, kept: N) -> bool:
        """Compare field by field."""
        pairs = zip(
            self.fields.values(), cast(tuple[Any, ...], sent), cast(tuple[Any, ...], kept), strict=True
        )
        return all(t.agree(a, b) for t, a, b in pairs)


class Array(ValueType[tuple[float, ...]]):
    """Several numbers of one kind in one reply, such as a curve or the readings of all inputs.

    Args:
        element: the value type of each number, `Float` or `Integer`.
        max_length: the largest number of elements.
        separator: what stands between them.
    """

    def __init__(self, element: Float | Integer, max_length: int, *, separator: str = ",") -> None:
        if not isinstance(element, (Float, Integer)) or max_length < 1:
            raise DefinitionError(f"an array is of numbers, one at least; got {element!r}, {max_length!r}")
        self.element = element
        self.max_length = max_length
        self.separator = separator
        self.unit = element.unit
        self.limits = element.limits
        self.expected = f"up to {max_length} numbers with {separator!r} between them"

    def decode(self, text: str) -> tuple[float, ...]:
        """Return the numbers in a reply; an empty one has none."""
        texts = text.split(self.separator) if text.strip() else []
        if len(texts) > self.max_length:
            raise ValueError(text)
        return tuple(map(self.element.decode, texts))

    def encode(self, value: tuple[float, ...]) -> str:
        """Return the numbers with the separator between them."""
        encode: Callable[[Any], str] = self.element.encode
        return self.separator.join(map(encode, value))

    def check(self, value: object) -> tuple[float, ...]:
        """Return the numbers, each checked. Raises ValueTypeError, LimitError."""
        if isinstance(value, str | bytes) or not isinstance(value, Iterable):
            raise ValueTypeError(f"expected a sequence of numbers, got {value!r}")
        checked = tuple(map(self.element.check, value))
        if len(checked) > self.max_length:
            raise LimitError(f"expected {self.max_length} numbers at most, got {len(checked)}")
        return checked

    def agree(self, sent: tuple[float, ...], kept: tuple[float, ...]) -> bool:
        """Compare number by number."""
        agree: Callable[[Any, Any], bool] = self.element.agree
        return len(sent) == len(kept) and all(map(agree, sent, kept))
