"""Holds every statement of asyncpg to the policy, and labels the rows that come back.

Name `asyncpg` under `plugins` in the configuration, or call `guard.install("asyncpg")`. Connections
and pools that exist already are covered: the hooks sit on the class of asyncpg's protocol, below
everything that sends, so `execute`, `executemany`, the `fetch` methods, `prepare`, `cursor` and the
methods that copy are all seen, through pools and in subclasses. Types stay what they are.

| what | how it is judged |
| --- | --- |
| a prepared statement, a cursor | each time it runs or is fetched from, for the purpose of then |
| `copy_from_table`, `copy_from_query` | as the query that is copied; its rows are remembered |
| `copy_to_table`, `copy_records_to_table` | as a write; into a recipient's table row by row |
| `executemany` | a list as a whole; anything else value by value, and nothing of it stays |

What asyncpg asks the server for itself, about types and to clean a connection, is not judged.

Not seen: whatever runs in the server: procedures, functions, triggers. Where SQLAlchemy sends the
statements, install the plugin for that, and this one only if the program uses asyncpg by itself
too.

Start reading at `_patches`.
"""

from __future__ import annotations

from collections.abc import AsyncIterable, AsyncIterator, Callable, Iterable, Sequence
from typing import TYPE_CHECKING, Any, Final

import asyncpg  # type: ignore[import-untyped]  # asyncpg ships no types
from asyncpg import introspection
from asyncpg.protocol.protocol import Protocol  # type: ignore[import-untyped]  # as above

from policyguard.enforce.copied import CopiedRows, Copy, copied_into, copied_query, fields_of
from policyguard.enforce.drivers import Checked, Driver, batch
from policyguard.errors import PluginError

if TYPE_CHECKING:
    from policyguard.enforce.guard import Guard

_DIALECT: Final = "postgres"
# What asyncpg sends on its own account.
_OWN: Final = frozenset(
    value for value in vars(introspection).values() if isinstance(value, str) and "SELECT" in value
)
_OWN_SETTINGS: Final = frozenset(
    {
        "SELECT current_setting('jit') AS cur, set_config('jit', 'off', false) AS new",
        "SELECT set_config('jit', $1, false)",
    }
)
_RESETS: Final = frozenset(
    {"SELECT pg_advisory_unlock_all();", "CLOSE ALL;", "UNLISTEN *;", "RESET ALL;"}
)
Hook = Callable[..., Any]


class Plugin:
    """Hooks the protocol."""

    name = "asyncpg"
    api = 1

    def install(self, guard: Guard) -> Callable[[], None]:
        """Hook all connections.

        Raises:
            PluginError: this version of asyncpg has no place to hook.
        """
        try:
            return _driver.install(guard)
        except (AttributeError, TypeError):
            # Denies: the start.
            what = f"asyncpg {asyncpg.__version__} can't be hooked"
            raise PluginError(what, "policyguard-asyncpg supports asyncpg >= 0.30, < 1") from None


class _RewrittenError(PluginError):
    """A statement that is prepared already may only run with another text."""

    def __init__(self, text: str) -> None:
        super().__init__(
            "a prepared statement can't be redacted",
            "it was prepared for a purpose that allowed more",
            hint="prepare it again",
        )
        self.text = text


def _checked(protocol: Any, state: Any, args: Any = None) -> Checked:
    """Judge a prepared statement that is about to run.

    Raises:
        _RewrittenError: it may not run as it was prepared.
    """
    text: str = state.query
    if text in _OWN or ("set_config('jit'" in text and " ".join(text.split()) in _OWN_SETTINGS):
        return Checked(text)
    checked = _driver.check(protocol, text, _DIALECT, args)
    if checked.text is not text and checked.text != text:
        raise _RewrittenError(checked.text)
    return checked


def _remembered(checked: Checked, result: Any) -> None:
    """Remember the rows of an answer, which may stand beside a status."""
    if checked.rows and result:
        records = result[0] if isinstance(result, tuple) else result
        for record in records or ():
            # The program's own class of records may have other ideas of its values.
            checked.seen_one(tuple(asyncpg.Record.values(record)))


def _bind_execute(original: Hook) -> Hook:
    async def bind_execute(protocol: Any, state: Any, args: Any, *rest: Any, **more: Any) -> Any:
        checked = _checked(protocol, state, args)
        result = await original(protocol, state, args, *rest, **more)
        _remembered(checked, result)
        return result

    return bind_execute


def _bind_execute_many(original: Hook) -> Hook:
    async def bind_execute_many(
        protocol: Any, state: Any, args: Iterable[Any], *rest: Any, **more: Any
    ) -> Any:
        whole = isinstance(args, Sequence)
        checked = _checked(protocol, state, args if whole else None)
        each = args if whole else batch(checked, args)
        result = await original(protocol, state, each, *rest, **more)
        _remembered(checked, result)
        return result

    return bind_execute_many


def _bind(original: Hook) -> Hook:
    """A cursor is opened; its rows come later."""

    async def bind(protocol: Any, state: Any, args: Any, *rest: Any, **more: Any) -> Any:
        _checked(protocol, state, args)
        return await original(protocol, state, args, *rest, **more)

    return bind


def _execute(original: Hook) -> Hook:
    """More rows of a cursor, maybe for another purpose than it was opened for."""

    async def execute(protocol: Any, state: Any, *rest: Any, **more: Any) -> Any:
        checked = _checked(protocol, state)
        result = await original(protocol, state, *rest, **more)
        _remembered(checked, result)
        return result

    return execute


def _query(original: Hook) -> Hook:
    """A text without parameters, of any number of statements; no rows come back."""

    async def query(protocol: Any, query: Any, *rest: Any, **more: Any) -> Any:
        if isinstance(query, str) and not _resets(query):
            query = _driver.check(protocol, query, _DIALECT).text
        return await original(protocol, query, *rest, **more)

    return query


def _resets(text: str) -> bool:
    return all(line in _RESETS for line in text.splitlines())


def _copy_out(original: Hook) -> Hook:
    async def copy_out(protocol: Any, copy_stmt: Any, sink: Any, *rest: Any, **more: Any) -> Any:
        copy = copied_query(copy_stmt)
        if copy is None:
            text = _driver.check(protocol, copy_stmt, _DIALECT).text
            return await original(protocol, text, sink, *rest, **more)
        checked = _driver.check(protocol, copy.query, _DIALECT)
        if checked.text is not copy.query:
            copy_stmt = f"{copy.before}{checked.text}{copy.after}"
        if checked.rows:
            sink = _remembering(CopiedRows(checked, copy.after), sink)
        return await original(protocol, copy_stmt, sink, *rest, **more)

    return copy_out


def _remembering(rows: CopiedRows, sink: Callable[[Any], Any]) -> Callable[[Any], Any]:
    def remember(data: Any) -> Any:
        rows.seen(data)
        return sink(data)

    return remember


def _copy_in(original: Hook) -> Hook:
    async def copy_in(
        protocol: Any, copy_stmt: Any, reader: Any, data: Any, records: Any, *rest: Any, **more: Any
    ) -> Any:
        copy = copied_into(copy_stmt) or Copy("", copy_stmt, "")
        checked = _driver.check(protocol, copy.query, _DIALECT)
        if checked.sends:
            if data is not None:
                checked.also(fields_of(data))
            reader, records = _each(checked, reader), _each(checked, records)
        if checked.text is not copy.query:
            copy_stmt = f"{checked.text}{copy.after}"
        return await original(protocol, copy_stmt, reader, data, records, *rest, **more)

    return copy_in


def _each(checked: Checked, values: Any) -> Any:
    """Rows or chunks that are judged before they are handed on; a list as a whole."""
    if isinstance(values, AsyncIterable):
        return _each_later(checked, values)
    if isinstance(values, Sequence):
        checked.also(values)
        return values
    return values if values is None else batch(checked, values)


async def _each_later(checked: Checked, values: AsyncIterable[Any]) -> AsyncIterator[Any]:
    async for value in values:
        checked.also(fields_of(value))
        yield value


def _do_execute(original: Hook) -> Hook:
    """Where a statement may only run with another text, prepare that one in its place."""

    async def _do_execute(connection: Any, query: Any, *rest: Any, **more: Any) -> Any:
        try:
            return await original(connection, query, *rest, **more)
        except _RewrittenError as rewritten:
            # Denies: what was redacted; the new text is judged like any other.
            return await original(connection, rewritten.text, *rest, **more)

    return _do_execute


def _patches() -> dict[tuple[Any, str], Callable[[Any], Any]]:
    """All that is hooked."""
    return {
        (Protocol, "bind_execute"): _bind_execute,
        (Protocol, "bind_execute_many"): _bind_execute_many,
        (Protocol, "bind"): _bind,
        (Protocol, "execute"): _execute,
        (Protocol, "query"): _query,
        (Protocol, "copy_out"): _copy_out,
        (Protocol, "copy_in"): _copy_in,
        (asyncpg.Connection, "_do_execute"): _do_execute,
    }


_driver: Final = Driver(_patches)
