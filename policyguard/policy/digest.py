"""The digest of a policy's meaning, and of a clause's published text.

Layer: policy. Start reading at `policy_digest`.
"""

from __future__ import annotations

import hashlib
import json
import re
import unicodedata
from collections.abc import Iterable
from operator import attrgetter
from typing import Any, Final

from pydantic_core import to_json

from policyguard.policy.rules import Obligation, Policy, Retention, Rule
from policyguard.policy.taxonomy import built_in

_SCALARS: Final = frozenset({str, bool, int, type(None)})


def policy_digest(policy: Policy) -> str:
    """SHA-256 over the canonical JSON of the meaning, as 64 hexadecimal digits.

    Rules count by id and lists as sets; titles, `says`, phrases and the order of anything don't
    count. The version of the built-in taxonomy does. Cost: O(size of the policy).
    """
    clauses = policy.notice.clauses
    meaning = {
        "language": policy.policyguard,
        "id": policy.id,
        "version": policy.version,
        "taxonomy": built_in().version,
        "terms": {
            "data": sorted(policy.terms.data),
            "purposes": sorted(policy.terms.purposes),
            "facts": sorted(policy.terms.facts),
        },
        "clauses": {name: clauses[name].sha256 for name in sorted(clauses)},
        "recipients": _plain(policy.everyone),
        "named_only": _plain(policy.named_only),
        "rules": _by_id(policy.rules),
        "retention": _by_id(policy.retention),
        "obligations": _by_id(policy.obligations),
        "purpose_changes": _plain(policy.purpose_changes),
        "at_least": policy.at_least,
    }
    # Keys stand in the order of the language, or sorted where a person chose them.
    return hashlib.sha256(to_json(meaning)).hexdigest()


def _by_id(parts: Iterable[Rule | Retention | Obligation]) -> dict[str, Any]:
    return {part.id: _plain(part) for part in sorted(parts, key=attrgetter("id"))}


def _plain(value: Any) -> Any:
    """Plain data with lists as sorted sets and empty parts left out.

    Checks exact types first, the most frequent ones before the others: this runs for every part of
    every rule. A part's fields stand in its `__dict__` under the names of the language.
    """
    kind = type(value)
    if kind is tuple:
        return _set(value)
    if kind is dict:
        return {str(key): _plain(value[key]) for key in sorted(value)}
    if kind in _SCALARS:
        return value
    found = {}
    for name, part in value.__dict__.items():
        inner = type(part)
        if inner is str:
            found[name] = part
        elif part is not None and part != ():
            plain = _set(part) if inner is tuple else _plain(part)
            # A condition's `false` means something; an empty part of anything doesn't.
            if plain != {}:
                found[name] = plain
    return found


def _set(values: tuple[Any, ...]) -> list[Any]:
    if len(values) == 1:
        only = values[0]
        return [only] if type(only) is str else [_plain(only)]
    if all(type(item) is str for item in values):
        return sorted(set(values))
    by_text = {json.dumps(part, sort_keys=True): part for part in map(_plain, values)}
    return [by_text[text] for text in sorted(by_text)]


def clause_digest(text: str) -> str:
    """SHA-256 of a clause's published text: NFKC, white space collapsed, trimmed, UTF-8.

    Args:
        text: the clause with its markup removed.
    """
    flat = re.sub(r"\s+", " ", unicodedata.normalize("NFKC", text)).strip()
    return hashlib.sha256(flat.encode("utf-8")).hexdigest()
