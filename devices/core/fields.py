"""What clients read beside a record's value: its description, and the fields (`X.EGU`, `X.SEVR`) made of it.

The fields stand in one table. They are computed when they are read, and read-only.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from operator import attrgetter
from typing import TYPE_CHECKING, Any

from labioc.devices.core._caproto import (
    DBE_LOG,
    DBE_VALUE,
    AlarmSeverity,
    AlarmStatus,
    AlarmTime,
    ChannelType,
)
from labioc.devices.core.served import Served

if TYPE_CHECKING:
    from labioc.devices.core.records import PV

SEVERITIES = ("NO_ALARM", "MINOR", "MAJOR", "INVALID")
STATUSES = (
    *(
        "NO_ALARM",
        "READ",
        "WRITE",
        "HIHI",
        "HIGH",
        "LOLO",
        "LOW",
        "STATE",
        "COS",
        "COMM",
        "TIMEOUT",
        "HWLIMIT",
    ),
    *("CALC", "SCAN", "LINK", "SOFT", "BAD_SUB", "UDF", "DISABLE", "SIMM"),
    *("READ_ACCESS", "WRITE_ACCESS"),
)
OUTPUTS = frozenset({"ao", "longout"})
PERIODS = ("10", "5", "2", "1", ".5", ".2", ".1")
SCANS = ("Passive", "Event", "I/O Intr", *(f"{seconds} second" for seconds in PERIODS))
STATE_FIELDS = (
    "ZR",
    "ON",
    "TW",
    "TH",
    "FR",
    "FV",
    "SX",
    "SV",
    "EI",
    "NI",
    "TE",
    "EL",
    "TV",
    "TT",
    "FT",
    "FF",
)


@dataclass(frozen=True, slots=True)
class Alarm:
    """Alarm limits in the PV's units; None is no such limit. A limit with severity NO_ALARM is off.

    A value that has passed a limit stays in alarm until it is `hysteresis` inside of it.
    """

    lolo: float | None = None
    low: float | None = None
    high: float | None = None
    hihi: float | None = None
    hysteresis: float = 0.0
    llsv: AlarmSeverity = AlarmSeverity.MAJOR_ALARM
    lsv: AlarmSeverity = AlarmSeverity.MINOR_ALARM
    hsv: AlarmSeverity = AlarmSeverity.MINOR_ALARM
    hhsv: AlarmSeverity = AlarmSeverity.MAJOR_ALARM
    checks: tuple[tuple[AlarmStatus, AlarmSeverity, float, bool], ...] = field(
        init=False, repr=False, compare=False
    )
    """Status, severity, limit and whether it is an upper one, in the order in which the C IOC looks."""

    def __post_init__(self) -> None:
        """Raise ValueError for a negative hysteresis, or limits that are not in order."""
        if self.hysteresis < 0:
            raise ValueError(f"an alarm's hysteresis can't be negative: {self.hysteresis}")
        limits = [x for x in (self.lolo, self.low, self.high, self.hihi) if x is not None]
        if limits != sorted(limits):
            raise ValueError(f"expected lolo <= low <= high <= hihi, got {limits}")
        order = (
            (AlarmStatus.HIHI, self.hhsv, self.hihi, True),
            (AlarmStatus.LOLO, self.llsv, self.lolo, False),
            (AlarmStatus.HIGH, self.hsv, self.high, True),
            (AlarmStatus.LOW, self.lsv, self.low, False),
        )
        checks = tuple(
            (status, severity, limit, upper)
            for status, severity, limit, upper in order
            if limit is not None and severity
        )
        object.__setattr__(self, "checks", checks)


@dataclass(frozen=True, slots=True)
class RecordInfo:
    """What a record has beside its value: the fields that clients read."""

    rtyp: str
    desc: str = ""
    egu: str = ""
    prec: int = 0
    display: tuple[float, float] | None = None
    """LOPR, HOPR: the range that a display shows."""
    drive: tuple[float, float] | None = None
    """DRVL, DRVH: what clients are told they may put; refusing the rest is the putter's duty."""
    alarm: Alarm = Alarm()
    mdel: float = 0.0
    adel: float = 0.0
    states: tuple[str, ...] = ()
    """Labels of an enum."""
    severities: tuple[AlarmSeverity, ...] = ()
    """The severity of each state of an enum; none given: all are NO_ALARM."""
    scan: str = "Passive"
    """The text of .SCAN, or the scan period in seconds."""

    def __post_init__(self) -> None:
        """Raise ValueError for a negative precision."""
        if self.prec < 0:
            raise ValueError(f"a precision can't be negative: {self.prec}")

    @property
    def limits(self) -> tuple[float, ...]:
        """The eight limits of DBR_CTRL; an alarm limit that isn't set is NaN, as in the C IOC."""
        none = (0.0, 0.0)
        low, high = self.display or none
        drive_low, drive_high = (self.drive if self.rtyp in OUTPUTS else self.display) or none
        on = {status: limit for status, _, limit, _ in self.alarm.checks}
        alarms = (AlarmStatus.HIHI, AlarmStatus.HIGH, AlarmStatus.LOW, AlarmStatus.LOLO)
        return (high, low, *(on.get(status, math.nan) for status in alarms), drive_high, drive_low)


@dataclass(frozen=True, slots=True)
class FieldSpec:
    """One field: its Channel Access type, how to compute it from the PV, and which records have it.

    `data_type` None means the type of the record's VAL; such a field has VAL's units and limits too.
    """

    data_type: ChannelType | None
    read: Callable[[PV], Any]
    rtyps: frozenset[str] | None = None
    states: Callable[[PV], Sequence[str]] | None = None
    long_string: int = 40

    def belongs_to(self, rtyp: str) -> bool:
        """Whether a record of this type has the field."""
        return self.rtyps is None or rtyp in self.rtyps


def _menu(
    choices: Sequence[str], read: Callable[[PV], Any], rtyps: frozenset[str] | None = None
) -> FieldSpec:
    return FieldSpec(ChannelType.ENUM, read, rtyps, lambda pv: choices)


def _limit(name: str) -> Callable[[PV], Any]:
    """An alarm limit; one that isn't set reads as 0, as in the C IOC."""
    limit = attrgetter(name)
    return lambda pv: limit(pv.info.alarm) or 0


def _limit_severity(severity: str, limit: str) -> Callable[[PV], Any]:
    """The severity of a limit; NO_ALARM, which is the C IOC's way to say so, if that limit isn't set."""
    both = attrgetter(severity, limit)

    def read(pv: PV) -> Any:
        severity, limit = both(pv.info.alarm)
        return 0 if limit is None else int(severity)

    return read


def _pair(name: str, index: int) -> Callable[[PV], Any]:
    pair = attrgetter(name)

    def read(pv: PV) -> Any:
        both = pair(pv.info)
        return both[index] if both else 0

    return read


def _state(index: int) -> Callable[[PV], str]:
    return lambda pv: pv.info.states[index] if index < len(pv.info.states) else ""


def scan_text(scan: str) -> str:
    """The text of `.SCAN`: `scan` is a menu choice or a number of seconds ("0.5" is ".5 second")."""
    try:
        seconds = f"{float(scan):g}"
    except ValueError:
        return scan
    return f"{seconds.removeprefix('0') if seconds != '0' else seconds} second"


def _scan_states(pv: PV) -> Sequence[str]:
    """A period that the C IOC's menu doesn't know gets a state of its own after the menu's."""
    text = scan_text(pv.info.scan)
    return SCANS if text in SCANS else (*SCANS, text)


_ANALOG = frozenset({"ai", "ao"})
_SCALAR = _ANALOG | {"longin", "longout"}
_NUMERIC = _SCALAR | {"waveform"}
_BINARY = frozenset({"bi", "bo"})
_MULTI = frozenset({"mbbi", "mbbo"})

FIELDS: dict[str, FieldSpec] = {
    "NAME": FieldSpec(ChannelType.STRING, lambda pv: pv.pvname, long_string=61),
    "RTYP": FieldSpec(ChannelType.STRING, lambda pv: pv.info.rtyp),
    "DESC": FieldSpec(ChannelType.STRING, lambda pv: pv.info.desc, long_string=41),
    "SCAN": FieldSpec(
        ChannelType.ENUM, lambda pv: _scan_states(pv).index(scan_text(pv.info.scan)), states=_scan_states
    ),
    "STAT": _menu(STATUSES, lambda pv: int(pv.status)),
    "SEVR": _menu(SEVERITIES, lambda pv: int(pv.severity)),
    "UDF": FieldSpec(ChannelType.CHAR, lambda pv: int(pv.udf)),
    "EGU": FieldSpec(ChannelType.STRING, lambda pv: pv.info.egu, _NUMERIC),
    "PREC": FieldSpec(ChannelType.INT, lambda pv: pv.info.prec, _ANALOG | {"waveform"}),
    "HOPR": FieldSpec(None, _pair("display", 1), _NUMERIC),
    "LOPR": FieldSpec(None, _pair("display", 0), _NUMERIC),
    "DRVH": FieldSpec(None, _pair("drive", 1), OUTPUTS),
    "DRVL": FieldSpec(None, _pair("drive", 0), OUTPUTS),
    "HIHI": FieldSpec(None, _limit("hihi"), _SCALAR),
    "HIGH": FieldSpec(None, _limit("high"), _SCALAR),
    "LOW": FieldSpec(None, _limit("low"), _SCALAR),
    "LOLO": FieldSpec(None, _limit("lolo"), _SCALAR),
    "HYST": FieldSpec(None, lambda pv: pv.info.alarm.hysteresis, _SCALAR),
    "MDEL": FieldSpec(None, lambda pv: pv.info.mdel, _SCALAR),
    "ADEL": FieldSpec(None, lambda pv: pv.info.adel, _SCALAR),
    "ZNAM": FieldSpec(ChannelType.STRING, _state(0), _BINARY),
    "ONAM": FieldSpec(ChannelType.STRING, _state(1), _BINARY),
}
for _severity, _of in (("HHSV", "hihi"), ("HSV", "high"), ("LSV", "low"), ("LLSV", "lolo")):
    FIELDS[_severity] = _menu(SEVERITIES, _limit_severity(_severity.lower(), _of), _SCALAR)
for _index, _prefix in enumerate(STATE_FIELDS):
    FIELDS[f"{_prefix}ST"] = FieldSpec(ChannelType.STRING, _state(_index), _MULTI)


class Field(Served):
    """A field of a record: computed from the record whenever it is read."""

    def __init__(self, pv: PV, name: str, spec: FieldSpec) -> None:
        super().__init__(1, pv.info.rtyp)
        self._pv = pv
        self._spec = spec
        self.pvname = f"{pv.pvname}.{name}"
        self.long_string_max_length = spec.long_string
        if spec.data_type is None:
            self.data_type = pv.data_type
            # The limits of the alarm are VAL's alone.
            self.info = replace(pv.info, alarm=Alarm())
        else:
            self.data_type = spec.data_type
            self.info = RecordInfo(pv.info.rtyp, states=tuple(self.states or ()))
        self.alarm = pv.alarm
        self._sent = self.value

    @property
    def value(self) -> Any:
        """The field's value now."""
        value = self._spec.read(self._pv)
        return float(value) if self.data_type == ChannelType.DOUBLE else value

    @property
    def states(self) -> Sequence[str] | None:
        """The choices of a menu field."""
        return self._spec.states(self._pv) if self._spec.states else None

    @property
    def alarm_time(self) -> AlarmTime:
        """Alarm and time of the record."""
        return self._pv.alarm_time

    def send_if_changed(self) -> None:
        """One event for the field's monitors if its value isn't the one that they have."""
        value = self.value
        if value != self._sent:
            self._sent = value
            self.send_event(DBE_VALUE | DBE_LOG)
