"""IOC for a Keithley 2400 source-measure unit: ``python -m labioc.iocs.keithley2400``."""

from labioc.devices.keithley2400 import Keithley2400PVs
from labioc.drivers.keithley2400 import Keithley2400
from labioc.sim.keithley2400 import Keithley2400 as Simulator

from .core import Instrument, main

instrument = Instrument(
    name="keithley2400",
    driver=Keithley2400,
    device=Keithley2400PVs,
    simulator=lambda variant: Simulator(),
    example="serial:///dev/ttyUSB0?baudrate=9600",
)

if __name__ == "__main__":
    main(instrument)
