"""Numbers with implied decimals, where another readback says how many, such as the setting of a display."""

from __future__ import annotations

from typing import TYPE_CHECKING, cast

from .bound import BoundReadback
from .driven import BoundSetpoint
from .errors import LimitError
from .parameters import Condition, Readback, Setpoint
from .values import Float

if TYPE_CHECKING:
    from .driver import Block


class Decimal(Readback[float]):
    """A number that stands on the wire as a whole one; how many decimals it has is asked in the same exchange.

    Args:
        value: its unit, and a ``spec`` of whole numbers.
        decimals: the readback that says how many decimals are implied.
        ask: the question.
        valid_if: as for `Readback`.
        doc: what it is, where the name does not say it.
    """

    def __init__(
        self,
        value: Float,
        decimals: Readback[int],
        *,
        ask: str,
        valid_if: Condition | None = None,
        doc: str = "",
    ) -> None:
        super().__init__(value, ask=ask, valid_if=valid_if, doc=doc)
        self.inputs = (decimals,)

    def questions(self, key: str) -> list[str]:
        """Return the question, behind the one for the decimals."""
        return [*self.inputs[0].questions(key), *super().questions(key)]

    def bind(self, block: Block) -> BoundDecimal:
        """Return the object that stands for it on an instance."""
        return BoundDecimal(self, block)


class DecimalSetpoint(Setpoint[float]):
    """A setpoint of that kind. It is written with the decimals that the instrument has in that moment.

    Args:
        value: its unit, a ``spec`` of whole numbers, and its limits.
        decimals: the readback that says how many decimals are implied.
        ask: the question.
        tell: the command.
        doc: what it is, where the name does not say it.
    """

    def __init__(self, value: Float, decimals: Readback[int], *, ask: str, tell: str, doc: str = "") -> None:
        super().__init__(value, ask=ask, tell=tell, doc=doc)
        self.inputs = (decimals,)

    def questions(self, key: str) -> list[str]:
        """Return the question, behind the one for the decimals."""
        return [*self.inputs[0].questions(key), *super().questions(key)]

    def bind(self, block: Block) -> BoundDecimalSetpoint:
        """Return the object that stands for it on an instance."""
        return BoundDecimalSetpoint(self, block)


class BoundDecimal(BoundReadback[float]):
    """A number with implied decimals of one instrument."""

    def prepare(self) -> None:
        """Put the question for the decimals before the others."""
        super().prepare()
        self._decimals: BoundReadback[int] = self._sibling(self._spec.inputs[0])
        self._asked = tuple(dict.fromkeys((*self._decimals.asked, *self._asked)))
        protocol, parts = self.block.driver.protocol, [readback.part for readback in self._asked]
        self._requests = protocol.requests(*parts)
        self._separate = protocol.requests(*parts, joined=False)

    def judge(self, stamp: float) -> None:
        """Keep the reading, in its unit."""
        if self.error is None and self._decimals.error is not None:
            self.error = self._decimals.error
        super().judge(stamp)
        if self.error is None:
            self._value = cast(float, self._taken) / 10**self._decimals.value


class BoundDecimalSetpoint(BoundDecimal, BoundSetpoint[float]):
    """A setpoint with implied decimals of one instrument."""

    async def write(self, value: float) -> None:
        """Ask for the decimals, and send the value with as many.

        Raises what `BoundSetpoint.write` raises; LimitError also if the instrument can't have it with these decimals.
        """
        checked = self.check(value)
        await self.write_from([self._decimals], lambda _: checked)

    def encoded(self, value: float) -> str:
        """Return the whole number. Raises LimitError if the instrument can't have it with these decimals."""
        decimals = self._decimals.value
        try:
            return self.value_type.encode(value * 10**decimals)
        except LimitError as error:
            unit = self.value_type.unit
            raise self._fail(LimitError(f"{value:g} {unit} with {decimals} decimals: {error}")) from None

    def agrees(self, sent: float, kept: float) -> bool:
        """Compare to one of the last decimal."""
        return bool(abs(sent - kept) < 1.01 / 10**self._decimals.value)
