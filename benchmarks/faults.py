"""Every fault, over TCP and a pseudo-terminal, with three kinds of protocol: what the PVs show, and for how long.

Run with ``make soak``. Six instruments, one IOC and one Channel Access client in one process go through the faults side
by side. Each fault strikes one reading, then one put, then everything for two seconds while a client puts. Every
reply names its parameter and carries a number that rises; the instruments keep a ledger of what they executed. The exit
status is 1 if a wrong value was seen, a put was lost or executed twice, or something does not come back.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import functools
import logging
import os
import socket
import sys
import time
from dataclasses import dataclass, field

from tests.ca import Client, PutFailed, Reading

from benchmarks.kinds import INITIAL, KINDS, NAMES, TIMEOUT, Judge, Kind, Puts
from labioc.devices.core.records import AlarmSeverity, AlarmStatus
from labioc.drivers.core.keeper import LAST_BACK_OFF
from labioc.iocs.core import Host, InstrumentConfig
from labioc.sim.core.faults import Fault

LASTS = 2.0
CALM = 0.7
"""Seconds without an alarm, time-out and scan period included, after which all is over."""
LATE = 0.8
PATIENCE = 15.0
SLACK = 0.5
RECOVERY = TIMEOUT + LATE + LAST_BACK_OFF + SLACK
"""Seconds within which everything must be good again: an attempt under way, a late reply, the next attempt."""
ONCE, ALL = "one reply", f"all, for {LASTS:g} s"

TRANSPORTS = {"TCP": "tcp://127.0.0.1:0", "pty": "pty:"}


@dataclass(frozen=True)
class Case:
    """A fault, and how it is tried.

    Attributes:
        also: what is switched on with it when it lasts.
        once: whether it strikes single exchanges.
        lasts: whether it is kept on for a while.
        needs_check: whether it takes a protocol with addresses and checksums.
        unseen: whether a protocol without a checksum can't see it.
        after: how long a single one lasts, seconds.
    """

    text: str
    also: str = ""
    once: bool = True
    lasts: bool = True
    needs_check: bool = False
    unseen: bool = False
    after: float = 0.0

    @property
    def label(self) -> str:
        return self.text.replace("=", " ")


CASES = (
    Case(f"late={LATE}", after=LATE),
    Case("lose"),
    Case("cut"),
    Case("noise"),
    Case("flip", unseen=True),
    Case("garbage"),
    Case("twice"),
    Case("wrong-address", needs_check=True),
    Case("wrong-checksum", needs_check=True),
    Case("merge"),
    Case("trickle"),
    Case("echo"),
    Case("refuse"),
    Case("hang-up"),
    Case("hang-up=rst"),
    Case("disconnect"),
    Case("disconnect=rst"),
    Case("mute", once=False),
    Case("refuse-connections", also="disconnect count=1", once=False),
    Case(f"power-cycle={LASTS:g}", lasts=False, after=LASTS),
)


@dataclass
class Seen:
    """What one phase of one fault did to the PVs. Seconds.

    Attributes:
        told: from the fault to the first INVALID event.
        back: from the end of the fault until all is good.
    """

    statuses: list[str] = field(default_factory=list)
    told: float = 0.0
    back: float = 0.0
    puts_done: int = 0
    puts_failed: int = 0
    stuck: bool = False

    def __str__(self) -> str:
        if self.stuck:
            return "NEVER BACK"
        if not self.statuses:
            return "nothing"
        return f"{', '.join(self.statuses)} {self.told:.2f} / {max(0.0, self.back):.2f}"


class Bench:
    """One instrument, its PVs and what a client saw of them."""

    def __init__(self, kind: Kind, transport: str, number: int) -> None:
        self.kind = kind
        self.transport = transport
        self.prefix = f"B{number}:"
        self.simulator = kind.simulator()
        self.ledger = self.simulator.ledger
        self.puts = Puts(self.ledger)
        self.judges = {name: Judge(name, self.ledger) for name in NAMES}
        self.events: list[tuple[float, str, str]] = []
        self.seen: dict[tuple[Case, str], Seen] = {}
        self.wrong: dict[Case, int] = {}
        self._next = INITIAL + 1

    @property
    def label(self) -> str:
        return f"{self.kind.name}, {self.transport}"

    @property
    def all_good(self) -> bool:
        return all(judge.is_good for judge in self.judges.values())

    async def run(self, client: Client, cases: tuple[Case, ...]) -> None:
        async with contextlib.AsyncExitStack() as stack:
            for name, judge in self.judges.items():
                events = await stack.enter_async_context(client.monitor(self.prefix + name))
                events.on_event = functools.partial(self._note, name, judge)
                for reading in events.received:
                    judge.take(reading)
            for case in cases:
                if case.needs_check and not self.kind.checks:
                    continue
                before = sum(len(judge.wrong) for judge in self.judges.values())
                await self._try(client, case)
                self.wrong[case] = sum(len(judge.wrong) for judge in self.judges.values()) - before

    def _note(self, name: str, judge: Judge, reading: Reading) -> None:
        judge.take(reading)
        status = AlarmStatus(reading.status).name if reading.severity == AlarmSeverity.INVALID_ALARM else ""
        self.events.append((time.monotonic(), name, status))

    async def _try(self, client: Client, case: Case) -> None:
        faults = self.simulator.faults
        if case.once:
            seen = self.seen[case, ONCE] = Seen()
            self.events.clear()
            fault = Fault.parse(f"{case.text} only={self.kind.reading} count=1")
            faults.add(fault)
            async with asyncio.timeout(PATIENCE):
                while fault in faults.active:  # noqa: ASYNC110
                    await asyncio.sleep(0.001)
            since = time.monotonic()
            await self._calm(seen, since, since + case.after)
            seen = self.seen[case, "put"] = Seen()
            since = time.monotonic()
            self.events.clear()
            faults.add(f"{case.text} only={self.kind.writing} count=1")
            await self._put(client, seen)
            faults.clear()
            await self._calm(seen, since, time.monotonic() + case.after)
        if case.lasts:
            seen = self.seen[case, ALL] = Seen()
            since = time.monotonic()
            self.events.clear()
            faults.add(*[text for text in (case.text, case.also) if text])
            while time.monotonic() - since < LASTS:
                await self._put(client, seen)
                await asyncio.sleep(0.1)
            faults.clear()
            await self._calm(seen, since, time.monotonic())

    async def _put(self, client: Client, seen: Seen) -> None:
        value, self._next = self._next, self._next + 1
        try:
            await client.put(f"{self.prefix}SP", value)
        except PutFailed:
            self.puts.failed.append(value)
            seen.puts_failed += 1
        except TimeoutError:
            self.puts.unanswered.append(value)
        else:
            self.puts.done.append(value)
            seen.puts_done += 1

    async def _calm(self, seen: Seen, since: float, ended: float) -> None:
        """Wait until all is good and stays so; note when it was."""
        quiet_from = time.monotonic()
        while True:
            await asyncio.sleep(0.02)
            now = time.monotonic()
            if now < ended or not self.all_good:
                quiet_from = now
            elif now - max(quiet_from, ended) > CALM:
                break
            if now - ended > PATIENCE:
                seen.stuck = True
                break
        invalid: set[str] = set()
        for when, name, status in self.events:
            if not status:
                if invalid == {name}:
                    seen.back = when - ended
                invalid.discard(name)
                continue
            if not seen.statuses:
                seen.told = max(0.0, when - since)
            if status not in seen.statuses:
                seen.statuses.append(status)
            invalid.add(name)


def promises(benches: list[Bench]) -> list[str]:
    """What was promised and not kept."""
    broken = []
    for bench in benches:
        for case, wrong in bench.wrong.items():
            if wrong and not (case.unseen and not bench.kind.checks):
                texts = [text for judge in bench.judges.values() for text in judge.wrong]
                broken.append(f"{bench.label}: {case.label}: {wrong} wrong values: {texts[-5:]}")
        for (case, phase), seen in bench.seen.items():
            if seen.stuck or seen.back > RECOVERY:
                broken.append(f"{bench.label}: {case.label}, {phase}: back after {seen.back:.2f} s")
        for what, puts in (
            ("lost", bench.puts.lost),
            ("executed twice", bench.puts.twice),
            ("without an answer", bench.puts.unanswered),
        ):
            if puts:
                broken.append(f"{bench.label}: puts {what}: {puts[:5]}")
    return broken


def show(benches: list[Bench], cases: tuple[Case, ...]) -> None:
    print("| fault | strikes | " + " | ".join(bench.label for bench in benches) + " | wrong values |")
    print("|---|---|" + "---|" * (len(benches) + 1))
    for case in cases:
        wrong = _wrong(benches, case)
        for phase in (ONCE, ALL):
            if not any((case, phase) in bench.seen for bench in benches):
                continue
            cells = [str(bench.seen.get((case, phase), "")) for bench in benches]
            print(f"| {case.label} | {phase} | {' | '.join(cells)} | {wrong} |")
            wrong = ""
    print("\n| fault in a put | " + " | ".join(bench.label for bench in benches) + " |")
    print("|---|" + "---|" * len(benches))
    for case in cases:
        for phase, name in (("put", case.label), (ALL, f"{case.label}, {ALL}")):
            found = [bench.seen.get((case, phase)) for bench in benches]
            if any(found):
                cells = [
                    "" if s is None else f"{s.puts_done} done, {s.puts_failed} failed"
                    if phase == ALL else "done" if s.puts_done else "failed"
                    for s in found
                ]  # fmt: skip
                print(f"| {name} | {' | '.join(cells)} |")
    done = sum(len(bench.puts.done) for bench in benches)
    failed = sum(len(bench.puts.failed) for bench in benches)
    executed = sum(len(set(bench.puts.failed) & set(bench.ledger.executed)) for bench in benches)
    print(f"\n{done} puts done, {failed} reported as failed, {executed} of them executed all the same")
    print(f"done and not executed: {sum(len(bench.puts.lost) for bench in benches)}")
    print(f"executed twice: {sum(len(bench.puts.twice) for bench in benches)}")


def _wrong(benches: list[Bench], case: Case) -> str:
    seen = sum(bench.wrong.get(case, 0) for bench in benches if bench.kind.checks or not case.unseen)
    unseen = sum(bench.wrong.get(case, 0) for bench in benches if case.unseen and not bench.kind.checks)
    return f"{seen}, and {unseen} without a checksum" if unseen else str(seen)


async def measure(cases: tuple[Case, ...]) -> list[Bench]:
    benches = [
        Bench(kind, transport, number)
        for number, (kind, transport) in enumerate(
            (kind, transport) for kind in KINDS for transport in TRANSPORTS
        )
    ]
    async with contextlib.AsyncExitStack() as stack:
        configs = []
        for bench in benches:
            url = await stack.enter_async_context(bench.simulator.serve(TRANSPORTS[bench.transport]))
            configs.append(
                InstrumentConfig(
                    instrument=bench.kind.instrument(), url=url, prefix=bench.prefix, name=bench.label
                )
            )
        await stack.enter_async_context(Host(configs))
        client = await stack.enter_async_context(Client())
        async with asyncio.TaskGroup() as tasks:
            for bench in benches:
                tasks.create_task(bench.run(client, cases))
    return benches


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--only", default="", help="only faults with this in their text")
    parser.add_argument("-v", "--verbose", action="store_true", help="log what the ports say")
    args = parser.parse_args()
    logging.basicConfig(level=logging.INFO if args.verbose else logging.CRITICAL)
    cases = tuple(case for case in CASES if args.only in case.text)
    began = time.monotonic()
    benches = asyncio.run(measure(cases))
    print(
        f"\ntime-out {TIMEOUT:g} s, scan period 0.1 s, reads asked again once; {time.monotonic() - began:.0f} s\n"
    )
    show(benches, cases)
    broken = promises(benches)
    print("\n" + ("\n".join(f"BROKEN: {text}" for text in broken) or "all promises kept"))
    return 1 if broken else 0


def use_own_ports() -> None:
    """Let server and clients of this process find each other, and nobody else."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.bind(("127.0.0.1", 0))
        os.environ["EPICS_CA_SERVER_PORT"] = str(sock.getsockname()[1])
    os.environ.update(EPICS_CA_ADDR_LIST="127.0.0.1", EPICS_CA_AUTO_ADDR_LIST="NO")


if __name__ == "__main__":
    use_own_ports()
    sys.exit(main())
