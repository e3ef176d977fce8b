"""Autosave: what clients have tuned survives a restart, in the files and under the status PVs of synApps' autosave."""

from __future__ import annotations

import asyncio
import copy
import logging
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from labioc.devices.core._caproto import AccessRights, ChannelData, ChannelType
from labioc.devices.core.fields import changed_fields
from labioc.devices.core.pv import PV
from labioc.devices.core.records import AlarmSeverity, RecordInfo
from labioc.devices.core.soft import soft

from ._ioc_group import IocGroup
from ._threads import in_thread
from .save_file import SaveFiles, Value

log = logging.getLogger("labioc.autosave")

PERIOD = 1.0
SLOW_SECONDS = 5.0
"""A folder that takes longer is told of; the IOC goes on without it."""
CLOSE_SECONDS = 2.0
AT_ONCE = 100
"""Values that are restored in one turn of the event loop."""
WRITE_SECONDS = 10.0
"""Of writing one restored value to an instrument."""
_TIME = "%a %b %d %H:%M:%S"
_STATUS: dict[str, Any] = {
    "states": ("No Status", "Failure", "Warning", "Seq Fail", "Ok"),
    "severities": (
        AlarmSeverity.NO_ALARM,
        AlarmSeverity.MAJOR_ALARM,
        AlarmSeverity.MINOR_ALARM,
        AlarmSeverity.MAJOR_ALARM,
        AlarmSeverity.NO_ALARM,
    ),
}
FAILURE, WARNING, OK = 1, 2, 4


class Autosave(IocGroup):
    """Saves PVs to a folder and restores them; its PVs tell how that goes.

    Saved are the fields that clients have changed, such as alarm limits, and the values of PVs with a `restorer`:
    those that nobody else knows. Of caproto's own PVs, the values of those that clients can put and that have no
    putter.

    As a SubGroup of an IOC it restores when the server starts, and saves until it stops.

    Args:
        prefix: what stands before the names of its own PVs.
        path: of the file NAME.sav; other files stand beside it.
        pvs: what to save; without it, all PVs of the outermost group.
        period: how often it looks for changes, in seconds.
        writes: whether restored values are written to the instruments too.
    """

    heartbeat = soft("bi", "SR_heartbeat", "Changes each time it looks for changes", states=("0", "1"))
    status = soft("mbbi", "SR_status", "Whether saving works", **_STATUS)
    status_text = soft("stringin", "SR_statusStr", "Text of SR_status")
    recently = soft("stringin", "SR_recentlyStr", "What was done last")
    reboot_status = soft("mbbi", "SR_rebootStatus", "Whether restoring worked", **_STATUS)
    reboot_text = soft("stringin", "SR_rebootStatusStr", "Text of SR_rebootStatus")
    reboot_time = soft("stringin", "SR_rebootTime", "Time of the start")
    file_name = soft("stringin", "SR_0_Name", "The save file")
    file_status = soft("mbbi", "SR_0_Status", "Whether saving works", **_STATUS)
    file_text = soft("stringin", "SR_0_StatusStr", "Text of SR_0_Status")
    file_time = soft("stringin", "SR_0_Time", "Time of the last save")

    def __init__(
        self,
        prefix: str,
        *,
        path: Path | str,
        pvs: Mapping[str, ChannelData] | None = None,
        period: float = PERIOD,
        writes: bool = False,
        **rest: Any,
    ) -> None:
        super().__init__(prefix, pvs=pvs, **rest)
        self._files = SaveFiles(Path(path))
        self._period = period
        self._writes = writes
        self._saved: dict[str, Value] = {}
        self._unfit: set[str] = set()
        self._arrays: dict[str, tuple[Any, Value]] = {}
        self._changed: dict[str, tuple[RecordInfo, RecordInfo, dict[str, Value]]] = {}
        self._saving: tuple[dict[str, Value], asyncio.Future[None]] | None = None
        self.heartbeat.server_startup = self._serve
        for pv, value in (
            (self.heartbeat, 0),
            (self.status, "No Status"),
            (self.status_text, "Status unknown"),
            (self.recently, "Status unknown"),
            (self.reboot_status, "No Status"),
            (self.reboot_text, "Status unknown"),
            (self.reboot_time, time.strftime(_TIME)),
            (self.file_name, self._files.path.name),
            (self.file_status, "No Status"),
            (self.file_text, "Status unknown"),
            (self.file_time, "Not yet saved"),
        ):
            pv.post(value, time.time())

    # Restoring

    async def restore(self) -> None:
        """Restore what the newest whole file says: fields first, then values, each in the order of the file.

        What lets a record take no puts or values comes last, as the values are to be taken.
        """
        try:
            async with asyncio.timeout(SLOW_SECONDS):
                values, problems = await in_thread(self._files.load)
        except (OSError, TimeoutError) as error:
            values, problems = {}, [str(error) or f"it can't be read in {SLOW_SECONDS:g} s"]
        known = dict(self.pvs.items())
        in_order = sorted(values.items(), key=lambda item: _turn(item[0], known))
        for count, (name, value) in enumerate(in_order):
            if count % AT_ONCE == 0:
                await asyncio.sleep(0)
            try:
                await self._restore(name, value, known)
            except Exception as error:
                problems.append(f"{name}: {str(error) or type(error).__name__}")
        for problem in problems:
            log.warning("restoring from %s: %s", self._files.path, problem)
        self._saved = values
        now = time.time()
        self.reboot_status.post(WARNING if problems else OK, now)
        self.reboot_text.post(
            f"{len(problems)} problems, see the log" if len(problems) > 1 else (*problems, "Ok")[0], now
        )

    async def _restore(self, name: str, value: Value, known: Mapping[str, ChannelData]) -> None:
        pvname, _, field = name.removesuffix("$").rpartition(".")
        if name in known or field == "VAL":
            await self._restore_value(known[name if name in known else pvname], value)
            return
        pv = known.get(pvname)
        if not isinstance(pv, PV) or not isinstance(value, str):
            raise LookupError(f"there is no such {'PV' if pv is None else 'field'} any more")
        await pv.get_field(field).write_from_dbr(_data(ChannelType.STRING, value), ChannelType.STRING, None)

    async def _restore_value(self, pv: ChannelData, value: Value) -> None:
        if not isinstance(pv, PV):
            await _restore_stock(pv, value)
            return
        data = _data(pv.data_type, value)
        if self._writes and pv.putter is not None:
            try:
                async with asyncio.timeout(WRITE_SECONDS):
                    await pv.write_from_dbr(data, ChannelType.STRING, None)
            except BaseException:
                pv.restore(data)  # shown as what it was, and not as done
                raise
        else:
            pv.restore(data)

    # Saving

    async def run(self) -> None:
        """Save what changes, until cancelled."""
        while True:
            await asyncio.sleep(self._period)
            await self._save(SLOW_SECONDS)
            self.heartbeat.post(1 - self.heartbeat.value, time.time())

    async def close(self) -> None:
        """Save what has changed since; takes a bounded time."""
        for _ in range(2):  # one that is under way may be too old
            await self._save(CLOSE_SECONDS)

    async def _save(self, patience: float) -> None:
        if self._saving is None:
            values = self._values()
            if values == self._saved:
                return
            self._saving = values, in_thread(self._files.save, values)
        values, saving = self._saving
        await asyncio.wait([saving], timeout=patience)
        if not saving.done():
            self._tell(FAILURE, "The folder does not answer")
            return
        self._saving = None
        error = saving.exception()
        if error is not None:
            self._tell(FAILURE, getattr(error, "strerror", None) or str(error))
            return
        self._saved = values
        self.file_time.post(time.strftime(_TIME), time.time())
        self.recently.post(f"Save of '{self._files.path.name}' succeeded"[:39], time.time())
        self._tell(OK, "Ok")

    def _values(self) -> dict[str, Value]:
        """What is worth saving now, by the names in the file."""
        values: dict[str, Value] = {}
        for name, pv in self.pvs.items():
            if not isinstance(pv, PV):
                if _is_stock_setting(pv):
                    try:
                        values[name] = self._text_of(name, pv, _stock_text)
                    except (TypeError, ValueError):
                        self._tell_unfit(name, pv)
                continue
            if pv.info is not pv.configured:
                values.update(self._fields_of(name, pv))
            if pv.restorer is not None and not pv.udf:
                is_long = pv.long_string_max_length > 40 and isinstance(pv.value, str)
                values[f"{name}.VAL$" if is_long else name] = self._text_of(name, pv, _text)
        return values

    def _text_of(self, name: str, pv: Any, convert: Callable[[Any], Value]) -> Value:
        # a large array takes long; it is another object when it has changed, but for caproto's lists
        value = pv.value
        before, text = self._arrays.get(name, (None, ""))
        if before is None or not (before == value if isinstance(value, list) else before is value):
            text = convert(pv)
            if not isinstance(text, str):
                self._arrays[name] = copy.copy(value) if isinstance(value, list) else value, text
        return text

    def _fields_of(self, name: str, pv: PV) -> dict[str, Value]:
        # who has tuned thousands of records must not have all their fields compared every second
        info, configured, fields = self._changed.get(name, (None, None, {}))
        if info is not pv.info or configured is not pv.configured:
            fields = {f"{name}.{field}": _as_text(value) for field, value in changed_fields(pv).items()}
            self._changed[name] = pv.info, pv.configured, fields
        return fields

    def _tell_unfit(self, name: str, pv: Any) -> None:
        if name not in self._unfit:
            self._unfit.add(name)
            log.warning("%s can't be saved: %r", name, pv.value)

    def _tell(self, status: int, text: str) -> None:
        if status != self.status.value and (status != OK or self.status.value == FAILURE):
            log.log(
                logging.INFO if status == OK else logging.ERROR, "saving to %s: %s", self._files.path, text
            )
        now = time.time()
        for pv in (self.status, self.file_status):
            pv.post(status, now)
        for pv in (self.status_text, self.file_text):
            pv.post(text, now)

    async def _serve(self, layer: object) -> None:
        """caproto's hook at the start of its server."""
        await self.restore()
        try:
            await self.run()
        finally:
            await self.close()


def _turn(name: str, known: Mapping[str, ChannelData]) -> int:
    """When it is restored."""
    if name in known or name.endswith((".VAL", ".VAL$")):
        return 1
    return 2 if name.endswith((".DISP", ".DISA", ".DISV")) else 0


def _as_text(value: Any) -> Value:
    if isinstance(value, str):
        return value
    if isinstance(value, (list, tuple, np.ndarray)):
        return [str(element) for element in np.asarray(value).tolist()]
    return str(int(value) if isinstance(value, int) else float(value))


def _data(data_type: ChannelType, value: Value) -> Any:
    """A saved value as if a client had put it."""
    if isinstance(value, str):
        # a label may look like the index of another state; who edits the file by hand writes labels
        is_index = data_type == ChannelType.ENUM and value.isdecimal()
        return np.array([int(value)]) if is_index else [value.encode("latin-1")]
    if data_type == ChannelType.CHAR:
        return np.array([int(element) for element in value], np.uint8)
    return [element.encode("latin-1") for element in value] or np.zeros(0)


# caproto's own PVs


def _is_stock_setting(pv: Any) -> bool:
    spec = getattr(pv, "pvspec", None)
    return (
        spec is not None
        and spec.put is None
        and spec.get is None
        and bool(pv.check_access(None, None) & AccessRights.WRITE)
    )


def _text(pv: PV) -> Value:
    return _as_text(pv.value)


def _stock_text(pv: Any) -> Value:
    """Raises TypeError or ValueError for what caproto can't send either."""
    if isinstance(pv.value, bytes):
        return _as_text(list(pv.value))
    if isinstance(pv.value, str) and pv.data_type != ChannelType.ENUM:
        return str(pv.value.encode(pv.string_encoding or "latin-1").decode("latin-1"))
    return _as_text(pv.value)


async def _restore_stock(pv: Any, value: Value) -> None:
    convert: Callable[[str], Any] = str
    data: Any
    if isinstance(pv.value, bytes) and not isinstance(value, str):
        await pv.write(bytes(map(int, value)), verify_value=False)
        return
    if isinstance(pv.value, str) and isinstance(value, str) and pv.data_type != ChannelType.ENUM:
        value = value.encode("latin-1").decode(pv.string_encoding or "latin-1")
    if pv.data_type in (ChannelType.DOUBLE, ChannelType.FLOAT):
        convert = float
    elif pv.data_type in (ChannelType.INT, ChannelType.LONG) or (
        pv.data_type == ChannelType.CHAR and not isinstance(value, str)
    ):
        convert = int
    data = convert(value) if isinstance(value, str) else [convert(element) for element in value]
    await pv.write(data, verify_value=False)
