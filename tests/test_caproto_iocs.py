"""Classes that are written for caproto's own server run unchanged on labioc's: caproto's examples, one by one."""

import asyncio
import concurrent.futures
import contextlib
import logging
import threading
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest
from caproto.ioc_examples import (
    custom_write,
    decay,
    enums,
    io_interrupt,
    macros,
    random_walk,
    records,
    records_subclass,
    rpc_function,
    scan_rate,
    setpoint_rbv_pair,
    simple,
    skip_write,
    startup_and_shutdown_hooks,
    subgroups,
    worker_thread,
    worker_thread_pc,
)
from caproto.server import PVGroup, pvproperty
from tests.ca import Client, PutFailed
from tests.test_cli import labioc

from labioc.iocs.core.pvgroups import running
from labioc.iocs.core.server import CAServer


@contextlib.asynccontextmanager
async def served(group: Any) -> AsyncIterator[None]:
    """Serve a group as ``labioc run file.py:Class`` does."""
    async with running(group):
        server = CAServer(group.pvdb)
        await server.start()
        try:
            yield
        finally:
            await server.stop()


async def test_three_plain_pvs(client: Client) -> None:
    async with served(simple.SimpleIOC("P:")):
        await client.put("P:A", 5)
        await client.put("P:B", 2.5)
        await client.put("P:C", [4, 5])
        assert [(await client.get(f"P:{name}")).value for name in "AB"] == [5, 2.5]
        assert list((await client.get("P:C")).value) == [4, 5]


async def test_a_put_writes_a_file(client: Client, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    async with served(custom_write.CustomWrite("P:")):
        await client.put("P:directory", ".")
        await client.put("P:A", 42)
    assert (tmp_path / "A").read_text() == "42\n"


async def test_a_random_walk_whose_rate_is_a_pv(client: Client) -> None:
    group = random_walk.RandomWalkIOC("P:")
    await group.dt.write(0.1)  # the first step takes what it is at the start
    async with served(group):
        await client.put("P:dt", 0.01)
        async with client.monitor("P:x") as events:
            first = await events.next()
            await events.next(lambda reading: bool(reading.value != first.value))


async def test_values_that_a_thread_finds(client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    pressed = threading.Event()

    def keyboard(new_value_callback: Any) -> None:
        pressed.wait()
        new_value_callback("x")

    monkeypatch.setattr(io_interrupt, "start_io_interrupt_monitor", keyboard)
    async with served(io_interrupt.IOInterruptIOC("P:")), client.monitor("P:keypress") as events:
        await events.next()
        pressed.set()
        await events.next(lambda reading: reading.value in (b"x", "x", [b"x"], ord("x")))


async def test_macros_in_names(client: Client) -> None:
    group = macros.MacroifiedNames("P:", macros={"beamline": "BL1", "suffix": "thing"})
    async with served(group):
        await client.put("P:BL1:thing.RBV", 3)
        assert (await client.get("P:BL1:thing.RBV")).value == 3


async def test_groups_of_groups(client: Client) -> None:
    async with served(subgroups.MyPVGroup("P:")):
        for number, highest in (1, 5), (2, 20), (3, 10):
            assert 1 <= (await client.get(f"P:group{number}:random")).value <= highest


async def test_records_with_limits_and_fields_of_their_own(client: Client) -> None:
    async with served(records.RecordMockingIOC("P:")):
        assert (await client.get("P:C.DESC")).value == "The C pvproperty"
        assert (await client.get("P:C.HIHI")).value == 2.0
        await client.put("P:A.RVAL", 7)
        assert (await client.get("P:B")).value == 7.0
        with pytest.raises(PutFailed):
            await client.put("P:B", 1.0)


async def test_a_record_of_ones_own(client: Client) -> None:
    async with served(records_subclass.RecordMockingIOC("P:")):
        async with client.monitor("P:motor2.RBV") as events:
            await events.next(lambda reading: bool(2.0 <= reading.value < 2.02))


async def test_a_function_as_pvs(client: Client) -> None:
    async with served(rpc_function.MyPVGroup("P:")):
        await client.put("P:get_random:low", 7)
        await client.put("P:get_random:high", 7)
        await client.put("P:get_random:Process", 1)
        assert (await client.get("P:get_random:Retval")).value == 7
        assert 1 <= (await client.get("P:fixed_random")).value <= 100


async def test_enums(client: Client) -> None:
    async with served(enums.EnumIOC("P:")):
        assert (await client.get("P:bo")).value == 1
        await client.put("P:bo", "Zero Value")
        assert (await client.get("P:bo")).value == 0
        assert (await client.get("P:bo.ONAM")).value == "One Value"
        assert (await client.get("P:enum_class")).value == 1


async def test_decay_to_a_setpoint(client: Client) -> None:
    async with served(decay.Decay("P:")):
        await client.put("P:K", 0.001)
        await client.put("P:SP", 40.0)
        async with client.monitor("P:I") as events:
            await events.next(lambda reading: abs(reading.value - 40.0) < 0.1)
        assert (await client.get("P:done")).value == 1


async def test_a_scan_rate_set_at_run_time(client: Client) -> None:
    async with served(scan_rate.ScanRateIOC("P:")):
        await client.put("P:scanned.SCAN", ".1 second")
        async with client.monitor("P:scanned") as events:
            await events.next(lambda reading: 0 < reading.value < 1)


async def test_setpoints_with_readbacks(client: Client) -> None:
    async with served(setpoint_rbv_pair.Group("P:")):
        await client.put("P:pair", 4)
        assert (await client.get("P:pair_RBV")).value == 4
        with pytest.raises(PutFailed):
            await client.put("P:pair_RBV", 5)


async def test_a_putter_that_decides_itself(client: Client) -> None:
    async with served(skip_write.SkipWriteIOC("P:")):
        await client.put("P:value", 7)
        assert (await client.get("P:value")).value == 85


async def test_hooks_at_startup_and_shutdown(client: Client, caplog: pytest.LogCaptureFixture) -> None:
    group = startup_and_shutdown_hooks.StartupAndShutdown("P:")
    async with served(group):
        assert (await client.get("P:thing")).value == 2
    said = [record.getMessage()[:2] for record in caplog.records if record.levelno == logging.WARNING]
    assert {"1.", "2.", "3."} <= set(said)
    assert said[-1] == "3."


def ends_quietly(worker: Callable[..., None]) -> Callable[..., None]:
    """caproto's queues end the threads that wait in them with an exception."""

    def run(**queues: Any) -> None:
        with contextlib.suppress(concurrent.futures.CancelledError, RuntimeError):
            worker(**queues)

    return run


async def test_blocking_work_in_a_thread(client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(worker_thread, "worker", ends_quietly(worker_thread.worker))
    async with served(worker_thread.WorkerThreadIOC("P:")), client.monitor("P:response") as events:
        await client.put("P:request", 0)
        await events.next(lambda reading: bool(reading.value == 1))


async def test_a_put_is_done_when_the_thread_is(client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    done = threading.Event()
    monkeypatch.setattr(worker_thread_pc, "worker", ends_quietly(worker_thread_pc.worker))
    monkeypatch.setattr(worker_thread_pc.time, "sleep", lambda seconds: done.wait())
    async with served(worker_thread_pc.WorkerThreadIOC("P:")):
        putting = asyncio.create_task(client.put("P:request", 1))
        # the server answers others meanwhile
        assert (await client.get("P:request")).value == 0
        assert not putting.done()
        done.set()
        await putting


async def test_a_hook_that_fails_leaves_the_others_alone(
    client: Client, caplog: pytest.LogCaptureFixture
) -> None:
    async def fail(group: Any, instance: Any, async_lib: Any) -> None:
        raise RuntimeError("no hardware")

    async def write(group: Any, instance: Any, async_lib: Any) -> None:
        await instance.write(7)

    class Failing(PVGroup):  # type: ignore[misc]  # caproto ships no types
        a = pvproperty(value=1, startup=fail)
        b = pvproperty(value=0, startup=write)

    async with served(Failing("P:")), client.monitor("P:b") as events:
        await events.next(lambda reading: bool(reading.value == 7))
        assert (await client.get("P:a")).value == 1
    assert [record.getMessage() for record in caplog.records if record.exc_info] == [
        "P:a: startup hook fails"
    ]


WALK = """
from caproto.server import PVGroup, pvproperty

class Other:
    pass

class Walk(PVGroup):
    "A walk."
    step = pvproperty(value=1.5, name="{part}:STEP")
"""


async def test_the_command_line_runs_a_class_in_a_file(tmp_path: Path) -> None:
    file = tmp_path / "walk.py"
    file.write_text(WALK)
    for target, words, expected in (
        (f"{file}:Other", (), f"{file} has no PVGroup 'Other'; it has: Walk"),
        (f"{tmp_path}/none.py:Walk", (), "does not load: FileNotFoundError"),
        (f"{file}:Walk", (), "Walk can't be made: KeyError: 'part'"),
        (f"{file}:Walk", ("--macro", "part"), "expected NAME=TEXT, got 'part'"),
    ):
        status, _, err = await labioc("run", target, *words)
        assert status == 2
        assert expected in err
        assert len(err.splitlines()) == 1
