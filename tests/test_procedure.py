"""Procedures: commands that take several exchanges, what may come between them, and where their results go."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import numpy as np
import pytest
import pytest_asyncio
from numpy.typing import NDArray
from tests.ca import Client, PutFailed

from labioc.devices.core import Device, pv
from labioc.devices.core.records import AlarmSeverity, AlarmStatus
from labioc.drivers.core import (
    Array,
    Bool,
    Conversation,
    Driver,
    Float,
    Integer,
    Lines,
    Readback,
    Result,
    Setpoint,
    procedure,
    reading,
)
from labioc.drivers.core.errors import DefinitionError, ReadingInvalid, RefusedError, ReplyError
from labioc.drivers.testing import transcript
from labioc.iocs.core import Host, Instrument, InstrumentConfig
from labioc.sim.core import Command as SimCommand
from labioc.sim.core import LineSimulator


class Scanner(Driver):
    """It steps through a range, one point in a turn."""

    protocol = Lines(eol="\n", timeout=0.5, identify=("*IDN?", "SCANNER"))

    on = Setpoint(Bool(), ask="ON?", tell="ON {value}")
    points = Setpoint(Integer(limits=(0, 9)), ask="N?", tell="N {value}")
    level = Readback(Float("V"), ask="LEV?")
    trace = Result(Array(Float("V"), 9), doc="What it has found")

    @procedure(trace, "STEP", "LEV?")
    async def scan(self, talk: Conversation) -> NDArray[Any]:
        """Step through the range."""
        [points] = await talk(("N?", Integer()))
        if not points:
            raise RefusedError("no points")
        found = []
        for _ in range(points):
            _, *came = await talk(
                ("ON?", Bool()), then=lambda said: ["STEP", ("LEV?", Float())] if said[0] else []
            )
            if not came:
                raise ReadingInvalid("switched off")
            found += came
        return np.array(found)

    @procedure(trace, "LEV?")
    async def broken(self, talk: Conversation) -> NDArray[Any]:
        """Do what can't be done."""
        return np.array([1 / 0])

    @reading(Float("V"), "LEV?")
    async def calm(self, talk: Conversation) -> float | None:
        """The level, while it doesn't scan."""
        if self.scan.is_running:
            return None
        value: float = (await talk(("LEV?", Float())))[0]
        return value


class ScannerDevice(Device):
    """Its PVs."""

    on = pv(Scanner.on, name="ON")
    scan = pv(Scanner.scan, name="SCAN")
    trace = pv(Scanner.trace, name="TRACE", scan=None)


class ScannerSimulator(LineSimulator):
    """The test says when a step is done."""

    terminators_in = b"\n"
    terminator_out = b"\n"

    def __init__(self) -> None:
        super().__init__()
        self.on = True
        self.points = 3
        self.steps = 0

    @SimCommand("*IDN?")
    def _idn(self) -> str:
        return "SCANNER"

    @SimCommand("ON?")
    def _is_on(self) -> str:
        return f"{self.on:d}"

    @SimCommand("N?")
    def _number(self) -> str:
        return str(self.points)

    @SimCommand("STEP")
    def _step(self) -> None:
        self.steps += 1

    @SimCommand("LEV?")
    def _level(self) -> str:
        return f"{self.steps:.1f}"


SCANNER = Instrument(
    "scanner", Scanner, ScannerDevice, lambda variant: ScannerSimulator(), "tcp://127.0.0.1:7777"
)


async def test_a_procedure_fills_its_result() -> None:
    said = [
        ("N?", "2"),
        ("ON?", "1"),
        ("STEP", None),
        ("LEV?", "1.5"),
        ("ON?", "1"),
        ("STEP", None),
        ("LEV?", "2.5"),
    ]
    async with transcript(Scanner, said, identity="SCANNER") as scanner:
        with pytest.raises(ReadingInvalid, match="there is no result yet"):
            await scanner.trace.read()
        await scanner.scan.execute()
        assert list(await scanner.trace.read()) == [1.5, 2.5]
        assert not scanner.scan.is_running


async def test_what_is_said_next_depends_on_what_was_answered() -> None:
    async with transcript(Scanner, [("N?", "2"), ("ON?", "0")], identity="SCANNER") as scanner:
        with pytest.raises(ReadingInvalid, match="switched off"):
            await scanner.scan.execute()


async def test_its_refusals_name_the_instrument() -> None:
    async with transcript(Scanner, [("N?", "0")], identity="SCANNER") as scanner:
        with pytest.raises(RefusedError, match="Scanner: scan: refused: no points"):
            await scanner.scan.execute()
        with pytest.raises(ReplyError, match="Scanner: broken: does not compute"):
            await scanner.broken.execute()


async def test_writes_and_readings_go_between_its_turns_and_there_is_one_at_a_time() -> None:
    simulator = ScannerSimulator()
    async with simulator.serve("tcp://127.0.0.1:0") as url, Scanner.open(url) as scanner:
        assert await scanner.calm.read() == 0.0
        simulator.points = 9
        scan = asyncio.create_task(scanner.scan.execute())
        await asyncio.sleep(0)
        assert scanner.scan.is_running
        with pytest.raises(RefusedError, match="it is under way"):
            await scanner.scan.execute()
        assert await scanner.calm.read() == 0.0  # it rests
        between = await scanner.level.read()
        await scan
        assert 0.0 <= between < 9.0
        assert await scanner.calm.read() == 9.0


async def test_a_result_outlives_the_link() -> None:
    simulator = ScannerSimulator()
    async with simulator.serve("tcp://127.0.0.1:0") as url, Scanner.open(url) as scanner:
        await scanner.scan.execute()
        back = asyncio.Event()

        def seen(readback: Any) -> None:
            if readback.error is None:
                back.set()

        scanner.trace.listeners.append(seen)
        simulator.faults.disconnect()
        async with asyncio.timeout(5):
            await back.wait()
        assert len(await scanner.trace.read()) == 3


def test_a_procedure_says_something() -> None:
    with pytest.raises(DefinitionError, match="a procedure says something"):
        procedure(Scanner.trace)(lambda block, talk: asyncio.sleep(0, np.zeros(1)))


@pytest_asyncio.fixture
async def simulator(ca_environment: dict[str, str]) -> AsyncIterator[ScannerSimulator]:
    made = ScannerSimulator()
    async with made.serve("tcp://127.0.0.1:0") as url:
        async with Host([InstrumentConfig(instrument=SCANNER, url=url, prefix="SC:", name="sc")]):
            yield made


async def test_without_a_result_there_is_none_after_a_lost_link_either(
    simulator: ScannerSimulator, client: Client
) -> None:
    async with client.monitor("SC:TRACE") as events:
        await events.next(lambda reading: bool(reading.status == AlarmStatus.UDF))
        simulator.faults.disconnect()
        await events.next(lambda reading: bool(reading.status == AlarmStatus.COMM))
        await events.next(lambda reading: bool(reading.status == AlarmStatus.UDF))


async def test_a_put_is_done_when_the_procedure_is(simulator: ScannerSimulator, client: Client) -> None:
    before = await client.get("SC:TRACE")
    assert (before.status, before.severity) == (AlarmStatus.UDF, AlarmSeverity.INVALID_ALARM)
    await client.put("SC:SCAN", 1)
    trace = await client.get("SC:TRACE")
    assert list(trace.value) == [1.0, 2.0, 3.0]
    assert trace.severity == AlarmSeverity.NO_ALARM
    simulator.on = False
    with pytest.raises(PutFailed):
        await client.put("SC:SCAN", 1)
    assert list((await client.get("SC:TRACE")).value) == [1.0, 2.0, 3.0]
