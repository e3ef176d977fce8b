"""IOC for a Mettler Toledo balance with MT-SICS: ``python -m labioc.iocs.mettler_balance``."""

from labioc.devices.mettler_balance import MettlerBalancePVs
from labioc.drivers.mettler_balance import MettlerBalance
from labioc.sim.mettler_balance import MettlerBalance as Simulator

from .core import Instrument, main

instrument = Instrument(
    name="mettler_balance",
    driver=MettlerBalance,
    device=MettlerBalancePVs,
    simulator=lambda variant: Simulator(),
    example="tcp://192.168.0.16:8001",
)

if __name__ == "__main__":
    main(instrument)
