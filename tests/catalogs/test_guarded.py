"""A guard with a data map and a committed schema: from the lock to the verdict."""

from __future__ import annotations

from pathlib import Path

from policyguard import Guard
from policyguard.catalogs import dump_lock, schema_of_database
from policyguard.enforce.plans import Planner
from policyguard.policy.schemamap import with_schema
from policyguard.policy.schemas import schema_of
from tests.catalogs.shared import map_of, sqlite, stated, table, written

POLICY = """
policyguard: 1
id: shop
version: "1"
recipients: {partner: {kind: processor, hosts: [partner.example]}}
rules:
  - {id: run, permit: {data: [user.account], purposes: [essential], to: [self, partner]}}
"""
MAP = "tables: {users: {columns: {email: user.contact.email, theme: user.account.settings}}}"
SHOP = """
CREATE TABLE users (id INTEGER PRIMARY KEY, email TEXT, theme TEXT);
CREATE VIEW shown AS SELECT id, theme AS colour FROM users;
CREATE VIEW mails AS SELECT id, email AS m FROM users;
"""


def test_from_a_database_to_a_verdict(tmp_path: Path) -> None:
    """Lock, data map and policy: a star is judged by its columns, a view by its query."""
    lock = written(
        tmp_path, "lock.json", dump_lock(schema_of_database(sqlite(tmp_path / "s.db", SHOP)))
    )
    data_map = written(tmp_path, "map.yaml", MAP)
    policy = written(tmp_path, "policy.yaml", POLICY)
    guard = Guard.load(policy, data_map=data_map, schema=lock)
    now = guard.in_force
    catalog = now.catalog()
    assert now.data_map is not None
    assert catalog is not None
    planner = Planner(now.data_map, catalog)
    for view, data in (("shown", "user.account.settings"), ("mails", "user.contact.email")):
        plan = planner.plan(f"SELECT * FROM {view}", "sqlite")
        assert not plan.unresolved
        found = [[label.data for label in labels] for labels in plan.outputs]
        assert found == [[], [data]]


def test_what_a_table_says_counts_for_its_partitions() -> None:
    """Clock, subject and recipient are those of the whole."""
    part = table("chats_1", "at", "who", part_of=("chats",))
    schema = schema_of([table("chats", "at", "who"), part])
    labels = with_schema(
        map_of(
            "tables: {chats: {recipient: partner, clock: {last: at}, "
            "columns: {who: {subject: true}}}}"
        ),
        schema,
    )
    assert labels.clock("chats_1", "last") == "at"
    assert labels.whose_row("chats_1") == "who"
    assert labels.table_recipient("chats_1") == "partner"


def test_a_stated_recipient_counts_and_the_data_map_first() -> None:
    """The key `policyguard_to` of dbt is a recipient unless the data map names another."""
    said = {"a": stated("user.name")}
    schema = schema_of(
        [table("db.out.ads", recipient="pixel"), table("db.out.crm", said=said, recipient="crm")]
    )
    labels = with_schema(map_of("tables: {crm: {recipient: partner}}"), schema)
    assert labels.table_recipient("ads") == "pixel"
    assert labels.table_recipient("out.crm") == "partner"
    assert labels.model.tables["db.out.ads"].recipient == "pixel"
    assert [one.source for one in labels.labelled()] == ["db.out.crm.a"]
