"""Units: known ones without pint, the others through it, and errors with both names."""

import subprocess
import sys

import pint
import pytest

from labioc.drivers.core import Float
from labioc.drivers.core.errors import UnitError
from labioc.drivers.core.units import KNOWN, SAME, check, conversion


@pytest.mark.parametrize("unit", sorted(KNOWN))
def test_pint_knows_what_is_accepted_without_it(unit: str) -> None:
    pint.UnitRegistry().parse_units(unit)


@pytest.mark.parametrize("unit", ["psi", "torr", "step", "mol/l", "uA"])
def test_other_units_are_looked_up(unit: str) -> None:
    assert check(unit) == unit


def test_an_unknown_unit_is_an_error_that_names_it() -> None:
    with pytest.raises(UnitError, match="unknown unit 'kelvins_of_old'"):
        Float("kelvins_of_old")


@pytest.mark.parametrize(
    ("source", "target", "before", "after"),
    [
        ("K", "degC", 77.35, -195.8),
        ("degC", "K", 0.0, 273.15),
        ("K", "mK", 4.2, 4200.0),
        ("mbar", "Pa", 1.5, 150.0),
        ("bar", "psi", 1.0, 14.503773773),
        ("%", "", 50.0, 0.5),
    ],
)
def test_values(source: str, target: str, before: float, after: float) -> None:
    conversion_ = conversion(source, target)
    assert conversion_.value(before) == pytest.approx(after)
    assert conversion_.back(after) == pytest.approx(before)


@pytest.mark.parametrize(
    ("source", "target", "before", "after"),
    [("K", "degC", 0.5, 0.5), ("degC", "K", 0.5, 0.5), ("K/min", "K/s", 60.0, 1.0), ("K", "mK", 0.5, 500.0)],
)
def test_differences_have_no_offset(source: str, target: str, before: float, after: float) -> None:
    assert conversion(source, target).difference(before) == pytest.approx(after)


def test_a_unit_converts_to_itself_exactly() -> None:
    assert conversion("K", "K") == SAME
    assert conversion("K", "degC").scale == 1.0


@pytest.mark.parametrize(("source", "target"), [("K", "psi"), ("K/min", "K"), ("step", "microstep")])
def test_another_dimension_is_an_error_that_names_both(source: str, target: str) -> None:
    with pytest.raises(UnitError, match=f"'{source}' does not convert to '{target}'"):
        conversion(source, target)


def test_a_driver_does_not_load_pint() -> None:
    code = "import sys, labioc.drivers.lakeshore336; sys.exit('pint' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
