"""Measure policyguard, and print each figure beside its target: `make bench`.

Ratios are taken within one run, from rounds in which all candidates take turns, as medians of CPU
time. A missed target is printed, not an error: the machine decides too. `--json` prints the same as
one JSON object; names of sections limit the run to them.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import sys
from collections.abc import Callable
from dataclasses import asdict

from tests.benchmarks import databases, engine, runtime, sql
from tests.benchmarks.measure import Figure, Report

SECTIONS: dict[str, Callable[[Report], None]] = {
    "start-up": runtime.imports,
    "decide": engine.decide,
    "peers": engine.peers,
    "guarded": runtime.guarded,
    "telemetry": runtime.telemetry,
    "load": engine.load,
    "memory": engine.memory,
    "growth": engine.growth,
    "sql": sql.inspection,
    "sql-peers": sql.peers,
    "databases": databases.overhead,
}


def main() -> int:
    """Run the sections that are named, all by default; always 0 if they ran."""
    parser = argparse.ArgumentParser(description="Measure policyguard against its targets.")
    parser.add_argument("sections", nargs="*", metavar="SECTION", help=", ".join(SECTIONS))
    parser.add_argument("--json", action="store_true", help="one JSON object instead of a table")
    options = parser.parse_args()
    if unknown := set(options.sections) - SECTIONS.keys():
        parser.error(f"no such section: {', '.join(sorted(unknown))}")
    runtime.quiet()
    report, part = Report(), ""
    for name in options.sections or SECTIONS:
        before = len(report.figures)
        SECTIONS[name](report)
        if not options.json:
            for figure in report.figures[before:]:
                say("" if figure.part == part else f"\n{figure.part}\n")
                say(line(figure) + "\n")
                part = figure.part
    if options.json:
        say(json.dumps(as_json(report), indent=1) + "\n")
        return 0
    say("\n" + summary(report) + "\n")
    return 0


def say(text: str) -> None:
    """Show a piece as soon as it is known."""
    sys.stdout.write(text)
    sys.stdout.flush()


def line(figure: Figure) -> str:
    """A figure as one line: name, value, target, verdict, note."""
    value = f"{figure.value:.3g}" if figure.value < 1000 else f"{figure.value:,.0f}"
    target, verdict = "", ""
    if figure.target is not None:
        target = f"{'>=' if figure.at_least else '<='} {figure.target:g}"
        verdict = "ok" if figure.ok else "MISSED"
    shown = f"  {figure.name:<46}{value:>9} {figure.unit:<6}{target:<9}{verdict:<7}{figure.note}"
    return shown.rstrip()


def summary(report: Report) -> str:
    """How many targets are met, what was left out, and on what machine."""
    held = [figure.ok for figure in report.figures if figure.ok is not None]
    lines = [f"{sum(held)} of {len(held)} targets met; {machine()}"]
    lines += [f"left out: {what}" for what in report.skipped]
    return "\n".join(lines)


def machine() -> str:
    """What ran the benchmarks."""
    return f"Python {platform.python_version()}, {os.cpu_count()} cores, {platform.machine()}"


def as_json(report: Report) -> dict[str, object]:
    """The report as plain data."""
    return {
        "schema": "policyguard.bench/1",
        "machine": machine(),
        "figures": [{**asdict(figure), "ok": figure.ok} for figure in report.figures],
        "skipped": report.skipped,
    }


if __name__ == "__main__":
    sys.exit(main())
