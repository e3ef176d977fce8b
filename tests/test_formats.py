"""Ways to write a value: numerals, bytes, fields of fixed width, blocks, rewritten texts; also at a PV each."""

import enum
import math
import re
from datetime import timedelta, timezone
from typing import Any, NamedTuple

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from labioc.devices.core import Device, pv
from labioc.devices.core.table import describe
from labioc.drivers.core import (
    Array,
    Block,
    Bool,
    Driver,
    Enum,
    Fields,
    Flags,
    Float,
    Integer,
    Lines,
    Readback,
    Rewritten,
    Setpoint,
    Text,
    Time,
    ValueType,
)
from labioc.drivers.core.errors import DefinitionError, LimitError, ValueTypeError
from labioc.drivers.testing import transcript


class Level(enum.IntEnum):
    OFF = 0
    LOW = 1


class Bits(enum.IntFlag):
    OVERRANGE = 4
    OPEN = 16


class Ramp(NamedTuple):
    on: bool
    rate: float


class Colour(enum.Enum):
    RED = "R"
    GREEN = "GRN"
    OTHER = "?"


class Status(enum.IntEnum):
    OK = 100
    WRONG_VALUE = 4


class Reply(NamedTuple):
    host: int
    module: int
    status: Status
    command: int
    value: int


class Weight(NamedTuple):
    stability: str
    value: float
    unit: str


class State(NamedTuple):
    code: int
    text: str


TMCL_REPLY = Fields(
    Reply,
    "",
    host=Integer(spec="u1"),
    module=Integer(spec="u1"),
    status=Enum(Status, "u1"),
    command=Integer(spec="u1"),
    value=Integer(spec=">i4"),
)
# Pfeiffer's u_expo_new: four digits of mantissa, two of exponent; 100023 is 1.000e3
U_EXPO_NEW = Rewritten(
    Float("hPa", ".3e"),
    lambda text: f"{text[0]}.{text[1:4]}e{int(text[4:]) - 20}",
    lambda text: f"{text[0]}{text[2:5]}{int(text[6:]) + 20:02d}",
)
BACKWARDS = Rewritten(
    Integer(spec="08b"),
    lambda text: text.replace(".", "0").replace("!", "1")[::-1],
    lambda text: text.replace("0", ".").replace("1", "!")[::-1],
)


@pytest.mark.parametrize(
    ("value_type", "text", "value"),
    [
        # other bases, signs, widths
        (Integer(spec="x"), "1f", 31),
        (Integer(spec="04X"), "00FF", 255),
        (Integer(spec="#06x"), "0x00ff", 255),
        (Integer(spec="+05X"), "-00FF", -255),
        (Integer(spec="o"), "17", 15),
        (Integer(spec="08b"), "00000101", 5),
        (Integer(spec="06d"), "000633", 633),
        (Integer(spec="06d"), "-00001", -1),
        (Integer(spec="+04d"), "+042", 42),
        (Integer(spec="6d"), "   633", 633),
        (Float("V", "8.3f"), "  12.500", 12.5),
        # implied decimals, and steps per unit
        (Float("hPa", "06d", counts=100), "001571", 15.71),
        (Float("degC", ">i2", counts=10), "\xff\x9c", -10.0),
        (Float("mm", "d", counts=51200), "25600", 0.5),
        # mantissa and exponent: figures from StreamDevice's tests
        (Float(spec=".4m"), "1235+01", 12350.0),
        (Float(spec="+.4m"), "+1000-03", 1.0),
        (Float(spec=".6m"), "-123450-20", -1.2345e-15),
        (Float(spec=".4m"), "1000-103", 1e-100),
        (Float(spec="m"), "000000+00", 0.0),
        # bytes
        (Integer(spec="u1"), "\xff", 255),
        (Integer(spec="i1"), "\xff", -1),
        (Integer(spec=">i4"), "\xff\xff\xec\x78", -5000),
        (Integer(spec="<i4"), "\x78\xec\xff\xff", -5000),
        (Integer(spec=">u3"), "\x01\x02\x03", 0x010203),
        (Float(spec=">f4"), "\x40\x49\x0e\x56", 3.1414999961853027),
        (Float(spec="<f8"), "\x6f\x12\x83\xc0\xca\x21\x09\x40", 3.1415),
        (Integer(spec=">i2X"), "FFFE", -2),
        (Float(spec=">f4x"), "41c80000", 25.0),
        # packed decimal: figures from StreamDevice's tests
        (Integer(spec=">bcd4"), "\x01\x02\x03\x04", 1020304),
        (Integer(spec="<bcd4"), "\x04\x03\x02\x01", 1020304),
        (Integer(spec=">+bcd5"), "\xf0\x01\x02\x03\x04", -1020304),
        (Integer(spec="<+bcd5"), "\x04\x03\x02\x01\xf0", -1020304),
        (Integer(spec=">+bcd2"), "\x03\x04", 304),
        # types that are no numbers, and those of several values
        (Bool("111111", "000000"), "111111", True),
        (Bool("ON", "OFF"), "OFF", False),
        (Bool("\x00\x01", "\x00\x00"), "\x00\x01", True),
        (Enum(Level, "02d"), "01", Level.LOW),
        (Enum(Status, "u1"), "\x64", Status.OK),
        (Flags(Bits, "02X"), "14", Bits.OPEN | Bits.OVERRANGE),
        (Flags(Bits, ">u2"), "\x00\x10", Bits.OPEN),
        (Text(width=6), "TC_400", "TC_400"),
        (Text(width=6), "PPT   ", "PPT"),
        (TMCL_REPLY, "\x02\x01\x64\x13\xff\xff\xec\x78", Reply(2, 1, Status.OK, 0x13, -5000)),
        (
            Fields(Weight, " ", stability=Text(), value=Float("g", ".4f"), unit=Text()),
            "S 12.3456 g",
            Weight("S", 12.3456, "g"),
        ),
        (Time("%d.%m.%Y %H:%M:%S"), "01.02.2003 03:05:06", 1044068706.0),
        (Time("%d.%m.%Y %H:%M:%S", zone=timezone(timedelta(hours=1))), "01.02.2003 04:05:06", 1044068706.0),
        (Time("%Y-%m-%dT%H:%M:%S.%f%z"), "2003-02-01T03:05:06.250000+0000", 1044068706.25),
        # rewritten
        (U_EXPO_NEW, "100023", 1000.0),
        (BACKWARDS, "!.!.....", 5),
        (Block(Text()), "#3012twelve bytes", "twelve bytes"),
    ],
)
def test_both_ways(value_type: ValueType[Any], text: str, value: object) -> None:
    decoded = value_type.decode(text)
    assert decoded == value
    assert type(decoded) is type(value)
    if text != "#3012twelve bytes":
        assert value_type.encode(value_type.check(value)) == text
    assert value_type.agree(decoded, decoded)
    if value_type.width is not None:
        assert len(text) == value_type.width


@pytest.mark.parametrize(
    ("value_type", "reply", "value"),
    [
        (Integer(spec="x"), " 0x1F\r", 31),
        (Integer(spec="06d"), "+633", 633),
        (Float(spec="06d", counts=10), "5", 0.5),
        (Enum(Colour, default=Colour.OTHER), "mauve", Colour.OTHER),
        (Enum(Colour, default=Colour.OTHER), " GRN ", Colour.GREEN),
        (Enum(Level, default=Level.OFF), "99", Level.OFF),
        (
            Fields(Weight, " ", stability=Text(), value=Float("g"), unit=Text()),
            "S     12.3456 g",
            Weight("S", 12.3456, "g"),
        ),
        (
            Fields(State, re.compile(r"(-?\d+) (.*)"), code=Integer(), text=Text()),
            "-08 INVALID COMMAND",
            State(-8, "INVALID COMMAND"),
        ),
        (Rewritten(Float("K"), r"=\s*(\S+)K"), "T1= 10.5000K (stable)", 10.5),
        (Rewritten(Integer(), r"\d+"), "channel 12 of 16", 12),
        (Rewritten(Float(), lambda text: re.sub(r"(.*)([+-])$", r"\2\1", text)), "1.23-", -1.23),
        (Block(Float()), "#01.5", 1.5),
        (Time("%d %B %Y %H:%M"), " 3 September 2010 15:45 ", 1283528700.0),
    ],
)
def test_replies_that_are_written_otherwise(value_type: ValueType[Any], reply: str, value: object) -> None:
    assert value_type.decode(reply) == value


@pytest.mark.parametrize(
    ("value_type", "reply"),
    [
        (Integer(spec="x"), "-1f"),
        (Integer(spec="x"), "1_f"),
        (Integer(spec="08b"), "012"),
        (Integer(spec=">i4"), "\x01\x02\x03"),
        (Integer(spec=">i2"), "\u20ac\u20ac"),
        (Integer(spec=">i2X"), " 12 "),
        (Integer(spec=">bcd2"), "\x1a\x00"),
        (Integer(spec=">+bcd2"), "\x70\x00"),
        (Float(spec=".4m"), "1234"),
        (Float(spec=".4m"), "12.4+01"),
        (Float(spec="06d", counts=10), "1.5"),
        (Bool("ON", "OFF"), "1"),
        (Enum(Colour), "mauve"),
        (Enum(Status, "u1"), "\x07"),
        (TMCL_REPLY, "\x02\x01\x64\x13\xff\xff\xec"),
        (TMCL_REPLY, "\x02\x01\x64\x13\xff\xff\xec\x78\xdc"),
        (TMCL_REPLY, "\x02"),
        (Fields(State, re.compile(r"(-?\d+) (.*)"), code=Integer(), text=Text()), "OK"),
        (Time(), "yesterday"),
        (Rewritten(Integer(), r"\d+"), "none"),
        (U_EXPO_NEW, "10"),
        (Block(Text()), "#9"),
        (Block(Text()), "#213twelve bytes"),
        (Block(Text()), "twelve bytes"),
        (Block(Text()), ""),
    ],
)
def test_replies_that_are_no_value(value_type: ValueType[Any], reply: str) -> None:
    with pytest.raises(ValueError):  # which the port takes for a reply that does not parse
        value_type.decode(reply)


@pytest.mark.parametrize(
    ("value_type", "value", "text"),
    [
        (Integer(spec="06d"), 1_000_000, "1000000 is beyond the limits -99999 to 999999"),
        (Integer(spec="02X"), 256, "256 is beyond the limits 0 to 255"),
        (Integer(spec="02X"), -1, "-1 is beyond the limits 0 to 255"),
        (Integer(spec="+03d"), 100, "100 is beyond the limits -99 to 99"),
        (Integer(spec="#04x"), 256, "256 is beyond the limits 0 to 255"),
        (Integer(spec=">i2"), 40_000, "40000 is beyond the limits -32768 to 32767"),
        (Integer(spec=">+bcd1"), 10, "10 is beyond the limits -9 to 9"),
        (Float("degC", ">i2", counts=10), 3277, "3277 is beyond the limits -3276.8 to 3276.7 degC"),
        (Float("degC", ">i2", counts=10, limits=(0, 300)), 301, "beyond the limits 0 to 300 degC"),
        (Float("V", "6.2f"), 1000, "expected 6 characters, 1000.0 needs 7: '1000.00'"),
        (Float("V", ">f4"), 1e39, r"1e\+39 does not fit into 4 bytes"),
        (Text(width=3), "four", "expected at most 3 characters"),
        (Enum(Colour, default=Colour.OTHER), Colour.OTHER, "OTHER may not be set, only RED, GREEN"),
        (Time(), -1, "-1 is beyond the limits"),
        (TMCL_REPLY, Reply(256, 1, Status.OK, 0, 0), "host: 256 is beyond the limits 0 to 255"),
        (U_EXPO_NEW, math.inf, "expected a finite number"),
    ],
)
def test_what_does_not_fit_is_refused_before_it_is_sent(
    value_type: ValueType[Any], value: object, text: str
) -> None:
    with pytest.raises(LimitError, match=text):
        value_type.check(value)


def test_fields_that_a_pattern_finds_are_only_read() -> None:
    state = Fields(State, re.compile(r"(-?\d+) (.*)"), code=Integer(), text=Text())
    with pytest.raises(ValueTypeError, match="can't be written"):
        state.check(State(1, "x"))


def test_what_is_counted_in_whole_steps_agrees_to_one_step() -> None:
    position = Float("mm", ">i4", counts=51200)
    assert position.agree(100.00001, 100.0)
    assert not position.agree(100.0, 100.00005)
    assert Time().agree(1044068706.4, 1044068706.0)
    assert not Time().agree(1044068706.0, 1044068708.0)
    assert U_EXPO_NEW.agree(1000.4, 1000.0)  # four digits were sent


@pytest.mark.parametrize(
    ("make", "text"),
    [
        (
            lambda: Integer(spec=".3f"),
            "'.3f' is no format of a whole number; expected one like '06d' or '>i2'",
        ),
        (lambda: Float(spec="i2"), "'i2' is no format of a number; expected one like '.3f'"),
        (lambda: Float(spec=">f3"), "'>f3' is no format"),
        (lambda: Float(spec="%.3f"), "'%.3f' is no format"),
        (lambda: Integer(spec=">f4"), "'>f4' is no format of a whole number"),
        (lambda: Float(spec=".3f", counts=10), "'.3f' is no format of a whole number"),
        (lambda: Float(spec="d", counts=0), "counts=0"),
        (lambda: Integer(spec="02d", limits=(0, 100)), r"'02d' writes -9 to 99, not \(0, 100\)"),
        (lambda: Float("V", "u1", counts=10, limits=(0, 30)), r"'u1' writes 0 to 25.5, not \(0, 30\)"),
        (lambda: Integer(limits=(2, 1)), r"expected limits as \(lowest, highest\)"),
        (lambda: Enum(Status, "01d"), "Status: expected 1 characters, 100 needs 3"),
        (lambda: Flags(Bits, "01X"), "Bits: expected 1 characters"),
        (lambda: Bool("1", "1"), "expected two texts"),
        (lambda: Fields(State, "", code=Integer(), text=Text()), "code: of no width, with nothing behind it"),
        (lambda: Fields(State, re.compile("(.)"), code=Integer(), text=Text()), "has 1 groups for 2 fields"),
        (lambda: Rewritten(Integer(), "("), "no regular expression"),
        (lambda: Rewritten(Fields(Ramp, on=Bool(), rate=Float()), r".*"), "Fields aren't rewritten as one"),
    ],
)
def test_formats_that_cannot_be(make: Any, text: str) -> None:
    with pytest.raises(DefinitionError, match=text):
        make()


@given(
    st.data(),
    st.sampled_from([">i2", "<i4", "u1", ">u8", "<i3", ">bcd2", "<+bcd3", ">i2X", "06d", "+5d", "04x", "#o"]),
)
def test_whole_numbers_come_back(data: st.DataObject, spec: str) -> None:
    value_type = Integer(spec=spec)
    low, high = value_type.limits or (0, 10**6)
    number = data.draw(st.integers(int(low), int(high)))
    text = value_type.encode(value_type.check(number))
    assert value_type.decode(text) == number
    assert value_type.width in (None, len(text))


@given(st.floats(-1e6, 1e6), st.sampled_from([">f8", "<f4", ".12e", "+.9m", ".6f"]))
def test_numbers_come_back(number: float, spec: str) -> None:
    value_type = Float(spec=spec)
    assert value_type.decode(value_type.encode(number)) == pytest.approx(number, rel=1e-6, abs=1e-6)


# through a PV each


class Formats(Driver):
    protocol = Lines(eol="\r\n", identify=("*IDN?", "FORMATS"))

    hex_ = Setpoint(Integer(spec="04X"), ask="HEX?", tell="HEX {value}")
    raw = Readback(Integer(spec=">u4"), ask="RAW?")
    pressure = Setpoint(Float("hPa", "06d", counts=100, limits=(0, 1000)), ask="P?", tell="P {value}")
    expo = Readback(U_EXPO_NEW, ask="E?")
    mantissa = Readback(Float("Pa", "+.4m"), ask="M?")
    pump = Setpoint(Bool("111111", "000000"), ask="PUMP?", tell="PUMP {value}")
    colour = Readback(Enum(Colour, default=Colour.OTHER), ask="COL?")
    bits = Readback(Flags(Bits, "02X"), ask="BITS?")
    clock = Setpoint(Time(), ask="TIME?", tell="TIME {value}")
    trace = Readback(Block(Array(Float("V", "u1", counts=10), 8, separator="")), ask="CURV?")
    name_ = Setpoint(Text(width=6), ask="NAME?", tell="NAME {value}")
    state = Readback(Fields(State, re.compile(r"(-?\d+) (.*)"), code=Integer(), text=Text()), ask="STATUS")


class FormatPVs(Device):
    """Formats."""

    hex_ = pv(Formats.hex_, name="HEX")
    raw = pv(Formats.raw, name="RAW")
    pressure = pv(Formats.pressure, name="P", unit="Pa")
    expo = pv(Formats.expo, name="EXPO", unit="Pa")
    mantissa = pv(Formats.mantissa, name="M")
    pump = pv(Formats.pump, name="PUMP")
    colour = pv(Formats.colour, name="COL")
    bits = pv(Formats.bits, name="BITS")
    clock = pv(Formats.clock, name="CLOCK")
    trace = pv(Formats.trace, name="TRACE", unit="mV")
    name_ = pv(Formats.name_, name="NAME")
    code = pv(Formats.state, field=State.code, name="CODE")
    text = pv(Formats.state, field=State.text, name="TEXT")


@pytest.mark.parametrize(
    ("parameter", "answer", "name", "value"),
    [
        ("hex_", "00FF", "HEX_RBV", 255),
        ("raw", "\xff\xff\xff\xff", "RAW", 2**32 - 1),
        ("pressure", "001571", "P_RBV", 1571.0),
        ("expo", "100023", "EXPO", 100000.0),
        ("mantissa", "+1235+01", "M", 12350.0),
        ("pump", "111111", "PUMP_RBV", 1),
        ("colour", "mauve", "COL", 2),
        ("bits", "14", "BITS", 20),
        ("clock", "2003-02-01 03:05:06", "CLOCK_RBV", 1044068706.0),
        ("trace", "#12\x0a\x05", "TRACE", [1000.0, 500.0]),
        ("name_", "PPT   ", "NAME_RBV", "PPT"),
        ("state", "-08 INVALID COMMAND", "CODE", -8),
        ("state", "-08 INVALID COMMAND", "TEXT", "INVALID COMMAND"),
    ],
)
async def test_a_reading_at_its_pv(parameter: str, answer: str, name: str, value: object) -> None:
    question = Formats.specs[parameter].wire("")[-1]
    async with transcript(Formats, [(question, answer)], identity="FORMATS") as formats:
        record = FormatPVs("F:", driver=formats).pvdb[f"F:{name}"]
        await getattr(formats, parameter).read()
        shown = record.value.tolist() if isinstance(record.value, np.ndarray) else record.value
        assert shown == pytest.approx(value) if isinstance(value, float | list) else shown == value


@pytest.mark.parametrize(
    ("name", "value", "command", "question", "answer"),
    [
        ("HEX", 255, "HEX 00FF", "HEX?", "00FF"),
        ("P", 1571.0, "P 001571", "P?", "001571"),
        ("PUMP", 1, "PUMP 111111", "PUMP?", "111111"),
        ("CLOCK", 1044068706.0, "TIME 2003-02-01 03:05:06", "TIME?", "2003-02-01 03:05:06"),
        ("NAME", "PPT", "NAME PPT   ", "NAME?", "PPT   "),
    ],
)
async def test_a_put_at_its_pv(name: str, value: Any, command: str, question: str, answer: str) -> None:
    async with transcript(Formats, [(command, None), (question, answer)], identity="FORMATS") as formats:
        record: Any = FormatPVs("F:", driver=formats).pvdb[f"F:{name}"]
        await record.putter(value)
        assert record.value == value


def test_limits_and_units_at_the_pv() -> None:
    device = FormatPVs("F:", driver=Formats("tcp://h:1"))
    rows = {row[0].removeprefix("F:"): row for row in describe(device)}
    assert rows["P"][1:4] == ("ao", "Pa", "0 to 100000")
    assert rows["HEX"][1:4] == ("longout", "", "0 to 65535")
    assert rows["RAW"][1] == "int64in"  # it is unsigned, and would not fit a longin
    assert rows["EXPO"][1:3] == ("ai", "Pa")
    assert rows["PUMP"][1] == "bo"
    assert rows["COL"][3] == "RED|GREEN|OTHER"
    assert rows["TRACE"][1:3] == ("waveform", "mV")
    assert rows["NAME"][1] == "stringout"
