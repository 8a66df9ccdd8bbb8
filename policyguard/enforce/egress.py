"""An outgoing request, before it is sent: who gets it, what is in it, may it go.

Layer: enforce. What is checked is what is sent: integrations hand over the request as their client
will send it, once for each redirect hop, and send what they get back. Start reading at
`check_request`.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from policyguard.enforce.incoming import public_answer
from policyguard.enforce.redact_request import redacted_request
from policyguard.enforce.seen import INCOMPLETE, labels_named
from policyguard.enforce.violation import PolicyViolation
from policyguard.inspectors.http import OutgoingRequest, parts, recipients_of, transport_of
from policyguard.labels.recent import Remembers
from policyguard.policy.datamap import DataMap
from policyguard.policy.flow import Label
from policyguard.policy.hosts import HostTable, canonical_host

if TYPE_CHECKING:
    from policyguard.enforce.judge import Judge

UNREADABLE_HOST: Final = "unreadable-host"
HIDDEN_HOST: Final = "hidden-host"
BLOCKED_STATUS: Final = 451
BLOCKED_HEADERS: Final = (("content-type", "application/json"), ("x-policyguard", "blocked"))


class _Found(NamedTuple):
    """What was found in a request.

    Attributes:
        flows: label, place, strength.
        removable: labels of values that stand in it; a doubt about all of it is none.
    """

    flows: list[tuple[Label, str, Any]]
    removable: frozenset[Label]


def check_request(guard: Judge, request: OutgoingRequest) -> OutgoingRequest:
    """Search a request for labelled values and judge every flow that is found.

    Args:
        guard: whose policy counts.
        request: as it is about to be sent.

    Returns:
        The request that is to be sent: the same object, or one with placeholders for what is
        denied where the mode is redact.

    Raises:
        PolicyViolation: a flow is denied or conditional, and its mode is block; or its mode is
            redact, and the value can't be taken out.

    Cost: nothing but a look where nothing labelled was seen in the scope; else the search of
    `Registry.search` over the whole request.
    """
    registry, now = guard.registry, guard.in_force
    if not len(registry) and not registry.saturated and now.fields is None:
        return request
    found = _search(registry, request, now.fields)
    if not found.flows:
        return request
    sent = request

    def redact(denied: frozenset[Label]) -> bool:
        nonlocal sent
        made = None
        if denied <= found.removable:
            made = redacted_request(sent, registry, denied.__contains__)
        sent = made or sent
        return made is not None

    # A host that holds a labelled value is shown to nobody.
    hidden = any(where == "host" for _, where, _ in found.flows)
    host = HIDDEN_HOST if hidden else _host(request)
    observed = {"transport": transport_of(request)}
    # Two recipients may claim one host: each is judged, so the stricter verdict counts, and what
    # either may not have is taken out.
    for recipient in _recipients(now.hosts, request, host):
        guard.judge(
            found.flows,
            recipient,
            at="http",
            observed=observed,
            host=host,
            redact=redact,
            now=now,
        )
    return sent


def blocked_answer(violation: PolicyViolation) -> bytes:
    """The body of the answer that a blocked request gets here instead of being sent; names only."""
    decision = violation.decision
    said = {
        **public_answer(violation.code),
        "reason": decision.reason,
        "recipient": decision.flow.recipient,
        "rules": list(decision.rules),
    }
    return json.dumps(said).encode()


def _search(registry: Remembers, request: OutgoingRequest, fields: DataMap | None) -> _Found:
    payload = parts(request)
    named = list(labels_named(payload.leaves, fields))
    if not len(registry) and not registry.saturated:
        return _Found([*named], frozenset())
    flows: list[tuple[Label, str, Any]] = []
    if not payload.readable and request.body and (whole := registry.exactly(request.body)):
        # A body that is one remembered value, such as a picture, is known without being read.
        flows += [(label, "body", "strong") for label in whole]
        payload = parts(replace(request, body=None, streaming=False))
    flows += [(hit.label, hit.where, hit.strength) for hit in registry.search(payload.leaves)]
    removable = frozenset(label for label, _, _ in flows)
    flows += named
    if registry.saturated:
        flows.append((INCOMPLETE, "", "strong"))
    elif not payload.readable:
        # What can't be read may hold anything that was seen in this scope.
        flows.append((Label("", source=payload.why, evidence="suspected"), "", "strong"))
    return _Found(flows, removable)


def _recipients(table: HostTable, request: OutgoingRequest, host: str) -> Iterable[str]:
    try:
        return recipients_of(table, request) or (host,)
    except Exception:  # noqa: BLE001 - whatever is wrong with the table, nobody is found in it
        # Denies: a host that can't be looked up is nobody that was declared.
        return (host,)


def _host(request: OutgoingRequest) -> str:
    """The host as an undeclared recipient's id."""
    try:
        return canonical_host(request.host)
    except ValueError:
        # Denies: nobody declared a recipient of this name, and nobody can.
        return UNREADABLE_HOST
