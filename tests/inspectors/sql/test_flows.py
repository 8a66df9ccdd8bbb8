"""What reaches an output, in which form, and what only decides on rows."""

from __future__ import annotations

import pytest

from policyguard.inspectors.sql import Catalog, Use
from tests.inspectors.sql.shared import CATALOG, CLINIC, last, sources

E, P, F = "patients.email", "patients.phone", "patients.full_name"

# fmt: off
FORMS = [
    ("email",                                   {f"{E}:direct"}),
    ("(email)",                                 {f"{E}:direct"}),
    ("coalesce(email, phone)",                  {f"{E}:direct", f"{P}:direct"}),
    ("max(email)",                              {f"{E}:direct"}),
    ("lower(email)",                            {f"{E}:derived"}),
    ("email::varchar",                          {f"{E}:derived"}),
    ("email || phone",                          {f"{E}:derived", f"{P}:derived"}),
    ("CASE WHEN email = 'x' THEN phone END",    {f"{E}:derived", f"{P}:direct"}),
    ("email IS NULL",                           {f"{E}:derived"}),
    ("array_agg(email)",                        {f"{E}:derived"}),
    ("string_agg(email, ',' ORDER BY phone)",   {f"{E}:derived", f"{P}:derived"}),
    ("percentile_cont(0.5) WITHIN GROUP (ORDER BY length(email))", {f"{E}:derived"}),
    ("count(*)",                                set()),
    ("count(email)",                            {f"{E}:aggregated"}),
    ("count(DISTINCT lower(email))",            {f"{E}:aggregated"}),
    ("sum(length(email))",                      {f"{E}:aggregated"}),
    ("avg(length(email)) / count(phone)",       {f"{E}:aggregated", f"{P}:aggregated"}),
    ("stddev(length(email))",                   {f"{E}:aggregated"}),
    ("count(*) FILTER (WHERE email = 'x')",     {f"{E}:aggregated"}),
    ("max(phone) FILTER (WHERE email = 'x')",   {f"{E}:derived", f"{P}:direct"}),
    ("sum(length(email)) OVER (PARTITION BY id)", {f"{E}:derived", "patients.id:derived"}),
    ("count(email) OVER (ORDER BY phone)",      {f"{E}:aggregated", f"{P}:derived"}),
    ("md5(email)",                              {f"{E}:hashed"}),
    ("encode(sha256(email::bytea), 'hex')",     {f"{E}:hashed"}),
    ("left(md5(email), 3) || phone",            {f"{E}:hashed", f"{P}:derived"}),
    ("email || md5(email)",                     {f"{E}:derived", f"{E}:hashed"}),
    ("count(md5(email))",                       {f"{E}:aggregated"}),
    ("pgp_sym_encrypt(email, 'k')",             {f"{E}:encrypted"}),
    ("pgp_sym_encrypt(email, phone)",           {f"{E}:encrypted", f"{P}:derived"}),
    ("pgp_sym_decrypt(pgp_sym_encrypt(email, 'k'), 'k')", {f"{E}:derived"}),
    ("(SELECT p.email)",                        {f"{E}:direct"}),
    ("EXISTS (SELECT phone FROM patients q WHERE q.email = 'x')", {f"{E}:derived"}),
    ("(SELECT 1 FROM patients q WHERE q.email = 'x')", {f"{E}:derived"}),
    ("id IN (SELECT q.id FROM patients q WHERE q.email = 'x')",
                                                {f"{E}:derived", "patients.id:derived"}),
    ("dense_rank() OVER (ORDER BY email)",      {f"{E}:derived"}),
    ("lag(email) OVER (ORDER BY phone)",        {f"{E}:direct", f"{P}:derived"}),
    ("(p).email",                               {f"{E}:direct"}),
]
# fmt: on


def name(part: object) -> str:
    """A test's id: its text; a set has no order and names nothing."""
    return part[:60] if isinstance(part, str) else ""


@pytest.mark.parametrize(("expression", "want"), FORMS, ids=name)
def test_an_expression_gives_its_columns_a_form(expression: str, want: set[str]) -> None:
    """Direct, derived, hashed, aggregated and encrypted, as far as the value is from the column."""
    answer = last(f"SELECT {expression} FROM patients p")
    assert answer.why == ""
    assert sources(answer) == [want]


# fmt: off
USES = [
    ("SELECT id FROM patients WHERE email = 'x'",                    (E, "filter")),
    ("SELECT id FROM patients GROUP BY id, email",                   (E, "group")),
    ("SELECT max(id) FROM patients HAVING count(email) > 1",         (E, "filter")),
    ("SELECT id FROM patients ORDER BY email",                       (E, "order")),
    ("SELECT DISTINCT ON (email) id FROM patients",                  (E, "order")),
    ("SELECT rank() OVER (PARTITION BY email) FROM patients",        (E, "window")),
    ("SELECT p.id FROM patients p JOIN visits v ON v.doctor = email", (E, "join")),
    ("SELECT count(*) FILTER (WHERE email = 'x') FROM patients",     (E, "filter")),
    ("SELECT phone AS email, email AS x FROM patients ORDER BY x",   (E, "order")),
    ("SELECT email, phone FROM patients ORDER BY 1",                 (E, "order")),
    ("DELETE FROM patients WHERE email = 'x'",                       (E, "filter")),
]
# fmt: on


@pytest.mark.parametrize(("sql", "use"), USES, ids=name)
def test_a_predicate_is_told_apart_from_an_output(sql: str, use: tuple[str, str]) -> None:
    """Columns that decide which rows come, and how, are reported beside the outputs."""
    answer = last(sql)
    assert answer.why == ""
    assert Use(use[0], use[1]) in answer.uses  # type: ignore[arg-type]  # a plain str in the table
    assert use[0] in answer.predicates


# fmt: off
PAIR = "(outbox b JOIN outbox c USING (id))"
LAYOUT = [
    ("postgres", "SELECT * FROM visits JOIN devices USING (patient_id)",
     "patient_id id doctor reason seen_at id ip location meta"),
    ("sqlite",   "SELECT * FROM visits JOIN devices USING (patient_id)",
     "id patient_id doctor reason seen_at id ip location meta"),
    ("postgres", "SELECT d.*, v.id FROM visits v JOIN devices d USING (patient_id)",
     "id patient_id ip location meta id"),
    ("duckdb",   "SELECT * EXCLUDE (meta) REPLACE (upper(ip) AS ip) FROM devices",
     "id patient_id ip location"),
    ("bigquery", "SELECT * EXCEPT (meta) FROM devices", "id patient_id ip location"),
    ("snowflake", "SELECT * RENAME (ip AS x) FROM devices", "id patient_id X location meta"),
    ("duckdb",   "SELECT min(COLUMNS('^i')) FROM devices", " "),
    ("duckdb",   "SELECT COLUMNS(* EXCLUDE (meta)) FROM devices", "id patient_id ip location"),
    ("postgres", "SELECT * FROM outbox a JOIN (outbox b JOIN outbox c USING (id)) USING (id)",
     "id val val val"),
    ("postgres", f"SELECT * FROM outbox a JOIN outbox d USING (id) JOIN {PAIR} ON true",
     "id val val id val val"),
    ("postgres", "SELECT * FROM (outbox b JOIN outbox c USING (id)) JOIN outbox d ON true",
     "id val val id val"),
    ("duckdb",   "SELECT * FROM outbox a SEMI JOIN outbox b USING (id)", "id val"),
    ("duckdb",   "DELETE FROM outbox USING visits v WHERE v.id = outbox.id RETURNING *", "id val"),
    ("postgres", "DELETE FROM outbox o USING outbox v WHERE v.id = o.id RETURNING *",
     "id val id val"),
    ("sqlite",   "UPDATE outbox SET val = 'x' FROM visits v RETURNING *", "id val"),
    ("postgres", "SELECT (x).* FROM (SELECT o AS x FROM outbox o) s", "id val"),
    ("postgres", "TABLE outbox", "id val"),
    ("duckdb",   "FROM outbox", "id val"),
]
# fmt: on


@pytest.mark.parametrize(("dialect", "sql", "names"), LAYOUT, ids=name)
def test_outputs_stand_in_the_order_of_the_result(dialect: str, sql: str, names: str) -> None:
    """A star is spelled out exactly as the dialect lays the columns out."""
    answer = last(sql, dialect)
    assert answer.why == ""
    assert [output.name for output in answer.outputs] == names.split(" ")


UPSERT = "INSERT INTO outbox VALUES (1, 'x') ON CONFLICT (id) DO UPDATE SET val = ({inner})"
MERGE = "MERGE INTO outbox o USING patients p ON o.id = p.id WHEN NOT MATCHED THEN INSERT {row}"
TWICE = "INSERT INTO outbox (id, val) SELECT id, email FROM patients ON DUPLICATE KEY UPDATE {set}"

# fmt: off
WRITES = [
    ("postgres", "INSERT INTO outbox (val, id) SELECT email, id FROM patients", "outbox", "val"),
    ("postgres", "INSERT INTO outbox SELECT id, email FROM patients", "outbox", "val"),
    ("postgres", "UPDATE outbox SET val = email FROM patients", "outbox", "val"),
    ("postgres", UPSERT.format(inner="SELECT email FROM patients"), "outbox", "val"),
    ("postgres", MERGE.format(row="VALUES (1, p.email)"), "outbox", "val"),
    ("postgres", "CREATE TABLE ads AS SELECT email AS e FROM patients", "ads", "e"),
    ("postgres", "SELECT email AS e INTO ads FROM patients", "ads", "e"),
    ("postgres", "INSERT INTO ads.audience (e) SELECT email FROM patients", "ads.audience", "e"),
    ("mysql",    "REPLACE INTO outbox SET id = 1, val = (SELECT email FROM patients LIMIT 1)",
                 "outbox", "val"),
    ("mysql",    TWICE.format(set="val = VALUES(val)"), "outbox", "val"),
    ("mysql",    "UPDATE patients p JOIN outbox o ON o.id = p.id SET o.val = p.email",
                 "outbox", "val"),
    ("tsql",     "UPDATE o SET val = p.email FROM outbox o JOIN patients p ON p.id = o.id",
                 "outbox", "val"),
    ("sqlite",   "INSERT OR REPLACE INTO outbox SELECT id, email FROM patients", "outbox", "val"),
]
# fmt: on


@pytest.mark.parametrize(("dialect", "sql", "table", "column"), WRITES)
def test_a_write_names_the_table_and_what_its_columns_are_given(
    dialect: str, sql: str, table: str, column: str
) -> None:
    """Values that are stored elsewhere are followed into the written column."""
    answer = last(sql, dialect)
    assert answer.why == ""
    written = {
        output.name.lower(): {source.column for source in output.sources}
        for write in answer.writes
        if write.table == table
        for output in write.outputs
        if output.sources
    }
    assert E in written[column]


# fmt: off
EXPORTS = [
    ("postgres",  "COPY patients TO STDOUT",                             "stdout",  ""),
    ("postgres",  "COPY (SELECT email FROM patients) TO '/tmp/out.csv'", "file",    ""),
    ("postgres",  "COPY patients TO PROGRAM 'curl x'",                   "program", ""),
    ("duckdb",    "COPY patients TO 's3://bucket/path?key=secret'",      "url",     "s3://bucket"),
    ("snowflake", "COPY INTO @ads_stage/x FROM patients",                "stage",   "@ads_stage"),
    ("snowflake", "COPY INTO 's3://b/x' FROM (SELECT email FROM patients)", "url",  "s3://b"),
    ("redshift",  "UNLOAD ('select email from patients') TO 's3://b/x' IAM_ROLE 'r'",
                                                                         "url",     "s3://b"),
    ("bigquery",  "EXPORT DATA OPTIONS(uri='gs://b/x', format='CSV') AS SELECT email FROM patients",
                                                                         "url",     "gs://b"),
    ("mysql",     "SELECT email INTO OUTFILE '/tmp/x' FIELDS TERMINATED BY ',' FROM patients",
                                                                         "file",    ""),
]
# fmt: on


@pytest.mark.parametrize(("dialect", "sql", "kind", "place"), EXPORTS)
def test_an_export_names_its_place_without_path_or_secret(
    dialect: str, sql: str, kind: str, place: str
) -> None:
    """Rows that leave the database are told with the place and their columns."""
    answer = last(sql, dialect)
    assert answer.why == ""
    (export,) = answer.exports
    assert (export.kind, export.place) == (kind, place)
    assert E in {source.column for output in export.outputs for source in output.sources}
    assert answer.outputs == ()


# fmt: off
FACTS = [
    ("SELECT email FROM patients WHERE phone AND id = 1",         {("patients.phone", True),
                                                                   ("patients.id", 1)}),
    ("SELECT email FROM patients WHERE NOT phone",                {("patients.phone", False)}),
    ("SELECT email FROM patients p WHERE p.full_name = 'DE'",     {("patients.full_name", "DE")}),
    ("SELECT email FROM patients WHERE phone OR id = 1",          set()),
    ("SELECT a.email FROM patients a, patients b WHERE a.phone",  set()),
    ("SELECT email FROM patients WHERE phone UNION SELECT email FROM patients", set()),
    ("SELECT email, (SELECT max(phone) FROM patients) FROM patients WHERE phone", set()),
    ("SELECT x.email FROM (SELECT * FROM patients) x WHERE x.phone", set()),
    ("SELECT email FROM patients WHERE full_name = 'a whole name'", set()),
]
# fmt: on


@pytest.mark.parametrize(("sql", "want"), FACTS, ids=name)
def test_only_a_condition_on_every_row_is_a_fact(sql: str, want: set[tuple[str, object]]) -> None:
    """A top-level conjunct on a table that is read once proves something; nothing else does."""
    answer = last(sql)
    assert answer.why == ""
    assert {(fact.column, fact.value) for fact in answer.facts} == want


def test_a_view_or_cte_over_the_same_table_proves_nothing() -> None:
    """A view reads the table once more, and a CTE may only be called like it."""
    views = {"people": "SELECT id, email FROM patients"}
    catalog = Catalog.from_mapping(CLINIC, views=views)
    joined = "SELECT v.email FROM patients p, people v WHERE p.phone"
    assert last(joined, catalog=catalog).facts == ()
    shadow = (
        "WITH visits AS (SELECT true AS reason) SELECT email FROM visits, patients WHERE reason"
    )
    assert last(shadow).facts == ()


def test_a_variable_that_is_set_is_a_doubt() -> None:
    """T-SQL keeps the value of `SELECT @x = column` for a later statement."""
    assert not last("SELECT @x = email FROM patients; SELECT @x", "tsql").resolved
    assert last("SELECT id FROM patients WHERE @x = email", "tsql").resolved


def test_what_earlier_statements_stored_is_followed() -> None:
    """Tables, views and filled columns of one text carry their sources on."""
    stored = "INSERT INTO outbox SELECT id, md5(email) FROM patients; "
    answer = last(stored + "SELECT val FROM outbox")
    assert sources(answer) == [{f"{E}:hashed", "outbox.val:direct"}]
    view = "CREATE TEMP TABLE a (x text); CREATE TEMP VIEW v AS SELECT x FROM a; "
    answer = last(view + "INSERT INTO a SELECT email FROM patients; SELECT x FROM v")
    assert sources(answer) == [{f"{E}:direct"}]
    hidden = "CREATE TEMP TABLE visits AS SELECT email AS reason FROM patients; "
    assert sources(last(hidden + "SELECT reason FROM visits")) == [{f"{E}:direct"}]
    assert not last("BEGIN; " + hidden + "ROLLBACK; SELECT reason FROM visits").resolved


def test_views_are_expanded_from_the_catalog() -> None:
    """A view hides nothing: its base columns are read."""
    catalog = Catalog.from_mapping(
        CLINIC,
        views={
            "people": "SELECT p.id, lower(email) AS e FROM patients p",
            "twice": "SELECT e FROM people",
            "endless": "SELECT * FROM endless",
            "broken": "SELECT FROM WHERE",
        },
    )
    assert sources(last("SELECT e FROM twice", catalog=catalog)) == [{f"{E}:derived"}]
    # A CTE of the statement isn't seen by the view.
    shadow = "WITH patients AS (SELECT 'x' AS email, 1 AS id) SELECT e FROM people, patients"
    assert E in last(shadow, catalog=catalog).reads
    assert not last("SELECT * FROM endless", catalog=catalog).resolved
    assert not last("SELECT * FROM broken", catalog=catalog).resolved
    assert not last("INSERT INTO people VALUES (1, 'x')", catalog=catalog).resolved


def test_own_functions_are_known_once_they_were_reviewed() -> None:
    """A function in the catalog does what its entry says."""
    catalog = Catalog.from_mapping(CLINIC, functions={"Mask_It": "hashed"})
    assert sources(last("SELECT mask_it(email) FROM patients", catalog=catalog)) == [
        {f"{E}:hashed"}
    ]
    assert not last("SELECT mask_it(email) FROM patients", catalog=CATALOG).resolved
