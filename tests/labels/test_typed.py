"""Labels that stand in type annotations are found, by parameter and by value."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Sequence
from typing import Annotated, Any, NotRequired, TypedDict

import pydantic
import pytest
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

from policyguard.errors import TermError
from policyguard.labels.typed import Category, labels_of_annotations, labels_of_value
from policyguard.policy.flow import Label, close_form

Email = Annotated[str, Category("user.contact.email")]
Hashed = Annotated[str, Category("user.contact.email", form="pseudonymised")]


@dataclasses.dataclass
class Person:
    email: Email
    shoe: int = 42
    friends: list[Person] = dataclasses.field(default_factory=list)


class Model(pydantic.BaseModel):
    mail: Email | None = None
    person: Person | None = None


class Event(TypedDict):
    mail: Email
    kind: NotRequired[str]


class Base(DeclarativeBase):
    pass


class User(Base):
    __tablename__ = "users"
    id: Mapped[int] = mapped_column(primary_key=True)
    email: Mapped[Email]


def named(parts: Any) -> list[tuple[str, object, list[str]]]:
    return [(part.path, part.value, [label.data for label in part.labels]) for part in parts]


def test_parameters_and_result() -> None:
    """Each annotated parameter has its labels, the result under `return`."""

    def send(to: Email, copy: Sequence[Email] | None, plain: str, key: Hashed) -> Email:
        return f"{to}{copy}{plain}{key}"

    @functools.wraps(send)
    def wrapper(*args: Any) -> Any:
        return send(*args)

    found = labels_of_annotations(wrapper)
    where = "test_parameters_and_result.<locals>.send"
    assert found == {
        "to": (Label("user.contact.email", source=f"{where}(to)", evidence="typed"),),
        "copy": (Label("user.contact.email", source=f"{where}(copy)", evidence="typed"),),
        "key": (
            Label("user.contact.email", close_form(["pseudonymised"]), f"{where}(key)", "typed"),
        ),
        "return": (Label("user.contact.email", source=f"{where}()", evidence="typed"),),
    }


def test_one_bad_annotation_does_not_hide_the_others() -> None:
    """A name that exists for type checkers only leaves the other labels in place."""

    def send(to: Email, other: Missing) -> None:  # type: ignore[name-defined]  # noqa: F821 -- the point
        """Nothing."""

    assert list(labels_of_annotations(send)) == ["to"]


def test_a_lost_category_is_an_error() -> None:
    """An annotation with a category that can't be evaluated is refused, not passed over."""

    def send(to: Annotated[Missing, Category("user.contact.email")]) -> None:  # type: ignore[name-defined]  # noqa: F821 -- the point
        """Nothing."""

    with pytest.raises(TermError, match="annotation of `to`"):
        labels_of_annotations(send)


def test_foreign_annotations_are_left_alone() -> None:
    """A class of a module that knows no categories may be annotated as it likes."""
    scope: dict[str, Any] = {"__name__": "foreign_module"}
    exec(  # a class whose module is not this one
        "from __future__ import annotations\nclass Foreign:\n    x: Annotated[Missing, 1]\n", scope
    )
    assert labels_of_value(scope["Foreign"]()) == ()


def test_fields_of_objects() -> None:
    """Dataclass, pydantic and SQLAlchemy fields give value and label, nested ones too."""
    friend = Person("b@example.com")
    assert named(labels_of_value(Person("a@example.com", friends=[friend]))) == [
        ("Person.email", "a@example.com", ["user.contact.email"]),
        ("Person.email", "b@example.com", ["user.contact.email"]),
    ]
    assert named(labels_of_value(Model(mail="a@example.com", person=friend))) == [
        ("Model.mail", "a@example.com", ["user.contact.email"]),
        ("Person.email", "b@example.com", ["user.contact.email"]),
    ]
    assert named(labels_of_value(User(id=1, email="a@example.com"))) == [
        ("User.email", "a@example.com", ["user.contact.email"])
    ]


def test_dicts_by_their_typed_dict() -> None:
    """A dict carries the labels of the TypedDict that it is annotated with."""
    event: Event = {"mail": "a@example.com", "kind": "x"}
    assert named(labels_of_value(event, Event)) == [
        ("mail", "a@example.com", ["user.contact.email"])
    ]
    assert named(labels_of_value([event], list[Event])) == [
        ("mail", "a@example.com", ["user.contact.email"])
    ]
    assert labels_of_value(event) == ()


def test_a_typed_container() -> None:
    """A labelled container is labelled as a whole."""
    parts = labels_of_value(["a@example.com"], Annotated[list[str], Category("user.contact")])
    assert named(parts) == [("", ["a@example.com"], ["user.contact"])]


def test_plain_values_have_no_labels() -> None:
    """What nobody annotated has no labels; cycles end."""
    cycle: list[object] = []
    cycle.append(cycle)
    for value in (None, 3, "x", object(), cycle, {"a": 1}):
        assert labels_of_value(value) == ()


def test_properties_are_not_run() -> None:
    """A property is code of the application; only stored fields are read."""

    class Lazy:
        mail: Email

        @property
        def other(self) -> Email:
            raise AssertionError("application code was called")

    assert labels_of_value(Lazy()) == ()


def test_bad_categories_are_refused() -> None:
    """A misspelt name or form is an error where it is written."""
    for arguments in (("User Mail", ()), ("", ()), ("user.email", "hashed")):
        with pytest.raises(TermError):
            Category(arguments[0], form=arguments[1])


def test_no_value_in_reprs() -> None:
    """A part's repr shows its path and labels only."""
    assert "a@example.com" not in repr(labels_of_value(Person("a@example.com")))
