"""Enums: states with labels, and some with a severity."""

from enum import IntEnum

from labioc.devices.core import PV, AlarmSeverity, PVGroup, soft
from labioc.iocs.core import program_of


class Mode(IntEnum):
    """What the pump does."""

    OFF = 0
    ON = 1
    FAULT = 2


class Enums(PVGroup):
    """States with labels, and a state that is an alarm."""

    valve = soft("bo", "VALVE", "The valve", states=("Closed", "Open"), value="Closed")
    mode = soft(
        *("mbbo", "PUMP", "The pump"),
        states=Mode,
        severities=(AlarmSeverity.NO_ALARM, AlarmSeverity.NO_ALARM, AlarmSeverity.MAJOR_ALARM),
        value=Mode.OFF,
    )

    @mode.putter
    async def _switch(self, instance: PV, value: int) -> None:
        if Mode(value) is Mode.ON and self.valve.value == 0:
            raise ValueError("open the valve first")


program = program_of(Enums, prefix="enums:")
