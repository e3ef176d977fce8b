"""A stepper motor on its ramp generator (TMC429), and the linear table that it moves.

Source: TMC429 datasheet, ramp modes; TMCM manuals, velocity and acceleration.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass

CLOCK = 16e6  # Hz
COUNTER = 1 << 24
POSITION, VELOCITY = 0, 2
TICK = 0.001
"""Simulated seconds in one step of the ramp."""
FULL_STEP = 256
"""Places of the table in one full step."""


@dataclass
class Table:
    """A linear table between two stops, with its switches; places are 1/256 of a full step from the middle.

    Attributes:
        place: where it is.
        left: below it the left limit switch is closed.
        right: above it the right limit switch is closed.
        home: where the home switch closes, and opens.
        end: how far behind the limit switches the hard stops are.
        torque: what pulls at it, of the most that the motor can; from 1 on it stands still.
    """

    place: float = 0.0
    left: float = -1_000_000.0
    right: float = 1_000_000.0
    home: tuple[float, float] = (-20_000.0, 20_000.0)
    end: float = 10_000.0
    torque: float = 0.0

    def push(self, way: float) -> float:
        """Move it by so much, as far as it goes, and return how far that was."""
        if abs(self.torque) >= 1:
            return 0.0
        went = min(max(self.place + way, self.left - self.end), self.right + self.end) - self.place
        self.place += went
        return went


class Ramp:
    """The motion of one motor: trapezoidal ramps to a position, or to a speed.

    Speeds and accelerations are steps per second; steps are those of the position counter, 24 bits.
    """

    def __init__(self, table: Table) -> None:
        """Stand still, at the counter's zero."""
        self.table = table
        self.counter = 0.0
        self.encoder = 0.0
        self.target = 0
        self.mode = POSITION
        self.speed = 0.0
        self.wanted = 0.0
        self.top_speed = 0.0
        self.acceleration = 0.0
        self.places_per_step = 1.0
        self.soft_stop = False
        self.stops_left = True
        self.stops_right = True
        self.inverted = False
        self.powered = True
        self.changing = 0.0
        """The acceleration at present."""
        self.lost = False
        """Whether the motor turns and the table doesn't."""
        self.rested = 0.0
        """For how long it has stood, seconds."""

    @property
    def position(self) -> int:
        """What the position counter shows."""
        half = COUNTER // 2
        return (round(self.counter) + half) % COUNTER - half

    @property
    def left(self) -> bool:
        """Whether the left limit switch is active."""
        return (self.table.place <= self.table.left) != self.inverted

    @property
    def right(self) -> bool:
        """Whether the right limit switch is active."""
        return (self.table.place >= self.table.right) != self.inverted

    @property
    def home(self) -> bool:
        """Whether the home switch is closed."""
        return self.table.home[0] <= self.table.place <= self.table.home[1]

    @property
    def reached(self) -> bool:
        """Whether the position is the target."""
        return self.position == self.target

    def set_position(self, position: int) -> None:
        """Count from here: the motor stays, and so does its target."""
        self.counter = float(position)
        self.target = position

    def move_to(self, target: int) -> None:
        """Ramp to a position."""
        turns = self.position - round(self.counter)
        self.counter += turns
        self.encoder += turns
        self.mode, self.target = POSITION, target

    def turn(self, speed: float) -> None:
        """Ramp to a speed."""
        self.mode, self.wanted = VELOCITY, speed

    def halt(self) -> None:
        """Stand at once, for good."""
        self.turn(0.0)
        self.speed = self.changing = 0.0

    def ticks(self, dt: float) -> Iterator[None]:
        """Let time pass, and yield whenever something may have changed; nothing happens while it stands."""
        left = round(dt / TICK)
        while left:
            if self._stands:
                self.lost = False
                self.rested += left * TICK
                return
            even = min(self._even_ticks(), left)
            if even > 1:
                self._cruise(even)
            else:
                self._tick()
            left -= max(even, 1)
            yield

    @property
    def _stands(self) -> bool:
        if self.speed:
            return False
        if self.mode != VELOCITY:
            way = self.target - self.counter
            return not way or not self.top_speed or not self.acceleration or self._blocks(way)
        return not self.wanted or not self.acceleration or self._blocks(self.wanted)

    def _blocks(self, way: float) -> bool:
        return (self.right and self.stops_right) if way > 0 else (self.left and self.stops_left)

    def _even_ticks(self) -> int:
        """Return for how many ticks the speed stays as it is, and no switch or stop is passed."""
        speed, table = abs(self.speed), self.table
        if not speed or self.lost or not self.powered or abs(table.torque) >= 1 or self._blocks(self.speed):
            return 0
        if self.mode == VELOCITY:
            if self.speed != self.wanted:
                return 0
            free = math.inf
        else:
            way = math.copysign(1.0, self.speed) * (self.target - self.counter)
            if speed != self.top_speed or way <= 0 or not self.acceleration:
                return 0
            free = way - speed * (speed / self.acceleration / 2 + 2 * TICK)
        edges = (table.left - table.end, table.left, *table.home, table.right, table.right + table.end)
        ahead = ((edge - table.place) * math.copysign(1.0, self.speed) for edge in edges)
        near = min((way for way in ahead if way >= 0), default=math.inf) / self.places_per_step
        return int(min(free, near, COUNTER) / (speed * TICK)) - 1

    def _cruise(self, ticks: int) -> None:
        moved = self.speed * TICK * ticks
        self.counter += moved
        self.encoder += moved
        self.table.place += moved * self.places_per_step
        self.changing = self.rested = 0.0

    def _tick(self) -> None:
        before, most = self.speed, self.acceleration * TICK
        if self.mode == VELOCITY:
            wanted = self.wanted
        else:
            way = self.target - self.counter
            # the speed from which it can still slow down in whole ticks, the last of which ends at the target
            slow = math.sqrt(most * most / 4 + 2 * self.acceleration * abs(way)) - most / 2
            wanted = math.copysign(min(self.top_speed, slow, abs(way) / TICK), way)
        if wanted and self._blocks(wanted):
            wanted = 0.0
            if not self.soft_stop:
                before = self.speed = 0.0
        if self.speed and self._blocks(self.speed) and not self.soft_stop:
            before = self.speed = 0.0
        self.speed = min(max(wanted, before - most), before + most)
        self.changing = (self.speed - before) / TICK
        self.rested = 0.0 if self.speed else self.rested + TICK
        moved = self.speed * TICK
        self.counter += moved
        if self.mode != VELOCITY and abs(self.target - self.counter) < 1e-6 and abs(self.speed) <= most:
            self.counter, self.speed = float(self.target), 0.0
        places = moved * self.places_per_step
        went = self.table.push(places) if self.powered else 0.0
        self.encoder += went / self.places_per_step
        self.lost = abs(places - went) > abs(places) / 2
