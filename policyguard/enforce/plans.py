"""What a text of SQL does with labelled columns, whatever its purpose: plans, remembered by text.

Layer: enforce. Where the inspector's answers and the data map meet. Start reading at `Planner`.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Final

from policyguard.enforce.proofs import Proofs
from policyguard.inspectors.sql import Catalog, Output, Session, Source, Statement, inspect
from policyguard.policy.datamap import DataMap
from policyguard.policy.flow import Label, close_form

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
class Clock:
    """An output column that tells since when a row's data are kept.

    Attributes:
        place: among the outputs.
        event: what started the clock, as the policy's retention calls it.
        labels: of the data whose age it is.
    """

    place: int
    event: str
    labels: Labels


@dataclass(frozen=True, slots=True)
class Plan:
    """What a text does with labelled columns, whatever its purpose.

    Attributes:
        reads: one label for each labelled column that is read.
        leaves: (recipient, labels) of writes and exports that belong to a recipient.
        outputs: labels of each output column of the last statement that returns rows.
        unresolved: the reason, if anything in the text can't be resolved.
        names: names of the output columns.
        clocks: output columns that tell how old the others of a row are.
        columns: of each label in `reads` the base columns that it stands for.
    """

    reads: Labels = ()
    leaves: tuple[tuple[str, Labels], ...] = ()
    outputs: tuple[Labels, ...] = ()
    unresolved: str = ""
    names: tuple[str, ...] = ()
    clocks: tuple[Clock, ...] = ()
    columns: Mapping[Label, frozenset[str]] = field(default_factory=dict)

    @property
    def quiet(self) -> bool:
        """No labelled column is touched, so there is no flow and no need of a purpose."""
        return not (self.reads or self.leaves or self.unresolved)


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
        columns: dict[Label, frozenset[str]] = {}
        leaves: list[tuple[str, Labels]] = []
        outputs: tuple[Labels, ...] = ()
        names: tuple[str, ...] = ()
        unresolved = ""
        clocks: tuple[Clock, ...] = ()
        for statement in answers:
            proofs = Proofs(statement, self.data_map)
            for column in sorted(statement.reads):
                for label in self._labels(column, proofs):
                    reads[f"{column} {label.data}"] = label
                    columns[label] = columns.get(label, frozenset()) | {column}
            leaves += self._leaves(statement, proofs)
            if not statement.resolved:
                unresolved = unresolved or statement.why or "a statement that can't be resolved"
            elif statement.outputs:
                names = tuple(output.name for output in statement.outputs)
                outputs = tuple(
                    tuple(label for source in output.sources for label in self._via(source, proofs))
                    for output in statement.outputs
                )
                clocks = tuple(self._clocks(statement, proofs))
        if unresolved:
            leaves += self._named_recipients(text)
        found = tuple(reads.values())
        return Plan(found, tuple(leaves), outputs, unresolved, names, clocks, columns)

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

    def _labels(self, column: str, proofs: Proofs) -> Labels:
        table, _, name = column.rpartition(".")
        found = self.data_map.column(table, name)
        if found is None:
            return ()
        proven = proofs.of(column) if found.labels else ()
        if not proven:
            return found.labels
        return tuple(replace(label, proven=proven) for label in found.labels)

    def _via(self, source: Source, proofs: Proofs) -> Iterator[Label]:
        """Labels of a source column in the form that the expression gives."""
        for label in self._labels(source.column, proofs):
            forms = _FORM_OF.get(source.via)
            yield label if forms is None else replace(label, form=label.form | close_form(forms))

    def _leaves(self, statement: Statement, proofs: Proofs) -> Iterator[tuple[str, Labels]]:
        """What leaves by writing to a recipient's table, or by an export."""
        for write in statement.writes:
            recipient = self.data_map.table_recipient(write.table)
            if recipient is not None and write.how not in ("delete", "drop"):
                yield recipient, self._sent(write.outputs, statement, proofs)
        for export in statement.exports:
            recipient = self.data_map.table_recipient(export.place) if export.place else None
            place = export.place or f"export-{export.kind}"
            yield recipient or place, self._sent(export.outputs, statement, proofs)

    def _sent(self, outputs: tuple[Output, ...], statement: Statement, proofs: Proofs) -> Labels:
        """Labels of what is sent; of everything that is read where it isn't known more exactly."""
        if not outputs:
            reads = sorted(statement.reads)
            return tuple(label for column in reads for label in self._labels(column, proofs))
        sources = [source for output in outputs for source in output.sources]
        return tuple(label for source in sources for label in self._via(source, proofs))

    def _clocks(self, statement: Statement, proofs: Proofs) -> Iterator[Clock]:
        """The clock columns among the outputs, with what stands beside them in a row."""
        for place, output in enumerate(statement.outputs):
            for source in output.sources:
                table, _, name = source.column.rpartition(".")
                beside = tuple(
                    label
                    for other in statement.outputs
                    for part in other.sources
                    if part.column.rpartition(".")[0] == table and part.via != "aggregated"
                    for label in self._via(part, proofs)
                )
                events = self.data_map.events(table, name) if source.via == "direct" else ()
                for event in events if beside else ():
                    yield Clock(place, event, tuple(dict.fromkeys(beside)))
