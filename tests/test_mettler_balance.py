"""The Mettler Toledo balance: transcripts in the words of its manual, its simulated world, and its PVs."""

import math
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import pytest
import pytest_asyncio
from tests.ca import Client, PutFailed

from labioc.devices.core.records import AlarmSeverity, AlarmStatus
from labioc.drivers.core.errors import LimitError, ReadingInvalid, RefusedError, ReplyError
from labioc.drivers.mettler_balance import KeyMode, Load, MettlerBalance, Reading, Unit
from labioc.drivers.testing import Line, transcript
from labioc.iocs.core import Host, InstrumentConfig
from labioc.iocs.mettler_balance import instrument
from labioc.sim.core import Clock
from labioc.sim.mettler_balance import MettlerBalance as Simulator

IDENTITY = 'I4 A "0123456789"'
NOT_READ = {"W:LINK:STATE", "W:LINK:UTIL", "W:KEY", "W:ADJUSTMENT", "W:UNIT", "W:KEYS", "W:DISPLAY"}
"""Events that have not happened, and what can only be put."""
Do = Callable[[MettlerBalance], Awaitable[Any]]


@pytest.mark.parametrize(
    ("section", "question", "reply", "read", "value"),
    [
        (
            "SIR",
            "SIR",
            "S D     129.07 g",
            lambda b: b.reading.read(),
            Reading(Load.DYNAMIC, 129.07, "g"),
        ),
        (
            "2.1.2.1 weight in mg",
            "SIR",
            "S S    12500.0 mg",
            lambda b: b.reading.read(),
            Reading(Load.STABLE, 12.5, "mg"),
        ),
        ("2.1.2.1 negative", "SIR", "S S    -0.0082 g", lambda b: b.stable_weight.read(), -0.0082),
        ("S overload", "SIR", "S +", lambda b: b.reading.read(), Reading(Load.OVERLOAD, math.inf, "")),
        ("S underload", "SIR", "S -", lambda b: b.reading.read(), Reading(Load.UNDERLOAD, -math.inf, "")),
        ("TA", "TA", "TA A     100.00 g", lambda b: b.tare_value.read(), 100.0),
        ("TA in kg", "TA", "TA A    0.10000 kg", lambda b: b.tare_value.read(), 100.0),
        ("I1", "I1", 'I1 A "0123" "2.00" "2.20" "1.00" "1.50"', lambda b: b.levels.read(), None),
        (
            "I2",
            "I2",
            'I2 A "XS204 Excellence 220.0090 g"',
            lambda b: b.data.read(),
            "XS204 Excellence 220.0090 g",
        ),
        (
            "I3",
            "I3",
            'I3 A "2.10 10.28.0.493.142"',
            lambda b: b.software.read(),
            "2.10 10.28.0.493.142",
        ),
        ("I4", "I4", IDENTITY, lambda b: b.serial_number.read(), "0123456789"),
        ("I5", "I5", 'I5 A "12121306C"', lambda b: b.software_id.read(), "12121306C"),
        ("I10", "I10", 'I10 A "My Balance"', lambda b: b.label.read(), "My Balance"),
        ("I11", "I11", 'I11 A "XS204"', lambda b: b.model.read(), "XS204"),
    ],
)
async def test_readings(section: str, question: str, reply: str, read: Do, value: object) -> None:
    async with transcript(MettlerBalance, [(question, reply)], identity=IDENTITY) as balance:
        got = await read(balance)
        assert value is None or got == value, section


@pytest.mark.parametrize(
    ("section", "lines", "do"),
    [
        ("Z", [("Z", "Z A"), ("TA", "TA A       0.00 g")], lambda b: b.zero.execute()),
        ("ZI", [("ZI", "ZI D"), ("TA", "TA A       0.00 g")], lambda b: b.zero_now.execute()),
        ("T", [("T", "T S     100.00 g"), ("TA", "TA A     100.00 g")], lambda b: b.tare.execute()),
        ("TI", [("TI", "TI D     117.57 g"), ("TA", "TA A     117.57 g")], lambda b: b.tare_now.execute()),
        ("TAC", [("TAC", "TAC A"), ("TA", "TA A       0.00 g")], lambda b: b.clear_tare.execute()),
        (
            "TA",
            [("TA 100.500000 g", "TA A     100.50 g"), ("TA", "TA A     100.50 g")],
            lambda b: b.tare_value.write(100.5),
        ),
        ("@", [("@", IDENTITY)], lambda b: b.reset.execute()),
        ("C1", [("C1", "C1 B")], lambda b: b.adjust.execute()),
        ("C3", [("C3", "C3 B")], lambda b: b.adjust_internally.execute()),
        ("D", [('D "HELLO"', "D A")], lambda b: b.display.write("HELLO")),
        ("DW", [("DW", "DW A")], lambda b: b.show_weight.execute()),
        ("K", [("K 4", "K A")], lambda b: b.keys.write(KeyMode.EXECUTE_AND_SEND)),
        ("M21", [("M21 0 3", "M21 A")], lambda b: b.unit.write(Unit.MG)),
        ("I10", [('I10 "B2"', "I10 A"), ("I10", 'I10 A "B2"')], lambda b: b.label.write("B2")),
    ],
)
async def test_commands(section: str, lines: list[Line], do: Do) -> None:
    async with transcript(MettlerBalance, lines, identity=IDENTITY) as balance:
        await do(balance)


@pytest.mark.parametrize(
    ("line", "why", "do"),
    [
        (("Z", "Z I"), "no stable weight came in time", lambda b: b.zero.execute()),
        (("Z", "Z +"), "beyond the upper limit", lambda b: b.zero.execute()),
        (("Z", "Z -"), "beyond the lower limit", lambda b: b.zero.execute()),
        (("T", "T I"), "not executable now", lambda b: b.tare.execute()),
        (("TI", "TI L"), "not executable: the parameter", lambda b: b.tare_now.execute()),
        (("K 1", "ES"), "syntax error", lambda b: b.keys.write(KeyMode.EXECUTE)),
        (("C3", "EL"), "logical error", lambda b: b.adjust_internally.execute()),
        (("DW", "ET"), "transmission error", lambda b: b.show_weight.execute()),
    ],
)
async def test_refusals(line: Line, why: str, do: Do) -> None:
    """2.1.3: error messages."""
    async with transcript(MettlerBalance, [line], identity=IDENTITY) as balance:
        with pytest.raises(RefusedError, match=why):
            await do(balance)


@pytest.mark.parametrize("answer", ["ES", "TA I"])
async def test_a_command_that_was_executed_is_not_refused_by_what_cannot_be_asked_then(answer: str) -> None:
    """A balance of level 0 can be zeroed, but has no tare value to be asked for."""
    lines: list[Line] = [("Z", "Z A"), ("TA", answer)]
    async with transcript(MettlerBalance, lines, identity=IDENTITY) as balance:
        await balance.zero.execute()
        assert isinstance(balance.tare_value.error, ReadingInvalid)
        assert "sent b'TA" in str(balance.tare_value.error)


async def test_a_setpoint_that_cannot_be_read_back_is_refused() -> None:
    lines: list[Line] = [('I10 "B2"', "I10 A"), ("I10", "ES")]
    async with transcript(MettlerBalance, lines, identity=IDENTITY) as balance:
        with pytest.raises(RefusedError, match="syntax error"):
            await balance.label.write("B2")


async def test_an_error_in_place_of_the_weight() -> None:
    """2.1.3.3: error messages in the response with a weight."""
    async with transcript(MettlerBalance, [("SIR", "S S     Error 10b")], identity=IDENTITY) as balance:
        with pytest.raises(ReadingInvalid, match="Error 10b"):
            await balance.reading.read()


async def test_what_it_cannot_be_asked_now_is_no_reading() -> None:
    async with transcript(MettlerBalance, [("TA", "TA I")], identity=IDENTITY) as balance:
        with pytest.raises(ReadingInvalid, match="not executable now"):
            await balance.tare_value.read()


async def test_a_unit_that_is_no_mass_is_no_weight() -> None:
    async with transcript(MettlerBalance, [("SIR", "S S         12 PCS")], identity=IDENTITY) as balance:
        with pytest.raises(ReplyError, match="PCS"):
            await balance.reading.read()


async def test_texts_that_would_break_a_command() -> None:
    async with transcript(MettlerBalance, [], identity=IDENTITY) as balance:
        with pytest.raises(LimitError):
            await balance.display.write('2" pipe')
        with pytest.raises(LimitError):
            await balance.label.write("more than twenty letters")


async def test_the_stream_goes_on_while_a_command_waits() -> None:
    lines: list[Line] = [
        ("SIR", "S S       0.00 g"),
        ("T", b"S D      98.00 g\r\nS S     100.00 g\r\nT S     100.00 g\r\nS S       0.00 g\r\n"),
        ("TA", "TA A     100.00 g"),
    ]
    async with transcript(MettlerBalance, lines, identity=IDENTITY) as balance:
        await balance.reading.read()
        heard: list[float] = []
        balance.reading.listeners.append(lambda readback: heard.append(readback.value.weight))
        await balance.tare.execute()
        assert heard == [98.0, 100.0, 0.0]


# the simulated balance


@pytest.fixture
def balance() -> Simulator:
    return Simulator(clock=Clock(manual=True))


def test_what_a_client_can_ask(balance: Simulator) -> None:
    """The formats of section 2.1: ten characters for a weight, blanks between parts, capital letters."""
    dialogue = {
        "S": "S S     0.0000 g",
        "SI": "S S     0.0000 g",
        "TA 10.5 g": "TA A    10.5000 g",
        "SIU": "S S   -10.5000 g",
        "TA 1 kg": "TA L",
        "TAC": "TAC A",
        "Z": "Z A",
        "ZI": "ZI S",
        "T": "T S     0.0000 g",
        "K 5": "K L",
        "M21 0 3": "M21 A",
        "M21": "M21 B 0 3\r\nM21 A 1 0",
        "SU": "S S     0.0000 g",
        "TA": "TA A        0.0 mg",
        "I4": 'I4 A "1126493049"',
        'I10 "too long a name for a balance"': "I10 L",
        "s": "ES",
        "SX": "ES",
        "@": 'I4 A "1126493049"',
    }
    assert {line: balance.ask(line) for line in dialogue} == dialogue
    known = balance.ask("I0").split("\r\n")
    assert (known[0], known[-1]) == ('I0 B 0 "@"', 'I0 A 2 "UPD"')


def test_a_load_swings_and_comes_to_rest(balance: Simulator) -> None:
    balance.pan.load = 100.0
    balance.clock.advance(0.2)
    assert balance.ask("SI").startswith("S D ")
    assert balance.ask("T") == "T I"
    highest, state, number = 0.0, "", ""
    for _ in range(200):
        balance.clock.advance(0.05)
        state, number = balance.ask("SI").split()[1:3]
        highest = max(highest, float(number))
    assert highest > 110.0
    assert state == "S"
    assert float(number) == pytest.approx(100.0, abs=3e-4)
    assert balance.ask("T").startswith("T S   ")
    assert abs(float(balance.ask("SI").split()[2])) < 3e-4
    balance.pan.load = 0.0
    balance.settle()
    assert balance.ask("S").startswith("S S  -100.000")


def test_limits_of_load_zero_and_tare(balance: Simulator) -> None:
    for load, weight, zero, tare in (
        (300.0, "S +", "Z +", "T +"),
        (-20.0, "S -", "Z -", "T -"),
        (50.0, "S S    50.0000 g", "Z +", "T S    50.0000 g"),
    ):
        balance.pan.load = load
        balance.settle()
        assert (balance.ask("S"), balance.ask("Z"), balance.ask("T")) == (weight, zero, tare)


def test_drift_and_span(balance: Simulator) -> None:
    balance.span, balance.drift = 1e-4, 1e-3
    balance.pan.load = 100.0
    balance.settle()
    assert balance.ask("SI") == "S S   100.0100 g"
    balance.clock.advance(10.0)
    assert float(balance.ask("SI").split()[2]) == pytest.approx(100.02, abs=1e-3)


# both


async def until_it_moves(driver: MettlerBalance) -> None:
    while (await driver.reading.read()).load is not Load.DYNAMIC:
        pass


async def test_a_command_waits_for_rest_and_gives_up() -> None:
    sim = Simulator()
    async with sim.serve("tcp://127.0.0.1:0") as url, MettlerBalance.open(url) as driver:
        await driver.reading.read()
        sim.clock.speed = 50.0
        sim.pan.load = 1.0
        await until_it_moves(driver)
        await driver.tare.execute()
        assert driver.tare_value.value == pytest.approx(1.0, abs=3e-4)
        sim.drift = 0.01
        await until_it_moves(driver)
        with pytest.raises(RefusedError, match=r"no stable weight came in time \(Z I\)"):
            await driver.zero.execute()
        assert driver.port.statistics.unasked > 3


async def test_a_power_cycle_and_a_stream_that_somebody_ended_begin_it_anew(
    ca_environment: dict[str, str], client: Client
) -> None:
    sim = Simulator()
    async with sim.serve("pty:") as url:
        config = InstrumentConfig(instrument=instrument, url=url, prefix="W:", name="balance")
        async with Host([config]) as host, client.monitor("W:WEIGHT") as weights:
            statistics = host.units[0].driver.port.statistics
            sim.pan.load = 10.0
            sim.settle()
            await weights.next(lambda reading: abs(reading.value - 10.0) < 0.01)
            sim.power_cycle()  # what is on the pan is zero now
            await weights.next(lambda reading: abs(reading.value) < 0.01)
            assert (statistics.power_cycles, statistics.connects) == (1, 1)
            await client.put("W:WEIGHT.SCAN", 7)  # 0.5 s
            sim.ask("@")
            sim.pan.load = 15.0
            sim.settle()
            await weights.next(lambda reading: abs(reading.value - 5.0) < 0.01)
            assert (statistics.power_cycles, statistics.connects) == (1, 1)


async def test_a_stream_that_was_there_before_is_no_trouble() -> None:
    sim = Simulator()
    async with sim.serve("pty:") as url:
        for load in (1.0, 2.0):
            sim.pan.load = load
            sim.settle()
            async with MettlerBalance.open(url) as driver:
                while (await driver.reading.read()).weight != load:
                    pass
                assert await driver.model.read() == "XS204"
                assert driver.port.statistics.errors.total() == 0


async def test_noise_in_the_stream_is_no_weight() -> None:
    sim = Simulator()
    async with sim.serve("tcp://127.0.0.1:0") as url, MettlerBalance.open(url) as driver:
        await driver.reading.read()
        heard: list[Reading] = []
        driver.reading.listeners.append(lambda readback: heard.append(readback.value))
        for noise in (
            b"S S    12.\xff345 g\r\n",
            b"S S    99.",
            b"\x00\x80\r\n",
            b"S S   1_0.00 g\r\n",
        ):
            sim.say(noise)
            assert await driver.tare_value.read() == 0.0
        while len(heard) < 20:
            await driver.reading.read()
        assert {reading.weight for reading in heard} == {0.0}


# the IOC


@pytest.fixture
def sim() -> Simulator:
    return Simulator()


@pytest_asyncio.fixture
async def host(sim: Simulator, ca_environment: dict[str, str]) -> AsyncIterator[Host]:
    async with sim.serve("tcp://127.0.0.1:0") as url:
        config = InstrumentConfig(instrument=instrument, url=url, prefix="W:", name="balance")
        async with Host([config]) as running:
            yield running


async def test_weighing_with_a_client(host: Host, client: Client, sim: Simulator) -> None:
    for name in host.pvs:
        if name not in NOT_READ:
            assert (await client.get(name)).severity != AlarmSeverity.INVALID_ALARM, name
    sim.clock.speed = 5.0
    async with client.monitor("W:WEIGHT") as weights, client.monitor("W:LOAD") as loads:
        async with client.monitor("W:WEIGHT_STABLE") as stable:
            sim.pan.load = 50.0
            await loads.next(lambda reading: reading.value == 1)
            swinging = await stable.next(lambda reading: bool(reading.status == AlarmStatus.HWLIMIT))
            assert swinging.severity == AlarmSeverity.INVALID_ALARM
            await stable.next(lambda reading: abs(reading.value - 50.0) < 1e-3)
        await client.put("W:TARE", 1)
        assert (await client.get("W:TARE_VALUE_RBV")).value == pytest.approx(50.0, abs=1e-3)
        await weights.next(lambda reading: abs(reading.value) < 1e-3)

        sim.pan.load = 400.0
        sim.settle()
        beyond = await weights.next(lambda reading: bool(reading.status == AlarmStatus.HWLIMIT))
        assert beyond.severity == AlarmSeverity.INVALID_ALARM
        full = await loads.next(lambda reading: reading.value == 3)
        assert full.severity == AlarmSeverity.MAJOR_ALARM
        with pytest.raises(PutFailed):
            await client.put("W:ZERO", 1)
        message = bytes((await client.get("W:MESSAGE.VAL$")).value).partition(b"\0")[0].decode()
        assert "beyond the upper limit of the range (Z +)" in message

        sim.pan.load = 60.0
        sim.settle()
        await weights.next(lambda r: r.severity == AlarmSeverity.NO_ALARM and abs(r.value - 10.0) < 0.01)
        await client.put("W:UNIT", "MG")
        async with client.monitor("W:WIRE_UNIT") as units:
            await units.next(lambda reading: "mg" in str(reading.value))
        assert (await client.get("W:WEIGHT")).value == pytest.approx(10.0, abs=1e-3)
