"""The Typer application: which commands there are, and how mistakes in the arguments are said.

Layer: cli. Each group of commands has its own module; what they need is imported inside of them, so
that `--help` is quick. Start reading at `app`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any, Final, cast

import typer
from typer.core import TyperGroup
from typer.main import get_command

from policyguard.cli import catalog, check, decide, show, sql, start
from policyguard.cli.output import INTERRUPTED, Exit, MistakeError, run, say_text, say_version

_NAME: Final = "policyguard"
# The class that all mistakes in arguments share. Typer has it from click, newer ones from a copy of
# their own, and exports neither; the place in the family is the same in both.
_ArgumentError: Final = cast("type[Exception]", typer.BadParameter.__mro__[2])


class Program(TyperGroup):
    """The root command: every way to end leads through `policyguard.cli.output.run`."""

    def main(
        self,
        args: Sequence[str] | None = None,
        prog_name: str | None = None,
        complete_var: str | None = None,
        standalone_mode: bool = True,
        windows_expand_args: bool = True,
        **extra: Any,
    ) -> Any:
        """Run a command; raises SystemExit with its exit code unless told otherwise."""
        del prog_name, complete_var

        def command() -> int:
            try:
                code = super(Program, self).main(
                    args,
                    _NAME,
                    standalone_mode=False,
                    windows_expand_args=windows_expand_args,
                    **extra,
                )
            except _ArgumentError as error:
                # Denies: a command that wasn't understood does nothing.
                raise _mistake(error) from None
            except typer.Abort:
                code = INTERRUPTED
            if code == INTERRUPTED:
                # Denies: what was interrupted is neither clean nor allowed.
                raise KeyboardInterrupt
            return code if isinstance(code, int) else Exit.CLEAN

        code = run(_NAME, command)
        if standalone_mode:
            raise SystemExit(code)
        return code


def _mistake(error: Exception) -> MistakeError:
    """A mistake in the arguments as one line, with the help to look at."""
    context = getattr(error, "ctx", None)
    path = str(getattr(context, "command_path", _NAME))
    text = " ".join(str(getattr(error, "format_message", lambda: "wrong arguments")()).split())
    what = text[:1].lower() + text[1:].rstrip(".")
    return MistakeError(
        f"{path.removeprefix(_NAME).strip()}: {what}".removeprefix(": "), f"see `{path} --help`"
    )


app: Final = typer.Typer(
    cls=Program,
    name=_NAME,
    add_completion=False,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
)


def _show_version(*, wanted: bool) -> None:
    if wanted:
        raise typer.Exit(say_version())


@app.callback(
    invoke_without_command=True,
    epilog="Exit codes: 0 clean or allowed, 1 findings or denied, 2 could not run, 3 incomplete. "
    "POLICY is a file, or the id of a policy that ships with policyguard: lumipic, minimal, ...",
)
def _root(
    context: typer.Context,
    version: Annotated[  # noqa: ARG001 - answered by its callback
        bool,
        typer.Option(
            "--version",
            help="Print the version and leave.",
            is_eager=True,
            callback=lambda value: _show_version(wanted=value),
        ),
    ] = False,
) -> None:
    """Hold running code to the published privacy policy."""
    if context.invoked_subcommand is None:
        say_text(context.get_help())


for _group in (start, check, show, decide, sql, catalog):
    _group.register(app)


def run_program(arguments: Sequence[str]) -> int:
    """Run one command and return its exit code."""
    code = get_command(app).main(list(arguments), standalone_mode=False)
    return code if isinstance(code, int) else Exit.COULD_NOT_RUN
