"""The health of a link as PVs: times, load, what is read too seldom, counters, reconnecting, raw commands."""

import contextlib
from collections.abc import AsyncIterator

import pytest
import pytest_asyncio
from tests.ca import Client, Libca, PutFailed, until
from tests.numbered import CHANNELS, NumberedSimulator
from tests.test_bus import is_good
from tests.test_ioc import config, shows

from labioc.devices.core.health import Budget
from labioc.devices.core.records import AlarmSeverity, AlarmStatus
from labioc.devices.core.scan import rest_after
from labioc.iocs.core import Host

PERIOD = 0.05  # of the fastest PVs of the numbered instrument


@pytest.fixture
def sim() -> NumberedSimulator:
    return NumberedSimulator()


@pytest.fixture(autouse=True)
def often(monkeypatch: pytest.MonkeyPatch) -> None:
    """The health is looked at often."""
    monkeypatch.setattr("labioc.devices.core.scan.HEALTH_PERIOD", 0.05)


@pytest_asyncio.fixture
async def host(sim: NumberedSimulator, ca_environment: dict[str, str]) -> AsyncIterator[Host]:
    async with sim.serve("tcp://127.0.0.1:0") as url, Host([config(url, raw=True)]) as running:
        yield running


async def text_of(client: Client, name: str) -> str:
    return bytes((await client.get(f"{name}.VAL$")).value).rstrip(b"\0").decode()


async def test_times_of_exchanges(host: Host, client: Client) -> None:
    port = host.units[0].driver.port
    port.statistics.round_trips.clear()
    port.statistics.round_trips.extend([0.0, *(n / 1000 for n in range(1, 101))])
    host.units[0].device.link.measure(Budget(0.5, []))
    link = host.units[0].device.link
    assert link.round_trip_mean.value == pytest.approx(50.5)
    assert link.round_trip_p99.value == pytest.approx(100.0)
    assert link.round_trip.value == pytest.approx(100.0)
    await until(lambda: link.utilisation.value > 0 and link.load.value > 0)
    for name in ("RTT", "RTT_MEAN", "RTT_P99"):
        assert (await client.get(f"T:LINK:{name}")).value > 0


async def test_counters(host: Host, sim: NumberedSimulator, client: Client) -> None:
    async with contextlib.AsyncExitStack() as stack:
        names = ("REFUSALS", "RETRIES", "TIMEOUTS", "BAD_REPLIES", "LOSSES")
        counters = {name: await stack.enter_async_context(client.monitor(f"T:LINK:{name}")) for name in names}
        sim.refuse_next = True
        with pytest.raises(PutFailed):
            await client.put("T:SP", 30.0)
        await counters["REFUSALS"].next(shows(1))
        sim.faults.add("lose count=1 only=LEVEL?")
        await counters["RETRIES"].next(shows(1))
        await counters["TIMEOUTS"].next(shows(1))
        sim.faults.add("garbage count=1 only=V?")
        await counters["BAD_REPLIES"].next(lambda reading: reading.value >= 1)
        sim.faults.disconnect()
        await counters["LOSSES"].next(lambda reading: reading.value >= 1)


async def test_reconnect(host: Host, sim: NumberedSimulator, client: Client) -> None:
    async with client.monitor("T:LINK:CONNECTS") as connects:
        await client.put("T:LINK:RECONNECT", 1)
        await connects.next(shows(2))
    assert (await client.get("T:LINK:RECONNECT")).value == 0
    await client.put("T:LINK:RECONNECT", 0)
    assert host.units[0].driver.port.statistics.connects == 2


async def test_raw_commands(host: Host, sim: NumberedSimulator, client: Client, libca: Libca) -> None:
    await client.put("T:LINK:CMD", "LEVEL?")
    assert await text_of(client, "T:LINK:REPLY") == "50.000"
    await libca.put("T:LINK:CMD", "SP 44.5")
    assert sim.setpoint == 44.5
    assert await text_of(client, "T:LINK:REPLY") == ""
    await until(lambda: host.units[0].driver.port.is_up)
    await client.put("T:LINK:CMD", "SP?")
    assert await text_of(client, "T:LINK:REPLY") == "44.500"
    sim.faults.add("mute")
    async with client.monitor("T:LINK:STATE") as states:
        await states.next(shows(0))
    with pytest.raises(PutFailed):
        await client.put("T:LINK:CMD", "SP?")


async def test_raw_commands_are_off_unless_allowed(sim: NumberedSimulator, client: Client) -> None:
    async with sim.serve("tcp://127.0.0.1:0") as url, Host([config(url)]):
        with pytest.raises(PutFailed):
            await client.put("T:LINK:CMD", "RESET")
        assert not (await client.connect("T:LINK:CMD")).access & 2
    assert sim.resets == 0


# the budget of time


async def test_polls_that_do_not_fit_are_named_and_it_ends(
    host: Host, sim: NumberedSimulator, client: Client, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    async with contextlib.AsyncExitStack() as stack:
        late = await stack.enter_async_context(client.monitor("T:LINK:LATE"))
        load = await stack.enter_async_context(client.monitor("T:LINK:LOAD"))
        values = [await stack.enter_async_context(client.monitor(f"T:{ch}:V")) for ch in CHANNELS]
        caplog.clear()
        sim.faults.add("late=0.04")  # each of five readings is wanted every 0.05 s
        await late.next(lambda reading: reading.value >= 5)
        reading = await load.next(lambda reading: reading.value > 300)
        assert (reading.status, reading.severity) == (AlarmStatus.HIGH, AlarmSeverity.MINOR_ALARM)
        assert (await client.get("T:LINK:LATE")).severity == AlarmSeverity.MINOR_ALARM
        said = await text_of(client, "T:LINK:LATE_PVS")
        assert all(name in said for name in ("0:V ", "3:V ", "LEVEL "))
        assert " s instead of 0.05 s" in said
        counts = [len(events.received) for events in values]
        await until(lambda: len(values[0].received) >= counts[0] + 10)
        # whoever has waited longest is next
        more = [len(events.received) - count for events, count in zip(values, counts, strict=True)]
        assert max(more) - min(more) <= 1
        sim.faults.clear()
        await late.next(shows(0))
        await load.next(lambda reading: reading.severity == AlarmSeverity.NO_ALARM)
        assert await text_of(client, "T:LINK:LATE_PVS") == ""
        assert all(is_good(reading) for events in values for reading in events.received)
    lines = [record.getMessage() for record in caplog.records if "read " in record.getMessage()]
    assert len(lines) == 2
    assert "are read less often than asked: " in lines[0]
    assert lines[1] == "numbered: everything is read as often as asked again"


def test_what_was_never_answered_takes_less_and_less_from_the_others() -> None:
    """Twenty questions that an instrument doesn't know, with time-outs of 1.5 s, must not fill its line."""
    rests = [rest_after(silences, was_answered=False) for silences in range(1, 12)]
    assert rests[:4] == [0.0, 2.0, 4.0, 8.0]
    assert rests[-1] == 300.0
    assert rest_after(1, was_answered=False, in_vain=20.0) == 0.0
    assert rest_after(2, was_answered=False, in_vain=20.0) == 200.0
    assert rest_after(2, was_answered=True, in_vain=20.0) == 2.0
    assert max(rest_after(silences, was_answered=True) for silences in range(100)) == 30.0
