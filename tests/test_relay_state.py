"""What a relay keeps over a restart, also over one that nobody announced."""

import asyncio
import contextlib
import math
import random
import re
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from tests.ca import PATIENCE, Client, PutFailed, until
from tests.test_cli import line_of, running

from labioc.iocs.core import relay_state
from labioc.iocs.core.command import Failure
from labioc.iocs.core.relay import Relay, Rules, Saved
from labioc.iocs.core.relay_state import Keeper, formatted, parsed
from labioc.iocs.core.save_file import write_atomically
from labioc.iocs.core.server import CAServer

INVALID, TIMEOUT, DISABLE = 3, 10, 18
KEPT, FAILED = 1, 2
RESTARTS = 2


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "relay.state"


@contextlib.asynccontextmanager
async def relaying(path: Path, rules: Rules | None = None, *, values: bool = True) -> AsyncIterator[Relay]:
    """A relay that keeps its PVs, from its start to its end."""
    relay = Relay("R:", rules or Rules(), keeps_values=values)
    keeper = Keeper(relay, path)
    keeper.load()
    server = CAServer(relay)
    await server.start()
    task = asyncio.create_task(keeper.run())
    try:
        yield relay
    finally:
        await server.stop()
        task.cancel()
        await asyncio.wait([task])
        await keeper.close()


def read(path: Path) -> str:
    return path.read_text() if path.exists() else ""


def write(path: Path, content: str) -> None:
    path.write_text(content)


def remove(path: Path) -> None:
    path.unlink()


def written_at(path: Path) -> int:
    return path.stat().st_mtime_ns


def pvs_in(path: Path) -> int:
    content = read(path)
    return len(parsed(content)) if content else 0


def names_in(relay: Relay) -> list[str]:
    return [pv.name for pv in relay.snapshot()]


async def test_pvs_and_their_fields_come_back(path: Path, client: Client) -> None:
    async with relaying(path, values=False):
        await client.put("R:x_f1", 21.2)
        for field, value in {"EGU": "\xb5m", "HIHI": 30.0, "HHSV": "MAJOR", "STALE": 60.0, "PREC": 3}.items():
            await client.put(f"R:x_f1.{field}", value)
        await client.put("R:y_C80", "text")
        await client.connect("R:watched_f1")
    async with relaying(path, values=False) as relay:
        assert names_in(relay) == ["x_f1", "y_C80"]
        found = await client.get("R:x_f1")
        assert (found.value, found.severity) == (0.0, INVALID)
        fields = [(await client.get(f"R:x_f1.{field}")).value for field in ("EGU", "HIHI", "STALE", "PREC")]
        assert fields == ["\xb5m", 30.0, 60.0, 3]
        await client.put("R:x_f1", 30.0)
        assert (await client.get("R:x_f1")).severity == 2
    assert "value" not in read(path)


async def test_values_come_back_with_their_times(path: Path, client: Client) -> None:
    values: dict[str, Any] = {
        "a_i1": -3,
        "b_f1": 0.1,
        "c_f4": [23.0, 0.1, 3231.123, 1e-4],
        "d_i9": [2**31 - 1, -(2**31)],
        "e_F9": [1.5, 2.5],
        "f_c80": list(b"one\xb5"),
        "g_f3": [math.inf, -math.inf],
    }
    async with relaying(path):
        for name, value in values.items():
            await client.put(f"R:{name}.VAL", bytes(value) if name == "f_c80" else value)
        await client.put("R:nan_f1", math.nan)
        await client.put("R:none_f1.EGU", "K")
        before = {name: await client.get(f"R:{name}.VAL") for name in values}
    async with relaying(path) as relay:
        assert names_in(relay) == [*values, "nan_f1", "none_f1"]
        for name, value in values.items():
            found = await client.get(f"R:{name}.VAL")
            assert (found.value, found.severity) == (value, 0), name
            assert found.stamp == pytest.approx(before[name].stamp, abs=1e-6)
        assert (await client.get("R:none_f1")).severity == INVALID
        await client.put("R:e_F9", 3.5)
        assert (await client.get("R:e_F9")).value == [1.5, 2.5, 3.5]


async def test_a_value_that_a_disabled_pv_has_survives_two_restarts(path: Path, client: Client) -> None:
    async with relaying(path):
        await client.put("R:x_f1", 5.5)
        await client.put("R:x_f1.DISA", 1)
    for _ in range(2):
        async with relaying(path):
            await client.put("R:x_f1.DESC", "touched")
            assert (await client.get("R:x_f1")).value == 5.5
            assert (await client.get("R:x_f1.STAT")).value == DISABLE
    async with relaying(path):
        await client.put("R:x_f1.DISA", 0)
        assert (await client.get("R:x_f1")).severity == 0


@pytest.mark.parametrize("wrong", [0.5, 4e9])
async def test_a_clock_that_was_wrong_does_no_harm(path: Path, client: Client, wrong: float) -> None:
    pv = Saved("x_f1", {"stale": 600.0}, 1.0, wrong)
    write(path, formatted([pv]))
    began = time.time() - 1
    async with relaying(path):
        found = await client.get("R:x_f1")
        assert found.value == 1.0
        assert (found.severity == INVALID) == (wrong < began)
        assert found.stamp <= time.time()
        await client.put("R:x_f1", 2.0)
        assert began < (await client.get("R:x_f1")).stamp <= time.time()


async def test_what_became_stale_meanwhile_says_so(path: Path, client: Client) -> None:
    now = time.time()
    saved = [Saved("x_f1", {"stale": 600.0}, 1.0, now - 601), Saved("y_f1", {"stale": 600.0}, 1.0, now - 1)]
    write(path, formatted(saved))
    async with relaying(path):
        stale = await client.get("R:x_f1")
        assert (stale.value, stale.status) == (1.0, TIMEOUT)
        assert (await client.get("R:y_f1")).severity == 0


async def test_what_the_options_do_not_allow_is_left_out(
    path: Path, client: Client, caplog: pytest.LogCaptureFixture
) -> None:
    async with relaying(path):
        await client.put("R:a_f1", 1.0)
        await client.put("R:b_f100", 1.0)
        await client.put("R:c_f1", 1.0)
    async with relaying(path, Rules(max_count=10, max_pvs=1)) as relay:
        assert names_in(relay) == ["a_f1"]
    assert "2 PVs don't fit the options and are left out: b_f100, c_f1" in caplog.text


def damage(content: str, how: str) -> str:
    lines = content.splitlines(keepends=True)
    return {
        "empty": "",
        "cut": content[: len(content) // 2],
        "lacks a line": "".join([*lines[:1], *lines[2:]]),
        "lacks its end": "".join(lines[:-1]),
        "zeros": "\0" * len(content),
        "another format": content.replace("labioc relay", "something"),
        "a name": content.replace("x_f1", "x_q1"),
        "a field": content.replace("EGU", "NOPE"),
        "a menu": content.replace("MAJOR", "HUGE"),
        "an array": content.replace('"name": "y_i3", "value": "', '"name": "y_i3", "value": "!'),
        "fields": content.replace('{"EGU"', '5, "x": {"EGU"'),
        "a time": re.sub('"time": .*}', '"time": 1e999}', content),
        "a list": content.replace('{"name": "x_f1"', '[{"name": "x_f1"'),
        "deep": "[" * 100_000,
    }[how]


HOWS = [
    "empty",
    "cut",
    "lacks a line",
    "lacks its end",
    "zeros",
    "another format",
    "a name",
    "a field",
    "a menu",
]


@pytest.mark.parametrize("how", [*HOWS, "an array", "fields", "a list", "a time", "deep"])
async def test_a_damaged_file_is_set_aside_and_its_copy_taken(
    path: Path, client: Client, caplog: pytest.LogCaptureFixture, how: str
) -> None:
    async with relaying(path):
        await client.put("R:x_f1.EGU", "K")
        await client.put("R:x_f1.HHSV", "MAJOR")
        await client.put("R:y_i3", [1, 2, 3])
    content = read(path)
    damaged = damage(content, how)
    assert damaged != content
    write(path, damaged)
    caplog.clear()
    async with relaying(path) as relay:
        (line,) = [record.message for record in caplog.records if record.name == "labioc.relay"]
        assert "is damaged" in line
        assert "2 PVs are brought back" in line
        assert names_in(relay) == ["x_f1", "y_i3"]
        assert (await client.get("R:y_i3")).value == [1, 2, 3]
        assert read(path.with_name("relay.state.damaged")) == damaged
        await client.put("R:z_f1", 1.0)
    assert pvs_in(path) == 3


async def test_if_the_file_is_gone_its_copy_is_taken(path: Path, client: Client) -> None:
    async with relaying(path):
        await client.put("R:x_f1", 1.0)
    remove(path)
    async with relaying(path) as relay:
        assert names_in(relay) == ["x_f1"]


async def test_if_its_copy_is_damaged_too_it_starts_empty(
    path: Path, client: Client, caplog: pytest.LogCaptureFixture
) -> None:
    async with relaying(path):
        await client.put("R:x_f1", 1.0)
    write(path, "")
    write(path.with_name("relay.state.previous"), "{")
    async with relaying(path) as relay:
        assert names_in(relay) == []
        await client.put("R:x_f1", 1.0)
    assert "0 PVs are brought back" in caplog.text
    assert pvs_in(path) == 1
    assert read(path.with_name("relay.state.damaged")) == ""
    assert read(path.with_name("relay.state.previous.damaged")) == "{"


async def test_nothing_is_written_without_a_change(path: Path, client: Client) -> None:
    async with relaying(path, values=False):
        await client.put("R:x_f1", 1.0)
    written = written_at(path)
    async with relaying(path, values=False):
        await client.put("R:x_f1", 2.0)
        await client.get("R:y_f1")
    assert written_at(path) == written


async def test_two_relays_do_not_share_a_file(path: Path, ca_environment: dict[str, str]) -> None:
    link = path.with_name("link")
    link.symlink_to(path)
    async with relaying(path):
        for name in (path, link):
            with pytest.raises(Failure, match="another process keeps its PVs there"):
                Keeper(Relay("R:", Rules()), name)
    async with relaying(path):
        pass


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (OSError(28, "No space left on device"), "No space left on device"),
        (ValueError("no JSON"), "ValueError: no JSON"),
    ],
)
async def test_what_cannot_be_kept_is_an_alarm_and_one_line(
    path: Path,
    client: Client,
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
    error: Exception,
    said: str,
) -> None:
    monkeypatch.setattr(relay_state, "PAUSE", 0.01)
    tries = 0

    def full(path: Path, content: str) -> None:
        nonlocal tries
        tries += 1
        if tries < 20:
            raise error
        write_atomically(path, content)

    monkeypatch.setattr(relay_state, "write_atomically", full)
    async with relaying(path), client.monitor("R:KEEPING") as events:
        await client.put("R:x_f1", 1.0)
        failed = await events.next(lambda event: event.value == FAILED)
        assert failed.severity == 2
        assert (await events.next(lambda event: event.value == KEPT)).severity == 0
        lines = [record.message for record in caplog.records if record.levelname == "ERROR"]
        assert lines == [f"PVs are not kept in {path}, which is tried again and again: {said}"]
    assert pvs_in(path) == 1


async def publish(client: Client, first: int, reached: asyncio.Event, puts: int) -> None:
    """Make PVs with a unit and a value, one after the other, until the relay is gone; tell after so many puts."""
    with contextlib.suppress(ConnectionError, PutFailed, TimeoutError):
        for number in range(first, first + 10_000):
            for field, value in ((".EGU", f"u{number}"), ("", number)):
                await client.put(f"R:x{number}_i1{field}", value)
                puts -= 1
                if puts == 0:
                    reached.set()


async def test_kill_9_at_any_moment_leaves_a_whole_set(path: Path, ca_environment: dict[str, str]) -> None:
    chance = random.Random(1)
    words = ("run", "relay", "--prefix", "R:", "--state", str(path), "--save-values")
    before = count = 0
    for _ in range(RESTARTS):
        async with running(*words) as ioc, Client() as client:
            await line_of(ioc.stderr, "labioc: ONLY")
            before, count = count, (await client.get("R:PVS")).value
            assert count >= before
            for number in range(before, count):
                assert (await client.get(f"R:x{number}_i1.EGU")).value == f"u{number}"
                # of the last one only the unit may have been put
                assert (await client.get(f"R:x{number}_i1")).value == number or number == count - 1
            reached = asyncio.Event()
            puts = chance.randrange(100, 1000)
            publisher = asyncio.create_task(publish(client, max(0, count - 1), reached, puts))
            await until(lambda: read(path))
            async with asyncio.timeout(PATIENCE):
                await reached.wait()
            ioc.kill()
            await ioc.wait()
            publisher.cancel()
            await asyncio.wait([publisher])
    assert count > 0
    assert not path.with_name("relay.state.damaged").exists()
