"""The two queues between a sequence server and the thread of its system."""

from __future__ import annotations

import asyncio
import contextlib
import copy
import queue
import threading
from collections.abc import Callable, Iterator, Mapping
from typing import Any, Generic, Protocol, TypeVar

import numpy as np

from labioc.devices.core._caproto import ChannelData

T = TypeVar("T")


class ServerStopped(RuntimeError):
    """Raised in system code that uses a queue of a server that has stopped."""


class _Queue(queue.Queue[T], Generic[T]):
    """Ends with the server: whoever waits in it then, or comes later, gets ServerStopped."""

    _is_closed = False

    def close(self) -> None:
        with self.mutex:
            self._is_closed = True
            self.not_empty.notify_all()
            self.not_full.notify_all()

    def drain(self) -> list[T]:
        """Take all that waits."""
        with self.mutex:
            items = list(self.queue)
            self.queue.clear()
            self.not_full.notify_all()
        return items

    # queue.Queue's own hooks; a closed one is neither empty nor full, so that nobody waits in it

    def _qsize(self) -> int:
        return 1 if self._is_closed else super()._qsize()

    def _get(self) -> T:
        if self._is_closed:
            raise ServerStopped("the server has stopped")
        return super()._get()

    def _put(self, item: T) -> None:
        if self._is_closed:
            raise ServerStopped("the server has stopped")
        super()._put(item)


class Server(Protocol):
    """What the thread says of a command comes to it, on the event loop."""

    io_put_queue: Updates

    def took(self, command: Command) -> None:
        """The system has a command now."""

    def ended(self, command: Command, error: BaseException | None) -> None:
        """The system has done a command, or failed."""


class Command:
    """What a client has put; it unpacks to the PV's name and the value.

    Whoever takes it from `io_get_queue` may say how it ended by `done`. If nobody does, it is done when the next one is
    asked for.
    """

    def __init__(self, server: Server, pv_name: str, value: Any) -> None:
        self.pv_name = pv_name
        self.value = value
        self._tell = server.io_put_queue.put
        # what follows is the event loop's
        self.ending: asyncio.Future[None] | None = None
        self.timer: asyncio.TimerHandle | None = None
        self.updated: set[ChannelData | None] = set()

    def __iter__(self) -> Iterator[Any]:
        return iter((self.pv_name, self.value))

    def __repr__(self) -> str:
        return f"Command({self.pv_name!r}, {self.value!r})"

    def taken(self) -> None:
        """Tell that the system has it."""
        self._tell(lambda server: server.took(self))

    def done(self, error: BaseException | None = None) -> None:
        """Tell that it is done, or how it failed."""
        self._tell(lambda server: server.ended(self, error))


class Commands(_Queue[Command]):
    """Commands on their way to the system."""

    _last: Command | None = None

    def get(self, block: bool = True, timeout: float | None = None) -> Command:
        """Take the next one; the one before is done, if nobody has said so. Raises queue.Empty, ServerStopped."""
        self.end_last()
        self._last = self.take(block, timeout)
        return self._last

    def take(self, block: bool = True, timeout: float | None = None) -> Command:
        """Take the next one, and leave those before as they are."""
        command = super().get(block, timeout)
        command.taken()
        return command

    def end_last(self) -> None:
        last, self._last = self._last, None
        if last is not None:
            last.done()


Note = Callable[[Any], None]
"""What the thread says of itself, among its updates."""


class Updates(_Queue["Mapping[str, Any] | Note"]):
    """New values on their way to the PVs."""

    on_put: Callable[[], object] = staticmethod(lambda: None)
    is_told = False
    """Whether the server knows that there is something; it takes all then."""
    server_thread: int | None = None
    """The thread that takes them, which must not wait for itself."""

    def put(self, item: Mapping[str, Any] | Note, block: bool = True, timeout: float | None = None) -> None:
        """Give new values, by PV name; an exception as a value is an alarm.

        The values are those of this moment; who gives them may go on with the mapping and its lists and arrays.

        Raises TypeError for what is no mapping, queue.Full and ServerStopped.
        """
        if isinstance(item, Mapping):
            item = {
                name: copy.copy(value) if isinstance(value, (list, np.ndarray)) else value
                for name, value in item.items()
            }
        elif not callable(item):
            raise TypeError(f"expected new values by PV name, got {item!r}")
        super().put(item, block and threading.get_ident() != self.server_thread, timeout)
        if not self.is_told:
            self.is_told = True
            with contextlib.suppress(RuntimeError):  # the event loop has ended in this moment
                self.on_put()
