"""A second policy beside the one in force: asked the same, never obeyed, differences are told.

Layer: enforce. Start reading at `Shadow.compare`.
"""

from __future__ import annotations

import logging
from collections import Counter
from contextlib import suppress
from threading import Lock
from typing import Final, NamedTuple

from policyguard.engine.compile import Snapshot
from policyguard.engine.decision import Decision
from policyguard.policy.flow import Facts, Flow

_LOGGER: Final = logging.getLogger("policyguard")
_MOST: Final = 4096


class Difference(NamedTuple):
    """A flow that the two policies answer differently.

    Attributes:
        flow: what was asked.
        now: verdict and reason of the policy in force.
        then: verdict and reason of the shadow.
    """

    flow: Flow
    now: tuple[str, str]
    then: tuple[str, str]


class Shadow:
    """Differences so far, each told once and then counted. Safe for threads; bounded."""

    def __init__(self) -> None:
        self._seen: Counter[Difference] = Counter()
        self._lock = Lock()

    def compare(
        self, shadow: Snapshot, decision: Decision, facts: Facts, *, changed: bool = False
    ) -> None:
        """Ask the shadow the same; tell a new difference. Changes nothing and never raises.

        Args:
            shadow: the second policy.
            decision: of the policy in force.
            facts: what it knew.
            changed: the shadow doesn't list a change of purpose on the way to this flow.
        """
        try:
            flow = decision.flow
            if changed:
                other = shadow.deny(flow, "purpose_change")
            else:
                other = shadow.decide(flow.data, flow.form, flow.purpose, flow.recipient, facts)
            if other.verdict != decision.verdict:
                self._differs(shadow, decision, other)
        except Exception as error:  # noqa: BLE001 - what is only compared must not break what runs
            # Denies: nothing, and allows nothing: the policy in force has decided. The error may
            # be foreign, of a handler of the log; its kind is told, if anybody can be told.
            with suppress(Exception):
                _LOGGER.error("PG207 comparing failed with %s", type(error).__name__)  # noqa: TRY400 - the trace may hold data

    def _differs(self, shadow: Snapshot, decision: Decision, other: Decision) -> None:
        flow = decision.flow
        now, then = (decision.verdict, decision.reason), (other.verdict, other.reason)
        found = Difference(flow, now, then)
        with self._lock:
            if len(self._seen) >= _MOST and found not in self._seen:
                self._seen.clear()
            self._seen[found] += 1
            new = self._seen[found] == 1
        if new:
            rules = ", ".join(f"`{rule}`" for rule in other.rules) or "no rule"
            _LOGGER.warning(
                "PG207 shadow policy `%s` differs: %s to %s for %s is %s now, would be %s (%s, %s)",
                shadow.id,
                flow.data or "unlabelled data",
                flow.recipient,
                flow.purpose or "no purpose",
                decision.verdict,
                other.verdict,
                other.reason,
                rules,
            )

    def differences(self) -> dict[Difference, int]:
        """All differences so far, and how often each was seen."""
        with self._lock:
            return dict(self._seen)
