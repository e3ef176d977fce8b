"""An instrument whose every reply says which parameter it belongs to and the how-manieth reply it is.

A reply is ``channel * 1_000_000 + number``; a client that sees channel 3's value at channel 4's PV, or an old number
after a new one, has seen a wrong value.
"""

import itertools

from labioc.devices.core import Alarm, Device, DeviceGroup, SubGroups, pv
from labioc.drivers.core import Channel, Channels, Command, Driver, Float, Integer, Lines, Readback, Setpoint
from labioc.iocs.core import Instrument
from labioc.sim.core import Command as SimCommand
from labioc.sim.core import LineSimulator, integer, real

CHANNELS = range(4)
MILLION = 1_000_000
TIMEOUT = 0.25


class NumberedChannel(Channel):
    """A reading that is never the same twice."""

    value = Readback(Integer(), ask="V? {ch}")


class Numbered(Driver):
    """Numbered instrument."""

    protocol = Lines(
        eol="\n",
        timeout=TIMEOUT,
        identify=("*IDN?", "NUMBERED"),
        confirm=("ERR?", lambda code: int(code) == 0),
    )
    values = Channels(NumberedChannel, CHANNELS)
    setpoint = Setpoint(Float("K", ".3f", limits=(0, 500)), ask="SP?", tell="SP {value}")
    blind = Setpoint(Float("K", ".3f"), tell="BLIND {value}", doc="Can't be asked for")
    level = Readback(Float("K"), ask="LEVEL?")
    reset = Command(tell="RESET")


class NumberedPVs(DeviceGroup):
    """A channel."""

    value = pv(NumberedChannel.value, name="V", scan=0.05)


class NumberedDevice(Device):
    """The PVs of the numbered instrument."""

    values = SubGroups(NumberedPVs, of=Numbered.values, prefix="{ch}:")
    setpoint = pv(Numbered.setpoint, name="SP", scan=0.1)
    blind = pv(Numbered.blind, name="BLIND")
    level = pv(Numbered.level, name="LEVEL", scan=0.05, alarm=Alarm(low=10, high=90, hihi=95, hysteresis=2))
    level_c = pv(Numbered.level, name="LEVEL_C", unit="degC", scan=0.05, alarm=Alarm(hihi=-178.15))
    slow = pv(Numbered.level, name="SLOW", scan=None)
    reset = pv(Numbered.reset, name="RESET")


class NumberedSimulator(LineSimulator):
    """It answers V? n with n * 1_000_000 plus a number that rises with each reply."""

    terminators_in = b"\n"
    terminator_out = b"\n"

    def __init__(self) -> None:
        super().__init__()
        self.setpoint = 20.0
        self.blind = 0.0
        self.level = 50.0
        self.resets = 0
        self.error = 0
        self.refuse_next = False
        self._numbers = itertools.count(1)

    @SimCommand("*IDN?")
    def _idn(self) -> str:
        return "NUMBERED,1"

    @SimCommand("ERR?")
    def _err(self) -> str:
        error, self.error = self.error, 0
        return str(error)

    @SimCommand("V?", integer(0, 99))
    def _v(self, channel: int) -> str:
        return str(channel * MILLION + next(self._numbers))

    @SimCommand("LEVEL?")
    def _level(self) -> str:
        return f"{self.level:.3f}"

    @SimCommand("SP?")
    def _sp(self) -> str:
        return f"{self.setpoint:.3f}"

    @SimCommand("SP", real())
    def _set_sp(self, value: float) -> None:
        if self.refuse_next:
            self.refuse_next, self.error = False, 16
        else:
            self.setpoint = value

    @SimCommand("BLIND", real())
    def _set_blind(self, value: float) -> None:
        self.blind = value

    @SimCommand("RESET")
    def _reset(self) -> None:
        self.resets += 1


def numbered_simulator(variant: str) -> NumberedSimulator:
    return NumberedSimulator()


INSTRUMENT = Instrument("numbered", Numbered, NumberedDevice, numbered_simulator, "tcp://127.0.0.1:7777")
