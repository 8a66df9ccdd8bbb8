"""Random queries: joins of all kinds, CTEs, set operations, grouping, windows, rows from functions.

Start reading at `Queries.query`. Names collide on purpose: CTEs and aliases are called like tables
and like columns.
"""

from __future__ import annotations

import re
from typing import Final

from tests.postgres.maker import Exprs, Scopes, Source
from tests.postgres.schema import KEYED, RELATIONS, VIEWS, full, quoted

Columns = list[tuple[str, str]]
DEPTH: Final = 3
NAMES: Final = ["a", "x", "email", "note", "people", "recent", "total", "Odd", "id"]


class Queries(Exprs):
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
            rest = clause.split(" AS ", 1)[-1] + text
            if depth < DEPTH and not all(re.search(rf"\b{name}\b", rest) for name in names):
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
            cells = ", ".join(self.expr(kind, outer, 0) if outer else "NULL" for kind in kinds)
            if outer:
                return f"VALUES ({cells})", [(f"column{i + 1}", k) for i, k in enumerate(kinds)]
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

    # FROM

    def from_clause(self, depth: int, outer: Scopes) -> tuple[list[Source], str]:
        first, text = self.item(depth, outer)
        sources = [first]
        for _ in range(self.rng.choice([0, 0, 1, 1, 2])):
            if self.chance(0.12) and depth > 0:
                more, lateral = self.lateral(depth, [sources, *outer])
                text += lateral
                sources.append(more)
                continue
            more, added = self.item(depth - 1, outer)
            if self.chance(0.25):
                text, sources = f"{text}, {added}", [*sources, more]
                continue
            text = self.joined(text, sources, more, added)
            if text.endswith(") AS j"):
                return [Source("j", sources[0].star + more.star)], text
            sources.append(more)
        return sources, text

    def joined(self, text: str, sources: list[Source], more: Source, added: str) -> str:
        """Some relations joined with another one."""
        near = sources[-1]
        shared = [
            (name, kind)
            for name, kind in near.columns
            if (name, kind) in more.columns and kind in "TID"
        ]
        left = [name for one in sources for name, _ in one.columns]
        kind = self.pick("JOIN", "LEFT JOIN", "INNER JOIN", "RIGHT OUTER JOIN", "FULL JOIN")
        alone = [name for name, _ in shared if left.count(name) == 1 and "," not in text]
        if alone and self.chance(0.35):
            rest = [[c for c in one.columns if c[0] != alone[0]] for one in [*sources, more]]
            if not all(rest):
                return f"{text} CROSS JOIN {added}"
            for source, columns in zip([*sources, more], rest, strict=True):
                source.columns, source.merged = columns, True
            alias = " AS k" * self.chance(0.03)
            return f"{text} {kind} {added} USING ({quoted(alone[0])}){alias}"
        types = [self.pick(*"TI")]
        one = self.column(types[0], [[near]]), self.column(types[0], [[more]])
        if self.chance(0.06) or None in one or "," in text:
            return f"{text} CROSS JOIN {added}"
        self.plain = True
        pair = [self.column(types[0], [[near]]), self.column(types[0], [[more]])]
        extra = ""
        if kind in {"JOIN", "LEFT JOIN"} and self.chance(0.3):
            extra = f" AND {self.test([[near, more]], 0)}"
        self.plain = False
        text = f"{text} {kind} {added} ON {pair[0]} = {pair[1]}{extra}"
        both = [name for one in [*sources, more] for name, _ in one.star]
        clear = len(set(both)) == len(both)
        if clear and len(sources) == 1 and self.chance(0.3):
            return f"({text}) AS j"
        return f"({text})" if self.chance(0.08) and " LATERAL " not in text else text

    def lateral(self, depth: int, scopes: Scopes) -> tuple[Source, str]:
        """Something that sees what stands before it."""
        alias = self.fresh("l")
        roll = self.rng.random()
        if roll < 0.45:
            inner, columns = self.query(depth - 1, scopes)
            names = [f"{own or 'c'}{at}" for at, (own, _) in enumerate(columns)]
            if any(kind == "?" for _, kind in columns):
                inner, columns, names = "SELECT 1", [("one", "I")], ["one"]
            shown = f"({inner}) AS {alias}({', '.join(map(quoted, names))})"
            named = [(new, kind) for new, (_, kind) in zip(names, columns, strict=True)]
            return Source(alias, named), self.pick(
                f", LATERAL {shown}", f" LEFT JOIN LATERAL {shown} ON true"
            )
        text, columns = self.rows(scopes, alias)
        return Source(alias, columns), (
            ", LATERAL " if text.startswith("(") else self.pick(", ", " CROSS JOIN ", ", LATERAL ")
        ) + text

    def rows(self, scopes: Scopes, alias: str) -> tuple[str, Columns]:
        """A function in FROM."""
        array, json = self.expr("A", scopes, 0), self.expr("J", scopes, 0)
        text, number = self.expr("T", scopes, 0), self.expr("I", scopes, 0)
        return self.rng.choice(
            [
                (f"unnest({array}) AS {alias}(tag)", [("tag", "T")]),
                (f"unnest({array}) {alias}", [(alias, "T")]),
                (
                    f"unnest({array}) WITH ORDINALITY AS {alias}(tag, n)",
                    [("tag", "T"), ("n", "I")],
                ),
                (f"jsonb_each_text({json}) AS {alias}", [("key", "T"), ("value", "T")]),
                (f"jsonb_each({json}) {alias}(k, v)", [("k", "T"), ("v", "J")]),
                (f"jsonb_array_elements_text({json} -> 'list') {alias}", [("value", "T")]),
                (f"generate_series(1, {number}) AS {alias}(n)", [("n", "I")]),
                (f"regexp_split_to_table({text}, ',') AS {alias}", [(alias, "T")]),
                (
                    f"jsonb_to_record({json}) AS {alias}(email text, n int)",
                    [("email", "T"), ("n", "I")],
                ),
                (
                    f"ROWS FROM (unnest({array}), generate_series(1, 2)) AS {alias}(a, b)",
                    [("a", "T"), ("b", "I")],
                ),
                (f"unnest({array}, ARRAY[1, 2]) AS {alias}(a, b)", [("a", "T"), ("b", "I")]),
                (
                    f"(VALUES ({number}, {text}), (2, 'b')) AS {alias}(n, s)",
                    [("n", "I"), ("s", "T")],
                ),
                (
                    f"JSON_TABLE({json}, '$' COLUMNS (e text PATH '$.email', n int PATH '$.n')) "
                    f"AS {alias}",
                    [("e", "T"), ("n", "I")],
                ),
            ]
        )

    def item(self, depth: int, outer: Scopes) -> tuple[Source, str]:
        if depth > 1 and self.chance(0.25):
            return self.derived(depth, outer)
        if self.chance(0.04):
            alias = self.fresh("v")
            shown = f"(VALUES (1, 'a', ARRAY['q']), (2, 'b', NULL)) AS {alias}(n, s, r)"
            return Source(alias, [("n", "I"), ("s", "T"), ("r", "A")]), shown
        visible: dict[str, Columns] = {name: list(full(name).items()) for name in RELATIONS}
        made: set[str] = set()
        for scope in self.commons:
            visible.update(scope)
            made |= set(scope)
        near = [name for name in visible if name in made]
        name = self.rng.choice(near if near and self.chance(0.4) else list(visible))
        columns = [column for column in visible[name] if not column[0].startswith("pad_")]
        columns = columns or visible[name]
        own = name not in made
        shown = quoted(name)
        if own and name in RELATIONS and self.chance(0.08):
            shown = f"public.{shown}"
        elif own and name not in VIEWS and self.chance(0.04):
            shown = f"ONLY {shown}"
        elif own and name in RELATIONS and name not in VIEWS and self.chance(0.03):
            alias = self.fresh()
            sample = f"{shown} AS {alias} TABLESAMPLE BERNOULLI (100)"
            star = visible[name]
            return Source(alias, columns, named=True, keyed=name in KEYED, star=star), sample
        alias = self.alias()
        if own and self.chance(0.06):
            names = [f"{column}_{at}" for at, (column, _) in enumerate(columns)]
            listed = f"{shown} AS {quoted(alias)}({', '.join(map(quoted, names))})"
            named = [(new, kind) for new, (_, kind) in zip(names, columns, strict=True)]
            return Source(alias, named, star=named + visible[name][len(named) :]), listed
        word = self.pick(" AS ", " ")
        keyed = own and name in KEYED
        source = Source(alias, columns, named=own, keyed=keyed, star=visible[name])
        return source, f"{shown}{word}{quoted(alias)}"

    def alias(self) -> str:
        """A fresh alias; now and then one that is called like a column or a table."""
        if self.chance(0.06):
            self.count += 1
            return f"{self.pick('email', 'People', 'note', 'recent')}{self.count}"
        return self.pick("note", "recent", "Odd") if self.chance(0.02) else self.fresh()

    def derived(self, depth: int, outer: Scopes) -> tuple[Source, str]:  # noqa: ARG002 - lateral only
        inner, columns = self.query(depth - 1, [])
        alias = self.fresh("s")
        names = [name for name, _ in columns]
        if any(kind == "?" for _, kind in columns):
            inner, columns = "SELECT id, email FROM people", [("id", "I"), ("email", "T")]
        elif len(set(names)) < len(names) or self.chance(0.2):
            new = [f"{name}{at}" for at, name in enumerate(names)]
            named = [(own, kind) for own, (_, kind) in zip(new, columns, strict=True)]
            return Source(alias, named), f"({inner}) AS {alias}({', '.join(map(quoted, new))})"
        return Source(alias, columns), f"({inner}){self.pick(' AS ', ' ')}{alias}"
