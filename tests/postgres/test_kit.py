"""The PostgreSQL that other tests use: it is real, private and knows lesser roles."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import psycopg
import pytest

from tests.postgres.kit import server

SCHEMA = 'CREATE TABLE "Users" (id int, email text); INSERT INTO "Users" VALUES (1, \'a@b.c\')'


def test_a_database_is_fresh_and_has_the_schema() -> None:
    """What one test writes is not there for the next."""
    for _ in range(2):
        with server().database(SCHEMA) as made, made.connect() as connection:
            connection.execute('INSERT INTO "Users" VALUES (2)')
            assert connection.execute('SELECT count(*) FROM "Users"').fetchone() == (2,)


def test_a_role_reads_what_it_was_granted_and_nothing_else() -> None:
    """SELECT on a column is what the server checks."""
    with server().database(SCHEMA) as made:
        with made.connect(made.role({"Users": ["id"]})) as connection:
            assert connection.execute('SELECT id FROM "Users"').fetchall() == [(1,)]
            with pytest.raises(psycopg.errors.InsufficientPrivilege):
                connection.execute('SELECT email FROM "Users"')
        with made.connect(made.role({"Users": None})) as connection:
            assert connection.execute('SELECT email FROM "Users"').fetchall() == [("a@b.c",)]


def test_the_server_ends_with_its_process() -> None:
    """Also when that is killed: no server and no folder stay behind."""
    code = (
        "from tests.postgres.kit import server; import time; "
        "print(server().host, flush=True); time.sleep(60)"
    )
    root = Path(__file__).parents[2]
    with subprocess.Popen(
        [sys.executable, "-c", code], stdout=subprocess.PIPE, text=True, cwd=root
    ) as started:
        assert started.stdout is not None
        folder = Path(started.stdout.readline().strip())
        assert (folder / "data").is_dir()
        os.kill(started.pid, signal.SIGKILL)
    for _ in range(500):
        if not folder.exists():
            break
        time.sleep(0.02)
    assert not folder.exists()
