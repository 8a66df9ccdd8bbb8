"""A guarded program with an OpenTelemetry SDK that keeps what it exports in memory."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pytest
from opentelemetry.sdk._logs import LoggerProvider
from opentelemetry.sdk._logs.export import InMemoryLogRecordExporter, SimpleLogRecordProcessor
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from policyguard.enforce.guard import Guard
from policyguard.enforce.modes import Modes
from policyguard.enforce.ports import Mode
from policyguard.engine.compile import compile_policy
from policyguard.observe.otel import OtelReporter, observe
from policyguard.policy.assemble import policy_from_dict

POLICY: dict[str, Any] = {
    "policyguard": 1,
    "id": "shop",
    "notice": {"clauses": {"1": {"says": "devices"}, "2": {"says": "no addresses for ads"}}},
    "recipients": {
        "ad_partner": {"kind": "ad_pixel", "hosts": ["ads.example"]},
        "mailer": {"kind": "processor", "hosts": ["mail.example"]},
    },
    "rules": [
        {
            "id": "device-for-ads",
            "permit": {
                "data": ["user.device"],
                "purposes": ["marketing.advertising"],
                "to": ["ad_partner"],
            },
            "cites": ["1"],
        },
        {
            "id": "mail-with-consent",
            "permit": {
                "data": ["user.contact"],
                "purposes": ["marketing.advertising"],
                "to": ["mailer"],
            },
            "when": {"consent": True},
            "cites": ["1"],
        },
        {
            "id": "no-addresses-for-ads",
            "forbid": {"data": ["user.contact"], "to": ["ad_partner"]},
            "cites": ["2"],
        },
    ],
}


def make_guard(mode: Mode = "block") -> Guard:
    """A guard of the shop's policy."""
    return Guard(compile_policy(policy_from_dict(POLICY)), modes=Modes(default=mode))


@dataclass(frozen=True, slots=True)
class Watched:
    """The SDK's ends: what was exported."""

    records: InMemoryLogRecordExporter
    spans: InMemorySpanExporter
    reader: InMemoryMetricReader
    logger_provider: LoggerProvider
    meter_provider: MeterProvider
    tracer_provider: TracerProvider

    def observe(self, guard: Guard, **more: Any) -> OtelReporter:
        """Observe a guard with these providers instead of the program's."""
        return observe(
            guard, logger_provider=self.logger_provider, meter_provider=self.meter_provider, **more
        )

    def span(self) -> Any:
        """A span of the program, as a context manager."""
        return self.tracer_provider.get_tracer("shop").start_as_current_span("checkout")

    def events(self) -> list[Any]:
        """All records that were emitted."""
        return [each.log_record for each in self.records.get_finished_logs()]

    def finished(self) -> ReadableSpan:
        """The one span that ended."""
        (span,) = self.spans.get_finished_spans()
        return span

    def series(self, name: str) -> dict[tuple[tuple[str, Any], ...], Any]:
        """A metric's points: sorted attributes to value (a histogram: its count)."""
        data = self.reader.get_metrics_data()
        return {
            tuple(sorted((point.attributes or {}).items())): getattr(point, "value", None)
            or getattr(point, "count", None)
            for resource in (data.resource_metrics if data else ())
            for scope in resource.scope_metrics
            for metric in scope.metrics
            if metric.name == name
            for point in metric.data.data_points
        }

    def everything(self) -> str:
        """All that was exported, as text."""
        metrics = self.reader.get_metrics_data()
        return "\n".join(
            [
                *(each.to_json() for each in self.records.get_finished_logs()),
                *(span.to_json() for span in self.spans.get_finished_spans()),
                metrics.to_json() if metrics else "",
            ]
        )


@pytest.fixture
def watched() -> Iterator[Watched]:
    """An SDK of its own for one test; nothing global is set."""
    records, spans, reader = (
        InMemoryLogRecordExporter(),  # type: ignore[no-untyped-call]  # the SDK left it untyped
        InMemorySpanExporter(),
        InMemoryMetricReader(),
    )
    logs = LoggerProvider(shutdown_on_exit=False)
    logs.add_log_record_processor(SimpleLogRecordProcessor(records))
    tracing = TracerProvider(shutdown_on_exit=False)
    tracing.add_span_processor(SimpleSpanProcessor(spans))
    meters = MeterProvider([reader], shutdown_on_exit=False)
    yield Watched(records, spans, reader, logs, meters, tracing)
    meters.shutdown()
    tracing.shutdown()
    logs.shutdown()
