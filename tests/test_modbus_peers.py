"""pymodbus' own client against the simulators, and its own server against the drivers."""

import asyncio
import struct
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from typing import Any
from urllib.parse import urlsplit

import pytest
from pymodbus import FramerType
from pymodbus.client import AsyncModbusSerialClient, AsyncModbusTcpClient
from pymodbus.datastore import ModbusDeviceContext, ModbusServerContext, ModbusSparseDataBlock
from pymodbus.server import ModbusTcpServer

from labioc.drivers.core.errors import ReadingInvalid
from labioc.drivers.eurotherm import Mode
from labioc.drivers.eurotherm2400 import Eurotherm2400
from labioc.drivers.eurotherm3200 import Eurotherm3200
from labioc.sim import eurotherm2400, eurotherm3200, eurotherm3500
from labioc.sim.core import Clock
from labioc.sim.eurotherm import CONFIGURATION, Eurotherm
from labioc.sim.modbus import ModbusSimulator, crc

UNIT: dict[str, Any] = {"device_id": 1}


@asynccontextmanager
async def peer(sim: ModbusSimulator, how: str) -> AsyncIterator[Any]:
    """Connect pymodbus' client."""
    async with sim.serve("pty:" if how == "pty" else "tcp://127.0.0.1:0") as url:
        parts = urlsplit(url)
        client: Any
        if how == "pty":
            client = AsyncModbusSerialClient(parts.path, framer=FramerType.RTU, timeout=1, retries=0)
        else:
            framer = FramerType.RTU if how == "rtu over tcp" else FramerType.SOCKET
            client = AsyncModbusTcpClient(
                "127.0.0.1", port=parts.port or 0, framer=framer, timeout=1, retries=0
            )
        await client.connect()
        try:
            yield client
        finally:
            client.close()


def number(registers: list[int]) -> float:
    return float(struct.unpack(">f", struct.pack(">HH", *registers))[0])


@pytest.mark.parametrize("how", ["tcp", "rtu over tcp", "pty"])
@pytest.mark.parametrize(
    "kind", [eurotherm2400.Eurotherm2400, eurotherm3200.Eurotherm3200, eurotherm3500.Eurotherm3500]
)
async def test_pymodbus_reads_and_writes(kind: type[Eurotherm], how: str) -> None:
    sim = kind()
    sim.load.temperature = sim.element.temperature = 100.0 + 273.15
    async with peer(sim, how) as client:
        await client.write_register(2, 1234, **UNIT)
        assert sim.target == 123.4
        read = await client.read_holding_registers(1, count=2, **UNIT)
        assert read.registers[1] == 1234
        assert read.registers[0] == pytest.approx(1000, abs=5)
        assert (await client.read_input_registers(1, count=2, **UNIT)).registers[1] == 1234
        wide = await client.read_holding_registers(0x8000 + 2 * 2, count=2, **UNIT)
        assert number(wide.registers) == pytest.approx(123.4)
        high, low = struct.unpack(">HH", struct.pack(">f", 88.5))
        await client.write_registers(0x8000 + 2 * 24, [high, low], **UNIT)
        assert sim.target == 88.5
        seconds = await client.read_holding_registers(0x8000 + 2 * 8, count=2, **UNIT)
        assert seconds.registers[0] << 16 | seconds.registers[1] == 120_000
        padded = await client.read_holding_registers(0x8000 + 2 * 273, count=2, **UNIT)
        assert padded.registers == [0, 0x8000]
        negative = await client.write_register(27, 0x10000 - 15, **UNIT)
        assert not negative.isError()
        assert sim.trim == -1.5
        echoed = await client.diag_query_data(b"\x12\x34", **UNIT)
        assert not echoed.isError()


@pytest.mark.parametrize(
    "kind", [eurotherm2400.Eurotherm2400, eurotherm3200.Eurotherm3200, eurotherm3500.Eurotherm3500]
)
async def test_pymodbus_is_refused(kind: type[Eurotherm]) -> None:
    sim = kind()
    async with peer(sim, "pty") as client:
        assert (await client.write_register(2, 20000, **UNIT)).exception_code == 3  # beyond the limit
        assert (await client.write_register(1, 1, **UNIT)).exception_code == 3  # read-only
        assert (
            await client.write_register(0x8004, 1, **UNIT)
        ).exception_code == 2  # 6.1: no function 6 there
        assert (await client.write_register(525, 2, **UNIT)).exception_code == 3  # not in operating mode
        await client.write_register(199, CONFIGURATION, **UNIT)
        assert not (await client.write_register(525, 2, **UNIT)).isError()
        assert (await client.read_holding_registers(2, count=1, **UNIT)).registers == [2500]


async def test_the_2400_knows_bits_and_the_fast_status_and_nothing_else() -> None:
    sim = eurotherm2400.Eurotherm2400()
    sim.sensor_broken = True
    async with peer(sim, "pty") as client:
        await client.write_coil(2, True, **UNIT)
        bits = await client.read_coils(2, count=14, **UNIT)
        assert [n + 2 for n, state in enumerate(bits.bits) if state] == [2, 10]  # 3.13
        status = await client.read_exception_status(**UNIT)
        assert status.status & 0x30 == 0x30  # 3.17


async def test_two_words_as_the_manual_has_them() -> None:
    """HA026230, 3.14, verbatim: with full and with integer resolution."""
    sim = eurotherm2400.Eurotherm2400(unit=2, clock=Clock(manual=True))
    sim.load.temperature, sim.setpoints[0] = 17.8 + 273.15, 21.6
    ask = bytes.fromhex("02 03 00 01 00 02 95 F8")
    assert sim.receive(ask) == bytes.fromhex("02 03 04 00 B2 00 D8 69 4E")
    sim.resolution = eurotherm2400.INTEGER_RESOLUTION
    assert sim.receive(ask) == bytes.fromhex("02 03 04 00 12 00 16 E8 F8")


@pytest.mark.parametrize(
    ("section", "request_", "reply"),
    [
        ("3.15", "02 05 00 02 01 00 6D A9", "02 05 00 02 01 00 6D A9"),
        ("3.16", "02 06 00 02 00 FA A8 7A", "02 06 00 02 00 FA A8 7A"),
        ("3.18", "02 08 00 00 12 34 ED 4F", "02 08 00 00 12 34 ED 4F"),
        ("3.19", "02 10 00 A4 00 03 06 00 7B 00 96 00 FA 20 71", "02 10 00 A4 00 03 C1 D8"),
    ],
)
def test_the_2400_answers_as_the_manual_prints_it(section: str, request_: str, reply: str) -> None:
    sim = eurotherm2400.Eurotherm2400(unit=2)
    assert sim.receive(bytes.fromhex(request_)) == bytes.fromhex(reply), section


def test_silence() -> None:
    sim = eurotherm2400.Eurotherm2400(unit=2)
    buffer = bytearray.fromhex("02 03 00 01 00 02 95 F9")
    assert list(sim.split(buffer)) == []  # the checksum is wrong
    buffer += bytes.fromhex("02 03 00 01 00 02 95 F8")
    assert [frame.hex() for frame in sim.split(buffer)] == ["02030001000295f8"]
    assert sim.receive(bytes.fromhex("13 01 00 02 00 0E 1F 7C")) is None  # another unit
    assert sim.answer(bytes.fromhex("11")) is None  # 3.12: not a function of its own
    broadcast = bytes.fromhex("00 06 00 02 00 FA")
    assert sim.receive(broadcast + crc(broadcast)) is None
    assert sim.target == 25.0


def over_tcp(pdu: str, *, protocol: int = 0, length: int | None = None) -> bytes:
    body = b"\1" + bytes.fromhex(pdu)
    return struct.pack(">HHH", 7, protocol, len(body) if length is None else length) + body


@pytest.mark.parametrize(
    ("pdu", "reply"),
    [
        # MODBUS Application Protocol V1.1b3, section 6 and 7
        ("03 00 01 00 00", "83 03"),
        ("03 00 01 00 7E", "83 03"),
        ("04 00 01 00 7E", "84 03"),
        ("03 FF FF 00 02", "83 02"),
        ("03 00 01", "83 03"),
        ("03 00 01 00 01 00", "83 03"),
        ("03 23 00 00 01", "83 02"),
        ("06 23 00 00 01", "86 02"),
        ("10 23 00 00 01 02 00 01", "90 02"),
        ("10 00 18 00 01 03 00 01 02", "90 03"),
        ("10 00 18 00 00 00", "90 03"),
        ("10 00 18 00 7C F8" + 248 * "00", "90 03"),
        ("08 00 01 00 00", "88 01"),
        ("01 00 02 00 01", "81 01"),
        ("11", "91 01"),
        ("16 00 02 FF FF 00 00", "96 01"),
        ("17 00 01 00 01 00 18 00 01 02 00 FA", "97 01"),
        ("2B 0E 01 00", "AB 01"),
    ],
)
def test_what_the_3500_refuses(pdu: str, reply: str) -> None:
    sim = eurotherm3500.Eurotherm3500(clock=Clock(manual=True))
    request = b"\1" + bytes.fromhex(pdu)
    (message,) = sim.split(bytearray(over_tcp(pdu)))
    assert (sim.receive(message) or b"")[7:] == bytes.fromhex(reply)
    for message in sim.split(bytearray(request + crc(request))):
        assert (sim.receive(message) or b"")[1:-2] == bytes.fromhex(reply)
    assert sim.setpoints == [25.0, 50.0]


@pytest.mark.parametrize(
    ("pdu", "reply"),
    [
        ("01 00 02 00 00", "81 03"),
        ("01 00 02 07 D1", "81 03"),
        ("02 FF FF 00 02", "82 02"),
        ("05 00 02 12 34", "85 03"),
        ("05 00 02 FF 01", "85 03"),
        ("05 00 02 FF 00", "05 00 02 FF 00"),
        ("05 00 02 00 00", "05 00 02 00 00"),
        ("10 27 0F 00 01 02 00 01", "10 27 0F 00 01"),  # 3.19: what isn't configured is dropped
        ("06 27 0F 00 01", "86 03"),  # 5.1
        ("08 00 01 00 00", None),  # 3.18: code 0 only
    ],
)
def test_what_the_2400_refuses(pdu: str, reply: str | None) -> None:
    sim = eurotherm2400.Eurotherm2400()
    assert sim.answer(bytes.fromhex(pdu)) == (None if reply is None else bytes.fromhex(reply))


@pytest.mark.parametrize(
    "before",
    [
        over_tcp("03 00 01 00 01", protocol=5),
        over_tcp("", length=0),
        over_tcp("03 00 01 00 01", length=3000),
        b"GET / HTTP/1.1\r\n\r\n",
    ],
)
def test_after_what_is_no_frame_the_next_ones_are_found(before: bytes) -> None:
    sim = eurotherm3500.Eurotherm3500()
    buffer = bytearray(before)
    assert list(sim.split(buffer)) == []
    right = over_tcp("03 00 01 00 02")
    buffer += 2 * right
    assert list(sim.split(buffer)) == [right, right]
    assert not buffer


def test_frames_may_be_cut_anywhere() -> None:
    sim = eurotherm3500.Eurotherm3500()
    body = bytes.fromhex("01 10 00 00 00 02 04 00 FA 00 FB")
    for frame in (body + crc(body), over_tcp("10 00 00 00 02 04 00 FA 00 FB")):
        for cut in range(len(frame)):
            buffer = bytearray(frame[:cut])
            assert list(sim.split(buffer)) == []
            buffer += frame[cut:]
            assert list(sim.split(buffer)) == [frame], cut


async def test_the_3500_has_a_second_loop_with_an_oven_of_its_own() -> None:
    sim = eurotherm3500.Eurotherm3500(clock=Clock(manual=True))
    sim.room.temperature = 20.0 + 273.15
    async with peer(sim, "pty") as client:

        async def read(register: int) -> int:
            found: int = (await client.read_holding_registers(register, count=1, **UNIT)).registers[0]
            return found

        for register in (289, 1313, 370, 373, 379, 273, 5, 1029, 35, 78, 85, 1109, 268, 10213, 10241):
            await read(register)
        await client.write_registers(1024 + 24, [1500], **UNIT)
        assert (await read(2), await read(1026)) == (250, 1500)
        sim.clock.advance(1800.0)
        assert await read(1025) == pytest.approx(1500, abs=20)
        assert await read(1) == pytest.approx(250, abs=20)
        await client.write_register(1024 + 268, 1, **UNIT)
        sim.clock.advance(1.0)
        assert await read(1109) == 0
        assert (await client.write_register(1024 + 24, 20000, **UNIT)).exception_code == 3


# pymodbus' server


@asynccontextmanager
async def server(values: dict[int, int], framer: FramerType) -> AsyncIterator[str]:
    """Serve holding registers by pymodbus."""
    # what the driver asks for, in both areas
    numbers = [n for first in (0, 0x8000) for n in range(first, first + 600) if n <= max(values)]
    words = {number: values.get(number, 0) for number in numbers}
    device = ModbusDeviceContext(hr=ModbusSparseDataBlock(words))  # type: ignore[no-untyped-call]
    made: Any = ModbusTcpServer(
        ModbusServerContext(devices=device, single=True), framer=framer, address=("127.0.0.1", 0)
    )
    task = asyncio.create_task(made.serve_forever())
    try:
        while not (made.transport and getattr(made.transport, "sockets", None)):
            await asyncio.wait([task], timeout=0.01)
        port = made.transport.sockets[0].getsockname()[1]
        yield f"tcp://127.0.0.1:{port}" + ("?framing=rtu" if framer is FramerType.RTU else "")
    finally:
        await made.shutdown()
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task


INTEGERS = {
    1: 215,
    2: 300,
    3: 455,
    4: 455,
    5: 290,
    6: 600,
    8: 120,
    9: 20,
    35: 50,
    273: 0,
    122: 0xE163,
    525: 1,
}


@pytest.mark.parametrize("framer", [FramerType.SOCKET, FramerType.RTU])
async def test_our_driver_at_pymodbus_server(framer: FramerType) -> None:
    async with server(INTEGERS, framer) as url, Eurotherm3200.open(url, address="1") as driver:
        await driver.read_together(driver.readbacks())
        wrong = {r.label: r.error for r in driver.readbacks() if r.error is not None}
        assert list(wrong) == ["rate_units"]  # 531 isn't there
        assert isinstance(wrong["rate_units"], ReadingInvalid)
        assert "exception 2: illegal data address" in str(wrong["rate_units"])
        assert driver.temperature.value == 21.5
        assert driver.working_output.value == 45.5
        await driver.target.write(77.7)
        assert driver.target.value == 77.7
        await driver.mode.write(Mode.MANUAL)
        assert await driver.mode.read() is Mode.MANUAL


@pytest.mark.parametrize("framer", [FramerType.SOCKET, FramerType.RTU])
async def test_our_driver_at_pymodbus_server_with_ieee_numbers(framer: FramerType) -> None:
    high, low = struct.unpack(">HH", struct.pack(">f", 321.25))
    values = {122: 0x2440, 0x8002: high, 0x8003: low, 0x8100: 0}
    async with server(values, framer) as url, Eurotherm2400.open(url, address="1") as driver:
        assert await driver.temperature.read() == 321.25
        await driver.setpoint1.write(55.25)
        await driver.integral_time.write(90.0)
        assert (driver.setpoint1.value, driver.integral_time.value) == (55.25, 90.0)
