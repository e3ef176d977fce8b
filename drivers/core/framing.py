"""Framing without I/O: bytes in, whole messages out.

A framer knows nothing of sockets or time. It takes the bytes as they come, cut anywhere, and hands out
whole messages; what is left over is the beginning of the next one. Its buffer is bounded.
"""

from typing import Protocol

from .errors import ReplyError

MAX_MESSAGE = 65536


class Framer(Protocol):
    """Cuts a byte stream into messages."""

    def feed(self, data: bytes) -> list[bytes]:
        """Take bytes, return the messages that they complete, without terminators.

        Raises ReplyError if a message grows beyond the bound; the buffer is empty afterwards.
        """

    @property
    def pending(self) -> bytes:
        """The beginning of a message that is not complete."""

    def clear(self) -> None:
        """Forget the beginning of a message."""


class LineFramer:
    """Messages that end with a terminator of one or more bytes.

    Args:
        terminator: the bytes that end a message.
        max_message: the longest message in bytes, without its terminator.
    """

    __slots__ = ("_buffer", "_max", "_terminator")

    def __init__(self, terminator: bytes, max_message: int = MAX_MESSAGE) -> None:
        self._terminator = terminator
        self._max = max_message
        self._buffer = b""

    def feed(self, data: bytes) -> list[bytes]:
        """Take bytes, return the messages that they complete.

        Raises ReplyError if a message is longer than the bound; the buffer is empty afterwards.
        """
        *messages, rest = (self._buffer + data).split(self._terminator)
        self._buffer = rest
        longest = max(map(len, messages), default=0)
        # the rest may end with the beginning of a terminator
        if longest > self._max or len(rest) >= self._max + len(self._terminator):
            size = max(longest, len(rest))
            self._buffer = b""
            raise ReplyError(
                f"{size} bytes without the terminator {self._terminator!r}; expected at most {self._max}"
            )
        return messages

    @property
    def pending(self) -> bytes:
        """The beginning of a message that is not complete."""
        return self._buffer

    def clear(self) -> None:
        """Forget the beginning of a message."""
        self._buffer = b""
