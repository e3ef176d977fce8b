"""The Channel Access server among clients that are broken, gone, too many or malicious."""

import asyncio
import logging
import os
import random
import resource
import signal
import socket
import struct
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from tests.ca import PATIENCE, Client, Libca, Message, Raw, until
from tests.test_server import Bench, post, putter_of, serving, value_is

from labioc.iocs.core import _circuit, _complaints, _sockets, server
from labioc.iocs.core.server import CAServer

MESSAGES = 10_000
PER_CONNECTION = 10
MASK = struct.pack(">12xHxx", 5)
COMMANDS = (0, 1, 2, 3, 4, 6, 8, 9, 10, 12, 15, 18, 19, 20, 21, 23)
FILTERS = (
    *(
        b"[1:2:3:4]",
        b"[0:2]",
        b"[::0]",
        b'{"arr":5}',
        b'{"arr":{"s":1.5}}',
        b'{"arr":{"i":0}}',
        b'{"dbnd":5}',
    ),
    *(
        b'{"dbnd":{"abs":1}}',
        b'{"dbnd":{"rel":[1]}}',
        b'{"dbnd":{"abs":null}}',
        b'{"ts":{}}',
        b'{"sync":5}',
        b"{[[[",
    ),
)
NAMES = (
    *(b"T:A\0", b"T:TRACE\0", b"T:A.DESC$\0", b"T:A.VAL{" + b'"a":' * 30 + b"\0", b"\xff\0", b""),
    *(b"T:TRACE." + words + b"\0" for words in FILTERS),
)


@pytest.fixture
def bench() -> Bench:
    bench = Bench(prefix="T:")
    bench.a.putter, bench.trace.putter = putter_of(bench.a), putter_of(bench.trace)
    return bench


@asynccontextmanager
async def unharmed(caserver: CAServer, client: Client) -> AsyncIterator[None]:
    """What happens inside leaves no connection, task, file descriptor or memory behind, and a client works."""
    assert (await client.get("T:B")).status == 17
    before = caserver.statistics
    tasks, descriptors, memory = asyncio.all_tasks(), len(os.listdir("/proc/self/fd")), resident()
    yield
    await until(lambda: caserver.statistics.clients == before.clients)
    assert (await client.get("T:B")).status == 17
    after = caserver.statistics
    assert (after.channels, after.monitors) == (before.channels, before.monitors)
    assert len(os.listdir("/proc/self/fd")) == descriptors
    assert not [task for task in asyncio.all_tasks() - tasks if not task.done()]
    assert resident() < memory + (24 << 20)


def resident() -> int:
    return int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize()


def random_messages(dice: random.Random) -> Iterator[bytes]:
    for _ in range(MESSAGES):
        yield dice.randbytes(dice.choice((1, 8, 16, 24, 40, 200)))


def structured_messages(dice: random.Random) -> Iterator[bytes]:
    """Requests that have something right about them, mostly their channel."""
    for _ in range(MESSAGES):
        command = dice.choice(COMMANDS) if dice.random() < 0.98 else dice.randrange(65536)
        payload = dice.choice((b"", MASK, bytes(8), dice.randbytes(dice.choice((8, 40, 41))), *NAMES))
        kind = dice.choice((*range(40), dice.randrange(65536)))
        count = dice.choice((0, 1, 1, 2, 10, 399, dice.randrange(65536)))
        sid = dice.choice((1, 1, 1, 1, 2, 2, 2, 2, 2, dice.randrange(2**32)))
        yield bytes(Message(command, kind, count, sid, dice.choice((1, 2, dice.randrange(2**32))), payload))


@pytest.mark.parametrize("messages", [random_messages, structured_messages])
async def test_malformed_messages_by_tcp(
    bench: Bench,
    client: Client,
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
    messages: Any,
) -> None:
    monkeypatch.setattr(_complaints, "COMPLAINT_SECONDS", 1e6)
    caplog.set_level(logging.INFO, "labioc.ca")
    creates = b"".join(bytes(Message(18, 0, 0, cid, 13, name)) for cid, name in enumerate(NAMES[:2]))
    async with serving(bench) as caserver, unharmed(caserver, client):
        waiting: list[bytes] = []
        for message in messages(random.Random(1)):
            waiting.append(message)
            if len(waiting) == PER_CONNECTION:
                async with Raw(caserver.port) as raw:
                    raw.writer.write(creates + b"".join(waiting))
                    raw.writer.write_eof()
                    await raw.closed()
                waiting.clear()
    assert caserver.statistics.malformed > MESSAGES / PER_CONNECTION / 4
    assert len([line for line in caplog.messages if "malformed" in line]) == 1
    assert not [record for record in caplog.records if record.levelno > logging.INFO]


@pytest.mark.parametrize("messages", [random_messages, structured_messages])
async def test_malformed_datagrams(
    bench: Bench,
    client: Client,
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
    messages: Any,
) -> None:
    monkeypatch.setattr(_complaints, "COMPLAINT_SECONDS", 1e6)
    caplog.set_level(logging.INFO, "labioc.ca")
    async with serving(bench) as caserver, unharmed(caserver, client):
        async with Client("127.0.0.1") as behind:
            with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
                for number, message in enumerate(messages(random.Random(2))):
                    sock.sendto(message, ("127.0.0.1", caserver.search_port))
                    if number % 100 == 99:
                        # The socket of the server holds so many.
                        await behind.find("T:A")
    assert caserver.statistics.malformed > MESSAGES / 4
    assert len([line for line in caplog.messages if "datagram" in line]) == 1
    assert not [record for record in caplog.records if record.levelno > logging.INFO]


async def test_stop_ends_circuits_that_are_about_to_be_closed(
    bench: Bench, ca_environment: dict[str, str]
) -> None:
    post(bench.trace, [1.0] * 1000)
    async with serving(bench) as caserver:
        raw = await Raw(caserver.port).__aenter__()
        sid, _ = await raw.create("T:TRACE")
        raw.send(*[Message(15, 6, 0, sid, 1)] * 1000)
        assert caserver._server is not None
        (circuit,) = caserver._server.circuits
        await until(lambda: circuit._is_paused)
        # With so much unsent, it isn't closed before somebody reads or the server loses its patience.
        circuit.close()
    assert caserver.statistics.clients == 0
    await raw.closed()
    await raw.__aexit__(None, None, None)


async def test_messages_cut_anywhere(bench: Bench, client: Client) -> None:
    async with serving(bench) as caserver, Raw(caserver.port) as raw:
        sid, _ = await raw.create("T:A")
        put = Message(19, 6, 1, sid, 7, struct.pack(">d", 4.0))
        stream = bytes(put) + bytes(Message(15, 6, 1, sid, 8)) + bytes(Message(23))
        for cut in range(1, len(stream)):
            raw.writer.write(stream[:cut])
            await client.get("T:B")
            raw.writer.write(stream[cut:])
            assert [(await raw.receive()).command for _ in range(3)] == [19, 15, 23]


@pytest.mark.parametrize(("command", "kind"), [(4, 6), (19, 6), (19, 99)])
async def test_a_put_that_claims_4_gb_is_refused_and_not_kept(
    bench: Bench, client: Client, command: int, kind: int
) -> None:
    async with serving(bench) as caserver, Raw(caserver.port) as raw:
        sid, _ = await raw.create("T:TRACE")
        huge = struct.pack(">HHHHIIII", command, 0xFFFF, kind, 0, sid, 9, 0xFFFFFFF8, 0x1FFFFFFF)
        raw.writer.write(huge)
        refusal = await raw.receive()
        assert (refusal.command, refusal.second, refusal.payload[:24]) == (11, 72, huge)
        memory = resident()
        for _ in range(64):
            raw.writer.write(bytes(1 << 20))
            await raw.writer.drain()
        assert (await client.get("T:A")).value == 0.0
        assert resident() < memory + (16 << 20)


async def test_what_is_too_much_for_a_channel_is_skipped(
    bench: Bench, ca_environment: dict[str, str]
) -> None:
    async with serving(bench) as caserver, Raw(caserver.port) as raw:
        sid, _ = await raw.create("T:A")
        refusal = await raw.ask(Message(19, 6, 4000, sid, 9, bytes(32_000)), Message(23))
        assert (refusal.command, refusal.second) == (11, 72)
        assert (await raw.receive()).command == 23


async def test_as_many_elements_as_the_channel_has_are_welcome(bench: Bench, client: Client) -> None:
    async with serving(bench) as caserver, Raw(caserver.port) as raw:
        sid, _ = await raw.create("T:TRACE")
        payload = struct.pack(">1000d", *range(1000))
        head = struct.pack(">HHHHIIII", 19, 0xFFFF, 6, 0, sid, 9, 8000, 1000)
        raw.writer.write(head + payload)
        assert (await raw.receive()).first == 1
        assert (await client.get("T:TRACE")).value == list(range(1000))


async def test_a_long_request_other_than_a_put_ends_the_circuit(
    bench: Bench, ca_environment: dict[str, str]
) -> None:
    async with serving(bench) as caserver, Raw(caserver.port) as raw:
        raw.writer.write(struct.pack(">HHHHIIII", 18, 0xFFFF, 0, 0, 1, 13, 0xFFFFFFF8, 0))
        assert struct.unpack_from(">H10xI", await raw.closed()) == (11, 72)
        assert caserver.statistics.malformed == 1


async def test_silent_connections_are_closed_those_with_channels_stay(
    bench: Bench, client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(server, "SILENT_SECONDS", 0.1)
    async with serving(bench) as caserver:
        circuit = (await client.connect("T:A")).circuit
        silent, writer = await asyncio.open_connection("127.0.0.1", caserver.port)
        async with Raw(caserver.port) as named:
            async with asyncio.timeout(PATIENCE):
                assert await silent.read() == b""
            assert await named.closed() == b""
        writer.close()
        assert caserver.statistics.reaped == 2
        await client.get("T:A")
        assert not circuit.closed.is_set()


async def test_who_sends_echoes_is_not_silent(
    bench: Bench, ca_environment: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(server, "SILENT_SECONDS", 0.1)
    async with serving(bench) as caserver, Raw(caserver.port) as lively:
        _, writer = await asyncio.open_connection("127.0.0.1", caserver.port)
        while not caserver.statistics.reaped:
            assert (await lively.ask(Message(23))).command == 23
        writer.close()
        assert (await lively.ask(Message(23))).command == 23


async def test_dead_peers_are_found_stopped_ones_are_not_taken_for_dead(bench: Bench, client: Client) -> None:
    async with serving(bench) as caserver:
        await client.connect("T:A")
        assert caserver._server is not None
        (circuit,) = caserver._server.circuits
        sock = circuit._transport.get_extra_info("socket")
        idle, interval, probes, deadline = (
            sock.getsockopt(socket.IPPROTO_TCP, option)
            for option in (
                socket.TCP_KEEPIDLE,
                socket.TCP_KEEPINTVL,
                socket.TCP_KEEPCNT,
                socket.TCP_USER_TIMEOUT,
            )
        )
        assert sock.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE)
        assert idle + interval * probes <= 120
        # It would end the circuit of a client that is stopped and whose window is full.
        assert deadline == 0


async def test_killed_clients_leave_no_circuit(bench: Bench, client: Client) -> None:
    async with serving(bench) as caserver, unharmed(caserver, client):
        for _ in range(3):
            async with Libca() as victim:
                events = await victim.monitor("T:A")
                await events.next()
                assert caserver.statistics.monitors == 1
                os.kill(victim.pid, signal.SIGKILL)


async def test_no_more_file_descriptors(
    bench: Bench, client: Client, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_sockets, "ACCEPT_AGAIN_SECONDS", 0.01)
    loop = asyncio.get_running_loop()
    async with serving(bench) as caserver:
        await client.connect("T:A")
        clients = [socket.socket() for _ in range(5)]
        soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        free = os.dup(0)
        os.close(free)
        resource.setrlimit(resource.RLIMIT_NOFILE, (free, hard))
        try:
            for sock in clients:
                sock.setblocking(False)
                await loop.sock_connect(sock, ("127.0.0.1", caserver.port))
            await until(lambda: caserver.statistics.refused >= 3)
            assert (await client.get("T:A")).value == 0.0
        finally:
            resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
        for sock in clients:
            async with asyncio.timeout(PATIENCE):
                await loop.sock_sendall(sock, bytes(Message(23)))
                assert await loop.sock_recv(sock, 100) == bytes(Message(23))
            sock.close()
    assert len([record for record in caplog.records if "no room" in record.getMessage()]) == 1


async def test_who_does_not_read_is_not_read(bench: Bench, client: Client) -> None:
    post(bench.trace, [1.0] * 1000)
    gets = 4000
    async with serving(bench) as caserver, Raw(caserver.port) as raw:
        sid, _ = await raw.create("T:TRACE")
        for number in range(gets):
            raw.send(Message(15, 6, 0, sid, number))
        assert caserver._server is not None
        (circuit,) = caserver._server.circuits
        await until(lambda: circuit._is_paused)
        for _ in range(20):
            assert (await client.get("T:A")).value == 0.0
            assert circuit._transport.get_write_buffer_size() < 1 << 18
        assert [(await raw.receive()).second for _ in range(gets)] == list(range(gets))


@pytest.mark.parametrize(("limit", "value"), [("MAX_REQUESTS_AT_ONCE", 10), ("TURN_SECONDS", 0.0)])
async def test_a_flood_of_requests_leaves_time_for_others(
    bench: Bench, client: Client, monkeypatch: pytest.MonkeyPatch, limit: str, value: float
) -> None:
    monkeypatch.setattr(_circuit, limit, value)
    async with serving(bench) as caserver, Raw(caserver.port) as raw, client.monitor("T:A") as events:
        await events.next()
        raw.send(*[Message(23)] * 1000)
        turns = 0
        for _ in range(1000):
            turns += raw.reader._buffer == b""  # type: ignore[attr-defined]
            assert (await raw.receive()).command == 23
        assert turns > 10
        post(bench.a, 1.0)
        await events.next(value_is(1.0))


async def test_a_name_that_a_client_claims_makes_no_lines_of_its_own_in_the_log(
    bench: Bench, ca_environment: dict[str, str], caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "labioc.ca")
    async with serving(bench) as caserver, Raw(caserver.port, host="a\nERROR all is lost" + 200 * "x") as raw:
        raw.send(Message(77))
        await raw.closed()
    (line,) = [line for line in caplog.messages if "malformed" in line]
    assert "\n" not in line
    assert len(line) < 200


async def test_who_was_complained_about_is_remembered_within_bounds(
    bench: Bench,
    ca_environment: dict[str, str],
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(_complaints, "COMPLAINT_SECONDS", 1e6)
    monkeypatch.setattr(_complaints, "MAX_COMPLAINED", 3)
    caplog.set_level(logging.INFO, "labioc.ca")
    async with serving(bench) as caserver:
        for number in range(10):
            with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
                sock.bind((f"127.0.1.{number + 1}", 0))
                sock.sendto(b"x", ("127.0.0.1", caserver.search_port))
        await until(lambda: caserver.statistics.malformed == 10)
    assert len([line for line in caplog.messages if "datagram" in line]) == 3
