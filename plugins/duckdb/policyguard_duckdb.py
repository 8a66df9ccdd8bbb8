"""Holds every statement of DuckDB to the policy, and labels the rows that come back.

Name `duckdb` under `plugins` in the configuration, or call `guard.install("duckdb")`. Connections
and relations that exist already are covered, because their classes are hooked, and so are the
functions of the module (not those bound before: `from duckdb import sql`). Types stay the same.

| what | how it is judged |
| --- | --- |
| `execute`, `executemany`, `sql`, `query`, `from_query` | by the text, before it runs |
| a relation | where its rows are fetched, shown or written, by its SQL, for the purpose of then |
| `write_csv`, `to_parquet` and the like | as a `COPY` to a file |
| `append`, `appender` | as a write; an appender of a recipient's table is refused |
| frames, Arrow tables, arrays | labelled columns are remembered; after a reader nothing is clean |

A file, a frame or an Arrow table that a query reads by name can't be told: nobody said what its
columns hold. Tables that a statement makes are known to all connections of the process.

Not seen: what a function of the program's own does with its values, and extensions.

Start reading at `_patches`.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from functools import wraps
from types import FrameType
from typing import TYPE_CHECKING, Any, Final
from weakref import WeakKeyDictionary

import duckdb

from policyguard.enforce.drivers import Checked, Driver, batch, columns_of
from policyguard.errors import PluginError

if TYPE_CHECKING:
    from policyguard.enforce.guard import Guard

_DIALECT: Final = "duckdb"
_RUNS: Final = ("execute", "executemany", "sql", "query", "from_query")
_FETCHES: Final = (
    *("fetchone", "fetchmany", "fetchall", "df", "fetchdf", "fetch_df", "fetch_df_chunk"),
    *("fetchnumpy", "to_arrow_table", "to_arrow_reader", "arrow", "fetch_arrow_table", "tf"),
    *("fetch_record_batch", "fetch_arrow_reader", "torch", "pl", "to_df", "to_dicts"),
    *("__arrow_c_stream__", "preview", "iter_rows"),
)
_LOOKS: Final = ("show", "materialize", "__repr__", "__str__", "describe", "__len__", "shape")
_FILES: Final = ("write_csv", "to_csv", "write_parquet", "to_parquet")
_TABLES: Final = {
    "create": "CREATE TABLE {} AS {}",
    "to_table": "CREATE TABLE {} AS {}",
    "create_view": "CREATE VIEW {} AS {}",
    "to_view": "CREATE VIEW {} AS {}",
    "insert_into": "INSERT INTO {} {}",
}
Hook = Callable[..., Any]


class Plugin:
    """Hooks connections, relations and the module."""

    name = "duckdb"
    api = 1

    def install(self, guard: Guard) -> Callable[[], None]:
        """Hook all connections.

        Raises:
            PluginError: this version of DuckDB has no place to hook.
        """
        try:
            return _driver.install(guard)
        except (AttributeError, TypeError):
            # Denies: the start.
            what = f"duckdb {duckdb.__version__} can't be hooked"
            raise PluginError(what, "policyguard-duckdb supports duckdb >= 2, < 3") from None


class _Everything:
    """All connections as one: a table made on one of them is there for the others."""


_everything: Final = _Everything()
# What the connection's last statement gives; nothing, if its rows need no label.
_sent: Final[WeakKeyDictionary[Any, Checked]] = WeakKeyDictionary()


def _fixed(text: str, parameters: Any = None) -> Checked:
    """Judge what can't run with another text.

    Raises:
        PluginError: it would have to.
    """
    checked = _check(text, parameters)
    if checked.text != text:
        # Denies: the read that would have to be redacted.
        what = "a relation can't be redacted"
        raise PluginError(what, "it was made for a purpose that allowed more", hint="make it again")
    return checked


def _check(text: Any, parameters: Any = None) -> Checked:
    if isinstance(text, duckdb.Statement):
        text = text.query
    # What is neither can't be told; DuckDB will say what is wrong with it.
    shown = text if isinstance(text, str) else "("
    return _driver.check(_everything, shown, _DIALECT, parameters)


def _runs(many: bool, owner: Any) -> Callable[[Hook], Hook]:  # noqa: FBT001 - one of two ways
    """A method or function that takes a text."""

    def patch(original: Hook) -> Hook:
        @wraps(original)
        def run(*args: Any, **more: Any) -> Any:
            self, rest = ((), args) if owner is duckdb else (args[:1], args[1:])
            text = rest[0] if rest else more.get("query")
            values = rest[1] if len(rest) > 1 else more.get("parameters", more.get("params"))
            whole = not many or isinstance(values, Sequence)
            checked = _check(text, values if whole else None)
            if not whole and values is not None:
                values = list(batch(checked, values))
                rest = (rest[0], values, *rest[2:]) if len(rest) > 1 else rest
                more = {**more, "parameters": values} if "parameters" in more else more
            if isinstance(text, str) and checked.text is not text:
                rest = (checked.text, *rest[1:]) if rest else rest
                more = more if rest else {**more, "query": checked.text}
            made = _as_from(sys._getframe(1), original, (*self, *rest), more)  # noqa: SLF001 - see there
            where = self[0] if self else more.get("connection") or _everything
            _keep(where, made, checked)
            return made

        return run

    return patch


_CALL: Final = compile("_policyguard(*_policyguard_args, **_policyguard_more)", "<call>", "eval")


def _as_from(frame: FrameType, original: Hook, args: tuple[Any, ...], more: dict[str, Any]) -> Any:
    """Call as if the program itself called: DuckDB looks for frames by name where it is called."""
    names = {
        **frame.f_locals,
        "_policyguard": original,
        "_policyguard_args": args,
        "_policyguard_more": more,
    }
    return eval(_CALL, frame.f_globals, names)  # noqa: S307 - a constant expression


def _keep(where: Any, made: Any, checked: Checked) -> None:
    if isinstance(made, duckdb.DuckDBPyRelation):
        # Judged again when it is fetched.
        return
    for place in (where, made):
        if isinstance(place, (duckdb.DuckDBPyConnection, _Everything)):
            _sent.pop(place, None)
            if checked.rows:
                _sent[place] = checked


def _fetches(original: Hook) -> Hook:
    """What gives rows: of a connection's last statement, or of a relation."""

    @wraps(original)
    def fetch(*args: Any, **more: Any) -> Any:
        source = args[0] if args else more.get("connection") or _everything
        if isinstance(source, duckdb.DuckDBPyRelation):
            checked: Checked | None = _fixed(source.sql_query())
        elif isinstance(source, (duckdb.DuckDBPyConnection, _Everything)):
            checked = _sent.get(source)
        else:
            # A function of the module: the default connection, and its own arguments.
            checked = _sent.get(_everything)
        found = original(*args, **more)
        return found if checked is None else checked.seen_result(found)

    return fetch


def _looks(original: Any) -> Any:
    """What runs a relation without giving rows that could be told apart."""
    if isinstance(original, property):
        return property(_looks(original.fget))

    @wraps(original)
    def look(relation: Any, *args: Any, **more: Any) -> Any:
        _fixed(relation.sql_query()).saturate()
        return original(relation, *args, **more)

    return look


def _files(original: Hook) -> Hook:
    """A relation is written to a file."""

    @wraps(original)
    def write(relation: Any, *args: Any, **more: Any) -> Any:
        _fixed(f"COPY ({relation.sql_query()}) TO 'file'")
        return original(relation, *args, **more)

    return write


def _tables(form: str) -> Callable[[Hook], Hook]:
    """A relation is written to a table, or kept as a view."""

    def patch(original: Hook) -> Hook:
        @wraps(original)
        def write(relation: Any, name: Any, *args: Any, **more: Any) -> Any:
            _fixed(form.format(name, relation.sql_query()))
            return original(relation, name, *args, **more)

        return write

    return patch


def _over(original: Hook) -> Hook:
    """A text that reads a relation by a name."""

    @wraps(original)
    def query(relation: Any, name: Any, text: Any, *args: Any, **more: Any) -> Any:
        _fixed(f'WITH "{name}" AS ({relation.sql_query()}) {text}')
        caller = sys._getframe(1)  # noqa: SLF001 - see there
        return _as_from(caller, original, (relation, name, text, *args), more)

    return query


def _appends(original: Hook) -> Hook:
    """A frame is put into a table."""

    @wraps(original)
    def append(connection: Any, name: Any, frame: Any, *args: Any, **more: Any) -> Any:
        columns = columns_of(frame)
        names = ", ".join(f'"{column}"' for column in getattr(frame, "columns", ()))
        marks = ", ".join("?" * len(columns or ()))
        text = f"INSERT INTO {name} ({names}) VALUES ({marks})"  # noqa: S608 - judged, and not run
        _fixed(text if columns else f"INSERT INTO {name} (", columns)
        return original(connection, name, frame, *args, **more)

    return append


def _appender(original: Hook) -> Hook:
    """Rows will be put into a table: which ones, isn't seen."""

    @wraps(original)
    def appender(connection: Any, name: Any, *args: Any, **more: Any) -> Any:
        _check(f"INSERT INTO {name} (")
        return original(connection, name, *args, **more)

    return appender


def _patches() -> dict[tuple[Any, str], Callable[[Any], Any]]:
    """All that is hooked; what this version of DuckDB doesn't have is left out."""
    connection, relation = duckdb.DuckDBPyConnection, duckdb.DuckDBPyRelation
    wanted: dict[tuple[Any, str], Callable[[Any], Any]] = {}
    for owner in (connection, duckdb):
        for name in _RUNS:
            wanted[owner, name] = _runs(name == "executemany", owner)
        for name in _FETCHES:
            wanted[owner, name] = _fetches
    wanted |= {(relation, name): _fetches for name in _FETCHES}
    wanted |= {(relation, name): _looks for name in _LOOKS}
    wanted |= {(relation, name): _files for name in _FILES}
    wanted |= {(relation, name): _tables(form) for name, form in _TABLES.items()}
    wanted |= {
        (relation, "query"): _over,
        (connection, "append"): _appends,
        (connection, "appender"): _appender,
    }
    needed = {(connection, "execute"), (connection, "sql"), (relation, "fetchall")}
    return {place: patch for place, patch in wanted.items() if place in needed or hasattr(*place)}


_driver: Final = Driver(_patches)
