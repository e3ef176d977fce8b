"""The relay: PVs that begin to exist when somebody puts to them.

A server can't tell at a search whether a put, a get or a monitor will follow. So every name that fits the rules is
answered, with a record that nobody but its clients holds: it goes with the last of them. The first put, to its value
or to a field, makes it a PV.
"""

from __future__ import annotations

import asyncio
import logging
import re
import time
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, fields, replace
from functools import partial
from typing import Any, NamedTuple
from weakref import WeakValueDictionary

from labioc.devices.core.records import (
    PV,
    AlarmSeverity,
    AlarmStatus,
    CharArrayPV,
    DoublePV,
    EnumPV,
    IntegerPV,
    PutRefused,
    RecordInfo,
)

from .relay_pv import LONGEST_NAME, RelayInfo, Shape, appended, make_pv, record_type, shape_of

log = logging.getLogger("labioc.relay")

BURST_SECONDS = 10.0
"""So many seconds' worth of new PVs may come at once."""
LINES_AT_ONCE, SECONDS_PER_LINE = 20, 60.0
"""How many names that get no answer are logged at once, and then how often one more is."""
MAX_LOGGED = 1000
DROPS_AT_ONCE = 500
"""So many unused PVs are looked at in one turn: all that are put to wait meanwhile."""
TICK = 1.0
SETTINGS = tuple(
    setting.name
    for setting in fields(RelayInfo)
    if setting.init and setting.name not in ("rtyp", "scan", "simm", "states", "severities", "unsv", "cosv")
)
"""What clients can set by fields, as `RelayInfo` calls it."""
_ENABLED = {"disa": 0, "disv": 1}
KEEPING = NOT_KEPT, KEPT, FAILED = "NOT KEPT", "KEPT", "FAILED"


@dataclass(frozen=True, slots=True)
class Rules:
    """What a relay takes.

    Attributes:
        max_pvs: PVs; and names, at most, that clients have open although nobody has put to them.
        max_count: elements of a PV.
        max_rate: new PVs per second, on the average of BURST_SECONDS.
        names: what the names must look like, without the prefix.
        stale: what STALE is as long as nobody has set it, in seconds.
        drop_after: seconds after which a PV is dropped to which nobody has put and which no client has open; 0: never.
    """

    max_pvs: int = 10_000
    max_count: int = 100_000
    max_rate: float = 1000.0
    names: re.Pattern[str] | None = None
    stale: float = 0.0
    drop_after: float = 0.0


class Saved(NamedTuple):
    """A PV as it is kept over a restart.

    Attributes:
        name: without the prefix.
        settings: those that differ from the default, by the attributes of `RelayInfo`.
        value: None if nobody has put to it, or if values are not kept.
        stamp: when that was put, in seconds since 1970.
    """

    name: str
    settings: Mapping[str, Any]
    value: Any
    stamp: float


@dataclass(slots=True)
class _Variable:
    """A PV that somebody has put to.

    Attributes:
        put_at: when the last put came, by the clock of the event loop; before the first one, when it was made.
        stamp: the same in seconds since 1970; 0 before the first put.
        timer: looks whether the value is stale.
    """

    pv: PV
    shape: Shape
    put_at: float
    stamp: float = 0.0
    settings: Mapping[str, Any] = field(default_factory=dict)
    timer: asyncio.TimerHandle | None = None


class Allowance:
    """Lets through so many a second, and ``most`` at once after a pause."""

    def __init__(self, rate: float, most: float) -> None:
        self._rate = rate
        self._most = self._left = most
        self._at = time.monotonic()

    def take(self) -> bool:
        """Whether one more may pass."""
        now = time.monotonic()
        self._left = min(self._most, self._left + (now - self._at) * self._rate)
        self._at = now
        if self._left < 1:
            return False
        self._left -= 1
        return True


class Relay(Mapping[str, PV]):
    """The PVs of a relay by name; it has its own ones too. Made and used within one event loop.

    Looking up a name that fits the rules makes a record that lives as long as somebody holds it.

    Attributes:
        changed: set when there is something new to keep.
        keeps_values: whether values are kept over a restart.
    """

    def __init__(self, prefix: str, rules: Rules, *, keeps_values: bool = False) -> None:
        self._prefix = prefix
        self._rules = rules
        self.keeps_values = keeps_values
        self._loop = asyncio.get_running_loop()
        self._variables: dict[str, _Variable] = {}
        self._watched: WeakValueDictionary[str, PV] = WeakValueDictionary()
        self._infos = {rtyp: RelayInfo(rtyp, stale=rules.stale) for rtyp in ("ai", "longin", "waveform")}
        self._creations = Allowance(rules.max_rate, rules.max_rate * BURST_SECONDS)
        self._lines = Allowance(1 / SECONDS_PER_LINE, LINES_AT_ONCE)
        self._logged: dict[str, None] = {}
        self.changed = asyncio.Event()
        self._puts = 0
        self._refused = 0
        self._names_changed = True
        self._count = self._own(IntegerPV, "longin", "PVS", "PVs that somebody has put to")
        self._open = self._own(IntegerPV, "longin", "WATCHED", "Open names that nobody has put to")
        self._rate = self._own(DoublePV, "ai", "PUTS", "Puts per second", egu="1/s", prec=1)
        self._refusals = self._own(IntegerPV, "longin", "REFUSED", "New PVs refused since the start")
        self._keeping = self._own(
            EnumPV,
            "mbbi",
            "KEEPING",
            "Whether PVs are kept over a restart",
            states=KEEPING,
            severities=(*[AlarmSeverity.NO_ALARM] * 2, AlarmSeverity.MAJOR_ALARM),
        )
        most = rules.max_pvs * (LONGEST_NAME + 1)
        self._names = self._own(CharArrayPV, "waveform", "NAMES", "Names of the PVs", max_length=most)
        self._own_pvs = {
            pv.pvname: pv
            for pv in (self._count, self._open, self._rate, self._refusals, self._keeping, self._names)
        }
        self.show_keeping(NOT_KEPT)
        self._show()

    def _own(
        self, kind: type[PV], rtyp: str, name: str, desc: str, max_length: int = 1, **settings: Any
    ) -> PV:
        # No name of a variable ends as these do.
        info = RecordInfo(rtyp, desc=desc, **settings)
        return kind(info=info, pvname=self._prefix + name, max_length=max_length)

    # What the server sees

    def __getitem__(self, pvname: str) -> PV:
        variable = self._variables.get(pvname)
        if variable is not None:
            return variable.pv
        pv = self._own_pvs.get(pvname, self._watched.get(pvname))
        return self._watch(pvname) if pv is None else pv

    def __iter__(self) -> Iterator[str]:
        yield from self._own_pvs
        yield from self._variables

    def __len__(self) -> int:
        return len(self._own_pvs) + len(self._variables)

    def _watch(self, pvname: str) -> PV:
        """The record of a name that nobody has put to. Raises KeyError."""
        # A name with a field behind it is looked up again without.
        if not pvname.startswith(self._prefix) or "." in pvname:
            raise KeyError(pvname)
        try:
            shape = self._shape(pvname)
            if len(self._watched) >= self._rules.max_pvs:
                raise ValueError(f"clients have {len(self._watched)} names open that nobody has put to")
        except ValueError as error:
            self._say_why_not(pvname, str(error))
            raise KeyError(pvname) from None
        made = self._watched[pvname] = self._make(pvname, shape)
        return made

    def _shape(self, pvname: str) -> Shape:
        """What a name says. Raises ValueError if it isn't one that this relay takes."""
        if len(pvname) > LONGEST_NAME:
            raise ValueError(f"a name has {LONGEST_NAME} characters at most")
        name = pvname.removeprefix(self._prefix)
        shape = shape_of(name)
        if shape.count > self._rules.max_count:
            raise ValueError(f"a PV has {self._rules.max_count} elements at most (--max-count)")
        if self._rules.names is not None and not self._rules.names.fullmatch(name):
            raise ValueError("it isn't one of the allowed names (--names)")
        return shape

    def _make(self, pvname: str, shape: Shape) -> PV:
        pv = make_pv(shape, pvname, self._infos[record_type(shape)])
        # By the name, not the record: nothing here may hold the record but who has it open.
        pv.putter = partial(self._put, pvname)
        pv.on_changed = partial(self._field_changed, pvname)
        return pv

    def _say_why_not(self, pvname: str, why: str) -> None:
        """Log a name that gets no answer: once, as clients search again and again, and not too many at once."""
        if pvname in self._logged or not self._lines.take():
            return
        self._logged[pvname] = None
        if len(self._logged) > MAX_LOGGED:
            del self._logged[next(iter(self._logged))]
        log.warning("no answer to a search for %.80a: %s", pvname, why)

    # Puts

    async def _put(self, pvname: str, value: Any) -> None:
        variable = self._variables.get(pvname) or self._create(pvname)
        if variable.shape.is_buffer:
            value = appended(variable.shape, variable.pv.value, value)
        variable.stamp, variable.put_at = time.time(), self._loop.time()
        variable.pv.post(value, variable.stamp)
        self._puts += 1
        if variable.timer is None:
            self._look_after(variable)
        if self.keeps_values:
            self.changed.set()

    def _create(self, pvname: str) -> _Variable:
        """Make a PV of a name that clients have open. Raises PutRefused."""
        most, rate = self._rules.max_pvs, self._rules.max_rate
        if len(self._variables) >= most:
            why = f"there are {most} PVs, as many as there may be (--max-pvs)"
        elif not self._creations.take():
            why = f"there are more than {rate:g} new PVs a second (--max-rate)"
        else:
            return self._add(self._watched.pop(pvname))
        self._refused += 1
        raise PutRefused(f"{pvname} is not made a PV: {why}")

    def _add(self, pv: PV) -> _Variable:
        made = self._variables[pv.pvname] = _Variable(pv, self._shape(pv.pvname), self._loop.time())
        self._names_changed = True
        self.changed.set()
        return made

    def _field_changed(self, pvname: str) -> None:
        variable = self._variables.get(pvname)
        if variable is None:
            try:
                variable = self._create(pvname)
            except PutRefused:
                pv = self._watched[pvname]
                pv.info = pv.configured
                pv.follow_disable()
                raise
        now, default = variable.pv.info, variable.pv.configured
        variable.settings = {
            name: getattr(now, name) for name in SETTINGS if getattr(now, name) != getattr(default, name)
        }
        self._look_after(variable)
        self.changed.set()

    # Staleness and age

    def _look_after(self, variable: _Variable) -> None:
        """Tell a value that is stale from one that isn't, and look again when it will be."""
        if variable.timer is not None:
            variable.timer.cancel()
            variable.timer = None
        pv = variable.pv
        assert isinstance(pv.info, RelayInfo)
        stale, due = pv.info.stale, variable.put_at + pv.info.stale
        if not variable.stamp:
            return
        if stale and self._loop.time() >= due:
            pv.fail(AlarmStatus.TIMEOUT, time.time(), message=f"nothing was put for {stale:g} s")
            return
        if pv.status == AlarmStatus.TIMEOUT:  # the time has become a longer one
            pv.post(pv.value, variable.stamp)
        if stale:
            variable.timer = self._loop.call_at(due, self._look_after, variable)

    def _drop_unused(self) -> None:
        before = self._loop.time() - self._rules.drop_after
        old = [pvname for pvname, variable in self._variables.items() if variable.put_at < before]
        # those that clients have open go to the end, so that the others have their turn
        dropped = sum([self._drop(pvname) for pvname in old[:DROPS_AT_ONCE]])
        if dropped:
            log.info("dropped %d PVs that nobody has used for %g s", dropped, self._rules.drop_after)
            self._names_changed = True
            self.changed.set()

    def _drop(self, pvname: str) -> bool:
        """Drop a PV; return False if it is still there, because a client has it open."""
        variable = self._variables.pop(pvname)
        if variable.timer is not None:
            variable.timer.cancel()
            variable.timer = None
        self._watched[pvname] = variable.pv
        del variable.pv  # if nobody else holds the record, it is gone
        pv = self._watched.pop(pvname, None)
        if pv is None:
            return True
        variable.pv = pv
        self._variables[pvname] = variable
        self._look_after(variable)
        return False

    # Over a restart

    def snapshot(self) -> list[Saved]:
        """What is to be kept, as it is now."""
        begin = len(self._prefix)
        return [
            Saved(
                pvname[begin:],
                variable.settings,
                variable.pv.value if self.keeps_values and variable.stamp else None,
                variable.stamp,
            )
            for pvname, variable in self._variables.items()
        ]

    def restore(self, saved: Iterable[Saved]) -> list[str]:
        """Bring back what was kept; return the names of what the rules don't allow any more."""
        left_out = []
        now = time.time()
        for name, settings, value, stamp in saved:
            pvname = self._prefix + name
            has_value = value is not None and self.keeps_values
            try:
                if len(self._variables) >= self._rules.max_pvs:
                    raise ValueError(name)
                pv = self._make(pvname, self._shape(pvname))
                if settings:  # a disabled record would hold its value back
                    pv.info = replace(pv.info, **{**settings, **_ENABLED})
                if has_value:
                    pv.reset_stamp()
                    # no later than now: if the clock was wrong then, what comes now would have to be later still
                    pv.post(value, min(stamp, now))
                    stamp = min(pv.stamp, now)
                if settings:
                    pv.info = replace(pv.configured, **settings)
                    pv.follow_disable()
            except (TypeError, ValueError):
                left_out.append(name)
                continue
            variable = self._add(pv)
            variable.settings = settings
            if has_value:
                variable.stamp = stamp
                variable.put_at -= now - stamp
                self._look_after(variable)
        self._show()
        return left_out

    def show_keeping(self, state: str) -> None:
        """Show in a PV whether PVs are kept: one of `KEEPING`."""
        self._keeping.post(state, time.time())

    # Its own PVs

    async def run(self) -> None:
        """Look after what depends on time, for as long as it runs."""
        while True:
            began, puts = self._loop.time(), self._puts
            await asyncio.sleep(TICK)
            self._rate.post((self._puts - puts) / (self._loop.time() - began), time.time())
            if self._rules.drop_after:
                self._drop_unused()
            self._show()

    def _show(self) -> None:
        now = time.time()
        self._count.post(len(self._variables), now)
        self._open.post(len(self._watched), now)
        self._refusals.post(self._refused, now)
        if self._names_changed:
            self._names_changed = False
            self._names.post("\n".join(self._variables), now)
