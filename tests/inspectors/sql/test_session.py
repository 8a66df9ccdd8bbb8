"""What one text leaves behind on a connection is known to the next."""

from __future__ import annotations

from policyguard.inspectors.sql import Session, Statement, inspect
from policyguard.inspectors.sql.session import MAX_MADE
from tests.inspectors.sql.shared import CATALOG, last, sources

EMAIL = "patients.email:direct"


def send(session: Session, *texts: str) -> Statement:
    """The answer for the last of some texts that are sent over one connection."""
    return [inspect(text, "postgres", CATALOG, session)[-1] for text in texts][-1]


def test_a_temporary_table_is_known_to_later_texts() -> None:
    """What is stored in one call and read in the next keeps its sources."""
    made = "CREATE TEMP TABLE t AS SELECT email AS x FROM patients"
    assert sources(send(Session(), made, "SELECT x FROM t")) == [{EMAIL}]
    assert not last("SELECT x FROM t").resolved
    assert sources(send(Session(), made, "SELECT x FROM t", "SELECT x FROM t")) == [{EMAIL}]


def test_nothing_that_may_not_have_run_hides_a_table() -> None:
    """A statement may have been blocked or rolled back: the name means both."""
    made = "CREATE TEMP TABLE visits AS SELECT email AS reason FROM patients"
    answer = send(Session(), made, "SELECT reason FROM visits")
    assert sources(answer) == [{EMAIL, "visits.reason:direct"}]
    answer = send(Session(), made, "ROLLBACK", "DROP TABLE visits", "SELECT reason FROM visits")
    assert sources(answer) == [{EMAIL, "visits.reason:direct"}]


def test_a_schema_tells_a_base_table_from_a_temporary_one() -> None:
    """`public.visits` is still the base table when a temporary `visits` exists."""
    made = "CREATE TEMP TABLE visits AS SELECT 'x' AS reason; "
    assert last(made + "SELECT reason FROM public.visits").reads == {"visits.reason"}
    assert last(made + "SELECT reason FROM visits").reads == set()


def test_a_table_that_was_filled_carries_what_was_put_in() -> None:
    """An INSERT in one text is seen by a SELECT in another."""
    answer = send(
        Session(),
        "INSERT INTO outbox SELECT id, email FROM patients",
        "SELECT val FROM outbox",
    )
    assert sources(answer) == [{EMAIL, "outbox.val:direct"}]


def test_prepared_statements_and_cursors_are_known_to_later_texts() -> None:
    """EXECUTE and FETCH return what was prepared and declared."""
    session = Session()
    prepared = send(session, "PREPARE p AS SELECT email FROM patients", "EXECUTE p")
    assert sources(prepared) == [{EMAIL}]
    fetched = send(session, "DECLARE c CURSOR FOR SELECT email FROM patients", "FETCH 10 FROM c")
    assert sources(fetched) == [{EMAIL}]
    assert not send(session, "EXECUTE other").resolved


def test_a_reset_forgets_everything() -> None:
    """After a reset the connection is as new."""
    session = Session()
    send(session, "CREATE TEMP TABLE t AS SELECT email AS x FROM patients")
    assert not session.empty
    session.reset()
    assert session.empty
    assert not send(session, "SELECT x FROM t").resolved


def test_an_endless_number_of_tables_ends_in_a_doubt() -> None:
    """What is remembered is bounded; beyond that nothing is answered any more."""
    session = Session()
    for number in range(MAX_MADE + 1):
        send(session, f"CREATE TEMP TABLE t{number} (x int)")
    assert not send(session, "SELECT 1").resolved
