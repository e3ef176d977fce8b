"""Addresses: those of this host's networks, and those that stand in environment variables."""

import array
import asyncio
import fcntl
import os
import socket
import struct
import threading
from contextlib import suppress

RESOLVE_SECONDS = 5.0
LOOPBACK_BROADCAST = "127.255.255.255"
EVERYWHERE = "0.0.0.0"

_SIOCGIFCONF, _SIOCGIFFLAGS, _SIOCGIFBRDADDR = 0x8912, 0x8913, 0x8919
_IFF_UP_AND_BROADCAST = 0x1 | 0x2
# The system's struct ifreq; its union is as long as its longest member.
_NAME_AND_ADDRESS = struct.Struct("@16sH2x4s")
_IFREQ_BYTES = 16 + struct.calcsize("@LLHBBB3x")
_MAX_INTERFACES = 1024


def broadcast_addresses() -> dict[str, str]:
    """The broadcast address of each address of this host that has one; loopback isn't among them."""
    found = {}
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        for name, address in _interfaces(sock):
            # With its address the request asks for one of several addresses of an interface.
            request = _NAME_AND_ADDRESS.pack(name, socket.AF_INET, socket.inet_aton(address))
            request = request.ljust(_IFREQ_BYTES, b"\0")
            with suppress(OSError):  # the interface has just gone
                (flags,) = struct.unpack_from("@H", fcntl.ioctl(sock, _SIOCGIFFLAGS, request), 16)
                if flags & _IFF_UP_AND_BROADCAST == _IFF_UP_AND_BROADCAST:
                    answer = fcntl.ioctl(sock, _SIOCGIFBRDADDR, request)
                    broadcast = socket.inet_ntoa(answer[20:24])
                    if broadcast != EVERYWHERE:
                        found[address] = broadcast
    return found


def _interfaces(sock: socket.socket) -> list[tuple[bytes, str]]:
    """The names and addresses, several of one interface if it has them."""
    room = array.array("B", bytes(_IFREQ_BYTES * _MAX_INTERFACES))
    where, _ = room.buffer_info()
    used, _ = struct.unpack("@iP", fcntl.ioctl(sock, _SIOCGIFCONF, struct.pack("@iP", len(room), where)))
    entries = (room[at : at + _IFREQ_BYTES].tobytes() for at in range(0, used, _IFREQ_BYTES))
    return [(entry[:16], socket.inet_ntoa(entry[20:24])) for entry in entries]


def broadcasts_of(interface: str) -> list[str]:
    """Where those are heard who hear a broadcast from an interface's address; 0.0.0.0 stands for all of them."""
    if interface.startswith("127."):
        return [LOOPBACK_BROADCAST]
    known = broadcast_addresses()
    if interface == EVERYWHERE:
        return sorted(set(known.values())) or [LOOPBACK_BROADCAST]
    return [known[interface]] if interface in known else []


async def addresses_from(variable: str, default_port: int) -> list[tuple[str, int]]:
    """The addresses in an environment variable, each a host or host:port.

    Raises ValueError for what isn't one, and OSError for a host that isn't known, in RESOLVE_SECONDS.
    """
    found = []
    for item in os.environ.get(variable, "").split():
        host, colon, port = item.partition(":")
        if colon and not (port.isdecimal() and 0 < int(port) < 65536):
            raise ValueError(f"{variable} has no port number behind the colon: {item!r}")
        try:
            async with asyncio.timeout(RESOLVE_SECONDS):
                found.append((await _resolved(host), int(port or default_port)))
        except (OSError, UnicodeError) as error:
            reason = str(error) or f"no answer within {RESOLVE_SECONDS:g} s"
            raise OSError(f"{variable} has an unknown host: {item!r}: {reason}") from None
    return found


async def _resolved(host: str) -> str:
    with suppress(OSError):
        return socket.inet_ntoa(socket.inet_aton(host))
    loop = asyncio.get_running_loop()
    answer: asyncio.Future[str] = loop.create_future()

    def tell(address: str | None, error: Exception | None) -> None:
        if answer.done():
            return
        if address is None:
            answer.set_exception(error or OSError())
        else:
            answer.set_result(address)

    def ask() -> None:
        address, failure = None, None
        try:
            address = socket.gethostbyname(host)
        except (OSError, UnicodeError) as error:
            failure = error
        with suppress(RuntimeError):  # the loop has ended before
            loop.call_soon_threadsafe(tell, address, failure)

    # Not the loop's own threads: asyncio.run would wait for them at the end.
    threading.Thread(target=ask, name=f"resolve {host}", daemon=True).start()
    return await answer
