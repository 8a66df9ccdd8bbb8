"""Which recipients claim a host together, found without comparing every pattern with every other.

Layer: policy. For the lint only. Start reading at `shared_claims`.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from typing import Final

from policyguard.policy.hosts import HostPattern

_MOST_SEGMENTS: Final = 32
"""Of a path that is compared; a longer one counts as its beginning."""

Claim = tuple[HostPattern, str]
_Paths = dict[tuple[str, ...], dict[str, None]]


def shared_claims(claims: Sequence[Claim]) -> Iterator[tuple[str, str, HostPattern]]:
    """Every two recipients with patterns that overlap (`HostPattern.overlaps`), once.

    Args:
        claims: patterns and the ids of their recipients.

    Yields:
        Both ids, sorted, and the pattern of the more exact host, hosts in order.

    Cost: O(patterns x labels x segments of a path) and the pairs that are taken.
    """
    index = _Index(claims)
    seen: set[tuple[str, str]] = set()
    for pattern, name in sorted(claims, key=lambda claim: claim[0].host):
        for rival in index.rivals(pattern):
            pair = (min(name, rival), max(name, rival))
            if name != rival and pair not in seen:
                seen.add(pair)
                yield *pair, pattern


class _Index:
    """Recipients by host, wildcard and path, and by everything that a path begins with."""

    def __init__(self, claims: Iterable[Claim]) -> None:
        self._at: dict[tuple[str, bool], _Paths] = defaultdict(lambda: defaultdict(dict))
        self._below: dict[tuple[str, bool], _Paths] = defaultdict(lambda: defaultdict(dict))
        for pattern, name in claims:
            place, path = (pattern.host, pattern.wildcard), pattern.path[:_MOST_SEGMENTS]
            self._at[place][path][name] = None
            for end in range(len(path)):
                self._below[place][path[:end]][name] = None

    def rivals(self, pattern: HostPattern) -> Iterator[str]:
        """Recipients with a pattern that overlaps this one, on its host or on one above."""
        path = pattern.path[:_MOST_SEGMENTS]
        for place in _places(pattern):
            at = self._at.get(place)
            if at is None:
                continue
            for end in range(len(path) + 1):
                yield from at.get(path[:end], ())
            yield from self._below.get(place, {}).get(path, ())


def _places(pattern: HostPattern) -> Iterator[tuple[str, bool]]:
    """Its own place, and every wildcard that stands for its host."""
    yield pattern.host, pattern.wildcard
    dot = pattern.host.find(".", 1)
    while dot >= 0:
        yield pattern.host[dot + 1 :], True
        dot = pattern.host.find(".", dot + 1)
