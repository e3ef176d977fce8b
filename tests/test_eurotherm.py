"""The Eurotherm controllers: their messages as the manual has them, and an oven that they control."""

from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from labioc.drivers.core.driver import Driver
from labioc.drivers.core.errors import LimitError, ReadingInvalid, RefusedError
from labioc.drivers.eurotherm import InstrumentMode, Mode, SetpointSelect, Source, Units
from labioc.drivers.eurotherm2400 import ControlStatus, Eurotherm2400
from labioc.drivers.eurotherm2400 import Status as Status2400
from labioc.drivers.eurotherm3200 import Eurotherm3200, TimerStatus
from labioc.drivers.eurotherm3200 import Status as Status3200
from labioc.drivers.eurotherm3500 import Eurotherm3500
from labioc.drivers.testing import transcript
from labioc.sim import eurotherm2400, eurotherm3200, eurotherm3500
from labioc.sim.core import Clock
from labioc.sim.eurotherm import CONFIGURATION, ROOM, ZERO, Eurotherm
from labioc.sim.modbus import crc

Read = Callable[[Any], Awaitable[Any]]


def framed(text: str) -> bytes:
    message = bytes.fromhex(text)
    return message + crc(message)


IDENTITY = {
    Eurotherm2400: framed("02 03 02 24 40"),
    Eurotherm3200: framed("02 03 02 E1 63"),
    Eurotherm3500: framed("02 03 02 00 01"),
}


@pytest.mark.parametrize(
    ("source", "driver", "said", "read", "value"),
    [
        (
            "HA028651 15.5",
            Eurotherm3200,
            [
                ("02 03 02 0D 00 01", "02 03 02 00 01"),
                ("02 03 00 4B 00 01", "02 03 02 00 00"),
                ("02 03 00 01 00 01", "02 03 02 00 B7"),
            ],
            lambda c: c.temperature.read(),
            18.3,
        ),
        (
            "HA028651 15.5",
            Eurotherm3200,
            [("02 03 02 0D 00 01", "02 03 02 00 00"), ("02 03 00 05 00 01", "02 03 02 FF FB")],
            lambda c: c.working_setpoint.read(),
            -5.0,
        ),
        (
            "HA028651 15.5, 75",
            Eurotherm3200,
            [("02 03 00 4B 00 01", "02 03 02 80 21")],
            lambda c: c.status.read(),
            Status3200.ALARM_1 | Status3200.SENSOR_BREAK | Status3200.AUTOTUNE,
        ),
        (
            "HA028651 15.5, 4",
            Eurotherm3200,
            [("02 03 00 04 00 01", "02 03 02 03 E8")],
            lambda c: c.working_output.read(),
            100.0,
        ),
        (
            "HA026230 5.3, 273",
            Eurotherm2400,
            [("02 03 01 11 00 01", "02 03 02 00 01")],
            lambda c: c.mode.read(),
            Mode.MANUAL,
        ),
        (
            "HA026230 5.12, 75",
            Eurotherm2400,
            [("02 03 00 4B 00 01", "02 03 02 04 30")],
            lambda c: c.status.read(),
            Status2400.MANUAL | Status2400.SENSOR_BREAK | Status2400.PV_OUT_OF_RANGE,
        ),
        (
            "HA026230 5.12, 76",
            Eurotherm2400,
            [("02 03 00 4C 00 01", "02 03 02 90 02")],
            lambda c: c.control_status.read(),
            ControlStatus.MANUAL | ControlStatus.AUTOTUNE | ControlStatus.SENSOR_BROKEN,
        ),
        # 6.1: the target setpoint at 8004h; 6.4: 1.001 is 3F80 20C5; 6.5: two minutes are 0001 D4C0
        (
            "HA026230 6.4",
            Eurotherm2400,
            [("02 03 80 04 00 02", "02 03 04 3F 80 20 C5")],
            lambda c: c.target.read(),
            pytest.approx(1.001),
        ),
        (
            "HA026230 6.5",
            Eurotherm2400,
            [("02 03 80 10 00 02", "02 03 04 00 01 D4 C0")],
            lambda c: c.integral_time.read(),
            120.0,
        ),
        (
            "HA026230 5, 107",
            Eurotherm2400,
            [("02 03 00 6B 00 01", "02 03 02 03 04")],
            lambda c: c.version.read(),
            0x0304,
        ),
        (
            "HA026230 5, 516",
            Eurotherm2400,
            [("02 03 02 04 00 01", "02 03 02 00 02")],
            lambda c: c.units.read(),
            Units.KELVIN,
        ),
        (
            "HA027988 Loop.1.Main.PV",
            Eurotherm3500,
            [("02 03 00 4B 00 01", "02 03 02 00 00"), ("02 03 80 02 00 02", "02 03 04 43 A0 A0 00")],
            lambda c: c.temperature.read(),
            321.25,
        ),
        (
            "HA027988 Alarm.3.Threshold",
            Eurotherm3500,
            [("02 03 D0 42 00 02", "02 03 04 43 A0 A0 00")],
            lambda c: c.alarm3_threshold.read(),
            321.25,
        ),
    ],
)
async def test_readings(
    source: str, driver: type[Driver], said: list[tuple[str, str]], read: Read, value: object
) -> None:
    lines = [(framed(ask), framed(reply)) for ask, reply in said]
    async with transcript(driver, lines, identity=IDENTITY[driver], address="2") as controller:
        assert await read(controller) == value, source


async def test_the_setpoint_of_the_2400_is_an_ieee_number() -> None:
    lines = [
        (framed("02 10 80 04 00 02 04 41 C8 00 00"), framed("02 10 80 04 00 02")),
        (framed("02 03 80 04 00 02"), framed("02 03 04 41 C8 00 00")),
    ]
    async with transcript(Eurotherm2400, lines, identity=IDENTITY[Eurotherm2400], address="2") as controller:
        await controller.target.write(25.0)
        with pytest.raises(LimitError):
            await controller.target.write(10000.0)  # nothing is sent


async def test_the_setpoint_of_the_3200_has_the_decimals_of_the_display() -> None:
    """3.16 of HA026230: a setpoint of 25.0 is written as 250."""
    lines = [
        (framed("02 03 02 0D 00 01"), framed("02 03 02 00 01")),
        (bytes.fromhex("02 06 00 02 00 FA A8 7A"), bytes.fromhex("02 06 00 02 00 FA A8 7A")),
        (framed("02 03 00 02 00 01"), framed("02 03 02 00 FA")),
    ]
    async with transcript(Eurotherm3200, lines, identity=IDENTITY[Eurotherm3200], address="2") as controller:
        await controller.target.write(25.0)


async def test_a_refusal() -> None:
    lines = [(framed("02 10 80 04 00 02 04 45 9C 40 00"), framed("02 90 03"))]
    async with transcript(Eurotherm2400, lines, identity=IDENTITY[Eurotherm2400], address="2") as controller:
        with pytest.raises(RefusedError, match="exception 3: illegal data value"):
            await controller.target.write(5000.0)


@pytest.mark.parametrize("driver", [Eurotherm2400, Eurotherm3200, Eurotherm3500])
async def test_another_series_is_another_instrument(driver: type[Driver]) -> None:
    for series, identity in IDENTITY.items():
        try:
            async with transcript(driver, [], identity=identity, address="2"):
                assert series is driver
        except ConnectionError:
            assert series is not driver


# The oven


def cold(kind: type[Eurotherm]) -> Any:
    return kind(clock=Clock(manual=True))


async def test_the_oven_goes_to_its_setpoint_by_a_ramp() -> None:
    oven = cold(eurotherm3200.Eurotherm3200)
    async with oven.serve("tcp://127.0.0.1:0") as url, Eurotherm3200.open(url, address="1") as controller:
        assert await controller.temperature.read() == ROOM
        await controller.setpoint_rate.write(30.0)  # per minute
        await controller.target.write(200.0)
        oven.clock.advance(60.0)
        assert await controller.working_setpoint.read() == pytest.approx(55.0, abs=0.2)
        assert await controller.status.read() & Status3200.TIMER_RUNNING
        assert await controller.working_output.read() > 5.0
        oven.clock.advance(1800.0)
        assert await controller.temperature.read() == pytest.approx(200.0, abs=2.0)
        assert not await controller.status.read() & Status3200.TIMER_RUNNING


async def test_by_hand() -> None:
    oven = cold(eurotherm2400.Eurotherm2400)
    async with oven.serve("tcp://127.0.0.1:0") as url, Eurotherm2400.open(url, address="1") as controller:
        with pytest.raises(RefusedError):
            await controller.manual_output.write(20.0)  # in automatic the controller has the output
        await controller.mode.write(Mode.MANUAL)
        await controller.manual_output.write(20.0)
        oven.clock.advance(3600.0)
        # 160 W against 1.5 W/K
        assert await controller.temperature.read() == pytest.approx(ROOM + 160 / 1.5, abs=2.0)
        await controller.output_high.write(15.0)
        oven.clock.advance(1.0)
        assert await controller.working_output.read() == 15.0
        with pytest.raises(RefusedError):
            await controller.manual_output.write(20.0)


@pytest.mark.parametrize(
    ("kind", "driver"),
    [
        (eurotherm2400.Eurotherm2400, Eurotherm2400),
        (eurotherm3200.Eurotherm3200, Eurotherm3200),
        (eurotherm3500.Eurotherm3500, Eurotherm3500),
    ],
)
async def test_a_broken_sensor_is_no_reading_and_the_output_is_safe(
    kind: type[Eurotherm], driver: type[Any]
) -> None:
    oven = cold(kind)
    async with oven.serve("tcp://127.0.0.1:0") as url, driver.open(url, address="1") as controller:
        await controller.target.write(300.0)
        oven.clock.advance(20.0)
        assert await controller.temperature.read() > ROOM
        oven.sensor_broken = True
        oven.clock.advance(1.0)
        with pytest.raises(ReadingInvalid, match="sensor_break is True"):
            await controller.temperature.read()
        output = controller.active_output if driver is Eurotherm3500 else controller.working_output
        assert await output.read() == 0.0
        oven.sensor_broken = False
        assert await controller.temperature.read() > ROOM


async def test_autotune_finds_terms_and_ends() -> None:
    oven = cold(eurotherm2400.Eurotherm2400)
    async with oven.serve("tcp://127.0.0.1:0") as url, Eurotherm2400.open(url, address="1") as controller:
        await controller.target.write(150.0)
        await controller.autotune.write(True)
        assert await controller.status.read() & Status2400.TUNE_ACTIVE
        oven.clock.advance(3000.0)
        assert not await controller.autotune.read()
        assert await controller.proportional_band.read() != 60.0
        oven.clock.advance(3000.0)
        assert await controller.temperature.read() == pytest.approx(150.0, abs=3.0)


async def test_alarms_come_and_go_with_hysteresis() -> None:
    oven = cold(eurotherm3200.Eurotherm3200)
    async with oven.serve("tcp://127.0.0.1:0") as url, Eurotherm3200.open(url, address="1") as controller:
        await controller.mode.write(Mode.MANUAL)
        await controller.alarm1_setpoint.write(50.0)
        for temperature, state in ((49.0, False), (50.5, True), (49.5, True), (48.5, False)):
            oven.load.temperature = oven.element.temperature = temperature + ZERO
            oven.clock.advance(0.5)
            assert await controller.alarm1.read() is state, temperature
        assert await controller.status.read() & Status3200.NEW_ALARM
        await controller.acknowledge.execute()
        assert not controller.status.value & Status3200.NEW_ALARM


async def test_a_remote_setpoint_that_is_not_renewed_fails() -> None:
    oven = cold(eurotherm3200.Eurotherm3200)
    async with oven.serve("tcp://127.0.0.1:0") as url, Eurotherm3200.open(url, address="1") as controller:
        await controller.remote_setpoint.write(80.0)
        await controller.source.write(Source.REMOTE)
        oven.clock.advance(4.0)
        assert await controller.working_setpoint.read() == 80.0
        oven.clock.advance(2.0)
        assert await controller.remote_failed.read()
        assert await controller.working_setpoint.read() == 25.0


async def test_selections() -> None:
    oven = cold(eurotherm3200.Eurotherm3200)
    async with oven.serve("tcp://127.0.0.1:0") as url, Eurotherm3200.open(url, address="1") as controller:
        await controller.setpoint2.write(66.5)
        await controller.setpoint_select.write(SetpointSelect.SP2)
        assert controller.target.value == 66.5
        await controller.timer_status.write(TimerStatus.RUN)
        await controller.instrument_mode.write(InstrumentMode.STANDBY)
        oven.clock.advance(1.0)
        assert await controller.working_output.read() == 0.0
        with pytest.raises(LimitError):
            await controller.instrument_mode.write(InstrumentMode.CONFIGURATION)
        oven.instrument_mode = CONFIGURATION
        assert await controller.instrument_mode.read() is InstrumentMode.CONFIGURATION
