"""Transcripts: they pass when the driver talks as they say, and else show the difference."""

import pytest

from labioc.drivers.core import Command, Driver, Float, Lines, Readback, Setpoint, Text
from labioc.drivers.core.checksums import HEXLRC
from labioc.drivers.core.errors import (
    AddressError,
    ReplyError,
    ReplyTimeout,
    TruncatedReply,
    WrongInstrument,
)
from labioc.drivers.core.framing import FixedFramer
from labioc.drivers.core.links import parse
from labioc.drivers.core.protocol import Frames
from labioc.drivers.testing import transcript

IDENTITY = "HEATER,7"


class Heater(Driver):
    protocol = Lines(
        eol="\r\n",
        timeout=3600,
        identify=("*IDN?", "HEATER,"),
        join=";",
        confirm=("ERR?", lambda answer: answer == "0"),
    )

    power = Setpoint(Float("W", ".1f"), ask="POW?", tell="POW {value}")
    temperature = Readback(Float("K"), ask="TEMP?")
    stop = Command(tell="STOP")


class Mute(Driver):
    """It has neither a question that names itself nor one that confirms."""

    protocol = Lines(eol="\r", timeout=3600, max_late=0.001)

    power = Setpoint(Float("W", ".1f"), tell="POW {value}")
    temperature = Readback(Float("K"), ask="TEMP?")


async def test_a_driver_that_talks_as_the_transcript_says() -> None:
    lines = [("POW 5.0;ERR?;POW?", "0;5.0"), ("TEMP?", "+77.35"), ("STOP;ERR?", "0")]
    async with transcript(Heater, lines, identity=IDENTITY) as heater:
        await heater.power.write(5)
        assert await heater.temperature.read() == 77.35
        await heater.stop.execute()


async def test_something_else_was_sent() -> None:
    with pytest.raises(AssertionError) as caught:
        async with transcript(Heater, [("POW 5.0;ERR?;POW?", "0;5.0")], identity=IDENTITY) as heater:
            await heater.power.write(6)
    text = str(caught.value)
    assert "- POW 5.0;ERR?;POW?" in text
    assert "+ POW 6.0;ERR?;POW?" in text
    assert isinstance(caught.value.__cause__, ReplyTimeout)


async def test_something_else_was_sent_and_the_error_was_swallowed() -> None:
    async def test() -> None:
        async with transcript(Heater, [("TEMP?", "4.2")], identity=IDENTITY) as heater:
            await heater.temperature.read()
            with pytest.raises(ReplyTimeout):
                await heater.stop.execute()

    with pytest.raises(AssertionError, match=r"(?s)  TEMP\?.*\+ STOP;ERR\?"):
        await test()


async def test_a_line_was_not_used() -> None:
    with pytest.raises(AssertionError, match=r"(?s)  TEMP\?.*- STOP;ERR\?"):
        async with transcript(Heater, [("TEMP?", "4.2"), ("STOP;ERR?", "0")], identity=IDENTITY) as heater:
            await heater.temperature.read()


async def test_the_order_counts() -> None:
    with pytest.raises(AssertionError, match="in the transcript"):
        async with transcript(Heater, [("TEMP?", "1"), ("STOP;ERR?", "0")], identity=IDENTITY) as heater:
            await heater.stop.execute()


async def test_a_failure_of_the_test_itself_is_not_hidden_by_unused_lines() -> None:
    with pytest.raises(ZeroDivisionError):
        async with transcript(Heater, [("TEMP?", "4.2")], identity=IDENTITY):
            raise ZeroDivisionError


async def test_silence_is_a_time_out_without_the_wait_and_then_all_is_well() -> None:
    # the protocol's time-out is an hour
    lines = [("TEMP?", None), ("TEMP?", "4.2")]
    async with transcript(Heater, lines, identity=IDENTITY) as heater:
        with pytest.raises(ReplyTimeout, match=r"Heater: temperature: no reply within 3600 s; sent b'TEMP\?"):
            await heater.temperature.read()
        assert await heater.temperature.read() == 4.2


async def test_the_question_for_the_identity_may_stand_in_it() -> None:
    class Named(Heater):
        again = Readback(Float(), ask="*IDN?")

    async with transcript(Named, [("*IDN?", "5")], identity=IDENTITY) as heater:
        assert await heater.again.read() == 5


async def test_an_instrument_without_identity_and_confirmation() -> None:
    async with transcript(Mute, [("POW 5.0", None), ("TEMP?", None), ("TEMP?", "4.2")]) as mute:
        await mute.power.write(5)
        with pytest.raises(ReplyTimeout):
            await mute.temperature.read()
        assert await mute.temperature.read() == 4.2


async def test_the_wrong_identity_is_refused() -> None:
    with pytest.raises(WrongInstrument, match="expected an instrument that answers .* answers b'COOLER'"):
        async with transcript(Heater, [], identity="COOLER"):
            pytest.fail("it must not connect")


class Checked(Driver):
    protocol = Lines(eol=("\r", "\n"), send_eol=";", checksum=HEXLRC, max_late=0.001)

    temperature = Readback(Float("K"), ask="TEMP?")
    event = Readback(Text(), unasked="EVENT (.*)")


async def test_a_checksum_is_put_on_both_sides() -> None:
    async with transcript(Checked, [("TEMP?", "4.2"), ("TEMP?", b"4.300\r")]) as driver:
        assert await driver.temperature.read() == 4.2
        with pytest.raises(ReplyError):
            await driver.temperature.read()
    with pytest.raises(AssertionError, match=r"\n- TEMP\?"):
        async with transcript(Checked, [("TEMP?", "4.2")]):
            pass


async def test_what_comes_unasked_stands_behind_the_answer() -> None:
    event = HEXLRC.append(b"EVENT door") + b"\n"
    async with transcript(Checked, [("TEMP?", HEXLRC.append(b"4.2") + b"\r" + event)]) as driver:
        assert await driver.temperature.read() == 4.2
        assert driver.event.value == "door"


async def test_half_a_reply() -> None:
    async with transcript(Mute, [("TEMP?", b"4."), ("TEMP?", "4.2")]) as mute:
        with pytest.raises(TruncatedReply, match=r"stopped after b'4\.'"):
            await mute.temperature.read()
        assert await mute.temperature.read() == 4.2


class Binary(Driver):
    protocol = Frames(
        framing=lambda: FixedFramer(2), pack=str.encode, unpack=lambda frame: str(frame[1]), max_late=0.001
    )

    gap = Readback(Float("mm"), ask="GAP")


async def test_frames_are_answered_in_bytes() -> None:
    async with transcript(Binary, [("GAP", b"\x01\x07"), (b"GAP", b"\x01\x08")]) as driver:
        assert await driver.gap.read() == 7
        assert await driver.gap.read() == 8
    with pytest.raises(AssertionError, match=r"\n- 47 41 50"):
        async with transcript(Binary, [("GAP", b"\x01\x07")]):
            pass
    with pytest.raises(TypeError, match="a frame as it is on the wire"):
        async with transcript(Binary, [("GAP", "7")]):
            pass


def test_the_scheme_comes_from_an_entry_point() -> None:
    assert parse("transcript://any").scheme == "transcript"
    with pytest.raises(AddressError, match=r"known schemes: rfc2217, serial, tcp\)"):
        parse("pigeon://any")
