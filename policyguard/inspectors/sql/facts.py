"""What a query proves about each of its rows by conditions at its top.

Layer: inspectors. Start reading at `facts_of`.

INVARIANT: a condition proves something about a table's rows only if the statement reads that table
once. A second mention, also one inside a view, would return rows that the condition says nothing
about; so a statement with views or CTEs proves nothing.
"""

from __future__ import annotations

import re
from collections import Counter
from typing import Final

from sqlglot import exp

from policyguard.inspectors.sql.model import Fact, Link
from policyguard.inspectors.sql.walk import Walk

_SIDES: Final = ("left", "right")
_CODE: Final = re.compile(r"[A-Za-z]{2,3}(-[A-Za-z0-9]{1,3})?")


def facts_of(walk: Walk, tree: exp.Expr) -> tuple[tuple[Fact, ...], tuple[Link, ...]]:
    """What every row that a statement returns, or puts elsewhere, is known to meet.

    Returns:
        Equalities of base columns with constants, and of base columns with each other; only of a
        plain SELECT's own FROM and WHERE, joined with AND.
    """
    query = _query_of(tree)
    if query is None or walk.expanded or tree.find(exp.CTE) is not None:
        return (), ()
    own = _Own(walk, tree, query)
    where = query.args.get("where")
    tests = [] if where is None else _conjuncts(where.this)
    facts = [
        Fact(column, value)
        for pair in map(_pair, tests)
        if pair is not None
        for column in own.bases(pair[0])
        for value in (pair[1],)
    ]
    links = [link for test in tests for link in own.links(test)]
    for join in query.args.get("joins") or ():
        links += own.joined(join)
    return tuple(dict.fromkeys(facts)), tuple(dict.fromkeys(links))


def _query_of(tree: exp.Expr) -> exp.Select | None:
    """The SELECT whose rows a statement returns, inserts, keeps or copies, if there is one."""
    inner: object = tree
    if isinstance(tree, exp.Insert | exp.Create):
        inner = tree.args.get("expression")
    elif isinstance(tree, exp.Copy):
        inner = tree.this
    while isinstance(inner, exp.Subquery | exp.Paren):
        inner = inner.this
    return inner if isinstance(inner, exp.Select) else None


class _Own:
    """The tables that stand directly in a query's FROM, and once only in the whole statement."""

    def __init__(self, walk: Walk, tree: exp.Expr, query: exp.Select) -> None:
        mentions = Counter(table.name.casefold() for table in tree.find_all(exp.Table))
        self._tables = {
            (table.alias or table.name).casefold(): table.name.casefold()
            for table in _from_tables(query)
            if mentions[table.name.casefold()] == 1
        }
        forward = walk.traits.forward_aliases
        self._aliases = {
            part.alias.casefold()
            for part in query.expressions
            if forward and isinstance(part, exp.Alias)
        }
        self._bases = {name.split(".")[-1].casefold(): name for name in walk.found.tables}
        self._reads = {read.casefold(): read for read in walk.found.reads}

    def bases(self, column: exp.Column) -> list[str]:
        """The base columns that a column may be; none of a table that isn't an own one."""
        if not column.table and column.name.casefold() in self._aliases:
            # Some databases look for the alias of the select list first.
            return []
        known = self._tables
        names = [known.get(column.table.casefold())] if column.table else list(known.values())
        found = (f"{self._bases.get(name or '')}.{column.name}".casefold() for name in names)
        return [self._reads[name] for name in found if name in self._reads]

    def links(self, test: exp.Expr) -> list[Link]:
        """The base columns that a test says are equal."""
        if not isinstance(test, exp.EQ):
            return []
        left, right = test.this, test.expression
        if not (isinstance(left, exp.Column) and isinstance(right, exp.Column)):
            return []
        return self._pairs(self.bases(left), self.bases(right))

    def joined(self, join: exp.Join) -> list[Link]:
        """The base columns that a join says are equal.

        Of an outer join too, as far as one of the two is of the table that is joined: a row either
        meets it, or holds nothing of one side. Two other tables stay side by side if it fails.
        """
        table = join.this
        name = (table.alias or table.name).casefold() if isinstance(table, exp.Table) else ""
        base = self._bases.get(self._tables.get(name, ""), "").casefold()
        on = join.args.get("on")
        found = [
            link for test in (_conjuncts(on) if on is not None else ()) for link in self.links(test)
        ]
        for part in join.args.get("using") or ():
            columns = self.bases(exp.column(part.name))
            # More than two tables may have the column; which of them are meant can't be told here.
            found += self._pairs(columns[:1], columns[1:]) if len(columns) == len(_SIDES) else []
        return [link for link in found if base in {_table_of(column) for column in link}]

    @staticmethod
    def _pairs(left: list[str], right: list[str]) -> list[Link]:
        # A bare name that may be one of several tables links nothing.
        return [(left[0], right[0])] if len(left) == len(right) == 1 else []


def _table_of(column: str) -> str:
    return column.rpartition(".")[0].casefold()


def _from_tables(tree: exp.Expr) -> list[exp.Table]:
    """The tables that stand directly in FROM or a JOIN."""
    source = tree.args.get("from_")
    items = [source.this] if source is not None else []
    items += [join.this for join in tree.args.get("joins") or ()]
    return [item for item in items if isinstance(item, exp.Table)]


def _conjuncts(node: exp.Expr) -> list[exp.Expr]:
    waiting, found = [node], []
    while waiting:
        part = waiting.pop()
        if isinstance(part, exp.Paren):
            waiting.append(part.this)
        elif isinstance(part, exp.And):
            waiting += [part.this, part.expression]
        else:
            found.append(part)
    return found


def _pair(test: exp.Expr) -> tuple[exp.Column, bool | int | str] | None:
    """The column and the constant it equals, or None."""
    if isinstance(test, exp.Column):
        return test, True
    if isinstance(test, exp.Not) and isinstance(test.this, exp.Column):
        return test.this, False
    if not isinstance(test, exp.EQ | exp.Is):
        return None
    left, right = test.this, test.expression
    if isinstance(right, exp.Column):
        left, right = right, left
    if not isinstance(left, exp.Column):
        return None
    if isinstance(right, exp.Boolean):
        return left, bool(right.this)
    if not isinstance(right, exp.Literal) or not isinstance(test, exp.EQ):
        return None
    if right.is_string:
        return (left, right.name) if _CODE.fullmatch(right.name) else None
    return (left, int(right.name)) if right.name in {"0", "1"} else None
