"""Ports and sockets of the Channel Access server."""

import errno
import fcntl
import os
import socket
import struct
from collections.abc import Sequence
from contextlib import suppress

TCP_ATTEMPTS = 5
_SIOCGIFADDR, _SIOCGIFBRDADDR = 0x8915, 0x8919


def port_of(*names: str, default: int) -> int:
    """The first of these environment variables that is set. Raises ValueError if it is no port number."""
    for name in names:
        text = os.environ.get(name)
        if text:
            if not (text.isdecimal() and 0 < int(text) < 65536):
                raise ValueError(f"{name} is not a port number: {text!r}")
            return int(text)
    return default


def _bind(sock: socket.socket, address: str, port: int) -> None:
    try:
        sock.bind((address, port))
    except OSError as error:
        sock.close()
        raise OSError(error.errno, f"can't bind {address} port {port}: {error.strerror}") from None


def search_socket(address: str, port: int) -> socket.socket:
    """A UDP socket on a port that all IOCs of the host share. Raises OSError."""
    sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    sock.setblocking(False)
    for option in (socket.SO_REUSEADDR, socket.SO_REUSEPORT, socket.SO_BROADCAST):
        sock.setsockopt(socket.SOL_SOCKET, option, 1)
    _bind(sock, address, port)
    return sock


def listen_on(interfaces: Sequence[str], preferred: int) -> tuple[int, list[socket.socket]]:
    """Listen on all interfaces with one port: the preferred one if it is free, else one of the system's choice.

    Listening right after binding is what makes a taken port fail here, and not later in silence.
    Raises OSError.
    """
    for attempt in range(TCP_ATTEMPTS):
        port = 0 if attempt else preferred
        sockets: list[socket.socket] = []
        try:
            for interface in interfaces:
                sock = socket.socket(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP)
                sock.setblocking(False)
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                _bind(sock, interface, port)
                sockets.append(sock)
                sock.listen(100)
                port = sock.getsockname()[1]
        except OSError as error:
            for sock in sockets:
                sock.close()
            if error.errno != errno.EADDRINUSE or attempt == TCP_ATTEMPTS - 1:
                raise
        else:
            return port, sockets
    raise AssertionError("unreachable")


def broadcast_address(interface: str) -> str:
    """The broadcast address that belongs to an interface's address; 255.255.255.255 if it isn't known."""
    if interface.startswith("127."):
        return "127.255.255.255"
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        for _, name in socket.if_nameindex():
            request = struct.pack("40s", name.encode())
            with suppress(OSError):
                if _ask_interface(sock, _SIOCGIFADDR, request) == interface:
                    return _ask_interface(sock, _SIOCGIFBRDADDR, request)
    return "255.255.255.255"


def _ask_interface(sock: socket.socket, question: int, request: bytes) -> str:
    return socket.inet_ntoa(fcntl.ioctl(sock, question, request)[20:24])
