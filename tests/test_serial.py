"""Serial lines as they are: unplugged and plugged in again, found by identity, taken by others, echoing."""

import asyncio
import contextlib
import errno
import os
import re
import select
import shutil
import sys
import tty
from collections.abc import AsyncIterator, Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
import serial
from hypothesis import given
from hypothesis import strategies as st
from serial.tools import list_ports
from serial.tools.list_ports_common import ListPortInfo
from tests.fakes import HANG, IDENTITY, started

from labioc.drivers.core import Lines, serial_line
from labioc.drivers.core.echo import EchoFilter
from labioc.drivers.core.errors import AddressError, LinkDown, ReplyError, ReplyTimeout
from labioc.drivers.core.exchanger import Exchanger
from labioc.drivers.core.framing import LineFramer
from labioc.drivers.core.line_settings import line_settings
from labioc.drivers.core.links import check_present, open_link, parse
from labioc.drivers.core.port import LinkState
from labioc.drivers.core.wire import Wire
from labioc.drivers.lakeshore336 import LakeShore336
from labioc.sim.lakeshore336 import LakeShore336 as Simulator

HOUR = Lines(eol="\n", timeout=3600, identify=("ID?", "FAKE,"))
QUICK = Lines(eol="\n", timeout=0.3, identify=("ID?", "FAKE,"))


class Instrument:
    """An instrument on a pseudo-terminal: it answers ID?, and questions by their name in small letters.

    Attributes:
        path: of the line.
        came: what came, whole lines.
        mute: whether it does not answer.
        echo: what the line makes of what it echoes, if it does.
    """

    def __init__(self, echo: Callable[[bytes], bytes] | None = None) -> None:
        self.master, self._slave = os.openpty()
        tty.setraw(self._slave)
        self.path = os.ttyname(self._slave)
        self.came: list[str] = []
        self.mute = False
        self.echo = echo
        self.news = asyncio.Event()
        self._buffer = b""
        asyncio.get_running_loop().add_reader(self.master, self._read)

    def _read(self) -> None:
        data = os.read(self.master, 4096)
        *lines, self._buffer = (self._buffer + data).split(b"\n")
        for line in lines:
            if self.echo is not None:
                self.write(self.echo(line + b"\n"))
            text = line.decode()
            self.came.append(text)
            if not self.mute and text.endswith("?"):
                self.write((IDENTITY if text == "ID?" else text[:-1].lower()).encode() + b"\n")
        self.news.set()

    def write(self, data: bytes) -> None:
        """Let bytes come from the instrument."""
        os.write(self.master, data)

    async def until(self, text: str) -> None:
        """Wait until a line came."""
        async with asyncio.timeout(HANG):
            while text not in self.came:
                self.news.clear()
                await self.news.wait()

    def unplug(self) -> None:
        """Destroy the line."""
        if self.master >= 0:
            asyncio.get_running_loop().remove_reader(self.master)
            os.close(self._slave)
            os.close(self.master)
            self.master = -1


@pytest.fixture
async def plug() -> AsyncIterator[Callable[..., Instrument]]:
    """Make an instrument, whose line is gone after the test."""
    made: list[Instrument] = []

    def make(echo: Callable[[bytes], bytes] | None = None) -> Instrument:
        made.append(Instrument(echo))
        return made[-1]

    yield make
    for instrument in made:
        instrument.unplug()


Plug = Callable[..., Instrument]


@contextlib.asynccontextmanager
async def opened(url: str, serial: Mapping[str, int | str] | None = None) -> AsyncIterator[Exchanger]:
    async with asyncio.timeout(HANG):
        exchanger = await open_link(parse(url, serial), lambda: LineFramer(b"\n"), Wire("test"))
    try:
        yield exchanger
    finally:
        await exchanger.close()


async def refusal(url: str) -> str:
    with pytest.raises(LinkDown) as caught:
        async with opened(url):
            pass
    return str(caught.value)


# Unplugged


async def test_whoever_waits_for_a_reply_hears_at_once_that_the_line_is_unplugged(
    plug: Plug, tmp_path: Path
) -> None:
    path = tmp_path / "ttyUSB0"
    instrument = plug()
    path.symlink_to(instrument.path)
    # with an hour for a reply, only the unplugging can end the wait
    async with started(HOUR, url=f"serial://{path}") as fake:
        await fake.until(LinkState.UP)
        instrument.mute = True
        asking = asyncio.create_task(fake.ask("A?"))
        await instrument.until("A?")
        instrument.unplug()
        with pytest.raises(LinkDown, match=r"value of A\?: connection lost"):
            await asking
        await fake.until(LinkState.DOWN)
        path.unlink()
        path.symlink_to(plug().path)
        await fake.until(LinkState.UP)
        assert await fake.ask("A?") == ["a"]


async def test_a_line_is_unplugged_again_and_again_and_leaves_nothing_open(
    plug: Plug, tmp_path: Path
) -> None:
    path = tmp_path / "ttyUSB0"
    instrument = plug()
    path.symlink_to(instrument.path)
    held = []
    async with started(QUICK, url=f"serial://{path}") as fake:
        await fake.until(LinkState.UP)
        for _ in range(4):
            held.append(len(os.listdir("/proc/self/fd")))
            instrument.unplug()
            await fake.until(LinkState.DOWN)
            path.unlink()
            instrument = plug()
            path.symlink_to(instrument.path)
            await fake.until(LinkState.UP)
            assert await fake.ask("A?") == ["a"]
    assert len(set(held)) == 1


# The identity of a USB device


class Bus:
    """What is plugged in, as pyserial lists it."""

    def __init__(self) -> None:
        self.ports: list[ListPortInfo] = []
        self.looked = 0

    def plug(self, device: str, **identity: int | str | None) -> None:
        port = ListPortInfo(device)
        for key, value in identity.items():
            setattr(port, key, value)
        self.ports.append(port)

    def comports(self) -> list[ListPortInfo]:
        self.looked += 1
        return self.ports


@pytest.fixture
def bus(monkeypatch: pytest.MonkeyPatch) -> Bus:
    bus = Bus()
    monkeypatch.setattr(list_ports, "comports", bus.comports)
    return bus


FTDI: dict[str, int | str] = {"vid": 0x0403, "pid": 0x6001}


async def test_a_device_plugged_in_under_another_name_is_found_by_its_identity(plug: Plug, bus: Bus) -> None:
    first = plug()
    bus.plug("/dev/ttyS0")
    bus.plug(first.path, **FTDI, serial_number="FT123", location="1-1")
    bus.plug("/dev/null", **FTDI, serial_number="FT999", location="1-2")
    async with started(QUICK, url="serial:///?vid=0403&pid=6001&serial_number=FT123") as fake:
        await fake.until(LinkState.UP)
        first.unplug()
        await fake.until(LinkState.DOWN)
        bus.ports.pop(1)
        second = plug()
        third = plug()
        assert third.path != first.path
        second.unplug()
        bus.plug(third.path, **FTDI, serial_number="FT123", location="2-7")
        await fake.until(LinkState.UP)
        assert await fake.ask("A?") == ["a"]
        assert "A?" in third.came


@pytest.mark.parametrize(
    ("query", "index"),
    [
        ("vid=0x0403&pid=6010&location=1-2", 2),
        ("location=1-2:1.0", 2),
        ("vid=067B", 3),
        ("pid=6001", 0),
        ("interface=Port%20A", 2),
        ("serial_number=A%2B1", 3),
    ],
)
async def test_every_part_of_an_identity_finds(plug: Plug, bus: Bus, query: str, index: int) -> None:
    instruments = [plug() for _ in range(4)]
    bus.plug(instruments[0].path, **FTDI, location="1-1.2")
    bus.plug("/dev/ttyS1")
    bus.plug(instruments[1].path, vid=0x1A86, pid=0x7523, location="1-20:1.0")
    bus.plug(instruments[2].path, vid=0x0403, pid=0x6010, location="1-2:1.0", interface="Port A")
    bus.plug(instruments[3].path, vid=0x067B, pid=0x2303, location="1-3", serial_number="A+1")
    async with opened(f"serial:///?{query}") as exchanger:
        await exchanger.send(b"A?\n")
        assert await exchanger.receive(HANG) == b"a"
    assert [instrument.came for instrument in instruments] == [
        ["A?"] if at == index else [] for at in range(4)
    ]


async def test_a_device_that_is_not_there_or_not_the_only_one(bus: Bus) -> None:
    url = "serial:///?vid=0403&pid=6001&serial_number=FT123"
    assert "no USB device with vid=0403 pid=6001 serial_number=FT123; there is none at all" in await refusal(
        url
    )
    bus.plug("/dev/ttyS0")
    bus.plug("/dev/ttyUSB1", **FTDI, serial_number="FT9", location="1-2")
    assert "there is /dev/ttyUSB1 (vid=0403 pid=6001 serial_number=FT9 location=1-2)" in await refusal(url)
    bus.plug("/dev/ttyUSB0", **FTDI, serial_number="FT8", location="1-1")
    said = await refusal("serial:///?vid=0403")
    assert "2 USB devices with vid=0403; there are /dev/ttyUSB0 (vid=0403 pid=6001 serial_number=FT8" in said
    assert said.endswith("serial_number= or location= would tell them apart")
    bus.ports = [bus.ports[1]] * 2
    assert (await refusal("serial:///?vid=0403")).endswith("nothing but their paths tells them apart")


async def test_a_device_that_vanishes_while_it_is_looked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    def vanish() -> list[ListPortInfo]:
        raise TypeError("int() can't convert None")

    monkeypatch.setattr(list_ports, "comports", vanish)
    assert "cannot look for the USB device with vid=0403: TypeError" in await refusal("serial:///?vid=0403")


def test_an_identity_is_waited_for_also_at_the_start(bus: Bus) -> None:
    check_present("serial:///?serial_number=FT123")
    assert bus.looked == 0


# URLs


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("serial:///dev/ttyUSB0?vid=0403", "a path and vid: expected either a path or the identity"),
        (
            "serial:///?baudrate=9600",
            "expected serial:///dev/... (three slashes, then the path), or serial:///?vid=",
        ),
        ("serial:///?vid=FTDI", "vid='FTDI'; expected hexadecimal digits, as in 0403"),
        ("serial:///?pid=12345", "pid='12345'; expected hexadecimal digits"),
        ("serial:///?serial_number=", "serial_number=''; expected a text"),
        ("serial:///dev/x?baudrate=9600&baudrate=19200", "baudrate is said twice"),
        ("serial:///dev/x?break_on_connect=5", "break_on_connect='5'; expected 0.001 to 1 s"),
        ("serial:///dev/x?break_on_connect=nan", "break_on_connect='nan'; expected"),
        ("serial:///dev/x?rts_level_for_tx=1", "rts_level_for_tx goes with rs485=1"),
        ("serial:///dev/x?rs485=1&delay_before_tx=0.0005", "expected 0 to 0.1 s in steps of 0.001"),
        ("serial:///dev/x?rs485=1&rtscts=1", "rs485=1 and rtscts=1 both want RTS"),
        ("serial:///dev/x?rs485=1&rts=0", "rts is set by the line with rs485=1"),
        ("serial:///dev/x?rtscts=1&rts=0", "rts is set by the line with rtscts=1"),
        ("serial:///dev/x?dsrdtr=1&dtr=0", "dtr is set by the line with dsrdtr=1"),
        ("tcp://10.0.0.12:7777?baudrate=9600", "unknown setting 'baudrate'; expected one of echo"),
        ("tcp://10.0.0.12:7777?echo=yes", "echo='yes'; expected 0 or 1"),
    ],
)
def test_settings_that_cannot_be_right(url: str, expected: str) -> None:
    with pytest.raises(AddressError, match=re.escape(expected)) as caught:
        parse(url)
    assert repr(url) in str(caught.value)


def test_the_drivers_settings_are_for_what_a_url_leaves_out() -> None:
    parts = parse("serial:///?vid=0403&parity=N", {"parity": "O", "bytesize": 7})
    found = line_settings(parts)
    assert (found.vid, found.parity, found.bytesize) == (0x0403, "N", 7)
    assert parse("tcp://h:1", {"parity": "O"}) == parse("tcp://h:1")


# Opening


async def test_who_else_has_the_line(plug: Plug) -> None:
    instrument = plug()
    program = (
        "import serial, sys; line = serial.Serial(sys.argv[1], exclusive=True); print(flush=True); input()"
    )
    other = await asyncio.create_subprocess_exec(
        sys.executable,
        "-c",
        program,
        instrument.path,
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
    )
    try:
        assert other.stdout is not None
        async with asyncio.timeout(HANG):
            await other.stdout.readline()
        said = await refusal(f"serial://{instrument.path}")
        assert re.search(rf"{instrument.path} is in use by .*python\S* \(process {other.pid}\)", said)
        async with opened(f"serial://{instrument.path}?exclusive=0"):
            pass
    finally:
        await other.communicate(b"\n")
    async with opened(f"serial://{instrument.path}"):
        assert "is in use by this program itself" in await refusal(f"serial://{instrument.path}")
    async with opened(f"serial://{instrument.path}"):
        pass


@pytest.mark.parametrize(
    ("code", "expected"),
    [
        (errno.EACCES, "no permission to open {path} (is the user in the group dialout?)"),
        (errno.EBUSY, "{path} is in use by "),
        (errno.ENXIO, "there is no device {path}"),
        (errno.ENOMEM, "cannot open {path}: "),
    ],
)
async def test_why_a_line_does_not_open(
    plug: Plug, monkeypatch: pytest.MonkeyPatch, code: int, expected: str
) -> None:
    instrument = plug()
    really_open = os.open

    def refuse(path: str, *args: Any, **kwargs: Any) -> int:
        if path == instrument.path:
            raise OSError(code, os.strerror(code))
        return really_open(path, *args, **kwargs)

    monkeypatch.setattr(os, "open", refuse)
    assert expected.format(path=instrument.path) in await refusal(f"serial://{instrument.path}")


async def test_a_file_is_no_serial_line(tmp_path: Path) -> None:
    (tmp_path / "notes").write_text("")
    assert "notes is no serial line" in await refusal(f"serial://{tmp_path}/notes")


async def test_a_line_without_rs485(plug: Plug) -> None:
    said = await refusal(f"serial://{plug().path}?rs485=1")
    assert "has no RS-485 mode in its driver; expected one for rs485=1" in said


class Recorded:
    """What pyserial does to a line, in its order."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.done: list[str] = []
        self.rs485: Any = None
        self.fail: int | None = None
        stock_open = serial.Serial.open

        def open_line(line: serial.Serial) -> None:
            stock_open(line)
            self.done.append("open")

        def set_rs485(line: serial.Serial, settings: Any) -> None:
            self.rs485 = settings

        monkeypatch.setattr(serial.Serial, "open", open_line)
        monkeypatch.setattr(serial.Serial, "_set_rs485_mode", set_rs485)
        for name in ("rts", "dtr", "break"):
            monkeypatch.setattr(serial.Serial, f"_update_{name}_state", self._noted(name))

    def _noted(self, name: str) -> Callable[[serial.Serial], None]:
        def note(line: serial.Serial) -> None:
            self.done.append(f"{name}={getattr(line, f'_{name}_state'):d}")
            if self.fail is not None:
                raise OSError(self.fail, os.strerror(self.fail))

        return note


@pytest.fixture
def recorded(monkeypatch: pytest.MonkeyPatch) -> Recorded:
    return Recorded(monkeypatch)


async def test_levels_before_the_line_is_open_and_a_break_after(plug: Plug, recorded: Recorded) -> None:
    async with opened(f"serial://{plug().path}?rts=0&dtr=1&break_on_connect=0.001&low_latency=1"):
        assert recorded.done == ["dtr=1", "rts=0", "open", "break=1", "break=0"]


async def test_a_real_line_without_rts(
    plug: Plug, recorded: Recorded, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(serial_line, "_PSEUDO_TERMINALS", ())
    recorded.fail = errno.ENOTTY
    assert "can't set RTS or DTR" in await refusal(f"serial://{plug().path}?rts=0")


async def test_rs485_as_the_url_says(plug: Plug, recorded: Recorded) -> None:
    query = "rs485=1&rts_level_for_tx=0&rts_level_for_rx=1&delay_before_tx=0.001&delay_before_rx=0.02"
    async with opened(f"serial://{plug().path}?{query}"):
        assert vars(recorded.rs485) == {
            "rts_level_for_tx": False,
            "rts_level_for_rx": True,
            "loopback": False,
            "delay_before_tx": 0.001,
            "delay_before_rx": 0.02,
        }
    async with opened(f"serial://{plug().path}?rs485=1&echo=1"):
        assert recorded.rs485.loopback


async def test_a_line_whose_break_fails_is_closed_again(plug: Plug, recorded: Recorded) -> None:
    instrument = plug()
    recorded.fail = errno.ENOTTY
    assert "send a break" in await refusal(f"serial://{instrument.path}?break_on_connect=0.001")
    recorded.fail = None
    async with opened(f"serial://{instrument.path}"):
        pass


async def test_a_line_that_takes_nothing_does_not_stop_the_loop(plug: Plug) -> None:
    instrument = plug()
    asyncio.get_running_loop().remove_reader(instrument.master)
    async with opened(f"serial://{instrument.path}") as exchanger:
        await exchanger.send(b"x" * 60000)
        taken = b""
        while len(taken) < 60000:
            await asyncio.sleep(0)
            taken += os.read(instrument.master, 4096) if _is_readable(instrument.master) else b""
        assert taken == b"x" * 60000
    asyncio.get_running_loop().add_reader(instrument.master, lambda: None)


def _is_readable(descriptor: int) -> bool:
    return bool(select.select([descriptor], [], [], 0)[0])


# The echo of a half-duplex line


@given(
    messages=st.lists(
        st.tuples(st.binary(min_size=1, max_size=6), st.binary(max_size=6)), min_size=1, max_size=6
    ),
    cuts=st.lists(st.integers(0, 12), max_size=12),
    old=st.binary(max_size=6),
)
def test_an_echo_cut_anywhere_is_taken_out(
    messages: list[tuple[bytes, bytes]], cuts: list[int], old: bytes
) -> None:
    echo = EchoFilter()
    sizes = iter(cuts)

    def feed(data: bytes) -> bytes:
        found = b""
        while data:
            size = next(sizes, len(data)) or 1
            found += echo.feed(data[:size])
            data = data[size:]
        return found

    # what is old comes before the first echo; as long as it does not hold the message, it is dropped
    first = messages[0][0]
    if (old + first).find(first) == len(old):
        echo.sent(first)
        assert feed(old + first) == b""
        assert not echo.waits
    else:
        echo.sent(first)
        assert feed(first) == b""
    for message, reply in messages:
        echo.sent(message)
        assert feed(message + reply) == reply
        assert not echo.waits


@given(
    message=st.binary(min_size=1, max_size=8), came=st.binary(min_size=1, max_size=12), cut=st.integers(0, 12)
)
def test_anything_but_the_echo_is_an_error(message: bytes, came: bytes, cut: int) -> None:
    echo = EchoFilter()
    echo.sent(b"first")
    assert echo.feed(b"first") == b""
    echo.sent(message)
    if came.startswith(message) or message.startswith(came):
        assert echo.feed(came[:cut]) + echo.feed(came[cut:]) == came[len(message) :]
        return
    with pytest.raises(ReplyError) as caught:  # noqa: PT012 - either piece may show it
        echo.feed(came[:cut])
        echo.feed(came[cut:])
    assert f"expected the echo of {message!r} first, got " in str(caught.value)
    # the next message is looked for behind what is left of it
    echo.sent(b"message")
    assert echo.feed(b"left") + echo.feed(b"overmess") + echo.feed(b"ageanswer") == b"answer"


async def test_an_adapter_that_echoes(plug: Plug) -> None:
    instrument = plug(bytes)
    async with started(QUICK, url=f"serial://{instrument.path}?echo=1") as fake:
        await fake.until(LinkState.UP)
        assert await fake.ask("A?") == ["a"]
        await fake.tell("SET 1")
        assert await fake.ask("B?", "C?") == ["b", "c"]
        assert instrument.came[-4:] == ["A?", "SET 1", "B?", "C?"]


async def test_a_command_that_the_bus_garbles_is_not_done(plug: Plug) -> None:
    instrument = plug(bytes)
    async with started(QUICK, url=f"serial://{instrument.path}?echo=1") as fake:
        await fake.until(LinkState.UP)
        instrument.echo = lambda message: b"SEX 1\n" if message == b"SET 1\n" else message
        with pytest.raises(ReplyError, match=r"expected the echo of b'SET 1\\n' first, got b'SEX 1\\n'"):
            await fake.tell("SET 1")
        assert await fake.ask("A?", urgent=True) == ["a"]
        # what comes before the next echo is no answer to the next question
        instrument.echo = lambda message: b"late\n" + message if message == b"B?\n" else message
        with pytest.raises(ReplyError, match=r"expected the echo of b'B\?\\n' first, got b'late"):
            await fake.ask("B?", urgent=True)
        assert await fake.ask("C?", urgent=True) == ["c"]


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("labioc.drivers.core.echo.SILENCE", 0.2)


@pytest.mark.usefixtures("impatient")
async def test_an_adapter_that_does_not_echo(plug: Plug) -> None:
    async with started(QUICK, url=f"serial://{plug().path}?echo=1") as fake:
        assert isinstance(fake.port.error, ReplyError)
        assert r"expected the echo of b'ID?\n' first, got b'FAKE,1\n'" in str(fake.port.error)


@pytest.mark.usefixtures("impatient")
async def test_a_line_without_even_an_echo(plug: Plug) -> None:
    instrument = plug(lambda message: b"")
    instrument.mute = True
    async with started(QUICK, url=f"serial://{instrument.path}?echo=1") as fake:
        assert isinstance(fake.port.error, ReplyTimeout)
        assert r"not even the echo of b'ID?\n' came" in str(fake.port.error)


@pytest.mark.usefixtures("impatient")
async def test_an_echo_that_stops_and_a_line_lost_in_the_middle(plug: Plug) -> None:
    instrument = plug(lambda message: message[:3])
    instrument.mute = True
    async with opened(f"serial://{instrument.path}?echo=1") as exchanger:
        with pytest.raises(ReplyError, match="expected the echo of b'VALUE\\\\n' first, got b'VAL'"):
            await exchanger.send(b"VALUE\n")
        instrument.echo = lambda message: b""
        sending = asyncio.create_task(exchanger.send(b"A?\n"))
        await instrument.until("A?")
        instrument.unplug()
        with pytest.raises(LinkDown, match="connection lost"):
            await sending


async def test_an_echo_over_tcp() -> None:
    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while line := await reader.readline():
            writer.write(line + line.lower())
        writer.close()

    server = await asyncio.start_server(talk, "127.0.0.1", 0)
    host, port = server.sockets[0].getsockname()
    async with server, opened(f"tcp://{host}:{port}?echo=1") as exchanger:
        await exchanger.send(b"A?\n")
        assert await exchanger.receive(HANG) == b"a?"


@pytest.mark.parametrize("where", ["tcp://127.0.0.1:0", "pty:"])
async def test_an_instrument_on_a_line_that_echoes(where: str) -> None:
    simulator = Simulator()
    simulator.faults.add("echo")
    async with simulator.serve(where) as url:
        async with LakeShore336.open(f"{url}{'&' if '?' in url else '?'}echo=1") as controller:
            await controller.outputs[1].setpoint.write(20.0)
            assert await controller.outputs[1].setpoint.read() == 20.0
            assert controller.port.statistics.errors == {}


# A device server that carries nothing but data


@pytest.mark.skipif(shutil.which("socat") is None, reason="socat is not installed")
async def test_an_instrument_behind_socat(plug: Plug) -> None:
    instrument = plug()
    process = await asyncio.create_subprocess_exec(
        "socat",
        "-d",
        "-d",
        "tcp-listen:0,bind=127.0.0.1",
        f"{instrument.path},raw",
        stderr=asyncio.subprocess.PIPE,
    )
    assert process.stderr is not None
    try:
        async with asyncio.timeout(HANG):
            port = None
            while port is None:
                line = await process.stderr.readline()
                assert line, "socat ended"
                port = re.search(rb"listening on AF=2 127\.0\.0\.1:(\d+)", line)
        async with opened(f"tcp://127.0.0.1:{int(port[1])}") as exchanger:
            await exchanger.send(b"A?\n")
            assert await exchanger.receive(HANG) == b"a"
    finally:
        with contextlib.suppress(ProcessLookupError):
            process.terminate()
        await process.communicate()
