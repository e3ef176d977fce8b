"""The IOC of the Keithley 2400: what its instrument does to its PVs."""

from collections.abc import AsyncIterator

import pytest
import pytest_asyncio
from tests.ca import Client, PutFailed

from labioc.devices.core.records import AlarmSeverity, AlarmStatus
from labioc.iocs.core import Host, InstrumentConfig
from labioc.iocs.keithley2400 import instrument
from labioc.sim.core.loads import Diode, Open, Resistor
from labioc.sim.keithley2400 import Keithley2400 as Simulator

UNREAD = {
    "V",
    "I",
    "R",
    "TIME",
    "SWEEP:V",
    "SWEEP:I",
    "SWEEP:TIME",
    "SWEEP:STATUS",
    "LINK:STATE",
    "LINK:UTIL",
}
"""What isn't known as long as the output is off, and what isn't known at the first moment."""


@pytest.fixture
def sim() -> Simulator:
    simulator = Simulator()
    simulator.clock.speed = 100
    return simulator


@pytest_asyncio.fixture
async def host(sim: Simulator, ca_environment: dict[str, str]) -> AsyncIterator[Host]:
    async with sim.serve("pty:") as url:
        config = InstrumentConfig(instrument=instrument, url=url, prefix="K:", name="k")
        async with Host([config]) as running:
            yield running


async def text_of(client: Client, name: str) -> str:
    return bytes((await client.get(f"{name}.VAL$")).value).partition(b"\0")[0].decode()


async def test_everything_is_known_when_the_server_answers(host: Host, client: Client) -> None:
    for name in host.pvs:
        severity = (await client.get(name)).severity
        if name.removeprefix("K:") not in UNREAD:
            assert severity != AlarmSeverity.INVALID_ALARM, name
    volts = await client.get("K:V")
    assert (volts.status, volts.severity) == (AlarmStatus.UDF, AlarmSeverity.INVALID_ALARM)


async def test_a_resistor_is_measured_and_drives_it_into_compliance(
    host: Host, client: Client, sim: Simulator
) -> None:
    await client.put("K:VOLT", 5.0)
    await client.put("K:CURR:COMPL", 0.01)
    await client.put("K:SENS:VOLT", "On")
    await client.put("K:SENS:RES", "On")
    await client.put("K:SENS:RES:MODE", "MANUAL")
    await client.put("K:I.SCAN", ".1 second")
    async with (
        client.monitor("K:I") as amperes,
        client.monitor("K:R") as ohms,
        client.monitor("K:COMPLIANCE") as compliance,
    ):
        await client.put("K:OUTPUT", "On")
        await amperes.next(lambda reading: abs(reading.value - 5e-3) < 1e-8 and not reading.severity)
        await ohms.next(lambda reading: abs(reading.value - 1000.0) < 1e-3)
        sim.loads["FRON"] = Resistor(100.0)
        tripped = await compliance.next(lambda reading: bool(reading.value))
        assert (tripped.status, tripped.severity) == (AlarmStatus.STATE, AlarmSeverity.MAJOR_ALARM)
        assert (await client.get("K:V")).value == pytest.approx(1.0)
        # nothing hangs there: no number of ohms
        sim.loads["FRON"] = Open()
        infinite = await ohms.next(lambda reading: bool(reading.severity))
        assert (infinite.status, infinite.severity) == (AlarmStatus.HWLIMIT, AlarmSeverity.INVALID_ALARM)
        assert infinite.value < 1e4
        await client.put("K:OUTPUT", "Off")
        off = await amperes.next(lambda reading: bool(reading.severity))
        assert off.status == AlarmStatus.UDF
    assert not sim.errors


async def test_the_curve_of_a_diode(host: Host, client: Client, sim: Simulator) -> None:
    sim.loads["FRON"] = Diode()
    await client.put("K:CURR:COMPL", 0.1)
    await client.put("K:SWEEP:VOLT:START", -1.0)
    await client.put("K:SWEEP:VOLT:STOP", 0.7)
    await client.put("K:SWEEP:POINTS", 18)
    with pytest.raises(PutFailed):
        await client.put("K:SWEEP", 1)
    assert await text_of(client, "K:MESSAGE") == "K:SWEEP: k: sweep: refused: the output is off"
    await client.put("K:OUTPUT", 1)
    await client.put("K:SWEEP", 1)
    volts, amperes = await client.get("K:SWEEP:V"), await client.get("K:SWEEP:I")
    assert list(volts.value) == pytest.approx([-1.0 + 0.1 * step for step in range(18)])
    assert max(map(abs, amperes.value[:11])) < 1e-8
    # a decade in 104 mV
    assert amperes.value[15] / amperes.value[14] == pytest.approx(10 ** (0.1 / 0.1042), rel=0.02)
    assert amperes.severity == AlarmSeverity.NO_ALARM


async def test_a_refusal_in_the_instruments_words(host: Host, client: Client, sim: Simulator) -> None:
    with pytest.raises(PutFailed):
        await client.put("K:SENS:CURR:RANGE", "A_1")
    assert '824,"Cannot exceed compliance range"' in await text_of(client, "K:MESSAGE")
    assert (await client.get("K:SENS:CURR:RANGE_RBV")).value == 2
    with pytest.raises(PutFailed):
        await client.put("K:VOLT", 300.0)
    assert await text_of(client, "K:MESSAGE") == "K:VOLT: 300 is beyond the limits -210 to 210 V"


async def test_what_happens_at_the_front_panel_is_seen(host: Host, client: Client, sim: Simulator) -> None:
    for name in ("OUTPUT_RBV", "ERROR"):
        await client.put(f"K:{name}.SCAN", ".1 second")
    async with client.monitor("K:OUTPUT_RBV") as output, client.monitor("K:ERROR.VAL$") as errors:
        sim.ask(":OUTP ON")
        await output.next(lambda reading: bool(reading.value))
        sim.error(802)
        await errors.next(lambda reading: bytes(reading.value).startswith(b'802,"OUTPUT blocked'))


async def test_a_power_cycle_switches_off_and_is_noticed(
    ca_environment: dict[str, str], client: Client, sim: Simulator
) -> None:
    async with sim.serve("tcp://127.0.0.1:0") as url:
        config = InstrumentConfig(instrument=instrument, url=url, prefix="K:", name="k")
        async with Host([config]):
            await client.put("K:VOLT", 5.0)
            await client.put("K:OUTPUT", "On")
            async with client.monitor("K:OUTPUT_RBV") as output, client.monitor("K:VOLT") as volts:
                await output.next(lambda reading: bool(reading.value))
                sim.ask(":FORM:ELEM VOLT")
                sim.restart()
                await output.next(lambda reading: not reading.value and not reading.severity)
                await volts.next(lambda reading: bool(reading.value == 0.0 and not reading.severity))
            assert sim.ask(":FORM:ELEM?") == "VOLT,CURR,RES,TIME,STAT"


@pytest.mark.parametrize("fault", ["late=0.5", "cut", "garbage", "twice"])
async def test_faults_make_no_wrong_reading(
    fault: str, ca_environment: dict[str, str], client: Client, sim: Simulator
) -> None:
    async with sim.serve("tcp://127.0.0.1:0") as url:
        config = InstrumentConfig(instrument=instrument, url=url, prefix="K:", name="k")
        async with Host([config]):
            await client.put("K:I.SCAN", ".1 second")
            await client.put("K:VOLT", 5.0)
            await client.put("K:CURR:COMPL", 0.1)
            await client.put("K:OUTPUT", "On")
            async with client.monitor("K:I") as amperes:
                await amperes.next(lambda reading: not reading.severity)
                sim.faults.add(f"{fault} only=READ count=1")
                while sim.faults.active:
                    assert (await client.get("K:I")).value == pytest.approx(5e-3)
                sim.loads["FRON"] = Resistor(2500.0)
                seen = [await amperes.next()]
                while seen[-1].severity:
                    seen.append(await amperes.next())
            assert {round(reading.value, 9) for reading in seen} <= {5e-3, 2e-3}
