"""The driver of the TMCM-1110 in frames of its manual, and with its simulator."""

import asyncio
import struct
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager
from typing import Any

import pytest
import pytest_asyncio

from labioc.drivers import tmcl
from labioc.drivers.core.errors import (
    LimitError,
    ReadingInvalid,
    RefusedError,
    ReplyError,
    ReplyTimeout,
    WrongInstrument,
)
from labioc.drivers.testing import Line, transcript
from labioc.drivers.tmcm1110 import TMCM1110, DriverStatus, Microsteps, Motion, RampMode, SearchMode
from labioc.sim import tmcm1110 as sim
from labioc.sim.core import Clock

VERSION = "02 01 64 88 04 56 01 09 53"


def frame(text: str) -> bytes:
    return bytes.fromhex(text)


def module(*lines: tuple[str, str | None]) -> AbstractAsyncContextManager[TMCM1110]:
    said: list[Line] = [(frame(ask), None if answer is None else frame(answer)) for ask, answer in lines]
    return transcript(TMCM1110, said, identity=frame(VERSION), address="1")


Use = Callable[[TMCM1110], Awaitable[Any]]


# The driver


@pytest.mark.parametrize(
    ("section", "request_frame", "reply", "read", "value"),
    [
        (
            "3.4 GAP",
            "01 06 01 00 00 00 00 00 08",
            "02 01 64 06 00 00 02 c7 36",
            lambda m: m.axes[0].position.read(),
            711,
        ),
        (
            "3.4 GAP",
            "01 06 01 00 00 00 00 00 08",
            "02 01 64 06 ff ff fc 18 7f",
            lambda m: m.axes[0].position.read(),
            -1000,
        ),
        (
            "3.4 GIO",
            "01 0f 00 01 00 00 00 00 11",
            "02 01 64 0f 00 00 01 2e a5",
            lambda m: m.analog.read(),
            302,
        ),
        (
            "3.4 GIO",
            "01 0f 08 01 00 00 00 00 19",
            "02 01 64 0f 00 00 00 f1 67",
            lambda m: m.supply.read(),
            24.1,
        ),
        (
            "3.4 GIO",
            "01 0f 09 01 00 00 00 00 1a",
            "02 01 64 0f 00 00 00 1c 92",
            lambda m: m.temperature.read(),
            28,
        ),
        (
            "3.4 GIO",
            "01 0f 03 00 00 00 00 00 13",
            "02 01 64 0f 00 00 00 01 77",
            lambda m: m.inputs[3].state.read(),
            True,
        ),
        (
            "3.4 RFS",
            "01 0d 02 00 00 00 00 00 10",
            "02 01 64 0d 00 00 00 05 79",
            lambda m: m.axes[0].search_step.read(),
            5,
        ),
        (
            "4, 8",
            "01 06 08 00 00 00 00 00 0f",
            "02 01 64 06 00 00 00 01 6e",
            lambda m: m.axes[0].reached.read(),
            True,
        ),
        (
            "4, 6",
            "01 06 06 00 00 00 00 00 0d",
            "02 01 64 06 00 00 00 ff 6c",
            lambda m: m.axes[0].current.read(),
            100,
        ),
        (
            "4, 214",
            "01 06 d6 00 00 00 00 00 dd",
            "02 01 64 06 00 00 00 c8 35",
            lambda m: m.axes[0].standby_delay.read(),
            2.0,
        ),
        (
            "4, 193",
            "01 06 c1 00 00 00 00 00 c8",
            "02 01 64 06 00 00 00 41 ae",
            lambda m: m.axes[0].search_mode.read(),
            SearchMode.RIGHT,
        ),
        (
            "4, 208",
            "01 06 d0 00 00 00 00 00 d7",
            "02 01 64 06 00 00 00 82 ef",
            lambda m: m.axes[0].status.read(),
            DriverStatus(130),
        ),
        ("3.6 136", "01 88 01 00 00 00 00 00 8a", VERSION, lambda m: m.firmware.read(), "1110V1.09"),
    ],
)
async def test_readings(section: str, request_frame: str, reply: str, read: Use, value: object) -> None:
    async with module((request_frame, reply)) as m:
        assert await read(m) == value, section


@pytest.mark.parametrize(
    ("section", "lines", "write"),
    [
        (
            "3.4 ROR",
            [
                ("01 06 9a 00 00 00 00 00 a1", "02 01 64 06 00 00 00 03 70"),
                ("01 01 00 00 00 00 01 5e 61", "02 01 64 01 00 00 01 5e c7"),
                ("01 06 02 00 00 00 00 00 09", "02 01 64 06 00 00 01 5e cc"),
            ],
            lambda m: m.axes[0].jog.write(350 * 16e6 / (8 * 2048 * 32)),
        ),
        (
            "3.4 ROL",
            [
                ("01 02 00 00 00 00 04 b0 b7", "02 01 64 02 00 00 04 b0 1d"),
                ("01 06 02 00 00 00 00 00 09", "02 01 64 06 ff ff fb 50 b6"),
            ],
            lambda m: m.axes[0].raw_jog.write(-1200),
        ),
        (
            "3.4 MST, RFS STOP",
            [
                ("01 03 00 00 00 00 00 00 04", "02 01 64 03 00 00 00 00 6a"),
                ("01 0d 01 00 00 00 00 00 0f", "02 01 64 0d 00 00 00 00 74"),
                ("01 06 8a 00 00 00 00 00 91", "02 01 64 06 00 00 00 02 6f"),
            ],
            lambda m: m.axes[0].stop.execute(),
        ),
        (
            "3.4 MVP ABS",
            [
                ("01 04 00 00 00 00 03 e8 f0", "02 01 64 04 00 00 03 e8 56"),
                ("01 06 00 00 00 00 00 00 07", "02 01 64 06 00 00 03 e8 58"),
            ],
            lambda m: m.axes[0].target.write(1000.0),
        ),
        (
            "3.4 MVP ABS, from the position",
            [
                ("01 06 01 00 00 00 00 00 08", "02 01 64 06 00 00 07 d0 44"),
                ("01 04 00 00 00 00 03 e8 f0", "02 01 64 04 00 00 03 e8 56"),
                ("01 06 00 00 00 00 00 00 07", "02 01 64 06 00 00 03 e8 58"),
            ],
            lambda m: m.axes[0].relative.write(-1000.0),
        ),
        (
            "4, 1: not in position mode",
            [
                ("01 03 00 00 00 00 00 00 04", "02 01 64 03 00 00 00 00 6a"),
                ("01 05 01 00 00 00 03 e8 f2", "02 01 64 05 00 00 03 e8 57"),
                ("01 06 01 00 00 00 00 00 08", "02 01 64 06 00 00 03 e8 58"),
                ("01 06 01 00 00 00 00 00 08", "02 01 64 06 00 00 03 e8 58"),
                ("01 06 00 00 00 00 00 00 07", "02 01 64 06 00 00 00 00 6d"),
            ],
            lambda m: m.axes[0].counter.write(1000.0),
        ),
        (
            "3.4 SAP",
            [
                ("01 05 06 00 00 00 00 c7 d3", "02 01 64 05 00 00 00 c7 33"),
                ("01 06 06 00 00 00 00 00 0d", "02 01 64 06 00 00 00 c7 34"),
            ],
            lambda m: m.axes[0].current.write(78.0),
        ),
        (
            "3.4 SIO",
            [
                ("01 0e 07 02 00 00 00 01 19", "02 01 64 0e 00 00 00 01 76"),
                ("01 0f 07 02 00 00 00 00 19", "02 01 64 0f 00 00 00 01 77"),
            ],
            lambda m: m.outputs[7].state.write(True),
        ),
        (
            "3.4 RFS",
            [("01 0d 00 00 00 00 00 00 0e", "02 01 64 0d 00 00 00 00 74")],
            lambda m: m.axes[0].search.execute(),
        ),
        (
            "4, 140",
            [
                ("01 05 8c 00 00 00 00 04 96", "02 01 64 05 00 00 00 04 70"),
                ("01 06 8c 00 00 00 00 00 93", "02 01 64 06 00 00 00 04 71"),
            ],
            lambda m: m.axes[0].microsteps.write(Microsteps.X16),
        ),
    ],
)
async def test_writes(section: str, lines: list[tuple[str, str | None]], write: Use) -> None:
    async with module(*lines) as m:
        await write(m)


@pytest.mark.parametrize(
    ("status", "text"),
    [
        (2, "invalid command"),
        (3, "wrong type"),
        (4, "invalid value"),
        (5, "EEPROM is locked"),
        (6, "not available"),
        (101, "download mode"),
    ],
)
async def test_a_refusal_says_why(status: int, text: str) -> None:
    body = struct.pack(">BBBBi", 2, 1, status, 4, 0)
    reply = body + bytes([sum(body) % 256])
    async with module(("01 04 00 00 00 00 03 e8 f0", reply.hex())) as m:
        with pytest.raises(RefusedError, match=text):
            await m.axes[0].target.write(1000.0)


async def test_a_refused_question_is_no_reading() -> None:
    async with module(("01 06 01 00 00 00 00 00 08", "02 01 03 06 00 00 00 00 0c")) as m:
        with pytest.raises(ReadingInvalid, match="says 3, wrong type"):
            await m.axes[0].position.read()


@pytest.mark.parametrize("reply", ["02 01 01 06 00 00 00 00 0a", "02 01 01 00 00 00 00 00 04"])
async def test_a_command_that_was_spoilt_on_its_way_is_no_refusal(reply: str) -> None:
    async with module(("01 06 01 00 00 00 00 00 08", reply)) as m:
        with pytest.raises(ReplyError, match="the module says that the checksum"):
            await m.axes[0].position.read()


@pytest.mark.parametrize(
    "reply", ["02 03 64 06 00 00 02 c7 38", "02 01 64 0f 00 00 02 c7 3f", "02 01 80 8a 00 00 00 01 0e"]
)
async def test_another_modules_or_commands_reply_is_none(reply: str) -> None:
    async with module(("01 06 01 00 00 00 00 00 08", reply)) as m:
        with pytest.raises(ReplyTimeout):
            await m.axes[0].position.read()


async def test_a_wrong_checksum_is_no_reading() -> None:
    async with module(("01 06 01 00 00 00 00 00 08", "02 01 64 06 00 00 02 c7 37")) as m:
        with pytest.raises(ReplyError, match="checksum"):
            await m.axes[0].position.read()


async def test_other_modules_are_told_by_their_version() -> None:
    body = struct.pack(">BBBBI", 2, 1, 100, 136, 1140 << 16 | 0x0127)
    with pytest.raises(WrongInstrument, match="1110|0"):
        async with transcript(TMCM1110, [], identity=body + bytes([sum(body) % 256]), address="1"):
            pass


def test_the_version_is_the_same_in_both_forms() -> None:
    assert tmcl.unpack(b"\x021110V109") == "* 100 136 1110V109"
    assert tmcl.match("1 136 0", "* 100 136 1110V109") == "1110V109"
    assert tmcl.unpack(frame(VERSION)) == "1 100 136 1110V1.09"


@pytest.mark.parametrize("text", ["1 XYZ 1 0", "1 SAP 300 0 1", "1 SAP 1 0 3000000000", "1 SAP 1 0 1 0"])
def test_what_cannot_be_said(text: str) -> None:
    with pytest.raises(ValueError, match=r"."):
        tmcl.pack(text)


async def test_limits_are_refused_before_anything_is_sent() -> None:
    async with module() as m:
        with pytest.raises(LimitError, match="-8388608 to 8388607 step"):
            await m.axes[0].target.write(2.0**23)
        with pytest.raises(LimitError):
            await m.axes[0].current.write(101.0)


# Driver and simulator


@pytest.fixture
def sim_module() -> sim.TMCM1110:
    return sim.TMCM1110(clock=Clock(manual=True))


@pytest_asyncio.fixture
async def driver(sim_module: sim.TMCM1110) -> AsyncIterator[TMCM1110]:
    async with sim_module.serve("tcp://127.0.0.1:0") as url, TMCM1110.open(url, address="1") as opened:
        yield opened


async def test_a_move_in_engineering_units(driver: TMCM1110, sim_module: sim.TMCM1110) -> None:
    axis = driver.axes[0]
    await axis.max_speed.write(20_000.0)
    await axis.max_acceleration.write(10_000.0)
    assert axis.max_speed.value == pytest.approx(20_000, abs=16)
    await axis.target.write(100_000.0)
    sim_module.clock.advance(1)
    assert await axis.speed.read() == pytest.approx(10_000, abs=300)
    assert await axis.acceleration.read() == pytest.approx(10_000, abs=240)
    assert await axis.motion.read() is Motion.MOVING
    sim_module.clock.advance(10)
    assert await axis.motion.read() is Motion.AT_TARGET
    assert await axis.position.read() == 100_000


async def test_what_ends_a_move(driver: TMCM1110, sim_module: sim.TMCM1110) -> None:
    axis = driver.axes[0]
    await axis.target.write(1_500_000.0)
    sim_module.clock.advance(60)
    assert await axis.motion.read() is Motion.RIGHT_LIMIT
    await axis.target.write(0.0)
    assert await axis.motion.read() is Motion.MOVING  # the switch is still pressed
    sim_module.clock.advance(1)
    await axis.stop.execute()
    sim_module.clock.advance(1)
    assert await axis.motion.read() is Motion.STOPPED
    assert axis.ramp_mode.value is RampMode.VELOCITY
    await axis.jog.write(-30_000.0)
    sim_module.clock.advance(1)
    assert await axis.motion.read() is Motion.JOGGING


async def test_the_present_position_is_declared_without_a_move(
    driver: TMCM1110, sim_module: sim.TMCM1110
) -> None:
    axis = driver.axes[0]
    await axis.target.write(1000.0)
    sim_module.clock.advance(2)
    await axis.counter.write(50_000.0)
    sim_module.clock.advance(2)
    assert (await axis.position.read(), axis.target.value) == (50_000, 50_000)
    assert sim_module.table.place == 1000


async def test_settings_are_stored(driver: TMCM1110, sim_module: sim.TMCM1110) -> None:
    await driver.axes[0].current.write(30.0)
    await driver.axes[0].store.execute()
    sim_module.power_cycle()
    assert await driver.axes[0].current.read() == pytest.approx(30, abs=0.4)


async def test_another_address_is_not_answered(sim_module: sim.TMCM1110) -> None:
    async with sim_module.serve("tcp://127.0.0.1:0") as url:
        with pytest.raises(ReplyTimeout):
            async with TMCM1110.open(url, address="2"):
                pass


@pytest.mark.parametrize(
    "fault", ["wrong-checksum", "wrong-address", "flip", "cut", "noise", "twice", "lose"]
)
async def test_a_fault_never_makes_a_wrong_reading(
    driver: TMCM1110, sim_module: sim.TMCM1110, fault: str
) -> None:
    sim_module.ramp.set_position(4711)
    sim_module.faults.add(f"{fault} share=0.3")
    seen = set()
    async with asyncio.timeout(20):
        for _ in range(12):
            try:
                seen.add(await driver.axes[0].position.read())
            except (ReplyError, OSError, ValueError):
                continue
    assert seen <= {4711.0}
    sim_module.faults.clear()


async def test_what_was_asked_for_comes_by_itself(sim_module: sim.TMCM1110) -> None:
    async with sim_module.serve("tcp://127.0.0.1:0") as url:
        reader, writer = await asyncio.open_connection("127.0.0.1", int(url.rpartition(":")[2]))
        writer.write(frame("01 8a 00 00 00 00 00 01 8c") + frame("01 04 00 00 00 00 03 e8 f0"))
        assert await reader.readexactly(9) == frame("02 01 64 8a 00 00 00 01 f2")
        assert await reader.readexactly(9) == frame("02 01 64 04 00 00 03 e8 56")
        sim_module.clock.advance(5)
        writer.write(frame("01 06 08 00 00 00 00 00 0f"))
        said = {await reader.readexactly(9), await reader.readexactly(9)}
        assert said == {frame("02 01 80 8a 00 00 00 01 0e"), frame("02 01 64 06 00 00 00 01 6e")}
        writer.close()
