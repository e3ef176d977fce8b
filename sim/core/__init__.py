"""What every simulator stands on: the command table, clock, servers and faults."""

from .clock import Clock
from .faults import Faults
from .lines import (
    Command,
    Field,
    LineSimulator,
    MalformedError,
    OutOfRangeError,
    RefusedError,
    Setting,
    integer,
    real,
    significant,
    string,
    word,
)
from .simulator import Simulator

__all__ = [
    "Clock",
    "Command",
    "Faults",
    "Field",
    "LineSimulator",
    "MalformedError",
    "OutOfRangeError",
    "RefusedError",
    "Setting",
    "Simulator",
    "integer",
    "real",
    "significant",
    "string",
    "word",
]
