"""The fields of the records (`X.EGU`, `X.SEVR`): one table, made of what the C IOC of EPICS base 7 serves.

A field is one of three: a setting of the record, which clients may change; something computed when it is read;
or a feature of the C IOC that labioc doesn't have, which reads as that record type's default and is read-only.
A field that would have to lie doesn't exist. Fields are made when they are first asked for.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from functools import partial
from operator import attrgetter
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

from labioc.devices.core._caproto import DBE_ALARM, DBE_LOG, DBE_VALUE, AlarmSeverity
from labioc.devices.core.conversion import PutRefused
from labioc.devices.core.field import FieldSpec
from labioc.devices.core.info import SCANS, STATE_PREFIXES, scan_period, scan_text

if TYPE_CHECKING:
    from labioc.devices.core.pv import PV

SEVERITIES = ("NO_ALARM", "MINOR", "MAJOR", "INVALID")
STATUSES = tuple(
    (
        "NO_ALARM READ WRITE HIHI HIGH LOLO LOW STATE COS COMM TIMEOUT HWLIMIT CALC SCAN LINK SOFT BAD_SUB UDF"
        " DISABLE SIMM READ_ACCESS WRITE_ACCESS"
    ).split()
)
NO_YES = ("NO", "YES")
LINK_SIZE = 1024
SIMM = ("NO", "YES", "RAW")
ELEMENT_TYPES = tuple("STRING CHAR UCHAR SHORT USHORT LONG ULONG INT64 UINT64 FLOAT DOUBLE ENUM".split())
CONVERSIONS = (
    *("NO CONVERSION", "SLOPE", "LINEAR", "typeKdegF", "typeKdegC", "typeJdegF", "typeJdegC"),
    *("typeEdegF(ixe only)", "typeEdegC(ixe only)", "typeTdegF", "typeTdegC", "typeRdegF", "typeRdegC"),
    *("typeSdegF", "typeSdegC"),
)

ANALOG = frozenset({"ai", "ao"})
LONG = frozenset({"longin", "longout"})
INT64 = frozenset({"int64in", "int64out"})
NUMBERS = ANALOG | LONG | INT64
BINARY = frozenset({"bi", "bo"})
MULTI = frozenset({"mbbi", "mbbo"})
TEXTS = frozenset({"stringin", "stringout"})
LONG_TEXTS = frozenset({"lsi", "lso"})
ARRAYS = frozenset({"waveform", "aai", "aao"})
OUTPUTS = frozenset({"ao", "longout", "int64out", "bo", "mbbo", "stringout", "lso", "aao"})
ALL = NUMBERS | BINARY | MULTI | TEXTS | LONG_TEXTS | ARRAYS
_INPUTS = ALL - OUTPUTS

FIELDS: dict[str, dict[str, FieldSpec]] = {rtyp: {} for rtyp in ALL}
"""The fields of each record type, VAL apart."""
_VALUE = {
    **dict.fromkeys(ANALOG, "DOUBLE"),
    **dict.fromkeys(LONG, "LONG"),
    **dict.fromkeys(INT64, "INT64"),
    **dict.fromkeys(ARRAYS, "DOUBLE"),
}


def _add(
    rtyps: Iterable[str],
    names: str,
    dbf: str,
    read: Callable[[PV], Any],
    *,
    menu: Sequence[str] | Callable[[PV], Sequence[str]] | None = None,
    **more: Any,
) -> None:
    """`dbf` VALUE stands for the type of the record's value, whose units such a field has."""
    menu_of = menu if menu is None or callable(menu) else partial(_same, menu)
    for rtyp in rtyps:
        own = _VALUE[rtyp] if dbf == "VALUE" else dbf
        spec = FieldSpec(own, read, menu=menu_of, of_value=dbf == "VALUE", **more)
        FIELDS[rtyp].update(dict.fromkeys(names.split(), spec))


def _same(value: Any, pv: PV) -> Any:
    return value


def _setting(rtyps: Iterable[str], names: str, dbf: str, **more: Any) -> None:
    """Attributes of `RecordInfo`."""
    for name in names.split():
        attribute = name.lower()
        _add(rtyps, name, dbf, attrgetter(f"info.{attribute}"), write=partial(_change, attribute), **more)


def _change(attribute: str, pv: PV, value: Any) -> None:
    if isinstance(getattr(pv.info, attribute), AlarmSeverity):
        value = AlarmSeverity(value)
    changes: dict[str, Any] = {attribute: value}
    pv.info = replace(pv.info, **changes)
    if attribute in ("disa", "disv"):
        pv.follow_disable()


def _default(rtyps: Iterable[str], names: str, dbf: str, value: Any = None, **more: Any) -> None:
    """Features of the C IOC that labioc doesn't have. Links are texts."""
    if value is None:
        value = "" if dbf == "STRING" else 0
    _add(rtyps, names, dbf, partial(_same, value), **more)


def _noted(name: str) -> Callable[[PV], Any]:
    """What a PV has noted, 0 if it has not yet."""
    value = attrgetter(name)
    return lambda pv: value(pv) or 0


# What every record has

_add(ALL, "NAME", "STRING", lambda pv: pv.pvname, size=61)
_add(ALL, "RTYP", "STRING", lambda pv: pv.info.rtyp)
_setting(ALL, "DESC", "STRING", size=41)
_add(ALL, "STAT", "MENU", lambda pv: pv.status, menu=STATUSES, events=DBE_VALUE | DBE_ALARM)
_add(ALL, "SEVR", "MENU", lambda pv: pv.severity, menu=SEVERITIES, events=DBE_VALUE)
_add(ALL, "AMSG", "STRING", lambda pv: pv.message[:39], events=DBE_VALUE | DBE_ALARM)
_add(ALL, "ACKS", "MENU", lambda pv: pv.acks, menu=SEVERITIES, events=DBE_VALUE)
_add(ALL, "ACKT", "MENU", lambda pv: pv.ackt, menu=NO_YES)
_add(ALL, "UDF", "UCHAR", lambda pv: pv.udf, events=0)
_add(ALL, "PACT", "UCHAR", lambda pv: pv.is_busy, events=0)
_setting(ALL, "UDFS", "MENU", menu=SEVERITIES)
_setting(ALL, "DISP", "UCHAR")
_setting(ALL, "DISA DISV", "SHORT")
_setting(ALL, "DISS", "MENU", menu=SEVERITIES)
_add(ALL, "PROC", "UCHAR", lambda pv: 0, write=lambda pv, _: pv.process())


def _scans(pv: PV) -> Sequence[str]:
    """A configured period that the C IOC's menu doesn't have gets a state of its own after the menu's."""
    configured = scan_text(pv.configured.scan)
    return SCANS if configured in SCANS else (*SCANS, configured)


def _set_scan(pv: PV, index: int) -> None:
    text = _scans(pv)[index]
    if text != "Passive" and scan_period(text) is None:
        raise PutRefused(f"{pv.pvname}.SCAN can't be {text!r}: there are periods, and Passive")
    pv.set_scan(text)


_add(ALL, "SCAN", "MENU", lambda pv: _scans(pv).index(scan_text(pv.info.scan)), write=_set_scan, menu=_scans)
_add(ALL, "SIMM", "MENU", lambda pv: pv.info.simm, menu=NO_YES)
_add(ANALOG | BINARY | MULTI, "SIMM", "MENU", lambda pv: pv.info.simm, menu=SIMM)
_default(ALL, "SIMS", "MENU", menu=SEVERITIES)
_default(ALL, "SIML SIOL FLNK SDIS TSEL", "STRING", size=LINK_SIZE)
_default(_INPUTS, "INP", "STRING", size=LINK_SIZE)
_default(OUTPUTS, "OUT DOL", "STRING", size=LINK_SIZE)
_default(ALL, "EVNT NAMSG", "STRING")
_default(ALL, "ASG", "STRING", size=29)
_default(OUTPUTS, "OMSL", "MENU", menu=("supervisory", "closed_loop"))
_default(ALL, "LCNT PUTF RPRO TPRO", "UCHAR")
_default(ALL, "PHAS TSE", "SHORT")
_default(ALL, "PINI", "MENU", menu=("NO", "YES", "RUN", "RUNNING", "PAUSE", "PAUSED"))
_default(ALL, "PRIO", "MENU", menu=("LOW", "MEDIUM", "HIGH"))
_default(ALL, "NSTA", "MENU", menu=STATUSES)
_default(ALL, "NSEV", "MENU", menu=SEVERITIES)
_default(ALL, "UTAG", "UINT64")

# Numbers

_setting(NUMBERS | ARRAYS, "EGU", "STRING", size=16, is_property=True)
_setting(ANALOG | ARRAYS, "PREC", "SHORT", is_property=True)
_setting(NUMBERS | ARRAYS, "HOPR LOPR", "VALUE", is_property=True)
_setting(NUMBERS, "HIHI LOLO HIGH LOW", "VALUE", in_limits=True, is_property=True, process=True)
_setting(ANALOG | LONG, "HHSV LLSV HSV LSV", "MENU", menu=SEVERITIES, is_property=True, process=True)
_setting(INT64, "HHSV LLSV HSV LSV", "MENU", menu=SEVERITIES, process=True)
_setting(NUMBERS, "HYST MDEL ADEL", "VALUE")
_add(NUMBERS, "LALM", "VALUE", _noted("last_alarm"), events=0, in_limits=True)
_add(NUMBERS, "MLST", "VALUE", _noted("monitored"), events=0, in_limits=True)
_add(NUMBERS, "ALST", "VALUE", _noted("logged"), events=0, in_limits=True)


def _drive(name: str) -> Callable[[PV, float], None]:
    def write(pv: PV, value: float) -> None:
        changes: dict[str, Any] = {name: value}
        changed = replace(pv.info, **changes)
        allowed = pv.configured.drive
        if allowed and not (changed.drive and allowed[0] <= value <= allowed[1]):
            raise PutRefused(
                f"{pv.pvname}.{name.upper()} can't be {value:g}: the instrument's own limits are "
                f"{allowed[0]:g} to {allowed[1]:g}, and DRVL must stay below DRVH"
            )
        _change(name, pv, value)

    return write


_add(OUTPUTS & NUMBERS, "DRVH", "VALUE", lambda pv: pv.info.drvh, write=_drive("drvh"), is_property=True)
_add(OUTPUTS & NUMBERS, "DRVL", "VALUE", lambda pv: pv.info.drvl, write=_drive("drvl"), is_property=True)
_add({"ao"}, "OVAL", "VALUE", lambda pv: pv.value, in_limits=True)
_default(NUMBERS - OUTPUTS, "SVAL", "VALUE", in_limits=True)
_default(ANALOG, "EGUF EGUL EOFF", "VALUE")
_default(ANALOG, "ESLO", "VALUE", 1.0)
_default(ANALOG, "AOFF", "DOUBLE")
_default({"ai"}, "ASLO", "DOUBLE", 1.0)
_default({"ao"}, "ASLO", "DOUBLE")
_default({"ai"}, "SMOO", "DOUBLE")
_default({"ai"}, "AFTC AFVL", "VALUE")
_default(ANALOG, "ROFF", "ULONG")
_default(ANALOG, "LINR", "MENU", menu=CONVERSIONS)
_default({"ao"}, "OROC", "VALUE")
_default({"ao"}, "OIF", "MENU", menu=("Full", "Incremental"))

# States


def _label(index: int) -> dict[str, Any]:
    def read(pv: PV) -> str:
        return pv.info.states[index] if index < len(pv.info.states) else ""

    def write(pv: PV, label: str) -> None:
        states = [*pv.info.states, *[""] * (index + 1 - len(pv.info.states))]
        states[index] = label
        while pv.info.rtyp in MULTI and states and not states[-1]:
            states.pop()
        _change("states", pv, tuple(states))
        if index == pv.value and pv.info.rtyp in MULTI:
            pv.send_event(DBE_VALUE | DBE_LOG)

    return {"read": read, "write": write}


def _state_severity(index: int) -> dict[str, Any]:
    def read(pv: PV) -> int:
        return pv.info.severities[index] if index < len(pv.info.severities) else 0

    def write(pv: PV, severity: int) -> None:
        severities = [*pv.info.severities, *[AlarmSeverity(0)] * (index + 1 - len(pv.info.severities))]
        severities[index] = AlarmSeverity(severity)
        _change("severities", pv, tuple(severities))

    return {"read": read, "write": write}


for _index, (_name, _severity) in enumerate((("ZNAM", "ZSV"), ("ONAM", "OSV"))):
    _add(BINARY, _name, "STRING", size=26, is_property=True, **_label(_index))
    _add(BINARY, _severity, "MENU", menu=SEVERITIES, process=True, **_state_severity(_index))
for _index, _name in enumerate(STATE_PREFIXES):
    _add(MULTI, f"{_name}ST", "STRING", size=26, is_property=True, **_label(_index))
    _add(MULTI, f"{_name}SV", "MENU", menu=SEVERITIES, process=True, **_state_severity(_index))
    _default(MULTI, f"{_name}VL", "ULONG")
_setting(BINARY | MULTI, "COSV", "MENU", menu=SEVERITIES, process=True)
_setting(MULTI, "UNSV", "MENU", menu=SEVERITIES, process=True)
_add(BINARY | MULTI, "LALM", "USHORT", _noted("last_alarm"), events=0)
_add(BINARY | MULTI, "MLST", "USHORT", _noted("monitored"), events=0)
_add(MULTI, "SDEF", "SHORT", lambda pv: any(pv.info.states))
_default(BINARY | MULTI, "MASK", "ULONG")
_default({"bi", "mbbi"}, "SVAL", "ULONG")
_default(MULTI, "NOBT SHFT", "USHORT")

# Text and arrays

_add(TEXTS, "OVAL", "STRING", lambda pv: pv.value)
_default({"stringin"}, "SVAL", "STRING")
_add(LONG_TEXTS, "SIZV", "USHORT", lambda pv: pv.long_string_max_length)
_add(LONG_TEXTS, "LEN", "ULONG", lambda pv: len(pv.value) + 1 if pv.value else 0)
_default(TEXTS | LONG_TEXTS, "MPST APST", "MENU", menu=("On Change", "Always"))
_default(ARRAYS, "MPST APST", "MENU", menu=("Always", "On Change"))
_add(ARRAYS, "NELM", "ULONG", lambda pv: pv.max_length)
_add(ARRAYS, "NORD", "ULONG", lambda pv: len(pv.value), span=lambda pv: (0, pv.max_length))
_add(ARRAYS, "FTVL", "MENU", lambda pv: ELEMENT_TYPES.index(pv.element_type), menu=ELEMENT_TYPES)


def changed_fields(pv: PV) -> dict[str, Any]:
    """The fields that clients have set to something else than the device and the station say, with their values."""
    before: Any = SimpleNamespace(info=pv.configured, configured=pv.configured)
    settings = {name: spec.read for name, spec in FIELDS[pv.info.rtyp].items() if spec.write is not None}
    return {name: value for name, read in settings.items() if (value := read(pv)) != read(before)}
