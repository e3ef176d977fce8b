"""A small Channel Access client for the command line: get, put and monitor, without a repeater process."""

from __future__ import annotations

import os
import sys
import threading
from collections.abc import Callable, Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Any

from labioc.devices.core.records import AlarmStatus
from labioc.drivers.core.errors import LinkError, UserError

if TYPE_CHECKING:

    class CaprotoError(Exception):
        """Base of caproto's errors."""

    class CaprotoTimeoutError(CaprotoError):
        """No answer."""

    def read(name: str, *, data_type: str, timeout: float, force_int_enums: bool, repeater: bool) -> Any:
        """Read a channel."""

    def write(
        name: str, data: Any, *, notify: bool, data_type: object, timeout: float, repeater: bool
    ) -> Any:
        """Write a channel."""

    class Context:
        """caproto's client on threads, which reconnects."""

        def get_pvs(self, *names: str, connection_state_callback: Callable[[Any, str], None]) -> list[Any]:
            """Connect to channels."""

        def disconnect(self) -> None:
            """Disconnect from all of them."""

    class ChannelType:
        """The types of Channel Access."""

        STRING: object
        CHAR: object
else:
    from caproto import CaprotoError, CaprotoTimeoutError, ChannelType
    from caproto.sync.client import read, write
    from caproto.threading.client import Context

SEVERITIES = ("", "MINOR", "MAJOR", "INVALID")
STRING_LENGTH = 39
REASON_TIMEOUT = 0.5


class ClientError(UserError, RuntimeError):
    """Raised when a PV is not found or a put is refused."""


class NoAnswer(LinkError, TimeoutError):
    """Raised when no server answers for a PV."""


class NotDone(LinkError, TimeoutError):
    """Raised when a put takes longer than one would wait for it."""


def search_at(server: str | None) -> None:
    """Search at ``HOST:PORT`` instead of where the EPICS_CA_... variables say; on loopback if nothing says it."""
    if server is not None:
        host, _, port = server.rpartition(":")
        if not port.isdigit() or not 0 < int(port) < 65536:
            raise ClientError(f"expected a server as HOST:PORT or :PORT, got {server!r}")
        os.environ["EPICS_CA_ADDR_LIST"] = host or "127.0.0.1"
        os.environ["EPICS_CA_SERVER_PORT"] = port
    # a broadcast: it reaches every server of this machine, a search at 127.0.0.1 only one of them
    os.environ.setdefault("EPICS_CA_ADDR_LIST", "127.255.255.255")
    os.environ.setdefault("EPICS_CA_AUTO_ADDR_LIST", "NO")


def get(names: Sequence[str], timeout: float) -> None:
    """Print the value, unit and alarm of PVs. Raises NoAnswer, ClientError."""
    for name in names:
        answer, show = _describe(name, timeout)
        print(f"{name}  {show(answer)}")


def put(name: str, text: str, timeout: float) -> None:
    """Write a PV, wait until it is done, and print what it is then. Raises NoAnswer, NotDone, ClientError."""
    data: Any = [text.encode("latin-1", "replace")]
    data_type = ChannelType.STRING
    if len(data[0]) > STRING_LENGTH:
        data, data_type = list(data[0]), ChannelType.CHAR
    try:
        answer = write(name, data, notify=True, data_type=data_type, timeout=timeout, repeater=False)
    except CaprotoTimeoutError:
        _describe(name, timeout)
        raise NotDone(
            f"{name}: the put is not done within {timeout:g} s: it may go on; --timeout waits longer"
        ) from None
    except CaprotoError as error:
        raise ClientError(f"{name}: the put was refused: {error}") from None
    if answer.status.code_with_severity & 1 == 0:
        why = (
            "it is read-only"
            if answer.status.name == "ECA_NOWTACCESS"
            else _reason(name) or answer.status.name
        )
        raise ClientError(f"{name}: the put was refused: {why}")
    get([name], timeout)


def _reason(name: str) -> str:
    """Return what the device of a PV says of the last refusal, or nothing if no device has such a PV."""
    parts = name.split(":")
    for n in range(len(parts) - 1, 0, -1):
        try:
            answer, show = _describe(":".join([*parts[:n], "MESSAGE"]), REASON_TIMEOUT)
        except NoAnswer:
            continue
        return show(answer).removeprefix(f"{name}: ")
    return ""


def monitor(names: Sequence[str], timeout: float) -> None:
    """Print each change of PVs until interrupted, also across restarts of their server. Raises NoAnswer."""
    shows = {name: _describe(name, timeout)[1] for name in names}
    print_lock = threading.Lock()

    def changed(subscription: Any, answer: Any) -> None:
        name = subscription.pv.name
        when = datetime.fromtimestamp(answer.metadata.timestamp)
        with print_lock:
            print(f"{when:%H:%M:%S.%f}"[:-3], f"{name}  {shows[name](answer)}", flush=True)

    def say_state(pv: Any, state: str) -> None:
        if state == "disconnected" and not ending.is_set():
            print(f"{pv.name}  disconnected", file=sys.stderr, flush=True)

    ending = threading.Event()
    context = Context()
    for pv in context.get_pvs(*names, connection_state_callback=say_state):
        pv.subscribe(data_type="time").add_callback(changed)
    try:
        threading.Event().wait()
    finally:
        ending.set()
        context.disconnect()


def _describe(name: str, timeout: float) -> tuple[Any, Callable[[Any], str]]:
    """Read a PV and return the answer, and what shows an answer as text."""
    try:
        answer = read(name, data_type="control", timeout=timeout, force_int_enums=True, repeater=False)
    except CaprotoTimeoutError:
        raise NoAnswer(f"{name}: no server answers for this PV within {timeout:g} s") from None
    except CaprotoError as error:
        raise ClientError(f"{name}: {error}") from None
    if len(answer.data) == 1 and isinstance(answer.data[0], bytes) and len(answer.data[0]) == STRING_LENGTH:
        # a long string shows its beginning only, unless it is asked for as characters
        return _describe_long(name, timeout)
    control = answer.metadata
    unit = getattr(control, "units", b"").decode("latin-1")
    precision = getattr(control, "precision", None)
    states = getattr(control, "enum_strings", ())

    def show(answer: Any) -> str:
        if name.endswith("$"):
            return bytes(answer.data).partition(b"\0")[0].decode("latin-1")
        values = [_text(value, precision, states) for value in answer.data]
        alarm = answer.metadata.severity
        words = [
            " ".join(values),
            unit,
            f"[{SEVERITIES[alarm]} {AlarmStatus(answer.metadata.status).name}]" if alarm else "",
        ]
        return " ".join(word for word in words if word)

    return answer, show


def _describe_long(name: str, timeout: float) -> tuple[Any, Callable[[Any], str]]:
    return _describe(f"{name if '.' in name else name + '.VAL'}$", timeout)


def _text(value: Any, precision: int | None, states: Sequence[bytes]) -> str:
    if isinstance(value, bytes):
        return value.decode("latin-1")
    if states:
        return states[value].decode("latin-1") if value < len(states) else str(value)
    if precision is None:
        return str(value)
    text = f"{value:.{precision}f}"
    # a pressure of 1e-9 must not look like none
    return f"{value:.{precision}e}" if value and not float(text) else text
