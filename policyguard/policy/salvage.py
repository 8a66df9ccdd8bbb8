"""What can still be checked of a broken policy, so that all problems come in one run.

Layer: policy. Nothing that is salvaged is ever enforced: the problems found before stand, and the
load fails. Start reading at `what_is_left`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from copy import deepcopy
from typing import Any, Final

from pydantic import ValidationError
from pydantic_core import ErrorDetails

from policyguard.policy.rules import Policy

_ROUNDS: Final = 6
_STAND_INS: Final[Mapping[str, object]] = {
    "policyguard": 1,
    "data": "any",
    "purposes": "any",
    "to": "anyone",
    "kind": "processor",
    "says": "",
    "keep": "P1D",
    "since": "unnamed",
    "do": "unnamed",
    "after": "unnamed",
    "until": "2000-01-01",
}
Left = tuple[Policy, Mapping[str, Sequence[int]], frozenset[str]]


def what_is_left(tree: Mapping[str, Any], error: ValidationError) -> Left | None:
    """A policy without its broken parts, to check the references of the others.

    Broken keys are taken out and missing ones stand in, a few times over, since one may uncover
    another; then whole rules and recipients go.

    Args:
        tree: the file as read; stays as it is.
        error: what was wrong with its structure.

    Returns:
        The rest, for each list section the original index of each kept item, and the names of
        parts that were taken out; None if too little is left.
    """
    rest: dict[str, Any] = deepcopy(dict(tree))
    broken: set[str] = set()
    for _ in range(_ROUNDS):
        gone: set[tuple[int, str | int]] = set()
        for entry in error.errors(include_url=False, include_input=False):
            _mend(rest, entry, broken, gone)
        try:
            model = Policy.model_validate(rest)
        except ValidationError as again:
            # Denies: the problems found before stand; this only tells what is still broken.
            error = again
            continue
        index = {name: range(len(v)) for name, v in rest.items() if isinstance(v, list)}
        return model, index, frozenset(broken)
    locs = [entry["loc"] for entry in error.errors(include_url=False, include_input=False)]
    return _without_parts(rest, locs, broken)


def _mend(
    tree: dict[str, Any],
    entry: ErrorDetails,
    broken: set[str],
    gone: set[tuple[int, str | int]],
) -> None:
    """Take out the deepest key that the path reaches, unless a whole section would go."""
    loc = entry["loc"]
    node: Any = tree
    last: tuple[dict[str, Any], str] | None = None
    for step in loc:
        if isinstance(node, dict) and step in node:
            last, node = (node, str(step)), node[step]
        elif isinstance(node, list) and isinstance(step, int) and step < len(node):
            node = node[step]
        elif (id(node), step) in gone:
            return  # an earlier error took it out already
    if entry["type"] == "missing" and isinstance(node, dict):
        name = str(loc[-1])
        # An id of its own, or two nameless parts would be reported as one id used twice.
        unique = "unnamed-" + "-".join(str(step) for step in loc[:-1])
        node[name] = unique if name == "id" else _STAND_INS.get(name, "unnamed")
        broken.add(str(node[name]))
    elif last is not None and (last[0] is not tree or last[1] not in Policy.model_fields):
        gone.add((id(last[0]), last[1]))
        broken |= {last[1]} | _names(last[0].pop(last[1], None))


def _without_parts(
    tree: Mapping[str, Any], locs: Sequence[Sequence[str | int]], broken: set[str]
) -> Left | None:
    bad: dict[str, set[object]] = {}
    for loc in locs:
        bad.setdefault(str(loc[0]) if loc else "", set()).add(loc[1] if len(loc) > 1 else None)
    rest: dict[str, Any] = {}
    index: dict[str, Sequence[int]] = {}
    for key, value in tree.items():
        refused = bad.get(key, set())
        if key not in Policy.model_fields or None in refused:
            broken |= _names(value)
        elif isinstance(value, list):
            kept = [i for i in range(len(value)) if i not in refused]
            index[key], rest[key] = kept, [value[i] for i in kept]
            broken |= {str(v["id"]) for v in value if isinstance(v, dict) and "id" in v}
        elif refused and isinstance(value, dict):
            broken |= _names(value)
            rest[key] = {name: part for name, part in value.items() if name not in refused}
        elif not refused:
            rest[key] = value
    rest.setdefault("policyguard", 1)
    rest.setdefault("id", "unnamed")
    try:
        return Policy.model_validate(rest), index, frozenset(broken)
    except ValidationError:
        # Denies: too broken to say more; the problems found so far are reported.
        return None


def _names(value: object, depth: int = 3) -> set[str]:
    if not isinstance(value, Mapping):
        return set()
    found = {str(key) for key in value}
    for inner in value.values() if depth else ():
        found |= _names(inner, depth - 1)
    return found
