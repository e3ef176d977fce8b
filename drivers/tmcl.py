"""TMCL, the command language of Trinamic's motion control modules, in its binary format.

A command is nine bytes, and is answered by nine: address, command, type, motor or bank, value (4 bytes, most
significant first), checksum; address of the host, address of the module, status, command, value, checksum. In a driver
both are texts: the manual's mnemonics, behind the address of the module::

    Readback(Float("step", "d", counts=1), ask="{addr} GAP 1 {ch}")    # GAP <parameter>, <motor>
    Command(tell="{addr} MST {ch}")                                    # MST <motor>

Source: TMCL firmware manuals, chapter 3 (binary command format, reply format, commands), the same for all modules.
"""

from __future__ import annotations

import re
import struct

from .core import Frames
from .core.checksums import SUM8
from .core.errors import RefusedError, ReplyError
from .core.framing import FixedFramer

_FIRST = "ROR ROL MST MVP SAP GAP STAP RSAP SGP GGP STGP RSGP RFS SIO GIO"
COMMANDS = {name: number for number, name in enumerate(_FIRST.split(), 1)} | {"SCO": 30, "GCO": 31, "CCO": 32}
"""The mnemonics. A command that has none stands as its number, such as 136, the version of the firmware."""
WITHOUT_TYPE = ("ROR", "ROL", "MST")
TYPES = {"ABS": 0, "REL": 1, "COORD": 2, "START": 0, "STOP": 1, "STATUS": 2}
"""The types of MVP and RFS, which have names."""
VERSION = 136

DONE, LOADED, WRONG_CHECKSUM = 100, 101, 1
REFUSALS = {
    2: "invalid command",
    3: "wrong type",
    4: "invalid value",
    5: "the configuration EEPROM is locked",
    6: "command not available",
    LOADED: "loaded into the program EEPROM instead of executed: the module is in download mode",
}
"""What the module says in place of 100."""

ANY = "*"
_VERSION_STRING = re.compile(rb".(\d{3,4}V[\d.]{3,4})", re.DOTALL)


def pack(text: str) -> bytes:
    """Return the frame of ``ADDRESS COMMAND [TYPE] MOTOR [VALUE]``. Raises ValueError if there is none."""
    address, command, *operands = text.split()
    if command == "ROR" and operands[1:] and operands[1].startswith("-"):
        command, operands[1] = "ROL", operands[1].removeprefix("-")
    if command in WITHOUT_TYPE:
        operands.insert(0, "0")
    number = COMMANDS[command] if command in COMMANDS else int(command)
    numbers = [TYPES[word] if word in TYPES else int(word) for word in operands]
    if len(numbers) > 3:
        raise ValueError("more than a type, a motor or bank, and a value")
    kind, motor, value = (*numbers, 0, 0, 0)[:3]
    try:
        return SUM8.append(struct.pack(">BBBBi", int(address), number, kind, motor, value))
    except struct.error as error:
        raise ValueError(str(error)) from None


def unpack(frame: bytes) -> str:
    """Return ``ADDRESS STATUS COMMAND VALUE``. Raises ReplyError if the checksum is wrong.

    The version of the firmware is the value ``1110V1.09`` in both of its forms. As a string it comes without address,
    status and checksum, in place of which stands what fits.
    """
    try:
        payload = SUM8.strip(frame)
    except ReplyError:
        if found := _VERSION_STRING.fullmatch(frame):
            return f"{ANY} {DONE} {VERSION} {found[1].decode()}"
        raise
    _, address, status, command, value = struct.unpack(">BBBBi", payload)
    if command == VERSION:
        return f"{address} {status} {command} {value >> 16}V{value >> 8 & 0xFF}.{value & 0xFF:02d}"
    return f"{address} {status} {command} {value}"


def match(question: str, reply: str) -> str | None:
    """Return the value of a reply, None if it is another module's or to another command.

    Raises RefusedError if the module refuses the command, ReplyError if the command came to it with a wrong checksum.
    """
    asked_address, asked, *_ = question.split()
    address, status, command, value = reply.split()
    if address not in (asked_address, ANY):
        return None
    if int(status) == WRONG_CHECKSUM:
        raise ReplyError(f"the module says that the checksum of {question!r} was wrong")
    if int(command) not in _numbers(asked):
        return None
    if int(status) in REFUSALS:
        raise RefusedError(f"the module says {status}, {REFUSALS[int(status)]}")
    if int(status) != DONE:
        raise ReplyError(f"expected a known status, got {status}")
    return value


def _numbers(command: str) -> tuple[int, ...]:
    # to the left, ROR goes out as ROL
    return (1, 2) if command == "ROR" else (COMMANDS[command] if command in COMMANDS else int(command),)


def framer() -> FixedFramer:
    """Return a framer for replies."""
    return FixedFramer(9, quiet=0.1)


def protocol(model: int) -> Frames:
    """Return the protocol of a module, which names itself by the version of its firmware.

    Args:
        model: the number in its name. A firmware may leave it out of its version; then any is taken.
    """
    return Frames(
        framing=framer,
        pack=pack,
        unpack=unpack,
        timeout=0.5,
        identify=(f"{{addr}} {VERSION} 1", rf"({model}|0)V"),
        match=match,
        accepted=lambda answer: True,
        serial={"baudrate": 9600},
    )
