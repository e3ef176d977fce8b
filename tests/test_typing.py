"""A type checker must catch what a user of a driver gets wrong, and leave what is right alone."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
SAMPLES = ROOT / "tests" / "typing"
ROOMS = ("drivers", "devices", "iocs", "sim")


@pytest.fixture(scope="module")
def reported() -> set[tuple[str, int, str]]:
    """What mypy reports: file, line and code."""
    packages = ROOT / "build" / "labioc"
    packages.mkdir(parents=True, exist_ok=True)
    for room in ROOMS:
        if not (packages / room).exists():
            (packages / room).symlink_to(Path("..", "..", room))
    done = subprocess.run(
        [
            sys.executable,
            "-m",
            "mypy",
            "--strict",
            "--no-error-summary",
            *map(str, sorted(SAMPLES.glob("*.py"))),
        ],
        cwd=ROOT,
        env=os.environ | {"MYPYPATH": str(ROOT / "build")},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode in (0, 1), done.stdout + done.stderr
    found = re.findall(r"^(\S+?):(\d+)(?::\d+)?: error: .*\[([a-z-]+)\]$", done.stdout, re.MULTILINE)
    return {(Path(path).name, int(line), code) for path, line, code in found}


def expected(path: Path) -> set[tuple[str, int, str]]:
    return {
        (path.name, number, match[1])
        for number, line in enumerate(path.read_text().splitlines(), 1)
        if (match := re.search(r"# error: ([a-z-]+)$", line))
    }


@pytest.mark.parametrize("path", sorted(SAMPLES.glob("*.py")), ids=lambda path: path.name)
def test_sample(path: Path, reported: set[tuple[str, int, str]]) -> None:
    assert {item for item in reported if item[0] == path.name} == expected(path)


def test_there_is_one_of_each_kind() -> None:
    assert not expected(SAMPLES / "right.py")
    assert len(expected(SAMPLES / "wrong.py")) > 20
