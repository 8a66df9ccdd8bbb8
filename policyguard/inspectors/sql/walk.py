"""The state of one walk through one statement, and what every part of the walk shares.

Layer: inspectors. Start reading at `Walk`. The walk goes down only through nodes it knows: a node
of another kind, or a known node with a part that isn't looked at, is a doubt.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from sqlglot import exp

from policyguard.inspectors.sql.scope import Doubt, Scope, Seen
from policyguard.inspectors.sql.values import Columns, Pairs, Relation, Value, columns_of

if TYPE_CHECKING:
    from policyguard.inspectors.sql.catalog import Catalog
    from policyguard.inspectors.sql.model import How
    from policyguard.inspectors.sql.traits import Traits

MAX_WORK: Final = 60_000
_PLAIN: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,62}")


@dataclass(slots=True)
class Found:
    """What a part of a statement was seen to touch.

    Attributes:
        writes: path and name of the table, how, and what its columns are given.
    """

    reads: set[str] = field(default_factory=set)
    uses: set[tuple[str, How]] = field(default_factory=set)
    tables: set[str] = field(default_factory=set)
    writes: list[tuple[tuple[str, ...], str, str, Columns]] = field(default_factory=list)

    def add(self, other: Found) -> None:
        """Take over what another part touched."""
        self.reads |= other.reads
        self.uses |= other.uses
        self.tables |= other.tables
        self.writes += other.writes


@dataclass(slots=True)
class Common:
    """A CTE: its relation, and what evaluating it touches, which counts once it is named.

    Attributes:
        level: how many CTEs were being evaluated around its WITH.
    """

    relation: Relation
    found: Found
    level: int = 0


@dataclass(slots=True)
class Env:
    """The CTEs that a query can name, innermost first.

    Attributes:
        pending: CTEs that see each other and weren't needed yet, with how to evaluate them.
        busy: those that are being evaluated.
        lettered: the names of `commons` without letter case.
    """

    commons: dict[str, Common] = field(default_factory=dict)
    outer: Env | None = None
    pending: dict[str, Callable[[], None]] = field(default_factory=dict)
    busy: set[str] = field(default_factory=set)
    lettered: set[str] = field(default_factory=set)

    def define(self, name: str, common: Common) -> None:
        """Enter a CTE."""
        self.commons[name] = common
        self.lettered.add(name.casefold())

    def find(self, name: str) -> Common | None:
        """The nearest CTE of exactly that folded name."""
        env: Env | None = self
        while env is not None:
            if name in env.commons:
                return env.commons[name]
            if name in env.pending or name in env.busy:
                return env.settle(name)
            env = env.outer
        return None

    def settle(self, name: str) -> Common:
        """Evaluate a CTE that is needed now.

        Raises:
            Doubt: it needs itself.
        """
        if name in self.busy:
            raise Doubt("a CTE needs itself to begin with")
        if name in self.pending:
            self.busy.add(name)
            make = self.pending.pop(name)
            make()
            self.busy.discard(name)
        return self.commons[name]

    def resembles(self, name: str) -> bool:
        """Whether a CTE has that name in another letter case."""
        env: Env | None = self
        while env is not None:
            if name.casefold() in env.lettered:
                return True
            env = env.outer
        return False


@dataclass(slots=True)
class Made:
    """A relation that earlier statements of the text made or filled.

    Attributes:
        relation: what it holds; for a table that was there before, only what was added to it.
        whole: it was made by the text, so nothing else is in it.
        query: a view's definition: what its tables hold may have changed since.
        sure: it is there for certain; when not, its name may still mean a base table.
    """

    relation: Relation
    whole: bool
    query: exp.Expr | None = None
    sure: bool = True


@dataclass(slots=True)
class Walk:
    """One walk through one statement.

    Attributes:
        value: sources of an expression; set by the composition in `inspection.py`.
        query: relation of a query; set there too.
        change: relation returned by a data-changing statement inside WITH.
        made: relations that earlier statements of the text made.
        views: names of the views that are being expanded.
        around: what was found outside of the CTEs that are being evaluated.
        listed: the relations of base tables that were named so far.
        expanded: a view, or something an earlier statement made, stands for other tables.
        work: steps taken so far.
        claimed: ids of the name nodes that were understood.
    """

    traits: Traits
    catalog: Catalog
    made: dict[tuple[str, ...], Made]
    value: Callable[[exp.Expr, Scope, Env], Value]
    query: Callable[[exp.Expr, Scope | None, Env], Relation]
    change: Callable[[exp.Expr, Env], Relation]
    view: Callable[[str], Relation]
    found: Found = field(default_factory=Found)
    claimed: set[int] = field(default_factory=set)
    views: list[str] = field(default_factory=list)
    around: list[Found] = field(default_factory=list)
    work: int = 0
    listed: dict[str, Relation] = field(default_factory=dict)
    expanded: bool = False

    def fold(self, node: exp.Expr | str) -> str:
        """The folded name of an identifier, which is thereby understood."""
        if isinstance(node, str):
            return self.traits.folded(node, quoted=False)
        self.claimed.add(id(node))
        quoted = bool(node.args.get("quoted")) or isinstance(node, exp.Literal)
        return self.traits.folded(node.name, quoted=quoted)

    def claim(self, *nodes: exp.Expr | None) -> None:
        """Mark whole subtrees as understood: names of things that hold no values."""
        for node in nodes:
            if node is not None:
                self.claimed.update(map(id, every(node)))

    def read(self, seen: Seen | None, value: Value) -> Value:
        """Note that the value of a relation's column is read."""
        self.spend(len(value.sources))
        if seen is not None and seen.relation.base:
            self.found.reads |= columns_of(value.sources)
        return value

    def spend(self, steps: int) -> None:
        """Count work that grows faster than the text.

        Raises:
            Doubt: it is more than any statement that people write needs.
        """
        self.work += steps
        if self.work > MAX_WORK:
            raise Doubt("the statement takes too much work to follow")

    def use(self, pairs: Pairs, how: How) -> frozenset[str]:
        """Note columns that decide which rows come, or in which order."""
        columns = columns_of(pairs)
        self.found.uses |= {(column, how) for column in columns}
        return columns

    @contextmanager
    def apart(self) -> Iterator[Found]:
        """Collect what is touched inside separately."""
        outer, self.found = self.found, Found()
        self.around.append(outer)
        try:
            yield self.found
        finally:
            self.found = self.around.pop()

    def name(self, common: Common) -> Relation:
        """The relation of a CTE, which is read from now on: also where only a CTE names it."""
        self.found.add(common.found)
        for outer in self.around[common.level :]:
            outer.reads |= common.found.reads
            outer.tables |= common.found.tables
        return common.relation


def only(node: exp.Expr, *known: str) -> None:
    """Insist that a node has no part but those that are looked at.

    Raises:
        Doubt: it has another one, which might read something.
    """
    for key, part in node.args.items():
        if part and key not in known:
            raise Doubt(f"`{_kind(node)}` with `{key}` isn't understood{place(node)}")


def unknown(node: exp.Expr) -> Doubt:
    """The doubt about a node of a kind that isn't known."""
    return Doubt(f"`{_kind(node)}` isn't understood{place(node)}")


def unnamed(node: exp.Expr, what: str) -> Doubt:
    """The doubt about a name. Quoted names stay out: some dialects read them as strings."""
    plain = isinstance(node, exp.Identifier) and not node.args.get("quoted")
    shown = f" `{node.name}`" if plain and _PLAIN.fullmatch(node.name) else ""
    return Doubt(f"{what}{shown} isn't known{place(node)}")


def place(node: exp.Expr) -> str:
    """` (line:col)` of the first name in a node; "" when there is none."""
    for part in node.walk():
        line, col = part.meta.get("line"), part.meta.get("col")
        if line and col:
            return f" ({line}:{col})"
    return ""


def children(node: exp.Expr, *skip: str) -> Iterator[exp.Expr]:
    """The nodes directly below, but for some parts."""
    for key, part in node.args.items():
        if key in skip:
            continue
        yield from nodes(part)


def every(tree: exp.Expr) -> Iterator[exp.Expr]:
    """All nodes of a tree, in no order; several times faster than the parser's own walk."""
    waiting = [tree]
    while waiting:
        node = waiting.pop()
        yield node
        for part in node.args.values():
            if isinstance(part, exp.Expr):
                waiting.append(part)
            elif type(part) is list:
                waiting += [item for item in part if isinstance(item, exp.Expr)]


def nodes(part: object) -> Iterable[exp.Expr]:
    """The nodes in one part of a node."""
    if isinstance(part, exp.Expr):
        return (part,)
    if isinstance(part, list):
        return (item for item in part if isinstance(item, exp.Expr))
    return ()


def _kind(node: exp.Expr) -> str:
    return type(node).__name__
