"""The base of all records: a value with its alarm, its time stamp and its fields, as the C IOC has them."""

import functools
import time
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import replace
from types import MappingProxyType
from typing import Any, ClassVar
from weakref import WeakValueDictionary

from labioc.devices.core._caproto import (
    BEGIN_OF_TIME,
    DBE_ALARM,
    DBE_LOG,
    DBE_VALUE,
    END_OF_TIME,
    READ,
    READ_WRITE,
    AccessRights,
    AlarmSeverity,
    AlarmStatus,
    AlarmTime,
    ChannelType,
)
from labioc.devices.core.conversion import PutRefused
from labioc.devices.core.field import Field, FieldSpec
from labioc.devices.core.fields import FIELDS
from labioc.devices.core.info import RecordInfo, scan_period, scan_text
from labioc.devices.core.served import Served


class PV(Served):
    """A record: the last good value, alarm and time. Subclasses say what kind of value.

    Attributes:
        info: its settings now.
        configured: its settings as the device and the station have them; clients may change some of `info`.
        putter: takes what a client puts; done when the instrument has it.
        reader: reads the value now, for PROC.
        restorer: shows a value that was saved before a restart, without writing it to an instrument; None: the value
            isn't worth saving, as somebody else knows it.
        on_refused: told why a put failed.
        on_changed: told that a client has changed a field; a PutRefused of its goes to that client.
        on_rescan: told that SCAN has changed, or that the record was disabled or enabled, and whether to read at once.
        own_fields: fields by name that it has beside those of its record type, or instead of them.
        server_startup, server_scan, server_shutdown: what is to be done for it while it is served, under the names that
            caproto's server looks for; there only if there is something to do.
        message: the text behind an alarm, AMSG.
        ackt: whether an alarm that has gone must still be acknowledged.
        acks: the highest severity that nobody has acknowledged.
        last_alarm: the limit or value of the last alarm check, LALM.
        monitored: the value of the last DBE_VALUE event, MLST.
        logged: the value of the last DBE_LOG event, ALST.
    """

    initial: ClassVar[Any]
    element_type = ""
    info: RecordInfo
    putter: Callable[[Any], Awaitable[None]] | None = None
    reader: Callable[[], Awaitable[None]] | None = None
    restorer: Callable[[Any], None] | None = None
    on_refused: Callable[[Exception], None] = staticmethod(lambda error: None)
    on_changed: Callable[[], None] = staticmethod(lambda: None)
    on_rescan: Callable[[bool], None] | None = None
    own_fields: Mapping[str, FieldSpec] = MappingProxyType({})
    server_startup: Callable[[Any], Awaitable[None]]
    server_scan: Callable[[Any], Awaitable[None]]
    server_shutdown: Callable[[Any], Awaitable[None]]
    message = ""
    ackt = True
    acks: AlarmSeverity = AlarmSeverity.NO_ALARM
    last_alarm: float | None = None
    monitored: Any
    logged: Any
    _udf = True
    _is_good = False
    _puts = 0
    _held: tuple[bool, Callable[[], None]] | None = None
    _fields: WeakValueDictionary[str, Field] | None = None

    def __init__(
        self,
        *,
        info: RecordInfo,
        pvname: str,
        group: object = None,
        pvspec: object = None,
        value: object = None,
        max_length: int | None = None,
        alarm: object = None,
        record: object = None,
    ) -> None:
        """`max_length` counts elements or bytes; the rest is what `pvproperty` and `PVGroup` hand over."""
        # PVGroup hands one alarm to all PVs of a group; each PV has its own.
        super().__init__(max_length or 1)
        self.info = self.configured = info
        self.pvname = pvname
        self.group = group
        self.pvspec = pvspec
        self.monitored = self.logged = self.initial
        self._data = {"value": self.initial}
        self._seconds = self._nanoseconds = 0
        self._advance(time.time())
        # Being undefined at first is nothing to acknowledge.
        self._status, self._severity = AlarmStatus.UDF, info.udfs

    @property
    def udf(self) -> bool:
        """True until the first good reading, and while the value is not a number."""
        return self._udf

    @property
    def is_good(self) -> bool:
        """Whether the value is a good reading and nothing has failed since."""
        return self._is_good if self._held is None else self._held[0]

    @property
    def status(self) -> AlarmStatus:
        """What is wrong."""
        return self._status

    @property
    def severity(self) -> AlarmSeverity:
        """How bad it is."""
        return self._severity

    @property
    def stamp(self) -> float:
        """Time of the value or of the last alarm transition, in seconds since 1970."""
        return self._seconds + self._nanoseconds * 1e-9

    @property
    def timestamp(self) -> float:
        """caproto's name for `stamp`."""
        return self.stamp

    @property
    def alarm_time(self) -> AlarmTime:
        """What goes into the DBRs about alarm and time."""
        return AlarmTime(self._status, self._severity, self._seconds, self._nanoseconds)

    @property
    def acknowledgement(self) -> tuple[int, int]:
        """ACKT and ACKS."""
        return int(self.ackt), int(self.acks)

    @property
    def is_busy(self) -> bool:
        """Whether a put is on its way to the instrument, PACT."""
        return self._puts > 0

    @property
    def is_disabled(self) -> bool:
        """Whether DISA is DISV: then readings wait and puts are refused."""
        return self.info.disa == self.info.disv

    @property
    def period(self) -> float | None:
        """The period in which it wants to be read, in seconds; None: never."""
        return None if self.is_disabled else scan_period(scan_text(self.info.scan))

    def check_access(self, hostname: str | None, username: str | None) -> AccessRights:
        """Writable if there is a putter."""
        return READ if self.putter is None else READ_WRITE

    def get_field(self, name: str) -> Served:
        """The field of this name. Raises KeyError if the record type has no such field."""
        if name == "VAL":
            return self
        if self._fields is None:
            # Who asks for every field of every record must not cost memory for good.
            self._fields = WeakValueDictionary()
        made = self._fields.get(name)
        if made is None:
            spec = self.own_fields.get(name) or FIELDS[self.info.rtyp][name]
            made = self._fields[name] = Field(self, name, spec)
        return made

    def configure(self, **changes: Any) -> None:
        """Change settings, by the names of `RecordInfo`, for good: what clients may do is judged by them."""
        untouched = self.info is self.configured
        self.configured = replace(self.configured, **changes)
        self.info = self.configured if untouched else replace(self.info, **changes)

    def post(self, value: Any, stamp: float) -> None:
        """Take a good reading: `stamp` is its time in seconds since 1970.

        Raises TypeError or ValueError if the value doesn't fit the record; nothing is changed then.
        """
        value = self._accept(value)
        if self.info.disa == self.info.disv:
            self._disable(True, lambda: self.post(value, stamp))
            return
        self._advance(stamp)
        mask = self._changes(value)
        self._data["value"] = value
        undefined = value != value if type(value) is float else False
        self._is_good = not undefined
        if undefined:
            status, severity = AlarmStatus.UDF, self.info.udfs
        else:
            status, severity = self._judge(value)
        severity_changed = severity != self._severity
        if severity_changed or status != self._status:
            mask |= DBE_ALARM
            self._set_alarm(status, severity)
        self._udf = undefined
        self.message = ""
        if mask and self._monitors:
            self.send_event(mask)
        if self._fields:
            self.follow_fields(severity_changed)

    def reset_stamp(self) -> None:
        """Let the next time stamp be an earlier one: that of a value from before a restart, which nobody has seen."""
        self._seconds = self._nanoseconds = 0

    def fail(
        self,
        status: AlarmStatus,
        stamp: float,
        severity: AlarmSeverity = AlarmSeverity.INVALID_ALARM,
        message: str = "",
    ) -> None:
        """Go into alarm and keep the last value; the same alarm again changes nothing but the message."""
        if self.is_disabled:
            self._disable(False, lambda: self.fail(status, stamp, severity, message))
            return
        self._is_good = False
        self._udf = self._udf or status == AlarmStatus.UDF
        self.message = message
        self._alarm_event(status, severity, stamp)

    def judge_again(self) -> None:
        """Look for alarms anew: a limit or a severity has changed."""
        if self._is_good and not self.is_disabled:
            self._alarm_event(*self._judge(self.value), time.time())

    def _alarm_event(self, status: AlarmStatus, severity: AlarmSeverity, stamp: float) -> None:
        severity_changed = severity != self._severity
        if severity_changed or status != self._status:
            self._advance(stamp)
            self._set_alarm(status, severity)
            self.send_event(DBE_ALARM)
        self.follow_fields(severity_changed)

    def _disable(self, is_good: bool, held: Callable[[], None]) -> None:
        """Keep what came for the time when the record is enabled again."""
        self._held = is_good, held
        self._alarm_event(AlarmStatus.DISABLE, self.info.diss, time.time())

    def follow_fields(self, severity_changed: bool = True) -> None:
        """Send an event for every field that has changed."""
        for made in self._made_fields():
            made.send_if_changed(severity_changed)

    def send_to_all(self, mask: int) -> None:
        """Send an event to the monitors of the value and of all fields."""
        self.send_event(mask)
        for made in self._made_fields():
            made.send_event(mask)

    def _made_fields(self) -> list[Field]:
        return list(self._fields.values()) if self._fields else []

    def follow_disable(self) -> None:
        """Act on a new DISA or DISV: go into or out of DISABLE."""
        if self.is_disabled:
            if self._held is None:
                restore = functools.partial(self._restore, self._status, self._severity, self.message)
                self._disable(self._is_good, restore)
        elif self._held is not None:
            (is_good, held), self._held = self._held, None
            # a good reading of before says nothing of now: the next one ends DISABLE
            if not (is_good and self.reader):
                held()
        if self.on_rescan is not None:
            self.on_rescan(not self.is_disabled)

    def _restore(self, status: AlarmStatus, severity: AlarmSeverity, message: str) -> None:
        self.message = message
        self._alarm_event(status, severity, time.time())

    def set_scan(self, text: str) -> None:
        """Read in another period: a text of `.SCAN`. Raises PutRefused if the record isn't read by polling."""
        if self.on_rescan is None:
            raise PutRefused(f"{self.pvname} is not scanned")
        self.info = replace(self.info, scan=text)
        self.on_rescan(False)

    async def process(self) -> None:
        """Read now; a setpoint is written again. Raises what its putter raises."""
        if self.is_disabled:
            return
        if self.reader is not None:
            await self.reader()
        elif self.putter is not None and not self._udf:
            await self._put(self.value)

    def restore(self, data: Any) -> None:
        """Show what was saved before a restart: byte strings, or numbers as an array.

        Raises PutRefused if it doesn't fit, or if this PV has no value to restore.
        """
        if self.restorer is None:
            raise PutRefused(f"{self.pvname} takes its value from elsewhere")
        value = self._from_client(data)
        self.check_drive(value)
        self.restorer(value)

    def check_drive(self, value: Any) -> None:
        """Raises PutRefused if a value is beyond DRVL and DRVH."""
        drive = self.info.drive
        if drive is not None and not drive[0] <= value <= drive[1]:
            limits = f"{drive[0]:g} to {drive[1]:g} {self.info.egu}".rstrip()
            raise PutRefused(f"{self.pvname}: {value:g} is beyond the limits {limits}")

    async def write(self, value: Any, *, timestamp: float | None = None) -> None:
        """caproto's name for `post`."""
        self.post(value, time.time() if timestamp is None else timestamp)

    async def write_from_dbr(
        self, data: Any, data_type: ChannelType, metadata: Any, *, flags: int = 0
    ) -> None:
        """Give what a client puts to the putter.

        Raises PutRefused if the value doesn't fit or comes with alarm, time or limits, and what the putter raises.
        """
        if data_type in (ChannelType.PUT_ACKT, ChannelType.PUT_ACKS):
            self._acknowledge(data_type, int(metadata.value))
            return
        try:
            if data_type > ChannelType.DOUBLE:
                raise PutRefused(f"{self.pvname}: alarm, time and limits can't be put")
            if self.putter is None:
                raise PutRefused(f"{self.pvname} is read-only")
            if self.info.disp or self.is_disabled:
                field = "DISP is set" if self.info.disp else "DISA is DISV"
                raise PutRefused(f"{self.pvname} takes no puts: its {field}")
            await self._put(self._from_client(data))
        except Exception as error:
            self.on_refused(error)
            raise

    def _acknowledge(self, kind: ChannelType, given: int) -> None:
        """Let a client acknowledge an alarm, or say whether those that have gone must be acknowledged."""
        if kind == ChannelType.PUT_ACKT:
            if bool(given) == self.ackt:
                return
            self.ackt = bool(given)
            if not given:
                self.acks = min(self.acks, self._severity)
        elif given >= self.acks:
            self.acks = AlarmSeverity.NO_ALARM
        else:
            return
        self.follow_fields()
        self.send_to_all(DBE_ALARM)

    async def _put(self, value: Any) -> None:
        assert self.putter is not None
        self._puts += 1
        try:
            await self.putter(value)
        finally:
            self._puts -= 1

    def _from_client(self, data: Any) -> Any:
        """The Python value of what a client put: byte strings, or numbers as an array."""
        raise NotImplementedError

    def _accept(self, value: Any) -> Any:
        """The value as the record holds it; raises TypeError or ValueError if it can't."""
        raise NotImplementedError

    def _changes(self, value: Any) -> int:
        """Which of DBE_VALUE and DBE_LOG this value is worth; records without deadbands send every change."""
        if value == self.monitored:
            return 0
        self.monitored = value
        return DBE_VALUE | DBE_LOG

    def _judge(self, value: Any) -> tuple[AlarmStatus, AlarmSeverity]:
        """The alarm that belongs to a good value."""
        return AlarmStatus.NO_ALARM, AlarmSeverity.NO_ALARM

    def _advance(self, stamp: float) -> None:
        """Set the time stamp. It always rises: clients drop an event that isn't newer than the last one."""
        stamp = max(stamp, BEGIN_OF_TIME)  # the clock of a machine without a battery begins in 1970
        seconds = int(stamp)
        if seconds >= END_OF_TIME:
            raise ValueError(f"{self.pvname}: {stamp} is no time in seconds since 1970")
        nanoseconds = int((stamp - seconds) * 1e9)
        if (seconds, nanoseconds) <= (self._seconds, self._nanoseconds):
            carry, nanoseconds = divmod(self._nanoseconds + 1, 1_000_000_000)
            seconds = self._seconds + carry
        self._seconds, self._nanoseconds = seconds, nanoseconds

    def _set_alarm(self, status: AlarmStatus, severity: AlarmSeverity) -> None:
        self._status, self._severity = status, severity
        if not self.ackt or severity >= self.acks:
            self.acks = severity
