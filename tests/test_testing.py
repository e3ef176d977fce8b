"""Transcripts: they pass when the driver talks as they say, and else show the difference."""

import pytest

from labioc.drivers.core import Command, Driver, Float, Lines, Readback, Setpoint
from labioc.drivers.core.errors import AddressError, ReplyTimeout, WrongInstrument
from labioc.drivers.core.links import parse
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


def test_the_scheme_comes_from_an_entry_point() -> None:
    assert parse("transcript://any").scheme == "transcript"
    with pytest.raises(AddressError, match=r"known schemes: serial, tcp\)"):
        parse("pigeon://any")
