"""Pfeiffer Vacuum TC 400 with a HiPace 300 turbopump on it.

Source: TC 400 operating instructions, chapter 6 parameter set, 7 operation, 8 protocol, 9 malfunctions.
"""

from .core.chamber import BackingPump, Chamber, Turbo
from .pfeiffer_vacuum import (
    BOOLEAN_OLD,
    LOGIC,
    STRING,
    U_INTEGER,
    U_REAL,
    U_SHORT_INT,
    P,
    RefusedError,
    Unit,
)

NO_ERROR = "000000"
OVERSPEED, OVERVOLTAGE, RUN_UP_TIME, OVERCURRENT = "Err001", "Err002", "Err006", "Err041"
HOT_ELECTRONICS, HOT_MOTOR, HOT_BOTTOM = "Err044", "Err045", "Err117"
UNDERVOLTAGE, WARM_MOTOR, WARM_ELECTRONICS, WARM_BOTTOM = "Wrn007", "Wrn045", "Wrn076", "Wrn117"
HISTORY = range(360, 370)

DELAYED, DIRECT = 0, 2
FULL_POWER = 300.0  # W
CAN_BEAR = 3.0  # times as much friction as the motor has power is too much: an air inrush
IDLE_POWER = 8.0  # W, of the electronics


class TC400(Unit):
    """The drive and its pump.

    Attributes:
        turbo: the pump.
        chamber: what it pumps.
        backing: the backing pump, which the drive switches.
        voltage: of the supply, V.
        remote: whether the connection "remote" has priority: then the bus can't control.
        failure: an error that stays until this is "", as from a defective part.
    """

    group = 960

    def __init__(self, chamber: Chamber, backing: BackingPump) -> None:
        """Put a pump that stands still on a chamber."""
        self.turbo = Turbo()
        self.chamber = chamber
        self.backing = backing
        self.voltage = 48.0
        self.remote = False
        self.failure = ""
        self.name, self.firmware, self.hardware = "TC 400", "010600", "010100"
        self.error = NO_ERROR
        self.history: list[str] = []
        self._remember(*[NO_ERROR] * len(HISTORY))
        self.power = 0.0
        self.acceleration = 0.0
        self.pump_seconds, self.electronics_seconds, self.cycles = 1234 * 3600.0, 5678 * 3600.0, 42
        self.address = 1
        # control commands (6.2), as they are delivered, but for the two that a pumping station needs
        self.heating = self.standby = self.venting = self.sealing_gas = False
        self._station = False
        self.run_up_control = self.motor = True
        self.switch_points, self.backing_mode, self.speed_mode, self.gas_mode, self.vent_mode = (
            0,
            0,
            0,
            0,
            DELAYED,
        )
        self.do1, self.do2, self.remote_configuration = 0, 1, 0
        self.a1, self.b1, self.a2, self.b2 = 0, 1, 3, 2
        self.sensor, self.ao1, self.ai1, self.di1, self.di2, self.di3 = 2, 0, 1, 1, 2, 3
        self.interface, self.is_interface_locked = 1, False
        # set values (6.4)
        self.run_up_time, self.switch_point_1, self.switch_point_2 = 8, 80, 20
        self.speed_setting, self.power_limit, self.standby_speed = 65.0, 100, 66.7
        self.backing_off, self.backing_on = 0, 0
        self.vent_speed, self.vent_time = 50, 3600
        self.nominal_confirmed = 0
        self._accelerating_for = 0.0
        self._vented_for = 0.0

    def check_access(self, line: P) -> None:
        """Refuse what controls while "remote" has priority."""
        if self.remote and line.number < 100:
            raise RefusedError(LOGIC)

    def power_cycle(self) -> None:
        """Forget the error; the parameters and the operating hours are kept (6.1), the rotor goes on turning."""
        self.error = NO_ERROR
        self._accelerating_for = 0.0

    # what the parameters show

    @property
    def station(self) -> bool:
        """Pumping station on or off."""
        return self._station

    @station.setter
    def station(self, on: bool) -> None:
        if on:
            self.acknowledge = True
            if not self._station:
                self.cycles += 1
                self._accelerating_for = 0.0
        self._vented_for = 0.0
        self._station = on

    @property
    def acknowledge(self) -> bool:
        """Nothing to be read."""
        return False

    @acknowledge.setter
    def acknowledge(self, done: bool) -> None:
        if done and self.error != NO_ERROR:
            self.error = NO_ERROR
            self._accelerating_for = 0.0

    @property
    def is_driven(self) -> bool:
        """Whether the motor turns the rotor."""
        return self._station and self.motor and not self.error.startswith("Err")

    @property
    def set_speed(self) -> float:
        """Set rotation speed, Hz."""
        if self.standby:
            return self.turbo.nominal * self.standby_speed / 100
        return self.turbo.nominal * (self.speed_setting / 100 if self.speed_mode else 1.0)

    @property
    def speed(self) -> float:
        """Actual rotation speed, Hz."""
        return self.turbo.nominal * self.turbo.speed

    @property
    def nominal_speed(self) -> float:
        """Nominal rotation speed, Hz."""
        return self.turbo.nominal

    @property
    def set_speed_rpm(self) -> float:
        """Set rotation speed, 1/min."""
        return 60 * self.set_speed

    @property
    def speed_rpm(self) -> float:
        """Actual rotation speed, 1/min."""
        return 60 * self.speed

    @property
    def nominal_speed_rpm(self) -> float:
        """Nominal rotation speed, 1/min."""
        return 60 * self.turbo.nominal

    @property
    def at_switch_point(self) -> bool:
        """Rotation speed switch point reached."""
        return self.turbo.speed >= self.switch_point_1 / 100

    @property
    def at_set_speed(self) -> bool:
        """Set rotation speed reached."""
        return self.is_driven and self.speed >= 0.98 * self.set_speed

    @property
    def accelerating(self) -> bool:
        """Pump accelerates."""
        return self.is_driven and not self.at_set_speed

    @property
    def current(self) -> float:
        """Drive current, A."""
        return self.power / self.voltage

    @property
    def pump_hours(self) -> float:
        """Operating hours of the pump."""
        return self.pump_seconds // 3600

    @property
    def electronics_hours(self) -> float:
        """Operating hours of the electronics."""
        return self.electronics_seconds // 3600

    @property
    def temperature_electronics(self) -> float:
        """Degrees Celsius."""
        return self.turbo.temperatures["electronics"]

    @property
    def temperature_bottom(self) -> float:
        """Degrees Celsius."""
        return self.turbo.temperatures["bottom"]

    @property
    def temperature_bearing(self) -> float:
        """Degrees Celsius."""
        return self.turbo.temperatures["bearing"]

    @property
    def temperature_motor(self) -> float:
        """Degrees Celsius."""
        return self.turbo.temperatures["motor"]

    @property
    def overtemperature_electronics(self) -> bool:
        """Excess temperature of the electronics."""
        return self.error == HOT_ELECTRONICS

    @property
    def overtemperature_pump(self) -> bool:
        """Excess temperature of the pump."""
        return self.error in (HOT_MOTOR, HOT_BOTTOM)

    # the world

    def advance(self, dt: float) -> None:
        """Let `dt` seconds pass for the drive, the pump, the backing pump and the chamber."""
        before = self.speed
        self.electronics_seconds += dt
        self.backing.on = self._station and not self.error.startswith("Err")
        self._vent(dt)
        self._drive(dt)
        self.turbo.pump(self.chamber, self.backing, dt)
        self.turbo.warm(self.power + 0.3 * self.turbo.friction, dt)
        self.acceleration = abs(self.speed - before) * 60 / dt
        self._look_for_errors(dt)

    def _vent(self, dt: float) -> None:
        self.turbo.venting = False
        if self._station or not self.venting or self.vent_mode not in (DELAYED, DIRECT):
            return
        slow = self.turbo.speed <= self.vent_speed / 100
        if (self.vent_mode == DIRECT or slow) and self._vented_for < self.vent_time:
            self.turbo.venting = True
            self._vented_for += dt

    def _drive(self, dt: float) -> None:
        goal = self.set_speed / self.turbo.nominal
        full = FULL_POWER * self.power_limit / 100
        motor = full if self.is_driven and self.turbo.speed <= goal else 0.0
        self.turbo.turn(motor, self.chamber, self.backing, dt)
        if motor and self.turbo.speed > goal:
            self.turbo.speed = goal
            motor = min(self.turbo.friction, full)
        self.power = motor + IDLE_POWER
        if self.turbo.speed > 0.01:
            self.pump_seconds += dt

    def _look_for_errors(self, dt: float) -> None:
        self._accelerating_for = self._accelerating_for + dt if self._runs_up() else 0.0
        temperatures = self.turbo.temperatures
        found = {
            OVERSPEED: self.turbo.speed > 1.05,
            OVERVOLTAGE: self.voltage > 54,
            RUN_UP_TIME: self._accelerating_for > 60 * self.run_up_time,
            OVERCURRENT: self.is_driven and self.turbo.friction > CAN_BEAR * FULL_POWER,
            HOT_ELECTRONICS: temperatures["electronics"] > 75,
            HOT_MOTOR: temperatures["motor"] > 100,
            HOT_BOTTOM: temperatures["bottom"] > 70,
            UNDERVOLTAGE: self.voltage < 43,
            WARM_ELECTRONICS: temperatures["electronics"] > 65,
            WARM_MOTOR: temperatures["motor"] > 85,
            WARM_BOTTOM: temperatures["bottom"] > 60,
        }
        code = self.failure or next((code for code, is_there in found.items() if is_there), NO_ERROR)
        if code == self.error or self.error.startswith("Err"):
            return  # an error stays until it is acknowledged
        self.error = code
        if code != NO_ERROR:
            self._remember(code)

    def _remember(self, *codes: str) -> None:
        """Keep the latest errors, the very latest first, as the parameters 360 to 369 show them."""
        self.history = [*codes, *self.history][: len(HISTORY)]
        vars(self).update(
            {f"error_{number}": code for number, code in zip(HISTORY, self.history, strict=True)}
        )

    def _runs_up(self) -> bool:
        return self.is_driven and self.run_up_control and not (self.at_switch_point or self.at_set_speed)

    table = (
        P(1, "heating", BOOLEAN_OLD, "RW"),
        P(2, "standby", BOOLEAN_OLD, "RW"),
        P(4, "run_up_control", BOOLEAN_OLD, "RW"),
        P(9, "acknowledge", BOOLEAN_OLD, "W", 1, 1),
        P(10, "station", BOOLEAN_OLD, "RW"),
        P(12, "venting", BOOLEAN_OLD, "RW"),
        P(17, "switch_points", U_SHORT_INT, "RW", 0, 1),
        P(19, "do2", U_SHORT_INT, "RW", 0, 22),
        P(23, "motor", BOOLEAN_OLD, "RW"),
        P(24, "do1", U_SHORT_INT, "RW", 0, 22),
        P(25, "backing_mode", U_SHORT_INT, "RW", 0, 3),
        P(26, "speed_mode", U_SHORT_INT, "RW", 0, 1),
        P(27, "gas_mode", U_SHORT_INT, "RW", 0, 2),
        P(28, "remote_configuration", U_SHORT_INT, "RW", 0, 4),
        P(30, "vent_mode", U_SHORT_INT, "RW", 0, 2),
        P(35, "a1", U_SHORT_INT, "RW", 0, 14),
        P(36, "b1", U_SHORT_INT, "RW", 0, 14),
        P(37, "a2", U_SHORT_INT, "RW", 0, 14),
        P(38, "b2", U_SHORT_INT, "RW", 0, 14),
        P(41, "sensor", U_SHORT_INT, "RW", 0, 3),
        P(50, "sealing_gas", BOOLEAN_OLD, "RW"),
        P(55, "ao1", U_SHORT_INT, "RW", 0, 8),
        P(57, "ai1", U_SHORT_INT, "RW", 0, 1),
        P(60, "interface", U_SHORT_INT, "RW", 1, 255),
        P(61, "is_interface_locked", BOOLEAN_OLD, "RW"),
        P(62, "di1", U_SHORT_INT, "RW", 0, 7),
        P(63, "di2", U_SHORT_INT, "RW", 0, 7),
        P(64, "di3", U_SHORT_INT, "RW", 0, 7),
        P(300, "remote", BOOLEAN_OLD),
        P(302, "at_switch_point", BOOLEAN_OLD),
        P(303, "error", STRING),
        P(304, "overtemperature_electronics", BOOLEAN_OLD),
        P(305, "overtemperature_pump", BOOLEAN_OLD),
        P(306, "at_set_speed", BOOLEAN_OLD),
        P(307, "accelerating", BOOLEAN_OLD),
        P(308, "set_speed", U_INTEGER),
        P(309, "speed", U_INTEGER),
        P(310, "current", U_REAL),
        P(311, "pump_hours", U_INTEGER),
        P(312, "firmware", STRING),
        P(313, "voltage", U_REAL),
        P(314, "electronics_hours", U_INTEGER),
        P(315, "nominal_speed", U_INTEGER),
        P(316, "power", U_INTEGER),
        P(319, "cycles", U_INTEGER),
        P(326, "temperature_electronics", U_INTEGER),
        P(330, "temperature_bottom", U_INTEGER),
        P(336, "acceleration", U_INTEGER),
        P(342, "temperature_bearing", U_INTEGER),
        P(346, "temperature_motor", U_INTEGER),
        P(349, "name", STRING),
        P(354, "hardware", STRING),
        *(P(number, f"error_{number}", STRING) for number in HISTORY),
        P(397, "set_speed_rpm", U_INTEGER),
        P(398, "speed_rpm", U_INTEGER),
        P(399, "nominal_speed_rpm", U_INTEGER),
        P(700, "run_up_time", U_INTEGER, "RW", 1, 120),
        P(701, "switch_point_1", U_INTEGER, "RW", 50, 97),
        P(707, "speed_setting", U_REAL, "RW", 20, 100),
        P(708, "power_limit", U_SHORT_INT, "RW", 10, 100),
        P(710, "backing_off", U_INTEGER, "RW", 0, 1000),
        P(711, "backing_on", U_INTEGER, "RW", 0, 1000),
        P(717, "standby_speed", U_REAL, "RW", 20, 100),
        P(719, "switch_point_2", U_INTEGER, "RW", 5, 97),
        P(720, "vent_speed", U_SHORT_INT, "RW", 40, 98),
        P(721, "vent_time", U_INTEGER, "RW", 6, 3600),
        P(777, "nominal_confirmed", U_INTEGER, "RW", 0, 1500),
        P(797, "address", U_INTEGER, "RW", 1, 255),
    )
