"""What a user of pyepics does. `python -m tests.clients.with_pyepics ACTION`."""

from typing import Any

import epics
from tests.clients.common import CONTROL, PATIENCE, Inbox, main, say, shows


def connected(name: str) -> Any:
    pv = epics.PV(name)
    if not pv.wait_for_connection(PATIENCE):
        raise TimeoutError(name)
    return pv


def reads() -> None:
    setpoint = connected("T:SETP")
    say(value=setpoint.get(), as_string=setpoint.get(as_string=True))
    say(type=setpoint.type, count=setpoint.count, access=setpoint.access)
    control = setpoint.get_ctrlvars()
    say(**{name: control[name] for name in CONTROL})
    mode = connected("T:MODE")
    say(mode=mode.get(), mode_string=mode.get(as_string=True), enum_strs=mode.enum_strs)
    say(curve=connected("T:CURVE").get())
    say(**{field: connected(f"T:SETP.{field}").get() for field in ("EGU", "DESC", "PREC", "DRVH", "RTYP")})


def puts() -> None:
    def put(name: str, value: Any) -> None:
        pv = connected(name)
        say(done=pv.put(value, wait=True, timeout=PATIENCE), now=pv.get(use_monitor=False, timeout=PATIENCE))

    put("T:SETP", 77.25)
    put("T:SETP", "80.5")
    put("T:MODE", "ON")
    put("T:MODE", 0)
    put("T:COUNT", -3)
    put("T:CURVE", [1.5, 2.5])


def put_completion() -> None:
    done = Inbox()
    busy = Inbox()
    epics.camonitor("T:BUSY", callback=lambda value, **more: busy.put(value))
    slow = connected("T:SLOW")
    slow.put(5.0, callback=lambda **more: done.put(more["pvname"]))
    busy.until(shows(1))
    say(value=slow.get(use_monitor=False), done=not done.is_empty())
    epics.caput("T:RELEASE", 1)
    done.until(shows("T:SLOW"))
    say(value=slow.get(use_monitor=False))


def monitors() -> None:
    events = Inbox()
    epics.PV(
        "T:TEMP",
        auto_monitor=True,
        callback=lambda value, status, severity, timestamp, **more: events.put(
            (value, status, severity, timestamp)
        ),
    )
    seen = events.until(lambda event: True)
    setpoint = connected("T:SETP")
    for value in (315.0, 322.0, 100.0):
        setpoint.put(value, wait=True, timeout=PATIENCE)
    seen += events.until(shows(100.0))
    say(events=[event[:3] for event in seen], stamps=[event[3] for event in seen])


def long_strings() -> None:
    text = "x" * 120
    label = connected("T:LABEL.VAL$")
    label.put(text, wait=True, timeout=PATIENCE)
    say(long=label.get(as_string=True, use_monitor=False), short=connected("T:LABEL").get())


def refusals() -> None:
    setpoint = connected("T:SETP")
    setpoint.put(400.0, wait=True, timeout=PATIENCE)
    say(setpoint=setpoint.get(use_monitor=False), severity=setpoint.severity)
    temperature = connected("T:TEMP")
    try:
        temperature.put(5.0, wait=True, timeout=PATIENCE)
    except epics.ca.CASeverityException as error:
        say(write_access=temperature.write_access, error=str(error))
        say(temperature=temperature.get(use_monitor=False))


if __name__ == "__main__":
    main(reads, puts, put_completion, monitors, long_strings, refusals)
