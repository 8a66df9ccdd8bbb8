"""The CTEs of a WITH: which are seen by which, and what evaluating them touches.

Layer: inspectors. Start reading at `with_commons`.
"""

from __future__ import annotations

from functools import partial
from typing import Final

from sqlglot import exp

from policyguard.inspectors.sql.scope import Doubt
from policyguard.inspectors.sql.values import Relation, Value, union
from policyguard.inspectors.sql.walk import Common, Env, Found, Walk, only

# The CTEs of one WITH see each other, and themselves, without RECURSIVE.
_MUTUAL: Final = frozenset({"sqlite", "tsql"})
_ROUNDS: Final = 8


def with_commons(walk: Walk, node: exp.Expr, env: Env) -> Env:
    """The CTEs of a query, evaluated; one that is never named counts for nothing.

    Raises:
        Doubt: a part that isn't understood, or a CTE that needs itself to begin with.
    """
    clause = node.args.get("with_")
    if clause is None:
        return env
    only(clause, "expressions", "recursive", "search")
    inner = Env(outer=env)
    mutual = bool(clause.args.get("recursive")) or walk.traits.name in _MUTUAL
    owner, level = walk.found, len(walk.around)
    for common in clause.expressions:
        only(common, "this", "alias", "materialized")
        only(common.args["alias"], "this", "columns")
        name = walk.fold(common.args["alias"].this)
        make = partial(_make, walk, common, name, inner, owner=owner, level=level, mutual=mutual)
        if mutual:
            inner.pending[name] = make
        else:
            make()
    for name in list(inner.pending):
        inner.settle(name)
    _search(walk, clause, inner)
    return inner


def _make(
    walk: Walk, common: exp.Expr, name: str, env: Env, *, owner: Found, level: int, mutual: bool
) -> None:
    """Evaluate one CTE. One that changes data does so whether it is named or not."""
    names = [walk.fold(column) for column in common.args["alias"].args.get("columns") or ()]
    with walk.apart() as found:
        if mutual and isinstance(common.this, exp.SetOperation):
            relation = _recursive(walk, common.this, name, names, env)
        elif isinstance(common.this, exp.Query | exp.Values):
            relation = walk.query(common.this, None, env)
        else:
            relation = walk.change(common.this, env)
    if found.writes:
        owner.add(found)
    named = relation.renamed(names) if names else relation
    env.define(name, Common(named, found, level=level))


def _recursive(
    walk: Walk, node: exp.SetOperation, name: str, names: list[str], env: Env
) -> Relation:
    """A recursive CTE: repeated with what the last round found, until nothing is added."""
    start: exp.Expr = node
    inner = Env(outer=env)
    below = inner
    while isinstance(start, exp.SetOperation):
        below = with_commons(walk, start, below)
        start = start.this
    relation = walk.query(start, None, below)
    for _ in range(_ROUNDS):
        named = relation.renamed(names) if names else relation
        inner.define(name, Common(named, Found(), level=len(walk.around)))
        again = walk.query(node, None, inner)
        same = [value.sources for _, value in again.columns]
        if same == [value.sources for _, value in relation.columns]:
            return again
        relation = again
    raise Doubt("a recursive query doesn't settle")


def _search(walk: Walk, clause: exp.Expr, env: Env) -> None:
    """SEARCH and CYCLE add a column that orders by others."""
    search = clause.args.get("search")
    if search is None:
        return
    walk.claim(search)
    made = search.args.get("expression")
    if not isinstance(made, exp.Identifier) or len(env.commons) != 1 or search.args.get("using"):
        raise Doubt("SEARCH in a form that isn't understood")
    for name, common in list(env.commons.items()):
        columns = common.relation.columns
        everything = Value(union(value for _, value in columns))
        relation = Relation([*columns, (walk.fold(made), everything)], shape=common.relation.shape)
        env.define(name, Common(relation, common.found, level=common.level))
