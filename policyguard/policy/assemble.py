"""A policy file to a Policy: structure, references and `extends`, all problems in one run.

Layer: policy. Start reading at `load_policy`.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any, Final

from pydantic import ValidationError

from policyguard.errors import PolicyError, Problem
from policyguard.policy import rules as models
from policyguard.policy.conditions import Age, DataAge, Part
from policyguard.policy.loader import (
    LIMITS,
    Document,
    Limits,
    collector_paused,
    printable,
    read_document,
    read_text,
)
from policyguard.policy.problems import keys_of, problems_of
from policyguard.policy.references import check_references
from policyguard.policy.rules import Mark, OwnTerms, Policy
from policyguard.policy.salvage import what_is_left
from policyguard.policy.source import Source
from policyguard.policy.suggest import Suggestions

MAX_FILES: Final = 64
MAX_RULES: Final = 10_000
_STRENGTH: Final = ("off", "flag", "redact", "block")


def load_policy(path: str | Path, *, root: Path | None = None, limits: Limits = LIMITS) -> Policy:
    """Read, check and merge a policy file and what it extends.

    Args:
        path: the policy file.
        root: `extends` may not leave this folder; by default the file's own.
        limits: caps for each file.

    Returns:
        The Policy; parents' parts are merged into it.

    Raises:
        PolicyError: with every problem of every file, `file:line:col: PGnnn message`.

    Cost: O(size); 10,000 rules cost at most a quarter of PyYAML's CSafeLoader alone.
    """
    path = Path(path)
    reader = _Reader(Path(os.path.realpath(root or path.parent)), limits)
    with collector_paused():
        reader.read(path, str(path), ())
        most = max(MAX_RULES, limits.nodes // 5)
        return _finish(reader.sources, reader.problems, max_rules=most)


def policy_from_text(text: str | bytes, *, name: str = "policy", limits: Limits = LIMITS) -> Policy:
    """As `load_policy`, for text in memory; `extends` is refused."""
    return _single(read_text(text, name=name, limits=limits))


def policy_from_dict(tree: Mapping[str, Any], *, name: str = "policy") -> Policy:
    """As `load_policy`, for a tree in memory (the shape of the YAML); `extends` is refused."""
    document = Document(name)
    document.tree = dict(tree)
    return _single(document)


def _single(document: Document) -> Policy:
    source = structure(document)
    problems = list(document.problems)
    if source is not None and source.model.extends:
        hint = "load it from a file"
        message = "`extends` needs a file to start from"
        problems.append(document.problem("PG116", message, ("extends",), hint))
    return _finish([source] if source else [], problems, max_rules=MAX_RULES)


class _Reader:
    """Reads a file and, before it, everything it extends, each once."""

    def __init__(self, root: Path, limits: Limits) -> None:
        self.root, self.limits = root, limits
        self.sources: list[Source] = []
        self.problems: list[Problem] = []
        self._seen: set[Path] = set()

    def read(self, path: Path, name: str, chain: tuple[Path, ...]) -> None:
        real = Path(os.path.realpath(path))
        self._seen.add(real)
        document = read_document(real if chain else path, name=name, limits=self.limits)
        source = structure(document)
        self.problems += document.problems
        if source is None:
            return
        for index, text in enumerate(source.model.extends):
            parent = self._resolve(source, index, text, real, (*chain, real))
            if parent is not None and parent not in self._seen:
                shown = str(Path(name).parent / text) if name else text
                before = len(self.problems)
                self.read(parent, shown, (*chain, real))
                self._unread(source, index, text, before)
        self.sources.append(source)

    def _unread(self, source: Source, index: int, text: str, before: int) -> None:
        """A parent that can't be read is a problem of the line that names it."""
        for at in range(before, len(self.problems)):
            found = self.problems[at]
            if found.code == "PG001" and not found.line:
                why = found.message.partition(": ")[2]
                message = f"can't read the parent `{printable(text)}`: {why}"
                path = ("extends", index)
                self.problems[at] = source.document.problem("PG001", message, path)

    def _resolve(
        self, source: Source, index: int, text: str, here: Path, chain: tuple[Path, ...]
    ) -> Path | None:
        def refuse(code: str, message: str, hint: str = "") -> None:
            problem = source.document.problem(code, message, ("extends", index), hint)
            self.problems.append(problem)

        if "://" in text or "\x00" in text or Path(text).is_absolute():
            refuse("PG116", "`extends` takes a relative path", "copy the file into the project")
            return None
        real = Path(os.path.realpath(here.parent / text))
        if real in chain:
            cycle = " -> ".join(p.name for p in (*chain[chain.index(real) :], real))
            refuse("PG117", f"`extends` runs in a circle: {printable(cycle, 200)}")
            return None
        if not real.is_relative_to(self.root):
            refuse("PG116", "`extends` leaves the policy's folder", "keep parents inside it")
            return None
        if len(self._seen) >= MAX_FILES:
            refuse("PG116", f"more than {MAX_FILES} files")
            return None
        return real


def structure(document: Document) -> Source | None:
    """Check a document's structure; problems go to the document, broken parts are left out."""
    tree = document.tree
    if tree is None and any(p.severity == "error" for p in document.problems):
        return None
    if not isinstance(tree, dict):
        kind = "empty" if tree is None else "not a mapping"
        hint = "start with `policyguard: 1`"
        document.problems.append(document.problem("PG008", f"the file is {kind}", (), hint))
        return None
    try:
        model = Policy.model_validate(tree)
    except ValidationError as error:
        # Denies: the problems go into the document, and no policy comes of it.
        document.problems += problems_of(document, error, language_keys())
        left = what_is_left(document.tree, error)
        return None if left is None else Source(document, *left)
    index = {name: range(len(value)) for name, value in tree.items() if isinstance(value, list)}
    return Source(document, model, index, frozenset())


@cache
def language_keys() -> tuple[str, ...]:
    """Every key of the policy language, for suggestions."""
    parts = [v for v in vars(models).values() if isinstance(v, type) and issubclass(v, Part)]
    return keys_of([*parts, Age, DataAge])


def _finish(sources: Sequence[Source], problems: Iterable[Problem], *, max_rules: int) -> Policy:
    problems = list(problems)
    merged = merge(sources, problems) if sources else None
    if merged is not None:
        near = Suggestions()
        for source in sources:
            problems += check_references(source, merged, sources, near)
        if len(merged.rules) > max_rules:
            problems.append(
                Problem(sources[-1].document.file, 0, 0, "PG004", f"more than {max_rules} rules")
            )
    if merged is None or any(problem.severity == "error" for problem in problems):
        raise PolicyError(problems)
    return merged


def merge(sources: Sequence[Source], problems: list[Problem]) -> Policy:
    """Parents and child as one policy: parts are added, never redefined or removed."""
    child = sources[-1].model
    places: dict[str, Mark] = {}
    for source in sources:
        places[f"file {source.document.file}"] = (source.document.file, 1, 1)
        for section in ("rules", "retention"):
            found = source.document.item_places(section)
            for part, index in zip(
                getattr(source.model, section), source.index.get(section, ()), strict=True
            ):
                line, col = found[index] if found else (1, 1)
                places.setdefault(part.id, (source.document.file, line, col))
        for name, path in _parts(source):
            line, col = source.document.place(path, of_key=isinstance(path[-1], str))
            places.setdefault(name, (source.document.file, line, col))
    if len(sources) > 1:
        _redefined(sources, problems)
        changes = [s.model.purpose_changes for s in sources if s.model.purpose_changes is not None]
        floors = [s.model.at_least for s in sources if s.model.at_least is not None]
        child = child.model_copy(
            update={
                "notice": child.notice.model_copy(
                    update={"clauses": _union(s.model.notice.clauses for s in sources)}
                ),
                "terms": OwnTerms(
                    data=_union(s.model.terms.data for s in sources),
                    purposes=_union(s.model.terms.purposes for s in sources),
                    facts=_union(s.model.terms.facts for s in sources),
                ),
                "named_only": tuple(part for s in sources for part in s.model.named_only),
                "recipients": _union(s.model.recipients for s in sources),
                "rules": tuple(part for s in sources for part in s.model.rules),
                "retention": tuple(part for s in sources for part in s.model.retention),
                "obligations": tuple(part for s in sources for part in s.model.obligations),
                "purpose_changes": tuple(c for group in changes for c in group)
                if changes
                else None,
                "at_least": max(floors, key=_STRENGTH.index) if floors else None,
                "extends": (),
            }
        )
    child._places.update(places)  # noqa: SLF001 - the loader knows the places
    return child


def _parts(source: Source) -> Iterator[tuple[str, Sequence[str | int]]]:
    """What else has a place of its own: its name (`Policy.mark`) and its path in the file."""
    model = source.model
    for index, promise in enumerate(model.obligations):
        yield f"obligations {promise.id}", source.path("obligations", index)
    yield from ((f"recipients {name}", ("recipients", name)) for name in model.recipients)
    clauses = ("notice", "clauses")
    yield from ((f"clauses {name}", (*clauses, name)) for name in model.notice.clauses)
    for kind in ("data", "purposes", "facts"):
        for term in getattr(model.terms, kind):
            yield f"{kind} {term}", ("terms", kind, term)
    yield from ((f"policy {name}", (name,)) for name in ("notice", "title", "at_least"))


def _union(parts: Iterable[Mapping[str, Any]]) -> dict[str, Any]:
    """All entries; the first definition stays (a parent's)."""
    found: dict[str, Any] = {}
    for part in parts:
        for key, value in part.items():
            found.setdefault(key, value)
    return found


def _redefined(sources: Sequence[Source], problems: list[Problem]) -> None:
    """A child that gives a parent's name another meaning: an error with the place."""
    seen: dict[tuple[str, str], object] = {}
    for source in sources:
        named: list[tuple[tuple[str, ...], Mapping[str, object]]] = [
            (("recipients",), source.model.recipients),
            (("notice", "clauses"), source.model.notice.clauses),
            (("terms", "data"), source.model.terms.data),
            (("terms", "purposes"), source.model.terms.purposes),
            (("terms", "facts"), source.model.terms.facts),
        ]
        mine: dict[tuple[str, str], object] = {}
        for path, table in named:
            for key, value in table.items():
                mine[path[-1], key] = value
                if seen.get((path[-1], key), value) != value:
                    problems.append(_redefines(source, (*path, key), key))
        seen.update(mine)


def _redefines(source: Source, path: tuple[str | int, ...], name: str) -> Problem:
    hint = "a child adds; give it another name"
    message = f"`{printable(name)}` is defined by a parent already"
    return source.document.problem("PG118", message, path, hint)
