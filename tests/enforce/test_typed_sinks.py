"""Annotations of a sink's parameters label what a call gives them."""

from __future__ import annotations

from typing import Annotated, TypedDict, Unpack

import pytest

from policyguard import Category, PolicyViolation, Sealed
from tests.enforce.kit import ADS, EMAIL, guard

Email = Annotated[str, Category(EMAIL)]
ADDRESS = "ada@example.org"


class Event(TypedDict, total=False):
    mail: Email
    page: str


made = guard()
sent: list[object] = []


@made.sink("pixel")
def one(event: Event) -> None:
    sent.append(event)


@made.sink("pixel")
def many(*, events: list[Event] | None = None) -> None:
    sent.append(events)


@made.sink("pixel")
def rest(page: str, *emails: Email) -> None:
    sent.append(emails)


@made.sink("pixel")
def keys(**event: Unpack[Event]) -> None:
    sent.append(event)


@made.sink("pixel")
def anything(*things: object, to: Email = "") -> None:
    sent.append(things)


CALLS = {
    "a dict by its TypedDict": (lambda: one({"mail": ADDRESS}), True),
    "without the key": (lambda: one({"page": "/"}), False),
    "in a list": (lambda: many(events=[{"page": "/"}, {"mail": ADDRESS}]), True),
    "in a list, without the key": (lambda: many(events=[{"page": "/"}]), False),
    "the second of *args": (lambda: rest("/", None, ADDRESS), True),  # type: ignore[arg-type]  # None is nothing
    "no *args": (lambda: rest("/"), False),
    "a keyword of a TypedDict": (lambda: keys(mail=ADDRESS), True),
    "another keyword of it": (lambda: keys(page="/"), False),
    "before a keyword-only": (lambda: anything("x", "y"), False),
    "a seal": (lambda: anything({"a": [Sealed(ADDRESS, EMAIL)]}), True),
}


@pytest.mark.parametrize(("call", "blocked"), CALLS.values(), ids=CALLS)
def test_calls_are_judged_by_their_annotations(call: object, blocked: bool) -> None:
    """A call that gives labelled data is stopped; one that doesn't is let through."""
    sent.clear()
    with made.purpose(ADS):
        for _ in range(2):  # the second call may rest on the answer to the first
            if blocked:
                with pytest.raises(PolicyViolation) as stopped:
                    call()  # type: ignore[operator]  # a column of the table
                assert stopped.value.decision.flow.data == EMAIL
            else:
                call()  # type: ignore[operator]  # as above
    assert len(sent) == (0 if blocked else 2)
