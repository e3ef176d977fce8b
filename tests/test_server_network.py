"""The Channel Access server on the network: addresses from the environment, several networks, peers that vanish."""

import asyncio
import contextlib
import json
import logging
import os
import shutil
import socket
import struct
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import pytest
from tests.ca import PATIENCE, Client, Message, Raw, until
from tests.test_server import Bench, post, serving

from labioc.iocs.core import _addresses, _sockets, server
from labioc.iocs.core.server import CAServer

ROOT = Path(__file__).parent.parent


@pytest.fixture
def bench(ca_environment: dict[str, str]) -> Bench:
    return Bench(prefix="T:")


# Addresses from the environment


@pytest.mark.parametrize(
    "item", ["127.0.0.1:70000", "127.0.0.1:0", "127.0.0.1:-1", "[::1]:5065", "127.0.0.1:"]
)
@pytest.mark.parametrize("variable", ["EPICS_CAS_BEACON_ADDR_LIST", "EPICS_CAS_IGNORE_ADDR_LIST"])
async def test_a_wrong_port_in_a_list_of_addresses_is_named(
    bench: Bench, monkeypatch: pytest.MonkeyPatch, variable: str, item: str
) -> None:
    monkeypatch.setenv(variable, f"127.0.0.1 {item}")
    caserver = CAServer(bench.pvdb)
    with pytest.raises(ValueError, match=variable) as refusal:
        await caserver.start()
    assert repr(item) in str(refusal.value)
    monkeypatch.delenv(variable)
    async with serving(bench) as other:
        assert other.port == other.search_port


async def test_host_names_are_resolved_once_and_nobody_waits_for_it(
    bench: Bench, monkeypatch: pytest.MonkeyPatch, ca_environment: dict[str, str]
) -> None:
    may_answer, asked = threading.Event(), []

    def slow(name: str) -> str:
        asked.append(name)
        assert may_answer.wait(PATIENCE)
        return "127.0.0.1"

    monkeypatch.setattr(socket, "gethostbyname", slow)
    monkeypatch.setenv("EPICS_CAS_BEACON_ADDR_LIST", "some.host")
    heard: asyncio.Queue[bytes] = asyncio.Queue()

    class Repeater(asyncio.DatagramProtocol):
        def datagram_received(self, data: bytes, addr: tuple[str, int]) -> None:
            heard.put_nowait(data)

    address = ("127.0.0.1", int(ca_environment["EPICS_CA_REPEATER_PORT"]))
    loop = asyncio.get_running_loop()
    transport, _ = await loop.create_datagram_endpoint(Repeater, local_addr=address)
    caserver = CAServer(bench.pvdb)
    starting = asyncio.create_task(caserver.start())
    await until(lambda: asked)
    may_answer.set()
    await starting
    async with asyncio.timeout(PATIENCE):
        for _ in range(3):
            await heard.get()
    await caserver.stop()
    transport.close()
    assert asked == ["some.host"]


async def test_a_host_that_nobody_knows_is_one_clear_error_in_bounded_time(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    never = threading.Event()
    monkeypatch.setattr(_addresses, "RESOLVE_SECONDS", 0.01)
    monkeypatch.setattr(socket, "gethostbyname", lambda name: str(never.wait(PATIENCE)))
    monkeypatch.setenv("EPICS_CAS_BEACON_ADDR_LIST", "some.host:5065")
    with pytest.raises(OSError, match=r"EPICS_CAS_BEACON_ADDR_LIST has an unknown host: 'some\.host:5065'"):
        await CAServer(bench.pvdb).start()
    never.set()


@pytest.mark.parametrize("item", ["localhost", "127.0.0.1:5064", "127.0.0.1"])
async def test_who_is_to_be_ignored_gets_no_answer(
    bench: Bench, monkeypatch: pytest.MonkeyPatch, item: str
) -> None:
    monkeypatch.setenv("EPICS_CAS_IGNORE_ADDR_LIST", item)
    async with serving(bench), Client("127.0.0.1") as client:
        with pytest.raises(TimeoutError):
            await client.find("T:A", timeout=0.3)


async def test_a_start_that_is_cancelled_leaves_nothing_open(bench: Bench) -> None:
    before = len(os.listdir("/proc/self/fd"))
    for turns in range(8):
        caserver = CAServer(bench.pvdb)
        starting = asyncio.create_task(caserver.start())
        for _ in range(turns):
            await asyncio.sleep(0)
        starting.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await starting
            await caserver.stop()
        await until(lambda: len(os.listdir("/proc/self/fd")) == before)


# Networks of our own: what stands below `main` runs in a network namespace, of which it is root.


def in_a_namespace(scenario: str) -> dict[str, Any]:
    """What the scenario of this name finds out; skips where there are no namespaces."""
    if shutil.which("unshare") is None or shutil.which("ip") is None:
        pytest.skip("needs unshare and ip")
    probe = subprocess.run(
        ["unshare", "-rn", "ip", "link", "add", "d0", "type", "veth", "peer", "name", "e0"],
        capture_output=True,
    )
    if probe.returncode:
        pytest.skip("this system has no network namespaces for us")
    environment = {name: value for name, value in os.environ.items() if not name.startswith("EPICS_")}
    done = subprocess.run(
        ["unshare", "-rn", sys.executable, __file__, scenario],
        env=environment | {"PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=3 * PATIENCE,
    )
    assert done.returncode == 0, done.stderr
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def test_beacons_reach_every_network_and_one_that_is_out_of_reach_is_logged_once() -> None:
    found = in_a_namespace("beacons")
    assert found["heard"] == ["10.1.0.255", "10.2.0.255"]
    assert len(found["lines"]) == 1
    assert "203.0.113.9 port 5065" in found["lines"][0]


def test_a_search_by_broadcast_is_answered_once_by_whichever_address() -> None:
    found = in_a_namespace("searches")
    assert found == {
        "10.1.0.5": ["10.1.0.5"],
        "10.1.0.6": ["10.1.0.6"],
        "10.1.0.5 10.1.0.6": ["10.1.0.5"],
        "0.0.0.0 10.1.0.6": ["10.1.0.5"],
        "0.0.0.0": ["10.1.0.5"],
    }


def test_a_peer_that_dies_while_it_monitors_is_found() -> None:
    assert in_a_namespace("dead")["reaped"] == 1


def ip(*commands: str) -> None:
    for command in commands:
        subprocess.run(["ip", *command.split()], check=True)


def two_networks() -> None:
    ip("link set lo up")
    for number in (1, 2):
        ip(
            f"link add d{number} type veth peer name e{number}",
            f"link set e{number} up",
            f"addr add 10.{number}.0.5/24 broadcast 10.{number}.0.255 dev d{number}",
            f"link set d{number} up",
        )
    ip("addr add 10.1.0.6/24 broadcast 10.1.0.255 dev d1")


async def beacons() -> dict[str, Any]:
    two_networks()
    os.environ["EPICS_CAS_BEACON_ADDR_LIST"] = "203.0.113.9"
    lines: list[str] = []
    handler = logging.Handler()
    handler.emit = lambda record: lines.append(record.getMessage())  # type: ignore[method-assign]
    logging.getLogger("labioc.ca").addHandler(handler)
    loop = asyncio.get_running_loop()
    networks = ["10.1.0.255", "10.2.0.255"]
    socks = []
    for network in networks:
        sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        sock.setblocking(False)
        sock.bind((network, 5065))
        socks.append(sock)
    caserver = CAServer(Bench("T:").pvdb, ["0.0.0.0"])
    await caserver.start()
    async with asyncio.timeout(PATIENCE):
        for sock in socks * 3:
            assert struct.unpack_from(">H", await loop.sock_recv(sock, 100)) == (13,)
    await caserver.stop()
    return {"heard": networks, "lines": lines}


async def searches() -> dict[str, Any]:
    two_networks()
    found: dict[str, Any] = {}
    loop = asyncio.get_running_loop()
    for interfaces in ("10.1.0.5", "10.1.0.6", "10.1.0.5 10.1.0.6", "0.0.0.0 10.1.0.6", "0.0.0.0"):
        caserver = CAServer(Bench("T:").pvdb, interfaces.split())
        await caserver.start()
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
            sock.setblocking(False)
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_BROADCAST, 1)
            sock.bind(("", 0))
            heard: dict[int, list[str]] = {}
            async with asyncio.timeout(PATIENCE):
                for number in range(3):
                    # An answer to the next one shows that there is no other one to this.
                    search = bytes(Message(6, 5, 13, number, number, b"T:A\0"))
                    sock.sendto(search, ("10.1.0.255", 5064))
                    while number not in heard:
                        data, address = await loop.sock_recvfrom(sock, 1000)
                        heard.setdefault(struct.unpack_from(">12xI", data, 16)[0], []).append(address[0])
            found[interfaces] = heard[0]
        await caserver.stop()
    return found


async def dead() -> dict[str, Any]:
    ip("link set lo up")
    server.SILENT_SECONDS = 0.2
    _sockets.DEAD_SECONDS = 0.5
    bench = Bench("T:")
    caserver = CAServer(bench.pvdb)
    await caserver.start()
    raw = await Raw(caserver.port).__aenter__()
    sid, _ = await raw.create("T:A")
    await raw.ask(Message(1, 20, 1, sid, 1, struct.pack(">12xHxx", 5)))
    ip("link set lo down")
    post(bench.a, 1.0)
    await until(lambda: not caserver.statistics.clients)
    raw.writer.transport.abort()
    reaped = caserver.statistics.reaped
    await caserver.stop()
    return {"reaped": reaped}


if __name__ == "__main__":
    print(json.dumps(asyncio.run({"beacons": beacons, "searches": searches, "dead": dead}[sys.argv[1]]())))  # noqa: T201
