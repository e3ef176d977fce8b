"""Channel Access messages as bytes: headers, command and status codes, and how big a DBR is."""

import struct
from enum import IntEnum

HEADER = struct.Struct(">HHHHII")
"""Command, payload size, two numbers of 16 bits and two of 32 bits, as each command uses them."""
LONG = struct.Struct(">II")
"""Payload size and count, after a header whose size is LONG_SIZE."""
LONG_SIZE = 0xFFFF
MASK = struct.Struct(">12xH")
"""The payload of a request for a monitor; the limits in front of the mask have never been used."""

CA_VERSION = 13
DO_REPLY = 10
"""A search that wants to be told if the name isn't here."""
SELF = 0xFFFFFFFF
"""As a server's address: where this comes from. As a channel: none."""


class Command(IntEnum):
    """What a message is about; requests and answers share a number."""

    VERSION = 0
    EVENT_ADD = 1
    EVENT_CANCEL = 2
    READ = 3
    WRITE = 4
    SEARCH = 6
    EVENTS_OFF = 8
    EVENTS_ON = 9
    READ_SYNC = 10
    ERROR = 11
    CLEAR_CHANNEL = 12
    BEACON = 13
    NOT_FOUND = 14
    READ_NOTIFY = 15
    CREATE_CHANNEL = 18
    WRITE_NOTIFY = 19
    CLIENT_NAME = 20
    HOST_NAME = 21
    ACCESS_RIGHTS = 22
    ECHO = 23
    CREATE_FAILED = 26


class Status(IntEnum):
    """The ECA codes that the server sends."""

    NORMAL = 1
    ALLOCMEM = 48
    TOLARGE = 72
    BADTYPE = 114
    INTERNAL = 142
    GETFAIL = 152
    PUTFAIL = 160
    BADCOUNT = 176
    BADMONID = 242
    NORDACCESS = 368
    NOWTACCESS = 376


MAX_ERROR_TEXT = 200
BIG = 1 << 16
"""Bytes of a payload that is not copied to stand beside its header."""


def header(command: int, size: int, kind: int, count: int, first: int, second: int) -> bytes:
    """A header, the long one if size or count need it."""
    if size < LONG_SIZE and count < LONG_SIZE:
        return HEADER.pack(command, size, kind, count, first, second)
    return HEADER.pack(command, LONG_SIZE, kind, 0, first, second) + LONG.pack(size, count)


def message(command: int, kind: int, count: int, first: int, second: int, payload: bytes) -> bytes:
    """A message with a payload, which is padded to a multiple of 8 bytes."""
    size = len(payload) + 7 & ~7
    return header(command, size, kind, count, first, second) + payload.ljust(size, b"\0")


def error(request: bytes, cid: int, status: int, text: str) -> bytes:
    """What tells a client that a request failed: libca prints the text."""
    words = text.encode("latin-1", "replace")[:MAX_ERROR_TEXT] + b"\0"
    return message(Command.ERROR, 0, 0, cid, status, request + words)
