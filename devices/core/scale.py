"""Scales: counters of steps in the units of what they move, as the station has it built."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from typing import Any

from labioc.drivers.core import units
from labioc.drivers.core.errors import DefinitionError

from .records import RecordInfo

_STEPS = re.compile(r"step(?=$|/)")


@dataclass(frozen=True, slots=True)
class Scale:
    """How many steps make one unit: ``Scale(51200, "mm")``.

    Negative if the counter counts against the station's direction. What can't be negative, such as the highest speed,
    stays positive.

    Raises DefinitionError if the number can't be, UnitError if nobody knows the unit.
    """

    steps: float
    unit: str

    def __post_init__(self) -> None:
        if not self.steps or not math.isfinite(self.steps):
            raise DefinitionError(f"{self.steps:g} steps per {self.unit}: that can't be")
        units.check(self.unit)
        if not self.unit:
            raise DefinitionError(f"{self.steps:g} steps per what?")

    def unit_for(self, unit: str) -> str | None:
        """Return what becomes of a unit: mm/s of step/s; None if it isn't one of steps."""
        made, count = _STEPS.subn(self.unit, unit, count=1) if unit.startswith("step") else (unit, 0)
        return made if count else None

    def factor(self, lowest: float | None) -> float:
        """Return the units that make one step of a number that can't be below ``lowest``, if there is a limit."""
        return 1 / (abs(self.steps) if lowest is not None and lowest >= 0 else self.steps)

    def settings(self, info: RecordInfo, unit: str, factor: float) -> dict[str, Any]:
        """Return the settings of a record in the new unit, by the names of `RecordInfo`."""
        made: dict[str, Any] = {name: getattr(info, name) * factor + 0.0 for name in _VALUES}
        made |= {name: getattr(info, name) * abs(factor) for name in ("hyst", "mdel", "adel")}
        made |= {name: getattr(info, name) for pair in _SEVERITIES for name in pair}
        if factor < 0:
            swapped = {
                name: made[other] for pair in (*_LIMITS, *_SEVERITIES) for name, other in (pair, pair[::-1])
            }
            made |= swapped
        digits = math.ceil(math.log10(abs(self.steps)))
        return made | {"egu": unit, "prec": max(0, info.prec + digits)}


_LIMITS = (("lopr", "hopr"), ("drvl", "drvh"), ("low", "high"), ("lolo", "hihi"))
_SEVERITIES = (("lsv", "hsv"), ("llsv", "hhsv"))
_VALUES = tuple(name for pair in _LIMITS for name in pair)
