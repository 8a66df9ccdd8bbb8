"""The committed schema: stable, without data, compared line by line."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from policyguard.catalogs import SchemaError, differences, dump_lock, load_lock
from policyguard.catalogs.lock import LOCK, lock_from_tree
from policyguard.policy.flow import FORMS, close_form
from policyguard.policy.schemas import Schema, SchemaColumn, SchemaTable, Stated, schema_of
from tests.catalogs.shared import SHOP, stated, table, written

NAMES = st.text(min_size=1, max_size=8)
LABELS = st.builds(
    Stated,
    st.sampled_from(["user.name", "user.contact.email"]),
    st.sampled_from(FORMS).map(lambda form: close_form([form])),
)
COLUMNS = st.builds(
    SchemaColumn,
    st.text(max_size=8),
    st.lists(LABELS, max_size=2, unique=True).map(
        lambda labels: tuple(sorted(labels, key=lambda one: (one.data, sorted(one.form))))
    ),
    st.text(max_size=8),
    st.booleans(),
    st.text(max_size=4),
)
TABLES = st.builds(
    SchemaTable,
    NAMES,
    st.dictionaries(NAMES, COLUMNS, max_size=4),
    view=st.booleans(),
    query=st.just(""),
    complete=st.booleans(),
    part_of=st.lists(NAMES, max_size=2).map(tuple),
    recipient=st.text(max_size=4),
    purpose=st.text(max_size=4),
    described=st.booleans(),
)


@settings(deadline=None)
@given(st.lists(TABLES, max_size=4, unique_by=lambda one: one.name), st.booleans())
def test_a_lock_says_what_the_schema_says(tables: list[SchemaTable], known: bool) -> None:
    """Reading a lock gives the schema that was written; writing it again gives the same bytes."""
    schema = schema_of(tables, "postgres", views_known=known)
    text = dump_lock(schema)
    again = lock_from_tree(json.loads(text), "lock")
    assert again.version == schema.version
    assert dump_lock(again) == text
    assert list(differences(schema, again)) == []


def test_a_lock_is_sorted_and_holds_no_comment(tmp_path: Path) -> None:
    """The order of tables doesn't show; what people wrote in comments doesn't either."""
    column = SchemaColumn("text", comment="e.g. alice@example.com")
    tables = [table("b", "x"), SchemaTable("a", {"mail": column})]
    text = dump_lock(schema_of(tables))
    assert text == dump_lock(schema_of(reversed(tables)))
    assert "alice" not in text
    assert text.isascii()
    assert list(json.loads(text)["tables"]) == ["a", "b"]
    assert load_lock(written(tmp_path, "lock.json", text)) == schema_of(tables)


# fmt: off
CHANGES: dict[str, tuple[SchemaTable | None, list[str]]] = {
    "a table is gone": (None, ["- table t"]),
    "a column is gone": (table("t", "a"), ["- column t.b"]),
    "a column is new": (table("t", "a", "b", "c"), ["+ column t.c"]),
    "another type": (SchemaTable("t", {"a": SchemaColumn(), "b": SchemaColumn("int")}),
                     ["~ column t.b: no type -> int"]),
    "another label": (table("t", "a", said={"b": stated("user.name")}),
                      ["~ column t.b: no type -> text", "~ labels of t.b: none -> user.name"]),
    "another order": (table("t", "b", "a"), ["~ order of the columns of t"]),
    "now a view": (table("t", "a", "b", view=True, query="SELECT 1"),
                   ["~ t: table -> view", "~ query of view t"]),
    "a key": (table("t", "a", said={"b": SchemaColumn(key=True)}), ["~ keys of t.b"]),
    "a partition": (table("t", "a", "b", part_of=("s",)),
                    ["~ t: what it is part of, or whether all columns are known"]),
    "a recipient": (table("t", "a", "b", recipient="x"),
                    ["~ t: recipient, purpose, or whether somebody described it"]),
    "nothing": (table("t", "a", "b"), []),
}
# fmt: on


@pytest.mark.parametrize("name", CHANGES)
def test_a_change_is_told_in_a_line(name: str) -> None:
    """Every part of a schema that can change has its line."""
    after, lines = CHANGES[name]
    locked = schema_of([table("t", "a", "b")])
    assert list(differences(locked, schema_of([after] if after else []))) == lines


def test_changes_of_the_whole_are_told() -> None:
    """Dialect, search path and whether views are known."""
    other = replace(Schema(SHOP.tables, "mysql", ("a",), views_known=False))
    lines = list(differences(SHOP, other))
    assert lines[0] == "~ dialect: postgres -> mysql"
    assert "~ search path:  -> a" in lines
    assert "~ whether views are told from tables" in lines


BROKEN: dict[str, Any] = {
    "another version": {"schema": "policyguard.schema-lock/2"},
    "an unknown key": {"schema": LOCK, "tabels": {}},
    "tables that are a list": {"schema": LOCK, "tables": []},
    "a table that is text": {"schema": LOCK, "tables": {"t": "x"}},
    "an unknown key of a table": {"schema": LOCK, "tables": {"t": {"colums": {}}}},
    "a query of a table": {"schema": LOCK, "tables": {"t": {"query": "SELECT 1"}}},
    "a column that is a number": {"schema": LOCK, "tables": {"t": {"columns": {"a": 1}}}},
    "labels that are text": {"schema": LOCK, "tables": {"t": {"columns": {"a": {"labels": "x"}}}}},
    "no term": {"schema": LOCK, "tables": {"t": {"columns": {"a": {"labels": ["No!"]}}}}},
    "no form": {
        "schema": LOCK,
        "tables": {"t": {"columns": {"a": {"labels": [{"data": "user", "form": ["x"]}]}}}},
    },
    "complete that is text": {"schema": LOCK, "tables": {"t": {"complete": "no"}}},
    "a dialect that is none": {"schema": LOCK, "dialect": None},
}


@pytest.mark.parametrize("name", BROKEN)
def test_a_broken_lock_is_refused(name: str, tmp_path: Path) -> None:
    """A lock that isn't understood to its end is not used: it might hide a column."""
    with pytest.raises(SchemaError):
        load_lock(written(tmp_path, "lock.json", BROKEN[name]))


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("{", ":1:2: not JSON"),
        ("[]", "not a JSON object"),
        ('{"a":' * 200_000, "nested too deep"),
        ('{"schema": ' + "1" * 5000 + "}", "not JSON"),
        ("\udc00", "not UTF-8"),
    ],
)
def test_a_file_that_is_no_json_is_refused(text: str, says: str, tmp_path: Path) -> None:
    """One line says what is wrong and where."""
    path = tmp_path / "lock.json"
    path.write_bytes(text.encode("utf-8", "surrogatepass"))
    with pytest.raises(SchemaError) as caught:
        load_lock(path)
    assert says in caught.value.what


def test_fifty_thousand_columns_are_no_trouble(tmp_path: Path) -> None:
    """A warehouse's lock is written, read and compared at once."""
    names = [f"column_{n}" for n in range(500)]
    schema = schema_of([table(f"s.t{n}", *names) for n in range(100)], "snowflake")
    path = written(tmp_path, "lock.json", dump_lock(schema))
    assert load_lock(path).version == schema.version
    assert list(differences(load_lock(path), schema)) == []
