"""Units: checked once when a class is made, then a plain scale and offset.

The names in ``KNOWN`` are accepted as they stand, so that the everyday case never loads pint (a quarter of
a second). Every other name is looked up by pint, together with the laboratory's own units in ``EXTRA``.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from .errors import UnitError

if TYPE_CHECKING:
    from pint.registry import UnitRegistry

KNOWN = frozenset(
    {
        *("", "K", "degC", "mK", "K/min", "K/s", "V", "mV", "A", "mA", "W", "mW", "ohm", "Hz", "%"),
        *("s", "ms", "min", "h", "rpm", "rpm/s", "m", "mm", "g", "kg", "Pa", "hPa", "bar", "mbar"),
    }
)

# Units of the laboratory that pint lacks, or spells otherwise. The standard cubic centimetre is a flow of gas at
# 0 degC and 101325 Pa (SEMI E12), which pint can compare with mbar*l/s.
EXTRA = (
    "Torr = torr",
    "mTorr = 1e-3 * torr",
    "sccm = 101325 Pa * 1e-6 m^3 / min",
    "step = [motor_step]",
    "microstep = [motor_microstep]",
    "digit = [converter_count]",
)


@dataclass(frozen=True, slots=True)
class Conversion:
    """A value times ``scale`` plus ``offset``; a difference (rate, hysteresis) times ``scale`` alone."""

    scale: float = 1.0
    offset: float = 0.0

    def value(self, x: float) -> float:
        """Convert a value."""
        return x * self.scale + self.offset

    def difference(self, x: float) -> float:
        """Convert a difference of two values."""
        return x * self.scale

    def back(self, y: float) -> float:
        """Convert a value the other way."""
        return (y - self.offset) / self.scale


SAME = Conversion()


@lru_cache(maxsize=1)
def _registry() -> UnitRegistry[Any]:
    import pint

    registry: UnitRegistry[Any] = pint.UnitRegistry(autoconvert_offset_to_baseunit=True)
    for definition in EXTRA:
        registry.define(definition)
    return registry


def check(unit: str) -> str:
    """Return ``unit`` if it is a unit.

    Raises UnitError, naming the unit, if nobody knows it.
    """
    if unit not in KNOWN:
        try:
            _registry().parse_units(unit)
        except Exception as error:
            raise UnitError(f"unknown unit {unit!r}: {error}") from error
    return unit


@lru_cache(maxsize=256)
def conversion(source: str, target: str) -> Conversion:
    """Return the conversion from one unit to another.

    Raises UnitError, naming both, if they have different dimensions.
    """
    if source == target:
        return SAME
    registry = _registry()
    try:
        zero, one = (registry.Quantity(x, check(source)).to(check(target)).magnitude for x in (0.0, 1.0))
    except UnitError:
        raise
    except Exception as error:
        raise UnitError(f"{source!r} does not convert to {target!r}: {error}") from error
    # the straight line through 0 and 1; rounding repairs 273.15 - 272.15 = 0.99999...
    return Conversion(scale=float(f"{one - zero:.12g}"), offset=float(f"{zero:.12g}"))
