"""What the property tests of the engine share: asking it, and changing policies.

`POLICYGUARD_PROPERTY` sets how many random flows a property walks (default 4,000; nightly 100,000)
and `POLICYGUARD_SEED` where the random numbers start. Start reading at `walk`.
"""

from __future__ import annotations

import json
import os
import random
from typing import TYPE_CHECKING, Any

from policyguard.engine.compile import Snapshot, compile_policy
from policyguard.policy.assemble import policy_from_dict
from policyguard.policy.flow import Facts, close_form
from tests.engine.generator import pairs, plain
from tests.engine.oracle import Answer
from tests.engine.words import Plain

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

FLOWS_WANTED = int(os.environ.get("POLICYGUARD_PROPERTY", "4000"))
SEED = os.environ.get("POLICYGUARD_SEED", "2024-11-11")
FLOWS = 20
RANK = {"deny": 0, "conditional": 1, "allow": 2}
DECIDED = {"forbidden", "unmet", "unknown_facts", "permitted"}
"""The reasons of answers that rules decided."""


def asked(snapshot: Snapshot, flow: Plain) -> Answer:
    """The engine's answer in the reference's shape."""
    said = snapshot.decide(
        flow["data"],
        close_form(flow["form"]),
        flow["purpose"],
        flow["recipient"],
        Facts(flow["context"]),
    )
    return Answer(said.verdict, said.reason, *map(tuple, (said.rules, said.clauses, said.unmet)))


def compiled(policy: Plain) -> Snapshot:
    return compile_policy(policy_from_dict(plain(policy)))


def walk(name: str) -> Iterator[tuple[random.Random, Plain, list[Plain]]]:
    """Random policies with their flows, and the random numbers to change them with."""
    rng = random.Random(f"{SEED}-{name}")
    for policy, flows in pairs(rng, FLOWS_WANTED // FLOWS, FLOWS):
        yield rng, policy, flows


def shown(policy: Plain, *flows: Plain) -> str:
    """What a failure prints: everything needed to ask again."""
    return json.dumps({"seed": SEED, "policy": plain(policy), "flows": flows})


def without(policy: Plain, *ids: str) -> Plain:
    """The policy without these rules and retentions."""
    return keeping(policy, lambda name: name not in ids)


def keeping(policy: Plain, wanted: Callable[[str], bool]) -> Plain:
    rules = [one for one in policy["rules"] if wanted(one["id"])]
    retention = [one for one in policy["retention"] if wanted(retention_id(one))]
    return {**policy, "rules": rules, "retention": retention}


def retention_id(entry: Plain) -> str:
    return str(entry.get("id", "retention:" + "+".join(entry["data"])))


def ids(policy: Plain, *parts: str) -> list[str]:
    """The ids of permits, forbids or retentions."""
    found = [one["id"] for one in policy["rules"] if any(part in one for part in parts)]
    return found + [retention_id(one) for one in policy["retention"] if "retention" in parts]


def shuffled(rng: random.Random, tree: Any) -> Any:
    """The same tree with its keys and lists in another order."""
    if isinstance(tree, dict):
        return {key: shuffled(rng, tree[key]) for key in rng.sample(sorted(tree), len(tree))}
    if isinstance(tree, list):
        return [shuffled(rng, part) for part in rng.sample(tree, len(tree))]
    return tree


def with_default_ids(policy: Plain) -> Plain:
    """The policy with ids for its retentions, whose default ids follow the order of data."""
    written = [{**entry, "id": f"kept-{n}"} for n, entry in enumerate(policy["retention"])]
    return {**policy, "retention": written}
