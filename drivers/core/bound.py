"""Bound parameters: what stands on an instance for each line of its class's command table.

A bound object asks and tells the instrument through the port, and keeps the last value, its time and its error.
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
    LimitError,
    LinkDown,
    LinkError,
    ReadingInvalid,
    RefusedError,
    ReplyError,
    ReplyTimeout,
    UserError,
    ValueTypeError,
)
from .protocol import Part, Request
from .values import Fields, Limits

if TYPE_CHECKING:
    from .driver import Block
    from .parameters import Command, Parameter, Readback, Setpoint

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
        return tuple(dict.fromkeys(asked for spec in specs for asked in self._sibling(spec).asked))

    def _fail(self, error: UserError) -> UserError:
        return type(error)(f"{self.block.driver.name}: {self._label}: {error}")

    def _refused(self, why: str) -> RefusedError:
        error = RefusedError(f"{self.block.driver.name}: {self._label}: refused: {why}")
        self.block.driver.port.count(error)
        return error

    def _blocking(self, work: Coroutine[Any, Any, T]) -> T:
        return self.block.driver.run_blocking(work)

    def _part(self, text: str, *, answered: bool = True) -> Part:
        return Part(text, answered, self._timeout)

    async def _tell(
        self,
        command: Callable[[list[str]], str],
        refresh: tuple[BoundReadback[Any], ...],
        first: tuple[Part, ...] = (),
        *,
        idempotent: bool = False,
    ) -> None:
        """Send a command, made of the answers to what is asked first, with the question whether it was accepted."""
        driver = self.block.driver
        protocol = driver.protocol
        confirm = protocol.confirm if driver.port.confirms else None
        sent: list[str] = []

        def rest(answers: list[str]) -> tuple[Request, ...]:
            sent[:] = [command(answers)]
            parts = [self._part(sent[0], answered=protocol.accepted is not None)]
            parts += [Part(confirm[0], True)] if confirm is not None else []
            parts += [readback.part for readback in refresh]
            return protocol.requests(*parts, joined=driver.port.joins)

        async def exchange(writes: int | None) -> list[str]:
            requests = protocol.requests(*first) if first else rest([])
            return await driver.port.exchange(
                requests, self._get_label, urgent=True, then=rest if first else None, only_after=writes
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
        answers = answers[len(first) :]
        judged = confirm is not None or protocol.accepted is not None
        verdict = answers.pop(0) if judged else ""
        distribute(refresh, answers, stamp)
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
        listeners: called with this object after each reading, good or bad.
    """

    def __init__(self, spec: Readback[T], block: Block) -> None:
        super().__init__(spec, block)
        self.value_type = spec.value
        self.stamp = 0.0
        self.listeners: list[Listener] = []
        self._failing: list[Listener] = []
        self.ask = block.filled(spec.ask)
        self.part = self._part(self.ask)
        self._value: T | None = None
        self._decode = spec.value.decode
        self._valid_if = spec.valid_if
        self._function = spec.function
        self._condition: tuple[BoundReadback[Any], Callable[[Any], bool]] | None = None
        self._taken: T | None = None
        self._unasked = re.compile(block.filled(spec.unasked, re.escape)) if spec.unasked else None
        self._stale_after = spec.stale_after
        self._arrived = 0.0
        self._inputs: tuple[BoundReadback[Any], ...] = ()
        self.dependants: list[BoundReadback[Any]] = []
        self.alone = False
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
        if self._unasked is not None:
            self._arrived = time.monotonic()
            if (found := self._unasked.fullmatch(answer)) and found.re.groups:
                answer = found[1]
        try:
            self._taken = self._decode(answer)
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

    def judge(self, stamp: float) -> None:
        """Look at the reading beside those that came with it, and keep it if it is good."""
        if self.error is not None:
            return
        if self._condition is not None:
            other, holds = self._condition
            if other.error is not None:
                self.error = other.error
                return
            if not holds(other.value):
                self.error = ReadingInvalid(
                    f"{self.block.driver.name}: {self._label}: not valid, since {other.label} is {other.value!r}"
                )
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
            except Exception as why:  # the instrument's numbers may not suit the function
                error = ReplyError(f"{self.block.driver.name}: {self._label}: does not compute: {why!r}")
        self.error = error
        self.alone = False
        publish((self,), stamp)


class BoundSetpoint(BoundReadback[T]):
    """A setpoint of one instrument.

    Attributes:
        verifies: whether what is read back after a write must be what was sent.
    """

    def __init__(self, spec: Setpoint[T], block: Block) -> None:
        super().__init__(spec, block)
        self._station: dict[str, Limits] = {}
        self._refreshes = spec.refreshes
        self.verifies = spec.verify
        self._tell_text = block.filled(spec.tell)
        self._idempotent = spec.idempotent
        self._refreshed: tuple[BoundReadback[Any], ...] = ()

    def prepare(self) -> None:
        """Find the other parameters that this one needs."""
        super().prepare()
        self._refreshed = tuple(dict.fromkeys(self.asked + self._questions(self._refreshes)))

    def narrow(self, low: float, high: float, *, field: str = "") -> None:
        """Set the station's limits, of one field of several if named.

        Raises LimitError if they are wider than the instrument's.
        """
        value_type = self.value_type.fields[field] if isinstance(self.value_type, Fields) else self.value_type
        allowed = value_type.limits
        if low > high or (allowed is not None and not allowed[0] <= low <= high <= allowed[1]):
            raise self._fail(
                LimitError(
                    f"a station may narrow limits, not widen them: {low:g} to {high:g} is not inside {allowed}"
                )
            )
        self._station[field] = (low, high)

    def limits_of(self, field: str = "") -> Limits | None:
        """Return the limits in force, the station's or the instrument's, of one field of several if named."""
        value_type = self.value_type.fields[field] if isinstance(self.value_type, Fields) else self.value_type
        return self._station.get(field, value_type.limits)

    def check(self, value: object) -> T:
        """Return the value in its own type, without sending it.

        Raises ValueTypeError if it has another type, LimitError if it is beyond the limits.
        """
        try:
            checked = self.value_type.check(value)
            for field, (low, high) in self._station.items():
                number: Any = getattr(checked, field) if field else checked
                if not low <= number <= high:
                    raise LimitError(
                        f"{field} {number:g} is beyond the station's limits {low:g} to {high:g}"
                        f" {self.value_type.unit}".strip()
                    )
            text = self.value_type.encode(checked)
            for forbidden in self.block.driver.protocol.forbidden:
                if forbidden in text:
                    raise LimitError(f"the protocol does not take {forbidden!r} in {value!r}")
        except (ValueTypeError, LimitError) as error:
            raise self._fail(error) from None
        return checked

    async def write(self, value: T) -> None:
        """Send a value, ahead of every waiting read, and read it back where the instrument can be asked.

        Raises ValueTypeError or LimitError before anything is sent; RefusedError if the instrument did not take
        it; WriteCut, LinkDown, ReplyTimeout, PortBusy, TruncatedReply or ReplyError if the link failed.
        """
        checked = self.check(value)
        await self._write(lambda _: checked, ())

    async def update(self, **fields: object) -> None:
        """Change some fields of a value with several: read it, replace them, write it; nothing comes between.

        Raises what `read` and `write` raise.
        """
        value_type = self.value_type
        unknown = fields.keys() - (value_type.fields.keys() if isinstance(value_type, Fields) else set())
        if unknown:
            raise self._fail(ValueTypeError(f"there is no field {min(unknown)!r}"))
        if not self.ask:
            raise DefinitionError(f"{self.block.driver.name}: {self._label} can't be asked for")

        def replace(answer: str) -> T:
            self.take(answer)
            if self.error is not None:
                raise self.error
            current: Any = self._taken
            return self.check(current._replace(**fields))

        await self._write(replace, (self.part,))

    async def _write(self, make: Callable[[str], T], first: tuple[Part, ...]) -> None:
        sent: list[T] = []

        def command(answers: list[str]) -> str:
            sent.append(make(answers[0] if answers else ""))
            return self._tell_text.replace("{value}", self.value_type.encode(sent[0]))

        try:
            await self._tell(command, self._refreshed, first, idempotent=self._idempotent)
        except RefusedError:
            # an error that another client made, or noise: the instrument has the value all the same
            if not (self.ask and self.is_known and self.value_type.agree(sent[0], self.value)):
                raise
            self.block.driver.port.log.info(
                "%s: %s: not refused: it reads back", self.block.driver.name, self._label
            )
        if not self.ask:
            self._taken, self.error = sent[0], None
            self.judge(time.time())
            publish((self,), self.stamp)
            return
        if isinstance(self.error, ReplyError):
            raise self.error
        if self.verifies and not self.value_type.agree(sent[0], self.value):
            raise self._refused(
                f"sent {self.value_type.encode(sent[0])!r}, the instrument kept {self.value!r}"
            )

    def put(self, value: T) -> None:
        """`write()` for scripts without an event loop."""
        self._blocking(self.write(value))

    def put_fields(self, **fields: object) -> None:
        """`update()` for scripts without an event loop."""
        self._blocking(self.update(**fields))


class BoundCommand(Bound):
    """A command of one instrument."""

    def __init__(self, spec: Command, block: Block) -> None:
        super().__init__(spec, block)
        self._refreshes = spec.refreshes
        self._tell_text = block.filled(spec.tell)
        self._idempotent = spec.idempotent
        self._refreshed: tuple[BoundReadback[Any], ...] = ()

    def prepare(self) -> None:
        """Find the readbacks that it changes."""
        self._refreshed = self._questions(self._refreshes)

    async def execute(self) -> None:
        """Send the command, ahead of every waiting read.

        Raises RefusedError if the instrument did not take it, or what a failing link raises.
        """
        await self._tell(lambda _: self._tell_text, self._refreshed, idempotent=self._idempotent)

    def run(self) -> None:
        """`execute()` for scripts without an event loop."""
        self._blocking(self.execute())
