"""IOC for a Julabo circulator: ``python -m labioc.iocs.julabo``."""

from labioc.devices.julabo import JulaboPVs
from labioc.drivers.julabo import Julabo
from labioc.sim.julabo import Julabo as Simulator

from .core import Instrument, main

instrument = Instrument(
    name="julabo",
    driver=Julabo,
    device=JulaboPVs,
    simulator=lambda variant: Simulator(variant),
    example="serial:///dev/ttyUSB0",
)

if __name__ == "__main__":
    main(instrument)
