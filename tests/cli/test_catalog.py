"""`map` and `schema-lock`: what they print, write and refuse.

Goldens lie under `catalog_golden/`; with POLICYGUARD_GOLDEN=1 they are written anew.
"""

from __future__ import annotations

import json
import os
import sqlite3
import stat
from pathlib import Path

import pytest

from policyguard.policy.datamap import load_data_map
from tests.cli.running import Done, cli

GOLDEN = Path(__file__).resolve().parent / "catalog_golden"
CANARY = "hunter2-canary"
SHOP = """
CREATE TABLE users (
    id INTEGER PRIMARY KEY, email TEXT, marketing_opt_in BOOLEAN, signup_ip TEXT, theme TEXT);
CREATE TABLE orders (id INTEGER PRIMARY KEY, user_id REFERENCES users(id), address TEXT);
CREATE TABLE plans (id INTEGER PRIMARY KEY, price INT);
CREATE VIEW mails AS SELECT email FROM users WHERE email <> 'hunter2-canary@example.com';
INSERT INTO users VALUES (1, 'hunter2-canary@example.com', 1, '192.0.2.7', 'dark');
"""
CHANGE = """
ALTER TABLE users ADD COLUMN phone TEXT;
ALTER TABLE users DROP COLUMN theme;
CREATE TABLE leads (email TEXT);
DROP VIEW mails;
"""
MAP = """\
tables:
  users:
    columns:
      id: {subject: true}
      emial: user.contact.email
  plans: {columns: {}}
  ordres: {columns: {address: user.contact.address}}
"""
DB = ("--db", "sqlite:///shop.db")


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working folder with a database, a data map and files that describe schemas."""
    monkeypatch.chdir(tmp_path)
    run(SHOP)
    Path("data-map.yaml").write_text(MAP, encoding="utf-8")
    Path("columns.csv").write_text(
        "table_schema,table_name,column_name,data_type\ns,users,email,text\n", encoding="utf-8"
    )
    Path("schema.sql").write_text("CREATE TABLE users (id int, email text);", encoding="utf-8")
    assert cli("schema-lock", *DB).code == 0
    return tmp_path


def run(script: str) -> None:
    """Run a script in the database."""
    connection = sqlite3.connect("shop.db")
    connection.executescript(script)
    connection.close()


# fmt: off
COMMANDS: dict[str, tuple[object, ...]] = {
    # file               exit code, arguments
    "lock":              (0, "schema-lock", *DB, "-o", "again.json"),
    "lock-check":        (0, "schema-lock", *DB, "--check"),
    "lock-csv":          (0, "schema-lock", "--csv", "columns.csv", "--dialect", "snowflake",
                          "-o", "csv.json"),
    "lock-changed":      (1, "schema-lock", *DB, "--check"),
    "map":               (0, "map", *DB),
    "map-check":         (1, "map", "--check", *DB),
    "map-check-lock":    (1, "map", "--check", "--schema", "schema.lock.json", "data-map.yaml",
                          "--ignore", "users.signup_ip"),
    "map-check-json":    (1, "map", "--check", *DB, "--format", "json"),
}
# fmt: on


@pytest.mark.parametrize("name", COMMANDS)
def test_a_command_prints_what_its_file_says(name: str) -> None:
    """Output and exit code are those of the golden file."""
    if name == "lock-changed":
        run(CHANGE)
    code, *arguments = COMMANDS[name]
    done = cli(*map(str, arguments))
    assert done.code == code, done.err
    text = done.out + (f"--- stderr\n{done.err}" if done.err else "")
    path = GOLDEN / f"{name}.txt"
    if os.environ.get("POLICYGUARD_GOLDEN"):
        path.write_text(text, encoding="utf-8")
    assert text == path.read_text("utf-8")
    assert CANARY not in text


def test_every_golden_file_belongs_to_a_command() -> None:
    """No golden file is left over."""
    assert {path.stem for path in GOLDEN.glob("*.txt")} == set(COMMANDS) | {"lock-file"}


def test_the_lock_is_what_its_golden_file_says() -> None:
    """The committed file: stable, sorted, without a value."""
    text = Path("schema.lock.json").read_text("utf-8")
    path = GOLDEN / "lock-file.txt"
    if os.environ.get("POLICYGUARD_GOLDEN"):
        path.write_text(text, encoding="utf-8")
    assert text == path.read_text("utf-8")
    assert CANARY not in text
    assert cli("schema-lock", *DB, "-o", "-").out == text


def test_a_lock_is_written_over_and_nothing_else_is() -> None:
    """A lock is refreshed in place; a file of the user's is never lost."""
    run(CHANGE)
    assert cli("schema-lock", *DB).code == 0
    assert cli("schema-lock", *DB, "--check").code == 0
    before = Path("data-map.yaml").read_text("utf-8")
    for arguments in (
        ("schema-lock", *DB, "-o", "data-map.yaml"),
        ("map", *DB, "-o", "data-map.yaml"),
    ):
        done = cli(*arguments)
        assert done.code == 2
        assert "is there already" in done.err
    assert Path("data-map.yaml").read_text("utf-8") == before
    assert cli("map", *DB, "-o", "data-map.yaml", "--force").code == 0


def test_a_draft_is_a_data_map_that_fits_once_somebody_looked() -> None:
    """What is left to do is to look at the tables in which nothing looks personal."""
    assert cli("map", *DB, "-o", "draft.yaml").code == 0
    assert load_data_map("draft.yaml").column("users", "email") is not None
    done = cli("map", "--check", *DB, "draft.yaml")
    assert done.code == 1
    assert "`plans`" in done.out
    text = Path("draft.yaml").read_text("utf-8").replace("  # plans: {", "  plans: {")
    Path("draft.yaml").write_text(text, encoding="utf-8")
    assert cli("map", "--check", *DB, "draft.yaml").code == 0


def test_a_lock_serves_inspect() -> None:
    """With a lock, a star and a view are resolved."""
    arguments = ("inspect", "--dialect", "sqlite", "--schema", "schema.lock.json", "--sql")
    done = cli(*arguments, "SELECT * FROM mails")
    assert done.code == 0
    assert "users.email" in done.out
    assert cli(*arguments, "SELECT * FROM users").code == 0


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("s.csv", "table_name,column_name\nusers,email\n"),
        ("s.yml", "dataset: [{collections: [{name: users, fields: [{name: email}]}]}]"),
        ("s.json", '{"users": {"email": "text"}}'),
        ("s.sql", "CREATE TABLE users (email text)"),
        ("s.yaml", "tables: {users: {columns: {email: user.contact.email}}}"),
    ],
)
def test_inspect_reads_every_kind_of_schema(name: str, content: str) -> None:
    """The file's ending, and what it says of itself, decide."""
    Path(name).write_text(content, encoding="utf-8")
    done = cli(
        "inspect", "--dialect", "postgres", "--schema", name, "--sql", "SELECT email FROM users"
    )
    assert done.code == 0
    assert "users.email" in done.out


def test_the_url_may_stand_in_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """So no password stands in a list of processes or a log of CI."""
    monkeypatch.setenv("SHOP_URL", "sqlite:///shop.db")
    assert cli("schema-lock", "--db", "env:SHOP_URL", "--check").code == 0
    assert cli("schema-lock", "--db", "env:NO_URL", "--check").code == 2


# fmt: off
MISTAKES: dict[str, tuple[tuple[str, ...], str]] = {
    # what the user did: (arguments, what the line says)
    "map of nothing": (("map",), "map: needs a database (--db URL"),
    "a lock of nothing": (("schema-lock",), "schema-lock: needs a database"),
    "a draft as JSON": (("map", *DB, "--format", "json"), "a draft is YAML"),
    "a draft with a map": (("map", *DB, "data-map.yaml"), "only read with --check"),
    "no such database": (("map", "--db", "sqlite:///none.db"), "none.db: no such file"),
    "nobody listens": (("map", "--db", f"postgresql://u:{CANARY}@127.0.0.1:1/x"),
                       "postgresql at 127.0.0.1: can't be read"),
    "no URL": (("schema-lock", "--db", CANARY), "the URL of the database can't be read"),
    "a missing driver": (("schema-lock", "--db", f"oracle://u:{CANARY}@h/x"),
                         "the driver `oracledb` isn't installed (`pip install"),
    "no such lock": (("schema-lock", *DB, "--check", "-o", "no.json"), "no.json: no such file"),
    "a lock that is none": (("schema-lock", *DB, "--check", "-o", "columns.csv"), "not JSON"),
    "a check of nothing": (("schema-lock", *DB, "--check", "-o", "-"), "needs the lock"),
    "no such map": (("map", "--check", *DB, "no.yaml"), "no.yaml: no such file"),
    "a CSV without a dialect": (("schema-lock", "--csv", "columns.csv"), "--csv needs a --dialect"),
    "an unknown dialect": (("schema-lock", "--csv", "columns.csv", "--dialect", "sql"), "dialect"),
    "DDL without a dialect": (("schema-lock", "--ddl", "schema.sql"), "--ddl needs a --dialect"),
    "no catalog of dbt": (("schema-lock", "--dbt-catalog", "schema.lock.json"),
                          "not a catalog of dbt"),
    "another dialect": (("inspect", "--dialect", "mysql", "--schema", "schema.lock.json", "--sql",
                         "SELECT 1"), "its dialect is sqlite (--dialect sqlite)"),
    "no folder": (("schema-lock", *DB, "-o", "no/lock.json"), "can't write `no/lock.json`"),
}
# fmt: on


@pytest.mark.parametrize("name", MISTAKES)
def test_a_mistake_is_one_clear_line(name: str) -> None:
    """Exit code 2, place and cause and way out, no traceback, no password."""
    arguments, says = MISTAKES[name]
    done = cli(*arguments)
    assert done.code == 2, done
    assert says in done.err
    assert "Traceback" not in done.err
    assert len(done.err.splitlines()) <= 2
    assert CANARY not in done.err + done.out


def test_a_folder_that_cant_be_written_to() -> None:
    """The draft isn't said to be written."""
    Path("locked").mkdir()
    Path("locked").chmod(stat.S_IRUSR | stat.S_IXUSR)
    if os.geteuid() == 0:  # root may write anywhere: a file in the way serves as well
        Path("locked").rmdir()
        Path("locked").write_text("", encoding="utf-8")
    done = cli("map", *DB, "-o", "locked/x.yaml")
    assert done.code == 2
    assert "can't write" in done.err


def test_hostile_names_reach_no_terminal() -> None:
    """Control characters of a database are escaped wherever they are shown."""
    run('CREATE TABLE "t\x1b[31m" ("email\x07" TEXT)')
    done: list[Done] = [
        cli("map", "--check", *DB),
        cli("map", *DB),
        cli("schema-lock", *DB, "--check"),
    ]
    for one in done:
        assert "\x1b" not in one.out + one.err
        assert "\x07" not in one.out + one.err


def test_findings_are_json_with_a_schema() -> None:
    """A program reads kinds, names and places."""
    done = cli("map", "--check", *DB, "--format", "json")
    tree = json.loads(done.out)
    assert tree["schema"] == "policyguard.map-check/1"
    assert not tree["ok"]
    kinds = {one["kind"] for one in tree["findings"]}
    assert kinds == {"no_such_table", "no_such_column", "looks_personal", "not_mapped"}
    assert all(one["file"] == "data-map.yaml" for one in tree["findings"] if one["line"])
