"""Holds every statement of the standard library's sqlite3 to the policy, and labels rows.

Name `sqlite3` under `plugins` in the configuration, or call `guard.install("sqlite3")`, before the
program connects: sqlite3's types can't be changed, so `sqlite3.connect` gives connections and
cursors of subclasses. A program's own subclasses, factories and row factories keep working; what
their methods hand on in the end is what is judged. Rows are remembered before any row factory.

There is a second line in the database itself. SQLite tells which columns a statement reads while it
prepares it: a labelled column that the text didn't show, read by a trigger or by a statement that
can't be resolved, is judged like any other read before it runs, and so is what a cursor reads that
was made past the connection. The program's own authorizer still counts.

Not covered: connections from before the installation, names bound before it (`from sqlite3 import
connect`), and `sqlite3.Connection(...)` called directly. `type(connection)` is a subclass. Not
seen: what a function of the program's own does with the values it gets. A blob, a dump, a backup
and a serialized database can't be told, so nothing is known to be clean after them.

Start reading at `Plugin.install`.
"""

from __future__ import annotations

import sqlite3
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import cache, wraps
from threading import RLock, get_ident
from typing import TYPE_CHECKING, Any, Final
from weakref import ref

from policyguard.enforce.drivers import Checked, Driver, batch, held, judge_hidden
from policyguard.errors import PluginError
from policyguard.policy.flow import Label

if TYPE_CHECKING:
    from policyguard.enforce.guard import Guard

_DIALECT: Final = "sqlite"
_OWN: Final = "policyguard.stores"
_SAME_THREAD, _FACTORY = 4, 5  # places among the arguments of `connect`
_OPEN: Final = frozenset({"main", "temp", None})
_MOST_TEXTS: Final = 10_000
_WRITES: Final = frozenset({sqlite3.SQLITE_INSERT, sqlite3.SQLITE_UPDATE})
_ROW_FACTORY: Final[Any] = vars(sqlite3.Cursor)["row_factory"]
Authorizer = Callable[..., int]


class Plugin:
    """Hooks `sqlite3.connect`."""

    name = "sqlite3"
    api = 1

    def install(self, guard: Guard) -> Callable[[], None]:
        """Guard all connections that are made from now on."""
        return _driver.install(guard)


def _connect(original: Callable[..., Any]) -> Callable[..., Any]:
    @wraps(original)
    def connect(*args: Any, **more: Any) -> Any:
        caller = sys._getframe(1).f_globals.get("__name__", "")  # noqa: SLF001 - who asks
        if str(caller).startswith(_OWN):
            # A store of policyguard: its statements are no flow of the program.
            return original(*args, **more)
        if len(args) > _FACTORY:
            args = (*args[:_FACTORY], _guarding(args[_FACTORY]), *args[_FACTORY + 1 :])
        else:
            more["factory"] = _guarding(more.get("factory", sqlite3.Connection))
        return original(*args, **more)

    return connect


def _guarding(factory: Any) -> Any:
    """The factory of connections, so that what it makes is guarded."""
    if isinstance(factory, type):
        return _guarded(factory, _Connection)
    return lambda *args, **more: _turned(factory(*args, **more), _Connection, _Connection)


def _turned(made: Any, base: type, own: type) -> Any:
    """What a function of the program's made, guarded.

    Raises:
        PluginError: its type can't be changed.
    """
    if not isinstance(made, base):
        try:
            made.__class__ = _guarded(type(made), own)  # type: ignore[arg-type]  # a type is hashable
        except TypeError:
            # Denies: the connection.
            what = "what a factory of sqlite3 made can't be guarded"
            raise PluginError(what, hint="give the class itself as the factory") from None
        if base is _Connection:
            made.set_authorizer(None)
    return made


@cache
def _guarded(base: type, own: type) -> type:
    """The program's class first, so that ours gets what its methods hand on."""
    if issubclass(base, (_Connection, _Cursor)):
        return base
    names = {name: getattr(base, name) for name in ("__module__", "__qualname__", "__doc__")}
    plain = base in own.__mro__
    return type(base.__name__, (own,) if plain else (base, own), names)


class _Connection(sqlite3.Connection):
    """Ends of the methods that send."""

    _policyguard_user: Authorizer | None = None

    _policyguard_cursor: type

    def __init__(self, *args: Any, **more: Any) -> None:
        super().__init__(*args, **more)
        own_thread = args[_SAME_THREAD] if len(args) > _SAME_THREAD else True
        alone = more.get("check_same_thread", own_thread)
        self._policyguard_cursor = _Cursor if alone else _SharedCursor
        self.set_authorizer(None)

    def cursor(self, factory: Any = sqlite3.Cursor) -> Any:
        own = self._policyguard_cursor
        if isinstance(factory, type):
            return super().cursor(_guarded(factory, own))
        return super().cursor(lambda *args: _turned(factory(*args), _Cursor, own))

    def set_authorizer(self, callback: Authorizer | None) -> None:
        self._policyguard_user = callback
        super().set_authorizer(_authorizer(ref(self)))

    def blobopen(self, table: str, column: str, row: int, /, **more: Any) -> Any:
        place = f'"{more.get("name", "main")}"."{table}"'
        text = f'SELECT "{column}" FROM {place}'  # noqa: S608 - judged, and not run
        checked = _driver.check(self, text, _DIALECT)
        if not more.get("readonly", False):
            _unreadable(self, f'INSERT INTO "{table}" ')
        opened = super().blobopen(table, column, row, **more)
        if checked.rows:
            checked.seen_one((opened.read(),))
            opened.seek(0)
        return opened

    def backup(self, target: sqlite3.Connection, **more: Any) -> None:
        _unreadable(self, "backup ")
        super().backup(target, **more)

    def serialize(self, **more: Any) -> bytes:
        _unreadable(self, "serialize ")
        _saturate()
        return super().serialize(**more)

    def iterdump(self, **more: Any) -> Iterator[str]:  # type: ignore[override]  # later versions take arguments
        _unreadable(self, "iterdump ")
        _saturate()
        return super().iterdump(**more)


def _unreadable(connection: Any, text: str) -> Checked:
    """Judge what isn't SQL: an open bracket is nothing that could be resolved."""
    return _driver.check(connection, f"{text}(", _DIALECT)


def _saturate() -> None:
    """From now on nothing that leaves the scope is known to be clean."""
    for guard in _driver.guards:
        guard.registry.saturated = True


class _Cursor(sqlite3.Cursor):
    """Ends of the methods that send; rows are remembered by a row factory before the program's."""

    _policyguard_rows: Checked | None = None
    _policyguard_user: Any = None

    def execute(self, sql: str, /, *parameters: Any) -> Any:
        checked = _judged(self, sql, *parameters)
        with _Running(self.connection, checked):
            super().execute(checked.text, *parameters)
        _label(self, checked)
        return self

    def executemany(self, sql: str, parameters: Iterable[Any], /) -> Any:
        whole = isinstance(parameters, Sequence)
        checked = _judged(self, sql, parameters if whole else None)
        with _Running(self.connection, checked):
            super().executemany(checked.text, parameters if whole else batch(checked, parameters))
        _label(self, checked)
        return self

    def executescript(self, sql_script: str, /) -> Any:
        checked = _judged(self, sql_script)
        with _Running(self.connection, checked):
            super().executescript(checked.text)
        return self

    @property
    def row_factory(self) -> Any:
        labelled = self._policyguard_rows is not None
        return self._policyguard_user if labelled else _ROW_FACTORY.__get__(self)

    @row_factory.setter
    def row_factory(self, factory: Any) -> None:
        _lay(self, factory, self._policyguard_rows)


def _locked(base: type, name: str) -> Callable[..., Any]:
    """A method, while no other thread is in the connection.

    SQLite asks us, in Python, while it keeps a lock. A thread that waits for this lock in Python
    would never let the answer be given.
    """
    method = getattr(base, name)

    @wraps(method)
    def call(self: Any, *args: Any, **more: Any) -> Any:
        with _state(self if base is _Connection else self.connection).lock:
            return method(self, *args, **more)

    return call


_SENDS: Final = ("execute", "executemany", "executescript")
_FETCHES: Final = ("fetchone", "fetchmany", "fetchall", "__next__", "close")
_SharedCursor: Final = type(
    "_SharedCursor", (_Cursor,), {name: _locked(_Cursor, name) for name in (*_SENDS, *_FETCHES)}
)


# Also for a connection that the program's own function made: who uses it isn't told.
_Connection._policyguard_cursor = _SharedCursor  # noqa: SLF001 - ours


def _through(name: str) -> Callable[..., Any]:
    """What a connection sends goes through a cursor of its own, as ever: not one of `cursor`."""
    method = getattr(sqlite3.Connection, name)
    return wraps(method)(lambda self, *args: getattr(_Connection.cursor(self), name)(*args))


for _name in _SENDS:
    setattr(_Connection, _name, _through(_name))
for _name in ("commit", "rollback", "close", "__exit__", "blobopen", "set_authorizer"):
    setattr(_Connection, _name, _locked(_Connection, _name))


def _judged(cursor: _Cursor, text: Any, parameters: Any = None) -> Checked:
    # Whatever comes back, the rows of the statement before are over.
    _lay(cursor, cursor.row_factory, None)
    wrong = not isinstance(text, str)
    return Checked(text) if wrong else _driver.check(cursor.connection, text, _DIALECT, parameters)


def _label(cursor: _Cursor, checked: Checked) -> None:
    state = _state(cursor.connection)
    if checked.text in state.told or (checked.unresolved and not state.lost):
        # The text doesn't tell where in the rows these are.
        width = len(cursor.description or ())
        checked = checked.any_statement(width, lambda guard: state.labels(guard, checked.text))
    if checked.rows:
        _lay(cursor, cursor.row_factory, checked)


def _lay(cursor: _Cursor, factory: Any, checked: Checked | None) -> None:
    """Make the program's row factory get rows that are remembered."""
    if checked is None:
        if cursor._policyguard_rows is not None or factory is not _ROW_FACTORY.__get__(cursor):  # noqa: SLF001 - ours
            _ROW_FACTORY.__set__(cursor, factory)
        cursor._policyguard_rows = cursor._policyguard_user = None  # noqa: SLF001 - ours
        return
    seen = checked.seen_one

    def remembered(cursor: Any, row: Any) -> Any:
        seen(row)
        return row if factory is None else factory(cursor, row)

    _ROW_FACTORY.__set__(cursor, remembered)
    cursor._policyguard_rows, cursor._policyguard_user = checked, factory  # noqa: SLF001 - ours


class _State:
    """What is known of a connection while statements are prepared.

    Attributes:
        running: by thread, the statement that is about to run.
        stopped: by thread, why the database was told to refuse it.
        told: by text, the columns that the database showed, where the text doesn't show them. A
            text that SQLite has prepared already isn't shown again.
        lost: there were too many of them to be kept.
        lock: held by the thread that is in a connection of several threads.
    """

    def __init__(self) -> None:
        self.running: dict[int, Checked] = {}
        self.stopped: dict[int, Exception] = {}
        self.told: dict[str, set[tuple[str, str]]] = {}
        self.lost = False
        self.lock = RLock()

    def labels(self, guard: Guard, text: str) -> list[Label]:
        """Labels of what the database showed of a text."""
        return [label for place in self.told.get(text, ()) for label in held(guard, *place)]

    def keep(self, text: str, name: str, column: str) -> None:
        """Remember a column that the database showed."""
        if text not in self.told and len(self.told) >= _MOST_TEXTS:
            self.lost = True
        else:
            self.told.setdefault(text, set()).add((name, column))


def _state(connection: Any) -> _State:
    found: _State = vars(connection).setdefault("_policyguard_state", _State())
    return found


class _Running:
    """A statement is handed to the database."""

    def __init__(self, connection: Any, checked: Checked) -> None:
        self._state, self._checked = _state(connection), checked
        self._before: Checked | None = None

    def __enter__(self) -> None:
        here = get_ident()
        self._before = self._state.running.get(here)
        self._state.running[here] = self._checked
        if self._checked.text in self._state.told:
            for guard in _driver.guards:
                judge_hidden(guard, self._checked, self._state.labels(guard, self._checked.text))

    def __exit__(self, kind: object, error: object, trace: object) -> None:
        here = get_ident()
        self._state.running.pop(here)
        if self._before is not None:
            self._state.running[here] = self._before
        stopped = self._state.stopped.pop(here, None)
        if stopped is not None and isinstance(error, sqlite3.Error):
            raise stopped from None


def _authorizer(connection: ref[Any]) -> Authorizer:
    """What SQLite asks while it prepares a statement; a reference would keep the connection."""

    def authorize(*asked: Any) -> int:
        found = connection()
        if found is None:
            # Denies: nobody is left to ask.
            return sqlite3.SQLITE_DENY
        state, here = _state(found), get_ident()
        try:
            _look(found, state, state.running.get(here), asked)
        except Exception as error:  # noqa: BLE001 - a violation, or whatever broke
            # Denies: the statement; why is told once the database has refused it.
            state.stopped[here] = error
            return sqlite3.SQLITE_DENY
        user = found._policyguard_user  # noqa: SLF001 - ours
        return sqlite3.SQLITE_OK if user is None else user(*asked)

    return authorize


def _look(connection: Any, state: _State, now: Checked | None, asked: tuple[Any, ...]) -> None:
    """Judge what the text of the statement that runs didn't show."""
    action, table, column, schema, inner = asked
    if action in _WRITES and inner is not None:
        _look_at_write(connection, now, table)
    if action != sqlite3.SQLITE_READ or not column:
        return
    name = table if schema in _OPEN else f"{schema}.{table}"
    # Prepared while nobody is there to look: it isn't shown again.
    state.lost = state.lost or not _driver.guards
    for guard in _driver.guards:
        labels = held(guard, name, column)
        hidden = judge_hidden(guard, now, labels)
        if hidden and now is None:
            # A cursor from elsewhere: its rows aren't seen, so nothing is known to be clean.
            guard.registry.saturated = True
        elif now is not None and (hidden or now.unresolved):
            state.keep(now.text, name, column)


def _look_at_write(connection: Any, now: Checked | None, table: str) -> None:
    """A trigger writes: what, isn't told."""
    for guard in _driver.guards:
        data_map = guard.data_map
        recipient = data_map.table_recipient(table) if data_map is not None else None
        if recipient is not None and not (now is not None and now.shown_to(guard, recipient)):
            _unreadable(connection, f'INSERT INTO "{table}" ')


def _patches() -> dict[tuple[Any, str], Callable[[Any], Any]]:
    """All that is hooked."""
    return {(sqlite3, "connect"): _connect, (sqlite3.dbapi2, "connect"): _connect}


_driver: Final = Driver(_patches)
