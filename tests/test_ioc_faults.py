"""An IOC as its clients see it when the link or the instrument fails: honest statuses, no wrong value, recovery."""

import asyncio
import contextlib
import math
from collections.abc import AsyncIterator, Callable
from urllib.parse import urlsplit

import pytest
import pytest_asyncio
from tests.ca import Client, Events, PutFailed, Reading
from tests.numbered import CHANNELS, MILLION, NumberedSimulator
from tests.test_ioc import config

from labioc.devices.core.records import AlarmSeverity, AlarmStatus
from labioc.iocs.core import Host
from labioc.iocs.lakeshore336 import instrument as lakeshore336

INVALID = AlarmSeverity.INVALID_ALARM
PVS = ("T:0:V", "T:3:V", "T:SP", "T:SP_RBV", "T:LEVEL", "T:SLOW", "T:BLIND", "T:RESET")


def is_good(reading: Reading) -> bool:
    return bool(reading.severity == AlarmSeverity.NO_ALARM)


def is_good_and_above(value: int) -> Callable[[Reading], bool]:
    return lambda reading: is_good(reading) and reading.value > value


@pytest.fixture
def sim() -> NumberedSimulator:
    return NumberedSimulator()


@pytest_asyncio.fixture(params=["tcp://127.0.0.1:0", "pty:"])
async def host(
    request: pytest.FixtureRequest, sim: NumberedSimulator, ca_environment: dict[str, str]
) -> AsyncIterator[Host]:
    async with sim.serve(request.param) as url, Host([config(url)]) as running:
        yield running


@contextlib.asynccontextmanager
async def watching(client: Client, *names: str) -> AsyncIterator[list[Events]]:
    async with contextlib.AsyncExitStack() as stack:
        yield [await stack.enter_async_context(client.monitor(name)) for name in names]


async def test_a_killed_instrument_is_comm_invalid_everywhere_and_comes_back(
    sim: NumberedSimulator, client: Client
) -> None:
    async with contextlib.AsyncExitStack() as stack:
        first = contextlib.AsyncExitStack()
        url = await first.enter_async_context(sim.serve("tcp://127.0.0.1:0"))
        await stack.enter_async_context(Host([config(url)]))
        await client.put("T:BLIND", 5.0)
        before = await client.get("T:SP")
        watched = await stack.enter_async_context(watching(client, *PVS))
        await first.aclose()
        for events in watched:
            await events.next(lambda reading: bool(reading.status == AlarmStatus.COMM))
        gone = await client.get("T:SP")
        assert (gone.value, gone.severity) == (before.value, INVALID)
        assert (await client.get("T:LINK:STATE")).value == 0
        assert (await client.get("T:LINK:STATE")).severity == AlarmSeverity.MAJOR_ALARM
        sim.setpoint = 33.0  # changed by hand while nobody looked
        await stack.enter_async_context(sim.serve(f"tcp://127.0.0.1:{urlsplit(url).port}"))
        for events in watched:
            await events.next(is_good)
        assert (await client.get("T:SP")).value == 33.0
        assert (await client.get("T:BLIND")).value == 5.0


async def test_a_mute_instrument_is_timeout_invalid_everywhere_and_comes_back(
    host: Host, sim: NumberedSimulator, client: Client
) -> None:
    async with watching(client, *PVS[:6]) as watched:
        sim.faults.add("mute")
        for events in watched:
            await events.next(lambda reading: bool(reading.status == AlarmStatus.TIMEOUT))
        with pytest.raises(PutFailed):
            await client.put("T:SP", 99.0)
        assert (await client.get("T:SP")).value == 20.0
        sim.faults.clear()
        for events in watched:
            await events.next(is_good)
    assert sim.setpoint == 20.0


async def test_no_pv_ever_shows_another_querys_answer_after_late_replies(
    host: Host, sim: NumberedSimulator, client: Client
) -> None:
    names = [f"T:{channel}:V" for channel in CHANNELS]
    async with watching(client, *names) as watched:
        for seconds in (0.3, 0.26, 0.6, 0.3, 0.9):  # all later than the time-out of 0.25 s
            sim.faults.add(f"late={seconds} count=1")
            for events in watched:
                await events.next(is_good_and_above(events.received[-1].value + 20))
        for channel, events in zip(CHANNELS, watched, strict=True):
            numbers = [reading.value % MILLION for reading in events.received if is_good(reading)]
            assert {reading.value // MILLION for reading in events.received} == {channel}
            assert len(numbers) > 10
            assert numbers == sorted(numbers)
    assert host.units[0].driver.port.statistics.errors["ReplyTimeout"] >= 5


async def test_garbage_is_never_shown_as_a_value_and_goes_away(
    host: Host, sim: NumberedSimulator, client: Client
) -> None:
    async with watching(client, "T:0:V", "T:LEVEL") as watched:
        sim.faults.add("garbage")
        for events in watched:
            await events.next(lambda reading: bool(reading.severity == INVALID))
        sim.faults.clear()
        for events in watched:
            await events.next(is_good)
        assert {reading.value // MILLION for reading in watched[0].received} == {0}
        assert {reading.value for reading in watched[1].received} == {50.0}
    assert host.units[0].driver.port.statistics.errors["ReplyError"] >= 1


async def test_a_reply_cut_in_the_middle_is_read_invalid(
    host: Host, sim: NumberedSimulator, client: Client
) -> None:
    async with contextlib.AsyncExitStack() as stack:
        watched = await stack.enter_async_context(watching(client, *(f"T:{ch}:V" for ch in CHANNELS)))
        cut = asyncio.Event()
        for events in watched:
            events.on_event = lambda reading: cut.set() if reading.status == AlarmStatus.READ else None
        sim.faults.add("cut only=V?")
        await asyncio.wait_for(cut.wait(), 20)
        sim.faults.clear()
        for events in watched:
            await events.next(is_good)


async def test_not_a_number_is_udf_invalid(host: Host, sim: NumberedSimulator, client: Client) -> None:
    async with client.monitor("T:LEVEL") as events:
        sim.level = math.nan
        await events.next(
            lambda reading: bool(reading.status == AlarmStatus.UDF and reading.severity == INVALID)
        )
        sim.level = 51.0
        await events.next(is_good)


async def test_each_transition_is_one_event(sim: NumberedSimulator, client: Client) -> None:
    async with contextlib.AsyncExitStack() as stack:
        first = contextlib.AsyncExitStack()
        url = await first.enter_async_context(sim.serve("tcp://127.0.0.1:0"))
        host = await stack.enter_async_context(Host([config(url)]))
        (events,) = await stack.enter_async_context(watching(client, "T:SLOW"))
        await first.aclose()
        await events.next(lambda reading: bool(reading.severity == INVALID))
        async with client.monitor("T:LINK:LAST_ERROR") as texts:
            # several attempts to connect fail meanwhile
            attempts = host.units[0].driver.port
            seen = {id(attempts.error)}
            while len(seen) < 4:
                await texts.next() if not texts.received else await asyncio.sleep(0)
                seen.add(id(attempts.error))
        assert [reading.severity for reading in events.received] == [AlarmSeverity.NO_ALARM, INVALID]


async def test_an_instrument_that_is_off_at_the_start_is_comm_and_undefined_then_served(
    sim: NumberedSimulator, client: Client
) -> None:
    async with sim.serve("tcp://127.0.0.1:0") as url:
        pass
    async with Host([config(url)]):
        off = await client.get("T:LEVEL")
        assert (off.status, off.severity) == (AlarmStatus.COMM, INVALID)
        assert (await client.get("T:LEVEL.UDF")).value in (1, b"\x01")
        async with client.monitor("T:LEVEL") as events, sim.serve(f"tcp://127.0.0.1:{urlsplit(url).port}"):
            assert (await events.next(is_good)).value == 50.0
        assert (await client.get("T:LEVEL.UDF")).value in (0, b"\x00")


async def test_twenty_dead_instruments_do_not_keep_the_living_one_from_its_clients(
    sim: NumberedSimulator, client: Client
) -> None:
    async with NumberedSimulator().serve("tcp://127.0.0.1:0") as dead:
        pass
    async with sim.serve("tcp://127.0.0.1:0") as url:
        configs = [config(dead, f"D{n}:", f"dead{n}") for n in range(20)]
        async with Host([*configs, config(url)]):
            assert is_good(await client.get("T:LEVEL"))
            assert (await client.get("D19:LEVEL")).status == AlarmStatus.COMM


async def test_the_wrong_instrument_is_named(
    sim: NumberedSimulator, client: Client, caplog: pytest.LogCaptureFixture
) -> None:
    async with lakeshore336.simulator("").serve("tcp://127.0.0.1:0") as url, Host([config(url)]):
        assert (await client.get("T:LEVEL")).status == AlarmStatus.COMM
        text = bytes((await client.get("T:LINK:LAST_ERROR.VAL$")).value).decode()
    assert "NUMBERED" in text
    assert "LSCI,MODEL336" in text


async def test_stopping_with_a_put_under_way_ends(host: Host, sim: NumberedSimulator, client: Client) -> None:
    await client.get("T:SP")
    sim.faults.add("mute")
    put = asyncio.create_task(client.put("T:SP", 50.0))
    await asyncio.sleep(0)
    sim.faults.clear()
    with contextlib.suppress(PutFailed):
        await put
