"""Which base columns flow into the value of an expression.

Layer: inspectors. Start reading at `value_of`. Nodes that only compute are listed in `PLAIN`; a
node that names, nests or binds something has a function of its own; any other node is a doubt.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from sqlglot import exp

from policyguard.inspectors.sql import functions as known
from policyguard.inspectors.sql.names import column_value, name_value
from policyguard.inspectors.sql.projection import EACH
from policyguard.inspectors.sql.scope import Doubt, Scope, whole_row
from policyguard.inspectors.sql.values import EMPTY, Value, became, opened, union
from policyguard.inspectors.sql.walk import Env, Walk, children, nodes, only, place, unknown
from policyguard.inspectors.sql.windows import filtered, window_value, within_group
from policyguard.inspectors.sql.words import words

PLAIN: Final = words(
    """
    Add Adjacent All And Any AtTimeZone Between BitwiseAnd BitwiseLeftShift BitwiseNot
    BitwiseOr BitwiseRightShift BitwiseXor Bracket CastToStrType Cube DPipe Distance
    Distinct Div EQ Escape ExtendsLeft ExtendsRight FormatJson FromTimeZone GT GTE Glob
    GroupingSets ILike IgnoreNulls IntDiv Interval Is JSONKeyValue Limit JSONValue LT LTE Like
    Match Mod Mul NEQ Neg Not NullSafeEQ NullSafeNEQ Or Order Ordered Overlaps RespectNulls
    Rollup SimilarTo Slice Sub Tuple Variadic Where Xor
    """
)
LEAVES: Final = words(
    """
    BitString Boolean ByteString CharacterSet Heredoc HexString IntervalSpan JSONPath
    Literal National Null OnCondition PseudoType RawString UnicodeString
    Var WeekStart
    """
)
Handler = Callable[[Walk, exp.Expr, Scope, Env], Value]


def value_of(walk: Walk, node: exp.Expr, scope: Scope, env: Env) -> Value:
    """The base columns that flow into an expression's value.

    Raises:
        Doubt: a node that isn't understood, or a name that means nothing.

    Cost: O(nodes). Chains of operators are walked in a loop, so that a long OR doesn't recurse.
    """
    name = type(node).__name__
    if name in LEAVES:
        return EMPTY
    walk.spend(1)
    handler = HANDLERS.get(name)
    if handler is not None:
        return handler(walk, node, scope, env)
    if name in PLAIN:
        return _plain(walk, node, scope, env)
    if isinstance(node, exp.Func):
        return _function(walk, node, scope, env)
    raise unknown(node)


def _plain(walk: Walk, node: exp.Expr, scope: Scope, env: Env) -> Value:
    values: list[Value] = []
    waiting = list(children(node))
    while waiting:
        child = waiting.pop()
        name = type(child).__name__
        if name in PLAIN and name not in HANDLERS:
            waiting += children(child)
        elif name not in LEAVES:
            values.append(walk.value(child, scope, env))
    return Value(became(union(values), "derived"))


def _function(walk: Walk, node: exp.Expr, scope: Scope, env: Env) -> Value:
    name = type(node).__name__
    if name in known.COUNT_CLASSES and isinstance(node.this, exp.Star):
        only(node, "this", "big_int")
        only(node.this)
        walk.claim(node)
        return EMPTY
    arguments = [walk.value(child, scope, env) for child in children(node)]
    if name in known.ROW_CLASSES:
        # The other columns come as often as it has rows.
        walk.use(union(arguments), "join")
    if name in known.DERIVED_CLASSES:
        return Value(became(union(arguments), "derived"))
    if name in known.DIRECT_CLASSES:
        return Value(union(arguments))
    if name in known.AGGREGATED_CLASSES:
        return Value(became(union(arguments), "aggregated"))
    if name in known.HASHED_CLASSES:
        return Value(became(union(arguments), "hashed"))
    if name in known.DECRYPTED_CLASSES:
        return Value(became(opened(union(arguments)), "derived"))
    if name in known.ENCRYPTED_CLASSES:
        return _encrypted(arguments)
    raise unknown(node)


def _encrypted(arguments: list[Value]) -> Value:
    """The first argument is encrypted; a key that is a column stays what it is."""
    rest = became(union(arguments[1:]), "derived")
    return Value(became(union(arguments[:1]), "encrypted") | rest)


def _anonymous(walk: Walk, node: exp.Expr, scope: Scope, env: Env) -> Value:
    """A function that the parser has no class for, by its plain name."""
    name = node.name.lower()
    arguments = [walk.value(child, scope, env) for child in nodes(node.args.get("expressions"))]
    sources = union(arguments)
    if name in known.ROW_FUNCTIONS:
        walk.use(sources, "join")
    via = walk.catalog.functions.get(name)
    if via in {"direct", "derived", "hashed", "aggregated", "encrypted"}:
        return Value(became(sources, via))  # type: ignore[arg-type]  # membership narrows str
    if isinstance(node, exp.AggFunc) or name in known.DERIVED_NAMES:
        return Value(became(sources, "derived"))
    if name in known.HASHED_NAMES:
        return Value(became(sources, "hashed"))
    if name in known.AGGREGATED_NAMES:
        return Value(became(sources, "aggregated"))
    if name in known.DIRECT_NAMES:
        return Value(sources)
    if name in known.DECRYPTED_NAMES:
        return Value(became(opened(sources), "derived"))
    if name in known.ENCRYPTED_NAMES:
        return _encrypted(arguments)
    if len(arguments) == 1 and any(field.casefold() == name for field, _ in arguments[0].fields):
        # `email(u)` is `u.email` where rows are values.
        return Value(became(sources, "derived"))
    shown = f" `{name}`" if name.isidentifier() and name.isascii() else ""
    raise Doubt(f"function{shown} isn't in the table of functions{place(node)}")


def _dot(walk: Walk, node: exp.Expr, scope: Scope, env: Env) -> Value:
    """A field of a row or struct, or a function with its schema."""
    target, part = node.this, node.args["expression"]
    if isinstance(part, exp.Func):
        schema = target.name.lower() if isinstance(target, exp.Identifier) else ""
        if schema not in {"pg_catalog", "safe", "net", "sys"}:
            raise Doubt(f"a function of a schema of its own isn't known{place(node)}")
        walk.claim(target)
        return walk.value(part, scope, env)
    if not isinstance(part, exp.Identifier):
        raise unknown(node)
    row = walk.value(target, scope, env)
    name = walk.fold(part)
    for own, value in row.fields:
        if own == name:
            return value
    return Value(became(row.sources, "derived"))


def _case(walk: Walk, node: exp.Expr, scope: Scope, env: Env) -> Value:
    """The branches come out as they are; the conditions can be inferred."""
    only(node, "this", "ifs", "default")
    tests = [*nodes(node.args.get("this")), *(branch.this for branch in node.args["ifs"])]
    results = [branch.args["true"] for branch in node.args["ifs"]]
    results += nodes(node.args.get("default"))
    return _chosen(walk, tests, results, scope, env)


def _if(walk: Walk, node: exp.Expr, scope: Scope, env: Env) -> Value:
    only(node, "this", "true", "false")
    results = [*nodes(node.args.get("true")), *nodes(node.args.get("false"))]
    return _chosen(walk, [node.this], results, scope, env)


def _chosen(
    walk: Walk, tests: list[exp.Expr], results: list[exp.Expr], scope: Scope, env: Env
) -> Value:
    decided = union(walk.value(test, scope, env) for test in tests)
    chosen = union(walk.value(result, scope, env) for result in results)
    return Value(chosen | became(decided, "derived"))


def _scalar(walk: Walk, node: exp.Expr, scope: Scope, env: Env) -> Value:
    """A subquery as a value. One that returns nothing of a table still tells whether rows exist."""
    relation = walk.query(node, scope, env)
    if len(relation.columns) == 1 and relation.columns[0][1].sources:
        return relation.columns[0][1]
    sources = union(value for _, value in relation.columns)
    if not sources:
        sources = frozenset((column, "derived") for column in relation.shape)
    return Value(sources)


def _exists(walk: Walk, node: exp.Expr, scope: Scope, env: Env) -> Value:
    """Whether a row exists: what decides on rows flows, what is selected doesn't."""
    only(node, "this", "expression")
    if node.args.get("expression") is not None or not isinstance(
        node.this, exp.Select | exp.SetOperation | exp.Subquery
    ):
        # EXISTS(array, lambda) of some dialects.
        parts = [walk.value(child, scope, env) for child in children(node)]
        return Value(became(union(parts), "derived"))
    relation = walk.query(node.this, scope, env)
    computed = union(value for _, value in relation.columns)
    plain = isinstance(node.this, exp.Select)
    kept = {col for col, via in computed if via != "direct" or not plain}
    return Value(frozenset((col, "derived") for col in kept | relation.shape))


def _in(walk: Walk, node: exp.Expr, scope: Scope, env: Env) -> Value:
    """Membership: both sides can be inferred, and so can what decides on the subquery's rows."""
    only(node, "this", "expressions", "query", "unnest", "field", "is_global")
    parts: list[Value] = []
    for child in children(node):
        if isinstance(child, exp.Query):
            relation = walk.query(child, scope, env)
            parts += [value for _, value in relation.columns]
            parts.append(Value(frozenset((column, "derived") for column in relation.shape)))
        else:
            parts.append(walk.value(child, scope, env))
    return Value(became(union(parts), "derived"))


def _lambda(walk: Walk, node: exp.Expr, scope: Scope, env: Env) -> Value:
    """Its parameters stand for parts of the other arguments, which are counted there.

    The parser takes `f(payload -> 'key')` for a lambda in every dialect.
    """
    only(node, "this", "expressions", "colon")
    names = [walk.fold(param) for param in node.expressions]
    read: list[Value] = []
    if not walk.traits.lambdas:
        if walk.traits.name != "duckdb":
            parts = [name_value(walk, param, scope) for param in node.expressions]
            parts.append(walk.value(node.this, scope, env))
            return Value(became(union(parts), "derived"))
        # DuckDB has both: what may be a column counts as one.
        for name in names:
            read += [walk.read(seen, value) for seen, value in scope.find(name)]
    params = dict.fromkeys(names, Value(union(read)))
    inner = walk.value(node.this, Scope(scope.traits, scope, params=params), env)
    return Value(inner.sources | became(union(read), "derived"))


def _comprehension(walk: Walk, node: exp.Expr, scope: Scope, env: Env) -> Value:
    only(node, "this", "expression", "position", "iterator", "condition")
    items = walk.value(node.args["iterator"], scope, env)
    bound = [*nodes(node.args["expression"]), *nodes(node.args.get("position"))]
    inner = Scope(scope.traits, scope, params={walk.fold(name): items for name in bound})
    parts = [walk.value(child, inner, env) for child in nodes(node.args.get("condition"))]
    parts += [items, walk.value(node.this, inner, env)]
    return Value(became(union(parts), "derived"))


def _keyed(walk: Walk, node: exp.Expr, scope: Scope, env: Env) -> Value:
    """`name => value`: the name is no column. A user variable is state, so it is a doubt."""
    if not isinstance(node.this, exp.Identifier | exp.Var | exp.Literal | exp.Column):
        raise Doubt("a user variable is set")
    walk.claim(node.this)
    return Value(became(walk.value(node.args["expression"], scope, env).sources, "derived"))


def _star(walk: Walk, node: exp.Expr, scope: Scope, env: Env) -> Value:  # noqa: ARG001 - a handler
    """`f(*)`: every column of everything in FROM."""
    if not isinstance(node.parent, exp.Func) or any(node.args.values()):
        raise unknown(node)
    walk.claim(node)
    if not scope.seen:
        raise unknown(node)
    rows = [walk.read(seen, whole_row(seen.relation)) for seen in scope.seen]
    return Value(became(union(rows), "derived"))


def _cast(walk: Walk, node: exp.Expr, scope: Scope, env: Env) -> Value:
    only(node, "this", "to", "format", "safe", "action", "default")
    parts = [walk.value(child, scope, env) for child in children(node)]
    return Value(became(union(parts), "derived"))


def _parameter(walk: Walk, node: exp.Expr, scope: Scope, env: Env) -> Value:  # noqa: ARG001 - a handler
    """A bound value. In Snowflake `$1` is a column by its position."""
    if walk.traits.name == "snowflake" and isinstance(node.this, exp.Literal):
        raise Doubt("a column is named by its position")
    walk.claim(node)
    return EMPTY


def _bare(walk: Walk, node: exp.Expr, scope: Scope, env: Env) -> Value:  # noqa: ARG001 - a handler
    return name_value(walk, node, scope)


def _column(walk: Walk, node: exp.Expr, scope: Scope, env: Env) -> Value:  # noqa: ARG001 - a handler
    return column_value(walk, node, scope)


def _columns(walk: Walk, node: exp.Expr, scope: Scope, env: Env) -> Value:  # noqa: ARG001 - a handler
    """DuckDB's `COLUMNS(..)`, inside the expression that is evaluated for each column."""
    for part in scope.chain():
        if EACH in part.params:
            walk.claim(node)
            return part.params[EACH]
    raise unknown(node)


def _collated(walk: Walk, node: exp.Expr, scope: Scope, env: Env) -> Value:
    """A collation's name is no column."""
    only(node, "this", "expression")
    walk.claim(node.args.get("expression"))
    return Value(became(walk.value(node.this, scope, env).sources, "derived"))


def _element(walk: Walk, node: exp.Expr, scope: Scope, env: Env) -> Value:
    """`xmlelement(name x, ..)`: the name is no column."""
    only(node, "this", "expressions")
    walk.claim(node.this)
    return Value(became(union(walk.value(one, scope, env) for one in node.expressions), "derived"))


def _claimed(walk: Walk, node: exp.Expr, scope: Scope, env: Env) -> Value:  # noqa: ARG001 - a handler
    walk.claim(node)
    return EMPTY


def _equal(walk: Walk, node: exp.Expr, scope: Scope, env: Env) -> Value:
    """A comparison, but for T-SQL's `SELECT @x = column`, which stores the value for later."""
    if walk.traits.name == "tsql" and isinstance(node.this, exp.Parameter):
        around = node.parent
        while isinstance(around, exp.Paren):
            around = around.parent
        if isinstance(around, exp.Select) and any(one is node for one in around.expressions):
            raise Doubt("a variable is set")
    return _plain(walk, node, scope, env)


def _through(walk: Walk, node: exp.Expr, scope: Scope, env: Env) -> Value:
    """Brackets change nothing."""
    only(node, "this", "alias")
    walk.claim(node.args.get("alias"))
    return walk.value(node.this, scope, env)


HANDLERS: Final[dict[str, Handler]] = {
    "Alias": _through,
    "Anonymous": _anonymous,
    "AnonymousAggFunc": _anonymous,
    "Case": _case,
    "Cast": _cast,
    "Collate": _collated,
    "Column": _column,
    "Columns": _columns,
    "CombinedAggFunc": _anonymous,
    "Comprehension": _comprehension,
    "DataType": _claimed,
    "Dot": _dot,
    "EQ": _equal,
    "Except": _scalar,
    "Exists": _exists,
    "Filter": filtered,
    "HavingMax": within_group,
    "Identifier": _bare,
    "If": _if,
    "In": _in,
    "Intersect": _scalar,
    "JSONCast": _cast,
    "Kwarg": _keyed,
    "Lambda": _lambda,
    "Parameter": _parameter,
    "ObjectIdentifier": _claimed,
    "Paren": _through,
    "Placeholder": _claimed,
    "PropertyEQ": _keyed,
    "Pseudocolumn": _column,
    "Select": _scalar,
    "SessionParameter": _claimed,
    "Star": _star,
    "Subquery": _scalar,
    "TryCast": _cast,
    "Union": _scalar,
    "Values": _scalar,
    "Window": window_value,
    "WithinGroup": within_group,
    "XMLElement": _element,
}
