"""A driver's test in the words of the manual: a transcript of what is sent and what is answered, or a recording."""

from __future__ import annotations

import asyncio
import difflib
import itertools
import os
from bisect import bisect_right
from collections import defaultdict, deque
from collections.abc import AsyncIterator, Callable, Iterable, Mapping
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from typing import TypeVar
from urllib.parse import SplitResult

from .core.driver import Driver
from .core.errors import LinkDown, ReplyError, TruncatedReply
from .core.framing import Framer
from .core.protocol import Lines, Protocol
from .core.recording import read_recording
from .core.wire import CLOSED, OPENED, RECEIVED, SENT, Wire

D = TypeVar("D", bound=Driver)
Line = tuple[str | bytes, str | bytes | None]
Exchange = tuple[bytes, bytes | None]
"""What is sent and what comes behind it, as they are on the wire; None is silence."""

_scripts: dict[str, _Script] = {}
_numbers = itertools.count(1)


@asynccontextmanager
async def transcript(
    driver: type[D],
    lines: Iterable[Line] | Recorded,
    *,
    identity: str | bytes = "",
    variant: str = "",
    address: str = "",
) -> AsyncIterator[D]:
    r"""Connect a driver to an instrument that answers by a transcript.

    What the port asks by itself, when it connects and when it has to get in step again, is answered by itself and
    does not stand in the transcript. All that is sent does, in its order, without the terminators::

        async with transcript(
            LakeShore336,
            [("RDGST? A;KRDG? A", "000;+77.350")],
            identity="LSCI,MODEL336,LSA23AB/#######,2.9",
        ) as controller:
            assert await controller.inputs["A"].temperature.read() == 77.35

    A recording is no list to be followed: what it holds may be asked in any order, or not at all. Each question
    gets its next answer, after its last one that one again::

        async with transcript(LakeShore336, recorded("session.jsonl")) as controller:
            assert await controller.inputs["A"].temperature.read() == 77.35

    Args:
        driver: the driver's class.
        lines: what is sent, and what is answered; None is silence. A reply that the driver waits for in vain is a
            time-out at once, without the wait. Bytes stand for themselves, as they are on the wire. Or a recording.
        identity: the answer to the protocol's question for it; a recording has it.
        variant: the variant of the instrument that the driver expects.
        address: its address, where the protocol has one.

    Raises AssertionError, with both texts side by side, if something else was sent or a line was not used.
    """
    on_wire = driver.protocol.addressed(address) if address else ""
    questions = _own_questions(driver.protocol, identity, on_wire)
    script: _Script
    if isinstance(lines, Recorded):
        script = _Recollection(driver.protocol, lines.lines, questions)
    else:
        script = _List(driver.protocol, list(lines), questions)
    key = f"{driver.__name__}-{next(_numbers)}"
    _scripts[key] = script
    url = f"transcript://{key}"
    try:
        async with driver.open(url, name=driver.__name__, variant=variant, address=address) as opened:
            opened.port.retries = 0  # each line stands for one question
            yield opened
    except Exception as error:
        # what the driver made of the wrong answer is not the news
        if script.strayed:
            raise AssertionError(script.difference()) from error
        raise
    finally:
        del _scripts[key]
    if script.difference():
        raise AssertionError(script.difference())


@dataclass(frozen=True)
class Recorded:
    """What was sent in a recording and what came behind it, in their order, as bytes.

    `transcript` answers from it; a part of ``lines`` is a transcript to be followed.
    """

    lines: list[Exchange]


def recorded(path: str | os.PathLike[str], *, session: int = -1) -> Recorded:
    """Return what a recording holds, for `transcript`.

    Args:
        path: the file that ``labioc run --record`` or `labioc.drivers.core.recording.record` has written.
        session: which one in the file, as an index.

    Raises ValueError if it is no recording, IndexError if there is no such session, OSError if it can't be read.
    """
    found = read_recording(path)[session]
    lines: list[Exchange] = []
    is_open = False
    for chunk in found.chunks:
        if chunk.kind == SENT:
            lines.append((chunk.data, None))
            is_open = True
        elif chunk.kind != RECEIVED:
            is_open = False
        elif is_open:
            request, reply = lines[-1]
            lines[-1] = request, (reply or b"") + chunk.data
    if found.header.get("echo"):
        lines = [(sent, (came or b"").removeprefix(sent) or None) for sent, came in lines]
    if lines and lines[-1][1] is None and lines[-1] in lines[:-1]:
        del lines[-1]
    return Recorded(lines)


async def open_transcript(parts: SplitResult, framer: Callable[[], Framer], wire: Wire) -> ScriptExchanger:
    """Open the link of a URL ``transcript://...``; for the entry point group ``labioc.links``."""
    if parts.netloc not in _scripts:
        raise LinkDown("there is no such transcript: this scheme is for tests")
    return ScriptExchanger(_scripts[parts.netloc], framer(), wire)


def _own_questions(protocol: Protocol, identity: str | bytes, address: str) -> list[Exchange]:
    """Return what the port asks by itself at a connect, and the answers; the first is asked at any time."""
    found: list[Line] = []
    fence = protocol.fence("")
    if fence is not None:
        sent = _sent(protocol, fence.replace("{addr}", address))
        found.append((sent, sent))
    ask = protocol.identify[0].replace("{addr}", address) if protocol.identify is not None else ""
    if ask:
        found.append((ask, identity if identity or isinstance(protocol, Lines) else None))
    if protocol.power_on is not None:
        found.append((protocol.power_on[0].replace("{addr}", address), None))
    if ask and protocol.join is not None and isinstance(identity, str):
        found.append((protocol.join.join([ask] * 2), protocol.join.join([identity] * 2)))
    anything = "0" if isinstance(protocol, Lines) and protocol.skip_empty else ""
    if protocol.confirm is not None:
        found.append((protocol.confirm[0].replace("{addr}", address), anything))
    done = "" if protocol.accepted is not None else None
    found += [(text.replace("{addr}", address), done) for text in protocol.setup]
    if protocol.setup and protocol.confirm is not None:
        found.append((protocol.confirm[0].replace("{addr}", address), anything))
    return [(_sent(protocol, text), _came(protocol, answer)) for text, answer in found]


def _sent(protocol: Protocol, text: str | bytes) -> bytes:
    return text if isinstance(text, bytes) else protocol.framer().seal(protocol.packed(text))


def _came(protocol: Protocol, text: str | bytes | None) -> bytes | None:
    if text is None or isinstance(text, bytes):
        return text
    if not isinstance(protocol, Lines):
        raise TypeError(f"the answer {text!r} must be bytes: a frame as it is on the wire")
    line = text.encode(protocol.encoding)
    if protocol.checksum is not None:
        line = protocol.checksum.append(line)
    return line + _ends(protocol)[1]


def _ends(protocol: Lines) -> tuple[bytes, bytes]:
    """Return what ends a line that is sent, and one that comes."""
    end = protocol.eol if isinstance(protocol.eol, str) else protocol.eol[0]
    sent_end = end if protocol.send_eol is None else protocol.send_eol
    return sent_end.encode(protocol.encoding), end.encode(protocol.encoding)


def _shown(protocol: Protocol, message: bytes) -> str:
    """Return a message in the words of the manual, as far as it can be said in them."""
    if not isinstance(protocol, Lines):
        return message.hex(" ")
    end = _ends(protocol)[0]
    if not message.endswith(end):
        return f"{message.decode(protocol.encoding, 'backslashreplace')} without its terminator"
    line = message.removesuffix(end)
    with suppress(ReplyError):
        line = protocol.checksum.strip(line) if protocol.checksum is not None else line
    return line.decode(protocol.encoding, "backslashreplace")


class _Script:
    """What is to be said and what was said.

    Attributes:
        strayed: whether something was sent that it does not hold.
    """

    def __init__(self, protocol: Protocol, questions: list[Exchange]) -> None:
        self.strayed = False
        self._protocol = protocol
        self._questions = questions

    def reply_to(self, message: bytes) -> bytes | None:
        """Return what comes behind a message, as it is on the wire, or None for silence."""
        raise NotImplementedError

    def difference(self) -> str:
        """Return what is wrong with what was sent, or ""."""
        raise NotImplementedError


class _List(_Script):
    """Lines to be followed."""

    def __init__(self, protocol: Protocol, lines: list[Line], questions: list[Exchange]) -> None:
        super().__init__(protocol, questions)
        self._lines = [(_sent(protocol, ask), _came(protocol, answer)) for ask, answer in lines]
        self._sent: list[bytes] = []
        self._greeting = deque(questions)
        # what is asked at any time: what a fence asks
        own = 0 if protocol.identify is None else 1 if protocol.fence("") is None else 2
        self._fence = dict(questions[:own])

    def reply_to(self, message: bytes) -> bytes | None:
        if self._greeting and message == self._greeting[0][0]:
            return self._greeting.popleft()[1]
        expected: Exchange | None = None
        if not self.strayed and len(self._sent) < len(self._lines):
            expected = self._lines[len(self._sent)]
        if expected is not None and message == expected[0]:
            self._sent.append(message)
            return expected[1]
        if message in self._fence:
            return self._fence[message]
        self._sent.append(message)
        self.strayed = True
        return None

    def difference(self) -> str:
        expected = [message for message, _ in self._lines]
        if self._sent == expected:
            return ""
        wanted, said = (
            [_shown(self._protocol, message) for message in side] for side in (expected, self._sent)
        )
        lines = difflib.ndiff(wanted, said)
        return "- in the transcript, + sent instead:\n" + "\n".join(line.rstrip("\n") for line in lines)


class _Recollection(_Script):
    """A recording to be asked. Where questions are joined, each has answers of its own."""

    def __init__(self, protocol: Protocol, lines: list[Exchange], questions: list[Exchange]) -> None:
        super().__init__(protocol, questions)
        self._join, self._end, self._sent_end = b"", b"", b""
        if isinstance(protocol, Lines) and protocol.join is not None and protocol.checksum is None:
            self._join = protocol.join.encode(protocol.encoding)
            self._sent_end, self._end = _ends(protocol)
        self._lines = lines
        self._answers = [self._answers_in(*line) for line in lines]
        self._history: dict[bytes, list[int]] = defaultdict(list)
        self._last: dict[bytes, int] = {}
        for number, (message, came) in enumerate(lines):
            for part in self._parts(message):
                self._history[part].append(number)
                if came is not None or part not in self._last:
                    self._last[part] = number
        self._served: dict[bytes, int] = {}
        self._missing: list[bytes] = []

    def reply_to(self, message: bytes) -> bytes | None:
        parts = self._parts(message)
        if all(part in self._history for part in parts):
            return self._recalled(parts)
        for ask, answer in self._questions:
            if message == ask:
                return answer
        self.strayed = True
        self._missing.append(message)
        return None

    def difference(self) -> str:
        if not self._missing:
            return ""
        known = sorted(_shown(self._protocol, message) for message in {message for message, _ in self._lines})
        said = []
        for text in (_shown(self._protocol, message) for message in self._missing):
            near = difflib.get_close_matches(text, known)
            said.append(f"{text!r}" + (f"; it has {', '.join(map(repr, near))}" if near else ""))
        return "sent, but not in the recording:\n" + "\n".join(said)

    def _recalled(self, parts: tuple[bytes, ...]) -> bytes | None:
        numbers = {part: self._next(part) for part in parts}
        # what does not fall into one answer to each question comes as it came
        odd = next((number for number in numbers.values() if self._answers[number] is None), None)
        if odd is not None:
            message, came = self._lines[odd]
            self._served |= {part: max(odd, self._served.get(part, odd)) for part in self._parts(message)}
            return came
        self._served |= numbers
        found = [(self._answers[numbers[part]] or {}).get(part) for part in parts]
        texts = [text for text in found if text is not None]
        return self._join.join(texts) + self._end if texts else None

    def _next(self, part: bytes) -> int:
        history = self._history[part]
        place = bisect_right(history, self._served.get(part, -1))
        return history[place] if place < len(history) else self._last[part]

    def _parts(self, message: bytes) -> tuple[bytes, ...]:
        line = message.removesuffix(self._sent_end)
        return tuple(line.split(self._join)) if self._join and line != message else (message,)

    def _answers_in(self, message: bytes, came: bytes | None) -> Mapping[bytes, bytes] | None:
        parts = self._parts(message)
        questions = [part for part in parts if b"?" in part]
        if not self._join or parts == (message,):
            return None
        if came is None:
            return None if questions else {}
        line = came.removesuffix(self._end)
        texts = line.split(self._join) if len(questions) > 1 else [line]
        if line == came or self._end in line or len(texts) != len(questions):
            return None
        return dict(zip(questions, texts, strict=True))


class ScriptExchanger:
    """An exchanger that answers by a script, through the framer of the protocol."""

    def __init__(self, script: _Script, framer: Framer, wire: Wire) -> None:
        self._script = script
        self._framer = framer
        self._wire = wire
        self._replies: deque[bytes] = deque()
        self._broken: ReplyError | None = None
        self._closed = asyncio.Event()
        wire.event(OPENED)

    async def send(self, message: bytes) -> None:
        """Take one message."""
        self._wire.sent(message)
        came = self._script.reply_to(message)
        if came is not None:
            self._wire.received(came)
            try:
                self._replies += self._framer.feed(came)
            except ReplyError as error:
                self._broken = error

    async def receive(self, timeout: float) -> bytes:
        """Return the reply. Raises TimeoutError at once if there is none: none will come."""
        await asyncio.sleep(0)
        if self._replies:
            return self._replies.popleft()
        if self._broken is not None:
            error, self._broken = self._broken, None
            raise error
        if self._framer.pending and self._framer.quiet:
            self._replies += self._framer.silent()
            return self._replies.popleft()
        if self._framer.pending:
            raise TruncatedReply(f"the reply stopped after {self._framer.pending[:80]!r}")
        raise TimeoutError

    def resynchronise(self) -> int:
        """Forget what nobody took."""
        size = sum(map(len, self._replies)) + len(self._replies) + len(self._framer.pending)
        size = max(size, self._broken is not None)
        self._replies.clear()
        self._framer.clear()
        self._broken = None
        return size

    async def wait_lost(self) -> None:
        """Return when it is closed."""
        await self._closed.wait()

    async def close(self) -> None:
        """Close."""
        if not self._closed.is_set():
            self._closed.set()
            self._wire.event(CLOSED)
