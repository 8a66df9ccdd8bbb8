"""A reference interpreter of policies: slow, plain, and written apart from the engine.

Imports nothing of policyguard and keeps nothing between two questions. It reads a policy as plain
data (the shape of policy.yaml, lists written as lists) and answers one flow at a time. A condition
is True (holds), False (fails) or None (unknown). Start reading at `Oracle.decide`.
"""

from __future__ import annotations

import re
from datetime import date
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterable

Tree = tuple[str, Any, bool | None]  # (all, any or not; children; -) or (a fact; -; value)
Plain = dict[str, Any]

IMPLIED = {"anonymised": {"deidentified", "pseudonymised"}, "deidentified": {"pseudonymised"}}
EU = {*re.findall("..", "ATBEBGHRCYCZDKEEFIFRDEGRHUIEITLVLTLUMTNLPLPTROSKSIESSE"), "EU"}
EEA = EU | {"IS", "LI", "NO", "EEA"}
COUNTRIES = EEA | {"US", "CA", "GB", "CH", "BR", "JP"}
BUILT_IN_KINDS = {"self": "first_party", "subject": "data_subject"}
DURATION = re.compile(
    r"P(?=.)(\d+Y)?(\d+M)?(\d+W)?(\d+D)?(?:T(?=.)(\d+H)?(\d+M)?(\d+S)?)?", re.ASCII
)


class Answer(NamedTuple):
    """What the reference says about one flow; every part is sorted and without duplicates."""

    verdict: str
    reason: str
    rules: tuple[str, ...] = ()
    clauses: tuple[str, ...] = ()
    unmet: tuple[str, ...] = ()


# First days of the months of a whole 400-year cycle, and the fewest and most days of n months.
STARTS = [date(2000 + month // 12, month % 12 + 1, 1).toordinal() for month in range(4860)]
SPANS = [[STARTS[month + n] - STARTS[month] for month in range(4800)] for n in range(60)]
MONTHS = [(min(spans), max(spans)) for spans in SPANS]


def seconds(duration: object) -> tuple[int, int] | None:
    """The fewest and most seconds of an ISO 8601 duration; None for what is not one."""
    found = DURATION.fullmatch(duration) if isinstance(duration, str) else None
    if found is None:
        return None
    years, months, *rest = (int((part or "0-")[:-1]) for part in found.groups())
    few, most = MONTHS[12 * years + months]
    fixed = sum(n * unit for n, unit in zip(rest, (604800, 86400, 3600, 60, 1), strict=True))
    return few * 86400 + fixed, most * 86400 + fixed


def above(term: str, other: str) -> bool:
    return (other + ".").startswith(term + ".")


def related(term: str, other: str) -> bool:
    return above(term, other) or above(other, term)


def inside(place: object, group: str) -> bool | None:
    """Whether a place lies in a group; None when it only contains the group, or isn't known."""
    if not isinstance(place, str) or place.partition("-")[0] not in COUNTRIES:
        return None
    members = {"EU": EU, "EEA": EEA}
    if {place, place.partition("-")[0]} & members.get(group, {group}):
        return True
    return None if {group, group.partition("-")[0]} & members.get(place, {place}) else False


def any_of(values: Iterable[bool | None]) -> bool | None:
    return max(values, key=(False, None, True).index, default=False)


def opposite(value: bool | None) -> bool | None:
    return None if value is None else not value


def value_of(tree: Tree) -> bool | None:
    kind, children, value = tree
    if kind == "all":
        return opposite(any_of(opposite(value_of(child)) for child in children))
    if kind == "any":
        return any_of(value_of(child) for child in children)
    return opposite(value_of(children[0])) if kind == "not" else value


def blamed(tree: Tree, value: bool | None) -> set[str]:
    """The facts that make a tree have the value it has (its fault, its truth or its doubt)."""
    kind, children, _ = tree
    if kind not in {"all", "any", "not"}:
        return {kind}
    inner = opposite(value) if kind == "not" else value
    return {name for child in children if value_of(child) is inner for name in blamed(child, inner)}


def listed(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [] if value is None else [value]


class Oracle:
    """One policy and {"data": terms, "purposes": terms} that are built in, ready to be asked."""

    def __init__(self, policy: Plain, built_in: dict[str, frozenset[str]]) -> None:
        terms = policy.get("terms", {})
        self.data = {*built_in["data"], *terms.get("data", {})}
        self.purposes = {*built_in["purposes"], *terms.get("purposes", {})}
        self.roots = policy.get("named_only", [])
        self.recipients: dict[str, Plain] = {"self": {}, "subject": {}, **policy["recipients"]}
        self.permits = [rule for rule in policy.get("rules", []) if "permit" in rule]
        self.forbids = [rule for rule in policy.get("rules", []) if "forbid" in rule]
        for entry in policy.get("retention", []):
            name = entry.get("id", "retention:" + "+".join(entry["data"]))
            self.forbids.append({**entry, "id": name, "forbid": {"data": entry["data"]}})

    def decide(self, flow: Plain) -> Answer:
        """The answer to one flow: data, form (a list), purpose (or None), recipient, context."""
        if flow["purpose"] is None:
            return Answer("deny", "no_purpose")
        permits = [(r, self.status(r, flow)) for r in self.permits if self.covers(r, flow)]
        forbids = [(r, self.status(r, flow)) for r in self.forbids if self.covers(r, flow)]
        holding = [rule for rule, status in permits if status is True]
        unsure = [rule for rule, status in permits if status is None]
        doubts = [rule for rule, status in forbids if status is None]
        forbidding = [rule for rule, status in forbids if status is True]
        if forbidding:
            return self.judged("deny", "forbidden", forbidding, flow)
        if not (reaches(self.data, flow["data"]) and reaches(self.purposes, flow["purpose"])):
            return self.nearest("unknown_term", flow)
        if flow["recipient"] not in self.recipients:
            return self.nearest("unknown_recipient", flow)
        if not permits:
            return self.nearest("not_covered", flow)
        if not holding and not unsure:
            return self.judged("deny", "unmet", [rule for rule, _ in permits], flow)
        if holding and not doubts:
            lifted = [r for r, _ in forbids if "keep" in r and expired(r, flow)]
            return self.judged("allow", "permitted", holding + lifted, flow)
        return self.judged("conditional", "unknown_facts", (holding or unsure) + doubts, flow)

    def judged(self, verdict: str, reason: str, rules: list[Plain], flow: Plain) -> Answer:
        """An answer that these rules decided, and the facts to blame for a denial or a doubt."""
        clauses = {clause for rule in rules for clause in rule.get("cites", [])}
        unmet: set[str] = set()
        if reason in {"unmet", "unknown_facts"}:
            value = False if reason == "unmet" else None
            trees = [self.tree(rule.get("when", {}), flow) for rule in rules]
            unmet = set().union(*(blamed(t, value) for t in trees if value_of(t) is value))
        ids = {rule["id"] for rule in rules}
        return Answer(verdict, reason, *(tuple(sorted(part)) for part in (ids, clauses, unmet)))

    def nearest(self, reason: str, flow: Plain) -> Answer:
        """A denial that no rule decided: the clauses of the permits that came nearest."""
        counts = [self.agreements(rule, flow).count(False) for rule in self.permits]
        near = [r for r, count in zip(self.permits, counts, strict=True) if count == min(counts)]
        near += [root for root in self.roots if related(root["data"], flow["data"])]
        clauses = {clause for part in near for clause in part.get("cites", [])}
        return Answer("deny", reason, (), tuple(sorted(clauses)))

    def agreements(self, rule: Plain, flow: Plain) -> list[bool]:
        """Whether a permit agrees with the flow in data, form, purpose and recipient."""
        permit = rule["permit"]
        named = (names(permit["data"], root["data"], flow["data"]) for root in self.roots)
        return [
            reaches(permit["data"], flow["data"]) and all(named),
            carries(flow["form"], permit.get("form")),
            reaches(permit["purposes"], flow["purpose"]),
            self.selects(permit["to"], flow["recipient"], anyone=False) is True,
        ]

    def covers(self, rule: Plain, flow: Plain) -> bool:
        exceptions, permit = listed(rule.get("except")), "permit" in rule
        if any(self.matches(part, flow, wide=permit) for part in exceptions):
            return False
        forbid = rule.get("forbid", {})
        return all(self.agreements(rule, flow)) if permit else self.matches(forbid, flow, wide=True)

    def matches(self, part: Plain, flow: Plain, *, wide: bool) -> bool:
        """Whether a forbid or an exception means this flow; wide: or may mean it. Omitted: all."""
        place = self.selects(part.get("to"), flow["recipient"], anyone=wide)
        return (
            reaches(part.get("data", "any"), flow["data"], both_ways=wide)
            and reaches(part.get("purposes", "any"), flow["purpose"], both_ways=wide)
            and (place is True or (wide and place is None))
            and carries(flow["form"], part.get("form"))
        )

    def selects(self, to: Any, recipient: str, *, anyone: bool) -> bool | None:
        """Whether `to` (None: all) means this recipient; None when its place can't be told.

        With `anyone`, that word also reaches recipients that nobody declared.
        """
        if to in (None, "anyone"):
            return to is None or anyone or recipient in self.recipients
        declared = self.recipients.get(recipient, {})
        kind = BUILT_IN_KINDS.get(recipient, declared.get("kind"))
        place = declared.get("located")
        found: list[bool | None] = [recipient in to, {"kind": kind} in to]
        named = [entry for entry in to if isinstance(entry, dict)]
        found += [inside(place, one["located"]) for one in named if "located" in one]
        found += [opposite(inside(place, one["outside"])) for one in named if "outside" in one]
        return any_of(found)

    def status(self, rule: Plain, flow: Plain) -> bool | None:
        if "keep" in rule:
            legal = flow["context"].get("legal_request")
            known = {**mapping(flow["context"].get("facts")), "legal_request": legal}
            lifted = any(known.get(fact) is True for fact in rule.get("unless", []))
            return expired(rule, flow) and not lifted
        value = value_of(self.tree(rule.get("when", {}), flow))
        return False if value is None and rule.get("if_unknown") == "does_not_apply" else value

    def tree(self, when: Plain, flow: Plain) -> Tree:
        return ("all", [self.node(key, asked, flow) for key, asked in when.items()], None)

    def node(self, key: str, asked: Any, flow: Plain) -> Tree:
        """One key of a `when` with what the flow's facts make of it."""
        context = flow["context"]
        if key in {"all", "any", "not"}:
            return (key, [self.tree(part, flow) for part in listed(asked)], None)
        if key in {"consent", "opt_out"}:
            wanted = asked if isinstance(asked, dict) else {flow["purpose"]: asked}
            heard = mapping(context.get(key))
            leaves = [(p, same(self.says(key, p, heard), wanted[p])) for p in wanted]
            return ("all", [(f"{key}:{p}", None, value) for p, value in leaves], None)
        if key == "facts":
            heard = mapping(context.get(key))
            leaves = [(name, same(heard.get(name), asked[name])) for name in asked]
            return ("all", [(f"facts:{name}", None, value) for name, value in leaves], None)
        return (key, None, leaf(key, asked, context.get(key)))

    def says(self, key: str, purpose: str, answers: Plain) -> bool | None:
        """What consent or opt-out says about a purpose; the strict answer is the one that stops."""
        strict = key == "opt_out"
        heard = {p: a if isinstance(a, bool) else None for p, a in answers.items()}
        heard = {p: a for p, a in heard.items() if p in self.purposes}
        below = [a for p, a in heard.items() if p != purpose and above(purpose, p)]
        nearest = max((p for p in heard if above(p, purpose)), key=len, default=None)
        result = heard[nearest] if nearest is not None else None
        if strict in below or result is strict:
            return strict
        return None if None in below else result


def expired(retention: Plain, flow: Plain) -> bool:
    age, keep = seconds(flow["context"].get("data_age")), seconds(retention["keep"])
    return age is not None and keep is not None and age[0] > keep[1]


def mapping(value: object) -> Plain:
    return value if isinstance(value, dict) else {}


def same(value: object, asked: object) -> bool | None:
    return value is asked if isinstance(value, bool) else None


def leaf(key: str, asked: Any, value: Any) -> bool | None:
    if key == "age":
        limits = asked.items() if type(value) is int else []
        return all((value < n) is (how == "below") for how, n in limits) if limits else None
    if key == "region":
        return any_of(inside(value, group) for group in listed(asked))
    if key == "transport":
        return value in listed(asked) if value in ("https", "http", "local") else None
    if key == "data_age":
        age, limit = seconds(value), seconds(asked["above"]) or (0, 0)
        if age is None or (limit[0] < age[1] and age[0] <= limit[1]):
            return None
        return age[0] > limit[1]
    return same(value, asked)


def reaches(terms: Any, term: str, *, both_ways: bool = False) -> bool:
    """Whether a rule's terms equal or are above a flow's; with both_ways, or below it."""
    fits = related if both_ways else above
    return terms == "any" or any(fits(one, term) for one in terms)


def names(terms: Any, root: str, data: str) -> bool:
    """Whether a permit names a named_only root, so far as the root touches the flow's data."""
    if not related(root, data):
        return True
    terms = [] if terms == "any" else terms
    return root in terms or any(above(root, one) and above(one, data) for one in terms)


def carries(form: list[str], asked: Any) -> bool:
    """Whether a flow's form carries what is asked; no form is raw."""
    if asked is None:
        return True
    closed = {one for name in form or ["raw"] for one in {name} | IMPLIED.get(name, set())}
    if isinstance(asked, dict):
        wanted = next(iter(asked.values()))
        return closed.issuperset(wanted) if "all_of" in asked else not closed.isdisjoint(wanted)
    return closed.issuperset(listed(asked))
