"""RFC 2217: the protocol cut at every position, pyserial's server, ser2net, and servers that misbehave."""

import asyncio
import contextlib
import itertools
import logging
import os
import re
import select
import shutil
import socket
import threading
import tty
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, cast

import pytest
import serial
from hypothesis import given
from hypothesis import strategies as st
from serial.rfc2217 import PortManager

from labioc.drivers.core import rfc2217
from labioc.drivers.core.errors import AddressError, LinkDown
from labioc.drivers.core.exchanger import Exchanger
from labioc.drivers.core.framing import LineFramer
from labioc.drivers.core.line_settings import line_settings
from labioc.drivers.core.links import open_link, parse
from labioc.drivers.core.rfc2217 import (
    BINARY,
    COM_PORT,
    MAX_COMMAND,
    Agreed,
    Command,
    Telnet,
    TelnetError,
    command,
    escape,
)
from labioc.drivers.core.wire import Wire
from labioc.drivers.lakeshore336 import LakeShore336
from labioc.sim.lakeshore336 import LakeShore336 as Simulator

HANG = 20.0  # a guard against hanging, no expectation of time
ALL_BYTES = bytes(range(256))
SER2NET = shutil.which("ser2net", path=f"{os.environ.get('PATH', '')}:/usr/sbin:/usr/local/sbin")

IAC, SB, SE, WILL, WONT, DO, DONT = b"\xff", b"\xfa", b"\xf0", b"\xfb", b"\xfc", b"\xfd", b"\xfe"


@contextlib.asynccontextmanager
async def opened(url: str, serial: Mapping[str, int | str] | None = None) -> AsyncIterator[Exchanger]:
    """A link whose messages end with a line feed."""
    async with asyncio.timeout(HANG):
        exchanger = await open_link(parse(url, serial), lambda: LineFramer(b"\n"), Wire("test"))
    try:
        yield exchanger
    finally:
        await exchanger.close()


async def refusal(url: str) -> str:
    """What is said of a server that can't be had."""
    with pytest.raises(LinkDown) as caught:
        async with opened(url):
            pass
    return str(caught.value)


# Telnet, without I/O

Event = bytes | Agreed | Command


def client() -> Telnet:
    return Telnet(frozenset((BINARY, COM_PORT)))


def merged(events: list[Event]) -> list[Event]:
    found: list[Event] = []
    for event in events:
        if isinstance(event, bytes) and found and isinstance(found[-1], bytes):
            found[-1] += event
        else:
            found.append(event)
    return found


def test_a_stream_cut_at_every_position() -> None:
    events: list[Event] = [
        b"ab\xff",
        Agreed(True, COM_PORT, True),
        b"\xff\xff",
        Command(COM_PORT, b"\x65\x00\xff\xff\xf0\xfa"),
        Command(COM_PORT, b""),
        b"\r\x00\n",
        Agreed(False, BINARY, True),
        b"z",
    ]
    stream = b"".join(
        (
            b"ab\xff\xff",
            IAC + DO + b"\x2c",
            b"\xff\xff\xff\xff",
            IAC + b"\xf1",  # NOP, without effect
            IAC + SB + b"\x2c\x65\x00\xff\xff\xff\xff\xf0\xfa" + IAC + SE,
            IAC + SB + b"\x2c" + IAC + SE,
            b"\r\x00\n",
            IAC + WILL + b"\x00",
            b"z",
        )
    )
    for first, second in itertools.combinations_with_replacement(range(len(stream) + 1), 2):
        telnet = client()
        found = telnet.feed(stream[:first]) + telnet.feed(stream[first:second]) + telnet.feed(stream[second:])
        assert merged(found) == events
        assert telnet.answers() == IAC + WILL + b"\x2c" + IAC + DO + b"\x00"
    telnet = client()
    assert merged([event for byte in stream for event in telnet.feed(bytes((byte,)))]) == events


items = st.one_of(
    st.binary(min_size=1, max_size=20),
    st.builds(Command, st.integers(0, 255), st.binary(max_size=20)),
    st.sampled_from((IAC, ALL_BYTES, b"\xff\xff\xf0")),
)


@given(items=st.lists(items, max_size=8), cuts=st.lists(st.integers(0, 1000), max_size=8))
def test_what_is_encoded_is_decoded_wherever_it_is_cut(items: list[Event], cuts: list[int]) -> None:
    stream = b"".join(
        command(item.option, item.payload) if isinstance(item, Command) else escape(item)
        for item in items
        if not isinstance(item, Agreed)
    )
    places = [0, *sorted(min(cut, len(stream)) for cut in cuts), len(stream)]
    telnet = client()
    found = [event for at, end in itertools.pairwise(places) for event in telnet.feed(stream[at:end])]
    assert merged(found) == merged(items)
    assert telnet.answers() == b""


@given(
    chunks=st.lists(
        st.lists(st.sampled_from((*b"\xff\xff\xf0\xfa\xfb\xfd\x2c\x00a",))).map(bytes), max_size=9
    )
)
def test_garbage_is_data_or_a_named_error(chunks: list[bytes]) -> None:
    telnet = client()
    with contextlib.suppress(TelnetError):
        for chunk in chunks:
            telnet.feed(chunk)
    assert len(telnet.answers()) <= 3 * sum(map(len, chunks))


@pytest.mark.parametrize(
    "stream",
    [IAC + SB + b"\x2c" + b"x" * MAX_COMMAND, IAC + SB + b"\x2cab" + IAC + WILL],
    ids=["endless", "broken"],
)
def test_a_command_that_does_not_end(stream: bytes) -> None:
    with pytest.raises(TelnetError, match="no Telnet command"):
        client().feed(stream)


@pytest.mark.parametrize(
    ("came", "answer", "events"),
    [
        (DO + b"\x2c", WILL + b"\x2c", [Agreed(True, COM_PORT, True)]),
        (WILL + b"\x00", DO + b"\x00", [Agreed(False, BINARY, True)]),
        (WILL + b"\x01", DONT + b"\x01", []),
        (DO + b"\x18", WONT + b"\x18", []),
        (WONT + b"\x01", b"", []),
        (DONT + b"\x2c", b"", []),
    ],
)
def test_what_the_server_proposes(came: bytes, answer: bytes, events: list[Event]) -> None:
    telnet = client()
    assert telnet.feed(IAC + came) == events
    assert telnet.answers() == (IAC + answer if answer else b"")
    # what is so already, is not answered again: two machines would never end
    assert telnet.feed(IAC + came) == []
    assert telnet.answers() == (IAC + answer if answer and not events else b"")


def test_what_the_client_proposes() -> None:
    telnet = client()
    telnet.ask(ours=True, option=COM_PORT)
    telnet.ask(ours=False, option=BINARY)
    assert telnet.answers() == IAC + WILL + b"\x2c" + IAC + DO + b"\x00"
    assert telnet.feed(IAC + DO + b"\x2c" + IAC + WONT + b"\x00") == [
        Agreed(True, COM_PORT, True),
        Agreed(False, BINARY, False),
    ]
    assert telnet.answers() == b""
    assert telnet.feed(IAC + DONT + b"\x2c") == [Agreed(True, COM_PORT, False)]
    assert telnet.answers() == IAC + WONT + b"\x2c"


# URLs


def test_what_the_url_leaves_out_is_the_drivers() -> None:
    parts = parse(
        "rfc2217://host:2217?baudrate=19200&echo=1",
        {"baudrate": 9600, "parity": "E", "bytesize": 7, "low_latency": 1},
    )
    found = line_settings(parts)
    assert (found.baudrate, found.bytesize, found.parity, found.stopbits) == (19200, 7, "E", 1)
    assert found.echo
    assert not found.low_latency
    with pytest.raises(AddressError, match="unknown setting 'baud'"):
        parse("rfc2217://host:2217", {"baud": 9600})


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("rfc2217://host", "expected rfc2217://host:port"),
        ("rfc2217://host:2217/dev/ttyUSB0", "expected rfc2217://host:port"),
        ("rfc2217:///dev/ttyUSB0", "expected rfc2217://host:port"),
        ("rfc2217://host:2217?rs485=1", "unknown setting 'rs485'; expected one of baudrate"),
        ("rfc2217://host:2217?exclusive=1", "unknown setting 'exclusive'"),
        ("rfc2217://host:2217?rtscts=1&xonxoff=1", "expected one of xonxoff, rtscts and dsrdtr"),
        ("rfc2217://host:2217?rtscts=1&rts=0", "rts is set by the line with rtscts=1"),
        ("rfc2217://host:2217?parity=X", "parity='X'; expected N, E, O, M or S"),
    ],
)
def test_addresses_that_cannot_be_right(url: str, expected: str) -> None:
    with pytest.raises(AddressError, match=re.escape(expected)) as caught:
        parse(url)
    assert repr(url) in str(caught.value)


# pyserial's server


class Line(serial.Serial):
    """A pseudo-terminal, with the lines that it does not have."""

    cts = dsr = ri = cd = False

    def _update_rts_state(self) -> None:
        self.said.append(f"rts={self.rts:d}")

    def _update_dtr_state(self) -> None:
        self.said.append(f"dtr={self.dtr:d}")

    def _update_break_state(self) -> None:
        self.said.append(f"break={self.break_condition:d}")

    said: list[str]


class Connection:
    """What pyserial's server writes to."""

    def __init__(self, sock: socket.socket) -> None:
        self._socket = sock

    def write(self, data: bytes) -> None:
        self._socket.sendall(data)


class PyserialServer:
    """pyserial's own server for one connection after the other, in a thread."""

    def __init__(self, path: str) -> None:
        self.line = Line()
        self.line.said = []
        self.line.port = path
        self.line.timeout = 0
        self.line.open()
        self.line.said.clear()
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        self._stop, self._stopped = socket.socketpair()
        self._thread = threading.Thread(target=self._run)
        self._thread.start()

    def close(self) -> None:
        self._stop.close()
        self._thread.join(HANG)
        self._stopped.close()
        self._listener.close()
        self.line.close()

    def _run(self) -> None:
        while self._listener in select.select([self._listener, self._stopped], [], [])[0]:
            connected, _ = self._listener.accept()
            with connected, contextlib.suppress(OSError):
                self._serve(connected)

    def _serve(self, sock: socket.socket) -> None:
        manager: Any = PortManager(cast(Any, self.line), cast(Any, Connection(sock)))
        while True:
            waited_for: list[Any] = [sock, self.line.fileno(), self._stopped]
            ready = select.select(waited_for, [], [])[0]
            if self._stopped in ready:
                return
            if sock in ready:
                data = sock.recv(4096)
                if not data:
                    return
                self.line.write(b"".join(manager.filter(data)))
            if self.line.fileno() in ready:
                sock.sendall(b"".join(manager.escape(self.line.read(4096))))


@pytest.fixture
def pseudo_terminal() -> Iterator[tuple[int, str]]:
    """The instrument's end, as a descriptor, and the path of the other."""
    master, slave = os.openpty()
    tty.setraw(slave)
    yield master, os.ttyname(slave)
    os.close(slave)
    os.close(master)


@pytest.fixture
def pyserial_server(pseudo_terminal: tuple[int, str]) -> Iterator[PyserialServer]:
    server = PyserialServer(pseudo_terminal[1])
    yield server
    server.close()


async def come(master: int, size: int) -> bytes:
    """What comes at the instrument's end."""
    found = b""
    loop = asyncio.get_running_loop()
    while len(found) < size:
        readable = asyncio.Event()
        loop.add_reader(master, readable.set)
        try:
            async with asyncio.timeout(HANG):
                await readable.wait()
        finally:
            loop.remove_reader(master)
        found += os.read(master, 4096)
    return found


async def test_pyserials_server_is_set_up_and_carries_every_byte(
    pyserial_server: PyserialServer, pseudo_terminal: tuple[int, str]
) -> None:
    master, _ = pseudo_terminal
    url = f"rfc2217://127.0.0.1:{pyserial_server.port}?rts=0&dtr=1&break_on_connect=0.001&baudrate=19200"
    async with opened(url, {"baudrate": 9600, "stopbits": 2, "xonxoff": 1}) as exchanger:
        line = pyserial_server.line
        assert (line.baudrate, line.bytesize, line.parity, line.stopbits) == (19200, 8, "N", 2)
        assert line.xonxoff
        assert line.said == ["dtr=1", "rts=0", "break=1", "break=0"]
        line.xonxoff = False  # the bytes below have its own among them
        message = ALL_BYTES.replace(b"\n", b"") * 3 + b"\n"
        await exchanger.send(message)
        assert await come(master, len(message)) == message
        os.write(master, message)
        assert await exchanger.receive(HANG) == message[:-1]
        assert exchanger.resynchronise() == 0


async def test_what_an_earlier_connection_left_is_purged(
    pyserial_server: PyserialServer, pseudo_terminal: tuple[int, str]
) -> None:
    master, _ = pseudo_terminal
    os.write(master, b"late\n")
    async with opened(f"rfc2217://127.0.0.1:{pyserial_server.port}") as exchanger:
        await exchanger.send(b"Q\n")
        assert await come(master, 2) == b"Q\n"
        os.write(master, b"answer\n")
        assert await exchanger.receive(HANG) == b"answer"


async def test_what_pyserials_server_cannot_do(pyserial_server: PyserialServer) -> None:
    said = await refusal(f"rfc2217://127.0.0.1:{pyserial_server.port}?dsrdtr=1")
    assert "no answer to dsrdtr=1 (DSR), dsrdtr=1 (DTR)" in said


async def test_an_echo_behind_a_device_server(
    pyserial_server: PyserialServer, pseudo_terminal: tuple[int, str]
) -> None:
    master, _ = pseudo_terminal
    async with opened(f"rfc2217://127.0.0.1:{pyserial_server.port}?echo=1") as exchanger:
        sending = asyncio.create_task(exchanger.send(b"\xff\n"))
        os.write(master, await come(master, 2) + b"answer\n")
        await sending
        assert await exchanger.receive(HANG) == b"answer"


# Servers that misbehave

Talk = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]
AGREE = IAC + DO + b"\x2c" + IAC + DO + b"\x00" + IAC + WILL + b"\x00"
REQUEST = re.compile(rb"\xff\xfa\x2c([\x01-\x05\x0c])(.*?)\xff\xf0", re.DOTALL)


def answer(request: re.Match[bytes]) -> bytes:
    code, value = request.groups()
    return IAC + SB + b"\x2c" + bytes((code[0] + 100,)) + value + IAC + SE


class Server:
    """A server as the RFC wants it, but for what a test changes.

    Attributes:
        agree: what it says to the client's proposals.
        greeting: what it says before anything comes.
        answer: what it answers to a request.
        then: what it does with the rest.
        cut: the size of the pieces in which it sends.
    """

    def __init__(self) -> None:
        self.greeting = b""
        self.agree = AGREE
        self.answer: Callable[[re.Match[bytes]], bytes] = answer
        self.then: Talk = self.hold
        self.cut = 0

    async def hold(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read()

    async def talk(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            await self._say(writer, self.greeting)
            await reader.readuntil(IAC + WILL + b"\x2c")
            await self._say(writer, self.agree)
            request: re.Match[bytes] | None = None
            buffer = b""
            while request is None or request[1] != b"\x0c":
                data = await reader.read(1000)
                if not data:
                    return
                buffer += data
                end = 0
                for request in REQUEST.finditer(buffer):
                    await self._say(writer, self.answer(request))
                    end = request.end()
                buffer = buffer[end:]
            await self.then(reader, writer)
        except (ConnectionError, asyncio.IncompleteReadError):
            pass
        finally:
            writer.close()

    async def _say(self, writer: asyncio.StreamWriter, data: bytes) -> None:
        if not self.cut:
            writer.write(data)
        for at in range(0, len(data), self.cut or len(data)) if self.cut else ():
            writer.write(data[at : at + self.cut])
            await asyncio.sleep(0)

    @contextlib.asynccontextmanager
    async def serve(self, query: str = "") -> AsyncIterator[str]:
        server = await asyncio.start_server(self.talk, "127.0.0.1", 0)
        async with server:
            yield f"rfc2217://127.0.0.1:{server.sockets[0].getsockname()[1]}{query}"


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rfc2217, "ANSWER_TIMEOUT", 0.3)


async def echo_lines(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while line := await reader.readline():
        writer.write(line)


async def test_a_server_that_speaks_first_and_in_single_bytes() -> None:
    server = Server()
    server.greeting = AGREE + IAC + WILL + b"\x01" + IAC + DO + b"\x18"
    server.agree = b""
    server.cut = 1
    server.then = echo_lines
    async with server.serve() as url, opened(url) as exchanger:
        await exchanger.send(b"a\xff\n")
        assert await exchanger.receive(HANG) == b"a\xff"


async def test_data_that_come_right_behind_the_last_answer_are_kept_and_older_ones_are_not() -> None:
    server = Server()
    server.answer = lambda request: (
        b"old\n" + answer(request) + b"ne\xff\xffw\n"
        if request[1] == b"\x0c"
        else b"older\n" + answer(request)
    )
    async with server.serve() as url, opened(url) as exchanger:
        assert await exchanger.receive(HANG) == b"ne\xffw"
        assert exchanger.resynchronise() == 0


@pytest.mark.parametrize(
    ("code", "value", "expected"),
    [
        (1, b"\x00\x00\x25\x80", "asked for baudrate=19200, but the server has baudrate=9600"),
        (1, b"\x00\x00\xff\xff\xff\xff", "asked for baudrate=19200, but the server has baudrate=65535"),
        (1, b"", "asked for baudrate=19200, but the server has baudrate=0"),
        (2, b"\x08", "asked for bytesize=7, but the server has bytesize=8"),
        (3, b"\x01", "asked for parity=E, but the server has parity=N"),
        (3, b"\x09", r"asked for parity=E, but the server has parity=b'\t'"),
        (4, b"\x01", "asked for stopbits=2, but the server has stopbits=1"),
        (5, b"\x01", "asked for rtscts=1, but the server has no flow control"),
        (12, b"\x01", r"asked for a purge of b'\x03', but the server has a purge of b'\x01'"),
    ],
)
async def test_a_server_with_another_setting(code: int, value: bytes, expected: str) -> None:
    server = Server()
    server.answer = lambda request: (
        IAC + SB + b"\x2c" + bytes((code + 100,)) + value + IAC + SE
        if request[1][0] == code
        else answer(request)
    )
    async with server.serve("?baudrate=19200&bytesize=7&parity=E&stopbits=2&rtscts=1") as url:
        assert expected in await refusal(url)


@pytest.mark.parametrize(
    ("agree", "expected"),
    [
        (IAC + DONT + b"\x2c", "refuses RFC 2217 (Telnet's COM-PORT option)"),
        (IAC + DO + b"\x2c" + IAC + DONT + b"\x00", "refuses Telnet's BINARY option"),
        (IAC + DO + b"\x2c" + IAC + WONT + b"\x00", "refuses Telnet's BINARY option"),
        (IAC + SB + b"\x2c" + b"x" * 2000, "the server breaks Telnet"),
    ],
)
async def test_a_server_that_refuses(agree: bytes, expected: str) -> None:
    server = Server()
    server.agree = agree
    async with server.serve() as url:
        assert expected in await refusal(url)


async def test_a_server_that_refuses_before_it_is_asked() -> None:
    server = Server()
    server.greeting = IAC + DONT + b"\x2c"
    async with server.serve() as url:
        assert "refuses RFC 2217" in await refusal(url)


@pytest.mark.parametrize(
    ("agree", "expected"),
    [
        (b"", "no agreement on Telnet's COM-PORT and BINARY options: is it an RFC 2217 server?"),
        (b"raw data\n", "a port that carries nothing but data is tcp://"),
        (IAC + DO + b"\x2c", "no agreement on Telnet's COM-PORT and BINARY options"),
        (
            AGREE,
            "no answer to baudrate=9600, bytesize=8, parity=N, stopbits=1, no flow control (within 0.3 s)",
        ),
    ],
)
@pytest.mark.usefixtures("impatient")
async def test_a_server_that_is_silent(agree: bytes, expected: str) -> None:
    server = Server()
    server.agree = agree
    server.answer = lambda request: b""
    async with server.serve() as url:
        assert expected.lower() in (await refusal(url)).lower()


async def test_a_server_that_hangs_up() -> None:
    server = Server()

    async def hang_up(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.close()

    def broken(request: re.Match[bytes]) -> bytes:
        raise ConnectionError

    server.then = hang_up
    async with server.serve() as url, opened(url) as exchanger:
        with pytest.raises(LinkDown, match="the instrument closed the connection"):
            await exchanger.receive(HANG)
    server.answer = broken
    async with server.serve() as url:
        assert "the server closed the connection before the line was set up" in await refusal(url)


async def test_a_server_that_takes_back_what_it_agreed_to() -> None:
    server = Server()

    async def take_back(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readline()
        writer.write(IAC + DONT + b"\x00")
        await reader.read()

    server.then = take_back
    async with server.serve() as url, opened(url) as exchanger:
        await exchanger.send(b"go\n")
        with pytest.raises(LinkDown, match="connection lost: the server refuses Telnet's BINARY option"):
            await exchanger.receive(HANG)


async def test_a_server_that_suspends_the_flow() -> None:
    server = Server()
    came: list[bytes] = []
    resume = asyncio.Event()

    async def suspend(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(IAC + SB + b"\x2c\x6c" + IAC + SE + b"suspended\n")
        suspending = asyncio.create_task(reader.readline())
        await resume.wait()
        assert not suspending.done()
        writer.write(b"resumed\n" + IAC + SB + b"\x2c\x6d" + IAC + SE)
        came.append(await suspending)
        came.append(await reader.readline())
        writer.write(b"both came\n")

    server.then = suspend
    async with server.serve() as url, opened(url) as exchanger:
        assert await exchanger.receive(HANG) == b"suspended"
        await exchanger.send(b"one\xff\n")
        await exchanger.send(b"two\n")
        resume.set()
        assert await exchanger.receive(HANG) == b"resumed"
        assert await exchanger.receive(HANG) == b"both came"
        assert came == [b"one\xff\xff\n", b"two\n"]


async def test_errors_that_the_server_sees_on_the_line(caplog: pytest.LogCaptureFixture) -> None:
    server = Server()

    async def notify(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        for state in (0x60, 0x6C, 0x64, 0x61):
            writer.write(IAC + SB + b"\x2c\x6a" + bytes((state,)) + IAC + SE)
        writer.write(IAC + SB + b"\x2c\x6b\x30" + IAC + SE + b"done\n")
        await reader.read()

    server.then = notify
    async with server.serve() as url, opened(url) as exchanger:
        assert await exchanger.receive(HANG) == b"done"
    said = [record.getMessage() for record in caplog.records if record.levelno == logging.WARNING]
    assert [re.findall("sees (.*):", text) for text in said] == [["a framing error"], ["a wrong parity"]]


# ser2net


@contextlib.asynccontextmanager
async def ser2net(path: str, where: Path) -> AsyncIterator[str]:
    """ser2net before a serial line, when it listens."""
    assert SER2NET is not None
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
    configuration = where / "ser2net.yaml"
    configuration.write_text(
        "connection: &line\n"
        f"  accepter: telnet(rfc2217),tcp,127.0.0.1,{port}\n"
        f"  connector: serialdev,{path},9600n81,local\n"
        "  options:\n"
        "    kickolduser: true\n"
    )
    process = await asyncio.create_subprocess_exec(
        SER2NET, "-d", "-u", "-c", str(configuration), stderr=asyncio.subprocess.DEVNULL
    )
    try:
        async with asyncio.timeout(HANG):
            while True:
                with contextlib.suppress(ConnectionError):
                    _, writer = await asyncio.open_connection("127.0.0.1", port)
                    writer.close()
                    break
                await asyncio.sleep(0.01)  # it does not say when it listens
        yield f"rfc2217://127.0.0.1:{port}"
    finally:
        process.terminate()
        await process.wait()


@pytest.mark.skipif(SER2NET is None, reason="ser2net is not installed")
async def test_an_instrument_behind_ser2net(tmp_path: Path) -> None:
    async with Simulator().serve("pty:") as line, ser2net(parse(line).path, tmp_path) as url:
        # the line is a pseudo-terminal, which knows no parity
        async with LakeShore336.open(f"{url}?bytesize=8&parity=N&break_on_connect=0.01") as controller:
            assert (await controller.identity.read()).model == "MODEL336"
            await controller.outputs[1].setpoint.write(20.0)
            assert await controller.outputs[1].setpoint.read() == 20.0


@pytest.mark.skipif(SER2NET is None, reason="ser2net is not installed")
async def test_every_byte_through_ser2net(tmp_path: Path, pseudo_terminal: tuple[int, str]) -> None:
    master, path = pseudo_terminal
    message = ALL_BYTES.replace(b"\n", b"") + b"\n"
    async with ser2net(path, tmp_path) as url, opened(f"{url}?baudrate=19200") as exchanger:
        await exchanger.send(message)
        assert await come(master, len(message)) == message
        os.write(master, message)
        assert await exchanger.receive(HANG) == message[:-1]
