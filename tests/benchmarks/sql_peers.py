"""Runs in the environment of the peers: column lineage of texts, as CPU time for each.

Reads `{"peer", "texts", "tables", "dialect"}` as JSON and prints a list: nanoseconds of CPU, the
lesser of two runs, or null for a text that the peer doesn't answer. Start reading at `main`.
"""

from __future__ import annotations

import importlib
import json
import logging
import sys
import time
import warnings
from collections.abc import Callable
from typing import Any

Ask = Callable[[str], bool]
"""Whether a peer answers a text."""


def sqllineage(tables: dict[str, dict[str, str]], dialect: str) -> Ask:
    """It gives columns only of a statement that writes, so each query fills a table."""
    runner = importlib.import_module("sqllineage.runner").LineageRunner
    config = importlib.import_module("sqllineage.config").SQLLineageConfig
    dummy = importlib.import_module("sqllineage.core.metadata.dummy").DummyMetaDataProvider
    known = dummy({f"main.{name}": list(columns) for name, columns in tables.items()})

    def ask(text: str) -> bool:
        with config(DEFAULT_SCHEMA="main"):
            asked = f"INSERT INTO found_rows {text}"
            return bool(
                runner(asked, dialect=dialect, metadata_provider=known).get_column_lineage()
            )

    return ask


def datahub(tables: dict[str, dict[str, str]], dialect: str) -> Ask:
    """Without its own cache: each text is new."""
    module = importlib.import_module("datahub.sql_parsing.sqlglot_lineage")
    known = importlib.import_module("datahub.sql_parsing.schema_resolver").SchemaResolver(
        platform=dialect
    )
    for name, columns in tables.items():
        known.add_raw_schema_info(known.get_urn_for_table(_table(name)), dict(columns))

    def ask(text: str) -> bool:
        found = module._sqlglot_lineage_nocache(text, known, override_dialect=dialect)
        return found.debug_info.error is None and bool(found.column_lineage)

    return ask


def _table(name: str) -> Any:
    made = importlib.import_module("datahub.sql_parsing._models")._TableName
    return made(database=None, db_schema=None, table=name)


def timed(ask: Ask, text: str) -> int | None:
    """Nanoseconds of CPU, or None without an answer."""
    try:
        before = time.process_time_ns()
        answered = ask(text)
        taken = time.process_time_ns() - before
    except Exception:  # noqa: BLE001 - whatever a peer raises, it has no answer
        # Denies: nothing is compared on this text.
        return None
    return taken if answered else None


def main() -> None:
    """Answer what is asked on standard input."""
    logging.disable(logging.CRITICAL)
    warnings.simplefilter("ignore")
    asked = json.load(sys.stdin)
    ask = {"sqllineage": sqllineage, "datahub": datahub}[asked["peer"]](
        asked["tables"], asked["dialect"]
    )
    times = []
    for text in asked["texts"]:
        taken = [timed(ask, text) for _ in range(2)]
        known = [one for one in taken if one is not None]
        times.append(min(known) if known else None)
    sys.stdout.write(json.dumps(times))


if __name__ == "__main__":
    main()
