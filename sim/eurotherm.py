"""What Eurotherm's 2400, 3200 and 3500 series have in common: an oven, a PID loop with autotune, alarms, the registers.

Source: 2000 Series Communications Handbook (HA026230 issue 3), chapters 3, 5 and 6.
"""

import math
from dataclasses import dataclass
from typing import ClassVar

from .core import Clock, Faults
from .core.thermal import Pid, Stage
from .modbus import ModbusSimulator, Register

ZERO = 273.15  # K
ROOM = 22.0  # degC
POWER = 800.0  # W, of the heater at 100 %
ELEMENT, LOAD = 60.0, 300.0  # J/K
COUPLING, LOSS = 10.0, 1.5  # W/K: element to load, load to room
RANGE = (-200.0, 1372.0)  # degC: a thermocouple of type K
OFF, ABSOLUTE_HIGH, ABSOLUTE_LOW, DEVIATION_HIGH, DEVIATION_LOW, DEVIATION_BAND = range(6)
AUTO, MANUAL = 0, 1
SECONDS, MINUTES, HOURS = 1.0, 60.0, 3600.0
STANDBY, CONFIGURATION = 1, 2
TUNE_CYCLES = 2


@dataclass
class Alarm:
    """One of the four alarms.

    Attributes:
        kind: what it compares, by the number of the series.
        setpoint: with what, degC.
        hysteresis: how far the value must come back, degC.
        active: whether it is on.
    """

    kind: int = OFF
    setpoint: float = 0.0
    hysteresis: float = 1.0
    active: bool = False

    def look(self, value: float, working: float, kinds: dict[int, int]) -> None:
        """Compare; `kinds` says what the numbers of a series mean."""
        error = value - working
        kind = kinds.get(self.kind, OFF)
        if kind == ABSOLUTE_HIGH:
            beyond = value - self.setpoint
        elif kind == ABSOLUTE_LOW:
            beyond = self.setpoint - value
        elif kind == DEVIATION_HIGH:
            beyond = error - self.setpoint
        elif kind == DEVIATION_LOW:
            beyond = -error - self.setpoint
        elif kind == DEVIATION_BAND:
            beyond = abs(error) - self.setpoint
        else:
            beyond = -math.inf
        self.active = beyond > 0 or (self.active and beyond > -self.hysteresis)


class Eurotherm(ModbusSimulator):
    """A controller with a thermocouple in an oven.

    Change its world by `load`, `element` and `room` (kelvin), and `sensor_broken`.
    """

    step = 0.5
    wide_from = 0x8000
    serial_line = {"baudrate": 9600}
    model: ClassVar[int]
    version: ClassVar[int]
    alarm_kinds: ClassVar[dict[int, int]]
    """What an alarm compares, by its number."""
    ramp_units: ClassVar[tuple[float, ...]] = (SECONDS, MINUTES, HOURS)
    """What a setpoint rate is per, by its number, in seconds."""

    def __init__(self, *, unit: int = 1, clock: Clock | None = None, faults: Faults | None = None) -> None:
        """Switch it on, cold, in automatic."""
        super().__init__(unit=unit, clock=clock, faults=faults)
        self.room = Stage(ROOM + ZERO)
        self.element = Stage(ROOM + ZERO, lambda kelvin: ELEMENT)
        self.load = Stage(ROOM + ZERO, lambda kelvin: LOAD)
        self.sensor_broken = False
        self.range_low, self.range_high = RANGE
        self.decimals = 1
        self.units = 0
        self.instrument_mode = 0
        self.setpoints = [25.0, 50.0]
        self.setpoint_number = 0
        self.setpoint_low, self.setpoint_high = 0.0, 1000.0
        self.trim = 0.0
        self.remote = 0
        self.remote_setpoint = 0.0
        self.working_setpoint = 25.0
        self.rate = 0.0
        self.rate_unit = self.ramp_units.index(MINUTES)
        self.mode = AUTO
        self.output = 0.0
        self.output_low, self.output_high = 0.0, 100.0
        self.output_rate = 0.0
        self.safe_output = 0.0
        self.offset = 0.0
        self.proportional_band = 60.0
        self.integral_time = 120.0
        self.derivative_time = 20.0
        number = {kind: code for code, kind in self.alarm_kinds.items()}
        self.alarms = [
            Alarm(number[ABSOLUTE_HIGH], 1000.0),
            Alarm(number[ABSOLUTE_LOW], -100.0),
            Alarm(number[DEVIATION_HIGH], 500.0),
            Alarm(),
        ]
        self.acknowledged = True
        self.acknowledge = 0
        self.autotune = 0
        self.kept = {register.number: 0.0 for register in self.table if register.name.startswith("kept.")}
        self._pid = Pid()
        self._tune_above = True
        self._tune_crossings: list[float] = []
        self._tune_extremes = [0.0, 0.0]
        self._time = 0.0

    # what registers show

    @property
    def process_value(self) -> float:
        """What the thermocouple reads, degC; without it the end of the range."""
        if self.sensor_broken:
            return self.range_high
        return min(max(self.load.temperature - ZERO + self.offset, self.range_low), self.range_high)

    @property
    def target(self) -> float:
        """The setpoint that is selected."""
        return self.setpoints[self.setpoint_number]

    @target.setter
    def target(self, value: float) -> None:
        self.setpoints[self.setpoint_number] = value

    @property
    def error(self) -> float:
        """How far the process value is from the working setpoint."""
        return self.process_value - self.working_setpoint

    @property
    def is_manual(self) -> bool:
        """Whether the output may be written."""
        return self.mode == MANUAL

    @property
    def is_configuring(self) -> bool:
        """Whether the configuration may be written."""
        return self.instrument_mode == CONFIGURATION

    @property
    def ramping(self) -> bool:
        """Whether the working setpoint is on its way."""
        return self.rate > 0 and self.working_setpoint != self._aim

    @property
    def new_alarm(self) -> bool:
        """Whether there is an alarm that nobody has acknowledged."""
        return not self.acknowledged

    @property
    def status(self) -> int:
        """The summary of the state; the series differ in its upper bits."""
        bits = [alarm.active for alarm in self.alarms] + [self.is_manual, self.sensor_broken]
        return sum(1 << number for number, state in enumerate(bits) if state)

    def fast_status(self) -> int:
        """Return the lower half of the status word."""
        return self.status & 0xFF

    @property
    def _aim(self) -> float:
        return (
            min(max(self.remote_setpoint + self.trim, self.setpoint_low), self.setpoint_high)
            if self.remote
            else self.target
        )

    def changed(self, register: Register) -> None:
        """Act on what has been written."""
        if register.name == "acknowledge":
            self.acknowledge = 0
            self.acknowledged = True
        elif register.name == "autotune":
            self._tune_crossings.clear()
        elif register.name == "mode":
            self._pid.reset()

    # the world

    def advance(self, dt: float) -> None:
        """Let `dt` seconds pass: the element warms the load, the load the room."""
        self._time += dt
        self._move_setpoint(dt)
        self._control(dt)
        watts = POWER * self.output / 100.0
        across = COUPLING * (self.element.temperature - self.load.temperature)
        self.element.advance(dt, watts - across)
        self.load.advance(dt, across - LOSS * (self.load.temperature - self.room.temperature))
        value = self.process_value
        for alarm in self.alarms:
            before = alarm.active
            alarm.look(value, self.working_setpoint, self.alarm_kinds)
            if alarm.active and not before:
                self.acknowledged = False

    def _move_setpoint(self, dt: float) -> None:
        step = self.rate / self.ramp_units[self.rate_unit] * dt if self.rate > 0 else math.inf
        distance = self._aim - self.working_setpoint
        self.working_setpoint = (
            self._aim if abs(distance) <= step else self.working_setpoint + math.copysign(step, distance)
        )

    def _control(self, dt: float) -> None:
        if self.instrument_mode >= STANDBY:
            self.output = 0.0
        elif self.is_manual:
            self.output = min(max(self.output, self.output_low), self.output_high)
        elif self.sensor_broken:
            self.output = self.safe_output
            self.autotune = 0
        elif self.autotune:
            self._tune()
        else:
            self.output = self._pid.output(
                self.working_setpoint,
                self.process_value,
                dt,
                kp=100.0 / max(self.proportional_band, 0.1),
                ki=1.0 / self.integral_time if self.integral_time else 0.0,
                kd=self.derivative_time,
                low=self.output_low,
                high=self.output_high,
            )

    def _tune(self) -> None:
        """Switch the output on and off around the setpoint, and learn from the oscillation."""
        value, above = self.process_value, self.process_value > self.working_setpoint
        low, high = self._tune_extremes
        self._tune_extremes = [min(low, value), max(high, value)]
        self.output = self.output_low if above else self.output_high
        if above != self._tune_above:
            self._tune_above = above
            if above:
                self._tune_crossings.append(self._time)
            if len(self._tune_crossings) == 1:
                self._tune_extremes = [value, value]
        if len(self._tune_crossings) > TUNE_CYCLES:
            period = (self._tune_crossings[-1] - self._tune_crossings[0]) / TUNE_CYCLES
            self.proportional_band = max(round(self._tune_extremes[1] - self._tune_extremes[0], 1), 1.0)
            self.integral_time, self.derivative_time = float(round(period)), float(round(period / 6))
            self.autotune = 0
            self._tune_crossings.clear()
            self._pid.reset()


def kept(number: int, decimals: int | str = 0, low: float = 0, *, time: bool = False) -> Register:
    """Return a register for a setting that this oven shows nothing of."""
    return Register(number, f"kept.{number}", decimals, low, 9999, time=time)


def common(*, band: int | str, output: int | str) -> tuple[Register, ...]:
    """Return the registers that all series have at the same addresses.

    Args:
        band: the decimals of what is in the unit of the display.
        output: the decimals of outputs in percent.
    """
    return (
        Register(1, "process_value", band, settable=False),
        Register(2, "target", band, "setpoint_low", "setpoint_high"),
        Register(3, "output", output, "output_low", "output_high", settable="is_manual"),
        Register(4, "output", output, settable=False),
        Register(5, "working_setpoint", band, settable=False),
        Register(6, "proportional_band", band, 0.1, 9999),
        Register(8, "integral_time", 0, 0, 9999, time=True),
        Register(9, "derivative_time", 0, 0, 9999, time=True),
        Register(11, "range_low", band, settable=False),
        Register(12, "range_high", band, settable=False),
        Register(13, "alarms.0.setpoint", band, -1999, 9999),
        Register(14, "alarms.1.setpoint", band, -1999, 9999),
        Register(15, "setpoint_number", values=(0, 1), whole=True),
        Register(24, "setpoints.0", band, "setpoint_low", "setpoint_high"),
        Register(25, "setpoints.1", band, "setpoint_low", "setpoint_high"),
        Register(27, "trim", band, -1999, 9999),
        Register(30, "output_high", output, 0, 100),
        Register(31, "output_low", output, -100, 100),
        Register(35, "rate", band, 0, 9999),
        Register(37, "output_rate", 1, 0, 9999),
        Register(39, "error", band, settable=False),
        Register(47, "alarms.0.hysteresis", band, 0, 9999),
        Register(68, "alarms.1.hysteresis", band, 0, 9999),
        Register(69, "alarms.2.hysteresis", band, 0, 9999),
        Register(71, "alarms.3.hysteresis", band, 0, 9999),
        Register(75, "status", settable=False, whole=True),
        Register(81, "alarms.2.setpoint", band, -1999, 9999),
        Register(82, "alarms.3.setpoint", band, -1999, 9999),
        Register(107, "version", settable=False, whole=True),
        Register(111, "setpoint_high", band, "range_low", "range_high"),
        Register(112, "setpoint_low", band, "range_low", "range_high"),
        Register(122, "model", settable=False, whole=True),
        Register(141, "offset", band, -1999, 9999),
        Register(131, "unit", low=1, high=254, whole=True),
        Register(199, "instrument_mode", values=(0, 1, 2), whole=True),
        Register(258, "sensor_broken", settable=False, whole=True),
        Register(260, "new_alarm", settable=False, whole=True),
        Register(270, "autotune", values=(0, 1), whole=True),
        Register(273, "mode", values=(AUTO, MANUAL), whole=True),
        Register(274, "acknowledge", values=(0, 1), whole=True),
        Register(276, "remote", values=(0, 1), whole=True),
        Register(289, "process_value", band, settable=False),
        Register(516, "units", values=(0, 1, 2, 3), settable="is_configuring", whole=True),
        Register(525, "decimals", values=(0, 1, 2), settable="is_configuring", whole=True),
        Register(531, "rate_unit", values=(0, 1, 2), whole=True),
        # deadband, cutback low and high, cool gain, manual reset, loop break time, hysteresis, input filter
        *(kept(number, band) for number in (16, 17, 18, 86, 88)),
        kept(19, 1),
        kept(28, output, -100),
        kept(83, time=True),
        kept(101, time=True),
    )
