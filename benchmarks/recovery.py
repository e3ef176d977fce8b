"""Recovery: how soon every PV tells of a fault, with which status, and how soon it is back. Run with ``make soak``.

Four instruments, each a process: one is killed and started again, two are muted, one of them without a question that
names itself, and one answers late. The IOC is another process; the client sees Channel Access only. Every reply names
its parameter and carries a number that rises, so that a wrong value would be noticed. The exit status is 1 if a promise
is broken. A table of their own shows what a dead address costs the others on its line, and how long a put waits on a
line that is fully used.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import itertools
import os
import random
import signal
import socket
import statistics
import sys
import time
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field, replace
from urllib.parse import urlsplit

from tests.bus import BusSimulator, Gauge
from tests.ca import Client, Events, Reading
from tests.numbered import CHANNELS, INSTRUMENT, MILLION, Numbered, NumberedSimulator

from benchmarks.kinds import KINDS
from labioc.devices.core.records import AlarmSeverity, AlarmStatus
from labioc.drivers.core import Line
from labioc.drivers.core.errors import LabiocError
from labioc.iocs.core import Host, InstrumentConfig
from labioc.sim.core.control import execute, fault_switches

TIMEOUT = 1.0
MAX_LATE = 0.5
LATE = 1.5
SCANS = {f"{ch}:V": 0.05 for ch in CHANNELS} | {"LEVEL": 0.05, "SP_RBV": 0.1}
OTHERS = ("SP", "RESET", "SLOW")
PATIENCE = 60.0
SLACK = 0.3  # of so many processes on a busy machine
PACE = 0.05
PUTS = 200


class Fenced(Numbered):
    """The numbered instrument with an everyday time-out."""

    protocol = replace(Numbered.protocol, timeout=TIMEOUT)


class Unfenced(Numbered):
    """The same without a question that names itself."""

    protocol = replace(Numbered.protocol, timeout=TIMEOUT, identify=None, max_late=MAX_LATE)


async def run_instrument(port: int) -> None:
    simulator = NumberedSimulator()
    async with simulator.serve(f"tcp://127.0.0.1:{port}") as url:
        print(url, flush=True)
        loop = asyncio.get_running_loop()
        while line := (await loop.run_in_executor(None, sys.stdin.readline)).strip():
            execute(fault_switches(simulator), line)


async def run_ioc(urls: list[str]) -> None:
    configs = [
        InstrumentConfig(instrument=replace(INSTRUMENT, driver=kind), url=url, prefix=f"{n}:", name=f"{n}")
        for n, (kind, url) in enumerate(zip((Fenced, Fenced, Unfenced, Fenced), urls, strict=True))
    ]
    async with Host(configs):
        print("serving", flush=True)
        await asyncio.Event().wait()


class Role:
    """This script in another role, in a process of its own."""

    def __init__(self, *words: object) -> None:
        self.words = [sys.executable, "-m", "benchmarks.recovery", *map(str, words)]

    async def start(self) -> str:
        """Return the first line that it prints."""
        self.process = await asyncio.create_subprocess_exec(
            *self.words, stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE
        )
        assert self.process.stdout is not None
        line = (await self.process.stdout.readline()).decode().strip()
        if not line:
            raise RuntimeError(f"{' '.join(self.words)} does not start")
        return line

    async def kill(self) -> None:
        if self.process.returncode is None:
            self.process.send_signal(signal.SIGKILL)
        await self.process.wait()

    def say(self, line: str) -> None:
        assert self.process.stdin is not None
        self.process.stdin.write(f"{line}\n".encode())


@dataclass
class Result:
    """What one kind of fault did, over all its cycles. Times in seconds."""

    fault: str
    status: AlarmStatus
    promised: float
    """The longest time to recover after the instrument's return."""
    over: float = -1e9
    """The worst time to INVALID, beyond scan period and time-out."""
    told: float = 0.0
    backs: list[float] = field(default_factory=list)
    wrong: int = 0
    statuses: set[str] = field(default_factory=set)

    @property
    def back(self) -> float:
        """The worst time to recover."""
        return max(self.backs)

    @property
    def kept(self) -> bool:
        """Whether the promises were kept."""
        return self.over <= SLACK and self.back <= self.promised and not self.wrong


class Watched:
    """All PVs of one instrument, at the client."""

    def __init__(self, client: Client, number: int, result: Result) -> None:
        self.client = client
        self.prefix = f"{number}:"
        self.result = result
        self.events: dict[str, Events] = {}

    @contextlib.asynccontextmanager
    async def cycle(self, *, restarted: bool = False) -> AsyncIterator[None]:
        """Watch for one cycle, then count what was wrong. A restarted instrument begins to count anew."""
        async with contextlib.AsyncExitStack() as stack:
            for name in (*SCANS, *OTHERS):
                monitor = self.client.monitor(self.prefix + name)
                self.events[name] = await stack.enter_async_context(monitor)
            yield
        for channel in CHANNELS:
            readings = self.events[f"{channel}:V"].received
            good = [reading.value for reading in readings if is_good(reading)]
            self.result.wrong += sum(reading.value // MILLION != channel for reading in readings)
            if not restarted:
                self.result.wrong += sum(later < earlier for earlier, later in itertools.pairwise(good))

    async def all_invalid(self, since: float) -> None:
        """Wait until every PV is INVALID with the status of the fault."""
        result = self.result

        async def one(name: str, events: Events) -> None:
            reading = await events.next(is_invalid)
            spent = time.monotonic() - since
            if name in SCANS:
                result.told = max(result.told, spent)
                result.over = max(result.over, spent - SCANS[name] - TIMEOUT)
            while reading.status != result.status:
                result.statuses.add(AlarmStatus(reading.status).name)
                reading = await events.next(is_invalid)
            result.statuses.add(AlarmStatus(reading.status).name)

        async with asyncio.timeout(PATIENCE), asyncio.TaskGroup() as tasks:
            for name, events in self.events.items():
                tasks.create_task(one(name, events))

    async def all_good(self, since: float) -> None:
        """Wait until every PV is good."""
        async with asyncio.timeout(PATIENCE), asyncio.TaskGroup() as tasks:
            for events in self.events.values():
                tasks.create_task(events.next(is_good))
        self.result.backs.append(time.monotonic() - since)


def is_invalid(reading: Reading) -> bool:
    return bool(reading.severity == AlarmSeverity.INVALID_ALARM)


def is_good(reading: Reading) -> bool:
    return bool(reading.severity == AlarmSeverity.NO_ALARM)


async def be_killed(instrument: Role, watched: Watched, cycles: int) -> None:
    for _ in range(cycles):
        async with watched.cycle(restarted=True):
            since = time.monotonic()
            await instrument.kill()
            await watched.all_invalid(since)
            await asyncio.sleep(max(0.0, since + random.uniform(3, 5) - time.monotonic()))
            await instrument.start()
            await watched.all_good(time.monotonic())
        await asyncio.sleep(random.uniform(2.5, 3.5))  # a link that falls at once is tried less often


async def be_mute(instrument: Role, watched: Watched, cycles: int) -> None:
    for _ in range(cycles):
        async with watched.cycle():
            since = time.monotonic()
            instrument.say("fault mute")
            await watched.all_invalid(since)
            await asyncio.sleep(max(0.0, since + random.uniform(4, 8) - time.monotonic()))
            instrument.say("clear")
            await watched.all_good(time.monotonic())


async def be_late(instrument: Role, watched: Watched, cycles: int) -> None:
    """Let one reply come late, twice: the first is asked again before anybody is told."""
    result = watched.result
    for _ in range(cycles):
        async with watched.cycle():
            heard, since = asyncio.Event(), time.monotonic()

            def note(reading: Reading, heard: asyncio.Event = heard, since: float = since) -> None:
                if is_invalid(reading):
                    result.statuses.add(AlarmStatus(reading.status).name)
                    if not heard.is_set():
                        result.told = max(result.told, time.monotonic() - since)
                    heard.set()

            for events in watched.events.values():
                events.on_event = note
            instrument.say(f"fault late={LATE} count=1")
            await asyncio.sleep(LATE)
            names = [watched.prefix + name for name in SCANS]
            while any([is_invalid(await watched.client.get(name)) for name in names]):  # noqa: ASYNC110
                await asyncio.sleep(0.02)
            result.backs.append(time.monotonic() - since - LATE)
            await asyncio.sleep(0.5)


# Whose turn it is

Row = tuple[str, str, bool]


class SlowGauge(Gauge):
    """A gauge with an everyday time-out."""

    protocol = replace(Gauge.protocol, timeout=TIMEOUT)


async def dead_address(seconds: float) -> list[Row]:
    """What the others on a line lose to an address that dies, in time-outs per 10 s."""
    addresses = "001", "002", "003", "004"
    simulator = BusSimulator(*addresses)
    async with simulator.serve("tcp://127.0.0.1:0") as url, contextlib.AsyncExitStack() as stack:
        line = Line(url)
        gauges = [
            await stack.enter_async_context(SlowGauge.open(line, name=address, address=address))
            for address in addresses
        ]
        spent: list[list[tuple[float, float]]] = [[] for _ in gauges]

        async def poll(number: int) -> None:
            while True:
                since = time.monotonic()
                with contextlib.suppress(LabiocError):
                    await gauges[number].pressure.read()
                spent[number].append((since, time.monotonic() - since))
                await asyncio.sleep(0.01)

        polls = [asyncio.create_task(poll(number)) for number in range(len(gauges))]
        await asyncio.sleep(2.0)
        died = time.monotonic()
        simulator.nodes["002"].is_on = False
        await asyncio.sleep(seconds)
        for task in polls:
            task.cancel()
    lost, settled, readings = 0.0, 0.0, 0
    for number in (0, 2, 3):
        waits = [
            (since, wait) for since, wait in spent[number] if wait > TIMEOUT / 4 and since > died - TIMEOUT
        ]
        lost = max(lost, sum(wait for _, wait in waits))
        settled = max(settled, sum(wait for since, wait in waits if since > died + 10))
        readings += len(spent[number])
    per_10_s = settled / TIMEOUT / (seconds - 10) * 10
    return [
        (f"readings of the three others in {seconds:g} s", f"{readings:,}", True),
        (
            "lost by each to the dead address, time-outs in the first 10 s",
            f"{(lost - settled) / TIMEOUT:.1f}",
            True,
        ),
        ("then, time-outs per 10 s", f"{per_10_s:.2f}", per_10_s < 1),
    ]


async def full_line(puts: int) -> list[Row]:
    """How long a put waits where the polls take all of the line's time, in units of one exchange."""
    rows: list[Row] = []
    for kind in KINDS:
        simulator = kind.simulator()
        simulator.faults.add(f"late={PACE}")
        ledger = simulator.ledger
        arrived: dict[int, float] = {}
        note = ledger.set

        def timed(
            value: int, arrived: dict[int, float] = arrived, note: Callable[[int], None] = note
        ) -> None:
            arrived[value] = time.monotonic()
            note(value)

        ledger.set = timed  # type: ignore[method-assign]
        waits, whole = [], []
        async with simulator.serve("tcp://127.0.0.1:0") as url:
            config = InstrumentConfig(instrument=kind.instrument(1e-6), url=url, prefix="F:", name=kind.name)
            async with Host([config]) as host, Client() as client:
                port = host.units[0].driver.port
                busy, began = port.line.spent, time.monotonic()
                for value in range(1000, 1000 + puts):
                    await asyncio.sleep(random.uniform(0, 2 * PACE))
                    since = time.monotonic()
                    await client.put("F:SP", value)
                    whole.append(time.monotonic() - since)
                    waits.append(arrived[value] - since)
                used = (port.line.spent - busy) / (time.monotonic() - began)
                exchange = statistics.median(port.statistics.round_trips)
        for what, seconds, bound in (
            ("to the instrument", waits, 2.0),
            ("until it is done", whole, 1.0 + 2.0),
        ):
            ordered = sorted(second / exchange for second in seconds)
            p99 = ordered[int(0.99 * len(ordered))]
            rows.append(
                (
                    f"{kind.name}, line {100 * used:.0f} % used, exchange E {1e3 * exchange:.1f} ms: put {what}",
                    f"p50 {statistics.median(ordered):.2f} E, p99 {p99:.2f} E",
                    p99 <= bound + 0.25,
                )
            )
    return rows


async def measure(cycles: int, more: list[str]) -> list[Result]:
    results = [
        Result("killed (-9), back after 3 to 5 s", AlarmStatus.COMM, 1.0),
        Result("mute for 4 to 8 s, TCP open", AlarmStatus.TIMEOUT, TIMEOUT + 0.5),
        Result("the same without a fence", AlarmStatus.TIMEOUT, TIMEOUT + 0.5 + MAX_LATE),
        Result(f"one reply {LATE:g} s late", AlarmStatus.TIMEOUT, TIMEOUT + 0.5, over=0.0),
    ]
    instruments = [Role("--role", "instrument", "--port", 0) for _ in results]
    urls = [await instrument.start() for instrument in instruments]
    for instrument, url in zip(instruments, urls, strict=True):
        instrument.words[-1] = str(urlsplit(url).port)
    ioc = Role("--role", "ioc", *more, "--url", *urls)
    try:
        await ioc.start()
        async with Client() as client, asyncio.TaskGroup() as tasks:
            for number, work in enumerate((be_killed, be_mute, be_mute, be_late)):
                watched = Watched(client, number, results[number])
                tasks.create_task(work(instruments[number], watched, cycles))
    finally:
        await ioc.kill()
        for instrument in instruments:
            await instrument.kill()
    return results


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--role", choices=("client", "instrument", "ioc"), default="client")
    parser.add_argument("--cycles", type=int, default=20)
    parser.add_argument("--seconds", type=float, default=60.0, help="with a dead address")
    parser.add_argument("--puts", type=int, default=PUTS)
    parser.add_argument("--back-off", type=float, help="try another LAST_BACK_OFF")
    parser.add_argument("--port", type=int, default=0)
    parser.add_argument("--url", nargs="*", default=[])
    args = parser.parse_args()
    if args.role == "instrument":
        asyncio.run(run_instrument(args.port))
        return 0
    if args.role == "ioc":
        if args.back_off:
            from labioc.drivers.core import keeper

            keeper.LAST_BACK_OFF = args.back_off
        asyncio.run(run_ioc(args.url))
        return 0
    more = ["--back-off", str(args.back_off)] if args.back_off else []
    results = asyncio.run(measure(args.cycles, more)) if args.cycles else []
    print(
        f"\n{args.cycles} cycles; time-out {TIMEOUT:g} s, scan periods 0.05 and 0.1 s; worst cases, seconds\n"
    )
    print(
        "| fault | INVALID after | beyond scan + time-out | status | back after | promised | wrong | kept |"
    )
    print("|---|---|---|---|---|---|---|---|")
    for r in results:
        kept = "yes" if r.kept else "NO"
        statuses = ", ".join(sorted(r.statuses)) or "nothing: asked again"
        told = f"{r.told:.2f} | {r.over:+.2f}" if r.told else "|"
        print(f"| {r.fault} | {told} | {statuses} | {r.back:.2f} | {r.promised:.2f} | {r.wrong} | {kept} |")
    rows = asyncio.run(turns(args.seconds, args.puts))
    print("\n| whose turn it is | measured | as promised |\n|---|---|---|")
    for what, measured, is_kept in rows:
        print(f"| {what} | {measured} | {'yes' if is_kept else 'NO'} |")
    return 0 if all(result.kept for result in results) and all(is_kept for *_, is_kept in rows) else 1


async def turns(seconds: float, puts: int) -> list[Row]:
    return [*await dead_address(seconds), *await full_line(puts)]


if __name__ == "__main__":
    if "EPICS_CA_SERVER_PORT" not in os.environ:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
            sock.bind(("127.0.0.1", 0))
            os.environ["EPICS_CA_SERVER_PORT"] = str(sock.getsockname()[1])
        os.environ.update(EPICS_CA_ADDR_LIST="127.0.0.1", EPICS_CA_AUTO_ADDR_LIST="NO")
    sys.exit(main())
