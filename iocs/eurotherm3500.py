"""IOC for a Eurotherm 3500 series controller: ``python -m labioc.iocs.eurotherm3500``."""

from labioc.devices.eurotherm3500 import Eurotherm3500PVs
from labioc.drivers.eurotherm3500 import Eurotherm3500
from labioc.sim.eurotherm3500 import Eurotherm3500 as Simulator

from .core import Instrument, main

instrument = Instrument(
    name="eurotherm3500",
    driver=Eurotherm3500,
    device=Eurotherm3500PVs,
    simulator=lambda variant: Simulator(),
    example="tcp://192.168.0.35:502",
    address="1",
)

if __name__ == "__main__":
    main(instrument)
