"""What hangs between the terminals of a source: two-terminal loads with a current-voltage curve, and its solution."""

import math
from collections.abc import Callable
from typing import Protocol


class Load(Protocol):
    """Something that draws a current at a voltage; more current at more voltage, none at none."""

    def current(self, volts: float) -> float:
        """Return the amperes at a voltage."""


class Resistor:
    """A resistor."""

    def __init__(self, ohms: float) -> None:
        """Take its resistance, more than 0."""
        self.ohms = ohms

    def current(self, volts: float) -> float:
        """Return the amperes at a voltage."""
        return volts / self.ohms


class Open:
    """Nothing."""

    def current(self, volts: float) -> float:
        """Return the amperes at a voltage: none."""
        return 0.0


class Diode:
    """A junction diode after Shockley, at room temperature, with a series resistance and a leakage backwards."""

    THERMAL = 0.02585
    """V"""

    def __init__(self, saturation: float = 2.5e-9, ideality: float = 1.75, series: float = 0.5) -> None:
        """Take its saturation current in A, its ideality factor, and its series resistance in ohm, more than 0."""
        self.saturation = saturation
        self.ideality = ideality
        self.series = series

    def current(self, volts: float) -> float:
        """Return the amperes at a voltage."""
        if volts <= 0.0:
            return self._junction(volts)

        def excess(junction: float) -> float:
            return junction + self._junction(junction) * self.series - volts

        return self._junction(root(excess, 0.0, min(volts, 2.0)))

    def _junction(self, volts: float) -> float:
        return self.saturation * math.expm1(volts / (self.ideality * self.THERMAL))


def root(function: Callable[[float], float], low: float, high: float) -> float:
    """Return where a rising function crosses zero between two bounds, or the bound beyond which it does."""
    for _ in range(80):
        middle = (low + high) / 2.0
        if function(middle) < 0.0:
            low = middle
        else:
            high = middle
    return (low + high) / 2.0
