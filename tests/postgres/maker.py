"""Typed expressions over the relations that a place in a query sees.

Start reading at `Exprs.expr`. The kinds are those of `tests.postgres.schema`; what is made is
valid PostgreSQL nearly always, and holds nothing that changes from one run to the next.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final

from tests.postgres.schema import quoted

Scopes = list[list["Source"]]
# Casts from a kind to text are `::text`; the others have their own way.
_LITERALS: Final = {
    "T": ["'a'", "'b1'", "'zz'", "E'x'", "$$d$$"],
    "I": ["1", "2", "0", "-1"],
    "B": ["true", "false"],
    "J": ["'{\"a\": 1}'::jsonb", "jsonb '[1]'"],
    "A": ["ARRAY['x']", "'{a,b}'::text[]"],
    "V": ["ARRAY[1.5, 2]::float8[]", "'{1,2}'::float8[]"],
    "D": ["timestamp '2020-01-01'", "'2021-02-03'::timestamp"],
}


@dataclass
class Source:
    """A relation in FROM: its alias, its columns with their kinds, and what it is.

    Attributes:
        named: it has a row type, so `(t).column` and `column(t)` work.
        keyed: grouping by its `id` lets all its columns through.
        star: what `t.*` stands for.
        merged: a join made one of its columns and another's.
    """

    alias: str
    columns: list[tuple[str, str]]
    named: bool = False
    keyed: bool = False
    star: list[tuple[str, str]] = field(default_factory=list)
    merged: bool = False

    def __post_init__(self) -> None:
        self.star = self.star or list(self.columns)


@dataclass
class Exprs:
    """Makes expressions from one random source; `depth` bounds the nesting."""

    rng: random.Random
    count: int = 0
    commons: list[dict[str, list[tuple[str, str]]]] = field(default_factory=list)
    plain: bool = False

    def chance(self, share: float) -> bool:
        return self.rng.random() < share

    def pick(self, *choices: str) -> str:
        return self.rng.choice(choices)

    def fresh(self, stem: str = "t") -> str:
        self.count += 1
        return f"{stem}{self.count}"

    def query(
        self, depth: int, outer: Scopes, kinds: list[str] | None = None
    ) -> tuple[str, list[tuple[str, str]]]:
        """A query; the rest of the generator makes it."""
        raise NotImplementedError

    # names

    def column(self, kind: str, scopes: Scopes) -> str | None:
        """A column of a kind; None if no relation in sight has one."""
        levels = [0] * 4 + list(range(len(scopes)))
        level = self.rng.choice(levels)
        found = [
            (source, name)
            for source in scopes[level]
            for name, own in source.columns
            if own == kind
        ]
        if not found:
            return None
        source, name = self.rng.choice(found)
        return self.reference(source, name, scopes[: level + 1])

    def reference(self, source: Source, name: str, scopes: Scopes) -> str:
        """A column by its name alone where that is clear, else with its relation."""
        near = [own for scope in scopes for one in scope for own, _ in one.columns]
        names = [one.alias for scope in scopes for one in scope]
        if near.count(name) == 1 and name not in names and not self.plain and self.chance(0.35):
            return self.cased(quoted(name))
        if source.named and not self.plain and self.chance(0.06):
            return f"({quoted(source.alias)}).{quoted(name)}"
        return f"{self.cased(quoted(source.alias))}.{quoted(name)}"

    def cased(self, name: str) -> str:
        return name.upper() if '"' not in name and self.chance(0.05) else name

    # expressions

    def expr(self, kind: str, scopes: Scopes, depth: int) -> str:
        """An expression of a kind."""
        if depth <= 0 or self.chance(0.4):
            found = self.column(kind, scopes)
            if found is not None:
                return found
            if depth <= 0:
                return self.converted(kind, scopes)
        make: dict[str, Callable[[Scopes, int], str]] = {
            "T": self.text,
            "I": self.number,
            "B": self.test,
            "J": self.json,
            "A": self.array,
            "V": self.vector,
            "D": self.time,
        }
        if depth > 0 and self.chance(0.25):
            return self.general(kind, scopes, depth)
        return make[kind](scopes, depth)

    def converted(self, kind: str, scopes: Scopes) -> str:
        """A leaf where no column has the kind: another column turned into it, or a constant."""
        for other in self.rng.sample("TIDJ", 4):
            found = self.column(other, scopes)
            if found is None or self.chance(0.3):
                continue
            ways = {
                "T": f"{found}::text",
                "I": f"length({found}::text)",
                "J": f"to_jsonb({found})",
                "A": f"ARRAY[{found}::text]",
                "B": f"({found} IS NULL)",
                "V": f"ARRAY[length({found}::text)]::float8[]",
            }
            if kind in ways:
                return ways[kind]
        return self.rng.choice(_LITERALS[kind])

    def general(self, kind: str, scopes: Scopes, depth: int) -> str:
        """What works for every kind."""
        roll = self.rng.random()
        one = self.expr(kind, scopes, depth - 1)
        two = self.expr(kind, scopes, depth - 2)
        if roll < 0.25:
            return f"coalesce({one}, {two})"
        if roll < 0.4:
            return f"CASE WHEN {self.test(scopes, depth - 1)} THEN {one} ELSE {two} END"
        if roll < 0.5:
            test, want = self.expr("T", scopes, 0), self.expr("T", scopes, depth - 1)
            return f"CASE {test} WHEN {want} THEN {one} WHEN 'z' THEN {two} END"
        if roll < 0.58:
            return f"nullif({one}, {two})" if kind != "J" else f"coalesce({one}, {two}, {two})"
        if roll < 0.66 and kind in "TID":
            return f"{self.pick('greatest', 'least')}({one}, {two})"
        if roll < 0.9 and depth > 1 and not self.plain:
            return f"({self.scalar(kind, scopes, depth - 1)})"
        return f"({one})"

    def scalar(self, kind: str, scopes: Scopes, depth: int) -> str:
        """A subquery of one column that yields at most one row."""
        text, columns = self.query(depth - 1, scopes, [kind])
        if not text.startswith("SELECT") or len(columns) != 1:
            alias = self.fresh("q")
            text = f"SELECT * FROM ({text}) {alias}"
        return (
            text if " LIMIT " in text[-12:] else f"SELECT * FROM ({text}) {self.fresh('q')} LIMIT 1"
        )

    def text(self, scopes: Scopes, depth: int) -> str:
        roll = self.rng.random()
        one = self.expr("T", scopes, depth - 1)
        if roll < 0.12:
            return f"{self.pick('lower', 'upper', 'md5', 'initcap', 'trim', 'reverse')}({one})"
        if roll < 0.24:
            return f"({one} || {self.expr('T', scopes, 0)})"
        if roll < 0.34:
            return self.json_text(scopes, depth)
        if roll < 0.4:
            return f"{self.expr(self.pick('I', 'D', 'B'), scopes, depth - 1)}::text"
        if roll < 0.45:
            return f"substring({one} from 1 for ({self.number(scopes, 0)})::int + 5)"
        if roll < 0.5:
            return f"array_to_string({self.expr('A', scopes, depth - 1)}, ',')"
        if roll < 0.56:
            return f"({self.expr('A', scopes, 0)})[{self.pick('1', '2')}]"
        if roll < 0.62:
            return (
                f"concat_ws('-', {one}, {self.expr('I', scopes, 0)}, {self.expr('T', scopes, 0)})"
            )
        if roll < 0.68:
            return f"replace({one}, 'a', {self.expr('T', scopes, 0)})"
        if roll < 0.72:
            return f"to_char({self.expr('D', scopes, 0)}, 'YYYY')"
        if roll < 0.76:
            return f"left({one}, 2)" if self.chance(0.5) else f"split_part({one}, '@', 1)"
        if roll < 0.8:
            return f"regexp_replace({one}, 'a+', {self.expr('T', scopes, 0)})"
        if roll < 0.83:
            return f"CAST({self.expr('I', scopes, 0)} AS text)"
        if roll < 0.86:
            return f"format('%s-%s', {one}, {self.expr('T', scopes, 0)})"
        return self.whole(scopes) if roll < 0.93 else f'({one} COLLATE "C")'

    def whole(self, scopes: Scopes) -> str:
        """A relation's whole row as one value, turned into text."""
        source = self.rng.choice(self.rng.choice([scopes[0], scopes[0], *scopes]))
        row = quoted(source.alias)
        if len({name for name, _ in source.columns}) < len(source.columns) or self.plain:
            return f"ROW({self.expr('I', scopes, 0)}, {self.expr('T', scopes, 0)})::text"
        name = self.rng.choice(source.columns)[0]
        ways = [f"{row}::text", f"row_to_json({row})::text", f"to_jsonb({row})->>'{name}'"]
        ways += [f"row_to_json({row})->>'email'", f"({row}.*)::text", f"ROW({row}.*)::text"]
        ways += [f"to_json({row}.*)::text", f"jsonb_build_object('r', {row})::text"]
        if source.named:
            ways += [f"{quoted(name)}({row})::text", f"({row}).{quoted(name)}::text"]
        return self.rng.choice(ways)

    def json_text(self, scopes: Scopes, depth: int) -> str:
        json = self.expr("J", scopes, depth - 1)
        return self.pick(
            f"({json} ->> 'email')",
            f"({json} #>> '{{list,0}}')",
            f"jsonb_extract_path_text({json}, 'list', '0')",
            f"jsonb_path_query_first({json}, '$.email')::text",
            f"JSON_VALUE({json}, '$.email')",
            f"jsonb_typeof({json})",
            f"({json} ->> {self.expr('T', scopes, 0)})",
        )

    def number(self, scopes: Scopes, depth: int) -> str:
        roll = self.rng.random()
        one = self.expr("I", scopes, depth - 1)
        if roll < 0.3:
            return f"({one} {self.pick('+', '-', '*')} {self.expr('I', scopes, 0)})"
        if roll < 0.45:
            return f"length({self.expr('T', scopes, depth - 1)})"
        if roll < 0.53:
            return f"coalesce(array_length({self.expr(self.pick('A', 'V'), scopes, 0)}, 1), 0)"
        if roll < 0.6:
            return f"extract({self.pick('year', 'epoch', 'dow')} from {self.time(scopes, 0)})::int"
        if roll < 0.66:
            return f"position('a' in {self.expr('T', scopes, 0)})"
        if roll < 0.72:
            return f"(({self.expr('J', scopes, 0)} ->> 'n')::int)"
        if roll < 0.78:
            return f"abs({one})"
        if roll < 0.84:
            return f"cardinality({self.expr('A', scopes, depth - 1)})"
        if roll < 0.9:
            return f"({self.expr('B', scopes, 0)})::int"
        return f"num_nulls({one}, {self.expr('T', scopes, 0)})"

    def json(self, scopes: Scopes, depth: int) -> str:
        roll = self.rng.random()
        one = self.expr("J", scopes, depth - 1)
        key = self.expr("T", scopes, 0)
        if roll < 0.2:
            return f"({one} -> {self.pick(chr(39) + 'list' + chr(39), '0')})"
        if roll < 0.45:
            return f"jsonb_build_object('k', {self.expr('T', scopes, depth - 1)}, 'j', {one})"
        if roll < 0.55:
            return f"jsonb_build_array({self.expr('I', scopes, 0)}, {key})"
        if roll < 0.65:
            return f"({one} || jsonb_build_object('x', {key}))"
        if roll < 0.75:
            return f"jsonb_set({one}, '{{a}}', to_jsonb({self.expr('T', scopes, 0)}))"
        if roll < 0.85:
            return f"to_jsonb({self.expr(self.pick('T', 'A', 'V', 'I', 'D'), scopes, depth - 1)})"
        if roll < 0.92:
            return f"({one} - 'email')"
        return f"jsonb_path_query_array({one}, '$.list[*]')"

    def array(self, scopes: Scopes, depth: int) -> str:
        roll = self.rng.random()
        one = self.expr("A", scopes, depth - 1)
        text = self.expr("T", scopes, depth - 1)
        if roll < 0.25:
            return f"ARRAY[{text}, {self.expr('T', scopes, 0)}]"
        if roll < 0.4:
            return f"array_append({one}, {text})"
        if roll < 0.5:
            return f"string_to_array({text}, ',')"
        if roll < 0.6:
            return f"({one})[1:2]"
        if roll < 0.75 and depth > 1 and not self.plain:
            return f"ARRAY({self.query(depth - 1, scopes, ['T'])[0]})"
        if roll < 0.85:
            return f"array_remove({one}, {text})"
        return f"({one} || {self.expr('A', scopes, 0)})"

    def vector(self, scopes: Scopes, depth: int) -> str:
        one = self.expr("V", scopes, depth - 1)
        return self.pick(
            f"({one})[1:1]",
            f"array_cat({one}, {self.expr('V', scopes, 0)})",
            f"ARRAY[({one})[1], {self.expr('I', scopes, 0)}]",
            f"array_append({one}, 1.5::float8)",
        )

    def time(self, scopes: Scopes, depth: int) -> str:
        one = self.expr("D", scopes, depth - 1)
        return self.pick(
            f"date_trunc('month', {one})",
            f"({one} + interval '1 day')",
            f"({one} + make_interval(days => {self.expr('I', scopes, 0)}::int))",
            f"({one} - {self.expr('I', scopes, 0)} * interval '1 hour')",
            f"{one}::date::timestamp",
            f"({one} AT TIME ZONE 'UTC' AT TIME ZONE 'UTC')",
        )

    def test(self, scopes: Scopes, depth: int) -> str:
        """A condition."""
        roll = self.rng.random()
        kind = self.pick("T", "T", "I", "D")
        one, two = self.expr(kind, scopes, depth - 1), self.expr(kind, scopes, 0)
        text = self.expr("T", scopes, 0)
        if roll < 0.2:
            return f"{one} {self.pick('=', '<>', '<', '>=')} {two}"
        if roll < 0.28 and depth > 0:
            joined = self.pick("AND", "OR", "AND NOT")
            return f"({self.test(scopes, depth - 1)} {joined} {self.test(scopes, 0)})"
        if roll < 0.34:
            return f"{one} BETWEEN {two} AND {self.expr(kind, scopes, 0)}"
        if roll < 0.4:
            like = self.pick("LIKE", "ILIKE", "NOT LIKE", "~", "!~*")
            return f"{text} {like} '{self.pick('a%', '.*')}'"
        if roll < 0.45:
            return f"{one} IS {self.pick('', 'NOT ')}{self.pick('NULL', 'DISTINCT FROM ' + two)}"
        if roll < 0.51:
            return f"{text} = ANY ({self.expr('A', scopes, depth - 1)})"
        if roll < 0.56:
            sign = self.pick("&&", "@>", "<@")
            return f"{self.expr('A', scopes, 0)} {sign} {self.expr('A', scopes, 0)}"
        if roll < 0.61:
            return (
                f"{self.expr('J', scopes, 0)} {self.pick('? ' + repr('email'), '@> ' + repr('{}'))}"
            )
        if roll < 0.65:
            return f"({one}, {text}) = ({two}, {self.expr('T', scopes, 0)})"
        if roll < 0.7:
            return f"{one} IN ({two}, {self.expr(kind, scopes, 0)})"
        if depth <= 1 or self.plain:
            return self.column("B", scopes) or f"{one} IS NOT NULL"
        return self.subtest(kind, one, scopes, depth)

    def subtest(self, kind: str, one: str, scopes: Scopes, depth: int) -> str:
        """A condition on a subquery."""
        roll = self.rng.random()
        if roll < 0.4:
            inner, _ = self.query(depth - 1, scopes)
            return f"{self.pick('', 'NOT ')}EXISTS ({inner})"
        inner, _ = self.query(depth - 1, scopes, [kind])
        if roll < 0.75:
            return f"{one} {self.pick('', 'NOT ')}IN ({inner})"
        if roll < 0.9:
            return f"{one} {self.pick('=', '<', '<>')} {self.pick('ANY', 'ALL')} ({inner})"
        inner, _ = self.query(depth - 1, scopes, [kind, "T"])
        return f"({one}, {self.expr('T', scopes, 0)}) IN ({inner})"
