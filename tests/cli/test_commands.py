"""What commands do: exit codes, shapes of JSON, files that are written."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from jsonschema import Draft202012Validator

from policyguard.cli.files import shipped
from policyguard.codes import CODES
from policyguard.policy.flow import CONTEXT_KEYS
from tests.cli.running import FILES, PLAIN, ROOT, cli

FLOW = ("--data", "user.name", "--purpose", "essential.service.provision", "--to", "carrier")
EMAIL = ("--data", "user.contact.email")
LETTER = (*EMAIL, "--purpose", "marketing.communications.email", "--to", "mailer")
COUNTED = ("--data", "user.behavior", "--form", "aggregated")
FIGURES = (*COUNTED, "--purpose", "analytics", "--to", "statistics")
DECIDE = ("decide", "--policy", "shop.yaml")
SQL = ("inspect", "--dialect", "postgres", "--schema", "schema.json", "--format", "jsonl", "--sql")


@pytest.fixture(autouse=True)
def _among_the_files(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(FILES)


# fmt: off
JSON = {
    "check":   ("check", "shop.yaml", "--format", "json"),
    "test":    ("test", "shop.yaml", "cases.yaml", "--format", "json"),
    "decide":  (*DECIDE, *FLOW, "--format", "json"),
    "due":     ("due", "shop.yaml", "--format", "json"),
    "terms":   ("terms", "mail", "--format", "json"),
    "explain": ("explain", "PG001", "--format", "json"),
    "config":  ("config", "--config", "policyguard.toml", "--format", "json"),
    "inspect": (*SQL, "SELECT 1"),
}
# fmt: on


@pytest.mark.parametrize("name", JSON)
def test_every_json_object_names_its_shape(name: str) -> None:
    """Each JSON object that a command prints has `schema`."""
    assert json.loads(cli(*JSON[name]).out)["schema"] == f"policyguard.{name}/1"


def test_the_json_of_a_truth_table_is_exactly_the_promised_one() -> None:
    """`test --format json` has these keys and no others."""
    found = json.loads(cli(*JSON["test"]).out)
    assert list(found) == ["schema", "policy", "digest", "results"]
    row = {"id", "verdict", "reason", "rules", "clauses", "unmet", "ok"}
    assert {frozenset(result) for result in found["results"]} == {frozenset(row)}
    assert [result["ok"] for result in found["results"]] == [True, True, None]


def test_the_json_of_a_decision_says_all_of_it() -> None:
    """`decide --format json` has the decision and its explanation."""
    found = json.loads(cli(*JSON["decide"]).out)
    decision = {"verdict", "reason", "rules", "clauses", "unmet", "digest"}
    flow = {"data", "form", "purpose", "recipient"}
    assert set(found) == {"schema", "because", "nearest", *decision, *flow}


# fmt: off
VERDICTS = {
    # what is asked               exit code, arguments
    "an allowed flow":            (0, FLOW),
    "a denied flow":              (1, (*FLOW[:4], "--to", "pixel")),
    "a conditional flow":         (1, LETTER),
    "a flow without a purpose":   (1, ("--data", "user.name", "--purpose", "", "--to", "carrier")),
    "an unknown term":            (1, ("--data", "usr.name", *FLOW[2:])),
    "a form that is asked for":   (0, (*FIGURES, "--form", "anonymised")),
    "half of the form":           (1, FIGURES),
    "somebody too young":         (1, (*FLOW, "--fact", "age=15")),
    "somebody old enough":        (0, (*FLOW, "--fact", "age=16")),
}
# fmt: on


@pytest.mark.parametrize("case", VERDICTS)
def test_only_what_is_allowed_exits_with_0(case: str) -> None:
    """Denied and conditional flows exit with 1: at run time both are blocked."""
    code, arguments = VERDICTS[case]
    assert cli(*DECIDE, *arguments).code == code


def test_every_fact_of_a_context_can_be_given() -> None:
    """Each key of a truth table's context has its `--fact`."""
    facts = {
        "consent": "consent:marketing=true",
        "opt_out": "opt_out:marketing=false",
        "restricted": "restricted=false",
        "age": "age=20",
        "region": "region=EU",
        "legal_request": "legal_request=false",
        "transport": "transport=https",
        "data_age": "data_age=P6M",
        "facts": "facts:saved_by_user=true",
    }
    assert set(facts) == CONTEXT_KEYS
    given = [part for fact in facts.values() for part in ("--fact", fact)]
    done = cli(*DECIDE, *FLOW, *given)
    assert (done.code, done.err) == (0, "")


def test_a_fact_that_the_policy_doesn_t_know_is_named() -> None:
    """Facts and purposes that count for nothing are said to, with a suggestion."""
    given = ("--fact", "facts:saved_by_usr=true", "--fact", "consent:markting=true")
    done = cli(*DECIDE, *FLOW, *given)
    assert done.code == 0
    assert "facts:saved_by_usr: the policy knows no such fact, so it is ignored" in done.err
    assert "did you mean `marketing`?" in done.err


def test_a_term_below_a_known_one_is_named() -> None:
    """A term that nobody declared counts like the one above it; a typo is not mute."""
    done = cli(*DECIDE, "--data", "user.name.penname", *FLOW[2:])
    assert done.code == 0
    assert "--data user.name.penname: nobody declared it, so it counts like `user.name`" in done.err


def test_a_truth_table_that_expects_nothing_is_incomplete(tmp_path: Path) -> None:
    """Rows that only ask show nothing, and that isn't green."""
    table = tmp_path / "asks.jsonl"
    row = {"id": "a", "data": "user.name", "purpose": "marketing", "recipient": "self"}
    table.write_text(json.dumps(row) + "\n", encoding="utf-8")
    done = cli("test", "shop.yaml", str(table))
    assert done.code == 3
    assert "nothing is shown by this" in done.out


@pytest.mark.parametrize("name", sorted(shipped()))
def test_a_shipped_policy_is_found_by_its_id(name: str) -> None:
    """Every shipped policy can be named by its id, and its own truth table is found."""
    assert cli("check", name).code == 0
    done = cli("test", name)
    assert done.code == 0, done.out


def test_a_file_goes_before_a_shipped_policy(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where a file has the name of a shipped policy, the file is meant."""
    (tmp_path / "lumipic").write_bytes((FILES / "shop.yaml").read_bytes())
    monkeypatch.chdir(tmp_path)
    assert "policy shop" in cli("show", "lumipic").out


def test_a_page_is_written_to_a_file(tmp_path: Path) -> None:
    """`show -o` writes what it would print."""
    for shape in ("text", "markdown", "html"):
        path = tmp_path / shape
        assert cli("show", "shop.yaml", "--format", shape, "-o", str(path)).out == ""
        assert path.read_text("utf-8") == cli("show", "shop.yaml", "--format", shape).out


def test_a_page_runs_nothing_of_the_policy_s_text() -> None:
    """Markup in a policy is shown, not obeyed."""
    page = cli("show", "shop.yaml", "--format", "html").out
    assert "&lt;script&gt;alert(1)&lt;/script&gt;" in page
    assert "<script" not in page
    assert "http" not in page.replace("it travels over https", "")
    markdown = cli("show", "shop.yaml", "--format", "markdown").out
    assert "\\<script\\>alert(1)\\</script\\> \\*forgotten\\*" in markdown


def test_control_characters_of_a_file_never_reach_the_terminal(tmp_path: Path) -> None:
    """What doesn't show or reorders text is printed as its escape."""
    policy = tmp_path / "policy.yaml"
    text = (FILES / "shop.yaml").read_text("utf-8")
    policy.write_text(text.replace("title: A shop", "title: A\u200bsh\u00adop"), encoding="utf-8")
    out = cli("show", str(policy)).out
    assert "A\\u200bsh\\u00adop" in out


def test_every_code_is_explained() -> None:
    """`explain` knows every code, in any case and without its letters."""
    for code in CODES:
        assert cli("explain", code).out.startswith(f"{code}: {CODES[code].title}")
    assert cli("explain", "104").out == cli("explain", "pg104").out


@pytest.mark.parametrize("kind", ["policy", "data-map", "config"])
def test_a_schema_is_one(kind: str) -> None:
    """What `schema` prints is a JSON Schema."""
    found: dict[str, Any] = json.loads(cli("schema", "--kind", kind).out)
    Draft202012Validator.check_schema(found)
    assert found["$schema"] == "https://json-schema.org/draft/2020-12/schema"
    assert found["properties"]


def test_the_nearest_configuration_is_found() -> None:
    """Without `--config` the nearest file counts, and the environment wins over its mode."""
    assert "mode: flag\nmode_from: configuration\n" in cli("config", "--effective").out
    environment = os.environ | PLAIN | {"PYTHONPATH": str(ROOT), "POLICYGUARD_MODE": "block"}
    command = [sys.executable, "-m", "policyguard", "config"]
    done = subprocess.run(
        command, env=environment, cwd=FILES, capture_output=True, text=True, check=True
    )
    assert "mode: block\nmode_from: POLICYGUARD_MODE\n" in done.stdout


def test_a_start_can_be_used_at_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What `init` writes loads, passes its own truth table, and configures a guard."""
    monkeypatch.chdir(tmp_path)
    assert cli("init", "--from", "lumipic", "--dir", "privacy/guard").code == 0
    monkeypatch.chdir(tmp_path / "privacy" / "guard")
    written = sorted(path.name for path in Path().iterdir())
    assert written == ["cases.yaml", "data-map.yaml", "policy.yaml", "policyguard.toml"]
    assert cli("check", "policy.yaml", "--data-map", "data-map.yaml").code == 0
    assert cli("test", "policy.yaml").code == 0
    assert "policy: id lumipic" in cli("config").out


def _elsewhere(tmp_path: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run a command with the package laid out as a wheel does, without the repository."""
    home = tmp_path / "site"
    unread = shutil.ignore_patterns("__pycache__")
    shutil.copytree(ROOT / "policyguard", home / "policyguard", ignore=unread)
    shutil.copytree(ROOT / "policies", home / "policyguard" / "policies", ignore=unread)
    return subprocess.run(
        [sys.executable, "-m", "policyguard", *arguments],
        cwd=tmp_path,
        env=os.environ | PLAIN | {"PYTHONPATH": str(home)},
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )


def test_the_demo_says_that_it_needs_a_checkout(tmp_path: Path) -> None:
    """Where only the package is installed, `demo` says where the demo is."""
    done = _elsewhere(tmp_path, "demo")
    assert done.returncode == 2
    assert done.stdout == ""
    assert "clone the repository and run `make demo`" in done.stderr


def test_the_shipped_policies_are_found_in_an_installed_package(tmp_path: Path) -> None:
    """A wheel carries the policies inside of the package, and they are found there."""
    done = _elsewhere(tmp_path, "test", "minimal")
    assert done.returncode == 0, done.stderr
    assert done.stdout.endswith(" ok\n")


# fmt: off
STATUSES = {
    # a query                                    exit code, status
    "SELECT email FROM customers":               (0, "resolved"),
    "SELECT 1; SELECT email FROM customers":     (0, "resolved"),
    "SELECT email FROM nowhere":                 (3, "unresolved"),
    "SELECT 1; CALL f()":                        (3, "unresolved"),
    "":                                          (3, "unresolved"),
    "SELECT \udcff":                             (3, "unresolved"),
}
# fmt: on


@pytest.mark.parametrize("query", STATUSES)
def test_what_can_t_be_told_is_incomplete(query: str) -> None:
    """One statement that isn't understood makes the whole query unresolved, and the exit code 3."""
    code, status = STATUSES[query]
    done = cli(*SQL, query)
    row = json.loads(done.out)
    assert (done.code, row["status"], bool(row["why"])) == (code, status, code == 3)


def test_a_literal_of_a_query_is_never_shown() -> None:
    """No output of `inspect` repeats a literal, whether the query is understood or not."""
    for text in (
        "SELECT email FROM customers WHERE email = 'canary'",
        "SELECT 'canary",
        "'canary'",
    ):
        done = cli(*SQL, text)
        assert "canary" not in done.out + done.err


def test_a_row_of_queries_may_have_its_own_dialect(tmp_path: Path) -> None:
    """A row's `dialect` counts for it; an unknown one makes the row unresolved."""
    queries = tmp_path / "q.jsonl"
    rows = [
        {"id": "a", "sql": "SELECT `email` FROM customers", "dialect": "mysql"},
        {"id": "b", "sql": "SELECT email FROM customers", "dialect": "cobol"},
    ]
    queries.write_text("\n".join(map(json.dumps, rows)), encoding="utf-8")
    done = cli(*SQL[:-1], "--queries", str(queries))
    statuses = [json.loads(line)["status"] for line in done.out.splitlines()]
    assert (done.code, statuses) == (3, ["resolved", "unresolved"])


def test_a_data_map_serves_as_a_schema() -> None:
    """Columns of a data map are known; a star is not, since there may be others."""
    base = (
        "inspect",
        "--dialect",
        "postgres",
        "--schema",
        "map.yaml",
        "--format",
        "jsonl",
        "--sql",
    )
    done = cli(*base, "SELECT email FROM customers")
    assert json.loads(done.out)["reads"] == ["customers.email"]
    assert cli(*base, "SELECT * FROM customers").code == 3


def test_a_misspelt_term_of_a_row_is_named(tmp_path: Path) -> None:
    """A row that is denied because of a slip of the pen doesn't pass without a word."""
    row = {
        "id": "a",
        "data": "user.contact.emial",
        "purpose": "marketing",
        "recipient": "self",
        "expect": "deny",
    }
    table = tmp_path / "rows.jsonl"
    table.write_text("".join(json.dumps({**row, "id": name}) + "\n" for name in "ab"), "utf-8")
    done = cli("test", "lumipic", str(table))
    assert done.code == 0
    assert done.err.count("`user.contact.emial` is declared nowhere") == 1
    assert "did you mean `user.contact.email`?" in done.err
