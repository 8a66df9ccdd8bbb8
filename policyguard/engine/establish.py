"""Which unknown facts, if they were established, would make a flow allowed.

Layer: engine. Values to try come from what the covering rules ask, so nothing is guessed; each is
tried with a real decision by `policyguard.engine.explain`. Start reading at `proposals`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any, Final, NamedTuple, cast

from policyguard.engine.atoms import Atom
from policyguard.engine.decide import Context
from policyguard.policy.durations import describe_duration, parse_duration
from policyguard.policy.flow import Flow
from policyguard.policy.regions import COUNTRIES, place_in
from policyguard.policy.terms import ancestors

_OLDEST: Final = 150
_DAY: Final = 86_400
_YES_NO: Final = {
    ("restricted", False): "the person has not restricted the processing",
    ("restricted", True): "the person has restricted the processing",
    ("legal_request", True): "there is a documented legal duty, order or request",
    ("legal_request", False): "there is no legal duty, order or request",
}
Allowed = Callable[[dict[str, Any]], bool]


class Proposal(NamedTuple):
    """One fact to establish.

    Attributes:
        fact: its name, as `Decision.unmet` gives it.
        sentence: what would have to be so.
    """

    fact: str
    sentence: str


def asked_atoms(context: Context, flow: Flow) -> list[Atom]:
    """The atoms of every rule that covers the flow by data, purpose and recipient."""
    declared = flow.recipient in context.recipients
    purpose = flow.purpose or ""
    asked: dict[Atom, None] = {}
    for index in (context.forbids, context.permits):
        for number in index.candidates(flow.data, purpose, flow.recipient, declared=declared):
            when = context.rules[number].when
            if when is not None:
                asked.update(dict.fromkeys(when.for_purpose(purpose).atoms()))
    return list(asked)


def proposals(
    context: Context, name: str, atoms: Sequence[Atom], allowed: Allowed
) -> Iterator[Proposal]:
    """Every value of one fact that gives allow, in words.

    Args:
        context: the policy.
        name: the fact, as `Decision.unmet` names it.
        atoms: what the covering rules ask (`asked_atoms`).
        allowed: whether the flow is allowed with these facts on top of the known ones.
    """
    kind, _, rest = name.partition(":")
    if kind in ("consent", "opt_out"):
        yield from _answer(context, kind, rest, allowed)
    elif kind == "facts":
        for value in (True, False):
            if allowed({"facts": {rest: value}}):
                yield Proposal(name, f"it is known that `{rest}` is {str(value).lower()}")
    elif kind in ("restricted", "legal_request"):
        for value in (False, True) if kind == "restricted" else (True, False):
            if allowed({kind: value}):
                yield Proposal(name, _YES_NO[kind, value])
    elif kind == "age":
        yield from _ages(atoms, allowed)
    elif kind == "region":
        yield from _regions(atoms, allowed)
    elif kind == "transport":
        for way, said in (("https", "it is sent over https"), ("local", "it stays on the machine")):
            if allowed({"transport": way}):
                yield Proposal(name, said)
                break
    elif kind == "data_age":
        yield from _data_ages(atoms, allowed)


def _answer(context: Context, kind: str, purpose: str, allowed: Allowed) -> Iterator[Proposal]:
    purposes = context.taxonomy.purposes
    # An answer counts for purposes that are declared; for others, that of the nearest above.
    declared = next((above for above in ancestors(purpose) if above in purposes), purpose)
    phrase = purposes.phrase(declared)
    said = {
        ("consent", True): f"consent is given for {phrase}",
        ("consent", False): f"consent for {phrase} is known to be refused",
        ("opt_out", False): f"the person is known not to have opted out of {phrase}",
        ("opt_out", True): f"the person is known to have opted out of {phrase}",
    }
    for value in (True, False) if kind == "consent" else (False, True):
        if allowed({kind: {declared: value}}):
            yield Proposal(f"{kind}:{declared}", said[kind, value])


def _ages(atoms: Sequence[Atom], allowed: Allowed) -> Iterator[Proposal]:
    """Whole intervals between the limits that rules name; neighbours are put together."""
    limits = {cast("int", a.value) for a in atoms if a.kind in ("age_below", "age_from")}
    starts = sorted({0, *(limit for limit in limits if limit <= _OLDEST)})
    ends = [*(start - 1 for start in starts[1:]), None]
    joined: list[list[int | None]] = []
    for start, end in zip(starts, ends, strict=True):
        if not allowed({"age": start}):
            continue
        if joined and joined[-1][1] == start - 1:
            joined[-1][1] = end
        else:
            joined.append([start, end])
    for first, last in joined:
        if last is None:
            yield Proposal("age", f"the person is known to be {first} or older")
        elif first == 0:
            yield Proposal("age", f"the person is known to be younger than {last + 1}")
        else:
            yield Proposal("age", f"the person is known to be between {first} and {last}")


def _regions(atoms: Sequence[Atom], allowed: Allowed) -> Iterator[Proposal]:
    groups = [g for a in atoms if a.kind == "region" for g in cast("tuple[str, ...]", a.value)]
    inside = [group for group in dict.fromkeys(groups) if allowed({"region": group})]
    if inside:
        yield Proposal("region", f"the person is known to be in {' or '.join(inside)}")
    elsewhere = (c for c in sorted(COUNTRIES) if all(place_in(c, g) is False for g in groups))
    outside = next(elsewhere, None)
    if groups and outside is not None and allowed({"region": outside}):
        names = ", ".join(dict.fromkeys(groups))
        yield Proposal("region", f"the person is known to be outside {names}")


def _data_ages(atoms: Sequence[Atom], allowed: Allowed) -> Iterator[Proposal]:
    limits = sorted(
        {cast("str", a.value) for a in atoms if a.kind in ("data_age", "expired")},
        key=parse_duration,
    )
    if limits and allowed({"data_age": "P0D"}):
        yield Proposal("data_age", f"the data are known to be younger than {_words(limits[0])}")
    oldest = parse_duration(limits[-1])[1] // _DAY + 1 if limits else 0
    if limits and allowed({"data_age": f"P{oldest}D"}):
        yield Proposal("data_age", f"the data are known to be older than {_words(limits[-1])}")


def _words(duration: str) -> str:
    return describe_duration(duration)


def liftable(atoms: Sequence[Atom]) -> list[str]:
    """Facts that would lift a retention, as `Decision.unmet` would name them."""
    return sorted({atom.name for atom in atoms if atom.kind == "lifted"})
