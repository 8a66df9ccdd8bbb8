"""A reviewed exception lets a denied flow pass until its last day, and never in silence."""

from __future__ import annotations

from datetime import date
from pathlib import Path

import pytest

from policyguard import PolicyViolation
from policyguard.config import Guard
from policyguard.enforce.inforce import InForce
from policyguard.enforce.modes import Enforcement, Match, Modes
from policyguard.enforce.ports import Mode
from policyguard.enforce.waivers import Waiver, Waivers
from policyguard.engine.compile import compile_policy
from policyguard.policy.assemble import load_policy
from tests.enforce.kit import ACCOUNT, ADS, EMAIL, LIKES, POLICY, Memory, counts

SNAPSHOT = compile_policy(load_policy(POLICY))
TODAY = date(2027, 6, 30)
MAILS = Match(recipient="pixel", data=EMAIL)


def waiver(match: Match = MAILS, expires: date = TODAY) -> Waiver:
    """An exception for addresses that go to the pixel."""
    return Waiver(match, "Ada, ads team", "the old pixel is replaced in July", expires)


def held(*waivers: Waiver, modes: Modes | None = None, memory: Memory | None = None) -> Guard:
    """A guard with these waivers, on a fixed day."""
    made = Guard(SNAPSHOT, modes=modes or Modes(), reporters=[memory] if memory else [])
    made.in_force = made.in_force.but(waivers=Waivers(waivers, today=lambda: TODAY))
    return made


def passes(asked: Guard, data: str = EMAIL, to: str = "pixel", purpose: str = ADS) -> bool:
    """Whether a denied flow passes."""
    try:
        return not asked.check("x", to=to, data=data, purpose=purpose).allowed
    except PolicyViolation:
        return False


def test_a_waived_flow_passes_is_reported_and_counted() -> None:
    """The report names who answers for it, and why; the decision is still a denial."""
    memory = Memory()
    asked = held(waiver(), memory=memory)
    assert passes(asked)
    (record,) = memory.records
    assert (record.effect, record.decision.verdict) == ("waived", "deny")
    assert "PG201 waived: " in record.message
    said = "waived until 2027-06-30 by Ada, ads team: the old pixel is replaced in July"
    assert f"because: {said}" in record.message
    assert counts(asked) == {("waived", "pixel", "flag"): 1}


def test_the_last_day_counts_and_the_next_does_not(caplog: pytest.LogCaptureFixture) -> None:
    """In UTC, whole days."""
    for expires, through in ((TODAY, True), (date(2027, 6, 29), False), (date(2027, 7, 1), True)):
        assert passes(held(waiver(expires=expires))) is through
    assert caplog.text.count("PG206") == 1


def test_by_default_the_day_is_that_of_utc() -> None:
    """What ended long ago is over, and what ends in a far future isn't."""
    old, new = waiver(expires=date(2020, 1, 1)), waiver(expires=date(9999, 12, 31))
    assert Waivers([old, new]).expired() == [old]


# fmt: off
ABOUT: dict[str, tuple[Match, bool]] = {
    "the recipient":       (Match(recipient="pixel"),                    True),
    "another recipient":   (Match(recipient="mailer"),                   False),
    "data above":          (Match(data="user.contact"),                  True),
    "other data":          (Match(data="user.name"),                     False),
    "a purpose above":     (Match(purpose="marketing"),                  True),
    "another purpose":     (Match(purpose=ACCOUNT),                      False),
    "a rule":              (Match(rule="encrypted-only"),                False),
    "all at once":         (Match(recipient="pixel", data=EMAIL, at="call"), True),
    "all but the place":   (Match(recipient="pixel", data=EMAIL, at="sql"),  False),
    "the route":           (Match(recipient="pixel", route="POST /ads"), True),
    "another route":       (Match(recipient="pixel", route="GET /ads"),  False),
}
# fmt: on


@pytest.mark.parametrize(("match", "through"), ABOUT.values(), ids=ABOUT)
def test_only_the_flows_that_it_names_pass(match: Match, through: bool) -> None:
    """Each key narrows."""
    asked = held(waiver(match))
    with asked.context(route="POST /ads"):
        assert passes(asked) is through


def test_a_forbid_can_be_waived_by_its_rule() -> None:
    """And what the same rule doesn't forbid stays as it was."""
    asked = held(waiver(Match(rule="encrypted-only")))
    with asked.context(facts={"transport": "http"}):
        assert passes(asked, to="mailer", purpose=ACCOUNT)
    assert not passes(asked)


def test_other_flows_of_the_same_call_are_still_stopped() -> None:
    """A waiver for one label isn't one for its neighbour."""
    asked = held(waiver())
    with pytest.raises(PolicyViolation) as caught:
        asked.check("x", to="pixel", data=[EMAIL, "user.name"], purpose=ADS)
    assert caught.value.decision.flow.data == "user.name"
    assert caught.value.also == ()


def test_an_expired_one_leaves_room_for_the_next() -> None:
    """The first in force counts, wherever it stands."""
    memory = Memory()
    asked = held(waiver(expires=date(2027, 1, 1)), waiver(), memory=memory)
    assert passes(asked)
    assert memory.records[0].effect == "waived"


def test_an_expired_waiver_is_an_error_in_the_log_once(caplog: pytest.LogCaptureFixture) -> None:
    """At the start, and not again for each flow that it no longer lets pass."""
    asked = held()
    over = Waivers([waiver(expires=date(2027, 6, 1))], today=lambda: TODAY)
    asked.swap(InForce(SNAPSHOT, waivers=over))
    for _ in range(3):
        assert not passes(asked)
    (record,) = [one for one in caplog.records if "PG206" in one.getMessage()]
    assert record.levelname == "ERROR"
    said = (
        "expired on 2027-06-01 and counts as absent: recipient `pixel`, data `user.contact.email`"
    )
    assert said in record.getMessage()
    assert "Ada, ads team" in record.getMessage()


def test_one_that_expires_while_the_program_runs_is_told_then(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """The first flow that it would have let pass is stopped, and the log says why."""
    days = iter([TODAY, TODAY, date(2027, 7, 1), date(2027, 7, 1)])
    asked = held()
    asked.swap(InForce(SNAPSHOT, waivers=Waivers([waiver()], today=lambda: next(days))))
    assert passes(asked)
    assert "PG206" not in caplog.text
    assert not passes(asked)
    assert not passes(asked)
    assert caplog.text.count("PG206") == 1


def test_a_clock_that_fails_means_expired(caplog: pytest.LogCaptureFixture) -> None:
    """Without a day nothing is known to be in force, and the program goes on."""

    def broken() -> date:
        raise OSError("a clock with canary-4711")

    asked = held()
    asked.swap(InForce(SNAPSHOT, waivers=Waivers([waiver()], today=broken)))
    assert not passes(asked)
    assert caplog.text.count("PG206") == 1
    assert "canary" not in caplog.text


@pytest.mark.parametrize(
    ("floor", "through"), [("flag", True), ("redact", False), ("block", False)]
)
def test_no_waiver_goes_below_the_policys_floor(tmp_path: Path, floor: str, through: bool) -> None:
    """Where the policy itself says that flows are stopped, a configuration can't let them pass."""
    file = tmp_path / "policy.yaml"
    file.write_text(f"{POLICY.read_text()}\nat_least: {floor}\n")
    policy = load_policy(file)
    made = Guard(compile_policy(policy), modes=Modes(floor=policy.at_least))
    made.in_force = made.in_force.but(waivers=Waivers([waiver()], today=lambda: TODAY))
    assert passes(made) is through


@pytest.mark.parametrize(("mode", "effect"), [("flag", "flagged"), ("off", "ignored")])
def test_what_passes_anyway_is_not_called_waived(mode: Mode, effect: str) -> None:
    """A waiver changes nothing where nothing is stopped, so the counts tell when it is needed."""
    asked = held(waiver(), modes=Modes(mode))
    assert passes(asked)
    assert [key[0] for key in counts(asked)] == [effect]


def test_a_waiver_comes_before_redaction() -> None:
    """What was to be redacted passes whole, because somebody answers for it."""
    memory = Memory()
    asked = held(waiver(), modes=Modes("redact"), memory=memory)
    sent: list[str] = []

    @asked.sink("pixel")
    def send(event: str) -> None:
        sent.append(event)

    with asked.purpose(ADS):
        asked.remember("anna.schmidt@mail.example.org", asked.label(EMAIL))
        send("anna.schmidt@mail.example.org")
    assert sent == ["anna.schmidt@mail.example.org"]
    assert memory.records[0].effect == "waived"


def test_what_is_conditional_can_be_waived() -> None:
    """A doubt is denied like the rest, and so excepted like the rest."""
    assert not passes(held(), data=LIKES)
    assert passes(held(waiver(Match(data=LIKES))), data=LIKES)


def test_an_entry_that_blocks_gives_way_to_a_waiver() -> None:
    """Entries are the rule, waivers the exception."""
    modes = Modes("flag", (Enforcement(Match(kind="ad_pixel"), "block"),))
    assert passes(held(waiver(), modes=modes))
    assert not passes(held(modes=modes))
