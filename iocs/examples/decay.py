"""An exponential decay to a setpoint."""

import math
import time

from labioc.devices.core import PV, PVGroup, soft, soft_pair
from labioc.iocs.core import program_of


class Decay(PVGroup):
    """An exponential decay to a setpoint."""

    target, target_rbv = soft_pair("ao", "SP", "Where it goes", egu="K", prec=3, value=100.0, scan=0.1)
    tau = soft("ao", "TAU", "Time constant", egu="s", prec=1, value=10.0, drvl=0.001, drvh=3600.0)
    done = soft("bi", "DONE", "Whether it is near the setpoint", states=("No", "Yes"))

    _from, _since = 0.0, time.monotonic()

    @target_rbv.getter
    async def _decay(self, instance: PV) -> float:
        left = math.exp(-(time.monotonic() - self._since) / self.tau.value)
        value: float = self.target.value + (self._from - self.target.value) * left
        self.done.post(left < 0.05, time.time())
        return value

    @target.putter
    async def _go(self, instance: PV, value: float) -> None:
        self._from, self._since = self.target_rbv.value, time.monotonic()


program = program_of(Decay, prefix="decay:")
