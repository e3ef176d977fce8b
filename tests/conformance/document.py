"""docs/conformance.md, made from the list of declared differences."""

from __future__ import annotations

from pathlib import Path

from tests.conformance.compare import DRIVEN
from tests.conformance.declared import DECLARED, Difference, Where
from tests.conformance.records import RTYPS
from tests.conformance.stimuli import STIMULI

DOCUMENT = Path(__file__).parents[2] / "docs" / "conformance.md"

_HEAD = """\
# Conformance

labioc's records follow the C IOC (EPICS base 7). `tests/conformance` starts a real one, which the `epicscorelibs`
package brings along, gives it the same records, and compares over Channel Access:

- every field of {types} record types, with default and with rich settings: type, count, access, value, text, units,
  precision, the eight limits, labels; as a long string (`$`); VAL in every DBR type;
- {stimuli} stimuli on {driven} records, step by step: value, alarm, control data, UDF, AMSG, acknowledgement, the
  answer to the put, whether TIME rose, and the events of each mask (DBE_VALUE, DBE_LOG, DBE_ALARM, DBE_PROPERTY)
  by itself.

Behind labioc's outputs stands an instrument that takes everything within the drive limits, as behind the C IOC's soft
records. What an instrument with a will of its own adds (a refusal, rounding, a lost reply, settling) the C IOC's soft
records don't have; tests/test_operation.py and tests/test_mapping.py hold it.

What differs is on this list; a difference that isn't fails the tests, and so does one on it that has gone.
`python -m tests.conformance` asks both and prints the list with whatever isn't on it.

**{count} declared differences.** Each says what the C IOC does, what labioc does, and why.
"""


def rendered() -> str:
    """The text of the document."""
    head = _HEAD.format(types=len(RTYPS), stimuli=len(STIMULI), driven=len(DRIVEN), count=len(DECLARED))
    parts = [_section(number, difference) for number, difference in enumerate(DECLARED, 1)]
    return "\n".join((head, *parts))


def _section(number: int, difference: Difference) -> str:
    lines = [
        f"## {number}. {difference.title}",
        "",
        f"- C IOC: {difference.c_ioc}",
        f"- labioc: {difference.labioc}",
        f"- Why: {difference.reason}",
    ]
    named = [_fields(where) for where in difference.wheres if where.is_of_field and where.places]
    if named:
        lines.append(f"- Fields: {'; '.join(named)}")
    driven = list(
        dict.fromkeys(name for where in difference.wheres if not where.is_of_field for name in where.places)
    )
    if driven:
        lines.append(f"- Stimuli: {'; '.join(driven)}")
    return "\n".join((*lines, ""))


def _fields(where: Where) -> str:
    names = " ".join(where.places).replace("[[]*", "[...]").replace("{*", "{...}")
    return f"{names} ({', '.join(where.rtyps)})" if where.rtyps else names
