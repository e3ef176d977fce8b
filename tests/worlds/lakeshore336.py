"""The world of the Lake Shore 336: a cryostat with a sample (inputs A, C), a shield (B) and a room (D)."""

import math
from collections.abc import Callable

from labioc.drivers.lakeshore336 import (
    PID,
    AlarmSetup,
    AlarmState,
    ControlInput,
    HeaterRange,
    HeaterSetup,
    HeaterStatus,
    InputStatus,
    LakeShore336,
    MaxCurrent,
    Mode,
    OutputDisplay,
    OutputMode,
    Ramp,
    Resistance,
)
from labioc.sim.lakeshore336 import LakeShore336 as Cryostat

Shows = Callable[[object], bool]


def near(expected: float, tolerance: float = 0.5) -> Shows:
    return lambda value: isinstance(value, float) and abs(value - expected) < tolerance


async def warm(driver: LakeShore336, sim: Cryostat, key: str) -> Shows:
    sim.sensors[key].stage.temperature = 123.0
    return near(123.0, 3.0)


async def warm_sensor(driver: LakeShore336, sim: Cryostat, key: str) -> Shows:
    before = await driver.inputs[key].sensor.read()
    sim.sensors[key].stage.temperature = 123.0
    return lambda value: isinstance(value, float) and abs(value - before) > 0.01 * abs(before)


async def break_sensor(driver: LakeShore336, sim: Cryostat, key: str) -> Shows:
    sim.sensors[key].fault = "open"
    return lambda value: isinstance(value, InputStatus) and value != 0


async def raise_alarm(driver: LakeShore336, sim: Cryostat, key: str) -> Shows:
    await driver.inputs[key].alarm.write(AlarmSetup(True, 400.0, 350.0, 0.0, False, False, False))
    return lambda value: value == AlarmState(high=False, low=True)


async def stretch_extremes(driver: LakeShore336, sim: Cryostat, key: str) -> Shows:
    sim.sensors[key].stage.temperature = 200.0
    return lambda value: isinstance(value, tuple) and value[1] > 190


async def start_ramp(driver: LakeShore336, sim: Cryostat, key: str) -> Shows:
    output = driver.analog_outputs[int(key)] if int(key) > 2 else driver.outputs[int(key)]
    await output.ramp.write(Ramp(True, 0.5))
    await output.setpoint.write(300.0)
    return lambda value: value is True


async def heat(driver: LakeShore336, sim: Cryostat, key: str) -> Shows:
    output = driver.outputs[int(key)]
    await output.mode.write(OutputMode(Mode.OPEN_LOOP, ControlInput.A, False))
    await output.manual.write(50.0)
    await output.range.write(HeaterRange.MEDIUM)
    return near(50.0)


async def heat_by_a_quarter_of_medium(driver: LakeShore336, sim: Cryostat, key: str) -> Shows:
    await heat(driver, sim, key)
    await driver.outputs[int(key)].setup.write(
        HeaterSetup(Resistance.OHM_25, MaxCurrent.A_1, 0.0, OutputDisplay.CURRENT)
    )
    # 1 A in 25 ohm, a tenth of it in medium, a quarter of that at half the current
    return near(25.0 * 0.1 * 0.25, 0.01)


async def open_load(driver: LakeShore336, sim: Cryostat, key: str) -> Shows:
    sim.loads[int(key)] = math.inf
    await heat(driver, sim, key)
    return lambda value: value is HeaterStatus.OPEN_LOAD


async def drive_voltage(driver: LakeShore336, sim: Cryostat, key: str) -> Shows:
    output = driver.analog_outputs[int(key)]
    await output.mode.write(OutputMode(Mode.OPEN_LOOP, ControlInput.A, False))
    await output.manual.write(40.0)
    await output.range.write(True)
    return near(40.0)


async def change_room(driver: LakeShore336, sim: Cryostat, key: str) -> Shows:
    sim.room.temperature = 301.5
    return near(301.5)


async def tune(driver: LakeShore336, sim: Cryostat, key: str) -> Shows:
    output = driver.outputs[1]
    await output.pid.write(PID(50.0, 20.0, 0.0))
    await output.setpoint.write(sim.sample.temperature)
    await output.range.write(HeaterRange.LOW)
    await output.tune_pid.execute()
    return lambda value: isinstance(value, tuple) and bool(value[0])


async def other_firmware(driver: LakeShore336, sim: Cryostat, key: str) -> Shows:
    return lambda value: isinstance(value, tuple) and value[1] == "MODEL336"


CHANGES = {
    "inputs.status": break_sensor,
    "inputs.temperature": warm,
    "inputs.sensor": warm_sensor,
    "inputs.extremes": stretch_extremes,
    "inputs.alarm_state": raise_alarm,
    "outputs.ramping": start_ramp,
    "outputs.output": heat,
    "outputs.status": open_load,
    "outputs.power": heat_by_a_quarter_of_medium,
    "analog_outputs.ramping": start_ramp,
    "analog_outputs.output": drive_voltage,
    "identity": other_firmware,
    "junction": change_room,
    "tuning": tune,
}
