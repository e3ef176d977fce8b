r"""Save files as synApps' autosave writes them: `NAME value` lines between a header and `<END>`.

    # autosave R5.3<TAB>Automatically generated - DO NOT MODIFY - 260821-114638
    LAB:TC1:OUT1:SETP.DESC Cold finger
    LAB:TC1:A:TEMP.HIHI 310.5
    LAB:TC1:CURVE @array@ { "1" "2.5" }
    <END>

Control characters and what isn't ASCII are written as in C (`\n`, `\xb5`). A file without `<END>` isn't whole.
"""

import os
import re
import shutil
import time
from collections.abc import Mapping, Sequence
from glob import escape
from pathlib import Path

Value = str | Sequence[str]
"""A scalar's text, or those of an array's elements."""

END = "<END>"
ARRAY = "@array@"
ROTATED = 3
ROTATION_SECONDS = 600.0
DATED = 10
"""Copies of former starts that are kept."""
_CONTROLS = dict(zip("\a\b\f\n\r\t\v\\'\"", "abfnrtv\\'\"", strict=True))
_FROM_CONTROLS = {letter: control for control, letter in _CONTROLS.items()}
_ESCAPED = re.compile(r"\\(x[0-9a-fA-F]{1,2}|[0-7]{1,3}|.)", re.DOTALL)
_ELEMENT = re.compile(r'"((?:\\.|[^"\\])*)"', re.DOTALL)


class NotWhole(ValueError):
    """Raised for a file that was not written to its end."""


def escaped(text: str) -> str:
    """A text in one line of ASCII."""
    return "".join(_escaped(letter) for letter in text)


def _escaped(letter: str) -> str:
    if letter in _CONTROLS:
        return "\\" + _CONTROLS[letter]
    return letter if " " <= letter <= "~" else f"\\x{ord(letter):02x}"


def raw(text: str) -> str:
    """The text that was escaped."""
    return _ESCAPED.sub(_raw, text)


def _raw(found: re.Match[str]) -> str:
    code = found[1]
    if code[0] == "x" and len(code) > 1:
        return chr(int(code[1:], 16))
    return chr(int(code, 8) & 0xFF) if code[0] in "01234567" else _FROM_CONTROLS.get(code, code)


def formatted(values: Mapping[str, Value]) -> str:
    """The content of a file."""
    stamp = time.strftime("%y%m%d-%H%M%S")
    lines = [f"# autosave R5.3\tAutomatically generated - DO NOT MODIFY - {stamp}"]
    for name, value in values.items():
        if isinstance(value, str):
            # a text of this beginning would be taken for an array
            text = escaped(value) if not value.startswith(ARRAY) else f"\\x40{escaped(value[1:])}"
        else:
            text = " ".join((ARRAY, "{", *(f'"{escaped(element)}"' for element in value), "}"))
        lines.append(f"{name} {text}")
    return "\n".join((*lines, END, ""))


def parsed(content: str) -> dict[str, Value]:
    """What a file says. Raises NotWhole if it does not end as it should."""
    if content.rstrip("\r\n").rpartition("\n")[2] != END:
        raise NotWhole(f"it does not end with {END}")
    values: dict[str, Value] = {}
    lines = iter(content.replace("\r", "").split("\n"))
    for line in lines:
        name, _, text = line.partition(" ")
        if text.startswith(ARRAY):
            # an array may go over several lines
            while not _ELEMENT.sub("", text).rstrip().endswith("}"):
                text += next(lines, "}")
            values[name] = [raw(element) for element in _ELEMENT.findall(text)]
        elif name and name[0] not in "#!<":
            values[name] = raw(text)
    return values


def write_atomically(path: Path, content: str) -> None:
    """Write a file so that at any moment there is the former one or the new one, whole. Raises OSError."""
    new = path.with_name(f"{path.name}.new")
    with new.open("w", encoding="ascii") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    new.replace(path)
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)


class SaveFiles:
    """The files of one IOC: `NAME.sav`, its copy `.savB`, rotated ones `.sav0` to `.sav2`, dated ones of starts."""

    def __init__(self, path: Path) -> None:
        """`path` is that of the file NAME.sav; its folder is made if there is none."""
        self.path = path
        self._rotated = 0.0
        self._is_known = False

    def _beside(self, suffix: str) -> Path:
        return self.path.with_name(self.path.name + suffix)

    def save(self, values: Mapping[str, Value]) -> None:
        """Write the files. Raises OSError."""
        content = formatted(values)
        self.path.parent.mkdir(parents=True, exist_ok=True)
        if not self._is_known and self.path.exists():
            self._keep(self.path, f"{self.path.name}_")  # it could not be read at the start
        self._is_known = True
        write_atomically(self.path, content)
        write_atomically(self._beside("B"), content)
        if time.time() - self._rotated > ROTATION_SECONDS:
            self._rotated = time.time()
            oldest = min((self._beside(str(n)) for n in range(ROTATED)), key=_modified)
            write_atomically(oldest, content)

    def load(self) -> tuple[dict[str, Value], list[str]]:
        """Read the newest whole file, and keep a dated copy of it.

        Returns what it says, nothing if there is no file at all; and what was wrong with those that were tried first.
        """
        rotated = sorted((self._beside(str(n)) for n in range(ROTATED)), key=_modified, reverse=True)
        problems = []
        is_first_start = True
        for path in (self.path, self._beside("B"), *rotated):
            try:
                values = parsed(path.read_text("latin-1"))
            except FileNotFoundError:
                problems.append(f"there is no {path.name}")
                continue
            except (OSError, ValueError) as error:
                is_first_start = False
                problems.append(f"{path.name}: {error}")
                self._keep(path, f"{path.name}_RBAD_")
                continue
            self._keep(path, f"{self.path.name}_")
            self._is_known = True
            return values, problems
        return {}, [] if is_first_start else problems

    def _keep(self, path: Path, name: str) -> None:
        """Copy a file under a name and the date of now, and drop the oldest of these copies."""
        stamp = time.strftime("%y%m%d-%H%M%S")
        try:
            shutil.copy2(path, path.with_name(name + stamp))
            for old in sorted(path.parent.glob(f"{escape(name)}[0-9]*"))[:-DATED]:
                old.unlink()
        except OSError:
            pass  # a copy too many or too few is no reason not to start


def _modified(path: Path) -> float:
    try:
        return path.stat().st_mtime
    except OSError:
        return 0.0
