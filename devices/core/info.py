"""What a record is beside its value: its settings, named as the fields of the EPICS Record Reference Manual."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Any

from labioc.devices.core._caproto import AlarmSeverity, AlarmStatus

PERIODS = ("10", "5", "2", "1", ".5", ".2", ".1")
SCANS = ("Passive", "Event", "I/O Intr", *(f"{seconds} second" for seconds in PERIODS))
STATE_PREFIXES = tuple("ZR ON TW TH FR FV SX SV EI NI TE EL TV TT FT FF".split())
"""Of the fields of an mbbi's or mbbo's states, in their order: ZRST is the label of state 0, ZRSV its severity."""

_NONE, _INVALID = AlarmSeverity.NO_ALARM, AlarmSeverity.INVALID_ALARM


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

    def __post_init__(self) -> None:
        """Raise ValueError for a negative hysteresis, or limits that are not in order."""
        if self.hysteresis < 0:
            raise ValueError(f"an alarm's hysteresis can't be negative: {self.hysteresis}")
        limits = [x for x in (self.lolo, self.low, self.high, self.hihi) if x is not None]
        if limits != sorted(limits):
            raise ValueError(f"expected lolo <= low <= high <= hihi, got {limits}")

    @property
    def fields(self) -> dict[str, Any]:
        """The same as settings of a `RecordInfo`: there, as in EPICS, a limit is off by its severity."""
        made: dict[str, Any] = {"hyst": self.hysteresis}
        for limit, severity in (("hihi", "hhsv"), ("high", "hsv"), ("low", "lsv"), ("lolo", "llsv")):
            value = getattr(self, limit)
            made[limit] = 0.0 if value is None else value
            made[severity] = _NONE if value is None else getattr(self, severity)
        return made


@dataclass(frozen=True, slots=True)
class RecordInfo:
    """The settings of a record, as they stand in a .db file. Records of the same kind can share one."""

    rtyp: str
    desc: str = ""
    egu: str = ""
    prec: int = 0
    hopr: float = 0.0
    lopr: float = 0.0
    drvh: float = 0.0
    """With drvl the range that clients may put, none if it isn't above drvl; refusing the rest is the putter's duty."""
    drvl: float = 0.0
    hihi: float = 0.0
    high: float = 0.0
    low: float = 0.0
    lolo: float = 0.0
    hhsv: AlarmSeverity = _NONE
    hsv: AlarmSeverity = _NONE
    lsv: AlarmSeverity = _NONE
    llsv: AlarmSeverity = _NONE
    hyst: float = 0.0
    mdel: float = 0.0
    adel: float = 0.0
    states: tuple[str, ...] = ()
    """Labels of an enum: ZNAM, ONAM or ZRST ... FFST."""
    severities: tuple[AlarmSeverity, ...] = ()
    """The severity of each state of an enum (ZSV, OSV or ZRSV ... FFSV); those not given are NO_ALARM."""
    unsv: AlarmSeverity = _NONE
    cosv: AlarmSeverity = _NONE
    scan: str = "Passive"
    """The text of .SCAN, or the scan period in seconds."""
    disa: int = 0
    disv: int = 1
    diss: AlarmSeverity = _NONE
    disp: int = 0
    udfs: AlarmSeverity = _INVALID
    simm: bool = False
    """Whether the instrument behind it is a simulated one."""
    checks: tuple[tuple[AlarmStatus, AlarmSeverity, float, bool], ...] = field(
        init=False, repr=False, compare=False
    )
    """Of each limit that is on: status, severity, limit, whether it is an upper one; in the C IOC's order."""

    def __post_init__(self) -> None:
        """Raise ValueError for a negative precision."""
        if self.prec < 0:
            raise ValueError(f"a precision can't be negative: {self.prec}")
        order = (
            (AlarmStatus.HIHI, self.hhsv, self.hihi, True),
            (AlarmStatus.LOLO, self.llsv, self.lolo, False),
            (AlarmStatus.HIGH, self.hsv, self.high, True),
            (AlarmStatus.LOW, self.lsv, self.low, False),
        )
        object.__setattr__(self, "checks", tuple(check for check in order if check[1]))

    @property
    def drive(self) -> tuple[float, float] | None:
        """The lowest and highest value that clients may put, or None for any."""
        return (self.drvl, self.drvh) if self.drvl < self.drvh else None

    @property
    def limits(self) -> tuple[float, ...]:
        """The eight limits of DBR_CTRL, as the C IOC gives them: an alarm limit that is off is NaN."""
        control = self.drive or (self.lopr, self.hopr)
        if self.rtyp == "ao":
            control = self.drvl, self.drvh
        elif self.rtyp == "bo":
            control = 0.0, 65535.0
        alarms: tuple[float, ...] = self.hihi, self.high, self.low, self.lolo
        if not self.rtyp.startswith("int64"):
            severities = self.hhsv, self.hsv, self.lsv, self.llsv
            alarms = tuple(
                x if severity else math.nan for x, severity in zip(alarms, severities, strict=True)
            )
        return (self.hopr, self.lopr, *alarms, control[1], control[0])


def scan_text(scan: str) -> str:
    """The text of `.SCAN`: `scan` is a menu choice or a number of seconds ("0.5" is ".5 second")."""
    try:
        seconds = f"{float(scan):g}"
    except ValueError:
        return scan
    return f"{seconds.removeprefix('0') if seconds != '0' else seconds} second"


def scan_period(text: str) -> float | None:
    """The period in seconds of a text of `.SCAN`; None if it has none."""
    number, _, unit = text.partition(" ")
    return float(number) if unit == "second" else None
