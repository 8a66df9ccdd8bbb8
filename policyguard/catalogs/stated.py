"""Labels that stand beside a column: in its comment, in dbt's meta, in a fides dataset.

Layer: catalogs. Start reading at `labels_in_comment`.

A comment says `policyguard: user.contact.email`, several with commas, each with a form behind `as`:
`policyguard: user.contact.email as pseudonymised, user.name`. It ends at a semicolon or the end of
the line. What can't be read is a label all the same, `user`: the widest there is.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Final

from policyguard.policy.flow import FORMS, RAW, close_form
from policyguard.policy.loader import printable
from policyguard.policy.schemas import Stated
from policyguard.policy.suggest import Suggestions
from policyguard.policy.taxonomy import built_in
from policyguard.policy.terms import is_term

DATA: Final = "policyguard_data"
FORM: Final = "policyguard_form"
TO: Final = "policyguard_to"
PURPOSE: Final = "policyguard_purpose"
UNREADABLE: Final = Stated("user")

_MARK: Final = re.compile(r"\bpolicyguard[ \t]*:[ \t]*([^;\r\n]*)", re.IGNORECASE)
_MOST: Final = 64
_LONGEST: Final = 1 << 16
Found = tuple[tuple[Stated, ...], tuple[str, ...]]


def labels_in_comment(comment: object, where: str) -> Found:
    """What a comment states about its column, and what in it can't be read.

    Args:
        comment: the text in the database; None is none.
        where: `table.column`, for problems.

    Cost: O(length), of the first 65,536 characters.
    """
    if not isinstance(comment, str) or "policyguard" not in comment[:_LONGEST].casefold():
        return (), ()
    labels: list[Stated] = []
    problems: list[str] = []
    for found in _MARK.finditer(comment[:_LONGEST]):
        parts = found.group(1).split(",")[:_MOST]
        for part in parts:
            words = part.strip().rstrip(".").split()
            term = words[0] if words else ""
            forms = _forms(words[1:])
            if forms is None:
                labels.append(UNREADABLE)
                problems.append(f"{_shown(where)}: the comment behind `policyguard:` is no label")
            else:
                labels.append(_label(term, forms, where, problems))
    return tuple(dict.fromkeys(labels)), tuple(dict.fromkeys(problems))


def labels_of_terms(terms: object, form: object, where: str) -> Found:
    """Labels of a list of data categories in one form, as dbt's meta has them.

    Args:
        terms: a data category, a list of them, or text with commas between; None is none.
        form: a form, a list of them, or None.
        where: as above.
    """
    problems: list[str] = []
    names = _listed(terms)
    if names is None:
        return (UNREADABLE,), (f"{_shown(where)}: `{DATA}` is neither text nor a list of texts",)
    forms = RAW
    try:
        forms = close_form(_listed(form) or ())
    except ValueError:
        # Denies: a form nobody knows protects nothing, so the value counts as raw.
        problems.append(f"{_shown(where)}: `{FORM}` is none of {', '.join(FORMS)}")
    labels = tuple(dict.fromkeys(_label(name, forms, where, problems) for name in names))
    return labels, tuple(dict.fromkeys(problems))


def unknown_terms(labels: Iterable[Stated]) -> list[tuple[str, str]]:
    """Terms that are neither built in nor below one that is, with the nearest; for `map --check`.

    A policy may declare them, so only somebody who knows the policy can call them wrong.
    """
    near, data = Suggestions(), built_in().data
    terms = dict.fromkeys(label.data for label in labels if not data.known(label.data))
    return [(term, near.term(term, data)) for term in terms]


def _forms(words: list[str]) -> frozenset[str] | None:
    """The form behind a term: `as encrypted+pseudonymised`; None if it can't be read."""
    if not words:
        return RAW
    if len(words) != 2 or words[0].casefold() != "as":  # noqa: PLR2004 - `as FORM`
        return None
    try:
        return close_form(words[1].casefold().split("+"))
    except ValueError:
        # Denies: the caller takes the column for unreadable.
        return None


def _label(term: str, form: frozenset[str], where: str, problems: list[str]) -> Stated:
    if is_term(term):
        return Stated(term, form)
    problems.append(f"{_shown(where)}: `{printable(term)}` is no data category")
    return UNREADABLE


def _listed(value: object) -> list[str] | None:
    if value is None:
        return []
    if isinstance(value, str):
        return [part.strip() for part in value.split(",")[:_MOST]]
    if isinstance(value, list) and all(isinstance(item, str) for item in value):
        return value[:_MOST]
    return None


def _shown(where: str) -> str:
    return printable(where, 200)
