"""The Pfeiffer Vacuum protocol: telegrams, data types, refusals, silences; sections are those of the TC 400 manual."""

from typing import Any

import pytest

from labioc.drivers import pfeiffer_vacuum as pv
from labioc.drivers.core import Driver, ValueType
from labioc.drivers.core.errors import (
    AddressError,
    LimitError,
    ReadingInvalid,
    RefusedError,
    ReplyError,
    ReplyTimeout,
    WrongInstrument,
)
from labioc.drivers.pfeiffer_gauge import PfeifferGauge
from labioc.drivers.tc400 import TC400
from labioc.drivers.testing import Line, transcript
from labioc.sim.pfeiffer_station import PumpingStation

READ_SPEED = b"1230030902=?112\r"
SPEED_633 = b"1231030906000633037\r"


def pump(*lines: Line, address: str = "123") -> Any:
    return transcript(TC400, lines, identity=f"{int(address):03d}1034906TC 400", address=address)


async def test_the_examples_of_the_manual() -> None:
    """8.2: actual rotation speed is 633 Hz; switch on the pumping station."""
    async with pump((READ_SPEED, SPEED_633)) as tc400:
        assert await tc400.speed.read() == 633
    on = b"0421001006111111020\r"
    read_back = ("0420001002=?", on)
    error = ("0420030302=?", "0421030306000000")
    async with pump((on, on), read_back, error, address="42") as tc400:
        await tc400.station.write(True)
        assert tc400.station.value is True


@pytest.mark.parametrize(
    ("value_type", "text", "value"),
    [
        (pv.boolean_old(), "000000", False),
        (pv.boolean_old(), "111111", True),
        (pv.u_integer("Hz"), "000000", 0),
        (pv.u_integer("Hz"), "999999", 999_999),
        (pv.u_real("A"), "001571", 15.71),
        (pv.string(), "TC_400", "TC_400"),
        (pv.boolean_new(), "0", False),
        (pv.boolean_new(), "1", True),
        (pv.u_short_int("%"), "000", 0),
        (pv.u_short_int("%"), "999", 999),
        (pv.u_expo_new("hPa"), "100023", 1000.0),
        (pv.u_expo_new("hPa"), "104223", 1042.0),  # PPT 100, 6.2
        (pv.u_expo_new("hPa"), "750015", 7.5e-5),
        (pv.u_expo_new("hPa"), "100000", 1e-20),
        (pv.u_expo_new("hPa"), "000000", 0.0),
        (pv.string16(), "BrezelBier&Wurst", "BrezelBier&Wurst"),
        (pv.string8(), "Example ", "Example"),
    ],
)
def test_data_types(value_type: ValueType[Any], text: str, value: object) -> None:
    """8.3."""
    assert value_type.decode(text) == value
    assert value_type.encode(value_type.check(value)) == text
    assert value_type.width == len(text)


@pytest.mark.parametrize(
    ("value_type", "text"),
    [
        (pv.boolean_old(), "101010"),
        (pv.u_integer(), "-00001"),
        (pv.u_integer(), "no Wrn"),
        (pv.u_expo_new(), "1.0e03"),
        (pv.u_expo_new(), "10002"),
        (pv.u_expo_new(), "1000²3"),
    ],
)
def test_what_is_no_value(value_type: ValueType[Any], text: str) -> None:
    with pytest.raises(ValueError):
        value_type.check(value_type.decode(text))


@pytest.mark.parametrize("value", [-1.0, 1e80, 1e-21])
def test_what_no_exponent_says(value: float) -> None:
    with pytest.raises(LimitError):
        pv.u_expo_new().check(value)


@pytest.mark.parametrize(
    ("word", "why"),
    [
        ("NO_DEF", "there is no such parameter"),
        ("_RANGE", "the data is out of range"),
        ("_LOGIC", "no access to this parameter now"),
    ],
)
async def test_refusals(word: str, why: str) -> None:
    """8.2: error messages."""
    async with pump(
        ("1230030902=?", f"1231030906{word}"), ("1231070006000120", f"1231070006{word}")
    ) as tc400:
        with pytest.raises(ReadingInvalid, match=f"parameter 309: {word}, {why}"):
            await tc400.speed.read()
        with pytest.raises(RefusedError, match=f"run_up_time: parameter 700: {word}, {why}"):
            await tc400.run_up_time.write(120)


@pytest.mark.parametrize(
    "others",
    [
        "1241030906000001",  # another address
        "1231031006000001",  # another parameter
        "1230030902=?",  # the echo of the question
        "123103",
    ],
)
async def test_what_others_say_is_passed_over(others: str) -> None:
    came = (others.encode() + b"%03d\r" % (sum(others.encode()) % 256)) + SPEED_633
    async with pump((READ_SPEED, came)) as tc400:
        assert await tc400.speed.read() == 633


async def test_a_floating_bus_before_the_reply_is_passed_over() -> None:
    async with pump((READ_SPEED, b"\xff" * 40 + b"\x00" + SPEED_633)) as tc400:
        assert await tc400.speed.read() == 633


@pytest.mark.parametrize(
    ("came", "why"),
    [
        (b"1231030906000633038\r", "checksum pfeiffer"),
        (b"1231030905000633036\r", "expected 05 characters of data, got 6"),
        (b"1231030906  63.3", "stopped"),
    ],
)
async def test_a_spoilt_reply(came: bytes, why: str) -> None:
    async with pump((READ_SPEED, came)) as tc400:
        with pytest.raises(ValueError, match=why):
            await tc400.speed.read()


def test_addresses() -> None:
    """8.1: 1 to 255 are single devices; 0 is all of them, from 900 on they are groups: nobody answers."""
    assert TC400("tcp://h:1", address="7").address == "007"
    assert TC400("tcp://h:1", address="042").speed.ask == "0420030902=?"
    for address in ("0", "256", "900", "x", "-1"):
        with pytest.raises(AddressError, match="expected an address from 1 to 255"):
            TC400("tcp://h:1", address=address)


@pytest.mark.parametrize(
    ("code", "fault"),
    [
        ("000000", pv.Fault.NONE),
        ("no Err", pv.Fault.NONE),
        ("Wrn007", pv.Fault.WARNING),
        ("Err006", pv.Fault.ERROR),
    ],
)
def test_error_codes(code: str, fault: pv.Fault) -> None:
    assert pv.fault_of(code) is fault
    with pytest.raises(ValueError):
        pv.fault_of("??????")


# The simulated bus


@pytest.fixture
def bus() -> PumpingStation:
    return PumpingStation()


@pytest.mark.parametrize(
    ("section", "telegram", "answer"),
    [
        ("8.2 data request", "0010030902=?", "0011030906000000"),
        ("8.2 control command", "0011001006111111", "0011001006111111"),
        ("8.2 parameter does not exist", "0010099902=?", "0011099906NO_DEF"),
        ("8.2 data out of range", "0011070006000121", "0011070006_RANGE"),
        ("8.2 data that is no number", "0011070006  0120", "0011070006_RANGE"),
        ("8.2 data of another length", "0011070003120", "0011070006_RANGE"),
        ("8.2 read-only parameter", "0011030906000001", "0011030906_LOGIC"),
        ("8.2 write-only parameter", "0010000902=?", "0011000906_LOGIC"),
        ("8.2 no question", "0010030906000000", "0011030906_RANGE"),
        ("8.1 nobody's address", "0020030902=?", ""),
        ("8.1 wrong length", "0010030903=?", ""),
        ("8.1 no action", "0013030902=?", ""),
        ("8.1 all units", "0001001006000000", ""),
        ("8.1 a group", "9601001006000000", ""),
        ("8.1 a question to all", "0000030902=?", ""),
        ("8.1 nothing", "", ""),
    ],
)
def test_answers_and_silences(bus: PumpingStation, section: str, telegram: str, answer: str) -> None:
    assert bus.ask(telegram) == answer, section


@pytest.mark.parametrize(
    ("telegram", "answer"),
    [
        (b"0010030902=?107", b"0011030906000000020\r"),
        (b"1010074002=?107", b"1011074006101323030\r"),
        (b"\n0010030902=?107", b"0011030906000000020\r"),
        (b"\x00\xff0010030902=?107", b"0011030906000000020\r"),
        (b"0010030902=?108", None),
        (b"0010030902=?", None),
        (b"001", None),
        (b"\x80", None),
    ],
)
def test_checksums(bus: PumpingStation, telegram: bytes, answer: bytes | None) -> None:
    assert bus.receive(telegram) == answer


def test_a_broadcast_reaches_all_units_and_a_group_all_of_its_kind(bus: PumpingStation) -> None:
    assert bus.ask("0001074206000150") == ""
    assert (bus.gauge.correction, bus.foreline.correction) == (1.5, 1.5)
    assert bus.ask(f"{bus.gauge.group}1074206000200") == ""
    assert (bus.gauge.correction, bus.foreline.correction) == (2.0, 2.0)
    assert bus.ask(f"{bus.pump.group}1074206000300") == ""
    assert bus.gauge.correction == 2.0
    bus.foreline.is_on = False
    assert bus.ask("1020034902=?") == ""


async def test_a_pump_is_no_gauge_and_a_gauge_no_pump(bus: PumpingStation) -> None:
    kinds: list[tuple[type[Driver], str, str]] = [(TC400, "101", ""), (PfeifferGauge, "1", "")]
    kinds += [(PfeifferGauge, "101", "rpt200"), (PfeifferGauge, "102", "mpt100")]
    async with bus.serve("tcp://127.0.0.1:0") as url:
        for kind, address, variant in kinds:
            with pytest.raises(WrongInstrument):
                async with kind.open(url, address=address, variant=variant):
                    pass


async def test_a_dead_address_is_silent(bus: PumpingStation) -> None:
    async with bus.serve("tcp://127.0.0.1:0") as url:
        with pytest.raises(ReplyTimeout):
            async with TC400.open(url, address="9"):
                pass


@pytest.mark.parametrize(
    ("fault", "error"),
    [
        ("wrong-checksum", ReplyError),
        ("wrong-address", ReplyTimeout),
        ("refuse", ReadingInvalid),
        ("lose", ReplyTimeout),
    ],
)
async def test_faults_of_the_bus(bus: PumpingStation, fault: str, error: type[Exception]) -> None:
    async with bus.serve("pty:") as url, TC400.open(url, address="1") as tc400:
        await tc400.speed.read()
        bus.faults.add(f"{fault} only=0010030902")
        with pytest.raises(error):
            await tc400.speed.read()
        bus.faults.clear()
        assert await tc400.speed.read() == 0
