"""PVs of a Julabo circulator."""

from labioc.drivers.julabo import Condition, Julabo, Mode, TemperatureUnit

from .core import AlarmSeverity, Device, pv


class JulaboPVs(Device):
    """Julabo circulator."""

    temperature = pv(
        Julabo.temperature, name="TEMP", precision=2, scan=1, display=(-50, 200), doc="Bath temperature"
    )
    setpoint_1 = pv(
        Julabo.setpoint_1, name="SETP1", precision=2, scan=5, display=(-50, 200), doc="Setpoint 1"
    )
    running = pv(Julabo.running, name="RUN", scan=2, doc="Start and stop")
    status = pv(Julabo.status, name="STATUS", scan=2, doc="State, warning or alarm")
    mode = pv(
        Julabo.mode,
        name="MODE",
        scan=2,
        severities={
            Mode.MANUAL_STOP: AlarmSeverity.MINOR_ALARM,
            Mode.MANUAL_START: AlarmSeverity.MINOR_ALARM,
        },
        doc="MANUAL: puts are refused",
    )
    condition = pv(
        Julabo.condition,
        name="CONDITION",
        scan=2,
        severities={Condition.WARNING: AlarmSeverity.MINOR_ALARM, Condition.ALARM: AlarmSeverity.MAJOR_ALARM},
        doc="Whether STATUS tells of trouble",
    )
    power = pv(
        Julabo.power,
        name="POWER",
        precision=1,
        scan=2,
        display=(-100, 100),
        doc="Heating power, negative: cooling",
    )
    external = pv(
        Julabo.external, name="EXT_TEMP", precision=2, scan=2, display=(-50, 200), doc="External Pt100"
    )
    control = pv(Julabo.control, name="CONTROL", scan=10, doc="Sensor that is controlled")

    xp = pv(Julabo.xp, name="XP", precision=1, scan=30, doc="Proportional band")
    tn = pv(Julabo.tn, name="TN", precision=0, scan=30, doc="Reset time")
    tv = pv(Julabo.tv, name="TV", precision=0, scan=30, doc="Lead time")
    cascade_xp = pv(Julabo.cascade_xp, name="EXT_XP", precision=1, scan=30, doc="Cascade: proportional band")
    cascade_tn = pv(Julabo.cascade_tn, name="EXT_TN", precision=0, scan=30, doc="Cascade: reset time")
    cascade_tv = pv(Julabo.cascade_tv, name="EXT_TV", precision=0, scan=30, doc="Cascade: lead time")
    version = pv(Julabo.version, name="VERSION", scan=None)

    safety = pv(Julabo.safety, name="SAFETY_TEMP", precision=2, scan=5, doc="At the safety sensor")
    safety_limit = pv(
        Julabo.safety_limit, name="SAFETY_LIMIT", precision=2, scan=10, doc="Excess temperature protection"
    )
    high = pv(Julabo.high, name="HIGH", precision=2, scan=10, doc="High temperature warning")
    low = pv(Julabo.low, name="LOW", precision=2, scan=10, doc="Low temperature warning")
    setpoint_2 = pv(
        Julabo.setpoint_2, name="SETP2", precision=2, scan=10, display=(-50, 200), doc="Setpoint 2"
    )
    setpoint_3 = pv(
        Julabo.setpoint_3, name="SETP3", precision=2, scan=10, display=(-50, 200), doc="Setpoint 3"
    )
    choice = pv(Julabo.choice, name="SELECT", scan=10, doc="Setpoint in use")
    pump = pv(Julabo.pump, name="PUMP", scan=10, doc="Pump pressure stage")
    heating = pv(Julabo.heating, name="HEATING_MAX", precision=0, scan=30)
    cooling = pv(Julabo.cooling, name="COOLING_MAX", precision=0, scan=30)
    difference = pv(
        Julabo.difference, name="DIFFERENCE", precision=2, scan=10, doc="Working sensor to safety sensor"
    )
    # in degF the setpoints would be shown as degC and be none
    unit = pv(
        Julabo.unit,
        name="UNIT",
        scan=10,
        severities={TemperatureUnit.FAHRENHEIT: AlarmSeverity.MAJOR_ALARM},
        doc="Unit at the instrument: leave at CELSIUS",
    )
    self_tuning = pv(Julabo.self_tuning, name="SELFTUNING", scan=30, doc="Self-tuning of the control")
    dynamics = pv(Julabo.dynamics, name="DYNAMICS", scan=30, doc="Control dynamics")
    co_speed = pv(Julabo.co_speed, name="COSPEED", precision=1, scan=30, doc="Cascade: overshoot of the bath")
    cascade_xpu = pv(
        Julabo.cascade_xpu, name="EXT_XPU", precision=1, scan=30, doc="Cascade: proportional portion"
    )
    cascade_max = pv(
        Julabo.cascade_max, name="EXT_MAX", precision=2, scan=30, doc="Cascade: highest bath temperature"
    )
    cascade_min = pv(
        Julabo.cascade_min, name="EXT_MIN", precision=2, scan=30, doc="Cascade: lowest bath temperature"
    )
    band_upper = pv(
        Julabo.band_upper, name="BAND_UPPER", precision=0, scan=30, doc="Cascade: bath above external"
    )
    band_lower = pv(
        Julabo.band_lower, name="BAND_LOWER", precision=0, scan=30, doc="Cascade: bath below external"
    )
