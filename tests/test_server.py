"""The Channel Access server as its clients see it."""

import asyncio
import logging
import os
import signal
import socket
import struct
import time
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from typing import Any

import pytest
from tests.ca import Client, Libca, PutFailed, Reading

from labioc.devices.core.records import PV, DoubleArrayPV, DoublePV, RecordInfo
from labioc.iocs.core._outbox import MAX_QUEUED_EVENTS
from labioc.iocs.core.server import CAServer


class Bench:
    def __init__(self, prefix: str) -> None:
        self.a = DoublePV(info=RecordInfo("ao"), pvname=f"{prefix}A")
        self.b = DoublePV(info=RecordInfo("ao"), pvname=f"{prefix}B")
        self.trace = DoubleArrayPV(info=RecordInfo("waveform"), pvname=f"{prefix}TRACE", max_length=1000)
        self.pvdb: dict[str, PV] = {pv.pvname: pv for pv in (self.a, self.b, self.trace)}


def post(pv: Any, value: Any) -> None:
    pv.post(value, time.time())


def value_is(value: float) -> Callable[[Reading], bool]:
    return lambda reading: bool(reading.value == value)


@asynccontextmanager
async def serving(*benches: Bench) -> AsyncIterator[CAServer]:
    server = CAServer({name: pv for bench in benches for name, pv in bench.pvdb.items()})
    await server.start()
    try:
        yield server
    finally:
        await server.stop()


@pytest.fixture
def bench() -> Bench:
    return Bench(prefix="T:")


def putter_of(pv: Any) -> Callable[[Any], Coroutine[Any, Any, None]]:
    async def put(value: Any) -> None:
        post(pv, value)

    return put


async def test_both_clients_find_and_read(bench: Bench, client: Client, libca: Libca) -> None:
    async with serving(bench):
        post(bench.a, 2.5)
        assert (await client.get("T:A")).value == 2.5
        assert (await libca.get("T:A")).value == 2.5


async def test_unicast_search(bench: Bench, ca_environment: dict[str, str]) -> None:
    async with serving(bench) as server, Client("127.0.0.1") as client:
        assert await client.find("T:A") == ("127.0.0.1", server.port)


async def test_several_servers_on_one_host_are_found_by_broadcast(
    ca_environment: dict[str, str], client: Client, libca: Libca
) -> None:
    benches = [Bench(prefix=f"T{number}:") for number in range(4)]
    servers = [CAServer(bench.pvdb) for bench in benches]
    for server in servers:
        await server.start()
    try:
        assert len({server.port for server in servers}) == 4
        for number, bench in enumerate(benches):
            post(bench.a, float(number))
            assert (await client.get(f"T{number}:A")).value == number
            assert (await libca.get(f"T{number}:A")).value == number
    finally:
        for server in servers:
            await server.stop()


async def test_first_server_takes_the_search_port_for_tcp(
    bench: Bench, ca_environment: dict[str, str]
) -> None:
    async with serving(bench) as server:
        assert server.port == server.search_port == int(ca_environment["EPICS_CA_SERVER_PORT"])


async def test_cas_server_port_goes_before_ca_server_port(
    bench: Bench, ca_environment: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    port = ca_environment["EPICS_CA_SERVER_PORT"]
    monkeypatch.setenv("EPICS_CAS_SERVER_PORT", port)
    monkeypatch.setenv("EPICS_CA_SERVER_PORT", "1")
    async with serving(bench) as server:
        assert server.search_port == int(port)


@pytest.mark.parametrize("port", ["0", "65536", "many"])
async def test_a_port_that_is_none_is_named(
    bench: Bench, ca_environment: dict[str, str], monkeypatch: pytest.MonkeyPatch, port: str
) -> None:
    monkeypatch.setenv("EPICS_CA_SERVER_PORT", port)
    with pytest.raises(ValueError, match="EPICS_CA_SERVER_PORT"):
        await CAServer(bench.pvdb).start()


async def test_an_address_that_is_not_ours_is_one_clear_error(
    bench: Bench, ca_environment: dict[str, str]
) -> None:
    server = CAServer(bench.pvdb, ["192.0.2.1"])
    with pytest.raises(OSError, match=r"can't bind 192\.0\.2\.1 port \d+"):
        await server.start()


async def test_nothing_listens_outside_loopback(bench: Bench, ca_environment: dict[str, str]) -> None:
    async with serving(bench) as server:
        with pytest.raises(ConnectionRefusedError):
            await asyncio.open_connection("127.0.0.3", server.port)


async def test_restart_in_one_loop(bench: Bench, client: Client) -> None:
    server = CAServer(bench.pvdb)
    before = asyncio.all_tasks()
    for number in range(3):
        await server.start()
        post(bench.a, float(number))
        assert (await client.get("T:A")).value == number
        circuit = (await client.connect("T:A")).circuit
        await server.stop()
        async with asyncio.timeout(20):
            await circuit.closed.wait()
        assert {task for task in asyncio.all_tasks() if not task.done()} <= before | {circuit._task}


async def test_start_twice_and_stop_twice(bench: Bench, ca_environment: dict[str, str]) -> None:
    server = CAServer(bench.pvdb)
    await server.start()
    with pytest.raises(RuntimeError):
        await server.start()
    await server.stop()
    await server.stop()
    with pytest.raises(RuntimeError):
        _ = server.port


async def test_stop_ends_a_put_that_never_completes(bench: Bench, client: Client) -> None:
    begun, ended = asyncio.Event(), asyncio.Event()

    async def put(value: float) -> None:
        begun.set()
        try:
            await asyncio.Event().wait()
        finally:
            ended.set()

    bench.a.putter = put
    server = CAServer(bench.pvdb)
    await server.start()
    waiting = asyncio.create_task(client.put("T:A", 1.0))
    await begun.wait()
    await server.stop()
    assert ended.is_set()
    with pytest.raises(ConnectionResetError):
        await waiting


async def test_pvs_may_come_later(client: Client, ca_environment: dict[str, str]) -> None:
    pvdb: dict[str, Any] = {}
    server = CAServer(pvdb)
    await server.start()
    try:
        with pytest.raises(TimeoutError):
            await client.find("T:A", timeout=0.1)
        pvdb.update(Bench(prefix="T:").pvdb)
        assert (await client.get("T:A.RTYP")).value == "ao"
    finally:
        await server.stop()


async def test_a_killed_client_leaves_nothing(bench: Bench, client: Client) -> None:
    async with serving(bench):
        before = asyncio.all_tasks()
        for _ in range(3):
            async with Libca() as victim:
                events = await victim.monitor("T:A")
                post(bench.a, 1.0)
                await events.next()
                os.kill(victim.pid, signal.SIGKILL)
                while bench.a._monitors:
                    post(bench.a, time.time())
                    await asyncio.sleep(0)
        assert (await client.get("T:A")).status == 0
        own = (await client.connect("T:A")).circuit._task
        assert not [task for task in asyncio.all_tasks() - before - {own} if not task.done()]


async def test_a_stopped_client_does_not_stop_the_others(bench: Bench, libca: Libca) -> None:
    async with serving(bench), Libca() as sleeper:
        slow = await sleeper.monitor("T:TRACE")
        quick = await libca.monitor("T:A")
        await slow.next()
        await quick.next()
        os.kill(sleeper.pid, signal.SIGSTOP)
        # Far more than any socket buffer holds.
        for number in range(3000):
            post(bench.trace, [float(number)] * 1000)
            post(bench.a, float(number))
            if number % 100 == 0:
                await quick.next(value_is(number))
        await quick.next(value_is(2999))
        os.kill(sleeper.pid, signal.SIGCONT)
        assert (await slow.next(lambda reading: reading.value[0] == 2999)).value == [2999.0] * 1000
        assert len(slow.received) < 3000


async def test_every_event_of_a_burst_arrives_in_order(bench: Bench, libca: Libca) -> None:
    count = 3 * MAX_QUEUED_EVENTS
    async with serving(bench):
        events = await libca.monitor("T:A")
        await events.next()
        for number in range(count):
            post(bench.a, float(number))
        await events.next(value_is(count - 1))
        assert [reading.value for reading in events.received[1:]] == [float(n) for n in range(count)]


async def test_events_of_different_pvs_keep_their_order(bench: Bench, client: Client) -> None:
    async with serving(bench), client.monitor("T:A") as a, client.monitor("T:B") as b:
        await a.next()
        await b.next()
        order: list[float] = []
        a.on_event = b.on_event = lambda reading: order.append(reading.value)
        for number in range(0, 100, 2):
            post(bench.a, float(number))
            post(bench.b, float(number + 1))
        await b.next(value_is(99))
        assert order == [float(n) for n in range(100)]


async def test_an_event_comes_before_the_answer_to_its_put(bench: Bench, client: Client) -> None:
    bench.a.putter = putter_of(bench.a)
    async with serving(bench), client.monitor("T:A") as events:
        await events.next()
        for number in range(20):
            await client.put("T:A", float(number + 1))
            assert events.received[-1].value == number + 1


async def test_cancelled_monitor_gets_no_more(bench: Bench, client: Client) -> None:
    async with serving(bench):
        async with client.monitor("T:A") as events:
            await events.next()
        await client.get("T:A")
        assert not bench.a._monitors
        post(bench.a, 7.0)
        await client.get("T:A")
        assert [reading.value for reading in events.received] == [0.0]


async def test_clearing_a_channel_ends_its_monitors_only(bench: Bench, client: Client) -> None:
    async with serving(bench), client.monitor("T:A") as a, client.monitor("T:B") as b:
        await a.next()
        await b.next()
        await client.clear("T:A")
        post(bench.a, 1.0)
        post(bench.b, 1.0)
        await b.next(value_is(1.0))
        assert not bench.a._monitors
        assert bench.b._monitors


async def test_events_off_then_on_sends_the_newest(bench: Bench, client: Client) -> None:
    import caproto as ca

    async with serving(bench), client.monitor("T:A") as events:
        await events.next()
        circuit = (await client.connect("T:A")).circuit
        circuit.send(ca.EventsOffRequest())
        await client.get("T:A")
        for number in range(10):
            post(bench.a, float(number))
        await client.get("T:B")
        assert len(events.received) == 1
        circuit.send(ca.EventsOnRequest())
        assert (await events.next()).value == 9.0


async def test_name_server_circuit_takes_a_second_priority(
    bench: Bench, ca_environment: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    async with serving(bench) as server:
        post(bench.a, 4.0)
        monkeypatch.setenv("EPICS_CA_NAME_SERVERS", f"127.0.0.1:{server.port}")
        monkeypatch.setenv("EPICS_CA_ADDR_LIST", "")
        async with Libca() as libca:
            assert (await libca.get("T:A")).value == 4.0


GARBAGE = {
    "unknown channel": struct.pack(">HHHHII", 15, 0, 6, 1, 99, 1),
    "unknown command": struct.pack(">HHHHII", 77, 0, 0, 0, 0, 0),
    "no sense": bytes(range(256)) * 4,
}


@pytest.mark.parametrize("garbage", GARBAGE.values(), ids=GARBAGE)
async def test_garbage_costs_its_sender_the_connection(
    bench: Bench, client: Client, caplog: pytest.LogCaptureFixture, garbage: bytes
) -> None:
    caplog.set_level(logging.INFO)
    async with serving(bench) as server:
        reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
        writer.write(garbage)
        writer.write_eof()
        async with asyncio.timeout(20):
            await reader.read()
        writer.close()
        assert (await client.get("T:A")).value == 0.0
        lines = [record for record in caplog.records if record.name.startswith(("labioc", "caproto"))]
        assert len(lines) <= 1
        assert not any(record.exc_info for record in lines)


async def test_udp_garbage_is_ignored(bench: Bench, client: Client) -> None:
    async with serving(bench) as server:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
            for size in range(0, 64, 3):
                sock.sendto(os.urandom(size), ("127.0.0.1", server.search_port))
        assert (await client.get("T:A")).value == 0.0


@pytest.mark.parametrize("name", ["T:NONE", "T:A.NONE", "T:A.DRVX", "T:A.PREC$", "T:A.VAL{bad", "T:A.ZNAM"])
async def test_what_does_not_exist_is_not_found_and_costs_nothing(
    bench: Bench, client: Client, name: str
) -> None:
    async with serving(bench):
        with pytest.raises(TimeoutError):
            await client.find(name, timeout=0.1)
        address = await client.find("T:A")
        reader, writer = await asyncio.open_connection(*address)
        text = name.encode().ljust(24, b"\0")
        writer.write(struct.pack(">HHHHII", 0, 0, 0, 13, 0, 0))
        writer.write(struct.pack(">HHHHII", 18, len(text), 0, 0, 5, 13) + text)
        writer.write(struct.pack(">HHHHII", 23, 0, 0, 0, 0, 0))
        async with asyncio.timeout(20):
            await reader.readexactly(16)
            failed = struct.unpack(">HHHHII", await reader.readexactly(16))
            echo = await reader.readexactly(16)
        assert (failed[0], failed[4], echo[1]) == (26, 5, 23)
        writer.close()


async def test_array_filter(bench: Bench, client: Client) -> None:
    async with serving(bench):
        post(bench.trace, [float(number) for number in range(10)])
        assert (await client.get("T:TRACE.VAL[2:4]")).value == [2.0, 3.0, 4.0]
        async with client.monitor("T:TRACE.VAL[2:4]") as events:
            assert (await events.next()).value == [2.0, 3.0, 4.0]


async def test_deadband_filter(bench: Bench, client: Client) -> None:
    async with serving(bench), client.monitor('T:A.VAL{"dbnd":{"abs":1.5}}') as events:
        await events.next()
        for value in (1.0, 2.0, 3.0, 9.0):
            post(bench.a, value)
        await events.next(value_is(9.0))
        # 1.0 ends the alarm of the first reading.
        assert [reading.value for reading in events.received] == [0.0, 1.0, 2.0, 9.0]


async def test_an_unexpected_error_of_a_putter_is_logged_with_its_traceback(
    bench: Bench, client: Client, caplog: pytest.LogCaptureFixture
) -> None:
    async def put(value: float) -> None:
        raise ZeroDivisionError("a bug")

    bench.a.putter = put
    async with serving(bench):
        with pytest.raises(PutFailed, match="ECA_PUTFAIL"):
            await client.put("T:A", 1.0)
    (record,) = [record for record in caplog.records if "T:A" in record.getMessage()]
    assert record.levelno == logging.ERROR
    assert record.exc_info


async def test_beacons_tell_the_tcp_port_on_loopback(bench: Bench, ca_environment: dict[str, str]) -> None:
    heard: asyncio.Queue[bytes] = asyncio.Queue()

    class Repeater(asyncio.DatagramProtocol):
        def datagram_received(self, data: bytes, addr: tuple[str, int]) -> None:
            heard.put_nowait(data)

    loop = asyncio.get_running_loop()
    address = ("127.0.0.1", int(ca_environment["EPICS_CA_REPEATER_PORT"]))
    transport, _ = await loop.create_datagram_endpoint(Repeater, local_addr=address)
    async with serving(bench) as server, asyncio.timeout(20):
        first, second = [struct.unpack(">HHHHII", await heard.get()) for _ in range(2)]
        assert first[:4] == (13, 0, 13, server.port)
        assert (first[4], second[4]) == (0, 1)
    transport.close()


async def test_loopback_server_sends_no_beacon_elsewhere(
    bench: Bench, ca_environment: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("EPICS_CAS_BEACON_ADDR_LIST", "192.0.2.7 127.0.0.1:4444")
    monkeypatch.setenv("EPICS_CAS_AUTO_BEACON_ADDR_LIST", "YES")
    async with serving(bench) as server:
        assert server._server is not None
        repeater = int(ca_environment["EPICS_CA_REPEATER_PORT"])
        targets = [target for _, target in server._server.searches.beacon_targets()]
        assert targets == [("127.0.0.1", 4444), ("127.255.255.255", repeater)]


async def test_a_wrong_beacon_address_fails_the_start_and_leaves_nothing_open(
    bench: Bench, ca_environment: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    server = CAServer(bench.pvdb)
    monkeypatch.setenv("EPICS_CAS_BEACON_ADDR_LIST", "127.0.0.1:port")
    with pytest.raises(ValueError, match="port"):
        await server.start()
    monkeypatch.setenv("EPICS_CAS_BEACON_ADDR_LIST", "127.0.0.1")
    await server.start()
    assert server.port == server.search_port
    await server.stop()


async def test_no_delay_on_connections(bench: Bench, client: Client) -> None:
    async with serving(bench) as server:
        await client.connect("T:A")
        assert server._server is not None
        (circuit,) = server._server.circuits
        sock = circuit._transport.get_extra_info("socket")
        assert sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)


async def test_stock_caproto_channels_are_served(client: Client) -> None:
    from caproto import ChannelDouble, ChannelString

    stock = ChannelDouble(value=1.5)
    server = CAServer({"S:D": stock, "S:S": ChannelString(value="text")})
    await server.start()
    try:
        async with client.monitor("S:D") as events:
            assert (await events.next()).value == 1.5
            await client.put("S:D", 2.5)
            assert (await events.next()).value == 2.5
        assert (await client.get("S:S")).value == "text"
    finally:
        await server.stop()


async def test_stock_caproto_server_serves_our_pvs(bench: Bench, client: Client) -> None:
    from caproto.asyncio.server import Context

    context = Context(dict(bench.pvdb), ["127.0.0.1"])
    running = asyncio.create_task(context.run())
    bench.a.putter = putter_of(bench.a)
    try:
        async with Client("127.0.0.1") as unicast:
            async with unicast.monitor("T:A") as events:
                await events.next()
                await unicast.put("T:A", 3.0)
                await events.next(value_is(3.0))
            assert (await unicast.get("T:A.RTYP")).value == "ao"
            control = (await unicast.get("T:A", form="control")).metadata
            assert control.status == 0
    finally:
        running.cancel()
        await running
