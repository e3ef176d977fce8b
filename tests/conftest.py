"""Channel Access on loopback: ports, environment, servers and clients for any test that wants them."""

import socket
from collections.abc import AsyncIterator, Iterator

import pytest
import pytest_asyncio
from tests.ca import Client, Libca


def reserve_port() -> tuple[int, list[socket.socket]]:
    """A port that nobody else gets while the sockets live: they stand beside it, on 127.0.0.2."""
    while True:
        udp = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        tcp = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
        udp.bind(("127.0.0.2", 0))
        port = udp.getsockname()[1]
        try:
            tcp.bind(("127.0.0.2", port))
            with (
                socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as free_udp,
                socket.socket(socket.AF_INET, socket.SOCK_STREAM) as free_tcp,
            ):
                free_udp.bind(("127.0.0.1", port))
                free_tcp.bind(("127.0.0.1", port))
        except OSError:
            udp.close()
            tcp.close()
        else:
            return port, [udp, tcp]


@pytest.fixture
def ca_environment(monkeypatch: pytest.MonkeyPatch) -> Iterator[dict[str, str]]:
    """Environment of servers and clients with a port pair of their own; it holds in this process too."""
    server, held = reserve_port()
    repeater, also_held = reserve_port()
    environment = {
        "EPICS_CA_ADDR_LIST": "127.255.255.255",
        "EPICS_CA_AUTO_ADDR_LIST": "NO",
        "EPICS_CA_SERVER_PORT": str(server),
        "EPICS_CA_REPEATER_PORT": str(repeater),
        "EPICS_CAS_INTF_ADDR_LIST": "127.0.0.1",
        "EPICS_CAS_BEACON_ADDR_LIST": "127.0.0.1",
        "EPICS_CAS_AUTO_BEACON_ADDR_LIST": "NO",
    }
    for name in ("EPICS_CAS_SERVER_PORT", "EPICS_CAS_BEACON_PORT", "EPICS_CA_NAME_SERVERS"):
        monkeypatch.delenv(name, raising=False)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    yield environment
    for sock in held + also_held:
        sock.close()


@pytest_asyncio.fixture
async def client(ca_environment: dict[str, str]) -> AsyncIterator[Client]:
    """An in-process Channel Access client."""
    async with Client() as made:
        yield made


@pytest_asyncio.fixture
async def libca(ca_environment: dict[str, str]) -> AsyncIterator[Libca]:
    """EPICS's own client library, in a process of its own."""
    async with Libca() as made:
        yield made
