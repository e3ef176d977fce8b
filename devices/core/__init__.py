"""What every device stands on: PV data classes, mapping, scanning, link health."""

from ._pvgroup import PVGroup, SubGroup
from .definition import Settled, pv
from .field import FieldSpec
from .function import soft_function
from .mapping import Device, DeviceGroup, SubGroups
from .records import PV, Alarm, AlarmSeverity, AlarmStatus
from .scale import Scale
from .soft import soft, soft_pair

__all__ = [
    "PV",
    "Alarm",
    "AlarmSeverity",
    "AlarmStatus",
    "Device",
    "DeviceGroup",
    "FieldSpec",
    "PVGroup",
    "Scale",
    "Settled",
    "SubGroup",
    "SubGroups",
    "pv",
    "soft",
    "soft_function",
    "soft_pair",
]
