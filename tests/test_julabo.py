"""The Julabo circulator: transcripts in the words of its manual, its simulated world, and its PVs."""

import asyncio
import dataclasses
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import pytest
import pytest_asyncio
from tests.ca import Client, PutFailed, until

from labioc.devices.core.records import AlarmSeverity, AlarmStatus
from labioc.drivers.core.errors import LimitError, MissingChannel, ReadingInvalid, RefusedError, ReplyTimeout
from labioc.drivers.julabo import Choice, Condition, Dynamics, Julabo, Mode, SelfTuning, Sensor, Stage
from labioc.drivers.julabo import TemperatureUnit as Unit
from labioc.drivers.testing import Line, transcript
from labioc.iocs.core import Host, InstrumentConfig
from labioc.iocs.julabo import instrument
from labioc.sim.core import Clock
from labioc.sim.julabo import Julabo as Simulator

IDENTITY = "JULABO CRYOCOMPACT CF31 VERSION 5.0"
Do = Callable[[Julabo], Awaitable[Any]]


class Quick(Julabo):
    """The circulator without the pauses of 11.2, which its transcripts don't need."""

    protocol = dataclasses.replace(Julabo.protocol, gaps={}, command_gap=0.0)


@pytest.mark.parametrize(
    ("question", "reply", "read", "value"),
    [
        ("VERSION", IDENTITY, lambda j: j.version.read(), IDENTITY),
        ("STATUS", "02 REMOTE STOP", lambda j: j.status.read(), "02 REMOTE STOP"),
        ("IN_PV_00", "25.01", lambda j: j.temperature.read(), 25.01),
        ("IN_PV_00", "\x1325.01", lambda j: j.temperature.read(), 25.01),
        ("IN_PV_00", b"25.01\n", lambda j: j.temperature.read(), 25.01),
        ("IN_PV_00", b"\r\n25.01\r\n", lambda j: j.temperature.read(), 25.01),
        ("IN_PV_01", "-35.0", lambda j: j.power.read(), -35.0),
        ("IN_PV_02", "24.87", lambda j: j.external.read(), 24.87),
        ("IN_PV_03", "25.10", lambda j: j.safety.read(), 25.1),
        ("IN_PV_04", "110.00", lambda j: j.safety_limit.read(), 110.0),
        ("IN_SP_00", "55.5", lambda j: j.setpoint_1.read(), 55.5),
        ("IN_SP_03", "300.00", lambda j: j.high.read(), 300.0),
        ("IN_SP_04", "-40.00", lambda j: j.low.read(), -40.0),
        ("IN_SP_06", "1", lambda j: j.unit.read(), Unit.FAHRENHEIT),
        ("IN_SP_07", "3", lambda j: j.pump.read(), Stage.STAGE_3),
        ("IN_PAR_00", "0.15", lambda j: j.difference.read(), 0.15),
        ("IN_PAR_06", "1.0", lambda j: j.xp.read(), 1.0),
        ("IN_PAR_07", "100", lambda j: j.tn.read(), 100.0),
        ("IN_MODE_01", "2", lambda j: j.choice.read(), Choice.SETPOINT_3),
        ("IN_MODE_02", "1", lambda j: j.self_tuning.read(), SelfTuning.ONCE),
        ("IN_MODE_04", "1", lambda j: j.control.read(), Sensor.EXTERNAL),
        ("IN_MODE_05", "1", lambda j: j.running.read(), True),
        ("IN_MODE_08", "0", lambda j: j.dynamics.read(), Dynamics.APERIODIC),
        ("IN_HIL_00", "-80", lambda j: j.cooling.read(), 80.0),
        ("IN_HIL_01", "90", lambda j: j.heating.read(), 90.0),
    ],
)
async def test_readings(question: str, reply: str | bytes, read: Do, value: object) -> None:
    """11.3: IN commands."""
    async with transcript(Quick, [(question, reply)], identity=IDENTITY) as julabo:
        assert await read(julabo) == value


@pytest.mark.parametrize(
    ("command", "question", "reply", "write"),
    [
        ("OUT_SP_00 55.50", "IN_SP_00", "55.5", lambda j: j.setpoint_1.write(55.5)),
        ("OUT_SP_07 4", "IN_SP_07", "2", lambda j: j.pump.write(Stage.STAGE_4)),
        ("OUT_MODE_05 1", "IN_MODE_05", "1", lambda j: j.running.write(True)),
        ("OUT_PAR_07 120", "IN_PAR_07", "120", lambda j: j.tn.write(120)),
        ("OUT_HIL_00 -50", "IN_HIL_00", "-50", lambda j: j.cooling.write(50)),
    ],
)
async def test_settings(command: str, question: str, reply: str, write: Do) -> None:
    """11.3: OUT commands are not answered; STATUS and the IN command tell what came of them."""
    lines: list[Line] = [(command, None), ("STATUS", "03 REMOTE START"), (question, reply)]
    async with transcript(Quick, lines, identity=IDENTITY) as julabo:
        await write(julabo)


@pytest.mark.parametrize(
    "status",
    [
        "-08 INVALID COMMAND",
        "-09 COMMAND NOT ALLOWED IN CURRENT OPERATING MODE",
        "-10 VALUE TOO SMALL",
        "-11 VALUE TOO LARGE",
        "-13 VALUE TOO LARGE",  # of the FC coolers
    ],
)
async def test_refusals(status: str) -> None:
    """11.5: STATUS says why nothing changed."""
    lines: list[Line] = [("OUT_SP_00 55.50", None), ("STATUS", status), ("IN_SP_00", "20.00")]
    async with transcript(Quick, lines, identity=IDENTITY) as julabo:
        with pytest.raises(RefusedError, match=f"STATUS answers '{status}'"):
            await julabo.setpoint_1.write(55.5)


@pytest.mark.parametrize(
    "status",
    [
        "-40 NIVEAU LEVEL WARNUNG",
        "-01 LOW LEVEL ALARM",
        "-13 WARNING : VALUE EXCEEDS TEMPERATURE LIMITS",  # but it is stored
        "-08 INVALID COMMAND",  # of a question before
        "Hello",
    ],
)
async def test_what_stands_in_status_refuses_no_put_that_reads_back(status: str) -> None:
    lines: list[Line] = [("OUT_SP_00 55.50", None), ("STATUS", status), ("IN_SP_00", "55.50")]
    async with transcript(Quick, lines, identity=IDENTITY) as julabo:
        await julabo.setpoint_1.write(55.5)


@pytest.mark.parametrize(
    ("status", "mode", "condition"),
    [
        ("00 MANUAL STOP", Mode.MANUAL_STOP, Condition.OK),
        ("01 MANUAL START", Mode.MANUAL_START, Condition.OK),
        ("02 REMOTE STOP", Mode.REMOTE_STOP, Condition.OK),
        ("03 REMOTE START", Mode.REMOTE_START, Condition.OK),
        ("04 REMOTE START", Mode.REMOTE_START, Condition.OK),
        ("-01 LOW LEVEL ALARM", Mode.OTHER, Condition.ALARM),
        ("-03 EXCESS TEMPERATURE WARNING", Mode.OTHER, Condition.WARNING),
        ("-07 I2C-BUS ERROR", Mode.OTHER, Condition.ALARM),
        ("-09 COMMAND NOT ALLOWED IN CURRENT OPERATING MODE", Mode.OTHER, Condition.COMMAND_REFUSED),
        ("-13 WARNING : VALUE EXCEEDS TEMPERATURE LIMITS", Mode.OTHER, Condition.COMMAND_REFUSED),
        ("-26 WARNING: STAND-BY PLUG IS MISSING", Mode.OTHER, Condition.WARNING),
        ("-40 NIVEAU LEVEL WARNUNG", Mode.OTHER, Condition.WARNING),
    ],
)
async def test_status(status: str, mode: Mode, condition: Condition) -> None:
    """11.4 and 11.5."""
    async with transcript(Quick, [("STATUS", status)], identity=IDENTITY) as julabo:
        await julabo.status.read()
        assert (julabo.mode.value, julabo.condition.value) == (mode, condition)


async def test_no_sensor_is_no_temperature() -> None:
    async with transcript(Quick, [("IN_PV_02", "---.--")], identity=IDENTITY) as julabo:
        with pytest.raises(ReadingInvalid, match="no sensor is connected"):
            await julabo.external.read()


async def test_limits_of_the_manual() -> None:
    async with transcript(Quick, [], identity=IDENTITY) as julabo:
        for write in (
            julabo.xp.write(100),
            julabo.tn.write(2),
            julabo.tv.write(1000),
            julabo.heating.write(9),
        ):
            with pytest.raises(LimitError):
                await write


# the simulated circulator


@pytest.fixture
def circulator() -> Simulator:
    return Simulator(clock=Clock(manual=True))


def test_sets_and_nonsense_are_not_answered(circulator: Simulator) -> None:
    said = ["OUT_SP_00 55.5", "in_sp_00", "IN_SP_99", "status", "STATUS", "OUT_SP_00 250", "STATUS"]
    heard = ["", "55.50", "", "-08 INVALID COMMAND", "02 REMOTE STOP", "", "-11 VALUE TOO LARGE"]
    assert [circulator.ask(line) for line in said] == heard
    said = ["OUT_PAR_07 2", "STATUS", "OUT_SP_00 x", "STATUS", "OUT_SP_00 170", "STATUS", "IN_SP_00"]
    heard = ["", "-10 VALUE TOO SMALL", "", "-08 INVALID COMMAND"]
    heard += ["", "-13 WARNING : VALUE EXCEEDS TEMPERATURE LIMITS", "170.00"]
    assert [circulator.ask(line) for line in said] == heard
    circulator.remote = False
    said = ["OUT_MODE_05 1", "STATUS", "STATUS"]
    heard = ["", "-09 COMMAND NOT ALLOWED IN CURRENT OPERATING MODE", "00 MANUAL STOP"]
    assert [circulator.ask(line) for line in said] == heard


def test_what_comes_too_soon_after_a_set_is_lost(circulator: Simulator) -> None:
    circulator.pause = 60.0
    assert [circulator.ask(line) for line in ("OUT_SP_00 55.5", "IN_SP_00")] == ["", ""]
    circulator._deaf_until = 0.0
    assert circulator.ask("IN_SP_00") == "55.50"


def test_the_bath_goes_to_its_setpoint_and_the_vessel_follows(circulator: Simulator) -> None:
    circulator.ask("OUT_SP_00 60")
    circulator.ask("OUT_MODE_05 1")
    circulator.clock.advance(60.0)
    assert (circulator.ask("IN_PV_01"), circulator.ask("STATUS")) == ("100.0", "03 REMOTE START")
    circulator.clock.advance(3000.0)
    circulator.catch_up()
    assert circulator.bath == pytest.approx(60.0, abs=0.05)
    assert 55.0 < circulator.vessel < 59.5
    circulator.ask("OUT_MODE_04 1")
    for _ in range(3):
        circulator.clock.advance(3600.0)
        circulator.catch_up()
    assert circulator.vessel == pytest.approx(60.0, abs=0.2)
    assert circulator.bath > 60.5
    circulator.ask("OUT_SP_00 -20")
    circulator.clock.advance(60.0)
    assert float(circulator.ask("IN_PV_01")) < -50.0
    circulator.ask("OUT_MODE_05 0")
    circulator.clock.advance(60.0)
    assert circulator.ask("IN_PV_01") == "0.0"


def test_what_breaks_stands_in_status(circulator: Simulator) -> None:
    circulator.ask("OUT_MODE_05 1")
    circulator.compressor = False
    assert circulator.ask("STATUS") == "-21 WARNING: COMPRESSOR STAGE 1 DOES NOT WORK"
    circulator.working_sensor = False
    circulator.clock.advance(1.0)
    said = ["STATUS", "IN_PV_00", "IN_MODE_05", "OUT_MODE_05 1", "STATUS"]
    heard = [
        "-05 WORKING SENSOR ALARM",
        "---.--",
        "0",
        "",
        "-09 COMMAND NOT ALLOWED IN CURRENT OPERATING MODE",
    ]
    assert [circulator.ask(line) for line in said] == heard
    circulator.working_sensor = True
    circulator.bath = 185.0
    assert circulator.ask("STATUS") == "-14 EXCESS TEMPERATURE PROTECTOR ALARM"


def test_after_a_power_cut_everything_has_to_be_sent_again(circulator: Simulator) -> None:
    circulator.ask("OUT_SP_00 60")
    circulator.ask("OUT_MODE_05 1")
    circulator.bath = 50.0
    circulator.power_cycle()
    assert [circulator.ask(line) for line in ("STATUS", "IN_SP_00", "IN_PV_00")] == [
        "02 REMOTE STOP",
        "20.00",
        "50.00",
    ]


@pytest.mark.parametrize("made", [{"terminator": "\n"}, {"gateway": True}])
async def test_the_driver_keeps_the_pause_and_takes_either_end_of_line_and_empty_lines(
    made: dict[str, Any],
) -> None:
    sim = Simulator(**made)
    sim.pause = 0.2
    async with sim.serve("tcp://127.0.0.1:0") as url, Julabo.open(url) as julabo:
        await julabo.setpoint_1.write(33.3)
        with pytest.raises(RefusedError, match="VALUE TOO SMALL"):
            await julabo.setpoint_1.write(-60)
        assert julabo.setpoint_1.value == 33.3
        assert await julabo.status.read() == "02 REMOTE STOP"


@pytest.mark.parametrize(("variant", "asked"), [("FL", 7), ("CD", 10), ("FC", 13), ("MH", 16)])
async def test_other_series_are_asked_what_they_have(variant: str, asked: int) -> None:
    sim = Simulator(variant)
    sim.vessel = 50.0
    async with sim.serve("tcp://127.0.0.1:0") as url, Julabo.open(url, variant=variant) as julabo:
        readbacks = list(julabo.readbacks())
        await julabo.read_together(readbacks)
        assert [readback.label for readback in readbacks if readback.error is not None] == []
        assert len(readbacks) == asked
        assert julabo.status.value == "02 REMOTE STOP"
        if variant in ("FC", "MH"):
            assert abs(julabo.external.value - 50.0) < 0.1
            assert julabo.power.value == 0.0
        else:
            with pytest.raises(MissingChannel):
                _ = julabo.external


async def test_a_late_answer_is_nobody_elses_and_a_lost_one_is_no_success() -> None:
    sim = Simulator()
    sim.bath, sim.vessel = 40.0, 50.0
    async with sim.serve("tcp://127.0.0.1:0") as url, Julabo.open(url) as julabo:
        sim.faults.add("late=0.8 only=IN_PV_00 count=1")
        with pytest.raises(ReplyTimeout):
            await julabo.temperature.read()
        await until(lambda: julabo.port.is_up)
        assert abs(await julabo.external.read() - 50.0) < 0.5
        assert abs(await julabo.temperature.read() - 40.0) < 0.5
        sim.faults.add("lose only=STATUS count=1")
        with pytest.raises(ReplyTimeout):
            await julabo.setpoint_1.write(33.0)
        await until(lambda: julabo.port.is_up)
        await julabo.setpoint_1.write(34.0)
        assert julabo.setpoint_1.value == 34.0


# the IOC


@pytest.fixture
def sim() -> Simulator:
    return Simulator()


@pytest_asyncio.fixture
async def host(sim: Simulator, ca_environment: dict[str, str]) -> AsyncIterator[Host]:
    async with sim.serve("pty:") as url:
        config = InstrumentConfig(instrument=instrument, url=url, prefix="J:", name="julabo")
        async with Host([config]) as running:
            yield running


async def test_a_session_with_a_client(host: Host, client: Client, sim: Simulator) -> None:
    for name in host.pvs:
        if name not in ("J:LINK:STATE", "J:LINK:UTIL"):
            assert (await client.get(name)).severity != AlarmSeverity.INVALID_ALARM, name
    sim.clock.speed = 1000.0
    await client.put("J:SETP1", 45.0)
    await client.put("J:RUN", 1)
    async with client.monitor("J:TEMP") as temperatures:
        await temperatures.next(lambda reading: abs(reading.value - 45.0) < 0.2)

    sim.clock.speed = 1.0
    await asyncio.gather(*(client.put(f"J:{name}.SCAN", 8) for name in ("STATUS", "EXT_TEMP")))  # 0.2 s
    async with client.monitor("J:CONDITION") as conditions, client.monitor("J:EXT_TEMP") as external:
        sim.level = 1.0
        broken = await conditions.next(lambda reading: reading.value == Condition.ALARM)
        assert broken.severity == AlarmSeverity.MAJOR_ALARM
        sim.level = 4.0
        await conditions.next(lambda reading: reading.value == Condition.OK)
        sim.external_sensor = False
        gone = await external.next(lambda reading: bool(reading.status == AlarmStatus.HWLIMIT))
        assert gone.severity == AlarmSeverity.INVALID_ALARM
        assert abs(gone.value - 45.0) < 10.0
        sim.external_sensor = True
        await external.next(lambda reading: bool(reading.severity == AlarmSeverity.NO_ALARM))

    async with client.monitor("J:MODE") as modes:
        sim.remote = False
        local = await modes.next(lambda reading: reading.value == Mode.MANUAL_STOP)
        assert local.severity == AlarmSeverity.MINOR_ALARM
        with pytest.raises(PutFailed):
            await client.put("J:SETP1", 20.0)
        message = bytes((await client.get("J:MESSAGE.VAL$")).value).partition(b"\0")[0].decode()
        assert "COMMAND NOT ALLOWED IN CURRENT OPERATING MODE" in message
        assert (await client.get("J:SETP1_RBV")).value == 45.0
