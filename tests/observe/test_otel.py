"""What a program's OpenTelemetry shows of a guard."""

from __future__ import annotations

import linecache
import logging
import subprocess
import sys
import threading
import tomllib
from collections.abc import Sequence
from pathlib import Path

import pytest
from opentelemetry._logs import SeverityNumber
from opentelemetry.context import _SUPPRESS_INSTRUMENTATION_KEY, attach, detach, set_value
from opentelemetry.sdk._logs import ReadableLogRecord
from opentelemetry.sdk._logs.export import (
    BatchLogRecordProcessor,
    LogRecordExporter,
    LogRecordExportResult,
    SimpleLogRecordProcessor,
)
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import (
    BatchSpanProcessor,
    SimpleSpanProcessor,
    SpanExporter,
    SpanExportResult,
)
from opentelemetry.trace import StatusCode

from policyguard.enforce.guard import Guard
from policyguard.enforce.violation import PolicyViolation
from policyguard.inspectors.http import OutgoingRequest
from policyguard.observe import semconv as names
from policyguard.observe.otel import exporting, observe, suppressed
from policyguard.policy.flow import RAW, Label
from tests.observe.conftest import Watched, make_guard

PYPROJECT = Path(__file__).parents[2] / "pyproject.toml"
PROJECT = tomllib.loads(PYPROJECT.read_text("utf-8"))["project"]
ADS = "marketing.advertising"


def denied(guard: Guard, *, data: str = "user.contact.email", to: str = "ad_partner") -> None:
    """One flow that the policy does not cover."""
    with guard.purpose(ADS):
        guard.check("x", to=to, data=data)


def test_a_violation_is_an_event_with_exactly_the_documented_attributes(watched: Watched) -> None:
    """Whoever builds an alert on the event finds these names with these values, and no others."""
    guard = make_guard()
    watched.observe(guard)
    with pytest.raises(PolicyViolation):
        denied(guard)
    (event,) = watched.events()
    attributes = dict(event.attributes)
    path, line = attributes.pop(names.CODE_FILE), attributes.pop(names.CODE_LINE)
    fingerprint = attributes.pop(names.FINGERPRINT)
    assert event.event_name == "policyguard.violation"
    assert event.severity_number == SeverityNumber.ERROR
    assert event.body.startswith("PG201 blocked: ")
    assert path == "tests/observe/test_otel.py"
    assert "guard.check(" in linecache.getline(__file__, line)
    assert len(fingerprint) == 16
    assert attributes == {
        "policyguard.policy.id": "shop",
        "policyguard.policy.version": guard.snapshot.digest,
        "policyguard.rule.id": "no-addresses-for-ads",
        "policyguard.clause.ids": ("2",),
        "policyguard.decision.outcome": "deny",
        "policyguard.decision.verdict": "deny",
        "policyguard.decision.reason": "forbidden",
        "policyguard.enforcement.mode": "block",
        "policyguard.enforcement.applied": True,
        "policyguard.purpose": ADS,
        "policyguard.data.categories": ("user.contact.email",),
        "policyguard.data.forms": ("raw",),
        "policyguard.recipient.id": "ad_partner",
        "policyguard.recipient.category": "ad_pixel",
        "policyguard.choke_point": "call",
        "security_rule.name": "no-addresses-for-ads",
        "security_rule.ruleset.name": "shop",
    }


def test_the_scope_says_who_speaks(watched: Watched) -> None:
    """Events come from the scope `policyguard` with its version and schema."""
    guard = make_guard("flag")
    watched.observe(guard)
    denied(guard)
    scope = watched.records.get_finished_logs()[0].instrumentation_scope
    assert scope is not None
    assert scope.name == "policyguard"
    assert scope.version in ("", PROJECT["version"])  # "" in a source tree that isn't installed
    assert scope.schema_url == names.SCHEMA_URL


def test_an_event_belongs_to_the_span_of_the_request(watched: Watched) -> None:
    """The violation shows in the trace of the request that caused it."""
    guard = make_guard("flag")
    watched.observe(guard)
    with watched.span() as span:
        denied(guard)
    (event,) = watched.events()
    context = span.get_span_context()
    assert (event.trace_id, event.span_id) == (context.trace_id, context.span_id)


def test_a_flow_that_passed_is_a_warning(watched: Watched) -> None:
    """In mode flag the event says that nothing was stopped."""
    guard = make_guard("flag")
    watched.observe(guard)
    denied(guard)
    (event,) = watched.events()
    assert event.severity_number == SeverityNumber.WARN
    assert event.attributes[names.OUTCOME] == "warn"
    assert event.attributes[names.APPLIED] is False


def test_an_open_question_is_told_from_a_denial(watched: Watched) -> None:
    """A flow that hangs on an unknown fact is stopped with the verdict conditional."""
    guard = make_guard()
    watched.observe(guard)
    with pytest.raises(PolicyViolation):
        denied(guard, to="mailer")
    (event,) = watched.events()
    assert event.attributes[names.OUTCOME] == "deny"
    assert event.attributes[names.VERDICT] == "conditional"
    assert event.attributes[names.REASON] == "unknown_facts"


def test_a_span_holds_the_worst_outcome_and_how_many(watched: Watched) -> None:
    """The span of the request can be filtered by what happened, without events on it."""
    guard = make_guard("flag")
    watched.observe(guard)
    with watched.span():
        denied(guard)
        denied(guard, to="mailer")
    span = watched.finished()
    assert dict(span.attributes or {}) == {
        "policyguard.violation.count": 2,
        "policyguard.decision.outcome": "warn",
        "policyguard.recipient.id": "ad_partner",
    }
    assert span.events == ()
    assert span.status.status_code is StatusCode.UNSET
    assert span.status.description is None


def test_span_events_come_only_when_asked_for(watched: Watched) -> None:
    """Who has a backend without log events switches span events on."""
    guard = make_guard("flag")
    watched.observe(guard, span_events=True)
    with watched.span():
        denied(guard)
    (event,) = watched.finished().events
    assert event.name == "policyguard.violation"
    assert (event.attributes or {})[names.RECIPIENT_ID] == "ad_partner"


def test_an_allowed_flow_leaves_no_event_and_no_mark(watched: Watched) -> None:
    """On the allow path there is the tally and nothing else."""
    guard = make_guard()
    watched.observe(guard)
    with watched.span():
        denied(guard, data="user.device")
    assert watched.events() == []
    assert not watched.finished().attributes


def test_counters_are_the_tally(watched: Watched) -> None:
    """Evaluations count every flow, violations the denied ones, stopped or not."""
    guard = make_guard("flag")
    watched.observe(guard)
    for _ in range(5):
        denied(guard, data="user.device")
    for _ in range(3):
        denied(guard)
    allowed = (
        ("policyguard.decision.outcome", "allow"),
        ("policyguard.policy.id", "shop"),
        ("policyguard.recipient.id", "ad_partner"),
    )
    flagged = (
        ("policyguard.decision.outcome", "warn"),
        ("policyguard.enforcement.mode", "flag"),
        ("policyguard.policy.id", "shop"),
        ("policyguard.recipient.id", "ad_partner"),
    )
    assert watched.series("policyguard.policy.evaluations") == {allowed: 5, flagged: 3}
    denied(guard)
    assert watched.series("policyguard.violations") == {flagged: 4}


def test_hosts_that_nobody_declared_are_one_series(watched: Watched) -> None:
    """Ten thousand unknown hosts don't become ten thousand series."""
    guard = make_guard("flag")
    watched.observe(guard)
    with guard.purpose(ADS):
        for number in range(20):
            label = (Label("user.contact.email"), "", "strong")
            guard.judge([label], f"host-{number}.example", at="http")
    series = watched.series("policyguard.violations")
    assert [dict(key)["policyguard.recipient.id"] for key in series] == ["unknown"]
    assert list(series.values()) == [20]


def test_slow_checks_are_a_histogram_in_seconds(watched: Watched) -> None:
    """Statements and requests are timed, with buckets from 10 microseconds on."""
    reporter = watched.observe(make_guard())
    reporter.took("sql", "allow", 0.002)
    reporter.took("http", "deny", 0.004)
    assert watched.series("policyguard.evaluation.duration") == {
        (("policyguard.choke_point", "sql"), ("policyguard.decision.outcome", "allow")): 1,
        (("policyguard.choke_point", "http"), ("policyguard.decision.outcome", "deny")): 1,
    }
    assert '"explicit_bounds": [' in watched.everything()
    assert "1e-05" in watched.everything()


def test_observing_twice_counts_once(watched: Watched) -> None:
    """A second `observe` gives the reporter that is there."""
    guard = make_guard("flag")
    assert watched.observe(guard) is watched.observe(guard)
    denied(guard)
    assert len(watched.events()) == 1


def test_a_stopped_reporter_says_nothing_more(watched: Watched) -> None:
    """After `stop` there are no events and no counts."""
    guard = make_guard("flag")
    reporter = watched.observe(guard)
    reporter.stop()
    denied(guard)
    assert watched.events() == []
    assert watched.series("policyguard.violations") == {}
    assert reporter not in guard.reporters


CANARY = "canary-7f3a-dorothea.example"


def test_no_value_gets_into_telemetry(watched: Watched) -> None:
    """Values, persons, facts, payloads and their keys occur nowhere in what is exported."""
    guard = make_guard("flag")
    watched.observe(guard, span_events=True)
    mail = f"{CANARY}@mail.example"

    @guard.source("user.contact.email")
    def address() -> str:
        return mail

    context = guard.context(subject=CANARY, facts={"region": "DE", "age": 61, "facts": {}})
    with watched.span(), guard.purpose(ADS), context:
        value = address()
        guard.check({mail: {"address": value}}, to="ad_partner")
        for body in (
            f'{{"{mail}": "{value}", "email": "{value}"}}'.encode(),
            f"email={value}".encode(),
            CANARY.encode() * 3 + b"\x00\xff" + value.encode(),
        ):
            guard.egress(
                OutgoingRequest(
                    "POST",
                    "ads.example",
                    "https",
                    f"/tr/{value}",
                    query=f"{mail}={value}&u={CANARY}",
                    headers=(("content-type", "application/json"), ("x-who", value)),
                    body=body,
                )
            )
    assert watched.events()
    exported = watched.everything()
    for part in (CANARY, "dorothea", mail, '"61"', ": 61", '"DE"'):
        assert part not in exported


def test_foreign_errors_leave_no_text_on_the_span(watched: Watched) -> None:
    """A denial that a program catches is neither recorded as an exception nor as a status."""
    guard = make_guard()
    watched.observe(guard)
    with watched.span(), pytest.raises(PolicyViolation):
        denied(guard)
    span = watched.finished()
    assert span.events == ()
    assert span.status.status_code is StatusCode.UNSET


class Broken(LogRecordExporter):
    """An exporter that fails, with data in its message."""

    def export(self, batch: Sequence[ReadableLogRecord]) -> LogRecordExportResult:
        raise RuntimeError(CANARY)

    def force_flush(self, timeout_millis: int = 30_000) -> bool:
        return True

    def shutdown(self) -> None:
        """Nothing to end."""


def test_an_exporter_that_fails_changes_no_verdict(watched: Watched) -> None:
    """The flow is stopped, and the program sees the violation and nothing else."""
    guard = make_guard()
    watched.logger_provider.add_log_record_processor(SimpleLogRecordProcessor(Broken()))
    watched.observe(guard)
    with pytest.raises(PolicyViolation):
        denied(guard)
    denied(guard, data="user.device")


class Slow(LogRecordExporter):
    """An exporter that takes until it is let go."""

    def __init__(self) -> None:
        self.go, self.exported = threading.Event(), 0

    def export(self, batch: Sequence[ReadableLogRecord]) -> LogRecordExportResult:
        self.go.wait(30)
        self.exported += len(batch)
        return LogRecordExportResult.SUCCESS

    def force_flush(self, timeout_millis: int = 30_000) -> bool:
        return True

    def shutdown(self) -> None:
        self.go.set()


def test_a_slow_exporter_holds_nobody_up(watched: Watched) -> None:
    """With a batch processor the program goes on while its exporter still waits."""
    guard, slow = make_guard("flag"), Slow()
    batches = BatchLogRecordProcessor(slow, max_export_batch_size=1)
    watched.logger_provider.add_log_record_processor(batches)
    watched.observe(guard)
    for _ in range(10):
        denied(guard)
    assert slow.exported == 0
    slow.go.set()
    batches.force_flush()
    assert slow.exported == 10


def test_a_reporter_that_breaks_changes_no_verdict(
    watched: Watched, caplog: pytest.LogCaptureFixture
) -> None:
    """If the logging pipeline itself raises, the flow is stopped all the same."""
    guard = make_guard()
    reporter = watched.observe(guard)

    class Raising:
        def is_recording(self) -> bool:
            raise RuntimeError(CANARY)

    reporter._current_span = Raising  # type: ignore[assignment,unused-ignore]  # a broken library
    with caplog.at_level(logging.ERROR, "policyguard"), pytest.raises(PolicyViolation):
        denied(guard)
    assert "PG602" in caplog.text
    assert CANARY not in caplog.text


class Sender(SpanExporter):
    """An exporter that asks, while it exports, whether it is exempt."""

    def __init__(self) -> None:
        self.answers: list[bool] = []

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        self.answers.append(exporting())
        return SpanExportResult.SUCCESS


def test_exporters_are_exempt_in_the_callers_thread_and_in_their_own() -> None:
    """What OpenTelemetry's SDK sends is recognised as its own, whichever processor sends it."""
    for processor in (SimpleSpanProcessor, BatchSpanProcessor):
        sender, provider = Sender(), TracerProvider(shutdown_on_exit=False)
        provider.add_span_processor(processor(sender))
        with provider.get_tracer("shop").start_as_current_span("checkout"):
            assert not exporting()
        provider.shutdown()
        assert sender.answers == [True]


def test_a_program_that_mutes_its_tracing_is_still_checked() -> None:
    """Suppressing instrumentation keeps a call out of a trace, and not out of the policy."""
    assert not suppressed()
    for key in (_SUPPRESS_INSTRUMENTATION_KEY, "suppress_instrumentation"):
        token = attach(set_value(key, value=True))
        try:
            assert suppressed()
            assert not exporting()
        finally:
            detach(token)


ALONE = """
import sys

class NoSdk:
    def find_spec(self, name, path=None, target=None):
        if name.startswith(("opentelemetry.sdk", "opentelemetry.exporter")):
            raise ModuleNotFoundError(name)

sys.meta_path.insert(0, NoSdk())
import policyguard.observe.otel as otel
assert not any(name.startswith("opentelemetry") for name in sys.modules)
assert not otel.suppressed() and not otel.exporting()
assert not any(name.startswith("opentelemetry") for name in sys.modules)
from tests.benchmarks.subjects import Subject
from policyguard.enforce.guard import Guard
from policyguard.enforce.modes import Modes
guard = Guard(Subject(150).snapshot(), modes=Modes(default="flag"))
reporter = otel.observe(guard)
with guard.purpose("marketing.advertising.bench.p1"):
    guard.check("x", to="nobody", data="user.content.bench.d1")
reporter.took("sql", "allow", 0.1)
assert sum(guard.tally.read().values()) == 1
"""

LATER = """
import sys
from tests.observe.conftest import make_guard
from policyguard.observe.otel import observe
guard = make_guard("flag")
observe(guard)
from opentelemetry._logs import set_logger_provider
from opentelemetry.sdk._logs import LoggerProvider
from opentelemetry.sdk._logs.export import InMemoryLogRecordExporter, SimpleLogRecordProcessor
records = InMemoryLogRecordExporter()
provider = LoggerProvider()
provider.add_log_record_processor(SimpleLogRecordProcessor(records))
set_logger_provider(provider)
with guard.purpose("marketing.advertising"):
    guard.check("x", to="ad_partner", data="user.contact.email")
(record,) = records.get_finished_logs()
assert record.log_record.event_name == "policyguard.violation"
"""


@pytest.mark.parametrize("program", [ALONE, LATER], ids=["no SDK", "an SDK set up later"])
def test_a_program_decides_about_the_sdk(program: str) -> None:
    """Without an SDK nothing happens; one that is set up after the guard gets the events."""
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stderr[-500:] if done.returncode else "") == (0, "")


def test_observe_without_an_sdk_is_a_no_op() -> None:
    """With the API alone an observed guard answers as before."""
    guard = make_guard()
    observe(guard)
    with pytest.raises(PolicyViolation):
        denied(guard)
    denied(guard, data="user.device")
    assert guard.snapshot.decide("user.device", RAW, ADS, "ad_partner").allowed
