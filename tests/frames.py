"""A motor controller that talks in binary frames of nine bytes, in the manner of TMCL.

A command is address, command, type, motor, value (4 bytes) and checksum; a reply is the host's address, the module's,
status, command, value and checksum. A position is ``motor * 1_000_000 + number``: a client that sees another motor
there, or an old number after a new one, has seen a wrong value.
"""

import itertools
import struct
from collections.abc import Iterator

from labioc.devices.core import Device, DeviceGroup, SubGroups, pv
from labioc.drivers.core import Channel, Channels, Command, Driver, Frames, Integer, Readback, Setpoint
from labioc.drivers.core.checksums import SUM8
from labioc.drivers.core.errors import RefusedError, ReplyError
from labioc.drivers.core.framing import FixedFramer
from labioc.iocs.core import Instrument
from labioc.sim.core import Simulator

MILLION = 1_000_000
TIMEOUT = 0.25
COMMANDS = {"MST": 3, "SAP": 5, "GAP": 6, "GFV": 136}
TARGET, POSITION, SPEED = 0, 1, 4
DONE = 100
REFUSALS = {2: "invalid command", 3: "wrong type", 4: "invalid value"}
FIRMWARE = 1140 << 16 | 0x0104


def pack(text: str) -> bytes:
    """Make a frame of ``ADDRESS COMMAND TYPE MOTOR [VALUE]``."""
    address, command, *numbers = text.split()
    kind, motor, value, *_ = [*map(int, numbers), 0]
    try:
        return SUM8.append(struct.pack(">BBBBi", int(address), COMMANDS[command], kind, motor, value))
    except (struct.error, KeyError) as error:
        raise ValueError(f"no such command: {error}") from None


def unpack(frame: bytes) -> str:
    """Return ``ADDRESS STATUS COMMAND VALUE``."""
    _, *fields = struct.unpack(">BBBBi", SUM8.strip(frame))
    return " ".join(map(str, fields))


def match(question: str, reply: str) -> str | None:
    """Take what this address answers to this command."""
    asked, said = question.split(), reply.split()
    if said[0] != asked[0] or int(said[2]) != COMMANDS[asked[1]]:
        return None
    if int(said[1]) in REFUSALS:
        raise RefusedError(REFUSALS[int(said[1])])
    if int(said[1]) != DONE:
        raise ReplyError(f"expected the status {DONE}, got {said[1]}")
    return said[3]


def framer() -> FixedFramer:
    return FixedFramer(9, quiet=0.1)


class Motor(Channel):
    """A motor."""

    position = Readback(Integer(), ask=f"{{addr}} GAP {POSITION} {{ch}}")
    target = Setpoint(
        Integer(limits=(-(2**23), 2**23)),
        ask=f"{{addr}} GAP {TARGET} {{ch}}",
        tell=f"{{addr}} SAP {TARGET} {{ch}} {{value}}",
    )
    speed = Setpoint(
        Integer(), ask=f"{{addr}} GAP {SPEED} {{ch}}", tell=f"{{addr}} SAP {SPEED} {{ch}} {{value}}"
    )
    stop = Command(tell="{addr} MST 0 {ch}")


class Motors(Driver):
    """Motor controller."""

    protocol = Frames(
        framing=framer,
        pack=pack,
        unpack=unpack,
        timeout=TIMEOUT,
        identify=("{addr} GFV 1 0", str(FIRMWARE)),
        match=match,
        accepted=lambda answer: True,
    )
    motors = Channels(Motor, (0, 1, 2))


class MotorPVs(DeviceGroup):
    """A motor."""

    position = pv(Motor.position, name="POS", scan=0.05)
    target = pv(Motor.target, name="TARGET", scan=0.5)
    speed = pv(Motor.speed, name="SPEED", scan=None)
    stop = pv(Motor.stop, name="STOP")


class MotorsDevice(Device):
    """The PVs of a motor controller."""

    motors = SubGroups(MotorPVs, of=Motors.motors, prefix="M{ch}:")


class MotorsSimulator(Simulator):
    """Controllers at several addresses behind one port, each with three motors."""

    def __init__(self, *addresses: str) -> None:
        super().__init__()
        self.settings = {
            (int(address), kind, motor): 0
            for address in addresses or ("1",)
            for kind in (TARGET, SPEED)
            for motor in range(3)
        }
        self.addresses = {address for address, _, _ in self.settings}
        self._numbers = itertools.count(1)

    def split(self, buffer: bytearray) -> Iterator[bytes]:
        while len(buffer) >= 9:
            yield bytes(buffer[:9])
            del buffer[:9]

    def handle(self, message: bytes) -> bytes | None:
        address, command, kind, motor, value = struct.unpack(">BBBBi", message[:8])
        if address not in self.addresses or sum(message[:8]) % 256 != message[8]:
            return None
        self.log.append(" ".join(map(str, (address, command, kind, motor, value))))
        place = address, kind, motor
        status = DONE
        match command:
            case 136:
                value = FIRMWARE
            case 3:
                pass
            case 5 if place in self.settings:
                status = DONE if abs(value) <= 2**23 else 4
                if status == DONE:
                    self.settings[place] = value
            case 6 if place in self.settings:
                value = self.settings[place]
            case 6 if kind == POSITION:
                value = motor * MILLION + next(self._numbers)
            case 5 | 6:
                status = 3
            case _:
                status = 2
        return framed(address, status, command, value)

    def refusal(self, message: bytes) -> bytes | None:
        return framed(message[0], 4, message[1], 0)

    def wrong_address(self, reply: bytes) -> bytes:
        _, address, status, command, value = struct.unpack(">BBBBi", reply[:8])
        return framed(address + 1, status, command, value)

    def wrong_checksum(self, reply: bytes) -> bytes:
        return reply[:8] + bytes([(reply[8] + 1) % 256])


def framed(address: int, status: int, command: int, value: int) -> bytes:
    body = struct.pack(">BBBBi", 2, address, status, command, value)
    return body + bytes([sum(body) % 256])


MOTORS = Instrument("motors", Motors, MotorsDevice, lambda variant: MotorsSimulator(), "tcp://127.0.0.1:7777")
