"""Faults switched at the control port, and the proxy that has them before an instrument."""

import asyncio
import contextlib
import re
import socket
import stat
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from tests.test_cli import PATIENCE, labioc, line_of, running
from tests.test_faults import PTY, TCP, Plain, both, client, gone, until
from tests.test_sim_core import Bench

from labioc.drivers.core.errors import AddressError
from labioc.iocs.core.fault_proxy import FaultProxy
from labioc.sim.core import Faults, fault_switches, serve_control
from labioc.sim.core.control import execute
from labioc.sim.lakeshore336 import LakeShore336

# the control port


@pytest.mark.parametrize("where", ["unix", "tcp"])
async def test_the_control_port_switches_faults(where: str, tmp_path: Path) -> None:
    bench, path = Bench(), tmp_path / "control"
    async with (
        bench.serve(TCP) as url,
        serve_control(fault_switches(bench), str(path) if where == "unix" else "0") as name,
        control(name) as say,
        client(url) as plain,
    ):
        if where == "unix":
            assert stat.S_IMODE(path.stat().st_mode) == 0o600
        assert await say("fault lose count=1 only='ADD? 1'") == []
        assert await say("fault late=0.001") == []
        assert await say("faults") == ["lose 'only=ADD? 1' count=1", "late=0.001"]
        assert await plain.ask(b"ADD? 1\nADD? 2\n") == b"2\r\n"
        assert await say("faults") == ["late=0.001"]
        assert await say("clear late") == await say("faults") == []
        assert await say("help") == [*fault_switches(bench), "help"]
        for line, why in (
            ("fault fire", "'fire': no such fault"),
            ("fault", "'fault' is none of: fault FAULT; faults"),
            ("dance", "'dance' is none of"),
            ("clear fire", "no such fault"),
            ("disconnect now", "fin or rst"),
            ("power-cycle soon", "expected seconds"),
            ("fault wrong-checksum", "Bench has no checksum"),
        ):
            with pytest.raises(AssertionError, match=why):
                await say(line)
        assert await plain.ask(b"MOT 1,4\nMOT? 1\n") == b"+4.00,x   \r\n"
        assert await say("power-cycle") == []
        assert await gone(plain, "rst") == b""
        async with client(url) as again:
            assert await again.ask(b"MOT? 1\n") == b"+1.50,x   \r\n"
            assert await say("disconnect") == []
            assert await gone(again, "fin") == b""
    assert not path.exists()


@contextlib.asynccontextmanager
async def control(where: str) -> AsyncIterator["Say"]:
    if where.startswith("/"):
        reader, writer = await asyncio.open_unix_connection(where)
    else:
        host, port = where.split(":")
        reader, writer = await asyncio.open_connection(host, int(port))
    try:
        yield Say(reader, writer)
    finally:
        writer.close()
        await writer.wait_closed()


class Say:
    """Says a line, returns the answer; an error is an AssertionError."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader, self.writer = reader, writer

    async def __call__(self, line: str) -> list[str]:
        self.writer.write(f"{line}\n".encode())
        said = []
        while (answer := await line_of(self.reader, "")) != "ok":
            assert not answer.startswith("error: "), answer
            said.append(answer)
        return said


async def test_a_control_port_survives_a_crash_but_not_a_rival(tmp_path: Path) -> None:
    path = str(tmp_path / "control")
    with socket.socket(socket.AF_UNIX) as left:
        left.bind(path)
    async with serve_control(fault_switches(Bench()), path):
        with pytest.raises(OSError, match="no control port at .*in use"):
            async with serve_control(fault_switches(Bench()), path):
                pass
        async with control(path) as say:
            assert await say("faults") == []
    (tmp_path / "control").write_text("precious")
    with pytest.raises(OSError, match="in use"):
        async with serve_control(fault_switches(Bench()), path):
            pass
    assert (tmp_path / "control").read_text() == "precious"


async def test_a_control_line_without_an_end_is_cut_off() -> None:
    async with serve_control(fault_switches(Bench()), "0") as name, client(f"tcp://{name}") as plain:
        plain.send(b"x" * 10_000)
        with contextlib.suppress(ConnectionResetError):
            assert await plain.receive() == b""


# the proxy


IDN = b"LSCI,MODEL336,LSA23AB/#######,2.9\r\n"


@contextlib.asynccontextmanager
async def proxied(at: str, target: str, *faults: str) -> AsyncIterator[tuple[FaultProxy, Plain]]:
    """A client of a proxy before the 336."""
    async with LakeShore336().serve(target) as real:
        proxy = FaultProxy(real, eol=b"\r\n", command_eol=b"\n", faults=Faults(*faults))
        async with proxy.serve(at) as url, client(url) as plain:
            yield proxy, plain


@pytest.mark.parametrize("target", [TCP, PTY])
@both
async def test_the_proxy_lets_everything_through_until_a_fault_strikes(at: str, target: str) -> None:
    async with proxied(at, target) as (proxy, plain):
        assert await plain.ask(b"SETP 1,77;SETP? 1;INCRV? A\n") == b"+77.0000;02\r\n"
        proxy.faults.add("lose count=1 only=INCRV?", "cut=3 count=1 only=*IDN?", "twice only='INCRV? B'")
        plain.send(b"INCRV? A\n")
        # a reply belongs to the latest command, so the loss must be over before the next one
        await until(lambda: len(proxy.faults.active) == 2)
        assert await plain.ask(b"*IDN?\n", b"LSC") == b"LSC"
        assert await plain.ask(b"INCRV? B\n", b"06\r\n06\r\n") == b"06\r\n06\r\n"
        proxy.faults.clear()
        assert await plain.ask(b"*IDN?\n") == IDN


@both
@pytest.mark.parametrize(
    ("fault", "expected"),
    [
        ("late=0.001", rb"02\r\n"),
        ("noise", rb"02\r\n[^\r\n]"),
        ("flip", rb"[^\r\n]{2}\r\n"),
        ("garbage", rb"[^\r\n]{2}\r\n"),
        ("twice", rb"02\r\n02\r\n"),
        ("trickle=0", rb"02\r\n"),
        ("echo", rb"INCRV\? A\n02\r\n"),
        ("refuse=ERR", rb"ERR\r\n"),
        ("lose count=1", rb""),
        ("mute count=1", rb""),
    ],
)
async def test_a_fault_of_the_proxy(at: str, fault: str, expected: bytes) -> None:
    async with proxied(at, TCP, f"{fault} only=INCRV?") as (proxy, plain):
        plain.send(b"INCRV? A\n")
        read = b""
        if expected:
            read = await plain.read(b"\r\n")
        else:
            await until(lambda: not proxy.faults.active)
        read += (await plain.ask(b"*IDN?\n", IDN)).removesuffix(IDN)
        assert re.fullmatch(expected, read, re.DOTALL)


@pytest.mark.parametrize("how", ["fin", "rst"])
async def test_the_proxy_hangs_up_on_its_client_and_on_the_instrument(how: str) -> None:
    simulator = LakeShore336()
    async with simulator.serve(TCP) as real:
        proxy = FaultProxy(real, eol=b"\r\n", command_eol=b"\n", faults=Faults(f"hang-up={how} count=1"))
        async with proxy.serve(TCP) as url:
            async with client(url) as plain:
                plain.send(b"*IDN?\n")
                assert await gone(plain, how) == IDN[: len(IDN) // 2]
            await until(lambda: not simulator.faults.connections)
            async with client(url) as plain:
                assert await plain.ask(b"*IDN?\n") == IDN
                proxy.faults.disconnect(how)
                assert await gone(plain, how) == b""
            proxy.faults.add("refuse-connections")
            with pytest.raises(ConnectionRefusedError):
                async with client(url):
                    pass


async def test_a_pty_of_the_proxy_finds_the_instrument_again() -> None:
    simulator = LakeShore336()
    async with simulator.serve(TCP) as real:
        proxy = FaultProxy(real, eol=b"\r\n", command_eol=b"\n")
        async with proxy.serve(PTY) as url, client(url) as plain:
            assert await plain.ask(b"*IDN?\n") == IDN
            for lose in (proxy.faults.disconnect, simulator.faults.disconnect):
                lose("rst")
                await until(lambda: not simulator.faults.connections and not proxy.connected)
                assert await plain.ask(b"*IDN?\n") == IDN


async def test_a_dead_instrument_ends_the_proxys_client(caplog: pytest.LogCaptureFixture) -> None:
    async with Bench().serve(TCP) as dead:
        pass
    async with FaultProxy(dead).serve(TCP) as url, client(url) as plain:
        assert await gone(plain, "fin") == b""
    assert f"{dead}: cannot connect" in caplog.text


async def test_what_the_instrument_leaves_without_a_terminator_passes_the_proxy() -> None:
    bench = Bench(faults=Faults("cut=2 only=12", "hang-up only=3456"))
    async with bench.serve(TCP) as real:
        async with FaultProxy(real, eol=b"\r\n", command_eol=b"\n").serve(TCP) as url, client(url) as plain:
            assert await plain.ask(b"ADD? 12\n", b"12") == b"12"
            plain.send(b"ADD? 3456\n")
            assert await gone(plain, "fin") == b"345"


async def test_a_flood_without_terminators_passes_the_proxy() -> None:
    async def flood(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"x" * 1_000_000 + b"\n" + b"y\n" * 100 + b"end\n")
        writer.close()
        await writer.wait_closed()

    server = await asyncio.start_server(flood, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    async with server, FaultProxy(f"tcp://127.0.0.1:{port}").serve(TCP) as url, client(url) as plain:
        assert len(await plain.read(b"end\n")) == 1_000_001 + 200 + 4


@pytest.mark.parametrize(
    ("fault", "why"),
    [
        ("power-cycle", "can't switch the instrument off"),
        ("wrong-checksum", "does not know where in a reply a checksum stands"),
        ("refuse", "give the text, as in refuse=ERR"),
    ],
)
def test_what_a_proxy_can_not_do(fault: str, why: str) -> None:
    proxy = FaultProxy("tcp://127.0.0.1:1")
    with pytest.raises(ValueError, match=why):
        proxy.faults.add(fault)
    if fault == "power-cycle":
        with pytest.raises(ValueError, match=why):
            execute(fault_switches(proxy), fault)


def test_a_proxy_to_nowhere_is_refused() -> None:
    with pytest.raises(AddressError, match="expected a URL"):
        FaultProxy("10.0.0.1:7777")


# the command line


async def test_the_command_line(tmp_path: Path) -> None:
    sim_control, proxy_control = str(tmp_path / "sim"), str(tmp_path / "proxy")
    words = ("--fault", "lose count=1 only=INCRV?", "--fault", "late=0.001", "--control", sim_control)
    async with running("sim", "lakeshore336", *words) as sim:
        real = (await line_of(sim.stdout, "lakeshore336 simulator at")).split()[-1]
        assert await line_of(sim.stdout, "control") == f"control at {sim_control}"
        options = ("--eol", r"\r\n", "--command-eol", r"\n", "--control", proxy_control, "--pty")
        async with running("fault-proxy", real, *options, "--fault", "cut=5 count=1") as proxy:
            url = (await line_of(proxy.stdout, "fault proxy to")).split()[-1]
            assert url.startswith("serial:")
            async with (
                control(sim_control) as at_sim,
                control(proxy_control) as at_proxy,
                client(url) as plain,
            ):
                assert await at_proxy("faults") == ["cut=5 count=1"]
                assert await plain.ask(b"*IDN?\n", b"LSCI,") == b"LSCI,"
                assert await at_proxy("faults") == []
                assert await at_sim("faults") == ["lose only=INCRV? count=1", "late=0.001"]
                assert await plain.ask(b"INCRV? A\n*IDN?\n") == IDN
                assert await at_sim("faults") == ["late=0.001"]
            proxy.terminate()
            async with asyncio.timeout(PATIENCE):
                assert await proxy.wait() == 0


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (("sim", "lakeshore336", "--fault", "wrong-checksum"), "LakeShore336 has no checksum"),
        (
            ("sim", "lakeshore336", "--control", "/nowhere/at/all"),
            "no control port at /nowhere/at/all: No such",
        ),
        (("fault-proxy", "10.0.0.1:7777"), "expected a URL like tcp://host:port"),
        (("fault-proxy", "serial:///dev/no-such-line"), "there is no device /dev/no-such-line"),
        (("fault-proxy", "tcp://h:1", "--fault", "fire"), "no such fault"),
        (("fault-proxy", "tcp://h:1", "--fault", "power-cycle"), "can't switch the instrument off"),
    ],
)
async def test_a_mistake_gets_one_clear_line_and_status_2(words: tuple[str, ...], expected: str) -> None:
    status, out, err = await labioc(*words)
    assert (status, out) == (2, "")
    assert expected in err
    assert len(err.splitlines()) == 1


async def test_a_terminator_is_not_empty() -> None:
    status, _, err = await labioc("fault-proxy", "tcp://h:1", "--eol", "")
    assert status == 2
    assert "one byte at least" in err
