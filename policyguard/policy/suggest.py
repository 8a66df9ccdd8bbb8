"""What a misspelt word was probably meant to be, within bounds.

Layer: policy. A file can hold thousands of misspelt words, and comparing one with all that are
known costs much more than finding out that it is unknown. Start reading at `Suggestions`.
"""

from __future__ import annotations

import difflib
from collections.abc import Collection
from typing import Final

from policyguard.policy.taxonomy import Terms

MOST_WORDS: Final = 50
_MOST_LETTERS: Final = 400_000


class Suggestions:
    """The nearest known words for the first misspelt ones of a run; none for the rest.

    Cost: at most 50 words, and a bounded number of letters compared.
    """

    __slots__ = ("_letters", "_words")

    def __init__(self) -> None:
        self._words, self._letters = MOST_WORDS, _MOST_LETTERS

    def term(self, word: str, known: Terms) -> str:
        """The declared term that looks most like a word, or ""."""
        near = known.nearest(word) if self._may(word, known.phrases) else []
        return near[0] if near else ""

    def name(self, word: str, known: Collection[str]) -> str:
        """The name that looks most like a word, or ""."""
        if not self._may(word, known):
            return ""
        near = difflib.get_close_matches(word, list(known), n=1)
        return near[0] if near else ""

    def _may(self, word: str, known: Collection[str]) -> bool:
        letters = len(word) * len(known)
        if not self._words or letters > self._letters:
            return False
        self._words -= 1
        self._letters -= letters
        return True
