"""The world of the circulator: a bath, a vessel, and what breaks."""

import dataclasses
from collections.abc import Callable

from labioc.drivers.julabo import Condition, Julabo, Mode, TemperatureUnit
from labioc.sim.julabo import Julabo as Circulator

Shows = Callable[[object], bool]


class DRIVER(Julabo):
    """Julabo circulator, without the pauses of 11.2."""

    protocol = dataclasses.replace(Julabo.protocol, gaps={}, command_gap=0.0)


def near(expected: float, tolerance: float = 0.5) -> Shows:
    return lambda value: isinstance(value, float) and abs(value - expected) < tolerance


async def warm(driver: Julabo, circulator: Circulator, key: str) -> Shows:
    circulator.bath = 60.0
    return near(60.0)


async def warm_the_vessel(driver: Julabo, circulator: Circulator, key: str) -> Shows:
    circulator.vessel = 60.0
    return near(60.0)


async def heat(driver: Julabo, circulator: Circulator, key: str) -> Shows:
    await driver.setpoint_1.write(60.0)
    await driver.running.write(True)
    return near(100.0)


async def turn_the_screw(driver: Julabo, circulator: Circulator, key: str) -> Shows:
    circulator.safe_temp = 90.0
    return near(90.0)


async def part_the_sensors(driver: Julabo, circulator: Circulator, key: str) -> Shows:
    circulator.sensors_apart = 5.0
    return near(5.0)


async def lose_liquid(driver: Julabo, circulator: Circulator, key: str) -> Shows:
    circulator.level = 1.0
    return lambda value: value in ("-01 LOW LEVEL ALARM", Condition.ALARM)


async def go_local(driver: Julabo, circulator: Circulator, key: str) -> Shows:
    circulator.remote = False
    return lambda value: value is Mode.MANUAL_STOP


async def switch_units(driver: Julabo, circulator: Circulator, key: str) -> Shows:
    circulator.fahrenheit = True
    return lambda value: value is TemperatureUnit.FAHRENHEIT


async def as_it_is(driver: Julabo, circulator: Circulator, key: str) -> Shows:
    return lambda value: value == "JULABO CRYOCOMPACT CF41 VERSION 5.0"


CHANGES = {
    "status": lose_liquid,
    "temperature": warm,
    "power": heat,
    "external": warm_the_vessel,
    "safety": warm,
    "safety_limit": turn_the_screw,
    "difference": part_the_sensors,
    "unit": switch_units,
    "version": as_it_is,
    "mode": go_local,
    "condition": lose_liquid,
}
