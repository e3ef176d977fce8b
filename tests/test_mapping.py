"""Devices: what is refused when a class is made, how values and units become PVs, which PVs there are."""

from enum import IntEnum, IntFlag
from typing import NamedTuple

import pytest

from labioc.devices.core import Alarm, Device, DeviceGroup, SubGroup, SubGroups, pv
from labioc.drivers.core import (
    Bool,
    Channel,
    Channels,
    Command,
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
)
from labioc.drivers.core.errors import DefinitionError, UnitError


class Colour(IntEnum):
    RED = 3
    GREEN = 7
    BLUE = 9


class Bits(IntFlag):
    ONE = 1


class Pair(NamedTuple):
    on: bool
    rate: float


class Lamp(Channel):
    level = Readback(Float("%"), ask="L? {ch}")
    pair = Setpoint(
        Fields(Pair, on=Bool(), rate=Float("K/min", limits=(0, 60))), ask="P? {ch}", tell="P {ch},{value}"
    )


class Bench(Driver):
    """A bench."""

    protocol = Lines(eol="\n", identify=("*IDN?", "BENCH"), variants={"big": "BIG"})
    lamps = Channels(Lamp, "AB", variants={"big": ("C",)})
    temperature = Readback(Float("K"), ask="T?", doc="Inside the box.\n\nNear the lid.")
    target = Setpoint(Float("K", limits=(273.15, 373.15)), ask="S?", tell="S {value}")
    colour = Setpoint(Enum(Colour), ask="C?", tell="C {value}")
    bits = Readback(Flags(Bits), ask="B?")
    count = Readback(Integer(), ask="N?")
    name_ = Setpoint(Text(12), ask="NAME?", tell="NAME {value}")
    note = Readback(Text(), ask="NOTE?")
    blind_pair = Setpoint(Fields(Pair, on=Bool(), rate=Float()), tell="BP {value}")
    stop = Command(tell="STOP", doc="Everything off")


class Unrelated(Channel):
    level = Readback(Float(), ask="X?")


def device(**lines: object) -> type[Device]:
    return type("BenchPVs", (Device,), {"__doc__": "A bench.", **lines})


def made(**lines: object) -> Device:
    return device(**lines)("B:", driver=Bench("tcp://h:1"))


@pytest.mark.parametrize(
    ("line", "message"),
    [
        (lambda: pv(Bench.temperature, name="T", unit="psi"), r"'K' does not convert to 'psi'"),
        (lambda: pv(Bench.temperature, name="T", unit="Kelvn"), "unknown unit 'Kelvn'"),
        (lambda: pv(Bench.colour, name="C", unit="K"), "only numbers with a unit convert"),
        (lambda: pv(Lamp.pair, name="P"), "has several fields"),
        (lambda: pv(Lamp.pair, name="P", field=Colour.RED), r"field= is none of Pair.on, Pair.rate"),
        (lambda: pv(Bench.temperature, name="T", field=Pair.on), "has no fields"),
        (lambda: pv(Bench.blind_pair, name="P", field=Pair.on), "where the others can't be asked for"),
        (lambda: pv(Bench.temperature, name="A.B"), "no blanks, dots or braces"),
        (lambda: pv(Bench.temperature, name=""), "no blanks, dots or braces"),
        (lambda: pv(Bench.temperature, name="T", scan=0), "expected a scan period"),
        (lambda: pv(Bench.colour, name="C", alarm=Alarm(high=2)), "alarm limits are for numbers"),
        (lambda: SubGroups(DeviceGroup, of=Lamp, prefix="{ch}:"), "must be channels"),  # type: ignore[arg-type]
        (lambda: Bench.lamps["Z"], "no channel 'Z'; expected one of A, B, C"),
    ],
)
def test_a_wrong_line_is_refused_when_it_is_read(line: object, message: str) -> None:
    assert callable(line)
    with pytest.raises((DefinitionError, UnitError), match=message):
        line()


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ({"prefix": pv(Bench.count, name="N")}, "the name 'prefix' is taken"),
        ({"pvdb": pv(Bench.count, name="N")}, "the name 'pvdb' is taken"),
        ({"link": pv(Bench.count, name="N")}, "the name 'link' is taken"),
        ({"a": pv(Bench.count, name="N"), "b": pv(Bench.temperature, name="N")}, "'N', which a has already"),
    ],
)
def test_a_wrong_class_is_refused_when_it_is_made(body: dict[str, object], message: str) -> None:
    with pytest.raises(DefinitionError, match=message):
        device(**body)


def test_a_group_of_another_channels_lines_is_refused_when_the_class_is_made() -> None:
    class UnrelatedPVs(DeviceGroup):
        level = pv(Unrelated.level, name="L")

    with pytest.raises(
        DefinitionError, match=r"UnrelatedPVs.level refers to Unrelated.level, which Lamp does not have"
    ):
        device(a=SubGroup(UnrelatedPVs, prefix="A:", of=Bench.lamps["A"]))


def test_another_instruments_line_is_refused_when_the_device_is_made() -> None:
    with pytest.raises(DefinitionError, match=r"refers to Unrelated.level, which Bench does not have"):
        made(level=pv(Unrelated.level, name="L"))


def test_records_follow_the_value_types() -> None:
    bench = made(
        temperature=pv(Bench.temperature, name="T"),
        target=pv(Bench.target, name="S"),
        colour=pv(Bench.colour, name="C"),
        bits=pv(Bench.bits, name="B"),
        count=pv(Bench.count, name="N"),
        label=pv(Bench.name_, name="NAME"),
        note=pv(Bench.note, name="NOTE"),
        stop=pv(Bench.stop, name="STOP"),
    )
    rtyps = {name.removeprefix("B:"): record.info.rtyp for name, record in bench.pvdb.items()}
    assert {name: rtyp for name, rtyp in rtyps.items() if not name.startswith("LINK:")} == {
        "MESSAGE": "lsi",
        "SIM": "bi",
        "T": "ai",
        "S": "ao",
        "S_RBV": "ai",
        "C": "mbbo",
        "C_RBV": "mbbi",
        "B": "longin",
        "N": "longin",
        "NAME": "stringout",
        "NAME_RBV": "stringin",
        "NOTE": "lsi",
        "STOP": "bo",
    }
    assert bench.pvdb["B:C"].info.states == ("RED", "GREEN", "BLUE")
    assert bench.pvdb["B:T"].info.desc == "Inside the box"
    assert bench.pvdb["B:N"].info.desc == "count"


def test_units_convert_limits_as_values_and_the_unit_text_can_be_its_own() -> None:
    bench = made(
        target=pv(Bench.target, name="S", unit="degC"),
        other=pv(Bench.temperature, name="T", egu="kelvin"),
    )
    assert bench.pvdb["B:S"].info.drive == pytest.approx((0.0, 100.0))
    assert bench.pvdb["B:S"].info.egu == "degC"
    assert bench.pvdb["B:T"].info.egu == "kelvin"


def test_a_group_for_each_channel_and_none_for_those_of_another_variant() -> None:
    class LampPVs(DeviceGroup):
        level = pv(Lamp.level, name="L")
        rate = pv(Lamp.pair, field=Pair.rate, name="RATE")

    kind = device(lamps=SubGroups(LampPVs, of=Bench.lamps, prefix="LAMP{ch}:"))
    plain = kind("B:", driver=Bench("tcp://h:1"))
    big = kind("B:", driver=Bench("tcp://h:1", variant="big"))
    assert "B:LAMPA:L" in plain.pvdb
    assert "B:LAMPC:L" not in plain.pvdb
    assert "B:LAMPC:L" in big.pvdb
    assert big.pvdb["B:LAMPC:RATE"].info.drive == (0, 60)


def test_groups_nest_with_prefixes_and_macros() -> None:
    class Inner(DeviceGroup):
        level = pv(Lamp.level, name="L")

    class Outer(DeviceGroup):
        inner = SubGroup(Inner, prefix="{inner}:")

    kind = device(outer=SubGroup(Outer, prefix="OUT:", of=Bench.lamps["B"]))
    bench = kind("{site}:", driver=Bench("tcp://h:1"), macros={"site": "LAB", "inner": "IN"})
    assert "LAB:OUT:IN:L" in bench.pvdb
    (entry,) = bench.entries
    assert entry.bound.label == "lamps[B].level"


def test_a_readback_is_read_in_the_shortest_period_of_its_pvs() -> None:
    bench = made(
        a=pv(Bench.temperature, name="A", scan=5),
        b=pv(Bench.temperature, name="B", scan=0.5, unit="degC"),
        c=pv(Bench.count, name="C", scan=None),
    )
    periods = {readback.label: period for readback, period in bench.periods().items()}
    assert periods == {"temperature": 0.5, "count": None}
