"""Reading and writing, customised in place."""

import time

from labioc.devices.core import PV, PVGroup, soft
from labioc.iocs.core import program_of


class Inline(PVGroup):
    """Reading and writing, customised in place."""

    @soft("ai", "UPTIME", egu="s", prec=1, scan=0.5)
    async def uptime(self, instance: PV) -> float:
        """Time since the start."""
        return time.monotonic() - self._start

    even = soft("longout", "EVEN", "Takes even numbers", value=0)

    @even.putter
    async def _take_even(self, instance: PV, value: int) -> None:
        if value % 2:
            raise ValueError(f"{value} is odd")

    rounded = soft("ao", "ROUNDED", "Rounded to a quarter", prec=2, value=0.0)

    @rounded.putter
    async def _round(self, instance: PV, value: float) -> float:
        return round(value * 4) / 4

    _start = time.monotonic()


program = program_of(Inline, prefix="inline:")
