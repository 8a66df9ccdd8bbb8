"""Learning a fact never overturns an allow or a deny: every completion is tried.

`if_unknown`, retention and answers for another purpose are left out, as the language says.
"""

from __future__ import annotations

import copy
import itertools
from typing import TYPE_CHECKING, Any

from tests.engine.asking import FLOWS_WANTED, asked, compiled, shown, walk
from tests.engine.generator import learn, plain
from tests.engine.oracle import Oracle, inside
from tests.engine.words import BUILT_IN, Plain

if TYPE_CHECKING:
    from collections.abc import Iterator


def leaves(when: Plain) -> Iterator[tuple[str, Any]]:
    """The conditions of a `when`, without all, any and not."""
    for key, value in when.items():
        if key in {"all", "any", "not"}:
            for part in value if isinstance(value, list) else [value]:
                yield from leaves(part)
        else:
            yield key, value


Step = tuple[str, str, Any]
"""A fact learned: its key, the purpose or name it is for (or ""), and what is now known."""


def asked_about(policy: Plain, purpose: str) -> set[tuple[str, str]]:
    """The (key, purpose or name) of every fact that some condition asks about."""
    found: set[tuple[str, str]] = set()
    for one in policy["rules"]:
        for key, value in leaves(one.get("when", {})):
            if isinstance(value, bool) and key in {"consent", "opt_out"}:
                found.add((key, purpose))
            elif key in {"consent", "opt_out", "facts"}:
                found.update((key, name) for name in value)
            else:
                found.add((key, ""))
    return found


def choices(oracle: Oracle, key: str, name: str, context: Plain) -> list[Any]:
    """What an unknown fact may turn out to be, as far as conditions can tell values apart."""
    known = context.get(key)
    inner = known.get(name) if isinstance(known, dict) else None
    if key in {"consent", "opt_out"}:
        said = oracle.says(key, name, known if isinstance(known, dict) else {})
        return [True, False] if said is None else []
    if key == "facts":
        return [] if isinstance(inner, bool) else [True, False]
    if key == "age":
        return [] if type(known) is int else [12, 13, 15, 16, 17, 18, 20, 21]
    if key == "region":
        places = ["EU", "US", "US-CA", "US-NY", "DE", "DE-BY", "FR", "NO", "GB", "CH", "JP"]
        whole = inside(known, "EU") is None and inside(known, "US") is None
        narrower = [one for one in places if whole or inside(one, str(known))]
        return [one for one in narrower if one != known]
    if key == "transport":
        return [] if known in ("https", "http", "local") else ["https", "http", "local"]
    if key == "data_age":
        spans = ["PT1H", "P1D", "P29D", "P1M", "P60D", "P7M", "P366D", "P3Y"]
        return [] if isinstance(known, str) and known[:1] == "P" and known[1:].strip("T") else spans
    return [] if isinstance(known, bool) else [True, False]


def completions(oracle: Oracle, policy: Plain, flow: Plain) -> Iterator[Plain]:
    """The flow with every choice of its unknown facts, learned or left; none if too many."""
    slots: list[list[Step | None]] = []
    asks = sorted(asked_about(policy, flow["purpose"]))
    size = 1
    for key, name in asks:
        steps: list[Step | None] = [
            (key, name, v) for v in choices(oracle, key, name, flow["context"])
        ]
        slots.append([None, *steps])
        size *= len(slots[-1])
    for learned in itertools.product(*slots) if size <= 600 else ():
        context = copy.deepcopy(flow["context"])
        for step in filter(None, learned):
            learn(context, *step)
        if all(answers_kept(oracle, ask, flow["context"], context) for ask in asks):
            yield {**flow, "context": context}


def answers_kept(oracle: Oracle, ask: tuple[str, str], before: Plain, after: Plain) -> bool:
    """Whether a known answer stays: one for another purpose may change it, which completes none."""
    key, name = ask
    if key not in {"consent", "opt_out"}:
        return True
    said = [
        oracle.says(key, name, context[key] if isinstance(context.get(key), dict) else {})
        for context in (before, after)
    ]
    return said[0] is None or said[0] is said[1]


def test_allow_and_deny_stay_whatever_is_learned() -> None:
    """Filling in unknown facts only turns conditional into something else."""
    tried = 0
    for _, policy, flows in walk("information"):
        rules = [{k: v for k, v in one.items() if k != "if_unknown"} for one in policy["rules"]]
        policy = {**policy, "rules": rules, "retention": []}  # noqa: PLW2901 # the one meant here
        oracle, snapshot = Oracle(plain(policy), BUILT_IN), compiled(policy)
        for flow in flows[:4]:
            if flow["purpose"] is None:
                continue
            said = asked(snapshot, flow)
            for more in completions(oracle, policy, flow) if said.verdict != "conditional" else ():
                tried += 1
                assert asked(snapshot, more).verdict == said.verdict, shown(policy, flow, more)
    assert tried > FLOWS_WANTED
