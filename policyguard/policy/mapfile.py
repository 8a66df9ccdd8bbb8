"""What a data map file may say: its structure as frozen models.

Layer: policy. The JSON Schema of data maps is generated from here; `policyguard.policy.datamap`
answers questions about what was read. Start reading at `DataMapFile`.
"""

from __future__ import annotations

from typing import Annotated, Final, Literal, Self, TypeVar

from pydantic import (
    AfterValidator,
    BeforeValidator,
    ConfigDict,
    Field,
    WithJsonSchema,
    model_validator,
)

from policyguard.policy.conditions import Part
from policyguard.policy.flow import RAW, close_form
from policyguard.policy.flow import Form as ClosedForm
from policyguard.policy.rules import FormName
from policyguard.policy.terms import Bool, Id, OneOrList, Term, refuse

ANSWERS: Final = frozenset({"consent", "opt_out"})
OBSERVED: Final = ANSWERS | {"restricted", "legal_request", "age", "region"}
"""Facts about a person that a column can hold without being declared by the policy."""

_LONGEST_NAME: Final = 512


def _name(value: object) -> str:
    if isinstance(value, str) and value.strip() and len(value) <= _LONGEST_NAME:
        if value.isprintable() and value == value.strip():
            return str(value)
        raise refuse("PG131", "a name has no line breaks or spaces around it")
    raise refuse("PG131", f"a name is text of 1 to {_LONGEST_NAME} characters")


Name = Annotated[
    str,
    BeforeValidator(_name),
    WithJsonSchema({"type": "string", "minLength": 1, "maxLength": _LONGEST_NAME}),
]
"""A table, column or key; `*` stands for any characters and `?` for one."""


_Part = TypeVar("_Part")


def _refuse_same(names: dict[str, _Part]) -> dict[str, _Part]:
    """Names count without their case, so two spellings of one are a mistake."""
    seen: set[str] = set()
    for name in names:
        if name.casefold() in seen:
            message = f"`{name}` is written twice, in different case"
            raise refuse("PG132", message, "merge them", at=name)
        seen.add(name.casefold())
    return names


class FieldLabel(Part):
    """What a key of payloads and models holds."""

    model_config = ConfigDict(json_schema_extra={"minProperties": 1})

    data: Annotated[tuple[Term, ...], OneOrList()] | None = Field(
        None, description="data category of the values, or a list of them"
    )
    form: Annotated[tuple[FormName, ...], OneOrList()] | None = Field(
        None, description="the form the values are stored in; raw without it"
    )
    suspected: Bool = Field(
        default=False, description="a guess: it flags and never blocks by itself"
    )

    @model_validator(mode="after")
    def _means_something(self) -> Self:
        if self.form is not None and self.data is None:
            raise refuse("PG130", "`form` needs `data`", "say which data are in this form")
        if self.suspected and self.data is None:
            raise refuse("PG130", "`suspected` needs `data`", "say which data are suspected")
        if "raw" in (self.form or ()) and len(self.form or ()) > 1:
            raise refuse("PG111", "no value is `raw` and in another form at once")
        self._complete()
        return self

    def _complete(self) -> None:
        if self.data is None:
            raise refuse("PG130", "`data` is missing", "name the data category")

    @property
    def stored(self) -> ClosedForm:
        """The form of the values, closed under implication."""
        return close_form(self.form) if self.form else RAW


class ColumnEntry(FieldLabel):
    """What a column holds: data about a person, whose row it is, or a fact about them."""

    subject: Bool = Field(default=False, description="the column says whose row it is")
    fact: Id | None = Field(
        None, description="the column is a fact: a top-level WHERE on it proves it for the rows"
    )
    purpose: Term | None = Field(
        None, description="for the facts consent and opt_out: the purpose that was answered for"
    )

    def _complete(self) -> None:
        if self.data is None and self.fact is None and not self.subject:
            hint = "name a data category, or write `subject: true` or `fact: NAME`"
            raise refuse("PG130", "the column says nothing", hint)
        if self.fact in ANSWERS and self.purpose is None:
            hint = "add `purpose:`"
            raise refuse("PG130", f"`fact: {self.fact}` must say for which purpose", hint)
        if self.purpose is not None and self.fact not in ANSWERS:
            hint = "only the facts `consent` and `opt_out` have one"
            raise refuse("PG130", "`purpose` has no meaning here", hint)


def _short(value: object) -> object:
    """A bare data category is short for a mapping that only names it."""
    return {"data": value} if isinstance(value, str) else value


Column = Annotated[ColumnEntry, BeforeValidator(_short, json_schema_input_type=Term | ColumnEntry)]
FieldValue = Annotated[
    FieldLabel, BeforeValidator(_short, json_schema_input_type=Term | FieldLabel)
]


class Table(Part):
    """A table, view, stage or bucket."""

    model_config = ConfigDict(json_schema_extra={"minProperties": 1})

    columns: Annotated[dict[Name, Column], AfterValidator(_refuse_same)] = Field(
        default_factory=dict
    )
    clock: dict[Id, Name] = Field(
        default_factory=dict,
        description="clock of a retention (`since`) to the column that holds it",
    )
    recipient: Id | None = Field(None, description="what is written here leaves to this recipient")

    @model_validator(mode="after")
    def _means_something(self) -> Self:
        if not self.model_fields_set:
            raise refuse("PG130", "the table says nothing", "give it `columns` or a `recipient`")
        return self


class DataMapFile(Part):
    """What tables, columns and payload fields hold. Owned by the people who know the data."""

    tables: Annotated[dict[Name, Table], AfterValidator(_refuse_same)] = Field(default_factory=dict)
    derived: Literal["inherit"] = Field(
        "inherit", description="views and copies carry the labels of what they are made of"
    )
    fields: Annotated[dict[Name, FieldValue], AfterValidator(_refuse_same)] = Field(
        default_factory=dict, description="keys of payloads and models, wherever they occur"
    )
