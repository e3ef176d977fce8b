"""What every IOC stands on: the host, the Channel Access server, the command line."""

from .cli import main
from .host import Host
from .instrument import Instrument, InstrumentConfig

__all__ = ["Host", "Instrument", "InstrumentConfig", "main"]
