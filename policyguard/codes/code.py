"""What stands behind a code.

Layer: errors. Start reading at `Code`.
"""

from __future__ import annotations

from typing import NamedTuple


class Code(NamedTuple):
    """What a code stands for.

    Attributes:
        title: the fact, in a few words.
        meaning: what it means for the promises, in plain sentences.
        mend: what to do about it.
    """

    title: str
    meaning: str
    mend: str
