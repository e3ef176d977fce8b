"""The simulated Keithley 2400, against its manual (2400S-900-01 Rev. K), without the driver."""

import asyncio
import math

import pytest

from labioc.sim.core import Clock
from labioc.sim.core.loads import Diode, Load, Open, Resistor
from labioc.sim.keithley2400 import Keithley2400

NAN, INFINITE = 9.91e37, 9.9e37


@pytest.fixture
def smu() -> Keithley2400:
    return Keithley2400(clock=Clock(manual=True))


def numbers(reply: str) -> list[float]:
    return [float(text) for text in reply.split(",")]


def ask_all(smu: Keithley2400, *lines: str) -> str:
    """Send lines, and return the last answer; no error may have come up."""
    answer = ""
    for line in lines:
        answer = smu.ask(line)
        assert smu.ask(":SYST:ERR?") == '0,"No error"', line
    return answer


@pytest.mark.parametrize(
    ("section", "question", "answer"),
    [
        ("18 SOURce", ":SOUR:FUNC?;:SOUR:VOLT?;:SOUR:CURR?", "VOLT;0.000000E+00;0.000000E+00"),
        ("18 SOURce", ":SOUR:VOLT:RANG?;RANG:AUTO?", "2.100000E+01;1"),
        ("18 SOURce", ":SOUR:VOLT:MODE?;:SOUR:SWE:POIN?;SPAC?;DIR?;RANG?;CAB?", "FIX;2500;LIN;UP;BEST;NEV"),
        ("18 SOURce", ":SOUR:CLE:AUTO?;:SOUR:DEL:AUTO?", "0;1"),
        ("18 SENSe", ":SENS:FUNC?;:SENS:FUNC:CONC?;COUN?", '"CURR:DC";1;1'),
        ("18 SENSe", ":SENS:CURR:PROT?;:SENS:VOLT:PROT?", "1.050000E-04;2.100000E+01"),
        ("18 SENSe", ":SENS:CURR:RANG?;RANG:AUTO?;:SENS:RES:RANG?;MODE?", "1.050000E-04;1;2.100000E+05;AUTO"),
        ("18 SENSe", ":SENS:CURR:NPLC?;:SENS:AVER?;AVER:COUN?;TCON?", "1.00E+00;0;10;REP"),
        ("18 OUTPut, ROUTe", ":OUTP?;:OUTP:SMOD?;:ROUT:TERM?", "0;NORM;FRON"),
        ("18 FORMat", ":FORM:ELEM?;:FORM?", "VOLT,CURR,RES,TIME,STAT;ASC"),
        ("18 TRIGger", ":ARM:COUN?;SOUR?;TIM?;:TRIG:COUN?;SOUR?;DEL?", "1;IMM;1.000000E-01;1;IMM;0.000000E+00"),
        ("18 TRACe", ":TRAC:POIN?;FEED?;FEED:CONT?;:TRAC:POIN:ACT?", "100;SENS;NEV;0"),
        ("18 SYSTem", ":SYST:RSEN?;AZER?;VERS?", "0;1;1996.0"),
        ("18 MIN, MAX, DEF", ":SOUR:VOLT? MAX;:SENS:CURR:PROT? DEF;:SOUR:SWE:POIN? MIN",
         "2.100000E+02;1.050000E-04;2"),
    ],
)  # fmt: skip
def test_defaults(smu: Keithley2400, section: str, question: str, answer: str) -> None:
    ask_all(
        smu,
        ":SOUR:VOLT 100;CURR 0.01;:SOUR:VOLT:RANG 200;:SOUR:SWE:POIN 3;SPAC LOG;DIR DOWN;RANG FIX;CAB LATE",
    )
    ask_all(smu, ":SOUR:VOLT:MODE SWE;:SOUR:CLE:AUTO ON;:SOUR:DEL 1;:SENS:FUNC:CONC OFF;:SENS:FUNC 'RES'")
    ask_all(
        smu,
        ":SENS:CURR:RANG 1e-6;PROT 1e-3;NPLC 5;:SENS:RES:RANG 20;MODE MAN;:SOUR:FUNC CURR;:SENS:VOLT:PROT 5",
    )
    ask_all(
        smu, ":SENS:AVER ON;AVER:COUN 7;TCON MOV;:OUTP ON;:OUTP:SMOD ZERO;:ROUT:TERM REAR;:FORM:ELEM VOLT"
    )
    ask_all(smu, ":ARM:COUN 2;SOUR BUS;TIM 3;:TRIG:COUN 3;SOUR TLIN;DEL 1;:SYST:RSEN ON;AZER OFF")
    assert ask_all(smu, "*RST", question) == answer, section


def test_reset_leaves_the_output_off(smu: Keithley2400) -> None:
    assert ask_all(smu, ":OUTP ON", ":OUTP?") == "1"
    assert ask_all(smu, "*RST", ":OUTP?") == "0"


@pytest.mark.parametrize(
    ("line", "error"),
    [
        (":READ?", '803,"Not permitted with OUTPUT off"'),
        (":INIT", '803,"Not permitted with OUTPUT off"'),
        (":FETC?", '-230,"Data corrupt or stale"'),
        (":SOUR:VOLT 211", '-222,"Parameter data out of range"'),
        (":SOUR:VOLT:RANG 2;:SOUR:VOLT 3", '-222,"Parameter data out of range"'),
        (":SOUR:VOLT:MODE SWE;:SOUR:VOLT 3", '-221,"Settings conflict"'),
        (":SENS:CURR:RANG 1", '824,"Cannot exceed compliance range"'),
        (":SENS:VOLT:RANG 2", '823,"Invalid with source read-back on"'),
        (":SENS:CURR:PROT 1e-8", '822,"Too small for sense range"'),
        (":SOUR:VOLT 100;:SENS:CURR:PROT 0.5", '826,"Attempt to exceed power limit"'),
        (":SENS:CURR:PROT 0.5;:SOUR:VOLT:RANG 200", '826,"Attempt to exceed power limit"'),
        (":SENS:CURR:PROT 0.5;:SOUR:VOLT 30", '826,"Attempt to exceed power limit"'),
        (":SOUR:FUNC CURR;:SENS:VOLT:PROT 100;:SOUR:CURR 0.5", '826,"Attempt to exceed power limit"'),
        (":TRIG:COUN 100;:ARM:COUN 100", '-221,"Settings conflict"'),
        (":SENS:FUNC:CONC OFF;:SENS:FUNC 'VOLT','CURR'", '-221,"Settings conflict"'),
        (":TRAC:FEED:CONT NEXT;:TRAC:POIN 5", '800,"Illegal with storage active"'),
        (":ARM:COUN INF;:OUTP ON;:READ?", '830,"Invalid with INF ARM:COUNT"'),
        (":FORM:DATA REAL,32", '701,"ASCII only with RS-232"'),
        ("*TRG", '-211,"Trigger ignored"'),
        (":SENS:DATE?;:SENS:FUNC?", '-113,"Undefined header"'),
    ],
)
def test_refusals(smu: Keithley2400, line: str, error: str) -> None:
    """Appendix B; nothing is answered, what follows in the message is ignored."""
    assert smu.ask(line) == ""
    assert smu.ask(":SYST:ERR?") == error
    assert smu.ask(":STAT:QUE?") == '0,"No error"'


def test_the_identification(smu: Keithley2400) -> None:
    """16: maker, model, serial number, firmware of both boards with its date, board revisions."""
    identity = "KEITHLEY INSTRUMENTS INC.,MODEL 2400,1234567,C30   Mar 17 2006 09:29:29/A02  /K/J"
    assert ask_all(smu, "*IDN?;*OPT?") == f"{identity};0"


def test_all_errors_at_a_time(smu: Keithley2400) -> None:
    smu.ask(":READ?")
    smu.ask("NONSENSE")
    assert smu.ask(":SYST:ERR:COUN?;CODE?") == "2;803"
    assert smu.ask(":SYST:ERR:ALL?") == '-113,"Undefined header"'
    smu.ask(":READ?")
    smu.ask("NONSENSE")
    assert smu.ask(":SYST:ERR:CODE:ALL?;ALL?") == "803,-113;0"
    smu.ask("NONSENSE")
    smu.ask(":SENS:CURR:PROT 2")
    assert smu.ask(":SYST:ERR:ALL?;ALL?") == (
        '-113,"Undefined header",-222,"Parameter data out of range";0,"No error"'
    )


@pytest.mark.parametrize(
    ("load", "level", "compliance", "volts", "amperes", "limited"),
    [
        (Resistor(1000.0), 5.0, 0.1, 5.0, 5e-3, False),
        (Resistor(1000.0), -5.0, 1e-3, -1.0, -1e-3, True),
        (Resistor(1.0), 20.0, 1.0, 1.0, 1.0, True),
        (Open(), 10.0, 1e-3, 10.0, 0.0, False),
        (Diode(), 5.0, 1e-3, 0.584, 1e-3, True),
        (Diode(), -5.0, 1e-3, -5.0, -2.5e-9, False),
    ],
)
def test_volts_into_a_load(
    smu: Keithley2400,
    load: Load,
    level: float,
    compliance: float,
    volts: float,
    amperes: float,
    limited: bool,
) -> None:
    smu.loads["FRON"] = load
    ask_all(
        smu, ":SENS:FUNC 'VOLT','CURR'", f":SENS:CURR:PROT {compliance}", f":SOUR:VOLT {level}", ":OUTP ON"
    )
    found = numbers(ask_all(smu, ":READ?"))
    assert found[0] == pytest.approx(volts, abs=1e-3)
    assert found[1] == pytest.approx(amperes, rel=1e-3, abs=1e-12)
    assert bool(int(found[4]) & 1 << 3) is limited
    assert smu.ask(":SENS:CURR:PROT:TRIP?;:SENS:VOLT:PROT:TRIP?") == f"{limited:d};0"


@pytest.mark.parametrize(
    ("load", "level", "compliance", "volts", "limited"),
    [
        (Resistor(1000.0), 1e-3, 21.0, 1.0, False),
        (Resistor(1e6), 1e-3, 10.0, 10.0, True),
        (Open(), -1e-6, 5.0, -5.0, True),
        (Diode(), 1e-3, 5.0, 0.584, False),
    ],
)
def test_current_into_a_load(
    smu: Keithley2400, load: Load, level: float, compliance: float, volts: float, limited: bool
) -> None:
    smu.loads["FRON"] = load
    ask_all(smu, ":SOUR:FUNC CURR", ":SENS:FUNC 'VOLT'", f":SENS:VOLT:PROT {compliance}")
    ask_all(smu, f":SOUR:CURR {level}", ":OUTP ON")
    found = numbers(ask_all(smu, ":READ?"))
    assert found[0] == pytest.approx(volts, abs=1e-3)
    assert bool(int(found[4]) & 1 << 3) is limited
    assert smu.ask(":SENS:CURR:PROT:TRIP?;:SENS:VOLT:PROT:TRIP?") == f"0;{limited:d}"


def test_a_fixed_range_limits_as_well(smu: Keithley2400) -> None:
    """6, range compliance."""
    ask_all(smu, ":SENS:CURR:PROT 0.1", ":SENS:CURR:RANG 1e-3", ":SOUR:VOLT 5", ":OUTP ON")
    found = numbers(ask_all(smu, ":READ?"))
    assert found[1] == pytest.approx(1.05e-3)
    assert int(found[4]) & 1 << 16
    assert ask_all(smu, ":STAT:MEAS:COND?") == str(1 << 14)


def test_what_is_neither_sourced_nor_measured_is_not_a_number(smu: Keithley2400) -> None:
    """17, FETCh?"""
    ask_all(smu, ":SOUR:VOLT 2", ":SENS:CURR:PROT 0.1", ":OUTP ON")
    assert numbers(ask_all(smu, ":READ?"))[:3] == [2.0, 2e-3, NAN]
    assert numbers(ask_all(smu, ":SENS:FUNC:OFF 'CURR'", ":SENS:FUNC 'VOLT'", ":READ?"))[:3] == [
        2.0,
        NAN,
        NAN,
    ]


def test_ohms(smu: Keithley2400) -> None:
    ask_all(smu, ":SENS:FUNC 'RES'", ":OUTP ON", ":FORM:ELEM RES")
    assert numbers(ask_all(smu, ":READ?")) == [pytest.approx(1000.0)]
    assert ask_all(smu, ":SENS:RES:RANG?") == "2.100000E+03"
    smu.loads["FRON"] = Open()
    assert numbers(ask_all(smu, ":READ?")) == [INFINITE]
    ask_all(smu, ":SENS:RES:MODE MAN", ":SOUR:FUNC CURR", ":SOUR:CURR 1e-3", ":OUTP ON")
    smu.loads["FRON"] = Resistor(470.0)
    assert numbers(ask_all(smu, ":READ?")) == [pytest.approx(470.0)]


def test_ranges_follow_the_level_and_the_reading(smu: Keithley2400) -> None:
    assert (
        ask_all(smu, ":SOUR:VOLT 0.1;:SOUR:VOLT:RANG?;:SOUR:VOLT 3;:SOUR:VOLT:RANG?")
        == "2.100000E-01;2.100000E+01"
    )
    assert ask_all(smu, ":SOUR:VOLT:RANG DOWN;RANG?;RANG:AUTO?;:SOUR:VOLT?") == "2.100000E+00;0;2.100000E+00"
    ask_all(smu, ":SENS:CURR:PROT 0.1", ":OUTP ON", ":READ?")
    assert ask_all(smu, ":SENS:CURR:RANG?") == "1.050000E-02"


def test_changes_of_function_and_terminals_switch_the_output_off(smu: Keithley2400) -> None:
    assert ask_all(smu, ":OUTP ON;:SOUR:FUNC CURR;:OUTP?") == "0"
    assert ask_all(smu, ":OUTP ON;:ROUT:TERM REAR;:OUTP?") == "0"


@pytest.mark.parametrize(
    ("setup", "levels"),
    [
        (":SOUR:VOLT:STAR 0;STOP 1;:SOUR:SWE:POIN 5", [0.0, 0.25, 0.5, 0.75, 1.0]),
        (":SOUR:VOLT:STAR -1;STOP 1;STEP 0.5", [-1.0, -0.5, 0.0, 0.5, 1.0]),
        (":SOUR:VOLT:STAR 0;STOP 1;:SOUR:SWE:POIN 3;DIR DOWN", [1.0, 0.5, 0.0]),
        (":SOUR:VOLT:STAR 0.1;STOP 10;:SOUR:SWE:POIN 3;SPAC LOG", [0.1, 1.0, 10.0]),
        (":SOUR:VOLT:CENT 2;SPAN 2;:SOUR:SWE:POIN 3", [1.0, 2.0, 3.0]),
    ],
)
def test_sweeps(smu: Keithley2400, setup: str, levels: list[float]) -> None:
    """10, 18 SOURce:SWEep."""
    ask_all(smu, setup, ":SOUR:VOLT:MODE SWE", f":TRIG:COUN {len(levels)}", ":SENS:CURR:PROT 0.1", ":OUTP ON")
    found = numbers(ask_all(smu, ":FORM:ELEM VOLT,CURR", ":READ?"))
    assert found[::2] == pytest.approx(levels)
    assert found[1::2] == pytest.approx([level / 1000.0 for level in levels])


def test_lists(smu: Keithley2400) -> None:
    ask_all(
        smu, ":SOUR:LIST:CURR 1e-3,2e-3;CURR:APP 5e-3;:SOUR:CURR:MODE LIST", ":SOUR:FUNC CURR", ":TRIG:COUN 3"
    )
    assert ask_all(smu, ":SOUR:LIST:CURR:POIN?") == "3"
    found = numbers(ask_all(smu, ":SENS:FUNC 'VOLT'", ":FORM:ELEM VOLT", ":OUTP ON", ":READ?"))
    assert found == pytest.approx([1.0, 2.0, 5.0])


def test_the_buffer_fills_and_says_so(smu: Keithley2400) -> None:
    """9, 15: as drivers wait for it, by the status byte alone."""
    ask_all(
        smu, ":STAT:PRES;*CLS;*SRE 1;:STAT:MEAS:ENAB 512;", ":TRAC:CLEAR;", ":TRAC:POIN 4", ":TRIG:COUN 4"
    )
    ask_all(smu, ":TRAC:FEED SENSE;:TRAC:FEED:CONT NEXT;", ":SOUR:VOLT 3", ":SENS:CURR:PROT 0.1", ":OUTP ON")
    assert smu.ask("*STB?") == "0"
    ask_all(smu, ":INIT")
    assert smu.ask("*STB?;:TRAC:POIN:ACT?;:TRAC:FEED:CONT?") == "65;4;NEV"
    assert numbers(ask_all(smu, ":FORM:ELEM CURR", ":TRAC:DATA?")) == pytest.approx([3e-3] * 4)
    assert numbers(ask_all(smu, ":CALC3:FORM MEAN;:CALC3:DATA?;"))[:3] == [3.0, pytest.approx(3e-3), NAN]
    assert numbers(ask_all(smu, ":CALC3:FORM PKPK;:CALC3:DATA?;"))[0] == 0.0
    assert ask_all(smu, ":DATA:CLE", ":DATA:POIN:ACT?") == "0"


def test_a_bus_trigger_is_waited_for(smu: Keithley2400) -> None:
    """11, arm layer."""
    ask_all(smu, ":ARM:COUN 1;:ARM:SOUR BUS;:TRIG:SOUR IMM", ":OUTP ON", ":INIT")
    assert smu.ask(":FETC?") == ""
    assert smu.ask(":SYST:ERR?") == '-230,"Data corrupt or stale"'
    smu.ask(":INIT")
    assert smu.ask(":SYST:ERR?") == '-213,"Init ignored"'
    assert len(numbers(ask_all(smu, "*TRG", ":FETC?"))) == 5
    assert ask_all(smu, ":READ?") == ""
    assert len(numbers(ask_all(smu, "*TRG"))) == 5


def test_one_shot_measurements_switch_the_output_on(smu: Keithley2400) -> None:
    """17, CONFigure and MEASure."""
    ask_all(smu, ":SOUR:VOLT 0.05")
    assert numbers(ask_all(smu, ":MEAS:CURR?"))[1] == pytest.approx(5e-5)
    assert ask_all(smu, ":OUTP?;:CONF?") == '1;"CURR:DC"'
    assert numbers(ask_all(smu, ":MEASURE:RESISTANCE?"))[2] == pytest.approx(1000.0)


def test_a_one_shot_measurement_sets_defaults_of_its_function(smu: Keithley2400) -> None:
    """17, CONFigure: also the compliance; an instrument has done so."""
    ask_all(smu, ":SENS:CURR:PROT 1e-6", ":SOUR:VOLT -2", ":OUTP ON", ":MEAS:CURR?")
    assert ask_all(smu, ":SENS:CURR:PROT?") == "1.050000E-04"


@pytest.mark.parametrize("line", [":READ?", ":OUTP ON;:READ?", ":MEAS:VOLT?"])
def test_auto_output_off_allows_readings_and_switches_off_after_them(smu: Keithley2400, line: str) -> None:
    """17, READ? and MEASure?"""
    assert numbers(ask_all(smu, ":SOUR:CLE:AUTO ON", line))[0] == 0.0
    assert ask_all(smu, ":OUTP?") == "0"


def test_the_output_enable_line_blocks_the_output(smu: Keithley2400) -> None:
    """13, 18 OUTPut:ENABle."""
    smu.enable_line = False
    assert ask_all(smu, ":OUTP ON;:OUTP?;:OUTP:ENAB:TRIP?") == "1;0"
    assert ask_all(smu, ":OUTP:ENAB ON;:OUTP?") == "0"
    smu.ask(":OUTP ON")
    assert smu.ask(":SYST:ERR?;:OUTP?") == '802,"OUTPUT blocked by output enable";0'
    smu.enable_line = True
    assert ask_all(smu, ":OUTP ON;:OUTP?") == "1"
    smu.enable_line = False
    assert ask_all(smu, ":OUTP?") == "0"


@pytest.mark.parametrize(
    ("limit", "kept"),
    [
        ("5", 20.0),
        ("110", 100.0),
        ("-55", 40.0),
        ("160.5", 210.0),
        ("NONE", 210.0),
        ("MIN", 20.0),
        ("DEF", 210.0),
    ],
)
def test_a_limit_in_volts_is_the_next_lower_one(smu: Keithley2400, limit: str, kept: float) -> None:
    """18, SOURce:VOLTage:PROTection."""
    assert float(ask_all(smu, f":SOUR:VOLT:PROT {limit};PROT?")) == kept


def test_what_is_sourced_is_measured_in_the_range_of_the_source(smu: Keithley2400) -> None:
    """18, SENSe:RANGe, note 1."""
    assert ask_all(smu, ":SOUR:VOLT:RANG 200;:SENS:VOLT:RANG?") == "2.100000E+02"
    assert ask_all(smu, ":SOUR:CURR 5e-3;:SOUR:FUNC CURR;:SENS:CURR:RANG?") == "1.050000E-02"
    assert ask_all(smu, ":SOUR:CURR 0.5;:SENS:CURR:RANG?") == "1.050000E+00"


def test_a_fixed_range_can_follow_the_compliance(smu: Keithley2400) -> None:
    """18, PROTection:RSYNchronize: one setting for both."""
    assert ask_all(smu, ":SENS:CURR:RANG 1e-6;:SENS:CURR:PROT 1e-3;RANG?") == "1.050000E-06"
    assert ask_all(smu, ":SENS:VOLT:PROT:RSYN ON;:SENS:CURR:PROT:RSYN?") == "1"
    assert ask_all(smu, ":SENS:CURR:PROT 1e-2;:SENS:CURR:RANG?") == "1.050000E-02"


def test_an_infinite_arm_count(smu: Keithley2400) -> None:
    """18, COUNt: with it the trigger count may be 2500; DATA? has the last reading."""
    assert ask_all(smu, ":ARM:COUN INF;:TRIG:COUN 2500;:ARM:COUN?") == "+9.900000E+37"
    assert len(numbers(ask_all(smu, ":TRIG:COUN 2;:OUTP ON;:INIT;:DATA?"))) == 5


def test_events_are_lists(smu: Keithley2400) -> None:
    assert ask_all(smu, ":TRIG:OUTP SOUR,DEL,SENS;OUTP?;INP?") == "SOUR,DEL,SENS;SOUR"


def test_digital_outputs(smu: Keithley2400) -> None:
    assert ask_all(smu, ":SOUR2:TTL?;:SOUR2:TTL #B101;TTL?;TTL:ACT?") == "15;5;5"


def test_a_null_offset(smu: Keithley2400) -> None:
    """8, CALCulate2."""
    ask_all(smu, ":CALC2:FEED VOLT;:SOUR:VOLT 2", ":OUTP ON;:INIT", ":CALC2:NULL:ACQ;STAT ON", ":SOUR:VOLT 5")
    assert numbers(ask_all(smu, ":INIT;:CALC2:DATA?")) == [3.0]
    assert int(numbers(ask_all(smu, ":FORM:ELEM STAT;:FETC?"))[0]) & 1 << 6


@pytest.mark.parametrize(("form", "times"), [("ABS", [0.0, 0.061, 0.122]), ("DELT", [0.0, 0.061, 0.061])])
def test_the_buffer_counts_time_from_its_first_reading(
    smu: Keithley2400, form: str, times: list[float]
) -> None:
    """18, TRACe:TSTamp."""
    ask_all(smu, ":TRAC:POIN 3;FEED:CONT NEXT;:TRIG:COUN 3", f":TRAC:TST:FORM {form};:FORM:ELEM TIME")
    assert numbers(ask_all(smu, ":OUTP ON;:INIT;:TRAC:DATA?")) == pytest.approx(times, abs=1e-6)


def test_the_output_can_be_limited_in_volts(smu: Keithley2400) -> None:
    assert ask_all(smu, ":SOUR:VOLT:PROT 55;PROT?") == "4.000000E+01"
    ask_all(smu, ":SENS:CURR:PROT 0.05", ":SOUR:VOLT 50", ":SENS:FUNC 'VOLT'", ":OUTP ON")
    found = numbers(ask_all(smu, ":READ?"))
    assert found[0] == 40.0
    assert int(found[4]) & 1 << 4


def test_setups_are_saved_and_recalled(smu: Keithley2400) -> None:
    ask_all(smu, ":SOUR:VOLT 7", "*SAV 2", ":SOUR:VOLT 1", ":OUTP ON", "*RCL 2")
    assert ask_all(smu, ":SOUR:VOLT?;:OUTP?") == "7.000000E+00;0"
    smu.power_cycle()
    assert ask_all(smu, ":SOUR:VOLT?;*RCL 2;:SOUR:VOLT?") == "0.000000E+00;7.000000E+00"


def test_time_goes_on_from_reading_to_reading(smu: Keithley2400) -> None:
    ask_all(smu, ":SYST:TIME:RES", ":OUTP ON", ":TRIG:COUN 3", ":FORM:ELEM TIME")
    first, second, third = numbers(ask_all(smu, ":READ?"))
    assert math.isclose(third - second, second - first, rel_tol=1e-3)
    # three phases of a power line cycle, and the delay
    assert second - first == pytest.approx(0.061)


async def test_a_reply_comes_when_the_readings_are_done() -> None:
    """11: what is asked meanwhile waits."""
    smu = Keithley2400()
    smu.clock.speed = 10
    async with smu.serve("tcp://127.0.0.1:0") as url:
        host, _, port = url.removeprefix("tcp://").partition(":")
        reader, writer = await asyncio.open_connection(host, int(port))
        began = smu.clock.now()
        writer.write(b":OUTP ON;:TRIG:COUN 20;:INIT;*OPC?\n")
        assert await reader.readline() == b"1\n"
        assert smu.clock.now() - began >= 20 * 0.061
        writer.close()
        await writer.wait_closed()


def test_a_power_cycle_keeps_what_is_connected(smu: Keithley2400) -> None:
    smu.loads["FRON"] = Resistor(5.0)
    ask_all(smu, ":OUTP ON;:SOUR:VOLT 1", "*ESR?")
    smu.power_cycle()
    assert smu.ask(":OUTP?;*ESR?;:SOUR:VOLT?") == "0;128;0.000000E+00"
    assert smu.loads["FRON"].current(1.0) == pytest.approx(0.2)
