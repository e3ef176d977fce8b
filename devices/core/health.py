"""The health of a link, as PVs: every device has this group."""

from __future__ import annotations

import time
from typing import Any

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
    round_trip = _pv(DoublePV, "ai", "RTT", "Round trip of the last exchange", "ms", 3)
    utilisation = _pv(DoublePV, "ai", "UTIL", "Share of the time that the link is busy", "%", 1)
    exchanges = _pv(IntegerPV, "longin", "EXCHANGES", "Exchanges since the start")
    connects = _pv(IntegerPV, "longin", "CONNECTS", "Connections since the start")
    overruns = _pv(IntegerPV, "longin", "OVERRUNS", "Readings that came a period late or more")
    errors = _pv(IntegerPV, "longin", "ERRORS", "Errors since the start")
    timeouts = _pv(IntegerPV, "longin", "TIMEOUTS", "Replies that did not come in time")
    bad_replies = _pv(IntegerPV, "longin", "BAD_REPLIES", "Replies that did not parse, or stopped")
    discarded = _pv(IntegerPV, "longin", "DISCARDED", "Replies dropped as nobody's answer")
    last_error = _pv(LongTextPV, "lsi", "LAST_ERROR", "Text of the last error")
    last_good = _pv(StringPV, "stringin", "LAST_GOOD", "Time of the last good exchange, local")

    def __init__(self, prefix: str, *, parent: Any, **kwargs: Any) -> None:
        """Raises nothing; ``parent`` is the device."""
        super().__init__(prefix, parent=parent, **kwargs)
        self._port: Port = parent.driver.port
        self._since = time.monotonic()
        self._busy = 0.0
        self.refresh()

    def refresh(self) -> None:
        """Post what the port knows."""
        port, now = self._port, time.time()
        statistics = port.statistics
        errors = statistics.errors
        last_good = time.localtime(statistics.last_good) if statistics.last_good else None
        for record, value in (
            (self.url, port.url),
            (self.identity, port.identity),
            (self.round_trip, statistics.round_trip * 1e3),
            (self.exchanges, statistics.exchanges & 0x7FFFFFFF),
            (self.connects, statistics.connects),
            (self.overruns, statistics.overruns),
            (self.errors, errors.total()),
            (self.timeouts, errors["ReplyTimeout"]),
            (self.bad_replies, errors["ReplyError"] + errors["TruncatedReply"]),
            (self.discarded, statistics.discarded),
            (self.last_error, statistics.last_error),
            (self.last_good, time.strftime("%Y-%m-%d %H:%M:%S", last_good) if last_good else "never"),
        ):
            record.post(value, now)
        if self.state.udf or self.state.is_disabled or self.state.value != port.state:
            self.state.post(port.state, now)

    def measure(self) -> None:
        """Post the utilisation since the last call, and the rest."""
        now, busy = time.monotonic(), self._port.statistics.busy
        if now > self._since:
            share = min(1.0, (busy - self._busy) / (now - self._since))
            self.utilisation.post(100 * share, time.time())
        self._since, self._busy = now, busy
        self.refresh()
