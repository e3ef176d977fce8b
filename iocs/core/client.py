"""A small Channel Access client for the command line: get, put and monitor, without a repeater process."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Any

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

    def subscribe(name: str) -> Any:
        """Prepare a monitor."""

    def block(*monitors: Any, timeout: float, force_int_enums: bool, repeater: bool) -> None:
        """Follow monitors until interrupted."""

    class ChannelType:
        """The types of Channel Access."""

        STRING: object
        CHAR: object
else:
    from caproto import CaprotoError, CaprotoTimeoutError, ChannelType
    from caproto.sync.client import block, read, subscribe, write

SEVERITIES = ("", "MINOR", "MAJOR", "INVALID")
STRING_LENGTH = 39
NORMAL = 1


class ClientError(UserError, RuntimeError):
    """Raised when a PV is not found or a put is refused."""


class NoAnswer(LinkError, TimeoutError):
    """Raised when no server answers for a PV."""


def search_at(server: str | None) -> None:
    """Search at ``HOST:PORT`` instead of where the EPICS_CA_... variables say; on loopback if nothing says it."""
    if server is not None:
        host, _, port = server.rpartition(":")
        if not port.isdigit():
            raise ClientError(f"expected a server as HOST:PORT or :PORT, got {server!r}")
        os.environ["EPICS_CA_ADDR_LIST"] = host or "127.0.0.1"
        os.environ["EPICS_CA_SERVER_PORT"] = port
    os.environ.setdefault("EPICS_CA_ADDR_LIST", "127.0.0.1")
    os.environ.setdefault("EPICS_CA_AUTO_ADDR_LIST", "NO")


def get(names: Sequence[str], timeout: float) -> None:
    """Print the value, unit and alarm of PVs. Raises NoAnswer, ClientError."""
    for name in names:
        answer, show = _describe(name, timeout)
        print(f"{name}  {show(answer)}")


def put(name: str, text: str, timeout: float) -> None:
    """Write a PV, wait until it is done, and print what it is then. Raises NoAnswer, ClientError."""
    data: Any = [text.encode("latin-1", "replace")]
    data_type = ChannelType.STRING
    if len(data[0]) > STRING_LENGTH:
        data, data_type = list(data[0]), ChannelType.CHAR
    try:
        answer = write(name, data, notify=True, data_type=data_type, timeout=timeout, repeater=False)
    except CaprotoTimeoutError as error:
        raise NoAnswer(f"{name}: {error}") from None
    except CaprotoError as error:
        raise ClientError(f"{name}: the put was refused: {error}") from None
    if answer.status.code_with_severity & 1 == 0:
        raise ClientError(
            f"{name}: the put was refused ({answer.status.name}); the reason stands in the device's MESSAGE PV"
        )
    get([name], timeout)


def monitor(names: Sequence[str], timeout: float) -> None:
    """Print each change of PVs until interrupted. Raises NoAnswer, ClientError."""
    monitors: list[Any] = []
    for name in names:
        _, show = _describe(name, timeout)
        followed = subscribe(name)

        def changed(_: Any, answer: Any, name: str = name, show: Callable[[Any], str] = show) -> None:
            when = datetime.fromtimestamp(answer.metadata.timestamp)
            print(f"{when:%H:%M:%S.%f}"[:-3], f"{name}  {show(answer)}", flush=True)

        followed.add_callback(changed)
        monitors.append(followed)
    try:
        block(*monitors, timeout=timeout, force_int_enums=True, repeater=False)
    except CaprotoError as error:
        raise NoAnswer(f"the connection ended: {error}") from None


def _describe(name: str, timeout: float) -> tuple[Any, Callable[[Any], str]]:
    """Read a PV and return the answer, and what shows an answer as text."""
    try:
        answer = read(name, data_type="control", timeout=timeout, force_int_enums=True, repeater=False)
    except CaprotoTimeoutError:
        raise NoAnswer(f"{name}: no server answers for this PV within {timeout:g} s") from None
    except CaprotoError as error:
        raise ClientError(f"{name}: {error}") from None
    control = answer.metadata
    unit = getattr(control, "units", b"").decode("latin-1")
    precision = getattr(control, "precision", None)
    states = getattr(control, "enum_strings", ())

    def show(answer: Any) -> str:
        values = [_text(value, precision, states) for value in answer.data]
        alarm = answer.metadata.severity
        words = [
            " ".join(values),
            unit,
            f"[{SEVERITIES[alarm]} {answer.metadata.status.name}]" if alarm else "",
        ]
        return " ".join(word for word in words if word)

    return answer, show


def _text(value: Any, precision: int | None, states: Sequence[bytes]) -> str:
    if isinstance(value, bytes):
        return value.decode("latin-1")
    if states:
        return states[value].decode("latin-1") if value < len(states) else str(value)
    return f"{value:.{precision}f}" if precision is not None else str(value)
