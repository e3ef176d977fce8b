"""Filters at the end of channel names: as in the C IOC, which runs beside the server, and what is no filter."""

import asyncio
import itertools
import logging
import socket
import struct
import time
from collections.abc import Sequence
from typing import Any

import pytest
from tests.ca import Client, Message, Raw
from tests.conformance.ioc import c_ioc
from tests.test_server import Bench, post, putter_of, serving

from labioc.devices.core.records import (
    PV,
    AlarmSeverity,
    DoubleArrayPV,
    DoublePV,
    EnumPV,
    RecordInfo,
    StringPV,
)
from labioc.iocs.core.server import CAServer

DATABASE = """
record(ao, "T:A") { field(HIGH, "30") field(HSV, "MINOR") }
record(waveform, "T:TRACE") { field(NELM, "10") field(FTVL, "DOUBLE") }
record(stringout, "T:S") {}
record(bo, "T:BO") { field(ZNAM, "off") field(ONAM, "on") }
record(ao, "T:STEP") {}
"""
NAN, INF = float("nan"), float("inf")
VALUE, ALARM = 1, 4
STS_STRING, STS_DOUBLE = 7, 13


def same_records() -> dict[str, PV]:
    made: list[PV] = [
        DoublePV(info=RecordInfo("ao", high=30, hsv=AlarmSeverity.MINOR_ALARM), pvname="T:A"),
        DoubleArrayPV(info=RecordInfo("waveform"), pvname="T:TRACE", max_length=10),
        StringPV(info=RecordInfo("stringout"), pvname="T:S"),
        EnumPV(info=RecordInfo("bo", states=("off", "on")), pvname="T:BO"),
        DoublePV(info=RecordInfo("ao"), pvname="T:STEP"),
    ]
    for pv in made:
        pv.putter = putter_of(pv)
    return {pv.pvname: pv for pv in made}


def doubles(*values: float) -> tuple[int, int, bytes]:
    return 6, len(values), struct.pack(f">{len(values)}d", *values)


def text(value: str) -> tuple[int, int, bytes]:
    return 0, 1, value.encode().ljust(40, b"\0")


async def events_of(
    port: int, name: str, mask: int, puts: Sequence[tuple[int, int, bytes]]
) -> list[list[tuple[Any, ...]]]:
    """What a monitor delivers at first and after each put, without its time."""
    record = name.partition(".")[0]
    kind = STS_STRING if record == "T:S" else STS_DOUBLE
    async with Raw(port) as watcher, Raw(port) as writer:
        sid, _ = await watcher.create(name)
        step, _ = await watcher.create("T:STEP")
        target, _ = await writer.create(record)
        counter, _ = await writer.create("T:STEP")
        # What is between two events of the counter belongs to one put.
        watcher.send(
            Message(1, kind, 0, sid, 1, struct.pack(">12xHxx", mask)),
            Message(1, 6, 1, step, 2, struct.pack(">12xHxx", VALUE)),
        )
        numbers = itertools.count(1)
        steps: list[list[tuple[Any, ...]]] = []

        async def collect(until: float | None) -> None:
            found: list[tuple[Any, ...]] = []
            while (message := await watcher.receive()).second != 2 or (
                until is not None and struct.unpack(">d", message.payload) != (until,)
            ):
                if message.second == 1:
                    alarm, value = message.payload[:4], message.payload[4 if kind == STS_STRING else 8 :]
                    found.append((message.count, alarm, value.rstrip(b"\0")))
            steps.append(found)

        await collect(None)
        for put in puts:
            await writer.ask(Message(19, *put[:2], target, 1, put[2]))
            number = next(numbers) + time.time()
            await writer.ask(Message(19, *doubles(number)[:2], counter, 2, doubles(number)[2]))
            await collect(number)
        return steps


RAMP = [doubles(x) for x in (1.0, 2.0, 4.0, 9.0, 9.0, 31.0, 33.0, 29.0, NAN, 5.0, INF, INF, -INF, -3.0, 0.5)]
FILTERED: dict[str, tuple[str, int, Sequence[tuple[int, int, bytes]]]] = {
    "abs": ('T:A.{"dbnd":{"abs":5}}', VALUE | ALARM, RAMP),
    "abs of values only": ('T:A.{"dbnd":{"abs":5}}', VALUE, RAMP),
    "abs as mode": ('T:A.{"dbnd":{"m":"abs","d":1.5}}', VALUE, RAMP),
    "abs of 0": ('T:A.{"dbnd":{"abs":0}}', VALUE, RAMP),
    "abs of -1": ('T:A.{"dbnd":{"abs":-1}}', VALUE, RAMP),
    "rel": ('T:A.{"dbnd":{"rel":50}}', VALUE, [doubles(x) for x in (10, 14, 16, 23, 25, -4, -5, 7, 3.4)]),
    "rel of both": ('T:A.{"dbnd":{"rel":50}}', VALUE | ALARM, [doubles(x) for x in (10, 14, 31, 33, 50, 12)]),
    "array": (
        'T:TRACE.{"dbnd":{"abs":5}}',
        VALUE,
        [doubles(1, 2), doubles(1, 2), doubles(100), doubles(101)],
    ),
    "text": ('T:S.{"dbnd":{"abs":5}}', VALUE, [text("one"), text("2"), text("3")]),
    "states": ('T:BO.{"dbnd":{"abs":1}}', VALUE | ALARM, [text("on"), text("off"), text("on")]),
    "part of an array": ("T:TRACE.[1:2]", VALUE, [doubles(*range(n)) for n in range(6)]),
    "from the end": ("T:TRACE.[-3:-2]", VALUE, [doubles(*range(n)) for n in range(6)]),
    "in steps": ("T:TRACE.[1:2:-1]", VALUE, [doubles(*range(n)) for n in range(8)]),
    "far off": ("T:TRACE.[-20:20]", VALUE, [doubles(*range(n)) for n in range(4)]),
    "before the start": ("T:TRACE.[0:-20]", VALUE, [doubles(*range(n)) for n in range(4)]),
    "one": ("T:TRACE.[2]", VALUE, [doubles(*range(n)) for n in range(5)]),
    "as an object": ('T:TRACE.{"arr":{"s":1,"i":3,"e":-1}}', VALUE, [doubles(*range(n)) for n in range(9)]),
    "part of a scalar": ("T:A.[3:4]", VALUE, [doubles(7), doubles(8)]),
}


async def test_filtered_events_are_those_of_the_c_ioc() -> None:
    theirs, ours = {}, {}
    async with c_ioc(DATABASE) as port:
        for title, given in FILTERED.items():
            theirs[title] = await events_of(port, *given)
        caserver = CAServer(same_records())
        await caserver.start()
        for title, given in FILTERED.items():
            ours[title] = await events_of(caserver.port, *given)
        await caserver.stop()
    for title in FILTERED:
        assert [str(step) for step in ours[title]] == [str(step) for step in theirs[title]], title


async def test_part_of_an_array_as_text_and_as_so_many_elements(ca_environment: dict[str, str]) -> None:
    bench = Bench("T:")
    post(bench.trace, [float(number) for number in range(1000)])
    async with serving(bench) as caserver, Raw(caserver.port) as raw:
        sid, _ = await raw.create("T:TRACE.[10:2:30]")
        got = await raw.ask(Message(15, 6, 3, sid, 1))
        assert (got.count, got.payload) == (3, struct.pack(">3d", 10, 12, 14))
        got = await raw.ask(Message(15, 0, 0, sid, 2))
        assert got.count == 11
        assert got.payload[40:80].rstrip(b"\0") == b"12"


async def test_a_time_stamp_filter_tells_the_time_of_reading(open_bench: Bench, client: Client) -> None:
    open_bench.a.post(1.0, 1.0e9)
    before = time.time()
    assert (await client.get('T:A.{"ts":{}}')).stamp >= before - 1
    assert (await client.get("T:A")).stamp < before


@pytest.fixture
async def open_bench(ca_environment: dict[str, str]) -> Any:
    bench = Bench("T:")
    async with serving(bench):
        yield bench


NO_FILTERS = (
    *("[]", "[1:2:3:4]", "[1:0:2]", "[:-1:]", "[1:-2:3]", "[a]", "[1.5]", "[" + "9" * 400 + "]", "[1"),
    *('{"arr":5}', '{"arr":[1]}', '{"arr":"i"}', '{"arr":{"s":"a"}}', '{"arr":{"s":1.5}}', '{"arr":{"i":0}}'),
    *('{"arr":{"e":1e400}}', '{"arr":{"s":true}}', '{"arr":{"x":1}}', '{"arr":{"i":-2}}'),
    *('{"dbnd":5}', '{"dbnd":{}}', '{"dbnd":"rel"}', '{"dbnd":{"abs":"x"}}', '{"dbnd":{"rel":[1]}}'),
    *('{"dbnd":{"abs":null}}', '{"dbnd":{"abs":NaN}}', '{"dbnd":{"abs":1' + "0" * 400 + "}}"),
    *(
        '{"dbnd":{"abs":1,"rel":1}}',
        '{"dbnd":{"m":"x","d":1}}',
        '{"dbnd":{"m":[1],"d":1}}',
        '{"dbnd":{"abs":true}}',
    ),
    *(
        '{"ts":1}',
        '{"sync":5}',
        '{"while":"x"}',
        '{"none":{}}',
        "{",
        "{}}",
        '{"a":' * 90,
        "{" + "[" * 450,
        '"arr"',
    ),
)


async def test_what_is_no_filter_is_no_pv_and_costs_nothing(
    ca_environment: dict[str, str], caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    failures: list[Any] = []
    asyncio.get_running_loop().set_exception_handler(lambda loop, context: failures.append(context))
    async with serving(Bench("T:")) as caserver, Raw(caserver.port) as raw, Client("127.0.0.1") as client:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
            for number, words in enumerate(NO_FILTERS):
                name = f"T:TRACE.{words}\0".encode()
                refused = await raw.ask(Message(18, 0, 0, number, 13, name))
                assert (refused.command, refused.first) == (26, number), words
                missing = await raw.ask(Message(6, 10, 13, number, number, name))
                assert missing.command == 14, words
                sock.sendto(bytes(Message(6, 5, 13, 1, 1, name)), ("127.0.0.1", caserver.search_port))
                await client.find("T:A")
    assert not failures
    assert not caplog.records
