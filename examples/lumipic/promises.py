"""What the demo promises, checked against what the outside world wrote down."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, TypeAlias

from lumipic.evidence import holds_email, holds_vector
from lumipic.faces import read_face
from lumipic.journey import FUNNEL, MATCHING, PIXELS
from lumipic.pictures import from_png
from lumipic.watching import request_of

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from opentelemetry.sdk._logs import ReadableLogRecord

    from lumipic.journey import Outcome
    from lumipic.outside import Arrival
    from lumipic.running import Visitor
    from lumipic.watching import Sighting

    Secret: TypeAlias = tuple[Visitor, list[float]]

_EMBEDDING: Final = "user.biometric.face_embedding"
_PIXEL: Final = "facebook_pixel"
_FACE_CLAUSE: Final = "2.3"


def check(
    outcomes: Sequence[Outcome],
    arrivals: Sequence[Arrival],
    said: Iterable[str],
    event: ReadableLogRecord | None,
) -> dict[str, list[str]]:
    """Each promise with what broke it; nothing is as it should be.

    Args:
        outcomes: all steps of all visitors.
        arrivals: everything that the outside world received.
        said: everything that the guard raised, logged or exported.
        event: the OpenTelemetry event of the stopped embedding.
    """
    people = {outcome.visitor.name: outcome.visitor for outcome in outcomes}
    secrets = [(visitor, embedding_of(visitor)) for visitor in people.values()]
    pixels = [arrival for arrival in arrivals if arrival.host in PIXELS]
    return {
        "what the policy allows arrived, byte for byte as the service sent it": [
            *_each(_passed(outcome) for outcome in outcomes if outcome.step.promise == "passes")
        ],
        "what the policy denies sent nothing, and somebody was told": [
            *_each(_stopped(outcome) for outcome in outcomes if outcome.step.promise == "stopped")
        ],
        "the funnel event was stopped for the embedding, with its column and clause 2.3": [
            *_each(_named(outcome) for outcome in outcomes if outcome.step is FUNNEL)
        ],
        "nobody outside received an embedding: as numbers, rounded, packed or encoded": [
            *_each(_vectors(arrival.host, arrival.wire, secrets) for arrival in arrivals)
        ],
        "no pixel received an e-mail address or a hash of one": [
            *_each(_emails(arrival.host, arrival.wire, secrets) for arrival in pixels)
        ],
        "no message and no telemetry holds either": [
            *_each(_told(words.encode(), secrets) for words in said)
        ],
        "the violation is an OpenTelemetry event in the trace of its request": [*_exported(event)],
    }


def leaks(outcomes: Iterable[Outcome]) -> Iterator[str]:
    """What speaks against a leak of the new features where nobody stops them."""
    for outcome in outcomes:
        visitor, wires = outcome.visitor, [arrival.wire for arrival in outcome.arrived]
        embedding = embedding_of(visitor) if outcome.step is FUNNEL else []
        if embedding and not any(holds_vector(wire, embedding) for wire in wires):
            yield f"{_name(outcome)}: no embedding arrived"
        if outcome.step is MATCHING and not any(holds_email(wire, visitor.email) for wire in wires):
            yield f"{_name(outcome)}: no address arrived"


def headline(outcomes: Iterable[Outcome]) -> Sighting | None:
    """The stopped embedding of the first funnel event."""
    stopped = (
        sighting
        for outcome in outcomes
        if outcome.step is FUNNEL
        for sighting in outcome.seen
        if _is_headline(sighting)
    )
    return next(stopped, None)


def event_of(
    sighting: Sighting | None, events: Iterable[ReadableLogRecord]
) -> ReadableLogRecord | None:
    """The exported event of a sighting."""
    if sighting is None:
        return None
    for event in events:
        given = event.log_record.attributes or {}
        categories = given.get("policyguard.data.categories")
        if (
            given.get("policyguard.recipient.id") == sighting.flow.recipient
            and isinstance(categories, tuple | list)
            and sighting.flow.data in categories
        ):
            return event
    return None


def embedding_of(visitor: Visitor) -> list[float]:
    """The vector that the face API computes from a visitor's photo."""
    return read_face(from_png(visitor.photo())).embedding


def _each(findings: Iterable[Iterator[str]]) -> Iterator[str]:
    for finding in findings:
        yield from finding


def _passed(outcome: Outcome) -> Iterator[str]:
    step, name = outcome.step, _name(outcome)
    hosts = tuple(arrival.host for arrival in outcome.arrived)
    if not outcome.reply.ok:
        yield f"{name}: the service answered {outcome.reply.status}"
    if hosts != step.hosts:
        yield f"{name}: reached {list(hosts)} instead of {list(step.hosts)}"
    if not outcome.as_sent:
        yield f"{name}: what arrived is not what the service sent"


def _stopped(outcome: Outcome) -> Iterator[str]:
    if outcome.reply.ok:
        yield f"{_name(outcome)}: the service answered {outcome.reply.status}"
    for arrival in outcome.arrived:
        yield f"{_name(outcome)}: a request reached {arrival.host}"
    if not any(sighting.stopped for sighting in outcome.seen):
        yield f"{_name(outcome)}: no reporter heard of a stopped flow"


def _named(outcome: Outcome) -> Iterator[str]:
    if not any(_is_headline(sighting) for sighting in outcome.seen):
        yield f"{_name(outcome)}: no violation names embedding, column, pixel and clause"


def _is_headline(sighting: Sighting) -> bool:
    return (
        sighting.stopped
        and sighting.flow.data == _EMBEDDING
        and sighting.flow.recipient == _PIXEL
        and _FACE_CLAUSE in sighting.clauses
        and sighting.source == "faces.embedding"
    )


def _vectors(where: str, data: bytes, secrets: Iterable[Secret]) -> Iterator[str]:
    for visitor, embedding in secrets:
        if holds_vector(data, embedding):
            yield f"{where}: the face embedding of {visitor.name}"


def _emails(where: str, data: bytes, secrets: Iterable[Secret]) -> Iterator[str]:
    for visitor, _ in secrets:
        if holds_email(data, visitor.email):
            yield f"{where}: the e-mail address of {visitor.name}, or a hash of it"


def _told(words: bytes, secrets: Sequence[Secret]) -> Iterator[str]:
    yield from _vectors("in the guard's words", words, secrets)
    yield from _emails("in the guard's words", words, secrets)


def _exported(event: ReadableLogRecord | None) -> Iterator[str]:
    if event is None:
        yield "no event names the embedding and the pixel"
    elif request_of(event) != f"{FUNNEL.method} {FUNNEL.path}":
        yield "the event is not in the trace of its request"


def _name(outcome: Outcome) -> str:
    return f"{outcome.visitor.name}, {outcome.step.name}"
