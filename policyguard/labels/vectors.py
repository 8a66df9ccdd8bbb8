"""Vectors are matched as numbers, whatever their container, rounding or scale.

Layer: labels. Start reading at `Vectors`.

Of each vector a sample of at most 16 components is kept: enough to tell it from any other, too few
to rebuild it.
"""

from __future__ import annotations

import math
import struct
from array import array
from itertools import pairwise
from typing import TYPE_CHECKING, Final, Generic, NamedTuple, TypeVar

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

SHORTEST: Final = 16
"""Fewer numbers are no vector."""
_SAMPLE: Final = 16
_ENOUGH: Final = 6
"""So many sampled components must lie inside a piece of a vector, and all of them agree."""
_NEAR: Final = 2e-3
"""Of the spread: covers 4 decimals of a unit vector with 1,536 components, float32 and float16."""
_NEAR_SCALED: Final = 4e-2
"""Of the spread, for the whole vector times a constant: covers 8-bit quantisation."""
_PACKED_CAP: Final = 16 * 1024 * 1024
_NUMERIC_CAP: Final = 64 * 1024

Mark = TypeVar("Mark")


class Sketch(NamedTuple, Generic[Mark]):
    """What is kept of a vector."""

    size: int
    probes: tuple[int, ...]
    places: tuple[int, ...]
    values: tuple[float, ...]
    spread: float
    marks: list[Mark]

    def __repr__(self) -> str:
        """The size only: components are personal data."""
        return f"Sketch(size={self.size})"


Table = dict[int, tuple[tuple[Sketch[Mark], int], ...]]
"""From the component at a probe, in some spelling, to the sketch and the probe's place."""


class Vectors(Generic[Mark]):
    """The vectors of a scope.

    Cost: `add` O(n); `find` O(n) dict look-ups, about 0.2 us a number, plus 1 us for each kept
    vector of the same length; `find_packed` O(bytes), about 40 ns a byte for all alignments.
    """

    __slots__ = ("_cells", "_double", "_single", "_sizes", "count")

    def __init__(self) -> None:
        self.count = 0
        self._cells: Table[Mark] = {}
        self._sizes: dict[int, tuple[Sketch[Mark], ...]] = {}
        self._single: Table[Mark] = {}
        self._double: Table[Mark] = {}

    def add(self, numbers: Sequence[float], mark: Mark) -> bool:
        """Keep a sketch of `numbers`.

        Returns:
            False for what is too short or too regular to tell one vector from another.
        """
        sample = _sample(numbers)
        if sample is None:
            return False
        probes, places, spread = sample
        known = self._known(numbers, places)
        if known is not None:
            if mark not in known.marks:
                known.marks.append(mark)
            return True
        values = tuple(numbers[place] for place in places)
        sketch = Sketch(len(numbers), probes, places, values, spread, [mark])
        for probe in probes:
            middle = _cell(numbers[probe])
            for cell in (middle - 2, middle, middle + 2):
                _append(self._cells, cell, (sketch, probe))
            for key in _bits32(numbers[probe]):
                _append(self._single, key, (sketch, probe))
            for key in _bits64(numbers[probe]):
                _append(self._double, key, (sketch, probe))
        self._sizes[sketch.size] = (*self._sizes.get(sketch.size, ()), sketch)
        self.count += 1
        return True

    def find(self, numbers: Sequence[float]) -> Iterator[Mark]:
        """The marks of the kept vectors that stand anywhere in `numbers`, whole or cut."""
        if not self.count or len(numbers) < SHORTEST:
            return
        cells = self._cells
        for place, number in enumerate(numbers):
            near = cells.get(_cell(number))
            if near is not None:
                for sketch, probe in near:
                    if _agrees(sketch, numbers, place - probe):
                        yield from sketch.marks
        same_size = self._sizes.get(len(numbers), ())
        # An axis is a multiple of every other axis; such a match tells nothing.
        for sketch in () if same_size and _is_axis(numbers) else same_size:
            if _agrees_scaled(sketch, numbers):
                yield from sketch.marks

    def find_packed(self, data: bytes) -> Iterator[Mark]:
        """The marks of the kept vectors in `data` as float32 or float64, at any alignment."""
        if not self.count or len(data) < 4 * SHORTEST:
            return
        data = data[:_PACKED_CAP]
        for width, code, word, keys in ((4, "f", "I", self._single), (8, "d", "Q", self._double)):
            for shift in range(width):
                stop = shift + (len(data) - shift) // width * width
                yield from _packed(data[shift:stop], code, word, keys)
        if (
            len(data) <= _NUMERIC_CAP
        ):  # small: also copies that were rounded before they were packed
            for code, width in (("f", 4), ("d", 8)):
                whole = array(code, data[: len(data) // width * width])
                yield from self.find(whole)

    def _known(self, numbers: Sequence[float], places: tuple[int, ...]) -> Sketch[Mark] | None:
        for sketch in self._sizes.get(len(numbers), ()):
            if sketch.places == places and all(
                value == numbers[place] for value, place in zip(sketch.values, places, strict=True)
            ):
                return sketch
        return None


def unpack(data: bytes) -> Iterator[array[float]]:
    """`data` as float32 and as float64, where that gives plausible components."""
    for code, width in (("f", 4), ("d", 8)):
        if len(data) % width or len(data) < width * SHORTEST:
            continue
        numbers: array[float] = array(code, data)
        plausible = sum(1 for number in numbers[:256] if 1e-9 < abs(number) < 1e6 or number == 0)  # noqa: PLR2004 -- magnitudes of real features
        if plausible * 10 >= min(len(numbers), 256) * 9:
            yield numbers


def _sample(numbers: Sequence[float]) -> tuple[tuple[int, ...], tuple[int, ...], float] | None:
    """Probes, places and spread; None for what can't tell one vector from another."""
    size = len(numbers)
    if size < SHORTEST or not all(map(math.isfinite, numbers)):
        return None
    try:
        mean = math.fsum(numbers) / size
        spread = math.sqrt(math.fsum((number - mean) ** 2 for number in numbers) / size)
    except OverflowError:
        # Denies nothing: bytes of something else that read as absurd numbers are no vector; the
        # bytes themselves are remembered.
        return None
    if not math.isfinite(spread) or spread <= abs(mean) * 1e-9 or spread == 0.0:
        return None
    telling: list[int] = []
    seen: set[float] = set()
    for place, number in enumerate(numbers):
        if number not in seen and abs(number) >= spread / 4:
            seen.add(number)
            telling.append(place)
    if len(telling) < _ENOUGH or _is_regular(numbers, spread):
        return None
    first, rest = telling[: _SAMPLE // 2], telling[_SAMPLE // 2 :]
    step = max(1, -(-len(rest) // (_SAMPLE // 2)))
    places = tuple(first + rest[::step])

    def largest(among: list[int]) -> int:
        return max(among, key=lambda place: abs(numbers[place]))

    # One probe near each end: a copy may be cut at either.
    probes = dict.fromkeys((largest(first), largest(telling[-_SAMPLE // 2 :])))
    return tuple(probes), places, spread


def _is_regular(numbers: Sequence[float], spread: float) -> bool:
    """Whether the numbers go up or down by equal steps: a range, a time axis."""
    step = numbers[1] - numbers[0]
    return all(
        abs(after - before - step) <= spread * 1e-6 for before, after in pairwise(numbers[:64])
    )


def _is_axis(numbers: Sequence[float]) -> bool:
    """Whether all numbers of a payload go by equal steps."""
    try:
        return _is_regular(numbers, abs(numbers[-1] - numbers[0]) or 1.0)
    except OverflowError:
        # Denies: numbers too large to compare are searched like any others.
        return False


def _cell(number: float) -> int:
    """A cell of the number line, 0.2 to 0.4 % wide; the lowest bit is the sign."""
    if not -1e300 < number < 1e300:  # noqa: PLR2004 -- infinities, not-a-number and giant integers share a cell
        return 1 << 20
    mantissa, exponent = math.frexp(number)
    if mantissa < 0:
        return (exponent * 256 + int((-mantissa - 0.5) * 512)) * 2 + 1
    return (exponent * 256 + int((mantissa - 0.5) * 512)) * 2


def _agrees(sketch: Sketch[Mark], numbers: Sequence[float], start: int) -> bool:
    near = sketch.spread * _NEAR
    size = len(numbers)
    inside = 0
    for place, value in zip(sketch.places, sketch.values, strict=True):
        if 0 <= start + place < size:
            if not -near <= numbers[start + place] - value <= near:
                return False
            inside += 1
    return inside >= _ENOUGH


def _agrees_scaled(sketch: Sketch[Mark], numbers: Sequence[float]) -> bool:
    """Whether `numbers` are the whole vector times one positive constant."""
    probe = sketch.probes[0]
    own = sketch.values[sketch.places.index(probe)]
    number = numbers[probe]
    if not -1e300 < number < 1e300:  # noqa: PLR2004 -- not finite
        return False
    scale = number / own
    near = sketch.spread * _NEAR_SCALED * scale
    if scale <= 0:
        return False
    for place, value in zip(sketch.places, sketch.values, strict=True):
        if not -near <= numbers[place] - value * scale <= near:
            return False
    return len(sketch.places) >= _ENOUGH


def _packed(data: bytes, code: str, word: str, keys: Table[Mark]) -> Iterator[Mark]:
    view = memoryview(data).cast("B").cast(word)  # type: ignore[call-overload]  # "I" or "Q", by the table above
    if keys.keys().isdisjoint(view):
        return
    plain = array(code, data)
    swapped = array(code, data)
    swapped.byteswap()
    for place, bits in enumerate(view):
        for sketch, probe in keys.get(bits, ()):
            for numbers in (plain, swapped):
                if _agrees(sketch, numbers, place - probe):
                    yield from sketch.marks


def _bits32(number: float) -> set[int]:
    """The float32 of `number` as an integer, in both byte orders."""
    try:
        packed = struct.pack("<f", number)
    except OverflowError:
        # Denies nothing: a number beyond float32 can't travel as one.
        return set()
    return {int.from_bytes(packed, "little"), int.from_bytes(packed, "big")}


def _bits64(number: float) -> set[int]:
    """`number`, and its float32, as float64 integers in both byte orders."""
    keys = set()
    numbers = [float(number)]
    if abs(number) < 1e38:  # noqa: PLR2004 -- the range of float32
        numbers.append(struct.unpack("<f", struct.pack("<f", number))[0])
    for exact in numbers:
        packed = struct.pack("<d", exact)
        keys |= {int.from_bytes(packed, "little"), int.from_bytes(packed, "big")}
    return keys


def _append(table: Table[Mark], key: int, entry: tuple[Sketch[Mark], int]) -> None:
    """Swap in a longer tuple: a reader beside us sees the old or the new one, whole."""
    table[key] = (*table.get(key, ()), entry)
