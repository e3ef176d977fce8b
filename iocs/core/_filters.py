"""The filters at the end of a channel's name, `[0:9]` and `{"dbnd":{"abs":0.1}}`, as the C IOC has them."""

import json
import math
import re
from typing import Any, NamedTuple

from labioc.devices.core._caproto import DBE_LOG, DBE_VALUE
from labioc.devices.core.records import beyond_deadband


class Part(NamedTuple):
    """Which elements of an array: `end` belongs to it, and negative numbers count from the array's end."""

    start: int
    step: int
    end: int

    def slice(self, count: int, wanted: int = 0) -> slice:
        """The same for an array of `count` elements, of which `wanted` at most are taken if that isn't 0."""
        start = self.start + count if self.start < 0 else self.start
        end = self.end + count if self.end < 0 else self.end
        start, stop = min(max(start, 0), count), min(max(end, 0), count - 1) + 1
        if wanted:
            stop = min(stop, start + wanted * self.step)
        return slice(start, max(start, stop), self.step)


class Deadband(NamedTuple):
    """By how much a number must change to be news, or by which percentage."""

    is_relative: bool
    width: float


class Filters(NamedTuple):
    """The filters of one channel.

    Attributes:
        ts: whether the time stamps tell when a value is sent.
        dbnd: the dead band.
        arr: the part of an array.
        sync: None; caproto's own channels look for it.
    """

    ts: bool = False
    dbnd: Deadband | None = None
    arr: Part | None = None
    sync: None = None


NO_FILTER = Filters()
_INDICES = range(-(2**31), 2**31)
_NUMBER = "(-?[0-9]+)"
_ONE = re.compile(rf"\[{_NUMBER}\]")
_SEVERAL = re.compile(rf"\[{_NUMBER}?:(?:{_NUMBER}?:)?{_NUMBER}?\]")


def parse_filters(text: str) -> Filters:
    """The filters that stand in a name. Raises ValueError if there are no such ones."""
    if text.startswith("["):
        return Filters(arr=_part_of_brackets(text))
    try:
        made = json.loads(text, parse_constant=_refuse)
    except RecursionError as error:
        raise ValueError("nested too deeply") from error
    given = _keys(made, "ts", "dbnd", "arr")
    return Filters(
        ts="ts" in given and _is_on(given["ts"]),
        dbnd=_deadband(given["dbnd"]) if "dbnd" in given else None,
        arr=_part(given["arr"]) if "arr" in given else None,
    )


def _keys(made: Any, *known: str) -> dict[str, Any]:
    if not isinstance(made, dict) or not made.keys() <= set(known):
        raise ValueError(f"expected an object of {', '.join(known)}")
    return made


def _refuse(constant: str) -> None:
    raise ValueError(f"{constant} is no number")


def _part_of_brackets(text: str) -> Part:
    if one := _ONE.fullmatch(text):
        return _checked(int(one[1]), 1, int(one[1]))
    if several := _SEVERAL.fullmatch(text):
        start, step, end = several.groups()
        return _checked(int(start or 0), int(step or 1), int(end or -1))
    raise ValueError("expected [index], [start:end] or [start:step:end]")


def _part(made: Any) -> Part:
    given = _keys(made, "s", "i", "e")
    return _checked(given.get("s", 0), given.get("i", 1), given.get("e", -1))


def _checked(start: Any, step: Any, end: Any) -> Part:
    if not all(type(number) is int and number in _INDICES for number in (start, step, end)) or step < 1:
        raise ValueError("expected whole numbers and a step of 1 at least")
    return Part(start, step, end)


def _deadband(made: Any) -> Deadband:
    given = _keys(made, "abs", "rel", "m", "d")
    if given.keys() == {"m", "d"} and given["m"] in ("abs", "rel"):
        mode, width = given["m"], given["d"]
    elif given.keys() in ({"abs"}, {"rel"}):
        ((mode, width),) = given.items()
    else:
        raise ValueError("expected abs or rel")
    try:
        width = math.nan if isinstance(width, bool) else width + 0.0
    except (TypeError, OverflowError):
        width = math.nan
    if not math.isfinite(width):
        raise ValueError(f"{mode} takes a number")
    return Deadband(mode == "rel", width)


def _is_on(made: Any) -> bool:
    if made is not True and made != {}:
        raise ValueError("ts takes {}")
    return True


class DeadbandState:
    """What a dead band has let pass; one for each monitor."""

    __slots__ = ("_last", "_spec", "_width")

    def __init__(self, spec: Deadband) -> None:
        self._spec = spec
        self._width = spec.width
        self._last = math.nan

    def passes(self, value: Any, reasons: int) -> bool:
        """Whether a value is news: for alarms and properties always, what isn't one number, too."""
        if not isinstance(value, int | float):
            return True
        news = beyond_deadband(self._last, value, self._width)
        if news:
            self._last = value
        passes = news or bool(reasons & ~(DBE_VALUE | DBE_LOG))
        if passes and self._spec.is_relative:
            # of a negative value the width is negative and lets everything pass, as in the C IOC
            self._width = value * self._spec.width / 100
        return passes
