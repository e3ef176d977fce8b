"""What clients have tuned survives a restart, in files that autosave's own tools read."""

import argparse
import asyncio
import logging
import os
import re
import sys
import threading
import time
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import caproto as ca
import pytest
from caproto.server import PVGroup, SubGroup, pvproperty
from tests.ca import Client, until
from tests.save_file_reader import is_whole, read
from tests.test_cli import line_of, running
from tests.test_clients import learn

from labioc.devices.core.records import (
    PV,
    AlarmSeverity,
    AlarmStatus,
    CharArrayPV,
    DoubleArrayPV,
    DoublePV,
    EnumPV,
    Integer64PV,
    LongTextPV,
    RecordInfo,
    StringPV,
)
from labioc.devices.core.soft import soft
from labioc.iocs.core import Host, InstrumentConfig
from labioc.iocs.core import pvgroups as groups
from labioc.iocs.core.autosave import Autosave
from labioc.iocs.core.command import Failure
from labioc.iocs.core.helpers import Helpers
from labioc.iocs.core.save_file import DATED, NotWhole, SaveFiles, formatted, parsed
from labioc.iocs.mettler_balance import instrument
from labioc.sim.mettler_balance import MettlerBalance

PATIENCE = 20.0
ROOT = Path(__file__).parent.parent
OK, WARNING, FAILURE = 4, 2, 1
STRING = ca.ChannelType.STRING


def records() -> dict[str, PV]:
    """One of each kind, whose values nobody else knows."""
    made: list[PV] = [
        DoublePV(info=RecordInfo("ao", hihi=1.0), pvname="S:D"),
        Integer64PV(info=RecordInfo("int64out"), pvname="S:I"),
        EnumPV(info=RecordInfo("mbbo", states=("2", "1", "0")), pvname="S:E"),
        StringPV(info=RecordInfo("stringout"), pvname="S:S"),
        LongTextPV(info=RecordInfo("lso"), pvname="S:L", max_length=200),
        DoubleArrayPV(info=RecordInfo("aao"), pvname="S:W", max_length=9),
        CharArrayPV(info=RecordInfo("aao"), pvname="S:C", max_length=90),
        DoublePV(info=RecordInfo("ai"), pvname="S:READING"),
    ]
    for pv in made[:-1]:
        pv.restorer = lambda value, pv=pv: pv.post(value, time.time())
    return {pv.pvname: pv for pv in made}


VALUES: dict[str, Any] = {
    "S:D": 0.1 + 0.2,
    "S:I": 2**53 + 1,
    "S:E": 1,
    "S:S": " 5 µm \\ \"quoted\" 'it'",
    "S:L": "@array@ { no }\tone\ntwo" + "x" * 100,
    "S:W": [1.5, -2e-300, 3.0],
    "S:C": 'a "text" of chars',
}


def post(pvs: Mapping[str, PV], values: Mapping[str, Any]) -> None:
    for name, value in values.items():
        pvs[name].post(value, time.time())


def plain(pv: PV) -> Any:
    if isinstance(pv, CharArrayPV):
        return pv.text
    return list(pv.value) if isinstance(pv, DoubleArrayPV) else pv.value


async def saved(path: Path, pvs: Mapping[str, PV]) -> Autosave:
    autosave: Any = Autosave("S:", path=path, pvs=pvs)
    await autosave.restore()
    await autosave.close()
    return autosave  # type: ignore[no-any-return]


async def test_each_kind_of_value_is_written_in_the_format_of_autosave_and_comes_back(tmp_path: Path) -> None:
    path = tmp_path / "new" / "all.sav"
    pvs = records()
    post(pvs, {**VALUES, "S:READING": 5.0})
    await saved(path, pvs)
    lines = path.read_text("ascii").split("\n")
    assert re.fullmatch(
        r"# autosave R[0-9.]+\tAutomatically generated - DO NOT MODIFY - \d{6}-\d{6}", lines[0]
    )
    assert lines[-2:] == ["<END>", ""]
    assert read(path) == {
        "S:D": "0.30000000000000004",
        "S:I": str(2**53 + 1),
        "S:E": "1",
        "S:S": VALUES["S:S"],
        "S:L.VAL$": VALUES["S:L"],
        "S:W": ["1.5", "-2e-300", "3.0"],
        "S:C": [str(byte) for byte in VALUES["S:C"].encode()],
    }
    fresh = records()
    autosave: Any = await saved(path, fresh)
    assert {name: plain(fresh[name]) for name in VALUES} == VALUES
    assert (autosave.reboot_status.value, autosave.reboot_text.value) == (OK, "Ok")
    assert fresh["S:READING"].udf


async def test_the_fields_that_clients_have_changed_are_saved_and_no_others(tmp_path: Path) -> None:
    path = tmp_path / "fields.sav"
    pvs = {"S:D": DoublePV(info=RecordInfo("ai", egu="K", hihi=9.0), pvname="S:D")}
    pv = pvs["S:D"]
    pv.on_rescan = lambda at_once: None
    for field, value in (
        *(("DISP", b"1"), ("HIHI", b"310.5"), ("HHSV", b"MAJOR"), ("SCAN", b"2 second"), ("DESC", b'"cold"')),
        *(("PREC", b"4"), ("LOW", b"1"), ("LOW", b"0"), ("EGU", b"")),
    ):
        if field != "DISP":
            await pv.get_field(field).write_from_dbr([value], STRING, None)
    await pv.get_field("DISP").write_from_dbr([b"1"], STRING, None)
    await saved(path, pvs)
    assert read(path) == {
        "S:D.HIHI": "310.5",
        "S:D.HHSV": "2",
        "S:D.SCAN": "5",
        "S:D.DESC": '"cold"',
        "S:D.PREC": "4",
        "S:D.EGU": "",
        "S:D.DISP": "1",
    }
    fresh = {"S:D": DoublePV(info=RecordInfo("ai", egu="K", hihi=9.0), pvname="S:D")}
    rescans: list[bool] = []
    fresh["S:D"].on_rescan = rescans.append
    fresh["S:D"].post(311.0, time.time())
    await saved(path, fresh)
    info, restored = pv.info, fresh["S:D"].info
    assert restored == info
    assert (fresh["S:D"].status, fresh["S:D"].severity) == (AlarmStatus.HIHI, AlarmSeverity.MAJOR_ALARM)
    assert rescans == [False]


async def test_nothing_is_written_while_nothing_changes(tmp_path: Path) -> None:
    path = tmp_path / "same.sav"
    pvs = records()
    autosave = Autosave("S:", path=path, pvs=pvs)
    await autosave.restore()
    await autosave.close()
    assert not path.exists()
    post(pvs, {"S:D": 1.0})
    await autosave.close()
    first = path.stat()
    post(pvs, {"S:D": 1.0, "S:READING": 7.0})
    await autosave.close()
    assert (path.stat().st_ino, path.stat().st_mtime_ns) == (first.st_ino, first.st_mtime_ns)
    post(pvs, {"S:D": 2.0})
    await autosave.close()
    assert path.stat().st_ino != first.st_ino


@pytest.mark.parametrize(
    ("broken", "found"), [(("",), 2.0), (("", "B"), 1.0), (("", "B", "0"), 0.0)], ids=["B", "rotated", "none"]
)
async def test_a_file_that_is_not_whole_is_told_of_and_the_next_one_is_taken(
    tmp_path: Path, broken: tuple[str, ...], found: float, caplog: pytest.LogCaptureFixture
) -> None:
    path = tmp_path / "cut.sav"
    pvs = records()
    autosave = Autosave("S:", path=path, pvs=pvs)
    for value in (1.0, 2.0):
        post(pvs, {"S:D": value})
        await autosave.close()
    for suffix in broken:
        file = tmp_path / f"cut.sav{suffix}"
        file.write_bytes(file.read_bytes()[:-4])
        assert not is_whole(file.read_bytes())
    fresh = records()
    after: Any = await saved(path, fresh)
    assert fresh["S:D"].value == found
    assert after.reboot_status.value == WARNING
    assert "cut.sav: it does not end with <END>" in caplog.text
    kept = {name.partition("_RBAD_")[0] for name in os.listdir(tmp_path) if "_RBAD_" in name}
    assert kept == {f"cut.sav{suffix}" for suffix in broken}


def test_any_cut_of_a_file_is_noticed() -> None:
    content = formatted({"A:B.HIHI": "1.5", "A:W": ["1", "2"], "A:T": "<END>"})
    for size in range(len(content) - 1):
        with pytest.raises(NotWhole):
            parsed(content[:size])
    assert parsed(content) == {"A:B.HIHI": "1.5", "A:W": ["1", "2"], "A:T": "<END>"}


def test_files_of_autosave_itself_are_read() -> None:
    """As the C code writes them: with a line on channels that were not there, and arrays over several lines."""
    content = (
        "# save/restore V5.1\tAutomatically generated - DO NOT MODIFY - 120914-161223\n"
        "! 1 channel(s) not connected - or not all gets were successful\n"
        "#xxx:gone.VAL \n"
        "xxx:m1.VAL 4.25\n"
        "xxx:calc.CALC \n"
        'xxx:names @array@ { "a \\"b\\" }" \n"c" \n}\n'
        "xxx:user.DESC  two  blanks \\\\\n"
        "<END>\n"
    )
    assert parsed(content) == {
        "xxx:m1.VAL": "4.25",
        "xxx:calc.CALC": "",
        "xxx:names": ['a "b" }', "c"],
        "xxx:user.DESC": " two  blanks \\",
    }


async def test_what_is_not_there_any_more_is_told_and_the_rest_restored(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = tmp_path / "old.sav"
    path.write_text(
        formatted({"S:GONE": "1", "S:D.NONE": "1", "S:READING": "4", "S:D.HIHI": "a lot", "S:D": "7"})
    )
    pvs = records()
    autosave: Any = await saved(path, pvs)
    assert pvs["S:D"].value == 7.0
    assert autosave.reboot_status.value == WARNING
    assert autosave.reboot_text.value == "4 problems, see the log"
    assert len([record for record in caplog.records if record.levelno == logging.WARNING]) == 4


async def test_a_list_of_caproto_s_that_was_changed_in_place_is_saved(tmp_path: Path) -> None:
    path = tmp_path / "walk.sav"
    group: Any = Walk("C:")
    autosave = Autosave("C:", path=path, pvs=group.pvdb)
    curve = [4.0, 5.0]
    for value in (4.0, 6.0):
        curve[0] = value
        await group.curve.write(curve)
        await autosave.close()
        assert read(path)["C:curve"] == [str(value), "5.0"]


def settings() -> dict[str, PV]:
    """A setting within limits, and one of two states."""

    class Group(PVGroup):  # type: ignore[misc]  # caproto ships no types
        target = soft("ao", "TARGET", value=1.0, drvl=0.0, drvh=100.0)
        mode = soft("mbbo", "MODE", states=("Off", "On"), value=0)

    return dict(Group("S:").pvdb)


async def test_a_value_beyond_its_limits_is_not_restored(tmp_path: Path) -> None:
    path = tmp_path / "limits.sav"
    path.write_text(formatted({"S:TARGET": "50", "S:TARGET.DRVH": "40", "S:MODE": "2"}))
    pvs = settings()
    autosave: Any = await saved(path, pvs)
    # the limit comes first, whatever the order in the file
    assert (pvs["S:TARGET"].info.drvh, pvs["S:TARGET"].value, pvs["S:MODE"].value) == (40.0, 1.0, 0)
    assert autosave.reboot_text.value == "2 problems, see the log"


async def test_labels_in_a_file_are_states(tmp_path: Path) -> None:
    path = tmp_path / "labels.sav"
    path.write_text(formatted({"S:MODE": "On"}))
    pvs = settings()
    await saved(path, pvs)
    assert pvs["S:MODE"].value == 1
    assert read(path)["S:MODE"] == "1"


async def test_the_value_of_a_disabled_record_survives_too(tmp_path: Path) -> None:
    path = tmp_path / "disabled.sav"
    pvs = settings()
    pvs["S:TARGET"].post(22.0, time.time())
    await pvs["S:TARGET"].get_field("DISA").write_from_dbr([b"1"], STRING, None)
    await saved(path, pvs)
    for _ in range(2):
        pvs = settings()
        await saved(path, pvs)
        assert (pvs["S:TARGET"].value, pvs["S:TARGET"].status) == (22.0, AlarmStatus.DISABLE)
    assert read(path)["S:TARGET"] == "22.0"


def test_copies_of_the_starts_are_kept_but_not_for_ever(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    files = SaveFiles(tmp_path / "many.sav")
    files.save({"A": "1"})
    stamps = iter(f"2611{day:02}-120000" for day in range(1, 20))
    monkeypatch.setattr(time, "strftime", lambda form: next(stamps))
    for _ in range(DATED + 5):
        files.load()
    kept = sorted(path.name for path in tmp_path.glob("many.sav_*"))
    assert kept == [f"many.sav_2611{day:02}-120000" for day in range(6, 16)]


async def test_a_folder_that_can_not_be_written_is_told_once_and_recovers(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    folder = tmp_path / "folder"
    folder.write_text("a file where the folder should be")
    pvs = records()
    autosave: Any = Autosave("S:", path=folder / "x.sav", pvs=pvs, period=0.001)
    post(pvs, {"S:D": 3.0})
    running = asyncio.create_task(autosave.run())
    await until(lambda: autosave.status.value == FAILURE)
    assert autosave.status.severity == AlarmSeverity.MAJOR_ALARM
    assert autosave.status_text.value
    folder.unlink()
    await until(lambda: autosave.status.value == OK)
    running.cancel()
    assert read(folder / "x.sav") == {"S:D": "3.0"}
    assert len([record for record in caplog.records if record.levelno == logging.ERROR]) == 1


async def test_a_folder_that_hangs_holds_up_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("labioc.iocs.core.autosave.SLOW_SECONDS", 0.01)
    monkeypatch.setattr("labioc.iocs.core.autosave.CLOSE_SECONDS", 0.01)
    answers = threading.Event()
    monkeypatch.setattr(SaveFiles, "save", lambda self, values: answers.wait(PATIENCE))
    pvs = records()
    autosave: Any = Autosave("S:", path=tmp_path / "x.sav", pvs=pvs, period=0.0)
    post(pvs, {"S:D": 3.0})
    running = asyncio.create_task(autosave.run())
    await until(lambda: autosave.status.value == FAILURE)
    async with asyncio.timeout(PATIENCE):
        assert autosave.status_text.value == "The folder does not answer"
        running.cancel()
        await autosave.close()
        answers.set()
        await autosave.close()
    assert autosave.status.value == OK


# An instrument


@asynccontextmanager
async def balance(tmp_path: Path, writes: bool = False) -> AsyncIterator[tuple[MettlerBalance, Host]]:
    simulator = MettlerBalance()
    async with simulator.serve("tcp://127.0.0.1:0") as url:
        host = Host([InstrumentConfig(instrument=instrument, url=url, prefix="W:", name="balance")])
        autosave = Autosave("W:", path=tmp_path / "W.sav", pvs=host.pvs, writes=writes)
        host.serve_too(autosave.pvdb, autosave.restore)
        async with host:
            yield simulator, host
            await autosave.close()


async def test_a_restart_writes_nothing_to_the_instrument_unless_told(client: Client, tmp_path: Path) -> None:
    async with balance(tmp_path):
        await client.put("W:KEYS", 2)
        await client.put("W:DISPLAY", "hands off")
        await client.put("W:TARE_VALUE", 3.0)
        await client.put("W:WEIGHT.DESC", "The sample")
    assert read(tmp_path / "W.sav") == {
        "W:WEIGHT.DESC": "The sample",
        "W:KEYS": "2",
        "W:DISPLAY": "hands off",
    }
    for _ in range(2):
        async with balance(tmp_path) as (simulator, _):
            assert (simulator.keys, simulator.shown) == (1, None)
            reading = await client.get("W:KEYS")
            # shown as what it was, and in alarm as nobody knows
            assert (reading.value, reading.status, reading.severity) == (2, 2, 3)
            assert (await client.get("W:DISPLAY")).value == "hands off"
            assert (await client.get("W:WEIGHT.DESC")).value == "The sample"
            await client.put("W:KEYS.DISP", 1)
    async with balance(tmp_path, writes=True) as (simulator, _):
        assert (simulator.keys, simulator.shown) == (3, "hands off")
        reading = await client.get("W:KEYS")
        assert (reading.value, reading.severity) == (2, 0)
        assert (await client.get("W:KEYS.DISP")).value == 1


# In any IOC


class Walk(PVGroup):  # type: ignore[misc]  # caproto ships no types
    """Written for caproto: what clients set and no putter takes is saved."""

    dt: Any = pvproperty(value=3.0)
    label = pvproperty(value="none", dtype=str, max_length=40)
    mode = pvproperty(value="Off", enum_strings=["Off", "On"], dtype=ca.ChannelType.ENUM, record="bo")
    curve = pvproperty(value=[1.0, 2.0, 3.0])
    raw = pvproperty(value=b"abc", dtype=bytes, max_length=9)
    foreign = pvproperty(value="none", dtype=str)
    reading = pvproperty(value=1.0, read_only=True)
    handled: Any = pvproperty(value=1.0)

    @handled.putter  # type: ignore[no-redef,untyped-decorator]
    async def handled(self, instance: Any, value: float) -> float:
        return value


async def test_caproto_s_own_pvs_and_as_a_subgroup(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    class Saved(Walk):
        autosave = SubGroup(Autosave, prefix="", path=tmp_path / "walk.sav")

    group: Any = Saved("C:")
    async with groups.running(group):
        await until(lambda: group.autosave.reboot_status.value == OK)
        for pv, value in (
            *((group.dt, 0.5), (group.label, "a text"), (group.mode, "On"), (group.curve, [4.0, 5.0])),
            *((group.reading, 9.0), (group.handled, 9.0), (group.raw, b"\0\xff"), (group.foreign, "Ω")),
        ):
            await pv.write(value)
    assert read(tmp_path / "walk.sav") == {
        "C:dt": "0.5",
        "C:label": "a text",
        "C:mode": "On",
        "C:curve": ["4.0", "5.0"],
        "C:raw": ["0", "255"],
    }
    # caproto can't send it either
    assert caplog.text.count("C:foreign can't be saved: 'Ω'") == 1
    group = Saved("C:")
    async with groups.running(group):
        await until(lambda: group.autosave.reboot_status.value == OK)
        assert (group.dt.value, group.label.value, group.mode.value) == (0.5, "a text", "On")
        assert (list(group.curve.value), group.raw.value) == ([4.0, 5.0], b"\0\xff")
        assert (group.reading.value, group.handled.value) == (1.0, 1.0)


TUNED = {"LOW": 1.0, "HIHI": 3.5, "HHSV": "MAJOR", "SCAN": "2 second"}


async def test_labioc_run_restores_before_the_first_client_after_a_kill(
    client: Client, tmp_path: Path
) -> None:
    words = ("run", "lakeshore336", "--simulate", "--prefix", "K:", "--autosave", str(tmp_path), "--stats")
    async with running(*words) as process:
        await line_of(process.stderr, "labioc: ONLY")
        await client.put("K:OUT1:SETP.DRVH", 300.0)
        for field, value in TUNED.items():
            await client.put(f"K:A:TEMP.{field}", value)
        async with client.monitor("K:SR_status") as status:
            await status.next(lambda reading: bool(reading.value == OK))
        async with client.monitor("K:SR_0_Time") as saves:
            first = await saves.next()
            await client.put("K:A:TEMP.DESC", "Cold finger")
            await saves.next(lambda reading: bool(reading.value != first.value))
        process.kill()
        await process.wait()
    async with running(*words) as process:
        await line_of(process.stderr, "labioc: ONLY")
        assert await learn("autosave", "look") == [
            {"first": [3, 2], "units": "K"},  # HIHI, MAJOR from the first event on
            {"fields": [1.0, 3.5, "MAJOR", "2 second", 300.0, "Cold finger"]},
            {"starts": 2.0, "restored": "Ok"},
        ]
    assert read(tmp_path / "K.sav")["K:A:TEMP.HIHI"] == "3.5"
    assert read(tmp_path / "K.savB") == read(tmp_path / "K.sav")


def test_options_that_do_not_go_together() -> None:
    args = argparse.Namespace(autosave=None, autosave_write=True, stats=None)
    with pytest.raises(Failure, match="--autosave-write is for --autosave FOLDER"):
        Helpers(args, "S:", {})


async def test_killed_while_it_saves_it_restores_a_whole_set(tmp_path: Path) -> None:
    """`make soak` does so a hundred times."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "benchmarks.autosave", "--ioc", str(tmp_path)),
        stdout=asyncio.subprocess.PIPE,
        cwd=ROOT,
    )
    safe = 0.0
    for _ in range(5):
        safe = float((await line_of(process.stdout, "saved")).split()[1])
    process.kill()
    await process.communicate()
    values = read(tmp_path / "kill.sav")
    assert set(values) == {f"KILL:{number}.HIHI" for number in range(200)}
    assert len({str(value) for value in values.values()}) == 1
    assert float(str(values["KILL:0.HIHI"])) >= safe
