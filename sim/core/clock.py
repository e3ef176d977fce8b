"""The time that a simulated world lives in."""

import time


class Clock:
    """Seconds since the simulation began: real time times `speed`, or stepped by hand.

    With `manual=True` time stands still until `advance()` is called, which makes physics
    in a test exact and instantaneous.
    """

    def __init__(self, speed: float = 1.0, *, manual: bool = False) -> None:
        """Start at 0 s. `speed` is simulated seconds per real second, more than 0."""
        self._manual = manual
        self._now = 0.0
        self._since = time.monotonic()
        self.speed = speed

    @property
    def speed(self) -> float:
        """Simulated seconds per real second; a change counts from now on.

        Raises ValueError if it is set to 0 or less.
        """
        return self._speed

    @speed.setter
    def speed(self, speed: float) -> None:
        if not speed > 0:
            raise ValueError(f"a clock's speed must be more than 0, not {speed:g}")
        if not self._manual and hasattr(self, "_speed"):
            self._now, self._since = self.now(), time.monotonic()
        self._speed = speed

    def now(self) -> float:
        """Return the simulated time in seconds."""
        if self._manual:
            return self._now
        return self._now + (time.monotonic() - self._since) * self._speed

    def advance(self, seconds: float) -> None:
        """Step a manual clock by simulated seconds.

        Raises RuntimeError for a clock that runs by itself, ValueError for a step back.
        """
        if not self._manual:
            raise RuntimeError("only a manual clock can be advanced: Clock(manual=True)")
        if seconds < 0:
            raise ValueError(f"time can't go back by {-seconds:g} s")
        self._now += seconds
