"""Framing without I/O: bytes in, whole messages out.

A framer knows nothing of sockets or clocks. It takes the bytes as they come, cut anywhere, and hands out whole
messages; what is left over is the beginning of the next one. Its buffer is bounded.

=================  ==================================================================================
`LineFramer`       lines, with one terminator or several possible ones
`BlockFramer`      lines that may hold IEEE 488.2 blocks, whose data may look like a terminator
`FixedFramer`      messages of one size
`LengthFramer`     messages whose beginning tells their length
`DelimitedFramer`  messages between a start and an end, as in STX ... ETX, with a checksum behind
`SilenceFramer`    messages that end when nothing more comes
=================  ==================================================================================

Terminators of lines are taken off, they say nothing. All else stays in the message, since an address may stand
there, or a checksum may count it.

Silence is the one thing that a framer can't see in the bytes: where it means something, ``quiet`` says how much of
it, and whoever has the clock calls `Framer.silent`.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from typing import Literal, Protocol

from .errors import DefinitionError, ReplyError, TruncatedReply

MAX_MESSAGE = 65536


class Framer(Protocol):
    """Cuts a byte stream into messages, and makes frames of those that are sent where that depends on the link.

    Attributes:
        quiet: the silence that ends something, seconds; 0.0 if silence means nothing.
    """

    quiet: float = 0.0

    def feed(self, data: bytes) -> list[bytes]:
        """Take bytes, return the messages that they complete.

        Raises ReplyError if a message grows beyond the bound or can't be one; the buffer is empty afterwards.
        """

    @property
    def pending(self) -> bytes:
        """The beginning of a message that is not complete."""

    def clear(self) -> None:
        """Forget the beginning of a message."""

    def silent(self) -> list[bytes]:
        """Return the messages that a silence completes. To be called after ``quiet`` seconds with bytes pending.

        Raises TruncatedReply if the message should have gone on; the buffer is empty afterwards.
        """
        return []

    def seal(self, message: bytes) -> bytes:
        """Return a message as it goes over this link, to be sent next."""
        return message


class _Buffered(Framer):
    """What all framers have in common: a bounded buffer, searched once, and silence as a cut message."""

    def __init__(self, max_message: int, quiet: float) -> None:
        if max_message < 1 or quiet < 0:
            raise DefinitionError(f"messages of at most {max_message} bytes, {quiet} s of silence: can't be")
        self.quiet = quiet
        self._max = max_message
        self._buffer = bytearray()
        self._at = 0  # before it there is nothing left to find

    @property
    def pending(self) -> bytes:
        """The beginning of a message that is not complete."""
        return bytes(self._buffer)

    def clear(self) -> None:
        """Forget the beginning of a message."""
        self._buffer.clear()
        self._at = 0

    def silent(self) -> list[bytes]:
        """Forget a message that stopped. Raises TruncatedReply, naming what came."""
        came = self.pending
        self.clear()
        if came:
            raise TruncatedReply(f"the reply stopped after {came[:80]!r}")
        return []

    def _take(self, size: int) -> bytes:
        message = bytes(self._buffer[:size])
        del self._buffer[:size]
        self._at = 0
        return message

    def _refuse(self, why: str) -> ReplyError:
        self.clear()
        return ReplyError(why)


class LineFramer(_Buffered):
    r"""Messages that end with a terminator of one or more bytes.

    Of several possible terminators the longest counts, so that ``(b"\r", b"\r\n")`` makes no empty message; none is
    waited for: a message ends with the first that is complete, and what then turns out to belong to it is dropped.

    Args:
        terminator: the bytes that end a message, or several possibilities.
        max_message: the longest message in bytes, without its terminator.
        quiet: the longest silence within a message, seconds; after it the message is cut.
        skip_empty: whether messages without a byte are dropped.

    Raises DefinitionError if one terminator stands within another, but for what is another and one byte more.
    """

    def __init__(
        self,
        terminator: bytes | Sequence[bytes],
        max_message: int = MAX_MESSAGE,
        *,
        quiet: float = 0.0,
        skip_empty: bool = False,
    ) -> None:
        super().__init__(max_message, quiet)
        self._skip_empty = skip_empty
        several = (terminator,) if isinstance(terminator, bytes) else terminator
        self._terminators = sorted(several, key=len, reverse=True)
        if not several or not all(several):
            raise DefinitionError(f"expected a terminator, or several possible ones; got {terminator!r}")
        for end in several:
            for other in several:
                # what came would end there, before it is known that it ends with the longer one
                if other != end and (
                    other in end[1:-1] or (end.startswith(other) and end[:-1] not in several)
                ):
                    raise DefinitionError(f"the terminator {other!r} would be found within {end!r}")
        self._longest = len(self._terminators[0])
        self._end = re.compile(b"|".join(map(re.escape, self._terminators)))
        self._growing = {
            end
            for end in self._terminators
            if any(other != end and other.startswith(end) for other in self._terminators)
        }
        self._ended = (
            False  # the buffer begins with a terminator whose message is out, and which may yet grow
        )

    @property
    def pending(self) -> bytes:
        """The beginning of a message that is not complete."""
        return b"" if self._ended else bytes(self._buffer)

    def clear(self) -> None:
        """Forget the beginning of a message."""
        if not self._ended:
            super().clear()

    def feed(self, data: bytes) -> list[bytes]:
        """Take bytes, return the messages that they complete, without terminators.

        Raises ReplyError if a message is longer than the bound; the buffer is empty afterwards.
        """
        buffer = self._buffer
        buffer += data
        if self._ended and not self._drop_end():
            return []
        messages: list[bytes] = []
        while (found := self._find()) is not None:
            size, end = found.span()
            if size > self._max:
                raise self._too_long(size)
            if size or not self._skip_empty:
                messages.append(bytes(buffer[:size]))
            self._at = 0
            self._ended = end == len(buffer) and found[0] in self._growing
            del buffer[: size if self._ended else end]
            if self._ended:
                return messages
        # the rest may end with the beginning of a terminator
        if len(buffer) >= self._max + self._longest:
            raise self._too_long(len(buffer))
        return messages

    def _find(self) -> re.Match[bytes] | None:
        """Return the next terminator, or remember how far there is none."""
        found = self._end.search(self._buffer, self._at)
        if found is None:
            self._at = max(self._at, len(self._buffer) - self._longest + 1)
        return found

    def _drop_end(self) -> bool:
        """Drop a terminator that was the end of what came; False if it may still grow."""
        if any(len(end) > len(self._buffer) and end.startswith(self._buffer) for end in self._terminators):
            return False
        found = self._end.match(self._buffer)
        assert found is not None
        del self._buffer[: found.end()]
        self._ended = False
        return True

    def _too_long(self, size: int) -> ReplyError:
        ends = " or ".join(map(repr, self._terminators))
        return self._refuse(f"{size} bytes without the terminator {ends}; expected at most {self._max}")


class BlockFramer(LineFramer):
    r"""Lines that may hold IEEE 488.2 blocks: ``#42000`` and 2000 bytes, any of them; then the terminator.

    A block begins with ``#`` and a digit, where a datum may begin: at the beginning, behind a comma, a semicolon
    or a blank. Of an indefinite one (``#0``) nothing but the end of the message tells the end. On a byte stream that
    is the first terminator, or with ``quiet`` the terminator after which nothing comes.

    Args:
        terminator: the bytes that end a message, or several possibilities.
        max_message: the longest message in bytes, blocks and their headers included.
        quiet: the longest silence within a message, and the end of an indefinite block, seconds.
        skip_empty: whether messages without a byte are dropped.
    """

    def __init__(
        self,
        terminator: bytes | Sequence[bytes],
        max_message: int = MAX_MESSAGE,
        *,
        quiet: float = 0.0,
        skip_empty: bool = False,
    ) -> None:
        super().__init__(terminator, max_message, quiet=quiet, skip_empty=skip_empty)
        self._stop = re.compile(rb"(?<![^,; ])#|" + self._end.pattern)
        self._indefinite = False

    def clear(self) -> None:
        """Forget the beginning of a message."""
        super().clear()
        self._indefinite = False

    def silent(self) -> list[bytes]:
        """Return the message whose indefinite block the silence ends. Raises TruncatedReply for any other."""
        end = next((end for end in self._terminators if self._buffer.endswith(end)), None)
        if not self._indefinite or end is None:
            return super().silent()
        message = bytes(self._buffer[: -len(end)])
        self.clear()
        return [message]

    def _find(self) -> re.Match[bytes] | None:
        if self._indefinite:
            return None
        while (found := self._stop.search(self._buffer, self._at)) is not None:
            if found[0] != b"#":
                return found
            end = self._end_of_block(found.start())
            if end is None:
                self._at = found.start()
                return None
            self._at = end
        self._at = max(self._at, len(self._buffer) - self._longest + 1)
        return None

    def _end_of_block(self, start: int) -> int | None:
        """Return where the block at ``start`` ends, or where to look on if it is none; None if that is not known yet.

        Raises ReplyError if it is longer than the bound.
        """
        kind = self._buffer[start + 1 : start + 2]
        if not kind:
            return None
        if kind == b"0" and self.quiet:
            self._indefinite = True
            return None
        if kind not in b"123456789":
            return start + 1
        header = start + 2 + int(kind)
        count = self._buffer[start + 2 : header]
        if count and not count.isdigit():
            return start + 1
        if len(self._buffer) < header:
            return None
        end = header + int(count)
        if end > self._max:
            raise self._refuse(f"a block of {int(count)} bytes; expected messages of at most {self._max}")
        return end if len(self._buffer) >= end else None


class LengthFramer(_Buffered):
    """Messages whose beginning tells their length.

    Args:
        header: how many bytes that takes.
        length: the length of the whole message, header and all, for such a header; ValueError if it can't be one.
            `counted` makes one for a count that stands there.
        max_message: the longest message in bytes.
        quiet: the longest silence within a message, seconds; after it the message is cut.
    """

    def __init__(
        self,
        header: int,
        length: Callable[[bytes], int],
        max_message: int = MAX_MESSAGE,
        *,
        quiet: float = 0.0,
    ) -> None:
        super().__init__(max_message, quiet)
        if header < 1:
            raise DefinitionError(f"a header has one byte at least, not {header}")
        self._header = header
        self._length = length
        self._size = 0

    def clear(self) -> None:
        """Forget the beginning of a message."""
        super().clear()
        self._size = 0

    def feed(self, data: bytes) -> list[bytes]:
        """Take bytes, return the messages that they complete, with their headers.

        Raises ReplyError if a header can't be one, or tells a length beyond the bound; the buffer is empty afterwards.
        """
        self._buffer += data
        messages: list[bytes] = []
        while len(self._buffer) >= (self._size or self._header):
            if self._size:
                messages.append(self._take(self._size))
                self._size = 0
            else:
                self._size = self._measure(bytes(self._buffer[: self._header]))
        return messages

    def _measure(self, header: bytes) -> int:
        try:
            size = self._length(header)
        except ValueError as error:
            raise self._refuse(f"{header!r} is no header of a message: {error}") from None
        if not self._header <= size <= self._max:
            raise self._refuse(
                f"{header!r} tells a message of {size} bytes; expected {self._header} to {self._max}"
            )
        return size


def counted(
    offset: int, size: int, byteorder: Literal["big", "little"] = "big", *, uncounted: int = 0
) -> Callable[[bytes], int]:
    """Return the ``length`` of a `LengthFramer` for a binary count in the header.

    Args:
        offset: where the count stands.
        size: how many bytes it has.
        byteorder: of the count.
        uncounted: how many bytes of a message the count leaves out.
    """
    return lambda header: int.from_bytes(header[offset : offset + size], byteorder) + uncounted


class FixedFramer(LengthFramer):
    """Messages of one size.

    Args:
        size: in bytes.
        quiet: the longest silence within a message, seconds; after it the message is cut.
    """

    def __init__(self, size: int, *, quiet: float = 0.0) -> None:
        super().__init__(1, lambda _: size, size, quiet=quiet)


class DelimitedFramer(_Buffered):
    r"""Messages between a start and an end, as in STX ... ETX; both stay in the message.

    What comes between the messages is dropped. A start within a message is data: a protocol whose data may hold its
    end needs a `LengthFramer`.

    Args:
        start: the bytes that begin a message; b"" if any byte does.
        end: the bytes that end it.
        trailer: how many bytes come behind the end, for a checksum. They may be any.
        alone: bytes that are a message each where no other has begun, such as ACK and NAK, ``b"\x06\x15"``.
        max_message: the longest message in bytes, all included.
        quiet: the longest silence within a message, seconds; after it the message is cut.
    """

    def __init__(
        self,
        start: bytes,
        end: bytes,
        trailer: int = 0,
        *,
        alone: bytes = b"",
        max_message: int = MAX_MESSAGE,
        quiet: float = 0.0,
    ) -> None:
        super().__init__(max_message, quiet)
        if not end:
            raise DefinitionError("expected the bytes that end a message")
        self._start = start
        self._end = end
        self._trailer = trailer
        singles = [re.escape(bytes([byte])) for byte in alone]
        self._begin = re.compile(b"|".join([*singles, re.escape(start) if start else rb"(?s:.)"]))
        self._alone = alone
        self._inside = False

    def clear(self) -> None:
        """Forget the beginning of a message."""
        super().clear()
        self._inside = False

    def feed(self, data: bytes) -> list[bytes]:
        """Take bytes, return the messages that they complete, delimiters and trailers included.

        Raises ReplyError if a message is longer than the bound; the buffer is empty afterwards.
        """
        buffer = self._buffer
        buffer += data
        messages: list[bytes] = []
        while self._inside or self._enter(messages):
            found = buffer.find(self._end, self._at)
            if found < 0:
                self._at = max(self._at, len(buffer) - len(self._end) + 1)
                size = len(buffer)
            else:
                self._at = found
                size = found + len(self._end) + self._trailer
            if size > self._max:
                raise self._refuse(
                    f"{size} bytes without the end {self._end!r}; expected at most {self._max}"
                )
            if found < 0 or len(buffer) < size:
                break
            messages.append(self._take(size))
            self._inside = False
        return messages

    def _enter(self, messages: list[bytes]) -> bool:
        """Go to the start of the next message, if it has come; take the messages of one byte before it."""
        while (found := self._begin.search(self._buffer)) is not None:
            del self._buffer[: found.start()]
            if self._buffer[0] not in self._alone:
                self._at = len(self._start)
                self._inside = True
                return True
            messages.append(self._take(1))
        half = next(
            (n for n in range(len(self._start) - 1, 0, -1) if self._buffer.endswith(self._start[:n])), 0
        )
        del self._buffer[: len(self._buffer) - half]
        return False


class SilenceFramer(_Buffered):
    """Messages that end when nothing more comes.

    Args:
        quiet: the silence that ends a message, seconds. Network and operating system make pauses of their own, of
            tens of milliseconds: less than that cuts messages where they should go on.
        max_message: the longest message in bytes.
    """

    def __init__(self, quiet: float, max_message: int = MAX_MESSAGE) -> None:
        super().__init__(max_message, quiet)
        if not quiet:
            raise DefinitionError("expected the silence that ends a message, in seconds")

    def feed(self, data: bytes) -> list[bytes]:
        """Take bytes. Raises ReplyError if a message is longer than the bound; the buffer is empty afterwards."""
        self._buffer += data
        if len(self._buffer) > self._max:
            raise self._refuse(f"{len(self._buffer)} bytes without a pause; expected at most {self._max}")
        return []

    def silent(self) -> list[bytes]:
        """Return the message that the silence completes."""
        return [self._take(len(self._buffer))] if self._buffer else []
