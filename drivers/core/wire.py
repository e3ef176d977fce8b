"""The wire: what goes over one link, for whoever listens: its log, a recording, a live trace."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from typing import NamedTuple

SENT, RECEIVED = ">", "<"
OPENED, CLOSED, LOST, DOWN = "opened", "closed", "lost", "down"
"""The connection stands; was closed by this side; was lost. DOWN: the port gives the instrument up, for now."""


class Chunk(NamedTuple):
    """What went over a wire in one piece, or what became of the connection.

    Attributes:
        time: when, in seconds since 1970.
        clock: when, in seconds of a clock that is never set.
        kind: `SENT`, `RECEIVED`, or what became of the connection.
        data: the bytes; for a connection the reason, in UTF-8.
    """

    time: float
    clock: float
    kind: str
    data: bytes


class Wire:
    """Where an exchanger shows the bytes that it carries. All calls come from the event loop's thread.

    Args:
        name: the instrument's name; the bytes are logged by ``labioc.wire.<name>``, at DEBUG level.

    Attributes:
        listeners: called with each chunk. They must return at once, and must not raise.
    """

    def __init__(self, name: str) -> None:
        self.listeners: list[Callable[[Chunk], None]] = []
        self._log = logging.getLogger(f"labioc.wire.{name}")

    def sent(self, data: bytes) -> None:
        """Show what is sent, before it is."""
        if self.listeners or self._log.isEnabledFor(logging.DEBUG):
            self._show(SENT, data)

    def received(self, data: bytes) -> None:
        """Show what came, before anything is made of it."""
        if self.listeners or self._log.isEnabledFor(logging.DEBUG):
            self._show(RECEIVED, data)

    def event(self, kind: str, reason: str = "") -> None:
        """Show what became of the connection: `OPENED`, `CLOSED`, `LOST` or `DOWN`."""
        if self.listeners or self._log.isEnabledFor(logging.DEBUG):
            self._show(kind, reason.encode(errors="backslashreplace"))

    def _show(self, kind: str, data: bytes) -> None:
        if kind in (SENT, RECEIVED):
            self._log.debug("%s %r", kind, data)
        else:
            self._log.debug("%s %s", kind, data.decode())
        chunk = Chunk(time.time(), time.monotonic(), kind, data)
        for listener in tuple(self.listeners):
            listener(chunk)
