"""What stands behind every PV: a value with its alarm, its time stamp and its fields, as the C IOC has them.

The classes go into a caproto `PVGroup` by caproto's own way in:

    temperature = pvproperty(dtype=DoublePV, name="TEMP", info=RecordInfo("ai", egu="K"))

The owner of a PV calls `post` for a good reading and `fail` for a bad one; both are synchronous. A PV with a
`putter` can be written by clients, any other is read-only.
"""

import math
import operator
import time
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, ClassVar

import numpy as np

from labioc.devices.core._caproto import (
    DBE_ALARM,
    DBE_LOG,
    DBE_VALUE,
    END_OF_TIME,
    STRING_BYTES,
    AccessRights,
    AlarmSeverity,
    AlarmStatus,
    AlarmTime,
    ChannelType,
    format_number,
    to_latin1,
)
from labioc.devices.core.fields import FIELDS, Alarm, Field, RecordInfo
from labioc.devices.core.served import Served

__all__ = [
    "PV",
    "Alarm",
    "AlarmSeverity",
    "AlarmStatus",
    "DoubleArrayPV",
    "DoublePV",
    "EnumPV",
    "IntegerArrayPV",
    "IntegerPV",
    "LongTextPV",
    "PutRefused",
    "RecordInfo",
    "StringPV",
]

PREC_OF_PUTS = 6
"""Digits of a number that a client puts to a text record."""
INT32 = range(-(2**31), 2**31)


class PutRefused(ValueError):
    """Raised when a client puts something that the PV can't take: wrong type, unknown label, too long."""

    expected = True
    """The client's mistake, not a fault of the IOC: servers log it in one line."""


class PV(Served):
    """A record: the last good value, alarm and time. Subclasses say what kind of value."""

    initial: ClassVar[Any]

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
        # PVGroup hands one alarm to all PVs of a group; each PV must have its own, which caproto makes.
        super().__init__(max_length or 1, info.rtyp)
        self.info = info
        self.pvname = pvname
        self.group = group
        self.pvspec = pvspec
        self.putter: Callable[[Any], Awaitable[None]] | None = None
        self.on_refused: Callable[[Exception], None] = lambda error: None
        self._data["value"] = self.initial
        self._fields: dict[str, Field] = {}
        self._udf = True
        self._last_alarm: float | None = None
        self._monitored: Any = None
        self._logged: Any = None
        self._seconds = self._nanoseconds = 0
        self._advance(time.time())
        self._set_alarm(AlarmStatus.UDF, AlarmSeverity.INVALID_ALARM)

    @property
    def udf(self) -> bool:
        """True until the first good reading, and while the value is not a number."""
        return self._udf

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

    def check_access(self, hostname: str | None, username: str | None) -> AccessRights:
        """Writable if there is a putter."""
        return AccessRights.READ if self.putter is None else AccessRights.READ | AccessRights.WRITE

    def get_field(self, name: str) -> Served:
        """The field of this name. Raises KeyError if the record type has no such field."""
        if name == "VAL":
            return self
        made = self._fields.get(name)
        if made is None:
            spec = FIELDS[name]
            if not spec.belongs_to(self.info.rtyp):
                raise KeyError(name)
            made = self._fields[name] = Field(self, name, spec)
        return made

    def post(self, value: Any, stamp: float) -> None:
        """Take a good reading: `stamp` is its time in seconds since 1970.

        Raises TypeError or ValueError if the value doesn't fit the record; nothing is changed then.
        """
        value = self._accept(value)
        self._advance(stamp)
        mask = self._changes(value)
        self._data["value"] = value
        undefined = value != value if type(value) is float else False
        if undefined:
            status, severity = AlarmStatus.UDF, AlarmSeverity.INVALID_ALARM
        else:
            status, severity = self._judge(value)
        if status != self._status or severity != self._severity or undefined != self._udf:
            if status != self._status or severity != self._severity:
                mask |= DBE_ALARM
                self._set_alarm(status, severity)
            self._udf = undefined
            for made in self._fields.values():
                made.send_if_changed()
        if mask and self._monitors:
            self.send_event(mask)

    def fail(
        self,
        status: AlarmStatus,
        stamp: float,
        severity: AlarmSeverity = AlarmSeverity.INVALID_ALARM,
    ) -> None:
        """Go into alarm and keep the last value; the same alarm again changes nothing."""
        if status == self._status and severity == self._severity:
            return
        self._advance(stamp)
        self._set_alarm(status, severity)
        self._udf = self._udf or status == AlarmStatus.UDF
        for made in self._fields.values():
            made.send_if_changed()
        self.send_event(DBE_ALARM)

    async def write(self, value: Any, *, timestamp: float | None = None) -> None:
        """caproto's name for `post`."""
        self.post(value, time.time() if timestamp is None else timestamp)

    async def write_from_dbr(
        self, data: Any, data_type: ChannelType, metadata: Any, *, flags: int = 0
    ) -> None:
        """Give what a client puts to the putter; the client's alarm, time and limits are ignored.

        Raises PutRefused if the value doesn't fit, and what the putter raises.
        """
        if data_type in (ChannelType.PUT_ACKT, ChannelType.PUT_ACKS):
            await super().write_from_dbr(data, data_type, metadata)
            return
        if self.putter is None:
            raise PutRefused(f"{self.pvname} is read-only")
        try:
            await self.putter(self._from_client(data))
        except Exception as error:
            self.on_refused(error)
            raise

    def _from_client(self, data: Any) -> Any:
        """The Python value of what a client put: byte strings, or numbers as an array."""
        raise NotImplementedError

    def _accept(self, value: Any) -> Any:
        """The value as the record holds it; raises TypeError or ValueError if it can't."""
        raise NotImplementedError

    def _changes(self, value: Any) -> int:
        """Which of DBE_VALUE and DBE_LOG this value is worth; records without deadbands send every change."""
        if self._monitored is not None and value == self._monitored:
            return 0
        self._monitored = value
        return DBE_VALUE | DBE_LOG

    def _judge(self, value: Any) -> tuple[AlarmStatus, AlarmSeverity]:
        """The alarm that belongs to a good value."""
        return AlarmStatus.NO_ALARM, AlarmSeverity.NO_ALARM

    def _advance(self, stamp: float) -> None:
        """Set the time stamp. It always rises: clients drop an event that isn't newer than the last one."""
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
        data = self.alarm._data
        data["status"], data["severity"] = status, severity
        if not data["must_acknowledge_transient"] or severity >= data["severity_to_acknowledge"]:
            data["severity_to_acknowledge"] = severity


class _NumberPV(PV):
    """Deadbands and alarm limits of the scalar numbers."""

    def _changes(self, value: Any) -> int:
        info = self.info
        mask = 0
        if _beyond_deadband(self._monitored, value, info.mdel):
            self._monitored = value
            mask = DBE_VALUE
        if _beyond_deadband(self._logged, value, info.adel):
            self._logged = value
            mask |= DBE_LOG
        return mask

    def _judge(self, value: Any) -> tuple[AlarmStatus, AlarmSeverity]:
        alarm = self.info.alarm
        for status, severity, limit, upper in alarm.checks:
            if upper:
                beyond = value >= limit or (self._last_alarm == limit and value >= limit - alarm.hysteresis)
            else:
                beyond = value <= limit or (self._last_alarm == limit and value <= limit + alarm.hysteresis)
            if beyond:
                self._last_alarm = limit
                return status, severity
        self._last_alarm = value
        return AlarmStatus.NO_ALARM, AlarmSeverity.NO_ALARM


def _beyond_deadband(old: Any, new: Any, deadband: float) -> bool:
    """recGblCheckDeadband of the C IOC: NaN and infinities count by kind. A negative deadband sends all."""
    if old is None:
        return True
    difference = abs(new - old)
    if difference < math.inf:
        return bool(difference > deadband)
    same = new == old or (new != new and old != old)
    return deadband < 0 if same else True


class DoublePV(_NumberPV):
    """ai, ao: a float. NaN is posted with alarm UDF."""

    data_type = ChannelType.DOUBLE
    initial = 0.0

    def _accept(self, value: Any) -> float:
        if type(value) is float:
            return value
        if isinstance(value, str | bytes):
            raise TypeError(f"{self.pvname} takes a number, not {value!r}")
        return float(value)

    def _from_client(self, data: Any) -> float:
        return float(_one_number(self.pvname, data))


class IntegerPV(_NumberPV):
    """longin, longout: a 32-bit integer."""

    data_type = ChannelType.LONG
    initial = 0

    def _accept(self, value: Any) -> int:
        if isinstance(value, float | np.floating) and float(value).is_integer():
            value = int(value)
        number = operator.index(value)
        if number not in INT32:
            raise ValueError(f"{self.pvname} can't hold {number}: a Channel Access integer has 32 bits")
        return number

    def _from_client(self, data: Any) -> int:
        number = _one_number(self.pvname, data)
        if not math.isfinite(number) or math.trunc(number) not in INT32:
            raise PutRefused(f"{self.pvname} can't take {number}: it is a 32-bit integer")
        return math.trunc(number)


class EnumPV(PV):
    """bi, bo, mbbi, mbbo: the index of a state; labels are taken too."""

    data_type = ChannelType.ENUM
    initial = 0

    @property
    def states(self) -> Sequence[str]:
        """The labels, by index."""
        return self.info.states

    @property
    def enum_strings(self) -> Sequence[str]:
        """caproto's name for `states`."""
        return self.info.states

    def _judge(self, value: Any) -> tuple[AlarmStatus, AlarmSeverity]:
        severities = self.info.severities
        severity = severities[value] if severities else AlarmSeverity.NO_ALARM
        return (AlarmStatus.STATE if severity else AlarmStatus.NO_ALARM), severity

    def _accept(self, value: Any) -> int:
        states = self.info.states
        if isinstance(value, str):
            if value not in states:
                raise ValueError(f"{self.pvname} has no state {value!r}, only {', '.join(states)}")
            return states.index(value)
        index = operator.index(value)
        if not 0 <= index < len(states):
            raise ValueError(f"{self.pvname} has no state {index}, only 0 to {len(states) - 1}")
        return index

    def _from_client(self, data: Any) -> int:
        try:
            if isinstance(data[0], bytes):
                text = _text(data[0])
                return self._accept(text if text in self.info.states else int(text))
            return self._accept(int(data[0]))
        except (ValueError, OverflowError, IndexError):
            put = _shown(data)
            raise PutRefused(
                f"{self.pvname} has no state {put}, only {', '.join(self.info.states)}"
            ) from None


class StringPV(PV):
    """stringin, stringout: up to 39 bytes of Latin-1."""

    data_type = ChannelType.STRING
    initial = ""

    def _accept(self, value: Any) -> str:
        if not isinstance(value, str):
            raise TypeError(f"{self.pvname} takes text, not {value!r}")
        text = to_latin1(value).partition(b"\0")[0]
        return text[: self._capacity()].decode("latin-1")

    def _from_client(self, data: Any) -> str:
        text = _put_text(data)
        if len(text) > self._capacity():
            raise PutRefused(f"{self.pvname} takes {self._capacity()} bytes, not {len(text)}")
        return text

    def _capacity(self) -> int:
        return STRING_BYTES


class LongTextPV(StringPV):
    """Text of up to `max_length` bytes.

    lsi, lso: a string of which `X.VAL$` gives the whole, as in the C IOC. waveform: an array of CHAR.
    """

    def __init__(self, **kwargs: Any) -> None:
        """See `PV`; `max_length` bytes include the NUL."""
        super().__init__(**kwargs)
        self.long_string_max_length = self._max_length
        if self.info.rtyp == "waveform":
            self.data_type = ChannelType.CHAR
        else:
            self._max_length = 1

    def _capacity(self) -> int:
        return self.long_string_max_length - 1


class _ArrayPV(PV):
    """waveform: up to `max_length` numbers, held as a read-only array of our own."""

    dtype: ClassVar[Any]

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self._data["value"] = np.zeros(0, self.dtype)

    initial = None

    def _accept(self, value: Any) -> Any:
        array = np.array(value)
        if array.ndim != 1 or array.dtype.kind not in "iufb":
            raise TypeError(f"{self.pvname} takes a sequence of numbers")
        if len(array) > self._max_length:
            raise ValueError(f"{self.pvname} holds {self._max_length} elements, not {len(array)}")
        array = self._as_dtype(array)
        array.flags.writeable = False
        return array

    def _as_dtype(self, array: Any) -> Any:
        return array.astype(self.dtype)

    def _changes(self, value: Any) -> int:
        if self._monitored is not None and np.array_equal(value, self._monitored, equal_nan=True):
            return 0
        self._monitored = value
        return DBE_VALUE | DBE_LOG

    def _from_client(self, data: Any) -> Any:
        try:
            numbers = [_number(_text(text)) for text in data] if _are_strings(data) else data
            return self._accept(numbers if len(numbers) else np.zeros(0))
        except (ValueError, TypeError) as error:
            raise PutRefused(str(error)) from None


class DoubleArrayPV(_ArrayPV):
    """A waveform of floats."""

    data_type = ChannelType.DOUBLE
    dtype = np.float64


class IntegerArrayPV(_ArrayPV):
    """A waveform of 32-bit integers."""

    data_type = ChannelType.LONG
    dtype = np.int32

    def _as_dtype(self, array: Any) -> Any:
        whole = array.astype(np.int32) if array.size == 0 else None
        if whole is None:
            if not (
                array.min() >= INT32.start and array.max() < INT32.stop and (array == np.floor(array)).all()
            ):
                raise ValueError(f"{self.pvname} takes 32-bit integers")
            whole = array.astype(np.int32)
        return whole


def _text(raw: bytes) -> str:
    return raw.partition(b"\0")[0].decode("latin-1")


def _are_strings(data: Any) -> bool:
    return len(data) > 0 and isinstance(data[0], bytes)


def _shown(data: Any) -> str:
    """What a client put, for an error's text."""
    if not len(data):
        return "nothing"
    return repr(_text(data[0])) if _are_strings(data) else str(data[0])


def _put_text(data: Any) -> str:
    if _are_strings(data):
        return _text(data[0])
    if getattr(data, "dtype", None) == np.uint8:
        return _text(data.tobytes())
    return format_number(data[0].item(), PREC_OF_PUTS) if len(data) else ""


def _number(text: str) -> float:
    """A number as the C IOC reads it: decimal. Raises ValueError."""
    if "_" in text:
        raise ValueError(f"{text!r} is no number")
    return float(text)


def _one_number(pvname: str, data: Any) -> float:
    try:
        return _number(_text(data[0])) if _are_strings(data) else data[0].item()
    except (ValueError, IndexError):
        raise PutRefused(f"{pvname} takes a number, not {_shown(data)}") from None
