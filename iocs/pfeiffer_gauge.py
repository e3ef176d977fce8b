"""IOC for a Pfeiffer Vacuum digital gauge: ``python -m labioc.iocs.pfeiffer_gauge``."""

from labioc.devices.pfeiffer_gauge import PfeifferGaugePVs
from labioc.drivers.pfeiffer_gauge import PfeifferGauge
from labioc.sim.pfeiffer_station import PumpingStation

from .core import Instrument, main

instrument = Instrument(
    name="pfeiffer_gauge",
    driver=PfeifferGauge,
    device=PfeifferGaugePVs,
    # the gauge at the chamber has the address that gauges are delivered with
    simulator=lambda variant: PumpingStation(gauge=variant.upper() or "MPT200", addresses=(3, 1, 2)),
    example="serial:///dev/ttyUSB0 --address 1",
    address="1",
)

if __name__ == "__main__":
    main(instrument)
