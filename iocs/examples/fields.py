"""Records with limits, and with fields of their own."""

import time

from labioc.devices.core import PV, Alarm, FieldSpec, PVGroup, soft, soft_pair
from labioc.iocs.core import program_of

STEPS_PER_MM = 1000


def _steps(pv: PV) -> float:
    return float(pv.value * STEPS_PER_MM)


async def _move(pv: PV, steps: int) -> None:
    assert pv.putter is not None
    await pv.putter(steps / STEPS_PER_MM)


class Fields(PVGroup):
    """Records with limits, alarms and fields of their own."""

    target, target_rbv = soft_pair(
        *("ao", "POS", "Where the stage should be"),
        egu="mm",
        prec=3,
        value=0.0,
        drvl=-3.0,
        drvh=3.0,
        alarm=Alarm(lolo=-2, low=-1, high=1, hihi=2, hysteresis=0.1),
        fields={"STEPS": FieldSpec("LONG", _steps, _move)},
    )
    label = soft("stringout", "LABEL", "What the stage is called", value="stage 1")
    moves = soft("longin", "MOVES", "How often it was moved", value=0)

    @target.putter
    async def _put(self, instance: PV, value: float) -> None:
        self.target_rbv.post(value, time.time())
        self.moves.post(self.moves.value + 1, time.time())


program = program_of(Fields, prefix="fields:")
