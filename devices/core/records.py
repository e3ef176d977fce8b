"""What stands behind every PV: a value with its alarm, its time stamp and its fields, as the C IOC has them.

The classes go into a caproto `PVGroup` by caproto's own way in:

    temperature = pvproperty(dtype=DoublePV, name="TEMP", info=RecordInfo("ai", egu="K"))

The owner of a PV calls `post` for a good reading and `fail` for a bad one; both are synchronous. A PV with a
`putter` can be written by clients, any other is read-only.
"""

import math
import operator
from collections.abc import Sequence
from typing import Any, ClassVar

import numpy as np

from labioc.devices.core._caproto import (
    DBE_LOG,
    DBE_VALUE,
    MAX_STATES,
    STRING_BYTES,
    AlarmSeverity,
    AlarmStatus,
    ChannelType,
    to_latin1,
)
from labioc.devices.core.conversion import (
    PutRefused,
    are_strings,
    as_index,
    as_integer,
    as_number,
    as_numbers,
    as_text,
)
from labioc.devices.core.field import Metadata
from labioc.devices.core.fields import BINARY, MULTI
from labioc.devices.core.info import Alarm, RecordInfo
from labioc.devices.core.pv import PV

__all__ = [
    "PV",
    "Alarm",
    "AlarmSeverity",
    "AlarmStatus",
    "CharArrayPV",
    "DoubleArrayPV",
    "DoublePV",
    "EnumPV",
    "FloatArrayPV",
    "Integer64PV",
    "IntegerArrayPV",
    "IntegerPV",
    "LongTextPV",
    "PutRefused",
    "RecordInfo",
    "StringPV",
]

INT32 = range(-(2**31), 2**31)
INT64 = range(-(2**63), 2**63)
UNKNOWN_STATE = 65535
"""The index of no state, as the C IOC's mbbi has it."""


class _NumberPV(PV):
    """Deadbands and alarm limits of the scalar numbers."""

    def _changes(self, value: Any) -> int:
        info = self.info
        mask = 0
        if beyond_deadband(self.monitored, value, info.mdel):
            self.monitored = value
            mask = DBE_VALUE
        if beyond_deadband(self.logged, value, info.adel):
            self.logged = value
            mask |= DBE_LOG
        return mask

    def _judge(self, value: Any) -> tuple[AlarmStatus, AlarmSeverity]:
        info = self.info
        for status, severity, limit, upper in info.checks:
            if upper:
                beyond = value >= limit or (self.last_alarm == limit and value >= limit - info.hyst)
            else:
                beyond = value <= limit or (self.last_alarm == limit and value <= limit + info.hyst)
            if beyond:
                self.last_alarm = limit
                return status, severity
        self.last_alarm = value
        return AlarmStatus.NO_ALARM, AlarmSeverity.NO_ALARM


def beyond_deadband(old: Any, new: Any, deadband: float) -> bool:
    """recGblCheckDeadband of the C IOC: NaN and infinities count by kind. A negative deadband sends all."""
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
        return float(as_number(self.pvname, data))


class IntegerPV(_NumberPV):
    """longin, longout: a 32-bit integer."""

    data_type = ChannelType.LONG
    initial = 0
    bounds: ClassVar[range] = INT32

    def _accept(self, value: Any) -> int:
        if isinstance(value, float | np.floating) and float(value).is_integer():
            value = int(value)
        number = operator.index(value)
        if number not in self.bounds:
            raise ValueError(f"{self.pvname} can't hold {number}: it has {self._bits} bits")
        return number

    def _from_client(self, data: Any) -> int:
        number = as_integer(self.pvname, data)
        if number not in self.bounds:
            raise PutRefused(f"{self.pvname} can't take {number}: it is a {self._bits}-bit integer")
        return number

    @property
    def _bits(self) -> int:
        return self.bounds.stop.bit_length()


class Integer64PV(IntegerPV):
    """int64in, int64out: a 64-bit integer, which Channel Access carries as a float, exact up to 2**53."""

    data_type = ChannelType.DOUBLE
    bounds = INT64


class EnumPV(PV):
    """bi, bo, mbbi, mbbo: the index of a state; labels are taken too."""

    data_type = ChannelType.ENUM
    initial = 0

    @property
    def states(self) -> Sequence[str]:
        """The labels, by index."""
        states = self.info.states
        return states if len(states) >= 2 or self.info.rtyp not in BINARY else (*states, "", "")[:2]

    @property
    def enum_strings(self) -> Sequence[str]:
        """caproto's name for `states`."""
        return self.states

    def _judge(self, value: Any) -> tuple[AlarmStatus, AlarmSeverity]:
        info = self.info
        if value == UNKNOWN_STATE:
            severity = info.unsv
        else:
            severity = info.severities[value] if value < len(info.severities) else AlarmSeverity.NO_ALARM
        # as in the C IOC a first value isn't told from a change from 0
        changed = value != (self.last_alarm or 0)
        self.last_alarm = value
        if changed and info.cosv > severity:
            return AlarmStatus.COS, info.cosv
        return (AlarmStatus.STATE if severity else AlarmStatus.NO_ALARM), severity

    def _accept(self, value: Any) -> int:
        states = self.states
        if isinstance(value, str):
            if value not in states:
                raise ValueError(f"{self.pvname} has no state {value!r}, only {', '.join(states)}")
            return states.index(value)
        index = operator.index(value)
        # a state may have no label
        most = MAX_STATES if self.info.rtyp in MULTI else len(states)
        if not 0 <= index < most and index != UNKNOWN_STATE:
            raise ValueError(f"{self.pvname} has no state {index}, only 0 to {most - 1}")
        return index

    def _from_client(self, data: Any) -> int:
        # clients may change labels, but not which states the instrument has
        known = len(self.configured.states)
        return as_index(self.pvname, data, self.states, max(known, 2) if self.info.rtyp in BINARY else known)


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
        text = as_text(data)
        if len(text) > self._capacity():
            raise PutRefused(f"{self.pvname} takes {self._capacity()} bytes, not {len(text)}")
        return text.decode("latin-1")

    def _capacity(self) -> int:
        return STRING_BYTES


class LongTextPV(StringPV):
    """lsi, lso: text of up to `max_length` bytes, of which `X.VAL$` gives the whole."""

    def __init__(self, **kwargs: Any) -> None:
        """See `PV`; `max_length` bytes include the NUL."""
        super().__init__(**kwargs)
        self.long_string_max_length = self._max_length
        self._max_length = 1

    def _capacity(self) -> int:
        return self.long_string_max_length - 1


class _ArrayPV(PV):
    """waveform: up to `max_length` numbers, held as a read-only array that nobody else writes to."""

    dtype: ClassVar[Any]

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self._data["value"] = np.zeros(0, self.dtype)

    initial = None

    def _accept(self, value: Any) -> Any:
        array = np.asarray(value)
        if array.ndim != 1 or array.dtype.kind not in "iufb":
            raise TypeError(f"{self.pvname} takes a sequence of numbers")
        if len(array) > self._max_length:
            raise ValueError(f"{self.pvname} holds {self._max_length} elements, not {len(array)}")
        array = self._as_dtype(array)
        if array.flags.writeable:
            if array is value or not array.flags.owndata:
                array = array.copy()  # whoever gave it may go on with it
            array.flags.writeable = False
        return array

    def _as_dtype(self, array: Any) -> Any:
        return array.astype(self.dtype, copy=False)

    def _changes(self, value: Any) -> int:
        return DBE_VALUE | DBE_LOG

    def _from_client(self, data: Any) -> Any:
        try:
            return self._accept(self._from_numbers(as_numbers(self.pvname, data)))
        except (ValueError, TypeError) as error:
            raise PutRefused(str(error)) from None

    def _from_numbers(self, numbers: Any) -> Any:
        return numbers


class DoubleArrayPV(_ArrayPV):
    """A waveform of floats."""

    data_type = ChannelType.DOUBLE
    element_type = "DOUBLE"
    dtype = np.float64


class FloatArrayPV(_ArrayPV):
    """A waveform of four-byte floats."""

    data_type = ChannelType.FLOAT
    element_type = "FLOAT"
    dtype = np.float32


class IntegerArrayPV(_ArrayPV):
    """A waveform of 32-bit integers."""

    data_type = ChannelType.LONG
    element_type = "LONG"
    dtype = np.int32

    @property
    def metadata(self) -> Metadata:
        """What the DBRs tell: integers have no digits behind the point, whatever PREC says."""
        return Metadata(self.info.egu, 0, (), self.info.limits)

    def _from_numbers(self, numbers: Any) -> Any:
        return np.trunc(numbers)

    def _as_dtype(self, array: Any) -> Any:
        if array.size and array.dtype != self.dtype:
            is_whole = array.dtype.kind != "f" or (array == np.floor(array)).all()
            if not (is_whole and array.min() >= INT32.start and array.max() < INT32.stop):
                raise ValueError(f"{self.pvname} takes 32-bit integers")
        return array.astype(self.dtype, copy=False)


class CharArrayPV(_ArrayPV):
    """A waveform of characters that holds a text: up to `max_length` bytes of Latin-1."""

    data_type = ChannelType.CHAR
    element_type = "CHAR"
    dtype = np.uint8

    @property
    def text(self) -> str:
        """The value as text, up to the first NUL."""
        raw: bytes = self.value.tobytes()
        return raw.partition(b"\0")[0].decode("latin-1")

    def _accept(self, value: Any) -> Any:
        return super()._accept(np.frombuffer(to_latin1(value), np.uint8) if isinstance(value, str) else value)

    def _from_client(self, data: Any) -> str:
        raw = as_text(data) if are_strings(data) else np.asarray(data).astype(np.uint8).tobytes()
        text = raw.partition(b"\0")[0]
        if len(text) > self._max_length:
            raise PutRefused(f"{self.pvname} takes {self._max_length} bytes, not {len(text)}")
        return text.decode("latin-1")
