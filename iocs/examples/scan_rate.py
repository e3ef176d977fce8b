"""A reading whose rate clients set while it runs: ``labioc put scan:ELAPSED.SCAN ".1 second"``."""

import time
from typing import Any

from labioc.devices.core import PV, PVGroup, soft
from labioc.iocs.core import program_of


class ScanRate(PVGroup):
    """A reading whose rate clients set by SCAN; PROC reads now."""

    elapsed = soft("ai", "ELAPSED", "Time since the reading before", egu="s", prec=3)

    _last = time.monotonic()

    @elapsed.scan(period=1)
    async def _measure(self, instance: PV, async_lib: Any) -> None:
        now = time.monotonic()
        await instance.write(now - self._last)
        self._last = now


program = program_of(ScanRate, prefix="scan:")
