"""SCPI: simulators written as the command summary of their manual, in its own notation.

Sources: IEEE 488.2-1992 (syntax, status, common commands), SCPI-1999 volume 1 (headers, paths, numbers) and volume 2
(SYSTem:ERRor, STATus).

A line of the table begins with a header as the manual prints it. Capitals are the short form, brackets hold what
may be left off, braces what there is a choice of, ``<n>`` is a numeric suffix that matters, and behind a blank stand
the parameters, for whoever reads::

    Setting("[:SOURce[1]]:VOLTage[:LEVel][:IMMediate][:AMPLitude] <n>", "volts", number(-210, 210, unit="V"))
    Setting(":CHANnel<n>:SCALe <n>", "scale", number(1e-3, 10), of="channels")
"""

import re
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, ClassVar

from .core import Clock, Faults, Simulator
from .core.scpi_parameters import (
    ERRORS,
    Parameter,
    ScpiError,
    boolean,
    choice,
    exponential,
    integer,
    matches,
    number,
    short,
    string,
)

__all__ = [
    "ERRORS",
    "Command",
    "Parameter",
    "Register",
    "ScpiError",
    "ScpiSimulator",
    "Setting",
    "StatusRegister",
    "boolean",
    "choice",
    "exponential",
    "integer",
    "matches",
    "number",
    "short",
    "string",
]

OPERATION_COMPLETE, QUERY_ERROR, DEVICE_ERROR, EXECUTION_ERROR, COMMAND_ERROR, POWER_ON = 1, 4, 8, 16, 32, 128
"""Bits of the standard event register (*ESR?)."""
ERROR_AVAILABLE, EVENT_SUMMARY, MASTER_SUMMARY = 4, 32, 64
"""Bits of the status byte (*STB?)."""

# Lines of the table


def _pattern(header: str) -> str:
    """Return the regular expression of a header in the manual's notation, for a header in capitals."""

    def token(found: re.Match[str]) -> str:
        text = found[0]
        if text == "[":
            return "(?:"
        if text in ("]", "{", "|", "}"):
            return {"]": ")?", "{": "(?:", "|": "|", "}": ")"}[text]
        if text[0] == "<":
            return r"(\d*)"
        if text[0].isalpha():
            rest = text.upper().removeprefix(short(text))
            return short(text) + (f"(?:{rest})?" if rest else "")
        return re.escape(text)

    return re.sub(r"<\w+>|[A-Za-z_]+|.", token, header)


Run = Callable[[Any, list[int], list[str]], str | None]


@dataclass(frozen=True)
class Line:
    """One header, or its query, and what it does with its suffixes and parameters."""

    header: str
    run: Run

    @property
    def pattern(self) -> re.Pattern[str]:
        """What a header in capitals, with its leading colon, must match."""
        return re.compile(_pattern(self.header))


class Command:
    """A decorator that makes a method one line of the table: a command, or a query if the header ends with ``?``.

    The method gets the suffixes of the header, then the parameters, None for one of the last `optional` ones that is
    left off; with `rest`, any further ones are read by the last parameter. It returns the reply, or None.
    """

    def __init__(self, header: str, *parameters: Parameter, optional: int = 0, rest: bool = False) -> None:
        """Describe the line as the manual does; the parameters in it are for the reader."""
        self._parameters = parameters
        self._required = len(parameters) - optional
        self._rest = rest
        self._method: Callable[..., str | None] = lambda *_: None
        self.lines = (Line(header.partition(" ")[0], self._run),)

    def __call__(self, method: Callable[..., str | None]) -> "Command":
        """Take the method."""
        self._method = method
        return self

    def _run(self, simulator: Any, suffixes: list[int], given: list[str]) -> str | None:
        parameters = self._parameters
        if self._rest:
            parameters += (parameters[-1],) * (len(given) - len(parameters))
        if len(given) > len(parameters):
            raise ScpiError(-108)
        if len(given) < self._required:
            raise ScpiError(-109)
        values = [parameter.read(text) for parameter, text in zip(parameters, given, strict=False)]
        missing = len(self._parameters) - len(values)
        return self._method(simulator, *suffixes, *values, *[None] * missing)


class Setting:
    """A command and its query over one attribute: ``:VOLT 5``, ``:VOLT?``, ``:VOLT? MAX``.

    The attribute, which may have dots in it, is the simulator's, or that of its attribute `of`: with a suffix in the
    header, `of` is a mapping by suffix, and one that isn't in it is out of range. `adjust` gets the simulator, the
    object and the new value, and returns the one to keep, or raises ScpiError. `then` gets the simulator and the
    object once it is set. With `many`, there may be any number of values, one at least, kept as a tuple.
    """

    def __init__(
        self,
        header: str,
        attribute: str,
        parameter: Parameter,
        *,
        of: str = "",
        adjust: Callable[[Any, Any, Any], Any] | None = None,
        then: Callable[[Any, Any], None] | None = None,
        many: bool = False,
    ) -> None:
        """Describe the line as the manual does."""
        head = header.partition(" ")[0]
        *self._path, self._name = attribute.split(".")
        self._parameter = parameter
        self._of = of.split(".") if of else []
        self._adjust = adjust
        self._then = then
        self._many = many
        self.lines = (Line(head, self._set), Line(head + "?", self._get))

    def _target(self, simulator: Any, suffixes: list[int]) -> Any:
        target = simulator
        for name in self._of:
            target = getattr(target, name)
        for suffix in suffixes:
            if suffix not in target:
                raise ScpiError(-114)
            target = target[suffix]
        for name in self._path:
            target = getattr(target, name)
        return target

    def _set(self, simulator: Any, suffixes: list[int], given: list[str]) -> None:
        target = self._target(simulator, suffixes)
        if len(given) != 1 and not (self._many and given):
            raise ScpiError(-108 if given else -109)
        values = tuple(self._parameter.read(text) for text in given)
        value = values if self._many else values[0]
        if self._adjust is not None:
            value = self._adjust(simulator, target, value)
        setattr(target, self._name, value)
        if self._then is not None:
            self._then(simulator, target)

    def _get(self, simulator: Any, suffixes: list[int], given: list[str]) -> str:
        target = self._target(simulator, suffixes)
        if len(given) > 1:
            raise ScpiError(-108)
        value = getattr(target, self._name)
        if self._many:
            return ",".join(map(self._parameter.show, value))
        if given:
            value = self._parameter.special(given[0])
            if value is None:
                raise ScpiError(-108 if self._parameter.bounds is None else -224)
        return self._parameter.show(value)


@dataclass
class Register:
    """A status register: what is the case, what has happened since it was read, and what the status byte tells of."""

    summary: int
    """Its bit in the status byte."""
    condition: int = 0
    event: int = 0
    enable: int = 0

    def set(self, bits: int, on: bool = True) -> None:
        """Let bits of the condition be on or off; what comes on is an event."""
        now = self.condition | bits if on else self.condition & ~bits
        self.event |= now & ~self.condition
        self.condition = now

    def read(self) -> int:
        """Return the event register and clear it."""
        event, self.event = self.event, 0
        return event


class StatusRegister:
    """The lines of a status register: ``:STATus:OPERation[:EVENt]?``, ``:CONDition?``, ``:ENABle <n>``."""

    def __init__(self, header: str, attribute: str) -> None:
        """Describe the register that is the simulator's `attribute`, below `header`."""

        def event(simulator: Any, suffixes: list[int], given: list[str]) -> str:
            return str(getattr(simulator, attribute).read())

        def condition(simulator: Any, suffixes: list[int], given: list[str]) -> str:
            return str(getattr(simulator, attribute).condition)

        enable = Setting(f"{header}:ENABle <n>", "enable", integer(0, 65535), of=attribute)
        self.lines = (
            Line(f"{header}[:EVENt]?", event),
            Line(f"{header}:CONDition?", condition),
            *enable.lines,
        )


class ScpiSimulator(Simulator):
    """A simulator of an instrument that speaks SCPI.

    The command table is made of `settings` and of the methods decorated with `Command`, of the class and of all its
    bases. An error makes no answer: it goes to the error queue, and sets a bit of the event register.
    """

    terminator_out = b"\n"
    terminators_in: ClassVar[bytes] = b"\n"
    """Each of these bytes ends a message; a CR before it is a blank."""
    max_line: ClassVar[int] = 4096
    """Bytes in a message; a longer one is refused."""
    error_texts: ClassVar[dict[int, str]] = ERRORS
    """The instrument's texts, by code."""
    max_errors: ClassVar[int] = 10
    """What the error queue holds; the last place says that there were more."""
    ends_at_error: ClassVar[bool] = True
    """Whether what follows a refused command in the same message is ignored."""
    table: ClassVar[tuple[tuple[re.Pattern[str], Line], ...]] = ()
    """The whole command table."""

    def __init__(self, *, clock: Clock | None = None, faults: Faults | None = None) -> None:
        """Start with the power-on event set, and no error."""
        super().__init__(clock=clock, faults=faults)
        self.events = POWER_ON
        self.event_enable = 0
        self.service_enable = 0
        self.errors: deque[tuple[int, str]] = deque()
        self.operation = Register(128)
        self.questionable = Register(8)

    def __init_subclass__(cls, **kwargs: object) -> None:
        """Collect the command table; what a class says goes before what its bases say."""
        super().__init_subclass__(**kwargs)
        lines: list[Line] = []
        for part in cls.__mro__:
            marked = [member for member in vars(part).values() if isinstance(member, Command)]
            for member in (*vars(part).get("settings", ()), *marked):
                lines.extend(member.lines)
        cls.table = tuple((line.pattern, line) for line in lines)

    # What a subclass says

    @property
    def identity(self) -> str:
        """The reply to *IDN?."""
        raise NotImplementedError

    def reset(self) -> None:
        """Do what the manual says of *RST."""
        raise NotImplementedError

    def trigger(self) -> None:
        """Do what the manual says of *TRG."""

    def self_test(self) -> str:
        """Return the reply to *TST?."""
        return "0"

    @property
    def registers(self) -> Sequence[Register]:
        """The status registers below the status byte."""
        return self.operation, self.questionable

    def event_of(self, code: int) -> int:
        """Return the bit of the standard event register that an error sets."""
        for lowest, bit in ((-199, COMMAND_ERROR), (-299, EXECUTION_ERROR), (-399, DEVICE_ERROR)):
            if lowest <= code < 0:
                return bit
        return QUERY_ERROR if -499 <= code < 0 else DEVICE_ERROR

    # The error queue

    def error(self, code: int) -> None:
        """Put an error into the queue, as a command or a key at the front panel does."""
        self.events |= self.event_of(code)
        if len(self.errors) < self.max_errors:
            self.errors.append((code, self.error_texts[code]))
        else:
            self.errors[-1] = (-350, self.error_texts[-350])

    def next_error(self) -> str:
        """Take the oldest error from the queue, as it is answered."""
        code, text = self.errors.popleft() if self.errors else (0, self.error_texts[0])
        return f'{code},"{text}"'

    def all_errors(self) -> str:
        """Take all errors from the queue."""
        return ",".join([self.next_error(), *(self.next_error() for _ in range(len(self.errors)))])

    # The wire

    def ask(self, line: str) -> str:
        """Handle one message as if it had come by wire; return the reply without terminator, "" for silence."""
        reply = self.receive(line.encode("latin-1"))
        return "" if reply is None else reply.removesuffix(self.terminator_out).decode("latin-1")

    def split(self, buffer: bytearray) -> Iterator[bytes]:
        """Yield the complete messages, without their terminators and without empty ones."""
        *lines, rest = re.split(b"[" + re.escape(self.terminators_in) + b"]", bytes(buffer))
        # one byte more than allowed is kept: it makes the message too long, whatever follows
        buffer[:] = rest[: self.max_line + 1]
        for line in lines:
            if line.strip():
                yield line

    def handle(self, message: bytes) -> bytes | None:
        """Execute the commands in a message; the replies come in one line, with ``;`` between them."""
        replies: list[str] = []
        try:
            self._execute_all(message.decode("latin-1"), replies)
        except ScpiError as error:
            self.error(error.code)
        return ";".join(replies).encode("latin-1") + self.terminator_out if replies else None

    def refusal(self, message: bytes) -> bytes | None:
        """Refuse a message whatever it says."""
        self.error(-200)
        return None

    def _execute_all(self, text: str, replies: list[str]) -> None:
        if len(text) > self.max_line:
            raise ScpiError(-363)
        path = ""
        for unit in filter(None, map(str.strip, split_outside(text, ";"))):
            self.log.append(unit)
            try:
                found = _UNIT.fullmatch(unit)
                if found is None:
                    raise ScpiError(-102)
                header, rest = found[1].upper().replace(":*", "*"), found[2]
                if header[0] not in ":*":
                    header = f"{path}:{header}"
                if header[0] == ":":
                    path = header.rpartition(":")[0]
                line, suffixes = self.find(header)
                reply = line.run(self, suffixes, _items(rest))
            except ScpiError as error:
                if self.ends_at_error:
                    raise
                self.error(error.code)
            else:
                if reply is not None:
                    replies.append(reply)

    @classmethod
    @lru_cache(4096)
    def find(cls, header: str) -> tuple[Line, list[int]]:
        """Return the line of a header in capitals, from the root, and its suffixes. Raises ScpiError."""
        for pattern, line in cls.table:
            if found := pattern.fullmatch(header):
                return line, [int(suffix or 1) for suffix in found.groups()]
        bare = re.sub(r"\d+(?=:|\??$)", "", header)
        known = bare != header and any(pattern.fullmatch(bare) for pattern, _ in cls.table)
        raise ScpiError(-114 if known else -113)

    # IEEE 488.2 common commands, and what SCPI wants of all instruments

    def status(self) -> int:
        """Return the status byte, without the message that is about to be sent."""
        summary = EVENT_SUMMARY if self.events & self.event_enable else 0
        summary |= ERROR_AVAILABLE if self.errors else 0
        for register in self.registers:
            summary |= register.summary if register.event & register.enable else 0
        return summary | (MASTER_SUMMARY if summary & self.service_enable else 0)

    @Command("*CLS")
    def _cls(self) -> None:
        self.events = 0
        self.errors.clear()
        for register in self.registers:
            register.event = 0

    @Command("*ESR?")
    def _esr(self) -> str:
        events, self.events = self.events, 0
        return str(events)

    @Command("*IDN?")
    def _idn(self) -> str:
        return self.identity

    @Command("*OPC")
    def _opc(self) -> None:
        self.events |= OPERATION_COMPLETE

    @Command("*OPC?")
    def _opc_query(self) -> str:
        return "1"

    @Command("*RST")
    def _rst(self) -> None:
        self.reset()

    @Command("*STB?")
    def _stb(self) -> str:
        return str(self.status())

    @Command("*TRG")
    def _trg(self) -> None:
        self.trigger()

    @Command("*TST?")
    def _tst(self) -> str:
        return self.self_test()

    @Command("*WAI")
    def _wai(self) -> None:
        """Nothing is ever pending."""

    @Command(":STATus:PRESet")
    def _preset(self) -> None:
        for register in self.registers:
            register.enable = 0

    @Command(":SYSTem:ERRor[:NEXT]?")
    def _error(self) -> str:
        return self.next_error()

    settings: ClassVar[tuple[Setting | StatusRegister, ...]] = (
        Setting("*ESE <n>", "event_enable", integer(0, 255)),
        Setting("*SRE <n>", "service_enable", integer(0, 255)),
        StatusRegister(":STATus:OPERation", "operation"),
        StatusRegister(":STATus:QUEStionable", "questionable"),
    )


_UNIT = re.compile(r"(:?\*?[A-Za-z][\w:]*\??)(?:\s+(.*))?", re.DOTALL)


def _items(text: str | None) -> list[str]:
    return [item.strip() for item in split_outside(text, ",")] if text else []


def split_outside(text: str, separator: str) -> list[str]:
    """Split a text where the separator stands outside of quotes and brackets."""
    if not any(sign in text for sign in "'\"("):
        return text.split(separator)
    parts, depth, quote = [""], 0, ""
    for character in text:
        if quote:
            quote = "" if character == quote else quote
        elif character in "'\"":
            quote = character
        else:
            depth += (character == "(") - (character == ")")
            if character == separator and depth <= 0:
                parts.append("")
                continue
        parts[-1] += character
    return parts
