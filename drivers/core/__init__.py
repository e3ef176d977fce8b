"""What every driver stands on: links, framing, the port, parameters, units, errors."""

import logging

from .driver import Channel, Channels, Driver
from .line import Line
from .parameters import Command, Readback, Setpoint, computed
from .protocol import Frames, Lines
from .rewritten import Block, Rewritten
from .values import Array, Bool, Enum, Fields, Flags, Float, Integer, Text, Time, ValueType

# a script that sets up no logging gets labioc's errors as exceptions, not on its terminal as well
logging.getLogger("labioc").addHandler(logging.NullHandler())

__all__ = [
    "Array",
    "Block",
    "Bool",
    "Channel",
    "Channels",
    "Command",
    "Driver",
    "Enum",
    "Fields",
    "Flags",
    "Float",
    "Frames",
    "Integer",
    "Line",
    "Lines",
    "Readback",
    "Rewritten",
    "Setpoint",
    "Text",
    "Time",
    "ValueType",
    "computed",
]
