"""The digital gauges: parameters in transcripts, what they measure in the simulated chamber, and their IOC."""

from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
from tests.ca import Client, PutFailed, Reading

from labioc.devices.core.records import AlarmSeverity, AlarmStatus
from labioc.devices.core.table import describe, markdown
from labioc.drivers import pfeiffer_gauge as pg
from labioc.drivers.core.errors import MissingChannel, ReadingInvalid, RefusedError
from labioc.drivers.pfeiffer_gauge import PfeifferGauge
from labioc.drivers.pfeiffer_vacuum import Fault
from labioc.drivers.testing import Line, transcript
from labioc.iocs.core import Host, InstrumentConfig
from labioc.iocs.pfeiffer_gauge import instrument
from labioc.sim.pfeiffer_station import PumpingStation

PAGE = Path(__file__).parents[1] / "docs" / "instruments" / "pfeiffer_gauge.md"
NO_ERROR = ("0010030302=?", "0011030306000000")


def gauge(*lines: Line, variant: str = "", name: str = "    A3") -> Any:
    return transcript(PfeifferGauge, lines, identity=f"0011034906{name}", variant=variant, address="1")


# Parameters (PPT 100, 6.2 and 6.3)


async def test_the_examples_of_the_manual() -> None:
    """6.3: read the pressure; adjust at atmosphere."""
    pressure = (b"0010074002=?106\r", b"0011074006100023025\r")
    point = (b"0011074103001130\r", b"0011074103001130\r")
    async with gauge(NO_ERROR, pressure, point) as ppt100:
        assert await ppt100.pressure.read() == 1000.0
        await ppt100.adjust_point.write(pg.AdjustPoint.ATMOSPHERE)


@pytest.mark.parametrize(
    ("variant", "number", "data", "read", "value"),
    [
        ("", "303", "Err001", lambda g: g.error, "Err001"),
        ("", "303", "Err001", lambda g: g.fault, Fault.ERROR),
        ("", "303", "Err002", lambda g: g.error_text, "memory defective"),
        ("", "312", "010100", lambda g: g.firmware, "010100"),
        ("", "349", "    A3", lambda g: g.model, "PPT100"),
        ("", "349", "MPT200", lambda g: g.model, "MPT200"),
        ("ppt100", "742", "000100", lambda g: g.pirani["pirani"].correction, 1.0),
        ("rpt100", "049", "001", lambda g: g.sensors["two"].transition, pg.Transition.CONTINUOUS),
        ("mpt100", "041", "001", lambda g: g.high_vacuum_100["100"].on, True),
        ("mpt200", "041", "0", lambda g: g.high_vacuum_200["200"].on, False),
        ("hpt100", "743", "000240", lambda g: g.high_vacuum_100["100"].correction, 2.4),
        ("hpt200", "040", "1", lambda g: g.hot_cathode["hot"].degas, True),
        ("rpt200", "730", "500017", lambda g: g.series_200["200"].switch_point_1, 5e-3),
        ("cpt200", "732", "100022", lambda g: g.series_200["200"].switch_point_2, 100.0),
        ("ppt200", "354", "010000", lambda g: g.series_200["200"].hardware, "010000"),
        ("ppt200", "355", "44125678        ", lambda g: g.series_200["200"].serial_number, "44125678"),
        ("ppt200", "388", "PTR26951        ", lambda g: g.series_200["200"].order_number, "PTR26951"),
    ],
)
async def test_readings(
    variant: str, number: str, data: str, read: Callable[[PfeifferGauge], Any], value: object
) -> None:
    lines = [(f"00100{number}02=?", f"00110{number}{len(data):02d}{data}")]
    async with gauge(*lines, variant=variant, name="??????") as g:
        assert await read(g).read() == value


@pytest.mark.parametrize(
    ("variant", "number", "data", "write"),
    [
        ("ppt100", "742", "000170", lambda g: g.pirani["pirani"].correction.write(1.7)),
        ("mpt100", "041", "000", lambda g: g.high_vacuum_100["100"].on.write(False)),
        ("mpt200", "041", "0", lambda g: g.high_vacuum_200["200"].on.write(False)),
        ("mpt200", "743", "000080", lambda g: g.high_vacuum_200["200"].correction.write(0.8)),
        ("rpt200", "049", "000", lambda g: g.sensors["two"].transition.write(pg.Transition.DIRECT)),
        ("hpt200", "040", "1", lambda g: g.hot_cathode["hot"].degas.write(True)),
        ("hpt200", "730", "250014", lambda g: g.series_200["200"].switch_point_1.write(2.5e-6)),
    ],
)
async def test_settings(
    variant: str, number: str, data: str, write: Callable[[PfeifferGauge], Awaitable[None]]
) -> None:
    told = f"00110{number}{len(data):02d}{data}"
    async with gauge((told, told), (f"00100{number}02=?", told), variant=variant, name="??????") as g:
        await write(g)


async def test_an_adjustment_is_told_and_the_pressure_is_read_anew() -> None:
    adjust = ("0011074006101323", "0011074006101323")
    async with gauge(adjust, NO_ERROR, ("0010074002=?", "0011074006101323")) as g:
        await g.adjust.write(1013.0)
        assert g.pressure.value == 1013.0


@pytest.mark.parametrize(
    ("error", "pressure", "why"),
    [
        ("000000", "000000", "below the measuring range"),
        ("000000", "999999", "above the measuring range"),
        ("Err001", "100023", "error is 'Err001'"),
    ],
)
async def test_what_is_no_pressure(error: str, pressure: str, why: str) -> None:
    good = ("0010074002=?", "0011074006123415")
    bad = ("0010030302=?", f"0011030306{error}"), ("0010074002=?", f"0011074006{pressure}")
    async with gauge(NO_ERROR, good, *bad) as g:
        assert await g.pressure.read() == 1.234e-5
        with pytest.raises(ReadingInvalid, match=why):
            await g.pressure.read()
        assert g.pressure.value == 1.234e-5
        assert g.error.value == error


async def test_a_variant_has_its_own() -> None:
    async with gauge(variant="ppt100") as g:
        with pytest.raises(MissingChannel, match="it comes with the variant"):
            _ = g.hot_cathode["hot"]


# The simulated gauges


@pytest.fixture
def sim() -> PumpingStation:
    return PumpingStation()


def pressure(sim: PumpingStation, address: int = 101) -> str:
    return sim.ask(f"{address}0074002=?")[10:]


def test_two_sensors_of_an_mpt_200(sim: PumpingStation) -> None:
    """The Pirani reads from 1e-4 hPa, the cold cathode up to 1e-2; a correction is that of one of them."""
    sim.ask("1011074206000200")
    sim.ask("1011074306000050")
    for true, shown in (
        (1013.0, "101323"),
        (0.1, "200019"),
        (4e-3, "800017"),
        (2e-3, "100017"),
        (1e-6, "500013"),
    ):
        sim.chamber.pressure = true
        assert pressure(sim) == shown
    sim.ask("10110041010")
    sim.chamber.pressure = 2e-3
    assert pressure(sim) == "400017"
    sim.chamber.pressure = 1e-6
    assert pressure(sim) == "000000"


def test_a_continuous_transition_has_no_step(sim: PumpingStation) -> None:
    sim.ask("1011074206000200")
    readings = []
    for mode in ("000", "001"):
        sim.ask(f"1011004903{mode}")
        for true in (3.1e-3, 3.2e-3):
            sim.chamber.pressure = true
            readings.append(sim.gauge.pressure)
    assert readings[1] / readings[0] > 1.9
    assert readings[3] / readings[2] < 1.1


@pytest.mark.parametrize(
    ("point", "drift", "gain", "true", "shown"),
    [("000", 3e-4, 1.0, 5e-4, "500016"), ("001", 0.0, 1.1, 1000.0, "100023")],
)
def test_adjustment(
    sim: PumpingStation, point: str, drift: float, gain: float, true: float, shown: str
) -> None:
    """741, 740: a pressure is taken only if it has been said what it adjusts."""
    sim.foreline.drift, sim.foreline.gain = drift, gain
    sim.pump.backing.pressure = true
    assert pressure(sim, 102) != shown
    assert sim.ask(f"1021074006{shown}").endswith("_LOGIC")
    assert sim.ask(f"1021074103{point}") == f"1021074103{point}"
    assert sim.ask(f"1021074006{shown}") == f"1021074006{shown}"
    assert pressure(sim, 102) == shown
    assert sim.ask(f"1021074006{shown}").endswith("_LOGIC")


# The IOC


@pytest_asyncio.fixture
async def host(sim: PumpingStation, ca_environment: dict[str, str]) -> AsyncIterator[Host]:
    async with sim.serve("tcp://127.0.0.1:0") as url:
        config = InstrumentConfig(
            instrument=instrument, url=url, prefix="G:", name="g", address="101", variant="mpt200"
        )
        async with Host([config]) as running:
            yield running


def is_good(reading: Reading) -> bool:
    return bool(reading.severity == AlarmSeverity.NO_ALARM)


async def test_out_of_range_and_broken_are_alarms_and_keep_the_last_pressure(
    host: Host, client: Client, sim: PumpingStation
) -> None:
    async with client.monitor("G:PRESSURE") as pressures, client.monitor("G:FAULT") as faults:
        assert (await pressures.next()).value == pytest.approx(1013.0, abs=1.0)
        sim.chamber.pressure = 5000.0
        above = await pressures.next(lambda reading: bool(reading.status == AlarmStatus.HWLIMIT))
        assert (above.severity, above.value) == (AlarmSeverity.INVALID_ALARM, pytest.approx(1013.0, abs=1.0))
        assert is_good(await client.get("G:ERROR"))
        sim.pump_down()
        await pressures.next(lambda reading: is_good(reading) and reading.value < 1e-6)
        sim.gauge.is_broken = True
        await pressures.next(lambda reading: bool(reading.status == AlarmStatus.HWLIMIT))
        fault = await faults.next(lambda reading: bool(reading.value == Fault.ERROR))
        assert (fault.status, fault.severity) == (AlarmStatus.STATE, AlarmSeverity.MAJOR_ALARM)


async def test_puts(host: Host, client: Client, sim: PumpingStation) -> None:
    await client.put("G:HV", "Off")
    assert not sim.gauge.is_high_vacuum_on
    await client.put("G:SP1", 5e-6)
    assert sim.gauge.switch_point_1 == pytest.approx(5e-6)
    assert (await client.get("G:SP1_RBV")).value == pytest.approx(5e-6)
    with pytest.raises(PutFailed):
        await client.put("G:ADJUST", 1000.0)
    text = bytes((await client.get("G:MESSAGE.VAL$")).value).decode()
    assert "_LOGIC" in text
    await client.put("G:ADJUST_POINT", "ATMOSPHERE")
    await client.put("G:ADJUST", 1000.0)
    assert (await client.get("G:PRESSURE")).value == pytest.approx(1000.0)


def test_the_page_has_the_pvs_of_a_variant() -> None:
    driver = PfeifferGauge("tcp://h:1", variant="hpt200", address="1")
    plain = set(markdown(describe(instrument.device("", driver=PfeifferGauge("tcp://h:1", address="1")))))
    text = PAGE.read_text()
    for line in markdown(describe(instrument.device("", driver=driver))):
        assert line in plain or line in text


async def test_a_refused_setting_is_the_gauges() -> None:
    told = "0011074206000020"
    async with gauge((told, "0011074206_RANGE"), variant="ppt100") as g:
        with pytest.raises(RefusedError, match="parameter 742: _RANGE, the data is out of range"):
            await g.pirani["pirani"].correction.write(0.2)
