"""What every device stands on: PV data classes, mapping, scanning, link health."""

from ._pvgroup import SubGroup
from .definition import Settled, pv
from .mapping import Device, DeviceGroup, SubGroups
from .records import Alarm, AlarmSeverity

__all__ = ["Alarm", "AlarmSeverity", "Device", "DeviceGroup", "Settled", "SubGroup", "SubGroups", "pv"]
