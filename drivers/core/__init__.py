"""What every driver stands on: links, framing, the port, parameters, units, errors."""

from .driver import Channel, Channels, Driver
from .parameters import Command, Readback, Setpoint, computed
from .protocol import Lines
from .values import Bool, Enum, Fields, Flags, Float, Integer, Text, ValueType

__all__ = [
    "Bool",
    "Channel",
    "Channels",
    "Command",
    "Driver",
    "Enum",
    "Fields",
    "Flags",
    "Float",
    "Integer",
    "Lines",
    "Readback",
    "Setpoint",
    "Text",
    "ValueType",
    "computed",
]
