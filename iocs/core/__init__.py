"""What every IOC stands on: the host, the Channel Access server, the command line."""

from ._threads import from_thread, in_thread
from .cli import main
from .host import Host
from .instrument import Instrument, InstrumentConfig
from .program import Program
from .pvgroups import program_of

__all__ = [
    "Host",
    "Instrument",
    "InstrumentConfig",
    "Program",
    "from_thread",
    "in_thread",
    "main",
    "program_of",
]
