"""What the commands of the command line have in common."""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import signal
from collections.abc import Iterator

LOOPBACK = "127.0.0.1"


class Failure(Exception):
    """Something to tell the user in one line; the process ends with status 2."""


@contextlib.contextmanager
def stop_signals() -> Iterator[asyncio.Event]:
    """An event that SIGINT and SIGTERM set."""
    loop = asyncio.get_running_loop()
    stop = asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, stop.set)
    try:
        yield stop
    finally:
        for number in (signal.SIGINT, signal.SIGTERM):
            loop.remove_signal_handler(number)


def add_verbosity(parser: argparse.ArgumentParser) -> None:
    """Add the options -v and -q."""
    parser.add_argument(
        "-v", "--verbose", action="count", default=0, help="log more; twice: every byte on the wire"
    )
    parser.add_argument("-q", "--quiet", action="store_true", help="log errors only")


def add_fault(parser: argparse.ArgumentParser) -> None:
    """Add the option --fault."""
    parser.add_argument(
        "--fault",
        action="append",
        default=[],
        help="what goes wrong, such as mute or 'late=0.5 share=2%% only=KRDG?'; repeatable, see docs/faults.md",
    )


def port_number(text: str) -> int:
    """Read the number of a TCP port."""
    if not 0 <= int(text) <= 65535:
        raise argparse.ArgumentTypeError(f"{text} is no port number")
    return int(text)


def name_and_text(text: str, expected: str) -> tuple[str, str]:
    """Read NAME=TEXT. Raises Failure, which says what was expected."""
    name, equals, value = text.partition("=")
    if not equals or not name:
        raise Failure(f"expected {expected}, got {text!r}")
    return name, value
