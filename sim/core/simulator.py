"""The base of every simulator: a world in simulated time, and messages that are answered."""

import asyncio
import contextlib
from collections import deque
from collections.abc import Iterator
from typing import Any, ClassVar, Self

from .clock import Clock
from .faults import RST, Fault, Faults
from .serving import serve


class Late(bytes):
    """A reply that takes its time."""

    delay: float
    """Real seconds from now."""

    def __new__(cls, reply: bytes, delay: float) -> Self:
        """Take the reply, and how late it is."""
        made = super().__new__(cls, reply)
        made.delay = delay
        return made


class Simulator:
    """An instrument that isn't there.

    A subclass says how the byte stream falls into messages (`split`), what it answers
    (`handle`) and how its world changes (`advance`). One object is one instrument:
    several clients see the same state.
    """

    terminator_out: bytes = b""
    """What ends a reply; a faulty reply keeps it."""
    max_clients: int | None = None
    """How many TCP clients may be connected at the same time; a further one is closed at once."""
    serial_line: dict[str, int | str] = {}
    """The line settings of the serial interface, in the URL's words: baudrate, bytesize, parity, stopbits."""
    step: ClassVar[float] = 0.05
    """Simulated seconds per step of the world."""
    longest_gap: ClassVar[float] = 3600.0
    """Simulated seconds that are caught up at most: a longer time without a message counts as this."""

    _made_with: tuple[tuple[Any, ...], dict[str, Any]]

    def __new__(cls, *args: Any, **kwargs: Any) -> Self:
        """Remember how it was made, for `power_cycle()`."""
        made = super().__new__(cls)
        made._made_with = args, kwargs
        return made

    def __init__(self, *, clock: Clock | None = None, faults: Faults | None = None) -> None:
        """Make an instrument that lives by `clock` (real time if not given)."""
        self.clock = clock or Clock()
        self.faults = faults or Faults()
        for kind, hook, what in _HOOKS:
            if getattr(type(self), hook) is getattr(Simulator, hook):
                self.faults.exclude(kind, f"{type(self).__name__} has no {what}")
        self.log: deque[str] = deque(maxlen=10_000)
        """The latest commands that were received, oldest first."""
        self._simulated = self.clock.now()

    def serve(self, url: str) -> contextlib.AbstractAsyncContextManager[str]:
        """Serve at "tcp://127.0.0.1:0" or "pty:"; `async with` yields the URL for a client.

        Raises ValueError for another kind of URL, OSError if the port can't be had.
        """
        return serve(self, url)

    def receive(self, message: bytes) -> bytes | None:
        """Let the world catch up with the clock, then handle one message."""
        self.catch_up()
        return self.handle(message)

    def catch_up(self) -> None:
        """Advance the world to the clock's present time, in whole steps."""
        now = self.clock.now()
        steps = int((now - self._simulated) / self.step + 1e-6)
        if steps <= 0:
            return
        self._simulated += steps * self.step
        for _ in range(min(steps, int(self.longest_gap / self.step))):
            self.advance(self.step)

    def split(self, buffer: bytearray) -> Iterator[bytes]:
        """Yield the complete messages at the start of the buffer and take them out of it.

        What stays in the buffer must be bounded.
        """
        raise NotImplementedError

    def handle(self, message: bytes) -> bytes | None:
        """Execute a message; return the reply with its terminator, or None for silence; `Late`, if it takes time."""
        raise NotImplementedError

    def say(self, data: bytes) -> None:
        """Send to every client what nobody asked for, terminator included."""
        for connection in list(self.faults.connections):
            connection.say(data)

    def advance(self, dt: float) -> None:
        """Let `dt` simulated seconds pass in the world; a world that doesn't change needs none."""

    # what the faults need to know of the protocol

    def power_cycle(self) -> None:
        """Lose what it loses without power: everything, unless a subclass says what stays."""
        args, kwargs = self._made_with
        clock, faults, log = self.clock, self.faults, self.log
        type(self).__init__(self, *args, **kwargs)
        self.clock, self.faults, self.log = clock, faults, log
        self._simulated = clock.now()

    def restart(self, off: float = 0.0) -> None:
        """Switch off and on: connections break, state is lost; for `off` real seconds nothing answers."""
        self.faults.disconnect(RST)
        self.power_cycle()
        if off:
            gone = Fault("mute"), Fault("refuse-connections")
            self.faults.add(*gone)
            asyncio.get_running_loop().call_later(off, self.faults.remove, *gone)

    def refusal(self, message: bytes) -> bytes | None:
        """Return what the instrument says to a message that it refuses, or None for silence."""
        raise NotImplementedError

    def wrong_address(self, reply: bytes) -> bytes:
        """Return the reply as if another address had answered."""
        raise NotImplementedError

    def wrong_checksum(self, reply: bytes) -> bytes:
        """Return the reply with a checksum that doesn't fit."""
        raise NotImplementedError


_HOOKS = (
    ("refuse", "refusal", "refusal of its own; give the text, as in refuse=ERR"),
    ("wrong-address", "wrong_address", "address in its replies"),
    ("wrong-checksum", "wrong_checksum", "checksum in its replies"),
)
