"""Where an application keeps what people decided: a file, a database, or a store of its own."""

from policyguard.stores.database import DatabaseSubjects
from policyguard.stores.opening import open_store
from policyguard.stores.sqlite import SqliteSubjects

__all__ = ["DatabaseSubjects", "SqliteSubjects", "open_store"]
