"""What goes into a transform is found by the annotations of its parameters, doubts too."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator
from types import MappingProxyType
from typing import Annotated, Any, TypedDict, Unpack

import pytest

from policyguard import Category, PolicyViolation
from policyguard.config import Guard
from tests.enforce.kit import ADDRESS, ADS, EMAIL, guard

CLAIM: dict[str, Any] = {"reviewed_by": "privacy@picnic.example", "expires": "9999-12-31"}
Email = Annotated[str, Category(EMAIL)]


class Row(TypedDict):
    email: Email


class Lines:
    """A collection of an application."""

    def __init__(self, *lines: str) -> None:
        self.load: Callable[[], tuple[str, ...]] = lambda: lines

    def __iter__(self) -> Iterator[str]:
        return iter(self.load())


class Client:
    """No data."""


def digest(text: str) -> str:
    """What tells nothing by itself."""
    return hashlib.sha256(b"salt" + text.encode()).hexdigest()


def verdict(asked: Guard, result: object) -> tuple[str, str, bool]:
    """Data, reason, and whether it is known to be pseudonymised, of the flow that stops it."""
    with pytest.raises(PolicyViolation) as caught:
        asked.check(result, to="public")
    decision = caught.value.decision
    return decision.flow.data, decision.reason, "pseudonymised" in decision.flow.form


def of_rows(rows: list[Row]) -> str:
    return digest(rows[0]["email"])


def of_more(**kw: Unpack[Row]) -> str:
    return digest(kw["email"])


def of_all(x: int, *e: Email | None, key: int = 0) -> str:
    return digest(f"{x}{e[-1]}{key}")


def of_named(x: int, *, e: Email) -> str:
    return digest(f"{x}{e}")


def of_drawn(rows: Iterator[Row]) -> str:
    return digest("".join(row["email"] for row in rows))


CALLS: dict[str, Callable[[Callable[..., Any]], object]] = {
    "rows": lambda wrap: wrap(of_rows)([{"email": ADDRESS}]),
    "rows by name": lambda wrap: wrap(of_rows)(rows=[{"email": ADDRESS}]),
    "unpacked": lambda wrap: wrap(of_more)(email=ADDRESS),
    "rest": lambda wrap: wrap(of_all)(1, None, ADDRESS),
    "named": lambda wrap: wrap(of_named)(1, e=ADDRESS),
    "drawn": lambda wrap: wrap(of_drawn)({"email": one} for one in [ADDRESS]),
}


@pytest.mark.parametrize("name", CALLS)
def test_annotations_of_parameters(name: str) -> None:
    """The label of an annotated argument shows in the result, however it is passed."""
    asked = guard()
    with asked.context(purpose=ADS):
        result = CALLS[name](asked.transform("pseudonymised", **CLAIM))
        assert verdict(asked, result) == (EMAIL, "not_covered", True)


def test_a_view_goes_in_with_what_it_holds() -> None:
    """What was remembered is found in views and proxies too."""
    asked = guard()

    @asked.transform("pseudonymised", **CLAIM)
    def joined(lines: Any) -> str:
        return digest("".join(lines))

    with asked.context(purpose=ADS):
        asked.remember(ADDRESS, asked.label(EMAIL))
        for value in ({"a": ADDRESS}.values(), MappingProxyType({ADDRESS: 1})):
            assert verdict(asked, joined(value)) == (EMAIL, "not_covered", True)


def test_doubts_stay() -> None:
    """What can't be looked into makes a result of which nobody can tell what it is."""
    asked = guard()

    @asked.transform("pseudonymised", **CLAIM)
    def joined(lines: Any) -> str:
        return digest("".join(lines))

    @asked.transform("pseudonymised", **CLAIM)
    def deep(parts: Any) -> str:
        return digest(str(type(parts)))

    nested: object = "x"
    for _ in range(300):
        nested = [nested]
    with asked.context(purpose=ADS):
        assert verdict(asked, deep(nested))[:2] == ("", "cannot_tell")
    with asked.context(purpose=ADS):
        asked.remember(ADDRESS, asked.label(EMAIL))
        assert verdict(asked, joined(Lines(ADDRESS)))[:2] == ("", "cannot_tell")


def test_a_client_makes_no_doubt() -> None:
    """An object that is no data adds nothing to a result."""
    asked = guard()

    class Service:
        @asked.transform("pseudonymised", **CLAIM)
        def count(self, client: Client) -> str:
            return digest("three")

    with asked.context(purpose=ADS):
        asked.remember(ADDRESS, asked.label(EMAIL))
        assert asked.labels_in(Service().count(Client())) == []
