"""A pumping station on one RS-485 bus: a chamber with a turbopump, its backing pump, and two gauges."""

from .core import Clock, Faults
from .core.chamber import ATMOSPHERE, BackingPump, Chamber
from .pfeiffer_gauge import Gauge
from .pfeiffer_vacuum import Bus
from .tc400 import TC400

PUMP, GAUGE, FORELINE = 1, 101, 102
"""Addresses, if nothing else is said."""


class PumpingStation(Bus):
    """A TC 400 and two gauges. It starts full of air, with the pump off.

    Attributes:
        pump: the drive of the turbopump.
        gauge: the gauge at the chamber.
        foreline: the gauge at the backing line, an RPT 200.
        chamber: what is pumped.
    """

    step = 0.1

    def __init__(
        self,
        *,
        gauge: str = "MPT200",
        addresses: tuple[int, int, int] = (PUMP, GAUGE, FORELINE),
        clock: Clock | None = None,
        faults: Faults | None = None,
    ) -> None:
        """Make one with a gauge of the model `gauge` at the chamber.

        `addresses` are those of the pump, of this gauge, and of the gauge at the backing line.
        """
        self.chamber, backing = Chamber(), BackingPump()
        self.pump = TC400(self.chamber, backing)
        self.gauge = Gauge(gauge, lambda: self.chamber.pressure)
        self.foreline = Gauge("RPT200", lambda: backing.pressure)
        units = dict(zip(addresses, (self.pump, self.gauge, self.foreline), strict=True))
        super().__init__(units, clock=clock, faults=faults)

    def advance(self, dt: float) -> None:
        """Let `dt` seconds pass."""
        self.pump.advance(dt)

    def pump_down(self) -> None:
        """Be a station that has been on for an hour."""
        self.pump.station = True
        self.pump.turbo.speed = 1.0
        self.chamber.pressure, self.pump.backing.pressure = 1e-5, 0.5
        for _ in range(360):
            self.advance(10.0)

    def air_inrush(self) -> None:
        """Break the chamber's window."""
        self.chamber.pressure = ATMOSPHERE
