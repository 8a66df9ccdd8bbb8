"""Random policies and random flows for the property tests of the engine.

Everything comes from one seeded `random.Random`; nothing of policyguard is imported. A policy is
plain data in the shape of policy.yaml with lists written as lists; a flow is a dictionary of data,
form, purpose, recipient and context. Rules and flows draw from one small pool of terms per policy,
so that they meet. Start reading at `random_policy` and `random_flow`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from tests.engine.words import (
    AGES,
    CLAUSES,
    CONDITIONS,
    DATA_BRANCHES,
    DURATIONS,
    FORMS,
    OWN_DATA,
    OWN_FACTS,
    OWN_PURPOSES,
    PLACES,
    PURPOSE_BRANCHES,
    RECIPIENTS,
    STRANGERS,
    UNKNOWN_DATA,
    UNKNOWN_PURPOSES,
    WRONG,
    WRONG_ANSWERS,
    Plain,
    with_leaves,
)

if TYPE_CHECKING:
    import random
    from collections.abc import Iterator, Sequence


def chance(rng: random.Random, percent: float) -> bool:
    return rng.random() * 100 < percent


def some(rng: random.Random, items: Sequence[Any], most: int) -> list[Any]:
    """Between one and `most` different items, in random order."""
    return rng.sample(items, min(len(items), rng.randint(1, most)))


class Pool:
    """The terms and recipients that one policy and its flows draw from."""

    def __init__(self, rng: random.Random) -> None:
        branches = rng.sample(sorted(DATA_BRANCHES), 2)
        self.data = ["user", *with_leaves(DATA_BRANCHES, branches)]
        self.own_data = [term for term in OWN_DATA if chance(rng, 40)]
        self.data += self.own_data
        branches = rng.sample(sorted(PURPOSE_BRANCHES), 2)
        self.purposes = with_leaves(PURPOSE_BRANCHES, branches)
        self.own_purposes = [term for term in OWN_PURPOSES if chance(rng, 30)]
        self.purposes += self.own_purposes
        self.facts = [name for name in OWN_FACTS if chance(rng, 80)]
        names = rng.sample(sorted(RECIPIENTS), rng.randint(2, 6))
        self.recipients = {name: dict(RECIPIENTS[name]) for name in names}
        if chance(rng, 40):
            kind = "processor" if chance(rng, 20) else "first_party"  # the built-in kind counts
            self.recipients["self"] = {"kind": kind}
            if chance(rng, 60):
                self.recipients["self"]["located"] = rng.choice(PLACES)


# Conditions.


def random_when(rng: random.Random, pool: Pool, *, wish: bool, depth: int = 2) -> Plain:
    """A condition; with `wish` it tends to hold for the flows of this module."""
    what = rng.choice(["all", "any", "not"]) if depth and chance(rng, 22) else ""
    if what == "not":
        return {"not": random_when(rng, pool, wish=not wish, depth=depth - 1)}
    if what:
        parts = rng.randint(1, 3)
        return {what: [random_when(rng, pool, wish=wish, depth=depth - 1) for _ in range(parts)]}
    keys = some(rng, CONDITIONS, 2 if chance(rng, 25) else 1)
    keys = [key for key in keys if key != "facts" or pool.facts] or ["restricted"]
    return {key: random_leaf(rng, pool, key, wish=wish) for key in keys}


def random_leaf(rng: random.Random, pool: Pool, key: str, *, wish: bool) -> Any:
    tends = wish if chance(rng, 80) else not wish
    if key in {"consent", "opt_out"}:
        answer = tends if key == "consent" else not tends
        if chance(rng, 55):
            return answer
        answers = dict.fromkeys(some(rng, pool.purposes, 2), answer)
        answers[rng.choice(sorted(answers))] ^= chance(rng, 10)
        return answers
    if key in {"restricted", "legal_request"}:
        return not tends
    if key == "age":
        between = {"from": 13, "below": rng.choice([18, 91])}
        limit = {"from" if tends else "below": rng.choice([13, 16, 18, 21])}
        return between if chance(rng, 8) else limit
    if key == "region":
        places = some(rng, PLACES, 4 if tends else 2)
        return rng.choice(places) if chance(rng, 30) else places
    if key == "transport":
        safe = ["https", "local"] if tends else ["http"]
        return rng.choice(safe) if chance(rng, 50) else safe
    if key == "data_age":
        return {"above": rng.choice(["P1D", "P1M", "P30D"] if tends else DURATIONS)}
    return dict.fromkeys(some(rng, pool.facts, 2), tends)


# Rules.


def random_terms(rng: random.Random, terms: list[str], *, high: bool) -> list[str]:
    """Some terms of the pool; `high` prefers those near the root, which cover more."""
    found = set(some(rng, terms, 3))
    if high and chance(rng, 60):
        found.add(min(terms, key=lambda term: (term.count("."), rng.random())))
    return rng.sample(sorted(found), len(found))


def random_to(rng: random.Random, pool: Pool) -> list[Any]:
    return [random_selector(rng, pool) for _ in range(rng.choice([1, 1, 2, 3]))]


def random_selector(rng: random.Random, pool: Pool) -> Any:
    what = rng.random()
    if what < 0.45:
        return rng.choice([*pool.recipients, "self", "self", "subject"])
    if what < 0.75:
        kinds = [recipient["kind"] for recipient in pool.recipients.values()]
        return {"kind": rng.choice([*kinds, "first_party", "processor", "data_subject"])}
    return {"located" if what < 0.88 else "outside": rng.choice(PLACES)}


def random_form(rng: random.Random, forms: list[str]) -> Any:
    if chance(rng, 50):
        return rng.choice(forms)
    how = rng.choice(["any_of", "all_of"])
    return {how: some(rng, forms if how == "any_of" else FORMS, 3)}


def random_except(rng: random.Random, pool: Pool) -> list[Plain]:
    entries = []
    for _ in range(rng.choice([1, 1, 2])):
        entry: Plain = {}
        if chance(rng, 70):
            entry["data"] = "any" if chance(rng, 4) else some(rng, pool.data, 2)
        if chance(rng, 45):
            entry["purposes"] = "any" if chance(rng, 4) else some(rng, pool.purposes, 2)
        if chance(rng, 35):
            entry["to"] = "anyone" if chance(rng, 8) else random_to(rng, pool)
        if chance(rng, 15) or not entry:
            entry["form"] = random_form(rng, ["raw", *FORMS])
        entries.append(entry)
    return entries


def random_permit(rng: random.Random, pool: Pool, roots: list[str]) -> Plain:
    data: Any = "any" if chance(rng, 7) else random_terms(rng, pool.data, high=True)
    if roots and data != "any" and chance(rng, 75):
        data = [*data, *(root for root in roots if root not in data)]
    purposes: Any = "any" if chance(rng, 12) else random_terms(rng, pool.purposes, high=True)
    to: Any = "anyone" if chance(rng, 40) else random_to(rng, pool)
    rule: Plain = {"permit": {"data": data, "purposes": purposes, "to": to}}
    if chance(rng, 15):
        rule["permit"]["form"] = random_form(rng, FORMS)
    if chance(rng, 20):
        rule["except"] = random_except(rng, pool)
    if chance(rng, 50):
        rule["when"] = random_when(rng, pool, wish=True)
    return rule


def random_forbid(rng: random.Random, pool: Pool) -> Plain:
    forbid: Plain = {}
    if chance(rng, 75):
        high = chance(rng, 15)
        forbid["data"] = "any" if chance(rng, 5) else random_terms(rng, pool.data, high=high)
    if chance(rng, 50) or not forbid:
        high = chance(rng, 15)
        forbid["purposes"] = (
            "any" if chance(rng, 5) else random_terms(rng, pool.purposes, high=high)
        )
    if chance(rng, 50):
        forbid["to"] = "anyone" if chance(rng, 10) else random_to(rng, pool)
    if chance(rng, 12):
        forbid["form"] = "raw"
    rule: Plain = {"forbid": forbid}
    if chance(rng, 30):
        rule["except"] = random_except(rng, pool)
    if chance(rng, 80):
        rule["when"] = random_when(rng, pool, wish=False)
        if chance(rng, 35):
            rule["if_unknown"] = "does_not_apply"
    return rule


def random_retention(rng: random.Random, pool: Pool, index: int) -> Plain:
    entry: Plain = {
        "data": some(rng, pool.data, 2),
        "keep": rng.choice(DURATIONS),
        "since": "last_interaction",
    }
    if index:
        entry["id"] = f"keep-{index}"
    if chance(rng, 70):
        entry["unless"] = some(rng, ["legal_request", *pool.facts], 2)
    if chance(rng, 30):
        entry["except"] = random_except(rng, pool)
    return entry


def random_policy(rng: random.Random) -> Plain:
    """A valid policy of 0 to 9 rules over a small pool of terms.

    The pool travels under the key `pool`, which `plain` takes away before a policy is read.
    """
    pool = Pool(rng)
    roots = some(rng, pool.data[1:], 2) if chance(rng, 35) else []
    rules = [
        random_permit(rng, pool, roots) for _ in range(rng.choice([0, 1, 2, 3, 3, 4, 4, 5, 6]))
    ]
    rules += [random_forbid(rng, pool) for _ in range(rng.choice([0, 0, 0, 1, 1, 2, 3]))]
    rng.shuffle(rules)
    for index, rule in enumerate(rules):
        rule["id"] = f"r{index}"
    kept = range(rng.choice([0, 0, 0, 1, 2]))
    retention = [random_retention(rng, pool, index) for index in kept]
    named_only: list[Plain] = [{"data": root} for root in roots]
    for part in (*rules, *retention, *named_only):
        if chance(rng, 85):
            part["cites"] = some(rng, CLAUSES, 2)
    return {
        "policyguard": 1,
        "id": "random",
        "title": "Random",
        "version": "1",
        "taxonomy": "fideslang",
        "notice": {
            "title": "Random notice",
            "clauses": {clause: {"says": "a made-up clause"} for clause in CLAUSES},
        },
        "terms": {
            "data": dict.fromkeys(pool.own_data, "a term of this policy"),
            "purposes": dict.fromkeys(pool.own_purposes, "a term of this policy"),
            "facts": dict.fromkeys(pool.facts, "a fact of this policy"),
        },
        "named_only": named_only,
        "recipients": pool.recipients,
        "rules": rules,
        "retention": retention,
        "pool": pool,
    }


def plain(policy: Plain) -> Plain:
    """The policy as a file would have it: without the pool of its terms."""
    return {key: value for key, value in policy.items() if key != "pool"}


# Flows.


def near(rng: random.Random, terms: Sequence[str]) -> str:
    """A term at one of these, or sometimes just below or above."""
    term = rng.choice(terms)
    step = rng.random()
    if step < 0.12:
        return f"{term}.{rng.choice(['zz', 'zz.deep', 'email'])}"
    return term.rpartition(".")[0] or term if step > 0.94 else term


def at_or_below(rng: random.Random, asked: Any, terms: list[str]) -> str:
    """A term of the pool that a rule's terms cover, mostly."""
    if asked is None or asked == "any":
        return near(rng, terms)
    below = [term for term in terms if any((term + ".").startswith(one + ".") for one in asked)]
    return near(rng, below or terms)


def random_form_of_flow(rng: random.Random, asked: Any) -> list[str]:
    if asked is not None and asked != "raw" and chance(rng, 75):
        names = next(iter(asked.values())) if isinstance(asked, dict) else [asked]
        return sorted({*names, *(some(rng, FORMS, 1) if chance(rng, 20) else [])})
    if chance(rng, 70):
        return ["raw"] if chance(rng, 10) else []
    return some(rng, FORMS, 2)


def random_recipient(rng: random.Random, pool: Pool, asked: Any) -> str:
    if isinstance(asked, list) and chance(rng, 70):
        one = rng.choice(asked)
        if isinstance(one, str):
            return one
        fits = [name for name, kept in pool.recipients.items() if kept["kind"] == one.get("kind")]
        if fits:
            return rng.choice(fits)
    return rng.choice([*pool.recipients, "self", "subject"])


def random_flow(rng: random.Random, policy: Plain) -> Plain:
    """A flow that one of the policy's rules probably covers, with what is known about it."""
    pool: Pool = policy["pool"]
    rules = [*policy["rules"], *policy["retention"]]
    permits = [rule for rule in rules if "permit" in rule]
    rule = rng.choice(permits if permits and chance(rng, 75) else rules) if rules else {}
    aim = rule.get("permit") or rule.get("forbid") or rule
    flow: Plain = {
        "data": at_or_below(rng, aim.get("data"), pool.data),
        "form": random_form_of_flow(rng, aim.get("form")),
        "purpose": at_or_below(rng, aim.get("purposes"), pool.purposes),
        "recipient": random_recipient(rng, pool, aim.get("to")),
    }
    if chance(rng, 2):
        flow["data"] = rng.choice(UNKNOWN_DATA)
    if chance(rng, 2):
        flow["purpose"] = rng.choice([*UNKNOWN_PURPOSES, None])
    if chance(rng, 3):
        flow["recipient"] = rng.choice(STRANGERS)
    return {**flow, "context": random_context(rng, pool, flow["purpose"])}


def random_context(rng: random.Random, pool: Pool, purpose: str | None) -> Plain:
    """Facts that tend to please a permit; some absent, a few of a wrong type or undeclared."""
    known = rng.choice([35, 65, 85, 95])
    context: Plain = {}
    for key in CONDITIONS:
        if chance(rng, known):
            wrong = chance(rng, 4)
            context[key] = rng.choice(WRONG[key]) if wrong else random_fact(rng, pool, key, purpose)
    return context


def random_fact(rng: random.Random, pool: Pool, key: str, purpose: str | None) -> Any:
    if key in {"consent", "opt_out"}:
        return random_answers(rng, pool, purpose, pleasing=key == "consent")
    if key in {"restricted", "legal_request"}:
        return chance(rng, 15)
    if key == "age":
        return rng.choice([3, 12, 13, 15, 16, 17, 18, 20, 21, 22, 40, 90, 90, 90])
    if key == "region":
        return rng.choice(PLACES)
    if key == "transport":
        return rng.choice(["https", "https", "local", "http"])
    if key == "data_age":
        return rng.choice(AGES)
    names = [*pool.facts, "undeclared_fact", "legal_request"]
    answers = {name: chance(rng, 75) for name in names if chance(rng, 85)}
    return {n: rng.choice(WRONG_ANSWERS) if chance(rng, 4) else a for n, a in answers.items()}


def random_answers(rng: random.Random, pool: Pool, purpose: str | None, *, pleasing: bool) -> Plain:
    """Answers for purposes at, above, below and beside the flow's, and for undeclared ones."""
    asked = purpose or "marketing"
    parts = asked.split(".")
    line = [".".join(parts[:n]) for n in range(1, len(parts) + 1)]
    names = some(rng, [*line, *line, *pool.purposes], 4)
    names += [f"{asked}.undeclared", "alien.use"] if chance(rng, 10) else []
    answers: Plain = {}
    for name in names:
        answer = pleasing if chance(rng, 85) else not pleasing
        answers[name] = rng.choice(WRONG_ANSWERS) if chance(rng, 4) else answer
    return answers


def learn(context: Plain, key: str, name: str, value: Any) -> None:
    """Write one fact, for a purpose or name or none, into a context."""
    if not name:
        context[key] = value
    else:
        known = context.get(key)
        context[key] = {**(known if isinstance(known, dict) else {}), name: value}


def pairs(rng: random.Random, policies: int, flows: int) -> Iterator[tuple[Plain, list[Plain]]]:
    """So many policies, each with so many flows."""
    for _ in range(policies):
        policy = random_policy(rng)
        yield policy, [random_flow(rng, policy) for _ in range(flows)]
