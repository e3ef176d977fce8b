"""The world of the Eurotherm 3500."""

from tests.worlds.eurotherm import COMMON, by_hand, heat_by_hand

CHANGES = {**COMMON, "active_output": heat_by_hand}

BEFORE = {"manual_output": by_hand}
