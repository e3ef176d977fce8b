"""Arrays: many numbers in one reply, such as a waveform, as NumPy has them and without a Python object for each."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .errors import DefinitionError, LimitError, ValueTypeError
from .values import Float, Integer, ValueType, split, within


class Array(ValueType[NDArray[Any]]):
    """Numbers of one kind in one reply: a one-dimensional, read-only NumPy array of up to ``max_length`` of them.

    Its dtype is float64 for `Float` and int64 for `Integer`; float32 where four-byte floats stand on the wire
    (``Float("V", "<f4")``), which is exact for them, and uint64 for eight-byte unsigned numbers.

    Args:
        element: the value type of each number, `Float` or `Integer`.
        max_length: the largest number of elements.
        separator: what stands between them. A blank is any number of blanks; "" is nothing, each has a ``width``.

    Attributes:
        dtype: of its values.
    """

    def __init__(self, element: Float | Integer, max_length: int, *, separator: str = ",") -> None:
        if not isinstance(element, (Float, Integer)) or max_length < 1:
            raise DefinitionError(f"an array is of numbers, one at least; got {element!r}, {max_length!r}")
        if not separator and element.width is None:
            raise DefinitionError("numbers of no width, with nothing between them")
        self.element = element
        self.max_length = max_length
        self.separator = separator
        self.unit = element.unit
        self.limits = element.limits
        kept = {"f4": np.float32, "u8": np.uint64}
        usual = np.float64 if isinstance(element, Float) else np.int64
        self.dtype: np.dtype[Any] = np.dtype(kept.get(element.dtype[-2:], usual))
        between = f"with {separator!r} between them" if separator else f"of {element.width} characters"
        self.expected = f"up to {max_length} numbers {between}"

    def decode(self, text: str) -> NDArray[Any]:
        """Return the numbers in a reply; an empty one has none."""
        if not self.separator and self.element.dtype:
            return frozen(self._from_bytes(text))
        if self.separator:
            texts = split(text, self.separator, ()) if text.strip() else []
        else:
            width = self.element.width or 1
            texts = [text[at : at + width] for at in range(0, len(text), width)]
        if len(texts) > self.max_length:
            raise ValueError(text)
        decode: Callable[[str], Any] = self.element.decode
        if self.element.is_plain and "_" not in text:
            decode = int if isinstance(self.element, Integer) else float
        try:
            return frozen(np.fromiter(map(decode, texts), self.dtype, len(texts)))
        except OverflowError:
            raise ValueError(text) from None

    def _from_bytes(self, text: str) -> NDArray[Any]:
        raw = np.frombuffer(text.encode("latin-1"), self.element.dtype)
        if len(raw) > self.max_length:
            raise ValueError(text)
        numbers = raw.astype(self.dtype)
        if isinstance(self.element, Float) and self.element.per != 1.0:
            numbers /= self.element.per
        return numbers

    def encode(self, value: NDArray[Any]) -> str:
        """Return the numbers with the separator between them."""
        if not self.separator and self.element.dtype:
            return self._to_bytes(value).decode("latin-1")
        encode: Callable[[Any], str] = self.element.encode
        return self.separator.join(map(encode, value.tolist()))

    def _to_bytes(self, numbers: NDArray[Any]) -> bytes:
        if isinstance(self.element, Float) and self.element.dtype[-2] != "f":
            numbers = np.rint(numbers * self.element.per)
        return numbers.astype(self.element.dtype).tobytes()

    def check(self, value: object) -> NDArray[Any]:
        """Return the numbers as a copy, each checked. Raises ValueTypeError, LimitError."""
        if isinstance(value, str | bytes) or not isinstance(value, Iterable):
            raise ValueTypeError(f"expected a sequence of numbers, got {value!r}")
        whole = isinstance(self.element, Integer)
        try:
            numbers = np.array(value if isinstance(value, np.ndarray) else list(value))
        except (ValueError, TypeError):
            raise ValueTypeError(f"expected a sequence of numbers, got {value!r}") from None
        if numbers.ndim != 1 or (numbers.size and numbers.dtype.kind not in ("iu" if whole else "iuf")):
            kind = "whole numbers" if whole else "numbers"
            raise ValueTypeError(f"expected a sequence of {kind}, got {value!r}")
        if numbers.size > self.max_length:
            raise LimitError(f"expected {self.max_length} numbers at most, got {numbers.size}")
        if not np.isfinite(numbers).all():
            raise LimitError(f"expected finite numbers, got {value!r}")
        for extreme in (numbers.min(), numbers.max()) if numbers.size else ():
            within(extreme.item(), self.limits, self.unit)
        with np.errstate(over="ignore"):
            kept = numbers.astype(self.dtype)
        if not np.isfinite(kept).all():
            raise LimitError(f"expected numbers that fit into {self.dtype}, got {value!r}")
        return frozen(kept)

    def agree(self, sent: NDArray[Any], kept: NDArray[Any]) -> bool:
        """Compare number by number, as the element does."""
        agree: Callable[[Any, Any], bool] = self.element.agree
        if len(sent) != len(kept):
            return False
        return all(map(agree, sent.tolist(), kept.tolist()))


def frozen(array: NDArray[Any]) -> NDArray[Any]:
    """Return an array that nobody else writes to, made read-only: who gets it need not copy it."""
    array.flags.writeable = False
    return array
