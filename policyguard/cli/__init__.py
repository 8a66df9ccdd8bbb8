"""The command line: parse, call one function, print, exit code.

Layer: cli. Start reading at `policyguard.cli.program`; each group of commands has a module. This
module stays light: `policyguard --version` answers before the option parser is imported.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from policyguard.cli.program import app

__all__ = ["app", "main"]


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command.

    Args:
        arguments: without the program's name; by default those of the process.

    Returns:
        The exit code: 0 clean or allowed, 1 findings or denied, 2 could not run, 3 incomplete;
        130 when interrupted. Never raises for a mistake of the user.

    Cost: `--version` takes about twice what an empty Python takes; anything else loads typer.
    """
    from policyguard.cli.output import run, say_version  # noqa: PLC0415 - not for `import`

    given = list(sys.argv[1:] if arguments is None else arguments)

    def command() -> int:
        if given == ["--version"]:
            return say_version()
        from policyguard.cli.program import run_program  # noqa: PLC0415 - typer is heavy

        return run_program(given)

    return run("policyguard", command)


def __getattr__(name: str) -> Any:
    """Load the Typer application when it is asked for."""
    if name == "app":
        from policyguard.cli.program import app  # noqa: PLC0415 - typer is heavy

        return app
    raise AttributeError(f"module 'policyguard.cli' has no attribute {name!r}")
