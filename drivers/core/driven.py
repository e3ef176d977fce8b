"""Bound setpoints and commands: what an instrument is told."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, TypeVar

from .answers import distribute, publish
from .bound import Bound, BoundReadback
from .errors import DefinitionError, LimitError, RefusedError, ReplyError, ValueTypeError
from .protocol import Part
from .values import Fields, Limits

if TYPE_CHECKING:
    from .driver import Block
    from .parameters import Command, Setpoint

T = TypeVar("T")


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
        self._before = block.filled(spec.before)
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

    def encoded(self, value: T) -> str:
        """Return the text of a checked value for the command."""
        return self.value_type.encode(value)

    def agrees(self, sent: T, kept: T) -> bool:
        """Tell whether what the instrument kept is what it was sent, to the resolution of the wire."""
        return self.value_type.agree(sent, kept)

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

        def replace(answers: list[str]) -> T:
            self.take(answers[0])
            if self.error is not None:
                raise self.error
            current: Any = self._taken
            return self.check(current._replace(**fields))

        await self._write(replace, (self.part,))

    async def write_from(self, others: Sequence[BoundReadback[Any]], make: Callable[[list[Any]], T]) -> None:
        """Ask for other readbacks and send what is made of their values; nothing comes between.

        Raises what `write` and ``make`` raise, and ReplyError or ReadingInvalid if one of them has no value.
        """
        asked = tuple(dict.fromkeys(each for other in others for each in other.asked))

        def made(answers: list[str]) -> T:
            distribute(asked, answers, time.time())
            for other in others:
                if other.error is not None:
                    raise other.error
            return make([other.value for other in others])

        await self._write(made, tuple(each.part for each in asked))

    async def _write(self, make: Callable[[list[str]], T], first: tuple[Part, ...]) -> None:
        sent: list[T] = []
        before = self.stamp

        def command(answers: list[str]) -> str:
            sent[:] = [make(answers)]  # once more, if it is repeated
            return self._tell_text.replace("{value}", self.encoded(sent[0]))

        if self._before:
            await self._tell(lambda _: self._before, ())
        try:
            await self._tell(
                command, self._refreshed, first, own=len(self.asked), idempotent=self._idempotent
            )
        except RefusedError:
            # an error that another client made, or noise: the instrument has the value all the same
            read_back = self.ask and self.is_known and self.stamp != before
            if not (read_back and self.agrees(sent[0], self.value)):
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
        if self.verifies and not self.agrees(sent[0], self.value):
            raise self._refused(f"sent {self.encoded(sent[0])!r}, the instrument kept {self.value!r}")

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
        self._texts = [block.filled(text) for text in spec.tells]
        self._idempotent = spec.idempotent
        self._refreshed: tuple[BoundReadback[Any], ...] = ()

    def prepare(self) -> None:
        """Find the readbacks that it changes."""
        self._refreshed = self._questions(self._refreshes)

    async def execute(self) -> None:
        """Send the command, ahead of every waiting read.

        Raises RefusedError if the instrument did not take it, or what a failing link raises.
        """
        *earlier, last = self._texts
        for text in earlier:
            await self._send(text, ())
        await self._send(last, self._refreshed)

    async def _send(self, text: str, refresh: tuple[BoundReadback[Any], ...]) -> None:
        await self._tell(lambda _: text, refresh, idempotent=self._idempotent)

    def run(self) -> None:
        """`execute()` for scripts without an event loop."""
        self._blocking(self.execute())
