"""Trinamic TMCM-1110 single-axis stepper motor module (TMC429 motion controller, TMC262 driver).

Source: TMCM-1110 TMCL Firmware Manual (firmware V1.09): chapter 3 commands, 4 axis parameters, 5 global parameters,
6.1 velocity and acceleration, 7 reference search.

A step is a microstep, what the position counter counts. Speeds and accelerations stand in the module in units of a
divided clock, and here in steps per second.
"""

from enum import IntEnum, IntFlag

from . import tmcl
from .core import (
    Bool,
    Channel,
    Channels,
    Command,
    Driver,
    Enum,
    Flags,
    Float,
    Integer,
    Offset,
    Readback,
    Scaled,
    Setpoint,
    Text,
    computed,
)

MODEL = 1110
CLOCK = 16e6  # Hz
MOST = 2047
COUNTER = (-(2**23), 2**23 - 1)


class RampMode(IntEnum):
    """Axis parameter 138."""

    POSITION = 0
    SOFT = 1
    VELOCITY = 2


class Microsteps(IntEnum):
    """Axis parameter 140: microsteps in a full step."""

    X1 = 0
    X2 = 1
    X4 = 2
    X8 = 3
    X16 = 4
    X32 = 5
    X64 = 6
    X128 = 7
    X256 = 8


class SearchMode(IntEnum):
    """Axis parameter 193: which switch is the reference, and the way to it.

    The home switch is searched as far as the limit switch, and from there the other way; ..._ONLY: regardless of limit
    switches; INV_...: it opens where others close.
    """

    LEFT = 1
    RIGHT_LEFT = 2
    RIGHT_LEFT_BOTH_SIDES = 3
    LEFT_BOTH_SIDES = 4
    HOME_LEFTWARDS = 5
    HOME_RIGHTWARDS = 6
    HOME_RIGHTWARDS_ONLY = 7
    HOME_LEFTWARDS_ONLY = 8
    RIGHT = 64 + 1
    LEFT_RIGHT = 64 + 2
    LEFT_RIGHT_BOTH_SIDES = 64 + 3
    RIGHT_BOTH_SIDES = 64 + 4
    INV_HOME_LEFTWARDS = 128 + 5
    INV_HOME_RIGHTWARDS = 128 + 6
    INV_HOME_RIGHTWARDS_ONLY = 128 + 7
    INV_HOME_LEFTWARDS_ONLY = 128 + 8


class DriverStatus(IntFlag):
    """Axis parameter 208: what the TMC262 says."""

    STALL = 1
    OVERTEMPERATURE = 2
    OVERTEMPERATURE_WARNING = 4
    SHORT_A = 8
    SHORT_B = 16
    OPEN_LOAD_A = 32
    OPEN_LOAD_B = 64
    STANDSTILL = 128


class Motion(IntEnum):
    """What the motor does, from several axis parameters."""

    STOPPED = 0
    AT_TARGET = 1
    MOVING = 2
    JOGGING = 3
    SEARCHING = 4
    LEFT_LIMIT = 5
    RIGHT_LIMIT = 6


def speed_unit(pulse_divisor: int) -> float:
    """Return the steps per second of one unit of speed (6.1)."""
    return CLOCK / (2.0**pulse_divisor * 2048 * 32)


def acceleration_unit(pulse_divisor: int, ramp_divisor: int) -> float:
    """Return the steps per second squared of one unit of acceleration (6.1)."""
    return CLOCK**2 / 2.0 ** (pulse_divisor + ramp_divisor + 29)


def steps(limits: tuple[int, int] = COUNTER) -> Float:
    """Return the value type of a number of steps."""
    return Float("step", "d", counts=1, limits=limits)


def velocity(lowest: int = 0) -> Float:
    """Return the value type of a speed, with the limits of the smallest divisor."""
    return Float("step/s", limits=(lowest * speed_unit(0), MOST * speed_unit(0)))


def share() -> Float:
    """Return the value type of a current: 255 is all that the module can."""
    return Float("%", "d", counts=2.55, limits=(0, 100))


def hundredths(lowest: float) -> Float:
    """Return the value type of a time in units of 10 ms."""
    return Float("s", "d", counts=100, limits=(lowest, 655.35))


class Axis(Channel):
    """A motor."""

    position = Readback(steps(), ask="{addr} GAP 1 {ch}")
    target = Setpoint(steps(), ask="{addr} GAP 0 {ch}", tell="{addr} MVP ABS {ch} {value}")
    relative = Offset(target, position, doc="Move by so much from where it is")
    counter = Setpoint(
        steps(),
        ask="{addr} GAP 1 {ch}",
        before="{addr} MST {ch}",  # in position mode it might drive back to its target
        tell="{addr} SAP 1 {ch} {value}",
        refreshes=[position, target],
        verify=False,
        doc="Count from here as this; stops the motor",
    )
    reached = Readback(Bool(), ask="{addr} GAP 8 {ch}", doc="Whether the position is the target")
    ramp_mode = Readback(Enum(RampMode), ask="{addr} GAP 138 {ch}")

    pulse_divisor = Setpoint(
        Integer(limits=(0, 13)),
        ask="{addr} GAP 154 {ch}",
        tell="{addr} SAP 154 {ch} {value}",
        doc="One more halves speeds, accelerations",
    )
    ramp_divisor = Setpoint(
        Integer(limits=(0, 13)),
        ask="{addr} GAP 153 {ch}",
        tell="{addr} SAP 153 {ch} {value}",
        doc="One more halves accelerations",
    )
    raw_speed = Readback(Integer(), ask="{addr} GAP 3 {ch}")
    raw_acceleration = Readback(Integer(), ask="{addr} GAP 135 {ch}")
    raw_jog = Setpoint(Integer(limits=(-MOST, MOST)), ask="{addr} GAP 2 {ch}", tell="{addr} ROR {ch} {value}")
    raw_max_speed = Setpoint(
        Integer(limits=(0, MOST)), ask="{addr} GAP 4 {ch}", tell="{addr} SAP 4 {ch} {value}"
    )
    raw_max_acceleration = Setpoint(
        Integer(limits=(0, MOST)), ask="{addr} GAP 5 {ch}", tell="{addr} SAP 5 {ch} {value}"
    )
    raw_search_speed = Setpoint(
        Integer(limits=(0, MOST)), ask="{addr} GAP 194 {ch}", tell="{addr} SAP 194 {ch} {value}"
    )
    raw_switch_speed = Setpoint(
        Integer(limits=(0, MOST)), ask="{addr} GAP 195 {ch}", tell="{addr} SAP 195 {ch} {value}"
    )
    raw_stall_speed = Setpoint(
        Integer(limits=(0, MOST)), ask="{addr} GAP 181 {ch}", tell="{addr} SAP 181 {ch} {value}"
    )
    jog = Scaled(
        velocity(-MOST), raw_jog, pulse_divisor, unit=speed_unit, doc="Turn at this speed until stopped"
    )
    max_speed = Scaled(velocity(), raw_max_speed, pulse_divisor, unit=speed_unit, doc="Speed of moves")
    max_acceleration = Scaled(
        Float("step/s^2", limits=(0, MOST * acceleration_unit(0, 0))),
        raw_max_acceleration,
        pulse_divisor,
        ramp_divisor,
        unit=acceleration_unit,
        doc="Acceleration of moves and jogs",
    )
    search_speed = Scaled(
        velocity(), raw_search_speed, pulse_divisor, unit=speed_unit, doc="Speed to find the switch"
    )
    switch_speed = Scaled(
        velocity(),
        raw_switch_speed,
        pulse_divisor,
        unit=speed_unit,
        doc="Speed to find the edge of the switch",
    )
    stall_speed = Scaled(
        velocity(), raw_stall_speed, pulse_divisor, unit=speed_unit, doc="Stop on a stall above it; 0: never"
    )

    @computed(velocity(-MOST), raw_speed, pulse_divisor)
    def speed(speed: int, pulse_divisor: int) -> float:
        """Speed."""
        return speed * speed_unit(pulse_divisor)

    @computed(Float("step/s^2", limits=(0, 1e9)), raw_acceleration, pulse_divisor, ramp_divisor)
    def acceleration(acceleration: int, pulse_divisor: int, ramp_divisor: int) -> float:
        """Acceleration at present."""
        return acceleration * acceleration_unit(pulse_divisor, ramp_divisor)

    stop = Command(tell=("{addr} MST {ch}", "{addr} RFS STOP {ch}"), refreshes=[ramp_mode], idempotent=True)

    home = Readback(Bool(), ask="{addr} GAP 9 {ch}", doc="Home switch")
    right_limit = Readback(Bool(), ask="{addr} GAP 10 {ch}", doc="Right limit switch: ends positive motion")
    left_limit = Readback(Bool(), ask="{addr} GAP 11 {ch}", doc="Left limit switch: ends negative motion")
    right_ignored = Setpoint(
        Bool(),
        ask="{addr} GAP 12 {ch}",
        tell="{addr} SAP 12 {ch} {value}",
        doc="Right limit switch stops nothing",
    )
    left_ignored = Setpoint(
        Bool(),
        ask="{addr} GAP 13 {ch}",
        tell="{addr} SAP 13 {ch} {value}",
        doc="Left limit switch stops nothing",
    )
    soft_stop = Setpoint(
        Bool(),
        ask="{addr} GAP 149 {ch}",
        tell="{addr} SAP 149 {ch} {value}",
        doc="Slow down at limit switches",
    )

    search_step = Readback(Integer(), ask="{addr} RFS STATUS {ch}", doc="Of the reference search; 0: none")

    @computed(Bool(), search_step, position, target)
    def searching(search_step: int, position: float, target: float) -> bool:
        """Whether a reference search is under way."""
        return search_step != 0  # position and target are asked with it, since its end changes both

    @computed(
        Enum(Motion),
        search_step,
        reached,
        ramp_mode,
        raw_speed,
        target,
        position,
        left_limit,
        left_ignored,
        right_limit,
        right_ignored,
    )
    def motion(
        search_step: int,
        reached: bool,
        ramp_mode: RampMode,
        speed: int,
        target: float,
        position: float,
        left_limit: bool,
        left_ignored: bool,
        right_limit: bool,
        right_ignored: bool,
    ) -> Motion:
        """What the motor does."""
        if search_step:
            return Motion.SEARCHING
        if ramp_mode is RampMode.VELOCITY:
            return Motion.JOGGING if speed else Motion.STOPPED
        if reached:
            return Motion.AT_TARGET
        if not speed and target < position and left_limit and not left_ignored:
            return Motion.LEFT_LIMIT
        if not speed and target > position and right_limit and not right_ignored:
            return Motion.RIGHT_LIMIT
        return Motion.MOVING

    @computed(Bool(), motion)
    def moving(motion: Motion) -> bool:
        """Whether the motor is on its way."""
        return motion in (Motion.MOVING, Motion.JOGGING, Motion.SEARCHING)

    search = Command(tell="{addr} RFS START {ch}", doc="Home: search the reference, count anew")
    search_mode = Setpoint(Enum(SearchMode), ask="{addr} GAP 193 {ch}", tell="{addr} SAP 193 {ch} {value}")
    search_distance = Readback(
        steps((0, 2**23 - 1)),
        ask="{addr} GAP 196 {ch}",
        doc="Of the limit switches, by last search",
    )

    microsteps = Setpoint(
        Enum(Microsteps),
        ask="{addr} GAP 140 {ch}",
        tell="{addr} SAP 140 {ch} {value}",
        doc="Microsteps in a full step; the position counter does not follow",
    )
    current = Setpoint(
        share(),
        ask="{addr} GAP 6 {ch}",
        tell="{addr} SAP 6 {ch} {value}",
        doc="Motor current, of the module's most",
    )
    standby_current = Setpoint(
        share(), ask="{addr} GAP 7 {ch}", tell="{addr} SAP 7 {ch} {value}", doc="Motor current when it stands"
    )
    standby_delay = Setpoint(
        hundredths(0.01),
        ask="{addr} GAP 214 {ch}",
        tell="{addr} SAP 214 {ch} {value}",
        doc="From stop to standby",
    )
    freewheeling = Setpoint(
        hundredths(0),
        ask="{addr} GAP 204 {ch}",
        tell="{addr} SAP 204 {ch} {value}",
        doc="From stop to no current; 0: never",
    )
    load = Readback(Integer(limits=(0, 1023)), ask="{addr} GAP 206 {ch}", doc="stallGuard2: 0 is a stall")
    stall_threshold = Setpoint(
        Integer(limits=(-64, 63)),
        ask="{addr} GAP 174 {ch}",
        tell="{addr} SAP 174 {ch} {value}",
        doc="stallGuard2: higher is less sensitive",
    )
    status = Readback(Flags(DriverStatus), ask="{addr} GAP 208 {ch}", doc="Bits of the motor driver")

    @computed(Bool(), status)
    def stalled(status: DriverStatus) -> bool:
        """Motor stalled."""
        return DriverStatus.STALL in status

    @computed(Bool(), status)
    def overheated(status: DriverStatus) -> bool:
        """Motor driver off, too hot."""
        return DriverStatus.OVERTEMPERATURE in status

    @computed(Bool(), status)
    def hot(status: DriverStatus) -> bool:
        """Motor driver is hot."""
        return DriverStatus.OVERTEMPERATURE_WARNING in status

    @computed(Bool(), status)
    def short(status: DriverStatus) -> bool:
        """Short to ground in a phase."""
        return bool(status & (DriverStatus.SHORT_A | DriverStatus.SHORT_B))

    @computed(Bool(), status)
    def open_load(status: DriverStatus) -> bool:
        """Open phase; not seen at standstill."""
        is_open = status & (DriverStatus.OPEN_LOAD_A | DriverStatus.OPEN_LOAD_B)
        return bool(is_open) and DriverStatus.STANDSTILL not in status

    encoder = Setpoint(
        steps(),
        ask="{addr} GAP 209 {ch}",
        tell="{addr} SAP 209 {ch} {value}",
        verify=False,
        doc="Encoder position",
    )
    encoder_prescaler = Setpoint(
        Integer(limits=(0, 65535)),
        ask="{addr} GAP 210 {ch}",
        tell="{addr} SAP 210 {ch} {value}",
        doc="What one encoder line counts",
    )
    max_deviation = Setpoint(
        steps((0, 65535)),
        ask="{addr} GAP 212 {ch}",
        tell="{addr} SAP 212 {ch} {value}",
        doc="Stop if the encoder is off by it; 0: no",
    )
    store = Command(
        tell=tuple(
            f"{{addr}} STAP {number} {{ch}}"
            for number in (4, 5, 6, 7, 12, 13, 140, 149, 153, 154, 193, 194, 195, 204, 210, 212, 214)
        ),
        doc="Keep the settings over a power cycle",
    )


class Input(Channel):
    """A digital input."""

    state = Readback(Bool(), ask="{addr} GIO {ch} 0")


class Output(Channel):
    """A digital output."""

    state = Setpoint(Bool(), ask="{addr} GIO {ch} 2", tell="{addr} SIO {ch} 2 {value}")


class TMCM1110(Driver):
    """Trinamic TMCM-1110 stepper motor module."""

    protocol = tmcl.protocol(MODEL)

    axes = Channels(Axis, (0,))
    inputs = Channels(Input, range(7))
    outputs = Channels(Output, range(8))

    firmware = Readback(Text(15), ask="{addr} 136 1", doc="Model and version of the firmware")
    analog = Readback(Integer("digit", limits=(0, 65535)), ask="{addr} GIO 0 1", doc="Analog input")
    supply = Readback(Float("V", "d", counts=10), ask="{addr} GIO 8 1", doc="Supply voltage")
    temperature = Readback(
        Float("degC", "d", counts=1), ask="{addr} GIO 9 1", doc="Temperature of the module"
    )
    uptime = Readback(
        Float("s", "d", counts=1000), ask="{addr} GGP 132 0", doc="Since power-on: positions begin at 0"
    )
