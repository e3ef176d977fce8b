"""The declared differences between labioc's records and those of the C IOC: what, where and why.

A difference that the suite finds and that isn't declared here fails, and so does one that is declared and doesn't
occur. Part of a declaration that matches nothing is stale too.
"""

from __future__ import annotations

from collections.abc import Iterable
from fnmatch import fnmatchcase

from tests.conformance.compare import Finding
from tests.conformance.declared import DECLARED, Difference, Where


def _is(value: object, pattern: str) -> bool:
    return fnmatchcase(str(value), pattern)


def matches(where: Where, finding: Finding) -> bool:
    """Whether a finding is of the declared kind."""
    return (
        (not where.rtyps or finding.rtyp in where.rtyps)
        and (not where.places or any(_is(finding.place, pattern) for pattern in where.places))
        and (not where.steps or any(_is(finding.step, pattern) for pattern in where.steps))
        and (not where.aspects or any(_is(finding.aspect, pattern) for pattern in where.aspects))
        and (where.theirs is None or _is(finding.theirs, where.theirs))
        and (where.ours is None or _is(finding.ours, where.ours))
        and finding.is_of_field is where.is_of_field
    )


def undeclared(found: Iterable[Finding], declared: Iterable[Difference] = DECLARED) -> list[Finding]:
    """The findings that no declaration covers."""
    wheres = [where for difference in declared for where in difference.wheres]
    return [finding for finding in found if not any(matches(where, finding) for where in wheres)]


def stale(difference: Difference, found: Iterable[Finding]) -> list[str]:
    """The parts of a declaration that don't occur any more."""
    gone = []
    found = list(found)
    for where in difference.wheres:
        hits = [finding for finding in found if matches(where, finding)]
        if not hits:
            gone.append(str(where))
            continue
        gone += [rtyp for rtyp in where.rtyps if rtyp not in {hit.rtyp for hit in hits}]
        for patterns, seen in (
            (where.places, {hit.place for hit in hits}),
            (where.steps, {hit.step for hit in hits}),
            (where.aspects, {hit.aspect for hit in hits}),
        ):
            gone += [pattern for pattern in patterns if not any(_is(value, pattern) for value in seen)]
    return gone
