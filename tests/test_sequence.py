"""The sequence server: blocking code in a thread of its own behind PVs."""

import asyncio
import queue
import threading
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
from caproto.server import PVGroup
from tests.ca import Client, PutFailed, Reading, until
from tests.test_clients import learn

from labioc.devices.core.soft import soft
from labioc.iocs.core import sequence
from labioc.iocs.core.pvgroups import running
from labioc.iocs.core.sequence import Blocking, Command, SequenceServer, ServerStopped
from labioc.iocs.core.server import CAServer

PATIENCE = 20.0
BUSY, DONE, FAILED, IDLE, WAITING = range(5)


@asynccontextmanager
async def serving(group: Any, pvs: Any = ()) -> AsyncIterator[None]:
    server = CAServer({**group.pvdb, **dict(pvs)})
    async with running(group):
        await server.start()
        try:
            yield
        finally:
            await server.stop()


class Queues:
    io_get_queue: queue.Queue[Command]
    io_put_queue: queue.Queue[Any]


class Measuring(Queues):
    """A system whose commands take as long as the test likes."""

    def __init__(self) -> None:
        self.may_end = threading.Event()
        self.executed: list[tuple[str, Any]] = []

    def io_execute(self, pv_name: str, value: Any) -> None:
        self.executed.append((pv_name, value))
        if pv_name != "CMD":
            return
        if value == "fail":
            raise ValueError("there is no sample")
        if value == "exit":
            raise SystemExit("enough")
        if value.startswith("measure"):
            assert self.may_end.wait(PATIENCE)
        self.io_put_queue.put({"values": [1.0, 2.0, 3.0]})


class Bench(SequenceServer):
    target = soft("ao", "TARGET", "Where to", egu="K")
    count = soft("ai", "COUNT", "How often")


class Spares:
    """PVs of the same server, with no system behind them; RELEASE lets the system go on."""

    def __init__(self, may_end: threading.Event) -> None:
        class Group(PVGroup):  # type: ignore[misc]  # caproto ships no types
            spare = soft("ai", "SPARE")
            spare_out = soft("ao", "SPARE_OUT")
            release = soft("bo", "RELEASE", states=("Idle", "Release"))

        self.group = Group("Q:")

        async def put(value: float) -> None:
            self.group.spare_out.post(value, time.time())

        async def release(value: int) -> None:
            may_end.set()

        self.group.spare.post(7.0, time.time())
        self.group.spare_out.putter, self.group.release.putter = put, release


@asynccontextmanager
async def bench(system: Any, **settings: Any) -> AsyncIterator[Any]:
    server: Any = Bench("Q:")
    server.system = system
    for name, value in settings.items():
        setattr(server, name, value)
    async with serving(server):
        yield server


async def test_pyepics_puts_commands(ca_environment: dict[str, str]) -> None:
    server: Any = Bench("Q:")
    server.system = system = Measuring()
    async with serving(server, Spares(system.may_end).group.pvdb.items()):
        learned = await learn("sequence", "commands")
    assert learned[:2] == [
        {"other": 7.0, "other_put": 1, "running": True, "done": False},
        {"values": [1.0, 2.0, 3.0], "count": 10_000, "size": 10_000},
    ]
    assert system.executed[0] == ("CMD", "measure " + "x" * 9992)
    # with wait=True
    assert learned[2:4] == [
        {"put": 1, "values": [1.0, 2.0, 3.0]},
        {"ack": "DONE", "write": False, "values_write": False},
    ]
    assert learned[4:] == [
        {"ack": "FAILED", "severity": 2, "message": "CMD: ValueError: there is no sample", "command": 3},
        {"ack": "DONE", "command": 0},
    ]


async def text(client: Client, name: str) -> str:
    value = (await client.get(name)).value
    return bytes(value if isinstance(value, list) else [value]).decode("latin-1").rstrip("\0")


def is_value(value: Any) -> Any:
    return lambda reading: bool(reading.value == value)


async def test_puts_come_back_as_errors_when_the_system_fails(client: Client) -> None:
    async with bench(Measuring()):
        for command, message in (("fail", "ValueError: there is no sample"), ("exit", "SystemExit: enough")):
            with pytest.raises(PutFailed):
                await client.put("Q:CMD", command)
            assert await text(client, "Q:message") == f"CMD: {message}"
        await client.put("Q:CMD", "quick")
        assert (await client.get("Q:ACK")).value == DONE


async def test_ack_tells_each_step_and_commands_keep_their_order(client: Client) -> None:
    system = Measuring()
    async with bench(system):
        async with client.monitor("Q:ACK") as ack:
            puts = [asyncio.create_task(client.put("Q:CMD", "measure 1"))]
            await ack.next(is_value(BUSY))
            puts += [asyncio.create_task(client.put("Q:CMD", word)) for word in ("measure 2", "fail")]
            puts.append(asyncio.create_task(client.put("Q:TARGET", 3.0)))
            assert (await client.get("Q:TARGET")).severity == 3  # nobody has put to it yet
            system.may_end.set()
            results = await asyncio.gather(*puts, return_exceptions=True)
            await ack.next(is_value(FAILED))
        assert [type(result) for result in results] == [type(None), type(None), PutFailed, type(None)]
        assert [reading.value for reading in ack.received] == [IDLE, WAITING, *[BUSY, DONE] * 2, BUSY, FAILED]
        assert [value for _, value in system.executed] == ["measure 1", "measure 2", "fail", 3.0]
        assert (await client.get("Q:TARGET")).value == 3.0


class Clamping(Queues):
    def io_execute(self, pv_name: str, value: Any) -> None:
        self.io_put_queue.put({"TARGET": min(value, 100.0), "COUNT": 1})


async def test_what_the_system_puts_reaches_monitors_and_has_the_last_word(client: Client) -> None:
    async with bench(Clamping()), client.monitor("Q:COUNT") as count:
        await client.put("Q:TARGET", 500.0)
        assert (await client.get("Q:TARGET")).value == 100.0
        assert (await count.next(is_value(1.0))).severity == 0


async def test_without_a_system_the_pvs_are_served_alone(client: Client) -> None:
    async with bench(None) as server:
        await client.put("Q:CMD", "nobody hears")
        await client.put("Q:TARGET", 4.0)
        assert await text(client, "Q:CMD") == "nobody hears"
        assert (await client.get("Q:TARGET")).value == 4.0
        async with client.monitor("Q:values") as values:
            server.io_put_queue.put({"values": [5.0, 6.0]})
            await values.next(is_value([5.0, 6.0]))


async def test_what_the_system_gave_is_what_it_was_then(client: Client) -> None:
    async with bench(None) as server, client.monitor("Q:values") as values:
        await values.next()
        seen: list[float] = []
        told: dict[str, Any] = {"values": seen}
        for number in range(3):
            seen.append(float(number))
            server.io_put_queue.put(told)
        told.update(dict.fromkeys(map(str, range(100)), 0))
        await values.next(is_value([0.0, 1.0, 2.0]))
    assert [reading.value for reading in values.received[1:]] == [0.0, [0.0, 1.0], [0.0, 1.0, 2.0]]


async def test_the_server_does_not_wait_for_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sequence, "MAX_UPDATES", 2)
    server: Any = Bench("Q:")
    async with running(server):
        await until(lambda: server.io_put_queue.server_thread is not None)
        for _ in range(2):
            server.io_put_queue.put({"COUNT": 1})
        with pytest.raises(queue.Full):
            server.io_put_queue.put({"COUNT": 2})
        await until(lambda: server.count.value == 1)
        server.io_put_queue.put({"COUNT": 3})
        await until(lambda: server.count.value == 3)


class NoText(Exception):
    def __str__(self) -> str:
        raise RuntimeError("not even that")


class Raising(Queues):
    def __init__(self, error: BaseException) -> None:
        self.error = error

    def io_execute(self, pv_name: str, value: Any) -> None:
        if value == "fail":
            raise self.error


@pytest.mark.parametrize(
    ("error", "message"),
    [
        (NoText(), "CMD: NoText"),
        (ValueError("\0€" * 1000), "CMD: ValueError: " + "?" * 1000),
        (KeyboardInterrupt(), "CMD: KeyboardInterrupt"),
        (asyncio.CancelledError(), "CMD: CancelledError"),
    ],
    ids=["no text", "no Latin-1", "interrupt", "cancelled"],
)
async def test_whatever_the_system_raises_the_server_goes_on(
    client: Client, error: BaseException, message: str
) -> None:
    async with bench(Raising(error)):
        with pytest.raises(PutFailed):
            await client.put("Q:CMD", "fail")
        assert await text(client, "Q:message") == message[: sequence.MESSAGE_BYTES]
        await client.put("Q:CMD", "go on")


class Polling(Queues):
    io_period = 0.001
    io_reads = ("COUNT",)

    def __init__(self) -> None:
        self.polls = 0
        self.is_broken = False

    def io_execute(self, pv_name: str, value: Any) -> None:
        self.is_broken = value == "break"

    def io_poll(self) -> None:
        self.polls += 1
        if self.is_broken:
            raise OSError(f"error {self.polls}")
        self.io_put_queue.put({"COUNT": self.polls})


async def test_a_poll_that_fails_is_an_alarm_of_what_it_reads_and_logged_once(
    client: Client, caplog: pytest.LogCaptureFixture
) -> None:
    system = Polling()
    async with bench(system), client.monitor("Q:COUNT") as count:
        for _ in range(2):
            await count.next(is_good)
            await client.put("Q:CMD", "break")
            await count.next(has_status(1))
            broken = system.polls
            await until(lambda broken=broken: system.polls > broken + 5)  # type: ignore[misc]
            await client.put("Q:CMD", "mend")
        await count.next(is_good)
    errors = [record for record in caplog.records if record.levelname == "ERROR"]
    assert [record.getMessage().startswith("Q:a poll: OSError") for record in errors] == [True, True]


class OwnLoop(Queues):
    """A system that takes its commands by itself."""

    def __init__(self) -> None:
        self.ended: BaseException | None = None

    def run(self) -> None:
        try:
            while True:
                command = self.io_get_queue.get()
                pv_name, value = command
                if value == "fail":
                    command.done(RuntimeError("not today"))
                elif value == "die":
                    raise OSError("the device is gone")
                elif pv_name == "TARGET":
                    # takes one more, as a sequence does that looks for a STOP
                    self.io_put_queue.put({"COUNT": value, "NOTHING": 1, "ACK": "a text"})
        except BaseException as error:
            self.ended = error
            raise


async def test_a_system_with_a_loop_of_its_own(client: Client) -> None:
    system = OwnLoop()
    async with bench(system):
        await client.put("Q:CMD", "one")
        with pytest.raises(PutFailed):
            await client.put("Q:CMD", "fail")
        assert await text(client, "Q:message") == "CMD: RuntimeError: not today"
        await client.put("Q:TARGET", 8.0)
        assert (await client.get("Q:COUNT")).value == 8.0
    assert isinstance(system.ended, ServerStopped)


async def test_values_that_do_not_fit_are_told_and_leave_the_others_alone(
    client: Client, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sequence, "MAX_UNKNOWN", 2)
    async with bench(None) as server:
        for number in range(3):
            server.io_put_queue.put({"NOTHING": 1, f"NONE{number}": 1, "COUNT": "many", "values": [1.0]})
        with pytest.raises(TypeError):
            server.io_put_queue.put(("values", [2.0]))
        async with client.monitor("Q:values") as values:
            await values.next(is_value(1.0))
        count = await client.get("Q:COUNT")
        assert (count.status, count.severity) == (12, 3)
        server.io_put_queue.put({"COUNT": 5})
        async with client.monitor("Q:COUNT") as events:
            await events.next(lambda reading: bool(reading.value == 5.0 and reading.severity == 0))
    assert len([record for record in caplog.records if "COUNT" in record.message]) == 1
    assert len([record for record in caplog.records if "NOTHING" in record.message]) == 1
    # the COUNT is told of all the same
    assert len([record for record in caplog.records if "NONE" in record.message]) == 1


async def test_a_system_whose_thread_dies_is_told_of(client: Client) -> None:
    async with bench(OwnLoop()):
        await client.get("Q:ACK")
        with pytest.raises(PutFailed):
            await client.put("Q:CMD", "die")
        for name in ("Q:TARGET", "Q:values", "Q:CMD"):
            reading = await client.get(name)
            assert (name, reading.status, reading.severity) == (name, 9, 3)
        assert await text(client, "Q:message") == "the system has ended: OSError: the device is gone"
        with pytest.raises(PutFailed):
            await client.put("Q:TARGET", 1.0)


@pytest.mark.parametrize(
    ("system", "why"), [(object, "neither io_execute"), (Clamping.io_execute, "neither io_execute")]
)
async def test_a_system_that_is_none(client: Client, system: Any, why: str) -> None:
    async with bench(system):
        async with client.monitor("Q:ACK") as ack:
            await ack.next(is_value(FAILED))
        assert why in await text(client, "Q:message")


async def test_more_commands_than_anybody_waits_for_are_refused(
    client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sequence, "MAX_COMMANDS", 2)
    system = Measuring()
    async with bench(system):
        async with client.monitor("Q:ACK") as ack:
            first = asyncio.create_task(client.put("Q:CMD", "measure"))
            await ack.next(is_value(BUSY))
        puts = [asyncio.create_task(client.put("Q:TARGET", float(n))) for n in range(3)]
        done, _ = await asyncio.wait(puts, return_when=asyncio.FIRST_COMPLETED)
        assert done == {puts[2]}
        assert isinstance(puts[2].exception(), PutFailed)
        assert await text(client, "Q:message") == "TARGET: 2 commands are waiting already"
        system.may_end.set()
        await asyncio.gather(first, *puts[:2])
        assert (await client.get("Q:TARGET")).value == 1.0


async def test_the_server_stops_although_the_system_works(
    client: Client, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(sequence, "STOP_SECONDS", 0.05)
    system = Measuring()
    async with asyncio.timeout(PATIENCE):
        async with bench(system), client.monitor("Q:ACK") as ack:
            put = asyncio.create_task(client.put("Q:CMD", "measure"))
            await ack.next(is_value(BUSY))
        with pytest.raises((ConnectionResetError, PutFailed)):
            await put
    assert "still at work" in caplog.text
    with pytest.raises(ServerStopped):
        system.io_put_queue.put({"COUNT": 1})
    with pytest.raises(ServerStopped):
        system.io_get_queue.get()
    system.may_end.set()


class Sdk:
    """A vendor's library: it blocks, and sometimes it hangs."""

    def __init__(self) -> None:
        self.may_answer = threading.Event()
        self.may_answer.set()
        self.position = 1.5
        self.is_broken = False

    def get_position(self) -> float:
        assert self.may_answer.wait(PATIENCE)
        return self.position

    def get_count(self) -> int:
        if self.is_broken:
            raise OSError("error 42")
        return 3

    def move_to(self, position: float) -> float:
        assert self.may_answer.wait(PATIENCE)
        self.position = round(position)
        return self.position


def blocking(sdk: Sdk) -> Blocking:
    reads: dict[str, Any] = {"POS": sdk.get_position, "COUNT": sdk.get_count}
    return Blocking(reads=reads, writes={"TARGET": sdk.move_to}, every=0.02)


class Stage(Bench):
    position = soft("ai", "POS", "Where it is")


@asynccontextmanager
async def stage(sdk: Sdk) -> AsyncIterator[Any]:
    server: Any = Stage("Q:")
    server.system = blocking(sdk)
    async with serving(server):
        yield server


def is_good(reading: Reading) -> bool:
    return reading.severity == 0


def has_status(status: int) -> Any:
    return lambda reading: bool(reading.status == status and reading.severity == 3)


async def test_blocking_functions_as_pvs(client: Client) -> None:
    sdk = Sdk()
    async with stage(sdk), client.monitor("Q:POS") as position, client.monitor("Q:COUNT") as count:
        assert (await position.next(is_good)).value == 1.5
        await client.put("Q:TARGET", 4.2)
        assert (await client.get("Q:TARGET")).value == 4.0
        await position.next(is_value(4.0))
        sdk.is_broken = True
        await count.next(has_status(1))
        assert (await client.get("Q:POS")).severity == 0
        sdk.is_broken = False
        await count.next(is_good)
        with pytest.raises(PutFailed):
            await client.put("Q:CMD", "nothing is behind it")


async def test_a_blocking_function_that_hangs_is_told_and_not_waited_for(client: Client) -> None:
    sdk = Sdk()
    async with stage(sdk) as server, client.monitor("Q:POS") as position:
        await position.next(is_good)
        sdk.may_answer.clear()
        server.timeout = 0.01
        await position.next(has_status(10))
        assert await text(client, "Q:message") == "the system has not come back from a poll within 0.01 s"
        with pytest.raises(PutFailed):
            await client.put("Q:TARGET", 5.0)
        assert sdk.position == 1.5
        server.timeout = None
        async with client.monitor("Q:message") as message:
            sdk.may_answer.set()
            await message.next(lambda reading: b"has come back" in bytes(reading.value))
        await position.next(is_good)
        await client.put("Q:TARGET", 5.0)
        assert sdk.position == 5.0


async def test_a_command_that_takes_too_long_fails_in_time(client: Client) -> None:
    system = Measuring()
    async with bench(system, timeout=0.01) as server:
        puts = [
            client.put(name, value)
            for name, value in (("Q:CMD", "measure"), ("Q:TARGET", 1.0), ("Q:CMD", "x"))
        ]
        results = await asyncio.gather(*puts, return_exceptions=True)
        assert [type(result) for result in results] == [PutFailed] * 3
        assert system.executed == [("CMD", "measure")]
        ack, command = await client.get("Q:ACK"), await client.get("Q:CMD")
        assert (ack.value, command.status, command.severity) == (FAILED, 10, 3)
        server.timeout = None
        system.may_end.set()
        async with client.monitor("Q:values") as values:
            await values.next(is_value([1.0, 2.0, 3.0]))
        async with client.monitor("Q:message") as message:
            await message.next(lambda reading: b"has come back" in bytes(reading.value))
        await client.put("Q:CMD", "quick")


class FailsLate(Queues):
    def __init__(self) -> None:
        self.may_end = threading.Event()

    def io_execute(self, pv_name: str, value: Any) -> None:
        assert self.may_end.wait(PATIENCE)
        raise OSError("the pump has stopped")


async def test_what_goes_wrong_after_the_timeout_is_told_too(
    client: Client, caplog: pytest.LogCaptureFixture
) -> None:
    system = FailsLate()
    async with bench(system, timeout=0.01):
        with pytest.raises(PutFailed):
            await client.put("Q:CMD", "measure")
        system.may_end.set()
        async with client.monitor("Q:message") as message:
            await message.next(lambda reading: b"has come back" in bytes(reading.value))
        told = "CMD: the system has come back, by OSError: the pump has stopped"
        assert await text(client, "Q:message") == told
    assert f"Q:{told}" in caplog.text
    assert "Traceback" in caplog.text
