"""Asks both servers for everything and gives the differences."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import Any

from tests.conformance.dump import dump
from tests.conformance.records import OUTPUTS, RTYPS, Record, bare, rich
from tests.conformance.sides import Side, both_sides
from tests.conformance.stimuli import STIMULI, record_of
from tests.conformance.transcript import Stimulus, compared, run

AT_ONCE = 4
KINDS = {"bare": bare, "rich": rich}


@dataclass(frozen=True)
class Finding:
    """One thing in which labioc differs."""

    rtyp: str
    place: str
    """A field, or a stimulus."""
    step: str
    """Of a stimulus; of a field, whether the record is the bare or the rich one."""
    aspect: str
    theirs: Any
    ours: Any

    @property
    def is_of_field(self) -> bool:
        """False for what a stimulus found."""
        return self.step in KINDS

    def __str__(self) -> str:
        where = f"{self.rtyp}, {self.place}, {self.step}: {self.aspect}"
        return f"{where}\n    C IOC  {self.theirs!r}\n    labioc {self.ours!r}"


DUMPED = tuple((rtyp, kind) for rtyp in RTYPS for kind in KINDS)
DRIVEN = tuple((stimulus, rtyp) for stimulus in STIMULI for rtyp in stimulus.rtyps)


async def findings() -> list[Finding]:
    """Every difference between the C IOC and labioc."""
    dumped = {(rtyp, kind): KINDS[kind](rtyp) for rtyp, kind in DUMPED}
    driven = {(stimulus.name, rtyp): record_of(stimulus, rtyp) for stimulus, rtyp in DRIVEN}
    async with both_sides([*dumped.values(), *driven.values()]) as (theirs, ours):
        found = await _of_fields(theirs, ours, dumped)
        turns = asyncio.Semaphore(AT_ONCE)

        async def drive(stimulus: Stimulus, rtyp: str) -> list[Finding]:
            async with turns:
                return await _of_stimulus(theirs, ours, stimulus, rtyp, driven[(stimulus.name, rtyp)])

        for more in await asyncio.gather(*(drive(stimulus, rtyp) for stimulus, rtyp in DRIVEN)):
            found += more
    return found


async def _of_fields(theirs: Side, ours: Side, records: dict[tuple[str, str], Record]) -> list[Finding]:
    found = []
    for (rtyp, kind), record in records.items():
        first, second = await asyncio.gather(dump(theirs.port, record), dump(ours.port, record))
        for field in first:
            if (a := first[field]) is None or (b := second[field]) is None:
                served = tuple("not served" if side[field] is None else "served" for side in (first, second))
                a, b = {"served": served[0]}, {"served": served[1]}
            found += [
                Finding(rtyp, field, kind, aspect, a.get(aspect), b.get(aspect))
                for aspect in {**a, **b}
                if a.get(aspect) != b.get(aspect)
            ]
    return found


async def _of_stimulus(
    theirs: Side, ours: Side, stimulus: Stimulus, rtyp: str, record: Record
) -> list[Finding]:
    is_output = rtyp in OUTPUTS
    first, second = await asyncio.gather(
        run(theirs, record, stimulus, is_output), run(ours, record, stimulus, is_output)
    )
    return [
        Finding(rtyp, stimulus.name, step, aspect, a, b) for step, aspect, a, b in compared(first, second)
    ]
