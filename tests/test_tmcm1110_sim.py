"""The simulated TMCM-1110, in frames of the manual and in its world."""

import struct

import pytest

from labioc.drivers.tmcm1110 import SearchMode
from labioc.sim import tmcm1110 as sim
from labioc.sim.core import Clock
from labioc.sim.tmc429 import Ramp

VERSION = "02 01 64 88 04 56 01 09 53"
RIGHT, REACHED, MODE = 10, 8, 138


def frame(text: str) -> bytes:
    return bytes.fromhex(text)


@pytest.fixture
def sim_module() -> sim.TMCM1110:
    return sim.TMCM1110(clock=Clock(manual=True))


def ask(m: sim.TMCM1110, *numbers: int, address: int = 1) -> tuple[int, int]:
    """Return status and value of the reply to command, type, motor, value."""
    body = struct.pack(">BBBBi", address, *(*numbers, 0, 0, 0)[:4])
    reply = m.receive(body + bytes([sum(body) % 256]))
    assert reply is not None
    assert reply[:2] == b"\x02\x01"
    assert reply[3] == numbers[0]
    assert sum(reply[:8]) % 256 == reply[8]
    return reply[2], struct.unpack(">i", reply[4:8])[0]


def get(m: sim.TMCM1110, number: int) -> int:
    status, value = ask(m, 6, number)
    assert status == 100
    return value


@pytest.mark.parametrize(
    ("numbers", "status"),
    [
        ((200,), 2),
        ((19, 0, 0, 1), 6),
        ((6, 17), 3),
        ((5, 8, 0, 1), 3),
        ((7, 1), 3),
        ((5, 4, 0, 2048), 4),
        ((5, 193, 0, 9), 4),
        ((4, 0, 0, 2**23), 4),
        ((4, 7, 0, 1), 3),
        ((4, 0, 1, 5), 4),
        ((1, 0, 0, 2048), 4),
        ((10, 66, 7), 4),
        ((10, 1, 0), 3),
        ((9, 128, 0, 1), 3),
        ((14, 9, 2, 1), 3),
        ((14, 0, 0, 1), 4),
        ((15, 7, 0), 3),
        ((15, 1, 1), 3),
        ((30, 21, 0, 1), 3),
        ((136, 7), 3),
    ],
)
def test_what_the_module_refuses(sim_module: sim.TMCM1110, numbers: tuple[int, ...], status: int) -> None:
    assert ask(sim_module, *numbers)[0] == status


def test_a_wrong_checksum_is_answered_and_another_address_is_not(sim_module: sim.TMCM1110) -> None:
    assert sim_module.receive(frame("01 06 01 00 00 00 00 00 09")) == frame("02 01 01 00 00 00 00 00 04")
    assert sim_module.receive(frame("02 06 01 00 00 00 00 00 09")) is None
    assert ask(sim_module, 6, 1, address=0) == (100, 0)  # what host software on USB sends


def test_the_version_in_both_forms(sim_module: sim.TMCM1110) -> None:
    assert sim_module.receive(frame("01 88 00 00 00 00 00 00 89")) == b"\x021110V109"
    assert sim_module.receive(frame("01 88 01 00 00 00 00 00 8a")) == frame(VERSION)


def test_settings_are_lost_without_power_unless_they_are_stored(sim_module: sim.TMCM1110) -> None:
    ask(sim_module, 5, 4, 0, 1234)
    ask(sim_module, 5, 5, 0, 321)
    ask(sim_module, 7, 4)
    ask(sim_module, 9, 3, 2, -77)
    ask(sim_module, 9, 4, 2, 78)
    ask(sim_module, 11, 3, 2)
    ask(sim_module, 4, 0, 0, 1000)
    sim_module.clock.advance(5)
    ask(sim_module, 6, 1)
    sim_module.power_cycle()
    assert [get(sim_module, number) for number in (4, 5, 1, 0)] == [1234, 500, 0, 0]
    assert ask(sim_module, 10, 3, 2) == (100, -77)
    assert ask(sim_module, 10, 4, 2) == (100, 0)
    assert sim_module.table.place == 1000  # nothing has moved


def test_a_locked_eeprom_keeps_what_it_has(sim_module: sim.TMCM1110) -> None:
    assert ask(sim_module, 9, 73, 0, 1234)[0] == 100
    assert ask(sim_module, 10, 73) == (100, 1)
    assert ask(sim_module, 7, 4)[0] == 5
    assert ask(sim_module, 9, 76, 0, 9)[0] == 5
    assert ask(sim_module, 9, 73, 0, 4321)[0] == 100
    assert ask(sim_module, 7, 4)[0] == 100


def test_an_address_is_kept(sim_module: sim.TMCM1110) -> None:
    ask_raw = sim_module.receive(frame("01 09 42 00 00 00 00 07 53"))
    assert ask_raw is not None
    assert ask_raw[2] == 100
    sim_module.power_cycle()
    assert sim_module.receive(frame("01 06 01 00 00 00 00 00 08")) is None
    reply = sim_module.receive(frame("07 06 01 00 00 00 00 00 0e"))
    assert reply is not None
    assert reply[1] == 7


def test_a_reply_repeats_the_commands_value(sim_module: sim.TMCM1110) -> None:
    for command, kind, value in (
        (1, 0, 7),
        (2, 0, 7),
        (3, 0, 7),
        (4, 0, 50),
        (4, 1, -50),
        (5, 4, 900),
        (13, 1, 7),
    ):
        assert ask(sim_module, command, kind, 0, value) == (100, value)


def test_factory_settings_come_without_a_reply(sim_module: sim.TMCM1110) -> None:
    ask(sim_module, 5, 4, 0, 1234)
    ask(sim_module, 7, 4)
    assert ask(sim_module, 137, 0, 0, 1)[0] == 4
    assert sim_module.receive(frame("01 89 00 00 00 00 04 d2 60")) is None
    assert get(sim_module, 4) == 1000


def test_a_reset_is_as_a_power_cycle(sim_module: sim.TMCM1110) -> None:
    ask(sim_module, 5, 1, 0, 500)
    assert ask(sim_module, 255, 0, 0, 1) == (100, 1)
    assert get(sim_module, 1) == 500
    assert ask(sim_module, 255, 0, 0, 1234) == (100, 1234)
    assert get(sim_module, 1) == 0


@pytest.mark.parametrize("before", [b"", b"*IDN?\r\n", b"\x01", bytes(8)])
def test_what_is_no_frame_is_dropped(sim_module: sim.TMCM1110, before: bytes) -> None:
    good, spoilt = frame("01 06 01 00 00 00 00 00 08"), frame("01 06 01 00 00 00 00 00 09")
    assert list(sim_module.split(bytearray(before + good + good))) == [good, good]
    assert list(sim_module.split(bytearray(spoilt + good))) == [spoilt, good]


def test_coordinates(sim_module: sim.TMCM1110) -> None:
    ask(sim_module, 30, 1, 0, 1000)
    assert ask(sim_module, 31, 1) == (100, 1000)
    assert ask(sim_module, 4, 2, 0, 1)[0] == 100
    assert get(sim_module, 0) == 1000
    sim_module.clock.advance(5)
    ask(sim_module, 32, 2)
    assert ask(sim_module, 31, 2) == (100, 1000)


def test_a_move_relative_to_the_position(sim_module: sim.TMCM1110) -> None:
    ask(sim_module, 5, 1, 0, 2000)
    assert sim_module.receive(frame("01 04 01 00 ff ff fc 18 18")) == frame("02 01 64 04 ff ff fc 18 7d")
    sim_module.clock.advance(2)
    assert get(sim_module, 1) == 1000


def test_download_mode_executes_nothing(sim_module: sim.TMCM1110) -> None:
    assert ask(sim_module, 132)[0] == 100
    assert ask(sim_module, 4, 0, 0, 1000)[0] == 101
    assert ask(sim_module, 133)[0] == 100
    assert get(sim_module, 0) == 0


def test_outputs_and_inputs(sim_module: sim.TMCM1110) -> None:
    ask(sim_module, 14, 7, 2, 1)
    assert ask(sim_module, 15, 7, 2) == (100, 1)
    assert ask(sim_module, 15, 255, 2) == (100, 128)
    sim_module.inputs[1] = True
    assert ask(sim_module, 15, 255, 0) == (100, 2)


def test_a_ramp_is_a_trapezoid(sim_module: sim.TMCM1110) -> None:
    # 1000 units at pulse divisor 3 are 30518 step/s; 100 units at ramp divisor 7 are 46566 step/s^2 (6.1)
    ask(sim_module, 5, 5, 0, 100)
    ask(sim_module, 4, 0, 0, 60_000)
    speeds = []
    for _ in range(60):
        speeds.append(get(sim_module, 3))
        sim_module.clock.advance(0.05)
    assert speeds[:3] == [0, pytest.approx(76, abs=2), pytest.approx(152, abs=2)]
    assert max(speeds) == 1000
    assert (get(sim_module, 1), get(sim_module, 3), get(sim_module, 8)) == (60_000, 0, 1)
    # acceleration, 40000 steps of which 20000 are ramps, deceleration
    total = 60_000 / 30_518 + 30_518 / 46_566
    assert 0.05 * len([s for s in speeds if s]) == pytest.approx(total, abs=0.1)


@pytest.mark.parametrize(("target", "soft"), [(60_000, 0), (-1_500_000, 0), (1_500_000, 1), (30, 0)])
def test_even_motion_is_the_same_in_one_stride(
    sim_module: sim.TMCM1110, target: int, soft: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    states = []
    for strides in (True, False):
        if not strides:
            monkeypatch.setattr(Ramp, "_even_ticks", lambda ramp: 0)
        m = sim.TMCM1110(clock=Clock(manual=True))
        for numbers in ((5, 149, 0, soft), (5, 4, 0, 2000), (4, 0, 0, target)):
            ask(m, *numbers)
        seen = []
        for seconds in (0.1, 0.4, 0.5, 2, 20):
            m.clock.advance(seconds)
            seen += [get(m, 1), get(m, 3), m.table.place]
        states.append(seen)
    assert states[0] == pytest.approx(states[1], abs=1e-3)


def test_the_target_speed_is_the_hardwares_in_a_move(sim_module: sim.TMCM1110) -> None:
    ask(sim_module, 5, 5, 0, 50)
    ask(sim_module, 4, 0, 0, -60_000)
    sim_module.clock.advance(0.2)
    assert get(sim_module, 2) == -1000
    sim_module.clock.advance(2.1)
    assert get(sim_module, 3) < 0
    assert get(sim_module, 2) == 0
    sim_module.clock.advance(5)
    assert [get(sim_module, number) for number in (1, 2, 3)] == [-60_000, 0, 0]


def test_the_position_counter_has_24_bits(sim_module: sim.TMCM1110) -> None:
    sim_module.table.right = 1e9
    ask(sim_module, 5, 1, 0, 2**23 - 1000)
    ask(sim_module, 1, 0, 0, 1000)
    sim_module.clock.advance(1)
    assert -(2**23) < get(sim_module, 1) < -(2**23) + 40_000


def test_a_limit_switch_stops_the_motor_short_of_its_target(sim_module: sim.TMCM1110) -> None:
    ask(sim_module, 4, 0, 0, 1_500_000)
    sim_module.clock.advance(40)
    assert [get(sim_module, number) for number in (3, REACHED, RIGHT, 11)] == [0, 0, 1, 0]
    assert get(sim_module, 1) == pytest.approx(1_000_000, abs=50)
    ask(sim_module, 1, 0, 0, 100)
    sim_module.clock.advance(1)
    assert get(sim_module, 3) == 0  # it doesn't go further
    ask(sim_module, 4, 0, 0, 900_000)
    sim_module.clock.advance(10)
    assert [get(sim_module, number) for number in (1, REACHED, RIGHT)] == [900_000, 1, 0]


def test_behind_a_limit_switch_that_is_ignored_the_motor_stalls(sim_module: sim.TMCM1110) -> None:
    ask(sim_module, 5, 12, 0, 1)
    ask(sim_module, 5, 181, 0, 100)
    ask(sim_module, 4, 0, 0, 1_500_000)
    sim_module.clock.advance(40)
    assert get(sim_module, 207) == 1
    assert [get(sim_module, number) for number in (3, REACHED, MODE)] == [0, 0, 2]
    assert sim_module.table.place == 1_010_000
    ask(sim_module, 4, 1, 0, -1000)
    assert get(sim_module, 207) == 0


def test_a_deviation_of_the_encoder_stops_the_motor(sim_module: sim.TMCM1110) -> None:
    ask(sim_module, 5, 212, 0, 500)
    sim_module.table.torque = 1.2
    ask(sim_module, 1, 0, 0, 100)
    sim_module.clock.advance(2)
    assert get(sim_module, 207) == 2
    assert get(sim_module, 1) == pytest.approx(500, abs=10)
    assert get(sim_module, 209) == 0


def test_the_motor_current_goes_down_at_standstill(sim_module: sim.TMCM1110) -> None:
    ask(sim_module, 4, 0, 0, 1000)
    sim_module.clock.advance(1)
    ask(sim_module, 6, 1)
    assert sim_module.current == 128 / 255
    sim_module.clock.advance(3)
    ask(sim_module, 6, 1)
    assert sim_module.current == 8 / 255


@pytest.mark.parametrize(
    ("mode", "begins", "zero"),
    [
        (SearchMode.LEFT, 900_000.0, -1_000_000.0),
        (SearchMode.RIGHT_LEFT, 0.0, -1_000_000.0),
        (SearchMode.RIGHT_LEFT_BOTH_SIDES, 0.0, -1_000_000.0),
        (SearchMode.LEFT_BOTH_SIDES, -900_000.0, -1_000_000.0),
        (SearchMode.HOME_LEFTWARDS, 100_000.0, 20_000.0),
        (SearchMode.HOME_LEFTWARDS, -900_000.0, -20_000.0),
        (SearchMode.HOME_RIGHTWARDS, -100_000.0, -20_000.0),
        (SearchMode.HOME_RIGHTWARDS_ONLY, -100_000.0, -20_000.0),
        (SearchMode.HOME_LEFTWARDS_ONLY, 100_000.0, 20_000.0),
        (SearchMode.RIGHT, 900_000.0, 1_000_000.0),
        (SearchMode.LEFT_RIGHT, 0.0, 1_000_000.0),
    ],
)
def test_a_reference_search_finds_the_switch(
    sim_module: sim.TMCM1110, mode: SearchMode, begins: float, zero: float
) -> None:
    sim_module.table.place = begins
    ask(sim_module, 5, 4, 0, 2000)
    ask(sim_module, 5, 194, 0, 2000)
    ask(sim_module, 5, 193, 0, mode)
    ask(sim_module, 13, 0)
    assert ask(sim_module, 13, 2)[1] > 0
    sim_module.clock.advance(300)
    assert ask(sim_module, 13, 2) == (100, 0)
    assert [get(sim_module, number) for number in (0, 1, REACHED)] == [0, 0, 1]
    assert sim_module.table.place == pytest.approx(zero, abs=5)
    if mode & 15 in (2, 3):
        assert get(sim_module, 196) == pytest.approx(2_000_000, abs=100)


def test_a_reference_search_is_stopped(sim_module: sim.TMCM1110) -> None:
    ask(sim_module, 13, 0)
    sim_module.clock.advance(1)
    assert get(sim_module, 3) < 0
    ask(sim_module, 13, 1)
    sim_module.clock.advance(1)
    assert get(sim_module, 3) == 0
    assert ask(sim_module, 13, 2) == (100, 0)
