"""A random walk, whose rate is a PV."""

import asyncio
import random
from typing import Any

from labioc.devices.core import PV, PVGroup, soft
from labioc.iocs.core import program_of


class RandomWalk(PVGroup):
    """A random walk whose rate is a PV."""

    dt = soft("ao", "DT", "Time between two steps", egu="s", prec=2, value=3.0, drvl=0.01, drvh=60.0)
    x = soft("ai", "X", "Where it is", prec=3, value=0.0)

    @x.startup
    async def _walk(self, instance: PV, async_lib: Any) -> None:
        while True:
            await instance.write(instance.value + random.uniform(-1, 1))
            await asyncio.sleep(self.dt.value)


program = program_of(RandomWalk, prefix="walk:")
