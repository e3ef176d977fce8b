"""Readings that take several exchanges: what may come between them, how they fail, what is nothing new."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any, NamedTuple

import numpy as np
import pytest
import pytest_asyncio
from tests.ca import Client

from labioc.devices.core import Device, DeviceGroup, SubGroups, pv
from labioc.devices.core.records import AlarmSeverity, AlarmStatus
from labioc.devices.core.table import describe
from labioc.drivers.core import (
    Array,
    Block,
    Channel,
    Channels,
    Conversation,
    Driver,
    Fields,
    Float,
    Integer,
    Lines,
    Setpoint,
    computed,
    reading,
)
from labioc.drivers.core.errors import DefinitionError, ReadingInvalid, RefusedError, ReplyError, ReplyTimeout
from labioc.drivers.testing import transcript
from labioc.iocs.core import Host, Instrument, InstrumentConfig
from labioc.sim.core import Command, LineSimulator, integer

PIECE = Block(Array(Integer(spec="u1"), 4, separator=""))


class Trace(NamedTuple):
    """A trace, and its number."""

    volts: Any
    number: int


class Input(Channel):
    level = Setpoint(Integer(), ask="LEV? {ch}", tell="LEV {ch},{value}")

    @reading(
        Fields(Trace, volts=Array(Float("V"), 8), number=Integer()),
        "NUM? {ch}",
        "DATA? {ch},{n}",
        timeout=0.3,
    )
    async def trace(self, talk: Conversation) -> Trace | None:
        """What the input has seen."""
        [number] = await talk(("NUM? {ch}", Integer()))
        if number == 0:
            return None
        if talk.is_fresh and number == self.trace.value.number:
            return None
        if number == 13:
            raise ReadingInvalid("unlucky")
        pieces = []
        for start in (0, 4):
            pieces += await talk("SRC {ch}", (f"DATA? {{ch}},{start}", PIECE))
        return Trace(np.concatenate(pieces) / 10, number)


class Recorder(Driver):
    """A recorder of two inputs."""

    protocol = Lines(eol="\n", timeout=0.3, identify=("*IDN?", "REC"), blocks=True)
    inputs = Channels(Input, (1, 2))


class InputPVs(DeviceGroup):
    volts = pv(Input.trace, field=Trace.volts, name="TRACE", unit="mV", scan=0.1)
    number = pv(Input.trace, field=Trace.number, name="NUMBER", scan=0.1)
    level = pv(Input.level, name="LEVEL", scan=None)


class RecorderPVs(Device):
    """A recorder of two inputs."""

    inputs = SubGroups(InputPVs, of=Recorder.inputs, prefix="{ch}:")


class RecorderSimulator(LineSimulator):
    terminators_in = b"\n"
    terminator_out = b"\n"

    def __init__(self) -> None:
        super().__init__()
        self.numbers = {1: 1, 2: 0}
        self.levels = {1: 0, 2: 0}

    @Command("*IDN?")
    def _idn(self) -> str:
        return "REC"

    @Command("NUM?", integer(1, 2))
    def _num(self, channel: int) -> str:
        return str(self.numbers[channel])

    @Command("SRC", integer(1, 2))
    def _src(self, channel: int) -> None:
        pass

    @Command("DATA?", integer(1, 2), integer(0, 7))
    def _data(self, channel: int, start: int) -> str:
        return "#14" + "".join(chr(self.numbers[channel] + start + n) for n in range(4))

    @Command("LEV?", integer(1, 2))
    def _lev(self, channel: int) -> str:
        return str(self.levels[channel])

    @Command("LEV", integer(1, 2), integer(0, 99))
    def _set_lev(self, channel: int, level: int) -> None:
        self.levels[channel] = level


FIRST = [("NUM? 1", "1"), ("SRC 1", None), ("DATA? 1,0", "#14\n\x0b\x0c\x0d")]
SECOND = [("SRC 1", None), ("DATA? 1,4", "#14\x0e\x0f\x10\x11")]


async def test_the_pieces_make_one_value() -> None:
    async with transcript(Recorder, [*FIRST, *SECOND], identity="REC") as recorder:
        trace = await recorder.inputs[1].trace.read()
        assert trace.number == 1
        assert trace.volts.tolist() == [1.0, 1.1, 1.2, 1.3, 1.4, 1.5, 1.6, 1.7]


async def test_nothing_new_leaves_value_and_stamp() -> None:
    async with transcript(Recorder, [*FIRST, *SECOND, ("NUM? 1", "1")], identity="REC") as recorder:
        bound = recorder.inputs[1].trace
        events: list[object] = []
        bound.listeners.append(events.append)
        first = await bound.read()
        stamp = bound.stamp
        assert await bound.read() is first
        assert bound.stamp == stamp
        assert len(events) == 1


async def test_where_there_is_nothing_to_read_yet() -> None:
    async with transcript(Recorder, [("NUM? 2", "0")], identity="REC") as recorder:
        with pytest.raises(ReadingInvalid, match=r"inputs\[2\].trace: there is nothing to read yet"):
            await recorder.inputs[2].trace.read()
        assert recorder.inputs[2].trace.error is None


async def test_a_write_goes_between_two_turns() -> None:
    sim = RecorderSimulator()
    async with sim.serve("tcp://127.0.0.1:0") as url, Recorder.open(url) as recorder:
        sim.log.clear()
        one = recorder.inputs[1]

        async def put() -> None:
            while not any(line.startswith("DATA") for line in sim.log):  # noqa: ASYNC110
                await asyncio.sleep(0)
            await one.level.write(7)

        trace, _ = await asyncio.gather(one.trace.read(), put())
        assert list(sim.log) == ["NUM? 1", "SRC 1", "DATA? 1,0", "LEV 1,7", "LEV? 1", "SRC 1", "DATA? 1,4"]
        assert len(trace.volts) == 8


async def test_a_lost_reply_is_asked_for_again_from_the_beginning() -> None:
    sim = RecorderSimulator()
    async with sim.serve("tcp://127.0.0.1:0") as url, Recorder.open(url) as recorder:
        sim.faults.add("lose count=1 only=DATA")
        trace = await recorder.inputs[1].trace.read()
        assert trace.number == 1
        assert recorder.port.statistics.retries == 1


async def test_a_reading_that_fails_says_so() -> None:
    sim = RecorderSimulator()
    async with sim.serve("tcp://127.0.0.1:0") as url, Recorder.open(url) as recorder:
        bound = recorder.inputs[1].trace
        sim.faults.add("mute only=DATA")
        with pytest.raises(ReplyTimeout, match=r"inputs\[1\].trace"):
            await bound.read()
        assert isinstance(bound.error, ReplyTimeout)
        assert bound.alone
        sim.faults.clear()
        assert (await bound.read()).number == 1
        assert bound.is_known
        sim.numbers[1] = 13
        with pytest.raises(ReadingInvalid, match="unlucky"):
            await bound.read()
        assert not bound.alone


async def test_an_answer_that_makes_no_sense() -> None:
    said = [("NUM? 1", "one"), ("NUM? 2", "2"), ("SRC 2", None), ("DATA? 2,0", "#15\0\0\0\0\0")]
    async with transcript(Recorder, said, identity="REC") as recorder:
        with pytest.raises(
            ReplyError, match=r"inputs\[1\].trace: 'NUM\? 1' was answered with 'one'; expected"
        ):
            await recorder.inputs[1].trace.read()
        with pytest.raises(ReplyError, match="expected a block of up to 4 numbers"):
            await recorder.inputs[2].trace.read()


class Judging(Integer):
    def decode(self, text: str) -> int:
        if text == "13":
            raise ReadingInvalid("unlucky")
        return {"1": 1}[text]


class Judged(Driver):
    protocol = Lines(eol="\n", timeout=0.3, identify=("*IDN?", "REC"))

    @reading(Integer(), "N?")
    async def number(self, talk: Conversation) -> int | None:
        """A number."""
        [number] = await talk(("N?", Judging()))
        return int(number)


async def test_a_value_type_tells_what_is_not_valid_from_what_makes_no_sense() -> None:
    async with transcript(Judged, [("N?", "13"), ("N?", "1")], identity="REC") as judged:
        with pytest.raises(ReadingInvalid, match="number: unlucky"):
            await judged.number.read()
        assert await judged.number.read() == 1
        assert not judged.port.statistics.errors[ReplyError.__name__]
    async with transcript(Judged, [("N?", "2")], identity="REC") as judged:
        with pytest.raises(ReplyError, match=r"'N\?' was answered with '2'; expected .* \(KeyError\('2'\)\)"):
            await judged.number.read()


async def test_a_function_that_fails_is_a_reply_that_makes_no_sense() -> None:
    class Odd(Driver):
        protocol = Lines(eol="\n", identify=("*IDN?", "ODD"))

        @reading(Float(), "X?")
        async def inverse(self, talk: Conversation) -> float:
            [x] = await talk(("X?", Float()))
            return float(1 / x)

    async with transcript(Odd, [("X?", "0")], identity="ODD") as odd:
        with pytest.raises(ReplyError, match="inverse: does not compute: ZeroDivisionError"):
            await odd.inverse.read()


async def test_where_commands_are_answered_a_refusal_fails_the_reading() -> None:
    class Answering(Driver):
        protocol = Lines(eol="\n", identify=("*IDN?", "ANS"), accepted=lambda answer: answer == "OK")

        @reading(Float(), "X?")
        async def x(self, talk: Conversation) -> float:
            [x] = await talk("SEL 1", ("X?", Float()))
            return float(x)

    async with transcript(Answering, [("SEL 1", "OK"), ("X?", "1.5")], identity="ANS") as answering:
        assert await answering.x.read() == 1.5
    async with transcript(Answering, [("SEL 1", "NO"), ("X?", "1.5")], identity="ANS") as answering:
        with pytest.raises(ReadingInvalid, match="'SEL 1' was answered with 'NO'"):
            await answering.x.read()
        assert not isinstance(answering.x.error, RefusedError)


def test_it_stands_alone() -> None:
    with pytest.raises(
        DefinitionError, match="Needing.double needs Needing.x, which takes exchanges of its own"
    ):

        class Needing(Driver):
            protocol = Lines(eol="\n", identify=("*IDN?", "N"))

            @reading(Float(), "X?")
            async def x(self, talk: Conversation) -> float:
                return 1.0

            @computed(Float(), x)
            def double(x: float) -> float:
                return 2 * x

    with pytest.raises(DefinitionError, match="says something"):
        reading(Float())(lambda block, talk: asyncio.sleep(0, 1.0))


# through PVs

INSTRUMENT = Instrument("recorder", Recorder, RecorderPVs, lambda variant: RecorderSimulator(), "")


@pytest.fixture
def sim() -> RecorderSimulator:
    return RecorderSimulator()


@pytest_asyncio.fixture
async def host(sim: RecorderSimulator, ca_environment: dict[str, str]) -> AsyncIterator[Host]:
    async with sim.serve("tcp://127.0.0.1:0") as url:
        config = InstrumentConfig(instrument=INSTRUMENT, url=url, prefix="R:", name="rec")
        async with Host([config]) as running:
            yield running


def test_the_table_of_pvs_says_what_it_says() -> None:
    rows = {row[0]: row for row in describe(RecorderPVs("R:", driver=Recorder("tcp://h:1")))}
    assert rows["R:1:TRACE"][1:3] == ("waveform", "mV")
    assert rows["R:1:TRACE"][5:] == ("0.1 s", "read", "NUM? 1; DATA? 1,{n}")


async def test_a_pv_follows_and_is_quiet_when_nothing_is_new(
    host: Host, client: Client, sim: RecorderSimulator
) -> None:
    async with client.monitor("R:1:TRACE") as events:
        first = await events.next()
        assert first.value == [100 + 100 * n for n in range(8)]
        driver = host.units[0].driver
        assert isinstance(driver, Recorder)
        for _ in range(5):
            await driver.inputs[1].trace.read()
        assert len(events.received) == 1
        sim.numbers[1] = 2
        second = await events.next()
        assert second.value == [200 + 100 * n for n in range(8)]
        assert second.stamp > first.stamp


async def test_a_pv_without_a_reading_is_undefined_and_is_so_again_after_the_link_was_down(
    host: Host, client: Client, sim: RecorderSimulator
) -> None:
    assert (await client.get("R:2:TRACE")).status == AlarmStatus.UDF
    async with client.monitor("R:1:NUMBER") as events, client.monitor("R:2:NUMBER") as undefined:
        await events.next(lambda reading: bool(reading.value == 1))
        sim.faults.add("refuse-connections")
        sim.faults.disconnect()
        await undefined.next(lambda reading: bool(reading.status == AlarmStatus.COMM))
        await events.next(lambda reading: bool(reading.status == AlarmStatus.COMM))
        sim.numbers[1] = 0
        sim.faults.clear()
        await undefined.next(lambda reading: bool(reading.status == AlarmStatus.UDF))
        gone = await events.next(lambda reading: bool(reading.status == AlarmStatus.UDF))
        assert (gone.value, gone.severity) == (1, AlarmSeverity.INVALID_ALARM)
        sim.numbers[1] = 3
        assert (await events.next(lambda reading: not reading.severity)).value == 3
