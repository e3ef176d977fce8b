"""What a user of pyepics sees of a sequence server. `python -m tests.clients.sequence ACTION`."""

from typing import Any

import epics
from tests.clients.common import PATIENCE, Inbox, main, say, shows

BUSY, DONE, FAILED = 0, 1, 2


def connected(name: str, **more: Any) -> Any:
    pv = epics.PV(name, **more)
    if not pv.wait_for_connection(PATIENCE):
        raise TimeoutError(name)
    return pv


def long_command() -> None:
    """The system works until RELEASE is put to."""
    ack, done = Inbox(), Inbox()
    connected("Q:ACK", auto_monitor=True, callback=lambda value, **more: ack.put(value))
    command = connected("Q:CMD")
    text = "measure " + "x" * 9992
    command.put(text, callback=lambda **more: done.put(more["pvname"]))
    ack.until(shows(BUSY))
    say(
        other=epics.caget("Q:SPARE"),
        other_put=epics.caput("Q:SPARE_OUT", 4.5, wait=True, timeout=PATIENCE),
        running=command.get(as_string=True, use_monitor=False) == text,
        done=not done.is_empty(),
    )
    epics.caput("Q:RELEASE", 1)
    done.until(shows("Q:CMD"))
    ack.until(shows(DONE))
    say(values=epics.caget("Q:values"), count=connected("Q:values").nelm, size=connected("Q:CMD").nelm)


def waits() -> None:
    """`wait=True`: when it is back, what the system has posted is there."""
    say(put=epics.caput("Q:CMD", "quick", wait=True, timeout=PATIENCE), values=epics.caget("Q:values"))
    ack = connected("Q:ACK", auto_monitor=True)
    say(ack=ack.get(as_string=True), write=ack.write_access, values_write=connected("Q:values").write_access)


def failing_command() -> None:
    epics.caput("Q:CMD", "fail", wait=True, timeout=PATIENCE)
    ack = connected("Q:ACK")
    say(
        ack=ack.get(as_string=True),
        severity=ack.get_timevars()["severity"],
        message=epics.caget("Q:message", as_string=True),
        command=epics.caget("Q:CMD.SEVR"),
    )
    epics.caput("Q:CMD", "quick", wait=True, timeout=PATIENCE)
    say(ack=ack.get(as_string=True, use_monitor=False), command=epics.caget("Q:CMD.SEVR"))


def commands() -> None:
    """One after the other."""
    long_command()
    waits()
    failing_command()


if __name__ == "__main__":
    main(commands)
