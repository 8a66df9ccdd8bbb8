"""A policy against its truth table.

Layer: engine. Start reading at `run_cases`.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from policyguard.engine.compile import Snapshot
from policyguard.engine.decision import Decision
from policyguard.policy.casefile import Case
from policyguard.policy.flow import Facts


@dataclass(frozen=True, slots=True)
class CaseResult:
    """One row and its answer.

    Attributes:
        case: the row.
        decision: what the policy says.
        ok: verdict and cites are as expected; None if the row expects nothing.
        wrong: what isn't as expected, in words; "" if all is well.
    """

    case: Case
    decision: Decision
    ok: bool | None
    wrong: str

    def as_dict(self) -> dict[str, Any]:
        """The row of `policyguard test --format json`."""
        found = self.decision.as_dict()
        shown = {key: found[key] for key in ("verdict", "reason", "rules", "clauses", "unmet")}
        return {"id": self.case.id, **shown, "ok": self.ok}


def run_cases(snapshot: Snapshot, cases: Iterable[Case]) -> list[CaseResult]:
    """Ask a policy every row of a truth table. Cost: one decision a row."""
    return [_run(snapshot, case) for case in cases]


def _run(snapshot: Snapshot, case: Case) -> CaseResult:
    facts = Facts(case.context)
    decision = snapshot.decide(case.data, case.form, case.purpose, case.recipient, facts)
    if case.expect is None:
        return CaseResult(case, decision, None, "")
    wrong = ""
    if decision.verdict != case.expect:
        wrong = f"expected {case.expect}, got {decision.verdict} ({decision.reason})"
    elif case.cites and not set(case.cites) & set(decision.clauses):
        cited = ", ".join(decision.clauses) or "none"
        wrong = f"expected one of the clauses {', '.join(case.cites)}, got {cited}"
    return CaseResult(case, decision, not wrong, wrong)
