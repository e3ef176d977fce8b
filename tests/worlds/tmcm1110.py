"""The world of the TMCM-1110: a motor with a linear table between two limit switches."""

from collections.abc import Callable

from labioc.drivers.tmcm1110 import TMCM1110, DriverStatus, Motion, RampMode, SearchMode
from labioc.sim import tmcm1110 as sim

Shows = Callable[[object], bool]


def is_on(value: object) -> bool:
    return value is True


def near(expected: float, tolerance: float) -> Shows:
    return lambda value: isinstance(value, float) and abs(value - expected) <= tolerance


async def move(driver: TMCM1110, module: sim.TMCM1110, key: str) -> Shows:
    module.clock.speed = 20
    await driver.axes[0].target.write(12345.0)
    return lambda value: value == 12345.0


async def leave(driver: TMCM1110, module: sim.TMCM1110, key: str) -> Shows:
    await driver.axes[0].target.write(500_000.0)
    return lambda value: value is False


async def jog(driver: TMCM1110, module: sim.TMCM1110, key: str) -> Shows:
    module.table.right = 1e12
    await driver.axes[0].jog.write(-20_000.0)
    return near(-20_000.0, 16.0)


async def jog_in_units(driver: TMCM1110, module: sim.TMCM1110, key: str) -> Shows:
    await driver.axes[0].raw_jog.write(250)
    return lambda value: value == 250


async def jog_at_all(driver: TMCM1110, module: sim.TMCM1110, key: str) -> Shows:
    await driver.axes[0].jog.write(1000.0)
    return lambda value: value is RampMode.VELOCITY


async def jog_anyhow(driver: TMCM1110, module: sim.TMCM1110, key: str) -> Shows:
    await driver.axes[0].jog.write(1000.0)
    return is_on


async def speed_up(driver: TMCM1110, module: sim.TMCM1110, key: str) -> Shows:
    await driver.axes[0].ramp_divisor.write(13)
    await driver.axes[0].raw_max_acceleration.write(200)
    await driver.axes[0].jog.write(30_000.0)
    return lambda value: isinstance(value, int | float) and value > 0


async def run_into_the_right_limit(driver: TMCM1110, module: sim.TMCM1110, key: str) -> Shows:
    module.table.place = module.table.right - 100
    await driver.axes[0].relative.write(10_000.0)
    return lambda value: value in (True, Motion.RIGHT_LIMIT)


async def press_left(driver: TMCM1110, module: sim.TMCM1110, key: str) -> Shows:
    module.table.place = module.table.left - 1
    return is_on


async def press_home(driver: TMCM1110, module: sim.TMCM1110, key: str) -> Shows:
    module.table.home = (1e9, 2e9)
    return lambda value: value is False


async def search(driver: TMCM1110, module: sim.TMCM1110, key: str) -> Shows:
    await driver.axes[0].search.execute()
    return lambda value: isinstance(value, int) and value > 0  # also True


async def search_both(driver: TMCM1110, module: sim.TMCM1110, key: str) -> Shows:
    module.clock.speed = 200
    await driver.axes[0].search_mode.write(SearchMode.RIGHT_LEFT)
    await driver.axes[0].search.execute()
    return near(module.table.right - module.table.left, 200.0)


async def block(driver: TMCM1110, module: sim.TMCM1110, key: str) -> Shows:
    module.table.torque = 1.5
    await driver.axes[0].jog.write(10_000.0)
    return lambda value: value is True or (isinstance(value, DriverStatus) and DriverStatus.STALL in value)


async def turn_with_a_load(driver: TMCM1110, module: sim.TMCM1110, key: str) -> Shows:
    module.table.torque = 0.5
    await driver.axes[0].jog.write(10_000.0)
    return lambda value: isinstance(value, int) and 100 < value < 300


async def cook(driver: TMCM1110, module: sim.TMCM1110, key: str) -> Shows:
    module.room = module.temperature = 200.0
    return lambda value: value is True or near(200.0, 2.0)(value)


async def short(driver: TMCM1110, module: sim.TMCM1110, key: str) -> Shows:
    module.shorted.add("B")
    return is_on


async def unplug(driver: TMCM1110, module: sim.TMCM1110, key: str) -> Shows:
    module.open_phases |= {"A", "B"}
    await driver.axes[0].jog.write(1000.0)
    return is_on


async def press(driver: TMCM1110, module: sim.TMCM1110, key: str) -> Shows:
    module.inputs[int(key)] = True
    return is_on


async def apply_a_voltage(driver: TMCM1110, module: sim.TMCM1110, key: str) -> Shows:
    module.analog = 2222
    return lambda value: value == 2222


async def supply_less(driver: TMCM1110, module: sim.TMCM1110, key: str) -> Shows:
    module.supply = 11.9
    return near(11.9, 0.01)


async def wait(driver: TMCM1110, module: sim.TMCM1110, key: str) -> Shows:
    module.clock.speed = 1e4
    return lambda value: isinstance(value, float) and value > 60


async def update(driver: TMCM1110, module: sim.TMCM1110, key: str) -> Shows:
    return lambda value: value == "1110V1.09"


CHANGES = {
    "axes.position": move,
    "axes.reached": leave,
    "axes.ramp_mode": jog_at_all,
    "axes.raw_speed": jog_in_units,
    "axes.raw_acceleration": speed_up,
    "axes.speed": jog,
    "axes.acceleration": speed_up,
    "axes.home": press_home,
    "axes.right_limit": run_into_the_right_limit,
    "axes.left_limit": press_left,
    "axes.motion": run_into_the_right_limit,
    "axes.moving": jog_anyhow,
    "axes.search_step": search,
    "axes.searching": search,
    "axes.search_distance": search_both,
    "axes.load": turn_with_a_load,
    "axes.status": block,
    "axes.stalled": block,
    "axes.overheated": cook,
    "axes.hot": cook,
    "axes.short": short,
    "axes.open_load": unplug,
    "inputs.state": press,
    "firmware": update,
    "analog": apply_a_voltage,
    "supply": supply_less,
    "temperature": cook,
    "uptime": wait,
}
