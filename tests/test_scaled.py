"""Setpoints in a unit that other settings make, and commands of several messages."""

import pytest

from labioc.devices.core import Device, pv
from labioc.drivers.core import Command, Driver, Float, Integer, Lines, Offset, Readback, Scaled, Setpoint
from labioc.drivers.core.errors import LimitError, RefusedError, ReplyError
from labioc.drivers.testing import transcript


class Wheel(Driver):
    """A wheel whose speed stands on the wire in units of a divided clock."""

    protocol = Lines(eol="\n", identify=("*IDN?", "WHEEL"), accepted=lambda answer: answer == "OK")
    divisor = Setpoint(Integer(limits=(0, 8)), ask="DIV?", tell="DIV {value}")
    raw = Setpoint(Integer(limits=(0, 100)), ask="SPD?", tell="SPD {value}")
    speed = Scaled(Float("Hz", limits=(0, 25600)), raw, divisor, unit=lambda divisor: 256.0 / 2**divisor)
    position = Readback(Float("mm"), ask="POS?")
    target = Setpoint(Float("mm", ".1f", limits=(0, 100)), ask="TGT?", tell="TGT {value}")
    move = Offset(target, position)
    turning = Readback(Integer(), ask="RUN?")
    stop = Command(tell=("BRAKE", "OFF"), refreshes=[turning])


class WheelPVs(Device):
    """The PVs of the wheel."""

    speed = pv(Wheel.speed, name="SPEED")
    stop = pv(Wheel.stop, name="STOP")


async def test_it_is_read_with_what_makes_its_unit() -> None:
    async with transcript(Wheel, [("SPD?", "10"), ("DIV?", "3")], identity="WHEEL") as wheel:
        assert await wheel.speed.read() == 320.0


async def test_it_is_written_in_the_unit_of_that_moment() -> None:
    said = [("DIV?", "3"), ("SPD?", "10"), ("DIV?", "4"), ("SPD 31", "OK"), ("SPD?", "31")]
    async with transcript(Wheel, said, identity="WHEEL") as wheel:
        await wheel.divisor.read()
        await wheel.raw.read()
        assert wheel.speed.value == 320.0
        await wheel.speed.write(500.0)  # another client has changed the divisor
        assert wheel.divisor.value == 4
        assert wheel.speed.value == 496.0
        assert wheel.speed.agrees(500.0, wheel.speed.value)
        assert not wheel.speed.agrees(510.0, wheel.speed.value)


async def test_what_is_not_possible_with_these_settings_is_not_sent() -> None:
    async with transcript(Wheel, [("DIV?", "8")], identity="WHEEL") as wheel:
        with pytest.raises(
            LimitError, match="500 Hz is not possible at present: .*500 is beyond the limits 0 to 100"
        ):
            await wheel.speed.write(500.0)
        with pytest.raises(LimitError, match="beyond the limits 0 to 25600 Hz"):
            await wheel.speed.write(30000.0)


async def test_a_value_that_the_instrument_did_not_keep_is_refused() -> None:
    said = [("DIV?", "0"), ("SPD 2", "OK"), ("SPD?", "1")]
    async with transcript(Wheel, said, identity="WHEEL") as wheel:
        with pytest.raises(RefusedError, match="kept 1"):
            await wheel.speed.write(512.0)
        assert wheel.speed.value == 256.0


async def test_a_command_of_several_messages_sends_them_in_their_order() -> None:
    async with transcript(Wheel, [("BRAKE", "OK"), ("OFF", "OK"), ("RUN?", "0")], identity="WHEEL") as wheel:
        await wheel.stop.execute()
        assert wheel.turning.value == 0


async def test_a_step_leads_to_a_setpoint_within_its_limits() -> None:
    said = [("POS?", "30"), ("TGT 25.0", "OK"), ("TGT?", "25.0"), ("POS?", "25"), ("POS?", "bad")]
    async with transcript(Wheel, said, identity="WHEEL") as wheel:
        wheel.target.narrow(10, 50)
        await wheel.move.write(-5.0)
        assert (wheel.target.value, wheel.position.value, wheel.move.value) == (25.0, 30.0, -5.0)
        with pytest.raises(LimitError, match="55 is beyond the station's limits 10 to 50 mm"):
            await wheel.move.write(30.0)
        with pytest.raises(LimitError, match="beyond the limits -100 to 100 mm"):
            await wheel.move.write(101.0)
        with pytest.raises(ReplyError):
            await wheel.move.write(1.0)


def test_it_has_a_readback_and_limits_at_its_pv() -> None:
    device = WheelPVs("W:", driver=Wheel("tcp://h:1"))
    assert device.pvdb["W:SPEED"].info.drive == (0, 25600)
    assert device.pvdb["W:SPEED_RBV"].info.egu == "Hz"
