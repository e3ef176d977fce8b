"""The simulated Lake Shore 336, against the manual's chapter 6 and a stepped clock."""

import math

import pytest

from labioc.sim.core import Clock
from labioc.sim.lakeshore336 import LakeShore336


@pytest.fixture
def clock() -> Clock:
    return Clock(manual=True)


@pytest.fixture
def sim(clock: Clock) -> LakeShore336:
    sim = LakeShore336(clock=clock)
    sim.ask("*CLS")
    return sim


@pytest.fixture
def scanner(clock: Clock) -> LakeShore336:
    return LakeShore336(option="3062", clock=clock)


def value(sim: LakeShore336, query: str) -> float:
    return float(sim.ask(query))


# transcripts: what section 6.6.1 (6.3 for messages, 6.2.5 for registers) says of each command


@pytest.mark.parametrize(
    ("section", "line", "reply"),
    [
        ("6.6.1 *IDN?", "*IDN?", "LSCI,MODEL336,LSA23AB/#######,2.9"),
        ("6.6.1 *OPC?", "*OPC?", "1"),
        ("6.6.1 *TST?", "*TST?", "0"),
        ("6.6.1 *ESE", "*ESE 145;*ESE?", "145"),
        ("6.6.1 *SRE", "*SRE 32;*SRE?", "032"),
        ("6.6.1 ALARM", "ALARM B,1,270.0,0,0,1,1,1;ALARM? B", "1,+270.000,+0.00000,+0.00000,1,1,1"),
        ("6.6.1 ALARM", "ALARM B,1,270;ALARM B,0;ALARM? B", "0,+270.000,+0.00000,+0.00000,0,1,1"),
        ("6.6.1 ALARM", "ALARM B,1,270;ALARM B,0,,,,,,;ALARM? B", "0,+270.000,+0.00000,+0.00000,0,1,1"),
        ("6.6.1 ALARMST?", "ALARMST? A", "0,0"),
        ("6.6.1 ANALOG", "ANALOG 4,1,1,100.0,0.0,0;ANALOG? 4", "1,1,+100.00,+0.0000,0"),
        ("6.6.1 AOUT?", "AOUT? 3", "+000.0"),
        ("6.6.1 BRIGT", "BRIGT 16;BRIGT?", "16"),
        (
            "6.6.1 CRVHDR",
            "CRVHDR 21,DT-470,00011134,2,325.0,1;CRVHDR? 21",
            "DT-470         ,00011134  ,2,+325.000,1",
        ),
        ("6.6.1 CRVHDR?", "CRVHDR? 1", "DT-470         ,STANDARD C,2,+475.000,1"),
        ("6.6.1 CRVHDR?", "CRVHDR? 6", "PT-100         ,STANDARD C,3,+800.000,2"),
        ("6.6.1 CRVPT", "CRVPT 22,2,0.10191,470.000;CRVPT? 22,2", "+0.10191,+470.000"),
        ("6.6.1 CRVPT?", "CRVPT? 22,200", "+0.00000,+0.00000"),
        ("6.6.1 CRVDEL", "CRVPT 22,2,0.1,470;CRVDEL 22;CRVPT? 22,2", "+0.00000,+0.00000"),
        ("6.6.1 SCAL", "SCAL 1,22,1234567890,77.35,1.03;CRVPT? 22,7", "+1.03000,+77.3500"),
        ("6.6.1 DIOCUR", "DIOCUR A,1;DIOCUR? A", "1"),
        ("6.6.1 DISPFLD", "DISPFLD 2,1,1;DISPFLD? 2", "1,1"),
        ("6.6.1 DISPLAY", "DISPLAY 4,0,1;DISPLAY?", "4,0,1"),
        ("6.6.1 FILTER", "FILTER B,1,10,2;FILTER? B", "1,10,02"),
        ("6.6.1 HTR?", "HTR? 1", "+000.0"),
        ("6.6.1 HTRSET", "HTRSET 1,1,2,0,1;HTRSET? 1", "1,2,+0.000,1"),
        ("6.6.1 HTRST?", "HTRST? 1", "0"),
        ("6.6.1 IEEE", "IEEE 4;IEEE?", "04"),
        ("6.6.1 INCRV", "INCRV A,1;INCRV? A", "01"),
        ("6.6.1 INNAME", 'INNAME A,"Sample Space";INNAME? A', "Sample Space   "),
        ("6.6.1 INNAME", 'INNAME A,"a, b; c";INNAME? A', "a, b; c        "),
        ("6.6.1 INTSEL", "INTSEL 2;INTSEL?", "2"),
        ("6.6.1 INTYPE?", "INTYPE? A", "1,0,0,0,1"),
        ("6.6.1 INTYPE", "INTYPE C,3,0,5,1,1;INTYPE? C", "3,0,5,1,1"),
        ("6.6.1 LEDS", "LEDS 0;LEDS?", "0"),
        ("6.6.1 LOCK", "LOCK 1,7;LOCK?", "1,007"),
        ("6.6.1 MODE", "MODE 2;MODE?", "2"),
        ("6.6.1 MOUT", "MOUT 1,22.45;MOUT? 1", "+022.45"),
        (
            "6.6.1 NET",
            'NET 0,1,10.0.0.5,255.0.0.0,10.0.0.1,0.0.0.0,0.0.0.0,"ls","lab","Cryo, 1";NET?',
            "0,1,10.0.0.5,255.0.0.0,10.0.0.1,0.0.0.0,0.0.0.0,ls,lab,Cryo, 1",
        ),
        ("6.6.1 OPSTE", "OPSTE 12;OPSTE?", "012"),
        ("6.6.1 OUTMODE", "OUTMODE 1,2,1,0;OUTMODE? 1", "2,1,0"),
        ("6.6.1 PID", "PID 1,10,50,0;PID? 1", "+0010.0,+0050.0,+000.0"),
        ("6.6.1 PID", "PID 1,10,50;PID? 1", "+0010.0,+0050.0,+000.0"),
        ("6.6.1 RAMP", "RAMP 1,1,10.5;RAMP? 1", "1,+010.5"),
        ("6.6.1 RAMPST?", "RAMPST? 1", "0"),
        ("6.6.1 RANGE", "RANGE 1,3;RANGE? 1", "3"),
        ("6.6.1 RDGST?", "RDGST? A", "000"),
        ("6.6.1 RELAY", "RELAY 1,2,B,0;RELAY? 1", "2,B,0"),
        ("6.6.1 RELAY", "RELAY 1,1,,;RELAYST? 1;RELAY 1,0,,;RELAYST? 1", "1;0"),
        ("6.6.1 SETP", "SETP 1,122.5;SETP? 1", "+122.500"),
        ("6.6.1 TEMP?", "TEMP?", "+295.00"),
        ("6.6.1 TLIMIT", "TLIMIT B,450;TLIMIT? B", "+0450"),
        ("6.6.1 TUNEST?", "TUNEST?", "0,1,0,00"),
        ("6.6.1 WARMUP", "WARMUP 3,1,50;WARMUP? 3", "1,+050.00"),
        ("6.6.1 WEBLOG", 'WEBLOG "user","pass";WEBLOG?', "user,pass"),
        (
            "6.6.1 ZONE?",
            "ZONE? 1,5",
            "+000.00,+0050.0,+0020.0,+000.0,+000.00,0,0,+000.0",
        ),
        (
            "6.6.1 ZONE",
            "ZONE 1,1,25.0,10,20,0,0,2,2,10;ZONE? 1,1",
            "+025.00,+0010.0,+0020.0,+000.0,+000.00,2,2,+010.0",
        ),
        ("6.6.1 DFLT", "PID 1,1,1,1;DFLT 99;PID? 1", "+0050.0,+0020.0,+000.0"),
        ("6.3.4 chaining", "SETP 1,50;SETP? 1;RANGE? 1", "+50.0000;0"),
        ("6.3.4 chaining", "SETP 1,50;:*ESR?", "000"),
        ("6.3.4 blanks", "PID  2 , 30 ,20,  0 ; PID? 2", "+0030.0,+0020.0,+000.0"),
        ("6.3.4 case", "setp 2,60; Setp? 2", "+60.0000"),
        ("6.3.4 header", "RANGE?1", "0"),
        ("6.3.4 command", "SETP 1,50", ""),
    ],
)
def test_transcript(sim: LakeShore336, section: str, line: str, reply: str) -> None:
    assert sim.ask(line) == reply, section
    assert sim.ask("*ESR?") == "000", section


@pytest.mark.parametrize(
    ("line", "event"),
    [
        ("WHAT?", "032"),
        ("WHAT 1,2", "032"),
        ("MONITOR?", "032"),
        ("HTR 1", "032"),
        ("PID? ", "032"),
        ("PID 1", "032"),
        ("PID 1,ten", "032"),
        ("SETP 1", "032"),
        ("KRDG?", "032"),
        ("SETP 1,77.35" + " " * 250, "032"),
        ("KRDG? E", "016"),
        ("KRDG? D1", "016"),
        ("SETP 5,10", "016"),
        ("SETP 1,-1", "016"),
        ("SETP 1,501", "016"),
        ("PID 1,0,20,0", "016"),
        ("PID 1,1001,20,0", "016"),
        ("PID 1,50,1001,0", "016"),
        ("PID 1,50,20,201", "016"),
        ("RANGE 1,4", "016"),
        ("RANGE 3,2", "016"),
        ("RAMP 1,1,101", "016"),
        ("RAMP 1,1,0.05", "016"),
        ("MOUT 1,101", "016"),
        ("HTR? 3", "016"),
        ("AOUT? 1", "016"),
        ("HTRSET 2,1,4,0,1", "016"),
        ("HTRSET 1,2,4,0,1", "016"),
        ("OUTMODE 1,4,1,0", "016"),
        ("OUTMODE 1,1,5,0", "016"),
        ("OUTMODE 1,7,1,0", "016"),
        ("INTYPE A,4,0,0,0,1", "016"),
        ("INTYPE A,1,0,2,0,1", "016"),
        ("INTYPE B,2,0,7,0,1", "016"),
        ("CRVHDR 20,x", "016"),
        ("CRVPT 21,201,1,1", "016"),
        ("RELAY 1,2,E,0", "016"),
        ("ZONE 1,11,1,1,1,1,1,1,1,1", "016"),
        ("DFLT 98", "016"),
    ],
)
def test_what_the_manual_refuses_is_silent_changes_nothing_and_sets_an_event(
    sim: LakeShore336, line: str, event: str
) -> None:
    queries = (
        "PID? 1;SETP? 1;RANGE? 1;RANGE? 3;RAMP? 1;MOUT? 1;HTRSET? 1;HTRSET? 2;OUTMODE? 1;INTYPE? A;RELAY? 1"
    )
    before = sim.ask(queries)
    assert sim.ask(line) == ""
    assert sim.ask("*ESR?") == event
    assert sim.ask("*ESR?") == "000"
    assert sim.ask(queries) == before


def test_the_rest_of_a_chain_is_executed_after_an_error(sim: LakeShore336) -> None:
    assert sim.ask("WHAT?;SETP 1,600;SETP 1,50;SETP? 1;*ESR?") == "+50.0000;048"


def test_events_at_power_up_and_on_completion(clock: Clock) -> None:
    sim = LakeShore336(clock=clock)
    assert sim.ask("*ESR?") == "128"
    assert sim.ask("*OPC;*ESR?") == "001"


def test_the_status_byte_sums_up_the_registers(sim: LakeShore336, clock: Clock) -> None:
    assert sim.ask("*STB?") == "000"
    sim.ask("*ESE 32;*SRE 32;WHAT")
    assert sim.ask("*STB?;*STB?") == "096;096"
    sim.ask("*CLS;OPSTE 16")
    clock.advance(1)
    assert sim.ask("*STB?;OPSTR?;*STB?") == "128;016;000"


# inputs


def test_kelvin_celsius_and_sensor_units_agree(sim: LakeShore336) -> None:
    sim.sample.temperature, sim.shield.temperature = 77.35, 100.0
    assert sim.ask("KRDG? A;CRDG? A;SRDG? A") == "+77.3500;-195.800;+1.02800"
    assert sim.ask("KRDG? 0") == "+77.3500,+100.000,+77.3500,+295.000"
    assert sim.ask("SRDG? 0") == "+1.02800,+29.9896,+205.670,+108.403"
    assert sim.ask("krdg? b") == "+100.000"


@pytest.mark.parametrize(
    ("name", "fault", "kelvin", "status"),
    [
        ("A", "open", None, "128"),
        ("A", "short", None, "064"),
        ("C", "open", None, "128"),
        ("A", None, 510.0, "032"),
        ("A", None, 1.0, "016"),
        ("A", None, 500.0, "000"),
        ("B", None, 20.0, "016"),
    ],
)
def test_a_broken_sensor_or_a_temperature_beyond_its_curve_shows_in_the_status(
    sim: LakeShore336, name: str, fault: str | None, kelvin: float | None, status: str
) -> None:
    sim.sensors[name].fault = fault
    if kelvin is not None:
        sim.sensors[name].stage.temperature = kelvin
    assert sim.ask(f"RDGST? {name}") == status
    assert value(sim, f"KRDG? {name}") == (500.0 if status == "000" else 0.0)
    sim.sensors[name].fault = None
    sim.sensors[name].stage.temperature = 50.0
    assert sim.ask(f"RDGST? {name};KRDG? {name}") == "000;+50.0000"


def test_an_input_without_a_sensor_or_a_curve_has_no_valid_reading(sim: LakeShore336) -> None:
    sim.ask("INTYPE A,0;INCRV C,0")
    assert sim.ask("RDGST? A;RDGST? C;KRDG? C") == "001;001;+0.00000"
    assert value(sim, "SRDG? C") > 1000


def test_a_curve_that_does_not_fit_becomes_none(sim: LakeShore336) -> None:
    assert sim.ask("INCRV A,6;INCRV? A;*ESR?") == "00;000"
    assert sim.ask("INTYPE C,1;INCRV? C") == "00"


def test_a_range_that_is_too_low_overloads(sim: LakeShore336) -> None:
    sim.ask("INTYPE C,3,0,5")
    assert sim.ask("RDGST? C;OPST?") == "128;018"


def test_a_user_curve_converts(sim: LakeShore336) -> None:
    sim.ask("CRVHDR 25,mine,1,2,300,1;CRVPT 25,1,2.0,1.0;CRVPT 25,2,0.0,301.0;INCRV A,25")
    sim.sample.temperature = 300.0  # 0.55964 V on this sensor
    assert value(sim, "KRDG? A") == pytest.approx(1.0 + (2.0 - 0.55964) * 150.0, abs=1e-3)


def test_alarms_with_deadband_and_latch(sim: LakeShore336, clock: Clock) -> None:
    def state_at(kelvin: float) -> str:
        sim.room.temperature = kelvin
        clock.advance(0.1)
        return sim.ask("ALARMST? D")

    sim.ask("ALARM D,1,300,250,5,0;RELAY 1,2,D,1")
    assert state_at(301) == "1,0"
    assert sim.ask("RELAYST? 1;OPST?") == "1;017"
    assert [state_at(kelvin) for kelvin in (296, 294, 249, 254, 256)] == ["1,0", "0,0", "0,1", "0,1", "0,0"]
    sim.ask("ALARM D,1,300,250,5,1")
    state_at(301)
    assert state_at(280) == "1,0"
    assert sim.ask("ALMRST;ALARMST? D") == "0,0"


def test_extremes(sim: LakeShore336, clock: Clock) -> None:
    for kelvin in (290.0, 310.0, 300.0):
        sim.room.temperature = kelvin
        clock.advance(0.1)
        sim.ask("KRDG? D")
    assert sim.ask("MDAT? D") == "+290.000,+310.000"
    sim.ask("MNMXRST")
    clock.advance(0.1)
    assert sim.ask("MDAT? D") == "+300.000,+300.000"


def test_the_scanner_card_has_its_inputs(scanner: LakeShore336) -> None:
    assert scanner.ask("*IDN?") == "LSCI,MODEL336,LSA23AB/LSA24CD,2.9"
    assert scanner.ask("KRDG? D;KRDG? D1;KRDG? D2;KRDG? D4") == "+295.000;+295.000;+3.80000;+36.0000"
    assert len(scanner.ask("KRDG? 0").split(",")) == 8
    assert scanner.ask("*CLS;OUTMODE 1,1,8,0;OUTMODE? 1;*ESR?") == "1,8,0;000"


def test_another_option_card_is_refused() -> None:
    with pytest.raises(ValueError, match="'3061' is not simulated"):
        LakeShore336(option="3061")


# control


def test_the_cryostat_stays_cold_without_heat(sim: LakeShore336, clock: Clock) -> None:
    clock.advance(3600)
    assert 3.0 < value(sim, "KRDG? A") < 4.5
    assert 30.0 < value(sim, "KRDG? B") < 40.0


@pytest.mark.parametrize("heater", [2, 3])
def test_a_setpoint_is_followed_within_half_a_minute(sim: LakeShore336, clock: Clock, heater: int) -> None:
    sim.ask(f"SETP 1,20;RANGE 1,{heater}")
    clock.advance(60)
    sim.ask("SETP 1,77")
    clock.advance(45 if heater == 2 else 15)
    assert value(sim, "KRDG? A") == pytest.approx(77.0, abs=0.5)
    clock.advance(600)
    assert value(sim, "KRDG? A") == pytest.approx(77.0, abs=0.001)
    assert 0.0 < value(sim, "HTR? 1") < 100.0
    sim.ask("RANGE 1,0")
    clock.advance(120)
    assert value(sim, "KRDG? A") < 10.0


def test_loop_2_heats_the_shield(sim: LakeShore336, clock: Clock) -> None:
    sim.ask("SETP 2,100;RANGE 2,3")
    clock.advance(600)
    assert value(sim, "KRDG? B") == pytest.approx(100.0, abs=0.01)


def test_a_ramp_goes_at_its_rate_and_the_setpoint_query_shows_it(sim: LakeShore336, clock: Clock) -> None:
    sim.ask("SETP 1,20;RAMP 1,1,30;SETP 1,50")
    assert sim.ask("SETP? 1;RAMPST? 1") == "+20.0000;1"
    clock.advance(20)
    assert sim.ask("SETP? 1;RAMPST? 1") == "+30.0000;1"
    clock.advance(40)
    assert sim.ask("SETP? 1;RAMPST? 1;OPSTR?") == "+50.0000;0;024"
    sim.ask("SETP 1,40")
    clock.advance(10)
    assert sim.ask("SETP? 1") == "+45.0000"
    sim.ask("RAMP 1,0,30")
    clock.advance(10)
    assert sim.ask("SETP? 1;RAMPST? 1") == "+45.0000;0"


def test_the_temperature_follows_a_ramp(sim: LakeShore336, clock: Clock) -> None:
    sim.ask("SETP 1,20;RANGE 1,3")
    clock.advance(60)
    sim.ask("RAMP 1,1,60;SETP 1,80")
    for _ in range(10):
        clock.advance(5)
        assert value(sim, "KRDG? A") == pytest.approx(value(sim, "SETP? 1"), abs=0.5)


def test_a_rate_of_zero_is_no_ramp(sim: LakeShore336) -> None:
    assert sim.ask("RAMP 1,1,0;SETP 1,50;SETP? 1;RAMPST? 1") == "+50.0000;0"


def test_a_new_curve_during_a_ramp_stops_it_and_the_heater(sim: LakeShore336, clock: Clock) -> None:
    sim.ask("RANGE 1,3;RAMP 1,1,60;SETP 1,80")
    clock.advance(10)
    assert sim.ask("INCRV A,1;RAMPST? 1;RANGE? 1;SETP? 1") == "0;0;+10.0000"


def heating(sim: LakeShore336, clock: Clock) -> float:
    """Kelvin that the sample gains within a tenth of a second at 60 K."""
    sim.sample.temperature = 60.0
    clock.advance(0.1)
    return value(sim, "KRDG? A") - 60.0


def test_each_heater_range_has_a_tenth_of_the_power_of_the_next(sim: LakeShore336, clock: Clock) -> None:
    none = heating(sim, clock)
    sim.ask("OUTMODE 1,3,1,0;MOUT 1,100")
    gains = []
    for heater in (1, 2, 3):
        sim.ask(f"RANGE 1,{heater}")
        gains.append(heating(sim, clock) - none)
    assert gains[2] / gains[1] == pytest.approx(10, rel=0.1)
    assert gains[1] / gains[0] == pytest.approx(10, rel=0.1)


@pytest.mark.parametrize(
    ("setup", "load", "factor"),
    [
        ("HTRSET 1,1,4,0,2", 25.0, 4.0),
        ("HTRSET 1,1,0,0.5,2", 25.0, 0.25),
        ("HTRSET 1,2,2,0,2", 50.0, 2.0),
        ("MOUT 1,50", 25.0, 0.5),
        ("HTRSET 1,1,2,0,1;MOUT 1,50", 25.0, 0.25),
        ("HTRSET 1,1,4,0,2", 100.0, 1.0),
    ],
)
def test_the_power_follows_current_load_and_display_unit(
    sim: LakeShore336, clock: Clock, setup: str, load: float, factor: float
) -> None:
    none = heating(sim, clock)
    sim.ask("OUTMODE 1,3,1,0;MOUT 1,100;RANGE 1,2")
    usual = heating(sim, clock) - none
    sim.loads[1] = load
    sim.ask(setup)
    assert (heating(sim, clock) - none) / usual == pytest.approx(factor, rel=0.1)


def test_open_loop_gives_the_manual_output(sim: LakeShore336, clock: Clock) -> None:
    sim.ask("OUTMODE 1,3,0,0;MOUT 1,12.3;RANGE 1,1")
    clock.advance(1)
    assert sim.ask("HTR? 1") == "+012.3"
    sim.ask("RANGE 1,0")
    clock.advance(1)
    assert sim.ask("HTR? 1") == "+000.0"


@pytest.mark.parametrize(("load", "status"), [(math.inf, "1"), (0.0, "2")])
def test_a_heater_fault_is_reported_once_and_turns_the_range_off(
    sim: LakeShore336, clock: Clock, load: float, status: str
) -> None:
    sim.loads[1] = load
    sim.ask("SETP 1,50;RANGE 1,3")
    clock.advance(1)
    assert sim.ask("HTRST? 1;HTRST? 1;RANGE? 1") == f"{status};0;0"


def test_a_loop_without_a_valid_reading_gives_nothing(sim: LakeShore336, clock: Clock) -> None:
    sim.ask("SETP 1,50;RANGE 1,3")
    clock.advance(1)
    sim.sensors["A"].fault = "open"
    clock.advance(1)
    assert sim.ask("HTR? 1") == "+000.0"


def test_the_temperature_limit_turns_every_output_off(sim: LakeShore336, clock: Clock) -> None:
    sim.ask("SETP 1,50;RANGE 1,3;RANGE 3,1;TLIMIT A,40")
    clock.advance(60)
    assert sim.ask("RANGE? 1;RANGE? 3") == "0;0"


def test_the_setpoint_is_in_preferred_units(sim: LakeShore336, clock: Clock) -> None:
    sim.ask("SETP 1,50;RANGE 1,3;INTYPE A,,,,,2")
    assert sim.ask("SETP? 1") == "-223.150"
    sim.ask("SETP 1,-213.15")
    clock.advance(600)
    assert value(sim, "KRDG? A") == pytest.approx(60.0, abs=0.01)
    sim.ask("INTYPE A,,,,,3;SETP 1,1.0731")  # 50 K on this diode
    clock.advance(600)
    assert value(sim, "KRDG? A") == pytest.approx(50.0, abs=0.01)


def test_zones_bring_their_gains_and_range(sim: LakeShore336, clock: Clock) -> None:
    sim.ask("ZONE 1,1,40,10,20,0,0,1,0,0;ZONE 1,2,200,30,25,0,0,3,0,0;OUTMODE 1,2,1,0;RANGE 1,1;SETP 1,20")
    clock.advance(1)
    assert sim.ask("PID? 1;RANGE? 1") == "+0010.0,+0020.0,+000.0;1"
    sim.ask("SETP 1,100")
    clock.advance(1)
    assert sim.ask("PID? 1;RANGE? 1") == "+0030.0,+0025.0,+000.0;3"


def test_monitor_out_shows_a_reading_as_voltage(sim: LakeShore336, clock: Clock) -> None:
    sim.room.temperature = 300.0
    sim.ask("OUTMODE 3,4,4,0;ANALOG 3,4,1,400,0,0")
    clock.advance(0.1)
    assert sim.ask("AOUT? 3") == "+075.0"
    sim.ask("ANALOG 3,4,1,400,0,1")
    clock.advance(0.1)
    assert sim.ask("AOUT? 3") == "+050.0"


def test_warm_up_switches_off_when_it_is_warm(sim: LakeShore336, clock: Clock) -> None:
    sim.ask("OUTMODE 3,5,4,0;WARMUP 3,0,50;SETP 3,300;RANGE 3,1")
    clock.advance(0.1)
    assert sim.ask("AOUT? 3;RANGE? 3") == "+050.0;1"
    sim.room.temperature = 301.0
    clock.advance(0.1)
    assert sim.ask("AOUT? 3;RANGE? 3") == "+000.0;0"


def test_autotune_needs_a_settled_loop_and_ends(sim: LakeShore336, clock: Clock) -> None:
    assert sim.ask("ATUNE 1,1;TUNEST?") == "0,1,1,00"
    sim.ask("SETP 1,20;RANGE 1,2")
    clock.advance(60)
    assert sim.ask("ATUNE 1,1;TUNEST?") == "1,1,0,01"
    clock.advance(60)
    assert sim.ask("TUNEST?") == "0,1,0,00"
    assert int(sim.ask("OPSTR?")) & 32


def test_reset_and_power_cycle_leave_on_only_what_is_enabled(sim: LakeShore336) -> None:
    sim.ask("OUTMODE 2,1,2,1;SETP 1,20;RANGE 1,3;RANGE 2,2;MODE 1")
    assert sim.ask("*RST;RANGE? 1;RANGE? 2;SETP? 1;MODE?") == "0;2;+20.0000;0"
    sim.ask("RANGE 1,3")
    sim.power_cycle()
    assert sim.ask("*ESR?;RANGE? 1;RANGE? 2") == "128;0;2"


async def test_it_is_served_as_the_manual_says(sim: LakeShore336) -> None:
    async with sim.serve("pty:") as url:
        assert url.endswith("?baudrate=57600&bytesize=7&parity=O")
    assert sim.max_clients == 2
