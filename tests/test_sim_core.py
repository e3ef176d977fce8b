"""The simulator base: clock, messages, TCP and pty servers, faults."""

import asyncio
import contextlib
import os
from collections.abc import AsyncIterator

import pytest
import serial

from labioc.sim.core import (
    Clock,
    Command,
    Faults,
    LineSimulator,
    OutOfRangeError,
    RefusedError,
    Setting,
    integer,
    real,
    significant,
    string,
)

Streams = tuple[asyncio.StreamReader, asyncio.StreamWriter]


class Motor:
    def __init__(self) -> None:
        self.speed = 1.5
        self.name = "x"


class Bench(LineSimulator):
    """Two motors; an error is answered by ERR."""

    terminator_out = b"\r\n"
    chain = ";"
    max_line = 40
    serial_line = {"baudrate": 9600, "bytesize": 8, "parity": "N"}

    def __init__(self, *, clock: Clock | None = None, faults: Faults | None = None) -> None:
        super().__init__(clock=clock, faults=faults)
        self.motors = {1: Motor(), 2: Motor()}
        self.travelled = 0.0

    settings = (
        Setting("MOT", integer(1, 9), of="motors", speed=real(0, 5, "+.2f"), name=string(4, pad=True)),
    )

    def advance(self, dt: float) -> None:
        self.travelled += self.motors[1].speed * dt

    def refused(self, reason: RefusedError) -> str:
        return "RANGE" if isinstance(reason, OutOfRangeError) else "ERR"

    @Command("POS?")
    def _pos(self) -> str:
        return f"{self.travelled:.3f}"

    @Command("ADD?", real(), real(), optional=1)
    def _add(self, a: float, b: float | None) -> str:
        return f"{a + (b or 0.0):g}"

    @Command("NOP")
    def _nop(self) -> None:
        pass


@contextlib.asynccontextmanager
async def connected(url: str) -> AsyncIterator[Streams]:
    host, port = url.removeprefix("tcp://").split(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    try:
        yield reader, writer
    finally:
        writer.close()
        with contextlib.suppress(ConnectionError):
            await writer.wait_closed()


async def exchange(streams: Streams, request: bytes, replies: int = 1) -> list[bytes]:
    reader, writer = streams
    writer.write(request)
    return [await asyncio.wait_for(reader.readline(), 10) for _ in range(replies)]


# clock


def test_a_manual_clock_moves_only_when_it_is_told() -> None:
    clock = Clock(manual=True)
    assert clock.now() == 0.0
    clock.advance(2.5)
    assert clock.now() == 2.5
    with pytest.raises(ValueError, match="can't go back by 1 s"):
        clock.advance(-1)


def test_a_running_clock_goes_at_its_speed_and_can_change_it() -> None:
    clock = Clock(speed=1e6)
    first = clock.now()
    while clock.now() - first < 1000.0:
        pass
    clock.speed = 1e-6
    slow = clock.now()
    assert 0 <= clock.now() - slow < 1.0
    with pytest.raises(RuntimeError, match="manual"):
        clock.advance(1.0)
    with pytest.raises(ValueError, match="more than 0"):
        clock.speed = 0.0


def test_the_world_follows_the_clock_in_steps() -> None:
    clock = Clock(manual=True)
    bench = Bench(clock=clock)
    clock.advance(2.0)
    assert bench.ask("POS?") == "3.000"
    clock.advance(bench.step / 2)
    assert bench.ask("POS?") == "3.000"
    clock.advance(bench.step / 2)
    assert bench.ask("POS?") == "3.075"


def test_a_long_gap_counts_as_the_longest_one() -> None:
    clock = Clock(manual=True)
    bench = Bench(clock=clock)
    clock.advance(1e9)
    assert bench.ask("POS?") == f"{1.5 * bench.longest_gap:.3f}"


# the command table


@pytest.mark.parametrize(
    ("line", "reply"),
    [
        ("MOT? 1", "+1.50,x   "),
        ("mot?1", "+1.50,x   "),
        ("MOT 1,2,ab;MOT? 1", "+2.00,ab  "),
        ("MOT 1,,ab;MOT? 1", "+1.50,ab  "),
        ("MOT 1 , 2;MOT? 1", "+2.00,x   "),
        ('MOT 1,,"a,;b";MOT? 1', "+1.50,a,;b"),
        ("MOT 1,,abcdefg;MOT? 1", "+1.50,abcd"),
        ("MOT 1,9;MOT? 1", "RANGE;+1.50,x   "),
        ("MOT? 3", "RANGE"),
        ("MOT?", "ERR"),
        ("MOT 1", "ERR"),
        ("MOT 1,fast", "ERR"),
        ("MOT 1,nan", "ERR"),
        ("MOT 1,2,a,b", "ERR"),
        ("MOT? 1,2", "ERR"),
        ("MOT 1.5,2", "RANGE"),
        ("ADD? 1,2", "3"),
        ("ADD? 1", "1"),
        ("ADD? ,2", "ERR"),
        ("ADD? 1,2,3", "ERR"),
        ("WHAT?", "ERR"),
        ("NOP", ""),
        ("NOP;POS?;NOP;ADD? 1;", "0.000;1"),
        (";;", ""),
        ("   ", ""),
        ("ADD? 1" + " " * 34, "1"),
        ("ADD? 1" + " " * 35, "ERR"),
    ],
)
def test_the_command_table(line: str, reply: str) -> None:
    assert Bench(clock=Clock(manual=True)).ask(line) == reply


def test_the_log_holds_every_command_that_came() -> None:
    bench = Bench()
    bench.ask("POS?; MOT 1,2;WHAT")
    bench.ask("NOP")
    assert list(bench.log) == ["POS?", "MOT 1,2", "WHAT", "NOP"]


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        (77.35, "+77.3500"),
        (295.1341, "+295.134"),
        (4.2, "+4.20000"),
        (0.10191, "+0.10191"),
        (0.0, "+0.00000"),
        (-0.0, "+0.00000"),
        (-195.8, "-195.800"),
        (99.99999, "+100.000"),
        (123456.7, "+123457"),
    ],
)
def test_significant_digits(value: float, shown: str) -> None:
    assert significant(6)(value) == shown


# the byte stream

LINES = b"\r\nPOS?\nADD? 1,2\r\n\r\nMOT? 2;ADD? 5\rNOP\nWHAT\n" + b"x" * 60 + b"\nADD? 7\n"
REPLIES = [b"0.000\r\n", b"3\r\n", b"+1.50,x   ;5\r\n", b"ERR\r\n", b"ERR\r\n", b"7\r\n"]


def replies_to(bench: Bench, *chunks: bytes) -> list[bytes]:
    buffer = bytearray()
    replies = []
    for chunk in chunks:
        buffer += chunk
        replies += [bench.receive(message) for message in bench.split(buffer)]
    return [reply for reply in replies if reply is not None]


@pytest.mark.parametrize("cut", range(len(LINES) + 1))
def test_the_replies_do_not_depend_on_how_the_stream_is_cut(cut: int) -> None:
    assert replies_to(Bench(clock=Clock(manual=True)), LINES[:cut], LINES[cut:]) == REPLIES


def test_one_byte_at_a_time_gives_the_same_replies() -> None:
    assert replies_to(Bench(clock=Clock(manual=True)), *(bytes([byte]) for byte in LINES)) == REPLIES


def test_a_line_without_an_end_takes_no_memory() -> None:
    bench = Bench()
    buffer = bytearray()
    for _ in range(100):
        buffer += b"x" * 10_000
        assert list(bench.split(buffer)) == []
    assert len(buffer) <= bench.max_line + 1


# TCP


async def test_tcp_answers_several_clients_from_one_state() -> None:
    bench = Bench()
    async with bench.serve("tcp://127.0.0.1:0") as url, connected(url) as one, connected(url) as two:
        one[1].write(b"MOT 2,3\n")
        assert await exchange(one, b"MOT? 2\n") == [b"+3.00,x   \r\n"]
        assert await exchange(two, b"MOT? 2\n") == [b"+3.00,x   \r\n"]
        assert await exchange(two, b"ADD? 1\nADD? 2\nADD? 3\n", 3) == [b"1\r\n", b"2\r\n", b"3\r\n"]


async def test_the_server_ends_its_connections_and_can_come_back_on_its_port() -> None:
    bench = Bench()
    async with bench.serve("tcp://127.0.0.1:0") as url, connected(url) as client:
        assert await exchange(client, b"ADD? 1\n") == [b"1\r\n"]
    for _ in range(3):
        async with bench.serve(url) as again, connected(again) as client:
            assert again == url
            assert await exchange(client, b"ADD? 1\n") == [b"1\r\n"]


async def test_a_client_sees_the_end_when_the_server_stops() -> None:
    bench = Bench()
    async with contextlib.AsyncExitStack() as stack:
        url = await stack.enter_async_context(bench.serve("tcp://127.0.0.1:0"))
        async with connected(url) as (reader, writer):
            await exchange((reader, writer), b"ADD? 1\n")
            await stack.aclose()
            with contextlib.suppress(ConnectionError):
                assert await asyncio.wait_for(reader.read(), 10) == b""
        with pytest.raises(OSError):
            async with connected(url):
                pass


async def test_a_port_in_use_is_named() -> None:
    async with Bench().serve("tcp://127.0.0.1:0") as url:
        with pytest.raises(OSError, match=f"Bench can't be served at {url}: .*in use"):
            async with Bench().serve(url):
                pass


@pytest.mark.parametrize("url", ["udp://127.0.0.1:0", "tcp://127.0.0.1", "127.0.0.1:5", "pty"])
async def test_another_url_is_refused(url: str) -> None:
    with pytest.raises(ValueError, match="a simulator is served at"):
        async with Bench().serve(url):
            pass


async def test_a_client_too_many_is_closed_until_a_place_is_free() -> None:
    bench = Bench()
    bench.max_clients = 1
    async with bench.serve("tcp://127.0.0.1:0") as url:
        async with connected(url) as first:
            assert await exchange(first, b"ADD? 1\n") == [b"1\r\n"]
            async with connected(url) as (reader, _):
                assert await asyncio.wait_for(reader.read(), 10) == b""
            assert await exchange(first, b"ADD? 2\n") == [b"2\r\n"]
        while True:  # the server needs a moment to see the first one go
            async with connected(url) as (reader, writer):
                writer.write(b"ADD? 3\n")
                with contextlib.suppress(ConnectionError):
                    if await asyncio.wait_for(reader.readline(), 10):
                        break


# pseudo-terminal


async def test_a_pty_can_be_opened_and_closed_again_and_again() -> None:
    bench = Bench()
    async with bench.serve("pty:") as url:
        assert url.startswith("serial:///dev/")
        assert url.endswith("?baudrate=9600&bytesize=8&parity=N")
        path = url.removeprefix("serial://").partition("?")[0]
        for number in range(5):
            reply = await asyncio.to_thread(ask_port, path, f"ADD? {number}\n".encode())
            assert reply == f"{number}\r\n".encode()


def ask_port(path: str, request: bytes) -> bytes:
    with serial.Serial(path, 9600, timeout=10) as port:
        port.write(request)
        reply: bytes = port.readline()
        return reply


async def test_what_a_client_left_unread_on_a_pty_is_bounded_and_not_fatal() -> None:
    bench = Bench()
    async with bench.serve("pty:") as url:
        path = url.removeprefix("serial://").partition("?")[0]

        def flood() -> None:
            port = os.open(path, os.O_RDWR | os.O_NOCTTY)
            try:
                for _ in range(20_000):
                    os.write(port, b"ADD? 1\n")
            finally:
                os.close(port)

        await asyncio.to_thread(flood)
        assert b"42" in await asyncio.to_thread(drain_and_ask, path)


def drain_and_ask(path: str) -> bytes:
    with serial.Serial(path, 9600, timeout=10) as port:
        port.reset_input_buffer()
        port.write(b"ADD? 42\n")
        reply: bytes = port.read_until(b"42\r\n")
        return reply


async def test_a_pty_leaves_no_descriptor_behind() -> None:
    before = len(os.listdir("/proc/self/fd"))
    for _ in range(3):
        async with Bench().serve("pty:"):
            pass
    assert len(os.listdir("/proc/self/fd")) == before
