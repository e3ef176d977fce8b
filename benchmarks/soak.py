"""Many exchanges with mixed random faults: no wrong value, no leak, every put done or reported as failed.

Run with ``make soak``. Instruments over TCP and pseudo-terminals, of three kinds of protocol, live in this process with
the Channel Access client; the IOC is another process. Two exchanges in a hundred are struck by a fault, of a kind by
chance, the same in each run for one ``--seed``. Every value is checked as it arrives at the client; the instruments
keep a ledger of what they executed. Memory, tasks and file descriptors of the IOC are compared between the end of a
warm-up and the end. The exit status is 1 if a promise is broken.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import gc
import json
import logging
import os
import random
import resource
import socket
import sys
import time
from collections import Counter
from pathlib import Path
from typing import Any

from tests.ca import Client, Events, PutFailed

from benchmarks.kinds import INITIAL, KINDS, NAMES, TIMEOUT, Judge, Kind, Puts
from labioc.iocs.core import Host, InstrumentConfig

EACH = 4
"""Instruments of each kind on each transport."""
SCAN = 0.05
SHARE = 0.02
WARM_UP = 0.2
"""The share of the exchanges after which the leaks are measured from."""
CALM = 5.0
PATIENCE = 30.0
ALLOWED_GROWTH = 4 << 20
FAULTS = (
    *(f"late=uniform:0.1:{1.5 * TIMEOUT}", "lose", "cut", "noise", "garbage", "twice", "merge", "trickle"),
    *("echo", "refuse", "mute", "hang-up", "hang-up=rst", "disconnect", "disconnect=rst", "power-cycle"),
)
CHECKED_FAULTS = ("flip", "wrong-address", "wrong-checksum")
TRANSPORTS = {"TCP": "tcp://127.0.0.1:0", "pty": "pty:"}


# The IOC


def resident() -> int:
    """Bytes of memory that this process has."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize()


async def run_ioc(prefixed: list[str]) -> None:
    """Serve instruments, given as kind and URL, and answer each line on standard input with what this process holds."""
    kinds = {kind.name: kind.instrument(SCAN) for kind in KINDS}
    configs = []
    for number, text in enumerate(prefixed):
        name, _, url = text.partition("@")
        configs.append(
            InstrumentConfig(instrument=kinds[name], url=url, prefix=f"S{number}:", name=f"{name}{number}")
        )
    async with Host(configs) as host:
        print(json.dumps("ready"), flush=True)
        loop = asyncio.get_running_loop()
        while await loop.run_in_executor(None, sys.stdin.readline):
            gc.collect()
            all_statistics = [unit.driver.port.statistics for unit in host.units]
            report = {
                "exchanges": sum(statistics.exchanges for statistics in all_statistics),
                "retries": sum(statistics.retries for statistics in all_statistics),
                "connects": sum(statistics.connects for statistics in all_statistics),
                "errors": dict(sum((statistics.errors for statistics in all_statistics), Counter())),
                "up": sum(unit.driver.port.is_up for unit in host.units),
                "tasks": len(asyncio.all_tasks()),
                "files": len(os.listdir("/proc/self/fd")),
                "memory": resident(),
                "cpu": time.process_time(),
            }
            print(json.dumps(report), flush=True)


class Ioc:
    """The IOC in a process of its own."""

    async def start(self, words: list[str]) -> None:
        self.process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "benchmarks.soak", "--role", "ioc", *words),
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
        )
        await self._line()

    async def report(self) -> dict[str, Any]:
        assert self.process.stdin is not None
        self.process.stdin.write(b"\n")
        answer: dict[str, Any] = await self._line()
        return answer

    async def calm_report(self) -> dict[str, Any]:
        """What it holds once nothing is under way: the least of several looks."""
        reports = []
        for _ in range(10):
            await asyncio.sleep(0.1)
            reports.append(await self.report())
        lowest = {key: min(report[key] for report in reports) for key in ("tasks", "files", "memory")}
        return reports[-1] | lowest

    async def _line(self) -> Any:
        assert self.process.stdout is not None
        async with asyncio.timeout(PATIENCE):
            line = await self.process.stdout.readline()
        if not line:
            raise RuntimeError("the IOC has ended")
        return json.loads(line)

    async def end(self) -> None:
        if self.process.returncode is None:
            self.process.kill()
        await self.process.wait()


# The instruments and the client


class Bench:
    """One instrument, and what a client saw of it."""

    def __init__(self, kind: Kind, transport: str, number: int, seed: int) -> None:
        self.kind = kind
        self.transport = transport
        self.prefix = f"S{number}:"
        self.simulator = kind.simulator()
        self.puts = Puts(self.simulator.ledger)
        self.judges = {name: Judge(name, self.simulator.ledger) for name in NAMES}
        self.chance = random.Random(f"{seed} {number}")
        self.struck: Counter[str] = Counter()
        self._seed = seed * 1000 + number
        self._next = INITIAL + 1

    @property
    def label(self) -> str:
        return f"{self.kind.name}, {self.transport}"

    def switch_on(self) -> None:
        kinds = FAULTS + (CHECKED_FAULTS if self.kind.checks else ())
        share = SHARE / len(kinds)
        self.simulator.faults.add(*(f"{kind} share={share:.5f} seed={self._seed}" for kind in kinds))

    def count_struck(self) -> None:
        strike = self.simulator.faults.strike

        def counted(when: str, message: bytes) -> Any:
            hits = strike(when, message)
            self.struck.update(hit.fault.kind for hit in hits)
            return hits

        self.simulator.faults.strike = counted  # type: ignore[method-assign]

    async def watch(self, name: str, events: Events) -> None:
        judge = self.judges[name]
        while True:
            with contextlib.suppress(TimeoutError):
                judge.take(await events.next())
            events.received.clear()

    async def put(self, client: Client) -> None:
        """Put, with random gaps, until cancelled."""
        while True:
            await asyncio.sleep(self.chance.uniform(0.1, 0.6))
            value, self._next = self._next, self._next + 1
            try:
                await client.put(f"{self.prefix}SP", value)
            except PutFailed:
                self.puts.failed.append(value)
            except TimeoutError:
                self.puts.unanswered.append(value)
            else:
                self.puts.done.append(value)


async def measure(exchanges: int, seed: int) -> int:
    combinations = [(kind, transport) for kind in KINDS for transport in TRANSPORTS] * EACH
    benches = [Bench(*combination, number, seed) for number, combination in enumerate(combinations)]
    ioc = Ioc()
    began = time.monotonic()
    async with contextlib.AsyncExitStack() as stack:
        words = []
        for bench in benches:
            url = await stack.enter_async_context(bench.simulator.serve(TRANSPORTS[bench.transport]))
            words.append(f"{bench.kind.name}@{url}")
            bench.count_struck()
        await ioc.start(words)
        stack.push_async_callback(ioc.end)
        client = await stack.enter_async_context(Client())
        tasks = []
        for bench in benches:
            for name in NAMES:
                events = await stack.enter_async_context(client.monitor(bench.prefix + name))
                tasks.append(asyncio.create_task(bench.watch(name, events)))
        before = await soaked(ioc, client, benches, int(WARM_UP * exchanges))
        after = await soaked(ioc, client, benches, exchanges - int(WARM_UP * exchanges))
        after["struck"] += before["struck"]
        late = [bench for bench in benches if not all(judge.is_good for judge in bench.judges.values())]
        astray = [
            bench
            for bench in benches
            if (await client.get(f"{bench.prefix}SP_RBV")).value != bench.simulator.setpoint
        ]
        for task in tasks:
            task.cancel()
    return show(benches, before, after, late, astray, time.monotonic() - began)


async def soaked(ioc: Ioc, client: Client, benches: list[Bench], exchanges: int) -> dict[str, Any]:
    """Have faults and puts for so many exchanges, then calm; return what the IOC holds then."""
    first = (await ioc.report())["exchanges"]
    for bench in benches:
        bench.switch_on()
    puts = [asyncio.create_task(bench.put(client)) for bench in benches]
    while (report := await ioc.report())["exchanges"] < first + exchanges:
        logging.info("%s", report)
        await asyncio.sleep(1.0)
    for bench in benches:
        bench.simulator.faults.clear()
    await asyncio.sleep(CALM)
    for put in puts:
        put.cancel()
    await asyncio.wait(puts)
    return await ioc.calm_report() | {"struck": report["exchanges"] - first}


def show(
    benches: list[Bench],
    before: dict[str, Any],
    after: dict[str, Any],
    late: list[Bench],
    astray: list[Bench],
    seconds: float,
) -> int:
    def total(what: str) -> int:
        return sum(len(getattr(bench.puts, what)) for bench in benches)

    wrong = [text for bench in benches for judge in bench.judges.values() for text in judge.wrong]
    growth = after["memory"] - before["memory"]
    rows = [
        ("instruments", f"{len(benches)}", True),
        ("exchanges", f"{after['exchanges']:,}", True),
        ("of them while faults were on", f"{after['struck']:,}", True),
        ("faults that struck", f"{sum(bench.struck.total() for bench in benches):,}", True),
        ("exchanges made again", f"{after['retries']:,}", True),
        ("connections", f"{after['connects']:,}", True),
        ("seconds", f"{seconds:.0f}", True),
        ("IOC's CPU per exchange, us", f"{1e6 * after['cpu'] / after['exchanges']:.0f}", True),
        (
            "values checked at the client",
            f"{sum(judge.count for bench in benches for judge in bench.judges.values()):,}",
            True,
        ),
        ("wrong values", f"{len(wrong)}", not wrong),
        ("puts done", f"{total('done'):,}", True),
        ("puts reported as failed", f"{total('failed'):,}", True),
        ("puts done that were not executed", f"{total('lost')}", not total("lost")),
        ("puts executed twice", f"{total('twice')}", not total("twice")),
        ("puts without an answer", f"{total('unanswered')}", not total("unanswered")),
        ("instruments not good again at the end", f"{len(late)}", not late),
        ("setpoints whose readback is another at the end", f"{len(astray)}", not astray),
        ("memory of the IOC after the warm-up, MB", f"{before['memory'] / 1e6:.1f}", True),
        ("grown until the end by, MB", f"{growth / 1e6:.1f}", growth <= ALLOWED_GROWTH),
        (
            "tasks, after the warm-up and at the end",
            f"{before['tasks']}, {after['tasks']}",
            after["tasks"] <= before["tasks"],
        ),
        (
            "file descriptors, likewise",
            f"{before['files']}, {after['files']}",
            after["files"] <= before["files"],
        ),
    ]
    print("\n| what | measured | as it should be |\n|---|---|---|")
    for what, measured, is_right in rows:
        print(f"| {what} | {measured} | {'yes' if is_right else 'NO'} |")
    struck: Counter[str] = sum((bench.struck for bench in benches), Counter())
    print("\nstruck: " + ", ".join(f"{kind} {count}" for kind, count in sorted(struck.items())))
    print("errors: " + ", ".join(f"{name} {count}" for name, count in sorted(after["errors"].items())))
    for text in wrong[:10]:
        print(f"wrong: {text}")
    for bench in late + astray:
        print(f"not right at the end: {bench.prefix} {bench.label}")
    return 0 if all(is_right for *_, is_right in rows) else 1


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--exchanges", type=int, default=200_000)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("-v", "--verbose", action="store_true", help="show how it goes on")
    parser.add_argument("--role", choices=["ioc"], help=argparse.SUPPRESS)
    parser.add_argument("instruments", nargs="*", help=argparse.SUPPRESS)
    args = parser.parse_args()
    logging.basicConfig(level=logging.INFO if args.verbose else logging.CRITICAL)
    if args.role:
        logging.disable()
        asyncio.run(run_ioc(args.instruments))
        return 0
    return asyncio.run(measure(args.exchanges, args.seed))


if __name__ == "__main__":
    if "EPICS_CA_SERVER_PORT" not in os.environ:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
            sock.bind(("127.0.0.1", 0))
            os.environ["EPICS_CA_SERVER_PORT"] = str(sock.getsockname()[1])
        os.environ.update(EPICS_CA_ADDR_LIST="127.0.0.1", EPICS_CA_AUTO_ADDR_LIST="NO")
    sys.exit(main())
