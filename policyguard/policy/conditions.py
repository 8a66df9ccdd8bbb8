"""The closed list of conditions, as data. What they mean is decided in `policyguard.engine`.

Layer: policy. Start reading at `When`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Annotated, Any, Literal, Self

from pydantic import (
    BaseModel,
    ConfigDict,
    Discriminator,
    Field,
    GetCoreSchemaHandler,
    Tag,
    model_validator,
)
from pydantic_core import CoreSchema

from policyguard.policy.terms import Bool, Duration, Id, Int, OneOrList, Region, Term, refuse


class Part(BaseModel):
    """The base of everything a policy consists of: frozen, and strict about its keys.

    A key that is written has a value: None stands for a key that was left out, and is refused
    where somebody gives it, so that half a sentence never reads as a shorter one.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, populate_by_name=False)

    @classmethod
    def __get_pydantic_core_schema__(
        cls, source: Any, handler: GetCoreSchemaHandler, /
    ) -> CoreSchema:
        """The schema of the fields without the None of their defaults. No cost at run time."""
        schema = handler(source)
        node: Any = handler.resolve_ref_schema(schema)
        while "schema" in node:
            node = node["schema"]
        for field in node.get("fields", {}).values():
            given = field["schema"]
            if given["type"] == "default" and given["schema"]["type"] == "nullable":
                given["schema"] = given["schema"]["schema"]
        return schema


def _shape(value: object) -> str:
    return "by purpose" if isinstance(value, Mapping) else "flow's purpose"


Answer = Annotated[
    Annotated[Bool, Tag("flow's purpose")]
    | Annotated[dict[Term, Bool], Field(min_length=1), Tag("by purpose")],
    Discriminator(_shape),
]
"""`true`/`false` asks about the flow's purpose; a mapping names the purposes."""


Transport = Literal["https", "http", "local"]


class Age(Part):
    """An age in whole years: `below` 21, `from` 13; both together are a range."""

    model_config = ConfigDict(json_schema_extra={"minProperties": 1})

    below: Int | None = Field(None, description="holds when the person is younger")
    from_: Int | None = Field(None, alias="from", description="holds at this age and above")

    @model_validator(mode="after")
    def _asks_something(self) -> Self:
        if self.below is None and self.from_ is None:
            raise refuse("PG120", "age needs `below` or `from`", "for example age: {below: 21}")
        return self


class DataAge(Part):
    """The time since the clock of the data's retention started."""

    above: Duration = Field(description="holds when the data are surely older")


class When(Part):
    """A condition on the facts of a flow; several keys mean all of them."""

    model_config = ConfigDict(json_schema_extra={"minProperties": 1})

    all: Annotated[tuple[When, ...], Field(min_length=1)] | None = None
    any: Annotated[tuple[When, ...], Field(min_length=1)] | None = None
    not_: When | None = Field(None, alias="not")
    consent: Answer | None = Field(None, description="given (true), or refused/withdrawn (false)")
    opt_out: Answer | None = Field(None, description="objected or opted out")
    restricted: Bool | None = Field(None, description="the person restricted the processing")
    legal_request: Bool | None = Field(None, description="a documented duty or order to disclose")
    age: Age | None = None
    region: Annotated[tuple[Region, ...], OneOrList()] | None = None
    transport: Annotated[tuple[Transport, ...], OneOrList()] | None = None
    data_age: DataAge | None = None
    facts: Annotated[dict[Id, Bool], Field(min_length=1)] | None = Field(
        None, description="facts that the policy declares under terms.facts"
    )

    @model_validator(mode="after")
    def _asks_something(self) -> Self:
        if not self.model_fields_set:
            raise refuse("PG120", "a condition must ask for something", "leave `when` out instead")
        return self

    def inner(self) -> Iterator[When]:
        """The conditions directly inside `all`, `any` and `not`."""
        yield from self.all or ()
        yield from self.any or ()
        if self.not_ is not None:
            yield self.not_

    def walk(self) -> Iterator[When]:
        """This condition and all below it. Depth is bounded by the loader's cap."""
        yield self
        if self.all is not None or self.any is not None or self.not_ is not None:
            for part in self.inner():
                yield from part.walk()

    def atoms(self) -> int:
        """How many things are asked, here and below: each is evaluated for a flow."""
        found = len(self.model_fields_set)
        for answers in (self.consent, self.opt_out, self.facts):
            found += len(answers) - 1 if isinstance(answers, dict) else 0
        if self.age is not None:
            found += len(self.age.model_fields_set) - 1
        if self.all is not None or self.any is not None or self.not_ is not None:
            found -= sum(part is not None for part in (self.all, self.any, self.not_))
            found += sum(part.atoms() for part in self.inner())
        return found

    def purposes(self) -> Iterator[str]:
        """The purposes that consent and opt_out name, here and below."""
        for part in self.walk():
            for answer in (part.consent, part.opt_out):
                if isinstance(answer, dict):
                    yield from answer

    def fact_names(self) -> Iterator[str]:
        """The declared facts that are asked for, here and below."""
        for part in self.walk():
            yield from part.facts or ()
