"""Every way to write a class with an annotated field gives the field's label."""

from __future__ import annotations

import dataclasses
import sys
from collections import deque
from collections.abc import Iterable, Mapping, Sequence
from typing import (
    Annotated,
    Any,
    ClassVar,
    Final,
    Generic,
    NamedTuple,
    NewType,
    Optional,
    Required,
    TypedDict,
    TypeVar,
    Union,
)

import attrs
import pydantic
import pytest
from sqlalchemy.orm import DeclarativeBase, Mapped, MappedAsDataclass, mapped_column

from policyguard.errors import TermError
from policyguard.labels.sealed import Sealed
from policyguard.labels.typed import Category, labels_of_annotations, labels_of_value

EMAIL = "user.contact.email"
Email = Annotated[str, Category(EMAIL)]
NewEmail = NewType("NewEmail", Email)
T = TypeVar("T")
E = TypeVar("E", bound=Email)
ADDRESS = "ada@example.org"


def found(value: object, hint: object = None) -> set[str]:
    """Path and data of every labelled part."""
    return {f"{p.path}={one.data}" for p in labels_of_value(value, hint) for one in p.labels}


@dataclasses.dataclass
class Plain:
    email: Email
    shoe: int = 1


@dataclasses.dataclass(slots=True, frozen=True)
class Slotted:
    email: Email
    known: ClassVar[int] = 3


@dataclasses.dataclass
class Child(Plain):
    extra: str = ""


@dataclasses.dataclass
class Factory:
    emails: list[Email] = dataclasses.field(default_factory=lambda: [ADDRESS])


@dataclasses.dataclass
class Quoted:
    email: "Optional[Email]"  # noqa: UP037, UP045 -- the old spelling is the point
    later: list["Plain"] = dataclasses.field(default_factory=list)  # noqa: UP037 -- as above


@dataclasses.dataclass
class Page(Generic[T]):
    item: T


@dataclasses.dataclass
class Mails(Page[Email]):
    pass


@dataclasses.dataclass
class MoreMails(Mails):
    pass


@dataclasses.dataclass
class Bound(Generic[E]):
    item: E


@dataclasses.dataclass
class Newtype:
    email: NewEmail


class Model(pydantic.BaseModel):
    email: Email = pydantic.Field(max_length=100)
    other: Email | None = None


class ModelChild(Model):
    more: int = 0


class ModelDefault(pydantic.BaseModel):
    emails: list[Email] = pydantic.Field(default_factory=lambda: [ADDRESS])


class ModelPage(pydantic.BaseModel, Generic[T]):
    item: T


class ModelAlias(pydantic.BaseModel):
    email: Email = pydantic.Field(alias="e-mail")


class ModelTree(pydantic.BaseModel):
    email: Email
    below: list[ModelTree] = []


class Tuple(NamedTuple):
    email: Email
    shoe: int = 1


@attrs.define
class Attrs:
    email: Email


@attrs.define
class AttrsChild(Attrs):
    shoe: int = 1


class ByHand:
    email: Email

    def __init__(self, email: str) -> None:
        self.email = email


class WithSlots:
    __slots__ = ("email",)
    email: Email

    def __init__(self, email: str) -> None:
        self.email = email


class Base(DeclarativeBase):
    pass


class Row(Base):
    __tablename__ = "rows"
    id: Mapped[int] = mapped_column(primary_key=True)
    email: Mapped[Email]
    second: Mapped[Optional[Email]]  # noqa: UP045 -- the old spelling is the point


class DataRow(MappedAsDataclass, Base):
    __tablename__ = "data_rows"
    id: Mapped[int] = mapped_column(primary_key=True)
    email: Mapped[Email]


class Event(TypedDict, total=False):
    mail: Required[Email]
    kind: str


class Order(Event):
    copies: list[Email]


class Other(TypedDict):
    name: Annotated[str, Category("user.name")]


# fmt: off
OBJECTS: dict[str, tuple[object, set[str]]] = {
    "dataclass":                  (Plain(ADDRESS), {f"Plain.email={EMAIL}"}),
    "slotted, frozen dataclass":  (Slotted(ADDRESS), {f"Slotted.email={EMAIL}"}),
    "inherited":                  (Child(ADDRESS), {f"Child.email={EMAIL}"}),
    "default_factory":            (Factory(), {f"Factory.emails={EMAIL}"}),
    "quoted, Optional":           (Quoted(ADDRESS, [Plain(ADDRESS)]),
                                   {f"Quoted.email={EMAIL}", f"Plain.email={EMAIL}"}),
    "made by make_dataclass":     (dataclasses.make_dataclass("Made", [("email", Email)])(ADDRESS),
                                   {f"Made.email={EMAIL}"}),
    "generic, filled by a child": (Mails(ADDRESS), {f"Mails.item={EMAIL}"}),
    "and by a grandchild":        (MoreMails(ADDRESS), {f"MoreMails.item={EMAIL}"}),
    "bound of a TypeVar":         (Bound(ADDRESS), {f"Bound.item={EMAIL}"}),
    "NewType":                    (Newtype(NewEmail(ADDRESS)), {f"Newtype.email={EMAIL}"}),
    "pydantic":                   (Model(email=ADDRESS), {f"Model.email={EMAIL}"}),
    "pydantic, inherited":        (ModelChild(email=ADDRESS, other=ADDRESS),
                                   {f"ModelChild.email={EMAIL}", f"ModelChild.other={EMAIL}"}),
    "pydantic, default_factory":  (ModelDefault(), {f"ModelDefault.emails={EMAIL}"}),
    "pydantic, generic":          (ModelPage[Email](item=ADDRESS),
                                   {f"{ModelPage[Email].__name__}.item={EMAIL}"}),
    "pydantic, alias":            (ModelAlias.model_validate({"e-mail": ADDRESS}),
                                   {f"ModelAlias.email={EMAIL}"}),
    "pydantic, recursive":        (ModelTree(email=ADDRESS, below=[ModelTree(email=ADDRESS)]),
                                   {f"ModelTree.email={EMAIL}"}),
    "pydantic, create_model":     (pydantic.create_model("Late", email=(Email, ...))(email=ADDRESS),
                                   {f"Late.email={EMAIL}"}),
    "NamedTuple":                 (Tuple(ADDRESS), {f"Tuple.email={EMAIL}"}),
    "attrs":                      (Attrs(ADDRESS), {f"Attrs.email={EMAIL}"}),
    "attrs, inherited":           (AttrsChild(ADDRESS), {f"AttrsChild.email={EMAIL}"}),
    "attrs, make_class":          (attrs.make_class("Cut", {"email": attrs.field(type=Email)})(
                                       ADDRESS), {f"Cut.email={EMAIL}"}),
    "plain class":                (ByHand(ADDRESS), {f"ByHand.email={EMAIL}"}),
    "class with slots":           (WithSlots(ADDRESS), {f"WithSlots.email={EMAIL}"}),
    "SQLAlchemy":                 (Row(id=1, email=ADDRESS, second=ADDRESS),
                                   {f"Row.email={EMAIL}", f"Row.second={EMAIL}"}),
    "SQLAlchemy, dataclass":      (DataRow(id=1, email=ADDRESS), {f"DataRow.email={EMAIL}"}),
}
EVENT: Event = {"mail": ADDRESS}
ORDER: Order = {"mail": ADDRESS, "copies": [ADDRESS]}
HINTED: dict[str, tuple[object, object, set[str]]] = {
    "TypedDict":                  (EVENT, Event, {f"mail={EMAIL}"}),
    "inherited TypedDict":        (ORDER, Order, {f"mail={EMAIL}", f"copies={EMAIL}"}),
    "a key that isn't there":     ({"kind": "x"}, Event, set()),
    "list of TypedDict":          ([EVENT], list[Event], {f"mail={EMAIL}"}),
    "deque of TypedDict":         (deque([EVENT]), deque[Event], {f"mail={EMAIL}"}),
    "Sequence | None":            ([EVENT], Sequence[Event] | None, {f"mail={EMAIL}"}),
    "second of a Union":          ([EVENT], Union[str, list[Event]], {f"mail={EMAIL}"}),  # noqa: UP007 -- the old spelling
    "one of two TypedDicts":      ({"name": "Ada"}, Event | Other, {"name=user.name"}),
    "the other of two":           (EVENT, Event | Other, {f"mail={EMAIL}"}),
    "dict of lists":              ({"a": [EVENT]}, dict[str, list[Event]], {f"a.mail={EMAIL}"}),
    "Mapping":                    ({"a": EVENT}, Mapping[str, Event], {f"a.mail={EMAIL}"}),
    "tuple":                      ((1, EVENT), tuple[int, Event], {f"mail={EMAIL}"}),
    "Annotated TypedDict":        (EVENT, Annotated[Event, "anything"], {f"mail={EMAIL}"}),
    "Final":                      (EVENT, Final[Event], {f"mail={EMAIL}"}),
    "Iterable":                   ([EVENT], Iterable[Event], {f"mail={EMAIL}"}),
    "generic class":              (Page(ADDRESS), Page[Email], {f"={EMAIL}"}),
}
# fmt: on


@pytest.mark.parametrize(("value", "labels"), OBJECTS.values(), ids=OBJECTS)
def test_objects_carry_the_labels_of_their_fields(value: object, labels: set[str]) -> None:
    """An object is labelled by the annotations of its class, at the field."""
    assert found(value) == labels
    assert found([{"deep": (value,)}]) == labels


@pytest.mark.parametrize(("value", "hint", "labels"), HINTED.values(), ids=HINTED)
def test_dicts_are_labelled_by_the_annotation_above(
    value: object, hint: object, labels: set[str]
) -> None:
    """A plain dict is labelled by the TypedDict that it stands under, by the keys it has."""
    assert found(value, hint) == labels


def test_type_aliases() -> None:
    """`type X = Annotated[...]` is looked behind, also when it is generic or recursive."""
    if sys.version_info < (3, 12):
        return  # the statement is no Python yet
    scope: dict[str, Any] = {"Email": Email, "Event": Event, "Annotated": Annotated}
    exec(
        "type Mail = Email\ntype Box[T] = list[T] | None\ntype Tree = Email | list[Tree]\n"
        "type Events = list[Event]\ntype Lost = Annotated[Missing, 1]\n"
        "def send(a: Mail, b: Box[Email], c: Tree, d: list[Mail]) -> None: ...\n"
        "def late(a: Lost) -> None: ...\n",
        scope,
    )
    assert set(labels_of_annotations(scope["send"])) == {"a", "b", "c", "d"}
    assert found([EVENT], scope["Events"]) == {f"mail={EMAIL}"}
    with pytest.raises(TermError, match="alias `Lost`"):
        labels_of_annotations(scope["late"])


def test_new_syntax_generics() -> None:
    """`class Page[T]` and `def f[T: Email]` work as the old spelling does."""
    if sys.version_info < (3, 12):
        return  # the statement is no Python yet
    scope: dict[str, Any] = {"Email": Email, "dataclasses": dataclasses, "__name__": __name__}
    exec(
        "@dataclasses.dataclass\nclass Pile[T]:\n    item: T\n"
        "class Mails(Pile[Email]): pass\n"
        "def send[X: Email](mail: X) -> None: ...\n",
        scope,
    )
    assert found(scope["Mails"](ADDRESS)) == {f"Mails.item={EMAIL}"}
    assert set(labels_of_annotations(scope["send"])) == {"mail"}


def test_a_nested_text_survives_a_bad_neighbour() -> None:
    """A text inside of an annotation is evaluated although another annotation can't be."""
    scope: dict[str, Any] = {"Email": Email, "Plain": Plain, "__name__": "neighbours"}
    exec("def send(to: list['Email'], other: 'Missing') -> None: ...", scope)
    assert set(labels_of_annotations(scope["send"])) == {"to"}


def test_extras_and_unannotated_fields_are_looked_into() -> None:
    """What a model holds beside its fields is looked into as well."""

    class Open(pydantic.BaseModel):
        model_config = pydantic.ConfigDict(extra="allow")

    assert found(Open.model_validate({"who": Plain(ADDRESS)})) == {f"Plain.email={EMAIL}"}
    loose = attrs.make_class("Loose", ["held"])
    assert found(loose(Sealed(ADDRESS, EMAIL))) == {f"Loose.held={EMAIL}"}
