"""Reads save files as the C code of synApps' autosave does (dbrestore.c), and knows nothing of labioc's writer."""

from pathlib import Path

ESCAPES = {"a": "\a", "b": "\b", "f": "\f", "n": "\n", "r": "\r", "t": "\t", "v": "\v"}


def is_whole(content: bytes) -> bool:
    """The last six or seven bytes begin with <END>, as the C code looks for it."""
    return any(content[-size:].startswith(b"<END>") for size in (6, 7))


def read(path: Path) -> dict[str, str | list[str]]:
    """The values by name. Raises ValueError if the file isn't whole, or a line isn't as it should be."""
    content = path.read_bytes()
    if not is_whole(content):
        raise ValueError(f"{path.name} has no <END>")
    lines = content.decode("ascii").split("\n")
    values: dict[str, str | list[str]] = {}
    at = 0
    while not lines[at].startswith("<END>"):
        line = lines[at]
        at += 1
        if line[:1] in ("#", "!"):
            continue
        name, blank, text = line.partition(" ")
        if not (blank and name[0].isalnum() and len(name) < 80):
            raise ValueError(f"no line of a save file: {line!r}")
        if text[:7] == "@array@":
            values[name] = array(text[7:])
        else:
            values[name] = unescaped(text)
    return values


def array(text: str) -> list[str]:
    """The elements of ``{ "1" "2" }``."""
    at = text.index("{") + 1
    elements: list[str] = []
    while True:
        while text[at] not in '"}':
            at += 1
        if text[at] == "}":
            return elements
        at += 1
        element = ""
        while text[at] != '"':
            step = 2 if text[at] == "\\" else 1
            element += text[at : at + step]
            at += step
        at += 1
        elements.append(unescaped(element))


def unescaped(text: str) -> str:
    """What epicsStrnRawFromEscaped makes of it."""
    made = ""
    at = 0
    while at < len(text):
        letter = text[at]
        at += 1
        if letter != "\\":
            made += letter
            continue
        letter = text[at]
        at += 1
        if letter == "x":
            made += chr(int(text[at : at + 2], 16))
            at += 2
        else:
            made += ESCAPES.get(letter, letter)
    return made
