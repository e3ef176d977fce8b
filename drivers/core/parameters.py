"""Parameters: one line of the manual's command table each.

On a class an attribute is the frozen specification (`Readback`, `Setpoint`, `Command`, `computed`). On an instance
it is a bound, typed object with `read()`, `write()` and `execute()` to await, and `get()`, `put()` and `run()` for
scripts without an event loop. No attribute access does I/O; the last value, its time and its error stay on the
bound object.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Generic, Never, NoReturn, Self, TypeVar, cast, overload

from .bound import Bound, BoundReadback
from .driven import BoundCommand, BoundSetpoint
from .errors import DefinitionError, MissingChannel
from .values import ValueType

if TYPE_CHECKING:
    from .driver import Block

T = TypeVar("T")


class Parameter:
    """What readbacks, setpoints and commands have in common: a name, a place in a class, a doc text."""

    name: str = ""
    owner: type[Block]

    def __init__(self, doc: str, timeout: float | None = None) -> None:
        self.__doc__ = doc
        self.timeout = timeout

    def __set_name__(self, owner: type[Block], name: str) -> None:
        # a second name is found when the class is made: Python 3.11 would hide an error that is raised here
        if not self.name:
            self.name, self.owner = name, owner

    def __set__(self, instance: object, value: Never) -> NoReturn:
        raise AttributeError(f"{self.name} is not assigned to: use await {self.name}.write(...), or put(...)")

    @property
    def path(self) -> str:
        """Where it stands: class and attribute."""
        return f"{self.owner.__name__}.{self.name}" if self.name else "a parameter without a name"

    def wire(self, key: str) -> list[str]:
        """Return the wire commands behind it, for the channel ``key``."""
        raise NotImplementedError

    @property
    def needs(self) -> tuple[Readback[Any], ...]:
        """The other readbacks of its class that it is asked with, computed from or written by, or that it changes."""
        return ()

    def exists_in(self, variant: str) -> bool:
        """Tell whether a variant of the instrument has it."""
        return True

    def of(self, block: Block) -> Bound:
        """Return the object that stands for it on an instance. Raises MissingChannel if its variant has none."""
        try:
            return block.parameters[self.name]
        except KeyError:
            driver = block.driver
            raise MissingChannel(
                f"{driver.name}: the variant {driver.variant!r} has no {block.path}{self.name}"
            ) from None

    def bind(self, block: Block) -> Bound:
        """Return the object that stands for it on an instance."""
        raise NotImplementedError


class Condition:
    """What another readback must be: ``valid_if=status == 0``, or ``valid_if=status.where(function)``."""

    def __init__(self, readback: Readback[Any], holds: Callable[[Any], bool]) -> None:
        self.readback = readback
        self.holds = holds

    def __bool__(self) -> NoReturn:
        raise TypeError("a condition on a readback is for valid_if=..., it is neither true nor false")


class Readback(Parameter, Generic[T]):
    """A value that is read.

    Args:
        value: how it stands on the wire.
        ask: the question; ``{ch}`` stands for the channel, ``{addr}`` for the instrument's address.
        unasked: for what comes unasked, a regular expression that the whole message matches; the value is its first
            group, or all of it.
        stale_after: how long what comes unasked may fail to come, seconds; then the reading has failed.
        valid_if: a condition on another readback of the same class, asked in the same exchange, without which the
            reading is not valid.
        variants: for variants of the instrument that are asked otherwise, the question; None where there is no such
            thing. Not for channels: they have variants of their own.
        timeout: how long its reply may take, seconds, where it differs from the protocol's.
        doc: what it is, where the name does not say it.
    """

    def __init__(
        self,
        value: ValueType[T],
        *,
        ask: str = "",
        unasked: str = "",
        stale_after: float | None = None,
        valid_if: Condition | None = None,
        variants: Mapping[str, str | None] | None = None,
        timeout: float | None = None,
        doc: str = "",
    ) -> None:
        super().__init__(doc, timeout)
        if not isinstance(value, ValueType):
            raise DefinitionError(f"expected a value type such as Float(), got {value!r} (asked by {ask!r})")
        if not ask and not unasked and type(self) is Readback:
            raise DefinitionError("a readback needs a question: ask=..., or what comes unasked: unasked=...")
        try:
            re.compile(unasked)
        except re.error as error:
            raise DefinitionError(f"unasked={unasked!r} is no regular expression: {error}") from error
        if stale_after is not None and not unasked:
            raise DefinitionError("stale_after= is for what comes unasked")
        if valid_if is not None and not ask and unasked:
            raise DefinitionError("valid_if= is for what is asked")
        self.value = value
        self.ask = ask
        self.unasked = unasked
        self.stale_after = stale_after
        self.valid_if = valid_if
        self.variants = dict(variants or {})
        self.inputs: tuple[Readback[Any], ...] = ()
        self.function: Callable[..., T] | None = None

    def __eq__(self, other: object) -> Condition:  # type: ignore[override]  # it reads as the manual does
        return Condition(self, lambda value: bool(value == other))

    def where(self, holds: Callable[[T], bool]) -> Condition:
        """Return the condition that a function of the value says yes."""
        return Condition(self, holds)

    __hash__ = object.__hash__

    @overload
    def __get__(self, instance: None, owner: type[Block]) -> Self: ...
    @overload
    def __get__(self, instance: Block, owner: type[Block]) -> BoundReadback[T]: ...
    def __get__(self, instance: Block | None, owner: type[Block]) -> Self | BoundReadback[T]:
        if instance is None:
            return self
        return cast(BoundReadback[T], self.of(instance))

    @property
    def needs(self) -> tuple[Readback[Any], ...]:
        """Its inputs, and what its condition is on."""
        return self.inputs if self.valid_if is None else (*self.inputs, self.valid_if.readback)

    def wire(self, key: str) -> list[str]:
        """Return the wire commands behind it."""
        return self.questions(key)

    def exists_in(self, variant: str) -> bool:
        """Tell whether a variant of the instrument has it."""
        return self.variants.get(variant, "") is not None

    def question(self, variant: str) -> str:
        """Return how a variant of the instrument is asked."""
        return self.variants.get(variant) or self.ask

    def questions(self, key: str) -> list[str]:
        """Return the question, behind the one that it depends on."""
        condition = [] if self.valid_if is None else self.valid_if.readback.questions(key)
        own = (self.ask or self.unasked).replace("{ch}", key)
        return [*condition, *([own] if own else [])]

    def bind(self, block: Block) -> BoundReadback[T]:
        """Return the object that stands for it on an instance."""
        return BoundReadback(self, block)


class Setpoint(Readback[T]):
    """A value that is written, and read back where the instrument can be asked.

    Args:
        value: how it stands on the wire, with its limits.
        tell: the command; ``{ch}`` stands for the channel, ``{value}`` for the value.
        before: a command that is sent before it.
        ask: the question for it; "" if the instrument can't be asked.
        refreshes: other readbacks of the same class that this command changes.
        variants: as for a `Readback`.
        verify: whether what is read back must be what was sent; False where the manual says that it may differ.
        idempotent: whether it does no harm to send it twice: then it is repeated if its reply is lost.
        timeout: how long its replies may take, seconds, where it differs from the protocol's.
        doc: what it is, where the name does not say it.
    """

    def __init__(
        self,
        value: ValueType[T],
        *,
        tell: str,
        before: str = "",
        ask: str = "",
        refreshes: Iterable[Readback[Any]] = (),
        variants: Mapping[str, str | None] | None = None,
        verify: bool = True,
        idempotent: bool = False,
        timeout: float | None = None,
        doc: str = "",
    ) -> None:
        super().__init__(value, ask=ask, variants=variants, timeout=timeout, doc=doc)
        if "{value}" not in tell:
            raise DefinitionError(f"a setpoint's command needs {{value}}, got {tell!r}")
        self.tell = tell
        self.before = before
        self.refreshes = tuple(refreshes)
        self.verify = verify
        self.idempotent = idempotent

    @overload
    def __get__(self, instance: None, owner: type[Block]) -> Self: ...
    @overload
    def __get__(self, instance: Block, owner: type[Block]) -> BoundSetpoint[T]: ...
    def __get__(self, instance: Block | None, owner: type[Block]) -> Self | BoundSetpoint[T]:
        if instance is None:
            return self
        return cast(BoundSetpoint[T], self.of(instance))

    @property
    def needs(self) -> tuple[Readback[Any], ...]:
        """Its inputs, and what it refreshes."""
        return (*super().needs, *self.refreshes)

    def wire(self, key: str) -> list[str]:
        """Return the command, behind the one before it, and the question."""
        commands = "; ".join(text for text in (self.before, self.tell) if text)
        return [commands.replace("{ch}", key), *self.questions(key)]

    def bind(self, block: Block) -> BoundSetpoint[T]:
        """Return the object that stands for it on an instance."""
        return BoundSetpoint(self, block)


class Command(Parameter):
    """Something that the instrument does, without a value.

    Args:
        tell: the command, or several that are sent one after the other; ``{ch}`` stands for the channel.
        refreshes: readbacks of the same class that it changes.
        idempotent: whether it does no harm to send it twice: then it is repeated if its reply is lost.
        timeout: how long its reply may take, seconds, where it differs from the protocol's.
        doc: what it does, where the name does not say it.
    """

    def __init__(
        self,
        *,
        tell: str | Sequence[str],
        refreshes: Iterable[Readback[Any]] = (),
        idempotent: bool = False,
        timeout: float | None = None,
        doc: str = "",
    ) -> None:
        super().__init__(doc, timeout)
        self.tells = (tell,) if isinstance(tell, str) else tuple(tell)
        self.refreshes = tuple(refreshes)
        self.idempotent = idempotent

    @overload
    def __get__(self, instance: None, owner: type[Block]) -> Self: ...
    @overload
    def __get__(self, instance: Block, owner: type[Block]) -> BoundCommand: ...
    def __get__(self, instance: Block | None, owner: type[Block]) -> Self | BoundCommand:
        if instance is None:
            return self
        return cast(BoundCommand, instance.parameters[self.name])

    @property
    def needs(self) -> tuple[Readback[Any], ...]:
        """What it refreshes."""
        return self.refreshes

    def wire(self, key: str) -> list[str]:
        """Return the command, or commands."""
        return [text.replace("{ch}", key) for text in self.tells]

    def bind(self, block: Block) -> BoundCommand:
        """Return the object that stands for it on an instance."""
        return BoundCommand(self, block)


class Computed(Readback[T]):
    """A value computed from several readbacks of the same class, which are asked in one exchange."""

    def __init__(
        self, value: ValueType[T], inputs: tuple[Readback[Any], ...], function: Callable[..., T]
    ) -> None:
        super().__init__(value, ask="", doc=function.__doc__ or "")
        self.inputs = inputs
        self.function = function

    def exists_in(self, variant: str) -> bool:
        """Tell whether a variant of the instrument has all that it is computed from."""
        return all(readback.exists_in(variant) for readback in self.inputs)

    def questions(self, key: str) -> list[str]:
        """Return the questions for its inputs."""
        return list(dict.fromkeys(text for readback in self.inputs for text in readback.questions(key)))


def computed(value: ValueType[T], *inputs: Readback[Any]) -> Callable[[Callable[..., T]], Computed[T]]:
    """Make a readback out of a function of the values of ``inputs``."""
    return lambda function: Computed(value, inputs, function)
