"""An outgoing request, before it is sent: who gets it, what is in it, may it go.

Layer: enforce. What is checked is what is sent: integrations hand over the request as their client
will send it, once for each redirect hop. Start reading at `check_request`.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any, Final

from policyguard.enforce.judge import Judge
from policyguard.enforce.seen import INCOMPLETE
from policyguard.inspectors.http import OutgoingRequest, parts, recipients_of, transport_of
from policyguard.policy.flow import Label
from policyguard.policy.hosts import canonical_host

UNREADABLE_HOST: Final = "unreadable-host"
HIDDEN_HOST: Final = "hidden-host"


def check_request(guard: Judge, request: OutgoingRequest) -> None:
    """Search a request for labelled values and judge every flow that is found.

    Args:
        guard: whose policy counts.
        request: as it is about to be sent.

    Raises:
        PolicyViolation: a flow is denied or conditional, and its mode is block.

    Cost: nothing but a look where nothing labelled was seen in the scope; else the search of
    `Registry.search` over the whole request.
    """
    registry = guard.registry
    if not len(registry) and not registry.saturated:
        return
    payload = parts(request)
    found: list[tuple[Label, str, Any]] = []
    if not payload.readable and request.body and (whole := registry.exactly(request.body)):
        # A body that is one remembered value, such as a picture, is known without being read.
        found += [(label, "body", "strong") for label in whole]
        payload = parts(replace(request, body=None, streaming=False))
    found += [(hit.label, hit.where, hit.strength) for hit in registry.search(payload.leaves)]
    if registry.saturated:
        found.append((INCOMPLETE, "", "strong"))
    elif not payload.readable:
        # What can't be read may hold anything that was seen in this scope.
        found.append((Label("", source=payload.why, evidence="suspected"), "", "strong"))
    if not found:
        return
    # A host that holds a labelled value is shown to nobody.
    host = HIDDEN_HOST if any(where == "host" for _, where, _ in found) else _host(request)
    try:
        recipients = recipients_of(guard.hosts, request) or (host,)
    except Exception:  # noqa: BLE001 - whatever is wrong with the table, nobody is found in it
        # Denies: a host that can't be looked up is nobody that was declared.
        recipients = (host,)
    observed = {"transport": transport_of(request)}
    # Two recipients may claim one host: each is judged, so the stricter verdict counts.
    for recipient in recipients:
        guard.judge(found, recipient, at="http", observed=observed, host=host)


def _host(request: OutgoingRequest) -> str:
    """The host as an undeclared recipient's id."""
    try:
        return canonical_host(request.host)
    except ValueError:
        # Denies: nobody declared a recipient of this name, and nobody can.
        return UNREADABLE_HOST
