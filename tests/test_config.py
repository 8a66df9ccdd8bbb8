"""A configuration that can't be meant is refused, with the line and what to do."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from datetime import date
from pathlib import Path
from typing import Any

import httpx
import pytest

import policyguard
from policyguard import ConfigError, DataMapError, Guard, PluginError, PolicyError
from policyguard.config import load_config
from tests.cli.running import cli
from tests.enforce.kit import ACCOUNT, ADS, COUNTING, DATA_MAP, EMAIL, LIKES, POLICY

GOOD = f"""\
[tool.policyguard]
policy = "policy.yaml"
data_map = "data-map.yaml"
mode = "flag"
switch_file = "switch"
purpose = "{ACCOUNT}"

[tool.policyguard.routes]
"/account/*" = "{ACCOUNT}"
"POST /ads" = "{ADS}"

[[tool.policyguard.enforcement]]
match = {{ kind = "ad_pixel", data = "user" }}
mode = "block"
from = 2026-01-15
percent = 50

[[tool.policyguard.enforcement]]
match = {{ rule = "encrypted-only" }}
mode = "off"

[tool.policyguard.jobs]
"reports.*" = "{COUNTING}"

[[tool.policyguard.waivers]]
match = {{ recipient = "mailer" }}
owner = "Ada"
reason = "the newsletter moves in May"
expires = 9999-05-31

[[tool.policyguard.waivers]]
match = {{ data = "user.name" }}
owner = "Ada"
reason = "names are still in the export"
expires = 9999-05-31
"""


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A working folder with a policy and a data map, and no word in the environment."""
    shutil.copy(POLICY, tmp_path / "policy.yaml")
    shutil.copy(DATA_MAP, tmp_path / "data-map.yaml")
    monkeypatch.chdir(tmp_path)
    for name in ("POLICYGUARD_MODE", "POLICYGUARD_CONFIG", "POLICYGUARD_PURPOSE"):
        monkeypatch.delenv(name, raising=False)
    yield tmp_path
    policyguard.uninstall()


def short(text: str) -> str:
    """The same in a policyguard.toml, where the table's name is left out."""
    return text.replace("[tool.policyguard]\n", "").replace("tool.policyguard.", "")


@pytest.mark.parametrize("name", ["pyproject.toml", "policyguard.toml"])
def test_both_files_mean_the_same(home: Path, name: str) -> None:
    """A table in pyproject.toml, or a file of its own."""
    (home / name).write_text(short(GOOD) if name == "policyguard.toml" else GOOD)
    loaded = load_config()
    assert (loaded.settings.mode, loaded.settings.purpose) == ("flag", ACCOUNT)
    assert loaded.routes.purpose("POST", "/ads") == ADS
    first, second = loaded.modes().entries
    assert (first.mode, first.start, first.percent) == ("block", date(2026, 1, 15), 50)
    assert (second.match.rule, second.percent, second.start) == ("encrypted-only", 100, None)
    assert loaded.data_map is not None


def test_the_nearest_file_above_counts(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A pyproject.toml that says nothing about us, or nothing at all, is passed over."""
    (home / "pyproject.toml").write_text(GOOD)
    deep = home / "a" / "b"
    deep.mkdir(parents=True)
    (home / "a" / "pyproject.toml").write_text("[tool.other]\n")
    (deep / "pyproject.toml").write_text("tool = [not TOML")
    monkeypatch.chdir(deep)
    assert load_config().file == home / "pyproject.toml"
    (home / "other.toml").write_text(short(GOOD).replace('"flag"', '"off"'))
    monkeypatch.setenv("POLICYGUARD_CONFIG", str(home / "other.toml"))
    assert load_config().settings.mode == "off"


# What is wrong; the text to replace and by what; line, code, and parts of message and hint.
MISTAKES: dict[str, tuple[str, str, int, str, str, str]] = {
    "no TOML": ('mode = "flag"', "mode = flag", 4, "PG502", "not valid TOML", ""),
    "twice": ('mode = "flag"', 'policy = "b"', 4, "PG502", "not valid TOML", ""),
    "digits": ('mode = "flag"', "mode = " + "1" * 5000, 1, "PG502", "not valid TOML", ""),
    "nested too deep": ('mode = "flag"', "mode = " + "[" * 9999, 1, "PG502", "not valid TOML", ""),
    "no table": ("[tool.policyguard]\n", "[tool.other]\n", 0, "PG50", "", ""),
    "table is text": (GOOD, 'tool.policyguard = "x"', 1, "PG505", "not a table", ""),
    "tool is text": (GOOD, 'tool = "x"', 1, "PG501", "no [tool.policyguard]", ""),
    "empty": (GOOD, "", 1, "PG501", "no [tool.policyguard]", ""),
    "no policy": ('policy = "policy.yaml"\n', "", 1, "PG505", "`policy` is missing", ""),
    "misspelt key": ("mode =", "mod =", 4, "PG505", "unknown key `mod`", "`mode`"),
    "stray key": ("mode =", "zzz =", 4, "PG505", "unknown key `zzz`", ""),
    "unknown mode": ('"flag"', '"flagg"', 4, "PG505", "`mode`", "`block`, `redact`, `flag` or"),
    "mode a number": ('"flag"', "1", 4, "PG505", "`mode`", "`block`"),
    "policy a number": ('"policy.yaml"', "7", 2, "PG505", "`policy`", "text in quotes"),
    "switch a list": ('"switch"', "[]", 5, "PG505", "`switch_file`", "text"),
    "telemetry text": (
        'mode = "flag"',
        'telemetry = "on"',
        4,
        "PG505",
        "`telemetry`",
        "true or false",
    ),
    "plugins text": ('mode = "flag"', 'plugins = "httpx"', 4, "PG505", "`plugins`", "a list"),
    "plugin a number": ('mode = "flag"', "plugins = [7]", 4, "PG505", "`plugins`", "text"),
    "unknown purpose": (
        f'purpose = "{ACCOUNT}"',
        'purpose = "essential.service.acount"',
        6,
        "PG504",
        "unknown purpose",
        ACCOUNT,
    ),
    "route's purpose": (
        f'"POST /ads" = "{ADS}"',
        '"POST /ads" = "marketing.advertisin"',
        10,
        "PG504",
        "unknown purpose",
        ADS,
    ),
    "purpose a number": (
        f'"POST /ads" = "{ADS}"',
        '"POST /ads" = 7',
        10,
        "PG505",
        "`POST /ads`",
        "text",
    ),
    "bad method": ('"POST /ads"', '"PSOT /ads"', 10, "PG503", "unknown method", "POST /images"),
    "no path": ('"POST /ads"', '"POST ads"', 10, "PG503", "starts with `/`", ""),
    "half a star": ('"/account/*"', '"/account*"', 9, "PG503", "whole segment", ""),
    "unknown recipient": (
        'kind = "ad_pixel"',
        'recipient = "pixl"',
        13,
        "PG504",
        "unknown recipient",
        "`pixel`",
    ),
    "unknown rule": (
        '"encrypted-only"',
        '"encryptd-only"',
        19,
        "PG504",
        "unknown rule",
        "encrypted-only",
    ),
    "unknown data": ('data = "user"', 'data = "usr"', 13, "PG504", "unknown data category", ""),
    "unknown kind": ('"ad_pixel"', '"adpixel"', 13, "PG505", "`kind`", "`ad_pixel`"),
    "unknown reason": (
        'kind = "ad_pixel"',
        'reason = "no"',
        13,
        "PG505",
        "`reason`",
        "`cannot_tell`",
    ),
    "unknown place": ('kind = "ad_pixel"', 'at = "mail"', 13, "PG505", "`at`", "`http`"),
    "misspelt match": ("{ kind =", "{ kinds =", 13, "PG505", "unknown key `kinds`", "`kind`"),
    "match is text": (
        'match = { rule = "encrypted-only" }',
        'match = "x"',
        19,
        "PG505",
        "`match`",
        "a table",
    ),
    "match is missing": (
        'match = { rule = "encrypted-only" }',
        "",
        18,
        "PG505",
        "`match` is missing",
        "",
    ),
    "entry's mode": ('mode = "off"', 'mode = "of"', 20, "PG505", "`mode`", "`off`"),
    "too much": ("percent = 50", "percent = 101", 16, "PG505", "`percent`", "0 to 100"),
    "less than nothing": ("percent = 50", "percent = -1", 16, "PG505", "`percent`", "0 to 100"),
    "half a percent": ("percent = 50", "percent = 0.5", 16, "PG505", "`percent`", "whole number"),
    "no day": ("2026-01-15", '"soon"', 15, "PG505", "`from`", "2027-01-15"),
    "no such day": ("2026-01-15", "2026-02-30", 15, "PG502", "not valid TOML", ""),
    "job's purpose": (f'"{COUNTING}"', '"analytics.reportin"', 23, "PG504", "purpose", COUNTING),
    "job a number": (f'"{COUNTING}"', "7", 23, "PG505", "`reports.*`", "text"),
    "waiver's owner": (
        'owner = "Ada"\nreason = "names',
        'reason = "names',
        31,
        "PG505",
        "`owner` is missing",
        "",
    ),
    "no owner": ('owner = "Ada"', 'owner = ""', 27, "PG505", "`owner`", "some text"),
    "blank reason": ('"the newsletter moves in May"', '"  "', 28, "PG505", "`reason`", "some text"),
    "no end": (
        'in May"\nexpires = 9999-05-31',
        'in May"',
        25,
        "PG505",
        "`expires` is missing",
        "",
    ),
    "end no day": (
        'in May"\nexpires = 9999-05-31',
        'in May"\nexpires = "never"',
        29,
        "PG505",
        "`expires`",
        "a day",
    ),
    "waives all": ('{ data = "user.name" }', "{ }", 31, "PG505", "far too much", "at least a rule"),
    "waives a kind": (
        '{ data = "user.name" }',
        '{ kind = "ad_pixel", at = "http" }',
        31,
        "PG505",
        "far too much",
        "at least a rule",
    ),
    "waives a typo": ('"mailer"', '"mailr"', 26, "PG504", "unknown recipient", "`mailer`"),
    "waiver's key": (
        'owner = "Ada"',
        'owner = "Ada"\nonwer = "Ada"',
        28,
        "PG505",
        "`onwer`",
        "`owner`",
    ),
    "on_block": ('mode = "flag"', 'on_block = "451"', 4, "PG505", "`on_block`", "`respond`"),
    "reload text": ('mode = "flag"', 'reload = "yes"', 4, "PG505", "`reload`", "true or false"),
    "shadow a list": ('mode = "flag"', "shadow = []", 4, "PG505", "`shadow`", "text"),
}


@pytest.mark.parametrize("mistake", MISTAKES.values(), ids=MISTAKES)
def test_every_mistake_is_one_clear_problem(
    home: Path, mistake: tuple[str, str, int, str, str, str]
) -> None:
    """File, line, code, what is wrong and, where one is near, what was meant."""
    old, new, line, code, message, hint = mistake
    assert old in GOOD
    file = home / "pyproject.toml"
    file.write_text(GOOD.replace(old, new, 1))
    with pytest.raises(ConfigError) as caught:
        load_config(file)
    (problem,) = caught.value.problems
    assert problem.code.startswith(code)
    assert message in problem.message
    assert hint in problem.hint
    assert problem.file == str(file)
    assert line in {0, problem.line}
    assert str(caught.value).startswith(f"{file}:{problem.line}:")


def test_all_problems_come_in_one_run(home: Path) -> None:
    """A route that can't be read doesn't hide a word that nobody knows."""
    text = GOOD.replace('"POST /ads"', '"PSOT /ads"').replace("encrypted-only", "encryptd")
    text = text.replace(f'purpose = "{ACCOUNT}"', 'purpose = "nothing.like.it"')
    (home / "pyproject.toml").write_text(text)
    with pytest.raises(ConfigError) as caught:
        load_config()
    assert [problem.line for problem in caught.value.problems] == [6, 10, 19]
    text = GOOD.replace("mode =", "mod =").replace("percent = 50", "percent = 500")
    (home / "pyproject.toml").write_text(text)
    with pytest.raises(ConfigError) as caught:
        load_config()
    assert {problem.line for problem in caught.value.problems} >= {4, 14, 16, 20}


@pytest.mark.parametrize("name", ["nowhere.toml", ".", "plain/below", "latin.toml"])
def test_a_file_that_cannot_be_read_is_one_problem(home: Path, name: str) -> None:
    """Missing, a folder, no text: refused, and named."""
    (home / "plain").write_text("")
    (home / "latin.toml").write_bytes(b'policy = "\xe9"')
    with pytest.raises(ConfigError) as caught:
        load_config(home / name)
    (problem,) = caught.value.problems
    assert (problem.code, problem.file) == ("PG501", str(home / name))


def test_no_configuration_anywhere_refuses_to_start(home: Path) -> None:
    """And says how to get one."""
    with pytest.raises(ConfigError) as caught:
        policyguard.install()
    assert "policyguard init" in str(caught.value)


def test_without_its_policy_nothing_starts(home: Path) -> None:
    """A missing or broken policy or data map: every problem with its place, nothing hooked."""
    (home / "pyproject.toml").write_text(GOOD)
    (home / "policy.yaml").unlink()
    with pytest.raises(PolicyError) as caught:
        policyguard.install()
    assert caught.value.problems[0].file == "policy.yaml"
    (home / "policy.yaml").write_text(
        POLICY.read_text().replace("to: [pixel]", "to: [pixl]").replace("aggregated", "agregated")
    )
    with pytest.raises(PolicyError) as caught:
        policyguard.install()
    assert len([p for p in caught.value.problems if p.severity == "error"]) >= 3
    assert all(p.file == "policy.yaml" and p.line for p in caught.value.problems)
    shutil.copy(POLICY, home / "policy.yaml")
    (home / "data-map.yaml").write_text("tables: {users: {columns: {email: user.contact.emial}}}")
    with pytest.raises(DataMapError) as caught_map:
        policyguard.install()
    assert caught_map.value.problems[0].file == "data-map.yaml"
    shutil.copy(DATA_MAP, home / "data-map.yaml")
    policyguard.install()


def test_there_is_one_guard_for_a_process(home: Path) -> None:
    """A second install is refused until the first is undone."""
    (home / "pyproject.toml").write_text(GOOD)
    policyguard.install()
    with pytest.raises(PluginError):
        policyguard.install()
    policyguard.uninstall()
    policyguard.uninstall()
    policyguard.install()


def test_a_plugin_that_fails_leaves_nothing_installed(home: Path) -> None:
    """The guard of the process is made only when all its hooks stand."""
    (home / "pyproject.toml").write_text(
        GOOD.replace('mode = "flag"', 'mode = "flag"\nplugins = ["httpx", "htpx"]')
    )
    before = httpx.Client.__dict__["_send_single_request"]
    with pytest.raises(PluginError) as caught:
        policyguard.install()
    assert "did you mean `httpx`?" in str(caught.value)
    assert httpx.Client.__dict__["_send_single_request"] is before
    (home / "pyproject.toml").write_text(GOOD)
    policyguard.install()


def test_purpose_of_the_job(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """POLICYGUARD_PURPOSE comes before the file's, both after code and route."""
    (home / "pyproject.toml").write_text(GOOD)
    assert Guard.from_config().current_purpose() == ACCOUNT
    monkeypatch.setenv("POLICYGUARD_PURPOSE", ADS)
    made = Guard.from_config()
    assert made.current_purpose() == ADS
    with made.purpose(ACCOUNT):
        assert made.check("x", to="mailer", data=EMAIL).allowed


def test_effective_says_what_counts_in_the_end(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Plain data: mode and where it comes from, floor, routes in their order, entries."""
    (home / "pyproject.toml").write_text(GOOD)
    (home / "policy.yaml").write_text(f"{POLICY.read_text()}\nat_least: flag\n")
    told: dict[str, Any] = load_config().effective()
    assert json.loads(json.dumps(told)) == told
    assert told["schema"].startswith("policyguard.config/")
    assert (told["mode"], told["mode_from"], told["at_least"]) == ("flag", "configuration", "flag")
    assert {"route": "POST /ads", "purpose": ADS} in told["routes"]
    assert told["enforcement"][0] == {
        "match": {"kind": "ad_pixel", "data": "user"},
        "mode": "block",
        "from": "2026-01-15",
        "percent": 50,
    }


def test_effective_names_the_mode_that_counts_and_what_says_so(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The environment before the switch before the file, and the policy's floor under all."""

    def told() -> tuple[str, str]:
        found = load_config().effective()
        return found["mode"], found["mode_from"]

    (home / "pyproject.toml").write_text(GOOD)
    assert told() == ("flag", "configuration")
    (home / "switch").write_text("off")
    assert told() == ("off", "switch_file")
    (home / "switch").write_text("nonsense")
    assert told() == ("block", "switch_file")
    monkeypatch.setenv("POLICYGUARD_MODE", "off")
    assert told() == ("off", "POLICYGUARD_MODE")
    monkeypatch.setenv("POLICYGUARD_MODE", "")
    assert told() == ("block", "POLICYGUARD_MODE")
    monkeypatch.setenv("POLICYGUARD_MODE", "flag")
    (home / "policy.yaml").write_text(f"{POLICY.read_text()}\nat_least: redact\n")
    assert told() == ("redact", "at_least")


def test_a_configuration_that_guards_nothing_says_so(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Without plugins, or with a database but no data map, a line in the log says what is open."""
    (tmp_path / "policy.yaml").write_text("policyguard: 1\nid: p\n", "utf-8")
    file = tmp_path / "policyguard.toml"
    file.write_text('policy = "policy.yaml"\n', "utf-8")
    policyguard.install(file)
    try:
        assert "PG506 no plugins are listed" in caplog.text
    finally:
        policyguard.uninstall()


def test_a_mode_that_is_none_is_refused(tmp_path: Path) -> None:
    """A misspelt mode is an error, whatever it would have meant."""
    (tmp_path / "policy.yaml").write_text("policyguard: 1\nid: p\n", "utf-8")
    with pytest.raises(policyguard.ConfigError, match="unknown mode"):
        policyguard.Guard.load(tmp_path / "policy.yaml", mode="blocked")  # type: ignore[arg-type]  # the mistake


def test_all_parts_of_the_configuration_are_in_force(
    home: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Jobs, waivers, shadow, and what is done where a request is blocked."""
    (home / "next.yaml").write_text(POLICY.read_text().replace("to: [self, mailer]", "to: [self]"))
    text = GOOD.replace('"flag"', '"block"').replace("percent = 50\n", "")
    more = 'shadow = "next.yaml"\non_block = "respond"\nsubjects = "sqlite:///people.db"\n'
    (home / "pyproject.toml").write_text(text.replace("mode =", f"{more}mode =", 1))
    made = policyguard.install()
    assert (made.on_block, made.subjects is not None) == ("respond", True)
    with made.job("reports.daily"):
        assert made.current_purpose() == COUNTING
        assert made.check("x", to="counter", data=LIKES).allowed
        assert made.check("x", to="mailer", data=EMAIL).verdict == "deny"
    assert "[waived, " in caplog.text
    assert made.check("x", to="mailer", data=EMAIL, purpose=ACCOUNT).allowed
    assert "PG207" in caplog.text
    assert len(made.differences()) == 1


def test_an_expired_waiver_is_told_at_the_start_and_by_the_command(
    home: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """The program starts without it; `policyguard config` fails, so that CI notices."""
    good, bad = GOOD, GOOD.replace("9999-05-31", "2020-05-31", 1)
    (home / "pyproject.toml").write_text(good)
    assert cli("config").code == 0
    (home / "pyproject.toml").write_text(bad)
    policyguard.install()
    assert caplog.text.count("PG206") == 1
    for shape in ("text", "json"):
        done = cli("config", "--format", shape)
        assert done.code == 1
        assert "PG206 a waiver has expired: recipient `mailer`" in done.err
    told = json.loads(done.out)
    assert told["expired_waivers"] == ["recipient `mailer`"]
    assert [waiver["expires"] for waiver in told["waivers"]] == ["2020-05-31", "9999-05-31"]


def test_the_files_that_were_read_are_known(home: Path) -> None:
    """So that a changed one is noticed: the shadow's too."""
    shutil.copy(POLICY, home / "next.yaml")
    (home / "pyproject.toml").write_text(GOOD.replace("mode =", 'shadow = "next.yaml"\nmode =', 1))
    names = ["pyproject.toml", "policy.yaml", "data-map.yaml", "next.yaml"]
    assert list(load_config().files) == [home / name for name in names]


def test_a_shadow_that_is_broken_is_refused(home: Path) -> None:
    """A comparison that doesn't happen would look like one without differences."""
    (home / "next.yaml").write_text("policyguard: 1\nid: [")
    (home / "pyproject.toml").write_text(GOOD.replace("mode =", 'shadow = "next.yaml"\nmode =', 1))
    with pytest.raises(PolicyError) as caught:
        load_config()
    assert {problem.file for problem in caught.value.problems} == {"next.yaml"}


def test_each_of_two_waivers_that_are_too_wide_is_named(home: Path) -> None:
    """With the line of its own."""
    text = GOOD.replace('{ recipient = "mailer" }', "{}").replace('{ data = "user.name" }', "{}")
    (home / "pyproject.toml").write_text(text)
    with pytest.raises(ConfigError) as caught:
        load_config()
    assert [problem.line for problem in caught.value.problems] == [25, 31]
