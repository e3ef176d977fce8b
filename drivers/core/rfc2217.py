"""RFC 2217: a serial line at a device server, whose settings are made over Telnet.

`Telnet` is the protocol without I/O: bytes in, events out. `ComPort` stands between a TCP transport and an exchanger:
it negotiates, then carries the data, escaped. A server that does not take a setting is an error at connect,
not a line of garbage later.
"""

from __future__ import annotations

import asyncio
import logging
import re
from collections.abc import Callable
from typing import Any, NamedTuple
from urllib.parse import SplitResult

from .echo import EchoExchanger
from .errors import LinkDown
from .exchanger import Exchanger, StreamExchanger
from .framing import Framer
from .line_settings import LineSettings, line_settings
from .links import connect_tcp
from .wire import Wire

log = logging.getLogger(__name__)

ANSWER_TIMEOUT = (
    1.0  # for each step of the negotiation, seconds; below the port's for a connection, to say which
)
MAX_COMMAND = 1024  # the longest Telnet command that is taken in, bytes
MAX_ANSWERS = 1 << 20  # the most that waits for a server which asks and does not read, bytes

BINARY, SUPPRESS_GO_AHEAD, COM_PORT = 0, 3, 44
_SE, _SB, _WILL, _WONT, _DO, _DONT = 240, 250, 251, 252, 253, 254
_IAC = b"\xff"

_TOKEN = re.compile(
    rb"(?P<data>(?:[^\xff]|\xff\xff)++)"
    rb"|\xff(?P<verb>[\xfb-\xfe])(?P<option>.)"
    rb"|\xff\xfa(?P<sub>(?:[^\xff]|\xff\xff)*+)\xff\xf0"
    rb"|\xff(?P<other>[^\xfa-\xff])",
    re.DOTALL,
)
_BROKEN_SUB = re.compile(rb"\xff\xfa(?:[^\xff]|\xff\xff)*+\xff[^\xf0\xff]", re.DOTALL)


class TelnetError(Exception):
    """Raised when the bytes are not Telnet's."""


class Agreed(NamedTuple):
    """An option was agreed on or off, for what this side sends or for what the other does."""

    ours: bool
    option: int
    on: bool


class Command(NamedTuple):
    """A subnegotiation of an option."""

    option: int
    payload: bytes


class Telnet:
    """The client's side of Telnet, without I/O: bytes in, data and events out.

    Args:
        options: what is agreed to if the other side proposes it; all else is refused.
    """

    def __init__(self, options: frozenset[int]) -> None:
        self._options = options
        self._asked: set[tuple[bool, int]] = set()
        self._on: set[tuple[bool, int]] = set()
        self._rest = b""
        self._answers = bytearray()

    def ask(self, *, ours: bool, option: int) -> None:
        """Propose an option, for this side or for the other."""
        self._asked.add((ours, option))
        self._answers += bytes((255, _WILL if ours else _DO, option))

    def answers(self) -> bytes:
        """Return what is to be sent to the other side, and forget it."""
        answers = bytes(self._answers)
        self._answers.clear()
        return answers

    def feed(self, data: bytes) -> list[bytes | Agreed | Command]:
        """Take bytes, cut anywhere; return the data and the events in them, in their order.

        Raises TelnetError if they are not Telnet's.
        """
        if not self._rest and _IAC not in data:
            return [data] if data else []
        buffer = self._rest + data
        events: list[bytes | Agreed | Command] = []
        at = 0
        while token := _TOKEN.match(buffer, at):
            at = token.end()
            if token["data"] is not None:
                events.append(token["data"].replace(_IAC * 2, _IAC))
            elif token["verb"] is not None:
                events += self._negotiate(token["verb"][0], token["option"][0])
            elif token["sub"]:
                payload = token["sub"].replace(_IAC * 2, _IAC)
                events.append(Command(payload[0], payload[1:]))
        self._rest = buffer[at:]
        if len(self._rest) > MAX_COMMAND or _BROKEN_SUB.match(self._rest):
            raise TelnetError(f"no Telnet command: {self._rest[:80]!r}")
        return events

    def _negotiate(self, verb: int, option: int) -> list[Agreed]:
        ours = verb in (_DO, _DONT)
        key = (ours, option)
        if verb in (_WILL, _DO):
            if key in self._on:
                return []
            if key in self._asked:
                self._asked.discard(key)
            elif option in self._options:
                self._answers += bytes((255, _WILL if ours else _DO, option))
            else:
                self._answers += bytes((255, _WONT if ours else _DONT, option))
                return []
            self._on.add(key)
            return [Agreed(ours, option, True)]
        if key in self._on:
            self._on.discard(key)
            self._answers += bytes((255, _WONT if ours else _DONT, option))
        elif key in self._asked:
            self._asked.discard(key)
        else:
            return []
        return [Agreed(ours, option, False)]


def escape(data: bytes) -> bytes:
    """Return data as they stand in a Telnet stream."""
    return data.replace(_IAC, _IAC * 2)


def command(option: int, payload: bytes) -> bytes:
    """Return a subnegotiation as it stands in a Telnet stream."""
    return bytes((255, _SB)) + escape(bytes((option,)) + payload) + bytes((255, _SE))


# What RFC 2217 adds

_NEEDED = ((True, COM_PORT), (True, BINARY), (False, BINARY))
_USEFUL = ((True, SUPPRESS_GO_AHEAD), (False, SUPPRESS_GO_AHEAD))
_PARITIES = {"N": 1, "O": 2, "E": 3, "M": 4, "S": 5}
_STOPBITS = {1: 1, 2: 2, 1.5: 3}
_SET_BAUDRATE, _SET_DATASIZE, _SET_PARITY, _SET_STOPSIZE, _SET_CONTROL = 1, 2, 3, 4, 5
_SET_LINESTATE_MASK, _SET_MODEMSTATE_MASK, _PURGE = 10, 11, 12
_FROM_SERVER = 100
_LINESTATE, _SUSPEND, _RESUME = 106, 108, 109
_LINE_ERRORS = {2: "an overrun", 4: "a wrong parity", 8: "a framing error", 16: "a break"}
_CONTROLS = {
    1: "no flow control",
    2: "xonxoff=1",
    3: "rtscts=1",
    5: "a break",
    6: "the end of a break",
    8: "dtr=1",
    9: "dtr=0",
    11: "rts=1",
    12: "rts=0",
    18: "dsrdtr=1 (DTR)",
    19: "dsrdtr=1 (DSR)",
}


class _Request(NamedTuple):
    """A setting asked of the server, which answers with what it has."""

    code: int
    value: bytes
    show: Callable[[bytes], str]

    def __str__(self) -> str:
        return self.show(self.value)


def _named(name: str, values: dict[Any, int]) -> Callable[[bytes], str]:
    names = {code: value for value, code in values.items()}
    return lambda answer: f"{name}={names.get(int.from_bytes(answer, 'big'), repr(answer))}"


def _control(code: int) -> _Request:
    def show(answer: bytes) -> str:
        return _CONTROLS.get(int.from_bytes(answer, "big"), f"SET-CONTROL {answer!r}")

    return _Request(_SET_CONTROL, bytes((code,)), show)


_BREAK, _END_OF_BREAK = _control(5), _control(6)


def _settings_of_line(settings: LineSettings) -> list[_Request]:
    flow = [2] if settings.xonxoff else [3] if settings.rtscts else [19, 18] if settings.dsrdtr else [1]
    levels = [{None: 0, True: 8, False: 9}[settings.dtr], {None: 0, True: 11, False: 12}[settings.rts]]
    return [
        _Request(
            _SET_BAUDRATE,
            settings.baudrate.to_bytes(4, "big"),
            lambda answer: f"baudrate={int.from_bytes(answer, 'big')}",
        ),
        _Request(
            _SET_DATASIZE,
            bytes((settings.bytesize,)),
            lambda answer: f"bytesize={int.from_bytes(answer, 'big')}",
        ),
        _Request(_SET_PARITY, bytes((_PARITIES[settings.parity],)), _named("parity", _PARITIES)),
        _Request(_SET_STOPSIZE, bytes((_STOPBITS[settings.stopbits],)), _named("stopbits", _STOPBITS)),
        *(_control(code) for code in flow + levels if code),
    ]


class ComPort(asyncio.Transport, asyncio.Protocol):
    """A serial line behind a device server: a protocol for the TCP transport, a transport for the exchanger.

    Args:
        exchanger: gets the data, once the line is set up.
    """

    def __init__(self, exchanger: StreamExchanger) -> None:
        super().__init__()
        self._exchanger = exchanger
        self._telnet = Telnet(frozenset((BINARY, SUPPRESS_GO_AHEAD, COM_PORT)))
        self._tcp: asyncio.Transport | None = None
        # what the server has not agreed to or answered yet, and who waits for it
        self._options = set(_NEEDED)
        self._requests: list[_Request] = []
        self._done: asyncio.Future[None] | None = None
        self._purging = False
        self._carries = False
        self._suspended = False
        self._held = bytearray()
        self._line_errors: set[str] = set()
        self._error: Exception | None = None

    # The negotiation

    async def set_up(self, settings: LineSettings) -> None:
        """Negotiate, set the line, and purge what is left from an earlier connection.

        Raises LinkDown if the server refuses, has another setting than the one asked for, or does not answer.
        """
        await self._answered(
            b"",
            "no agreement on Telnet's COM-PORT and BINARY options: is it an RFC 2217 server?"
            " A port that carries nothing but data is tcp://",
        )
        masks = ((_SET_LINESTATE_MASK, sum(_LINE_ERRORS)), (_SET_MODEMSTATE_MASK, 0))
        await self._ask(
            *_settings_of_line(settings), before=b"".join(command(COM_PORT, bytes(mask)) for mask in masks)
        )
        if settings.break_on_connect:
            await self._ask(_BREAK)
            await asyncio.sleep(settings.break_on_connect)
            await self._ask(_END_OF_BREAK)
        self._purging = True
        await self._ask(_Request(_PURGE, b"\x03", lambda answer: f"a purge of {answer!r}"))

    async def _ask(self, *requests: _Request, before: bytes = b"") -> None:
        self._requests = list(requests)
        said = b"".join(command(COM_PORT, bytes((request.code,)) + request.value) for request in requests)
        await self._answered(before + said, "")

    async def _answered(self, said: bytes, silence: str) -> None:
        if self._error is None:
            self._write(said)
            self._done = asyncio.get_running_loop().create_future()
            self._step_done()
            try:
                async with asyncio.timeout(ANSWER_TIMEOUT):
                    await self._done
            except TimeoutError:
                what = silence or f"no answer to {', '.join(map(str, self._requests))}"
                raise LinkDown(f"{what} (within {ANSWER_TIMEOUT:g} s)") from None
        if self._error is not None:
            raise self._error

    def _step_done(self) -> None:
        if self._options or self._requests or self._done is None or self._error is not None:
            return
        if not self._done.done():
            self._done.set_result(None)
        if self._purging and not self._carries:
            self._carries = True
            self._exchanger.connection_made(self)

    def _fail(self, error: Exception) -> None:
        self._error = self._error or error
        if self._done is not None and not self._done.done():
            self._done.set_result(None)
        if self._tcp is not None:
            self._tcp.abort()

    # What TCP calls

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keep the transport, and propose what is needed, before the server says anything."""
        assert isinstance(transport, asyncio.Transport)
        self._tcp = transport
        for ours, option in _NEEDED + _USEFUL:
            self._telnet.ask(ours=ours, option=option)
        self._write(self._telnet.answers())

    def data_received(self, data: bytes) -> None:
        """Pass on the data, take in the rest."""
        try:
            events = self._telnet.feed(data)
        except TelnetError as error:
            self._fail(LinkDown(f"the server breaks Telnet: {error}"))
            return
        for event in events:
            match event:
                case bytes():
                    if self._carries:
                        self._exchanger.data_received(event)
                case Agreed():
                    self._agreed(event)
                case Command(option, payload) if option == COM_PORT and payload:
                    self._commanded(payload[0], payload[1:])
        self._write(self._telnet.answers())
        if self._tcp is not None and self._tcp.get_write_buffer_size() > MAX_ANSWERS:
            self._fail(LinkDown("the server asks and does not read"))

    def connection_lost(self, exc: Exception | None) -> None:
        """Tell whoever waits."""
        if self._carries:
            self._exchanger.connection_lost(self._error or exc)
        self._fail(exc or LinkDown("the server closed the connection before the line was set up"))

    def _agreed(self, event: Agreed) -> None:
        log.debug("%s", event)
        if event.on:
            self._options.discard((event.ours, event.option))
            self._step_done()
        elif event.option == BINARY:
            self._fail(LinkDown("the server refuses Telnet's BINARY option: it would change bytes"))
        elif event.option == COM_PORT and event.ours:
            self._fail(
                LinkDown(
                    "the server refuses RFC 2217 (Telnet's COM-PORT option); a port that carries nothing but data is"
                    " tcp://"
                )
            )

    def _commanded(self, code: int, value: bytes) -> None:
        log.debug("RFC 2217: %d %r", code, value)
        if code == _SUSPEND:
            self._suspended = True
        elif code == _RESUME:
            self._suspended = False
            held, self._held = bytes(self._held), bytearray()
            self._write(held)
        elif code == _LINESTATE:
            found = {
                text for bit, text in _LINE_ERRORS.items() if value and value[0] & bit
            } - self._line_errors
            self._line_errors |= found
            for text in sorted(found):
                peer = self._tcp.get_extra_info("peername") if self._tcp is not None else None
                log.warning(
                    "the device server %s sees %s: are speed and parity of its line right?", peer, text
                )
        for request in self._requests:
            if request.code + _FROM_SERVER == code:
                self._requests.remove(request)
                # gensio 2 (Debian 12's ser2net) says that a break goes on which has ended
                if value != request.value and request != _END_OF_BREAK:
                    self._fail(LinkDown(f"asked for {request}, but the server has {request.show(value)}"))
                self._step_done()
                return

    # What the exchanger calls

    def write(self, data: bytes | bytearray | memoryview[Any]) -> None:
        """Send data, when the server takes them."""
        said = escape(bytes(data))
        if self._suspended:
            self._held += said
        else:
            self._write(said)

    def get_write_buffer_size(self) -> int:
        """Return how many bytes the server has not taken; the exchanger bounds them."""
        return len(self._held) + (self._tcp.get_write_buffer_size() if self._tcp is not None else 0)

    def abort(self) -> None:
        """Close at once."""
        if self._tcp is not None:
            self._tcp.abort()

    def _write(self, said: bytes) -> None:
        if said and self._tcp is not None and not self._tcp.is_closing():
            self._tcp.write(said)


async def open_rfc2217(parts: SplitResult, framer: Callable[[], Framer], wire: Wire) -> Exchanger:
    """Connect to a device server and set up its line. The caller bounds the wait.

    Raises LinkDown if the server refuses, and OSError if there is none.
    """
    settings = line_settings(parts)
    exchanger = (EchoExchanger if settings.echo else StreamExchanger)(framer(), wire)
    port = await connect_tcp(parts, lambda: ComPort(exchanger))
    try:
        await port.set_up(settings)
    except BaseException:
        port.abort()
        raise
    return exchanger
