"""One description of each record, from which both the text of a .db file and labioc's record are made."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

RTYPS = tuple(
    "ai ao bi bo mbbi mbbo longin longout int64in int64out stringin stringout lsi lso waveform aai aao".split()
)
OUTPUTS = frozenset("ao bo mbbo longout int64out stringout lso aao".split())
NUMBERS = frozenset("ai ao longin longout int64in int64out".split())
ARRAYS = frozenset("waveform aai aao".split())
PREFIXES = "ZR ON TW TH FR FV SX SV EI NI TE EL TV TT FT FF".split()


@dataclass(frozen=True, eq=False)
class Record:
    """A record: its name, type, and the fields that aren't at their default."""

    name: str
    rtyp: str
    fields: Mapping[str, Any] = field(default_factory=dict)

    @property
    def db(self) -> str:
        """The record as it stands in a .db file."""
        lines = [f'record({self.rtyp}, "{self.name}") {{']
        lines += [f'  field({name}, "{value}")' for name, value in self.fields.items()]
        return "\n".join((*lines, "}\n"))


_LIMITS = {
    "EGU": "mbar*l/s",
    "HOPR": 90,
    "LOPR": -90,
    "HIHI": 40,
    "HIGH": 30,
    "LOW": -30,
    "LOLO": -40,
    "HHSV": "MAJOR",
    "HSV": "MINOR",
    "LSV": "MINOR",
    "LLSV": "MAJOR",
    "HYST": 2,
    "MDEL": 1,
    "ADEL": 3,
}
_DRIVE = {"DRVH": 50, "DRVL": -50}
_COMMON = {"DESC": "A record with rich settings"}
_LABELS = ("Idle", "Moving", "a label of twenty-five by")
_STATES = {
    f"{prefix}{end}": value
    for prefix, label, severity in zip(PREFIXES, _LABELS, ("NO_ALARM", "MINOR", "MAJOR"), strict=False)
    for end, value in (("ST", label), ("SV", severity))
}
_BINARY = {"ZNAM": "Off", "ONAM": "On", "OSV": "MINOR", "COSV": "NO_ALARM"}
_ARRAY = {"EGU": "V", "PREC": 2, "HOPR": 10, "LOPR": -10}

BARE: Mapping[str, Mapping[str, Any]] = {
    "lsi": {"SIZV": 41},
    "lso": {"SIZV": 41},
    "waveform": {"NELM": 5, "FTVL": "DOUBLE"},
    "aai": {"NELM": 5, "FTVL": "DOUBLE"},
    "aao": {"NELM": 5, "FTVL": "DOUBLE"},
}
"""What even a bare record must be told: the size of its value."""

RICH: Mapping[str, Mapping[str, Any]] = {
    "ai": {"PREC": 3, **_LIMITS},
    "ao": {"PREC": 3, **_LIMITS, **_DRIVE},
    "longin": _LIMITS,
    "longout": {**_LIMITS, **_DRIVE},
    "int64in": _LIMITS,
    "int64out": {**_LIMITS, **_DRIVE},
    "bi": _BINARY,
    "bo": _BINARY,
    "mbbi": {**_STATES, "UNSV": "INVALID"},
    "mbbo": {**_STATES, "UNSV": "INVALID"},
    "stringin": {},
    "stringout": {},
    "lsi": {"SIZV": 100},
    "lso": {"SIZV": 100},
    "waveform": {"NELM": 8, "FTVL": "LONG", **_ARRAY},
    "aai": {"NELM": 8, "FTVL": "LONG", **_ARRAY},
    "aao": {"NELM": 8, "FTVL": "LONG", **_ARRAY},
}


def bare(rtyp: str, name: str = "") -> Record:
    """A record with every setting at its default."""
    return Record(name or f"C:{rtyp}:bare", rtyp, BARE.get(rtyp, {}))


def rich(rtyp: str, name: str = "") -> Record:
    """A record that uses what its type offers."""
    return Record(name or f"C:{rtyp}:rich", rtyp, {**BARE.get(rtyp, {}), **_COMMON, **RICH[rtyp]})


SYNC = Record("C:SYNC", "longout")
"""Put to and monitored to learn that all events before have arrived."""
