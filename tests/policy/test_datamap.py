"""Data maps: what a file may say, and what is known about a table, column or key."""

from __future__ import annotations

from pathlib import Path
from typing import Final

import pytest

from policyguard.errors import DataMapError
from policyguard.policy.assemble import policy_from_text
from policyguard.policy.datamap import (
    ColumnLabel,
    DataMap,
    data_map_from_dict,
    data_map_from_text,
    load_data_map,
)
from policyguard.policy.flow import Label, close_form
from policyguard.policy.patterns import FieldPattern, NamePattern

POLICY: Final = policy_from_text("""\
policyguard: 1
id: p
terms: {data: {user.biometric.iris: an iris}, facts: {paid: the person paid}}
recipients: {facebook_pixel: {kind: ad_pixel}}
""")
MAP: Final = """\
tables:
  users:
    columns:
      id: {subject: true}
      email: user.contact.email
      password_hash: {data: user.authorization.password, form: encrypted}
      token: {data: [user.name, user.device], form: [anonymised, encrypted]}
      marketing_opt_in: {fact: consent, purpose: marketing}
      country: {fact: region}
      has_paid: {fact: paid, data: user.financial}
      "*_email": user.contact
      "old_*_email": user.contact.email
  raw.users: {columns: {email: user.name}}
  "raw.*": {columns: {"*_email": {data: user.contact.email, suspected: true}}}
  chats: {clock: {last_interaction: last_message_at}, columns: {body: user.content}}
  ads_audience: {recipient: facebook_pixel}
  "s3://bucket.eu/out/*": {recipient: facebook_pixel}
derived: inherit
fields:
  "*.face_embedding": user.biometric
  customer.email: user.contact.email
  email: user.contact
  "*_ip": {data: user.device.ip_address, suspected: true}
  hash: {data: user.contact.email, form: pseudonymised}
"""


def build(text: str = MAP) -> DataMap:
    """A data map, checked against the policy's words."""
    return data_map_from_text(text, POLICY.words, POLICY.everyone, name="map.yaml")


def data(found: ColumnLabel | None) -> list[str]:
    """The categories of a column."""
    return [] if found is None else [label.data for label in found.labels]


def test_a_column_carries_its_label() -> None:
    """The label says the data, the form, where it came from and how that is known."""
    labels = build()
    assert labels.column("users", "email") == ColumnLabel(
        (Label("user.contact.email", frozenset(), "users.email", "column"),)
    )
    found = labels.column("users", "password_hash")
    assert found is not None
    assert found.labels[0].form == {"encrypted"}


def test_a_column_may_hold_several_kinds_of_data() -> None:
    """One label for each, all in the closed form."""
    found = build().column("users", "token")
    assert data(found) == ["user.name", "user.device"]
    assert found is not None
    assert {label.form for label in found.labels} == {close_form(["anonymised", "encrypted"])}


def test_columns_that_name_a_person_or_a_fact() -> None:
    """They carry no label unless they say so."""
    labels = build()
    assert labels.column("users", "id") == ColumnLabel(subject=True)
    assert labels.whose_row("users") == "id"
    consent = labels.column("users", "marketing_opt_in")
    assert consent == ColumnLabel(fact="consent", purpose="marketing")
    assert labels.column("users", "country") == ColumnLabel(fact="region")
    paid = labels.column("users", "has_paid")
    assert paid is not None
    assert (paid.fact, data(paid)) == ("paid", ["user.financial"])


# fmt: off
COLUMNS: Final = {
    "the exact name": ("users", "email", ["user.contact.email"]),
    "another case": ("USERS", "Email", ["user.contact.email"]),
    "with a schema": ("public.users", "email", ["user.contact.email"]),
    "with a catalogue and a schema": ("db.public.users", "email", ["user.contact.email"]),
    "a schema of its own": ("raw.users", "email", ["user.name"]),
    "a pattern": ("users", "work_email", ["user.contact"]),
    "a longer pattern": ("users", "old_work_email", ["user.contact.email"]),
    "a pattern of tables": ("raw.mailing", "work_email", ["user.contact.email"]),
    "a pattern beside an exact table": ("raw.users", "work_email", ["user.contact"]),
    "a pattern under another schema": ("cooked.mailing", "work_email", []),
    "a pattern without a schema": ("mailing", "work_email", []),
    "a column nobody labelled": ("users", "created_at", []),
    "a table nobody labelled": ("orders", "email", []),
    "a name that holds another": ("old_users", "email", []),
}
# fmt: on


@pytest.mark.parametrize(("table", "column", "expected"), COLUMNS.values(), ids=COLUMNS)
def test_look_ups_of_columns(table: str, column: str, expected: list[str]) -> None:
    """Names count without their case; exact beats pattern, and longer beats shorter."""
    assert data(build().column(table, column)) == expected


def test_a_name_without_its_schema_means_any_schema() -> None:
    """Where two tables could be meant, both labels count."""
    text = "tables:\n  a.t: {columns: {x: user.name}}\n  b.t: {columns: {x: user.device}}\n"
    labels = build(text)
    assert sorted(data(labels.column("t", "x"))) == ["user.device", "user.name"]
    assert data(labels.column("a.t", "x")) == ["user.name"]
    assert data(labels.column("c.t", "x")) == []


def test_a_suspected_column_is_marked() -> None:
    """A guess stays a guess, with the name that was asked for."""
    found = build().column("raw.mailing", "work_email")
    assert found is not None
    assert found.labels[0].evidence == "suspected"
    assert found.labels[0].source == "raw.mailing.work_email"


def test_tables_that_leave() -> None:
    """What is written into such a table, stage or bucket goes to its recipient."""
    labels = build()
    assert labels.table_recipient("public.ads_audience") == "facebook_pixel"
    assert labels.table_recipient("s3://bucket.eu/out/2024.csv") == "facebook_pixel"
    assert labels.table_recipient("s3://bucket.eu/in/2024.csv") is None
    assert labels.table_recipient("users") is None


def test_the_clock_of_a_retention() -> None:
    """The table says which column holds it."""
    labels = build()
    assert labels.clock("chats", "last_interaction") == "last_message_at"
    assert labels.clock("chats", "creation") is None
    assert labels.clock("users", "last_interaction") is None


def test_tables_for_a_catalogue() -> None:
    """Tables and columns that are written without a pattern are listed."""
    tables = build().tables
    assert list(tables) == ["users", "raw.users", "chats", "ads_audience"]
    assert tables["chats"] == ("body",)
    assert "*_email" not in tables["users"]


# fmt: off
FIELDS: Final = {
    "a key": ("face_embedding", ["user.biometric"]),
    "a path": ("user.profile.face_embedding", ["user.biometric"]),
    "another case": ("User.Face_Embedding", ["user.biometric"]),
    "in a list": ("faces[0].face_embedding", ["user.biometric"]),
    "in a list of lists": ("faces[0][1].face_embedding[12]", ["user.biometric"]),
    "in a list, as a path": ("faces.0.face_embedding.3", ["user.biometric"]),
    "a longer path": ("order.customer.email", ["user.contact.email"]),
    "a shorter path": ("order.email", ["user.contact"]),
    "a pattern in a key": ("request.client_ip", ["user.device.ip_address"]),
    "a key that ends alike": ("my_face_embedding", []),
    "a key that begins alike": ("face_embedding.version", []),
    "a key nobody labelled": ("created_at", []),
}
# fmt: on


@pytest.mark.parametrize(("path", "expected"), FIELDS.values(), ids=FIELDS)
def test_look_ups_of_fields(path: str, expected: list[str]) -> None:
    """An entry fits the end of a path, at any depth; the more exact one counts."""
    assert [label.data for label in build().field(path)] == expected


def test_a_field_never_repeats_the_payload() -> None:
    """The source of a label is the entry, since a payload's keys can be personal data."""
    (label,) = build().field("ada@example.com.face_embedding")
    assert label.source == "*.face_embedding"
    assert label.evidence == "declared"
    (guess,) = build().field("client_ip")
    assert guess.evidence == "suspected"


def test_everything_labelled_is_listed_with_its_place() -> None:
    """Checks and reports see each entry once, in the order of the file."""
    found = {entry.source: (entry.file, entry.line, entry.col) for entry in build().labelled()}
    assert found["users.email"] == ("map.yaml", 5, 7)
    assert found["*.face_embedding"] == ("map.yaml", 20, 3)
    assert "users.id" not in found


def test_a_file_is_read_from_disk(tmp_path: Path) -> None:
    """The path stands in front of every problem."""
    path = tmp_path / "data-map.yaml"
    path.write_text(MAP, encoding="utf-8")
    assert data(load_data_map(path).column("users", "email")) == ["user.contact.email"]
    path.write_text("tables: {users: {columns: {a: usr.email}}}\n", encoding="utf-8")
    with pytest.raises(DataMapError) as caught:
        load_data_map(path)
    assert str(caught.value).startswith(f"{path}:1:")


def test_without_a_policy_any_recipient_fact_and_lower_term_goes() -> None:
    """A data map can be read before there is a policy."""
    tree = {
        "tables": {
            "users": {
                "columns": {"a": "user.contact.email.work", "b": {"fact": "paid"}},
                "recipient": "mailer",
            }
        }
    }
    assert data_map_from_dict(tree).table_recipient("users") == "mailer"


COLUMN: Final = "tables:\n  t:\n    columns:\n      c: "
BAD: Final = {
    # what is wrong: (file, every `line:col code`, a part of some hint or message)
    "empty": ("", "1:1 PG008", "tables:"),
    "a list": ("- a\n", "1:1 PG008", "not a mapping"),
    "not YAML": ("tables: [\n", "2:1 PG003", "not valid YAML"),
    "an unknown key": ("tabels: {}\n", "1:1 PG101", "did you mean `tables`?"),
    "an unknown key of a table": (
        "tables: {t: {colums: {}}}\n",
        "1:14 PG101",
        "did you mean `columns`?",
    ),
    "an unknown key of a column": (COLUMN + "{dta: user}\n", "4:11 PG101", "did you mean `data`?"),
    "an unknown term": (
        COLUMN + "user.contct.email\n",
        "4:10 PG104",
        "did you mean `user.contact.email`?",
    ),
    "an unknown term in a list": (
        COLUMN + "{data: [user, user.contct.email]}\n",
        "4:24 PG104",
        "user.contact.email",
    ),
    "an unknown term of a field": (
        "fields: {a: user.contct.email}\n",
        "1:13 PG104",
        "did you mean",
    ),
    "an unknown purpose": (
        COLUMN + "{fact: consent, purpose: marketng}\n",
        "4:35 PG105",
        "did you mean `marketing`?",
    ),
    "an unknown recipient": (
        "tables: {t: {recipient: facebok_pixel}}\n",
        "1:25 PG106",
        "did you mean `facebook_pixel`?",
    ),
    "an unknown fact": (COLUMN + "{fact: payd}\n", "4:17 PG108", "did you mean `paid`?"),
    "an unknown form": (COLUMN + "{data: user, form: hashed}\n", "4:29 PG103", "one of `raw`"),
    "raw and another form": (
        COLUMN + "{data: user, form: [raw, encrypted]}\n",
        "4:10 PG111",
        "at once",
    ),
    "a form without data": (
        COLUMN + "{form: raw, subject: true}\n",
        "4:10 PG130",
        "say which data",
    ),
    "suspected nothing": (COLUMN + "{suspected: true, subject: true}\n", "4:10 PG130", "suspected"),
    "a column that says nothing": (COLUMN + "{}\n", "4:10 PG130", "says nothing"),
    "an empty column": (COLUMN + "\n", "4:7 PG103", "is empty"),
    "an empty key of a column": (
        COLUMN + "{data: }\n",
        "4:11 PG103",
        "`data` is empty",
    ),
    "a table that says nothing": ("tables: {t: {}}\n", "1:13 PG130", "columns"),
    "consent to what": (COLUMN + "{fact: consent}\n", "4:10 PG130", "purpose"),
    "a purpose of nothing": (
        COLUMN + "{data: user, purpose: marketing}\n",
        "4:10 PG130",
        "no meaning",
    ),
    "yes for true": (COLUMN + "{subject: yes}\n", "4:20 PG103", "true or false"),
    "derived otherwise": ("derived: ignore\n", "1:10 PG103", "inherit"),
    "a table twice, in different case": (
        "tables:\n  T: {recipient: self}\n  t: {recipient: self}\n",
        "3:3 PG132",
        "merge them",
    ),
    "a column twice": (COLUMN + "user\n      c: user\n", "5:7 PG007", "twice"),
    "a name with a line break": ('fields: {"a\\nb": user}\n', "1:18 PG131", "line breaks"),
    "an alias": (
        "fields: {a: &x user, b: *x}\n",
        "1:13 PG005, 1:25 PG005",
        "write it out",
    ),
}


@pytest.mark.parametrize(("text", "places", "says"), BAD.values(), ids=BAD)
def test_bad_data_maps_are_refused(text: str, places: str, says: str) -> None:
    """Every problem is reported with its place and code, and a way out that helps."""
    with pytest.raises(DataMapError) as caught:
        build(text)
    assert ", ".join(f"{p.line}:{p.col} {p.code}" for p in caught.value.problems) == places
    assert says in str(caught.value)


def test_all_problems_come_in_one_run() -> None:
    """A misspelt key doesn't hide an unknown term."""
    with pytest.raises(DataMapError) as caught:
        build("tabels: {}\nfields: {a: user.emal, b: {}}\ntables: {t: {recipient: nobody}}\n")
    codes = [problem.code for problem in caught.value.problems]
    assert codes == ["PG101", "PG104", "PG130", "PG106"]


def test_hostile_names_cost_little() -> None:
    """Patterns with many stars don't run away on long names."""
    stars = "*a" * 30 + "b"
    assert not NamePattern(stars).matches("a" * 500)
    assert not FieldPattern(stars).matches("a." * 5_000)
    assert NamePattern("*").matches("anything")
    assert NamePattern("a?c*").matches("abc")
    assert not NamePattern("a.c").matches("abc")
