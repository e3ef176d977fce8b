"""What the scripts of this folder share: what they learn goes to stdout as JSON, and every wait is bounded."""

import json
import os
import queue
import sys
from collections.abc import Callable
from typing import Any

PATIENCE = 10.0
CONTROL = (
    "units",
    "precision",
    *(f"{end}_{kind}_limit" for kind in ("ctrl", "disp") for end in ("lower", "upper")),
)
"""Names of what clients get with a DBR_CTRL."""


def say(**learned: Any) -> None:
    """Tell the test what this client learned about the server."""
    print(json.dumps(learned, default=_plain), flush=True)  # noqa: T201


def _plain(value: Any) -> Any:
    """Bytes as text, numpy's values and what else is a sequence as Python's own."""
    if isinstance(value, bytes):
        return value.decode("latin-1")
    return value.tolist() if hasattr(value, "tolist") else list(value)


class Inbox:
    """What a monitor's callbacks deliver, whatever thread they come from."""

    def __init__(self) -> None:
        self._events: queue.Queue[Any] = queue.Queue()

    def put(self, event: Any) -> None:
        """One more event."""
        self._events.put(event)

    def is_empty(self) -> bool:
        """Whether nothing has come that nobody has taken."""
        return self._events.empty()

    def until(self, wanted: Callable[[Any], bool]) -> list[Any]:
        """The events up to the first of which `wanted` is true. Raises queue.Empty if none comes."""
        events = [self._events.get(timeout=PATIENCE)]
        while not wanted(events[-1]):
            events.append(self._events.get(timeout=PATIENCE))
        return events


def shows(value: Any) -> Callable[[Any], bool]:
    """Whether an event, or the first of what it tells, is this value."""
    return lambda event: bool((event[0] if isinstance(event, tuple) else event) == value)


def main(*actions: Callable[[], None]) -> None:
    """Run the action that the command line names, and end the process."""
    {action.__name__: action for action in actions}[sys.argv[1]]()
    # Without tidying up: libca may crash an interpreter that ends while its threads deliver events.
    os._exit(0)
