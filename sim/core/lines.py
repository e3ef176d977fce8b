"""Simulators of instruments that speak lines of text, written as the manual's command table."""

import math
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, ClassVar

from .simulator import Simulator

_Run = Callable[[Any, list[str]], str | None]


class RefusedError(Exception):
    """Raised when the instrument doesn't do what it was told."""


class MalformedError(RefusedError):
    """Raised when the command is unknown, or a parameter is missing or not of its kind."""


class OutOfRangeError(RefusedError):
    """Raised when a parameter has a value that the instrument doesn't take, at least not now."""


@dataclass(frozen=True)
class Field:
    """One parameter: how it is read (raising RefusedError) and how a reply shows it."""

    parse: Callable[[str], Any]
    show: Callable[[Any], str] = str


def integer(low: int, high: int, width: int = 1) -> Field:
    """Return a field for whole numbers from `low` to `high`, shown with `width` digits at least."""

    def parse(text: str) -> int:
        value = _to_float(text)
        if value != int(value) or not low <= value <= high:
            raise OutOfRangeError(text)
        return int(value)

    return Field(parse, lambda value: f"{value:0{width}d}")


def real(low: float = -math.inf, high: float = math.inf, show: Callable[[float], str] | str = "g") -> Field:
    """Return a field for numbers from `low` to `high`, shown by a function or a format such as "+07.1f"."""

    def parse(text: str) -> float:
        value = _to_float(text)
        if not low <= value <= high:
            raise OutOfRangeError(text)
        return value

    return Field(parse, show if callable(show) else lambda value: format(value + 0.0, show))


def string(width: int, *, pad: bool = False) -> Field:
    """Return a field for a text of at most `width` characters, quoted or not; a longer one is cut."""
    return Field(
        lambda raw: raw.removeprefix('"').removesuffix('"')[:width].rstrip(),
        lambda value: value.ljust(width) if pad else value,
    )


def word(*words: str) -> Field:
    """Return a field for one of some words in any case (any word if none is given)."""

    def parse(raw: str) -> str:
        value = raw.upper()
        if words and value not in words:
            raise OutOfRangeError(raw)
        return value

    return Field(parse)


def significant(digits: int) -> Callable[[float], str]:
    """Return a function that shows a number with its sign, so many digits, and the point where it falls."""

    def show(value: float) -> str:
        before_point = max(int(f"{abs(value):.{digits - 1}e}".partition("e")[2]) + 1, 1)
        return f"{value + 0.0:+.{max(digits - before_point, 0)}f}"

    return show


class Command:
    """A decorator that makes a method the answer to one command or query.

    The method gets the parsed parameters, None for one of the last `optional` ones that is
    left off, and returns the reply, or None for silence.
    """

    def __init__(self, header: str, *parameters: Field, optional: int = 0) -> None:
        """Describe the command `header` ("SETP") or query ("SETP?") and its parameters."""
        self._parameters = parameters
        self._required = len(parameters) - optional
        self._method: Callable[..., str | None] = lambda *_: None
        self.commands: dict[str, _Run] = {header: self._run}

    def __call__(self, method: Callable[..., str | None]) -> "Command":
        """Take the method."""
        self._method = method
        return self

    def _run(self, simulator: Any, given: list[str]) -> str | None:
        values = _parsed(self._parameters, given)
        if None in values[: self._required]:
            raise MalformedError("a parameter is missing")
        return self._method(simulator, *values)


class Setting:
    """A command and its query over the same fields: `PID 1,50,20,0` and `PID? 1`.

    The fields' names are attributes of the simulator, or of the simulator's attribute `of`. With
    keys, `of` is a mapping, and a key that isn't in it is out of range; several keys make a tuple.
    A field that is empty or left off keeps its value. `check` may refuse the new values (a dict
    by name) before, `then` may act on the object after they are set.
    """

    def __init__(
        self,
        header: str,
        *keys: Field,
        of: str | None = None,
        check: Callable[..., None] | None = None,
        then: Callable[..., None] | None = None,
        **fields: Field,
    ) -> None:
        """Describe the command `header` with its keys and fields, in the order of the wire."""
        self._keys = keys
        self._of = of
        self._check = check
        self._then = then
        self._fields = fields
        self.commands: dict[str, _Run] = {header: self._set, header + "?": self._get}

    def _get(self, simulator: Any, given: list[str]) -> str:
        if len(given) > len(self._keys):
            raise MalformedError(given)
        target = self._target(simulator, given)
        return ",".join(field.show(getattr(target, name)) for name, field in self._fields.items())

    def _set(self, simulator: Any, given: list[str]) -> None:
        target = self._target(simulator, given)
        values = _parsed(tuple(self._fields.values()), given[len(self._keys) :])
        new = {name: v for name, v in zip(self._fields, values, strict=True) if v is not None}
        if not new:
            raise MalformedError("nothing to set")
        if self._check is not None:
            self._check(simulator, target, new)
        for name, value in new.items():
            setattr(target, name, value)
        if self._then is not None:
            self._then(simulator, target)

    def _target(self, simulator: Any, given: list[str]) -> Any:
        keys = _parsed(self._keys, given[: len(self._keys)])
        if None in keys:
            raise MalformedError("it is not said which one")
        target = simulator if self._of is None else getattr(simulator, self._of)
        if not keys:
            return target
        try:
            return target[keys[0] if len(keys) == 1 else tuple(keys)]
        except KeyError:
            raise OutOfRangeError(f"there is no {keys}") from None


class LineSimulator(Simulator):
    """A simulator whose messages are lines: header, parameters separated by commas.

    The command table is made of `settings` and of the methods decorated with `Command`, of the
    class and of all its bases. Headers are not case-sensitive.
    """

    terminators_in: ClassVar[bytes] = b"\r\n"
    """Each of these bytes ends a line; an empty line is ignored."""
    max_line: ClassVar[int] = 255
    """Characters in a line; a longer one is refused."""
    chain: ClassVar[str | None] = None
    """What separates several commands in one line, and their replies."""
    header: ClassVar[re.Pattern[str]] = re.compile(r":?\s*([^\s?,]+\??)\s*(.*)", re.DOTALL)
    """Splits a command into its header and its parameters."""
    settings: ClassVar[tuple[Setting, ...]] = ()
    """The commands that set and query the same thing."""
    table: ClassVar[dict[str, _Run]] = {}
    """The whole command table, by header."""

    def __init_subclass__(cls, **kwargs: object) -> None:
        """Collect the command table."""
        super().__init_subclass__(**kwargs)
        cls.table = {}
        for part in reversed(cls.__mro__):
            marked = [member for member in vars(part).values() if isinstance(member, Command)]
            for member in (*vars(part).get("settings", ()), *marked):
                cls.table |= member.commands

    def refused(self, reason: RefusedError) -> str | None:
        """Return what the instrument says to a command that it refuses: silence, unless overridden."""

    def ask(self, line: str) -> str:
        """Handle one line as if it had come by wire; return the reply without terminator, "" for silence."""
        reply = self.receive(line.encode("latin-1"))
        return "" if reply is None else reply.removesuffix(self.terminator_out).decode("latin-1")

    def split(self, buffer: bytearray) -> Iterator[bytes]:
        """Yield the complete lines, without their terminators and without empty ones."""
        *lines, rest = re.split(b"[" + re.escape(self.terminators_in) + b"]", bytes(buffer))
        # one byte more than allowed is kept: it makes the line too long, whatever follows
        buffer[:] = rest[: self.max_line + 1]
        for line in lines:
            if line:
                yield line

    def handle(self, message: bytes) -> bytes | None:
        """Execute the command or the chain of commands in a line."""
        replies = list(self._replies(message))
        if not replies:
            return None
        return (self.chain or "").join(replies).encode("latin-1") + self.terminator_out

    def refusal(self, message: bytes) -> bytes | None:
        """Refuse a line whatever it says."""
        reply = self.refused(OutOfRangeError("a fault"))
        return None if reply is None else reply.encode("latin-1") + self.terminator_out

    def _replies(self, message: bytes) -> Iterator[str]:
        line = message.decode("latin-1")
        too_long = len(line) > self.max_line
        parts = (
            [line[: self.max_line]] if too_long or self.chain is None else _split_unquoted(line, self.chain)
        )
        for part in parts:
            part = part.strip()
            if not part:
                continue
            self.log.append(part)
            try:
                if too_long:
                    raise MalformedError(f"a line of more than {self.max_line} characters")
                reply = self._execute(part)
            except RefusedError as reason:
                reply = self.refused(reason)
            if reply is not None:
                yield reply

    def _execute(self, part: str) -> str | None:
        match = self.header.fullmatch(part)
        run = self.table.get(match[1].upper()) if match else None
        if match is None or run is None:
            raise MalformedError(part)
        rest = match[2]
        return run(self, [item.strip() for item in _split_unquoted(rest, ",")] if rest else [])


def _parsed(fields: tuple[Field, ...], given: list[str]) -> list[Any]:
    if any(given[len(fields) :]):
        raise MalformedError("too many parameters")
    values = [field.parse(raw) if raw else None for field, raw in zip(fields, given, strict=False)]
    return values + [None] * (len(fields) - len(values))


def _to_float(raw: str) -> float:
    try:
        value = float(raw)
    except ValueError:
        raise MalformedError(raw) from None
    if not math.isfinite(value):
        raise MalformedError(raw)
    return value


def _split_unquoted(line: str, separator: str) -> list[str]:
    if '"' not in line:
        return line.split(separator)
    parts = [""]
    for index, piece in enumerate(line.split('"')):
        if index % 2:
            parts[-1] += f'"{piece}"'
        else:
            first, *others = piece.split(separator)
            parts[-1] += first
            parts.extend(others)
    return parts
