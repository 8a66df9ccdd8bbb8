"""What the environment says in place of the configuration file, and what it can't mean."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

import policyguard
from policyguard import ConfigError, Guard, PolicyError
from policyguard.config import load_config
from tests.cli.running import cli
from tests.enforce.kit import ACCOUNT, ADS, DATA_MAP, POLICY

FILE = 'policy = "policy.yaml"\nmode = "flag"\n'
SECRET = "hunter2-canary"
URL = f"postgresql+psycopg://app:{SECRET}@127.0.0.1:1/people"


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A working folder with all files, and nothing in the environment."""
    for name in [name for name in os.environ if name.startswith("POLICYGUARD_")]:
        monkeypatch.delenv(name)
    shutil.copy(POLICY, tmp_path / "policy.yaml")
    shutil.copy(POLICY, tmp_path / "other.yaml")
    shutil.copy(DATA_MAP, tmp_path / "data-map.yaml")
    (tmp_path / "policyguard.toml").write_text(FILE)
    monkeypatch.chdir(tmp_path)
    yield tmp_path
    policyguard.uninstall()


# fmt: off
SAID: dict[str, tuple[str, str, object]] = {
    # variable                       its text        the setting
    "POLICYGUARD_POLICY":           ("policy",      "other.yaml",            "other.yaml"),
    "POLICYGUARD_DATA_MAP":         ("data_map",    "data-map.yaml",         "data-map.yaml"),
    "POLICYGUARD_SUBJECTS":         ("subjects",    "sqlite:///people.db",   "sqlite:///people.db"),
    "POLICYGUARD_SHADOW":           ("shadow",      "other.yaml",            "other.yaml"),
    "POLICYGUARD_SWITCH_FILE":      ("switch_file", "switch",                "switch"),
    "POLICYGUARD_ON_BLOCK":         ("on_block",    "respond",               "respond"),
    "POLICYGUARD_TELEMETRY":        ("telemetry",   "true",                  True),
    "POLICYGUARD_RELOAD":           ("reload",      " 1 ",                   True),
}
# fmt: on


@pytest.mark.parametrize("name", SAID)
def test_a_variable_stands_in_place_of_the_key(
    home: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    """Whether the file has the key or not; empty counts as not set; `config` names what counts."""
    key, text, value = SAID[name]
    before = getattr(load_config().settings, key)
    assert before != value
    for nothing in ("", "  "):
        monkeypatch.setenv(name, nothing)
        assert getattr(load_config().settings, key) == before
        assert load_config().effective()["environment"] == []
    monkeypatch.setenv(name, text)
    assert getattr(load_config().settings, key) == value
    assert load_config().effective()["environment"] == [name]


def test_the_environment_wins_over_the_file(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also where the file says the opposite, and where what it says is wrong."""
    (home / "policyguard.toml").write_text(f'{FILE}reload = true\non_block = "repsond"\n')
    monkeypatch.setenv("POLICYGUARD_RELOAD", "FALSE")
    monkeypatch.setenv("POLICYGUARD_ON_BLOCK", "raise")
    settings = load_config().settings
    assert (settings.reload, settings.on_block) == (False, "raise")


# fmt: off
WRONG: dict[str, tuple[str, str]] = {
    "POLICYGUARD_RELOAD":     ("yes please", "true or false"),
    "POLICYGUARD_TELEMETRY":  ("on",         "true or false"),
    "POLICYGUARD_ON_BLOCK":   ("respnd",     "one of `raise` or `respond`"),
}
# fmt: on


@pytest.mark.parametrize("name", WRONG)
def test_a_value_that_means_nothing_names_the_variable(
    home: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    """One problem, no line of a file that says nothing about it, and not the value."""
    text, hint = WRONG[name]
    monkeypatch.setenv(name, text)
    with pytest.raises(ConfigError) as caught:
        load_config()
    said = f"PG505 the environment variable {name} has a value that is not known ({hint})"
    assert str(caught.value) == said
    assert cli("config").code == 2


def test_the_environment_alone_is_a_configuration(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without any file; paths are then relative to the working folder."""
    (home / "policyguard.toml").unlink()
    with pytest.raises(ConfigError):
        load_config()
    monkeypatch.setenv("POLICYGUARD_POLICY", "policy.yaml")
    monkeypatch.setenv("POLICYGUARD_DATA_MAP", "data-map.yaml")
    monkeypatch.setenv("POLICYGUARD_PURPOSE", ACCOUNT)
    loaded = load_config()
    assert (loaded.settings.mode, loaded.effective()["file"]) == ("block", None)
    made = policyguard.install()
    assert made.check("x", to="mailer", data="user.contact.email").allowed
    assert made.reload()
    done = cli("config")
    assert done.code == 0
    assert "file: none" in done.out
    assert "environment: POLICYGUARD_POLICY, POLICYGUARD_DATA_MAP" in done.out


def test_a_file_still_counts_beside_the_environment(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What the environment doesn't say is as the file says it."""
    deep = home / "a" / "b"
    deep.mkdir(parents=True)
    monkeypatch.chdir(deep)
    monkeypatch.setenv("POLICYGUARD_POLICY", "other.yaml")
    loaded = load_config()
    assert loaded.settings.mode == "flag"
    assert loaded.file == home / "policyguard.toml"


def test_a_policy_that_is_not_there_refuses_to_start(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """However it was named."""
    monkeypatch.setenv("POLICYGUARD_POLICY", "nowhere.yaml")
    with pytest.raises(PolicyError) as caught:
        policyguard.install()
    assert caught.value.problems[0].file == "nowhere.yaml"


# fmt: off
MISSPELT: dict[str, str] = {
    "POLICYGUARD_POLCY":       "POLICYGUARD_POLICY",
    "POLICYGUARD_MODES":       "POLICYGUARD_MODE",
    "POLICYGUARD_SUBJECT":     "POLICYGUARD_SUBJECTS",
    "POLICYGUARD_ONBLOCK":     "POLICYGUARD_ON_BLOCK",
    "POLICYGUARD_DATAMAP":     "POLICYGUARD_DATA_MAP",
    "POLICYGUARD_RELAOD":      "POLICYGUARD_RELOAD",
    "POLICYGUARD_PUPROSE":     "POLICYGUARD_PURPOSE",
    "POLICYGUARD_CONFIGS":     "POLICYGUARD_CONFIG",
}
# fmt: on


@pytest.mark.parametrize("name", MISSPELT)
def test_a_misspelt_variable_is_a_gap(
    home: Path, monkeypatch: pytest.MonkeyPatch, name: str, caplog: pytest.LogCaptureFixture
) -> None:
    """It would silently change nothing; its value isn't shown."""
    monkeypatch.setenv(name, SECRET)
    gap = f"the environment variable {name} means nothing; did you mean {MISSPELT[name]}?"
    assert gap in load_config().gaps()
    policyguard.install()
    assert f"PG506 {gap}" in caplog.text
    assert SECRET not in caplog.text


def test_other_variables_are_nobodys_business(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Those of other programs, and those that look like none of ours."""
    before = load_config().gaps()
    for name in ("POLICYGUARD_SHARED", "POLICYGUARD_GOLDEN", "POLICYGUARD", "POLICY_MODE", "MODE"):
        monkeypatch.setenv(name, "x")
    assert load_config().gaps() == before


def test_a_purpose_that_the_policy_does_not_know_is_a_gap(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Every flow that relies on it would be denied."""
    monkeypatch.setenv("POLICYGUARD_PURPOSE", ADS)
    assert not any("POLICYGUARD_PURPOSE" in gap for gap in load_config().gaps())
    monkeypatch.setenv("POLICYGUARD_PURPOSE", f"{ADS}x")
    gaps = load_config().gaps()
    assert "POLICYGUARD_PURPOSE holds a purpose that the policy doesn't know" in gaps


@pytest.mark.parametrize(
    "text",
    [
        URL,
        f"sqlite:///?key={SECRET}",
        f"nonsense {SECRET}",
        f"no.module:{SECRET.replace('-', '_')}",
    ],
)
@pytest.mark.parametrize("where", ["environment", "file"])
def test_a_password_is_in_no_output(
    home: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    text: str,
    where: str,
) -> None:
    """Neither in what `config` prints nor in an error, a log, or a repr."""
    if where == "environment":
        monkeypatch.setenv("POLICYGUARD_SUBJECTS", text)
    else:
        (home / "policyguard.toml").write_text(f"{FILE}subjects = {json.dumps(text)}\n")
    shown = [repr(load_config().settings), str(load_config().settings), repr(load_config())]
    for shape in ("text", "json"):
        done = cli("config", "--format", shape)
        assert done.code == 0
        shown += [done.out, done.err]
    assert "subjects: set" in shown[3]
    errors = []
    try:
        # A database that is down is no mistake of the configuration; a driver may be missing.
        Guard.from_config().close()
    except policyguard.PolicyGuardError as error:
        errors.append(error)
    shown += [f"{error}{error!r}" for error in errors]
    if text != URL:
        said = "POLICYGUARD_SUBJECTS: " if where == "environment" else "`subjects`: "
        assert [said in str(error) for error in errors] == [True]
    shown.append(caplog.text)
    assert "hunter2" not in "".join(shown)


def test_a_password_is_in_no_error_about_something_else(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another key is wrong, in the same file."""
    text = f'{FILE}subjects = "{URL}"\nmod = "flag"\n'
    for broken in (text, f'{FILE}subjects = ["{URL}"]\n', f'{FILE}subjects = "{URL}\n'):
        (home / "policyguard.toml").write_text(broken)
        with pytest.raises(ConfigError) as caught:
            load_config()
        assert "hunter2" not in f"{caught.value}{caught.value!r}"
        assert caught.value.__cause__ is None
