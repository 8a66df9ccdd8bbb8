"""What windows, FILTER and WITHIN GROUP add to the sources of a function.

Layer: inspectors. Start reading at `window_value`.
"""

from __future__ import annotations

from sqlglot import exp

from policyguard.inspectors.sql import functions as known
from policyguard.inspectors.sql.scope import Doubt, Scope
from policyguard.inspectors.sql.values import Value, became, union
from policyguard.inspectors.sql.walk import Env, Walk, children, nodes, only, place


def window_value(walk: Walk, node: exp.Expr, scope: Scope, env: Env) -> Value:
    """A function over a window. A total over a window may be one row's value."""
    only(node, "this", "partition_by", "order", "spec", "alias", "over", "first")
    inner = walk.value(node.this, scope, env)
    frame = window_frame(walk, node, scope, env)
    function = node.this
    while isinstance(function, exp.Filter | exp.IgnoreNulls | exp.RespectNulls):
        function = function.this
    name = type(function).__name__
    sources = inner.sources
    if name in known.AGGREGATED_CLASSES and name not in known.COUNT_CLASSES:
        sources = frozenset(
            (col, "derived" if via == "aggregated" else via) for col, via in sources
        )
    return Value(sources | became(frame.sources, "derived"))


def window_frame(walk: Walk, node: exp.Expr, scope: Scope, env: Env) -> Value:
    """The columns that order, part and bound a window, named windows included."""
    parts: list[Value] = []
    for key in ("partition_by", "order"):
        parts += [walk.value(child, scope, env) for child in nodes(node.args.get(key))]
    spec = node.args.get("spec")
    if spec is not None:
        only(spec, "kind", "start", "start_side", "end", "end_side", "exclude")
        parts += [walk.value(child, scope, env) for child in children(spec)]
    alias = node.args.get("alias")
    if alias is not None:
        named = scope.window(walk.fold(alias))
        if named is None:
            raise Doubt(f"a named window isn't known{place(node)}")
        parts.append(named)
    frame = Value(union(parts))
    walk.use(frame.sources, "window")
    return frame


def filtered(walk: Walk, node: exp.Expr, scope: Scope, env: Env) -> Value:
    """An aggregate over some rows: the condition flows as the aggregate does."""
    only(node, "this", "expression")
    inner = walk.value(node.this, scope, env)
    test = walk.value(node.args["expression"], scope, env)
    walk.use(test.sources, "filter")
    total = type(node.this).__name__ in known.AGGREGATED_CLASSES
    return Value(inner.sources | became(test.sources, "aggregated" if total else "derived"))


def within_group(walk: Walk, node: exp.Expr, scope: Scope, env: Env) -> Value:
    """An aggregate with its own order: the value that comes out is one of those ordered."""
    only(node, "this", "expression")
    parts = [walk.value(child, scope, env) for child in children(node)]
    return Value(became(union(parts), "derived"))
