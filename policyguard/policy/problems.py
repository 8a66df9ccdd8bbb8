"""A validator's errors in our words, each with its place and a way out.

Layer: policy. Serves every file that a person writes: policy, data map, truth table. Start reading
at `problems_of`.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from typing import Final

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from policyguard.errors import Problem
from policyguard.policy.loader import Document, printable
from policyguard.policy.suggest import Suggestions

_PLAIN: Final = {
    "string_type": "must be text",
    "bool_type": "must be true or false",
    "tuple_type": "must be a list",
    "list_type": "must be a list",
    "dict_type": "must be a mapping",
    "model_type": "must be a mapping",
    "too_short": "must not be empty",
    "string_pattern_mismatch": "has characters that are not allowed",
    "union_tag_not_found": "has the wrong type",
}
_COVERS: Final = frozenset({"permit", "forbid", "except"})


def problems_of(document: Document, error: ValidationError, keys: Collection[str]) -> list[Problem]:
    """The validator's errors in our words, each with its place.

    Args:
        document: the file that was validated.
        error: what the model found; its own texts are never shown.
        keys: the keys of the file's language (`keys_of`), for suggestions.
    """
    entries = error.errors(include_url=False)
    # A list whose only item is refused isn't empty in the eyes of the person who wrote it.
    above = {entry["loc"][:end] for entry in entries for end in range(len(entry["loc"]))}
    near = Suggestions()
    # An alias was reported as such; to the reader it isn't an empty value.
    aliases = {(p.line, p.col) for p in document.problems if p.code == "PG005"}
    return [
        _problem(document, entry, keys, near)
        for entry in entries
        if (entry["type"] != "too_short" or entry["loc"] not in above)
        and not (aliases and _is_empty(entry) and document.place(entry["loc"]) in aliases)
    ]


def _is_empty(entry: ErrorDetails) -> bool:
    """Whether the complaint is about a key or an entry without a value."""
    return entry["input"] is None and entry["type"] not in ("extra_forbidden", "missing")


def _empty(document: Document, loc: Sequence[str | int]) -> Problem:
    """A key that is written, and nothing behind it."""
    node, key, item = document.tree, "", False
    for step in loc:
        if isinstance(node, dict) and step in node:
            node, key, item = node[step], str(step), False
        elif isinstance(node, list) and isinstance(step, int) and step < len(node):
            node, item = node[step], True
    message = f"{'an entry of ' if item else ''}`{printable(key)}` is empty"
    hint = "" if _COVERS.isdisjoint(loc) else _missing_hint(key)
    hint = hint or "give it a value, or leave it out"
    line, col = document.place(loc, of_key=not item)
    return Problem(document.file, line, col, "PG103", message, hint)


def _problem(
    document: Document, entry: ErrorDetails, keys: Collection[str], near: Suggestions
) -> Problem:
    kind, loc, context = entry["type"], list(entry["loc"]), entry.get("ctx", {})
    last = str(loc[-1]) if loc else ""
    hint = ""
    if _is_empty(entry):
        return _empty(document, loc)
    if kind.startswith("PG"):
        code, message, hint = kind, _prefixed(context["says"], kind, loc, keys), context["hint"]
        loc += [context["at"]] if context["at"] else []
    elif kind == "extra_forbidden":
        code, message = "PG101", f"unknown key `{printable(last)}`"
        meant = near.name(last, keys)
        hint = f"did you mean `{meant}`?" if meant else ""
        if meant == last:
            hint = "write a rule of its own" if "except" in loc else "it belongs elsewhere"
    elif kind == "missing":
        code, message, hint = "PG102", f"`{last}` is missing", _missing_hint(last)
        hint = "name a purpose" if "purpose_changes" in loc else hint
    elif kind == "literal_error":
        expected = str(context.get("expected", ""))
        code, hint = "PG103", f"one of {expected.replace(chr(39), '`')}"
        message = f"{_owner(loc, keys)} has a value that is not known"
        meant = _near_literal(entry.get("input"), expected, near)
        hint = f"did you mean `{meant}`? {hint}" if meant else hint
    else:
        code, message = "PG103", f"{_owner(loc, keys)} {_PLAIN.get(kind, 'has a wrong value')}"
    of_key = kind in ("extra_forbidden", "invalid_key") or bool(context.get("at"))
    line, col = document.place(loc, of_key=of_key)
    return Problem(document.file, line, col, code, message, hint)


def _prefixed(message: str, code: str, loc: Sequence[str | int], keys: Collection[str]) -> str:
    """The sentence of one of our validators, with the key it is about if it names none."""
    value = code in ("PG103", "PG109") and loc and "`" not in message
    return f"{_owner(loc, keys)}: {message}" if value else message


def _owner(loc: Sequence[str | int], keys: Collection[str]) -> str:
    """The last step of a path that is a key of the language; an item as an entry of it."""
    words = [str(step) for step in loc if isinstance(step, str)]
    known = [word for word in words if word in keys]
    name = f"`{printable((known or words or ['file'])[-1])}`"
    return f"an entry of {name}" if loc and isinstance(loc[-1], int) else name


def _near_literal(value: object, expected: str, near: Suggestions) -> str:
    words = [word.strip("' ") for word in expected.replace(" or ", ",").split(",")]
    return near.name(str(value), words) if isinstance(value, str) else ""


def _missing_hint(key: str) -> str:
    if key == "policyguard":
        return "start with `policyguard: 1`"
    if key in ("data", "purposes"):
        return f"write `{key}: any` if all are meant"
    return "write `to: anyone` if every declared recipient is meant" if key == "to" else ""


def keys_of(models: Iterable[type[BaseModel]]) -> tuple[str, ...]:
    """Every key that a file of these models may hold, sorted so that suggestions are stable."""
    found = {field.alias or name for model in models for name, field in model.model_fields.items()}
    return tuple(sorted(found))
