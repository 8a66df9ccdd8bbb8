"""Aggregates and window functions.

Start reading at `Totals.total`.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from tests.postgres.maker import Exprs, Scopes
from tests.postgres.schema import quoted


@dataclass
class Totals(Exprs):
    """Makes what looks at several rows; `windows` are the named ones of the query."""

    windows: list[str] = field(default_factory=list)

    def total(self, kind: str, scopes: Scopes, depth: int) -> str:
        """An aggregate whose result is of a kind."""
        order = f" ORDER BY {self.expr(self.pick('I', 'T'), scopes, 0)}" if self.chance(0.3) else ""
        text, number = self.expr("T", scopes, depth - 1), self.expr("I", scopes, depth - 1)
        row = quoted(self.rng.choice(scopes[0]).alias)
        ways = {
            "T": [f"max({text})", f"min({text})", f"string_agg({text}, ','{order})"],
            "I": ["count(*)", f"count({text})", f"count(DISTINCT {text})", f"sum({number})::int"],
            "B": [f"bool_or({self.test(scopes, 0)})", f"every({self.test(scopes, 0)})"],
            "J": [
                f"jsonb_agg({text}{order})",
                f"jsonb_object_agg(coalesce({text}, 'n'), {number})",
            ],
            "A": [f"array_agg({text}{order})"],
            "V": [f"array_agg({number}::float8)"],
            "D": [f"max({self.expr('D', scopes, depth - 1)})"],
        }[kind]
        if kind == "J":
            ways += [f"jsonb_agg({row})", f"jsonb_agg(to_jsonb({row}){order})"]
        if kind == "I":
            ways += [f"max({number})", f"count({row})", f"avg({number})::int"]
            ways.append(f"percentile_disc(0.5) WITHIN GROUP (ORDER BY {number})")
        if kind == "T":
            ways.append(f"mode() WITHIN GROUP (ORDER BY {text})")
        made = self.rng.choice(ways)
        if self.chance(0.2):
            test = f" FILTER (WHERE {self.test(scopes, depth - 1)})"
            made = made.replace("::int", "") + test + ("::int" if made.endswith("::int") else "")
        return made

    def windowed(self, kind: str, scopes: Scopes, depth: int) -> str:
        """A window function whose result is of a kind."""
        one = self.expr(kind, scopes, depth - 1)
        call = self.pick(f"lag({one})", f"first_value({one})", f"lead({one}, 1, {one})", "")
        if kind == "I":
            number = self.expr("I", scopes, 0)
            call = self.pick("row_number()", "rank()", "count(*)", f"sum({number})", "ntile(2)")
        if not call or kind == "J":
            call = f"nth_value({one}, 1)"
        over = self.frame(scopes)
        over = self.rng.choice(self.windows) if self.windows and self.chance(0.5) else f"({over})"
        made = f"{call} OVER {over}"
        return f"({made})::int" if kind == "I" else made

    def frame(self, scopes: Scopes) -> str:
        part = f"PARTITION BY {self.expr(self.pick('T', 'I'), scopes, 0)}" * self.chance(0.6)
        order = f" ORDER BY {self.expr(self.pick('T', 'I', 'D'), scopes, 0)}" * self.chance(0.6)
        rows = " ROWS BETWEEN 1 PRECEDING AND CURRENT ROW" * (bool(order) and self.chance(0.3))
        return f"{part}{order}{rows}"
