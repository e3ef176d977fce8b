"""Recordings that are replayed: as a simulator, and as a driver's test."""

import json
import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest
from tests.ca import Client
from tests.test_cli import labioc, line_of, running
from tests.test_faults import TCP, both, client

from labioc.drivers.core import Driver, Float, Lines, Readback, Setpoint
from labioc.drivers.core.errors import ReplyError, ReplyTimeout, TruncatedReply
from labioc.drivers.core.recording import read_recording, record
from labioc.drivers.lakeshore336 import LakeShore336
from labioc.drivers.testing import recorded, transcript
from labioc.iocs.core import Host, InstrumentConfig
from labioc.iocs.lakeshore336 import instrument
from labioc.sim.core import Clock, Replay
from labioc.sim.lakeshore336 import LakeShore336 as Simulator

LINES: dict[str, Any] = {"eol": ["\r\n"], "send_eol": "\n"}
JOINED = LINES | {"join": ";"}


def written(path: Path, *events: tuple[str, str], header: Any = LINES, clock: float = 0.1) -> Path:
    """Write a session whose events come `clock` seconds after each other."""
    first = {"format": "labioc recording", "version": 1, "instrument": "x", "name": "x", "url": "tcp://h:1"}
    lines: list[Any] = [first | header]
    for number, (kind, data) in enumerate(events):
        lines.append({"time": 1.7e9 + number * clock, "clock": number * clock, "kind": kind, "data": data})
    with path.open("a") as file:
        file.writelines(json.dumps(line) + "\n" for line in lines)
    return path


def exchanges(*pairs: tuple[str, str], end: str = "\r\n") -> list[tuple[str, str]]:
    """The events of questions and answers."""
    return [
        event
        for ask, answer in pairs
        for event in [(">", f"{ask}\n"), *([("<", answer + end)] if answer else [])]
    ]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "session.jsonl"


def answers(replay: Replay, *requests: str) -> list[str]:
    return [(replay.receive(f"{request}\n".encode()) or b"").decode().strip() for request in requests]


# what is answered


def test_answers_come_in_their_order_and_the_last_one_again(path: Path) -> None:
    written(path, *exchanges(("A?", "1"), ("B?", "x"), ("A?", "2"), ("SET 5", ""), ("A?", "3")))
    replay = Replay(path)
    assert answers(replay, "A?", "A?", "B?", "SET 5", "A?", "A?", "B?") == ["1", "2", "x", "", "3", "3", "x"]
    replay.power_cycle()
    assert answers(replay, "A?") == ["1"]


def test_what_nobody_recorded_is_named_once(path: Path, caplog: pytest.LogCaptureFixture) -> None:
    replay = Replay(written(path, *exchanges(("A?", "1"))))
    assert answers(replay, "Z?", "Z?", "A?") == ["", "", "1"]
    assert [r.getMessage() for r in caplog.records] == [r"nobody recorded an answer to b'Z?\n'"]


def test_silence_is_part_of_the_order(path: Path) -> None:
    replay = Replay(written(path, *exchanges(("A?", "1"), ("A?", ""), ("A?", "3"))))
    assert answers(replay, "A?", "A?", "A?") == ["1", "", "3"]


def test_a_question_that_the_end_cut_off_is_none(path: Path) -> None:
    replay = Replay(written(path, *exchanges(("A?", "1"), ("A?", "")), ("closed", "")))
    assert answers(replay, "A?", "A?") == ["1", "1"]


def test_a_silence_is_not_what_is_repeated(path: Path) -> None:
    replay = Replay(written(path, *exchanges(("A?", "1"), ("A?", ""), ("B?", "2"))))
    assert answers(replay, "A?", "A?", "A?", "A?") == ["1", "", "1", "1"]


def test_what_was_missed_is_not_taken_for_silence(path: Path) -> None:
    written(
        path, *exchanges(("A?", "1"), ("A?", "")), ("missed", "7"), ("<", "9\r\n"), *exchanges(("B?", "2"))
    )
    assert answers(Replay(path), "A?", "A?", "B?") == ["1", "1", "2"]


def test_questions_come_grouped_in_other_ways(path: Path) -> None:
    events = exchanges(("A?;B?", "1;x"), ("SET 5;A?", "5"), ("C?", "c;d"), ("A?;B?", "2;y"))
    replay = Replay(written(path, *events, header=JOINED))
    # A? alone takes the 1, so the pair goes on with the 5
    assert answers(replay, "A?", "B?;A?", "B?", "A?;C?", "SET 5;A?;A?") == ["1", "x;5", "y", "2;c;d", "2;2"]


def test_an_answer_that_does_not_fit_comes_as_it_came(path: Path) -> None:
    events = exchanges(("A?;B?", "1;x"), ("A?;B?", "2"), ("A?;B?", ""), ("A?;B?", "4;z"), ("C?", "0"))
    replay = Replay(written(path, *events, header=JOINED))
    assert answers(replay, *["A?;B?"] * 5) == ["1;x", "2", "", "4;z", "4;z"]
    replay.power_cycle()
    assert answers(replay, "B?;C?", "A?") == ["x;0", "1"]


def test_unknown_questions_in_a_line_silence_it_all(path: Path, caplog: pytest.LogCaptureFixture) -> None:
    replay = Replay(written(path, *exchanges(("A?", "1")), header=JOINED))
    assert answers(replay, "A?;Z?") == [""]
    assert "A?;Z?" in caplog.text


def test_timing_is_that_of_the_recording(path: Path) -> None:
    events = [(">", "A?\n"), ("<", "1"), ("<", "23\r\n"), ("<", "unasked\r\n"), ("lost", "")]
    written(path, *events, clock=1.0)
    timed = [
        (round(gap, 6), data, ends) for gap, data, ends in Replay(path, timing=True).next_answer(b"A?\n")
    ]
    assert timed == [(2.0, b"123\r\n", False), (1.0, b"unasked\r\n", False), (1.0, b"", True)]
    assert {piece.gap for piece in Replay(path).next_answer(b"A?\n")} == {0.0}


def test_the_timing_of_what_was_grouped_anew_is_the_longest(path: Path) -> None:
    events = [(">", "A?\n"), ("<", "1\r\n"), (">", "B?;C?\n"), ("closed", ""), ("<", ""), ("<", "")]
    written(path, *events[:3], ("<", "2;3\r\n"), header=JOINED, clock=0.5)
    (piece,) = Replay(path, timing=True).next_answer(b"A?;C?\n")
    assert (piece.gap, piece.data) == (0.5, b"1;3\r\n")


def test_binary_requests_without_terminators(path: Path) -> None:
    events = [(">", "\x01\x03\x00"), ("<", "\x01\x03"), ("<", "\xff\n"), (">", "\x01\x03"), ("<", "\x00")]
    replay = Replay(written(path, *events, header={}, clock=0.01))
    buffer = bytearray(b"\x01\x03\x00\x01\x03\x77")
    assert list(replay.split(buffer)) == [b"\x01\x03\x00", b"\x01\x03", b"\x77"]
    assert replay.receive(b"\x01\x03\x00") == b"\x01\x03\xff\n"
    assert not buffer


def test_requests_are_found_wherever_they_are_cut(path: Path) -> None:
    replay = Replay(written(path, *exchanges(("A?", "1"), ("AB?", "2"))))
    sent = b"A?\nAB?\nA?B\nAB?\n"
    for cut in range(len(sent)):
        buffer, found = bytearray(), []
        for piece in (sent[:cut], sent[cut:]):
            buffer += piece
            found += list(replay.split(buffer))
        assert found == [b"A?\n", b"AB?\n", b"A?B\n", b"AB?\n"]


def test_what_never_ends_is_bounded(path: Path) -> None:
    replay = Replay(written(path, *exchanges(("A?", "1"))))
    buffer = bytearray()
    for _ in range(100):
        buffer += b"x" * 1000
        list(replay.split(buffer))
    assert len(buffer) <= 65536 + 1000


# files


def test_the_latest_session_or_another(path: Path) -> None:
    for number in "123":
        written(path, *exchanges(("A?", number)))
    assert answers(Replay(path), "A?") == ["3"]
    assert answers(Replay(path, session=2), "A?") == ["2"]
    with pytest.raises(ValueError, match="has 3 sessions, and no session 4"):
        Replay(path, session=4)


def test_torn_lines_are_left_out(path: Path, caplog: pytest.LogCaptureFixture) -> None:
    written(path, *exchanges(("A?", "1")))
    with path.open("a") as file:
        file.write('{"time": 17000')
    assert answers(Replay(path), "A?") == ["1"]
    assert "line 4 can't be read" in caplog.text


@pytest.mark.parametrize(
    "text", ["", "hello\n", "[1]\n", '{"format": "other"}\n', '{"kind": ">", "data": ""}\n']
)
def test_another_file_is_refused(path: Path, text: str) -> None:
    path.write_text(text)
    with pytest.raises(ValueError, match="recording"):
        Replay(path)
    with pytest.raises(ValueError, match="recording"):
        read_recording(path)


def test_a_later_version_is_refused(path: Path) -> None:
    path.write_text('{"format": "labioc recording", "version": 2}\n')
    with pytest.raises(ValueError, match="recording"):
        Replay(path)
    with pytest.raises(ValueError, match="version 2; this labioc reads 1"):
        read_recording(path)


# on the wire


@both
async def test_a_plain_client_is_answered(at: str, path: Path) -> None:
    events = [*exchanges(("A?", "1")), ("<", "unasked\r\n"), *exchanges(("B?", "2"))]
    async with Replay(written(path, *events)).serve(at) as url, client(url) as plain:
        assert await plain.ask(b"A?\n", b"unasked\r\n") == b"1\r\nunasked\r\n"
        assert await plain.ask(b"B?\n") == b"2\r\n"


@both
async def test_a_greeting_comes_with_the_connection(at: str, path: Path) -> None:
    written(path, ("opened", ""), ("<", "HELLO\r\n"), *exchanges(("A?", "1")))
    async with Replay(path).serve(at) as url, client(url) as plain:
        assert await plain.receive() == b"HELLO\r\n"


async def test_a_connection_is_lost_where_it_was_and_only_once(path: Path) -> None:
    events = [*exchanges(("A?", "1")), (">", "A?\n"), ("<", "2"), ("lost", "reset")]
    async with Replay(written(path, *events)).serve(TCP) as url:
        async with client(url) as plain:
            assert await plain.ask(b"A?\n") == b"1\r\n"
            plain.send(b"A?\n")
            assert await plain.receive() == b"2"
            assert await plain.receive() == b""
        async with client(url) as plain:
            assert await plain.ask(b"A?\n") == b"1\r\n"
            assert await plain.ask(b"A?\n") == b"1\r\n"


async def test_faults_strike_a_replay_too(path: Path) -> None:
    replay = Replay(written(path, *exchanges(("A?", "1"))))
    async with replay.serve(TCP) as url, client(url) as plain:
        replay.faults.add("twice count=1")
        assert await plain.ask(b"A?\n", b"1\r\n1\r\n") == b"1\r\n1\r\n"
        assert await plain.ask(b"A?\n") == b"1\r\n"


# with a driver and an IOC


async def test_both_readers_agree(path: Path) -> None:
    async with Simulator().serve(TCP) as url:
        driver = LakeShore336(url)
        with record(driver.port, path, instrument="lakeshore336"):
            await driver.start()
            await driver.connected()
            assert await driver.inputs["A"].temperature.read() > 0
            await driver.close()
    (session,) = read_recording(path)
    replay = Replay(path)
    assert replay.header == session.header
    assert replay.header["instrument"] == "lakeshore336"
    sent = [chunk.data for chunk in session.chunks if chunk.kind == ">"]
    came = b"".join(chunk.data for chunk in session.chunks if chunk.kind == "<")
    assert b"".join(replay.receive(request) or b"" for request in sent) == came
    assert [chunk.kind for chunk in session.chunks][0 :: len(session.chunks) - 1] == ["opened", "closed"]


async def values(host: Host, ca: Client) -> dict[str, tuple[Any, int]]:
    """What all PVs say that come from the instrument."""
    found = {}
    for name in host.pvs:
        if ":LINK:" not in name:
            reading = await ca.get(name)
            found[name.partition(":")[2]] = str(reading.value), reading.severity
    return found


async def test_an_ioc_shows_the_same_as_it_did_before_the_instrument(
    path: Path, ca_environment: dict[str, str], client: Client
) -> None:
    clock = Clock(manual=True)
    simulator = Simulator(clock=clock)
    simulator.ask("SETP 1,77;RANGE 1,3;INNAME A,sample")
    clock.advance(600)
    async with simulator.serve(TCP) as url:
        real = Host([InstrumentConfig(instrument=instrument, url=url, prefix="A:", name="ls")])
        with record(real.units[0].driver.port, path):
            async with real:
                expected = await values(real, client)
    async with Replay(path).serve(TCP) as url:
        config = InstrumentConfig(instrument=instrument, url=url, prefix="B:", name="ls")
        async with Host([config]) as again:
            assert await values(again, client) == expected
    assert len(expected) > 100
    assert expected["A:NAME"] == ("sample", 0)


async def test_a_recording_of_the_command_line_is_replayed_by_it(
    path: Path, ca_environment: dict[str, str]
) -> None:
    server = f"127.0.0.1:{ca_environment['EPICS_CA_SERVER_PORT']}"
    words = ("run", "lakeshore336", "--simulate", "--prefix", "C:", "--record", str(path))
    async with running(*words) as ioc:
        await line_of(ioc.stderr, "labioc: ONLY")
        ioc.terminate()
        assert await ioc.wait() == 0
    async with running("replay", str(path), "--fault", "lose count=1 only=ZZZ") as replay:
        said = await line_of(replay.stdout, "replay of")
        url = said.split()[-1]
        async with running("run", "lakeshore336", "--connect", url, "--prefix", "C:") as ioc:
            await line_of(ioc.stderr, "labioc: ONLY")
            status, out, err = await labioc("get", "-s", server, "C:MODEL", "C:OUT1:RANGE")
            assert (status, out, err) == (0, "C:MODEL  MODEL336\nC:OUT1:RANGE  OFF\n", "")
        replay.terminate()
        assert await replay.wait() == 0


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (("replay", "/no/such/file"), "can't replay /no/such/file: No such file"),
        (("replay", __file__), "is no recording"),
        (("replay", "FILE", "--session", "2"), "has 1 sessions, and no session 2"),
        (("replay", "FILE", "--fault", "power-cycl"), "no such fault"),
    ],
)
async def test_a_mistake_gets_one_line(path: Path, words: tuple[str, ...], expected: str) -> None:
    written(path, *exchanges(("A?", "1")))
    status, out, err = await labioc(*(str(path) if word == "FILE" else word for word in words))
    assert (status, out) == (2, "")
    assert expected in err
    assert len(err.splitlines()) == 1


# as a driver's test


class Heater(Driver):
    protocol = Lines(eol="\r\n", send_eol="\n", timeout=3600, identify=("*IDN?", "HEATER,"), join=";")

    power = Setpoint(Float("W", ".1f"), ask="POW?", tell="POW {value}")
    temperature = Readback(Float("K"), ask="TEMP?")
    pressure = Readback(Float("mbar"), ask="PRES?")


def heater(*pairs: tuple[str, str]) -> Iterable[tuple[str, str]]:
    """What a connection to the heater begins with, and more."""
    return exchanges(("*IDN?", "HEATER,7"), ("*IDN?;*IDN?", "HEATER,7;HEATER,7"), *pairs)


async def test_a_recording_is_a_drivers_test(path: Path) -> None:
    written(path, *heater(("TEMP?;PRES?", "4.2;1e-3"), ("POW 5.0;POW?", "5.0"), ("TEMP?;PRES?", "4.3;2e-3")))
    async with transcript(Heater, recorded(path)) as driver:
        assert driver.port.identity == "HEATER,7"
        assert await driver.pressure.read() == 1e-3
        assert await driver.temperature.read() == 4.2
        await driver.power.write(5)
        assert await driver.temperature.read() == 4.3
        assert await driver.temperature.read() == 4.3


async def test_what_is_not_in_the_recording_fails_the_test(path: Path) -> None:
    written(path, *heater(("POW 5.0;POW?", "5.0")))
    with pytest.raises(
        AssertionError, match=r"not in the recording:\n'POW 6.0;POW\?'; it has 'POW 5.0;POW\?'"
    ):
        async with transcript(Heater, recorded(path)) as driver:
            await driver.power.write(6)


async def test_a_fault_in_a_recording_is_the_drivers_too(path: Path) -> None:
    events = [*heater(("TEMP?", "4.2"), ("TEMP?", ""), ("*IDN?", "HEATER,7"), ("TEMP?", "x"), ("PRES?", "1"))]
    written(path, *events, (">", "TEMP?\n"), ("<", "4."), ("lost", ""))
    async with transcript(Heater, recorded(path)) as driver:
        assert await driver.temperature.read() == 4.2
        with pytest.raises(ReplyTimeout):
            await driver.temperature.read()
        with pytest.raises(ReplyError, match="'x'"):
            await driver.temperature.read()
        with pytest.raises(TruncatedReply, match="stopped after b'4.'"):
            await driver.temperature.read()


async def test_a_part_of_a_recording_is_a_transcript_to_be_followed(path: Path) -> None:
    lines = recorded(written(path, *heater(("TEMP?", "4.2"), ("PRES?", "1")))).lines[2:]
    async with transcript(Heater, lines, identity="HEATER,7") as driver:
        assert await driver.temperature.read() == 4.2
        assert await driver.pressure.read() == 1
    with pytest.raises(AssertionError, match=r"- PRES\?"):
        async with transcript(Heater, lines, identity="HEATER,7") as driver:
            assert await driver.temperature.read() == 4.2


async def test_an_echo_in_a_recording_is_not_the_answer(path: Path) -> None:
    events = [
        event
        for ask, answer in (("*IDN?", "HEATER,7"), ("TEMP?", "4.2"))
        for event in ((">", f"{ask}\n"), ("<", f"{ask}\n"), ("<", f"{answer}\r\n"))
    ]
    written(path, *events, header=JOINED | {"echo": True})
    async with transcript(Heater, recorded(path)) as driver:
        assert await driver.temperature.read() == 4.2


# the document


def blocks(language: str) -> list[str]:
    document = Path(__file__).parents[1] / "docs" / "trace.md"
    return re.findall(rf"^```{language}\n(.*?)^```$", document.read_text(), re.MULTILINE | re.DOTALL)


@pytest.fixture
def example(path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The recording in the document, in the present folder."""
    monkeypatch.chdir(path.parent)
    path.write_text(blocks("json")[0])
    return path


@pytest.mark.parametrize("block", blocks("python"))
async def test_the_documents_code_runs(block: str, example: Path) -> None:
    names: dict[str, Any] = {}
    exec(block, names)
    for name in names:
        if name.startswith("test_"):
            await names[name]()
    if "measure" in names:
        async with Simulator().serve(TCP) as url:
            assert await names["measure"](url) > 0
        assert len(read_recording(example)) == 2


def test_the_documents_recording_is_one(example: Path) -> None:
    assert answers(Replay(example), "*ESR?\r") == ["128"]
