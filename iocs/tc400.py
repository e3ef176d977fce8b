"""IOC for a Pfeiffer Vacuum TC 400, the drive of a HiPace turbopump: ``python -m labioc.iocs.tc400``."""

from labioc.devices.tc400 import TC400PVs
from labioc.drivers.tc400 import TC400
from labioc.sim.pfeiffer_station import PUMP, PumpingStation

from .core import Instrument, main

instrument = Instrument(
    name="tc400",
    driver=TC400,
    device=TC400PVs,
    simulator=lambda variant: PumpingStation(),
    example="serial:///dev/ttyUSB0 --address 1",
    address=str(PUMP),
)

if __name__ == "__main__":
    main(instrument)
