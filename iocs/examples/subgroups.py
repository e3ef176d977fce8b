"""Groups of groups."""

import random
from typing import Any

from labioc.devices.core import PV, PVGroup, SubGroup, soft
from labioc.iocs.core import program_of


class Dice(PVGroup):
    """One die."""

    def __init__(self, prefix: str, *, sides: int = 6, **rest: Any) -> None:
        super().__init__(prefix, **rest)
        self.sides = sides

    @soft("longin", "THROW", scan=2)
    async def throw(self, instance: PV) -> int:
        """The last throw."""
        return random.randint(1, self.sides)


class Subgroups(PVGroup):
    """Groups of groups: a class twice, and one inline."""

    small = SubGroup(Dice, prefix="SMALL:", sides=4)
    usual = SubGroup(Dice)  # its prefix is "usual:"

    @SubGroup(prefix="COIN:")
    class coin(PVGroup):
        """A group that is needed but once."""

        @soft("bi", "THROW", states=("Head", "Tail"), scan=2)
        async def throw(self, instance: PV) -> int:
            """The last throw."""
            return random.randint(0, 1)


program = program_of(Subgroups, prefix="subgroups:")
