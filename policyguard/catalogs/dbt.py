"""The schema of a dbt project: its manifest (labels, lineage) and its catalog (columns, types).

Layer: catalogs. Start reading at `schema_of_manifest`, then `schema_of_dbt_catalog`.

A model is taken for a view whatever its materialisation: a table that dbt fills holds what its
query gives, so its labels follow from those of its sources.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, Final

from policyguard.catalogs.database import our_dialect
from policyguard.catalogs.reading import (
    SchemaError,
    check_size,
    dotted,
    mapping,
    read_object,
    text,
)
from policyguard.catalogs.stated import (
    DATA,
    FORM,
    PURPOSE,
    TO,
    labels_in_comment,
    labels_of_terms,
)
from policyguard.inspectors.sql.schematext import ViewText, view_query
from policyguard.policy.loader import printable
from policyguard.policy.schemas import Schema, SchemaColumn, SchemaTable, schema_of

_VERSION: Final = re.compile(r"/dbt/(manifest|catalog)/v(\d+)(?:\.json|/|$)")
_MANIFESTS: Final = frozenset({9, 10, 11, 12, 20})
_RELATIONS: Final = frozenset({"model", "seed", "snapshot", "source"})
_QUERIES: Final = frozenset({"model", "snapshot"})


def schema_of_manifest(path: Path) -> Schema:
    """Models, seeds, snapshots and sources of a manifest, with what their meta states.

    Labels are the flat keys `policyguard_data` and `policyguard_form` in a column's `meta` or
    `config.meta`, and `policyguard:` in its description. A node's meta may hold `policyguard_to`
    and `policyguard_purpose`. Columns are those that somebody documented: not all there are.

    Raises:
        SchemaError: it can't be read, or is of a version that isn't known (9 to 12, and 20).
    """
    tree = read_object(path)
    _check(tree, "manifest", path)
    metadata = mapping(tree.get("metadata"))
    dialect = our_dialect(text(metadata.get("adapter_type")))
    problems: list[str] = []
    nodes = [*mapping(tree.get("nodes")).values(), *mapping(tree.get("sources")).values()]
    tables = [
        _node(mapping(node), dialect, problems)
        for node in nodes
        if mapping(node).get("resource_type") in _RELATIONS and _name(mapping(node))
    ]
    found = schema_of(tables, dialect, problems=tuple(problems))
    check_size(found.size, str(path))
    return found


def schema_of_dbt_catalog(path: Path) -> Schema:
    """Relations with all columns and types of a `catalog.json`.

    It tells views from tables, but holds no query: merge it with the manifest's schema.

    Raises:
        SchemaError: it can't be read, or is no catalog.
    """
    tree = read_object(path)
    _check(tree, "catalog", path)
    problems: list[str] = []
    tables = []
    for node in (*mapping(tree.get("nodes")).values(), *mapping(tree.get("sources")).values()):
        meta = mapping(mapping(node).get("metadata"))
        name = dotted(*(meta.get(key) for key in ("database", "schema", "name")))
        if not name:
            continue
        columns: dict[str, SchemaColumn] = {}
        listed = _columns(mapping(node).get("columns"))
        for column in sorted(listed, key=_index):
            own = text(column.get("name"))
            labels, wrong = labels_in_comment(column.get("comment"), f"{name}.{own}")
            problems += wrong
            columns[own] = SchemaColumn(text(column.get("type")), labels)
        view = "VIEW" in text(meta.get("type")).upper()
        tables.append(SchemaTable(name, columns, view=view))
    found = schema_of(tables, problems=tuple(problems))
    check_size(found.size, str(path))
    return found


def _check(tree: dict[str, Any], kind: str, path: Path) -> None:
    shown = printable(str(path), 1_024)
    url = text(mapping(tree.get("metadata")).get("dbt_schema_version"))
    found = _VERSION.search(url)
    if found is None or found.group(1) != kind:
        hint = "`dbt docs generate` writes it to target/" if kind == "catalog" else "see target/"
        raise SchemaError(f"{shown}: not a {kind} of dbt", hint=hint)
    number = int(found.group(2)[:6])
    if kind == "manifest" and number not in _MANIFESTS:
        known = ", ".join(map(str, sorted(_MANIFESTS)))
        raise SchemaError(f"{shown}: manifest of version {number}", hint=f"known are {known}")


def _name(node: dict[str, Any]) -> str:
    """A relation's name: database, schema and alias, which `relation_name` writes quoted."""
    last = text(node.get("alias")) or text(node.get("identifier")) or text(node.get("name"))
    return dotted(node.get("database"), node.get("schema"), last) if last else ""


def _node(node: dict[str, Any], dialect: str, problems: list[str]) -> SchemaTable:
    name = _name(node)
    columns: dict[str, SchemaColumn] = {}
    for column in _columns(node.get("columns")):
        own = text(column.get("name"))
        where = f"{name}.{own}"
        meta = _meta(column)
        labels, wrong = labels_of_terms(meta.get(DATA), meta.get(FORM), where)
        said, more = labels_in_comment(column.get("description"), where)
        problems += [*wrong, *more]
        columns[own] = SchemaColumn(
            text(column.get("data_type")), tuple(dict.fromkeys((*labels, *said)))
        )
    meta = _meta(node)
    queried = node.get("resource_type") in _QUERIES
    code = text(node.get("compiled_code")) if queried else ""
    made = view_query(code, dialect) if code and dialect else ViewText()
    # A model in Python, or one that wasn't compiled, is a view whose query nobody knows.
    return SchemaTable(
        name,
        columns,
        view=queried,
        query=made.query,
        complete=False,
        recipient=text(meta.get(TO)),
        purpose=text(meta.get(PURPOSE)),
    )


def _columns(value: object) -> list[dict[str, Any]]:
    """A mapping by name, or a list; a column without a name is no column."""
    listed: Iterable[object] = value if isinstance(value, list) else mapping(value).values()
    return [column for one in listed if text((column := mapping(one)).get("name"))]


def _meta(node: dict[str, Any]) -> dict[str, Any]:
    """`meta`, and since dbt 1.10 `config.meta`. Where both say something, both count."""
    old, new = mapping(node.get("meta")), mapping(mapping(node.get("config")).get("meta"))
    merged = {**old, **new}
    terms = [term for one in (old, new) for term in _terms(one.get(DATA))]
    if DATA in merged and all(isinstance(term, str) for term in terms):
        merged[DATA] = list(dict.fromkeys(terms))
        if old.get(FORM) != new.get(FORM) and DATA in old and DATA in new:
            merged.pop(FORM, None)  # two forms of one value: it counts as raw
    return merged


def _terms(value: object) -> Iterator[object]:
    if isinstance(value, str):
        yield from (part.strip() for part in value.split(","))
    elif isinstance(value, list):
        yield from value
    elif value is not None:
        yield value


def _index(column: dict[str, Any]) -> int:
    index = column.get("index")
    return index if isinstance(index, int) else 0
