"""The schema of the soundness tests: tables, views, a partitioned table, odd names, a few rows.

Start reading at `TABLES`. Every table has a column `pad_*` that everybody may read, for a query
like `count(*)` needs some column; it is no part of any comparison.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from policyguard.inspectors.sql import Catalog

# T text, I integer, B boolean, J jsonb, A text[], V float8[], D timestamp.
SQL_TYPES: Final = {
    "T": "text",
    "I": "int",
    "B": "boolean",
    "J": "jsonb",
    "A": "text[]",
    "V": "float8[]",
    "D": "timestamp",
}
Columns = dict[str, str]

TABLES: Final[Mapping[str, Columns]] = {
    "people": {
        "id": "I",
        "name": "T",
        "email": "T",
        "born": "D",
        "tags": "A",
        "meta": "J",
        "face": "V",
        "active": "B",
    },
    "orders": {
        "id": "I",
        "person_id": "I",
        "total": "I",
        "note": "T",
        "items": "J",
        "placed": "D",
        "paid": "B",
    },
    "visits": {"id": "I", "person_id": "I", "doctor": "T", "reason": "T", "seen": "D"},
    "faces": {"person_id": "I", "embedding": "V", "model": "T", "labels": "A"},
    "events": {"id": "I", "person_id": "I", "kind": "T", "payload": "J", "at": "D"},
    "Mixed Case": {
        "Id": "I",
        "eMail": "T",
        "email": "T",
        "select": "T",
        "Tags": "A",
        "Total": "I",
    },
    "recent": {"id": "I", "email": "T", "note": "T"},
    "outbox": {"id": "I", "val": "T", "at": "D", "extra": "J"},
}
KEYED: Final = frozenset({"people", "orders", "visits", "recent", "outbox"})
PARTITIONS: Final = {"events_a": TABLES["events"], "events_rest": TABLES["events"]}
VIEWS: Final[Mapping[str, tuple[str, Columns]]] = {
    "v_people": (
        "SELECT id, email, upper(name) AS name, tags FROM people WHERE active",
        {"id": "I", "email": "T", "name": "T", "tags": "A"},
    ),
    "v_orders": (
        (
            "SELECT o.id AS order_id, p.email, o.note, o.total FROM orders o "
            "JOIN people p ON p.id = o.person_id"
        ),
        {"order_id": "I", "email": "T", "note": "T", "total": "I"},
    ),
    "V Mixed": (
        'SELECT m."Id", m."eMail", count(*)::int AS "N" FROM "Mixed Case" m GROUP BY 1, 2',
        {"Id": "I", "eMail": "T", "N": "I"},
    ),
    "v_nested": (
        "SELECT v.*, lower(v.note) AS low FROM v_orders v WHERE total > 1",
        {"order_id": "I", "email": "T", "note": "T", "total": "I", "low": "T"},
    ),
}
STORED: Final = {
    "m_totals": (
        (
            "SELECT person_id, count(*)::int AS n, max(note) AS last_note, 0 AS pad_m_totals "
            "FROM orders GROUP BY 1"
        ),
        {"person_id": "I", "n": "I", "last_note": "T"},
    ),
}
RELATIONS: Final[Mapping[str, Columns]] = {
    **TABLES,
    **PARTITIONS,
    **{name: columns for name, (_, columns) in {**VIEWS, **STORED}.items()},
}
# Whose own columns a query can be denied: views pass their base columns on.
BASE: Final = {name: cols for name, cols in RELATIONS.items() if name not in VIEWS}


def pad(table: str) -> str:
    """The column that everybody may read."""
    table = "events" if table in PARTITIONS else table
    return "pad_" + table.lower().replace(" ", "_")


def full(table: str) -> Columns:
    """A relation's columns as `*` shows them."""
    own = RELATIONS[table]
    return own if table in VIEWS else {**own, pad(table): "I"}


CATALOG: Final = Catalog.from_mapping(
    {table: {name: SQL_TYPES[kind] for name, kind in full(table).items()} for table in BASE},
    views={name: text for name, (text, _) in VIEWS.items()},
)
COLUMNS: Final = tuple(f"{table}.{column}" for table, cols in BASE.items() for column in cols)


def quoted(name: str) -> str:
    """A name as SQL text needs it."""
    plain = name.replace("_", "a").isalnum() and name == name.lower() and name != "select"
    return name if plain else f'"{name}"'


def setup(changed: str = "") -> str:
    """DDL and rows; in the rows, the cells of one column `table.column` may be other ones."""
    parts = [_table(name) for name in TABLES]
    parts.append("CREATE TABLE events_a PARTITION OF events FOR VALUES IN ('k1', 'k2', 'zk1')")
    parts.append("CREATE TABLE events_rest PARTITION OF events DEFAULT")
    parts += [_rows(name, changed) for name in TABLES]
    for name, (text, _) in VIEWS.items():
        parts.append(f"CREATE VIEW {quoted(name)} WITH (security_invoker = true) AS {text}")
    for name, (text, _) in STORED.items():
        parts.append(f"CREATE MATERIALIZED VIEW {name} AS {text}")
    return ";\n".join(parts)


def _table(name: str) -> str:
    columns = [f"{quoted(own)} {SQL_TYPES[kind]}" for own, kind in TABLES[name].items()]
    columns.append(f"{pad(name)} int DEFAULT 0")
    columns += ["PRIMARY KEY (id)"] if name in KEYED else []
    tail = " PARTITION BY LIST (kind)" if name == "events" else ""
    return f"CREATE TABLE {quoted(name)} ({', '.join(columns)}){tail}"


def _rows(name: str, changed: str) -> str:
    rows = [
        "(" + ", ".join([*(_cell(name, own, kind, row, changed) for own, kind in cols), "0"]) + ")"
        for cols in [TABLES[name].items()]
        for row in range(1, 6)
    ]
    return f"INSERT INTO {quoted(name)} VALUES {', '.join(rows)}"


def _cell(table: str, column: str, kind: str, row: int, changed: str) -> str:
    other = changed == f"{table}.{column}"
    if kind == "I":
        key = column in {"id", "Id"}
        return str((row + 10 if key else row % 3 + 11) if other else (row if key else row % 3 + 1))
    text = f"{'z' if other else ''}{column[0].lower()}{row % 4}"
    if kind == "T":
        return "NULL" if row == 5 and not other else f"'{text}'"
    if kind == "B":
        return str((row % 2 == 0) != other)
    if kind == "D":
        return f"'20{30 if other else 20}-0{row}-01'"
    if kind == "A":
        return f"ARRAY['{text}', 'both']"
    if kind == "V":
        return f"ARRAY[{row}.5, {77 if other else 0}.25]"
    return f'\'{{"email": "{text}", "n": {row + 50 * other}, "list": ["{text}", "q"]}}\''
