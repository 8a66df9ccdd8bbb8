"""The answer to one flow: verdict, reason, and what decided.

Layer: engine. Start reading at `Decision`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NoReturn

from policyguard.policy.flow import Flow, Reason, Verdict

Clauses = tuple[str, ...]


class Decision:
    """One shared, immutable answer; made once per flow and state of its facts.

    Attributes:
        verdict: allow, deny or conditional.
        reason: why, one word of a closed list.
        rules: ids of the rules and retentions that decided, sorted.
        clauses: ids of the clauses that these cite, or of the nearest permits, sorted.
        unmet: facts that fail (reason unmet) or are unknown (unknown_facts), sorted.
        digest: of the policy that answered.
        flow: what was asked.
        path: purposes from the outermost to the one that decided; empty outside a guard.
    """

    __slots__ = (
        "_clauses",
        "_find",
        "digest",
        "flow",
        "path",
        "reason",
        "rules",
        "unmet",
        "verdict",
    )

    verdict: Verdict
    reason: Reason
    rules: tuple[str, ...]
    unmet: tuple[str, ...]
    digest: str
    flow: Flow
    path: tuple[str, ...]
    _clauses: Clauses | None
    _find: Callable[[], Clauses] | None

    def __init__(
        self,
        verdict: Verdict,
        reason: Reason,
        flow: Flow,
        digest: str,
        *,
        rules: tuple[str, ...] = (),
        clauses: Clauses | Callable[[], Clauses] = (),
        unmet: tuple[str, ...] = (),
        path: tuple[str, ...] = (),
    ) -> None:
        put = object.__setattr__
        put(self, "verdict", verdict)
        put(self, "reason", reason)
        put(self, "flow", flow)
        put(self, "digest", digest)
        put(self, "rules", rules)
        put(self, "unmet", unmet)
        put(self, "path", path)
        # The nearest permits cost a search, so they are looked up when somebody reads them.
        lazy = callable(clauses)
        put(self, "_clauses", None if lazy else clauses)
        put(self, "_find", clauses if lazy else None)

    @property
    def clauses(self) -> Clauses:
        """Clauses that decided; for a denial without rules those of the nearest permits."""
        found = self._clauses
        if found is None:
            found = () if self._find is None else self._find()
            object.__setattr__(self, "_clauses", found)
        return found

    @property
    def allowed(self) -> bool:
        """Whether the flow may happen now: conditional may not."""
        return self.verdict == "allow"

    def along(self, path: tuple[str, ...]) -> Decision:
        """The same answer with the chain of purposes that led to it."""
        return Decision(
            self.verdict,
            self.reason,
            self.flow,
            self.digest,
            rules=self.rules,
            clauses=self._clauses if self._clauses is not None else (self._find or ()),
            unmet=self.unmet,
            path=path,
        )

    def as_dict(self) -> dict[str, Any]:
        """Plain data for JSON; names only."""
        return {
            "verdict": self.verdict,
            "reason": self.reason,
            "rules": list(self.rules),
            "clauses": list(self.clauses),
            "unmet": list(self.unmet),
            "digest": self.digest,
            "data": self.flow.data,
            "form": sorted(self.flow.form),
            "purpose": self.flow.purpose,
            "recipient": self.flow.recipient,
        }

    def __bool__(self) -> NoReturn:
        """Three answers don't fit two: raises TypeError."""
        raise TypeError("a Decision has three answers; use `.allowed` or `.verdict`")

    def __setattr__(self, name: str, value: object) -> NoReturn:
        """A Decision is shared and never changes."""
        raise AttributeError(f"a Decision can't be changed (`{name}`)")

    def __delattr__(self, name: str) -> NoReturn:
        """A Decision is shared and never changes."""
        raise AttributeError(f"a Decision can't be changed (`{name}`)")

    def _key(self) -> tuple[object, ...]:
        return self.verdict, self.reason, self.flow, self.rules, self.unmet, self.digest, self.path

    def __eq__(self, other: object) -> bool:
        """Equal answers to equal flows under the same policy."""
        return isinstance(other, Decision) and self._key() == other._key()

    def __hash__(self) -> int:
        """Consistent with equality."""
        return hash(self._key())

    def __repr__(self) -> str:
        """Names only: terms, rules, reason."""
        flow = self.flow
        return (
            f"Decision({self.verdict}, {self.reason}, {flow.data} for {flow.purpose} to "
            f"{flow.recipient}, rules={list(self.rules)})"
        )

    def __reduce__(self) -> tuple[object, ...]:
        """Pickled with its clauses looked up."""
        state = (self.rules, self.clauses, self.unmet, self.path)
        return _rebuild, (self.verdict, self.reason, self.flow, self.digest, *state)


def _rebuild(  # noqa: PLR0917 - called by pickle, by position
    verdict: Verdict,
    reason: Reason,
    flow: Flow,
    digest: str,
    rules: tuple[str, ...],
    clauses: Clauses,
    unmet: tuple[str, ...],
    path: tuple[str, ...],
) -> Decision:
    return Decision(
        verdict, reason, flow, digest, rules=rules, clauses=clauses, unmet=unmet, path=path
    )
