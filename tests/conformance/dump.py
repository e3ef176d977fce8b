"""Everything that a client can read of a record, field by field, as plain values that can be compared."""

from __future__ import annotations

import asyncio
import math
from typing import Any

from tests.conformance import dbd
from tests.conformance.records import ARRAYS, Record
from tests.conformance.wire import (
    CLASS_NAME,
    CTRL,
    GR,
    LIMITS,
    STRING,
    STS,
    STSACK_STRING,
    TIME,
    TYPES,
    Circuit,
    Dbr,
    Refused,
)

Aspects = dict[str, Any]
FORMS = {"": 0, "STS_": STS, "TIME_": TIME, "GR_": GR, "CTRL_": CTRL}
NOT_FIELDS = ("TIME", "NOSUCH", "val", "EGU.VAL", "VAL{")
"""What the C IOC has as a field but doesn't serve, and what no record has."""
FILTERED = ("VAL[0:1]", "VAL[-1]", 'VAL{"arr":{"s":1}}')
"""Channels with a filter, of arrays."""


def plain(value: Any) -> Any:
    """Comparable: NaN is equal to itself."""
    if isinstance(value, tuple):
        return tuple(plain(item) for item in value)
    return "nan" if isinstance(value, float) and math.isnan(value) else value


def described(dbr: Dbr) -> Aspects:
    """What a DBR tells, by name; limits by the field that stands behind them in an ao."""
    aspects: Aspects = {"value": plain(dbr.values)}
    if dbr.status is not None:
        aspects["alarm"] = f"{dbr.status}/{dbr.severity}"
    if dbr.units is not None:
        aspects["units"] = dbr.units
    if dbr.precision is not None:
        aspects["precision"] = dbr.precision
    if dbr.states is not None:
        aspects["states"] = dbr.states
    if dbr.acknowledge is not None:
        aspects["acknowledge"] = dbr.acknowledge
    for name, limit in zip(LIMITS, dbr.limits or (), strict=False):
        aspects[f"limit {name}"] = plain(limit)
    if dbr.stamp is not None:
        aspects["stamp"] = "1990" if dbr.stamp[0] == 0 else "not 1990"
    return aspects


async def read(circuit: Circuit, name: str, form: int, kind: int | None = None, count: int = 0) -> Aspects:
    """One get; a refusal is an aspect too."""
    try:
        return described(await circuit.get(name, form, kind, count))
    except Refused as refusal:
        return {"refused": str(refusal)}


async def dump_field(circuit: Circuit, record: Record, field: str) -> Aspects | None:
    """All about one field, None if the server doesn't have it."""
    name = f"{record.name}.{field}"
    if not await circuit.has(name):
        return None
    channel = await circuit.channel(name)
    control, text, time, long = await asyncio.gather(
        read(circuit, name, CTRL),
        read(circuit, name, 0, STRING),
        read(circuit, name, TIME),
        dump_long(circuit, f"{name}$"),
    )
    aspects: Aspects = {
        "type": TYPES[channel.dbr_type],
        "count": channel.count,
        "access": {0: "none", 1: "read", 3: "write"}[channel.access],
        **control,
        "as text": text.get("value", text),
        **long,
    }
    if field == "VAL":
        aspects["stamp"] = time["stamp"]
    return aspects


async def dump_long(circuit: Circuit, name: str) -> Aspects:
    """A field as a long string: how many bytes it may have, and those that it has."""
    if not await circuit.has(name):
        return {"$": "not served"}
    channel = await circuit.channel(name)
    short = await read(circuit, name, 0)
    full = await read(circuit, name, 0, count=channel.count)
    control = await read(circuit, name, CTRL)
    control.pop("value", None)
    return {
        "$": f"{TYPES[channel.dbr_type]}[{channel.count}]",
        "$ value": short.get("value", short),
        "$ in full": bytes(full["value"]).rstrip(b"\0") if "value" in full else full,
        "$ length in full": len(full.get("value", ())),
        "$ control": tuple(control.items()),
    }


async def dump_value(circuit: Circuit, record: Record) -> dict[str, Aspects]:
    """The value in every form and type that a client can ask for."""
    wanted: dict[str, tuple[int, int]] = {
        f"{form}{TYPES[kind]}": (base, kind) for form, base in FORMS.items() for kind in range(len(TYPES))
    }
    wanted |= {"STSACK_STRING": (0, STSACK_STRING), "CLASS_NAME": (0, CLASS_NAME)}
    answers = await asyncio.gather(*(read(circuit, record.name, *what) for what in wanted.values()))
    return {f"VAL as DBR_{name}": answer for name, answer in zip(wanted, answers, strict=True)}


async def dump(port: int, record: Record) -> dict[str, Aspects | None]:
    """Every field of a record, and its value in every form; a field that isn't served is None."""
    filtered = FILTERED if record.rtyp in ARRAYS else ()
    names = (*dbd.names_of(record.rtyp), *NOT_FIELDS, *filtered)
    async with Circuit(port) as circuit:
        fields = await asyncio.gather(*(dump_field(circuit, record, name) for name in names))
        found = dict(zip(names, fields, strict=True))
        return {**found, **await dump_value(circuit, record)}
