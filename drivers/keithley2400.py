"""Keithley 2400 source-measure unit, and its successors where they speak its commands.

Source: Series 2400 SourceMeter User's Manual (2400S-900-01 Rev. K): chapters 11 trigger model, 14 remote operation,
15 status, 17 READ? and FETCh?, 18 commands; appendix B errors.
"""

import math
from enum import Enum as States
from enum import IntFlag
from typing import Any, NamedTuple

import numpy as np

from .core import (
    Array,
    Bool,
    Command,
    Conversation,
    Enum,
    Fields,
    Flags,
    Integer,
    Readback,
    Result,
    Setpoint,
    Text,
    procedure,
    reading,
)
from .core.errors import RefusedError
from .core.values import E
from .scpi import ASK_ERROR, OnOff, Quoted, Real, Rows, ScpiDriver, ScpiLines, Word, no_error

MAX_POINTS = 2500
FULL_SCALE = 1.05  # of the range's name
LONGEST = 30.0  # s, of a reading while the settings aren't known
SLOWEST_LINE = 50.0  # Hz
PHASES = 3  # of an integration: signal, reference and zero
FUNCTIONS = 3  # volts, amperes and ohms
RANGES_TRIED = 3  # until the automatic range is found, most often
LONGEST_TURN = (
    1.0  # s, of a sweep: an OUTPUT OFF waits for no more, or for one point, where the settings are known
)
IN_ONE_TURN = 10  # points of a sweep at most


class Source(States):
    """SOURce:FUNCtion."""

    VOLTAGE = "VOLTage"
    CURRENT = "CURRent"
    MEMORY = "MEMory"


class OffState(States):
    """OUTPut:SMODe: what the terminals are while the output is off."""

    NORMAL = "NORMal"
    ZERO = "ZERO"
    HIGH_IMPEDANCE = "HIMPedance"
    GUARD = "GUARd"


class Terminals(States):
    """ROUTe:TERMinals."""

    FRONT = "FRONt"
    REAR = "REAR"


class FilterType(States):
    """SENSe:AVERage:TCONtrol."""

    REPEAT = "REPeat"
    MOVING = "MOVing"


class OhmsMode(States):
    """SENSe:RESistance:MODE: whether the instrument chooses source and ranges by itself."""

    MANUAL = "MANual"
    AUTO = "AUTO"


class VoltageRange(States):
    """RANGe of voltages, by name; full scale is 1.05 times that."""

    MV_200 = "0.2"
    V_2 = "2"
    V_20 = "20"
    V_200 = "200"


class CurrentRange(States):
    """RANGe of currents, by name; full scale is 1.05 times that."""

    UA_1 = "1E-6"
    UA_10 = "1E-5"
    UA_100 = "1E-4"
    MA_1 = "1E-3"
    MA_10 = "1E-2"
    MA_100 = "1E-1"
    A_1 = "1"


class Status(IntFlag):
    """The status word of a reading (18, FORMat:ELEMents)."""

    OVER_RANGE = 1 << 0
    FILTER = 1 << 1
    FRONT = 1 << 2
    COMPLIANCE = 1 << 3
    OVER_VOLTAGE = 1 << 4
    MATH = 1 << 5
    NULL = 1 << 6
    LIMITS = 1 << 7
    LIMIT_RESULT_1 = 1 << 8
    LIMIT_RESULT_2 = 1 << 9
    AUTO_OHMS = 1 << 10
    MEASURES_VOLTAGE = 1 << 11
    MEASURES_CURRENT = 1 << 12
    MEASURES_OHMS = 1 << 13
    SOURCES_VOLTAGE = 1 << 14
    SOURCES_CURRENT = 1 << 15
    RANGE_COMPLIANCE = 1 << 16
    OFFSET_COMPENSATION = 1 << 17
    CONTACT_FAILURE = 1 << 18
    LIMIT_RESULT_3 = 1 << 19
    LIMIT_RESULT_4 = 1 << 20
    LIMIT_RESULT_5 = 1 << 21
    REMOTE_SENSE = 1 << 22
    PULSE = 1 << 23


class Measurement(NamedTuple):
    """READ? with all five elements, and two bits of the status. What was neither sourced nor measured is NaN.

    So is the level of a source that is held back by its compliance, unless it was measured.
    """

    voltage: float
    current: float
    resistance: float
    time: float
    status: Status
    compliance: bool
    over_range: bool


class Elements(NamedTuple):
    """The five elements of a reading, or an array of each."""

    voltage: Any
    current: Any
    resistance: Any
    time: Any
    status: Any


ELEMENTS = Fields(
    Elements,
    voltage=Real("V"),
    current=Real("A"),
    resistance=Real("ohm"),
    time=Real("s"),
    status=Real(),
)
POINTS = Rows(
    Elements,
    voltage=Array(Real("V"), MAX_POINTS),
    current=Array(Real("A"), MAX_POINTS),
    resistance=Array(Real("ohm"), MAX_POINTS),
    time=Array(Real("s"), MAX_POINTS),
    status=Array(Real(), MAX_POINTS),
)
NOTHING = Measurement(math.nan, math.nan, math.nan, math.nan, Status(0), compliance=False, over_range=False)

VOLTS = (-210.0, 210.0)
AMPERES = (-1.05, 1.05)


class Range(Enum[E]):
    """A range by its name; the instrument answers its full scale."""

    def decode(self, text: str) -> E:
        """Return the range in a reply."""
        full = float(text)
        for state in self.states:
            if math.isclose(full, FULL_SCALE * float(state.value), rel_tol=0.01):
                return state
        raise ValueError(text)


def _honest(elements: Elements) -> Elements:
    """Make the source's level no number where a limit holds it back and it isn't measured: it's not at the terminals.

    Of what is sourced and not measured, the instrument answers the level that it is set to (17, FETCh?).
    """
    status = np.asarray(elements.status).astype(int)
    is_limited = status & (Status.COMPLIANCE | Status.RANGE_COMPLIANCE | Status.OVER_VOLTAGE) != 0
    volts_set = is_limited & (status & Status.MEASURES_VOLTAGE == 0)
    amperes_set = is_limited & (status & Status.MEASURES_CURRENT == 0)
    return elements._replace(
        voltage=np.where(volts_set, math.nan, elements.voltage),
        current=np.where(amperes_set, math.nan, elements.current),
    )


class Keithley2400(ScpiDriver):
    """Keithley 2400 source-measure unit."""

    protocol = ScpiLines(
        # 14: CR ends what comes over RS-232, LF what comes otherwise; it answers with any of these, as it is set there
        send_eol="\r\n",
        eol=("\n", "\r\n", "\r", "\n\r"),
        timeout=2.0,
        queue_timeout=30.0,  # behind a slow reading
        serial={"baudrate": 9600},
        identify=("*IDN?", r"(?i)KEITHLEY.*\b24\d\d"),
        setup=(
            ":FORM:DATA ASC",
            ":FORM:ELEM VOLT,CURR,RES,TIME,STAT",
            # a sweep that the last connection left behind would go on with each reading
            ":SOUR:VOLT:MODE FIX",
            ":SOUR:CURR:MODE FIX",
            ":ARM:SOUR IMM",
            ":ARM:COUN 1",
            ":TRIG:SOUR IMM",
            ":TRIG:COUN 1",
        ),
    )

    output = Setpoint(OnOff(), ask=":OUTP?", tell=":OUTP {value}")
    off_state = Setpoint(Word(OffState), ask=":OUTP:SMOD?", tell=":OUTP:SMOD {value}")
    terminals = Setpoint(Word(Terminals), ask=":ROUT:TERM?", tell=":ROUT:TERM {value}", refreshes=[output])

    # Source

    function = Setpoint(
        Word(Source, settable=(Source.VOLTAGE, Source.CURRENT)),
        ask=":SOUR:FUNC?",
        tell=":SOUR:FUNC {value}",
        refreshes=[output],
        doc="What it sources; a change switches the output off",
    )
    voltage_auto = Setpoint(OnOff(), ask=":SOUR:VOLT:RANG:AUTO?", tell=":SOUR:VOLT:RANG:AUTO {value}")
    voltage_range = Setpoint(
        Range(VoltageRange), ask=":SOUR:VOLT:RANG?", tell=":SOUR:VOLT:RANG {value}", refreshes=[voltage_auto]
    )
    voltage = Setpoint(
        Real("V", limits=VOLTS),
        ask=":SOUR:VOLT:LEV?",
        tell=":SOUR:VOLT:LEV {value}",
        refreshes=[voltage_range],
    )
    current_auto = Setpoint(OnOff(), ask=":SOUR:CURR:RANG:AUTO?", tell=":SOUR:CURR:RANG:AUTO {value}")
    current_range = Setpoint(
        Range(CurrentRange), ask=":SOUR:CURR:RANG?", tell=":SOUR:CURR:RANG {value}", refreshes=[current_auto]
    )
    current = Setpoint(
        Real("A", limits=AMPERES),
        ask=":SOUR:CURR:LEV?",
        tell=":SOUR:CURR:LEV {value}",
        refreshes=[current_range],
    )
    delay_auto = Setpoint(OnOff(), ask=":SOUR:DEL:AUTO?", tell=":SOUR:DEL:AUTO {value}")
    delay = Setpoint(
        Real("s", limits=(0, 9999.998)), ask=":SOUR:DEL?", tell=":SOUR:DEL {value}", refreshes=[delay_auto]
    )

    # Compliance

    current_compliance = Setpoint(
        Real("A", limits=AMPERES),
        ask=":SENS:CURR:PROT?",
        tell=":SENS:CURR:PROT {value}",
        doc="Most current while it sources volts",
    )
    voltage_compliance = Setpoint(
        Real("V", limits=VOLTS),
        ask=":SENS:VOLT:PROT?",
        tell=":SENS:VOLT:PROT {value}",
        doc="Most voltage while it sources current",
    )
    current_tripped = Readback(OnOff(), ask=":SENS:CURR:PROT:TRIP?", doc="In current compliance")
    voltage_tripped = Readback(OnOff(), ask=":SENS:VOLT:PROT:TRIP?", doc="In voltage compliance")

    # Measurement

    measures_voltage = Setpoint(
        OnOff(), ask=':SENS:FUNC:STAT? "VOLT"', tell=':SENS:FUNC:{value} "VOLT"', doc="Measures voltage"
    )
    measures_current = Setpoint(
        OnOff(), ask=':SENS:FUNC:STAT? "CURR"', tell=':SENS:FUNC:{value} "CURR"', doc="Measures current"
    )
    measures_resistance = Setpoint(
        OnOff(), ask=':SENS:FUNC:STAT? "RES"', tell=':SENS:FUNC:{value} "RES"', doc="Measures resistance"
    )
    concurrent = Setpoint(
        OnOff(),
        ask=":SENS:FUNC:CONC?",
        tell=":SENS:FUNC:CONC {value}",
        refreshes=[measures_voltage, measures_current, measures_resistance],
        doc="Several functions at a time",
    )
    sense_voltage_auto = Setpoint(OnOff(), ask=":SENS:VOLT:RANG:AUTO?", tell=":SENS:VOLT:RANG:AUTO {value}")
    sense_voltage_range = Setpoint(
        Range(VoltageRange),
        ask=":SENS:VOLT:RANG?",
        tell=":SENS:VOLT:RANG {value}",
        refreshes=[sense_voltage_auto],
    )
    sense_current_auto = Setpoint(OnOff(), ask=":SENS:CURR:RANG:AUTO?", tell=":SENS:CURR:RANG:AUTO {value}")
    sense_current_range = Setpoint(
        Range(CurrentRange),
        ask=":SENS:CURR:RANG?",
        tell=":SENS:CURR:RANG {value}",
        refreshes=[sense_current_auto],
    )
    ohms_mode = Setpoint(Word(OhmsMode), ask=":SENS:RES:MODE?", tell=":SENS:RES:MODE {value}")
    nplc = Setpoint(
        Real(limits=(0.01, 10)),
        ask=":SENS:CURR:NPLC?",
        tell=":SENS:CURR:NPLC {value}",
        doc="Integration time in power line cycles",
    )
    filter = Setpoint(OnOff(), ask=":SENS:AVER?", tell=":SENS:AVER {value}", doc="Averaging filter")
    filter_count = Setpoint(
        Integer(limits=(1, 100)),
        ask=":SENS:AVER:COUN?",
        tell=":SENS:AVER:COUN {value}",
        doc="Readings in the filter",
    )
    filter_type = Setpoint(Word(FilterType), ask=":SENS:AVER:TCON?", tell=":SENS:AVER:TCON {value}")
    remote_sense = Setpoint(OnOff(), ask=":SYST:RSEN?", tell=":SYST:RSEN {value}", doc="Four wires")
    auto_zero = Setpoint(OnOff(), ask=":SYST:AZER?", tell=":SYST:AZER {value}")

    # Display, beeper, the instrument as a whole

    text = Setpoint(
        Quoted(20), ask=":DISP:TEXT:DATA?", tell=":DISP:TEXT:DATA {value}", doc="Text for the display"
    )
    shows_text = Setpoint(
        OnOff(),
        ask=":DISP:TEXT:STAT?",
        tell=":DISP:TEXT:STAT {value}",
        doc="Show the text instead of readings",
    )
    beep = Command(tell=":SYST:BEEP 2000,0.2")
    local = Command(tell=":SYST:LOC", doc="Give the front panel back; RS-232 only")

    # Sweep

    points = Setpoint(
        Integer(limits=(2, MAX_POINTS)),
        ask=":SOUR:SWE:POIN?",
        tell=":SOUR:SWE:POIN {value}",
        doc="Points of a sweep",
    )
    voltage_start = Setpoint(Real("V", limits=VOLTS), ask=":SOUR:VOLT:STAR?", tell=":SOUR:VOLT:STAR {value}")
    voltage_stop = Setpoint(Real("V", limits=VOLTS), ask=":SOUR:VOLT:STOP?", tell=":SOUR:VOLT:STOP {value}")
    current_start = Setpoint(
        Real("A", limits=AMPERES), ask=":SOUR:CURR:STAR?", tell=":SOUR:CURR:STAR {value}"
    )
    current_stop = Setpoint(Real("A", limits=AMPERES), ask=":SOUR:CURR:STOP?", tell=":SOUR:CURR:STOP {value}")
    curve = Result(POINTS, doc="The points of the last sweep")

    reset = Command(
        tell="*RST",
        refreshes=[
            *(output, off_state, terminals, function, delay, delay_auto, remote_sense, auto_zero, ohms_mode),
            *(voltage, voltage_range, voltage_auto, current, current_range, current_auto),
            *(current_compliance, current_tripped, voltage_compliance, voltage_tripped),
            *(measures_voltage, measures_current, measures_resistance, concurrent),
            *(sense_voltage_range, sense_voltage_auto, sense_current_range, sense_current_auto),
            *(nplc, filter, filter_count, filter_type),
            *(points, voltage_start, voltage_stop, current_start, current_stop),
        ],
        doc="Defaults, output off",
    )

    @procedure(curve, ":SOUR:LIST:VOLT {value}", ":READ?")
    async def sweep(self, talk: Conversation) -> Elements:
        """Sweep what it sources from start to stop."""
        _, source, points = await talk(
            (ASK_ERROR, Text()), (":SOUR:FUNC?", Word(Source)), (":SOUR:SWE:POIN?", Integer())
        )
        if source is Source.MEMORY:
            raise RefusedError("the source is set to its memory")
        of = "VOLT" if source is Source.VOLTAGE else "CURR"
        start, stop = await talk((f":SOUR:{of}:STAR?", Real()), (f":SOUR:{of}:STOP?", Real()))
        levels = np.linspace(start, stop, points)
        quickest = self._cycle(PHASES)
        width = min(max(int(LONGEST_TURN / quickest), 1), IN_ONE_TURN) if quickest else IN_ONE_TURN
        try:
            pieces = [
                await self._source_and_measure(talk, of, levels[at : at + width])
                for at in range(0, points, width)
            ]
        finally:
            await talk(f":SOUR:{of}:MODE FIX", ":TRIG:COUN 1", ("*OPC?", Text()))
        return _honest(Elements(*map(np.concatenate, zip(*pieces, strict=True))))

    @reading(
        Fields(
            Measurement,
            voltage=Real("V"),
            current=Real("A"),
            resistance=Real("ohm"),
            time=Real("s"),
            status=Flags(Status),
            compliance=Bool(),
            over_range=Bool(),
        ),
        ":OUTP?",
        ":READ?",
    )
    async def measured(self, talk: Conversation) -> Measurement | None:
        """Source and measure once. With the output off that is an error (803): then nothing is a number."""
        if self.sweep.is_running:
            return None
        on, *came = await talk(
            (":OUTP?", OnOff()),
            then=lambda said: [(":READ?", ELEMENTS)] if said[0] else [],
            timeout=self.patience(1),
        )
        if not on:
            return NOTHING
        elements = _honest(came[0])
        status = Status(int(elements.status))
        return Measurement(
            float(elements.voltage),
            float(elements.current),
            elements.resistance,
            elements.time,
            status,
            compliance=bool(status & (Status.COMPLIANCE | Status.RANGE_COMPLIANCE)),
            over_range=bool(status & Status.OVER_RANGE),
        )

    def patience(self, points: int) -> float:
        """Return how long a reply with so many readings may take, seconds, by what the settings were at last."""
        cycle = self._cycle(PHASES * FUNCTIONS * RANGES_TRIED)
        return LONGEST if cycle is None else self.protocol.timeout + points * cycle

    def _cycle(self, phases: int) -> float | None:
        """Return how long one reading takes with so many integrations, seconds, or None if nobody knows."""
        known = (self.nplc, self.filter, self.filter_count, self.delay)
        if not all(setting.is_known for setting in known):
            return None
        repeats = self.filter_count.value if self.filter.value else 1
        return self.delay.value + self.nplc.value / SLOWEST_LINE * phases * repeats

    async def _source_and_measure(self, talk: Conversation, of: str, levels: Any) -> Elements:
        """Source some levels of a list, and measure at each, if the instrument takes them and its output is on."""

        def then(said: list[Any]) -> list[tuple[str, Rows[Elements]]]:
            return [(":READ?", POINTS)] if said[0] and no_error(said[1]) else []

        on, error, *came = await talk(
            f":SOUR:LIST:{of} {','.join(f'{level:.7g}' for level in levels)}",
            f":TRIG:COUN {len(levels)}",
            f":SOUR:{of}:MODE LIST",
            (":OUTP?", OnOff()),
            (ASK_ERROR, Text()),
            then=then,
            timeout=self.patience(len(levels)),
        )
        if not came:
            raise RefusedError(error if on else "the output is off")
        points: Elements = came[0]
        return points
