"""The PVs of the relay: what a name says of its PV, and the records behind the names."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass, replace
from operator import attrgetter
from types import MappingProxyType
from typing import Any

import numpy as np

from labioc.devices.core.field import FieldSpec
from labioc.devices.core.info import SCANS
from labioc.devices.core.records import (
    PV,
    CharArrayPV,
    DoubleArrayPV,
    DoublePV,
    IntegerArrayPV,
    IntegerPV,
    RecordInfo,
)

LONGEST_NAME = 60
LETTERS = re.compile(r"[A-Za-z0-9_\-+:;<>\[\]]+")
"""What EPICS has in the names of PVs."""
_NAME = re.compile(r".+_([ifcIFC])([1-9][0-9]*)")
EXPECTED = "a relay's PV is called NAME_i1, NAME_f1, NAME_c80 and so on, or NAME_F100 for a buffer"


@dataclass(frozen=True, slots=True)
class Shape:
    """What a name says: `kind` is i, f or c, `count` how many of them, and a buffer is appended to by each put."""

    kind: str
    count: int
    is_buffer: bool


def shape_of(name: str) -> Shape:
    """The shape of a name without the relay's prefix. Raises ValueError if the name has none."""
    found = _NAME.fullmatch(name)
    if found is None or not LETTERS.fullmatch(name):
        raise ValueError(EXPECTED)
    letter = found[1]
    return Shape(letter.lower(), int(found[2]), letter.isupper())


@dataclass(frozen=True, slots=True)
class RelayInfo(RecordInfo):
    """The settings of a relay's record. Every put is an event unless MDEL and ADEL are set."""

    mdel: float = -1.0
    adel: float = -1.0
    stale: float = 0.0
    """STALE: seconds without a put after which its value is INVALID; 0: never."""

    def __post_init__(self) -> None:
        """Raise ValueError for a time that isn't one."""
        RecordInfo.__post_init__(self)
        if not 0 <= self.stale < math.inf:
            raise ValueError(f"the time after which a value is stale can't be {self.stale}")


def _set_stale(pv: PV, value: float) -> None:
    changes: dict[str, Any] = {"stale": value}
    pv.info = replace(pv.info, **changes)


# Nobody reads what is put, so there is nothing to scan or to process.
FIELDS = MappingProxyType(
    {
        "STALE": FieldSpec("DOUBLE", attrgetter("info.stale"), _set_stale),
        "SCAN": FieldSpec("MENU", lambda pv: 0, menu=lambda pv: SCANS),
        "PROC": FieldSpec("UCHAR", lambda pv: 0),
    }
)


class _Buffer(PV):
    """Numbers of which each put appends some.

    A publisher puts one number at a time, and clients take a channel of many elements for one that can't be put so. It
    is announced as one element, and who reads one gets the newest; who reads all gets all. As `X.VAL` it is a waveform.
    """

    announced = 1

    def encode(self, type_name: str, part: slice | None = None) -> tuple[bytes, Any]:
        """See `Served`."""
        return super().encode(type_name, slice(-1, None) if part == slice(1) else part)


class _DoubleBuffer(_Buffer, DoubleArrayPV):
    """A buffer of floats."""


class _IntegerBuffer(_Buffer, IntegerArrayPV):
    """A buffer of 32-bit integers."""


def record_type(shape: Shape) -> str:
    """The record type of a shape."""
    if shape.count > 1 or shape.is_buffer or shape.kind == "c":
        return "waveform"
    return "ai" if shape.kind == "f" else "longin"


def make_pv(shape: Shape, pvname: str, info: RelayInfo) -> PV:
    """The record of this shape, without a value."""
    kinds: dict[str, type[PV]]
    if shape.is_buffer:
        kinds = {"i": _IntegerBuffer, "f": _DoubleBuffer, "c": CharArrayPV}
    elif shape.count > 1:
        kinds = {"i": IntegerArrayPV, "f": DoubleArrayPV, "c": CharArrayPV}
    else:
        kinds = {"i": IntegerPV, "f": DoublePV, "c": CharArrayPV}
    pv = kinds[shape.kind](info=info, pvname=pvname, max_length=shape.count)
    pv.own_fields = FIELDS
    return pv


def appended(shape: Shape, before: Any, value: Any) -> Any:
    """The elements of a buffer after a put: the oldest fall out on the left."""
    if isinstance(value, str):
        value = np.frombuffer(value.encode("latin-1"), np.uint8)
    return np.concatenate((before, value))[-shape.count :]
