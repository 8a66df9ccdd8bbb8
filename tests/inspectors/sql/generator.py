"""Random queries over the clinic schema, written to be valid in SQLite and PostgreSQL alike.

Start reading at `Maker.script`. Names collide on purpose: CTEs and aliases are called like tables
and like columns, and the same column names stand in several tables.
"""

from __future__ import annotations

import random
from dataclasses import dataclass, field

from tests.inspectors.sql.shared import CLINIC

TABLES = {table: list(columns) for table, columns in CLINIC.items()}
NAMES = ["a", "b", "x", "email", "reason", "note", "patients", "visits", "total"]


@dataclass
class Source:
    """A relation in FROM: its alias and its column names."""

    alias: str
    columns: list[str]


@dataclass
class Maker:
    """Makes queries from one random source; `depth` bounds the nesting."""

    rng: random.Random
    dialect: str = "sqlite"
    commons: list[dict[str, list[str]]] = field(default_factory=list)
    count: int = 0
    qualified: bool = False
    hidden: frozenset[str] = frozenset()

    def chance(self, share: float) -> bool:
        return self.rng.random() < share

    def fresh(self, stem: str = "t") -> str:
        self.count += 1
        return f"{stem}{self.count}"

    def script(self) -> str:
        """One statement, or several that build on each other."""
        roll = self.rng.random()
        if roll < 0.74:
            return self.query(3, [])[0]
        if roll < 0.82:
            return self.insert()
        if roll < 0.87:
            return self.update()
        if roll < 0.91:
            return self.delete()
        inner, columns = self.query(2, [])
        name = self.fresh("made")
        kind = self.rng.choice(["TABLE", "VIEW"])
        made = [f"{column}{i}" for i, column in enumerate(columns)]
        inner = f"SELECT * FROM ({inner}) q"
        names = ", ".join(made)
        if kind == "TABLE":
            first = f"CREATE TEMP TABLE {name} ({', '.join(f'{m} text' for m in made)}); "
            cast = ", ".join(f"CAST(z.{m} AS text)" for m in made)
            wrap = f"WITH z({names}) AS ({inner}) SELECT {cast} FROM z"
            first += f"INSERT INTO {name} {wrap}"
        else:
            first = f"CREATE TEMP VIEW {name}({names}) AS {inner}"
        self.commons.append({name: made})
        second = self.query(2, [])[0] if self.chance(0.3) else ""
        chosen = self.rng.choice(made)
        self.commons.pop()
        return f"{first}; {second or f'SELECT {chosen} FROM {name}'}"

    # queries

    def query(self, depth: int, outer: list[list[Source]]) -> tuple[str, list[str]]:
        """A query and the names of its columns."""
        pushed = False
        clause = ""
        if depth > 1 and self.chance(0.3):
            clause, pushed = self.with_clause(depth), True
        if depth > 1 and self.chance(0.15):
            text, columns = self.combined(depth, outer)
        else:
            text, columns = self.select(depth, outer)
        if pushed:
            self.commons.pop()
        return clause + text, columns

    def with_clause(self, depth: int) -> str:
        scope: dict[str, list[str]] = {}
        self.commons.append(scope)
        parts = []
        recursive = self.chance(0.25)
        for _ in range(self.rng.randint(1, 2)):
            name = self.rng.choice([self.fresh("c"), "patients", "visits", "devices"])
            if name in scope:
                continue
            if recursive:
                # Under RECURSIVE a name means the CTE itself inside its own text.
                name = self.fresh("c")
            if recursive and self.chance(0.6):
                text, names = self.recursive(depth - 1, name)
                parts.append(f"{name}({', '.join(names)}) AS ({text})")
            else:
                hidden = self.hidden
                if self.dialect == "sqlite":
                    # There a name means the CTE itself inside its own text.
                    self.hidden = hidden | {name}
                text, columns = self.query(depth - 1, [])
                self.hidden = hidden
                names = [f"{column}{i}" for i, column in enumerate(columns)]
                if self.chance(0.3):
                    names = [self.rng.choice(NAMES) + str(i) for i in range(len(columns))]
                parts.append(f"{name}({', '.join(names)}) AS ({text})")
            scope[name] = names
        word = "WITH RECURSIVE " if recursive else "WITH "
        return word + ", ".join(parts) + " "

    def recursive(self, depth: int, name: str) -> tuple[str, list[str]]:
        sources, text = self.from_clause(depth, [])
        start = self.text_of([sources], depth)
        more, more_text = self.from_clause(0, [])
        self.qualified = True
        step = self.text_of([more], 0)
        self.qualified = False
        return (
            (
                f"SELECT 1, {start} FROM {text} UNION ALL "
                f"SELECT {name}.n + 1, {name}.acc || {step} FROM {name}, {more_text} "
                f"WHERE {name}.n < 2"
            ),
            ["n", "acc"],
        )

    def combined(self, depth: int, outer: list[list[Source]]) -> tuple[str, list[str]]:
        width = self.rng.randint(1, 3)
        sides: list[str] = []
        names: list[str] = []
        for _ in range(self.rng.randint(2, 3)):
            sources, text = self.from_clause(depth - 1, outer)
            scopes = [sources, *outer]
            cells = [self.text_of(scopes, depth - 1) for _ in range(width)]
            if not names:
                names = [f"{self.rng.choice(NAMES)}{i}" for i in range(width)]
                cells = [f"{cell} AS {name}" for cell, name in zip(cells, names, strict=True)]
            where = self.where(scopes, depth - 1)
            sides.append(f"SELECT {', '.join(cells)} FROM {text}{where}")
        text = sides[0]
        for side in sides[1:]:
            text += f" {self.rng.choice(['UNION', 'UNION ALL', 'INTERSECT', 'EXCEPT'])} {side}"
        if self.chance(0.3):
            text += f" ORDER BY {self.rng.choice([names[0], '1'])}"
        return text, names

    def select(self, depth: int, outer: list[list[Source]]) -> tuple[str, list[str]]:
        sources, text = self.from_clause(depth, outer)
        scopes = [sources, *outer]
        if self.chance(0.2):
            return self.grouped(depth, scopes, text)
        items, names = self.items(depth, scopes)
        where = self.where(scopes, depth)
        windows = ""
        if self.chance(0.12):
            windows = f" WINDOW w AS (PARTITION BY {self.text_of(scopes, 0)})"
            items.append(f"count(*) OVER (w ORDER BY {self.text_of(scopes, 0)})")
            names.append(self.fresh("w"))
            items[-1] += f" AS {names[-1]}"
        distinct = "DISTINCT " if self.chance(0.1) else ""
        tail = ""
        if not distinct and self.chance(0.35):
            tail = f" ORDER BY {self.rng.choice([self.text_of(scopes, depth - 1), '1'])}"
            if self.chance(0.3):
                tail += " LIMIT 5"
        return f"SELECT {distinct}{', '.join(items)} FROM {text}{where}{windows}{tail}", names

    def items(self, depth: int, scopes: list[list[Source]]) -> tuple[list[str], list[str]]:
        items, names = [], []
        for _ in range(self.rng.randint(1, 3)):
            roll = self.rng.random()
            if roll < 0.1:
                source = self.rng.choice(scopes[0])
                items.append(f"{source.alias}.*")
                names += source.columns
            elif roll < 0.45:
                source = self.rng.choice(scopes[0])
                column = self.rng.choice(source.columns)
                items.append(self.cased(f"{source.alias}.{column}"))
                names.append(column)
            else:
                name = self.rng.choice(NAMES) + str(len(names))
                items.append(f"{self.text_of(scopes, depth)} AS {name}")
                names.append(name)
        if not items:
            items, names = ["1 AS one"], ["one"]
        return items, names

    def grouped(self, depth: int, scopes: list[list[Source]], text: str) -> tuple[str, list[str]]:
        key = self.text_of(scopes, 0)
        total = self.rng.choice(
            [
                "count(*)",
                f"count(DISTINCT {self.text_of(scopes, 0)})",
                f"max({self.text_of(scopes, depth - 1)})",
                f"min({self.text_of(scopes, 0)})",
                f"sum(length({self.text_of(scopes, 0)}))",
                f"count(*) FILTER (WHERE {self.test(scopes, depth - 1)})",
            ]
        )
        having = f" HAVING max({self.text_of(scopes, 0)}) > 'a'" if self.chance(0.3) else ""
        where = self.where(scopes, depth)
        by = self.rng.choice([key, "1"])
        if self.dialect != "sqlite":
            by = "1"
        return f"SELECT {key} AS k, {total} AS n FROM {text}{where} GROUP BY {by}{having}", [
            "k",
            "n",
        ]

    # FROM

    def from_clause(self, depth: int, outer: list[list[Source]]) -> tuple[list[Source], str]:
        first, text = self.item(depth, outer)
        sources = [first]
        for _ in range(self.rng.choice([0, 0, 1, 1, 2])):
            more, more_text = self.item(depth - 1, outer)
            shared = [c for c in first.columns if c in more.columns]
            once = len(sources) == 1 and len(set(first.columns)) == len(first.columns)
            once = once and len(set(more.columns)) == len(more.columns)
            if shared and once and self.base(text) and self.base(more_text) and self.chance(0.2):
                keys = [c for c in shared if c in {"id", "patient_id"}]
                if keys and self.chance(0.7):
                    text += f" JOIN {more_text} USING ({self.rng.choice(keys)})"
                    sources.append(more)
                    continue
            sources.append(more)
            if self.chance(0.4):
                text += f", {more_text}"
                continue
            kind = self.rng.choice(["JOIN", "LEFT JOIN"])
            self.qualified = True
            left = self.text_of([sources[:-1]], 0)
            right = self.text_of([[more]], 0)
            self.qualified = False
            text = (
                f"{text} {kind} {more_text} ON {left} = {right}"
                if "," not in text
                else (f"{text}, {more_text}")
            )
        return sources, text

    def base(self, text: str) -> bool:
        return text.split(" ", maxsplit=1)[0] in TABLES and not any(
            text.split(" ", maxsplit=1)[0] in c for c in self.commons
        )

    def item(self, depth: int, outer: list[list[Source]]) -> tuple[Source, str]:
        if depth > 1 and self.chance(0.25):
            inner, columns = self.query(depth - 1, [])
            alias = self.fresh("s")
            names = [f"{column}{i}" for i, column in enumerate(columns)]
            wrapped = f"WITH {alias}w({', '.join(names)}) AS ({inner}) SELECT * FROM {alias}w"
            if len(set(columns)) == len(columns) and self.chance(0.7):
                return Source(alias, columns), f"({inner}) AS {alias}"
            return Source(alias, names), f"({wrapped}) {alias}"
        visible: dict[str, list[str]] = dict(TABLES)
        for scope in self.commons:
            visible.update(scope)
        name = self.rng.choice([own for own in visible if own not in self.hidden])
        alias = self.fresh()
        word = " AS " if self.chance(0.5) else " "
        shown = f'"{name}"' if self.chance(0.1) else self.cased(name)
        return Source(alias, visible[name]), f"{shown}{word}{alias}"

    # expressions

    def where(self, scopes: list[list[Source]], depth: int) -> str:
        return f" WHERE {self.test(scopes, depth)}" if self.chance(0.5) else ""

    def test(self, scopes: list[list[Source]], depth: int) -> str:
        roll = self.rng.random()
        left = self.text_of(scopes, depth - 1)
        if depth > 1 and roll < 0.15:
            inner, _ = self.query(depth - 1, scopes)
            return f"{self.rng.choice(['', 'NOT '])}EXISTS ({inner})"
        if depth > 1 and roll < 0.3:
            return f"{left} IN ({self.scalar(depth - 1, scopes, limit=False)})"
        if roll < 0.5:
            return f"{left} LIKE 'a%' OR NOT ({self.text_of(scopes, 0)} = 'x')"
        if roll < 0.6:
            return f"{left} BETWEEN 'a' AND {self.text_of(scopes, 0)}"
        if roll < 0.7:
            return f"{left} IS NOT NULL"
        return f"{left} <> {self.text_of(scopes, 0)}"

    def text_of(self, scopes: list[list[Source]], depth: int) -> str:
        """An expression of type text."""
        roll = self.rng.random()
        if depth <= 0 or roll < 0.45:
            return self.column(scopes)
        inner = self.text_of(scopes, depth - 1)
        if roll < 0.55:
            return f"lower({inner})"
        if roll < 0.63:
            return f"({inner} || {self.text_of(scopes, 0)})"
        if roll < 0.7:
            return f"coalesce({inner}, {self.text_of(scopes, 0)}, 'none')"
        if roll < 0.8:
            test = self.test(scopes, depth - 1)
            return f"CASE WHEN {test} THEN {inner} ELSE {self.text_of(scopes, 0)} END"
        if roll < 0.9 and depth > 1:
            return f"({self.scalar(depth - 1, scopes, limit=True)})"
        if roll < 0.94:
            return f"substr({inner}, 1, 3)"
        return f"nullif({inner}, 'zz')"

    def scalar(self, depth: int, scopes: list[list[Source]], *, limit: bool) -> str:
        sources, text = self.from_clause(depth - 1, scopes)
        inner = [sources, *scopes]
        where = self.where(inner, depth)
        if self.chance(0.3):
            return f"SELECT max({self.text_of([sources], 0)}) FROM {text}{where}"
        order = f" ORDER BY {self.text_of(inner, 0)}" if self.chance(0.2) else ""
        return f"SELECT {self.text_of(inner, depth)} FROM {text}{where}{order}" + (
            " LIMIT 1" if limit else ""
        )

    def column(self, scopes: list[list[Source]]) -> str:
        level = 0 if len(scopes) == 1 or self.chance(0.75) else self.rng.randrange(len(scopes))
        source = self.rng.choice(scopes[level])
        column = self.rng.choice(source.columns)
        inner = [name for scope in scopes[:level] for one in scope for name in one.columns]
        mates = [name for one in scopes[level] for name in one.columns]
        alone = mates.count(column) == 1 and column not in inner
        shown = (
            column
            if alone and not self.qualified and self.chance(0.4)
            else f"{source.alias}.{column}"
        )
        return f"CAST({self.cased(shown)} AS text)"

    def cased(self, name: str) -> str:
        return name.upper() if self.chance(0.08) else name

    # changes

    def insert(self) -> str:
        sources, text = self.from_clause(2, [])
        cell = self.text_of([sources], 2)
        given = f"SELECT 100, {cell} FROM {text} LIMIT 1"
        if self.chance(0.4):
            given = f"SELECT * FROM ({given}) q WHERE true"
            given += " ON CONFLICT (id) DO UPDATE SET val = excluded.val || outbox.val"
        back = self.rng.choice(["", " RETURNING val", " RETURNING *", " RETURNING id, val AS z"])
        return f"INSERT INTO outbox (id, val) {given}{back}"

    def update(self) -> str:
        item, text = self.item(2, [])
        target = Source("visits", TABLES["visits"])
        scopes = [[target, item]]
        where = f" WHERE {self.test(scopes, 2)}" if self.chance(0.7) else ""
        back = self.rng.choice(["", " RETURNING reason", " RETURNING visits.id, doctor AS z"])
        return f"UPDATE visits SET reason = {self.text_of(scopes, 2)} FROM {text}{where}{back}"

    def delete(self) -> str:
        scopes = [[Source("messages", TABLES["messages"])]]
        back = self.rng.choice(["", " RETURNING *", " RETURNING text_body || 'x' AS y"])
        return f"DELETE FROM messages WHERE {self.test(scopes, 2)}{back}"
