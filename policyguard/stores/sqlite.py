"""Keeps what people decided in one SQLite file: the store that needs no server.

Layer: stores. Start reading at `SqliteSubjects`.
"""

from __future__ import annotations

import os
import sqlite3
from collections import deque
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from typing import Final
from weakref import finalize

from policyguard.enforce.asking import kind_of
from policyguard.enforce.crew import renew_after_fork
from policyguard.stores.keeping import KeptSubjects, parts
from policyguard.stores.known import Change, StoreError, read, written

_VERSION: Final = 1
_MARK: Final = 0x50475355
"""`application_id` of the file: PGSU."""
_KEPT: Final = 4
_BUSY_SECONDS: Final = 5.0

_READ: Final = "SELECT known FROM subjects WHERE key = ?"
_WRITE: Final = "INSERT OR REPLACE INTO subjects (key, known) VALUES (?, ?)"
_DELETE: Final = "DELETE FROM subjects WHERE key = ?"


class SqliteSubjects(KeptSubjects):
    """What is known about people, in a file. Safe for threads, processes and after a fork.

    `forget` erases the row, its bytes in the file and those in the journal beside it. Another
    process that reads at that very moment keeps the journal's bytes until it is done and something
    is forgotten next, or the last process closes the file.

    Args:
        path: the file; it is made if it doesn't exist, readable by its owner only. Its folder must
            exist, on a disk of this machine.

    Raises:
        ValueError: the file can't be used.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        super().__init__()
        self._path = Path(path)
        # A file that is lost while the program runs isn't made again, and a program may change its
        # folder.
        self._uri = f"{self._path.absolute().as_uri()}?mode=rw"
        # With the process that opened it: a child must not use its parent's connections.
        self._idle: deque[tuple[int, sqlite3.Connection]] = deque()
        self._prepare()
        finalize(self, _close_all, self._idle)
        renew_after_fork(self)

    def _prepare(self) -> None:
        if str(self._path) in {"", ":memory:"}:
            raise ValueError("a store of subjects needs a file")
        try:
            os.close(os.open(self._path, os.O_CREAT | os.O_RDWR, 0o600))
            # Another program's file stays as it is: not even its journal is changed.
            with closing(_open(self._uri)) as db:
                found = _marks(db)
                if found == (0, 0) and not db.execute("SELECT 1 FROM sqlite_master").fetchone():
                    _make(db)
                    found = _marks(db)
        except (OSError, sqlite3.Error) as error:
            # Denies: the start. The file is named by who configured it; the error's text is not.
            what = f"the store `{self._path}` can't be opened ({kind_of(error)})"
            raise ValueError(what) from None
        if found[0] != _MARK:
            raise ValueError(f"`{self._path}` is another program's database")
        if found[1] != _VERSION:
            raise ValueError(f"the store `{self._path}` has a version that isn't known here")

    def close(self) -> None:
        """Close what is open; the store can be used again afterwards."""
        _close_all(self._idle)

    # What `KeptSubjects` asks for.

    def _rows(self, keys: Sequence[str]) -> dict[str, str]:
        found: dict[str, str] = {}
        with self._told("read"), self._connection() as db:
            for some in parts(keys):
                marks = ",".join("?" * len(some))
                statement = f"SELECT key, known FROM subjects WHERE key IN ({marks})"  # noqa: S608 - question marks only
                found.update(db.execute(statement, some))
        return found

    def _lay_over(self, key: str, change: Change) -> None:
        with self._told("written"), self._connection() as db, _transaction(db):
            row = db.execute(_READ, (key,)).fetchone()
            known = change.over({} if row is None else read(row[0]))
            db.execute(_WRITE, (key, written(known)))

    def _erase(self, key: str) -> None:
        with self._told("written"), self._connection() as db:
            with _transaction(db):
                db.execute(_DELETE, (key,))
            # The journal still has the row's bytes until it is written back and cut off.
            db.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()

    # Connections.

    @contextmanager
    def _connection(self) -> Iterator[sqlite3.Connection]:
        """A connection that nobody else uses meanwhile."""
        db = self._kept() or _connect(self._uri)
        try:
            yield db
        except BaseException:
            # Denies nothing more: the error goes on. The state of the connection isn't known.
            db.close()
            raise
        if len(self._idle) < _KEPT:
            self._idle.append((os.getpid(), db))
        else:
            db.close()

    def _kept(self) -> sqlite3.Connection | None:
        while self._idle:
            try:
                process, db = self._idle.pop()
            except IndexError:
                # Denies nothing: another thread took it, and a new one is made.
                return None
            if process == os.getpid():
                return db
            _PARENTS.append(db)
        return None

    @contextmanager
    def _told(self, what: str) -> Iterator[None]:
        try:
            yield
        except (sqlite3.Error, OSError) as error:
            # Denies: nothing is known from a file that can't be read. No foreign text is passed on.
            because = f"SQLite failed with {kind_of(error)}"
            raise StoreError(f"the store of subjects can't be {what}", because) from None

    def before_fork(self) -> None:
        """Close what is idle: closed in the child, it would take the parent's locks away."""
        self.close()

    def after_fork(self) -> None:
        """Nothing is left to renew."""

    def __repr__(self) -> str:
        """The file."""
        return f"SqliteSubjects({str(self._path)!r})"


# Never closed in a child: that would break the parent's locks on the file.
_PARENTS: Final[list[sqlite3.Connection]] = []


def _open(uri: str) -> sqlite3.Connection:
    # One thread at a time uses it, but not always the same. Transactions are begun by hand.
    return sqlite3.connect(
        uri, timeout=_BUSY_SECONDS, isolation_level=None, check_same_thread=False, uri=True
    )


def _connect(uri: str) -> sqlite3.Connection:
    db = _open(uri)
    try:
        # Denies nothing: another process is making the file, and does this for all.
        with suppress(sqlite3.OperationalError):
            db.execute("PRAGMA journal_mode = WAL")
        # A withdrawal that was confirmed must outlive a power cut, and what is erased is gone.
        db.execute("PRAGMA synchronous = FULL")
        db.execute("PRAGMA secure_delete = ON")
    except BaseException:
        # Denies nothing more: the error goes on.
        db.close()
        raise
    return db


def _marks(db: sqlite3.Connection) -> tuple[int, int]:
    mark, version = (
        db.execute(f"PRAGMA {name}").fetchone()[0] for name in ("application_id", "user_version")
    )
    return mark, version


def _make(db: sqlite3.Connection) -> None:
    with _transaction(db):
        # Another process may have been quicker.
        db.execute(
            "CREATE TABLE IF NOT EXISTS subjects"
            " (key TEXT PRIMARY KEY NOT NULL, known TEXT NOT NULL) WITHOUT ROWID"
        )
        db.execute(f"PRAGMA application_id = {_MARK}")
        db.execute(f"PRAGMA user_version = {_VERSION}")


@contextmanager
def _transaction(db: sqlite3.Connection) -> Iterator[None]:
    """Waits for other writers, then reads what they wrote: no change is lost."""
    db.execute("BEGIN IMMEDIATE")
    try:
        yield
    except BaseException:
        # Denies nothing more: the error goes on, and nothing is stored.
        db.rollback()
        raise
    db.execute("COMMIT")


def _close_all(idle: deque[tuple[int, sqlite3.Connection]]) -> None:
    while idle:
        try:
            process, db = idle.pop()
        except IndexError:
            # Denies nothing: another thread took it.
            return
        if process == os.getpid():
            db.close()
        else:
            _PARENTS.append(db)
