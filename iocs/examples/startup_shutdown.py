"""What is done at the start and at the end."""

import time
from typing import Any

from labioc.devices.core import PV, PVGroup, soft
from labioc.iocs.core import program_of


class StartupShutdown(PVGroup):
    """Functions that are called at the start and at the end."""

    started = soft("stringin", "STARTED", "When it was started")
    lamp = soft("bo", "LAMP", "On while the IOC runs", states=("Off", "On"))

    @started.startup
    async def _note(self, instance: PV, async_lib: Any) -> None:
        await instance.write(time.strftime("%Y-%m-%d %H:%M:%S"))

    @lamp.startup
    async def _switch_on(self, instance: PV, async_lib: Any) -> None:
        await instance.write("On")
        self.log.info("the lamp is on")

    @lamp.shutdown
    async def _switch_off(self, instance: PV, async_lib: Any) -> None:
        self.log.info("the lamp is off")


program = program_of(StartupShutdown, prefix="hooks:")
