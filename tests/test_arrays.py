"""Arrays: as NumPy has them, both ways, checked, and what does not fit is refused."""

from typing import Any

import numpy as np
import pytest

from labioc.drivers.core import Array, Block, Driver, Float, Integer, Lines, Readback, Setpoint, Time
from labioc.drivers.core.errors import DefinitionError, LimitError, ReadingInvalid, ReplyError, ValueTypeError
from labioc.drivers.core.values import ValueType
from labioc.drivers.testing import transcript


@pytest.mark.parametrize(
    ("value_type", "text", "value", "dtype"),
    [
        (Array(Float(spec=".1f"), 4), "1.0,2.5", [1.0, 2.5], np.float64),
        (Array(Float(spec=".1f"), 4, separator=" "), "1.0 2.5", [1.0, 2.5], np.float64),
        (Array(Integer(), 4), "1,-2", [1, -2], np.int64),
        (Array(Integer(spec="02X"), 4), "0F,10", [15, 16], np.int64),
        (Array(Integer(spec=">i2"), 4, separator=""), "\x00\x01\xff\xff", [1, -1], np.int64),
        (Array(Integer(spec="u1"), 4, separator=""), "\x00\xff", [0, 255], np.int64),
        (Array(Integer(spec="<u8"), 4, separator=""), "\xff" * 8, [2**64 - 1], np.uint64),
        (Array(Float(spec="<f4"), 4, separator=""), "\x00\x00\x80\x3f", [1.0], np.float32),
        (Array(Float(spec=">f8"), 4, separator=""), "\x3f\xf0" + 6 * "\0", [1.0], np.float64),
        (Array(Float("V", "u1", counts=10), 4, separator=""), "\x0a\x05", [1.0, 0.5], np.float64),
        (Array(Float("V", "<i2"), 4, separator=""), "\x0a\x00", [10.0], np.float64),
        (Array(Integer(spec=">u3"), 4, separator=""), "\x00\x00\x01\x00\x01\x00", [1, 256], np.int64),
        (Array(Integer(spec="02d"), 4, separator=""), "0142", [1, 42], np.int64),
        (Array(Time("%H:%M"), 4), "00:01,00:02", [-2208988740.0, -2208988680.0], np.float64),
        (Array(Float(), 4), "", [], np.float64),
        (Block(Array(Integer(spec="u1"), 10, separator="")), "#13\x01\n\xff", [1, 10, 255], np.int64),
    ],
)
def test_both_ways(value_type: ValueType[Any], text: str, value: list[float], dtype: Any) -> None:
    decoded = value_type.decode(text)
    assert decoded.tolist() == value
    assert decoded.dtype == dtype
    assert not decoded.flags.writeable
    assert value_type.agree(decoded, decoded)
    if "Time" not in repr(value_type) and min(value, default=0) > -1e9:
        for given in (value, tuple(value), np.array(value, dtype)):
            assert value_type.encode(value_type.check(given)) == text


@pytest.mark.parametrize(
    ("value_type", "reply"),
    [
        (Array(Integer(spec=">i2"), 4, separator=""), "\x00\x01\xff"),
        (Array(Integer(spec=">i2"), 1, separator=""), "\x00\x01\xff\xff"),
        (Array(Integer(spec=">i2"), 4, separator=""), "\u20ac\u20ac"),
        (Array(Integer(), 4), "1,2.5"),
        (Array(Integer(), 4), "1_0,2"),
        (Array(Integer(), 4), "1,,2"),
        (Array(Integer(), 4), "1,99999999999999999999"),
        (Array(Float(), 4), "1.0,OVER"),
        (Array(Float(), 1), "1.0,2.0"),
        (Block(Array(Integer(spec="u1"), 10, separator="")), "#13\x01\n"),
    ],
)
def test_replies_that_are_none(value_type: ValueType[Any], reply: str) -> None:
    with pytest.raises(ValueError):
        value_type.decode(reply)


@pytest.mark.parametrize(
    ("value_type", "value", "error", "text"),
    [
        (Array(Integer(), 4), "12", ValueTypeError, "expected a sequence of numbers, got '12'"),
        (Array(Integer(), 4), 5, ValueTypeError, "got 5"),
        (Array(Integer(), 4), [1.5], ValueTypeError, "a sequence of whole numbers"),
        (Array(Integer(), 4), [True], ValueTypeError, "a sequence of whole numbers"),
        (Array(Float(), 4), [[1.0]], ValueTypeError, "a sequence of numbers"),
        (Array(Float(), 4), [1.0, [2.0]], ValueTypeError, "a sequence of numbers"),
        (Array(Float(), 4), ["a"], ValueTypeError, "a sequence of numbers"),
        (Array(Float(), 2), [1.0, 2.0, 3.0], LimitError, "expected 2 numbers at most, got 3"),
        (Array(Float(), 2), [1.0, float("nan")], LimitError, "expected finite numbers"),
        (Array(Float("V", "<f4"), 2, separator=""), [1e300], LimitError, "numbers that fit into float32"),
        (Array(Float("mm", limits=(0, 5)), 2), [1.0, 5.5], LimitError, "5.5 is beyond the limits 0 to 5 mm"),
        (Array(Integer(spec="u1"), 2, separator=""), [-1], LimitError, "-1 is beyond the limits 0 to 255"),
    ],
)
def test_what_is_not_sent(value_type: Array, value: Any, error: type[Exception], text: str) -> None:
    with pytest.raises(error, match=text):
        value_type.check(value)


def test_arrays_that_cannot_be() -> None:
    with pytest.raises(DefinitionError, match="numbers of no width"):
        Array(Integer(), 3, separator="")
    with pytest.raises(DefinitionError, match="one at least"):
        Array(Integer(), 0)


def test_what_is_kept_is_compared_to_the_resolution_of_the_wire() -> None:
    array = Array(Float(spec=".1f"), 4)
    assert array.agree(array.check([1.04, 2.0]), np.array([1.0, 2.0]))
    assert not array.agree(array.check([1.04, 2.0]), np.array([1.2, 2.0]))
    assert not array.agree(array.check([1.0]), np.array([1.0, 2.0]))


class Generator(Driver):
    protocol = Lines(eol="\n", identify=("*IDN?", "GEN"), blocks=True)

    wave = Setpoint(Block(Array(Integer(spec="<i2"), 4, separator="")), ask="WAVE?", tell="WAVE {value}")


async def test_a_written_array_is_a_copy_and_reads_back() -> None:
    said = [("WAVE #14\x01\x00\xff\xff", None), ("WAVE?", "#14\x01\x00\xff\xff")]
    points = np.array([1, -1])
    async with transcript(Generator, said, identity="GEN") as generator:
        await generator.wave.write(points)
        points[0] = 7
        assert generator.wave.value.tolist() == [1, -1]


class Judged(Driver):
    protocol = Lines(eol="\n", identify=("*IDN?", "JUDGE"))

    points = Readback(Array(Float(), 4), ask="P?")
    inside = Readback(Float(), ask="X?", valid_if=points.where(lambda points: bool((points < 5).all())))
    equal = Readback(Float(), ask="Y?", valid_if=points == 1)


async def test_a_condition_on_an_array_is_a_function_of_it() -> None:
    said = [("P?", "1,2"), ("X?", "3"), ("P?", "1,9"), ("X?", "3"), ("P?", "1,2"), ("Y?", "3")]
    async with transcript(Judged, said, identity="JUDGE") as judged:
        assert await judged.inside.read() == 3
        with pytest.raises(ReadingInvalid, match="not valid, since points is"):
            await judged.inside.read()
        with pytest.raises(ReplyError, match="equal: valid_if= of points does not compute"):
            await judged.equal.read()
