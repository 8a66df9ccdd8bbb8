"""Statements that read no data and change no name: transactions, settings, descriptions.

Layer: inspectors. Start reading at `harmless`.
"""

from __future__ import annotations

import re
from typing import Final

from sqlglot import exp

from policyguard.inspectors.sql.model import Export
from policyguard.inspectors.sql.scope import Doubt
from policyguard.inspectors.sql.values import Columns
from policyguard.inspectors.sql.walk import Walk, only, unknown
from policyguard.inspectors.sql.words import words

# Settings that change neither what a name means nor what is logged or sent.
_SETTINGS: Final = words(
    """
    ansi_nulls ansi_warnings application_name arithabort autocommit character_set_results
    client_encoding client_min_messages nocount xact_abort
    datestyle default_transaction_isolation extra_float_digits
    idle_in_transaction_session_timeout intervalstyle lock_timeout max_execution_time names
    net_read_timeout net_write_timeout query_timeout statement_timeout threads time_zone
    timezone transaction wait_timeout work_mem innodb_lock_wait_timeout lock_wait_timeout
    character_set_client character_set_connection
    """
)
_PRAGMAS: Final = re.compile(
    # Settings, and what describes a schema; before the name may stand that of a database.
    r"(?:\w+\.)?(foreign_keys|journal_mode|synchronous|busy_timeout|cache_size|temp_store"
    r"|user_version|wal_checkpoint|table_x?info|table_list|index_list|index_x?info"
    r"|foreign_key_list)\b",
    re.IGNORECASE,
)
_SHOWN: Final = frozenset({"COLUMNS", "CREATE TABLE", "DATABASES", "INDEX", "TABLES", "WARNINGS"})


def harmless(walk: Walk, tree: exp.Expr) -> tuple[Columns, tuple[Export, ...]]:
    """A transaction, a comment, or a setting, description or pragma that is in a list.

    Raises:
        Doubt: it isn't, or a rollback undoes what the text made.
    """
    if isinstance(tree, exp.Rollback) and any(made.sure for made in walk.made.values()):
        raise Doubt("a rollback after tables were made or filled")
    if isinstance(tree, exp.Set):
        for item in tree.expressions:
            _setting(item)
    if isinstance(tree, exp.Use) and _use_kind(tree) != "WAREHOUSE":
        raise unknown(tree)
    if isinstance(tree, exp.Show) and (
        tree.name.upper() not in _SHOWN or any(isinstance(one, exp.Query) for one in tree.walk())
    ):
        raise unknown(tree)
    if isinstance(tree, exp.Pragma) and not _PRAGMAS.match(tree.this.sql()):
        raise unknown(tree)
    walk.claim(tree)
    return [], ()


def _use_kind(tree: exp.Expr) -> str:
    kind = tree.args.get("kind")
    return str(kind.name).upper() if isinstance(kind, exp.Expr) else ""


def _setting(item: exp.Expr) -> None:
    """SET of a name in the list, to a plain value."""
    only(item, "this", "kind", "expressions", "collate", "global_")
    if any(isinstance(node, exp.Query | exp.Func | exp.Parameter) for node in item.walk()):
        raise unknown(item)
    name = item.this.this.name if isinstance(item.this, exp.EQ) else ""
    kind = str(item.args.get("kind") or "").upper()
    if name.lower() not in _SETTINGS and kind not in {"NAMES", "TRANSACTION"}:
        raise Doubt("a setting that isn't in the list of harmless ones")
