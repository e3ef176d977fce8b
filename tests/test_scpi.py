"""SCPI, as simulators parse it and drivers speak it: paths, forms, numbers, errors, blocks."""

import math
from collections.abc import AsyncIterator
from enum import Enum as States
from typing import Any, NamedTuple

import pytest
import pytest_asyncio
from tests.ca import Client, PutFailed

from labioc.devices.core import pv
from labioc.devices.core.records import AlarmSeverity, AlarmStatus
from labioc.devices.scpi import ScpiPVs
from labioc.drivers.core import Array, Command, Readback, Setpoint
from labioc.drivers.core.errors import RefusedError, ReplyError
from labioc.drivers.core.protocol import Part
from labioc.drivers.scpi import OnOff, Quoted, Real, Rows, ScpiDriver, ScpiLines, Word
from labioc.drivers.testing import transcript
from labioc.iocs.core import Host, Instrument, InstrumentConfig
from labioc.sim import scpi
from labioc.sim.scpi import ScpiSimulator, Setting, StatusRegister, boolean, choice, integer, number, string

IDENTITY = "MAKER,SUPPLY,1,2.0"


class Channel:
    def __init__(self) -> None:
        self.scale = 1.0


class Supply(ScpiSimulator):
    """A power supply with two channels."""

    def __init__(self) -> None:
        super().__init__()
        self.alarms = scpi.Register(1)
        self.channels = {1: Channel(), 2: Channel()}
        self.label = ""
        self.level = 0.0
        self.function = "VOLT"
        self.on = False
        self.steps: tuple[float, ...] = ()
        self.seen = math.inf

    identity = IDENTITY

    @property
    def registers(self) -> tuple[scpi.Register, ...]:
        return self.operation, self.questionable, self.alarms

    def reset(self) -> None:
        self.level, self.on = 0.0, False

    settings = (
        Setting(
            "[:SOURce[1]]:VOLTage[:LEVel][:IMMediate][:AMPLitude] <n>", "level", number(0, 30, 1, unit="V")
        ),
        Setting("[:SOURce[1]]:FUNCtion <name>", "function", choice("VOLTage", "CURRent")),
        Setting("[:SOURce[1]]:LIST:VOLTage <list>", "steps", number(0, 30), many=True),
        Setting(":OUTPut[1][:STATe] <b>", "on", boolean()),
        Setting(":CHANnel<n>:SCALe <n>", "scale", number(1e-3, 10, unit="V"), of="channels"),
        Setting("{:DISPlay|:SCReen}:TEXT <a>", "label", string(8)),
        StatusRegister(":STATus:ALARm", "alarms"),
    )

    @scpi.Command(":MEASure?")
    def _measure(self) -> str:
        return f"{9.9e37 if math.isinf(self.seen) else self.seen:.6E}"

    @scpi.Command(":BEEP <f>,<t>", number(20, 2e4, unit="HZ"), integer(1, 9), optional=1)
    def _beep(self, frequency: float, times: int | None) -> None:
        self.seen = frequency


@pytest.fixture
def supply() -> Supply:
    return Supply()


@pytest.mark.parametrize(
    "header",
    ["VOLT", ":volt", "SOUR:VOLT", ":SOURce1:Voltage:LEVEL", "sour:volt:imm:ampl", ":VOLTAGE:LEV:IMM:AMPL"],
)
def test_headers_have_a_long_and_a_short_form_and_optional_nodes(supply: Supply, header: str) -> None:
    assert supply.ask(f"{header} 5;:VOLT?") == "5.000000E+00"


@pytest.mark.parametrize("header", ["VOLTA 5", "SOU:VOLT 5", "VOLT:IMM:LEV 5", "VOLTS 5"])
def test_other_forms_are_undefined_headers(supply: Supply, header: str) -> None:
    assert supply.ask(header) == ""
    assert supply.ask("SYST:ERR?") == '-113,"Undefined header"'
    assert supply.level == 0.0


def test_a_suffix_that_there_is_not(supply: Supply) -> None:
    assert supply.ask(":CHAN2:SCAL 0.5;SCAL?;:CHAN1:SCAL?") == "5.000000E-01;1.000000E+00"
    for line in (":CHAN3:SCAL?", ":SOUR2:VOLT 1"):
        supply.ask(line)
        assert supply.ask("SYST:ERR?") == '-114,"Header suffix out of range"'


def test_the_path_is_kept_until_a_colon_and_common_commands_leave_it_alone(supply: Supply) -> None:
    """SCPI-1999 volume 1, 6.2.4; IEEE 488.2 A.1.1."""
    assert supply.ask("SOUR:VOLT 4;FUNC CURR;*OPC?;VOLT?;:OUTP ON;:OUTP?") == "1;4.000000E+00;1"
    assert supply.ask("OUTP:STAT OFF;STAT?") == "0"
    assert supply.ask("SOUR:VOLT:LEV 5;VOLT 6") == ""
    assert supply.ask("SYST:ERR?;ERR?") == '-113,"Undefined header";0,"No error"'


def test_a_colon_before_a_common_command_does_no_harm(supply: Supply) -> None:
    assert supply.ask(":*IDN?;:*CLS;*ESE 32;*ESE?") == f"{IDENTITY};32"


def test_a_choice_of_roots(supply: Supply) -> None:
    assert supply.ask(""":SCR:TEXT 'a;"b"';:DISP:TEXT?""") == '"a;""b"""'


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("5", 5.0),
        ("+5.", 5.0),
        (".5", 0.5),
        ("5E-1", 0.5),
        ("5 e -1", 0.5),
        ("500mV", 0.5),
        ("0.5 V", 0.5),
        ("500000UV", 0.5),
        ("MAX", 30.0),
        ("minimum", 0.0),
        ("DEF", 1.0),
    ],
)
def test_numbers(supply: Supply, text: str, value: float) -> None:
    supply.ask(f"VOLT {text}")
    assert supply.level == pytest.approx(value)


def test_milli_of_hertz_is_mega_and_a_kilohertz_is_one(supply: Supply) -> None:
    supply.ask("BEEP 0.01MHZ,3")
    assert supply.seen == 1e4
    supply.ask("BEEP 2 kHz")
    assert supply.seen == 2e3


def test_other_bases_and_truth(supply: Supply) -> None:
    """IEEE 488.2 7.7.4; SCPI-1999 volume 1, 7.3."""
    assert supply.ask("*ESE #Q17;*ESE?;*ESE #b101;*ESE?;*ESE #H1f;*ESE?") == "15;5;31"
    assert supply.ask("OUTP 2;OUTP?;OUTP 0.4;OUTP?;OUTP oN;OUTP?") == "1;0;1"


def test_blanks_and_empty_commands(supply: Supply) -> None:
    assert supply.ask(" :SOUR:VOLT\t 3 ; ;; VOLT? ;") == "3.000000E+00"
    assert supply.ask(";") == supply.ask(" \t") == ""
    assert not supply.errors


def test_a_message_that_is_too_long_is_refused(supply: Supply) -> None:
    assert supply.receive(b"*IDN?;" * 1000) is None
    assert supply.ask("SYST:ERR?") == '-363,"Input buffer overrun"'


def test_bounds_can_be_asked_for(supply: Supply) -> None:
    assert supply.ask("VOLT? MIN;VOLT? MAX;VOLT? DEF") == "0.000000E+00;3.000000E+01;1.000000E+00"


@pytest.mark.parametrize(
    ("line", "error"),
    [
        ("VOLT", '-109,"Missing parameter"'),
        ("VOLT 1,2", '-108,"Parameter not allowed"'),
        ("*IDN? 1", '-108,"Parameter not allowed"'),
        ("VOLT ABC", '-104,"Data type error"'),
        ("VOLT 'five'", '-104,"Data type error"'),
        ("VOLT INF", '-104,"Data type error"'),
        ("VOLT #H-1", '-104,"Data type error"'),
        ("VOLT #H1_F", '-104,"Data type error"'),
        ("VOLT #B12", '-104,"Data type error"'),
        ("VOLT 1E999", '-222,"Data out of range"'),
        ("OUTP 1E999", '-222,"Data out of range"'),
        ("*ESE 1E999", '-222,"Data out of range"'),
        ("VOLT 31", '-222,"Data out of range"'),
        ("VOLT 5A", '-131,"Invalid suffix"'),
        ("*ESE 5V", '-138,"Suffix not allowed"'),
        ("FUNC OHMS", '-224,"Illegal parameter value"'),
        ("DISP:TEXT hello", '-104,"Data type error"'),
        ("DISP:TEXT 'it's'", '-151,"Invalid string data"'),
        ("DISP:TEXT 'open;*RST'; ", '-223,"Too much data"'),
        ("DISP:TEXT 'open", '-151,"Invalid string data"'),
        ("DISP:TEXT 'too long a text'", '-223,"Too much data"'),
        ("NONSENSE?", '-113,"Undefined header"'),
        ("!", '-102,"Syntax error"'),
    ],
)
def test_errors_are_silent_and_wait_in_the_queue(supply: Supply, line: str, error: str) -> None:
    assert supply.ask(line) == ""
    assert supply.ask("SYST:ERR?") == error
    assert supply.ask("SYSTEM:ERROR:NEXT?") == '0,"No error"'


def test_what_follows_an_error_in_its_message_is_ignored(supply: Supply) -> None:
    assert supply.ask("VOLT 5;VOLT?;VOLT 99;VOLT 6;VOLT?") == "5.000000E+00"
    assert supply.level == 5.0


def test_the_queue_overflows_at_its_last_place(supply: Supply) -> None:
    for _ in range(12):
        supply.ask("NONSENSE")
    answers = [supply.ask("SYST:ERR?") for _ in range(11)]
    assert answers == ['-113,"Undefined header"'] * 9 + ['-350,"Queue overflow"', '0,"No error"']


def test_the_event_register_tells_what_kind_of_error_it_was(supply: Supply) -> None:
    assert supply.ask("*ESR?;*ESR?") == "128;0"
    supply.ask("NONSENSE")
    supply.ask("VOLT 99")
    supply.error(-410)
    assert supply.ask("*STB?") == "4"
    assert supply.ask("*ESE #H34;*SRE 32;*STB?;*ESR?") == "100;52"
    supply.ask("*CLS")
    assert supply.ask("*STB?;:SYST:ERR?") == '0;0,"No error"'


def test_status_registers_latch_what_happens(supply: Supply) -> None:
    supply.alarms.set(6)
    supply.alarms.set(4, False)
    supply.ask("STAT:ALAR:ENAB 2;*SRE 1")
    assert supply.ask("*STB?;:STAT:ALAR:COND?;EVEN?;:STAT:ALAR?;*STB?") == "65;2;6;0;0"
    assert supply.ask("STAT:PRES;:STAT:ALAR:ENAB?") == "0"


def test_lists(supply: Supply) -> None:
    assert supply.ask("LIST:VOLT 1,2.5 , 3;:LIST:VOLT?") == "1.000000E+00,2.500000E+00,3.000000E+00"
    assert supply.ask("LIST:VOLT") == ""
    assert supply.ask("SYST:ERR?") == '-109,"Missing parameter"'


# The driver's side


class Function(States):
    VOLTAGE = "VOLTage"
    CURRENT = "CURRent"


class Columns(NamedTuple):
    volts: Any
    amperes: Any


class SupplyDriver(ScpiDriver):
    """The power supply."""

    protocol = ScpiLines(identify=("*IDN?", "MAKER,"))
    level = Setpoint(Real("V", limits=(0, 40)), ask=":VOLT?", tell=":VOLT {value}")
    function = Setpoint(Word(Function), ask="FUNC?", tell=":FUNC {value}")
    on = Setpoint(OnOff(), ask=":OUTP?", tell=":OUTP {value}")
    label = Setpoint(Quoted(8), ask=":DISP:TEXT?", tell=":DISP:TEXT {value}")
    seen = Readback(Real("V"), ask=":MEAS?")
    beep = Command(tell=":BEEP 440")
    growl = Command(tell=":BEEP 4")
    table = Readback(
        Rows(Columns, volts=Array(Real("V"), 3), amperes=Array(Real("A"), 3)),
        ask=":TABL?",
        doc="Not the simulator's",
    )


class SupplyDevice(ScpiPVs):
    """Its PVs."""

    level = pv(SupplyDriver.level, name="VOLT", scan=None)
    seen = pv(SupplyDriver.seen, name="SEEN", scan=0.05)
    growl = pv(SupplyDriver.growl, name="GROWL")


SUPPLY = Instrument("supply", SupplyDriver, SupplyDevice, lambda variant: Supply(), "tcp://127.0.0.1:5025")


@pytest.mark.parametrize(
    ("value", "reply", "expected"),
    [
        (Real("V"), "+1.500000E+00", 1.5),
        (Real("V"), "9.9E37", math.inf),
        (Real("V"), "-9.900000E+37", -math.inf),
        (OnOff(), "1", True),
        (OnOff(), "off", False),
        (Word(Function), "VOLT", Function.VOLTAGE),
        (Word(Function), '"current"', Function.CURRENT),
        (Quoted(), '"say ""yes"""', 'say "yes"'),
        (Quoted(), "bare ", "bare"),
    ],
)
def test_values(value: Any, reply: str, expected: object) -> None:
    assert value.decode(reply) == expected


def test_not_a_number() -> None:
    assert math.isnan(Real().decode("+9.910000E+37"))
    assert not Real().agree(1.0, math.nan)


@pytest.mark.parametrize(("value", "reply"), [(OnOff(), "2"), (Word(Function), "OHMS"), (Real(), "abc")])
def test_values_that_are_none(value: Any, reply: str) -> None:
    with pytest.raises(ValueError, match=r".+"):
        value.decode(reply)


def test_a_table_is_read_column_by_column() -> None:
    table = Rows(Columns, volts=Array(Real("V"), 2), amperes=Array(Real("A"), 2))
    found = table.decode("1,0.1,2,9.91E37")
    assert list(found.volts) == [1.0, 2.0]
    assert found.amperes[0] == 0.1
    assert math.isnan(found.amperes[1])
    assert len(table.decode("").volts) == 0
    for wrong in ("1,2,3", "1,2,3,4,5,6"):
        with pytest.raises(ValueError, match="1,"):
            table.decode(wrong)


def test_answers_part_at_semicolons_outside_of_texts_and_blocks() -> None:
    protocol = SupplyDriver.protocol
    assert protocol.answers('1;"a;b";#15;;"#2;2', 4) == ["1", '"a;b"', '#15;;"#2', "2"]
    assert protocol.answers("0; 1; 1; 0", 4) == ["0", "1", "1", "0"]
    assert protocol.answers("'it''s;';0", 2) == ["'it''s;'", "0"]
    with pytest.raises(ValueError, match="1;2"):
        protocol.answers("1;2", 3)


def test_questions_are_joined_from_the_root_and_commands_stand_alone() -> None:
    requests = SupplyDriver.protocol.requests(
        Part(":VOLT?", True),
        Part("FUNC?", True),
        Part("*OPC?", True),
        Part(":OUTP ON", False),
        Part(":OUTP?", True),
    )
    assert [(r.text, r.answers) for r in requests] == [
        (":VOLT?;:FUNC?;*OPC?", 3),
        (":OUTP ON", 0),
        (":OUTP?", 1),
    ]


NONE = '0,"No error"'


async def test_a_put_asks_for_errors_before_and_after_it() -> None:
    said = [(":SYST:ERR?", NONE), (":VOLT 5", None), (":SYST:ERR?", NONE), (":VOLT?", "5.0")]
    async with transcript(SupplyDriver, said, identity=IDENTITY) as supply:
        await supply.level.write(5)
        assert supply.level.value == 5.0


async def test_a_refusal_in_the_instruments_words_and_all_of_the_queue() -> None:
    said = [
        (":SYST:ERR?", '-113,"Undefined header"'),  # somebody else's
        (":SYST:ERR?", NONE),
        (":VOLT 35", None),
        (":SYST:ERR?", '-222,"Data out of range"'),
        (":SYST:ERR?", '-221,"Settings conflict"'),
        (":SYST:ERR?", NONE),
        (":VOLT?", "5.0"),
    ]
    async with transcript(SupplyDriver, said, identity=IDENTITY) as supply:
        with pytest.raises(
            RefusedError, match=r'-222,"Data out of range"; -221,"Settings conflict"'
        ) as refusal:
            await supply.level.write(35)
        assert "-113" not in str(refusal.value)
        assert supply.error.value == '-222,"Data out of range"; -221,"Settings conflict"'


async def test_an_error_of_somebody_else_refuses_nothing_and_is_told() -> None:
    said = [
        (":SYST:ERR?", '-113,"Undefined header"'),
        (":SYST:ERR?", NONE),
        (":BEEP 440", None),
        (":SYST:ERR?", NONE),
    ]
    async with transcript(SupplyDriver, said, identity=IDENTITY) as supply:
        await supply.beep.execute()
        assert supply.error.value == '-113,"Undefined header"'


async def test_the_last_error_stays() -> None:
    said = [
        (":SYST:ERR?", NONE),
        (":SYST:ERR?", '-350,"Queue overflow"'),
        (":SYST:ERR?", NONE),
        (":SYST:ERR?", NONE),
    ]
    async with transcript(SupplyDriver, said, identity=IDENTITY) as supply:
        assert await supply.error.read() == NONE
        assert await supply.error.read() == '-350,"Queue overflow"'
        assert await supply.error.read() == '-350,"Queue overflow"'


async def test_a_row_of_a_table_that_is_cut_is_no_reading() -> None:
    async with transcript(SupplyDriver, [(":TABL?", "1,0.1,2")], identity=IDENTITY) as supply:
        with pytest.raises(ReplyError, match="rows of volts, amperes"):
            await supply.table.read()


async def test_an_instrument_without_an_error_queue_is_judged_by_what_reads_back() -> None:
    class Old(Supply):
        """Silent where it is asked for errors."""

        @scpi.Command(":SYSTem:ERRor[:NEXT]?")
        def _error(self) -> None:
            """Not known."""

    class Impatient(SupplyDriver):
        """It does not wait for long."""

        protocol = ScpiLines(identify=("*IDN?", "MAKER,"), timeout=0.1)

    async with Old().serve("tcp://127.0.0.1:0") as url, Impatient.open(url) as driver:
        await driver.level.write(5)
        with pytest.raises(RefusedError, match="the instrument kept 5"):
            await driver.level.write(35)


async def test_an_instrument_that_answers_nonsense_for_errors_is_judged_by_what_reads_back() -> None:
    class Chatty(Supply):
        """It says in words what it does not know."""

        @scpi.Command(":SYSTem:ERRor[:NEXT]?")
        def _error(self) -> str:
            return "CMD ERROR"

    async with Chatty().serve("tcp://127.0.0.1:0") as url, SupplyDriver.open(url) as driver:
        await driver.level.write(5)
        with pytest.raises(RefusedError, match="the instrument kept 5"):
            await driver.level.write(35)


async def test_a_queue_without_end_is_left_alone_after_a_while() -> None:
    class Stuck(Supply):
        """It says the same error for ever."""

        @scpi.Command(":SYSTem:ERRor[:NEXT]?")
        def _error(self) -> str:
            return '-350,"Queue overflow"'

    async with Stuck().serve("tcp://127.0.0.1:0") as url, SupplyDriver.open(url) as driver:
        await driver.level.write(5)  # it reads back
        with pytest.raises(RefusedError, match="-350"):
            await driver.beep.execute()


# At the PVs


@pytest_asyncio.fixture
async def served(supply: Supply, ca_environment: dict[str, str]) -> AsyncIterator[Supply]:
    async with supply.serve("tcp://127.0.0.1:0") as url:
        async with Host([InstrumentConfig(instrument=SUPPLY, url=url, prefix="PS:", name="ps")]):
            yield supply


async def text_of(client: Client, name: str) -> str:
    return bytes((await client.get(f"{name}.VAL$")).value).partition(b"\0")[0].decode()


async def test_an_error_that_nobody_asked_for_reaches_the_pvs(served: Supply, client: Client) -> None:
    async with client.monitor("PS:ERROR.VAL$") as errors, client.monitor("PS:MESSAGE.VAL$") as messages:
        served.error(-221)
        served.error(-350)
        wanted = b'-221,"Settings conflict"; -350,"Queue overflow"'
        await errors.next(lambda reading: bytes(reading.value).startswith(wanted))
        await messages.next(lambda reading: bytes(reading.value).startswith(b"PS:ERROR: " + wanted))
        assert not served.errors


async def test_a_refused_put_says_why(served: Supply, client: Client) -> None:
    served.error(-410)
    with pytest.raises(PutFailed):
        await client.put("PS:GROWL", 1)
    message = await text_of(client, "PS:MESSAGE")
    assert message.startswith("PS:GROWL: ps: growl: refused: ")
    assert '-222,"Data out of range"' in message
    assert "-410" not in message


async def test_infinite_is_over_range_and_keeps_the_last_value(served: Supply, client: Client) -> None:
    async with client.monitor("PS:SEEN") as events:
        served.seen = 2.5
        await events.next(lambda reading: bool(reading.value == 2.5 and not reading.severity))
        served.seen = math.inf
        over = await events.next(lambda reading: bool(reading.severity))
        assert (over.value, over.status, over.severity) == (
            2.5,
            AlarmStatus.HWLIMIT,
            AlarmSeverity.INVALID_ALARM,
        )
