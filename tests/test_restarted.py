"""Instruments that say by themselves that they were switched on, and messages that are answer and event at once."""

import pytest
from tests.ca import until

from labioc.drivers.core import Command, Driver, Float, Integer, Lines, Readback, Text, computed
from labioc.drivers.core.errors import DefinitionError, ReadingInvalid
from labioc.sim.core import Command as SimCommand
from labioc.sim.core import LineSimulator, integer


def match(question: str, reply: str) -> str | None:
    """Take what begins with the first letter of the question; R is answered with the identity."""
    begin = "I" if question == "R" else question[0]
    return reply if reply.startswith(begin) else None


class Scale(Driver):
    """It says `I,Scale` when it has been switched on or reset."""

    protocol = Lines(
        eol="\n",
        timeout=0.5,
        identify=("I", "I,"),
        restarted="I,.*",
        match=match,
        accepted=lambda answer: True,
        setup=("N 1",),
    )
    state = Readback(Integer(), unasked=r"A (\d)", doc="Of the action")
    also = Readback(Text(), unasked=r"A .*")
    raw = Readback(Text(), ask="W")
    act = Command(tell="A")
    reset = Command(tell="R")

    @computed(Float("g"), raw)
    def weight(raw: str) -> float:
        """Weight, if there is one."""
        if raw == "W OVER":
            raise ReadingInvalid("overload")
        return float(raw[1:])


class ScaleSimulator(LineSimulator):
    """The scale."""

    terminators_in = b"\n"
    terminator_out = b"\n"

    def __init__(self) -> None:
        super().__init__()
        self.weight = "W 5"

    @SimCommand("I")
    def _identity(self) -> str:
        return "I,Scale"

    @SimCommand("N", integer(0, 1))
    def _notify(self, on: int) -> str:
        return "N"

    @SimCommand("A")
    def _act(self) -> str:
        return "A 1"

    @SimCommand("R")
    def _reset(self) -> str:
        return "I,Scale"

    @SimCommand("W")
    def _weigh(self) -> str:
        return self.weight


async def test_what_says_that_it_was_switched_on_is_set_up_anew() -> None:
    scale = ScaleSimulator()
    async with scale.serve("tcp://127.0.0.1:0") as url, Scale.open(url) as driver:
        statistics = driver.port.statistics
        assert (list(scale.log), statistics.power_cycles) == (["I", "N 1"], 0)
        scale.say(b"I,Scale\n")
        await until(lambda: statistics.power_cycles == 1 and driver.port.is_up)
        assert list(scale.log) == ["I", "N 1"] * 2
        await driver.reset.execute()
        await until(lambda: statistics.power_cycles == 2 and driver.port.is_up)
        assert list(scale.log) == ["I", "N 1", "I", "N 1", "R", "I", "N 1"]
        assert (statistics.connects, statistics.errors.total()) == (1, 0)


async def test_an_answer_may_be_an_event_as_well() -> None:
    scale = ScaleSimulator()
    async with scale.serve("tcp://127.0.0.1:0") as url, Scale.open(url) as driver:
        await driver.act.execute()
        assert (driver.state.value, driver.also.value) == (1, "A 1")
        scale.say(b"A 2\n")
        await until(lambda: driver.state.value == 2)
        assert driver.also.value == "A 2"
        assert driver.port.statistics.errors.total() == 0


async def test_a_computed_value_may_be_invalid() -> None:
    scale = ScaleSimulator()
    async with scale.serve("tcp://127.0.0.1:0") as url, Scale.open(url) as driver:
        assert await driver.weight.read() == 5.0
        scale.weight = "W OVER"
        with pytest.raises(ReadingInvalid, match="weight: overload"):
            await driver.weight.read()
        assert driver.weight.value == 5.0


def test_a_restart_is_told_from_an_answer() -> None:
    with pytest.raises(DefinitionError, match="restarted= is told from an answer by match="):
        Lines(eol="\n", identify=("I", "I,"), restarted="I,.*")
    with pytest.raises(DefinitionError, match="is no regular expression"):
        Lines(eol="\n", identify=("I", "I,"), restarted="(", match=match)
