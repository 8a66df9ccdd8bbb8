"""`decide`: one flow, its verdict, and why.

Layer: cli. Start reading at `decide`.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterator
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer

from policyguard.cli.files import load
from policyguard.cli.output import Colour, Exit, MistakeError, complain, say, say_json
from policyguard.cli.shapes import Format, Listing

if TYPE_CHECKING:
    from policyguard.engine.decision import Decision
    from policyguard.engine.explain import Explanation
    from policyguard.policy.flow import Form
    from policyguard.policy.rules import Policy

_COLOURS: Final[dict[str, Colour]] = {"allow": "green", "deny": "red", "conditional": "yellow"}


def register(app: typer.Typer) -> None:
    """Add this module's commands."""
    app.command(
        epilog="Example: policyguard decide --policy lumipic --data user.behavior.usage "
        "--purpose analytics.reporting --to google_analytics --fact region=EU",
    )(decide)


def decide(
    *,
    policy: Annotated[str, typer.Option(metavar="POLICY", help="File or id of the policy.")],
    data: Annotated[str, typer.Option(metavar="TERM", help="Data category.")],
    purpose: Annotated[str, typer.Option(metavar="TERM", help='Purpose; "" for none.')],
    to: Annotated[str, typer.Option(metavar="ID", help="Recipient.")],
    form: Annotated[
        list[str] | None,
        typer.Option(metavar="FORM", help="Form of the data, once for each; raw without it."),
    ] = None,
    fact: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME=VALUE",
            help="What is known: consent:PURPOSE=true, opt_out:PURPOSE=true, age=20, region=EU, "
            "restricted=true, legal_request=true, transport=https, data_age=P6M, facts:NAME=true.",
        ),
    ] = None,
    shape: Format = Listing.text,
) -> None:
    """Ask whether one flow may happen, and why.

    Names what would be allowed instead. Exits with 0 when it is allowed, and with 1 when it is
    denied or conditional: at run time both
    are blocked.
    """
    from policyguard.cli.facts import read_facts, unheard  # noqa: PLC0415 - not for `--help`
    from policyguard.engine.explain import explain  # noqa: PLC0415 - as above
    from policyguard.policy.flow import Facts  # noqa: PLC0415 - as above

    context = read_facts(fact or ())
    asked = _form(form or [])
    model, snapshot = load(policy)
    for sentence in (*unheard(context, model.words), *_undeclared(model, data, purpose)):
        complain(f"policyguard: decide: {sentence}")
    facts = Facts(context)
    decision = snapshot.decide(data, asked, purpose or None, to, facts)
    _print(model, decision, explain(snapshot, decision, facts), shape)
    raise typer.Exit(Exit.CLEAN if decision.allowed else Exit.FINDINGS)


def _form(names: list[str]) -> Form:
    from policyguard.policy.flow import FORMS, close_form  # noqa: PLC0415 - not for `--help`

    for name in names:
        if name not in FORMS:
            near = difflib.get_close_matches(name, FORMS, n=1)
            hint = f"did you mean `{near[0]}`?" if near else f"one of {', '.join(FORMS)}"
            raise MistakeError(f"decide: --form {name}: unknown form", hint)
    try:
        return close_form(names)
    except ValueError:
        # Denies: a form that can't be isn't judged.
        raise MistakeError("decide: --form raw: can't stand beside another form") from None


def _as_json(decision: Decision, explanation: Explanation) -> dict[str, Any]:
    return {
        "schema": "policyguard.decide/1",
        **decision.as_dict(),
        "because": list(explanation.because),
        "nearest": [
            {"kind": change.kind, "what": change.what, "sentence": change.sentence}
            for change in explanation.nearest
        ],
    }


def _print(policy: Policy, decision: Decision, explanation: Explanation, shape: Listing) -> None:
    if shape is Listing.json:
        say_json(_as_json(decision, explanation))
        return
    say(explanation.headline, colour=_COLOURS[decision.verdict])
    for sentence in (*explanation.because, *_misspelt(policy, decision)):
        say(f"  because: {sentence}")
    for change in explanation.nearest:
        say(f"  allowed if: {change.sentence}")


def _undeclared(policy: Policy, data: str, purpose: str) -> Iterator[str]:
    """Terms that count only because they lie below a declared one; often they are misspelt."""
    from policyguard.policy.terms import ancestors  # noqa: PLC0415 - not for `--help`

    words = policy.words
    for option, tree, term in (("data", words.data, data), ("purpose", words.purposes, purpose)):
        if term not in tree and tree.known(term):
            above = next(key for key in ancestors(term) if key in tree)
            near = tree.nearest(term)
            hint = f"; did you mean `{near[0]}`?" if near else ""
            yield f"--{option} {term}: nobody declared it, so it counts like `{above}`{hint}"


def _misspelt(policy: Policy, decision: Decision) -> Iterator[str]:
    """What an unknown word may have been meant to be."""
    flow, words = decision.flow, policy.words
    if decision.reason == "unknown_term":
        for tree, term in ((words.data, flow.data), (words.purposes, flow.purpose or "")):
            if term and not tree.known(term):
                near = tree.nearest(term)
                yield f"`{term}` is unknown" + (f"; did you mean `{near[0]}`?" if near else "")
    if decision.reason == "unknown_recipient":
        near = difflib.get_close_matches(flow.recipient, policy.everyone, n=1)
        hint = f"; did you mean `{near[0]}`?" if near else ""
        yield f"`{flow.recipient}` is not declared{hint}"
