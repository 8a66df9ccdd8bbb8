"""Holds the statements of any driver that follows the DB-API (PEP 249) to the policy.

For drivers without a plugin of their own: Snowflake, Databricks, ODBC, MySQL. Wrap a connection, or
everything that a module's `connect` gives::

    connection = guarded(snowflake.connector.connect(...), guard, dialect="snowflake")
    undo = wrap_connect(snowflake.connector, guard, dialect="snowflake")

What is wrapped is a proxy: `isinstance` answers as for the driver's own object, `type` doesn't, and
every attribute that isn't about sending or fetching is the driver's.

| what | how it is judged |
| --- | --- |
| `execute`, `executemany`, and their short cuts on connections | by the text, before it is sent |
| values of `executemany` | a list as a whole; anything else value by value |
| `callproc` | cannot tell: a procedure may read anything, and its rows may be anything |
| `fetch...`, iteration, `nextset` | labelled values are remembered, of frames and Arrow too |

Not seen: a driver's own ways around its cursors, such as bulk loads and uploads, its `connection`
objects from before, and whatever runs in the server: procedures, functions, triggers.

Start reading at `guarded`.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import wraps
from typing import TYPE_CHECKING, Any, Final

import wrapt

from policyguard.enforce.drivers import Checked, batch
from policyguard.enforce.drivers import Connection as Judged

if TYPE_CHECKING:
    from policyguard.enforce.guard import Guard

_SENDS: Final = frozenset({"execute", "executemany", "execute_async", "executescript"})
_MANY: Final = frozenset({"executemany"})
_OPENS: Final = frozenset({"cursor"})
_NUMBER: Final = re.compile(r"(?<![:\w]):(\d+)\b")
_NAMED: Final = re.compile(r":pg_(\d+)\b")


def guarded(connection: Any, guard: Guard, *, dialect: str, paramstyle: str | None = None) -> Any:
    """A connection whose statements are judged and whose rows are remembered.

    Args:
        connection: the driver's own, open.
        guard: whose policy counts.
        dialect: of the database, such as `snowflake`; required.
        paramstyle: how parameters stand in the text (PEP 249), where the driver doubles per cents.

    Returns:
        A proxy that takes the connection's place.

    Cost: a statement that reads no labelled column is looked up and left alone, its rows too.
    """
    if isinstance(connection, GuardedConnection):
        connection = connection.__wrapped__
    return GuardedConnection(connection, _Link(guard, dialect, paramstyle))


def wrap_connect(
    module: Any, guard: Guard, *, dialect: str, name: str = "connect"
) -> Callable[[], None]:
    """Guard every connection that a module makes from now on.

    Args:
        module: the driver, or whatever has the function.
        guard: whose policy counts.
        dialect: of the database; required.
        name: of the function.

    Returns:
        What puts the bare function back.
    """
    bare = getattr(module, name)
    style = getattr(module, "paramstyle", None)

    @wraps(bare)
    def connect(*args: Any, **more: Any) -> Any:
        return guarded(bare(*args, **more), guard, dialect=dialect, paramstyle=style)

    setattr(module, name, connect)

    def undo() -> None:
        if getattr(module, name) is connect:
            setattr(module, name, bare)

    return undo


class Plugin:
    """Nothing to hook: the program wraps its connections itself."""

    name = "dbapi"
    api = 1

    def install(self, guard: Guard) -> Callable[[], None]:
        """Remember nothing and hook nothing; `guarded` and `wrap_connect` do the work."""
        del guard
        return lambda: None


class _Link:
    """How statements of one connection are judged."""

    def __init__(self, guard: Guard, dialect: str, paramstyle: str | None) -> None:
        self._guard, self._dialect, self._judged = guard, dialect, Judged()
        self._style = paramstyle

    def check(self, text: Any, parameters: Any = None) -> Checked:
        """Judge a text as it will run; what isn't text can't be told."""
        if isinstance(text, (bytes, bytearray)):
            text = bytes(text).decode(errors="replace")
        elif hasattr(text, "as_string"):
            text = text.as_string(None)
        if not isinstance(text, str):
            text = "("
        # A driver that puts values in by itself takes two per cents for one.
        doubled = self._style in {"format", "pyformat"} and parameters is not None
        shown = text.replace("%%", "%") if doubled else text
        shown = _NUMBER.sub(r":pg_\1", shown)
        if not shown.strip():
            return Checked(text)
        checked = self._judged.check((self._guard,), shown, self._dialect, parameters)
        if checked.text is shown:
            return Checked(text, checked.rows, checked.parts)
        sent = _NAMED.sub(r":\1", checked.text)
        if doubled:
            sent = re.sub(r"%(?![s(])", "%%", sent)
        return Checked(sent, checked.rows, checked.parts)


def _sending(
    method: Callable[..., Any], name: str, link: _Link, keep: Callable[[Checked], None]
) -> Any:
    """A method that sends a text, judged before."""

    @wraps(method)
    def send(operation: Any, *args: Any, **more: Any) -> Any:
        values = args[0] if args else next(iter(more.values()), None)
        one_by_one = name in _MANY and not isinstance(values, Sequence)
        checked = link.check(operation, None if one_by_one else values)
        if one_by_one and values is not None:
            each = batch(checked, values)
            args = (each, *args[1:]) if args else args
            more = {key: each if value is values else value for key, value in more.items()}
        same = not isinstance(operation, str) or checked.text == operation
        keep(checked)
        return method(operation if same else checked.text, *args, **more)

    return send


class GuardedConnection(wrapt.ObjectProxy):  # type: ignore[type-arg]  # it stands for anything
    """A driver's connection; its cursors are guarded."""

    def __init__(self, connection: Any, link: _Link) -> None:
        super().__init__(connection)
        self._self_link = link

    def __getattr__(self, name: str) -> Any:
        """As of the connection; what sends or opens a cursor is guarded."""
        found = getattr(self.__wrapped__, name)
        if name in _OPENS:
            return wraps(found)(lambda *args, **more: self._self_cursor(found(*args, **more)))
        if name in _SENDS:
            # A short cut that makes its own cursor: what is known goes with what comes back.
            return self._self_short(found, name)
        return found

    def _self_cursor(self, cursor: Any) -> Any:
        return GuardedCursor(cursor, self, self._self_link)

    def _self_short(self, method: Callable[..., Any], name: str) -> Any:
        kept: list[Checked] = []
        send = _sending(method, name, self._self_link, kept.append)

        @wraps(method)
        def short(*args: Any, **more: Any) -> Any:
            made = send(*args, **more)
            if not hasattr(made, "fetchone"):
                return made
            cursor = self._self_cursor(made)
            cursor._self_checked = kept.pop()  # noqa: SLF001 - ours
            return cursor

        return short

    def __enter__(self) -> Any:
        entered = self.__wrapped__.__enter__()
        if entered is self.__wrapped__:
            return self
        # Some drivers give a cursor.
        return self._self_cursor(entered) if hasattr(entered, "fetchone") else entered


class GuardedCursor(wrapt.ObjectProxy):  # type: ignore[type-arg]  # as above
    """A driver's cursor; what it sends is judged, what it fetches is remembered."""

    def __init__(self, cursor: Any, connection: GuardedConnection, link: _Link) -> None:
        super().__init__(cursor)
        self._self_link, self._self_connection = link, connection
        self._self_checked = Checked("")

    @property
    def connection(self) -> GuardedConnection:
        """The guarded one."""
        return self._self_connection

    def __getattr__(self, name: str) -> Any:
        """As of the cursor; what sends is judged, what fetches is remembered."""
        found = getattr(self.__wrapped__, name)
        if name in _SENDS:
            return self._self_itself(_sending(found, name, self._self_link, self._self_keep))
        if name == "callproc":
            return self._self_itself(self._self_called(found))
        if name == "nextset":
            return wraps(found)(lambda: self._self_next(found()))
        if name.startswith("fetch") and callable(found) and self._self_checked.rows:
            seen = self._self_checked.seen_result
            return wraps(found)(lambda *args, **more: seen(found(*args, **more)))
        return found

    def _self_keep(self, checked: Checked) -> None:
        self._self_checked = checked

    def _self_itself(self, send: Callable[..., Any]) -> Callable[..., Any]:
        """Cursors that give themselves back give the guarded one."""

        @wraps(send)
        def sent(*args: Any, **more: Any) -> Any:
            made = send(*args, **more)
            return self if made is self.__wrapped__ else made

        return sent

    def _self_called(self, callproc: Callable[..., Any]) -> Callable[..., Any]:
        @wraps(callproc)
        def call(name: Any, *args: Any, **more: Any) -> Any:
            self._self_keep(self._self_link.check(f"CALL {name} (", args[0] if args else None))
            made = callproc(name, *args, **more)
            self._self_checked.seen_one(made if isinstance(made, (tuple, list)) else None)
            return made

        return call

    def _self_next(self, more: Any) -> Any:
        if more:
            width = len(self.__wrapped__.description or ())
            self._self_checked = self._self_checked.any_statement(width)
        return more

    def __iter__(self) -> Iterator[Any]:
        rows: Iterable[Any] = iter(self.__wrapped__)
        for row in rows:
            self._self_checked.seen_one(row)
            yield row

    def __next__(self) -> Any:
        row = next(self.__wrapped__)
        self._self_checked.seen_one(row)
        return row

    def __enter__(self) -> Any:
        entered = self.__wrapped__.__enter__()
        return self if entered is self.__wrapped__ else entered
