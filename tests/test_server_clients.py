"""What the Channel Access server lets its clients do, and what it answers: as the C IOC where that has an opinion."""

import asyncio
import logging
import struct
import sys

import pytest
from tests.ca import PATIENCE, Client, Libca, Message, PutFailed, Raw, until
from tests.test_server import Bench, post, putter_of, serving, value_is

from labioc.devices.core.records import EnumPV, PutRefused, RecordInfo, StringPV
from labioc.iocs.core import _circuit, _gets
from labioc.iocs.core.server import AccessRights, CAServer, Peer, Statistics

SID = 1
"""Of the first channel on a circuit."""
MASK = struct.pack(">12xHxx", 5)
TEN = struct.pack(">d", 10.0)


@pytest.fixture
def bench() -> Bench:
    bench = Bench(prefix="T:")
    for pv in (bench.a, bench.trace):
        pv.putter = putter_of(pv)
    return bench


def write_from_home(pvname: str, peer: Peer) -> AccessRights:
    if peer.address == "127.0.0.2":
        return AccessRights.READ | AccessRights.WRITE
    return AccessRights.NO_ACCESS if pvname == "T:B" else AccessRights.READ


async def test_the_access_rule_sees_the_real_address(bench: Bench, ca_environment: dict[str, str]) -> None:
    peers = []

    def rule(pvname: str, peer: Peer) -> AccessRights:
        peers.append((pvname, peer))
        return write_from_home(pvname, peer)

    caserver = CAServer(bench.pvdb, access=rule)
    await caserver.start()
    async with Raw(caserver.port, local="127.0.0.2") as home, Raw(caserver.port, host="127.0.0.2") as liar:
        assert (await home.create("T:A"))[1] == 3
        assert (await home.ask(Message(19, 6, 1, SID, 5, TEN))).first == 1
        assert (await liar.create("T:A.VAL"))[1] == 1
        assert (await liar.ask(Message(19, 6, 1, SID, 5, TEN))).first == 376
        assert (await liar.ask(Message(4, 6, 1, SID, 5, TEN))).second == 376
        assert (await liar.ask(Message(15, 6, 1, SID, 5))).payload == TEN
        name, peer = peers[-1]
        assert (name, peer.address, peer.host) == ("T:A", "127.0.0.1", "127.0.0.2")
    await caserver.stop()


async def test_who_may_not_read_gets_no_value(bench: Bench, ca_environment: dict[str, str]) -> None:
    post(bench.b, 10.0)
    caserver = CAServer(bench.pvdb, access=write_from_home)
    await caserver.start()
    async with Raw(caserver.port) as raw:
        assert (await raw.create("T:B"))[1] == 0
        refused = await raw.ask(Message(15, 6, 1, SID, 5))
        assert (refused.first, refused.payload) == (368, bytes(8))
        refused = await raw.ask(Message(1, 6, 1, SID, 5, MASK))
        assert (refused.command, refused.first, refused.payload) == (1, 368, bytes(8))
        post(bench.b, 11.0)
        assert (await raw.ask(Message(2, 6, 1, SID, 5))).payload == b""
    await caserver.stop()


async def test_rights_that_change_reach_those_who_are_connected(
    bench: Bench, ca_environment: dict[str, str]
) -> None:
    import caproto

    rights = [AccessRights.READ | AccessRights.WRITE]
    pvs = {**bench.pvdb, "S:D": caproto.ChannelDouble(value=0.0)}
    caserver = CAServer(pvs, access=lambda name, peer: rights[0])
    caserver.rights_changed()
    await caserver.start()
    async with Raw(caserver.port) as raw:
        for sid, name in enumerate(("T:A", "S:D"), 1):
            await raw.create(name)
            await raw.ask(Message(1, 6, 1, sid, sid, MASK))
        caserver.rights_changed()
        assert (await raw.ask(Message(23))).command == 23
        rights[0] = AccessRights.NO_ACCESS
        caserver.rights_changed()
        got = [await raw.receive() for _ in range(4)]
        assert [(message.first, message.second) for message in got if message.command == 22] == [
            (1, 0),
            (2, 0),
        ]
        assert [(message.first, message.second) for message in got if message.command == 1] == [
            (368, 1),
            (368, 2),
        ]
        post(bench.a, 1.0)
        await pvs["S:D"].write(1.0)
        assert (await raw.ask(Message(19, 6, 1, SID, 3, TEN))).first == 376
        rights[0] = AccessRights.READ
        caserver.rights_changed()
        got = [await raw.receive() for _ in range(4)]
        assert sorted((message.command, message.second) for message in got) == [
            (1, 1),
            (1, 2),
            (22, 1),
            (22, 1),
        ]
        assert {message.payload for message in got if message.command == 1} == {struct.pack(">d", 1.0)}
        for pv in (bench.a, pvs["S:D"]):
            await pv.write(2.0)
            assert (await raw.receive()).payload == struct.pack(">d", 2.0)
        for sid in (1, 2):
            assert (await raw.ask(Message(2, 6, 1, sid, sid))).payload == b""
    assert not bench.a._monitors
    await caserver.stop()


async def test_a_rule_gives_no_right_that_the_pv_has_not(
    bench: Bench, ca_environment: dict[str, str]
) -> None:
    caserver = CAServer(bench.pvdb, access=lambda name, peer: AccessRights.READ | AccessRights.WRITE)
    await caserver.start()
    async with Raw(caserver.port) as raw:
        assert (await raw.create("T:B"))[1] == 1
    await caserver.stop()


async def test_a_rule_that_fails_gives_no_right(
    bench: Bench, ca_environment: dict[str, str], caplog: pytest.LogCaptureFixture
) -> None:
    def rule(name: str, peer: Peer) -> AccessRights:
        raise ZeroDivisionError("a bug")

    caserver = CAServer(bench.pvdb, access=rule)
    await caserver.start()
    async with Raw(caserver.port) as raw:
        assert (await raw.create("T:A"))[1] == 0
    await caserver.stop()
    assert any(record.exc_info for record in caplog.records)


async def test_statistics(bench: Bench, client: Client) -> None:
    async with serving(bench) as caserver:
        assert caserver.statistics == Statistics()
        async with client.monitor("T:A"), client.monitor("T:B"):
            await client.get("T:B")
            assert caserver.statistics == Statistics(clients=1, channels=2, monitors=2)
        await client.clear("T:B")
        await client.get("T:A")
        assert caserver.statistics == Statistics(clients=1, channels=1)
        async with Raw(caserver.port) as raw:
            raw.send(Message(77))
            await raw.closed()
        assert caserver.statistics == Statistics(clients=1, channels=1, malformed=1)
    assert caserver.statistics == Statistics(malformed=1)


async def test_dropped_events_are_counted(bench: Bench, ca_environment: dict[str, str]) -> None:
    async with serving(bench) as caserver, Raw(caserver.port) as raw:
        await raw.create("T:A")
        await raw.ask(Message(1, 20, 1, SID, 5, MASK))
        await raw.ask(Message(8), Message(23))
        for number in range(10):
            post(bench.a, float(number + 1))
        await raw.ask(Message(9))
        assert caserver.statistics.dropped_events == 9


# Requests of a client that has opened T:A, and what the C IOC of base 7.0 answers: command, count, both numbers.
LIKE_THE_C_IOC: dict[str, tuple[Message, tuple[int, int, int, int]]] = {
    "echo": (Message(23), (23, 0, 0, 0)),
    "get": (Message(15, 6, 1, SID, 5), (15, 1, 1, 5)),
    "get of more than there is": (Message(15, 20, 2, SID, 5), (15, 2, 1, 5)),
    "get of as much as there is": (Message(15, 20, 0, SID, 5), (15, 1, 1, 5)),
    "get of an acknowledgement": (Message(15, 35, 1, SID, 5), (15, 1, 152, 5)),
    "old get": (Message(3, 6, 1, SID, 5), (3, 1, 1, 5)),
    "read sync": (Message(10), (10, 0, 0, 0)),
    "put": (Message(19, 6, 1, SID, 5, TEN), (19, 1, 1, 5)),
    "put of two": (Message(19, 6, 2, SID, 5, TEN + TEN), (19, 2, 1, 5)),
    "put of no number": (Message(19, 0, 1, SID, 5, b"abc"), (19, 1, 160, 5)),
    "put of no number without callback": (Message(4, 0, 1, SID, 5, b"abc"), (11, 0, 1, 160)),
    "put with alarm and time": (Message(19, 20, 1, SID, 5, bytes(16) + TEN), (19, 1, 160, 5)),
    "put of an unknown type": (Message(19, 39, 1, SID, 5, TEN), (19, 1, 114, 5)),
    "monitor": (Message(1, 20, 1, SID, 5, MASK), (1, 1, 1, 5)),
    "monitor of two": (Message(1, 20, 2, SID, 5, MASK), (1, 2, 1, 5)),
    "clear": (Message(12, 0, 0, SID, 1), (12, 0, SID, 1)),
    "search for what is here": (Message(6, 5, 13, 99, 99, b"T:B\0"), (6, 0, 0xFFFFFFFF, 99)),
    "search for what is not": (Message(6, 10, 13, 99, 99, b"T:NONE\0"), (14, 13, 99, 99)),
    "channel that is not here": (Message(18, 0, 0, 9, 13, b"T:NONE\0"), (26, 0, 9, 0)),
    "name after a channel": (Message(21, payload=b"other\0"), (11, 0, 0xFFFFFFFF, 142)),
    # rsrv ends the circuit after these.
    "monitor of an unknown type": (Message(1, 39, 1, SID, 5, MASK), (1, 1, 114, 5)),
    "get of an unknown type": (Message(15, 39, 1, SID, 5), (15, 1, 114, 5)),
    "old get of an unknown type": (Message(3, 39, 1, SID, 5), (11, 0, 1, 114)),
}


@pytest.mark.parametrize(("request_", "answer"), LIKE_THE_C_IOC.values(), ids=LIKE_THE_C_IOC)
async def test_answers_are_those_of_the_c_ioc(
    bench: Bench, ca_environment: dict[str, str], request_: Message, answer: tuple[int, int, int, int]
) -> None:
    async with serving(bench) as caserver, Raw(caserver.port) as raw:
        await raw.create("T:A")
        got = await raw.ask(request_)
        assert (got.command, got.count, got.first, got.second) == answer
        assert (await raw.ask(Message(23))).command == 23


FATAL = {
    "get of no channel": (Message(15, 6, 1, 77, 5), 142),
    "put to no channel": (Message(4, 6, 1, 77, 5, TEN), 142),
    "monitor of no channel": (Message(1, 6, 1, 77, 5, MASK), 142),
    "clearing no channel": (Message(12, 0, 0, 77, 5), 142),
    "monitor of nothing": (Message(1, 20, 1, SID, 5, bytes(16)), 48),
    "no such monitor": (Message(2, 20, 1, SID, 5), 242),
    "no such request": (Message(77), 142),
}


@pytest.mark.parametrize(("request_", "status"), FATAL.values(), ids=FATAL)
async def test_requests_that_end_the_circuit_as_in_the_c_ioc(
    bench: Bench, ca_environment: dict[str, str], request_: Message, status: int
) -> None:
    async with serving(bench) as caserver, Raw(caserver.port) as raw:
        await raw.create("T:A")
        raw.send(request_, Message(23))
        got = await raw.receive()
        assert (got.command, got.second, got.payload[:16]) == (11, status, bytes(request_)[:16])
        assert await raw.closed() == b""


async def test_a_search_by_tcp_for_what_is_not_here_is_answered_only_if_wanted(
    bench: Bench, ca_environment: dict[str, str]
) -> None:
    async with serving(bench) as caserver, Raw(caserver.port) as raw:
        assert (await raw.ask(Message(6, 5, 13, 9, 9, b"T:NONE\0"), Message(23))).command == 23


async def test_a_cancelled_monitor_is_confirmed_with_its_type_and_count(
    bench: Bench, ca_environment: dict[str, str]
) -> None:
    async with serving(bench) as caserver, Raw(caserver.port) as raw:
        await raw.create("T:A")
        await raw.ask(Message(1, 20, 1, SID, 5, MASK))
        assert await raw.ask(Message(2, 20, 0, SID, 5)) == Message(1, 20, 1, SID, 5)


@pytest.mark.parametrize("command", [15, 1])
async def test_arrays_are_as_long_as_the_client_wants(
    bench: Bench, ca_environment: dict[str, str], command: int
) -> None:
    post(bench.trace, [1.0, 2.0, 3.0])
    async with serving(bench) as caserver, Raw(caserver.port) as raw:
        await raw.create("T:TRACE")
        for ioid, (wanted, values) in enumerate({0: (1, 2, 3), 2: (1, 2), 5: (1, 2, 3, 0, 0)}.items()):
            got = await raw.ask(Message(command, 6, wanted, SID, ioid, MASK if command == 1 else b""))
            assert (got.count, got.payload) == (len(values), struct.pack(f">{len(values)}d", *values))
        post(bench.trace, [])
        if command == 15:
            got = await raw.ask(Message(15, 6, 0, SID, 9))
            assert (got.count, got.payload) == (0, b"")


async def test_far_more_elements_than_there_can_be_are_refused(
    bench: Bench, ca_environment: dict[str, str]
) -> None:
    async with serving(bench) as caserver, Raw(caserver.port) as raw:
        await raw.create("T:TRACE")
        assert (await raw.ask(Message(15, 6, 1001, SID, 5))).first == 176
        assert (await raw.ask(Message(1, 6, 1001, SID, 5, MASK))).first == 176
        assert (await raw.ask(Message(2, 6, 1001, SID, 5))).payload == b""


async def test_text_that_is_asked_for_as_a_number(ca_environment: dict[str, str]) -> None:
    text = StringPV(info=RecordInfo("stringin"), pvname="T:S")
    post(text, "words")
    caserver = CAServer({"T:S": text})
    await caserver.start()
    async with Raw(caserver.port) as raw:
        await raw.create("T:S")
        got = await raw.ask(Message(15, 6, 1, SID, 5))
        assert (got.first, got.payload) == (152, bytes(8))
        got = await raw.ask(Message(1, 20, 1, SID, 6, MASK))
        assert (got.first, got.payload) == (152, bytes(24))
        post(text, "other words")
        assert (await raw.ask(Message(23))).command == 23
    await caserver.stop()


async def test_events_that_are_off_are_kept_to_the_newest(
    bench: Bench, ca_environment: dict[str, str]
) -> None:
    async with serving(bench) as caserver, Raw(caserver.port) as raw:
        await raw.create("T:A")
        puts = [Message(4, 6, 1, SID, 1, struct.pack(">d", number)) for number in (1.0, 2.0, 3.0)]
        raw.send(Message(1, 6, 1, SID, 5, MASK), Message(8), *puts, Message(15, 6, 1, SID, 6), Message(9))
        got = [await raw.receive() for _ in range(2)]
        assert sorted(message.command for message in got) == [1, 15]
        assert {message.payload for message in got} == {struct.pack(">d", 3.0)}
        assert (await raw.ask(Message(23))).command == 23


# Puts


async def test_puts_start_in_their_order_and_a_get_sees_them(
    bench: Bench, ca_environment: dict[str, str]
) -> None:
    begun: list[float] = []

    async def slow(value: float) -> None:
        begun.append(value)
        await asyncio.sleep(0.01 / value)
        post(bench.a, value)

    bench.a.putter = slow
    async with serving(bench) as caserver, Raw(caserver.port) as raw:
        await raw.create("T:A")
        for command in (4, 19, 4):
            puts = [Message(command, 6, 1, SID, n, struct.pack(">d", n)) for n in range(1, 20)]
            raw.send(*puts)
        raw.send(Message(15, 6, 1, SID, 100))
        answers: list[Message] = []
        while not answers or answers[-1].command != 15:
            answers.append(await raw.receive())
        assert begun == 3 * [float(n) for n in range(1, 20)]
        assert len(answers) == 20


async def test_a_get_right_behind_a_put_gets_what_was_put(
    bench: Bench, ca_environment: dict[str, str]
) -> None:
    async with serving(bench) as caserver, Raw(caserver.port) as raw:
        await raw.create("T:A")
        for number in range(1, 20):
            value = struct.pack(">d", number)
            got = await raw.ask(Message(4, 6, 1, SID, 1, value), Message(15, 6, 1, SID, number))
            assert (got.second, got.payload) == (number, value)


async def test_a_get_does_not_wait_for_ever_for_a_put_nor_do_others(
    bench: Bench, client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_gets, "READ_AFTER_PUT_SECONDS", 0.01)
    done = asyncio.Event()

    async def put(value: float) -> None:
        await done.wait()

    bench.a.putter = put
    async with serving(bench) as caserver, Raw(caserver.port) as raw:
        await raw.create("T:A")
        raw.send(Message(19, 6, 1, SID, 1, TEN), Message(15, 6, 1, SID, 2))
        got = await raw.receive()
        assert (got.command, got.second, got.payload) == (15, 2, bytes(8))
        assert (await client.get("T:A")).value == 0.0
        done.set()
        assert (await raw.receive()).command == 19


async def test_so_many_puts_at_once_and_no_more(
    bench: Bench, client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_circuit, "MAX_PUTS", 4)
    begun: list[float] = []
    gate = asyncio.Semaphore(0)

    async def put(value: float) -> None:
        begun.append(value)
        await gate.acquire()

    bench.a.putter = put
    async with serving(bench) as caserver, Raw(caserver.port) as raw:
        await raw.create("T:A")
        raw.send(*(Message(19, 6, 1, SID, n, struct.pack(">d", n)) for n in range(10)), Message(23))
        await until(lambda: len(begun) == 4)
        for _ in range(10):
            await client.get("T:B")
        assert begun == [0.0, 1.0, 2.0, 3.0]
        for _ in range(10):
            gate.release()
        answers = [await raw.receive() for _ in range(11)]
        assert begun == [float(n) for n in range(10)]
        assert [answer.second for answer in answers if answer.command == 19] == list(range(10))


async def test_no_put_begins_or_goes_on_after_the_stop(bench: Bench, ca_environment: dict[str, str]) -> None:
    begun: list[float] = []
    ended: list[float] = []

    async def put(value: float) -> None:
        begun.append(value)
        try:
            await asyncio.Event().wait()
        finally:
            # The putter has something to put right; meanwhile the client goes on putting.
            raw.send(*more)
            for _ in range(20):
                await asyncio.sleep(0)
            ended.append(value)

    bench.a.putter = put
    more = [Message(19, 6, 1, SID, 1, TEN)] * 10
    async with serving(bench) as caserver:
        raw = await Raw(caserver.port).__aenter__()
        await raw.create("T:A")
        raw.send(*more * 30)
        await until(lambda: len(begun) == _circuit.MAX_PUTS)
    assert len(begun) == len(ended) == _circuit.MAX_PUTS
    await raw.closed()
    await raw.__aexit__(None, None, None)
    assert len(begun) == _circuit.MAX_PUTS


@pytest.mark.skipif(sys.version_info < (3, 12), reason="asyncio has no eager tasks")
async def test_puts_of_an_eager_loop_are_answered(bench: Bench, ca_environment: dict[str, str]) -> None:
    loop = asyncio.get_running_loop()
    async with serving(bench) as caserver, Raw(caserver.port) as raw:
        await raw.create("T:A")
        loop.set_task_factory(getattr(asyncio, "eager_task_factory"))  # noqa: B009
        for number in range(3):
            got = await raw.ask(Message(19, 6, 1, SID, number, TEN))
            assert (got.command, got.first, got.second) == (19, 1, number)
        assert (await raw.ask(Message(15, 6, 1, SID, 9))).payload == TEN
        loop.set_task_factory(None)
        assert caserver._server is not None
        assert not caserver._server.puts


async def test_a_put_goes_on_when_its_client_has_gone(bench: Bench, ca_environment: dict[str, str]) -> None:
    begun, may_end, ended = asyncio.Event(), asyncio.Event(), asyncio.Event()

    async def put(value: float) -> None:
        begun.set()
        await may_end.wait()
        ended.set()

    bench.a.putter = put
    async with serving(bench) as caserver:
        async with Raw(caserver.port) as raw:
            await raw.create("T:A")
            raw.send(Message(4, 6, 1, SID, 1, TEN), Message(12, 0, 0, SID, 1))
        async with asyncio.timeout(PATIENCE):
            await begun.wait()
        await until(lambda: not caserver.statistics.clients)
        may_end.set()
        await until(ended.is_set)


@pytest.mark.parametrize("refusal", [PutRefused("not now"), ValueError("a bug")], ids=["expected", "bug"])
async def test_failed_puts_are_logged_in_one_line_with_a_traceback_for_bugs_only(
    bench: Bench, libca: Libca, caplog: pytest.LogCaptureFixture, refusal: Exception
) -> None:
    async def put(value: float) -> None:
        raise refusal

    bench.a.putter = put
    caplog.set_level(logging.INFO, "labioc.ca")
    async with serving(bench):
        with pytest.raises(PutFailed, match="ECA_PUTFAIL"):
            await libca.put("T:A", 1.0)
    (record,) = [record for record in caplog.records if "T:A: put by" in record.getMessage()]
    assert bool(record.exc_info) == (refusal.args == ("a bug",))


@pytest.mark.parametrize("put", ["nonsense", 7.0, -1.0], ids=str)
async def test_libca_is_told_that_a_state_does_not_exist(
    libca: Libca, ca_environment: dict[str, str], put: object
) -> None:
    pv = EnumPV(info=RecordInfo("mbbo", states=("off", "on")), pvname="T:E")
    pv.putter = putter_of(pv)
    caserver = CAServer({"T:E": pv})
    await caserver.start()
    with pytest.raises(PutFailed, match="ECA_PUTFAIL"):
        await libca.put("T:E", put)
    await libca.put("T:E", "on")
    await caserver.stop()


# Searches


async def test_a_datagram_of_many_searches_is_answered_in_datagrams_that_clients_take(
    bench: Bench, ca_environment: dict[str, str]
) -> None:
    answers: list[bytes] = []
    heard = asyncio.Event()

    class Searcher(asyncio.DatagramProtocol):
        def datagram_received(self, data: bytes, addr: tuple[str, int]) -> None:
            answers.append(data)
            if sum(map(_answers, answers)) == 100:
                heard.set()

    loop = asyncio.get_running_loop()
    async with serving(bench) as caserver:
        transport, _ = await loop.create_datagram_endpoint(Searcher, local_addr=("127.0.0.1", 0))
        searches = [Message(6, 5, 13, n, n, b"T:A\0" if n % 2 else b"T:NONE\0") for n in range(200)]
        request = bytes(Message(0, count=13)) + b"".join(map(bytes, searches))
        transport.sendto(request, ("127.0.0.1", caserver.search_port))
        async with asyncio.timeout(PATIENCE):
            await heard.wait()
        transport.close()
    assert len(answers) > 1
    assert max(map(len, answers)) <= 1024


def _answers(datagram: bytes) -> int:
    return (len(datagram) - 16) // 24


async def test_libca_with_a_name_server_only_reads_puts_and_monitors(
    bench: Bench, ca_environment: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    async with serving(bench) as caserver:
        monkeypatch.setenv("EPICS_CA_NAME_SERVERS", f"127.0.0.1:{caserver.port}")
        monkeypatch.setenv("EPICS_CA_ADDR_LIST", "")
        async with Libca() as libca:
            events = await libca.monitor("T:A")
            await libca.put("T:A", 3.0)
            await events.next(value_is(3.0))
            assert (await libca.get("T:B")).status == 17
