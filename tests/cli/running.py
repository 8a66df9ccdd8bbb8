"""How the tests of the command line run it: inside this process, or as a process of its own.

Start reading at `cli`.
"""

from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

from typer.testing import CliRunner

from policyguard.cli import app

ROOT = Path(__file__).resolve().parent.parent.parent
FILES = Path(__file__).resolve().parent / "files"
PLAIN = {"NO_COLOR": "1", "COLUMNS": "80", "TERM": "dumb"}


@dataclass(frozen=True)
class Done:
    """What a command did.

    Attributes:
        code: its exit code.
        out: its standard output.
        err: its standard error.
    """

    code: int
    out: str
    err: str


def cli(*arguments: str) -> Done:
    """Run a command in this process and the working folder."""
    found = CliRunner().invoke(app, list(arguments), env=PLAIN)
    return Done(found.exit_code, found.stdout, found.stderr)


def process(
    *arguments: str | bytes, cwd: Path = FILES, environment: dict[str, str] | None = None
) -> subprocess.CompletedProcess[bytes]:
    """Run a command as a process of its own, with the package of this repository."""
    return subprocess.run(
        [sys.executable, "-m", "policyguard", *arguments],
        cwd=cwd,
        env=os.environ | PLAIN | {"PYTHONPATH": str(ROOT)} | (environment or {}),
        capture_output=True,
        check=False,
        timeout=120,
    )
