"""The common commands and the status registers of IEEE 488.2."""

from typing import ClassVar

from .clock import Clock
from .faults import Faults
from .lines import Command, LineSimulator, MalformedError, RefusedError, Setting, integer

OPERATION_COMPLETE, EXECUTION_ERROR, COMMAND_ERROR, POWER_ON = 1, 16, 32, 128
"""The bits of the standard event register (*ESR?)."""
EVENT_SUMMARY, SERVICE_REQUEST, OPERATION_SUMMARY = 32, 64, 128
"""The bits of the status byte (*STB?)."""


class Ieee488Simulator(LineSimulator):
    """Lines with the commands that start with a star; a refusal is silent and sets an event bit."""

    def __init__(self, *, clock: Clock | None = None, faults: Faults | None = None) -> None:
        """Start with the power-on event set."""
        super().__init__(clock=clock, faults=faults)
        self.events = POWER_ON
        self.event_enable = 0
        self.service_enable = 0

    settings: ClassVar[tuple[Setting, ...]] = (
        Setting("*ESE", event_enable=integer(0, 255, width=3)),
        Setting("*SRE", service_enable=integer(0, 255, width=3)),
    )

    @property
    def identity(self) -> str:
        """The reply to *IDN?."""
        raise NotImplementedError

    def operation_summary(self) -> bool:
        """Return whether an enabled event of the operation register is set."""
        return False

    def clear_events(self) -> None:
        """Clear every event register (*CLS)."""
        self.events = 0

    def reset(self) -> None:
        """Do what the manual says of *RST."""
        raise NotImplementedError

    def refused(self, reason: RefusedError) -> None:
        """Say nothing, but set the bit of a command error or an execution error."""
        self.events |= COMMAND_ERROR if isinstance(reason, MalformedError) else EXECUTION_ERROR

    @Command("*IDN?")
    def _idn(self) -> str:
        return self.identity

    @Command("*CLS")
    def _cls(self) -> None:
        self.clear_events()

    @Command("*ESR?")
    def _esr(self) -> str:
        events, self.events = self.events, 0
        return f"{events:03d}"

    @Command("*STB?")
    def _stb(self) -> str:
        summary = EVENT_SUMMARY if self.events & self.event_enable else 0
        summary |= OPERATION_SUMMARY if self.operation_summary() else 0
        return f"{summary | (SERVICE_REQUEST if summary & self.service_enable else 0):03d}"

    @Command("*OPC")
    def _opc(self) -> None:
        self.events |= OPERATION_COMPLETE

    @Command("*OPC?")
    def _opc_query(self) -> str:
        return "1"

    @Command("*RST")
    def _rst(self) -> None:
        self.reset()

    @Command("*TST?")
    def _tst(self) -> str:
        return "0"

    @Command("*WAI")
    def _wai(self) -> None:
        """Nothing is ever pending."""
