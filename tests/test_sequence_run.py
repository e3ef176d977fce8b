"""The sequence server as a user runs it: by `labioc run`, the server of the document, the example, code of others."""

import argparse
import asyncio
import math
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from caproto.server import SubGroup, pvproperty
from tests.ca import Client, PutFailed, until
from tests.test_cli import line_of
from tests.test_cli import running as labioc_running
from tests.test_sequence import BUSY, DONE, PATIENCE, Bench, Clamping, Queues, is_value, serving, text

from labioc.iocs.core import Program
from labioc.iocs.core.autosave import Autosave
from labioc.iocs.core.command import Failure
from labioc.iocs.core.program import find_program
from labioc.iocs.core.pvgroups import running
from labioc.iocs.core.save_file import formatted
from labioc.iocs.core.sequence import SequenceServer
from labioc.iocs.core.server import CAServer
from labioc.iocs.sequence import program as sequence_program


class LegacyDevice(Queues):
    """In the style of the project that this template follows."""

    io: Any = None

    def io_execute(self, pv_name: str, value: Any) -> None:
        if pv_name == "CMD":
            self.io_put("ACK", 0)
            self.io_put("values", [float(word) for word in value.split(",")])
            self.io_put("ACK", 1)
        else:
            self.io_put("VAL", value * 2)

    def io_put(self, pv_name: str, value: Any) -> None:
        target = self.io if pv_name == "VAL" else self.io.seq
        target.io_put_queue.put({pv_name: value})


class LegacyServer(SequenceServer):
    """caproto's own properties beside those of labioc, and a sequence server as a subgroup."""

    VAL: Any = pvproperty(value=0.0)
    generic = pvproperty(value=0.0)
    seq = SubGroup(SequenceServer, prefix="seq.")

    @VAL.putter  # type: ignore[no-redef,untyped-decorator]
    async def VAL(self, instance: Any, value: Any) -> Any:  # noqa: N802
        await self.system_io_execute(pv_name="VAL", value=value)
        return self.VAL.value


async def test_code_in_the_style_of_the_project_that_this_follows(client: Client) -> None:
    server: Any = LegacyServer("L:")
    device = LegacyDevice()
    device.io = server
    server.seq.system = device
    async with serving(server):
        await client.put("L:seq.CMD", "1,2,3")
        assert (await client.get("L:seq.values")).value == [1.0, 2.0, 3.0]
        assert (await client.get("L:seq.ACK")).value == DONE
    server = LegacyServer("L:")
    device = LegacyDevice()
    device.io = server
    server.system = device
    async with serving(server), client.monitor("L:VAL") as value:
        await client.put("L:VAL", 4.0)
        await value.next(is_value(8.0))
        await client.put("L:generic", 5.0)
        await value.next(is_value(10.0))
        assert (await client.get("L:generic")).value == 5.0


SYSTEM = """
import threading

class System:
    def io_execute(self, pv_name, value):
        if value == "hang":
            threading.Event().wait()
        self.io_put_queue.put({"values": [1, len(value)]})
"""


async def test_labioc_run_sequence_and_a_system_that_never_ends(client: Client, tmp_path: Path) -> None:
    (tmp_path / "mine.py").write_text(SYSTEM)
    words = ("--system", f"{tmp_path / 'mine.py'}:System", "--stats", "--autosave", str(tmp_path))
    async with labioc_running("run", "sequence", "--prefix", "R:", *words) as process:
        await line_of(process.stderr, "labioc: ONLY")
        await client.put("R:CMD", "x" * 30)
        assert (await client.get("R:values")).value == [1.0, 30.0]
        assert (await client.get("R:PROCESS_ID")).value == process.pid
        async with client.monitor("R:ACK") as ack:
            hanging = asyncio.create_task(client.put("R:CMD", "hang"))
            await ack.next(is_value(BUSY))
        await client.put("R:values.DESC", "Weights")
        process.terminate()
        async with asyncio.timeout(PATIENCE):
            assert await process.wait() == 0
        with pytest.raises((ConnectionResetError, PutFailed)):
            await hanging
    assert "\nR:values.DESC Weights\n" in (tmp_path / "R.sav").read_text()


@pytest.mark.parametrize(
    ("words", "why"),
    [
        ({"timeout": math.nan}, "--timeout takes seconds above 0, not nan"),
        ({"timeout": 0.0}, "--timeout takes seconds above 0, not 0"),
        ({"system": "file.py"}, "expected FILE.py:NAME"),
        ({"system": "nowhere.py:System"}, "nowhere.py does not load"),
        ({"system": "queue.py:System"}, "queue.py has the name of a module of Python"),
        ({"system": f"{__file__}:Nothing"}, "has no 'Nothing'"),
    ],
)
async def test_options_that_make_no_sense(words: dict[str, Any], why: str) -> None:
    args = argparse.Namespace(**{"prefix": "R:", "system": None, "timeout": None, **words})
    with pytest.raises(Failure, match=re.escape(why)):
        async with sequence_program.serve(args):
            pass


@asynccontextmanager
async def serving_program(program: Program | None, **words: Any) -> AsyncIterator[Any]:
    """Serve its PVs, which are returned."""
    assert program is not None
    async with program.serve(argparse.Namespace(**words)) as pvs:
        server = CAServer(pvs)
        await server.start()
        try:
            yield pvs
        finally:
            await server.stop()


async def test_the_server_of_the_document(client: Client, tmp_path: Path) -> None:
    text_of_page = (Path(__file__).parents[1] / "docs" / "sequence.md").read_text()
    code = text_of_page.partition("```python\n")[2].partition("```")[0]
    (tmp_path / "furnace.py").write_text(code)
    program = find_program(f"{tmp_path / 'furnace.py'}:FurnaceServer")
    words: dict[str, Any] = {"prefix": "{site}:", "macro": ["site=F"]}
    path = tmp_path / "F.sav"
    async with serving_program(program, **words) as pvs:
        await client.put("F:CMD", "25 30")
        assert (await client.get("F:values")).value == [25.0, 30.0]
        assert (await client.get("F:TEMP")).value == pytest.approx(30.0, abs=0.5)
        await client.put("F:TARGET", 22.0)
        with pytest.raises(PutFailed):
            await client.put("F:TARGET", 2000.0)
        assert await text(client, "F:message") == "TARGET: 2000 is beyond the limits 0 to 1200 °C"
        assert (await client.get("F:TARGET")).value == 22.0
        await Autosave("F:", path=path, pvs=pvs).close()
    assert path.read_text().split("\n")[1:] == ["F:TARGET 22.0", "<END>", ""]
    async with serving_program(program, **words) as pvs:
        await Autosave("F:", path=path, pvs=pvs).restore()
        restored = await client.get("F:TARGET")
        # shown, and not given to the system
        assert (restored.value, restored.status, restored.severity) == (22.0, 2, 3)
        assert (await client.get("F:TEMP")).severity == 3


async def test_what_the_system_says_counts_more_than_what_was_saved(tmp_path: Path) -> None:
    path = tmp_path / "Q.sav"
    path.write_text(formatted({"Q:TARGET": "22"}))
    server: Any = Bench("Q:")
    server.system = Clamping()
    async with running(server):
        server.io_put_queue.put({"TARGET": 5.0})
        await until(lambda: server.target.value == 5.0)
        await Autosave("Q:", path=path, pvs=server.pvdb).restore()
    assert (server.target.value, server.target.severity) == (5.0, 0)


async def test_the_example_sets_a_temperature_and_weighs(client: Client) -> None:
    words = {"prefix": "W:", "thermostat": None, "balance": None, "speed": 60.0}
    async with serving_program(find_program("examples.weighing"), **words):
        await client.put("W:TOLERANCE", 1.0)
        await client.put("W:CMD", "60 65")
        assert (await client.get("W:TEMP")).value == pytest.approx(65.0, abs=1.0)
        assert (await client.get("W:WEIGHT")).value == pytest.approx(12.5, abs=0.01)
        assert (await client.get("W:values")).value == pytest.approx([12.5, 12.5], abs=0.01)
        async with client.monitor("W:ACK") as ack:
            cold = asyncio.create_task(client.put("W:CMD", "4"))
            await ack.next(is_value(BUSY))
            await client.put("W:STOP", 1)
            with pytest.raises(PutFailed):
                await cold
        assert await text(client, "W:message") == "CMD: InterruptedError: stopped by a client"
        assert (await client.get("W:STOP")).value == 0
