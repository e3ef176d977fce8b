"""Settings of a line, as a URL's query has them: what they are called, what they may be, where they go together."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, fields
from typing import Any, NamedTuple
from urllib.parse import SplitResult, parse_qsl, urlencode

from .errors import AddressError

MAX_BREAK = 1.0  # with it, a connection is still made within the port's time
MAX_RS485_DELAY = 0.1  # what Linux allows


@dataclass(frozen=True, slots=True, kw_only=True)
class LineSettings:
    """How a line is set up. A serial line has all of these, a remote one some, a TCP connection only ``echo``.

    Attributes:
        rts: the level of the line at the start, or None for what the system does. ``dtr`` likewise.
        break_on_connect: how long a break is sent at each connect, seconds; 0 for none.
        echo: whether what is sent comes back before the answer.
        framing: how messages are framed, for a protocol that knows several ways; "" for what is usual on such a link.
        rs485: whether the driver of the serial port switches between sending and receiving, by RTS.
        delay_before_tx: from the switch to the first bit, seconds.
        delay_before_rx: from the last bit to the switch back, seconds.
        vid: USB vendor, with ``pid``, ``serial_number``, ``location`` and ``interface`` the identity of a USB device.
    """

    baudrate: int = 9600
    bytesize: int = 8
    parity: str = "N"
    stopbits: float = 1
    xonxoff: bool = False
    rtscts: bool = False
    dsrdtr: bool = False
    rts: bool | None = None
    dtr: bool | None = None
    break_on_connect: float = 0.0
    echo: bool = False
    framing: str = ""
    exclusive: bool = True
    low_latency: bool = False
    rs485: bool = False
    rts_level_for_tx: bool = True
    rts_level_for_rx: bool = False
    delay_before_tx: float = 0.0
    delay_before_rx: float = 0.0
    vid: int | None = None
    pid: int | None = None
    serial_number: str | None = None
    location: str | None = None
    interface: str | None = None

    @property
    def identity(self) -> dict[str, int | str]:
        """What was said of the USB device's identity."""
        said = {key: getattr(self, key) for key in IDENTITY}
        return {key: value for key, value in said.items() if value is not None}


IDENTITY = ("vid", "pid", "serial_number", "location", "interface")
_ANY = frozenset(("tcp", "serial", "rfc2217"))
_LINE = frozenset(("serial", "rfc2217"))
_LOCAL = frozenset(("serial",))
_OURS = dict.fromkeys(("timeout", "write_timeout", "inter_byte_timeout"), "the driver bounds every wait")
_RS485 = ("rts_level_for_tx", "rts_level_for_rx", "delay_before_tx", "delay_before_rx")


class _Setting(NamedTuple):
    convert: Callable[[str], Any]
    expected: str
    schemes: frozenset[str]


def _flag(text: str) -> bool:
    return {"0": False, "1": True, "false": False, "true": True}[text.lower()]


def _one_of(table: dict[str, Any]) -> Callable[[str], Any]:
    return lambda text: table[text.upper()]


def _number(kind: Callable[[str], Any], low: float, high: float) -> Callable[[str], Any]:
    def convert(text: str) -> Any:
        value = kind(text)
        if not low <= value <= high:
            raise ValueError
        return value

    return convert


def _milliseconds(text: str) -> float:
    value = _number(float, 0, MAX_RS485_DELAY)(text)
    if value != round(value, 3):
        raise ValueError
    return float(value)


def _usb_number(text: str) -> int:
    if not re.fullmatch("(0[xX])?[0-9a-fA-F]{1,4}", text):
        raise ValueError
    return int(text, 16)


def _text(text: str) -> str:
    if not text:
        raise ValueError
    return text


_FLAG = (_flag, "0 or 1")
_DELAY = (_milliseconds, f"0 to {MAX_RS485_DELAY:g} s in steps of 0.001")
_USB = (_usb_number, "hexadecimal digits, as in 0403")
_SETTINGS: dict[str, _Setting] = {
    "baudrate": _Setting(_number(int, 50, 4_000_000), "50 to 4000000", _LINE),
    "bytesize": _Setting(_one_of({"5": 5, "6": 6, "7": 7, "8": 8}), "5, 6, 7 or 8", _LINE),
    "parity": _Setting(_one_of({k: k for k in "NEOMS"}), "N, E, O, M or S", _LINE),
    "stopbits": _Setting(_one_of({"1": 1, "1.5": 1.5, "2": 2}), "1, 1.5 or 2", _LINE),
    "xonxoff": _Setting(*_FLAG, _LINE),
    "rtscts": _Setting(*_FLAG, _LINE),
    "dsrdtr": _Setting(*_FLAG, _LINE),
    "rts": _Setting(*_FLAG, _LINE),
    "dtr": _Setting(*_FLAG, _LINE),
    "break_on_connect": _Setting(_number(float, 0.001, MAX_BREAK), f"0.001 to {MAX_BREAK:g} s", _LINE),
    "echo": _Setting(*_FLAG, _ANY),
    "framing": _Setting(_text, "a name", _ANY),
    "exclusive": _Setting(*_FLAG, _LOCAL),
    "low_latency": _Setting(*_FLAG, _LOCAL),
    "rs485": _Setting(*_FLAG, _LOCAL),
    "rts_level_for_tx": _Setting(*_FLAG, _LOCAL),
    "rts_level_for_rx": _Setting(*_FLAG, _LOCAL),
    "delay_before_tx": _Setting(*_DELAY, _LOCAL),
    "delay_before_rx": _Setting(*_DELAY, _LOCAL),
    "vid": _Setting(*_USB, _LOCAL),
    "pid": _Setting(*_USB, _LOCAL),
    "serial_number": _Setting(_text, "a text", _LOCAL),
    "location": _Setting(_text, "a text", _LOCAL),
    "interface": _Setting(_text, "a text", _LOCAL),
}
assert list(_SETTINGS) == [field.name for field in fields(LineSettings)]


def with_defaults(parts: SplitResult, defaults: Mapping[str, int | str]) -> SplitResult:
    """Return a URL with settings for what it does not say; those that its scheme does not have are left out.

    Raises AddressError as `line_settings` does.
    """
    line_settings(parts)
    given = {key for key, _ in parse_qsl(parts.query, keep_blank_values=True)}
    missing = {
        key: value
        for key, value in defaults.items()
        if key not in given and (key not in _SETTINGS or parts.scheme in _SETTINGS[key].schemes)
    }
    if not missing:
        return parts
    parts = parts._replace(query="&".join([*filter(None, [parts.query]), urlencode(missing)]))
    line_settings(parts)
    return parts


def line_settings(parts: SplitResult) -> LineSettings:
    """Return the settings in a URL of the scheme tcp, serial or rfc2217.

    Raises AddressError, naming the setting, what was expected and what came.
    """
    # geturl() would lose two of three slashes
    url = f"{parts.scheme}://{parts.netloc}{parts.path}" + (f"?{parts.query}" if parts.query else "")
    known = {key: setting for key, setting in _SETTINGS.items() if parts.scheme in setting.schemes}
    found: dict[str, Any] = {}
    for key, text in parse_qsl(parts.query, keep_blank_values=True):
        if key in _OURS:
            raise AddressError(f"cannot open {url!r}: {key} is not a setting of the line ({_OURS[key]})")
        if key not in known:
            raise AddressError(
                f"cannot open {url!r}: unknown setting {key!r}; expected one of {', '.join(known)}"
            )
        if key in found:
            raise AddressError(f"cannot open {url!r}: {key} is said twice")
        try:
            found[key] = known[key].convert(text)
        except (KeyError, ValueError) as error:
            raise AddressError(
                f"cannot open {url!r}: {key}={text!r}; expected {known[key].expected}"
            ) from error
    settings = LineSettings(**found)
    for contradiction in _contradictions(parts, settings, found):
        raise AddressError(f"cannot open {url!r}: {contradiction}")
    return settings


def _contradictions(parts: SplitResult, settings: LineSettings, found: dict[str, Any]) -> Iterator[str]:
    if parts.scheme == "serial":
        path = parts.path.strip("/")
        if parts.netloc or not (path or settings.identity):
            yield "expected serial:///dev/... (three slashes, then the path), or serial:///?vid=...&serial_number=..."
        if path and settings.identity:
            yield f"a path and {', '.join(settings.identity)}: expected either a path or the identity of a USB device"
    if settings.rts is not None and (settings.rtscts or settings.rs485):
        yield f"rts is set by the line with {'rtscts=1' if settings.rtscts else 'rs485=1'}"
    if settings.dtr is not None and settings.dsrdtr:
        yield "dtr is set by the line with dsrdtr=1"
    if settings.rs485 and settings.rtscts:
        yield "rs485=1 and rtscts=1 both want RTS"
    stray = [key for key in _RS485 if key in found]
    if stray and not settings.rs485:
        yield f"{stray[0]} goes with rs485=1"
    if parts.scheme == "rfc2217" and settings.xonxoff + settings.rtscts + settings.dsrdtr > 1:
        yield "expected one of xonxoff, rtscts and dsrdtr"
