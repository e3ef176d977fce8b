"""Eurotherm 2400 series temperature controllers (2416, 2408, 2404).

Source: 2000 Series Communications Handbook (HA026230 issue 3), chapters 3, 5 and 6.
"""

from enum import IntEnum, IntFlag

from .core import Bool, Command, Driver, Enum, Flags, Float, Integer, Readback, Setpoint
from .eurotherm import InstrumentMode, Mode, SetpointSelect, Source, Units, preset_wide, protocol, wide
from .modbus import INT16, SINGLE, UINT16, UINT32, Bit, holding, preset


class RateUnits(IntEnum):
    """Register 531."""

    PER_SECOND = 0
    PER_MINUTE = 1
    PER_HOUR = 2


class Status(IntFlag):
    """Register 75."""

    ALARM_1 = 1 << 0
    ALARM_2 = 1 << 1
    ALARM_3 = 1 << 2
    ALARM_4 = 1 << 3
    MANUAL = 1 << 4
    SENSOR_BREAK = 1 << 5
    LOOP_BREAK = 1 << 6
    HEATER_FAIL = 1 << 7
    TUNE_ACTIVE = 1 << 8
    PROGRAM_COMPLETE = 1 << 9
    PV_OUT_OF_RANGE = 1 << 10
    DC_MODULE_FAULT = 1 << 11
    SEGMENT_SYNCHRONISE = 1 << 12
    REMOTE_INPUT_BREAK = 1 << 13
    INPUT_FAULT = 1 << 14


class ControlStatus(IntFlag):
    """Register 76."""

    FROZEN = 1 << 0
    SENSOR_BROKEN = 1 << 1
    OUT_OF_SENSOR_RANGE = 1 << 2
    TUNE_FAILED = 1 << 3
    LOOP_BREAK = 1 << 6
    INTEGRAL_FROZEN = 1 << 7
    TUNE_DONE = 1 << 8
    DIRECT_ACTING = 1 << 9
    DEMAND_LIMITED = 1 << 11
    AUTOTUNE = 1 << 12
    ADAPTIVE_TUNE = 1 << 13
    DROOP_COMPENSATION = 1 << 14
    MANUAL = 1 << 15


TEMPERATURE = Float("degC", SINGLE, limits=(-1999, 9999))
PERCENT = Float("%", SINGLE, limits=(-100, 100))
SECONDS = Float("s", UINT32, counts=1000, limits=(0, 9999))


class Eurotherm2400(Driver):
    """Eurotherm 2400 series temperature controller."""

    # numbers come from the registers of 32 bits (6.1): there neither the display's decimals count nor the resolution
    protocol = protocol("0001|22|27|3|E")

    status = Readback(Flags(Status, UINT16), ask=holding(75))
    control_status = Readback(Flags(ControlStatus, UINT16), ask=holding(76))
    sensor_break = Readback(Bit(5), ask=holding(75))
    temperature = Readback(Float("degC", SINGLE), ask=wide(1), valid_if=sensor_break == False)  # noqa: E712
    target = Setpoint(TEMPERATURE, ask=wide(2), tell=preset_wide(2), doc="Target setpoint")
    manual_output = Setpoint(PERCENT, ask=wide(3), tell=preset_wide(3), doc="Output in manual")
    working_output = Readback(Float("%", SINGLE), ask=wide(4))
    working_setpoint = Readback(Float("degC", SINGLE), ask=wide(5), doc="Working setpoint")
    proportional_band = Setpoint(Float("degC", SINGLE, limits=(0, 9999)), ask=wide(6), tell=preset_wide(6))
    integral_time = Setpoint(SECONDS, ask=wide(8), tell=preset_wide(8), doc="Integral time, 0: none")
    derivative_time = Setpoint(SECONDS, ask=wide(9), tell=preset_wide(9), doc="Derivative time, 0: none")
    alarm1_setpoint = Setpoint(TEMPERATURE, ask=wide(13), tell=preset_wide(13))
    alarm2_setpoint = Setpoint(TEMPERATURE, ask=wide(14), tell=preset_wide(14))
    alarm3_setpoint = Setpoint(TEMPERATURE, ask=wide(81), tell=preset_wide(81))
    alarm4_setpoint = Setpoint(TEMPERATURE, ask=wide(82), tell=preset_wide(82))
    setpoint_select = Setpoint(
        Enum(SetpointSelect, UINT16), ask=holding(15), tell=preset(15), refreshes=[target]
    )
    setpoint1 = Setpoint(TEMPERATURE, ask=wide(24), tell=preset_wide(24))
    setpoint2 = Setpoint(TEMPERATURE, ask=wide(25), tell=preset_wide(25))
    remote_setpoint = Setpoint(TEMPERATURE, ask=wide(485), tell=preset_wide(485), doc="Remote setpoint")
    source = Setpoint(
        Enum(Source, UINT16), ask=holding(276), tell=preset(276), doc="Local or remote setpoint"
    )
    output_high = Setpoint(PERCENT, ask=wide(30), tell=preset_wide(30), doc="Highest output")
    output_low = Setpoint(PERCENT, ask=wide(31), tell=preset_wide(31), doc="Lowest output")
    setpoint_rate = Setpoint(
        Float("", SINGLE, limits=(0, 9999)), ask=wide(35), tell=preset_wide(35), doc="Setpoint rate, 0: none"
    )
    rate_units = Readback(Enum(RateUnits, UINT16), ask=holding(531))
    setpoint_high = Setpoint(TEMPERATURE, ask=wide(111), tell=preset_wide(111), doc="Highest SP1")
    setpoint_low = Setpoint(TEMPERATURE, ask=wide(112), tell=preset_wide(112), doc="Lowest SP1")
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
    heater_fail = Readback(Bit(7), ask=holding(75))
    units = Readback(Enum(Units, INT16, default=Units.OTHER), ask=holding(516))
    version = Readback(Integer(spec=UINT16), ask=holding(107), doc="Firmware: 772 is V3.04")
    model = Readback(Integer(spec=UINT16), ask=holding(122), doc="Code of the model: 9280 is a 2404")
    acknowledge = Command(tell="{addr} holding 274 = 0001", refreshes=[status], doc="Acknowledge all alarms")
