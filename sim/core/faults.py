"""What can go wrong on a wire, to be switched on while an instrument is simulated or a proxy stands before it.

A fault has a text form, the same in tests, on the command line and at the control port:
``late=0.5``, ``late=exp:0.2 share=0.02 only=KRDG?``, ``lose count=1``, ``mute``.
"""

import math
import random
import re
import shlex
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple, Protocol

FIN, RST = "fin", "rst"
COMMAND, REPLY, STATE = "command", "reply", "state"
"""When a fault strikes: before a command is executed, at its reply if there is one, or as long as it is on."""


class Droppable(Protocol):
    """A connection that can be cut."""

    def drop(self, how: str) -> None:
        """Cut the connection at once, with a FIN or a RST."""

    def say(self, data: bytes) -> None:
        """Send what nobody asked for, behind what is on its way already."""


class _Kind(NamedTuple):
    when: str
    read: Callable[[str], Any]
    """Reads the value ("" if none is given); raises ValueError with what was expected."""


class Delay:
    """Seconds by a distribution: "0.5", "uniform:0.1:0.5" or "exp:0.2" (its mean)."""

    def __init__(self, text: str) -> None:
        """Read it. Raises ValueError."""
        name, *parameters = text.split(":") if ":" in text else ("", text)
        numbers = [_number(parameter, "seconds, uniform:LOW:HIGH or exp:MEAN") for parameter in parameters]
        match name, numbers:
            case "", [seconds]:
                self.draw: Callable[[random.Random], float] = lambda _: seconds
            case "uniform", [low, high] if low <= high:
                self.draw = lambda chance: chance.uniform(low, high)
            case "exp", [mean] if mean > 0:
                self.draw = lambda chance: chance.expovariate(1 / mean)
            case _:
                raise ValueError("expected seconds, uniform:LOW:HIGH or exp:MEAN")


def _number(text: str, expected: str) -> float:
    try:
        number = float(text)
    except ValueError:
        number = math.nan
    if not 0 <= number < math.inf:
        raise ValueError(f"expected {expected}")
    return number


def _nothing(text: str) -> None:
    if text:
        raise ValueError("it takes no value")


def _whole(least: int, default: int | None) -> Callable[[str], int | None]:
    def read(text: str) -> int | None:
        if not text:
            return default
        if not text.isdecimal() or int(text) < least:
            raise ValueError(f"expected a whole number from {least}")
        return int(text)

    return read


def _seconds(default: float) -> Callable[[str], float]:
    return lambda text: _number(text, "seconds") if text else default


def _ending(text: str) -> str:
    if text not in ("", FIN, RST):
        raise ValueError("expected fin or rst")
    return text or FIN


KINDS: Mapping[str, _Kind] = {
    "mute": _Kind(COMMAND, _nothing),
    "refuse": _Kind(COMMAND, str),
    "echo": _Kind(COMMAND, _nothing),
    "disconnect": _Kind(COMMAND, _ending),
    "power-cycle": _Kind(COMMAND, _seconds(0.0)),
    "late": _Kind(REPLY, Delay),
    "lose": _Kind(REPLY, _nothing),
    "cut": _Kind(REPLY, _whole(0, None)),
    "noise": _Kind(REPLY, _whole(1, 1)),
    "flip": _Kind(REPLY, _whole(1, 1)),
    "garbage": _Kind(REPLY, _nothing),
    "twice": _Kind(REPLY, _nothing),
    "wrong-address": _Kind(REPLY, _nothing),
    "wrong-checksum": _Kind(REPLY, _nothing),
    "merge": _Kind(REPLY, _whole(2, 2)),
    "trickle": _Kind(REPLY, _seconds(0.01)),
    "hang-up": _Kind(REPLY, _ending),
    "refuse-connections": _Kind(STATE, _nothing),
}
"""Every kind of fault; docs/faults.md says what each does."""


@dataclass(frozen=True)
class Fault:
    """One fault: what goes wrong, and at which exchanges.

    Raises ValueError for a kind that doesn't exist or a value that doesn't fit it.
    """

    kind: str
    value: str = ""
    share: float = 1.0
    """Of the exchanges that it could strike, the share that it strikes."""
    only: str = ""
    """It strikes commands with this text in them; "*" stands for anything, "\\x01" for a byte."""
    count: int | None = None
    """How often it strikes before it is over."""
    seed: int = 0
    """Another seed strikes other exchanges; the same one the same exchanges."""
    setting: Any = field(init=False, repr=False, compare=False)
    """What the value says."""
    pattern: re.Pattern[bytes] = field(init=False, repr=False, compare=False)
    """What it looks for in a command."""

    def __post_init__(self) -> None:
        """Check everything."""
        if self.kind not in KINDS:
            raise ValueError(_no_such(self.kind))
        try:
            object.__setattr__(self, "setting", KINDS[self.kind].read(self.value))
        except ValueError as error:
            raise ValueError(f"{str(self)!r}: {error}") from None
        try:
            object.__setattr__(self, "pattern", _pattern(self.only))
        except ValueError:
            raise ValueError(f"{str(self)!r}: only= has an escape that is none") from None
        if not 0 < self.share <= 1:
            raise ValueError(f"{str(self)!r}: the share must be above 0 and at most 1")
        if self.count is not None and self.count < 1:
            raise ValueError(f"{str(self)!r}: the count must be at least 1")
        if KINDS[self.kind].when == STATE and not self.always:
            raise ValueError(f"{str(self)!r}: it is on or off, and knows no exchanges")

    @property
    def always(self) -> bool:
        """Whether it strikes every exchange until it is switched off."""
        return self.share == 1 and not self.only and self.count is None

    @classmethod
    def parse(cls, text: str) -> "Fault":
        """Make a fault from its text form; a value with spaces in it is quoted.

        Raises ValueError for what is not a fault.
        """
        lexer = shlex.shlex(text, posix=True, punctuation_chars=False)
        lexer.whitespace_split, lexer.escape, lexer.commenters = True, "", ""
        try:
            first, *others = list(lexer) or [""]
        except ValueError as error:
            raise ValueError(f"{text!r}: {error}") from None
        kind, _, value = first.partition("=")
        limits: dict[str, Any] = {}
        for word in others:
            name, equals, limit = word.partition("=")
            if not equals or name not in _LIMITS or name in limits:
                raise ValueError(f"{text!r}: {word!r} is not one of share=, only=, count=, seed=")
            try:
                limits[name] = _LIMITS[name](limit)
            except ValueError:
                raise ValueError(f"{text!r}: {word!r} is not a number") from None
        return cls(kind, value, **limits)

    def __str__(self) -> str:
        """Return the text form."""
        words = [f"{self.kind}={self.value}" if self.value else self.kind]
        words += [f"share={self.share:g}"] if self.share != 1 else []
        words += [f"only={self.only}"] if self.only else []
        words += [f"count={self.count}"] if self.count is not None else []
        words += [f"seed={self.seed}"] if self.seed else []
        return " ".join(shlex.quote(word) if re.search(r"[\s'\"]", word) else word for word in words)


def _no_such(kind: str) -> str:
    return f"{kind!r}: no such fault; there are {', '.join(KINDS)}"


def _pattern(only: str) -> re.Pattern[bytes]:
    literal = only.encode("latin-1", "backslashreplace").decode("unicode_escape").encode("latin-1")
    return re.compile(b".*".join(map(re.escape, literal.split(b"*"))), re.DOTALL)


def _share(text: str) -> float:
    return float(text[:-1]) / 100 if text.endswith("%") else float(text)


_LIMITS: dict[str, Callable[[str], Any]] = {"share": _share, "only": str, "count": int, "seed": int}


class Hit:
    """A fault that is on: it remembers how often it still strikes, and draws its own chances."""

    def __init__(self, fault: Fault) -> None:
        """Begin."""
        self.fault = fault
        self.left = fault.count
        # its text is its seed: two faults strike independently, and a further one changes nothing for the others
        self.chance = random.Random(str(fault))

    def strikes(self, message: bytes) -> bool:
        """Return whether it strikes this exchange, and count it if so."""
        if self.left == 0 or not self.fault.pattern.search(message):
            return False
        if self.fault.share < 1 and self.chance.random() >= self.fault.share:
            return False
        if self.left is not None:
            self.left -= 1
        return True


class Faults:
    """The faults of one simulator or proxy; they may be changed at any time.

    The order on a connection is always kept: what follows a late reply waits behind it,
    as behind a busy instrument. Several faults can strike one exchange, in the order in which
    they were added.
    """

    def __init__(self, *faults: Fault | str) -> None:
        """Start with these faults. Raises ValueError for a text that is none."""
        self.connections: set[Droppable] = set()
        """The connections that `disconnect()` cuts; the servers keep it up to date."""
        self.watchers: set[Callable[[], None]] = set()
        """What is called after each change."""
        self._hits: list[Hit] = []
        self._excluded: dict[str, str] = {}
        self.add(*faults)

    @property
    def active(self) -> list[Fault]:
        """The faults that are on; one that has struck `count` times is over."""
        return [hit.fault for hit in self._hits if hit.left != 0]

    @property
    def hung(self) -> bool:
        """Whether nothing is executed and nothing is sent."""
        return any(fault.kind == "mute" and fault.always for fault in self.active)

    @property
    def refusing(self) -> bool:
        """Whether connections are refused."""
        return any(fault.kind == "refuse-connections" for fault in self.active)

    def exclude(self, kind: str, why: str) -> None:
        """Say that this instrument can't have a kind of fault.

        Raises ValueError if it has it already.
        """
        self._excluded[kind] = why
        for fault in self.active:
            self.check(fault)

    def check(self, fault: Fault) -> None:
        """Check that this instrument can have a fault. Raises ValueError."""
        # an instrument that has no refusal of its own can still be told what to say
        if fault.kind in self._excluded and not (fault.kind == "refuse" and fault.value):
            raise ValueError(f"{str(fault)!r}: {self._excluded[fault.kind]}")

    def add(self, *faults: Fault | str) -> None:
        """Switch faults on, all of them or none.

        Raises ValueError for a text that is no fault, and for a fault that this instrument can't have.
        """
        added = [Fault.parse(fault) if isinstance(fault, str) else fault for fault in faults]
        for fault in added:
            self.check(fault)
        self._hits = [hit for hit in self._hits if hit.left != 0] + [Hit(fault) for fault in added]
        self._changed()

    def remove(self, *faults: Fault) -> None:
        """Switch off these very faults, those of them that are on."""
        self._hits = [hit for hit in self._hits if not any(hit.fault is fault for fault in faults)]
        self._changed()

    def clear(self, kind: str | None = None) -> None:
        """Switch off every fault, or every one of a kind. Raises ValueError for a kind that doesn't exist."""
        if kind is not None and kind not in KINDS:
            raise ValueError(_no_such(kind))
        self._hits = [hit for hit in self._hits if kind not in (None, hit.fault.kind)]
        self._changed()

    def disconnect(self, how: str = FIN) -> None:
        """Cut every present connection with a FIN or a RST; clients may connect again at once.

        A pseudo-terminal has no connection: what was still to be sent there is lost.
        Raises ValueError for another ending.
        """
        ending = _ending(how)
        for connection in list(self.connections):
            connection.drop(ending)

    def strike(self, when: str, message: bytes) -> list[Hit]:
        """Return the faults that strike an exchange now, and count them."""
        if not self._hits:
            return []
        return [hit for hit in self._hits if KINDS[hit.fault.kind].when == when and hit.strikes(message)]

    def _changed(self) -> None:
        for watcher in list(self.watchers):
            watcher()
