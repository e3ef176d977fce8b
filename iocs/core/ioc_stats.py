"""Statistics of the process and its server, under the names, types and units of iocStats; and tracing of its memory."""

from __future__ import annotations

import asyncio
import math
import os
import platform
import resource
import socket
import sys
import time
import tracemalloc
from collections.abc import Callable, Mapping
from importlib import metadata
from typing import Any, Protocol

from labioc.devices.core._caproto import ChannelData
from labioc.devices.core.pv import PV
from labioc.devices.core.records import AlarmSeverity
from labioc.devices.core.soft import soft

from ._ioc_group import IocGroup
from ._statistics import Statistics
from ._threads import in_thread

TIME_OF_DAY = "%m/%d/%Y %H:%M:%S"
UNKNOWN = "<not available>"
STRING_BYTES = 39
PATH_BYTES = 160
TEXT_BYTES = 120
TRACE_BYTES = 20_000
TRACE_LINES = 20
_HIGH: dict[str, Any] = {"hhsv": AlarmSeverity.MAJOR_ALARM, "hsv": AlarmSeverity.MINOR_ALARM}
_LOW: dict[str, Any] = {"llsv": AlarmSeverity.MAJOR_ALARM, "lsv": AlarmSeverity.MINOR_ALARM}
_LOAD: dict[str, Any] = {"egu": "%", "prec": 1, "hopr": 100.0, "high": 70.0, "hihi": 80.0, **_HIGH}


class NoPsutil(ImportError):
    """Raised where the package psutil isn't installed."""


class HasStatistics(Protocol):
    """A Channel Access server that counts."""

    @property
    def statistics(self) -> Statistics:
        """What it has counted."""


def _period(name: str, desc: str, seconds: float) -> Any:
    return soft("ao", name, desc, egu="sec", drvh=60.0, drvl=1.0, hopr=60.0, value=seconds)


class IocStats(IocGroup):
    """The PVs of iocStats that mean something here, and a switch to trace memory.

    As a SubGroup of an IOC it is refreshed from the start of the server on.

    Args:
        prefix: what stands before the names of its PVs.
        pvs: the PVs of the IOC; without it, those of the outermost group.

    Attributes:
        server: whose clients and channels are counted; labioc sets it.

    Raises NoPsutil if psutil isn't installed.
    """

    heartbeat = soft("ai", "HEARTBEAT", "1 Hz counter since startup")
    time_of_day = soft("stringin", "TOD", "Current time and date")
    start_time = soft("stringin", "STARTTOD", "Time and date of startup")
    uptime = soft("stringin", "UPTIME", "Elapsed time since start")
    starts = soft("ai", "START_CNT", "Increments at startup, with autosave")

    clients = soft("ai", "CA_CLNT_CNT", "Number of CA clients", hopr=200.0, high=100.0, hihi=175.0, **_HIGH)
    channels = soft(
        "ai", "CA_CONN_CNT", "Number of CA connections", hopr=5000.0, high=4000.0, hihi=4500.0, **_HIGH
    )
    records = soft("ai", "RECORD_CNT", "Number of records")
    fd_max = soft("ai", "FD_MAX", "Max file descriptors")
    fd_count = soft("ai", "FD_CNT", "Allocated file descriptors")
    fd_free = soft("ai", "FD_FREE", "Available FDs", hopr=150.0, low=20.0, lolo=5.0, **_LOW)
    system_load = soft("ai", "SYS_CPU_LOAD", "System CPU load", **_LOAD)
    ioc_load = soft("ai", "IOC_CPU_LOAD", "IOC CPU load, of all CPUs", **_LOAD)
    load = soft("ai", "LOAD", "IOC CPU load, of all CPUs", **_LOAD)
    cpus = soft("ai", "CPU_CNT", "Number of CPUs")
    memory_used = soft("ai", "MEM_USED", "Memory of the process", egu="byte")
    memory_free = soft("ai", "MEM_FREE", "Available memory of the computer", egu="byte")
    memory_max = soft("ai", "MEM_MAX", "Memory of the computer", egu="byte")
    ca_period = _period("CA_UPD_TIME", "CA check update period", 15.0)
    fd_period = _period("FD_UPD_TIME", "FD check update period", 20.0)
    load_period = _period("LOAD_UPD_TIME", "CPU check update period", 10.0)
    memory_period = _period("MEM_UPD_TIME", "Memory check update period", 10.0)

    process = soft("ai", "PROCESS_ID", "Process ID")
    parent_process = soft("ai", "PARENT_ID", "Parent process ID")
    host = soft("stringin", "HOSTNAME", "Host name")
    kernel = soft("stringin", "KERNEL_VERS", "Kernel version")
    version = soft("stringin", "EPICS_VERS", "Version of labioc")
    version_text = soft(
        "waveform", "EPICS_VERSION", "Version of labioc and what is below", length=TEXT_BYTES, chars=True
    )
    engineer = soft("stringin", "ENGINEER", "Engineer")
    location = soft("stringin", "LOCATION", "Location")
    folder_1 = soft("stringin", "APP_DIR1", "Folder of the process, first part")
    folder_2 = soft("stringin", "APP_DIR2", "Folder of the process, second part")
    folder = soft("waveform", "APP_DIR", "Folder of the process", length=PATH_BYTES, chars=True)
    command_1 = soft("stringin", "ST_SCRIPT1", "Command line, first part")
    command_2 = soft("stringin", "ST_SCRIPT2", "Command line, second part")
    command = soft("waveform", "ST_SCRIPT", "Command line", length=TEXT_BYTES, chars=True)

    trace = soft(
        "bo",
        "MEM_TRACE",
        "Trace memory: makes the IOC slower",
        states=("Off", "On"),
        severities=(AlarmSeverity.NO_ALARM, AlarmSeverity.MINOR_ALARM),
    )
    trace_top = soft("waveform", "MEM_TRACE_TOP", "What holds most memory", length=TRACE_BYTES, chars=True)

    def __init__(self, prefix: str, *, pvs: Mapping[str, ChannelData] | None = None, **rest: Any) -> None:
        try:
            import psutil
        except ImportError:
            raise NoPsutil("the statistics need psutil: pip install 'labioc[stats]'") from None
        super().__init__(prefix, pvs=pvs, **rest)
        self.server: HasStatistics | None = None
        self._system = psutil
        self._own = psutil.Process()
        self._since = time.time()
        self._tracing: asyncio.Future[str] | None = None
        self.heartbeat.server_startup = self._serve
        self.starts.restorer = lambda value: self.starts.post(value + 1, time.time())
        self.trace.restorer = None  # nobody wants it on after a restart
        self._post_what_stays()
        self._parts: dict[PV, Callable[[], None]] = {
            self.ca_period: self._count_clients,
            self.fd_period: self._count_files,
            self.load_period: self._measure_load,
            self.memory_period: self._measure_memory,
        }

    def _post_what_stays(self) -> None:
        environment = os.environ.get
        engineer = environment("ENGINEER") or environment("LOGNAME") or environment("USER") or UNKNOWN
        version = f"labioc {metadata.version('labioc')}"
        folder, command = os.getcwd(), " ".join(sys.argv)
        below = f"caproto {metadata.version('caproto')}, Python {platform.python_version()}"
        for pv, value in (
            (self.heartbeat, 0),
            (self.start_time, time.strftime(TIME_OF_DAY)),
            (self.starts, 1),
            (self.cpus, self._system.cpu_count() or 1),
            (self.fd_max, resource.getrlimit(resource.RLIMIT_NOFILE)[0]),
            (self.process, os.getpid()),
            (self.parent_process, os.getppid()),
            (self.host, socket.gethostname()),
            (self.kernel, f"{platform.system()} {platform.release()}"),
            (self.version, version),
            (self.version_text, f"{version}, {below}"[:TEXT_BYTES]),
            (self.engineer, engineer),
            (self.location, environment("LOCATION", UNKNOWN)),
            (self.folder_1, folder[:STRING_BYTES]),
            (self.folder_2, folder[STRING_BYTES:]),
            (self.folder, folder[-PATH_BYTES:]),
            (self.command_1, command[:STRING_BYTES]),
            (self.command_2, command[STRING_BYTES:]),
            (self.command, command[:TEXT_BYTES]),
            (self.trace, tracemalloc.is_tracing()),
            (self.trace_top, ""),
        ):
            pv.post(value, time.time())

    async def run(self) -> None:
        """Refresh the PVs, once a second or as their periods say, until cancelled."""
        clock = asyncio.get_running_loop().time
        next_beat = clock()
        last = dict.fromkeys(self._parts, -math.inf)
        # a load is one over a time: the first is measured at the second beat
        self._own.cpu_percent()
        self._system.cpu_percent()
        last[self.load_period] = next_beat + 1.0 - self.load_period.value
        while True:
            self._beat()
            for pv, refresh in self._parts.items():
                # to the nearest beat
                if next_beat - last[pv] > pv.value - 0.5:
                    last[pv] = next_beat
                    refresh()
            next_beat = max(next_beat + 1.0, clock())
            await asyncio.sleep(next_beat - clock())

    def _beat(self) -> None:
        now = time.time()
        beat = self.heartbeat.value
        self.heartbeat.post(beat + 1 if beat < 2**31 - 1 else 1, now)
        self.time_of_day.post(time.strftime(TIME_OF_DAY), now)
        days, seconds = divmod(int(now - self._since), 86400)
        text = f"{days} day{'s' * (days > 1)}, " if days else ""
        self.uptime.post(f"{text}{seconds // 3600:02}:{seconds // 60 % 60:02}:{seconds % 60:02}", now)

    def _count_clients(self) -> None:
        now = time.time()
        if self.server is not None:
            statistics = self.server.statistics
            self.clients.post(statistics.clients, now)
            self.channels.post(statistics.channels, now)
        self.records.post(len(self.pvs), now)

    def _count_files(self) -> None:
        count = self._own.num_fds()
        self.fd_count.post(count, time.time())
        self.fd_free.post(self.fd_max.value - count, time.time())

    def _measure_load(self) -> None:
        own = self._own.cpu_percent() / self.cpus.value
        for pv, value in (
            (self.ioc_load, own),
            (self.load, own),
            (self.system_load, self._system.cpu_percent()),
        ):
            pv.post(value, time.time())

    def _measure_memory(self) -> None:
        memory = self._system.virtual_memory()
        for pv, value in (
            (self.memory_used, self._own.memory_info().rss),
            (self.memory_free, memory.available),
            (self.memory_max, memory.total),
        ):
            pv.post(value, time.time())
        if self.trace.value:
            self._trace_now()

    def _trace_now(self) -> None:
        if self._tracing is None or self._tracing.done():
            self._tracing = in_thread(_top_allocations)
            self._tracing.add_done_callback(self._show_top)

    # Memory

    @trace.putter
    async def _switch_trace(self, instance: PV, on: int) -> None:
        if not on:
            tracemalloc.stop()
            self.trace_top.post("", time.time())
        elif not tracemalloc.is_tracing():
            tracemalloc.start()
            self._trace_now()

    def _show_top(self, done: asyncio.Future[str]) -> None:
        error = done.exception()
        if tracemalloc.is_tracing():
            self.trace_top.post(done.result() if error is None else str(error), time.time())

    async def _serve(self, layer: object) -> None:
        """caproto's hook at the start of its server."""
        await self.run()


def _top_allocations() -> str:
    """What holds most memory now, a line each. Raises RuntimeError if tracing has ended meanwhile."""
    held, _ = tracemalloc.get_traced_memory()
    lines = [f"{held / 1024:.0f} KiB traced"]
    for statistic in tracemalloc.take_snapshot().statistics("lineno")[:TRACE_LINES]:
        where = statistic.traceback[0]
        size = f"{statistic.size / 1024:.1f} KiB in {statistic.count} blocks"
        lines.append(f"{where.filename}:{where.lineno}: {size}")
    return "\n".join(lines)[:TRACE_BYTES]
