"""What a Keithley 2400 has besides source and measurement: system, status, display, digital lines, null offset.

Source: Series 2400 SourceMeter User's Manual (2400S-900-01 Rev. K), chapters 13, 15, 16 and 18.
"""

import copy
from typing import ClassVar

from .core import Clock, Faults
from .core.sourcemeter import INFINITE, ORDER, Panel, Point, Settings, SourceMeter, switch_off
from .scpi import (
    Command,
    ScpiError,
    ScpiSimulator,
    Setting,
    StatusRegister,
    boolean,
    choice,
    exponential,
    integer,
    number,
    string,
)

ASCII_ONLY = 701


class System(SourceMeter, ScpiSimulator):
    """Its commands that source and measure nothing."""

    def __init__(self, *, clock: Clock | None = None, faults: Faults | None = None) -> None:
        """Switch it on, with the output enable line pulled low and all digital outputs high."""
        super().__init__(clock=clock, faults=faults)
        self.panel = Panel()
        self.saved: dict[int, Settings] = {}
        self.sample: list[Point] = []
        self.time_zero = self.clock.now()
        self._enable_line = True

    @property
    def enable_line(self) -> bool:
        """Whether the output enable line is pulled low, which allows the output (13)."""
        return self._enable_line

    @enable_line.setter
    def enable_line(self, low: bool) -> None:
        self._enable_line = low
        if not low and self.panel.output_enable:
            switch_off(self, None)

    # fmt: off
    settings: ClassVar[tuple[Setting | StatusRegister, ...]] = (
        Setting(":OUTPut[1]:{ENABle|INTerlock}[:STATe] <b>", "output_enable", boolean(), of="panel",
                then=lambda sim, _: setattr(sim, "enable_line", sim.enable_line)),
        Setting(":CALCulate2:FEED <name>", "null_feed", choice("VOLTage", "CURRent", "RESistance"), of="set"),
        Setting(":CALCulate2:NULL:OFFSet <n>", "null", number(-9.999999e20, 9.999999e20, 0.0), of="set"),
        Setting(":CALCulate2:NULL:STATe <b>", "nulled", boolean(), of="set"),
        Setting(":SOURce2:TTL[:LEVel][:DEFault] <NRf>", "outputs", integer(0, 15), of="panel"),
        Setting(":SOURce2:BSIZe <n>", "output_lines", integer(3, 4), of="panel"),
        Setting(":SOURce2:CLEar:AUTO <b>", "outputs_clear", boolean(), of="panel"),
        Setting(":SOURce2:CLEar:AUTO:DELay <n>", "outputs_delay", number(0.0, 60.0, 1e-4), of="panel"),
        Setting(":FORMat:BORDer <name>", "order", choice("NORMal", "SWAPped"), of="panel"),
        Setting(":FORMat:SREGister <name>", "sreg", choice("ASCii"), of="panel"),
        Setting(":DISPlay:ENABle <b>", "display", boolean(), of="panel"),
        Setting(":DISPlay:DIGits <n>", "digits", integer(4, 7, 6), of="panel"),
        Setting(":DISPlay[:WINDow[1]]:TEXT[:DATA] <a>", "text", string(20), of="panel"),
        Setting(":DISPlay[:WINDow[1]]:TEXT:STATe <b>", "shows_text", boolean(), of="panel"),
        Setting(":DISPlay:WINDow2:TEXT[:DATA] <a>", "lower_text", string(32), of="panel"),
        Setting(":DISPlay:WINDow2:TEXT:STATe <b>", "shows_lower_text", boolean(), of="panel"),
        Setting(":SYSTem:BEEPer:STATe <b>", "beeper", boolean(), of="panel"),
        Setting(":SYSTem:GUARd <name>", "guard", choice("OHMS", "CABLe"), of="panel"),
        Setting(":SYSTem:TIME:RESet:AUTO <b>", "resets_time", boolean(), of="panel"),
        Setting(":SYSTem:LFRequency <n>", "frequency", integer(50, 60), of="panel"),
        Setting(":SYSTem:LFRequency:AUTO <b>", "auto_frequency", boolean(), of="panel"),
        Setting(":SYSTem:POSetup <name>", "power_on", choice("RST", "PRESet", "SAV0", "SAV1", "SAV2", "SAV3", "SAV4"),
                of="panel"),
        Setting(":SYSTem:RCMode <name>", "range_change", choice("SINGle", "MULTiple"), of="panel"),
        Setting(":SYSTem:RWLock <b>", "keys_locked", boolean(), of="panel"),
    )
    # fmt: on

    @Command(
        ":FORMat[:DATA] <type>[,<length>]", choice("ASCii", "REAL", "SREal"), integer(32, 32), optional=1
    )
    def _format(self, kind: str, _: int | None) -> None:
        if kind != "ASC":
            raise ScpiError(ASCII_ONLY)

    @Command(":FORMat[:DATA]?")
    def _format_query(self) -> str:
        return "ASC"

    @Command(":OUTPut[1]:{ENABle|INTerlock}:TRIPped?")
    def _enabled(self) -> str:
        return str(int(self.enable_line))

    @Command(":SOURce2:TTL[:LEVel]:ACTual?")
    def _actual_outputs(self) -> str:
        return str(self.panel.outputs)

    @Command(":SOURce2:CLEar[:IMMediate]")
    def _clear_outputs(self) -> None:
        """The lines go back to their level, which no limit test has changed."""

    # Null offset (8)

    def _nulled(self, points: list[Point]) -> str:
        if not points:
            raise ScpiError(-230)
        offset = self.set.null if self.set.nulled else 0.0
        values = [point[ORDER.index(self.set.null_feed)] for point in points]
        return ",".join(
            exponential(6, "+")(value if value >= INFINITE else value - offset) for value in values
        )

    @Command(":CALCulate2:DATA?")
    def _null_data(self) -> str:
        return self._nulled(self.sample)

    @Command(":CALCulate2:DATA:LATest?")
    def _latest_null(self) -> str:
        return self._nulled(self.sample[-1:])

    @Command(":CALCulate2:NULL:ACQuire")
    def _acquire_null(self) -> None:
        value = self.sample[-1][ORDER.index(self.set.null_feed)] if self.sample else INFINITE
        if value >= INFINITE:
            raise ScpiError(-230)
        self.set.null = value

    # Status and system

    @Command("*OPT?")
    def _options(self) -> str:
        return "0"

    @Command(":STATus:QUEue[:NEXT]?")
    def _queue(self) -> str:
        return self.next_error()

    @Command("{:STATus:QUEue|:SYSTem}:CLEar")
    def _clear_errors(self) -> None:
        self.errors.clear()

    @Command(":SYSTem:ERRor:ALL?")
    def _all_errors(self) -> str:
        return self.all_errors()

    @Command(":SYSTem:ERRor:COUNt?")
    def _error_count(self) -> str:
        return str(len(self.errors))

    @Command(":SYSTem:ERRor:CODE[:NEXT]?")
    def _error_code(self) -> str:
        return self.next_error().partition(",")[0]

    @Command(":SYSTem:ERRor:CODE:ALL?")
    def _all_codes(self) -> str:
        codes = [str(code) for code, _ in self.errors] or ["0"]
        self.errors.clear()
        return ",".join(codes)

    @Command(":SYSTem:PRESet")
    def _preset(self) -> None:
        self.reset()

    @Command("*SAV <n>", integer(0, 4))
    def _save(self, place: int) -> None:
        self.saved[place] = copy.deepcopy(self.set)

    @Command("*RCL <n>", integer(0, 4))
    def _recall(self, place: int) -> None:
        self.reset()
        self.set = copy.deepcopy(self.saved.get(place, Settings()))

    @Command(":SYSTem:BEEPer[:IMMediate] <freq>,<time>", number(65.0, 2e6), number(0.0, 7.9))
    def _beep(self, frequency: float, seconds: float) -> None:
        """It beeps."""

    @Command(":SYSTem:LOCal")
    def _local(self) -> None:
        self.panel.shows_text = self.panel.shows_lower_text = False

    @Command(":SYSTem:VERSion?")
    def _version(self) -> str:
        return "1996.0"

    @Command(":SYSTem:TIME?")
    def _time(self) -> str:
        return f"{(self.clock.now() - self.time_zero) % 99999.999:.3f}"

    @Command(":SYSTem:TIME:RESet")
    def _time_reset(self) -> None:
        self.time_zero = self.clock.now()

    @Command(":DISPlay[:WINDow[1]]:DATA?")
    def _top(self) -> str:
        panel = self.panel
        return (
            f'"{panel.text}"' if panel.shows_text else f'"{self.operate()[1] if self.output else 0.0:+.5f} A"'
        )

    @Command(":DISPlay:WINDow2:DATA?")
    def _bottom(self) -> str:
        panel, volts = self.panel, self.set.volts.level
        return f'"{panel.lower_text}"' if panel.shows_lower_text else f'"Vsrc:{volts:+.3f} V"'

    @Command(":DISPlay:CNDisplay")
    def _show_readings(self) -> None:
        self.panel.shows_text = self.panel.shows_lower_text = False
