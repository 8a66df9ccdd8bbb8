"""A truth table: flows with the verdict that a policy must give them, as YAML or JSONL.

Layer: policy. Start reading at `load_cases`.
"""

from __future__ import annotations

import difflib
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from policyguard.errors import CasesError, Problem
from policyguard.policy.flow import CONTEXT_KEYS, RAW, Form, Verdict, close_form
from policyguard.policy.loader import Document, Limits, printable, read_document, read_regular
from policyguard.policy.terms import Ambiguous

_KEYS: Final = ("id", "data", "form", "purpose", "recipient", "context", "expect", "cites", "why")
_NEEDED: Final = ("id", "data", "purpose", "recipient")
_VERDICTS: Final = ("allow", "deny", "conditional")
_LIMITS: Final = Limits(size=1 << 24, depth=32, nodes=1_000_000)


@dataclass(frozen=True, slots=True)
class Case:
    """One row.

    Attributes:
        id: its name.
        data: data category.
        form: closed under implication.
        purpose: dotted; None asks what happens without one.
        recipient: a recipient's id.
        context: facts as written.
        expect: the verdict; None just asks.
        cites: clauses of which at least one must be cited.
        why: the reason in words.
        place: file:line.
    """

    id: str
    data: str
    form: Form = RAW
    purpose: str | None = None
    recipient: str = "self"
    context: Mapping[str, Any] = field(default_factory=dict)
    expect: Verdict | None = None
    cites: tuple[str, ...] = ()
    why: str = ""
    place: str = ""


def load_cases(path: str | Path) -> tuple[Case, ...]:
    """Read a truth table.

    Args:
        path: `*.jsonl` with one row a line, or YAML: a list of rows, or a mapping `cases: [...]`.

    Raises:
        CasesError: every problem, with file:line:col.
    """
    path = Path(path)
    document = read_jsonl(path) if path.suffix in (".jsonl", ".ndjson") else _read_yaml(path)
    rows: Any = document.tree
    cases: list[Case] = []
    if isinstance(rows, list):
        for index, row in enumerate(rows):
            cases += _case(document, row, index)
    elif not document.problems:
        document.problems.append(document.problem("PG008", "a truth table is a list of rows", ()))
    _repeated(document, cases)
    if document.problems:
        raise CasesError(document.problems)
    return tuple(cases)


def _read_yaml(path: Path) -> Document:
    document = read_document(path, limits=_LIMITS)
    if isinstance(document.tree, dict) and isinstance(document.tree.get("cases"), list):
        document.tree = document.tree["cases"]
    return document


class _Lines(Document):
    """A JSONL file: the place of a row is its line."""

    __slots__ = ("numbers",)

    def place(self, path: Sequence[str | int], *, of_key: bool = False) -> tuple[int, int]:  # noqa: ARG002 - a line has one place
        """Line of the row that the path starts with."""
        index = path[0] if path else 0
        known = isinstance(index, int) and index < len(self.numbers)
        return (self.numbers[index] if known else 1, 1)  # type: ignore[index]  # checked above

    numbers: list[int]


def read_jsonl(path: Path) -> Document:
    """A JSONL file as a document whose rows are places."""
    document = _Lines(str(path))
    document.numbers, document.tree = [], []
    try:
        text = read_regular(path, _LIMITS).decode("utf-8-sig")
    except (OSError, ValueError) as error:
        # Denies: a table that can't be read proves nothing.
        broken = "not UTF-8 text" if isinstance(error, UnicodeDecodeError) else str(error)
        why = error.strerror if isinstance(error, OSError) else broken
        message = f"can't read the file: {str(why).lower()}"
        document.problems.append(Problem(str(path), 0, 0, "PG001", message))
        return document
    for number, line in enumerate(text.splitlines(), 1):
        if not line.strip():
            continue
        try:
            row = json.loads(line)
        except (ValueError, RecursionError):
            # Denies: as above, for one line.
            problem = Problem(str(path), number, 1, "PG003", "not a line of JSON")
            document.problems.append(problem)
            continue
        document.tree.append(row)
        document.numbers.append(number)
    return document


def _case(document: Document, row: Any, index: int) -> Iterator[Case]:
    """The row as a case, or nothing and its problems."""
    before = len(document.problems)

    def say(code: str, message: str, *step: str | int, hint: str = "") -> None:
        document.problems.append(document.problem(code, message, (index, *step), hint))

    if not isinstance(row, dict):
        say("PG008", "a row must be a mapping")
        return
    for key in row:
        if key not in _KEYS:
            near = difflib.get_close_matches(str(key), _KEYS, n=1)
            hint = f"did you mean `{near[0]}`?" if near else ""
            say("PG101", f"unknown key `{printable(str(key))}`", str(key), hint=hint)
    for key in _NEEDED:
        if key not in row:
            say("PG102", f"`{key}` is missing")
        elif not isinstance(row[key], str) and not (key == "purpose" and row[key] is None):
            say("PG103", f"`{key}` must be text", key)
    if row.get("expect") not in (None, *_VERDICTS):
        say("PG103", "`expect` is allow, deny or conditional", "expect")
    cites = row.get("cites") or []
    if not isinstance(cites, list) or not all(isinstance(clause, str) for clause in cites):
        say("PG103", "`cites` is a list of clause ids", "cites")
    context = row.get("context") or {}
    if not isinstance(context, dict):
        say("PG103", "`context` must be a mapping", "context")
        context = {}
    for key in context:
        if key not in CONTEXT_KEYS:
            near = difflib.get_close_matches(str(key), sorted(CONTEXT_KEYS), n=1)
            hint = f"did you mean `{near[0]}`?" if near else ", ".join(sorted(CONTEXT_KEYS))
            say("PG108", f"unknown fact `{printable(str(key))}`", "context", str(key), hint=hint)
    form = RAW
    try:
        form = close_form(row.get("form") or ())
    except (ValueError, TypeError):
        # Denies: a row with an impossible form is a problem, not a case.
        say("PG111", "`form` has an unknown form, or `raw` beside another", "form")
    if len(document.problems) == before:
        line, _ = document.place((index,))
        yield Case(
            id=row["id"],
            data=row["data"],
            form=form,
            purpose=row["purpose"],
            recipient=row["recipient"],
            context={key: _typed(key, value) for key, value in context.items()},
            expect=row.get("expect"),
            cites=tuple(cites),
            why=str(row.get("why") or ""),
            place=f"{document.file}:{line}",
        )


def _typed(key: str, value: Any) -> Any:
    """YAML scalars are text here; give booleans and the age their types."""
    if isinstance(value, dict):
        return {name: _typed(key, part) for name, part in value.items()}
    if isinstance(value, Ambiguous) and value in ("true", "false"):
        return value == "true"
    if key == "age" and isinstance(value, str) and value.isascii() and value.isdigit():
        return int(value[:9])
    return value


def _repeated(document: Document, cases: Sequence[Case]) -> None:
    seen: set[str] = set()
    for case in cases:
        if case.id in seen:
            line = int(case.place.rsplit(":", 1)[-1])
            message = f"id `{printable(case.id)}` is used twice"
            document.problems.append(Problem(document.file, line, 1, "PG110", message))
        seen.add(case.id)
