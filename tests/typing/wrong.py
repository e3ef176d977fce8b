"""What a type checker must refuse: each line with the error that it is."""

from labioc.drivers.core import Channel, Enum, Float, Readback, Setpoint
from labioc.drivers.core.bound import BoundReadback
from labioc.drivers.lakeshore336 import PID, HeaterRange, Input, LakeShore336
from labioc.drivers.testing import transcript


async def use(controller: LakeShore336) -> None:
    await controller.inputs["A"].temperature.write(4.2)  # error: attr-defined
    await controller.outputs[1].setpoint.write("77")  # error: arg-type
    await controller.outputs[1].range.write(3)  # error: arg-type
    await controller.outputs[1].pid.write((50.0, 20.0, 0.0))  # error: arg-type
    controller.outputs[1].setpoint.put(None)  # error: arg-type
    label: str = await controller.inputs["A"].temperature.read()  # error: assignment
    text: str = controller.inputs["A"].temperature.get()  # error: assignment
    state: HeaterRange = controller.outputs[2].setpoint.value  # error: assignment
    controller.inputs["A"].presure  # error: attr-defined
    controller.input["A"]  # error: attr-defined
    controller.inputs[1]  # error: index
    controller.outputs["1"]  # error: index
    await controller.reset_alarms.read()  # error: attr-defined
    await controller.reset_alarms.write(1)  # error: attr-defined
    await controller.inputs["A"].temperature.execute()  # error: attr-defined
    (await controller.outputs[1].pid.read()).q  # error: attr-defined
    controller.outputs[1].setpoint = 77.0  # error: assignment
    other: BoundReadback[str] = controller.inputs["A"].temperature  # error: assignment
    LakeShore336.inputs["A"].read()  # error: attr-defined
    LakeShore336.inputs[1]  # error: index


class Wrong(Channel):
    enum = Readback(Enum(PID), ask="PID?")  # error: type-var
    limits = Setpoint(Float("K", limits=("0", "9")), tell="{value}")  # error: arg-type
    blind = Setpoint(Float("K"))  # error: call-arg
    untyped: Readback[float] = Readback(float, ask="T?")  # error: arg-type


async def connect() -> None:
    async with LakeShore336.open(7777) as controller:  # error: arg-type
        pass
    async with transcript(Input, []) as channel:  # error: type-var
        pass
    async with transcript(LakeShore336, ["TEMP?"]) as controller:  # error: list-item
        pass
