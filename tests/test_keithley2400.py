"""The driver of the Keithley 2400, in transcripts from its manual (2400S-900-01 Rev. K)."""

import asyncio
import math
from collections.abc import Awaitable, Callable
from contextlib import AbstractAsyncContextManager
from typing import Any

import pytest

from labioc.drivers import keithley2400 as k
from labioc.drivers.core.errors import LimitError, RefusedError, ReplyError
from labioc.drivers.keithley2400 import Keithley2400
from labioc.drivers.scpi import Identity
from labioc.drivers.testing import Line, transcript
from labioc.sim.core.loads import Diode, Resistor
from labioc.sim.keithley2400 import Keithley2400 as Simulator

IDENTITY = "KEITHLEY INSTRUMENTS INC.,MODEL 2400,1234567,C30   Mar 17 2006 09:29:29/A02  /K/J"
NONE = '0,"No error"'


def unit(*lines: Line, identity: str = IDENTITY) -> AbstractAsyncContextManager[Keithley2400]:
    return transcript(Keithley2400, lines, identity=identity)


Read = Callable[[Keithley2400], Awaitable[Any]]


@pytest.mark.parametrize(
    ("section", "question", "reply", "read", "value"),
    [
        ("16 *IDN?", "*IDN?", IDENTITY, lambda u: u.identity.read(), Identity(*IDENTITY.split(",", 3))),
        ("18 OUTPut?", ":OUTP?", "1", lambda u: u.output.read(), True),
        ("18 OUTPut:SMODe?", ":OUTP:SMOD?", "HIMP", lambda u: u.off_state.read(), k.OffState.HIGH_IMPEDANCE),
        ("18 ROUTe:TERMinals?", ":ROUT:TERM?", "FRON", lambda u: u.terminals.read(), k.Terminals.FRONT),
        ("18 SOURce:FUNCtion?", ":SOUR:FUNC?", "CURR", lambda u: u.function.read(), k.Source.CURRENT),
        ("18 SOURce:FUNCtion?", ":SOUR:FUNC?", "MEM", lambda u: u.function.read(), k.Source.MEMORY),
        ("18 VOLTage?", ":SOUR:VOLT:LEV?", "+1.500000E+00", lambda u: u.voltage.read(), 1.5),
        ("18 RANGe?", ":SOUR:VOLT:RANG?", "2.100000E+01", lambda u: u.voltage_range.read(), k.VoltageRange.V_20),
        ("18 CURRent:RANGe?", ":SENS:CURR:RANG?", "1.05E-04", lambda u: u.sense_current_range.read(),
         k.CurrentRange.UA_100),
        ("18 PROTection?", ":SENS:CURR:PROT?", "1.050000E-04", lambda u: u.current_compliance.read(), 1.05e-4),
        ("18 TRIPped?", ":SENS:VOLT:PROT:TRIP?", "1", lambda u: u.voltage_tripped.read(), True),
        ("18 FUNCtion:STATe?", ':SENS:FUNC:STAT? "RES"', "0", lambda u: u.measures_resistance.read(), False),
        ("18 NPLCycles?", ":SENS:CURR:NPLC?", "1.00", lambda u: u.nplc.read(), 1.0),
        ("18 TCONtrol?", ":SENS:AVER:TCON?", "REP", lambda u: u.filter_type.read(), k.FilterType.REPEAT),
        ("18 DELay?", ":SOUR:DEL?", "0.00100", lambda u: u.delay.read(), 0.001),
        ("18 TEXT?", ":DISP:TEXT:DATA?", '"HELLO"', lambda u: u.text.read(), "HELLO"),
    ],
)  # fmt: skip
async def test_readings(section: str, question: str, reply: str, read: Read, value: object) -> None:
    async with unit((question, reply)) as u:
        assert await read(u) == value, section


@pytest.mark.parametrize(
    ("section", "command", "question", "reply", "write"),
    [
        ("18 OUTPut", ":OUTP ON", ":OUTP?", "1", lambda u: u.output.write(True)),
        ("18 FUNCtion", ":SOUR:FUNC CURR", ":SOUR:FUNC?;:OUTP?", "CURR;0",
         lambda u: u.function.write(k.Source.CURRENT)),
        ("18 VOLTage", ":SOUR:VOLT:LEV -1.5", ":SOUR:VOLT:LEV?;:SOUR:VOLT:RANG?", "-1.500000E+00;2.1",
         lambda u: u.voltage.write(-1.5)),
        ("18 RANGe", ":SOUR:CURR:RANG 1E-3", ":SOUR:CURR:RANG?;:SOUR:CURR:RANG:AUTO?", "1.050000E-03;0",
         lambda u: u.current_range.write(k.CurrentRange.MA_1)),
        ("18 PROTection", ":SENS:CURR:PROT 0.05", ":SENS:CURR:PROT?", "5.000000E-02",
         lambda u: u.current_compliance.write(0.05)),
        ("18 FUNCtion:OFF", ':SENS:FUNC:OFF "CURR"', ':SENS:FUNC:STAT? "CURR"', "0",
         lambda u: u.measures_current.write(False)),
        ("18 NPLCycles", ":SENS:CURR:NPLC 0.1", ":SENS:CURR:NPLC?", "0.10", lambda u: u.nplc.write(0.1)),
        ("18 TEXT", ':DISP:TEXT:DATA "SAMPLE 7"', ":DISP:TEXT:DATA?", '"SAMPLE 7"', lambda u: u.text.write("SAMPLE 7")),
        ("18 STARt", ":SOUR:VOLT:STAR -2", ":SOUR:VOLT:STAR?", "-2.000000E+00", lambda u: u.voltage_start.write(-2)),
    ],
)  # fmt: skip
async def test_settings(
    section: str, command: str, question: str, reply: str, write: Callable[[Keithley2400], Awaitable[None]]
) -> None:
    said = [(":SYST:ERR?", NONE), (command, None), (":SYST:ERR?", NONE), (question, reply)]
    async with unit(*said) as u:
        await write(u)


@pytest.mark.parametrize(
    "error",
    [
        '-222,"Parameter data out of range"',
        '-221,"Settings conflict"',
        '+826,"Attempt to exceed power limit"',
        '822,"Too small for sense range"',
    ],
)
async def test_refusals(error: str) -> None:
    """Appendix B."""
    said = [
        (":SYST:ERR?", NONE),
        (":SENS:CURR:PROT 1", None),
        (":SYST:ERR?", error),
        (":SYST:ERR?", NONE),
        (":SENS:CURR:PROT?", "1.050000E-04"),
    ]
    async with unit(*said) as u:
        with pytest.raises(RefusedError) as refusal:
            await u.current_compliance.write(1.0)
        assert error in str(refusal.value)
        assert u.current_compliance.value == 1.05e-4


async def test_limits_of_the_manual() -> None:
    async with unit() as u:
        with pytest.raises(LimitError, match="211 is beyond the limits -210 to 210 V"):
            await u.voltage.write(211)
        with pytest.raises(LimitError, match="1.06 is beyond the limits -1.05 to 1.05 A"):
            await u.current_compliance.write(1.06)
        with pytest.raises(LimitError, match="2501 is beyond the limits 2 to 2500"):
            await u.points.write(2501)
        with pytest.raises(LimitError, match="MEMORY may not be set"):
            await u.function.write(k.Source.MEMORY)
        with pytest.raises(LimitError, match="at most 20 characters"):
            await u.text.write("more than twenty characters")


async def test_a_reading_has_five_elements() -> None:
    """18, FORMat:ELEMents: the example reading string, and what its status word says."""
    reply = "1.000236E+00,1.000000E-04,1.000236E+04,7.282600E+01,4.813200E+04"
    async with unit((":OUTP?", "1"), (":READ?", reply)) as u:
        reading = await u.measured.read()
    assert reading[:4] == (1.000236, 1e-4, 10002.36, 72.826)
    assert reading.status == (
        k.Status.FRONT
        | k.Status.AUTO_OHMS
        | k.Status.MEASURES_VOLTAGE
        | k.Status.MEASURES_CURRENT
        | k.Status.MEASURES_OHMS
        | k.Status.SOURCES_CURRENT
    )
    assert not reading.compliance
    assert not reading.over_range


async def test_compliance_over_range_and_what_is_not_measured() -> None:
    reply = "+2.100000E+01,+9.900000E+37,+9.910000E+37,+1.000000E+00,+2.048900E+04"
    async with unit((":OUTP?", "1"), (":READ?", reply)) as u:
        reading = await u.measured.read()
    assert (reading.compliance, reading.over_range) == (True, True)
    assert reading.current == math.inf
    assert math.isnan(reading.voltage)  # the source's level, and not what is at the terminals
    assert math.isnan(reading.resistance)


async def test_with_the_output_off_nothing_is_read() -> None:
    """11, idle and initiate: READ? is error 803 then."""
    async with unit((":OUTP?", "0")) as u:
        reading = await u.measured.read()
    assert math.isnan(reading.voltage)
    assert reading.status == 0


async def test_other_elements_than_those_set_up_are_no_reading() -> None:
    async with unit((":OUTP?", "1"), (":READ?", "+1.0E+00,+1.0E-03")) as u:
        with pytest.raises(ReplyError, match="5 fields"):
            await u.measured.read()


async def test_a_sweep_goes_through_a_list_in_turns() -> None:
    """18, SOURce:LIST; the list leaves the sweep's own settings alone."""
    point = "{:E},1E-3,9.91E37,0,20484"
    first = [level / 10 for level in range(10)]
    said: list[Line] = [
        (":SYST:ERR?", NONE),
        (":SOUR:FUNC?", "VOLT"),
        (":SOUR:SWE:POIN?", "12"),
        (":SOUR:VOLT:STAR?", "0.000000E+00"),
        (":SOUR:VOLT:STOP?", "1.100000E+00"),
        (":SOUR:LIST:VOLT 0,0.1,0.2,0.3,0.4,0.5,0.6,0.7,0.8,0.9", None),
        (":TRIG:COUN 10", None),
        (":SOUR:VOLT:MODE LIST", None),
        (":OUTP?", "1"),
        (":SYST:ERR?", NONE),
        (":READ?", ",".join(point.format(level) for level in first)),
        (":SOUR:LIST:VOLT 1,1.1", None),
        (":TRIG:COUN 2", None),
        (":SOUR:VOLT:MODE LIST", None),
        (":OUTP?", "1"),
        (":SYST:ERR?", NONE),
        (":READ?", ",".join(map(point.format, (1.0, 1.1)))),
        (":SOUR:VOLT:MODE FIX", None),
        (":TRIG:COUN 1", None),
        ("*OPC?", "1"),
    ]
    async with unit(*said) as u:
        await u.sweep.execute()
        curve = u.curve.value
    assert list(curve.voltage) == pytest.approx([*first, 1.0, 1.1])
    assert list(curve.current) == [1e-3] * 12


async def test_a_sweep_that_is_refused_leaves_a_fixed_source() -> None:
    said: list[Line] = [
        (":SYST:ERR?", '-113,"Undefined header"'),  # somebody else's
        (":SYST:ERR?", NONE),
        (":SOUR:FUNC?", "CURR"),
        (":SOUR:SWE:POIN?", "2"),
        (":SOUR:CURR:STAR?", "0"),
        (":SOUR:CURR:STOP?", "1"),
        (":SOUR:LIST:CURR 0,1", None),
        (":TRIG:COUN 2", None),
        (":SOUR:CURR:MODE LIST", None),
        (":OUTP?", "1"),
        (":SYST:ERR?", '-221,"Settings conflict"'),
        (":SYST:ERR?", NONE),
        (":SOUR:CURR:MODE FIX", None),
        (":TRIG:COUN 1", None),
        ("*OPC?", "1"),
    ]
    async with unit(*said) as u:
        with pytest.raises(RefusedError, match='sweep: refused: -221,"Settings conflict"'):
            await u.sweep.execute()
        assert u.error.value == '-221,"Settings conflict"'


@pytest.mark.parametrize(
    "identity",
    [
        "KEITHLEY INSTRUMENTS INC.,MODEL 2410,0988765,C27   Feb  4 2003 14:58:04/A02  /F/H",
        "KEITHLEY INSTRUMENTS INC.,MODEL 2401,4001234,B02 Jan 20 2021",
        "KEITHLEY INSTRUMENTS,MODEL 2450,04012345,1.6.7c",
    ],
)
async def test_its_sisters_are_taken(identity: str) -> None:
    async with unit((":OUTP?", "0"), identity=identity) as u:
        assert not await u.output.read()


# With the simulator


async def test_a_diode_is_swept_and_the_level_comes_back() -> None:
    simulator = Simulator()
    simulator.clock.speed = 1000
    simulator.loads["FRON"] = Diode()
    async with simulator.serve("tcp://127.0.0.1:0") as url, Keithley2400.open(url) as u:
        await u.voltage.write(0.25)
        await u.measures_voltage.write(True)
        await u.current_compliance.write(0.01)
        await u.voltage_start.write(-1.0)
        await u.voltage_stop.write(1.0)
        await u.points.write(41)
        await u.output.write(True)
        await u.sweep.execute()
        curve = u.curve.value
        assert len(curve.voltage) == 41
        assert curve.current[0] == pytest.approx(0.0, abs=1e-8)
        assert curve.current[-1] == pytest.approx(0.01)
        assert curve.voltage[-1] < 0.75  # held back by the compliance
        assert int(curve.status[-1]) & k.Status.COMPLIANCE
        assert all(curve.current[1:] >= curve.current[:-1])
        assert (await u.measured.read()).voltage == pytest.approx(0.25)
        assert simulator.set.trigger.count == 1


async def test_switching_off_ends_a_sweep_after_the_points_under_way() -> None:
    simulator = Simulator()
    simulator.clock.speed = 100
    async with simulator.serve("tcp://127.0.0.1:0") as url, Keithley2400.open(url) as u:
        await u.voltage_stop.write(1.0)
        await u.points.write(2500)
        await u.output.write(True)
        sweep = asyncio.create_task(u.sweep.execute())
        await u.output.read()  # the sweep had its first turn
        await u.output.write(False)
        with pytest.raises(RefusedError, match="the output is off"):
            await sweep
        assert simulator.ask(":SOUR:VOLT:MODE?;:TRIG:COUN?") == "FIX;1"
        assert not simulator.errors


async def test_slow_points_are_measured_one_in_a_turn() -> None:
    """So that an OUTPUT OFF need not wait for ten of them."""
    simulator = Simulator()
    simulator.clock.speed = 1000
    async with simulator.serve("tcp://127.0.0.1:0") as url, Keithley2400.open(url) as u:
        await u.nplc.write(10)
        for setting in (u.filter, u.filter_count, u.delay):
            await setting.read()
        await u.points.write(3)
        await u.output.write(True)
        simulator.log.clear()
        await u.sweep.execute()
        assert [line for line in simulator.log if ":TRIG:COUN" in line] == [":TRIG:COUN 1"] * 4
        assert len(u.curve.value.voltage) == 3


async def test_after_a_reset_all_settings_are_known_anew() -> None:
    simulator = Simulator()
    async with simulator.serve("tcp://127.0.0.1:0") as url, Keithley2400.open(url) as u:
        await u.nplc.write(0.1)
        await u.measures_voltage.write(True)
        await u.points.write(12)
        await u.reset.execute()
        assert (u.nplc.value, u.measures_voltage.value, u.points.value) == (1.0, False, 2500)


async def test_four_wires_make_up_for_the_leads() -> None:
    simulator = Simulator()
    simulator.clock.speed = 1000
    simulator.loads["FRON"], simulator.lead = Resistor(10.0), 1.0
    async with simulator.serve("tcp://127.0.0.1:0") as url, Keithley2400.open(url) as u:
        await u.current_compliance.write(0.1)
        await u.voltage.write(0.5)
        await u.output.write(True)
        assert (await u.measured.read()).current == pytest.approx(0.5 / 11.0)
        await u.remote_sense.write(True)
        assert (await u.measured.read()).current == pytest.approx(0.05)


async def test_after_a_lost_link_in_a_sweep_the_source_is_fixed_again() -> None:
    simulator = Simulator()
    async with simulator.serve("tcp://127.0.0.1:0") as url:
        simulator.ask(":OUTP ON;:SOUR:VOLT:MODE LIST;:TRIG:COUN 10;:FORM:ELEM VOLT")
        async with Keithley2400.open(url) as u:
            assert simulator.ask(":SOUR:VOLT:MODE?;:TRIG:COUN?;:OUTP?") == "FIX;1;1"
            assert (await u.measured.read()).voltage == 0.0
