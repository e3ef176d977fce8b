"""The command line as a user types it, in processes of its own."""

import asyncio
import contextlib
import os
import signal
import sys
from collections.abc import AsyncIterator, Mapping
from pathlib import Path

import pytest
from tests.ca import Client

from labioc.iocs.core.client import _text as client_text

PATIENCE = 30.0
LABIOC = (sys.executable, "-m", "labioc.iocs.core")


async def labioc(*words: str, environment: Mapping[str, str] | None = None) -> tuple[int, str, str]:
    """Run a command to its end; returns its status and what it printed."""
    process = await asyncio.create_subprocess_exec(
        *LABIOC,
        *words,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        env={**os.environ, **(environment or {})},
    )
    try:
        async with asyncio.timeout(PATIENCE):
            out, err = await process.communicate()
    except TimeoutError:
        process.kill()
        raise
    assert process.returncode is not None
    return process.returncode, out.decode(), err.decode()


@contextlib.asynccontextmanager
async def running(
    *words: str, command: tuple[str, ...] = LABIOC
) -> AsyncIterator[asyncio.subprocess.Process]:
    process = await asyncio.create_subprocess_exec(
        *command, *words, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE
    )
    try:
        yield process
    finally:
        if process.returncode is None:
            process.kill()
        await process.communicate()


async def line_of(stream: asyncio.StreamReader | None, beginning: str) -> str:
    """Return the next line that begins so."""
    assert stream is not None
    async with asyncio.timeout(PATIENCE):
        while raw := await stream.readline():
            if raw.decode().startswith(beginning):
                return raw.decode().strip()
    raise AssertionError(f"no line begins with {beginning!r}")


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (("run", "lakeshore9", "--simulate"), "unknown instrument 'lakeshore9'; there are: "),
        (("sim", "lakeshore9"), "unknown instrument 'lakeshore9'"),
        (("run", "lakeshore336"), "Give --connect"),
        (("run", "lakeshore336", "--connect", "10.0.0.1:7777"), "expected a URL like tcp://host:port"),
        (("run", "lakeshore336", "--connect", "tcp://h"), "expected tcp://host:port"),
        (("run", "lakeshore336", "--connect", "tcp://h:99999"), "0-65535"),
        (
            ("run", "lakeshore336", "--connect", "serial:///dev/no-such-line"),
            "there is no device /dev/no-such-line",
        ),
        (
            ("run", "lakeshore336", "--connect", "serial:///dev/null?parity=X"),
            "parity='X'; expected N, E, O, M or S",
        ),
        (("run", "lakeshore336", "--simulate", "--variant", "9999"), "unknown variant '9999'"),
        (
            ("run", "lakeshore336", "--simulate", "--limit", "OUT1:SETP=0:99999"),
            "may narrow limits, not widen",
        ),
        (("run", "lakeshore336", "--simulate", "--limit", "OUT1:SETP"), "expected PV=LOW:HIGH"),
        (("run", "lakeshore336", "--simulate", "--prefix", "{site}:"), "site"),
        (("sim", "lakeshore336", "--fault", "fire"), "no such fault"),
        (("run", "lakeshore336", "--simulate", "--fault", "fire"), "no such fault"),
        (
            ("run", "lakeshore336", "--simulate", "--record", "/no/such/place"),
            "can't record to /no/such/place: No such file",
        ),
        (("describe", "nothing"), "unknown instrument 'nothing'"),
        (("get", "-s", "nowhere", "X"), "expected a server as HOST:PORT"),
    ],
)
async def test_a_mistake_gets_one_clear_line_and_status_2(words: tuple[str, ...], expected: str) -> None:
    status, out, err = await labioc(*words)
    assert (status, out) == (2, "")
    assert expected in err
    assert len(err.splitlines()) == 1


async def test_a_port_in_use_gets_one_clear_line_and_status_2() -> None:
    server = await asyncio.get_running_loop().create_server(asyncio.Protocol, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    async with server:
        status, _, err = await labioc("sim", "lakeshore336", "--port", str(port))
    assert status == 2
    assert f":{port}" in err
    assert "in use" in err
    assert len(err.splitlines()) == 1


async def test_an_unknown_option_is_explained() -> None:
    status, _, err = await labioc("run", "lakeshore336", "--simulat")
    assert status == 2
    assert "--simulat" in err


async def test_list_names_the_bundled_instruments() -> None:
    status, out, _ = await labioc("list")
    assert status == 0
    assert any(
        line.startswith("lakeshore336 ") and "Lake Shore Model 336" in line for line in out.splitlines()
    )


async def test_describe_shows_units_limits_and_wire_commands() -> None:
    status, out, _ = await labioc("describe", "lakeshore336", "--prefix", "LAB:")
    assert status == 0
    (setpoint,) = [line for line in out.splitlines() if line.startswith("LAB:OUT1:SETP ")]
    assert all(text in setpoint for text in ("ao", "K", "0 to 9999", "put", "SETP 1,{value}"))
    (reading,) = [line for line in out.splitlines() if line.startswith("LAB:B:TEMP ")]
    assert all(text in reading for text in ("ai", "K", "0.5 s", "read", "RDGST? B; KRDG? B"))
    assert "LAB:D2:TEMP" not in out
    _, with_card, _ = await labioc("describe", "lakeshore336", "--variant", "3062")
    assert "D2:TEMP" in with_card


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
async def test_a_signal_stops_an_ioc_cleanly(
    number: signal.Signals, ca_environment: dict[str, str], client: Client
) -> None:
    async with running("run", "lakeshore336", "--simulate", "--prefix", "S:") as process:
        said = await line_of(process.stderr, "labioc: ONLY THIS MACHINE")
        assert "--interfaces" in said
        assert (await client.get("S:A:TEMP")).value > 0
        process.send_signal(number)
        async with asyncio.timeout(PATIENCE):
            assert await process.wait() == 0


async def test_the_module_is_the_same_as_the_command(ca_environment: dict[str, str], client: Client) -> None:
    command = (sys.executable, "-m", "labioc.iocs.lakeshore336")
    async with running("--simulate", "--prefix", "M:", "--list-pvs", command=command) as process:
        assert await line_of(process.stdout, "M:A:TEMP") == "M:A:TEMP"
        assert (await client.get("M:LINK:STATE")).value == 2


async def test_a_simulator_on_a_pseudo_terminal_and_its_ioc(
    ca_environment: dict[str, str], client: Client
) -> None:
    async with running("sim", "lakeshore336", "--pty", "--speed", "5") as simulator:
        url = (await line_of(simulator.stdout, "lakeshore336 simulator at")).split()[-1]
        assert url.startswith("serial:///dev/pts/")
        async with running("run", "lakeshore336", "--connect", url, "--prefix", "P:") as ioc:
            await line_of(ioc.stderr, "labioc: ONLY")
            assert (await client.get("P:A:TEMP")).severity == 0
        simulator.terminate()
        async with asyncio.timeout(PATIENCE):
            assert await simulator.wait() == 0


async def test_get_put_and_monitor(ca_environment: dict[str, str]) -> None:
    server = f"127.0.0.1:{ca_environment['EPICS_CA_SERVER_PORT']}"
    async with running("run", "lakeshore336", "--simulate", "--prefix", "C:", "-q", "--list-pvs") as ioc:
        await line_of(ioc.stdout, "C:")  # a client that searches in vain takes its time
        async with running("monitor", "-s", server, "--timeout", "20", "C:OUT1:SETP_RBV") as monitor:
            assert "C:OUT1:SETP_RBV" in await line_of(monitor.stdout, "")
            status, out, err = await labioc("put", "-s", server, "C:OUT1:SETP", "77.5")
            assert (status, out, err) == (0, "C:OUT1:SETP  77.500 K\n", "")
            while "77.500 K" not in await line_of(monitor.stdout, ""):
                pass
            monitor.send_signal(signal.SIGINT)
            async with asyncio.timeout(PATIENCE):
                assert await monitor.wait() == 0
        status, out, _ = await labioc("get", "-s", server, "C:OUT1:RANGE", "C:MODEL")
        assert (status, out) == (0, "C:OUT1:RANGE  OFF\nC:MODEL  MODEL336\n")
        status, out, err = await labioc("put", "-s", server, "C:OUT1:SETP", "100000")
        assert (status, out) == (2, "")
        assert "beyond the limits 0 to 9999 K" in err
        status, _, err = await labioc("put", "-s", server, "C:A:TEMP", "1")
        assert status == 2
        assert "read-only" in err
        status, _, err = await labioc("get", "-s", server, "--timeout", "1", "C:NOTHING")
        assert status == 2
        assert "no server answers" in err
        assert ioc.returncode is None


@pytest.mark.parametrize(
    ("value", "precision", "shown"),
    [
        (1013.0, 3, "1013.000"),
        (0.0, 3, "0.000"),
        (0.0123, 3, "0.012"),
        (1.234e-8, 3, "1.234e-08"),
        (7, None, "7"),
    ],
)
def test_a_small_number_is_not_shown_as_none(value: float, precision: int | None, shown: str) -> None:
    assert client_text(value, precision, ()) == shown


async def test_the_demo_prints_commands_that_work() -> None:
    async with running("demo") as demo:
        get = await line_of(demo.stdout, "    labioc get")
        words = get.split()[1:]
        status, out, _ = await labioc(*words)
        assert status == 0
        assert out.startswith("demo:A:TEMP  ")
        assert out.endswith(" K\n")
        for beginning in ("    labioc put", "    labioc put"):
            words = (await line_of(demo.stdout, beginning)).split()[1:]
            assert (await labioc(*words))[0] == 0
        demo.send_signal(signal.SIGINT)
        async with asyncio.timeout(PATIENCE):
            assert await demo.wait() == 0


PLUG_IN = """
from labioc.devices.lakeshore336 import LakeShore336PVs
from labioc.drivers.lakeshore336 import LakeShore336
from labioc.iocs.core import Instrument
from labioc.sim.lakeshore336 import LakeShore336 as Simulator

instrument = Instrument("plugged", LakeShore336, LakeShore336PVs, lambda variant: Simulator(), "tcp://h:1")
broken = 1
"""


async def test_instruments_come_from_other_packages(tmp_path: Path) -> None:
    (tmp_path / "otherlab.py").write_text(PLUG_IN)
    info = tmp_path / "otherlab-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: otherlab\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text(
        "[labioc.instruments]\nplugged = otherlab:instrument\nbroken = otherlab:broken\nmissing = nowhere:x\n"
    )
    environment = {"PYTHONPATH": str(tmp_path)}
    status, out, _ = await labioc("list", environment=environment)
    assert status == 0
    rows = {line.split()[0]: line for line in out.splitlines() if line}
    assert "Lake Shore Model 336" in rows["plugged"]
    assert "does not load" in rows["broken"]
    assert "nowhere" in rows["missing"]
    status, out, _ = await labioc("describe", "plugged", environment=environment)
    assert status == 0
