"""What goes over the wire: shown to listeners, recorded in files, traced live through an IOC's control socket."""

import asyncio
import contextlib
import json
import logging
import os
import signal
import socket
import stat
import sys
import tempfile
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.ca import Client, until
from tests.test_cli import LABIOC, PATIENCE, labioc, line_of, running
from tests.test_fault_proxy import Say, control

from labioc.drivers.core import recording
from labioc.drivers.core.recording import decode, encode, read_recording, record
from labioc.drivers.core.wire import CLOSED, DOWN, LOST, OPENED, RECEIVED, SENT, Chunk, Wire
from labioc.drivers.lakeshore336 import LakeShore336
from labioc.iocs.core import Host, InstrumentConfig
from labioc.iocs.core.control import control_socket, folders, sockets, sweep
from labioc.iocs.core.trace import View
from labioc.iocs.lakeshore336 import instrument
from labioc.sim.core.control import Commands, serve_control
from labioc.sim.lakeshore336 import LakeShore336 as Simulator

TCP = "tcp://127.0.0.1:0"


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "session.jsonl"


@pytest.fixture
def runtime(monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A place for control sockets; their paths must be short."""
    with tempfile.TemporaryDirectory(prefix="labioc") as folder:
        monkeypatch.setenv("XDG_RUNTIME_DIR", folder)
        monkeypatch.setenv("TMPDIR", folder)
        monkeypatch.setattr(tempfile, "tempdir", None)
        yield Path(folder)


@contextlib.asynccontextmanager
async def driven(url: str, path: Path, name: str = "ls") -> AsyncIterator[LakeShore336]:
    """A driver that is recorded from its first attempt to connect."""
    driver = LakeShore336(url, name=name)
    with record(driver.port, path, instrument="lakeshore336"):
        await driver.start()
        try:
            await driver.port.first_attempt()
            yield driver
        finally:
            await driver.close()


# the wire


async def test_a_listener_sees_bytes_and_what_becomes_of_the_connection() -> None:
    simulator = Simulator()
    seen: list[Chunk] = []
    async with simulator.serve(TCP) as url:
        driver = LakeShore336(url)
        driver.port.wire.listeners.append(seen.append)
        await driver.start()
        await driver.connected()
        assert [chunk[2:] for chunk in seen[:3]] == [
            (OPENED, b""),
            (SENT, b"*IDN?\r\n"),
            (RECEIVED, simulator.identity.encode() + b"\r\n"),
        ]
        simulator.faults.add("refuse-connections")
        simulator.faults.disconnect()
        await until(lambda: any(chunk.kind == DOWN for chunk in seen))
        simulator.faults.clear()
        await until(lambda: driver.port.is_up)
        await driver.close()
    kinds = [chunk.kind for chunk in seen if chunk.kind not in (SENT, RECEIVED)]
    assert kinds[:3] == [OPENED, LOST, DOWN]
    assert kinds[-2:] == [OPENED, CLOSED]
    assert next(chunk.data for chunk in seen if chunk.kind == LOST) == b"the instrument closed the connection"
    assert [chunk.clock for chunk in seen] == sorted(chunk.clock for chunk in seen)


def test_the_log_shows_it_as_long_as_it_is_switched_on(caplog: pytest.LogCaptureFixture) -> None:
    wire = Wire("x")
    wire.sent(b"quiet")
    caplog.set_level(logging.DEBUG, "labioc.wire.x")
    wire.sent(b"A?\r\n")
    wire.received(b"1\xff")
    wire.event(LOST, "gone")
    assert [r.getMessage() for r in caplog.records] == [r"> b'A?\r\n'", r"< b'1\xff'", "lost gone"]


# recordings


@given(st.binary(), st.sampled_from([SENT, RECEIVED]))
def test_any_bytes_survive(data: bytes, kind: str) -> None:
    chunk = Chunk(1.5, 2.5, kind, data)
    line = encode(chunk)
    assert line.isascii()
    assert "\n" not in line
    assert decode(json.loads(line)) == chunk


@given(st.text(st.characters(exclude_categories=["Cs"])))
def test_any_reason_survives(text: str) -> None:
    chunk = Chunk(1.5, 2.5, LOST, text.encode())
    assert decode(json.loads(encode(chunk))) == chunk


async def test_a_recording_holds_what_a_listener_sees(path: Path) -> None:
    seen: list[Chunk] = []
    async with Simulator().serve(TCP) as url:
        async with driven(url, path) as driver:
            driver.port.wire.listeners.append(seen.append)
            await driver.inputs["A"].temperature.read()
    (session,) = read_recording(path)
    assert {key: session.header[key] for key in ("instrument", "name", "url", "eol", "send_eol", "join")} == {
        "instrument": "lakeshore336",
        "name": "ls",
        "url": url,
        "eol": ["\r\n"],
        "send_eol": "\r\n",
        "join": ";",
    }
    assert [chunk[2:] for chunk in session.chunks[-len(seen) :]] == [chunk[2:] for chunk in seen]
    assert session.chunks[0].kind == OPENED
    assert session.chunks[-1].kind == CLOSED


async def test_a_further_session_follows_a_torn_line(path: Path, caplog: pytest.LogCaptureFixture) -> None:
    async with Simulator().serve(TCP) as url:
        async with driven(url, path):
            pass
        with path.open("a") as file:
            file.write('{"time": 17')
        (before,) = read_recording(path)
        assert "can't be read" in caplog.text
        async with driven(url, path, name="second"):
            pass
    first, second = read_recording(path)
    assert first == before
    assert second.header["name"] == "second"
    assert second.chunks[0].kind == OPENED


def test_another_file_is_not_touched(path: Path) -> None:
    driver = LakeShore336("tcp://127.0.0.1:1")
    for text in ("precious", '{"a": 1}\n', "\n"):
        path.write_text(text)
        with pytest.raises(OSError, match=r"can't record to .*session.jsonl: it is another file"):
            with record(driver.port, path):
                pass
        assert path.read_text() == text
    with pytest.raises(OSError, match=r"can't record to .*: Is a directory"):
        with record(driver.port, path.parent):
            pass


async def test_two_do_not_record_to_one_file(path: Path) -> None:
    driver = LakeShore336("tcp://127.0.0.1:1")
    with record(driver.port, path):
        with pytest.raises(OSError, match="another process records to it"):
            with record(driver.port, path):
                pass
    with record(driver.port, path):
        pass
    assert len(read_recording(path)) == 2


async def test_a_disk_that_fills_up_ends_the_recording_alone(
    path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(recording, "RESERVE", 1e30)
    monkeypatch.setattr(recording, "RESERVE_SHARE", 2.0)
    async with Simulator().serve(TCP) as url:
        async with driven(url, path) as driver:
            assert await driver.inputs["A"].temperature.read() > 0
    said = [r.getMessage() for r in caplog.records if r.name == recording.__name__]
    assert said == [f"the recording to {path} ends here: the disk is nearly full"]
    assert read_recording(path)[0].chunks == []


async def test_what_there_is_no_room_for_is_counted(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(recording, "MAX_WAITING", 1000)
    driver = LakeShore336("tcp://127.0.0.1:1")
    with record(driver.port, path):
        for _ in range(5):
            driver.port.wire.sent(b"x" * 400)
    (session,) = read_recording(path)
    assert [(chunk.kind, len(chunk.data)) for chunk in session.chunks] == [(SENT, 400)] * 3 + [("missed", 1)]
    assert session.chunks[-1].data == b"2"


async def test_a_killed_ioc_leaves_what_can_be_read(path: Path, runtime: Path) -> None:
    words = ("run", "lakeshore336", "--simulate", "--prefix", "K:", "--record", str(path))
    async with running(*words) as ioc:
        await until(lambda: path.exists() and path.read_bytes().count(b"\n") > 10)
        ioc.kill()
        await ioc.wait()
    (session,) = read_recording(path)
    assert len(session.chunks) >= 10


async def test_an_ioc_outlives_the_end_of_its_disk(
    path: Path, runtime: Path, ca_environment: dict[str, str], client: Client
) -> None:
    # files of 8 blocks of 512 bytes at most
    words = " ".join((*LABIOC, "run lakeshore336 --simulate --prefix D: --record", str(path)))
    async with running("-c", f"ulimit -f 8; exec {words}", command=("sh",)) as ioc:
        assert ioc.stderr is not None
        said: list[str] = []
        async with asyncio.timeout(PATIENCE):
            while not any("ends here" in line for line in said):
                said.append((await ioc.stderr.readline()).decode())
        assert "File too large" in said[-1]
        async with client.monitor("D:A:TEMP") as events:
            first = await events.next()
            assert (await events.next(lambda reading: bool(reading.stamp > first.stamp))).severity == 0
        ioc.terminate()
        assert await ioc.wait() == 0
        assert b"ends here" not in await ioc.stderr.read()
    assert read_recording(path)


# the control socket


@contextlib.asynccontextmanager
async def controlled(*names: str, simulated: bool = True) -> AsyncIterator[tuple[Host, str]]:
    """A host with its control socket, and where that is; nothing is started."""
    host = Host(
        [
            InstrumentConfig(instrument=instrument, url="tcp://127.0.0.1:1", prefix=f"P{number}:", name=name)
            for number, name in enumerate(names)
        ]
    )
    async with control_socket(host, Simulator() if simulated else None):
        ((found, pid),) = sockets()
        assert pid == os.getpid()
        yield host, str(found)


async def test_only_this_user_can_reach_it(runtime: Path) -> None:
    async with controlled("tc/1", simulated=False) as (_, where), control(where) as say:
        assert Path(where) == runtime / "labioc" / f"tc%2F1-{os.getpid()}.sock"
        assert stat.S_IMODE(os.stat(where).st_mode) == 0o600
        assert stat.S_IMODE(os.stat(runtime / "labioc").st_mode) == 0o700
        assert await say("instruments") == ["tc/1\tDOWN\ttcp://127.0.0.1:1"]
        assert await say("help") == ["instruments", "trace [NAME]", "help"]
        with pytest.raises(AssertionError, match="is none of"):
            await say("fault mute")
        with pytest.raises(AssertionError, match="no instrument 'tc2'; there are: tc/1"):
            await say("trace tc2")
    assert list(sockets()) == []


async def test_it_switches_the_faults_of_the_simulator(runtime: Path) -> None:
    async with controlled("tc") as (_, where), control(where) as say:
        await say("fault mute")
        assert await say("faults") == ["mute"]


async def heard(say: Say, count: int) -> list[tuple[str, str, str]]:
    """What the next lines of a trace say."""
    lines = [json.loads(await line_of(say.reader, "{")) for _ in range(count)]
    return [(line["name"], line["kind"], line["data"]) for line in lines]


async def test_a_trace_shows_one_instrument_or_all(runtime: Path) -> None:
    async with controlled("a", "b") as (host, where), control(where) as both, control(where) as one:
        await both("trace")
        await one("trace b")
        a, b = (unit.driver.port.wire for unit in host.units)
        a.sent(b"A?\r\n")
        b.received(b"\xb0C")
        b.event(LOST, "gone")
        assert await heard(both, 3) == [("a", ">", "A?\r\n"), ("b", "<", "\xb0C"), ("b", "lost", "gone")]
        assert await heard(one, 2) == [("b", "<", "\xb0C"), ("b", "lost", "gone")]
        for say in (both, one):
            say.writer.close()
        await until(lambda: not a.listeners and not b.listeners)


async def test_who_reads_too_slowly_loses_lines_and_is_told() -> None:
    says: list[Callable[[str], None]] = []

    def stream(say: Callable[[str], None]) -> Callable[[], None]:
        says.append(say)
        return says.clear

    commands: Commands = {"stream": lambda _: stream}
    with tempfile.TemporaryDirectory() as folder:
        async with serve_control(commands, f"{folder}/control") as where, control(where) as say:
            await say("stream")
            for number in range(100_000):
                says[0](f"{number} " + "x" * 100)
            got: list[str] = []
            while not got or not got[-1].startswith("lost "):
                got.append(await line_of(say.reader, ""))
            says[0]("again")
            assert await line_of(say.reader, "") == "again"
    kept = len(got) - 1
    assert [line.split()[0] for line in got[:-1]] == [str(number) for number in range(kept)]
    assert got[-1] == f"lost {100_000 - kept} lines: they came faster than they were read"


async def test_what_the_dead_left_is_swept_away(runtime: Path) -> None:
    folder = runtime / "labioc"
    folder.mkdir(mode=0o700)
    process = await asyncio.create_subprocess_exec(sys.executable, "-c", "")
    await process.wait()
    dead, alive, busy = (folder / f"tc-{pid}.sock" for pid in (process.pid, os.getpid(), 1))
    for path in (dead, alive, busy):
        with socket.socket(socket.AF_UNIX) as left:
            left.bind(str(path))
    other = folder / "tc-x.sock"
    other.touch()
    sweep()
    assert not dead.exists()
    assert alive.exists()
    assert busy.exists()
    assert other.exists()


async def test_a_folder_that_others_can_write_to_is_not_used(
    runtime: Path, caplog: pytest.LogCaptureFixture
) -> None:
    first, second = folders()
    first.mkdir(mode=0o700)
    first.chmod(0o755)
    async with controlled("tc") as (_, where):
        assert Path(where).parent == second
    second.chmod(0o777)
    host = Host([InstrumentConfig(instrument=instrument, url="tcp://127.0.0.1:1", prefix="X:", name="x")])
    async with control_socket(host):
        assert list(sockets()) == []
    assert "labioc trace can't see this IOC: no folder of this user alone" in caplog.text


# labioc trace


def test_a_line_of_the_view() -> None:
    view = View(as_hex=False, named=False)
    lines = [
        {"kind": "<", "data": "early", "clock": 0.0},
        {"kind": ">", "data": "A\\?\r\n", "clock": 1.0},
        {"kind": "<", "data": "\xb0\x00", "clock": 1.0123},
        {"kind": "lost", "data": "gone \xb0", "clock": 2.0},
        {"kind": "opened", "data": "", "clock": 3.0},
        {"kind": "<", "data": "early", "clock": 4.0},
    ]
    shown = [view.line({"name": "tc", "time": 1.7e9 + 0.5, **line}) for line in lines]
    assert [line.partition(".500")[2] for line in shown] == [
        "  <                  early",
        "  >                  A\\\\?\\r\\n",
        "  <         12.3 ms  \\xb0\\x00",
        "  lost               gone \xb0",
        "  opened",
        "  <                  early",
    ]
    as_hex = View(as_hex=True, named=True)
    line = as_hex.line({"name": "tc", "time": 1.7e9, "kind": ">", "data": "A\xff", "clock": 0.0})
    assert line.endswith(".000  tc  >                  41 ff")


async def test_a_live_view_of_the_only_ioc(runtime: Path, ca_environment: dict[str, str]) -> None:
    status, out, err = await labioc("trace")
    assert (status, out, err) == (2, "", "labioc: no IOC of this user is running\n")
    async with running("run", "lakeshore336", "--simulate", "--name", "tc1", "--prefix", "T:") as ioc:
        await line_of(ioc.stderr, "labioc: ONLY")
        async with running("trace") as trace, running("trace", "tc1", "--hex") as other:
            assert (await line_of(trace.stderr, "labioc: tc1 at tcp://")).endswith(" is UP")
            while ">" not in (sent := await line_of(trace.stdout, "")).split():
                pass
            came = await line_of(trace.stdout, "")
            assert sent.endswith("\\r\\n")
            assert came.split()[1] == "<"
            assert came.split()[3] == "ms"
            assert (await line_of(other.stdout, "")).endswith(" 0d 0a")
            trace.send_signal(signal.SIGINT)
            async with asyncio.timeout(PATIENCE):
                assert await trace.wait() == 0
            assert trace.stderr is not None
            assert await trace.stderr.read() == b""
            ioc.terminate()
            await line_of(other.stderr, "labioc: the IOC has ended")
            async with asyncio.timeout(PATIENCE):
                assert await other.wait() == 0


async def test_several_iocs_are_told_apart(runtime: Path, ca_environment: dict[str, str]) -> None:
    async with (
        running("run", "lakeshore336", "--simulate", "--name", "tc", "--prefix", "A:") as first,
        running("run", "lakeshore336", "--simulate", "--name", "tc", "--prefix", "B:") as second,
    ):
        for ioc in (first, second):
            await line_of(ioc.stderr, "labioc: ONLY")
        for words, unclear in (
            ((), "several IOCs are"),
            (("tc",), "several IOCs are"),
            (("tc9",), "no tc9 is"),
        ):
            status, out, err = await labioc("trace", *words)
            assert (status, len(out.splitlines())) == (2, 2)
            assert str(first.pid) in out
            assert err == f"labioc: {unclear} running; say which, by the name or the number of the process\n"
        async with running("trace", str(second.pid)) as trace:
            await line_of(trace.stdout, "")


async def test_faults_of_the_bundled_simulator(runtime: Path, ca_environment: dict[str, str]) -> None:
    words = ("run", "lakeshore336", "--simulate", "--prefix", "F:", "--fault", "refuse-connections")
    async with running(*words) as ioc:
        await line_of(ioc.stderr, "labioc: ONLY")
        async with running("trace") as trace:
            assert (await line_of(trace.stderr, "labioc: ")).endswith(" is DOWN")
            ((where, _),) = sockets()
            async with control(str(where)) as say:
                await say("clear")
            assert (await line_of(trace.stdout, "")).endswith("opened")


async def test_faults_before_a_real_instrument_are_a_proxys() -> None:
    status, _, err = await labioc("run", "lakeshore336", "--connect", TCP, "--fault", "mute")
    assert status == 2
    assert "labioc fault-proxy" in err
