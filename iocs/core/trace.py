"""``labioc trace``: a live view of what goes over the wire of a running IOC."""

from __future__ import annotations

import argparse
import json
import socket
import sys
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from labioc.drivers.core.wire import OPENED, RECEIVED, SENT

from .command import Failure
from .control import sockets, sweep

PATIENCE = 2.0  # an IOC that hangs must not keep the list of the others back


class Seen(NamedTuple):
    """A running instrument."""

    path: Path
    pid: int
    name: str
    state: str
    url: str


def add_trace(commands: argparse._SubParsersAction[Any]) -> None:
    """Add the command to the command line."""
    trace = commands.add_parser(
        "trace", help="show what goes over the wire of a running IOC", allow_abbrev=False
    )
    trace.set_defaults(command=_trace)
    trace.add_argument(
        "name", nargs="?", help="the instrument, or the number of the IOC's process (default: the only one)"
    )
    trace.add_argument("--hex", action="store_true", help="show the bytes as numbers")


def seen() -> Iterator[Seen]:
    """Go through the instruments of this user's running IOCs; what does not answer is left out."""
    sweep()
    for path, pid in sockets():
        try:
            with _connected(path) as sock, sock.makefile("r", encoding="utf-8") as said:
                sock.sendall(b"instruments\n")
                while (line := said.readline().rstrip("\n")) not in ("", "ok"):
                    name, state, url = line.split("\t")
                    yield Seen(path, pid, name, state, url)
        except (OSError, ValueError):
            continue


def _connected(path: Path) -> socket.socket:
    sock = socket.socket(socket.AF_UNIX)
    sock.settimeout(PATIENCE)
    try:
        sock.connect(str(path))
    except OSError:
        sock.close()
        raise
    return sock


def _trace(args: argparse.Namespace) -> None:
    running = list(seen())
    if not running:
        raise Failure("no IOC of this user is running")
    chosen = [one for one in running if args.name in (None, one.name, str(one.pid))]
    if len({one.path for one in chosen}) != 1:
        for one in running:
            print(f"{one.name}  {one.state}  {one.url}  process {one.pid}")
        unclear = "several IOCs are" if chosen else f"no {args.name} is"
        raise Failure(f"{unclear} running; say which, by the name or the number of the process")
    for one in chosen:
        print(f"labioc: {one.name} at {one.url} is {one.state}", file=sys.stderr)
    view = View(as_hex=args.hex, named=len(chosen) > 1)
    only = f" {args.name}" if args.name == chosen[0].name else ""
    with _connected(chosen[0].path) as sock, sock.makefile("r", encoding="utf-8") as said:
        sock.settimeout(None)
        sock.sendall(f"trace{only}\n".encode())
        for line in said:
            if line.startswith("{"):
                print(view.line(json.loads(line)), flush=True)
            elif line.strip() != "ok":
                print(line.rstrip(), flush=True)
    print("labioc: the IOC has ended", file=sys.stderr)


class View:
    """Makes lines to read out of what a control socket says.

    Args:
        as_hex: whether bytes are shown as numbers.
        named: whether each line begins with the instrument's name.
    """

    def __init__(self, *, as_hex: bool, named: bool) -> None:
        self._as_hex = as_hex
        self._named = named
        self._sent: dict[str, float] = {}

    def line(self, chunk: Mapping[str, Any]) -> str:
        """Return one line: the time of day, the direction, the time since the request, and the bytes."""
        name, kind, text = chunk["name"], chunk["kind"], chunk["data"]
        if kind == OPENED:
            self._sent.pop(name, None)
        took = ""
        if kind == RECEIVED and name in self._sent:
            took = f"{(chunk['clock'] - self._sent[name]) * 1e3:.1f} ms"
        if kind == SENT:
            self._sent[name] = chunk["clock"]
        if kind in (SENT, RECEIVED):
            data = text.encode("latin-1")
            text = data.hex(" ") if self._as_hex else text.encode("unicode_escape").decode()
        stamp = time.strftime("%H:%M:%S", time.localtime(chunk["time"]))
        parts = [f"{stamp}.{int(chunk['time'] * 1000) % 1000:03d}", *([name] if self._named else [])]
        return "  ".join([*parts, f"{kind:<6}", f"{took:>9}", text]).rstrip()
