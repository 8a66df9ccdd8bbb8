"""What a column may hold, by its name, type, comment and table."""

from __future__ import annotations

from pathlib import Path

import pytest

from policyguard.catalogs import suggest
from policyguard.catalogs.guesses import ANSWERS, GUESSES
from policyguard.catalogs.suggest import Suggestion, words
from policyguard.policy.assemble import load_policy
from policyguard.policy.datamap import DataMap, load_data_map
from policyguard.policy.flow import FORMS
from policyguard.policy.mapfile import OBSERVED
from policyguard.policy.schemas import Schema, SchemaColumn, SchemaTable, schema_of
from policyguard.policy.taxonomy import built_in

POLICIES = sorted((Path(__file__).resolve().parent.parent.parent / "policies").iterdir())


def guess(table: str, column: str, kind: str = "", comment: str = "") -> Suggestion | None:
    """The guess about one column."""
    one = SchemaTable(table, {column: SchemaColumn(kind, comment=comment)})
    return suggest(schema_of([one]), one, column)


# fmt: off
HOLDS = {
    # (table, column, type): data
    ("users", "email", ""): "user.contact.email",
    ("users", "EmailAddress", "text"): "user.contact.email",
    ("t", "billing_email", ""): "user.contact.email",
    ("t", "mobilePhone", ""): "user.contact.phone_number",
    ("t", "shipping_address", ""): "user.contact.address",
    ("t", "address_line_1", ""): "user.contact.address.street",
    ("t", "zip_code", ""): "user.contact.address.postal_code",
    ("t", "ip_address", ""): "user.device.ip_address",
    ("t", "peer", "inet"): "user.device.ip_address",
    ("users", "name", ""): "user.name",
    ("t", "first_name", ""): "user.name.first",
    ("t", "surname", ""): "user.name.last",
    ("t", "date_of_birth", "date"): "user.demographic.date_of_birth",
    ("t", "card_number", ""): "user.financial.credit_card",
    ("t", "iban", ""): "user.financial.bank_account",
    ("t", "password_hash", ""): "user.authorization.password",
    ("t", "refresh_token", ""): "user.authorization.access_token",
    ("t", "api_key", ""): "user.authorization.credentials",
    ("faces", "embedding", "vector(512)"): "user.biometric.face_embedding",
    ("t", "face_vector", ""): "user.biometric.face_embedding",
    ("documents", "v", "vector(1536)"): "user.content",
    ("t", "latitude", "double precision"): "user.location.precise",
    ("t", "place", "geography(Point,4326)"): "user.location.precise",
    ("chat_messages", "body", "text"): "user.content.chat_message",
    ("t", "passport_number", ""): "user.government_id.passport_number",
    ("t", "device_id", ""): "user.device.device_id",
}
NOTHING = (
    ("products", "name", ""), ("users", "email_verified", "boolean"), ("t", "created_at", ""),
    ("t", "email_sent_at", "timestamp"), ("t", "phone_count", "int"), ("t", "has_phone", ""),
    ("orders", "status", ""), ("t", "mac", ""), ("t", "spanning", ""), ("t", "shipping", ""),
    ("t", "description", ""), ("t", "body", ""), ("t", "is_email", ""), ("t", "id", "int"),
)
# fmt: on


@pytest.mark.parametrize("key", HOLDS)
def test_a_personal_column_is_guessed(key: tuple[str, str, str]) -> None:
    """Names in any spelling, types and tables give a column away."""
    found = guess(*key)
    assert found is not None
    assert found.data == HOLDS[key]


@pytest.mark.parametrize("key", NOTHING)
def test_an_ordinary_column_is_left_alone(key: tuple[str, str, str]) -> None:
    """What speaks about a value without being it is no guess."""
    assert guess(*key) is None


def test_subjects_are_found_by_keys_and_foreign_keys() -> None:
    """The key of a table of people, and every column that leads to one."""
    people = SchemaTable("app.users", {"uid": SchemaColumn(key=True)})
    more = SchemaTable("t", {"x": SchemaColumn(leads_to="app.users"), "y": SchemaColumn()})
    schema = schema_of([people, more])
    assert suggest(schema, people, "uid") == Suggestion(
        subject=True, why="key of a table of people"
    )
    found = suggest(schema, more, "x")
    assert found is not None
    assert found.subject
    assert suggest(schema, more, "y") is None
    by_name = guess("orders", "customer_id")
    assert by_name is not None
    assert by_name.subject


def test_answers_are_facts() -> None:
    """A consent or an opt-out is a hint for a person, never a label."""
    for column, fact in (("marketing_opt_in", "consent"), ("ads_opt_out", "opt_out")):
        found = guess("users", column, "boolean")
        assert found is not None
        assert (found.fact, found.data) == (fact, "")


def test_a_comment_helps_where_the_name_says_nothing() -> None:
    """Words of a comment count; what it says isn't kept."""
    found = guess("t", "c17", "text", "The customer's e-mail, e.g. alice@example.com")
    assert found == Suggestion("user.contact.email", why="comment")
    assert guess("t", "c17", "text", "some number") is None


def test_every_guess_is_a_term_that_exists() -> None:
    """The table of guesses names nothing that a data map would refuse."""
    assert {one.data for one in GUESSES} <= set(built_in().data.phrases)
    assert {one.form for one in GUESSES} <= {"", *FORMS}
    assert {fact for fact, _ in ANSWERS} <= OBSERVED


def test_names_are_split_into_words() -> None:
    """Humps, digits, signs and letters of other scripts."""
    assert words("billingEMail") == "_billing_e_mail_"
    assert words("IPAddress") == "_ip_address_"
    assert words("a--b c") == "_a_b_c_"
    assert words("\x1b[31m") == "_31m_"
    assert words("") == "__"


def of(data_map: DataMap) -> Schema:
    """The tables and columns that a data map names, without anything else."""
    tables = data_map.model.tables.items()
    return schema_of(
        SchemaTable(name, {column: SchemaColumn() for column in table.columns})
        for name, table in tables
    )


def test_names_alone_find_most_labels_of_the_shipped_policies() -> None:
    """How much of the shipped data maps is guessed right; docs/how-to/map-a-database.md says it."""
    labelled = exact = near = subjects = guessed = wrong = 0
    for folder in POLICIES:
        policy = load_policy(folder / "policy.yaml")
        labels = load_data_map(folder / "data-map.yaml", policy.words, policy.everyone)
        schema = of(labels)
        for name, table in labels.model.tables.items():
            for column, entry in table.columns.items():
                found = suggest(schema, schema.tables[name], column)
                data = found.data if found else ""
                if entry.data:
                    labelled += 1
                    exact += data in entry.data
                    near += bool(data) and data not in entry.data
                elif entry.subject:
                    subjects += 1
                    guessed += bool(found and found.subject)
                else:
                    wrong += bool(data)
    assert (labelled, exact, near) == (83, 77, 3)
    assert (subjects, guessed) == (27, 25)
    assert wrong == 0
