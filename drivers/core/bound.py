"""Bound parameters: what stands on an instance for each line of its class's command table.

A bound object asks and tells the instrument through the port, and keeps the last value, its time and its error.
Setpoints and commands stand in `driven`.
"""

from __future__ import annotations

import asyncio
import re
import time
from collections.abc import Callable, Coroutine, Iterable
from typing import TYPE_CHECKING, Any, Generic, TypeVar, cast

from .answers import distribute, finish, publish, read_all
from .errors import (
    DefinitionError,
    DeviceError,
    LabiocError,
    LinkDown,
    LinkError,
    ReadingInvalid,
    RefusedError,
    ReplyError,
    ReplyTimeout,
    UserError,
)
from .protocol import Part, Request

if TYPE_CHECKING:
    from .driver import Block
    from .parameters import Parameter, Readback

T = TypeVar("T")
Listener = Callable[["BoundReadback[Any]"], None]


class Bound:
    """A parameter of one instrument."""

    def __init__(self, spec: Parameter, block: Block) -> None:
        self._spec: Any = spec
        self.block = block
        self.error: LabiocError | None = None
        self._label = f"{block.path}{spec.name}"
        self._timeout = spec.timeout

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.block.driver.name} {self._label}>"

    @property
    def spec(self) -> Parameter:
        """The specification, from the class."""
        # no subclass narrows this type: a type checker would call the descriptor's __get__
        return cast("Parameter", self._spec)

    @property
    def label(self) -> str:
        """Where it stands in the instrument, as in ``inputs[A].temperature``."""
        return self._label

    def prepare(self) -> None:
        """Find the other parameters that this one needs, once all of them are bound."""

    def _get_label(self) -> str:
        return self._label

    def _sibling(self, spec: Readback[Any]) -> BoundReadback[Any]:
        return cast(BoundReadback[Any], self.block.parameters[spec.name])

    def _questions(self, specs: Iterable[Readback[Any]]) -> tuple[BoundReadback[Any], ...]:
        """Return what has to be asked for these, each once. They stand before this one in the class."""
        known = [self._sibling(spec) for spec in specs if spec.name in self.block.parameters]
        return tuple(dict.fromkeys(asked for sibling in known for asked in sibling.asked))

    def _fail(self, error: UserError) -> UserError:
        return type(error)(f"{self.block.driver.name}: {self._label}: {error}")

    def _refused(self, why: str) -> RefusedError:
        error = RefusedError(f"{self.block.driver.name}: {self._label}: refused: {why}")
        self.block.driver.port.count(error)
        return error

    def _blocking(self, work: Coroutine[Any, Any, T]) -> T:
        return self.block.driver.run_blocking(work)

    def said(self, text: str, *, answered: bool = True) -> Part:
        """Return a message of this parameter, with its time-out."""
        return Part(text, answered, self._timeout)

    async def _tell(
        self,
        command: Callable[[list[str]], str],
        refresh: tuple[BoundReadback[Any], ...],
        first: tuple[Part, ...] = (),
        *,
        own: int = 0,
        idempotent: bool = False,
    ) -> None:
        """Send a command, made of the answers to what is asked first, with the question whether it was accepted.

        What is refreshed is asked for in the same turn. That the instrument answers none of the first `own` of
        these is the command's failure; of the others, theirs alone.
        """
        driver = self.block.driver
        protocol = driver.protocol
        confirm = protocol.confirm if driver.port.confirms else None
        # what stood in the queue before is none of this command's
        earlier = [Part(confirm[0], True)] if confirm is not None and protocol.confirm_queue else []
        first = (*earlier, *first)
        judged = confirm is not None or protocol.accepted is not None
        before = len(first) + judged
        sent: list[str] = []
        refusals: dict[int, RefusedError] = {}

        def rest(answers: list[str]) -> tuple[Request, ...]:
            sent[:] = [command(answers[len(earlier) :])]
            parts = [self.said(sent[0], answered=protocol.accepted is not None)]
            parts += [Part(confirm[0], True)] if confirm is not None else []
            parts += [readback.part for readback in refresh]
            return protocol.requests(*parts, joined=driver.port.joins)

        async def exchange(writes: int | None) -> list[str]:
            requests = protocol.requests(*first) if first else rest([])
            refusals.clear()
            return await driver.port.exchange(
                requests,
                self._get_label,
                urgent=True,
                then=rest if first else None,
                only_after=writes,
                refusals=refusals,
                refusable=before + own,
            )

        try:
            answers = await driver.port.repeated(exchange, driver.port.retries if idempotent else 0)
        except (LinkError, DeviceError) as failure:
            if failure.asked and confirm is not None and protocol.asks_for_power(confirm[0]):
                driver.port.statistics.doubts += 1  # the answer that is lost may have told of a power cycle
            if failure.asked and not isinstance(failure, RefusedError):
                # the instrument may have changed, and nobody has seen to what
                for readback in refresh:
                    readback.fail(failure, alone=False)
            raise
        stamp = time.time()
        for verdict in answers[: len(earlier)]:
            driver.port.on_verdict(verdict)
        answers = answers[len(first) :]
        verdict = answers.pop(0) if judged else ""
        driver.port.on_verdict(verdict)
        distribute(refresh, answers, stamp, {place - before: error for place, error in refusals.items()})
        if not judged:
            return
        try:
            accepted = confirm[1](verdict) if confirm is not None else protocol.is_accepted(verdict)
            if confirm is not None and protocol.tells_power_off(confirm[0], verdict):
                driver.port.lost_power()
        except ValueError:
            question = sent[0] if confirm is None else confirm[0]
            error = ReplyError(
                f"{driver.name}: {self._label}: {question!r} was answered with {verdict[:200]!r}"
            )
            driver.port.distrust(error)
            raise error from None
        if not accepted:
            after = f"after {sent[0]!r} {confirm[0]}" if confirm is not None else repr(sent[0])
            raise self._refused(f"{after} answers {verdict!r}")


class BoundReadback(Bound, Generic[T]):
    """A readback of one instrument.

    Attributes:
        value_type: how the value stands on the wire, its unit and its limits.
        stamp: when the last good reading came, seconds since 1970; 0 before the first.
        error: what is wrong with the last reading, or None.
        alone: whether its last exchange failed, so that it is better asked alone.
        is_news: for what takes errors from a queue, whether there was one; else False.
        listeners: called with this object after each reading, good or bad.
    """

    def __init__(self, spec: Readback[T], block: Block) -> None:
        super().__init__(spec, block)
        self.value_type = spec.value
        self.stamp = 0.0
        self.listeners: list[Listener] = []
        self._failing: list[Listener] = []
        self.ask = block.filled(spec.question(block.driver.variant))
        self.part = self.said(self.ask)
        self._value: T | None = None
        self._decode = spec.value.decode
        self._valid_if = spec.valid_if
        self._function = spec.function
        self._condition: tuple[BoundReadback[Any], Callable[[Any], bool]] | None = None
        self._taken: T | None = None
        self._invalid: ReadingInvalid | None = None
        self._unasked = re.compile(block.filled(spec.unasked, re.escape)) if spec.unasked else None
        self._stale_after = spec.stale_after
        self._arrived = 0.0
        self._inputs: tuple[BoundReadback[Any], ...] = ()
        self.dependants: list[BoundReadback[Any]] = []
        self.alone = False
        self.is_news = False
        self._takes_errors = block.driver.protocol.takes_from_queue(self.ask)
        self._noted = False
        self._asked: tuple[BoundReadback[Any], ...] = ()
        self._requests: tuple[Request, ...] = ()
        self._separate: tuple[Request, ...] = ()

    @property
    def value(self) -> T:
        """The last good value. Raises LookupError before the first reading."""
        if not self.stamp:
            raise LookupError(f"{self.block.driver.name}: {self._label} was not read yet")
        return cast(T, self._value)

    def prepare(self) -> None:
        """Find the other parameters that this one needs, and lay out its exchange."""
        if self._function is not None:
            self._inputs = tuple(self._sibling(readback) for readback in self._spec.inputs)
            for readback in self._inputs:
                readback.dependants.append(self)
            asked = self._questions(self._spec.inputs)
        elif self._valid_if is not None:
            first = self._sibling(self._valid_if.readback)
            self._condition = (first, self._valid_if.holds)
            asked = (first, self)
        else:
            asked = (self,) if self.ask else ()
        self._asked = asked
        questions = [readback.part for readback in asked]
        self._requests = self.block.driver.protocol.requests(*questions)
        self._separate = self.block.driver.protocol.requests(*questions, joined=False)

    @property
    def is_known(self) -> bool:
        """Whether its last reading was good."""
        return self.error is None and self.stamp > 0

    @property
    def asked(self) -> tuple[BoundReadback[Any], ...]:
        """The readbacks whose questions make up its exchange; empty if the instrument can't be asked."""
        return self._asked

    @property
    def comes_unasked(self) -> bool:
        """Whether messages that nobody asked for bring it."""
        return self._unasked is not None

    async def read(self) -> T:
        """Ask the instrument; what comes unasked is waited for.

        Raises LinkDown, ReplyTimeout, PortBusy, TruncatedReply, ReplyError or ReadingInvalid.
        """
        port = self.block.driver.port
        requests = self._requests if port.joins else self._separate
        if self._asked:
            try:
                await read_all(port, self._asked, requests, self._get_label)
            except (ReplyTimeout, DeviceError) as error:
                if error.asked:
                    self.note()
                raise
        elif self._unasked is not None:
            await self._next()
        else:
            raise DefinitionError(f"{self.block.driver.name}: {self._label} can't be asked for")
        if self.error is not None:
            raise self.error
        if not self.stamp:
            unknown = ", ".join(readback.label for readback in self._inputs if not readback.stamp)
            raise ReadingInvalid(
                f"{self.block.driver.name}: {self._label}: not known before {unknown} has a value"
            )
        return cast(T, self._value)

    def get(self) -> T:
        """`read()` for scripts without an event loop."""
        return self._blocking(self.read())

    async def _next(self) -> None:
        """Wait for what comes unasked. Raises ReplyTimeout, LinkDown."""
        driver, limit = self.block.driver, self._stale_after or self.block.driver.protocol.timeout
        if not driver.port.is_up and driver.port.error is not None:
            raise type(driver.port.error)(f"{driver.name}: {self._label}: {driver.port.error}")
        came = asyncio.Event()

        def listener(readback: BoundReadback[Any]) -> None:
            came.set()

        self.listeners.append(listener)
        try:
            async with asyncio.timeout(limit):
                await came.wait()
        except TimeoutError:
            raise ReplyTimeout(f"{driver.name}: {self._label}: nothing came within {limit:g} s") from None
        finally:
            self.listeners.remove(listener)

    def check_age(self, now: float) -> None:
        """Fail if what should come unasked has not come for too long; `now` in seconds of `time.monotonic`."""
        limit, port = self._stale_after, self.block.driver.port
        # when the link is down that is what's wrong, and for a while afterwards
        if limit is None or not port.is_up or now - max(self._arrived, port.up_since) <= limit:
            return
        if self.error is not None and not isinstance(self.error, LinkDown):
            return
        self.fail(
            ReplyTimeout(f"{self.block.driver.name}: {self._label}: nothing has come for {limit:g} s"),
            alone=False,
        )
        self.note()

    def arrive(self, text: str) -> bool:
        """Take a message that came unasked, if it is one of this readback's."""
        if self._unasked is None or not self._unasked.fullmatch(text):
            return False
        self.take(text)
        finish((self,), time.time())
        return True

    # What exchanges call

    def take(self, answer: str) -> None:
        """Take the answer of the instrument."""
        if self._takes_errors:
            self.is_news = self.block.driver.protocol.tells_error(answer)
            if self.is_news:
                self.block.driver.port.log.info("%s: it reports %s", self.block.driver.name, answer[:200])
            if self.stamp and not self.is_news:  # the last error stays, as long as there is no other
                self._taken, self.error, self.alone = self._value, None, False
                return
        if self._unasked is not None:
            self._arrived = time.monotonic()
            if (found := self._unasked.fullmatch(answer)) and found.re.groups:
                answer = found[1]
        self._invalid = None
        try:
            self._taken = self._decode(answer)
        except ReadingInvalid as why:  # the answer makes sense: judge() will say so
            self._invalid = ReadingInvalid(f"{self.block.driver.name}: {self._label}: {why}")
            self.error = None
            self.alone = False
        except Exception as why:  # a value type from outside may fail in its own way
            hint = "" if isinstance(why, ValueError) else f" ({why!r})"
            self.error = ReplyError(
                f"{self.block.driver.name}: {self._label}: {self.ask!r} was answered with {answer[:200]!r};"
                f" expected {self.value_type.expected}{hint}"
            )
            self.alone = True
        else:
            self.error = None
            self.alone = False

    def refuse(self, error: RefusedError) -> None:
        """Take the instrument's refusal to answer, in place of the answer."""
        invalid = ReadingInvalid(f"{self.block.driver.name}: {self._label}: {error}")
        invalid.refused = True
        self.error = invalid
        self.alone = True

    def judge(self, stamp: float) -> None:
        """Look at the reading beside those that came with it, and keep it if it is good."""
        if self.error is not None:
            return
        if self._invalid is not None:
            self.error = self._invalid
            return
        if self._condition is not None:
            other, holds = self._condition
            if other.error is not None:
                self.error = other.error
                return
            here = f"{self.block.driver.name}: {self._label}"
            try:
                is_valid = bool(holds(other.value))
            except Exception as why:  # an array, for one, is neither true nor false
                self.error = ReplyError(f"{here}: valid_if= of {other.label} does not compute: {why!r}")
                return
            if not is_valid:
                self.error = ReadingInvalid(f"{here}: not valid, since {other.label} is {other.value!r}")
                return
        self._value = self._taken
        self.stamp = stamp

    def announce(self) -> None:
        """Tell whoever listens."""
        for listener in self.listeners:
            try:
                listener(self)
            except Exception:
                # once: a reading comes many times a second
                if listener not in self._failing:
                    self._failing.append(listener)
                    self.block.driver.port.log.exception("%s: a listener fails", self._label)

    def note(self) -> None:
        """Log that an answer went wrong, or is right again; once each. The link's own failures are the port's."""
        if (self.error is not None) is self._noted:
            return
        self._noted = not self._noted
        log, name = self.block.driver.port.log, self.block.driver.name
        if self._noted:
            log.warning("%s", self.error)
        else:
            log.info("%s: %s: good again", name, self._label)

    def fail(self, error: LabiocError, *, alone: bool) -> None:
        """Keep the last good value, with an error."""
        self.error = error
        self.alone = alone
        self.announce()
        for dependant in self.dependants:
            dependant.fail(error, alone=alone)

    def compute(self, stamp: float) -> None:
        """Compute the value from its inputs, once all of them are known."""
        assert self._function is not None
        error = next((readback.error for readback in self._inputs if readback.error is not None), None)
        if error is None and not all(readback.stamp for readback in self._inputs):
            return
        if error is None:
            try:
                self._value = self._function(*(readback.value for readback in self._inputs))
                self.stamp = stamp
            except ReadingInvalid as why:
                error = ReadingInvalid(f"{self.block.driver.name}: {self._label}: {why}")
            except Exception as why:  # the instrument's numbers may not suit the function
                error = ReplyError(f"{self.block.driver.name}: {self._label}: does not compute: {why!r}")
        self.error = error
        self.alone = False
        publish((self,), stamp)
