"""The world of the Eurotherm controllers: an oven with a thermocouple. Shared by the modules of the three series."""

from collections.abc import Awaitable, Callable
from typing import Any

from labioc.drivers.eurotherm import Mode
from labioc.sim.eurotherm import CONFIGURATION, Eurotherm

Shows = Callable[[object], bool]
Change = Callable[[Any, Eurotherm, str], Awaitable[Shows]]


def near(expected: float, tolerance: float = 0.2) -> Shows:
    return lambda value: isinstance(value, float) and abs(value - expected) < tolerance


def is_true(value: object) -> bool:
    return value is True


async def warm(driver: Any, sim: Eurotherm, key: str) -> Shows:
    sim.load.temperature = sim.element.temperature = 250.0 + 273.15
    return near(250.0, 3.0)


async def by_hand(driver: Any, sim: Eurotherm, key: str) -> None:
    await driver.mode.write(Mode.MANUAL)


async def heat_by_hand(driver: Any, sim: Eurotherm, key: str) -> Shows:
    await driver.mode.write(Mode.MANUAL)
    await driver.manual_output.write(40.0)
    return near(40.0)


async def move_setpoint(driver: Any, sim: Eurotherm, key: str) -> Shows:
    await driver.target.write(123.0)
    return near(123.0)


async def break_sensor(driver: Any, sim: Eurotherm, key: str) -> Shows:
    sim.sensor_broken = True
    return is_true


async def break_sensor_bit(driver: Any, sim: Eurotherm, key: str) -> Shows:
    sim.sensor_broken = True
    return lambda value: isinstance(value, int) and bool(value & 1 << 5)


async def raise_alarm(number: int, driver: Any, sim: Eurotherm) -> Shows:
    sim.alarms[number].kind = next(iter(sim.alarm_kinds))
    sim.alarms[number].setpoint = 30.0
    sim.load.temperature = sim.element.temperature = (10.0 if sim.model >> 12 == 2 else 250.0) + 273.15
    return is_true


def alarm(number: int) -> Change:
    async def change(driver: Any, sim: Eurotherm, key: str) -> Shows:
        return await raise_alarm(number, driver, sim)

    return change


def configure(attribute: str, value: int, shows: Shows) -> Change:
    async def change(driver: Any, sim: Eurotherm, key: str) -> Shows:
        sim.instrument_mode = CONFIGURATION
        setattr(sim, attribute, value)
        return shows

    return change


async def other_model(driver: Any, sim: Eurotherm, key: str) -> Shows:
    sim.__dict__["model"] = 0x1234
    return lambda value: value == 0x1234


async def other_version(driver: Any, sim: Eurotherm, key: str) -> Shows:
    sim.__dict__["version"] = 0x0401
    return lambda value: value == 0x0401


COMMON: dict[str, Change] = {
    "temperature": warm,
    "working_setpoint": move_setpoint,
    "sensor_break": break_sensor,
    **{f"alarm{number + 1}": alarm(number) for number in range(4)},
    "version": other_version,
    "model": other_model,
}
