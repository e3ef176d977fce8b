"""A C IOC in a process of its own: EPICS base, as epicscorelibs has it."""

import asyncio
import contextlib
import os
import subprocess
import sys
import tempfile
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

from tests.conftest import reserve_port

PATIENCE = 30.0
SCRIPT = Path(__file__).with_name("softioc.py")
READY = "the C IOC runs"


@contextlib.contextmanager
def ports_of_our_own() -> Iterator[dict[str, str]]:
    """An environment with reserved ports, for a server on loopback; it holds in this process too."""
    inherited = {name: value for name, value in os.environ.items() if name.startswith("EPICS_")}
    server, held = reserve_port()
    repeater, also_held = reserve_port()
    for name in inherited:
        del os.environ[name]
    os.environ.update(
        EPICS_CA_ADDR_LIST="127.0.0.1",
        EPICS_CA_AUTO_ADDR_LIST="NO",
        EPICS_CA_SERVER_PORT=str(server),
        EPICS_CA_REPEATER_PORT=str(repeater),
        EPICS_CAS_INTF_ADDR_LIST="127.0.0.1",
        EPICS_CAS_BEACON_ADDR_LIST="127.0.0.1",
        EPICS_CAS_AUTO_BEACON_ADDR_LIST="NO",
    )
    try:
        yield dict(os.environ)
    finally:
        for name in [name for name in os.environ if name.startswith("EPICS_")]:
            del os.environ[name]
        os.environ.update(inherited)
        for sock in held + also_held:
            sock.close()


@contextlib.asynccontextmanager
async def c_ioc(database: str) -> AsyncIterator[int]:
    """Serve these records; gives the TCP port. Raises RuntimeError with the IOC's words if it doesn't start."""
    with ports_of_our_own() as environment, tempfile.TemporaryDirectory() as folder:
        server = int(environment["EPICS_CA_SERVER_PORT"])
        file = Path(folder) / "conformance.db"
        file.write_text(database, encoding="latin-1")
        log = Path(folder) / "log"
        with log.open("wb") as output:
            process = await asyncio.create_subprocess_exec(
                *(sys.executable, "-W", "ignore", str(SCRIPT), str(file)),
                env=environment,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=output,
            )
        assert process.stdin is not None
        assert process.stdout is not None
        try:
            async with asyncio.timeout(PATIENCE):
                while line := await process.stdout.readline():
                    if line.decode().strip() == READY:
                        break
                else:
                    raise RuntimeError(f"the C IOC doesn't start: {log.read_text()}")
            yield server
        finally:
            # It ends when its stdin does, and when it doesn't it is killed.
            process.stdin.close()
            try:
                async with asyncio.timeout(5):
                    await process.wait()
            except TimeoutError:
                process.kill()
                await process.wait()
