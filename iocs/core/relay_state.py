"""What a relay keeps over a restart: one file, JSON by the line, written anew a moment after each change.

    {"labioc relay": 1}
    {"name": "temperature_lab_f1", "fields": {"EGU": "K", "HIHI": 310.0, "HHSV": "MAJOR"}, "value": 21.2, "time": 1.8e9}
    {"end": 1}

`fields` are those that differ from the default. `value` and `time` are there if values are kept: a number, a text, or
an array's elements in base64, little-endian, 4 bytes for an integer and 8 for a float. The last line counts the PVs.
"""

from __future__ import annotations

import asyncio
import base64
import fcntl
import json
import logging
import math
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, TextIO

import numpy as np

from labioc.devices.core.fields import SEVERITIES
from labioc.devices.core.records import AlarmSeverity

from ._threads import in_thread
from .command import Failure
from .relay import FAILED, KEPT, SETTINGS, Relay, Saved
from .relay_pv import RelayInfo, Shape, shape_of
from .save_file import write_atomically

log = logging.getLogger("labioc.relay")

FORMAT = {"labioc relay": 1}
PAUSE = 0.5
"""Seconds between two saves: with the time that one takes, less than one second is lost."""
PATIENCE = 10.0
_DTYPES: dict[str, np.dtype[Any]] = {"i": np.dtype("<i4"), "f": np.dtype("<f8")}
_DEFAULTS = RelayInfo("ai")


class Damaged(ValueError):
    """Raised for a file that no relay has written, or not to its end."""


def formatted(pvs: Iterable[Saved]) -> str:
    """The content of a file."""
    lines = [json.dumps(FORMAT), *map(_formatted, pvs)]
    return "\n".join((*lines, json.dumps({"end": len(lines) - 1}), ""))


def _formatted(pv: Saved) -> str:
    line: dict[str, Any] = {"name": pv.name}
    if pv.settings:
        line["fields"] = {
            name.upper(): SEVERITIES[value] if isinstance(value, AlarmSeverity) else value
            for name, value in pv.settings.items()
        }
    if pv.value is not None:
        line |= {"value": _plain(pv.value), "time": pv.stamp}
    return json.dumps(line)


def _plain(value: Any) -> Any:
    if not isinstance(value, np.ndarray):
        return value
    if value.dtype == np.uint8:
        return value.tobytes().decode("latin-1")
    return base64.b64encode(value.astype(value.dtype.newbyteorder("<")).tobytes()).decode()


def parsed(content: str) -> list[Saved]:
    """What a file says. Raises Damaged."""
    try:
        first, *lines, last = [json.loads(line) for line in content.splitlines()]
        if first != FORMAT or last != {"end": len(lines)}:
            raise Damaged("it doesn't begin and end as it should")
        return [_parsed(**line) for line in lines]
    except (ValueError, TypeError, LookupError, AttributeError, ArithmeticError, RecursionError) as error:
        raise Damaged(str(error)) from None


def _parsed(name: str, fields: Mapping[str, Any] = {}, value: Any = None, time: float = 0.0) -> Saved:
    settings = {field.lower(): _setting(field.lower(), text) for field, text in fields.items()}
    if settings:
        RelayInfo("ai", **settings)
    shape = shape_of(name)
    if not math.isfinite(time):
        raise ValueError(f"{time} is no time")
    return Saved(name, settings, None if value is None else _value(shape, value), float(time))


def _setting(name: str, value: Any) -> Any:
    if name not in SETTINGS:
        raise ValueError(f"no relay sets {name.upper()}")
    kind = type(getattr(_DEFAULTS, name))
    return AlarmSeverity(SEVERITIES.index(value)) if kind is AlarmSeverity else kind(value)


def _value(shape: Shape, value: Any) -> Any:
    if shape.kind == "c":
        return str(value)
    if shape.count > 1 or shape.is_buffer:
        dtype = _DTYPES[shape.kind]
        return np.frombuffer(base64.b64decode(value, validate=True), dtype).astype(dtype.newbyteorder("="))
    return int(value) if shape.kind == "i" else float(value)


class Keeper:
    """Keeps the PVs of a relay in a file.

    Beside it stand a copy, FILE.previous; FILE.lock, by which no two relays have the same file; and FILE.damaged or
    FILE.previous.damaged, what was found there and could not be read.
    """

    def __init__(self, relay: Relay, path: Path) -> None:
        """Raises Failure if the file can't be there, or if another relay has it."""
        self._relay = relay
        self._path = path = _resolved(path)
        self._previous = path.with_name(f"{path.name}.previous")
        self._writing: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._writing.set_result(None)
        self._has_failed = False
        self._lock = self._locked(path.with_name(f"{path.name}.lock"))

    @staticmethod
    def _locked(path: Path) -> TextIO:
        try:
            lock = path.open("w")
        except OSError as error:
            raise Failure(f"can't keep PVs at {path.parent}: {error.strerror}") from None
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            lock.close()
            raise Failure(f"another process keeps its PVs there: {path} is locked") from None
        return lock

    def load(self) -> None:
        """Bring back what was kept. A file that is damaged is set aside, and its copy is taken.

        Raises Failure if a file can't be read or set aside.
        """
        saved: list[Saved] = []
        wrong = []
        for path in (self._path, self._previous):
            try:
                saved = parsed(path.read_text("latin-1"))
                break
            except FileNotFoundError:
                continue
            except Damaged as error:
                wrong.append(f"{path} is damaged ({error})")
                self._set_aside(path)
            except OSError as error:
                raise Failure(f"can't read {path}: {error.strerror}") from None
        left_out = self._relay.restore(saved)
        if wrong:
            log.warning("%s and set aside; %d PVs are brought back", ", ".join(wrong), len(saved))
        else:
            log.info("PVs are kept in %s; %d are brought back", self._path, len(saved) - len(left_out))
        if left_out:
            log.warning("%d PVs don't fit the options and are left out: %s", len(left_out), _few(left_out))
        self._relay.changed.clear()
        self._relay.show_keeping(KEPT)

    def _set_aside(self, path: Path) -> None:
        try:
            path.replace(path.with_name(f"{path.name}.damaged"))
        except OSError as error:
            raise Failure(f"can't set {path} aside: {error.strerror}") from None

    async def run(self) -> None:
        """Save whatever changes, for as long as it runs."""
        while True:
            await self._relay.changed.wait()
            began = asyncio.get_running_loop().time()
            if not await self._save():
                await asyncio.wait({self._writing})
            # what takes long isn't done all the time
            await asyncio.sleep(max(PAUSE, asyncio.get_running_loop().time() - began))

    async def _save(self) -> bool:
        """Save, and return whether that came to its end in time."""
        self._relay.changed.clear()
        self._writing = in_thread(self._write, self._relay.snapshot())
        self._writing.add_done_callback(self._written)
        await asyncio.wait({self._writing}, timeout=PATIENCE)
        if not self._writing.done():
            self._failed(f"it takes longer than {PATIENCE:g} s")
        return self._writing.done()

    def _write(self, pvs: list[Saved]) -> None:
        content = formatted(pvs)
        write_atomically(self._path, content)
        write_atomically(self._previous, content)

    def _written(self, writing: asyncio.Future[None]) -> None:
        try:
            writing.result()
        except Exception as error:  # what can't be kept must not look kept
            self._relay.changed.set()
            self._failed(
                (isinstance(error, OSError) and error.strerror) or f"{type(error).__name__}: {error}"
            )
        else:
            self._has_failed = False
            self._relay.show_keeping(KEPT)

    def _failed(self, why: str) -> None:
        if not self._has_failed:
            self._has_failed = True
            log.error("PVs are not kept in %s, which is tried again and again: %s", self._path, why)
        self._relay.show_keeping(FAILED)

    async def close(self) -> None:
        """Save what has changed, in a bounded time, and let others have the file."""
        await asyncio.wait({self._writing}, timeout=PATIENCE)
        if self._relay.changed.is_set() and self._writing.done():
            await self._save()
        self._lock.close()


def _resolved(path: Path) -> Path:
    """The one name of a file that may have several, as it has one lock. Raises Failure if no file can be there."""
    try:
        found = path.resolve()
        if found.exists() and not found.is_file():
            raise Failure(f"can't keep PVs in {path}: that is no file")
    except OSError as error:
        raise Failure(f"can't keep PVs in {path}: {error.strerror}") from None
    except RuntimeError as error:  # for links that go round in a circle
        raise Failure(f"can't keep PVs in {path}: {error}") from None
    return found


def _few(names: list[str]) -> str:
    return ", ".join(names[:5]) + (", ..." if len(names) > 5 else "")
