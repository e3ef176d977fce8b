"""Mettler Toledo analytical balance (XS204) with MT-SICS, and what lies on its pan.

Source: MT-SICS Reference Manual, chapter 3; docs/instruments/mettler_balance.md gives the facts and says which of them
are not confirmed.
"""

import asyncio
import contextlib
import datetime
import math
import random
import re
from collections import deque
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass

from .core import (
    Clock,
    Command,
    Faults,
    Field,
    LineSimulator,
    MalformedError,
    OutOfRangeError,
    RefusedError,
    integer,
    real,
)
from .core.connection import Connection
from .core.serving import serve

UNITS = {
    0: ("g", 1.0),
    1: ("kg", 1e3),
    3: ("mg", 1e-3),
    4: ("\u00b5g", 1e-6),
    5: ("ct", 0.2),
    7: ("lb", 453.59237),
    8: ("oz", 28.349523125),
    9: ("ozt", 31.1034768),
    10: ("GN", 0.06479891),
    11: ("dwt", 1.55517384),
    12: ("mom", 3.75),
}
"""Name and grams, by the number of M21."""
HOST, DISPLAY = 0, 1

CAPACITY = 220.009  # g
READABILITY = 1e-4  # g
ZERO_RANGE = 0.02 * CAPACITY  # g, around the zero at switching on
LEAST = -10.0  # g, below which it is underload
FREQUENCY, DAMPING = 2.0, 0.35  # Hz; of critical
NOISE = 0.15 * READABILITY
STABLE_TIME = 1.0  # s, for which the weight must stay within a digit
PATIENCE = 40.0  # s, for a stable weight
ADJUSTING = 12.0  # s
TICK = 0.02  # real seconds between two looks at what is due
LEVELS = {
    0: "@ I0 I1 I2 I3 I4 I5 S SI SIR Z ZI",
    1: "D DW K SR T TA TAC TI",
    2: "C0 C1 C3 DAT I10 I11 M21 M28 PWR SIRU SIU SNR SNRU SRU SU TIM UPD",
}
"""Which commands there are, by level."""

NUMBER = real()
UNIT_NAME = Field(str)


def quoted(most: int) -> Field:
    """Return a field for a text in quotation marks of at most so many characters."""

    def parse(raw: str) -> str:
        if len(raw) < 2 or raw[0] + raw[-1] != '""' or len(raw) - 2 > most:
            raise OutOfRangeError(raw)
        return raw[1:-1]

    return Field(parse)


class Pan:
    """The pan on its spring: what lies on it, and what the cell feels, both in g."""

    def __init__(self) -> None:
        """Start empty and at rest."""
        self.load = 0.0
        self.felt = 0.0
        self._speed = 0.0

    def settle(self) -> None:
        """Come to rest."""
        self.felt, self._speed = self.load, 0.0

    def advance(self, dt: float) -> None:
        """Swing for `dt` seconds towards the load."""
        omega = 2.0 * math.pi * FREQUENCY
        steps = 10
        for _ in range(steps):
            pull = omega**2 * (self.load - self.felt) - 2.0 * DAMPING * omega * self._speed
            self._speed += pull * dt / steps
            self.felt += self._speed * dt / steps


@dataclass
class Stream:
    """What a client gets until it says stop: all weights (SIR), or those after a change (SR, SNR)."""

    unit: int
    due: float
    on_change: bool = False
    dynamic: bool = False
    step: float | None = None
    last: float | None = None
    moved: bool = True


@dataclass
class Waiting:
    """A command that is answered at a stable weight, or with I when that takes too long."""

    client: "Interface"
    name: str
    message: bytes
    act: Callable[[], str]
    deadline: float


class Interface(Connection):
    """A client's own stream and its own waiting commands."""

    def __init__(
        self, balance: "MettlerBalance", write: Callable[[bytes], None], end: Callable[[str], None]
    ) -> None:
        """Serve the client of `balance` that `write` sends to."""
        super().__init__(balance, write, end)
        self._balance = balance

    def execute(self, message: bytes) -> None:
        """Let the balance know who asks."""
        self._balance.client = self
        try:
            super().execute(message)
        finally:
            self._balance.client = None

    def close(self) -> None:
        """Forget the stream as well."""
        super().close()
        self._balance.forget(self)

    def tell(self, message: bytes, reply: str) -> None:
        """Send an answer that had to wait."""
        self.answer(message, reply.encode("latin-1") + self._balance.terminator_out)
        self.flush()


class MettlerBalance(LineSimulator):
    """The balance. Change its world by `pan.load` (`settle()` takes away the swing), `span`, `drift` and `press()`."""

    terminator_out = b"\r\n"
    serial_line = {"baudrate": 9600}

    def __init__(self, *, clock: Clock | None = None, faults: Faults | None = None) -> None:
        """Switch it on, with an empty pan."""
        super().__init__(clock=clock, faults=faults)
        self.pan = Pan()
        self.span = 0.0
        """By how much of the load it is wrong, until it is adjusted."""
        self.drift = 0.0
        """g/s."""
        self.serial = "1126493049"
        self.label = "Balance 1"
        self.units = {HOST: 0, DISPLAY: 0}
        self.rate = 10.0
        self.shown: str | None = None
        """The text in the display, None for the weight."""
        self.keys = 1
        self.zero = self.start = 0.0
        self.tare = 0.0
        self.standby = False
        self.client: Interface | None = None
        self._command = ""
        self._drifted = 0.0
        self._chance = random.Random(1)
        self._adjusting: tuple[Interface | None, str, float] | None = None
        self._streams: dict[Interface, Stream] = {}
        self._waiting: list[Waiting] = []
        self.settle()

    def power_cycle(self) -> None:
        """Switch off and on: what lies on the pan is zero then; it says its serial number by itself."""
        load, label, span = self.pan.load, self.label, self.span
        super().power_cycle()
        self.pan.load, self.label, self.span = load, label, span
        self.settle()
        self.zero = self.start = self.felt
        self.say(f"{self._i4()}\r\n".encode())

    def settle(self) -> None:
        """Let the pan come to rest at once."""
        self.pan.settle()
        self._latest = deque([self.felt], maxlen=round(STABLE_TIME / self.step))
        self._latest.extend([self.felt] * round(STABLE_TIME / self.step))

    def press(self, key: int) -> None:
        """Press a key."""
        if self.keys >= 3:
            self.say(f"K C {key}\r\n".encode())

    # the world

    def advance(self, dt: float) -> None:
        """Let `dt` seconds pass: the pan swings, the zero drifts, what waits for time or rest goes on."""
        self.pan.advance(dt)
        self._drifted += self.drift * dt
        self._latest.append(self.felt + self._chance.gauss(0.0, NOISE))

    @property
    def felt(self) -> float:
        """What the cell makes of what it feels, in g."""
        return self.pan.felt * (1.0 + self.span) + self._drifted

    @property
    def gross(self) -> float:
        """Weight above zero, in g."""
        return self._latest[-1] - self.zero

    @property
    def stable(self) -> bool:
        """Whether the weight has stayed within a digit."""
        return max(self._latest) - min(self._latest) <= READABILITY

    @property
    def busy(self) -> bool:
        """Whether it zeroes, tares or adjusts, or stands by."""
        return self._adjusting is not None or self.standby or any(w.name in ("Z", "T") for w in self._waiting)

    # the interface

    def serve(self, url: str) -> contextlib.AbstractAsyncContextManager[str]:
        """Serve, and send what comes by itself."""
        return self._serve(url)

    @contextlib.asynccontextmanager
    async def _serve(self, url: str) -> AsyncIterator[str]:
        def connect(_: object, write: Callable[[bytes], None], end: Callable[[str], None]) -> Interface:
            return Interface(self, write, end)

        async with serve(self, url, connect) as address:
            ticking = asyncio.create_task(self._tick())
            try:
                yield address
            finally:
                ticking.cancel()

    async def _tick(self) -> None:
        while True:
            await asyncio.sleep(TICK)
            self.catch_up()
            self.send_due()

    def send_due(self) -> None:
        """Answer what has waited long enough, and send the streams' next weights."""
        now = self.clock.now()
        if self._adjusting is not None and now >= self._adjusting[2]:
            self._end_adjusting()
        for waiting in list(self._waiting):
            if self.stable or now >= waiting.deadline:
                self._waiting.remove(waiting)
                reply = waiting.act() if self.stable else f"{waiting.name} I"
                waiting.client.tell(waiting.message, reply)
        for client, stream in list(self._streams.items()):
            line = self._next(stream, now)
            if line is not None:
                client.pass_on(line.encode("latin-1") + self.terminator_out)
                client.flush()

    def _next(self, stream: Stream, now: float) -> str | None:
        if not stream.on_change:
            if now < stream.due:
                return None
            stream.due = max(stream.due + 1.0 / self.rate, now)
            return self._weight_now(stream.unit)
        if stream.moved:
            if not self.stable:
                return None
            stream.moved, stream.last = False, self.gross
            return self._weight_now(stream.unit)
        last = stream.last or 0.0
        step = max(0.125 * abs(last), 30 * READABILITY) if stream.step is None else stream.step
        if abs(self.gross - last) < step:
            return None
        stream.moved = True
        return self._weight_now(stream.unit) if stream.dynamic else None

    def forget(self, client: Interface) -> None:
        """Stop a client's stream, and what it waits for."""
        self._streams.pop(client, None)
        self._waiting = [waiting for waiting in self._waiting if waiting.client is not client]

    def _execute(self, part: str) -> str | None:
        name, *given = re.findall(r'"[^"]*"|\S+', part)
        run = self.table.get(name)
        if run is None:
            raise MalformedError(part)
        self._command = name
        try:
            return run(self, given)
        except MalformedError as error:
            raise OutOfRangeError(str(error)) from None

    def refused(self, reason: RefusedError) -> str:
        """Say what is wrong: ES for an unknown command, L for a parameter (2.1.3)."""
        return f"{self._command} L" if isinstance(reason, OutOfRangeError) else "ES"

    def refusal(self, message: bytes) -> bytes:
        """Refuse a command as not executable now."""
        return message.split()[0] + b" I" + self.terminator_out

    # weights (2.1.2.1)

    def _text(self, grams: float, unit: int) -> str:
        name, factor = UNITS[unit]
        decimals = max(0, math.floor(-math.log10(READABILITY / factor) + 1e-9))
        number = round(grams / factor, decimals) + 0.0
        return f"{number:10.{decimals}f} {name}"

    def _beyond(self) -> str:
        """Return the sign of overload or underload, "" within the range."""
        return "+" if self.gross > CAPACITY else "-" if self.gross < LEAST else ""

    def _net(self, name: str, unit: int) -> str:
        state = self._beyond() or ("S" if self.stable else "D")
        return (
            f"{name} {state}"
            if state in "+-"
            else f"{name} {state} {self._text(self.gross - self.tare, unit)}"
        )

    def _weight_now(self, kind: int) -> str:
        return "S I" if self._adjusting or self.standby else self._net("S", self.units[kind])

    def _at_rest(self, name: str, act: Callable[[], str]) -> str | None:
        """Answer at a stable weight."""
        if self.busy:
            return f"{name} I"
        if self.stable or self._beyond():
            return act()
        if self.client is None:
            return f"{name} I"
        deadline = self.clock.now() + PATIENCE
        self._waiting.append(Waiting(self.client, name, self._command.encode(), act, deadline))
        return None

    def _stop(self) -> None:
        if self.client is not None:
            self.forget(self.client)

    def _start(self, stream: Stream) -> None:
        self._stop()
        if self.client is not None:
            self._streams[self.client] = stream

    @Command("S")
    def _s(self) -> str | None:
        return self._stable_weight(HOST)

    @Command("SU")
    def _su(self) -> str | None:
        return self._stable_weight(DISPLAY)

    def _stable_weight(self, kind: int) -> str | None:
        self._stop()
        return self._at_rest("S", lambda: self._weight_now(kind))

    @Command("SI")
    def _si(self) -> str:
        self._stop()
        return "S I" if self.busy else self._weight_now(HOST)

    @Command("SIU")
    def _siu(self) -> str:
        self._stop()
        return "S I" if self.busy else self._weight_now(DISPLAY)

    @Command("SIR")
    def _sir(self) -> str:
        return self._stream_all(HOST)

    @Command("SIRU")
    def _siru(self) -> str:
        return self._stream_all(DISPLAY)

    def _stream_all(self, kind: int) -> str:
        self._start(Stream(kind, self.clock.now() + 1.0 / self.rate))
        return self._weight_now(kind)

    @Command("SR", NUMBER, UNIT_NAME, optional=2)
    def _sr(self, step: float | None, unit: str | None) -> str | None:
        return self._stream_changes(HOST, step, dynamic=True)

    @Command("SRU", NUMBER, UNIT_NAME, optional=2)
    def _sru(self, step: float | None, unit: str | None) -> str | None:
        return self._stream_changes(DISPLAY, step, dynamic=True)

    @Command("SNR", NUMBER, UNIT_NAME, optional=2)
    def _snr(self, step: float | None, unit: str | None) -> str | None:
        return self._stream_changes(HOST, step, dynamic=False)

    @Command("SNRU", NUMBER, UNIT_NAME, optional=2)
    def _snru(self, step: float | None, unit: str | None) -> str | None:
        return self._stream_changes(DISPLAY, step, dynamic=False)

    def _stream_changes(self, kind: int, step: float | None, *, dynamic: bool) -> str | None:
        grams = None if step is None else step * UNITS[self.units[kind]][1]
        stream = Stream(kind, self.clock.now(), on_change=True, dynamic=dynamic, step=grams)
        self._start(stream)
        return self._next(stream, self.clock.now())

    # zero and tare

    @Command("Z")
    def _z(self) -> str | None:
        return self._at_rest("Z", lambda: self._set_zero("Z", "A"))

    @Command("ZI")
    def _zi(self) -> str:
        return "ZI I" if self.busy else self._set_zero("ZI", "S" if self.stable else "D")

    def _set_zero(self, name: str, done: str) -> str:
        away = self.gross + self.zero - self.start
        if abs(away) > ZERO_RANGE:
            return f"{name} {'+' if away > 0 else '-'}"
        self.zero += self.gross
        self.tare = 0.0
        return f"{name} {done}"

    @Command("T")
    def _t(self) -> str | None:
        return self._at_rest("T", lambda: self._set_tare("T", "S"))

    @Command("TI")
    def _ti(self) -> str:
        return "TI I" if self.busy else self._set_tare("TI", "S" if self.stable else "D")

    def _set_tare(self, name: str, done: str) -> str:
        if self.gross > CAPACITY or self.gross < -READABILITY:
            return f"{name} {'+' if self.gross > 0 else '-'}"
        self.tare = max(self.gross, 0.0)
        return f"{name} {done} {self._text(self.tare, self.units[HOST])}"

    @Command("TA", NUMBER, UNIT_NAME, optional=2)
    def _ta(self, number: float | None, unit: str | None) -> str:
        if self.busy:
            return "TA I"
        if number is not None:
            name, factor = UNITS[self.units[HOST]]
            if unit != name or not 0 <= number * factor <= CAPACITY:
                raise OutOfRangeError(unit)
            self.tare = round(number * factor / READABILITY) * READABILITY
        return f"TA A {self._text(self.tare, self.units[HOST])}"

    @Command("TAC")
    def _tac(self) -> str:
        if self.busy:
            return "TAC I"
        self.tare = 0.0
        return "TAC A"

    @Command("@")
    def _cancel(self) -> str:
        self._waiting.clear()
        self._streams.clear()
        self._adjusting = None
        self.tare, self.keys, self.shown, self.standby = 0.0, 1, None, False
        return self._i4()

    # adjustment

    @Command("C0", integer(0, 2), integer(0, 1), optional=2)
    def _c0(self, mode: int | None, weight: int | None) -> str:
        return 'C0 A 0 0 ""' if mode is None else "C0 A"

    @Command("C1")
    def _c1(self) -> str:
        return self._adjust("C1")

    @Command("C3")
    def _c3(self) -> str:
        return self._adjust("C3")

    def _adjust(self, name: str) -> str:
        if self.busy:
            return f"{name} I"
        self._adjusting = self.client, name, self.clock.now() + ADJUSTING
        return f"{name} B"

    def _end_adjusting(self) -> None:
        assert self._adjusting is not None
        (client, name, _), self._adjusting = self._adjusting, None
        done = self.stable and abs(self.gross) < ZERO_RANGE
        if done:
            self.span = 0.0
        if client is not None:
            client.tell(name.encode(), f"{name} {'A' if done else 'I'}")

    # display, keys, settings

    @Command("D", quoted(40))
    def _d(self, text: str) -> str:
        self.shown = text
        return "D A"

    @Command("DW")
    def _dw(self) -> str:
        self.shown = None
        return "DW A"

    @Command("K", integer(1, 4))
    def _k(self, mode: int) -> str:
        self.keys = mode
        return "K A"

    @Command("M21", integer(0, 1), Field(str), optional=2)
    def _m21(self, kind: int | None, unit: str | None) -> str:
        if kind is None:
            return f"M21 B 0 {self.units[HOST]}\r\nM21 A 1 {self.units[DISPLAY]}"
        if unit is None or not unit.isdecimal() or int(unit) not in UNITS:
            raise OutOfRangeError(unit)
        self.units[kind] = int(unit)
        return "M21 A"

    @Command("M28")
    def _m28(self) -> str:
        return "M28 A 1 22.5"

    @Command("UPD", real(1, 50), optional=1)
    def _upd(self, rate: float | None) -> str:
        if rate is None:
            return f"UPD A {self.rate:.1f}"
        self.rate = rate
        return "UPD A"

    @Command("PWR", integer(0, 1))
    def _pwr(self, on: int) -> str:
        self.standby = not on
        return f"PWR A\r\n{self._i4()}" if on else "PWR A"

    @Command("DAT")
    def _dat(self) -> str:
        return f"DAT A {datetime.datetime.now():%d %m %Y}"

    @Command("TIM")
    def _tim(self) -> str:
        return f"TIM A {datetime.datetime.now():%H %M %S}"

    # identity

    @Command("I0")
    def _i0(self) -> str:
        known = [f'{level} "{name}"' for level, names in LEVELS.items() for name in names.split()]
        return "\r\n".join([*(f"I0 B {text}" for text in known[:-1]), f"I0 A {known[-1]}"])

    @Command("I1")
    def _i1(self) -> str:
        return 'I1 A "012" "2.30" "2.20" "2.20" ""'

    @Command("I2")
    def _i2(self) -> str:
        return f'I2 A "XS204 Excellence {CAPACITY:.4f} g"'

    @Command("I3")
    def _i3(self) -> str:
        return 'I3 A "4.23 18.6.4.1361.772"'

    @Command("I4")
    def _i4_(self) -> str:
        return self._i4()

    def _i4(self) -> str:
        return f'I4 A "{self.serial}"'

    @Command("I5")
    def _i5(self) -> str:
        return 'I5 A "11671158C"'

    @Command("I10", quoted(20), optional=1)
    def _i10(self, label: str | None) -> str:
        if label is None:
            return f'I10 A "{self.label}"'
        self.label = label
        return "I10 A"

    @Command("I11")
    def _i11(self) -> str:
        return 'I11 A "XS204"'
