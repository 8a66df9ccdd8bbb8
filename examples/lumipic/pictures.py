"""Pictures as arrays: drawn, painted over, and to and from PNG.

A picture is a `uint8` array of shape (height, width, 3). Nothing here is random: the same seed,
age and prompt give the same bytes.
"""

from __future__ import annotations

import hashlib
import struct
import zlib
from typing import Final, TypeAlias

import numpy as np
from numpy.typing import NDArray

Picture: TypeAlias = NDArray[np.uint8]

SIZE: Final = 96
FOREHEAD: Final = (slice(20, 36), slice(36, 60))  # rows, columns; 16 rows are four lines apart
LINE_EVERY: Final = 4  # rows between two lines of the forehead
SMOOTH_UNTIL: Final = 10  # years without a line
HAIRLINE: Final = 18  # row
DEPTH_PER_YEAR: Final = 0.9  # grey levels that a line deepens each year
_PNG_MAGIC: Final = b"\x89PNG\r\n\x1a\n"


class PictureError(ValueError):
    """The upload is no picture that this service reads."""


def draw_portrait(seed: int, age: int) -> Picture:
    """Draw somebody's face; `seed` is who, `age` is how old they look.

    Args:
        seed: decides skin, hair, the shape of the face and where the features sit.
        age: years; deepens the lines of the forehead.
    """
    chance = np.random.default_rng(seed)
    rows, columns = np.mgrid[0:SIZE, 0:SIZE].astype(np.float64)
    canvas = np.empty((SIZE, SIZE, 3))
    canvas[:] = chance.uniform(40, 200, 3)
    middle, half_width, half_height = 48.0, chance.uniform(24, 30), chance.uniform(36, 42)
    face = ((columns - middle) / half_width) ** 2 + ((rows - 48) / half_height) ** 2 < 1
    canvas[face] = chance.uniform(0.55, 0.95) * np.array([235.0, 190.0, 160.0])
    canvas[face & (rows < HAIRLINE)] = chance.uniform(10, 120, 3)
    eye_row, eye_gap, eye_size = chance.uniform(40, 46), chance.uniform(9, 14), chance.uniform(2, 4)
    for side in (-1, 1):
        eye = (columns - middle - side * eye_gap) ** 2 + (rows - eye_row) ** 2 < eye_size**2
        canvas[eye] = chance.uniform(0, 90, 3)
    mouth_row, mouth_width = chance.uniform(64, 72), chance.uniform(8, 16)
    mouth = (abs(rows - mouth_row) < chance.uniform(1, 3)) & (abs(columns - middle) < mouth_width)
    canvas[mouth] = (150, 60, 70)
    lines = np.zeros((SIZE, SIZE, 1))
    lines[FOREHEAD][::LINE_EVERY] = max(0, age - SMOOTH_UNTIL) * DEPTH_PER_YEAR
    canvas += chance.normal(0, 2, canvas.shape) - lines
    return np.clip(np.rint(canvas), 0, 255).astype(np.uint8)


def paint(source: Picture, prompt: str) -> Picture:
    """Repaint a picture in the colours that the prompt stands for.

    A real service would ask its model here; this one takes a palette from the prompt's digest.
    """
    digest = hashlib.sha256(prompt.encode()).digest()
    palette = np.frombuffer(digest[:24], dtype=np.uint8).reshape(8, 3)
    shades = source.astype(np.float64).mean(axis=2) // 32
    painted: Picture = palette[np.argsort(palette.sum(axis=1))][shades.astype(np.intp)]
    return painted


def to_png(picture: Picture) -> bytes:
    """Encode a picture as a PNG file (8-bit RGB, no filters)."""
    height, width, _ = picture.shape
    lines = np.concatenate(
        [np.zeros((height, 1), np.uint8), picture.reshape(height, width * 3)], axis=1
    )
    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return (
        _PNG_MAGIC
        + _chunk(b"IHDR", header)
        + _chunk(b"IDAT", zlib.compress(lines.tobytes(), 6))
        + _chunk(b"IEND", b"")
    )


def from_png(data: bytes) -> Picture:
    """Decode a PNG file of the kind that `to_png` writes.

    Raises:
        PictureError: not a PNG, broken, or of a kind that this service doesn't read.
    """
    if not data.startswith(_PNG_MAGIC):
        raise PictureError("not a PNG file")
    width = height = 0
    packed, position = b"", len(_PNG_MAGIC)
    try:
        while position < len(data):
            length, kind = struct.unpack(">I4s", data[position : position + 8])
            body = data[position + 8 : position + 8 + length]
            position += 12 + length
            if kind == b"IHDR":
                width, height, *rest = struct.unpack(">IIBBBBB", body)
                if rest != [8, 2, 0, 0, 0] or not 0 < width * height <= 4096 * 4096:
                    raise PictureError("only plain 8-bit RGB pictures of a sensible size")
            elif kind == b"IDAT":
                packed += body
        expected = height * (width * 3 + 1)
        raw = zlib.decompressobj().decompress(packed, expected)
        lines = np.frombuffer(raw, dtype=np.uint8).reshape(height, width * 3 + 1)
    except (struct.error, zlib.error, ValueError) as problem:
        raise PictureError("the PNG file is broken") from problem
    if lines[:, 0].any():
        raise PictureError("filtered PNG lines are not read")
    return lines[:, 1:].reshape(height, width, 3)


def _chunk(kind: bytes, body: bytes) -> bytes:
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))
