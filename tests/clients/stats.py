"""What an operator's screens read of an IOC's statistics. `python -m tests.clients.stats ACTION PREFIX`."""

import sys
from typing import Any

import epics
from tests.clients.common import PATIENCE, Inbox, main, say, shows

COUNTED = ("CA_CLNT_CNT", "CA_CONN_CNT", "RECORD_CNT", "FD_CNT", "FD_MAX", "FD_FREE", "CPU_CNT", "PROCESS_ID")
MEASURED = ("SYS_CPU_LOAD", "IOC_CPU_LOAD", "LOAD", "MEM_USED", "MEM_FREE", "MEM_MAX")
TEXTS = (
    *("TOD", "STARTTOD", "UPTIME", "HOSTNAME", "KERNEL_VERS", "EPICS_VERS", "ENGINEER", "LOCATION"),
    *("APP_DIR1", "APP_DIR2", "ST_SCRIPT1", "ST_SCRIPT2"),
)
PERIODS = ("CA_UPD_TIME", "FD_UPD_TIME")
LONG_TEXTS = ("EPICS_VERSION", "APP_DIR", "ST_SCRIPT")


def connected(name: str, **more: Any) -> Any:
    pv = epics.PV(sys.argv[2] + name, **more)
    if not pv.wait_for_connection(PATIENCE):
        raise TimeoutError(name)
    return pv


def kinds() -> None:
    for name in (*COUNTED, *MEASURED, *TEXTS, *LONG_TEXTS, "HEARTBEAT", "START_CNT", "CA_UPD_TIME"):
        pv = connected(name)
        limits = pv.get_ctrlvars()
        say(
            name=name,
            type=pv.type.removeprefix("time_"),
            units=limits.get("units", ""),
            high=[limits.get("upper_warning_limit"), limits.get("upper_alarm_limit")],
            severity=pv.get_timevars()["severity"],
        )


def counts() -> None:
    """Of this client alone, with so many channels, once the server has counted anew."""
    beats, clients = Inbox(), Inbox()
    kept = [connected(name) for name in (*COUNTED[2:], *MEASURED, *TEXTS, *PERIODS)]
    for pv in kept[-len(PERIODS) :]:
        pv.put(1.0, wait=True)
    kept += [
        connected("HEARTBEAT", auto_monitor=True, callback=lambda value, **more: beats.put(value)),
        connected("CA_CONN_CNT", auto_monitor=True, callback=lambda value, **more: clients.put(value)),
    ]
    seen = beats.until(lambda beat: True)
    seen += beats.until(lambda beat: beat >= seen[0] + 2)
    clients.until(shows(len(kept)))
    say(beats=[beat - seen[0] for beat in seen], clients=connected("CA_CLNT_CNT").get(use_monitor=False))
    say(**{name: connected(name).get(use_monitor=False) for name in (*COUNTED, *MEASURED)})
    say(**{name: connected(name).get() for name in TEXTS})
    say(**{name: connected(name).get(as_string=True) for name in LONG_TEXTS})


def trace() -> None:
    top = Inbox()
    connected("MEM_TRACE_TOP", auto_monitor=True, callback=lambda char_value, **more: top.put(char_value))
    switch = connected("MEM_TRACE")
    switch.put("On", wait=True, timeout=PATIENCE)
    say(on=switch.get(as_string=True, use_monitor=False), severity=switch.get_timevars()["severity"])
    say(top=top.until(bool)[-1])
    switch.put("Off", wait=True, timeout=PATIENCE)
    say(off=top.until(lambda text: not text)[-1])


def everything() -> None:
    """One after the other, with as many channels as before when they are counted."""
    counts()
    trace()
    kinds()


if __name__ == "__main__":
    main(everything)
