"""The IOCs of the Eurotherm controllers: what their oven and their panel do to the PVs."""

from collections.abc import AsyncIterator

import pytest
import pytest_asyncio
from tests.ca import Client, PutFailed
from tests.registers import ModbusLine

from labioc.devices.core.records import AlarmSeverity, AlarmStatus
from labioc.iocs.core import Host, InstrumentConfig
from labioc.iocs.eurotherm2400 import instrument as instrument2400
from labioc.iocs.eurotherm3200 import instrument as instrument3200
from labioc.sim.eurotherm2400 import Eurotherm2400
from labioc.sim.eurotherm3200 import Eurotherm3200


@pytest.fixture
def sim() -> Eurotherm3200:
    return Eurotherm3200()


@pytest_asyncio.fixture
async def host(sim: Eurotherm3200, ca_environment: dict[str, str]) -> AsyncIterator[Host]:
    async with sim.serve("pty:") as url:
        config = InstrumentConfig(instrument=instrument3200, url=url, prefix="O:", name="oven", address="1")
        async with Host([config]) as running:
            yield running


async def test_everything_is_known_when_the_server_answers(host: Host, client: Client) -> None:
    for name in host.pvs:
        if name not in ("O:LINK:STATE", "O:LINK:UTIL"):
            assert (await client.get(name)).severity != AlarmSeverity.INVALID_ALARM, name


async def test_the_temperature_follows_the_setpoint(host: Host, client: Client, sim: Eurotherm3200) -> None:
    await client.put("O:SP", 120.0)
    assert sim.target == 120.0
    sim.clock.speed = 400
    async with client.monitor("O:PV") as events:
        await events.next(lambda reading: abs(reading.value - 120.0) < 2.0)


async def test_another_decimal_point_at_the_panel_changes_no_value(
    host: Host, client: Client, sim: Eurotherm3200
) -> None:
    before = (await client.get("O:SP_RBV")).value
    async with client.monitor("O:DECIMALS") as decimals, client.monitor("O:SP_RBV") as setpoints:
        sim.decimals = 2
        await decimals.next(lambda reading: reading.value == 2)
        await client.put("O:SP", 31.25)
        seen = await setpoints.next(lambda reading: reading.value != before)
        assert seen.value == 31.25
    assert sim.target == 31.25


async def test_a_broken_sensor_is_hwlimit_and_keeps_the_last_value(
    host: Host, client: Client, sim: Eurotherm3200
) -> None:
    async with client.monitor("O:PV") as events, client.monitor("O:SENSOR_BREAK") as breaks:
        good = await events.next()
        sim.sensor_broken = True
        broken = await events.next(lambda reading: bool(reading.status == AlarmStatus.HWLIMIT))
        assert broken.severity == AlarmSeverity.INVALID_ALARM
        assert abs(broken.value - good.value) < 5.0
        state = await breaks.next(lambda reading: reading.value == 1)
        assert state.severity == AlarmSeverity.MAJOR_ALARM
        sim.sensor_broken = False
        await events.next(lambda reading: bool(reading.severity == AlarmSeverity.NO_ALARM))


async def test_a_put_that_the_instrument_refuses_says_why(host: Host, client: Client) -> None:
    await client.put("O:SP_HIGH", 150.0)
    with pytest.raises(PutFailed):
        await client.put("O:SP", 200.0)
    message = bytes((await client.get("O:MESSAGE.VAL$")).value).partition(b"\0")[0].decode()
    assert "illegal data value" in message
    refused = await client.get("O:SP")
    assert (refused.status, refused.severity) == (AlarmStatus.WRITE, AlarmSeverity.INVALID_ALARM)


async def test_another_unit_at_the_panel_is_an_alarm(host: Host, client: Client, sim: Eurotherm3200) -> None:
    sim.units = 1
    async with client.monitor("O:UNITS") as events:
        await client.put("O:UNITS.PROC", 1)
        units = await events.next(lambda reading: reading.value == 1)
        assert (units.status, units.severity) == (AlarmStatus.STATE, AlarmSeverity.MAJOR_ALARM)


async def test_two_ovens_on_one_line(ca_environment: dict[str, str], client: Client) -> None:
    first, second = Eurotherm2400(unit=1), Eurotherm2400(unit=2)
    async with ModbusLine(first, second).serve("pty:") as url:
        configs = [
            InstrumentConfig(
                instrument=instrument2400, url=url, prefix=f"O{unit}:", name=f"o{unit}", address=str(unit)
            )
            for unit in (1, 2)
        ]
        async with Host(configs):
            await client.put("O1:SP", 60.0)
            await client.put("O2:SP", 70.0)
            assert (first.target, second.target) == (60.0, 70.0)
            assert (await client.get("O1:SP_RBV")).value == 60.0
            assert (await client.get("O2:SP_RBV")).value == 70.0
