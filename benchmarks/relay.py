"""The relay under load: puts to many PVs with nothing lost, and whole sets after kill -9.

``python -m benchmarks.relay`` is run by ``make bench``: a client monitors RECORDS names before anybody has put to them.
Another one puts consecutive numbers to them in turn, paced, and then as fast as it can. Every number must come to the
monitors, those of a PV in their order. The relay keeps everything in a file meanwhile, unless it says otherwise.

``python -m benchmarks.relay --kills N`` is run by ``make soak``: numbers are put in turn to KILLED PVs, each put waits
for the one before, and at a moment chosen by chance the relay is killed. What the next start brings back must be what
there was after some put, without a gap, and this put must be less than a second and the system's hiccup from the kill.

The exit status is 1 if a promise is broken.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import random
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from benchmarks.raw_ca import PATIENCE, Events, RawClient, find
from benchmarks.stuck_client import environment

PREFIX = "B:"
RECORDS = 10_000
RATE = 5_000.0
IN_TIME = 0.9
"""The share of the wanted rate that must be reached."""
BATCH = 100
QUIET = 2.0
KILLED = 500
FIRST_PUTS = 50
LONGEST_LIFE = 2.5
LOST_SECONDS = 1.0
HICCUP = 0.25
"""On a machine that does other things too, a thread may start so much later."""
Row = tuple[str, str, bool]


def names(count: int) -> list[str]:
    return [f"{PREFIX}x{number}_f1" for number in range(count)]


# Processes


@contextlib.contextmanager
def process(*words: str) -> Iterator[subprocess.Popen[bytes]]:
    """A Python program in a process of its own."""
    made = subprocess.Popen([sys.executable, "-m", *words], stdout=subprocess.PIPE, env=environment_now)
    try:
        yield made
    finally:
        made.kill()
        made.wait()
        assert made.stdout is not None
        made.stdout.close()


@contextlib.contextmanager
def relaying(*options: str) -> Iterator[tuple[subprocess.Popen[bytes], int]]:
    """A relay, and its TCP port."""
    words = ("labioc.iocs.core", "run", "relay", "-q", "--prefix", PREFIX, *options)
    with process(*words) as relay:
        search_port = int(environment_now["EPICS_CAS_SERVER_PORT"])
        yield relay, find(f"{PREFIX}PUTS", search_port, PATIENCE, lambda: relay.poll() is None)


def publish(port: int, rate: float, count: int) -> None:
    """Put consecutive numbers, so many a second, or as many as possible for a rate of 0; print the seconds it took."""
    with RawClient(port) as client:
        channels = [channel for channel in client.open(names(RECORDS)) if channel is not None]
        began = time.perf_counter()
        for number in range(count):
            if rate and not number % BATCH:
                time.sleep(max(0.0, began + number / rate - time.perf_counter()))
            client.put(channels[number % RECORDS], float(number))
        # the answer to a get comes when all that was put before is done
        client.get(channels[0])
        print(time.perf_counter() - began, flush=True)


def cpu_of(relay: subprocess.Popen[bytes]) -> float:
    """Seconds of processor time that a process has used."""
    user, system = Path(f"/proc/{relay.pid}/stat").read_text().rpartition(")")[2].split()[11:13]
    return (int(user) + int(system)) / os.sysconf("SC_CLK_TCK")


def memory_of(relay: subprocess.Popen[bytes]) -> int:
    return int(Path(f"/proc/{relay.pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


# Puts


def measure(seconds: float, *options: str) -> Iterator[Row]:
    with relaying(*options) as (relay, port), RawClient(port) as reader:
        empty = memory_of(relay)
        began = time.perf_counter()
        channels = [channel for channel in reader.open(names(RECORDS)) if channel is not None]
        for begin in range(0, RECORDS, BATCH):
            reader.subscribe(channels[begin : begin + BATCH])
        took = time.perf_counter() - began
        yield (
            "monitors of names that nobody has put to",
            f"{RECORDS} in {took:.1f} s",
            len(channels) == RECORDS,
        )
        size = (memory_of(relay) - empty) / RECORDS / 1024
        yield "memory of each, with its channel and monitor", f"{size:.1f} KiB", True
        for rate, count in ((RATE, int(RATE * seconds)), (0.0, int(RATE * seconds))):
            events = Events([reader])
            before = cpu_of(relay)
            words = ("benchmarks.relay", "--publish", str(port), str(rate), str(count))
            with process(*words) as publisher:
                events.gather(count, lambda: publisher.poll() is not None, QUIET)
                assert publisher.stdout is not None
                took = float(publisher.stdout.readline())
            busy = (cpu_of(relay) - before) / took
            (taken,) = events.take()
            events.close()
            lost, disordered = judge([value for values in taken.values() for value in values], count)
            what = (
                f"{count} puts to {RECORDS} PVs, {f'{rate:.0f}/s wanted' if rate else 'as fast as possible'}"
            )
            done = (
                f"{count / took:.0f}/s, {100 * busy:.0f} % of a core; {lost} lost, {disordered} out of order"
            )
            yield what, done, not lost and not disordered and (not rate or count / took > IN_TIME * rate)


def judge(values: list[float], count: int) -> tuple[int, int]:
    """How many of the numbers are missing, and how many came after a later one to the same PV."""
    last: dict[int, float] = {}
    disordered = 0
    for value in values:
        pv = int(value) % RECORDS
        disordered += value < last.get(pv, -1.0)
        last[pv] = value
    return count - len(set(values)), disordered


# kill -9


def kill(times: int, seed: int) -> Iterator[Row]:
    chance = random.Random(seed)
    lost: list[float] = []
    sizes: list[int] = []
    broken = 0
    with tempfile.TemporaryDirectory() as folder:
        state = Path(folder) / "relay.state"
        options = ("--state", str(state), "--save-values")
        done: list[float] = []
        killed_at = 0.0
        for _ in range(times + 1):
            with relaying(*options) as (relay, port), RawClient(port) as client:
                kept = int(client.get(client.channel(f"{PREFIX}PVS")))
                channels = [channel for channel in client.open(names(KILLED)) if channel is not None]
                values = [client.get(channel) for channel in channels]
                number = int(max(values)) if kept else -1
                sizes.append(kept)
                if done:
                    is_whole = all(
                        value == max(0, number - (number - pv) % KILLED) for pv, value in enumerate(values)
                    ) and kept == min(KILLED, number + 1)
                    age = killed_at - done[number + 1] if number + 1 < len(done) else 0.0
                    lost.append(max(0.0, age))
                    broken += not is_whole
                # what was lost is put again
                del done[number + 1 :]
                done += [0.0] * (number + 1 - len(done))
                until = time.perf_counter() + LONGEST_LIFE * chance.random()
                while time.perf_counter() < until or len(done) < FIRST_PUTS:
                    client.put_callback(channels[len(done) % KILLED], float(len(done)))
                    done.append(time.perf_counter())
                relay.kill()
                killed_at = time.perf_counter()
        damaged = state.with_name("relay.state.damaged").exists()
    yield f"{times} x kill -9 under load", f"{broken} starts without a whole set", not broken and not damaged
    yield "PVs brought back, at most", str(max(sizes)), max(sizes) == KILLED
    text = f"{statistics.median(lost):.2f} s, at most {max(lost):.2f} s"
    yield "what was put before the kill and is lost", text, max(lost) < LOST_SECONDS + HICCUP


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--seconds", type=float, default=10.0, help="of puts; 20 at most (default: 10)")
    parser.add_argument("--kills", type=int, default=0, metavar="N", help="kill it so many times instead")
    parser.add_argument("--seed", type=int, default=1, help="of the moments of the kills (default: 1)")
    parser.add_argument("--publish", nargs=3, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.publish:
        publish(int(args.publish[0]), float(args.publish[1]), int(args.publish[2]))
        return 0
    is_kept = True
    with tempfile.TemporaryDirectory() as folder:
        kept = ("--state", f"{folder}/relay.state", "--save-values")
        runs = (
            {"": kill(args.kills, args.seed)}
            if args.kills
            else {"": measure(args.seconds), "kept with values: ": measure(args.seconds, *kept)}
        )
        print("| what | measured | as it should be |\n|---|---|---|")
        for begin, rows in runs.items():
            for what, found, is_good in rows:
                print(f"| {begin}{what} | {found} | {'yes' if is_good else 'NO'} |", flush=True)
                is_kept = is_kept and is_good
    return 0 if is_kept else 1


environment_now = os.environ | environment()

if __name__ == "__main__":
    sys.exit(main())
