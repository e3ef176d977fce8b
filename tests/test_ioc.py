"""An IOC as its clients see it: readings, alarms, puts and their refusals, on a healthy link."""

import asyncio
from collections.abc import AsyncIterator, Callable

import pytest
import pytest_asyncio
from tests.ca import Client, Libca, PutFailed, Reading
from tests.numbered import INSTRUMENT, NumberedSimulator

from labioc.devices.core.records import AlarmSeverity, AlarmStatus
from labioc.drivers.core.errors import DefinitionError, LimitError
from labioc.iocs.core import Host, InstrumentConfig

INVALID = AlarmSeverity.INVALID_ALARM


def config(url: str, prefix: str = "T:", name: str = "numbered", **more: object) -> InstrumentConfig:
    return InstrumentConfig(instrument=INSTRUMENT, url=url, prefix=prefix, name=name, **more)  # type: ignore[arg-type]


@pytest.fixture
def sim() -> NumberedSimulator:
    return NumberedSimulator()


@pytest_asyncio.fixture(params=["tcp://127.0.0.1:0", "pty:"])
async def host(
    request: pytest.FixtureRequest, sim: NumberedSimulator, ca_environment: dict[str, str]
) -> AsyncIterator[Host]:
    """The same IOC, over TCP and over a real pseudo-terminal."""
    async with sim.serve(request.param) as url, Host([config(url)]) as running:
        yield running


def shows(value: object) -> Callable[[Reading], bool]:
    return lambda reading: bool(reading.value == value)


async def until(client: Client, name: str, value: object) -> Reading:
    async with client.monitor(name) as events:
        return await events.next(shows(value))


async def test_everything_is_valid_when_the_server_answers(host: Host, client: Client) -> None:
    for name in ("T:0:V", "T:3:V", "T:SP", "T:SP_RBV", "T:LEVEL", "T:SLOW", "T:RESET"):
        assert (await client.get(name)).severity == AlarmSeverity.NO_ALARM, name
    assert (await client.get("T:BLIND")).status == AlarmStatus.UDF


async def test_readings_follow_the_world(host: Host, client: Client, sim: NumberedSimulator) -> None:
    async with client.monitor("T:LEVEL") as events:
        sim.level = 61.5
        reading = await events.next(lambda reading: bool(reading.value == 61.5))
    assert reading.severity == AlarmSeverity.NO_ALARM


async def test_alarm_limits_have_hysteresis_and_severities(
    host: Host, client: Client, sim: NumberedSimulator
) -> None:
    async with client.monitor("T:LEVEL") as events:
        for level, status, severity in (
            (96.0, AlarmStatus.HIHI, AlarmSeverity.MAJOR_ALARM),
            (94.0, AlarmStatus.HIHI, AlarmSeverity.MAJOR_ALARM),
            (92.0, AlarmStatus.HIGH, AlarmSeverity.MINOR_ALARM),
            (87.0, AlarmStatus.NO_ALARM, AlarmSeverity.NO_ALARM),
            (9.0, AlarmStatus.LOW, AlarmSeverity.MINOR_ALARM),
        ):
            sim.level = level
            reading = await events.next(shows(level))
            assert (reading.status, reading.severity) == (status, severity)


async def test_units_convert_values_and_alarm_limits(
    host: Host, client: Client, sim: NumberedSimulator
) -> None:
    control = await client.get("T:LEVEL_C", "control")
    assert control.metadata.units == b"degC"
    async with client.monitor("T:LEVEL_C") as events:
        sim.level = 95.5
        reading = await events.next(lambda reading: abs(reading.value - (95.5 - 273.15)) < 1e-9)
    assert reading.status == AlarmStatus.HIHI
    assert (await client.get("T:LEVEL.EGU")).value == "K"


async def test_each_pv_has_an_alarm_of_its_own(host: Host, client: Client, sim: NumberedSimulator) -> None:
    sim.level = 99.0
    await until(client, "T:LEVEL", 99.0)
    assert (await client.get("T:SP_RBV")).severity == AlarmSeverity.NO_ALARM


async def test_a_put_is_done_when_the_instrument_has_it(
    host: Host, client: Client, sim: NumberedSimulator
) -> None:
    await client.put("T:SP", 123.5)
    assert sim.setpoint == 123.5
    assert (await client.get("T:SP")).value == 123.5
    assert (await client.get("T:SP_RBV")).value == 123.5


async def test_a_put_by_libca_arrives(host: Host, libca: Libca, sim: NumberedSimulator) -> None:
    await libca.put("T:SP", 77.25)
    assert sim.setpoint == 77.25
    assert (await libca.get("T:SP_RBV")).value == 77.25


async def test_a_setpoint_keeps_what_was_put_while_its_readback_follows_the_front_panel(
    host: Host, client: Client, sim: NumberedSimulator
) -> None:
    await client.put("T:SP", 30.0)
    sim.setpoint = 31.0
    await until(client, "T:SP_RBV", 31.0)
    assert (await client.get("T:SP")).value == 30.0


async def test_a_put_beyond_the_limits_is_refused_with_the_reason_and_without_an_alarm(
    host: Host, client: Client, sim: NumberedSimulator
) -> None:
    with pytest.raises(PutFailed):
        await client.put("T:SP", 501.0)
    setpoint = await client.get("T:SP")
    assert (setpoint.value, setpoint.severity) == (20.0, AlarmSeverity.NO_ALARM)
    message = bytes((await client.get("T:MESSAGE.VAL$")).value).decode()
    assert "501" in message
    assert "0 to 500 K" in message
    assert not [command for command in sim.log if command.startswith("SP ")]


async def test_a_put_that_the_instrument_refuses_is_not_shown_as_done(
    host: Host, client: Client, sim: NumberedSimulator
) -> None:
    async with client.monitor("T:SP") as events:
        sim.refuse_next = True
        with pytest.raises(PutFailed):
            await client.put("T:SP", 300.0)
        refused = await events.next(lambda reading: bool(reading.status == AlarmStatus.WRITE))
        assert (refused.value, refused.severity) == (20.0, INVALID)
        again = await events.next(lambda reading: bool(reading.severity == AlarmSeverity.NO_ALARM))
        assert again.value == 20.0
    assert "ERR?" in bytes((await client.get("T:MESSAGE.VAL$")).value).decode()


async def test_what_the_record_refuses_leaves_its_reason_too(host: Host, client: Client) -> None:
    with pytest.raises(PutFailed):
        await client.put("T:SP", "hot")
    assert "hot" in bytes((await client.get("T:MESSAGE.VAL$")).value).decode()


async def test_puts_reach_the_wire_in_the_order_of_their_arrival(
    host: Host, client: Client, sim: NumberedSimulator
) -> None:
    await client.get("T:SP")
    async with asyncio.TaskGroup() as puts:
        for value in (1.0, 2.0, 3.0, 4.0, 5.0):
            puts.create_task(client.put("T:SP", value))
    assert [command for command in sim.log if command.startswith("SP ")] == [
        f"SP {n}.000" for n in range(1, 6)
    ]


async def test_a_setpoint_that_cannot_be_asked_is_undefined_until_it_is_put(
    host: Host, client: Client, sim: NumberedSimulator
) -> None:
    await client.put("T:BLIND", 4.0)
    assert sim.blind == 4.0
    blind = await client.get("T:BLIND")
    assert (blind.value, blind.severity) == (4.0, AlarmSeverity.NO_ALARM)


async def test_a_command_is_executed_once_per_put(host: Host, client: Client, sim: NumberedSimulator) -> None:
    await client.put("T:RESET", 1)
    await client.put("T:RESET", "Execute")
    await client.put("T:RESET", 0)
    assert sim.resets == 2
    assert (await client.get("T:RESET")).value == 0


async def test_readbacks_are_read_only(host: Host, client: Client) -> None:
    with pytest.raises(PutFailed):
        await client.put("T:LEVEL", 3.0)


async def test_the_health_of_the_link_is_served(host: Host, client: Client) -> None:
    assert (await client.get("T:LINK:STATE")).value == 2
    assert bytes((await client.get("T:LINK:IDENTITY.VAL$")).value).startswith(b"NUMBERED")
    async with client.monitor("T:LINK:UTIL") as events:
        await events.next(lambda reading: bool(reading.value > 0))
    assert (await client.get("T:LINK:EXCHANGES")).value > 0


async def test_a_restart_changes_nothing_on_the_instrument(
    sim: NumberedSimulator, ca_environment: dict[str, str]
) -> None:
    async with sim.serve("tcp://127.0.0.1:0") as url:
        for _ in range(2):
            async with Host([config(url)]):
                pass
    assert {command.split()[0] for command in sim.log} <= {"*IDN?", "ERR?", "V?", "SP?", "LEVEL?"}


async def test_several_instruments_in_one_process(ca_environment: dict[str, str], client: Client) -> None:
    one, two = NumberedSimulator(), NumberedSimulator()
    two.level = 42.0
    async with one.serve("tcp://127.0.0.1:0") as url_one, two.serve("tcp://127.0.0.1:0") as url_two:
        configs = [config(url_one, "ONE:", "one"), config(url_two, "TWO:", "two")]
        async with Host(configs):
            assert (await client.get("ONE:LEVEL")).value == 50.0
            assert (await client.get("TWO:LEVEL")).value == 42.0


async def test_several_hosts_on_one_machine_are_found_by_search(
    ca_environment: dict[str, str], client: Client
) -> None:
    one, two = NumberedSimulator(), NumberedSimulator()
    async with one.serve("tcp://127.0.0.1:0") as url_one, two.serve("tcp://127.0.0.1:0") as url_two:
        async with Host([config(url_one, "ONE:")]), Host([config(url_two, "TWO:")]):
            assert (await client.get("ONE:LEVEL")).value == 50.0
            assert (await client.get("TWO:LEVEL")).value == 50.0


def test_two_instruments_with_the_same_pvs_are_refused() -> None:
    with pytest.raises(DefinitionError, match=r"second.*T:"):
        Host([config("tcp://h:1"), config("tcp://h:2", name="second")])


async def test_a_station_narrows_limits(
    sim: NumberedSimulator, ca_environment: dict[str, str], client: Client
) -> None:
    async with sim.serve("tcp://127.0.0.1:0") as url, Host([config(url, limits={"SP": (0, 100)})]):
        control = await client.get("T:SP", "control")
        assert (control.metadata.lower_ctrl_limit, control.metadata.upper_ctrl_limit) == (0, 100)
        with pytest.raises(PutFailed):
            await client.put("T:SP", 200.0)


def test_a_station_may_not_widen_limits() -> None:
    with pytest.raises(LimitError, match="narrow"):
        Host([config("tcp://h:1", limits={"SP": (0, 1000)})])
    with pytest.raises(DefinitionError, match="NOPE"):
        Host([config("tcp://h:1", limits={"NOPE": (0, 1)})])


async def test_macros_stand_in_the_prefix(
    sim: NumberedSimulator, ca_environment: dict[str, str], client: Client
) -> None:
    async with sim.serve("tcp://127.0.0.1:0") as url:
        async with Host([config(url, prefix="{site}:T:", macros={"site": "LAB"})]):
            assert (await client.get("LAB:T:LEVEL")).value == 50.0
