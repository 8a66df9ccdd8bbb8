"""Benchmarks of the engine and the loader: decide, peers, growth, load, memory.

Start reading at `decide`.
"""

from __future__ import annotations

import gc
import subprocess
import sys
import tempfile
import tracemalloc
from collections.abc import Callable
from pathlib import Path

import yaml

from policyguard.engine.compile import compile_policy
from policyguard.policy.assemble import load_policy
from policyguard.policy.flow import RAW, Facts
from policyguard.policy.loader import Limits
from tests.benchmarks.measure import Report, Work, compare, spread
from tests.benchmarks.peers import PEERS
from tests.benchmarks.subjects import Subject, decider, looker, wrong

SMALL, MIDDLE, LARGE = 150, 10_000, 100_000
ROOT = Path(__file__).parents[2]
UNLIMITED = Limits(size=1 << 26, depth=32, nodes=10_000_000)


def repeated(run: Callable[[], object], times: int) -> Callable[[], None]:
    """The same pass several times over, so that a round is long enough for the clock."""

    def passes() -> None:
        for _ in range(times):
            run()

    return passes


def decide(report: Report) -> None:
    """A warm decision and the first decision of a flow, against one dict look-up."""
    subject = Subject(SMALL)
    snapshot, forgetful = subject.snapshot(), subject.snapshot(memo_size=0)
    if mistakes := wrong(snapshot, subject):
        report.skipped.append(f"decide: {mistakes} wrong answers, so its speed means nothing")
        return
    count = len(subject.requests)
    taken = compare(
        {
            "look": Work(repeated(looker(subject.closure(), subject), 10), count * 10),
            "decide": Work(repeated(decider(snapshot, subject), 10), count * 10),
            "strangers": Work(_strangers(snapshot.decide, subject), count),
            "cold": Work(decider(forgetful, subject), count),
        }
    )
    look = taken["look"]
    report.add("decide", "one dict look-up in a closure", look, "ns", note="the yardstick")
    report.add("decide", "decide, warm, 150 rules", taken["decide"], "ns")
    report.add("decide", "... against the look-up", taken["decide"] / look, "x", most=4.5)
    report.add(
        "decide",
        "... with facts nobody asked before",
        taken["strangers"] / look,
        "x",
        note="the first question about each person",
    )
    cold = taken["cold"] / look
    report.add("decide", "first decision of a flow", cold, "x", most=35)
    questions = subject.questions()

    def one(number: int) -> object:
        data, purpose, recipient, facts = questions[number % count]
        return snapshot.decide(data, RAW, purpose, recipient, facts)

    p50, p99 = spread(one, 20_000)
    report.add("decide", "99th against 50th percentile", p99 / p50, "x", most=5)


def _strangers(ask: Callable[..., object], subject: Subject) -> Callable[[], None]:
    """One pass in which every request is about a person that was never asked about."""

    def run() -> None:
        for data, purpose, recipient, facts in questions:
            facts.memo.clear()
            ask(data, RAW, purpose, recipient, facts)

    def own(facts: Facts) -> Facts:
        found = Facts()
        found.consent, found.age = facts.consent, facts.age
        return found

    questions = [(d, p, r, own(facts)) for d, p, r, facts in subject.questions()]
    return run


def peers(report: Report) -> None:
    """The same requests put to other engines, in the same rounds."""
    subject = Subject(SMALL)
    snapshot = subject.snapshot()
    works = {
        "policyguard": Work(repeated(decider(snapshot, subject), 10), 10 * len(subject.requests))
    }
    for name, (prepare, _) in PEERS.items():
        try:
            ask = prepare(subject)
        except ImportError:
            report.skipped.append(f"{name}: not installed (`pip install --group bench`)")
            continue
        few = subject.requests[:300]
        if mistakes := sum(ask(request) != request.allowed for request in few):
            report.skipped.append(f"{name}: {mistakes} of {len(few)} answers differ; not compared")
            continue
        works[name] = Work(lambda ask=ask, few=few: [ask(r) for r in few], len(few))  # type: ignore[misc]  # bound in the loop
    taken = compare(works, rounds=7)
    for name, (_, least) in PEERS.items():
        if name in taken:
            ratio = taken[name] / taken["policyguard"]
            note = f"{taken[name] / 1000:.1f} us a decision"
            report.add("peers", f"faster than {name}", ratio, "x", least=least, note=note)


def growth(report: Report) -> None:
    """Warm decisions with random keys under 150, 10,000 and 100,000 rules."""
    works = {}
    for size in (SMALL, MIDDLE, LARGE):
        subject = Subject(size, requests=20_000)
        snapshot = subject.snapshot()
        decider(snapshot, subject)()
        count = len(subject.requests)
        works[str(size)] = Work(decider(snapshot, subject), count)
        works[f"look {size}"] = Work(looker(subject.closure(), subject), count)
    gc.freeze()
    taken = compare(works, rounds=7)
    gc.unfreeze()
    for size, most in ((MIDDLE, 2.5), (LARGE, 4.0)):
        ratio = taken[str(size)] / taken[str(SMALL)]
        note = f"{taken[str(size)]:.0f} ns a decision, random keys"
        report.add("growth", f"{size:,} rules against {SMALL}", ratio, "x", most=most, note=note)
        plain = taken[f"look {size}"] / taken[f"look {SMALL}"]
        report.add("growth", "... the same of the dict look-up", plain, "x", note="cache misses")


class _WithoutAliases(yaml.CSafeDumper):
    """Writes what occurs twice twice: a policy has no anchors."""

    def ignore_aliases(self, data: object) -> bool:
        return True


def load(report: Report) -> None:
    """Load, validate and index 10,000 rules, against PyYAML's C loader alone.

    Once in the style of the documentation, where a rule's lists stand on one line, and once in the
    style of a dumped file, where every item has a line of its own.
    """
    tree = Subject(MIDDLE).tree()
    for style, flow in (("lists on one line", None), ("an item a line", False)):
        text = yaml.dump(
            tree, Dumper=_WithoutAliases, sort_keys=False, width=120, default_flow_style=flow
        )
        _load(report, style, text)


def _load(report: Report, style: str, text: str) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "policy.yaml")
        path.write_text(text, "utf-8")
        works = {
            "plain": Work(lambda: yaml.load(text, Loader=yaml.CSafeLoader), 1),
            "load": Work(lambda: load_policy(path, limits=UNLIMITED), 1),
            "all": Work(lambda: compile_policy(load_policy(path, limits=UNLIMITED)), 1),
        }
        taken = compare(works, rounds=3, collect=True)
    size = f"{len(text) / 1e6:.1f} MB, {taken['all'] / 1e6:.0f} ms"
    ratio = taken["all"] / taken["plain"]
    report.add("load", f"10,000 rules, {style}", ratio, "x", most=0.25, note=size)
    compiling = (taken["all"] - taken["load"]) / 1e6
    report.add("load", "... of which compiling", compiling, "ms")


def memory(report: Report) -> None:
    """What a compiled policy of 10,000 rules keeps."""
    tracemalloc.start()
    try:
        before = tracemalloc.get_traced_memory()[0]
        subject = Subject(MIDDLE, requests=1)
        snapshot = subject.snapshot()
        del subject
        gc.collect()
        kept = tracemalloc.get_traced_memory()[0] - before
    finally:
        tracemalloc.stop()
    del snapshot
    report.add("memory", "a rule, compiled", kept / MIDDLE, "bytes", most=1024)
    own, cedar = _resident("policyguard"), _resident("cedarpy")
    if cedar is None or own is None:
        report.skipped.append("memory of cedarpy: not installed (`pip install --group bench`)")
        return
    note = f"resident, {own / 2**20:.0f} against {cedar / 2**20:.0f} MiB"
    report.add("memory", "against cedarpy, 10,000 rules", own / cedar, "x", most=0.1, note=note)


_RESIDENT = """
import gc, os, sys
from tests.benchmarks.subjects import Subject
from tests.benchmarks.peers import cedarpy
def resident():
    gc.collect()
    return int(open('/proc/self/statm').read().split()[1]) * os.sysconf('SC_PAGE_SIZE')
subject = Subject(10000, requests=1)
if sys.argv[1] == 'cedarpy':
    import cedarpy as _
    before = resident()
    kept = cedarpy(subject)
else:
    policy = subject.policy()
    before = resident()
    from policyguard.engine.compile import compile_policy
    kept = compile_policy(policy)
print(resident() - before)
"""


def _resident(name: str) -> float | None:
    """Resident bytes that a prepared policy of 10,000 rules adds, in a process of its own."""
    command = [sys.executable, "-c", _RESIDENT, name]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    return float(done.stdout) if done.returncode == 0 else None
