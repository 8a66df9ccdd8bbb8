"""`inspect`: what SQL queries do with columns.

Layer: cli. Start reading at `inspect`.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer

from policyguard.cli.files import find_file
from policyguard.cli.output import Exit, MistakeError, reason_of, say, say_row
from policyguard.cli.shapes import Rows, rows_in_columns

if TYPE_CHECKING:
    from policyguard.inspectors.sql import Catalog, Output, Statement

_MOST: Final = 1 << 26


def register(app: typer.Typer) -> None:
    """Add this module's commands."""
    app.command(
        epilog="Example: policyguard inspect --dialect postgres --schema data-map.yaml "
        '--sql "SELECT email FROM users"',
    )(inspect)


@dataclass(frozen=True, slots=True)
class Query:
    """One text to inspect.

    Attributes:
        id: its name.
        text: as it will be sent.
        dialect: its own, or that of the command.
    """

    id: str
    text: str
    dialect: str


def inspect(
    *,
    dialect: Annotated[str, typer.Option(metavar="NAME", help="postgres, mysql, sqlite, ...")],
    schema: Annotated[
        str,
        typer.Option(
            metavar="FILE",
            help="Tables and columns: a schema lock, JSON {table: {column: type}}, DDL (.sql), "
            "CSV, dbt's manifest or catalog, a fides dataset, or a data map.",
        ),
    ],
    sql: Annotated[str | None, typer.Option(metavar="TEXT", help="One query.")] = None,
    queries: Annotated[
        str, typer.Option(metavar="FILE", help='JSONL: {"id": ..., "sql": ...} a line.')
    ] = "",
    shape: Annotated[Rows, typer.Option("--format", help="How to print it.")] = Rows.text,
) -> None:
    """Tell what SQL queries do with columns.

    Which they read, where their results come from, what they write and export. What can't be told
    for sure is `unresolved`, with the reason; then the exit code is 3.
    """
    if (sql is None) == (not queries):
        raise MistakeError("inspect: needs either --sql or --queries")
    from policyguard.inspectors.sql import traits  # noqa: PLC0415 - not for `--help`

    name = traits.traits_of(dialect).name
    catalog = _catalog(schema, name)
    found = [Query("1", sql, name)] if sql is not None else _queries(queries, name)
    unresolved = 0
    for query in found:
        row = _inspected(query, catalog)
        unresolved += row["status"] == "unresolved"
        if shape is Rows.jsonl:
            say_row(row)
        else:
            _print(row)
    raise typer.Exit(Exit.INCOMPLETE if unresolved else Exit.CLEAN)


def _inspected(query: Query, catalog: Catalog) -> dict[str, Any]:
    """One row; several statements count together, and one that is unresolved makes all so."""
    from policyguard.errors import PolicyGuardError  # noqa: PLC0415 - not for `--help`
    from policyguard.inspectors.sql import inspect as statements_of  # noqa: PLC0415 - as above

    try:
        statements = statements_of(query.text, query.dialect, catalog)
    except PolicyGuardError as error:
        # Denies: a row in a dialect that isn't known is unresolved.
        return _row(query.id, (), error.what)
    why = "; ".join(dict.fromkeys(s.why for s in statements if not s.resolved))
    return _row(query.id, statements, why)


def _row(name: str, statements: Iterable[Statement], why: str) -> dict[str, Any]:
    found = list(statements)
    writes = [write for s in found for write in s.writes]
    exports = [export for s in found for export in s.exports]
    # What is exported leaves the database like a result does.
    outputs = [o for s in found for o in (*s.outputs, *(o for e in s.exports for o in e.outputs))]
    return {
        "schema": "policyguard.inspect/1",
        "id": name,
        "status": "unresolved" if why or not found else "resolved",
        "why": why,
        "reads": sorted({column for s in found for column in s.reads}),
        "outputs": [_output(output) for output in outputs],
        "predicates": sorted({column for s in found for column in s.predicates}),
        "writes": sorted({write.table for write in writes}),
        "exports": sorted({export.place or export.kind for export in exports}),
        "written": [
            {"table": w.table, "how": w.how, "columns": [_output(o) for o in w.outputs]}
            for w in writes
        ],
        "exported": [
            {"kind": e.kind, "place": e.place, "columns": [_output(o) for o in e.outputs]}
            for e in exports
        ],
    }


def _output(output: Output) -> dict[str, Any]:
    return {
        "name": output.name,
        "from": [{"column": source.column, "via": source.via} for source in output.sources],
    }


def _print(row: Mapping[str, Any]) -> None:
    why = f": {row['why']}" if row["why"] else ""
    say(f"{row['id']}: {row['status']}{why}", colour="yellow" if row["why"] else "green")
    for line in rows_in_columns(_details(row)):
        say(f"  {line}")


def _details(row: Mapping[str, Any]) -> Iterator[tuple[str, ...]]:
    yield "reads", ", ".join(row["reads"]) or "no column"
    for output in row["outputs"]:
        yield "returns", f"{output['name'] or '(no name)'} {_from(output)}"
    if row["predicates"]:
        yield "filters by", ", ".join(row["predicates"])
    for write in row["written"]:
        columns = ", ".join(f"{c['name'] or '?'} {_from(c)}" for c in write["columns"])
        yield f"{write['how']}", f"{write['table']}{': ' if columns else ''}{columns}"
    for export in row["exported"]:
        columns = ", ".join(f"{c['name'] or '?'} {_from(c)}" for c in export["columns"])
        place = f" {export['place']}" if export["place"] else ""
        yield "exports", f"to {export['kind']}{place}{': ' if columns else ''}{columns}"


def _from(output: Mapping[str, Any]) -> str:
    sources = ", ".join(f"{s['column']} {s['via']}" for s in output["from"])
    return f"from {sources}" if sources else "from no column"


def _read(name: str) -> str:
    """A text file of the user's.

    Raises:
        MistakeError: it can't be read, is too large, or isn't UTF-8.
    """
    path = find_file(name)
    try:
        with path.open("rb") as file:
            data = file.read(_MOST + 1)
        if len(data) > _MOST:
            raise MistakeError(f"{name}: larger than {_MOST} bytes")
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        # Denies: bytes that aren't UTF-8 could read as anything.
        raise MistakeError(f"{name}: not UTF-8 text (byte {error.start + 1})") from None
    except OSError as error:
        # Denies: nothing is inspected without its file.
        raise MistakeError(f"{name}: {reason_of(error)}") from None


def _queries(name: str, dialect: str) -> Iterator[Query]:
    """The rows of a JSONL file; all are read before the first is inspected."""
    found = []
    for number, line in enumerate(_read(name).split("\n"), 1):
        if not line.strip():
            continue
        try:
            row = json.loads(line)
        except (ValueError, RecursionError):
            # Denies: a line that can't be read was not inspected, so nothing is.
            raise MistakeError(f"{name}:{number}: not a line of JSON") from None
        text = row.get("sql") if isinstance(row, dict) else None
        if not isinstance(text, str):
            raise MistakeError(
                f"{name}:{number}: `sql` is missing or not text",
                'a line looks like {"id": "q1", "sql": "SELECT 1"}',
            )
        own = row.get("dialect")
        found.append(
            Query(str(row.get("id", number)), text, own if isinstance(own, str) else dialect)
        )
    if not found:
        raise MistakeError(f"{name}: holds no query")
    return iter(found)


def _catalog(name: str, dialect: str) -> Catalog:
    from policyguard.catalogs import SchemaError, load_schema  # noqa: PLC0415 - not for `--help`
    from policyguard.inspectors.sql import Catalog  # noqa: PLC0415 - as above

    suffix = Path(name).suffix.lower()
    path = find_file(name, "data-map.yaml")
    if suffix in (".yaml", ".yml") and not _is_fides(path):
        from policyguard.policy.datamap import load_data_map  # noqa: PLC0415 - as above

        labels = load_data_map(path)
        tables = labels.tables
        patterns = [table for table in labels.model.tables if table not in tables]
        return Catalog.from_tables(tables, patterns=patterns)
    if suffix in (".sql", ".ddl"):
        from policyguard.inspectors.sql.ddl import catalog_from_ddl  # noqa: PLC0415 - as above

        return catalog_from_ddl(_read(name), dialect)
    try:
        schema = load_schema(path, dialect)
    except SchemaError as error:
        # Denies: without tables nothing is resolved, and that would be nobody's intention.
        raise MistakeError(error.what, error.hint) from None
    if schema.dialect and schema.dialect != dialect:
        # The queries of its views would be read as something else than they are.
        raise MistakeError(
            f"{name}: its dialect is {schema.dialect}", f"--dialect {schema.dialect}"
        )
    return Catalog.from_schema(schema)


def _is_fides(path: Path) -> bool:
    """Whether a YAML file is a fides dataset; anything else is taken for a data map."""
    from policyguard.policy.loader import read_document  # noqa: PLC0415 - not for `--help`

    tree = read_document(path).tree
    return isinstance(tree, dict) and "dataset" in tree and "tables" not in tree
