"""What publishes to a relay with pyepics, and who reads it. `python -m tests.clients.with_pyepics_relay learns`."""

import epics
import numpy as np
from tests.clients.common import Inbox, main, say, shows

PREFIX = "5trap:relay:"


def reads() -> None:
    say(value=epics.caget(PREFIX + "cupsofcoffeetoday_i1"))
    say(value=epics.caget(PREFIX + "temperature_lab_f1"))
    say(value=epics.caget(PREFIX + "fit_results_f4"))
    say(value=epics.caget(PREFIX + "pressure_log_F100"))
    say(value=epics.caget(PREFIX + "pressure_log_F100.VAL"))
    say(value=epics.caget(PREFIX + "cmdline_output_c10000", as_string=True))
    # again and again, by who did not begin it, and past its end
    events = Inbox()
    buffer = epics.PV(
        PREFIX + "pressure_log_F100", auto_monitor=True, callback=lambda value, **more: events.put(value)
    )
    say(done=sum(epics.caput(PREFIX + "pressure_log_F100", float(n)) for n in range(120)))
    events.until(lambda value: bool(np.ravel(value)[-1] == 119.0))
    for log in (buffer.get(), epics.PV(PREFIX + "pressure_log_F100.VAL").get(use_monitor=False)):
        say(first=log[0], last=log[-1], count=len(log))


def sets_fields() -> None:
    pv = PREFIX + "temperature_lab_f1"
    for field, value in {
        "EGU": "degC",
        "PREC": 2,
        "DESC": "by the door",
        "HIHI": 30,
        "HHSV": "MAJOR",
    }.items():
        epics.caput(f"{pv}.{field}", value, wait=True)
    epics.caput(pv, 31.0, wait=True)
    read = epics.PV(pv)
    control = read.get_ctrlvars()
    say(units=control["units"], precision=control["precision"], hihi=control["upper_alarm_limit"])
    say(value=read.get(as_string=True), severity=read.severity, desc=epics.caget(pv + ".DESC"))


def waits() -> None:
    """With a monitor of a PV before anybody puts to it."""
    events = Inbox()
    epics.PV(
        PREFIX + "later_f1",
        auto_monitor=True,
        callback=lambda value, severity, **more: events.put((value, severity)),
    )
    seen = events.until(shows(0.0))
    epics.caput(PREFIX + "later_f1", 0.0)
    seen += events.until(shows(0.0))
    epics.caput(PREFIX + "later_f1", 21.2)
    say(events=seen + events.until(shows(21.2)))


def learns() -> None:
    """All of it."""
    reads()
    sets_fields()
    waits()


if __name__ == "__main__":
    main(learns)
