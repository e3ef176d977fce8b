"""labioc's records against those of the C IOC."""

import asyncio
import importlib.util
from collections import Counter

import pytest
from tests.conformance.compare import Finding, findings
from tests.conformance.declared import DECLARED, Difference
from tests.conformance.differences import matches, stale, undeclared
from tests.conformance.document import DOCUMENT, rendered
from tests.conformance.records import RTYPS
from tests.conformance.summary import SUMMARY

SHOWN = 20


@pytest.fixture(scope="module")
def found() -> list[Finding]:
    if importlib.util.find_spec("epicscorelibs") is None:
        pytest.skip("epicscorelibs isn't installed: there is no C IOC to compare with")
    found = asyncio.run(findings())
    new = len(undeclared(found))
    SUMMARY.append(
        f"conformance with the C IOC: {len(DECLARED)} declared differences, {new} findings not declared"
    )
    return found


@pytest.mark.parametrize("rtyp", RTYPS)
def test_no_difference_that_is_not_declared(found: list[Finding], rtyp: str) -> None:
    new = undeclared(finding for finding in found if finding.rtyp == rtyp)
    shown = "\n".join(map(str, new[:SHOWN]))
    assert not new, f"{len(new)} differences of {rtyp} aren't declared:\n{shown}"


@pytest.mark.parametrize("difference", DECLARED, ids=lambda difference: difference.title)
def test_declared_differences_occur(found: list[Finding], difference: Difference) -> None:
    gone = stale(difference, found)
    assert not gone, f"no longer different, take it off the list: {'; '.join(gone)}"


def test_the_document_is_the_list() -> None:
    assert DOCUMENT.read_text(encoding="utf-8") == rendered(), "python -m tests.conformance --write"


def test_titles_are_unique() -> None:
    assert [title for title, count in Counter(each.title for each in DECLARED).items() if count > 1] == []


SOME = Finding("ai", "EGU", "bare", "value", ("K",), ("V",))


def test_a_new_difference_and_a_stale_one_are_found() -> None:
    (access,) = (each for each in DECLARED if each.title == "A reading can't be put")
    declared = Finding("ai", "VAL", "bare", "access", "write", "read")
    assert any(matches(where, declared) for where in access.wheres)
    assert undeclared([SOME, declared]) == [SOME]
    assert stale(access, [SOME])
    assert "bi" in stale(access, [declared])
