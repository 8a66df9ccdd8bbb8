"""Benchmarks of guarded calls, telemetry and start-up.

Start reading at `guarded`.
"""

from __future__ import annotations

import functools
import logging
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from typing import Any

import wrapt
from opentelemetry.sdk._logs import LoggerProvider
from opentelemetry.sdk._logs.export import InMemoryLogRecordExporter, SimpleLogRecordProcessor
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from policyguard.enforce.guard import Guard
from policyguard.enforce.modes import Modes
from policyguard.enforce.ports import Record
from policyguard.observe.otel import observe
from tests.benchmarks.measure import Report, Work, compare
from tests.benchmarks.subjects import Subject

CALLS = 20_000
STARTS = 7


def _calls(function: Callable[..., object], count: int = CALLS) -> Work:
    def run() -> None:
        for _ in range(count):
            function(1, "a@b", how="x")

    return Work(run, count)


def bare(one: int, two: str, *, how: str) -> None:
    """What is guarded: nothing at all, so that only the guard costs."""


@wrapt.decorator
def _pass_through(wrapped: Any, _: Any, args: Any, kwargs: Any) -> Any:
    return wrapped(*args, **kwargs)


def _wrapped(function: Callable[..., object]) -> Callable[..., object]:
    """The least that a decorator can do without copying the signature."""

    @functools.wraps(function)
    def run(*args: Any, **kwargs: Any) -> object:
        return function(*args, **kwargs)

    return run


def _guard() -> tuple[Guard, str, str, str]:
    """A guard of 150 rules, and a flow that one of them permits without condition."""
    subject = Subject(150)
    data, purpose, recipient = next(iter(subject.rules))
    return Guard(subject.snapshot(), modes=Modes(default="flag")), data, purpose, recipient


def guarded(report: Report) -> None:
    """An empty function behind each decorator, against the same function called directly."""
    guard, data, purpose, recipient = _guard()
    sink = guard.sink(recipient, data=[data])(bare)
    observed = _guard()[0]
    observe(observed)
    observed_sink = observed.sink(recipient, data=[data])(bare)
    with guard.purpose(purpose):
        taken = compare(
            {
                "bare": _calls(bare),
                "pass": _calls(_wrapped(bare)),
                "wrapt": _calls(_pass_through(bare)),
                "purpose": _calls(guard.purpose(purpose)(bare)),
                "source": _calls(guard.source(data)(bare), 2_000),
                "sink": _calls(sink),
                "observed": _calls(observed_sink),
            }
        )
    direct = taken["bare"]
    part = "guarded call"
    report.add(part, "an empty function, called directly", direct, "ns", note="three arguments")
    report.add(part, "behind *args and **kwargs that do nothing", taken["pass"] / direct, "x")
    report.add(part, "behind a wrapt decorator that does nothing", taken["wrapt"] / direct, "x")
    for name, shown in (("sink", "@guard.sink, declared data"), ("purpose", "@guard.purpose")):
        note = f"{taken[name]:.0f} ns"
        report.add(part, shown, taken[name] / direct, "x", most=8, note=note)
        least = "... against the wrapt decorator"
        report.add(part, least, taken[name] / taken["wrapt"], "x", most=1)
    note = f"{taken['source'] / 1000:.1f} us; fingerprints a result"
    report.add(part, "@guard.source", taken["source"] / direct, "x", note=note)
    ratio = taken["observed"] / taken["sink"]
    report.add("telemetry", "allowed call, observed against not", ratio, "x", most=1.6)


class _Keep:
    """A reporter that keeps the last record."""

    record: Record

    def report(self, record: Record) -> None:
        self.record = record


def telemetry(report: Report) -> None:
    """What reporting a denied flow costs, against one span of the SDK."""
    guard, data, purpose, _ = _guard()
    keep = _Keep()
    guard.reporters = (keep,)

    def check(*_: object, **__: object) -> None:
        guard.check("x", to="nobody", data=data)

    with guard.purpose(purpose):
        check()
        silent = observe(guard)
        guard.reporters = (keep,)
        logs = LoggerProvider(shutdown_on_exit=False)
        logs.add_log_record_processor(SimpleLogRecordProcessor(InMemoryLogRecordExporter()))  # type: ignore[no-untyped-call]  # the SDK left it untyped
        speaking = observe(guard, logger_provider=logs)
        guard.reporters = ()
        tracing = TracerProvider(shutdown_on_exit=False)
        tracing.add_span_processor(SimpleSpanProcessor(InMemorySpanExporter()))
        tracer = tracing.get_tracer("bench")
        attributes: dict[str, str | int] = {"a": "one", "b": "two", "c": "three", "d": 4}

        def span(*_: object, **__: object) -> None:
            with tracer.start_as_current_span("one", attributes=attributes):
                pass

        few = 2_000
        taken = compare(
            {
                "span": _calls(span, few),
                "silent": _calls(lambda *_, **__: silent.report(keep.record), few),
                "speaking": _calls(lambda *_, **__: speaking.report(keep.record), few),
                "check": _calls(check, few),
            }
        )
    part = "telemetry"
    report.add(part, "one SDK span, 4 attributes", taken["span"] / 1000, "us", note="the yardstick")
    ratio = taken["speaking"] / taken["span"]
    report.add(part, "a violation as an event, against the span", ratio, "x", most=1.2)
    report.add(part, "... where nothing records", taken["silent"] / 1000, "us", most=0.6)
    note = "decided, counted, explained; no reporter"
    report.add(part, "a denied flow itself", taken["check"] / 1000, "us", note=note)


def imports(report: Report) -> None:
    """Start-up: whole processes, wall clock, the candidates in turn."""
    commands = {
        "python": ["-c", "pass"],
        "import policyguard": ["-c", "import policyguard"],
        "import policyguard, with a guard's parts": ["-c", "from policyguard import Guard"],
        "policyguard --version": ["-m", "policyguard", "--version"],
    }
    taken: dict[str, list[float]] = {name: [] for name in commands}
    for number in range(STARTS + 1):
        for name, arguments in list(commands.items()):
            started = time.perf_counter()
            done = subprocess.run([sys.executable, *arguments], capture_output=True, check=False)
            if done.returncode:
                report.skipped.append(f"{name}: exit code {done.returncode}")
                del commands[name]
            elif number:
                taken[name].append(time.perf_counter() - started)
    bare_python = statistics.median(taken.pop("python"))
    report.add("start-up", "python -c pass", bare_python * 1000, "ms", note="the yardstick")
    for name, times in taken.items():
        if times:
            middle = statistics.median(times)
            note = f"{middle * 1000:.0f} ms"
            report.add("start-up", name, middle / bare_python, "x", note=note)


def quiet() -> None:
    """Denials of these benchmarks are not news."""
    logging.getLogger("policyguard").setLevel(logging.CRITICAL)
