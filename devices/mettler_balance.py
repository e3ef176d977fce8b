"""PVs of a Mettler Toledo balance with MT-SICS."""

from labioc.drivers.mettler_balance import Adjustment, Load, MettlerBalance, Reading

from .core import AlarmSeverity, Device, pv

WATCH = 2.0
"""Readings come by themselves; if none has come for half of this, in seconds, the stream is started again."""


class MettlerBalancePVs(Device):
    """Mettler Toledo balance with MT-SICS."""

    weight = pv(
        MettlerBalance.reading, field=Reading.weight, name="WEIGHT", precision=4, scan=WATCH, doc="Net weight"
    )
    load = pv(
        MettlerBalance.reading,
        field=Reading.load,
        name="LOAD",
        scan=WATCH,
        severities={Load.OVERLOAD: AlarmSeverity.MAJOR_ALARM, Load.UNDERLOAD: AlarmSeverity.MAJOR_ALARM},
        doc="Whether the weight is stable",
    )
    stable_weight = pv(MettlerBalance.stable_weight, name="WEIGHT_STABLE", precision=4, scan=WATCH)
    wire_unit = pv(
        MettlerBalance.reading,
        field=Reading.unit,
        name="WIRE_UNIT",
        scan=WATCH,
        doc="Unit on the wire, before conversion",
    )
    unit = pv(MettlerBalance.unit, name="UNIT")

    zero = pv(MettlerBalance.zero, name="ZERO")
    zero_now = pv(MettlerBalance.zero_now, name="ZERO_NOW")
    tare = pv(MettlerBalance.tare, name="TARE")
    tare_now = pv(MettlerBalance.tare_now, name="TARE_NOW")
    tare_value = pv(MettlerBalance.tare_value, name="TARE_VALUE", precision=4, scan=5)
    clear_tare = pv(MettlerBalance.clear_tare, name="TARE_CLEAR")
    reset = pv(MettlerBalance.reset, name="RESET")

    adjust = pv(MettlerBalance.adjust, name="ADJUST")
    adjust_internally = pv(MettlerBalance.adjust_internally, name="ADJUST_INT")
    adjustment = pv(
        MettlerBalance.adjustment,
        name="ADJUSTMENT",
        severities={Adjustment.ABORTED: AlarmSeverity.MINOR_ALARM},
    )

    pressed = pv(MettlerBalance.pressed, name="KEY")
    keys = pv(MettlerBalance.keys, name="KEYS")
    display = pv(MettlerBalance.display, name="DISPLAY")
    show_weight = pv(MettlerBalance.show_weight, name="DISPLAY_WEIGHT")

    label = pv(MettlerBalance.label, name="NAME", scan=None)
    model = pv(MettlerBalance.model, name="MODEL", scan=None)
    data = pv(MettlerBalance.data, name="DATA", scan=None)
    software = pv(MettlerBalance.software, name="SOFTWARE", scan=None)
    software_id = pv(MettlerBalance.software_id, name="SOFTWARE_ID", scan=None)
    serial_number = pv(MettlerBalance.serial_number, name="SERIAL", scan=None)
    levels = pv(MettlerBalance.levels, name="LEVELS", scan=None)
