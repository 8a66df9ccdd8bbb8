"""Which rules could cover a flow: postings over data, purpose and recipient.

Layer: engine. Start reading at `Index.candidates`.
"""

from __future__ import annotations

from collections.abc import Iterable

from policyguard.policy.taxonomy import Terms
from policyguard.policy.terms import ancestors, at_or_below

Rules = frozenset[int]


class Tree:
    """Rule numbers by dotted term. Sets for declared terms are made once, on first use."""

    __slots__ = ("_cache", "_declared", "_every", "_exact")

    def __init__(self, declared: Terms) -> None:
        self._exact: dict[str, list[int]] = {}
        self._every: list[int] = []
        self._declared = declared
        self._cache: dict[tuple[str, bool], Rules] = {}

    def add(self, number: int, terms: Iterable[str] | None) -> None:
        """File a rule under its terms; None means all."""
        if terms is None:
            self._every.append(number)
        else:
            for term in terms:
                self._exact.setdefault(term, []).append(number)

    def reaching(self, term: str, *, from_below: bool = False) -> Rules:
        """Rules with a term at or above this one; with `from_below`, also with one below it."""
        key = (term, from_below)
        found = self._cache.get(key)
        if found is None:
            numbers = set(self._every)
            for above in ancestors(term):
                numbers.update(self._exact.get(above, ()))
            if from_below:
                for other, filed in self._exact.items():
                    if at_or_below(other, term):
                        numbers.update(filed)
            found = frozenset(numbers)
            # Only declared terms are kept: callers can name any number of others.
            if term in self._declared:
                self._cache[key] = found
        return found


class Index:
    """Postings of all permits, or of all forbids.

    INVARIANT: candidates are a superset of the rules that cover a flow by data, purpose and
    recipient, and hold no rule that misses in one of the three.
    """

    __slots__ = ("_all", "_from_below", "_undeclared", "by_data", "by_purpose", "by_recipient")

    def __init__(self, data: Terms, purposes: Terms, *, from_below: bool) -> None:
        self.by_data, self.by_purpose = Tree(data), Tree(purposes)
        self.by_recipient: dict[str, set[int]] = {}
        self._all: set[int] = set()
        self._undeclared: set[int] = set()
        self._from_below = from_below

    def add(
        self,
        number: int,
        data: Iterable[str] | None,
        purposes: Iterable[str] | None,
        to: Iterable[str] | None,
        *,
        undeclared: bool,
    ) -> None:
        """File a rule; None means all."""
        self.by_data.add(number, data)
        self.by_purpose.add(number, purposes)
        if to is None:
            self._all.add(number)
        else:
            for recipient in to:
                self.by_recipient.setdefault(recipient, set()).add(number)
        if undeclared:
            self._undeclared.add(number)

    def data(self, term: str) -> Rules:
        """Rules whose data cover the term."""
        return self.by_data.reaching(term, from_below=self._from_below)

    def purpose(self, term: str) -> Rules:
        """Rules whose purposes cover the term."""
        return self.by_purpose.reaching(term, from_below=self._from_below)

    def recipients(self, recipient: str, *, declared: bool) -> list[set[int]]:
        """Rules that reach the recipient, as sets without overlap between them."""
        if not declared:
            return [self._undeclared]
        return [self.by_recipient.get(recipient, set()), self._all]

    def candidates(self, data: str, purpose: str, recipient: str, *, declared: bool) -> list[int]:
        """Rules that cover by data, purpose and recipient, in order.

        Cost: O(the smallest of the posting sets involved).
        """
        by_data, by_purpose = self.data(data), self.purpose(purpose)
        small, large = sorted((by_data, by_purpose), key=len)
        found: set[int] = set()
        for by_recipient in self.recipients(recipient, declared=declared):
            if len(by_recipient) < len(small):
                found.update(by_recipient & by_data & by_purpose)
            else:
                found.update(small & large & by_recipient)
        return sorted(found)
