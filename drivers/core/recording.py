"""Recordings: what went over a wire, in a file of JSON lines; docs/trace.md describes the format.

A thread writes, at most once a second, so that the event loop never waits for a disk. A process that is killed loses
what came in its last second.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import json
import logging
import os
import threading
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from io import FileIO
from pathlib import Path
from typing import Any

from .line_settings import line_settings
from .links import parse
from .port import Port
from .wire import RECEIVED, SENT, Chunk

log = logging.getLogger(__name__)

FORMAT = "labioc recording"
VERSION = 1
MISSED = "missed"

FLUSH_PERIOD = 1.0
MAX_WAITING = 1 << 24  # bytes; what comes while the disk hangs
RESERVE, RESERVE_SHARE = 100_000_000, 0.05  # bytes, or a share of a small disk: other programs need some too
LAST_FLUSH = 5.0  # a disk that hangs must not keep the process from ending


def encode(chunk: Chunk, **more: str) -> str:
    """Return a chunk as the text of a line, without its end; bytes are characters with the same number."""
    text = chunk.data.decode("latin-1" if chunk.kind in (SENT, RECEIVED) else "utf-8")
    line = {**more, "time": round(chunk.time, 6), "clock": round(chunk.clock, 6)}
    return json.dumps(line | {"kind": chunk.kind, "data": text})


def decode(line: Mapping[str, Any]) -> Chunk:
    """Return the chunk that a line says, once json has read it. Raises LookupError, TypeError or ValueError."""
    kind, text = line["kind"], line["data"]
    data = text.encode("latin-1" if kind in (SENT, RECEIVED) else "utf-8")
    return Chunk(float(line["time"]), float(line["clock"]), kind, data)


@dataclass(frozen=True)
class Session:
    """One run of a recorder.

    Attributes:
        header: the instrument, its name and URL, the time of the start, and the protocol's terminators if it has any.
        chunks: what went over the wire, in its order.
    """

    header: Mapping[str, Any]
    chunks: list[Chunk] = field(default_factory=list)


def read_recording(path: str | os.PathLike[str]) -> list[Session]:
    """Return the sessions in a file, the oldest first.

    A line that can't be read, such as the last one of a process that was killed, is left out with a warning.
    Raises ValueError if the file is no recording, or one of a later version; OSError if it can't be read.
    """
    sessions: list[Session] = []
    with open(path, "rb") as file:
        for number, raw in enumerate(file, 1):
            try:
                line = json.loads(raw)
                if "format" in line:
                    sessions.append(Session(_checked(line, path)))
                elif sessions:
                    sessions[-1].chunks.append(decode(line))
            except _Foreign:
                raise
            except (ValueError, LookupError, TypeError, AttributeError):
                if sessions:
                    log.warning("%s: line %d can't be read; it is left out", path, number)
            if not sessions:
                break
    if not sessions:
        raise _Foreign(f"{path} is no {FORMAT}")
    return sessions


class _Foreign(ValueError):
    """The file is no recording, or not one that this version reads."""


def _checked(header: Mapping[str, Any], path: str | os.PathLike[str]) -> Mapping[str, Any]:
    if header["format"] != FORMAT or not isinstance(header.get("version"), int):
        raise _Foreign(f"{path} is no {FORMAT}")
    if header["version"] > VERSION:
        raise _Foreign(f"{path} has version {header['version']}; this labioc reads {VERSION}")
    return header


@contextlib.contextmanager
def record(port: Port, path: str | os.PathLike[str], *, instrument: str = "") -> Iterator[None]:
    """Record what goes over a port's wire, for ``with``. Begin before the port starts, to have its connection too.

    A file that is a recording already gets a further session. Writing ends, with one line in the log, when the disk
    fails or is nearly full; the port does not notice.

    Args:
        port: of a driver: ``driver.port``.
        path: the file.
        instrument: what kind of instrument it is.

    Raises OSError, with the path, if the file can't be written, is something else, or is being recorded to.
    """
    try:
        file = _opened(Path(path), _header(port, instrument))
    except OSError as error:
        raise OSError(error.errno, f"can't record to {path}: {error.strerror or error}") from error
    writer = _Writer(file, str(path))
    writer.start()
    port.wire.listeners.append(writer.add)
    try:
        yield
    finally:
        port.wire.listeners.remove(writer.add)
        writer.end()


def _opened(path: Path, header: Mapping[str, Any]) -> FileIO:
    file = open(path, "a+b", buffering=0)  # noqa: SIM115 - it is returned
    try:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise OSError(error.errno, "another process records to it") from None
        file.seek(0)
        first = file.readline(1 << 16)
        if first:
            try:
                _checked(json.loads(first), path)
            except (ValueError, LookupError, TypeError, AttributeError):
                raise OSError(errno.EEXIST, "it is another file, and stays as it is") from None
            file.seek(-1, os.SEEK_END)
            if file.read(1) != b"\n":
                file.write(b"\n")  # behind the line that a killed process has left
        file.write(json.dumps(header).encode() + b"\n")
    except BaseException:
        file.close()
        raise
    return file


def _header(port: Port, instrument: str) -> dict[str, Any]:
    protocol = port.protocol
    header: dict[str, Any] = {"format": FORMAT, "version": VERSION, "instrument": instrument}
    header |= {"name": port.name, "url": port.url, "started": round(time.time(), 6)}
    # binary frames have no terminator, and nothing to join them with
    eol = getattr(protocol, "eol", None)
    if eol is not None:
        ends = [eol] if isinstance(eol, str) else list(eol)
        send_eol = getattr(protocol, "send_eol", None)
        header |= {"eol": ends, "send_eol": ends[0] if send_eol is None else send_eol}
        if protocol.join is not None and getattr(protocol, "checksum", None) is None:
            header["join"] = protocol.join
    if (
        port.line.scheme in ("tcp", "serial", "rfc2217")
        and line_settings(parse(port.url, protocol.serial)).echo
    ):
        header["echo"] = True
    return header


class _Writer(threading.Thread):
    """Takes chunks on the event loop and writes them from a thread of its own."""

    def __init__(self, file: FileIO, path: str) -> None:
        super().__init__(name=f"recording {path}", daemon=True)
        self._file = file
        self._path = path
        self._lock = threading.Lock()
        self._waiting: list[Chunk] = []
        self._size = 0
        self._missed = 0
        self._failed = False
        self._origin = time.monotonic()
        self._ended = threading.Event()

    def add(self, chunk: Chunk) -> None:
        """Take one chunk; it counts what there is no room for."""
        with self._lock:
            if self._failed:
                return
            if self._size > MAX_WAITING:
                self._missed += 1
                return
            self._waiting.append(chunk)
            self._size += len(chunk.data) + 100

    def end(self) -> None:
        """Write the rest, and stop."""
        self._ended.set()
        self.join(LAST_FLUSH)

    def run(self) -> None:
        """Write once a second until the end."""
        with self._file:
            while not self._ended.wait(FLUSH_PERIOD):
                self._flush()
            self._flush()

    def _flush(self) -> None:
        with self._lock:
            chunks, self._waiting = self._waiting, []
            missed, self._missed, self._size = self._missed, 0, 0
        if missed:
            last = chunks[-1]
            chunks.append(Chunk(last.time, last.clock, MISSED, str(missed).encode()))
        if not chunks:
            return
        lines = [encode(chunk._replace(clock=chunk.clock - self._origin)) for chunk in chunks]
        left = memoryview(("\n".join(lines) + "\n").encode())
        try:
            self._look_at_the_disk()
            while left:
                left = left[self._file.write(left) :]
        except OSError as error:
            with self._lock:
                self._failed = True
            self._ended.set()
            log.error("the recording to %s ends here: %s", self._path, error.strerror)

    def _look_at_the_disk(self) -> None:
        disk = os.fstatvfs(self._file.fileno())
        if disk.f_bavail < min(RESERVE / disk.f_frsize, RESERVE_SHARE * disk.f_blocks):
            raise OSError(errno.ENOSPC, "the disk is nearly full")
