"""Eurotherm 3504 process controller with two loops.

Source: 3500 Series Engineering Handbook (HA027988), digital communications, with the 2000 Series Communications
Handbook (HA026230).
"""

from dataclasses import replace
from typing import TypeVar

from .core import Clock, Faults
from .eurotherm import (
    ABSOLUTE_HIGH,
    ABSOLUTE_LOW,
    DEVIATION_BAND,
    DEVIATION_HIGH,
    DEVIATION_LOW,
    ZERO,
    Eurotherm,
    common,
)
from .modbus import Register

T = TypeVar("T")

SECOND_LOOP = 1024


class Loop(Eurotherm):
    """A loop with an oven of its own."""

    alarm_kinds = {
        1: ABSOLUTE_HIGH,
        2: ABSOLUTE_LOW,
        3: DEVIATION_HIGH,
        4: DEVIATION_LOW,
        5: DEVIATION_BAND,
    }

    def __init__(self, *, unit: int = 1, clock: Clock | None = None, faults: Faults | None = None) -> None:
        """Switch it on, cold."""
        super().__init__(unit=unit, clock=clock, faults=faults)
        self.rate_disabled = 0
        self.inhibited = 0

    def _move_setpoint(self, dt: float) -> None:
        if self.rate_disabled:
            self.working_setpoint = self._aim
        else:
            super()._move_setpoint(dt)

    def _control(self, dt: float) -> None:
        super()._control(dt)
        if self.inhibited:
            self.output = 0.0


INSTRUMENT = (107, 122, 131, 199, 516, 525)
"""What there is once, of what all series have."""
LOOP = (
    *(register for register in common(band="decimals", output=1) if register.number not in INSTRUMENT),
    Register(26, "remote_setpoint", "decimals", "setpoint_low", "setpoint_high"),
    Register(34, "safe_output", 1, "output_low", "output_high"),
    Register(78, "rate_disabled", values=(0, 1), whole=True),
    Register(85, "output", 1, settable=False),
    Register(268, "inhibited", values=(0, 1), whole=True),
)


def _in_second(register: Register) -> Register:
    """Return a register of the first loop as it is in the second one."""

    def there(setting: T) -> T | str:
        return f"second.{setting}" if isinstance(setting, str) else setting

    return replace(
        register,
        number=register.number + SECOND_LOOP,
        name=f"second.{register.name}",
        low=there(register.low),
        high=there(register.high),
        settable=there(register.settable),
    )


class Eurotherm3500(Loop):
    """A 3504 with two loops, each with an oven, and four analogue alarms of the first one.

    The second oven is that of `second`.
    """

    model = 1
    version = 0x0290
    functions = frozenset((3, 4, 6, 7, 8, 16))
    table = (
        *LOOP,
        *(register for register in common(band="decimals", output=1) if register.number in INSTRUMENT),
        *(_in_second(register) for register in LOOP),
        *(Register(number, "module_value", "decimals", settable=False) for number in (370, 373, 379)),
        Register(10213, "any_alarm", settable=False, whole=True),
        *(
            Register(10241 + 16 * number, f"alarms.{number}.setpoint", "decimals", -1999, 9999)
            for number in range(4)
        ),
        *(
            Register(10249 + 16 * number, f"alarms.{number}.active", settable=False, whole=True)
            for number in range(4)
        ),
    )

    def __init__(self, *, unit: int = 1, clock: Clock | None = None, faults: Faults | None = None) -> None:
        """Switch it on, cold."""
        super().__init__(unit=unit, clock=clock, faults=faults)
        self.second = Loop(clock=Clock(manual=True))
        self.second.kept = dict(self.kept)

    @property
    def module_value(self) -> float:
        """What a module's own input reads, degC: the room."""
        return self.room.temperature - ZERO

    @property
    def any_alarm(self) -> bool:
        """Whether there is an alarm."""
        return any(alarm.active for alarm in self.alarms)

    def changed(self, register: Register) -> None:
        """Act on what has been written."""
        if register.name.startswith("second."):
            self.second.changed(replace(register, name=register.name.removeprefix("second.")))
        else:
            super().changed(register)

    def advance(self, dt: float) -> None:
        """Let `dt` seconds pass."""
        super().advance(dt)
        self.second.instrument_mode = self.instrument_mode
        self.second.advance(dt)
