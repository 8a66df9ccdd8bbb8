"""`check`, `validate` and `test`: is the policy well written, and does it say what was meant?

Layer: cli. Start reading at `register`.
"""

from __future__ import annotations

import difflib
import os
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer

from policyguard.cli.files import PARTS, find_file, find_policy, load
from policyguard.cli.output import Colour, Exit, MistakeError, complain, printable, say, say_json
from policyguard.cli.shapes import Format, Listing, PolicyWord, Table, rows_in_columns
from policyguard.errors import PolicyError, Problem, ProblemsError

if TYPE_CHECKING:
    from policyguard.engine.cases import CaseResult
    from policyguard.policy.rules import Policy

_UNREAD: Final = "PG001"
_SLIP: Final = 0.9  # how alike a misspelt term and the one it was meant to be are


def register(app: typer.Typer) -> None:
    """Add this module's commands."""
    app.command(
        epilog="Example: policyguard check policy.yaml --data-map data-map.yaml",
    )(check)
    app.command(
        "validate",
        epilog="Example: policyguard validate policy.yaml",
        help="As `check`.",
    )(check)
    app.command("test", epilog="Example: policyguard test policy.yaml cases.yaml")(run_test)


def check(
    *,
    policies: Annotated[
        list[str], typer.Argument(metavar="POLICY...", help="Policy files, or ids of shipped ones.")
    ],
    data_map: Annotated[
        str, typer.Option(metavar="FILE", help="A data map to check against the policy.")
    ] = "",
    strict: Annotated[bool, typer.Option("--strict", help="Warnings count as errors.")] = False,
    shape: Format = Listing.text,
) -> None:
    """Load policies and report all problems.

    Each comes with file:line:col. Errors stop a policy from being used; warnings say what is
    legal but surely not meant. Exits
    with 1 when there is an error, with 2 when a file can't be read.
    """
    if data_map and len(policies) > 1:
        raise MistakeError("--data-map: belongs to one policy, and several are given")
    problems: list[Problem] = []
    loaded: list[tuple[str, Policy]] = []
    unread: list[Problem] = []
    for word in policies:
        try:
            path = str(find_policy(word))
        except MistakeError as mistake:
            # Denies: the exit code says that not everything was checked; the others still are.
            complain(f"policyguard: check: {mistake}")
            unread.append(Problem(printable(word), 0, 0, _UNREAD, mistake.what, mistake.hint))
            continue
        found, policy = _check(path, data_map and str(find_file(data_map)))
        problems += found
        if policy is not None:
            loaded.append((word, policy))
    if shape is Listing.json:
        say_json(_as_json([*unread, *problems], loaded))
    else:
        _print(problems, loaded, len(policies))
    verdict = _verdict(problems, strict=strict)
    raise typer.Exit(Exit.COULD_NOT_RUN if unread else verdict)


def _check(path: str, data_map: str) -> tuple[list[Problem], Policy | None]:
    """The problems of one policy and its data map, and the policy if it can be used."""
    from policyguard.policy.assemble import load_policy  # noqa: PLC0415 - not for `--help`
    from policyguard.policy.datamap import load_data_map  # noqa: PLC0415 - as above
    from policyguard.policy.lint import lint  # noqa: PLC0415 - as above

    try:
        policy = load_policy(path)
    except PolicyError as error:
        # Denies: the problems are printed, and the exit code says that there are some.
        return list(error.problems), None
    if not data_map:
        return lint(policy), policy
    try:
        labels = load_data_map(data_map, policy.words, policy.everyone)
    except ProblemsError as error:
        # Denies: as above, for the data map.
        return [*lint(policy), *error.problems], policy
    return lint(policy, labels), policy


def _verdict(problems: Sequence[Problem], *, strict: bool) -> Exit:
    errors = [p for p in problems if p.severity == "error"]
    # A file that is there but can't be read as a whole was not checked at all.
    if any(p.code == _UNREAD and p.line == 0 for p in errors):
        return Exit.COULD_NOT_RUN
    return Exit.FINDINGS if errors or (strict and problems) else Exit.CLEAN


def _print(problems: Sequence[Problem], loaded: Iterable[tuple[str, Policy]], files: int) -> None:
    for problem in problems:
        say(str(problem), colour="yellow" if problem.severity == "warning" else "red")
    for word, policy in loaded:
        parts = (
            _count(len(policy.rules), "rule"),
            _count(len(policy.retention), "retention period"),
            _count(len(policy.obligations), "obligation"),
            _count(len(policy.notice.clauses), "clause"),
        )
        say(f"{word}: policy `{policy.id}` can be used: {', '.join(parts)}")
    errors = sum(p.severity == "error" for p in problems)
    warnings = len(problems) - errors
    say(f"{_count(files, 'policy')}: {_count(errors, 'error')}, {_count(warnings, 'warning')}")


def _count(number: int, word: str) -> str:
    many = word[:-1] + "ies" if word.endswith("y") else word + "s"
    return f"{number} {word if number == 1 else many}"


def _as_json(problems: Iterable[Problem], loaded: Iterable[tuple[str, Policy]]) -> dict[str, Any]:
    from policyguard.policy.digest import policy_digest  # noqa: PLC0415 - not for `--help`

    return {
        "schema": "policyguard.check/1",
        "policies": [
            {"file": printable(word), "policy": policy.id, "digest": policy_digest(policy)}
            for word, policy in loaded
        ],
        "problems": [
            {
                "file": p.file, "line": p.line, "col": p.col, "code": p.code,
                "severity": p.severity, "message": p.message, "hint": p.hint,
            }
            for p in problems
        ],
    }  # fmt: skip


def run_test(
    *,
    policy: PolicyWord,
    cases: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="[CASES...]",
            help="Truth tables, YAML or JSONL; by default cases.yaml beside the policy.",
        ),
    ] = None,
    shape: Format = Listing.text,
) -> None:
    """Ask a policy every row of its truth tables.

    Exits with 1 when a row is not as expected, with 3 when there is no row that expects anything.
    """
    from policyguard.engine.cases import run_cases  # noqa: PLC0415 - not for `--help`
    from policyguard.policy.casefile import load_cases  # noqa: PLC0415 - as above

    tables = [find_file(word, PARTS[2]) for word in cases or [_beside(policy)]]
    model, snapshot = load(policy)
    results = [
        result
        for table in tables
        for result in run_cases(snapshot, load_cases(table, warn=lambda told: complain(str(told))))
    ]
    for sentence in _undeclared(model, results):
        complain(sentence)
    if shape is Listing.json:
        say_json(
            {
                "schema": "policyguard.test/1",
                "policy": model.id,
                "digest": snapshot.digest,
                "results": [result.as_dict() for result in results],
            }
        )
    else:
        _print_results(results)
    expecting = [result for result in results if result.ok is not None]
    if not expecting:
        raise typer.Exit(Exit.INCOMPLETE)
    raise typer.Exit(Exit.CLEAN if all(result.ok for result in expecting) else Exit.FINDINGS)


def _beside(policy: str) -> str:
    """The truth table in the policy's folder.

    Raises:
        MistakeError: there is none.
    """
    path = find_policy(policy).parent / PARTS[2]
    if not os.path.lexists(path):
        raise MistakeError(f"{path}: no such file", "name a truth table after the policy")
    return str(path)


def _undeclared(policy: Policy, results: Iterable[CaseResult]) -> Iterator[str]:
    """Terms of rows that look misspelt, once each: such a row passes for the wrong reason.

    Others that nobody declared are left alone: a table may ask about them on purpose.
    """
    words = policy.words
    told: set[str] = set()
    for result in results:
        case = result.case
        for tree, term in ((words.data, case.data), (words.purposes, case.purpose)):
            if not term or term in tree or term in told:
                continue
            told.add(term)
            near = difflib.get_close_matches(term, tree.phrases, n=1, cutoff=_SLIP)
            if near:
                hint = f"did you mean `{near[0]}`?"
                yield f"{case.place}: `{printable(term)}` is declared nowhere; {hint}"


def _print_results(results: Sequence[CaseResult]) -> None:
    """The failures with their places, the answers to rows that only ask, and a closing line."""
    wrong = [result for result in results if result.ok is False]
    asked = [result for result in results if result.ok is None]
    for result in wrong:
        say(f"{_place(result)}: {result.case.id}: {result.wrong}", colour="red")
        for line in rows_in_columns(_details(result)):
            say(f"    {line}")
    for result in asked:
        answer = f"{result.decision.verdict} ({result.decision.reason})"
        say(f"{_place(result)}: {result.case.id}: {answer}")
    right = len(results) - len(wrong) - len(asked)
    more = f", {len(wrong)} not" if wrong else ""
    more += f", {len(asked)} only asked" if asked else ""
    colour: Colour = "red" if wrong else "green" if right else "yellow"
    say(f"{_count(len(results), 'row')}: {right} ok{more}", colour=colour)
    if not right and not wrong:
        say("no row expects anything, so nothing is shown by this", colour="yellow")


def _place(result: CaseResult) -> str:
    file, _, line = result.case.place.rpartition(":")
    return f"{Path(file)}:{line}"


def _details(result: CaseResult) -> Table:
    flow, decision = result.decision.flow, result.decision
    yield "flow", f"{flow.data} for {flow.purpose or 'no purpose'} to {flow.recipient}"
    if flow.form:
        yield "form", ", ".join(sorted(flow.form))
    yield "rules", ", ".join(decision.rules) or "none"
    yield "clauses", ", ".join(decision.clauses) or "none"
    if decision.unmet:
        yield "unmet", ", ".join(decision.unmet)
    if result.case.why:
        yield "row says", result.case.why
