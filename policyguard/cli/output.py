"""What a command prints, and how a mistake becomes one line and an exit code.

Layer: cli. Imports nothing heavy. Start reading at `run`, then `say`.
"""

from __future__ import annotations

import errno
import os
import sys
from collections.abc import Callable
from enum import IntEnum
from pathlib import Path
from typing import Any, Final, Literal, TextIO

from policyguard.errors import PolicyGuardError

Colour = Literal["", "red", "green", "yellow", "bold"]
_CODES: Final = {"red": "31", "green": "32", "yellow": "33", "bold": "1"}
INTERRUPTED: Final = 130


class Exit(IntEnum):
    """What a command's exit code says. Stable."""

    CLEAN = 0
    FINDINGS = 1
    COULD_NOT_RUN = 2
    INCOMPLETE = 3


class MistakeError(Exception):
    """Something the user can mend: one line on stderr, exit code 2.

    Attributes:
        what: the fact, with the place in it.
        hint: a way out, or "".
    """

    def __init__(self, what: str, hint: str = "") -> None:
        super().__init__(what, hint)
        self.what, self.hint = what, hint

    def __str__(self) -> str:
        """The fact, and the way out in brackets."""
        return f"{self.what} ({self.hint})" if self.hint else self.what


class _Lost(Exception):  # noqa: N818 - a signal inside this module
    """Standard output can't be written, for another reason than a reader who left."""


def run(name: str, command: Callable[[], int]) -> int:
    """Run a command; whatever goes wrong becomes a line on stderr and an exit code.

    Args:
        name: who speaks in an error line: `policyguard check`.
        command: prints and returns the exit code.

    A reader who closes the pipe changes nothing of the exit code: it is that of the verdict.
    """
    _forgive_encoding()
    try:
        code = command()
        _flush(sys.stdout)
    except KeyboardInterrupt:
        # Denies: what was interrupted is neither clean nor allowed.
        complain(f"{name}: interrupted")
        code = INTERRUPTED
    except MistakeError as mistake:
        # Denies: a command that could not run has no verdict.
        code = _refused(f"{name}: {mistake}")
    except PolicyGuardError as error:
        # Denies: as above; the error's text is our own and names only names.
        code = _refused(*str(error).splitlines())
    except _Lost as lost:
        # Denies: a verdict that nobody can read is none.
        code = _refused(f"{name}: can't write to standard output: {lost}")
    except OSError as error:
        # Denies: as above. The system's word for the error, and the file it is about.
        where = f"{_name_of(error)}: " if error.filename else ""
        code = _refused(f"{name}: {where}{reason_of(error)}")
    except Exception as error:  # noqa: BLE001 - the last line before a traceback
        # Denies: a fault of ours is no verdict either. Its text may hold a value, so it stays away.
        code = _refused(f"{name}: internal error, {_fault(error)} (please report it)")
    except SystemExit:
        # Denies: the option parser ends the process when the reader of its help has left.
        code = Exit.COULD_NOT_RUN
    return int(code) if _settled() else Exit.COULD_NOT_RUN


def _refused(*lines: str) -> Exit:
    for line in lines:
        complain(line)
    return Exit.COULD_NOT_RUN


def say(text: str = "", *, colour: Colour = "") -> None:
    """Print a line to standard output, with control characters escaped.

    Does nothing once the reader has closed the pipe, or when there is no standard output.
    """
    line = printable(text)
    if colour and coloured():
        line = f"\x1b[{_CODES[colour]}m{line}\x1b[0m"
    _write(line + "\n")


def say_version() -> int:
    """Print who answers, and in which version."""
    say(f"policyguard {version()}")
    return Exit.CLEAN


def say_json(value: Any) -> None:
    """Print one JSON document; ASCII, so that any terminal and pipe takes it."""
    import json  # noqa: PLC0415 - `--version` does without

    _write(json.dumps(value, indent=2) + "\n")


def say_row(value: Any) -> None:
    """Print one JSON object on one line."""
    import json  # noqa: PLC0415 - as above

    _write(json.dumps(value) + "\n")


def say_text(text: str) -> None:
    """Print a text of our own making whose parts are escaped already."""
    _write(text if text.endswith("\n") else text + "\n")


def complain(text: str) -> None:
    """Print a line to standard error; where there is none, the exit code has to do."""
    try:
        if sys.stderr is not None:
            sys.stderr.write(printable(text) + "\n")
            sys.stderr.flush()
    except (OSError, ValueError):
        # Denies nothing: the exit code says it too.
        _silence(sys.stderr)


def write_file(name: str, text: str, *, spare: Path, force: bool) -> None:
    """Write a text to a file the user named.

    Args:
        name: the file.
        text: what goes into it.
        spare: the file that the text was made from; it is never written over.
        force: write over another file that is there already.

    Raises:
        MistakeError: it can't be written, or is there already.
    """
    try:
        path = Path(name)
        if path.is_file() and path.samefile(spare):
            raise MistakeError(f"can't write `{name}`: it is the policy itself")
        if path.is_file() and not force:
            raise MistakeError(f"can't write `{name}`: it is there already", "see --force")
        path.write_text(text, encoding="utf-8")
    except (OSError, ValueError) as error:
        # Denies: a page that wasn't written is not shown as written.
        raise MistakeError(f"can't write `{name}`: {reason_of(error)}") from None


def coloured() -> bool:
    """Whether colours are wanted: only on a terminal, and not with NO_COLOR."""
    if os.environ.get("NO_COLOR") or os.environ.get("TERM") == "dumb":
        return False
    try:
        return sys.stdout is not None and sys.stdout.isatty()
    except ValueError:
        # Denies nothing: a closed stream is no terminal.
        return False


def printable(text: str) -> str:
    """Text as it may reach a terminal: what doesn't show, moves or reorders is escaped."""
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() else _escaped(c) for c in text)


def reason_of(error: Exception) -> str:
    """Why a file operation failed, in the system's words."""
    text = error.strerror if isinstance(error, OSError) else "not a usable file name"
    return (text or "unknown cause").lower()


def version() -> str:
    """The distribution's version; says so where the package was never installed."""
    from importlib import metadata  # noqa: PLC0415 - a third of the time of `--version`

    try:
        return metadata.version("policyguard-runtime")
    except metadata.PackageNotFoundError:
        # Denies nothing: a checkout on the path has no metadata.
        return "unknown (not installed)"


def _escaped(char: str) -> str:
    number = ord(char)
    return f"\\U{number:08x}" if number > 0xFFFF else f"\\u{number:04x}"  # noqa: PLR2004 - BMP


def _write(text: str) -> None:
    stream = sys.stdout
    if stream is None:
        return
    try:
        stream.write(text)
    except OSError as error:
        # Denies nothing by itself, see `_failed`.
        _failed(stream, error)
    except ValueError:
        # Denies: the stream was closed under us, so nobody reads the verdict.
        raise _Lost("it is closed") from None


def _flush(stream: TextIO | None) -> None:
    if stream is None:
        return
    try:
        stream.flush()
    except OSError as error:
        # Denies nothing by itself, see `_failed`.
        _failed(stream, error)
    except ValueError:
        # Denies: as in `_write`.
        raise _Lost("it is closed") from None


def _settled() -> bool:
    """Whether everything that was said has left, so that nothing fails when the process ends."""
    try:
        _flush(sys.stdout)
    except _Lost:
        # Denies: see `run`; it was complained about there, or the stream is gone altogether.
        return False
    return True


def _silence(stream: TextIO) -> None:
    """What is still in the buffer would fail again, loudly, when the interpreter ends."""
    try:
        sink = os.open(os.devnull, os.O_WRONLY)
        os.dup2(sink, stream.fileno())
        os.close(sink)
    except (OSError, ValueError):
        # Denies nothing: a stream without a descriptor has nothing left to say at the end.
        return


def _failed(stream: TextIO, error: OSError) -> None:
    """A reader who left is no error; anything else is. Either way nothing is written any more."""
    _silence(stream)
    if error.errno != errno.EPIPE:
        raise _Lost(reason_of(error)) from None


def _forgive_encoding() -> None:
    """A terminal that can't show a character gets its escape instead of a crash."""
    for stream in (sys.stdout, sys.stderr):
        reconfigure = getattr(stream, "reconfigure", None)
        if reconfigure is not None:
            reconfigure(errors="backslashreplace")


def _name_of(error: OSError) -> str:
    name = error.filename
    return os.fsdecode(name) if isinstance(name, (str, bytes)) else str(name)


def _fault(error: BaseException) -> str:
    """The kind of an error and the place in our code; never its text."""
    place, trace = "", error.__traceback__
    while trace is not None:
        file = trace.tb_frame.f_code.co_filename
        if f"{os.sep}policyguard{os.sep}" in file:
            place = f" at {Path(file).parent.name}/{Path(file).name}:{trace.tb_lineno}"
        trace = trace.tb_next
    return f"{type(error).__name__}{place}"
