"""A balance that streams its readings, in the manner of MT-SICS: SIR starts the stream, a key press comes unasked."""

from labioc.devices.core import Device, pv
from labioc.drivers.core import Driver, Float, Integer, Lines, Readback, Setpoint, computed
from labioc.iocs.core import Instrument
from labioc.sim.core import Command as SimCommand
from labioc.sim.core import LineSimulator, real

STALE = 30.0


class Balance(Driver):
    """Balance."""

    protocol = Lines(eol="\r\n", timeout=0.5, identify=("I4", r'I4 A "'), setup=("SIR",))
    weight = Readback(Float("g"), unasked=r"S [SD] +(\S+) g", stale_after=STALE)
    pressed = Readback(Integer(), unasked=r"K C (\d+)")
    temperature = Readback(Float("degC"), ask="TEMP")
    tolerance = Setpoint(Float("g", ".3f"), ask="TOL", tell="TOL {value}")
    # it answers in the form in which it tells of changes
    door = Readback(Integer(), ask="DOOR", unasked=r"DOOR A (\d)")

    @computed(Float("mg"), weight)
    def milligrams(weight: float) -> float:
        """In other units."""
        return 1000 * weight


class BalanceDevice(Device):
    """The PVs of the balance."""

    weight = pv(Balance.weight, name="WEIGHT")
    milligrams = pv(Balance.milligrams, name="MG")
    pressed = pv(Balance.pressed, name="KEY")
    temperature = pv(Balance.temperature, name="TEMP", scan=0.05)
    tolerance = pv(Balance.tolerance, name="TOL", scan=None)
    door = pv(Balance.door, name="DOOR", scan=None)


class OnlyStream(Driver):
    """A balance of which nothing is asked."""

    protocol = Balance.protocol
    weight = Readback(Float("g"), unasked=r"S [SD] +(\S+) g", stale_after=STALE)


class OnlyStreamDevice(Device):
    """Its PV."""

    weight = pv(OnlyStream.weight, name="WEIGHT")


class BalanceSimulator(LineSimulator):
    """The test says when a reading comes."""

    terminators_in = b"\r\n"
    terminator_out = b"\r\n"

    def __init__(self) -> None:
        super().__init__()
        self.streams = 0
        self.tolerance = 0.1
        self.door = 0

    def weigh(self, grams: float) -> None:
        """Send a reading, if the stream is on."""
        if self.streams:
            self.say(f"S S {grams:10.2f} g\r\n".encode())

    @SimCommand("I4")
    def _serial_number(self) -> str:
        return 'I4 A "B012345678"'

    @SimCommand("SIR")
    def _stream(self) -> None:
        self.streams += 1

    @SimCommand("TEMP")
    def _temperature(self) -> str:
        return "23.5"

    @SimCommand("TOL", real(), optional=1)
    def _set_tolerance(self, value: float | None) -> str | None:
        if value is None:
            return f"{self.tolerance:.3f}"
        self.tolerance = value
        return None

    @SimCommand("DOOR")
    def _door(self) -> str:
        return f"DOOR A {self.door}"


BALANCE = Instrument(
    "balance", Balance, BalanceDevice, lambda variant: BalanceSimulator(), "tcp://127.0.0.1:7777"
)
ONLY_STREAM = Instrument(
    "stream", OnlyStream, OnlyStreamDevice, lambda variant: BalanceSimulator(), "tcp://127.0.0.1:7777"
)
