"""Clients that nobody here wrote: what they see of the records, and of an instrument behind an IOC.

Each client runs in a process of its own, by one of the scripts in `tests/clients`, which tell what they learned.
"""

import asyncio
import json
import os
import signal
import sys
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, suppress
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from labioc.devices.core.records import (
    PV,
    AlarmSeverity,
    DoubleArrayPV,
    DoublePV,
    EnumPV,
    IntegerPV,
    LongTextPV,
    RecordInfo,
)
from labioc.iocs.core import Host, InstrumentConfig
from labioc.iocs.core.server import CAServer
from labioc.iocs.lakeshore336 import instrument
from labioc.sim.lakeshore336 import LakeShore336

PATIENCE = 30.0
ROOT = Path(__file__).parents[1]

LOWEST, HIGHEST = 1.5, 325.0
GOOD, MINOR, MAJOR = AlarmSeverity.NO_ALARM, AlarmSeverity.MINOR_ALARM, AlarmSeverity.MAJOR_ALARM
ALARMS: dict[str, Any] = {"high": 310.0, "hsv": MINOR, "hihi": 320.0, "hhsv": MAJOR}
MODES = ("OFF", "ON", "FAULT")


class BeyondLimits(ValueError):
    expected = True


class Furnace:
    """Records of an instrument that does at once what clients put."""

    def __init__(self) -> None:
        kelvin: dict[str, Any] = {"egu": "K", "prec": 3, "hopr": 400.0}
        self.temperature = DoublePV(info=RecordInfo("ai", **ALARMS, **kelvin), pvname="T:TEMP")
        self.setpoint = DoublePV(
            info=RecordInfo("ao", desc="Cold finger", drvl=LOWEST, drvh=HIGHEST, **kelvin), pvname="T:SETP"
        )
        self.readback = DoublePV(info=RecordInfo("ai", **kelvin), pvname="T:SETP_RBV")
        severities = (GOOD, GOOD, MAJOR)
        self.mode = EnumPV(info=RecordInfo("mbbo", states=MODES, severities=severities), pvname="T:MODE")
        self.count = IntegerPV(info=RecordInfo("longout"), pvname="T:COUNT")
        self.label = LongTextPV(info=RecordInfo("lso"), pvname="T:LABEL", max_length=200)
        self.curve = DoubleArrayPV(info=RecordInfo("waveform"), pvname="T:CURVE", max_length=5)
        self.slow = DoublePV(info=RecordInfo("ao"), pvname="T:SLOW")
        self.busy = IntegerPV(info=RecordInfo("longin"), pvname="T:BUSY")
        self.release = IntegerPV(info=RecordInfo("longout"), pvname="T:RELEASE")
        self._released = asyncio.Event()
        for pv, value in {
            self.temperature: 20.0,
            self.setpoint: 20.0,
            self.readback: 20.0,
            self.mode: "OFF",
            self.count: 0,
            self.label: "Furnace",
            self.curve: [1.0, 2.0, 3.0],
            self.slow: 0.0,
            self.busy: 0,
            self.release: 0,
        }.items():
            pv.post(value, time.time())
        self.setpoint.putter = self._move
        for pv in (self.mode, self.count, self.label, self.curve):
            pv.putter = self._take(pv)
        self.slow.putter = self._move_slowly
        self.release.putter = self._release

    @property
    def pvs(self) -> dict[str, PV]:
        return {pv.pvname: pv for pv in vars(self).values() if isinstance(pv, PV)}

    def _take(self, pv: PV) -> Any:
        async def put(value: Any) -> None:
            pv.post(value, time.time())

        return put

    async def _move(self, value: float) -> None:
        if not LOWEST <= value <= HIGHEST:
            raise BeyondLimits(f"{value} K is beyond the limits {LOWEST} to {HIGHEST} K")
        for pv in (self.setpoint, self.readback, self.temperature):
            pv.post(value, time.time())

    async def _move_slowly(self, value: float) -> None:
        self.busy.post(1, time.time())
        await self._released.wait()
        self.slow.post(value, time.time())

    async def _release(self, value: int) -> None:
        self._released.set()


@pytest_asyncio.fixture
async def furnace(ca_environment: dict[str, str]) -> AsyncIterator[Furnace]:
    made = Furnace()
    server = CAServer(made.pvs)
    await server.start()
    yield made
    await server.stop()


@pytest_asyncio.fixture
async def controller(ca_environment: dict[str, str]) -> AsyncIterator[LakeShore336]:
    """A simulated Lake Shore 336 behind its IOC."""
    simulator = LakeShore336()
    simulator.clock.speed = 20
    async with simulator.serve("tcp://127.0.0.1:0") as url:
        async with Host([InstrumentConfig(instrument=instrument, url=url, prefix="LS:", name="ls")]):
            yield simulator


def _processes_with(setting: str) -> list[int]:
    """The processes that were started with this setting in their environment."""
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):
            if setting.encode() in (process / "environ").read_bytes().split(b"\0"):
                found.append(int(process.name))
    return found


@pytest.fixture(autouse=True)
def nothing_is_left_running(ca_environment: dict[str, str]) -> Iterator[None]:
    """No client leaves a repeater behind."""
    yield
    setting = f"EPICS_CA_REPEATER_PORT={ca_environment['EPICS_CA_REPEATER_PORT']}"
    deadline = time.monotonic() + 5.0
    while (left := _processes_with(setting)) and time.monotonic() < deadline:
        pass
    for pid in left:
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
    assert not left


@asynccontextmanager
async def running(module: str, *words: str) -> AsyncIterator[asyncio.subprocess.Process]:
    """A Python program in a process of its own, which ends with the block."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", module, *words),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        cwd=ROOT,
        env=os.environ | {"PYTHONUNBUFFERED": "1", "PYTHONFAULTHANDLER": "1", "PYTHONIOENCODING": "utf-8"},
    )
    try:
        async with asyncio.timeout(PATIENCE):
            yield process
    finally:
        if process.returncode is None:
            process.kill()
        await process.communicate()


async def run(module: str, *words: str) -> str:
    """What a Python program prints until it ends."""
    async with running(module, *words) as process:
        out, err = await process.communicate()
    assert process.returncode == 0, f"{module} {' '.join(words)}:\n{out.decode()}\n{err.decode()}"
    return out.decode()


async def learn(script: str, action: str) -> list[dict[str, Any]]:
    """What a script of `tests/clients` says."""
    return [json.loads(line) for line in (await run(f"tests.clients.{script}", action)).splitlines()]


CONTROL = {
    "units": "K",
    "precision": 3,
    "lower_ctrl_limit": LOWEST,
    "upper_ctrl_limit": HIGHEST,
    "lower_disp_limit": 0.0,
    "upper_disp_limit": 400.0,
}
"""Of the setpoint."""
NOW = pytest.approx(time.time(), abs=600)
ALARMS_OF_A_MOVE = [[20.0, 0, 0], [315.0, 4, 1], [322.0, 3, 2], [100.0, 0, 0]]
"""Value, status and severity of the temperature: HIGH is a MINOR alarm, HIHI a MAJOR one."""


async def test_pyepics_reads(furnace: Furnace) -> None:
    assert await learn("with_pyepics", "reads") == [
        {"value": 20.0, "as_string": "20.000"},
        {"type": "time_double", "count": 1, "access": "read/write"},
        CONTROL,
        {"mode": 0, "mode_string": "OFF", "enum_strs": ["OFF", "ON", "FAULT"]},
        {"curve": [1.0, 2.0, 3.0]},
        {"EGU": "K", "DESC": "Cold finger", "PREC": 3, "DRVH": HIGHEST, "RTYP": "ao"},
    ]


async def test_pyepics_puts(furnace: Furnace) -> None:
    learned = await learn("with_pyepics", "puts")
    assert [said["now"] for said in learned] == [77.25, 80.5, 1, 0, -3, [1.5, 2.5]]
    assert [said["done"] for said in learned] == [1] * 6


async def test_pyepics_put_completes_when_the_instrument_is_done(furnace: Furnace) -> None:
    assert await learn("with_pyepics", "put_completion") == [{"value": 0.0, "done": False}, {"value": 5.0}]


async def test_pyepics_monitors_alarms(furnace: Furnace) -> None:
    (learned,) = await learn("with_pyepics", "monitors")
    assert learned["events"] == ALARMS_OF_A_MOVE
    assert learned["stamps"] == [NOW] * 4
    assert all(earlier < later for earlier, later in pairwise(learned["stamps"]))


async def test_pyepics_has_text_of_any_length(furnace: Furnace) -> None:
    assert await learn("with_pyepics", "long_strings") == [{"long": "x" * 120, "short": "x" * 39}]


async def test_pyepics_sees_that_a_refused_put_changed_nothing(furnace: Furnace) -> None:
    """It hears of the refusal only if nobody may write the record: it ignores what servers answer to a put."""
    assert await learn("with_pyepics", "refusals") == [
        {"setpoint": 20.0, "severity": 0},
        {"write_access": False, "error": " put returned 'Write access denied'"},
        {"temperature": 20.0},
    ]


async def test_aioca_reads(furnace: Furnace) -> None:
    assert await learn("with_aioca", "reads") == [
        {"type": "double", "count": 1, "read": True, "write": True},
        CONTROL,
        {"value": 20.0, "status": 0, "severity": 0, "stamp": NOW},
        {"mode": 0, "enums": ["OFF", "ON", "FAULT"], "label": "OFF"},
        {"curve": [1.0, 2.0, 3.0], "record": "mbbo"},
        {"fields": ["K", 3, "Cold finger"]},
    ]


async def test_aioca_puts(furnace: Furnace) -> None:
    assert await learn("with_aioca", "puts") == [
        {"setpoint": 80.5, "mode": 1, "count": -3},
        {"curve": [1.5, 2.5], "label": "x" * 120},
    ]


async def test_aioca_put_completes_when_the_instrument_is_done(furnace: Furnace) -> None:
    assert await learn("with_aioca", "put_completion") == [{"value": 0.0, "done": False}, {"value": 5.0}]


async def test_aioca_raises_what_is_refused(furnace: Furnace) -> None:
    failed = "Channel write request failed"
    assert await learn("with_aioca", "refusals") == [
        {"pv": "T:SETP", "error": f"T:SETP: {failed}", "unchanged": True},
        {"pv": "T:MODE", "error": f"T:MODE: {failed}", "unchanged": True},
        {"pv": "T:TEMP", "error": "Write access denied calling ca_array_put_callback", "unchanged": True},
    ]


async def test_aioca_monitors_alarms_alone(furnace: Furnace) -> None:
    """Only the values that changed the alarm, of twice as many."""
    (learned,) = await learn("with_aioca", "alarm_monitors")
    assert learned["events"] == [[20.0, 0, 0], [315.0, 4, 1], [322.0, 3, 2], [200.0, 0, 0]]


async def test_aioca_acknowledges_alarms(furnace: Furnace) -> None:
    assert await learn("with_aioca", "acknowledges") == [
        {"value": "OFF", "severity": 0, "unacknowledged": 0},
        {"value": "FAULT", "severity": 2, "unacknowledged": 2},
        {"value": "OFF", "severity": 0, "unacknowledged": 2},
        {"value": "OFF", "severity": 0, "unacknowledged": 0},
    ]


async def test_caproto_reads(furnace: Furnace) -> None:
    assert await learn("with_caproto", "reads") == [
        {"type": "DOUBLE", "access": "READ|WRITE"},
        CONTROL,
        {"value": [20.0], "severity": 0, "stamp": NOW},
        {"mode": [0], "enum_strings": ["OFF", "ON", "FAULT"]},
        {"curve": [1.0, 2.0, 3.0], "egu": ["K"]},
    ]


async def test_caproto_puts(furnace: Furnace) -> None:
    assert await learn("with_caproto", "puts") == [
        {"pv": "T:SETP", "now": [77.25]},
        {"pv": "T:MODE", "now": [1]},
        {"pv": "T:COUNT", "now": [-3]},
        {"pv": "T:CURVE", "now": [1.5, 2.5]},
    ]


async def test_caproto_is_told_what_is_refused(furnace: Furnace) -> None:
    assert await learn("with_caproto", "refusals") == [
        {"pv": "T:SETP", "status": "ECA_PUTFAIL", "unchanged": True},
        {"pv": "T:TEMP", "status": "ECA_NOWTACCESS", "unchanged": True},
    ]


async def test_caproto_subscribes(furnace: Furnace) -> None:
    assert await learn("with_caproto", "subscriptions") == [{"events": ALARMS_OF_A_MOVE}]


async def caproto(command: str, *words: str) -> str:
    """What the command caproto-get, caproto-put or caproto-monitor prints, with runs of blanks made one."""
    return " ".join((await run(f"caproto.commandline.{command}", "--no-repeater", *words)).split())


async def test_caproto_get(furnace: Furnace) -> None:
    assert await caproto("get", "T:SETP", "T:MODE", "T:SETP.EGU") == "T:SETP [20] T:MODE [OFF] T:SETP.EGU [K]"
    assert await caproto("get", "--terse", "T:CURVE") == "[1 2 3]"
    wanted = "{response.metadata.upper_ctrl_limit} {response.metadata.units}"
    assert await caproto("get", "-d", "control", "--format", wanted, "T:SETP") == "325.0 b'K'"
    assert await caproto("get", "-S", "T:LABEL.VAL$") == "T:LABEL.VAL$ Furnace\0"


async def test_caproto_put(furnace: Furnace) -> None:
    assert await caproto("put", "T:SETP", "77.25") == "Old : T:SETP [20.] New : T:SETP [77.25]"
    assert await caproto("put", "T:MODE", "ON") == "Old : T:MODE [b'OFF'] New : T:MODE [b'ON']"
    assert (furnace.setpoint.value, furnace.mode.value) == (77.25, 1)
    refused = await caproto("put", "T:SETP", "400")
    assert "ECA_PUTFAIL" in refused
    assert "400.0 K is beyond the limits 1.5 to 325.0 K" in refused
    assert furnace.setpoint.value == 77.25


async def test_caproto_monitor(furnace: Furnace) -> None:
    words = ("--no-repeater", "--maximum", "2", "--format", "{response.data[0]}", "T:TEMP")
    async with running("caproto.commandline.monitor", *words) as process:
        assert process.stdout is not None
        assert await process.stdout.readline() == b"20.0\n"
        furnace.temperature.post(21.0, time.time())
        assert await process.stdout.readline() == b"21.0\n"
        assert await process.wait() == 0


async def test_ophyd_signals_have_units_limits_and_completion(furnace: Furnace) -> None:
    assert await learn("with_ophyd", "signals") == [
        {"value": 77.25, "setpoint": 77.25, "read": 77.25},
        {"limits": [LOWEST, HIGHEST], "tolerance": 0.001},
        {
            "source": "PV:T:SETP_RBV",
            "dtype": "number",
            "shape": [],
            "units": "K",
            "precision": 3,
            "lower_ctrl_limit": LOWEST,
            "upper_ctrl_limit": HIGHEST,
        },
        {"error": "setpoint: value 400.0 outside of range: [1.5, 325.0]"},
        {"value": 80.5},
        {"value": 80.5, "setpoint": 80.5},
    ]
    assert furnace.setpoint.value == 80.5


async def test_ophyd_read_only_signals_have_alarms(furnace: Furnace) -> None:
    assert await learn("with_ophyd", "read_only_signals") == [
        {"units": "K", "precision": 3, "limits": [0.0, 400.0]},
        {"error": "Read-only"},
        {"value": 315.0, "status": "HIGH", "severity": "MINOR"},
        {"value": 322.0, "status": "HIHI", "severity": "MAJOR"},
        {"value": 100.0, "status": "NO_ALARM", "severity": "NO_ALARM"},
    ]


async def test_ophyd_signals_have_enums(furnace: Furnace) -> None:
    assert await learn("with_ophyd", "enums") == [
        {"number": 1, "text": "ON", "read": "ON"},
        {"dtype": "integer", "enum_strs": ["OFF", "ON", "FAULT"]},
        {"dtype": "string", "enum_strs": ["OFF", "ON", "FAULT"]},
        {"text": "FAULT", "severity": "MAJOR"},
    ]


async def test_an_ophyd_positioner_moves_until_its_put_is_done(furnace: Furnace) -> None:
    assert await learn("with_ophyd", "positioners") == [
        {"position": 0.0, "moving": True, "done": False},
        {"position": 5.0, "moving": False, "success": True},
    ]


async def test_ophyd_moves_a_cryostat(controller: LakeShore336) -> None:
    before, *after = await learn("with_ophyd", "cryostat")
    assert before["start"] < 30
    assert before["limits"] == [0.0, 9999.0]
    assert after == [
        {"position": pytest.approx(40.0, abs=1.0), "moving": False},
        {"setpoint": 40.0, "range": "HIGH", "gain": 60.0},
        {"dtype": "number", "units": "K", "precision": 4},
        {"error": "cryostat_gain: value 5000.0 outside of range: [0.1, 1000.0]"},
    ]
    output = controller.outputs[1]
    assert (output.setpoint, output.p) == (40.0, 60.0)


async def test_ophyd_sees_a_broken_sensor(controller: LakeShore336) -> None:
    """The value stays the last good one."""
    last = controller.sample.temperature
    controller.sensors["A"].fault = "open"
    (learned,) = await learn("with_ophyd", "broken_sensor")
    assert learned == {"status": "HWLIMIT", "value": pytest.approx(last, abs=1.0)}
