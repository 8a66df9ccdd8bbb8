"""A catalog from DDL never claims to know more than the text says."""

from __future__ import annotations

import pytest

from policyguard.errors import PolicyGuardError
from policyguard.inspectors.sql import inspect
from policyguard.inspectors.sql.ddl import catalog_from_ddl

USERS = "CREATE TABLE users (id int PRIMARY KEY, email text DEFAULT 'x' NOT NULL, UNIQUE (email));"


def test_tables_with_their_columns_in_order() -> None:
    """Columns come with their types; constraints are no columns."""
    (table,) = catalog_from_ddl(USERS, "postgres").tables.values()
    assert list(table.columns.items()) == [("id", "INT"), ("email", "TEXT")]
    assert table.complete


# fmt: off
FOLDED = {
    # dialect      name of the table
    "postgres":  "public.users",
    "snowflake": "PUBLIC.USERS",
    "mysql":     "Public.Users",
    "tsql":      "public.users",
}
# fmt: on


@pytest.mark.parametrize("dialect", FOLDED)
def test_names_are_folded_as_the_dialect_folds_them(dialect: str) -> None:
    """The catalog spells names as a query's names will be folded."""
    catalog = catalog_from_ddl("CREATE TABLE Public.Users (id int)", dialect)
    assert list(catalog.tables) == [FOLDED[dialect]]


# fmt: off
MORE = {
    # what happens to the table          statements after it, is it still complete?
    "an index":                          ("CREATE INDEX i ON users (email)", True),
    "a comment":                         ("COMMENT ON COLUMN users.email IS 'text'", True),
    "a new constraint":                  ("ALTER TABLE users ADD CONSTRAINT u UNIQUE (id)", True),
    "another default":                   ("ALTER TABLE users ALTER COLUMN id SET DEFAULT 3", True),
    "a renamed column":                  ("ALTER TABLE users RENAME COLUMN email TO mail", False),
    "an owner, which isn't understood":  ("ALTER TABLE public.users OWNER TO somebody", False),
    "a second definition":               ("CREATE TABLE users (phone text)", False),
    "a change under another name":       ("ALTER TABLE public.users ADD COLUMN phone text", False),
    "a script about another table":      ("DO $$ BEGIN ALTER TABLE orders ADD x int; END $$", True),
}
# fmt: on


@pytest.mark.parametrize("case", MORE)
def test_a_doubtful_change_takes_the_claim_to_be_complete(case: str) -> None:
    """A statement that may have added a column leaves no complete table behind."""
    text, complete = MORE[case]
    catalog = catalog_from_ddl(f"{USERS} {text}", "postgres")
    assert catalog.tables["users"].complete is complete
    (star,) = inspect("SELECT * FROM users", "postgres", catalog)
    assert star.resolved is complete


def test_an_added_column_is_known() -> None:
    """`ALTER TABLE ADD COLUMN` adds a column that `*` returns."""
    catalog = catalog_from_ddl(f"{USERS} ALTER TABLE users ADD COLUMN phone text", "postgres")
    (star,) = inspect("SELECT * FROM users", "postgres", catalog)
    assert star.reads == {"users.id", "users.email", "users.phone"}


@pytest.mark.parametrize(
    "table",
    [
        "CREATE TABLE t (LIKE users)",
        "CREATE TABLE t (x int, LIKE users)",
        "CREATE TABLE t (x int) INHERITS (users)",
        "CREATE TABLE t PARTITION OF users FOR VALUES IN (1)",
        "CREATE TABLE t AS SELECT * FROM users",
    ],
)
def test_a_table_with_columns_from_elsewhere_is_open(table: str) -> None:
    """Columns that another table or a query gives are not listed, so the table isn't complete."""
    catalog = catalog_from_ddl(f"{USERS} {table}", "postgres")
    assert not catalog.tables["t"].complete


def test_hive_partitions_are_columns() -> None:
    """Columns declared by PARTITIONED BY stand outside of the brackets and still count."""
    text = "CREATE TABLE t (x int) PARTITIONED BY (ds string)"
    assert not catalog_from_ddl(text, "spark").tables["t"].complete


def test_a_view_is_what_its_query_says() -> None:
    """A query on a view reads the columns behind it."""
    catalog = catalog_from_ddl(f"{USERS} CREATE VIEW v AS SELECT email AS e FROM users", "postgres")
    (found,) = inspect("SELECT * FROM v", "postgres", catalog)
    assert found.reads == {"users.email"}


@pytest.mark.parametrize(
    "view",
    [
        "CREATE VIEW v (a) AS SELECT email FROM users",
        "CREATE VIEW v AS SELECT 1; CREATE OR REPLACE VIEW v AS SELECT email FROM users",
    ],
)
def test_a_view_in_doubt_is_left_out(view: str) -> None:
    """A query on a view that isn't understood is unresolved."""
    catalog = catalog_from_ddl(f"{USERS} {view}", "postgres")
    (found,) = inspect("SELECT * FROM v", "postgres", catalog)
    assert not found.resolved


@pytest.mark.parametrize("text", ["", "CREATE TABLE 'canary", "/*! CREATE TABLE t (x int) */"])
def test_a_text_that_can_t_be_split_is_refused(text: str) -> None:
    """No catalog comes of a text that isn't understood at all, and the error quotes nothing."""
    with pytest.raises(PolicyGuardError) as caught:
        catalog_from_ddl(text, "postgres")
    assert "canary" not in str(caught.value)
