"""What is asked again, and what is not; limits of time; power cycles; setting up."""

import asyncio
import contextlib
import functools
from collections.abc import AsyncIterator, Callable
from typing import NamedTuple

import pytest
import pytest_asyncio
from tests.bus import BusSimulator, Gauge
from tests.ca import Client, until
from tests.fakes import HANG, IDENTITY, FakeNetwork, echo, started
from tests.numbered import NumberedSimulator
from tests.test_bus import has, is_good
from tests.test_ioc import config, shows
from tests.test_port import network as network
from tests.test_port import sleeps as sleeps

from labioc.devices.core.records import AlarmSeverity, AlarmStatus
from labioc.drivers.core import Command, Driver, Fields, Integer, Lines, Readback, Setpoint, Text, keeper
from labioc.drivers.core import line as line_module
from labioc.drivers.core.errors import (
    LinkDown,
    PortBusy,
    RefusedError,
    ReplyError,
    ReplyTimeout,
    TruncatedReply,
)
from labioc.drivers.core.port import LinkState
from labioc.iocs.core import Host, InstrumentConfig
from labioc.iocs.lakeshore336 import instrument as lakeshore336
from labioc.sim.lakeshore336 import LakeShore336 as Simulator336

URL = "tcp://127.0.0.1:1"
LINKS = ("tcp://127.0.0.1:0", "pty:")


@pytest.fixture
def sim() -> NumberedSimulator:
    return NumberedSimulator()


@pytest_asyncio.fixture(params=LINKS)
async def host(
    request: pytest.FixtureRequest, sim: NumberedSimulator, ca_environment: dict[str, str]
) -> AsyncIterator[Host]:
    async with sim.serve(request.param) as url, Host([config(url)]) as running:
        yield running


# reads


# over TCP a hang-up ends the connection, which is an alarm
@pytest.mark.parametrize(
    ("host", "fault"),
    [*((link, fault) for link in LINKS for fault in ("lose", "cut", "garbage")), ("pty:", "hang-up")],
    indirect=["host"],
)
async def test_one_spoilt_reply_of_a_reading_is_no_alarm(
    host: Host, sim: NumberedSimulator, client: Client, fault: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(keeper, "FENCE_PATIENCE", (HANG, HANG))  # a machine that stalls is another matter
    port = host.units[0].driver.port
    async with client.monitor("T:LEVEL") as events:
        for number in range(1, 4):
            sim.faults.add(f"{fault} count=1 only=LEVEL?")
            await until(functools.partial(lambda wanted: port.statistics.retries == wanted, number))
            sim.level += 0.5
            await events.next(shows(sim.level))
        assert {reading.severity for reading in events.received} == {AlarmSeverity.NO_ALARM}
    assert port.statistics.connects == 1
    await until(lambda: host.units[0].device.link.retries.value == 3)


@pytest.mark.parametrize(
    ("fault", "status"),
    [("lose", AlarmStatus.TIMEOUT), ("cut", AlarmStatus.READ), ("garbage", AlarmStatus.CALC)],
)
async def test_what_is_spoilt_again_is_an_alarm(
    host: Host, sim: NumberedSimulator, client: Client, fault: str, status: AlarmStatus
) -> None:
    async with client.monitor("T:LEVEL") as events:
        sim.faults.add(f"{fault} only=LEVEL?")
        await events.next(has(status))
        sim.faults.clear()
        await events.next(is_good)


def failing(network: FakeNetwork, question: str, times: int, reply: str | Exception | None) -> None:
    """Answer a question in this way so many times, then as ever."""
    left = [times]

    def answer(text: str) -> str | Exception | None:
        if text == question and left[0]:
            left[0] -= 1
            return reply
        return None if " " in text else {"A?": "1", "SP?": "7", "STEP?": "7"}.get(text, echo(text))

    network.answer = answer


class Fake(Driver):
    """Reads, and writes of both kinds."""

    protocol = Lines(eol="\n", timeout=0.1, identify=("ID?", "FAKE,"))
    value = Readback(Integer(), ask="A?")
    setpoint = Setpoint(Integer(), ask="SP?", tell="SP {value}", idempotent=True)
    step = Setpoint(Integer(), ask="STEP?", tell="STEP {value}")
    slow = Readback(Integer(), ask="SLOW?", timeout=0.7)
    go = Command(tell="GO", idempotent=True)


class Pair(NamedTuple):
    a: int
    b: int


SPOILT = [None, TruncatedReply("half"), ReplyError("no frame"), "x"]


@pytest.mark.parametrize("reply", SPOILT)
async def test_a_reading_is_asked_again_once(network: FakeNetwork, reply: str | Exception | None) -> None:
    async with Fake.open(URL) as fake:
        failing(network, "A?", 1, reply)
        assert await fake.value.read() == 1
        assert network.link.sent.count("A?") == 2
        assert fake.port.statistics.retries == 1
        heard: list[object] = []
        fake.value.listeners.append(lambda readback: heard.append(readback.error))
        failing(network, "A?", 4, reply)
        with pytest.raises((ReplyTimeout, TruncatedReply, ReplyError)):
            await fake.value.read()
        assert network.link.sent.count("A?") == 4
        assert len(heard) == 1
        # its alarm is known: now it is asked once each time
        with pytest.raises((ReplyTimeout, TruncatedReply, ReplyError)):
            await fake.value.read()
        assert network.link.sent.count("A?") == 5
        assert fake.port.statistics.retries == 2


async def test_a_reading_spoilt_in_two_ways_is_asked_twice_and_no_more(network: FakeNetwork) -> None:
    async with Fake.open(URL) as fake:
        replies = iter(["x", None, "1", "1"])
        network.answer = lambda text: next(replies) if text == "A?" else echo(text)
        with pytest.raises(ReplyTimeout):
            await fake.value.read()
        assert network.link.sent.count("A?") == 2


async def test_the_protocol_says_how_often(network: FakeNetwork) -> None:
    class Stubborn(Fake):
        protocol = Lines(eol="\n", timeout=0.1, identify=("ID?", "FAKE,"), retries=3)

    class Once(Fake):
        protocol = Lines(eol="\n", timeout=0.1, identify=("ID?", "FAKE,"), retries=0)

    async with Stubborn.open(URL) as stubborn:
        failing(network, "A?", 3, "x")
        assert await stubborn.value.read() == 1
        assert stubborn.port.statistics.retries == 3
    network.answer = echo
    async with Once.open(URL) as once:
        failing(network, "A?", 1, "x")
        with pytest.raises(ReplyError):
            await once.value.read()


# writes


async def test_only_what_is_idempotent_is_written_again(network: FakeNetwork) -> None:
    async with Fake.open(URL) as fake:
        failing(network, "STEP?", 1, None)
        with pytest.raises(ReplyTimeout):
            await fake.step.write(7)
        assert network.link.sent.count("STEP 7") == 1
        failing(network, "SP?", 1, None)
        await fake.setpoint.write(7)
        assert network.link.sent.count("SP 7") == 2
        assert fake.setpoint.value == 7
        assert fake.port.statistics.retries == 1


async def test_a_repeated_change_of_a_field_keeps_what_the_others_are_by_then(network: FakeNetwork) -> None:
    class Both(Driver):
        protocol = Fake.protocol
        pair = Setpoint(Fields(Pair, a=Integer(), b=Integer()), ask="P?", tell="P {value}", idempotent=True)

    async with Both.open(URL) as both:
        replies = iter(["1,1", None, "1,2", "5,2"])  # somebody turns the other knob meanwhile
        network.answer = lambda text: next(replies) if text == "P?" else None if " " in text else echo(text)
        await both.pair.update(a=5)
        assert [text for text in network.link.sent if " " in text] == ["P 5,1", "P 5,2"]
        assert both.pair.value == Pair(5, 2)


async def test_a_repeated_write_that_fails_again_is_said_to_be_asked(network: FakeNetwork) -> None:
    async with Fake.open(URL) as fake:
        failing(network, "SP?", 9, None)
        with pytest.raises(ReplyTimeout) as error:
            await fake.setpoint.write(7)
        assert error.value.asked
        assert network.link.sent.count("SP 7") == 2
        assert fake.setpoint.error is not None


@pytest.mark.parametrize(("name", "writes"), [("setpoint", 2), ("steps", 1)])
async def test_a_write_whose_answer_is_lost(name: str, writes: int) -> None:
    sim = BusSimulator("001")
    async with sim.serve("tcp://127.0.0.1:0") as url, Gauge.open(url, address="001") as gauge:
        sim.faults.add("lose count=1 only=001!")
        write = gauge.setpoint.write(30.0) if name == "setpoint" else gauge.steps.write(30)
        if writes == 2:
            await write
        else:
            with pytest.raises(ReplyTimeout):
                await write
        assert len(sim.nodes["001"].writes) == writes


# limits of time


async def test_a_time_out_of_its_own(network: FakeNetwork) -> None:
    async with Fake.open(URL) as fake:
        network.answer = lambda text: IDENTITY if text == "ID?" else None
        with pytest.raises(ReplyTimeout, match=r"slow: no reply within 0.7 s"):
            await fake.slow.read()
        with pytest.raises(ReplyTimeout, match=r"value: no reply within 0.1 s"):
            await fake.value.read()


async def test_what_an_exchanger_says_of_a_time_out_is_kept(network: FakeNetwork) -> None:
    async with Fake.open(URL) as fake:
        failing(network, "A?", 9, TimeoutError("not even the echo came"))
        with pytest.raises(ReplyTimeout, match=r"value: not even the echo came; sent b'A\?\\n'"):
            await fake.value.read()
        failing(network, "ID?", 99, TimeoutError("not even the echo came"))
        fake.port.reconnect()
        await until(lambda: fake.port.state is LinkState.DOWN and isinstance(fake.port.error, ReplyTimeout))
        assert str(fake.port.error).startswith("not even the echo came")


class Slow(asyncio.Protocol):
    """A server that stops in the middle of an answer."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self.transport = transport

    def data_received(self, data: bytes) -> None:
        for line in data.splitlines():
            self.transport.write(b"FAKE,1\n" if line == b"ID?" else b"12")


async def test_a_silence_within_a_reply_ends_it_long_before_the_time_out() -> None:
    class Patient(Driver):
        protocol = Lines(eol="\n", timeout=3600.0, silence=0.02, retries=0, identify=("ID?", "FAKE,"))
        value = Readback(Integer(), ask="A?")

    server = await asyncio.get_running_loop().create_server(Slow, "127.0.0.1", 0)
    url = f"tcp://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    async with asyncio.timeout(HANG), server, Patient.open(url) as patient:
        with pytest.raises(TruncatedReply, match=r"value: the reply stopped after b'12'"):
            await patient.value.read()
        await until(lambda: patient.port.is_up)
        assert patient.port.statistics.connects == 1


async def test_a_connection_that_does_not_come_is_not_waited_for_longer_than_allowed(
    network: FakeNetwork, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def never(*_: object) -> None:
        await asyncio.Event().wait()

    monkeypatch.setattr(line_module, "open_link", never)
    lines = Lines(eol="\n", connect_timeout=0.03, identify=("ID?", "FAKE,"))
    async with started(lines) as fake:
        assert isinstance(fake.port.error, LinkDown)
        assert str(fake.port.error) == f"no connection to {URL} within 0.03 s"


async def test_a_turn_is_not_waited_for_longer_than_allowed(network: FakeNetwork) -> None:
    class Crowded(Fake):
        protocol = Lines(eol="\n", timeout=3600, queue_timeout=0.02, identify=("ID?", "FAKE,"))

    async with Crowded.open(URL) as fake:
        network.answer = lambda text: None
        running = asyncio.create_task(fake.value.read())
        await network.link.asked("A?")
        with pytest.raises(PortBusy, match=r"setpoint: no turn on the port within 0.02 s"):
            await fake.setpoint.write(5)
        assert "SP 5" not in network.link.sent
        running.cancel()


@pytest.mark.parametrize(("retry_every", "longest"), [(None, 0.4), (0.1, 0.1), (600.0, 600.0)])
async def test_how_often_it_is_tried_is_the_users_to_say(
    network: FakeNetwork,
    sleeps: list[float],
    monkeypatch: pytest.MonkeyPatch,
    retry_every: float | None,
    longest: float,
) -> None:
    monkeypatch.setattr("random.uniform", lambda low, high: high)
    network.fault = LinkDown("cannot connect")
    fake = Fake(URL, retry_every=retry_every)
    await fake.start()
    await network.attempted(20)
    await fake.close()
    assert max(sleeps) == longest
    assert sleeps[1] <= 0.2


async def test_reconnect_does_not_wait_for_the_next_attempt(network: FakeNetwork) -> None:
    network.fault = LinkDown("cannot connect")
    fake = Fake(URL, retry_every=36000.0)
    await fake.start()
    await network.attempted(4)
    network.fault = None
    fake.port.reconnect()
    await until(lambda: fake.port.is_up)
    fake.port.reconnect()
    await until(lambda: fake.port.statistics.connects == 2)
    await fake.close()


# commands that are answered


def is_ok(answer: str) -> bool:
    if answer in ("OK", "NO"):
        return answer == "OK"
    raise ValueError(answer)


class Answering(Driver):
    """An instrument that answers commands too."""

    protocol = Lines(
        eol="\n",
        timeout=0.1,
        identify=("ID?", "FAKE,"),
        accepted=is_ok,
    )
    setpoint = Setpoint(Integer(), ask="SP?", tell="SP {value}")
    blind = Setpoint(Integer(), tell="BLIND {value}")
    go = Command(tell="GO")


async def test_commands_that_are_answered(network: FakeNetwork) -> None:
    said = {"SP 5": "OK", "SP?": "5", "BLIND 5": "NO", "GO": "what?", "ID?": IDENTITY}
    network.answer = said.get
    async with Answering.open(URL) as fake:
        await fake.setpoint.write(5)
        with pytest.raises(RefusedError, match=r"blind: refused: 'BLIND 5' answers 'NO'"):
            await fake.blind.write(5)
        with pytest.raises(ReplyError, match=r"go: 'GO' was answered with 'what\?'"):
            await fake.go.execute()
        assert network.link.sent[1:] == ["SP 5", "SP?", "BLIND 5", "GO"]
        assert fake.port.statistics.errors["RefusedError"] == 1


# an echo


async def test_a_line_that_echoes_is_named(network: FakeNetwork) -> None:
    class Named(Fake):
        name_plate = Readback(Text(), ask="NAME?")

    async with Named.open(URL) as fake:
        network.answer = lambda text: [text, echo(text)]
        for reading in (fake.value, fake.name_plate):
            with pytest.raises(ReplyError, match=r"the line echoes, add echo=1 to the URL"):
                await reading.read()
    network.answer = lambda text: text
    mute = Fake(URL)
    await mute.start()
    with pytest.raises(ReplyTimeout, match=r"the line echoes, add echo=1 to the URL"):
        await mute.connected()
    await mute.close()


# setting up


class SetUp(Fake):
    protocol = Lines(
        eol="\n",
        timeout=0.1,
        identify=("ID?", "FAKE,"),
        setup=("REMOTE", "FAST"),
        confirm=("ERR?", lambda code: code == "0"),
    )


async def test_setting_up_that_is_refused_is_not_the_next_writes_refusal(
    network: FakeNetwork, caplog: pytest.LogCaptureFixture
) -> None:
    errors = iter(["9", "5", "0"])
    said: dict[str, Callable[[], str]] = {
        "ERR?": lambda: next(errors),
        "SP?": lambda: "5",
        "ID?": lambda: IDENTITY,
    }
    network.answer = lambda text: said[text]() if text in said else None
    async with SetUp.open(URL) as fake:
        assert network.link.sent == ["ID?", "ERR?", "REMOTE", "FAST", "ERR?"]
        await fake.setpoint.write(5)
    assert "setting it up was refused: '5'" in caplog.text


async def test_an_answer_to_setting_up_that_does_not_come_is_done_without(
    network: FakeNetwork, caplog: pytest.LogCaptureFixture
) -> None:
    class Ready(Answering):
        protocol = Lines(
            eol="\n", timeout=0.05, identify=("ID?", "FAKE,"), accepted=is_ok, setup=("A", "B", "C")
        )

    said = {"B": "NO", "C": "OK", "ID?": IDENTITY}
    network.answer = said.get
    async with Ready.open(URL) as fake:
        assert fake.port.is_up
        assert network.link.sent == ["ID?", "A", "ID?", "B", "C"]
    assert "no proper answer to b'A\\n'" in caplog.text
    assert "'B' was refused: 'NO'" in caplog.text
    assert "internal error" not in caplog.text


# without power


def powered(url: str) -> InstrumentConfig:
    return InstrumentConfig(instrument=lakeshore336, url=url, prefix="T:", name="tc")


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> None:
    """The instrument is asked for its power often."""
    monkeypatch.setattr("labioc.drivers.core.keeper.POWER_PERIOD", 0.1)


@pytest.mark.parametrize("link", LINKS)
@pytest.mark.parametrize("fault", [True, False])
async def test_a_power_cycle_is_noticed_and_everything_is_read_anew(
    link: str, fault: bool, clock: None, client: Client
) -> None:
    simulator = Simulator336()
    async with simulator.serve(link) as url, Host([powered(url)]) as host:
        port = host.units[0].driver.port
        assert port.statistics.power_cycles == 0  # before the first connect it is no news
        await client.put("T:OUT1:RANGE", 3)
        async with client.monitor("T:OUT1:RANGE_RBV") as ranges:
            await ranges.next(shows(3))
            simulator.log.clear()
            if fault:
                simulator.faults.add("power-cycle count=1")
            else:
                simulator.restart()
            await ranges.next(shows(0))
            # what is read at a connect only is read as well
            await until(lambda: any(line.startswith("INTYPE? A") for line in simulator.log))
        assert port.statistics.power_cycles == 1
        await until(lambda: host.units[0].device.link.power_cycles.value == 1)
        assert port.statistics.connects == (1 if link == "pty:" else 2)


async def test_a_write_that_finds_out_about_a_power_cycle(client: Client) -> None:
    simulator = Simulator336()
    async with simulator.serve("pty:") as url, Host([powered(url)]) as host:
        simulator.restart()
        simulator.log.clear()
        await client.put("T:OUT1:SETP", 50.0)  # reads *ESR?, and so clears it
        assert simulator.outputs[1].target == 50.0
        port = host.units[0].driver.port
        await until(lambda: any(line.startswith("INTYPE? A") for line in simulator.log))
        assert (port.statistics.power_cycles, port.statistics.connects) == (1, 1)


class Powered(Fake):
    """An instrument that tells."""

    protocol = Lines(
        eol="\n",
        timeout=0.1,
        identify=("ID?", "FAKE,"),
        power_on=("PON?", lambda answer: bool(int(answer))),
        setup=("REMOTE",),
    )


@pytest.mark.parametrize("answers", [["1"], ["x"], [None]])
async def test_after_a_power_cycle_it_is_set_up_again(
    network: FakeNetwork, clock: None, answers: list[str | None]
) -> None:
    """Also where the answer is lost: it is given once."""
    said: list[str | None] = []
    network.answer = lambda text: (said.pop() if said else "0") if text == "PON?" else identify_only(text)
    async with Powered.open(URL) as fake:
        link = network.link
        assert link.sent == ["ID?", "PON?", "REMOTE"]
        epoch = fake.port.statistics.epoch
        said[:] = answers
        await link.asked("REMOTE", 2)
        await until(lambda: fake.port.is_up)
        assert fake.port.statistics.epoch == epoch + 1
        assert fake.port.statistics.power_cycles == (1 if answers == ["1"] else 0)
        assert fake.port.statistics.connects == 1


def identify_only(text: str) -> str | None:
    return IDENTITY if text == "ID?" else None


async def test_who_does_not_tell_is_not_asked_again(
    network: FakeNetwork, clock: None, caplog: pytest.LogCaptureFixture
) -> None:
    network.answer = identify_only
    async with Powered.open(URL) as fake:
        assert fake.port.is_up
        assert network.link.sent == ["ID?", "PON?", "ID?", "REMOTE"]
        with contextlib.suppress(ReplyTimeout):
            await fake.value.read()
        await until(lambda: fake.port.is_up)
    assert network.link.sent.count("PON?") == 1
    assert caplog.text.count("no proper answer to b'PON?") == 1


async def test_what_cannot_be_asked_for_is_unknown_after_a_power_cycle(
    sim: NumberedSimulator, client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with sim.serve("tcp://127.0.0.1:0") as url, Host([config(url)]) as host:
        await client.put("T:BLIND", 5.0)
        await client.put("T:RESET", 1)
        async with client.monitor("T:BLIND") as events, client.monitor("T:RESET") as resets:
            host.units[0].driver.port.lost_power()
            await events.next(has(AlarmStatus.UDF))
            assert all(map(is_good, resets.received))
            await client.put("T:BLIND", 6.0)
            await events.next(is_good)
