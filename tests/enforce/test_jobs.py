"""One background job: its purpose by its name, and for whom it runs."""

from __future__ import annotations

import asyncio

import pytest

from policyguard import NoPurpose
from policyguard.config import Guard
from policyguard.enforce.context import current_scope
from policyguard.enforce.routes import JobPattern, Jobs, like
from policyguard.enforce.subjects import Subjects
from tests.enforce.kit import ACCOUNT, ADS, COUNTING, EMAIL, LIKES, Memory, guard
from tests.enforce.subjects_kit import Kept

# fmt: off
PATTERNS = [JobPattern(name, purpose) for name, purpose in {
    "*":                 "all",
    "reports.*":         "reports",
    "reports.daily":     "daily",
    "reports.daily.*":   "part",
    "*.cleanup":         "cleanup",
    "mail[eu]":          "brackets",
    "what?":             "question",
}.items()]
JOBS: dict[str, str] = {
    "reports.daily":     "daily",
    "reports.weekly":    "reports",
    "reports.daily.eu":  "part",
    "users.cleanup":     "cleanup",
    "reports.cleanup":   "reports",   # as exact as the other, and first in the file
    "mail[eu]":          "brackets",
    "maile":             "all",
    "what?":             "question",
    "whats":             "all",
    "REPORTS.daily":     "all",
    "":                  "all",
    "reports.\nx":       "reports",
}
# fmt: on


@pytest.mark.parametrize(("name", "purpose"), JOBS.items(), ids=map(repr, JOBS))
def test_the_most_exact_pattern_counts(name: str, purpose: str) -> None:
    """`*` stands for any text, and no other sign for anything but itself."""
    assert Jobs(PATTERNS).purpose(name) == purpose


def test_a_job_that_nobody_names_has_no_purpose() -> None:
    """Without a pattern that fits there is none."""
    assert Jobs(PATTERNS[1:]).purpose("other") is None
    assert Jobs(()).find("reports.daily") is None


def test_endless_names_keep_the_memory_bounded() -> None:
    """Names may hold ids."""
    jobs = Jobs(PATTERNS)
    for number in range(10_000):
        assert jobs.purpose(f"reports.{number}") == "reports"
    assert jobs._find.cache_info().currsize <= 4096


@pytest.mark.parametrize(
    ("name", "pattern"), [("a[b]c", "a[b]*"), ("GET /x?", "GET /x?"), ("]", "*]")]
)
def test_signs_of_shells_mean_themselves(name: str, pattern: str) -> None:
    """A name in brackets is found by the same name."""
    assert like(name, pattern)


def working(**jobs: str) -> Guard:
    """A guard that knows some jobs."""
    made = guard()
    made.in_force = made.in_force.but(jobs=Jobs(JobPattern(*item) for item in jobs.items()))
    return made


def test_the_configuration_comes_before_what_the_worker_says() -> None:
    """Engineers name purposes in one place; the code's own is for jobs that are not named there."""
    asked = working(counting=COUNTING)
    with asked.job("counting", purpose=ADS):
        assert asked.current_purpose() == COUNTING
    with asked.job("other", purpose=ACCOUNT):
        assert asked.current_purpose() == ACCOUNT
        assert asked.check("x", to="mailer", data=EMAIL).allowed


@pytest.mark.parametrize("purpose", [None, "no.such.purpose", ""])
def test_a_job_without_a_known_purpose_has_none(purpose: str | None) -> None:
    """It runs, and what it sends is stopped."""
    asked = working(old="no.such.purpose")
    for name in ("old", "other"):
        with asked.job(name, purpose=purpose), pytest.raises(NoPurpose):
            asked.check("x", to="mailer", data=EMAIL)


def test_the_name_of_the_job_is_in_the_report() -> None:
    """As the route is for a request."""
    memory = Memory()
    asked = guard("flag", memory)
    with asked.job("reports.daily", purpose=ADS):
        asked.check("x", to="mailer", data=EMAIL)
    assert memory.records[0].route == "reports.daily"
    assert current_scope() is None


def test_whose_data_it_handles() -> None:
    """Facts of the store, region and opt-out, as for a request."""
    asked = guard()
    asked.subjects = Subjects(Kept(ann={"consent": {ADS: True}}), limit=30.0)

    def verdict(**more: object) -> str:
        with asked.job("ads", purpose=ADS, **more):  # type: ignore[arg-type]  # a table's columns
            return asked.decide(data=LIKES, to="pixel").verdict

    assert verdict(subject="ann") == "allow"
    assert verdict(subject="bea") == verdict() == "conditional"
    assert verdict(subject="ann", facts={"consent": {ADS: False}}) == "deny"
    with asked.job("ads", purpose=ADS, region="DE", gpc=True, facts={"age": 33}):
        scope = current_scope()
        assert scope is not None
        assert (scope.facts.region, scope.facts.age) == ("DE", 33)
        assert scope.facts.opt_out[ADS] is True

    async def later() -> str:
        async with asked.job("ads", purpose=ADS, subject="ann"):
            return asked.decide(data=LIKES, to="pixel").verdict

    assert asyncio.run(later()) == "allow"


def test_a_job_started_inside_a_request_is_about_nobody_until_it_says_so() -> None:
    """What was known about who asked isn't known about whose data the job handles."""
    asked = guard()
    with (
        asked.context(subject="ann", facts={"consent": {ADS: True}}, purpose=ACCOUNT),
        asked.job("ads", purpose=ADS),
    ):
        assert asked.decide(data=LIKES, to="pixel").verdict == "conditional"
