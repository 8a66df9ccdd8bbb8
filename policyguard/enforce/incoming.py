"""What integrations with web frameworks and workers share: answers of the application, and ours.

Layer: enforce. Start reading at `Doubts`.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Any, Final

from policyguard.policy.regions import is_region

BLOCKED: Final = "policyguard/blocked/1"
"""The schema of the answer that stands in place of a blocked request or response."""

_MOST: Final = 100
_LOGGER: Final = logging.getLogger("policyguard")


class Doubts:
    """What counts as unknown, each told once; bounded."""

    __slots__ = ("_told",)

    def __init__(self) -> None:
        self._told: set[str] = set()

    def tell(self, what: str) -> None:
        """Say it, if it is new.

        Args:
            what: names and kinds only, never a value or the text of a foreign error.
        """
        if what not in self._told and len(self._told) < _MOST:
            self._told.add(what)
            _LOGGER.warning("PG204 a fact counts as unknown: %s", what)


def plain_facts(facts: Any) -> Any:
    """Facts as plain dicts: a mapping of the application's may fail while it is read.

    What is no mapping stays as it is. Raises whatever the mapping raises.
    """
    if not isinstance(facts, Mapping):
        return facts
    return {k: dict(v) if isinstance(v, Mapping) else v for k, v in dict(facts).items()}


def region_code(region: object) -> str | None:
    """The region, if it is a code; None if not."""
    return region if isinstance(region, str) and is_region(region) else None


def public_answer(code: str) -> dict[str, object]:
    """The body of a 451 to the public: which rule and which column is for the log."""
    return {"schema": BLOCKED, "blocked": True, "code": code}
