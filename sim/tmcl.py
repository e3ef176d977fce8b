"""Modules that speak TMCL in its binary format: frames, addresses, status codes, parameters and their EEPROM.

Source: TMCL firmware manuals, chapters 3 (commands) and 5 (global parameters).
"""

import random
import struct
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import ClassVar

from .core import Clock, Faults, Simulator

OK, LOADED, CHECKSUM, INVALID_COMMAND, WRONG_TYPE, INVALID_VALUE, LOCKED, NOT_AVAILABLE = (
    *(100, 101, 1, 2, 3, 4, 5, 6),
)
TARGET_REACHED = 128
"""The status of the reply that comes by itself, if command 138 asked for it."""

FACTORY = 137
"""The command for factory settings, which isn't answered."""

READ, WRITE, STORE = "R", "W", "E"
SIZE = 9
INT32 = 1 << 31
PROGRAM_ONLY = {*range(19, 30), *range(33, 40)}
"""Commands of TMCL programs, which make no sense from a host."""
DOWNLOADED = 128
"""Commands below are stored instead of executed in download mode."""
MILLISECONDS = 1000.0


class RefusedError(Exception):
    """Raised for a command that is answered by another status than 100."""

    def __init__(self, status: int) -> None:
        """Keep the status."""
        super().__init__(status)
        self.status = status


@dataclass(frozen=True)
class Parameter:
    """A line of a manual's table of parameters: its range, its access (a sum of R, W and E), its factory default."""

    low: int
    high: int
    access: str = READ + WRITE + STORE
    default: int = 0


GLOBALS = {
    64: Parameter(0, 255, default=228),  # EEPROM magic
    65: Parameter(0, 11),  # RS-485 baud rate
    66: Parameter(0, 255, default=1),  # serial address
    68: Parameter(0, 65535),  # serial heartbeat
    69: Parameter(2, 8, default=8),  # CAN bit rate
    70: Parameter(0, 0x7FF, default=2),  # CAN reply ID
    71: Parameter(0, 0x7FF, default=1),  # CAN ID
    73: Parameter(0, 4321),  # configuration EEPROM lock
    75: Parameter(0, 255),  # telegram pause time
    76: Parameter(0, 255, default=2),  # serial host address
    77: Parameter(0, 1),  # auto start mode
    78: Parameter(0, 1),  # I/O mode
    79: Parameter(0, 1),  # end switch polarity
    81: Parameter(0, 3),  # TMCL code protection
    82: Parameter(0, 65535),  # CAN heartbeat
    83: Parameter(0, 0x7FF),  # CAN secondary address
    84: Parameter(0, 1),  # coordinate storage
    85: Parameter(0, 1),  # do not restore user variables
    87: Parameter(0, 255),  # serial secondary address
    90: Parameter(0, 1),  # reverse shaft direction
    128: Parameter(0, 3, READ),  # TMCL application status
    129: Parameter(0, 1, READ),  # download mode
    130: Parameter(0, INT32 - 1, READ),  # TMCL program counter
    132: Parameter(-INT32, INT32 - 1, READ + WRITE),  # tick timer
    133: Parameter(0, INT32 - 1, READ),  # random number
    255: Parameter(0, 1, READ + WRITE),  # suppress reply
}
"""Bank 0."""
LOCK, UNLOCK = 1234, 4321
USER_VARIABLES = 256
STORED_VARIABLES = 56
TIMERS = {
    **{number: Parameter(0, INT32 - 1) for number in range(3)},
    **{number: Parameter(0, 3) for number in range(27, 46)},
}
"""Bank 3: timers and interrupt triggers."""
COORDINATES = 21


class Module(Simulator):
    """A module at an address of a line.

    A subclass has the tables of its axes, and moves them. What stands in the EEPROM outlives a power cycle.
    """

    model: ClassVar[int]
    firmware: ClassVar[tuple[int, int]]
    motors: ClassVar[int] = 1
    axis_parameters: ClassVar[dict[int, Parameter]]

    def __init__(self, *, clock: Clock | None = None, faults: Faults | None = None) -> None:
        """Switch it on, as it left the factory."""
        super().__init__(clock=clock, faults=faults)
        self.eeprom: dict[tuple[str, int, int], int] = {}
        self.start()

    def start(self) -> None:
        """Begin with what stands in the EEPROM."""
        self.axes = [
            {
                number: self.eeprom.get(("axis", motor, number), line.default)
                for number, line in self.axis_parameters.items()
            }
            for motor in range(self.motors)
        ]
        self.globals = {
            number: self.eeprom.get(("global", 0, number), line.default) for number, line in GLOBALS.items()
        }
        self.timers = {number: self.eeprom.get(("global", 3, number), 0) for number in TIMERS}
        restored = not self.globals[85]
        self.variables = [
            self.eeprom.get(("global", 2, number), 0) if restored else 0 for number in range(USER_VARIABLES)
        ]
        self.coordinates = [
            [self.eeprom.get(("coordinate", motor, number), 0) for number in range(COORDINATES)]
            for motor in range(self.motors)
        ]
        self.downloading = False
        self._ticks_from = self.clock.now()
        self._awaited = 0

    def power_cycle(self) -> None:
        """Lose what doesn't stand in the EEPROM."""
        self.start()

    # frames (3.1, 3.2)

    def split(self, buffer: bytearray) -> Iterator[bytes]:
        """Yield frames of nine bytes; what comes before one, and is none, is dropped as if a pause had followed it."""
        while len(buffer) >= SIZE:
            starts = range(min(SIZE, len(buffer) - SIZE + 1))
            del buffer[: next((at for at in starts if is_sound(buffer[at : at + SIZE])), 0)]
            yield bytes(buffer[:SIZE])
            del buffer[:SIZE]

    def handle(self, message: bytes) -> bytes | None:
        """Execute a command for this module, and answer it."""
        address, command, kind, motor, value = struct.unpack(">BBBBi", message[:8])
        # host software on USB, where there is one module, addresses 0
        if address not in (self.globals[66], self.globals[87]):
            return None
        if not is_sound(message):
            return self.reply(CHECKSUM, 0, 0)
        self.log.append(f"{command} {kind} {motor} {value}")
        if command == 136 and kind == 0:
            major, minor = self.firmware
            return bytes([self.globals[76]]) + f"{self.model}V{major}{minor:02d}".encode()
        try:
            status, value = self.execute(command, kind, motor, value)
        except RefusedError as refusal:
            status = refusal.status
        if status == OK and (self.globals[255] or command == FACTORY):
            return None
        return self.reply(status, command, value)

    def reply(self, status: int, command: int, value: int) -> bytes:
        """Return the frame of a reply."""
        body = struct.pack(">BBBBi", self.globals[76], self.globals[66], status, command, wrapped(value))
        return body + bytes([sum(body) % 256])

    def refusal(self, message: bytes) -> bytes | None:
        """Answer as to an invalid value."""
        return self.reply(INVALID_VALUE, message[1], 0)

    def wrong_address(self, reply: bytes) -> bytes:
        """Return the reply as if the next module had answered."""
        body = bytes([reply[0], (reply[1] + 1) % 256]) + reply[2:8]
        return body + bytes([sum(body) % 256])

    def wrong_checksum(self, reply: bytes) -> bytes:
        """Return the reply with another checksum."""
        return reply[:8] + bytes([(reply[8] + 1) % 256])

    # commands (3.4)

    def execute(self, command: int, kind: int, motor: int, value: int) -> tuple[int, int]:
        """Execute a command; return status and value, which is the command's if there is no other.

        Raises RefusedError.
        """
        if self.downloading and command < DOWNLOADED:
            return LOADED, value
        axis_commands: dict[int, Callable[[int, int, int], int | None]] = {
            1: lambda kind, motor, value: self.rotate(motor, value),
            2: lambda kind, motor, value: self.rotate(motor, -value),
            3: lambda kind, motor, value: self.stop(motor),
            4: self._mvp,
            5: self._sap,
            6: lambda kind, motor, value: self._gap(kind, motor),
            7: self._stap,
            8: self._rsap,
            13: self.search,
            30: self._sco,
            31: lambda kind, motor, value: self._coordinate(kind, motor),
            32: self._cco,
        }
        others: dict[int, Callable[[int, int, int], int | None]] = {
            9: self._sgp,
            10: lambda kind, bank, value: self._ggp(kind, bank),
            11: self._stgp,
            12: self._rsgp,
            14: self.set_output,
            15: lambda kind, bank, value: self.input(kind, bank),
            **{number: lambda kind, motor, value: None for number in (128, 129, 130, 131)},
            132: lambda kind, motor, value: self._download(True),
            133: lambda kind, motor, value: self._download(False),
            135: lambda kind, motor, value: 0,
            136: lambda kind, motor, value: self._version(kind),
            FACTORY: lambda kind, motor, value: self._factory(value),
            138: lambda kind, motor, value: self._await(value),
            255: lambda kind, motor, value: self._reset(value),
        }
        if command in axis_commands:
            # all motors, or the coordinates' own EEPROM, are motor 255
            if motor >= self.motors and not (motor == 255 and command in (30, 31)):
                raise RefusedError(INVALID_VALUE)
            told = axis_commands[command](kind, motor, value)
        elif command in others:
            told = others[command](kind, motor, value)
        else:
            raise RefusedError(NOT_AVAILABLE if command in PROGRAM_ONLY else INVALID_COMMAND)
        return OK, value if told is None else told

    def rotate(self, motor: int, speed: int) -> None:
        """ROR, ROL: turn at this speed, in the module's units."""
        raise NotImplementedError

    def stop(self, motor: int) -> None:
        """MST."""
        raise NotImplementedError

    def move(self, motor: int, target: int) -> None:
        """MVP: move to this position."""
        raise NotImplementedError

    def search(self, kind: int, motor: int, value: int) -> int | None:
        """RFS: start (0) or stop (1) a reference search, or return its step (2)."""
        raise NotImplementedError

    def get_axis(self, motor: int, number: int) -> int:
        """Return the value of an axis parameter, which exists."""
        return self.axes[motor][number]

    def set_axis(self, motor: int, number: int, value: int) -> None:
        """Set an axis parameter to a value in its range."""
        self.axes[motor][number] = value

    def input(self, port: int, bank: int) -> int:
        """GIO."""
        raise NotImplementedError

    def set_output(self, port: int, bank: int, value: int) -> None:
        """SIO."""
        raise NotImplementedError

    def arrived(self, motor: int) -> None:
        """Send what command 138 asked for."""
        if self._awaited >> motor & 1:
            self._awaited &= ~(1 << motor)
            self.say(self.reply(TARGET_REACHED, 138, 1 << motor))

    def _mvp(self, kind: int, motor: int, value: int) -> None:
        if kind == 0:
            target = value
        elif kind == 1:
            target = self.get_axis(motor, 1) + value
        elif kind == 2:
            target = self._coordinate(value, motor)
        else:
            raise RefusedError(WRONG_TYPE)
        line = self.axis_parameters[0]
        if not line.low <= target <= line.high:
            raise RefusedError(INVALID_VALUE)
        self.move(motor, target)

    def _sap(self, number: int, motor: int, value: int) -> None:
        line = self.axis_parameters.get(number)
        if line is None or WRITE not in line.access:
            raise RefusedError(WRONG_TYPE)
        if not line.low <= value <= line.high:
            raise RefusedError(INVALID_VALUE)
        self.set_axis(motor, number, value)

    def _gap(self, number: int, motor: int) -> int:
        line = self.axis_parameters.get(number)
        if line is None or READ not in line.access:
            raise RefusedError(WRONG_TYPE)
        return self.get_axis(motor, number)

    def _stap(self, number: int, motor: int, value: int) -> None:
        self._check_stored(self.axis_parameters, number)
        self.eeprom["axis", motor, number] = self.get_axis(motor, number)

    def _rsap(self, number: int, motor: int, value: int) -> None:
        self._check_stored(self.axis_parameters, number, writing=False)
        default = self.axis_parameters[number].default
        self.set_axis(motor, number, self.eeprom.get(("axis", motor, number), default))

    def _check_stored(self, table: dict[int, Parameter], number: int, *, writing: bool = True) -> None:
        if number not in table or STORE not in table[number].access:
            raise RefusedError(WRONG_TYPE)
        if writing and self.globals[73]:
            raise RefusedError(LOCKED)

    def _bank(self, bank: int) -> dict[int, Parameter]:
        if bank == 2:
            anything = Parameter(-INT32, INT32 - 1), Parameter(-INT32, INT32 - 1, READ + WRITE)
            return {number: anything[number >= STORED_VARIABLES] for number in range(USER_VARIABLES)}
        tables = {0: GLOBALS, 3: TIMERS}
        if bank not in tables:
            raise RefusedError(INVALID_VALUE)
        return tables[bank]

    def _sgp(self, number: int, bank: int, value: int) -> None:
        line = self._bank(bank).get(number)
        if line is None or WRITE not in line.access:
            raise RefusedError(WRONG_TYPE)
        if not line.low <= value <= line.high:
            raise RefusedError(INVALID_VALUE)
        if bank == 0:
            self._set_global(number, value, line)
        elif bank == 2:
            self.variables[number] = value
        else:
            self.timers[number] = value

    def _set_global(self, number: int, value: int, line: Parameter) -> None:
        if number == 73:
            if value not in (LOCK, UNLOCK):
                raise RefusedError(INVALID_VALUE)
            value = int(value == LOCK)
        elif number == 132:
            self._ticks_from = self.clock.now() - value / MILLISECONDS
        elif STORE in line.access and self.globals[73]:
            raise RefusedError(LOCKED)
        self.globals[number] = value
        if STORE in line.access:
            self.eeprom["global", 0, number] = value

    def _ggp(self, number: int, bank: int) -> int:
        if number not in self._bank(bank):
            raise RefusedError(WRONG_TYPE)
        if bank == 2:
            return self.variables[number]
        if bank == 3:
            return self.timers[number]
        if number == 129:
            return int(self.downloading)
        if number == 132:
            return int((self.clock.now() - self._ticks_from) * MILLISECONDS)
        return random.randrange(INT32) if number == 133 else self.globals[number]

    def _stgp(self, number: int, bank: int, value: int) -> None:
        self._check_stored(self._bank(bank), number)
        self.eeprom["global", bank, number] = self._ggp(number, bank)

    def _rsgp(self, number: int, bank: int, value: int) -> None:
        self._check_stored(self._bank(bank), number, writing=False)
        stored = self.eeprom.get(("global", bank, number), 0)
        if bank == 2:
            self.variables[number] = stored
        elif bank == 3:
            self.timers[number] = stored

    def _coordinate(self, number: int, motor: int) -> int:
        if not 0 <= number < COORDINATES:
            raise RefusedError(WRONG_TYPE)
        if motor == 255:
            for axis, coordinates in enumerate(self.coordinates):
                coordinates[number] = self.eeprom.get(("coordinate", axis, number), 0)
            return 0
        return self.coordinates[motor][number]

    def _sco(self, number: int, motor: int, value: int) -> None:
        if not 0 <= number < COORDINATES:
            raise RefusedError(WRONG_TYPE)
        if motor == 255:
            if value or not number:
                raise RefusedError(INVALID_VALUE)
            for axis in range(self.motors):
                self._keep_coordinate(axis, number)
            return
        line = self.axis_parameters[0]
        if not line.low <= value <= line.high:
            raise RefusedError(INVALID_VALUE)
        self.coordinates[motor][number] = value
        if number and self.globals[84]:
            self._keep_coordinate(motor, number)

    def _keep_coordinate(self, motor: int, number: int) -> None:
        if self.globals[73]:
            raise RefusedError(LOCKED)
        self.eeprom["coordinate", motor, number] = self.coordinates[motor][number]

    def _cco(self, number: int, motor: int, value: int) -> None:
        self._sco(number, motor, self.get_axis(motor, 1))

    # control functions (3.6)

    def _download(self, begins: bool) -> None:
        self.downloading = begins

    def _version(self, kind: int) -> int:
        if kind != 1:
            raise RefusedError(WRONG_TYPE)
        major, minor = self.firmware
        return self.model << 16 | major << 8 | minor

    def _factory(self, value: int) -> None:
        if value != LOCK:
            raise RefusedError(INVALID_VALUE)
        self.eeprom.clear()
        self.start()

    def _reset(self, value: int) -> None:
        if value == LOCK:
            self.start()

    def _await(self, motors: int) -> None:
        self._awaited = motors


def is_sound(frame: bytes | bytearray) -> bool:
    """Tell whether the checksum fits."""
    return sum(frame[:8]) % 256 == frame[8]


def wrapped(value: int, bits: int = 32) -> int:
    """Return a number as so many bits hold it, signed."""
    half = 1 << bits - 1
    return (value + half) % (2 * half) - half
