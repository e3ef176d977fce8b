"""What is set in a source-measure unit of the Keithley 2400 kind, and what it makes of a load.

Source: Series 2400 SourceMeter User's Manual (2400S-900-01 Rev. K), chapters 6 and 18.
"""

import math
import statistics
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from .clock import Clock
from .loads import Load, root
from .scpi_parameters import Parameter, ScpiError, exponential, integer, matches, number, short, string

FULL_SCALE = 1.05
"""Full scale of a range, in units of its name."""
RANGES = {
    "VOLT": (0.2, 2.0, 20.0, 200.0),
    "CURR": (1e-6, 1e-5, 1e-4, 1e-3, 1e-2, 1e-1, 1.0),
    "RES": (20.0, 200.0, 2e3, 2e4, 2e5, 2e6, 2e7, 2e8),
}
MAX_POINTS = 2500
OVER_VOLTAGE_LIMITS = (20.0, 40.0, 60.0, 80.0, 100.0, 120.0, 160.0, 210.0)
LINE = 50.0
"""Hz"""
INFINITE, NOT_A_NUMBER = 9.9e37, 9.91e37
TEST_CURRENT = (0.1, 1e-2, 1e-3, 1e-4, 1e-5, 1e-6, 1e-6, 1e-7)
"""A, of auto ohms, by range."""
MOST_AT_200_V = 0.105
"""A"""
ORDER = ("VOLT", "CURR", "RES", "TIME", "STAT")
"""The elements of a reading."""

OVERRUN, FILTER, FRONT, COMPLIANCE, OVER_VOLTAGE, NULLED = 1, 1 << 1, 1 << 2, 1 << 3, 1 << 4, 1 << 6
AUTO_OHMS, RANGE_COMPLIANCE, OFFSET_COMPENSATION, REMOTE_SENSE = 1 << 10, 1 << 16, 1 << 17, 1 << 22
MEASURES = {"VOLT": 1 << 11, "CURR": 1 << 12, "RES": 1 << 13}
SOURCES = {"VOLT": 1 << 14, "CURR": 1 << 15}
"""Bits of the status word of a reading (18, FORMat:ELEMents)."""
STORING, BLOCKED, TOO_SMALL, READ_BACK, ABOVE_COMPLIANCE, TOO_MUCH_POWER = 800, 802, 822, 823, 824, 826
"""Errors of Keithley's own (appendix B)."""


@dataclass
class Ranged:
    """A quantity with a range, chosen by hand or by the instrument."""

    kind: str
    range: float
    auto: bool = True

    def choose(self, value: float) -> float:
        """Return the full scale of the range that takes a value. Raises ScpiError if there is none."""
        for full in RANGES[self.kind]:
            if abs(value) <= full * FULL_SCALE * (1 + 1e-9):
                return full * FULL_SCALE
        raise ScpiError(-222)

    def neighbour(self, which: str) -> float:
        """Return the full scale of the next range, UP or DOWN, or of this one if there is none."""
        fulls = [full * FULL_SCALE for full in RANGES[self.kind]]
        beyond = [
            full
            for full in fulls
            if (full > self.range * 1.01 if which == "UP" else full < self.range * 0.99)
        ]
        return (beyond or [self.range])[0 if which == "UP" else -1]


@dataclass
class Sourced(Ranged):
    """What is set for one kind of source."""

    level: float = 0.0
    triggered: float = 0.0
    mode: str = "FIX"
    start: float = 0.0
    stop: float = 0.0
    step: float = 0.0
    points: tuple[float, ...] = ()
    """What LIST mode goes through."""

    @property
    def span(self) -> float:
        """From start to stop."""
        return self.stop - self.start

    @span.setter
    def span(self, span: float) -> None:
        self.start, self.stop = self.center - span / 2.0, self.center + span / 2.0

    @property
    def center(self) -> float:
        """Between start and stop."""
        return (self.start + self.stop) / 2.0

    @center.setter
    def center(self, center: float) -> None:
        half = self.span / 2.0
        self.start, self.stop = center - half, center + half


@dataclass
class Sensed(Ranged):
    """What is set for one measurement."""

    compliance: float = 0.0
    lowest: float = 0.0
    highest: float = 0.0
    offset_compensated: bool = False
    ohms_mode: str = "AUTO"


@dataclass
class Layer:
    """What is set for a layer of the trigger model."""

    source: str = "IMM"
    count: float = 1
    delay: float = 0.0
    timer: float = 0.1
    direction: str = "ACC"
    input_line: int = 1
    output_line: int = 2
    output: tuple[str, ...] = ("NONE",)
    input: tuple[str, ...] = ("NONE",)


@dataclass
class Panel:
    """Settings that change nothing in the simulated world."""

    display: bool = True
    digits: int = 6
    text: str = ""
    shows_text: bool = False
    lower_text: str = ""
    shows_lower_text: bool = False
    beeper: bool = True
    frequency: int = 50
    auto_frequency: bool = True
    resets_time: bool = False
    keys_locked: bool = False
    power_on: str = "RST"
    guard: str = "CABL"
    output_enable: bool = False
    outputs: int = 15
    output_lines: int = 4
    outputs_clear: bool = False
    outputs_delay: float = 1e-4
    range_change: str = "SING"
    sreg: str = "ASC"
    order: str = "NORM"


@dataclass
class Settings:
    """All that *RST sets."""

    function: str = "VOLT"
    volts: Sourced = field(default_factory=lambda: Sourced("VOLT", 21.0))
    amperes: Sourced = field(default_factory=lambda: Sourced("CURR", 1.05e-4))
    over_voltage: float = 210.0
    delay: float = 0.001
    auto_delay: bool = True
    auto_off: bool = False
    auto_off_mode: str = "ALW"
    spacing: str = "LIN"
    points: int = MAX_POINTS
    direction: str = "UP"
    ranging: str = "BEST"
    on_compliance: str = "NEV"
    off_state: str = "NORM"
    sense_volts: Sensed = field(default_factory=lambda: Sensed("VOLT", 21.0, compliance=21.0, lowest=0.21))
    sense_amperes: Sensed = field(
        default_factory=lambda: Sensed("CURR", 1.05e-4, compliance=1.05e-4, lowest=1.05e-6)
    )
    sense_ohms: Sensed = field(default_factory=lambda: Sensed("RES", 2.1e5, lowest=21.0, highest=2.1e8))
    synchronised: bool = False
    """Whether a fixed measurement range follows the compliance."""
    holdoff: bool = False
    holdoff_delay: float = 0.0
    functions: tuple[str, ...] = ("CURR",)
    concurrent: bool = True
    nplc: float = 1.0
    filter: bool = False
    filter_count: int = 10
    filter_type: str = "REP"
    remote_sense: bool = False
    auto_zero: bool = True
    elements: tuple[str, ...] = ("VOLT", "CURR", "RES", "TIME", "STAT")
    arm: Layer = field(default_factory=Layer)
    trigger: Layer = field(default_factory=lambda: Layer(input=("SOUR",)))
    calc3: str = "MEAN"
    null_feed: str = "VOLT"
    null: float = 0.0
    nulled: bool = False

    def quantity(self, kind: str) -> Sourced:
        """Return what is set for a kind of source."""
        return self.volts if kind == "VOLT" else self.amperes

    def limits(self) -> tuple[tuple[float, int], tuple[float, int]]:
        """Return the limits in force for volts and amperes, each with its bit: the compliance, or a fixed range."""
        found = []
        for sensed in (self.sense_volts, self.sense_amperes):
            limit, bit = abs(sensed.compliance), COMPLIANCE
            if not sensed.auto and sensed.range < limit and self.function != sensed.kind:
                limit, bit = sensed.range, RANGE_COMPLIANCE
            found.append((limit, bit))
        return found[0], found[1]

    def operate(self, kind: str, level: float, load: Load, lead: float) -> tuple[float, float, int]:
        """Return volts and amperes at the terminals, with the bits of the limit that they are at.

        `lead` is the ohms between the terminals and the load, which four wires make up for.
        """
        lead = 0.0 if self.remote_sense else lead
        (most_volts, volts_bit), (most_amperes, amperes_bit) = self.limits()

        def regulated(inside: float) -> float:
            return inside + lead * load.current(inside)

        if level == 0.0:
            return 0.0, 0.0, 0
        if kind == "VOLT":
            level, bits = math.copysign(min(abs(level), self.over_voltage), level), 0
            if abs(level) == self.over_voltage < OVER_VOLTAGE_LIMITS[-1]:
                bits = OVER_VOLTAGE
            inside = root(lambda volts: regulated(volts) - level, -250.0, 250.0)
            amperes = load.current(inside)
            if abs(amperes) <= most_amperes:
                return level, amperes, bits
            wanted = math.copysign(most_amperes, amperes)
            inside = root(lambda volts: load.current(volts) - wanted, -250.0, 250.0)
            return regulated(inside), wanted, bits | amperes_bit
        inside = root(lambda volts: load.current(volts) - level, -250.0, 250.0)
        if abs(regulated(inside)) <= most_volts and math.isclose(load.current(inside), level, rel_tol=1e-6):
            return regulated(inside), level, 0
        most = math.copysign(most_volts, level)
        inside = root(lambda volts: regulated(volts) - most, -250.0, 250.0)
        return most, load.current(inside), volts_bit


Point = tuple[float, float, float, float, float]
"""Volts, amperes, ohms, seconds, status word."""


def stamped(points: Sequence[Point], how: str) -> list[Point]:
    """Count the time of the readings of a buffer from the first one (ABS), or each from the one before (DELT)."""
    zeros = [points[0], *points[:-1]] if how == "DELT" and points else [points[0] for _ in points]
    return [
        (volts, amperes, ohms, time - zero[3], bits)
        for (volts, amperes, ohms, time, bits), zero in zip(points, zeros, strict=True)
    ]


def statistics_of(points: Sequence[Point], kind: str) -> list[float]:
    """Return the mean (or what `kind` says) of the volts, the amperes and the ohms of a buffer (CALCulate3)."""
    functions: dict[str, Callable[[Sequence[float]], float]] = {
        "MEAN": statistics.fmean,
        "SDEV": statistics.pstdev,
        "MAX": max,
        "MIN": min,
        "PKPK": lambda values: max(values) - min(values),
    }
    columns = list(zip(*points, strict=True))[:3]
    return [NOT_A_NUMBER if NOT_A_NUMBER in column else functions[kind](column) for column in columns]


class SourceMeter:
    """A source-measure unit without its commands."""

    clock: Clock
    set: Settings
    loads: dict[str, Load]
    lead: float
    terminals: str
    output: bool
    panel: Panel
    enable_line: bool
    time_zero: float
    buffer_control: str

    def operate(self, level: float | None = None) -> tuple[float, float, int]:
        """Return volts, amperes and limits at the terminals."""
        function = self.set.function
        level = self.set.quantity(function).level if level is None else level
        return self.set.operate(function, level, self.loads[self.terminals], self.lead)

    def _auto_ohms(self) -> tuple[float, float, float, int]:
        """Return the current that the instrument chooses to measure ohms, and volts, amperes and limits with it."""
        sensed, load = self.set.sense_ohms, self.loads[self.terminals]
        found = (0.0, 0.0, 0.0, 0)
        for full, level in zip(RANGES["RES"], TEST_CURRENT, strict=True):
            found = (level, *self.set.operate("CURR", level, load, self.lead))
            fits = found[2] != 0.0 and found[1] / found[2] <= full * FULL_SCALE
            if fits if sensed.auto else full * FULL_SCALE >= sensed.range * 0.999:
                if sensed.auto:
                    sensed.range = full * FULL_SCALE
                break
        return found

    def measure(self, level: float, elapsed: float) -> Point:
        """Source a level, and return what is measured `elapsed` seconds from now."""
        settings, source = self.set, self.set.function
        bits = FRONT if self.terminals == "FRON" else 0
        bits |= AUTO_OHMS if settings.sense_ohms.ohms_mode == "AUTO" else 0
        if "RES" in settings.functions and settings.sense_ohms.ohms_mode == "AUTO":
            level, volts, amperes, limit = self._auto_ohms()
            source = "CURR"
        else:
            volts, amperes, limit = self.operate(level)
        bits |= limit | SOURCES[source] | sum(MEASURES[name] for name in settings.functions)
        bits |= (FILTER if settings.filter else 0) | (REMOTE_SENSE if settings.remote_sense else 0)
        bits |= NULLED if settings.nulled else 0
        bits |= OFFSET_COMPENSATION if settings.sense_ohms.offset_compensated else 0
        measured = {"VOLT": volts, "CURR": amperes}
        for sensed in (settings.sense_volts, settings.sense_amperes):
            if sensed.auto and sensed.kind != source and sensed.kind in settings.functions:
                sensed.range = max(sensed.choose(measured[sensed.kind]), sensed.choose(sensed.lowest))
        shown = {source: level} | {
            name: value for name, value in measured.items() if name in settings.functions
        }
        ohms = NOT_A_NUMBER
        if "RES" in settings.functions:
            ohms = volts / amperes if amperes else INFINITE
            if abs(ohms) > RANGES["RES"][-1] * FULL_SCALE:
                ohms, bits = INFINITE, bits | OVERRUN
        time = (self.clock.now() + elapsed - self.time_zero) % 99999.999
        return shown.get("VOLT", NOT_A_NUMBER), shown.get("CURR", NOT_A_NUMBER), ohms, time, float(bits)

    def cycle(self) -> float:
        """Return how long a source-delay-measure cycle takes, seconds."""
        settings = self.set
        phases = 3 if settings.auto_zero else 1
        readings = settings.filter_count if settings.filter and settings.filter_type == "REP" else 1
        functions = max(len(settings.functions), 1)
        return settings.trigger.delay + settings.delay + functions * phases * readings * settings.nplc / LINE

    def levels(self) -> list[float]:
        """Return the levels of the cycles that one initiation goes through."""
        settings = self.set
        source = settings.quantity(settings.function)
        if source.mode == "FIX":
            levels = [source.level]
        elif source.mode == "LIST":
            levels = list(source.points) or [source.level]
        else:
            levels = self._staircase(source)
        passes = 1 if math.isinf(settings.arm.count) else int(settings.arm.count)
        count = passes * int(settings.trigger.count)
        return [levels[number % len(levels)] for number in range(count)]

    def _staircase(self, source: Sourced) -> list[float]:
        parts = [number / (self.set.points - 1) for number in range(self.set.points)]
        if self.set.spacing == "LOG":
            if source.start * source.stop <= 0:
                raise ScpiError(-221)
            levels = [source.start * (source.stop / source.start) ** part for part in parts]
        else:
            levels = [source.start + (source.stop - source.start) * part for part in parts]
        return levels[::-1] if self.set.direction == "DOWN" else levels


# What settings do beyond being kept


def _limit_power(volts: float, amperes: float) -> None:
    if abs(volts) > 20.0 * FULL_SCALE and abs(amperes) > MOST_AT_200_V:
        raise ScpiError(TOO_MUCH_POWER)


def _check_power(settings: Settings, source: Sourced, full: float) -> None:
    if source.kind == settings.function == "VOLT":
        _limit_power(full, settings.sense_amperes.compliance)
    elif source.kind == settings.function:
        _limit_power(settings.sense_volts.compliance, full)


def check_level(sim: SourceMeter, source: Sourced, level: float) -> float:
    """Refuse a level beyond a fixed range or the power limit; choose the range."""
    if source.mode != "FIX":
        raise ScpiError(-221)
    if not source.auto and abs(level) > source.range:
        raise ScpiError(-222)
    full = source.choose(level) if source.auto else source.range
    _check_power(sim.set, source, full)
    source.range = full
    return level


def check_source_range(sim: SourceMeter, source: Sourced, value: float | str) -> float:
    """Choose a fixed range, not beyond the power limit; a level beyond it is cut down."""
    full = source.neighbour(value) if isinstance(value, str) else source.choose(value)
    _check_power(sim.set, source, full)
    if full < abs(source.level):
        source.level = math.copysign(full, source.level)
    source.auto = False
    return full


def after_source_auto(sim: SourceMeter, source: Sourced) -> None:
    """Choose the range of the present level."""
    if source.auto:
        source.range = source.choose(source.level)
    follow_source(sim, source)


def follow_source(sim: SourceMeter, _: object) -> None:
    """Measure what is sourced in the range of the source."""
    settings = sim.set
    sensed = settings.sense_volts if settings.function == "VOLT" else settings.sense_amperes
    sensed.range = settings.quantity(settings.function).range


def after_function(sim: SourceMeter, _: object) -> None:
    """Switch the output off; the other range is the source's now."""
    switch_off(sim, None)
    follow_source(sim, None)


def check_sense_range(sim: SourceMeter, sensed: Sensed, value: float | str) -> float:
    """Refuse the range of what is sourced, and one above the compliance; fix it."""
    full = sensed.neighbour(value) if isinstance(value, str) else sensed.choose(value)
    if sensed.kind == sim.set.function:
        raise ScpiError(READ_BACK)
    if sensed.kind != "RES" and full > sensed.choose(sensed.compliance):
        raise ScpiError(ABOVE_COMPLIANCE)
    sensed.auto = False
    return full


def check_sense_auto(sim: SourceMeter, sensed: Sensed, on: bool) -> bool:
    """Refuse to choose ranges for what is sourced: they are the source's."""
    if on and not sensed.auto and sensed.kind == sim.set.function:
        raise ScpiError(READ_BACK)
    return on


def check_compliance(sim: SourceMeter, sensed: Sensed, value: float) -> float:
    """Refuse what is too small for the range, or beyond the power limit."""
    if abs(value) < 0.001 * sensed.range / FULL_SCALE * (1 - 1e-9):
        raise ScpiError(TOO_SMALL)
    source = sim.set.quantity(sim.set.function).range
    if sim.set.function != sensed.kind:
        _limit_power(*((source, value) if sensed.kind == "CURR" else (value, source)))
    full = sensed.choose(value)
    sensed.range = full if sim.set.synchronised and not sensed.auto else min(sensed.range, full)
    return value


def check_counts(sim: SourceMeter, layer: Layer, count: float) -> float:
    """Refuse more cycles than the memory holds; an infinite count is none of them."""
    other = sim.set.trigger if layer is sim.set.arm else sim.set.arm
    if MAX_POINTS < count * other.count < math.inf:
        raise ScpiError(-221)
    return count


def check_output(sim: SourceMeter, _: object, on: bool) -> bool:
    """Refuse to switch the output on while the output enable line, if it matters, is open."""
    if on and sim.panel.output_enable and not sim.enable_line:
        raise ScpiError(BLOCKED)
    return on


def check_over_voltage(sim: SourceMeter, settings: Settings, volts: float) -> float:
    """Choose the next lower limit, or the lowest."""
    if abs(volts) > OVER_VOLTAGE_LIMITS[-2]:
        return OVER_VOLTAGE_LIMITS[-1]
    return max(
        (limit for limit in OVER_VOLTAGE_LIMITS if limit <= abs(volts)), default=OVER_VOLTAGE_LIMITS[0]
    )


def switch_off(sim: SourceMeter, _: object) -> None:
    """Switch the output off."""
    sim.output = False


def check_storing(sim: SourceMeter, _: object, value: Any) -> Any:
    """Refuse changes while the buffer fills."""
    if sim.buffer_control == "NEXT":
        raise ScpiError(STORING)
    return value


def manual_delay(sim: SourceMeter, settings: Settings) -> None:
    """A delay that is set is no automatic one."""
    settings.auto_delay = False


def after_step(sim: SourceMeter, source: Sourced) -> None:
    """Have as many points as there are steps between start and stop."""
    if source.step:
        sim.set.points = min(max(round(abs(source.span / source.step)) + 1, 2), MAX_POINTS)


# Parameters of its own


def over_voltage() -> Parameter:
    """Return a parameter for a limit of the output: volts, or NONE."""
    limits = (OVER_VOLTAGE_LIMITS[0], OVER_VOLTAGE_LIMITS[-1])
    volts = number(-limits[1], limits[1], unit="V")

    def parse(text: str) -> float:
        return limits[1] if text.upper() == "NONE" else float(volts.parse(text))

    return Parameter(parse, exponential(6), limits, limits[1])


def arm_count() -> Parameter:
    """Return a parameter for a count that may be infinite."""
    finite = integer(1, MAX_POINTS)

    def parse(text: str) -> float:
        return math.inf if matches("INFinite", text) else float(finite.parse(text))

    def show(count: float) -> str:
        return exponential(6, "+")(INFINITE) if math.isinf(count) else str(int(count))

    return Parameter(parse, show, (1, MAX_POINTS), 1)


def range_of(highest: float, default: float) -> Parameter:
    """Return a parameter for a range: a value that it takes, UP or DOWN."""
    plain = number(-highest, highest, default)

    def parse(text: str) -> float | str:
        return text.upper() if text.upper() in ("UP", "DOWN") else float(plain.parse(text))

    return Parameter(parse, exponential(6), (0.0, highest), default)


def function_name() -> Parameter:
    """Return a parameter for a measurement function: a text such as "VOLT:DC"."""
    quoted = string()

    def parse(text: str) -> str:
        name = quoted.parse(text).upper().removesuffix(":DC")
        for mnemonic in ("VOLTage", "CURRent", "RESistance"):
            if matches(mnemonic, name):
                return short(mnemonic)
        raise ScpiError(-224)

    return Parameter(parse)
