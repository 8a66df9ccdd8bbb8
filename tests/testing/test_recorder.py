"""Recorders show every judged flow, and the assertions say what was seen and where."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

import policyguard.testing
from policyguard import PolicyViolation, TermError
from policyguard.config import Guard
from policyguard.testing import (
    Recorder,
    Seen,
    assert_flow,
    assert_no_flows,
    assert_none_left,
    assert_only_flows,
    recorder,
    recording,
)
from tests.enforce.kit import ACCOUNT, ADDRESS, ADS, COUNTING, EMAIL, FACE, LIKES, guard

HERE = "test_recorder.py:"


@pytest.fixture
def seen() -> Iterator[Recorder]:
    """What a guard in mode flag judged: one flow allowed, two flagged, one outside by doubt."""
    made = guard("flag")
    with recording(made) as found:
        with made.purpose(ACCOUNT):
            made.check(ADDRESS, to="mailer", data=EMAIL)
        with made.purpose(ADS):
            for _ in range(2):
                made.check("x", to="pixel", data=FACE)
            made.check("x", to="self", data=FACE)
        yield found


def test_the_public_names_are_exactly_these() -> None:
    """What users import."""
    assert sorted(policyguard.testing.__all__) == dir(policyguard.testing)
    for name in policyguard.testing.__all__:
        assert getattr(policyguard.testing, name).__module__.startswith("policyguard.testing.")
    with pytest.raises(AttributeError):
        policyguard.testing.nothing  # noqa: B018 - what is refused


def test_every_judged_flow_is_seen_with_its_places(seen: Recorder) -> None:
    """Allowed ones too; in order; names only."""
    first, second, *_ = seen.flows
    assert len(seen.flows) == 4
    assert (first.data, first.recipient, first.purpose) == (EMAIL, "mailer", ACCOUNT)
    assert (first.verdict, first.reason, first.effect) == ("allow", "permitted", "allowed")
    assert (first.kind, first.at, first.form) == ("processor", "call", frozenset())
    assert HERE in first.sent_at
    assert (second.verdict, second.reason, second.effect) == ("deny", "not_covered", "flagged")
    assert seen.denied == seen.flows[1:]
    assert ADDRESS not in repr(seen.flows)
    seen.clear()
    assert not seen.flows


def test_a_sink_whose_answer_is_remembered_is_seen_every_time() -> None:
    """Before, while and after a recording the verdicts are the same."""
    made = guard()

    @made.sink("mailer", data=EMAIL)
    def send(text: str) -> str:
        return text

    with made.purpose(ACCOUNT):
        for _ in range(3):
            send("x")
        with recording(made) as found:
            for _ in range(3):
                send("x")
        send("x")
    assert [one.effect for one in found.flows] == ["allowed"] * 3


# fmt: off
EFFECTS = {
    # mode      what becomes of it   left
    "block":   ("blocked",           False),
    "flag":    ("flagged",           True),
    "off":     ("ignored",           True),
}
# fmt: on


@pytest.mark.parametrize(("mode", "effect", "left"), [(k, *v) for k, v in EFFECTS.items()])
def test_what_became_of_a_denied_flow_is_seen(mode: str, effect: str, left: bool) -> None:
    """Blocked, flagged or ignored; only what passed left."""
    made = guard(mode)
    with recording(made) as found, made.purpose(ADS):
        try:
            made.check("x", to="pixel", data=FACE)
        except PolicyViolation:
            assert mode == "block"
    assert [(one.effect, one.left) for one in found.flows] == [(effect, left)]


def test_many_flows_of_one_check_are_told_apart() -> None:
    """Each has its own verdict and effect."""
    made = guard("flag")
    with recording(made) as found, made.purpose(ACCOUNT):
        made.check("x", to="mailer", data=[EMAIL, FACE, LIKES])
    effects = {one.data: one.effect for one in found.flows}
    assert effects == {EMAIL: "allowed", FACE: "flagged", LIKES: "flagged"}


def test_flows_of_threads_and_tasks_are_seen() -> None:
    """A recorder belongs to a guard, not to a thread."""
    made = guard("flag")

    def check(number: int) -> None:
        with made.purpose(ADS if number % 2 else ACCOUNT):
            made.check("x", to="mailer", data=EMAIL)

    async def tasks() -> None:
        await asyncio.gather(*(asyncio.to_thread(check, n) for n in range(20)))

    with recording(made) as found:
        with ThreadPoolExecutor(4) as pool:
            list(pool.map(check, range(20)))
        asyncio.run(tasks())
    assert len(found.flows) == 40
    assert {one.effect for one in found.denied} == {"flagged"}
    assert len(found.denied) == 20


def test_recorders_may_overlap_and_leave_nothing_behind() -> None:
    """Each has its own flows; after the last the guard is as it was."""
    made = guard("flag")
    watchers, reporters = made.watchers, made.reporters
    one, two = Recorder(made), Recorder(made)
    one.start()
    made.check("x", to="mailer", data=EMAIL)
    two.start()
    made.check("x", to="mailer", data=EMAIL)
    one.stop()
    made.check("x", to="mailer", data=EMAIL)
    two.stop()
    made.check("x", to="mailer", data=EMAIL)
    assert (len(one.flows), len(two.flows)) == (2, 2)
    assert (made.watchers, made.reporters) == (watchers, reporters)


def test_a_recorder_that_lost_flows_proves_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """No assertion holds on it, not even that nothing was seen."""
    monkeypatch.setattr(recorder, "_MOST", 2)
    made = guard("flag")
    with recording(made) as found:
        for _ in range(3):
            made.check("x", to="mailer", data=EMAIL)
    for call in (
        lambda: assert_no_flows(found, data=FACE),
        lambda: assert_none_left(found, data=FACE),
        lambda: assert_only_flows(found, [(EMAIL, None, "mailer")]),
        lambda: assert_flow(found, data=EMAIL),
    ):
        with pytest.raises(AssertionError, match="full"):
            call()
    found.clear()
    assert_no_flows(found)


def told(call: Callable[..., object], *args: Any, **kwargs: Any) -> str:
    """The message of an assertion that fails."""
    with pytest.raises(AssertionError) as caught:
        call(*args, **kwargs)
    return str(caught.value)


def test_assert_flow_gives_the_first_that_fits(seen: Recorder) -> None:
    """Data and purpose stand for what is below them."""
    assert assert_flow(seen, data="user.contact", to="mailer", purpose="essential") is seen.flows[0]
    assert assert_flow(seen, kind="ad_pixel", effect="flagged").data == FACE
    assert assert_flow(seen, verdict="allow", form="raw").data == EMAIL
    assert isinstance(assert_flow(seen), Seen)


def test_assert_flow_shows_what_came_nearest(seen: Recorder) -> None:
    """What was asked, then what was seen instead, and where."""
    message = told(assert_flow, seen, data=EMAIL, to="pixel", form="pseudonymised")
    lines = message.splitlines()
    assert lines[0] == f"no flow of `{EMAIL}` in form pseudonymised to `pixel` was seen"
    assert lines[1] == "nearest:"
    assert f"  {EMAIL} to mailer, for {ACCOUNT}: allowed" in lines
    assert HERE in message
    assert lines[-1] == "recorded: 4 flows, 3 of them denied"
    seen.clear()
    assert told(assert_flow, seen).endswith("recorded: 0 flows, 0 of them denied")


def test_assert_no_flows_shows_each_once(seen: Recorder) -> None:
    """A denied flow was a flow too."""
    assert_no_flows(seen, data=LIKES)
    assert_no_flows(seen, data=EMAIL, to="pixel")
    assert_no_flows(seen, purpose=COUNTING)
    assert_no_flows(seen, kind="data_broker")
    message = told(assert_no_flows, seen, data="user.biometric", to="pixel")
    assert message.splitlines()[0] == "there must be no flow of `user.biometric` to `pixel`"
    assert f"  {FACE} to pixel, for {ADS}: flagged (not_covered) (2 times)" in message.splitlines()
    assert "mailer" not in message


def test_assert_only_flows_shows_the_others(seen: Recorder) -> None:
    """What was expected, then what else was seen."""
    expected = [(EMAIL, ACCOUNT, "mailer"), ("user.biometric", None, "self")]
    message = told(assert_only_flows, seen, expected)
    assert f"flow of `{EMAIL}` to `mailer` for `{ACCOUNT}`" in message
    assert f"{FACE} to pixel" in message
    assert f"{FACE} to self" not in message
    assert_only_flows(seen, [*expected, (FACE, "marketing", "pixel"), (LIKES, None, "counter")])
    assert "nothing" in told(assert_only_flows, seen, [])


def test_assert_none_left_counts_what_passed_to_the_outside(seen: Recorder) -> None:
    """A flagged flow left; one to ourselves didn't; data that may hold it counts as well."""
    assert_none_left(seen, data=LIKES)
    assert_none_left(seen, data=EMAIL, to="pixel")
    message = told(assert_none_left, seen, data="user.biometric")
    assert f"{FACE} to pixel" in message
    assert f"{FACE} to self" not in message
    made = guard("flag")
    with recording(made) as found, made.purpose(ADS):
        made.check("x", to="pixel", data="user")
        made.check("x", to="self")
    assert "user to pixel" in told(assert_none_left, found, data="user.biometric")
    with recording(made) as found, made.purpose(ADS):
        made.check(ADDRESS, to="pixel")
    message = told(assert_none_left, found, data="user.biometric")
    assert "data of no known category to pixel" in message
    blocking = guard()
    with recording(blocking) as found, blocking.purpose(ADS), pytest.raises(PolicyViolation):
        blocking.check("x", to="pixel", data=FACE)
    assert_none_left(found, data="user.biometric")
    assert_none_left(found)


MISSPELT = [
    lambda found: assert_no_flows(found, data="user.biometrc"),
    lambda found: assert_no_flows(found, purpose="marketing.advertisin"),
    lambda found: assert_no_flows(found, to="pixl"),
    lambda found: assert_no_flows(found, kind="ad-pixel"),
    lambda found: assert_none_left(found, data="user.biometrc"),
    lambda found: assert_none_left(found, to="pixl"),
    lambda found: assert_only_flows(found, [("user.biometrc", None, "self")]),
    lambda found: assert_flow(found, form="hashed"),
]


@pytest.mark.parametrize("call", MISSPELT)
def test_a_misspelt_word_is_an_error(call: Callable[[Recorder], None], seen: Recorder) -> None:
    """Else it would be true for ever that nothing of it was seen."""
    with pytest.raises(TermError):
        call(seen)


def test_a_host_that_nobody_declared_may_be_asked_for() -> None:
    """It is its own recipient."""
    made: Guard = guard("flag")
    with recording(made) as found:
        assert_no_flows(found, to="tracker.example")


def test_the_summary_can_be_handed_to_another_process() -> None:
    """Half a character in a word that code made up breaks no channel."""
    from policyguard.testing.summary import Denied  # noqa: PLC0415 - this test's own

    made, denied = guard("flag"), Denied()
    made.reporters = (denied,)
    try:
        made.check("x", to="nobody_\ud800", data=EMAIL, purpose=ADS)
        (line,) = denied.lines()
    finally:
        denied.end()
    assert line.encode("utf-8")
