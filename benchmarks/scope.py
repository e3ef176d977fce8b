"""A waveform of a million points, from an oscilloscope to a PV in volts and to a client; how long the loop is held up.

Run with ``make bench``, or ``python -m benchmarks.scope``. The instrument, the IOC and the client are processes of
their own. The instrument answers at once, with bytes that are prepared. In each round the same requests are sent and
the same bytes are taken by a bare blocking socket, then by the driver below its PVs, while libca monitors the PV. A
task of the IOC ticks all the time: the longest time between two ticks, beyond the ticks' own, is the longest that
anything else had to wait; the processor's time between them is what of it was the IOC's own.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import socket
import statistics
import sys
import time
from typing import Any
from urllib.parse import urlsplit

import numpy as np

from benchmarks.polling import role
from labioc.devices.core import Device, DeviceGroup, SubGroups, pv
from labioc.drivers.ds1000z import DS1000Z, MOST_AT_ONCE, ScopeChannel, Trace
from labioc.iocs.core import Host, Instrument, InstrumentConfig
from labioc.sim import ds1000z
from labioc.sim.core import Simulator

MODULE = "benchmarks.scope"
POINTS = 1_000_000
TARGET, LONGEST = 0.15, 0.020
"""Seconds: beyond the wire's time, and at a stretch."""
TICK = 0.001
PATIENCE = 30.0
SETTINGS = ":WAV:SOUR CHAN1", ":WAV:MODE RAW", ":WAV:FORM BYTE"


# The instrument


class Instant(ds1000z.DS1000Z):
    """An oscilloscope with a million prepared points, others after each STOP; terminators are among them."""

    def __init__(self) -> None:
        super().__init__()
        self._bytes = np.random.default_rng(1).integers(0, 256, POINTS + 1000, np.uint8)
        self._stops = 0

    def advance(self, dt: float) -> None:
        """Nothing changes by itself."""

    def handle(self, message: bytes) -> bytes | None:
        self._stops += message == b":STOP"
        return super().handle(message)

    def _axis(self) -> tuple[int, float, float]:
        return POINTS, 1e-9, -POINTS / 2e9

    def codes(self) -> Any:
        first = self._stops % 1000 + self.wave.start - 1
        return self._bytes[first : first + self.wave.stop - self.wave.start + 1]


async def run_instrument() -> None:
    async with Instant().serve("tcp://127.0.0.1:0") as url:
        print(url, flush=True)
        await asyncio.Event().wait()


# The IOC


class ChannelPVs(DeviceGroup):
    memory = pv(ScopeChannel.memory, field=Trace.volts, name="MEM", scan=None)
    time = pv(ScopeChannel.memory, field=Trace.time, name="TIME", scan=None)


class BenchPVs(Device):
    """A waveform."""

    scopes = SubGroups(ChannelPVs, of=DS1000Z.scopes, prefix="{ch}:")


def no_simulator(variant: str) -> Simulator:
    raise NotImplementedError


class Ticker:
    """Looks how long the loop is held up; in seconds by the clock and of the processor."""

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self.reset()
        self._tick()

    def reset(self) -> None:
        self.longest = self.work = 0.0
        self._last, self._cpu = time.perf_counter(), time.thread_time()

    def _tick(self) -> None:
        now, cpu = time.perf_counter(), time.thread_time()
        self.longest = max(self.longest, now - self._last - TICK)
        self.work = max(self.work, cpu - self._cpu)
        self._last, self._cpu = now, cpu
        self._loop.call_later(TICK, self._tick)


async def run_ioc(url: str) -> None:
    instrument = Instrument("bench", DS1000Z, BenchPVs, no_simulator, url)
    config = InstrumentConfig(instrument=instrument, url=url, prefix="BENCH:", name="bench")
    loop = asyncio.get_running_loop()
    async with Host([config]) as host:
        driver = host.units[0].driver
        assert isinstance(driver, DS1000Z)
        ticker = Ticker()
        print(host.server.port, flush=True)
        while await loop.run_in_executor(None, sys.stdin.readline):
            await driver.stop.execute()
            ticker.reset()
            began = time.monotonic()
            await driver.scopes[1].memory.read()
            spent = time.monotonic() - began
            await asyncio.sleep(0.5)  # what goes to the client is part of what holds up the loop
            print(json.dumps([began, spent, ticker.longest, ticker.work]), flush=True)


# The client


def bare(url: str) -> float:
    """Seconds that a blocking socket takes for the million points, asked for as the driver does."""
    address = urlsplit(url)
    buffer = bytearray(1 << 20)
    with socket.create_connection((address.hostname, address.port), PATIENCE) as sock:
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        began = time.perf_counter()
        for first in range(1, POINTS + 1, MOST_AT_ONCE):
            part = f":WAV:STAR {first}", f":WAV:STOP {first + MOST_AT_ONCE - 1}"
            ask = ":WAV:PRE?"
            for line in (":TRIG:STAT?", *SETTINGS, *part, ask, ":WAV:DATA?", ":WAV:SOUR?", ask):
                sock.sendall(line.encode() + b"\n")
                if line == ":WAV:DATA?":
                    left = 11 + MOST_AT_ONCE + 1
                    while left:
                        left -= sock.recv_into(buffer, left)
                elif line.endswith("?"):
                    sock.recv(100)
        return time.perf_counter() - began


class Monitor:
    """What libca delivers of the PV."""

    def __init__(self) -> None:
        from epics import ca

        self.came: list[tuple[float, Any]] = []
        self._channel = ca.create_channel("BENCH:1:MEM", connect=True)
        ca.connect_channel(self._channel, timeout=PATIENCE)
        self._kept = ca.create_subscription(self._channel, use_time=True, callback=self._take)
        self.wait_for(1)  # the PV as it is before the first reading

    def _take(self, value: Any, **rest: Any) -> None:
        self.came.append((time.monotonic(), value))

    def wait_for(self, count: int) -> float:
        """When the event of this number came, in seconds of the monotonic clock."""
        from epics import ca

        until = time.monotonic() + PATIENCE
        while len(self.came) < count:
            ca.poll(evt=0.0005, iot=1.0)
            if time.monotonic() > until:
                raise TimeoutError(f"{len(self.came)} events of {count} came")
        if count > 1 and len(self.came[-1][1]) != POINTS:
            raise ValueError(f"{len(self.came[-1][1])} points instead of {POINTS}")
        return self.came[-1][0]

    def get(self) -> float:
        """Seconds that a get takes."""
        from epics import ca

        began = time.perf_counter()
        value = ca.get(self._channel, timeout=PATIENCE)
        if len(value) != POINTS:
            raise ValueError(f"{len(value)} points instead of {POINTS}")
        return time.perf_counter() - began


def measure(rounds: int) -> bool:
    rows: list[list[float]] = []
    with (
        role("--role", "instrument", module=MODULE) as (_, url),
        role("--role", "ioc", "--url", url, module=MODULE) as (ioc, _),
    ):
        assert ioc.stdin is not None
        assert ioc.stdout is not None
        monitor = Monitor()
        for number in range(rounds + 1):
            wire = bare(url)
            ioc.stdin.write("\n")
            ioc.stdin.flush()
            arrived = monitor.wait_for(number + 2)
            began, spent, longest, work = json.loads(ioc.stdout.readline())
            rows.append([wire, spent, spent - wire, arrived - began - wire, monitor.get(), longest, work])
    median, lowest, highest = (
        [pick(column) for column in zip(*rows[1:], strict=True)] for pick in (statistics.median, min, max)
    )
    print(f"\n{rounds} rounds of {POINTS:,} points; ms; the first round isn't counted\n")
    print("| | median | lowest | highest | target |\n|---|---|---|---|---|")
    targets = {2: TARGET, 5: LONGEST}
    for number, name in enumerate(NAMES):
        shown = " | ".join(f"{1e3 * values[number]:.1f}" for values in (median, lowest, highest))
        target = targets.get(number)
        verdict = (
            "" if target is None else f"<= {1e3 * target:.0f}: {'yes' if median[number] <= target else 'no'}"
        )
        print(f"| {name} | {shown} | {verdict} |")
    return all(median[number] <= target for number, target in targets.items())


NAMES = (
    "bare socket: the wire's time",
    "from the question to the PV in volts",
    "of this beyond the wire's time",
    "to a libca monitor, beyond the wire's time",
    "a get by libca",
    "longest time that the loop was held up",
    "longest work of the IOC at a stretch",
)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--role", choices=("client", "instrument", "ioc"), default="client")
    parser.add_argument("--url", default="")
    args = parser.parse_args()
    if args.role == "instrument":
        asyncio.run(run_instrument())
    elif args.role == "ioc":
        asyncio.run(run_ioc(args.url))
    else:
        sys.exit(not measure(args.rounds))


if __name__ == "__main__":
    os.environ.update(
        EPICS_CA_ADDR_LIST="127.0.0.1", EPICS_CA_AUTO_ADDR_LIST="NO", EPICS_CA_MAX_ARRAY_BYTES=str(1 << 25)
    )
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
