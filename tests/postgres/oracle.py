"""What PostgreSQL itself says about a script: valid or not, and which columns it reads.

Start reading at `Privileges.reads_more_than`. A statement runs only if its role may SELECT every
column that it reads; so a script that runs with just the reported columns reads no other.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any, Literal

import psycopg

from tests.postgres.kit import Database
from tests.postgres.schema import BASE, RELATIONS, VIEWS, pad, quoted

Verdict = Literal["ran", "denied", "invalid"]
# They run instead of being explained: a plan doesn't exist or says nothing of their inside.
_REALLY = ("EXPLAIN", "COPY", "PREPARE", "EXECUTE", "DECLARE", "FETCH", "CREATE")
INTO = " INTO TEMP "


@dataclass
class Privileges:
    """A connection that plays a role with exactly some columns, in a database of its own."""

    database: Database
    link: psycopg.Connection[Any] = field(init=False)
    role: str = field(init=False)

    def __post_init__(self) -> None:
        self.role = self.database.role()
        self.link = self.database.connect()
        self.link.prepare_threshold = None
        run = self.link.execute
        for name in RELATIONS:
            run(f"GRANT INSERT, UPDATE, DELETE ON {quoted(name)} TO {self.role}".encode())
            what = "" if name in VIEWS else f"({pad(name)})"
            run(f"GRANT SELECT {what} ON {quoted(name)} TO {self.role}".encode())
        run("SET statement_timeout = '5s'")

    def close(self) -> None:
        """Give the connection back."""
        self.link.close()

    def run(self, script: list[str], columns: Iterable[str]) -> tuple[Verdict, str]:
        """Run a script as a role that may SELECT just these columns; nothing of it stays.

        Returns:
            `denied` if it needs another column, `invalid` if the engine refuses it otherwise.
        """
        tables = defaultdict(list)
        if any("excluded" in text.lower() for text in script):
            # The server wants the right to read the stored column for the value that is put in.
            columns = {*columns, *(f"outbox.{name}" for name in BASE["outbox"])}
        for column in columns:
            table, _, name = column.rpartition(".")
            if table in BASE:
                tables[table].append(quoted(name))
        grants = [
            f"GRANT SELECT ({', '.join(names)}) ON {quoted(table)} TO {self.role}"
            for table, names in tables.items()
        ]
        first = ["BEGIN", *grants, f"SET LOCAL ROLE {self.role}"]
        alone = len(script) == 1
        try:
            self.link.execute("; ".join(first).encode())
            for text in script:
                self._send(text, alone=alone)
        except psycopg.errors.InsufficientPrivilege as error:
            return "denied", str(error)
        except psycopg.Error as error:
            return "invalid", f"{type(error).__name__}: {error}"
        finally:
            with suppress(psycopg.Error):
                self.link.execute("ROLLBACK; DEALLOCATE ALL")
        return "ran", ""

    def _send(self, text: str, *, alone: bool) -> None:
        if text.startswith("COPY"):
            with self.link.cursor() as cursor, cursor.copy(text.encode()) as rows:
                for _ in rows:
                    pass
        elif alone and not text.startswith(_REALLY) and INTO not in text and "; " not in text:
            self.link.execute(f"EXPLAIN {text}".encode())
        else:
            self.link.execute(text.encode())

    def needless(self, script: list[str], columns: frozenset[str]) -> list[str]:
        """The columns without which the script runs as well."""
        return [
            column for column in sorted(columns) if self.run(script, columns - {column})[0] == "ran"
        ]
