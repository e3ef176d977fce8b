"""IOC for a Lake Shore Model 336 cryogenic temperature controller: ``python -m labioc.iocs.lakeshore336``."""

from labioc.devices.lakeshore336 import LakeShore336PVs
from labioc.drivers.lakeshore336 import LakeShore336
from labioc.sim.lakeshore336 import LakeShore336 as Simulator

from .core import Instrument, main

instrument = Instrument(
    name="lakeshore336",
    driver=LakeShore336,
    device=LakeShore336PVs,
    simulator=lambda variant: Simulator(option=variant or None),
    example="tcp://192.168.0.12:7777",
)

if __name__ == "__main__":
    main(instrument)
