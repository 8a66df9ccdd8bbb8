"""A storm of violations: nothing is lost, little is written, and memory stays where it was."""

from __future__ import annotations

import logging
import threading
import tracemalloc
from collections import Counter

import pytest

from policyguard.config import Guard
from policyguard.enforce.ports import Record
from tests.enforce.kit import ADS, EMAIL, counts, guard

THREADS = 4
EACH = 4_000
KINDS = 40


class Every:
    """A reporter that counts what it is told, by fingerprint."""

    def __init__(self) -> None:
        self.told: Counter[str] = Counter()
        self._lock = threading.Lock()

    def report(self, record: Record) -> None:
        """Count it."""
        with self._lock:
            self.told[record.fingerprint] += 1


def storm(made: Guard, each: int = EACH) -> None:
    """Flagged flows of some kinds from several threads at once."""

    def blow() -> None:
        with made.context(purpose=ADS):
            for number in range(each):
                made.check("x", to=f"nobody_{number % KINDS}", data=EMAIL)

    threads = [threading.Thread(target=blow) for _ in range(THREADS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


def test_every_flow_of_a_storm_is_counted_and_each_kind_is_told_once(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """Tally and reporters know of all; the log has a whole message a kind, and counts after it."""
    every = Every()
    made = guard("flag", every)
    with caplog.at_level(logging.WARNING, "policyguard"):
        storm(made)
    offered = THREADS * EACH
    assert sum(counts(made).values()) == offered
    assert sum(every.told.values()) == offered
    assert len(every.told) == KINDS
    whole = [line for line in caplog.messages if "because:" in line]
    assert len(whole) == KINDS
    # 10, 100 and 1,000 are told as counts: at most three lines a kind.
    assert len(caplog.messages) - len(whole) <= 3 * KINDS


def test_a_storm_leaves_no_memory_behind() -> None:
    """What a second storm of the same kinds adds is nothing that grows with their number."""
    logging.getLogger("policyguard").setLevel(logging.CRITICAL)
    try:
        made = guard("flag")
        storm(made, 400)
        tracemalloc.start()
        before, _ = tracemalloc.get_traced_memory()
        storm(made, 400)
        after, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
        logging.getLogger("policyguard").setLevel(logging.NOTSET)
    assert after - before < 200_000
