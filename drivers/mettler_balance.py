"""Mettler Toledo balances and scales with the Standard Interface Command Set (MT-SICS).

Source: MT-SICS Reference Manual (11780711, 11781363), chapter 3, commands in alphabetical order; section 2.1 response
formats and error messages. A balance lists with `I0` which commands it has; levels 0 and 1 are those of all.
"""

import re
from enum import Enum as States
from enum import IntEnum
from typing import NamedTuple

from .core import (
    Command,
    Driver,
    Enum,
    Fields,
    Float,
    Integer,
    Lines,
    Readback,
    Rewritten,
    Setpoint,
    Text,
    computed,
)
from .core.errors import ReadingInvalid, RefusedError
from .core.numerals import decode_float

ERRORS = {
    "ES": "syntax error: the balance does not know the command",
    "ET": "transmission error: the balance received a faulty command, check parity and speed",
    "EL": "logical error: the balance can't execute the command",
}
"""2.1.3.2 General error messages: they name no command."""
REFUSALS = {
    "I": "not executable now: another command is being executed, or no stable weight came in time",
    "L": "not executable: the parameter is not allowed",
    "+": "beyond the upper limit of the range",
    "-": "beyond the lower limit of the range",
}
"""2.1.3.1 Command-specific error messages."""
NAMES = {"@": "I4", "SIR": "S"}
"""How an answer begins, where it isn't with the command itself."""

GRAMS = {
    "g": 1.0,
    "kg": 1e3,
    "t": 1e6,
    "mg": 1e-3,
    "\u00b5g": 1e-6,
    "ug": 1e-6,
    "ct": 0.2,
    "lb": 453.59237,
    "oz": 28.349523125,
    "ozt": 31.1034768,
    "GN": 0.06479891,
    "dwt": 1.55517384,
    "mom": 3.75,
    "msg": 4.6083,
    "tlh": 37.429,
    "tls": 37.7993638,
    "tlt": 37.5,
    "tcl": 16.3293,
    "tola": 11.6638038,
    "baht": 15.244,
}
"""Grams in one unit, by its name on the wire."""

SETTLING = 60.0
"""How long the balance may wait for a stable weight before it gives up, seconds: 40 s at most by its settings."""


class Load(States):
    """What stands behind the name of the command in an answer with a weight (2.1.2.1)."""

    STABLE = "S"
    DYNAMIC = "D"
    BUSY = "I"
    OVERLOAD = "+"
    UNDERLOAD = "-"


class Reading(NamedTuple):
    """SIR. Weight in g: infinite in overload and underload, not a number while the balance is busy."""

    load: Load
    weight: float
    unit: str


class Adjustment(States):
    """C1, C3. How the last adjustment went."""

    RUNNING = "B"
    DONE = "A"
    ABORTED = "I"


class KeyMode(IntEnum):
    """K."""

    EXECUTE = 1
    IGNORE = 2
    SEND = 3
    EXECUTE_AND_SEND = 4


class Unit(IntEnum):
    """M21."""

    G = 0
    KG = 1
    MG = 3
    UG = 4
    CT = 5
    LB = 7
    OZ = 8
    OZT = 9
    GN = 10
    DWT = 11
    MOM = 12


def match(question: str, reply: str) -> str | None:
    """Take what begins with the name of the command. Raises RefusedError with the manual's words for it."""
    if reply in ERRORS:
        raise RefusedError(ERRORS[reply])
    command = question.split()[0]
    name, _, rest = reply.partition(" ")
    if name != NAMES.get(command, command):
        return None
    if command != "SIR" and rest[:1] in REFUSALS and not rest[1:].strip():
        raise RefusedError(f"{REFUSALS[rest[0]]} ({reply})")
    return reply


def in_grams(text: str) -> str:
    """Return what a weight and its unit, as in `100.00 g`, are in g."""
    number, unit = text.split()
    return repr(decode_float(number) * GRAMS[unit])


def weight_of(rest: str) -> str:
    """Return the weight in g behind `S`. Raises ReadingInvalid for an error in its place (2.1.3.3)."""
    if "Error" in rest:
        raise ReadingInvalid(f"the balance is out of order ({rest[1:].strip()})")
    beyond = {"I": "nan", "+": "inf", "-": "-inf"}
    return beyond.get(rest.strip()) or in_grams(rest[1:])


def weight(answer: str) -> str:
    """Return the weight in g at the end of an answer such as `TA A     100.00 g`."""
    return in_grams(answer[4:])


QUOTED = r'"(.*)"'


class MettlerBalance(Driver):
    """Mettler Toledo balance with MT-SICS."""

    protocol = Lines(
        eol="\r\n",
        timeout=1.0,
        queue_timeout=SETTLING + 5.0,  # a command that waits for a stable weight has the line for so long
        serial={"baudrate": 9600},
        identify=("I4", r'I4 A "'),
        restarted=r'I4 A ".*"',
        match=match,
        accepted=lambda answer: True,
    )

    # S, SI and @ end the stream that SIR begins: they are never asked
    reading = Readback(
        Fields(
            Reading,
            re.compile(r"S (?=(.))(?=(.*))[DSI+-](?: +\S+ +(\S+))? *"),
            load=Enum(Load),
            weight=Rewritten(Float("g"), weight_of),
            unit=Text(8),
        ),
        ask="SIR",
        unasked=r"S [DSI+-](?: .*)?",
        stale_after=3.0,
        doc="Net weight",
    )
    tare_value = Setpoint(
        Rewritten(Float("g", ".6f"), weight),
        ask="TA",
        tell="TA {value} g",
        verify=False,  # it is rounded to the readability
        doc="Tare",
    )
    zero = Command(tell="Z", timeout=SETTLING, refreshes=[tare_value], doc="Zero, at a stable weight")
    zero_now = Command(tell="ZI", refreshes=[tare_value], doc="Zero at once")
    tare = Command(tell="T", timeout=SETTLING, refreshes=[tare_value], doc="Tare, at a stable weight")
    tare_now = Command(tell="TI", refreshes=[tare_value], doc="Tare at once")
    clear_tare = Command(tell="TAC", refreshes=[tare_value], doc="Clear the tare")
    reset = Command(tell="@", doc="As after switching on, but for zero")

    adjustment = Readback(Enum(Adjustment), unasked=r"C[13] ([BAI])", doc="How the last adjustment went")
    adjust = Command(tell="C1", doc="Adjust as set at the balance")
    adjust_internally = Command(tell="C3", doc="Adjust with the built-in weight")

    pressed = Readback(Integer(), unasked=r"K C (\d+)", doc="Number of the key pressed last")
    keys = Setpoint(Enum(KeyMode), tell="K {value}", doc="What a key does")
    display = Setpoint(Text(40, forbidden='"'), tell='D "{value}"', doc="Text in the display")
    show_weight = Command(tell="DW", doc="Show the weight again")
    unit = Setpoint(Enum(Unit), tell="M21 0 {value}", doc="Unit of the weights on the wire")

    label = Setpoint(
        Rewritten(Text(20, forbidden='"'), QUOTED),
        ask="I10",
        tell='I10 "{value}"',
        doc="Name of this balance",
    )
    levels = Readback(Rewritten(Text(), r"I1 A (.*)"), ask="I1", doc="Levels and versions of MT-SICS")
    model = Readback(Rewritten(Text(), QUOTED), ask="I11", doc="Model")
    data = Readback(Rewritten(Text(), QUOTED), ask="I2", doc="Type, capacity and unit")
    software = Readback(Rewritten(Text(), QUOTED), ask="I3", doc="Software and type definition")
    serial_number = Readback(Rewritten(Text(), QUOTED), ask="I4", doc="Serial number")
    software_id = Readback(Rewritten(Text(), QUOTED), ask="I5", doc="Number of the software")

    @computed(Float("g"), reading)
    def stable_weight(reading: Reading) -> float:
        """Net weight, valid while it is stable."""
        if reading.load is not Load.STABLE:
            raise ReadingInvalid(f"the weight is not stable, but {reading.load.name}")
        return reading.weight
