"""What stands in FROM: tables and views, joins of all kinds, subqueries, functions, VALUES.

Start reading at `Froms.from_clause`.
"""

from __future__ import annotations

from tests.postgres.maker import Scopes, Source
from tests.postgres.schema import KEYED, RELATIONS, VIEWS, full, quoted
from tests.postgres.totals import Totals

Columns = list[tuple[str, str]]


class Froms(Totals):
    """Makes FROM clauses; what stands before an item can be seen by those behind it."""

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
                    (
                        f"JSON_TABLE({json}, '$' COLUMNS (e text PATH '$.email', "
                        f"n int PATH '$.n')) AS {alias}"
                    ),
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

    def derived(self, depth: int, outer: Scopes) -> tuple[Source, str]:
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
