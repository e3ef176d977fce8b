"""The IOC of the DS1000Z: what a client sees of traces, single shots, the memory, and of what can't be measured."""

from collections.abc import AsyncIterator

import numpy as np
import pytest
import pytest_asyncio
from tests.ca import Client, PutFailed, Reading

from labioc.devices.core.records import AlarmSeverity, AlarmStatus
from labioc.drivers.ds1000z import DS1000Z, ScopeChannel
from labioc.iocs.core import Host, InstrumentConfig
from labioc.iocs.ds1000z import instrument
from labioc.sim import ds1000z
from labioc.sim.core.oscilloscope import Pulse, Sine

STOPPED, WAITS = 4, 1  # TRIG:STATUS
UNREAD = ("MEM", "MEM:TIME", "MEM:X0", "MEM:DX")
MEASURED = ("VPP", "VMAX", "VMIN", "VAMP", "VAVG", "VRMS", "FREQ", "PERIOD", "RISE", "FALL", "WIDTH", "DUTY")


@pytest.fixture
def scope() -> ds1000z.DS1000Z:
    return ds1000z.DS1000Z()


@pytest_asyncio.fixture
async def host(scope: ds1000z.DS1000Z, ca_environment: dict[str, str]) -> AsyncIterator[Host]:
    async with scope.serve("tcp://127.0.0.1:0") as url:
        config = InstrumentConfig(instrument=instrument, url=url, prefix="S:", name="scope")
        async with Host([config]) as running:
            yield running


def is_good(reading: Reading) -> bool:
    return not reading.severity


def channel_1(host: Host) -> ScopeChannel:
    driver = host.units[0].driver
    assert isinstance(driver, DS1000Z)
    return driver.scopes[1]


async def test_everything_is_known_but_what_is_not_there(host: Host, client: Client) -> None:
    for name in host.pvs:
        reading = await client.get(name)
        if name in ("S:LINK:STATE", "S:LINK:UTIL"):
            continue
        if name.removeprefix("S:CH1:") in UNREAD:
            assert reading.status == AlarmStatus.UDF, name  # it has not been stopped
        elif name[:4] in ("S:CH",) and name[4] != "1" and name[6:] in MEASURED:
            assert reading.status == AlarmStatus.HWLIMIT, name  # the channel is off
        else:
            assert is_good(reading), name
    assert (await client.get("S:CH2:WAVE")).value == []


async def test_the_waveform_in_volts_with_its_times(host: Host, client: Client) -> None:
    volts, times = await client.get("S:CH1:WAVE"), await client.get("S:CH1:TIME")
    assert len(volts.value) == len(times.value) == 1200
    assert (await client.connect("S:CH1:WAVE")).data_type == 2  # FLOAT
    assert (await client.get("S:CH1:X0")).value == times.value[0] == -1.2e-3
    assert (await client.get("S:CH1:DX")).value == pytest.approx(2e-6)
    high = np.array(volts.value)[(np.array(times.value) > 1e-5) & (np.array(times.value) < 4.9e-4)]
    assert high.mean() == pytest.approx(3.0, abs=0.02)
    assert (await client.get("S:CH1:FREQ")).value == pytest.approx(1000, rel=1e-3)


async def test_traces_come_as_they_are_triggered_and_not_otherwise(
    host: Host, client: Client, scope: ds1000z.DS1000Z
) -> None:
    async with client.monitor("S:CH1:WAVE") as waves:
        first = await waves.next()
        second = await waves.next()
        assert second.stamp > first.stamp
        scope.inputs[1].signal = Sine(2.0, 500.0, mean=1.0)
        await waves.next(lambda wave: bool(min(wave.value) < -0.9))
        await client.put("S:TRIG:SWEEP", "NORMAL")
        await client.put("S:TRIG:LEVEL", 4.5)  # which the sine does not reach
        async with client.monitor("S:TRIG:STATUS") as states:
            await states.next(lambda state: bool(state.value == WAITS))
            seen = len(waves.received)
            for _ in range(4):
                await channel_1(host).screen.read()
            # one may have been on its way
            assert len(waves.received) <= seen + 1
        await client.put("S:FORCE", 1)
        seen = len(waves.received)
        await waves.next(lambda wave: len(waves.received) > seen)


async def test_a_single_shot_comes_when_it_is_triggered(
    host: Host, client: Client, scope: ds1000z.DS1000Z
) -> None:
    await client.put("S:ACQ:DEPTH", "POINTS_120000")
    scope.inputs[1].signal = pulse = Pulse(4.0, start=1e9, width=3e-4)
    async with client.monitor("S:TRIG:STATUS") as states, client.monitor("S:CH1:MEM") as memories:
        assert (await memories.next()).status == AlarmStatus.UDF
        await client.put("S:SINGLE", 1)
        assert (await client.get("S:TRIG:SWEEP_RBV")).value == 2
        await states.next(lambda state: bool(state.value == WAITS))
        pulse.start = scope.scope.now + 0.2
        await states.next(lambda state: bool(state.value == STOPPED))
        async with client.monitor("S:CH1:WAVE") as waves:
            wave = await waves.next(lambda wave: bool(max(wave.value) > 3.8))
            # it rises at the trigger
            assert np.array(wave.value)[620:740].mean() == pytest.approx(4.0, abs=0.05)
            memory = await memories.next(is_good)
            assert len(memory.value) == 120_000
            times = np.array((await client.get("S:CH1:MEM:TIME")).value)
            inside = (times > 1e-5) & (times < 2.9e-4)
            assert np.array(memory.value)[inside].mean() == pytest.approx(4.0, abs=0.05)
            assert np.array(memory.value)[times < -1e-5].mean() == pytest.approx(0.0, abs=0.05)
            # and then nothing comes any more
            counts = len(waves.received), len(memories.received)
            channel = channel_1(host)
            for _ in range(3):
                await channel.screen.read()
                await channel.memory.read()
            assert (len(waves.received), len(memories.received)) == counts


async def test_a_channel_that_is_switched_on_has_a_waveform(host: Host, client: Client) -> None:
    await client.put("S:TIME:SCALE", 0.006)  # the nearest step
    assert (await client.get("S:TIME:SCALE_RBV")).value == pytest.approx(0.005)
    await client.put("S:CH2:DISPLAY", 1)
    async with client.monitor("S:CH2:WAVE") as waves, client.monitor("S:CH2:FREQ") as frequencies:
        wave = await waves.next(lambda wave: len(wave.value) == 1200)
        assert max(wave.value) == pytest.approx(1.0, abs=0.15)
        await client.put("S:CH2:FREQ.PROC", 1)
        await frequencies.next(lambda reading: is_good(reading) and bool(abs(reading.value - 50) < 1))


async def test_what_the_scope_refuses_comes_back_with_its_words(host: Host, client: Client) -> None:
    with pytest.raises(PutFailed):
        await client.put("S:CH1:SCALE", 500.0)
    message = bytes((await client.get("S:MESSAGE.VAL$")).value).partition(b"\0")[0].decode()
    assert "Data out of range" in message
    assert (await client.get("S:CH1:SCALE_RBV")).value == 1.0


async def test_another_unit_is_an_alarm(host: Host, client: Client) -> None:
    await client.put("S:CH1:UNIT", "AMPERE")
    unit = await client.get("S:CH1:UNIT_RBV")
    assert (unit.status, unit.severity) == (AlarmStatus.STATE, AlarmSeverity.MINOR_ALARM)
