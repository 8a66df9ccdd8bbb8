"""The reporter that is always there: the logger `policyguard`.

Layer: enforce. Start reading at `LogReporter`.
"""

from __future__ import annotations

import logging
from collections import Counter
from threading import Lock
from typing import Final

from policyguard.enforce.ports import Record

_LOGGER: Final = logging.getLogger("policyguard")
_MOST: Final = 10_000


class LogReporter:
    """Logs each new flow once with its whole message, then its count at 10, 100, 1,000, ...

    A flow is new by its fingerprint (data, form, purpose, recipient and place in the code), and
    when it is stopped for another reason, by another rule or policy, or ends otherwise than before.
    The memory is bounded; past it a flow may be logged as new again, never less.
    """

    def __init__(self) -> None:
        self._seen: Counter[tuple[object, ...]] = Counter()
        self._lock = Lock()

    def report(self, record: Record) -> None:
        """Log a record if it is new, or its count reached a power of ten."""
        decision = record.decision
        key = (record.fingerprint, decision.reason, decision.rules, decision.digest, record.effect)
        with self._lock:
            if len(self._seen) >= _MOST and key not in self._seen:
                self._seen.clear()
            self._seen[key] += 1
            times = self._seen[key]
        if times == 1:
            _LOGGER.warning("%s [%s, %s]", record.message, record.effect, record.fingerprint)
        elif times >= 10 and str(times).strip("0") == "1":  # noqa: PLR2004 - powers of ten
            _LOGGER.warning(
                "PG201 %s %d times: %s to %s for %s [%s]",
                record.effect,
                times,
                record.decision.flow.data or "unlabelled data",
                record.decision.flow.recipient,
                record.decision.flow.purpose or "no purpose",
                record.fingerprint,
            )
