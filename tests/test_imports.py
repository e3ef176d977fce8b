"""The house's rules: imports run one way, and the wheel holds every package and nothing else."""

import ast
import importlib.util
import subprocess
import sys
import zipfile
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
ROOMS = ("drivers", "devices", "iocs", "sim")
BELOW = {
    "drivers": {"drivers"},
    "devices": {"devices", "drivers"},
    "iocs": {"iocs", "devices", "drivers", "sim"},
    "sim": {"sim"},
}
# Modules that one place alone may import, and the places
RESERVED = {
    "caproto": ("devices/core/", "iocs/core/", "iocs/examples/"),
    "serial": ("drivers/core/",),
    "serial_asyncio": ("drivers/core/",),
    "socket": ("drivers/core/", "iocs/core/", "sim/core/"),  # iocs: the CA server and the control socket
    "pint": ("drivers/core/",),
    "telnetlib": (),
    "pyvisa": (),
}
# What opens a connection, whatever it is imported from
CONNECTING = {"create_connection", "open_connection", "open_unix_connection", "create_serial_connection"}
OPENERS = ("drivers/core/", "iocs/core/")  # iocs: Channel Access and the control socket

FILES = sorted(path for room in ROOMS for path in (ROOT / room).rglob("*.py"))


def imported(path: Path, tree: ast.Module) -> Iterator[str]:
    """Go through the modules that a file imports, by their absolute names, also inside functions."""
    package = ("labioc", *path.relative_to(ROOT).parent.parts)
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = package[: len(package) - node.level + 1] if node.level else ()
            module = ".".join((*base, *filter(None, [node.module])))
            yield module
            yield from (f"{module}.{alias.name}" for alias in node.names)


def broken_rules(path: Path, tree: ast.Module) -> Iterator[str]:
    name = path.relative_to(ROOT).as_posix()
    room = name.split("/")[0]
    for module in imported(path, tree):
        top, *rest = module.split(".")
        if top == "labioc" and rest and rest[0] not in BELOW[room]:
            yield f"{name} imports {module}"
        if top in ROOMS:
            yield f"{name} imports {module} as if it were a top-level package"
        if top in RESERVED and not name.startswith(RESERVED[top]):
            yield f"{name} imports {module}"
    for node in ast.walk(tree):
        called = (
            node.attr if isinstance(node, ast.Attribute) else node.id if isinstance(node, ast.Name) else ""
        )
        if called in CONNECTING and not name.startswith(OPENERS):
            yield f"{name}:{node.lineno} opens a connection" if isinstance(node, ast.expr) else name


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_imports_run_one_way(path: Path) -> None:
    assert list(broken_rules(path, ast.parse(path.read_text()))) == []


@pytest.mark.parametrize(
    ("name", "source"),
    [
        ("drivers/x.py", "from labioc.devices.core import status"),
        ("drivers/core/x.py", "from ...devices import lakeshore336"),
        ("devices/x.py", "import labioc.iocs.core.host"),
        ("sim/x.py", "def f():\n    from labioc.drivers.core import units"),
        ("sim/core/x.py", "from ... import drivers"),
        ("devices/x.py", "from caproto.server import PVGroup"),
        ("drivers/x.py", "import serial"),
        ("devices/core/x.py", "import asyncio\nasyncio.open_connection('h', 1)"),
        ("iocs/x.py", "from drivers import core"),
    ],
)
def test_the_rules_find_what_breaks_them(name: str, source: str) -> None:
    assert list(broken_rules(ROOT / name, ast.parse(source)))


def test_the_wheel_holds_every_package_and_nothing_else(tmp_path: Path) -> None:
    if importlib.util.find_spec("wheel") is None or importlib.util.find_spec("build") is None:
        pytest.skip("a wheel can't be built offline without the packages build and wheel")
    source = tmp_path / "source"
    source.mkdir()
    # a copy of what git would carry: the build leaves nothing in the checkout, nor takes anything from there
    for path in [*FILES, *(ROOT / room / "py.typed" for room in ROOMS)]:
        copy = source / path.relative_to(ROOT)
        copy.parent.mkdir(parents=True, exist_ok=True)
        copy.write_bytes(path.read_bytes())
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        (source / name).write_bytes((ROOT / name).read_bytes())
    command = [
        sys.executable,
        "-m",
        "build",
        "--wheel",
        "--no-isolation",
        "--outdir",
        str(tmp_path),
        str(source),
    ]
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr
    [wheel] = tmp_path.glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        names = set(archive.namelist())
    held = [path.relative_to(ROOT).as_posix() for path in FILES] + [f"{room}/py.typed" for room in ROOMS]
    # top level included: what is not below labioc/ is in excess
    assert {name for name in names if ".dist-info/" not in name} == {f"labioc/{name}" for name in held}
