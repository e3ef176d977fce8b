"""IOC for a Rigol DS1000Z digital oscilloscope: ``python -m labioc.iocs.ds1000z``."""

from labioc.devices.ds1000z import DS1000ZPVs
from labioc.drivers.ds1000z import DS1000Z
from labioc.sim import ds1000z

from .core import Instrument, main

instrument = Instrument(
    name="ds1000z",
    driver=DS1000Z,
    device=DS1000ZPVs,
    simulator=lambda variant: ds1000z.DS1000Z(),
    example="tcp://192.168.0.20:5555",
)

if __name__ == "__main__":
    main(instrument)
