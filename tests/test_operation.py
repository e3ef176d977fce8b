"""What an operator does with an IOC: other scan periods, limits and labels, processing, disabling, moves and stops."""

import asyncio
from collections.abc import AsyncIterator

import pytest
import pytest_asyncio
from tests.ca import Client, Libca, PutFailed, Reading, until
from tests.stage import COUNT, INSTRUMENT, Stage, StageSimulator

from labioc.devices.core import Settled, pv
from labioc.devices.core.records import AlarmSeverity, AlarmStatus
from labioc.drivers.core.errors import DefinitionError
from labioc.iocs.core import Host, InstrumentConfig

DBE_VALUE, DBE_LOG = 1, 2


@pytest.fixture
def sim() -> StageSimulator:
    return StageSimulator()


@pytest_asyncio.fixture
async def host(sim: StageSimulator, ca_environment: dict[str, str]) -> AsyncIterator[Host]:
    async with sim.serve("tcp://127.0.0.1:0") as url:
        config = InstrumentConfig(instrument=INSTRUMENT, url=url, prefix="S:", name="stage", simulated=True)
        async with Host([config]) as running:
            yield running


async def message_of(client: Client) -> str:
    return bytes((await client.get("S:MESSAGE.VAL$")).value).decode()


def is_free(reading: Reading) -> bool:
    return bool(reading.value == 0)


# Scanning


async def test_scan_changes_the_period_and_passive_stops_it(
    host: Host, client: Client, sim: StageSimulator
) -> None:
    async with client.monitor("S:POS") as events:
        sim.position = 20.0
        await client.put("S:POS.SCAN", ".1 second")
        await events.next(lambda reading: bool(reading.value == 20.0))
    assert (await client.get("S:POS.SCAN")).value == 9
    await client.put("S:POS.SCAN", "Passive")
    await client.put("S:COUNT.SCAN", ".1 second")
    asked, others = sim.log.count("POS?"), sim.log.count("CNT?")
    async with client.monitor("S:LINK:EXCHANGES") as events:
        while sim.log.count("CNT?") < others + 5:
            await events.next()
    assert sim.log.count("POS?") == asked


async def test_changing_the_scan_again_and_again_does_not_keep_it_from_being_read(
    host: Host, client: Client, sim: StageSimulator
) -> None:
    await client.put("S:POS.SCAN", "1 second")
    asked = sim.log.count("POS?")
    turn = 0
    while sim.log.count("POS?") == asked:
        turn += 1
        await client.put("S:POS.SCAN", ("1 second", "2 second")[turn % 2])


async def test_a_period_that_no_menu_has_stays_a_choice(host: Host, client: Client) -> None:
    choices = (await client.get("S:POS.SCAN", "control")).metadata.enum_strings
    assert bytes(choices[-1]).startswith(b"3600 second")
    await client.put("S:POS.SCAN", "Passive")
    await client.put("S:POS.SCAN", "3600 second")
    assert (await client.get("S:POS.SCAN")).value == 10


@pytest.mark.parametrize(
    ("name", "scan"), [("S:POS", "I/O Intr"), ("S:POS", "Event"), ("S:TARGET", "1 second")]
)
async def test_a_scan_that_cannot_be_is_refused(host: Host, client: Client, name: str, scan: str) -> None:
    with pytest.raises(PutFailed):
        await client.put(f"{name}.SCAN", scan)
    assert "SCAN" in await message_of(client) or "not scanned" in await message_of(client)


async def test_proc_reads_now(host: Host, client: Client, sim: StageSimulator) -> None:
    sim.position = 42.0
    await client.put("S:POS.PROC", 1)
    assert (await client.get("S:POS")).value == 42.0


async def test_proc_of_a_setpoint_writes_it_again(host: Host, client: Client, sim: StageSimulator) -> None:
    await client.put("S:SPEED", 3.0)
    sim.speed = 7.0
    await client.put("S:SPEED.PROC", 1)
    assert sim.speed == 3.0


# Disabling


async def test_a_disabled_reading_says_so_and_comes_back_by_itself(
    host: Host, client: Client, sim: StageSimulator
) -> None:
    await client.put("S:POS.DISS", "MAJOR")
    await client.put("S:POS.DISA", 1)
    disabled = await client.get("S:POS")
    assert (disabled.status, disabled.severity) == (AlarmStatus.DISABLE, AlarmSeverity.MAJOR_ALARM)
    sim.position = 30.0
    await client.put("S:POS.PROC", 1)
    assert (await client.get("S:POS")).value == 10.0
    async with client.monitor("S:POS") as events:
        await client.put("S:POS.DISA", 0)
        again = await events.next(lambda reading: bool(reading.status == AlarmStatus.NO_ALARM))
    assert again.value == 30.0  # not what it was when it was disabled


@pytest.mark.parametrize("field", ["DISA", "DISP"])
async def test_a_disabled_setpoint_takes_no_puts(
    host: Host, client: Client, sim: StageSimulator, field: str
) -> None:
    await client.put(f"S:SPEED.{field}", 1)
    with pytest.raises(PutFailed):
        await client.put("S:SPEED", 2.0)
    assert field in await message_of(client)
    await client.put(f"S:SPEED.{field}", 0)
    await client.put("S:SPEED", 2.0)
    assert sim.speed == 2.0


# Limits


async def test_drive_limits_can_be_narrowed_but_not_widened(
    host: Host, client: Client, sim: StageSimulator
) -> None:
    await client.put("S:HASTY.DRVH", 50.0)
    assert (await client.get("S:HASTY", "control")).metadata.upper_ctrl_limit == 50.0
    with pytest.raises(PutFailed):
        await client.put("S:HASTY", 51.0)
    with pytest.raises(PutFailed):
        await client.put("S:HASTY.DRVH", 101.0)
    assert "0 to 100" in await message_of(client)
    await client.put("S:HASTY.DRVH", 100.0)
    assert not [command for command in sim.log if command.startswith("TGT ")]


async def test_a_clamping_setpoint_takes_its_limit(host: Host, client: Client, sim: StageSimulator) -> None:
    await client.put("S:SPEED", 1000.0)
    assert (sim.speed, (await client.get("S:SPEED")).value) == (10.0, 10.0)
    await client.put("S:BLIND", 1000.0)
    assert (sim.blind, (await client.get("S:BLIND")).value) == (10.0, 10.0)


async def test_the_limit_itself_can_be_put_in_other_units(
    host: Host, client: Client, sim: StageSimulator
) -> None:
    highest = (await client.get("S:TARGET_INCH.DRVH")).value
    await client.put("S:TARGET_INCH", highest)
    assert sim.target == 100.0


async def test_an_alarm_limit_that_a_client_sets_acts_at_once(host: Host, client: Client) -> None:
    await client.put("S:POS.HIHI", 9.0)
    assert (await client.get("S:POS")).severity == AlarmSeverity.NO_ALARM
    await client.put("S:POS.HHSV", "MAJOR")
    alarm = await client.get("S:POS")
    assert (alarm.status, alarm.severity) == (AlarmStatus.HIHI, AlarmSeverity.MAJOR_ALARM)
    await client.put("S:POS.HIHI", 11.0)
    assert (await client.get("S:POS")).severity == AlarmSeverity.NO_ALARM


async def test_deadbands_of_the_definition(
    host: Host, client: Client, libca: Libca, sim: StageSimulator
) -> None:
    values, archive = await libca.monitor("S:POS", DBE_VALUE), await libca.monitor("S:POS", DBE_LOG)
    await values.next()
    await archive.next()
    for position in (10.4, 11.0, 12.5):
        sim.position = position
        await client.put("S:POS.PROC", 1)
    await values.next(lambda reading: bool(reading.value == 12.5))
    await archive.next(lambda reading: bool(reading.value == 12.5))
    assert [reading.value for reading in values.received] == [10.0, 11.0, 12.5]
    assert [reading.value for reading in archive.received] == [10.0, 12.5]


# Moves


async def test_a_put_is_done_when_the_stage_has_arrived(
    host: Host, client: Client, sim: StageSimulator
) -> None:
    move = asyncio.create_task(client.put("S:TARGET", 50.0))
    async with client.monitor("S:MOVING") as moving:
        await moving.next(lambda reading: bool(reading.value == 1))
        assert (await client.get("S:TARGET")).value == 50.0
        assert (await client.get("S:TARGET.PACT")).value == 1
        assert not move.done()
        sim.moving = False
        await move
    assert (await client.get("S:TARGET.PACT")).value == 0


@pytest.mark.parametrize(("name", "value"), [("S:STOP", 1), ("S:TARGET", 60.0)])
async def test_a_stop_or_a_newer_put_gets_through_and_ends_the_older_one(
    host: Host, client: Client, sim: StageSimulator, name: str, value: float
) -> None:
    first = asyncio.create_task(client.put("S:TARGET", 50.0))
    async with client.monitor("S:MOVING") as moving:
        await moving.next(lambda reading: bool(reading.value == 1))
        second = asyncio.create_task(client.put(name, value))
        with pytest.raises(PutFailed):
            await first
        assert "newer put or a stop" in await message_of(client)
        sim.moving = False
        await second
    target = await client.get("S:TARGET")
    assert target.severity == AlarmSeverity.NO_ALARM
    assert sim.target == (50.0 if name == "S:STOP" else 60.0)


async def test_a_stop_right_behind_a_put_does_not_make_it_look_done(
    host: Host, client: Client, sim: StageSimulator
) -> None:
    sim.faults.add("late=0.05 only=TGT?")
    move = asyncio.create_task(client.put("S:TARGET", 50.0))
    await until(lambda: sim.moving)
    await client.put("S:STOP", 1)
    with pytest.raises(PutFailed):
        await move
    assert "stop came before it was settled" in await message_of(client)


async def test_a_move_that_takes_too_long_is_not_shown_as_done(
    host: Host, client: Client, sim: StageSimulator
) -> None:
    with pytest.raises(PutFailed):
        await client.put("S:HASTY", 50.0)
    assert "not settled within 0.05 s" in await message_of(client)


async def test_a_move_says_so_too_if_nobody_knows_where_it_is(sim: StageSimulator, client: Client) -> None:
    sim.faults.add("garbage only=MOV?")
    async with sim.serve("tcp://127.0.0.1:0") as url:
        config = InstrumentConfig(instrument=INSTRUMENT, url=url, prefix="S:", name="stage", simulated=True)
        async with Host([config]):
            with pytest.raises(PutFailed):
                await client.put("S:HASTY", 50.0)
            assert "not settled within 0.05 s: moving is unknown" in await message_of(client)


async def test_a_move_that_will_not_arrive_fails_as_soon_as_that_is_known(
    host: Host, client: Client, sim: StageSimulator
) -> None:
    move = asyncio.create_task(client.put("S:GUARDED", 50.0))
    async with client.monitor("S:MOVING") as moving:
        await moving.next(lambda reading: bool(reading.value == 1))
        sim.mode = 2
        with pytest.raises(PutFailed):
            await move
    assert "S:GUARDED: will not settle: mode is <Mode.SCAN: 2>" in await message_of(client)


async def test_a_refused_put_leaves_the_move_alone(host: Host, client: Client, sim: StageSimulator) -> None:
    move = asyncio.create_task(client.put("S:TARGET", 50.0))
    async with client.monitor("S:MOVING") as moving:
        await moving.next(lambda reading: bool(reading.value == 1))
        with pytest.raises(PutFailed):
            await client.put("S:TARGET", 500.0)
        sim.moving = False
        await move


async def test_a_second_refusal_in_the_same_words_is_seen(host: Host, client: Client) -> None:
    async with client.monitor("S:MESSAGE") as messages:
        await messages.next()
        for _ in range(2):
            with pytest.raises(PutFailed):
                await client.put("S:TARGET", 500.0)
            await messages.next(lambda reading: "beyond the limits" in str(reading.value))


async def test_a_stop_does_not_wait_for_what_was_put_before_it(
    host: Host, client: Client, sim: StageSimulator
) -> None:
    sim.faults.add("late=0.05")
    speeds = [asyncio.create_task(client.put("S:SPEED", float(speed))) for speed in (1, 2, 3, 4, 5)]
    target = asyncio.create_task(client.put("S:TARGET", 50.0))
    async with client.monitor("S:SPEED") as events:
        await events.next(lambda reading: bool(reading.value == 1.0))
        await client.put("S:STOP", 1)
    assert not speeds[-1].done()
    with pytest.raises(PutFailed):
        await target
    await asyncio.gather(*speeds)
    assert not [command for command in sim.log if command.startswith("TGT ")]


async def test_a_reconnect_while_moving_is_no_arrival(
    host: Host, client: Client, sim: StageSimulator
) -> None:
    move = asyncio.create_task(client.put("S:TARGET", 50.0))
    async with client.monitor("S:MOVING") as moving:
        await moving.next(lambda reading: bool(reading.value == 1))
        sim.target, sim.moving = 0.0, False  # a power cycle
        sim.faults.disconnect()
        with pytest.raises(PutFailed):
            await move
    assert "lost before it was settled" in await message_of(client)


async def test_a_mute_instrument_ends_the_wait(host: Host, client: Client, sim: StageSimulator) -> None:
    move = asyncio.create_task(client.put("S:TARGET", 50.0))
    async with client.monitor("S:MOVING") as moving:
        await moving.next(lambda reading: bool(reading.value == 1))
        sim.faults.add("mute")
        with pytest.raises(PutFailed):
            await move


async def test_a_lost_answer_to_a_newer_put_ends_the_older_one_too(
    host: Host, client: Client, sim: StageSimulator
) -> None:
    move = asyncio.create_task(client.put("S:TARGET", 50.0))
    async with client.monitor("S:MOVING") as moving, client.monitor("S:TARGET_RBV") as readback:
        await moving.next(lambda reading: bool(reading.value == 1))
        await readback.next(lambda reading: bool(reading.value == 50.0))
        sim.lose_next = "TGT?"
        with pytest.raises(PutFailed):
            await client.put("S:TARGET", 90.0)
        with pytest.raises(PutFailed):
            await move
        # what the instrument has now isn't known, until it is read again
        await readback.next(lambda reading: bool(reading.severity == AlarmSeverity.INVALID_ALARM))
        await readback.next(lambda reading: bool(reading.value == 90.0))


# Record types


async def test_arrays_are_read_written_and_converted(host: Host, client: Client, sim: StageSimulator) -> None:
    reading = await client.get("S:PROFILE_RBV")
    assert list(reading.value) == [1.0, 2.0, 3.5]
    assert (await client.get("S:PROFILE_RBV.NORD")).value == 3
    assert (await client.get("S:PROFILE_RBV.NELM")).value == 8
    assert list((await client.get("S:PROFILE_UM_RBV")).value) == [1000.0, 2000.0, 3500.0]
    await client.put("S:PROFILE", [4.0, 5.5])
    assert sim.profile == "4.0,5.5"
    assert list((await client.get("S:PROFILE_RBV")).value) == [4.0, 5.5]
    with pytest.raises(PutFailed):
        await client.put("S:PROFILE", [4.0, 101.0])
    assert "101" in await message_of(client)


async def test_arrays_of_whole_numbers(host: Host, client: Client, sim: StageSimulator) -> None:
    await client.put("S:TABLE", [3, 4])
    assert sim.points == "3,4"
    assert list((await client.get("S:TABLE_RBV")).value) == [3, 4]


async def test_a_large_number_put_as_text_is_exact(host: Host, client: Client, sim: StageSimulator) -> None:
    await client.put("S:PRESET", "9007199254740993")
    assert sim.preset == 9007199254740993


async def test_labels_do_not_change_which_states_there_are(
    host: Host, client: Client, sim: StageSimulator, caplog: pytest.LogCaptureFixture
) -> None:
    await client.put("S:MODE.ONST", "")
    for value in ("", 3, "ODD"):
        with pytest.raises(PutFailed):
            await client.put("S:MODE", value)
    await client.put("S:MODE.FFST", "ODD")
    for value in ("ODD", 15, 7):
        with pytest.raises(PutFailed):
            await client.put("S:MODE", value)
    await client.put("S:MODE", 1)
    assert sim.mode == 1
    with pytest.raises(PutFailed):
        await client.put("S:POS.PREC", -1)
    assert "Traceback" not in caplog.text


async def test_a_counter_beyond_32_bits(host: Host, client: Client) -> None:
    assert (await client.get("S:COUNT")).value == COUNT
    assert (await client.get("S:COUNT.RTYP")).value == "int64in"


async def test_a_simulated_instrument_is_marked(host: Host, client: Client) -> None:
    sim = await client.get("S:SIM")
    assert (sim.value, sim.severity) == (1, AlarmSeverity.MINOR_ALARM)
    assert (await client.get("S:POS.SIMM")).value == 1
    assert (await client.get("S:POS")).severity == AlarmSeverity.NO_ALARM


def test_rules_that_cannot_be_are_refused_when_the_class_is_made() -> None:
    with pytest.raises(DefinitionError, match="settled= is for setpoints"):
        pv(Stage.position, name="X", settled=Settled(Stage.moving == True, timeout=1))  # noqa: E712
    with pytest.raises(DefinitionError, match="stops= is for commands"):
        pv(Stage.target, name="X", stops=Stage.target)
    with pytest.raises(DefinitionError, match="only a setpoint with limits can be clamped"):
        pv(Stage.position, name="X", clamp=True)
    with pytest.raises(DefinitionError, match="deadbands are for numbers"):
        pv(Stage.moving, name="X", mdel=1)
