"""What SQL text does with columns: `inspect(text, dialect, catalog)`.

Layer: inspectors; the only place that imports the SQL parser. Start reading at
`policyguard.inspectors.sql.inspection`, then `walk`, `statement`, `queries`, `expressions`.
"""

from policyguard.inspectors.sql.catalog import Catalog, Table
from policyguard.inspectors.sql.inspection import inspect
from policyguard.inspectors.sql.model import (
    Export,
    Fact,
    How,
    Kind,
    Link,
    Output,
    Source,
    Statement,
    Use,
    Via,
    Write,
)
from policyguard.inspectors.sql.session import Session
from policyguard.inspectors.sql.traits import DIALECTS

__all__ = [
    "DIALECTS",
    "Catalog",
    "Export",
    "Fact",
    "How",
    "Kind",
    "Link",
    "Output",
    "Session",
    "Source",
    "Statement",
    "Table",
    "Use",
    "Via",
    "Write",
    "inspect",
]
