"""What is legal in a policy but surely not meant: warnings, each with its place.

Layer: policy. The rules themselves are looked at in `policyguard.policy.lint_rules`. Start reading
at `lint`.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from itertools import islice
from typing import Final

from policyguard.errors import Problem
from policyguard.policy.datamap import DataMap
from policyguard.policy.hostclaims import shared_claims
from policyguard.policy.hosts import parse_host_pattern
from policyguard.policy.lint_rules import check_rules, warning
from policyguard.policy.loader import printable
from policyguard.policy.overlap import Roots
from policyguard.policy.regions import place_in
from policyguard.policy.rules import ANY, ANYONE, Cover, Permit, Policy, Recipient, Selector
from policyguard.policy.taxonomy import built_in
from policyguard.policy.terms import BUILT_IN_RECIPIENTS

# A template's blanks: `[Your Company Address]`, `<name>`, `{{date}}`, TODO. `${VAR}` and `{x}` are
# text as any other.
_BLANK: Final = re.compile(
    r"\[\s*(?:your|insert|enter|company|name|date|e-?mail|address|todo|tbd|placeholder|xx)\b[^\[\]]{0,80}\]"
    r"|<\s{0,9}[a-z][^<>\n]{0,60}>|\{\{[^{}\n]*\}\}|\b(?:todo|tbd|fixme)\b|lorem ipsum",
    re.IGNORECASE,
)
_SHOWN: Final = 3
_MOST_PAIRS: Final = 200
_MOST_REACHED: Final = 5_000_000
_MOST_SELECTORS: Final = 256


def lint(policy: Policy, data_map: DataMap | None = None) -> list[Problem]:
    """Every warning about a policy, and about a data map that goes with it.

    Args:
        policy: a loaded policy.
        data_map: its data map, for labelled columns that no permit reaches.

    Returns:
        Warnings, sorted by place. Each one is true; a policy without any is not thereby right.

    Cost: O(rules) but for close relatives, see `check_rules`.
    """
    found = [
        *check_rules(policy),
        *_recipients(policy),
        *_clauses(policy),
        *_blanks(policy),
        *_own_terms(policy),
        *(_unreached(policy, data_map) if data_map is not None else ()),
    ]
    return sorted(found)


def _recipients(policy: Policy) -> Iterator[Problem]:
    mentioned = _Mentioned(policy)
    for name, who in policy.recipients.items():
        part = f"recipients {name}"
        kind = BUILT_IN_RECIPIENTS.get(name)
        if kind is not None and who.kind != kind:
            message = f"`{name}` is built in and stays a `{kind}`"
            yield warning(policy, part, "PG313", message, "give the other recipient its own id")
        if kind is None and not mentioned.holds(name, who):
            message = f"no rule mentions recipient `{name}`"
            yield warning(policy, part, "PG305", message, "permit something to it, or remove it")
        if who.contract is not None:
            message = f"the contract with `{name}` has an end that nothing here watches"
            yield warning(policy, part, "PG317", message, "put the date into a calendar")
    yield from _shared_hosts(policy)


def _covers(policy: Policy) -> Iterator[Permit | Cover]:
    for rule in policy.rules:
        yield rule.cover
        yield from rule.excepts
    for kept in policy.retention:
        yield from kept.excepts


class _Mentioned:
    """Whom the rules and exceptions are about: ids, and selectors without repetition."""

    def __init__(self, policy: Policy) -> None:
        self._ids: set[str] = set()
        self._selectors: dict[Selector, None] = {}
        for cover in _covers(policy):
            for target in cover.to or ():
                if isinstance(target, str):
                    self._ids.add(target)
                elif len(self._selectors) < _MOST_SELECTORS:
                    self._selectors[target] = None
        # A warning must be true: with too many selectors to look at, everybody may be meant.
        self._all = ANYONE[0] in self._ids or len(self._selectors) >= _MOST_SELECTORS
        self._memo: dict[tuple[str, str | None], bool] = {}

    def holds(self, name: str, who: Recipient) -> bool:
        """Whether a rule may be about this recipient."""
        if self._all or name in self._ids:
            return True
        key = who.kind, who.located
        if key not in self._memo:
            self._memo[key] = any(_selects(target, who) for target in self._selectors)
        return self._memo[key]


def _selects(target: Selector, who: Recipient) -> bool:
    if target.kind is not None:
        return target.kind == who.kind
    inside = place_in(who.located or "", target.located or target.outside or "")
    return inside is None or inside is (target.located is not None)


def _shared_hosts(policy: Policy) -> Iterator[Problem]:
    """Two recipients that claim one host: the stricter verdict counts, which surprises."""
    claims = [
        (parse_host_pattern(text), name)
        for name, who in policy.recipients.items()
        for text in who.hosts
    ]
    for one, rival, pattern in islice(shared_claims(claims), _MOST_PAIRS):
        message = f"`{one}` and `{rival}` both claim `{pattern}`"
        hint = "give each its own hosts or paths; until then the stricter verdict counts"
        yield warning(policy, f"recipients {rival}", "PG312", message, hint)


def _clauses(policy: Policy) -> Iterator[Problem]:
    clauses = policy.notice.clauses
    cited = {clause for _, clause in policy.all_cites()}
    for name, clause in clauses.items():
        if name not in cited and clause.unenforced is None:
            message = f"nothing cites clause `{name}`"
            hint = "cite it, or say under `unenforced` why no rule stands for it"
            yield warning(policy, f"clauses {name}", "PG306", message, hint)
    if not clauses:
        message = "the policy names no published text: `notice` has no clauses"
        hint = "list the clauses that the rules stand for"
        yield warning(policy, "policy notice", "PG307", message, hint)
        return
    silent = [rule.id for rule in policy.rules if not rule.cites]
    silent += [kept.id for kept in policy.retention if not kept.cites]
    if silent:
        message = f"{len(silent)} of the rules cite no clause: {_some(silent)}"
        yield warning(policy, silent[0], "PG307", message, "add `cites`")
    bare = [name for name, clause in clauses.items() if clause.sha256 is None]
    if bare:
        message = f"{len(bare)} of the clauses have no digest: {_some(bare)}"
        hint = "add `sha256`, so that a changed text is noticed"
        yield warning(policy, f"clauses {bare[0]}", "PG308", message, hint)


def _some(names: Iterable[str]) -> str:
    listed = list(names)
    more = ", ..." if len(listed) > _SHOWN else ""
    return ", ".join(f"`{name}`" for name in listed[:_SHOWN]) + more


def _blanks(policy: Policy) -> Iterator[Problem]:
    for part, text in _texts(policy):
        if found := _BLANK.search(text):
            message = f"a placeholder is left: `{printable(found.group(), 60)}`"
            yield warning(policy, part, "PG310", message, "fill it in")


def _texts(policy: Policy) -> Iterator[tuple[str, str]]:
    """Every free text, with the part it belongs to."""
    yield "policy title", policy.title
    yield "policy title", policy.version
    notice = policy.notice
    yield from (("policy notice", text) for text in (notice.title, notice.source or ""))
    for name, clause in notice.clauses.items():
        yield f"clauses {name}", clause.says
        yield f"clauses {name}", clause.unenforced or ""
    for kind in ("data", "purposes", "facts"):
        for term, says in getattr(policy.terms, kind).items():
            yield f"{kind} {term}", says


def _own_terms(policy: Policy) -> Iterator[Problem]:
    """Built-in terms that the policy gives another meaning; the loader lets them pass."""
    shipped = built_in()
    for kind, own, known in (
        ("data", policy.terms.data, shipped.data),
        ("purposes", policy.terms.purposes, shipped.purposes),
    ):
        for term, says in own.items():
            if term in known and known.phrases[term] != says:
                message = f"`{term}` is a built-in term; its own meaning counts"
                hint = "remove it, or add a term below it"
                yield warning(policy, f"{kind} {term}", "PG309", message, hint)


def _unreached(policy: Policy, data_map: DataMap) -> Iterator[Problem]:
    """Labelled columns whose data no permit reaches: nothing at all may be done with them."""
    roots = Roots(policy)
    # Rules that name the same data count once; the memory of a guard's data map is another matter.
    permits = {
        None if rule.permit.data == ANY else frozenset(rule.permit.data)
        for rule in policy.rules
        if rule.permit is not None
    }
    if len(permits) * len(policy.words.data.phrases) > _MOST_REACHED:
        return
    reached: dict[str, bool] = {}
    for entry in data_map.labelled():
        for label in entry.labels:
            if label.data not in reached:
                reached[label.data] = any(roots.reached(data, label.data) for data in permits)
            if not reached[label.data] and label.evidence != "suspected":
                message = f"no permit reaches `{label.data}` of `{printable(entry.source)}`"
                hint = "every use is denied; permit one, or collect it no longer"
                at = (entry.file, entry.line, entry.col)
                yield Problem(*at, "PG316", message, hint, "warning")
