"""Holds every statement of SQLAlchemy to the policy, and labels the rows that come back.

Name `sqlalchemy` under `plugins` in the configuration, or call `guard.install("sqlalchemy")`. Every
engine is covered, sync and async, also those that exist already: the official event
`before_cursor_execute` is heard on the class. The rows of labelled columns are remembered as they
are fetched; a statement that touches no labelled column is left alone.

A load of entities leaves out columns that may not be read; touching such an attribute is judged as
a statement of its own. What a joined eager load brings along is not left out, but judged as it is.

Start reading at `Plugin.install`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Any, Final

from sqlalchemy import event, inspect
from sqlalchemy.engine import Engine
from sqlalchemy.orm import Load, Mapper, ORMExecuteState, defer
from sqlalchemy.orm import Session as OrmSession

from policyguard.enforce.context import current_scope
from policyguard.enforce.rows import Processor, Rows
from policyguard.policy.datamap import DataMap
from policyguard.policy.flow import Label
from policyguard.policy.terms import SELF
from policyguard.stores.database import OWN, OWN_MARK

if TYPE_CHECKING:
    from policyguard.enforce.guard import Guard

_DIALECTS: Final = {
    "postgresql": "postgres",
    "mariadb": "mysql",
    "mssql": "tsql",
}


class Plugin:
    """Listens to every engine."""

    name = "sqlalchemy"
    api = 1

    def install(self, guard: Guard) -> Callable[[], None]:
        """Listen before and after each cursor execution."""
        # A second guard looks for labels of its own.
        mine = f"policyguard_check_{id(guard)}"

        def before(connection: Any, cursor: Any, statement: str, *rest: Any) -> tuple[str, Any]:
            del cursor
            name, (parameters, context, *_) = connection.dialect.name, rest
            if connection.get_execution_options().get(OWN) is OWN_MARK:
                # What the guard asks its own store is no flow of the program.
                return statement, parameters
            dialect = _DIALECTS.get(name, name)
            session = _session(connection, mine, guard)
            check = guard.sql(statement, dialect=dialect, parameters=parameters, session=session)
            if context is not None:
                setattr(context, mine, check if check.labelled else None)
            return check.text, parameters

        def after(connection: Any, cursor: Any, statement: str, *rest: Any) -> None:
            del connection, statement
            _, context, many = rest
            check = getattr(context, mine, None)
            if check is None:
                return
            processors = _processors(context, cursor)
            rows = Rows(guard, check, processors)
            if many:
                _label_returned(context, LabellingCursor(cursor, rows))
            elif context.cursor is cursor or isinstance(context.cursor, LabellingCursor):
                context.cursor = LabellingCursor(context.cursor, rows)

        def entities(state: ORMExecuteState) -> None:
            _defer_denied(guard, state)

        event.listen(Engine, "before_cursor_execute", before, retval=True)
        event.listen(Engine, "after_cursor_execute", after)
        event.listen(OrmSession, "do_orm_execute", entities)

        def undo() -> None:
            event.remove(Engine, "before_cursor_execute", before)
            event.remove(Engine, "after_cursor_execute", after)
            event.remove(OrmSession, "do_orm_execute", entities)

        return undo


class LabellingCursor:
    """A database cursor whose fetched rows are remembered; everything else is the cursor's own.

    Cost: one step per labelled column of a fetched row.
    """

    def __init__(self, cursor: Any, rows: Rows) -> None:
        self._cursor, self._rows = cursor, rows

    def __getattr__(self, name: str) -> Any:
        """As of the cursor."""
        return getattr(self._cursor, name)

    def __iter__(self) -> Iterator[Any]:
        """Rows, remembered as they come."""
        for row in self._cursor:
            self._rows.seen_one(row)
            yield row

    def fetchone(self) -> Any:
        """As of the cursor."""
        row = self._cursor.fetchone()
        self._rows.seen_one(row)
        return row

    def fetchmany(self, *size: Any, **more: Any) -> Any:
        """As of the cursor."""
        return self.remembered(self._cursor.fetchmany(*size, **more))

    def fetchall(self) -> Any:
        """As of the cursor."""
        return self.remembered(self._cursor.fetchall())

    def remembered(self, rows: Sequence[Any]) -> Sequence[Any]:
        """The rows, remembered."""
        self._rows.seen(rows)
        return rows


def _defer_denied(guard: Guard, state: ORMExecuteState) -> None:
    """Leave columns out of a load of entities that may not be read here.

    An application whose users have a `face_embedding` isn't denied on every load of a user. Who
    touches such an attribute has it loaded alone, and that statement is judged as any other.
    """
    data_map = guard.data_map
    if data_map is None or not state.is_select or state.is_column_load:
        return
    scope = current_scope()
    reader = scope.reader if scope is not None else SELF
    options = []
    for described in getattr(state.statement, "column_descriptions", ()):
        entity = described["entity"]
        # A column that is asked for by name isn't part of a load.
        if entity is None or described["expr"] is not entity:
            continue
        for name, labels in _labelled(data_map, inspect(entity).mapper):
            if guard.stops(labels, reader, at="sql"):
                options.append(_left_out(state, getattr(entity, name)))
    if options:
        state.statement = state.statement.options(*options)


def _left_out(state: ORMExecuteState, attribute: Any) -> Any:
    """The option that leaves an attribute out; of a relation's load it begins where that began."""
    led = state.loader_strategy_path
    path: tuple[Any, ...] = (
        tuple(led.path) if led is not None and state.is_relationship_load else ()
    )
    if not path:
        return defer(attribute)
    option: Any = Load(path[0].entity)
    for holder, relation in zip(path[::2], path[1::2], strict=False):
        option = option.defaultload(getattr(holder.entity, relation.key))
    return option.defer(attribute)


def _labelled(data_map: DataMap, mapper: Mapper[Any]) -> Iterator[tuple[str, tuple[Label, ...]]]:
    """The attributes of an entity that are labelled columns, but for those that identify it."""
    for attribute in mapper.column_attrs:
        column = attribute.columns[0]
        table = getattr(column, "table", None)
        if table is None or column.primary_key or mapper.polymorphic_on is column:
            continue
        found = data_map.column(str(getattr(table, "fullname", table.name)), str(column.name))
        if found is not None and found.labels:
            yield attribute.key, found.labels


def _session(connection: Any, mine: str, guard: Guard) -> Any:
    """What earlier statements left on this very connection to the database, such as tables."""
    try:
        kept = connection.info
    except Exception:  # noqa: BLE001 - a connection that was invalidated has no more to say
        # Denies nothing by itself: a table that nobody knows can't be resolved.
        return guard.sql_session()
    name = f"{mine}_session"
    found = kept.get(name)
    if found is None:
        found = kept[name] = guard.sql_session()
    return found


def _processors(context: Any, cursor: Any) -> Sequence[Processor | None]:
    """What each column's type makes of the driver's value; empty where columns have no types."""
    entries = getattr(context.compiled, "_result_columns", None) if context.compiled else None
    described = cursor.description or ()
    if not entries or len(entries) != len(described):
        return ()
    dialect = context.dialect
    return [
        entry.type.dialect_impl(dialect).result_processor(dialect, column[1])
        for entry, column in zip(entries, described, strict=True)
    ]


def _label_returned(context: Any, labelling: LabellingCursor) -> None:
    """Remember what an INSERT of many rows returns: SQLAlchemy fetches it batch by batch."""
    fetch = getattr(type(context), "fetchall_for_returning", None)
    if fetch is not None:
        context.fetchall_for_returning = lambda cursor: labelling.remembered(fetch(context, cursor))
