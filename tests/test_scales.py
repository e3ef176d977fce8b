"""Counters of steps in the station's units: limits, alarms, deadbands, puts and settings of their PVs."""

from collections.abc import AsyncIterator

import pytest
import pytest_asyncio
from tests.ca import Client, PutFailed

from labioc.devices.core import Alarm, Device, DeviceGroup, Scale, SubGroups, pv
from labioc.devices.core.records import AlarmSeverity
from labioc.drivers.core import Channel, Channels, Driver, Float, Integer, Lines, Readback, Setpoint
from labioc.drivers.core.errors import DefinitionError, LimitError, UnitError
from labioc.iocs.core import Host, Instrument, InstrumentConfig
from labioc.iocs.core.command import Failure
from labioc.iocs.core.run import run_arguments
from labioc.sim.core import Command, LineSimulator, integer


class Slide(Channel):
    """A slide."""

    position = Readback(Float("step"), ask="POS? {ch}")
    target = Setpoint(
        Float("step", "d", counts=1, limits=(-1000, 4000)), ask="TGT? {ch}", tell="TGT {ch},{value}"
    )
    speed = Readback(Float("step/s"), ask="SPD? {ch}")
    top_speed = Setpoint(
        Float("step/s", "d", counts=1, limits=(0, 500)), ask="TOP? {ch}", tell="TOP {ch},{value}"
    )
    turns = Readback(Integer(), ask="TURNS? {ch}")


class Slides(Driver):
    """Two slides."""

    protocol = Lines(eol="\n", timeout=0.5, identify=("*IDN?", "SLIDES"))
    slides = Channels(Slide, (0, 1))
    counter = Readback(Integer("step"), ask="CNT?")


class SlidePVs(DeviceGroup):
    """A slide."""

    position = pv(
        Slide.position,
        name="POS",
        precision=0,
        scan=0.1,
        alarm=Alarm(lolo=-900, low=-800, high=3000, hysteresis=10),
        mdel=5,
        display=(-1000, 4000),
    )
    target = pv(Slide.target, name="TARGET", precision=0, scan=0.1)
    speed = pv(Slide.speed, name="SPEED", precision=0)
    top_speed = pv(Slide.top_speed, name="TOP", precision=0)
    turns = pv(Slide.turns, name="TURNS")


class SlidesPVs(Device):
    """Two slides."""

    slides = SubGroups(SlidePVs, of=Slides.slides, prefix="S{ch}:")
    counter = pv(Slides.counter, name="COUNT")


class SlidesSimulator(LineSimulator):
    """They are at once where they are told to be."""

    terminators_in = b"\n"
    terminator_out = b"\n"

    def __init__(self) -> None:
        super().__init__()
        self.targets = [0, 0]
        self.top = [100, 100]

    @Command("*IDN?")
    def _idn(self) -> str:
        return "SLIDES"

    @Command("POS?", integer(0, 1))
    def _position(self, slide: int) -> str:
        return str(self.targets[slide])

    @Command("TGT?", integer(0, 1))
    def _target(self, slide: int) -> str:
        return str(self.targets[slide])

    @Command("TGT", integer(0, 1), integer(-1000, 4000))
    def _set_target(self, slide: int, target: int) -> None:
        self.targets[slide] = target

    @Command("TOP?", integer(0, 1))
    def _top(self, slide: int) -> str:
        return str(self.top[slide])

    @Command("TOP", integer(0, 1), integer(0, 500))
    def _set_top(self, slide: int, top: int) -> None:
        self.top[slide] = top

    @Command("SPD?", integer(0, 1))
    def _speed(self, slide: int) -> str:
        return "50"

    @Command("TURNS?", integer(0, 1))
    def _turns(self, slide: int) -> str:
        return "7"

    @Command("CNT?")
    def _count(self) -> str:
        return "3"


SLIDES = Instrument("slides", Slides, SlidesPVs, lambda variant: SlidesSimulator(), "tcp://127.0.0.1:7777")


def device(scale: Scale, name: str = "S0:") -> Device:
    made = SlidesPVs("P:", driver=Slides("tcp://h:1"))
    made.set_scale(name, scale)
    return made


@pytest.fixture
def sim() -> SlidesSimulator:
    return SlidesSimulator()


@pytest_asyncio.fixture
async def host(sim: SlidesSimulator, ca_environment: dict[str, str]) -> AsyncIterator[Host]:
    async with sim.serve("tcp://127.0.0.1:0") as url:
        config = InstrumentConfig(
            instrument=SLIDES,
            url=url,
            prefix="P:",
            name="slides",
            scales={"S0:": Scale(200, "mm"), "S1:": Scale(-200, "mm")},
            limits={"S0:TARGET": (-1, 10), "S1:TARGET": (-15, 4)},
            alarms={"S1:POS": Alarm(high=3)},
        )
        async with Host([config]) as running:
            yield running


def test_everything_in_steps_of_a_group_is_in_the_unit() -> None:
    pvdb = device(Scale(200, "mm")).pvdb
    position, target = pvdb["P:S0:POS"].info, pvdb["P:S0:TARGET"].info
    assert (position.egu, position.prec) == ("mm", 3)
    assert (position.lopr, position.hopr) == (-5, 20)
    assert (position.lolo, position.low, position.high) == (-4.5, -4, 15)
    assert (position.hihi, position.hhsv) == (0, AlarmSeverity.NO_ALARM)
    assert (position.hyst, position.mdel) == (0.05, 0.025)
    assert target.drive == (-5, 20)
    assert pvdb["P:S0:TARGET_RBV"].info.egu == "mm"
    assert pvdb["P:S0:SPEED"].info.egu == "mm/s"
    assert pvdb["P:S0:TURNS"].info.egu == ""
    assert pvdb["P:S1:POS"].info.egu == "step"


def test_a_scale_is_of_one_device_and_its_class_stays_as_it_is() -> None:
    device(Scale(200, "mm"))
    other = SlidesPVs("Q:", driver=Slides("tcp://h:1"))
    assert other.pvdb["Q:S0:POS"].info.egu == "step"
    assert other.pvdb["Q:S0:TARGET"].info.drive == (-1000, 4000)


def test_negative_steps_reverse_the_direction() -> None:
    pvdb = device(Scale(-200, "mm")).pvdb
    position = pvdb["P:S0:POS"].info
    assert (position.lopr, position.hopr) == (-20, 5)
    assert (position.low, position.high, position.hihi) == (-15, 4, 4.5)
    assert (position.lsv, position.hsv, position.hhsv, position.llsv) == (1, 1, 2, 0)
    assert (position.hyst, position.mdel) == (0.05, 0.025)
    assert pvdb["P:S0:TARGET"].info.drive == (-20, 5)
    # what can't be negative has no direction
    assert pvdb["P:S0:TOP"].info.drive == (0, 2.5)


def test_one_pv_alone_is_scaled_with_its_readback() -> None:
    pvdb = device(Scale(3.6, "deg"), "S0:TARGET").pvdb
    assert pvdb["P:S0:TARGET"].info.egu == pvdb["P:S0:TARGET_RBV"].info.egu == "deg"
    assert pvdb["P:S0:POS"].info.egu == "step"


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("S2:", "nothing is counted in steps at P:S2:"),
        ("S0:TURNS", "nothing is counted in steps at P:S0:TURNS"),
        ("S0:NONE", "there is no PV P:S0:NONE"),
        ("COUNT", "P:COUNT is no ai or ao: it can't be in mm"),
    ],
)
def test_what_cannot_be_scaled_is_an_error(name: str, message: str) -> None:
    with pytest.raises(DefinitionError, match=message):
        device(Scale(200, "mm"), name)


def test_a_scale_that_cannot_be_is_an_error() -> None:
    with pytest.raises(DefinitionError, match="0 steps per mm"):
        Scale(0, "mm")
    with pytest.raises(DefinitionError, match="per what"):
        Scale(5, "")
    with pytest.raises(UnitError, match="unknown unit 'millimetrs'"):
        Scale(5, "millimetrs")


def test_limits_of_the_station_are_in_the_unit_and_within_the_instruments() -> None:
    made = device(Scale(200, "mm"))
    with pytest.raises(LimitError):
        made.narrow("S0:TARGET", -6, 20)
    made.narrow("S0:TARGET", -5, 20)


async def test_clients_read_and_put_in_the_unit(host: Host, client: Client, sim: SlidesSimulator) -> None:
    await client.put("P:S0:TARGET", 7.5)
    assert sim.targets[0] == 1500
    assert (await client.get("P:S0:TARGET_RBV")).value == 7.5
    await client.put("P:S0:TARGET", 7.5024)
    assert sim.targets[0] == 1500
    assert (await client.get("P:S0:TARGET")).value == 7.5  # as the instrument rounded it
    with pytest.raises(PutFailed):
        await client.put("P:S0:TARGET", 10.1)
    message = bytes((await client.get("P:MESSAGE.VAL$")).value).partition(b"\0")[0].decode()
    assert message == "P:S0:TARGET: 10.1 is beyond the limits -1 to 10 mm"
    assert (await client.get("P:S0:TARGET.EGU")).value == "mm"
    assert (await client.get("P:S0:TARGET.DRVH")).value == 10


async def test_against_the_counter(host: Host, client: Client, sim: SlidesSimulator) -> None:
    async with client.monitor("P:S1:POS") as events:
        await client.put("P:S1:TARGET", 4.0)
        assert sim.targets[1] == -800
        high = await events.next(lambda reading: bool(reading.value == 4.0))
        assert high.severity == AlarmSeverity.MINOR_ALARM
    await client.put("P:S1:TOP", 2.0)
    assert sim.top[1] == 400
    with pytest.raises(PutFailed):
        await client.put("P:S1:TARGET", 4.5)


@pytest.mark.parametrize("text", ["AXIS0:=51200", "X:=51200/mm"])
def test_the_command_line_says_what_is_wrong_with_a_scale(text: str) -> None:
    args = run_arguments(["tmcm1110", "--simulate", "--scale", text])
    with pytest.raises((Failure, DefinitionError), match=f"^[^\n]*{text.partition('=')[0]}[^\n]*$"):
        args.command(args)
