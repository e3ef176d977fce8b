"""The world of the gauges: a chamber full of air."""

from collections.abc import Awaitable, Callable

from labioc.drivers.pfeiffer_gauge import PfeifferGauge
from labioc.drivers.pfeiffer_vacuum import Fault
from labioc.sim.pfeiffer_station import PumpingStation

Shows = Callable[[object], bool]
Change = Callable[[PfeifferGauge, PumpingStation, str], Awaitable[Shows]]


def broken(shows: Shows) -> Change:
    """The sensor is."""

    async def change(driver: PfeifferGauge, sim: PumpingStation, key: str) -> Shows:
        sim.gauge.is_broken = True
        return shows

    return change


async def pump_down(driver: PfeifferGauge, sim: PumpingStation, key: str) -> Shows:
    sim.pump_down()
    return lambda value: isinstance(value, float) and 1e-8 < value < 1e-7


async def exchange_it(driver: PfeifferGauge, sim: PumpingStation, key: str) -> Shows:
    gauge = sim.gauge
    gauge.name = gauge.firmware = gauge.hardware = gauge.serial_number = gauge.order_number = "MPT 7"
    return lambda value: value == "MPT 7"


CHANGES: dict[str, Change] = {
    "error": broken(lambda value: value == "Err001"),
    "fault": broken(lambda value: value is Fault.ERROR),
    "error_text": broken(lambda value: value == "sensor defective"),
    "pressure": pump_down,
    "model": exchange_it,
    "firmware": exchange_it,
    "series_200.hardware": exchange_it,
    "series_200.serial_number": exchange_it,
    "series_200.order_number": exchange_it,
}
