"""The same statement with other values isn't parsed again, and is answered as if it were.

`POLICYGUARD_SEED` sets where the random numbers start.
"""

from __future__ import annotations

import json
import os
import random
import re
from collections.abc import Iterator

import pytest

from policyguard.inspectors.sql import Catalog, Session, Statement, facts, guard, inspect
from policyguard.inspectors.sql.inspection import _answered, _inspected, _Key, _templates
from policyguard.inspectors.sql.scope import Doubt
from policyguard.inspectors.sql.session import Left
from policyguard.inspectors.sql.templates import (
    MAX_LENGTH,
    MAX_TEMPLATES,
    Template,
    Templates,
    template_of,
)
from policyguard.inspectors.sql.traits import traits_of
from tests.inspectors.sql.generator import Maker
from tests.inspectors.sql.ordinary import Ordinary
from tests.inspectors.sql.shared import CATALOG, CLINIC, FIXTURES

SEED = int(os.environ.get("POLICYGUARD_SEED", "1"))
DIALECTS = ["postgres", "sqlite", "mysql", "duckdb", "snowflake", "bigquery", "tsql"]
# Names, codes and paths: whatever a literal could be where it isn't a mere value.
VALUES = [
    *("'email'", "'patients.email'", "'select email from patients'", "'patients'", "'$.email'"),
    *("'full_name, email'", "'e%'", "'{email}'", "'2024-01-01'", "'1 day'", "'utf8mb4'", "'ab-cd'"),
    *("'DE'", "'DE-BY'", "'t'", "''", "'true'", "0", "1", "2", "10", "42", "3.5", "100000"),
]
LITERAL = re.compile(r"(?<![\w$.])(?:'[^'\\]*'|\d+(?:\.\d+)?)(?![\w.'])")
KINDS = {
    table: {name: "I" if kind.startswith("int") else "T" for name, kind in columns.items()}
    for table, columns in CLINIC.items()
}


def template(sql: str, dialect: str = "postgres") -> Template | None:
    """The template of a text; None also when it is refused before the parser."""
    try:
        return template_of(guard.split(sql, traits_of(dialect), thin=True), sql)
    except Doubt:
        return None


def parsed(sql: str, dialect: str) -> tuple[Statement, ...]:
    """The answers for a text without any cache."""
    traits = traits_of(dialect)
    return _answered(guard.split(sql, traits, thin=True), sql, traits, CATALOG, Left())


def texts(count: int) -> Iterator[str]:
    """Statements of every kind that the other tests use."""
    for name in ("corpus", "duckdb", "postgres"):
        lines = (FIXTURES / f"{name}.jsonl").read_text().splitlines()
        yield from (json.loads(line)["sql"] for line in lines if line)
    for number in range(count):
        rng = random.Random(SEED * 1_000_003 + number)
        yield Maker(rng).query(rng.choice([1, 1, 2]), [])[0] if number % 4 else Maker(rng).script()
        yield Ordinary(rng, KINDS, [("patients.id", "visits.patient_id")], frozenset()).query()


def exchanged(sql: str, rng: random.Random) -> str:
    """A text with some or all of its literals exchanged for others."""
    share = rng.choice([0.3, 1.0])
    return LITERAL.sub(lambda m: rng.choice(VALUES) if rng.random() < share else m[0], sql)


@pytest.mark.parametrize("dialect", DIALECTS)
def test_texts_of_one_template_have_one_answer(dialect: str) -> None:
    """Literals of generated texts are exchanged: the cached answer is that of the parser."""
    rng, pairs = random.Random(SEED), 0
    for sql in texts(60):
        known: dict[Template, tuple[Statement, ...]] = {}
        for text in (sql, *(exchanged(sql, rng) for _ in range(3))):
            made = template(text, dialect)
            if made is None:
                continue
            answers = parsed(text, dialect)
            if made in known:
                pairs += 1
                assert answers == known[made], text
            elif all(one.resolved for one in answers):
                known[made] = answers
    assert pairs > 20


@pytest.mark.parametrize("dialect", DIALECTS)
def test_anything_fits_where_a_literal_is_left_out(dialect: str) -> None:
    """Each literal that a template leaves out is replaced by names and codes: nothing changes."""
    rng, pairs = random.Random(SEED), 0
    for sql in texts(150):
        made = template(exchanged(sql, rng), dialect)
        if made is None:
            continue
        filled = [_filled(made, rng) for _ in range(6)]
        same = [parsed(text, dialect) for text in filled if template(text, dialect) == made]
        # A doubt is never shared, and its reason may quote a place.
        told = [answers if answers[0].resolved else None for answers in same]
        pairs += len([one for one in told if one])
        assert len(set(told)) <= 1, filled
    assert pairs > 250


def _filled(made: Template, rng: random.Random) -> str:
    """A text of a template: in place of each literal one of any kind."""
    pieces = made[0]
    return pieces[0] + "".join(rng.choice(VALUES[:12]) + piece for piece in pieces[1:])


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("SELECT id FROM users WHERE id = 4711", "SELECT id FROM users WHERE id = 12"),
        ("SELECT id FROM t WHERE mail = 'ann@a.example'", "SELECT id FROM t WHERE mail = 'x@y.z'"),
        ("SELECT a FROM t WHERE a IN (10, 20)", "SELECT a FROM t WHERE a IN (10, 20, 30)"),
        ("SELECT a FROM t WHERE a BETWEEN 10 AND 20", "SELECT a FROM t WHERE a BETWEEN 30 AND 40"),
        ("SELECT a FROM t LIMIT 10 OFFSET 20", "SELECT a FROM t LIMIT 20 OFFSET 40"),
        ("INSERT INTO t (a, b) VALUES (10, 'alice')", "INSERT INTO t (a, b) VALUES (20, 'robert')"),
        ("UPDATE t SET a = 'alice' WHERE b = 10", "UPDATE t SET a = 'robert' WHERE b = 11"),
        ("DELETE FROM t WHERE (a = 10 OR b > 20)", "DELETE FROM t WHERE (a = 11 OR b > 21)"),
        (
            "SELECT a FROM (SELECT a FROM t WHERE b = 10) q WHERE a > 20",
            "SELECT a FROM (SELECT a FROM t WHERE b = 11) q WHERE a > 21",
        ),
    ],
)
def test_plain_values_are_left_out(one: str, other: str) -> None:
    """Operands of comparisons, lists, cells and limits are no part of a template."""
    assert template(one) == template(other) is not None


@pytest.mark.parametrize(
    ("one", "other", "dialect"),
    [
        ("SELECT j->>'email' FROM t", "SELECT j->>'phone' FROM t", "postgres"),
        ("SELECT a FROM t WHERE j->>'email' = b", "SELECT a FROM t WHERE j->>'phone' = b", "mysql"),
        ("SELECT a, b FROM t ORDER BY 10", "SELECT a, b FROM t ORDER BY 20", "postgres"),
        ("SELECT a, b FROM t GROUP BY 10", "SELECT a, b FROM t GROUP BY 20", "postgres"),
        ("SELECT COLUMNS('email') FROM t", "SELECT COLUMNS('phone') FROM t", "duckdb"),
        ("SELECT * LIKE 'email%' FROM t", "SELECT * LIKE 'phone%' FROM t", "duckdb"),
        ("SELECT a 'email' FROM t", "SELECT a 'phone' FROM t", "mysql"),
        ("SELECT a AS 'email' FROM t", "SELECT a AS 'phone' FROM t", "sqlite"),
        ("SELECT * FROM 'email.csv'", "SELECT * FROM 'phone.csv'", "duckdb"),
        ("SELECT f(x = 'email') FROM t", "SELECT f(x = 'phone') FROM t", "postgres"),
        ("SELECT 1 WHERE f(x = 'email')", "SELECT 1 WHERE f(x = 'phone')", "postgres"),
        ("SELECT 1 WHERE f((x = 'email'))", "SELECT 1 WHERE f((x = 'phone'))", "postgres"),
        ("SELECT 1 WHERE f('email') = 10", "SELECT 1 WHERE f('phone') = 10", "postgres"),
        ("SELECT a FROM t WHERE b = 'users'::regclass", "SELECT a FROM t WHERE b = 'other'::regclass", "postgres"),  # noqa: E501 - one row a case
        ("SELECT a FROM t WHERE b = 'users' 'email'", "SELECT a FROM t WHERE b = 'other' 'email'", "postgres"),  # noqa: E501
        ("SELECT a FROM t WHERE b = E'users'", "SELECT a FROM t WHERE b = E'other'", "postgres"),
        ("SELECT a FROM t WHERE b = $$users$$", "SELECT a FROM t WHERE b = $$other$$", "postgres"),
        ("SELECT a FROM t WHERE b = N'users'", "SELECT a FROM t WHERE b = N'other'", "tsql"),
        (r"SELECT a FROM t WHERE b = 'us\'ers'", r"SELECT a FROM t WHERE b = 'ot\'hers'", "mysql"),
        ('SELECT a FROM t WHERE b = "email"', 'SELECT a FROM t WHERE b = "phone"', "mysql"),
        ("SELECT a FROM t WHERE b = 'email' || c", "SELECT a FROM t WHERE b = 'phone' || c", "postgres"),  # noqa: E501
        ("SELECT a FROM t WHERE b['email'] = 1", "SELECT a FROM t WHERE b['phone'] = 1", "duckdb"),
        ("SELECT a FROM t WHERE b = 'DE'", "SELECT a FROM t WHERE b = 'US'", "postgres"),
        ("SELECT a FROM t WHERE b = 1", "SELECT a FROM t WHERE b = 0", "postgres"),
        ("SELECT a FROM t WHERE b = 10 -- x", "SELECT a FROM t WHERE b = 20 -- y", "postgres"),
        ("SELECT a FROM t WHERE b = 10 SETTINGS x = 'email1'", "SELECT a FROM t WHERE b = 10 SETTINGS x = 'email2'", "clickhouse"),  # noqa: E501
        ("SELECT * FROM t PIVOT (SUM(a) FOR b IN ('email'))", "SELECT * FROM t PIVOT (SUM(a) FOR b IN ('phone'))", "snowflake"),  # noqa: E501
        ("SELECT a FROM s (PATTERN = 'email')", "SELECT a FROM s (PATTERN = 'phone')", "snowflake"),
        ("SELECT a FROM t WHERE b > INTERVAL '10 day'", "SELECT a FROM t WHERE b > INTERVAL '10 year'", "postgres"),  # noqa: E501
        ("SET search_path = 'alice'", "SET search_path = 'robert'", "postgres"),
        ("EXECUTE q('email')", "EXECUTE q('phone')", "postgres"),
        ("EXPLAIN SELECT a FROM t WHERE b = 10", "EXPLAIN SELECT a FROM t WHERE b = 20", "postgres"),  # noqa: E501
        ("COPY t FROM 'email.csv'", "COPY t FROM 'phone.csv'", "postgres"),
        ("SELECT 1; SELECT a FROM t WHERE b = 10", "SELECT 1; SELECT a FROM t WHERE b = 20", "postgres"),  # noqa: E501
    ],
)  # fmt: skip
def test_what_may_name_a_column_or_be_code_is_kept(one: str, other: str, dialect: str) -> None:
    """Such a literal makes another template, or there is none."""
    assert template(one, dialect) is None or template(one, dialect) != template(other, dialect)


def test_values_of_facts_are_kept() -> None:
    """Whatever the text proves is told by the letter: a known code never stands for another."""
    assert facts._CODE.pattern == "[A-Za-z]{2,3}(-[A-Za-z0-9]{1,3})?"  # wider: look at templates
    for value in ("'DE'", "'usa'", "'US-CA'", "'GB-ENG'", "'de-b'", "0", "1", "true", "FALSE"):
        made = template(f"SELECT id FROM patients WHERE email = {value} AND id = 4711")
        assert made is not None
        assert value in made[0][0]
    for value in ("DE", "US-CA"):
        sql = f"SELECT email FROM patients WHERE full_name = '{value}' AND id = 4711"
        assert inspect(sql, "postgres", CATALOG)[0].facts[0].value == value


def test_a_second_text_of_a_template_is_not_parsed() -> None:
    """It gets the very answer of the first."""
    one = inspect("SELECT email FROM patients WHERE id = 990001", "postgres", CATALOG)
    assert inspect("SELECT email FROM patients WHERE id = 990002", "postgres", CATALOG) is one


def test_dialect_and_catalog_are_part_of_the_key() -> None:
    """The same text means something else in another dialect or beside another catalog."""
    other = Catalog.from_mapping({"patients": {"id": "int"}})
    sql = "SELECT email FROM patients WHERE id = {}"
    assert inspect(sql.format(770001), "postgres", CATALOG)[0].resolved
    assert not inspect(sql.format(770002), "postgres", other)[0].resolved
    assert inspect(sql.format(770003), "mysql", CATALOG) is not inspect(
        sql.format(770004), "postgres", CATALOG
    )


def test_a_doubt_is_never_shared() -> None:
    """An unresolved text is looked at each time: the reason may quote a place in it."""
    sql = "SELECT nothing FROM patients WHERE id = {}"
    one, two = (inspect(sql.format(number), "postgres", CATALOG) for number in (880001, 880002))
    assert not one[0].resolved
    assert one is not two


def test_a_connection_remembers_templates_until_something_changes() -> None:
    """A temporary table made in between changes the answer for the same template."""
    session = Session()
    sql = "SELECT * FROM kept WHERE id = {}"
    inspect("CREATE TEMP TABLE kept AS SELECT id FROM visits", "postgres", CATALOG, session)
    one, two = (inspect(sql.format(n), "postgres", CATALOG, session) for n in (5001, 5002))
    assert one is two
    inspect("DROP TABLE kept", "postgres", CATALOG, session)
    inspect("CREATE TEMP TABLE kept AS SELECT * FROM patients", "postgres", CATALOG, session)
    three = inspect(sql.format(5003), "postgres", CATALOG, session)
    assert three != one
    fresh = Session()
    for made in ("SELECT id FROM visits", "SELECT * FROM patients"):
        inspect(f"CREATE TEMP TABLE kept AS {made}", "postgres", CATALOG, fresh)
    assert three == inspect(sql.format(5003), "postgres", CATALOG, fresh)


def test_what_a_text_leaves_behind_is_left_behind_each_time() -> None:
    """An INSERT that is known by its template fills the table of another connection, too."""
    sql = "INSERT INTO visits (id, reason) SELECT id, email FROM patients WHERE id = {}"
    asked = "SELECT reason FROM visits WHERE id = 1"
    found = []
    for number in (6001, 6002):
        session = Session()
        inspect(sql.format(number), "postgres", CATALOG, session)
        found.append(inspect(asked, "postgres", CATALOG, session))
    assert found[0] == found[1]
    assert "patients.email" in {one.column for one in found[0][0].outputs[0].sources}


def test_the_memory_is_bounded() -> None:
    """More templates than the bound empty it; a long text has none."""
    templates = Templates()
    for number in range(MAX_TEMPLATES + 1):
        templates.keep(number, (Statement("select", "resolved"),), Left())
    assert len(templates._known) == 1
    assert template(f"SELECT id FROM t WHERE id = 10 {' ' * MAX_LENGTH}") is None


def test_the_cache_answers_as_the_parser_does() -> None:
    """The whole path, exact texts and templates together, against the parser alone."""
    _templates.clear()
    rng, shared = random.Random(SEED), 0
    for sql in texts(40):
        for text in (sql, exchanged(sql, rng), exchanged(sql, rng)):
            for dialect in ("postgres", "duckdb"):
                if template(text, dialect) is None:
                    continue
                key = (template(text, dialect), traits_of(dialect), _Key(CATALOG))
                shared += _templates.get(key) is not None
                found = _inspected.__wrapped__(text, traits_of(dialect), _Key(CATALOG))[0]
                assert found == parsed(text, dialect)
    assert shared > 10
