"""PVs that instruments with SCPI have in common."""

from labioc.drivers.scpi import Identity, ScpiDriver

from .core import Device, pv


class ScpiPVs(Device):
    """An instrument that speaks SCPI. Each error that it tells of is also put down in MESSAGE."""

    model = pv(ScpiDriver.identity, field=Identity.model, name="MODEL", scan=None, doc="Model")
    serial = pv(ScpiDriver.identity, field=Identity.serial, name="SERIAL", scan=None, doc="Serial number")
    firmware = pv(ScpiDriver.identity, field=Identity.firmware, name="FIRMWARE", scan=None, doc="Firmware")
    error = pv(ScpiDriver.error, name="ERROR", scan=1, doc="The last error in its queue")
