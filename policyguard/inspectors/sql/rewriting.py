"""A query without its denied columns: they become NULL where it returns them, or it is refused.

Layer: inspectors. Start reading at `rewritten`.

INVARIANT: a text that comes back doesn't read a denied column. It is inspected like any other text
before it is handed out, so an error in here refuses a query and lets nothing through.
"""

from __future__ import annotations

import re
from typing import Final

from sqlglot import exp

from policyguard.inspectors.sql.carrying import Cell, Places, places_of
from policyguard.inspectors.sql.catalog import Catalog
from policyguard.inspectors.sql.guard import split
from policyguard.inspectors.sql.inspection import inspect
from policyguard.inspectors.sql.model import Output, Statement
from policyguard.inspectors.sql.placeholders import Marked, marked, spellings
from policyguard.inspectors.sql.prefix import unwrapped
from policyguard.inspectors.sql.reemission import emitted, faithful, named_alike, parsed, same
from policyguard.inspectors.sql.session import Session
from policyguard.inspectors.sql.traits import Traits, traits_of

MAX_MEMO: Final = 1024
_KINDS: Final = frozenset({"select", "insert", "update", "delete"})
# Where NULL without a type has one of its own, which fits no other: it is cast where it can be.
_TYPED: Final = frozenset(
    {"postgres", "redshift", "duckdb", "snowflake", "trino", "tsql", "bigquery"}
    | {"databricks", "spark"}
)
_TYPE: Final = re.compile(r"[A-Za-z][A-Za-z0-9 ]*(\(\d+(, ?\d+)?\))?( [a-z ]+)?(\[\])*")
# An information schema says these of columns whose type it doesn't name.
_NO_TYPE: Final = frozenset({"array", "user-defined", "record", "unknown", "null"})
_PLAIN_NAME: Final = re.compile(r"[a-z_][a-z0-9_]*")

_memo: dict[tuple[str, str, str, frozenset[str]], tuple[str | None]] = {}


def rewritten(
    text: str,
    dialect: str,
    catalog: Catalog,
    denied: frozenset[str],
    session: Session | None = None,
) -> str | None:
    """A text that returns NULL for denied columns and is otherwise the same query.

    Args:
        text: as it would be sent.
        dialect: of the database.
        catalog: what is known about tables.
        denied: base columns, `table.column` as `inspect` spells them.
        session: the connection that the text is sent over; left as it is.

    Returns:
        The same object if it reads no denied column; the rewritten text; or None: a denied column
        decides which rows come or what another value is, or it isn't certain that none does.

    Cost: that of four inspections. The same question again costs a look-up.
    """
    if not denied:
        return text
    if not all(isinstance(part, str) for part in (text, dialect)):
        return None
    if session is not None and not session.empty:
        return _careful(text, dialect, catalog, denied, session)
    key = (text, dialect, catalog.version, denied)
    # A tuple, so that a refusal is remembered too; asked once, because another thread may clear.
    known = _memo.get(key)
    if known is None:
        known = (_careful(text, dialect, catalog, denied, None),)
        if len(_memo) >= MAX_MEMO:
            _memo.clear()
        _memo[key] = known
    return text if known[0] == text else known[0]


def _careful(
    text: str, dialect: str, catalog: Catalog, denied: frozenset[str], session: Session | None
) -> str | None:
    try:
        return _rewritten(text, traits_of(dialect), catalog, denied, session)
    except Exception:  # noqa: BLE001 - doubts, limits, and whatever a parser or writer may raise
        # Denies: a query that wasn't rewritten in every step isn't sent.
        return None


def _rewritten(
    text: str, traits: Traits, catalog: Catalog, denied: frozenset[str], session: Session | None
) -> str | None:
    before = _inspected(text, traits, catalog, session)
    if before is None or not before.resolved:
        return None
    if not denied & before.reads:
        return text
    if not _may_be_rewritten(before, denied):
        return None
    spelled = marked(text, traits)
    if unwrapped(split(spelled.text, traits)[0], traits).wrap != "plain":
        return None
    if not faithful(spelled.text, traits):
        return None
    made = session.begin().made if session is not None else {}
    places = places_of(parsed(spelled.text, traits), traits, catalog, made, denied)
    tree = parsed(spelled.text, traits)
    if not _changed(tree, places, traits, catalog) or not named_alike(tree, text, traits):
        return None
    return _checked(text, _sent(tree, spelled, traits), before, (traits, catalog, denied, session))


def _inspected(
    text: str, traits: Traits, catalog: Catalog, session: Session | None
) -> Statement | None:
    """What a text's only statement does; a session doesn't learn of it."""
    alone = None
    if session is not None and not session.empty:
        alone = Session(session.begin(), doubt=session.doubt)
    found = inspect(text, traits.name, catalog, alone)
    return found[0] if len(found) == 1 else None


def _may_be_rewritten(before: Statement, denied: frozenset[str]) -> bool:
    """Whether denied columns are only returned, as far as the answer for the whole text tells."""
    written = [
        source.column
        for write in before.writes
        for output in write.outputs
        for source in output.sources
    ]
    made = any(write.how in {"create", "drop"} for write in before.writes)
    return (
        before.kind in _KINDS
        and not before.exports
        and not made
        and not denied & before.predicates
        and not denied.intersection(written)
    )


def _changed(tree: exp.Expr, places: Places, traits: Traits, catalog: Catalog) -> bool:
    """Put NULL in its places; whether that could be done."""
    nodes = list(tree.walk())
    if any(isinstance(node, exp.Placeholder | exp.Parameter | exp.Pivot) for node in nodes):
        return False
    for number, columns in places.nulls.items():
        node = nodes[number]
        null = _null(columns, catalog, traits, combined=_combined(node))
        if null is None or not _put(node, null, columns, traits):
            return False
    for number, cells in places.stars.items():
        star = nodes[number]
        parts = [_part(cell, traits, catalog, combined=_combined(star)) for cell in cells]
        whole = [part for part in parts if part is not None]
        if len(whole) != len(parts) or not isinstance(star.parent, exp.Select):
            return False
        holder = star.parent
        listed = [part for old in holder.expressions for part in (whole if old is star else [old])]
        holder.set("expressions", listed)
    return True


def _put(node: exp.Expr, null: exp.Expr, columns: frozenset[str], traits: Traits) -> bool:
    """Replace a reference by NULL under the name that the result's column had."""
    outermost = node
    while not isinstance(outermost.parent, exp.Alias | exp.Select | exp.Returning):
        if outermost.parent is None:
            return False
        outermost = outermost.parent
    if isinstance(outermost.parent, exp.Alias):
        node.replace(null)
        return True
    if outermost is node:
        node.replace(exp.Alias(this=null, alias=_spelled(node.this, columns, traits)))
        return True
    if traits.name != "postgres":
        # Elsewhere the column's name would be the text of the expression.
        return False
    name = node.this.copy()
    node.replace(null)
    held = outermost.copy()
    outermost.replace(exp.Alias(this=held, alias=name))
    return True


def _spelled(name: exp.Expr, columns: frozenset[str], traits: Traits) -> exp.Expr:
    """The name of a column in a result: as the table spells it where letter case is ignored."""
    own = next(iter(columns)).rpartition(".")[2]
    if traits.fold == "ignore" and len(columns) == 1 and own.casefold() == name.name.casefold():
        quoted = bool(name.args.get("quoted")) or not _PLAIN_NAME.fullmatch(own)
        return exp.Identifier(this=own, quoted=quoted)
    return name.copy()


def _part(cell: Cell, traits: Traits, catalog: Catalog, *, combined: bool) -> exp.Expr | None:
    """One column that a star stood for."""
    name = _identifier(cell.name, traits)
    if cell.columns:
        null = _null(cell.columns, catalog, traits, combined=combined)
        return (
            None
            if null is None
            else exp.Alias(this=null, alias=_spelled(name, cell.columns, traits))
        )
    return exp.Column(this=name, table=_identifier(cell.owner, traits) if cell.owner else None)


def _identifier(name: str, traits: Traits) -> exp.Identifier:
    if traits.fold == "upper" and name.islower():
        # What a data map writes in small letters is a name without quotes.
        name = name.upper()
    return exp.Identifier(this=name, quoted=True)


def _combined(node: exp.Expr) -> bool:
    return node.find_ancestor(exp.SetOperation) is not None


def _null(
    columns: frozenset[str], catalog: Catalog, traits: Traits, *, combined: bool
) -> exp.Expr | None:
    """NULL of a column's type; None where it needs one and none is known."""
    if traits.name not in _TYPED:
        return exp.Null()
    types = {_declared(column, catalog) for column in columns}
    word = types.pop() if len(types) == 1 else ""
    if not word:
        return None if combined else exp.Null()
    # Twice: as the dialect calls it.
    called = exp.DataType.build(word, dialect=traits.name).sql(dialect=traits.name)
    return exp.Cast(this=exp.Null(), to=exp.DataType.build(called, dialect=traits.name))


def _declared(column: str, catalog: Catalog) -> str:
    """A column's type, if it is a plain one."""
    table, _, name = column.rpartition(".")
    known = catalog.tables.get(table)
    word = known.columns.get(name, "") if known is not None else ""
    plain = word.lower() not in _NO_TYPE and _TYPE.fullmatch(word)
    return word if plain else ""


def _sent(tree: exp.Expr, spelled: Marked, traits: Traits) -> str | None:
    """The changed tree as text, with its placeholders, if it can be read back as it is."""
    fresh = spelled.in_order(emitted(tree, traits))
    return spelled.restored(fresh) if same(parsed(fresh, traits), tree) else None


def _checked(
    text: str,
    sent: str | None,
    before: Statement,
    asked: tuple[Traits, Catalog, frozenset[str], Session | None],
) -> str | None:
    """The new text, if the inspector finds in it what it found before, less what is denied."""
    traits, catalog, denied, session = asked
    if sent is None or sent.count("%") != text.count("%"):
        return None
    if spellings(sent, traits) != spellings(text, traits):
        return None
    after = _inspected(sent, traits, catalog, session)
    if after is None or not after.resolved or len(after.outputs) != len(before.outputs):
        return None
    alike = all(
        _less(old, new, denied, before.predicates)
        for old, new in zip(before.outputs, after.outputs, strict=True)
    )
    unchanged = (after.kind, after.uses, after.tables, after.writes, after.facts, after.links) == (
        before.kind,
        before.uses,
        before.tables,
        before.writes,
        before.facts,
        before.links,
    )
    return sent if alike and unchanged and after.reads <= before.reads - denied else None


def _less(before: Output, after: Output, denied: frozenset[str], deciding: frozenset[str]) -> bool:
    """Whether an output is what it was, without its denied sources.

    A subquery that returns nothing else still tells whether there are rows: `deciding` columns.
    """
    kept = {source for source in before.sources if source.column not in denied}
    more = set(after.sources) - kept
    if len(kept) == len(before.sources):
        fits = not more
    else:
        fits = all(one.via == "derived" and one.column in deciding for one in more)
    named = not before.name or before.name.casefold() == after.name.casefold()
    return fits and named and kept <= set(after.sources)
