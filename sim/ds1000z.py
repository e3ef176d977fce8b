"""Rigol DS1000Z digital oscilloscope with four channels, and a probe at its own compensation output.

Source: MSO1000Z/DS1000Z Programming Guide, chapter 2; docs/instruments/ds1000z.md gives the facts and says which
of them are not confirmed.
"""

import math
from collections import defaultdict
from dataclasses import dataclass, replace
from typing import Any, ClassVar

import numpy as np

from .core import Clock, Faults
from .core.oscilloscope import Input, Signal, Sine, Square, Trace
from .ds1000z_acquisition import (
    COLUMNS,
    DEPTHS,
    LEVELS,
    MIDDLE,
    ROWS,
    SCREEN,
    Acquirer,
    Channel,
    TimeBase,
    Trigger,
    converted,
    origin,
)
from .ds1000z_screen import FORMATS, draw
from .ds1000z_stored import SOURCES, defaults, settings, stored
from .scpi import (
    ERRORS,
    Command,
    Parameter,
    ScpiError,
    ScpiSimulator,
    Setting,
    boolean,
    choice,
    integer,
    number,
)

MOST = {"BYTE": 250_000, "WORD": 125_000, "ASC": 15_625}
"""Points that one :WAVeform:DATA? gives."""
PROBES = (0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0, 20.0, 50.0, 100.0, 200.0, 500.0, 1000.0)
INVALID = 9.9e37
"""A measurement that can't be had."""

PULSE_MODES = (
    "EDGE",
    "PULSe",
    "RUNT",
    "WIND",
    "NEDG",
    "SLOPe",
    "VIDeo",
    "PATTern",
    "DELay",
    "TIMeout",
    "DURation",
)
MODES = (*PULSE_MODES, "SHOLd", "RS232", "IIC", "SPI")
ITEMS = (
    "VMAX VMIN VPP VTOP VBASe VAMP VAVG VRMS OVERshoot PREShoot MARea MPARea PERiod FREQuency RTIMe FTIMe PWIDth NWIDth"
    " PDUTy NDUTy RDELay FDELay RPHase FPHase TVMAX TVMIN PSLEWrate NSLEWrate VUPper VMID VLOWer VARIance PVRMS PPULses"
    " NPULses PEDGes NEDGes"
).split()
SWEEP = choice("AUTO", "NORMal", "SINGle")


def nr3(value: float) -> str:
    """Show a number as the guide does: 1.000000e-01; what can't be measured is 9.9E37."""
    return "9.9E37" if value == INVALID else f"{value + 0.0:.6e}"


def real(low: float = -math.inf, high: float = math.inf, unit: str = "") -> Parameter:
    """Return a parameter for a number; the guide knows no MIN, MAX and DEF."""
    return replace(number(low, high, unit=unit, show=nr3), bounds=None)


def or_default(parameter: Parameter) -> Parameter:
    """Return a parameter that takes what it doesn't know as if it had been left off."""

    def parse(text: str) -> Any:
        try:
            return parameter.parse(text)
        except ScpiError:
            return None

    return replace(parameter, parse=parse)


STORED = stored(real)


def step_125(value: float) -> float:
    """Return the nearest of 1, 2, 5, 10, ..."""
    decade = 10.0 ** math.floor(math.log10(value))
    return min((decade * part for part in (1, 2, 5, 10)), key=lambda step: abs(math.log(step / value)))


@dataclass
class Reading:
    """What :WAVeform reads, and how."""

    source: str = "CHAN1"
    mode: str = "NORM"
    format: str = "BYTE"
    start: int = 1
    stop: int = SCREEN


class DS1000Z(ScpiSimulator):
    """The oscilloscope. Change what it looks at by `inputs[n].signal`."""

    error_texts: ClassVar[dict[int, str]] = ERRORS | {-113: "Undefined header; keyword cannot be found"}

    def __init__(self, *, clock: Clock | None = None, faults: Faults | None = None) -> None:
        """Switch it on, running, with the probe of channel 1 at the compensation output: 3 V, 1 kHz, and triggered."""
        super().__init__(clock=clock, faults=faults)
        signals: tuple[Signal, ...] = (
            Square(0.0, 3.0, 1000.0, rise=1e-7),
            Sine(1.0, 50.0),
            Sine(0.5, 1e6, mean=0.2),
            Sine(0.0, 1.0),
        )
        self.inputs = {n: Input(signal, noise=0.02, seed=n) for n, signal in enumerate(signals, 1)}
        self._world = self._simulated
        self.reset()
        self.scope.time.scale, self.scope.trigger.level = 2e-4, 1.5
        for _ in range(2):
            self.advance(self.step)

    def reset(self) -> None:
        """Set everything as the factory did (*RST), and run."""
        for source in self.inputs.values():
            source.probe, source.coupling, source.invert, source.limited = 10.0, "DC", False, False
        self.scope = Acquirer(self.inputs, self._world)
        self.wave = Reading()
        self.stored = defaults(STORED)
        self.measured, self.counter, self.all_measured = "CHAN1", "OFF", ("CHAN1",)
        self.statistics: dict[tuple[str, ...], list[float]] = defaultdict(list)

    def catch_up(self) -> None:
        """Come to the present time, also within a step: a trigger is seen by the next question."""
        super().catch_up()
        rest = self.clock.now() - self._simulated
        if rest > self.step / 5:
            self._simulated += rest
            self.advance(rest)

    def advance(self, dt: float) -> None:
        """Let `dt` seconds pass: it acquires."""
        self._world += dt
        self.scope.advance(self._world, dt)

    @property
    def identity(self) -> str:
        """The reply to *IDN?."""
        return "RIGOL TECHNOLOGIES,DS1104Z,DS1ZA000000001,00.04.04.SP4"

    @Command(":ACQuire:MDEPth?")
    def _depth(self) -> str:
        return str(self.scope.depth) if self.scope.depth_level else "AUTO"

    @Command(
        ":ACQuire:MDEPth <mdep>", choice("AUTO", *(str(depth // n) for depth in DEPTHS for n in (1, 2, 4)))
    )
    def _set_depth(self, text: str) -> None:
        depths = ["AUTO", *(str(depth // self.scope.share) for depth in DEPTHS)]
        if text not in depths:
            raise ScpiError(-222)
        self.scope.depth_level = depths.index(text)

    @Command(":ACQuire:SRATe?")
    def _rate(self) -> str:
        return nr3(self.scope.rate)

    # Waveforms (:WAVeform)

    @property
    def _reads_memory(self) -> bool:
        return self.wave.mode == "RAW" or (self.wave.mode == "MAX" and not self.scope.running)

    def _axis(self) -> tuple[int, float, float]:
        """Return how many points there are, the time between two, and that of the first from the trigger, s."""
        acquisition, source = self.scope.acquisition, self.wave.source
        if acquisition is None or source == "MATH" or not self.scope.channels[int(source[-1])].display:
            return 0, self.scope.time.scale / 100, 0.0
        if self._reads_memory:
            points = 0 if self.scope.running else acquisition.depth
            return points, 1 / acquisition.rate, acquisition.begin
        step = self.scope.time.scale / 100
        left = self.scope.time.offset - SCREEN / 2 * step
        begin = max(left, acquisition.begin)
        end = min(left + SCREEN * step, acquisition.begin + acquisition.depth / acquisition.rate)
        return max(0, round((end - begin) / step)), step, begin

    def _before(self) -> int:
        """Return how many points have no value on the left of the screen, since the trace begins in it."""
        points, step, begin = self._axis()
        if self._reads_memory or not points:
            return 0
        return round((begin - self.scope.time.offset) / step + SCREEN / 2)

    def _settings(self) -> Channel:
        """The settings by which the source's points are to be read."""
        channel = int(self.wave.source[-1]) if self.wave.source != "MATH" else 1
        if self._reads_memory and self.scope.acquisition is not None:
            return self.scope.acquisition.channels[channel]
        return self.scope.channels[channel]

    def codes(self) -> Any:
        """Return the points from start to stop, as numbers from 0 to 255."""
        points, step, begin = self._axis()
        before = self._before()
        first, last = max(0, self.wave.start - 1 - before), min(self.wave.stop - before, points)
        if self.scope.acquisition is None or last <= first:
            return np.zeros(0, np.uint8)
        if last - first > MOST[self.wave.format]:
            last = first + MOST[self.wave.format]
        channel = int(self.wave.source[-1])
        codes = self.scope.acquisition.codes(channel, begin + step * np.arange(first, last))
        stored, shown = self.scope.acquisition.channels[channel], self._settings()
        if (stored.scale, stored.offset) != (shown.scale, shown.offset):
            volts = (codes - float(origin(stored) + MIDDLE)) * stored.scale / LEVELS
            codes = converted(volts, shown)
        return codes

    @Command(":WAVeform:DATA?")
    def _data(self) -> str:
        codes, settings = self.codes(), self._settings()
        if self.wave.format == "ASC":
            volts = (codes - float(origin(settings) + MIDDLE)) * settings.scale / LEVELS
            data = ",".join(map(nr3, volts))
        else:
            data = codes.astype("<u2" if self.wave.format == "WORD" else "u1").tobytes().decode("latin-1")
        return f"#9{len(data):09d}{data}"

    @Command(":WAVeform:PREamble?")
    def _preamble(self) -> str:
        points, step, begin = self._axis()
        settings = self._settings()
        kind = ("BYTE", "WORD", "ASC").index(self.wave.format), ("NORM", "MAX", "RAW").index(self.wave.mode)
        count = self.scope.averages if self.scope.type == "AVER" else 1
        x = f"{nr3(step)},{nr3(begin)},0"
        return f"{kind[0]},{kind[1]},{points},{count},{x},{nr3(settings.scale / LEVELS)},{origin(settings)},{MIDDLE}"

    @Command(":WAVeform:POINts?")
    def _points(self) -> str:
        return str(self._axis()[0])

    @Command(":WAVeform:POINts <points>", integer(1, DEPTHS[-1]))
    def _set_points(self, points: int) -> None:
        """It has no effect."""

    @Command(":WAVeform:XINCrement?")
    def _x_increment(self) -> str:
        return nr3(self._axis()[1])

    @Command(":WAVeform:XORigin?")
    def _x_origin(self) -> str:
        return nr3(self._axis()[2])

    @Command(":WAVeform:XREFerence?")
    def _x_reference(self) -> str:
        return "0"

    @Command(":WAVeform:YINCrement?")
    def _y_increment(self) -> str:
        return nr3(self._settings().scale / LEVELS)

    @Command(":WAVeform:YORigin?")
    def _y_origin(self) -> str:
        return str(origin(self._settings()))

    @Command(":WAVeform:YREFerence?")
    def _y_reference(self) -> str:
        return str(MIDDLE)

    def _check_point(self, wave: Reading, point: int) -> int:
        if point > (DEPTHS[-1] if self._reads_memory else SCREEN):
            raise ScpiError(-222)
        points, before = self._axis()[0], self._before()
        return point if self._reads_memory or not points else min(max(point, before + 1), before + points)

    def _after_mode(self, wave: Reading) -> None:
        if not self._reads_memory:
            wave.start, wave.stop = min(wave.start, SCREEN), min(wave.stop, SCREEN)

    # Measurements (:MEASure)

    def measure(self, item: str, source: str) -> float:
        """Return a measurement of what the screen shows; 9.9E37 if there is none."""
        before, self.wave = self.wave, Reading(source)
        try:
            (points, step, begin), codes, settings = self._axis(), self.codes(), self._settings()
        finally:
            self.wave = before
        if not points:
            return INVALID
        volts = (codes - float(origin(settings) + MIDDLE)) * settings.scale / LEVELS
        return Trace(volts, step, begin).measure().get(item, INVALID)

    def _source(self, source: str | None) -> str:
        return source or self.measured

    @Command(
        ":MEASure:ITEM? <item>[,<src>[,<src>]]",
        choice(*ITEMS),
        choice(*SOURCES, "MATH"),
        rest=True,
        optional=1,
    )
    def _item(self, item: str, source: str | None, *_: str) -> str:
        return nr3(self.measure(item, self._source(source)))

    @Command(
        ":MEASure:ITEM <item>[,<src>[,<src>]]",
        choice(*ITEMS),
        choice(*SOURCES, "MATH"),
        rest=True,
        optional=1,
    )
    def _set_item(self, item: str, source: str | None, *_: str) -> None:
        self.measured = self._source(source)

    @Command(
        ":MEASure:STATistic:ITEM? <type>,<item>[,<src>[,<src>]]",
        choice("MAXimum", "MINimum", "CURRent", "AVERages", "DEViation"),
        choice(*ITEMS),
        choice(*SOURCES, "MATH"),
        rest=True,
        optional=1,
    )
    def _statistic(self, kind: str, item: str, source: str | None, *_: str) -> str:
        value = self.measure(item, self._source(source))
        seen = self.statistics[item, self._source(source)]
        if value != INVALID:
            seen.append(value)
        if kind == "CURR" or not seen:
            return nr3(value)
        results = {
            "MAX": max(seen),
            "MIN": min(seen),
            "AVER": float(np.mean(seen)),
            "DEV": float(np.std(seen)),
        }
        return nr3(results[kind])

    @Command(
        ":MEASure:STATistic:ITEM <item>[,<src>]",
        choice(*ITEMS),
        choice(*SOURCES, "MATH"),
        rest=True,
        optional=1,
    )
    def _set_statistic(self, item: str, source: str | None, *_: str) -> None:
        self.measured = self._source(source)

    @Command(":MEASure:STATistic:RESet")
    def _reset_statistics(self) -> None:
        self.statistics.clear()

    @Command(":MEASure:CLEar <item>", choice("ALL", *(f"ITEM{n}" for n in range(1, 6))), optional=1)
    def _clear_items(self, item: str | None) -> None:
        """The screen shows them no more."""

    @Command(":MEASure:RECover <item>", choice("ALL", *(f"ITEM{n}" for n in range(1, 6))), optional=1)
    def _recover_items(self, item: str | None) -> None:
        """The screen shows them again."""

    @Command(":MATH:RESet")
    def _reset_math(self) -> None:
        """The scale of what isn't shown."""

    @Command(":MEASure:COUNter:VALue?")
    def _counter(self) -> str:
        return nr3(INVALID if self.counter == "OFF" else self.measure("FREQ", self.counter))

    # Control

    @Command(":RUN")
    def _run(self) -> None:
        self.scope.run()

    @Command(":STOP")
    def _stop(self) -> None:
        self.scope.running = False

    @Command(":SINGle")
    def _single(self) -> None:
        self.scope.single()

    @Command(":TFORce")
    def _force(self) -> None:
        self.scope.force()

    @Command(":CLEar")
    def _clear(self) -> None:
        self.scope.acquisition = None

    @Command(":AUToscale")
    def _autoscale(self) -> None:
        """Show every channel with a signal, in two thirds of the screen, and two to three periods of the first."""
        for n, channel in self.scope.channels.items():
            period = min(channel.input.signal.period, 1.0)
            volts = channel.input.volts(np.linspace(self.scope.now, self.scope.now + period, 1000), 1e9)
            swing = float(volts.max() - volts.min())
            channel.display = swing > 0.1
            if not channel.display:
                continue
            channel.scale = step_125(swing / 4)
            channel.offset = -channel.scale * round(float(volts.max() + volts.min()) / 2 / channel.scale)
            if self.scope.trigger.source == f"CHAN{n}" or n == 1:
                self.scope.trigger.source, self.scope.trigger.level = (
                    f"CHAN{n}",
                    float(volts.max() + volts.min()) / 2,
                )
                self.scope.time.scale = step_125(min(max(2.5 * period / COLUMNS, 5e-9), 50.0))
        self.scope.time.offset = 0.0
        self.scope.trigger.mode, self.scope.trigger.sweep = "EDGE", "AUTO"
        self.scope.run()

    @Command(":CALibrate:STARt")
    def _calibrate(self) -> None:
        """It is calibrated."""

    @Command(":CALibrate:QUIT")
    def _quit_calibration(self) -> None:
        """Nothing is going on."""

    @Command(":DISPlay:CLEar")
    def _clear_display(self) -> None:
        self.scope.acquisition = None

    @Command(
        ":DISPlay:DATA? [<color>,<invert>,<format>]",
        or_default(boolean()),
        or_default(boolean()),
        or_default(choice(*FORMATS)),
        optional=3,
    )
    def _picture(self, color: bool | None, invert: bool | None, format_: str | None) -> str:
        traces, before = [], self.wave
        for channel in self.scope.channels:
            self.wave = Reading(f"CHAN{channel}")
            traces.append((channel, self.codes()))
        self.wave = before
        pixels = draw(traces, color=color is not False, invert=bool(invert))
        data = FORMATS[format_ or "BMP24"](pixels).decode("latin-1")
        return f"#9{len(data):09d}{data}"

    @Command(":TRIGger:STATus?")
    def _status(self) -> str:
        return self.scope.status

    @Command(":TRIGger:POSition?")
    def _position(self) -> str:
        if self.scope.acquisition is None:
            return "-2"
        position = round(-self.scope.acquisition.begin * self.scope.acquisition.rate)
        return str(position) if 0 < position < self.scope.acquisition.depth else "-1"

    @Command(":SYSTem:GAM?")
    def _grids(self) -> str:
        return str(COLUMNS)

    @Command(":SYSTem:RAM?")
    def _analog_channels(self) -> str:
        return str(len(self.scope.channels))

    @Command(":SYSTem:VERSion?")
    def _version(self) -> str:
        return "1999.0"

    # What may be set

    def _adjust_channel(self, channel: Channel, scale: float) -> float:
        if not 0.999e-3 <= scale / channel.input.probe <= 10.001:
            raise ScpiError(-222)
        return scale

    def _adjust_range(self, channel: Channel, volts: float) -> float:
        return self._adjust_channel(channel, volts / ROWS) * ROWS

    def _adjust_offset(self, channel: Channel, offset: float) -> float:
        most = 100.0 if channel.scale / channel.input.probe >= 0.5 else 2.0
        if abs(offset) > most * channel.input.probe:
            raise ScpiError(-222)
        return offset

    def _adjust_probe(self, channel: Channel, ratio: float) -> float:
        if ratio not in PROBES:
            raise ScpiError(-224)
        return ratio

    def _adjust_delay(self, time: TimeBase, offset: float) -> float:
        if not -COLUMNS / 2 * time.scale <= offset <= (1.0 if time.scale < 0.02 else 5000.0):
            raise ScpiError(-222)
        return offset

    def _adjust_step(self, time: TimeBase, scale: float) -> float:
        return step_125(scale)

    def _adjust_level(self, trigger: Trigger, level: float) -> float:
        if trigger.source != "AC":
            channel = self.scope.channels[int(trigger.source[-1])]
            if abs(level + channel.offset) > 5.001 * channel.scale:
                raise ScpiError(-222)
        return level

    def _adjust_averages(self, _: object, count: int) -> int:
        if count & (count - 1):
            raise ScpiError(-224)
        return count

    def _adjust_sweep(self, trigger: Trigger, sweep: str) -> str:
        if sweep == "SING":
            self.scope.single()
        return sweep

    # fmt: off
    settings: ClassVar[tuple[Setting, ...]] = (
        Setting(":CHANnel<n>:BWLimit <type>", "bandwidth", choice("20M", "OFF"), of="scope.channels"),
        Setting(":CHANnel<n>:COUPling <coupling>", "input.coupling", choice("AC", "DC", "GND"), of="scope.channels"),
        Setting(":CHANnel<n>:DISPlay <bool>", "display", boolean(), of="scope.channels"),
        Setting(":CHANnel<n>:INVert <bool>", "input.invert", boolean(), of="scope.channels"),
        # not in the guide, and used: OFF, AVE, and the level without EDGe
        Setting(":CHANnel<n>:{OFF|OFFSet} <v>", "offset", real(unit="V"), of="scope.channels", adjust=_adjust_offset),
        Setting(":CHANnel<n>:RANGe <range>", "range", real(unit="V"), of="scope.channels", adjust=_adjust_range),
        Setting(":CHANnel<n>:SCALe <scale>", "scale", real(unit="V"), of="scope.channels", adjust=_adjust_channel),
        Setting(":CHANnel<n>:TCAL <val>", "delay", real(-1e-7, 1e-7, unit="s"), of="scope.channels"),
        Setting(":CHANnel<n>:PROBe <a>", "probe", real(0.01, 1000), of="scope.channels", adjust=_adjust_probe),
        Setting(":CHANnel<n>:UNITs <u>", "unit", choice("VOLTage", "WATT", "AMPere", "UNKNown"), of="scope.channels"),
        Setting(":CHANnel<n>:VERNier <bool>", "vernier", boolean(), of="scope.channels"),
        Setting(":TIMebase:DELay:ENABle <bool>", "scope.time.zoom", boolean()),
        Setting(":TIMebase:DELay:OFFSet <offset>", "scope.time.zoom_offset", real(unit="s")),
        Setting(":TIMebase:DELay:SCALe <scale>", "scope.time.zoom_scale", real(1e-9, 50, unit="s")),
        Setting(":TIMebase[:MAIN]:OFFSet <s>", "offset", real(unit="s"), of="scope.time", adjust=_adjust_delay),
        Setting(":TIMebase[:MAIN]:SCALe <s>", "scale", real(5e-9, 50, unit="s"), of="scope.time", adjust=_adjust_step),
        Setting(":TIMebase:MODE <mode>", "scope.time.mode", choice("MAIN", "XY", "ROLL")),
        Setting(":ACQuire:{AVE|AVERages} <n>", "scope.averages", integer(2, 1024, 2), adjust=_adjust_averages),
        Setting(":ACQuire:TYPE <type>", "scope.type", choice("NORMal", "AVERages", "PEAK", "HRESolution")),
        Setting(":TRIGger:MODE <mode>", "scope.trigger.mode", choice(*MODES)),
        Setting(":TRIGger:COUPling <couple>", "scope.trigger.coupling", choice("AC", "DC", "LFReject", "HFReject")),
        Setting(":TRIGger:SWEep <sweep>", "sweep", SWEEP, of="scope.trigger", adjust=_adjust_sweep),
        Setting(":TRIGger:HOLDoff <value>", "scope.trigger.holdoff", real(1.6e-8, 10, unit="s")),
        Setting(":TRIGger:NREJect <bool>", "scope.trigger.noise_reject", boolean()),
        Setting(":TRIGger:EDGe:SOURce <source>", "scope.trigger.source", choice(*SOURCES, "AC")),
        Setting(":TRIGger:EDGe:SLOPe <slope>", "scope.trigger.slope", choice("POSitive", "NEGative", "RFALl")),
        Setting(":TRIGger[:EDGe]:LEVel <level>", "level", real(unit="V"), of="scope.trigger", adjust=_adjust_level),
        Setting(":WAVeform:SOURce <source>", "wave.source", choice(*SOURCES, "MATH")),
        Setting(":WAVeform:MODE <mode>", "mode", choice("NORMal", "MAXimum", "RAW"), of="wave", then=_after_mode),
        Setting(":WAVeform:FORMat <format>", "wave.format", choice("WORD", "BYTE", "ASCii")),
        Setting(":WAVeform:STARt <sta>", "start", integer(1, DEPTHS[-1]), of="wave", adjust=_check_point),
        Setting(":WAVeform:STOP <stop>", "stop", integer(1, DEPTHS[-1]), of="wave", adjust=_check_point),
        Setting(":MEASure:SOURce <sour>", "measured", choice(*SOURCES, "MATH")),
        Setting(":MEASure:AMSource <src>[,<src>]...", "all_measured", choice(*SOURCES, "MATH"), many=True),
        Setting(":MEASure:COUNter:SOURce <sour>", "counter", choice(*SOURCES, "OFF")),
        *settings(STORED),
    )
    # fmt: on
