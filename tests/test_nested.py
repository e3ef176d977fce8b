"""A labioc device nested in a caproto IOC that somebody else wrote."""

import asyncio
import contextlib

from caproto.asyncio.server import Context
from caproto.server import PVGroup, SubGroup, pvproperty
from tests.ca import Client
from tests.numbered import Numbered, NumberedDevice, NumberedSimulator

from labioc.devices.core.scan import Poller


async def test_a_device_nested_in_a_stock_caproto_ioc_reads_and_is_set(
    ca_environment: dict[str, str], client: Client
) -> None:
    simulator = NumberedSimulator()
    async with simulator.serve("tcp://127.0.0.1:0") as url, Numbered.open(url) as driver:

        class Station(PVGroup):  # type: ignore[misc]  # caproto ships no types
            beam = pvproperty(value=3, name="BEAM")
            heater = SubGroup(NumberedDevice, prefix="HEATER:", driver=driver)

        station = Station("LAB:")
        poller = asyncio.create_task(Poller(station.heater).run())
        server = asyncio.create_task(Context(station.pvdb, ["127.0.0.1"]).run())
        client_here = Client("127.0.0.1")
        async with client_here:
            assert (await client_here.get("LAB:BEAM")).value == 3
            async with client_here.monitor("LAB:HEATER:LEVEL") as events:
                simulator.level = 64.0
                await events.next(lambda reading: bool(reading.value == 64.0 and reading.severity == 0))
            await client_here.put("LAB:HEATER:SP", 44.0)
            assert simulator.setpoint == 44.0
            assert (await client_here.get("LAB:HEATER:LINK:STATE")).value == 2
        for task in (server, poller):
            task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await task
