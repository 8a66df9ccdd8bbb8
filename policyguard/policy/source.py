"""One file of a policy, between its text and the whole.

Layer: policy. Start reading at `Source`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from policyguard.policy.loader import Document
from policyguard.policy.rules import Policy


@dataclass(frozen=True, slots=True)
class Source:
    """One file of a policy: its document, and the model of what could be used of it.

    Attributes:
        document: the tree with places and the problems found so far.
        model: the structure; parts with problems are left out.
        index: for each list section, the original index of each kept item.
        broken: names (recipients, clauses, ids) of parts that were left out.
    """

    document: Document
    model: Policy
    index: Mapping[str, Sequence[int]]
    broken: frozenset[str]

    def path(self, section: str, index: int) -> tuple[str, int]:
        """The path of a kept item in the file."""
        return section, self.index[section][index]
