"""Statements that change tables instead of rows: indexes, and columns that come and go.

Layer: inspectors. Start reading at `index_made` and `altered`. An index or a constraint reads the
columns it is over. After a column came or went, the catalog no longer says what `*` stands for, so
a star over that table is a doubt for the rest of the connection.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from sqlglot import exp

from policyguard.inspectors.sql.changes import target_of
from policyguard.inspectors.sql.model import How
from policyguard.inspectors.sql.scope import Doubt, Scope, Seen
from policyguard.inspectors.sql.values import Columns, Relation, Value
from policyguard.inspectors.sql.walk import Env, Made, Walk, every, nodes, only, unknown
from policyguard.inspectors.sql.words import words

_PLAIN: Final = words(
    """
    AutoIncrementColumnConstraint CollateColumnConstraint CommentColumnConstraint
    DefaultColumnConstraint GeneratedAsIdentityColumnConstraint NotNullColumnConstraint
    PrimaryKeyColumnConstraint UniqueColumnConstraint
    """
)
_READING: Final = (exp.Query, exp.Column, exp.Anonymous, exp.Star)


def index_made(walk: Walk, tree: exp.Expr) -> None:
    """CREATE INDEX: reads the columns that it is over, those in expressions and in WHERE too.

    Raises:
        Doubt: a part that isn't understood.
    """
    only(tree, "this", "kind", "unique", "exists", "concurrently", "replace")
    index = tree.this
    only(index, "this", "table", "params", "unique")
    walk.claim(index.args.get("this"))
    target, _ = target_of(walk, index.args["table"], may_be_new=False)
    scope = Scope(walk.traits, seen=[target])
    params = index.args.get("params")
    if params is None:
        raise unknown(tree)
    only(params, "using", "columns", "include", "where", "with_storage", "on", "tablespace")
    walk.claim(*nodes(params.args.get("with_storage")), *nodes(params.args.get("tablespace")))
    for part in nodes(params.args.get("columns")):
        _use(walk, _key(walk, part), scope, "order")
    for part in nodes(params.args.get("include")):
        _use(walk, part, scope, "order")
    for part in nodes(params.args.get("where")):
        _use(walk, part, scope, "filter")


def _key(walk: Walk, part: exp.Expr) -> exp.Expr:
    """The column or expression of an index's entry, without what says how it is ordered."""
    while isinstance(part, exp.Ordered | exp.Opclass):
        if isinstance(part, exp.Opclass):
            walk.claim(part.args.get("expression"))
        part = part.this
    if walk.traits.name == "mysql" and isinstance(part, exp.Anonymous):
        # `email(10)`: the first ten letters of a column.
        lengths = part.expressions
        if len(lengths) == 1 and isinstance(lengths[0], exp.Literal):
            return exp.column(exp.to_identifier(part.name))
    return part


def _use(walk: Walk, part: exp.Expr, scope: Scope, how: How) -> None:
    walk.use(walk.value(part, scope, Env()).sources, how)


def altered(walk: Walk, tree: exp.Expr) -> None:
    """ALTER TABLE that adds or drops columns, constraints, defaults.

    Raises:
        Doubt: anything else, such as a new name or a new type that is computed.
    """
    only(tree, "this", "kind", "exists", "actions", "only", "not_valid", "cascade")
    if str(tree.args.get("kind") or "").upper() != "TABLE":
        raise unknown(tree)
    target, path = target_of(walk, tree.this, may_be_new=False)
    changed = False
    for action in tree.args.get("actions") or ():
        act = _ACTIONS.get(type(action))
        if act is None:
            raise Doubt("a table is altered in a way that isn't understood")
        changed = act(walk, action, target) or changed
    if changed:
        _reshape(walk, path, target, tree)


def _added(walk: Walk, column: exp.Expr, target: Seen) -> bool:  # noqa: ARG001 - an action
    """ADD COLUMN with a constant for the rows that are there."""
    only(column, "this", "kind", "constraints", "exists", "position")
    for constraint in nodes(column.args.get("constraints")):
        kind = constraint.args.get("kind")
        if type(kind).__name__ not in _PLAIN or _reads(constraint):
            raise Doubt("a column is added whose values are computed or checked")
    walk.claim(column)
    return True


def _dropped(walk: Walk, drop: exp.Expr, target: Seen) -> bool:  # noqa: ARG001 - an action
    """DROP COLUMN; a dropped constraint leaves the columns as they are."""
    kind = str(drop.args.get("kind") or "").upper()
    if kind not in {"COLUMN", "CONSTRAINT", "INDEX"}:
        raise unknown(drop)
    walk.claim(drop)
    return kind == "COLUMN"


def _column_changed(walk: Walk, action: exp.Expr, target: Seen) -> bool:  # noqa: ARG001 - an action
    """A default, NOT NULL, or a type that the values are cast to."""
    only(action, "this", "dtype", "default", "drop", "allow_null", "comment")
    default = action.args.get("default")
    if isinstance(default, exp.Expr) and _reads(default):
        raise unknown(action)
    walk.claim(action)
    return False


def _constrained(walk: Walk, action: exp.Expr, target: Seen) -> bool:
    """ADD CONSTRAINT: the rows that are there are checked, so its columns are read."""
    only(action, "expressions")
    for one in action.expressions:
        parts = one.expressions if isinstance(one, exp.Constraint) else [one]
        if isinstance(one, exp.Constraint):
            only(one, "this", "expressions")
            walk.claim(one.this)
        for part in parts:
            _checked(walk, part, target)
    return False


def _checked(walk: Walk, part: exp.Expr, target: Seen) -> None:
    scope = Scope(walk.traits, seen=[target])
    if isinstance(part, exp.CheckColumnConstraint):
        only(part, "this", "enforced")
        _use(walk, part.this, scope, "filter")
    elif isinstance(part, exp.UniqueColumnConstraint) and isinstance(part.this, exp.Schema):
        only(part, "this", "nulls", "include")
        _names(walk, part.this.expressions, scope)
    elif isinstance(part, exp.PrimaryKey):
        only(part, "expressions", "include")
        _names(walk, part.expressions, scope)
    elif isinstance(part, exp.ForeignKey):
        only(part, "expressions", "reference", "delete", "update", "options")
        _names(walk, part.expressions, scope)
        reference = part.args.get("reference")
        schema = reference.this if isinstance(reference, exp.Expr) else None
        if not isinstance(schema, exp.Schema):
            raise Doubt("a foreign key that doesn't name the columns it refers to")
        other, _ = target_of(walk, schema.this, may_be_new=False)
        _names(walk, schema.expressions, Scope(walk.traits, seen=[other]))
    else:
        raise Doubt("a constraint is added that isn't understood")


def _names(walk: Walk, parts: list[exp.Expr], scope: Scope) -> None:
    for part in parts:
        inner = part.this if isinstance(part, exp.Ordered) else part
        if not isinstance(inner, exp.Identifier | exp.Column):
            raise unknown(inner)
        _use(walk, inner, scope, "filter")


def _reads(part: exp.Expr) -> bool:
    return any(isinstance(one, _READING) for one in every(part))


def _reshape(walk: Walk, path: tuple[str, ...], target: Seen, tree: exp.Expr) -> None:
    """What the altered table is from now on."""
    made = walk.made.get(path)
    base = target.relation
    if made is not None and made.whole and made.sure and made.query is None:
        # The text made it itself, so its columns are known to the last.
        columns = _stepped(walk, made.relation.columns, path, tree)
        walk.made[path] = Made(Relation(columns, base=True, shape=base.shape), whole=True)
        return
    table = base.table or ".".join(path)

    def unlisted(name: str) -> Value:
        return Value(frozenset({(f"{table}.{name}", "direct")}))

    known: Columns = made.relation.columns if made is not None else []
    relation = Relation(known, base=True, unlisted=unlisted, size_known=False)
    whole = made is not None and made.whole
    walk.made.pop(path, None)
    walk.made[path] = Made(relation, whole=whole, sure=made is None or made.sure)


def _stepped(walk: Walk, columns: Columns, path: tuple[str, ...], tree: exp.Expr) -> Columns:
    table = ".".join(path)
    for action in tree.args.get("actions") or ():
        if isinstance(action, exp.ColumnDef):
            name = walk.fold(action.this)
            if any(own == name for own, _ in columns):
                continue
            value = Value(frozenset({(f"{table}.{name}", "direct")}))
            columns = [*columns, (name, value)]
        elif isinstance(action, exp.Drop):
            parts = nodes(action.args.get("tables") or action.args.get("this"))
            gone = {walk.fold(one.this if isinstance(one, exp.Column) else one) for one in parts}
            columns = [column for column in columns if column[0] not in gone]
    return columns


_ACTIONS: Final[dict[type[exp.Expr], Callable[[Walk, exp.Expr, Seen], bool]]] = {
    exp.ColumnDef: _added,
    exp.Drop: _dropped,
    exp.AlterColumn: _column_changed,
    exp.AddConstraint: _constrained,
}
