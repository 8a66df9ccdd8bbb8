"""The face API: what the service computes from the faces on a picture.

A toy, but a real computation: the vector is a fixed random projection of the picture, the age is
measured on the forehead. Near pictures give near vectors.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import numpy as np

from lumipic.pictures import (
    DEPTH_PER_YEAR,
    FOREHEAD,
    LINE_EVERY,
    SIZE,
    SMOOTH_UNTIL,
    Picture,
    PictureError,
)

if TYPE_CHECKING:
    from numpy.typing import NDArray

DIMENSIONS: Final = 128
_BLOCK: Final = 4  # pixels that are averaged, each way, before the projection
_PROJECTION: Final = np.random.default_rng(20241111).standard_normal(
    ((SIZE // _BLOCK) ** 2, DIMENSIONS)
)


@dataclass(frozen=True, slots=True)
class FaceReading:
    """What the face API says about the face on one picture.

    Attributes:
        face_id: the same for near vectors; names the face, not the person.
        embedding: 128 numbers of length 1 together.
        estimated_age: years.
    """

    face_id: str
    embedding: list[float]
    estimated_age: int


def read_face(picture: Picture) -> FaceReading:
    """Analyse the face on a picture.

    Raises:
        PictureError: the picture hasn't the size that the face API works with.
    """
    if picture.shape != (SIZE, SIZE, 3):
        raise PictureError(f"the face API reads pictures of {SIZE} x {SIZE} pixels")
    vector = _embed(picture)
    return FaceReading(
        face_id=_face_id(vector),
        embedding=[float(number) for number in vector],
        estimated_age=_estimate_age(picture),
    )


def likeness(one: list[float], other: list[float]) -> float:
    """Cosine of two embeddings: 1.0 is the same face."""
    return float(np.dot(one, other))


def _embed(picture: Picture) -> NDArray[np.float32]:
    grey = picture.astype(np.float64).mean(axis=2)
    side = SIZE // _BLOCK
    blocks = grey.reshape(side, _BLOCK, side, _BLOCK).mean(axis=(1, 3)).ravel()
    blocks = (blocks - blocks.mean()) / (blocks.std() + 1e-9)
    projected = blocks @ _PROJECTION
    vector: NDArray[np.float32] = (projected / np.linalg.norm(projected)).astype(np.float32)
    return vector


def _face_id(vector: NDArray[np.float32]) -> str:
    return "face_" + np.packbits(vector[:64] > 0).tobytes().hex()


def _estimate_age(picture: Picture) -> int:
    """Depth of the forehead's lines: the wave that repeats every `LINE_EVERY` rows."""
    forehead = picture[FOREHEAD].astype(np.float64).mean(axis=(1, 2))
    wave = np.fft.rfft(forehead)[len(forehead) // LINE_EVERY]
    depth = abs(wave) * LINE_EVERY / len(forehead)
    return round(SMOOTH_UNTIL + float(depth) / DEPTH_PER_YEAR)
