"""Every exception that policyguard raises, and the shape of its message.

Layer: errors. Imports nothing of policyguard. Start reading at `PolicyGuardError`.

INVARIANT: no field of an error ever holds a data value, an SQL literal, a payload or the text of a
foreign exception. Names, terms, places and codes only.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from collections.abc import Iterable

Severity = Literal["error", "warning"]
_SHOWN = 200  # of the problems of one file; past that nobody reads on


@dataclass(frozen=True, slots=True, order=True)
class Problem:
    """One thing that is wrong in a file a person wrote, with its place.

    Attributes:
        file: the path as the person named it; "" when there is no file.
        line: 1-based; 0 when the whole file is meant.
        col: 1-based; 0 when the whole line is meant.
        code: "PGnnn"; `policyguard explain PGnnn` tells more.
        message: lower case, no final period, names in backticks.
        hint: what to do about it, or "".
        severity: an error stops the load, a warning doesn't.
    """

    file: str
    line: int
    col: int
    code: str
    message: str
    hint: str = ""
    severity: Severity = "error"

    def __str__(self) -> str:
        """`file:line:col: PGnnn message (hint)`, on one line."""
        place = ":".join(str(part) for part in (self.file, self.line, self.col) if part)
        mark = "warning: " if self.severity == "warning" else ""
        hint = f" ({self.hint})" if self.hint else ""
        return f"{place}{': ' if place else ''}{self.code} {mark}{self.message}{hint}"


class PolicyGuardError(Exception):
    """The root of all errors that policyguard raises.

    Attributes:
        code: "PGnnn".
        what: the fact, in one line.
        because: the cause with its place, or "".
        hint: a way out, or "".
    """

    code: str = "PG000"

    def __init__(self, what: str, because: str = "", hint: str = "", *, code: str = "") -> None:
        # Plain positional arguments keep the error picklable.
        super().__init__(what, because, hint)
        self.what, self.because, self.hint = what, because, hint
        if code:
            self.code = code

    def __str__(self) -> str:
        """Code and fact, then cause and way out on lines of their own."""
        lines = [f"{self.code} {self.what}"]
        lines += [f"  because: {self.because}"] if self.because else []
        lines += [f"  hint: {self.hint}"] if self.hint else []
        return "\n".join(lines)

    def __reduce__(self) -> tuple[object, ...]:
        """Rebuild from the plain arguments; the code and other fields travel as state."""
        return type(self), self.args, self.__dict__.copy()


class ProblemsError(PolicyGuardError):
    """A file that a person wrote can't be used; carries every problem found in one run."""

    subject = "file"

    def __init__(self, problems: Iterable[Problem]) -> None:
        self.problems: tuple[Problem, ...] = tuple(sorted(problems))
        errors = [problem for problem in self.problems if problem.severity == "error"]
        count = f"{len(errors)} problem{'' if len(errors) == 1 else 's'}"
        super().__init__(f"{self.subject} can't be used: {count}")
        self.args = (self.problems,)
        self.code = errors[0].code if errors else "PG000"

    def __str__(self) -> str:
        """Problems, a line each; `problems` holds them all."""
        lines = [str(problem) for problem in self.problems[:_SHOWN]]
        more = len(self.problems) - len(lines)
        return "\n".join([*lines, f"and {more} more"] if more else lines)


class PolicyError(ProblemsError):
    """A policy file can't be used. `problems` lists all of them."""

    subject = "policy"


class DataMapError(ProblemsError):
    """A data map can't be used. `problems` lists all of them."""

    subject = "data map"


class CasesError(ProblemsError):
    """A truth table can't be used. `problems` lists all of them."""

    subject = "truth table"


class ConfigError(ProblemsError):
    """The configuration can't be used. `problems` lists all of them."""

    subject = "configuration"


class TermError(PolicyGuardError):
    """Code names a data category, purpose, recipient or form that the policy doesn't know."""

    code = "PG203"


class PluginError(PolicyGuardError):
    """An integration can't be found or installed; names its distribution."""

    code = "PG601"
