"""The screen of a Rigol DS1000Z as a picture: the grid and the traces, in the formats that need no library."""

import struct
import zlib
from collections.abc import Callable, Iterable
from typing import Any

import numpy as np

from .ds1000z_acquisition import COLUMNS, ROWS

WIDTH, HEIGHT = 800, 480
LEFT, TOP, DIVISION = 50, 40, 50
"""Where the grid begins, and pixels of a division."""
GRID = (80, 80, 80)
COLORS = {1: (248, 252, 0), 2: (0, 252, 248), 3: (248, 0, 248), 4: (0, 128, 248)}


def draw(traces: Iterable[tuple[int, Any]], *, color: bool = True, invert: bool = False) -> Any:
    """Return the pixels, by row and column, as red, green and blue.

    `traces` gives channel numbers and points: numbers of the converter, 0 to 255, one for each column.
    """
    pixels = np.zeros((HEIGHT, WIDTH, 3), np.uint8)
    bottom, right = TOP + ROWS * DIVISION, LEFT + COLUMNS * DIVISION
    pixels[TOP : bottom + 1 : DIVISION, LEFT : right + 1] = GRID
    pixels[TOP : bottom + 1, LEFT : right + 1 : DIVISION] = GRID
    for channel, points in traces:
        columns = LEFT + np.arange(len(points)) * COLUMNS * DIVISION // max(1, len(points))
        # 25 steps in a division, 127 in the middle
        rows = (TOP + bottom) // 2 - np.rint((points - 127.0) * DIVISION / 25).astype(int)
        shown = (rows >= TOP) & (rows <= bottom)
        pixels[rows[shown], columns[shown]] = COLORS[channel]
    if not color:
        pixels[:] = pixels.max(axis=2, keepdims=True)
    return 255 - pixels if invert else pixels


def bmp24(pixels: Any) -> bytes:
    """Return pixels as a bitmap with 24 bits each."""
    data: bytes = pixels[::-1, :, ::-1].tobytes()
    header = struct.pack("<2sIHHI", b"BM", 54 + len(data), 0, 0, 54)
    return header + struct.pack("<IiiHHIIiiII", 40, WIDTH, HEIGHT, 1, 24, 0, len(data), 0, 0, 0, 0) + data


def bmp8(pixels: Any) -> bytes:
    """Return pixels as a bitmap with 8 bits each, in shades of grey."""
    data: bytes = pixels[::-1].max(axis=2).tobytes()
    palette = b"".join(bytes((grey, grey, grey, 0)) for grey in range(256))
    header = struct.pack("<2sIHHI", b"BM", 54 + len(palette) + len(data), 0, 0, 54 + len(palette))
    return (
        header
        + struct.pack("<IiiHHIIiiII", 40, WIDTH, HEIGHT, 1, 8, 0, len(data), 0, 0, 256, 0)
        + palette
        + data
    )


def png(pixels: Any) -> bytes:
    """Return pixels as a PNG."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    rows = b"".join(b"\0" + row.tobytes() for row in pixels)
    header = struct.pack(">IIBBBBB", WIDTH, HEIGHT, 8, 2, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n"
        + chunk(b"IHDR", header)
        + chunk(b"IDAT", zlib.compress(rows))
        + chunk(b"IEND", b"")
    )


def tiff(pixels: Any) -> bytes:
    """Return pixels as a TIFF, in one strip and not compressed."""
    data: bytes = pixels.tobytes()
    bits, begin = 8 + 2 + 10 * 12 + 4, 8 + 2 + 10 * 12 + 4 + 6
    short, long = 3, 4
    tags = (
        (256, short, 1, WIDTH), (257, short, 1, HEIGHT), (258, short, 3, bits), (259, short, 1, 1),
        (262, short, 1, 2), (273, long, 1, begin), (277, short, 1, 3), (278, short, 1, HEIGHT),
        (279, long, 1, len(data)), (284, short, 1, 1),
    )  # fmt: skip
    directory = struct.pack("<H", len(tags)) + b"".join(struct.pack("<HHII", *tag) for tag in tags)
    return b"II*\0" + struct.pack("<I", 8) + directory + bytes(4) + struct.pack("<HHH", 8, 8, 8) + data


FORMATS: dict[str, Callable[[Any], bytes]] = {"BMP24": bmp24, "BMP8": bmp8, "PNG": png, "TIFF": tiff}
