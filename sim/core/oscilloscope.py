"""What an oscilloscope looks at and how: signals, an input with its probe, the trigger, and what is measured."""

import math
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np

Array = np.ndarray[Any, np.dtype[Any]]

LOOKS, LOOKS_AROUND = (2000, 400), (100, 100)
"""So many times the trigger looks at a signal, at one that repeats; then around the edge that it found."""


class Signal(Protocol):
    """A voltage that changes with time."""

    @property
    def period(self) -> float:
        """After which it repeats, seconds; infinite if it does not."""

    @property
    def mean(self) -> float:
        """What AC coupling takes away, V."""

    def at(self, t: Array) -> Array:
        """Return the volts at the times `t`, seconds since the simulation began."""


@dataclass
class Sine:
    """A sine."""

    amplitude: float
    frequency: float
    mean: float = 0.0
    phase: float = 0.0

    @property
    def period(self) -> float:
        """Seconds."""
        return 1.0 / self.frequency

    def at(self, t: Array) -> Array:
        """Return the volts at the times `t`."""
        return self.mean + self.amplitude * np.sin(2 * np.pi * self.frequency * t + self.phase)


@dataclass
class Square:
    """A square wave that rises at time 0, with edges that take `rise` seconds from 10 to 90 percent."""

    low: float
    high: float
    frequency: float
    duty: float = 0.5
    rise: float = 0.0

    @property
    def period(self) -> float:
        """Seconds."""
        return 1.0 / self.frequency

    @property
    def mean(self) -> float:
        """V."""
        return self.low + (self.high - self.low) * self.duty

    def at(self, t: Array) -> Array:
        """Return the volts at the times `t`."""
        phase = (t * self.frequency) % 1.0
        if not self.rise:
            return np.where(phase < self.duty, self.high, self.low)
        edge = self.rise / 0.8 * self.frequency
        up = np.clip(phase / edge, 0.0, 1.0)
        down = np.clip((phase - self.duty) / edge, 0.0, 1.0)
        return self.low + (self.high - self.low) * (up - down)


@dataclass
class Pulse:
    """One pulse, and never again."""

    height: float
    start: float
    width: float
    low: float = 0.0
    period: float = math.inf

    @property
    def mean(self) -> float:
        """V."""
        return self.low

    def at(self, t: Array) -> Array:
        """Return the volts at the times `t`."""
        return np.where((t >= self.start) & (t < self.start + self.width), self.height, self.low)


@dataclass
class Input:
    """A channel's input: the signal at the probe's tip, the probe, the noise of the input, and the channel's settings.

    Volts are those that the channel shows: with the probe's ratio that is set, whatever the probe's is.
    """

    signal: Signal
    noise: float = 0.0
    """V rms at the probe's tip, at the full bandwidth."""
    seed: int = 0
    attenuation: float = 10.0
    """The probe's own."""
    probe: float = 10.0
    """The ratio that is set."""
    coupling: str = "DC"
    invert: bool = False
    limited: bool = False
    """Whether the bandwidth is limited to a fifth."""

    def volts(self, t: Array, calm: float = 1.0) -> Array:
        """Return what the channel sees at the times `t`; the noise is divided by `calm`."""
        if self.coupling == "GND":
            return np.zeros(len(t))
        seen = self.signal.at(t)
        if self.coupling == "AC":
            seen = seen - self.signal.mean
        if self.noise:
            calm *= math.sqrt(5.0) if self.limited else 1.0
            seen = seen + self.noise / calm * _normal(t, self.seed)
        factor = self.probe / self.attenuation
        return seen * (-factor if self.invert else factor)

    def crossing(self, level: float, slope: str, begin: float, end: float) -> float | None:
        """Return the last time from `begin` to `end` at which the signal crosses a level, or None.

        `slope` is POS, NEG or RFAL (both).
        """
        begin = max(begin, end - 2.0 * self.signal.period)
        for looks in (LOOKS[math.isfinite(self.signal.period)], *LOOKS_AROUND):
            t = np.linspace(begin, end, looks)
            above = self.volts(t) > level
            up, down = ~above[:-1] & above[1:], above[:-1] & ~above[1:]
            found = np.flatnonzero({"POS": up, "NEG": down}.get(slope, up | down))
            if not len(found):
                return None
            begin, end = t[found[-1]], t[found[-1] + 1]
        return float(end)


def _normal(t: Array, seed: int) -> Array:
    """Return normally distributed numbers that depend on time and seed alone: who looks again sees the same."""
    with np.errstate(over="ignore"):
        x = np.floor(t * 2e9).astype(np.int64).astype(np.uint64) + np.uint64(
            seed * 0x9E3779B97F4A7C15 % 2**64
        )
        x = (x ^ (x >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        x = (x ^ (x >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
        x ^= x >> np.uint64(31)
    # four numbers of 16 bits make a decent bell
    parts = [(x >> np.uint64(shift)) & np.uint64(0xFFFF) for shift in (0, 16, 32, 48)]
    total: Array = np.sum(parts, axis=0)
    return (total / 65535.0 - 2.0) * math.sqrt(3.0)


# What is measured of a trace


@dataclass
class Trace:
    """Volts, `step` seconds apart, from the time `begin`."""

    volts: Array
    step: float
    begin: float
    levels: tuple[float, float] = field(init=False)
    """Base and top: the most frequent values below and above the middle."""

    def __post_init__(self) -> None:
        """Find the levels."""
        low, high = self.volts.min(), self.volts.max()
        middle = (low + high) / 2.0
        self.levels = low, high
        if high > low:
            below, above = self.volts[self.volts <= middle], self.volts[self.volts > middle]
            self.levels = _mode(below, low), _mode(above, high)

    def crossings(self, part: float, rising: bool) -> Array:
        """Return the times at which it crosses a part of the way from base to top, one way, with a hysteresis."""
        base, top = self.levels
        level, band = base + part * (top - base), 0.05 * (top - base)
        state = np.where(self.volts > level + band, 1, np.where(self.volts < level - band, -1, 0))
        known = np.flatnonzero(state)
        if not len(known):
            return np.zeros(0)
        turns = np.flatnonzero(np.diff(state[known]) == (2 if rising else -2))
        before, after = known[turns], known[turns + 1]
        found = []
        for i, j in zip(before, after, strict=True):
            piece = self.volts[i : j + 1]
            found.append(
                self.begin + self.step * np.interp(level, *_sorted(piece, np.arange(i, j + 1), rising))
            )
        return np.array(found)

    def measure(self) -> dict[str, float]:
        """Return what can be measured of it, by the names of the items; what can't be is left out."""
        volts, (base, top) = self.volts, self.levels
        low, high, amplitude = volts.min(), volts.max(), top - base
        items = {
            "VMAX": high, "VMIN": low, "VPP": high - low, "VTOP": top, "VBAS": base, "VAMP": amplitude,
            "VAVG": volts.mean(), "VRMS": math.sqrt((volts**2).mean()), "VARI": volts.var(),
            "VUPP": base + 0.9 * amplitude, "VMID": base + 0.5 * amplitude, "VLOW": base + 0.1 * amplitude,
            "MAR": volts.sum() * self.step,
            "TVMAX": self.begin + self.step * int(volts.argmax()),
            "TVMIN": self.begin + self.step * int(volts.argmin()),
        }  # fmt: skip
        if amplitude > 0:
            items |= {"OVER": (high - top) / amplitude, "PRES": (base - low) / amplitude}
            items |= self._times()
        return {name: float(value) for name, value in items.items()}

    def _times(self) -> dict[str, float]:
        ups, downs = self.crossings(0.5, True), self.crossings(0.5, False)
        items = {"PEDG": float(len(ups)), "NEDG": float(len(downs))}
        widths = {"PWID": _between(ups, downs), "NWID": _between(downs, ups)}
        items |= {name: width for name, width in widths.items() if width is not None}
        items |= {"PPUL": float(_count(ups, downs)), "NPUL": float(_count(downs, ups))}
        edges = ups if len(ups) >= len(downs) else downs
        if len(edges) > 1:
            period = (edges[-1] - edges[0]) / (len(edges) - 1)
            items |= {"PER": period, "FREQ": 1.0 / period}
            items |= {"PDUT": items["PWID"] / period} if "PWID" in items else {}
            items |= {"NDUT": items["NWID"] / period} if "NWID" in items else {}
            first, last = (round((edge - self.begin) / self.step) for edge in (edges[0], edges[1]))
            whole = self.volts[first:last]
            if len(whole):
                items |= {"PVRMS": math.sqrt((whole**2).mean()), "MPAR": whole.sum() * self.step}
        rise = _between(self.crossings(0.1, True), self.crossings(0.9, True))
        fall = _between(self.crossings(0.9, False), self.crossings(0.1, False))
        swing = 0.8 * (self.levels[1] - self.levels[0])
        items |= {"RTIM": rise, "PSL": swing / rise} if rise else {}
        items |= {"FTIM": fall, "NSL": -swing / fall} if fall else {}
        return items


def _mode(volts: Array, extreme: float) -> float:
    values, counts = np.unique(volts, return_counts=True)
    best = int(counts.argmax())
    # a sine has no level that it stays at: its extremes are its base and top
    return float(values[best]) if counts[best] > 0.2 * len(volts) else extreme


def _sorted(volts: Array, where: Array, rising: bool) -> tuple[Array, Array]:
    return (volts, where) if rising else (volts[::-1], where[::-1])


def _between(begins: Array, ends: Array) -> float | None:
    """Return the time from the first of `begins` to the first of `ends` behind it."""
    if len(begins) and len(after := ends[ends > begins[0]]):
        return float(after[0] - begins[0])
    return None


def _count(begins: Array, ends: Array) -> int:
    return int((ends > begins[0]).sum()) if len(begins) else 0
