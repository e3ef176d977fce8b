"""Scanning: one poller for each instrument reads what its PVs show, as often as they ask for."""

from __future__ import annotations

import asyncio
import heapq
import itertools
import math
import time
from typing import Any

from labioc.drivers.core.bound import BoundReadback
from labioc.drivers.core.errors import DeviceError, LinkError
from labioc.drivers.core.port import LinkState

from .health import Budget
from .mapping import Device

HEALTH_PERIOD = 1.0
PAUSE = 0.005  # after a failure: a link that fails at once must not be asked in a tight loop
LATER = 0.05
SMOOTHING = 0.3
LATE_FROM, LATE_UNTIL = 1.25, 1.1  # times the period
LATE_LOOKS = 3  # until the log says so: at first not all are late that will be
REST, LONGEST_REST = 0.5, 30.0  # before a question that was not answered is asked again, doubled each time
UNKNOWN_REST = 300.0  # the longest before one that was never answered: the instrument may not know it
VAIN_SHARE = 0.1  # of the link's time that all of these may take


def rest_after(silences: int, *, was_answered: bool, in_vain: float = 0.0) -> float:
    """Return how long a question rests that was not answered so many times on end, seconds.

    Args:
        silences: how many times.
        was_answered: whether it ever was.
        in_vain: what it takes to ask once all that were never answered, seconds.
    """
    if silences <= 1:
        return 0.0
    rest = REST * 2.0 ** min(silences, 10)
    return min(rest, LONGEST_REST) if was_answered else min(max(rest, in_vain / VAIN_SHARE), UNKNOWN_REST)


class _Turn:
    """When a readback is due next, in seconds of the loop's clock."""

    __slots__ = (
        "anew",
        "cost",
        "due",
        "interval",
        "number",
        "period",
        "read",
        "readback",
        "retried",
        "silences",
    )
    _numbers = itertools.count()

    def __init__(self, readback: BoundReadback[Any], period: float | None) -> None:
        self.readback = readback
        self.period = math.inf if period is None else period
        self.due = 0.0
        self.anew = True  # what was read before doesn't count
        self.retried = False
        self.silences = 0
        self.cost = 0.0  # what it takes of the link's time, smoothed
        self.interval = 0.0  # between two readings, smoothed; 0: not known
        self.read = 0.0
        self.number = next(self._numbers)

    def measure(self, now: float, cost: float) -> None:
        """Note a reading, and what it took of the link's time."""
        self.cost += SMOOTHING * (cost - self.cost) if self.cost else cost
        if self.read:
            interval = now - self.read
            self.interval += SMOOTHING * (interval - self.interval) if self.interval else interval
        self.read = now

    def forget(self) -> None:
        """Forget how often it was read: the link was down, or the period is another."""
        self.read = self.interval = 0.0


class Poller:
    """Reads what the PVs of one device show, one exchange at a time.

    At each connect everything is read, setpoints included; then each readback once in its period. When the
    periods can't be met, whoever has waited longest is next, and no reading is made up for. What a lost reply
    spoilt is asked again once, as soon as the port is in step; what is never answered is asked more and more seldom.

    Attributes:
        swept: set when everything was asked for once.
    """

    def __init__(self, device: Device) -> None:
        self._device = device
        self._port = device.driver.port
        self._epoch = -1
        self._kick = asyncio.Event()
        self._turns = {readback: _Turn(readback, period) for readback, period in device.periods().items()}
        # in tuples, which compare faster than objects of ours
        self._heap = [(turn.due, turn.number, turn) for turn in self._turns.values()]
        self._asked: list[_Turn] = []
        self._late_looks = 0
        self._unswept = set(self._turns.values())
        self.swept = asyncio.Event()
        if not self._turns:
            self.swept.set()
        self._port.on_change.append(self._link_changed)
        device.on_rescan = self._rescan

    async def run(self) -> None:
        """Poll until cancelled."""
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._watch_health())
            tasks.create_task(self._poll())

    async def _watch_health(self) -> None:
        while True:
            self._device.link.measure(self._budget())
            self._device.driver.check_ages(time.monotonic())
            await asyncio.sleep(HEALTH_PERIOD)

    def _budget(self) -> Budget:
        """Find out whether the polls fit into the link's time; log once when they don't, and when they do again."""
        self._port.load = sum(turn.cost / turn.period for turn in self._turns.values())
        load = sum(port.load for port in self._port.line.ports)
        limit = LATE_UNTIL if self._late_looks else LATE_FROM
        late = [turn for turn in self._turns.values() if turn.interval > limit * turn.period]
        late.sort(key=lambda turn: turn.period / turn.interval)
        said = [f"{self._name_of(turn)} {turn.interval:.2g} s instead of {turn.period:g} s" for turn in late]
        looks, self._late_looks = self._late_looks, self._late_looks + 1 if late else 0
        name = self._device.driver.name
        if self._late_looks == LATE_LOOKS:
            self._port.log.warning(
                "%s: the polls want %.0f %% of the link's time; %d are read less often than asked: %s",
                *(name, 100 * load, len(late), ", ".join(said[:10])),
            )
        elif looks >= LATE_LOOKS and not late:
            self._port.log.info("%s: everything is read as often as asked again", name)
        return Budget(load, said)

    def _name_of(self, turn: _Turn) -> str:
        shown = self._device.shown_by(turn.readback)
        return shown.removeprefix(self._device.prefix)

    def _link_changed(self) -> None:
        if self._port.state is not LinkState.UP:
            if self._port.state is LinkState.DOWN:
                for turn in self._turns.values():
                    turn.forget()
            return
        now = asyncio.get_running_loop().time()
        anew = self._epoch != self._port.statistics.epoch
        self._epoch = self._port.statistics.epoch
        for turn in self._turns.values():
            turn.anew = turn.anew or anew  # also what is being asked for right now
        for _, _, turn in self._heap:
            if anew or (isinstance(turn.readback.error, LinkError) and not turn.retried):
                turn.due = self._soonest(turn, now)
                turn.retried = not anew
        self._reorder()

    def _soonest(self, turn: _Turn, now: float) -> float:
        # what failed in its own exchange comes last: it may be what breaks the link
        return now + LATER if turn.anew and turn.readback.alone else now

    def _reorder(self) -> None:
        # what is being asked for right now is put back when its answer is there
        waiting = [turn for _, _, turn in self._heap]
        self._heap[:] = [(turn.due, turn.number, turn) for turn in waiting]
        heapq.heapify(self._heap)
        self._kick.set()

    def _rescan(self, readback: BoundReadback[Any], at_once: bool) -> None:
        """Follow a change of SCAN, or read at once: what has a period is due at the latest one period from now."""
        now = asyncio.get_running_loop().time()
        turn = self._turns[readback]
        wanted = self._device.periods()[readback]
        turn.period = math.inf if wanted is None else wanted
        turn.forget()
        turn.anew = turn.anew or at_once
        if turn not in self._asked:
            latest = now if at_once else now + turn.period
            turn.due = latest if latest == math.inf else min(turn.due, latest)
        self._reorder()

    async def _poll(self) -> None:
        loop = asyncio.get_running_loop()
        max_joined = self._device.driver.protocol.max_joined
        heap = self._heap
        while True:
            now = loop.time()
            if self._port.state is LinkState.DOWN or not heap or heap[0][0] > now:
                await self._wait_until(heap[0][0] if heap else math.inf)
                continue
            most = max_joined if self._port.joins else 1
            batch = [heapq.heappop(heap)[2]]
            while len(batch) < most and heap and heap[0][0] <= now:
                batch.append(heapq.heappop(heap)[2])
            self._asked = batch
            fresh = {turn for turn in batch if self._is_fresh(turn)}
            asked = [turn for turn in batch if turn not in fresh]
            for turn in batch:
                turn.anew = False
            failed = False
            spent = self._port.spent
            try:
                if len(asked) == 1:
                    await asked[0].readback.read()
                elif asked:
                    await self._device.driver.read_together([turn.readback for turn in asked])
            except (LinkError, DeviceError):
                failed = True  # it stands on the PVs
            finally:
                ended = loop.time()
                cost = (self._port.spent - spent) / max(1, len(asked))
                for turn in batch:
                    turn.measure(ended, 0.0 if turn in fresh else cost)
                    self._reschedule(turn, ended)
                self._asked = []
            if failed:
                await asyncio.sleep(PAUSE)

    async def _wait_until(self, due: float) -> None:
        self._kick.clear()
        if self._port.state is LinkState.DOWN or due == math.inf:
            await self._kick.wait()
            return
        try:
            async with asyncio.timeout_at(due):
                await self._kick.wait()
        except TimeoutError:
            return

    def _is_fresh(self, turn: _Turn) -> bool:
        # another's exchange may have brought it
        if turn.anew or turn.readback.error is not None:
            return False
        # what is computed is as old as the oldest of its inputs
        return 0 <= time.time() - min(asked.stamp for asked in turn.readback.asked) < turn.period / 2

    def _reschedule(self, turn: _Turn, now: float) -> None:
        if turn.readback.error is None:
            turn.retried = False
            turn.silences = 0
        elif turn.readback.alone:
            # each time-out is time taken from the others
            turn.silences += 1
        if now - turn.due > turn.period:
            self._port.statistics.overruns += 1
        was_answered = turn.readback.stamp > 0
        in_vain = self._cost_in_vain() if turn.silences > 1 and not was_answered else 0.0
        rest = rest_after(turn.silences, was_answered=was_answered, in_vain=in_vain)
        turn.due = self._soonest(turn, now) if turn.anew else max(turn.due + turn.period, now + rest)
        heapq.heappush(self._heap, (turn.due, turn.number, turn))
        if self._unswept:
            self._unswept.discard(turn)
            if not self._unswept:
                self.swept.set()

    def _cost_in_vain(self) -> float:
        unknown = (turn for turn in self._turns.values() if turn.silences and not turn.readback.stamp)
        return sum(turn.cost for turn in unknown)
