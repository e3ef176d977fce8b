"""PVs of a Lake Shore Model 336 cryogenic temperature controller."""

from labioc.drivers.lakeshore336 import (
    PID,
    AlarmState,
    AnalogOutput,
    Extremes,
    HeaterOutput,
    HeaterSetup,
    Identity,
    Input,
    LakeShore336,
    Output,
    OutputMode,
    Ramp,
    SensorSetup,
    TuningStatus,
)

from .core import Device, DeviceGroup, SubGroups, pv


class InputPVs(DeviceGroup):
    """A sensor input."""

    temperature = pv(Input.temperature, name="TEMP", precision=4, scan=0.5)
    sensor = pv(Input.sensor, name="SENSOR", precision=5, scan=2)
    status = pv(Input.status, name="STATUS", scan=2)
    label = pv(Input.label, name="NAME", scan=10)
    low = pv(Input.extremes, field=Extremes.low, name="MIN", precision=4, scan=5)
    high = pv(Input.extremes, field=Extremes.high, name="MAX", precision=4, scan=5)
    limit = pv(Input.limit, name="LIMIT", precision=0, scan=10)
    curve = pv(Input.curve, name="CURVE", scan=10)
    type = pv(Input.setup, field=SensorSetup.type, name="TYPE", scan=10)
    units = pv(Input.setup, field=SensorSetup.units, name="UNITS", scan=10)
    alarm_high = pv(Input.alarm_state, field=AlarmState.high, name="ALARM_HIGH", scan=2)
    alarm_low = pv(Input.alarm_state, field=AlarmState.low, name="ALARM_LOW", scan=2)


class OutputPVs(DeviceGroup):
    """What all four outputs have."""

    setpoint = pv(Output.setpoint, name="SETP", precision=3, scan=1)
    ramp = pv(Output.ramp, field=Ramp.on, name="RAMP", scan=5)
    ramp_rate = pv(Output.ramp, field=Ramp.rate, name="RAMP_RATE", precision=1, scan=5)
    ramping = pv(Output.ramping, name="RAMPING", scan=1)
    p = pv(Output.pid, field=PID.p, name="P", precision=1, scan=5)
    i = pv(Output.pid, field=PID.i, name="I", precision=1, scan=5)
    d = pv(Output.pid, field=PID.d, name="D", precision=0, scan=5)
    manual = pv(Output.manual, name="MANUAL", precision=2, scan=5)
    autotune = pv(Output.autotune, name="TUNE")


class HeaterPVs(OutputPVs):
    """Outputs 1 and 2: heaters."""

    range = pv(HeaterOutput.range, name="RANGE", scan=2)
    output = pv(HeaterOutput.output, name="HEATER", precision=1, scan=1, display=(0, 100))
    power = pv(HeaterOutput.power, name="POWER", precision=3, scan=1)
    status = pv(HeaterOutput.status, name="STATUS", scan=2)
    mode = pv(HeaterOutput.mode, field=OutputMode.mode, name="MODE", scan=5)
    input = pv(HeaterOutput.mode, field=OutputMode.input, name="INPUT", scan=5)
    resistance = pv(HeaterOutput.setup, field=HeaterSetup.resistance, name="RESISTANCE", scan=10)
    max_current = pv(HeaterOutput.setup, field=HeaterSetup.max_current, name="MAX_CURRENT", scan=10)


class AnalogPVs(OutputPVs):
    """Outputs 3 and 4: voltages."""

    range = pv(AnalogOutput.range, name="RANGE", scan=2)
    output = pv(AnalogOutput.output, name="OUTPUT", precision=1, scan=1, display=(-100, 100))
    mode = pv(AnalogOutput.mode, field=OutputMode.mode, name="MODE", scan=5)
    input = pv(AnalogOutput.mode, field=OutputMode.input, name="INPUT", scan=5)


class LakeShore336PVs(Device):
    """Lake Shore Model 336 cryogenic temperature controller."""

    inputs = SubGroups(InputPVs, of=LakeShore336.inputs, prefix="{ch}:")
    outputs = SubGroups(HeaterPVs, of=LakeShore336.outputs, prefix="OUT{ch}:")
    analog_outputs = SubGroups(AnalogPVs, of=LakeShore336.analog_outputs, prefix="OUT{ch}:")

    model = pv(LakeShore336.identity, field=Identity.model, name="MODEL", scan=None)
    serials = pv(LakeShore336.identity, field=Identity.serials, name="SERIAL", scan=None)
    firmware = pv(LakeShore336.identity, field=Identity.firmware, name="FIRMWARE", scan=None)
    junction = pv(LakeShore336.junction, name="JUNCTION", precision=2, scan=10)
    tuning = pv(LakeShore336.tuning, field=TuningStatus.active, name="TUNING", scan=5)
    tuning_failed = pv(LakeShore336.tuning, field=TuningStatus.failed, name="TUNING_FAILED", scan=5)
    reset_extremes = pv(LakeShore336.reset_extremes, name="RESET_MINMAX")
    reset_alarms = pv(LakeShore336.reset_alarms, name="RESET_ALARMS")
