"""The world of the Eurotherm 3200."""

from typing import Any

from tests.worlds.eurotherm import COMMON, Shows, break_sensor_bit, by_hand, configure, heat_by_hand, is_true

from labioc.drivers.eurotherm import Source, Units
from labioc.drivers.eurotherm3200 import RateUnits
from labioc.sim.eurotherm3200 import Eurotherm3200


async def open_loop(driver: Any, sim: Eurotherm3200, key: str) -> Shows:
    sim.loop_break = True
    return is_true


async def forget_remote(driver: Any, sim: Eurotherm3200, key: str) -> Shows:
    await driver.source.write(Source.REMOTE)
    return is_true


CHANGES = {
    **COMMON,
    "status": break_sensor_bit,
    "working_output": heat_by_hand,
    "loop_break": open_loop,
    "remote_failed": forget_remote,
    "rate_units": configure("rate_unit", 1, lambda value: value is RateUnits.PER_HOUR),
    "units": configure("units", 2, lambda value: value is Units.KELVIN),
    "decimals": configure("decimals", 2, lambda value: value == 2),
}

BEFORE = {"manual_output": by_hand}
