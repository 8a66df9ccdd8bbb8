"""Ordinary queries as applications write them, with column lists, filters, joins on keys, orders.

Start reading at `Ordinary.query`. They are valid in SQLite and PostgreSQL alike.
"""

from __future__ import annotations

import random
from collections.abc import Mapping
from dataclasses import dataclass, field

Tables = Mapping[str, Mapping[str, str]]


@dataclass
class Ordinary:
    """Makes queries in which denied columns are returned, and mostly nothing else is done to them.

    Attributes:
        tables: each with its columns and their kinds: `I` is a number, anything else a text.
        keys: pairs of `table.column` that are joined.
        denied: `table.column`.
        strict: never use a denied column but to return it.
    """

    rng: random.Random
    tables: Tables
    keys: list[tuple[str, str]]
    denied: frozenset[str]
    strict: bool = True
    seen: dict[str, str] = field(default_factory=dict)

    def query(self) -> str:
        """One query."""
        self.seen = {}
        source = self.source()
        items = self.items()
        alike = "DISTINCT " if not self.strict and self.chance(0.1) else ""
        text = f"SELECT {alike}{', '.join(items)} FROM {source}"
        if self.chance(0.7):
            text += f" WHERE {self.test()}"
            while self.chance(0.3):
                text += f" {self.rng.choice(['AND', 'AND', 'OR'])} {self.test()}"
        if self.chance(0.5):
            text += f" ORDER BY {self.plain()}{self.rng.choice(['', ' DESC', ' ASC'])}"
            text += f", {self.key()}"
        if self.chance(0.3):
            text += f" LIMIT {self.rng.randint(1, 4)}{self.rng.choice(['', ' OFFSET 1'])}"
        return self.wrapped(text, items)

    def chance(self, share: float) -> bool:
        return self.rng.random() < share

    def wrapped(self, text: str, items: list[str]) -> str:
        """Sometimes a subquery, a CTE, or two of the kind under UNION ALL."""
        names = [item.rpartition(" AS ")[2].rpartition(".")[2] for item in items]
        if len(set(names)) < len(names) or any(not name.isidentifier() for name in names):
            return text
        roll = self.rng.random()
        if roll < 0.06:
            return f"SELECT s.{names[0]}, s.{names[-1]} AS z FROM ({text}) s"
        if roll < 0.12:
            return f"WITH c AS ({text}) SELECT * FROM c"
        if roll < 0.18 and "ORDER" not in text and "LIMIT" not in text:
            return f"{text} UNION ALL {text}"
        return text

    def source(self) -> str:
        """FROM: a table, or two or three that are joined on their keys."""
        name = self.rng.choice(sorted({one.split(".")[0] for pair in self.keys for one in pair}))
        text = self.named(name)
        for left, right in self.rng.sample(self.keys, len(self.keys)):
            one, two = left.split("."), right.split(".")
            if two[0] in self.seen.values():
                one, two = two, one
            if one[0] not in self.seen.values() or two[0] in self.seen.values():
                continue
            if not self.chance(0.4):
                continue
            near = next(alias for alias, table in self.seen.items() if table == one[0])
            kind = self.rng.choice(["JOIN", "INNER JOIN", "LEFT JOIN", "LEFT OUTER JOIN"])
            text += f" {kind} {self.named(two[0])}"
            text += f" ON {self.last()}.{two[1]} = {near}.{one[1]}"
        return text

    def named(self, table: str) -> str:
        alias = f"{table[0]}{len(self.seen)}" if self.chance(0.6) else table
        self.seen[alias] = table
        return table if alias == table else f"{table}{self.rng.choice([' ', ' AS '])}{alias}"

    def last(self) -> str:
        return list(self.seen)[-1]

    def items(self) -> list[str]:
        """A select list with denied columns in it."""
        if self.chance(0.12):
            return [self.rng.choice(["*", f"{self.last()}.*"])]
        own = [
            f"{alias}.{name}" for alias, table in self.seen.items() for name in self.tables[table]
        ]
        found = self.rng.sample(own, min(len(own), self.rng.randint(1, 6)))
        made = [self.item(one) for one in found]
        if self.chance(0.15):
            made.append(f"({self.plain()} || 'x') AS made")
        if self.chance(0.12):
            made.append(self.looked_up())
        if self.chance(0.08):
            made.append(f"CASE WHEN {self.test()} THEN 1 ELSE 0 END AS chosen")
        return made

    def looked_up(self) -> str:
        """A subquery that yields one value, of a row that belongs to the first table's."""
        alias, table = next(iter(self.seen.items()))
        for left, right in self.keys:
            for one, two in ((left, right), (right, left)):
                if one.split(".")[0] == table:
                    far, key = two.split(".")
                    name = self.rng.choice(list(self.tables[far]))
                    match = f"x.{key} = {alias}.{one.split('.')[1]}"
                    first = next(iter(self.tables[far]))
                    order = f" ORDER BY x.{first} LIMIT 1"
                    return f"(SELECT x.{name} FROM {far} x WHERE {match}{order}) AS looked_up"
        return "1 AS looked_up"

    def item(self, reference: str) -> str:
        alias, name = reference.split(".")
        shown = name if len(self.seen) == 1 and self.chance(0.5) else reference
        roll = self.rng.random()
        if roll < 0.05 and not self.strict:
            return f"lower(CAST({shown} AS text)) AS low_{name}"
        return f"{shown} AS {alias}_{name}" if roll < 0.3 else shown

    def plain(self) -> str:
        """A column that isn't denied, nearly always."""
        own = [
            f"{alias}.{name}"
            for alias, table in self.seen.items()
            for name, kind in self.tables[table].items()
            if kind in "TI" and (f"{table}.{name}" not in self.denied or not self.careful())
        ]
        return self.rng.choice(own or [self.key()])

    def careful(self) -> bool:
        return self.strict or self.chance(0.9)

    def key(self) -> str:
        alias, table = next(iter(self.seen.items()))
        return f"{alias}.{next(iter(self.tables[table]))}"

    def test(self) -> str:
        if self.chance(0.12):
            left, right = self.rng.choice(self.keys)
            far, key = self.rng.choice([left, right]).split(".")
            if self.chance(0.5):
                return f"{self.key()} IN (SELECT {key} FROM {far})"
            item = self.rng.choice(["1", "*", *self.tables[far]])
            return f"EXISTS (SELECT {item} FROM {far} y WHERE y.{key} = {self.key()})"
        column = self.plain()
        alias, name = column.split(".")
        if self.tables[self.seen[alias]][name] == "I":
            return f"{column} {self.rng.choice(['=', '<', '>=', '<>'])} {self.rng.randint(0, 3)}"
        return self.rng.choice(
            [
                f"{column} = 'a1'",
                f"{column} LIKE '%1'",
                f"{column} IS NOT NULL",
                f"{column} IN ('a1', 'b2', 'p1')",
                f"{column} BETWEEN 'a' AND 'q'",
            ]
        )
