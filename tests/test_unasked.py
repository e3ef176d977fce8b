"""What comes unasked: streams and events beside questions and writes, and streams that stop."""

import asyncio
import contextlib
import functools
import time
from collections.abc import AsyncIterator
from dataclasses import replace
from urllib.parse import urlsplit

import pytest
import pytest_asyncio
from tests.balance import BALANCE, ONLY_STREAM, STALE, Balance, BalanceSimulator
from tests.bus import BusSimulator, Gauge
from tests.ca import Client, PutFailed, until
from tests.fakes import FakeNetwork
from tests.test_bus import has, is_good
from tests.test_ioc import shows
from tests.test_port import network as network

from labioc.devices.core.records import AlarmSeverity, AlarmStatus
from labioc.drivers.core import Channel, Channels, Driver, Float, Integer, Lines, Readback
from labioc.drivers.core.checksums import SUM8
from labioc.drivers.core.errors import DefinitionError, LinkDown, ReplyTimeout
from labioc.drivers.core.line import Line
from labioc.drivers.core.port import LinkState
from labioc.iocs.core import Host, Instrument, InstrumentConfig

SUM8_DECIMAL = replace(SUM8, form="decimal")


@pytest.fixture
def sim() -> BalanceSimulator:
    return BalanceSimulator()


def config(url: str, instrument: Instrument = BALANCE) -> InstrumentConfig:
    return InstrumentConfig(instrument=instrument, url=url, prefix="W:", name="balance")


@pytest_asyncio.fixture(params=["tcp://127.0.0.1:0", "pty:"])
async def host(
    request: pytest.FixtureRequest, sim: BalanceSimulator, ca_environment: dict[str, str]
) -> AsyncIterator[Host]:
    async with sim.serve(request.param) as url, Host([config(url)]) as running:
        yield running


@contextlib.asynccontextmanager
async def streaming(sim: BalanceSimulator) -> AsyncIterator[None]:
    """Let the balance send a reading at each turn of the event loop, 1 mg more than the last."""

    async def stream() -> None:
        grams = 0.0
        while True:
            grams += 0.01
            sim.weigh(grams)
            await asyncio.sleep(0.001)

    task = asyncio.create_task(stream())
    try:
        yield
    finally:
        task.cancel()


async def test_a_stream_goes_on_beside_questions_and_writes(
    host: Host, sim: BalanceSimulator, client: Client
) -> None:
    port = host.units[0].driver.port
    async with streaming(sim), client.monitor("W:WEIGHT") as weights, client.monitor("W:TEMP") as others:
        for number in range(1, 20):
            await client.put("W:TOL", number / 8)
            assert sim.tolerance == number / 8
        await weights.next(lambda reading: reading.value > 1.0)
        await until(lambda: port.statistics.unasked > 100 and len(weights.received) > 50)
        values = [reading.value for reading in weights.received if is_good(reading)]
        assert values == sorted(values)
        assert all(map(is_good, others.received))
        assert (await client.get("W:MG")).value > 1000.0
    assert (port.statistics.connects, port.statistics.errors.total(), port.statistics.retries) == (1, 0, 0)
    assert sim.streams == 1


async def test_events_go_to_their_readbacks(host: Host, sim: BalanceSimulator, client: Client) -> None:
    async with client.monitor("W:KEY") as keys:
        sim.say(b"K C 4\r\n")
        await keys.next(shows(4))
        sim.say(b"K C 7\r\nK C 8\r\n")
        await keys.next(shows(8))
        assert [reading.value for reading in keys.received[1:]] == [4, 7, 8]
    port = host.units[0].driver.port
    assert port.statistics.unasked == 3
    await client.put("W:LINK:RECONNECT", 1)
    await until(lambda: port.statistics.connects == 2)


async def test_what_can_be_asked_for_too(host: Host, sim: BalanceSimulator, client: Client) -> None:
    assert (await client.get("W:DOOR")).value == 0
    async with client.monitor("W:DOOR") as door:
        sim.say(b"DOOR A 1\r\n")
        await door.next(shows(1))
        sim.door = 2
        await client.put("W:DOOR.PROC", 1)
        await door.next(shows(2))
    assert host.units[0].driver.port.statistics.errors.total() == 0


async def test_half_a_message_does_not_disturb_a_question(
    host: Host, sim: BalanceSimulator, client: Client
) -> None:
    port = host.units[0].driver.port
    await until(lambda: port.statistics.exchanges > 3)
    async with client.monitor("W:WEIGHT") as weights:
        for number in range(1, 6):
            sim.say(b"S S     12.")
            exchanges = port.statistics.exchanges
            waiting = asyncio.create_task(client.put("W:TOL.PROC", 1))
            await until(
                functools.partial(
                    lambda before: port.line.busy or port.statistics.exchanges > before, exchanges
                )
            )
            sim.say(b"%d0 g\r\n" % number)
            await waiting
            await weights.next(shows(12 + number / 10))
        assert {reading.status for reading in weights.received[1:]} == {AlarmStatus.NO_ALARM}


@pytest.mark.parametrize("instrument", [BALANCE, ONLY_STREAM])
async def test_the_scan_of_what_comes_unasked(
    instrument: Instrument, sim: BalanceSimulator, client: Client, caplog: pytest.LogCaptureFixture
) -> None:
    async with sim.serve("tcp://127.0.0.1:0") as url, Host([config(url, instrument)]):
        assert (await client.get("W:WEIGHT.SCAN")).value == 2
        names = (await client.get("W:WEIGHT.SCAN", "control")).metadata.enum_strings
        assert names[2] == b"I/O Intr"
        if instrument is BALANCE:
            assert (await client.get("W:MG.SCAN")).value == 2
            assert (await client.get("W:DOOR.SCAN")).value == 2
            assert (await client.get("W:TOL_RBV.SCAN")).value == 0
        with pytest.raises(PutFailed):
            await client.put("W:WEIGHT.SCAN", 6)
    assert "first sweep takes longer" not in caplog.text


async def test_a_stream_that_stops_is_time_out_until_it_goes_on(
    host: Host, sim: BalanceSimulator, client: Client
) -> None:
    driver = host.units[0].driver
    async with client.monitor("W:WEIGHT") as weights, client.monitor("W:MG") as computed:
        sim.weigh(5.0)
        await weights.next(shows(5.0))
        driver.check_ages(time.monotonic() + STALE - 1.0)
        assert driver.parameters["weight"].error is None
        driver.check_ages(time.monotonic() + STALE)
        for events in (weights, computed):
            reading = await events.next(has(AlarmStatus.TIMEOUT))
            assert reading.severity == AlarmSeverity.INVALID_ALARM
            assert reading.value in (5.0, 5000.0)
        sim.weigh(6.0)
        for events in (weights, computed):
            await events.next(is_good)
    assert isinstance(driver, Balance)
    assert driver.pressed.error is None  # an event may fail to come for as long as it likes


async def test_a_stream_that_never_began_is_time_out(
    host: Host, sim: BalanceSimulator, client: Client
) -> None:
    driver = host.units[0].driver
    assert (await client.get("W:WEIGHT")).status == AlarmStatus.UDF
    driver.check_ages(time.monotonic() + STALE)
    assert (await client.get("W:WEIGHT")).status == AlarmStatus.TIMEOUT


async def test_a_stream_begins_anew_at_each_connect(sim: BalanceSimulator, client: Client) -> None:
    async with contextlib.AsyncExitStack() as stack:
        first = contextlib.AsyncExitStack()
        url = await first.enter_async_context(sim.serve("tcp://127.0.0.1:0"))
        host = await stack.enter_async_context(Host([config(url)]))
        weights = await stack.enter_async_context(client.monitor("W:WEIGHT"))
        sim.weigh(1.0)
        await weights.next(shows(1.0))
        await first.aclose()
        await weights.next(has(AlarmStatus.COMM))
        driver = host.units[0].driver
        driver.check_ages(time.monotonic() + 10 * STALE)  # the link says it better
        assert isinstance(driver.parameters["weight"].error, LinkDown)
        sim.streams = 0
        await stack.enter_async_context(sim.serve(f"tcp://127.0.0.1:{urlsplit(url).port}"))
        await until(lambda: driver.port.is_up and sim.streams == 1)
        driver.check_ages(time.monotonic() + STALE)
        await weights.next(has(AlarmStatus.TIMEOUT))
        sim.weigh(2.0)
        await weights.next(lambda reading: is_good(reading) and reading.value == 2.0)


async def test_a_flood_is_bounded(host: Host, sim: BalanceSimulator, client: Client) -> None:
    port = host.units[0].driver.port
    for junk in (b"what is this\r\n", b"S S       1.00 g\r\n"):
        for _ in range(20):
            sim.say(junk * 200)
            await asyncio.sleep(0)
        exchanges = port.statistics.exchanges
        await until(functools.partial(lambda after: port.statistics.exchanges > after, exchanges + 3))
    await until(lambda: port.statistics.unasked == 4000 and port.is_up)
    async with client.monitor("W:TEMP") as temperatures:
        await temperatures.next(is_good)
    assert port.statistics.connects == 1


# what the first message after a gap may be


class Bare(Driver):
    """A balance that says nothing but numbers."""

    protocol = Lines(eol="\n", timeout=0.1, identify=("ID?", "FAKE,"))
    value = Readback(Float(), unasked=r"\d+\.\d")
    asked = Readback(Integer(), ask="N?")


class Talker(asyncio.Protocol):
    """A server that begins to talk in the middle of a message."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self.transport = transport
        self.is_torn = False
        transport.write(b"2.5\n")  # the rest of 12.5

    def data_received(self, data: bytes) -> None:
        for line in data.splitlines():
            if line == b"ID?":
                self.transport.write((b"3.5\n" if self.is_torn else b"") + b"FAKE,1\n")
            elif line == b"N?":
                self.transport.write(b"1")  # and later the rest of 13.5
                self.is_torn = True


async def test_the_rest_of_a_message_is_no_reading() -> None:
    talkers: list[Talker] = []

    def make() -> Talker:
        talkers.append(Talker())
        return talkers[-1]

    server = await asyncio.get_running_loop().create_server(make, "127.0.0.1", 0)
    url = f"tcp://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    async with server, Bare.open(url) as bare:
        heard: list[float] = []
        bare.value.listeners.append(lambda readback: heard.append(readback.value))
        assert not bare.value.stamp
        with pytest.raises(ReplyTimeout):
            await bare.asked.read()
        await until(lambda: bare.port.is_up)
        talkers[0].transport.write(b"4.5\n")
        await until(lambda: heard)
        assert heard == [4.5]
        assert bare.port.statistics.connects == 1


async def test_reading_waits_for_what_comes(sim: BalanceSimulator) -> None:
    async with sim.serve("tcp://127.0.0.1:0") as url, Balance.open(url) as balance:
        reading = asyncio.create_task(balance.weight.read())
        await until(lambda: balance.weight.listeners)
        sim.weigh(7.25)
        assert await reading == 7.25
        with pytest.raises(ReplyTimeout, match="pressed: nothing came within 0.5 s"):
            await balance.pressed.read()
        await balance.close()
        with pytest.raises(LinkDown, match="closed"):
            await balance.weight.read()


class Gate(Channel):
    """One of several doors."""

    state = Readback(Integer(), unasked=r"{addr}G{ch} (\d)")


class Gates(Driver):
    """Doors at an address."""

    protocol = Lines(eol="\n", timeout=0.1, identify=("ID?", "FAKE,"))
    gates = Channels(Gate, ("1", "1+"))


async def test_channels_and_addresses_stand_in_what_comes(network: FakeNetwork) -> None:
    gates = Gates("tcp://127.0.0.1:1", address="*")
    gates.port.listens = True
    assert gates.port.route(b"*G1+ 5")
    assert not gates.port.route(b"*G11 6")
    assert gates.gates["1+"].state.value == 5
    assert not gates.gates["1"].state.stamp


class Alarming(Gauge):
    """A gauge that tells of an alarm by itself."""

    alarm = Readback(Integer(), unasked=r"{addr}:ALARM(\d)")


async def test_one_that_joins_an_open_line_hears_what_comes_unasked() -> None:
    sim = BusSimulator("001", "002")
    async with sim.serve("tcp://127.0.0.1:0") as url:
        line = Line(url)
        async with Gauge.open(line, address="001") as first:
            async with Alarming.open(line, address="002") as second:
                coming = asyncio.create_task(second.alarm.read())
                await until(lambda: bool(second.alarm.listeners))
                sim.say(SUM8_DECIMAL.append(b"002:ALARM7") + b"\r")
                assert await coming == 7
                await until(lambda: first.port.state is LinkState.UP)
                assert await first.setpoint.read() == 20.0


def test_what_cannot_be_is_refused() -> None:
    status = Readback(Integer(), ask="S?")
    with pytest.raises(DefinitionError, match="valid_if= is for what is asked"):
        Readback(Integer(), unasked=r"(\d)", valid_if=status == 0)
    with pytest.raises(DefinitionError, match="stale_after= is for what comes unasked"):
        Readback(Integer(), ask="A?", stale_after=1.0)
    with pytest.raises(DefinitionError, match="is no regular expression"):
        Readback(Integer(), unasked="(")
