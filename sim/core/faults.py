"""What can go wrong on a wire, to be switched on while a simulator runs."""

import math
import random
from collections import deque
from typing import Protocol

_ON_OFF = {"on": True, "off": False, "": True}


class Droppable(Protocol):
    """A connection that can be cut."""

    def drop(self) -> None:
        """Cut the connection at once."""


class Faults:
    """The faults of one simulator; every attribute may be changed at any time.

    The order on a connection is always kept: what follows a late reply waits behind it,
    as behind a busy instrument.
    """

    def __init__(self, *, seed: int = 0) -> None:
        """Start without any fault. `seed` fixes the garbage."""
        self.mute = False
        """The instrument hangs: what it gets is neither executed nor answered, the line stays open."""
        self.garbage = False
        """Replies are replaced by arbitrary bytes, some above 0x7F, of the same length; the terminator stays."""
        self.delay = 0.0
        """Real seconds that the instrument takes over each reply."""
        self.connections: set[Droppable] = set()
        """The connections that `disconnect()` cuts; the servers keep it up to date."""
        self._late: deque[float] = deque()
        self._random = random.Random(seed)

    @classmethod
    def parse(cls, text: str) -> "Faults":
        """Make faults from a comma-separated text such as "delay=0.02,garbage".

        Raises ValueError for a fault that doesn't exist or a value that doesn't fit it.
        """
        faults = cls()
        for item in filter(None, (item.strip() for item in text.split(","))):
            faults.switch(item)
        return faults

    def switch(self, text: str) -> None:
        """Switch one fault by text: "mute", "mute=off", "garbage", "delay=0.02".

        Raises ValueError for a fault that doesn't exist or a value that doesn't fit it.
        """
        name, _, value = (part.strip() for part in text.partition("="))
        if name == "delay":
            self.delay = _seconds(text, value)
        elif name in ("mute", "garbage"):
            if value not in _ON_OFF:
                raise ValueError(f"{text!r}: {name} is on or off")
            setattr(self, name, _ON_OFF[value])
        else:
            raise ValueError(f"{text!r}: no such fault; there are mute, garbage and delay=<seconds>")

    def delay_next(self, seconds: float, count: int = 1) -> None:
        """Hold back the next `count` replies by `seconds` of real time each."""
        self._late.extend([seconds] * count)

    def disconnect(self) -> None:
        """Cut every present TCP connection; clients may connect again at once.

        A pseudo-terminal has no connection: nothing happens there.
        """
        for connection in list(self.connections):
            connection.drop()

    def next_delay(self) -> float:
        """Return how many seconds the reply that is about to be sent takes, and count it."""
        return self.delay + (self._late.popleft() if self._late else 0.0)

    def spoil(self, reply: bytes, terminator: bytes) -> bytes:
        """Return a reply as the present faults let it through."""
        if not self.garbage:
            return reply
        length = len(reply.removesuffix(terminator))
        harmless = [byte for byte in range(256) if byte not in terminator]
        body = bytearray(self._random.choices(harmless, k=length))
        if body:
            # one byte at least is never ASCII, else a short reply could happen to make sense
            body[self._random.randrange(length)] = self._random.randrange(0x80, 0x100)
        return bytes(body) + reply[length:]


def _seconds(text: str, value: str) -> float:
    try:
        seconds = float(value)
    except ValueError:
        seconds = math.nan
    if not 0 <= seconds < math.inf:
        raise ValueError(f"{text!r}: the delay must be a number of seconds, as in delay=0.02")
    return seconds
