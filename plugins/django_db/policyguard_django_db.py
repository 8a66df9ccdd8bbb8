"""Holds every statement of Django's databases to the policy, and labels the rows that come back.

Name `django_db` under `plugins` in the configuration, or call `guard.install("django_db")`. All
aliases, threads and connections are covered, those from before too: the hook sits on the class of
Django's cursors, behind the program's own `execute_wrapper`s, where the text is what the driver
gets. So the ORM, `raw()`, `connection.cursor()`, `iterator()` with server-side cursors, migrations
and the debug cursor are seen, sync and async.

| what | how it is judged |
| --- | --- |
| `execute`, `executemany` | by the text, before it is sent; a list of values as a whole |
| `callproc` | cannot tell: a procedure may read anything, and its rows may be anything |
| rows | remembered as they are fetched, before a field makes anything of them |

A denied statement isn't sent, so a transaction stays of use.

Not seen: methods of the driver that a cursor hands through, such as psycopg's `copy` and `stream`
(the plugin of the driver sees them, and judges everything else a second time); and whatever runs
in the server: procedures, functions, triggers. What a field makes of a value, as one that decrypts,
is another value.

Start reading at `_patches`.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from functools import wraps
from typing import TYPE_CHECKING, Any, Final

import wrapt
from django.db.backends.utils import CursorWrapper  # type: ignore[import-untyped]  # Django has none

from policyguard.enforce.drivers import Checked, Driver, batch
from policyguard.errors import PluginError

if TYPE_CHECKING:
    from policyguard.enforce.guard import Guard

_DIALECTS: Final = {"postgresql": "postgres", "microsoft": "tsql"}
_FETCHES: Final = frozenset({"fetchone", "fetchmany", "fetchall"})
_SINGLE: Final = re.compile(r"%(?![s(])")
Hook = Callable[..., Any]


class Plugin:
    """Hooks Django's cursors."""

    name = "django_db"
    api = 1

    def install(self, guard: Guard) -> Callable[[], None]:
        """Hook all databases.

        Raises:
            PluginError: this version of Django has no place to hook.
        """
        try:
            return _driver.install(guard)
        except AttributeError:
            # Denies: the start.
            what = "this Django can't be hooked"
            raise PluginError(what, "policyguard-django_db supports Django >= 5.2, < 7") from None


class LabellingCursor(wrapt.ObjectProxy):  # type: ignore[type-arg]  # it stands for any cursor
    """The driver's cursor, whose fetched rows are remembered; everything else is its own."""

    def __init__(self, cursor: Any, checked: Checked) -> None:
        super().__init__(cursor)
        self._self_checked = checked

    def __getattr__(self, name: str) -> Any:
        """As of the cursor."""
        found = getattr(self.__wrapped__, name)
        if name == "nextset":
            return wraps(found)(lambda: self._self_next(found()))
        if name not in _FETCHES:
            return found
        return wraps(found)(lambda *args: self._self_seen(found(*args)))

    def _self_seen(self, found: Any) -> Any:
        if isinstance(found, list):
            self._self_checked.seen(found)
        else:
            self._self_checked.seen_one(found)
        return found

    def _self_next(self, more: Any) -> Any:
        if more:
            width = len(self.__wrapped__.description or ())
            self._self_checked = self._self_checked.any_statement(width)
        return more

    def __iter__(self) -> Iterator[Any]:
        """Rows, remembered as they come."""
        for row in self.__wrapped__:
            self._self_checked.seen_one(row)
            yield row


def _checked(cursor: Any, sql: Any, values: Any, *, filled: bool) -> tuple[Any, Checked]:
    """What is to be sent, and what was found of it."""
    # Whatever comes back, the rows of the statement before are over.
    if isinstance(cursor.cursor, LabellingCursor):
        cursor.cursor = cursor.cursor.__wrapped__
    text = sql.as_string(None) if hasattr(sql, "as_string") else sql
    if not isinstance(text, str):
        text = "("
    # Where values are put in, two per cents stand for one.
    shown = text.replace("%%", "%") if filled else text
    dialect = _DIALECTS.get(cursor.db.vendor, cursor.db.vendor)
    checked = _driver.check(cursor.db, shown, dialect, values)
    if checked.text is shown:
        return sql, checked
    return (_SINGLE.sub("%%", checked.text) if filled else checked.text), checked


def _label(cursor: Any, checked: Checked) -> None:
    if checked.rows or ";" in checked.text.rstrip("; \n"):
        cursor.cursor = LabellingCursor(cursor.cursor, checked)


def _execute(original: Hook) -> Hook:
    """Judge one statement, and remember its rows."""

    @wraps(original)
    def execute(cursor: Any, sql: Any, params: Any, *rest: Any) -> Any:
        sent, checked = _checked(cursor, sql, params, filled=params is not None)
        made = original(cursor, sent, params, *rest)
        _label(cursor, checked)
        return made

    return execute


def _executemany(original: Hook) -> Hook:
    """Judge a statement with many values: a list at once, others as they come."""

    @wraps(original)
    def executemany(cursor: Any, sql: Any, param_list: Any, *rest: Any) -> Any:
        whole = isinstance(param_list, Sequence)
        sent, checked = _checked(cursor, sql, param_list if whole else None, filled=True)
        each = param_list if whole else batch(checked, param_list)
        made = original(cursor, sent, each, *rest)
        _label(cursor, checked)
        return made

    return executemany


def _callproc(original: Hook) -> Hook:
    """A procedure: what it does isn't told."""

    @wraps(original)
    def callproc(cursor: Any, procname: Any, *args: Any, **more: Any) -> Any:
        values = args[0] if args else more.get("params")
        _, checked = _checked(cursor, f"CALL {procname} (", values, filled=False)
        made = original(cursor, procname, *args, **more)
        checked.saturate()
        _label(cursor, checked)
        return made

    return callproc


def _patches() -> dict[tuple[Any, str], Callable[[Any], Any]]:
    """All that is hooked."""
    return {
        (CursorWrapper, "_execute"): _execute,
        (CursorWrapper, "_executemany"): _executemany,
        (CursorWrapper, "callproc"): _callproc,
    }


_driver: Final = Driver(_patches)
