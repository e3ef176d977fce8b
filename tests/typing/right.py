"""What a type checker must accept, and the types that it must see."""

from typing import assert_type

from labioc.drivers.core.bound import BoundReadback
from labioc.drivers.core.driven import BoundCommand, BoundSetpoint
from labioc.drivers.lakeshore336 import PID, HeaterOutput, HeaterRange, Input, InputStatus, LakeShore336
from labioc.drivers.testing import transcript


async def use(controller: LakeShore336) -> None:
    assert_type(controller.inputs["A"], Input)
    assert_type(controller.outputs[1], HeaterOutput)
    assert_type(controller.inputs["A"].temperature, BoundReadback[float])
    assert_type(controller.outputs[1].pid, BoundSetpoint[PID])
    assert_type(controller.reset_alarms, BoundCommand)
    assert_type(await controller.inputs["A"].temperature.read(), float)
    assert_type(await controller.inputs["A"].status.read(), InputStatus)
    assert_type(controller.outputs[1].range.value, HeaterRange)
    assert_type((await controller.outputs[1].pid.read()).i, float)
    assert_type(controller.outputs[1].power.get(), float)
    await controller.outputs[1].setpoint.write(77)
    await controller.outputs[1].range.write(HeaterRange.HIGH)
    await controller.outputs[1].pid.update(p=50.0)
    await controller.reset_alarms.execute()


async def connect() -> None:
    async with LakeShore336.open("tcp://10.0.0.12:7777") as controller:
        assert_type(controller, LakeShore336)
    with LakeShore336.connect("tcp://10.0.0.12:7777", variant="3062") as controller:
        assert_type(controller, LakeShore336)
    async with transcript(LakeShore336, [("TEMP?", "+295.12"), ("TEMP?", None)], identity="") as controller:
        assert_type(controller, LakeShore336)
