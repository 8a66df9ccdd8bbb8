"""Tables and views from DDL text: what `CREATE` and `ALTER` say, as a catalog.

Layer: inspectors. Start reading at `catalog_from_ddl`. A statement that isn't understood may have
changed any table that it names, so those tables lose their claim to be complete.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from sqlglot import exp
from sqlglot.tokenizer_core import Token

from policyguard.errors import PolicyGuardError
from policyguard.inspectors.sql import guard
from policyguard.inspectors.sql.catalog import Catalog, Table, _build
from policyguard.inspectors.sql.scope import Doubt
from policyguard.inspectors.sql.traits import Traits, traits_of

# What stands between the brackets of CREATE TABLE without being, or adding, a column.
_CONSTRAINTS: Final = (
    exp.AddConstraint,
    exp.ColumnConstraintKind,
    exp.Constraint,
    exp.ForeignKey,
    exp.PrimaryKey,
)
# Properties of a table that add no column. INHERITS, LIKE, PARTITION OF and the like are not here.
_PROPERTIES: Final = (
    exp.AutoIncrementProperty,
    exp.CharacterSetProperty,
    exp.ClusterProperty,
    exp.CollateProperty,
    exp.EngineProperty,
    exp.FileFormatProperty,
    exp.OnCommitProperty,
    exp.PartitionedByProperty,
    exp.SchemaCommentProperty,
    exp.SortKeyProperty,
    exp.TemporaryProperty,
)
_PLAIN_ALTERS: Final = (exp.AddConstraint, exp.AlterColumn)
# No table and no view comes of these, whatever they say.
_NO_TABLE: Final = frozenset(
    {"INDEX", "SEQUENCE", "SCHEMA", "DATABASE", "FUNCTION", "PROCEDURE", "TRIGGER", "TYPE"}
)


def catalog_from_ddl(text: str, dialect: str) -> Catalog:
    """The tables and views that a text of DDL leaves behind.

    Args:
        text: statements, such as a dump of a schema.
        dialect: required; see `DIALECTS`.

    Returns:
        A Catalog. Tables whose definition is understood to its end are complete; columns that are
        dropped or renamed stay, which reads too much rather than too little. A view with a list of
        column names, or one that isn't understood, is left out: a query on it is unresolved.

    Raises:
        PolicyGuardError: no dialect, an unknown one, or a text that is too long or can't be split.

    Cost: O(length).
    """
    traits = traits_of(dialect)
    try:
        statements = guard.split(text, traits)
    except Doubt as doubt:
        # Denies: without tables nothing would be resolved; the reason names no part of the text.
        raise PolicyGuardError("the DDL can't be read", doubt.why) from None
    read = _Reading(traits)
    for tokens in statements:
        try:
            tree = guard.parse(tokens, text, traits)
        except Doubt:
            # Denies: the tables that it names are no longer complete.
            read.doubt(token.text for token in tokens)
            continue
        read.statement(tree, tokens)
    return read.catalog()


class _Reading:
    """Tables and views as the statements so far have made them."""

    def __init__(self, traits: Traits) -> None:
        self.traits = traits
        self.columns: dict[str, dict[str, str]] = {}
        self.views: dict[str, str] = {}
        self.open: set[str] = set()
        self.doubted: set[str] = set()

    def statement(self, tree: exp.Expr, tokens: list[Token]) -> None:
        """Note what one statement makes or changes."""
        kind = str(tree.args.get("kind") or "").upper()
        if isinstance(tree, exp.Create) and kind == "TABLE":
            self._table(tree)
        elif isinstance(tree, exp.Create) and kind == "VIEW":
            self._view(tree)
        elif isinstance(tree, exp.Alter) and kind == "TABLE":
            self._alter(tree)
        elif isinstance(tree, exp.Create | exp.Alter | exp.Drop) and kind not in _NO_TABLE:
            self.doubt(token.text for token in tokens)

    def doubt(self, words: Iterator[str]) -> None:
        """A statement that may have done anything to whatever it names."""
        self.doubted |= {part.casefold() for word in words for part in word.split(".")}

    def catalog(self) -> Catalog:
        """All of it."""
        tables = [
            Table(name, columns, complete=name not in self.open and not self._doubted(name))
            for name, columns in self.columns.items()
        ]
        views = [
            Table(name, {}, view=text)
            for name, text in self.views.items()
            if name not in self.columns and not self._doubted(name)
        ]
        return _build([*tables, *views], (), {})

    def _doubted(self, name: str) -> bool:
        return name.rsplit(".", 1)[-1].casefold() in self.doubted

    def _table(self, tree: exp.Create) -> None:
        target = tree.this
        name = self._name(target)
        known = self.columns.setdefault(name, {})
        if known or not isinstance(target, exp.Schema) or tree.args.get("expression") is not None:
            # Made a second time, or from a query or another table: there may be more columns.
            self.open.add(name)
        for part in target.expressions if isinstance(target, exp.Schema) else ():
            if isinstance(part, exp.ColumnDef):
                self._column(known, part)
            elif not isinstance(part, _CONSTRAINTS):
                self.open.add(name)
        properties = tree.args.get("properties")
        for part in properties.expressions if properties is not None else ():
            if not _adds_nothing(part):
                self.open.add(name)

    def _alter(self, tree: exp.Alter) -> None:
        name = self._name(tree.this)
        known = self.columns.get(name)
        if known is None:
            self.doubted.add(name.rsplit(".", 1)[-1].casefold())
            return
        for action in tree.args.get("actions") or ():
            if isinstance(action, exp.ColumnDef):
                self._column(known, action)
            elif not isinstance(action, _PLAIN_ALTERS):
                self.open.add(name)

    def _view(self, tree: exp.Create) -> None:
        query = tree.args.get("expression")
        name = self._name(tree.this)
        if isinstance(tree.this, exp.Table) and isinstance(query, exp.Query):
            if name in self.views:
                self.doubted.add(name.rsplit(".", 1)[-1].casefold())
            self.views[name] = query.sql(dialect=self.traits.name)

    def _column(self, known: dict[str, str], part: exp.ColumnDef) -> None:
        kind = part.args.get("kind")
        known[self._fold(part.this)] = kind.sql(dialect=self.traits.name) if kind else ""

    def _name(self, target: exp.Expr) -> str:
        table = target.this if isinstance(target, exp.Schema) else target
        parts = (table.args.get(key) for key in ("catalog", "db", "this"))
        return ".".join(self._fold(part) for part in parts if part is not None)

    def _fold(self, part: exp.Expr) -> str:
        return self.traits.folded(part.name, quoted=bool(part.args.get("quoted")))


def _adds_nothing(part: exp.Expr) -> bool:
    """Whether a property of a table leaves its columns as they are."""
    plain = type(part) is exp.Property or type(part).__name__ in (
        "UnloggedProperty",
        "TableSpaceProperty",
    )
    if part.find(exp.ColumnDef) is not None:
        return False
    return plain or isinstance(part, _PROPERTIES)
