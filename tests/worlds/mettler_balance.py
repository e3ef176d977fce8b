"""The world of the balance: what lies on its pan, and who presses its keys."""

import asyncio
from collections.abc import Callable

from labioc.drivers.mettler_balance import Adjustment, KeyMode, Load, MettlerBalance, Reading
from labioc.sim.mettler_balance import MettlerBalance as Balance

Shows = Callable[[object], bool]


async def load(driver: MettlerBalance, balance: Balance, key: str) -> Shows:
    balance.pan.load = 100.0
    balance.settle()
    return lambda value: (
        isinstance(value, Reading) and value.load is Load.STABLE and abs(value.weight - 100.0) < 1e-3
    )


async def load_stable(driver: MettlerBalance, balance: Balance, key: str) -> Shows:
    await load(driver, balance, key)
    await driver.reading.read()
    return lambda value: isinstance(value, float) and abs(value - 100.0) < 1e-3


async def adjust(driver: MettlerBalance, balance: Balance, key: str) -> Shows:
    balance.clock.speed = 50.0
    await driver.adjust_internally.execute()
    return lambda value: value is Adjustment.DONE


async def press(driver: MettlerBalance, balance: Balance, key: str) -> Shows:
    await driver.keys.write(KeyMode.SEND)
    # a key that is pressed before somebody looks is missed
    asyncio.get_running_loop().call_later(0.02, balance.press, 7)
    return lambda value: value == 7


async def another(driver: MettlerBalance, balance: Balance, key: str) -> Shows:
    balance.serial = "4711"
    return lambda value: value == "4711"


async def as_it_is(driver: MettlerBalance, balance: Balance, key: str) -> Shows:
    return lambda value: isinstance(value, str) and bool(value)


CHANGES = {
    "reading": load,
    "stable_weight": load_stable,
    "adjustment": adjust,
    "pressed": press,
    "levels": as_it_is,
    "model": as_it_is,
    "data": as_it_is,
    "software": as_it_is,
    "software_id": as_it_is,
    "serial_number": another,
}
