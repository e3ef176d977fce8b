"""PVs of a Eurotherm 3500 series process controller."""

from labioc.drivers.eurotherm import InstrumentMode
from labioc.drivers.eurotherm3500 import Eurotherm3500

from .core import AlarmSeverity, Device, pv

MINOR, MAJOR = AlarmSeverity.MINOR_ALARM, AlarmSeverity.MAJOR_ALARM


class Eurotherm3500PVs(Device):
    """Eurotherm 3500 series process controller."""

    temperature = pv(
        Eurotherm3500.temperature, name="PV", precision=1, scan=0.5, display=(0, 1000), doc="Process value"
    )
    target = pv(
        Eurotherm3500.target, name="SP", precision=1, scan=1, display=(0, 1000), doc="Target setpoint"
    )
    working_setpoint = pv(
        Eurotherm3500.working_setpoint,
        name="SP_WORKING",
        precision=1,
        scan=0.5,
        display=(0, 1000),
        doc="Working setpoint",
    )
    active_output = pv(
        Eurotherm3500.active_output,
        name="OUTPUT",
        precision=1,
        scan=0.5,
        display=(0, 100),
        doc="Output that is in force",
    )
    manual_output = pv(
        Eurotherm3500.manual_output,
        name="OUTPUT_MANUAL",
        precision=1,
        scan=2,
        display=(0, 100),
        doc="Output in manual",
    )
    mode = pv(Eurotherm3500.mode, name="MODE", scan=1, doc="Automatic or manual")
    sensor_break = pv(Eurotherm3500.sensor_break, name="SENSOR_BREAK", scan=1, severities={True: MAJOR})
    alarm1 = pv(Eurotherm3500.alarm1, name="ALARM1", scan=1, severities={True: MINOR}, doc="Alarm 1")
    alarm2 = pv(Eurotherm3500.alarm2, name="ALARM2", scan=1, severities={True: MINOR}, doc="Alarm 2")
    alarm3 = pv(Eurotherm3500.alarm3, name="ALARM3", scan=1, severities={True: MINOR}, doc="Alarm 3")
    alarm4 = pv(Eurotherm3500.alarm4, name="ALARM4", scan=1, severities={True: MINOR}, doc="Alarm 4")
    alarm1_threshold = pv(
        Eurotherm3500.alarm1_threshold,
        name="ALARM1_SP",
        precision=1,
        scan=5,
        display=(0, 1000),
        doc="Alarm 1 threshold",
    )
    alarm2_threshold = pv(
        Eurotherm3500.alarm2_threshold,
        name="ALARM2_SP",
        precision=1,
        scan=5,
        display=(0, 1000),
        doc="Alarm 2 threshold",
    )
    alarm3_threshold = pv(
        Eurotherm3500.alarm3_threshold,
        name="ALARM3_SP",
        precision=1,
        scan=5,
        display=(0, 1000),
        doc="Alarm 3 threshold",
    )
    alarm4_threshold = pv(
        Eurotherm3500.alarm4_threshold,
        name="ALARM4_SP",
        precision=1,
        scan=5,
        display=(0, 1000),
        doc="Alarm 4 threshold",
    )
    setpoint_select = pv(
        Eurotherm3500.setpoint_select, name="SP_SELECT", scan=2, doc="Which setpoint is the target"
    )
    setpoint1 = pv(
        Eurotherm3500.setpoint1, name="SP1", precision=1, scan=5, display=(0, 1000), doc="Setpoint 1"
    )
    setpoint2 = pv(
        Eurotherm3500.setpoint2, name="SP2", precision=1, scan=5, display=(0, 1000), doc="Setpoint 2"
    )
    setpoint_high = pv(
        Eurotherm3500.setpoint_high,
        name="SP_HIGH",
        precision=1,
        scan=10,
        display=(0, 1000),
        doc="Highest setpoint",
    )
    setpoint_low = pv(
        Eurotherm3500.setpoint_low,
        name="SP_LOW",
        precision=1,
        scan=10,
        display=(0, 1000),
        doc="Lowest setpoint",
    )
    setpoint_rate = pv(
        Eurotherm3500.setpoint_rate, name="SP_RATE", precision=1, scan=5, doc="Setpoint rate, 0: none"
    )
    source = pv(Eurotherm3500.source, name="SP_SOURCE", scan=2, doc="Local or remote setpoint")
    remote_setpoint = pv(
        Eurotherm3500.remote_setpoint,
        name="SP_REMOTE",
        precision=1,
        scan=2,
        display=(0, 1000),
        doc="Remote setpoint",
    )
    proportional_band = pv(
        Eurotherm3500.proportional_band, name="PB", precision=1, scan=5, doc="Proportional band"
    )
    integral_time = pv(
        Eurotherm3500.integral_time, name="TI", precision=0, scan=5, doc="Integral time, 0: none"
    )
    derivative_time = pv(
        Eurotherm3500.derivative_time, name="TD", precision=0, scan=5, doc="Derivative time, 0: none"
    )
    autotune = pv(Eurotherm3500.autotune, name="AUTOTUNE", scan=2, doc="Autotune")
    output_high = pv(
        Eurotherm3500.output_high,
        name="OUTPUT_HIGH",
        precision=1,
        scan=10,
        display=(0, 100),
        doc="Highest output",
    )
    output_low = pv(
        Eurotherm3500.output_low,
        name="OUTPUT_LOW",
        precision=1,
        scan=10,
        display=(-100, 100),
        doc="Lowest output",
    )
    instrument_mode = pv(
        Eurotherm3500.instrument_mode,
        name="INSTRUMENT_MODE",
        scan=2,
        severities={InstrumentMode.STANDBY: MINOR, InstrumentMode.CONFIGURATION: MAJOR},
    )
    version = pv(Eurotherm3500.version, name="VERSION", scan=None)
    model = pv(Eurotherm3500.model, name="MODEL", scan=None)
