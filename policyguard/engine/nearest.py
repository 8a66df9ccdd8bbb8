"""What comes nearest to a denied flow: the clauses it is measured by.

Layer: engine. Start reading at `nearest_clauses`.
"""

from __future__ import annotations

from collections.abc import Iterable

from policyguard.engine.covers import Compiled
from policyguard.engine.decide import Context
from policyguard.policy.flow import Flow


def nearest_clauses(context: Context, flow: Flow) -> tuple[str, ...]:
    """Clauses of the permits that disagree with the flow least, and of `named_only` roots.

    A permit disagrees in data (or by not naming a root), form, purpose and recipient; conditions
    and exceptions don't count. Cost: O(permits) at worst, on demand only.
    """
    found = {clause for rule in nearest_permits(context, flow) for clause in rule.cites}
    for _, cites in context.roots(flow.data):
        found.update(cites)
    return tuple(sorted(found))


def nearest_permits(context: Context, flow: Flow) -> list[Compiled]:
    """The permits that disagree with the flow in the fewest dimensions."""
    index = context.permits
    declared = flow.recipient in context.recipients
    by_data = index.data(flow.data) if flow.data else frozenset()
    by_purpose = index.purpose(flow.purpose) if flow.purpose else frozenset()
    by_recipient = frozenset().union(*index.recipients(flow.recipient, declared=declared))
    roots = [root for root, _ in context.roots(flow.data)]

    def distance(number: int) -> int:
        rule = context.rules[number]
        data = number in by_data and all(rule.names(root, flow.data) for root in roots)
        agreed = (data, number in by_purpose, number in by_recipient, rule.ask.met(flow.form))
        return agreed.count(False)

    # A permit outside these misses in two of three at least, so it can't be nearer than 2.
    near = (by_data & by_purpose) | (by_data & by_recipient) | (by_purpose & by_recipient)
    best, closest = _closest((number, distance(number)) for number in near)
    if best > 1:
        permits = (n for n, rule in enumerate(context.rules) if rule.effect == "permit")
        best, closest = _closest((number, distance(number)) for number in permits)
    return [context.rules[number] for number in sorted(closest)]


def _closest(distances: Iterable[tuple[int, int]]) -> tuple[int, list[int]]:
    best, closest = 5, []
    for number, distance in distances:
        if distance < best:
            best, closest = distance, [number]
        elif distance == best:
            closest.append(number)
    return best, closest
