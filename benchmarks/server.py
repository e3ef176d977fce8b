"""The Channel Access server beside the C IOC and stock caproto: throughput, latency, connecting, memory and start.

Run with ``make bench``, or ``python -m benchmarks.server --rounds N --seconds S``. Each server is a process of its own
on loopback with ports of the system's choice. In each round every measure is taken of all three in turn; a ratio is
taken within its round, and medians are printed. The client is this process, on bare sockets (benchmarks/raw_ca.py);
channels are also connected by libca.

- The C IOC has soft ai and ao records, labioc's PVs are ai and ao, and stock caproto has ChannelDouble: what is
  quickest there. Where memory and start are compared it has ``record="ai"``, as only that has the fields.
- Updates are posted within the server, by the same loop in all three: consecutive numbers to 100 ai in turn, paced in
  steps of a millisecond, by dbPutField in the C IOC, `write` in caproto and `post` in labioc. A client monitors all
  100. The offered rate is doubled until less than 98 % arrive or they arrive too slowly, then narrowed down; the best
  rate of delivery at which 98 % arrived counts, and the server's CPU time during it, which includes the posting.
- With ten clients each has 100 monitors, and all that is delivered counts.
- Latency is from a put on one circuit to the event on another, after a pause.
- Memory is by how much more a process with N records holds than one with a single record, before any field is used.
  A start is from starting the process to the answer to a get of the last record; making the C IOC's records includes
  the start of all else in it.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import ctypes
import io
import logging
import os
import random
import re
import select
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

from benchmarks.raw_ca import PATIENCE, Events, RawClient, find

SERVERS = C, CAPROTO, LABIOC = "C IOC", "caproto", "labioc"
CAPROTO_AI = "caproto-ai"
RECORDS = 10_000
FEW = 1_000
MONITORED = 100
CLIENTS = 10
IN_FLIGHT = 200
TICK = 0.001
TRIAL = 0.4
LOSSLESS = 0.98
IN_TIME = 0.8
FIRST_RATE = 4_000.0
NARROWINGS = 3
QUIET = 1.2
"""Seconds after which no more updates come: caproto holds them back for up to one."""
LOWEST_RATE = 50.0
START_PATIENCE = 120.0

Poster = Callable[[int, float], Awaitable[object]]
"""Posts a value to one of the first ai."""
Values = dict[str, float]


# The servers


construction: list[float] = []
running: list[object] = []


@contextlib.contextmanager
def constructing() -> Iterator[None]:
    """Note how long it takes to make the records."""
    began = time.perf_counter()
    yield
    construction.append(time.perf_counter() - began)


async def start_c(records: int, kind: str) -> Poster:
    from epicscorelibs import ioc

    database = [f'record(ai, "B:{n}") {{ field(EGU, "K") field(PREC, "3") }}\n' for n in range(records)]
    silent = contextlib.redirect_stderr(io.StringIO())
    with tempfile.NamedTemporaryFile("w", suffix=".db") as file, silent, constructing():
        file.writelines([*database, 'record(ao, "B:AO") { field(EGU, "K") field(PREC, "3") }\n'])
        file.flush()
        ioc.Com.eltc(0)  # or iocInit talks on standard error
        ioc.start_ioc(file.name)
    addresses = []
    for n in range(min(records, MONITORED)):
        address = ctypes.create_string_buffer(256)  # a dbAddr, with room to spare
        if ioc.dbCore.dbNameToAddr(f"B:{n}".encode(), address):
            raise LookupError(n)
        addresses.append(address)
    number = ctypes.c_double()
    pointer, put, dbr_double = ctypes.byref(number), ioc.dbCore.dbPutField, 10

    async def post(n: int, value: float) -> None:
        number.value = value
        put(addresses[n], dbr_double, pointer, 1)

    return post


async def start_caproto(records: int, kind: str) -> Poster:
    from caproto import ChannelDouble
    from caproto.asyncio.server import Context
    from caproto.server import PVGroup, pvproperty

    logging.getLogger("caproto").setLevel(logging.ERROR)
    metadata = {"value": 0.0, "units": "K", "precision": 3}
    with constructing():
        if kind == CAPROTO_AI:
            body = {f"n{n}": pvproperty(name=str(n), record="ai", **metadata) for n in range(records)}
            pvdb = type("Group", (PVGroup,), body)(prefix="B:").pvdb
        else:
            pvdb = {f"B:{n}": ChannelDouble(**metadata) for n in (*range(records), "AO")}
    context = Context(pvdb, ["127.0.0.1"])
    running.append(asyncio.create_task(context.run()))
    posted = [pvdb[f"B:{n}"] for n in range(min(records, MONITORED))]

    async def post(n: int, value: float) -> None:
        await posted[n].write(value)

    return post


async def start_labioc(records: int, kind: str) -> Poster:
    from labioc.devices.core.records import DoublePV, RecordInfo
    from labioc.iocs.core.server import CAServer

    with constructing():
        pvs = {
            f"B:{n}": DoublePV(info=RecordInfo("ai", egu="K", prec=3), pvname=f"B:{n}")
            for n in range(records)
        }
    ao = DoublePV(info=RecordInfo("ao", egu="K", prec=3), pvname="B:AO")

    async def putter(value: float) -> None:
        ao.post(value, time.time())

    ao.putter = putter
    server = CAServer({**pvs, "B:AO": ao})
    await server.start()
    running.append(server)
    posted = [pvs[f"B:{n}"] for n in range(min(records, MONITORED))]

    async def post(n: int, value: float) -> None:
        posted[n].post(value, time.time())

    return post


STARTERS = {C: start_c, CAPROTO: start_caproto, CAPROTO_AI: start_caproto, LABIOC: start_labioc}


async def run_server(kind: str, records: int) -> None:
    """Serve until standard input ends; each line of it is a rate and a number of values to post."""
    # The C IOC greets on standard output.
    answers = os.fdopen(os.dup(1), "w", buffering=1)
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
    post = await STARTERS[kind](records, kind)
    print(*construction, file=answers)
    posted = 0
    while line := await asyncio.get_running_loop().run_in_executor(None, sys.stdin.readline):
        rate, count = map(float, line.split())
        first, began = posted, time.perf_counter()
        while posted - first < count:
            due = min(first + int(count), first + int((time.perf_counter() - began) * rate))
            # Who can't keep up still yields after each round of all PVs.
            for number in range(posted, min(due, posted + MONITORED)):
                cycle, n = divmod(number, MONITORED)
                await post(n, cycle + 1.0)
                posted = number + 1
            await asyncio.sleep(0 if posted < due else TICK)
        print(posted, file=answers)


def run_libca(count: int) -> None:
    """Connect to ai with libca and print how many seconds it takes."""
    from epics import ca

    ca.initialize_libca()
    channel = ctypes.c_void_p()
    began = time.perf_counter()
    for n in range(count):
        ca.libca.ca_create_channel(f"B:{n}".encode(), None, None, 0, ctypes.byref(channel))
    if ca.libca.ca_pend_io(ctypes.c_double(PATIENCE)) != ca.dbr.ECA_NORMAL:
        raise TimeoutError(f"libca didn't connect {count} channels")
    print(time.perf_counter() - began, flush=True)
    sys.stdin.read()


# Processes


@contextlib.contextmanager
def role(name: str, records: int, port: int) -> Iterator[subprocess.Popen[bytes]]:
    """This script in another role, in a process of its own."""
    process = subprocess.Popen(
        [sys.executable, "-m", "benchmarks.server", "--role", name, "--records", str(records)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        bufsize=0,
        start_new_session=True,  # an interrupt is for this process, which then ends its own
        env=os.environ
        | {
            "EPICS_CA_ADDR_LIST": "127.0.0.1",
            "EPICS_CA_AUTO_ADDR_LIST": "NO",
            "EPICS_CA_SERVER_PORT": str(port),
            "EPICS_CAS_SERVER_PORT": str(port),
            "EPICS_CAS_INTF_ADDR_LIST": "127.0.0.1",
            "EPICS_CAS_BEACON_ADDR_LIST": "127.0.0.1",
            "EPICS_CAS_BEACON_PORT": os.environ["EPICS_CA_REPEATER_PORT"],
            "EPICS_CAS_AUTO_BEACON_ADDR_LIST": "NO",
        },
    )
    try:
        yield process
    finally:
        process.kill()
        process.wait()
        for pipe in (process.stdin, process.stdout):
            assert pipe is not None
            pipe.close()


def has_line(process: subprocess.Popen[bytes], seconds: float = 0.0) -> bool:
    assert process.stdout is not None
    return bool(select.select([process.stdout], [], [], seconds)[0])


def read_line(process: subprocess.Popen[bytes], seconds: float = PATIENCE) -> str:
    assert process.stdout is not None
    if not has_line(process, seconds):
        raise TimeoutError(f"nothing from {process.args!r}")
    line = process.stdout.readline()
    if not line:
        raise ConnectionResetError(f"{process.args!r} has ended")
    return line.decode().strip()


class Server:
    """A server in a process of its own, ready to answer."""

    def __init__(self, process: subprocess.Popen[bytes], search_port: int, records: int) -> None:
        self.process, self.search_port = process, search_port
        self.port = find(f"B:{records - 1}", search_port, START_PATIENCE, lambda: process.poll() is None)
        with self.client() as client:
            client.get(client.channel(f"B:{records - 1}"))
        self.ready_at = time.perf_counter()
        self.construction = float(read_line(process))

    def client(self) -> RawClient:
        return RawClient(self.port)

    def cpu_seconds(self) -> float:
        """CPU time of all its threads so far."""
        fields = Path(f"/proc/{self.process.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def resident_kb(self) -> float:
        """The memory that it holds, in units of 1000 bytes."""
        pages = Path(f"/proc/{self.process.pid}/statm").read_text().split()[1]
        return int(pages) * os.sysconf("SC_PAGE_SIZE") / 1000

    def post(self, rate: float, count: int) -> None:
        assert self.process.stdin is not None
        self.process.stdin.write(f"{rate} {count}\n".encode())


@contextlib.contextmanager
def serving(kind: str, records: int) -> Iterator[tuple[Server, float]]:
    """A server that has this many ai, and the seconds that it took to start."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    began = time.perf_counter()
    with role(kind, records, port) as process:
        server = Server(process, port, records)
        yield server, server.ready_at - began


# Measures of a server that runs


def percentile(seconds: list[float], part: float) -> float:
    return sorted(seconds)[min(len(seconds) - 1, int(part * len(seconds)))]


def one_at_a_time(act: Callable[[int], object], seconds: float) -> tuple[float, float, float]:
    """How often per second, and p50 and p99 in microseconds."""
    spent: list[float] = []
    last = began = time.perf_counter()
    while last - began < seconds:
        act(len(spent) + 1)
        now = time.perf_counter()
        spent.append(now - last)
        last = now
    return len(spent) / (last - began), 1e6 * percentile(spent, 0.5), 1e6 * percentile(spent, 0.99)


def measure_gets(server: Server, seconds: float) -> Values:
    with server.client() as client:
        channel = client.channel("B:AO")
        rate, p50, p99 = one_at_a_time(lambda _: client.get(channel), seconds)
        pipelined = client.pipelined_gets(channel, IN_FLIGHT, seconds)
    return {"get": rate, "get_p50": p50, "get_p99": p99, "pipelined": pipelined}


def measure_puts(server: Server, seconds: float) -> Values:
    with server.client() as client:
        channel = client.channel("B:AO")
        rate, p50, p99 = one_at_a_time(lambda n: client.put_callback(channel, n), seconds)
    return {"put": rate, "put_p50": p50, "put_p99": p99}


def measure_latency(server: Server, seconds: float) -> Values:
    with server.client() as writer, server.client() as reader:
        writer.put_callback(written := writer.channel("B:AO"), -1.0)
        reader.subscribe([reader.channel("B:AO")])
        value = 0.0

        def burst(size: int) -> list[float]:
            nonlocal value
            spent = []
            began = time.perf_counter()
            while time.perf_counter() - began < seconds:
                time.sleep(random.uniform(0.01, 0.02))
                sent = time.perf_counter()
                for _ in range(size):
                    value += 1.0
                    writer.put(written, value)
                while reader.next_event() != value:
                    pass
                spent.append(1e3 * (time.perf_counter() - sent))
            return spent

        single, five = burst(1), burst(5)
    return {
        "latency": percentile(single, 0.5),
        "latency_p99": percentile(single, 0.99),
        "burst": percentile(five, 0.5),
    }


@dataclass(frozen=True)
class Trial:
    """What became of the updates that were posted at one rate."""

    arrived: float  # of what was posted
    delivered: float  # per second
    cpu: float  # us for each


def post_and_count(server: Server, events: Events, clients: int, rate: float, seconds: float) -> Trial:
    count = int(rate * seconds)
    cpu, began = server.cpu_seconds(), time.perf_counter()
    server.post(rate, count)
    events.gather(count * clients, lambda: has_line(server.process), QUIET)
    cpu = server.cpu_seconds() - cpu
    first = int(read_line(server.process)) - count
    received = 0
    for monitors in events.take():
        for n, values in monitors.items():
            # An event of an earlier trial that comes so late doesn't count.
            received += sum((value - 1) * MONITORED + n >= first for value in values)
            if any(later <= earlier for earlier, later in pairwise(values)):
                raise ValueError("events out of order")
    if not received:
        return Trial(0.0, 0.0, 0.0)
    return Trial(received / (count * clients), received / (events.last - began), 1e6 * cpu / received)


def best_delivery(server: Server, clients: int, seconds: float) -> Trial:
    """The best lossless trial; rates are doubled until one isn't kept up with, then narrowed down."""
    with contextlib.ExitStack() as stack:
        circuits = [stack.enter_context(server.client()) for _ in range(clients)]
        for circuit in circuits:
            circuit.subscribe([circuit.channel(f"B:{n}") for n in range(MONITORED)])
        events = Events(circuits)
        stack.callback(events.close)
        lossless: list[Trial] = []

        def keeps_up(rate: float) -> bool:
            for _ in range(2):  # something else may have taken the processor
                trial = post_and_count(server, events, clients, rate, TRIAL * seconds)
                if trial.arrived >= LOSSLESS:
                    lossless.append(trial)
                    if trial.delivered >= IN_TIME * rate * clients:
                        return True
            return False

        kept = FIRST_RATE / clients
        while not keeps_up(kept):
            kept /= 2
            if kept < LOWEST_RATE:
                raise TimeoutError(f"not even {LOWEST_RATE:g} updates/s arrive")
        missed = 2 * kept
        while keeps_up(missed):
            kept, missed = missed, 2 * missed
        for _ in range(NARROWINGS):
            middle = (kept * missed) ** 0.5
            kept, missed = (middle, missed) if keeps_up(middle) else (kept, middle)
    return max(lossless, key=lambda trial: trial.delivered)


def measure_updates(server: Server, seconds: float) -> Values:
    one, ten = (best_delivery(server, clients, seconds) for clients in (1, CLIENTS))
    return {"updates": one.delivered, "updates_cpu": one.cpu, "ten": ten.delivered, "ten_cpu": ten.cpu}


def measure_connecting(server: Server, seconds: float) -> Values:
    values = {}
    for count in (FEW, RECORDS):
        with role("libca", count, server.search_port) as process:
            values[f"connect_{count}"] = 1e3 * float(read_line(process, 2 * PATIENCE))
        with server.client() as client:
            began = time.perf_counter()
            client.open([f"B:{n}" for n in range(count)])
            values[f"create_{count}"] = 1e3 * (time.perf_counter() - began)
    return values


MEASURES = (measure_gets, measure_puts, measure_latency, measure_updates, measure_connecting)


# Memory and start


def ai_fields() -> list[str]:
    """The fields of an ai record, from the C IOC's definitions."""
    from epicscorelibs import path

    dbd = Path(path.base_path, "dbd")
    text = (dbd / "aiRecord.dbd").read_text() + (dbd / "dbCommonRecord.dbd").read_text()
    return re.findall(r"^\s*field\((\w+)", text, re.M)


def read_all_fields(server: Server, records: range) -> None:
    with server.client() as client:
        names = ai_fields()
        exist = [number is not None for number in client.open([f"B:0.{name}" for name in names])]
        names = [name for name, exists in zip(names, exist, strict=True) if exists]
        channels = client.open([f"B:{n}.{name}" for n in records for name in names])
        client.read([channel for channel in channels if channel is not None])


def measure_records(name: str, *, many: bool, fields: bool) -> Values:
    kind = CAPROTO_AI if name == CAPROTO else name
    with serving(kind, 1) as (server, started):
        empty = server.resident_kb()
    values = {"start_1": 1e3 * started}
    for count in (FEW, RECORDS) if many else (FEW,):
        with serving(kind, count) as (server, started):
            resident = server.resident_kb()
            values[f"start_{count}"] = 1e3 * started
            values[f"construction_{count}"] = 1e3 * server.construction
            values[f"memory_{count}"] = (resident - empty) / (count - 1)
            if fields and count == FEW:
                read_all_fields(server, range(1))
                values["fields_one"] = (server.resident_kb() - empty) / (count - 1)
                read_all_fields(server, range(count))
                values["fields_all"] = (server.resident_kb() - empty) / (count - 1)
    return values


# The report


@dataclass(frozen=True)
class Row:
    """One line of the table; a target is a bound of labioc's own figure, or of its ratio to caproto's."""

    title: str
    digits: int = 0
    at_most: float | None = None
    times_caproto: float | None = None


ROWS = {
    "get": Row("gets/s, one at a time", times_caproto=1.5),
    "get_p50": Row("get, p50, us"),
    "get_p99": Row("get, p99, us"),
    "put": Row("put-callbacks/s, one at a time", times_caproto=1.3),
    "put_p50": Row("put-callback, p50, us"),
    "put_p99": Row("put-callback, p99, us"),
    "pipelined": Row(f"gets/s, {IN_FLIGHT} in flight", times_caproto=6),
    "updates": Row("lossless updates/s to one client", times_caproto=4),
    "updates_cpu": Row("server CPU per update, us", 1, at_most=20),
    "ten": Row("lossless updates/s to ten clients, in sum"),
    "ten_cpu": Row("server CPU per update, us, ten clients", 1),
    "latency": Row("put to event on another circuit, p50, ms", 2, at_most=0.35),
    "latency_p99": Row("put to event on another circuit, p99, ms", 2),
    "burst": Row("burst of 5 puts to last event, p50, ms", 2, at_most=1),
    f"connect_{FEW}": Row("libca connects 1000 channels, ms"),
    f"connect_{RECORDS}": Row("libca connects 10,000 channels, ms"),
    f"create_{FEW}": Row("1000 channels on one circuit, no search, ms"),
    f"create_{RECORDS}": Row("10,000 channels on one circuit, no search, ms"),
    f"memory_{FEW}": Row("memory per ai of 1000, kB", 1),
    f"memory_{RECORDS}": Row("memory per ai of 10,000, kB", 1, at_most=6),
    "fields_one": Row("the same of 1000 when all fields of one were read, kB", 1),
    "fields_all": Row("the same of 1000 when all fields of all were read, kB", 1),
    "start_1": Row("start with 1 ai, ms"),
    f"start_{FEW}": Row("start with 1000 ai, ms"),
    f"start_{RECORDS}": Row("start with 10,000 ai, ms", at_most=1000),
    f"construction_{FEW}": Row("of this making 1000 ai, ms"),
    f"construction_{RECORDS}": Row("of this making 10,000 ai, ms"),
}
Results = dict[str, dict[str, dict[int, float]]]
"""Figures by row, server and round."""


def ratios(of: dict[int, float], to: dict[int, float]) -> list[float]:
    return [of[number] / to[number] for number in of if to.get(number)]


def spread(some: list[float]) -> str:
    return f"{statistics.median(some):.3g} ({min(some):.3g} to {max(some):.3g})" if some else ""


def report(results: Results) -> None:
    print(f"| measure | {' | '.join(SERVERS)} | labioc : caproto | labioc : C IOC | target |")
    print("|---" * 7 + "|")
    for key, row in ROWS.items():
        figures = results[key]
        medians = {name: statistics.median(of.values()) for name, of in figures.items()}
        cells = [f"{medians[name]:,.{row.digits}f}" if name in medians else "" for name in SERVERS]
        to_caproto, to_c = (ratios(figures[LABIOC], figures.get(name, {})) for name in (CAPROTO, C))
        cells += [spread(some) for some in (to_caproto, to_c)]
        target = ""
        if row.at_most is not None:
            target = f"<= {row.at_most:g}: {'yes' if medians[LABIOC] <= row.at_most else 'no'}"
        elif row.times_caproto is not None and to_caproto:
            met = statistics.median(to_caproto) >= row.times_caproto
            target = f">= {row.times_caproto:g} x caproto: {'yes' if met else 'no'}"
        print(f"| {row.title} | {' | '.join(cells)} | {target} |")


def measure(rounds: int, seconds: float, *, with_slow: bool) -> Results:
    results: Results = defaultdict(lambda: defaultdict(dict))

    def keep(name: str, number: int, values: Values) -> None:
        for key, value in values.items():
            results[key][name][number] = value

    for number in range(rounds):
        # Whoever is first in one round is last in the next.
        order = SERVERS[number % 3 :] + SERVERS[: number % 3]
        with contextlib.ExitStack() as stack:
            servers = {name: stack.enter_context(serving(name, RECORDS))[0] for name in order}
            for run in MEASURES:
                for name, server in servers.items():
                    keep(name, number, run(server, seconds))
        for name in order:
            many = name != CAPROTO or (with_slow and number == 0)
            keep(name, number, measure_records(name, many=many, fields=name == LABIOC and number == 0))
        print(f"round {number + 1} of {rounds} is done", file=sys.stderr)
    return results


def main() -> None:
    parser = argparse.ArgumentParser(description="The Channel Access server beside the C IOC and caproto.")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=0.8)
    parser.add_argument(
        "--skip-slow",
        action="store_true",
        help="leave out caproto's 10,000 ai (20 s, 1.6 GB), as --rounds 1 does",
    )
    parser.add_argument("--role", choices=(*STARTERS, "libca", "client"), default="client")
    parser.add_argument("--records", type=int, default=RECORDS)
    args = parser.parse_args()
    if args.role == "libca":
        run_libca(args.records)
    elif args.role != "client":
        asyncio.run(run_server(args.role, args.records))
    else:
        signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as repeater:
            # While the port is taken libca starts no repeater.
            repeater.bind(("127.0.0.1", 0))
            os.environ["EPICS_CA_REPEATER_PORT"] = str(repeater.getsockname()[1])
            results = measure(args.rounds, args.seconds, with_slow=args.rounds > 1 and not args.skip_slow)
        print(
            f"\n{args.rounds} rounds of {args.seconds:g} s; medians; ratios within a round, lowest to highest\n"
        )
        report(results)


if __name__ == "__main__":
    main()
