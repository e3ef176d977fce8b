"""The health of a link, as PVs: every device has this group."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any, NamedTuple

from labioc.drivers.core.port import LinkState, Port

from ._pvgroup import PVGroup, pvproperty
from .pv import PV
from .records import (
    AlarmSeverity,
    DoublePV,
    EnumPV,
    IntegerPV,
    LongTextPV,
    RecordInfo,
    StringPV,
)

_TEXT_LENGTH = 256
_SEVERITIES = (AlarmSeverity.MAJOR_ALARM, AlarmSeverity.MINOR_ALARM, AlarmSeverity.NO_ALARM)


def _pv(record: type[PV], rtyp: str, name: str, desc: str, egu: str = "", prec: int = 0, **more: Any) -> Any:
    length = _TEXT_LENGTH if record is LongTextPV else 1
    info = RecordInfo(rtyp, desc=desc, egu=egu, prec=prec, scan="1", **more)
    return pvproperty(dtype=record, name=name, max_length=length, doc=desc, info=info)


class Budget(NamedTuple):
    """What the polls want of the link's time, and which PVs are read less often than asked."""

    load: float
    late: Sequence[str]


class LinkHealth(PVGroup):
    """State, speed and errors of the link to an instrument, refreshed once a second and when the state changes."""

    url = _pv(LongTextPV, "lsi", "URL", "Where the instrument is")
    identity = _pv(LongTextPV, "lsi", "IDENTITY", "What the instrument calls itself")
    state = _pv(
        EnumPV,
        "mbbi",
        "STATE",
        "State of the link",
        states=tuple(state.name for state in LinkState),
        severities=_SEVERITIES,
    )
    round_trip = _pv(DoublePV, "ai", "RTT", "Time of the last exchange", "ms", 3)
    round_trip_mean = _pv(DoublePV, "ai", "RTT_MEAN", "Mean time of the last 500 exchanges", "ms", 3)
    round_trip_p99 = _pv(DoublePV, "ai", "RTT_P99", "99 % of the last 500 were faster", "ms", 3)
    utilisation = _pv(DoublePV, "ai", "UTIL", "Share of the time that the link is busy", "%", 1)
    load = _pv(
        DoublePV,
        "ai",
        "LOAD",
        "Share of the time that the polls want",
        "%",
        1,
        high=100.0,
        hsv=AlarmSeverity.MINOR_ALARM,
    )
    late = _pv(
        IntegerPV,
        "longin",
        "LATE",
        "PVs that are read less often than asked",
        high=1.0,
        hsv=AlarmSeverity.MINOR_ALARM,
    )
    late_pvs = _pv(LongTextPV, "lsi", "LATE_PVS", "Which, and how often they are read")
    exchanges = _pv(IntegerPV, "longin", "EXCHANGES", "Exchanges since the start")
    connects = _pv(IntegerPV, "longin", "CONNECTS", "Connections since the start")
    power_cycles = _pv(IntegerPV, "longin", "POWER_CYCLES", "Times without power since the start")
    retries = _pv(IntegerPV, "longin", "RETRIES", "Exchanges made again since the start")
    overruns = _pv(IntegerPV, "longin", "OVERRUNS", "Readings that came a period late or more")
    errors = _pv(IntegerPV, "longin", "ERRORS", "Errors since the start")
    timeouts = _pv(IntegerPV, "longin", "TIMEOUTS", "Replies that did not come in time")
    bad_replies = _pv(IntegerPV, "longin", "BAD_REPLIES", "Replies that did not parse, or stopped")
    refusals = _pv(IntegerPV, "longin", "REFUSALS", "Writes that the instrument refused")
    losses = _pv(IntegerPV, "longin", "LOSSES", "Connections lost or not had")
    unasked = _pv(IntegerPV, "longin", "UNASKED", "Messages that came unasked, and were wanted")
    discarded = _pv(IntegerPV, "longin", "DISCARDED", "Replies dropped as nobody's answer")
    last_error = _pv(LongTextPV, "lsi", "LAST_ERROR", "Text of the last error")
    last_good = _pv(StringPV, "stringin", "LAST_GOOD", "Time of the last good exchange, local")

    reconnect = _pv(EnumPV, "bo", "RECONNECT", "Connect anew, now", states=("Idle", "Connect"))
    command = _pv(LongTextPV, "lso", "CMD", "Sent as it stands, if switched on")
    reply = _pv(LongTextPV, "lsi", "REPLY", "What came back")

    def __init__(self, prefix: str, *, parent: Any, **kwargs: Any) -> None:
        """Raises nothing; ``parent`` is the device."""
        super().__init__(prefix, parent=parent, **kwargs)
        self._port: Port = parent.driver.port
        self._since = time.monotonic()
        self._busy = 0.0
        self.reconnect.putter = self._reconnect
        for record, value in ((self.reconnect, 0), (self.command, ""), (self.reply, ""), (self.late_pvs, "")):
            record.post(value, time.time())
        self.refresh()

    def allow_commands(self) -> None:
        """Let clients send to the instrument what they like."""
        self.command.putter = self._converse

    async def _reconnect(self, value: int) -> None:
        if value:
            self._port.reconnect()
        self.reconnect.post(0, time.time())

    async def _converse(self, text: str) -> None:
        self.command.post(text, time.time())
        self.reply.post("", time.time())
        self.reply.post(await self._port.converse(text) or "", time.time())

    def refresh(self) -> None:
        """Post what the port knows."""
        port, now = self._port, time.time()
        statistics = port.statistics
        errors = statistics.errors
        last_good = time.localtime(statistics.last_good) if statistics.last_good else None
        for record, value in (
            (self.url, port.url),
            (self.identity, port.identity),
            (self.round_trip, statistics.round_trips[-1] * 1e3),
            (self.exchanges, statistics.exchanges & 0x7FFFFFFF),
            (self.connects, statistics.connects),
            (self.power_cycles, statistics.power_cycles),
            (self.retries, statistics.retries),
            (self.overruns, statistics.overruns),
            (self.errors, errors.total()),
            (self.timeouts, errors["ReplyTimeout"]),
            (self.bad_replies, errors["ReplyError"] + errors["TruncatedReply"]),
            (self.refusals, errors["RefusedError"]),
            (self.losses, errors["LinkDown"] + errors["WriteCut"]),
            (self.unasked, statistics.unasked),
            (self.discarded, statistics.discarded),
            (self.last_error, statistics.last_error),
            (self.last_good, time.strftime("%Y-%m-%d %H:%M:%S", last_good) if last_good else "never"),
        ):
            record.post(value, now)
        if self.state.udf or self.state.is_disabled or self.state.value != port.state:
            self.state.post(port.state, now)

    def measure(self, budget: Budget) -> None:
        """Post the utilisation since the last call, what the polls want, and the rest."""
        now, busy = time.monotonic(), self._port.line.spent
        if now > self._since:
            share = min(1.0, (busy - self._busy) / (now - self._since))
            self.utilisation.post(100 * share, time.time())
        self._since, self._busy = now, busy
        times = sorted(filter(None, self._port.statistics.round_trips)) or [0.0]
        self.round_trip_mean.post(1e3 * sum(times) / len(times), time.time())
        self.round_trip_p99.post(1e3 * times[len(times) * 99 // 100], time.time())
        self.load.post(100 * budget.load, time.time())
        self.late.post(len(budget.late), time.time())
        self.late_pvs.post(", ".join(budget.late), time.time())
        self.refresh()
