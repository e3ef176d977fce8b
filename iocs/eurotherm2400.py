"""IOC for a Eurotherm 2400 series controller: ``python -m labioc.iocs.eurotherm2400``."""

from labioc.devices.eurotherm2400 import Eurotherm2400PVs
from labioc.drivers.eurotherm2400 import Eurotherm2400
from labioc.sim.eurotherm2400 import Eurotherm2400 as Simulator

from .core import Instrument, main

instrument = Instrument(
    name="eurotherm2400",
    driver=Eurotherm2400,
    device=Eurotherm2400PVs,
    simulator=lambda variant: Simulator(),
    example="serial:///dev/ttyUSB0?baudrate=9600",
    address="1",
)

if __name__ == "__main__":
    main(instrument)
