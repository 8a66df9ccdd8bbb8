"""A data map and what the database states itself, as one data map.

Layer: policy. Start reading at `with_schema`.

A statement of the database is a label that the data map only adds to: where the two disagree, both
count, and `disagreements` names the column. What is true of a table is true of its partitions and
of the tables that inherit from it, and the other way round.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final

from policyguard.policy.datamap import ColumnLabel, DataMap, Labelled, data_map_from_dict
from policyguard.policy.flow import Label
from policyguard.policy.mapfile import DataMapFile, Table
from policyguard.policy.patterns import NamePattern, TablePattern
from policyguard.policy.schemas import Schema, SchemaTable, Stated

_NOTHING: Final = ColumnLabel()


@dataclass(frozen=True, slots=True)
class Disagreement:
    """A column about which data map and database say different things; both count.

    Attributes:
        table, column: as the database spells them.
        mapped: what the data map says.
        stated: what the database says and the data map doesn't.
    """

    table: str
    column: str
    mapped: tuple[Stated, ...]
    stated: tuple[Stated, ...]


class SchemaMap(DataMap):
    """A data map that also answers for what a schema states. Immutable, as its base.

    Attributes:
        schema: the structure that is known beside the labels.
    """

    __slots__ = ("_base", "_telling", "schema")

    def __init__(self, base: DataMap, schema: Schema) -> None:
        self._base = base
        self.schema = schema
        shapes = [TablePattern(name) for name in base.model.tables]
        # Of a table with thousands of partitions only those are asked that say something.
        self._telling = frozenset(
            table.name
            for table in schema.tables.values()
            if table.labelled() or any(shape.fits(table.name) for shape in shapes)
        )
        super().__init__(_with_recipients(base.model, schema))

    def table_recipient(self, table: str) -> str | None:
        """As the data map says; else as the schema states, for the table or one it is part of."""
        # What the data map itself says counts before what the schema states.
        names = (table, *(one.name for one in self._asked(table)))
        mapped = (self._base.table_recipient(name) for name in names)
        return next((name for name in mapped if name), None) or super().table_recipient(table)

    def labelled(self) -> Iterator[Labelled]:
        """Every entry of the data map, then every column that the schema labels."""
        yield from self._base.labelled()
        for table in self.schema.tables.values():
            for name, column in table.columns.items():
                if column.labels:
                    source = f"{table.name}.{name}"
                    yield Labelled(source, _labels(column.labels, source))

    def _matching(self, table: str) -> list[tuple[str, Table, Sequence[tuple[NamePattern, str]]]]:
        """The entries that mean this table, then those that mean others of its family."""
        found = super()._matching(table)
        for one in self._asked(table):
            found += [entry for entry in super()._matching(one.name) if entry not in found]
        return found

    def _asked(self, table: str) -> list[SchemaTable]:
        """The members of a table's family about which the map or the schema says something."""
        return [one for one in self.schema.family(table) if one.name in self._telling]

    def _find_column(self, table: str, column: str) -> ColumnLabel | None:
        family = self._asked(table)
        found = [self._base.column(table, column)]
        found += [self._base.column(one.name, column) for one in family]
        stated = [label for one in family for label in _stated(one, column)]
        known = [one for one in found if one is not None]
        if not known and not stated:
            return None
        # What the map says of the name itself decides whose row it is and which fact it holds.
        first = known[0] if known else _NOTHING
        mapped = [label for one in known for label in one.labels]
        seen = {(label.data, label.form, label.evidence) for label in first.labels}
        labels = list(first.labels)
        for label in (*mapped, *stated):
            if (label.data, label.form, label.evidence) not in seen:
                seen.add((label.data, label.form, label.evidence))
                labels.append(label)
        return ColumnLabel(tuple(labels), first.subject, first.fact, first.purpose)


def with_schema(data_map: DataMap | None, schema: Schema) -> DataMap:
    """The labels of a data map and of what a schema states, as one data map.

    Args:
        data_map: None stands for an empty one.
        schema: tables, and the labels that stand in comments, dbt's meta or a fides dataset.

    Cost: O(entries); a look-up costs one for each member of the table's family, then is cached.
    """
    return SchemaMap(data_map or data_map_from_dict({"tables": {}}), schema)


def disagreements(data_map: DataMap, schema: Schema) -> Iterator[Disagreement]:
    """Columns about which the schema states something that the data map, saying another, doesn't.

    A data map may add, and needn't repeat what is stated: neither is a disagreement.
    """
    for table in schema.tables.values():
        for name, column in table.columns.items():
            mapped = data_map.column(table.name, name) if column.labels else None
            if mapped is None:
                continue
            own = tuple(dict.fromkeys(Stated(label.data, label.form) for label in mapped.labels))
            more = tuple(label for label in column.labels if label not in own)
            if more:
                yield Disagreement(table.name, name, own, more)


def _with_recipients(model: DataMapFile, schema: Schema) -> DataMapFile:
    """The file as if it named the recipients that the schema states, too."""
    known = {name.casefold() for name in model.tables}
    stated = {
        table.name: Table(recipient=table.recipient)
        for table in schema.tables.values()
        if table.recipient and table.name.casefold() not in known
    }
    return model.model_copy(update={"tables": {**model.tables, **stated}}) if stated else model


def _labels(stated: tuple[Stated, ...], source: str) -> tuple[Label, ...]:
    return tuple(Label(one.data, one.form, source, "column") for one in stated)


def _stated(table: SchemaTable, column: str) -> tuple[Label, ...]:
    """What a table states about a column, whose name counts without case."""
    found = table.columns.get(column)
    if found is not None and found.labels:
        return _labels(found.labels, f"{table.name}.{column}")
    folded = column.casefold()
    return tuple(
        label
        for name, one in table.columns.items()
        if one.labels and name.casefold() == folded
        for label in _labels(one.labels, f"{table.name}.{name}")
    )
