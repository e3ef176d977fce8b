"""IOC for a Eurotherm 3200 series controller: ``python -m labioc.iocs.eurotherm3200``."""

from labioc.devices.eurotherm3200 import Eurotherm3200PVs
from labioc.drivers.eurotherm3200 import Eurotherm3200
from labioc.sim.eurotherm3200 import Eurotherm3200 as Simulator

from .core import Instrument, main

instrument = Instrument(
    name="eurotherm3200",
    driver=Eurotherm3200,
    device=Eurotherm3200PVs,
    simulator=lambda variant: Simulator(),
    example="serial:///dev/ttyUSB0?baudrate=9600",
    address="1",
)

if __name__ == "__main__":
    main(instrument)
