"""Julabo circulators and cryostats with the interface commands VERSION, STATUS, IN_... and OUT_....

Source: CF31/CF41 operating manual (1.951.4871), chapter 11 remote control: 11.2 transfer and pauses, 11.3 commands,
11.4 and 11.5 status and error messages; HL, SL, HE and MAGIO have the same commands. Series that have other ones are
variants: FL recirculating coolers, CD for CORIO CD, CF30 and CF40, FC recirculating coolers, MH for FP50-MH.
"""

import re
from enum import IntEnum

from .core import Bool, Driver, Enum, Float, Lines, Readback, Rewritten, Setpoint, Text, computed
from .core.errors import ReadingInvalid

REFUSED = re.compile(r"-\d+ (INVALID COMMAND|COMMAND NOT ALLOWED|VALUE TOO)")
"""What STATUS says after a command that was not executed; the numbers differ from series to series."""


NOT_IN_SIMPLE: dict[str, str | None] = {"FL": None, "CD": None}
NOT_IN_OTHERS = {**NOT_IN_SIMPLE, "FC": None, "MH": None}


class Mode(IntEnum):
    """STATUS, where it begins with 0 (11.4)."""

    MANUAL_STOP = 0
    MANUAL_START = 1
    REMOTE_STOP = 2
    REMOTE_START = 3
    OTHER = 4


class Condition(IntEnum):
    """STATUS, where it begins with a minus sign (11.5)."""

    OK = 0
    COMMAND_REFUSED = 1
    WARNING = 2
    ALARM = 3


class Sensor(IntEnum):
    """MODE_04. Which sensor is controlled."""

    INTERNAL = 0
    EXTERNAL = 1


class Choice(IntEnum):
    """MODE_01. Which setpoint is the working temperature."""

    SETPOINT_1 = 0
    SETPOINT_2 = 1
    SETPOINT_3 = 2


class SelfTuning(IntEnum):
    """MODE_02."""

    OFF = 0
    ONCE = 1
    ALWAYS = 2


class Dynamics(IntEnum):
    """MODE_08."""

    APERIODIC = 0
    STANDARD = 1


class TemperatureUnit(IntEnum):
    """SP_06. The unit of all temperatures, also on the wire. This driver's are degC: leave it there."""

    CELSIUS = 0
    FAHRENHEIT = 1


class Stage(IntEnum):
    """SP_07. Pump pressure stage."""

    STAGE_1 = 1
    STAGE_2 = 2
    STAGE_3 = 3
    STAGE_4 = 4


def match(question: str, reply: str) -> str:
    """Take off the XON and XOFF that some device servers let through."""
    return reply.strip("\x11\x13 ")


def sensor(text: str) -> str:
    """Return the temperature of a sensor. Raises ReadingInvalid if none is connected."""
    if "--" in text:
        raise ReadingInvalid(f"no sensor is connected ({text})")
    return text


class Julabo(Driver):
    """Julabo circulator."""

    protocol = Lines(
        eol=("\r\n", "\n"),
        send_eol="\r",
        skip_empty=True,  # some gateways answer a set with an empty line
        timeout=0.7,
        serial={"baudrate": 4800, "bytesize": 7, "parity": "E"},
        gaps={"": 0.01},  # 11.2
        command_gap=0.25,  # 11.2
        identify=("VERSION", r"(?i)JULABO"),
        variants={"FL": "", "CD": "", "FC": "", "MH": ""},  # what VERSION says of them is not known
        confirm=("STATUS", lambda status: REFUSED.match(status) is None),
        match=match,
    )

    status = Readback(Text(), ask="STATUS", doc="State, warning or alarm in the words of the manual")
    temperature = Readback(Rewritten(Float("degC"), sensor), ask="IN_PV_00", doc="In the bath")
    power = Readback(
        Float("%"),
        ask="IN_PV_01",
        variants={"FL": None, "FC": "IN_PV_02", "MH": "IN_PV_02"},
        doc="Heating power, negative for cooling",
    )
    external = Readback(
        Rewritten(Float("degC"), sensor),
        ask="IN_PV_02",
        variants={**NOT_IN_SIMPLE, "FC": "IN_PV_01", "MH": "IN_PV_01"},
        doc="At the external Pt100",
    )
    safety = Readback(
        Rewritten(Float("degC"), sensor),
        ask="IN_PV_03",
        variants={"FL": None, "FC": "IN_PV_04", "MH": None},
        doc="At the safety sensor",
    )
    safety_limit = Readback(
        Float("degC"),
        ask="IN_PV_04",
        variants={"FL": None, "FC": None, "MH": None},
        doc="Excess temperature protection",
    )
    difference = Readback(
        Float("K"), ask="IN_PAR_00", variants=NOT_IN_OTHERS, doc="Working sensor to safety sensor"
    )

    running = Setpoint(Bool(), ask="IN_MODE_05", tell="OUT_MODE_05 {value}", doc="Start and stop")
    setpoint_1 = Setpoint(Float("degC", ".2f"), ask="IN_SP_00", tell="OUT_SP_00 {value}")
    setpoint_2 = Setpoint(
        Float("degC", ".2f"), ask="IN_SP_01", variants=NOT_IN_OTHERS, tell="OUT_SP_01 {value}"
    )
    setpoint_3 = Setpoint(
        Float("degC", ".2f"), ask="IN_SP_02", variants=NOT_IN_OTHERS, tell="OUT_SP_02 {value}"
    )
    choice = Setpoint(
        Enum(Choice),
        ask="IN_MODE_01",
        variants=NOT_IN_OTHERS,
        tell="OUT_MODE_01 {value}",
        doc="Setpoint in use",
    )
    control = Setpoint(
        Enum(Sensor),
        ask="IN_MODE_04",
        variants={**NOT_IN_SIMPLE, "FC": None},
        tell="OUT_MODE_04 {value}",
        doc="Sensor that is controlled",
    )
    high = Setpoint(
        Float("degC", ".2f"),
        ask="IN_SP_03",
        variants=NOT_IN_OTHERS,
        tell="OUT_SP_03 {value}",
        doc="High temperature warning",
    )
    low = Setpoint(
        Float("degC", ".2f"),
        ask="IN_SP_04",
        variants=NOT_IN_OTHERS,
        tell="OUT_SP_04 {value}",
        doc="Low temperature warning",
    )
    unit = Readback(
        Enum(TemperatureUnit),
        ask="IN_SP_06",
        variants=NOT_IN_OTHERS,
        doc="Unit of the temperatures: leave at CELSIUS",
    )
    # while it runs, the answer is the stage of the present speed
    pump = Setpoint(
        Enum(Stage),
        ask="IN_SP_07",
        variants=NOT_IN_OTHERS,
        tell="OUT_SP_07 {value}",
        verify=False,
        doc="Pump pressure stage",
    )
    cooling = Setpoint(
        Rewritten(Float("%", ".0f", limits=(0, 100)), lambda text: text.strip().lstrip("-")),
        ask="IN_HIL_00",
        variants=NOT_IN_OTHERS,
        tell="OUT_HIL_00 -{value}",
        doc="Most cooling power",
    )
    heating = Setpoint(
        Float("%", ".0f", limits=(10, 100)),
        ask="IN_HIL_01",
        variants=NOT_IN_OTHERS,
        tell="OUT_HIL_01 {value}",
        doc="Most heating power",
    )
    self_tuning = Setpoint(
        Enum(SelfTuning), ask="IN_MODE_02", variants=NOT_IN_OTHERS, tell="OUT_MODE_02 {value}"
    )
    dynamics = Setpoint(
        Enum(Dynamics),
        ask="IN_MODE_08",
        variants=NOT_IN_OTHERS,
        tell="OUT_MODE_08 {value}",
        doc="Control dynamics",
    )
    co_speed = Setpoint(
        Float("", ".1f", limits=(0, 5)), ask="IN_PAR_04", variants=NOT_IN_OTHERS, tell="OUT_PAR_04 {value}"
    )
    xp = Setpoint(
        Float("K", ".1f", limits=(0.1, 99.9)),
        ask="IN_PAR_06",
        variants=NOT_IN_SIMPLE,
        tell="OUT_PAR_06 {value}",
    )
    tn = Setpoint(
        Float("s", ".0f", limits=(3, 9999)),
        ask="IN_PAR_07",
        variants=NOT_IN_SIMPLE,
        tell="OUT_PAR_07 {value}",
    )
    tv = Setpoint(
        Float("s", ".0f", limits=(0, 999)), ask="IN_PAR_08", variants=NOT_IN_SIMPLE, tell="OUT_PAR_08 {value}"
    )
    cascade_xp = Setpoint(
        Float("K", ".1f", limits=(0.1, 99.9)),
        ask="IN_PAR_09",
        variants={**NOT_IN_SIMPLE, "FC": None},
        tell="OUT_PAR_09 {value}",
    )
    cascade_xpu = Setpoint(
        Float("K", ".1f", limits=(1, 99.9)),
        ask="IN_PAR_10",
        variants=NOT_IN_OTHERS,
        tell="OUT_PAR_10 {value}",
    )
    cascade_tn = Setpoint(
        Float("s", ".0f", limits=(3, 9999)),
        ask="IN_PAR_11",
        variants={**NOT_IN_SIMPLE, "FC": None},
        tell="OUT_PAR_11 {value}",
    )
    cascade_tv = Setpoint(
        Float("s", ".0f", limits=(0, 999)),
        ask="IN_PAR_12",
        variants={**NOT_IN_SIMPLE, "FC": None},
        tell="OUT_PAR_12 {value}",
    )
    cascade_max = Setpoint(
        Float("degC", ".2f"), ask="IN_PAR_13", variants=NOT_IN_OTHERS, tell="OUT_PAR_13 {value}"
    )
    cascade_min = Setpoint(
        Float("degC", ".2f"), ask="IN_PAR_14", variants=NOT_IN_OTHERS, tell="OUT_PAR_14 {value}"
    )
    band_upper = Setpoint(
        Float("K", ".0f", limits=(0, 200)), ask="IN_PAR_15", variants=NOT_IN_OTHERS, tell="OUT_PAR_15 {value}"
    )
    band_lower = Setpoint(
        Float("K", ".0f", limits=(0, 200)), ask="IN_PAR_16", variants=NOT_IN_OTHERS, tell="OUT_PAR_16 {value}"
    )

    version = Readback(Text(), ask="VERSION", doc="Model and software version")

    @computed(Enum(Mode), status)
    def mode(status: str) -> Mode:
        """Who is in control, and whether it runs."""
        words = status.split()[1:3]
        return Mode.__members__.get("_".join(words), Mode.OTHER)

    @computed(Enum(Condition), status)
    def condition(status: str) -> Condition:
        """Whether something is wrong."""
        if not status.startswith("-"):
            return Condition.OK
        if REFUSED.match(status) or "EXCEEDS" in status:
            return Condition.COMMAND_REFUSED
        return Condition.WARNING if "WARN" in status else Condition.ALARM
