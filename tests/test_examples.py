"""What stands under iocs/examples works, through Channel Access clients."""

import asyncio
import contextlib
import logging
import sys
import threading
import time
from collections.abc import AsyncIterator, Mapping
from pathlib import Path
from typing import Any

import pytest
from caproto import ChannelType
from tests.ca import Client, Libca, PutFailed
from tests.test_caproto_iocs import served
from tests.test_cli import LABIOC, PATIENCE

from labioc.iocs.core.cli import main
from labioc.iocs.core.program import find_program, program_names
from labioc.iocs.core.run import run_arguments
from labioc.iocs.core.server import CAServer
from labioc.iocs.examples import random_walk

NO_ALARM, READ, WRITE, HIGH, STATE, COMM, UDF = 0, 1, 2, 4, 7, 9, 17
MINOR, MAJOR, INVALID = 1, 2, 3


@contextlib.asynccontextmanager
async def example(name: str, *words: str) -> AsyncIterator[Mapping[str, Any]]:
    """Serve an example with the prefix P:, as ``labioc run examples.NAME`` does."""
    args = run_arguments([f"examples.{name}", "--prefix", "P:", *words])
    async with args.found.serve(args) as pvs:
        server = CAServer(pvs)
        await server.start()
        try:
            yield pvs
        finally:
            await server.stop()


async def value(client: Client, name: str) -> Any:
    return (await client.get(name)).value


async def refused(client: Client, name: str, data: Any) -> str:
    """Put in vain; returns what MESSAGE says."""
    with pytest.raises(PutFailed):
        await client.put(name, data)
    return str(bytes((await client.get("P:MESSAGE.VAL$")).value).rstrip(b"\0").decode())


async def test_three_plain_pvs(libca: Libca) -> None:
    async with example("simple"):
        await libca.put("P:A", 5)
        await libca.put("P:B", 2.5)
        await libca.put("P:C", [4, 5])
        assert [(await libca.get(f"P:{name}")).value for name in "ABC"] == [5, 2.5, [4.0, 5.0]]
        assert [(await libca.get(f"P:{name}.RTYP")).value for name in "ABC"] == ["longout", "ao", "aao"]
        assert (await libca.get("P:B.DESC")).value == "A float"


async def test_a_put_writes_a_file(client: Client, tmp_path: Path) -> None:
    async with example("write_file"):
        await client.put("P:FOLDER", list(bytes(tmp_path)), data_type=ChannelType.CHAR)
        await client.put("P:A", 42)
        assert (tmp_path / "A").read_text() == "42\n"
        assert await refused(client, "P:FOLDER", "/nowhere") == "P:FOLDER: there is no folder '/nowhere'"

        (tmp_path / "B").mkdir()
        await refused(client, "P:B", 1)
        assert (await client.get("P:B")).status == WRITE
        (tmp_path / "B").rmdir()
        await client.put("P:B", 1)
        assert (await client.get("P:B")).status == NO_ALARM


async def test_a_random_walk_whose_rate_is_a_pv(client: Client) -> None:
    async with example("random_walk"):
        await client.put("P:DT", 0.01)
        assert "beyond the limits 0.01 to 60 s" in await refused(client, "P:DT", 0.0)


async def test_the_walk_walks(client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    group: Any = random_walk.RandomWalk("P:")
    group.dt.post(0.01, time.time())  # the first step takes what it is at the start
    async with served(group), client.monitor("P:X") as events:
        first = await events.next()
        await events.next(lambda reading: bool(reading.value != first.value))


async def test_macros_in_names(client: Client) -> None:
    async with example("macros", "--macro", "beamline=X12"):
        await client.put("P:X12:MOTOR", 3.0)
        assert await value(client, "P:X12:MOTOR_RBV") == 3.0


async def test_groups_of_groups(client: Client) -> None:
    async with example("subgroups"):
        for group, highest in ("SMALL", 4), ("usual", 6):
            async with client.monitor(f"P:{group}:THROW") as events:
                assert 1 <= (await events.next(lambda reading: reading.severity == 0)).value <= highest
        async with client.monitor("P:COIN:THROW", form="native") as events:
            assert (await events.next()).value in (0, 1)
        assert await value(client, "P:COIN:THROW.ONAM") == "Tail"
        assert await value(client, "P:SMALL:THROW.DESC") == "The last throw"


async def test_limits_alarms_and_fields_of_ones_own(client: Client) -> None:
    async with example("fields"):
        await client.put("P:POS", 1.5)
        reading = await client.get("P:POS_RBV")
        assert (reading.value, reading.status, reading.severity) == (1.5, HIGH, MINOR)
        assert (await client.get("P:POS")).severity == NO_ALARM
        await client.put("P:POS_RBV.HIGH", 1.8)
        assert (await client.get("P:POS_RBV")).severity == NO_ALARM

        await client.put("P:POS.STEPS", 250)
        assert [await value(client, f"P:{name}") for name in ("POS", "POS_RBV", "POS.STEPS", "MOVES")] == [
            *(0.25, 0.25, 250, 2)
        ]
        assert await refused(client, "P:POS", 4.0) == "P:POS: 4 is beyond the limits -3 to 3 mm"
        assert "beyond the limits" in await refused(client, "P:POS.STEPS", 4000)


async def test_functions_as_pvs(client: Client) -> None:
    async with example("function"):
        await client.put("P:dice:low", 7)
        await client.put("P:dice:high", 7)
        await client.put("P:dice:Process", 1)
        assert await value(client, "P:dice:Retval") == 7
        assert await value(client, "P:dice:Status") == "Success"
        assert await value(client, "P:dice:Retval.RTYP") == "longin"

        assert await refused(client, "P:AREA:Process", 1) == (
            "P:AREA:Process: P:AREA:width, P:AREA:height has no value yet"
        )
        await client.put("P:AREA:width", 2.0)
        await client.put("P:AREA:height", 3.0)
        await client.put("P:AREA:unit", "FOOT")
        await client.put("P:AREA:Process", 1)
        assert await value(client, "P:AREA:Retval") == pytest.approx(0.5574, abs=1e-4)
        await client.put("P:AREA:width", -1.0)
        assert await refused(client, "P:AREA:Process", 1) == "P:AREA:Process: a length can't be negative"
        assert await value(client, "P:AREA:Status") == "ValueError: a length can't be negative"
        assert (await client.get("P:AREA:Retval")).severity == INVALID
        assert await value(client, "P:AREA:Process") == 0


async def test_reading_and_writing_customised_in_place(client: Client) -> None:
    async with example("inline"):
        assert await refused(client, "P:EVEN", 3) == "P:EVEN: 3 is odd"
        assert (await client.get("P:EVEN")).severity == NO_ALARM
        await client.put("P:ROUNDED", 0.3)
        assert await value(client, "P:ROUNDED") == 0.25
        await client.put("P:UPTIME.PROC", 1)
        assert await value(client, "P:UPTIME") > 0


async def test_enums(client: Client) -> None:
    async with example("enums"):
        assert await refused(client, "P:PUMP", "ON") == "P:PUMP: open the valve first"
        await client.put("P:VALVE", "Open")
        await client.put("P:PUMP", "ON")
        assert (await client.get("P:PUMP")).severity == NO_ALARM
        await client.put("P:PUMP", "FAULT")
        reading = await client.get("P:PUMP")
        assert (reading.value, reading.status, reading.severity) == (2, STATE, MAJOR)
        assert await value(client, "P:PUMP.ONST") == "ON"


async def test_decay_to_a_setpoint(client: Client) -> None:
    async with example("decay"):
        await client.put("P:TAU", 0.001)
        await client.put("P:SP", 40.0)
        async with client.monitor("P:SP_RBV") as events:
            await events.next(lambda reading: abs(reading.value - 40.0) < 0.1)
        assert await value(client, "P:DONE") == 1


async def test_a_scan_rate_set_at_run_time(client: Client) -> None:
    async with example("scan_rate"), client.monitor("P:ELAPSED") as events:
        await events.next(lambda reading: reading.severity == NO_ALARM)
        await client.put("P:ELAPSED.SCAN", ".1 second")
        await events.next(lambda reading: reading.value < 1)
        await client.put("P:ELAPSED.SCAN", "Passive")
        before = await value(client, "P:ELAPSED")
        await client.put("P:ELAPSED.PROC", 1)
        assert await value(client, "P:ELAPSED") != before


async def test_setpoints_with_readbacks(client: Client) -> None:
    async with example("setpoint_readback"):
        await client.put("P:NUMBER", 4)
        assert await value(client, "P:NUMBER_RBV") == 4
        with pytest.raises(PutFailed):
            await client.put("P:NUMBER_RBV", 5)
        assert await value(client, "P:NUMBER_RBV.RTYP") == "longin"
        await client.put("P:OUTPUT", "On")
        await client.put("P:VOLT", 12.0)
        # it was read as a part of the put
        assert await value(client, "P:VOLT_RBV") == pytest.approx(12.0, abs=0.1)


async def test_hooks_at_startup_and_shutdown(client: Client, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "labioc")
    async with example("startup_shutdown"), client.monitor("P:LAMP") as events:
        await events.next(lambda reading: reading.value == 1)
        assert len(await value(client, "P:STARTED")) == 19
        assert "the lamp is off" not in caplog.messages
    assert caplog.messages[-1] == "the lamp is off"


async def test_a_put_is_done_when_the_thread_is(client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    done = threading.Event()
    monkeypatch.setattr(time, "sleep", lambda seconds: done.wait(PATIENCE))
    async with example("worker_thread"):
        putting = asyncio.create_task(client.put("P:POS", 2.0))
        # the server answers others meanwhile
        async with client.monitor("P:POS.PACT") as events:
            if (await events.next()).value == 0:
                while await value(client, "P:POS.PACT") == 0:
                    pass
        assert (await client.get("P:POS")).value == 0.0
        assert not putting.done()
        done.set()
        await putting
        assert await value(client, "P:POS") == 2.0
        assert await value(client, "P:MOVES") == 1
        assert await refused(client, "P:POS", 13.0) == "P:POS: OSError: the motor stalls"
        reading = await client.get("P:POS")
        assert (reading.value, reading.status, reading.severity) == (2.0, WRITE, INVALID)


async def test_the_command_line_runs_an_example_whose_thread_waits_for_lines(client: Client) -> None:
    command = (*LABIOC, "run", "examples.io_interrupt", "--prefix", "P:")
    process = await asyncio.create_subprocess_exec(
        *command, stdin=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.DEVNULL
    )
    assert process.stdin is not None
    try:
        async with client.monitor("P:COUNT") as events:
            process.stdin.write(b"first\nsecond\n")
            await events.next(lambda reading: reading.value == 2)
            assert await value(client, "P:LINE") == "second"
        async with client.monitor("P:LINE") as events:
            process.stdin.close()
            lost = await events.next(lambda reading: reading.severity == INVALID)
            assert (lost.value, lost.status) == ("second", COMM)
    finally:
        process.terminate()
        async with asyncio.timeout(PATIENCE):
            assert await process.wait() == 0


def test_the_examples_are_listed(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(sys, "argv", ["labioc", "list"])
    with pytest.raises(SystemExit):
        main()
    out = capsys.readouterr().out
    for name in program_names():
        program = find_program(name)
        assert program is not None
        assert program.name == name
        assert any(line.split(None, 1) == [name, program.title] for line in out.splitlines())
    assert "examples.random_walk" in program_names()
