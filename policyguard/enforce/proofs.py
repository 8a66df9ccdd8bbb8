"""What a statement proves about the people whose rows it returns.

Layer: enforce. The inspector says which columns equal a constant or each other; the data map says
which of them are facts and whose row it is. Start reading at `Proofs`.
"""

from __future__ import annotations

from policyguard.inspectors.sql import Fact, Statement
from policyguard.policy.datamap import ColumnLabel, DataMap
from policyguard.policy.flow import Facts, Proven


class Proofs:
    """The facts proven for each table of one statement.

    A condition on a `fact` column proves it for the rows of its own table, and for those of tables
    joined to it by the columns that say whose row it is: those rows are of the same person. Where a
    row may be about several people nothing is proven.
    """

    __slots__ = ("_facts", "_map", "_same")

    def __init__(self, statement: Statement, data_map: DataMap) -> None:
        self._map = data_map
        self._same: dict[str, str] = {}
        self._facts: dict[str, dict[tuple[str, str], bool | int | str | None]] = {}
        if not statement.facts:
            return
        for left, right in statement.links:
            if self._says_whose(left) and self._says_whose(right):
                self._same[self._person(_table(left))] = self._person(_table(right))
        for fact in statement.facts:
            table, _, name = fact.column.rpartition(".")
            found = data_map.column(table, name)
            if found is not None and found.fact and data_map.whose_row(table) is not None:
                self._add(fact, found)

    def of(self, column: str) -> Proven:
        """What is proven about the person whose row a column's value stands in."""
        known = self._facts.get(self._person(_table(column)), {})
        return tuple(
            (fact, name, value) for (fact, name), value in known.items() if value is not None
        )

    def _add(self, fact: Fact, entry: ColumnLabel) -> None:
        key = _key(entry)
        value = fact.value
        if key[0] not in ("age", "region"):
            # SQLite and MySQL keep booleans as 0 and 1.
            value = bool(value) if value in (0, 1) else ""
        context = {key[0]: {key[1]: value} if key[1] else value}
        if Facts.unusable(context):
            return
        known = self._facts.setdefault(self._person(_table(fact.column)), {})
        # Two conditions that contradict each other prove nothing: there are no such rows.
        known[key] = value if known.get(key, value) == value else None

    def _says_whose(self, column: str) -> bool:
        """Whether a column says whose row it is, and no other of its table does."""
        table, _, name = column.rpartition(".")
        whose = self._map.whose_row(table)
        return bool(whose) and str(whose).casefold() == name.casefold()

    def _person(self, table: str) -> str:
        """The table that stands for all tables whose rows are of the same person."""
        while table in self._same and self._same[table] != table:
            table = self._same[table]
        return table


def _table(column: str) -> str:
    return column.rpartition(".")[0]


def _key(entry: ColumnLabel) -> tuple[str, str]:
    """The fact and, where it has one, its purpose or name."""
    if entry.purpose:
        return entry.fact, entry.purpose
    if entry.fact in ("age", "region", "restricted", "legal_request"):
        return entry.fact, ""
    return "facts", entry.fact
