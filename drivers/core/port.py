"""The port: one owner of one link, that gives each exchange its turn and never mixes up two answers.

Theory of operation
-------------------
1. One exchange is on the wire at a time. Whoever makes one runs it in its own task, holding the port; those who
   wait stand in two rows, writes before reads.
2. The port is UP, SUSPECT or DOWN. Exchanges run only while it is UP.
3. Whatever is odd (no reply in time, a reply that does not parse, bytes nobody asked for, a caller cancelled with
   its question on the wire) makes it SUSPECT: an answer may still be on its way. The port's own task, the keeper,
   then raises a fence: it asks the question whose answer names itself and drops everything before that answer.
4. A fence without an answer, or a lost connection, makes it DOWN: the keeper tries again and again, one attempt at a
   time, with exponential back-off and jitter. An attempt is: connect, fence. A connection alone proves nothing,
   since behind a device server the late bytes still come.
5. While it is SUSPECT, reads wait for the fence for two usual round trips, writes to its end. After that, and while
   the port is DOWN, they fail at once with the error that caused it, instead of each waiting out a time-out of its
   own.
6. A line that equals the identity is never the answer to another question: it is a late answer to a fence.
"""

from __future__ import annotations

import asyncio
import enum
import logging
import random
import re
import time
from collections import Counter, deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from .errors import (
    LabiocError,
    LinkDown,
    LinkError,
    PortBusy,
    ReplyError,
    ReplyTimeout,
    TruncatedReply,
    UserError,
    WriteCut,
    WrongInstrument,
)
from .exchanger import Exchanger
from .links import open_link, parse
from .protocol import Lines, Request

CONNECT_TIMEOUT = 3.0
QUEUE_TIMEOUT = 5.0
FIRST_BACK_OFF = 0.2
FENCE_PATIENCE = (0.005, 0.1)  # twice the last round trip, within these bounds
STEADY = 2.0  # a link that stood for so long, in seconds, is tried again at once
LAST_BACK_OFF = 1.5  # with the time-out of a fence, a recovery is seen within 3 s


class LinkState(enum.IntEnum):
    """What a port is doing."""

    DOWN = 0
    SUSPECT = 1
    UP = 2


@dataclass(slots=True)
class Statistics:
    """What a port has seen since it was opened. Times in seconds; overruns are readings a period late or more."""

    exchanges: int = 0
    overruns: int = 0
    busy: float = 0.0
    round_trip: float = 0.0
    connects: int = 0
    discarded: int = 0
    errors: Counter[str] = field(default_factory=Counter)
    last_error: str = ""
    last_good: float = 0.0


class Port:
    """One link to one instrument.

    Args:
        url: where it is.
        protocol: how it talks.
        name: the instrument's name, for errors and logs.
        variant: the variant of the instrument that is expected, or "".

    Attributes:
        state: what it is doing.
        error: why it is not UP, or None.
        identity: what the instrument calls itself.
        joins: whether it takes several questions in one line.
        confirms: whether it answers the question after a command.
        on_change: called at each change of the state.
    """

    def __init__(self, url: str, protocol: Lines, *, name: str, variant: str = "") -> None:
        self.url = url
        self.name = name
        self.protocol = protocol
        self.state = LinkState.DOWN
        self.error: LabiocError | None = LinkDown(f"{name}: not connected yet")
        self.identity = ""
        self.statistics = Statistics()
        self.on_change: list[Callable[[], None]] = []
        self._parts = parse(url, protocol.serial)
        self.log = logging.getLogger(f"labioc.port.{name}")
        self._wire = logging.getLogger(f"labioc.wire.{name}")
        self._identify = protocol.identify and (protocol.identify[0], re.compile(protocol.identify[1]))
        self._fence = protocol.requests((protocol.identify[0], True))[0] if protocol.identify else None
        self._confirm = protocol.requests((protocol.confirm[0], True))[0] if protocol.confirm else None
        twice = (protocol.identify[0], True) if protocol.identify else None
        self._joined = protocol.requests(twice, twice)[0] if twice and protocol.join is not None else None
        self.joins = protocol.join is not None
        self.confirms = protocol.confirm is not None
        self._variant = (variant, re.compile(protocol.variants[variant])) if variant else None
        self._identity_line: bytes | None = None
        self._silences = 0
        self._exchanger: Exchanger | None = None
        self._busy = False
        self._urgent: deque[asyncio.Future[None]] = deque()
        self._normal: deque[asyncio.Future[None]] = deque()
        self._trouble = asyncio.Event()
        self._cause: LinkError | None = None
        self._gap = protocol.gaps.get(self._parts.scheme, 0.0)
        self._quiet_until = 0.0
        self._keeper: asyncio.Task[None] | None = None
        self._attempted = asyncio.Event()

    # Life

    async def start(self) -> None:
        """Begin to connect, and to keep the link. Returns at once."""
        self._keeper = asyncio.create_task(self._keep(), name=f"port {self.name}")

    async def first_attempt(self) -> None:
        """Wait for the end of the first attempt to connect, whatever came of it; bounded by its time-outs."""
        await self._attempted.wait()

    async def close(self) -> None:
        """Stop, close the link, and fail whoever still waits."""
        if self._keeper is not None:
            while not self._keeper.done():
                # again and again: asyncio.wait_for, in an exchanger from outside, swallows it before Python 3.12
                self._keeper.cancel()
                await asyncio.wait([self._keeper], timeout=0.1)
            self._keeper = None
        self._attempted.set()
        await self._hang_up()
        self._set(LinkState.DOWN, LinkDown(f"{self.name}: closed"))

    # Exchanges

    async def exchange(
        self,
        requests: Sequence[Request],
        label: Callable[[], str],
        *,
        urgent: bool = False,
        then: Callable[[list[str]], Sequence[Request]] | None = None,
    ) -> list[str]:
        """Send each request in turn and return the answers to all of them.

        Args:
            requests: what to send; nothing comes between two of them.
            label: what is read or written, for error messages.
            urgent: a write, which goes ahead of every waiting read.
            then: makes further requests out of the answers, to be sent in the same turn.

        Raises LinkError, ReplyError or TruncatedReply, and what ``then`` raises.
        """
        at_once = self.state is LinkState.UP and not self._busy
        self._busy = self._busy or at_once
        if not at_once or not self._is_in_step():
            await self._take_turn(label, urgent)
        exchanger = self._exchanger
        assert exchanger is not None
        answers: list[str] = []
        request = requests[0]
        began = time.perf_counter()
        try:
            for request in requests:
                reply = await self._ask(exchanger, request)
                if request.answers:
                    answers += self.protocol.answers(reply, request.answers)
            if then is not None:
                for request in then(answers):
                    reply = await self._ask(exchanger, request)
                    if request.answers:
                        answers += self.protocol.answers(reply, request.answers)
        except UserError:
            raise  # nothing is on the wire
        except BaseException as error:
            named = self._named(error, label, request, urgent)
            # also if cancelled with a question on the wire: its answer must not become the next one's
            if exchanger is self._exchanger:
                self._suspect(named if isinstance(named, LinkError) else None)
            raise named from None
        finally:
            spent = time.perf_counter() - began
            statistics = self.statistics
            statistics.exchanges += 1
            statistics.busy += spent
            # after a reconnect the turn is another's
            if exchanger is self._exchanger:
                self._pass_on()
        statistics.round_trip = spent
        statistics.last_good = time.time()
        self._silences = 0
        return answers

    def distrust(self, error: LabiocError) -> None:
        """Raise a fence because an answer made no sense: it may have been another question's."""
        self._count(error)
        self._suspect(None)

    async def _ask(self, exchanger: Exchanger, request: Request) -> bytes:
        """Send one request and return the reply to it, or b"" if it has none."""
        if self._gap:
            await asyncio.sleep(max(0.0, self._quiet_until - time.perf_counter()))
        await exchanger.send(request.payload)
        reply = b""
        if request.answers:
            deadline = time.perf_counter() + self.protocol.timeout
            reply = await exchanger.receive(self.protocol.timeout)
            while reply == self._identity_line and request != self._fence:
                self.statistics.discarded += 1
                reply = await exchanger.receive(_left(deadline))
        if self._gap:
            self._quiet_until = time.perf_counter() + self._gap
        return reply

    async def _take_turn(self, label: Callable[[], str], urgent: bool) -> None:
        row = self._urgent if urgent else self._normal
        again = False
        while True:
            if self.state is LinkState.UP and not self._busy:
                self._busy = True
            else:
                if self.error is not None and (self.state is LinkState.DOWN or not urgent):
                    raise self._refusal(label, self.error)
                await self._wait_for_turn(row, label, first=again)
                if self.state is not LinkState.UP:
                    # whoever had the turn before distrusts what it got: the fence comes first
                    self._busy = False
                    again = True
                    continue
            if self._is_in_step():
                return
            again = True

    def _is_in_step(self) -> bool:
        """Tell whoever has the turn whether it may go on the wire; if not, it has the turn no more."""
        assert self._exchanger is not None
        stray = self._exchanger.resynchronise()
        if not stray:
            return True
        self.log.debug("%s: %d bytes came that nobody had asked for", self.name, stray)
        self.statistics.discarded += 1
        self._busy = False
        self._suspect(None)
        return False

    async def _wait_for_turn(
        self, row: deque[asyncio.Future[None]], label: Callable[[], str], *, first: bool
    ) -> None:
        turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        if first:
            row.appendleft(turn)
        else:
            row.append(turn)
        timer = turn.get_loop().call_later(QUEUE_TIMEOUT, self._give_up, turn)
        try:
            await turn
        except PortBusy:
            busy = PortBusy(f"{self.name}: {label()}: no turn on the port within {QUEUE_TIMEOUT:g} s")
            self._count(busy)
            raise busy from None
        except LabiocError as error:
            raise self._refusal(label, error) from None
        except asyncio.CancelledError:
            if turn.done() and not turn.cancelled() and turn.exception() is None:
                self._pass_on()
            raise
        finally:
            timer.cancel()

    @staticmethod
    def _give_up(turn: asyncio.Future[None]) -> None:
        if not turn.done():
            turn.set_exception(PortBusy())

    def _pass_on(self) -> None:
        self._busy = False
        if self.state is not LinkState.UP:
            return
        for row in (self._urgent, self._normal):
            while row:
                turn = row.popleft()
                if not turn.done():
                    self._busy = True
                    turn.set_result(None)
                    return

    def _refusal(self, label: Callable[[], str], error: LabiocError) -> LabiocError:
        refusal = type(error)(f"{self.name}: {label()}: not asked, since {error}")
        refusal.asked = False
        return refusal

    def _named(
        self, error: BaseException, label: Callable[[], str], request: Request, urgent: bool
    ) -> BaseException:
        """Return what broke an exchange as an error that says which one, and count it."""
        kind: type[LabiocError]
        what = str(error)
        match error:
            case LinkDown():
                kind = WriteCut if urgent else LinkDown
            case TruncatedReply() | ReplyError():
                kind = type(error)
            case TimeoutError():
                self._silences += 1
                kind, what = ReplyTimeout, f"no reply within {self.protocol.timeout:g} s"
            case ValueError():
                kind, what = ReplyError, f"expected {request.answers} answers, got {what!r}"
            case OSError():
                kind = WriteCut if urgent else LinkDown
            case LabiocError() | asyncio.CancelledError():
                return error
            case Exception():
                # an exchanger from another package: this link fails, not the process
                self.log.error("%s: %s: %r", self.name, label(), error, exc_info=error)
                kind, what = LinkDown, repr(error)
            case _:
                return error
        named = kind(f"{self.name}: {label()}: {what}; sent {request.payload!r}")
        self._count(named)
        return named

    def _count(self, error: LabiocError) -> None:
        self.statistics.errors[type(error).__name__] += 1
        self.statistics.last_error = str(error)

    def _suspect(self, cause: LinkError | None) -> None:
        self._cause = cause
        if self.state is LinkState.UP:
            self._set(LinkState.SUSPECT, None)
        self._trouble.set()

    def _lose_patience(self) -> None:
        if self.state is LinkState.SUSPECT:
            self._set(LinkState.SUSPECT, self._cause or ReplyTimeout(f"{self.name}: out of step"))

    # The keeper

    def _set(self, state: LinkState, error: LabiocError | None) -> None:
        self.state = state
        self.error = error
        if state is LinkState.UP:
            self._pass_on()
        elif error is not None:
            rows = (self._normal,) if state is LinkState.SUSPECT else (self._normal, self._urgent)
            for row in rows:
                while row:
                    turn = row.popleft()
                    if not turn.done():
                        turn.set_exception(error)
        for callback in self.on_change:
            try:
                callback()
            except Exception:
                self.log.exception("%s: a listener of the link's state fails", self.name)

    async def _keep(self) -> None:
        back_off = 0.0
        while True:
            began = time.monotonic()
            try:
                await self._connect()
                began = time.monotonic()
                self.log.info("%s: connected to %s: %s", self.name, self.url, self.identity)
                self.statistics.connects += 1
                self._set(LinkState.UP, None)
                self._attempted.set()
                await self._watch()
            except LabiocError as error:
                self._set_down(error)
            except Exception as error:
                self._set_down(LinkDown(f"internal error: {error!r}"), error)
            self._attempted.set()
            # a link that comes up and falls at once is as dead as one that does not come up
            if time.monotonic() - began > STEADY:
                back_off = 0.0
            await asyncio.sleep(back_off * random.uniform(0.5, 1.0))
            back_off = min(max(2 * back_off, FIRST_BACK_OFF), LAST_BACK_OFF)

    async def _connect(self) -> None:
        await self._hang_up()
        try:
            async with asyncio.timeout(CONNECT_TIMEOUT):
                self._exchanger = await open_link(self._parts, self.protocol.framer, self._wire)
        except TimeoutError:
            raise LinkDown(f"no connection to {self.url} within {CONNECT_TIMEOUT:g} s") from None
        except LinkDown as error:
            raise LinkDown(f"{error} ({self.url})") from None
        self._trouble.clear()
        await self._raise_fence(self._exchanger)
        if self._variant is not None and not self._variant[1].search(self.identity):
            raise WrongInstrument(
                f"expected the variant {self._variant[0]!r}, which answers {self._variant[1].pattern!r};"
                f" {self.url} answers {self.identity!r}"
            )
        await self._learn(self._exchanger)

    async def _learn(self, exchanger: Exchanger) -> None:
        """Find out whether the instrument does all that its manual says; an old firmware or an emulator may not."""
        if self._joined is not None:
            both = f"{self.identity}{self.protocol.join}{self.identity}"
            self.joins = await self._does(exchanger, self._joined, lambda text: text == both)
        if self._confirm is not None:
            # the answer is about what came before this connection
            self.confirms = await self._does(exchanger, self._confirm, lambda text: True)

    async def _does(self, exchanger: Exchanger, request: Request, is_right: Callable[[str], bool]) -> bool:
        try:
            if is_right(self.protocol.text(await self._ask(exchanger, request))):
                return True
        except (TimeoutError, TruncatedReply, ReplyError):
            pass
        self.log.warning("%s: no proper answer to %r: going on without", self.name, request.payload)
        await self._raise_fence(exchanger)
        return False

    async def _watch(self) -> None:
        """Wait for trouble and mend it with a fence, for as long as the connection stands."""
        assert self._exchanger is not None
        lost = asyncio.ensure_future(self._exchanger.wait_lost())
        try:
            while True:
                trouble = asyncio.ensure_future(self._trouble.wait())
                try:
                    await asyncio.wait([trouble, lost], return_when=asyncio.FIRST_COMPLETED)
                finally:
                    trouble.cancel()
                if lost.done():
                    raise LinkDown(f"{self.url} closed the connection")
                self._trouble.clear()
                patience = lost.get_loop().call_later(
                    min(max(2 * self.statistics.round_trip, FENCE_PATIENCE[0]), FENCE_PATIENCE[1]),
                    self._lose_patience,
                )
                try:
                    await self._raise_fence(self._exchanger)
                finally:
                    patience.cancel()
                self.log.debug("%s: in step again", self.name)
                if not self._trouble.is_set():
                    self._set(LinkState.UP, None)
        finally:
            lost.cancel()

    async def _raise_fence(self, exchanger: Exchanger) -> None:
        self.statistics.discarded += bool(exchanger.resynchronise())
        if self._identify is None or self._fence is None:
            # also at a connect: behind a device server, an answer to the former connection may still come
            assert self.protocol.max_late is not None
            await asyncio.sleep(self.protocol.max_late)
            exchanger.resynchronise()
            if self._silences > 1:
                self._silences = 0
                raise ReplyTimeout(f"no reply to anything ({self.url})")
            return
        ask, pattern = self._identify
        if self._gap:
            await asyncio.sleep(self._gap)
        deadline = time.perf_counter() + self.protocol.timeout
        strange: bytes | None = None
        try:
            await exchanger.send(self._fence.payload)
            while True:
                try:
                    reply = await exchanger.receive(_left(deadline))
                except ReplyError as error:
                    strange = str(error).encode()
                    continue
                text = self.protocol.text(reply)
                if pattern.match(text):
                    self.identity, self._identity_line = text, reply
                    self._quiet_until = time.perf_counter() + self._gap
                    return
                strange = reply
                self.statistics.discarded += 1
        except (TimeoutError, TruncatedReply) as error:
            if strange is None or (self.state is LinkState.SUSPECT and strange.isascii()):
                # what came while the link was up may have been the late answer
                what = str(error) or f"no reply to {ask!r} within {self.protocol.timeout:g} s"
                raise ReplyTimeout(f"{what} ({self.url})") from None
            came = f"{self.url} answers {strange[:80]!r}"
            if not strange.isascii():
                raise ReplyError(
                    f"{came}, which is no text: has the line the right speed and parity?"
                ) from None
            raise WrongInstrument(
                f"expected an instrument that answers {ask!r} with {pattern.pattern!r}; {came}"
            ) from None

    def _set_down(self, error: LabiocError, cause: Exception | None = None) -> None:
        # an error is logged when it begins, not at each attempt
        begins = self.state is not LinkState.DOWN or type(self.error) is not type(error)
        if begins or not self._attempted.is_set():
            self.log.warning("%s: %s", self.name, error, exc_info=cause)
            self._count(error)
        self._set(LinkState.DOWN, error)

    async def _hang_up(self) -> None:
        exchanger, self._exchanger = self._exchanger, None
        if exchanger is not None:
            await exchanger.close()


def _left(deadline: float) -> float:
    """Return the seconds to a deadline of `time.perf_counter`. Raises TimeoutError after it: a flood never ends."""
    left = deadline - time.perf_counter()
    if left <= 0:
        raise TimeoutError
    return left
