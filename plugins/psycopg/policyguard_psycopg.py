"""Holds every statement of psycopg 3 to the policy, and labels the rows that come back.

Name `psycopg` under `plugins` in the configuration, or call `guard.install("psycopg")`. Connections
and cursors that exist already are covered, sync and async, and those of pools, because the classes
are hooked: where a cursor makes the text that it sends, and where it makes a row of what came back,
before any row factory. Types stay what they are. So `execute`, `executemany`, `stream`, `copy`,
server cursors, client cursors, pipelines, `Composed`, templates and bytes are all seen as they run.

| what | how it is judged |
| --- | --- |
| `COPY ... TO STDOUT` | as the query that it copies; the rows in its bytes are remembered |
| `COPY ... FROM STDIN` | as a write; into a recipient's table each row is judged before it leaves |
| `executemany` | a list as a whole; anything else value by value, each before it is sent |
| several statements in one text | all are judged; a row of any result may hold whatever was read |

A denied statement isn't sent. As after an error of the server the transaction that psycopg began
for it stays open until it is rolled back.

Not seen: `connection.pgconn` and `cursor.pgresult` used directly, and whatever runs in the server:
procedures, functions, triggers. Where SQLAlchemy or Django sends the statements, install the
plugin for those, and this one only if the program uses psycopg by itself too.

Start reading at `_patches`.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Generator, Iterable, Sequence
from typing import TYPE_CHECKING, Any, Final
from weakref import WeakKeyDictionary

import psycopg
from psycopg import sql

from policyguard.enforce.copied import CopiedRows, copied_into, copied_query, fields_of
from policyguard.enforce.drivers import Checked, Driver, batch
from policyguard.errors import PluginError

if TYPE_CHECKING:
    from policyguard.enforce.guard import Guard

Gen = Generator[Any, Any, Any]
_DECLARE: Final = re.compile(
    r'DECLARE "(?:[^"]|"")*" (?:(?:NO )?SCROLL )?CURSOR (?:WITH HOLD )?FOR ', re.IGNORECASE
)


class Plugin:
    """Hooks cursors and COPY."""

    name = "psycopg"
    api = 1

    def install(self, guard: Guard) -> Callable[[], None]:
        """Hook all classes of cursors.

        Raises:
            PluginError: this version of psycopg has no place to hook.
        """
        try:
            return _driver.install(guard)
        except AttributeError:
            # Denies: the start.
            what = f"psycopg {psycopg.__version__} can't be hooked"
            raise PluginError(what, "policyguard-psycopg supports psycopg >= 3.2, < 4") from None


# What is known of the statement that a cursor sent last; nothing, if its rows need no label.
_sent: Final[WeakKeyDictionary[Any, Checked]] = WeakKeyDictionary()
_copies: Final[WeakKeyDictionary[Any, CopiedRows]] = WeakKeyDictionary()
# Values that an executemany is about to send, and cursors that are only asked for a text.
_batches: Final[WeakKeyDictionary[Any, Any]] = WeakKeyDictionary()
_asked: Final[WeakKeyDictionary[Any, bool]] = WeakKeyDictionary()


def _convert(original: Callable[..., Any]) -> Callable[..., Any]:
    """Judge the very text that a cursor is about to send."""

    def _convert_query(cursor: Any, query: Any, params: Any = None) -> Any:
        made = original(cursor, query, params)
        if cursor not in _asked:
            before = _sent.pop(cursor, None)
            _copies.pop(cursor, None)
            _judge(cursor, made, _values(cursor, query, params), before)
        return made

    return _convert_query


def _judge(cursor: Any, made: Any, values: Any, before: Checked | None) -> None:
    text: str = made.query.decode(cursor._encoding)  # noqa: SLF001 - psycopg's own hook
    head, query, tail = "", text, ""
    copy, into, declared = copied_query(text), copied_into(text), _DECLARE.match(text)
    if copy is not None or into is not None:
        head, query, tail = copy or into or ("", text, "")
    elif declared is not None and hasattr(cursor, "_make_declare_statement"):
        head, query = declared[0], text[declared.end() :]
    checked = _driver.check(cursor._conn, query, "postgres", values)  # noqa: SLF001 - as above
    if checked.text is not query:
        made.query = f"{head}{checked.text}{tail}".encode(cursor._encoding)  # noqa: SLF001 - as above
    if before is not None and cursor._conn._pipeline:  # noqa: SLF001 - as above
        # Results of the earlier statement may still come.
        checked = before.joined(checked)
    if copy is not None:
        if checked.rows:
            _copies[cursor] = CopiedRows(checked, tail)
    elif checked.rows or cursor in _batches or _several(query) or (into and checked.sends):
        _sent[cursor] = checked


def _several(query: str) -> bool:
    """Whether it may be more than one statement, with a result each."""
    return ";" in query.rstrip("; \n\t")


def _values(cursor: Any, query: Any, params: Any) -> Any:
    if cursor in _batches:
        return _batches[cursor] or params
    if params is None and hasattr(query, "interpolations"):
        return [part.value for part in query.interpolations]
    return params


def _mogrify(original: Callable[..., str]) -> Callable[..., str]:
    """The text that a client cursor would send is no statement yet."""

    def mogrify(cursor: Any, query: Any, params: Any = None) -> str:
        _asked[cursor] = True
        try:
            return original(cursor, query, params)
        finally:
            del _asked[cursor]

    return mogrify


def _many(original: Callable[..., Gen]) -> Callable[..., Gen]:
    """Let all values of an executemany be judged: a list at once, others as they come."""

    def _executemany_gen(cursor: Any, query: Any, params_seq: Iterable[Any], *more: Any) -> Gen:
        whole = isinstance(params_seq, Sequence)
        _batches[cursor] = params_seq if whole else None
        try:
            each = params_seq if whole else _later(cursor, params_seq)
            return (yield from original(cursor, query, each, *more))
        finally:
            _batches.pop(cursor, None)

    return _executemany_gen


def _later(cursor: Any, params_seq: Iterable[Any]) -> Iterable[Any]:
    values = iter(params_seq)
    for first in values:
        # Judged together with the text.
        yield first
        yield from batch(_sent.get(cursor) or Checked(""), values)


def _maker(original: Callable[[Any], Any]) -> Callable[[Any], Any]:
    """Remember a row before the row factory makes anything of it."""

    def _make_row_maker(cursor: Any) -> Any:
        return _labelled(cursor, original(cursor))

    return _make_row_maker


def _labelled(cursor: Any, maker: Callable[[Any], Any]) -> Callable[[Any], Any]:
    checked = _sent.get(cursor)
    if checked is None:
        return maker
    if cursor._execmany_returning is None and _with_rows(cursor._results) > 1:  # noqa: SLF001 - psycopg's own hook
        checked = checked.any_statement(cursor.pgresult.nfields)
    if not checked.rows:
        return maker
    seen = checked.seen_one

    def make_row(values: Any) -> Any:
        seen(values)
        return maker(values)

    return make_row


def _with_rows(results: Sequence[Any]) -> int:
    return sum(1 for one in results if one.status == psycopg.pq.ExecStatus.TUPLES_OK)


def _factory(original: property) -> property:
    """A row factory that is set later makes its rows of remembered ones, too."""

    def row_factory(cursor: Any, factory: Any) -> None:
        original.__set__(cursor, factory)
        if cursor.pgresult:
            cursor._make_row = _labelled(cursor, cursor._make_row)  # noqa: SLF001 - psycopg's own hook

    return property(original.fget, row_factory, original.fdel, original.__doc__)


def _fetch(original: Callable[..., Gen]) -> Callable[..., Gen]:
    """A server cursor that somebody else declared: what it gives was never judged here."""

    def _fetch_gen(cursor: Any, num: int | None) -> Gen:
        if not cursor._described and not cursor.closed:  # noqa: SLF001 - psycopg's own hook
            name = sql.Identifier(cursor.name).as_string(None)
            text = f"FETCH ALL FROM {name}"
            checked = _driver.check(cursor._conn, text, "postgres")  # noqa: SLF001 - as above
            if checked.rows:
                _sent[cursor] = checked
        return (yield from original(cursor, num))

    return _fetch_gen


def _read(original: Callable[..., Gen]) -> Callable[..., Gen]:
    """Remember the rows in what a COPY gives."""

    def _read_gen(copy: Any) -> Gen:
        data = yield from original(copy)
        rows = _copies.get(copy.cursor)
        if rows is not None and data:
            rows.seen(data)
        return data

    return _read_gen


def _read_row(original: Callable[..., Gen]) -> Callable[..., Gen]:
    """As `_read`, with the types that the program has set."""

    def _read_row_gen(copy: Any) -> Gen:
        row = yield from original(copy)
        rows = _copies.get(copy.cursor)
        if rows is not None and row is not None:
            rows.row(row)
        return row

    return _read_row_gen


def _write(original: Callable[..., Any]) -> Callable[..., Any]:
    """Judge what a COPY writes; the same for both, because an async write is only handed on."""

    def write(copy: Any, data: Any) -> Any:
        checked = _sent.get(copy.cursor)
        if checked is not None:
            checked.also(fields_of(data))
        return original(copy, data)

    return write


def _patches() -> dict[tuple[Any, str], Callable[[Any], Any]]:
    """All that is hooked."""
    base = psycopg.Cursor.__mro__[1]
    server = psycopg.ServerCursor.__mro__[1]
    client = psycopg.ClientCursor.__mro__[1]
    copy = psycopg.Copy.__mro__[1]
    return {
        (base, "_convert_query"): _convert,
        (base, "_executemany_gen_pipeline"): _many,
        (base, "_executemany_gen_no_pipeline"): _many,
        (psycopg.Cursor, "_make_row_maker"): _maker,
        (psycopg.AsyncCursor, "_make_row_maker"): _maker,
        (psycopg.Cursor, "row_factory"): _factory,
        (psycopg.AsyncCursor, "row_factory"): _factory,
        (server, "_fetch_gen"): _fetch,
        (client, "mogrify"): _mogrify,
        (copy, "_read_gen"): _read,
        (copy, "_read_row_gen"): _read_row,
        (psycopg.Copy, "write"): _write,
        (psycopg.Copy, "write_row"): _write,
        (psycopg.AsyncCopy, "write"): _write,
        (psycopg.AsyncCopy, "write_row"): _write,
    }


_driver: Final = Driver(_patches)
