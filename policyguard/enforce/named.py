"""Words that code names: each is checked against the policy, and a wrong one names the nearest.

Layer: enforce. Start reading at `Named`.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from policyguard.engine.compile import Snapshot
from policyguard.errors import TermError
from policyguard.policy.flow import RAW, Form, Label, close_form
from policyguard.policy.taxonomy import Terms
from policyguard.policy.terms import is_term


@dataclass(frozen=True, slots=True)
class Named:
    """Checks words against one policy. Only declared words pass: a misspelt one is an error."""

    snapshot: Snapshot

    def purpose(self, purpose: str) -> str:
        """A purpose; raises TermError for one that the policy doesn't know."""
        return _known("purpose", purpose, self.snapshot.context.taxonomy.purposes)

    def form(self, form: str | Iterable[str]) -> Form:
        """A form; raises TermError for one that doesn't exist."""
        try:
            return close_form(form)
        except ValueError as error:
            raise TermError(str(error)) from None
        except TypeError:
            # Denies: what isn't text names no form.
            raise TermError("a form is named as text, such as `aggregated`") from None

    def label(self, data: str, form: str | Iterable[str] = RAW) -> Label:
        """A label that code declares; raises TermError for a term the policy doesn't know."""
        _known("data category", data, self.snapshot.context.taxonomy.data)
        return Label(data, self.form(form), evidence="declared")

    def labels(self, data: str | Iterable[str]) -> tuple[Label, ...]:
        """One label or several; as `label`."""
        names = (data,) if isinstance(data, str) else tuple(data)
        return tuple(self.label(name) for name in names)

    def recipient(self, name: str) -> str:
        """A recipient; raises TermError if the policy declares none such."""
        known = self.snapshot.context.recipients
        return _known("recipient", name, Terms(dict.fromkeys(known, "")))


def _known(kind: str, term: object, terms: Terms) -> str:
    if not isinstance(term, str):
        what = f"a {kind} must be text"
        raise TermError(what, hint="a decorator needs parentheses: @guard.purpose('...')")
    if term in terms:
        return term
    near = terms.nearest(term)
    hint = f"did you mean `{near[0]}`?" if near else "`policyguard terms WORD` finds terms"
    # Arguments get swapped: what isn't written like a term may be a value, and isn't shown.
    shown = f"`{term}`" if is_term(term) else "(no such word, and not shown)"
    raise TermError(f"unknown {kind} {shown}", "the policy doesn't declare it", hint)
