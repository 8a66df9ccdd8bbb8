"""The schema lock: a committed file that holds a database's structure, so that no scan needs one.

Layer: catalogs. Start reading at `dump_lock`; `load_lock` reads one, `differences` compares.

It holds names, types, stated labels, foreign keys and the queries of views without the literals
they compare with: no data. Sorted and stable: the same structure gives the same bytes.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Final

from policyguard.catalogs.reading import SchemaError, check_size, mapping, read_object, text
from policyguard.policy.flow import close_form
from policyguard.policy.loader import printable
from policyguard.policy.schemas import Schema, SchemaColumn, SchemaTable, Stated, schema_of
from policyguard.policy.terms import is_term

LOCK: Final = "policyguard.schema-lock/1"
_TOP: Final = frozenset({"schema", "dialect", "search_path", "views_known", "tables", "views"})
_TABLE: Final = frozenset({"columns", "complete", "part_of", "recipient", "purpose", "described"})
_VIEW: Final = _TABLE | {"query", "names"}
_COLUMN: Final = frozenset({"type", "labels", "leads_to", "key"})


def dump_lock(schema: Schema) -> str:
    """The lock of a schema, as text with a line feed at its end."""
    tree: dict[str, Any] = {"schema": LOCK, "dialect": schema.dialect}
    if schema.search_path:
        tree["search_path"] = list(schema.search_path)
    if not schema.views_known:
        tree["views_known"] = False
    tables = sorted(schema.tables.values(), key=lambda table: table.name)
    tree["tables"] = {table.name: _table(table) for table in tables if not table.view}
    tree["views"] = {table.name: _table(table) for table in tables if table.view}
    return json.dumps(tree, indent=1, ensure_ascii=True) + "\n"


def load_lock(path: Path) -> Schema:
    """Read a lock.

    Raises:
        SchemaError: it can't be read, is of another version, or has another shape.
    """
    return lock_from_tree(read_object(path), str(path))


def lock_from_tree(tree: Mapping[str, Any], name: str) -> Schema:
    """As `load_lock`, for a tree in memory."""
    shown = printable(name, 1_024)
    if tree.get("schema") != LOCK:
        hint = "`policyguard schema-lock` writes one"
        raise SchemaError(f"{shown}: not a schema lock of this version", hint=hint)
    _known(tree, _TOP, shown)
    tables = [
        _read_table(name, entry, view=kind == "views", shown=shown)
        for kind in ("tables", "views")
        for name, entry in _object(tree.get(kind, {}), f"{shown}: `{kind}`").items()
    ]
    check_size(sum(len(table.columns) for table in tables), name)
    return schema_of(
        tables,
        _text(tree.get("dialect", ""), f"{shown}: `dialect`"),
        search_path=tuple(_texts(tree.get("search_path", []), f"{shown}: `search_path`")),
        views_known=_bool(tree.get("views_known", True), f"{shown}: `views_known`"),
    )


def differences(locked: Schema, found: Schema) -> Iterator[str]:
    """What changed between a lock and the database, a line each: `+` is new, `-` is gone."""
    if locked.dialect != found.dialect:
        yield f"~ dialect: {locked.dialect or 'none'} -> {found.dialect or 'none'}"
    for name in sorted(locked.tables.keys() | found.tables.keys()):
        old, new = locked.tables.get(name), found.tables.get(name)
        if old is None or new is None:
            one = old or new
            kind = "view" if one and one.view else "table"
            yield f"{'+' if old is None else '-'} {kind} {name}"
        else:
            yield from _changed(old, new)
    if locked.search_path != found.search_path:
        yield f"~ search path: {', '.join(locked.search_path)} -> {', '.join(found.search_path)}"
    if locked.views_known != found.views_known:
        yield "~ whether views are told from tables"


def _changed(old: SchemaTable, new: SchemaTable) -> Iterator[str]:
    for column in dict.fromkeys([*old.columns, *new.columns]):
        before, after = old.columns.get(column), new.columns.get(column)
        name = f"{new.name}.{column}"
        if before is None or after is None:
            one = before or after
            kind = f": {one.type}" if one and one.type else ""
            yield f"{'+' if before is None else '-'} column {name}{kind}"
            continue
        if before.type != after.type:
            yield f"~ column {name}: {before.type or 'no type'} -> {after.type or 'no type'}"
        if set(before.labels) != set(after.labels):
            yield f"~ labels of {name}: {_said(before.labels)} -> {_said(after.labels)}"
        if (before.leads_to, before.key) != (after.leads_to, after.key):
            yield f"~ keys of {name}"
    if [c for c in old.columns if c in new.columns] != [c for c in new.columns if c in old.columns]:
        yield f"~ order of the columns of {new.name}"
    if old.view != new.view:
        yield f"~ {new.name}: {_kind(old)} -> {_kind(new)}"
    if (old.query, old.names) != (new.query, new.names):
        yield f"~ query of view {new.name}"
    if (old.part_of, old.complete) != (new.part_of, new.complete):
        yield f"~ {new.name}: what it is part of, or whether all columns are known"
    told = [(table.recipient, table.purpose, table.described) for table in (old, new)]
    if told[0] != told[1]:
        yield f"~ {new.name}: recipient, purpose, or whether somebody described it"


def _kind(table: SchemaTable) -> str:
    return "view" if table.view else "table"


def _said(labels: tuple[Stated, ...]) -> str:
    return ", ".join(sorted(_label(label) for label in labels)) or "none"


def _label(label: Stated) -> str:
    return f"{label.data} as {'+'.join(sorted(label.form))}" if label.form else label.data


def _table(table: SchemaTable) -> dict[str, Any]:
    tree: dict[str, Any] = {}
    if table.view:
        tree["query"] = table.query
    if table.names:
        tree["names"] = list(table.names)
    if not table.complete:
        tree["complete"] = False
    if table.part_of:
        tree["part_of"] = list(table.part_of)
    if table.recipient:
        tree["recipient"] = table.recipient
    if table.purpose:
        tree["purpose"] = table.purpose
    if table.described:
        tree["described"] = True
    # The order of columns means something to `*`; it is the database's.
    tree["columns"] = {name: _column(column) for name, column in table.columns.items()}
    return tree


def _column(column: SchemaColumn) -> Any:
    if not (column.labels or column.leads_to or column.key):
        return column.type
    tree: dict[str, Any] = {"type": column.type}
    if column.labels:
        tree["labels"] = [
            {"data": label.data, "form": sorted(label.form)} if label.form else label.data
            for label in sorted(column.labels, key=lambda one: (one.data, sorted(one.form)))
        ]
    if column.leads_to:
        tree["leads_to"] = column.leads_to
    if column.key:
        tree["key"] = True
    return tree


def _read_table(name: str, entry: object, *, view: bool, shown: str) -> SchemaTable:
    where = f"{shown}: `{printable(name)}`"
    tree = _object(entry, where)
    _known(tree, _VIEW if view else _TABLE, where)
    columns = {
        column: _read_column(value, f"{shown}: `{printable(f'{name}.{column}')}`")
        for column, value in _object(tree.get("columns", {}), where).items()
    }
    return SchemaTable(
        name,
        columns,
        view=view,
        query=_text(tree.get("query", ""), where),
        names=tuple(_texts(tree.get("names", []), where)),
        complete=_bool(tree.get("complete", True), where),
        part_of=tuple(_texts(tree.get("part_of", []), where)),
        recipient=_text(tree.get("recipient", ""), where),
        purpose=_text(tree.get("purpose", ""), where),
        described=_bool(tree.get("described", False), where),
    )


def _read_column(value: object, where: str) -> SchemaColumn:
    if isinstance(value, str):
        return SchemaColumn(value)
    tree = _object(value, where)
    _known(tree, _COLUMN, where)
    labels = tree.get("labels", [])
    if not isinstance(labels, list):
        raise _shape(where)
    return SchemaColumn(
        _text(tree.get("type", ""), where),
        tuple(_read_label(label, where) for label in labels),
        _text(tree.get("leads_to", ""), where),
        _bool(tree.get("key", False), where),
    )


def _read_label(value: object, where: str) -> Stated:
    data = value if isinstance(value, str) else text(mapping(value).get("data"))
    form = () if isinstance(value, str) else _texts(mapping(value).get("form", []), where)
    try:
        if is_term(data):
            return Stated(data, close_form(form))
    except ValueError:
        # Denies: a form nobody knows; raised below.
        pass
    raise SchemaError(f"{where} has a label that can't be read")


def _known(tree: Mapping[str, Any], keys: frozenset[str], where: str) -> None:
    # A key that this version doesn't know may say that a column holds more.
    for key in tree:
        if key not in keys:
            raise SchemaError(f"{where}: unknown key `{printable(key)}`")


def _object(value: object, where: str) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise _shape(where)
    return value


def _text(value: object, where: str) -> str:
    if not isinstance(value, str):
        raise _shape(where)
    return value


def _texts(value: object, where: str) -> list[str]:
    if not isinstance(value, list) or not all(isinstance(item, str) for item in value):
        raise _shape(where)
    return value


def _bool(value: object, where: str) -> bool:
    if not isinstance(value, bool):
        raise _shape(where)
    return value


def _shape(where: str) -> SchemaError:
    return SchemaError(f"{where} has another shape than a schema lock")
