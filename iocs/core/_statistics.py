"""What the Channel Access server counts."""

from dataclasses import dataclass


@dataclass
class Statistics:
    """The server's counters, since it was made.

    Attributes:
        clients: connections now.
        channels: open channels now.
        monitors: monitors now.
        malformed: requests and datagrams that no client should send; a request costs its sender the connection.
        dropped_events: events that were overtaken by newer ones while a client did not read.
        refused: times that the system had no room for another connection.
        reaped: connections that were closed because their clients are silent, dead or gone.
    """

    clients: int = 0
    channels: int = 0
    monitors: int = 0
    malformed: int = 0
    dropped_events: int = 0
    refused: int = 0
    reaped: int = 0
