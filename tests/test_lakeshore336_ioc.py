"""The IOC of the Lake Shore 336: what its instrument does to its PVs."""

from collections.abc import AsyncIterator

import pytest
import pytest_asyncio
from tests.ca import Client, PutFailed

from labioc.devices.core.records import AlarmSeverity, AlarmStatus
from labioc.iocs.core import Host, InstrumentConfig
from labioc.iocs.lakeshore336 import instrument
from labioc.sim.lakeshore336 import LakeShore336 as Simulator


@pytest.fixture
def sim() -> Simulator:
    return Simulator()


@pytest_asyncio.fixture
async def host(sim: Simulator, ca_environment: dict[str, str]) -> AsyncIterator[Host]:
    async with sim.serve("tcp://127.0.0.1:0") as url:
        config = InstrumentConfig(instrument=instrument, url=url, prefix="LS:", name="ls")
        async with Host([config]) as running:
            yield running


async def test_everything_is_known_when_the_server_answers(host: Host, client: Client) -> None:
    for name in host.pvs:
        if name not in ("LS:LINK:STATE", "LS:LINK:UTIL"):
            assert (await client.get(name)).severity != AlarmSeverity.INVALID_ALARM, name


async def test_the_temperature_follows_the_setpoint(host: Host, client: Client, sim: Simulator) -> None:
    sim.clock.speed = 20
    await client.put("LS:OUT1:SETP", 40.0)
    await client.put("LS:OUT1:RANGE", "HIGH")
    async with client.monitor("LS:A:TEMP") as events:
        await events.next(lambda reading: abs(reading.value - 40.0) < 1.0)


async def test_a_broken_sensor_is_hwlimit_and_keeps_the_last_value(
    host: Host, client: Client, sim: Simulator
) -> None:
    async with client.monitor("LS:B:TEMP") as events:
        good = await events.next()
        sim.sensors["B"].fault = "open"
        broken = await events.next(lambda reading: bool(reading.status == AlarmStatus.HWLIMIT))
        assert broken.severity == AlarmSeverity.INVALID_ALARM
        assert abs(broken.value - good.value) < 1.0
        sim.sensors["B"].fault = None
        await events.next(lambda reading: bool(reading.severity == AlarmSeverity.NO_ALARM))


async def test_other_units_at_the_front_panel_are_an_alarm(
    host: Host, client: Client, sim: Simulator
) -> None:
    async with client.monitor("LS:A:UNITS_RBV") as events, client.monitor("LS:A:MIN") as extremes:
        sim.ask("INTYPE A,1,0,0,0,2")
        units = await events.next(lambda reading: bool(reading.value == 1))
        assert (units.status, units.severity) == (AlarmStatus.STATE, AlarmSeverity.MAJOR_ALARM)
        await extremes.next(lambda reading: bool(reading.status == AlarmStatus.HWLIMIT))
    with pytest.raises(PutFailed):
        await client.put("LS:B:UNITS", "CELSIUS")


async def test_one_field_of_several_is_put(host: Host, client: Client, sim: Simulator) -> None:
    await client.put("LS:OUT1:P", 60.0)
    assert sim.ask("PID? 1").startswith("+0060.0,+0020.0")
    with pytest.raises(PutFailed):
        await client.put("LS:OUT1:P", 5000.0)
    message = bytes((await client.get("LS:MESSAGE.VAL$")).value).partition(b"\0")[0].decode()
    assert message == "LS:OUT1:P: 5000 is beyond the limits 0.1 to 1000"


async def test_an_option_card_brings_its_inputs(ca_environment: dict[str, str], client: Client) -> None:
    with_card = Simulator(option="3062")
    async with with_card.serve("tcp://127.0.0.1:0") as url:
        config = InstrumentConfig(instrument=instrument, url=url, prefix="LS:", name="ls", variant="3062")
        async with Host([config]):
            assert (await client.get("LS:D3:TEMP")).severity == AlarmSeverity.NO_ALARM
    async with Simulator().serve("tcp://127.0.0.1:0") as url:
        config = InstrumentConfig(instrument=instrument, url=url, prefix="LS:", name="ls", variant="3062")
        async with Host([config]):
            assert (await client.get("LS:A:TEMP")).status == AlarmStatus.COMM
            text = bytes((await client.get("LS:LINK:LAST_ERROR.VAL$")).value).decode()
            assert "variant '3062'" in text
            assert "#######" in text
