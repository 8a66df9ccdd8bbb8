"""Sealed fields of models: pydantic seals what it reads, and writes the placeholder."""

from __future__ import annotations

import dataclasses
from typing import Annotated, Any

import pydantic
import pytest
from fastapi.encoders import jsonable_encoder

from policyguard.errors import TermError
from policyguard.labels.sealed import Sealed, opened
from policyguard.labels.typed import Category, labels_of_value
from policyguard.policy.flow import close_form

EMAIL = "user.contact.email"
SHOWN = "<sealed user.contact.email>"
CANARY = "canary.7f3a91@leak-example.org"
Email = Annotated[Sealed[str], Category(EMAIL)]


class Account(pydantic.BaseModel):
    email: Email
    age: Annotated[Sealed[int], Category("user.demographic.age", form="pseudonymised")] | None = (
        None
    )
    others: list[Email] = []
    by_name: dict[str, Annotated[Sealed[str] | None, Category(EMAIL)]] = {}
    tags: Annotated[list[Sealed[str]], Category(EMAIL)] = []


def account(**more: Any) -> Account:
    """An account as a request brings it."""
    return Account.model_validate({"email": CANARY, **more})


def test_raw_values_are_sealed() -> None:
    """What is read is validated as the type in brackets and sealed as the category says."""
    made = account(age="33", others=[CANARY], by_name={"a": CANARY, "b": None}, tags=[CANARY])
    assert opened(made.email) == CANARY
    assert made.age is not None
    assert opened(made.age) == 33
    assert made.age.form == close_form(["pseudonymised"])
    seals = [made.email, *made.others, *made.by_name.values(), *made.tags]
    assert [None if one is None else one.data for one in seals] == [
        EMAIL,
        EMAIL,
        EMAIL,
        None,
        EMAIL,
    ]
    assert opened(Account.model_validate_json(f'{{"email": "{CANARY}"}}').email) == CANARY


def test_seals_pass_as_they_are() -> None:
    """A seal is taken as it is; its own label stays."""
    it = Sealed(CANARY, "user.contact")
    assert account(email=it).email is it


def test_texts_of_a_model_show_the_placeholder() -> None:
    """repr, str and JSON show the category only; a dump in Python keeps the objects."""
    made = account(age=33, others=[CANARY], tags=[CANARY])
    for text in (repr(made), str(made), made.model_dump_json(), str(made.model_dump(mode="json"))):
        assert CANARY not in text
        assert SHOWN in text
    assert made.model_dump()["email"] is made.email
    assert made.model_copy(deep=True).email is made.email
    assert jsonable_encoder(made)["email"] == SHOWN


def test_fields_that_nobody_validated_are_not_written() -> None:
    """A bare value that was put where a seal belongs doesn't get into JSON."""
    made = Account.model_construct(email=CANARY)
    assert CANARY not in made.model_dump_json()


def test_the_schema_is_that_of_the_type() -> None:
    """A client sees text, a number, null: what it has to send."""
    fields = Account.model_json_schema()["properties"]
    assert fields["email"] == {"title": "Email", "type": "string"}
    assert {"type": "integer"} in fields["age"]["anyOf"]
    assert fields["others"]["items"] == {"type": "string"}
    answer = Account.model_json_schema(mode="serialization")["properties"]
    assert answer["email"]["type"] == "string"


def test_constraints_stand_inside() -> None:
    """Constraints belong to the type in brackets, and hold."""

    class Short(pydantic.BaseModel):
        email: Annotated[Sealed[Annotated[str, pydantic.Field(max_length=3)]], Category(EMAIL)]

    assert opened(Short(email="abc").email) == "abc"  # type: ignore[arg-type]  # pydantic seals it
    with pytest.raises(pydantic.ValidationError):
        Short(email="abcd")  # type: ignore[arg-type]  # the point


@pytest.mark.parametrize("value", [[CANARY], {"a": CANARY}, CANARY.encode("utf-16")])
def test_errors_do_not_quote_what_is_to_be_sealed(value: object) -> None:
    """A value of a wrong type is refused at its field, and isn't in the error."""
    with pytest.raises(pydantic.ValidationError) as caught:
        account(email=value)
    (error,) = caught.value.errors()
    assert error["loc"] == ("email",)
    assert error["type"] == "sealed"
    shown = str(caught.value) + repr(caught.value) + str(error) + caught.value.json()
    assert "canary" not in shown.replace("\\x00", "")
    assert caught.value.__context__ is None


@pytest.mark.parametrize(
    ("value", "where"),
    [
        ({"x": CANARY}, ("tags",)),
        (CANARY, ("tags",)),
        ([CANARY, {CANARY: 1}], ("tags", 1)),
        ([[CANARY]], ("tags", 0)),
    ],
)
def test_errors_of_a_container_of_seals_quote_nothing(value: object, where: object) -> None:
    """A list of seals that gets something else says where, and nothing of what it got."""
    with pytest.raises(pydantic.ValidationError) as caught:
        account(tags=value)
    (error,) = caught.value.errors()
    assert (error["loc"], error["type"]) == (where, "sealed")
    shown = str(caught.value) + repr(caught.value) + str(error) + caught.value.json()
    assert "canary" not in shown
    assert caught.value.__context__ is None


def test_keys_beside_seals_are_in_no_error() -> None:
    """A dict's keys may be data: what is wrong under one is told without it."""

    class Book(pydantic.BaseModel):
        by_name: Annotated[dict[str, Sealed[str]], Category(EMAIL)]

    with pytest.raises(pydantic.ValidationError) as caught:
        Book.model_validate({"by_name": {CANARY: [1]}})
    assert caught.value.errors()[0]["loc"] == ("by_name",)
    assert "canary" not in str(caught.value) + caught.value.json()


def test_a_field_without_a_category_is_refused() -> None:
    """The class can't be made, and the error says how to write it."""
    with pytest.raises(TermError, match="names no data category") as caught:

        class Nameless(pydantic.BaseModel):
            email: Sealed[str]

    assert "Annotated[Sealed[str], Category(" in str(caught.value)


def test_a_category_around_a_model_seals_nothing_in_it() -> None:
    """A category belongs to the annotation that it stands in, not to the fields of a model."""
    with pytest.raises(TermError, match="names no data category"):

        class Inner(pydantic.BaseModel):
            email: Sealed[str]
            below: Annotated[Inner | None, Category("user")]


def test_other_fields_with_a_category_are_as_before() -> None:
    """A category on a plain type changes nothing for pydantic."""

    class Plain(pydantic.BaseModel):
        email: Annotated[str, Category(EMAIL), pydantic.Field(max_length=3)]
        other: Annotated[int | None, Category(EMAIL)] = None

    assert Plain(email="abc").model_dump() == {"email": "abc", "other": None}
    assert Plain.model_json_schema()["properties"]["email"]["maxLength"] == 3
    with pytest.raises(pydantic.ValidationError):
        Plain(email="abcd")


def test_the_label_is_found_once() -> None:
    """The field's seal gives one label, for it and its annotation say the same."""

    class Letter(pydantic.BaseModel):
        email: Email

    (part,) = labels_of_value(Letter.model_validate({"email": CANARY}))
    assert part.path == "Letter.email"
    assert [(label.data, label.evidence) for label in part.labels] == [(EMAIL, "sealed")]


def test_dataclasses_of_pydantic() -> None:
    """They seal as models do, and `asdict` keeps the object."""

    @pydantic.dataclasses.dataclass
    class Sent:
        email: Email

    sent = Sent(email=CANARY)  # type: ignore[arg-type]  # pydantic seals it
    assert opened(sent.email) == CANARY
    assert dataclasses.asdict(sent) == {"email": sent.email}
    assert pydantic.TypeAdapter(list[Email]).validate_python([CANARY])[0].data == EMAIL
