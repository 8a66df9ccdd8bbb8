"""Mistakes of users: one clear line, the right exit code, never a traceback."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.cli.running import FILES, cli, process

FLOW = ("--data", "user.name", "--purpose", "marketing", "--to", "self")
DECIDE = ("decide", "--policy", "shop.yaml", *FLOW)
SCHEMA = ("inspect", "--dialect", "mysql", "--sql", "x", "--schema")
FACT = (*DECIDE, "--fact")
FORM = (*DECIDE, "--form")
INSPECT = ("inspect", "--dialect", "postgres", "--schema", "schema.json")
QUERY = (*INSPECT, "--queries")

# fmt: off
MISTAKES: dict[str, tuple[tuple[str, ...], str]] = {
    # what the user did: (arguments, what the line says)
    "no such command": (("chekc",), "Did you mean 'check'"),
    "no such option": (("check", "shop.yaml", "--strikt"), "no such option"),
    "no policy": (("check",), "missing argument"),
    "an option without its value": (("check", "shop.yaml", "--data-map"), "requires an argument"),
    "a format that isn't one": (("check", "shop.yaml", "--format", "xml"), "'xml'"),
    "no such file": (("check", "none.yaml"), "none.yaml: no such file"),
    "a misspelt shipped policy": (("show", "lumipik"), "did you mean the shipped policy"),
    "a folder for a policy": (("check", "folder"), "is a folder (did you mean"),
    "an empty name": (("check", ""), "empty"),
    "a name with NUL": (("check", "a\0b"), "NUL"),
    "a name that is too long": (("check", "x" * 5000), "no such file"),
    "a link that leads nowhere": (("check", "loose"), "loose: a link that leads nowhere"),
    "a link to itself": (("check", "loop"), "loop"),
    "a device": (("check", "/dev/null"), "not a regular file"),
    "a binary file": (("show", "binary"), "PG002"),
    "a data map for two policies": (
        ("check", "shop.yaml", "map.yaml", "--data-map", "map.yaml"),
        "--data-map",
    ),
    "a data map that isn't there": (
        ("check", "shop.yaml", "--data-map", "none.yaml"),
        "none.yaml: no such file",
    ),
    "a broken policy to decide by": (
        ("decide", "--policy", "broken.yaml", *FLOW),
        "broken.yaml:3:1",
    ),
    "a broken policy to test": (("test", "broken.yaml", "cases.yaml"), "PG104"),
    "a data map for a policy": (("show", "map.yaml"), "map.yaml:1:1"),
    "no cases beside the policy": (("test", "folder/policy.yaml"), "name a truth table"),
    "cases that aren't there": (("test", "shop.yaml", "none.yaml"), "none.yaml: no such file"),
    "cases that are no table": (("test", "shop.yaml", "map.yaml"), "map.yaml:1:1: PG008"),
    "a broken line of cases": (("test", "shop.yaml", "bad.jsonl"), "bad.jsonl:1:1: PG003"),
    "decide without a policy": (("decide", *FLOW), "missing option '--policy'"),
    "an unknown form": ((*FORM, "anonymized"), "did you mean `anonymised`?"),
    "raw beside another form": (
        (*FORM, "raw", "--form", "encrypted"),
        "--form raw: can't stand beside",
    ),
    "a fact without a value": ((*FACT, "age"), "needs `name=value`"),
    "a fact that is none": ((*FACT, "agee=3"), "did you mean `age`?"),
    "consent without a purpose": ((*FACT, "consent=true"), "consent:PURPOSE=true"),
    "consent that is neither": ((*FACT, "consent:marketing=yes"), "neither true nor false"),
    "an age in words": ((*FACT, "age=twenty"), "no age in whole years"),
    "an age of nobody": ((*FACT, "age=151"), "no age in whole years (0 to 150)"),
    "an age below zero": ((*FACT, "age=-1"), "no age in whole years"),
    "a region that is none": ((*FACT, "region=Europe"), "no region"),
    "a transport that is none": ((*FACT, "transport=ftp"), "one of http, https, local"),
    "a duration that is none": ((*FACT, "data_age=6 months"), "no ISO 8601 duration"),
    "a fact given twice": ((*FACT, "age=3", "--fact", "age=4"), "given twice"),
    "a page into no folder": (
        ("show", "shop.yaml", "-o", "none/page.html"),
        "can't write `none/page.html`",
    ),
    "a page onto a folder": (
        ("show", "shop.yaml", "-o", "folder"),
        "can't write `folder`: is a directory",
    ),
    "a page onto the policy itself": (
        ("show", "shop.yaml", "-o", "./shop.yaml"),
        "can't write `./shop.yaml`: it is the policy itself",
    ),
    "a page onto the policy itself, by force": (
        ("show", "shop.yaml", "-o", "same.yaml", "--force"),
        "can't write `same.yaml`: it is the policy itself",
    ),
    "a page onto another file": (
        ("show", "shop.yaml", "-o", "map.yaml"),
        "can't write `map.yaml`: it is there already (see --force)",
    ),
    "a pipe for a configuration": (("config", "--config", "pipe"), "not a regular file"),
    "no such code": (("explain", "PG999"), "no code `PG999`"),
    "a code that is none": (("explain", "\x1b[31mred"), "\\u001b[31mred"),
    "no such kind of schema": (("schema", "--kind", "cases"), "'cases'"),
    "no configuration there": (("config", "--config", "none.toml"), "none.toml: no such file"),
    "a configuration that isn't TOML": (("config", "--config", "shop.yaml"), "shop.yaml:1:"),
    "a start from no policy": (
        ("init", "--from", "minimall", "--dir", "new"),
        "did you mean `minimal`?",
    ),
    "a start over other files": (("init", "--dir", "folder"), "is there already"),
    "a start below a file": (("init", "--dir", "shop.yaml/x"), "can't write"),
    "no query": (INSPECT, "needs either --sql or --queries"),
    "two kinds of query": (
        (*INSPECT, "--sql", "SELECT 1", "--queries", "queries.jsonl"),
        "needs either",
    ),
    "no such dialect": (
        ("inspect", "--dialect", "cobol", "--schema", "schema.json", "--sql", "x"),
        "PG401",
    ),
    "a schema that isn't there": ((*SCHEMA, "none.json"), "none.json: no such file"),
    "a schema of another kind": ((*SCHEMA, "binary"), "unknown kind of file"),
    "a schema that isn't JSON": ((*SCHEMA, "bad.json"), "bad.json:1:1: not JSON"),
    "a schema of another shape": ((*SCHEMA, "list.json"), "needs the shape"),
    "DDL that can't be split": ((*SCHEMA, "bad.sql"), "the DDL can't be read"),
    "queries that aren't there": ((*QUERY, "none.jsonl"), "none.jsonl: no such file"),
    "queries that aren't JSON": ((*QUERY, "bad.jsonl"), "bad.jsonl:1: not a line of JSON"),
    "a query without its text": (
        (*QUERY, "empty-row.jsonl"),
        "empty-row.jsonl:1: `sql` is missing",
    ),
    "queries in Latin-1": ((*QUERY, "latin.jsonl"), "not UTF-8 text"),
    "a file without queries": ((*QUERY, "nothing.jsonl"), "holds no query"),
    "JSON as deep as a well": ((*QUERY, "deep.jsonl"), "deep.jsonl:1: not a line of JSON"),
}
# fmt: on


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working folder with good and bad files."""
    for path in FILES.iterdir():
        (tmp_path / path.name).write_bytes(path.read_bytes())
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder" / "policy.yaml").write_bytes((FILES / "shop.yaml").read_bytes())
    (tmp_path / "loose").symlink_to("nowhere")
    (tmp_path / "loop").symlink_to("loop")
    (tmp_path / "same.yaml").symlink_to("shop.yaml")
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "binary").write_bytes(bytes(range(256)))
    (tmp_path / "bad.json").write_text("{", encoding="utf-8")
    (tmp_path / "bad.json").write_text("no", encoding="utf-8")
    (tmp_path / "list.json").write_text("[1]", encoding="utf-8")
    (tmp_path / "bad.sql").write_text("CREATE TABLE 'x", encoding="utf-8")
    (tmp_path / "bad.jsonl").write_text("{broken\n", encoding="utf-8")
    (tmp_path / "empty-row.jsonl").write_text('{"id": 1}\n', encoding="utf-8")
    (tmp_path / "latin.jsonl").write_bytes('{"sql": "é"}'.encode("latin-1"))
    (tmp_path / "nothing.jsonl").write_text("\n\n", encoding="utf-8")
    (tmp_path / "deep.jsonl").write_text("[" * 100_000 + "\n", encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.usefixtures("here")
@pytest.mark.parametrize("mistake", MISTAKES)
def test_a_mistake_is_one_clear_line(mistake: str) -> None:
    """A command that could not run says why, exits with 2 and shows no traceback."""
    arguments, said = MISTAKES[mistake]
    done = cli(*arguments)
    assert said in done.err + done.out
    assert done.code == 2
    assert "Traceback" not in done.err + done.out
    assert "internal error" not in done.err
    assert "\x1b" not in done.err + done.out


def test_a_file_that_may_not_be_read(here: Path) -> None:
    """A file without permission is a mistake with its name; whoever may read it all goes on."""
    path = here / "shop.yaml"
    path.chmod(0)
    done = cli("check", "shop.yaml")
    refused = (2, "policyguard: check: shop.yaml: permission denied\n")
    assert (done.code, done.err) == ((0, "") if os.access(path, os.R_OK) else refused)


def test_a_start_writes_nothing_when_one_file_is_there(here: Path) -> None:
    """`init` refuses as a whole: no half of a start beside the files of somebody else."""
    before = sorted(path.name for path in (here / "folder").iterdir())
    assert cli("init", "--dir", "folder").code == 2
    assert sorted(path.name for path in (here / "folder").iterdir()) == before


@pytest.mark.usefixtures("here")
def test_one_missing_file_doesnt_hide_the_problems_of_another() -> None:
    """`check` reports what it can, and its exit code says that not everything was checked."""
    done = cli("check", "none.yaml", "broken.yaml")
    assert done.code == 2
    assert "none.yaml: no such file" in done.err
    assert "broken.yaml:3:1: PG101" in done.out


def test_a_page_is_written_over_a_file_by_force(here: Path) -> None:
    """Without `--force` a file that is there stays as it is."""
    page = here / "page.html"
    page.write_text("mine", encoding="utf-8")
    assert cli("show", "shop.yaml", "-o", "page.html").code == 2
    assert page.read_text("utf-8") == "mine"
    assert cli("show", "shop.yaml", "-o", "page.html", "--force").code == 0
    assert page.read_text("utf-8") != "mine"


@pytest.mark.usefixtures("here")
def test_a_missing_file_is_a_problem_in_json() -> None:
    """A program that reads the answer sees what was not checked, with escaped names."""
    done = cli("check", "none.yaml", "broken.yaml", "--format", "json")
    problems = json.loads(done.out)["problems"]
    assert done.code == 2
    assert (problems[0]["file"], problems[0]["code"]) == ("none.yaml", "PG001")
    assert {problem["file"] for problem in problems} == {"none.yaml", "broken.yaml"}


def test_a_file_name_that_is_no_text_is_escaped_in_json(here: Path) -> None:
    """JSON has no place for bytes that are no text; the answer is valid all the same."""
    (here / os.fsdecode(b"sh\xffop.yaml")).write_bytes((here / "shop.yaml").read_bytes())
    done = process("check", b"sh\xffop.yaml", "--format", "json", cwd=here)
    answer = json.loads(done.stdout.decode("ascii"))
    assert answer["policies"][0]["file"] == "sh\\udcffop.yaml"
    assert all(problem["file"].isprintable() for problem in answer["problems"])


@pytest.mark.usefixtures("here")
def test_an_unknown_mode_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    """A misspelt POLICYGUARD_MODE counts as block, and `config` says so."""
    monkeypatch.setenv("POLICYGUARD_MODE", "blcok")
    done = cli("config", "--config", "policyguard.toml")
    assert "POLICYGUARD_MODE: unknown word `blcok`, which counts as `block`" in done.err
    assert "mode: block" in done.out


WORDS = (
    "check", "test", "show", "terms", "decide", "explain", "due", "schema", "config", "inspect",
    "--policy", "--data", "--purpose", "--to", "--form", "--fact", "--format", "--data-map",
    "--strict", "--kind", "--config", "--dialect", "--schema", "--sql", "--queries", "--help",
    "shop.yaml", "map.yaml", "cases.yaml", "broken.yaml", "schema.json", "queries.jsonl", "folder",
    "binary", "policyguard.toml", "minimal", "user.name", "marketing", "self", "json", "jsonl",
    "postgres", "age=3", "consent:=true", "consent:marketing=true", "=", ":", "", "-", "--", "-h",
    "\0", "\udcff", "\u202e", "é", "/dev/null", "raw", "PG001", "SELECT 1; '", "{}",
)  # fmt: skip


@settings(
    max_examples=150,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(arguments=st.lists(st.sampled_from(WORDS), max_size=9))
def test_no_arguments_break_the_program(here: Path, arguments: list[str]) -> None:
    """Whatever is typed, the answer is an exit code and printable text."""
    del here
    done = cli(*arguments)
    assert done.code in {0, 1, 2, 3}
    assert "internal error" not in done.err
    assert "Traceback" not in done.err
    assert (done.out + done.err).replace("\n", "").isprintable()
