"""The world of the Eurotherm 2400."""

from typing import Any

from tests.worlds.eurotherm import COMMON, Shows, break_sensor_bit, by_hand, configure, heat_by_hand, is_true

from labioc.drivers.eurotherm import Units
from labioc.drivers.eurotherm2400 import RateUnits
from labioc.sim.eurotherm2400 import Eurotherm2400


async def tune(driver: Any, sim: Eurotherm2400, key: str) -> Shows:
    await driver.autotune.write(True)
    return lambda value: isinstance(value, int) and bool(value & 1 << 12)


async def open_loop(driver: Any, sim: Eurotherm2400, key: str) -> Shows:
    sim.loop_break = True
    return is_true


async def fail_heater(driver: Any, sim: Eurotherm2400, key: str) -> Shows:
    sim.heater_failed = True
    return is_true


CHANGES = {
    **COMMON,
    "status": break_sensor_bit,
    "control_status": tune,
    "working_output": heat_by_hand,
    "loop_break": open_loop,
    "heater_fail": fail_heater,
    "rate_units": configure("rate_unit", 2, lambda value: value is RateUnits.PER_HOUR),
    "units": configure("units", 2, lambda value: value is Units.KELVIN),
}

BEFORE = {"manual_output": by_hand}
