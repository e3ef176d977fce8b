"""Serial links: pyserial-asyncio, tamed.

Its traps, and what is done about them: opening a port blocks, so it happens in a thread; ``create_serial_connection``
opens on the loop, so a transport is made for the open port instead; ``close()`` with unsent output never ends
and its last step drains the line, which blocks, so a port is aborted and never drained; a write to a full line
spins; ``send_break`` counts in units of its own; a pseudo-terminal refuses 7 data bits with parity, so it gets 8N1
and one line in the log.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import functools
import logging
import os
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import SplitResult

import serial
import serial_asyncio
from serial.rs485 import RS485Settings
from serial.tools import list_ports

from .echo import EchoExchanger
from .errors import LinkDown
from .exchanger import Exchanger, StreamExchanger
from .framing import Framer
from .line_settings import IDENTITY, LineSettings, line_settings
from .links import in_thread
from .wire import Wire

log = logging.getLogger(__name__)

_PSEUDO_TERMINALS = range(136, 144)  # the major numbers of Unix98 pty slaves in Linux's devices.txt
_NOT_SUPPORTED = (errno.ENOTTY, errno.EINVAL)


class _Line(serial.Serial):
    """A serial port that never makes the event loop wait."""

    def flush(self) -> None:
        """Do nothing: tcdrain blocks while a line takes nothing."""

    def write(self, data: Any) -> int:
        """Write what the line takes. The stock one tries a full line again and again."""
        assert self.fd is not None
        try:
            return os.write(self.fd, data)
        except BlockingIOError:
            raise
        except OSError as error:
            raise serial.SerialException(error.errno, f"write failed: {error.strerror}") from error


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
            except Exception as error:  # the device is gone; termios.error is no OSError
                exc = exc or error
            super()._abort(exc)


async def open_serial(parts: SplitResult, framer: Callable[[], Framer], wire: Wire) -> Exchanger:
    """Open a serial line. The caller bounds the wait.

    Raises LinkDown if the device is missing, in use, or refuses its settings.
    """
    settings = line_settings(parts)
    # the thread can't be stopped: what it opens later must not stay open
    line = await in_thread(
        functools.partial(_find_and_open, parts.path, settings), late=lambda opened: opened.close()
    )
    exchanger = (EchoExchanger if settings.echo else StreamExchanger)(framer(), wire)
    transport = _Transport(asyncio.get_running_loop(), exchanger, line)
    try:
        await asyncio.sleep(0)  # the transport makes the connection in the loop's next round
    except asyncio.CancelledError:
        transport.abort()
        raise
    return exchanger


# All below runs in a thread


def _find_and_open(path: str, settings: LineSettings) -> serial.Serial:
    if settings.identity:
        path = _find(settings.identity)
    try:
        return _open(path, settings)
    except LinkDown:
        raise
    except Exception as error:  # termios.error is no OSError, and pyserial's errors are no FileNotFoundError
        raise LinkDown(_why_not(path, settings, error)) from error


def _open(path: str, settings: LineSettings) -> serial.Serial:
    is_pseudo = os.major(os.stat(path).st_rdev) in _PSEUDO_TERMINALS
    bits: dict[str, Any] = {
        "bytesize": settings.bytesize,
        "parity": settings.parity,
        "stopbits": settings.stopbits,
    }
    plain = {"bytesize": 8, "parity": "N", "stopbits": 1}
    if is_pseudo and bits != plain:
        _say_once(path)
        bits = plain
    line = _Line(
        timeout=0,
        write_timeout=0,
        baudrate=settings.baudrate,
        xonxoff=settings.xonxoff,
        rtscts=settings.rtscts,
        dsrdtr=settings.dsrdtr,
        exclusive=settings.exclusive,
        **bits,
    )
    line.port = path
    # before the port opens, so that a level which must not be there is there for as short as can be
    levels = {key: level for key in ("rts", "dtr") if (level := getattr(settings, key)) is not None}
    for key, level in levels.items():
        setattr(line, key, level)
    if settings.rs485:
        line.rs485_mode = RS485Settings(
            rts_level_for_tx=settings.rts_level_for_tx,
            rts_level_for_rx=settings.rts_level_for_rx,
            loopback=settings.echo,
            delay_before_tx=settings.delay_before_tx,
            delay_before_rx=settings.delay_before_rx,
        )
    line.open()
    try:
        if not is_pseudo:
            for key, level in levels.items():
                # again, since at the opening a line without it is passed over
                setattr(line, key, level)
        if settings.low_latency:
            with contextlib.suppress(ValueError):
                line.set_low_latency_mode(True)
        if settings.break_on_connect:
            line.break_condition = True
            time.sleep(settings.break_on_connect)
            line.break_condition = False
            line.reset_input_buffer()
    except BaseException:
        line.close()
        raise
    return line


def _why_not(path: str, settings: LineSettings, error: Exception) -> str:
    """Return in a user's words why a line could not be opened."""
    code = error.errno if isinstance(error, OSError) else None
    if code in (errno.ENOENT, errno.ENXIO, errno.ENODEV):
        return f"there is no device {path}"
    if code in (errno.EACCES, errno.EPERM):
        return f"no permission to open {path} (is the user in the group dialout?)"
    if code in (errno.EAGAIN, errno.EBUSY):
        return f"{path} is in use by {_holders(path)}"
    if "RS485" in str(error):
        return (
            f"{path} has no RS-485 mode in its driver; expected one for rs485=1"
            " (an adapter that switches by itself needs no such setting)"
        )
    if "Could not configure port" in str(error):
        return f"{path} is no serial line, or has no hardware: {error}"
    if code in _NOT_SUPPORTED:
        return f"{path} can't set RTS or DTR, or send a break: {error}"
    if isinstance(error, OSError):
        return f"cannot open {path}: {error}"
    return f"{path} refuses the settings {settings}: {error}"


def _find(identity: dict[str, int | str]) -> str:
    """Return the path of the one USB device that fits an identity."""
    looked_for = _text(identity)
    try:
        ports = [port for port in list_ports.comports() if port.vid is not None]
    except Exception as error:  # a device that is unplugged in the middle
        raise LinkDown(f"cannot look for the USB device with {looked_for}: {error!r}") from error
    fitting = [port for port in ports if all(_fits(port, key, value) for key, value in identity.items())]
    if len(fitting) == 1:
        return str(fitting[0].device)
    if not fitting:
        there = _listed(ports) if ports else "there is none at all"
        raise LinkDown(f"no USB device with {looked_for}; {there}")
    apart = [key for key in IDENTITY if len({getattr(port, key) for port in fitting}) == len(fitting)]
    hint = (
        f"{'= or '.join(apart)}= would tell them apart"
        if apart
        else "nothing but their paths tells them apart"
    )
    raise LinkDown(f"{len(fitting)} USB devices with {looked_for}; {_listed(fitting)}; {hint}")


def _fits(port: Any, key: str, value: int | str) -> bool:
    found = getattr(port, key)
    if key == "location":
        # an adapter with several ports has the interface's number at the end: 1-1.2:1.0
        return found is not None and (found == value or found.startswith(f"{value}:"))
    return bool(found == value)


def _listed(ports: list[Any]) -> str:
    shown = [
        f"{port.device} ({_text({key: v for key in IDENTITY if (v := getattr(port, key)) is not None})})"
        for port in sorted(ports, key=lambda port: str(port.device))
    ]
    return f"there are {', '.join(shown)}" if len(shown) > 1 else f"there is {shown[0]}"


def _text(identity: dict[str, int | str]) -> str:
    return " ".join(
        f"{key}={value:04x}" if isinstance(value, int) else f"{key}={value}"
        for key, value in identity.items()
    )


def _holders(path: str) -> str:
    """Return who has a device open, as far as this user may know."""
    names = []
    for process in sorted(set(_processes_with(os.path.realpath(path)))):
        if process == os.getpid():
            names.append("this program itself (are two instruments on one line?)")
            continue
        with contextlib.suppress(OSError):
            names.append(f"{Path(f'/proc/{process}/comm').read_text().strip()} (process {process})")
    return ", ".join(names) or f"a program of another user; as root, `fuser -v {path}` tells which"


def _processes_with(device: str) -> Iterator[int]:
    for process in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            for descriptor in (process / "fd").iterdir():
                with contextlib.suppress(OSError):
                    if os.readlink(descriptor) == device:
                        yield int(process.name)


@functools.lru_cache(maxsize=256)
def _say_once(path: str) -> None:
    log.info("%s is a pseudo-terminal, which knows no parity: it is opened with 8N1", path)
