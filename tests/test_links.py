"""Real links: TCP on loopback, and serial lines over pseudo-terminals."""

import asyncio
import contextlib
import logging
import os
import socket
import tty
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from tests.fakes import HANG, IDENTITY, Asker, started

from labioc.drivers.core import Lines, serial_line
from labioc.drivers.core.errors import (
    AddressError,
    LinkDown,
    ReplyError,
    ReplyTimeout,
    TruncatedReply,
    WrongInstrument,
)
from labioc.drivers.core.exchanger import StreamExchanger
from labioc.drivers.core.links import check_present, parse
from labioc.drivers.core.port import LinkState, Port
from labioc.drivers.lakeshore336 import LakeShore336
from labioc.sim.lakeshore336 import LakeShore336 as Simulator

LINES = Lines(eol="\n", timeout=0.3, identify=("ID?", "FAKE,"), join=";")
Handler = Callable[[str], bytes | None]


@contextlib.asynccontextmanager
async def served(handler: Handler) -> AsyncIterator[str]:
    """An instrument over TCP; None from the handler closes the connection."""
    writers: list[asyncio.StreamWriter] = []

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writers.append(writer)
        while line := await reader.readline():
            text = line.decode().strip()
            reply = f"{IDENTITY}\n".encode() if text == "ID?" else handler(text)
            if reply is None:
                break
            writer.write(reply)
        writer.close()

    server = await asyncio.start_server(talk, "127.0.0.1", 0)
    host, port = server.sockets[0].getsockname()
    try:
        yield f"tcp://{host}:{port}"
    finally:
        server.close()
        for writer in writers:
            writer.transport.abort()


def unused_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


# TCP


async def test_a_reply_that_stops_in_the_middle() -> None:
    async with (
        served(lambda text: b"+77" if text == "A?" else b"b\n") as url,
        started(LINES, url=url) as fake,
    ):
        with pytest.raises(
            TruncatedReply, match=r"value of A\?: the reply stopped after b'\+77'; sent b'A\?"
        ):
            await fake.ask("A?")
        assert await fake.ask("B?", urgent=True) == ["b"]
        assert fake.port.statistics.errors == {"TruncatedReply": 1}


async def test_a_connection_closed_in_the_middle_of_a_reply() -> None:
    served_once: list[str] = []

    async def cut(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while line := await reader.readline():
            if line.startswith(b"ID?"):
                writer.write(line.replace(b"ID?", IDENTITY.encode()))
            elif served_once:
                writer.write(b"b\n")
            else:
                served_once.append("cut")
                writer.write(b"+77.3")
                break
        writer.close()

    server = await asyncio.start_server(cut, "127.0.0.1", 0)
    url = f"tcp://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    async with server, started(LINES, url=url) as fake:
        with pytest.raises(TruncatedReply, match=r"closed in the middle of a reply, after b'\+77.3'"):
            await fake.ask("A?")
        await fake.until(LinkState.DOWN)
        await fake.until(LinkState.UP)
        assert await fake.ask("B?") == ["b"]


async def test_a_megabyte_of_garbage_is_a_named_error_and_then_all_is_well() -> None:
    async with (
        served(lambda text: b"\xa5" * 1048576 + b"\n" if text == "A?" else b"b\n") as url,
        started(LINES, url=url) as fake,
    ):
        with pytest.raises(
            ReplyError, match=r"value of A\?: \d+ bytes without the terminator b'\\n'; expected"
        ):
            await fake.ask("A?")
        assert await fake.ask("B?", urgent=True) == ["b"]


async def test_late_replies_over_tcp_are_never_another_questions_answer() -> None:
    late: list[bytes] = []

    async def slow(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while line := await reader.readline():
            text = line.decode().strip()
            if text == "ID?":
                # what was late comes just before the answer to the fence
                writer.write(b"".join(late) + f"{IDENTITY}\n".encode())
                late.clear()
            elif text == "A?":
                late.append(b"a\n")
            else:
                writer.write(b"b\n")
        writer.close()

    server = await asyncio.start_server(slow, "127.0.0.1", 0)
    url = f"tcp://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    async with server, started(LINES, url=url) as fake:
        for _ in range(3):
            with pytest.raises(ReplyTimeout):
                await fake.ask("A?")
            assert await fake.ask("B?", urgent=True) == ["b"]


async def test_a_simulator_that_is_late_by_more_than_the_fence() -> None:
    class Impatient(LakeShore336):
        protocol = replace(LakeShore336.protocol, timeout=0.2)

    simulator = Simulator()
    async with simulator.serve("tcp://127.0.0.1:0") as url:
        controller = Impatient(url)
        await controller.start()
        try:
            await controller.connected()
            asker = Asker(controller.port)
            simulator.faults.add("late=0.7 count=1")  # the reply and, behind it, the first fences' come late
            with pytest.raises(ReplyTimeout):
                await controller.outputs[1].pid.read()
            await asker.until(LinkState.UP)
            assert await asker.ask("INCRV? A", urgent=True) == ["02"]
        finally:
            await controller.close()


async def test_a_refused_connection_says_where() -> None:
    port = unused_port()
    with pytest.raises(LinkDown, match=f"lakeshore336: cannot connect: .*refused.*127.0.0.1:{port}"):
        async with LakeShore336.open(f"tcp://127.0.0.1:{port}"):
            pytest.fail("nobody listens there")


async def test_a_simulator_stopped_and_started_again_on_the_same_port() -> None:
    simulator = Simulator()
    port = Port("tcp://127.0.0.1:1", LakeShore336.protocol, name="lakeshore336")
    async with contextlib.AsyncExitStack() as first:
        url = await first.enter_async_context(simulator.serve("tcp://127.0.0.1:0"))
        port = Port(url, LakeShore336.protocol, name="lakeshore336")
        asker = Asker(port)
        await port.start()
        await asker.until(LinkState.UP)
    try:
        await asker.until(LinkState.DOWN)
        with pytest.raises(LinkDown):
            await asker.ask("KRDG? A")
        async with simulator.serve(url):
            await asker.until(LinkState.UP)
            assert await asker.ask("INCRV? A") == ["02"]
    finally:
        await port.close()


async def test_the_wrong_instrument_and_the_wrong_variant() -> None:
    async with served(lambda text: b"SOMETHING ELSE\r\n") as url:
        with pytest.raises(WrongInstrument, match=r"'LSCI,MODEL336,'; tcp://.* answers b'SOMETHING ELSE"):
            async with LakeShore336.open(url):
                pytest.fail("it is none")
    async with Simulator().serve("tcp://127.0.0.1:0") as url:
        with pytest.raises(
            WrongInstrument, match=r"expected the variant '3062', .* answers 'LSCI,MODEL336,.*#"
        ):
            async with LakeShore336.open(url, variant="3062"):
                pytest.fail("it has no card")
    async with Simulator(option="3062").serve("tcp://127.0.0.1:0") as url:
        async with LakeShore336.open(url, variant="3062") as controller:
            assert await controller.inputs["D3"].label.read() == "Input D3"


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("10.0.0.12:7777", "expected a URL like tcp://host:port"),
        ("tcp://10.0.0.12", "expected tcp://host:port"),
        ("tcp://:7777", "expected tcp://host:port"),
        ("tcp://10.0.0.12:99999", "Port out of range"),
        ("tcp://10.0.0.12:7777/path", "expected tcp://host:port"),
        ("serial://dev/ttyUSB0", "three slashes"),
        ("serial:///", "three slashes"),
        ("serial:///dev/x?baudrate=fast", "baudrate='fast'; expected 50 to 4000000"),
        ("serial:///dev/x?baudrate=1", "baudrate='1'; expected 50 to 4000000"),
        ("serial:///dev/x?bytesize=9", "bytesize='9'; expected 5, 6, 7 or 8"),
        ("serial:///dev/x?parity=X", "parity='X'; expected N, E, O, M or S"),
        ("serial:///dev/x?parity=", "parity=''; expected N, E, O, M or S"),
        ("serial:///dev/x?stopbits=3", "stopbits='3'; expected 1, 1.5 or 2"),
        ("serial:///dev/x?xonxoff=maybe", "xonxoff='maybe'; expected 0 or 1"),
        ("serial:///dev/x?rtscts=2", "rtscts='2'; expected 0 or 1"),
        ("serial:///dev/x?dsrdtr=y", "dsrdtr='y'; expected 0 or 1"),
        ("serial:///dev/x?exclusive=no", "exclusive='no'; expected 0 or 1"),
        ("serial:///dev/x?timeout=1", "timeout is not a setting of the line"),
        ("serial:///dev/x?baud=9600", "unknown setting 'baud'; expected one of baudrate, bytesize"),
    ],
)
def test_addresses_that_cannot_be_right(url: str, expected: str) -> None:
    with pytest.raises(AddressError, match=expected) as caught:
        LakeShore336(url)
    assert repr(url) in str(caught.value)


def test_a_device_that_was_never_there_is_a_mistyped_path(tmp_path: Path) -> None:
    with pytest.raises(AddressError, match=f"there is no device {tmp_path}/ttyUSB7"):
        check_present(f"serial://{tmp_path}/ttyUSB7")
    check_present("tcp://127.0.0.1:1")


# serial


@pytest.fixture
def line() -> Iterator[tuple[int, str]]:
    """A pseudo-terminal: the other end's descriptor, and the URL."""
    master, slave = os.openpty()
    tty.setraw(slave)
    yield master, f"serial://{os.ttyname(slave)}?baudrate=57600"
    os.close(slave)
    with contextlib.suppress(OSError):
        os.close(master)


async def test_the_very_url_of_the_manual(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    serial_line._say_once.cache_clear()  # a test before may have had a terminal of the same name
    async with Simulator().serve("pty:") as url:
        assert url.endswith("?baudrate=57600&bytesize=7&parity=O")
        async with LakeShore336.open(url) as controller:
            assert (await controller.identity.read()).model == "MODEL336"
            await controller.outputs[1].setpoint.write(20.0)
            assert await controller.outputs[1].setpoint.read() == 20.0
        said = [r.getMessage() for r in caplog.records if "pseudo-terminal" in r.getMessage()]
        path = parse(url).path
        assert said == [f"{path} is a pseudo-terminal, which knows no parity: it is opened with 8N1"]


async def test_a_line_belongs_to_one() -> None:
    async with Simulator().serve("pty:") as url, LakeShore336.open(url, name="first") as first:
        with pytest.raises(LinkDown, match="second: cannot connect: .* is in use by this program itself"):
            async with LakeShore336.open(url, name="second"):
                pytest.fail("it is taken")
        assert await first.outputs[1].setpoint.read() == 0.0


async def test_a_missing_device_is_waited_for(tmp_path: Path) -> None:
    path = tmp_path / "ttyUSB0"
    async with (
        Simulator().serve("pty:") as url,
        started(LakeShore336.protocol, url=f"serial://{path}") as fake,
    ):
        assert f"there is no device {path}" in str(fake.port.error)
        path.symlink_to(parse(url).path)
        await fake.until(LinkState.UP)
        assert await fake.ask("INCRV? A") == ["02"]


async def test_an_unplugged_line_is_down_and_comes_back(tmp_path: Path) -> None:
    path = tmp_path / "ttyUSB0"
    async with contextlib.AsyncExitStack() as plugged:
        path.symlink_to(parse(await plugged.enter_async_context(Simulator().serve("pty:"))).path)
        port = Port(f"serial://{path}", LakeShore336.protocol, name="lakeshore336")
        asker = Asker(port)
        await port.start()
        await asker.until(LinkState.UP)
    try:
        await asker.until(LinkState.DOWN)
        with pytest.raises(LinkDown, match="not asked, since"):
            await asker.ask("KRDG? A")
        async with Simulator().serve("pty:") as url:
            path.unlink()
            path.symlink_to(parse(url).path)
            await asker.until(LinkState.UP)
            assert await asker.ask("INCRV? A") == ["02"]
    finally:
        await port.close()


async def test_close_with_unsent_output_that_nobody_reads(line: tuple[int, str]) -> None:
    master, url = line
    loop = asyncio.get_running_loop()
    greeted = asyncio.Event()

    def greet() -> None:
        os.read(master, 64)
        os.write(master, f"{IDENTITY}\n".encode())
        loop.remove_reader(master)
        greeted.set()

    loop.add_reader(master, greet)
    hour = Lines(eol="\n", timeout=3600, identify=("ID?", "FAKE,"), max_send=1 << 21)
    async with asyncio.timeout(HANG):
        async with started(hour, url=url) as fake:
            await greeted.wait()
            # more than a pseudo-terminal takes in; what it takes tells that the exchange began
            taken = asyncio.Event()
            loop.add_reader(master, taken.set)
            asking = asyncio.create_task(fake.ask("x" * (1 << 20)))
            await taken.wait()
        with pytest.raises(LinkDown):
            await asking


async def test_noise_on_a_line_is_survived(line: tuple[int, str], monkeypatch: pytest.MonkeyPatch) -> None:
    came = asyncio.Event()
    data_received = StreamExchanger.data_received

    def watch(exchanger: StreamExchanger, data: bytes) -> None:
        data_received(exchanger, data)
        if data.endswith(b"\n\xa5"):
            came.set()

    monkeypatch.setattr(StreamExchanger, "data_received", watch)
    master, url = line
    loop = asyncio.get_running_loop()

    def answer() -> None:
        for text in os.read(master, 4096).decode().split():
            reply = IDENTITY.encode() if text == "ID?" else b"\x00\xff\xa5" if text == "A?" else b"b"
            os.write(master, reply + b"\n")

    loop.add_reader(master, answer)
    try:
        async with started(LINES, url=url) as fake:
            assert await fake.ask("A?") == ["\x00\xff\xa5"]
            os.write(master, b"\xa5\xa5\n\xa5")
            await came.wait()
            assert await fake.ask("B?") == ["b"]
    finally:
        loop.remove_reader(master)
