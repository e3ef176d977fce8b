"""Setpoints that are written as another one: in a unit that other settings make, or as a step from what is read."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, cast

from .answers import publish
from .driven import BoundSetpoint
from .errors import LimitError
from .parameters import Readback, Setpoint
from .values import Float

if TYPE_CHECKING:
    from .driver import Block


class Scaled(Setpoint[float]):
    """A number that stands on the wire as the value of another setpoint, whose unit others make.

    It is written with the settings that the instrument has in that moment: they are asked in the same turn::

        pulse_divisor = Setpoint(Integer(limits=(0, 13)), ask="GAP 154", tell="SAP 154 {value}")
        raw_speed = Setpoint(Integer(limits=(0, 2047)), ask="GAP 4", tell="SAP 4 {value}")
        speed = Scaled(Float("step/s", limits=(0, 499756)), raw_speed, pulse_divisor, unit=lambda n: 244.14 / 2**n)

    Args:
        value: its unit, and the limits that it can have at all.
        raw: the setpoint that is written, a whole number.
        by: the readbacks that make its unit.
        unit: how many of the value's unit make one of the setpoint's, from the values of these.
        doc: what it is, where the name does not say it.
    """

    def __init__(
        self,
        value: Float,
        raw: Setpoint[int],
        *by: Readback[Any],
        unit: Callable[..., float],
        doc: str = "",
    ) -> None:
        super().__init__(value, tell=raw.tell, doc=doc)
        self.inputs = (raw, *by)
        self.function = lambda number, *values: number * unit(*values)
        self.unit = unit

    def questions(self, key: str) -> list[str]:
        """Return the questions for what is written, and for what makes its unit."""
        return list(dict.fromkeys(text for readback in self.inputs for text in readback.questions(key)))

    def bind(self, block: Block) -> BoundScaled:
        """Return the object that stands for it on an instance."""
        return BoundScaled(self, block)


class Offset(Setpoint[float]):
    """A step from where the instrument is, written as the setpoint to which it leads, within the limits of that::

        position = Readback(Float("mm"), ask="POS?")
        target = Setpoint(Float("mm", limits=(0, 100)), ask="TGT?", tell="TGT {value}")
        move = Offset(target, position)

    Args:
        target: the setpoint that is written.
        position: the readback from which the step is counted, asked in the same turn.
        doc: what it is, where the name does not say it.
    """

    def __init__(self, target: Setpoint[float], position: Readback[float], *, doc: str = "") -> None:
        unit, limits = target.value.unit, target.value.limits
        most = limits[1] - limits[0] if limits is not None else None
        super().__init__(
            Float(unit, limits=None if most is None else (-most, most)), tell=target.tell, doc=doc
        )
        self.target, self.position = target, position

    @property
    def needs(self) -> tuple[Readback[Any], ...]:
        """What it is counted from, and what is written."""
        return (self.position, self.target)

    def wire(self, key: str) -> list[str]:
        """Return the command."""
        return [self.tell.replace("{ch}", key)]

    def bind(self, block: Block) -> BoundOffset:
        """Return the object that stands for it on an instance."""
        return BoundOffset(self, block)


class BoundScaled(BoundSetpoint[float]):
    """A scaled setpoint of one instrument."""

    def __init__(self, spec: Scaled, block: Block) -> None:
        super().__init__(spec, block)
        self._unit = spec.unit

    async def write(self, value: float) -> None:
        """Ask for what makes the unit, and send the value in it, to the nearest whole number.

        Raises what `BoundSetpoint.write` raises; LimitError also if the instrument can't have it with these settings.
        """
        checked = self.check(value)
        raw, by = cast(BoundSetpoint[int], self._inputs[0]), self._inputs[1:]

        def make(values: list[Any]) -> int:
            try:
                return raw.check(round(checked / self._unit(*values)))
            except LimitError as error:
                why = LimitError(f"{value:g} {self.value_type.unit} is not possible at present: {error}")
                raise self._fail(why) from None

        await raw.write_from(by, make)

    def agrees(self, sent: float, kept: float) -> bool:
        """Compare to half a unit on the wire."""
        unit = self._unit(*(readback.value for readback in self._inputs[1:]))
        return abs(sent - kept) <= abs(unit) / 2 * (1 + 1e-9)


class BoundOffset(BoundSetpoint[float]):
    """An offset of one instrument."""

    def __init__(self, spec: Offset, block: Block) -> None:
        super().__init__(spec, block)
        self._target_spec, self._position_spec = spec.target, spec.position

    async def write(self, value: float) -> None:
        """Ask where the instrument is, and send the value so far from there.

        Raises what `BoundSetpoint.write` raises; LimitError also if that is beyond the limits of the target.
        """
        checked = self.check(value)
        position = self._sibling(self._position_spec)
        target = cast(BoundSetpoint[float], self._sibling(self._target_spec))

        await target.write_from([position], lambda values: target.check(values[0] + checked))
        self._taken, self.error = checked, None
        self.judge(time.time())
        publish((self,), self.stamp)
