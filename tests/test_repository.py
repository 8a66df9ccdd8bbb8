"""Promises about the repository itself: its shape, its style, and what must stay out of it."""

from __future__ import annotations

import ast
import re
import subprocess
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))
MODULES = sorted((ROOT / "policyguard").rglob("*.py")) + sorted(
    (ROOT / "plugins").glob("*/policyguard_*.py")
)
TESTS = sorted((ROOT / "tests").rglob("test_*.py")) + sorted((ROOT / "plugins").glob("*/test_*.py"))
PLUGINS = sorted(path.parent for path in (ROOT / "plugins").glob("*/pyproject.toml"))
POLICIES = sorted(path.parent for path in (ROOT / "policies").glob("*/policy.yaml"))


def _name(path: Path) -> str:
    return str(path.relative_to(ROOT))


def _functions(path: Path) -> Iterator[ast.FunctionDef | ast.AsyncFunctionDef]:
    for node in ast.walk(ast.parse(path.read_text("utf-8"))):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            yield node


def test_no_module_is_longer_than_400_lines() -> None:
    """A module that a reader can't keep in mind is split."""
    lengths = {_name(path): len(path.read_text("utf-8").splitlines()) for path in MODULES}
    assert {name: length for name, length in lengths.items() if length > 400} == {}


def test_no_module_has_a_name_that_says_nothing() -> None:
    """Utils, helpers, managers and handlers are no duties."""
    empty = {"utils", "util", "helpers", "helper", "common", "misc", "manager", "handlers"}
    assert [_name(path) for path in MODULES if path.stem.removeprefix("_") in empty] == []


def test_every_module_says_what_it_is() -> None:
    """A module starts with a docstring; a layer's own modules name their layer."""
    silent = [_name(p) for p in MODULES if not ast.get_docstring(ast.parse(p.read_text("utf-8")))]
    assert silent == []


def test_every_test_says_what_the_user_can_rely_on() -> None:
    """Each test has a docstring."""
    silent = [
        f"{_name(path)}:{function.lineno}"
        for path in TESTS
        for function in _functions(path)
        if function.name.startswith("test_") and not ast.get_docstring(function)
    ]
    assert silent == []


def test_no_test_is_skipped_or_expected_to_fail() -> None:
    """A test that doesn't run proves nothing."""
    pattern = re.compile(r"pytest\.(skip|xfail|importorskip)\(|mark\.(skip|skipif|xfail)\b")
    found = [
        _name(p) for p in TESTS if p != Path(__file__) and pattern.search(p.read_text("utf-8"))
    ]
    assert found == []


def test_every_broad_except_says_what_it_denies() -> None:
    """Whoever catches everything writes down what is denied by it."""
    broad = re.compile(r"^\s*except( \(?(Base)?Exception\b.*)?:", re.MULTILINE)
    silent = []
    for path in MODULES:
        lines = path.read_text("utf-8").splitlines()
        for number, line in enumerate(lines, 1):
            near = "\n".join(lines[number - 2 : number + 1])
            if broad.match(line) and "#" not in near:
                silent.append(f"{_name(path)}:{number}")
    assert silent == []


def test_every_ignore_carries_its_code_and_its_reason() -> None:
    """`noqa` and `type: ignore` name what they ignore, and why."""
    bare = re.compile(r"#\s*(noqa(?!:)|type:\s*ignore(?!\[))")
    coded = re.compile(r"#\s*(?:noqa: [A-Z0-9, ]+|type: ignore\[[a-z, -]+\])(?P<rest>.*)$")
    wrong = []
    for path in MODULES:
        for number, line in enumerate(path.read_text("utf-8").splitlines(), 1):
            match = coded.search(line)
            if bare.search(line) or (match and not match["rest"].strip(" #-")):
                wrong.append(f"{_name(path)}:{number}")
    assert wrong == []


def test_no_code_is_left_open() -> None:
    """No stub and no note to self is shipped; the lint may name `TODO` as what it finds."""
    open_end = re.compile(r"# *(TODO|FIXME|XXX)\b|\braise NotImplementedError\b")
    assert [_name(path) for path in MODULES if open_end.search(path.read_text("utf-8"))] == []


@pytest.mark.parametrize("folder", POLICIES, ids=lambda path: path.name)
def test_a_policy_has_its_three_files(folder: Path) -> None:
    """Policy, data map and truth table stand side by side."""
    assert {"policy.yaml", "data-map.yaml", "cases.yaml"} <= {
        path.name for path in folder.iterdir()
    }


@pytest.mark.parametrize("folder", PLUGINS, ids=lambda path: path.name)
def test_a_plugin_is_one_module_with_its_test(folder: Path) -> None:
    """A plugin is found by its entry point, and has one module and a test."""
    project = tomllib.loads((folder / "pyproject.toml").read_text("utf-8"))["project"]
    name = folder.name
    assert project["name"] == f"policyguard-{name}"
    assert project["license"] == "Apache-2.0"
    assert project["requires-python"] == PROJECT["project"]["requires-python"]
    entry = project["entry-points"]["policyguard.plugins"][name]
    assert entry == f"policyguard_{name}:Plugin"
    assert (folder / f"policyguard_{name}.py").is_file()
    tests = [folder / f"test_{name}.py", ROOT / "tests" / "plugins" / f"test_{name}.py"]
    assert any(path.is_file() for path in tests)
    extras = PROJECT["project"]["optional-dependencies"]
    assert f"policyguard-{name}" in [item.split(">")[0] for item in extras.get(name, [])]


def test_the_changelog_has_the_version() -> None:
    """The version of the distribution has a section in the changelog."""
    changelog = (ROOT / "CHANGELOG.md").read_text("utf-8")
    assert f"## {PROJECT['project']['version']}" in changelog


def test_make_lists_its_targets() -> None:
    """`make help` names what a developer can run."""
    done = subprocess.run(
        ["make", "--no-print-directory", "help"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    listed = {line.split()[1] for line in done.stdout.splitlines()}
    assert {"setup", "demo", "test", "check", "bench", "docs", "golden", "fmt", "clean"} <= listed


def test_make_says_which_python_it_needs(tmp_path: Path) -> None:
    """On a machine with an old Python only, setup stops with one clear sentence."""
    old = tmp_path / "python3"
    old.write_text('#!/bin/sh\n[ "$1" = --version ] && echo Python 3.8.1\nexit 1\n', "utf-8")
    old.chmod(0o755)
    done = subprocess.run(
        ["make", "setup", "VENV=" + str(tmp_path / "venv"), f"PYTHON={old}"],
        cwd=ROOT, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 2
    assert "not Python 3.11 or newer" in done.stderr
    assert not (tmp_path / "venv").exists()


def test_the_licence_is_the_whole_text() -> None:
    """The repository carries the licence that its metadata name."""
    text = (ROOT / "LICENSE").read_text("utf-8")
    assert "Apache License" in text
    assert "END OF TERMS AND CONDITIONS" in text
    assert PROJECT["project"]["license"] == "Apache-2.0"
