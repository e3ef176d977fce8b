"""Recovery: how soon every PV tells of a fault, with which status, and how soon it is back. Run with ``make soak``.

The instrument is a process that is killed and started again, muted, and made to answer late; the IOC is another
process; the client sees Channel Access only. Every reply names its parameter and carries a number that rises, so
that a wrong value would be noticed. The exit status is 1 if a promise is broken.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import itertools
import os
import signal
import socket
import sys
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass, field, replace

from tests.ca import Client, Events, Reading
from tests.numbered import CHANNELS, INSTRUMENT, MILLION, Numbered, NumberedSimulator

from labioc.devices.core.records import AlarmSeverity, AlarmStatus
from labioc.iocs.core import Host, InstrumentConfig
from labioc.sim.core.control import execute, fault_switches

TIMEOUT = 1.0
SCANS = {f"R:{ch}:V": 0.05 for ch in CHANNELS} | {"R:LEVEL": 0.05, "R:SP_RBV": 0.1}
OTHERS = ("R:SP", "R:RESET", "R:SLOW")
PATIENCE = 60.0
RECOVERY = 3.0
SLACK = 0.3  # of three processes on a busy machine


class Recovering(Numbered):
    """The numbered instrument with an everyday time-out."""

    protocol = replace(Numbered.protocol, timeout=TIMEOUT)


async def run_instrument(port: int) -> None:
    simulator = NumberedSimulator()
    async with simulator.serve(f"tcp://127.0.0.1:{port}") as url:
        print(url, flush=True)
        loop = asyncio.get_running_loop()
        while line := (await loop.run_in_executor(None, sys.stdin.readline)).strip():
            execute(fault_switches(simulator), line)


async def run_ioc(url: str) -> None:
    kind = replace(INSTRUMENT, driver=Recovering)
    async with Host([InstrumentConfig(instrument=kind, url=url, prefix="R:", name="numbered")]):
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
        return (await self.process.stdout.readline()).decode().strip()

    async def kill(self) -> None:
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
    over: float = -1e9  # the worst time to INVALID, beyond scan period and time-out
    told: float = 0.0
    back: float = 0.0
    wrong: int = 0
    statuses: set[str] = field(default_factory=set)

    @property
    def kept(self) -> bool:
        """Whether the promises were kept."""
        return self.over <= SLACK and self.back <= RECOVERY and not self.wrong


@contextlib.asynccontextmanager
async def watching(client: Client) -> AsyncIterator[dict[str, Events]]:
    async with contextlib.AsyncExitStack() as stack:
        yield {name: await stack.enter_async_context(client.monitor(name)) for name in (*SCANS, *OTHERS)}


def is_invalid(reading: Reading) -> bool:
    return bool(reading.severity == AlarmSeverity.INVALID_ALARM)


def is_good(reading: Reading) -> bool:
    return bool(reading.severity == AlarmSeverity.NO_ALARM)


async def all_invalid(watched: dict[str, Events], since: float, result: Result) -> None:
    """Wait until every PV is INVALID with the status of the fault."""

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
        for name, events in watched.items():
            tasks.create_task(one(name, events))


async def all_good(watched: dict[str, Events], since: float, result: Result) -> None:
    async with asyncio.timeout(PATIENCE), asyncio.TaskGroup() as tasks:
        for events in watched.values():
            tasks.create_task(events.next(is_good))
    result.back = max(result.back, time.monotonic() - since)


def count_wrong(watched: dict[str, Events], *, restarted: bool = False) -> int:
    """Count readings that belong to another channel, or are older than one shown before.

    A restarted instrument begins to count anew.
    """
    wrong = 0
    for channel in CHANNELS:
        readings = watched[f"R:{channel}:V"].received
        wrong += sum(reading.value // MILLION != channel for reading in readings)
        good = [reading.value for reading in readings if is_good(reading)]
        wrong += not restarted and sum(later < earlier for earlier, later in itertools.pairwise(good))
    return wrong


async def be_late(instrument: Role, client: Client, watched: dict[str, Events], result: Result) -> None:
    """Let one reply come 1.5 s late and wait until all is good again."""
    heard = asyncio.Event()

    def note(reading: Reading) -> None:
        if is_invalid(reading):
            heard.set()

    for events in watched.values():
        events.on_event = note
    since = time.monotonic()
    instrument.say("fault late=1.5 count=1")
    async with asyncio.timeout(PATIENCE):
        await heard.wait()
    result.told = max(result.told, time.monotonic() - since)
    result.over = max(result.over, time.monotonic() - since - TIMEOUT - min(SCANS.values()))
    returns = since + 1.5
    await asyncio.sleep(max(0.0, returns - time.monotonic()))
    while any([is_invalid(await client.get(name)) for name in SCANS]):  # noqa: ASYNC110
        await asyncio.sleep(0.02)
    result.back = max(result.back, time.monotonic() - returns)
    invalid = [reading for events in watched.values() for reading in events.received if is_invalid(reading)]
    result.statuses |= {AlarmStatus(reading.status).name for reading in invalid}


async def measure(cycles: int) -> list[Result]:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    instrument = Role("--role", "instrument", "--port", port)
    url = await instrument.start()
    ioc = Role("--role", "ioc", "--url", url)
    results = [
        Result("killed (-9), back after 4 s", AlarmStatus.COMM),
        Result("mute for 10 s, TCP open", AlarmStatus.TIMEOUT),
        Result("one reply 1.5 s late", AlarmStatus.TIMEOUT),
    ]
    killed, mute, late = results
    try:
        await ioc.start()
        async with Client() as client:
            for _ in range(cycles):
                async with watching(client) as watched:
                    since = time.monotonic()
                    await instrument.kill()
                    await all_invalid(watched, since, killed)
                    await asyncio.sleep(max(0.0, since + 4 - time.monotonic()))
                    await instrument.start()
                    await all_good(watched, time.monotonic(), killed)
                    killed.wrong += count_wrong(watched, restarted=True)
                async with watching(client) as watched:
                    since = time.monotonic()
                    instrument.say("fault mute")
                    await all_invalid(watched, since, mute)
                    await asyncio.sleep(max(0.0, since + 10 - time.monotonic()))
                    instrument.say("clear")
                    await all_good(watched, time.monotonic(), mute)
                    mute.wrong += count_wrong(watched)
                async with watching(client) as watched:
                    for _ in range(5):
                        await be_late(instrument, client, watched, late)
                    late.wrong += count_wrong(watched)
    finally:
        await ioc.kill()
        await instrument.kill()
    return results


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--role", choices=("client", "instrument", "ioc"), default="client")
    parser.add_argument("--cycles", type=int, default=5)
    parser.add_argument("--port", type=int, default=0)
    parser.add_argument("--url", default="")
    args = parser.parse_args()
    if args.role == "instrument":
        asyncio.run(run_instrument(args.port))
        return 0
    if args.role == "ioc":
        asyncio.run(run_ioc(args.url))
        return 0
    results = asyncio.run(measure(args.cycles))
    print(
        f"\n{args.cycles} cycles; time-out {TIMEOUT:g} s, scan periods 0.05 and 0.1 s; worst cases, seconds\n"
    )
    print("| fault | INVALID after | beyond scan + time-out | status | back after | wrong values | kept |")
    print("|---|---|---|---|---|---|---|")
    for r in results:
        kept = "yes" if r.kept else "NO"
        statuses = ", ".join(sorted(r.statuses))
        print(
            f"| {r.fault} | {r.told:.2f} | {r.over:+.2f} | {statuses} | {r.back:.2f} | {r.wrong} | {kept} |"
        )
    return 0 if all(result.kept for result in results) else 1


if __name__ == "__main__":
    if "EPICS_CA_SERVER_PORT" not in os.environ:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
            sock.bind(("127.0.0.1", 0))
            os.environ["EPICS_CA_SERVER_PORT"] = str(sock.getsockname()[1])
        os.environ.update(EPICS_CA_ADDR_LIST="127.0.0.1", EPICS_CA_AUTO_ADDR_LIST="NO")
    sys.exit(main())
