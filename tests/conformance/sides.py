"""The two servers under comparison, each with the same records and with a way to give an input record a reading."""

from __future__ import annotations

import contextlib
import time
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass
from typing import Any

from tests.conformance.ioc import c_ioc, ports_of_our_own
from tests.conformance.records import OUTPUTS, PREFIXES, SYNC, Record
from tests.conformance.wire import CHAR, Circuit

from labioc.devices.core.records import (
    PV,
    AlarmSeverity,
    DoubleArrayPV,
    DoublePV,
    EnumPV,
    FloatArrayPV,
    Integer64PV,
    IntegerArrayPV,
    IntegerPV,
    LongTextPV,
    PutRefused,
    RecordInfo,
    StringPV,
)
from labioc.iocs.core.server import CAServer

_CLASSES: dict[str, Callable[..., PV]] = {
    "ai": DoublePV,
    "ao": DoublePV,
    "longin": IntegerPV,
    "longout": IntegerPV,
    "int64in": Integer64PV,
    "int64out": Integer64PV,
    "bi": EnumPV,
    "bo": EnumPV,
    "mbbi": EnumPV,
    "mbbo": EnumPV,
    "stringin": StringPV,
    "stringout": StringPV,
    "lsi": LongTextPV,
    "lso": LongTextPV,
}
_ARRAYS: dict[str, Callable[..., PV]] = {
    "DOUBLE": DoubleArrayPV,
    "FLOAT": FloatArrayPV,
    "LONG": IntegerArrayPV,
}
_SEVERITIES = {
    "NO_ALARM": AlarmSeverity.NO_ALARM,
    "MINOR": AlarmSeverity.MINOR_ALARM,
    "MAJOR": AlarmSeverity.MAJOR_ALARM,
    "INVALID": AlarmSeverity.INVALID_ALARM,
}
_SIZES = ("NELM", "SIZV")
_DEFINED = ("FTVL",)
"""What the class of a PV says, not its RecordInfo."""


def record_info(record: Record) -> RecordInfo:
    """The fields of a record as labioc's `RecordInfo` takes them."""
    settings: dict[str, Any] = {}
    states = dict.fromkeys(range(2 if record.rtyp in ("bi", "bo") else 0), "")
    severities: dict[int, AlarmSeverity] = {}
    labels = {f"{prefix}ST": index for index, prefix in enumerate(PREFIXES)} | {"ZNAM": 0, "ONAM": 1}
    alarms = {f"{prefix}SV": index for index, prefix in enumerate(PREFIXES)} | {"ZSV": 0, "OSV": 1}
    for name, value in record.fields.items():
        value = _SEVERITIES.get(value, value)
        if name in labels:
            states[labels[name]] = value
        elif name in alarms:
            severities[alarms[name]] = value
        elif name not in (*_SIZES, *_DEFINED):
            settings[name.lower()] = value
    if states:
        settings["states"] = tuple(states[index] for index in range(len(states)))
    if severities:
        none = AlarmSeverity.NO_ALARM
        settings["severities"] = tuple(severities.get(index, none) for index in range(max(severities) + 1))
    return RecordInfo(record.rtyp, **settings)


def labioc_pv(record: Record) -> PV:
    """labioc's record of this description, with an instrument behind it that has no will of its own.

    An output takes what clients put, within its drive limits; an input reads what it has.
    """
    fields = record.fields
    cls = _CLASSES.get(record.rtyp)
    if cls is None:
        cls = _ARRAYS[fields["FTVL"]]
    size = next((fields[name] for name in _SIZES if name in fields), None)
    pv = cls(info=record_info(record), pvname=record.name, max_length=size)

    async def put(value: Any) -> None:
        drive = pv.info.drive
        if drive is not None and not drive[0] <= value <= drive[1]:
            raise PutRefused(f"{pv.pvname} takes {drive[0]} to {drive[1]}, not {value}")
        pv.post(value, time.time())

    async def read() -> None:
        pv.post(pv.value, time.time())

    if record.rtyp in OUTPUTS:
        pv.putter = put
    else:
        pv.reader = read
    pv.on_rescan = lambda at_once: None
    return pv


@dataclass(frozen=True)
class Side:
    """One of the servers."""

    name: str
    port: int
    pvs: dict[str, PV] | None = None
    """labioc's records; None is the C IOC."""

    async def post(self, circuit: Circuit, record: str, values: Sequence[Any], kind: int) -> str:
        """Let an input record have a reading: the C IOC's is put by the client, labioc's by the server."""
        if self.pvs is None:
            return await circuit.put(record, values, kind)
        pv = self.pvs[record]
        is_array = isinstance(pv, DoubleArrayPV | FloatArrayPV | IntegerArrayPV)
        value = list(values) if is_array else values[0]
        if isinstance(pv, StringPV):
            value = bytes(values).decode("latin-1") if kind == CHAR else str(value)
        try:
            pv.post(value, time.time())
        except (TypeError, ValueError):
            return "PUTFAIL"
        return "NORMAL"


@contextlib.asynccontextmanager
async def both_sides(records: Sequence[Record]) -> AsyncIterator[tuple[Side, Side]]:
    """Serve the records by the C IOC and by labioc."""
    records = [*records, SYNC]
    pvs = {record.name: labioc_pv(record) for record in records}
    server = CAServer(pvs)
    async with c_ioc("".join(record.db for record in records)) as port:
        with ports_of_our_own():
            await server.start()
        try:
            yield Side("C IOC", port), Side("labioc", server.port, pvs)
        finally:
            await server.stop()
