"""The help of every command."""

from __future__ import annotations

import pytest
from typer.main import get_command

from policyguard.cli import app
from tests.cli.running import cli

COMMANDS = sorted(getattr(get_command(app), "commands", {}))
PROMISED = {
    "check", "validate", "show", "terms", "test", "decide", "explain", "schema", "config", "due",
    "demo", "init", "inspect",
}  # fmt: skip


def test_every_promised_command_is_there() -> None:
    """The commands of the stable interface exist."""
    assert set(COMMANDS) >= PROMISED


@pytest.mark.parametrize("name", COMMANDS)
def test_the_help_of_a_command_fits_and_has_an_example(name: str) -> None:
    """`--help` is readable at 80 columns and ends with a command to try."""
    done = cli(name, "--help")
    assert done.code == 0
    assert done.out.startswith(f"Usage: policyguard {name} ")
    assert f"Example: policyguard {name}" in done.out
    assert [line for line in done.out.splitlines() if len(line) > 80] == []


@pytest.mark.parametrize("name", COMMANDS)
def test_the_list_of_commands_says_what_each_does(name: str) -> None:
    """No description is cut short in the list."""
    (line,) = [row for row in cli("--help").out.splitlines() if row.startswith(f"  {name} ")]
    assert line.endswith(".")
    assert not line.endswith("...")


def test_without_arguments_the_help_is_printed() -> None:
    """`policyguard` alone is no mistake."""
    done = cli()
    assert done.code == 0
    assert done.out == cli("--help").out
