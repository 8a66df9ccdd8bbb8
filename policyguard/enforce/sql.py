"""A statement, before it runs: what it reads, what leaves by it, and what its rows will carry.

Layer: enforce. Loaded when the first statement is checked, because the inspector is heavy. Start
reading at `check_sql`.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from typing import Any, Final

from policyguard.enforce.context import current_scope
from policyguard.enforce.inforce import InForce
from policyguard.enforce.judge import Judge
from policyguard.enforce.seen import ANYTHING
from policyguard.enforce.site import call_site
from policyguard.enforce.violation import Judged
from policyguard.errors import PolicyGuardError
from policyguard.inspectors.sql import Catalog, Output, Session, Source, Statement, inspect
from policyguard.policy.datamap import DataMap
from policyguard.policy.flow import RAW, Flow, Label, close_form
from policyguard.policy.terms import SELF

_CACHED: Final = 4096
_FORM_OF: Final = {
    "hashed": ("pseudonymised",),
    "aggregated": ("aggregated",),
    "encrypted": ("encrypted",),
}
# Words without which no dialect puts rows anywhere; many more texts have them than write.
_WRITES: Final = re.compile(
    r"\b(insert|merge|copy|replace|update|into|unload|export|put|call|do|exec\w*)\b"
    r"|\bcreate\b.*\b(select|from|with)\b",
    re.DOTALL,
)
_EXPORTS: Final = re.compile(
    r"\b(unload|export|outfile|dumpfile)\b|\bcopy\b(?!.*\bfrom\s+(stdin|'))", re.DOTALL
)
# Who gets what a statement sends that was not even read: nobody that a policy could declare.
UNREADABLE: Final = "unreadable-statement"
Labels = tuple[Label, ...]


@dataclass(frozen=True, slots=True)
class Plan:
    """What a text does with labelled columns, whatever its purpose.

    Attributes:
        reads: one label for each labelled column that is read.
        leaves: (recipient, labels) of writes and exports that belong to a recipient.
        outputs: labels of each output column of the last statement that returns rows.
        unresolved: the reason, if anything in the text can't be resolved.
        names: names of the output columns.
    """

    reads: Labels = ()
    leaves: tuple[tuple[str, Labels], ...] = ()
    outputs: tuple[Labels, ...] = ()
    unresolved: str = ""
    names: tuple[str, ...] = ()

    @property
    def quiet(self) -> bool:
        """No labelled column is touched, so there is no flow and no need of a purpose."""
        return not (self.reads or self.leaves or self.unresolved)


@dataclass(frozen=True, slots=True)
class SqlCheck:
    """The answer to an integration: run the statement, and label its rows.

    Attributes:
        text: what is to be sent.
        labels: for each output column what its values carry.
        names: names of the output columns, where known.
        unresolved: rows may carry anything; remember every value as such.
    """

    text: str
    labels: tuple[Labels, ...] = ()
    names: tuple[str, ...] = ()
    unresolved: bool = False

    @property
    def labelled(self) -> bool:
        """Whether any value of the rows is to be remembered."""
        return self.unresolved or any(self.labels)


@dataclass(slots=True)
class Planner:
    """Plans of texts, remembered as the inspector remembers its answers; one for each data map."""

    data_map: DataMap
    catalog: Catalog
    # The inspector gives the same tuple for the same text; kept here, its id stays its own.
    _plans: dict[int, tuple[tuple[Statement, ...], Plan]] = field(default_factory=dict)

    def plan(self, text: str, dialect: str, session: Session | None = None) -> Plan:
        """What a text does with labelled columns.

        Raises:
            PolicyGuardError: no dialect, or an unknown one.
        """
        answers = inspect(text, dialect, self.catalog, session)
        known = self._plans.get(id(answers))
        if known is not None and known[0] is answers:
            return known[1]
        made = self._plan(text, answers)
        if len(self._plans) >= _CACHED:
            self._plans = {}
        self._plans[id(answers)] = answers, made
        return made

    def _plan(self, text: str, answers: tuple[Statement, ...]) -> Plan:
        reads: dict[str, Label] = {}
        leaves: list[tuple[str, Labels]] = []
        outputs: tuple[Labels, ...] = ()
        names: tuple[str, ...] = ()
        unresolved = ""
        for statement in answers:
            for column in sorted(statement.reads):
                for label in self._labels(column):
                    reads[f"{column} {label.data}"] = label
            leaves += self._leaves(statement)
            if not statement.resolved:
                unresolved = unresolved or statement.why or "a statement that can't be resolved"
            elif statement.outputs:
                names = tuple(output.name for output in statement.outputs)
                outputs = tuple(
                    tuple(label for source in output.sources for label in self._via(source))
                    for output in statement.outputs
                )
        if unresolved:
            leaves += self._named_recipients(text)
        return Plan(tuple(reads.values()), tuple(leaves), outputs, unresolved, names)

    def _named_recipients(self, text: str) -> Iterator[tuple[str, Labels]]:
        """Who may get what can't be resolved: owners of tables it names beside a word that writes.

        A text with a word that exports may send to anyone.
        """
        plain = text.casefold()
        if _EXPORTS.search(plain):
            yield UNREADABLE, ()
        if not _WRITES.search(plain):
            return
        for name, table in self.data_map.model.tables.items():
            pieces = name.rpartition(".")[2].casefold().split("*")
            if table.recipient is not None and all(piece in plain for piece in pieces):
                yield table.recipient, ()

    def _labels(self, column: str) -> Labels:
        table, _, name = column.rpartition(".")
        found = self.data_map.column(table, name)
        return found.labels if found is not None else ()

    def _via(self, source: Source) -> Iterator[Label]:
        """Labels of a source column in the form that the expression gives."""
        for label in self._labels(source.column):
            forms = _FORM_OF.get(source.via)
            yield label if forms is None else replace(label, form=label.form | close_form(forms))

    def _leaves(self, statement: Statement) -> Iterator[tuple[str, Labels]]:
        """What leaves by writing to a recipient's table, or by an export."""
        for write in statement.writes:
            recipient = self.data_map.table_recipient(write.table)
            if recipient is not None and write.how not in ("delete", "drop"):
                yield recipient, self._sent(write.outputs, statement)
        for export in statement.exports:
            recipient = self.data_map.table_recipient(export.place) if export.place else None
            place = export.place or f"export-{export.kind}"
            yield recipient or place, self._sent(export.outputs, statement)

    def _sent(self, outputs: tuple[Output, ...], statement: Statement) -> Labels:
        """Labels of what is sent; of everything that is read where it isn't known more exactly."""
        if not outputs:
            reads = sorted(statement.reads)
            return tuple(label for column in reads for label in self._labels(column))
        sources = [source for output in outputs for source in output.sources]
        return tuple(label for source in sources for label in self._via(source))


def planner_of(now: InForce) -> Planner | None:
    """The planner of what is in force, made on first use; None without a data map."""
    if not now.planner and now.data_map is not None:
        patterns = [name for name in now.data_map.model.tables if "*" in name]
        catalog = Catalog.from_tables(now.data_map.tables, patterns=patterns)
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
        What is to be sent, and the labels of the output columns.

    Raises:
        PolicyViolation: a read, write or export is denied and its mode is block.

    Cost: a text seen before costs a look-up and a decision for each labelled column it reads.
    """
    now = guard.in_force
    planner = planner_of(now)
    if planner is None:
        return SqlCheck(text)
    plan = _plan_of(planner, text, dialect, session)
    if plan.quiet:
        return SqlCheck(text)
    _judge_reads(guard, plan, now)
    for recipient, labels in plan.leaves:
        found: list[tuple[Label, str, Any]] = [(label, "", "strong") for label in labels]
        found += guard.labels_in({"statement": text, "parameters": parameters})
        if found:
            guard.judge(found, recipient, at="sql", now=now)
        if plan.unresolved:
            _cannot_tell(guard, plan.unresolved, recipient, now)
    read_at = call_site()
    outputs = tuple(
        tuple(replace(label, at=read_at) for label in column) for column in plan.outputs
    )
    return SqlCheck(text, outputs, plan.names, unresolved=bool(plan.unresolved))


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


def _judge_reads(guard: Judge, plan: Plan, now: InForce) -> None:
    scope = current_scope()
    reader = scope.reader if scope else SELF
    found: list[tuple[Label, str, Any]] = [(label, "", "strong") for label in plan.reads]
    if found:
        guard.judge(found, reader, at="sql", now=now)
    if plan.unresolved:
        _cannot_tell(guard, plan.unresolved, reader, now)


def _cannot_tell(guard: Judge, why: str, recipient: str, now: InForce) -> None:
    """Deny what can't be told to flow to a recipient, in the mode that applies."""
    flow = Flow("", RAW, guard.current_purpose(), recipient)
    decision = now.snapshot.deny(flow, "cannot_tell")
    guard.settle([Judged(decision, replace(ANYTHING, source=why))], at="sql", now=now)
