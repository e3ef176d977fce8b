"""What a user of caproto's threading client does. `python -m tests.clients.with_caproto ACTION`."""

from typing import Any

import caproto
from caproto.threading.client import Context
from tests.clients.common import CONTROL, PATIENCE, Inbox, main, say, shows


def connected(*names: str) -> Any:
    pvs = Context(timeout=PATIENCE).get_pvs(*names)
    for pv in pvs:
        pv.wait_for_connection(timeout=PATIENCE)
    return pvs


def reads() -> None:
    setpoint, mode, curve, egu = connected("T:SETP", "T:MODE", "T:CURVE", "T:SETP.EGU")
    say(type=setpoint.channel.native_data_type.name, access=setpoint.channel.access_rights.name)
    control = setpoint.read(data_type="control")
    say(**{name: getattr(control.metadata, name) for name in CONTROL})
    timed = setpoint.read(data_type="time")
    say(value=timed.data, severity=timed.metadata.severity, stamp=timed.metadata.stamp.timestamp)
    say(mode=mode.read().data, enum_strings=mode.read(data_type="control").metadata.enum_strings)
    say(curve=curve.read().data, egu=egu.read().data)


def puts() -> None:
    for name, value in {"T:SETP": 77.25, "T:MODE": b"ON", "T:COUNT": -3, "T:CURVE": [1.5, 2.5]}.items():
        (pv,) = connected(name)
        data_type = caproto.ChannelType.STRING if isinstance(value, bytes) else None
        pv.write(value, wait=True, timeout=PATIENCE, data_type=data_type)
        say(pv=name, now=pv.read().data)


def refusals() -> None:
    for name in ("T:SETP", "T:TEMP"):
        (pv,) = connected(name)
        before = pv.read().data
        answer = pv.write(400.0, wait=True, timeout=PATIENCE)
        say(pv=name, status=answer.status.name, unchanged=bool(pv.read().data == before))


def subscriptions() -> None:
    setpoint, temperature = connected("T:SETP", "T:TEMP")
    events = Inbox()
    subscription = temperature.subscribe(data_type="time")

    # The subscription holds its callbacks by weak references only.
    def deliver(_: Any, event: Any) -> None:
        events.put((event.data[0], event.metadata.status, event.metadata.severity))

    subscription.add_callback(deliver)
    seen = events.until(lambda event: True)
    for value in (315.0, 322.0, 100.0):
        setpoint.write(value, wait=True, timeout=PATIENCE)
    seen += events.until(shows(100.0))
    say(events=seen)


if __name__ == "__main__":
    main(reads, puts, refusals, subscriptions)
