"""Several instruments on one line: turns, dead addresses, cut lines, replies of others."""

import asyncio
import contextlib
import functools
from collections import Counter
from collections.abc import AsyncIterator, Callable, Sequence
from urllib.parse import urlsplit

import pytest
import pytest_asyncio
from tests.bus import GAUGE, MILLION, BusSimulator, Gauge
from tests.ca import Client, Events, PutFailed, Reading, until
from tests.fakes import FakeNetwork
from tests.frames import MOTORS, SPEED, MotorsSimulator
from tests.numbered import Numbered
from tests.test_port import network as network

from labioc.devices.core.records import AlarmSeverity, AlarmStatus
from labioc.drivers.core import Driver, Integer, Line, Lines, Readback
from labioc.drivers.core.errors import AddressError, LinkDown, ReadingInvalid, RefusedError, ReplyTimeout
from labioc.drivers.core.line import Row
from labioc.drivers.core.port import LinkState, Port
from labioc.iocs.core import Host, Instrument, InstrumentConfig, main

ADDRESSES = ("001", "002", "003")
LINKS = ("tcp://127.0.0.1:0", "pty:")


def config(
    url: str,
    address: str,
    instrument: Instrument = GAUGE,
    *,
    name: str = "",
    prefix: str = "",
    retry_every: float | None = None,
) -> InstrumentConfig:
    number = int(address)
    return InstrumentConfig(
        instrument=instrument,
        url=url,
        prefix=prefix or f"B{number}:",
        name=name or f"node{number}",
        address=address,
        retry_every=retry_every,
    )


def is_good(reading: Reading) -> bool:
    return bool(reading.severity == AlarmSeverity.NO_ALARM)


def has(*statuses: AlarmStatus) -> Callable[[Reading], bool]:
    return lambda reading: reading.status in statuses


@pytest.fixture
def sim() -> BusSimulator:
    return BusSimulator(*ADDRESSES)


@pytest_asyncio.fixture(params=LINKS)
async def host(
    request: pytest.FixtureRequest, sim: BusSimulator, ca_environment: dict[str, str]
) -> AsyncIterator[Host]:
    async with sim.serve(request.param) as url, Host([config(url, a) for a in ADDRESSES]) as running:
        yield running


@contextlib.asynccontextmanager
async def watching(client: Client, *names: str) -> AsyncIterator[list[Events]]:
    async with contextlib.AsyncExitStack() as stack:
        yield [await stack.enter_async_context(client.monitor(name)) for name in names]


async def goes_on(events: Events, by: int) -> None:
    """Wait for a good reading that is so much later than the latest."""
    latest = events.received[-1].value
    await events.next(lambda reading: is_good(reading) and reading.value > latest + by)


def check_values(watched: Sequence[Events]) -> None:
    """Each gauge shows its own numbers, and none of them goes back."""
    for address, events in zip(ADDRESSES, watched, strict=True):
        values = [int(reading.value) for reading in events.received if is_good(reading)]
        assert {value // MILLION for value in values} == {int(address)}
        assert values == sorted(values)


PRESSURES = [f"B{int(address)}:P" for address in ADDRESSES]


async def test_each_shows_its_own_readings_and_gets_its_own_puts(
    host: Host, sim: BusSimulator, client: Client
) -> None:
    async with watching(client, *PRESSURES) as watched:
        for number in (1, 2, 3):
            await client.put(f"B{number}:SP", 10.0 * number)
        for events in watched:
            await events.next(lambda reading: reading.value % MILLION > 60)
        check_values(watched)
    assert [node.setpoint for node in sim.nodes.values()] == ["10.0", "20.0", "30.0"]
    assert len(host.lines) == 1
    assert len(sim.faults.connections) == 1


async def test_a_refused_put_is_refused_and_its_readback_stays_good(
    host: Host, sim: BusSimulator, client: Client
) -> None:
    with pytest.raises(PutFailed):
        await client.put("B2:SP", 501.0)
    text = bytes((await client.get("B2:MESSAGE.VAL$")).value).decode()
    assert "the gauge says RANGE" in text
    assert (await client.get("B2:SP")).status == AlarmStatus.WRITE
    assert is_good(await client.get("B2:SP_RBV"))
    assert host.units[1].driver.port.statistics.errors["RefusedError"] == 1
    await client.put("B2:SP", 50.0)
    assert is_good(await client.get("B2:SP"))


async def test_of_questions_asked_together_a_refused_one_fails_alone(sim: BusSimulator) -> None:
    async with sim.serve("tcp://127.0.0.1:0") as url, Gauge.open(url, address="001") as gauge:
        sim.faults.add("refuse only=?PRS")
        await gauge.read_together([gauge.pressure, gauge.setpoint, gauge.steps])
        assert isinstance(gauge.pressure.error, ReadingInvalid)
        assert (gauge.setpoint.value, gauge.steps.value) == (20.0, 0)
        sim.faults.clear()
        await gauge.read_together([gauge.pressure, gauge.setpoint])
        assert gauge.pressure.is_known


@pytest.mark.parametrize("fault", ["wrong-address only=002?PRS", "lose only=002?PRS"])
async def test_what_others_say_is_dropped_and_not_shown(
    host: Host, sim: BusSimulator, client: Client, fault: str
) -> None:
    async with watching(client, *PRESSURES) as watched:
        sim.faults.add(fault)
        await watched[1].next(has(AlarmStatus.TIMEOUT))
        for events in (watched[0], watched[2]):
            await goes_on(events, 1)
        sim.faults.clear()
        for events in watched:
            await events.next(is_good)
        check_values(watched)
        for events in (watched[0], watched[2]):
            assert all(map(is_good, events.received))


async def test_a_wrong_checksum_is_calc(host: Host, sim: BusSimulator, client: Client) -> None:
    async with watching(client, *PRESSURES) as watched:
        sim.faults.add("wrong-checksum only=002?PRS")
        await watched[1].next(has(AlarmStatus.CALC))
        sim.faults.clear()
        await watched[1].next(is_good)
        check_values(watched)
        assert all(map(is_good, watched[0].received + watched[2].received))


async def test_a_late_reply_is_nobody_elses(host: Host, sim: BusSimulator, client: Client) -> None:
    async with watching(client, *PRESSURES) as watched:
        for seconds in (0.3, 0.4, 0.6):
            sim.faults.add(f"late={seconds} count=1 only=002?PRS")
            await until(lambda: not sim.faults.active)
            for events in watched:
                await goes_on(events, 10)
        check_values(watched)


async def test_a_line_that_is_cut_comes_back_for_all(sim: BusSimulator, client: Client) -> None:
    async with contextlib.AsyncExitStack() as stack:
        first = contextlib.AsyncExitStack()
        url = await first.enter_async_context(sim.serve("tcp://127.0.0.1:0"))
        host = await stack.enter_async_context(Host([config(url, a) for a in ADDRESSES]))
        names = [
            name for number in (1, 2, 3) for name in (f"B{number}:P", f"B{number}:SP_RBV", f"B{number}:STEPS")
        ]
        watched = await stack.enter_async_context(watching(client, *names))
        await first.aclose()
        for events in watched:
            await events.next(has(AlarmStatus.COMM))
        await stack.enter_async_context(sim.serve(f"tcp://127.0.0.1:{urlsplit(url).port}"))
        for events in watched:
            await events.next(is_good)
        assert len(sim.faults.connections) == 1
        assert [unit.driver.port.statistics.connects for unit in host.units] == [2, 2, 2]


async def test_reconnect_connects_all_anew(host: Host, sim: BusSimulator, client: Client) -> None:
    await client.put("B2:LINK:RECONNECT", 1)
    await until(
        lambda: all(u.driver.port.statistics.connects == 2 and u.driver.port.is_up for u in host.units)
    )


async def test_stopping_one_leaves_the_others(sim: BusSimulator) -> None:
    async with sim.serve("tcp://127.0.0.1:0") as url:
        line = Line(url)
        async with Gauge.open(line, name="a", address="001") as a:
            async with Gauge.open(line, name="b", address="002") as b:
                assert await b.pressure.read() // MILLION == 2
            with pytest.raises(LinkDown, match="closed"):
                await b.pressure.read()
            assert await a.pressure.read() // MILLION == 1
            assert a.port.statistics.connects == 1
            async with Gauge.open(line, name="c", address="002") as c:  # the address is free again
                assert await c.pressure.read() // MILLION == 2
            assert len(sim.faults.connections) == 1
        await until(lambda: not sim.faults.connections)


# a dead address


def fences(sim: BusSimulator, address: str) -> int:
    return sum(text == f"{address}?IDN" for text in sim.log)


async def test_a_dead_address_is_in_alarm_the_others_go_on_and_it_comes_back(
    sim: BusSimulator, client: Client, ca_environment: dict[str, str]
) -> None:
    sim.nodes["002"].is_on = False
    async with sim.serve("tcp://127.0.0.1:0") as url:
        configs = [config(url, a, retry_every=0.1) for a in ADDRESSES]
        async with Host(configs), watching(client, *PRESSURES) as watched:
            await watched[1].next(has(AlarmStatus.COMM, AlarmStatus.TIMEOUT))
            for events in (watched[0], watched[2]):
                await events.next(lambda reading: reading.value % MILLION > 50)
            sim.nodes["002"].is_on = True
            await watched[1].next(is_good)
            sim.nodes["002"].is_on = False
            await watched[1].next(has(AlarmStatus.TIMEOUT))
            check_values(watched)
            assert all(map(is_good, watched[0].received + watched[2].received))


async def test_a_dead_address_costs_the_others_less_than_a_time_out_in_ten_seconds(
    sim: BusSimulator, monkeypatch: pytest.MonkeyPatch
) -> None:
    waits: list[float] = []
    sleep = asyncio.sleep
    again = asyncio.Semaphore(0)

    async def wait(seconds: float, *more: object) -> None:
        if not seconds:
            await sleep(0)
            return
        waits.append(seconds)
        await again.acquire()

    monkeypatch.setattr("labioc.drivers.core.keeper.asyncio.sleep", wait)
    async with sim.serve("tcp://127.0.0.1:0") as url:
        line = Line(url)
        async with Gauge.open(line, name="alive", address="001") as alive:
            sim.nodes["002"].is_on = False
            dead = Gauge(line, name="dead", address="002")
            await dead.start()
            for attempts in range(2, 6):
                await until(functools.partial(lambda wanted: len(waits) == wanted, attempts - 1))
                assert fences(sim, "002") == attempts
                assert await alive.pressure.read() // MILLION == 1
                with pytest.raises(ReplyTimeout, match="not asked"):
                    await dead.pressure.read()
                again.release()
            assert fences(sim, "001") == 1
            await dead.close()
    # an attempt costs a time-out, and there are so many seconds between two of them
    assert all(15.0 <= seconds <= 30.0 for seconds in waits)


async def test_when_all_are_dead_they_are_tried_as_often_as_a_single_one(
    sim: BusSimulator, monkeypatch: pytest.MonkeyPatch
) -> None:
    for node in sim.nodes.values():
        node.is_on = False
    waits: list[float] = []
    sleep = asyncio.sleep

    async def wait(seconds: float, *more: object) -> None:
        waits.append(seconds)
        await sleep(0)

    monkeypatch.setattr("labioc.drivers.core.keeper.asyncio.sleep", wait)
    async with sim.serve("tcp://127.0.0.1:0") as url:
        line = Line(url)
        gauges = [Gauge(line, name=address, address=address) for address in ADDRESSES]
        for gauge in gauges:
            await gauge.start()
        await until(lambda: all(fences(sim, address) >= 3 for address in ADDRESSES))
        for gauge in gauges:
            await gauge.close()
    assert max(waits) <= 1.5


# turns


def waiter(line: Line, port: Port, row: Row, order: list[str], label: str) -> asyncio.Task[None]:
    async def wait() -> None:
        turn = await line.take(port, row)
        order.append(label)
        line.release(turn)

    return asyncio.create_task(wait())


@pytest.fixture
def ports(network: FakeNetwork) -> list[Port]:
    shared = Line("tcp://127.0.0.1:1")
    made = [Port(shared, Gauge.protocol, name=f"g{a}", address=a) for a in ADDRESSES]
    for port in made:
        port.state = LinkState.UP
    return made


async def test_turns_go_around(ports: list[Port]) -> None:
    a, b, c = ports
    order: list[str] = []
    turn = a.line.seize(a)
    assert turn is not None
    tasks = [waiter(a.line, a, Row.READ, order, f"a{n}") for n in range(4)]
    tasks += [waiter(a.line, b, Row.READ, order, f"b{n}") for n in range(3)]
    tasks += [waiter(a.line, c, Row.READ, order, "c0")]
    tasks += [waiter(a.line, c, Row.WRITE, order, "C!")]
    await asyncio.sleep(0)
    a.line.release(turn)
    await asyncio.gather(*tasks)
    assert order[0] == "C!"
    assert order[1:] == ["a0", "b0", "c0", "a1", "b1", "a2", "b2", "a3"]


async def test_a_flood_of_writes_does_not_starve_reads(ports: list[Port]) -> None:
    a, b, _ = ports
    order: list[str] = []
    turn = a.line.seize(a)
    assert turn is not None
    tasks = [waiter(a.line, a, Row.WRITE, order, "W") for _ in range(40)]
    tasks += [waiter(a.line, b, Row.READ, order, "r") for _ in range(3)]
    await asyncio.sleep(0)
    a.line.release(turn)
    await asyncio.gather(*tasks)
    reads = [place for place, label in enumerate(order) if label == "r"]
    assert reads == [8, 17, 26]


async def test_nobody_starves(sim: BusSimulator, client: Client) -> None:
    async with sim.serve("tcp://127.0.0.1:0") as url:
        line = Line(url)
        gauges = [Gauge(line, name=address, address=address) for address in ADDRESSES]
        async with contextlib.AsyncExitStack() as stack:
            for gauge in gauges:
                await gauge.start()
                stack.push_async_callback(gauge.close)
                await gauge.connected()
            sim.log.clear()
            greedy = [asyncio.create_task(gauges[0].pressure.read()) for _ in range(200)]
            others = [asyncio.create_task(gauge.pressure.read()) for gauge in gauges[1:] for _ in range(20)]
            await asyncio.gather(*others)
            done = Counter(text[:3] for text in sim.log)
            assert done["001"] <= 22
            await asyncio.gather(*greedy)


# lines that can't be shared


def refused(make: Callable[[], object], *names: str) -> str:
    with pytest.raises(AddressError) as error:
        make()
    assert all(name in str(error.value) for name in names)
    return str(error.value)


class OtherEnd(Driver):
    """Another terminator."""

    protocol = Lines(eol="\n", identify=("{addr}?", "X"), match=lambda ask, said: said)
    value = Readback(Integer(), ask="{addr}V?")


class Nameless(Driver):
    """Replies that don't say whose they are."""

    protocol = Lines(eol="\r", identify=("{addr}?", "X"), max_late=1.0, serial={"baudrate": 19200})
    value = Readback(Integer(), ask="{addr}V?")


class Faster(Driver):
    """Another baud rate."""

    protocol = Lines(
        eol="\r", identify=("{addr}?", "X"), match=Gauge.protocol.match, serial={"baudrate": 9600}
    )
    value = Readback(Integer(), ask="{addr}V?")


@pytest.mark.parametrize(
    ("kind", "address", "why"),
    [
        (Gauge, "001", "both have the address '001'"),
        (OtherEnd, "002", "their messages are cut in different ways"),
        (Nameless, "002", "the replies of second don't name it (match=)"),
        (Faster, "002", "they want other settings of the line"),
    ],
)
def test_instruments_that_cannot_share_a_line_are_named(kind: type[Driver], address: str, why: str) -> None:
    shared = Line("serial:///dev/ttyS0")
    Gauge(shared, name="first", address="001")
    text = refused(lambda: kind(shared, name="second", address=address), "first", "second")
    assert why in text


def test_an_address_is_given_where_it_is_needed_and_nowhere_else() -> None:
    refused(lambda: Gauge("tcp://127.0.0.1:1"), "has an address: address=")
    refused(lambda: Numbered("tcp://127.0.0.1:1", address="001"), "has no address, not '001'")


@pytest.mark.parametrize("seconds", [0.0, -1.0, float("nan")])
def test_attempts_without_a_pause_are_refused(seconds: float) -> None:
    refused(lambda: Gauge("tcp://127.0.0.1:1", address="001", retry_every=seconds), "tried every")


def test_a_host_names_two_with_one_address(ca_environment: dict[str, str]) -> None:
    url = "tcp://127.0.0.1:1"
    assert list(Host([config(url, "001"), config(url, "002")]).lines) == [url]
    same = [config(url, "001"), config(url, "001", name="twin", prefix="C:")]
    refused(lambda: Host(same), "node1", "twin", "both have the address '001'")


def test_the_command_line_takes_an_address(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    words = "labioc run lakeshore336 --simulate --raw --retry-every 5 --address 9"
    monkeypatch.setattr("sys.argv", words.split())
    with pytest.raises(SystemExit) as ended:
        main()
    assert ended.value.code == 2
    assert "an instrument of this kind has no address, not '9'" in capsys.readouterr().err


# binary frames


@pytest.mark.parametrize("link", LINKS)
async def test_binary_frames_on_a_shared_line(
    link: str, ca_environment: dict[str, str], client: Client
) -> None:
    sim = MotorsSimulator("1", "2")
    async with sim.serve(link) as url:
        configs = [config(url, address, MOTORS) for address in ("1", "2")]
        async with Host(configs):
            await client.put("B2:M1:TARGET", -4000)
            assert (await client.get("B2:M1:TARGET_RBV")).value == -4000
            assert (await client.get("B1:M1:TARGET_RBV")).value == 0
            with pytest.raises(PutFailed):
                await client.put("B1:M2:SPEED", 2**24)
            names = [f"B{b}:M{m}:POS" for b in (1, 2) for m in range(3)]
            async with watching(client, *names) as watched:
                for fault in ("wrong-address", "wrong-checksum", "noise=3", "cut=5", "garbage", "lose"):
                    sim.faults.add(f"{fault} count=2 only=\\x01\\x06\\x01")
                    await until(lambda: not sim.faults.active)
                    for events in watched:
                        await goes_on(events, 5)
                for number, events in enumerate(watched):
                    values = [int(reading.value) for reading in events.received if is_good(reading)]
                    assert {value // MILLION for value in values} == {number % 3}
                    assert values == sorted(values)


async def test_a_frame_that_cannot_be_made_is_the_callers_error() -> None:
    sim = MotorsSimulator("1")
    async with sim.serve("tcp://127.0.0.1:0") as url, MOTORS.driver.open(url, address="1") as driver:
        motor = driver.channels["motors"][0]
        with pytest.raises(ValueError, match="can't be said"):
            await motor.speed.write(2**40)
        with pytest.raises(RefusedError, match="invalid value"):
            await motor.speed.write(2**24)
        await motor.speed.write(100)
        assert sim.settings[1, SPEED, 0] == 100
        assert driver.port.is_up
