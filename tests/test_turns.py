"""Turns on a line when it is cut, closed or overtaken under those who wait for it."""

import asyncio

import pytest
from tests.fakes import FakeNetwork, echo, identify, started

from labioc.drivers.core import Driver, Float, Lines, Setpoint
from labioc.drivers.core import line as line_module
from labioc.drivers.core.errors import LabiocError, LinkDown, ReplyTimeout
from labioc.drivers.core.port import LinkState

PATIENT = Lines(eol="\n", timeout=0.5, identify=("ID?", "FAKE,"))


@pytest.fixture
def network(monkeypatch: pytest.MonkeyPatch) -> FakeNetwork:
    network = FakeNetwork()
    monkeypatch.setattr(line_module, "open_link", network.open_link)
    return network


async def outcomes(*tasks: "asyncio.Task[list[str]]") -> list[object]:
    async with asyncio.timeout(20):
        return await asyncio.gather(*tasks, return_exceptions=True)


async def test_connecting_anew_ends_what_is_under_way_and_what_waits(network: FakeNetwork) -> None:
    async with started(PATIENT) as fake:
        network.answer = identify
        asked = asyncio.create_task(fake.ask("A?"))
        await network.link.asked("A?")
        waiting = [asyncio.create_task(fake.ask(text, urgent=text == "W?")) for text in ("B?", "W?", "C?")]
        await asyncio.sleep(0)
        network.answer = echo
        fake.port.reconnect()
        assert all(isinstance(outcome, LabiocError) for outcome in await outcomes(asked, *waiting))
        await fake.until(LinkState.DOWN)
        await fake.until(LinkState.UP)
        assert await fake.ask("D?") == ["d"]
        assert [link.sent.count("B?") + link.sent.count("W?") for link in network.links] == [0, 0]


async def test_closing_ends_what_waits_and_the_port_can_start_again(network: FakeNetwork) -> None:
    async with started(PATIENT) as fake:
        network.answer = identify
        asked = asyncio.create_task(fake.ask("A?"))
        await network.link.asked("A?")
        waiting = [asyncio.create_task(fake.ask(text, urgent=text == "W?")) for text in ("B?", "W?")]
        await asyncio.sleep(0)
        await fake.port.close()
        ended = await outcomes(asked, *waiting)
        assert all(isinstance(outcome, LabiocError) for outcome in ended)
        assert all(isinstance(outcome, LinkDown) for outcome in ended[1:])
        network.answer = echo
        await fake.until(LinkState.DOWN)
        await fake.port.start()
        await fake.until(LinkState.UP)
        assert await fake.ask("D?") == ["d"]


class Axis(Driver):
    """An axis whose position can be sent twice."""

    protocol = PATIENT
    target = Setpoint(Float(), ask="POS?", tell="POS {value}", idempotent=True)
    speed = Setpoint(Float(), ask="VEL?", tell="VEL {value}")


async def test_a_repeated_write_does_not_undo_one_that_came_after_it(network: FakeNetwork) -> None:
    lost = iter([None])
    held = {"POS?": "0", "VEL?": "0"}

    def answer(text: str) -> str | None:
        name, _, value = text.partition(" ")
        if value:
            held[f"{name}?"] = value
            return None
        if text == "POS?" and held["POS?"].startswith("1"):
            return next(lost, held["POS?"])
        return held.get(text) or identify(text)

    axis = Axis("tcp://127.0.0.1:1", name="axis")
    network.answer = answer
    await axis.start()
    await axis.connected()
    first = asyncio.create_task(axis.target.write(1.0))
    await network.link.asked("POS?")
    await axis.target.write(2.0)
    with pytest.raises(ReplyTimeout):
        await first
    assert float(held["POS?"]) == 2.0
    await axis.close()


async def test_mending_waits_longer_than_the_queue(network: FakeNetwork) -> None:
    slow = Lines(eol="\n", timeout=3600, queue_timeout=0.01, identify=("ID?", "FAKE,"))
    async with started(slow) as fake:
        network.answer = identify
        asked = asyncio.create_task(fake.ask("A?"))
        await network.link.asked("A?")
        fake.port.distrust(LabiocError("odd"))
        with pytest.raises(LabiocError):
            await fake.ask("B?")
        network.link.say("a")
        assert await asked == ["a"]
        await fake.until(LinkState.SUSPECT)
        await fake.until(LinkState.UP)
        assert len(network.links) == 1
