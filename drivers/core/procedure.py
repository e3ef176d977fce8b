"""Procedures: commands that take several exchanges, such as a sweep, and the readbacks that their results go to."""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any, Generic, Self, TypeVar, cast, overload

from .answers import finish
from .bound import BoundReadback
from .conversation import Conversation
from .driven import BoundCommand
from .errors import DefinitionError, LabiocError, ReadingInvalid, RefusedError, ReplyError
from .parameters import Command, Readback
from .values import ValueType

if TYPE_CHECKING:
    from .driver import Block

T = TypeVar("T")
B = TypeVar("B", bound="Block")


class BoundResult(BoundReadback[T]):
    """What a procedure of one instrument has found out."""

    async def read(self) -> T:
        """Return the last result; the instrument is not asked. Raises ReadingInvalid before the first."""
        if self.error is not None:
            raise self.error
        if not self.stamp:
            raise ReadingInvalid(f"{self.block.driver.name}: {self._label}: there is no result yet")
        return self.value

    def keep(self, value: T) -> None:
        """Take a result."""
        self._taken, self.error = value, None
        finish((self,), time.time())

    def restore(self) -> None:
        """Show the last result again, if there is one: the link is back, and what was measured is still true."""
        if self.error is not None:
            self.error = None
            self.announce()


class Result(Readback[T]):
    """A readback whose value a `procedure` returns. It can't be asked for.

    Args:
        value: what the procedure returns: its unit, its limits; it need not stand on the wire like that.
        doc: what it is, where the name does not say it.
    """

    def __init__(self, value: ValueType[T], *, doc: str = "") -> None:
        super().__init__(value, doc=doc)
        self.says: tuple[str, ...] = ()

    def wire(self, key: str) -> list[str]:
        """Return what its procedure says to the instrument."""
        return [text.replace("{ch}", key) for text in self.says]

    def bind(self, block: Block) -> BoundResult[T]:
        """Return the object that stands for it on an instance."""
        return BoundResult(self, block)


class BoundProcedure(BoundCommand, Generic[T]):
    """A command of one instrument that takes several exchanges.

    Attributes:
        is_running: whether it is under way.
    """

    def __init__(self, spec: Procedure[T], block: Block) -> None:
        super().__init__(spec, block)
        self._talk = Conversation(self, urgent=True)
        self._made_by = spec.made_by
        self._result = spec.result
        self.is_running = False

    async def execute(self) -> None:
        """Talk with the instrument until it is done. Its turns go ahead of waiting reads, writes come between them.

        Raises RefusedError if it is already under way, or what its function raises.
        """
        if self.is_running:
            raise self._refused("it is under way")
        self.is_running = True
        try:
            value = await self._made_by(self.block, self._talk)
        except RefusedError as error:
            if str(error).startswith(f"{self.block.driver.name}: "):
                raise
            raise self._refused(str(error)) from None
        except LabiocError:
            raise
        except Exception as why:  # the instrument's numbers may not suit the function
            raise ReplyError(f"{self.block.driver.name}: {self._label}: does not compute: {why!r}") from why
        finally:
            self.is_running = False
        cast(BoundResult[T], self.block.parameters[self._result.name]).keep(value)


class Procedure(Command, Generic[T]):
    """A command that a function executes, in as many exchanges as it takes. Made by `procedure`."""

    def __init__(
        self,
        result: Result[T],
        made_by: Callable[[Any, Conversation], Awaitable[T]],
        says: tuple[str, ...],
        timeout: float | None,
    ) -> None:
        if not says:
            raise DefinitionError(
                'a procedure says something, for whoever reads the table of PVs: ..., ":INIT"'
            )
        super().__init__(tell=says, timeout=timeout, doc=made_by.__doc__ or "")
        self.result = result
        result.says = says
        self.made_by = made_by

    @property
    def needs(self) -> tuple[Readback[Any], ...]:
        """Its result."""
        return (self.result,)

    @overload
    def __get__(self, instance: None, owner: type[Block]) -> Self: ...
    @overload
    def __get__(self, instance: Block, owner: type[Block]) -> BoundProcedure[T]: ...
    def __get__(self, instance: Block | None, owner: type[Block]) -> Self | BoundProcedure[T]:
        if instance is None:
            return self
        return cast(BoundProcedure[T], instance.parameters[self.name])

    def bind(self, block: Block) -> BoundProcedure[T]:
        """Return the object that stands for it on an instance."""
        return BoundProcedure(self, block)


def procedure(
    result: Result[T], *says: str, timeout: float | None = None
) -> Callable[[Callable[[B, Conversation], Awaitable[T]]], Procedure[T]]:
    """Make a command out of an asynchronous function of a class, which talks with the instrument.

    The function gets the channel or instrument, and a `Conversation`. What it returns goes to ``result``. Writes go on
    the wire between two of its turns, and so do readings; what must not be seen in between belongs into one turn.

    Args:
        result: the readback of the same class that gets what the function returns.
        says: what it says to the instrument in the main, for the table of PVs.
        timeout: how long each reply may take, seconds, where it differs from the protocol's.
    """
    return lambda function: Procedure(result, function, says, timeout)
