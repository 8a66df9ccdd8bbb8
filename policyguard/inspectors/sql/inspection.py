"""The one function of this package: what a text of SQL does with columns.

Layer: inspectors. Start reading at `inspect`.
"""

from __future__ import annotations

from dataclasses import replace
from functools import lru_cache
from typing import Final

from sqlglot import exp
from sqlglot.tokenizer_core import Token

from policyguard.inspectors.sql import guard
from policyguard.inspectors.sql.catalog import Catalog
from policyguard.inspectors.sql.changes import change_relation
from policyguard.inspectors.sql.exports import export_to
from policyguard.inspectors.sql.expressions import value_of
from policyguard.inspectors.sql.model import Export, Kind, Output, Source, Statement
from policyguard.inspectors.sql.prefix import Unwrapped, unwrapped
from policyguard.inspectors.sql.queries import query_relation
from policyguard.inspectors.sql.scope import Doubt, Scope
from policyguard.inspectors.sql.session import MAX_MEMO, Left, Session
from policyguard.inspectors.sql.statement import answer, kind_of, remember, statement_of
from policyguard.inspectors.sql.templates import Templates, template_of
from policyguard.inspectors.sql.traits import Traits, traits_of
from policyguard.inspectors.sql.values import Relation, Value
from policyguard.inspectors.sql.walk import Env, Made, Walk

CACHED: Final = 2048

_templates: Final = Templates()


def inspect(
    text: str, dialect: str, catalog: Catalog, session: Session | None = None
) -> tuple[Statement, ...]:
    """What each statement of a text reads, returns, writes and exports.

    Args:
        text: as it will be sent. Anything but text is unresolved.
        dialect: required; see `DIALECTS`.
        catalog: what is known about tables.
        session: the connection that the text is sent over: temporary tables, views and prepared
            statements of earlier texts are known, and those of this one are remembered.

    Returns:
        At least one statement. What isn't understood is `unresolved` with a reason; so is every
        statement after one that is.

    Raises:
        PolicyGuardError: no dialect, or an unknown one.

    Cost: O(length) and one walk of the syntax tree; the same text again costs a look-up, and a text
        that differs only in values from an earlier one is split into tokens, but not parsed. Which
        literals are values is told in `templates`: others can name columns.
    """
    traits = traits_of(dialect)
    if not isinstance(text, str):
        return (Statement("unknown", "unresolved", "the query isn't text"),)
    if session is None:
        return _inspected(text, traits, _Key(catalog))[0]
    if session.doubt:
        return (Statement("unknown", "unresolved", session.doubt),)
    if session.empty:
        answers, left = _inspected(text, traits, _Key(catalog))
        if left.made or left.prepared:
            session.absorb(left)
    else:
        known = session.memo.get((text, traits.name, catalog.version))
        answers = known if known is not None else _anew(text, traits, catalog, session)
    if not all(one.resolved for one in answers):
        session.notice(text)
    return answers


def _anew(text: str, traits: Traits, catalog: Catalog, session: Session) -> tuple[Statement, ...]:
    """The answers for a text that is new to a connection which was left something."""
    statements = _split(text, traits)
    if isinstance(statements, Statement):
        return (statements,)
    template = template_of(statements, text)
    key = (template, traits.name, catalog.version)
    known = session.memo.get(key) if template is not None else None
    if known is not None:
        return known
    left = session.begin()
    known = _answered(statements, text, traits, catalog, left)
    session.absorb(left)
    if len(session.memo) < MAX_MEMO:
        session.memo[(text, traits.name, catalog.version)] = known
        if template is not None and all(one.resolved for one in known):
            session.memo[key] = known
    return known


class _Key:
    """A catalog as part of a cache's key: equal when the versions are."""

    __slots__ = ("catalog",)

    def __init__(self, catalog: Catalog) -> None:
        self.catalog = catalog

    def __hash__(self) -> int:
        return hash(self.catalog.version)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Key) and other.catalog.version == self.catalog.version


@lru_cache(maxsize=CACHED)
def _inspected(text: str, traits: Traits, key: _Key) -> tuple[tuple[Statement, ...], Left]:
    statements = _split(text, traits)
    if isinstance(statements, Statement):
        return (statements,), Left()
    template = template_of(statements, text)
    known = _templates.get((template, traits, key)) if template is not None else None
    if known is not None:
        return known
    left = Left()
    answers = _answered(statements, text, traits, key.catalog, left)
    if template is not None:
        _templates.keep((template, traits, key), answers, left)
    return answers, left


def _split(text: str, traits: Traits) -> list[list[Token]] | Statement:
    """The tokens of each statement, or why there are none."""
    try:
        return guard.split(text, traits, thin=True)
    except Doubt as doubt:
        # Denies: a text that is refused before the parser is unresolved as a whole.
        return Statement("unknown", "unresolved", doubt.why)


def _answered(
    statements: list[list[Token]], text: str, traits: Traits, catalog: Catalog, left: Left
) -> tuple[Statement, ...]:
    """The answer for each statement in order; what they leave behind is added to `left`."""
    answers: list[Statement] = []
    for tokens in statements:
        if answers and not answers[-1].resolved:
            why = "an earlier statement of the text isn't understood"
            answers.append(Statement("unknown", "unresolved", why))
            continue
        answers.append(_one(tokens, text, traits, catalog, left))
    return tuple(answers)


def _one(
    tokens: list[Token], text: str, traits: Traits, catalog: Catalog, session: Left
) -> Statement:
    try:
        inner = unwrapped(tokens, traits)
    except Doubt as doubt:
        # Denies: a wrapper that isn't understood may wrap anything.
        return Statement("unknown", "unresolved", doubt.why)
    except IndexError:
        # Denies: a wrapper that breaks off in the middle.
        return Statement("unknown", "unresolved", "the statement breaks off")
    if inner.wrap == "harmless":
        return Statement("harmless", "resolved")
    if inner.wrap == "execute":
        return _executed(inner, traits, catalog, session)
    if inner.wrap == "unload":
        return _unloaded(inner, traits, catalog, session)
    statement = _plain(inner.tokens, text, traits, catalog, session)
    if not statement.resolved or inner.wrap == "plain":
        return statement
    if inner.wrap == "outfile":
        return replace(statement, outputs=(), exports=(Export("file", "", statement.outputs),))
    if inner.wrap == "prepare":
        known = session.prepared.get(inner.name)
        kept = statement
        if known is not None and known[2] != statement:
            # The database may have refused the second: which of the two runs isn't known.
            kept = replace(statement, status="unresolved", why="a name that was prepared twice")
        session.prepared[inner.name] = (inner.tokens, text, kept)
        return replace(statement, outputs=(), facts=())
    plan = tuple(Source(column, "derived") for column in sorted(statement.reads))
    return replace(statement, outputs=(Output("", plan),), facts=())


def _executed(inner: Unwrapped, traits: Traits, catalog: Catalog, session: Left) -> Statement:
    """EXECUTE of what was prepared before, as long as its names still mean the same."""
    if inner.name not in session.prepared:
        return Statement("unknown", "unresolved", "a statement that was prepared elsewhere")
    tokens, text, before = session.prepared[inner.name]
    now = _plain(tokens, text, traits, catalog, session)
    if now != before:
        return replace(now, status="unresolved", why="a prepared statement whose tables changed")
    return now


def _unloaded(inner: Unwrapped, traits: Traits, catalog: Catalog, session: Left) -> Statement:
    """UNLOAD: the query stands in a string, and is inspected as a text of its own."""
    statements = _split(inner.text, traits)
    if isinstance(statements, Statement):
        return Statement("copy", "unresolved", "UNLOAD of a query that isn't understood")
    left = Left(dict(session.made), dict(session.prepared))
    found = _answered(statements, inner.text, traits, catalog, left)
    if len(found) != 1 or not found[0].resolved or found[0].kind != "select":
        return Statement("copy", "unresolved", "UNLOAD of a query that isn't understood")
    export = export_to(exp.Literal.string(inner.place), found[0].outputs)
    return replace(found[0], kind="copy", outputs=(), exports=(export,), facts=())


def _plain(
    tokens: list[Token], text: str, traits: Traits, catalog: Catalog, session: Left
) -> Statement:
    walk = new_walk(traits, catalog, session.made)
    kind: Kind = "unknown"
    try:
        tree = guard.parse(tokens, text, traits)
        kind = kind_of(tree)
        statement = statement_of(walk, tree)
    except Doubt as doubt:
        # Denies: what was found so far goes along, but the status says not to rely on it.
        return answer(walk, kind, why=doubt.why)
    except RecursionError:
        # Denies: nested deeper than the walk can follow.
        return answer(walk, kind, why="nested too deep")
    except Exception:  # noqa: BLE001 - a tree of any shape comes out of odd input
        # Denies: a tree of a shape that the walk doesn't expect was not understood.
        return answer(walk, kind, why="the statement has a shape that isn't understood")
    remember(walk)
    return statement


def new_walk(traits: Traits, catalog: Catalog, made: dict[tuple[str, ...], Made]) -> Walk:
    """A walk with its parts put together: expressions hold queries, and queries expressions."""

    def value(node: exp.Expr, scope: Scope, env: Env) -> Value:
        return value_of(walk, node, scope, env)

    def query(node: exp.Expr, scope: Scope | None, env: Env) -> Relation:
        return query_relation(walk, node, scope, env)

    def change(node: exp.Expr, env: Env) -> Relation:
        return change_relation(walk, node, env)

    def view(text: str) -> Relation:
        statements = guard.split(text, traits)
        if len(statements) != 1:
            raise Doubt("the definition of a view isn't one query")
        kept, walk.made = walk.made, {}
        try:
            return walk.query(guard.parse(statements[0], text, traits), None, Env())
        finally:
            walk.made = kept

    walk = Walk(traits, catalog, made, value, query, change, view)
    return walk
