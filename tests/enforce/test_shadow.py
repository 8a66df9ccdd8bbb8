"""A second policy beside the first: asked the same, never obeyed, its differences told once."""

from __future__ import annotations

import logging
import threading
from pathlib import Path
from typing import Any

import pytest

from policyguard import PolicyViolation
from policyguard.config import Guard
from policyguard.enforce.shadow import Shadow
from policyguard.engine.compile import Snapshot, compile_policy
from policyguard.policy.assemble import load_policy
from policyguard.policy.flow import NO_FACTS
from tests.enforce.kit import ACCOUNT, ADS, COUNTING, EMAIL, LIKES, POLICY, Memory, counts

NOW = compile_policy(load_policy(POLICY))
CHANGES = "purpose_changes: [{from: essential.service, to: essential.service.authentication}]\n"


def changed(folder: Path, *edits: tuple[str, str], more: str = "") -> Snapshot:
    """The small policy with some words exchanged."""
    text = POLICY.read_text()
    for old, new in edits:
        assert old in text
        text = text.replace(old, new)
    file = folder / "next.yaml"
    file.write_text(text + more)
    return compile_policy(load_policy(file))


def beside(shadow: Snapshot, *, now: Snapshot = NOW, reporters: Any = ()) -> Guard:
    """A guard with a shadow."""
    made = Guard(now, reporters=reporters)
    made.in_force = made.in_force.but(shadow=shadow)
    return made


def told(caplog: pytest.LogCaptureFixture) -> list[str]:
    """What the log says about differences."""
    return [one.getMessage() for one in caplog.records if "PG207" in one.getMessage()]


STRICTER = ("to: [self, mailer]", "to: [self]")
LOOSER = ("when: {consent: true}", "")


def test_a_stricter_shadow_is_told_and_not_obeyed(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """What passes today goes on passing; the log says what would be."""
    asked = beside(changed(tmp_path, STRICTER, ("id: picnic", "id: picnic-next")))
    assert asked.check("x", to="mailer", data=EMAIL, purpose=ACCOUNT).allowed
    (said,) = told(caplog)
    assert said == (
        "PG207 shadow policy `picnic-next` differs: user.contact.email to mailer for "
        "essential.service.account is allow now, would be deny (not_covered, no rule)"
    )
    assert counts(asked) == {("allow", "mailer", ""): 1}


def test_a_looser_shadow_lets_nothing_pass(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """What is stopped today goes on being stopped, and reported as before."""
    memory = Memory()
    asked = beside(changed(tmp_path, LOOSER), reporters=[memory])
    with pytest.raises(PolicyViolation) as caught:
        asked.check("x", to="pixel", data=LIKES, purpose=ADS)
    assert caught.value.decision.verdict == "conditional"
    assert [record.effect for record in memory.records] == ["blocked"]
    (said,) = told(caplog)
    assert "is conditional now, would be allow (permitted, `ads`)" in said


def test_each_difference_is_told_once_and_counted(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """However often it happens, and only where the verdict differs."""
    asked = beside(changed(tmp_path, STRICTER))

    @asked.sink("mailer", data=EMAIL)
    def send(text: str) -> str:
        return text

    with asked.purpose(ACCOUNT):
        for _ in range(5):
            assert send("x") == "x"
        asked.check("x", to="self", data=EMAIL)
    assert len(told(caplog)) == 1
    (difference,) = asked.differences()
    assert asked.differences()[difference] == 5
    assert (difference.now, difference.then) == (("allow", "permitted"), ("deny", "not_covered"))


def test_an_equal_verdict_for_another_reason_is_no_difference(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Denied either way: nothing changes for anybody."""
    forbids = (
        "  - id: encrypted-only\n",
        "  - id: no-names\n    forbid: {data: [user.name]}\n  - id: encrypted-only\n",
    )
    asked = beside(changed(tmp_path, forbids))
    with pytest.raises(PolicyViolation):
        asked.check("x", to="pixel", data="user.name", purpose=ADS)
    assert told(caplog) == []


def test_an_unknown_term_in_the_shadow_is_a_denial_there(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """A recipient that the next policy no longer names."""
    gone = (
        ("to: [self, counter]", "to: [self]"),
        ("  counter: {kind: analytics", "  tally: {kind: analytics"),
    )
    asked = beside(changed(tmp_path, *gone))
    assert asked.check("x", to="counter", data=LIKES, purpose=COUNTING).allowed
    assert "would be deny (unknown_recipient" in told(caplog)[0]


def test_changes_of_purpose_are_compared_too(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """On either side: a list that only the next policy has, and one that only today's has."""
    listed = changed(tmp_path, more=CHANGES)
    for asked, passes in ((beside(listed), True), (beside(NOW, now=listed), False)):
        caplog.clear()
        with asked.purpose(ADS), asked.purpose(ACCOUNT):
            if passes:
                assert asked.check("x", to="mailer", data=EMAIL).allowed
            else:
                with pytest.raises(PolicyViolation) as caught:
                    asked.check("x", to="mailer", data=EMAIL)
                assert caught.value.decision.reason == "purpose_change"
        (said,) = told(caplog)
        assert ("would be deny (purpose_change" if passes else "would be allow") in said


def test_the_same_facts_are_asked_about(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """A shadow that wants consent agrees about those who gave it."""
    asked = beside(changed(tmp_path, LOOSER))
    with asked.context(facts={"consent": {ADS: True}}, purpose=ADS):
        assert asked.check("x", to="pixel", data=LIKES).allowed
    assert told(caplog) == []
    with (
        asked.context(facts={"consent": {ADS: False}}, purpose=ADS),
        pytest.raises(PolicyViolation),
    ):
        asked.check("x", to="pixel", data=LIKES)
    assert "is deny now, would be allow" in told(caplog)[0]


class Broken(logging.Handler):
    """A handler of the application that fails."""

    def emit(self, record: logging.LogRecord) -> None:
        if "PG207" in record.getMessage():
            raise RuntimeError("canary-4711")


def test_what_fails_while_comparing_changes_no_verdict(tmp_path: Path) -> None:
    """A handler of the log that raises, a shadow that can't answer."""
    logger, handler = logging.getLogger("policyguard"), Broken()
    logger.addHandler(handler)
    try:
        asked = beside(changed(tmp_path, STRICTER))
        assert asked.check("x", to="mailer", data=EMAIL, purpose=ACCOUNT).allowed
    finally:
        logger.removeHandler(handler)
    shadow = Shadow()
    decision = NOW.decide(EMAIL, frozenset(), ACCOUNT, "mailer", NO_FACTS)
    shadow.compare(None, decision, NO_FACTS)  # type: ignore[arg-type]  # what can't happen
    assert shadow.differences() == {}


def test_memory_is_bounded(tmp_path: Path) -> None:
    """However many different flows there are."""
    shadow, other = Shadow(), changed(tmp_path, LOOSER)
    for number in range(10_000):
        decision = NOW.decide(f"{LIKES}.x{number}", frozenset(), ADS, "pixel", NO_FACTS)
        shadow.compare(other, decision, NO_FACTS)
    assert 0 < len(shadow.differences()) <= 4096


def test_threads_lose_no_count(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Told once, counted exactly."""
    asked = beside(changed(tmp_path, STRICTER))

    def work() -> None:
        for _ in range(200):
            asked.check("x", to="mailer", data=EMAIL, purpose=ACCOUNT)

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert list(asked.differences().values()) == [800]
    assert len(told(caplog)) == 1
