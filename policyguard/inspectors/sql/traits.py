"""How each dialect folds and resolves names, and its columns that no catalog lists.

Layer: inspectors. Imports nothing of policyguard but errors. Start reading at `traits_of`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Literal

from policyguard.errors import PolicyGuardError

Fold = Literal["lower", "upper", "exact", "ignore"]


@dataclass(frozen=True, slots=True)
class Traits:
    """What the walk has to know about a dialect.

    Attributes:
        name: the dialect's name as sqlglot knows it.
        fold: what an unquoted name becomes; `ignore` compares without case, also when quoted.
        implicit_lateral: a subquery in FROM sees what stands before it.
        forward_aliases: an alias of the select list is seen everywhere in the query.
        string_names: a quoted name that fits no column is a string.
        row_names: a table's alias stands for the whole row.
        hidden: columns of every table that hold nothing about a person.
        row_id: names of the row's key, which may be an alias of a declared column.
        lambdas: `x -> ..` binds x. When not, it is the JSON operator, and x a column.
    """

    name: str
    fold: Fold
    implicit_lateral: bool = False
    forward_aliases: bool = False
    string_names: bool = False
    row_names: bool = True
    hidden: frozenset[str] = frozenset()
    row_id: frozenset[str] = frozenset()
    lambdas: bool = False

    def folded(self, name: str, *, quoted: bool) -> str:
        """The name as this dialect stores it."""
        if self.fold == "ignore":
            return name.casefold()
        if quoted or self.fold == "exact":
            return name
        return name.lower() if self.fold == "lower" else name.upper()


_POSTGRES_HIDDEN: Final = frozenset({"ctid", "xmin", "xmax", "cmin", "cmax", "tableoid"})
_BIGQUERY_HIDDEN: Final = frozenset({"_partitiontime", "_partitiondate", "_table_suffix"})

_TRAITS: Final[dict[str, Traits]] = {
    "postgres": Traits("postgres", "lower", hidden=_POSTGRES_HIDDEN),
    "redshift": Traits("redshift", "ignore", forward_aliases=True),
    "mysql": Traits("mysql", "exact", row_names=False, forward_aliases=True),
    "sqlite": Traits(
        "sqlite",
        "ignore",
        string_names=True,
        forward_aliases=True,
        row_id=frozenset({"rowid", "_rowid_", "oid"}),
    ),
    "duckdb": Traits(
        "duckdb",
        "ignore",
        implicit_lateral=True,
        forward_aliases=True,
        hidden=frozenset({"rowid"}),
    ),
    "snowflake": Traits("snowflake", "upper", forward_aliases=True, lambdas=True),
    "bigquery": Traits(
        "bigquery", "ignore", implicit_lateral=True, hidden=_BIGQUERY_HIDDEN, lambdas=True
    ),
    "databricks": Traits("databricks", "ignore", forward_aliases=True, lambdas=True),
    "spark": Traits("spark", "ignore", forward_aliases=True, lambdas=True),
    "tsql": Traits("tsql", "ignore", row_names=False),
    "clickhouse": Traits(
        "clickhouse", "exact", implicit_lateral=True, forward_aliases=True, lambdas=True
    ),
    "trino": Traits("trino", "ignore", lambdas=True),
}
_OTHER_NAMES: Final = {"postgresql": "postgres", "sparksql": "spark", "mssql": "tsql"}

DIALECTS: Final = frozenset(_TRAITS)


def traits_of(dialect: str) -> Traits:
    """The traits of a dialect that can be inspected.

    Raises:
        PolicyGuardError: no dialect, or one that isn't supported. Guessing would miss columns:
            most texts parse under the wrong dialect too, with another meaning.
    """
    name = str(dialect or "").strip().lower()
    traits = _TRAITS.get(_OTHER_NAMES.get(name, name))
    if traits is None:
        raise PolicyGuardError(
            "SQL needs a known dialect" if name else "SQL needs a dialect",
            hint=f"one of {', '.join(sorted(DIALECTS))}",
            code="PG401",
        )
    return traits
