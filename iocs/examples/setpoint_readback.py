"""Setpoints with readbacks, each in one line."""

import random

from labioc.devices.core import PV, PVGroup, soft_pair
from labioc.iocs.core import program_of


class SetpointReadback(PVGroup):
    """Setpoints X with their readbacks X_RBV."""

    number, number_rbv = soft_pair("longout", "NUMBER", "Shown as it was put", value=0)
    voltage, voltage_rbv = soft_pair(
        "ao", "VOLT", "Of a supply", egu="V", prec=3, value=0.0, drvh=30.0, scan=1
    )
    output, output_rbv = soft_pair("bo", "OUTPUT", "Of the supply", states=("Off", "On"), value="Off")

    @voltage_rbv.getter
    async def _measure(self, instance: PV) -> float:
        return float(self.voltage.value + random.gauss(0, 0.002) if self.output.value else 0.0)


program = program_of(SetpointReadback, prefix="pair:")
