"""The faults of simulators, as a plain client sees them on the wire."""

import asyncio
import contextlib
import os
import random
import re
import socket
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest
from tests.test_cli import PATIENCE
from tests.test_sim_core import Bench

from labioc.sim.core import Fault, Faults, LineSimulator
from labioc.sim.core.connection import Connection
from labioc.sim.core.faults import KINDS
from labioc.sim.lakeshore336 import LakeShore336

TCP, PTY = "tcp://127.0.0.1:0", "pty:"
both = pytest.mark.parametrize("at", [TCP, PTY])
HOUR = 3600


class Plain:
    """A client that knows nothing: bytes out, bytes in."""

    def __init__(self, descriptor: socket.socket | int) -> None:
        self.descriptor = descriptor
        self.buffer = b""

    def send(self, data: bytes) -> None:
        if isinstance(self.descriptor, int):
            assert os.write(self.descriptor, data) == len(data)
        else:
            assert self.descriptor.send(data) == len(data)

    async def receive(self) -> bytes:
        """Return what comes next, in one piece; b"" at the end."""
        loop, descriptor = asyncio.get_running_loop(), self.descriptor
        async with asyncio.timeout(PATIENCE):
            if isinstance(descriptor, socket.socket):
                return await loop.sock_recv(descriptor, 65536)
            ready = asyncio.Event()
            loop.add_reader(descriptor, ready.set)
            try:
                await ready.wait()
            finally:
                loop.remove_reader(descriptor)
            return os.read(descriptor, 65536)

    async def read(self, ending: bytes) -> bytes:
        """Return everything up to this ending."""
        while ending not in self.buffer:
            piece = await self.receive()
            assert piece, f"the end after {self.buffer[-80:]!r}"
            self.buffer += piece
        size = self.buffer.index(ending) + len(ending)
        read, self.buffer = self.buffer[:size], self.buffer[size:]
        return read

    async def ask(self, request: bytes, ending: bytes = b"\r\n") -> bytes:
        self.send(request)
        return await self.read(ending)


@contextlib.asynccontextmanager
async def client(url: str) -> AsyncIterator[Plain]:
    if url.startswith("tcp:"):
        host, port = url.removeprefix("tcp://").split(":")
        with socket.socket() as sock:
            sock.setblocking(False)
            await asyncio.get_running_loop().sock_connect(sock, (host, int(port)))
            yield Plain(sock)
    else:
        path = url.removeprefix("serial://").partition("?")[0]
        descriptor = os.open(path, os.O_RDWR | os.O_NOCTTY | os.O_NONBLOCK)
        try:
            yield Plain(descriptor)
        finally:
            os.close(descriptor)


@contextlib.asynccontextmanager
async def served(at: str, *faults: str, bench: LineSimulator | None = None) -> AsyncIterator[Plain]:
    bench = bench or Bench()
    bench.faults.add(*faults)
    async with bench.serve(at) as url, client(url) as plain:
        yield plain


async def gone(plain: Plain, how: str) -> bytes:
    """Read to the end, which must be this one; return what came before."""
    read = plain.buffer
    try:
        while piece := await plain.receive():
            read += piece
    except ConnectionResetError:
        assert how == "rst"
    else:
        assert how == "fin"
    return read


class Addressed(LineSimulator):
    """An instrument on a bus: its reply begins with its address and ends with a checksum."""

    terminators_in = b"\r"
    terminator_out = b"\r"

    def handle(self, message: bytes) -> bytes:
        return self.frame(1, message)

    def frame(self, address: int, text: bytes) -> bytes:
        body = b"%02d%s" % (address, text)
        return body + b"%02X" % (sum(body) % 256) + b"\r"

    def wrong_address(self, reply: bytes) -> bytes:
        return self.frame(2, reply[2:-3])

    def wrong_checksum(self, reply: bytes) -> bytes:
        return reply[:-3] + b"%02X" % (int(reply[-3:-1], 16) ^ 1) + b"\r"


# the text form


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ("mute", Fault("mute")),
        ("late=0.5", Fault("late", "0.5")),
        ("late=exp:0.2 share=0.02 only=KRDG?", Fault("late", "exp:0.2", share=0.02, only="KRDG?")),
        ("lose count=1", Fault("lose", count=1)),
        ("cut=3 share=1 count=2 seed=7", Fault("cut", "3", count=2, seed=7)),
        ("  hang-up=rst   only=a=b ", Fault("hang-up", "rst", only="a=b")),
        ("refuse='NO WAY' only='SETP '", Fault("refuse", "NO WAY", only="SETP ")),
        (r"lose only=\x01*#", Fault("lose", only=r"\x01*#")),
        ("""lose only="it's" """, Fault("lose", only="it's")),
    ],
)
def test_a_fault_and_its_text(text: str, fault: Fault) -> None:
    assert Fault.parse(text) == fault
    assert Fault.parse(str(fault)) == fault


def test_a_share_in_per_cent() -> None:
    assert Fault.parse("lose share=2%").share == 0.02


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("smoke", "no such fault; there are mute, "),
        ("", "no such fault"),
        ("mute=on", "'mute=on': it takes no value"),
        ("late", "expected seconds, uniform:LOW:HIGH or exp:MEAN"),
        ("late=x", "expected seconds"),
        ("late=-1", "expected seconds"),
        ("late=inf", "expected seconds"),
        ("late=uniform:2:1", "expected seconds"),
        ("late=exp:0", "expected seconds"),
        ("late=gauss:1", "expected seconds"),
        ("cut=half", "expected a whole number from 0"),
        ("noise=0", "expected a whole number from 1"),
        ("merge=1", "expected a whole number from 2"),
        ("hang-up=politely", "expected fin or rst"),
        ("lose share=0", "above 0 and at most 1"),
        ("lose share=200%", "above 0 and at most 1"),
        ("lose share=few", "'share=few' is not a number"),
        ("lose count=0", "at least 1"),
        ("lose count=1 count=2", "'count=2' is not one of share="),
        ("lose sometimes", "'sometimes' is not one of share="),
        (r"lose only=\x0", "an escape that is none"),
        ("lose only='x", "No closing quotation"),
        ("refuse-connections count=1", "knows no exchanges"),
    ],
)
def test_what_is_no_fault_is_explained(text: str, why: str) -> None:
    with pytest.raises(ValueError, match=re.escape(why)):
        Faults(text)


def test_delays_follow_their_distribution_and_seed() -> None:
    def draws(text: str) -> list[float]:
        chance = random.Random(1)
        return [Fault.parse(f"late={text}").setting.draw(chance) for _ in range(2000)]

    assert set(draws("0.5")) == {0.5}
    uniform, exponential = draws("uniform:0.1:0.3"), draws("exp:0.2")
    assert 0.1 <= min(uniform) < 0.11
    assert 0.29 < max(uniform) <= 0.3
    assert 0.18 < sum(exponential) / 2000 < 0.22
    assert max(exponential) > 0.8
    assert exponential == draws("exp:0.2")


def test_faults_are_added_all_or_none_and_cleared_by_kind() -> None:
    faults = Faults("mute", "late=1")
    with pytest.raises(ValueError, match="smoke"):
        faults.add("garbage", "smoke")
    assert [str(fault) for fault in faults.active] == ["mute", "late=1"]
    faults.clear("late")
    assert faults.hung
    with pytest.raises(ValueError, match="no such fault"):
        faults.clear("smoke")
    faults.clear()
    assert not faults.active


@pytest.mark.parametrize("kind", ["wrong-address", "wrong-checksum"])
def test_an_instrument_without_it_says_so(kind: str) -> None:
    with pytest.raises(ValueError, match=f"{kind}.*Bench has no .* in its replies"):
        Bench().faults.add(kind)
    with pytest.raises(ValueError, match=f"{kind}.*Bench has no .* in its replies"):
        Bench(faults=Faults(kind))


# on the wire


@both
@pytest.mark.parametrize(
    ("fault", "expected"),
    [
        ("late=0.001 count=1", rb"1234\r\n5\r\n"),
        ("late=uniform:0:0.002", rb"1234\r\n5\r\n"),
        ("lose count=1", rb"5\r\n"),
        ("cut count=1", rb"1235\r\n"),
        ("cut=1 count=1", rb"15\r\n"),
        ("cut=99 count=1", rb"1234\r5\r\n"),
        ("noise count=1", rb"1234\r\n[^\r\n]5\r\n"),
        ("noise=4 count=1", rb"1234\r\n[^\r\n]{4}5\r\n"),
        ("garbage count=1", rb"(?!1234)[^\r\n]{4}\r\n5\r\n"),
        ("twice count=1", rb"1234\r\n1234\r\n5\r\n"),
        ("trickle=0 count=1", rb"1234\r\n5\r\n"),
        ("merge", rb"1234\r\n5\r\n"),
        ("refuse count=1", rb"RANGE\r\n5\r\n"),
        ("refuse='NOT NOW' count=1", rb"NOT NOW\r\n5\r\n"),
        ("echo", rb"ADD\? 1234\nADD\? 5\n1234\r\n5\r\n"),
    ],
)
async def test_a_fault_on_the_wire(at: str, fault: str, expected: bytes) -> None:
    bench = Bench()
    async with served(at, fault, bench=bench) as plain:
        read = await plain.ask(b"ADD? 1234\nADD? 5\n", b"5\r\n")
        assert re.fullmatch(expected, read, re.DOTALL)
        # what is refused is not executed
        assert list(bench.log) == ["ADD? 1234", "ADD? 5"][fault.startswith("refuse") :]
        bench.faults.clear()
        assert await plain.ask(b"ADD? 6\n") == b"6\r\n"


@both
async def test_flipped_bits(at: str) -> None:
    async with served(at, "flip") as plain:
        for _ in range(50):
            assert changed_bits(await plain.ask(b"ADD? 1234\n"), b"1234\r\n") == 1
    async with served(at, "flip=3") as plain:
        assert changed_bits(await plain.ask(b"ADD? 1234\n"), b"1234\r\n") == 3


def changed_bits(one: bytes, other: bytes) -> int:
    assert len(one) == len(other)
    return sum((a ^ b).bit_count() for a, b in zip(one, other, strict=True))


@both
async def test_garbage_is_never_ascii(at: str) -> None:
    async with served(at, "garbage") as plain:
        for _ in range(50):
            assert max(await plain.ask(b"ADD? 1\n")) > 0x7F


@both
async def test_another_address_and_a_wrong_checksum(at: str) -> None:
    async with served(at, "wrong-address count=1", "wrong-checksum", bench=Addressed()) as plain:
        assert await plain.ask(b"X\r", b"\r") == b"02XBB\r"
        assert await plain.ask(b"X\r", b"\r") == b"01XB8\r"


@both
async def test_each_exchange_has_its_echo(at: str) -> None:
    async with served(at, "echo") as plain:
        assert await plain.ask(b"ADD? 1\r\n", b"\r\n1\r\n") == b"ADD? 1\r\n1\r\n"
        assert await plain.ask(b"ADD? 2\n") == b"ADD? 2\n2\r\n"
        plain.send(b"ADD")
        assert await plain.ask(b"? 3\n") == b"ADD? 3\n3\r\n"


@both
async def test_merged_replies_are_one_segment(at: str) -> None:
    bench = Bench()
    async with served(at, "merge=3 only=ADD?", bench=bench) as plain:
        plain.send(b"ADD? 1\n")
        await until(lambda: len(bench.log) == 1)  # executed, and yet not answered
        plain.send(b"ADD? 2\n")
        await until(lambda: len(bench.log) == 2)
        plain.send(b"ADD? 3\n")
        assert await plain.receive() == b"1\r\n2\r\n3\r\n"


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(PATIENCE):
        while not condition():  # noqa: ASYNC110
            await asyncio.sleep(0)


@both
async def test_a_trickle_comes_byte_by_byte(at: str) -> None:
    async with served(at, f"trickle={HOUR}") as plain:
        plain.send(b"ADD? 1234\n")
        assert await plain.receive() == b"1"


async def test_a_trickle_is_a_write_for_each_byte() -> None:
    sent = list[bytes]()
    bench = Bench(faults=Faults("trickle=0 count=1"))
    connection = Connection(bench, sent.append, lambda how: None)
    connection.feed(b"ADD? 12\nADD? 3\n")
    await until(lambda: sent[-1:] == [b"3\r\n"])
    assert sent == [b"1", b"2", b"\r", b"\n", b"3\r\n"]


async def test_prompt_replies_share_a_segment() -> None:
    sent = list[bytes]()
    Connection(Bench(), sent.append, lambda how: None).feed(b"ADD? 12\nADD? 3\n")
    assert sent == [b"12\r\n3\r\n"]


async def test_a_late_reply_holds_back_what_follows_on_its_connection_alone() -> None:
    bench = Bench(faults=Faults(f"late={HOUR} count=1"))
    async with bench.serve(TCP) as url, client(url) as late, client(url) as other:
        late.send(b"ADD? 1\nADD? 2\n")
        await until(lambda: len(bench.log) == 2)
        assert await other.ask(b"ADD? 3\n") == b"3\r\n"
        assert isinstance(late.descriptor, socket.socket)
        with pytest.raises(BlockingIOError):
            late.descriptor.recv(1)


@both
async def test_mute_neither_executes_nor_answers_and_keeps_the_connection(at: str) -> None:
    bench = Bench()
    async with served(at, bench=bench) as plain:
        assert await plain.ask(b"ADD? 1\n") == b"1\r\n"
        bench.faults.add("mute count=1")
        assert await plain.ask(b"ADD? 2\nADD? 3\n") == b"3\r\n"
        assert list(bench.log) == ["ADD? 1", "ADD? 3"]


async def test_a_hanging_instrument_forgets_what_it_gets_and_sends_nothing() -> None:
    bench, sent = Bench(), list[bytes]()
    connection = Connection(bench, sent.append, lambda how: None)
    connection.feed(b"ADD? 1\nMOT 2")
    connection.answer(b"ADD? 1", b"late\r\n")
    bench.faults.add("mute")
    connection.flush()
    connection.feed(b",4\nADD? 2\nADD")
    bench.faults.clear()
    connection.feed(b"MOT? 2\n")
    assert sent == [b"1\r\n", b"+1.50,x   \r\n"]
    assert list(bench.log) == ["ADD? 1", "MOT? 2"]


# connections


@pytest.mark.parametrize("how", ["fin", "rst"])
async def test_a_hang_up_in_mid_reply(how: str) -> None:
    bench = Bench()
    async with served(TCP, f"hang-up={how} only=1234", bench=bench) as plain:
        assert await plain.ask(b"ADD? 1\n") == b"1\r\n"
        plain.send(b"ADD? 1234\nADD? 5\n")
        assert await gone(plain, how) == b"123"


@pytest.mark.parametrize("how", ["fin", "rst"])
async def test_a_hang_up_instead_of_a_reply(how: str) -> None:
    bench = Bench()
    async with bench.serve(TCP) as url:
        bench.faults.add(f"disconnect={how} count=1")
        async with client(url) as plain:
            plain.send(b"ADD? 1\n")
            assert await gone(plain, how) == b""
        async with client(url) as again:
            assert await again.ask(b"ADD? 2\n") == b"2\r\n"
        assert list(bench.log) == ["ADD? 2"]


@pytest.mark.parametrize("how", ["fin", "rst"])
async def test_disconnect_cuts_every_connection_and_lets_clients_come_back(how: str) -> None:
    bench = Bench()
    async with bench.serve(TCP) as url, client(url) as one, client(url) as two:
        await one.ask(b"ADD? 1\n")
        await two.ask(b"ADD? 1\n")
        bench.faults.disconnect(how)
        assert await gone(one, how) == await gone(two, how) == b""
        async with client(url) as again:
            assert await again.ask(b"ADD? 2\n") == b"2\r\n"
        with pytest.raises(ValueError, match="fin or rst"):
            bench.faults.disconnect("gently")


async def test_refused_connections() -> None:
    bench = Bench()
    async with bench.serve(TCP) as url, client(url) as present:
        await present.ask(b"ADD? 1\n")
        for number in range(20):
            bench.faults.add("refuse-connections")
            with pytest.raises(ConnectionRefusedError):
                async with client(url):
                    pass
            assert await present.ask(b"ADD? 2\n") == b"2\r\n"
            bench.faults.clear()
            if number % 2:
                async with client(url) as plain:
                    assert await plain.ask(b"ADD? 3\n") == b"3\r\n"


async def test_connections_can_be_refused_from_the_start_to_the_end() -> None:
    async with Bench(faults=Faults("refuse-connections")).serve(TCP) as url:
        with pytest.raises(ConnectionRefusedError):
            async with client(url):
                pass


async def test_a_power_cycle_loses_the_state_and_the_connections() -> None:
    bench = Bench()
    async with bench.serve(TCP) as url:
        async with client(url) as plain:
            assert await plain.ask(b"MOT 1,4\nMOT? 1\n") == b"+4.00,x   \r\n"
            bench.restart()
            assert await gone(plain, "rst") == b""
        async with client(url) as plain:
            assert await plain.ask(b"MOT 2,4\nMOT? 1\n") == b"+1.50,x   \r\n"
            bench.faults.add("power-cycle only=POS? count=1")
            plain.send(b"POS?\n")
            assert await gone(plain, "rst") == b""
        async with client(url) as plain:
            assert await plain.ask(b"MOT? 2\n") == b"+1.50,x   \r\n"
        assert list(bench.log)[-1] == "MOT? 2"


@both
async def test_an_instrument_without_power_does_not_answer(at: str) -> None:
    bench = Bench()
    async with bench.serve(at) as url:
        async with client(url) as plain:
            await plain.ask(b"MOT 1,4\nMOT? 1\n")
        bench.restart(HOUR)
        if at == TCP:
            with pytest.raises(ConnectionRefusedError):
                async with client(url):
                    pass
        assert [str(fault) for fault in bench.faults.active] == ["mute", "refuse-connections"]
        bench.faults.clear()
        async with client(url) as plain:
            assert await plain.ask(b"MOT? 1\n") == b"+1.50,x   \r\n"


async def test_power_comes_back_by_itself() -> None:
    bench = Bench()
    bench.faults.add("late=1 only=nothing", "mute only=nothing")
    bench.restart(0.001)
    await until(lambda: not bench.faults.hung)
    assert [str(fault) for fault in bench.faults.active] == ["late=1 only=nothing", "mute only=nothing"]


async def test_the_336_keeps_what_its_manual_says_and_refuses_in_its_way() -> None:
    simulator = LakeShore336()
    async with simulator.serve(TCP) as url:
        async with client(url) as plain:
            assert await plain.ask(b"*ESR?\nSETP 1,77;SETP? 1\n", b"77.0000\r\n")
            simulator.faults.add("refuse only='SETP 1' count=1")
            assert await plain.ask(b"SETP 1,80\n*ESR?;SETP? 1\n") == b"016;+77.0000\r\n"
            simulator.restart()
        async with client(url) as plain:
            assert await plain.ask(b"*ESR?;SETP? 1\n") == b"128;+77.0000\r\n"


# some exchanges only


@pytest.mark.parametrize(
    ("only", "lost"),
    [
        ("ADD?", {1, 2, 3}),
        ("'ADD? 2'", {2}),
        ("ADD?*3", {3}),
        (r"ADD?\x201", {1}),
        ("A*", {1, 2, 3}),
        ("POS", set()),
        ("A.D", set()),
    ],
)
async def test_only_some_commands(only: str, lost: set[int]) -> None:
    async with served(TCP, f"lose only={only}") as plain:
        read = await plain.ask(b"ADD? 1\nADD? 2\nADD? 3\nMOT? 1\n", b"x   \r\n")
    assert lost == {1, 2, 3} - {int(line) for line in read.split(b"\r\n") if len(line) == 1}


@both
async def test_only_the_next_exchanges_that_are_answered(at: str) -> None:
    bench = Bench()
    async with served(at, "lose count=2", bench=bench) as plain:
        assert await plain.ask(b"ADD? 1\nNOP\nADD? 2\nADD? 3\n") == b"3\r\n"
        assert bench.faults.active == []


async def struck(*faults: str) -> list[int]:
    """Return which of 500 exchanges are answered by another reply, or not at all."""
    async with served(TCP, *faults) as plain:
        requests = b"".join(b"ADD? %d\n" % number for number in range(500))
        read = await plain.ask(requests + b"MOT? 1\n", b"x   \r\n")
    answered = {int(line) for line in read.split(b"\r\n")[:-2] if line.isdigit()}
    return [number for number in range(500) if number not in answered]


async def test_shares_are_reproducible() -> None:
    some = await struck("lose share=5% only=ADD?")
    assert 10 <= len(some) <= 45
    assert await struck("lose share=5% only=ADD?") == some
    assert await struck("lose share=5% only=ADD? seed=1") != some
    # another fault strikes others, and leaves the first one alone
    assert await struck("late=0 share=5% only=ADD?", "lose share=5% only=ADD?") == some
    both = await struck("lose share=5% only=ADD?", "garbage share=5% only=ADD?")
    assert set(both) > set(some)
    assert len(both) > 1.5 * len(some)


async def test_a_share_of_the_next_exchanges() -> None:
    assert len(await struck("lose share=0.1 count=3 only=ADD?")) == 3


# the document


def test_the_document_has_every_fault_and_its_text_forms_are_faults() -> None:
    document = (Path(__file__).parents[1] / "docs" / "faults.md").read_text()
    rows = [row.split("|")[1] for row in document.splitlines() if row.startswith("| `")]
    texts = [text for row in rows for text in re.findall(r"`([^`]+)`", row)]
    faults = [Fault.parse(text) for text in texts]
    assert {fault.kind for fault in faults} == set(KINDS)
