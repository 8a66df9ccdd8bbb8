"""What commands print, compared with files under `golden/`.

With POLICYGUARD_GOLDEN=1 (`make golden`) the files are written anew, to be reviewed as a diff.
"""

from __future__ import annotations

import os
import re
from pathlib import Path

import pytest

from tests.cli.running import FILES, cli

GOLDEN = Path(__file__).resolve().parent / "golden"
DIGEST = re.compile(r"\b[0-9a-f]{64}\b")
PURPOSE = "marketing.advertising.third_party.targeted"
ADS = ("--data", "user.behavior.usage", "--purpose", PURPOSE, "--fact", "region=DE")
FACE = ("--data", "user.biometric.face_embedding", "--purpose", "marketing.advertising")
LETTER = ("--data", "user.contact.email", "--purpose", "marketing.communications.email")
DECIDE = ("decide", "--policy", "shop.yaml")
FACTS = ("--fact", "consent:marketing=true", "--fact", "restricted=false")
TYPO = ("--data", "user.contakt.email", "--purpose", "markting")
SQL = ("inspect", "--dialect", "postgres", "--queries", "queries.jsonl", "--schema")

# fmt: off
COMMANDS = {
    # file                  exit code, arguments
    "check":               (0, "check", "shop.yaml", "--data-map", "map.yaml"),
    "check-strict":        (1, "check", "shop.yaml", "--strict"),
    "check-broken":        (1, "check", "broken.yaml", "shop.yaml"),
    "check-broken-map":    (1, "check", "shop.yaml", "--data-map", "broken-map.yaml"),
    "check-json":          (1, "check", "broken.yaml", "shop.yaml", "--format", "json"),
    "test":                (0, "test", "shop.yaml", "cases.yaml"),
    "test-wrong":          (1, "test", "shop.yaml", "cases.yaml", "wrong.yaml"),
    "test-json":           (1, "test", "shop.yaml", "cases.yaml", "wrong.yaml", "--format", "json"),
    "decide-allow":        (0, *DECIDE, *LETTER, "--to", "mailer", *FACTS),
    "decide-conditional":  (1, *DECIDE, *LETTER, "--to", "mailer"),
    "decide-deny":         (1, *DECIDE, *FACE, "--to", "pixel"),
    "decide-misspelt":     (1, *DECIDE, *TYPO, "--to", "mailer"),
    "decide-nobody":       (1, *DECIDE, *LETTER, "--to", "mailre"),
    "decide-no-purpose":   (1, *DECIDE, "--data", "user.name", "--purpose", "", "--to", "self"),
    "decide-json":         (1, *DECIDE, *ADS, "--to", "pixel", "--format", "json"),
    "show":                (0, "show", "shop.yaml"),
    "show-markdown":       (0, "show", "shop.yaml", "--format", "markdown"),
    "show-html":           (0, "show", "shop.yaml", "--format", "html"),
    "due":                 (0, "due", "shop.yaml"),
    "due-json":            (0, "due", "shop.yaml", "--format", "json"),
    "terms":               (0, "terms", "mail", "--policy", "shop.yaml"),
    "terms-none":          (1, "terms", "emial"),
    "terms-json":          (0, "terms", "face", "--policy", "shop.yaml", "--format", "json"),
    "explain":             (0, "explain", "pg104"),
    "config":              (0, "config", "--effective", "--config", "policyguard.toml"),
    "config-json":         (0, "config", "--config", "policyguard.toml", "--format", "json"),
    "config-expired":      (1, "config", "--config", "expired.toml"),
    "config-broken":       (2, "config", "--config", "broken.toml"),
    "inspect":             (3, *SQL, "schema.json"),
    "inspect-jsonl":       (3, *SQL, "schema.sql", "--format", "jsonl"),
    "help":                (0, "--help"),
}
# fmt: on


@pytest.mark.parametrize("name", COMMANDS)
def test_a_command_prints_what_its_file_says(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Output and exit code of a command are those of its golden file."""
    monkeypatch.chdir(FILES)
    code, *arguments = COMMANDS[name]
    done = cli(*map(str, arguments))
    assert done.code == code, done.err
    said = f"--- stderr\n{done.err}" if done.err else ""
    text = DIGEST.sub("DIGEST", done.out + said)
    path = GOLDEN / f"{name}.txt"
    if os.environ.get("POLICYGUARD_GOLDEN"):
        path.write_text(text, encoding="utf-8")
    assert text == path.read_text("utf-8")


def test_every_golden_file_belongs_to_a_command() -> None:
    """No golden file is left over."""
    assert {path.stem for path in GOLDEN.glob("*.txt")} == set(COMMANDS)


def test_golden_files_hold_no_place_of_this_machine() -> None:
    """The golden files are the same wherever the repository lies."""
    here = str(FILES.parent.parent.parent)
    assert [path.name for path in GOLDEN.iterdir() if here in path.read_text("utf-8")] == []
