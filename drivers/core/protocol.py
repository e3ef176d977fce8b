"""Protocols: how an instrument's messages are cut, packed, matched and confirmed. One object holds it all."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from .checksums import Checksum
from .errors import DefinitionError, LimitError
from .framing import MAX_MESSAGE, BlockFramer, Framer, LineFramer


@dataclass(frozen=True, slots=True)
class Request:
    """One message to the instrument.

    Attributes:
        payload: its bytes.
        answers: how many answers its one reply holds; 0: it has no reply.
        text: what it says.
        timeout: how long its reply may take, seconds.
        drains: whether it takes from a queue, and is asked until that is empty.
    """

    payload: bytes
    answers: int
    text: str = ""
    timeout: float = 1.0
    drains: bool = False


@dataclass(frozen=True, slots=True)
class Part:
    """What a parameter wants to say: a text, whether it is answered, and how long that may take in seconds."""

    text: str
    answered: bool
    timeout: float | None = None


@dataclass(frozen=True, kw_only=True)
class Protocol:
    """What all protocols have in common. Instruments use `Lines` or `Frames`.

    Args:
        timeout: how long a reply may take, seconds.
        connect_timeout: how long it may take to open the link, seconds.
        queue_timeout: how long an exchange may wait for its turn, seconds.
        retries: how often a read whose reply is lost, cut or spoilt is asked again before its PVs say so; writes are
            only repeated where they are declared idempotent.
        identify: a question whose answer names itself, and the regular expression that its answer begins
            with. It is asked at each connect, and after anything odd: everything before its answer is dropped.
        variants: for each variant of the instrument, a regular expression found in that answer.
        max_late: for an instrument without such a question, the longest that a reply can be late, seconds.
        setup: commands that are sent at each connect, once the instrument is identified.
        power_on: a question, and a function that tells from its answer whether the instrument has been without
            power since it was asked before.
        restarted: a regular expression for what the instrument says by itself once it has been switched on or reset;
            then it is set up, and everything is read, anew. It may be the identity: ``match`` tells one from the other.
        join: what stands between several questions in one message, and between their answers; None if the
            instrument takes only one at a time.
        max_send: the longest message that the instrument takes, bytes.
        max_joined: the most questions in one message.
        serial: the settings of the instrument's serial line, for what a URL does not say.
        gaps: the silence that the instrument wants between two exchanges, seconds, by scheme of the link; "" is
            for every other scheme.
        command_gap: the silence that it wants after a message without a reply, seconds, if that is longer.
        confirm: a question asked after each command, and a function that tells from its answer whether the
            command was accepted. It is also asked once at connect, to clear what came before.
        confirm_queue: whether each answer to that question takes an error from a queue. Then it is asked before a
            command as well as after it, alone, and until its answer says that there is none.
        accepted: for an instrument that answers commands, a function that tells from the answer whether the command
            was accepted.
        match: the answer that stands in a reply, by the texts of the question and of the reply; None if the reply
            belongs to another question, or another instrument on the same line. What it raises (RefusedError,
            ReadingInvalid, ReplyError) is the outcome of the exchange.
        encoding: of the text.
    """

    timeout: float = 1.0
    connect_timeout: float = 3.0
    queue_timeout: float = 5.0
    retries: int = 1
    identify: tuple[str, str] | None = None
    variants: Mapping[str, str] = field(default_factory=dict)
    max_late: float | None = None
    setup: Sequence[str] = ()
    power_on: tuple[str, Callable[[str], bool]] | None = None
    restarted: str = ""
    join: str | None = None
    max_send: int = 255
    max_joined: int = 8
    serial: Mapping[str, int | str] = field(default_factory=dict)
    gaps: Mapping[str, float] = field(default_factory=dict)
    command_gap: float = 0.0
    confirm: tuple[str, Callable[[str], bool]] | None = None
    confirm_queue: bool = False
    accepted: Callable[[str], bool] | None = None
    match: Callable[[str, str], str | None] | None = None
    encoding: str = "latin-1"

    def __post_init__(self) -> None:
        """Raises DefinitionError if the next question could get an earlier one's answer."""
        if self.identify is None and self.max_late is None:
            raise DefinitionError("a protocol needs identify, or max_late where no question names itself")
        for name in ("timeout", "connect_timeout", "queue_timeout"):
            if not isinstance(getattr(self, name), (int, float)) or getattr(self, name) <= 0:
                raise DefinitionError(f"expected {name} in seconds, got {getattr(self, name)!r}")
        for pair in (self.identify, self.confirm, self.power_on):
            if pair is not None and not (isinstance(pair, tuple) and len(pair) == 2):
                raise DefinitionError(f"expected a question and what its answer must be, got {pair!r}")
        if self.confirm is not None and self.accepted is not None:
            raise DefinitionError(
                "confirm asks after a command that has no answer, accepted is for one that has"
            )
        if self.restarted and self.match is None:
            raise DefinitionError("restarted= is told from an answer by match=")
        for pattern in (*(self.identify or ())[1:], *self.variants.values(), self.restarted):
            try:
                re.compile(pattern)
            except re.error as error:
                raise DefinitionError(f"{pattern!r} is no regular expression: {error}") from error

    @property
    def cut(self) -> object:
        """What tells how messages are cut; instruments that share a line must have the same."""
        raise NotImplementedError

    @property
    def framings(self) -> tuple[str, ...]:
        """What ``framing=`` in a URL may be, for a protocol that is framed in several ways."""
        return ()

    def framer(self, framing: str = "") -> Framer:
        """Return a framer for what the instrument sends.

        Args:
            framing: what the URL says, or else the link's scheme.
        """
        raise NotImplementedError

    @property
    def names_replies(self) -> bool:
        """Whether a reply names the instrument and what it answers."""
        return self.match is not None

    @property
    def identity_is_unique(self) -> bool:
        """Whether no other question can have the answer that the one to ``identify`` has."""
        return True

    def fence(self, framing: str) -> str | None:
        """Return the question whose answer names itself, where that to ``identify`` doesn't; it is asked before it.

        An instrument that does not answer it is given ``max_late`` seconds of silence instead.
        """
        return None

    def lateness(self, framing: str) -> float:
        """Return how long a fence waits before it asks, seconds, where no question names itself."""
        return 0.0

    def addressed(self, address: str) -> str:
        """Return an address as it stands on the wire. Raises AddressError if it can't be one."""
        return address

    def packed(self, text: str) -> bytes:
        """Return the message that says ``text``."""
        raise NotImplementedError

    def unpacked(self, message: bytes) -> str:
        """Return what a message says. Raises ReplyError if its checksum is wrong."""
        raise NotImplementedError

    @property
    def forbidden(self) -> tuple[str, ...]:
        """Texts that no value in a command may hold: they would end it."""
        raise NotImplementedError

    def is_accepted(self, answer: str) -> bool:
        """Tell from the answer to a command whether it was accepted. Raises ValueError if it tells neither."""
        return self.accepted is None or self.accepted(answer)

    def asks_for_power(self, question: str) -> bool:
        """Tell whether this is the question for a power cycle."""
        return self.power_on is not None and self.power_on[0] == question

    def tells_power_off(self, question: str, answer: str) -> bool:
        """Tell whether the answer to some question says that the instrument has been without power.

        Raises ValueError if it is the question for it, and the answer makes no sense.
        """
        return self.power_on is not None and self.power_on[0] == question and self.power_on[1](answer)

    def gap(self, scheme: str, baudrate: int = 0) -> float:
        """Return the silence that the instrument wants between two exchanges, seconds.

        Args:
            scheme: of the link.
            baudrate: of a serial line, or 0 where that isn't known.
        """
        line = "serial" if scheme == "rfc2217" else scheme
        return self.gaps.get(line, self.gaps.get("", 0.0))

    def requests(self, *parts: Part, joined: bool = True) -> tuple[Request, ...]:
        """Return the messages for a row of parts.

        Parts are joined into as few messages as the instrument takes, or stand in one each if not ``joined``.
        """
        made: list[tuple[str, int, float]] = []
        joins = False
        for part in parts:
            timeout = self.timeout if part.timeout is None else part.timeout
            alone = self.takes_from_queue(part.text)
            if joins and not alone and self.join is not None and made[-1][1] < self.max_joined:
                text = f"{made[-1][0]}{self.join}{part.text}"
                if len(self.packed(text)) <= self.max_send:
                    made[-1] = text, made[-1][1] + part.answered, max(made[-1][2], timeout)
                    continue
            made.append((part.text, int(part.answered), timeout))
            joins = joined and not alone
        return tuple(
            Request(self.packed(text), answers, text, limit, self.takes_from_queue(text))
            for text, answers, limit in made
        )

    def takes_from_queue(self, question: str) -> bool:
        """Tell whether each answer to this question takes an error from a queue."""
        return self.confirm_queue and self.confirm is not None and question == self.confirm[0]

    def tells_error(self, answer: str) -> bool:
        """Tell whether the answer to the confirm question tells of an error; one that makes no sense does not."""
        try:
            return self.confirm is not None and not self.confirm[1](answer)
        except ValueError:
            return False

    def rank(self, text: str) -> Any:
        """Return what questions that are asked together are sorted by, to have neighbours that can be joined."""
        return 0

    def smaller(self, request: Request) -> tuple[Request, ...]:
        """Return what to ask in place of a request that was refused, perhaps for one of its parts; () for nothing."""
        return ()

    def said(self, request: Request, reply: bytes) -> str | None:
        """Return what a reply says, its answers joined, or None if it belongs to another request.

        Raises ReplyError if its checksum is wrong, and what ``match`` raises.
        """
        text = self.unpacked(reply)
        return text if self.match is None else self.match(request.text, text)

    def answers(self, text: str, count: int) -> list[str]:
        """Return the answers in the text of one reply.

        Raises ValueError if there are not as many as were asked for.
        """
        if count == 1 or self.join is None:
            return [text]
        texts = text.split(self.join)
        if len(texts) != count:
            raise ValueError(text)
        return texts


@dataclass(frozen=True, kw_only=True)
class Lines(Protocol):
    """A protocol of text lines: a question, a line in reply; a command, silence.

    Args:
        eol: the terminator of a line, in both directions; of several possible ones the first is sent.
        send_eol: the terminator of what is sent, where it differs.
        silence: the longest silence within a reply, seconds, after which it counts as cut off; 0: only ``timeout``
            bounds it.
        checksum: what stands before the terminator, in both directions.
        skip_empty: whether empty lines are dropped: no answer is one, and the instrument or a gateway sends them.
        blocks: whether replies hold IEEE 488.2 blocks, whose data may look like a terminator.
        max_message: the longest reply, bytes.
        Others: see `Protocol`.
    """

    eol: str | tuple[str, ...]
    send_eol: str | None = None
    silence: float = 0.0
    checksum: Checksum | None = None
    skip_empty: bool = False
    blocks: bool = False
    max_message: int = MAX_MESSAGE

    def __post_init__(self) -> None:
        """Raises DefinitionError if it can't be right."""
        super().__post_init__()
        if not self.eol or not all(self._ends):
            raise DefinitionError(f"expected a terminator, got {self.eol!r}")

    @property
    def _ends(self) -> tuple[str, ...]:
        return (self.eol,) if isinstance(self.eol, str) else tuple(self.eol)

    @property
    def _sent_end(self) -> str:
        return self._ends[0] if self.send_eol is None else self.send_eol

    @property
    def cut(self) -> object:
        """What tells how messages are cut."""
        return self._ends, self.silence, self.skip_empty, self.blocks, self.max_message

    def framer(self, framing: str = "") -> Framer:
        """Return a framer for what the instrument sends."""
        ends = [end.encode(self.encoding) for end in self._ends]
        kind = BlockFramer if self.blocks else LineFramer
        return kind(ends, self.max_message, quiet=self.silence, skip_empty=self.skip_empty)

    def packed(self, text: str) -> bytes:
        """Return the line that says ``text``, with checksum and terminator."""
        message = text.encode(self.encoding)
        if self.checksum is not None:
            message = self.checksum.append(message)
        return message + self._sent_end.encode(self.encoding)

    def unpacked(self, message: bytes) -> str:
        """Return a line as text; bytes that are none in its encoding are shown as backslash escapes."""
        if self.checksum is not None:
            message = self.checksum.strip(message)
        return message.decode(self.encoding, "backslashreplace")

    @property
    def forbidden(self) -> tuple[str, ...]:
        """Texts that no value in a command may hold: they would end it."""
        return tuple({text for text in (self.join, *self._ends, self.send_eol) if text})


@dataclass(frozen=True, kw_only=True)
class Frames(Protocol):
    r"""A protocol of binary frames, behind commands written as text.

    A parameter says what the manual's command table says, as in ``ask="GAP 1 {ch}"``; ``pack`` makes the frame of it
    and ``unpack`` the text of a reply.

    Args:
        framing: makes a framer for what the instrument sends.
        pack: the frame that says a text; raises ValueError if it can't be said.
        unpack: what a frame says; raises ReplyError if its checksum is wrong or it can't be one.
        Others: see `Protocol`.
    """

    framing: Callable[[], Framer]
    pack: Callable[[str], bytes]
    unpack: Callable[[bytes], str]

    @property
    def cut(self) -> object:
        """What tells how messages are cut."""
        return self.framing

    def framer(self, framing: str = "") -> Framer:
        """Return a framer for what the instrument sends."""
        return self.framing()

    def packed(self, text: str) -> bytes:
        """Return the frame that says ``text``. Raises LimitError if it can't be said."""
        try:
            return self.pack(text)
        except ValueError as error:
            raise LimitError(f"{text!r} can't be said: {error}") from None

    def unpacked(self, message: bytes) -> str:
        """Return what a frame says."""
        return self.unpack(message)

    @property
    def forbidden(self) -> tuple[str, ...]:
        """Nothing ends a frame early."""
        return ()
