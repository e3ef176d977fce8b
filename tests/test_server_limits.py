"""What one client of the Channel Access server may cost the IOC and the other clients."""

import asyncio
import logging
import os
import socket
import struct
import time
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from tests.ca import Client, Message, Raw, until
from tests.test_server import Bench, post, putter_of, serving
from tests.test_server_hostile import resident

from labioc.devices.core.records import DoubleArrayPV, DoublePV, IntegerPV, RecordInfo
from labioc.iocs.core import _circuit, _complaints, _gets, _puts, _sockets, server
from labioc.iocs.core.server import CAServer

SID = 1
"""Of the first channel on a circuit."""
MASK = struct.pack(">12xHxx", 5)
TEN = struct.pack(">d", 10.0)
RESET = struct.pack("ii", 1, 0)
MANY = 500_000


@pytest.fixture
def bench(ca_environment: dict[str, str]) -> Bench:
    bench = Bench(prefix="T:")
    bench.a.putter = putter_of(bench.a)
    return bench


def long_trace() -> DoubleArrayPV:
    trace = DoubleArrayPV(info=RecordInfo("waveform", prec=1), pvname="T:LONG", max_length=MANY)
    post(trace, [1.5] * MANY)
    return trace


def never_ending(event: asyncio.Event) -> Callable[[Any], Awaitable[None]]:
    async def put(value: Any) -> None:
        await event.wait()

    return put


# Arrays


async def test_of_a_long_array_only_what_is_wanted_becomes_text(bench: Bench) -> None:
    trace = bench.pvdb["T:LONG"] = long_trace()
    async with serving(bench) as caserver, Raw(caserver.port) as raw:
        await raw.create("T:LONG")
        assert (await raw.ask(Message(15, 0, 0, SID, 1))).first == 152
        got = await raw.ask(Message(15, 0, 2, SID, 2))
        assert (got.first, got.count, got.payload[:3], got.payload[40:43]) == (1, 2, b"1.5", b"1.5")
        assert (await raw.ask(Message(1, 0, 0, SID, 3, MASK))).first == 152
        assert (await raw.ask(Message(1, 0, 1, SID, 4, MASK))).payload[:3] == b"1.5"
        post(trace, [2.5] * MANY)
        got = await raw.receive()
        assert (got.second, got.count, got.payload[:3]) == (4, 1, b"2.5")


async def test_monitors_of_different_lengths_of_one_array(bench: Bench) -> None:
    async with serving(bench) as caserver, Raw(caserver.port) as raw:
        await raw.create("T:TRACE")
        for wanted in (0, 1, 2, 1000):
            assert (await raw.ask(Message(1, 6, wanted, SID, wanted, MASK))).count == wanted
        post(bench.trace, [1.0, 2.0, 3.0])
        got = [await raw.receive() for _ in range(4)]
        assert {(event.second, event.count) for event in got} == {(0, 3), (1, 1), (2, 2), (1000, 1000)}
        assert {event.payload[:8] for event in got} == {struct.pack(">d", 1.0)}
        raw.send(*(Message(2, 6, wanted, SID, wanted) for wanted in (0, 1, 2, 1000)))
        await raw.ask(Message(23))
        assert not bench.trace._monitors


async def test_gets_that_wait_for_a_put_cost_no_memory_and_are_answered_as_the_client_reads(
    bench: Bench, client: Client
) -> None:
    gets = 60
    trace = bench.pvdb["T:LONG"] = long_trace()
    done = asyncio.Event()
    trace.putter = never_ending(done)
    async with serving(bench) as caserver, Raw(caserver.port) as raw:
        await raw.create("T:LONG")
        before = resident()
        raw.send(Message(19, 6, 1, SID, 1, TEN), *(Message(15, 6, 0, SID, n) for n in range(gets)))
        assert caserver._server is not None
        (circuit,) = [one for one in caserver._server.circuits if one.channels]
        await until(lambda: circuit.busy == gets + 1)
        done.set()
        await until(lambda: circuit.out.is_blocked)
        for _ in range(20):
            await client.get("T:A")
        assert resident() < before + (32 << 20)
        answers = [await raw.receive() for _ in range(gets + 1)]
        assert sorted(answer.second for answer in answers if answer.command == 15) == list(range(gets))
        assert {len(answer.payload) for answer in answers if answer.command == 15} == {8 * MANY}


async def test_gets_of_caproto_channels_are_answered_as_the_client_reads(client: Client) -> None:
    import caproto

    gets = 60
    stock = caproto.ChannelDouble(value=[1.0] * 300_000, max_length=300_000)
    caserver = CAServer({"S:LONG": stock, "S:D": caproto.ChannelDouble(value=1.0)})
    await caserver.start()
    async with Raw(caserver.port) as raw:
        await raw.create("S:LONG")
        before = resident()
        raw.send(*(Message(15, 6, 0, SID, n) for n in range(gets)))
        assert caserver._server is not None
        (circuit,) = caserver._server.circuits
        await until(lambda: circuit.out.is_blocked)
        for _ in range(20):
            await client.get("S:D")
        assert resident() < before + (48 << 20)
        assert [(await raw.receive()).second for _ in range(gets)] == list(range(gets))
    await caserver.stop()


# Monitors


async def test_an_event_that_cannot_be_made_costs_who_wants_it_only(client: Client) -> None:
    import caproto

    stock = caproto.ChannelDouble(value=1.0, units="V")
    caserver = CAServer({"S:D": stock})
    await caserver.start()
    async with Raw(caserver.port) as wants_units, Raw(caserver.port) as healthy, Raw(caserver.port) as late:
        await wants_units.create("S:D")
        assert (await wants_units.ask(Message(1, 34, 1, SID, 1, MASK))).first == 1
        await healthy.create("S:D")
        await healthy.ask(Message(1, 20, 1, SID, 1, MASK))
        await stock.write_metadata(units="longer than eight")
        await healthy.receive()
        await late.create("S:D")
        assert (await late.ask(Message(1, 34, 1, SID, 1, MASK))).first == 152
        await stock.write(2.0)
        assert (await healthy.receive()).payload[16:] == struct.pack(">d", 2.0)
        await stock.write_metadata(units="V")
        assert (await wants_units.receive()).first == 1
        assert (await late.ask(Message(2, 34, 1, SID, 1), Message(23))).payload == b""
    await caserver.stop()


async def test_while_events_are_off_only_the_newest_are_kept_in_their_order(bench: Bench) -> None:
    pvs = [DoublePV(info=RecordInfo("ai"), pvname=f"T:{number}") for number in range(20)]
    bench.pvdb.update({pv.pvname: pv for pv in pvs})
    async with serving(bench) as caserver, Raw(caserver.port) as raw:
        for number, pv in enumerate(pvs):
            sid, _ = await raw.create(pv.pvname)
            await raw.ask(Message(1, 6, 1, sid, number, MASK))
        await raw.ask(Message(8), Message(23))
        assert caserver._server is not None
        (circuit,) = caserver._server.circuits
        for turn in range(3):
            for pv in reversed(pvs):
                post(pv, float(turn + 1))
        assert not circuit.out._queue
        assert not circuit.out._flush_is_due
        assert caserver.statistics.dropped_events == 2 * len(pvs)
        await raw.ask(Message(2, 6, 1, 1, 0))
        assert len(circuit.out._held) == len(pvs) - 1
        raw.send(Message(9))
        got = [await raw.receive() for _ in range(len(pvs) - 1)]
        assert [event.second for event in got] == list(range(len(pvs) - 1, 0, -1))
        assert {event.payload for event in got} == {struct.pack(">d", 3.0)}


@pytest.mark.parametrize("limit", ["MAX_MONITORS", "MAX_MONITORS_OF_ONE", "MAX_CHANNELS"])
async def test_who_has_too_many_channels_or_monitors_is_dropped(
    bench: Bench, client: Client, monkeypatch: pytest.MonkeyPatch, limit: str
) -> None:
    monkeypatch.setattr(_circuit, limit, 3)
    async with serving(bench) as caserver, Raw(caserver.port) as raw:
        if limit == "MAX_CHANNELS":
            for _ in range(3):
                await raw.create("T:A")
            raw.send(Message(18, 0, 0, 9, 13, b"T:A\0"))
        else:
            await raw.create("T:A")
            for number in (1, 2, 3, 3):
                await raw.ask(Message(1, 6, 1, SID, number, MASK))
            # One that is cancelled doesn't count any more.
            await raw.ask(Message(2, 6, 1, SID, 1))
            await raw.ask(Message(1, 6, 1, SID, 4, MASK))
            raw.send(Message(1, 6, 1, SID, 5, MASK))
        refusal = await raw.receive()
        while refusal.command != 11:
            refusal = await raw.receive()
        assert refusal.second == 48
        await raw.closed()
        assert (await client.get("T:A")).value == 0.0


# Puts


async def test_puts_of_all_clients_are_limited(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_puts, "MAX_ALL_PUTS", 4)
    done = asyncio.Event()
    bench.b.putter = never_ending(done)
    async with serving(bench) as caserver, Raw(caserver.port) as many, Raw(caserver.port) as other:
        await many.create("T:B")
        await other.create("T:A")
        many.send(*(Message(19, 6, 1, SID, n, TEN) for n in range(5)))
        refused = await many.receive()
        assert (refused.command, refused.first, refused.second) == (19, 160, 4)
        assert (await other.ask(Message(19, 6, 1, SID, 1, TEN))).first == 160
        done.set()
        assert {(await many.receive()).first for _ in range(4)} == {1}
        assert (await other.ask(Message(19, 6, 1, SID, 2, TEN))).first == 1


@pytest.mark.parametrize("reset", [False, True], ids=["closes", "resets"])
async def test_a_client_that_leaves_while_it_is_not_read_from_is_noticed(
    bench: Bench, monkeypatch: pytest.MonkeyPatch, reset: bool
) -> None:
    monkeypatch.setattr(server, "SILENT_SECONDS", 0.1)
    monkeypatch.setattr(_circuit, "MAX_PUTS", 2)
    bench.a.putter = never_ending(asyncio.Event())
    async with serving(bench) as caserver:
        raw = await Raw(caserver.port).__aenter__()
        await raw.create("T:A")
        raw.send(*[Message(19, 6, 1, SID, 1, TEN)] * 10)
        assert caserver._server is not None
        (circuit,) = caserver._server.circuits
        await until(lambda: circuit._is_paused)
        if reset:
            raw.writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
        await raw.__aexit__(None, None, None)
        await until(lambda: not caserver.statistics.clients)
        assert caserver.statistics.reaped == 1


@pytest.mark.parametrize(
    ("name", "put"),
    {
        "not allowed": ("T:B", Message(4, 6, 1, SID, 1, TEN)),
        "unknown type": ("T:A", Message(4, 99, 1, SID, 1, TEN)),
        "too few bytes": ("T:A", Message(4, 6, 9, SID, 1, TEN)),
        "no number": ("T:A", Message(4, 0, 1, SID, 1, b"abc\nERROR all is lost".ljust(40, b"\0"))),
        "two signs": ("T:I", Message(4, 0, 1, SID, 1, b"+-5".ljust(40, b"\0"))),
        "a bug": ("T:BUG", Message(4, 6, 1, SID, 1, TEN)),
    }.values(),
)
async def test_puts_that_fail_again_and_again_are_logged_once_in_a_while(
    bench: Bench, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch, name: str, put: Message
) -> None:
    async def fail(value: float) -> None:
        raise ZeroDivisionError("a\nbug")

    integer, bug = IntegerPV(info=RecordInfo("longout"), pvname="T:I"), Bench("T:").a
    integer.putter, bug.putter = putter_of(integer), fail
    bench.pvdb.update({"T:I": integer, "T:BUG": bug})
    monkeypatch.setattr(_complaints, "COMPLAINT_SECONDS", 1e6)
    caplog.set_level(logging.INFO, "labioc.ca")
    async with serving(bench) as caserver, Raw(caserver.port) as raw:
        await raw.create(name)
        raw.send(*[put] * 500)
        for _ in range(500):
            assert (await raw.receive()).command == 11
    (record,) = [record for record in caplog.records if "put by" in record.getMessage()]
    assert "\n" not in record.getMessage()
    assert bool(record.exc_info) == (name == "T:BUG")


async def test_what_was_not_logged_is_counted(
    bench: Bench, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    caplog.set_level(logging.INFO, "labioc.ca")
    clock = [0.0]
    monkeypatch.setattr(_complaints, "monotonic", lambda: clock[0])
    async with serving(bench) as caserver, Raw(caserver.port) as raw:
        await raw.create("T:B")
        for _ in range(3):
            await raw.ask(Message(4, 6, 1, SID, 1, TEN))
        clock[0] += 2
        await raw.ask(Message(4, 6, 1, SID, 1, TEN))
    assert ["2 more" in line for line in caplog.messages if "put by" in line] == [False, True]


# Connections


async def test_connections_that_are_reset_before_they_are_accepted(bench: Bench) -> None:
    failures: list[Any] = []
    asyncio.get_running_loop().set_exception_handler(lambda loop, context: failures.append(context))
    async with serving(bench) as caserver:
        before = len(os.listdir("/proc/self/fd"))
        for sent in (b"", b"x", bytes(Message(23))) * 20:
            with socket.create_connection(("127.0.0.1", caserver.port)) as sock:
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
                sock.send(sent)
        async with Raw(caserver.port) as raw:
            await raw.create("T:A")
            await until(lambda: caserver.statistics.clients == 1)
        await until(lambda: caserver.statistics.clients == 0)
        assert len(os.listdir("/proc/self/fd")) <= before
    assert not failures


async def test_who_never_completes_a_request_is_silent(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(server, "SILENT_SECONDS", 0.1)
    async with serving(bench) as caserver:
        _, writer = await asyncio.open_connection("127.0.0.1", caserver.port)
        writer.write(struct.pack(">HHHHII", 18, 0x1000, 0, 0, 1, 13))
        assert caserver._server is not None
        circuits = caserver._server.circuits
        await until(lambda: circuits)
        (circuit,) = circuits
        looks = -1

        def has_looked() -> bool:
            return circuit._silence != looks or not circuit.is_open

        while circuit.is_open:
            looks = circuit._silence
            writer.write(b"\0")
            await until(has_looked)
        assert caserver.statistics.reaped == 1
        writer.close()


async def test_a_client_that_is_stopped_is_not_taken_for_dead(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_sockets, "DEAD_SECONDS", 0.0)
    monkeypatch.setattr(server, "SILENT_SECONDS", 0.1)
    post(bench.trace, [1.0] * 1000)
    async with serving(bench) as caserver, Raw(caserver.port) as raw:
        await raw.create("T:TRACE")
        raw.reader._transport.pause_reading()  # type: ignore[attr-defined]
        raw.send(*[Message(15, 6, 0, SID, 1)] * 4000)
        assert caserver._server is not None
        (circuit,) = caserver._server.circuits
        await until(lambda: circuit.out.is_blocked)
        looks = circuit._silence
        await until(lambda: circuit._silence > looks + 20 or not circuit.is_open)
        assert circuit.is_open


async def test_a_get_waits_for_a_put_that_has_just_begun_only(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_gets, "READ_AFTER_PUT_SECONDS", 500.0)
    done = asyncio.Event()
    bench.a.putter = never_ending(done)
    async with serving(bench) as caserver, Raw(caserver.port) as raw:
        await raw.create("T:A")
        raw.send(Message(19, 6, 1, SID, 1, TEN), Message(15, 6, 1, SID, 2))
        assert (await raw.ask(Message(23))).command == 23
        monkeypatch.setattr(_gets, "monotonic", lambda: time.monotonic() + 1000)
        for number in range(3, 100):
            assert (await raw.ask(Message(15, 6, 1, SID, number))).command == 15
        done.set()
        assert {(await raw.receive()).command for _ in range(2)} >= {15}
