"""A truth table: flows with the verdict that a policy must give them, as YAML or JSONL.

Layer: policy. Start reading at `load_cases`.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Annotated, Any, Final, Literal, cast

from pydantic import AfterValidator, BeforeValidator, TypeAdapter, ValidationError

from policyguard.errors import CasesError, Problem
from policyguard.policy.conditions import Part, Transport
from policyguard.policy.flow import (
    CONTEXT_KEYS,
    OLDEST,
    RAW,
    Form,
    Verdict,
    close_form,
)
from policyguard.policy.loader import Document, Limits, printable, read_document, read_regular
from policyguard.policy.problems import keys_of, problems_of
from policyguard.policy.suggest import Suggestions
from policyguard.policy.terms import Bool, Duration, Int, Region, refuse

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


def _closed(value: object) -> Form:
    names = [value] if isinstance(value, str) else value
    if isinstance(names, (list, tuple)) and all(isinstance(name, str) for name in names):
        try:
            return close_form(names)
        except ValueError:
            # Denies: a row with an impossible form is a problem, not a case.
            pass
    raise refuse("PG111", "`form` has an unknown form, or `raw` beside another")


def _lived(age: int) -> int:
    if age > OLDEST:
        raise refuse("PG103", f"an age has at most {OLDEST} years")
    return age


def _answers(value: object) -> object:
    if isinstance(value, Mapping):
        return value
    raise refuse("PG103", "must be a mapping", "name what was answered: {marketing: true}")


Answers = Annotated[dict[str, Bool], BeforeValidator(_answers)]


class _Context(Part):
    """The facts of a row, as values that can be used."""

    consent: Answers | None = None
    opt_out: Answers | None = None
    restricted: Bool | None = None
    age: Annotated[Int, AfterValidator(_lived)] | None = None
    region: Region | None = None
    legal_request: Bool | None = None
    transport: Transport | None = None
    data_age: Duration | None = None
    facts: Answers | None = None


class _Row(Part):
    """A row as written."""

    id: str
    data: str
    form: Annotated[Form, BeforeValidator(_closed)] = RAW
    purpose: str | None
    recipient: str
    context: _Context = _Context()
    expect: Literal["allow", "deny", "conditional"] | None = None
    cites: tuple[str, ...] = ()
    why: str = ""


_ROWS: Final = TypeAdapter(list[_Row])
_LANGUAGE: Final = keys_of([_Row, _Context])


def load_cases(
    path: str | Path, *, warn: Callable[[Problem], None] | None = None
) -> tuple[Case, ...]:
    """Read a truth table.

    Args:
        path: `*.jsonl` with one row a line, or YAML: a list of rows, or a mapping `cases: [...]`.
        warn: is told of facts whose values can't be used. Such a fact is unknown, as in a running
            program, and a row may mean just that.

    Raises:
        CasesError: every problem, with file:line:col.
    """
    path = Path(path)
    document = read_jsonl(path) if path.suffix in (".jsonl", ".ndjson") else _read_yaml(path)
    found = list(_cases(document))
    errors = [problem for problem in document.problems if problem.severity == "error"]
    if errors:
        raise CasesError(errors)
    if warn is not None:
        for problem in document.problems:
            warn(problem)
    return tuple(found)


def _cases(document: Document) -> Iterator[Case]:
    """The rows as cases, or none and the document's problems."""
    if not isinstance(document.tree, list):
        if not document.problems:
            say = document.problem("PG008", "a truth table is a list of rows", ())
            document.problems.append(say)
        return
    _unknown_facts(document)
    _repeated(document)
    unusable = _unusable(document)
    try:
        rows = _ROWS.validate_python(document.tree)
    except ValidationError as error:
        # Denies: a table with any problem proves nothing.
        document.problems += problems_of(document, error, _LANGUAGE)
        return
    for index, row in enumerate(rows):
        yield Case(
            id=row.id,
            data=row.data,
            form=row.form,
            purpose=row.purpose or None,
            recipient=row.recipient,
            context={**row.context.model_dump(exclude_unset=True), **unusable.get(index, {})},
            expect=row.expect,
            cites=row.cites,
            why=row.why,
            place=f"{document.file}:{document.place((index,))[0]}",
        )


def _unusable(document: Document) -> dict[int, dict[str, Any]]:
    """Facts whose values can't be used, by row: told as warnings, and taken out of the tree."""
    found: dict[int, dict[str, Any]] = {}
    try:
        _ROWS.validate_python(document.tree)
    except ValidationError as error:
        # Denies: the facts are unknown to their rows, and whatever rests on them is in doubt.
        problems = problems_of(document, error, _LANGUAGE)
        for entry, problem in zip(error.errors(include_input=False), problems, strict=True):
            index, *steps = entry["loc"]
            if len(steps) > 1 and steps[0] == "context":
                told = replace(problem, severity="warning")
                document.problems.append(told)
                found.setdefault(cast("int", index), {})[str(steps[1])] = None
    for index, facts in found.items():
        row = document.tree[index]
        context = row["context"]
        facts.update((key, context[key]) for key in list(facts) if key in context)
        kept = {key: value for key, value in context.items() if key not in facts}
        document.tree[index] = {**row, "context": kept}
    return found


def _read_yaml(path: Path) -> Document:
    document = read_document(path, limits=_LIMITS)
    if isinstance(document.tree, dict) and isinstance(document.tree.get("cases"), list):
        for key in document.tree.keys() - {"cases"}:
            message = f"unknown key `{printable(key)}`"
            document.problems.append(document.problem("PG101", message, (key,)))
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
    # Only a line feed ends a row: JSON text may hold the other line breaks as they are.
    for number, line in enumerate(text.split("\n"), 1):
        if not line.strip():
            continue
        try:
            row = json.loads(line, object_pairs_hook=_object, parse_constant=_no_number)
        except _TwiceError as twice:
            # Denies: as above, for one line.
            message = f"key `{printable(str(twice))}` is written twice"
            document.problems.append(Problem(str(path), number, 1, "PG007", message))
            continue
        except (ValueError, RecursionError):
            # Denies: as above.
            problem = Problem(str(path), number, 1, "PG003", "not a line of JSON")
            document.problems.append(problem)
            continue
        document.tree.append(_given(row))
        document.numbers.append(number)
    return document


class _TwiceError(ValueError):
    """A key that an object has twice: readers disagree about which of them counts."""


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        seen: set[str] = set()
        for key, _ in pairs:
            if key in seen:
                raise _TwiceError(key)
            seen.add(key)
    return found


def _no_number(word: str) -> None:
    raise ValueError(word)


def _given(row: Any) -> Any:
    """Without what a program wrote as null: for it that is the same as leaving it out."""
    if not isinstance(row, dict):
        return row
    kept = {key: value for key, value in row.items() if value is not None or key == "purpose"}
    context = kept.get("context")
    if isinstance(context, dict):
        kept["context"] = {
            key: {k: v for k, v in value.items() if v is not None}
            if isinstance(value, dict)
            else value
            for key, value in context.items()
            if value is not None
        }
    return kept


def _unknown_facts(document: Document) -> None:
    """Report facts that don't exist, and take them out, so that they aren't reported twice."""
    near = Suggestions()
    for index, row in enumerate(document.tree):
        context = row.get("context") if isinstance(row, dict) else None
        if not isinstance(context, dict) or context.keys() <= CONTEXT_KEYS:
            continue
        for key in context.keys() - CONTEXT_KEYS:
            meant = near.name(key, CONTEXT_KEYS)
            hint = f"did you mean `{meant}`?" if meant else ", ".join(sorted(CONTEXT_KEYS))
            message, path = f"unknown fact `{printable(key)}`", (index, "context", key)
            document.problems.append(document.problem("PG108", message, path, hint))
        known = {key: value for key, value in context.items() if key in CONTEXT_KEYS}
        document.tree[index] = {**row, "context": known}


def _repeated(document: Document) -> None:
    seen: set[str] = set()
    for index, row in enumerate(document.tree):
        name = row.get("id") if isinstance(row, dict) else None
        if not isinstance(name, str):
            continue
        if name in seen:
            message = f"id `{printable(name)}` is used twice"
            document.problems.append(document.problem("PG110", message, (index, "id")))
        seen.add(name)
