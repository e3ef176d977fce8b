"""A Channel Access client on bare sockets that costs next to nothing, so that a benchmark measures the server.

It knows doubles only, blocks, and has no threads. Every wait is bounded by PATIENCE and ends in TimeoutError.
"""

from __future__ import annotations

import select
import socket
import struct
import time
from collections.abc import Callable, Sequence
from types import TracebackType
from typing import Self

PATIENCE = 30.0
SEARCH_AGAIN = 0.005
TOGETHER = 200
"""Requests on their way at once, so that neither side waits for the other to read."""

_VERSION, _EVENT_ADD, _WRITE, _SEARCH, _ERROR, _READ_NOTIFY, _CREATE = 0, 1, 4, 6, 11, 15, 18
_WRITE_NOTIFY, _CLIENT_NAME, _HOST_NAME, _CREATE_FAILED = 19, 20, 21, 26
DOUBLE, TIME_STRING, TIME_DOUBLE = 6, 14, 20
DBE_VALUE, DBE_ALARM = 1, 4
NORMAL = 1

_HEADER = struct.Struct(">HHHHII")
_LONG = struct.Struct(">II")
_EVENT = struct.Struct(">HHHHIIhhII4xd")
"""An event, or the answer to a get, as DBR_TIME_DOUBLE."""


def _request(command: int, payload: bytes, kind: int, count: int, first: int, second: int) -> bytes:
    payload = payload.ljust(len(payload) + 7 & ~7, b"\0")
    return _HEADER.pack(command, len(payload), kind, count, first, second) + payload


def find(name: str, port: int, patience: float, is_alive: Callable[[], bool]) -> int:
    """The TCP port of the server on this host that has a PV, asked for at a UDP port until it answers or dies."""
    text = name.encode() + b"\0"
    question = _request(_VERSION, b"", 0, 13, 0, 0) + _request(_SEARCH, text, 5, 13, 1, 1)
    until = time.monotonic() + patience
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.settimeout(SEARCH_AGAIN)
        while is_alive() and time.monotonic() < until:
            sock.sendto(question, ("127.0.0.1", port))
            try:
                answer = sock.recv(1024)
            except TimeoutError:
                continue
            at = 0
            while at < len(answer):
                command, size, tcp_port, *_ = _HEADER.unpack_from(answer, at)
                if command == _SEARCH:
                    return int(tcp_port)
                at += _HEADER.size + size
    raise TimeoutError(f"nobody has {name} at port {port}")


class RawClient:
    """One circuit to a server on this host."""

    def __init__(self, port: int) -> None:
        self.sock = socket.create_connection(("127.0.0.1", port), timeout=PATIENCE)
        self.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._received = b""
        self._channels = 0
        self.sock.sendall(
            _request(_VERSION, b"", 0, 13, 0, 0)
            + _request(_CLIENT_NAME, b"bench\0", 0, 0, 0, 0)
            + _request(_HOST_NAME, b"localhost\0", 0, 0, 0, 0)
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.sock.close()

    def _take(self, size: int) -> bytes:
        while len(self._received) < size:
            more = self.sock.recv(1 << 16)
            if not more:
                raise ConnectionResetError("the server closed the connection")
            self._received += more
        taken, self._received = self._received[:size], self._received[size:]
        return taken

    def next_message(self) -> tuple[int, int, int, bytes]:
        """Command, the header's last two numbers and the payload."""
        command, size, _, _, first, second = _HEADER.unpack(self._take(_HEADER.size))
        if size == 0xFFFF:
            size, _ = _LONG.unpack(self._take(_LONG.size))
        return command, first, second, self._take(size)

    def open(self, names: Sequence[str]) -> list[int | None]:
        """The server's numbers of these channels; None for a channel that it doesn't have."""
        numbers: list[int | None] = []
        for begin in range(0, len(names), TOGETHER):
            wanted = range(begin, min(begin + TOGETHER, len(names)))
            self.sock.sendall(
                b"".join(
                    _request(_CREATE, names[n].encode() + b"\0", 0, 0, self._channels + n, 13) for n in wanted
                )
            )
            answered: dict[int, int | None] = {}
            while len(answered) < len(wanted):
                command, cid, sid, _ = self.next_message()
                if command in (_CREATE, _CREATE_FAILED):
                    answered[cid - self._channels] = sid if command == _CREATE else None
            numbers += [answered[n] for n in wanted]
        self._channels += len(names)
        return numbers

    def channel(self, name: str) -> int:
        """The server's number of one channel, which must exist."""
        (number,) = self.open([name])
        if number is None:
            raise LookupError(f"the server has no {name}")
        return number

    def get(self, channel: int) -> float:
        """The value, asked for as DBR_TIME_DOUBLE."""
        self.sock.sendall(_HEADER.pack(_READ_NOTIFY, 0, TIME_DOUBLE, 1, channel, 7))
        answer = self._take(_EVENT.size)
        command, _, _, _, status, _, *_, value = _EVENT.unpack(answer)
        if (command, status) != (_READ_NOTIFY, NORMAL):
            raise ValueError(f"no answer to a get: {answer!r}")
        return float(value)

    def pipelined_gets(self, channel: int, in_flight: int, seconds: float) -> float:
        """Gets per second with so many on their way."""
        request = _HEADER.pack(_READ_NOTIFY, 0, TIME_DOUBLE, 1, channel, 7)
        began = time.perf_counter()
        sent, received = in_flight, 0
        self.sock.sendall(request * in_flight)
        while received < sent * _EVENT.size:
            data = self.sock.recv(1 << 16)
            if not data:
                raise ConnectionResetError("the server closed the connection")
            received += len(data)
            if time.perf_counter() - began < seconds:
                more = received // _EVENT.size + in_flight - sent
                if more:
                    self.sock.sendall(request * more)
                    sent += more
        return sent / (time.perf_counter() - began)

    def put(self, channel: int, value: float) -> None:
        """Put without an answer."""
        self.sock.sendall(_request(_WRITE, struct.pack(">d", value), DOUBLE, 1, channel, 8))

    def put_callback(self, channel: int, value: float) -> None:
        """Put and wait until the server says that it is done."""
        self.sock.sendall(_request(_WRITE_NOTIFY, struct.pack(">d", value), DOUBLE, 1, channel, 8))
        command, _, _, _, status, _ = _HEADER.unpack(self._take(_HEADER.size))
        if (command, status) != (_WRITE_NOTIFY, NORMAL):
            raise ValueError(f"a put failed with {status}")

    def read(self, channels: Sequence[int]) -> None:
        """Read fields of any type, as text; the server may refuse some."""
        for begin in range(0, len(channels), TOGETHER):
            some = channels[begin : begin + TOGETHER]
            self.sock.sendall(
                b"".join(_HEADER.pack(_READ_NOTIFY, 0, TIME_STRING, 1, channel, 9) for channel in some)
            )
            answers = 0
            while answers < len(some):
                answers += self.next_message()[0] in (_READ_NOTIFY, _ERROR)

    def subscribe(self, channels: Sequence[int]) -> None:
        """Monitor channels as DBR_TIME_DOUBLE, numbered from 0, and take their first events."""
        mask = struct.pack(">3fHxx", 0.0, 0.0, 0.0, DBE_VALUE | DBE_ALARM)
        for number, channel in enumerate(channels):
            self.sock.sendall(_request(_EVENT_ADD, mask, TIME_DOUBLE, 1, channel, number))
        waited_for = set(range(len(channels)))
        while waited_for:
            command, _, number, _ = self.next_message()
            if command == _EVENT_ADD:
                waited_for.discard(number)

    def next_event(self) -> float:
        """The value of the next event."""
        message = self._take(_EVENT.size)
        if message[:2] != b"\0\1":
            raise ValueError(f"not an event: {message!r}")
        return float(_EVENT.unpack(message)[-1])


class Events:
    """What several circuits with monitors receive: stored as it comes, understood afterwards."""

    def __init__(self, clients: Sequence[RawClient]) -> None:
        self._chunks: dict[socket.socket, list[bytes]] = {client.sock: [] for client in clients}
        self._poll = select.epoll()
        self._by_number = {sock.fileno(): sock for sock in self._chunks}
        for number in self._by_number:
            self._poll.register(number, select.EPOLLIN)
        self.count = 0.0
        self.last = 0.0

    def gather(self, expected: int, is_posted: Callable[[], bool], quiet: float) -> None:
        """Receive until as many are there as expected, or all are posted and no more come for `quiet` seconds."""
        heard = time.perf_counter()
        until = heard + PATIENCE
        while self.count < expected and time.perf_counter() < until:
            ready = self._poll.poll(0.01)
            for number, _ in ready:
                sock = self._by_number[number]
                data = sock.recv(1 << 18)
                if not data:
                    raise ConnectionResetError("the server closed the connection")
                self._chunks[sock].append(data)
                self.count += len(data) / _EVENT.size
                heard = self.last = time.perf_counter()
            if not ready and time.perf_counter() - heard > quiet and is_posted():
                return

    def take(self) -> list[dict[int, list[float]]]:
        """The values of each monitor of each circuit, in the order in which they came; forgets them."""
        taken = []
        for chunks in self._chunks.values():
            values: dict[int, list[float]] = {}
            received = b"".join(chunks)
            whole = len(received) // _EVENT.size * _EVENT.size
            for message in _EVENT.iter_unpack(received[:whole]):
                if message[0] != _EVENT_ADD:
                    raise ValueError(f"a message {message[0]} among the events")
                values.setdefault(message[5], []).append(message[10])
            chunks[:] = [received[whole:]]
            taken.append(values)
        self.count = 0.0
        return taken

    def close(self) -> None:
        """Stop watching the circuits."""
        self._poll.close()
