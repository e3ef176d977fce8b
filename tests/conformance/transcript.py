"""Runs a stimulus against one server and writes down what a client sees."""

from __future__ import annotations

import asyncio
import itertools
import zlib
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from tests.conformance.dump import Aspects, plain, read
from tests.conformance.records import SYNC, Record
from tests.conformance.wire import (
    ALARM,
    CTRL,
    DOUBLE,
    LOG,
    LONG,
    PROPERTY,
    STRING,
    STSACK_STRING,
    TIME,
    VALUE,
    Circuit,
    Monitor,
)

if TYPE_CHECKING:
    from tests.conformance.sides import Side

MASKS = {"VALUE": VALUE, "LOG": LOG, "ALARM": ALARM, "PROPERTY": PROPERTY}
BESIDE = ("STAT", "SEVR", "UDF", "AMSG", "ACKS", "ACKT")
"""Fields that are read after each step."""
_numbers = itertools.count(1)


@dataclass(frozen=True)
class Step:
    """One thing that happens to a record."""

    action: str
    """`put` with a callback, `write` without, or `post`: a reading, which the client puts in the C IOC only."""
    values: tuple[Any, ...]
    kind: int
    field: str = "VAL"
    label: str = ""
    is_compared: bool = True
    """False for a step that only brings both records to the same state again."""

    def __str__(self) -> str:
        shown = self.label or ", ".join(map(repr, self.values))
        return f"{self.action} {shown}" if self.field == "VAL" else f"{self.action} .{self.field} {shown}"


def _kind_of(value: Any) -> int:
    if isinstance(value, str):
        return STRING
    return LONG if isinstance(value, int) else DOUBLE


def apart(*steps: Step, rest: tuple[Any, ...] = (3, 4)) -> tuple[Step, ...]:
    """Each step from the same state, so that one in which the two differ doesn't touch the next."""
    back = tuple(replace(give(value), is_compared=False) for value in rest)
    return tuple(itertools.chain.from_iterable((step, *back) for step in steps))


def _step(action: str, values: tuple[Any, ...], field: str, kind: int | None, label: str = "") -> Step:
    return Step(action, values, _kind_of(values[0]) if kind is None else kind, field, label)


def put(*values: Any, field: str = "VAL", kind: int | None = None, label: str = "") -> Step:
    """A client's put with a callback."""
    return _step("put", values, field, kind, label)


def write(*values: Any, field: str = "VAL", kind: int | None = None) -> Step:
    """A client's put without a callback."""
    return _step("write", values, field, kind)


def give(*values: Any, kind: int | None = None, label: str = "") -> Step:
    """A value: a reading of an input record, a client's put to an output record."""
    return _step("give", values, "VAL", kind, label)


@dataclass(frozen=True)
class Stimulus:
    """A sequence of steps for a record of each of some types."""

    name: str
    rtyps: tuple[str, ...]
    steps: tuple[Step, ...]
    settings: dict[str, Any] = field(default_factory=dict)
    watch: tuple[str, ...] = ()
    """Fields whose events are compared too."""

    def record(self, rtyp: str, base: dict[str, Any]) -> Record:
        # A record's name has 60 characters at most.
        name = f"{zlib.crc32(self.name.encode()):08X}"
        given = {
            name: value for name, value in {**base, **self.settings}.items() if value not in ("", "NO_ALARM")
        }
        return Record(f"S:{name}:{rtyp}", rtyp, given)


class Sentinel:
    """Knows when all events of what was done before have arrived on its circuit."""

    def __init__(self, circuit: Circuit) -> None:
        self.circuit = circuit

    async def start(self) -> None:
        self._monitor = await self.circuit.monitor(SYNC.name, VALUE)

    async def wait(self) -> None:
        number = next(_numbers)
        await self.circuit.put(SYNC.name, [number], LONG)
        await self._monitor.until(number)
        await self.circuit.echo()


@dataclass
class Entry:
    """What was seen after one step."""

    step: str
    aspects: Aspects
    is_compared: bool = True


async def run(side: Side, record: Record, stimulus: Stimulus, is_output: bool) -> list[Entry]:
    """Do the steps and write down, after each, the answer, the events by mask, the value and what is beside."""
    async with Circuit(side.port) as circuit:
        sentinel = Sentinel(circuit)
        await sentinel.start()
        monitors = {
            f"{field} events {name}": await circuit.monitor(f"{record.name}.{field}", mask)
            for field in ("VAL", *stimulus.watch)
            if await circuit.has(f"{record.name}.{field}")
            for name, mask in MASKS.items()
        }
        await sentinel.wait()
        seen, stamp = await _observe(circuit, record, monitors)
        entries = [Entry("at boot", seen)]
        for step in stimulus.steps:
            for monitor in monitors.values():
                monitor.events.clear()
            circuit.errors.clear()
            answer = await _do(side, circuit, record, step, is_output)
            await sentinel.wait()
            before = stamp
            seen, stamp = await _observe(circuit, record, monitors)
            seen["answer"] = answer if step.action != "write" else tuple(circuit.errors)
            seen["stamp"] = "risen" if stamp > before else "the same" if stamp == before else "fallen"
            entries.append(Entry(str(step), seen, step.is_compared))
        return entries


async def _do(side: Side, circuit: Circuit, record: Record, step: Step, is_output: bool) -> str:
    name = f"{record.name}.{step.field}"
    if step.action == "give" and not is_output:
        return await side.post(circuit, record.name, step.values, step.kind)
    if not await circuit.has(name):
        return "not served"
    if step.action == "write":
        await circuit.write(name, step.values, step.kind)
        return ""
    return await circuit.put(name, step.values, step.kind)


async def _observe(
    circuit: Circuit, record: Record, monitors: dict[str, Monitor]
) -> tuple[Aspects, tuple[int, int]]:
    names = [f"{record.name}.{field}" for field in BESIDE]
    known = [name for name in names if await circuit.has(name)]
    count = (await circuit.channel(record.name)).count
    control, full, text, acknowledge, time, *fields = await asyncio.gather(
        read(circuit, record.name, CTRL),
        read(circuit, record.name, 0, count=count),
        read(circuit, record.name, 0, STRING),
        read(circuit, record.name, 0, STSACK_STRING),
        circuit.get(record.name, TIME),
        *(read(circuit, name, 0) for name in known),
    )
    aspects: Aspects = {**control, "as text": text.get("value", text)}
    aspects["acknowledge"] = acknowledge.get("acknowledge", acknowledge)
    if count > 1:
        aspects["every element"] = full.get("value", full)
    for name, answer in zip(known, fields, strict=True):
        aspects[f".{name.rpartition('.')[2]}"] = answer.get("value", answer)
    for label, monitor in monitors.items():
        aspects[label] = tuple(
            (*(plain(value) for value in event.values), f"{event.status}/{event.severity}")
            for event in monitor.events
        )
    assert time.stamp is not None
    return aspects, time.stamp


def compared(theirs: Sequence[Entry], ours: Sequence[Entry]) -> list[tuple[str, str, Any, Any]]:
    """Step, aspect, the C IOC's and labioc's value of whatever differs."""
    found = []
    for one, other in zip(theirs, ours, strict=True):
        if one.is_compared:
            for aspect in {**one.aspects, **other.aspects}:
                values = one.aspects.get(aspect), other.aspects.get(aspect)
                if values[0] != values[1]:
                    found.append((one.step, aspect, *values))
    return found
