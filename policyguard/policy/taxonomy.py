"""The term trees of a policy: which data categories and purposes exist, and what they are called.

Layer: policy. Start reading at `Taxonomy`.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import cache
from importlib import resources
from typing import Final

from policyguard.policy.loader import read_trusted
from policyguard.policy.terms import ancestors, is_term

_HERE: Final = "policyguard.policy"
_CLOSE: Final = 0.6


@dataclass(frozen=True, slots=True)
class Terms:
    """One tree of terms: dotted key to a short phrase.

    Attributes:
        phrases: key to phrase, built-in and the policy's own.
        own: the keys that the policy added.
    """

    phrases: Mapping[str, str]
    own: frozenset[str] = field(default_factory=frozenset)

    def __contains__(self, term: object) -> bool:
        """Whether the term is declared."""
        return term in self.phrases

    def known(self, term: str) -> bool:
        """Whether the term is declared or lies below a declared one; no term at all isn't."""
        if term in self.phrases:
            return True
        return is_term(term) and any(above in self.phrases for above in ancestors(term))

    def phrase(self, term: str) -> str:
        """The phrase of the nearest declared term at or above, else the term itself."""
        for above in ancestors(term):
            if above in self.phrases:
                return self.phrases[above]
        return term

    def nearest(self, term: str, count: int = 1) -> list[str]:
        """Declared terms that look like a misspelt one, best first."""
        # The last word says most: `user.emial` is rather `user.contact.email`.
        whole, last = difflib.SequenceMatcher(), difflib.SequenceMatcher()
        whole.set_seq2(term)
        last.set_seq2(term.rsplit(".", 1)[-1])
        close = []
        for key in self.phrases:
            whole.set_seq1(key)
            last.set_seq1(key.rsplit(".", 1)[-1])
            # Nearly all are far away, which shows before they are compared letter by letter.
            if max(whole.real_quick_ratio(), last.real_quick_ratio()) < _CLOSE or (
                max(whole.quick_ratio(), last.quick_ratio()) < _CLOSE
            ):
                continue
            scores = whole.ratio(), last.ratio()
            if max(scores) >= _CLOSE:
                close.append((-scores[0] - 1.5 * scores[1], key))
        return [key for _, key in sorted(close)[:count]]

    def search(self, word: str) -> list[str]:
        """Declared terms whose key or phrase holds the word, sorted."""
        word = word.lower()
        return sorted(k for k, says in self.phrases.items() if word in k or word in says.lower())

    def extended(self, own: Mapping[str, str]) -> Terms:
        """This tree with a policy's own terms added; a built-in key keeps its phrase."""
        return Terms({**own, **self.phrases}, self.own | (own.keys() - self.phrases.keys()))


@dataclass(frozen=True, slots=True)
class Taxonomy:
    """All words a policy may use.

    Attributes:
        version: of the built-in terms; part of a policy's digest.
        data: data categories.
        purposes: purposes.
        facts: facts that the policy declares itself.
    """

    version: str
    data: Terms
    purposes: Terms
    facts: Terms

    def extended(
        self, data: Mapping[str, str], purposes: Mapping[str, str], facts: Mapping[str, str]
    ) -> Taxonomy:
        """This taxonomy with a policy's own terms added."""
        return Taxonomy(
            self.version,
            self.data.extended(data),
            self.purposes.extended(purposes),
            self.facts.extended(facts),
        )


@cache
def built_in() -> Taxonomy:
    """The shipped taxonomy: fideslang 3 keys and extensions (see taxonomy/ATTRIBUTION.md).

    Cost: reads two files once per process.
    """
    data, purposes = _shipped("data.yaml"), _shipped("purposes.yaml")
    return Taxonomy(data[0], Terms(data[1]), Terms(purposes[1]), Terms({}))


def _shipped(name: str) -> tuple[str, dict[str, str]]:
    text = resources.files(_HERE).joinpath("taxonomy", name).read_text(encoding="utf-8")
    tree = read_trusted(text)
    terms = tree["terms"]
    if not isinstance(terms, dict):
        raise TypeError(f"{name} has no terms")
    return str(tree["version"]), {str(key): str(says) for key, says in terms.items()}


def parents_missing(terms: Iterable[str], known: Terms) -> list[str]:
    """The terms that hang below nothing that is declared."""
    return [term for term in terms if not any(above in known for above in ancestors(term)[1:])]
