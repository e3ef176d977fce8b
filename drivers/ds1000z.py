"""Rigol DS1000Z and MSO1000Z digital oscilloscopes with four channels.

Source: MSO1000Z/DS1000Z Programming Guide, chapter 2.
"""

import asyncio
import enum
import math
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from .core import (
    Array,
    Block,
    Bool,
    Channel,
    Channels,
    Command,
    Conversation,
    Enum,
    Fields,
    Float,
    Integer,
    Readback,
    Setpoint,
    reading,
)
from .core.arrays import frozen
from .core.errors import ReplyError
from .scpi import OnOff, Real, ScpiDriver, ScpiLines, Word

SCREEN = 1200
"""Points of a screen (:WAVeform:STARt)."""
MOST_AT_ONCE = 250_000
"""Points that one :WAVeform:DATA? gives, as bytes."""
MEMORY = 1_200_000
"""Points of the memory that are read at most: those in its middle, around the middle of the screen."""
GLANCE = 1000
"""So many points of the memory are looked at to see whether it holds another trace."""

TRIES = 3
"""So often points are read, while something else changes how they are to be read."""


class Coupling(enum.Enum):
    """:CHANnel<n>:COUPling"""

    DC = "DC"
    AC = "AC"
    GND = "GND"


class Unit(enum.Enum):
    """:CHANnel<n>:UNITs"""

    VOLT = "VOLTage"
    WATT = "WATT"
    AMPERE = "AMPere"
    UNKNOWN = "UNKNown"


class TimeMode(enum.Enum):
    """:TIMebase:MODE"""

    MAIN = "MAIN"
    XY = "XY"
    ROLL = "ROLL"


class AcquisitionType(enum.Enum):
    """:ACQuire:TYPE"""

    NORMAL = "NORMal"
    AVERAGES = "AVERages"
    PEAK = "PEAK"
    HIGH_RESOLUTION = "HRESolution"


class Depth(enum.Enum):
    """:ACQuire:MDEPth: with one channel on 12,000 to 24,000,000 points, with two the half, with more a quarter."""

    AUTO = "AUTO"
    POINTS_3000 = "3000"
    POINTS_6000 = "6000"
    POINTS_12000 = "12000"
    POINTS_30000 = "30000"
    POINTS_60000 = "60000"
    POINTS_120000 = "120000"
    POINTS_300000 = "300000"
    POINTS_600000 = "600000"
    POINTS_1200000 = "1200000"
    POINTS_3000000 = "3000000"
    POINTS_6000000 = "6000000"
    POINTS_12000000 = "12000000"
    POINTS_24000000 = "24000000"


class TriggerMode(enum.Enum):
    """:TRIGger:MODE"""

    EDGE = "EDGE"
    PULSE = "PULSe"
    RUNT = "RUNT"
    WINDOW = "WIND"
    NTH_EDGE = "NEDG"
    SLOPE = "SLOPe"
    VIDEO = "VIDeo"
    PATTERN = "PATTern"
    DELAY = "DELay"
    TIMEOUT = "TIMeout"
    DURATION = "DURation"
    SETUP_HOLD = "SHOLd"
    RS232 = "RS232"
    I2C = "IIC"
    SPI = "SPI"


class Sweep(enum.Enum):
    """:TRIGger:SWEep"""

    AUTO = "AUTO"
    NORMAL = "NORMal"
    SINGLE = "SINGle"


class TriggerStatus(enum.Enum):
    """:TRIGger:STATus?"""

    TRIGGERED = "TD"
    WAIT = "WAIT"
    RUN = "RUN"
    AUTO = "AUTO"
    STOP = "STOP"


class Source(enum.Enum):
    """:TRIGger:EDGe:SOURce"""

    CHANNEL1 = "CHANnel1"
    CHANNEL2 = "CHANnel2"
    CHANNEL3 = "CHANnel3"
    CHANNEL4 = "CHANnel4"
    AC_LINE = "AC"


class Slope(enum.Enum):
    """:TRIGger:EDGe:SLOPe"""

    POSITIVE = "POSitive"
    NEGATIVE = "NEGative"
    BOTH = "RFALl"


class TriggerCoupling(enum.Enum):
    """:TRIGger:COUPling"""

    DC = "DC"
    AC = "AC"
    LF_REJECT = "LFReject"
    HF_REJECT = "HFReject"


class Preamble(NamedTuple):
    """:WAVeform:PREamble? Seconds and volts; origin and reference of y in steps of the converter."""

    format: int
    type: int
    points: int
    averages: int
    x_increment: float
    x_origin: float
    x_reference: float
    y_increment: float
    y_origin: float
    y_reference: float


class Trace(NamedTuple):
    """A waveform: volts (float32) at times (float64), seconds from the trigger; the first, and from one to the next."""

    volts: NDArray[Any]
    time: NDArray[Any]
    origin: float
    increment: float


def trace_of(points: int) -> Fields[Trace]:
    """Return the value type of a waveform of so many points at most."""
    return Fields(
        Trace,
        volts=Array(Float("V", "<f4"), points),
        time=Array(Float("s"), points),
        origin=Float("s"),
        increment=Float("s"),
    )


PREAMBLE = Fields(
    Preamble,
    format=Integer(),
    type=Integer(),
    points=Integer(),
    averages=Integer(),
    x_increment=Float(),
    x_origin=Float(),
    x_reference=Float(),
    y_increment=Float(),
    y_origin=Float(),
    y_reference=Float(),
)
ASK = ":WAV:PRE?", PREAMBLE
POINTS = Block(Array(Integer(spec="u1"), MOST_AT_ONCE, separator=""))
SHOWN, STATUS = (":CHAN{ch}:DISP?", OnOff()), (":TRIG:STAT?", Word(TriggerStatus))
DATA = ":WAV:DATA?"
NOTHING = Trace(frozen(np.zeros(0, np.float32)), frozen(np.zeros(0)), 0.0, 0.0)


def convert(points: NDArray[Any], preamble: Preamble, out: NDArray[Any]) -> None:
    """Convert what the converter gave into volts (:WAVeform:YINCrement?)."""
    zero = preamble.y_origin + preamble.y_reference
    np.multiply(points - zero, preamble.y_increment, out=out, casting="same_kind")


def times(count: int, origin: float, increment: float) -> NDArray[Any]:
    """Return the times of so many points."""
    return frozen(np.arange(count) * increment + origin)


def has_times(trace: Trace, count: int, origin: float, increment: float) -> bool:
    """Tell whether a waveform has these times."""
    return (len(trace.time), trace.origin, trace.increment) == (count, origin, increment)


class Seen:
    """What was there when a waveform of a channel was read, to tell whether there is a new one."""

    def __init__(self) -> None:
        self.ran = False
        self.points: NDArray[Any] = POINTS.decode("#10")
        self.preamble: Preamble | None = None

    def is_it(self, points: NDArray[Any], preamble: Preamble) -> bool:
        """Tell whether these points have been seen already."""
        return preamble == self.preamble and np.array_equal(points, self.points)

    def nothing(self, known: Trace | None) -> Trace | None:
        """Return a waveform without a point, None if that is known; what comes then is new."""
        self.preamble = None
        return None if known is not None and not len(known.volts) else NOTHING

    def note(self, points: NDArray[Any], preamble: Preamble) -> None:
        """Keep these points, and that nothing has run since."""
        self.points, self.preamble, self.ran = points, preamble, False


class TimeScale(Real):
    """Seconds in a division: the nearest of 1, 2, 5, 10, ... is sent (:TIMebase[:MAIN]:SCALe)."""

    def __init__(self) -> None:
        super().__init__("s", ".6e", limits=(5e-9, 50))

    def encode(self, value: float) -> str:
        """Return the nearest step."""
        decade = 10.0 ** math.floor(math.log10(value))
        return super().encode(
            min((1, 2, 5, 10), key=lambda part: abs(math.log(part * decade / value))) * decade
        )


def measured(item: str, unit: str, doc: str) -> Readback[float]:
    """Return a measurement of a channel (:MEASure:ITEM?); 9.9E37, infinite, where there is nothing to measure."""
    return Readback(Real(unit), ask=f":MEAS:ITEM? {item},CHAN{{ch}}", doc=doc)


class ScopeChannel(Channel):
    """An analog channel, 1 to 4."""

    display = Setpoint(OnOff(), ask=":CHAN{ch}:DISP?", tell=":CHAN{ch}:DISP {value}", doc="Channel on or off")
    probe = Setpoint(
        Real("", ".6g", limits=(0.01, 1000)),
        ask=":CHAN{ch}:PROB?",
        tell=":CHAN{ch}:PROB {value}",
        doc="Probe ratio: 0.01, 0.02, 0.05, 0.1, ... 1000",
    )
    # with a ratio of 1: 1 mV to 10 V in a division, and 2 V up or down, or 100 V from 0.5 V in a division
    scale = Setpoint(
        Real("V", ".6e", limits=(1e-5, 1e4)),
        ask=":CHAN{ch}:SCAL?",
        tell=":CHAN{ch}:SCAL {value}",
        doc="Volts in a division",
    )
    offset = Setpoint(
        Real("V", ".6e", limits=(-1e5, 1e5)),
        ask=":CHAN{ch}:OFFS?",
        tell=":CHAN{ch}:OFFS {value}",
        doc="Vertical offset",
    )
    coupling = Setpoint(Word(Coupling), ask=":CHAN{ch}:COUP?", tell=":CHAN{ch}:COUP {value}")
    bandwidth_limit = Setpoint(
        Bool("20M", "OFF"),
        ask=":CHAN{ch}:BWL?",
        tell=":CHAN{ch}:BWL {value}",
        doc="Bandwidth limit of 20 MHz",
    )
    invert = Setpoint(OnOff(), ask=":CHAN{ch}:INV?", tell=":CHAN{ch}:INV {value}")
    unit = Setpoint(
        Word(Unit), ask=":CHAN{ch}:UNIT?", tell=":CHAN{ch}:UNIT {value}", doc="Of what the probe measures"
    )

    vpp = measured("VPP", "V", "Peak to peak")
    vmax = measured("VMAX", "V", "Highest voltage")
    vmin = measured("VMIN", "V", "Lowest voltage")
    amplitude = measured("VAMP", "V", "From base to top")
    average = measured("VAVG", "V", "Mean of the screen")
    rms = measured("VRMS", "V", "Root mean square of the screen")
    frequency = measured("FREQ", "Hz", "Frequency")
    period = measured("PER", "s", "Period")
    rise_time = measured("RTIM", "s", "From 10 to 90 percent")
    fall_time = measured("FTIM", "s", "From 90 to 10 percent")
    width = measured("PWID", "s", "Of a positive pulse")
    duty = measured("PDUT", "", "Positive width to period, 0 to 1")

    def __init__(self, driver: ScpiDriver, path: str, key: str | int) -> None:
        super().__init__(driver, path, key)
        self._on_screen, self._in_memory = Seen(), Seen()

    @reading(
        trace_of(SCREEN),
        STATUS[0],
        ":WAV:SOUR CHAN{ch}",
        DATA,
        timeout=3.0,
    )
    async def screen(self, talk: Conversation) -> Trace | None:
        """The waveform on the screen."""
        seen = self._on_screen
        [is_shown, status] = await talk(SHOWN, STATUS)
        known = self.screen.value if talk.is_fresh else None
        if not is_shown:
            return seen.nothing(known)
        runs = status is not TriggerStatus.STOP
        _, preamble, points = await self._read(talk, "NORM", 1, SCREEN)
        if not len(points):
            return seen.nothing(known)
        is_new = status in (TriggerStatus.TRIGGERED, TriggerStatus.AUTO) or (seen.ran and not runs)
        if known is not None and not is_new and seen.is_it(points, preamble):
            seen.ran = seen.ran or runs
            return None
        seen.note(points, preamble)
        seen.ran = runs
        volts = np.empty(len(points), np.float32)
        convert(points, preamble, volts)
        axis = len(points), preamble.x_origin, preamble.x_increment
        time = known.time if known is not None and has_times(known, *axis) else times(*axis)
        return Trace(frozen(volts), time, *axis[1:])

    @reading(
        trace_of(MEMORY),
        STATUS[0],
        ":WAV:SOUR CHAN{ch}",
        ":WAV:STAR {first}",
        DATA,
        timeout=10.0,
    )
    async def memory(self, talk: Conversation) -> Trace | None:
        """The waveform in the memory, while the oscilloscope is stopped; 250,000 points at a time."""
        seen = self._in_memory
        [is_shown, status] = await talk(SHOWN, STATUS)
        known = self.memory.value if talk.is_fresh else None
        if not is_shown:
            return seen.nothing(known)
        if status is not TriggerStatus.STOP:
            seen.ran = True
            return None
        [preamble] = await talk(*_selection("RAW"), ASK)
        count = min(preamble.points, MEMORY)
        if not count:
            return seen.nothing(known)
        begin = (preamble.points - count) // 2 + 1
        end = begin + count - 1
        at = begin + max(0, count - GLANCE) // 2
        glance = at, min(at + GLANCE - 1, end)
        _, _, few = await self._read(talk, "RAW", *glance)
        if known is not None and not seen.ran and seen.is_it(few, preamble):
            return None
        volts, points = np.empty(count, np.float32), few
        parts = [(first, min(first + MOST_AT_ONCE - 1, end)) for first in range(begin, end + 1, MOST_AT_ONCE)]
        for first, last in (*parts, glance):
            status, now, points = await self._read(talk, "RAW", first, last)
            if status is not TriggerStatus.STOP or now != preamble:
                seen.ran = True  # somebody let it run, and what is there now belongs to another trace
                return None
            if len(points) != last - first + 1:
                raise ReplyError(
                    f"{self.path}memory: {len(points)} points came instead of {last - first + 1}"
                )
            convert(points, preamble, volts[first - begin : last - begin + 1])
        if not np.array_equal(points, few):
            seen.ran = True  # it ran between two parts, and stopped again
            return None
        seen.note(few, preamble)
        axis = count, preamble.x_origin + (begin - 1) * preamble.x_increment, preamble.x_increment
        if known is not None and has_times(known, *axis):
            time = known.time
        else:
            time = await asyncio.to_thread(times, *axis)
        return Trace(frozen(volts), time, *axis[1:])

    async def _read(
        self, talk: Conversation, mode: str, first: int, last: int
    ) -> tuple[TriggerStatus, Preamble, NDArray[Any]]:
        """Return the status, the preamble and the points, which belong together.

        Raises ReplyError if they never do: the front panel or another program changes something meanwhile.
        """
        part = f":WAV:STAR {first}", f":WAV:STOP {last}"
        for _ in range(TRIES):
            [status, before, points, source, after] = await talk(
                STATUS, *_selection(mode), *part, ASK, (DATA, POINTS), (":WAV:SOUR?", Word(Source)), ASK
            )
            # while it rolls, the time of the first point changes by itself
            if source.value == f"CHANnel{self.key}" and before._replace(x_origin=after.x_origin) == after:
                return status, before, points
        raise ReplyError(f"{self.path.rstrip('.')}: the waveform was set up differently while it was read")


def _selection(mode: str) -> tuple[str, ...]:
    return ":WAV:SOUR CHAN{ch}", f":WAV:MODE {mode}", ":WAV:FORM BYTE"


class DS1000Z(ScpiDriver):
    """Rigol DS1000Z or MSO1000Z digital oscilloscope."""

    protocol = ScpiLines(
        timeout=2.0,
        identify=("*IDN?", r"RIGOL TECHNOLOGIES,(DS|MSO)1\d\d4Z"),
        max_message=MOST_AT_ONCE + 100,
    )

    scopes = Channels(ScopeChannel, (1, 2, 3, 4))

    time_scale = Setpoint(
        TimeScale(), ask=":TIM:SCAL?", tell=":TIM:SCAL {value}", doc="Seconds in a division: 1, 2, 5, 10, ..."
    )
    time_offset = Setpoint(
        Real("s", ".6e", limits=(-300, 5000)),
        ask=":TIM:OFFS?",
        tell=":TIM:OFFS {value}",
        doc="Of the screen from the trigger",
    )
    time_mode = Setpoint(Word(TimeMode), ask=":TIM:MODE?", tell=":TIM:MODE {value}")

    sample_rate = Readback(Real("Hz"), ask=":ACQ:SRAT?")
    depth = Setpoint(
        Enum(Depth),
        ask=":ACQ:MDEP?",
        tell=":ACQ:MDEP {value}",
        refreshes=[sample_rate],
        doc="Points in the memory of each channel",
    )
    acquisition_type = Setpoint(Word(AcquisitionType), ask=":ACQ:TYPE?", tell=":ACQ:TYPE {value}")
    averages = Setpoint(
        Integer(limits=(2, 1024)),
        ask=":ACQ:AVER?",
        tell=":ACQ:AVER {value}",
        doc="Averages: 2, 4, 8, ... 1024",
    )

    status = Readback(Word(TriggerStatus), ask=":TRIG:STAT?")
    trigger_mode = Setpoint(Word(TriggerMode), ask=":TRIG:MODE?", tell=":TRIG:MODE {value}")
    sweep = Setpoint(Word(Sweep), ask=":TRIG:SWE?", tell=":TRIG:SWE {value}", refreshes=[status])
    source = Setpoint(
        Word(Source), ask=":TRIG:EDG:SOUR?", tell=":TRIG:EDG:SOUR {value}", doc="Source of the edge trigger"
    )
    slope = Setpoint(
        Word(Slope), ask=":TRIG:EDG:SLOP?", tell=":TRIG:EDG:SLOP {value}", doc="Slope of the edge trigger"
    )
    level = Setpoint(
        Real("V", ".6e", limits=(-1.5e5, 1.5e5)),
        ask=":TRIG:EDG:LEV?",
        tell=":TRIG:EDG:LEV {value}",
        doc="Level of the edge trigger",
    )
    trigger_coupling = Setpoint(Word(TriggerCoupling), ask=":TRIG:COUP?", tell=":TRIG:COUP {value}")
    holdoff = Setpoint(
        Real("s", ".6e", limits=(1.6e-8, 10)),
        ask=":TRIG:HOLD?",
        tell=":TRIG:HOLD {value}",
        doc="Before the next trigger",
    )
    noise_reject = Setpoint(OnOff(), ask=":TRIG:NREJ?", tell=":TRIG:NREJ {value}")

    run = Command(tell=":RUN", refreshes=[status, sweep], doc="Acquire")
    stop = Command(tell=":STOP", refreshes=[status], doc="Stop acquiring")
    single = Command(tell=":SING", refreshes=[status, sweep], doc="Wait for one trigger, then stop")
    force = Command(tell=":TFOR", refreshes=[status], doc="Trigger now")
    clear = Command(tell=":CLE", doc="Clear the screen")
    autoscale = Command(
        tell=":AUT",
        refreshes=[time_scale, time_offset, status, sweep, source, slope, level, sample_rate],
        timeout=10.0,
        doc="Set everything for the signals that are there",
    )
