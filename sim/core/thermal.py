"""Temperatures: stages with heat capacity, sensors with response curves, and a PID law."""

import bisect
import math
from collections.abc import Callable, Iterable

STEFAN_BOLTZMANN = 5.670374e-8
"""W / (m2 K4)"""


class Stage:
    """A body of one temperature; heat flows in and out of it."""

    def __init__(self, temperature: float, heat_capacity: Callable[[float], float] | None = None) -> None:
        """Make a body of `temperature` kelvin; `heat_capacity` gives J/K at a temperature.

        Without a heat capacity it is a bath: nothing changes its temperature.
        """
        self.temperature = temperature
        self._heat_capacity = heat_capacity

    def advance(self, dt: float, power: float) -> None:
        """Take in `power` watts (negative: give off) for `dt` seconds."""
        if self._heat_capacity is not None:
            change = power / self._heat_capacity(self.temperature) * dt
            self.temperature = max(self.temperature + change, 0.0)


def debye_like(floor: float, rise: float, characteristic: float) -> Callable[[float], float]:
    """Return a heat capacity in J/K: `floor`, plus `rise` that comes with T^3 around `characteristic` kelvin."""

    def heat_capacity(temperature: float) -> float:
        cube = (temperature / characteristic) ** 3
        return floor + rise * cube / (1.0 + cube)

    return heat_capacity


def cold_head(base: float, most: float, scale: float) -> Callable[[float], float]:
    """Return a cooling power in W: none below `base` kelvin, towards `most` watts within `scale` kelvin."""

    def power(temperature: float) -> float:
        return most * (1.0 - math.exp(-(temperature - base) / scale)) if temperature > base else 0.0

    return power


def radiation(area: float, hot: float, cold: float) -> float:
    """Return the watts radiated between two temperatures over an effective `area` in m2."""
    return STEFAN_BOLTZMANN * area * (hot**4 - cold**4)


class Curve:
    """A sensor's response: sensor units against kelvin, linear between its points."""

    def __init__(self, points: Iterable[tuple[float, float]], *, log: bool = False) -> None:
        """Take (sensor units, kelvin) points in any order; with `log` the units are log10 of ohm."""
        self._log = log
        self.points = tuple(points)
        self._by_units = sorted(self.points)
        self._by_kelvin = sorted((kelvin, units) for units, kelvin in self.points)

    def units(self, kelvin: float) -> float:
        """Return what the sensor shows at a temperature, also beyond the curve's ends."""
        units = _interpolate(self._by_kelvin, kelvin)
        return 10**units if self._log else units

    def kelvin(self, units: float) -> float:
        """Return the temperature at a sensor reading; a reading beyond the curve gives one beyond it."""
        if self._log:
            units = math.log10(max(units, 1e-9))
        return _interpolate(self._by_units, units)

    @property
    def limits(self) -> tuple[float, float]:
        """The lowest and the highest temperature of the curve, in kelvin."""
        return self._by_kelvin[0][0], self._by_kelvin[-1][0]


def _interpolate(table: list[tuple[float, float]], x: float) -> float:
    right = min(max(bisect.bisect_left(table, (x,)), 1), len(table) - 1)
    (x0, y0), (x1, y1) = table[right - 1], table[right]
    return y0 + (y1 - y0) * (x - x0) / (x1 - x0)


class Sensor:
    """A thermometer on a stage; `fault` is None, "open" or "short" (of its leads)."""

    def __init__(self, stage: Stage, response: Curve) -> None:
        """Put a sensor with this response on the stage."""
        self.stage = stage
        self.response = response
        self.fault: str | None = None

    def units(self) -> float:
        """Return the reading in sensor units: 0 when short, infinite when open."""
        if self.fault is not None:
            return math.inf if self.fault == "open" else 0.0
        return self.response.units(self.stage.temperature)


class Pid:
    """The law kp (e + ki times the integral of e + kd de/dt), limited, without wind-up."""

    def __init__(self) -> None:
        """Start at rest."""
        self.reset()

    def reset(self) -> None:
        """Forget the past."""
        self._integral = 0.0
        self._measured: float | None = None

    def output(
        self,
        setpoint: float,
        measured: float,
        dt: float,
        *,
        kp: float,
        ki: float,
        kd: float,
        low: float,
        high: float,
        offset: float = 0.0,
    ) -> float:
        """Return the output after `dt` seconds; ki is in 1/s, kd in s, kp in output per unit of error.

        The derivative is taken of the measured value alone, so that a new setpoint gives no kick.
        """
        error = setpoint - measured
        slope = 0.0 if self._measured is None else (measured - self._measured) / dt
        self._measured = measured
        integral = self._integral + kp * ki * error * dt
        raw = offset + kp * (error - kd * slope) + integral
        if low <= raw <= high or (raw > high and error < 0) or (raw < low and error > 0):
            self._integral = integral
        return min(max(raw, low), high)


DT_470 = Curve(
    zip(
        (1.69812, 1.62602, 1.42013, 1.21458, 1.10702, 1.07053, 1.02032, 0.97550, 0.86873, 0.75554, 0.63842,
         0.51892, 0.50691, 0.27469, 0.09062),
        (1.4, 4.2, 10.0, 20.0, 30.0, 50.0, 77.35, 100.0, 150.0, 200.0, 250.0, 300.0, 305.0, 400.0, 475.0),
        strict=True,
    )
)  # fmt: skip
"""A silicon diode; volts. This and the other curves are typical, to about a per cent."""
DT_670 = Curve(
    zip(
        (1.64429, 1.57848, 1.38373, 1.19775, 1.10624, 1.07310, 1.02800, 0.98650, 0.88911, 0.78372, 0.67355,
         0.55964, 0.32596, 0.09068),
        (1.4, 4.2, 10.0, 20.0, 30.0, 50.0, 77.35, 100.0, 150.0, 200.0, 250.0, 300.0, 400.0, 500.0),
        strict=True,
    )
)  # fmt: skip
"""A silicon diode; volts."""
PT_100 = Curve(
    zip(
        (3.6596, 9.3865, 20.2340, 29.9896, 50.7884, 71.0752, 90.8450, 110.354, 148.624, 185.668, 221.535,
         289.789),
        (30.0, 50.0, 77.35, 100.0, 150.0, 200.0, 250.0, 300.0, 400.0, 500.0, 600.0, 800.0),
        strict=True,
    )
)  # fmt: skip
"""A platinum resistor; ohms."""
PT_1000 = Curve((10 * PT_100.units(kelvin), kelvin) for kelvin in (30, 50, 77.35, 100, 200, 300, 500, 800))
"""A platinum resistor; ohms."""
CX_1050 = Curve(
    zip(
        (4.42433, 3.54496, 3.11843, 2.84061, 2.68312, 2.48457, 2.31317, 2.21168, 2.04941, 1.93349, 1.84467,
         1.77428, 1.67008),
        (1.4, 4.2, 10.0, 20.0, 30.0, 50.0, 77.35, 100.0, 150.0, 200.0, 250.0, 300.0, 400.0),
        strict=True,
    ),
    log=True,
)  # fmt: skip
"""A thin-film resistor of negative coefficient; ohms."""
