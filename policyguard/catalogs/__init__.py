"""Where the structure of databases is known from, and what it says about a data map.

Layer: beside observe, plugins and stores; may import inspectors and policy. Every reader gives the
same frozen `Schema`. Start reading at `policyguard.catalogs.files`, then `lock`, `draft` and
`compare`.
"""

from policyguard.catalogs.compare import Finding, compare
from policyguard.catalogs.database import schema_of_database
from policyguard.catalogs.dbt import schema_of_dbt_catalog, schema_of_manifest
from policyguard.catalogs.ddlfiles import schema_of_ddl
from policyguard.catalogs.draft import draft_map
from policyguard.catalogs.fides import schema_of_fides
from policyguard.catalogs.files import load_schema
from policyguard.catalogs.lock import differences, dump_lock, load_lock
from policyguard.catalogs.metadata import schema_of_metadata
from policyguard.catalogs.reading import SchemaError
from policyguard.catalogs.suggest import Suggestion, suggest
from policyguard.catalogs.warehouse import schema_of_csv

__all__ = [
    "Finding",
    "SchemaError",
    "Suggestion",
    "compare",
    "differences",
    "draft_map",
    "dump_lock",
    "load_lock",
    "load_schema",
    "schema_of_csv",
    "schema_of_database",
    "schema_of_dbt_catalog",
    "schema_of_ddl",
    "schema_of_fides",
    "schema_of_manifest",
    "schema_of_metadata",
    "suggest",
]
