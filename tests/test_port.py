"""The port over fake links: turns, the fence, recovery, and what is said of it."""

import asyncio
import logging
from collections.abc import Callable, Sequence

import pytest
from tests.fakes import IDENTITY, PROTOCOL, FakeNetwork, echo, identify, started

from labioc.drivers.core import Lines
from labioc.drivers.core import line as line_module
from labioc.drivers.core.errors import (
    DefinitionError,
    LinkDown,
    PortBusy,
    ReplyError,
    ReplyTimeout,
    TruncatedReply,
    WriteCut,
    WrongInstrument,
)
from labioc.drivers.core.port import LinkState, Port
from labioc.drivers.core.protocol import Part


@pytest.fixture
def network(monkeypatch: pytest.MonkeyPatch) -> FakeNetwork:
    network = FakeNetwork()
    monkeypatch.setattr(line_module, "open_link", network.open_link)
    return network


@pytest.fixture
def sleeps(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """What the port sleeps, none of which is waited out."""
    slept: list[float] = []
    sleep = asyncio.sleep

    async def record(delay: float) -> None:
        slept.append(delay)
        await sleep(0)

    monkeypatch.setattr(asyncio, "sleep", record)
    return slept


def silent_to(*questions: str) -> Callable[[str], str | None]:
    return lambda text: None if text in questions else echo(text)


# turns


async def test_one_exchange_at_a_time(network: FakeNetwork) -> None:
    async with started() as fake:
        network.answer = identify
        first = asyncio.create_task(fake.ask("A?"))
        second = asyncio.create_task(fake.ask("B?"))
        await network.link.asked("A?")
        await asyncio.sleep(0)
        assert network.link.sent == ["ID?", "A?"]
        network.link.say("a")
        await network.link.asked("B?")
        network.link.say("b")
        assert [await first, await second] == [["a"], ["b"]]


async def test_the_requests_of_an_exchange_stay_together(network: FakeNetwork) -> None:
    apart = Lines(eol="\n", timeout=1.0, identify=("ID?", "FAKE,"))
    async with started(apart) as fake:
        first, second = await asyncio.gather(fake.ask("A?", "B?"), fake.ask("C?", "D?"))
        assert first + second == ["a", "b", "c", "d"]
        assert network.link.sent == ["ID?", "A?", "B?", "C?", "D?"]


async def test_writes_go_before_waiting_reads_and_keep_their_order(network: FakeNetwork) -> None:
    async with started() as fake:
        network.answer = silent_to("A?")
        running = asyncio.create_task(fake.ask("A?"))
        await network.link.asked("A?")
        waiting = [asyncio.create_task(work) for work in (fake.ask("B?"), fake.ask("C?"))]
        waiting += [asyncio.create_task(fake.ask(f"W{n}?", urgent=True)) for n in (1, 2, 3)]
        await asyncio.sleep(0)
        network.link.say("a")
        await asyncio.gather(running, *waiting)
        assert network.link.sent[2:] == ["W1?", "W2?", "W3?", "B?", "C?"]


async def test_a_turn_is_waited_for_no_longer_than_allowed(network: FakeNetwork) -> None:
    patient = Lines(eol="\n", timeout=3600, queue_timeout=0.01, identify=("ID?", "FAKE,"))
    async with started(patient) as fake:
        network.answer = identify
        running = asyncio.create_task(fake.ask("A?"))
        await network.link.asked("A?")
        with pytest.raises(PortBusy, match=r"^fake: value of B\?: no turn on the port within 0.01 s$"):
            await fake.ask("B?")
        assert fake.port.statistics.errors == {"PortBusy": 1}
        network.link.say("a")
        assert await running == ["a"]
        network.answer = echo
        assert await fake.ask("C?") == ["c"]
        assert "B?" not in network.link.sent


async def test_a_cancelled_waiter_hands_its_turn_on(network: FakeNetwork) -> None:
    async with started() as fake:
        network.answer = silent_to("A?")

        async def ask_and_cancel() -> None:
            await fake.ask("A?")
            second.cancel()  # it has the turn now, and does not know it yet

        first = asyncio.create_task(ask_and_cancel())
        await network.link.asked("A?")
        second = asyncio.create_task(fake.ask("B?"))
        third = asyncio.create_task(fake.ask("C?"))
        await asyncio.sleep(0)
        network.link.say("a")
        await first
        assert await third == ["c"]
        assert "B?" not in network.link.sent


# the next question never gets an earlier one's answer


async def test_a_late_reply_is_dropped(network: FakeNetwork) -> None:
    async with started() as fake:
        network.answer = silent_to("A?")
        with pytest.raises(
            ReplyTimeout, match=r"^fake: value of A\?: no reply within 0.1 s; sent b'A\?\\n'$"
        ):
            await fake.ask("A?")
        network.answer = lambda text: ["late", IDENTITY] if text == "ID?" else echo(text)
        assert await fake.ask("B?", urgent=True) == ["b"]
        assert network.link.sent == ["ID?", "A?", "ID?", "B?"]


async def test_a_late_answer_to_a_fence_is_nobody_elses(network: FakeNetwork) -> None:
    async with started() as fake:
        network.answer = lambda text: echo(text) if text == "ID?" else [IDENTITY, IDENTITY, echo(text)]
        assert await fake.ask("B?") == ["b"]
        assert fake.port.statistics.discarded == 2


async def test_a_late_answer_to_a_fence_is_not_the_confirmations(network: FakeNetwork) -> None:
    network.answer = lambda text: [IDENTITY, "0"] if text == "ERR?" else echo(text)
    confirmed = Lines(
        eol="\n", timeout=0.1, identify=("ID?", "FAKE,"), confirm=("ERR?", lambda text: text == "0")
    )
    async with started(confirmed) as fake:
        assert await fake.ask("B?") == ["b"]
        assert network.link.sent == ["ID?", "ERR?", "B?"]


async def test_the_identity_can_be_asked_for(network: FakeNetwork) -> None:
    async with started() as fake:
        assert await fake.ask("ID?") == [IDENTITY]


async def test_what_nobody_asked_for_raises_a_fence(network: FakeNetwork) -> None:
    async with started() as fake:
        network.link.say("hello")
        assert await fake.ask("B?") == ["b"]
        assert network.link.sent == ["ID?", "ID?", "B?"]


async def test_a_cancelled_exchange_leaves_no_answer_behind(network: FakeNetwork) -> None:
    async with started() as fake:
        network.answer = silent_to("A?")
        asking = asyncio.create_task(fake.ask("A?"))
        await network.link.asked("A?")
        asking.cancel()
        await asyncio.wait([asking])
        assert asking.cancelled()
        network.link.say("a")
        assert await fake.ask("B?") == ["b"]
        assert network.link.sent == ["ID?", "A?", "ID?", "B?"]


async def test_a_reply_that_makes_no_sense_lets_the_next_wait_for_the_fence(network: FakeNetwork) -> None:
    async with started() as fake:
        network.answer = silent_to("A?")

        async def ask_and_distrust() -> None:
            await fake.ask("A?")
            fake.port.distrust(ReplyError("what is this?"))

        first = asyncio.create_task(ask_and_distrust())
        await network.link.asked("A?")
        second = asyncio.create_task(fake.ask("B?"))
        await asyncio.sleep(0)
        network.link.say("junk")
        await first
        assert await second == ["b"]
        assert network.link.sent == ["ID?", "A?", "ID?", "B?"]


async def test_a_joined_reply_with_another_number_of_answers(network: FakeNetwork) -> None:
    async with started() as fake:
        network.answer = lambda text: "1;2;3" if text == "A?;B?" else echo(text)
        expected = r"^fake: value of A\?: expected 2 answers, got '1;2;3'; sent b'A\?;B\?\\n'$"
        with pytest.raises(ReplyError, match=expected):
            await fake.ask("A?", "B?")
        assert await fake.ask("C?", "D?") == ["c", "d"]
        assert network.link.sent == ["ID?", "A?;B?", "ID?", "C?;D?"]


@pytest.mark.parametrize("kind", [ReplyError, TruncatedReply])
async def test_a_reply_that_breaks_the_framing(
    network: FakeNetwork, kind: type[ReplyError] | type[TruncatedReply]
) -> None:
    async with started() as fake:
        network.answer = lambda text: kind("half a line") if text == "A?" else echo(text)
        with pytest.raises(kind, match=r"^fake: value of A\?: half a line; sent b'A\?\\n'$"):
            await fake.ask("A?")
        assert await fake.ask("B?") == ["b"]


def test_bytes_of_another_encoding_are_an_answer_like_another() -> None:
    utf8 = Lines(eol="\n", timeout=1.0, identify=("ID?", "FAKE,"), encoding="utf-8")
    assert utf8.unpacked(b"\xff5") == "\\xff5"


# without a question that names itself


LATE = Lines(eol="\n", timeout=0.01, max_late=2.5)


async def test_an_instrument_without_identity_is_waited_out(
    network: FakeNetwork, sleeps: list[float]
) -> None:
    async with started(LATE) as fake:
        # behind a device server an answer to the former connection may come
        assert sleeps == [2.5]
        network.answer = silent_to("A?")
        with pytest.raises(ReplyTimeout):
            await fake.ask("A?")
        network.link.say("late")
        assert await fake.ask("B?", urgent=True) == ["b"]
        assert sleeps == [2.5, 2.5]
        network.link.lose()
        await fake.until(LinkState.DOWN)
        await fake.until(LinkState.UP)
        assert sleeps.count(2.5) == 3
        assert [text for link in network.links for text in link.sent] == ["A?", "B?"]


def test_a_protocol_needs_one_or_the_other() -> None:
    with pytest.raises(DefinitionError, match="needs identify, or max_late where no question names itself"):
        Lines(eol="\n")


# gaps


@pytest.mark.parametrize(
    ("url", "gap"), [("tcp://127.0.0.1:1", 7.0), ("serial:///dev/none", 9.0), ("transcript://none", 0.0)]
)
async def test_the_silence_between_messages_depends_on_the_link(
    network: FakeNetwork, sleeps: list[float], url: str, gap: float
) -> None:
    paced = Lines(eol="\n", timeout=1.0, identify=("ID?", "FAKE,"), gaps={"tcp": 7.0, "serial": 9.0})
    async with started(paced, url=url) as fake:
        await fake.ask("A?", "B?")
        await fake.ask("C?")
    waits = [slept for slept in sleeps if slept]
    # one before each message: the fence, A?, B?, C?
    assert len(waits) == (4 if gap else 0)
    assert all(gap - 1.0 < slept <= gap for slept in waits)


async def test_the_silence_after_a_command_is_longer(network: FakeNetwork, sleeps: list[float]) -> None:
    paced = Lines(eol="\n", timeout=1.0, identify=("ID?", "FAKE,"), gaps={"": 2.0}, command_gap=7.0)
    async with started(paced) as fake:
        network.answer = lambda text: None if text == "SET" else echo(text)
        await fake.tell("SET")
        await fake.ask("A?")
        await fake.ask("B?")
    waits = [round(slept) for slept in sleeps if slept > 1.0]
    # before the fence, SET, A?, B?
    assert waits == [2, 2, 7, 2]


async def test_the_silence_is_kept_while_a_queue_is_emptied(
    network: FakeNetwork, sleeps: list[float]
) -> None:
    queued = Lines(
        eol="\n",
        timeout=1.0,
        identify=("ID?", "FAKE,"),
        gaps={"": 7.0},
        confirm=("ERR?", lambda answer: answer == "0"),
        confirm_queue=True,
    )
    entries = iter(["1", "2", "0"])
    network.answer = lambda text: next(entries) if text == "ERR?" else echo(text)
    async with started(queued):
        assert network.link.sent == ["ID?", "ERR?", "ERR?", "ERR?"]
    waits = [slept for slept in sleeps if slept]
    assert len(waits) == 4
    assert all(6.0 < slept <= 7.0 for slept in waits)


# connecting


async def test_another_instrument_is_named(network: FakeNetwork) -> None:
    network.answer = lambda text: "OTHER,2"
    async with started() as fake:
        assert isinstance(fake.port.error, WrongInstrument)
        assert str(fake.port.error) == (
            "expected an instrument that answers 'ID?' with 'FAKE,'; tcp://127.0.0.1:1 answers b'OTHER,2'"
        )


async def test_another_variant_is_named(network: FakeNetwork) -> None:
    async with started(variant="card") as fake:
        assert isinstance(fake.port.error, WrongInstrument)
        assert str(fake.port.error) == (
            "expected the variant 'card', which answers 'CARD'; tcp://127.0.0.1:1 answers 'FAKE,1'"
        )


async def test_the_variant_that_is_expected(network: FakeNetwork) -> None:
    network.answer = lambda text: "FAKE,1,CARD"
    async with started(variant="card") as fake:
        assert fake.port.state is LinkState.UP
        assert fake.port.identity == "FAKE,1,CARD"


async def test_an_instrument_that_says_nothing(network: FakeNetwork) -> None:
    network.answer = lambda text: None
    async with started() as fake:
        assert isinstance(fake.port.error, ReplyTimeout)
        assert "no reply to 'ID?' within 0.1 s" in str(fake.port.error)


async def test_what_comes_before_the_identity_is_dropped(network: FakeNetwork) -> None:
    network.answer = lambda text: ["noise", "+77.35", IDENTITY] if text == "ID?" else echo(text)
    async with started() as fake:
        assert fake.port.state is LinkState.UP
        assert await fake.ask("B?") == ["b"]


# down, and up again


async def test_while_it_is_down_everything_fails_at_once(network: FakeNetwork) -> None:
    network.fault = LinkDown("cannot connect: no route")
    async with started() as fake:
        attempts = network.attempts
        for urgent in (False, True):
            with pytest.raises(
                LinkDown, match=r"^fake: value of A\?: not asked, since cannot connect: no route"
            ):
                await fake.ask("A?", urgent=urgent)
        assert network.attempts == attempts
        assert network.links == []


async def test_a_lost_connection_comes_back_by_itself(network: FakeNetwork) -> None:
    async with started() as fake:
        network.link.lose()
        await fake.until(LinkState.DOWN)
        await fake.until(LinkState.UP)
        assert await fake.ask("A?") == ["a"]
        assert len(network.links) == 2
        assert fake.port.statistics.connects == 2


async def test_those_who_wait_fail_with_the_connection(network: FakeNetwork) -> None:
    async with started() as fake:
        network.answer = identify
        running = asyncio.create_task(fake.ask("A?", urgent=True))
        await network.link.asked("A?")
        waiting = [asyncio.create_task(fake.ask(text, urgent=text == "W?")) for text in ("B?", "W?")]
        await asyncio.sleep(0)
        network.link.say(LinkDown("cable pulled"))
        network.link.lose()
        with pytest.raises(WriteCut, match=r"^fake: value of A\?: cable pulled; sent b'A\?\\n'$"):
            await running
        for task in waiting:
            with pytest.raises(LinkDown, match="not asked, since tcp://127.0.0.1:1 closed the connection"):
                await task


async def test_an_exchange_of_a_lost_connection_does_not_disturb_the_new_one(network: FakeNetwork) -> None:
    patient = Lines(eol="\n", timeout=3600, identify=("ID?", "FAKE,"))
    async with started(patient) as fake:
        network.answer = identify
        old = asyncio.create_task(fake.ask("OLD?"))
        first = network.link
        await first.asked("OLD?")
        first.lose()  # and the exchange does not know it yet
        await fake.until(LinkState.DOWN)
        await fake.until(LinkState.UP)
        running = asyncio.create_task(fake.ask("A?"))
        await network.link.asked("A?")
        waiting = asyncio.create_task(fake.ask("B?"))
        await asyncio.sleep(0)
        first.say(LinkDown("gone"))
        with pytest.raises(LinkDown, match="gone"):
            await old
        assert network.link.sent == ["ID?", "A?"]
        network.answer = echo
        network.link.say("a")
        assert [await running, await waiting] == [["a"], ["b"]]
        assert network.link.sent == ["ID?", "A?", "B?"]


async def test_reads_lose_patience_with_a_fence_and_writes_do_not(network: FakeNetwork) -> None:
    patient = Lines(eol="\n", timeout=3600, identify=("ID?", "FAKE,"))
    async with started(patient) as fake:
        network.answer = lambda text: None if text == "ID?" else echo(text)
        fake.port.distrust(ReplyError("odd"))
        read = asyncio.create_task(fake.ask("A?"))
        write = asyncio.create_task(fake.ask("W?", urgent=True))
        with pytest.raises(ReplyTimeout, match=r"^fake: value of A\?: not asked, since fake: out of step$"):
            await read
        with pytest.raises(ReplyTimeout, match="not asked"):
            await fake.ask("B?")
        assert not write.done()
        network.link.say(IDENTITY)
        assert await write == ["w"]
        assert network.link.sent == ["ID?", "ID?", "W?"]


async def test_back_off_grows_and_is_bounded(
    network: FakeNetwork, sleeps: list[float], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("random.uniform", lambda low, high: high)
    network.fault = LinkDown("cannot connect")
    async with started():
        await network.attempted(8)
    assert sleeps[:5] == [0.0, 0.2, 0.4, 0.4, 0.4]


# closing


async def test_close_fails_those_who_wait(network: FakeNetwork) -> None:
    async with started() as fake:
        network.answer = identify
        running = asyncio.create_task(fake.ask("A?"))
        await network.link.asked("A?")
        waiting = asyncio.create_task(fake.ask("B?"))
        await asyncio.sleep(0)
        await fake.port.close()
        with pytest.raises(LinkDown, match=r"^fake: value of B\?: not asked, since fake: closed$"):
            await waiting
        with pytest.raises(LinkDown, match="closed"):
            await fake.ask("C?")
        running.cancel()


async def test_close_ends_the_wait_for_the_first_attempt(network: FakeNetwork) -> None:
    network.answer = lambda text: None
    port = Port("tcp://127.0.0.1:1", Lines(eol="\n", timeout=3600, identify=("ID?", "X")), name="fake")
    await port.start()
    waiting = asyncio.create_task(port.first_attempt())
    await network.attempted(1)
    await port.close()
    async with asyncio.timeout(10):
        await waiting


# what is said of it


def warnings(caplog: pytest.LogCaptureFixture) -> Sequence[str]:
    return [
        r.getMessage() for r in caplog.records if r.name == "labioc.port.fake" and r.levelno >= logging.INFO
    ]


async def test_one_line_for_each_transition(
    network: FakeNetwork, sleeps: list[float], caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    network.fault = LinkDown("cannot connect: refused")
    async with started() as fake:
        await network.attempted(6)
        network.fault = None
        await fake.until(LinkState.UP)
        network.fault = LinkDown("cannot connect: no route")
        network.link.lose()
        await network.attempted(network.attempts + 6)
    assert warnings(caplog) == [
        "fake: cannot connect: refused (tcp://127.0.0.1:1)",
        "fake: connected to tcp://127.0.0.1:1: FAKE,1",
        "fake: tcp://127.0.0.1:1 closed the connection",
    ]


async def test_an_instrument_that_falls_silent_is_logged_once(
    network: FakeNetwork, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    async with started() as fake:
        network.answer = lambda text: None
        with pytest.raises(ReplyTimeout):
            await fake.ask("A?")
        await fake.until(LinkState.DOWN)
        attempts = network.attempts
        await network.attempted(attempts + 2)
    lines = [line for line in warnings(caplog) if "connected to" not in line]
    assert lines == ["fake: no reply to 'ID?' within 0.1 s (tcp://127.0.0.1:1)"]


async def test_statistics(network: FakeNetwork) -> None:
    async with started() as fake:
        await fake.ask("A?")
        network.answer = silent_to("B?")
        with pytest.raises(ReplyTimeout):
            await fake.ask("B?")
        statistics = fake.port.statistics
        assert statistics.exchanges == 2
        assert statistics.connects == 1
        assert statistics.errors == {"ReplyTimeout": 1}
        assert "value of B?" in statistics.last_error
        assert fake.port.line.spent > statistics.round_trips[-1] > 0.0


def test_the_example_protocol_is_whole() -> None:
    assert PROTOCOL.requests(Part("A", False), Part("B?", True))[0].payload == b"A;B?\n"
