"""The PVs of a device as a table, for people: names, types, units, limits and the wire commands behind them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any, cast

from labioc.drivers.core.bound import BoundReadback
from labioc.drivers.core.driven import BoundCommand
from labioc.drivers.core.parameters import Readback

from .entry import Entry
from .mapping import Device
from .pv import PV

HEADINGS = ("PV", "type", "unit", "limits", "alarms", "scan", "access", "wire")


def describe(device: Device) -> list[tuple[str, ...]]:
    """Return a row for each PV of a device, in the order of `HEADINGS`."""
    rows = [row for entry in device.entries for row in _rows(entry)]
    known = {row[0] for row in rows}
    # the device's own: what labioc says of the link and of refused puts
    rows += [_row(pv, "read", "") for name, pv in device.pvdb.items() if name not in known]
    return rows


def markdown(rows: Iterable[tuple[str, ...]]) -> list[str]:
    """Return the lines of a table in Markdown: the instrument's own PVs, without those that all devices have."""
    lines = [f"| {' | '.join(HEADINGS)} |", "|---" * len(HEADINGS) + "|"]
    for *cells, wire in rows:
        if wire:
            shown = [cell.replace("|", ", ") for cell in cells]
            lines.append(f"| {' | '.join(shown)} | `{wire}` |")
    return lines


def _rows(entry: Entry) -> Iterator[tuple[str, ...]]:
    wire = entry.bound.spec.wire(entry.bound.block.key)
    variant = entry.bound.block.driver.variant
    if isinstance(entry.bound, BoundReadback) and variant and entry.bound.asked:
        written = wire[:1] if entry.setpoint is not None else []
        asked = [(cast(Readback[Any], readback.spec), readback.block.key) for readback in entry.bound.asked]
        wire = [*written, *(spec.question(variant).replace("{ch}", key) for spec, key in asked)]
    if entry.setpoint is not None:
        written = wire if isinstance(entry.bound, BoundCommand) else wire[:1]
        yield _row(entry.setpoint, "put", "; ".join(written))
    if entry.readback is not None:
        yield _row(entry.readback, "read", "; ".join(wire[1:] if entry.setpoint is not None else wire))


def _row(pv: PV, access: str, wire: str) -> tuple[str, ...]:
    info = pv.info
    limits = f"{info.drive[0]:g} to {info.drive[1]:g}" if info.drive and access == "put" else ""
    if info.states:
        limits = "|".join(info.states)
    set_alarms = [
        f"{status.name.lower()}={limit:g}"
        for status, _, limit, _ in sorted(info.checks, key=lambda check: check[2])
    ]
    if info.scan == "I/O Intr":
        scan = "as it comes"
    elif info.scan != "Passive":
        scan = f"{info.scan} s"
    else:
        scan = "at connect" if wire and access == "read" else ""
    return (pv.pvname, info.rtyp, info.egu, limits, " ".join(set_alarms), scan, access, wire)
