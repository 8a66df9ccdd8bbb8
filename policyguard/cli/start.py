"""`init` and `demo`: where to begin.

Layer: cli. Start reading at `init`.
"""

from __future__ import annotations

import os
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path
from typing import Annotated, Final

import typer

from policyguard.cli.files import PARTS, checkout, shipped_folder
from policyguard.cli.output import MistakeError, reason_of, say

CONFIGURATION: Final = "policyguard.toml"
_SIGNALLED: Final = 128
_DEMO: Final = ("fastapi", "uvicorn", "sqlalchemy", "httpx", "numpy", "opentelemetry.sdk")
_SETTINGS: Final = """\
# How the guard behaves here and now. Paths are relative to this file.
# `policyguard config --effective` prints what counts in the end.
policy = "policy.yaml"
data_map = "data-map.yaml"
mode = "flag"  # denied flows pass and are recorded; "block" stops them, and is the default

# What is hooked; each needs its plugin, such as the distribution policyguard-sqlalchemy:
# plugins = ["sqlalchemy", "httpx"]

# Purpose by route, set before the application's code runs:
# [routes]
# "POST /sign-in" = "essential.service.authentication"
"""


def _there(name: str) -> bool:
    try:
        return find_spec(name) is not None
    except ModuleNotFoundError:
        # Denies: what the package above is missing from is missing too.
        return False


def register(app: typer.Typer) -> None:
    """Add this module's commands."""
    app.command(epilog="Example: policyguard init --from lumipic --dir privacy")(init)
    app.command(epilog="Example: policyguard demo")(demo)


def init(
    *,
    source: Annotated[
        str, typer.Option("--from", metavar="ID", help="The shipped policy to start from.")
    ] = "minimal",
    folder: Annotated[
        str, typer.Option("--dir", metavar="DIR", help="Where to write; made if it isn't there.")
    ] = ".",
) -> None:
    """Write the files to start from.

    A policy, its data map, its truth table and a configuration. The policy is a copy of one that
    ships with policyguard; make it yours. Nothing that is there
    already is overwritten.
    """
    start, target = shipped_folder(source), Path(folder)
    texts = {name: (start / name).read_bytes() for name in PARTS}
    texts[CONFIGURATION] = _SETTINGS.encode()
    if "\x00" in folder:
        raise MistakeError("init: --dir: a folder's name holds a NUL character")
    there = [name for name in texts if os.path.lexists(target / name)]
    if there:
        hint = "nothing was written; choose another --dir, or move them away"
        raise MistakeError(f"init: {target / there[0]}: is there already", hint)
    for name, text in texts.items():
        _write_new(target / name, text)
        say(f"wrote {target / name}")
    say(f"next: policyguard check {target / PARTS[0]} --data-map {target / PARTS[1]}")


def _write_new(path: Path, text: bytes) -> None:
    """Write a file that must not be there yet, also when another process makes it just now."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("xb") as file:
            file.write(text)
    except OSError as error:
        # Denies: half a start is said to be one, with the file that couldn't be written.
        raise MistakeError(f"init: can't write `{path}`: {reason_of(error)}") from None


def demo() -> None:
    """Run the demo: an embedding stopped before the ad pixel.

    A small picture service runs under its policy, with real requests. It needs a checkout of the
    repository. Exits with 0 when every promise was kept.
    """
    home = checkout()
    if home is None:
        raise MistakeError(
            "demo: the demo is not part of the installed package",
            "clone the repository and run `make demo` there",
        )
    missing = [name for name in _DEMO if not _there(name)]
    if missing:
        raise MistakeError(
            f"demo: not installed: {', '.join(missing)}",
            "run `make demo` in the checkout, which installs what it needs",
        )
    script = home / "examples" / "lumipic" / "demo.py"
    done = subprocess.run([sys.executable, str(script)], check=False)  # noqa: S603 - our own file
    code = done.returncode
    raise typer.Exit(code if code >= 0 else _SIGNALLED - code)
