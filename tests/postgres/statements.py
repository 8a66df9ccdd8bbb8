"""Random statements around the queries: changes, tables made on the way, wrappers.

Start reading at `Statements.script`.
"""

from __future__ import annotations

from tests.postgres.froms import Columns
from tests.postgres.maker import Source
from tests.postgres.queries import Queries
from tests.postgres.schema import SQL_TYPES, full, quoted

OUTBOX: Columns = list(full("outbox").items())[:-1]


class Statements(Queries):
    """Makes scripts: one or several statements that are sent over one connection."""

    def script(self) -> list[str]:
        """The statements, in the order in which they are sent."""
        roll = self.rng.random()
        if roll < 0.7:
            return [self.query(3, [])[0]]
        if roll < 0.76:
            return [self.insert()]
        if roll < 0.81:
            return [self.update()]
        if roll < 0.85:
            return [self.delete()]
        if roll < 0.89:
            return [self.merge()]
        if roll < 0.92:
            return [self.changing_cte()]
        if roll < 0.96:
            return self.laundered()
        return self.wrapped()

    def values_of(self, names: list[str], scopes: list[list[Source]], depth: int) -> list[str]:
        kinds = dict(OUTBOX)
        return [self.expr(kinds[name], scopes, depth) for name in names]

    def returning(self, scopes: list[list[Source]]) -> str:
        roll = self.rng.random()
        if roll < 0.4:
            return ""
        if roll < 0.55:
            return " RETURNING *"
        source = self.rng.choice(scopes[0])
        name = quoted(self.rng.choice(source.columns)[0])
        if roll < 0.65 and scopes[0][0].alias in {"outbox", "visits"}:
            return f" RETURNING old.{quoted(scopes[0][0].columns[1][0])}, new.id"
        return f" RETURNING {quoted(source.alias)}.{name}, {self.expr('T', scopes, 1)} AS z"

    def insert(self) -> str:
        names = self.rng.sample(["val", "at", "extra"], self.rng.randint(1, 3))
        kinds = [dict(OUTBOX)[name] for name in names]
        listed = ", ".join(["id", *names])
        target = Source("outbox", OUTBOX, named=True)
        if self.chance(0.3):
            cells = ", ".join(f"({self.scalar(kind, [], 2)})" for kind in kinds)
            given = f"VALUES (100, {cells})"
        else:
            inner, _ = self.query(2, [], kinds)
            given = f"SELECT 100 + row_number() OVER (), q.* FROM ({inner}) q"
        conflict = ""
        if self.chance(0.4):
            self.plain = True
            scopes = [[target, Source("excluded", OUTBOX)]]
            value = self.expr(kinds[0], scopes, 1)
            where = f" WHERE {self.test(scopes, 1)}" * self.chance(0.4)
            self.plain = False
            conflict = self.pick(
                " ON CONFLICT DO NOTHING",
                f" ON CONFLICT (id) DO UPDATE SET {names[0]} = {value}{where}",
                f" ON CONFLICT ON CONSTRAINT outbox_pkey DO UPDATE SET {names[0]} = {value}",
            )
        return f"INSERT INTO outbox ({listed}) {given}{conflict}{self.returning([[target]])}"

    def update(self) -> str:
        target = Source("visits", list(full("visits").items())[:-1], named=True)
        alias = ""
        if self.chance(0.3):
            target.alias, alias = "w", " AS w"
        sources, text = [target], ""
        if self.chance(0.7):
            more, added = self.item(2, [])
            sources, text = [target, more], f" FROM {added}"
        scopes = [sources]
        sets = self.pick(
            f"reason = {self.expr('T', scopes, 2)}",
            f"(reason, doctor) = (SELECT {self.expr('T', scopes, 1)}, 'x')",
            f"(reason, seen) = ({self.expr('T', scopes, 1)}, {self.expr('D', scopes, 1)})",
            f"person_id = {self.expr('I', scopes, 2)}, doctor = DEFAULT",
        )
        where = self.where(scopes, 2)
        return f"UPDATE visits{alias} SET {sets}{text}{where}{self.returning(scopes)}"

    def delete(self) -> str:
        target = Source("orders", list(full("orders").items())[:-1], named=True)
        sources, text = [target], ""
        if self.chance(0.6):
            more, added = self.item(2, [])
            sources, text = [target, more], f" USING {added}"
        where = self.where([sources], 2)
        return f"DELETE FROM orders{text}{where}{self.returning([sources])}"

    def merge(self) -> str:
        target = Source("o", OUTBOX, named=True)
        more, added = self.item(2, [])
        self.plain = True
        on = f"o.id = {self.expr('I', [[more]], 0)}"
        self.plain = False
        both, only = [[target, more]], [[more]]
        parts = []
        if self.chance(0.7):
            test = f" AND {self.test(both, 1)}" * self.chance(0.5)
            then = self.pick(f"UPDATE SET val = {self.expr('T', both, 1)}", "DELETE", "DO NOTHING")
            parts.append(f" WHEN MATCHED{test} THEN {then}")
        if self.chance(0.3):
            parts.append(
                " WHEN NOT MATCHED BY SOURCE THEN UPDATE SET val = " + self.pick("o.val", "NULL")
            )
        if not parts or self.chance(0.7):
            test = f" AND {self.test(only, 1)}" * self.chance(0.4)
            value = self.expr("T", only, 1)
            parts.append(f" WHEN NOT MATCHED{test} THEN INSERT (id, val) VALUES (100, {value})")
        back = self.pick(
            "", "", " RETURNING o.*", " RETURNING merge_action(), o.val", " RETURNING *"
        )
        return f"MERGE INTO outbox AS o USING {added} ON {on}{''.join(parts)}{back}"

    def changing_cte(self) -> str:
        inner = self.pick(self.update(), self.delete(), self.insert())
        if "RETURNING" not in inner:
            return f"WITH done AS ({inner}) {self.query(2, [])[0]}"
        return f"WITH done AS ({inner}) SELECT * FROM done"

    def laundered(self) -> list[str]:
        """What one statement stores, a later one reads."""
        inner, columns = self.query(2, [])
        name = self.pick("made", "recent", "Made")
        if any(kind == "?" for _, kind in columns):
            inner, columns = "SELECT id, email, note FROM recent", [("id", "I"), ("email", "T")]
        names = [f"m{at}" for at in range(len(columns))]
        listed = f"({', '.join(names)})"
        shown = quoted(name)
        first = [f"CREATE TEMP TABLE {shown}{listed} AS {inner}"]
        roll = self.rng.random()
        if roll < 0.25:
            types = ", ".join(
                f"{new} {SQL_TYPES[kind]}" for new, (_, kind) in zip(names, columns, strict=True)
            )
            first = [f"CREATE TEMP TABLE {shown} ({types})", f"INSERT INTO {shown} {inner}"]
        elif roll < 0.5:
            first = [f"CREATE TEMP VIEW {shown}{listed} AS {inner}"]
        elif roll < 0.6:
            alias = self.fresh("q")
            first = [f"SELECT {alias}.* INTO TEMP {shown} FROM ({inner}) AS {alias}{listed}"]
        named = [(new, kind) for new, (_, kind) in zip(names, columns, strict=True)]
        self.commons.append({name: named})
        second = self.query(2, [])[0] if self.chance(0.6) else f"SELECT * FROM {shown}"
        self.commons.pop()
        return [*first, second]

    def wrapped(self) -> list[str]:
        """A query inside of another statement."""
        inner = self.query(2, [])[0]
        return self.rng.choice(
            [
                [f"PREPARE p AS {inner}", "EXECUTE p"],
                [f"EXPLAIN ANALYZE {inner}"],
                [f"EXPLAIN (ANALYZE, FORMAT json) {self.update()}"],
                [f"COPY ({inner}) TO STDOUT"],
                [f"COPY ({inner}) TO STDOUT WITH (FORMAT csv, HEADER)"],
                [f"DECLARE c CURSOR FOR {inner}", "FETCH ALL FROM c"],
                ["COPY people (id, email) TO STDOUT"],
                [f"SELECT 1; {inner}"],
            ]
        )
