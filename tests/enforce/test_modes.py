"""What is done about a denied flow: by whom it was said, and what counts when several speak."""

from __future__ import annotations

import os
import time
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

import pytest

from policyguard import PolicyViolation
from policyguard.config import Guard
from policyguard.enforce.context import Scope
from policyguard.enforce.modes import Enforcement, Match, Modes, Switch
from policyguard.enforce.ports import Mode
from policyguard.engine.compile import compile_policy
from policyguard.policy.assemble import load_policy
from tests.enforce.kit import (
    ACCOUNT,
    ADDRESS,
    ADS,
    EMAIL,
    FACE,
    LIKES,
    POLICY,
    Memory,
    counts,
    guard,
)

SNAPSHOT = compile_policy(load_policy(POLICY))
TODAY = date(2026, 11, 22)


def made(*entries: Enforcement, **more: Any) -> Guard:
    """A guard with these modes, on a fixed day."""
    return Guard(SNAPSHOT, modes=Modes(entries=entries, today=lambda: TODAY, **more))


def mode_of(asked: Guard, **more: Any) -> str:
    """What happens to an e-mail address on its way to the pixel."""
    given: dict[str, Any] = {"value": "x", "to": "pixel", "purpose": ADS, "data": EMAIL, **more}
    before = counts(asked)
    try:
        asked.check(given.pop("value"), **given)
    except PolicyViolation:
        return "block"
    (key,) = [key for key, n in counts(asked).items() if n != before.get(key, 0)]
    return {"flagged": "flag", "ignored": "off"}.get(key[0], key[0])


def test_block_raises_flag_passes_off_is_silent_and_all_are_counted() -> None:
    """Three modes; whatever passes is counted."""
    for mode, expected in (("block", "block"), ("flag", "flag"), ("off", "off")):
        memory = Memory()
        asked = guard(mode, memory)
        assert mode_of(asked) == expected
        assert sum(counts(asked).values()) == 1
        assert [record.effect for record in memory.records] == {
            "block": ["blocked"],
            "flag": ["flagged"],
            "off": [],
        }[mode]


# fmt: off
MATCHES: dict[str, tuple[Match, bool]] = {
    "everything":           (Match(),                               True),
    "recipient":            (Match(recipient="pixel"),              True),
    "another recipient":    (Match(recipient="mailer"),             False),
    "kind":                 (Match(kind="ad_pixel"),                True),
    "another kind":         (Match(kind="processor"),               False),
    "data":                 (Match(data=EMAIL),                     True),
    "data above":           (Match(data="user.contact"),            True),
    "data beside":          (Match(data="user.name"),               False),
    "data below":           (Match(data=f"{EMAIL}.x"),              False),
    "purpose":              (Match(purpose=ADS),                    True),
    "purpose above":        (Match(purpose="marketing"),            True),
    "another purpose":      (Match(purpose=ACCOUNT),                False),
    "reason":               (Match(reason="not_covered"),           True),
    "another reason":       (Match(reason="unmet"),                 False),
    "route":                (Match(route="POST /ads"),              True),
    "route pattern":        (Match(route="POST */*"),               True),
    "another route":        (Match(route="GET /ads"),               False),
    "place":                (Match(at="call"),                      True),
    "another place":        (Match(at="http"),                      False),
    "a rule":               (Match(rule="encrypted-only"),          False),
    "all at once":          (Match(None, "pixel", "ad_pixel", EMAIL, ADS, "not_covered"), True),
    "all but one":          (Match(None, "pixel", "processor", EMAIL, ADS), False),
}
# fmt: on


@pytest.mark.parametrize(("match", "fits"), MATCHES.values(), ids=MATCHES)
def test_an_entry_is_about_what_it_names(match: Match, fits: bool) -> None:
    """Each key narrows; what is left out matches all."""
    asked = made(Enforcement(match, "flag"))
    with asked.context(route="POST /ads"):
        assert mode_of(asked) == ("flag" if fits else "block")


def test_an_entry_matches_the_rule_that_decided() -> None:
    """A forbid is named by its id."""
    asked = made(Enforcement(Match(rule="encrypted-only"), "flag"))
    with asked.context(facts={"transport": "http"}):
        assert mode_of(asked, to="mailer", purpose=ACCOUNT) == "flag"
    assert mode_of(asked) == "block"


def test_the_first_entry_that_matches_counts() -> None:
    """Order is meaning here, and only here."""
    entries = (Enforcement(Match(data=EMAIL), "flag"), Enforcement(Match(), "off"))
    assert mode_of(made(*entries)) == "flag"
    assert mode_of(made(*reversed(entries))) == "off"


def test_an_entry_is_in_force_from_its_day() -> None:
    """Not the day before."""
    for start, expected in ((date(2026, 11, 22), "flag"), (date(2026, 11, 23), "block")):
        assert mode_of(made(Enforcement(Match(), "flag", start))) == expected


def test_a_percentage_takes_a_request_whole_or_not_at_all() -> None:
    """Every flow of one scope has the same mode, and the share is about right."""
    asked = made(Enforcement(Match(), "block", percent=30), default="flag")
    seen: list[str] = []
    for _ in range(1_000):
        with asked.purpose(ADS):
            modes = {mode_of(asked, to=to) for to in ("pixel", "counter", "public")}
            with asked.purpose(ACCOUNT):
                modes.add(mode_of(asked))
        assert len(modes) == 1
        seen += modes
    assert 220 < seen.count("block") < 380


@pytest.mark.parametrize(("mode", "expected"), [("block", "block"), ("flag", "block")])
def test_outside_any_scope_a_share_never_relaxes(mode: Mode, expected: str) -> None:
    """Nothing is a share of nothing: an entry for some applies only if it blocks."""
    assert mode_of(made(Enforcement(Match(), mode, percent=99))) == expected
    strict = made(Enforcement(Match(), "block", percent=1), default="flag")
    assert mode_of(strict) == "block"
    assert mode_of(made(Enforcement(Match(), "block", percent=0), default="flag")) == "flag"


@pytest.mark.parametrize("word", ["block", "flag", "off", "", "flagg", "FLAG", "on", "redact"])
def test_the_environment_wins_and_an_unknown_word_blocks(
    word: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """POLICYGUARD_MODE comes before the code's own mode; what it can't mean is block."""
    monkeypatch.setenv("POLICYGUARD_MODE", word)
    asked = Guard.load(POLICY, mode="off")
    assert mode_of(asked) == (word if word in {"flag", "off"} else "block")


def _floor(tmp_path: Path, mode: str) -> Path:
    file = tmp_path / "policy.yaml"
    file.write_text(f"{POLICY.read_text()}\nat_least: {mode}\n")
    return file


def test_nothing_goes_below_the_policys_floor(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Neither code, entry, switch nor environment."""
    policy = load_policy(_floor(tmp_path, "flag"))
    snapshot = compile_policy(policy)
    switch = tmp_path / "switch"
    switch.write_text("off")
    for modes in (
        Modes(default="off", floor=policy.at_least),
        Modes(entries=(Enforcement(Match(), "off"),), floor=policy.at_least),
        Modes(switch=Switch(switch), floor=policy.at_least),
        Modes(override="off", floor=policy.at_least),
    ):
        assert mode_of(Guard(snapshot, modes=modes)) == "flag"
    monkeypatch.setenv("POLICYGUARD_MODE", "off")
    assert mode_of(Guard.load(_floor(tmp_path, "block"))) == "block"


def test_weak_evidence_is_flagged_by_default_and_blocked_on_request() -> None:
    """A part of a longer text is a hint; an entry can make it count."""
    for entries, expected in (((), "flag"), ((Enforcement(Match(), "block"),), "block")):
        asked = made(*entries)
        with asked.purpose(ADS):
            asked.remember("Anneliese", asked.label("user.name"))
            assert asked.labels_in("dear Anneliese, hello")[0].strength == "weak"  # type: ignore[attr-defined]  # named tuples
            value = {"text": "dear Anneliese, hello"}

            @asked.sink("pixel")
            def send(event: object) -> str:
                return "sent"

            if expected == "flag":
                assert send(value) == "sent"
            else:
                with pytest.raises(PolicyViolation):
                    send(value)


# The switch file.


def settled(switch: Switch, wanted: Mode | None) -> bool:
    """Whether the switch says so within a second."""
    end = time.monotonic() + 1
    while time.monotonic() < end:
        if switch.mode() == wanted:
            return True
        time.sleep(0.02)
    return switch.mode() == wanted


def test_a_switch_takes_effect_within_a_second_and_back(tmp_path: Path) -> None:
    """Written, changed, removed: each counts at once or nearly."""
    file = tmp_path / "switch"
    switch = Switch(file)
    asked = made(switch=switch, default="flag")
    assert mode_of(asked) == "flag"
    file.write_text("block\n")
    assert settled(switch, "block")
    assert mode_of(asked) == "block"
    file.write_text("off")
    assert settled(switch, "off")
    assert mode_of(asked) == "off"
    file.unlink()
    assert settled(switch, None)
    assert mode_of(asked) == "flag"


@pytest.mark.parametrize(
    "content", [b"", b"flagg", b"flag off", b"\xff\xfe", b"FLAG", b"\0", b"flag" + b" " * 80 + b"x"]
)
def test_garbage_in_the_switch_means_block(tmp_path: Path, content: bytes) -> None:
    """A word that is no mode can't relax anything."""
    file = tmp_path / "switch"
    file.write_bytes(content)
    expected = "flag" if content.startswith(b"flag ") and len(content) > 64 else "block"
    assert mode_of(made(switch=Switch(file), default="off")) == expected


def test_what_is_no_file_means_block(tmp_path: Path) -> None:
    """A folder, a pipe, a device, a file below a file: none makes us wait, none relaxes."""
    pipe, plain = tmp_path / "pipe", tmp_path / "plain"
    os.mkfifo(pipe)
    plain.write_text("off")
    loop = tmp_path / "loop"
    loop.symlink_to(loop)
    for path in (tmp_path, pipe, Path("/dev/zero"), plain / "below", Path("a\0b"), loop):
        assert Switch(path).mode() == "block", path
        assert mode_of(made(switch=Switch(path), default="off")) == "block"


def test_the_environment_comes_before_the_switch(tmp_path: Path) -> None:
    """POLICYGUARD_MODE wins."""
    file = tmp_path / "switch"
    file.write_text("off")
    assert mode_of(made(switch=Switch(file), override="block")) == "block"


def test_a_clock_that_fails_blocks() -> None:
    """Without a day no entry is known to be in force."""

    def broken() -> date:
        raise OverflowError

    asked = Guard(SNAPSHOT, modes=Modes("off", (Enforcement(Match(), "off"),), today=broken))
    assert mode_of(asked) == "block"


def test_the_clock_is_the_day_in_utc() -> None:
    """By default today is today."""
    assert Modes().today() == datetime.now(UTC).date()


def test_a_scope_is_drawn_once() -> None:
    """Nested scopes share the number that a percentage looks at."""
    outer = Scope(None, None)
    assert Scope(outer, None).id == outer.id


def test_conditional_follows_the_mode_too() -> None:
    """What hangs on an unknown fact is denied like the rest."""
    assert mode_of(made(), data=LIKES) == "block"
    assert mode_of(made(default="flag"), data=FACE) == "flag"


# Redact.


def sending(asked: Guard, *, data: str | tuple[str, ...] = ()) -> tuple[Any, list[object]]:
    """A sink to the pixel, and what arrived there."""
    arrived: list[object] = []

    @asked.sink("pixel", data=data)
    def send(event: object) -> None:
        arrived.append(event)

    return send, arrived


# fmt: off
BY: dict[str, Match] = {
    "recipient": Match(recipient="pixel"),  "kind":   Match(kind="ad_pixel"),
    "data":      Match(data="user"),        "reason": Match(reason="not_covered"),
    "purpose":   Match(purpose=ADS),        "place":  Match(at="call"),
    "route":     Match(route="POST /*"),    "all":    Match(),
}
# fmt: on


@pytest.mark.parametrize("match", BY.values(), ids=BY)
@pytest.mark.parametrize("mode", ["block", "redact", "flag", "off"])
def test_every_mode_by_every_key(match: Match, mode: Mode) -> None:
    """What arrives is nothing, a placeholder, or the value; what is allowed is left alone."""
    memory = Memory()
    entries = (Enforcement(match, mode),)
    modes = Modes("off" if mode == "block" else "block", entries, today=lambda: TODAY)
    asked = Guard(SNAPSHOT, modes=modes, reporters=[memory])
    send, arrived = sending(asked)
    event = {"who": ADDRESS, "page": "/shoes"}
    with asked.context(route="POST /ads", purpose=ADS):
        asked.remember(ADDRESS, asked.label(EMAIL))
        if mode == "block":
            with pytest.raises(PolicyViolation):
                send(event)
        else:
            send(event)
    redacted = {"who": "[redacted]", "page": "/shoes"}
    assert arrived == {"block": [], "redact": [redacted]}.get(mode, [event])
    effect = {"block": "deny", "redact": "redacted", "flag": "flagged", "off": "ignored"}[mode]
    assert counts(asked) == {(effect, "pixel", mode): 1}
    assert event == {"who": ADDRESS, "page": "/shoes"}
    assert [record.mode for record in memory.records] == ([] if mode == "off" else [mode])


def test_redact_blocks_where_nothing_can_be_taken_out() -> None:
    """A value that is only looked at, what is declared for a whole call, what orders rows."""
    asked = Guard(SNAPSHOT, data_map=guard().data_map, modes=Modes("redact"))
    send, arrived = sending(asked, data=EMAIL)
    with asked.purpose(ADS):
        with pytest.raises(PolicyViolation):
            asked.check("x", to="pixel", data=EMAIL)
        with pytest.raises(PolicyViolation):
            send("x")
        with pytest.raises(PolicyViolation):
            asked.sql("SELECT user_id FROM faces ORDER BY embedding", dialect="postgres")
    assert arrived == []
    assert {key[0] for key in counts(asked)} == {"deny"}


def test_what_cannot_be_read_is_blocked_and_not_redacted() -> None:
    """Nobody can tell where in it the denied part is."""
    asked = Guard(SNAPSHOT, modes=Modes("redact"))
    send, arrived = sending(asked)
    with asked.purpose(ADS):
        asked.remember(ADDRESS, asked.label(EMAIL))
        deep: list[object] = [ADDRESS]
        for _ in range(500):
            deep = [deep]
        with pytest.raises(PolicyViolation):
            send(deep)
    assert arrived == []


def test_beside_a_flow_that_is_blocked_nothing_is_redacted() -> None:
    """The call doesn't happen, so nothing is said to have left redacted."""
    memory = Memory()
    entries = (Enforcement(Match(data="user.name"), "block"),)
    asked = Guard(SNAPSHOT, modes=Modes("redact", entries, today=lambda: TODAY), reporters=[memory])
    send, arrived = sending(asked)
    with asked.purpose(ADS):
        asked.remember(ADDRESS, asked.label(EMAIL))
        asked.remember("Wilhelmina von Hohenfels-Prachtburg", asked.label("user.name"))
        with pytest.raises(PolicyViolation) as caught:
            send({"who": ADDRESS, "name": "Wilhelmina von Hohenfels-Prachtburg"})
    assert arrived == []
    assert {record.effect for record in memory.records} == {"blocked"}
    assert len(caught.value.also) == 1


def test_a_floor_of_redact_lifts_flag_and_leaves_block(tmp_path: Path) -> None:
    """The policy wants denied parts taken out at least."""
    policy = load_policy(_floor(tmp_path, "redact"))
    for default, expected in (("off", 1), ("flag", 1), ("redact", 1), ("block", 0)):
        modes = Modes(default, floor=policy.at_least)  # type: ignore[arg-type]  # a table's column
        asked = Guard(compile_policy(policy), modes=modes)
        send, arrived = sending(asked)
        with asked.purpose(ADS):
            asked.remember(ADDRESS, asked.label(EMAIL))
            if expected:
                send([ADDRESS])
            else:
                with pytest.raises(PolicyViolation):
                    send([ADDRESS])
        assert arrived == [["[redacted]"]] * expected
