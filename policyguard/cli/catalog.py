"""`map` and `schema-lock`: a first data map, whether it still fits, and the committed schema.

Layer: cli. Start reading at `map_`, then `schema_lock`.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final

import typer

from policyguard.cli.files import find_file, find_policy
from policyguard.cli.output import Exit, MistakeError, complain, reason_of, say, say_json, say_text
from policyguard.cli.shapes import Format, Listing

if TYPE_CHECKING:
    from policyguard.catalogs import Finding
    from policyguard.policy.schemas import Schema

_MAP: Final = "data-map.yaml"
_LOCK: Final = "schema.lock.json"
_ENVIRONMENT: Final = "env:"
_SHOWN: Final = 200

Db = Annotated[
    str, typer.Option("--db", metavar="URL", help="A live database; env:NAME for a secret URL.")
]
Csv = Annotated[
    list[str], typer.Option("--csv", metavar="FILE", help="information_schema as CSV; repeatable.")
]
DbtCatalog = Annotated[
    str, typer.Option("--dbt-catalog", metavar="FILE", help="dbt's target/catalog.json.")
]
Manifest = Annotated[
    str, typer.Option("--dbt-manifest", metavar="FILE", help="dbt's target/manifest.json.")
]
Ddl = Annotated[
    list[str], typer.Option("--ddl", metavar="FILE", help="DDL in its order; repeatable.")
]
Fides = Annotated[
    list[str], typer.Option("--fides", metavar="FILE", help="A fides dataset; repeatable.")
]
Dialect = Annotated[
    str, typer.Option("--dialect", metavar="NAME", help="Of CSV and DDL: postgres, snowflake, ...")
]
Within = Annotated[
    list[str],
    typer.Option("--in", metavar="SCHEMA", help="Only this schema of the database; repeatable."),
]


def register(app: typer.Typer) -> None:
    """Add this module's commands."""
    app.command(
        "map",
        epilog="Example: policyguard map --db postgresql://localhost/shop -o data-map.yaml",
    )(map_)
    app.command(
        "schema-lock",
        epilog="Example: policyguard schema-lock --db env:DATABASE_URL --check",
    )(schema_lock)


@dataclass(frozen=True, slots=True)
class Sources:
    """Where a schema is to be read from, as the options say it."""

    db: str = ""
    csv: Sequence[str] = ()
    dbt_catalog: str = ""
    dbt_manifest: str = ""
    ddl: Sequence[str] = ()
    fides: Sequence[str] = ()
    schema: str = ""
    dialect: str = ""
    within: Sequence[str] = ()

    def named(self) -> bool:
        """Whether there is any."""
        files = (self.dbt_catalog, self.dbt_manifest, *self.ddl, *self.fides, self.schema)
        return bool(self.db or self.csv or any(files))


def map_(
    *,
    data_map: Annotated[
        str, typer.Argument(metavar="[DATA_MAP]", help="The map to check.", show_default=False)
    ] = "",
    db: Db = "",
    schema: Annotated[
        str, typer.Option("--schema", metavar="FILE", help="A schema lock, or DDL.")
    ] = "",
    csv: Csv = [],  # noqa: B006 - typer reads it, nobody writes it
    dbt_catalog: DbtCatalog = "",
    dbt_manifest: Manifest = "",
    ddl: Ddl = [],  # noqa: B006 - as above
    fides: Fides = [],  # noqa: B006 - as above
    dialect: Dialect = "",
    within: Within = [],  # noqa: B006 - as above
    check: Annotated[
        bool, typer.Option("--check", help="Compare the map with the database.")
    ] = False,
    policy: Annotated[
        str, typer.Option("--policy", metavar="POLICY", help="Whose words the map uses.")
    ] = "",
    ignore: Annotated[
        list[str],
        typer.Option("--ignore", metavar="NAME", help="table or table.column: a wrong guess."),
    ] = [],  # noqa: B006 - as above
    output: Annotated[
        str, typer.Option("--output", "-o", metavar="FILE", help="Write the draft to a file.")
    ] = "",
    force: Annotated[bool, typer.Option("--force", help="Write over a file.")] = False,
    shape: Format = Listing.text,
) -> None:
    """Draft a data map from a database, or check one.

    A draft guesses from names, types, comments and keys; no row is read, and each guess is
    marked `suspected: true`. With --check: what the map names in vain, tables that nobody
    mapped, and columns that look personal and carry no label; exits with 1 when there is any.
    """
    sources = Sources(db, csv, dbt_catalog, dbt_manifest, ddl, fides, schema, dialect, within)
    if not sources.named():
        raise MistakeError("map: needs a database", "--db URL, or --schema schema.lock.json")
    if check:
        raise typer.Exit(_check(sources, data_map, policy, ignore, shape))
    if data_map:
        raise MistakeError("map: a data map is only read with --check", "-o FILE writes a draft")
    if shape is Listing.json:
        raise MistakeError("map: a draft is YAML", "--format json goes with --check")
    from policyguard.catalogs import draft_map  # noqa: PLC0415 - not for `--help`

    found = _read(sources)
    _warn(found)
    text = draft_map(found)
    if not output:
        say_text(text)
        return
    _write(output, text, over=force)
    say(f"{output}: a draft for {_sizes(found)}; confirm each line")


def schema_lock(
    *,
    db: Db = "",
    csv: Csv = [],  # noqa: B006 - as above
    dbt_catalog: DbtCatalog = "",
    dbt_manifest: Manifest = "",
    ddl: Ddl = [],  # noqa: B006 - as above
    fides: Fides = [],  # noqa: B006 - as above
    dialect: Dialect = "",
    within: Within = [],  # noqa: B006 - as above
    search_path: Annotated[
        str,
        typer.Option(
            "--search-path", metavar="A,B", help="Schemas in which the program finds bare names."
        ),
    ] = "",
    output: Annotated[
        str, typer.Option("--output", "-o", metavar="FILE", help="The lock; - prints it.")
    ] = _LOCK,
    check: Annotated[bool, typer.Option("--check", help="Compare instead of writing.")] = False,
) -> None:
    """Write the structure of a database to a committed file.

    Tables, columns, types, keys, labels in comments, and the queries of views: no data. So a
    scan needs no database, and `SELECT *` is understood. With --check it exits with 1, and
    says what changed, when the database is no longer that of the lock.
    """
    sources = Sources(db, csv, dbt_catalog, dbt_manifest, ddl, fides, "", dialect, within)
    if not sources.named():
        raise MistakeError("schema-lock: needs a database", "--db URL, --csv, --dbt-catalog, --ddl")
    from dataclasses import replace  # noqa: PLC0415 - not for `--help`

    from policyguard.catalogs import dump_lock  # noqa: PLC0415 - as above

    found = _read(sources)
    path = tuple(part.strip() for part in search_path.split(",") if part.strip())
    found = replace(found, search_path=path) if path else found
    _warn(found)
    if check and output == "-":
        raise MistakeError("schema-lock: --check needs the lock to compare with", f"-o {_LOCK}")
    if check:
        raise typer.Exit(_compared(output, found, asked=bool(path)))
    if output == "-":
        say_text(dump_lock(found))
        return
    _write(output, dump_lock(found), over=_is_lock(output))
    say(f"{output}: {_sizes(found)}")


def _check(
    sources: Sources, data_map: str, policy: str, ignore: Sequence[str], shape: Listing
) -> Exit:
    from policyguard.catalogs import compare  # noqa: PLC0415 - not for `--help`
    from policyguard.policy.assemble import load_policy  # noqa: PLC0415 - as above
    from policyguard.policy.datamap import load_data_map  # noqa: PLC0415 - as above
    from policyguard.policy.loader import read_document  # noqa: PLC0415 - as above

    path = find_file(data_map or _MAP, _MAP)
    words = load_policy(find_policy(policy)) if policy else None
    labels = load_data_map(path, words.words, words.everyone) if words else load_data_map(path)
    schema = _read(sources)
    document = read_document(path, name=str(path))
    findings = compare(labels, schema, document, ignore)
    if shape is Listing.json:
        rows = [asdict(one) | {"file": str(path) if one.line else ""} for one in findings]
        ok = not findings
        say_json({"schema": "policyguard.map-check/1", "ok": ok, "findings": rows})
    else:
        _warn(schema, problems=False)
        _print(findings, str(path), schema)
    return Exit.FINDINGS if findings else Exit.CLEAN


def _print(findings: Sequence[Finding], name: str, schema: Schema) -> None:
    for one in findings[:_SHOWN]:
        place = f"{name}:{one.line}:{one.col}: " if one.line else ""
        hint = f" ({one.hint})" if one.hint else ""
        say(f"{place}{one.message}{hint}")
    if len(findings) > _SHOWN:
        say(f"and {len(findings) - _SHOWN} more")
    if findings:
        word = "finding" if len(findings) == 1 else "findings"
        say(f"{len(findings)} {word}: the data map doesn't fit", colour="red")
    else:
        say(f"{name}: fits {_sizes(schema)}", colour="green")


def _compared(name: str, found: Schema, *, asked: bool) -> Exit:
    """Whether a lock still says what the database says."""
    from dataclasses import replace  # noqa: PLC0415 - not for `--help`

    from policyguard.catalogs import differences, load_lock  # noqa: PLC0415 - as above

    locked = load_lock(find_file(name, _LOCK))
    if not asked:
        # The search path is the program's, not the database's: it stays as it was written.
        found = replace(found, search_path=locked.search_path)
    lines = list(differences(locked, found))
    for line in lines[:_SHOWN]:
        colour = {"+": "green", "-": "red"}.get(line[0], "yellow")
        say(line, colour=colour)  # type: ignore[arg-type]  # one of the colours there are
    if len(lines) > _SHOWN:
        say(f"and {len(lines) - _SHOWN} more")
    if lines:
        complain(f"{name}: the database has changed (write the lock anew, and review the diff)")
        return Exit.FINDINGS
    say(f"{name}: up to date, {_sizes(found)}", colour="green")
    return Exit.CLEAN


def _read(sources: Sources) -> Schema:
    """All that the options name, as one schema.

    Raises:
        MistakeError: something can't be read; one line with the way out.
    """
    from policyguard.catalogs import SchemaError  # noqa: PLC0415 - not for `--help`

    try:
        parts = list(_parts(sources))
    except SchemaError as error:
        # Denies: without a schema there is neither a draft, nor a check, nor a lock.
        raise MistakeError(error.what, error.hint) from None
    found, *more = parts
    for other in more:
        found = found.merged(other)
    return found


def _parts(sources: Sources) -> Iterator[Schema]:
    from policyguard import catalogs  # noqa: PLC0415 - not for `--help`

    if sources.db:
        yield catalogs.schema_of_database(_url(sources.db), schemas=tuple(sources.within))
    if sources.schema:
        yield catalogs.load_schema(find_file(sources.schema), sources.dialect)
    if sources.dbt_catalog:
        yield catalogs.schema_of_dbt_catalog(find_file(sources.dbt_catalog))
    if sources.csv:
        files = [find_file(name) for name in sources.csv]
        yield catalogs.schema_of_csv(files, _named(sources.dialect, "--csv"))
    if sources.ddl:
        files = [find_file(name) for name in sources.ddl]
        yield catalogs.schema_of_ddl(files, _named(sources.dialect, "--ddl"))
    if sources.dbt_manifest:
        yield catalogs.schema_of_manifest(find_file(sources.dbt_manifest))
    for name in sources.fides:
        yield catalogs.schema_of_fides(find_file(name))


def _url(text: str) -> str:
    """The URL itself, or that of an environment variable; it is never shown."""
    if not text.startswith(_ENVIRONMENT):
        return text
    name = text.removeprefix(_ENVIRONMENT)
    found = os.environ.get(name, "")
    if not found:
        raise MistakeError(f"--db {text}: the environment has no `{name}`")
    return found


def _named(dialect: str, option: str) -> str:
    if not dialect:
        raise MistakeError(f"{option} needs a --dialect", "postgres, snowflake, bigquery, ...")
    return dialect


def _warn(schema: Schema, *, problems: bool = True) -> None:
    """What is known less well than it looks, to standard error."""
    for problem in schema.problems[:_SHOWN] if problems else ():
        complain(f"warning: {problem}")
    if not schema.views_known:
        complain(
            "warning: nothing says which of these are views, so only tables in the data map are "
            "known (export information_schema.views, or tables, too)"
        )
    blind = [table.name for table in schema.tables.values() if table.view and not table.query]
    if blind:
        shown = ", ".join(blind[:5]) + (", ..." if len(blind) > 5 else "")  # noqa: PLR2004 - a line
        complain(f"warning: views whose query isn't known can't be resolved: {shown}")


def _sizes(schema: Schema) -> str:
    views = sum(table.view for table in schema.tables.values())
    tables = len(schema.tables) - views
    counts = ((tables, "table"), (views, "view"), (schema.size, "column"))
    return ", ".join(f"{n} {word}{'' if n == 1 else 's'}" for n, word in counts if n) or "nothing"


def _is_lock(name: str) -> bool:
    """Whether a file is there and is a lock: then it may be written anew."""
    from policyguard.catalogs import SchemaError, load_lock  # noqa: PLC0415 - not for `--help`

    try:
        load_lock(Path(name))
    except SchemaError:
        # Denies: what isn't a lock isn't written over.
        return False
    return True


def _write(name: str, text: str, *, over: bool) -> None:
    path = Path(name)
    try:
        if not over and os.path.lexists(path):
            hint = "see --force" if name.endswith((".yaml", ".yml")) else "it is no schema lock"
            raise MistakeError(f"can't write `{name}`: it is there already", hint)
        path.write_text(text, encoding="utf-8")
    except (OSError, ValueError) as error:
        # Denies: what wasn't written is not shown as written.
        raise MistakeError(f"can't write `{name}`: {reason_of(error)}") from None
