"""What the functions of a group do for its PVs: they take puts, read in the period of SCAN, start and stop."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import logging
import time
import traceback
from collections.abc import Awaitable, Callable
from pathlib import PurePath
from types import MethodType
from typing import Any

from labioc.drivers.core.errors import LabiocError, UserError

from ._caproto import DBE_LOG, DBE_VALUE
from ._pvgroup import PVGroup, PVSpec, SkipWrite
from .conversion import PutRefused
from .fields import OUTPUTS
from .pv import PV
from .records import AlarmStatus
from .status import status_of

log = logging.getLogger(__name__)

SLOW_SECONDS = 10.0
"""A reading may take so long, or its period if that is longer; then it has failed until it is there."""


class PutterFailed(RuntimeError):
    """Raised to whoever puts when a group's putter fails by anything but the value."""

    expected = True
    """It is logged here, where it is known whether that was said already."""


class Hooks:
    """The functions of one PV at work.

    A put that the group has no function for is shown. A `ValueError` says that the value is wrong: the put is refused,
    and nothing changes. Any other exception is an alarm of the PV too, until its next good value.
    """

    def __init__(self, pv: PV, group: PVGroup, spec: PVSpec, readback: str | None) -> None:
        self._pv = pv
        self._group = group
        self._readback_name = readback
        self._putter = spec.put and MethodType(spec.put, group)
        self._getter = spec.get and MethodType(spec.get, group)
        self._scanner = spec.scan and MethodType(spec.scan, group)
        self._putting, self._reading = asyncio.Lock(), asyncio.Lock()  # one after the other
        self._changed = asyncio.Event()
        self._is_due = False
        self._failure = self._put_failure = ""
        self._layer: object = None
        if self._getter and self._scanner:
            raise TypeError(f"{pv.pvname} has a getter and a scan: it is read by one of them")
        if self._putter or pv.info.rtyp in OUTPUTS:
            pv.putter = self._put
            pv.restorer = self._restore
        if self._getter or self._scanner:
            pv.reader = self._read_for_client
            pv.on_rescan = self._rescan
            pv.server_scan = self._scan
        if spec.startup:
            pv.server_startup = functools.partial(self._start, MethodType(spec.startup, group))
        if spec.shutdown:
            pv.server_shutdown = functools.partial(MethodType(spec.shutdown, group), pv)
        if spec.value is not None:
            pv.post(spec.value, time.time())
            if pv.reader is not None:
                pv.fail(AlarmStatus.UDF, time.time(), pv.info.udfs)

    @property
    def _readback(self) -> PV | None:
        name = self._readback_name
        return None if name is None else self._group.attr_pvdb.get(name)

    # Puts

    async def _put(self, value: Any) -> None:
        pv = self._pv
        pv.check_drive(value)
        async with self._putting:
            if self._putter:
                try:
                    result = await self._putter(pv, value)
                except SkipWrite:
                    return
                except PutRefused:
                    raise
                except Exception as error:
                    if _is_of_value(error):
                        log.debug("%s is not put", pv.pvname, exc_info=error)
                        raise PutRefused(f"{pv.pvname}: {error}") from error
                    before, self._put_failure = self._put_failure, self._fail(error, AlarmStatus.WRITE)
                    _tell(f"{pv.pvname} can't be put", error, self._put_failure == before)
                    raise PutterFailed(f"{pv.pvname}: {self._put_failure}") from error
                self._put_failure = ""
                if result is SkipWrite:
                    return
                value = value if result is None else result
            self._show(value)
            readback = self._readback
            if readback is not None and readback.reader is not None:
                with contextlib.suppress(PutRefused):  # what fails there is the readback's alarm
                    await readback.reader()

    def _show(self, value: Any) -> None:
        self._pv.post(value, time.time())
        readback = self._readback
        if readback is not None and readback.reader is None and not self._putter:
            readback.post(value, time.time())

    def _restore(self, value: Any) -> None:
        self._show(value)
        if self._putter:
            self._pv.fail(AlarmStatus.WRITE, time.time(), message="put before the restart, lost perhaps")

    # Readings

    async def _scan(self, layer: object) -> None:
        """Read at once, and then as SCAN says, until cancelled."""
        self._layer = layer
        clock = asyncio.get_running_loop().time
        last = clock()
        await self._read()
        while True:
            period = self._pv.period
            due = None if period is None else last + period
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout_at(due):
                    await self._changed.wait()
            if self._changed.is_set():
                self._changed.clear()
                if not self._is_due:
                    continue
                last = clock()
            elif due is not None and period is not None:
                last = max(due, clock() - period)  # what comes too late is left out, not made up for
            self._is_due = False
            await self._read()

    def _rescan(self, at_once: bool) -> None:
        self._is_due = self._is_due or at_once
        self._changed.set()

    async def _read_for_client(self) -> None:
        await self._read()
        if self._failure:
            raise PutRefused(f"{self._pv.pvname} can't be read: {self._failure}")

    async def _read(self) -> None:
        pv = self._pv
        async with self._reading:
            bound = max(SLOW_SECONDS, pv.period or 0)
            watch = asyncio.get_running_loop().call_later(bound, self._is_slow, bound)
            try:
                if self._getter:
                    result = await self._getter(pv)
                else:
                    assert self._scanner
                    result = await self._scanner(pv, self._layer)
                if result is not None:
                    pv.post(result, time.time())
            except Exception as error:
                _tell(f"{pv.pvname} can't be read", error, bool(self._failure))
                self._failure = self._fail(error, AlarmStatus.READ)
                return
            finally:
                watch.cancel()
        if self._failure:
            log.info("%s is read again", pv.pvname)
            if pv.message == self._failure and not pv.udf:
                pv.post(pv.value, time.time())  # it had nothing new to tell
            self._failure = ""

    def _is_slow(self, seconds: float) -> None:
        """What reads has not come back: the value is old, whether it comes one day or not."""
        text = f"no value for {seconds:g} s"
        if not self._failure:
            log.error("%s can't be read: %s", self._pv.pvname, text)
        self._failure = text
        self._pv.fail(AlarmStatus.TIMEOUT, time.time(), message=text)

    async def _start(self, hook: Callable[[PV, object], Awaitable[None]], layer: object) -> None:
        try:
            await hook(self._pv, layer)
        except Exception as error:
            self._fail(error, AlarmStatus.READ)
            raise

    def _fail(self, error: Exception, status: AlarmStatus) -> str:
        """Go into alarm, and return what the alarm says."""
        text = _text(error)
        status = status_of(error) if isinstance(error, LabiocError) else status
        self._pv.fail(status, time.time(), message=text)
        return text


def tell_refusal(message: PV, pvname: str, error: Exception) -> None:
    """Put down in a text PV why a put to another was refused."""
    text = str(error)
    text = text if text.startswith(pvname) else f"{pvname}: {text}"
    before = message.value
    message.post(text, time.time())
    if message.value == before:
        # who tries in vain a second time must see that it was refused a second time
        message.send_event(DBE_VALUE | DBE_LOG)


def _is_of_value(error: Exception) -> bool:
    """Whether what was put is to blame; some failures of instruments are ValueErrors too."""
    return isinstance(error, UserError if isinstance(error, LabiocError) else ValueError)


def _tell(what: str, error: Exception, is_known: bool) -> None:
    """Log a failure in a line, with the place that it comes from, if that isn't known; its traceback for who debugs."""
    place = traceback.extract_tb(error.__traceback__)[-1]
    if not is_known:
        log.error("%s: %s (%s, line %d)", what, _text(error), PurePath(place.filename).name, place.lineno)
    log.debug("%s", what, exc_info=error)


def _text(error: Exception) -> str:
    return f"{type(error).__name__}: {error}" if str(error) else type(error).__name__
