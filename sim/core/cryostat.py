"""A two-stage cryostat for temperature controllers to control."""

from .thermal import Stage, cold_head, debye_like, radiation


class Cryostat:
    """A sample on the second stage of a cold head, a shield on the first one, in a room at 295 K.

    It begins cold: about 4 K and 35 K. The masses are small, so that a person can watch a
    loop work: 25 W take the sample from 20 K to 77 K in seconds, 2.5 W in half a minute.
    """

    def __init__(self) -> None:
        """Make a cold cryostat."""
        self.sample = Stage(3.8, debye_like(0.6, 1.2, 60.0))
        self.shield = Stage(36.0, debye_like(4.0, 10.0, 90.0))
        self.room = Stage(295.0)
        self._sample_cooling = cold_head(base=3.0, most=0.9, scale=8.0)
        self._shield_cooling = cold_head(base=25.0, most=8.0, scale=20.0)

    def advance(self, dt: float, sample_heater: float, shield_heater: float) -> None:
        """Let `dt` seconds pass with so many watts on the heaters."""
        sample, shield, room = (stage.temperature for stage in (self.sample, self.shield, self.room))
        link = 0.002 * (shield - sample) + radiation(0.02, shield, sample)
        leak = 0.004 * (room - shield) + radiation(0.003, room, shield)
        self.sample.advance(dt, sample_heater + link - self._sample_cooling(sample))
        self.shield.advance(dt, shield_heater + leak - link - self._shield_cooling(shield))
