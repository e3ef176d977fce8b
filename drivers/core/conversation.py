"""Readings that take several exchanges, such as a waveform in pieces: a function that talks with the instrument."""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable, Iterable, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any, TypeVar

from .answers import finish, patiently
from .bound import Bound, BoundReadback
from .errors import (
    DefinitionError,
    DeviceError,
    LabiocError,
    ReadingInvalid,
    RefusedError,
    ReplyError,
    ReplyTimeout,
)
from .parameters import Readback
from .protocol import Part, Request
from .values import ValueType

if TYPE_CHECKING:
    from .driver import Block

T = TypeVar("T")
B = TypeVar("B", bound="Block")

Said = str | tuple[str, ValueType[Any]]
"""A command, or a question and how the value stands in its answer."""


class Conversation:
    """What the function of a `reading` or a `procedure` talks through.

    Args:
        bound: the reading or procedure.
        urgent: whether its turns go ahead of those that read.
    """

    def __init__(self, bound: Bound, *, urgent: bool = False) -> None:
        self._bound = bound
        self._urgent = urgent

    @property
    def is_fresh(self) -> bool:
        """Whether the last reading was good: only then can there be nothing new."""
        return isinstance(self._bound, BoundReadback) and self._bound.is_known

    async def __call__(
        self,
        *said: Said,
        then: Callable[[list[Any]], Sequence[Said]] | None = None,
        timeout: float | None = None,
    ) -> list[Any]:
        """Say something in one turn on the line: nothing comes between, and each is a message of its own.

        Args:
            said: commands, and questions as ``(question, value type)``; ``{ch}`` and ``{addr}`` stand for the channel
                and the instrument's address.
            then: makes out of the values what else is said in the same turn.
            timeout: how long each reply may take, seconds, where it differs from the usual.

        Returns the values in the answers to the questions.

        Raises LinkError, TruncatedReply, ReplyError, ReadingInvalid or RefusedError. Let it pass: the reading has
        failed then.
        """
        bound = self._bound
        port = bound.block.driver.port
        first, values, others = self._parts(said, timeout), [], []

        def further(answers: list[str]) -> tuple[Request, ...]:
            values.extend(self._values(first, answers))
            others.extend(self._parts(then(values) if then is not None else (), timeout))
            return self._requests(others)

        answers = await port.exchange(
            self._requests(first),
            lambda: bound.label,
            urgent=self._urgent,
            then=further if then is not None else None,
        )
        if then is None:
            return self._values(first, answers)
        return values + self._values(others, answers[sum(part.answered for part, _ in first) :])

    def _parts(self, said: Sequence[Said], timeout: float | None) -> list[tuple[Part, ValueType[Any] | None]]:
        block = self._bound.block
        is_answered = block.driver.protocol.accepted is not None
        parts = []
        for text, kind in ((each, None) if isinstance(each, str) else each for each in said):
            part = self._bound.said(block.filled(text), answered=kind is not None or is_answered)
            parts.append((part if timeout is None else replace(part, timeout=timeout), kind))
        return parts

    def _requests(self, parts: Sequence[tuple[Part, ValueType[Any] | None]]) -> tuple[Request, ...]:
        return self._bound.block.driver.protocol.requests(*(part for part, _ in parts), joined=False)

    def _values(
        self, parts: Sequence[tuple[Part, ValueType[Any] | None]], answers: Iterable[str]
    ) -> list[Any]:
        driver = self._bound.block.driver
        came_in = iter(answers)
        values = []
        for part, kind in parts:
            if not part.answered:
                continue
            answer = next(came_in)
            if driver.protocol.takes_from_queue(part.text):
                driver.port.on_verdict(answer)
            came = f"{driver.name}: {self._bound.label}: {part.text!r} was answered with {answer[:200]!r}"
            try:
                if kind is not None:
                    values.append(kind.decode(answer))
                elif not driver.protocol.is_accepted(answer):
                    raise RefusedError(came)
            except ReadingInvalid as why:  # the answer makes sense, and says so
                raise ReadingInvalid(f"{driver.name}: {self._bound.label}: {why}") from None
            except RefusedError:
                raise
            except Exception as why:  # a value type from outside may fail in its own way
                expected = "yes or no" if kind is None else kind.expected
                hint = "" if isinstance(why, ValueError) else f" ({why!r})"
                error = ReplyError(f"{came}; expected {expected}{hint}")
                driver.port.distrust(error)
                raise error from None
        return values


class BoundReading(BoundReadback[T]):
    """A readback of one instrument that takes several exchanges."""

    def __init__(self, spec: Reading[T], block: Block) -> None:
        super().__init__(spec, block)
        self._talk = Conversation(self)
        self._made_by = spec.made_by

    def prepare(self) -> None:
        """It asks by itself."""
        self._asked = (self,)

    async def read(self) -> T:
        """Talk with the instrument, and return the value: the last one, if there is nothing new.

        Raises LinkDown, ReplyTimeout, PortBusy, TruncatedReply, ReplyError, or ReadingInvalid, also where there is
        nothing to read yet.
        """
        made: list[T | None] = []

        async def attempt(writes: int | None) -> None:
            try:
                made[:] = [await self._made_by(self.block, self._talk)]
            except LabiocError:
                raise
            except Exception as why:  # the instrument's numbers may not suit the function
                raise ReplyError(
                    f"{self.block.driver.name}: {self._label}: does not compute: {why!r}"
                ) from why

        try:
            await patiently(self.block.driver.port, (self,), attempt)
        except (ReplyTimeout, DeviceError) as error:
            if isinstance(error, ReadingInvalid):
                self.alone = False  # there was an answer, and it said so
            if error.asked:
                self.note()
            raise
        if made[0] is not None:
            self._keep(made[0])
        elif not self.is_known:
            self._have_nothing()
        return self._known()

    def _keep(self, value: T) -> None:
        self._taken, self.error, self.alone = value, None, False
        finish((self,), time.time())

    def _have_nothing(self) -> None:
        # what was known before the failure says nothing of now
        self.stamp, self.error, self.alone = 0.0, None, False
        self.note()
        self.announce()

    def _known(self) -> T:
        if not self.stamp:
            raise ReadingInvalid(f"{self.block.driver.name}: {self._label}: there is nothing to read yet")
        return self.value


class Reading(Readback[T]):
    """A value that a function reads, in as many exchanges as it takes. Made by `reading`."""

    def __init__(
        self,
        value: ValueType[T],
        made_by: Callable[[Any, Conversation], Awaitable[T | None]],
        says: tuple[str, ...],
        timeout: float | None,
    ) -> None:
        if not says:
            raise DefinitionError(
                'a reading says something, for whoever reads the table of PVs: reading(..., "CURV?")'
            )
        super().__init__(value, timeout=timeout, doc=made_by.__doc__ or "")
        self.made_by = made_by
        self.says = says

    def questions(self, key: str) -> list[str]:
        """Return what it says to the instrument."""
        return [text.replace("{ch}", key) for text in self.says]

    def bind(self, block: Block) -> BoundReading[T]:
        """Return the object that stands for it on an instance."""
        return BoundReading(self, block)


def reading(
    value: ValueType[T], *says: str, timeout: float | None = None
) -> Callable[[Callable[[B, Conversation], Awaitable[T | None]]], Reading[T]]:
    """Make a readback out of an asynchronous function of a class, which talks with the instrument.

    The function gets the channel or instrument, and a `Conversation`. Writes go on the wire between two of its turns;
    other readings wait for its end. It is asked again like any reading, from its beginning. What computes for long
    belongs into a thread.

    Args:
        value: what the function returns: its unit, its limits; it need not stand on the wire like that.
        says: what it says to the instrument in the main, for the table of PVs.
        timeout: how long each reply may take, seconds, where it differs from the protocol's.

    The function returns None if there is nothing new: the value stays as it is, and its time stamp. If what is known is
    not good any more (`Conversation.is_fresh`), None says that there is nothing to read.
    """
    return lambda function: Reading(value, function, says, timeout)
