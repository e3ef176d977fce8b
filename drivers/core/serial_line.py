"""Serial links: pyserial-asyncio, tamed.

Its traps, and what is done about them: opening a port blocks, so it happens in a thread; ``create_serial_connection``
opens on the loop, so a transport is made for the open port instead; ``close()`` with unsent output never ends
and its last step drains the line, which blocks, so a port is aborted and never drained; a pseudo-terminal
refuses 7 data bits with parity, so it gets 8N1 and one line in the log.
"""

from __future__ import annotations

import asyncio
import functools
import logging
import os
import termios
from collections.abc import Callable
from typing import Any
from urllib.parse import SplitResult, parse_qsl

import serial
import serial_asyncio

from .errors import AddressError, LinkDown
from .exchanger import Exchanger, StreamExchanger
from .framing import Framer
from .links import in_thread

log = logging.getLogger(__name__)

_PSEUDO_TERMINALS = range(136, 144)  # the major numbers of Unix98 pty slaves in Linux's devices.txt


def _flag(text: str) -> bool:
    return {"0": False, "1": True, "false": False, "true": True}[text.lower()]


def _one_of(table: dict[str, Any]) -> Callable[[str], Any]:
    return lambda text: table[text.upper()]


def _baudrate(text: str) -> int:
    if not 50 <= int(text) <= 4_000_000:
        raise ValueError
    return int(text)


_SETTINGS: dict[str, tuple[Callable[[str], Any], str]] = {
    "baudrate": (_baudrate, "50 to 4000000"),
    "bytesize": (_one_of({"5": 5, "6": 6, "7": 7, "8": 8}), "5, 6, 7 or 8"),
    "parity": (_one_of({k: k for k in "NEOMS"}), "N, E, O, M or S"),
    "stopbits": (_one_of({"1": 1, "1.5": 1.5, "2": 2}), "1, 1.5 or 2"),
    "xonxoff": (_flag, "0 or 1"),
    "rtscts": (_flag, "0 or 1"),
    "dsrdtr": (_flag, "0 or 1"),
    "exclusive": (_flag, "0 or 1"),
}
_OURS = dict.fromkeys(("timeout", "write_timeout", "inter_byte_timeout"), "the driver bounds every wait")


def settings(parts: SplitResult) -> dict[str, Any]:
    """Return pyserial's settings from a ``serial://`` URL.

    Raises AddressError, naming the setting, what was expected and what came.
    """
    # geturl() would lose two of the three slashes
    url = f"serial://{parts.netloc}{parts.path}" + (f"?{parts.query}" if parts.query else "")
    if parts.netloc or not parts.path.strip("/"):
        raise AddressError(f"cannot open {url!r}: expected serial:///dev/... (three slashes, then the path)")
    found: dict[str, Any] = {"exclusive": True}
    for key, text in parse_qsl(parts.query, keep_blank_values=True):
        if key in _OURS:
            raise AddressError(f"cannot open {url!r}: {key} is not a setting of the line ({_OURS[key]})")
        if key not in _SETTINGS:
            raise AddressError(
                f"cannot open {url!r}: unknown setting {key!r}; expected one of {', '.join(_SETTINGS)}"
            )
        convert, expected = _SETTINGS[key]
        try:
            found[key] = convert(text)
        except (KeyError, ValueError) as error:
            raise AddressError(f"cannot open {url!r}: {key}={text!r}; expected {expected}") from error
    return found


class _Line(serial.Serial):
    """A serial port whose flush does not wait: tcdrain blocks the event loop while a line takes nothing."""

    def flush(self) -> None:
        pass


class _Transport(serial_asyncio.SerialTransport):  # type: ignore[misc]  # it ships no types
    """A serial transport that ends at once when the line fails."""

    def _close(self, exc: Exception | None = None) -> None:
        self._abort(exc)

    def _fatal_error(self, exc: Exception, message: str = "") -> None:
        # the stock transport also reports to the loop's exception handler; the port reports it once, by name
        self._abort(exc)

    def _abort(self, exc: Exception | None) -> None:
        # it may come twice: from a failing read and from the port that closes
        if not self._closing:
            try:
                self._serial.reset_output_buffer()
            except (OSError, termios.error) as error:  # the device is gone; termios.error is no OSError
                exc = exc or error
            super()._abort(exc)


async def open_serial(parts: SplitResult, framer: Callable[[], Framer], wire: logging.Logger) -> Exchanger:
    """Open a serial line. The caller bounds the wait.

    Raises LinkDown if the device is missing, in use, or refuses its settings.
    """
    # the thread can't be stopped: what it opens later must not stay open
    line = await in_thread(
        functools.partial(_open, parts.path, settings(parts)), late=lambda opened: opened.close()
    )
    exchanger = StreamExchanger(framer(), wire)
    transport = _Transport(asyncio.get_running_loop(), exchanger, line)
    try:
        await asyncio.sleep(0)  # the transport makes the connection in the loop's next round
    except asyncio.CancelledError:
        transport.abort()
        raise
    return exchanger


def _open(path: str, line_settings: dict[str, Any]) -> serial.Serial:
    try:
        device = os.stat(path).st_rdev
        if os.major(device) in _PSEUDO_TERMINALS and line_settings.keys() & {
            "bytesize",
            "parity",
            "stopbits",
        }:
            _say_once(path)
            line_settings = line_settings | {"bytesize": 8, "parity": "N", "stopbits": 1}
        return _Line(path, timeout=0, write_timeout=0, **line_settings)
    except FileNotFoundError as error:
        raise LinkDown(f"there is no device {path}") from error
    except PermissionError as error:
        raise LinkDown(f"no permission to open {path} (is the user in the group dialout?)") from error
    except serial.SerialException as error:
        busy = "exclusively lock" in str(error)
        raise LinkDown(
            f"{path} is in use by another program" if busy else f"cannot open {path}: {error}"
        ) from error
    except Exception as error:  # termios.error is no OSError
        raise LinkDown(f"{path} refuses the settings {line_settings}: {error}") from error


@functools.lru_cache(maxsize=256)
def _say_once(path: str) -> None:
    log.info("%s is a pseudo-terminal, which knows no parity: it is opened with 8N1", path)
