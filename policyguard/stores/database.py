"""Keeps what people decided in a database that SQLAlchemy can reach.

Layer: stores. SQLAlchemy is imported when the first store of this kind is made. Start reading at
`DatabaseSubjects`.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable, Coroutine, Sequence
from random import SystemRandom
from threading import Lock, Thread
from typing import TYPE_CHECKING, Any, Final, TypeVar

from policyguard.enforce.asking import kind_of
from policyguard.enforce.crew import renew_after_fork
from policyguard.errors import PluginError, PolicyGuardError
from policyguard.stores.keeping import KeptSubjects, parts
from policyguard.stores.known import LONGEST_KEY, Change, StoreError, read, written

if TYPE_CHECKING:
    from sqlalchemy import Connection, Engine, Table
    from sqlalchemy.ext.asyncio import AsyncEngine

_T = TypeVar("_T")

OWN: Final = "policyguard_own"
"""The execution option of engines whose statements are our own I/O and no flow of the program."""
OWN_MARK: Final = object()
"""Its value: no configuration can write it."""

_VERSION: Final = 1
_TRIES: Final = 20
_REVISIONS: Final = 2**62
_MEMORY: Final = re.compile(r"sqlite(\+\w+)?://(/?|/:memory:.*)")
_NAME: Final = "policyguard-store"
_random: Final = SystemRandom()


class DatabaseSubjects(KeptSubjects):
    """What is known about people, in the table `policyguard_subjects` of a database.

    Sync and async URLs do: with `+asyncpg` and the like the statements run on an event loop of
    their own. Safe for threads and after a fork. The integration with SQLAlchemy doesn't judge the
    store's own statements.

    Args:
        url: as SQLAlchemy has it. It is never shown: it may hold a password.

    Raises:
        ValueError: the URL can't be used.
        PluginError: SQLAlchemy or the driver isn't installed.
    """

    def __init__(self, url: str) -> None:
        super().__init__()
        if _MEMORY.fullmatch(url):
            raise ValueError("a database in memory forgets what people decided")
        self._ready = False
        self._name, self._reach = self._reached(url)
        self._table = _table()
        renew_after_fork(self)

    @staticmethod
    def _reached(text: str) -> tuple[str, _Sync | _Async]:
        try:
            import sqlalchemy as sa  # noqa: PLC0415 - loaded when first used

            url = sa.make_url(text)
            # Parameters are people; they stand in no error.
            options: dict[str, Any] = {
                "hide_parameters": True,
                "pool_pre_ping": True,
                "execution_options": {OWN: OWN_MARK},
            }
            if not url.get_dialect().is_async:
                return url.drivername, _Sync(sa.create_engine(url, **options))
            from sqlalchemy.ext.asyncio import create_async_engine  # noqa: PLC0415 - as above

            return url.drivername, _Async(create_async_engine(url, **options))
        except ImportError as error:
            # Denies: the start. A module's name is not a person's.
            what = "a store in a database needs SQLAlchemy and the driver that its URL names"
            missing = error.name if isinstance(error.name, str) else ""
            because = f"the module `{missing}` isn't there" if missing else "a module isn't there"
            raise PluginError(what, because, "install it, or use sqlite:///FILE") from None
        except Exception as error:  # noqa: BLE001 - what SQLAlchemy and drivers make of a URL is foreign
            # Denies: the start. Neither the URL nor the error's text is shown.
            what = f"the URL of the store of subjects can't be used ({kind_of(error)})"
            raise ValueError(what) from None

    def prepare(self) -> None:
        """Connect and make the table if it isn't there; else the first look-up does so.

        Raises:
            StoreError: the database can't be reached, or the table can't be made.
        """
        self._run("made", lambda _: None)

    def close(self) -> None:
        """Close all connections; the store can be used again afterwards."""
        self._reach.close()

    # What `KeptSubjects` asks for.

    def _rows(self, keys: Sequence[str]) -> dict[str, str]:
        found: dict[str, str] = {}
        table = self._table

        def rows(connection: Connection) -> None:
            for some in parts(keys):
                query = table.select().where(table.c.subject.in_(some))
                for row in connection.execute(query):
                    found[row.subject] = _checked(row.version, row.known)

        self._run("read", rows)
        return found

    def _lay_over(self, key: str, change: Change) -> None:
        for _ in range(_TRIES):
            try:
                if self._run("written", lambda connection: self._exchange(connection, key, change)):
                    return
            except _AgainError:
                # Denies nothing: somebody else made the row in between, so it is changed instead.
                continue
        because = "others kept changing the same row"
        raise StoreError("the store of subjects can't be written", because)

    def _exchange(self, connection: Connection, key: str, change: Change) -> bool:
        """Write a row if it still is what was read. Every revision has a number of its own."""
        table = self._table
        mine = table.c.subject == key
        row = connection.execute(table.select().where(mine)).one_or_none()
        known = change.over({} if row is None else read(_checked(row.version, row.known)))
        values = {"known": written(known), "revision": _random.randrange(_REVISIONS)}
        if row is None:
            made = table.insert().values(subject=key, version=_VERSION, **values)
            return connection.execute(made).rowcount == 1
        changed = table.update().where(mine, table.c.revision == row.revision).values(**values)
        return connection.execute(changed).rowcount == 1

    def _erase(self, key: str) -> None:
        gone = self._table.delete().where(self._table.c.subject == key)
        self._run("written", lambda connection: connection.execute(gone))

    # The way to the database.

    def _run(self, what: str, work: Callable[[Connection], _T]) -> _T:
        """Do something in one transaction, after making the table if need be."""
        from sqlalchemy.exc import IntegrityError  # noqa: PLC0415 - as above

        try:
            if not self._ready:
                self._make()
                self._ready = True
            return self._reach.run(work)
        except PolicyGuardError:
            raise
        except Exception as error:  # noqa: BLE001 - drivers raise what they like
            # Denies: nothing is known from a database that fails. No foreign text is passed on.
            because = f"the database failed with {kind_of(error)}"
            failed = _AgainError if isinstance(error, IntegrityError) else StoreError
            raise failed(f"the store of subjects can't be {what}", because) from None

    def _make(self) -> None:
        try:
            self._reach.run(lambda connection: self._table.create(connection, checkfirst=True))
        except Exception:  # noqa: BLE001 - drivers raise what they like
            # Denies nothing yet: another process may have been quicker. If not, this fails again.
            self._reach.run(lambda connection: self._table.create(connection, checkfirst=True))

    def before_fork(self) -> None:
        """Nothing: a child may hold the parent's connections as long as it leaves them alone."""

    def after_fork(self) -> None:
        """Connect anew in the child, without closing what belongs to the parent."""
        self._reach.renew()

    def __repr__(self) -> str:
        """The kind of database, never the URL."""
        return f"DatabaseSubjects({self._name})"


class _AgainError(StoreError):
    """Two made the same row at once."""


class _Sync:
    """An engine that is called."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    def run(self, work: Callable[[Connection], _T]) -> _T:
        with self._engine.begin() as connection:
            return work(connection)

    def close(self) -> None:
        self._engine.dispose()

    def renew(self) -> None:
        self._engine.dispose(close=False)


class _Async:
    """An engine that is awaited, on a loop of its own: its connections belong to one loop."""

    def __init__(self, engine: AsyncEngine) -> None:
        self._engine = engine
        self._lock = Lock()
        self._loop: asyncio.AbstractEventLoop | None = None

    def run(self, work: Callable[[Connection], _T]) -> _T:
        return self._wait(self._begin(work))

    async def _begin(self, work: Callable[[Connection], _T]) -> _T:
        async with self._engine.begin() as connection:
            return await connection.run_sync(work)

    def _wait(self, step: Coroutine[Any, Any, _T]) -> _T:
        with self._lock:
            if self._loop is None:
                self._loop = asyncio.new_event_loop()
                Thread(target=_serve, args=(self._loop,), daemon=True, name=_NAME).start()
            loop = self._loop
        return asyncio.run_coroutine_threadsafe(step, loop).result()

    def close(self) -> None:
        with self._lock:
            loop, self._loop = self._loop, None
        if loop is not None:
            asyncio.run_coroutine_threadsafe(self._engine.dispose(), loop).result()
            loop.call_soon_threadsafe(loop.stop)

    def renew(self) -> None:
        # The parent's loop stays referenced nowhere else and is left alone.
        self._lock, self._loop = Lock(), None
        self._engine.sync_engine.dispose(close=False)


def _serve(loop: asyncio.AbstractEventLoop) -> None:
    loop.run_forever()
    loop.close()


def _table() -> Table:
    import sqlalchemy as sa  # noqa: PLC0415 - loaded when first used

    return sa.Table(
        "policyguard_subjects",
        sa.MetaData(),
        sa.Column("subject", sa.String(LONGEST_KEY), primary_key=True),
        sa.Column("version", sa.Integer, nullable=False),
        sa.Column("revision", sa.BigInteger, nullable=False),
        sa.Column("known", sa.Text, nullable=False),
    )


def _checked(version: object, known: str) -> str:
    if version != _VERSION:
        raise StoreError(
            "what is known about a person can't be read", "the row has a later version"
        )
    return known
