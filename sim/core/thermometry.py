"""A sensor input of a temperature monitor or controller: from sensor to kelvin, status and alarms."""

import math
from collections.abc import Mapping
from dataclasses import dataclass

from .curves import LOG_OHM, OHM, VOLT, StoredCurve
from .thermal import CX_1050, DT_670, PT_100, Sensor

KELVIN, CELSIUS, SENSOR = 1, 2, 3
"""Units of a reading."""
DISABLED, DIODE, PLATINUM, NTC = 0, 1, 2, 3
"""Types of sensors."""
INVALID, UNDERRANGE, OVERRANGE, UNITS_ZERO, UNITS_OVERRANGE = 1, 16, 32, 64, 128
"""The bits of a reading's status."""
DIODE_FULL_SCALE = (2.5, 10.0)
"""V, by range."""
RTD_FULL_SCALE = (10.0, 30.0, 100.0, 300.0, 1e3, 3e3, 1e4, 3e4, 1e5)
"""ohm, by range."""
HIGHEST_RANGE = {DISABLED: 8, DIODE: 1, PLATINUM: 6, NTC: 8}
"""By type of sensor."""
CURVE_FORMATS = {DISABLED: (), DIODE: (VOLT,), PLATINUM: (OHM,), NTC: (OHM, LOG_OHM)}
"""The formats of the curves that fit a type of sensor."""
_SETUP = {DT_670: (DIODE, 2), PT_100: (PLATINUM, 6), CX_1050: (NTC, 21)}


@dataclass
class SensorInput:
    """What is set for one input, the sensor that is wired to it, and the curves it can use."""

    curves: Mapping[int, StoredCurve]
    sensor: Sensor
    type: int
    curve: int
    name: str
    autorange: int = 0
    range: int = 0
    compensation: int = 0
    units: int = KELVIN
    excitation: int = 0
    filter: int = 0
    points: int = 8
    window: int = 10
    limit: float = 0.0
    alarm: int = 0
    high: float = 1000.0
    low: float = 0.0
    deadband: float = 0.0
    latch: int = 0
    audible: int = 1
    visible: int = 1
    high_state: bool = False
    low_state: bool = False
    lowest: float = math.inf
    highest: float = -math.inf

    @classmethod
    def set_up(cls, curves: Mapping[int, StoredCurve], sensor: Sensor, name: str) -> "SensorInput":
        """Make an input that is set as a person would for this sensor."""
        type_, curve = _SETUP[sensor.response]
        autorange, highest = (0, 0) if type_ == DIODE else (1, HIGHEST_RANGE[type_])
        return cls(curves, sensor, type_, curve, name, autorange=autorange, range=highest)

    def reading(self) -> tuple[float, int]:
        """Return kelvin (0 if there is no valid reading) and the status bits."""
        if self.type == DISABLED:
            return 0.0, INVALID
        units = self.sensor.units()
        if units == 0.0 or units > self._full_scale():
            return 0.0, UNITS_OVERRANGE if units else UNITS_ZERO
        curve = self.curves[self.curve].curve if self.curve else None
        if curve is None:
            return 0.0, INVALID
        kelvin = curve.kelvin(units)
        lowest, highest = curve.limits
        # the tolerance covers a sensor that stands exactly at the end of its curve
        if kelvin < lowest - 1e-6:
            return 0.0, UNDERRANGE
        return (0.0, OVERRANGE) if kelvin > highest + 1e-6 else (kelvin, 0)

    def value(self, units: int) -> float:
        """Return the reading in one of the units; in sensor units it needs no curve."""
        if units == SENSOR:
            value = self.sensor.units()
            return value if self.type != DISABLED and value <= self._full_scale() else 0.0
        return self.reading()[0] - (273.15 if units == CELSIUS else 0.0)

    def in_kelvin(self, value: float) -> float:
        """Convert a value in the input's preferred units, such as a setpoint; 0 without a curve."""
        if self.units == SENSOR:
            curve = self.curves[self.curve].curve if self.curve else None
            return curve.kelvin(value) if curve else 0.0
        return value + (273.15 if self.units == CELSIUS else 0.0)

    def fit_curve(self) -> None:
        """Go without a curve if the one that is set does not fit the type of sensor."""
        if self.curve and self.curves[self.curve].format not in CURVE_FORMATS[self.type]:
            self.curve = 0

    def fit_type(self) -> None:
        """Bring the other settings in line with a new type of sensor."""
        self.excitation = 0
        self.range = min(self.range, HIGHEST_RANGE[self.type])
        self.fit_curve()

    def from_kelvin(self, kelvin: float) -> float:
        """Convert kelvin to the input's preferred units; 0 without a curve where one is needed."""
        if self.units == SENSOR:
            curve = self.curves[self.curve].curve if self.curve else None
            return curve.units(kelvin) if curve else 0.0
        return kelvin - (273.15 if self.units == CELSIUS else 0.0)

    def watch(self) -> tuple[float, int]:
        """Follow the reading with the extremes and the alarm states, and return it."""
        kelvin, status = self.reading()
        if not status:
            value = kelvin if self.units == KELVIN else self.value(self.units)
            self.lowest, self.highest = min(self.lowest, value), max(self.highest, value)
            if self.alarm:
                high = self.high - self.deadband * self.high_state
                low = self.low + self.deadband * self.low_state
                self.high_state = value > high or bool(self.latch and self.high_state)
                self.low_state = value < low or bool(self.latch and self.low_state)
        return kelvin, status

    def reset_extremes(self) -> None:
        """Forget the lowest and the highest reading."""
        self.lowest, self.highest = math.inf, -math.inf

    def reset_alarm(self) -> None:
        """Clear the alarm states, also latched ones."""
        self.high_state = self.low_state = False

    def _full_scale(self) -> float:
        if self.type == DIODE:
            return DIODE_FULL_SCALE[self.range]
        return RTD_FULL_SCALE[HIGHEST_RANGE[self.type] if self.autorange else self.range]
