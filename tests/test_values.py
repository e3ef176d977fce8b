"""Value types, both ways, and what they refuse; the errors as a driver gives them."""

import enum
import math
from typing import Any, NamedTuple

import numpy as np
import pytest

from labioc.drivers.core import (
    Bool,
    Driver,
    Enum,
    Fields,
    Flags,
    Float,
    Integer,
    Lines,
    Readback,
    Setpoint,
    Text,
    ValueType,
)
from labioc.drivers.core.errors import DefinitionError, LimitError, ReplyError, UserError, ValueTypeError
from labioc.drivers.testing import transcript


class Level(enum.IntEnum):
    OFF = 0
    LOW = 1


class Mode(enum.Enum):
    LOCAL = "LOC"
    REMOTE = "REM"


class Bits(enum.IntFlag):
    OVERRANGE = 4
    OPEN = 16


class Ramp(NamedTuple):
    on: bool
    rate: float


class Labels(NamedTuple):
    name: str
    serial: str


RAMP = Fields(Ramp, on=Bool(), rate=Float("K/min", ".1f", limits=(0, 100)))


@pytest.mark.parametrize(
    ("value_type", "reply", "value"),
    [
        (Float(), "+77.350", 77.35),
        (Float(), " -1.5E-3 ", -0.0015),
        (Float(), "000", 0.0),
        (Integer(), "+007", 7),
        (Integer(), "-12", -12),
        (Bool(), "1", True),
        (Bool(), "00", False),
        (Text(), "Input A        ", "Input A"),
        (Enum(Level), "1", Level.LOW),
        (Enum(Mode), "REM", Mode.REMOTE),
        (Flags(Bits), "020", Bits.OPEN | Bits.OVERRANGE),
        (RAMP, "1,+010.5", Ramp(True, 10.5)),
    ],
)
def test_decode(value_type: ValueType[Any], reply: str, value: object) -> None:
    decoded = value_type.decode(reply)
    assert decoded == value
    assert type(decoded) is type(value)


def test_not_a_number_is_a_value() -> None:
    # its PV is INVALID and keeps the last good one: that is the device's part
    assert math.isnan(Float().decode("NAN"))


def test_bits_that_the_manual_does_not_name_are_kept() -> None:
    assert int(Flags(Bits).decode("5")) == 5


@pytest.mark.parametrize(
    ("value_type", "value", "text"),
    [
        (Float(), 77, "77"),
        (Float("K", ".3f"), 77.35, "77.350"),
        (Float(), np.float32(0.5), "0.5"),
        (Integer(), np.int64(12), "12"),
        (Bool(), True, "1"),
        (Bool(), 0, "0"),
        (Text(), "Sample", "Sample"),
        (Enum(Level), Level.LOW, "1"),
        (Enum(Level), 1, "1"),
        (Enum(Mode), "LOC", "LOC"),
        (Flags(Bits), Bits.OPEN | Bits.OVERRANGE, "20"),
        (RAMP, Ramp(True, 10), "1,10.0"),
    ],
)
def test_encode(value_type: ValueType[Any], value: object, text: str) -> None:
    assert value_type.encode(value_type.check(value)) == text


@pytest.mark.parametrize(
    ("value_type", "value", "error", "text"),
    [
        (Float(), "77", ValueTypeError, "expected a number, got '77'"),
        (Float(), True, ValueTypeError, "expected a number, got True"),
        (Float(), math.nan, LimitError, "expected a finite number, got nan"),
        (Float(), -math.inf, LimitError, "expected a finite number, got -inf"),
        (Float("K", limits=(0, 400)), 400.1, LimitError, "400.1 is beyond the limits 0 to 400 K"),
        (Integer(), 1.0, ValueTypeError, "expected a whole number, got 1.0"),
        (Integer(limits=(1, 9)), 0, LimitError, "0 is beyond the limits 1 to 9"),
        (Bool(), 2, ValueTypeError, "expected True or False, got 2"),
        (Bool(), "1", ValueTypeError, "expected True or False, got '1'"),
        (Text(), 7, ValueTypeError, "expected a text, got 7"),
        (Text(3), "four", LimitError, "expected at most 3 characters, got 4: 'four'"),
        (Text(), "a\r\nRANGE 1,3", LimitError, r"does not take the character '\\r'"),
        (Text(), "\xb0C", LimitError, "does not take the character '°'"),
        (Text(forbidden='"'), 'a"b', LimitError, "does not take the character '\"'"),
        (Enum(Level), 7, LimitError, r"expected one of 0 \(OFF\), 1 \(LOW\), got 7"),
        (Enum(Level), 1.0, ValueTypeError, r"expected a Level \(OFF, LOW\), got 1.0"),
        (Flags(Bits), 1, LimitError, "expected bits out of 0x14, got 1"),
        (Flags(Bits), -4, LimitError, "expected bits out of 0x14, got -4"),
        (RAMP, 10.5, ValueTypeError, r"expected Ramp\('on', 'rate'\), got 10.5"),
        (RAMP, Ramp(True, 101.0), LimitError, "rate: 101 is beyond the limits 0 to 100 K/min"),
        (RAMP, (2, 1.0), ValueTypeError, "on: expected True or False, got 2"),
        (
            Fields(Labels, name=Text(), serial=Text()),
            Labels("a,b", "c"),
            LimitError,
            "name: the instrument does not take ',' in 'a,b'",
        ),
    ],
)
def test_refused_before_it_is_sent(
    value_type: ValueType[Any], value: object, error: type[UserError], text: str
) -> None:
    with pytest.raises(error, match=text):
        value_type.check(value)


def test_what_the_instrument_keeps_agrees_to_the_resolution_of_the_wire() -> None:
    assert Float("K", ".3f").agree(77.0004, 77.0)
    assert not Float("K", ".3f").agree(77.0, 77.01)
    assert Float().agree(1.234567, 1.23457)
    assert not Float().agree(1.0, 1.001)
    assert not Float().agree(1.0, math.nan)
    assert RAMP.agree(Ramp(True, 10.0), Ramp(True, 10.04))
    assert not RAMP.agree(Ramp(True, 10.0), Ramp(False, 10.0))


def test_types_that_cannot_be_right() -> None:
    with pytest.raises(DefinitionError, match="Ramp has the fields on, rate; got types for rate, on"):
        Fields(Ramp, rate=Float(), on=Bool())
    mixed = enum.Enum("mixed", {"A": 1, "B": "two"})
    with pytest.raises(DefinitionError, match="mixed: expected codes that are all numbers or all texts"):
        Enum(mixed)


# the same, as a driver gives it


class Bench(Driver):
    protocol = Lines(eol="\r\n", join=";", identify=("*IDN?", "BENCH"))

    temperature = Readback(Float("K"), ask="TEMP?")
    count = Readback(Integer(), ask="COUNT?")
    on = Readback(Bool(), ask="ON?")
    level = Readback(Enum(Level), ask="LEVEL?")
    mode = Readback(Enum(Mode), ask="MODE?")
    bits = Readback(Flags(Bits), ask="BITS?")
    ramp = Readback(RAMP, ask="RAMP?")
    label = Setpoint(Text(), tell='LABEL "{value}"')
    power = Setpoint(Float("W", ".1f", limits=(0, 50)), tell="POWER {value}")


@pytest.mark.parametrize(
    ("parameter", "question", "expected"),
    [
        ("temperature", "TEMP?", "a number"),
        ("count", "COUNT?", "a whole number"),
        ("on", "ON?", "0 or 1"),
        ("level", "LEVEL?", "one of 0 (OFF), 1 (LOW)"),
        ("mode", "MODE?", "one of LOC (LOCAL), REM (REMOTE)"),
        ("bits", "BITS?", "a sum of bit weights"),
        ("ramp", "RAMP?", "2 fields (on, rate) with ',' between them"),
    ],
)
@pytest.mark.parametrize("junk", ["", "1_000", "OVERFLOW", "77.3 K", "-1,2", "\xa5\xff"])
async def test_junk_is_an_error_that_says_all(
    parameter: str, question: str, expected: str, junk: str
) -> None:
    async with transcript(Bench, [(question, junk)], identity="BENCH") as bench:
        with pytest.raises(ReplyError) as caught:
            await getattr(bench, parameter).read()
        assert getattr(bench, parameter).error is caught.value
    assert isinstance(caught.value, ValueError)
    assert (
        str(caught.value)
        == f"Bench: {parameter}: {question!r} was answered with {junk!r}; expected {expected}"
    )


async def test_a_bad_write_sends_nothing_and_says_where() -> None:
    async with transcript(Bench, [], identity="BENCH") as bench:
        with pytest.raises(LimitError, match="^Bench: power: 51 is beyond the limits 0 to 50 W$"):
            await bench.power.write(51)
        with pytest.raises(LimitError, match="^Bench: power: expected a finite number, got nan$"):
            await bench.power.write(math.nan)
        with pytest.raises(
            LimitError, match="^Bench: label: the protocol does not take ';' in 'a;POWER 50'$"
        ):
            await bench.label.write("a;POWER 50")
        with pytest.raises(LimitError, match=r"^Bench: label: .* the character '\\n' in 'a\\nPOWER 50'$"):
            await bench.label.write("a\nPOWER 50")


async def test_a_station_narrows_limits_and_never_widens_them() -> None:
    async with transcript(Bench, [("POWER 10.0", None)], identity="BENCH") as bench:
        bench.power.narrow(0, 10)
        with pytest.raises(LimitError, match="11 is beyond the station's limits 0 to 10"):
            await bench.power.write(11)
        await bench.power.write(10)
        with pytest.raises(
            LimitError, match=r"narrow limits, not widen them: 0 to 51 is not inside \(0, 50\)"
        ):
            bench.power.narrow(0, 51)
        with pytest.raises(LimitError):
            await bench.power.write(11)
