"""One client's byte stream: requests in, replies out, with the faults between them."""

import asyncio
import random
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import NamedTuple, Protocol

from .faults import COMMAND, REPLY, Faults, Hit

MAX_ECHO = 1 << 16


class Instrument(Protocol):
    """What a server needs to know of a simulator or a proxy."""

    faults: Faults
    terminator_out: bytes
    max_clients: int | None
    serial_line: dict[str, int | str]

    def split(self, buffer: bytearray) -> Iterator[bytes]:
        """Take the complete messages out of the buffer."""

    def receive(self, message: bytes) -> bytes | None:
        """Execute a message and return the reply with its terminator, or None for silence."""

    def refusal(self, message: bytes) -> bytes | None:
        """Return what the instrument says to a message that it refuses, or None for silence."""

    def wrong_address(self, reply: bytes) -> bytes:
        """Return the reply as if another address had answered."""

    def wrong_checksum(self, reply: bytes) -> bytes:
        """Return the reply with a checksum that doesn't fit."""

    def restart(self, off: float = 0.0) -> None:
        """Switch off and on again."""


@dataclass
class _Outgoing:
    """What becomes of a reply."""

    data: bytes
    delay: float = 0.0
    gap: float | None = None
    """Seconds between bytes."""
    gather: int = 1
    """With how many others it shares a segment."""
    ending: str = ""
    """How the connection ends after it."""


class _Part(NamedTuple):
    when: float
    data: bytes
    alone: bool
    ending: str


class Connection:
    """Serves one client: its requests are executed at once, its replies sent in their order, on time or late."""

    def __init__(
        self, instrument: Instrument, write: Callable[[bytes], None], end: Callable[[str], None]
    ) -> None:
        """Serve `instrument` to the client that `write` sends to; `end` hangs up with a FIN or a RST."""
        self._instrument = instrument
        self._write = write
        self._end = end
        self._buffer = bytearray()
        self._raw = bytearray()
        self._held: list[bytes] = []
        self._parts: deque[_Part] = deque()
        self._timer: asyncio.TimerHandle | None = None
        self._loop = asyncio.get_running_loop()

    def feed(self, data: bytes) -> None:
        """Take what the client sent."""
        instrument, faults = self._instrument, self._instrument.faults
        if faults.hung:
            self._buffer.clear()
            self._raw.clear()
            return
        self._buffer += data
        self._raw += data
        messages = [(message, faults.strike(COMMAND, message)) for message in instrument.split(self._buffer)]
        if any(hit.fault.kind == "echo" for _, hits in messages for hit in hits):
            self._write(bytes(self._raw))
        if messages or len(self._raw) > MAX_ECHO:
            self._raw.clear()
        for message, hits in messages:
            if not self._take(message, hits):
                return
        self.flush()

    def execute(self, message: bytes) -> None:
        """Let the instrument execute a message, and answer it."""
        reply = self._instrument.receive(message)
        if reply is not None:
            self.answer(message, reply, getattr(reply, "delay", 0.0))

    def answer(self, message: bytes, reply: bytes, delay: float = 0.0) -> None:
        """Put a reply, terminator included, in line as the faults let it through, after `delay` seconds.

        `flush()` sends what is due.
        """
        hits = self._instrument.faults.strike(REPLY, message)
        out = _Outgoing(reply, delay)
        for hit in hits:
            _spoil(out, hit, self._instrument)
        self._held.append(out.data)
        if len(self._held) < out.gather and not out.ending:
            return
        data = b"".join(self._held)
        self._held.clear()
        if out.gap is None:
            self.pass_on(data, out.delay, out.ending)
            return
        when = self._turn(out.delay)
        self._parts.extend(
            _Part(when + number * out.gap, bytes([byte]), True, "") for number, byte in enumerate(data)
        )
        self.pass_on(b"", ending=out.ending)

    def pass_on(self, data: bytes, delay: float = 0.0, ending: str = "") -> None:
        """Put bytes in line as they are."""
        self._parts.append(_Part(self._turn(delay), data, False, ending))

    def flush(self) -> None:
        """Send what is due, joined as far as it may be, and look after the rest."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        now, joined = self._loop.time(), bytearray()
        while self._parts and self._parts[0].when <= now:
            part = self._parts.popleft()
            if part.alone and joined:
                self._put(joined)
            joined += part.data
            if part.alone or part.ending:
                self._put(joined)
            if part.ending:
                self.close()
                self._end(part.ending)
        self._put(joined)
        if self._parts:
            self._timer = self._loop.call_at(self._parts[0].when, self.flush)

    def close(self) -> None:
        """Forget what came and what was to be sent."""
        for store in (self._buffer, self._raw, self._held, self._parts):
            store.clear()
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _take(self, message: bytes, hits: list[Hit]) -> bool:
        """Execute a message unless a fault prevents it; return whether the connection is still there."""
        for kind, setting in ((hit.fault.kind, hit.fault.setting) for hit in hits):
            if kind == "mute":
                return True
            if kind == "disconnect":
                self.flush()
                self.close()
                self._end(setting)
                return False
            if kind == "power-cycle":
                self._instrument.restart(setting)
                return False
            if kind == "refuse":
                self._refuse(message, setting)
                return True
        self.execute(message)
        return True

    def _turn(self, delay: float) -> float:
        return max(self._loop.time(), self._parts[-1].when if self._parts else 0.0) + delay

    def _refuse(self, message: bytes, text: str) -> None:
        if text:
            reply: bytes | None = text.encode("latin-1", "replace") + self._instrument.terminator_out
        else:
            reply = self._instrument.refusal(message)
        if reply is not None:
            self.answer(message, reply)

    def _put(self, data: bytearray) -> None:
        # an instrument that hangs does not send either
        if data and not self._instrument.faults.hung:
            self._write(bytes(data))
        data.clear()


def _spoil(out: _Outgoing, hit: Hit, instrument: Instrument) -> None:
    setting, chance, terminator = hit.fault.setting, hit.chance, instrument.terminator_out
    body = out.data.removesuffix(terminator)
    end = out.data[len(body) :]
    # arbitrary bytes are never a terminator, so that one reply stays one reply
    harmless = [byte for byte in range(256) if byte not in terminator]
    match hit.fault.kind:
        case "late":
            out.delay += setting.draw(chance)
        case "lose":
            out.data = b""
        case "cut":
            out.data = out.data[: len(out.data) // 2 if setting is None else min(setting, len(out.data) - 1)]
        case "noise":
            out.data += bytes(chance.choices(harmless, k=setting))
        case "flip":
            out.data = _flipped(body, setting, chance, terminator) + end
        case "garbage":
            out.data = _garbage(len(body), chance, harmless) + end
        case "twice":
            out.data += out.data
        case "wrong-address":
            out.data = instrument.wrong_address(out.data)
        case "wrong-checksum":
            out.data = instrument.wrong_checksum(out.data)
        case "merge":
            out.gather = setting
        case "trickle":
            out.gap = setting
        case "hang-up":
            out.data, out.ending = out.data[: len(out.data) // 2], setting


def _flipped(body: bytes, bits: int, chance: random.Random, terminator: bytes) -> bytes:
    flipped = bytearray(body)
    positions = range(8 * len(body))
    possible = [p for p in positions if body[p // 8] ^ 1 << p % 8 not in terminator]
    for position in chance.sample(possible, min(bits, len(possible))):
        flipped[position // 8] ^= 1 << position % 8
    return bytes(flipped)


def _garbage(length: int, chance: random.Random, harmless: list[int]) -> bytes:
    body = bytearray(chance.choices(harmless, k=length))
    if body:
        # one byte at least is never ASCII, else a short reply could happen to make sense
        body[chance.randrange(length)] = chance.randrange(0x80, 0x100)
    return bytes(body)
