"""PVs of a Eurotherm 3200 series temperature controller."""

from labioc.drivers.eurotherm import InstrumentMode, Units
from labioc.drivers.eurotherm3200 import Eurotherm3200

from .core import AlarmSeverity, Device, pv

MINOR, MAJOR = AlarmSeverity.MINOR_ALARM, AlarmSeverity.MAJOR_ALARM


class Eurotherm3200PVs(Device):
    """Eurotherm 3200 series temperature controller."""

    temperature = pv(
        Eurotherm3200.temperature, name="PV", precision=1, scan=0.5, display=(0, 1000), doc="Process value"
    )
    target = pv(
        Eurotherm3200.target, name="SP", precision=1, scan=1, display=(0, 1000), doc="Target setpoint"
    )
    working_setpoint = pv(
        Eurotherm3200.working_setpoint,
        name="SP_WORKING",
        precision=1,
        scan=0.5,
        display=(0, 1000),
        doc="Working setpoint",
    )
    working_output = pv(
        Eurotherm3200.working_output,
        name="OUTPUT",
        precision=1,
        scan=0.5,
        display=(0, 100),
        doc="Output that is in force",
    )
    manual_output = pv(
        Eurotherm3200.manual_output,
        name="OUTPUT_MANUAL",
        precision=1,
        scan=2,
        display=(0, 100),
        doc="Output in manual",
    )
    mode = pv(Eurotherm3200.mode, name="MODE", scan=1, doc="Automatic or manual")
    status = pv(Eurotherm3200.status, name="STATUS", scan=1, doc="Status word")
    sensor_break = pv(Eurotherm3200.sensor_break, name="SENSOR_BREAK", scan=1, severities={True: MAJOR})
    loop_break = pv(Eurotherm3200.loop_break, name="LOOP_BREAK", scan=1, severities={True: MAJOR})
    remote_failed = pv(
        Eurotherm3200.remote_failed,
        name="REMOTE_FAILED",
        scan=1,
        severities={True: MINOR},
        doc="Remote setpoint too old",
    )
    alarm1 = pv(Eurotherm3200.alarm1, name="ALARM1", scan=1, severities={True: MINOR}, doc="Alarm 1")
    alarm2 = pv(Eurotherm3200.alarm2, name="ALARM2", scan=1, severities={True: MINOR}, doc="Alarm 2")
    alarm3 = pv(Eurotherm3200.alarm3, name="ALARM3", scan=1, severities={True: MINOR}, doc="Alarm 3")
    alarm4 = pv(Eurotherm3200.alarm4, name="ALARM4", scan=1, severities={True: MINOR}, doc="Alarm 4")
    alarm1_setpoint = pv(
        Eurotherm3200.alarm1_setpoint,
        name="ALARM1_SP",
        precision=1,
        scan=5,
        display=(0, 1000),
        doc="Alarm 1 setpoint",
    )
    alarm2_setpoint = pv(
        Eurotherm3200.alarm2_setpoint,
        name="ALARM2_SP",
        precision=1,
        scan=5,
        display=(0, 1000),
        doc="Alarm 2 setpoint",
    )
    alarm3_setpoint = pv(
        Eurotherm3200.alarm3_setpoint,
        name="ALARM3_SP",
        precision=1,
        scan=5,
        display=(0, 1000),
        doc="Alarm 3 setpoint",
    )
    alarm4_setpoint = pv(
        Eurotherm3200.alarm4_setpoint,
        name="ALARM4_SP",
        precision=1,
        scan=5,
        display=(0, 1000),
        doc="Alarm 4 setpoint",
    )
    acknowledge = pv(Eurotherm3200.acknowledge, name="ACKNOWLEDGE", doc="Acknowledge all alarms")
    setpoint_select = pv(
        Eurotherm3200.setpoint_select, name="SP_SELECT", scan=2, doc="Which setpoint is the target"
    )
    setpoint1 = pv(
        Eurotherm3200.setpoint1, name="SP1", precision=1, scan=5, display=(0, 1000), doc="Setpoint 1"
    )
    setpoint2 = pv(
        Eurotherm3200.setpoint2, name="SP2", precision=1, scan=5, display=(0, 1000), doc="Setpoint 2"
    )
    setpoint_high = pv(
        Eurotherm3200.setpoint_high,
        name="SP_HIGH",
        precision=1,
        scan=10,
        display=(0, 1000),
        doc="Highest setpoint",
    )
    setpoint_low = pv(
        Eurotherm3200.setpoint_low,
        name="SP_LOW",
        precision=1,
        scan=10,
        display=(0, 1000),
        doc="Lowest setpoint",
    )
    setpoint_rate = pv(
        Eurotherm3200.setpoint_rate,
        name="SP_RATE",
        precision=1,
        scan=5,
        egu="see RATE_UNITS",
        doc="Setpoint rate, 0: none",
    )
    rate_units = pv(Eurotherm3200.rate_units, name="RATE_UNITS", scan=10, doc="What SP_RATE is per")
    source = pv(Eurotherm3200.source, name="SP_SOURCE", scan=2, doc="Local or remote setpoint")
    remote_setpoint = pv(
        Eurotherm3200.remote_setpoint,
        name="SP_REMOTE",
        precision=1,
        scan=2,
        display=(0, 1000),
        doc="Remote setpoint",
    )
    proportional_band = pv(
        Eurotherm3200.proportional_band, name="PB", precision=1, scan=5, doc="Proportional band"
    )
    integral_time = pv(
        Eurotherm3200.integral_time, name="TI", precision=0, scan=5, doc="Integral time, 0: none"
    )
    derivative_time = pv(
        Eurotherm3200.derivative_time, name="TD", precision=0, scan=5, doc="Derivative time, 0: none"
    )
    autotune = pv(Eurotherm3200.autotune, name="AUTOTUNE", scan=2, doc="Autotune")
    output_high = pv(
        Eurotherm3200.output_high,
        name="OUTPUT_HIGH",
        precision=1,
        scan=10,
        display=(0, 100),
        doc="Highest output",
    )
    output_low = pv(
        Eurotherm3200.output_low,
        name="OUTPUT_LOW",
        precision=1,
        scan=10,
        display=(-100, 100),
        doc="Lowest output",
    )
    timer_status = pv(Eurotherm3200.timer_status, name="TIMER", scan=2, doc="Timer")
    instrument_mode = pv(
        Eurotherm3200.instrument_mode,
        name="INSTRUMENT_MODE",
        scan=2,
        severities={InstrumentMode.STANDBY: MINOR, InstrumentMode.CONFIGURATION: MAJOR},
    )
    units = pv(
        Eurotherm3200.units,
        name="UNITS",
        scan=10,
        severities={unit: MAJOR for unit in Units if unit is not Units.CELSIUS},
        doc="Units of the display: the PVs say degC",
    )
    decimals = pv(Eurotherm3200.decimals, name="DECIMALS", scan=10, doc="Decimals of the display")
    version = pv(Eurotherm3200.version, name="VERSION", scan=None)
    model = pv(Eurotherm3200.model, name="MODEL", scan=None)
