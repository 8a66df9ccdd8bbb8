"""The data map: what tables, columns and payload fields hold, and how it is asked.

Layer: policy. What a file may say stands in `policyguard.policy.mapfile`. Start reading at
`load_data_map`, then `DataMap.column`.

Names count without their case. A more exact entry wins: an exact name before a pattern, a longer
pattern before a shorter. A name without its schema and one with it mean the same table, in either
direction: where that is in doubt, the label counts.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache, lru_cache
from pathlib import Path
from types import MappingProxyType
from typing import Any, Final

from pydantic import ValidationError

from policyguard.errors import DataMapError, Problem
from policyguard.policy.flow import Evidence, Label
from policyguard.policy.loader import LIMITS, Document, Limits, printable, read_document, read_text
from policyguard.policy.mapfile import OBSERVED, ColumnEntry, DataMapFile, FieldLabel, Table
from policyguard.policy.patterns import FieldPattern, NamePattern, TablePattern
from policyguard.policy.problems import keys_of, problems_of
from policyguard.policy.suggest import Suggestions
from policyguard.policy.taxonomy import Taxonomy, Terms, built_in
from policyguard.policy.terms import is_term

_REMEMBERED: Final = 4_096
Mark = tuple[str, int, int]
_NOWHERE: Final[Mark] = ("", 0, 0)


@dataclass(frozen=True, slots=True)
class ColumnLabel:
    """What is known about a column.

    Attributes:
        labels: one for each data category; empty when the column only names a person or a fact.
        subject: the column says whose row it is.
        fact: the fact about the person that it holds, or "".
        purpose: of the facts `consent` and `opt_out`: the purpose answered for, else "".
    """

    labels: tuple[Label, ...] = ()
    subject: bool = False
    fact: str = ""
    purpose: str = ""


@dataclass(frozen=True, slots=True)
class Labelled:
    """One entry that labels something, for checks and reports.

    Attributes:
        source: `table.column` as written, or the pattern of a field.
        labels: what it holds.
        file, line, col: where it stands; "" and 0 if it came from no file.
    """

    source: str
    labels: tuple[Label, ...]
    file: str = ""
    line: int = 0
    col: int = 0


class DataMap:
    """Labels of tables, columns and fields. Immutable; safe to share between threads.

    Attributes:
        model: what was read, as written.
        tables: tables written without a pattern, each with the columns written without one.
    """

    __slots__ = ("_column", "_field", "_fields", "_marks", "_tables", "model", "tables")

    def __init__(self, model: DataMapFile, marks: Mapping[str, Mark] | None = None) -> None:
        self.model = model
        self._marks = dict(marks or {})
        self.tables: Mapping[str, tuple[str, ...]] = MappingProxyType(
            {
                name: tuple(c for c in table.columns if not NamePattern(c).wild)
                for name, table in model.tables.items()
                if not TablePattern(name).wild
            }
        )
        self._tables = [(TablePattern(n), n, t, _columns(t)) for n, t in model.tables.items()]
        self._fields = sorted(
            ((FieldPattern(name), name, entry) for name, entry in model.fields.items()),
            key=lambda item: (item[0].rank, item[1]),
            reverse=True,
        )
        # Bounded: names come from queries and payloads.
        self._column = lru_cache(_REMEMBERED)(self._find_column)
        self._field = lru_cache(_REMEMBERED)(self._find_field)

    def column(self, table: str, column: str) -> ColumnLabel | None:
        """What a column holds, or None if nothing is said about it.

        Args:
            table: `users` or `schema.users`.
            column: the column's name.

        Returns:
            The most exact entry. Two entries that fit equally well both count. `source` of the
            labels is `table.column` as the data map writes the table.

        Cost: a cached look-up; a new name is compared with every entry.
        """
        return self._column(table, column)

    def table_recipient(self, table: str) -> str | None:
        """To whom goes what is written into this table, None if it stays here."""
        return next((t.recipient for _, t, _ in self._matching(table) if t.recipient), None)

    def clock(self, table: str, event: str) -> str | None:
        """The column that holds the clock of a retention (`since: event`), if one is named."""
        return next((t.clock[event] for _, t, _ in self._matching(table) if event in t.clock), None)

    def events(self, table: str, column: str) -> tuple[str, ...]:
        """The retention events whose clock a column holds."""
        found = {
            event: None
            for _, t, _ in self._matching(table)
            for event, name in t.clock.items()
            if name.casefold() == column.casefold()
        }
        return tuple(found)

    def whose_row(self, table: str) -> str | None:
        """The column that says whose row it is.

        Returns:
            "" if none does; None if several do, or may: then a row is about several people.
        """
        found: dict[str, str] = {}
        for _, t, _ in self._matching(table):
            for name, entry in t.columns.items():
                if entry.subject and NamePattern(name).wild:
                    return None
                if entry.subject:
                    found[name.casefold()] = name
        return None if len(found) > 1 else next(iter(found.values()), "")

    def field(self, path: str) -> tuple[Label, ...]:
        """The labels of a key of a payload or model.

        Args:
            path: dotted (`user.face_embedding`, `items[0].email`), or a key alone.

        Returns:
            The labels of the most exact entry that fits the end of the path. `source` is the entry
            as written, never the path: keys of payloads can be personal data.

        Cost: a cached look-up; a new path is compared with every entry.
        """
        return self._field(path)

    def labelled(self) -> Iterator[Labelled]:
        """Every entry with a label, in the order of the file."""
        for name, table in self.model.tables.items():
            for column, entry in table.columns.items():
                if entry.data is not None:
                    source = f"{name}.{column}"
                    yield Labelled(source, _labels(entry, source), *self._mark(source))
        for pattern, value in self.model.fields.items():
            mark = self._mark(f"fields {pattern}")
            yield Labelled(pattern, _labels(value, pattern, "declared"), *mark)

    def _mark(self, name: str) -> Mark:
        return self._marks.get(name, _NOWHERE)

    def _matching(self, table: str) -> list[tuple[str, Table, Sequence[tuple[NamePattern, str]]]]:
        """The entries that mean this table, the most exact first."""
        ranked = [
            (rank, name, entry, columns)
            for pattern, name, entry, columns in self._tables
            if (rank := pattern.fits(table)) is not None
        ]
        ranked.sort(key=lambda item: (item[0], item[1]), reverse=True)
        return [(name, entry, columns) for _, name, entry, columns in ranked]

    def _find_column(self, table: str, column: str) -> ColumnLabel | None:
        folded = column.casefold()
        best: tuple[object, ...] | None = None
        found: list[tuple[str, ColumnEntry]] = []
        for pattern, name, entry, columns in self._tables:
            rank = pattern.fits(table)
            if rank is None:
                continue
            for shape, written in columns:
                if not shape.matches(folded):
                    continue
                exact = (rank, shape.rank)
                if best is None or exact > best:
                    best, found = exact, []
                if exact == best:
                    shown = printable(column) if shape.wild else written
                    source = f"{printable(table) if pattern.wild else name}.{shown}"
                    found.append((source, entry.columns[written]))
        return _merged(found) if found else None

    def _find_field(self, path: str) -> tuple[Label, ...]:
        best: tuple[bool, int] | None = None
        found: dict[tuple[object, ...], Label] = {}
        for pattern, name, entry in self._fields:
            if best is not None and pattern.rank < best:
                break
            if pattern.matches(path):
                best = pattern.rank
                for label in _labels(entry, name, "declared"):
                    found[label.data, label.form, label.evidence] = label
        return tuple(found.values())


def load_data_map(
    path: str | Path,
    words: Taxonomy | None = None,
    recipients: Collection[str] | None = None,
    *,
    limits: Limits = LIMITS,
) -> DataMap:
    """Read and check a data map.

    Args:
        path: the file.
        words: the policy's words (`policy.words`); without them the built-in terms count and facts
            are taken as they are.
        recipients: the policy's recipients (`policy.everyone`); without them any id goes.
        limits: caps for the file.

    Raises:
        DataMapError: with every problem, `file:line:col: PGnnn message`.
    """
    return _checked(read_document(Path(path), name=str(path), limits=limits), words, recipients)


def data_map_from_text(
    text: str | bytes,
    words: Taxonomy | None = None,
    recipients: Collection[str] | None = None,
    *,
    name: str = "data map",
) -> DataMap:
    """As `load_data_map`, for text in memory."""
    return _checked(read_text(text, name=name), words, recipients)


def data_map_from_dict(
    tree: Mapping[str, Any],
    words: Taxonomy | None = None,
    recipients: Collection[str] | None = None,
    *,
    name: str = "data map",
) -> DataMap:
    """As `load_data_map`, for a tree in memory (the shape of the YAML)."""
    document = Document(name)
    document.tree = dict(tree)
    return _checked(document, words, recipients)


@cache
def language_keys() -> tuple[str, ...]:
    """Every key of the language of data maps, for suggestions."""
    return keys_of([DataMapFile, Table, ColumnEntry, FieldLabel])


def _checked(
    document: Document, words: Taxonomy | None, recipients: Collection[str] | None
) -> DataMap:
    tree = document.tree
    if not isinstance(tree, dict):
        if not document.problems:
            kind = "empty" if tree is None else "not a mapping"
            problem = document.problem("PG008", f"the file is {kind}", (), "start with `tables:`")
            document.problems.append(problem)
        raise DataMapError(document.problems)
    try:
        model = DataMapFile.model_validate(tree)
    except ValidationError as error:
        # Denies: the problems are raised below, and no data map comes of it.
        document.problems += problems_of(document, error, language_keys())
        model = None
    document.problems += _Words(document, words, recipients).problems(tree)
    if model is None or document.problems:
        raise DataMapError(document.problems)
    return DataMap(model, _marks_of(document, model))


class _Words:
    """Whether every word names something. Reads the tree, so that it says more than structure."""

    def __init__(
        self, document: Document, words: Taxonomy | None, recipients: Collection[str] | None
    ) -> None:
        self.document, self.words = document, words or built_in()
        self.recipients, self.near = recipients, Suggestions()
        self.facts = None if words is None else {*OBSERVED, *words.facts.phrases}

    def problems(self, tree: Mapping[str, Any]) -> Iterator[Problem]:
        for name, table in _items(tree.get("tables")):
            for column, entry in _items(_get(table, "columns")):
                yield from self._entry(entry, ("tables", name, "columns", column))
            recipient = _get(table, "recipient")
            if self.recipients is not None and isinstance(recipient, str):
                path = ("tables", name, "recipient")
                yield from self._name("PG106", "recipient", recipient, self.recipients, path)
        for name, entry in _items(tree.get("fields")):
            yield from self._entry(entry, ("fields", name))

    def _entry(self, entry: object, path: tuple[str, ...]) -> Iterator[Problem]:
        if isinstance(entry, str):
            yield from self._term("PG104", "data category", entry, self.words.data, path)
            return
        data = _get(entry, "data")
        for index, term in enumerate(data if isinstance(data, (list, tuple)) else [data]):
            where: tuple[str | int, ...] = (*path, "data", index)
            yield from self._term("PG104", "data category", term, self.words.data, where)
        purpose = _get(entry, "purpose")
        where = (*path, "purpose")
        yield from self._term("PG105", "purpose", purpose, self.words.purposes, where)
        fact = _get(entry, "fact")
        if self.facts is not None and isinstance(fact, str):
            yield from self._name("PG108", "fact", fact, self.facts, (*path, "fact"))

    def _term(
        self, code: str, kind: str, term: object, known: Terms, path: Sequence[str | int]
    ) -> Iterator[Problem]:
        # A term that isn't even well written was reported with the structure.
        if not isinstance(term, str) or not is_term(term):
            return
        if term in known or (self.facts is None and known.known(term)):
            return
        near = self.near.term(term, known)
        hint = f"did you mean `{near}`?" if near else "`policyguard terms WORD` finds terms"
        yield self.document.problem(code, f"unknown {kind} `{printable(term)}`", path, hint)

    def _name(
        self, code: str, kind: str, name: str, known: Collection[str], path: Sequence[str | int]
    ) -> Iterator[Problem]:
        if name in known:
            return
        near = self.near.name(name, known)
        where = {"fact": "terms.facts", "recipient": "recipients"}[kind]
        hint = f"did you mean `{near}`?" if near else f"declare it in the policy under `{where}`"
        yield self.document.problem(code, f"unknown {kind} `{printable(name)}`", path, hint)


def _items(value: object) -> Iterator[tuple[str, object]]:
    return iter(value.items()) if isinstance(value, Mapping) else iter(())


def _get(value: object, key: str) -> object:
    return value.get(key) if isinstance(value, Mapping) else None


def _columns(table: Table) -> tuple[tuple[NamePattern, str], ...]:
    return tuple((NamePattern(name), name) for name in table.columns)


def _labels(entry: FieldLabel, source: str, evidence: Evidence = "column") -> tuple[Label, ...]:
    kind: Evidence = "suspected" if entry.suspected else evidence
    return tuple(Label(term, entry.stored, source, kind) for term in entry.data or ())


def _merged(found: Sequence[tuple[str, ColumnEntry]]) -> ColumnLabel:
    """Entries that fit equally well as one: every label counts, a fact only if they agree on it."""
    labels = dict.fromkeys(label for source, entry in found for label in _labels(entry, source))
    facts = {(entry.fact or "", entry.purpose or "") for _, entry in found}
    fact, purpose = facts.pop() if len(facts) == 1 else ("", "")
    subject = all(entry.subject for _, entry in found)
    return ColumnLabel(tuple(labels), subject, fact, purpose)


def _marks_of(document: Document, model: DataMapFile) -> dict[str, Mark]:
    marks: dict[str, Mark] = {}
    for name, table in model.tables.items():
        for column in table.columns:
            place = document.place(("tables", name, "columns", column), of_key=True)
            marks[f"{name}.{column}"] = (document.file, *place)
    for pattern in model.fields:
        place = document.place(("fields", pattern), of_key=True)
        marks[f"fields {pattern}"] = (document.file, *place)
    return marks
