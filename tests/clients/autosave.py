"""What a user of pyepics finds again after a restart. `python -m tests.clients.autosave ACTION`."""

from typing import Any

import epics
from tests.clients.common import PATIENCE, Inbox, main, say

TUNED = {
    "K:A:TEMP.LOW": 1.0,
    "K:A:TEMP.HIHI": 3.5,
    "K:A:TEMP.HHSV": "MAJOR",
    "K:A:TEMP.SCAN": "2 second",
    "K:OUT1:SETP.DRVH": 300.0,
    "K:A:TEMP.DESC": "Cold finger",
}


def connected(name: str, **more: Any) -> Any:
    pv = epics.PV(name, **more)
    if not pv.wait_for_connection(PATIENCE):
        raise TimeoutError(name)
    return pv


def look() -> None:
    """The first event, and the fields."""
    events = Inbox()
    temperature = connected(
        "K:A:TEMP",
        auto_monitor=True,
        callback=lambda status, severity, **more: events.put((status, severity)),
    )
    say(first=events.until(lambda event: True)[0], units=temperature.units)
    say(fields=[connected(name).get(as_string=isinstance(value, str)) for name, value in TUNED.items()])
    say(starts=epics.caget("K:START_CNT"), restored=epics.caget("K:SR_rebootStatus", as_string=True))


if __name__ == "__main__":
    main(look)
