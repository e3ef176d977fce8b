"""docs/wire-formats.md: each expression in its tables gives what the table says."""

import enum
import re
from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta, timezone
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from labioc.drivers import core
from labioc.drivers.core import checksums, errors, framing

DOCUMENT = (Path(__file__).parents[1] / "docs" / "wire-formats.md").read_text()


class Pair(NamedTuple):
    a: Any
    b: Any


class Bits(enum.IntFlag):
    RAMP = 2
    HOLD = 8


NAMES = (
    vars(core)
    | vars(framing)
    | vars(checksums)
    | vars(errors)
    | {"re": re, "replace": replace, "timedelta": timedelta, "timezone": timezone}
    | {"Pair": Pair, "Bits": Bits, "CHECK": b"123456789", "IntEnum": enum.IntEnum, "Enumeration": enum.Enum}
)


def rows() -> Iterator[list[str]]:
    for line in DOCUMENT.splitlines():
        if line.startswith("|") and not line.startswith(("|---", "| StreamDevice |")):
            cells = re.split(r"(?<!\\)\|", line)[1:-1]
            yield [cell.strip().replace("\\|", "|") for cell in cells]


EXPRESSIONS = [(row[1].strip("`"), row[2].strip("`")) for row in rows() if row[2]]


@pytest.mark.parametrize(("expression", "gives"), EXPRESSIONS)
def test_an_expression_gives_what_the_table_says(expression: str, gives: str) -> None:
    expected = eval(gives, dict(NAMES))
    if isinstance(expected, type):
        with pytest.raises(expected):
            eval(expression, dict(NAMES))
        return
    result = eval(expression, dict(NAMES))
    assert result == expected
    assert type(result) is type(expected)


def test_every_row_has_an_expression_or_says_why_not() -> None:
    for row in rows():
        assert len(row) == 3, row
        assert row[2] or not row[1].startswith("`"), row


def test_nothing_is_left_out() -> None:
    shown = "\n".join(expression for expression, _ in EXPRESSIONS)
    for name, value in (vars(checksums) | vars(framing)).items():
        if isinstance(value, checksums.Checksum) or (name.endswith("Framer") and name != "Framer"):
            assert re.search(rf"\b{name}\(|\b{name}[.,]", shown), name
