"""Eurotherm 3200 series temperature controllers (3216, 3208, 3204, 32h8).

Source: 3200 Series Engineering Manual (HA028651 issue 7), chapter 15: digital communications.
"""

from enum import IntEnum, IntFlag

from .core import Bool, Command, Driver, Enum, Flags, Float, Integer, Readback, Setpoint
from .core.decimals import Decimal, DecimalSetpoint
from .eurotherm import InstrumentMode, Mode, SetpointSelect, Source, Units, protocol
from .modbus import INT16, UINT16, Bit, holding, preset


class Status(IntFlag):
    """Register 75."""

    ALARM_1 = 1 << 0
    ALARM_2 = 1 << 1
    ALARM_3 = 1 << 2
    ALARM_4 = 1 << 3
    MANUAL = 1 << 4
    SENSOR_BREAK = 1 << 5
    LOOP_BREAK = 1 << 6
    LOAD_CURRENT_LOW = 1 << 7
    LEAKAGE_CURRENT_HIGH = 1 << 8
    PROGRAM_END = 1 << 9
    PV_OVER_RANGE = 1 << 10
    OVERCURRENT = 1 << 11
    NEW_ALARM = 1 << 12
    TIMER_RUNNING = 1 << 13
    REMOTE_FAILED = 1 << 14
    AUTOTUNE = 1 << 15


class TimerStatus(IntEnum):
    """Register 23."""

    RESET = 0
    RUN = 1
    HOLD = 2
    END = 3


class RateUnits(IntEnum):
    """Register 531."""

    PER_MINUTE = 0
    PER_HOUR = 1
    PER_SECOND = 2


PERCENT = Float("%", INT16, counts=10, limits=(-100, 100))


class Eurotherm3200(Driver):
    """Eurotherm 3200 series temperature controller."""

    protocol = protocol("0001|2|35")

    # numbers stand in registers without their decimal point: where that is, the display's setting says
    decimals = Readback(Integer(spec=UINT16, limits=(0, 2)), ask=holding(525), doc="Decimals of the display")
    status = Readback(Flags(Status, UINT16), ask=holding(75))
    sensor_break = Readback(Bit(5), ask=holding(75))
    temperature = Decimal(Float("degC", INT16), decimals, ask=holding(1), valid_if=sensor_break == False)  # noqa: E712
    target = DecimalSetpoint(
        Float("degC", INT16, limits=(-1999, 9999)),
        decimals,
        ask=holding(2),
        tell=preset(2),
        doc="Target setpoint. It is kept in a memory that takes 100,000 writes: ramp by the rate",
    )
    manual_output = Setpoint(PERCENT, ask=holding(3), tell=preset(3), doc="Output in manual")
    working_output = Readback(PERCENT, ask=holding(4))
    working_setpoint = Decimal(Float("degC", INT16), decimals, ask=holding(5), doc="Working setpoint")
    proportional_band = DecimalSetpoint(
        Float("degC", INT16, limits=(0, 9999)), decimals, ask=holding(6), tell=preset(6)
    )
    integral_time = Setpoint(
        Float("s", INT16, limits=(0, 9999)), ask=holding(8), tell=preset(8), doc="Integral time, 0: none"
    )
    derivative_time = Setpoint(
        Float("s", INT16, limits=(0, 9999)), ask=holding(9), tell=preset(9), doc="Derivative time, 0: none"
    )
    alarm1_setpoint = DecimalSetpoint(
        Float("degC", INT16, limits=(-1999, 9999)), decimals, ask=holding(13), tell=preset(13)
    )
    alarm2_setpoint = DecimalSetpoint(
        Float("degC", INT16, limits=(-1999, 9999)), decimals, ask=holding(14), tell=preset(14)
    )
    alarm3_setpoint = DecimalSetpoint(
        Float("degC", INT16, limits=(-1999, 9999)), decimals, ask=holding(81), tell=preset(81)
    )
    alarm4_setpoint = DecimalSetpoint(
        Float("degC", INT16, limits=(-1999, 9999)), decimals, ask=holding(82), tell=preset(82)
    )
    setpoint_select = Setpoint(
        Enum(SetpointSelect, UINT16), ask=holding(15), tell=preset(15), refreshes=[target]
    )
    timer_status = Setpoint(
        Enum(TimerStatus, UINT16, settable=[TimerStatus.RESET, TimerStatus.RUN, TimerStatus.HOLD]),
        ask=holding(23),
        tell=preset(23),
    )
    setpoint1 = DecimalSetpoint(
        Float("degC", INT16, limits=(-1999, 9999)), decimals, ask=holding(24), tell=preset(24)
    )
    setpoint2 = DecimalSetpoint(
        Float("degC", INT16, limits=(-1999, 9999)), decimals, ask=holding(25), tell=preset(25)
    )
    remote_setpoint = DecimalSetpoint(
        Float("degC", INT16, limits=(-1999, 9999)),
        decimals,
        ask=holding(26),
        tell=preset(26),
        doc="Remote setpoint, not kept: write it every 5 s",
    )
    source = Setpoint(
        Enum(Source, UINT16), ask=holding(276), tell=preset(276), doc="Local or remote setpoint"
    )
    output_high = Setpoint(PERCENT, ask=holding(30), tell=preset(30), doc="Highest output")
    output_low = Setpoint(PERCENT, ask=holding(31), tell=preset(31), doc="Lowest output")
    setpoint_rate = DecimalSetpoint(
        Float("", INT16, limits=(0, 9999)),
        decimals,
        ask=holding(35),
        tell=preset(35),
        doc="Setpoint rate, 0: none",
    )
    rate_units = Readback(Enum(RateUnits, UINT16), ask=holding(531))
    setpoint_high = DecimalSetpoint(
        Float("degC", INT16, limits=(-1999, 9999)), decimals, ask=holding(111), tell=preset(111)
    )
    setpoint_low = DecimalSetpoint(
        Float("degC", INT16, limits=(-1999, 9999)), decimals, ask=holding(112), tell=preset(112)
    )
    instrument_mode = Setpoint(
        Enum(InstrumentMode, UINT16, settable=[InstrumentMode.OPERATING, InstrumentMode.STANDBY]),
        ask=holding(199),
        tell=preset(199),
    )
    autotune = Setpoint(Bool("0001", "0000"), ask=holding(270), tell=preset(270))
    mode = Setpoint(Enum(Mode, UINT16), ask=holding(273), tell=preset(273), refreshes=[manual_output])
    alarm1 = Readback(Bit(0), ask=holding(75))
    alarm2 = Readback(Bit(1), ask=holding(75))
    alarm3 = Readback(Bit(2), ask=holding(75))
    alarm4 = Readback(Bit(3), ask=holding(75))
    loop_break = Readback(Bit(6), ask=holding(75))
    remote_failed = Readback(Bit(14), ask=holding(75))
    units = Readback(Enum(Units, INT16, default=Units.OTHER), ask=holding(516))
    version = Readback(Integer(spec=UINT16), ask=holding(107), doc="Firmware: 273 is V1.11")
    model = Readback(Integer(spec=UINT16), ask=holding(122), doc="Code of the model")
    acknowledge = Command(tell="{addr} holding 274 = 0001", refreshes=[status], doc="Acknowledge all alarms")
