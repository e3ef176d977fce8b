"""What every simulator stands on: the command table, clock, servers and faults."""

from .clock import Clock
from .control import fault_switches, serve_control
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
from .replay import Replay
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
    "Replay",
    "Setting",
    "Simulator",
    "fault_switches",
    "integer",
    "real",
    "serve_control",
    "significant",
    "string",
    "word",
]
