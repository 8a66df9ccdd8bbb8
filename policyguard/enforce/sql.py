"""A statement, before it runs: what it reads, what leaves by it, and what its rows will carry.

Layer: enforce. Loaded when the first statement is checked, because the inspector is heavy. Start
reading at `check_sql`.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

from policyguard.enforce.context import current_scope
from policyguard.enforce.inforce import InForce
from policyguard.enforce.judge import Judge
from policyguard.enforce.plans import UNREADABLE, Clock, Labels, Plan, Planner
from policyguard.enforce.seen import ANYTHING
from policyguard.enforce.site import call_site
from policyguard.enforce.violation import Judged
from policyguard.errors import PolicyGuardError
from policyguard.inspectors.sql import Session
from policyguard.inspectors.sql.comments import commented
from policyguard.inspectors.sql.rewriting import rewritten
from policyguard.policy.flow import RAW, Flow, Label
from policyguard.policy.terms import SELF


@dataclass(frozen=True, slots=True)
class SqlCheck:
    """The answer to an integration: run the statement, and label its rows.

    Attributes:
        text: what is to be sent: the very text that was given, unless denied columns became NULL.
        labels: for each output column what its values carry.
        names: names of the output columns, where known.
        unresolved: rows may carry anything; remember every value as such.
        clocks: output columns that tell how old a row is.
    """

    text: str
    labels: tuple[Labels, ...] = ()
    names: tuple[str, ...] = ()
    unresolved: bool = False
    clocks: tuple[Clock, ...] = ()

    @property
    def labelled(self) -> bool:
        """Whether any value of the rows is to be remembered."""
        return self.unresolved or any(self.labels)


def with_purpose(check: SqlCheck, purpose: str | None) -> SqlCheck:
    """The same, with the purpose as a comment at the end of the text.

    A text that isn't understood is sent as it is: a comment might end something in it.
    """
    if purpose is None or check.unresolved or not isinstance(check.text, str):
        return check
    return replace(check, text=commented(check.text, purpose))


def planner_of(now: InForce) -> Planner | None:
    """The planner of what is in force, made on first use; None without a data map."""
    if not now.planner and now.data_map is not None:
        catalog = now.catalog()
        if catalog is not None:
            now.planner.append(Planner(now.data_map, catalog))
    return now.planner[0] if now.planner else None


def check_sql(
    guard: Judge,
    text: str,
    dialect: str,
    parameters: object = None,
    session: Session | None = None,
) -> SqlCheck:
    """Judge a statement and say what its rows carry.

    Args:
        guard: whose policy and data map count.
        text: the SQL text as it will run.
        dialect: of the database; required.
        parameters: bound values, searched where the statement writes to a recipient.
        session: the connection that the text is sent over.

    Returns:
        What is to be sent, and the labels of the output columns. In mode redact, what is denied to
        the reader is NULL in what is to be sent.

    Raises:
        PolicyViolation: a read, write or export is denied and its mode is block; or redact, and
            it can't be taken out of the statement.

    Cost: a text seen before costs a look-up and a decision for each labelled column it reads.
    """
    now = guard.in_force
    planner = planner_of(now)
    if planner is None:
        return SqlCheck(text)
    plan = _plan_of(planner, text, dialect, session)
    if plan.quiet:
        return SqlCheck(text)
    redaction = _Redaction(planner, text, dialect, session, plan)
    _judge_reads(guard, plan, now, redaction)
    for recipient, labels in plan.leaves:
        found: list[tuple[Label, str, Any]] = [(label, "", "strong") for label in labels]
        found += guard.labels_in({"statement": text, "parameters": parameters})
        if found:
            guard.judge(found, recipient, at="sql", now=now)
        if plan.unresolved:
            _cannot_tell(guard, plan.unresolved, recipient, now)
    text, plan = redaction.text, redaction.plan
    read_at = call_site()
    outputs = tuple(
        tuple(replace(label, at=read_at) for label in column) for column in plan.outputs
    )
    clocks = plan.clocks if now.snapshot.context.since else ()
    return SqlCheck(text, outputs, plan.names, bool(plan.unresolved), clocks)


@dataclass(slots=True)
class _Redaction:
    """Takes denied columns out of a statement when it is called with their labels.

    Attributes:
        text: what is to be sent.
        plan: of that text.
    """

    planner: Planner
    text: str
    dialect: str
    session: Session | None
    plan: Plan

    def __call__(self, labels: frozenset[Label]) -> bool:
        """Whether nothing of the labelled columns is read any more."""
        columns = [self.plan.columns.get(label, frozenset()) for label in labels]
        if not all(columns) or self.plan.unresolved:
            return False
        denied = frozenset[str]().union(*columns)
        found = rewritten(self.text, self.dialect, self.planner.catalog, denied, self.session)
        if found is None or found is self.text:
            return False
        plan = self.planner.plan(found, self.dialect, self.session)
        if plan.unresolved or not labels.isdisjoint(plan.reads):
            return False
        self.text, self.plan = found, plan
        return True


def _plan_of(planner: Planner, text: str, dialect: str, session: Session | None) -> Plan:
    try:
        return planner.plan(text, dialect, session)
    except PolicyGuardError as error:
        # Denies: in a dialect that nobody knows a text may say anything. The sentence is our own.
        why = error.what
    except Exception:  # noqa: BLE001 - memory, recursion: whatever broke, the text was not read
        # Denies: as above. Not remembered: the next try may have more room.
        why = "a statement that can't be inspected"
    return Plan(unresolved=why, leaves=((UNREADABLE, ()),))


def _judge_reads(guard: Judge, plan: Plan, now: InForce, redaction: _Redaction) -> None:
    scope = current_scope()
    reader = scope.reader if scope else SELF
    found: list[tuple[Label, str, Any]] = [(label, "", "strong") for label in plan.reads]
    if found:
        guard.judge(found, reader, at="sql", now=now, redact=redaction)
    if plan.unresolved:
        _cannot_tell(guard, plan.unresolved, reader, now)


def _cannot_tell(guard: Judge, why: str, recipient: str, now: InForce) -> None:
    """Deny what can't be told to flow to a recipient, in the mode that applies."""
    flow = Flow("", RAW, guard.current_purpose(), recipient)
    decision = now.snapshot.deny(flow, "cannot_tell")
    guard.settle([Judged(decision, replace(ANYTHING, source=why))], at="sql", now=now)
