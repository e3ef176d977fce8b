"""Pfeiffer Vacuum TC 400: the drive electronics of HiPace 300 to 800 turbopumps.

Source: TC 400 operating instructions: chapter 6 parameter set, 7 operation, 8 protocol, 9 malfunctions. The other
drives of the family (TC 80, TC 110, TM 700, TC 1200) have the same parameters, with few exceptions.
"""

import enum

from .core import Bool, Driver, Enum, Text, computed
from .pfeiffer_vacuum import (
    Fault,
    Telegrams,
    boolean_old,
    choice,
    command,
    fault_of,
    named,
    setting,
    status,
    string,
    u_integer,
    u_real,
    u_short_int,
)

# what the codes of parameter 303 mean (9)
ERRORS = {
    "Err001": "excess rotation speed",
    "Err002": "overvoltage",
    "Err006": "run-up time exceeded",
    "Err007": "operating fluid low",
    "Err008": "connection of drive and pump faulty",
    "Err010": "internal device error",
    "Err021": "drive does not detect the pump",
    "Err041": "drive fault",
    "Err043": "internal configuration error",
    "Err044": "excess temperature of the electronics",
    "Err045": "excess temperature of the motor",
    "Err046": "internal initialization error",
    "Err073": "axial bearing overload",
    "Err074": "radial bearing overload",
    "Err089": "rotor unstable",
    "Err091": "internal device error",
    "Err092": "unknown connection panel",
    "Err093": "motor temperature evaluation faulty",
    "Err094": "electronics temperature evaluation faulty",
    "Err098": "internal communication error",
    "Err107": "final stage group error",
    "Err108": "rotation speed measurement faulty",
    "Err109": "software not released",
    "Err110": "operating fluid evaluation faulty",
    "Err111": "operating fluid pump communication error",
    "Err112": "operating fluid pump group error",
    "Err113": "rotor temperature evaluation faulty",
    "Err114": "final stage temperature evaluation faulty",
    "Err117": "excess temperature of the pump's lower part",
    "Err118": "excess temperature of the final stage",
    "Err119": "excess temperature of the bearing",
    "Err143": "excess temperature of the operating fluid pump",
    "Err777": "nominal rotation speed not confirmed",
    "Err800": "magnetic bearing overflow",
    "Err802": "magnetic bearing sensors faulty",
    "Err810": "internal configuration error",
    "Err815": "magnetic bearing overflow",
    "Err890": "safety bearing worn",
    "Err891": "rotor imbalance too high",
    "Wrn001": "TMS heat-up time expired",
    "Wrn003": "TMS temperature invalid",
    "Wrn007": "undervoltage or power failure",
    "Wrn018": "conflict of the interfaces that control",
    "Wrn045": "motor temperature high",
    "Wrn076": "electronics temperature high",
    "Wrn089": "imbalance high",
    "Wrn097": "invalid pump information",
    "Wrn098": "incomplete pump information",
    "Wrn100": "minimum speed not reached",
    "Wrn106": "rotor temperature high",
    "Wrn115": "lower part's temperature evaluation faulty",
    "Wrn116": "bearing temperature evaluation faulty",
    "Wrn117": "lower part's temperature high",
    "Wrn118": "final stage temperature high",
    "Wrn119": "bearing temperature high",
    "Wrn143": "operating fluid pump temperature high",
    "Wrn168": "deceleration high",
    "Wrn801": "braking transistor defective",
    "Wrn806": "brake resistor defective",
    "Wrn807": "calibration needed",
    "Wrn890": "safety bearing wear high",
    "Wrn891": "rotor imbalance high",
}


class GasMode(enum.IntEnum):
    """Parameter 027: what is pumped, which decides how much power the rotor bears."""

    HEAVY_GASES = 0
    LIGHT_GASES = 1
    HELIUM = 2


class VentMode(enum.IntEnum):
    """Parameter 030."""

    DELAYED = 0
    NO_VENTING = 1
    DIRECT = 2


class BackingMode(enum.IntEnum):
    """Parameter 025: how the backing pump runs."""

    CONTINUOUS = 0
    INTERMITTENT = 1
    DELAYED_ON = 2
    DELAYED_INTERMITTENT = 3


class SpeedMode(enum.IntEnum):
    """Parameter 026: whether the pump runs at the speed of parameter 707 instead of the nominal one."""

    NOMINAL = 0
    SET = 1


class TC400(Driver):
    """Pfeiffer Vacuum TC 400: HiPace turbopump with its drive electronics."""

    protocol = Telegrams(identify=named(r"\s*T[CM]"))

    # status (6.3)
    remote = status(300, boolean_old(), doc="Remote connection has priority")
    at_switch_point = status(302, boolean_old(), doc="Rotation speed switch point reached")
    error = status(303, string(), doc="Error code")
    overtemperature_electronics = status(304, boolean_old(), doc="Excess temperature of the electronics")
    overtemperature_pump = status(305, boolean_old(), doc="Excess temperature of the pump")
    at_set_speed = status(306, boolean_old(), doc="Set rotation speed reached")
    accelerating = status(307, boolean_old(), doc="Pump accelerates")
    set_speed = status(308, u_integer("Hz"), doc="Set rotation speed")
    speed = status(309, u_integer("Hz"), doc="Actual rotation speed")
    current = status(310, u_real("A"), doc="Drive current")
    pump_hours = status(311, u_integer("h"), doc="Operating hours of the pump")
    firmware = status(312, string(), doc="Firmware version")
    voltage = status(313, u_real("V"), doc="Drive voltage")
    electronics_hours = status(314, u_integer("h"), doc="Operating hours of the electronics")
    nominal_speed = status(315, u_integer("Hz"), doc="Nominal rotation speed")
    power = status(316, u_integer("W"), doc="Drive power")
    cycles = status(319, u_integer(), doc="Pump cycles")
    temperature_electronics = status(326, u_integer("degC"), doc="Temperature of the electronics")
    temperature_bottom = status(330, u_integer("degC"), doc="Temperature of the pump's lower part")
    acceleration = status(336, u_integer("rpm/s"), doc="Acceleration or deceleration")
    temperature_bearing = status(342, u_integer("degC"), doc="Temperature of the bearing")
    temperature_motor = status(346, u_integer("degC"), doc="Temperature of the motor")
    model = status(349, string(), doc="Name of the drive")
    hardware = status(354, string(), doc="Hardware version")
    last_error = status(360, string(), doc="Latest error in the history")
    set_speed_rpm = status(397, u_integer("rpm"), doc="Set rotation speed")
    speed_rpm = status(398, u_integer("rpm"), doc="Actual rotation speed")
    nominal_speed_rpm = status(399, u_integer("rpm"), doc="Nominal rotation speed")

    # control (6.2)
    heating = setting(1, boolean_old(), doc="Casing heating")
    standby = setting(2, boolean_old(), refreshes=[set_speed], doc="Run at the speed for standby")
    run_up_control = setting(4, boolean_old(), doc="Run-up time control")
    acknowledge = command(9, boolean_old(), True, refreshes=[error], doc="Acknowledge an error")
    station = setting(10, boolean_old(), refreshes=[error], doc="Pumping station, and acknowledge errors")
    stop = command(10, boolean_old(), False, refreshes=[station], doc="Pumping station off")
    venting = setting(12, boolean_old(), doc="Enable venting")
    motor = setting(23, boolean_old(), doc="Motor of the pump")
    backing_mode = setting(25, choice(BackingMode), doc="How the backing pump runs")
    speed_mode = setting(26, choice(SpeedMode), refreshes=[set_speed], doc="Nominal speed, or as set")
    gas_mode = setting(27, choice(GasMode), doc="What gas is pumped")
    vent_mode = setting(30, choice(VentMode), doc="When it is vented")
    sealing_gas = setting(50, boolean_old(), doc="Sealing gas")

    # set values (6.4)
    run_up_time = setting(700, u_integer("min", limits=(1, 120)), doc="Longest run-up time")
    switch_point = setting(701, u_integer("%", limits=(50, 97)), doc="Rotation speed switch point 1")
    speed_setting = setting(
        707, u_real("%", limits=(20, 100)), refreshes=[set_speed], doc="Set speed in speed mode SET"
    )
    power_limit = setting(708, u_short_int("%", limits=(10, 100)), doc="Limit of the power consumption")
    standby_speed = setting(
        717, u_real("%", limits=(20, 100)), refreshes=[set_speed], doc="Set speed in standby"
    )
    vent_speed = setting(720, u_short_int("%", limits=(40, 98)), doc="Speed below which it is vented")
    vent_time = setting(721, u_integer("s", limits=(6, 3600)), doc="How long it is vented")

    @computed(Enum(Fault), error)
    def fault(error: str) -> Fault:
        """Whether there is a warning or an error."""
        return fault_of(error)

    @computed(Text(), error)
    def error_text(error: str) -> str:
        """What the error code means."""
        return "" if fault_of(error) is Fault.NONE else ERRORS.get(error, "unknown")

    @computed(Bool(), station, at_switch_point, at_set_speed)
    def ready(station: bool, at_switch_point: bool, at_set_speed: bool) -> bool:
        """Off as it should be, or run up."""
        return not station or at_switch_point or at_set_speed
