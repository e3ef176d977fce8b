"""What the drivers of Eurotherm's 2400, 3200 and 3500 series share: states, and the registers of 32 bits.

Source: 2000 Series Communications Handbook (HA026230 issue 3), chapters 3, 5 and 6.
"""

from enum import IntEnum

from .modbus import Modbus, holding, preset


class SetpointSelect(IntEnum):
    """Register 15."""

    SP1 = 0
    SP2 = 1


class Mode(IntEnum):
    """Register 273."""

    AUTO = 0
    MANUAL = 1


class Source(IntEnum):
    """Register 276: where the setpoint comes from."""

    LOCAL = 0
    REMOTE = 1


class InstrumentMode(IntEnum):
    """Register 199. In standby and configuration the outputs are off."""

    OPERATING = 0
    STANDBY = 1
    CONFIGURATION = 2


class Units(IntEnum):
    """Register 516. The PVs of temperatures say degC: another unit is an alarm."""

    CELSIUS = 0
    FAHRENHEIT = 1
    KELVIN = 2
    NONE = 3
    OTHER = -1


def wide(register: int) -> str:
    """Return the question for a register with 32 bits, at 8000h and twice its address (6.1)."""
    return holding(0x8000 + 2 * register, 2)


def preset_wide(register: int) -> str:
    """Return the command that writes it."""
    return preset(0x8000 + 2 * register)


def protocol(others: str) -> Modbus:
    """Return the protocol of a series.

    Args:
        others: a regular expression of how the identities of other series begin (register 122), as hexadecimal digits.
    """
    return Modbus(
        identify=("{addr} holding 122", f"(?!{others})"),
        timeout=1.5,  # 3.22: up to 0.5 s to the reply, which takes 0.7 s at 1200 baud
        serial={"baudrate": 9600},
    )
