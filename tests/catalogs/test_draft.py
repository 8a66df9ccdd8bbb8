"""The draft of a data map, and whether a data map fits a database."""

from __future__ import annotations

from pathlib import Path

from hypothesis import given, settings
from hypothesis import strategies as st

from policyguard.catalogs import Finding, compare, draft_map
from policyguard.inspectors.sql.catalog import catalog_of
from policyguard.policy.datamap import data_map_from_text
from policyguard.policy.loader import read_text
from policyguard.policy.schemas import Schema, SchemaColumn, SchemaTable, schema_of
from tests.catalogs.shared import SHOP, asked, map_of, stated, table

SCHEMA = schema_of(
    [
        SchemaTable(
            "public.users",
            {
                "id": SchemaColumn("integer", key=True),
                "email": SchemaColumn("text"),
                "marketing_opt_in": SchemaColumn("boolean"),
                "password_hash": SchemaColumn("text"),
                "theme": SchemaColumn("text"),
                "tel": stated("user.contact.phone_number", "encrypted"),
            },
        ),
        SchemaTable("public.orders", {"buyer": SchemaColumn(leads_to="public.users")}),
        SchemaTable("public.orders_1", {"buyer": SchemaColumn()}, part_of=("public.orders",)),
        table("public.plans", "id", "price"),
        table("public.v", "email", view=True, query="SELECT email FROM public.users"),
        table("public.blind", "email", view=True),
    ]
)
DRAFT = """\
# yaml-language-server: $schema=data-map.schema.json
# A draft: guesses from names, types and comments; no row was read.
# A person confirms each line: take `suspected: true` out, or the line. Until then it only flags.
# Editors check this file with `policyguard schema data-map > data-map.schema.json` beside it.
tables:
  # blind: a view whose query isn't known: describe it
  orders:
    columns:
      buyer: {subject: true}                                # foreign key to a table of people
  users:
    columns:
      id: {subject: true}                                   # key of a table of people
      email: {data: user.contact.email, suspected: true}    # by name
      # marketing_opt_in: {fact: consent, purpose: PURPOSE} # a fact about a person?
      password_hash: {data: user.authorization.password, form: encrypted, suspected: true}  # by name
      tel: {data: user.contact.phone_number, form: [encrypted]}  # said by the database
  # Nothing in these looks personal. Uncomment a line once somebody has looked:
  # plans: {columns: {}}
derived: inherit
"""  # noqa: E501 - as it is written
NAMES = st.text(min_size=1, max_size=12)


def squeezed(text: str) -> list[str]:
    """Lines without how far their comments stand apart."""
    return [" ".join(line.split()) for line in text.splitlines()]


def test_a_draft_says_what_it_knows_and_from_where() -> None:
    """Guesses are suspected, keys are subjects, answers are hints, clean tables wait."""
    assert squeezed(draft_map(SCHEMA)) == squeezed(DRAFT)


def test_a_draft_is_a_data_map() -> None:
    """It loads as it is, flags what it guesses, and calls no table clean."""
    labels = data_map_from_text(draft_map(SCHEMA))
    found = labels.column("users", "email")
    assert found is not None
    assert [label.evidence for label in found.labels] == ["suspected"]
    assert set(labels.tables) == {"orders", "users"}
    assert not asked("SELECT price FROM plans", catalog_of(labels, SCHEMA)).resolved


def test_a_draft_of_nothing_is_a_data_map_too() -> None:
    """No table, or none that looks personal."""
    for schema in (Schema(), schema_of([table("plans", "price")])):
        assert not data_map_from_text(draft_map(schema)).tables


def test_names_keep_their_schema_where_there_are_several() -> None:
    """Two tables of one name stay two."""
    schema = schema_of([table("a.users", "email"), table("b.users", "email")])
    assert set(data_map_from_text(draft_map(schema)).tables) == {"a.users", "b.users"}


@settings(deadline=None)
@given(st.lists(st.tuples(NAMES, NAMES), max_size=5))
def test_a_draft_of_any_names_is_a_data_map(names: list[tuple[str, str]]) -> None:
    """Names with quotes, colons, control characters or stars neither break it nor widen a label."""
    tables = [
        SchemaTable(f"x.{name}", {column: SchemaColumn(leads_to="users")})
        for name, column in {name.casefold(): (name, column) for name, column in names}.values()
    ]
    text = draft_map(schema_of([table("x.users", "id"), *tables]))
    labels = data_map_from_text(text)
    assert all("*" not in name and "?" not in name for name in labels.model.tables)
    assert all(line.isprintable() for line in text.splitlines())


def findings(data_map: str, schema: Schema = SHOP, ignore: tuple[str, ...] = ()) -> list[Finding]:
    """What is found about a data map."""
    document = read_text(data_map, name="data-map.yaml")
    return compare(map_of(data_map), schema, document, ignore)


GOOD = """
tables:
  users: {columns: {email: user.contact.email, id: {subject: true}}}
  plans: {columns: {}}
  blind: {columns: {x: user.name}}
"""


def test_a_map_that_fits_has_no_finding() -> None:
    """Described tables with existing columns; views with a query inherit."""
    assert findings(GOOD) == []


def test_names_in_vain_come_with_the_nearest() -> None:
    """A misspelt table or column has its place and the name that was meant."""
    text = GOOD.replace("users:", "usres:").replace("x: user.name", "xx: user.name")
    kinds = {(one.kind, one.table, one.column): one for one in findings(text)}
    one = kinds["no_such_table", "usres", ""]
    assert (one.line, one.col, one.hint) == (3, 3, "did you mean `users`?")
    assert kinds["no_such_column", "blind", "xx"].line == 5
    assert ("not_mapped", "public.users", "") in kinds


def test_patterns_stages_and_clocks() -> None:
    """A pattern may stand for what is yet to come, a stage is no table, a clock must exist."""
    text = GOOD + (
        '  "raw.*": {columns: {"*_email": user.contact.email}}\n'
        "  ads_stage: {recipient: pixel}\n"
        '  "s3://bucket/x": {recipient: pixel, columns: {a: user.name}}\n'
    )
    assert findings(text) == []
    text = GOOD.replace("plans: {columns: {}}", "plans: {clock: {seen: last_seen}}")
    (one,) = findings(text)
    assert (one.kind, one.column, one.line) == ("no_such_column", "last_seen", 4)


def test_what_the_map_leaves_out_is_found() -> None:
    """Tables that nobody mapped, and columns that look personal and have no label."""
    text = "tables: {users: {columns: {id: {subject: true}}}, plans: {columns: {}}}"
    found = {(one.kind, one.table, one.column) for one in findings(text)}
    assert found == {
        ("looks_personal", "public.users", "email"),
        ("not_mapped", "public.blind", ""),
    }
    schema = schema_of([table("leads", "email", "phone", "x")])
    (one,) = findings("tables: {}", schema)
    assert one.hint == "these look personal: `email`, `phone`"


def test_a_wrong_guess_can_be_ignored_and_a_mistake_cant() -> None:
    """With or without the schema, by pattern; what is named in vain stays a finding."""
    text = "tables: {usres: {columns: {}}, users: {columns: {}}, plans: {columns: {}}}"
    for ignore in (("users.email", "blind"), ("public.users.email", "public.b*"), ("*", "usres")):
        assert [one.kind for one in findings(text, ignore=ignore)] == ["no_such_table"]


def test_what_database_and_map_say_differently_is_found() -> None:
    """Both count; the finding says what each says."""
    schema = schema_of(
        [table("t", said={"a": stated("user.contact.email"), "b": stated("user.name")})],
        problems=("t.c: `No!` is no data category",),
    )
    found = findings("tables: {t: {columns: {a: user.name, b: user.name}}}", schema)
    assert [(one.kind, one.table, one.column) for one in found] == [
        ("disagreement", "t", "a"),
        ("unreadable", "t", "c"),
    ]
    assert "`user.name`" in found[0].message
    assert "`user.contact.email`" in found[0].message


def test_a_table_whose_columns_may_be_more_proves_no_column_missing() -> None:
    """A schema that isn't complete can't say what isn't there."""
    schema = schema_of([table("t", "a", complete=False)])
    assert findings("tables: {t: {columns: {b: user.name}}}", schema) == []


def test_findings_show_no_control_characters(tmp_path: Path) -> None:
    """Names of a database may be hostile."""
    del tmp_path
    schema = schema_of([table("t\x1b[31m", "email\x07")])
    for one in findings("tables: {}", schema):
        assert one.message.isprintable()
        assert one.hint.isprintable()
