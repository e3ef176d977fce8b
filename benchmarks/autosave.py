"""An IOC killed again and again while it saves: every start must find a whole set, and not an old one.

Run with ``python -m benchmarks.autosave --times 100``, or by ``make soak``. The IOC changes 200 settings at once, to
the same number, as often as it can, saves them without a pause, and says after each save which number is safe. It is
killed by SIGKILL at a moment of chance, every second time when it has begun to write a file. The next one must restore
all settings with one number, not older than the last one that was said to be safe. The exit status is 1 if not.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from dataclasses import replace
from pathlib import Path

from labioc.devices.core.records import PV, DoublePV, RecordInfo
from labioc.iocs.core.autosave import Autosave

SETTINGS = 200
LONGEST = 0.3
"""Seconds from the first save to the kill, at most."""
PATIENCE = 30.0
FILE = "kill.sav"


# The IOC


async def serve(folder: Path) -> None:
    """Restore, say which number was found, then change and save for ever."""
    pvs: dict[str, PV] = {
        name: DoublePV(info=RecordInfo("ai", hihi=0.0), pvname=name)
        for name in (f"KILL:{number}" for number in range(SETTINGS))
    }
    autosave = Autosave("KILL:", path=folder / FILE, pvs=pvs, period=0.0)
    await autosave.restore()
    found = {pv.info.hihi for pv in pvs.values()}
    status = autosave.reboot_status.states[autosave.reboot_status.value]
    say(f"restored {status} {' '.join(map(str, sorted(found)))}")
    number = max(found)
    saving = asyncio.create_task(autosave.run())
    while not saving.done():
        number += 1.0
        # in one turn of the event loop, as the IOC's own snapshot
        for pv in pvs.values():
            pv.info = replace(pv.info, hihi=number)
        saved = autosave.file_time.stamp
        while autosave.file_time.stamp == saved and not saving.done():  # noqa: ASYNC110 - there is no event for it
            await asyncio.sleep(0.001)
        say(f"saved {number}")
    saving.result()


def say(text: str) -> None:
    print(text, flush=True)


# Its killer


def kill_once(folder: Path, seconds: float, in_file: bool) -> tuple[str, float, float]:
    """Run the IOC and kill it: what restoring said, the number that it found and the last one that was safe.

    Raises ValueError if it found several numbers.
    """
    process = subprocess.Popen(
        [sys.executable, "-m", "benchmarks.autosave", "--ioc", str(folder)], stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    try:
        _, status, *numbers = process.stdout.readline().split()
        if len(numbers) != 1:
            raise ValueError(f"a set of several numbers: {' '.join(numbers)}")
        process.stdout.readline()
        time.sleep(seconds)
        until = time.monotonic() + PATIENCE
        while in_file and not unfinished(folder) and time.monotonic() < until:
            pass
        process.send_signal(signal.SIGKILL)
        said = [line for line in process.stdout.read().splitlines() if line.startswith("saved ")]
    finally:
        process.kill()
        process.wait(PATIENCE)
    # the last line may be cut off by the kill
    return status, float(numbers[0]), float(said[-2].split()[1]) if len(said) > 1 else 0.0


def unfinished(folder: Path) -> bool:
    """Whether there is a file that is not written to its end, or was not when the IOC was killed."""
    return any(name.endswith(".new") for name in os.listdir(folder))


def main() -> None:
    parser = argparse.ArgumentParser(description="An IOC killed while it saves.")
    parser.add_argument("--times", type=int, default=100, help="kills (default: 100)")
    parser.add_argument("--seed", type=int, default=1, help="of the moments of the kills")
    parser.add_argument("--ioc", type=Path, metavar="FOLDER", help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.ioc is not None:
        with contextlib.suppress(KeyboardInterrupt):
            asyncio.run(serve(args.ioc))
        return
    chance = random.Random(args.seed)
    wrong, saves, cut, safe = [], 0.0, 0, 0.0
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for number in range(args.times):
            try:
                status, found, last = kill_once(folder, chance.uniform(0.0, LONGEST), number % 2 == 1)
            except ValueError as error:
                wrong.append(f"start {number}: {error}")
                continue
            if status != "Ok" or found < safe:
                wrong.append(f"start {number}: restored {found:g} ({status}), {safe:g} was safe")
            safe = max(found, last)
            saves += max(0.0, last - found)
            cut += unfinished(folder)
            for left in folder.glob("*.new"):
                left.unlink()
    print(
        "| kills | saves | kills in the middle of a file | starts without a whole set, or with an old one |"
    )
    print("|---|---|---|---|")
    print(f"| {args.times} | {saves:.0f} | {cut} | {len(wrong)} |")
    for line in wrong:
        print(line, file=sys.stderr)
    sys.exit(bool(wrong))


if __name__ == "__main__":
    main()
