"""The world of the TC 400: a chamber full of air, with a pump that can be started."""

from collections.abc import Awaitable, Callable

from labioc.drivers.pfeiffer_vacuum import Fault
from labioc.drivers.tc400 import TC400
from labioc.sim.pfeiffer_station import PumpingStation

Shows = Callable[[object], bool]
Change = Callable[[TC400, PumpingStation, str], Awaitable[Shows]]


def near(expected: float, tolerance: float) -> Shows:
    return lambda value: isinstance(value, (int, float)) and abs(value - expected) <= tolerance


def is_true(value: object) -> bool:
    return value is True


def running(shows: Shows) -> Change:
    """The pump has run for an hour."""

    async def change(driver: TC400, sim: PumpingStation, key: str) -> Shows:
        sim.pump_down()
        return shows

    return change


def failing(code: str, shows: Shows) -> Change:
    """Something has failed."""

    async def change(driver: TC400, sim: PumpingStation, key: str) -> Shows:
        sim.pump.failure = code
        return shows

    return change


async def start(driver: TC400, sim: PumpingStation, key: str) -> Shows:
    await driver.station.write(True)
    return is_true


async def start_and_wait(driver: TC400, sim: PumpingStation, key: str) -> Shows:
    await driver.station.write(True)
    return lambda value: isinstance(value, int) and value > 100


async def run_slower(driver: TC400, sim: PumpingStation, key: str) -> Shows:
    await driver.standby.write(True)
    return near(667, 1)


async def run_slower_rpm(driver: TC400, sim: PumpingStation, key: str) -> Shows:
    await driver.standby.write(True)
    return near(40020, 60)


async def take_over(driver: TC400, sim: PumpingStation, key: str) -> Shows:
    sim.pump.remote = True
    return is_true


async def drop_voltage(driver: TC400, sim: PumpingStation, key: str) -> Shows:
    sim.pump.voltage = 44.5
    return near(44.5, 0.01)


async def change_pump(driver: TC400, sim: PumpingStation, key: str) -> Shows:
    sim.pump.turbo.nominal = 820.0
    return lambda value: value in (820, 49200)


async def grow_old(driver: TC400, sim: PumpingStation, key: str) -> Shows:
    sim.pump.pump_seconds = sim.pump.electronics_seconds = 9999 * 3600.0
    return near(9999, 0)


async def change_parts(driver: TC400, sim: PumpingStation, key: str) -> Shows:
    sim.pump.name = sim.pump.firmware = sim.pump.hardware = "TC 110"
    return lambda value: value == "TC 110"


async def count(driver: TC400, sim: PumpingStation, key: str) -> Shows:
    await driver.station.write(True)
    return near(43, 0)


def heat(part: str) -> Change:
    async def change(driver: TC400, sim: PumpingStation, key: str) -> Shows:
        sim.pump.turbo.temperatures[part] = 55.0
        return near(55, 2)

    return change


CHANGES: dict[str, Change] = {
    "remote": take_over,
    "at_switch_point": running(is_true),
    "at_set_speed": running(is_true),
    "accelerating": start,
    "error": failing("Err041", lambda value: value == "Err041"),
    "fault": failing("Wrn045", lambda value: value is Fault.WARNING),
    "error_text": failing("Err041", lambda value: value == "drive fault"),
    "last_error": failing("Err041", lambda value: value == "Err041"),
    "overtemperature_electronics": failing("Err044", is_true),
    "overtemperature_pump": failing("Err117", is_true),
    "set_speed": run_slower,
    "set_speed_rpm": run_slower_rpm,
    "speed": running(near(1000, 1)),
    "speed_rpm": running(near(60000, 60)),
    "current": running(near(46 / 48, 0.1)),
    "power": running(near(46, 2)),
    "voltage": drop_voltage,
    "acceleration": start_and_wait,
    "nominal_speed": change_pump,
    "nominal_speed_rpm": change_pump,
    "pump_hours": grow_old,
    "electronics_hours": grow_old,
    "cycles": count,
    "temperature_electronics": heat("electronics"),
    "temperature_bottom": heat("bottom"),
    "temperature_bearing": heat("bearing"),
    "temperature_motor": heat("motor"),
    "model": change_parts,
    "firmware": change_parts,
    "hardware": change_parts,
    "ready": running(is_true),
}
