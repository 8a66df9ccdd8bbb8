"""What a guard knows about tables when it has a schema beside the data map."""

from __future__ import annotations

from policyguard.inspectors.sql import Catalog
from policyguard.inspectors.sql.catalog import catalog_of
from policyguard.policy.schemamap import disagreements, with_schema
from policyguard.policy.schemas import schema_of
from tests.catalogs.shared import SHOP, asked, map_of, stated, table

USERS = map_of("tables: {users: {columns: {email: user.contact.email}}}")


def test_without_a_schema_a_star_stays_unresolved() -> None:
    """A data map alone doesn't say that there are no other columns."""
    assert not asked("SELECT * FROM users", catalog_of(USERS)).resolved


def test_with_a_schema_a_star_stands_for_all_columns() -> None:
    """Columns that the data map doesn't list are known and carry no label."""
    answer = asked("SELECT * FROM users", catalog_of(USERS, SHOP))
    assert answer.resolved
    assert [output.name for output in answer.outputs] == ["id", "email", "theme"]
    assert answer.reads == {"public.users.id", "public.users.email", "public.users.theme"}


def test_a_table_that_nobody_described_stays_unknown() -> None:
    """A schema doesn't vouch for what a table holds; a person may say that it does."""
    assert not asked("SELECT price FROM plans", catalog_of(USERS, SHOP)).resolved
    clean = catalog_of(USERS, SHOP, undescribed="clean")
    assert asked("SELECT price FROM plans", clean).resolved


def test_tables_that_may_be_views_are_never_taken_for_clean() -> None:
    """Where views aren't told from tables, an undescribed table may be a view of a labelled one."""
    unsure = schema_of(SHOP.tables.values(), "postgres", views_known=False)
    catalog = catalog_of(USERS, unsure, undescribed="clean")
    assert not asked("SELECT price FROM plans", catalog).resolved


def test_a_view_is_what_it_is_made_of() -> None:
    """A view that nobody described is read through to its tables."""
    answer = asked("SELECT mail FROM mails", catalog_of(USERS, SHOP))
    assert "public.users.email" in answer.reads


def test_a_described_view_only_adds() -> None:
    """A view's own label stands beside those of the tables behind it."""
    both = map_of(
        "tables: {users: {columns: {email: user.contact.email}}, "
        "mails: {columns: {mail: user.name}}}"
    )
    answer = asked("SELECT mail FROM mails", catalog_of(both, SHOP))
    assert {"public.users.email", "public.mails.mail"} <= answer.reads


def test_a_view_without_a_query_is_unknown_until_described() -> None:
    """Its columns may be any columns; who describes it says which."""
    assert not asked("SELECT x FROM blind", catalog_of(USERS, SHOP)).resolved
    assert not asked("SELECT x FROM blind", Catalog.from_schema(SHOP)).resolved
    told = map_of("tables: {blind: {columns: {x: user.name}}}")
    assert asked("SELECT x FROM blind", catalog_of(told, SHOP)).reads == {"public.blind.x"}


def test_what_the_data_map_has_and_the_schema_hasnt_stays_known() -> None:
    """A table that came after the lock is read as before: column by column, no star."""
    more = map_of("tables: {orders: {columns: {address: user.contact.address}}}")
    catalog = catalog_of(more, SHOP)
    assert asked("SELECT address FROM orders", catalog).reads == {"orders.address"}
    assert not asked("SELECT * FROM orders", catalog).resolved


def test_a_stated_label_describes_its_table() -> None:
    """A comment in the database is enough to know a table by."""
    said = {"mail": stated("user.contact.email")}
    schema = schema_of([table("users", "id"), table("people", "id", said=said)])
    labels = with_schema(None, schema)
    assert asked("SELECT * FROM people", catalog_of(labels, schema)).resolved
    assert not asked("SELECT * FROM users", catalog_of(labels, schema)).resolved
    found = labels.column("people", "MAIL")
    assert found is not None
    assert [label.data for label in found.labels] == ["user.contact.email"]


def test_both_labels_count_where_database_and_map_disagree() -> None:
    """The stricter side can't be told, so both are asked of the policy."""
    columns = {"mail": stated("user.contact.email"), "nick": stated("user.name")}
    schema = schema_of([table("public.users", said=columns)])
    labels = map_of(
        "tables: {users: {columns: {mail: {data: user.contact.email, form: encrypted}, "
        "nick: {data: [user.name, user.account.username]}}}}"
    )
    found = with_schema(labels, schema).column("users", "mail")
    assert found is not None
    assert {(label.data, tuple(label.form)) for label in found.labels} == {
        ("user.contact.email", ()),
        ("user.contact.email", ("encrypted",)),
    }
    assert [one.column for one in disagreements(labels, schema)] == ["mail"]


def test_a_partition_holds_what_its_table_holds() -> None:
    """A label of the whole counts for the part and the other way round; so does a recipient."""
    schema = schema_of(
        [table("events", "body", "ip"), table("events_2024", "body", "ip", part_of=("events",))]
    )
    labels = map_of(
        "tables: {events: {recipient: partner, columns: {body: user.content}}, "
        "events_2024: {columns: {ip: user.device.ip_address}}}"
    )
    both = with_schema(labels, schema)
    for name in ("events", "events_2024"):
        for column in ("body", "ip"):
            found = both.column(name, column)
            assert found is not None, (name, column)
            assert len(found.labels) == 1
        assert both.table_recipient(name) == "partner"
    only = map_of("tables: {events: {columns: {body: user.content}}}")
    assert asked("SELECT * FROM events_2024", catalog_of(only, schema)).resolved


def test_a_search_path_decides_what_a_bare_name_means() -> None:
    """Without one, a bare name means every table of that name."""
    tables = [table("a.users", "x"), table("b.users", "y")]
    whole = Catalog.from_schema(schema_of(tables))
    assert asked("SELECT x, y FROM users", whole).reads == {"a.users.x", "b.users.y"}
    first = Catalog.from_schema(schema_of(tables, search_path=("none", "b", "a")))
    assert asked("SELECT * FROM users", first).reads == {"b.users.y"}
    assert asked("SELECT x FROM a.users", first).reads == {"a.users.x"}
    assert whole.version != first.version


def test_equal_schemas_have_equal_versions() -> None:
    """The version is a digest of what is known, and of nothing else."""
    again = schema_of(reversed(list(SHOP.tables.values())), "postgres")
    assert again.version == SHOP.version
    assert schema_of(SHOP.tables.values(), "mysql").version != SHOP.version
    assert catalog_of(USERS, SHOP).version == catalog_of(USERS, again).version
    assert catalog_of(USERS, SHOP).version != catalog_of(USERS).version


def test_schemas_are_merged_by_name_with_and_without_schema() -> None:
    """Every column and label of either counts; a type that was known first stays."""
    said = {"email": stated("user.contact.email")}
    other = schema_of([table("users", said=said), table("extra", "x")])
    both = SHOP.merged(other)
    assert set(both.tables) == {*SHOP.tables, "extra"}
    assert both.tables["public.users"].columns["email"].labels
    assert list(both.tables["public.users"].columns) == ["id", "email", "theme"]


def test_thousands_of_partitions_are_one_table() -> None:
    """Neither the catalog nor a look-up grows with the square of the partitions."""
    parts = [table(f"p{n}", "body", part_of=("events",)) for n in range(5_000)]
    schema = schema_of([table("events", "body"), *parts])
    labels = map_of("tables: {events: {columns: {body: user.content}}}")
    assert len(catalog_of(labels, schema).tables) == 5_001
    both = with_schema(labels, schema)
    found = [both.column(f"p{n}", "body") for n in range(0, 5_000, 500)]
    assert all(one is not None and one.labels for one in found)


def test_parts_of_parts_and_circles_are_one_family() -> None:
    """However the parts are written, each knows all the others."""
    schema = schema_of(
        [
            table("a", "x", part_of=("b",)),
            table("b", "x", part_of=("c", "gone")),
            table("c", "x", part_of=("a",)),
            table("d", "x"),
        ]
    )
    assert [one.name for one in schema.family("b")] == ["a", "b", "c"]
    assert [one.name for one in schema.family("d")] == ["d"]
    assert schema.family("gone") == ()
