"""The puts of one client. They start in their order; nobody but who put waits for them."""

import asyncio
from time import monotonic
from typing import TYPE_CHECKING, Any

from labioc.devices.core._caproto import AccessRights
from labioc.iocs.core._caproto import is_expected, write
from labioc.iocs.core._channel import TYPES, Channel, Refused, decode_put
from labioc.iocs.core._messages import Command, Status, error, header

if TYPE_CHECKING:
    from labioc.iocs.core._circuit import Circuit
    from labioc.iocs.core.server import Serving

MAX_ALL_PUTS = 4096
"""Puts of all clients that run at once; more are refused. Who leaves its puts behind can't be made to wait."""

_WRITE = int(AccessRights.WRITE)
_Request = tuple[int, int, int, int, int, int]
"""A header: command, payload size, type, count, sid, ioid."""


class Puts:
    """What one client puts.

    Attributes:
        running: of each PV that is being put to, when its puts began, by their number, the oldest first.
        unstarted: how many have not had their first step.
    """

    def __init__(self, circuit: "Circuit", server: "Serving") -> None:
        self._circuit = circuit
        self._server = server
        self._loop = asyncio.get_running_loop()
        self._number = 0
        self.running: dict[Any, dict[int, float]] = {}
        self.unstarted = 0

    def request(self, command: int, kind: int, count: int, first: int, second: int, payload: bytes) -> None:
        """Begin what a client asks for, or refuse it."""
        channel = self._circuit.channel(first)
        request = (command, len(payload), kind, count, first, second)
        if not self._circuit.rights(channel) & _WRITE:
            self._refuse(channel, request, Status.NOWTACCESS, "this client may not write")
        elif self._server.puts >= MAX_ALL_PUTS:
            self._refuse(channel, request, Status.PUTFAIL, "too many puts are not done yet")
        else:
            try:
                data = decode_put(kind, count, payload)
            except Refused as refused:
                self._refuse(channel, request, refused.status, str(refused))
            else:
                self._begin(channel, data, request)

    def _refuse(self, channel: Channel, request: _Request, status: Status, text: str) -> None:
        self._circuit.complain("put", f"{channel.name}: put by {self._circuit} is refused: {text}")
        self._answer(channel, status, text, request)

    def _begin(self, channel: Channel, data: Any, request: _Request) -> None:
        self._number += 1
        self.running.setdefault(channel.entry, {})[self._number] = monotonic()
        self._circuit.busy += 1
        self._server.puts += 1
        # A task for each put: tasks start in the order of their making, so puts reach the putter in order.
        task = self._loop.create_task(self._put(self._number, channel, data, request))
        # An eager task may be done already.
        if not task.done():
            self._server.tasks.add(task)
            self.unstarted += 1
            self._server.flusher.is_due = True
            self._loop.call_soon(self._has_started)

    def _has_started(self) -> None:
        self.unstarted -= 1
        if not self.unstarted:
            self._circuit.turn()

    async def _put(self, number: int, channel: Channel, data: Any, request: _Request) -> None:
        circuit = self._circuit
        status, text = Status.NORMAL, ""
        try:
            await write(channel.entry, data, TYPES[request[2]], circuit.user, circuit.host, circuit.address)
        except Exception as failure:
            status, text = Status.PUTFAIL, str(failure) or repr(failure)
            bug = None if is_expected(failure) else failure
            line = f"{channel.name}: put by {circuit} failed: {text}"
            circuit.complain("put" if bug is None else "failure", line, bug)
        finally:
            task: Any = asyncio.current_task()
            self._server.tasks.discard(task)
            self._server.puts -= 1
            puts = self.running[channel.entry]
            del puts[number]
            if not puts:
                del self.running[channel.entry]
            circuit.done()
        if circuit.is_open:
            self._answer(channel, status, text, request)

    def _answer(self, channel: Channel, status: Status, text: str, request: _Request) -> None:
        command, _, kind, count, _, ioid = request
        if command == Command.WRITE_NOTIFY:
            self._circuit.out.answer(header(command, 0, kind, count, status, ioid))
        elif status is not Status.NORMAL:
            self._circuit.out.answer(error(header(*request), channel.cid, status, text))
