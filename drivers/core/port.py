"""The port: an instrument at its place on a line. It gives each exchange its turn and never mixes up two answers.

Theory of operation
-------------------
1. One exchange is on the wire at a time. Whoever makes one runs it in its own task, holding the line; those who
   wait stand in rows, writes before reads.
2. The port is UP, SUSPECT or DOWN. Exchanges run only while it is UP.
3. Whatever is odd (no reply in time, a reply that does not parse, bytes nobody asked for, a caller cancelled with
   its question on the wire) makes it SUSPECT: an answer may still be on its way. The port's own task, the `Keeper`,
   then raises a fence: it asks the question whose answer names itself and drops everything before that answer.
4. A fence without an answer, or a lost connection, makes it DOWN: the keeper tries again and again, one attempt at a
   time, with exponential back-off and jitter. An attempt is: connect, fence. A connection alone proves nothing,
   since behind a device server the late bytes still come.
5. While it is SUSPECT, reads wait for the fence for two usual round trips, writes to its end. After that, and while
   the port is DOWN, they fail at once with the error that caused it, instead of each waiting out a time-out of its
   own.
6. A reply that equals the identity is never the answer to another question: it is a late answer to a fence. Where
   replies name what they answer (``match``), one that answers another question is dropped, and the wait goes on.
   An instrument that says its identity when it has been switched on (``restarted``) needs ``match`` instead.
7. A refusal is an answer: the port stays UP. A request for several things that is refused as a whole is asked in
   smaller ones (`Protocol.smaller`), from then on and until the next connect.
8. Ports may share a line. Each has its own state: an address that is dead is tried by its own keeper, seldom enough
   for the others. The connection is closed when the last of them lets go of it.
"""

from __future__ import annotations

import asyncio
import enum
import logging
import math
import time
from collections import Counter, deque
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, TypeVar

from .errors import (
    AddressError,
    DeviceError,
    LabiocError,
    LinkDown,
    LinkError,
    PortBusy,
    ReadingInvalid,
    RefusedError,
    ReplyError,
    ReplyTimeout,
    TruncatedReply,
    UserError,
    WriteCut,
)
from .exchanger import Exchanger
from .line import Line, Row, Turn
from .protocol import Part, Protocol, Request
from .wire import Wire

if TYPE_CHECKING:
    from .keeper import Keeper

T = TypeVar("T")

ROUND_TRIPS = 500  # of how many exchanges the times are kept
MOST_UNANSWERED = 4  # requests for several things, without an answer to any such between them
MOST_REMEMBERED = 1000  # requests that the instrument refuses as a whole
LONGEST_QUEUE = 100  # errors that are taken from an instrument's queue at a time
ECHO = "the answer is the question: the line echoes, add echo=1 to the URL"


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
    round_trips: deque[float] = field(default_factory=lambda: deque((0.0,), ROUND_TRIPS))
    connects: int = 0
    power_cycles: int = 0
    doubts: int = 0
    retries: int = 0
    unasked: int = 0
    discarded: int = 0
    errors: Counter[str] = field(default_factory=Counter)
    last_error: str = ""
    last_good: float = 0.0

    @property
    def epoch(self) -> int:
        """How often all that was known of the instrument has become uncertain.

        By a connect, a power cycle, or an answer about power cycles that was lost: it is given once.
        """
        return self.connects + self.power_cycles + self.doubts


class Port:
    """One instrument on a line.

    Args:
        line: where it is: a URL, or a line that several instruments share.
        protocol: how it talks.
        name: the instrument's name, for errors and logs.
        variant: the variant of the instrument that is expected, or "".
        address: its address on a shared line, which stands for ``{addr}`` in what is sent.
        retry_every: the longest time between two attempts to connect, seconds; None: short, where no other
            instrument on the line is held up by them.

    Attributes:
        state: what it is doing.
        error: why it is not UP, or None.
        identity: what the instrument calls itself.
        listens: whether messages that come unasked are taken: once it has been in step.
        up_since: when it came up last, in seconds of `time.monotonic`.
        spent: how long its own exchanges took so far, seconds.
        load: what share of the line's time its polls want.
        asking: the question that is on the wire, or "".
        retries: how often a read is asked again.
        joins: whether it takes several questions in one message.
        confirms: whether it answers the question after a command.
        routes: whether messages may come that nobody asked for.
        route: gets each message that comes; True if it takes it.
        on_change: called at each change of the state.
        on_power_cycle: called when the instrument has been without power.
        on_verdict: called with what the instrument answered to the question after, or before, a command.

    Raises AddressError for a URL that can't be right, or a line that can't be shared.
    """

    def __init__(
        self,
        line: str | Line,
        protocol: Protocol,
        *,
        name: str,
        variant: str = "",
        address: str = "",
        retry_every: float | None = None,
    ) -> None:
        if retry_every is not None and not 0 < retry_every < math.inf:
            raise AddressError(f"{name}: tried every {retry_every!r} s: that can't be")
        self.name = name
        self.protocol = protocol
        self.variant = variant
        self.address = address
        self.retry_every = retry_every
        self.state = LinkState.DOWN
        self.error: LabiocError | None = LinkDown(f"{name}: not connected yet")
        self.identity = ""
        self.listens = False
        self.up_since = 0.0
        self.spent = 0.0
        self.load = 0.0
        self.asking = ""
        self.retries = protocol.retries
        self.statistics = Statistics()
        self.on_change: list[Callable[[], None]] = []
        self.log = logging.getLogger(f"labioc.port.{name}")
        self.joins = protocol.join is not None
        self.confirms = protocol.confirm is not None
        self.routes = False
        self.route: Callable[[bytes], bool] = lambda message: False
        self.on_verdict: Callable[[str], None] = lambda answer: None
        self.exchanger: Exchanger | None = None
        self.identity_question: bytes | None = None
        self.identity_reply: bytes | None = None
        self.silences = 0
        self.writes = 0
        self._too_much: set[str] = set()
        self._unanswered = 0
        self.trouble = asyncio.Event()
        self._cause: LinkError | None = None
        self.line = Line(line) if isinstance(line, str) else line
        self.line.attach(self)
        self._gap = self.line.gap(protocol)
        self._keeper: Keeper | None = None

    @property
    def url(self) -> str:
        """Where it is."""
        return self.line.url

    @property
    def wire(self) -> Wire:
        """What goes over the line, for whoever listens."""
        return self.line.wire

    @property
    def is_up(self) -> bool:
        """Whether exchanges run."""
        return self.state is LinkState.UP

    # Life

    async def start(self) -> None:
        """Begin to connect, and to keep the link. Returns at once."""
        from .keeper import Keeper

        if self not in self.line.ports:
            self.line.attach(self)
        self._keeper = Keeper(self)
        self._keeper.start()

    async def first_attempt(self) -> None:
        """Wait for the end of the first attempt to connect, whatever came of it; bounded by its time-outs."""
        if self._keeper is not None:
            await self._keeper.attempted.wait()

    def reconnect(self) -> None:
        """Give up the connection, if there is one, and connect anew without waiting for the next attempt.

        Other instruments on the line are connected anew as well.
        """
        if self._keeper is not None:
            self._keeper.wanted.set()

    async def close(self) -> None:
        """Stop, close the link, and fail whoever still waits."""
        if self._keeper is not None:
            await self._keeper.stop()
            self._keeper = None
        self.line.detach(self)

    # Exchanges

    async def exchange(
        self,
        requests: Sequence[Request],
        label: Callable[[], str],
        *,
        urgent: bool = False,
        then: Callable[[list[str]], Sequence[Request]] | None = None,
        only_after: int | None = None,
        refusals: dict[int, RefusedError] | None = None,
        refusable: int = 0,
    ) -> list[str]:
        """Send each request in turn and return the answers to all of them.

        Args:
            requests: what to send; nothing comes between two of them.
            label: what is read or written, for error messages.
            urgent: a write, which goes ahead of every waiting read.
            then: makes further requests out of the answers, to be sent in the same turn.
            only_after: for a write that is repeated, how many writes there were at its failure; if there has been
                another one, it isn't sent.
            refusals: gets what the instrument refuses to answer, by its place in the answers; without it the first
                refusal is raised.
            refusable: the place before which a refusal is raised all the same.

        Raises LinkError, ReplyError or TruncatedReply, and what ``then`` and the protocol's ``match`` raise.
        """
        line = self.line
        turn = line.seize(self) if self.state is LinkState.UP else None
        if turn is None or not self._is_in_step(turn):
            turn = await self._take_turn(label, urgent)
        exchanger = self.exchanger
        if exchanger is None or (only_after is not None and self.writes != only_after):
            line.release(turn)
            raise self._refusal(label, LinkDown("another write came first" if exchanger else "closed"))
        self.writes += urgent
        answers: list[str] = []
        request = requests[0]
        waiting = deque(requests)
        began = time.perf_counter()
        try:
            while waiting:
                request = waiting.popleft()
                smaller = self.protocol.smaller(request) if request.text in self._too_much else ()
                if not smaller:
                    try:
                        answers += await self.ask(exchanger, request)
                        if request.answers > 1:
                            self._unanswered = 0
                    except RefusedError as error:
                        smaller = self._smaller(request)
                        if not smaller and (refusals is None or len(answers) < refusable):
                            raise
                        if not smaller and refusals is not None:
                            refused = RefusedError(f"{error}; sent {request.payload!r}")
                            refusals |= dict.fromkeys(
                                range(len(answers), len(answers) + request.answers), refused
                            )
                            answers += [""] * request.answers
                    if waiting or smaller or then is not None:
                        self._check_stray(exchanger)
                waiting.extendleft(reversed(smaller))
                if not waiting and then is not None:
                    waiting.extend(then(answers))
                    then = None
        except UserError:
            raise  # nothing is on the wire
        except (RefusedError, ReadingInvalid) as error:
            said = type(error)(f"{self.name}: {label()}: {error}; sent {request.payload!r}")
            if urgent and isinstance(said, RefusedError):
                self.count(said)
            raise said from None
        except BaseException as error:
            if isinstance(error, TimeoutError) and not isinstance(error, ReplyTimeout):
                self._note_silence(request)
            named = self._named(error, label, request, urgent)
            # also if cancelled with a question on the wire: its answer must not become the next one's
            if exchanger is self.exchanger:
                self._suspect(named if isinstance(named, LinkError) else None)
            raise named from None
        finally:
            spent = time.perf_counter() - began
            statistics = self.statistics
            statistics.exchanges += 1
            line.spent += spent
            self.spent += spent
            line.release(turn)
        statistics.round_trips.append(spent)
        statistics.last_good = time.time()
        self.silences = 0
        return answers

    async def repeated(self, exchange: Callable[[int | None], Awaitable[T]], retries: int) -> T:
        """Make an exchange, and make it again if its reply is lost, cut or spoilt.

        It gets None, and when it is made again, how many writes there have been: what was written since must not be
        undone.

        Raises what ``exchange`` raises; its error is ``asked`` if any of the attempts was on the wire.
        """
        failure: LabiocError | None = None
        writes: int | None = None
        while True:
            try:
                return await exchange(writes)
            except (LinkError, DeviceError) as error:
                if failure is not None and not error.asked:
                    if isinstance(error, LinkDown) and self.state is LinkState.DOWN:
                        error.asked = True
                        raise
                    raise failure from None
                spoilt = isinstance(error, (ReplyTimeout, TruncatedReply, ReplyError))
                if not (retries and spoilt and error.asked):
                    raise
                failure, writes = error, self.writes
            retries -= 1
            self.statistics.retries += 1

    async def converse(self, text: str) -> str | None:
        """Send what somebody typed, and return the reply, or None if none came in time.

        Raises LinkError, ReplyError or TruncatedReply; UserError if the protocol can't say it.
        """
        try:
            requests = self.protocol.requests(Part(text, True))
        except ValueError as error:
            raise UserError(f"{self.name}: {text!r} can't be said: {error}") from None
        try:
            return (await self.exchange(requests, lambda: repr(text), urgent=True))[0]
        except ReplyTimeout as error:
            if not error.asked:
                raise
            return None

    def lost_power(self, how: str = "has been without power") -> None:
        """Have everything set up and read anew: the instrument says that it has been without power."""
        self.statistics.power_cycles += 1
        self.log.warning("%s: %s", self.name, how)
        if self.state is LinkState.UP:
            self._suspect(None)

    def distrust(self, error: LabiocError) -> None:
        """Raise a fence because an answer made no sense: it may have been another question's."""
        self.count(error)
        self._suspect(None)

    async def ask(self, exchanger: Exchanger, request: Request) -> list[str]:
        """Send one request, for whoever has the turn, and return the answers in the reply to it.

        Raises TimeoutError, ValueError for another number of answers, and what the exchanger raises.
        """
        pause = self.line.quiet_until - time.perf_counter()
        if pause > 0:
            await asyncio.sleep(pause)
        answers: list[str] = []
        self.asking = request.text if request.answers else ""
        try:
            await exchanger.send(self.line.sealed(request.payload))
            if request.answers:
                answers = await self._answers(exchanger, request)
                if request.drains:
                    answers = await self._drained(exchanger, request, answers)
        finally:
            self.asking = ""
        gap = self._gap if request.answers else max(self._gap, self.protocol.command_gap)
        if gap:
            self.line.quiet_until = time.perf_counter() + gap
        return answers

    async def _answers(self, exchanger: Exchanger, request: Request) -> list[str]:
        protocol = self.protocol
        deadline = time.perf_counter() + request.timeout
        reply = await exchanger.receive(request.timeout)
        while True:
            is_own = reply != self.identity_reply or request.payload == self.identity_question
            if is_own or protocol.restarted:
                text = protocol.said(request, reply)
                if text == request.text and protocol.accepted is None:
                    raise ReplyError(ECHO)
                if text is not None:
                    return protocol.answers(text, request.answers)
            self.statistics.discarded += 1
            reply = await exchanger.receive(left(deadline))

    async def _drained(self, exchanger: Exchanger, request: Request, answers: list[str]) -> list[str]:
        """Ask until the queue is empty; return as one answer what was in it, or that it was empty."""
        entries: list[str] = []
        while self.protocol.tells_error(answers[0]) and len(entries) < LONGEST_QUEUE:
            entries += answers
            await asyncio.sleep(self._gap)
            await exchanger.send(self.line.sealed(request.payload))
            answers = await self._answers(exchanger, request)
        return ["; ".join(entries)] if entries else answers

    def _smaller(self, request: Request) -> tuple[Request, ...]:
        """Return what to ask in place of a request that was refused, now and from now on."""
        smaller = self.protocol.smaller(request)
        if smaller:
            if len(self._too_much) >= MOST_REMEMBERED:
                self._too_much.clear()
            self._too_much.add(request.text)
            self.log.debug(
                "%s: refused in one request, asked in %d: %s", self.name, len(smaller), request.text
            )
        return smaller

    def forget_learnt(self) -> None:
        """Ask for as much in a request as the protocol has it: there may be another instrument now."""
        self.joins = self.protocol.join is not None
        self._too_much.clear()
        self._unanswered = 0

    def _note_silence(self, request: Request) -> None:
        """Learn, from requests that are not answered, that the instrument takes one question at a time.

        Between two of them a fence was answered: an instrument that is dead or busy does not count.
        """
        if self.joins and self.protocol.smaller(request):
            self._unanswered += 1
            if self._unanswered >= MOST_UNANSWERED:
                self.joins = False
                self.log.warning(
                    "%s: no answer to several in one request: asked one by one on this connection", self.name
                )

    def _check_stray(self, exchanger: Exchanger) -> None:
        stray = exchanger.resynchronise()
        if stray and not (self.line.is_shared and self.protocol.names_replies):
            raise ReplyError(f"{stray} bytes more than the answer")

    async def _take_turn(self, label: Callable[[], str], urgent: bool) -> Turn:
        line = self.line
        row = Row.WRITE if urgent else Row.READ
        again = False
        deadline = time.perf_counter() + self.protocol.queue_timeout
        while True:
            turn = line.seize(self) if self.state is LinkState.UP else None
            if turn is None:
                if self.error is not None and (self.state is LinkState.DOWN or not urgent):
                    raise self._refusal(label, self.error)
                try:
                    if time.perf_counter() > deadline:
                        raise PortBusy
                    turn = await line.take(self, row, first=again)
                except PortBusy:
                    limit = self.protocol.queue_timeout
                    busy = PortBusy(f"{self.name}: {label()}: no turn on the port within {limit:g} s")
                    self.count(busy)
                    raise busy from None
                except LabiocError as error:
                    raise self._refusal(label, error) from None
            if self.state is LinkState.UP and self._is_in_step(turn):
                return turn
            # also if whoever had the turn before distrusts what it got: the fence comes first
            line.release(turn)
            again = True

    def _is_in_step(self, turn: Turn) -> bool:
        """Tell whoever has the turn whether it may go on the wire; if not, it has the turn no more."""
        stray = 0 if self.exchanger is None else self.exchanger.resynchronise()
        if not stray:
            return True
        self.log.debug("%s: %d bytes came that nobody had asked for", self.name, stray)
        self.statistics.discarded += 1
        if self.line.is_shared and self.protocol.names_replies:
            return True  # another instrument's, most likely; it will not be taken for ours
        self._suspect(None)
        self.line.release(turn)
        return False

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
                self.silences += 1
                kind, what = ReplyTimeout, what or f"no reply within {request.timeout:g} s"
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
        self.count(named)
        return named

    def count(self, error: LabiocError) -> None:
        """Keep an error for the statistics."""
        self.statistics.errors[type(error).__name__] += 1
        self.statistics.last_error = str(error)

    def _suspect(self, cause: LinkError | None) -> None:
        self._cause = cause
        if self.state is LinkState.UP:
            self.set_state(LinkState.SUSPECT, None)
        self.trouble.set()

    def lose_patience(self) -> None:
        """Let reads wait no longer for the fence."""
        if self.state is LinkState.SUSPECT:
            self.set_state(LinkState.SUSPECT, self._cause or ReplyTimeout(f"{self.name}: out of step"))

    def set_state(self, state: LinkState, error: LabiocError | None) -> None:
        """Go into a state: let those who wait go on, or fail with the error, if there is one."""
        if state is LinkState.UP:
            if self.state is LinkState.DOWN:
                self.up_since = time.monotonic()
            self.listens = True
        elif state is LinkState.DOWN:
            self.listens = False
        self.state = state
        self.error = error
        if state is LinkState.UP:
            self.line.pass_on()
        elif error is not None:
            rows = (Row.READ,) if state is LinkState.SUSPECT else (Row.READ, Row.WRITE)
            self.line.fail(self, error, *rows)
        for callback in self.on_change:
            try:
                callback()
            except Exception:
                self.log.exception("%s: a listener of the link's state fails", self.name)


def left(deadline: float) -> float:
    """Return the seconds to a deadline of `time.perf_counter`. Raises TimeoutError after it: a flood never ends."""
    seconds = deadline - time.perf_counter()
    if seconds <= 0:
        raise TimeoutError
    return seconds
