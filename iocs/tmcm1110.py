"""IOC for a Trinamic TMCM-1110 stepper motor module: ``python -m labioc.iocs.tmcm1110``."""

from labioc.devices.tmcm1110 import TMCM1110PVs
from labioc.drivers.tmcm1110 import TMCM1110
from labioc.sim import tmcm1110 as sim

from .core import Instrument, main

instrument = Instrument(
    name="tmcm1110",
    driver=TMCM1110,
    device=TMCM1110PVs,
    simulator=lambda variant: sim.TMCM1110(),
    example="serial:///dev/ttyACM0",
    address="1",
)

if __name__ == "__main__":
    main(instrument)
