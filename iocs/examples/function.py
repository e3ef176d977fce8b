"""A function as PVs: put its arguments, then 1 to Process, and read Retval."""

import random
from enum import IntEnum

from labioc.devices.core import PVGroup, soft_function
from labioc.iocs.core import program_of


class Unit(IntEnum):
    """Of a length."""

    METRE = 0
    FOOT = 1


class Function(PVGroup):
    """Functions as PVs, from their type hints."""

    @soft_function()
    async def dice(self, low: int = 1, high: int = 6) -> int:
        """Throw a die."""
        return random.randint(low, high)

    @soft_function("AREA:")
    async def area(self, width: float, height: float, unit: Unit = Unit.METRE) -> float:
        """Tell the area of a rectangle, in square metres."""
        if width < 0 or height < 0:
            raise ValueError("a length can't be negative")
        factor = 0.3048 if unit is Unit.FOOT else 1.0
        return width * height * factor**2


program = program_of(Function, prefix="function:")
