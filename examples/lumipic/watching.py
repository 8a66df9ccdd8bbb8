"""Sees everything that the guard decides: as a reporter, as a tally, and through OpenTelemetry."""

from __future__ import annotations

from dataclasses import dataclass
from threading import Lock
from typing import TYPE_CHECKING, Final

from opentelemetry import trace
from opentelemetry._logs import set_logger_provider
from opentelemetry.sdk._logs import LoggerProvider
from opentelemetry.sdk._logs.export import InMemoryLogRecordExporter, SimpleLogRecordProcessor
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from policyguard.enforce.tally import Tally

if TYPE_CHECKING:
    from opentelemetry.sdk._logs import ReadableLogRecord
    from starlette.types import ASGIApp, Receive, Scope, Send

    from policyguard import Decision, Guard
    from policyguard.enforce.ports import Record
    from policyguard.policy.flow import Flow

_EXPORTED: Final = InMemoryLogRecordExporter()  # type: ignore[no-untyped-call]  # the SDK's own
_SPANS: Final = InMemorySpanExporter()


@dataclass(frozen=True, slots=True)
class Sighting:
    """One decision of the guard, with what became of the flow.

    Attributes:
        effect: "" for what is allowed, else "blocked" or "flagged".
        source: the column that the data came from, where the guard said so.
        message: the guard's words about a denied flow.
    """

    flow: Flow
    verdict: str
    clauses: tuple[str, ...]
    effect: str = ""
    source: str = ""
    message: str = ""

    @property
    def stopped(self) -> bool:
        """Whether the flow was stopped."""
        return self.effect == "blocked"


class Watch:
    """Collects sightings: a reporter for what is denied, and a tally for what is allowed."""

    def __init__(self) -> None:
        self._lock = Lock()
        self._sightings: list[Sighting] = []

    def attach(self, guard: Guard) -> None:
        """See also what this guard allows, which reporters are not told."""
        guard.tally = _Ledger(guard, self)

    @property
    def sightings(self) -> tuple[Sighting, ...]:
        """Everything seen so far, in order."""
        with self._lock:
            return tuple(self._sightings)

    def report(self, record: Record) -> None:
        """Take down a denied flow."""
        decision = record.decision
        self.add(
            Sighting(
                decision.flow,
                decision.verdict,
                decision.clauses,
                record.effect,
                record.source,
                record.message,
            )
        )

    def add(self, sighting: Sighting) -> None:
        """Take down a sighting."""
        with self._lock:
            self._sightings.append(sighting)


class _Ledger(Tally):
    """Counts as every tally does, and shows each allowed decision to a watch."""

    __slots__ = ("_watch",)

    def __init__(self, guard: Guard, watch: Watch) -> None:
        super().__init__(frozenset(guard.snapshot.context.recipients))
        self._watch = watch

    def allowed(self, decision: Decision) -> None:
        """Count an allowed flow and take it down."""
        super().allowed(decision)
        self._watch.add(Sighting(decision.flow, decision.verdict, decision.clauses))


def start_telemetry() -> None:
    """Set up OpenTelemetry with an exporter in memory; once for each process, as the API wants."""
    if isinstance(trace.get_tracer_provider(), TracerProvider):
        return
    logs = LoggerProvider()
    logs.add_log_record_processor(SimpleLogRecordProcessor(_EXPORTED))
    set_logger_provider(logs)
    spans = TracerProvider()
    spans.add_span_processor(SimpleSpanProcessor(_SPANS))
    trace.set_tracer_provider(spans)


def violations() -> list[ReadableLogRecord]:
    """The violation events that were exported so far."""
    return [
        record
        for record in _EXPORTED.get_finished_logs()
        if record.log_record.event_name == "policyguard.violation"
    ]


def request_of(event: ReadableLogRecord) -> str:
    """The request in whose trace an event is: the name of that trace's first span, or ""."""
    for span in _SPANS.get_finished_spans():
        if span.context and span.context.trace_id == event.log_record.trace_id and not span.parent:
            return span.name
    return ""


@dataclass(frozen=True, slots=True)
class Traced:
    """Middleware: every request is a span, as a tracing library would have it."""

    app: ASGIApp

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Run a request in a span of its own."""
        name = f"{scope.get('method', '')} {scope.get('path', '')}"
        with trace.get_tracer("lumipic").start_as_current_span(name):
            await self.app(scope, receive, send)


def described(event: ReadableLogRecord) -> list[str]:
    """An event in lines: its name, the span it belongs to, its attributes."""
    record = event.log_record
    lines = [
        f"event     {record.event_name}",
        f"severity  {record.severity_text}",
        f"trace     {record.trace_id or 0:032x} ({request_of(event)})",
        f"span      {record.span_id or 0:016x}",
    ]
    given = sorted((record.attributes or {}).items())
    return lines + [f"{name} = {_plain(value)}" for name, value in given]


def _plain(value: object) -> str:
    return ", ".join(map(str, value)) if isinstance(value, tuple | list) else str(value)
