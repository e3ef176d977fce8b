"""What any IOC can have beside its own PVs, by an option each: autosave and statistics."""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import logging
import re
from collections import ChainMap
from collections.abc import AsyncIterator, Mapping
from pathlib import Path
from typing import Any

from labioc.devices.core._caproto import ChannelData
from labioc.devices.core.records import PV

from .autosave import Autosave
from .command import Failure, name_and_text
from .ioc_stats import IocStats, NoPsutil
from .server import CAServer

log = logging.getLogger("labioc.ioc")


def add_helpers(parser: argparse.ArgumentParser) -> None:
    """Add the options."""
    parser.add_argument(
        "--autosave", metavar="FOLDER", help="keep what clients tune over a restart, see docs/operation.md"
    )
    parser.add_argument(
        "--autosave-write",
        action="store_true",
        help="also write restored values to what stands behind the PVs, before the server opens",
    )
    parser.add_argument(
        "--stats",
        nargs="?",
        const="",
        metavar="PREFIX",
        help="serve HEARTBEAT, UPTIME, MEM_USED and others, as iocStats does (default: with the IOC's prefix)",
    )


class Helpers:
    """The helpers that the command line asks for.

    Attributes:
        pvs: their own PVs.
        all: these, and those of the IOC.

    Raises Failure if one of these PVs is there already, if psutil is missing or the options don't go together.
    """

    def __init__(self, args: argparse.Namespace, prefix: str, pvs: Mapping[str, ChannelData]) -> None:
        own: Any = pvs
        self.pvs: dict[str, PV] = {}
        mine: Any = self.pvs
        self.all: Mapping[str, ChannelData] = ChainMap(mine, own)
        self.autosave: Autosave | None = None
        self.stats: IocStats | None = None
        macros = dict(name_and_text(text, "NAME=TEXT") for text in getattr(args, "macro", ()))
        if macros:
            prefix = prefix.format(**macros)
        if args.autosave_write and args.autosave is None:
            raise Failure("--autosave-write is for --autosave FOLDER")
        if args.stats is not None:
            try:
                self.stats = IocStats(args.stats or prefix, pvs=self.all, macros=macros)
            except NoPsutil as error:
                raise Failure(str(error)) from None
            self._add(self.stats, "--stats")
        if args.autosave is not None:
            path = Path(args.autosave) / f"{_as_file_name(prefix)}.sav"
            self.autosave = Autosave(prefix, path=path, pvs=self.all, writes=args.autosave_write)
            self._add(self.autosave, "--autosave")

    def _add(self, group: Any, option: str) -> None:
        twice = set(self.all) & set(group.pvdb)
        if twice:
            hint = "; --stats PREFIX takes another prefix" if option == "--stats" else ""
            raise Failure(f"{option}: there is a PV {min(twice)} already{hint}")
        self.pvs.update(group.pvdb)

    async def restore(self) -> None:
        """Restore what was saved, if that is wanted; before the server opens."""
        if self.autosave is not None:
            await self.autosave.restore()

    @contextlib.asynccontextmanager
    async def running(self, server: CAServer) -> AsyncIterator[None]:
        """Save and count while an IOC runs."""
        for pv in self.all.values():
            group = getattr(pv, "group", None)
            if isinstance(group, IocStats):
                group.server = server
        tasks = []
        if self.stats is not None:
            tasks.append(asyncio.create_task(self.stats.run(), name="the statistics"))
        if self.autosave is not None:
            tasks.append(asyncio.create_task(self.autosave.run(), name="the autosave"))
        for task in tasks:
            task.add_done_callback(_tell_failure)
        try:
            yield
        finally:
            for task in tasks:
                task.cancel()
            if tasks:
                await asyncio.wait(tasks)
            if self.autosave is not None:
                await self.autosave.close()


def _tell_failure(task: asyncio.Task[None]) -> None:
    if not task.cancelled() and task.exception() is not None:
        log.error("%s has ended", task.get_name(), exc_info=task.exception())


def _as_file_name(prefix: str) -> str:
    return re.sub(r"[^A-Za-z0-9_-]+", "_", prefix).strip("_") or "ioc"
