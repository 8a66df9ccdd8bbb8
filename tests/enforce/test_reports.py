"""Nobody is left in the dark: what is denied is told once, then counted."""

from __future__ import annotations

import logging

import pytest

from policyguard import PolicyViolation
from policyguard.enforce.logreport import LogReporter
from policyguard.enforce.ports import Record
from tests.enforce.kit import ACCOUNT, ADDRESS, ADS, EMAIL, LIKES, Memory, counts, guard


def logged(caplog: pytest.LogCaptureFixture) -> list[str]:
    """The first lines of what stands in the logger `policyguard`."""
    return [
        record.getMessage().splitlines()[0]
        for record in caplog.records
        if record.name == "policyguard"
    ]


def test_a_new_flow_is_logged_once_and_then_counted(caplog: pytest.LogCaptureFixture) -> None:
    """The first time with its whole message, then at 10, 100, 1,000."""
    made = guard("flag")
    with made.purpose(ADS):
        for _ in range(1_234):
            made.check("x", to="pixel", data=EMAIL)
    lines = logged(caplog)
    assert lines[0] == "PG201 flagged: e-mail address to Pixel, for advertising"
    counted = [line.split("[")[0].strip() for line in lines[1:]]
    flow = f"{EMAIL} to pixel for {ADS}"
    assert counted == [f"PG201 flagged {n} times: {flow}" for n in (10, 100, 1_000)]
    assert all(record.levelno == logging.WARNING for record in caplog.records)
    assert counts(made) == {("flagged", "pixel", "flag"): 1_234}


def test_other_flows_and_other_places_are_new(caplog: pytest.LogCaptureFixture) -> None:
    """Data, purpose, recipient and line of code make a flow new."""
    made = guard("flag")

    def one(**asked: str) -> None:
        made.check("x", **{"to": "pixel", "data": EMAIL, "purpose": ADS, **asked})

    for _ in range(3):
        one()
        one(data="user.name")
        one(to="counter")
        one(purpose=ACCOUNT)
        made.check("x", to="pixel", data=EMAIL, purpose=ADS)
    assert len(logged(caplog)) == 5


def test_off_says_nothing_and_counts(caplog: pytest.LogCaptureFixture) -> None:
    """Silence is a number."""
    memory = Memory()
    made = guard("off", memory)
    for _ in range(7):
        made.check("x", to="pixel", data=EMAIL, purpose=ADS)
    assert (logged(caplog), memory.records) == ([], [])
    assert counts(made) == {("ignored", "pixel", "off"): 7}


def test_allowed_flows_are_not_reported(caplog: pytest.LogCaptureFixture) -> None:
    """The allow path is quiet."""
    memory = Memory()
    made = guard("block", memory)
    made.check("x", to="mailer", data=EMAIL, purpose=ACCOUNT)
    assert (logged(caplog), memory.records) == ([], [])


def test_a_record_says_all_there_is_to_say() -> None:
    """Flow, mode, effect, place, evidence, route and policy."""
    memory = Memory()
    made = guard("block", memory)
    with made.context(route="POST /ads", purpose=ADS):
        made.remember(ADDRESS, made.label(EMAIL))
        with pytest.raises(PolicyViolation) as caught:
            made.check({"user": {"mail": ADDRESS}}, to="pixel")
    # The check itself adds nothing: what it was given carries a label.
    (record,) = memory.records
    assert record.decision == caught.value.decision
    assert (record.mode, record.effect, record.at, record.where) == (
        "block",
        "blocked",
        "call",
        "user.mail",
    )
    assert (record.route, record.policy, record.strength) == ("POST /ads", "picnic", "strong")
    assert record.sent_at.startswith("tests/enforce/test_reports.py:")
    assert record.message == str(caught.value)
    assert len(record.fingerprint) == 16


def test_a_fingerprint_is_the_same_in_every_guard_and_holds_no_digest() -> None:
    """The same flow at the same place is recognised across runs."""
    prints = set()
    for _ in range(2):
        memory = Memory()
        made = guard("flag", memory)
        made.check("x", to="pixel", data=EMAIL, purpose=ADS)
        prints |= {record.fingerprint for record in memory.records}
    assert len(prints) == 1


def test_every_reporter_is_told_even_after_one_failed(caplog: pytest.LogCaptureFixture) -> None:
    """A reporter that raises neither stops the others nor the verdict."""

    class Broken:
        def report(self, record: Record) -> None:
            raise RuntimeError(ADDRESS)

    memory = Memory()
    made = guard("flag", Broken(), memory)
    made.check("x", to="pixel", data=EMAIL, purpose=ADS)
    assert len(memory.records) == 1
    assert "PG602 reporter Broken failed; the verdict stands" in logged(caplog)
    assert ADDRESS not in caplog.text


def test_a_flood_of_new_flows_keeps_the_memory_bounded(caplog: pytest.LogCaptureFixture) -> None:
    """Past its bound the logger may call a flow new again, and never forgets to log one."""
    memory = Memory()
    made = guard("flag", memory)
    made.check("x", to="pixel", data=LIKES, purpose=ADS)
    (record,) = memory.records
    caplog.set_level(logging.CRITICAL, "policyguard")
    reporter = LogReporter()
    for number in range(25_000):
        reporter.report(_with_fingerprint(record, f"{number:016x}"))
    assert len(reporter._seen) <= 10_000


def _with_fingerprint(record: Record, fingerprint: str) -> Record:
    fields = {name: getattr(record, name) for name in record.__dataclass_fields__}
    return Record(**{**fields, "fingerprint": fingerprint})
