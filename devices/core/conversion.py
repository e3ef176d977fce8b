"""What clients put, as Python values: the conversions of the C IOC, without its silent truncations."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from typing import Any

import numpy as np

from labioc.devices.core._caproto import format_number

PREC_OF_PUTS = 6
"""Digits of a number that a client puts to a text."""


class PutRefused(ValueError):
    """Raised when a client puts something that the PV can't take: wrong type, unknown label, too long."""

    expected = True
    """The client's mistake, not a fault of the IOC: servers log it in one line."""


def as_text(data: Any) -> bytes:
    """The text of what a client put: byte strings, an array of CHAR, or a number."""
    if are_strings(data):
        return data[0].partition(b"\0")[0]  # type: ignore[no-any-return]
    if getattr(data, "dtype", None) == np.uint8:
        return data.tobytes().partition(b"\0")[0]  # type: ignore[no-any-return]
    return format_number(data[0].item(), PREC_OF_PUTS).encode() if len(data) else b""


def as_number(name: str, data: Any) -> float:
    """The number that a client put. Raises PutRefused if it isn't one."""
    try:
        return parse_number(text_of(data[0])) if are_strings(data) else data[0].item()
    except (ValueError, IndexError):
        raise PutRefused(f"{name} takes a number, not {shown(data)}") from None


def as_integer(name: str, data: Any) -> int:
    """The whole number that a client put, without its fraction. Raises PutRefused if it isn't a number."""
    if are_strings(data):
        # as a float it would lose what is beyond 53 bits
        text = text_of(data[0]).strip()
        if re.fullmatch("[+-]?[0-9]+", text):
            return int(text)
    number = as_number(name, data)
    if not math.isfinite(number):
        raise PutRefused(f"{name} takes a whole number, not {shown(data)}")
    return math.trunc(number)


def as_index(name: str, data: Any, states: Sequence[str], count: int | None = None) -> int:
    """The state that a client put, by label or by an index below `count`, which is that of the labels if not given.

    Raises PutRefused if there is no such state.
    """
    if count is None:
        count = len(states)
    try:
        if are_strings(data):
            text = text_of(data[0])
            index = states.index(text) if text and text in states else int(text)
        else:
            index = int(data[0])
    except (ValueError, OverflowError, IndexError):
        index = -1
    if not 0 <= index < count:
        raise PutRefused(f"{name} has no state {shown(data)}, only {', '.join(states)}")
    return index


def as_numbers(name: str, data: Any) -> Any:
    """The numbers that a client put, as an array. Raises PutRefused if one isn't a number."""
    if not are_strings(data):
        return np.asarray(data) if len(data) else np.zeros(0)
    numbers = []
    for text in data:
        try:
            numbers.append(parse_number(text_of(text)))
        except ValueError:
            raise PutRefused(f"{name} takes numbers, not {text_of(text)!r}") from None
    return np.array(numbers)


def parse_number(text: str) -> float:
    """A number as the C IOC reads it: blanks around it and hexadecimals are fine. Raises ValueError."""
    if "_" in text:
        raise ValueError(f"{text!r} is no number")
    if text.strip().lower().lstrip("+-").startswith("0x"):
        return int(text, 16)
    number = float(text)
    if math.isinf(number) and "inf" not in text.lower():
        raise ValueError(f"{text!r} is beyond the range of a double")
    return number


def text_of(raw: bytes) -> str:
    """The text of a DBR_STRING."""
    return raw.partition(b"\0")[0].decode("latin-1")


def are_strings(data: Any) -> bool:
    """Whether a client put DBR_STRINGs."""
    return len(data) > 0 and isinstance(data[0], bytes)


def shown(data: Any) -> str:
    """What a client put, for an error's text."""
    if not len(data):
        return "nothing"
    return repr(text_of(data[0])) if are_strings(data) else str(data[0])
