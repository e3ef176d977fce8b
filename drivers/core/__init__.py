"""What every driver stands on: links, framing, the port, parameters, units, errors."""

import logging

from .arrays import Array
from .conversation import Conversation, reading
from .driver import Channel, Channels, Driver
from .line import Line
from .parameters import Command, Readback, Setpoint, computed
from .procedure import Result, procedure
from .protocol import Frames, Lines
from .rewritten import Block, Rewritten
from .scaled import Offset, Scaled
from .values import Bool, Enum, Fields, Flags, Float, Integer, Text, Time, ValueType

# a script that sets up no logging gets labioc's errors as exceptions, not on its terminal as well
logging.getLogger("labioc").addHandler(logging.NullHandler())

__all__ = [
    "Array",
    "Block",
    "Bool",
    "Channel",
    "Channels",
    "Command",
    "Conversation",
    "Driver",
    "Enum",
    "Fields",
    "Flags",
    "Float",
    "Frames",
    "Integer",
    "Line",
    "Lines",
    "Offset",
    "Readback",
    "Result",
    "Rewritten",
    "Scaled",
    "Setpoint",
    "Text",
    "Time",
    "ValueType",
    "computed",
    "procedure",
    "reading",
]
