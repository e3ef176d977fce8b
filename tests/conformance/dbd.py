"""The fields of the record types, as the .dbd files that epicscorelibs ships define them."""

import functools
import re
from dataclasses import dataclass
from pathlib import Path

_FIELD = re.compile(r"field\(\s*(\w+)\s*,\s*DBF_(\w+)\s*\)\s*\{(.*?)\n\s*\}", re.S)
ATTRIBUTES = ("RTYP", "VERS")
"""What every record type answers to beside its fields."""


@dataclass(frozen=True)
class FieldDefinition:
    """One field of a record type."""

    name: str
    dbf: str


def dbd_directory() -> Path:
    import epicscorelibs

    return Path(epicscorelibs.__file__).parent / "dbd"


@functools.cache
def _fields_in(file: str) -> tuple[FieldDefinition, ...]:
    text = (dbd_directory() / file).read_text()
    text = re.sub(r"^\s*[#%].*$", "", text, flags=re.M)
    return tuple(FieldDefinition(name, dbf) for name, dbf, _ in _FIELD.findall(text))


def fields_of(rtyp: str) -> tuple[FieldDefinition, ...]:
    """Every field of a record type: what all records have, then its own."""
    return _fields_in("dbCommon.dbd") + _fields_in(f"{rtyp}Record.dbd")


def names_of(rtyp: str) -> tuple[str, ...]:
    return (*(field.name for field in fields_of(rtyp)), *ATTRIBUTES)
