"""Eurotherm 3500 series process controllers (3504, 3508): the first loop and four analogue alarms.

Source: 3500 Series Engineering Handbook (HA027988), digital communications, with the 2000 Series Communications
Handbook (HA026230) for the messages and the registers of 32 bits.
"""

from .core import Bool, Driver, Enum, Float, Integer, Readback, Setpoint
from .eurotherm import InstrumentMode, Mode, SetpointSelect, Source, preset_wide, protocol, wide
from .modbus import SINGLE, UINT16, Bit, holding, preset

TEMPERATURE = Float("degC", SINGLE, limits=(-1999, 9999))
PERCENT = Float("%", SINGLE, limits=(-100, 100))
SECONDS = Float("s", UINT16, limits=(0, 9999))


class Eurotherm3500(Driver):
    """Eurotherm 3500 series process controller."""

    # numbers come from the registers of 32 bits: in those of 16, each has the decimals of its own display
    protocol = protocol("2|32|E")

    sensor_break = Readback(Bit(5), ask=holding(75))
    temperature = Readback(
        Float("degC", SINGLE),
        ask=wide(1),
        valid_if=sensor_break == False,  # noqa: E712
        doc="Loop.1.Main.PV",
    )
    target = Setpoint(TEMPERATURE, ask=wide(2), tell=preset_wide(2), doc="Loop.1.Main.TargetSP")
    manual_output = Setpoint(PERCENT, ask=wide(3), tell=preset_wide(3), doc="Loop.1.OP.ManualOutVal")
    active_output = Readback(Float("%", SINGLE), ask=wide(4), doc="Loop.1.Main.ActiveOut")
    working_setpoint = Readback(Float("degC", SINGLE), ask=wide(5), doc="Loop.1.Main.WorkingSP")
    proportional_band = Setpoint(
        Float("degC", SINGLE, limits=(0, 9999)),
        ask=wide(6),
        tell=preset_wide(6),
        doc="Loop.1.PID.ProportionalBand",
    )
    integral_time = Setpoint(SECONDS, ask=holding(8), tell=preset(8), doc="Loop.1.PID.IntegralTime")
    derivative_time = Setpoint(SECONDS, ask=holding(9), tell=preset(9), doc="Loop.1.PID.DerivativeTime")
    setpoint_select = Setpoint(
        Enum(SetpointSelect, UINT16),
        ask=holding(15),
        tell=preset(15),
        refreshes=[target],
        doc="Loop.1.SP.SPSelect",
    )
    setpoint1 = Setpoint(TEMPERATURE, ask=wide(24), tell=preset_wide(24), doc="Loop.1.SP.SP1")
    setpoint2 = Setpoint(TEMPERATURE, ask=wide(25), tell=preset_wide(25), doc="Loop.1.SP.SP2")
    source = Setpoint(Enum(Source, UINT16), ask=holding(276), tell=preset(276), doc="Loop.1.SP.AltSPSelect")
    remote_setpoint = Setpoint(TEMPERATURE, ask=wide(26), tell=preset_wide(26), doc="Loop.1.SP.AltSP")
    output_high = Setpoint(PERCENT, ask=wide(30), tell=preset_wide(30), doc="Loop.1.OP.OutputHighLimit")
    output_low = Setpoint(PERCENT, ask=wide(31), tell=preset_wide(31), doc="Loop.1.OP.OutputLowLimit")
    setpoint_rate = Setpoint(
        Float("", SINGLE, limits=(0, 9999)), ask=wide(35), tell=preset_wide(35), doc="Loop.1.SP.Rate, 0: none"
    )
    setpoint_high = Setpoint(TEMPERATURE, ask=wide(111), tell=preset_wide(111), doc="Loop.1.SP.SPHighLimit")
    setpoint_low = Setpoint(TEMPERATURE, ask=wide(112), tell=preset_wide(112), doc="Loop.1.SP.SPLowLimit")
    instrument_mode = Setpoint(
        Enum(InstrumentMode, UINT16, settable=[InstrumentMode.OPERATING, InstrumentMode.STANDBY]),
        ask=holding(199),
        tell=preset(199),
    )
    autotune = Setpoint(
        Bool("0001", "0000"), ask=holding(270), tell=preset(270), doc="Loop.1.Tune.AutotuneEnable"
    )
    mode = Setpoint(
        Enum(Mode, UINT16),
        ask=holding(273),
        tell=preset(273),
        refreshes=[manual_output],
        doc="Loop.1.Main.AutoMan",
    )
    alarm1_threshold = Setpoint(
        TEMPERATURE, ask=wide(10241), tell=preset_wide(10241), doc="Alarm.1.Threshold"
    )
    alarm2_threshold = Setpoint(
        TEMPERATURE, ask=wide(10257), tell=preset_wide(10257), doc="Alarm.2.Threshold"
    )
    alarm3_threshold = Setpoint(
        TEMPERATURE, ask=wide(10273), tell=preset_wide(10273), doc="Alarm.3.Threshold"
    )
    alarm4_threshold = Setpoint(
        TEMPERATURE, ask=wide(10289), tell=preset_wide(10289), doc="Alarm.4.Threshold"
    )
    alarm1 = Readback(Bit(0), ask=holding(10249), doc="Alarm.1.Out")
    alarm2 = Readback(Bit(0), ask=holding(10265), doc="Alarm.2.Out")
    alarm3 = Readback(Bit(0), ask=holding(10281), doc="Alarm.3.Out")
    alarm4 = Readback(Bit(0), ask=holding(10297), doc="Alarm.4.Out")
    version = Readback(Integer(spec=UINT16), ask=holding(107), doc="Firmware: 772 is V3.04")
    model = Readback(Integer(spec=UINT16), ask=holding(122), doc="0: 3508, 1: 3504")
