"""Classes of PVs as IOCs: labioc's records and caproto's own PVs, on labioc's server."""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import functools
import importlib
import importlib.util
import logging
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from pathlib import Path
from types import ModuleType
from typing import Any

from labioc.devices.core._caproto import ChannelData
from labioc.devices.core._pvgroup import CaprotoRuntimeError, PVGroup
from labioc.devices.core.hooks import tell_refusal
from labioc.devices.core.pv import PV
from labioc.devices.core.soft import soft

from .command import Failure, name_and_text
from .program import Program

log = logging.getLogger("labioc.ioc")

SHUTDOWN_SECONDS = 5.0
MESSAGE_BYTES = 256
OWN_IOCS = "labioc.iocs."

Hook = Callable[[Any], Awaitable[None]]


def program_of(
    group: type[PVGroup], *, prefix: str, macros: Mapping[str, str] | None = None, name: str | None = None
) -> Program:
    """Make an IOC of a class of PVs: ``program = program_of(RandomWalk, prefix="walk:")`` in its module.

    Its title is the first line of the class's docstring.

    Args:
        prefix: what stands before the names of its PVs, if nothing else is said.
        macros: those in the names of its PVs, if nothing else is said.
        name: what ``labioc run`` calls it; if not given, its module in ``labioc.iocs``, elsewhere the class's name.
    """
    module = group.__module__
    found = module.removeprefix(OWN_IOCS) if module.startswith(OWN_IOCS) else group.__name__
    return Program(
        name or found,
        (group.__doc__ or group.__name__).strip().partition("\n")[0].rstrip("."),
        functools.partial(_serve, group, macros or {}),
        prefix=prefix,
        options=_add_macros,
    )


def group_program(target: str) -> Program:
    """Make an IOC of a class of PVs, which may be written for caproto.

    Args:
        target: ``path/to/file.py:ClassName`` or ``package.module:ClassName``.

    Raises Failure if there is no such class, or its module does not load.
    """
    where, _, name = target.rpartition(":")
    module = _loaded(where)
    found = getattr(module, name, None)
    if not (isinstance(found, type) and issubclass(found, PVGroup)):
        groups = [key for key, value in vars(module).items() if _is_own_group(value, module)]
        raise Failure(f"{where} has no PVGroup {name!r}; it has: {', '.join(groups) or 'none'}")
    return program_of(found, prefix=f"{name}:", name=target)


def load(target: str) -> Any:
    """Return what a file or module has under a name: ``path/to/file.py:NAME`` or ``package.module:NAME``.

    Raises Failure if it does not load or has no such name.
    """
    where, _, name = target.rpartition(":")
    if not where:
        raise Failure(f"expected FILE.py:NAME or package.module:NAME, not {target!r}")
    module = _loaded(where)
    if not hasattr(module, name):
        raise Failure(f"{where} has no {name!r}")
    return getattr(module, name)


def _loaded(where: str) -> ModuleType:
    path = Path(where)
    if path.suffix == ".py" and path.stem in sys.stdlib_module_names:
        raise Failure(f"{where} has the name of a module of Python: choose another")
    try:
        if path.suffix != ".py":
            return importlib.import_module(where)
        spec = importlib.util.spec_from_file_location(path.stem, path)
        assert spec is not None
        assert spec.loader is not None
        module = importlib.util.module_from_spec(spec)
        # what lies beside the file is found, as it is when Python runs the file
        sys.path.insert(0, str(path.parent.resolve()))
        sys.modules[path.stem] = module
        spec.loader.exec_module(module)
        return module
    except Exception as error:
        raise Failure(f"{where} does not load: {type(error).__name__}: {error}") from error


def _is_own_group(value: object, module: ModuleType) -> bool:
    return isinstance(value, type) and issubclass(value, PVGroup) and value.__module__ == module.__name__


def _add_macros(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--macro", action="append", default=[], metavar="NAME=TEXT", help="a macro of the PV names"
    )


@contextlib.asynccontextmanager
async def _serve(
    kind: type[PVGroup], macros: Mapping[str, str], args: argparse.Namespace
) -> AsyncIterator[Mapping[str, ChannelData]]:
    given = dict(name_and_text(text, "NAME=TEXT") for text in args.macro)
    try:
        group = kind(args.prefix, macros={**macros, **given})
    except (CaprotoRuntimeError, TypeError, ValueError, KeyError) as error:
        raise Failure(f"{kind.__name__} can't be made: {type(error).__name__}: {error}") from error
    pvs = {**group.pvdb, **_message_of(group)}
    async with running(group):
        yield pvs


class _Message(PVGroup):
    message = soft("lsi", "MESSAGE", "Why the last put was refused", value="", length=MESSAGE_BYTES)


def _message_of(group: PVGroup) -> Mapping[str, ChannelData]:
    """Make the PV that tells why the last put to a record was refused, unless the group tells that itself."""
    records = [pv for pv in group.pvdb.values() if isinstance(pv, PV)]
    told = _Message(group.prefix)
    if (
        not any(pv.putter for pv in records)
        or any("on_refused" in vars(pv) for pv in records)
        or told.message.pvname in group.pvdb
    ):
        return {}
    for pv in records:
        pv.on_refused = functools.partial(tell_refusal, told.message, pv.pvname)
    return told.pvdb


@contextlib.asynccontextmanager
async def running(group: PVGroup) -> AsyncIterator[None]:
    """Run what caproto's server would: the hooks of a group at startup and shutdown, and its scans.

    One that fails is logged, and leaves the others alone.
    """
    from caproto.asyncio.server import AsyncioAsyncLayer

    layer = AsyncioAsyncLayer()
    initial: Hook | None = getattr(group, "__ainit__", None)
    starting = _hooks(group, "server_startup", "server_scan")
    if initial is not None:
        starting[f"{type(group).__name__}.__ainit__"] = initial
    tasks = [asyncio.create_task(_guarded(name, hook, layer), name=name) for name, hook in starting.items()]
    try:
        yield
    finally:
        for task in tasks:
            task.cancel()
        ending = _hooks(group, "server_shutdown")
        tasks += [
            asyncio.create_task(_guarded(name, hook, layer), name=name) for name, hook in ending.items()
        ]
        if tasks:
            _, late = await asyncio.wait(tasks, timeout=SHUTDOWN_SECONDS)
            for task in late:
                log.warning("%s takes longer than %g s: cut off", task.get_name(), SHUTDOWN_SECONDS)
                task.cancel()
            if late:
                await asyncio.wait(late, timeout=1.0)


def _hooks(group: PVGroup, *names: str) -> dict[str, Hook]:
    found: dict[str, Hook] = {}
    for pvname, channel in group.pvdb.items():
        for part, owner in (("", channel), *getattr(channel, "fields", {}).items()):
            for name in names:
                hook = getattr(owner, name, None)
                if hook is not None:
                    found[f"{pvname}{part and '.' + part}: {name.removeprefix('server_')} hook"] = hook
    return found


async def _guarded(name: str, hook: Hook, layer: object) -> None:
    try:
        await hook(layer)
    except Exception:
        log.exception("%s fails", name)
