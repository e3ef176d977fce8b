"""Modbus: messages and frames, blocks, refusals, fences; over TCP, serial lines and gateways."""

import asyncio
import subprocess
import sys
import time
from collections.abc import AsyncIterator
from contextlib import suppress
from dataclasses import replace
from typing import Any

import pytest
import pytest_asyncio
from tests.ca import Client, until
from tests.registers import NUMBERED, ModbusLine, Numbered, Registers, RegistersSimulator, State

from labioc.devices.core.records import AlarmSeverity, AlarmStatus
from labioc.drivers.core import Line
from labioc.drivers.core.errors import (
    AddressError,
    DefinitionError,
    LimitError,
    LinkDown,
    LinkError,
    ReadingInvalid,
    RefusedError,
    ReplyError,
    ReplyTimeout,
    UserError,
)
from labioc.drivers.core.port import LinkState
from labioc.drivers.core.protocol import Part
from labioc.drivers.lakeshore336 import LakeShore336
from labioc.drivers.modbus import Modbus, RtuFramer, TcpFramer
from labioc.drivers.testing import transcript
from labioc.iocs.core import Host, InstrumentConfig
from labioc.sim.modbus import crc

PROTOCOL = Modbus(identify=("{addr} holding 122", "24"))


def framed(text: str) -> bytes:
    """Return a frame of RTU for these hexadecimal digits."""
    message = bytes.fromhex(text)
    return message + crc(message)


def parts(*texts: str) -> list[Part]:
    return [Part(text, True) for text in texts]


def frames(framing: str, text: str) -> bytes:
    return PROTOCOL.framer(framing).seal(PROTOCOL.packed(text))


@pytest.mark.parametrize(
    ("section", "text", "frame"),
    [
        # HA026230, verbatim
        ("3.13", "19 coil 2 14", "13 01 00 02 00 0E 1F 7C"),
        ("3.14", "2 holding 1 2", "02 03 00 01 00 02 95 F8"),
        ("3.16", "2 holding 2 = 00FA", "02 06 00 02 00 FA A8 7A"),
        ("3.19", "2 holding 164 = 007B009600FA", "02 10 00 A4 00 03 06 00 7B 00 96 00 FA 20 71"),
    ],
)
def test_requests_as_the_manual_prints_them(section: str, text: str, frame: str) -> None:
    assert frames("rtu", text) == bytes.fromhex(frame), section


def test_over_tcp_there_is_a_header_and_a_number_for_each_transaction() -> None:
    framer = PROTOCOL.framer("tcp")
    assert framer.seal(PROTOCOL.packed("1 input 5")).hex(" ") == "00 01 00 00 00 06 01 04 00 05 00 01"
    assert framer.seal(PROTOCOL.packed("1 discrete 5 3")).hex(" ") == "00 02 00 00 00 06 01 02 00 05 00 03"
    assert framer.seal(PROTOCOL.packed("1 coil 5 = 1")).hex(" ") == "00 03 00 00 00 06 01 05 00 05 ff 00"
    assert (
        framer.seal(PROTOCOL.packed("1 coil 5 = 101")).hex(" ") == "00 04 00 00 00 08 01 0f 00 05 00 03 01 05"
    )


@pytest.mark.parametrize(
    "text",
    ["", "1", "1 holding", "0 holding 1", "1 holding 65536", "1 input 1 = 0001", "1 holding 1 = 12", "x y 1"],
)
def test_what_makes_no_request_is_a_limit_error(text: str) -> None:
    with pytest.raises(LimitError, match="can't be said"):
        PROTOCOL.packed(text)


def test_neighbours_stand_in_one_request() -> None:
    asked = ["1 holding 1", "1 holding 2 2", "1 holding 4", "1 holding 25", "1 input 26", "2 input 27"]
    made = PROTOCOL.requests(*parts(*asked))
    assert [(request.text, request.payload.hex(" ")) for request in made] == [
        ("1 holding 1;1 holding 2 2;1 holding 4", "01 03 00 01 00 04"),
        ("1 holding 25", "01 03 00 19 00 01"),
        ("1 input 26", "01 04 00 1a 00 01"),
        ("2 input 27", "02 04 00 1b 00 01"),
    ]
    assert len(PROTOCOL.requests(*parts(*asked), joined=False)) == len(asked)
    assert len(replace(PROTOCOL, block=1).requests(*parts(*asked))) == len(asked)


def test_a_block_has_125_registers_at_most() -> None:
    made = PROTOCOL.requests(*parts(*(f"1 holding {number}" for number in range(200))))
    assert [int.from_bytes(request.payload[4:], "big") for request in made] == [125, 75]
    made = PROTOCOL.requests(*parts(*(f"1 coil {number}" for number in range(200))))
    assert [int.from_bytes(request.payload[4:], "big") for request in made] == [200]


def test_writes_are_never_joined() -> None:
    asked = ["1 holding 1 = 0001", "1 holding 2", "1 holding 3", "1 holding 4 = 0001"]
    texts = [request.text for request in PROTOCOL.requests(*parts(*asked))]
    assert texts == ["1 holding 1 = 0001", "1 holding 2;1 holding 3", "1 holding 4 = 0001"]


READ = PROTOCOL.requests(*parts("2 holding 1 2"))[0]
REPLY = bytes.fromhex("02 03 04 00 B2 00 D8 69 4E")


def test_a_frame_of_rtu_may_be_cut_anywhere_with_noise_before_it() -> None:
    for cut in range(len(REPLY) + 2):
        framer = RtuFramer()
        framer.seal(READ.payload)
        stream = b"\xff\x02" + REPLY
        messages = framer.feed(stream[:cut]) + framer.feed(stream[cut:])
        assert messages == [REPLY[:-2]]
        assert framer.pending == b""
    assert PROTOCOL.said(READ, REPLY[:-2]) == "00B200D8"


def test_a_wrong_checksum_is_an_error_and_nothing_stays() -> None:
    for position in range(2, len(REPLY)):
        framer = RtuFramer()
        framer.seal(READ.payload)
        spoilt = bytearray(REPLY)
        spoilt[position] ^= 0x10
        if position == 2:  # the length itself: it may go on
            assert framer.feed(bytes(spoilt)) == []
            continue
        with pytest.raises(ReplyError, match="checksum"):
            framer.feed(bytes(spoilt))
        assert framer.pending == b""


def test_frames_of_other_units_and_functions_are_dropped() -> None:
    framer = RtuFramer()
    framer.seal(PROTOCOL.packed("2 loopback"))
    own = frames("rtu", "2 loopback")
    other = frames("rtu", "3 loopback")
    assert framer.feed(REPLY + other + own) == [own[:-2]]


def test_over_tcp_only_the_latest_request_is_answered() -> None:
    framer = TcpFramer()
    framer.seal(READ.payload)
    framer.seal(READ.payload)
    late = bytes.fromhex("00 01 00 00 00 07 02 03 04 00 00 00 00")
    right = bytes.fromhex("00 02 00 00 00 07 02 03 04 00 B2 00 D8")
    assert framer.feed(late + right[:5]) == []
    assert framer.feed(right[5:]) == [REPLY[:-2]]
    with pytest.raises(ReplyError):
        framer.feed(b"HTTP/1.1 400 Bad Request\r\n")
    assert framer.pending == b""


@pytest.mark.parametrize(
    ("reply", "error"),
    [
        ("01 83 02", RefusedError),
        ("01 83 06", ReplyTimeout),
        ("01 83 0A", ReplyTimeout),
        ("01 83 0B", ReplyTimeout),
        ("01 83", ReplyError),
        ("01 83 02 00", ReplyError),
        ("01 03 04 00", ReplyError),
    ],
)
def test_exceptions_to_a_read(reply: str, error: type[Exception]) -> None:
    request = PROTOCOL.requests(*parts("1 holding 1"))[0]
    with pytest.raises(error):
        PROTOCOL.said(request, bytes.fromhex(reply))


@pytest.mark.parametrize(
    ("text", "reply"),
    [
        ("1 holding 1", "02 03 02 00 00"),
        ("1 holding 1", "01 04 02 00 00"),
        ("1 holding 1", "01 03 04 00 00 00 00"),
        ("1 coil 1", "01 01 02 00 00"),
        ("1 holding 1 = 0001", "01 06 00 01 00 02"),
        ("1 holding 1 = 00010002", "01 10 00 01 00 01"),
        ("1 loopback", "01 08 00 00 00 00"),
    ],
)
def test_what_answers_another_request_is_not_taken(text: str, reply: str) -> None:
    assert PROTOCOL.said(PROTOCOL.requests(*parts(text))[0], bytes.fromhex(reply)) is None


def test_a_busy_instrument_refuses_a_write() -> None:
    request = PROTOCOL.requests(*parts("1 holding 1 = 0001"))[0]
    with pytest.raises(RefusedError, match="exception 6: device busy"):
        PROTOCOL.said(request, bytes.fromhex("01 86 06"))


def test_the_silence_between_messages_is_three_and_a_half_characters() -> None:
    assert PROTOCOL.gap("serial", 9600) == pytest.approx(0.004, rel=0.01)
    assert PROTOCOL.gap("serial", 1200) == pytest.approx(0.032, rel=0.01)
    assert PROTOCOL.gap("serial", 115200) == 0.00175
    assert PROTOCOL.gap("tcp") == 0.0


# With an instrument


@pytest.fixture(params=["tcp", "rtu over tcp", "pty"])
def where(request: pytest.FixtureRequest) -> tuple[str, str]:
    served = {"tcp": "tcp://127.0.0.1:0", "rtu over tcp": "tcp://127.0.0.1:0", "pty": "pty:"}
    return served[request.param], "?framing=rtu" if request.param == "rtu over tcp" else ""


async def test_every_kind_of_register(where: tuple[str, str]) -> None:
    served, query = where
    sim = RegistersSimulator()
    sim.words[216] = 0x8001
    sim.bits[9] = True
    async with sim.serve(served) as url, Registers.open(url + query, address="1") as driver:
        await driver.single.write(1.001)
        assert (sim.words[210], sim.words[211]) == (0x3F80, 0x20C5)  # HA026230, 6.4
        await driver.swapped.write(1.001)
        assert (sim.words[212], sim.words[213]) == (0x20C5, 0x3F80)
        await driver.long.write(-2)
        assert (sim.words[214], sim.words[215]) == (0xFFFF, 0xFFFE)
        await driver.tenths.write(-12.34)
        assert (sim.words[203], driver.tenths.value) == (0x10000 - 123, -12.3)
        await driver.label.write("Oven 1")
        assert driver.label.value == "Oven 1"
        await driver.coil.write(True)
        await driver.coils.write(0b0110)
        assert [sim.bits[n] for n in range(3, 8)] == [True, False, True, True, False]
        assert await driver.state.read() == State.ON | State.HOT
        assert await driver.hot.read()
        assert await driver.switch.read()
        assert await driver.input.read() == 777
        await driver.reset.execute()
        assert sim.words[299] == 1


async def test_the_panel_may_change_the_decimals() -> None:
    sim = RegistersSimulator()
    async with sim.serve("tcp://127.0.0.1:0") as url, Registers.open(url, address="1") as driver:
        sim.words[201] = 215
        assert await driver.scaled.read() == 21.5
        sim.words |= {200: 2, 201: 2150}
        assert await driver.scaled.read() == 21.5
        await driver.setpoint.write(100.0)
        assert (sim.words[202], driver.setpoint.value) == (10000, 100.0)
        sim.words |= {200: 0, 202: 100}
        await driver.setpoint.write(250.4)
        assert (sim.words[202], driver.setpoint.value) == (250, 250.0)
        sim.words[200] = 2
        with pytest.raises(LimitError, match="400 degC with 2 decimals"):
            await driver.setpoint.write(400.0)
        assert sim.words[202] == 250
        sim.holes.add(200)
        with pytest.raises(ReadingInvalid):
            await driver.scaled.read()


async def test_the_decimals_are_asked_in_the_same_turn() -> None:
    said = [
        ("1 holding 200 2", framed("01 03 04 00 01 00 D7")),
    ]
    async with transcript(Registers, said, identity=framed("01 03 02 00 2A"), address="1") as driver:
        assert await driver.scaled.read() == 21.5


@pytest.mark.parametrize("hole", [1005, 1002, 1000, 1022])
async def test_a_hole_in_the_map_harms_only_what_is_in_it(hole: int) -> None:
    sim = RegistersSimulator(holes=(hole,))
    async with sim.serve("tcp://127.0.0.1:0") as url, Numbered.open(url, address="1") as driver:
        for _ in range(3):
            sim.log.clear()
            await driver.read_together(driver.readbacks())
            wrong = {r.label for r in driver.readbacks() if r.error is not None}
            assert wrong == {f"numbers[{hole - hole % 2}].value"}
            for number, channel in driver.numbers.items():
                if int(number) != hole - hole % 2:
                    assert channel.value.value >> 16 == int(number)
        assert len(sim.log) == (2 if hole in (1000, 1022) else 3)  # what was learnt is kept
        assert driver.port.state is LinkState.UP
        assert driver.port.statistics.errors.total() == 0


async def test_an_instrument_that_gives_fewer_registers_in_a_request() -> None:
    sim = RegistersSimulator()
    sim.most = 10
    async with sim.serve("tcp://127.0.0.1:0") as url, Numbered.open(url, address="1") as driver:
        await driver.read_together(driver.readbacks())
        assert all(readback.is_known for readback in driver.readbacks())
        sim.log.clear()
        await driver.read_together(driver.readbacks())
        assert len(sim.log) == 4


@pytest.mark.parametrize("answers", ["nothing", "the first one"])
async def test_an_instrument_that_takes_one_value_at_a_time_and_does_not_say_so(answers: str) -> None:
    sim = RegistersSimulator()
    sim.most, sim.too_many = 2, answers
    async with sim.serve("tcp://127.0.0.1:0") as url, Numbered.open(url, address="1") as driver:
        for _ in range(4):
            with suppress(LinkError):
                await driver.read_together(driver.readbacks())
        for _ in range(2):
            await driver.read_together(driver.readbacks())
            assert all(readback.is_known for readback in driver.readbacks())
        sim.most = 125
        again = asyncio.Event()

        def look() -> None:
            if driver.port.is_up and driver.port.statistics.connects == 2:
                again.set()

        driver.port.on_change.append(look)
        driver.port.reconnect()
        async with asyncio.timeout(10):
            await again.wait()
        sim.log.clear()
        await driver.read_together(driver.readbacks())
        assert len(sim.log) == 1


async def test_a_busy_instrument_is_asked_for_blocks_all_the_same() -> None:
    sim = RegistersSimulator()
    async with sim.serve("tcp://127.0.0.1:0") as url, Numbered.open(url, address="1") as driver:
        sim.refuses = 6
        for _ in range(6):
            with suppress(LinkError):
                await driver.read_together(driver.readbacks())
        sim.refuses = 0
        sim.log.clear()
        async with asyncio.timeout(10):
            while not all(readback.is_known for readback in driver.readbacks()):
                with suppress(LinkError):
                    await driver.read_together(driver.readbacks())
                await asyncio.sleep(0)
        assert driver.port.joins


async def test_a_register_that_is_refused_does_not_harm_those_that_are_asked_with_it() -> None:
    sim = RegistersSimulator()
    async with sim.serve("tcp://127.0.0.1:0") as url, Registers.open(url, address="1") as driver:
        await driver.read_together(driver.readbacks())
        wrong = {r.label: r.error for r in driver.readbacks() if r.error is not None}
        assert list(wrong) == ["missing"]
        assert isinstance(wrong["missing"], ReadingInvalid)
        assert "illegal data address" in str(wrong["missing"])


async def test_a_refused_write_says_why() -> None:
    sim = RegistersSimulator()
    async with sim.serve("tcp://127.0.0.1:0") as url, Registers.open(url, address="1") as driver:
        sim.refuses = 3
        with pytest.raises(RefusedError, match="exception 3: illegal data value"):
            await driver.tenths.write(1.0)
        sim.refuses = 0
        await driver.tenths.write(1.0)


async def test_late_answers_are_never_taken_for_others(where: tuple[str, str]) -> None:
    served, query = where
    sim = RegistersSimulator()
    async with sim.serve(served) as url, Numbered.open(url + query, address="1") as driver:
        seen = turn = 0
        sim.faults.add("late=0.3 share=0.5 count=2")
        async with asyncio.timeout(20):
            while turn < 6:
                number = 1000 + 2 * (turn % 3)
                try:
                    value = await driver.numbers[str(number)].value.read()
                except LinkError:
                    await until(lambda: driver.port.is_up)
                    continue
                assert value >> 16 == number
                assert value & 0xFFFF > seen
                seen = value & 0xFFFF
                turn += 1


@pytest.mark.parametrize(
    "fault", ["wrong-checksum count=1", "lose count=1", "cut=3 count=1", "garbage count=1", "noise=2"]
)
async def test_spoilt_answers_are_asked_for_again(fault: str, where: tuple[str, str]) -> None:
    served, query = where
    sim = RegistersSimulator()
    async with sim.serve(served) as url, Numbered.open(url + query, address="1") as driver:
        sim.faults.add(fault)
        assert await driver.numbers["1004"].value.read() >> 16 == 1004
        sim.faults.clear()


async def test_what_another_unit_answers_is_dropped(where: tuple[str, str]) -> None:
    served, query = where
    sim = RegistersSimulator()
    async with sim.serve(served) as url, Numbered.open(url + query, address="1") as driver:
        sim.faults.add("wrong-address count=2")
        with pytest.raises(ReplyTimeout):
            await driver.numbers["1004"].value.read()


async def test_another_instrument_is_no_such_instrument() -> None:
    sim = RegistersSimulator()
    sim.words[300] = 43
    async with sim.serve("tcp://127.0.0.1:0") as url:
        with pytest.raises(ConnectionError, match="002B|002A"):
            async with Registers.open(url, address="1"):
                pass


class Silent(Numbered):
    """One that does not know function 8, and says nothing to it."""

    protocol = replace(Numbered.protocol, max_late=0.5)


class SilentSimulator(RegistersSimulator):
    functions = frozenset((3,))
    silent = True


async def test_an_instrument_that_is_silent_to_the_loopback_is_given_silence(
    caplog: pytest.LogCaptureFixture,
) -> None:
    sim = SilentSimulator()
    async with sim.serve("pty:") as url, Silent.open(url, address="1") as driver:
        assert "going on without" in caplog.text
        assert await driver.numbers["1002"].value.read() >> 16 == 1002
        sim.faults.add("late=0.4 count=1")
        with suppress(LinkError):
            await driver.numbers["1004"].value.read()
        with suppress(LinkError):
            await driver.numbers["1006"].value.read()
        async with asyncio.timeout(10):
            while True:
                try:
                    assert await driver.numbers["1006"].value.read() >> 16 == 1006
                    break
                except LinkError:
                    await until(lambda: driver.port.is_up)


def test_who_has_no_loopback_says_how_late_an_answer_can_be() -> None:
    assert replace(PROTOCOL, loopback=False).lateness("rtu") == 1.0
    assert replace(PROTOCOL, loopback=False).lateness("tcp") == 0.0
    with pytest.raises(DefinitionError):
        replace(PROTOCOL, max_late=None)


class Anonymous(Numbered):
    """One that is known by what it isn't."""

    protocol = replace(Numbered.protocol, identify=("{addr} holding 250", "(?!2)"))


async def test_an_instrument_may_not_tell_what_it_is(where: tuple[str, str]) -> None:
    served, query = where
    async with RegistersSimulator().serve(served) as url, Anonymous.open(url + query, address="1") as driver:
        assert driver.port.identity == ""
        assert await driver.numbers["1002"].value.read() >> 16 == 1002


# Several on one line


@pytest_asyncio.fixture
async def line() -> AsyncIterator[tuple[ModbusLine, RegistersSimulator, RegistersSimulator]]:
    first, second = RegistersSimulator(unit=1), RegistersSimulator(unit=17)
    yield ModbusLine(first, second), first, second


async def test_several_instruments_share_a_line(
    line: tuple[ModbusLine, RegistersSimulator, RegistersSimulator], where: tuple[str, str]
) -> None:
    bus, _, _ = line
    served, query = where
    async with bus.serve(served) as url:
        shared = Line(url + query)
        async with Numbered.open(shared, address="1") as one, Numbered.open(shared, address="17") as other:
            async with asyncio.TaskGroup() as tasks:
                for driver, unit in ((one, 1), (other, 17)):
                    tasks.create_task(self_consistent(driver, unit))
            bus.off.add(17)
            with pytest.raises(ReplyTimeout):
                await other.numbers["1000"].value.read()
            assert await one.numbers["1000"].value.read()
            bus.off.clear()


async def self_consistent(driver: Any, unit: int) -> None:
    for _ in range(5):
        await driver.read_together(driver.readbacks())
        assert {channel.value.value >> 16 for channel in driver.numbers.values()} == {
            unit * 1000 + int(number) - 1000 for number in driver.numbers
        }


async def test_a_gateway_says_that_an_instrument_is_off(
    line: tuple[ModbusLine, RegistersSimulator, RegistersSimulator],
) -> None:
    bus, _, _ = line
    async with bus.serve("tcp://127.0.0.1:0") as url, Numbered.open(url, address="17") as driver:
        bus.off.add(17)
        began = time.monotonic()
        with pytest.raises(ReplyTimeout, match="gateway: the instrument does not respond"):
            await driver.numbers["1000"].value.read()
        assert time.monotonic() - began < 5


async def test_an_ioc_with_two_on_one_line(
    line: tuple[ModbusLine, RegistersSimulator, RegistersSimulator],
    ca_environment: dict[str, str],
    client: Client,
) -> None:
    bus, _, _ = line
    async with bus.serve("tcp://127.0.0.1:0") as url:
        configs = [
            InstrumentConfig(instrument=NUMBERED, url=url, prefix=f"N{unit}:", name=f"n{unit}", address=unit)
            for unit in ("1", "17")
        ]
        async with Host(configs), client.monitor("N17:1002:V") as events:
            assert int((await client.get("N1:1002:V")).value) >> 16 == 1002
            assert int((await events.next()).value) >> 16 == 17002
            bus.off.add(17)
            gone = await events.next(lambda reading: bool(reading.severity == AlarmSeverity.INVALID_ALARM))
            assert gone.status in (AlarmStatus.TIMEOUT, AlarmStatus.COMM)
            assert (await client.get("N1:1002:V")).severity == AlarmSeverity.NO_ALARM
            bus.off.clear()


# URLs and the extra


@pytest.mark.parametrize("url", ["tcp://h:502?framing=ascii", "tcp://h:502?framing="])
def test_another_framing_is_an_error(url: str) -> None:
    with pytest.raises(AddressError, match="framing"):
        Registers(url, address="1")


def test_lines_have_no_other_framing() -> None:
    with pytest.raises(AddressError, match="framing=rtu"):
        LakeShore336("tcp://h:7777?framing=rtu")


@pytest.mark.parametrize("address", ["0", "256", "x", "1.5"])
def test_what_is_no_unit(address: str) -> None:
    with pytest.raises(AddressError, match="Modbus unit"):
        Registers("tcp://h:502", address=address)


async def test_somebody_may_type_a_request() -> None:
    async with (
        RegistersSimulator().serve("tcp://127.0.0.1:0") as url,
        Registers.open(url, address="1") as driver,
    ):
        assert await driver.port.converse("1 holding 300 1") == "002A"
        with pytest.raises(UserError, match="can't be said"):
            await driver.port.converse("holding 300")


def test_pymodbus_is_loaded_for_modbus_alone_and_missed_with_a_hint() -> None:
    code = """
import sys
from labioc.iocs.core.instrument import find_instrument
find_instrument("lakeshore336")
assert "pymodbus" not in sys.modules
sys.modules["pymodbus"] = None
try:
    find_instrument("eurotherm3200")
except LookupError as error:
    print(error)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert "'eurotherm3200' does not load: Modbus needs pymodbus: pip install 'labioc[modbus]'" in done.stdout
    assert ".py" not in done.stdout  # it is no mistake in a file


async def test_a_dead_instrument_is_down() -> None:
    sim = RegistersSimulator()
    async with sim.serve("tcp://127.0.0.1:0") as url, Numbered.open(url, address="1") as driver:
        sim.faults.add("mute")
        with pytest.raises((ReplyTimeout, LinkDown)):
            await driver.numbers["1000"].value.read()
