"""The engine against the reference interpreter, on random policies and flows.

`POLICYGUARD_PAIRS` sets how many (policy, flow) pairs are compared (default 100,000; nightly
1,000,000) and `POLICYGUARD_SEED` where the random numbers start. A mismatch is cut down to a
minimal policy and flow before it is shown.
"""

from __future__ import annotations

import json
import os
import random
from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import pytest

from policyguard.engine.compile import compile_policy
from policyguard.errors import PolicyError
from policyguard.policy.assemble import policy_from_dict
from tests.engine.asking import SEED, asked
from tests.engine.generator import pairs, plain
from tests.engine.oracle import MONTHS, Answer, Oracle, inside, seconds
from tests.engine.words import BUILT_IN, CONDITIONS, Plain

if TYPE_CHECKING:
    from collections.abc import Iterator

PAIRS = int(os.environ.get("POLICYGUARD_PAIRS", "100000"))
FLOWS = 40
"""Flows per policy: enough to meet its rules, few enough for many policies."""


@dataclass
class Tally:
    """What one run saw."""

    pairs: int = 0
    touched: int = 0
    verdicts: Counter[str] = field(default_factory=Counter)
    reasons: Counter[str] = field(default_factory=Counter)
    conditions: Counter[str] = field(default_factory=Counter)
    mismatches: list[tuple[int, Plain, Plain]] = field(default_factory=list)


def kinds(when: Plain) -> Iterator[str]:
    """The kinds of condition in a `when`."""
    for key, value in when.items():
        yield key
        for part in value if key in {"all", "any"} else [value] if key == "not" else []:
            yield from kinds(part)


@pytest.fixture(scope="module")
def tally() -> Tally:
    """One walk through all pairs, which the tests below look at."""
    seen = Tally()
    for number, (policy, flows) in enumerate(pairs(random.Random(SEED), PAIRS // FLOWS, FLOWS)):
        walk(seen, number, policy, flows)
    return seen


def walk(seen: Tally, number: int, policy: Plain, flows: list[Plain]) -> None:
    oracle = Oracle(plain(policy), BUILT_IN)
    snapshot = compile_policy(policy_from_dict(plain(policy)))
    whens = {rule["id"]: list(kinds(rule.get("when", {}))) for rule in policy["rules"]}
    every = [*oracle.permits, *oracle.forbids]
    for flow in flows:
        expected = oracle.decide(flow)
        if asked(snapshot, flow) != expected:
            seen.mismatches.append((number, plain(policy), flow))
        seen.pairs += 1
        seen.verdicts[expected.verdict] += 1
        seen.reasons[expected.reason] += 1
        seen.conditions.update(kind for rule in expected.rules for kind in whens.get(rule, ()))
        if expected.rules or (flow["purpose"] and any(oracle.covers(r, flow) for r in every)):
            seen.touched += 1


# Cutting a mismatch down.


def smaller(tree: Any) -> Iterator[Any]:
    """Every copy of a tree that lacks one part."""
    parts = list(tree.items() if isinstance(tree, dict) else enumerate(tree))
    rebuilt: Any
    for key, value in parts:
        rebuilt = [(k, v) for k, v in parts if k != key]
        yield dict(rebuilt) if isinstance(tree, dict) else [v for _, v in rebuilt]
        if isinstance(value, dict | list):
            for less in smaller(value):
                rebuilt = [(k, less if k == key else v) for k, v in parts]
                yield dict(rebuilt) if isinstance(tree, dict) else [v for _, v in rebuilt]


def differ(case: Plain) -> tuple[Answer, Answer] | None:
    """What the reference and the engine say, if they differ; None too if the case is no case."""
    try:
        snapshot = compile_policy(policy_from_dict(case["policy"]))
        engine = asked(snapshot, case["flow"])
        reference = Oracle(case["policy"], BUILT_IN).decide(case["flow"])
    except (PolicyError, KeyError, TypeError, AttributeError, StopIteration, ValueError):
        return None  # Cut too far: what is left is no policy or no flow.
    return None if engine == reference else (reference, engine)


def minimal(policy: Plain, flow: Plain) -> str:
    """The smallest policy and flow found that still differ, with both answers."""
    case: Plain = {"policy": policy, "flow": flow}
    shrinking = True
    while shrinking:
        found = next((less for less in smaller(case) if differ(less)), None)
        shrinking = found is not None
        case = found or case
    return f"{json.dumps(case, indent=1)}\nreference and engine: {differ(case)}"


# The tests.


def test_the_engine_agrees_with_the_reference(tally: Tally) -> None:
    """Verdict, reason, rules, clauses and unmet facts equal the reference's on every pair."""
    if tally.mismatches:
        number, policy, flow = tally.mismatches[0]
        pytest.fail(
            f"{len(tally.mismatches)} of {tally.pairs} differ; POLICYGUARD_SEED={SEED}, first in"
            f" policy {number}:\n{minimal(policy, flow)}",
        )


def test_the_pairs_are_worth_comparing(tally: Tally) -> None:
    """Allow, deny and conditional, rules and every kind of condition are met often enough."""
    share = {verdict: count / tally.pairs for verdict, count in tally.verdicts.items()}
    assert share["allow"] >= 0.3
    assert share["deny"] >= 0.3
    assert share["conditional"] >= 0.1
    assert tally.touched / tally.pairs >= 0.8
    needed = min(1000, PAIRS // 100)
    rare = {key: tally.conditions[key] for key in (*CONDITIONS, "all", "any", "not")}
    assert {key: count for key, count in rare.items() if count < needed} == {}
    assert set(tally.reasons) == {
        "no_purpose",
        "forbidden",
        "unknown_term",
        "unknown_recipient",
        "not_covered",
        "unmet",
        "unknown_facts",
        "permitted",
    }


def test_the_cutter_finds_the_part_that_matters() -> None:
    """Every copy that lacks one part is offered, at any depth."""
    assert list(smaller({"a": [1, 2]})) == [{}, {"a": [2]}, {"a": [1]}]


# What the reference must get right by itself, worked out by hand.

# fmt: off
MOST_DAYS = {
    1: (28, 31), 2: (59, 62), 3: (89, 92), 6: (181, 184), 12: (365, 366), 24: (730, 731),
    48: (1460, 1461),  # 2097 to 2101 has no leap day
}
PLACES = {
    ("DE", "EU"): True, ("NO", "EU"): False, ("NO", "EEA"): True, ("EU", "EEA"): True,
    ("EEA", "EU"): None, ("EU", "DE"): None, ("EEA", "DE-BY"): None, ("US", "US-CA"): None,
    ("US-CA", "US"): True, ("US-CA", "US-NY"): False, ("DE-BY", "EU"): True, ("EE", "EEA"): True,
    ("US", "EU"): False, ("Atlantis", "EU"): None, (None, "EU"): None, ("", "EU"): None,
}
# fmt: on


def test_the_reference_counts_days_over_all_calendar_starts() -> None:
    """N months last as few and as many days as any start in the calendar gives."""
    assert {months: MONTHS[months] for months in MOST_DAYS} == MOST_DAYS
    assert seconds("P1DT1H") == (90000, 90000)
    assert [seconds(wrong) for wrong in ("P", "PT", "6 months", "", 7, None)] == [None] * 6


def test_the_reference_knows_which_place_lies_in_which() -> None:
    """A place inside a group is in it; a group that only contains the place can't tell."""
    assert {pair: inside(*pair) for pair in PLACES} == PLACES
