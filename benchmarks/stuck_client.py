"""What a client that stops reading costs the others and the server: nothing, it should be.

Run with ``python -m benchmarks.stuck_client --seconds 60``, or by ``make soak``. A server has 300 PVs that all change
20 times a second to the next whole number. Two clients on libca, in processes of their own, monitor them all. One is
stopped by SIGSTOP, as a laptop that is put to sleep. The other must receive every value of every PV; the server's
memory must not grow; after SIGCONT the stopped one must get the values of that moment. The exit status is 1 if not.

Everything is on loopback, on ports of the system's choice.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import queue
import resource
import signal
import socket
import sys
import threading
import time
from pathlib import Path
from typing import Any

PVS = 300
HERTZ = 20.0
SETTLE_SECONDS = 5.0
"""Before the client is stopped: the first memory is measured then."""
PATIENCE = 30.0
ALLOWED_GROWTH = 8 << 20
"""Bytes: what waits for the stopped client is the newest event of each of its monitors."""


# The clients


def monitor() -> None:
    """Monitor all PVs with libca and answer each line on standard input with what has come so far."""
    from epics import ca

    last: dict[str, float] = {}
    received = dict.fromkeys(map(name_of, range(PVS)), 0)
    missed = 0

    def take(pvname: str, value: float, **rest: Any) -> None:
        nonlocal missed
        if pvname in last and value != last[pvname] + 1:
            missed += 1
        last[pvname] = value
        received[pvname] += 1

    kept = []
    for number in range(PVS):
        channel = ca.create_channel(name_of(number))
        if not ca.connect_channel(channel, timeout=PATIENCE):
            raise TimeoutError(f"{name_of(number)} does not connect")
        kept.append(ca.create_subscription(channel, use_time=True, callback=take))
    print(json.dumps("ready"), flush=True)
    asked: queue.SimpleQueue[str] = queue.SimpleQueue()

    def hear() -> None:
        for line in sys.stdin:
            asked.put(line)

    threading.Thread(target=hear, daemon=True).start()
    while True:
        ca.poll(evt=0.005, iot=1.0)
        while not asked.empty():
            asked.get()
            lowest = min(last.values()) if len(last) == PVS else -1.0
            report = {"received": sum(received.values()), "missed": missed, "lowest": lowest}
            print(json.dumps(report), flush=True)


def name_of(number: int) -> str:
    return f"STUCK:{number}"


class Monitoring:
    """A client in a process of its own."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self.process = process

    @classmethod
    async def start(cls) -> Monitoring:
        self = cls(
            await asyncio.create_subprocess_exec(
                *(sys.executable, "-m", "benchmarks.stuck_client", "--role", "client"),
                stdin=asyncio.subprocess.PIPE,
                stdout=asyncio.subprocess.PIPE,
                stderr=asyncio.subprocess.DEVNULL,  # libca misses its repeater
            )
        )
        try:
            if await self._line() != "ready":
                raise RuntimeError("the client does not start")
        except BaseException:
            await self.end()
            raise
        return self

    async def report(self) -> dict[str, float]:
        """How many values it received, how many gaps were between them, and the lowest of its last values."""
        assert self.process.stdin is not None
        self.process.stdin.write(b"\n")
        answer: dict[str, float] = await self._line()
        return answer

    async def _line(self) -> Any:
        assert self.process.stdout is not None
        async with asyncio.timeout(PATIENCE):
            line = await self.process.stdout.readline()
        return json.loads(line)

    async def end(self) -> None:
        if self.process.returncode is None:
            self.process.kill()
        await self.process.wait()


# The server


def resident() -> int:
    """Bytes of memory that this process has."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize()


class Posts:
    """Posts the next number to all PVs, HERTZ times a second."""

    def __init__(self) -> None:
        from labioc.devices.core.records import DoublePV, RecordInfo

        self.pvs = {
            name_of(number): DoublePV(info=RecordInfo("ai"), pvname=name_of(number)) for number in range(PVS)
        }
        self.cycles = 0

    async def run(self) -> None:
        due = time.monotonic()
        while True:
            self.cycles += 1
            for pv in self.pvs.values():
                pv.post(float(self.cycles), time.time())
            due += 1 / HERTZ
            await asyncio.sleep(due - time.monotonic())


async def measure(seconds: float) -> list[tuple[str, str, bool]]:
    """Rows of a table: what, how much, and whether it is as it should be."""
    from labioc.iocs.core.server import CAServer

    posts = Posts()
    server = CAServer(posts.pvs)
    await server.start()
    clients: list[Monitoring] = []
    posting = asyncio.create_task(posts.run())
    try:
        clients.append(healthy := await Monitoring.start())
        clients.append(stopped := await Monitoring.start())
        await asyncio.sleep(SETTLE_SECONDS)
        before, memory = await healthy.report(), resident()
        cycles = posts.cycles
        began = time.monotonic()
        stopped.process.send_signal(signal.SIGSTOP)
        await asyncio.sleep(seconds)
        after, cycles = await healthy.report(), posts.cycles - cycles
        grown = resident() - memory
        dropped = server.statistics.dropped_events
        asleep = time.monotonic() - began
        goal = posts.cycles
        stopped.process.send_signal(signal.SIGCONT)
        began = time.monotonic()
        late = await stopped.report()
        while late["lowest"] < goal and time.monotonic() - began < PATIENCE:
            await asyncio.sleep(0.05)
            late = await stopped.report()
        awake = time.monotonic() - began
        clients_now = server.statistics.clients
    finally:
        posting.cancel()
        for client in clients:
            await client.end()
        await server.stop()
    received = after["received"] - before["received"]
    posted = cycles * PVS
    # A report falls into a cycle: up to one cycle at either end isn't counted.
    return [
        ("time for which one client is stopped, s", f"{asleep:.1f}", True),
        ("values posted meanwhile", f"{posted:,}", True),
        ("received by the other client", f"{received:,.0f}", abs(received - posted) <= 2 * PVS),
        ("gaps in what it received", f"{after['missed']:.0f}", after["missed"] == 0),
        ("server's memory before, MB", f"{memory / 1e6:.1f}", True),
        ("server's memory grown by, MB", f"{grown / 1e6:.1f}", grown <= ALLOWED_GROWTH),
        ("events that newer ones replaced", f"{dropped:,}", True),
        ("then current values after, s", f"{awake:.2f}", late["lowest"] >= goal),
        ("clients still connected", f"{clients_now}", clients_now == 2),
    ]


def environment() -> dict[str, str]:
    """Ports of the system's choice, and loopback only."""
    ports = []
    for _ in range(2):
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
            probe.bind(("127.0.0.1", 0))
            ports.append(str(probe.getsockname()[1]))
    return {
        "EPICS_CA_ADDR_LIST": "127.0.0.1",
        "EPICS_CA_AUTO_ADDR_LIST": "NO",
        "EPICS_CA_SERVER_PORT": ports[0],
        "EPICS_CAS_SERVER_PORT": ports[0],
        "EPICS_CA_REPEATER_PORT": ports[1],
        "EPICS_CAS_BEACON_PORT": ports[1],
        "EPICS_CAS_BEACON_ADDR_LIST": "127.0.0.1",
        "EPICS_CAS_AUTO_BEACON_ADDR_LIST": "NO",
    }


def main() -> int:
    parser = argparse.ArgumentParser(
        description="A client that is stopped for a while costs the others nothing."
    )
    parser.add_argument("--seconds", type=float, default=60.0)
    parser.add_argument("--role", choices=["client"], help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.role:
        monitor()
    os.environ.update(environment())
    rows = asyncio.run(measure(options.seconds))
    print(f"{PVS} PVs at {HERTZ:g} Hz, two clients, one of them stopped\n")
    print("| what | measured | as it should be |\n|---|---|---|")
    for what, measured, is_right in rows:
        print(f"| {what} | {measured} | {'yes' if is_right else 'NO'} |")
    return 0 if all(is_right for *_, is_right in rows) else 1


if __name__ == "__main__":
    sys.exit(main())
