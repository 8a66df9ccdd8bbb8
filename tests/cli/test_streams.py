"""What commands do when their output, their terminal or their patience ends."""

from __future__ import annotations

import os
import pty
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests.cli.running import FILES, PLAIN, ROOT, process

RUN = [sys.executable, "-m", "policyguard"]
ENVIRONMENT = os.environ | PLAIN | {"PYTHONPATH": str(ROOT)}


def shell(command: str) -> subprocess.CompletedProcess[str]:
    """Run a line of shell in which `pg` is the command line."""
    line = f'pg() {{ "{sys.executable}" -m policyguard "$@"; }}; {command}'
    return subprocess.run(
        ["bash", "-c", line],
        cwd=FILES,
        env=ENVIRONMENT,
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )


FULL = "no space left on device\n"
LOST = f"policyguard: can't write to standard output: {FULL}"
STATUS = "; exit ${PIPESTATUS[0]}"
# fmt: off
SHELL = {
    # what happens                       command, exit code, all of stderr
    "the reader leaves, all is well":   (f"pg show shop.yaml | true{STATUS}", 0, ""),
    "the reader leaves, findings stay": (f"pg check broken.yaml | true{STATUS}", 1, ""),
    "the reader of the help leaves":    (f"pg --help | true{STATUS}", 2, ""),
    "standard output is closed":        ("pg check broken.yaml >&-", 1, ""),
    "standard error is closed":         ("pg check none.yaml 2>&-", 2, ""),
    "both are closed":                  ("pg test shop.yaml wrong.yaml >&- 2>&-", 1, ""),
    "the disk is full":                 ("pg test shop.yaml cases.yaml >/dev/full", 2, LOST),
    "the disk is full for errors":      ("pg check none.yaml 2>/dev/full", 2, ""),
    "the disk is full for the version": ("pg --version >/dev/full", 2, LOST),
    "the page is lost":                 ("pg show shop.yaml -o /dev/full", 2,
                                         f"policyguard: can't write `/dev/full`: {FULL}"),
}
# fmt: on


@pytest.mark.parametrize("case", SHELL)
def test_a_stream_that_ends_changes_no_answer(case: str) -> None:
    """A reader who left changes nothing; output that is lost otherwise is exit code 2."""
    command, code, said = SHELL[case]
    done = shell(command)
    assert (done.returncode, done.stderr) == (code, said)


def test_an_interrupted_command_says_so(tmp_path: Path) -> None:
    """Ctrl-C ends with 130 and a line, not with a traceback or a verdict."""
    pipe = tmp_path / "never"
    os.mkfifo(pipe)
    arguments = [
        "inspect",
        "--dialect",
        "sqlite",
        "--schema",
        "schema.json",
        "--queries",
        str(pipe),
    ]
    running = subprocess.Popen(
        [*RUN, *arguments], cwd=FILES, env=ENVIRONMENT, stderr=subprocess.PIPE, text=True
    )
    # Opening the other end waits until the command reads, so the signal comes in the middle.
    with running, pipe.open("wb"):
        running.send_signal(signal.SIGINT)
        _, said = running.communicate(timeout=60)
    assert (running.returncode, said) == (130, "policyguard: interrupted\n")


def test_a_name_that_is_no_utf8_is_shown_escaped() -> None:
    """A file name of odd bytes reaches no terminal as it is."""
    done = process("check", b"\xff\x1b[2J.yaml")
    assert done.returncode == 2
    assert b"\\udcff\\u001b[2J.yaml: no such file" in done.stderr


def test_a_terminal_without_unicode_gets_escapes(tmp_path: Path) -> None:
    """An ASCII terminal is no reason to crash."""
    policy = tmp_path / "policy.yaml"
    text = (FILES / "shop.yaml").read_text("utf-8").replace("A shop", "Schüler 店")
    policy.write_text(text, encoding="utf-8")
    done = process("show", str(policy), environment={"PYTHONIOENCODING": "ascii"})
    assert done.returncode == 0
    assert b"Sch\\xfcler \\u5e97" in done.stdout


def _on_terminal(environment: dict[str, str]) -> str:
    """What `check` prints on a real terminal."""
    ours, theirs = pty.openpty()
    with subprocess.Popen(
        [*RUN, "check", "broken.yaml"], cwd=FILES, env=environment, stdout=theirs
    ) as running:
        os.close(theirs)
        found = b""
        try:
            while part := os.read(ours, 4096):
                found += part
        except OSError:
            pass  # Linux says so when the other side of a terminal is closed
        finally:
            os.close(ours)
        running.wait(timeout=60)
    return found.decode()


def test_colours_only_on_a_terminal_that_wants_them() -> None:
    """Colours appear on a terminal, and neither in a pipe nor with NO_COLOR."""
    base = {key: value for key, value in os.environ.items() if key != "NO_COLOR"}
    base |= {"PYTHONPATH": str(ROOT), "TERM": "xterm"}
    assert "\x1b[31m" in _on_terminal(base)
    assert "\x1b" not in _on_terminal(base | {"NO_COLOR": "1"})
    assert b"\x1b" not in process("check", "broken.yaml", environment={"NO_COLOR": ""}).stdout


def test_the_version_loads_nothing_heavy() -> None:
    """`--version` answers without the option parser, the models or the SQL parser."""
    code = (
        "import sys; from policyguard.cli import main; main(['--version']);"
        "heavy = {'typer', 'click', 'pydantic', 'sqlglot', 'rich', 'yaml', 'opentelemetry'};"
        "print(sorted(heavy & set(sys.modules)))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], env=ENVIRONMENT, capture_output=True, text=True, check=True
    )
    version, loaded = done.stdout.splitlines()
    assert version.startswith("policyguard ")
    assert loaded == "[]"


def test_the_help_loads_neither_yaml_nor_sql() -> None:
    """`--help` answers without YAML, sqlglot and OpenTelemetry."""
    code = (
        "import sys; from policyguard.cli import main; main(['decide', '--help']);"
        "heavy = {'sqlglot', 'yaml', 'opentelemetry'};"
        "print(sorted(heavy & set(sys.modules)))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], env=ENVIRONMENT, capture_output=True, text=True, check=True
    )
    assert done.stdout.splitlines()[-1] == "[]"
