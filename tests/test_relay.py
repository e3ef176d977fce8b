"""The relay: PVs that begin to exist when somebody puts to them."""

import asyncio
import re
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import numpy as np
import pytest
from tests.ca import DBE_VALUE, Client, PutFailed
from tests.test_cli import line_of, running
from tests.test_clients import learn
from tests.test_docs import ROOT, blocks

from labioc.iocs.core import relay as relay_module
from labioc.iocs.core.command import Failure
from labioc.iocs.core.program import program_names
from labioc.iocs.core.relay import LINES_AT_ONCE, Relay, Rules
from labioc.iocs.core.run import run_arguments
from labioc.iocs.core.server import CAServer
from labioc.iocs.relay import program

PAGE = ROOT / "docs" / "relay.md"
NO_ALARM, INVALID = 0, 3
HIHI, TIMEOUT, UDF = 3, 10, 17


@asynccontextmanager
async def relaying(**rules: Any) -> AsyncIterator[Relay]:
    """A relay in this process that looks at the clock often."""
    relay = Relay("R:", Rules(**rules))
    server = CAServer(relay)
    await server.start()
    task = asyncio.create_task(relay.run())
    try:
        yield relay
    finally:
        task.cancel()
        await asyncio.wait([task])
        await server.stop()


@pytest.fixture(autouse=True)
def short_tick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(relay_module, "TICK", 0.02)


async def test_the_examples_with_pyepics(ca_environment: dict[str, str]) -> None:
    async with running("run", "relay", "--prefix", "5trap:relay:") as ioc:
        assert "nothing is kept over a restart" in await line_of(ioc.stderr, "2")
        await line_of(ioc.stderr, "labioc: ONLY")
        (page,) = blocks(PAGE, "python")
        process = await asyncio.create_subprocess_exec(sys.executable, "-c", page.text)
        assert await process.wait() == 0
        assert await learn("with_pyepics_relay", "learns") == [
            {"value": 2},
            {"value": 21.2},
            {"value": [23.0, 0.1, 3231.123, 1e-4]},
            {"value": 1e-4},
            {"value": [1e-4]},
            {"value": "The sun is shining"},
            {"done": 120},
            {"first": 20.0, "last": 119.0, "count": 100},
            {"first": 20.0, "last": 119.0, "count": 100},
            {"units": "degC", "precision": 2, "hihi": 30.0},
            {"value": "31.00", "severity": 2, "desc": "by the door"},
            {"events": [[0.0, INVALID], [0.0, NO_ALARM], [21.2, NO_ALARM]]},
        ]


# Before the first put


async def test_a_name_is_no_pv_before_the_first_put(client: Client) -> None:
    async with relaying() as relay:
        own = set(relay)
        found = await client.get("R:x_f1")
        assert (found.value, found.status, found.severity) == (0.0, UDF, INVALID)
        assert (await client.get("R:y_i4")).value == []
        assert (await client.connect("R:y_i4")).count == 4
        assert set(relay) == own
        assert relay.snapshot() == []
        await client.put("R:x_f1", 1.5)
        assert set(relay) == {*own, "R:x_f1"}
        assert (await client.get("R:x_f1")).severity == NO_ALARM


@pytest.mark.parametrize(
    ("name", "value"), [("x_f1", 0.0), ("x_i1", 0), ("x_f3", [1.0, 2.0]), ("x_F9", 7.0), ("x_c80", "text")]
)
async def test_a_monitor_from_before_gets_the_first_value(client: Client, name: str, value: Any) -> None:
    async with relaying(), Client() as publisher, client.monitor(f"R:{name}", DBE_VALUE) as events:
        assert (await events.next()).severity == INVALID
        await publisher.put(f"R:{name}", value)
        first = await events.next()
        assert first.severity == NO_ALARM
        assert (bytes(first.value).decode() if name == "x_c80" else first.value) == value


async def test_it_is_gone_with_its_last_client(client: Client) -> None:
    async with relaying() as relay, client.monitor("R:WATCHED") as watched:
        async with Client() as other:
            await other.connect("R:x_f1")
            await client.connect("R:x_f1.EGU")
            await watched.next(lambda event: event.value == 1)
        await client.get("R:x_f1.EGU")
        assert len(relay._watched) == 1
        await client.clear("R:x_f1.EGU")
        await watched.next(lambda event: event.value == 0)


async def test_searches_leave_nothing_behind(client: Client) -> None:
    async with relaying() as relay:
        size = len(relay)
        for number in range(1000):
            assert relay[f"R:x{number}_f1"].get_field("EGU").value == ""
        assert (len(relay), len(relay._watched)) == (size, 0)


async def test_names_that_nobody_has_put_to_are_bounded(client: Client) -> None:
    async with relaying(max_pvs=2):
        await client.connect("R:a_f1")
        await client.connect("R:b_f1")
        with pytest.raises(TimeoutError):
            await client.find("R:c_f1", 0.3)
        await client.put("R:a_f1", 1.0)
        await client.find("R:c_f1")


# Names


@pytest.mark.parametrize(
    "name",
    [
        "x",
        "x_f",
        "x_f0",
        "x_f01",
        "x_d1",
        "_f1",
        "f1",
        "x y_f1",
        "x_f1_",
        "x_f100001",
        "é_f1",
        "n" * 57 + "_f1",
    ],
)
async def test_a_malformed_name_is_one_line(caplog: pytest.LogCaptureFixture, name: str) -> None:
    relay = Relay("R:", Rules())
    for _ in range(100):
        assert f"R:{name}" not in relay
    (line,) = caplog.messages
    assert line.startswith("no answer to a search for 'R:")


async def test_a_malformed_name_gets_no_answer(client: Client, caplog: pytest.LogCaptureFixture) -> None:
    async with relaying():
        names = "R:x", "R:x.EGU", "R:x_f1.NOSUCH"
        found = await asyncio.gather(*(client.find(name, 0.3) for name in names), return_exceptions=True)
        assert [type(error) for error in found] == [TimeoutError] * len(names)
        (line,) = caplog.messages
        assert line.startswith("no answer to a search for 'R:x'")


async def test_many_malformed_names_are_few_lines(caplog: pytest.LogCaptureFixture) -> None:
    relay = Relay("R:", Rules())
    for number in range(5000):
        assert f"R:{number}" not in relay
    assert len(caplog.messages) == LINES_AT_ONCE


async def test_other_prefixes_are_none_of_its_business(caplog: pytest.LogCaptureFixture) -> None:
    relay = Relay("R:", Rules())
    assert "OTHER:x_f1" not in relay
    assert "OTHER:x" not in relay
    assert not caplog.messages


async def test_allowed_names(client: Client, caplog: pytest.LogCaptureFixture) -> None:
    async with relaying(names=re.compile("(lab|hall)_.*")) as relay:
        assert "R:cellar_f1" not in relay
        assert "--names" in caplog.text
        await client.put("R:lab_f1", 1.0)


# Bounds


async def test_the_number_of_pvs_is_bounded(client: Client) -> None:
    async with relaying(max_pvs=2) as relay:
        await client.put("R:a_f1", 1.0)
        await client.put("R:b_f1", 1.0)
        with pytest.raises(PutFailed):
            await client.put("R:c_f1", 1.0)
        with pytest.raises(PutFailed):
            await client.put("R:c_f1.EGU", "K")
        assert (await client.get("R:c_f1.EGU")).value == ""
        assert [pvname for pvname in relay if pvname.endswith("1")] == ["R:a_f1", "R:b_f1"]
        await client.put("R:b_f1", 2.0)
        async with client.monitor("R:REFUSED") as refused:
            await refused.next(lambda event: event.value == 2)


async def test_the_rate_of_creation_is_bounded(client: Client) -> None:
    async with relaying(max_rate=0.5):
        for number in range(5):
            await client.put(f"R:x{number}_f1", 1.0)
        with pytest.raises(PutFailed):
            await client.put("R:x5_f1", 1.0)
        await client.put("R:x0_f1", 2.0)


async def test_a_pv_that_nobody_uses_is_dropped(client: Client) -> None:
    async with relaying(drop_after=0.05) as relay, client.monitor("R:NAMES") as names:
        async with Client() as publisher:
            await publisher.put("R:gone_f1", 1.0)
        await client.put("R:open_f1", 1.0)
        await names.next(lambda event: bytes(event.value) == b"R:open_f1")
        async with Client() as publisher:
            await publisher.put("R:younger_f1", 1.0)
        await names.next(lambda event: b"younger" in bytes(event.value))
        # what is younger goes, so the open one was old enough to go with it
        await names.next(lambda event: bytes(event.value) == b"R:open_f1")
        assert "R:open_f1" in list(relay)
        assert (await client.get("R:open_f1")).value == 1.0
        await client.clear("R:open_f1")
        await names.next(lambda event: event.value == [])


async def test_those_that_are_open_keep_no_other_from_being_dropped(
    client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(relay_module, "DROPS_AT_ONCE", 1)
    async with relaying(drop_after=0.01), client.monitor("R:NAMES") as names:
        for name in ("R:a_f1", "R:b_f1", "R:c_f1"):
            await client.put(name, 1.0)
        await client.clear("R:b_f1")
        await names.next(lambda event: sorted(bytes(event.value).split()) == [b"R:a_f1", b"R:c_f1"])


# Puts


async def test_what_is_put_is_converted_as_in_the_c_ioc(client: Client) -> None:
    async with relaying():
        await client.put("R:x_f1", "21.2")
        assert (await client.get("R:x_f1")).value == 21.2
        await client.put("R:n_i1", 7.9)
        assert (await client.get("R:n_i1")).value == 7
        await client.put("R:a_i3", ["1", "2"])
        assert (await client.get("R:a_i3")).value == [1, 2]
        for name, value in (("x_f1", "abc"), ("n_i1", 3e9), ("a_i3", [1, 2, 3, 4]), ("new_f1", "abc")):
            with pytest.raises(PutFailed):
                await client.put(f"R:{name}", value)
        assert (await client.get("R:new_f1")).severity == INVALID
        assert (await client.get("R:x_f1")).value == 21.2


async def test_text(client: Client) -> None:
    async with relaying():
        for name, count in (("line_c80", 80), ("log_C80", 80)):
            await client.put(f"R:{name}", "21.2")
            channel = await client.connect(f"R:{name}")
            assert (channel.data_type.name, channel.count) == ("CHAR", count)
        await client.put("R:log_C80", b"more\0")
        await client.put("R:line_c80", b"more\0")
        assert bytes((await client.get("R:line_c80")).value) == b"more"
        assert bytes((await client.get("R:log_C80")).value) == b"21.2more"


async def test_buffers(client: Client) -> None:
    async with relaying():
        for name, kind in (("x_I3", "LONG"), ("x_F3", "DOUBLE")):
            for number in range(1, 6):
                await client.put(f"R:{name}", number)
            assert (await client.get(f"R:{name}")).value == [3, 4, 5]
            assert (await client.get(f"R:{name}", count=1)).value == 5
            plain, whole = await client.connect(f"R:{name}"), await client.connect(f"R:{name}.VAL")
            assert (plain.data_type.name, plain.count, whole.count) == (kind, 1, 3)
            await client.put(f"R:{name}.VAL", [6.0, 7.0])
            assert (await client.get(f"R:{name}.VAL")).value == [5, 6, 7]
            assert (await client.get(f"R:{name}.NELM")).value == 3


async def test_who_monitors_one_element_of_a_buffer_gets_the_newest(client: Client) -> None:
    async with relaying():
        channel = await client.connect("R:x_F3")
        values: asyncio.Queue[list[float]] = asyncio.Queue()
        request = channel.channel.subscribe(data_type="time", data_count=1)
        channel.circuit.monitor(request, lambda event: values.put_nowait(list(event.data)))
        for number in (1.0, 2.0, 3.0, 4.0):
            await client.put("R:x_F3", number)
        async with asyncio.timeout(20):
            assert [await values.get() for _ in range(5)] == [[0.0], [1.0], [2.0], [3.0], [4.0]]


async def test_every_put_is_an_event_with_a_time_of_its_own(client: Client) -> None:
    async with relaying(), client.monitor("R:x_f1", DBE_VALUE) as events:
        for _ in range(3):
            await client.put("R:x_f1", 1.0)
        stamps = [(await events.next()).stamp for _ in range(4)]
        assert stamps == sorted(set(stamps))
        await client.put("R:x_f1.MDEL", 0.0)
        await client.put("R:x_f1", 1.0)
        await client.put("R:x_f1", 2.0)
        assert (await events.next()).value == 2.0


async def test_order_is_kept_and_nothing_is_lost(client: Client) -> None:
    async with relaying(), Client() as reader, reader.monitor("R:x_i1") as events:
        await events.next()
        channel = await client.connect("R:x_i1")
        for number in range(1000):
            channel.circuit.send(channel.channel.write([number], notify=False))
        seen = [(await events.next()).value for _ in range(1000)]
        assert seen == list(range(1000))


async def test_fields(client: Client) -> None:
    async with relaying() as relay:
        await client.put("R:x_f1.HIHI", 10.0)
        assert "R:x_f1" in list(relay)
        assert (await client.get("R:x_f1")).severity == INVALID
        await client.put("R:x_f1.HHSV", "MAJOR")
        await client.put("R:x_f1", 11.0)
        found = await client.get("R:x_f1")
        assert (found.status, found.severity) == (HIHI, 2)
        for field in ("SCAN", "PROC"):
            with pytest.raises(PutFailed):
                await client.put(f"R:y_f1.{field}", 1)
        with pytest.raises(PutFailed):
            await client.put("R:y_f1.HIHI", "high")
        assert "R:y_f1" not in list(relay)


# Staleness


async def test_a_value_becomes_stale_and_good_with_the_next_put(client: Client) -> None:
    async with relaying(stale=0.1), client.monitor("R:x_f1") as events:
        await events.next()
        await client.put("R:x_f1", 1.0)
        assert (await events.next()).severity == NO_ALARM
        stale = await events.next()
        assert (stale.value, stale.status, stale.severity) == (1.0, TIMEOUT, INVALID)
        assert (await client.get("R:x_f1.AMSG")).value == "nothing was put for 0.1 s"
        await client.put("R:x_f1", 1.0)
        assert (await events.next()).severity == NO_ALARM


async def test_a_client_sets_the_time_after_which_a_value_is_stale(client: Client) -> None:
    async with relaying(), client.monitor("R:x_i3") as events:
        await client.put("R:x_i3", [1, 2])
        await client.put("R:x_i3.STALE", 0.05)
        await events.next(lambda event: event.status == TIMEOUT)
        await client.put("R:x_i3.STALE", 1000.0)
        again = await events.next()
        assert (again.value, again.severity) == ([1, 2], NO_ALARM)
        for wrong in (-1.0, np.nan, np.inf):
            with pytest.raises(PutFailed):
                await client.put("R:x_i3.STALE", wrong)
        assert (await client.get("R:x_i3.STALE")).value == 1000.0


# Its own PVs and the command line


async def test_its_own_pvs(client: Client) -> None:
    async with relaying(), client.monitor("R:PUTS") as rate, client.monitor("R:NAMES") as names:
        for number in range(3):
            await client.put(f"R:x{number}_f1", 1.0)
        await rate.next(lambda event: event.value > 0)
        await names.next(lambda event: bytes(event.value) == b"R:x0_f1\nR:x1_f1\nR:x2_f1")
        assert (await client.get("R:PVS")).value == 3
        assert (await client.get("R:KEEPING")).value == 0
        with pytest.raises(PutFailed):
            await client.put("R:PVS", 5)


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (("--prefix", ""), "a relay needs a prefix"),
        (("--prefix", "a.b:"), "a relay needs a prefix"),
        (("--save-values",), "--save-values needs --state FILE"),
        (("--autosave", "folder"), "--autosave needs --state FILE"),
        (("--state", "/dev/null"), "can't keep PVs in /dev/null: that is no file"),
        (("--state", ""), "can't keep PVs in .: that is no file"),
        (("--state", "/no/such/place/relay"), "can't keep PVs at /no/such/place: No such file"),
    ],
)
async def test_a_mistake_is_a_failure(words: tuple[str, ...], expected: str) -> None:
    with pytest.raises(Failure, match=expected):
        async with program.serve(run_arguments(["relay", *words])):
            pass


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (("--max-pvs", "0"), "it is a whole number, 1 at least, not 0"),
        (("--max-count", "many"), "it is a whole number, 1 at least, not many"),
        (("--names", "("), "'(' is no regular expression"),
        (("--stale", "0"), "it is a number above 0, not 0"),
        (("--drop-after", "1h"), "it is a number above 0, not 1h"),
        (("--max-rate", "nan"), "it is a number above 0, not nan"),
    ],
)
def test_an_option_that_makes_no_sense_is_explained(
    words: tuple[str, ...], expected: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit):
        run_arguments(["relay", *words])
    assert expected in capsys.readouterr().err


def test_the_list_names_it() -> None:
    assert "relay" in program_names()
