"""Arguments find the parameter that takes them, and what its annotation says."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Annotated, Any, TypedDict, Unpack

import pytest

from policyguard.labels.parameters import Parameters
from policyguard.labels.typed import Category, labels_of_value

EMAIL = "user.contact.email"
Email = Annotated[str, Category(EMAIL)]


class Event(TypedDict, total=False):
    mail: Email
    kind: str


def plain(a: int, to: Email, /, cc: Email = "", *, key: Email = "") -> None:
    """Positional, keyword and keyword-only."""


def rest(a: int, *to: Email, mail: Email = "", **more: Email) -> None:
    """The rest is labelled."""


def bare_rest(*things: object, to: Email) -> None:
    """Only the keyword is labelled."""


def unpacked(**event: Unpack[Event]) -> None:
    """Keywords by a TypedDict."""


@functools.wraps(plain)
def wrapped(*args: Any, **kwargs: Any) -> None:
    """A decorator's wrapper."""


# fmt: off
ARGUMENTS: dict[str, tuple[Callable[..., Any], int | str, str, bool]] = {
    #                                 function   argument  parameter  labelled
    "a plain one":                   (plain,     0,        "a",       False),
    "positional":                    (plain,     1,        "to",      True),
    "by place":                      (plain,     2,        "cc",      True),
    "by keyword":                    (plain,     "cc",     "cc",      True),
    "keyword only":                  (plain,     "key",    "key",     True),
    "one too many":                  (plain,     3,        "",        False),
    "a keyword for a place":         (plain,     "to",     "",        False),
    "first of *args":                (rest,      1,        "to",      True),
    "fifth of *args":                (rest,      5,        "to",      True),
    "behind *args":                  (rest,      "mail",   "mail",    True),
    "any keyword":                   (rest,      "x",      "more",    True),
    "the name of *args as keyword":  (rest,      "to",     "more",    True),
    "unlabelled *args":              (bare_rest, 1,        "things",  False),
    "a key of a TypedDict":          (unpacked,  "mail",   "mail",    True),
    "an unlabelled key of it":       (unpacked,  "kind",   "kind",    False),
    "through functools.wraps":       (wrapped,   1,        "to",      True),
}
# fmt: on


@pytest.mark.parametrize(
    ("function", "argument", "name", "labelled"), ARGUMENTS.values(), ids=ARGUMENTS
)
def test_arguments_have_the_labels_of_their_parameter(
    function: Callable[..., Any],
    argument: int | str,
    name: str,
    labelled: bool,
) -> None:
    """Places and keywords are taken as Python takes them."""
    parameters = Parameters(function)
    assert parameters.name(argument) == name
    assert [label.data for label in parameters.labels(argument)] == [EMAIL] * labelled


def test_only_typed_dicts_need_their_annotation() -> None:
    """A hint is there where a plain dict may come, and gives the labels of its keys."""

    def send(one: Event, many: list[Event] | None, mail: Email, other: dict[str, int]) -> None:
        """Nothing."""

    parameters = Parameters(send)
    assert [parameters.hint(i) is not None for i in range(4)] == [True, True, False, False]
    parts = labels_of_value([{"mail": "a@example.com"}, {"kind": "x"}], parameters.hint(1))
    assert [(part.path, part.labels[0].data) for part in parts] == [("mail", EMAIL)]
