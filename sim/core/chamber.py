"""A vacuum chamber, the turbopump on it and the backing pump behind that.

Pressures are hPa, volumes l, pumping speeds and conductances l/s, gas flows hPa l/s.
"""

import math

ATMOSPHERE = 1013.0
ROOM = 25.0
"""degC"""


class Chamber:
    """A volume that is pumped.

    Attributes:
        pressure: now.
        volume: of the chamber.
        leak: a flow that is always there.
        gas_load: a flow that the experiment lets in.
        outgassing: what the walls give off one second after they were wetted by air; it falls with the time since.
    """

    def __init__(self, volume: float = 20.0, pressure: float = ATMOSPHERE) -> None:
        """Make a chamber that is full of air, if nothing else is said."""
        self.volume = volume
        self.pressure = pressure
        self.leak = 3e-6
        self.gas_load = 0.0
        self.outgassing = 3e-3
        self._dry = 1.0

    def flow(self, dt: float) -> float:
        """Return what comes in, on average over the next `dt` seconds."""
        # above this pressure the walls take up again what they have lost
        self._dry = 1.0 if self.pressure > 1.0 else self._dry + dt
        return self.leak + self.gas_load + self.outgassing / self._dry


class BackingPump:
    """A diaphragm pump with its line.

    Attributes:
        on: whether it runs. A valve keeps the air out of the line if it doesn't.
        pressure: in the line.
        speed: its pumping speed.
        lowest: the pressure that it reaches.
    """

    def __init__(self, speed: float = 3.0, lowest: float = 0.4, pressure: float = ATMOSPHERE) -> None:
        """Make a pump that stands still."""
        self.on = False
        self.volume = 1.5
        self.speed = speed
        self.lowest = lowest
        self.pressure = pressure


class Turbo:
    """A turbopump: what its rotor does to the gas, and the gas to its rotor.

    Attributes:
        speed: of the rotor, as a part of the nominal one.
        venting: whether its vent valve is open.
        friction: the power that gas and bearings take from the rotor, W.
        temperatures: of its parts, degC.
    """

    nominal = 1000.0  # Hz
    energy = 30e3  # J, of the rotor at nominal speed
    pumping_speed = 260.0  # at nominal speed
    throughput = 5.0  # the most that it pumps
    conductance = 20.0  # at rest
    compression = 9.0  # powers of ten at nominal speed
    thin = 5.0  # hPa; gas up to there is compressed
    bearings = 30.0  # W at nominal speed
    gas_friction = 40.0  # W/hPa at nominal speed
    vent = 0.8  # conductance of the vent valve
    warming = {
        "electronics": (0.06, 300.0),
        "bottom": (0.08, 600.0),
        "bearing": (0.1, 400.0),
        "motor": (0.16, 300.0),
    }
    """K/W and s, by part."""

    def __init__(self) -> None:
        """Make a pump that stands still."""
        self.speed = 0.0
        self.venting = False
        self.friction = 0.0
        self.temperatures = dict.fromkeys(self.warming, ROOM)

    def pump(self, chamber: Chamber, backing: BackingPump, dt: float) -> None:
        """Let gas flow from the chamber to the backing line, and from there out, for `dt` seconds."""
        turning = self.pumping_speed * self.speed
        forth = self.conductance * (1.0 - self.speed) + turning / (
            1.0 + turning * chamber.pressure / self.throughput
        )
        # it compresses what is thin; thick gas flows through it
        compression = self.compression * self.speed / (1.0 + backing.pressure / self.thin)
        back = (self.conductance + turning) / 10.0**compression
        # as many molecules go back as forth where nothing turns
        forth = max(forth, back)
        out = backing.speed if backing.on else 0.0
        inflow = chamber.flow(dt) + (self.vent * (ATMOSPHERE - chamber.pressure) if self.venting else 0.0)
        # implicit, so that a long step and a fast pump do no harm
        a, b = chamber.volume / dt + forth, backing.volume / dt + back + out
        left = chamber.volume / dt * chamber.pressure + inflow
        right = backing.volume / dt * backing.pressure + out * backing.lowest
        divisor = a * b - forth * back
        chamber.pressure = (left * b + back * right) / divisor
        backing.pressure = (a * right + forth * left) / divisor

    def turn(self, power: float, chamber: Chamber, backing: BackingPump, dt: float) -> None:
        """Give the rotor `power` watts for `dt` seconds; the gas and the bearings take theirs."""
        # as long as the gas is thin its drag goes with the square of the speed; that of the bearings with the speed
        drag = self.gas_friction * 0.5 * (chamber.pressure + backing.pressure)
        self.friction = (drag * self.speed + self.bearings) * self.speed
        x = drag / self.energy * dt
        gained = (power - self.bearings * self.speed) / self.energy * dt
        squared = self.speed**2 * math.exp(-x) + gained * (-math.expm1(-x) / x if x else 1.0)
        self.speed = math.sqrt(max(squared, 0.0))

    def warm(self, power: float, dt: float) -> None:
        """Warm the parts by the losses of `power` watts for `dt` seconds."""
        for part, (rise, time) in self.warming.items():
            goal = ROOM + rise * power
            now = self.temperatures[part]
            self.temperatures[part] = goal + (now - goal) * math.exp(-dt / time)
