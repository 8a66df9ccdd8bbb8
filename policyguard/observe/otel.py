"""Violations and counts as OpenTelemetry, for whatever SDK the program has set up.

Layer: observe; the only module that imports OpenTelemetry, and only its API, when first used.
Without an SDK everything here does nothing. A violation is a log-based event in the trace of the
request; counts are read from the guard's tally when the SDK collects, so an allowed flow costs
nothing here. Start reading at `observe` and `OtelReporter.report`.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable
from importlib.metadata import PackageNotFoundError, version
from types import FrameType
from typing import TYPE_CHECKING, Final

from policyguard.enforce.guard import Guard
from policyguard.enforce.ports import At, Record
from policyguard.observe import semconv as names

if TYPE_CHECKING:
    from opentelemetry._logs import LoggerProvider
    from opentelemetry.metrics import Meter, MeterProvider, Observation
    from opentelemetry.trace import Span

Value = str | bool | int | list[str]

_DISTRIBUTION: Final = "policyguard-runtime"
_SENDERS: Final = ("opentelemetry.sdk.", "opentelemetry.exporter.")
_OUTCOMES: Final = {"allow": names.ALLOW, "deny": names.DENY, "blocked": names.DENY}
_LONGEST: Final = 256


def observe(
    guard: Guard,
    *,
    span_events: bool = False,
    logger_provider: LoggerProvider | None = None,
    meter_provider: MeterProvider | None = None,
) -> OtelReporter:
    """Report a guard's violations and counts to OpenTelemetry. A second time does nothing.

    Args:
        guard: whose.
        span_events: also write each violation as an event of the current span. OpenTelemetry is
            phasing span events out; for backends that show nothing else.
        logger_provider: by default the program's, also one that it sets up later.
        meter_provider: likewise.
    """
    for reporter in guard.reporters:
        if isinstance(reporter, OtelReporter):
            return reporter
    reporter = OtelReporter(
        guard,
        span_events=span_events,
        logger_provider=logger_provider,
        meter_provider=meter_provider,
    )
    guard.reporters = (*guard.reporters, reporter)
    return reporter


class OtelReporter:
    """A Reporter that speaks OpenTelemetry; counts are reported without being asked."""

    def __init__(
        self,
        guard: Guard,
        *,
        span_events: bool = False,
        logger_provider: LoggerProvider | None = None,
        meter_provider: MeterProvider | None = None,
    ) -> None:
        """Set up the instruments; arguments as of `observe`."""
        from opentelemetry._logs import SeverityNumber, get_logger  # noqa: PLC0415 - loaded when first used
        from opentelemetry.metrics import get_meter  # noqa: PLC0415 - as above
        from opentelemetry.trace import get_current_span  # noqa: PLC0415 - as above

        self._guard: Guard | None = guard
        self._span_events = span_events
        self._current_span = get_current_span
        self._severities = {True: SeverityNumber.ERROR, False: SeverityNumber.WARN}
        self._logger = get_logger(
            names.SCOPE, _own_version(), logger_provider, schema_url=names.SCHEMA_URL
        )
        meter = get_meter(names.SCOPE, _own_version(), meter_provider, names.SCHEMA_URL)
        self._make_instruments(meter)

    def _make_instruments(self, meter: Meter) -> None:
        meter.create_observable_counter(
            names.EVALUATIONS,
            [lambda _: self._counts(denied_only=False)],
            unit="{evaluation}",
            description="Flows that were judged.",
        )
        meter.create_observable_counter(
            names.VIOLATIONS,
            [lambda _: self._counts(denied_only=True)],
            unit="{violation}",
            description="Flows that the policy does not cover, stopped or not.",
        )
        self._duration = meter.create_histogram(
            names.DURATION,
            unit="s",
            description="Time to inspect a statement or an outgoing request.",
            explicit_bucket_boundaries_advisory=names.DURATION_BUCKETS,
        )

    def report(self, record: Record) -> None:
        """Emit the event of a violation and mark the current span.

        Cost: some 0.3 us where nothing records; about one span where an SDK does.
        """
        applied = record.effect == "blocked"
        severity = self._severities[applied]
        # Newer APIs tell whether anybody listens; older ones are simply called.
        enabled = getattr(self._logger, "enabled", None)
        listens = enabled is None or enabled(severity_number=severity, event_name=names.VIOLATION)
        span = self._current_span()
        if not listens and not span.is_recording():
            return
        attributes = self._attributes(record)
        if listens:
            self._logger.emit(
                severity_number=severity,
                severity_text=severity.name,
                body=record.message.partition("\n")[0],
                attributes=attributes,
                event_name=names.VIOLATION,
            )
        if span.is_recording():
            self._mark(span, record, attributes)

    def _attributes(self, record: Record) -> dict[str, Value]:
        """Names and places of one violation; what is not known is left out."""
        decision, flow = record.decision, record.decision.flow
        rule = decision.rules[0] if decision.rules else ""
        file, _, line = record.sent_at.rpartition(":")
        found: dict[str, Value] = {
            names.POLICY_ID: record.policy,
            names.POLICY_VERSION: decision.digest,
            names.RULE_ID: rule,
            names.CLAUSE_IDS: list(decision.clauses),
            names.OUTCOME: _OUTCOMES.get(record.effect, names.WARN),
            names.VERDICT: decision.verdict,
            names.REASON: decision.reason,
            names.MODE: record.mode,
            names.APPLIED: record.effect == "blocked",
            names.PURPOSE: (flow.purpose or "")[:_LONGEST],
            names.DATA_CATEGORIES: [flow.data] if flow.data else [],
            names.DATA_FORMS: sorted(flow.form) or ["raw"],
            names.DATA_FIELDS: _fields(record),
            names.RECIPIENT_ID: flow.recipient[:_LONGEST],
            names.RECIPIENT_CATEGORY: self._category(flow.recipient),
            names.CHOKE_POINT: record.at,
            names.FINGERPRINT: record.fingerprint,
            names.SERVER_ADDRESS: record.host[:_LONGEST],
            names.CODE_FILE: file,
            names.SECURITY_RULE_NAME: rule,
            names.SECURITY_RULESET: record.policy,
        }
        known = {name: value for name, value in found.items() if value not in ("", [])}
        if line.isdecimal():
            known[names.CODE_LINE] = int(line)
        return known

    def _category(self, recipient: str) -> str:
        """The kind of a declared recipient, "" for any other."""
        guard = self._guard
        who = guard.snapshot.context.recipients.get(recipient) if guard else None
        return who.kind if who else ""

    def _mark(self, span: Span, record: Record, attributes: dict[str, Value]) -> None:
        """A few attributes on the span of the request: the worst outcome, and how many."""
        so_far = getattr(span, "attributes", None) or {}
        count = so_far.get(names.VIOLATION_COUNT, 0)
        span.set_attribute(names.VIOLATION_COUNT, count + 1)
        if not count or record.effect == "blocked":
            span.set_attribute(names.OUTCOME, str(attributes[names.OUTCOME]))
            span.set_attribute(names.RECIPIENT_ID, str(attributes[names.RECIPIENT_ID]))
        if self._span_events:
            span.add_event(names.VIOLATION, attributes)

    def took(self, at: At, outcome: str, seconds: float) -> None:
        """Record how long a slow check took: a statement or an outgoing request.

        A single decision is never timed: reading the clock twice costs as much as deciding.

        Args:
            at: `sql` or `http`.
            outcome: `allow`, `deny` or `warn`.
            seconds: by a monotonic clock.
        """
        self._duration.record(seconds, {names.OUTCOME: outcome, names.CHOKE_POINT: at})

    def _counts(self, *, denied_only: bool) -> Iterable[Observation]:
        """The tally as it stands, for the SDK's own thread."""
        from opentelemetry.metrics import Observation  # noqa: PLC0415 - loaded when first used

        guard = self._guard
        if guard is None:
            return []
        sums: dict[tuple[str, str, str], int] = {}
        for key, count in guard.tally.read().items():
            outcome = _OUTCOMES.get(key.outcome, names.WARN)
            if not denied_only or outcome != names.ALLOW:
                cell = (outcome, key.recipient, key.mode)
                sums[cell] = sums.get(cell, 0) + count
        policy = guard.snapshot.id
        return [
            Observation(count, _series(outcome, policy, recipient, mode))
            for (outcome, recipient, mode), count in sums.items()
        ]

    def stop(self) -> None:
        """Report nothing more; the guard forgets this reporter."""
        guard, self._guard = self._guard, None
        if guard is not None:
            guard.reporters = tuple(each for each in guard.reporters if each is not self)


def _fields(record: Record) -> list[str]:
    """What was read and where it stood; a source that is a phrase (`binary body`) is neither."""
    return [name for name in (record.source, record.where) if name and " " not in name]


def _series(outcome: str, policy: str, recipient: str, mode: str) -> dict[str, str]:
    found = {names.OUTCOME: outcome, names.POLICY_ID: policy, names.RECIPIENT_ID: recipient}
    return {**found, names.MODE: mode} if mode else found


def _own_version() -> str:
    try:
        return version(_DISTRIBUTION)
    except PackageNotFoundError:
        # Denies: nothing; a source tree that isn't installed has no version to tell.
        return ""


def suppressed() -> bool:
    """Whether OpenTelemetry's instrumentations are told to look away here.

    Programs say so too, to keep calls out of their traces; so this alone must never switch a check
    off. See `exporting`. Cost: one look-up where OpenTelemetry isn't loaded, else some 0.3 us.
    """
    if "opentelemetry.context" not in sys.modules:
        return False
    from opentelemetry.context import (  # noqa: PLC0415 - here it is loaded already
        _SUPPRESS_INSTRUMENTATION_KEY,
        get_value,
    )

    # Exporters set the key; older instrumentations set the plain word.
    return bool(get_value(_SUPPRESS_INSTRUMENTATION_KEY) or get_value("suppress_instrumentation"))


def exporting() -> bool:
    """Whether the running code is an exporter of OpenTelemetry that sends what it has collected.

    True only if instrumentation is suppressed *and* OpenTelemetry's SDK or an exporter is among the
    callers: a program that suppresses its own tracing is checked as before.

    Cost: that of `suppressed`; the callers are looked through only where it says yes.
    """
    if not suppressed():
        return False
    frame: FrameType | None = sys._getframe(1)  # noqa: SLF001 - the documented way to see callers
    while frame is not None:
        if str(frame.f_globals.get("__name__", "")).startswith(_SENDERS):
            return True
        frame = frame.f_back
    return False
