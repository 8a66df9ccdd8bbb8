"""Files that describe a schema: dbt, fides, CSV, DDL, SQLAlchemy's MetaData."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import duckdb
import pytest
import sqlalchemy as sa

from policyguard.catalogs import (
    SchemaError,
    load_schema,
    schema_of_csv,
    schema_of_dbt_catalog,
    schema_of_ddl,
    schema_of_fides,
    schema_of_manifest,
    schema_of_metadata,
)
from policyguard.catalogs.fides import modern
from policyguard.errors import PolicyGuardError
from policyguard.inspectors.sql import Catalog
from policyguard.policy.schemas import Schema
from policyguard.policy.taxonomy import built_in
from tests.catalogs.shared import asked, written


def labels(schema: Schema, table: str, column: str) -> list[str]:
    """What is stated about a column, forms behind a sign."""
    found = schema.tables[table].columns[column].labels
    return ["/".join((one.data, *sorted(one.form))) for one in found]


def manifest(version: int, columns: Any = None, **node: Any) -> dict[str, Any]:
    """A manifest of one model over one source."""
    model = {
        "resource_type": "model",
        "database": "db",
        "schema": "mart",
        "name": "people",
        "alias": "people",
        "columns": columns or {},
        "compiled_code": "select id, lower(email) as mail from db.raw.users where country = 'DE'",
    }
    source = {
        "resource_type": "source",
        "database": "db",
        "schema": "raw",
        "name": "u",
        "identifier": "users",
        "columns": {"email": {"name": "email", "meta": {"policyguard_data": "user.contact.email"}}},
    }
    url = f"https://schemas.getdbt.com/dbt/manifest/v{version}.json"
    return {
        "metadata": {"dbt_schema_version": url, "adapter_type": "postgres"},
        "nodes": {"model.p.people": model | node, "test.p.t": {"resource_type": "test"}},
        "sources": {"source.p.raw.u": source},
    }


@pytest.mark.parametrize("version", [9, 10, 11, 12, 20])
def test_a_manifest_gives_labels_and_lineage(version: int, tmp_path: Path) -> None:
    """A model is read through to its sources; values that it compares with are left out."""
    schema = schema_of_manifest(written(tmp_path, "manifest.json", manifest(version)))
    assert labels(schema, "db.raw.users", "email") == ["user.contact.email"]
    assert "DE" not in schema.tables["db.mart.people"].query
    answer = asked("SELECT mail FROM mart.people", Catalog.from_schema(schema))
    assert "db.raw.users.email" in answer.reads


def test_meta_counts_in_both_places_and_shapes(tmp_path: Path) -> None:
    """`meta` and `config.meta` add up; columns may be a mapping or a list."""
    columns = [
        {
            "name": "a",
            "meta": {"policyguard_data": "user.name"},
            "config": {"meta": {"policyguard_data": ["user.contact.email"]}},
        },
        {
            "name": "b",
            "config": {
                "meta": {"policyguard_data": "user.name", "policyguard_form": "encrypted"},
            },
            "description": "policyguard: user.job_title",
        },
        {"name": "c", "meta": {"policyguard_data": 7}},
    ]
    node = {"config": {"meta": {"policyguard_to": "ads", "policyguard_purpose": "analytics"}}}
    for given in (columns, {column["name"]: column for column in columns}):
        path = written(tmp_path, "manifest.json", manifest(12, given, **node))
        schema = schema_of_manifest(path)
        assert labels(schema, "db.mart.people", "a") == ["user.name", "user.contact.email"]
        assert labels(schema, "db.mart.people", "b") == ["user.name/encrypted", "user.job_title"]
        assert labels(schema, "db.mart.people", "c") == ["user"]
        assert len(schema.problems) == 1
        assert schema.tables["db.mart.people"].recipient == "ads"
        assert schema.tables["db.mart.people"].purpose == "analytics"


def test_a_model_that_was_not_compiled_is_unknown(tmp_path: Path) -> None:
    """Nobody knows what it holds, so a query on it isn't resolved."""
    path = written(tmp_path, "manifest.json", manifest(12, compiled_code=None))
    catalog = Catalog.from_schema(schema_of_manifest(path))
    assert not asked("SELECT mail FROM mart.people", catalog).resolved


def test_dbt_catalog_gives_columns_and_the_manifest_their_labels(tmp_path: Path) -> None:
    """Together they hold every column with its type, the labels and the lineage."""
    url = "https://schemas.getdbt.com/dbt/catalog/v1.json"
    column = {"name": "email", "type": "TEXT", "index": 2}
    first = {"name": "id", "type": "INT", "index": 1, "comment": "policyguard: user.unique_id"}
    tree = {
        "metadata": {"dbt_schema_version": url},
        "nodes": {},
        "sources": {
            "source.p.raw.u": {
                "metadata": {
                    "database": "db",
                    "schema": "raw",
                    "name": "users",
                    "type": "BASE TABLE",
                },
                "columns": {"email": column, "id": first},
            }
        },
    }
    path = written(tmp_path, "catalog.json", tree)
    both = schema_of_dbt_catalog(path).merged(
        load_schema(written(tmp_path, "manifest.json", manifest(12)))
    )
    users = both.tables["db.raw.users"]
    assert list(users.columns) == ["id", "email"]
    assert users.complete
    assert users.columns["email"].type == "TEXT"
    assert labels(both, "db.raw.users", "email") == ["user.contact.email"]
    assert load_schema(path).tables["db.raw.users"].columns["id"].labels
    answer = asked("SELECT * FROM mart.people", Catalog.from_schema(both))
    assert "db.raw.users.email" in answer.reads


FIDES = """
dataset:
  - fides_key: shop
    name: shop
    collections:
      - name: users
        fields:
          - name: email
            data_categories: [user.provided.identifiable.contact.email]
            fides_meta: {data_type: string}
          - name: id
            fides_meta: {primary_key: true}
          - name: address
            fields:
              - {name: street, data_categories: [user.contact.address.street]}
              - {name: city, data_categories: [user.contact.address.city]}
      - name: visits
        data_categories: [user.behavior]
        fields:
          - {name: page}
          - name: user_id
            data_categories: [user.unique_id]
            fides_meta: {references: [{dataset: shop, field: users.id, direction: from}]}
"""


def test_a_fides_dataset_states_labels(tmp_path: Path) -> None:
    """Old keys map to new ones, inner fields belong to their column, shared categories count."""
    schema = schema_of_fides(written(tmp_path, "shop.yml", FIDES))
    assert labels(schema, "users", "email") == ["user.contact.email"]
    found = labels(schema, "users", "address")
    assert found == ["user.contact.address.street", "user.contact.address.city"]
    assert labels(schema, "visits", "page") == ["user.behavior"]
    assert labels(schema, "visits", "user_id") == ["user.unique_id"]
    assert schema.tables["visits"].columns["user_id"].leads_to == "users"
    assert schema.tables["users"].columns["id"].key
    assert not schema.tables["users"].complete


def test_what_fides_calls_operations_is_clean_and_described(tmp_path: Path) -> None:
    """A dataset says of each field what it holds, so a table of no person is known to be one."""
    text = FIDES.replace("    name: shop\n", "    fides_meta: {namespace: {schema: app}}\n")
    text = text.replace("user.behavior", "system.operations")
    schema = schema_of_fides(written(tmp_path, "shop.yml", text))
    assert labels(schema, "app.visits", "page") == []
    assert schema.tables["app.visits"].described


def test_old_keys_of_fideslang_are_those_of_today() -> None:
    """Every renamed key is one that the taxonomy has."""
    for old in ("user.derived.identifiable.device.ip_address", "user.provided", "user.gender"):
        assert modern(old) in built_in().data, old
    assert modern("user.mine") == "user.mine"


START = "table_schema,table_name,column_name,ordinal_position"
HEADERS = {
    "snowflake": f"TABLE_CATALOG,{START.upper()},DATA_TYPE,COMMENT",
    "databricks": f"table_catalog,{START},full_data_type,comment",
    "redshift": f"database_name,{START.replace('table_schema', 'schema_name')},data_type,remarks",
    "bigquery": f"table_catalog,{START},data_type,description",
}


@pytest.mark.parametrize("dialect", HEADERS)
def test_exports_of_warehouses_are_read(dialect: str, tmp_path: Path) -> None:
    """Each warehouse's header is known; columns come in their order, system schemas don't."""
    rows = (
        "db,s,users,email,2,text,policyguard: user.contact.email\n"
        "db,s,users,id,1,int,\n"
        "db,INFORMATION_SCHEMA,columns,x,1,int,\n"
    )
    path = written(tmp_path, "columns.csv", f"\ufeff{HEADERS[dialect]}\r\n{rows}")
    schema = schema_of_csv([path], dialect)
    assert list(schema.tables) == ["db.s.users"]
    assert list(schema.tables["db.s.users"].columns) == ["id", "email"]
    assert labels(schema, "db.s.users", "email") == ["user.contact.email"]
    assert not schema.views_known


def test_plain_headers_other_delimiters_and_nested_fields(tmp_path: Path) -> None:
    """What people write by hand is read too; a nested field's label is its column's."""
    path = written(tmp_path, "a.csv", "schema;table;column;type\ns;t;a;int\n")
    assert schema_of_csv([path], "postgres").tables["s.t"].columns["a"].type == "int"
    text = (
        "table_schema,table_name,column_name,field_path,data_type,description\n"
        "s,t,who,who,STRUCT<mail STRING>,\n"
        "s,t,who,who.mail,STRING,policyguard: user.contact.email\n"
    )
    schema = schema_of_csv([written(tmp_path, "b.csv", text)], "bigquery")
    assert labels(schema, "s.t", "who") == ["user.contact.email"]
    assert schema.tables["s.t"].columns["who"].type == "STRUCT<mail STRING>"


def test_duckdb_exports_its_own_information_schema(tmp_path: Path) -> None:
    """A real database's export: views come with their queries, so a star over one is resolved."""
    names = ("columns", "views", "tables")
    with duckdb.connect() as connection:
        connection.execute("CREATE TABLE users (id INT, email TEXT)")
        connection.execute("CREATE VIEW mails AS SELECT email AS m FROM users WHERE email <> 'a@b'")
        for name in names:
            file = tmp_path / f"{name}.csv"
            where = "WHERE table_schema = 'main'"
            connection.execute(
                f"COPY (SELECT * FROM information_schema.{name} {where}) TO '{file}' (HEADER)"
            )
    schema = schema_of_csv([tmp_path / f"{name}.csv" for name in names], "duckdb")
    assert schema.views_known
    assert "a@b" not in schema.tables["memory.main.mails"].query
    answer = asked("SELECT * FROM mails", Catalog.from_schema(schema), "duckdb")
    assert answer.reads == {"memory.main.users.email"}


BAD_CSV: dict[str, tuple[str, str]] = {
    "no header": ("1,2,3\n", ":1: no header"),
    "nothing": ("", ":1: no header"),
    "a header alone": ("table_name,column_name\n", "no columns"),
    "an open quote": ('table_name,column_name\n"t,a\n', "not CSV"),
    "no table": ("table_name,column_name\n,a\n", ":2: a row without a table's name"),
    "no column": ("table_name,column_name\nt,\n", ":2: a row without a column's name"),
    "NUL": ("table_name,column_name\nt,a\0\n", "NUL"),
    "a long name": (f"table_name,column_name\nt,{'a' * 9999}\n", "longer than"),
}


@pytest.mark.parametrize("name", BAD_CSV)
def test_a_broken_csv_is_refused(name: str, tmp_path: Path) -> None:
    """A file that isn't read to its end lists only some columns, so none of it is used."""
    text, says = BAD_CSV[name]
    with pytest.raises(SchemaError) as caught:
        schema_of_csv([written(tmp_path, "c.csv", text)], "snowflake")
    assert says in caught.value.what


def test_ten_megabytes_of_csv_are_read(tmp_path: Path) -> None:
    """50,000 columns with long comments: read at once, in one pass."""
    filler = "x" * 200
    rows = "".join(f"s,t{n % 500},c{n},text,{filler}\n" for n in range(50_000))
    path = written(
        tmp_path, "c.csv", f"table_schema,table_name,column_name,data_type,comment\n{rows}"
    )
    assert path.stat().st_size > 10_000_000
    assert schema_of_csv([path], "snowflake").size == 50_000


def test_ddl_files_are_one_after_the_other(tmp_path: Path) -> None:
    """A later file changes what an earlier one made; comments are labels."""
    one = written(tmp_path, "1.sql", "CREATE TABLE users (id int, email text);")
    two = written(
        tmp_path,
        "2.sql",
        "ALTER TABLE users ADD COLUMN phone text;"
        "COMMENT ON COLUMN users.phone IS 'policyguard: user.contact.phone_number';"
        "CREATE VIEW v AS SELECT phone FROM users WHERE email = 'a@b.de';",
    )
    schema = schema_of_ddl([one, two], "postgres")
    assert list(schema.tables["users"].columns) == ["id", "email", "phone"]
    assert labels(schema, "users", "phone") == ["user.contact.phone_number"]
    assert "a@b.de" not in schema.tables["v"].query
    answer = asked("SELECT * FROM v", Catalog.from_schema(schema))
    assert answer.reads == {"users.phone", "users.email"}
    with pytest.raises(SchemaError, match=r"1\.sql: "):
        schema_of_ddl([written(tmp_path, "1.sql", "SELECT 'a")], "postgres")
    with pytest.raises(PolicyGuardError, match="needs a dialect"):
        schema_of_ddl([one], "")


def test_metadata_of_sqlalchemy_is_a_schema() -> None:
    """Comments and `info` are labels; a table may have more columns than the program declares."""
    metadata = sa.MetaData()
    sa.Table(
        "users",
        metadata,
        sa.Column("id", sa.Integer, primary_key=True),
        sa.Column("email", sa.Text, comment="policyguard: user.contact.email"),
        sa.Column("name", sa.String(40), info={"policyguard_data": "user.name"}),
        info={"policyguard_to": "crm"},
        schema="app",
    )
    sa.Table("notes", metadata, sa.Column("by", sa.ForeignKey("app.users.id")))
    schema = schema_of_metadata(metadata, dialect="postgresql")
    assert schema.dialect == "postgres"
    assert labels(schema, "app.users", "email") == ["user.contact.email"]
    assert labels(schema, "app.users", "name") == ["user.name"]
    assert schema.tables["app.users"].columns["name"].type == "VARCHAR(40)"
    assert schema.tables["app.users"].columns["id"].key
    assert schema.tables["app.users"].recipient == "crm"
    assert schema.tables["notes"].columns["by"].leads_to == "app.users"
    assert not schema.tables["notes"].complete
    assert schema_of_metadata(metadata, complete=True).tables["notes"].complete


READERS: list[Callable[[Path], Schema]] = [
    schema_of_manifest,
    schema_of_dbt_catalog,
    schema_of_fides,
    load_schema,
    lambda path: schema_of_csv([path], "postgres"),
    lambda path: schema_of_ddl([path], "postgres"),
]


@pytest.mark.parametrize("read", READERS)
def test_every_reader_refuses_what_is_no_file(
    read: Callable[[Path], Schema], tmp_path: Path
) -> None:
    """A missing file, a folder and a device are refused unread, with one line."""
    for path in (tmp_path / "none.json", tmp_path, Path("/dev/zero")):
        with pytest.raises(SchemaError) as caught:
            read(path)
        assert "\n" not in caught.value.what


def test_json_of_another_kind_is_refused(tmp_path: Path) -> None:
    """The error says what would do."""
    for tree in ({"a": 1}, {"a": {"b": 1}}, {"schema": "other/1"}):
        with pytest.raises(SchemaError) as caught:
            load_schema(written(tmp_path, "s.json", tree))
        assert caught.value.hint
    unknown = "https://schemas.getdbt.com/dbt/manifest/v99.json"
    with pytest.raises(SchemaError, match="version 99"):
        load_schema(written(tmp_path, "m.json", {"metadata": {"dbt_schema_version": unknown}}))
    with pytest.raises(SchemaError, match="unknown kind of file"):
        load_schema(written(tmp_path, "s.txt", ""))
    plain = load_schema(written(tmp_path, "s.json", {"t": {"a": "int"}}), "mysql")
    assert plain.tables["t"].columns["a"].type == "int"
