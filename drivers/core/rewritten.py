"""Values within a longer or another text, of which a value type describes a part."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import TypeVar

from .errors import DefinitionError
from .values import Fields, ValueType

T = TypeVar("T")


class Rewritten(ValueType[T]):
    """A value in a text that no other type describes: a part of it, or other characters in another order.

    Args:
        value: how the value stands in the text that is left.
        read: what makes that text out of a reply: a function, or a regular expression that is searched, whose first
            group is the text, or all that it matches if it has none.
        write: what makes what is sent out of the value's text; the same text, if not given.

    Raises DefinitionError for `Fields`: they may have a regular expression of their own.
    """

    def __init__(
        self,
        value: ValueType[T],
        read: str | Callable[[str], str],
        write: Callable[[str], str] | None = None,
    ) -> None:
        if isinstance(value, Fields):
            raise DefinitionError(
                "Fields aren't rewritten as one: rewrite each, or give a regular expression"
            )
        self.value = value
        self.unit = value.unit
        self.limits = value.limits
        self.expected = value.expected
        self._write = write
        self._read: Callable[[str], str] = _finder(read) if isinstance(read, str) else read
        if isinstance(read, str):
            self.expected += f" as in {read!r}"

    def decode(self, text: str) -> T:
        """Return the value in a reply."""
        return self.value.decode(self._read(text))

    def encode(self, value: T) -> str:
        """Return the value as the instrument takes it."""
        text = self.value.encode(value)
        return text if self._write is None else self._write(text)

    def check(self, value: object) -> T:
        """Return the value. Raises ValueTypeError, LimitError."""
        return self.value.check(value)

    def agree(self, sent: T, kept: T) -> bool:
        """Compare as values of that type are compared."""
        return self.value.agree(sent, kept)


def _finder(pattern: str) -> Callable[[str], str]:
    try:
        compiled = re.compile(pattern)
    except re.error as error:
        raise DefinitionError(f"{pattern!r} is no regular expression: {error}") from error

    def find(text: str) -> str:
        found = compiled.search(text)
        if found is None:
            raise ValueError(text)
        return found[min(1, compiled.groups)] or ""

    return find


class Block(Rewritten[T]):
    """A value in an IEEE 488.2 block: ``#42000`` and 2000 bytes, or ``#0`` and all that follows.

    Args:
        value: how the value stands in the bytes, such as ``Array(Integer(spec=">i2"), 1000, separator="")``.
    """

    def __init__(self, value: ValueType[T]) -> None:
        super().__init__(value, _block_data, lambda data: f"#{len(str(len(data)))}{len(data)}{data}")
        self.expected = f"a block of {value.expected}"


def _block_data(text: str) -> str:
    if text[:2] == "#0":
        return text[2:]
    begin = 2 + int(text[1:2])
    if text[0] != "#" or len(text) - begin != int(text[2:begin]):
        raise ValueError(text)
    return text[begin:]
