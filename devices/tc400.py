"""PVs of a Pfeiffer Vacuum TC 400, the drive of a HiPace turbopump."""

from labioc.drivers.pfeiffer_vacuum import Fault
from labioc.drivers.tc400 import TC400

from .core import AlarmSeverity, Device, Settled, pv

MAJOR = {True: AlarmSeverity.MAJOR_ALARM}
LONGEST_RUN_UP = 7200.0  # s, 700 RUTimeSVal


class TC400PVs(Device):
    """Pfeiffer Vacuum TC 400: HiPace turbopump with its drive electronics."""

    # done when the pump has run up, or is off; an error ends the wait
    station = pv(
        TC400.station,
        name="STATION",
        scan=2,
        settled=Settled(
            TC400.ready == True,  # noqa: E712
            timeout=LONGEST_RUN_UP,
            every=1.0,
            fails=TC400.fault == Fault.ERROR,
        ),
    )
    stop = pv(TC400.stop, name="STOP", stops=TC400.station)
    motor = pv(TC400.motor, name="MOTOR", scan=5)
    acknowledge = pv(TC400.acknowledge, name="ACK")

    speed = pv(TC400.speed, name="SPEED", precision=0, scan=1, display=(0, 1500))
    set_speed = pv(TC400.set_speed, name="SPEED_SET", precision=0, scan=5, display=(0, 1500))
    nominal_speed = pv(TC400.nominal_speed, name="SPEED_NOMINAL", precision=0, scan=None)
    at_switch_point = pv(TC400.at_switch_point, name="SWITCH_POINT", scan=1)
    at_set_speed = pv(TC400.at_set_speed, name="AT_SPEED", scan=2)
    accelerating = pv(TC400.accelerating, name="ACCELERATING", scan=2)
    power = pv(TC400.power, name="POWER", precision=0, scan=2, display=(0, 500))
    current = pv(TC400.current, name="CURRENT", precision=2, scan=2, display=(0, 15))
    voltage = pv(TC400.voltage, name="VOLTAGE", precision=2, scan=10, display=(0, 60))

    fault = pv(
        TC400.fault,
        name="FAULT",
        scan=1,
        severities={Fault.WARNING: AlarmSeverity.MINOR_ALARM, Fault.ERROR: AlarmSeverity.MAJOR_ALARM},
    )
    error = pv(TC400.error, name="ERROR", scan=1)
    error_text = pv(TC400.error_text, name="ERROR_TEXT", scan=1)
    last_error = pv(TC400.last_error, name="ERROR_LAST", scan=30)
    overtemperature_electronics = pv(
        TC400.overtemperature_electronics, name="OVERTEMP_ELEC", scan=5, severities=MAJOR
    )
    overtemperature_pump = pv(TC400.overtemperature_pump, name="OVERTEMP_PUMP", scan=5, severities=MAJOR)
    temperature_electronics = pv(TC400.temperature_electronics, name="TEMP_ELEC", scan=10, display=(0, 100))
    temperature_bottom = pv(TC400.temperature_bottom, name="TEMP_BOTTOM", scan=10, display=(0, 100))
    temperature_bearing = pv(TC400.temperature_bearing, name="TEMP_BEARING", scan=10, display=(0, 100))
    temperature_motor = pv(TC400.temperature_motor, name="TEMP_MOTOR", scan=10, display=(0, 150))

    standby = pv(TC400.standby, name="STANDBY", scan=10)
    standby_speed = pv(TC400.standby_speed, name="STANDBY_SPEED", precision=2, scan=30)
    speed_mode = pv(TC400.speed_mode, name="SPEED_MODE", scan=10)
    speed_setting = pv(TC400.speed_setting, name="SPEED_PERCENT", precision=2, scan=30)
    power_limit = pv(TC400.power_limit, name="POWER_LIMIT", scan=30)
    switch_point = pv(TC400.switch_point, name="SWITCH_POINT_AT", scan=30)
    run_up_control = pv(TC400.run_up_control, name="RUNUP_CONTROL", scan=30)
    run_up_time = pv(TC400.run_up_time, name="RUNUP_TIME", scan=30)
    gas_mode = pv(TC400.gas_mode, name="GAS_MODE", scan=10)
    backing_mode = pv(TC400.backing_mode, name="BACKING_MODE", scan=30)
    heating = pv(TC400.heating, name="HEATING", scan=10)
    sealing_gas = pv(TC400.sealing_gas, name="SEALING_GAS", scan=10)
    venting = pv(TC400.venting, name="VENT", scan=10)
    vent_mode = pv(TC400.vent_mode, name="VENT_MODE", scan=30)
    vent_speed = pv(TC400.vent_speed, name="VENT_SPEED", scan=30)
    vent_time = pv(TC400.vent_time, name="VENT_TIME", scan=30)
    remote = pv(TC400.remote, name="REMOTE", scan=10)

    speed_rpm = pv(TC400.speed_rpm, name="SPEED_RPM", precision=0, scan=10)
    set_speed_rpm = pv(TC400.set_speed_rpm, name="SPEED_SET_RPM", precision=0, scan=30)
    nominal_speed_rpm = pv(TC400.nominal_speed_rpm, name="SPEED_NOMINAL_RPM", precision=0, scan=None)
    acceleration = pv(TC400.acceleration, name="ACCELERATION", precision=0, scan=10)
    pump_hours = pv(TC400.pump_hours, name="HOURS_PUMP", scan=60)
    electronics_hours = pv(TC400.electronics_hours, name="HOURS_ELEC", scan=60)
    cycles = pv(TC400.cycles, name="CYCLES", scan=60)
    model = pv(TC400.model, name="MODEL", scan=None)
    firmware = pv(TC400.firmware, name="FIRMWARE", scan=None)
    hardware = pv(TC400.hardware, name="HARDWARE", scan=None)
