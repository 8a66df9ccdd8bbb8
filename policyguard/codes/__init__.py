"""Every code that policyguard says, explained for the person who has to act.

Layer: errors. Imports nothing of policyguard. `policyguard explain PGnnn` prints an entry, and the
reference of errors is generated from here. Start reading at `CODES`.

PG0xx: a file as YAML. PG1xx: what a policy, data map or truth table says. PG2xx: a running program.
PG3xx: lint, legal but surely not meant. PG4xx: SQL. PG5xx: configuration. PG6xx:
plugins and reporters.
"""

from __future__ import annotations

from types import MappingProxyType
from typing import TYPE_CHECKING, Final

from policyguard.codes.code import Code
from policyguard.codes.running import RUNNING
from policyguard.codes.written import WRITTEN

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["CODES", "Code"]

CODES: Final[Mapping[str, Code]] = MappingProxyType(dict(sorted({**WRITTEN, **RUNNING}.items())))
"""Every code, in the order of its number. A code is never given another meaning."""
