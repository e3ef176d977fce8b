"""A recording of an instrument's wire, served as a simulator; docs/trace.md describes the format of the file."""

import json
import logging
from bisect import bisect_right
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field
from os import PathLike
from typing import Any, NamedTuple

from .connection import Connection
from .faults import FIN
from .serving import serve
from .simulator import Simulator

log = logging.getLogger("labioc.sim.replay")

FORMAT = "labioc recording"
VERSION = 1
SENT, RECEIVED, OPENED, LOST, MISSED = ">", "<", "opened", "lost", "missed"

LATEST = -1
CONNECT = b""
"""The request that stands for a new connection: what comes before the first request answers it."""
MAX_MESSAGE = 65536
MAX_NAMED = 1000
ONE_PIECE = 0.1
"""Seconds: where it is not known how replies end, what comes sooner belongs to what came before."""


class _Chunk(NamedTuple):
    clock: float
    kind: str
    data: bytes


class _Piece(NamedTuple):
    """What came in one go, how many seconds behind what was before it, and whether the connection ended then."""

    gap: float
    data: bytes
    ends: bool = False


@dataclass
class _Exchange:
    request: bytes
    pieces: list[_Piece] = field(default_factory=list)
    answers: Mapping[bytes, bytes] | None = None
    """The answer to each question in the request, if there is just one to each."""

    @property
    def is_whole(self) -> bool:
        return bool(self.pieces) and not self.pieces[-1].ends


class Replay(Simulator):
    """A simulator that answers as a recorded instrument did.

    A request is known by its bytes. Each time it comes it gets its next answer, in the recorded order, and after its
    last one that one again; a request that was not recorded gets silence, and a line in the log. Where the header
    has `join`, each question has answers of its own: questions may come grouped in other ways than they were recorded.

    Faults strike the first message of an answer; what came unasked behind it stays as it was.
    """

    def __init__(self, path: str | PathLike[str], *, session: int = LATEST, timing: bool = False) -> None:
        """Read a recording: of the sessions in the file the latest, or the one of that number, from 1.

        With `timing` answers take as long as they did, else they come at once. Raises ValueError if the file is no
        recording or has no such session, OSError if it can't be read.
        """
        super().__init__()
        self.header, chunks = _read(path, session)
        self._timing = timing
        self._ends = [end.encode("latin-1") for end in self.header.get("eol", ())]
        self._send_end = str(self.header.get("send_eol", "")).encode("latin-1")
        self._join = str(self.header.get("join", "")).encode("latin-1")
        self.terminator_out = self._ends[0] if self._ends else b""
        self._exchanges = list(self._gathered(chunks))
        self._requests = {exchange.request for exchange in self._exchanges} - {CONNECT}
        self._history: dict[bytes, list[int]] = defaultdict(list)
        """In which exchanges each question stands."""
        self._last: dict[bytes, int] = {}
        """In which one its last good answer stands."""
        for number, exchange in enumerate(self._exchanges):
            exchange.answers = self._answers(exchange)
            for part in self._parts(exchange.request):
                if exchange is self._exchanges[-1] and not exchange.pieces and part in self._history:
                    continue  # the recording ended before the answer came
                self._history[part].append(number)
                if exchange.is_whole or part not in self._last:
                    self._last[part] = number
        self._served: dict[bytes, int] = {}
        self._named: set[bytes] = set()

    def serve(self, url: str) -> AbstractAsyncContextManager[str]:
        """Serve at "tcp://127.0.0.1:0" or "pty:"; `async with` yields the URL for a client.

        Raises ValueError for another kind of URL, OSError if the port can't be had.
        """
        return serve(self, url, lambda _, write, end: _Replaying(self, write, end))

    def split(self, buffer: bytearray) -> Iterator[bytes]:
        """Yield what was recorded as a request, and of all else what ends as a request does."""
        while buffer:
            came = bytes(buffer)
            known = max((r for r in self._requests if came.startswith(r)), key=len, default=b"")
            size = len(known)
            if not known and len(came) <= MAX_MESSAGE:
                if any(request.startswith(came) for request in self._requests):
                    return
                size = came.find(self._send_end) + len(self._send_end)
                if self._send_end and size < len(self._send_end):
                    return
            size = size or len(came)
            yield came[:size]
            del buffer[:size]

    def handle(self, message: bytes) -> bytes | None:
        """Return all that comes behind a request, or None for silence."""
        return b"".join(piece.data for piece in self.next_answer(message)) or None

    def power_cycle(self) -> None:
        """Begin again."""
        self._served.clear()

    def next_answer(self, request: bytes) -> list[_Piece]:
        """Return what comes behind a request, or a new connection, this time."""
        if request != CONNECT:
            self.log.append(request.decode("latin-1"))
        parts = self._parts(request)
        if any(part not in self._history for part in parts):
            self._name(request)
            return []
        numbers = {part: self._next(part) for part in parts}
        odd = next((n for n in numbers.values() if self._exchanges[n].answers is None), None)
        if odd is not None:
            exchange = self._exchanges[odd]
            is_new = odd > max(self._served.get(part, -1) for part in self._parts(exchange.request))
            self._served |= dict.fromkeys(self._parts(exchange.request), odd) if is_new else {}
            # a connection is lost once, not at each repetition
            pieces = [piece for piece in exchange.pieces if is_new or not piece.ends]
        else:
            self._served |= numbers
            chosen = [self._exchanges[numbers[part]] for part in parts]
            texts = [e.answers[p] for p, e in zip(parts, chosen, strict=True) if e.answers and p in e.answers]
            gap = max((piece.gap for exchange in chosen for piece in exchange.pieces), default=0.0)
            pieces = [_Piece(gap, self._join.join(texts) + self.terminator_out)] if texts else []
        return pieces if self._timing else [piece._replace(gap=0.0) for piece in pieces]

    def _next(self, part: bytes) -> int:
        history = self._history[part]
        place = bisect_right(history, self._served.get(part, -1))
        return history[place] if place < len(history) else self._last[part]

    def _name(self, request: bytes) -> None:
        if request != CONNECT and request not in self._named and len(self._named) < MAX_NAMED:
            self._named.add(request)
            log.warning("nobody recorded an answer to %r", request)

    def _gathered(self, chunks: list[_Chunk]) -> Iterator[_Exchange]:
        """Go through the requests, each with what came behind it."""
        exchange: _Exchange | None = _Exchange(CONNECT)
        since = chunks[0].clock if chunks else 0.0
        for chunk in chunks:
            if chunk.kind in (SENT, OPENED, MISSED):
                # a new connection that nothing follows is none worth remembering; an answer may have been missed
                is_silence = chunk.kind != MISSED and exchange is not None and exchange.request != CONNECT
                if exchange is not None and (exchange.pieces or is_silence):
                    yield exchange
                exchange = {SENT: _Exchange(chunk.data), OPENED: _Exchange(CONNECT)}.get(chunk.kind)
                since = chunk.clock
            elif exchange is not None and chunk.kind in (RECEIVED, LOST):
                piece = _Piece(chunk.clock - since, chunk.data, chunk.kind == LOST)
                since = chunk.clock
                before = exchange.pieces[-1] if exchange.pieces else None
                if chunk.kind == LOST:
                    piece = piece._replace(data=b"")
                elif before is not None and self._goes_on(before, piece):
                    piece = _Piece(before.gap + piece.gap, exchange.pieces.pop().data + piece.data)
                exchange.pieces.append(piece)
        if exchange is not None and (exchange.request != CONNECT or exchange.pieces):
            yield exchange

    def _goes_on(self, before: _Piece, piece: _Piece) -> bool:
        if self._ends:
            return not before.data.endswith(tuple(self._ends))
        return piece.gap <= ONE_PIECE

    def _parts(self, request: bytes) -> tuple[bytes, ...]:
        line = request.removesuffix(self._send_end)
        return tuple(line.split(self._join)) if self._join and line and line != request else (request,)

    def _answers(self, exchange: _Exchange) -> Mapping[bytes, bytes] | None:
        parts = self._parts(exchange.request)
        if not self._join or parts == (exchange.request,):
            return None
        questions = [part for part in parts if b"?" in part]
        if not exchange.pieces:
            return None if questions else {}
        body = exchange.pieces[0].data
        end = max((end for end in self._ends if body.endswith(end)), key=len, default=b"")
        body = body.removesuffix(end)
        texts = body.split(self._join) if len(questions) > 1 else [body]
        is_one = len(exchange.pieces) == 1 and end and not any(end in body for end in self._ends)
        if not is_one or len(texts) != len(questions):
            return None
        return dict(zip(questions, texts, strict=True))


class _Replaying(Connection):
    """One client."""

    def __init__(self, replay: Replay, write: Callable[[bytes], None], end: Callable[[str], None]) -> None:
        super().__init__(replay, write, end)
        self._replay = replay
        self.execute(CONNECT)
        self._loop.call_soon(self.flush)

    def execute(self, message: bytes) -> None:
        """Put what comes behind a request in line."""
        pieces = self._replay.next_answer(message)
        if pieces and message and not pieces[0].ends:
            self.answer(message, pieces[0].data, pieces[0].gap)
            pieces = pieces[1:]
        for piece in pieces:
            self.pass_on(piece.data, piece.gap, FIN if piece.ends else "")


def _read(path: str | PathLike[str], session: int) -> tuple[dict[str, Any], list[_Chunk]]:
    header: dict[str, Any] = {}
    chunks: list[_Chunk] = []
    sessions = 0
    with open(path, "rb") as file:
        for number, raw in enumerate(file, 1):
            try:
                line = json.loads(raw)
                if "format" in line:
                    if line["format"] != FORMAT or line["version"] > VERSION:
                        raise _ForeignError(
                            f"{path} is no recording that can be replayed: line {number} is {line}"
                        )
                    sessions += 1
                    if session in (LATEST, sessions):
                        header, chunks = line, []
                elif session in (LATEST, sessions):
                    data = line["data"].encode("latin-1" if line["kind"] in (SENT, RECEIVED) else "utf-8")
                    chunks.append(_Chunk(float(line["clock"]), line["kind"], data))
            except _ForeignError:
                raise
            except (ValueError, LookupError, TypeError, AttributeError):
                if not sessions:
                    break
                # a process that was killed while it wrote
                log.warning("%s: line %d can't be read; it is left out", path, number)
    if not sessions:
        raise ValueError(f"{path} is no recording")
    if not header:
        raise ValueError(f"{path} has {sessions} sessions, and no session {session}")
    return header, chunks


class _ForeignError(ValueError):
    """The file is no recording, or not one that this version reads."""
