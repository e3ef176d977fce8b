"""Polling: what labioc adds to a bare asyncio loop, how fast a put reaches a busy instrument, and combined reads.

Run with ``make bench``. One simulator process answers all sides; the sides take turns, several rounds, medians.
Roles run in processes of their own: the instrument, the IOC, and this one as client.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import ctypes
import json
import os
import random
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import NamedTuple
from urllib.parse import urlsplit

from labioc.devices.core import Device, DeviceGroup, SubGroups, pv
from labioc.drivers.core import Channel, Channels, Driver, Fields, Float, Integer, Lines, Readback, Setpoint
from labioc.iocs.core import Host, Instrument, InstrumentConfig
from labioc.sim.core import Simulator

CHANNELS = tuple(range(20))
SLOW = 0.020  # seconds that the slow instrument takes to answer
BYTE = 10 / 9600  # seconds that a byte takes at 9600 baud, 8N1
THINKS = 0.050  # seconds that many an instrument takes from a question to its answer


class BenchChannel(Channel):
    """A value that differs at each reading, and a setpoint."""

    value = Readback(Float(), ask="V? {ch}")
    setpoint = Setpoint(Float(spec=".3f"), ask="S? {ch}", tell="S {ch},{value}")


class BenchDriver(Driver):
    """An instrument for benchmarks."""

    protocol = Lines(eol="\n", identify=("*IDN?", "BENCH"))
    channels_ = Channels(BenchChannel, CHANNELS)


def bench_device(period: float) -> type[Device]:
    """Return the PVs of the instrument, polled with a period in seconds."""

    class ChannelPVs(DeviceGroup):
        value = pv(BenchChannel.value, name="V", scan=period)
        setpoint = pv(BenchChannel.setpoint, name="S", scan=None)

    class BenchPVs(Device):
        channels_ = SubGroups(ChannelPVs, of=BenchDriver.channels_, prefix="{ch}:")

    return BenchPVs


# Combined reads


class Temperatures(NamedTuple):
    a: float
    b: float
    c: float
    d: float
    e: float
    f: float
    g: float
    h: float


class Flags16(NamedTuple):
    a: int
    b: int
    c: int
    d: int
    e: int
    f: int
    g: int
    h: int
    i: int
    j: int
    k: int
    l: int  # noqa: E741
    m: int
    n: int
    o: int
    p: int


class Temperature(Channel):
    value = Readback(Float("K"), ask="KRDG? {ch}")


class Flag(Channel):
    value = Readback(Integer(), ask="ST? {ch}")


class Single(Driver):
    """One question for each value."""

    protocol = Lines(eol="\n", identify=("*IDN?", "BENCH"), timeout=3.0)
    temperatures = Channels(Temperature, range(8))
    flags = Channels(Flag, range(16))


class Joined(Driver):
    """Eight questions in a line."""

    protocol = replace(Single.protocol, join=";")
    temperatures = Channels(Temperature, range(8))
    flags = Channels(Flag, range(16))


class Whole(Driver):
    """One question for all values."""

    protocol = Single.protocol
    temperatures = Readback(Fields(Temperatures, ",", **dict.fromkeys("abcdefgh", Float("K"))), ask="KRDG? *")
    flags = Readback(Fields(Flags16, ",", **dict.fromkeys("abcdefghijklmnop", Integer())), ask="ST?")


class TemperaturePVs(DeviceGroup):
    value = pv(Temperature.value, name="V", scan=1e-6)


class FlagPVs(DeviceGroup):
    value = pv(Flag.value, name="V", scan=1e-6)


class SingleTemperatures(Device):
    group = SubGroups(TemperaturePVs, of=Single.temperatures, prefix="{ch}:")


class SingleFlags(Device):
    group = SubGroups(FlagPVs, of=Single.flags, prefix="{ch}:")


class JoinedTemperatures(Device):
    group = SubGroups(TemperaturePVs, of=Joined.temperatures, prefix="{ch}:")


class JoinedFlags(Device):
    group = SubGroups(FlagPVs, of=Joined.flags, prefix="{ch}:")


class WholeTemperatures(Device):
    a = pv(Whole.temperatures, field=Temperatures.a, name="0:V", scan=1e-6)
    b = pv(Whole.temperatures, field=Temperatures.b, name="1:V", scan=1e-6)
    c = pv(Whole.temperatures, field=Temperatures.c, name="2:V", scan=1e-6)
    d = pv(Whole.temperatures, field=Temperatures.d, name="3:V", scan=1e-6)
    e = pv(Whole.temperatures, field=Temperatures.e, name="4:V", scan=1e-6)
    f = pv(Whole.temperatures, field=Temperatures.f, name="5:V", scan=1e-6)
    g = pv(Whole.temperatures, field=Temperatures.g, name="6:V", scan=1e-6)
    h = pv(Whole.temperatures, field=Temperatures.h, name="7:V", scan=1e-6)


class WholeFlags(Device):
    a = pv(Whole.flags, field=Flags16.a, name="0:V", scan=1e-6)
    p = pv(Whole.flags, field=Flags16.p, name="15:V", scan=1e-6)


SHAPES: dict[str, tuple[int, dict[str, tuple[type[Driver], type[Device]]]]] = {
    "8 temperatures": (
        8,
        {
            "single": (Single, SingleTemperatures),
            "joined": (Joined, JoinedTemperatures),
            "one question": (Whole, WholeTemperatures),
        },
    ),
    "16 states": (
        16,
        {
            "single": (Single, SingleFlags),
            "joined": (Joined, JoinedFlags),
            "one question": (Whole, WholeFlags),
        },
    ),
}


class PacedInstrument(asyncio.Protocol):
    """Takes and sends bytes as fast as a line at 9600 baud does, and thinks between question and answer."""

    def __init__(self, thinks: float) -> None:
        self.thinks = thinks
        self.free_at = 0.0
        self.count = 0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self.transport = transport

    def data_received(self, data: bytes) -> None:
        for line in data.splitlines():
            reply = ";".join(map(self.answer, line.decode().split(";"))).encode() + b"\n"
            loop = asyncio.get_running_loop()
            spent = (len(line) + 1 + len(reply)) * BYTE + self.thinks
            self.free_at = max(self.free_at, loop.time()) + spent
            loop.call_at(self.free_at, self.transport.write, reply)

    def answer(self, question: str) -> str:
        match question.split():
            case ["KRDG?", "*"]:
                return ",".join(self.answer("KRDG? 0") for _ in range(8))
            case ["KRDG?", _]:
                self.count += 1
                return f"+{self.count % 10000 / 10:06.1f}"
            case ["ST?"]:
                return ",".join(self.answer("ST? 0") for _ in range(16))
            case ["ST?", _]:
                self.count += 1
                return str(self.count // 16 % 2)
        return "BENCH"


async def combined(shape: str, how: str, thinks: float, seconds: float) -> float:
    """Readings per second that reach the PVs."""
    count, kinds = SHAPES[shape]
    driver, device = kinds[how]
    loop = asyncio.get_running_loop()
    server = await loop.create_server(lambda: PacedInstrument(thinks), "127.0.0.1", 0)
    url = f"tcp://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    instrument = Instrument("paced", driver, device, no_simulator, url)
    async with Host([InstrumentConfig(instrument=instrument, url=url, prefix="P:", name="paced")]) as host:
        asked = list(host.units[0].device.periods())
        stamps: list[float] = []
        for readback in asked:
            readback.listeners.append(lambda readback: stamps.append(readback.stamp))
        await asyncio.sleep(seconds)
        first, last = min(stamps), max(stamps)
    server.close()
    await server.wait_closed()
    readings = sum(first < stamp <= last for stamp in stamps) * count / len(asked)
    return readings / (last - first)


def show_combined(seconds: float) -> None:
    print(
        "\n| at 9600 baud, 8N1, readings per second | single | joined, 8 in a line | one question | best : single |"
    )
    print("|---|---|---|---|---|")
    for thinks in (0.0, THINKS):
        for shape in SHAPES:
            rates = {how: asyncio.run(combined(shape, how, thinks, seconds)) for how in SHAPES[shape][1]}
            what = f"{shape}, an instrument that " + (
                f"thinks for {1e3 * thinks:.0f} ms" if thinks else "answers at once"
            )
            cells = " | ".join(f"{rate:.0f}" for rate in rates.values())
            print(f"| {what} | {cells} | {max(rates.values()) / rates['single']:.1f} |")


# The instrument


class BenchInstrument(asyncio.Protocol):
    """Answers at once, or one question after the other with a delay; notes when setpoints arrive."""

    arrivals: dict[float, float] = {}
    readings = 0

    def __init__(self, delay: float) -> None:
        self.delay = delay
        self.free_at = 0.0
        self.buffer = b""
        self.setpoints: dict[bytes, bytes] = {}

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self.transport = transport

    def data_received(self, data: bytes) -> None:
        *lines, self.buffer = (self.buffer + data).split(b"\n")
        for line in lines:
            reply = self.answer(line)
            if reply is None:
                continue
            if not self.delay:
                self.transport.write(reply)
                continue
            loop = asyncio.get_running_loop()
            self.free_at = max(self.free_at, loop.time()) + self.delay
            loop.call_at(self.free_at, self.transport.write, reply)

    def answer(self, line: bytes) -> bytes | None:
        kind = line[:2]
        if kind == b"V?":
            BenchInstrument.readings += 1
            return b"%d\n" % BenchInstrument.readings
        if kind == b"S ":
            channel, _, value = line[2:].partition(b",")
            self.setpoints[channel] = value
            self.arrivals[float(value)] = time.monotonic()
            return None
        if kind == b"S?":
            return self.setpoints.get(line[3:], b"0") + b"\n"
        if line == b"ARRIVALS?":
            return json.dumps(self.arrivals).encode() + b"\n"
        return b"BENCH\n"


async def run_instrument(delay: float) -> None:
    server = await asyncio.get_running_loop().create_server(lambda: BenchInstrument(delay), "127.0.0.1", 0)
    print(server.sockets[0].getsockname()[1], flush=True)
    await server.serve_forever()


# The IOC


def no_simulator(variant: str) -> Simulator:
    raise NotImplementedError


async def run_ioc(url: str, period: float) -> None:
    instrument = Instrument("bench", BenchDriver, bench_device(period), no_simulator, url)
    async with Host(
        [InstrumentConfig(instrument=instrument, url=url, prefix="BENCH:", name="bench")]
    ) as host:
        print(host.server.port, flush=True)
        loop = asyncio.get_running_loop()
        while await loop.run_in_executor(None, sys.stdin.readline):
            print(
                json.dumps([host.units[0].driver.port.statistics.exchanges, time.process_time()]), flush=True
            )


# The client


@contextlib.contextmanager
def role(*words: object, module: str = "benchmarks.polling") -> Iterator[tuple[subprocess.Popen[str], str]]:
    """Run a benchmark in another role; yields the process and the first line that it prints."""
    process = subprocess.Popen(
        [sys.executable, "-m", module, *map(str, words)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    try:
        yield process, process.stdout.readline().strip()
    finally:
        process.kill()
        process.wait()


def ask(process: subprocess.Popen[str]) -> tuple[int, float]:
    """Return what an IOC or a client has counted, and its CPU seconds."""
    assert process.stdin is not None
    assert process.stdout is not None
    process.stdin.write("\n")
    process.stdin.flush()
    exchanges, cpu = json.loads(process.stdout.readline())
    return exchanges, cpu


async def bare_loop(url: str, seconds: float, *, wait_for: bool) -> tuple[float, float]:
    """Round trips per second, and CPU seconds for each, of asyncio streams with a time-out per query."""
    address = urlsplit(url)
    reader, writer = await asyncio.open_connection(address.hostname, address.port)
    count, began, cpu = 0, time.perf_counter(), time.process_time()
    while time.perf_counter() - began < seconds:
        writer.write(b"V? 0\n")
        if wait_for:
            float(await asyncio.wait_for(reader.readuntil(b"\n"), 1.0))
        else:
            async with asyncio.timeout(1.0):
                float(await reader.readuntil(b"\n"))
        count += 1
    rate = count / (time.perf_counter() - began), (time.process_time() - cpu) / count
    writer.close()
    await writer.wait_closed()
    return rate


async def driver_loop(url: str, seconds: float) -> tuple[float, float]:
    """Readings per second, and CPU seconds for each, of the driver."""
    async with BenchDriver.open(url) as driver:
        value = driver.channels_[0].value
        count, began, cpu = 0, time.perf_counter(), time.process_time()
        while time.perf_counter() - began < seconds:
            await value.read()
            count += 1
        return count / (time.perf_counter() - began), (time.process_time() - cpu) / count


class Monitor:
    """Counts what libca delivers, with a callback of its own: pyepics' would take longer than the IOC."""

    def __init__(self) -> None:
        self.count = 0
        self.event = ctypes.CFUNCTYPE(None, ctypes.c_void_p)(self._event)

    def _event(self, _: object) -> None:
        self.count += 1

    def subscribe(self, name: str) -> None:
        """Monitor a PV as DBR_TIME_DOUBLE."""
        from epics import ca, dbr

        channel = ca.create_channel(name, connect=True, auto_cb=False)
        ca.connect_channel(channel, timeout=10)
        ca.libca.ca_create_subscription(
            dbr.TIME_DOUBLE, 1, channel, dbr.DBE_VALUE, self.event, None, ctypes.byref(ctypes.c_void_p())
        )
        ca.flush_io()


def run_monitor() -> None:
    monitor = Monitor()
    for channel in CHANNELS:
        monitor.subscribe(f"BENCH:{channel}:V")
    print("subscribed", flush=True)
    while sys.stdin.readline():
        print(json.dumps([monitor.count, time.process_time()]), flush=True)


def ioc_loop(url: str, seconds: float) -> tuple[float, float]:
    """Readings per second delivered to a libca client, and the IOC's CPU seconds for each."""
    with (
        role("--role", "ioc", "--url", url, "--period", 1e-6) as (ioc, _),
        role("--role", "monitor") as (client, _),
    ):
        time.sleep(0.3)
        (polled, cpu), (first, _), began = ask(ioc), ask(client), time.perf_counter()
        time.sleep(seconds)
        (last, _), spent = ask(client), time.perf_counter() - began
        polled_after, cpu_after = ask(ioc)
        return (last - first) / spent, (cpu_after - cpu) / (polled_after - polled)


def put_latency(url: str, period: float, puts: int) -> list[float]:
    """Seconds from a client's put to its arrival at the instrument, with random gaps between them."""
    import epics

    with role("--role", "ioc", "--url", url, "--period", period):
        channel = epics.PV("BENCH:3:S", auto_monitor=False)
        channel.wait_for_connection(timeout=10)
        sent = {}
        for n in range(1, puts + 1):
            time.sleep(random.uniform(0.05, 0.15))
            sent[float(n)] = time.monotonic()
            channel.put(float(n), wait=True, timeout=10)
        channel.disconnect()
    arrivals = asyncio.run(read_arrivals(url))
    return [arrivals[n] - began for n, began in sent.items()]


async def read_arrivals(url: str) -> dict[float, float]:
    address = urlsplit(url)
    reader, writer = await asyncio.open_connection(address.hostname, address.port, limit=1 << 22)
    writer.write(b"ARRIVALS?\n")
    answer = json.loads(await reader.readuntil(b"\n"))
    writer.close()
    return {float(value): stamp for value, stamp in answer.items()}


def percentiles(seconds: list[float]) -> tuple[float, float]:
    ordered = sorted(seconds)
    return 1e3 * statistics.median(ordered), 1e3 * ordered[min(len(ordered) - 1, int(0.99 * len(ordered)))]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=2.0)
    parser.add_argument("--puts", type=int, default=300)
    parser.add_argument("--only-combined", action="store_true", help="only the combined reads")
    parser.add_argument("--role", choices=("client", "instrument", "ioc", "monitor"), default="client")
    parser.add_argument("--url", default="")
    parser.add_argument("--period", type=float, default=1.0)
    parser.add_argument("--delay", type=float, default=0.0)
    args = parser.parse_args()
    if args.role == "instrument":
        asyncio.run(run_instrument(args.delay))
    elif args.role == "ioc":
        asyncio.run(run_ioc(args.url, args.period))
    elif args.role == "monitor":
        run_monitor()
    else:
        if not args.only_combined:
            measure(args.rounds, args.seconds, args.puts)
        show_combined(4 * args.seconds)


Side = tuple[list[float], list[float]]  # rates per second and CPU seconds for each, a round each


def measure(rounds: int, seconds: float, puts: int) -> None:
    sides: dict[str, Side] = {name: ([], []) for name in SIDES}
    with role("--role", "instrument") as (_, port):
        url = f"tcp://127.0.0.1:{port}"
        for _ in range(rounds):
            for name, run in SIDES.items():
                rate, cpu = run(url, seconds)
                sides[name][0].append(rate)
                sides[name][1].append(cpu)
        idle = put_latency(url, IDLE, puts)
        polled = put_latency(url, 1.0, puts)
    with role("--role", "instrument", "--delay", SLOW) as (_, port):
        busy = put_latency(f"tcp://127.0.0.1:{port}", 1.0, puts)

    bare = sides[BARE][0]
    print(f"\n{rounds} rounds of {seconds:g} s; medians; ratios to the bare loop of the same round\n")
    print("| side | per second | ratio | CPU us each |\n|---|---|---|---|")
    for name, (rates, spent) in sides.items():
        ratio = statistics.median(rate / base for rate, base in zip(rates, bare, strict=True))
        microseconds = 1e6 * statistics.median(spent)
        print(f"| {name} | {statistics.median(rates):,.0f} | {ratio:.2f} | {microseconds:.0f} |")
    print("\n| from a client's put to the instrument | median ms | p99 ms |\n|---|---|---|")
    for name, seconds_each in (
        ("instrument that answers at once, no polls", idle),
        ("instrument that answers at once, 20 PVs at 1 Hz", polled),
        ("instrument that takes 20 ms, 20 PVs at 1 Hz", busy),
    ):
        print("| {} | {:.2f} | {:.2f} |".format(name, *percentiles(seconds_each)))


BARE = "bare asyncio streams, a time-out per query (wait_for)"
IDLE = 1e6  # seconds between two polls
SIDES: dict[str, Callable[[str, float], tuple[float, float]]] = {
    BARE: lambda url, seconds: asyncio.run(bare_loop(url, seconds, wait_for=True)),
    "the same with asyncio.timeout": lambda url, seconds: asyncio.run(
        bare_loop(url, seconds, wait_for=False)
    ),
    "driver readings": lambda url, seconds: asyncio.run(driver_loop(url, seconds)),
    "IOC readings delivered to a libca monitor": lambda url, seconds: ioc_loop(url, seconds),
}


if __name__ == "__main__":
    os.environ.update(EPICS_CA_ADDR_LIST="127.0.0.1", EPICS_CA_AUTO_ADDR_LIST="NO")
    if "EPICS_CA_SERVER_PORT" not in os.environ:
        import socket

        with (
            socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as server,
            socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as repeater,
        ):
            server.bind(("127.0.0.1", 0))
            repeater.bind(("127.0.0.1", 0))
            os.environ["EPICS_CA_SERVER_PORT"] = str(server.getsockname()[1])
            os.environ["EPICS_CA_REPEATER_PORT"] = str(repeater.getsockname()[1])
    main()
