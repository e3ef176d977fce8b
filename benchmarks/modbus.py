"""Modbus: what it costs an IOC to poll a map of registers and to serve it to a client that monitors all of them.

Run with ``python -m benchmarks.modbus``. The instrument answers at once, with values that change at each reading. Roles
run in processes of their own: the instrument, the IOC, a libca client, and this one. The sides take turns, several
rounds, medians.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import socket
import statistics
import struct
import sys
import time
from dataclasses import replace

from benchmarks.polling import Monitor, ask, no_simulator, role
from labioc.devices.core import Device, DeviceGroup, SubGroups, pv
from labioc.drivers.core import Channel, Channels, Driver, Float, Readback
from labioc.drivers.modbus import INT16, Modbus
from labioc.iocs.core import Host, Instrument, InstrumentConfig

MODULE = "benchmarks.modbus"
CHANNELS = tuple(range(100))
PERIOD = 0.1  # seconds between two readings of each channel
GOAL = 0.10  # of a core


class Value(Channel):
    """A register with one implied decimal."""

    value = Readback(Float("degC", INT16, counts=10), ask="{addr} holding {ch}")


class Blocks(Driver):
    """Registers in blocks."""

    protocol = Modbus(identify=("{addr} holding 200", "00C8"))
    values = Channels(Value, CHANNELS)


class Singles(Driver):
    """One register in a request."""

    protocol = replace(Blocks.protocol, block=1)
    values = Channels(Value, CHANNELS)


class ValuePVs(DeviceGroup):
    value = pv(Value.value, name="V", precision=1, scan=PERIOD)


class BlocksDevice(Device):
    group = SubGroups(ValuePVs, of=Blocks.values, prefix="{ch}:")


class SinglesDevice(Device):
    group = SubGroups(ValuePVs, of=Singles.values, prefix="{ch}:")


SIDES: dict[str, tuple[type[Driver], type[Device]]] = {
    "blocks": (Blocks, BlocksDevice),
    "one register in a request": (Singles, SinglesDevice),
}


class ModbusInstrument(asyncio.Protocol):
    """Answers function 3 over Modbus TCP: register 200 holds 200, all others a number that rises."""

    count = 0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self.transport = transport
        self.buffer = b""

    def data_received(self, data: bytes) -> None:
        self.buffer += data
        while len(self.buffer) >= 12:
            transaction, _, _, unit, function, start, count = struct.unpack(">HHHBBHH", self.buffer[:12])
            self.buffer = self.buffer[12:]
            self.count += 1
            words = [200 if start + n == 200 else self.count % 30000 for n in range(count)]
            head = struct.pack(">HHHBBB", transaction, 0, 2 * count + 3, unit, function, 2 * count)
            self.transport.write(head + struct.pack(f">{count}H", *words))


async def run_instrument() -> None:
    server = await asyncio.get_running_loop().create_server(ModbusInstrument, "127.0.0.1", 0)
    print(server.sockets[0].getsockname()[1], flush=True)
    await server.serve_forever()


async def run_ioc(url: str, side: str) -> None:
    driver, device = SIDES[side]
    instrument = Instrument("bench", driver, device, no_simulator, url)
    config = InstrumentConfig(instrument=instrument, url=url, prefix="BENCH:", name="bench", address="1")
    async with Host([config]) as host:
        print("served", flush=True)
        loop = asyncio.get_running_loop()
        while await loop.run_in_executor(None, sys.stdin.readline):
            print(
                json.dumps([host.units[0].driver.port.statistics.exchanges, time.process_time()]), flush=True
            )


def run_monitor() -> None:
    monitor = Monitor()
    for channel in CHANNELS:
        monitor.subscribe(f"BENCH:{channel}:V")
    print("subscribed", flush=True)
    while sys.stdin.readline():
        print(json.dumps([monitor.count, time.process_time()]), flush=True)


def measure(url: str, side: str, seconds: float) -> tuple[float, float, float]:
    """Return the IOC's share of a core, the events per second at the client, and the exchanges per second."""
    with (
        role("--role", "ioc", "--url", url, "--side", side, module=MODULE) as (ioc, _),
        role("--role", "monitor", module=MODULE) as (client, _),
    ):
        time.sleep(1.0)
        (exchanges, cpu), (events, _), began = ask(ioc), ask(client), time.perf_counter()
        time.sleep(seconds)
        (exchanges_after, cpu_after), (events_after, _) = ask(ioc), ask(client)
        spent = time.perf_counter() - began
    return (cpu_after - cpu) / spent, (events_after - events) / spent, (exchanges_after - exchanges) / spent


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=4.0)
    parser.add_argument("--role", choices=("client", "instrument", "ioc", "monitor"), default="client")
    parser.add_argument("--url", default="")
    parser.add_argument("--side", choices=tuple(SIDES), default="blocks")
    args = parser.parse_args()
    if args.role == "instrument":
        asyncio.run(run_instrument())
    elif args.role == "ioc":
        asyncio.run(run_ioc(args.url, args.side))
    elif args.role == "monitor":
        run_monitor()
    else:
        show(args.rounds, args.seconds)


def show(rounds: int, seconds: float) -> None:
    found: dict[str, list[tuple[float, float, float]]] = {side: [] for side in SIDES}
    with role("--role", "instrument", module=MODULE) as (_, port):
        for _ in range(rounds):
            for side in SIDES:
                found[side].append(measure(f"tcp://127.0.0.1:{port}", side, seconds))
    print(
        f"\n{rounds} rounds of {seconds:g} s: {len(CHANNELS)} registers, each every {PERIOD:g} s, monitored by a"
        " libca client; medians\n"
    )
    print("| side | CPU, % of a core | events/s | exchanges/s | CPU : goal |\n|---|---|---|---|---|")
    for side, rows in found.items():
        cpu, events, exchanges = (statistics.median(column) for column in zip(*rows, strict=True))
        print(f"| {side} | {100 * cpu:.1f} | {events:.0f} | {exchanges:.0f} | {cpu / GOAL:.2f} |")


if __name__ == "__main__":
    os.environ.update(EPICS_CA_ADDR_LIST="127.0.0.1", EPICS_CA_AUTO_ADDR_LIST="NO")
    if "EPICS_CA_SERVER_PORT" not in os.environ:
        with (
            socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as server,
            socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as repeater,
        ):
            server.bind(("127.0.0.1", 0))
            repeater.bind(("127.0.0.1", 0))
            os.environ["EPICS_CA_SERVER_PORT"] = str(server.getsockname()[1])
            os.environ["EPICS_CA_REPEATER_PORT"] = str(repeater.getsockname()[1])
    main()
