"""The simulated DS1000Z in the words of its programming guide, and what it looks at."""

from typing import Any

import numpy as np
import pytest

from labioc.sim import ds1000z as sim
from labioc.sim.core import Clock
from labioc.sim.core.oscilloscope import Pulse, Sine

IDENTITY = "RIGOL TECHNOLOGIES,DS1104Z,DS1ZA000000001,00.04.04.SP4"
NO_ERROR = '0,"No error"'


@pytest.fixture
def clock() -> Clock:
    return Clock(manual=True)


@pytest.fixture
def scope_(clock: Clock) -> sim.DS1000Z:
    made = sim.DS1000Z(clock=clock)
    made.ask("*CLS")
    return made


def value(scope: sim.DS1000Z, question: str) -> float:
    return float(scope.ask(question))


def trace(scope: sim.DS1000Z) -> Any:
    """The points that :WAV:DATA? gives, in volts, as the guide says."""
    block = scope.ask(":WAV:DATA?").encode("latin-1")
    assert block[:2] == b"#9"
    assert len(block) == 11 + int(block[2:11])
    zero = value(scope, ":WAV:YOR?") + value(scope, ":WAV:YREF?")
    return (np.frombuffer(block[11:], np.uint8) - zero) * value(scope, ":WAV:YINC?")


@pytest.mark.parametrize(
    ("section", "line", "reply"),
    [
        ("*IDN?", "*IDN?", IDENTITY),
        (":ACQuire:AVERages", ":ACQ:AVER 128;:ACQ:AVER?", "128"),
        (":ACQuire:MDEPth", ":ACQ:MDEP 12000;:ACQ:MDEP?", "12000"),
        (":ACQuire:TYPE", ":ACQuire:TYPE AVERages;:ACQuire:TYPE?", "AVER"),
        (":ACQuire:SRATe?", ":ACQ:MDEP 12000;:ACQ:SRAT?", "5.000000e+06"),
        (":CHANnel<n>:BWLimit", ":CHANnel1:BWLimit 20M;:CHANnel1:BWLimit?", "20M"),
        (":CHANnel<n>:COUPling", ":CHAN1:COUP AC;:CHAN1:COUP?", "AC"),
        (":CHANnel<n>:DISPlay", ":CHAN2:DISP ON;:CHAN2:DISP?", "1"),
        (":CHANnel<n>:INVert", ":CHAN1:INV 1;:CHAN1:INV?", "1"),
        (":CHANnel<n>:OFFSet", ":CHAN1:OFFS 0.01;:CHAN1:OFFS?", "1.000000e-02"),
        (":CHANnel<n>:RANGe", ":CHAN1:RANG 8;:CHAN1:RANG?;:CHAN1:SCAL?", "8.000000e+00;1.000000e+00"),
        (":CHANnel<n>:PROBe", ":CHAN1:PROB 1;:CHAN1:PROB?;:CHAN1:SCAL?", "1.000000e+00;1.000000e-01"),
        (":CHANnel<n>:UNITs", ":CHAN1:UNIT VOLTage;:CHAN1:UNITs?", "VOLT"),
        (":CHANnel<n>:TCAL", ":CHAN1:TCAL 0.00000002;:CHAN1:TCAL?", "2.000000e-08"),
        (":TIMebase[:MAIN]:SCALe", ":TIMebase:MAIN:SCALe 0.0002;:TIM:SCAL?", "2.000000e-04"),
        (":TIMebase[:MAIN]:SCALe", ":TIM:SCAL 3e-6;:TIM:SCAL?", "2.000000e-06"),
        (":TIMebase[:MAIN]:OFFSet", ":TIM:OFFS 0.0002;:TIM:OFFS?", "2.000000e-04"),
        (":TIMebase:MODE", ":TIM:MODE ROLL;:TIM:MODE?", "ROLL"),
        (":TRIGger:MODE", ":TRIG:MODE SLOPe;:TRIG:MODE?", "SLOP"),
        (":TRIGger:COUPling", ":TRIG:COUP LFR;:TRIG:COUP?", "LFR"),
        (":TRIGger:SWEep", ":TRIG:SWE NORMal;:TRIG:SWE?", "NORM"),
        (":TRIGger:HOLDoff", ":TRIG:HOLD 0.0000002;:TRIG:HOLD?", "2.000000e-07"),
        (":TRIGger:EDGe:SLOPe", ":TRIG:EDGE:SLOPe negative;:TRIG:EDGE:SLOP?", "NEG"),
        (":TRIGger:EDGe:LEVel", ":TRIG:EDG:LEV 0.16;:TRIGger:edge:LEVel?", "1.600000e-01"),
        (":WAVeform:SOURce", ":WAV:SOUR CHAN2;:WAV:SOUR?", "CHAN2"),
        (":WAVeform:FORMat", ":WAV:FORM WORD;:WAV:FORM?", "WORD"),
        (":WAVeform:MODE", ":WAV:MODE MAXimum;:WAV:MODE?", "MAX"),
        (":WAVeform:STARt", ":WAV:STAR 100;:WAV:STAR?;:WAV:STOP?", "100;1200"),
        (
            ":WAVeform:PREamble?",
            ":WAV:PRE?",
            "0,0,1200,1,2.000000e-06,-1.200000e-03,0,4.000000e-02,0,127",
        ),
        (":WAVeform:XORigin?", ":WAV:XOR?;:WAV:XINC?;:WAV:XREF?", "-1.200000e-03;2.000000e-06;0"),
        (":MEASure:SOURce", ":MEAS:SOUR CHAN2;:MEAS:SOUR?", "CHAN2"),
        (":MEASure:ITEM", ":MEAS:ITEM? VTOP,CHAN1", "3.000000e+00"),
        (":MEASure:ITEM", ":MEAS:ITEM? VTOP,CHAN4", "9.9E37"),
        (":SYSTem:GAM?", ":SYST:GAM?;:SYST:RAM?", "12;4"),
        (":MEASure:ADISplay", ":MEAS:ADIS ON;:MEAS:ADIS?;:MEAS:AMS CHAN1,CHAN3;:MEAS:AMS?", "1;CHAN1,CHAN3"),
        (":MEASure:SETup:MAX", ":MEAS:SET:MAX 95;:MEAS:SET:MAX?;:MEAS:SET:MIN?", "95;10"),
        (":MEASure:STATistic:MODE", ":MEAS:STAT:MODE DIFFerence;:MEAS:STAT:MODE?", "DIFF"),
        (":MATH:OPERator", ":MATH:OPER SUBTract;:MATH:OPER?;:MATH:SOUR1?", "SUBT;CHAN1"),
        (":CURSor:MODE", ":CURS:MODE MANual;:CURS:MODE?;:CURS:MAN:AX?", "MAN;100"),
        (":TRIGger:PULSe:WIDTh", ":TRIG:PULS:WIDT 0.000003;:TRIG:PULS:WIDT?", "3.000000e-06"),
        (":DISPlay:GRADing:TIME", ":DISP:GRAD:TIME 0.1;:DISP:GRAD:TIME?", "0.1"),
        ("blanks and case", ":chan1:scal  0.5 ; :Chan1:Scale?", "5.000000e-01"),
        ("no colon", "CHAN1:DISPlay?", "1"),
    ],
)
def test_transcript(scope_: sim.DS1000Z, section: str, line: str, reply: str) -> None:
    assert scope_.ask(line) == reply, section
    assert scope_.ask(":SYST:ERR?") == NO_ERROR, section


@pytest.mark.parametrize(
    ("line", "error"),
    [
        (":WHAT?", '-113,"Undefined header; keyword cannot be found"'),
        (":CHAN5:SCAL?", '-114,"Header suffix out of range"'),
        (":CHAN1:SCAL", '-109,"Missing parameter"'),
        (":CHAN1:SCAL 200", '-222,"Data out of range"'),
        (":CHAN1:OFFS 2000", '-222,"Data out of range"'),
        (":CHAN1:PROB 3", '-224,"Illegal parameter value"'),
        (":CHAN1:COUP NO", '-224,"Illegal parameter value"'),
        (":TIM:SCAL 100", '-222,"Data out of range"'),
        (":TRIG:EDG:LEV 6", '-222,"Data out of range"'),
        (":ACQ:AVER 3", '-224,"Illegal parameter value"'),
        (":ACQ:MDEP 6000", '-222,"Data out of range"'),
        (":WAV:STOP 1201", '-222,"Data out of range"'),
    ],
)
def test_what_the_guide_refuses_changes_nothing(scope_: sim.DS1000Z, line: str, error: str) -> None:
    queries = ":CHAN1:SCAL?;:CHAN1:OFFS?;:CHAN1:PROB?;:TIM:SCAL?;:TRIG:EDG:LEV?;:ACQ:MDEP?;:WAV:STOP?"
    before = scope_.ask(queries)
    assert scope_.ask(line) == ""
    assert scope_.ask(":SYST:ERR?") == error
    assert scope_.ask(":SYST:ERR?") == NO_ERROR
    assert scope_.ask(queries) == before


def test_the_probe_shows_its_own_square_wave(scope_: sim.DS1000Z) -> None:
    volts = trace(scope_)
    assert len(volts) == 1200
    # it rises at the trigger, in the middle of the screen: 2 us a point, 0.5 ms high
    assert volts[:600].reshape(2, 300).mean(axis=1) == pytest.approx([2.5, 0.5], abs=0.6)
    assert volts[605:845].mean() == pytest.approx(3.0, abs=0.02)
    assert volts[855:1095].mean() == pytest.approx(0.0, abs=0.02)
    assert value(scope_, ":MEAS:ITEM? FREQ,CHAN1") == pytest.approx(1000, rel=1e-3)
    assert value(scope_, ":MEAS:ITEM? PDUT,CHAN1") == pytest.approx(0.5, abs=0.01)


def test_the_trigger_finds_the_level_and_the_slope(scope_: sim.DS1000Z, clock: Clock) -> None:
    scope_.inputs[1].signal, scope_.inputs[1].noise = Sine(2.0, 1000.0), 0.0
    for slope, level in (("POS", 1.0), ("NEG", 1.0), ("POS", -1.5)):
        scope_.ask(f":TRIG:EDG:SLOP {slope};:TRIG:EDG:LEV {level}")
        clock.advance(0.5)
        volts = trace(scope_)
        assert volts[600] == pytest.approx(level, abs=0.05)
        assert (volts[610] > volts[590]) == (slope == "POS")
    scope_.ask(":TIM:OFFS 2e-4")
    clock.advance(0.5)
    assert trace(scope_)[500] == pytest.approx(-1.5, abs=0.05)


def test_a_level_that_is_never_reached_waits_in_normal_and_goes_on_in_auto(
    scope_: sim.DS1000Z, clock: Clock
) -> None:
    scope_.ask(":TRIG:SWE NORM;:TRIG:EDG:LEV 4.5")
    clock.advance(2)
    before = scope_.ask(":WAV:DATA?")
    assert scope_.ask(":TRIG:STAT?") == "WAIT"
    clock.advance(2)
    assert scope_.ask(":WAV:DATA?") == before
    scope_.ask(":TFOR")
    clock.advance(0.2)
    assert scope_.ask(":WAV:DATA?") != before
    scope_.ask(":TRIG:SWE AUTO")
    clock.advance(2)
    before = scope_.ask(":WAV:DATA?")
    assert scope_.ask(":TRIG:STAT?") == "AUTO"
    clock.advance(2)
    assert scope_.ask(":WAV:DATA?") != before


def test_a_single_trace_waits_for_its_trigger_and_stands(scope_: sim.DS1000Z, clock: Clock) -> None:
    scope_.inputs[1].signal = Pulse(4.0, start=10.0, width=1e-4)
    scope_.ask(":SING")
    clock.advance(5)
    assert scope_.ask(":TRIG:STAT?;:TRIG:SWE?") == "WAIT;SING"
    clock.advance(10)
    assert scope_.ask(":TRIG:STAT?") == "STOP"
    assert value(scope_, ":MEAS:ITEM? PWID,CHAN1") == pytest.approx(1e-4, rel=0.05)
    before = scope_.ask(":WAV:DATA?")
    clock.advance(10)
    assert scope_.ask(":WAV:DATA?") == before
    scope_.ask(":RUN")
    clock.advance(1)
    assert scope_.ask(":TRIG:SWE?") == "AUTO"
    assert scope_.ask(":TRIG:STAT?") != "STOP"


def test_a_slow_time_base_takes_its_time(scope_: sim.DS1000Z, clock: Clock) -> None:
    scope_.ask(":TIM:SCAL 1;:RUN")
    clock.advance(3)
    assert scope_.ask(":TRIG:STAT?") == "RUN"  # six divisions before the trigger
    clock.advance(4)
    assert scope_.ask(":TRIG:STAT?") == "TD"
    before = scope_.ask(":WAV:PRE?")
    clock.advance(8)
    assert scope_.ask(":WAV:PRE?") != before


def test_scale_offset_probe_and_coupling_change_what_the_converter_makes_of_it(
    scope_: sim.DS1000Z, clock: Clock
) -> None:
    def top_and_base() -> tuple[float, float]:
        clock.advance(0.5)
        return value(scope_, ":MEAS:ITEM? VTOP,CHAN1"), value(scope_, ":MEAS:ITEM? VBAS,CHAN1")

    assert top_and_base() == pytest.approx((3.0, 0.0), abs=0.04)
    scope_.ask(":CHAN1:SCAL 0.5;:CHAN1:OFFS -1.5")
    assert top_and_base() == pytest.approx((3.0, 0.0), abs=0.02)
    assert scope_.ask(":WAV:YINC?;:WAV:YOR?") == "2.000000e-02;-75"
    scope_.ask(":CHAN1:SCAL 0.1")
    assert top_and_base()[0] < 2.1  # beyond the converter
    scope_.ask(":CHAN1:SCAL 1;:CHAN1:OFFS 0;:CHAN1:COUP AC;:TRIG:EDG:LEV 0")
    assert top_and_base() == pytest.approx((1.5, -1.5), abs=0.04)
    scope_.ask(":CHAN1:INV ON")
    assert value(scope_, ":WAV:YREF?") == 127
    scope_.ask(":CHAN1:COUP DC")
    assert top_and_base() == pytest.approx((0.0, -3.0), abs=0.04)
    scope_.ask(":CHAN1:INV OFF;:CHAN1:PROB 1")
    assert top_and_base() == pytest.approx((0.3, 0.0), abs=0.004)


def test_the_memory_follows_the_channels_that_are_on(scope_: sim.DS1000Z, clock: Clock) -> None:
    scope_.ask(":ACQ:MDEP 120000")
    assert scope_.ask(":ACQ:MDEP?;:ACQ:SRAT?") == "120000;5.000000e+07"
    scope_.ask(":CHAN2:DISP ON")
    assert scope_.ask(":ACQ:MDEP?;:ACQ:SRAT?") == "60000;2.500000e+07"
    scope_.ask(":CHAN3:DISP ON")
    assert scope_.ask(":ACQ:MDEP?;:ACQ:SRAT?") == "30000;1.250000e+07"
    scope_.ask(":TIM:SCAL 5e-9")
    assert scope_.ask(":ACQ:SRAT?") == "2.500000e+08"


def test_the_memory_is_read_when_it_stands_and_agrees_with_the_screen(
    scope_: sim.DS1000Z, clock: Clock
) -> None:
    scope_.ask(":ACQ:MDEP 1200000")
    clock.advance(0.5)
    scope_.ask(":WAV:MODE RAW")
    assert scope_.ask(":WAV:DATA?") == "#9000000000"
    scope_.ask(":STOP;:WAV:MODE NORM")
    screen = trace(scope_)
    scope_.ask(":WAV:MODE RAW;:WAV:STAR 1;:WAV:STOP 1200000")
    assert scope_.ask(":WAV:PRE?").split(",")[2:6] == ["1200000", "1", "2.000000e-09", "-1.200000e-03"]
    first = trace(scope_)
    assert len(first) == 250_000
    assert first[::1000] == pytest.approx(screen[:250])
    scope_.ask(":WAV:STAR 600001;:WAV:STOP 700000")
    assert trace(scope_)[1000:].mean() == pytest.approx(3.0, abs=0.02)


@pytest.mark.parametrize(("format_", "most"), [("WORD", 125_000), ("ASC", 15_625)])
def test_other_formats(scope_: sim.DS1000Z, clock: Clock, format_: str, most: int) -> None:
    scope_.ask(":ACQ:MDEP 1200000")
    clock.advance(0.5)
    scope_.ask(f":STOP;:WAV:MODE RAW;:WAV:STOP {most}")
    expected = trace(scope_)
    scope_.ask(f":WAV:FORM {format_};:WAV:STOP 300000")
    block = scope_.ask(":WAV:DATA?").encode("latin-1")[11:]
    if format_ == "WORD":
        points = (np.frombuffer(block, "<u2") - 127.0) * 0.04
    else:
        points = np.array(block.decode().split(","), float)
    assert len(points) == most
    np.testing.assert_allclose(points, expected)


def test_autoscale_finds_the_signals(scope_: sim.DS1000Z, clock: Clock) -> None:
    scope_.ask("*RST")
    scope_.ask(":AUT")
    clock.advance(1)
    assert scope_.ask(":CHAN1:DISP?;:CHAN2:DISP?;:CHAN3:DISP?;:CHAN4:DISP?") == "1;1;1;0"
    assert scope_.ask(":TRIG:STAT?;:TRIG:SWE?") == "TD;AUTO"
    assert value(scope_, ":MEAS:ITEM? FREQ,CHAN1") == pytest.approx(1000, rel=0.01)


def test_averages_and_high_resolution_calm_the_noise(scope_: sim.DS1000Z, clock: Clock) -> None:
    scope_.ask(":CHAN4:DISP ON;:CHAN4:SCAL 0.02;:WAV:SOUR CHAN4")
    clock.advance(1)
    noise = trace(scope_).std()
    assert noise == pytest.approx(0.02, rel=0.1)
    scope_.ask(":ACQ:TYPE AVER;:ACQ:AVER 16")
    clock.advance(1)
    assert trace(scope_).std() == pytest.approx(0.005, rel=0.1)
    scope_.ask(":ACQ:TYPE NORM;:CHAN4:BWL 20M")
    clock.advance(1)
    assert trace(scope_).std() < 0.5 * noise


def test_what_is_known_of_statistics(scope_: sim.DS1000Z, clock: Clock) -> None:
    for _ in range(5):
        clock.advance(0.5)
        scope_.ask(":MEAS:STAT:ITEM? CURR,VPP,CHAN1")
    low, high, mean = (
        value(scope_, f":MEASure:STATistic:item? {kind},vpp,CHAN1") for kind in ("MIN", "MAX", "AVER")
    )
    assert low <= mean <= high
    assert high < 3.2


def test_a_reset_is_the_factory_setting(scope_: sim.DS1000Z) -> None:
    scope_.ask(":CHAN1:SCAL 2;:CHAN2:DISP ON;:STOP")
    scope_.ask("*RST")
    assert scope_.ask(":CHAN1:SCAL?;:CHAN2:DISP?;:TIM:SCAL?;:TRIG:EDG:LEV?") == (
        "1.000000e+00;0;1.000000e-06;0.000000e+00"
    )
    assert scope_.ask(":TRIG:STAT?") != "STOP"


def test_a_trace_that_is_moved_leaves_a_part_of_the_screen_empty(scope_: sim.DS1000Z) -> None:
    """The points of the screen are counted from its left edge."""
    scope_.ask(":ACQ:MDEP 12000;:RUN")
    scope_.clock.advance(1)
    scope_.ask(":STOP;:TIM:OFFS 5e-4")  # 250 points
    assert scope_.ask(":WAV:STAR 1200;:WAV:STAR 1;:WAV:STAR?;:WAV:POIN?") == "1;950"
    assert len(trace(scope_)) == 950
    scope_.ask(":TIM:OFFS -5e-4")
    assert scope_.ask(":WAV:STAR 1200;:WAV:STAR 1;:WAV:STAR?;:WAV:POIN?") == "251;950"
    scope_.ask(":WAV:STOP 1200")
    moved = trace(scope_)
    scope_.ask(":TIM:OFFS 0;:WAV:STAR 1")
    assert trace(scope_)[:950] == pytest.approx(moved, abs=0.1)
    assert scope_.ask(":SYST:ERR?") == NO_ERROR


@pytest.mark.parametrize(
    ("parameters", "begins", "length"),
    [
        ("", "BM", 800 * 480 * 3 + 54),
        (" ON,OFF,BMP24", "BM", 800 * 480 * 3 + 54),
        (" ON,0,BMP8", "BM", 800 * 480 + 54 + 1024),
        (" on,off,png", "\x89PNG", None),
        (" OFF,ON,TIFF", "II*\0", 800 * 480 * 3 + 140),
        (" [ON,OFF,PNG]", "BM", 800 * 480 * 3 + 54),  # what it doesn't know is as if left off
    ],
)
def test_pictures(scope_: sim.DS1000Z, parameters: str, begins: str, length: int | None) -> None:
    """:DISPlay:DATA?"""
    block = scope_.ask(f":DISP:DATA?{parameters}")
    assert block[11:].startswith(begins)
    assert len(block) == 11 + int(block[2:11])
    assert length in (None, len(block) - 11)


def test_a_trigger_is_seen_by_the_next_question(scope_: sim.DS1000Z, clock: Clock) -> None:
    scope_.ask(":SING")
    clock.advance(0.02)
    assert scope_.ask(":TRIG:STAT?") == "STOP"
