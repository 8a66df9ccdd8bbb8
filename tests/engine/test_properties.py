"""What holds of every policy: order, monotony, hierarchy, and a true explanation.

Each property walks random policies and flows (see asking.py). The reference interpreter only sorts
flows here; what is tested is the engine. Start reading at `test_order_is_irrelevant`.
"""

from __future__ import annotations

import copy
import random
from typing import TYPE_CHECKING

import pytest

from tests.engine.asking import (
    DECIDED,
    RANK,
    asked,
    compiled,
    ids,
    keeping,
    shown,
    shuffled,
    walk,
    with_default_ids,
    without,
)
from tests.engine.generator import (
    plain,
    random_except,
    random_forbid,
    random_permit,
    random_retention,
)
from tests.engine.oracle import reaches
from tests.engine.words import CLAUSES, FORMS, Plain

if TYPE_CHECKING:
    from collections.abc import Callable


# Order and repetition.


def test_order_is_irrelevant() -> None:
    """The order of rules, of lists and of keys changes neither answers nor the digest."""
    for rng, policy, flows in walk("order"):
        before = with_default_ids(policy)
        after = shuffled(rng, plain(before))
        first, second = compiled(before), compiled(after)
        assert first.digest == second.digest, shown(before)
        for flow in flows:
            assert asked(first, flow) == asked(second, shuffled(rng, flow)), shown(before, flow)


def test_saying_it_twice_is_irrelevant() -> None:
    """A rule written twice, under another id, changes no verdict, reason, clause or unmet fact."""
    for rng, policy, flows in walk("twice"):
        twins = [{**one, "id": f"{one['id']}-twin"} for one in policy["rules"]]
        after = {**policy, "rules": shuffled(rng, policy["rules"] + twins)}
        first, second = compiled(policy), compiled(after)
        for flow in flows:
            one, other = asked(first, flow), asked(second, flow)
            assert one._replace(rules=()) == other._replace(rules=()), shown(policy, flow)


def test_an_empty_policy_denies_all() -> None:
    """Without rules nothing is allowed, whatever is known."""
    for _, policy, flows in walk("empty"):
        snapshot = compiled({**policy, "rules": [], "retention": []})
        for flow in flows:
            assert asked(snapshot, flow).verdict == "deny", shown(policy, flow)


# More forbids, fewer permits.


def check_never_more(name: str, change: Callable[[random.Random, Plain], Plain | None]) -> None:
    """A change of the policy that may only take away: deny < conditional < allow."""
    changed = 0
    for rng, policy, flows in walk(name):
        after = change(rng, policy)
        if after is None:
            continue
        first, second = compiled(policy), compiled(after)
        for flow in flows:
            one, other = asked(first, flow), asked(second, flow)
            assert RANK[other.verdict] <= RANK[one.verdict], shown(after, flow)
            changed += one != other
    assert changed


def add_forbid(rng: random.Random, policy: Plain) -> Plain:
    added = {**random_forbid(rng, policy["pool"]), "id": "added"}
    return {**policy, "rules": [added, *policy["rules"]]}


def add_retention(rng: random.Random, policy: Plain) -> Plain:
    added = random_retention(rng, policy["pool"], 9)
    return {**policy, "retention": [*policy["retention"], added]}


def remove_permit(rng: random.Random, policy: Plain) -> Plain | None:
    permits = ids(policy, "permit")
    return without(policy, rng.choice(permits)) if permits else None


def name_only(rng: random.Random, policy: Plain) -> Plain:
    added = {"data": rng.choice(policy["pool"].data)}
    kept = [root for root in policy["named_only"] if root["data"] != added["data"]]
    return {**policy, "named_only": [*kept, added]}


def except_from(part: str) -> Callable[[random.Random, Plain], Plain | None]:
    """A change that takes more flows out of one permit (or one forbid)."""

    def change(rng: random.Random, policy: Plain) -> Plain | None:
        found = ids(policy, part)
        if not found:
            return None
        chosen, after = rng.choice(found), copy.deepcopy(plain(policy))
        for one in after["rules"]:
            if one["id"] == chosen:
                one["except"] = one.get("except", []) + random_except(rng, policy["pool"])
        return {**after, "pool": policy["pool"]}

    return change


# fmt: off
TAKING_AWAY = {
    "adding a forbid": add_forbid,
    "adding a retention": add_retention,
    "removing a permit": remove_permit,
    "adding a named_only root": name_only,
    "taking flows out of a permit": except_from("permit"),
}
# fmt: on


@pytest.mark.parametrize("change", TAKING_AWAY.values(), ids=TAKING_AWAY)
def test_taking_away_never_allows_more(
    change: Callable[[random.Random, Plain], Plain | None],
) -> None:
    """A policy that promises more or permits less allows no flow that was not allowed before."""
    check_never_more(change.__name__, change)


def test_taking_flows_out_of_a_forbid_never_allows_less() -> None:
    """An exception to a forbid may only turn an answer towards allow."""
    change = except_from("forbid")
    for rng, policy, flows in walk("except-forbid"):
        after = change(rng, policy)
        if after is None:
            continue
        first, second = compiled(policy), compiled(after)
        for flow in flows:
            one, other = asked(first, flow), asked(second, flow)
            assert RANK[other.verdict] >= RANK[one.verdict], shown(after, flow)


def test_a_permit_never_overturns_a_forbid() -> None:
    """What a forbid denies stays denied for the same rules, however much is permitted."""
    for rng, policy, flows in walk("overturn"):
        roots = [root["data"] for root in policy["named_only"]]
        added = {**random_permit(rng, policy["pool"], roots), "id": "added"}
        first = compiled(policy)
        second = compiled({**policy, "rules": [*policy["rules"], added]})
        for flow in flows:
            one = asked(first, flow)
            if one.reason == "forbidden":
                assert asked(second, flow) == one, shown(policy, flow)


# Terms above and below.


def test_a_forbid_holds_for_everything_below() -> None:
    """A forbid on data, or unconditionally on a purpose, is cited for every term below it."""
    for rng, policy, flows in walk("below"):
        snapshot = compiled(policy)
        firm = {one["id"]: one for one in policy["rules"] if "forbid" in one}
        firm = {name: one for name, one in firm.items() if "except" not in one}
        for flow in flows:
            said = asked(snapshot, flow)
            for name in said.rules if said.reason == "forbidden" else ():
                if name not in firm:
                    continue
                below = dict(flow)
                covers = firm[name]["forbid"]
                if reaches(covers.get("data", "any"), flow["data"]):
                    below["data"] += rng.choice([".zz", ".email", ".a.b.c"])
                if "when" not in firm[name] and reaches(
                    covers.get("purposes", "any"), flow["purpose"]
                ):
                    below["purpose"] += rng.choice([".zz", ".a.b"])
                deeper = asked(snapshot, below)
                assert deeper.reason == "forbidden", shown(policy, flow, below)
                assert name in deeper.rules, shown(policy, flow, below)


def test_a_permit_on_a_child_gives_its_parent_nothing() -> None:
    """Data above everything that permits name is never covered."""
    for _, policy, flows in walk("above"):
        permit = {"data": ["user.contact.email"], "purposes": "any", "to": "anyone"}
        rules = [{"id": "child", "permit": permit}]
        snapshot = compiled({**policy, "rules": rules, "retention": [], "named_only": []})
        for flow in flows:
            for parent in ("user", "user.contact"):
                above = asked(snapshot, {**flow, "data": parent})
                assert above.verdict == "deny", shown(policy, flow)
                assert above.rules == (), shown(policy, flow)


def test_a_less_identifying_form_is_never_treated_worse() -> None:
    """Adding forms to a flow never takes an allow away, unless an exception asks for a form."""
    for rng, policy, flows in walk("form"):
        rules = copy.deepcopy(policy["rules"])
        for one in (*rules, *copy.deepcopy(policy["retention"])):
            for entry in one.get("except", []):
                entry.pop("form", None)
            one["except"] = [entry for entry in one.get("except", []) if entry] or None
        rules = [{k: v for k, v in one.items() if v is not None} for one in rules]
        snapshot = compiled({**policy, "rules": rules, "retention": []})
        for flow in flows:
            form = [name for name in flow["form"] if name != "raw"]
            more = {**flow, "form": [*form, rng.choice(FORMS)]}
            one, other = asked(snapshot, flow), asked(snapshot, more)
            assert RANK[other.verdict] >= RANK[one.verdict], shown(policy, flow, more)


# Whether the explanation is true.


def test_the_cited_rules_alone_give_the_answer() -> None:
    """A policy of the cited rules alone gives the same verdict, and for the same reason."""
    for _, policy, flows in walk("cited"):
        snapshot = compiled(policy)
        for flow in flows:
            said = asked(snapshot, flow)
            alone = asked(compiled(keeping(policy, said.rules.__contains__)), flow)
            assert alone.verdict == said.verdict, shown(policy, flow)
            if said.reason in DECIDED:
                assert alone == said, shown(policy, flow)


def test_an_uncited_rule_does_not_matter() -> None:
    """Removing a rule that the answer doesn't cite changes nothing about a decided answer."""
    for rng, policy, flows in walk("uncited"):
        snapshot = compiled(policy)
        every = ids(policy, "permit", "forbid", "retention")
        for flow in flows:
            said = asked(snapshot, flow)
            uncited = [name for name in every if name not in said.rules]
            if uncited and said.reason in DECIDED:
                less = compiled(without(policy, rng.choice(uncited)))
                assert asked(less, flow) == said, shown(policy, flow)


def test_dropping_the_cited_forbids_changes_the_answer() -> None:
    """Without the forbids it cites, a flow is no longer forbidden; with one of them it still is."""
    for rng, policy, flows in walk("dropped"):
        snapshot = compiled(policy)
        for flow in flows:
            said = asked(snapshot, flow)
            if said.reason != "forbidden":
                continue
            assert asked(compiled(without(policy, *said.rules)), flow).reason != "forbidden"
            kept = rng.choice(said.rules)
            others = [name for name in said.rules if name != kept]
            one_left = asked(compiled(without(policy, *others)), flow)
            assert (one_left.reason, one_left.rules) == ("forbidden", (kept,)), shown(policy, flow)


def test_everything_cited_exists() -> None:
    """Cited rules and clauses stand in the policy, sorted and once; unmet facts only with doubt."""
    for _, policy, flows in walk("exists"):
        snapshot = compiled(policy)
        every = set(ids(policy, "permit", "forbid", "retention"))
        for flow in flows:
            said = asked(snapshot, flow)
            assert every.issuperset(said.rules), shown(policy, flow)
            assert set(CLAUSES).issuperset(said.clauses), shown(policy, flow)
            for part in (said.rules, said.clauses, said.unmet):
                assert list(part) == sorted(set(part)), shown(policy, flow)
            assert bool(said.unmet) == (said.reason in {"unmet", "unknown_facts"})
            assert bool(said.rules) == (said.reason in DECIDED), shown(policy, flow)
