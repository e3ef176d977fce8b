"""PVs of a Trinamic TMCM-1110 stepper motor module."""

from labioc.drivers.tmcm1110 import TMCM1110, Axis, Input, Motion, Output

from .core import AlarmSeverity, Device, DeviceGroup, Settled, SubGroups, pv

MINOR, MAJOR = AlarmSeverity.MINOR_ALARM, AlarmSeverity.MAJOR_ALARM
ENDED = set(Motion) - {Motion.AT_TARGET, Motion.MOVING}

# the counter's whole range takes nine minutes at the speed that the module begins with, and other speeds are possible
ARRIVED = Settled(
    Axis.reached == True,  # noqa: E712
    fails=Axis.motion.where(lambda motion: motion in ENDED),
    after=0.05,
    timeout=3600,
)
FOUND = Settled(Axis.searching == False, after=0.05, timeout=3600)  # noqa: E712


class AxisPVs(DeviceGroup):
    """A motor. What is in steps can be in other units, see docs/instruments/tmcm1110.md."""

    position = pv(Axis.position, name="POS", precision=0, scan=0.2, doc="Position")
    target = pv(
        Axis.target,
        name="TARGET",
        precision=0,
        scan=1,
        settled=ARRIVED,
        stops=(Axis.relative, Axis.jog, Axis.search),
        doc="Move there",
    )
    relative = pv(
        Axis.relative,
        name="MOVE",
        precision=0,
        settled=ARRIVED,
        stops=(Axis.target, Axis.jog, Axis.search),
    )
    jog = pv(Axis.jog, name="JOG", precision=0, scan=2, stops=(Axis.target, Axis.relative, Axis.search))
    search = pv(Axis.search, name="SEARCH", settled=FOUND, stops=(Axis.target, Axis.relative, Axis.jog))
    stop = pv(
        Axis.stop,
        name="STOP",
        stops=(Axis.target, Axis.relative, Axis.jog, Axis.search),
        doc="Slow down and stand",
    )
    motion = pv(
        Axis.motion, name="MOTION", scan=1, severities={Motion.LEFT_LIMIT: MINOR, Motion.RIGHT_LIMIT: MINOR}
    )
    moving = pv(Axis.moving, name="MOVING", scan=1)
    speed = pv(Axis.speed, name="SPEED", precision=0, scan=0.5)
    acceleration = pv(Axis.acceleration, name="ACCEL", precision=0, scan=2)
    max_speed = pv(Axis.max_speed, name="MAX_SPEED", precision=0, scan=5)
    max_acceleration = pv(Axis.max_acceleration, name="MAX_ACCEL", precision=0, scan=5)
    counter = pv(
        Axis.counter,
        name="SET_POS",
        precision=0,
        scan=10,
        stops=(Axis.target, Axis.relative, Axis.jog, Axis.search),
    )

    left_limit = pv(Axis.left_limit, name="LEFT_LIMIT", scan=1, severities={True: MINOR})
    right_limit = pv(Axis.right_limit, name="RIGHT_LIMIT", scan=1, severities={True: MINOR})
    home = pv(Axis.home, name="HOME_SWITCH", scan=1)
    left_ignored = pv(Axis.left_ignored, name="LEFT_IGNORED", scan=5)
    right_ignored = pv(Axis.right_ignored, name="RIGHT_IGNORED", scan=5)
    soft_stop = pv(Axis.soft_stop, name="SOFT_STOP", scan=5)

    searching = pv(Axis.searching, name="SEARCHING", scan=1)
    search_mode = pv(Axis.search_mode, name="SEARCH_MODE", scan=5, doc="Which switch is the reference")
    search_speed = pv(Axis.search_speed, name="SEARCH_SPEED", precision=0, scan=5)
    switch_speed = pv(Axis.switch_speed, name="SWITCH_SPEED", precision=0, scan=5)
    search_distance = pv(Axis.search_distance, name="DISTANCE", precision=0, scan=5)

    status = pv(Axis.status, name="STATUS", scan=1)
    overheated = pv(Axis.overheated, name="OVERHEATED", scan=1, severities={True: MAJOR})
    hot = pv(Axis.hot, name="HOT", scan=1, severities={True: MINOR})
    short = pv(Axis.short, name="SHORT", scan=1, severities={True: MAJOR})
    open_load = pv(Axis.open_load, name="OPEN_LOAD", scan=1, severities={True: MINOR})
    stalled = pv(Axis.stalled, name="STALLED", scan=1, severities={True: MINOR})
    load = pv(Axis.load, name="LOAD", scan=1)
    stall_threshold = pv(Axis.stall_threshold, name="STALL_THRESHOLD", scan=5)
    stall_speed = pv(Axis.stall_speed, name="STALL_SPEED", precision=0, scan=5)

    current = pv(Axis.current, name="CURRENT", precision=1, scan=5)
    standby_current = pv(Axis.standby_current, name="STANDBY_CURRENT", precision=1, scan=5)
    standby_delay = pv(Axis.standby_delay, name="STANDBY_DELAY", precision=2, scan=5)
    freewheeling = pv(Axis.freewheeling, name="FREEWHEELING", precision=2, scan=5)
    microsteps = pv(Axis.microsteps, name="MICROSTEPS", scan=5, doc="Microsteps in a full step")
    pulse_divisor = pv(Axis.pulse_divisor, name="PULSE_DIV", scan=5)
    ramp_divisor = pv(Axis.ramp_divisor, name="RAMP_DIV", scan=5)
    encoder = pv(Axis.encoder, name="ENCODER", precision=0, scan=1)
    encoder_prescaler = pv(Axis.encoder_prescaler, name="ENCODER_PRESCALER", scan=10)
    max_deviation = pv(Axis.max_deviation, name="MAX_DEVIATION", precision=0, scan=10)
    store = pv(Axis.store, name="STORE")


class InputPVs(DeviceGroup):
    """A digital input."""

    state = pv(Input.state, name="STATE", scan=2)


class OutputPVs(DeviceGroup):
    """A digital output."""

    state = pv(Output.state, name="STATE", scan=5)


class TMCM1110PVs(Device):
    """Trinamic TMCM-1110 stepper motor module."""

    axes = SubGroups(AxisPVs, of=TMCM1110.axes, prefix="AXIS{ch}:")
    inputs = SubGroups(InputPVs, of=TMCM1110.inputs, prefix="IN{ch}:")
    outputs = SubGroups(OutputPVs, of=TMCM1110.outputs, prefix="OUT{ch}:")

    firmware = pv(TMCM1110.firmware, name="FIRMWARE", scan=None)
    analog = pv(TMCM1110.analog, name="ANALOG", scan=2)
    supply = pv(TMCM1110.supply, name="SUPPLY", precision=1, scan=5)
    temperature = pv(TMCM1110.temperature, name="TEMP", precision=0, scan=5)
    uptime = pv(TMCM1110.uptime, name="UPTIME", precision=0, scan=5)
