"""The gets of one client: most are answered at once, some must wait.

What waits is the request, never the answer: an array that nobody fetches costs nothing.
"""

import asyncio
from collections import deque
from time import monotonic
from typing import TYPE_CHECKING, NamedTuple

from labioc.devices.core._caproto import AccessRights
from labioc.iocs.core._caproto import read_stock
from labioc.iocs.core._channel import Channel, failed_dbr, read_answer, refusal_to_read
from labioc.iocs.core._messages import Command, Status, error, header
from labioc.iocs.core._outbox import MAX_WRITE_BUFFER

if TYPE_CHECKING:
    from labioc.iocs.core._circuit import Circuit
    from labioc.iocs.core._puts import Puts
    from labioc.iocs.core.server import Serving

READ_AFTER_PUT_SECONDS = 0.25
"""A get of a PV sees what was put to it before, unless the put takes longer than this."""

_READ = int(AccessRights.READ)
_READ_NOTIFY = int(Command.READ_NOTIFY)


class _Get(NamedTuple):
    """A request that waits until a put is done, but not for ever."""

    channel: Channel
    command: int
    kind: int
    wanted: int
    ioid: int
    put: int
    until: float


class Gets:
    """What one client gets."""

    def __init__(self, circuit: "Circuit", server: "Serving", puts: "Puts") -> None:
        self._circuit = circuit
        self._server = server
        self._loop = asyncio.get_running_loop()
        self._puts = puts.running
        self._waiting: deque[_Get] = deque()
        self._timer: asyncio.TimerHandle | None = None
        self._stock_is_read = False

    def request(self, command: int, kind: int, count: int, first: int, second: int, payload: bytes) -> None:
        """Answer, or wait."""
        channel = self._circuit.channel(first)
        if not channel.is_ours or channel.entry in self._puts:
            put, until = 0, 0.0
            puts = self._puts.get(channel.entry)
            if puts:
                put, begun = next(reversed(puts.items()))
                until = begun + READ_AFTER_PUT_SECONDS
            if not channel.is_ours or monotonic() < until:
                self._waiting.append(_Get(channel, command, kind, count, second, put, until))
                self._circuit.busy += 1
                self._circuit.turn_soon()
                return
        self._answer(channel, command, kind, count, second)

    def go_on(self, until: float) -> None:
        """Answer what need wait no longer, as far as the time and the client's reading allow."""
        if not self._waiting:
            return
        circuit = self._circuit
        kept: list[_Get] = []
        next_look = 0.0
        is_out_of_time = False
        while self._waiting and not circuit.out.is_blocked and not is_out_of_time:
            get = self._waiting.popleft()
            now = monotonic()
            is_out_of_time = now > until
            puts = self._puts.get(get.channel.entry)
            if puts and next(iter(puts)) <= get.put and now < get.until:
                next_look = min(next_look or get.until, get.until)
                kept.append(get)
            elif not get.channel.is_ours:
                if self._stock_is_read:
                    kept.append(get)
                else:
                    self._stock_is_read = True
                    self._server.start(self._read_stock(get))
            else:
                circuit.busy -= 1
                if get.channel.sid in circuit.channels:
                    self._answer(get.channel, get.command, get.kind, get.wanted, get.ioid)
                    if circuit.out.answer_bytes > MAX_WRITE_BUFFER:
                        circuit.out.flush()
        self._waiting.extendleft(reversed(kept))
        if is_out_of_time:
            circuit.turn_soon()
        elif next_look and self._timer is None:
            self._timer = self._loop.call_at(next_look, self._look_again)

    def _look_again(self) -> None:
        self._timer = None
        self._circuit.turn_soon()

    def clear(self) -> None:
        """Forget what waits."""
        self._waiting.clear()
        if self._timer is not None:
            self._timer.cancel()

    def _answer(self, channel: Channel, command: int, kind: int, count: int, ioid: int) -> None:
        circuit = self._circuit
        status = refusal_to_read(channel, kind, count, circuit.rights(channel) & _READ)
        if status is Status.NORMAL:
            try:
                made = channel.dbr(kind, count)
            except ValueError:
                status = Status.GETFAIL
            else:
                first = 1 if command == _READ_NOTIFY else channel.cid
                circuit.out.answer(*read_answer(command, first, kind, count, ioid, *made))
                return
        self._refuse(channel, command, kind, count, ioid, status)

    async def _read_stock(self, get: _Get) -> None:
        """One at a time, so that no more than one answer waits for a client that doesn't read."""
        circuit, channel = self._circuit, get.channel
        status = refusal_to_read(channel, get.kind, get.wanted, circuit.rights(channel) & _READ)
        try:
            if status is Status.NORMAL:
                made = await read_stock(
                    *(
                        channel.entry,
                        channel.type_name(get.kind),
                        circuit.user,
                        circuit.host,
                        circuit.address,
                    ),
                    channel.filters,
                )
                first = 1 if get.command == _READ_NOTIFY else channel.cid
                circuit.out.answer(*read_answer(get.command, first, get.kind, get.wanted, get.ioid, *made))
        except Exception as failure:
            circuit.complain("get", f"{channel.name}: get by {circuit} failed: {failure!r}")
            status = Status.GETFAIL
        finally:
            self._stock_is_read = False
            circuit.done()
        if status is not Status.NORMAL:
            self._refuse(channel, get.command, get.kind, get.wanted, get.ioid, status)

    def _refuse(
        self, channel: Channel, command: int, kind: int, count: int, ioid: int, status: Status
    ) -> None:
        if command == _READ_NOTIFY:
            self._circuit.out.answer(failed_dbr(command, kind, status, ioid))
        else:
            request = header(command, 0, kind, count, channel.sid, ioid)
            self._circuit.out.answer(error(request, channel.cid, status, channel.name))
