"""The TC 400: its parameters in transcripts, its simulated pump, and its IOC, alone and with gauges on the bus."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import pytest
import pytest_asyncio
from tests.ca import Client, PutFailed, Reading, until
from tests.test_cli import labioc, line_of, running

from labioc.devices.core.records import AlarmSeverity, AlarmStatus
from labioc.drivers import tc400 as tc
from labioc.drivers.core.errors import LimitError, RefusedError
from labioc.drivers.pfeiffer_vacuum import Fault
from labioc.drivers.tc400 import TC400
from labioc.drivers.testing import Line, transcript
from labioc.iocs.core import Host, InstrumentConfig
from labioc.iocs.pfeiffer_gauge import instrument as gauge_instrument
from labioc.iocs.tc400 import instrument
from labioc.sim.core import Clock
from labioc.sim.pfeiffer_station import PumpingStation


def drive(*lines: Line) -> Any:
    return transcript(TC400, lines, identity="0011034906TC 400", address="1")


# The table of parameters


@pytest.mark.parametrize(
    ("number", "data", "read", "value"),
    [
        (300, "000000", lambda d: d.remote, False),
        (302, "111111", lambda d: d.at_switch_point, True),
        (303, "Err006", lambda d: d.error, "Err006"),
        (304, "000000", lambda d: d.overtemperature_electronics, False),
        (305, "111111", lambda d: d.overtemperature_pump, True),
        (306, "111111", lambda d: d.at_set_speed, True),
        (307, "000000", lambda d: d.accelerating, False),
        (308, "001000", lambda d: d.set_speed, 1000),
        (309, "000633", lambda d: d.speed, 633),
        (310, "000123", lambda d: d.current, 1.23),
        (311, "001234", lambda d: d.pump_hours, 1234),
        (312, "010600", lambda d: d.firmware, "010600"),
        (313, "004800", lambda d: d.voltage, 48.0),
        (314, "005678", lambda d: d.electronics_hours, 5678),
        (315, "001000", lambda d: d.nominal_speed, 1000),
        (316, "000059", lambda d: d.power, 59),
        (319, "000042", lambda d: d.cycles, 42),
        (326, "000031", lambda d: d.temperature_electronics, 31),
        (330, "000029", lambda d: d.temperature_bottom, 29),
        (336, "000600", lambda d: d.acceleration, 600),
        (342, "000033", lambda d: d.temperature_bearing, 33),
        (342, "033", lambda d: d.temperature_bearing, 33),  # three digits, as older drives have it
        (346, "000040", lambda d: d.temperature_motor, 40),
        (349, "TC 400", lambda d: d.model, "TC 400"),
        (354, "010100", lambda d: d.hardware, "010100"),
        (360, "Wrn007", lambda d: d.last_error, "Wrn007"),
        (397, "060000", lambda d: d.set_speed_rpm, 60000),
        (398, "037980", lambda d: d.speed_rpm, 37980),
        (399, "060000", lambda d: d.nominal_speed_rpm, 60000),
        (303, "Wrn045", lambda d: d.fault, Fault.WARNING),
        (303, "no Err", lambda d: d.fault, Fault.NONE),
        (303, "Err006", lambda d: d.error_text, "run-up time exceeded"),
        (303, "Err999", lambda d: d.error_text, "unknown"),
        (303, "000000", lambda d: d.error_text, ""),
    ],
)
async def test_status(number: int, data: str, read: Callable[[TC400], Any], value: object) -> None:
    """6.3."""
    reply = f"00110{number}{len(data):02d}{data}"
    async with drive((f"00100{number}02=?", reply)) as tc400:
        assert await read(tc400).read() == value


@pytest.mark.parametrize(
    ("number", "data", "write", "changed"),
    [
        ("001", "111111", lambda d: d.heating.write(True), ()),
        ("002", "111111", lambda d: d.standby.write(True), ("308",)),
        ("004", "000000", lambda d: d.run_up_control.write(False), ()),
        ("010", "111111", lambda d: d.station.write(True), ("303",)),
        ("012", "111111", lambda d: d.venting.write(True), ()),
        ("023", "000000", lambda d: d.motor.write(False), ()),
        ("025", "001", lambda d: d.backing_mode.write(tc.BackingMode.INTERMITTENT), ()),
        ("026", "001", lambda d: d.speed_mode.write(tc.SpeedMode.SET), ("308",)),
        ("027", "002", lambda d: d.gas_mode.write(tc.GasMode.HELIUM), ()),
        ("030", "002", lambda d: d.vent_mode.write(tc.VentMode.DIRECT), ()),
        ("050", "111111", lambda d: d.sealing_gas.write(True), ()),
        ("700", "000012", lambda d: d.run_up_time.write(12), ()),
        ("701", "000090", lambda d: d.switch_point.write(90), ()),
        ("707", "006650", lambda d: d.speed_setting.write(66.5), ("308",)),
        ("708", "050", lambda d: d.power_limit.write(50), ()),
        ("717", "006670", lambda d: d.standby_speed.write(66.7), ("308",)),
        ("720", "060", lambda d: d.vent_speed.write(60), ()),
        ("721", "000120", lambda d: d.vent_time.write(120), ()),
    ],
)
async def test_settings(
    number: str, data: str, write: Callable[[TC400], Awaitable[None]], changed: tuple[str, ...]
) -> None:
    """6.2, 6.4: a control command is answered by itself."""
    told = f"00110{number}{len(data):02d}{data}"
    lines: list[Line] = [(told, told), (f"00100{number}02=?", told)]
    lines += [(f"00100{other}02=?", f"00110{other}06000000") for other in changed]
    async with drive(*lines) as tc400:
        await write(tc400)


async def test_commands() -> None:
    acknowledge, stop = "0011000906111111", "0011001006000000"
    error, station = ("0010030302=?", "0011030306000000"), ("0010001002=?", "0011001006000000")
    async with drive((acknowledge, acknowledge), error, (stop, stop), station) as tc400:
        await tc400.acknowledge.execute()
        await tc400.stop.execute()
        assert (tc400.error.value, tc400.station.value) == ("000000", False)


async def test_limits_of_the_manual() -> None:
    async with drive() as tc400:
        for setpoint, beyond in (
            (tc400.run_up_time, 121),
            (tc400.switch_point, 49),
            (tc400.speed_setting, 19.9),
            (tc400.power_limit, 101),
            (tc400.vent_speed, 99),
            (tc400.vent_time, 5),
        ):
            with pytest.raises(LimitError):
                await setpoint.write(beyond)


async def test_a_refused_command_is_an_error() -> None:
    async with drive(("0011001006111111", "0011001006_LOGIC")) as tc400:
        with pytest.raises(RefusedError, match="station: parameter 010: _LOGIC, no access"):
            await tc400.station.write(True)


# The simulated pump


@pytest.fixture
def station() -> PumpingStation:
    return PumpingStation(clock=Clock(manual=True))


def after(station: PumpingStation, seconds: float, number: int, address: int = 1) -> str:
    """Let time pass and ask."""
    station.clock.advance(seconds)
    return station.ask(f"{address:03d}00{number:03d}02=?")[10:]


ON, OFF = "0011001006111111", "0011001006000000"


def test_a_pump_down(station: PumpingStation) -> None:
    """The backing pump takes the air out while the rotor runs up; then the turbopump takes over."""
    station.ask(ON)
    pressures, speeds = [station.chamber.pressure], [0]
    for _ in range(30):
        speeds.append(int(after(station, 10, 309)))
        pressures.append(station.chamber.pressure)
    assert speeds == sorted(speeds)
    assert pressures == sorted(pressures, reverse=True)
    assert 1e-8 < pressures[-1] < 1e-6
    assert after(station, 0, 302) == after(station, 0, 306) == "111111"
    assert after(station, 0, 307) == "000000"
    running = station.pump.power
    assert running < 60
    assert 1e-8 < station.gauge.pressure < 1e-6
    assert station.foreline.pressure == pytest.approx(0.4, abs=0.1)


def test_power_goes_into_the_rotor_and_warms_the_motor(station: PumpingStation) -> None:
    station.ask(ON)
    assert int(after(station, 60, 316)) > 290
    assert int(after(station, 0, 310)) == pytest.approx(100 * station.pump.power / 48, abs=1)
    assert int(after(station, 0, 346)) > 28
    assert int(after(station, 0, 336)) > 100


def test_a_leak_that_the_backing_pump_cannot_hold_ends_the_run_up(station: PumpingStation) -> None:
    station.chamber.leak = 200.0
    station.ask(ON)
    assert after(station, 470, 303) == "000000"
    assert after(station, 20, 303) == "Err006"
    assert station.ask("0010036002=?")[10:] == "Err006"
    assert after(station, 600, 316) == "000008"
    station.chamber.leak = 0.0
    station.ask("0011000906111111")
    assert after(station, 400, 303) == "000000"
    assert after(station, 0, 302) == "111111"


def test_an_air_inrush_is_too_much_for_the_drive(station: PumpingStation) -> None:
    station.pump_down()
    station.air_inrush()
    assert after(station, 1, 303) == "Err041"
    assert int(after(station, 5, 309)) < 200
    assert float(station.chamber.pressure) > 500


def test_gas_load_and_what_the_pump_bears(station: PumpingStation) -> None:
    station.pump_down()
    station.chamber.gas_load = 2.0
    after(station, 60, 309)
    assert 1e-3 < station.chamber.pressure < 0.1
    assert station.gauge.pressure == pytest.approx(station.chamber.pressure)
    assert int(after(station, 0, 309)) == 1000
    station.chamber.gas_load = 30.0
    assert int(after(station, 120, 309)) < 900


@pytest.mark.parametrize(("mode", "at_once"), [("002", True), ("000", False), ("001", None)])
def test_venting(station: PumpingStation, mode: str, at_once: bool | None) -> None:
    """030, 012, 720, 721: direct, delayed until the rotor is slow, or not at all; never while the station is on."""
    station.pump_down()
    station.ask(f"0011003003{mode}")
    station.ask("0011072003098")
    station.ask("0011001206111111")
    after(station, 20, 309)
    assert station.chamber.pressure < 1e-6
    station.ask(OFF)
    after(station, 20, 309)
    assert (station.chamber.pressure > 300) is bool(at_once)
    after(station, 180, 309)
    assert (station.chamber.pressure > 900) is (at_once is not None)


def test_standby_and_speed_mode(station: PumpingStation) -> None:
    station.pump_down()
    station.ask("0011000206111111")
    assert after(station, 0, 308) == "000667"
    station.pump.turbo.speed = 0.7
    assert after(station, 120, 309) == "000667"
    station.ask("0011000206000000")
    station.ask("0011002603001")
    station.ask("0011070706009000")
    assert after(station, 100, 309) == "000900"


def test_remote_priority_takes_control_from_the_bus(station: PumpingStation) -> None:
    station.pump.remote = True
    assert station.ask(ON) == "0011001006_LOGIC"
    assert station.ask("0010030002=?")[10:] == "111111"
    assert station.ask("0011070006000012") == "0011070006000012"


def test_without_power_the_error_is_lost_and_the_parameters_are_kept(station: PumpingStation) -> None:
    """6.1."""
    station.ask("0011070006000012")
    station.pump.failure = "Err041"
    station.ask(ON)
    assert after(station, 1, 303) == "Err041"
    station.pump.failure = ""
    station.power_cycle()
    assert station.ask("0010030302=?")[10:] == "000000"
    assert station.ask("0010070002=?")[10:] == "000012"
    assert int(after(station, 60, 309)) > 100  # it was on, and goes on


# The IOC


@pytest.fixture
def sim() -> PumpingStation:
    return PumpingStation()


def configs(url: str, *more: tuple[str, str, str]) -> list[InstrumentConfig]:
    """The pump at P:, and gauges by prefix, address and variant."""
    pump = InstrumentConfig(instrument=instrument, url=url, prefix="P:", name="pump", address="1")
    return [
        pump,
        *(
            InstrumentConfig(
                instrument=gauge_instrument,
                url=url,
                prefix=prefix,
                name=prefix[:-1].lower(),
                address=address,
                variant=variant,
                retry_every=0.1,
            )
            for prefix, address, variant in more
        ),
    ]


@pytest_asyncio.fixture(params=["tcp://127.0.0.1:0", "pty:"])
async def host(
    request: pytest.FixtureRequest, sim: PumpingStation, ca_environment: dict[str, str]
) -> AsyncIterator[Host]:
    async with sim.serve(request.param) as url:
        async with Host(configs(url, ("G1:", "101", "mpt200"), ("G2:", "102", ""))) as running:
            yield running


def is_good(reading: Reading) -> bool:
    return bool(reading.severity == AlarmSeverity.NO_ALARM)


def has(status: AlarmStatus) -> Callable[[Reading], bool]:
    return lambda reading: bool(reading.status == status)


async def text_of(client: Client, name: str) -> str:
    return bytes((await client.get(f"{name}.VAL$")).value).partition(b"\0")[0].decode()


async def test_a_chamber_is_pumped_and_the_put_is_done_when_the_pump_has_run_up(
    host: Host, client: Client, sim: PumpingStation
) -> None:
    for name in host.pvs:
        if not name.endswith(("LINK:STATE", "LINK:UTIL", "ADJUST", "ADJUST_POINT")):
            assert (await client.get(name)).severity != AlarmSeverity.INVALID_ALARM, name
    assert len(host.lines) == 1
    sim.clock.speed = 60
    async with client.monitor("G1:PRESSURE") as chamber, client.monitor("G2:PRESSURE") as foreline:
        assert (await chamber.next()).value == pytest.approx(1013.0, abs=1)
        await client.put("P:STATION", "On")
        assert sim.pump.at_switch_point
        assert (await client.get("P:SPEED")).value >= 0
        await chamber.next(lambda reading: is_good(reading) and 1e-9 < reading.value < 1e-5)
        await foreline.next(lambda reading: is_good(reading) and reading.value < 1.0)


async def test_stop_gets_through_and_ends_the_wait(host: Host, client: Client, sim: PumpingStation) -> None:
    start = asyncio.create_task(client.put("P:STATION", "On"))
    await until(lambda: sim.pump.station)
    await client.put("P:STOP", 1)
    with pytest.raises(PutFailed):
        await start
    assert "stop came before it was settled" in await text_of(client, "P:MESSAGE")
    assert not sim.pump.station
    assert (await client.get("P:STATION_RBV")).value == 0
    await client.put("P:STATION", "Off")


async def test_an_error_ends_the_wait_and_is_an_alarm(
    host: Host, client: Client, sim: PumpingStation
) -> None:
    start = asyncio.create_task(client.put("P:STATION", "On"))
    await until(lambda: sim.pump.station)
    sim.pump.failure = "Err041"
    with pytest.raises(PutFailed):
        await start
    assert "P:STATION: will not settle: fault is <Fault.ERROR: 2>" in await text_of(client, "P:MESSAGE")
    async with client.monitor("P:FAULT") as faults:
        fault = await faults.next(lambda reading: bool(reading.value == Fault.ERROR))
        assert (fault.status, fault.severity) == (AlarmStatus.STATE, AlarmSeverity.MAJOR_ALARM)
        assert await text_of(client, "P:ERROR_TEXT") == "drive fault"
        sim.pump.failure = ""
        await client.put("P:ACK", 1)
        await faults.next(is_good)


async def test_a_drive_that_cannot_tell_whether_it_has_run_up_has_done_a_put_when_it_has_it(
    sim: PumpingStation, client: Client, ca_environment: dict[str, str]
) -> None:
    table = {line.number: line for line in sim.pump.table if line.number not in (302, 306)}
    sim.pump.parameters = lambda: table  # type: ignore[method-assign]
    async with sim.serve("tcp://127.0.0.1:0") as url, Host(configs(url)):
        for state in (1, 0):
            await client.put("P:STATION", state)
            assert sim.pump.station == state
            assert (await client.get("P:STATION_RBV")).value == state
        assert (await client.get("P:AT_SPEED")).status == AlarmStatus.HWLIMIT


async def test_a_dead_gauge_and_a_noisy_one_leave_the_pump_alone(
    sim: PumpingStation, client: Client, ca_environment: dict[str, str]
) -> None:
    sim.foreline.is_on = False
    async with contextlib.AsyncExitStack() as stack:
        url = await stack.enter_async_context(sim.serve("tcp://127.0.0.1:0"))
        gauges = ("G1:", "101", "mpt200"), ("G2:", "102", "")
        await stack.enter_async_context(Host(configs(url, *gauges)))
        speed, chamber, foreline = [
            await stack.enter_async_context(client.monitor(name))
            for name in ("P:SPEED", "G1:PRESSURE", "G2:PRESSURE")
        ]
        await foreline.next(has(AlarmStatus.TIMEOUT))
        sim.faults.add("wrong-checksum only=1010074002")
        await chamber.next(has(AlarmStatus.CALC))
        sim.faults.clear()
        sim.foreline.is_on = True
        sim.pump.turbo.speed = 0.5
        await foreline.next(is_good)
        await chamber.next(is_good)
        await speed.next(lambda reading: reading.value > 400)
        assert all(map(is_good, speed.received))


async def test_the_command_line_pumps_a_simulated_chamber(
    ca_environment: dict[str, str], client: Client
) -> None:
    words = "run tc400 --simulate --prefix L:PUMP:"
    words += " + pfeiffer_gauge --address 101 --prefix L:G1: --name g1 --variant mpt200"
    words += " + pfeiffer_gauge --address 102 --prefix L:G2: --name g2"
    words += " + pfeiffer_gauge --address 9 --prefix L:G3: --name g3"
    async with running(*words.split()) as process:
        await line_of(process.stderr, "labioc: ONLY THIS MACHINE")
        assert (await client.get("L:G1:PRESSURE")).value == pytest.approx(1013.0, abs=1)
        assert (await client.get("L:G3:PRESSURE")).status == AlarmStatus.TIMEOUT
        status, _, err = await labioc("put", "--timeout", "0.5", "L:PUMP:STATION", "On")
        assert (status, "the put is not done within 0.5 s" in err) == (2, True)
        start = asyncio.create_task(client.put("L:PUMP:STATION", "On"))
        async with client.monitor("L:G1:PRESSURE") as chamber, client.monitor("L:G2:PRESSURE") as foreline:
            await chamber.next(lambda reading: reading.value < 900.0)
            await foreline.next(lambda reading: reading.value < 900.0)
        assert (await client.get("L:PUMP:SPEED")).value > 0
        await client.put("L:PUMP:STOP", 1)
        with pytest.raises(PutFailed):
            await start
        assert (await client.get("L:PUMP:STATION_RBV")).value == 0
        process.terminate()
        assert await process.wait() == 0
