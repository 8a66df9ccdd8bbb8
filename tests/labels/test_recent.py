"""Labelled values beyond one request: kept by age, found by jobs and by code in no scope."""

from __future__ import annotations

import pytest

from policyguard.labels.recent import KEPT_SECONDS, Job, Recent, Rolling
from policyguard.policy.flow import Label

MAIL = "quill.feather@picnic.example"
LABEL = (Label("user.contact.email"),)


class Clock:
    """Seconds that pass when told to."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        """The time."""
        return self.now


def found(memory: Rolling | Recent | Job) -> int:
    """In how many places the address is found."""
    return len(memory.search((("m", MAIL),)))


def test_a_value_is_kept_for_one_to_two_generations() -> None:
    """It is found for at least two minutes, and gone after four."""
    clock = Clock()
    rolling = Rolling(clock=clock)
    rolling.remember(MAIL, LABEL)
    clock.now += KEPT_SECONDS - 1
    assert found(rolling) == 1
    clock.now += KEPT_SECONDS - 1
    assert found(rolling) == 1
    clock.now += 2 * KEPT_SECONDS
    assert found(rolling) == len(rolling) == 0


def test_a_full_memory_says_so_and_recovers() -> None:
    """Too many values at once make everything doubtful, for as long as they are kept."""
    clock = Clock()
    rolling = Rolling(clock=clock)
    for number in range(10_001):
        rolling.remember(f"{number}-{MAIL}", LABEL)
    assert rolling.saturated
    clock.now += 2 * KEPT_SECONDS
    assert not rolling.saturated


def test_a_job_that_misses_a_value_doubts_alone() -> None:
    """What one job couldn't remember makes no other job stop."""
    jobs = Rolling()
    one, other = Job(jobs), Job(jobs)
    one.saturated = True
    assert one.saturated
    assert not other.saturated
    one.remember(MAIL, LABEL)
    assert found(other) == 1


def test_closed_scopes_are_found_for_a_while() -> None:
    """A scope's values outlive it for code that runs in no scope at all."""
    clock = Clock()
    recent = Recent(clock=clock)
    recent.opened().remember(MAIL, LABEL)
    assert found(recent) == 1
    assert recent.exactly(b"nothing") == ()
    clock.now += 3 * KEPT_SECONDS
    assert found(recent) == 0


@pytest.mark.parametrize("memory", [Rolling(), Recent()])
def test_a_value_is_found_once(memory: Rolling | Recent) -> None:
    """Remembered twice, in two places, it is one finding."""
    memory.remember(MAIL, LABEL)
    memory.remember(MAIL, LABEL)
    assert found(memory) == 1
