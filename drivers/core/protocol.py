"""Protocols: how an instrument's messages are cut, matched and confirmed. One object holds it all."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from .errors import DefinitionError
from .framing import MAX_MESSAGE, LineFramer


@dataclass(frozen=True, slots=True)
class Request:
    """One message to the instrument: its bytes, and how many answers its one reply holds (0: no reply)."""

    payload: bytes
    answers: int


@dataclass(frozen=True, kw_only=True)
class Lines:
    """A protocol of text lines: a question, a line in reply; a command, silence.

    Args:
        eol: the terminator of a line, in both directions.
        send_eol: the terminator of what is sent, where it differs.
        timeout: how long a reply may take, seconds.
        identify: a question whose answer names itself, and the regular expression that its answer begins
            with. It is asked at each connect, and after anything odd: everything before its answer is dropped.
        variants: for each variant of the instrument, a regular expression found in that answer.
        max_late: for an instrument without such a question, the longest that a reply can be late, seconds.
        join: what stands between several questions in one line, and between their answers; None if the
            instrument takes only one at a time.
        max_send: the longest line that the instrument takes, bytes.
        max_joined: the most questions in one line.
        serial: the settings of the instrument's serial line, for what a URL does not say.
        gaps: the silence that the instrument wants between two exchanges, seconds, by scheme of the link.
        confirm: a question asked after each command, and a function that tells from its answer whether the
            command was accepted. It is also asked once at connect, to clear what came before.
        encoding: of the text.
    """

    eol: str
    send_eol: str | None = None
    timeout: float = 1.0
    identify: tuple[str, str] | None = None
    variants: Mapping[str, str] = field(default_factory=dict)
    max_late: float | None = None
    join: str | None = None
    max_send: int = 255
    max_joined: int = 8
    serial: Mapping[str, int | str] = field(default_factory=dict)
    gaps: Mapping[str, float] = field(default_factory=dict)
    confirm: tuple[str, Callable[[str], bool]] | None = None
    encoding: str = "latin-1"

    def __post_init__(self) -> None:
        """Raises DefinitionError if the next question could get an earlier one's answer."""
        if self.identify is None and self.max_late is None:
            raise DefinitionError("a protocol needs identify, or max_late where no question names itself")
        if not self.eol or not isinstance(self.timeout, (int, float)) or self.timeout <= 0:
            raise DefinitionError(
                f"expected a terminator, and a time-out in seconds; got {self.eol!r} and {self.timeout!r}"
            )
        for pair in (self.identify, self.confirm):
            if pair is not None and not (isinstance(pair, tuple) and len(pair) == 2):
                raise DefinitionError(f"expected a question and what its answer must be, got {pair!r}")
        for pattern in (*(self.identify or ())[1:], *self.variants.values()):
            try:
                re.compile(pattern)
            except re.error as error:
                raise DefinitionError(f"{pattern!r} is no regular expression: {error}") from error

    def framer(self) -> LineFramer:
        """Return a framer for what the instrument sends."""
        return LineFramer(self.eol.encode(self.encoding), MAX_MESSAGE)

    def requests(self, *parts: tuple[str, bool], joined: bool = True) -> tuple[Request, ...]:
        """Return the messages for a row of parts, each a text and whether it is answered.

        Parts are joined into as few lines as the instrument takes, or stand in a line each if not ``joined``.
        """
        end = self.eol if self.send_eol is None else self.send_eol
        lines: list[tuple[str, int]] = []
        for text, answered in parts:
            if joined and lines and self.join is not None and lines[-1][1] < self.max_joined:
                line = f"{lines[-1][0]}{self.join}{text}"
                if len(line) + len(end) <= self.max_send:
                    lines[-1] = line, lines[-1][1] + answered
                    continue
            lines.append((text, int(answered)))
        return tuple(Request((text + end).encode(self.encoding), answers) for text, answers in lines)

    def text(self, reply: bytes) -> str:
        """Return a reply as text; bytes that are none in its encoding are shown as backslash escapes."""
        return reply.decode(self.encoding, "backslashreplace")

    def answers(self, reply: bytes, count: int) -> list[str]:
        """Return the answers in one reply.

        Raises ValueError if there are not as many as were asked for.
        """
        text = self.text(reply)
        if count == 1 or self.join is None:
            return [text]
        texts = text.split(self.join)
        if len(texts) != count:
            raise ValueError(text)
        return texts

    @property
    def forbidden(self) -> tuple[str, ...]:
        """Texts that no value in a command may hold: they would end it."""
        return tuple({text for text in (self.join, self.eol, self.send_eol) if text})
