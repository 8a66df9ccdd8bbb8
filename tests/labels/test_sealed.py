"""A seal can be carried everywhere, and what it holds shows nowhere."""

from __future__ import annotations

import asyncio
import base64
import concurrent.futures
import dataclasses
import hashlib
import html
import json
import traceback
from collections import OrderedDict, deque
from collections.abc import Iterator
from contextlib import suppress
from types import MappingProxyType
from typing import Annotated, Any, NamedTuple
from urllib.parse import quote

import numpy as np
import pydantic
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

from policyguard.errors import TermError
from policyguard.inspectors.payload import value_leaves
from policyguard.labels.registry import Registry
from policyguard.labels.sealed import Sealed, opened
from policyguard.labels.typed import Category, labels_of_value
from policyguard.policy.flow import Label, close_form
from tests.labels.sealed_operations import OPERATIONS

EMAIL = "user.contact.email"
SHOWN = "<sealed user.contact.email>"
CANARY = "canary.7f3a91@leak-example.org"
_BYTES = CANARY.encode()
NEEDLES = {
    CANARY,
    CANARY.upper(),
    CANARY.partition("@")[0],
    quote(CANARY, safe=""),
    base64.b64encode(_BYTES).decode().rstrip("="),
    _BYTES.hex(),
    json.dumps(CANARY)[1:-1].replace("@", "\\u0040"),
    html.escape(CANARY).replace("@", "&#64;"),
    ", ".join(map(str, _BYTES)),
    CANARY[::-1],
    "\0".join(CANARY),
    hashlib.sha256(_BYTES).hexdigest(),
}


def sealed(value: object = CANARY) -> Sealed[object]:
    """The usual seal."""
    return Sealed(value, EMAIL)


def outcome(name: str, it: Sealed[object]) -> tuple[str, BaseException | None]:
    """What an operation gives or raises, as text; and what it raised."""
    try:
        result = OPERATIONS[name](it)
        text = result.decode("latin-1") if isinstance(result, bytes) else f"{result} {result!r}"
    except Exception as error:  # noqa: BLE001 -- whatever it raises
        return f"{type(error).__name__}: {error}", error
    return text, None


def all_locals(error: BaseException | None) -> Iterator[str]:
    """The locals of all frames of an error and of those that it came from."""
    while error is not None:
        yield from traceback.format_exception(error)
        for frame, _ in traceback.walk_tb(error.__traceback__):
            for held in frame.f_locals.values():
                with suppress(Exception):  # a half-made object of another library has no repr
                    yield repr(held)
        error = error.__context__


VALUES = st.one_of(
    st.text(),
    st.binary(),
    st.integers(),
    st.floats(),
    st.booleans(),
    st.none(),
    st.dates(),
    st.lists(st.floats(), max_size=20),
    st.dictionaries(st.text(max_size=5), st.text(max_size=5), max_size=3),
)


@pytest.mark.parametrize("name", OPERATIONS)
def test_no_operation_shows_the_value(name: str) -> None:
    """Neither the result of an everyday operation nor its error holds the value or a code of it."""
    text, error = outcome(name, sealed())
    for shown in (text, *all_locals(error)):
        assert not [needle for needle in NEEDLES if needle in shown]


@settings(max_examples=40, deadline=None)
@given(VALUES)
def test_no_operation_depends_on_the_value(value: object) -> None:
    """Whatever is sealed, every operation gives exactly what it gives for another value."""
    it, other = sealed(value), sealed()
    different = {name for name in OPERATIONS if outcome(name, it)[0] != outcome(name, other)[0]}
    assert different == set()


def test_text_of_it_is_the_placeholder() -> None:
    """Text shows the category, whatever the format asks for."""
    it = sealed()
    assert {str(it), repr(it), f"{it}", f"{it:>60}", format(it), "%s" % it} == {SHOWN}  # noqa: UP031 -- one way to write it
    assert json.dumps([it], default=str) == f'["{SHOWN}"]'


# fmt: off
REFUSED = ["bool", "len", "int", "float", "bytes", "iter", "list", "first", "item", "text in it",
           "+ text", "text +", "*", "2 *", "%", "<", ">=", "sorted", "max", "complex", "index",
           "pickle 0", "pickle 2", "pickle", "copyreg", "object's reduce", "getstate",
           "multiprocessing", "or", "round", "abs", "neg", "floor", "divmod", "rdivmod", "pow"]
# fmt: on


@pytest.mark.parametrize("name", REFUSED)
def test_refusals_say_what_to_do(name: str) -> None:
    """An operation that needs the value is a TypeError that names the category and the way out."""
    with pytest.raises(TypeError, match=f"{SHOWN} does not open by itself; guard.open"):
        OPERATIONS[name](sealed())


def test_json_refuses_it() -> None:
    """The serialiser raises and shows nothing."""
    with pytest.raises(TypeError, match="Sealed is not JSON serializable"):
        json.dumps({"mail": sealed()})


def test_attributes_are_an_error_with_a_way_out() -> None:
    """A method of the value isn't there, and the error says why."""
    with pytest.raises(AttributeError, match=f"{SHOWN} has no such attribute; guard.open"):
        sealed().upper()  # type: ignore[attr-defined]  # the point
    assert not hasattr(sealed(), "__dict__")
    with pytest.raises(TypeError):
        vars(sealed())


def test_it_can_not_be_changed() -> None:
    """No attribute can be set or deleted, and nothing derives from it."""
    it = sealed()
    with pytest.raises(AttributeError, match="can't be changed"):
        it.data = "system"  # type: ignore[misc]  # the point
    with pytest.raises(AttributeError, match="can't be changed"):
        del it.form
    with pytest.raises(TypeError, match="subclassed"):
        type("Leaky", (Sealed,), {})


def test_it_is_opened_by_one_function() -> None:
    """`opened` gives the very value; anything else is refused."""
    value = ["a", object()]
    assert opened(Sealed(value, EMAIL)) is value
    assert opened(Sealed[str](CANARY, EMAIL)) == CANARY
    with pytest.raises(TypeError, match="only a sealed value"):
        opened(CANARY)  # type: ignore[arg-type]  # the point
    with pytest.raises(TypeError, match="once more"):
        Sealed(sealed(), EMAIL)


def test_its_label() -> None:
    """Data, form and origin make a label with evidence `sealed`."""
    it = Sealed(CANARY, EMAIL, "anonymised", source="users.email", at="a.py:3")
    form = close_form(["anonymised"])
    assert (it.data, it.form) == (EMAIL, form)
    assert it.label == Label(EMAIL, form, "users.email", "sealed", "a.py:3")
    assert sealed().form == frozenset()


@pytest.mark.parametrize(
    ("data", "form"),
    [
        (CANARY, ()),
        ("User Mail", ()),
        ("", ()),
        ("a" * 200, ()),
        (None, ()),
        (3, ()),
        (EMAIL, "hashed"),
        (EMAIL, CANARY),
        (EMAIL, ("raw", "anonymised")),
        (EMAIL, 3),
        (EMAIL, [[]]),
    ],
)
def test_bad_words_are_refused_without_showing_them(data: Any, form: Any) -> None:
    """A category or form that isn't one is an error; it may be the value, so it isn't shown."""
    with pytest.raises(TermError) as caught:
        Sealed(CANARY, data, form)
    error = traceback.TracebackException.from_exception(caught.value)
    assert CANARY not in "".join(error.format()) + str(caught.value)
    inner = caught.tb.tb_next
    assert inner is not None
    assert "value" not in inner.tb_frame.f_locals


def test_it_is_one_thing_in_threads_and_tasks() -> None:
    """Threads and tasks share the object itself."""
    it = sealed()

    async def given_on() -> object:
        return await asyncio.to_thread(lambda: it)

    with concurrent.futures.ThreadPoolExecutor(2) as pool:
        assert all(one is it for one in pool.map(lambda _: it, range(8)))
    assert asyncio.run(given_on()) is it


@dataclasses.dataclass
class Person:
    mail: Sealed[str]
    note: str = ""


class Line(NamedTuple):
    mail: Sealed[str]


class Loose(pydantic.BaseModel):
    model_config = pydantic.ConfigDict(extra="allow")
    held: Any = None


class Base(DeclarativeBase):
    pass


class User(Base):
    __tablename__ = "users"
    id: Mapped[int] = mapped_column(primary_key=True)
    email: Mapped[str]


IT: Sealed[str] = Sealed(CANARY, EMAIL)

# fmt: off
CARRIED: dict[str, tuple[object, str]] = {
    "alone":             (IT, ""),
    "in a list":         ([1, [IT]], ""),
    "in a dict":         ({"user": {"mail": IT}}, "user.mail"),
    "under a bad key":   ({CANARY: IT}, "*"),
    "as a key":          ({"by": {IT: 1}}, "by.*"),
    "in a key":          ({(1, IT): 1}, "*"),
    "in an OrderedDict": (OrderedDict(mail=IT), "mail"),
    "in a deque":        (deque([IT]), ""),
    "in a set":          ({IT}, ""),
    "in a tuple":        ((IT, "x"), ""),
    "in a named tuple":  (Line(IT), "Line.mail"),
    "in a dataclass":    (Person(IT), "Person.mail"),
    "in a model":        (Loose(held=[IT]), "Loose.held"),
    "in a model's rest": (Loose.model_validate({"more": IT}), "Loose.more"),
    "in an entity":      (User(id=1, email=IT), "User.email"),
}
# fmt: on


@pytest.mark.parametrize(("value", "path"), CARRIED.values(), ids=CARRIED)
def test_its_label_is_found_wherever_it_is_carried(value: object, path: str) -> None:
    """A value that holds a seal has its label, at the place of the seal; nothing is in doubt."""
    (part,) = labels_of_value(value)
    assert (part.path, part.value) == (path, IT)
    assert part.labels == (Label(EMAIL, source=path, evidence="sealed"),)
    payload = value_leaves(value)
    assert payload.readable
    assert CANARY not in str([leaf for where, leaf in payload.leaves if not where.endswith("#key")])


def test_there_is_nothing_to_remember() -> None:
    """A registry remembers nothing of a seal, and isn't in doubt about it."""
    registry = Registry()
    labels = (Label(EMAIL),)
    assert registry.remember(IT, labels)
    assert registry.remember([{"a": IT}], labels)
    assert len(registry) == 0
    assert not registry.search([("a", CANARY)])


def test_unread_containers_stay_in_doubt() -> None:
    """A seal in an object that can't be looked into makes that object no cleaner."""
    for value in (np.array([IT], dtype=object), iter([IT]), object()):
        assert not value_leaves(value).readable
    assert value_leaves(MappingProxyType({"a": IT})).readable


def test_many_labels_count_once() -> None:
    """An annotation that says what the seal says adds nothing; another category does."""
    same, other = Annotated[str, Category(EMAIL)], Annotated[str, Category("user.name")]
    assert [label.evidence for label in labels_of_value(IT, same)[0].labels] == ["sealed"]
    assert [label.data for label in labels_of_value(IT, other)[0].labels] == [EMAIL, "user.name"]
