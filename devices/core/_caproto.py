"""What the records take from caproto, with types (caproto ships none), and Channel Access encoding."""

import ctypes
import math
import struct
from collections.abc import Callable, Sequence
from enum import IntEnum, IntFlag
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

import caproto
import numpy as np
from caproto import DBR_TYPES
from caproto._dbr import DbrStringArray, _channel_type_by_name, native_type

if TYPE_CHECKING:

    class AlarmStatus(IntEnum):
        """menuAlarmStat of the C IOC."""

        NO_ALARM = 0
        READ = 1
        WRITE = 2
        HIHI = 3
        HIGH = 4
        LOLO = 5
        LOW = 6
        STATE = 7
        COS = 8
        COMM = 9
        TIMEOUT = 10
        HWLIMIT = 11
        CALC = 12
        SCAN = 13
        LINK = 14
        SOFT = 15
        BAD_SUB = 16
        UDF = 17
        DISABLE = 18
        SIMM = 19
        READ_ACCESS = 20
        WRITE_ACCESS = 21

    class AlarmSeverity(IntEnum):
        """menuAlarmSevr of the C IOC."""

        NO_ALARM = 0
        MINOR_ALARM = 1
        MAJOR_ALARM = 2
        INVALID_ALARM = 3

    class AccessRights(IntFlag):
        """What a client may do with a channel."""

        NO_ACCESS = 0
        READ = 1
        WRITE = 2

    class ChannelType(IntEnum):
        """The DBR types that the records use by name."""

        STRING = 0
        INT = 1
        FLOAT = 2
        ENUM = 3
        CHAR = 4
        LONG = 5
        DOUBLE = 6
        STS_STRING = 7
        PUT_ACKT = 35
        PUT_ACKS = 36
        STSACK_STRING = 37
        CLASS_NAME = 38

    class ChannelData:
        """caproto's base of everything that is served as a channel."""

        data_type: ChannelType
        max_subscription_backlog: int
        long_string_max_length: int
        _data: dict[str, Any]
        _max_length: int

        @property
        def value(self) -> Any: ...
        @property
        def max_length(self) -> int: ...
        def check_access(self, hostname: str | None, username: str | None) -> AccessRights: ...
        def get_field(self, name: str) -> "ChannelData": ...
        async def subscribe(self, queue: Any, sub_spec: "SubscriptionSpec", sub: object) -> None: ...
        async def unsubscribe(self, queue: Any, sub_spec: "SubscriptionSpec") -> None: ...
        async def auth_write(
            self,
            hostname: str | None,
            username: str | None,
            data: Any,
            data_type: ChannelType,
            metadata: Any,
            *,
            user_address: tuple[str, int],
        ) -> None: ...
        async def write_from_dbr(
            self, data: Any, data_type: ChannelType, metadata: Any, *, flags: int = 0
        ) -> None: ...

    class SubscriptionSpec(NamedTuple):
        """What one or more subscriptions of the same kind ask for."""

        db_entry: ChannelData
        data_type_name: str
        mask: int
        channel_filter: Any

    class SubscriptionUpdate(NamedTuple):
        """One event on its way from a channel to the server."""

        sub_specs: tuple[SubscriptionSpec, ...]
        metadata: Any
        values: Any
        flags: int
        sub: Any
else:
    from caproto import ChannelData, ChannelType
    from caproto._data import SubscriptionUpdate
    from caproto.server.common import SubscriptionSpec

    AccessRights, AlarmSeverity = caproto.AccessRights, caproto.AlarmSeverity
    AlarmStatus = caproto.AlarmStatus

DBE_VALUE, DBE_LOG, DBE_ALARM, DBE_PROPERTY = 1, 2, 4, 8
READ, READ_WRITE = AccessRights.READ, AccessRights.READ | AccessRights.WRITE

MAX_STATES = 16
STRING_BYTES = 39
"""The longest text that a DBR_STRING holds beside its NUL."""
MAX_TEXTS = 4096
"""So many numbers are turned into text at once and no more: the whole IOC waits for it."""


class EventQueue(Protocol):
    """Where a server takes the events of its channels; caproto's is an asyncio.Queue."""

    __slots__ = ()

    def put_nowait(self, item: SubscriptionUpdate, /) -> None:
        """Take one event."""


class Metadata(Protocol):
    """What the DBR_GR and DBR_CTRL types tell beside the value."""

    @property
    def egu(self) -> str:
        """Engineering units."""

    @property
    def prec(self) -> int:
        """Digits after the decimal point."""

    @property
    def states(self) -> Sequence[str]:
        """Labels of the states of an enum."""

    @property
    def limits(self) -> Sequence[float]:
        """upper and lower display, HIHI, HIGH, LOW, LOLO, upper and lower control limit."""


class AlarmTime(NamedTuple):
    """Alarm and time stamp as they stand in a DBR; the seconds count from 1970."""

    status: int
    severity: int
    seconds: int
    nanoseconds: int


_EPICS_EPOCH = 631152000
BEGIN_OF_TIME = _EPICS_EPOCH
"""The first second since 1970 that a Channel Access time stamp can hold."""
END_OF_TIME = _EPICS_EPOCH + 2**32
"""The first second since 1970 that doesn't fit into a Channel Access time stamp."""
_LIMITS = (
    "upper_disp_limit",
    "lower_disp_limit",
    "upper_alarm_limit",
    "upper_warning_limit",
    "lower_warning_limit",
    "lower_alarm_limit",
    "upper_ctrl_limit",
    "lower_ctrl_limit",
)
_DTYPES: dict[int, np.dtype[Any]] = {
    ChannelType.INT: np.dtype(">i2"),
    ChannelType.FLOAT: np.dtype(">f4"),
    ChannelType.ENUM: np.dtype(">u2"),
    ChannelType.CHAR: np.dtype("u1"),
    ChannelType.LONG: np.dtype(">i4"),
    ChannelType.DOUBLE: np.dtype(">f8"),
}
_INTEGER_RANGE = {ChannelType.INT: 0x7FFF, ChannelType.CHAR: 0xFF, ChannelType.LONG: 0x7FFFFFFF}


class _Form(NamedTuple):
    """How one DBR type is laid out."""

    native: int
    long_string: bool
    struct_type: Any
    has_alarm: bool
    time_format: struct.Struct | None


def _form(name: str) -> _Form:
    dbr = _channel_type_by_name[name]
    long_string = "LONG_STRING" in name
    native = ChannelType.CHAR if long_string else native_type(dbr)
    # libca knows no control data of strings: it takes status and severity there, caproto a time stamp too.
    struct_type = DBR_TYPES[ChannelType.STS_STRING if name in ("GR_STRING", "CTRL_STRING") else int(dbr)]
    time_format = None
    if name.startswith("TIME_"):
        time_format = struct.Struct(f">hhII{ctypes.sizeof(struct_type) - 12}x")
    return _Form(native, long_string, struct_type, hasattr(struct_type, "status"), time_format)


_FORMS = {
    name: _form(name)
    for name in _channel_type_by_name
    if not name.startswith(("PUT_", "STSACK", "CLASS_NAME"))
}
_SPECIAL_SIZES = {"STSACK_STRING": (8, 40), "CLASS_NAME": (0, 40)}


def dbr_sizes(type_name: str) -> tuple[int, int]:
    """The bytes of a DBR before its values, and those of each value."""
    form = _FORMS.get(type_name)
    if form is None:
        return _SPECIAL_SIZES[type_name]
    item = 40 if form.native == ChannelType.STRING else _DTYPES[form.native].itemsize
    return (ctypes.sizeof(form.struct_type) if form.has_alarm else 0), item


class ScalarForm(NamedTuple):
    """How the DBR of one number in its native type is laid out."""

    python_type: type
    layout: struct.Struct
    has_time: bool

    def encode(self, value: Any, alarm_time: AlarmTime | None) -> bytes:
        """The whole DBR. Raises struct.error if the number or the time doesn't fit."""
        if alarm_time is None:
            return self.layout.pack(value)
        status, severity, seconds, nanoseconds = alarm_time
        return self.layout.pack(status, severity, seconds - _EPICS_EPOCH, nanoseconds, value)


SCALAR_FORMS = {
    "DOUBLE": ScalarForm(float, struct.Struct(">d"), False),
    "LONG": ScalarForm(int, struct.Struct(">i"), False),
    "ENUM": ScalarForm(int, struct.Struct(">H"), False),
    "TIME_DOUBLE": ScalarForm(float, struct.Struct(">hhII4xd"), True),
    "TIME_LONG": ScalarForm(int, struct.Struct(">hhIIi"), True),
    "TIME_ENUM": ScalarForm(int, struct.Struct(">hhII2xH"), True),
}
"""The quick way for what most clients ask for."""


def encode_metadata(type_name: str, alarm_time: AlarmTime, metadata: Metadata) -> bytes:
    """The part of a DBR that stands before the values, as it goes over the wire."""
    form = _FORMS[type_name]
    if form.time_format is not None:
        status, severity, seconds, nanoseconds = alarm_time
        return form.time_format.pack(status, severity, seconds - _EPICS_EPOCH, nanoseconds)
    if not form.has_alarm:
        return b""
    dbr = form.struct_type()
    dbr.status, dbr.severity = alarm_time.status, alarm_time.severity
    if hasattr(dbr, "units"):
        # The wire has room for 8 bytes with the NUL; .EGU tells the whole text.
        dbr.units = to_latin1(metadata.egu)[:7]
    if hasattr(dbr, "precision"):
        dbr.precision = metadata.prec
    if hasattr(dbr, "no_str"):
        dbr.enum_strings = [to_latin1(state)[:25] for state in metadata.states[:16]]
    if hasattr(dbr, "upper_disp_limit"):
        for name, limit in zip(_LIMITS, metadata.limits, strict=True):
            if hasattr(dbr, name):
                setattr(dbr, name, _as_limit(limit, form.native))
    return bytes(dbr)


def _as_limit(limit: float, native: int) -> Any:
    """A limit in the type that the client asks for, saturated where that type is smaller."""
    if native in (ChannelType.DOUBLE, ChannelType.FLOAT):
        return limit
    top = _INTEGER_RANGE[ChannelType(native)]
    bottom = 0 if native == ChannelType.CHAR else -top - 1
    whole = 0 if math.isnan(limit) else int(min(max(limit, bottom), top))
    return bytes([whole]) if native == ChannelType.CHAR else whole


def decode_metadata(type_name: str, raw: bytes) -> Any:
    """The DBR structure of caproto with the content of `raw`, or b"" for a type without metadata."""
    return _FORMS[type_name].struct_type.from_buffer_copy(raw) if raw else b""


def encode_values(type_name: str, value: Any, prec: int, states: Sequence[str] | None) -> Any:
    """The values of a DBR as big-endian array or list of byte strings.

    `states` are the labels if `value` is an enum's index, else None. Numbers become text with `prec`
    digits as in the C IOC. Raises ValueError where numbers are asked for and `value` is text, and for more
    than MAX_TEXTS numbers as text.
    """
    form = _FORMS[type_name]
    native = form.native
    if isinstance(value, str):
        if form.long_string:
            # Archiver Appliance wants the NUL of a long string within the counted elements.
            return np.frombuffer(to_latin1(value) + b"\0", np.uint8)
        if native == ChannelType.STRING:
            return DbrStringArray([to_latin1(value)[:STRING_BYTES]])
        if native == ChannelType.ENUM:
            raise ValueError("this is text, it has no states")
        value = float(value or 0)
    if native == ChannelType.STRING:
        return DbrStringArray(to_latin1(text) for text in _texts(value, prec, states))
    if native == ChannelType.DOUBLE and type(value) is float:
        return np.array((value,), _DTYPES[native])
    with np.errstate(invalid="ignore", over="ignore"):
        return np.atleast_1d(np.asarray(value)).astype(_DTYPES[native])


def join_dbr(metadata: bytes, values: Any) -> bytes:
    """The DBR of metadata and values as they are encoded, with one copy of an array."""
    raw: Any = values if isinstance(values, np.ndarray) else values.tobytes()
    return b"".join((metadata, raw))


def _texts(value: Any, prec: int, states: Sequence[str] | None) -> list[str]:
    if states is not None:
        if value < len(states):
            return [states[value]]
        if len(states) == 2:
            return ["Illegal_Value"]
        return ["" if value < MAX_STATES else "Illegal Value"]
    numbers = np.atleast_1d(value)
    if len(numbers) > MAX_TEXTS:
        raise ValueError(f"{len(numbers)} numbers are too many for text")
    return [format_number(number, prec, numbers.itemsize) for number in numbers.tolist()]


def format_number(number: float, prec: int, size: int = 8) -> str:
    """A number as the C IOC writes it into a DBR_STRING: cvtDoubleToString, or cvtFloatToString for one of 4 bytes."""
    if isinstance(number, int):
        return str(number)
    if prec > 8 or abs(number) > 1e16:
        prec = min(prec, 17)
        return f"{number:{prec + (6 if size == 4 else 7)}.{prec}e}"
    if not abs(number) <= 1e7:
        return f"{number:.{min(prec, 3)}f}"
    # one digit more is cut off there, and then rounded half up
    whole = int(abs(number))
    carry, fraction = divmod((int((abs(number) - whole) * 10**prec * 10) + 5) // 10, 10**prec)
    sign = "-" if number < 0 else ""
    return f"{sign}{whole + carry}.{fraction:0{prec}d}" if prec else f"{sign}{whole + carry}"


def to_latin1(text: str) -> bytes:
    """Channel Access knows Latin-1 only; what it doesn't have becomes a question mark."""
    return text.encode("latin-1", "replace")


def special_type(
    type_name: str, alarm: AlarmTime, acknowledgement: tuple[int, int], rtyp: str, text: Callable[[], bytes]
) -> Any | None:
    """The DBRs that are no value: alarm with ACKT and ACKS, and record type; None for any other type."""
    if type_name == "CLASS_NAME":
        name = DBR_TYPES[ChannelType.CLASS_NAME]()
        name.value = to_latin1(rtyp)
        return name
    if type_name == "STSACK_STRING":
        return DBR_TYPES[ChannelType.STSACK_STRING](
            status=alarm.status,
            severity=alarm.severity,
            ackt=acknowledgement[0],
            acks=acknowledgement[1],
            value=text(),
        )
    return None
