"""The documents are true: their blocks run, their links lead somewhere, and nothing is left out.

`tests/docs_runner.py` says how a block is run. Each document runs in a process of its own, so that
installed hooks and guards stay there. With POLICYGUARD_GOLDEN=1 the outputs of commands are written
into the documents instead of being compared.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from pydantic import BaseModel
from typer.main import get_command

from policyguard.cli import app
from policyguard.codes import CODES
from policyguard.config import Settings
from policyguard.policy.mapfile import DataMapFile
from policyguard.policy.rules import Policy

ROOT = Path(__file__).resolve().parent.parent
RUNNER = ROOT / "tests" / "docs_runner.py"
DOCUMENTS = sorted(
    [ROOT / "README.md", ROOT / "CONTRIBUTING.md", ROOT / "CHANGELOG.md", ROOT / "SECURITY.md"]
    + [path for path in (ROOT / "docs").rglob("*.md") if "_build" not in path.parts]
    + list((ROOT / "plugins").glob("*.md"))
)
FENCED = re.compile(r"^( *)```.*?^\1```", re.MULTILINE | re.DOTALL)
LINK = re.compile(r"\]\(([^)#\s]+)(#[^)]*)?\)")


def _run(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(  # our own script
        [sys.executable, "-W", "error", str(RUNNER), *arguments],
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
    )


@pytest.mark.parametrize("path", DOCUMENTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_every_fenced_block_of_a_document_runs(path: Path) -> None:
    """What a document shows is what happens."""
    rewrite = ["--rewrite"] if os.environ.get("POLICYGUARD_GOLDEN") else []
    done = _run(str(path), *rewrite)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("path", DOCUMENTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_every_link_of_a_document_leads_to_a_file(path: Path) -> None:
    """A link between documents leads to a file that exists."""
    prose = FENCED.sub("", path.read_text("utf-8"))
    targets = [match[1] for match in LINK.finditer(prose) if "://" not in match[1]]
    missing = [target for target in targets if not (path.parent / target).exists()]
    assert missing == []


# fmt: off
WRONG = {
    # what is wrong                     a document that has it
    "a language that nothing executes": "```ruby\nputs 1\n```\n",
    "Python that raises":               "```python\nraise ValueError\n```\n",
    "a policy that doesn't load":       "```yaml\nrules:\n  - id: broken\n```\n",
    "an edit of a file that isn't there": (
        "<!-- edit: a.yaml: old => new -->\n```console\n$ policyguard --version\n...\n```\n"
    ),
    "an unknown key in a case":         "```yaml\ncases:\n  - {id: a, exepct: deny}\n```\n",
    "YAML that is no file of ours":     "```yaml\ncolour: blue\n```\n",
    "a command with another output":    "```console\n$ policyguard --version\n0.0\n```\n",
    "a command that fails in silence":  "```console\n$ policyguard check none.yaml\n...\n```\n",
    "a command that nobody may run":    "```console\n$ curl example.com\n```\n",
    "a make target that doesn't exist": "```console\n$ make nonsense\n```\n",
    "an extra that doesn't exist":      "```console\n$ pip install policyguard-runtime[x]\n```\n",
    "TOML that isn't TOML":             "```toml\n= 1\n```\n",
    "JSON that isn't JSON":             "```json\n{,}\n```\n",
}
# fmt: on


@pytest.mark.parametrize("text", WRONG.values(), ids=WRONG)
def test_a_wrong_block_is_noticed(text: str, tmp_path: Path) -> None:
    """The runner would notice if a document were wrong."""
    path = tmp_path / "wrong.md"
    path.write_text(text, encoding="utf-8")
    done = _run(str(path))
    assert done.returncode == 1
    assert "wrong.md:1:" in done.stderr


def test_an_output_is_written_into_the_document(tmp_path: Path) -> None:
    """With `--rewrite` the real output replaces the expected one, and then matches."""
    path = tmp_path / "page.md"
    path.write_text("```console\n$ python -c 'print(6 * 7)'\n41\n```\n", encoding="utf-8")
    assert _run(str(path)).returncode == 1
    assert _run(str(path), "--rewrite").returncode == 0
    assert "\n42\n```" in path.read_text("utf-8")
    assert _run(str(path)).returncode == 0


def test_every_command_is_documented() -> None:
    """The page on the command line has a section for every command."""
    page = (ROOT / "docs" / "reference" / "cli.md").read_text("utf-8")
    documented = set(re.findall(r"^## `policyguard ([a-z-]+)`", page, re.MULTILINE))
    assert documented == set(_commands())


def _commands() -> list[str]:
    return sorted(getattr(get_command(app), "commands", {}))


LANGUAGES = {"policy-language": Policy, "data-map": DataMapFile, "configuration": Settings}


@pytest.mark.parametrize(("name", "model"), LANGUAGES.items(), ids=LANGUAGES)
def test_every_key_of_a_file_is_documented(name: str, model: type[BaseModel]) -> None:
    """The page on a file names every key that its loader accepts."""
    page = (ROOT / "docs" / "reference" / f"{name}.md").read_text("utf-8")
    spans = re.findall(r"`([^`\n]+)`", page)
    documented = {word for span in spans for word in re.findall(r"[a-z_][a-z0-9_]*", span)}
    missing = sorted(_keys(model.model_json_schema(by_alias=True)) - documented)
    assert missing == []


def _keys(schema: object) -> set[str]:
    """The names of all properties in a JSON Schema."""
    if isinstance(schema, list):
        return set().union(*map(_keys, schema))
    if not isinstance(schema, dict):
        return set()
    own = set(schema.get("properties", {}))
    return own.union(*map(_keys, schema.values()))


def test_every_code_is_documented() -> None:
    """The page on errors has an entry for every code."""
    page = (ROOT / "docs" / "reference" / "errors.md").read_text("utf-8")
    assert set(re.findall(r"^`(PG\d{3})` ", page, re.MULTILINE)) == set(CODES)


def test_the_glossary_is_in_alphabetical_order() -> None:
    """A word is found where one looks for it."""
    page = (ROOT / "docs" / "glossary.md").read_text("utf-8")
    words = re.findall(r"^([A-Z][a-z ]+)\n: ", page, re.MULTILINE)
    assert len(words) > 20
    assert words == sorted(words)


def test_every_document_is_in_the_table_of_contents() -> None:
    """No page of the documentation is out of reach."""
    index = (ROOT / "docs" / "index.md").read_text("utf-8")
    pages = {
        str(path.relative_to(ROOT / "docs").with_suffix(""))
        for path in (ROOT / "docs").rglob("*.md")
        if "_build" not in path.parts
    }
    listed = set(re.findall(r"^([a-z0-9/-]+)$", index, re.MULTILINE))
    assert pages - {"index"} == listed
