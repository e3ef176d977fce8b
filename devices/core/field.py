"""A field of a record (`X.EGU`): what the table in `fields` says of it, served."""

from __future__ import annotations

import inspect
import math
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

from labioc.devices.core._caproto import (
    DBE_ALARM,
    DBE_LOG,
    DBE_PROPERTY,
    DBE_VALUE,
    READ,
    READ_WRITE,
    AccessRights,
    AlarmTime,
    ChannelType,
    EventQueue,
    SubscriptionSpec,
)
from labioc.devices.core.conversion import PutRefused, as_index, as_number, as_text
from labioc.devices.core.served import Served

if TYPE_CHECKING:
    from labioc.devices.core.pv import PV

_CA_TYPES = {
    "STRING": ChannelType.STRING,
    "MENU": ChannelType.ENUM,
    "UCHAR": ChannelType.CHAR,
    "SHORT": ChannelType.INT,
    "USHORT": ChannelType.LONG,
    "LONG": ChannelType.LONG,
    # Channel Access has no unsigned and no 64-bit integers.
    "ULONG": ChannelType.DOUBLE,
    "INT64": ChannelType.DOUBLE,
    "UINT64": ChannelType.DOUBLE,
    "DOUBLE": ChannelType.DOUBLE,
}
_RANGES: dict[str, tuple[float, float]] = {
    "UCHAR": (0, 255),
    "SHORT": (-(2**15), 2**15 - 1),
    "USHORT": (0, 2**16 - 1),
    "LONG": (-(2**31), 2**31 - 1),
    "ULONG": (0, 2**32 - 1),
    "INT64": (-(2**63), 2**63 - 1),
    "UINT64": (0, 2**64 - 1),
    "DOUBLE": (-1e300, 1e300),
}
_NO_RANGE = (0.0, 0.0)
_RANGED = frozenset({"ai", "ao", "longin", "longout", "int64in", "int64out", "waveform", "aai", "aao"})
"""The record types whose fields have the range of their type as limits."""


@dataclass(frozen=True, slots=True)
class FieldSpec:
    """One field of one record type.

    Attributes:
        dbf: its type in the C IOC's database, without DBF_; links are STRING, and DEVICE isn't there.
        read: computes it.
        write: what a put does with the checked value; None: it is read-only.
        menu: the choices of a MENU.
        size: bytes of a STRING, with its NUL.
        of_value: whether it is in the units of the record's value.
        in_limits: whether its limits are those of the record's value.
        span: its lowest and highest value, where that isn't the range of its type.
        is_property: whether its change is an event for DBE_PROPERTY, on all channels of the record.
        process: whether its change may change the alarm.
        events: the DBE_ bits of the event that tells of its change; 0: none, as in the C IOC.
    """

    dbf: str
    read: Callable[[PV], Any]
    write: Callable[[PV, Any], Awaitable[None] | None] | None = None
    menu: Callable[[PV], Sequence[str]] | None = None
    size: int = 40
    of_value: bool = False
    in_limits: bool = False
    span: Callable[[PV], tuple[float, float]] | None = None
    is_property: bool = False
    process: bool = False
    events: int = DBE_VALUE | DBE_LOG


class Metadata(NamedTuple):
    """What the DBR_GR and DBR_CTRL types tell of a field, or of what isn't as its record says."""

    egu: str
    prec: int
    states: Sequence[str]
    limits: tuple[float, ...]


class Field(Served):
    """A field of a record: computed from the record whenever it is read."""

    def __init__(self, pv: PV, name: str, spec: FieldSpec) -> None:
        super().__init__(1)
        self._pv = pv
        self._spec = spec
        self.name = name
        self.pvname = f"{pv.pvname}.{name}"
        self.long_string_max_length = spec.size
        self.data_type = _CA_TYPES[spec.dbf]
        self.info = pv.info
        self._sent = None

    @property
    def value(self) -> Any:
        """The field's value now."""
        value = self._spec.read(self._pv)
        if self._spec.dbf == "DOUBLE":
            return float(value)
        return value if self._spec.dbf == "STRING" else int(value)

    @property
    def states(self) -> Sequence[str] | None:
        """The choices of a menu field."""
        return self._spec.menu(self._pv) if self._spec.menu else None

    @property
    def alarm_time(self) -> AlarmTime:
        """Alarm and time of the record."""
        return self._pv.alarm_time

    @property
    def acknowledgement(self) -> tuple[int, int]:
        """ACKT and ACKS of the record."""
        return self._pv.acknowledgement

    def check_access(self, hostname: str | None, username: str | None) -> AccessRights:
        """Writable if the table says so."""
        return READ if self._spec.write is None else READ_WRITE

    @property
    def metadata(self) -> Metadata:
        """What the DBRs tell beside value, alarm and time."""
        spec, info = self._spec, self._pv.info
        display = control = _NO_RANGE
        if spec.in_limits:
            limits = info.limits
            display, control = (limits[1], limits[0]), (limits[7], limits[6])
        elif spec.span is not None:
            display = control = spec.span(self._pv)
        elif info.rtyp in _RANGED:
            display = control = _RANGES.get(spec.dbf, _NO_RANGE)
        elif info.rtyp == "bo":
            control = _RANGES.get(spec.dbf, _NO_RANGE)
        return Metadata(
            info.egu if spec.of_value else "",
            info.prec if spec.dbf == "DOUBLE" else 0,
            self.states or (),
            (display[1], display[0], *([math.nan] * 4), control[1], control[0]),
        )

    async def subscribe(self, queue: EventQueue, sub_spec: SubscriptionSpec, sub: object) -> None:
        """Send the present value to one new subscription, and every event from now on to its kind."""
        await super().subscribe(queue, sub_spec, sub)
        self._sent = self.value

    def send_if_changed(self, severity_changed: bool) -> None:
        """One event for the field's monitors if its value isn't the one that they have."""
        if self._monitors and self._spec.events:
            value = self.value
            if value != self._sent:
                self._sent = value
                # STAT is news for DBE_ALARM when SEVR changes too.
                self.send_event(self._spec.events if severity_changed else self._spec.events & ~DBE_ALARM)

    async def write_from_dbr(
        self, data: Any, data_type: ChannelType, metadata: Any, *, flags: int = 0
    ) -> None:
        """Set the field to what a client puts. Raises PutRefused if it doesn't fit, and what the record raises."""
        pv, spec = self._pv, self._spec
        if data_type in (ChannelType.PUT_ACKT, ChannelType.PUT_ACKS):
            await pv.write_from_dbr(data, data_type, metadata)
            return
        before = pv.info
        try:
            if data_type > ChannelType.DOUBLE:
                raise PutRefused(f"{self.pvname}: alarm, time and limits can't be put")
            if spec.write is None:
                raise PutRefused(f"{self.pvname} is read-only")
            if pv.info.disp and self.name != "DISP":
                raise PutRefused(f"{self.pvname}: {pv.pvname}.DISP is set, the record takes no puts")
            value = self._checked(data)
            try:
                done = spec.write(pv, value)
            except ValueError as error:
                raise PutRefused(f"{self.pvname} can't be {value!r}: {error}") from None
            if inspect.isawaitable(done):
                await done
            pv.on_changed()
        except Exception as error:
            pv.on_refused(error)
            raise
        # In the C IOC's order: the field's event has the alarm from before.
        self._sent = self.value
        self.send_event(DBE_VALUE | DBE_LOG)
        if spec.is_property and pv.info != before:
            pv.send_to_all(DBE_PROPERTY)
        if spec.process:
            pv.judge_again()
        pv.follow_fields()

    def _checked(self, data: Any) -> Any:
        dbf = self._spec.dbf
        if dbf == "STRING":
            return as_text(data)[: self._spec.size - 1].decode("latin-1")
        if dbf == "MENU":
            return as_index(self.pvname, data, self.states or ())
        number = as_number(self.pvname, data)
        if dbf == "DOUBLE":
            return number
        low, high = _RANGES[dbf]
        if not (math.isfinite(number) and low <= math.trunc(number) <= high):
            raise PutRefused(f"{self.pvname} can't take {number:g}: it is a number from {low} to {high}")
        return math.trunc(number)
