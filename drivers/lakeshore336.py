"""Lake Shore Model 336 cryogenic temperature controller.

Source: Model 336 User's Manual (119-048), chapter 6: 6.2.5 status registers, 6.3 and 6.4 interfaces, 6.6.1 commands.
"""

from enum import IntEnum, IntFlag
from typing import NamedTuple

from .core import (
    Bool,
    Channel,
    Channels,
    Command,
    Driver,
    Enum,
    Fields,
    Flags,
    Float,
    Integer,
    Lines,
    Readback,
    Setpoint,
    Text,
    computed,
)


class InputStatus(IntFlag):
    """RDGST? What is wrong with a reading."""

    INVALID = 1
    TEMPERATURE_UNDERRANGE = 16
    TEMPERATURE_OVERRANGE = 32
    SENSOR_ZERO = 64
    SENSOR_OVERRANGE = 128


class SensorType(IntEnum):
    """INTYPE, first field."""

    DISABLED = 0
    DIODE = 1
    PLATINUM_RTD = 2
    NTC_RTD = 3
    THERMOCOUPLE = 4
    CAPACITANCE = 5


class PreferredUnits(IntEnum):
    """INTYPE, last field: the units of the input's extremes and alarms, and of the setpoint that it controls.

    This driver's setpoints and alarms are kelvin: leave the inputs at kelvin.
    """

    KELVIN = 1
    CELSIUS = 2
    SENSOR = 3


class SensorSetup(NamedTuple):
    """INTYPE."""

    type: SensorType
    autorange: bool
    range: int
    compensation: bool
    units: PreferredUnits


class Filter(NamedTuple):
    """FILTER. Points of the running average, window in percent of full scale."""

    on: bool
    points: int
    window: int


class AlarmSetup(NamedTuple):
    """ALARM."""

    on: bool
    high: float
    low: float
    deadband: float
    latch: bool
    audible: bool
    visible: bool


class AlarmState(NamedTuple):
    """ALARMST?"""

    high: bool
    low: bool


class Extremes(NamedTuple):
    """MDAT? Lowest and highest reading since the reset."""

    low: float
    high: float


class Ramp(NamedTuple):
    """RAMP."""

    on: bool
    rate: float


class PID(NamedTuple):
    """PID."""

    p: float
    i: float
    d: float


class HeaterRange(IntEnum):
    """RANGE of outputs 1 and 2: low is 1 %, medium 10 % of full power."""

    OFF = 0
    LOW = 1
    MEDIUM = 2
    HIGH = 3


class HeaterStatus(IntEnum):
    """HTRST?"""

    OK = 0
    OPEN_LOAD = 1
    SHORT = 2


class Resistance(IntEnum):
    """HTRSET, first field."""

    OHM_25 = 1
    OHM_50 = 2


class MaxCurrent(IntEnum):
    """HTRSET, second field."""

    USER = 0
    A_0_707 = 1
    A_1 = 2
    A_1_414 = 3
    A_2 = 4


class OutputDisplay(IntEnum):
    """HTRSET, last field: what the heater output is in percent of."""

    CURRENT = 1
    POWER = 2


class HeaterSetup(NamedTuple):
    """HTRSET."""

    resistance: Resistance
    max_current: MaxCurrent
    user_current: float
    display: OutputDisplay


class Mode(IntEnum):
    """OUTMODE, first field."""

    OFF = 0
    CLOSED_LOOP = 1
    ZONE = 2
    OPEN_LOOP = 3
    MONITOR = 4
    WARM_UP = 5


class ControlInput(IntEnum):
    """OUTMODE, second field."""

    NONE = 0
    A = 1
    B = 2
    C = 3
    D = 4
    D2 = 5
    D3 = 6
    D4 = 7
    D5 = 8


class OutputMode(NamedTuple):
    """OUTMODE."""

    mode: Mode
    input: ControlInput
    powerup: bool


class TuningStatus(NamedTuple):
    """TUNEST?"""

    active: bool
    output: int
    failed: bool
    stage: int


class Identity(NamedTuple):
    """*IDN?"""

    maker: str
    model: str
    serials: str
    firmware: str


def in_kelvin(setup: SensorSetup) -> bool:
    """Tell whether an input's preferred units are those of this driver."""
    return setup.units is PreferredUnits.KELVIN


class Input(Channel):
    """A sensor input: A to D, with the 3062 card also D2 to D5."""

    status = Readback(Flags(InputStatus), ask="RDGST? {ch}")
    temperature = Readback(Float("K"), ask="KRDG? {ch}", valid_if=status == 0)
    sensor = Readback(Float(), ask="SRDG? {ch}", doc="In sensor units: V for a diode, ohm for an RTD")
    label = Setpoint(Text(15, forbidden='"'), ask="INNAME? {ch}", tell='INNAME {ch},"{value}"')
    curve = Setpoint(Integer(limits=(0, 59)), ask="INCRV? {ch}", tell="INCRV {ch},{value}")
    setup = Setpoint(
        Fields(
            SensorSetup,
            type=Enum(SensorType),
            autorange=Bool(),
            range=Integer(limits=(0, 8)),
            compensation=Bool(),
            units=Enum(PreferredUnits, settable=[PreferredUnits.KELVIN]),
        ),
        ask="INTYPE? {ch}",
        tell="INTYPE {ch},{value}",
        refreshes=[curve],
    )
    extremes = Readback(
        Fields(Extremes, low=Float("K"), high=Float("K")),
        ask="MDAT? {ch}",
        valid_if=setup.where(in_kelvin),
        doc="Lowest and highest reading",
    )
    limit = Setpoint(
        Float("K", ".0f", limits=(0, 9999)),
        ask="TLIMIT? {ch}",
        tell="TLIMIT {ch},{value}",
        doc="All outputs go off above it; 0 is no limit",
    )
    filter = Setpoint(
        Fields(Filter, on=Bool(), points=Integer(limits=(2, 64)), window=Integer("%", limits=(1, 10))),
        ask="FILTER? {ch}",
        tell="FILTER {ch},{value}",
    )
    alarm_state = Readback(Fields(AlarmState, high=Bool(), low=Bool()), ask="ALARMST? {ch}")
    alarm = Setpoint(
        Fields(
            AlarmSetup,
            on=Bool(),
            high=Float("K", ".3f"),
            low=Float("K", ".3f"),
            deadband=Float("K", ".3f"),
            latch=Bool(),
            audible=Bool(),
            visible=Bool(),
        ),
        ask="ALARM? {ch}",
        tell="ALARM {ch},{value}",
        refreshes=[alarm_state],
    )


class Output(Channel):
    """What all four outputs have."""

    # While it ramps, the instrument answers the moving setpoint (4.5.1.7)
    setpoint = Setpoint(
        Float("K", ".3f", limits=(0, 9999)), ask="SETP? {ch}", tell="SETP {ch},{value}", verify=False
    )
    ramping = Readback(Bool(), ask="RAMPST? {ch}")
    ramp = Setpoint(
        Fields(Ramp, on=Bool(), rate=Float("K/min", ".1f", limits=(0, 100))),
        ask="RAMP? {ch}",
        tell="RAMP {ch},{value}",
        refreshes=[setpoint, ramping],
    )
    pid = Setpoint(
        Fields(
            PID,
            p=Float("", ".1f", limits=(0.1, 1000)),
            i=Float("", ".1f", limits=(0.1, 1000)),
            d=Float("%", ".1f", limits=(0, 200)),
        ),
        ask="PID? {ch}",
        tell="PID {ch},{value}",
    )
    manual = Setpoint(Float("%", ".2f", limits=(0, 100)), ask="MOUT? {ch}", tell="MOUT {ch},{value}")
    tune_p = Command(tell="ATUNE {ch},0")
    tune_pi = Command(tell="ATUNE {ch},1")
    tune_pid = Command(tell="ATUNE {ch},2")


class HeaterOutput(Output):
    """Outputs 1 and 2: heaters."""

    range = Setpoint(Enum(HeaterRange), ask="RANGE? {ch}", tell="RANGE {ch},{value}")
    mode = Setpoint(
        Fields(OutputMode, mode=Enum(Mode), input=Enum(ControlInput), powerup=Bool()),
        ask="OUTMODE? {ch}",
        tell="OUTMODE {ch},{value}",
        refreshes=[range],
    )
    output = Readback(Float("%"), ask="HTR? {ch}")
    status = Readback(Enum(HeaterStatus), ask="HTRST? {ch}")
    setup = Setpoint(
        Fields(
            HeaterSetup,
            resistance=Enum(Resistance),
            max_current=Enum(MaxCurrent),
            user_current=Float("A", ".3f", limits=(0, 2)),
            display=Enum(OutputDisplay),
        ),
        ask="HTRSET? {ch}",
        tell="HTRSET {ch},{value}",
    )

    @computed(Float("W"), output, range, setup)
    def power(output: float, range: HeaterRange, setup: HeaterSetup) -> float:
        """Heater power, from the output and the range (4.5.1.1)."""
        current = {
            MaxCurrent.USER: setup.user_current,
            MaxCurrent.A_0_707: 0.707,
            MaxCurrent.A_1: 1.0,
            MaxCurrent.A_1_414: 1.414,
            MaxCurrent.A_2: 2.0,
        }[setup.max_current]
        full = current**2 * {Resistance.OHM_25: 25.0, Resistance.OHM_50: 50.0}[setup.resistance]
        share = {HeaterRange.OFF: 0.0, HeaterRange.LOW: 0.01, HeaterRange.MEDIUM: 0.1, HeaterRange.HIGH: 1.0}[
            range
        ]
        percent = output / 100
        return full * share * (percent**2 if setup.display is OutputDisplay.CURRENT else percent)


class AnalogOutput(Output):
    """Outputs 3 and 4: voltages."""

    range = Setpoint(Bool(), ask="RANGE? {ch}", tell="RANGE {ch},{value}")
    mode = Setpoint(
        Fields(OutputMode, mode=Enum(Mode), input=Enum(ControlInput), powerup=Bool()),
        ask="OUTMODE? {ch}",
        tell="OUTMODE {ch},{value}",
        refreshes=[range],
    )
    output = Readback(Float("%"), ask="AOUT? {ch}", doc="Percent of 10 V")


class LakeShore336(Driver):
    """Lake Shore Model 336 cryogenic temperature controller."""

    protocol = Lines(
        eol="\r\n",
        timeout=1.0,
        join=";",
        serial={"baudrate": 57600, "bytesize": 7, "parity": "O"},  # 6.3.4
        gaps={"serial": 0.05},  # 6.3.5
        identify=("*IDN?", r"LSCI,MODEL336,"),
        variants={"3062": r"/[^#,]+,"},
        power_on=("*ESR?", lambda esr: bool(int(esr) & 0b10000000)),  # 6.2.5: power on
        confirm=("*ESR?", lambda esr: not int(esr) & 0b110100),  # 6.2.5: query, execution and command error
    )

    inputs = Channels(Input, "ABCD", variants={"3062": ("D2", "D3", "D4", "D5")})
    outputs = Channels(HeaterOutput, (1, 2))
    analog_outputs = Channels(AnalogOutput, (3, 4))

    identity = Readback(
        Fields(Identity, maker=Text(), model=Text(), serials=Text(), firmware=Text()), ask="*IDN?"
    )
    junction = Readback(Float("K"), ask="TEMP?", doc="The thermocouple junction block")
    tuning = Readback(
        Fields(TuningStatus, active=Bool(), output=Integer(), failed=Bool(), stage=Integer()), ask="TUNEST?"
    )
    reset_extremes = Command(tell="MNMXRST")
    reset_alarms = Command(tell="ALMRST")
