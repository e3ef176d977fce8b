"""Pfeiffer Vacuum digital gauges: CPT (piezo), PPT (Pirani), RPT (piezo and Pirani), HPT (Pirani and hot cathode) and
MPT (Pirani and cold cathode), series 100 and 200.

Source: PPT 100 operating instructions, chapter 6; MPT 200 operating instructions, the same chapter.
"""

import math
from collections.abc import Callable, Mapping

from .pfeiffer_vacuum import (
    BOOLEAN_NEW,
    LOGIC,
    STRING,
    STRING16,
    U_EXPO_NEW,
    U_REAL,
    U_SHORT_INT,
    P,
    RefusedError,
    Unit,
)

ATMOSPHERE = 1
DIRECT = 0
OVERLAP = (1e-3, 1e-2)  # hPa, where both sensors of an HPT or MPT measure
PIRANI_UP_TO = 1.0  # hPa; what it reads above does not depend on the gas as much
ABOVE = 1500.0  # hPa

COMMON = (
    P(303, "error", STRING),
    P(312, "firmware", STRING),
    P(349, "name", STRING),
    P(740, "pressure", U_EXPO_NEW, "RW"),
    P(741, "adjust_point", U_SHORT_INT, "W", 0, 1),
)
PIRANI = P(742, "correction", U_REAL, "RW", 0.2, 8.0)
TRANSITION = P(49, "transition", U_SHORT_INT, "RW", 0, 1)
HIGH_VACUUM = P(743, "high_vacuum_correction", U_REAL, "RW", 0.2, 8.0)
ON_100 = P(41, "is_high_vacuum_on", U_SHORT_INT, "RW", 0, 1)
ON_200 = P(41, "is_high_vacuum_on", BOOLEAN_NEW, "RW")
DEGAS = P(40, "degas", BOOLEAN_NEW, "RW")
SERIES_200 = (
    P(354, "hardware", STRING),
    P(355, "serial_number", STRING16),
    P(388, "order_number", STRING16),
    P(730, "switch_point_1", U_EXPO_NEW, "RW"),
    P(732, "switch_point_2", U_EXPO_NEW, "RW"),
)

MODELS: dict[str, tuple[str, float, tuple[P, ...]]] = {
    "CPT100": ("    A1", 1.0, COMMON),
    "PPT100": ("    A3", 1e-4, (*COMMON, PIRANI)),
    "RPT100": ("    A2", 1e-4, (*COMMON, PIRANI, TRANSITION)),
    "HPT100": ("    A4", 1e-9, (*COMMON, PIRANI, TRANSITION, HIGH_VACUUM, ON_100, DEGAS)),
    "MPT100": ("    A5", 1e-8, (*COMMON, PIRANI, TRANSITION, HIGH_VACUUM, ON_100)),
    "CPT200": ("CPT200", 1.0, (*COMMON, *SERIES_200)),
    "PPT200": ("PPT200", 1e-4, (*COMMON, *SERIES_200, PIRANI)),
    "RPT200": ("RPT200", 1e-4, (*COMMON, *SERIES_200, PIRANI, TRANSITION)),
    "HPT200": ("HPT200", 5e-10, (*COMMON, *SERIES_200, PIRANI, TRANSITION, HIGH_VACUUM, ON_200, DEGAS)),
    "MPT200": ("MPT200", 5e-9, (*COMMON, *SERIES_200, PIRANI, TRANSITION, HIGH_VACUUM, ON_200)),
}
"""Name, least pressure (hPa) and parameters, by model (6.2)."""


class Gauge(Unit):
    """A gauge of one of the `MODELS`.

    Attributes:
        drift: what its Pirani reads too much, hPa, since it was adjusted.
        gain: how much too much it reads at atmosphere, as a factor.
        is_broken: whether its sensor is.
    """

    group = 950

    def __init__(self, model: str, pressure: Callable[[], float]) -> None:
        """Put one where `pressure` tells the pressure, hPa."""
        self.name, self._lowest, table = MODELS[model]
        self._table = {line.number: line for line in table}
        self._true = pressure
        self.firmware, self.hardware = "010300", "010000"
        self.serial_number, self.order_number = "44125678", "PTR40101"
        self.switch_point_1 = self.switch_point_2 = 1000.0
        self.adjust_point: int | None = None
        self.correction = self.high_vacuum_correction = 1.0
        self.transition = DIRECT
        self.is_high_vacuum_on = True
        self.degas = False
        self.drift = 0.0
        self.gain = 1.0
        self.is_broken = False

    def parameters(self) -> Mapping[int, P]:
        """Return the parameters of its model."""
        return self._table

    def check_access(self, line: P) -> None:
        """Refuse a pressure unless it has been said just before what it adjusts (741)."""
        if line.name == "pressure" and self.adjust_point is None:
            raise RefusedError(LOGIC)

    def power_cycle(self) -> None:
        """Switch the high vacuum sensor on again; what was adjusted stays."""
        self.is_high_vacuum_on, self.degas, self.adjust_point = True, False, None

    @property
    def error(self) -> str:
        """Err001: sensor defective."""
        return "Err001" if self.is_broken else "000000"

    @property
    def pressure(self) -> float:
        """What it reads, hPa: 0 below its range, a number beyond all numbers above it."""
        reading = self._reading()
        lowest = self._lowest if self._ionizes else max(self._lowest, 1e-4)
        if reading > ABOVE:
            return math.inf
        return reading if reading >= lowest else 0.0

    @pressure.setter
    def pressure(self, true: float) -> None:
        if self.adjust_point == ATMOSPHERE:
            self.gain *= true / max(self._pirani(), 1e-9)
        else:
            self.drift -= self._pirani() - true
        self.adjust_point = None

    @property
    def _ionizes(self) -> bool:
        return 41 in self._table and bool(self.is_high_vacuum_on)

    def _pirani(self) -> float:
        true = self._true()
        factor = self.correction if true < PIRANI_UP_TO else self.gain
        return max((true + self.drift) * factor, 0.0)

    def _reading(self) -> float:
        pirani, true = self._pirani(), self._true()
        if not self._ionizes or true > OVERLAP[1]:
            return pirani
        ionization = true * self.high_vacuum_correction
        if true < OVERLAP[0]:
            return ionization
        if self.transition == DIRECT:
            return ionization if true < math.sqrt(OVERLAP[0] * OVERLAP[1]) else pirani
        part = math.log(true / OVERLAP[0]) / math.log(OVERLAP[1] / OVERLAP[0])
        return ionization * (pirani / ionization) ** part if pirani else 0.0
