"""A port and what instruments, networks and other people's code do to it."""

import asyncio
import contextlib
import itertools
import logging
from collections.abc import AsyncIterator
from urllib.parse import urlsplit

import pytest
from tests.ca import Client, PutFailed
from tests.fakes import HANG, IDENTITY, FakeNetwork, echo, started
from tests.numbered import Numbered, NumberedSimulator
from tests.test_ioc import config, shows
from tests.test_port import network as network

from labioc.devices.core.records import AlarmSeverity, AlarmStatus
from labioc.drivers.core import Float, Lines, Readback
from labioc.drivers.core.driver import Driver
from labioc.drivers.core.errors import LinkDown, ReplyError, ReplyTimeout
from labioc.drivers.core.port import LinkState
from labioc.iocs.core import Host


async def test_a_link_that_comes_up_and_falls_at_once_is_tried_with_back_off(
    network: FakeNetwork, monkeypatch: pytest.MonkeyPatch
) -> None:
    waits: list[float] = []
    sleep = asyncio.sleep

    async def note(seconds: float, *more: object) -> None:
        waits.append(seconds)
        await sleep(0)

    def hang_up(text: str) -> str:
        if text == "ID?":
            network.link.lose()
        return echo(text)

    network.answer = hang_up
    monkeypatch.setattr("labioc.drivers.core.keeper.asyncio.sleep", note)
    monkeypatch.setattr("labioc.drivers.core.keeper.random.uniform", lambda low, high: high)
    async with started():
        await network.attempted(6)
    assert [wait for wait in waits if wait > 0][:4] == [0.2, 0.4, 0.4, 0.4]


class Flood(asyncio.Protocol):
    """A server that never stops talking."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport
        self._pour()

    def _pour(self) -> None:
        if not self._transport.is_closing():
            if self._transport.get_write_buffer_size() < 1 << 16:
                self._transport.write(b"+1.0\n" * 1000)
            asyncio.get_running_loop().call_soon(self._pour)


@contextlib.asynccontextmanager
async def flooding() -> AsyncIterator[str]:
    server = await asyncio.get_running_loop().create_server(Flood, "127.0.0.1", 0)
    async with server:
        yield f"tcp://127.0.0.1:{server.sockets[0].getsockname()[1]}"


async def test_a_flood_does_not_keep_a_fence_from_ending() -> None:
    lines = Lines(eol="\n", timeout=0.2, identify=("ID?", "FAKE,"))
    async with asyncio.timeout(HANG), flooding() as url, started(lines, url=url) as fake:
        assert fake.port.state is LinkState.DOWN
        with pytest.raises((LinkDown, ReplyTimeout, ReplyError, ConnectionError)):
            await fake.ask("A?")


async def test_a_flood_instead_of_an_answer_is_bounded_and_mended(caplog: pytest.LogCaptureFixture) -> None:
    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        floods = 1
        while line := await reader.readline():
            text = line.decode().strip()
            reply = f"{echo(text)}\n".encode()
            if text == "A?" and floods:
                floods -= 1
                reply = b"+1.0\n" * 5000
            writer.write(reply)
        writer.close()

    server = await asyncio.start_server(answer, "127.0.0.1", 0)
    url = f"tcp://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    lines = Lines(eol="\n", timeout=0.5, identify=("ID?", "FAKE,"))
    async with asyncio.timeout(HANG), server, started(lines, url=url) as fake:
        assert await fake.ask("A?") == ["+1.0"]
        assert await fake.ask("B?") == ["b"]
        assert fake.port.statistics.connects == 1
    assert "Fatal error" not in caplog.text


async def test_a_listener_that_raises_harms_nobody_else(
    network: FakeNetwork, caplog: pytest.LogCaptureFixture
) -> None:
    async with started() as fake:
        heard: list[LinkState] = []

        def fail() -> None:
            raise RuntimeError("a bug of somebody's")

        fake.port.on_change[:0] = [fail]
        fake.port.on_change.append(lambda: heard.append(fake.port.state))
        network.link.lose()
        await fake.until(LinkState.DOWN)
        await fake.until(LinkState.UP)
        assert await fake.ask("A?") == ["a"]
        assert heard == [LinkState.DOWN, LinkState.UP]
    assert "a bug of somebody's" in caplog.text


async def test_an_exchanger_that_fails_in_its_own_way_is_a_link_down(network: FakeNetwork) -> None:
    async with started() as fake:
        raised: dict[str, Exception] = {"A?": OSError(5, "USB gone"), "B?": KeyError("a bug")}
        network.answer = lambda text: raised.get(text, echo(text))
        for question in raised:
            with pytest.raises(LinkDown):
                await fake.ask(question)
            await fake.until(LinkState.UP)
        assert await fake.ask("C?") == ["c"]


async def test_an_empty_reply_is_a_reply_where_there_is_no_identity(network: FakeNetwork) -> None:
    lines = Lines(eol="\n", timeout=0.2, max_late=0.001)
    network.answer = lambda text: ""
    async with started(lines) as fake:
        assert await fake.ask("A?") == [""]


async def test_a_silent_instrument_without_an_identity_goes_down(network: FakeNetwork) -> None:
    lines = Lines(eol="\n", timeout=0.05, max_late=0.001)
    network.answer = lambda text: None
    async with started(lines) as fake:
        for _ in range(2):
            with pytest.raises(ReplyTimeout):
                await fake.ask("A?")
        await fake.until(LinkState.DOWN)


async def test_joined_questions_and_confirmations_that_are_not_answered_are_left_out(
    network: FakeNetwork, caplog: pytest.LogCaptureFixture
) -> None:
    class Plain(Driver):
        """An emulator that knows no chaining and no error question."""

        protocol = Lines(
            eol="\n", timeout=0.05, join="|", identify=("ID?", "FAKE,"), confirm=("ERR?", lambda e: e == "0")
        )
        status = Readback(Float(), ask="S?")
        value = Readback(Float(), ask="V?", valid_if=status == 0)

    replies = {"ID?": IDENTITY, "S?": "0", "V?": "4.5"}
    network.answer = lambda text: replies.get(text)
    async with Plain.open("tcp://127.0.0.1:1") as plain:
        assert (plain.port.joins, plain.port.confirms) == (False, False)
        assert await plain.value.read() == 4.5
    assert caplog.text.count("going on without") == 2


@pytest.fixture
def sim() -> NumberedSimulator:
    return NumberedSimulator()


async def test_an_error_of_another_client_does_not_refuse_a_good_put(
    sim: NumberedSimulator, ca_environment: dict[str, str], client: Client
) -> None:
    async with sim.serve("tcp://127.0.0.1:0") as url, Host([config(url)]):
        sim.error = 32  # somebody else's
        await client.put("T:SP", 88.0)
        assert (await client.get("T:SP")).severity == AlarmSeverity.NO_ALARM
        assert sim.setpoint == 88.0


async def test_a_refused_command_is_in_alarm_until_it_is_done(
    sim: NumberedSimulator, ca_environment: dict[str, str], client: Client
) -> None:
    async with sim.serve("tcp://127.0.0.1:0") as url, Host([config(url)]):
        sim.error = 16
        with pytest.raises(PutFailed):
            await client.put("T:RESET", 1)
        assert (await client.get("T:RESET")).status == AlarmStatus.WRITE
        await client.put("T:RESET", 1)
        assert (await client.get("T:RESET")).severity == AlarmSeverity.NO_ALARM


async def test_the_state_of_the_link_changes_in_one_event(
    sim: NumberedSimulator, ca_environment: dict[str, str], client: Client
) -> None:
    async with contextlib.AsyncExitStack() as stack:
        first = contextlib.AsyncExitStack()
        url = await first.enter_async_context(sim.serve("tcp://127.0.0.1:0"))
        await stack.enter_async_context(Host([config(url)]))
        events = await stack.enter_async_context(client.monitor("T:LINK:STATE"))
        await first.aclose()
        await events.next(shows(0))
        await stack.enter_async_context(sim.serve(f"tcp://127.0.0.1:{urlsplit(url).port}"))
        await events.next(shows(2))
        seen = [(reading.value, reading.severity) for reading in events.received]
        assert (0, AlarmSeverity.NO_ALARM) not in seen
        assert all(before != after for before, after in itertools.pairwise(seen))


async def test_a_reading_that_goes_wrong_is_logged_once_and_its_recovery_once(
    sim: NumberedSimulator, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    caplog.set_level(logging.INFO)
    async with sim.serve("tcp://127.0.0.1:0") as url, Numbered.open(url) as driver:
        sim.level = float("inf")
        assert await driver.level.read() == float("inf")
        answers = iter(["what", "what", "what", "50.0"])  # the first is asked again at once
        monkeypatch.setitem(NumberedSimulator.table, "LEVEL?", lambda simulator, given: next(answers))
        for _ in range(2):
            with pytest.raises(ReplyError):
                await driver.level.read()
        assert await driver.level.read() == 50.0
    said = [record.getMessage() for record in caplog.records if "level" in record.getMessage()]
    assert len(said) == 2
    assert "was answered with 'what'" in said[0]
    assert said[1] == "numbered: level: good again"
