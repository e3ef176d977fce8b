"""The IOC of the TMCM-1110: a stage in millimetres that moves, meets its switches and is stopped."""

import asyncio
from collections.abc import AsyncIterator

import pytest
import pytest_asyncio
from tests.ca import Client, PutFailed

from labioc.devices.core import Scale
from labioc.devices.core.records import AlarmSeverity, AlarmStatus
from labioc.drivers.tmcm1110 import Motion
from labioc.iocs.core import Host, InstrumentConfig
from labioc.iocs.tmcm1110 import instrument
from labioc.sim import tmcm1110 as sim

MM = 51200
FAST = 50.0


@pytest.fixture
def module() -> sim.TMCM1110:
    return sim.TMCM1110()


@pytest_asyncio.fixture
async def host(module: sim.TMCM1110, ca_environment: dict[str, str]) -> AsyncIterator[Host]:
    async with module.serve("tcp://127.0.0.1:0") as url:
        config = InstrumentConfig(
            instrument=instrument,
            url=url,
            address="1",
            prefix="M:",
            name="m",
            scales={"AXIS0:": Scale(MM, "mm")},
            limits={"AXIS0:TARGET": (-30, 30)},
        )
        async with Host([config]) as running:
            yield running


async def message_of(client: Client) -> str:
    return bytes((await client.get("M:MESSAGE.VAL$")).value).partition(b"\0")[0].decode()


async def begun(client: Client, name: str, value: float | str) -> "asyncio.Task[None]":
    """Put, and wait until the motor turns."""
    async with client.monitor("M:AXIS0:POS") as events:
        first = await events.next()
        put = asyncio.create_task(client.put(name, value))
        await events.next(lambda reading: bool(reading.value != first.value))
    return put


async def test_everything_is_known_when_the_server_answers(host: Host, client: Client) -> None:
    unknown = ("M:LINK:STATE", "M:LINK:UTIL", "M:AXIS0:MOVE")  # the last is only written
    for name in host.pvs:
        if name not in unknown:
            assert (await client.get(name)).severity != AlarmSeverity.INVALID_ALARM, name


async def test_a_move_is_done_when_the_stage_is_there(
    host: Host, client: Client, module: sim.TMCM1110
) -> None:
    module.clock.speed = FAST
    await client.put("M:AXIS0:MAX_SPEED", 1.0)
    assert (await client.get("M:AXIS0:MAX_SPEED_RBV")).value == pytest.approx(1.0, abs=1e-3)
    await client.put("M:AXIS0:TARGET", 12.5)
    assert module.table.place == 12.5 * MM
    assert (await client.get("M:AXIS0:TARGET_RBV")).value == 12.5
    assert (await client.get("M:AXIS0:POS")).value == 12.5
    await client.put("M:AXIS0:MOVE", -2.5)
    assert module.table.place == 10 * MM
    position = await client.get("M:AXIS0:POS", "control")
    assert bytes(position.metadata.units).startswith(b"mm")
    assert position.metadata.precision == 5


async def test_a_limit_switch_fails_the_put(host: Host, client: Client, module: sim.TMCM1110) -> None:
    module.clock.speed = FAST
    with pytest.raises(PutFailed):
        await client.put("M:AXIS0:TARGET", 25.0)
    assert "M:AXIS0:TARGET: will not settle" in await message_of(client)
    assert "RIGHT_LIMIT" in await message_of(client)
    async with client.monitor("M:AXIS0:RIGHT_LIMIT") as events:
        pressed = await events.next(lambda reading: bool(reading.value == 1))
        assert (pressed.status, pressed.severity) == (AlarmStatus.STATE, AlarmSeverity.MINOR_ALARM)
    assert (await client.get("M:AXIS0:TARGET")).severity == AlarmSeverity.NO_ALARM
    await client.put("M:AXIS0:TARGET", 0.0)
    assert module.table.place == 0


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("M:AXIS0:STOP", 1),
        ("M:AXIS0:TARGET", 0.0),
        ("M:AXIS0:JOG", -0.3),
        ("M:AXIS0:MOVE", -1.0),
        ("M:AXIS0:SET_POS", 3.0),
    ],
)
async def test_what_else_the_stage_is_told_ends_a_move(
    host: Host, client: Client, module: sim.TMCM1110, name: str, value: float
) -> None:
    first = await begun(client, "M:AXIS0:TARGET", 18.0)
    module.clock.speed = FAST
    await client.put(name, value)
    with pytest.raises(PutFailed):
        await first
    assert "came before it was settled" in await message_of(client)


async def test_a_jog_goes_on_until_it_is_stopped(host: Host, client: Client, module: sim.TMCM1110) -> None:
    jog = await begun(client, "M:AXIS0:JOG", -0.5)
    await jog
    async with client.monitor("M:AXIS0:SPEED") as events, client.monitor("M:AXIS0:MOVING") as moving:
        await moving.next(lambda reading: bool(reading.value == 1))
        await events.next(lambda reading: abs(reading.value + 0.5) < 1e-3)
        await client.put("M:AXIS0:STOP", 1)
        await events.next(lambda reading: bool(reading.value == 0))
        await moving.next(lambda reading: bool(reading.value == 0))
    async with client.monitor("M:AXIS0:MOTION") as motion:
        await motion.next(lambda reading: bool(reading.value == 0))


async def test_somebody_else_who_stops_the_motor_fails_the_put(
    host: Host, client: Client, module: sim.TMCM1110
) -> None:
    put = await begun(client, "M:AXIS0:TARGET", 18.0)
    module.stop(0)
    with pytest.raises(PutFailed):
        await put
    assert "will not settle" in await message_of(client)


async def test_a_stall_fails_the_put(host: Host, client: Client, module: sim.TMCM1110) -> None:
    await client.put("M:AXIS0:STALL_SPEED", 0.01)
    put = await begun(client, "M:AXIS0:TARGET", 18.0)
    module.table.torque = 1.1
    with pytest.raises(PutFailed):
        await put
    assert "STOPPED" in await message_of(client)


async def test_a_reference_search_is_done_when_the_switch_is_found(
    host: Host, client: Client, module: sim.TMCM1110
) -> None:
    module.clock.speed = FAST
    await client.put("M:AXIS0:SEARCH_MODE", "LEFT")
    await client.put("M:AXIS0:SEARCH", 1)
    assert module.table.place == pytest.approx(module.table.left, abs=5)
    assert (await client.get("M:AXIS0:POS")).value == 0
    assert (await client.get("M:AXIS0:TARGET_RBV")).value == 0


async def test_a_reference_search_is_stopped(host: Host, client: Client, module: sim.TMCM1110) -> None:
    search = await begun(client, "M:AXIS0:SEARCH", 1)
    await client.put("M:AXIS0:STOP", "Execute")
    with pytest.raises(PutFailed):
        await search
    assert module.search_step == 0


async def test_what_is_beyond_the_limits_is_refused_in_the_unit(host: Host, client: Client) -> None:
    with pytest.raises(PutFailed):
        await client.put("M:AXIS0:TARGET", 31.0)
    assert await message_of(client) == "M:AXIS0:TARGET: 31 is beyond the limits -30 to 30 mm"
    with pytest.raises(PutFailed):
        await client.put("M:AXIS0:MOVE", -31.0)
    assert "beyond the station's limits" in await message_of(client)
    with pytest.raises(PutFailed):
        await client.put("M:AXIS0:MAX_SPEED", 9.0)
    assert "is not possible at present" in await message_of(client)


async def test_a_hot_driver_is_an_alarm(host: Host, client: Client, module: sim.TMCM1110) -> None:
    async with client.monitor("M:AXIS0:OVERHEATED") as off, client.monitor("M:AXIS0:HOT") as warning:
        module.room = module.temperature = 180.0
        await off.next(lambda reading: bool(reading.severity == AlarmSeverity.MAJOR_ALARM))
        await warning.next(lambda reading: bool(reading.severity == AlarmSeverity.MINOR_ALARM))
        module.room = module.temperature = 25.0
        await off.next(lambda reading: bool(reading.severity == AlarmSeverity.NO_ALARM))


async def test_a_power_cycle_while_moving_is_no_arrival(
    host: Host, client: Client, module: sim.TMCM1110
) -> None:
    put = await begun(client, "M:AXIS0:TARGET", 18.0)
    module.restart()
    with pytest.raises(PutFailed):
        await put
    assert "lost before it was settled" in await message_of(client)


async def test_all_that_motion_is_computed_from_is_read_in_its_period(
    host: Host, client: Client, module: sim.TMCM1110
) -> None:
    async with client.monitor("M:AXIS0:MOTION.VAL") as events:
        module.rotate(0, 100)  # the ramp mode tells, which has no PV of its own
        await events.next(lambda reading: bool(reading.value == Motion.JOGGING))


async def test_what_a_firmware_lacks_is_missed_at_its_own_pvs_alone(
    host: Host, client: Client, module: sim.TMCM1110, monkeypatch: pytest.MonkeyPatch
) -> None:
    lacking = {number: line for number, line in module.axis_parameters.items() if number != 138}
    monkeypatch.setattr(sim.TMCM1110, "axis_parameters", lacking)
    async with client.monitor("M:AXIS0:MOTION") as events:
        await events.next(lambda reading: bool(reading.status == AlarmStatus.HWLIMIT))
    module.clock.speed = FAST
    await client.put("M:AXIS0:TARGET", 2.0)
    position = await client.get("M:AXIS0:POS")
    assert (position.value, position.severity) == (2.0, AlarmSeverity.NO_ALARM)
