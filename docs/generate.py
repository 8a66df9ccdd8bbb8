"""Write the generated parts of the documents; called by cog from the Markdown files.

Each function prints Markdown to cog's output. Start reading at `cli_help`. `make docs` writes the
parts, `make check` fails when they are stale.
"""

from __future__ import annotations

import importlib
import inspect
import os
import re
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path

import cog  # type: ignore[import-not-found]  # exists while cog runs

ROOT = Path(__file__).resolve().parent.parent


def cli_help() -> None:
    """A section for each command, with its help as the terminal shows it."""
    from typer.main import get_command  # noqa: PLC0415 - heavy, and for this part only

    from policyguard.cli import app  # noqa: PLC0415 - as above

    for name in sorted(getattr(get_command(app), "commands", {})):
        _print(f"## `policyguard {name}`", "", "```text", _help(name), "```", "")


def _help(name: str) -> str:
    environment = os.environ | {"COLUMNS": "96", "NO_COLOR": "1", "TERM": "dumb"}
    done = subprocess.run(  # noqa: S603 - our own command
        [sys.executable, "-m", "policyguard", name, "--help"],
        env=environment,
        capture_output=True,
        text=True,
        check=True,
    )
    return "\n".join(line.rstrip() for line in done.stdout.strip("\n").splitlines())


def error_codes() -> None:
    """An entry for each code: the fact, what it means, what to do about it."""
    from policyguard.codes import CODES  # noqa: PLC0415 - for this part only

    for code, entry in sorted(CODES.items()):
        _print(
            f"`{code}` {entry.title}", f": {entry.meaning}", "", f"  *What to do:* {entry.mend}", ""
        )


def api() -> None:
    """A section for each public name, with its signature and docstring."""
    import policyguard  # noqa: PLC0415 - for this part only

    for name in policyguard.__all__:
        if not name.startswith("__"):
            _thing(name, getattr(policyguard, name))


def module_api(module: str, *names: str) -> None:
    """As `api`, for names of another module; without names for its `__all__`."""
    home = importlib.import_module(module)
    for name in names or home.__all__:
        _thing(name, getattr(home, name), level="###")


def _thing(name: str, thing: object, level: str = "##") -> None:
    _print(f"{level} `{name}`", "", "```text", f"{name}{_signature(thing)}", "```", "")
    _print(*_docstring(thing), "")
    if not inspect.isclass(thing) or issubclass(thing, BaseException):
        return
    for method, function in _methods(thing):
        _print(f"{level}# `{name}.{method}`", "", "```text")
        _print(f"{method}{_signature(function)}", "```", "", *_docstring(function), "")


def _methods(thing: type) -> Iterator[tuple[str, object]]:
    """The public functions of a class and of what it extends, each once."""
    members = {
        name: value for base in reversed(thing.__mro__) for name, value in vars(base).items()
    }
    for name, value in members.items():
        function = getattr(value, "__func__", value)
        hidden = name.startswith("_") or name in {"before_fork", "after_fork"}
        if not hidden and inspect.isfunction(function):
            yield name, function


def _signature(thing: object) -> str:
    if getattr(thing, "_is_protocol", False):
        return ""  # nobody makes one
    try:
        text = str(inspect.signature(thing))  # type: ignore[arg-type]  # refused with a TypeError
    except (TypeError, ValueError):
        return ""
    # Annotations are kept as text, so they are shown in quotes; nobody reads them so.
    text = re.sub(r"(: |-> )'([^']+)'", r"\1\2", text)
    # A default that only stands for itself is shown by its name.
    text = re.sub(r"<object object at 0x[0-9a-f]+>", "SAME", text)
    text = re.sub(r"<(?:function|built-in function) (\w+)(?: at 0x[0-9a-f]+)?>", r"\1", text)
    return re.sub(r"\((self|cls)(, |(?=\)))", "(", text)


def _docstring(thing: object) -> list[str]:
    """The docstring as Markdown: its sections as a bold word with a block below."""
    lines: list[str] = []
    for line in (inspect.getdoc(thing) or "").splitlines():
        if line.rstrip(":") in {"Args", "Returns", "Raises", "Attributes", "Cost", "Example"}:
            lines += [f"**{line.rstrip(':')}**", ""]
        elif line.startswith("    ") and not line.startswith("     "):
            lines.append(f"- {line.strip()}")
        else:
            lines.append(line.strip() if line.startswith("     ") else line)
    return lines


def policies() -> None:
    """A table of the shipped policies."""
    from policyguard.policy.assemble import load_policy  # noqa: PLC0415 - for this part only
    from policyguard.policy.casefile import load_cases  # noqa: PLC0415 - as above

    _print("| id | title | version | clauses | rules | retention | obligations | rows |")
    _print("| --- | --- | --- | --- | --- | --- | --- | --- |")
    for path in sorted(ROOT.glob("policies/*/policy.yaml")):
        policy = load_policy(path)
        parts = (policy.notice.clauses, policy.rules, policy.retention, policy.obligations)
        rows = len(load_cases(path.parent / "cases.yaml"))
        cells = [f"`{policy.id}`", policy.title, policy.version, *map(len, parts), rows]
        _print("| " + " | ".join(map(str, cells)) + " |")


def plugins() -> None:
    """A table of the plugins in this repository."""
    _print("| plugin | attaches to | supported | distribution |", "| --- | --- | --- | --- |")
    for path in sorted(ROOT.glob("plugins/*/pyproject.toml")):
        project = tomllib.loads(path.read_text(encoding="utf-8"))["project"]
        ranges = [item for item in _ranges(project) if not item.startswith("policyguard")]
        cells = [
            f"`{path.parent.name}`",
            project.get("description", ""),
            ", ".join(f"`{item}`" for item in ranges) or "any",
            f"`{project['name']}`",
        ]
        _print("| " + " | ".join(cells) + " |")


def _ranges(project: dict[str, object]) -> list[str]:
    found: list[str] = list(project.get("dependencies", []))  # type: ignore[call-overload]  # TOML
    for items in project.get("optional-dependencies", {}).values():  # type: ignore[attr-defined]  # TOML
        found += items
    return found


def _print(*lines: str) -> None:
    for line in lines:
        cog.outl(line)
