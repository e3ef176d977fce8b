"""Records of a group and its functions for them: putters, getters, scans, hooks, pairs, functions as PVs."""

import asyncio
import logging
from enum import IntEnum
from typing import Any

import numpy as np
import pytest
from caproto import SkipWrite
from caproto.asyncio.server import Context
from tests.ca import Client, PutFailed, until
from tests.test_caproto_iocs import served

from labioc.devices.core import PV, Alarm, AlarmSeverity, PVGroup, hooks, soft, soft_function, soft_pair
from labioc.devices.core.records import AlarmStatus
from labioc.drivers.core.errors import LimitError, LinkDown, ReplyError
from labioc.iocs.core import from_thread
from labioc.iocs.core.command import Failure
from labioc.iocs.core.pvgroups import program_of
from labioc.iocs.core.run import run_arguments
from labioc.iocs.core.sequence import SequenceServer


class Bench(PVGroup):
    """A group that can be told to fail."""

    def __init__(self, prefix: str, **rest: Any) -> None:
        super().__init__(prefix, **rest)
        self.error: Exception | None = None
        self.readings = 0
        self.may_go_on = asyncio.Event()

    target, target_rbv = soft_pair("ao", "TARGET", "Where to", egu="K", value=1.0, alarm=Alarm(high=50))
    reading = soft("longin", "READING", scan="Passive")
    slow = soft("longout", "SLOW", value=0)

    @target.putter
    async def _put(self, instance: PV, value: float) -> float:
        if self.error is not None:
            raise self.error
        return round(value)

    @target_rbv.getter
    async def _get(self, instance: PV) -> float:
        if self.error is not None:
            raise self.error
        return float(self.target.value)

    # in caproto's form, under the same name
    @reading.scan(period=0.1)  # type: ignore[no-redef]
    async def reading(self, instance: PV, async_lib: Any) -> None:
        self.readings += 1
        if self.error is not None:
            raise self.error
        await instance.write(self.readings)

    @slow.putter  # type: ignore[no-redef]
    async def slow(self, instance: PV, value: int) -> None:
        await instance.write(-value)
        await self.may_go_on.wait()


def lines(caplog: pytest.LogCaptureFixture, text: str) -> list[logging.LogRecord]:
    return [record for record in caplog.records if text in record.getMessage()]


async def test_what_a_putter_returns_is_shown(client: Client) -> None:
    bench: Any = Bench("P:")
    async with served(bench):
        await client.put("P:TARGET", 3.6)
        assert [(await client.get(f"P:TARGET{end}")).value for end in ("", "_RBV")] == [4.0, 4.0]
        await client.put("P:TARGET", 60.0)
        assert [(await client.get(f"P:TARGET{end}")).severity for end in ("", "_RBV")] == [0, 1]


@pytest.mark.parametrize("error", [ValueError("not today"), LimitError("not today")])
async def test_a_value_error_refuses_a_put_and_nothing_else(
    error: Exception, client: Client, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "labioc.ca")
    bench: Any = Bench("P:")
    async with served(bench):
        bench.error = error
        with pytest.raises(PutFailed):
            await client.put("P:TARGET", 5.0)
        reading = await client.get("P:TARGET")
        assert (reading.value, reading.severity) == (1.0, 0)
        (line,) = lines(caplog, "not today")
        assert line.levelno == logging.INFO
        assert not line.exc_info


@pytest.mark.parametrize(
    ("error", "status"),
    [
        (OSError("no disk"), AlarmStatus.WRITE),
        (LinkDown("no link"), AlarmStatus.COMM),
        (ReplyError("odd reply"), AlarmStatus.CALC),
    ],
)
async def test_any_other_failure_is_an_alarm_too_until_the_next_good_put(
    client: Client, error: Exception, status: AlarmStatus, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "labioc")
    bench: Any = Bench("P:")
    async with served(bench):
        bench.error = error
        for _ in range(3):
            with pytest.raises(PutFailed):
                await client.put("P:TARGET", 5.0)
        (line,) = [record for record in caplog.records if record.levelno == logging.ERROR]
        assert f"{error} (test_soft.py, line " in line.getMessage()
        assert not any(record.exc_info for record in caplog.records)
        reading = await client.get("P:TARGET")
        assert (reading.value, reading.status, reading.severity) == (1.0, status, 3)
        assert str(error) in (await client.get("P:TARGET.AMSG")).value
        bench.error = None
        await client.put("P:TARGET", 5.0)
        assert (await client.get("P:TARGET")).severity == 0


async def test_puts_to_a_pv_are_done_one_after_the_other(client: Client) -> None:
    bench: Any = Bench("P:")
    async with served(bench), client.monitor("P:SLOW") as events:
        assert (await events.next()).value == 0
        puts = [asyncio.create_task(client.put("P:SLOW", number)) for number in (1, 2)]
        assert (await events.next()).value == -1
        assert (await client.get("P:SLOW")).value == -1
        bench.may_go_on.set()
        await asyncio.gather(*puts)
        assert [(await events.next()).value for _ in range(3)] == [1, -2, 2]


async def test_a_putter_may_show_the_value_itself(client: Client) -> None:
    class Own(PVGroup):
        x = soft("longout", "X", value=1)

        @x.putter
        async def _put(self, instance: PV, value: int) -> type[SkipWrite] | None:
            await instance.write(85)
            if value == 2:
                return SkipWrite  # type: ignore[no-any-return]
            raise SkipWrite

    async with served(Own("P:")):
        for number in (2, 3):
            await client.put("P:X", number)
            assert (await client.get("P:X")).value == 85


async def test_a_scan_that_fails_is_an_alarm_and_one_line(
    client: Client, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "labioc")
    bench: Any = Bench("P:")
    async with served(bench), client.monitor("P:READING") as events:
        good = await events.next(lambda reading: reading.severity == 0)
        bench.error = RuntimeError("no answer")
        bad = await events.next(lambda reading: reading.severity != 0)
        assert (bad.status, bad.severity) == (AlarmStatus.READ, 3)
        assert bad.value >= good.value
        failed = bench.readings
        await until(lambda: bench.readings > failed + 2)
        bench.error = None
        await events.next(lambda reading: reading.severity == 0)
    (line,) = lines(caplog, "READING can't be read")
    assert "RuntimeError: no answer (test_soft.py, line " in line.getMessage()
    assert not line.exc_info
    assert len(lines(caplog, "READING is read again")) == 1


async def test_scan_and_proc_are_live(client: Client) -> None:
    bench: Any = Bench("P:")
    async with served(bench), client.monitor("P:READING") as events:
        await events.next(lambda reading: reading.value > 2)
        assert (await client.get("P:READING.SCAN")).value == 9  # .1 second
        await client.put("P:READING.SCAN", "Passive")
        before = bench.readings
        await client.put("P:READING.PROC", 1)
        assert bench.readings == before + 1
        bench.error = RuntimeError("no answer")
        with pytest.raises(PutFailed):
            await client.put("P:READING.PROC", 1)
        bench.error = None
        # enabled again it is read at once, whatever SCAN says
        await client.put("P:READING.DISA", 1)
        await client.put("P:READING.PROC", 1)
        assert bench.readings == before + 2
        await client.put("P:READING.DISA", 0)
        await events.next(lambda reading: reading.value == before + 3)
        await client.put("P:READING.SCAN", ".1 second")
        await events.next(lambda reading: reading.value > before + 4)


async def test_a_first_value_is_no_reading(client: Client) -> None:
    class Silent(PVGroup):
        value = soft("ai", "X", value=7.0)

        @value.getter
        async def _get(self, instance: PV) -> None:
            """It has nothing to tell yet."""

    async with served(Silent("P:")):
        reading = await client.get("P:X")
        assert (reading.value, reading.status, reading.severity) == (7.0, AlarmStatus.UDF, 3)


async def test_a_reading_that_hangs_is_an_alarm_until_it_comes(
    client: Client, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(hooks, "SLOW_SECONDS", 0.05)
    may_go_on = asyncio.Event()
    may_go_on.set()

    class Hanging(PVGroup):
        x = soft("longin", "X", scan=0.01)

        @x.getter
        async def _get(self, instance: PV) -> int:
            await may_go_on.wait()
            return 7

    async with served(Hanging("P:")), client.monitor("P:X") as events:
        await events.next(lambda reading: reading.severity == 0)
        may_go_on.clear()
        bad = await events.next(lambda reading: reading.severity != 0)
        assert (bad.value, bad.status, bad.severity) == (7, AlarmStatus.TIMEOUT, 3)
        may_go_on.set()
        await events.next(lambda reading: reading.severity == 0)
    assert len(lines(caplog, "P:X can't be read: no value for 0.05 s")) == 1


async def test_a_readback_that_fails_leaves_the_put_alone(client: Client) -> None:
    class Half(PVGroup):
        x, x_rbv = soft_pair("ao", "X")

        @x_rbv.getter
        async def _get(self, instance: PV) -> float:
            raise TimeoutError

    async with served(Half("P:")):
        await client.put("P:X", 5.0)
        assert (await client.get("P:X")).value == 5.0
        reading = await client.get("P:X_RBV")
        assert (reading.status, reading.severity) == (AlarmStatus.READ, 3)


async def test_a_start_that_fails_is_an_alarm(client: Client, caplog: pytest.LogCaptureFixture) -> None:
    class Broken(PVGroup):
        x = soft("ao", "X", value=1.0)

        @x.startup
        async def _start(self, instance: PV, async_lib: Any) -> None:
            raise RuntimeError("no hardware")

    async with served(Broken("P:")), client.monitor("P:X") as events:
        await events.next(lambda reading: reading.severity == 3)
    assert len(lines(caplog, "P:X: startup hook fails")) == 1


def test_what_was_saved_is_shown_and_not_taken_for_done() -> None:
    class Saved(PVGroup):
        plain, plain_rbv = soft_pair("ao", "PLAIN")
        own = soft("ao", "OWN")

        @own.putter
        async def _put(self, instance: PV, value: float) -> None:
            raise AssertionError("nobody has put to it")

    group = Saved("")
    for pv in (group.plain, group.own):
        pv.restore(np.array([5.0]))
    assert [pv.value for pv in (group.plain, group.plain_rbv, group.own)] == [5.0, 5.0, 5.0]
    assert [pv.status for pv in (group.plain, group.own)] == [AlarmStatus.NO_ALARM, AlarmStatus.WRITE]


async def test_caproto_own_server_serves_them(ca_environment: dict[str, str]) -> None:
    bench: Any = Bench("P:")
    server = asyncio.create_task(Context(bench.pvdb, ["127.0.0.1"]).run())
    async with Client("127.0.0.1") as client, client.monitor("P:READING") as events:
        await events.next(lambda reading: reading.value > 1)
        await client.put("P:TARGET", 3.6)
        assert (await client.get("P:TARGET_RBV")).value == 4.0
    server.cancel()
    await asyncio.wait([server])


async def test_a_program_tells_why_a_put_was_refused(client: Client) -> None:
    program = program_of(Bench, prefix="P:", name="bench")
    assert program.title == "A group that can be told to fail"
    async with program.serve(run_arguments(["bench"], program)) as pvs:
        assert list(pvs)[-1] == "P:MESSAGE"
        message: Any = pvs["P:MESSAGE"]
        for _ in range(2):
            with pytest.raises(ValueError, match="takes a number"):
                await pvs["P:TARGET"].write_from_dbr([b"x"], pvs["P:MESSAGE"].data_type, None)
            assert message.value.startswith("P:TARGET takes a number")


async def test_a_program_whose_macros_lack(ca_environment: dict[str, str]) -> None:
    class Named(PVGroup):
        x = soft("ao", "{part}:X", value=0.0)

    program = program_of(Named, prefix="P:", name="named")
    with pytest.raises(Failure, match="part"):
        async with program.serve(run_arguments(["named"], program)):
            pass
    with_default = program_of(Named, prefix="P:", macros={"part": "A"}, name="named")
    async with with_default.serve(run_arguments(["named"], with_default)) as pvs:
        assert "P:A:X" in pvs


async def test_a_sequence_server_may_have_putters_of_its_own(client: Client) -> None:
    class Server(SequenceServer):
        system = None
        mine = soft("ao", "MINE")

        @mine.putter
        async def _put(self, instance: PV, value: float) -> float:
            return 2 * value

    async with served(Server("P:")):
        await client.put("P:MINE", 3.0)
        assert (await client.get("P:MINE")).value == 6.0


async def test_a_function_of_every_kind_of_argument(client: Client) -> None:
    class Colour(IntEnum):
        RED = 0
        BLUE = 2

    seen: list[Any] = []

    class Functions(PVGroup):
        @soft_function()
        async def say(
            self, colour: Colour = Colour.BLUE, name: str = "x", is_on: bool = True, size: float = 0.5
        ) -> None:
            seen.append((self, colour, name, is_on, size))

    group: Any = Functions("P:")
    async with served(group):
        await client.put("P:say:is_on", "False")
        await client.put("P:say:name", "y")
        assert list((await client.get("P:say:colour", form="control")).metadata.enum_strings)[:3] == [
            *(b"RED", b"", b"BLUE")
        ]
        await client.put("P:say:Process", 1)
        await client.put("P:say:Process", 0)
        assert seen == [(group, Colour.BLUE, "y", False, 0.5)]
        assert "P:say:Retval" not in group.pvdb


def test_what_cannot_be() -> None:
    async def nameless(group: Any, x) -> int:  # type: ignore[no-untyped-def]
        return 1

    async def odd(group: Any, x: complex) -> int:
        return 1

    for function in nameless, odd:
        with pytest.raises(TypeError, match="the type of 'x' is"):
            soft_function()(function)
    with pytest.raises(KeyError):
        soft_pair("ai", "X")
    with pytest.raises(ValueError, match="more than 0 seconds"):
        soft("ai", "X", scan=0)
    with pytest.raises((RuntimeError, TypeError)) as caught:
        type("Taken", (PVGroup,), {"name": soft("ai", "X")})
    assert "'name' is taken" in str(caught.value.__cause__ or caught.value)

    class Twice(PVGroup):
        x = soft("ai", "X")

        @x.getter
        async def _get(self, instance: PV) -> float:
            return 1.0

        @x.scan(period=1)
        async def _scan(self, instance: PV, async_lib: Any) -> None:
            """Read it in another way."""

    with pytest.raises(TypeError, match="a getter and a scan"):
        Twice("")


def test_an_enum_with_severities_of_its_states() -> None:
    class State(IntEnum):
        GOOD = 0
        BAD = 1

    class Group(PVGroup):
        state = soft("bi", "STATE", states=State, severities=(AlarmSeverity(0), AlarmSeverity(2)))

    group = Group("")
    group.state.post(State.BAD, 1.0)
    assert (group.state.severity, group.state.states) == (2, ("GOOD", "BAD"))


def test_a_thread_may_go_on_when_the_loop_has_ended() -> None:
    seen: list[int] = []

    async def make() -> Any:
        call = from_thread(seen.append)
        call(1)
        await until(lambda: seen)
        return call

    call = asyncio.run(make())
    call(2)
    assert seen == [1]
