"""How a Rigol DS1000Z acquires: channels, time base, trigger, memory.

Source: MSO1000Z/DS1000Z User's Guide, chapters 2 to 5; docs/instruments/ds1000z.md says what is not confirmed.
"""

import math
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from .core.oscilloscope import Input

COLUMNS, ROWS = 12, 8
"""Divisions of the screen."""
LEVELS, MIDDLE = 25, 127
"""Steps of the converter in a division, and the one in the middle of the screen."""
SCREEN = 1200
"""Points of a screen: 100 in a division."""
DEPTHS = (12_000, 120_000, 1_200_000, 12_000_000, 24_000_000)
"""Points of the memory with one channel on; two channels have half of it each, three and four a quarter."""
FASTEST = 1e9
"""Samples per second with one channel on."""
PATIENCE, SHOWS = 0.5, 0.1
"""Without a trigger, AUTO makes a trace after so long; and so long the status says TD after a trigger, s."""


@dataclass
class Channel:
    """The settings of a channel, and what is connected to it."""

    input: Input
    display: bool = False
    scale: float = 1.0
    offset: float = 0.0
    unit: str = "VOLT"
    vernier: bool = False
    delay: float = 0.0
    _range: float = field(default=0.0, repr=False)

    @property
    def range(self) -> float:
        """The volts of the whole screen."""
        return ROWS * self.scale

    @range.setter
    def range(self, volts: float) -> None:
        self.scale = volts / ROWS

    @property
    def probe(self) -> float:
        """The probe's ratio; scale and offset follow it."""
        return self.input.probe

    @probe.setter
    def probe(self, ratio: float) -> None:
        factor = ratio / self.input.probe
        self.input.probe, self.scale, self.offset = ratio, self.scale * factor, self.offset * factor

    @property
    def bandwidth(self) -> str:
        """20M or OFF."""
        return "20M" if self.input.limited else "OFF"

    @bandwidth.setter
    def bandwidth(self, limit: str) -> None:
        self.input.limited = limit == "20M"


@dataclass
class TimeBase:
    """The horizontal settings."""

    scale: float = 1e-6
    offset: float = 0.0
    mode: str = "MAIN"
    zoom: bool = False
    zoom_offset: float = 0.0
    zoom_scale: float = 5e-7


@dataclass
class Trigger:
    """The trigger's settings."""

    mode: str = "EDGE"
    sweep: str = "AUTO"
    source: str = "CHAN1"
    slope: str = "POS"
    level: float = 0.0
    coupling: str = "DC"
    holdoff: float = 1.6e-8
    noise_reject: bool = False


@dataclass(frozen=True)
class Acquisition:
    """One trace in the memory: when it was triggered, and with what settings."""

    when: float
    time_scale: float
    time_offset: float
    rate: float
    depth: int
    calm: float
    channels: dict[int, Channel]

    @property
    def begin(self) -> float:
        """The time of the first point of the memory, from the trigger, s."""
        return self.time_offset - self.depth / 2 / self.rate

    def codes(self, channel: int, times: Any) -> Any:
        """Return what the converter made of a channel at some times from the trigger: numbers from 0 to 255."""
        settings = self.channels[channel]
        volts = settings.input.volts(self.when + times, self.calm)
        return converted(volts, settings)


def converted(volts: Any, channel: Channel) -> Any:
    """Return the numbers that the converter makes of volts, with the scale and offset of a channel."""
    step = channel.scale / LEVELS
    return np.clip(np.rint(volts / step) + origin(channel) + MIDDLE, 0, 255).astype(np.uint8)


def origin(channel: Channel) -> int:
    """Return the steps by which a channel is moved up."""
    return round(channel.offset * LEVELS / channel.scale)


class Acquirer:
    """What stands behind the screen.

    Attributes:
        channels: by number.
        acquisition: what is in the memory, or None.
        running: whether it acquires.
    """

    def __init__(self, inputs: dict[int, Input], now: float) -> None:
        """Begin as the factory has set it, with channel 1 on."""
        self.channels = {n: Channel(source, display=n == 1) for n, source in inputs.items()}
        self.time, self.trigger = TimeBase(), Trigger()
        self.type, self.averages, self.depth_level = "NORM", 2, 0
        self.acquisition: Acquisition | None = None
        self.now = now
        self._sweep_before = "AUTO"
        self._pending: float | None = None
        self.run()

    def run(self) -> None:
        """Begin to acquire; after a single trace, as before it."""
        if self.trigger.sweep == "SING":
            self.trigger.sweep = self._sweep_before
        self._arm()

    def single(self) -> None:
        """Wait for one trigger, and stop."""
        if self.trigger.sweep != "SING":
            self._sweep_before = self.trigger.sweep
        self.trigger.sweep = "SING"
        self._arm()

    def force(self) -> None:
        """Trigger now, if it waits."""
        if self.running and self._pending is None:
            self._pending = self.now

    def _arm(self) -> None:
        self.running = True
        self._pending = None
        self._is_triggered = False
        self._armed = self.now
        self._triggered = -math.inf

    @property
    def status(self) -> str:
        """TD, WAIT, RUN, AUTO or STOP."""
        if not self.running:
            return "STOP"
        if self.now - self._triggered <= SHOWS or (self._pending is not None and self._is_triggered):
            return "TD"
        if self.now < self._armed + self._before:
            return "RUN"
        return "AUTO" if self.trigger.sweep == "AUTO" else "WAIT"

    @property
    def _before(self) -> float:
        """How long before the trigger the screen begins, s."""
        return max(0.0, COLUMNS / 2 * self.time.scale - self.time.offset)

    @property
    def _behind(self) -> float:
        """How long after the trigger the screen ends, s."""
        return max(0.0, COLUMNS / 2 * self.time.scale + self.time.offset)

    def advance(self, now: float, dt: float) -> None:
        """Let the time come to `now`, `dt` seconds on: look for a trigger, and complete what was triggered."""
        self.now = now
        if not self.running:
            return
        begin = max(self.now - dt, self._armed + self._before)
        if self._pending is None and begin < self.now:
            whole = max(begin, self.now - self._behind)  # a trace of a trigger before that is complete
            found = self._look(begin, whole)
            if found is None:
                found = self._look(whole, self.now)
            self._is_triggered = found is not None
            waited = self.now - max(self._armed + self._before, self._triggered)
            if found is None and self.trigger.sweep == "AUTO" and waited > PATIENCE:
                found = self.now
            self._pending = found
        if self._pending is not None and self.now >= self._pending + self._behind:
            self._complete(self._pending)

    def _look(self, begin: float, end: float) -> float | None:
        if begin >= end:
            return None
        if self.trigger.mode != "EDGE" or self.trigger.source == "AC":
            return end if self.trigger.source == "AC" else None
        source = self.channels[int(self.trigger.source[-1])].input
        return source.crossing(self.trigger.level, self.trigger.slope, begin, end)

    def _complete(self, when: float) -> None:
        self.acquisition = Acquisition(
            when, self.time.scale, self.time.offset, self.rate, self.depth, self._calm,
            {n: replace(channel, input=replace(channel.input)) for n, channel in self.channels.items()},
        )  # fmt: skip
        self._pending = None
        self._armed = max(self._armed, self.now + self.trigger.holdoff - self._before)
        self._triggered = self.now if self._is_triggered or self.trigger.sweep != "AUTO" else self._triggered
        if self.trigger.sweep == "SING":
            self.running = False

    @property
    def _calm(self) -> float:
        """By how much the noise is reduced."""
        return {"AVER": math.sqrt(self.averages), "HRES": 4.0}.get(self.type, 1.0)

    @property
    def share(self) -> int:
        """By how many the channels that are on divide memory and rate: 1, 2 or 4."""
        return {0: 1, 1: 1, 2: 2}.get(sum(channel.display for channel in self.channels.values()), 4)

    @property
    def depth(self) -> int:
        """Points of the memory of one channel."""
        if self.depth_level:
            return DEPTHS[self.depth_level - 1] // self.share
        fits = int(COLUMNS * self.time.scale * FASTEST / self.share)
        return max(min(fits, DEPTHS[2] // self.share), SCREEN // self.share)

    @property
    def rate(self) -> float:
        """Samples per second."""
        return min(FASTEST / self.share, self.depth / (COLUMNS * self.time.scale))
