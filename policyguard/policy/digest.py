"""The digest of a policy's meaning, and of a clause's published text.

Layer: policy. Start reading at `policy_digest`.
"""

from __future__ import annotations

import hashlib
import json
import re
import unicodedata
from typing import Any

from policyguard.policy.rules import Policy
from policyguard.policy.taxonomy import built_in


def policy_digest(policy: Policy) -> str:
    """SHA-256 over the canonical JSON of the meaning, as 64 hexadecimal digits.

    Rules count by id and lists as sets; titles, `says`, phrases and the order of anything don't
    count. The version of the built-in taxonomy does. Cost: O(size of the policy).
    """
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
        "clauses": {name: clause.sha256 for name, clause in policy.notice.clauses.items()},
        "recipients": _plain(policy.everyone),
        "named_only": _plain(policy.named_only),
        "rules": {rule.id: _plain(rule) for rule in policy.rules},
        "retention": {kept.id: _plain(kept) for kept in policy.retention},
        "obligations": {promise.id: _plain(promise) for promise in policy.obligations},
        "purpose_changes": _plain(policy.purpose_changes),
        "at_least": policy.at_least,
    }
    text = json.dumps(meaning, sort_keys=True, separators=(",", ":"), ensure_ascii=True)
    return hashlib.sha256(text.encode("ascii")).hexdigest()


def _plain(value: Any) -> Any:
    """Plain data with lists as sorted sets and empty parts left out.

    Checks exact types first, the most frequent ones before the others: this runs for every part of
    every rule. A part's fields stand in its `__dict__` under the names of the language.
    """
    kind = type(value)
    if kind is str or kind is bool or kind is int or value is None:
        return value
    if kind is tuple:
        if all(type(item) is str for item in value):
            return sorted(set(value))
        by_text = {json.dumps(part, sort_keys=True): part for part in map(_plain, value)}
        return [by_text[text] for text in sorted(by_text)]
    if kind is dict:
        return {str(key): _plain(part) for key, part in value.items()}
    found = {}
    for name, part in value.__dict__.items():
        # A condition's `false` means something; an empty part of anything doesn't.
        if part is not None and part != () and (plain := _plain(part)) != {}:
            found[name] = plain
    return found


def clause_digest(text: str) -> str:
    """SHA-256 of a clause's published text: NFKC, white space collapsed, trimmed, UTF-8.

    Args:
        text: the clause with its markup removed.
    """
    flat = re.sub(r"\s+", " ", unicodedata.normalize("NFKC", text)).strip()
    return hashlib.sha256(flat.encode("utf-8")).hexdigest()
