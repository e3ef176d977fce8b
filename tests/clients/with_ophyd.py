"""What a user of ophyd does. `python -m tests.clients.with_ophyd ACTION`."""

from typing import Any

from ophyd import Component, EpicsSignal, EpicsSignalRO, PVPositionerIsClose, PVPositionerPC
from ophyd.areadetector.base import EpicsSignalWithRBV
from ophyd.signal import EpicsSignalBase
from ophyd.utils.errors import LimitError, ReadOnlyError
from tests.clients.common import PATIENCE, Inbox, main, say, shows

EpicsSignalBase.set_defaults(timeout=PATIENCE, connection_timeout=PATIENCE, write_timeout=PATIENCE)


def connected(signal: Any) -> Any:
    signal.wait_for_connection(timeout=PATIENCE)
    return signal


def signals() -> None:
    setpoint = connected(EpicsSignal("T:SETP_RBV", "T:SETP", name="setpoint", limits=True, put_complete=True))
    setpoint.set(77.25).wait(timeout=PATIENCE)
    say(value=setpoint.get(), setpoint=setpoint.get_setpoint(), read=setpoint.read()["setpoint"]["value"])
    say(limits=setpoint.limits, tolerance=setpoint.tolerance)
    say(**setpoint.describe()["setpoint"])
    try:
        setpoint.set(400.0)
    except LimitError as error:
        say(error=str(error))
    # Without put completion ophyd polls until the readback is there.
    plain = connected(EpicsSignal("T:SETP_RBV", "T:SETP", name="plain"))
    plain.set(80.5).wait(timeout=PATIENCE)
    say(value=plain.get())
    # Without limits ophyd asks the server, but pyepics doesn't tell it what the server answers.
    setpoint.use_limits = False
    setpoint.set(400.0).wait(timeout=PATIENCE)
    say(value=setpoint.get(), setpoint=setpoint.get_setpoint())


def read_only_signals() -> None:
    temperature = connected(EpicsSignalRO("T:TEMP", name="temperature", auto_monitor=True))
    setpoint = connected(EpicsSignal("T:SETP", name="setpoint", put_complete=True))
    say(units=temperature.metadata["units"], precision=temperature.precision, limits=temperature.limits)
    try:
        temperature.set(5.0)
    except ReadOnlyError as error:
        say(error=str(error).partition(" ")[0])
    events = Inbox()
    temperature.subscribe(lambda value, **more: events.put(value))
    for value in (315.0, 322.0, 100.0):
        setpoint.set(value).wait(timeout=PATIENCE)
        events.until(shows(value))
        say(value=value, status=temperature.alarm_status.name, severity=temperature.alarm_severity.name)


def enums() -> None:
    number = connected(EpicsSignal("T:MODE", name="mode", put_complete=True))
    text = connected(EpicsSignal("T:MODE", name="mode", put_complete=True, string=True))
    text.set("ON").wait(timeout=PATIENCE)
    say(number=number.get(), text=text.get(), read=text.read()["mode"]["value"])
    for signal in (number, text):
        description = signal.describe()["mode"]
        say(dtype=description["dtype"], enum_strs=description["enum_strs"])
    number.set(2).wait(timeout=PATIENCE)
    say(text=text.get(), severity=text.alarm_severity.name)


class Stage(PVPositionerPC):  # type: ignore[misc]  # ophyd has no types
    """A positioner that is there when its put is done."""

    setpoint = Component(EpicsSignal, "SLOW")
    readback = Component(EpicsSignalRO, "SLOW", auto_monitor=True)
    stop_signal = Component(EpicsSignal, "RELEASE", kind="omitted")
    stop_value = 1


def positioners() -> None:
    stage = connected(Stage("T:", name="stage"))
    busy = connected(EpicsSignalRO("T:BUSY", name="busy", auto_monitor=True))
    changes = Inbox()
    busy.subscribe(lambda value, **more: changes.put(value))
    status = stage.set(5.0)
    changes.until(shows(1))
    say(position=stage.setpoint.get(), moving=stage.moving, done=status.done)
    stage.stop_signal.put(1)
    status.wait(timeout=PATIENCE)
    say(position=stage.setpoint.get(), moving=stage.moving, success=status.success)


class Cryostat(PVPositionerIsClose):  # type: ignore[misc]
    """A Lake Shore 336 whose output 1 heats the stage of sensor A."""

    setpoint = Component(EpicsSignalWithRBV, "OUT1:SETP", limits=True, put_complete=True)
    readback = Component(EpicsSignalRO, "A:TEMP", auto_monitor=True)
    range = Component(EpicsSignalWithRBV, "OUT1:RANGE", string=True, put_complete=True)
    gain = Component(EpicsSignalWithRBV, "OUT1:P", limits=True, put_complete=True, kind="config")
    atol = 1.0


def cryostat() -> None:
    cryostat = connected(Cryostat("LS:", name="cryostat"))
    say(start=cryostat.readback.get(), limits=cryostat.setpoint.limits)
    cryostat.range.set("HIGH").wait(timeout=PATIENCE)
    cryostat.gain.set(60.0).wait(timeout=PATIENCE)
    cryostat.set(40.0).wait(timeout=2 * PATIENCE)
    say(position=cryostat.position, moving=cryostat.moving)
    readings = cryostat.read() | cryostat.read_configuration()
    say(**{name: readings[f"cryostat_{name}"]["value"] for name in ("setpoint", "range", "gain")})
    description = cryostat.describe()["cryostat_readback"]
    say(**{name: description[name] for name in ("dtype", "units", "precision")})
    try:
        cryostat.gain.set(5000.0)
    except LimitError as error:
        say(error=str(error))


def broken_sensor() -> None:
    temperature = connected(EpicsSignalRO("LS:A:TEMP", name="temperature", auto_monitor=True))
    events = Inbox()
    temperature.subscribe(lambda value, **more: events.put(temperature.alarm_severity.name))
    events.until(shows("INVALID"))
    say(status=temperature.alarm_status.name, value=temperature.get())


if __name__ == "__main__":
    main(signals, read_only_signals, enums, positioners, cryostat, broken_sensor)
