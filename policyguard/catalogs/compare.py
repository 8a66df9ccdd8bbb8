"""Whether a data map still fits a database: what it names in vain, and what it leaves out.

Layer: catalogs. Start reading at `compare`.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Final, Literal

from policyguard.catalogs.suggest import suggestions
from policyguard.policy.datamap import DataMap
from policyguard.policy.loader import Document, printable
from policyguard.policy.patterns import NamePattern, TablePattern
from policyguard.policy.schemamap import Disagreement, disagreements
from policyguard.policy.schemas import Schema, SchemaTable, Stated
from policyguard.policy.suggest import Suggestions

Kind = Literal[
    "no_such_table",
    "no_such_column",
    "not_mapped",
    "looks_personal",
    "disagreement",
    "unreadable",
]
_SHOWN: Final = 6


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing in which data map and database differ.

    Attributes:
        kind: what kind of difference.
        table, column: as the side that has it writes them; "" where it is about no column.
        message: lower case, no final period, names in backticks.
        hint: a way out, or "".
        line, col: in the data map, or 0.
    """

    kind: Kind
    table: str
    column: str
    message: str
    hint: str = ""
    line: int = 0
    col: int = 0


def compare(
    data_map: DataMap, schema: Schema, document: Document, ignore: Sequence[str] = ()
) -> list[Finding]:
    """Every difference, in the order of the data map, then of the database.

    Args:
        data_map: the labels.
        schema: the structure that is really there.
        document: the data map's file, for places.
        ignore: tables, or columns as `table.column`, about which guesses are wrong; with `*`. Only
            what is left out can be ignored, never what is named in vain or contradicted.

    Cost: O(entries x tables).
    """
    shapes = [pattern.casefold() for pattern in ignore]
    found = list(_in_vain(data_map, schema, document))
    found += [one for one in _left_out(data_map, schema) if not _ignored(one, shapes)]
    found += [_disagreement(one) for one in disagreements(data_map, schema)]
    for problem in schema.problems:
        where, _, message = problem.partition(": ")
        table, _, column = where.rpartition(".")
        found.append(Finding("unreadable", table, column, message or problem))
    return found


def _in_vain(data_map: DataMap, schema: Schema, document: Document) -> Iterator[Finding]:
    """Entries that name nothing. A pattern may stand for what is yet to come."""
    near = Suggestions()
    names = sorted(schema.tables)
    for name, table in data_map.model.tables.items():
        if TablePattern(name).wild or "/" in name or name.startswith("@"):
            continue
        fits = schema.fitting(name)
        place = document.place(("tables", name), of_key=True)
        if not fits:
            if table.recipient is not None and not table.columns:
                continue  # a stage or a bucket is no table
            meant = _short(near.name(name, names) or near.name(name, _lasts(names)), name)
            hint = f"did you mean `{printable(meant)}`?" if meant else "remove it, or mend it"
            message = f"table `{printable(name)}` isn't in the database"
            yield Finding("no_such_table", name, "", message, hint, *place)
            continue
        columns = list(dict.fromkeys(column for one in fits for column in one.columns))
        known = {column.casefold() for column in columns}
        if not all(one.complete for one in fits):
            continue
        named = {column: ("tables", name, "columns", column) for column in table.columns}
        clocks = {column: ("tables", name, "clock", event) for event, column in table.clock.items()}
        for column, path in {**clocks, **named}.items():
            if NamePattern(column).wild or column.casefold() in known:
                continue
            meant = near.name(column, columns)
            hint = f"did you mean `{printable(meant)}`?" if meant else ""
            message = f"column `{printable(f'{name}.{column}')}` isn't in the database"
            place = document.place(path, of_key=path[2] == "columns")
            yield Finding("no_such_column", name, column, message, hint, *place)


def _left_out(data_map: DataMap, schema: Schema) -> Iterator[Finding]:
    """Tables that nobody mapped, and columns that look personal and carry no label."""
    shapes = [TablePattern(name) for name in data_map.model.tables]
    for table in sorted(schema.tables.values(), key=lambda one: one.name):
        if table.part_of or (table.view and table.query):
            continue  # they inherit
        guesses = [
            (column, guess.data)
            for column, guess in suggestions(schema, table)
            if guess.data and not table.columns[column].labels
        ]
        told = table.labelled() or any(shape.fits(table.name) for shape in shapes)
        if not told:
            yield _not_mapped(table, guesses)
            continue
        for column, data in guesses:
            if data_map.column(table.name, column) is None:
                name = f"{table.name}.{column}"
                message = f"column `{printable(name)}` has no label and looks like `{data}`"
                hint = f"label it; `--ignore {printable(name)}` where the guess is wrong"
                yield Finding("looks_personal", table.name, column, message, hint)


def _ignored(one: Finding, shapes: Sequence[str]) -> bool:
    """Whether a pattern means this table or column, with or without its schema."""
    name = (f"{one.table}.{one.column}" if one.column else one.table).casefold()
    return any(fnmatchcase(name, shape) or fnmatchcase(name, f"*.{shape}") for shape in shapes)


def _not_mapped(table: SchemaTable, guesses: Sequence[tuple[str, str]]) -> Finding:
    kind = "view" if table.view else "table"
    message = f"{kind} `{printable(table.name)}` isn't in the data map"
    if not guesses:
        hint = "if nothing in it is personal, say so: `columns: {}`"
        return Finding("not_mapped", table.name, "", message, hint)
    shown = ", ".join(f"`{printable(column)}`" for column, _ in guesses[:_SHOWN])
    more = f" and {len(guesses) - _SHOWN} more" if len(guesses) > _SHOWN else ""
    return Finding("not_mapped", table.name, "", message, f"these look personal: {shown}{more}")


def _disagreement(one: Disagreement) -> Finding:
    name = f"{one.table}.{one.column}"
    mapped = ", ".join(_label(label) for label in one.mapped) or "no category"
    stated = ", ".join(_label(label) for label in one.stated)
    message = f"`{printable(name)}`: the data map says {mapped}, the database also says {stated}"
    return Finding(
        "disagreement", one.table, one.column, message, "both count; correct one of them"
    )


def _label(label: Stated) -> str:
    forms = "+".join(sorted(label.form))
    return f"`{printable(label.data)}` as {forms}" if forms else f"`{printable(label.data)}`"


def _lasts(names: Sequence[str]) -> list[str]:
    return sorted({name.rsplit(".", 1)[-1] for name in names})


def _short(meant: str, written: str) -> str:
    """A suggestion with a schema only where one was written."""
    return meant if "." in written else meant.rsplit(".", 1)[-1]
