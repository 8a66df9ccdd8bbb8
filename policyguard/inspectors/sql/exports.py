"""Statements that send rows out of the database, or take them in.

Layer: inspectors. Start reading at `copied`.
"""

from __future__ import annotations

import re
from typing import Final

from sqlglot import exp

from policyguard.inspectors.sql.changes import target_of
from policyguard.inspectors.sql.model import Export, Output
from policyguard.inspectors.sql.projection import projected
from policyguard.inspectors.sql.scope import Scope
from policyguard.inspectors.sql.sources import add_source
from policyguard.inspectors.sql.values import Columns, Value, as_sources
from policyguard.inspectors.sql.walk import Env, Walk, nodes, only, unknown

_URL: Final = re.compile(
    r"([a-z][a-z0-9+.-]{1,15})://(?:[^/@?#]*@)?([^/:?#]{1,253})", re.IGNORECASE
)
_STAGE: Final = re.compile(r"@[A-Za-z0-9_.$~%\"]{1,200}")


def copied(walk: Walk, tree: exp.Expr) -> tuple[Columns, tuple[Export, ...]]:
    """COPY in either direction.

    Raises:
        Doubt: a form of COPY that isn't understood.
    """
    if isinstance(tree, exp.Export):
        return _exported(walk, tree)
    only(tree, "this", "kind", "files", "credentials", "format", "params")
    files = [*nodes(tree.args.get("files"))]
    inner, place = tree.this, files[0] if len(files) == 1 else None
    outward = not tree.args.get("kind")
    if walk.traits.name in {"snowflake", "databricks"}:
        # `COPY INTO place FROM table` and `COPY INTO table FROM place` are told by the place.
        outward = isinstance(inner, exp.Table) and not isinstance(inner.this, exp.Identifier)
        inner, place = (place, inner.this) if outward else (inner, place)
    if place is None or inner is None:
        raise unknown(tree)
    for key in ("credentials", "format"):
        walk.claim(*nodes(tree.args.get(key)))
    for part in nodes(tree.args.get("params")):
        if any(isinstance(one, exp.Query | exp.Func) for one in part.walk()):
            raise unknown(part)
        walk.claim(part)
    walk.claim(tree.this if inner is not tree.this else None, place)
    if not outward:
        return _taken_in(walk, inner)
    columns = _rows(walk, inner)
    outputs = tuple(Output(name, as_sources(value.sources)) for name, value in columns)
    return [], (export_to(place, outputs),)


def _exported(walk: Walk, tree: exp.Export) -> tuple[Columns, tuple[Export, ...]]:
    """BigQuery's EXPORT DATA: the place is an option."""
    only(tree, "this", "connection", "options")
    walk.claim(*nodes(tree.args.get("connection")), tree.args["options"])
    columns = walk.query(tree.this, None, Env()).columns
    outputs = tuple(Output(name, as_sources(value.sources)) for name, value in columns)
    uris = [
        option.args["value"]
        for option in tree.args["options"].expressions
        if isinstance(option, exp.Property) and option.name.lower() == "uri"
    ]
    if len(uris) != 1:
        raise unknown(tree)
    return [], (export_to(uris[0], outputs),)


def export_to(place: exp.Expr, outputs: tuple[Output, ...]) -> Export:
    """The export to a place as the text names it; paths and credentials are left out."""
    name = place.name
    url = _URL.match(name)
    if url is not None:
        return Export("url", f"{url[1].lower()}://{url[2].lower()}", outputs)
    if name.startswith("@"):
        stage = _STAGE.match(name)
        return Export("stage", stage[0] if stage else "", outputs)
    if isinstance(place, exp.Identifier | exp.Var) and name.upper() in {"STDOUT", "PROGRAM"}:
        return Export(name.lower(), "", outputs)
    return Export("file", "", outputs)


def _rows(walk: Walk, inner: exp.Expr) -> Columns:
    """The rows that a query or a table yields."""
    if isinstance(inner, exp.Query):
        return walk.query(inner, None, Env()).columns
    names: list[str] = []
    if isinstance(inner, exp.Schema):
        only(inner, "this", "expressions")
        walk.claim(*inner.expressions)
        names = [
            walk.fold(part.this if isinstance(part, exp.Column) else part)
            for part in inner.expressions
        ]
        inner = inner.this
    scope = Scope(walk.traits)
    add_source(walk, inner, scope, Env())
    if not names:
        return projected(walk, [exp.Star()], scope, Env())
    parts = [exp.column(exp.to_identifier(name, quoted=True)) for name in names]
    return [(name, walk.value(part, scope, Env())) for name, part in zip(names, parts, strict=True)]


def _taken_in(walk: Walk, inner: exp.Expr) -> tuple[Columns, tuple[Export, ...]]:
    """COPY FROM: rows come in; nothing is read."""
    names: list[str] = []
    if isinstance(inner, exp.Schema):
        walk.claim(*inner.expressions)
        names = [walk.fold(part) for part in inner.expressions if isinstance(part, exp.Identifier)]
        inner = inner.this
    target, path = target_of(walk, inner, may_be_new=True)
    columns: Columns = [(name, Value()) for name in names]
    name = target.relation.table or ".".join(path)
    walk.found.writes.append((path, name, "insert", columns))
    return [], ()
