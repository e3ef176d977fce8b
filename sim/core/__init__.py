"""What every simulator stands on: the command table, clock, servers and faults."""

from .clock import Clock
from .control import serve_control
from .faults import Fault, Faults
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
    "Fault",
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
    "serve_control",
    "significant",
    "string",
    "word",
]
