"""Random queries: joins of all kinds, CTEs, set operations, grouping, windows, rows from functions.

Start reading at `Queries.query`. Names collide on purpose: CTEs and aliases are called like tables
and like columns.
"""

from __future__ import annotations

import re
from typing import Final

from tests.postgres.froms import Columns, Froms
from tests.postgres.maker import Scopes
from tests.postgres.schema import quoted

DEPTH: Final = 3
NAMES: Final = ["a", "x", "email", "note", "people", "recent", "total", "Odd", "id"]


class Queries(Froms):
    """Makes queries; `kinds` fixes the kinds of a query's columns where that matters."""

    def query(
        self, depth: int, outer: Scopes, kinds: list[str] | None = None
    ) -> tuple[str, Columns]:
        """A query and its columns: names and kinds."""
        kept, self.windows = self.windows, []
        clause, pushed = "", False
        if depth > 1 and self.chance(0.2):
            clause, pushed = self.with_clause(depth), True
        if depth > 1 and self.chance(0.15):
            text, columns = self.combined(depth, outer, kinds)
        else:
            text, columns = self.select(depth, outer, kinds)
        if pushed:
            names = self.commons.pop()
            # PostgreSQL asks for the columns of an unnamed CTE when it plans nothing around it.
            named = all(re.search(rf"\b{name}\b", text) for name in names)
            if depth < DEPTH and not named:
                clause = ""
        self.windows = kept
        return clause + text, columns

    # WITH

    def with_clause(self, depth: int) -> str:
        scope: dict[str, Columns] = {}
        self.commons.append(scope)
        parts = []
        recursive = self.chance(0.3)
        for _ in range(self.rng.randint(1, 2)):
            name = self.rng.choice([self.fresh("c"), "recent", "people", "v_people", "Cte"])
            if name in scope:
                continue
            if recursive:
                # Under RECURSIVE a name means the CTE itself inside its own text.
                name = self.fresh("c")
            if recursive and self.chance(0.7):
                text, columns = self.recursive(depth - 1, name)
            else:
                text, columns = self.query(depth - 1, [])
            names = [f"{own}{at}" for at, (own, _) in enumerate(columns)]
            named = [(new, kind) for new, (_, kind) in zip(names, columns, strict=True)]
            shown = f"({', '.join(map(quoted, names))})"
            clear = len({own for own, _ in columns}) == len(columns) and "UNION" not in text
            if clear and self.chance(0.4):
                named, shown = columns, ""
            kept = self.pick("", "", "MATERIALIZED ", "NOT MATERIALIZED ")
            parts.append(f"{quoted(name)}{shown} AS {kept}({text})")
            scope[name] = named
        return f"WITH {'RECURSIVE ' * recursive}{', '.join(parts)} "

    def recursive(self, depth: int, name: str) -> tuple[str, Columns]:
        sources, text = self.from_clause(depth, [])
        start = self.expr("T", [sources], depth)
        more, more_text = self.from_clause(0, [])
        self.plain = True
        step = self.expr("T", [more], 0)
        self.plain = False
        columns = [("n", "I"), ("acc", "T")]
        union = self.pick("UNION", "UNION ALL")
        return (
            f"SELECT 1 AS n, {start} AS acc FROM {text} {union} "
            f"SELECT {name}.n0 + 1, {name}.acc1 || {step} FROM {name}, {more_text} "
            f"WHERE {name}.n0 < 2"
        ), columns

    # set operations

    def combined(self, depth: int, outer: Scopes, kinds: list[str] | None) -> tuple[str, Columns]:
        kinds = kinds or [self.pick(*"TIDA") for _ in range(self.rng.randint(1, 3))]
        names: list[str] = []
        text = ""
        for side in range(self.rng.randint(2, 3)):
            one, columns = self.plainly(depth - 1, outer, kinds)
            if self.chance(0.2):
                one = f"({one})"
            if not side:
                names, text = [name for name, _ in columns], one
                continue
            word = self.pick("UNION", "UNION ALL", "INTERSECT", "EXCEPT", "EXCEPT ALL")
            text += f" {word} {one}"
        if self.chance(0.25):
            text += f" ORDER BY {self.pick(quoted(names[0]), '1')}"
        return text, list(zip(names, kinds, strict=True))

    def plainly(self, depth: int, outer: Scopes, kinds: list[str]) -> tuple[str, Columns]:
        """A side of a set operation: no ORDER BY of its own."""
        if self.chance(0.08):
            row = ", ".join(self.expr(kind, outer, 0) if outer else "NULL" for kind in kinds)
            if outer:
                return f"VALUES ({row})", [(f"column{i + 1}", k) for i, k in enumerate(kinds)]
        sources, text = self.from_clause(depth, outer)
        scopes = [sources, *outer]
        names = [f"{self.rng.choice(NAMES)}{at}" for at in range(len(kinds))]
        cells = [self.expr(kind, scopes, depth) for kind in kinds]
        items = [f"{cell} AS {quoted(name)}" for cell, name in zip(cells, names, strict=True)]
        where = self.where(scopes, depth)
        return f"SELECT {', '.join(items)} FROM {text}{where}", list(zip(names, kinds, strict=True))

    # SELECT

    def select(self, depth: int, outer: Scopes, kinds: list[str] | None) -> tuple[str, Columns]:
        sources, text = self.from_clause(depth, outer)
        scopes = [sources, *outer]
        if self.chance(0.22):
            return self.grouped(depth, scopes, text, kinds)
        where = self.where(scopes, depth)
        named, windows = self.named_windows(scopes)
        self.windows = named
        if kinds is None:
            items, columns = self.items(depth, scopes)
        else:
            items, columns = self.fixed(depth, scopes, kinds)
        self.windows = []
        if self.chance(0.08):
            key = self.expr("T", scopes, 0)
            return (
                f"SELECT DISTINCT ON ({key}) {', '.join(items)} FROM {text}{where}{windows} "
                f"ORDER BY {key}, {self.expr('I', scopes, 0)}"
            ), columns
        distinct = ""
        if self.chance(0.1) and all(kind != "J" for _, kind in columns):
            distinct = self.pick("DISTINCT ", "ALL ")
        tail = "" if distinct == "DISTINCT " else self.tail(scopes, depth, columns)
        return f"SELECT {distinct}{', '.join(items)} FROM {text}{where}{windows}{tail}", columns

    def tail(self, scopes: Scopes, depth: int, columns: Columns) -> str:
        """ORDER BY by expression, name or number, LIMIT and OFFSET, FOR UPDATE."""
        if not self.chance(0.35):
            return ""
        names = [name for name, _ in columns]
        by = [self.expr(self.pick("T", "I", "D"), scopes, depth - 1), str(len(names))]
        by += [quoted(name) for name in names[:1] if names.count(name) == 1 and name]
        text = f" ORDER BY {self.rng.choice(by)}{self.pick('', ' DESC', ' NULLS FIRST')}"
        if self.chance(0.3):
            text += self.pick(" LIMIT 3", " LIMIT 4 OFFSET 1", " FETCH FIRST 2 ROWS ONLY")
        return text

    def named_windows(self, scopes: Scopes) -> tuple[list[str], str]:
        if not self.chance(0.1):
            return [], ""
        part = f"PARTITION BY {self.expr(self.pick('T', 'I'), scopes, 0)}"
        name = self.pick("w", "email", "win")
        order = self.expr(self.pick("T", "D"), scopes, 0)
        return [name, f"({name} ORDER BY {order})"], f" WINDOW {name} AS ({part})"

    def fixed(self, depth: int, scopes: Scopes, kinds: list[str]) -> tuple[list[str], Columns]:
        names = [f"{self.rng.choice(NAMES)}{at}" for at in range(len(kinds))]
        cells = [self.expr(kind, scopes, depth) for kind in kinds]
        items = [f"{cell} AS {quoted(name)}" for cell, name in zip(cells, names, strict=True)]
        return items, list(zip(names, kinds, strict=True))

    def items(self, depth: int, scopes: Scopes) -> tuple[list[str], Columns]:
        items: list[str] = []
        columns: Columns = []
        for _ in range(self.rng.randint(1, 4)):
            roll = self.rng.random()
            source = self.rng.choice(scopes[0])
            if roll < 0.08 and not items and not any(one.merged for one in scopes[0]):
                return ["*"], [column for one in scopes[0] for column in one.star]
            if roll < 0.03 and depth > 2 and not items:
                return ["*"], [("", "?")]
            if roll < 0.14:
                inside = self.pick("{}.*", "({}).*") if source.named else "{}.*"
                items.append(inside.format(quoted(source.alias)))
                columns += source.star
            elif roll < 0.42:
                name, kind = self.rng.choice(source.columns)
                items.append(self.reference(source, name, scopes))
                columns.append((name, kind))
            elif roll < 0.5:
                kind = self.pick(*"TIDA")
                name = f"{self.rng.choice(NAMES)}{len(columns)}"
                items.append(f"{self.windowed(kind, scopes, depth)} AS {quoted(name)}")
                columns.append((name, kind))
            elif roll < 0.54:
                name = self.fresh("u")
                items.append(f"unnest({self.expr('A', scopes, 0)}) AS {name}")
                columns.append((name, "T"))
            else:
                kind = self.pick(*"TTIBJAVD")
                name = f"{self.rng.choice(NAMES)}{len(columns)}"
                word = self.pick(" AS ", " AS ", " ") if name.islower() else " AS "
                items.append(f"{self.expr(kind, scopes, depth)}{word}{quoted(name)}")
                columns.append((name, kind))
        return items, columns

    def grouped(
        self, depth: int, scopes: Scopes, text: str, kinds: list[str] | None
    ) -> tuple[str, Columns]:
        where = self.where(scopes, depth)
        having = ""
        if self.chance(0.3):
            having = f" HAVING {self.total('I', scopes, 0)} >= {self.pick('0', '1')}"
        if kinds is not None:
            cells = [self.total(kind, scopes, depth) for kind in kinds]
            names = [f"{self.rng.choice(NAMES)}{at}" for at in range(len(kinds))]
            items = [f"{cell} AS {quoted(name)}" for cell, name in zip(cells, names, strict=True)]
            made = f"SELECT {', '.join(items)} FROM {text}{where}{having}"
            return made, list(zip(names, kinds, strict=True))
        keyed = [source for source in scopes[0] if source.keyed]
        keys = [self.expr(self.pick("T", "I", "D"), scopes[:1], 0) for _ in range(2)]
        columns = [("k", "T"), ("n", "I")]
        kind = self.pick(*"TIBJAD")
        items = [f"{keys[0]}::text AS k", f"{self.total('I', scopes, depth)} AS n"]
        items.append(f"{self.total(kind, scopes, depth)} AS g")
        columns.append(("g", kind))
        by = keys[0]
        if keyed and self.chance(0.4):
            alias = quoted(keyed[0].alias)
            name, kind = self.rng.choice(keyed[0].columns)
            by = f"{alias}.id, {keys[0]}"
            items.append(f"{alias}.{name} AS d")
            columns.append(("d", kind))
        elif self.chance(0.4):
            by = self.pick(
                f"GROUPING SETS (({keys[0]}), ({keys[0]}, {keys[1]}), ())",
                f"ROLLUP ({keys[0]}, {keys[1]})",
                f"CUBE ({keys[1]}, {keys[0]})",
            )
            if self.chance(0.5):
                items.append(f"grouping({keys[0]}) AS h")
                columns.append(("h", "I"))
        elif "::" not in keys[0] and self.chance(0.4):
            by = "1" if not keys[0].startswith(("'", "timestamp", "E'", "$")) else keys[0]
        order = " ORDER BY 1, n" if self.chance(0.2) else ""
        made = f"SELECT {', '.join(items)} FROM {text}{where} GROUP BY {by}{having}{order}"
        return made, columns

    def where(self, scopes: Scopes, depth: int) -> str:
        return f" WHERE {self.test(scopes, depth)}" if self.chance(0.5) else ""
