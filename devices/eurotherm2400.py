"""PVs of a Eurotherm 2400 series temperature controller."""

from labioc.drivers.eurotherm import InstrumentMode, Units
from labioc.drivers.eurotherm2400 import Eurotherm2400

from .core import AlarmSeverity, Device, pv

MINOR, MAJOR = AlarmSeverity.MINOR_ALARM, AlarmSeverity.MAJOR_ALARM


class Eurotherm2400PVs(Device):
    """Eurotherm 2400 series temperature controller."""

    temperature = pv(
        Eurotherm2400.temperature, name="PV", precision=1, scan=0.5, display=(0, 1000), doc="Process value"
    )
    target = pv(
        Eurotherm2400.target, name="SP", precision=1, scan=1, display=(0, 1000), doc="Target setpoint"
    )
    working_setpoint = pv(
        Eurotherm2400.working_setpoint,
        name="SP_WORKING",
        precision=1,
        scan=0.5,
        display=(0, 1000),
        doc="Working setpoint",
    )
    working_output = pv(
        Eurotherm2400.working_output,
        name="OUTPUT",
        precision=1,
        scan=0.5,
        display=(0, 100),
        doc="Output that is in force",
    )
    manual_output = pv(
        Eurotherm2400.manual_output,
        name="OUTPUT_MANUAL",
        precision=1,
        scan=2,
        display=(0, 100),
        doc="Output in manual",
    )
    mode = pv(Eurotherm2400.mode, name="MODE", scan=1, doc="Automatic or manual")
    status = pv(Eurotherm2400.status, name="STATUS", scan=1, doc="Status word")
    control_status = pv(
        Eurotherm2400.control_status, name="CONTROL_STATUS", scan=2, doc="Control status word"
    )
    sensor_break = pv(Eurotherm2400.sensor_break, name="SENSOR_BREAK", scan=1, severities={True: MAJOR})
    loop_break = pv(Eurotherm2400.loop_break, name="LOOP_BREAK", scan=1, severities={True: MAJOR})
    heater_fail = pv(Eurotherm2400.heater_fail, name="HEATER_FAIL", scan=1, severities={True: MAJOR})
    alarm1 = pv(Eurotherm2400.alarm1, name="ALARM1", scan=1, severities={True: MINOR}, doc="Alarm 1")
    alarm2 = pv(Eurotherm2400.alarm2, name="ALARM2", scan=1, severities={True: MINOR}, doc="Alarm 2")
    alarm3 = pv(Eurotherm2400.alarm3, name="ALARM3", scan=1, severities={True: MINOR}, doc="Alarm 3")
    alarm4 = pv(Eurotherm2400.alarm4, name="ALARM4", scan=1, severities={True: MINOR}, doc="Alarm 4")
    alarm1_setpoint = pv(
        Eurotherm2400.alarm1_setpoint,
        name="ALARM1_SP",
        precision=1,
        scan=5,
        display=(0, 1000),
        doc="Alarm 1 setpoint",
    )
    alarm2_setpoint = pv(
        Eurotherm2400.alarm2_setpoint,
        name="ALARM2_SP",
        precision=1,
        scan=5,
        display=(0, 1000),
        doc="Alarm 2 setpoint",
    )
    alarm3_setpoint = pv(
        Eurotherm2400.alarm3_setpoint,
        name="ALARM3_SP",
        precision=1,
        scan=5,
        display=(0, 1000),
        doc="Alarm 3 setpoint",
    )
    alarm4_setpoint = pv(
        Eurotherm2400.alarm4_setpoint,
        name="ALARM4_SP",
        precision=1,
        scan=5,
        display=(0, 1000),
        doc="Alarm 4 setpoint",
    )
    acknowledge = pv(Eurotherm2400.acknowledge, name="ACKNOWLEDGE", doc="Acknowledge all alarms")
    setpoint_select = pv(
        Eurotherm2400.setpoint_select, name="SP_SELECT", scan=2, doc="Which setpoint is the target"
    )
    setpoint1 = pv(
        Eurotherm2400.setpoint1, name="SP1", precision=1, scan=5, display=(0, 1000), doc="Setpoint 1"
    )
    setpoint2 = pv(
        Eurotherm2400.setpoint2, name="SP2", precision=1, scan=5, display=(0, 1000), doc="Setpoint 2"
    )
    setpoint_high = pv(
        Eurotherm2400.setpoint_high,
        name="SP_HIGH",
        precision=1,
        scan=10,
        display=(0, 1000),
        doc="Highest setpoint",
    )
    setpoint_low = pv(
        Eurotherm2400.setpoint_low,
        name="SP_LOW",
        precision=1,
        scan=10,
        display=(0, 1000),
        doc="Lowest setpoint",
    )
    setpoint_rate = pv(
        Eurotherm2400.setpoint_rate,
        name="SP_RATE",
        precision=1,
        scan=5,
        egu="see RATE_UNITS",
        doc="Setpoint rate, 0: none",
    )
    rate_units = pv(Eurotherm2400.rate_units, name="RATE_UNITS", scan=10, doc="What SP_RATE is per")
    source = pv(Eurotherm2400.source, name="SP_SOURCE", scan=2, doc="Local or remote setpoint")
    remote_setpoint = pv(
        Eurotherm2400.remote_setpoint,
        name="SP_REMOTE",
        precision=1,
        scan=2,
        display=(0, 1000),
        doc="Remote setpoint",
    )
    proportional_band = pv(
        Eurotherm2400.proportional_band, name="PB", precision=1, scan=5, doc="Proportional band"
    )
    integral_time = pv(
        Eurotherm2400.integral_time, name="TI", precision=0, scan=5, doc="Integral time, 0: none"
    )
    derivative_time = pv(
        Eurotherm2400.derivative_time, name="TD", precision=0, scan=5, doc="Derivative time, 0: none"
    )
    autotune = pv(Eurotherm2400.autotune, name="AUTOTUNE", scan=2, doc="Autotune")
    output_high = pv(
        Eurotherm2400.output_high,
        name="OUTPUT_HIGH",
        precision=1,
        scan=10,
        display=(0, 100),
        doc="Highest output",
    )
    output_low = pv(
        Eurotherm2400.output_low,
        name="OUTPUT_LOW",
        precision=1,
        scan=10,
        display=(-100, 100),
        doc="Lowest output",
    )
    instrument_mode = pv(
        Eurotherm2400.instrument_mode,
        name="INSTRUMENT_MODE",
        scan=2,
        severities={InstrumentMode.STANDBY: MINOR, InstrumentMode.CONFIGURATION: MAJOR},
    )
    units = pv(
        Eurotherm2400.units,
        name="UNITS",
        scan=10,
        severities={unit: MAJOR for unit in Units if unit is not Units.CELSIUS},
        doc="Units of the display: the PVs say degC",
    )
    version = pv(Eurotherm2400.version, name="VERSION", scan=None)
    model = pv(Eurotherm2400.model, name="MODEL", scan=None)
