"""Trinamic TMCM-1110 single-axis stepper motor module, with a motor and a linear table.

Source: TMCM-1110 TMCL Firmware Manual (firmware V1.09): chapter 4 axis parameters, 6.1 velocity and acceleration,
7 reference search; TMC262 datasheet for the flags of the driver.
"""

import math
from collections.abc import Callable, Generator, Iterator

from .core import Clock, Faults
from .tmc429 import CLOCK, FULL_STEP, POSITION, Ramp, Table
from .tmcl import INVALID_VALUE, READ, WRITE, WRONG_TYPE, Module, Parameter, RefusedError, wrapped

MOST = 2047
HALF_COUNTER = 1 << 23
ROOM = 25.0  # degC
WARMS = 40.0  # K above the room at full current
TAU = 60.0  # s
HOT, TOO_HOT = 100.0, 150.0
SG_STALL, SG_IDLE = 0, 400
STANDS_AFTER = 2**20 / CLOCK
SEARCH_MODES = (*range(1, 9), *range(65, 69), *range(133, 137))

RW = READ + WRITE

AXIS = {
    0: Parameter(-HALF_COUNTER, HALF_COUNTER - 1, RW),  # target position
    1: Parameter(-HALF_COUNTER, HALF_COUNTER - 1, RW),  # actual position
    2: Parameter(-MOST, MOST, RW),  # target speed
    3: Parameter(-MOST, MOST, READ),  # actual speed
    4: Parameter(0, MOST, default=1000),  # maximum positioning speed
    5: Parameter(0, MOST, default=500),  # maximum acceleration
    6: Parameter(0, 255, default=128),  # absolute maximum current
    7: Parameter(0, 255, default=8),  # standby current
    8: Parameter(0, 1, READ),  # target position reached
    9: Parameter(0, 1, READ),  # home switch
    10: Parameter(0, 1, READ),  # right limit switch
    11: Parameter(0, 1, READ),  # left limit switch
    12: Parameter(0, 1),  # right limit switch disable
    13: Parameter(0, 1),  # left limit switch disable
    130: Parameter(0, MOST, default=1),  # minimum speed
    135: Parameter(0, MOST, READ),  # actual acceleration
    138: Parameter(0, 2),  # ramp mode
    140: Parameter(0, 8, default=8),  # microstep resolution
    141: Parameter(0, 4095, RW),  # reference switch tolerance
    149: Parameter(0, 1),  # soft stop flag
    150: Parameter(0, 255),  # end switch power down
    153: Parameter(0, 13, default=7),  # ramp divisor
    154: Parameter(0, 13, default=3),  # pulse divisor
    160: Parameter(0, 1, RW),  # step interpolation enable
    161: Parameter(0, 1, RW),  # double step enable
    162: Parameter(0, 3, RW, 2),  # chopper blank time
    163: Parameter(0, 1, RW),  # chopper mode
    164: Parameter(0, 3, RW),  # chopper hysteresis decrement
    165: Parameter(-3, 12, RW, 2),  # chopper hysteresis end
    166: Parameter(0, 8, RW, 3),  # chopper hysteresis start
    167: Parameter(0, 15, RW, 5),  # chopper off time
    168: Parameter(0, 1, RW),  # smartEnergy current minimum
    169: Parameter(0, 3, RW),  # smartEnergy current down step
    170: Parameter(0, 15, RW),  # smartEnergy hysteresis
    171: Parameter(0, 3, RW),  # smartEnergy current up step
    172: Parameter(0, 15, RW),  # smartEnergy hysteresis start
    173: Parameter(0, 1, RW),  # stallGuard2 filter enable
    174: Parameter(-64, 63, RW, 5),  # stallGuard2 threshold
    175: Parameter(0, 3, RW, 3),  # slope control high side
    176: Parameter(0, 3, RW, 3),  # slope control low side
    177: Parameter(0, 1, RW),  # short protection disable
    178: Parameter(0, 3, RW),  # short detection timer
    179: Parameter(0, 1, RW),  # Vsense
    180: Parameter(0, 31, READ),  # smartEnergy actual current
    181: Parameter(0, MOST, RW),  # stop on stall
    182: Parameter(0, MOST, RW),  # smartEnergy threshold speed
    183: Parameter(0, 255, RW),  # smartEnergy slow run current
    184: Parameter(0, 1, RW),  # random TOFF mode
    193: Parameter(1, 136, default=1),  # reference search mode
    194: Parameter(0, MOST, default=500),  # reference search speed
    195: Parameter(0, MOST, default=100),  # reference switch speed
    196: Parameter(0, HALF_COUNTER - 1, READ),  # distance of the end switches
    197: Parameter(-HALF_COUNTER, HALF_COUNTER - 1, READ),  # last reference position
    200: Parameter(0, 255),  # boost current
    204: Parameter(0, 65535),  # freewheeling
    206: Parameter(0, 1023, READ),  # actual load value
    207: Parameter(0, 255, READ),  # extended error flags
    208: Parameter(0, 255, READ),  # TMC262 error flags
    209: Parameter(-HALF_COUNTER, HALF_COUNTER - 1, RW),  # encoder position
    210: Parameter(0, 65535, default=25600),  # encoder prescaler
    212: Parameter(0, 65535),  # maximum encoder deviation
    213: Parameter(0, 255, RW),  # group index
    214: Parameter(1, 65535, default=200),  # power down delay
    254: Parameter(0, 5, RW),  # step/direction mode
}


class TMCM1110(Module):
    """The module. Change its world by `table`, `room`, `supply`, `inputs`, `analog`, `open_phases` and `shorted`."""

    model = 1110
    firmware = (1, 9)
    axis_parameters = AXIS
    serial_line = {"baudrate": 9600}

    def __init__(self, *, clock: Clock | None = None, faults: Faults | None = None) -> None:
        """Switch it on in the middle of the table."""
        self.table = Table()
        self.room = self.temperature = ROOM
        self.supply = 24.0
        self.inputs = [False] * 7
        self.analog = 0
        self.open_phases: set[str] = set()
        self.shorted: set[str] = set()
        super().__init__(clock=clock, faults=faults)

    def start(self) -> None:
        """Begin with what stands in the EEPROM; the table stays where it is, the counter doesn't."""
        super().start()
        self.ramp = Ramp(self.table)
        self.outputs = [False] * 8
        self.errors = 0
        self.search_step = 0
        self._search: Iterator[bool] | None = None
        self._arrived = True
        self._configure()

    # units (6.1)

    def speed_of(self, value: int) -> float:
        """Return the steps per second of a speed in the module's units."""
        return value * self._speed_unit

    @property
    def _speed_unit(self) -> float:
        return CLOCK / (2.0 ** self.axes[0][154] * 2048 * 32)

    @property
    def _acceleration_unit(self) -> float:
        return CLOCK**2 / 2.0 ** (self.axes[0][154] + self.axes[0][153] + 29)

    def _configure(self) -> None:
        axis, ramp = self.axes[0], self.ramp
        ramp.top_speed = self.speed_of(axis[4])
        ramp.acceleration = axis[5] * self._acceleration_unit
        ramp.places_per_step = FULL_STEP / 2 ** axis[140]
        ramp.stops_right, ramp.stops_left = not axis[12], not axis[13]
        ramp.soft_stop = bool(axis[149])
        ramp.inverted = bool(self.globals[79])

    # the world

    @property
    def current(self) -> float:
        """The motor's current at present, of the most that the module can."""
        axis, rested = self.axes[0], self.ramp.rested
        if axis[204] and rested > axis[204] * 0.01:
            return 0.0
        return axis[7 if rested > axis[214] * 0.01 else 6] / 255

    @property
    def load(self) -> int:
        """The value of stallGuard2: 0 if it stalls."""
        if not self.ramp.speed:
            return 0
        if self.ramp.lost:
            return SG_STALL
        free = SG_IDLE * (1 - abs(self.table.torque)) + 8 * self.axes[0][174]
        return min(max(round(free), 0), 1023)

    @property
    def status(self) -> int:
        """The flags of the TMC262."""
        standing = self.ramp.rested > STANDS_AFTER
        flags = {
            1: bool(self.ramp.speed) and self.load == SG_STALL,
            2: self.temperature >= TOO_HOT,
            4: self.temperature >= HOT,
            8: "A" in self.shorted,
            16: "B" in self.shorted,
            32: "A" in self.open_phases,
            64: "B" in self.open_phases,
            128: standing,
        }
        return sum(bit for bit, is_set in flags.items() if is_set)

    def advance(self, dt: float) -> None:
        """Let the motor turn, and the driver warm up."""
        final = self.room + WARMS * self.current**2
        self.temperature += (final - self.temperature) * (1 - math.exp(-dt / TAU))
        if self._search is not None and not self.ramp.speed:
            self._continue_search()
        self.ramp.powered = self.temperature < TOO_HOT and not self.shorted
        for _ in self.ramp.ticks(dt):
            self._watch()
            if self._search is not None:
                self._continue_search()
        if self._search is None and self.ramp.reached and not self.ramp.speed:
            if not self._arrived:
                self._arrived = True
                self.arrived(0)
        else:
            self._arrived = False

    def _watch(self) -> None:
        """Stop on a stall, and on a deviation of the encoder."""
        axis, ramp = self.axes[0], self.ramp
        if axis[181] and abs(ramp.speed) > self.speed_of(axis[181]) and self.load == SG_STALL:
            self.errors |= 1
            ramp.halt()
        if axis[212] and abs(ramp.counter - ramp.encoder) > axis[212]:
            self.errors |= 2
            ramp.halt()

    # motion (3.4.1)

    def rotate(self, motor: int, speed: int) -> None:
        """Turn at this speed."""
        if not -MOST <= speed <= MOST:
            raise RefusedError(INVALID_VALUE)
        self._begin()
        self.axes[0][2] = speed
        self.ramp.turn(self.speed_of(speed))

    def stop(self, motor: int) -> None:
        """Slow down and stand."""
        self._begin()
        self.axes[0][2] = 0
        self.ramp.turn(0.0)

    def move(self, motor: int, target: int) -> None:
        """Move to a position."""
        self._begin()
        self._arrived = False
        self.ramp.move_to(target)

    def _begin(self) -> None:
        self._configure()
        self.errors = 0
        self._search, self.search_step = None, 0

    def get_axis(self, motor: int, number: int) -> int:
        """Return the value of an axis parameter."""
        ramp = self.ramp
        match number:
            case 0:
                return ramp.target
            case 1:
                return ramp.position
            case 2 if ramp.mode == POSITION:  # the hardware's: the top speed until it slows down
                speeds_up = ramp.speed and ramp.changing * ramp.speed >= 0
                return self._in_units(math.copysign(ramp.top_speed, ramp.speed) if speeds_up else 0.0)
            case 3:
                return self._in_units(ramp.speed)
            case 8:
                return int(ramp.reached)
            case 9:
                return int(ramp.home)
            case 10:
                return int(ramp.right)
            case 11:
                return int(ramp.left)
            case 135:
                return round(abs(ramp.changing) / self._acceleration_unit) if ramp.speed else 0
            case 138:
                return ramp.mode
            case 180:
                return round(31 * self.current)
            case 206:
                return self.load
            case 207:
                return self.errors
            case 208:
                return self.status
            case 209:
                return wrapped(round(ramp.encoder), 24)
        return self.axes[0][number]

    def set_axis(self, motor: int, number: int, value: int) -> None:
        """Set an axis parameter to a value in its range."""
        ramp = self.ramp
        match number:
            case 0:
                self.move(0, value)
            case 1:
                ramp.set_position(value)
            case 2:
                self.rotate(0, value)
            case 138:
                ramp.mode = value
            case 193 if value not in SEARCH_MODES:
                raise RefusedError(INVALID_VALUE)
            case 209:
                ramp.encoder = float(value)
        self.axes[0][number] = value
        self._configure()

    def _in_units(self, speed: float) -> int:
        return round(speed / self._speed_unit)

    def _set_global(self, number: int, value: int, line: Parameter) -> None:
        super()._set_global(number, value, line)
        self._configure()

    # inputs and outputs (3.4.4)

    def input(self, port: int, bank: int) -> int:
        """Return an input or output, or all of them as bits (port 255)."""
        lines = {0: self.inputs, 2: self.outputs}.get(bank)
        if lines is not None and port == 255:
            return sum(state << number for number, state in enumerate(lines))
        if lines is not None and port < len(lines):
            return int(lines[port])
        analog = {0: self.analog, 8: round(self.supply * 10), 9: round(self.temperature)}
        if bank == 1 and port in analog:
            return analog[port]
        raise RefusedError(WRONG_TYPE if bank in (0, 1, 2) else INVALID_VALUE)

    def set_output(self, port: int, bank: int, value: int) -> None:
        """Set an output, or all of them by bits (port 255)."""
        if bank != 2:
            raise RefusedError(INVALID_VALUE)
        if port == 255 and 0 <= value < 1 << len(self.outputs):
            self.outputs = [bool(value >> number & 1) for number in range(len(self.outputs))]
        elif port < len(self.outputs) and value in (0, 1):
            self.outputs[port] = bool(value)
        else:
            raise RefusedError(WRONG_TYPE if port >= len(self.outputs) and port != 255 else INVALID_VALUE)

    # reference search (7)

    def search(self, kind: int, motor: int, value: int) -> int | None:
        """Start (0) or stop (1) a search, or return its step (2): 0 if none is under way."""
        if kind == 0:
            self._begin()
            self.search_step = 1
            self._search = self._searched(self.axes[0][193])
        elif kind == 1:
            if self._search is not None:
                self.stop(0)
        elif kind == 2:
            return self.search_step
        else:
            raise RefusedError(WRONG_TYPE)
        return None

    def _continue_search(self) -> None:
        assert self._search is not None
        try:
            next(self._search)
        except StopIteration:
            self._search, self.search_step = None, 0

    def _searched(self, mode: int) -> Iterator[bool]:
        """Move as the mode says, a step of the ramp between two yields; then count from the reference."""
        axis, ramp = self.axes[0], self.ramp
        fast, slow = self.speed_of(axis[194]), self.speed_of(axis[195])
        kind, side, inverted = mode & 15, 1 if mode & 64 else -1, bool(mode & 128)
        if kind <= 4:
            zero = yield from self._searched_end(kind, side, fast, slow)
        else:
            if kind in (7, 8):
                ramp.stops_left = ramp.stops_right = False
            zero = yield from self._searched_home(kind, inverted, fast, slow)
            self._configure()
        axis[197] = wrapped(round(zero), 24)
        ramp.counter -= round(zero)
        ramp.encoder -= round(zero)
        ramp.move_to(0)
        while ramp.speed or not ramp.reached:
            yield True
        self._arrived = False

    def _searched_end(self, kind: int, side: int, fast: float, slow: float) -> Generator[bool, None, float]:
        ramp = self.ramp
        other = ramp.counter
        if kind in (2, 3):
            yield from self._run(-side * fast, lambda: self._at_end(-side))
            other = ramp.counter
        yield from self._run(side * fast, lambda: self._at_end(side))
        if kind in (2, 3):
            self.axes[0][196] = min(round(abs(ramp.counter - other)), HALF_COUNTER - 1)
        yield from self._run(-side * slow, lambda: not self._at_end(side))
        opened = ramp.counter
        if kind in (1, 2):
            return opened
        yield from self._run(side * slow, lambda: self._at_end(side))
        return (opened + ramp.counter) / 2

    def _searched_home(
        self, kind: int, inverted: bool, fast: float, slow: float
    ) -> Generator[bool, None, float]:
        ramp = self.ramp
        way = -1 if kind in (5, 8) else 1

        def closed() -> bool:
            return ramp.home != inverted

        if kind in (5, 6):
            yield from self._run(way * fast, lambda: closed() or self._at_end(way))
            if not closed():
                way = -way
        yield from self._run(way * fast, closed)
        yield from self._run(-way * slow, lambda: not closed())
        return ramp.counter

    def _at_end(self, side: int) -> bool:
        return self.ramp.right if side > 0 else self.ramp.left

    def _run(self, speed: float, ends: Callable[[], bool]) -> Iterator[bool]:
        """Turn until something is the case, then stand."""
        self.search_step += 1
        while not ends():
            self.ramp.turn(speed)
            yield True
        self.ramp.halt()
