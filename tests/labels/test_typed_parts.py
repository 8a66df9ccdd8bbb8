"""Annotated fields are found however much else there is, and in the standard library's wrappers."""

from __future__ import annotations

import functools
import itertools
from collections import ChainMap, OrderedDict, UserDict, UserList
from collections.abc import Mapping, ValuesView
from dataclasses import dataclass
from enum import Enum
from types import MappingProxyType, SimpleNamespace
from typing import Annotated, Any, TypedDict

import pydantic
import pytest

from policyguard.labels.typed import Category, labels_of_value

EMAIL = "user.contact.email"
Email = Annotated[str, Category(EMAIL)]
MAIL = "a@example.com"


@dataclass
class Person:
    email: Email


class Row(TypedDict):
    email: Email


ANNA = Person(MAIL)


def found(value: object, hint: object = None) -> set[tuple[str, str]]:
    """Data and evidence of everything found."""
    parts = labels_of_value(value, hint)
    return {(label.data, label.evidence) for part in parts for label in part.labels}


def nested(depth: int) -> object:
    """An annotated field that deep in lists."""
    deep: object = ANNA
    for _ in range(depth):
        deep = [deep]
    return deep


TYPED = {(EMAIL, "typed")}
DOUBT = {("", "suspected")}


@pytest.mark.parametrize(
    "value",
    [
        {"owner": ANNA, "samples": [0.1] * 100_001},
        {"samples": list(range(100_001)), "owner": ANNA},
        [[0.1] * 100_001, ANNA],
        [*range(100_001), ANNA],
        [*(f"text {i}" for i in range(100_001)), ANNA],
        [*([i] for i in range(100_001)), ANNA],
        nested(150),
    ],
    ids=["after", "before", "vector", "numbers", "texts", "lists", "deep"],
)
def test_nothing_hides_behind_many_parts(value: object) -> None:
    """A labelled field is found beside a hundred thousand other parts, and deep down."""
    assert found(value) == TYPED


def test_plain_numbers_of_a_field_cost_no_budget() -> None:
    """A field of numbers, as annotated, hides nothing either and leaves no doubt."""

    @dataclass
    class Reading:
        samples: list[float]
        owner: Email

    assert found([Reading([0.5] * 300_000, MAIL)]) == TYPED


def test_what_nests_too_deep_is_in_doubt() -> None:
    """Beyond depth 200 nobody can tell what there is; and nothing recurses."""
    deep = nested(5_000)
    assert found(deep) == DOUBT
    assert found([deep, ANNA]) == DOUBT | TYPED


def test_too_many_parts_are_in_doubt() -> None:
    """More than 250,000 containers, of which none is looked into twice, end in a doubt."""
    assert found([[] for _ in range(250_001)]) == DOUBT
    assert found([[]] * 250_001) == set()


def test_shared_parts_and_cycles_end() -> None:
    """What holds itself, or the same part on many ways, is looked into once."""
    twice: object = [ANNA]
    for _ in range(100):
        twice = [twice, twice]
    cycle: dict[str, object] = {"a": ANNA}
    cycle["self"] = cycle
    assert found(twice) == found(cycle) == TYPED


class Application(Mapping[str, object]):
    """Code of an application that nobody may run."""

    def __getitem__(self, key: str) -> object:
        raise AssertionError(key)

    def __iter__(self) -> Any:
        raise AssertionError

    def __len__(self) -> int:
        raise AssertionError


@pytest.mark.parametrize(
    "value",
    [
        {"a": ANNA}.values(),
        {"a": ANNA}.items(),
        {(1, Person): ANNA}.items(),
        OrderedDict(a=ANNA).values(),
        MappingProxyType({"a": ANNA}),
        MappingProxyType(UserDict(a=ANNA)),
        UserDict(a=ANNA),
        UserDict(a=ANNA).values(),
        UserList([ANNA]),
        ChainMap({}, {"a": ANNA}),
        SimpleNamespace(a=ANNA),
        ValueError("text", ANNA),
        ExceptionGroup("many", [KeyError(ANNA)]),
        functools.partial(print, ANNA),
        functools.partial(print, to=[ANNA]),
    ],
    ids=str,
)
def test_containers_of_the_standard_library(value: object) -> None:
    """Views, proxies, wrappers, exceptions and partials are looked into."""
    assert found([value]) == found(value) == TYPED


def test_a_view_of_keys() -> None:
    """Keys count in a view of keys; a view of values shows no keys."""

    @dataclass(frozen=True)
    class Key:
        email: Email

    keyed = {Key(MAIL): 1}
    assert found(keyed.keys()) == TYPED
    assert found(keyed.values()) == set()


def test_annotations_reach_into_wrappers() -> None:
    """A TypedDict in the annotation of a view, proxy or wrapper labels its keys."""
    row: Row = {"email": MAIL}
    rows = {"a": row}
    for value, hint in (
        (rows.values(), ValuesView[Row]),
        (MappingProxyType(rows), MappingProxyType[str, Row]),
        (MappingProxyType(rows), Mapping[str, Row]),
        (UserDict(rows), UserDict[str, Row]),
        (ChainMap(rows), ChainMap[str, Row]),
    ):
        assert found(value, hint) == TYPED, hint


def test_nothing_is_used_up_or_run() -> None:
    """Generators and iterators stay as they were; an application's mapping isn't asked."""
    drawn = (one for one in [ANNA])
    stepped = iter([ANNA])
    for value in (drawn, stepped, itertools.chain([ANNA]), Application(), Application().values()):
        assert found(value) == set()
    assert list(drawn) == list(stepped) == [ANNA]


def test_attributes_of_what_derives_from_built_in_types() -> None:
    """Annotated attributes of a list, dict, set, tuple, text or number of one's own count."""

    class Names(list[str]):
        email: Email

    class Fields(dict[str, str]):
        email: Email

    class Line(str):  # noqa: SLOT000 - its attributes are what is tested
        email: Email

    class Number(int):
        email: Email

    for made in (Names(), Fields(), Line("x"), Number(3)):
        assert found(made) == set()
        made.email = MAIL
        assert found(made) == found([made]) == TYPED


def test_members_of_an_enumeration() -> None:
    """What a member stands for counts."""

    class Owner(Enum):
        ANNA = Person(MAIL)
        NOBODY = None

    assert found(Owner.ANNA) == found({"a": Owner.ANNA}) == TYPED
    assert found(Owner.NOBODY) == set()


def test_extra_fields_of_a_model() -> None:
    """The annotation of pydantic's extra fields labels each of them."""

    class Open(pydantic.BaseModel):
        model_config = pydantic.ConfigDict(extra="allow")
        __pydantic_extra__: dict[str, Email]
        plain: str = ""

    assert found(Open.model_validate({"home": MAIL})) == TYPED
    assert found(Open.model_validate({"plain": "x"})) == set()
