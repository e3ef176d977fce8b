"""PVs of a Lake Shore Model 336 cryogenic temperature controller."""

from labioc.drivers.lakeshore336 import (
    PID,
    AlarmState,
    AnalogOutput,
    Extremes,
    HeaterOutput,
    HeaterSetup,
    HeaterStatus,
    Identity,
    Input,
    LakeShore336,
    Output,
    OutputMode,
    PreferredUnits,
    Ramp,
    SensorSetup,
    TuningStatus,
)

from .core import AlarmSeverity, Device, DeviceGroup, SubGroups, pv


class InputPVs(DeviceGroup):
    """A sensor input."""

    temperature = pv(Input.temperature, name="TEMP", precision=4, scan=0.5, display=(0, 400))
    sensor = pv(Input.sensor, name="SENSOR", precision=5, scan=2, egu="V or ohm")
    status = pv(Input.status, name="STATUS", scan=2, doc="Sum of bits: what is wrong with TEMP")
    label = pv(Input.label, name="NAME", scan=10, doc="Name on the display")
    low = pv(Input.extremes, field=Extremes.low, name="MIN", precision=4, scan=5, display=(0, 400))
    high = pv(Input.extremes, field=Extremes.high, name="MAX", precision=4, scan=5, display=(0, 400))
    limit = pv(Input.limit, name="LIMIT", precision=0, scan=10, doc="All outputs go off above it; 0 is none")
    curve = pv(Input.curve, name="CURVE", scan=10, doc="Number of the calibration curve")
    type = pv(Input.setup, field=SensorSetup.type, name="TYPE", scan=10)
    # in other units the setpoints would be shown as kelvin and be none
    units = pv(
        Input.setup,
        field=SensorSetup.units,
        name="UNITS",
        scan=5,
        severities={
            PreferredUnits.CELSIUS: AlarmSeverity.MAJOR_ALARM,
            PreferredUnits.SENSOR: AlarmSeverity.MAJOR_ALARM,
        },
        doc="Preferred units: leave at KELVIN",
    )
    alarm_high = pv(Input.alarm_state, field=AlarmState.high, name="ALARM_HIGH", scan=2)
    alarm_low = pv(Input.alarm_state, field=AlarmState.low, name="ALARM_LOW", scan=2)


class OutputPVs(DeviceGroup):
    """What all four outputs have."""

    setpoint = pv(
        Output.setpoint, name="SETP", precision=3, scan=1, display=(0, 400), doc="Temperature setpoint"
    )
    ramp = pv(Output.ramp, field=Ramp.on, name="RAMP", scan=5, doc="Setpoint ramping on or off")
    ramp_rate = pv(Output.ramp, field=Ramp.rate, name="RAMP_RATE", precision=1, scan=5)
    ramping = pv(Output.ramping, name="RAMPING", scan=1, doc="Whether the setpoint moves")
    p = pv(Output.pid, field=PID.p, name="P", precision=1, scan=5, doc="Proportional gain")
    i = pv(Output.pid, field=PID.i, name="I", precision=1, scan=5, doc="Integral (reset)")
    d = pv(Output.pid, field=PID.d, name="D", precision=1, scan=5, doc="Derivative (rate)")
    manual = pv(Output.manual, name="MANUAL", precision=2, scan=5, doc="Manual output")
    tune_p = pv(Output.tune_p, name="TUNE_P", doc="Start autotuning of P")
    tune_pi = pv(Output.tune_pi, name="TUNE_PI", doc="Start autotuning of P and I")
    tune_pid = pv(Output.tune_pid, name="TUNE_PID", doc="Start autotuning of P, I and D")


class HeaterPVs(OutputPVs):
    """Outputs 1 and 2: heaters."""

    range = pv(HeaterOutput.range, name="RANGE", scan=2, doc="Heater range")
    output = pv(
        HeaterOutput.output, name="OUTPUT", precision=1, scan=1, display=(0, 100), doc="Heater output"
    )
    power = pv(HeaterOutput.power, name="POWER", precision=3, scan=1, doc="Heater power")
    status = pv(
        HeaterOutput.status,
        name="STATUS",
        scan=2,
        severities={
            HeaterStatus.OPEN_LOAD: AlarmSeverity.MAJOR_ALARM,
            HeaterStatus.SHORT: AlarmSeverity.MAJOR_ALARM,
        },
        doc="Heater load",
    )
    mode = pv(HeaterOutput.mode, field=OutputMode.mode, name="MODE", scan=5)
    input = pv(HeaterOutput.mode, field=OutputMode.input, name="INPUT", scan=5, doc="Control input")
    resistance = pv(HeaterOutput.setup, field=HeaterSetup.resistance, name="RESISTANCE", scan=10)
    max_current = pv(HeaterOutput.setup, field=HeaterSetup.max_current, name="MAX_CURRENT", scan=10)


class AnalogPVs(OutputPVs):
    """Outputs 3 and 4: voltages."""

    range = pv(AnalogOutput.range, name="RANGE", scan=2, doc="Output off or on")
    output = pv(AnalogOutput.output, name="OUTPUT", precision=1, scan=1, display=(-100, 100))
    mode = pv(AnalogOutput.mode, field=OutputMode.mode, name="MODE", scan=5)
    input = pv(AnalogOutput.mode, field=OutputMode.input, name="INPUT", scan=5, doc="Control input")


class LakeShore336PVs(Device):
    """Lake Shore Model 336 cryogenic temperature controller."""

    inputs = SubGroups(InputPVs, of=LakeShore336.inputs, prefix="{ch}:")
    outputs = SubGroups(HeaterPVs, of=LakeShore336.outputs, prefix="OUT{ch}:")
    analog_outputs = SubGroups(AnalogPVs, of=LakeShore336.analog_outputs, prefix="OUT{ch}:")

    model = pv(LakeShore336.identity, field=Identity.model, name="MODEL", scan=None, doc="Model")
    serials = pv(
        LakeShore336.identity,
        field=Identity.serials,
        name="SERIAL",
        scan=None,
        doc="Serial number/option card",
    )
    firmware = pv(LakeShore336.identity, field=Identity.firmware, name="FIRMWARE", scan=None, doc="Firmware")
    junction = pv(LakeShore336.junction, name="JUNCTION", precision=2, scan=10, display=(250, 350))
    tuning = pv(LakeShore336.tuning, field=TuningStatus.active, name="TUNING", scan=5)
    tuning_failed = pv(
        LakeShore336.tuning,
        field=TuningStatus.failed,
        name="TUNING_FAILED",
        scan=5,
        severities={True: AlarmSeverity.MINOR_ALARM},
    )
    reset_extremes = pv(
        LakeShore336.reset_extremes, name="RESET_MINMAX", doc="Forget MIN and MAX of all inputs"
    )
    reset_alarms = pv(LakeShore336.reset_alarms, name="RESET_ALARMS", doc="Clear latched alarms")
