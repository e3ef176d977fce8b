"""The documents tell the truth: their code runs, their sessions print what they show, their links lead somewhere."""

import ast
import asyncio
import inspect
import os
import re
import shlex
import shutil
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from itertools import zip_longest
from pathlib import Path
from typing import Any

import pytest
from tests.ca import Client, PutFailed

from labioc.devices.core import AlarmSeverity, AlarmStatus
from labioc.devices.core.table import describe, markdown
from labioc.iocs.core.instrument import bundled_names, find_instrument
from labioc.iocs.core.pvgroups import program_of
from labioc.iocs.core.run import run_arguments
from labioc.iocs.core.server import CAServer
from labioc.sim.lakeshore336 import LakeShore336

ROOT = Path(__file__).parents[1]
README = ROOT / "README.md"
TUTORIAL = ROOT / "docs" / "tutorial.md"
ROOMS = ("drivers", "devices", "iocs", "sim")
SCRIPTING = ROOT / "docs" / "scripting.md"
CAPROTO = ROOT / "docs" / "caproto.md"
DOCUMENTS = [*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md")]

PATIENCE = 30.0
LABIOC = [sys.executable, "-c", "from labioc.iocs.core import main; main()"]
VOLATILE = re.compile(r"^\d{4}-\d\d-\d\d \d\d:\d\d:\d\d,\d+|(?<=port )\d+|(?<=127\.0\.0\.1:)\d+")
READING = re.compile(r"^\S+:TEMP  ")

DOWN, UP = 0, 2


@dataclass(frozen=True)
class Block:
    """A fenced block: its language, the words after it, and its text."""

    language: str
    title: str
    text: str
    line: int

    @property
    def file(self) -> str | None:
        """The name of the file that it is, if its first line says so."""
        first = re.match(r"# (\S+\.(?:py|toml))\n", self.text)
        return first[1] if first else None

    @property
    def session(self) -> list[tuple[list[str], list[str]]]:
        """The commands of a console session, each with the lines that it prints."""
        found: list[tuple[list[str], list[str]]] = []
        for line in self.text.splitlines():
            if line.startswith("$ "):
                found.append((shlex.split(line[2:]), []))
            else:
                found[-1][1].append(line)
        return found


def blocks(document: Path, language: str, title: str | None = None) -> Iterator[Block]:
    text = document.read_text()
    for match in re.finditer(r"^```(\w+) ?([^\n]*)\n(.*?)^```$", text, re.MULTILINE | re.DOTALL):
        block = Block(match[1], match[2], match[3], text.count("\n", 0, match.start()) + 1)
        if block.language == language and title in (None, block.title):
            yield block


def session(document: Path, title: str) -> list[tuple[list[str], list[str]]]:
    (block,) = blocks(document, "console", title)
    return block.session


def name_of(block: Block) -> str:
    return f"line {block.line}"


def without_volatile(lines: list[str]) -> list[str]:
    """Lines without what differs from run to run: times, ports, and the digits of temperatures."""
    plain = [VOLATILE.sub("#", line) for line in lines]
    return [re.sub(r"\d", "#", line) if READING.match(line) else line for line in plain]


def prints(lines: list[str], expected: list[str]) -> None:
    """Check what was printed; "..." stands for the rest of a line, and alone at the end for more lines."""
    if expected and expected[-1] == "...":
        expected = expected[:-1]
        lines = lines[: len(expected)]
    shown = [
        line[: len(wanted) - 3] + "..." if wanted.endswith("...") else line
        for line, wanted in zip_longest(lines, expected, fillvalue="")
    ]
    assert without_volatile(shown) == without_volatile(expected)


class Running:
    """A process that is at work until it is stopped."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self.process = process
        self.said: list[str] = []

    async def read_until(self, text: str) -> str:
        assert self.process.stdout is not None
        async with asyncio.timeout(PATIENCE):
            while line := (await self.process.stdout.readline()).decode():
                self.said.append(line.rstrip("\n"))
                if text in line:
                    return self.said[-1]
        raise AssertionError(f"it ended without saying {text!r}: {self.said}")

    async def stop(self) -> None:
        if self.process.returncode is None:
            self.process.terminate()
        async with asyncio.timeout(PATIENCE):
            await self.process.communicate()
        assert self.process.returncode == 0, self.said


@asynccontextmanager
async def running(words: list[str], path: Path) -> AsyncIterator[Running]:
    process = await asyncio.create_subprocess_exec(
        *words, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT, env=environment(path)
    )
    made = Running(process)
    try:
        yield made
    finally:
        await made.stop()


async def run(words: list[str], path: Path) -> tuple[int | None, str]:
    process = await asyncio.create_subprocess_exec(
        *words,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
        env=environment(path),
        cwd=path,
    )
    try:
        async with asyncio.timeout(PATIENCE):
            output, _ = await process.communicate()
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    return process.returncode, output.decode()


def environment(path: Path) -> dict[str, str]:
    paths = filter(None, (str(path), os.environ.get("PYTHONPATH")))
    return os.environ | {"PYTHONPATH": os.pathsep.join(paths), "PYTHONUNBUFFERED": "1"}


def labioc(words: list[str], port: str = "") -> list[str]:
    assert words[0] == "labioc"
    return [*LABIOC, *(word.replace(":4001", f":{port}") for word in words[1:])]


async def follow(steps: list[tuple[list[str], list[str]]], path: Path, port: str = "") -> None:
    """Run the commands of a session and check what they print."""
    for words, expected in steps:
        _, output = await run(labioc(words, port), path)
        prints(output.splitlines(), expected)


# The tutorial


@pytest.fixture
def package(tmp_path: Path) -> Path:
    """The tutorial's package, installed as far as Python sees it."""
    files = [*blocks(TUTORIAL, "python"), *blocks(TUTORIAL, "toml")]
    for block in files:
        assert block.file is not None, f"the block in line {block.line} names no file"
        path = tmp_path / block.file
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(block.text)
    (tmp_path / "sh20" / "__init__.py").touch()
    installed = tmp_path / "sh20-0.1.dist-info"
    installed.mkdir()
    (installed / "METADATA").write_text("Metadata-Version: 2.1\nName: sh20\nVersion: 0.1\n")
    project = (tmp_path / "pyproject.toml").read_text()
    match = re.search(r'entry-points\."(\S+)"\]\n(\w+) = "(\S+)"', project)
    assert match is not None
    (installed / "entry_points.txt").write_text(f"[{match[1]}]\n{match[2]} = {match[3]}\n")
    return tmp_path


async def test_the_tutorials_script_prints_what_it_says(package: Path) -> None:
    ((words, expected),) = session(TUTORIAL, "")
    assert words[0] == "python"
    status, output = await run([sys.executable, *words[1:]], package)
    assert (status, output.splitlines()) == (0, expected)


async def test_the_tutorials_own_tests_pass(package: Path) -> None:
    status, output = await run([sys.executable, "-m", "pytest", "-q", "tests"], package)
    assert status == 0, output


async def test_the_tutorials_pvs_are_described(package: Path) -> None:
    await follow(session(TUTORIAL, "describe"), package)


async def test_the_tutorials_instrument_is_run_put_to_unplugged_and_comes_back(
    package: Path, client: Client
) -> None:
    ((sim_words, sim_says),) = session(TUTORIAL, "sim")
    ((run_words, run_says),) = session(TUTORIAL, "run")
    at_any_port = [*LABIOC, *("0" if word == "4001" else word for word in sim_words[1:])]
    async with running(at_any_port, package) as sim:
        ready = await sim.read_until("simulator at ")
        prints([ready], sim_says)
        port = ready.rpartition(":")[2]
        async with running(labioc(run_words, port), package) as ioc:
            await ioc.read_until("ONLY THIS MACHINE")
            prints(ioc.said, run_says)
            await follow(session(TUTORIAL, "client"), package, port)

            await sim.stop()
            async with client.monitor("LAB:HP1:LINK:STATE") as state:
                await state.next(lambda reading: reading.value == DOWN)
            await follow(session(TUTORIAL, "unplugged"), package, port)

            at_the_same_port = [*LABIOC, *(port if word == "4001" else word for word in sim_words[1:])]
            async with running(at_the_same_port, package) as again:
                await again.read_until("simulator at ")
                for name in ("TEMP", "TARGET"):
                    async with client.monitor(f"LAB:HP1:{name}") as readings:
                        await readings.next(lambda reading: reading.severity == 0)
                await follow(session(TUTORIAL, "back"), package, port)


async def test_the_tutorials_files_fit_a_checkout(
    package: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    checkout = tmp_path_factory.mktemp("checkout")
    for room in ROOMS:
        shutil.copytree(ROOT / room, checkout / "labioc" / room, ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("tests", "pyproject.toml"):
        copy = shutil.copytree if (ROOT / name).is_dir() else shutil.copy
        copy(ROOT / name, checkout / name)
    for module, room in zip(("driver", "device", "ioc", "sim"), ROOMS, strict=True):
        source = (package / "sh20" / f"{module}.py").read_text()
        source = source.replace(f"from labioc.{room}.core import", "from .core import")
        source = source.replace("from sh20 import sim", "from labioc.sim import sh20 as sim")
        source = re.sub(r"from sh20\.(driver|device) import", r"from labioc.\1s.sh20 import", source)
        (checkout / "labioc" / room / "sh20.py").write_text(source)
    shutil.copy(package / "tests" / "worlds" / "sh20.py", checkout / "tests" / "worlds")
    words = [sys.executable, "-m", "pytest", "-k", "sh20", "tests/test_contract.py"]
    status, output = await run(words, checkout)
    assert status == 0, output  # it would be 5 if there were no tests


async def test_the_tutorials_package_can_be_served_by_its_module(
    package: Path, ca_environment: dict[str, str]
) -> None:
    words = [sys.executable, "-m", "sh20.ioc", "--simulate", "--list-pvs"]
    async with running(words, package) as ioc:
        await ioc.read_until("SH20:TEMP")


# The README and the page on scripting


async def test_the_readmes_session(tmp_path: Path, ca_environment: dict[str, str]) -> None:
    ((words, _),) = session(README, "run")
    async with running(labioc(words), tmp_path) as ioc:
        await ioc.read_until("ONLY THIS MACHINE")
        await follow(session(README, "client"), tmp_path)


def excerpts() -> list[Block]:
    found = [*blocks(README, "python"), *blocks(CAPROTO, "python")]
    return [block for block in found if "(excerpt)" in block.text]


@pytest.mark.parametrize("block", excerpts(), ids=name_of)
def test_excerpts_are_verbatim(block: Block) -> None:
    first, _, rest = block.text.partition("\n")
    source = (ROOT / first.split()[1]).read_text()
    for paragraph in re.split(r"\n\s*\n", rest.rstrip()):
        assert paragraph in source


def scripts() -> list[Block]:
    found = [*blocks(README, "python"), *blocks(SCRIPTING, "python")]
    return [block for block in found if "(excerpt)" not in block.text]


@pytest.mark.parametrize("block", scripts(), ids=name_of)
async def test_scripts_run(block: Block, tmp_path: Path) -> None:
    async with LakeShore336().serve("tcp://127.0.0.1:0") as url:
        source = re.sub(r"tcp://[\d.]+:7777", url, block.text)
        if source.startswith("# in a notebook"):
            names: dict[str, Any] = {}
            code = compile(source, name_of(block), "exec", flags=ast.PyCF_ALLOW_TOP_LEVEL_AWAIT)
            result = eval(code, names)
            if inspect.isawaitable(result):
                await result
            return
        status, output = await run([sys.executable, "-c", source], tmp_path)
    assert status == 0, output
    shown = re.findall(r"# (labioc\.wire.*)", block.text)
    for line in shown:
        assert re.sub(r"\d", "#", line) in re.sub(r"\d", "#", output)


# The page for users of caproto


@pytest.mark.parametrize("title", ["caproto", "labioc"])
async def test_both_forms_of_the_oven_work(title: str, client: Client) -> None:
    (block,) = blocks(CAPROTO, "python", title)
    names: dict[str, Any] = {"__name__": "oven"}
    exec(block.text, names)
    program = program_of(names["Oven"], prefix="oven:", name="oven")
    async with program.serve(run_arguments(["oven"], program)) as pvs:
        server = CAServer(pvs)
        await server.start()
        await client.put("oven:TARGET", 188.0)
        async with client.monitor("oven:TEMP") as events:
            hot = await events.next(lambda reading: reading.value > 185 and reading.severity > 0)
            assert (AlarmStatus(hot.status), hot.severity) == (AlarmStatus.HIGH, AlarmSeverity.MINOR_ALARM)
        for refused in (13.0, 300.0):
            with pytest.raises(PutFailed):
                await client.put("oven:TARGET", refused)
        assert (await client.get("oven:TARGET")).value == 188.0
        await server.stop()


# All documents


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_links_lead_somewhere(document: Path) -> None:
    for target in re.findall(r"\]\(([^)#]+)[^)]*\)", document.read_text()):
        if not target.startswith(("http:", "https:")):
            assert (document.parent / target).exists(), target


@pytest.mark.parametrize("name", bundled_names())
def test_the_page_of_an_instrument_has_the_table_of_its_pvs(name: str) -> None:
    instrument = find_instrument(name)
    driver = instrument.driver("tcp://localhost:1", address=instrument.address)
    table = "\n".join(markdown(describe(instrument.device("", driver=driver))))
    page = (ROOT / "docs" / "instruments" / f"{name}.md").read_text()
    assert table in page, f"labioc describe {name} --markdown prints the table that belongs there"
