"""Three instruments that do the same over three kinds of protocol, and keep a ledger of what they executed.

Each has four readings, a value that is never the same twice, and a setpoint. A reading is ``channel * 1_000_000 +
number``: at another channel's PV, or with a number lower than one before, it is a wrong value. A client puts no value
twice, so that the ledger shows a put that was lost or executed twice.

======== ===============================================================================================
line     lines of text without a checksum; a question after each command tells whether it was accepted
checked  lines with address and checksum; a command is answered; a reply doesn't name its question
frames   binary frames of nine bytes with address and checksum; a reply names the kind of its question
======== ===============================================================================================
"""

from __future__ import annotations

import itertools
import struct
from dataclasses import dataclass, replace

from tests.ca import Reading
from tests.frames import DONE, FIRMWARE, Motors, MotorsSimulator, framed

from labioc.devices.core import Device, DeviceGroup, SubGroups, pv
from labioc.devices.core.records import AlarmSeverity
from labioc.drivers.core import Channel, Channels, Driver, Integer, Lines, Readback, Setpoint
from labioc.drivers.core.checksums import SUM8
from labioc.drivers.core.errors import RefusedError
from labioc.iocs.core import Instrument
from labioc.sim.core import Command, LineSimulator, Simulator, integer

TIMEOUT = 0.5
SCAN = 0.1
CHANNELS = range(4)
MILLION = 1_000_000
INITIAL = 20
READINGS = tuple(f"{channel}:V" for channel in CHANNELS)
NAMES = (*READINGS, "SP", "SP_RBV")


class Ledger:
    """What an instrument counts and executes; a power-cycle doesn't touch it.

    Attributes:
        executed: the values that were set, in their order.
        states: the values that the setpoint has had, those after a power-cycle included.
    """

    def __init__(self) -> None:
        self.executed: list[int] = []
        self.states = [INITIAL]
        self._numbers = itertools.count(1)

    def reading(self, channel: int) -> int:
        return channel * MILLION + next(self._numbers)

    def set(self, value: int) -> None:
        self.executed.append(value)
        self.states.append(value)


# Lines


class LineChannel(Channel):
    value = Readback(Integer(), ask="V? {ch}")


class LineDriver(Driver):
    """Speaks plain lines."""

    protocol = Lines(
        eol="\n",
        timeout=TIMEOUT,
        identify=("*IDN?", "NUMBERED"),
        confirm=("ERR?", lambda code: int(code) == 0),
    )
    values = Channels(LineChannel, CHANNELS)
    setpoint = Setpoint(Integer(), ask="SP?", tell="SP {value}")


class LineInstrument(LineSimulator):
    terminators_in = b"\n"
    terminator_out = b"\n"

    def __init__(self) -> None:
        super().__init__()
        self.ledger = Ledger()
        self.setpoint = INITIAL

    def power_cycle(self) -> None:
        self.setpoint = INITIAL
        self.ledger.states.append(INITIAL)

    @Command("*IDN?")
    def _idn(self) -> str:
        return "NUMBERED,1"

    @Command("ERR?")
    def _err(self) -> str:
        return "0"

    @Command("V?", integer(0, 99))
    def _v(self, channel: int) -> str:
        return str(self.ledger.reading(channel))

    @Command("SP?")
    def _sp(self) -> str:
        return str(self.setpoint)

    @Command("SP", integer(0, 10 * MILLION))
    def _set_sp(self, value: int) -> None:
        self.setpoint = value
        self.ledger.set(value)


# Checked lines

CHECK = replace(SUM8, form="HEX")


def match_address(question: str, reply: str) -> str | None:
    """The text behind the address that question and reply have in common."""
    if not reply.startswith(question[:3]):
        return None
    if reply[3:] == "ERR":
        raise RefusedError(reply)
    return reply[3:]


class CheckedChannel(Channel):
    value = Readback(Integer(), ask="@01V?{ch}")


class CheckedDriver(Driver):
    """Speaks lines with address and checksum."""

    protocol = Lines(
        eol="\r",
        timeout=TIMEOUT,
        checksum=CHECK,
        identify=("@01ID?", "NUMBERED"),
        match=match_address,
        accepted=lambda answer: answer == "OK",
    )
    values = Channels(CheckedChannel, CHANNELS)
    setpoint = Setpoint(Integer(), ask="@01SP?", tell="@01SP={value}")


def digits(data: bytes) -> bytes:
    return b"%02X" % (sum(data) & 0xFF)


class CheckedInstrument(LineInstrument):
    terminators_in = b"\r"
    terminator_out = b"\r"

    def handle(self, message: bytes) -> bytes | None:
        body, given = message[:-2], message[-2:]
        if digits(body) != given or not body.startswith(b"@01"):
            return None
        return self._packed(self._answer(body[3:].decode("latin-1")))

    def _answer(self, text: str) -> str:
        match text[:3]:
            case "ID?":
                return "NUMBERED"
            case "SP?":
                return str(self.setpoint)
            case "SP=":
                self._setpoint(int(text[3:]))
                return "OK"
        return str(self.ledger.reading(int(text[2:])))

    def _setpoint(self, value: int) -> None:
        self.setpoint = value
        self.ledger.set(value)

    def _packed(self, text: str, address: bytes = b"@01") -> bytes:
        body = address + text.encode("latin-1")
        return body + digits(body) + b"\r"

    def refusal(self, message: bytes) -> bytes | None:
        return self._packed("ERR")

    def wrong_address(self, reply: bytes) -> bytes:
        return self._packed(reply[3:-3].decode("latin-1"), b"@02")

    def wrong_checksum(self, reply: bytes) -> bytes:
        return reply[:-3] + (b"00" if reply[-3:-1] != b"00" else b"01") + b"\r"


# Frames

SET, GET, VERSION = 5, 6, 136


class FramesChannel(Channel):
    value = Readback(Integer(), ask="1 GAP 1 {ch}")


class FramesDriver(Driver):
    """Speaks binary frames."""

    protocol = replace(Motors.protocol, timeout=TIMEOUT, identify=("1 GFV 1 0", str(FIRMWARE)))
    values = Channels(FramesChannel, CHANNELS)
    setpoint = Setpoint(Integer(), ask="1 GAP 0 0", tell="1 SAP 0 0 {value}")


class FramesInstrument(Simulator):
    def __init__(self) -> None:
        super().__init__()
        self.ledger = Ledger()
        self.setpoint = INITIAL

    power_cycle = LineInstrument.power_cycle

    split = MotorsSimulator.split

    def handle(self, message: bytes) -> bytes | None:
        address, code, kind, channel, value = struct.unpack(">BBBBi", message[:8])
        if address != 1 or sum(message[:8]) % 256 != message[8]:
            return None
        if code == SET:
            self.setpoint = value
            self.ledger.set(value)
        elif code == GET:
            value = self.ledger.reading(channel) if kind else self.setpoint
        elif code == VERSION:
            value = FIRMWARE
        return framed(address, DONE, code, value)

    refusal = MotorsSimulator.refusal
    wrong_address = MotorsSimulator.wrong_address
    wrong_checksum = MotorsSimulator.wrong_checksum


# What they have in common

Numbered = LineInstrument | FramesInstrument


@dataclass(frozen=True)
class Kind:
    """A kind of protocol.

    Attributes:
        reading: what only its questions for readings have in them, for ``only=`` of a fault.
        writing: what only the question has in it that tells whether a command was accepted.
        checks: whether its messages have a checksum.
    """

    name: str
    driver: type[Driver]
    simulator: type[Numbered]
    reading: str
    writing: str
    checks: bool

    def instrument(self, scan: float = SCAN) -> Instrument:
        """The instrument, with its PVs."""
        channel: type[Channel] = self.driver.channel_specs()["values"].kind
        value = channel.specs["value"]
        setpoint = self.driver.specs["setpoint"]
        assert isinstance(value, Readback)
        assert isinstance(setpoint, Setpoint)

        class ValuePVs(DeviceGroup):
            value_ = pv(value, name="V", scan=scan)

        class NumberedPVs(Device):
            values_ = SubGroups(ValuePVs, of=self.driver.channel_specs()["values"], prefix="{ch}:")
            setpoint_ = pv(setpoint, name="SP", scan=scan)

        return Instrument(self.name, self.driver, NumberedPVs, lambda variant: self.simulator(), "")


KINDS = (
    Kind("line", LineDriver, LineInstrument, "V?", "ERR?", checks=False),
    Kind("checked", CheckedDriver, CheckedInstrument, "V?", "SP=", checks=True),
    Kind("frames", FramesDriver, FramesInstrument, r"\x01\x06\x01", r"\x01\x05\x00", checks=True),
)


class Judge:
    """Looks at every event of one PV at a client."""

    def __init__(self, name: str, ledger: Ledger) -> None:
        self.wrong: list[str] = []
        self.is_good = False
        self.count = 0
        self._name = name
        self._channel = int(name[0]) if name in READINGS else None
        self._ledger = ledger
        self._last = 0

    def take(self, reading: Reading) -> None:
        self.count += 1
        self.is_good = reading.severity == AlarmSeverity.NO_ALARM
        value = int(reading.value)
        if self._channel is None:
            if self.is_good and value not in self._ledger.states:
                self.wrong.append(f"{value} was never set")
            return
        if value // MILLION != self._channel and not (value == 0 and not self.is_good):
            self.wrong.append(f"{self._name} shows {value}")
        elif self.is_good:
            if value < self._last:
                self.wrong.append(f"{self._name} shows {value} after {self._last}")
            self._last = value


class Puts:
    """What a client put, and what it was told."""

    def __init__(self, ledger: Ledger) -> None:
        self.done: list[int] = []
        self.failed: list[int] = []
        self.unanswered: list[int] = []
        self._ledger = ledger

    @property
    def lost(self) -> list[int]:
        """Those that were said to be done, and are not."""
        return sorted(set(self.done) - set(self._ledger.executed))

    @property
    def twice(self) -> list[int]:
        """Those that were executed more than once."""
        executed = sorted(self._ledger.executed)
        return [value for value, next_one in itertools.pairwise(executed) if value == next_one]
