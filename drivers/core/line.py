"""Lines: a link to one instrument, or to several that share a wire, and whose turn it is on it."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
from collections import deque
from collections.abc import AsyncIterator, Callable
from enum import IntEnum
from typing import TYPE_CHECKING

from .errors import AddressError, LabiocError, LinkDown, PortBusy, ReplyError, TruncatedReply
from .exchanger import Exchanger
from .framing import Framer
from .links import baudrate_of, framing_of, open_link, parse
from .protocol import Protocol
from .wire import Wire

if TYPE_CHECKING:
    from .port import Port


class Row(IntEnum):
    """Those who wait for a turn stand in three rows: who mends the link, who writes, who reads."""

    FENCE = 0
    WRITE = 1
    READ = 2


WRITES_IN_A_ROW = 8  # then a read that waits has a turn, so that a flood of puts doesn't starve the readings


class Turn:
    """A place in a row, and then the right to use the line until it is released or the connection is cut."""

    __slots__ = ("given", "port")

    def __init__(self, port: Port) -> None:
        self.port = port
        self.given: asyncio.Future[None] | None = None


class Connection:
    """An open link and the ports that use it.

    Attributes:
        exchanger: what carries the messages.
        lost: done when the connection is gone.
        holders: the ports that use it.
    """

    def __init__(self, exchanger: Exchanger) -> None:
        self.exchanger = exchanger
        self.lost: asyncio.Future[None] = asyncio.ensure_future(exchanger.wait_lost())
        self.holders: set[Port] = set()

    async def close(self) -> None:
        """Close at once."""
        self.lost.cancel()
        await self.exchanger.close()


class Line:
    """One link. Drivers of instruments at several addresses are given one line in place of a URL.

    Args:
        url: where it is.

    Attributes:
        spent: how long exchanges took so far, seconds.
        quiet_until: before then nothing may be sent, in seconds of `time.perf_counter`.
        ports: the ports on it.
        wire: what goes over it.

    Raises AddressError for a URL that can't be right.
    """

    def __init__(self, url: str) -> None:
        self.url = url
        self._holder: Turn | None = None
        self.spent = 0.0
        self.quiet_until = 0.0
        self.ports: list[Port] = []
        self.wire = Wire(url)
        self._parts = parse(url)
        self._connection: Connection | None = None
        self._opening = asyncio.Lock()
        self._rows: tuple[deque[Turn], ...] = tuple(deque() for _ in Row)
        self._writes = 0
        self._turns = itertools.count(1)
        self._latest: dict[Port, int] = {}
        self._framer: Framer | None = None

    @property
    def scheme(self) -> str:
        """The kind of link."""
        return self._parts.scheme

    @property
    def framing(self) -> str:
        """How messages are framed on it: what the URL says, or else its scheme."""
        return framing_of(self._parts)

    def gap(self, protocol: Protocol) -> float:
        """Return the silence that an instrument wants between two exchanges on this line, seconds."""
        return protocol.gap(self.scheme, baudrate_of(self._parts))

    def sealed(self, message: bytes) -> bytes:
        """Return a message as it goes over the present connection, to be sent next."""
        return message if self._framer is None else self._framer.seal(message)

    @property
    def is_shared(self) -> bool:
        """Whether several instruments are on it."""
        return len(self.ports) > 1

    def attach(self, port: Port) -> None:
        """Put an instrument on the line.

        Raises AddressError if it can't share the line with those that are on it.
        """
        if not self.ports and not self.wire.listeners:
            self.wire = Wire(port.name)
        parts = parse(self.url, port.protocol.serial)
        framing = framing_of(parts)
        if framing not in (parts.scheme, *port.protocol.framings):
            known = ", ".join(port.protocol.framings) or "none"
            raise AddressError(f"{port.name}: {self.url}: framing={framing}; expected {known}")
        for other in self.ports:
            both = f"{port.name} and {other.name} can't share {self.url}"
            if other.address == port.address:
                raise AddressError(f"{both}: both have the address {port.address!r}")
            if other.protocol.cut != port.protocol.cut:
                raise AddressError(f"{both}: their messages are cut in different ways")
            if parts != self._parts:
                raise AddressError(
                    f"{both}: they want other settings of the line; give them in the URL, for both"
                )
            for each in (port, other):
                if not each.protocol.names_replies:
                    raise AddressError(f"{both}: the replies of {each.name} don't name it (match=)")
        self._parts = parts
        self.ports.append(port)

    def detach(self, port: Port) -> None:
        """Take an instrument off the line."""
        if port in self.ports:
            self.ports.remove(port)
            self._latest.pop(port, None)

    # The connection

    async def hold(self, port: Port) -> Connection:
        """Return the connection, opened if there is none.

        Raises LinkDown.
        """
        limit = port.protocol.connect_timeout
        try:
            async with asyncio.timeout(limit), self._opening:
                if self._connection is not None and port.routes and not isinstance(self._framer, _Routing):
                    await self.cut(self._connection)  # it was opened for those to whom nothing comes unasked
                if self._connection is None or self._connection.lost.done():
                    self._connection = await self._open(port)
        except TimeoutError:
            raise LinkDown(f"no connection to {self.url} within {limit:g} s") from None
        except LinkDown as error:
            raise LinkDown(f"{error} ({self.url})") from None
        self._connection.holders.add(port)
        return self._connection

    async def _open(self, port: Port) -> Connection:
        def framer() -> Framer:
            made = port.protocol.framer(self.framing)
            if any(other.routes for other in self.ports):
                made = _Routing(made, self._route)
            self._framer = made
            return made

        return Connection(await open_link(self._parts, framer, self.wire))

    async def let_go(self, port: Port, connection: Connection) -> None:
        """Close a connection, unless other ports still use it."""
        connection.holders.discard(port)
        if not connection.holders:
            await self.cut(connection)

    async def cut(self, connection: Connection) -> None:
        """Close a connection, whoever uses it."""
        if connection is self._connection:
            self._connection = None
        holder = self._holder
        await connection.close()
        if holder is not None:
            # an exchanger that doesn't tell of the end, and whoever waits in it, hold up nobody
            self.release(holder)

    def forget_beginning(self) -> None:
        """Forget the beginning of a message: for whoever gets an instrument into step."""
        if self._framer is not None:
            self._framer.clear()

    def serves_others(self, port: Port) -> bool:
        """Whether other instruments on it are being talked to, whom attempts at this one would hold up."""
        return any(other is not port and other.is_up for other in self.ports)

    def _route(self, message: bytes) -> bool:
        return any(port.route(message) for port in self.ports)

    # Turns

    @property
    def busy(self) -> bool:
        """Whether somebody has the turn."""
        return self._holder is not None

    def seize(self, port: Port) -> Turn | None:
        """Take the turn if nobody has it; whoever gets it has to `release` it."""
        if self._holder is not None:
            return None
        self._holder = turn = Turn(port)
        return turn

    async def take(self, port: Port, row: Row, *, first: bool = False) -> Turn:
        """Wait for the turn; whoever gets it has to `release` it.

        Raises PortBusy after the queue's time limit, LinkDown if the connection is cut at that moment, and what
        `fail` was given meanwhile. Who mends waits without a limit: all exchanges before it are bounded.
        """
        if row is Row.FENCE and (seized := self.seize(port)) is not None:
            return seized
        turn = Turn(port)
        turn.given = asyncio.get_running_loop().create_future()
        if first:
            self._rows[row].appendleft(turn)
        else:
            self._rows[row].append(turn)
        timer = None
        if row is not Row.FENCE:
            timer = turn.given.get_loop().call_later(port.protocol.queue_timeout, _give_up, turn.given)
        try:
            await turn.given
        except asyncio.CancelledError:
            self.release(turn)
            raise
        finally:
            if timer is not None:
                timer.cancel()
        if self._holder is not turn:
            raise LinkDown(f"the connection to {self.url} was cut")
        return turn

    @contextlib.asynccontextmanager
    async def mending(self, port: Port) -> AsyncIterator[None]:
        """Have the turn for what gets an instrument into step."""
        turn = await self.take(port, Row.FENCE)
        try:
            yield
        finally:
            self.release(turn)

    def release(self, turn: Turn) -> None:
        """Give the turn to the next, if it is still this one's."""
        if self._holder is turn:
            self._holder = None
            self.pass_on()

    def pass_on(self) -> None:
        """Give the turn to the first whose instrument is in step; the others keep their places."""
        if self._holder is not None:
            return
        for row in self._order():
            turn = self._first(row)
            if turn is not None:
                self._writes = self._writes + 1 if row is Row.WRITE else 0
                self._holder = turn
                if turn.given is not None:
                    turn.given.set_result(None)
                return

    def _order(self) -> tuple[Row, ...]:
        if self._writes < WRITES_IN_A_ROW:
            return (Row.FENCE, Row.WRITE, Row.READ)
        return (Row.FENCE, Row.READ, Row.WRITE)

    def _first(self, number: Row) -> Turn | None:
        """Take out of a row whoever is next; of several instruments, the one whose last turn is longest ago."""
        row = self._rows[number]
        while row and _is_over(row[0]):
            row.popleft()
        if not row:
            return None
        if not self.is_shared:
            return row.popleft() if number is Row.FENCE or row[0].port.is_up else None
        firsts: dict[Port, Turn] = {}
        for turn in row:
            if not _is_over(turn) and (number is Row.FENCE or turn.port.is_up):
                firsts.setdefault(turn.port, turn)
        if not firsts:
            return None
        found = min(firsts.values(), key=lambda turn: self._latest.get(turn.port, 0))
        row.remove(found)
        self._latest[found.port] = next(self._turns)
        return found

    def fail(self, port: Port, error: LabiocError, *rows: Row) -> None:
        """Fail those of one port who wait in these rows."""
        for row in rows:
            for turn in self._rows[row]:
                if turn.port is port and turn.given is not None and not turn.given.done():
                    turn.given.set_exception(error)


def _is_over(turn: Turn) -> bool:
    return turn.given is None or turn.given.done()


def _give_up(given: asyncio.Future[None]) -> None:
    if not given.done():
        given.set_exception(PortBusy())


class _Routing(Framer):
    """A framer that hands out only what nobody takes on its way: messages that come unasked go to their readbacks.

    Where the beginning of a message may be missing, what comes first is nobody's: its rest could look like a value.
    """

    def __init__(self, framer: Framer, route: Callable[[bytes], bool]) -> None:
        self._framer = framer
        self._route = route
        self._is_whole = False
        self.quiet = framer.quiet

    def feed(self, data: bytes) -> list[bytes]:
        """Take bytes, return the messages that they complete and nobody takes. Raises ReplyError."""
        return self._untaken(lambda: self._framer.feed(data))

    def silent(self) -> list[bytes]:
        """Return the messages that a silence completes. Raises TruncatedReply."""
        return self._untaken(self._framer.silent)

    def seal(self, message: bytes) -> bytes:
        """Return a message as it goes over the link."""
        return self._framer.seal(message)

    @property
    def pending(self) -> bytes:
        """Nothing: the beginning of a message is, most likely, one that comes unasked, and no sign of trouble."""
        return b""

    def clear(self) -> None:
        """Forget the beginning of a message."""
        if self._framer.pending:
            self._is_whole = False
        self._framer.clear()

    def _untaken(self, cut: Callable[[], list[bytes]]) -> list[bytes]:
        try:
            messages = cut()
        except (ReplyError, TruncatedReply):
            self._is_whole = False
            raise
        torn = messages[:1] if messages and not self._is_whole else []
        self._is_whole = self._is_whole or bool(messages)
        return torn + [message for message in messages[len(torn) :] if not self._route(message)]
