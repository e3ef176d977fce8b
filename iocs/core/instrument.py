"""Instruments: what an IOC module states, how they are found, and what says which one to run."""

from __future__ import annotations

import importlib
import pkgutil
import traceback
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from importlib.metadata import entry_points

import labioc.drivers
import labioc.iocs
from labioc.devices.core import Alarm, Device, Scale
from labioc.drivers.core import Driver
from labioc.drivers.core.errors import MissingPackage, UserError
from labioc.sim.core import Simulator

ENTRY_POINTS = "labioc.instruments"


class UnknownInstrument(UserError, LookupError):
    """Raised when there is no instrument of that name, or its module does not load."""


@dataclass(frozen=True, slots=True)
class Instrument:
    """What belongs to one kind of instrument, under the name that the command line calls it.

    Attributes:
        driver: talks to it.
        device: its PVs.
        simulator: makes a simulator of it, for a variant ("" for the plain one).
        example: a URL for help texts.
        address: for an instrument that has one on its line, that of the simulated one.
    """

    name: str
    driver: type[Driver]
    device: type[Device]
    simulator: Callable[[str], Simulator]
    example: str
    address: str = ""

    @property
    def title(self) -> str:
        """What it is, in a line."""
        return (self.driver.__doc__ or "").strip().splitlines()[0].rstrip(".")


@dataclass(frozen=True, slots=True, kw_only=True)
class InstrumentConfig:
    """Which instrument to run, where it is and what its PVs are called.

    Attributes:
        instrument: the kind of instrument.
        url: where it is.
        prefix: what stands before the names of its PVs; ``{name}`` stands for a macro.
        name: what errors and logs call it.
        variant: its variant, or "".
        macros: the macros of the prefix.
        limits: narrower limits for setpoints, by PV name without the prefix, in the PV's unit.
        alarms: alarm limits for readings, likewise.
        scales: how many steps make one unit, by the PV's name without the prefix, or by the group's, with its colon;
            limits and alarms are in that unit then.
        simulated: whether a simulator stands in for the instrument; its PVs say so.
        address: its address on a line that several instruments share: those with the same URL.
        retry_every: the longest time between two attempts to connect, seconds; None: as short as the line allows.
        raw: whether clients may send to it what they like, by LINK:CMD.
    """

    instrument: Instrument
    url: str
    prefix: str
    name: str
    variant: str = ""
    macros: Mapping[str, str] = field(default_factory=dict)
    limits: Mapping[str, tuple[float, float]] = field(default_factory=dict)
    alarms: Mapping[str, Alarm] = field(default_factory=dict)
    scales: Mapping[str, Scale] = field(default_factory=dict)
    simulated: bool = False
    address: str = ""
    retry_every: float | None = None
    raw: bool = False


def find_instrument(name: str) -> Instrument:
    """Return an instrument by its name: a module of `labioc.iocs`, or another package's entry point.

    Raises UnknownInstrument, with the names that there are.
    """
    if name in bundled_names():
        found = _loaded(name, lambda: importlib.import_module(f"labioc.iocs.{name}").instrument)
    else:
        plug_ins = entry_points(group=ENTRY_POINTS, name=name)
        if not plug_ins:
            raise UnknownInstrument(
                f"unknown instrument {name!r}; there are: {', '.join(instrument_names())}"
            )
        found = _loaded(name, next(iter(plug_ins)).load)
    if not isinstance(found, Instrument):
        raise UnknownInstrument(f"{name!r} does not load: it is no Instrument but {found!r}")
    return found


def _loaded(name: str, load: Callable[[], object]) -> object:
    try:
        return load()
    except MissingPackage as error:
        raise UnknownInstrument(f"{name!r} does not load: {error}") from error
    except Exception as error:
        where = traceback.extract_tb(error.__traceback__)[-1]
        raise UnknownInstrument(
            f"the instrument {name!r} does not load: {type(error).__name__}: {error} ({where.filename}:{where.lineno})"
        ) from error


def instrument_names() -> list[str]:
    """Return the names of all instruments, other packages' included, without loading them."""
    return sorted({*bundled_names(), *(entry.name for entry in entry_points(group=ENTRY_POINTS))})


def bundled_names() -> list[str]:
    """Return the names of the instruments that come with labioc."""
    rooms = (
        {module.name for module in pkgutil.iter_modules(room.__path__)}
        for room in (labioc.iocs, labioc.drivers)
    )
    return sorted(set.intersection(*rooms) - {"core"})
