"""The world of the oscilloscope: what its probes touch."""

from collections.abc import Awaitable, Callable

from labioc.drivers.ds1000z import DS1000Z, Depth, ScopeChannel, Source, Trace, TriggerStatus
from labioc.sim import ds1000z
from labioc.sim.core.oscilloscope import Square

Shows = Callable[[object], bool]
Change = Callable[[DS1000Z, ds1000z.DS1000Z, str], Awaitable[Shows]]


def near(expected: float, tolerance: float) -> Shows:
    return lambda value: isinstance(value, float) and abs(value - expected) <= tolerance


async def touch_a_square(driver: DS1000Z, scope: ds1000z.DS1000Z, key: str) -> ScopeChannel:
    """2 V from bottom to top, 1 kHz, high for 0.3 ms, with edges of 20 us; triggered on it."""
    scope.inputs[int(key)].signal = Square(-1.0, 1.0, 1000.0, duty=0.3, rise=2e-5)
    scope.inputs[int(key)].noise = 0.0
    scope.clock.speed = 20
    channel = driver.scopes[int(key)]
    await channel.display.write(True)
    await channel.scale.write(0.5)
    await driver.source.write(Source[f"CHANNEL{key}"])
    await driver.level.write(0.0)
    return channel


def measures(expected: float, tolerance: float) -> Change:
    async def change(driver: DS1000Z, scope: ds1000z.DS1000Z, key: str) -> Shows:
        await touch_a_square(driver, scope, key)
        return near(expected, tolerance)

    return change


async def show(driver: DS1000Z, scope: ds1000z.DS1000Z, key: str) -> Shows:
    await touch_a_square(driver, scope, key)
    return lambda value: (
        isinstance(value, Trace) and len(value.volts) == 1200 and abs(value.volts.max() - 1) < 0.05
    )


async def stop(driver: DS1000Z, scope: ds1000z.DS1000Z, key: str) -> Shows:
    await touch_a_square(driver, scope, key)
    await driver.depth.write(Depth.POINTS_12000 if key == "1" else Depth.POINTS_6000)
    await driver.single.execute()
    return lambda value: isinstance(value, Trace) and abs(value.volts.max() - 1) < 0.05


async def halt(driver: DS1000Z, scope: ds1000z.DS1000Z, key: str) -> Shows:
    await driver.stop.execute()
    return lambda value: value is TriggerStatus.STOP


async def sample_slowly(driver: DS1000Z, scope: ds1000z.DS1000Z, key: str) -> Shows:
    await driver.depth.write(Depth.POINTS_12000)
    return near(12000 / (12 * 2e-4), 1)


async def know_the_model(driver: DS1000Z, scope: ds1000z.DS1000Z, key: str) -> Shows:
    return lambda value: isinstance(value, tuple) and value[1] == "DS1104Z"


async def err(driver: DS1000Z, scope: ds1000z.DS1000Z, key: str) -> Shows:
    scope.error(-222)
    return lambda value: value == '-222,"Data out of range"'


CHANGES: dict[str, Change] = {
    "scopes.vpp": measures(2.0, 0.04),
    "scopes.vmax": measures(1.0, 0.03),
    "scopes.vmin": measures(-1.0, 0.03),
    "scopes.amplitude": measures(2.0, 0.04),
    "scopes.average": measures(-0.33, 0.05),
    "scopes.rms": measures(1.0, 0.05),
    "scopes.frequency": measures(1000.0, 2.0),
    "scopes.period": measures(1e-3, 2e-6),
    "scopes.rise_time": measures(2e-5, 2e-6),
    "scopes.fall_time": measures(2e-5, 2e-6),
    "scopes.width": measures(3e-4, 5e-6),
    "scopes.duty": measures(0.3, 0.01),
    "scopes.screen": show,
    "scopes.memory": stop,
    "sample_rate": sample_slowly,
    "status": halt,
    "identity": know_the_model,
    "error": err,
}
