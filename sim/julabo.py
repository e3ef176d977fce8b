"""Julabo CF41 cryo-compact circulator with an external vessel.

Source: CF31/CF41 operating manual (1.951.4871), chapter 11; docs/instruments/julabo.md gives the facts and says which
of them are not confirmed.
"""

import itertools
import re
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from .core import Clock, Faults, LineSimulator, MalformedError, OutOfRangeError, RefusedError
from .core.thermal import Pid

LOWEST, HIGHEST = -40.0, 200.0  # degC, working temperature range
AMBIENT = 22.0  # degC
HEATER = 2000.0  # W
COOLING = ((-40.0, 0.0), (-30.0, 120.0), (-20.0, 280.0), (0.0, 400.0), (20.0, 470.0))  # W at degC, ethanol
LITRE, METAL = 2000.0, 3000.0  # J/K, of the bath
VESSEL = 6000.0  # J/K
LOSS, VESSEL_LOSS = 3.0, 1.5  # W/K to the room
HOSES = 20.0  # W/K between bath and vessel, by pump stage
PUMP = 5.0  # W, by pump stage
SENSORS_APART = 35.0  # K, from which the two sensors disagree

INVALID = "-08 INVALID COMMAND"
NOT_ALLOWED = "-09 COMMAND NOT ALLOWED IN CURRENT OPERATING MODE"
TOO_SMALL = "-10 VALUE TOO SMALL"
TOO_LARGE = "-11 VALUE TOO LARGE"
EXCEEDS = "-13 WARNING : VALUE EXCEEDS TEMPERATURE LIMITS"
NO_SENSOR = "---.--"
NUMBER = re.compile(r"[+-]?\d+\.?\d*|[+-]?\.\d+")


@dataclass(frozen=True)
class Row:
    """A row of the command list: its range, how it is written, what it is at the beginning."""

    start: float
    low: float
    high: float
    form: str = ".2f"
    is_temperature: bool = False


def temperature(start: float) -> Row:
    """Return the row of a temperature within the working range."""
    return Row(start, LOWEST, HIGHEST, is_temperature=True)


SETTINGS: Mapping[str, Row] = {
    "MODE_01": Row(0, 0, 2, ".0f"),
    "MODE_02": Row(0, 0, 2, ".0f"),
    "MODE_03": Row(0, 0, 1, ".0f"),
    "MODE_04": Row(0, 0, 1, ".0f"),
    "MODE_05": Row(0, 0, 1, ".0f"),
    "MODE_08": Row(0, 0, 1, ".0f"),
    "SP_00": temperature(20.0),
    "SP_01": temperature(37.0),
    "SP_02": temperature(56.0),
    "SP_03": temperature(150.0),
    "SP_04": temperature(-35.0),
    "SP_06": Row(0, -100, 100),
    "SP_07": Row(2, 1, 4, ".0f"),
    "PAR_04": Row(0.0, 0, 5, ".1f"),
    "PAR_06": Row(1.0, 0.1, 99.9, ".1f"),
    "PAR_07": Row(100, 3, 9999, ".0f"),
    "PAR_08": Row(5, 0, 999, ".0f"),
    "PAR_09": Row(0.7, 0.1, 99.9, ".1f"),
    "PAR_10": Row(5.0, 1, 99.9, ".1f"),
    "PAR_11": Row(720, 3, 9999, ".0f"),
    "PAR_12": Row(55, 0, 999, ".0f"),
    "PAR_13": temperature(150.0),
    "PAR_14": temperature(-40.0),
    "PAR_15": Row(200, 0, 200, ".0f"),
    "PAR_16": Row(200, 0, 200, ".0f"),
    "HIL_00": Row(-100, -100, 0, ".0f"),
    "HIL_01": Row(100, 10, 100, ".0f"),
}
"""What OUT_ sets and IN_ asks for (11.3)."""
WORKING = ("SP_00", "SP_01", "SP_02")
VERSIONS = {
    "": "JULABO CRYOCOMPACT CF41 VERSION 5.0",
    "FL": "JULABO FL300 VERSION 1.0",
    "CD": "JULABO CORIO CD VERSION 1.0",
    "FC": "JULABO FC600 VERSION 3.0",
    "MH": "JULABO FP50_MH VERSION 2.0",
}
_FL = {name: name for name in ("PV_00", "SP_00", "MODE_05")}
_CD = _FL | {name: name for name in ("PV_01", "PV_03", "PV_04")}
_FC = _FL | {"PV_01": "PV_02", "PV_02": "PV_01", "PV_04": "PV_03", "SP_01": "SP_03", "SP_02": "SP_04"}
_FC |= {name: name for name in ("PAR_06", "PAR_07", "PAR_08")}
_MH = _FC | {name: name for name in ("MODE_04", "PAR_09", "PAR_11", "PAR_12")}
SERIES = {"FL": _FL, "CD": _CD, "FC": _FC, "MH": {name: row for name, row in _MH.items() if name != "PV_04"}}
"""The commands of series that have others, and what these are on the CF41."""
READ_ONLY = {"FC": ("SP_01", "SP_02"), "MH": ("SP_01", "SP_02")}


class Julabo(LineSimulator):
    """The circulator, under remote control.

    Change its world by `bath` and `vessel` (degC), `level` (litres), `safe_temp`, `remote`, `fahrenheit`, and by what
    works: `working_sensor`, `safety_sensor`, `external_sensor`, `condenser_clean`, `compressor`, `standby_plug`.
    """

    terminators_in = b"\r"
    terminator_out = b"\r\n"
    serial_line = {"baudrate": 4800, "bytesize": 7, "parity": "E"}
    step = 0.25

    def __init__(
        self,
        series: str = "",
        *,
        terminator: str = "\r\n",
        gateway: bool = False,
        clock: Clock | None = None,
        faults: Faults | None = None,
    ) -> None:
        r"""Switch it on, at room temperature, stopped.

        `series` is one of `SERIES`, or "" for the CF41; KeyError for another.
        Some series end their answers with LF alone: `terminator="\n"`. Behind some a `gateway` answers a set with an
        empty line.
        """
        super().__init__(clock=clock, faults=faults)
        self.version = VERSIONS[series]
        self.series = series
        self.terminator_out = terminator.encode()
        self.gateway = gateway
        self.pause = 0.0
        """Real seconds for which it is deaf after an OUT_ command; the manual asks clients to wait for 0.25 s."""
        self.bath = self.vessel = AMBIENT
        self.level = 4.5
        self.safe_temp = 180.0
        self.remote = True
        self.fahrenheit = False
        self.working_sensor = self.safety_sensor = self.external_sensor = True
        self.sensors_apart = 0.15
        """How much warmer the safety sensor is, K."""
        self.condenser_clean = self.compressor = self.standby_plug = True
        self._deaf_until = 0.0
        self._error = ""
        self._settings = {name: float(row.start) for name, row in SETTINGS.items()}
        self._percent = 0.0
        self._inner, self._outer = Pid(), Pid()

    def power_cycle(self) -> None:
        """Switch off and on: what was set by interface is lost, the bath is as warm as it was."""
        kept = {name: getattr(self, name) for name in ("bath", "vessel", "level", "remote", "safe_temp")}
        super().power_cycle()
        for name, value in kept.items():
            setattr(self, name, value)

    # the world

    @property
    def running(self) -> bool:
        """Whether pump and control are on."""
        return bool(self._settings["MODE_05"])

    @running.setter
    def running(self, on: bool) -> None:
        self._settings["MODE_05"] = float(on)
        self._inner.reset()
        self._outer.reset()

    @property
    def working(self) -> float:
        """The setpoint in use, degC."""
        return self._settings[WORKING[int(self._settings["MODE_01"])]]

    @property
    def stage(self) -> int:
        """Pump stage."""
        return int(self._settings["SP_07"]) if self.running else 0

    def advance(self, dt: float) -> None:
        """Let `dt` seconds pass: it controls, the bath warms or cools, the vessel follows."""
        if self.running and "ALARM" in self._trouble():
            self.running = False
        self._percent = self._control(dt) if self.running else 0.0
        part = self._percent / 100.0
        power = part * HEATER if part > 0 else part * self._cooling()
        flow = (HOSES * self.stage or 1.0) * (self.bath - self.vessel)
        losses = LOSS * (self.bath - AMBIENT)
        self.bath += (power + PUMP * self.stage - flow - losses) / (LITRE * self.level + METAL) * dt
        self.vessel += (flow - VESSEL_LOSS * (self.vessel - AMBIENT)) / VESSEL * dt

    def _cooling(self) -> float:
        if not self.compressor:
            return 0.0
        most = COOLING[-1][1]
        for (low, watts), (high, more) in itertools.pairwise(COOLING):
            if self.bath < high:
                most = watts + (more - watts) * (max(self.bath, low) - low) / (high - low)
                break
        return most if self.condenser_clean else most / 2

    def _control(self, dt: float) -> float:
        value = self._settings
        target = self.working
        if value["MODE_04"]:
            target = self._outer.output(
                self.working,
                self.vessel,
                dt,
                kp=3.0 / value["PAR_09"],
                ki=1.0 / value["PAR_11"],
                kd=value["PAR_12"] / 10.0,
                low=max(value["PAR_14"], self.vessel - value["PAR_16"]),
                high=min(value["PAR_13"], self.vessel + value["PAR_15"]),
                offset=self.working,
            )
        return self._inner.output(
            target,
            self.bath,
            dt,
            kp=100.0 / value["PAR_06"],
            ki=1.0 / value["PAR_07"],
            kd=value["PAR_08"],
            low=value["HIL_00"],
            high=value["HIL_01"],
        )

    def _trouble(self) -> str:
        """Return the first thing that is wrong, in the words of 11.5."""
        value, apart = self._settings, abs(self.bath - self._safety())
        found = {
            "-01 LOW LEVEL ALARM": self.level < 2.0,
            "-05 WORKING SENSOR ALARM": not self.working_sensor,
            "-33 SAFETY SENSOR ALARM": not self.safety_sensor,
            "-06 SENSOR DIFFERENCE ALARM": apart > SENSORS_APART,
            "-14 EXCESS TEMPERATURE PROTECTOR ALARM": self._safety() > self.safe_temp,
            "-15 EXTERNAL SENSOR ALARM": bool(value["MODE_04"]) and not self.external_sensor,
            "-26 WARNING: STAND-BY PLUG IS MISSING": not self.standby_plug,
            "-40 NIVEAU LEVEL WARNUNG": self.level < 3.0,
            "-21 WARNING: COMPRESSOR STAGE 1 DOES NOT WORK": not self.compressor,
            "-20 WARNING: CLEAN CONDENSOR OR CHECK COOLING WATER CIRCUIT OF REFRIGERATOR": not self.condenser_clean,
            "-03 EXCESS TEMPERATURE WARNING": self.running and self.bath > value["SP_03"],
            "-04 LOW TEMPERATURE WARNING": self.running and self.bath < value["SP_04"],
        }
        return next((text for text, is_so in found.items() if is_so), "")

    def _safety(self) -> float:
        return self.bath + self.sensors_apart

    # the wire (11.2)

    def receive(self, message: bytes) -> bytes | None:
        """Lose what comes too early."""
        if time.monotonic() < self._deaf_until:
            return None
        return super().receive(message)

    def _execute(self, part: str) -> str | None:
        head, _, argument = part.partition(" ")
        head = head.upper()
        if head.startswith("OUT_"):
            self._deaf_until = time.monotonic() + self.pause
            self._set(
                self._known(head.removeprefix("OUT_"), READ_ONLY.get(self.series, ())), argument.strip()
            )
            return "" if self.gateway else None
        if argument:
            raise MalformedError(part)
        if head == "VERSION":
            return self.version
        if head == "STATUS":
            return self._status()
        if not head.startswith("IN_"):
            raise MalformedError(head)
        return self._asked(self._known(head.removeprefix("IN_")))

    def _known(self, name: str, but: tuple[str, ...] = ()) -> str:
        """Return what a name of this series is on the CF41."""
        names = SERIES.get(self.series, {name: name})
        if name not in names or name in but:
            raise MalformedError(name)
        return names[name]

    def refused(self, reason: RefusedError) -> str | None:
        """Stay silent; STATUS says why."""
        self._error = str(reason) if isinstance(reason, OutOfRangeError) else INVALID
        return "" if self.gateway and isinstance(reason, OutOfRangeError) else None

    def _status(self) -> str:
        if self._error:
            error, self._error = self._error, ""
            return error
        mode = 2 * self.remote + self.running
        return (
            self._trouble()
            or f"{mode:02d} {'REMOTE' if self.remote else 'MANUAL'} {'START' if self.running else 'STOP'}"
        )

    def _asked(self, name: str) -> str:
        readings: Mapping[str, Callable[[], str]] = {
            "PV_00": lambda: self._degrees(self.bath) if self.working_sensor else NO_SENSOR,
            "PV_01": lambda: f"{self._percent:.1f}",
            "PV_02": lambda: self._degrees(self.vessel) if self.external_sensor else NO_SENSOR,
            "PV_03": lambda: self._degrees(self._safety()) if self.safety_sensor else NO_SENSOR,
            "PV_04": lambda: self._degrees(self.safe_temp),
            "SP_05": lambda: self._degrees(0.0),
            "SP_06": lambda: f"{self.fahrenheit:d}",
            "SP_08": lambda: "0.00",
            "PAR_00": lambda: f"{abs(self.bath - self._safety()):.2f}",
            "PAR_01": lambda: "120",
            "PAR_02": lambda: "35",
            "PAR_03": lambda: "25",
            "PAR_05": lambda: f"{COOLING[-1][1] / HEATER:.2f}",
        }
        if name in readings:
            return readings[name]()
        if name not in SETTINGS:
            raise MalformedError(name)
        row, value = SETTINGS[name], self._settings[name]
        return self._degrees(value) if row.is_temperature else format(value + 0.0, row.form)

    def _set(self, name: str, argument: str) -> None:
        row = SETTINGS.get(name)
        if row is None or not NUMBER.fullmatch(argument):
            raise MalformedError(name)
        value = float(argument)
        if not self.remote or (name == "MODE_05" and value and "ALARM" in self._trouble()):
            raise OutOfRangeError(NOT_ALLOWED)
        if row.is_temperature and self.fahrenheit:
            value = (value - 32.0) / 1.8
        if not row.low <= value <= row.high:
            raise OutOfRangeError(TOO_SMALL if value < row.low else TOO_LARGE)
        if name == "MODE_05":
            self.running = bool(value)
            return
        self._settings[name] = value
        if name in WORKING and not self._settings["SP_04"] <= value <= self._settings["SP_03"]:
            self._error = EXCEEDS

    def _degrees(self, celsius: float) -> str:
        return f"{celsius * 1.8 + 32.0 if self.fahrenheit else celsius:.2f}"
