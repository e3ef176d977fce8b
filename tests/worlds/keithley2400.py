"""The world of the Keithley 2400: what hangs between its terminals."""

import math
from collections.abc import Callable

from labioc.drivers.keithley2400 import Keithley2400, Source
from labioc.drivers.scpi import Identity
from labioc.sim.core.loads import Open, Resistor
from labioc.sim.keithley2400 import Keithley2400 as Simulator

Shows = Callable[[object], bool]


async def source_current(driver: Keithley2400, sim: Simulator, key: str) -> None:
    """While it sources volts, their range is that of the source."""
    await driver.function.write(Source.CURRENT)


async def switch_on(driver: Keithley2400, sim: Simulator, key: str) -> None:
    """With the output off there is nothing to sweep."""
    await driver.points.write(12)
    await driver.output.write(True)


async def draw_two_milliampere(driver: Keithley2400, sim: Simulator, key: str) -> Shows:
    sim.loads["FRON"] = Resistor(500.0)
    await driver.current_compliance.write(0.1)
    await driver.voltage.write(1.0)
    await driver.output.write(True)
    return lambda value: isinstance(value, tuple) and math.isclose(value[1], 2e-3, rel_tol=1e-5)


async def short(driver: Keithley2400, sim: Simulator, key: str) -> Shows:
    await driver.voltage.write(1.0)
    await driver.output.write(True)
    sim.loads["FRON"] = Resistor(1.0)
    return lambda value: value is True


async def disconnect(driver: Keithley2400, sim: Simulator, key: str) -> Shows:
    await driver.function.write(Source.CURRENT)
    await driver.current.write(1e-5)
    await driver.output.write(True)
    sim.loads["FRON"] = Open()
    return lambda value: value is True


async def sweep_a_resistor(driver: Keithley2400, sim: Simulator, key: str) -> Shows:
    await driver.voltage_stop.write(0.1)
    await driver.points.write(12)
    await driver.output.write(True)
    await driver.sweep.execute()
    return lambda value: isinstance(value, tuple) and math.isclose(value[1][-1], 1e-4, rel_tol=1e-5)


async def err_at_the_front_panel(driver: Keithley2400, sim: Simulator, key: str) -> Shows:
    sim.error(802)
    return lambda value: value == '802,"OUTPUT blocked by output enable"'


async def look_at_the_label(driver: Keithley2400, sim: Simulator, key: str) -> Shows:
    return lambda value: isinstance(value, Identity) and value.model == "MODEL 2400"


BEFORE = {
    "sense_voltage_range": source_current,
    "sweep": switch_on,
}
CHANGES = {
    "measured": draw_two_milliampere,
    "current_tripped": short,
    "voltage_tripped": disconnect,
    "curve": sweep_a_resistor,
    "error": err_at_the_front_panel,
    "identity": look_at_the_label,
}
