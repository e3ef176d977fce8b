"""The sequence server: PVs in front of blocking code, the *system*, which has a thread of its own.

    put --> io_get_queue --> thread: system.io_execute(pv_name, value)
                                       |
    monitors <-- PVs <-- io_put_queue <-+   {"values": [...], "TEMP": 77.0}

The server never waits for the system; the client whose put it is may. Both queues are bounded. What the thread says
comes through one queue in its order, so that a put is done after what the system has posted before.
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
import logging
import queue
import threading
import time
from collections.abc import Callable, Mapping
from typing import Any

from labioc.devices.core._caproto import AlarmSeverity, AlarmStatus, ChannelData
from labioc.devices.core._pvgroup import PVGroup
from labioc.devices.core.conversion import PutRefused
from labioc.devices.core.fields import OUTPUTS
from labioc.devices.core.pv import PV
from labioc.devices.core.soft import soft

from ._queues import Command, Commands, ServerStopped, Updates
from ._threads import in_thread

__all__ = ["Blocking", "Command", "SequenceServer", "ServerStopped", "SystemFailed"]

log = logging.getLogger("labioc.sequence")

TEXT_BYTES = 10_000
VALUES = 10_000
MESSAGE_BYTES = 1_000
MAX_COMMANDS = 100
"""Commands that wait for the system; more are refused."""
MAX_UPDATES = 10_000
"""Of the system that wait for the server; the system waits then."""
UPDATES_AT_ONCE = 256
MAX_UNKNOWN = 100
"""Names of no PV that are logged; a system may make up more and more of them."""
STOP_SECONDS = 2.0
BUSY, DONE, FAILED, IDLE, WAITING = range(5)
POLL = "a poll"


class SystemFailed(RuntimeError):
    """Raised to whoever puts when the system fails, does not come back in time, or has ended."""

    expected = True


class SequenceServer(PVGroup):
    """CMD, ACK, message and values in front of system code; subclasses declare further PVs.

    A put to CMD, or to any further PV that clients can put, goes to the system. It is done when the system is, and
    fails with what the system raises. What the system puts into `io_put_queue` becomes the values of PVs.

    The system is an object, or a class that is made in the thread. It has

    - `io_execute(pv_name, value)`, which is called for each put, one after the other;
    - or `run()`, which is called once and takes the commands from `io_get_queue` by itself;
    - with `io_execute` also, if it likes, `io_poll()`, called every `io_period` seconds between commands.

    `io_get_queue`, `io_put_queue` and `io`, the server, are set on it.

    Attributes:
        system: the system code, or None: then a put is done at once.
        timeout: how long the system may take for a command or a poll, in seconds; None: as long as it likes.
        io_get_queue: commands out of the server.
        io_put_queue: new values into the server, mappings by PV name without the prefix of this group.
    """

    system: Any = None
    timeout: float | None = None

    CMD = soft("aao", "CMD", "Command for the system", length=TEXT_BYTES, chars=True)
    ACK = soft(
        "mbbi",
        "ACK",
        "What became of the command",
        states=("BUSY", "DONE", "FAILED", "IDLE", "WAITING"),
        severities=(AlarmSeverity.NO_ALARM, AlarmSeverity.NO_ALARM, AlarmSeverity.MAJOR_ALARM),
    )
    message = soft("waveform", "message", "Why the last put failed", length=MESSAGE_BYTES, chars=True)
    values = soft("waveform", "values", "What the system has to tell", length=VALUES)

    def __init__(self, prefix: str, **rest: Any) -> None:
        super().__init__(prefix, **rest)
        self.io_put_queue = Updates(MAX_UPDATES)
        self.io_get_queue = Commands(MAX_COMMANDS)
        self._by_name: dict[str, ChannelData] = {}
        self._wanted: list[Command] = []
        self._overdue: dict[Command, SystemFailed] = {}
        self._thread: threading.Thread | None = None
        self._is_serving = False
        self._why_dead = ""
        self._failing: dict[str, str] = {}
        self._unfit: set[str] = set()
        self._shown: set[ChannelData] = set()
        for attribute, pv in self.attr_pvdb.items():
            name = pv.pvname.removeprefix(self.prefix)
            self._by_name[name] = pv
            self._by_name.setdefault(attribute, pv)
            if isinstance(pv, PV) and pv.info.rtyp in OUTPUTS and self._is_for_system(pv):
                pv.putter = functools.partial(self.system_io_execute, name)
                pv.on_refused = functools.partial(self._refused, name)
                pv.restorer = None if pv is self.CMD else functools.partial(self._restore, pv)
        self.CMD.server_startup = self._serve
        for pv, value in ((self.CMD, ""), (self.ACK, IDLE), (self.message, ""), (self.values, [])):
            pv.post(value, time.time())

    def _is_for_system(self, pv: Any) -> bool:
        """Whether no function of the group takes the puts, nor another sequence server within this one."""
        group = pv.group
        while not isinstance(group, SequenceServer):
            group = group.parent
        return pv.pvspec.put is None and group is self

    # From clients

    async def system_io_execute(self, pv_name: str, value: Any) -> Any:
        """Give a put to the system, and wait until it is done; returns the value.

        Raises PutRefused for a value beyond DRVL and DRVH, or if the system has too much to do; SystemFailed if it
        fails, is too slow or has ended.
        """
        pv = self._by_name.get(pv_name)
        if isinstance(pv, PV):
            pv.check_drive(value)
        if self.system is None:
            self._post(pv_name, value)
            return value
        self._begin()
        command = Command(self, pv_name, value)
        command.ending = asyncio.get_running_loop().create_future()
        try:
            self._send(command)
        except (SystemFailed, PutRefused):
            self._acknowledge(command, FAILED)
            raise
        self._acknowledge(command, WAITING)
        await command.ending
        return value

    def _send(self, command: Command) -> None:
        if self._why_dead:
            raise SystemFailed(self._why_dead)
        if self._overdue:
            raise SystemFailed(str(next(iter(self._overdue.values()))))
        try:
            self.io_get_queue.put_nowait(command)
        except queue.Full:
            raise PutRefused(f"{command.pv_name}: {MAX_COMMANDS} commands are waiting already") from None
        except ServerStopped as error:
            raise SystemFailed(str(error)) from None
        self._wanted.append(command)

    def _acknowledge(self, command: Command, state: int) -> None:
        """Tell by ACK what becomes of a CMD that the system has not; one that it works on comes first."""
        if command.pv_name == "CMD" and self.ACK.value != BUSY:
            self.ACK.post(state, time.time())

    async def group_write(self, instance: Any, value: Any) -> Any:
        """caproto's generic putter, for PVs of its own that have none."""
        return await self.system_io_execute(instance.pvname.removeprefix(self.prefix), value)

    def _restore(self, pv: PV, value: Any) -> None:
        if pv in self._shown:
            return  # the system has said already what it is now
        pv.post(value, time.time())
        if self.system is not None:
            pv.fail(AlarmStatus.WRITE, time.time(), message="put before the restart, lost perhaps")

    def _refused(self, pv_name: str, error: Exception) -> None:
        if isinstance(error, SystemFailed):
            return  # that is said already
        text = (str(error) or type(error).__name__).removeprefix(self.prefix)
        self._say(text if text.startswith(pv_name) else f"{pv_name}: {text}")

    def _say(self, text: str) -> None:
        self.message.post(text.replace("\0", "")[:MESSAGE_BYTES], time.time())

    # The thread

    async def _serve(self, layer: object = None) -> None:
        """Run the system until cancelled; caproto's hook at the start of its server."""
        loop = asyncio.get_running_loop()
        fresh = asyncio.Event()
        self.io_put_queue.on_put = lambda: loop.call_soon_threadsafe(fresh.set)
        self.io_put_queue.server_thread = threading.get_ident()
        self._is_serving = True
        self._begin()
        try:
            while True:
                self.io_put_queue.is_told = False
                await self._take_updates()
                await fresh.wait()
                fresh.clear()
        finally:
            self.io_put_queue.on_put = lambda: None
            self.io_get_queue.close()
            self.io_put_queue.close()
            self._end_all(SystemFailed("the server has stopped"))
            if self._thread is not None:
                await asyncio.wait([in_thread(self._thread.join, STOP_SECONDS)])
                if self._thread.is_alive():
                    log.warning("%s: stopped although its system is still at work", self.prefix)

    def _begin(self) -> None:
        """Start the thread, once there is a system; it may be given while the server runs."""
        if self._is_serving and self._thread is None and self.system is not None:
            self._thread = threading.Thread(target=self._work, name=f"system of {self.prefix}", daemon=True)
            self._thread.start()

    def _work(self) -> None:
        try:
            if isinstance(self.system, type):
                self.system = self.system()
            system = self.system
            if not hasattr(system, "io_execute") and not hasattr(system, "run"):
                raise TypeError(f"{type(system).__name__} has neither io_execute(pv_name, value) nor run()")
            system.io_get_queue, system.io_put_queue = self.io_get_queue, self.io_put_queue
            if getattr(system, "io", None) is None:
                system.io = self
            if hasattr(system, "io_execute"):
                self._execute_all(system)
            else:
                system.run()
                self.io_get_queue.end_last()
            failure: BaseException | None = None
        except ServerStopped:
            return
        except BaseException as error:
            failure = error
        with contextlib.suppress(ServerStopped):
            self.io_put_queue.put(lambda server: server._died(failure))

    def _execute_all(self, system: Any) -> None:
        poll, period = getattr(system, "io_poll", None), getattr(system, "io_period", 1.0)
        next_poll = time.monotonic()
        while True:
            if poll is not None and time.monotonic() >= next_poll:
                command = Command(self, POLL, None)
                command.taken()
                self._execute(command, poll)
                next_poll = time.monotonic() + period
            try:
                wait = None if poll is None else max(0.0, next_poll - time.monotonic())
                command = self.io_get_queue.take(timeout=wait)
            except queue.Empty:
                continue
            self._execute(command, functools.partial(system.io_execute, command.pv_name, command.value))

    def _execute(self, command: Command, function: Callable[[], object]) -> None:
        failure: BaseException | None = None
        try:
            function()
        except ServerStopped:
            raise
        except BaseException as error:  # also SystemExit: it is the system's, not the server's
            failure = error
        self.io_get_queue.end_last()
        command.done(failure)

    # From the thread; all of it on the event loop

    async def _take_updates(self) -> None:
        while items := self.io_put_queue.drain():
            for start in range(0, len(items), UPDATES_AT_ONCE):
                for item in items[start : start + UPDATES_AT_ONCE]:
                    if callable(item):
                        item(self)
                        continue
                    for name, value in item.items():
                        await self._show(name, value)
                        for command in self._wanted:
                            command.updated.add(self._by_name.get(name))
                await asyncio.sleep(0)

    async def _show(self, name: str, value: Any) -> None:
        """Show a value that the system gives; an exception is an alarm, and what doesn't fit too."""
        pv: Any = self._by_name.get(name)
        status, error = AlarmStatus.READ, value
        if not isinstance(value, BaseException):
            status = AlarmStatus.CALC
            try:
                if pv is None:
                    raise LookupError("the server has no such PV")
                if isinstance(pv, PV):
                    pv.post(value, time.time())
                else:
                    # its putter would give it to the system once more
                    await pv.write(value, verify_value=False)
            except Exception as failure:
                error = failure
            else:
                self._unfit.discard(name)
                self._shown.add(pv)
                return
        text = f"{name}: {_text_of(error)}"
        if name not in self._unfit and (pv is not None or len(self._unfit) < MAX_UNKNOWN):
            self._unfit.add(name)
            log.warning("%s%s", self.prefix, text)
        self._say(text)
        self._fail(name, status, text)

    def _post(self, name: str, value: Any) -> None:
        pv = self._by_name.get(name)
        # caproto posts to a PV of its own when its putter returns
        if isinstance(pv, PV):
            pv.post(value, time.time())

    def _fail(self, name: str, status: AlarmStatus, text: str) -> None:
        pv = self._by_name.get(name)
        if isinstance(pv, PV):
            pv.fail(status, time.time(), message=text)

    def took(self, command: Command) -> None:
        """The system has a command now."""
        command.updated.clear()
        if command.pv_name == "CMD":
            self.ACK.post(BUSY, time.time())
            # who looks wants to see what it is at
            self.CMD.post(command.value, time.time())
        if self.timeout is not None:
            loop = asyncio.get_running_loop()
            command.timer = loop.call_later(self.timeout, self._is_late, command, self.timeout)

    def ended(self, command: Command, error: BaseException | None) -> None:
        """The system has done a command, or failed."""
        if command.timer is not None:
            command.timer.cancel()
        name = command.pv_name
        if command in self._overdue:
            del self._overdue[command]
            text = f"{name}: the system has come back{f', by {_text_of(error)}' if error else ''}"
            log.warning("%s%s", self.prefix, text, exc_info=error)
            self._say(text)
            return
        if error is not None:
            failure = SystemFailed(f"{name}: {_text_of(error)}")
            self._end(command, failure, AlarmStatus.WRITE, error)
            if name == POLL:
                self._fail_reads(failure, AlarmStatus.READ)
            return
        self._failing.pop(name, None)
        if command in self._wanted:
            self._wanted.remove(command)
            self._say("")
            if name == "CMD":
                self.ACK.post(DONE, time.time())
            if self._by_name.get(name) not in command.updated:
                self._post(name, command.value)
            _settle(command, None)

    def _end(
        self, command: Command, failure: SystemFailed, status: AlarmStatus, cause: BaseException | None = None
    ) -> None:
        """Let a command fail, and its PV."""
        if command in self._wanted:
            self._wanted.remove(command)
        name, text = command.pv_name, str(failure)
        known = self._failing.get(name)
        self._failing[name] = text
        if known is None or (text != known and name != POLL):
            # the traceback of the same failure again and again helps nobody
            log.error("%s%s", self.prefix, text, exc_info=cause)
        self._say(text)
        self._fail(name, status, text)
        if name == "CMD":
            self.ACK.post(FAILED, time.time())
        _settle(command, failure)

    def _is_late(self, command: Command, seconds: float) -> None:
        """The system has not come back from a command in time."""
        failure = SystemFailed(f"the system has not come back from {command.pv_name} within {seconds:g} s")
        self._overdue[command] = failure
        self._end(command, failure, AlarmStatus.TIMEOUT)
        self._fail_reads(failure, AlarmStatus.TIMEOUT)
        self._refuse_waiting(failure)

    def _fail_reads(self, failure: SystemFailed, status: AlarmStatus) -> None:
        """What the system polls is old now."""
        for name in getattr(self.system, "io_reads", ()):
            self._fail(name, status, str(failure))

    def _died(self, error: BaseException | None) -> None:
        """The thread has ended."""
        why = _text_of(error) if error is not None else "it returned"
        self._why_dead = f"the system has ended: {why}"
        log.error("%s%s", self.prefix, self._why_dead, exc_info=error)
        failure = SystemFailed(self._why_dead)
        for command in list(self._wanted):
            self._end(command, failure, AlarmStatus.COMM)
        self._refuse_waiting(failure)
        self._say(self._why_dead)
        self.ACK.post(FAILED, time.time())
        for name, pv in self._by_name.items():
            if pv not in (self.ACK, self.message):
                self._fail(name, AlarmStatus.COMM, self._why_dead)

    def _refuse_waiting(self, failure: SystemFailed) -> None:
        """Let the commands fail that nobody has taken."""
        for command in self.io_get_queue.drain():
            if command in self._wanted:
                self._wanted.remove(command)
            self._acknowledge(command, FAILED)
            _settle(command, failure)

    def _end_all(self, failure: SystemFailed) -> None:
        for command in self._wanted:
            if command.timer is not None:
                command.timer.cancel()
            _settle(command, failure)
        self._wanted.clear()


def _settle(command: Command, failure: SystemFailed | None) -> None:
    ending = command.ending
    if ending is None or ending.done():
        return
    if failure is None:
        ending.set_result(None)
    else:
        ending.set_exception(failure)
        ending.exception()  # who put may have gone


def _text_of(error: BaseException) -> str:
    try:
        text = str(error)
    except Exception:  # it is the system's own
        text = ""
    return f"{type(error).__name__}: {text}" if text else type(error).__name__


class Blocking:
    """A system made of blocking functions, such as those of a vendor's SDK.

    Its thread is the only one that calls them. What takes longer than the server's `timeout` is told: the PVs are in
    alarm and puts fail, until the function returns.

    Args:
        writes: by PV name, what a put calls with the value; what it returns is the new value, if it isn't None.
        reads: by PV name, what gives the value.
        every: seconds between two rounds of reading.
    """

    io_get_queue: queue.Queue[Command]
    io_put_queue: queue.Queue[Any]

    def __init__(
        self,
        *,
        writes: Mapping[str, Callable[[Any], Any]] | None = None,
        reads: Mapping[str, Callable[[], Any]] | None = None,
        every: float = 1.0,
    ) -> None:
        self.io_writes = writes or {}
        self.io_reads = reads or {}
        self.io_period = every

    def io_execute(self, pv_name: str, value: Any) -> None:
        """Call the function of a PV. Raises LookupError if it has none, and what the function raises."""
        if pv_name not in self.io_writes:
            raise LookupError("there is nothing behind it to write to")
        result = self.io_writes[pv_name](value)
        if result is not None:
            self.io_put_queue.put({pv_name: result})

    def io_poll(self) -> None:
        """Read what can be read; what fails is an alarm of its PV alone."""
        for name, read in self.io_reads.items():
            try:
                value = read()
            except Exception as error:
                value = error
            self.io_put_queue.put({name: value})
