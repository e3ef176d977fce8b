"""Eurotherm 3216 temperature controller.

Source: 3200 Series Engineering Manual (HA028651 issue 7), chapter 15: digital communications.
"""

import math

from .core import Clock, Faults
from .eurotherm import (
    ABSOLUTE_HIGH,
    ABSOLUTE_LOW,
    DEVIATION_BAND,
    DEVIATION_HIGH,
    DEVIATION_LOW,
    HOURS,
    MINUTES,
    SECONDS,
    Eurotherm,
    common,
    kept,
)
from .modbus import ILLEGAL_VALUE, Register

ALARM_TYPES = (0, 1, 2, 3, 4, 5)
REMOTE_PATIENCE = 5.0
"""Seconds for which a remote setpoint holds."""


class Eurotherm3200(Eurotherm):
    """A 3216, with the registers for operating it, and the timer's status."""

    model = 0xE163
    version = 0x0111
    functions = frozenset((3, 4, 6, 8, 16))
    hole = 0
    no_register = ILLEGAL_VALUE
    alarm_kinds = {
        1: ABSOLUTE_HIGH,
        2: ABSOLUTE_LOW,
        3: DEVIATION_HIGH,
        4: DEVIATION_LOW,
        5: DEVIATION_BAND,
    }
    ramp_units = (MINUTES, HOURS, SECONDS)
    table = (
        *common(band="decimals", output=1),
        Register(23, "timer_status", values=(0, 1, 2, 3), whole=True),
        Register(26, "remote_setpoint", "decimals", "setpoint_low", "setpoint_high"),
        Register(34, "safe_output", 1, "output_low", "output_high"),
        Register(76, "inverted_status", settable=False, whole=True),
        Register(263, "loop_break", settable=False, whole=True),
        *(
            Register(294 + number, f"alarms.{number}.active", settable=False, whole=True)
            for number in range(4)
        ),
        *(
            Register(
                536 + number,
                f"alarms.{number}.kind",
                values=ALARM_TYPES,
                settable="is_configuring",
                whole=True,
            )
            for number in range(4)
        ),
        Register(4, "output", 1, "output_low", "output_high", settable="is_manual"),
        # the program: what follows its end, its cycles and the present one, dwell, setpoint and rate of 4 segments
        Register(328, "kept.328", values=(0, 1, 2, 3), whole=True),
        Register(332, "kept.332", low=1, high=100, whole=True),
        Register(333, "kept.333", settable=False, whole=True),
        *(kept(1280 + 3 * segment, time=True) for segment in range(4)),
        *(kept(1281 + 3 * segment, "decimals", -1999) for segment in range(4)),
        *(kept(1282 + 3 * segment, "decimals") for segment in range(4)),
        Register(202, "measured", 2, settable=False),
        Register(215, "cold_junction", "decimals", settable=False),
    )

    def __init__(self, *, unit: int = 1, clock: Clock | None = None, faults: Faults | None = None) -> None:
        """Switch it on, cold."""
        super().__init__(unit=unit, clock=clock, faults=faults)
        self.timer_status = 0
        self.loop_break = False
        self.cold_junction = 25.0
        self._remote_age = math.inf

    @property
    def measured(self) -> float:
        """The voltage of the thermocouple, mV; about that of type K."""
        return 0.041 * (self.process_value - self.cold_junction)

    @property
    def remote_failed(self) -> bool:
        """Whether the remote setpoint is too old."""
        return bool(self.remote) and self._remote_age > REMOTE_PATIENCE

    @property
    def status(self) -> int:
        """Register 75."""
        upper = {
            6: self.loop_break,
            10: self.process_value > self.range_high,
            12: self.new_alarm,
            13: self.ramping or self.timer_status == 1,
            14: self.remote_failed,
            15: bool(self.autotune),
        }
        return super().status | sum(1 << bit for bit, state in upper.items() if state)

    @property
    def inverted_status(self) -> int:
        """Register 76."""
        return ~self.status & 0xFFFF

    @property
    def _aim(self) -> float:
        return self.target if self.remote_failed else super()._aim

    def changed(self, register: Register) -> None:
        """Act on what has been written."""
        super().changed(register)
        if register.name == "remote_setpoint":
            self._remote_age = 0.0

    def advance(self, dt: float) -> None:
        """Let `dt` seconds pass."""
        self._remote_age += dt
        super().advance(dt)
