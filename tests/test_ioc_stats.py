"""Statistics of any IOC, under the names, types and units that iocStats's screens know."""

import argparse
import json
import os
import resource
import socket
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import psutil
import pytest
from tests.ca import Client, PutFailed
from tests.test_clients import run

from labioc.devices.core.records import PV, DoublePV, RecordInfo
from labioc.iocs.core.command import Failure
from labioc.iocs.core.helpers import Helpers
from labioc.iocs.core.server import CAServer

STRINGS = (
    *("TOD", "STARTTOD", "UPTIME", "HOSTNAME", "KERNEL_VERS", "EPICS_VERS", "ENGINEER", "LOCATION"),
    *("APP_DIR1", "APP_DIR2", "ST_SCRIPT1", "ST_SCRIPT2"),
)
CHARS = ("EPICS_VERSION", "APP_DIR", "ST_SCRIPT")
UNITS = {
    **dict.fromkeys(("SYS_CPU_LOAD", "IOC_CPU_LOAD", "LOAD"), "%"),
    **dict.fromkeys(("MEM_USED", "MEM_FREE", "MEM_MAX"), "byte"),
    "CA_UPD_TIME": "sec",
}
LIMITS = {
    **{name: [70.0, 80.0] for name in ("SYS_CPU_LOAD", "IOC_CPU_LOAD", "LOAD")},
    "CA_CLNT_CNT": [100.0, 175.0],
    "CA_CONN_CNT": [4000.0, 4500.0],
}


async def learn(action: str, prefix: str) -> list[dict[str, Any]]:
    """What the script of `tests/clients` says."""
    return [json.loads(line) for line in (await run("tests.clients.stats", action, prefix)).splitlines()]


def options(stats: str) -> argparse.Namespace:
    return argparse.Namespace(autosave=None, autosave_write=False, stats=stats)


@asynccontextmanager
async def serving(stats: str, prefix: str, pvs: dict[str, PV]) -> AsyncIterator[None]:
    """Serve the PVs of an IOC and its statistics, as `labioc run` does."""
    helpers = Helpers(options(stats), prefix, pvs)
    server = CAServer(helpers.all)
    await server.start()
    try:
        async with helpers.running(server):
            yield
    finally:
        await server.stop()


async def test_what_a_client_sees_of_an_ioc(
    ca_environment: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ENGINEER", "A. Volta")
    monkeypatch.setenv("LOCATION", "Lab 1.07")
    async with serving("", "I:", {}):
        learned = await learn("everything", "I:")
        seen = psutil.Process()
        counts = learned[1]
        # the client, its connection and its pipes are gone by now
        assert 0 <= counts["FD_CNT"] - seen.num_fds() <= 6
        assert counts["MEM_USED"] == pytest.approx(seen.memory_info().rss, rel=0.5)
    assert learned[0] == {"beats": [0, 1, 2], "clients": 1}
    check_counts(counts)
    check_texts(*learned[2:4])
    check_trace(*learned[4:7])
    check_kinds(learned[7:])


def check_counts(counts: dict[str, Any]) -> None:
    assert counts["PROCESS_ID"] == os.getpid()
    assert counts["FD_MAX"] == resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    assert counts["FD_FREE"] == counts["FD_MAX"] - counts["FD_CNT"]
    assert counts["CPU_CNT"] == os.cpu_count()
    assert counts["MEM_MAX"] == psutil.virtual_memory().total
    assert 0 < counts["MEM_FREE"] < counts["MEM_MAX"]
    assert counts["RECORD_CNT"] == 38
    assert 0.0 <= counts["IOC_CPU_LOAD"] <= 100.0


def check_texts(texts: dict[str, Any], long_texts: dict[str, Any]) -> None:
    assert (texts["ENGINEER"], texts["LOCATION"]) == ("A. Volta", "Lab 1.07")
    assert texts["HOSTNAME"] == socket.gethostname()[:39]
    assert [len(part) for part in texts["UPTIME"].split(":")] == [2, 2, 2]
    assert texts["EPICS_VERS"].startswith("labioc ")
    assert "Python 3." in long_texts["EPICS_VERSION"]
    assert long_texts["APP_DIR"] == os.getcwd()[-160:]
    assert texts["APP_DIR1"] + texts["APP_DIR2"] == os.getcwd()[:78]
    assert long_texts["ST_SCRIPT"] == " ".join(sys.argv)[:120]
    assert long_texts["ST_SCRIPT"].startswith(texts["ST_SCRIPT1"] + texts["ST_SCRIPT2"])


def check_trace(on: dict[str, Any], top: dict[str, Any], off: dict[str, Any]) -> None:
    assert on == {"on": "On", "severity": 1}
    first, *lines = top["top"].splitlines()
    assert first.endswith("KiB traced")
    assert lines
    assert all(line.endswith(" blocks") for line in lines)
    assert off == {"off": ""}


def check_kinds(kinds: list[dict[str, Any]]) -> None:
    """Types, units and limits are those of iocStats."""
    assert len(kinds) > len(STRINGS) + len(CHARS) + len(UNITS)
    for learned in kinds:
        name = learned["name"]
        type_ = "string" if name in STRINGS else "char" if name in CHARS else "double"
        assert (name, learned["type"]) == (name, type_)
        assert (name, learned["units"]) == (name, UNITS.get(name, ""))
        if name in LIMITS:
            assert (name, learned["high"]) == (name, LIMITS[name])
        if "LOAD" not in name:
            assert (name, learned["severity"]) == (name, 0)


async def test_another_prefix_where_a_name_is_taken(client: Client) -> None:
    load = DoublePV(info=RecordInfo("ai"), pvname="W:LOAD")
    with pytest.raises(Failure, match="there is a PV W:LOAD already; --stats PREFIX takes another prefix"):
        Helpers(options(""), "W:", {load.pvname: load})
    async with serving("W:IOC:", "W:", {load.pvname: load}):
        assert (await client.get("W:IOC:PROCESS_ID")).value == os.getpid()
        with pytest.raises(PutFailed):
            await client.put("W:IOC:CA_UPD_TIME", 0.5)
        assert (await client.get("W:IOC:CA_UPD_TIME")).value == 15.0


def test_without_psutil_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "psutil", None)
    with pytest.raises(Failure, match=r"the statistics need psutil: pip install 'labioc\[stats\]'"):
        Helpers(options(""), "W:", {})
