"""Keithley 2400 source-measure unit with something between its terminals.

Source: Series 2400 SourceMeter User's Manual (2400S-900-01 Rev. K), chapters 11, 14 to 18, appendix B;
docs/instruments/keithley2400.md gives the facts and says which of them are not confirmed.
"""

import math
from collections.abc import Sequence
from typing import ClassVar

from .core import Clock, Faults
from .core.loads import Load, Open, Resistor
from .core.simulator import Late
from .core.sourcemeter import (
    COMPLIANCE,
    FULL_SCALE,
    MAX_POINTS,
    NOT_A_NUMBER,
    ORDER,
    OVER_VOLTAGE,
    OVERRUN,
    RANGE_COMPLIANCE,
    RANGES,
    Point,
    Settings,
    after_function,
    after_source_auto,
    after_step,
    arm_count,
    check_compliance,
    check_counts,
    check_level,
    check_output,
    check_over_voltage,
    check_sense_auto,
    check_sense_range,
    check_source_range,
    check_storing,
    follow_source,
    function_name,
    manual_delay,
    over_voltage,
    range_of,
    stamped,
    statistics_of,
    switch_off,
)
from .keithley2400_system import System
from .scpi import (
    ERRORS,
    EXECUTION_ERROR,
    Command,
    Parameter,
    Register,
    ScpiError,
    Setting,
    StatusRegister,
    boolean,
    choice,
    exponential,
    integer,
    number,
)

READING, OVER_RANGE, BUFFER_AVAILABLE, BUFFER_FULL, IN_COMPLIANCE = 1 << 6, 1 << 7, 1 << 8, 1 << 9, 1 << 14
"""Bits of the measurement register (15)."""
SWEEPING, IDLE = 1 << 3, 1 << 10
"""Bits of the operation register (15)."""
OUTPUT_OFF, INFINITE_COUNT = 803, 830

SENSED = {"VOLT": "sense_volts", "CURR": "sense_amperes", "RES": "sense_ohms"}
ELEMENTS = ("VOLTage", "CURRent", "RESistance", "TIME", "STATus")
signed, plain = exponential(6, "+"), exponential(6)


FUNCTION = function_name()
ELEMENT = choice(*ELEMENTS)
VOLTS, AMPERES = (
    number(-210.0, 210.0, 0.0, unit="V", show=plain),
    number(-1.05, 1.05, 0.0, unit="A", show=plain),
)
LINES = integer(1, 4)


def _source_lines(kind: str, of: str, level: Parameter, span: Parameter) -> tuple[Setting, ...]:
    head = f"[:SOURce[1]]:{kind}"
    full = level.bounds[1] if level.bounds else 0.0
    return (
        Setting(f"{head}:MODE <name>", "mode", choice("FIXed", "LIST", "SWEep"), of=of),
        Setting(f"{head}:RANGe <n>", "range", range_of(full, RANGES[kind[:4].upper()][2] * FULL_SCALE), of=of,
                adjust=check_source_range, then=follow_source),
        Setting(f"{head}:RANGe:AUTO <b>", "auto", boolean(), of=of, then=after_source_auto),
        Setting(f"{head}[:LEVel][:IMMediate][:AMPLitude] <n>", "level", level, of=of, adjust=check_level,
                then=follow_source),
        Setting(f"{head}[:LEVel]:TRIGgered[:AMPLitude] <n>", "triggered", level, of=of),
        Setting(f"{head}:STARt <n>", "start", level, of=of),
        Setting(f"{head}:STOP <n>", "stop", level, of=of),
        Setting(f"{head}:STEP <n>", "step", span, of=of, then=after_step),
        Setting(f"[:SOURce[1]]:LIST:{kind} <NRf list>", "points", level, of=of, many=True),
        Setting(f"{head}:CENTer <n>", "center", level, of=of),
        Setting(f"{head}:SPAN <n>", "span", span, of=of),
    )  # fmt: skip


def _sense_lines(kind: str, of: str, full: float, default: float) -> tuple[Setting, ...]:
    head = f"[:SENSe[1]]:{kind}"
    short = "RES" if kind == "RESistance" else kind[:4].upper()
    common = (
        Setting(f"{head}:RANGe[:UPPer] <n>", "range", range_of(full, RANGES[short][2] * FULL_SCALE), of=of,
                adjust=check_sense_range),
        Setting(f"{head}:RANGe:AUTO <b>", "auto", boolean(), of=of, adjust=check_sense_auto),
        Setting(f"{head}:RANGe:AUTO:LLIMit <n>", "lowest", number(-full, full, show=plain), of=of),
        Setting(f"{head}:NPLCycles <n>", "nplc", number(0.01, 10.0, 1.0, show=exponential(2)), of="set"),
    )  # fmt: skip
    if kind == "RESistance":
        return common
    return (
        *common,
        Setting(f"{head}:PROTection[:LEVel] <n>", "compliance",
                number(-full, full, default, unit="V" if short == "VOLT" else "A", show=plain), of=of,
                adjust=check_compliance),
        Setting(f"{head}:PROTection:RSYNchronize <b>", "synchronised", boolean(), of="set"),
    )  # fmt: skip


class Keithley2400(System):
    """The instrument. Change its world by `loads` and `lead`; what its keys do, `ask` does."""

    terminators_in = b"\r\n"
    serial_line: dict[str, int | str] = {"baudrate": 9600}
    error_texts: ClassVar[dict[int, str]] = ERRORS | {
        -222: "Parameter data out of range",
        701: "ASCII only with RS-232",
        800: "Illegal with storage active",
        802: "OUTPUT blocked by output enable",
        803: "Not permitted with OUTPUT off",
        822: "Too small for sense range",
        823: "Invalid with source read-back on",
        824: "Cannot exceed compliance range",
        826: "Attempt to exceed power limit",
        830: "Invalid with INF ARM:COUNT",
    }

    def __init__(self, *, clock: Clock | None = None, faults: Faults | None = None) -> None:
        """Switch it on, with its output off, 1 kohm at the front terminals and nothing at the rear ones."""
        super().__init__(clock=clock, faults=faults)
        self.measurement = Register(1)
        self.loads: dict[str, Load] = {"FRON": Resistor(1000.0), "REAR": Open()}
        """What hangs between the terminals."""
        self.lead = 0.0
        """Ohms in series with it, which four wires make up for."""
        self.buffer: list[Point] = []
        self.buffer_size = 100
        self.buffer_feed = "SENS"
        self.buffer_control = "NEV"
        self.stamps = "ABS"
        self.reset()

    def reset(self) -> None:
        """Set the defaults of chapter 18; the output goes off (*RST)."""
        self.set = Settings()
        self.output = False
        self.terminals = "FRON"
        self.sample: list[Point] = []
        self._busy_until = 0.0
        self._waits_for_bus = self._is_asked = False
        self.operation.set(IDLE)

    def power_cycle(self) -> None:
        """Lose all but what is connected, and the setups that are saved."""
        loads, lead, low, saved = self.loads, self.lead, self.enable_line, self.saved
        super().power_cycle()
        self.loads, self.lead, self.enable_line, self.saved = loads, lead, low, saved

    @property
    def identity(self) -> str:
        """Maker, model, serial number, firmware."""
        return "KEITHLEY INSTRUMENTS INC.,MODEL 2400,1234567,C30   Mar 17 2006 09:29:29/A02  /K/J"

    @property
    def registers(self) -> Sequence[Register]:
        """The status registers below the status byte."""
        return self.operation, self.questionable, self.measurement

    def event_of(self, code: int) -> int:
        """Return the bit that an error sets: bit 4 for the execution errors of Keithley's own."""
        return EXECUTION_ERROR if 800 <= code < 900 else super().event_of(code)

    # The trigger model (11)

    def _initiate(self) -> None:
        """Leave idle, and do the programmed cycles. Raises ScpiError with the output off."""
        if not self.output and not self.set.auto_off:
            raise ScpiError(OUTPUT_OFF)
        if self._waits_for_bus:
            raise ScpiError(-213)
        if self.set.arm.source == "BUS":
            self._waits_for_bus = True
        else:
            self._source_and_measure()

    def _source_and_measure(self) -> None:
        self._waits_for_bus = False
        if self.panel.resets_time:
            self.time_zero = self.clock.now()
        cycle = self.cycle()
        self.sample = [
            self.measure(level, cycle * number) for number, level in enumerate(self.levels(), start=1)
        ]
        bits = [int(point[-1]) for point in self.sample]
        self.measurement.set(IN_COMPLIANCE, bool(bits[-1] & (COMPLIANCE | RANGE_COMPLIANCE)))
        self.measurement.set(OVER_RANGE, bool(bits[-1] & OVERRUN))
        self.measurement.event |= READING
        self.operation.event |= SWEEPING if len(self.sample) > 1 else 0
        self.operation.event |= IDLE
        if self.buffer_control == "NEXT":
            self._store()
        if self.set.auto_off:
            self.output = False
        # it answers nothing before it is idle again (11, idle and initiate)
        self._busy_until = self.clock.now() + cycle * len(self.sample)

    def _store(self) -> None:
        self.buffer += self.sample[: self.buffer_size - len(self.buffer)]
        if len(self.buffer) >= 2:
            self.measurement.event |= BUFFER_AVAILABLE
        if len(self.buffer) >= self.buffer_size:
            self.measurement.event |= BUFFER_FULL
            self.buffer_control = "NEV"

    @Command("*TRG")
    def _bus_trigger(self) -> str | None:
        if not self._waits_for_bus:
            raise ScpiError(-211)
        self._source_and_measure()
        asked, self._is_asked = self._is_asked, False
        return self._shown(self.sample) if asked else None

    def handle(self, message: bytes) -> bytes | None:
        """Execute a message; what it answers comes when the cycles under way are done."""
        reply = super().handle(message)
        left = (self._busy_until - self.clock.now()) / self.clock.speed
        return Late(reply, left) if reply is not None and left > 0 else reply

    @Command(":INITiate[:IMMediate]")
    def _init(self) -> None:
        self._initiate()

    @Command(":ABORt")
    def _abort(self) -> None:
        self._busy_until = 0.0
        self._waits_for_bus = self._is_asked = False

    @Command(":TRIGger[:SEQuence[1]]:CLEar")
    def _trigger_clear(self) -> None:
        """No trigger is ever pending."""

    # Readings (17)

    def _check_finite(self) -> None:
        if math.isinf(self.set.arm.count):
            raise ScpiError(INFINITE_COUNT)

    def _shown(self, points: Sequence[Point]) -> str:
        if not points:
            raise ScpiError(-230)
        at = [("VOLT", "CURR", "RES", "TIME", "STAT").index(name) for name in self.set.elements]
        return ",".join(signed(point[index]) for point in points for index in at)

    @Command(":READ?")
    def _read(self) -> str | None:
        self._check_finite()
        self._initiate()
        self._is_asked = self._waits_for_bus
        return None if self._is_asked else self._shown(self.sample)

    @Command(":FETCh?")
    def _fetch(self) -> str:
        self._check_finite()
        return self._shown(self.sample)

    @Command("[:SENSe[1]]:DATA[:LATest]?")
    def _latest(self) -> str:
        return self._shown(self.sample[-1:])

    def _configure(self, function: str | None) -> None:
        fresh = Settings()
        self.set.functions = self.set.functions if function is None else (function,)
        for name in self.set.functions:
            setattr(self.set, SENSED[name], getattr(fresh, SENSED[name]))
        self.set.arm.source = self.set.trigger.source = "IMM"
        self.set.arm.count = self.set.trigger.count = 1
        self.set.trigger.delay = 0.0
        self.buffer_control = "NEV"
        self.set.auto_zero = True
        self.output = True

    @Command(":CONFigure:VOLTage[:DC]")
    def _configure_volts(self) -> None:
        self._configure("VOLT")

    @Command(":CONFigure:CURRent[:DC]")
    def _configure_amperes(self) -> None:
        self._configure("CURR")

    @Command(":CONFigure:RESistance")
    def _configure_ohms(self) -> None:
        self._configure("RES")

    @Command(":CONFigure?")
    def _configuration(self) -> str:
        return self._functions()

    def _measure_once(self, function: str | None) -> str:
        self._configure(function)
        self._initiate()
        return self._shown(self.sample)

    @Command(":MEASure:VOLTage[:DC]?")
    def _measure_volts(self) -> str:
        return self._measure_once("VOLT")

    @Command(":MEASure:CURRent[:DC]?")
    def _measure_amperes(self) -> str:
        return self._measure_once("CURR")

    @Command(":MEASure:RESistance?")
    def _measure_ohms(self) -> str:
        return self._measure_once("RES")

    @Command(":MEASure?")
    def _measure_any(self) -> str:
        return self._measure_once(None)

    # The command table (18)

    # fmt: off
    settings = (
        *_source_lines("VOLTage", "set.volts", VOLTS, number(-420.0, 420.0, 0.0, unit="V", show=plain)),
        *_source_lines("CURRent", "set.amperes", AMPERES, number(-2.1, 2.1, 0.0, unit="A", show=plain)),
        *_sense_lines("VOLTage[:DC]", "set.sense_volts", 210.0, 21.0),
        *_sense_lines("CURRent[:DC]", "set.sense_amperes", 1.05, 1.05e-4),
        *_sense_lines("RESistance", "set.sense_ohms", 2.1e8, 0.0),
        StatusRegister(":STATus:MEASurement", "measurement"),
        Setting("[:SENSe[1]]:RESistance:MODE <name>", "ohms_mode", choice("MANual", "AUTO"), of="set.sense_ohms"),
        Setting("[:SENSe[1]]:RESistance:RANGe:AUTO:ULIMit <n>", "highest", number(-2.1e8, 2.1e8, 2.1e8),
                of="set.sense_ohms"),
        Setting("[:SENSe[1]]:CURRent[:DC]:RANGe:HOLDoff <b>", "holdoff", boolean(), of="set"),
        Setting("[:SENSe[1]]:CURRent[:DC]:RANGe:HOLDoff:DELay <NRf>", "holdoff_delay", number(0.0, 999.9999), of="set"),
        Setting("[:SENSe[1]]:RESistance:OCOMpensated <b>", "offset_compensated", boolean(), of="set.sense_ohms"),
        Setting("[:SENSe[1]]:FUNCtion:CONCurrent <b>", "concurrent", boolean(), of="set",
                then=lambda sim, settings: sim.after_concurrent()),
        Setting("[:SENSe[1]]:AVERage[:STATe] <b>", "filter", boolean(), of="set"),
        Setting("[:SENSe[1]]:AVERage:COUNt <n>", "filter_count", integer(1, 100, 10), of="set"),
        Setting("[:SENSe[1]]:AVERage:TCONtrol <name>", "filter_type", choice("REPeat", "MOVing"), of="set"),
        Setting("[:SOURce[1]]:FUNCtion[:MODE] <name>", "function", choice("VOLTage", "CURRent"), of="set",
                then=after_function),
        Setting("[:SOURce[1]]:DELay <n>", "delay", number(0.0, 9999.998, 0.0, show=exponential(6)), of="set",
                then=manual_delay),
        Setting("[:SOURce[1]]:DELay:AUTO <b>", "auto_delay", boolean(), of="set"),
        Setting("[:SOURce[1]]:CLEar:AUTO <b>", "auto_off", boolean(), of="set"),
        Setting("[:SOURce[1]]:CLEar:AUTO:MODE <name>", "auto_off_mode", choice("ALWays", "TCOunt"), of="set"),
        Setting("[:SOURce[1]]:VOLTage:PROTection[:LEVel] <n>", "over_voltage", over_voltage(), of="set",
                adjust=check_over_voltage),
        Setting("[:SOURce[1]]:SWEep:SPACing <name>", "spacing", choice("LINear", "LOGarithmic"), of="set"),
        Setting("[:SOURce[1]]:SWEep:POINts <n>", "points", integer(2, MAX_POINTS, MAX_POINTS), of="set"),
        Setting("[:SOURce[1]]:SWEep:DIRection <name>", "direction", choice("UP", "DOWN"), of="set"),
        Setting("[:SOURce[1]]:SWEep:RANGing <name>", "ranging", choice("BEST", "AUTO", "FIXed"), of="set"),
        Setting("[:SOURce[1]]:SWEep:CABort <name>", "on_compliance", choice("NEVer", "EARLy", "LATE"), of="set"),
        Setting(":OUTPut[1][:STATe] <b>", "output", boolean(), adjust=check_output),
        Setting(":OUTPut[1]:SMODe <name>", "off_state", choice("NORMal", "ZERO", "HIMPedance", "GUARd"), of="set"),
        Setting(":ROUTe:TERMinals <name>", "terminals", choice("FRONt", "REAR"), then=switch_off),
        Setting(":ARM[:SEQuence[1]][:LAYer[1]]:COUNt <n>", "count", arm_count(), of="set.arm",
                adjust=check_counts),
        Setting(":ARM[:SEQuence[1]][:LAYer[1]]:SOURce <name>", "source", choice(
                "IMMediate", "TLINk", "TIMer", "MANual", "BUS", "NSTest", "PSTest", "BSTest"), of="set.arm"),
        Setting(":ARM[:SEQuence[1]][:LAYer[1]]:TIMer <n>", "timer", number(0.001, 99999.99, 0.1), of="set.arm"),
        Setting(":ARM[:SEQuence[1]][:LAYer[1]][:TCONfigure]:DIRection <name>", "direction",
                choice("SOURce", "ACCeptor"), of="set.arm"),
        Setting(":ARM[:SEQuence[1]][:LAYer[1]][:TCONfigure][:ASYNchronous]:ILINe <NRf>", "input_line", LINES,
                of="set.arm"),
        Setting(":ARM[:SEQuence[1]][:LAYer[1]][:TCONfigure][:ASYNchronous]:OLINe <NRf>", "output_line", LINES,
                of="set.arm"),
        Setting(":ARM[:SEQuence[1]][:LAYer[1]][:TCONfigure][:ASYNchronous]:OUTPut <event list>", "output",
                choice("TENTer", "TEXit", "NONE"), of="set.arm", many=True),
        Setting(":TRIGger[:SEQuence[1]]:COUNt <n>", "count", integer(1, MAX_POINTS, 1), of="set.trigger",
                adjust=check_counts),
        Setting(":TRIGger[:SEQuence[1]]:DELay <n>", "delay", number(0.0, 999.9999, 0.0), of="set.trigger"),
        Setting(":TRIGger[:SEQuence[1]]:SOURce <name>", "source", choice("IMMediate", "TLINk"), of="set.trigger"),
        Setting(":TRIGger[:SEQuence[1]][:TCONfigure]:DIRection <name>", "direction",
                choice("SOURce", "ACCeptor"), of="set.trigger"),
        Setting(":TRIGger[:SEQuence[1]][:TCONfigure][:ASYNchronous]:ILINe <NRf>", "input_line", LINES,
                of="set.trigger"),
        Setting(":TRIGger[:SEQuence[1]][:TCONfigure][:ASYNchronous]:OLINe <NRf>", "output_line", LINES,
                of="set.trigger"),
        Setting(":TRIGger[:SEQuence[1]][:TCONfigure][:ASYNchronous]:INPut <event list>", "input",
                choice("SOURce", "DELay", "SENSe", "NONE"), of="set.trigger", many=True),
        Setting(":TRIGger[:SEQuence[1]][:TCONfigure][:ASYNchronous]:OUTPut <event list>", "output",
                choice("SOURce", "DELay", "SENSe", "NONE"), of="set.trigger", many=True),
        Setting("{:TRACe|:DATA}:POINts <n>", "buffer_size", integer(1, MAX_POINTS, 100), adjust=check_storing),
        Setting("{:TRACe|:DATA}:FEED <name>", "buffer_feed", choice("SENSe1", "SENSe", "CALCulate1", "CALCulate",
                "CALCulate2"), adjust=check_storing),
        Setting("{:TRACe|:DATA}:FEED:CONTrol <name>", "buffer_control", choice("NEXT", "NEVer"),
                then=lambda sim, _: sim.start_storing()),
        Setting("{:TRACe|:DATA}:TSTamp:FORMat <name>", "stamps", choice("ABSolute", "DELTa")),
        Setting(":CALCulate3:FORMat <name>", "calc3", choice("MEAN", "SDEViation", "MAXimum", "MINimum", "PKPK"),
                of="set"),
        Setting(":FORMat:ELEMents[:SENSe[1]] <item list>", "elements", ELEMENT, of="set", many=True,
                adjust=lambda sim, settings, names: tuple(name for name in ORDER if name in names)),
        Setting(":SYSTem:RSENse <b>", "remote_sense", boolean(), of="set"),
    )
    # fmt: on

    @Command(":SYSTem:AZERo[:STATe] <name>", Parameter(lambda text: text.upper()))
    def _auto_zero(self, text: str) -> None:
        if text != "ONCE":
            self.set.auto_zero = boolean().parse(text)

    @Command(":SYSTem:AZERo[:STATe]?")
    def _auto_zero_query(self) -> str:
        return str(int(self.set.auto_zero))

    @Command("[:SOURce[1]]:VOLTage:PROTection:TRIPped?")
    def _over_voltage_tripped(self) -> str:
        return str(int(self.output and bool(self.operate()[2] & OVER_VOLTAGE)))

    @Command("[:SENSe[1]]:CURRent[:DC]:PROTection:TRIPped?")
    def _current_tripped(self) -> str:
        return self._tripped("VOLT")

    @Command("[:SENSe[1]]:VOLTage[:DC]:PROTection:TRIPped?")
    def _voltage_tripped(self) -> str:
        return self._tripped("CURR")

    def _tripped(self, source: str) -> str:
        limited = self.output and self.set.function == source and self.operate()[2]
        return str(int(bool(limited)))

    @Command("[:SENSe[1]]:CURRent[:DC]:RANGe:AUTO:ULIMit?")
    def _most_current(self) -> str:
        return plain(self.set.sense_amperes.choose(self.set.sense_amperes.compliance))

    @Command("[:SENSe[1]]:VOLTage[:DC]:RANGe:AUTO:ULIMit?")
    def _most_voltage(self) -> str:
        return plain(self.set.sense_volts.choose(self.set.sense_volts.compliance))

    # Measurement functions

    def _functions(self) -> str:
        return ",".join(
            f'"{name}"' if name == "RES" else f'"{name}:DC"' for name in ORDER if name in self.set.functions
        )

    def after_concurrent(self) -> None:
        """Measure volts alone, once there is only one function at a time."""
        if not self.set.concurrent:
            self.set.functions = ("VOLT",)

    @Command("[:SENSe[1]]:FUNCtion[:ON] <function list>", FUNCTION, rest=True)
    def _function_on(self, *names: str) -> None:
        if not self.set.concurrent and len(names) > 1:
            raise ScpiError(-221)
        kept = self.set.functions if self.set.concurrent else ()
        self.set.functions = tuple(dict.fromkeys((*kept, *names)))

    @Command("[:SENSe[1]]:FUNCtion[:ON]?")
    def _function_query(self) -> str:
        return self._functions()

    @Command("[:SENSe[1]]:FUNCtion[:ON]:ALL")
    def _function_on_all(self) -> None:
        self.set.functions = ("VOLT", "CURR", "RES") if self.set.concurrent else self.set.functions

    @Command("[:SENSe[1]]:FUNCtion[:ON]:COUNt?")
    def _function_count(self) -> str:
        return str(len(self.set.functions))

    @Command("[:SENSe[1]]:FUNCtion:OFF <function list>", FUNCTION, rest=True)
    def _function_off(self, *names: str) -> None:
        self.set.functions = tuple(name for name in self.set.functions if name not in names)

    @Command("[:SENSe[1]]:FUNCtion:OFF:ALL")
    def _function_off_all(self) -> None:
        self.set.functions = ()

    @Command("[:SENSe[1]]:FUNCtion:STATe? <name>", FUNCTION)
    def _function_state(self, name: str) -> str:
        return str(int(name in self.set.functions))

    # Source

    @Command("[:SOURce[1]]:CLEar[:IMMediate]")
    def _clear(self) -> None:
        switch_off(self, None)

    @Command("[:SOURce[1]]:LIST:VOLTage:APPend <NRf list>", VOLTS, rest=True)
    def _voltage_append(self, *levels: float) -> None:
        self.set.volts.points += levels

    @Command("[:SOURce[1]]:LIST:CURRent:APPend <NRf list>", AMPERES, rest=True)
    def _current_append(self, *levels: float) -> None:
        self.set.amperes.points += levels

    @Command("[:SOURce[1]]:LIST:VOLTage:POINts?")
    def _voltage_list_points(self) -> str:
        return str(len(self.set.volts.points))

    @Command("[:SOURce[1]]:LIST:CURRent:POINts?")
    def _current_list_points(self) -> str:
        return str(len(self.set.amperes.points))

    # Format and buffer

    def start_storing(self) -> None:
        """Begin a new buffer."""
        if self.buffer_control == "NEXT":
            self.buffer.clear()

    @Command("{:TRACe|:DATA}:DATA?")
    def _trace_data(self) -> str:
        return self._shown(stamped(self.buffer, self.stamps))

    @Command("{:TRACe|:DATA}:CLEar")
    def _trace_clear(self) -> None:
        self.buffer.clear()

    @Command("{:TRACe|:DATA}:FREE?")
    def _trace_free(self) -> str:
        used = len(self.buffer) * 24
        return f"{MAX_POINTS * 24 - used},{used}"

    @Command("{:TRACe|:DATA}:POINts:ACTual?")
    def _trace_actual(self) -> str:
        return str(len(self.buffer))

    @Command(":CALCulate3:DATA?")
    def _statistics(self) -> str:
        if not self.buffer:
            raise ScpiError(-230)
        return ",".join(map(signed, (*statistics_of(self.buffer, self.set.calc3), NOT_A_NUMBER)))
