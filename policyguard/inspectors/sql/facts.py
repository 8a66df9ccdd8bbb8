"""What a query proves about each of its rows by a condition at its top.

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

from policyguard.inspectors.sql.model import Fact
from policyguard.inspectors.sql.walk import Walk

_CODE: Final = re.compile(r"[A-Za-z]{2,3}(-[A-Za-z0-9]{1,3})?")


def facts_of(walk: Walk, tree: exp.Expr) -> tuple[Fact, ...]:
    """Equalities with constants that every row of the result meets.

    Returns:
        Only conditions on base columns of a plain SELECT's own FROM, joined with AND.
    """
    where = tree.args.get("where") if isinstance(tree, exp.Select) else None
    if where is None or walk.expanded or tree.find(exp.CTE) is not None:
        return ()
    mentions = Counter(table.name.casefold() for table in tree.find_all(exp.Table))
    own = {
        (table.alias or table.name).casefold(): table.name.casefold()
        for table in _from_tables(tree)
        if mentions[table.name.casefold()] == 1
    }
    bases = {name.split(".")[-1].casefold(): name for name in walk.found.tables}
    facts: list[Fact] = []
    for test in _conjuncts(where.this):
        pair = _pair(test)
        if pair is None:
            continue
        column, value = pair
        tables = [own.get(column.table.casefold())] if column.table else list(own.values())
        for table in tables:
            base = bases.get(table or "")
            name = f"{base}.{column.name}".casefold()
            facts += [Fact(read, value) for read in walk.found.reads if read.casefold() == name]
    return tuple(dict.fromkeys(facts))


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
