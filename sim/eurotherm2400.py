"""Eurotherm 2404 temperature controller.

Source: 2000 Series Communications Handbook (HA026230 issue 3), chapters 3, 5 and 6.
"""

from .core import Clock, Faults
from .eurotherm import (
    ABSOLUTE_HIGH,
    ABSOLUTE_LOW,
    DEVIATION_BAND,
    DEVIATION_HIGH,
    DEVIATION_LOW,
    Eurotherm,
    common,
)
from .modbus import ILLEGAL_VALUE, Register

MANUAL_BIT, SENSOR_BREAK_BIT = 2, 10
ALARM_TYPES = (0, 1, 2, 16, 17, 18)
FULL_RESOLUTION, INTEGER_RESOLUTION = 0, 1


class Eurotherm2400(Eurotherm):
    """A 2404, with the registers of its home, setpoint, PID, alarm and output lists, and the status words."""

    model = 0x2440
    version = 0x0304
    functions = frozenset((1, 2, 3, 4, 5, 6, 7, 8, 16))
    silent = True  # 3.12
    most_written = 125  # 3.19
    coil_on = (0x01, 0xFF)  # 3.15
    hole = 0  # 5: an undefined value
    no_register = ILLEGAL_VALUE
    alarm_kinds = {
        1: ABSOLUTE_LOW,
        2: ABSOLUTE_HIGH,
        16: DEVIATION_BAND,
        17: DEVIATION_HIGH,
        18: DEVIATION_LOW,
    }
    table = (
        *common(band="display_decimals", output="percent_decimals"),
        Register(23, "program_status", values=(1, 2, 4), whole=True),
        Register(26, "remote_setpoint", "display_decimals", "setpoint_low", "setpoint_high"),
        Register(485, "remote_setpoint", "display_decimals", "setpoint_low", "setpoint_high"),
        Register(34, "safe_output", "percent_decimals", "output_low", "output_high"),
        Register(25, "setpoints.1", "display_decimals", "setpoint2_low", "setpoint2_high"),
        Register(2, "target", "display_decimals", "target_low", "target_high"),
        Register(113, "setpoint2_high", "display_decimals", "range_low", "range_high"),
        Register(114, "setpoint2_low", "display_decimals", "range_low", "range_high"),
        Register(263, "loop_break", settable=False, whole=True),
        Register(275, "ramping", settable=False, whole=True),
        Register(74, "fast", settable=False, whole=True),
        Register(76, "control_status", settable=False, whole=True),
        Register(77, "instrument_status", settable=False, whole=True),
        Register(521, "setpoint_count", settable=False, whole=True),
        Register(215, "cold_junction", "display_decimals", settable=False),
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
        Register(
            12550,
            "resolution",
            values=(FULL_RESOLUTION, INTEGER_RESOLUTION),
            settable="is_configuring",
            whole=True,
        ),
    )

    def __init__(self, *, unit: int = 1, clock: Clock | None = None, faults: Faults | None = None) -> None:
        """Switch it on, cold."""
        super().__init__(unit=unit, clock=clock, faults=faults)
        self.resolution = FULL_RESOLUTION
        self.loop_break = False
        self.heater_failed = False
        self.program_status = 1
        self.setpoint_count = 1  # one less than there are
        self.cold_junction = 25.0
        self.setpoint2_low, self.setpoint2_high = 0.0, 1000.0

    @property
    def target_low(self) -> float:
        """The lowest value of the setpoint that is selected."""
        return self.setpoint2_low if self.setpoint_number else self.setpoint_low

    @property
    def target_high(self) -> float:
        """The highest."""
        return self.setpoint2_high if self.setpoint_number else self.setpoint_high

    @property
    def display_decimals(self) -> int:
        """The decimals that are implied in what is in the unit of the display (3.5)."""
        return self.decimals if self.resolution == FULL_RESOLUTION else 0

    @property
    def percent_decimals(self) -> int:
        """The decimals that are implied in percents."""
        return 1 if self.resolution == FULL_RESOLUTION else 0

    @property
    def fast(self) -> int:
        """Register 74."""
        return self.fast_status()

    @property
    def status(self) -> int:
        """Register 75."""
        upper = {
            6: self.loop_break,
            7: self.heater_failed,
            8: bool(self.autotune),
            10: not self.range_low < self.process_value < self.range_high,
        }
        return super().status | sum(1 << bit for bit, state in upper.items() if state)

    @property
    def control_status(self) -> int:
        """Register 76."""
        bits = {1: self.sensor_broken, 6: self.loop_break, 12: bool(self.autotune), 15: self.is_manual}
        return sum(1 << bit for bit, state in bits.items() if state)

    @property
    def instrument_status(self) -> int:
        """Register 77."""
        bits = {0: self.is_configuring, 2: self.ramping, 3: bool(self.remote)}
        return sum(1 << bit for bit, state in bits.items() if state)

    def read_bit(self, number: int) -> bool:
        """Return a bit parameter (3.13); those that aren't simulated are 0."""
        return {MANUAL_BIT: self.is_manual, SENSOR_BREAK_BIT: self.sensor_broken}.get(number, False)

    def write_bit(self, number: int, state: bool) -> None:
        """Write a bit parameter (3.15)."""
        if number == MANUAL_BIT:
            self.mode = int(state)
