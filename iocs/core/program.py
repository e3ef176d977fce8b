"""IOCs without an instrument: what their modules state, and how they are found."""

from __future__ import annotations

import argparse
import importlib
import pkgutil
from collections.abc import Callable, Mapping
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass

import labioc.drivers
import labioc.iocs
from labioc.devices.core._caproto import ChannelData

NO_PROGRAMS = {"core", "examples"}


def _none(parser: argparse.ArgumentParser) -> None:
    """Add no options."""


@dataclass(frozen=True, slots=True)
class Program:
    """An IOC without an instrument, as ``labioc run NAME`` runs it.

    Attributes:
        title: what it is, in a line.
        serve: makes its PVs out of the command line's options, by name, and does what they need for as long as they
            are served.
        prefix: what stands before the names of its PVs, if nothing else is said.
        options: adds those that only it has.
    """

    name: str
    title: str
    serve: Callable[[argparse.Namespace], AbstractAsyncContextManager[Mapping[str, ChannelData]]]
    prefix: str
    options: Callable[[argparse.ArgumentParser], None] = _none


def find_program(name: str) -> Program | None:
    """Return an IOC without an instrument by its name; None if there is none.

    Args:
        name: a module of `labioc.iocs`; ``path/to/file.py:ClassName`` or ``package.module:ClassName`` for a class
            that is written for caproto.

    Raises Failure if there is no such class, or its module does not load.
    """
    if ":" in name:
        from .pvgroups import group_program  # which has use for `Program`

        return group_program(name)
    if name not in program_names():
        return None
    found: Program = importlib.import_module(f"labioc.iocs.{name}").program
    return found


def program_names() -> list[str]:
    """Return the names of the IOCs without an instrument that come with labioc: those that have no driver."""
    instruments = {module.name for module in pkgutil.iter_modules(labioc.drivers.__path__)}
    modules = {module.name for module in pkgutil.iter_modules(labioc.iocs.__path__)}
    examples = {
        f"examples.{module.name}"
        for path in labioc.iocs.__path__
        for module in pkgutil.iter_modules([f"{path}/examples"])
    }
    return sorted((modules - instruments - NO_PROGRAMS) | examples)
