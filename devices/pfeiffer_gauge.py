"""PVs of a Pfeiffer Vacuum digital gauge."""

from labioc.drivers.pfeiffer_gauge import (
    HighVacuum,
    HighVacuum100,
    HighVacuum200,
    HotCathode,
    PfeifferGauge,
    Pirani,
    Series200,
    TwoSensors,
)
from labioc.drivers.pfeiffer_vacuum import Fault

from .core import AlarmSeverity, Device, DeviceGroup, SubGroups, pv


class PiraniPVs(DeviceGroup):
    """All but CPT."""

    correction = pv(Pirani.correction, name="CORRECTION", precision=2, scan=10)


class TwoSensorsPVs(DeviceGroup):
    """RPT, HPT and MPT."""

    transition = pv(TwoSensors.transition, name="TRANSITION", scan=30)


class HighVacuum100PVs(DeviceGroup):
    """HPT 100 and MPT 100."""

    on = pv(HighVacuum100.on, name="HV", scan=5)
    correction = pv(HighVacuum.correction, name="CORRECTION_HV", precision=2, scan=10)


class HighVacuum200PVs(DeviceGroup):
    """HPT 200 and MPT 200."""

    on = pv(HighVacuum200.on, name="HV", scan=5)
    correction = pv(HighVacuum.correction, name="CORRECTION_HV", precision=2, scan=10)


class HotCathodePVs(DeviceGroup):
    """HPT."""

    degas = pv(HotCathode.degas, name="DEGAS", scan=5)


class Series200PVs(DeviceGroup):
    """What every gauge of the series 200 has besides."""

    switch_point_1 = pv(Series200.switch_point_1, name="SP1", precision=6, scan=10)
    switch_point_2 = pv(Series200.switch_point_2, name="SP2", precision=6, scan=10)
    serial_number = pv(Series200.serial_number, name="SERIAL", scan=None)
    order_number = pv(Series200.order_number, name="ORDER", scan=None)
    hardware = pv(Series200.hardware, name="HARDWARE", scan=None)


class PfeifferGaugePVs(Device):
    """Pfeiffer Vacuum digital gauge: CPT, PPT, RPT, HPT, MPT, series 100 and 200."""

    pressure = pv(PfeifferGauge.pressure, name="PRESSURE", precision=6, scan=1, display=(0, 1000))
    fault = pv(
        PfeifferGauge.fault,
        name="FAULT",
        scan=1,
        severities={Fault.WARNING: AlarmSeverity.MINOR_ALARM, Fault.ERROR: AlarmSeverity.MAJOR_ALARM},
    )
    error = pv(PfeifferGauge.error, name="ERROR", scan=1)
    error_text = pv(PfeifferGauge.error_text, name="ERROR_TEXT", scan=1)
    adjust_point = pv(PfeifferGauge.adjust_point, name="ADJUST_POINT")
    adjust = pv(PfeifferGauge.adjust, name="ADJUST", precision=6)
    model = pv(PfeifferGauge.model, name="MODEL", scan=None)
    firmware = pv(PfeifferGauge.firmware, name="FIRMWARE", scan=None)

    pirani = SubGroups(PiraniPVs, of=PfeifferGauge.pirani, prefix="")
    sensors = SubGroups(TwoSensorsPVs, of=PfeifferGauge.sensors, prefix="")
    high_vacuum_100 = SubGroups(HighVacuum100PVs, of=PfeifferGauge.high_vacuum_100, prefix="")
    high_vacuum_200 = SubGroups(HighVacuum200PVs, of=PfeifferGauge.high_vacuum_200, prefix="")
    hot_cathode = SubGroups(HotCathodePVs, of=PfeifferGauge.hot_cathode, prefix="")
    series_200 = SubGroups(Series200PVs, of=PfeifferGauge.series_200, prefix="")
