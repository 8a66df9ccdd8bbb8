"""A policy as frozen data: rules, recipients, notice, retention, obligations.

Layer: policy. These models are the language: the JSON Schema is generated from them, and
`policyguard.policy.assemble` fills them from a file. Start reading at `Policy`.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from typing import Annotated, Final, Literal, Self

from pydantic import (
    BeforeValidator,
    ConfigDict,
    Discriminator,
    Field,
    PrivateAttr,
    Tag,
    model_validator,
)
from pydantic.config import JsonDict

from policyguard.policy.conditions import Part, When
from policyguard.policy.taxonomy import Taxonomy, built_in
from policyguard.policy.terms import (
    BUILT_IN_RECIPIENTS,
    ClauseId,
    Date,
    Duration,
    Host,
    Id,
    OneOrList,
    RecipientKind,
    Region,
    Sha256,
    Term,
    Text,
    refuse,
)

Mark = tuple[str, int, int]
"""File, line and column (1-based) where a part of a policy stands."""

ANY = ("any",)
ANYONE = ("anyone",)
_LONGEST_JOINED: Final = 500
MOST_ATOMS: Final = 64
"""Conditions of one rule, however they are nested; what a flow can cost depends on it."""
FormName = Literal["raw", "encrypted", "pseudonymised", "deidentified", "anonymised", "aggregated"]


def _language(value: object) -> object:
    if value in ("1", 1) and not isinstance(value, bool):
        return 1
    raise refuse(
        "PG115", "this version of the policy language is not known", "write policyguard: 1"
    )


Language = Annotated[Literal[1], BeforeValidator(_language)]
Words = Annotated[tuple[Term, ...], OneOrList("any")]


class FormAsk(Part):
    """Which forms a flow must carry: all of several, or any of them."""

    model_config = ConfigDict(json_schema_extra={"minProperties": 1, "maxProperties": 1})

    all_of: tuple[FormName, ...] | None = Field(None, min_length=1)
    any_of: tuple[FormName, ...] | None = Field(None, min_length=1)

    @model_validator(mode="after")
    def _one_way(self) -> Self:
        if (self.all_of is None) == (self.any_of is None):
            raise refuse("PG111", "`form` needs either `all_of` or `any_of`")
        names = self.all_of or ()
        if "raw" in names and len(names) > 1:
            raise refuse("PG111", "no flow is `raw` and another form at once")
        return self

    def names(self) -> tuple[str, ...]:
        """Every form that is named."""
        return self.all_of or self.any_of or ()


def _form(value: object) -> object:
    if isinstance(value, str):
        return {"any_of": [value]}
    if isinstance(value, (list, tuple)):
        if len(value) != 1:
            hint = "write form: {all_of: [...]} or form: {any_of: [...]}"
            raise refuse("PG111", "`form` with several entries must say which way", hint)
        return {"any_of": list(value)}
    return value


OneForm = Annotated[list[FormName], Field(min_length=1, max_length=1)]
Form = Annotated[
    FormAsk,
    BeforeValidator(_form, json_schema_input_type=FormName | OneForm | FormAsk),
]


class Selector(Part):
    """Recipients by what they are or where: exactly one of kind, located, outside."""

    model_config = ConfigDict(json_schema_extra={"minProperties": 1, "maxProperties": 1})

    kind: RecipientKind | None = None
    located: Region | None = None
    outside: Region | None = None

    @model_validator(mode="after")
    def _one(self) -> Self:
        if sum(value is not None for value in (self.kind, self.located, self.outside)) != 1:
            raise refuse("PG103", "needs exactly one of `kind`, `located`, `outside`")
        return self


def _shape(value: object) -> str:
    return "a selector" if isinstance(value, (Mapping, Selector)) else "an id"


Target = Annotated[
    Annotated[Id, Tag("an id")] | Annotated[Selector, Tag("a selector")],
    Discriminator(_shape),
]
Targets = Annotated[tuple[Target, ...], OneOrList("anyone")]


class Cover(Part):
    """What a forbid or an `except` covers; what is left out means all."""

    data: Words | None = None
    purposes: Words | None = None
    to: Targets | None = None
    form: Form | None = None


class Permit(Part):
    """What a permit covers; everything must be written out."""

    data: Words
    purposes: Words
    to: Targets
    form: Form | None = None


class Except(Cover):
    """Flows that are taken out of a rule; must name something."""

    model_config = ConfigDict(json_schema_extra={"minProperties": 1})

    @model_validator(mode="after")
    def _something(self) -> Self:
        if not self.model_fields_set:
            raise refuse(
                "PG103", "`except` must name something", "it takes everything out as it is"
            )
        return self


_ONE_EFFECT: Final[JsonDict] = {"oneOf": [{"required": ["permit"]}, {"required": ["forbid"]}]}
Excepts = Annotated[tuple[Except, ...], OneOrList()]
Cites = Annotated[tuple[ClauseId, ...], OneOrList()]


class Rule(Part):
    """A permit or a forbid, the flows it covers, its condition, and the clauses that carry it."""

    model_config = ConfigDict(json_schema_extra=_ONE_EFFECT)

    id: Id
    permit: Permit | None = None
    forbid: Cover | None = None
    except_: Excepts | None = Field(None, alias="except")
    when: When | None = None
    if_unknown: Literal["does_not_apply"] | None = None
    cites: Cites = ()

    @model_validator(mode="after")
    def _one_effect(self) -> Self:
        if (self.permit is None) == (self.forbid is None):
            raise refuse("PG103", "a rule needs either `permit` or `forbid`")
        if self.when is not None and self.when.atoms() > MOST_ATOMS:
            message = f"a rule's `when` asks at most {MOST_ATOMS} things"
            raise refuse("PG120", message, "split the rule", at="when")
        if self.if_unknown and (self.permit is not None or self.when is None):
            hint = "it says what an unknown `when` of a forbid means"
            raise refuse("PG103", "`if_unknown` belongs to a forbid with `when`", hint)
        if self.forbid is not None and self.forbid.form is not None:
            asked = set(self.forbid.form.names())
            if asked != {"raw"}:
                hint = "forbid the raw form, and permit the safer ones"
                raise refuse("PG111", "a forbid may ask for form `raw` only", hint)
        return self

    @property
    def cover(self) -> Permit | Cover:
        """What the rule covers, whichever its effect."""
        return self.permit or self.forbid or Cover()

    @property
    def excepts(self) -> tuple[Except, ...]:
        """The `except` entries, none if there are none."""
        return self.except_ or ()


def _retention_id(words: Sequence[str]) -> str:
    """The data joined with `+`; if that is too long the first of them, a count and a digest."""
    joined = "+".join(words)
    if len(joined) <= _LONGEST_JOINED:
        return f"retention:{joined}"
    digest = hashlib.sha256(joined.encode()).hexdigest()[:16]
    return f"retention:{words[0]}+{len(words) - 1}-more-{digest}"


class Retention(Part):
    """How long data are kept: a forbid on older data, whatever the purpose or recipient."""

    id: Annotated[str, Field(pattern=r"^[a-z0-9_.+:-]{1,512}$")] = ""
    data: Words
    keep: Duration
    since: Id
    unless: Annotated[tuple[Id, ...], OneOrList()] = ()
    except_: Excepts | None = Field(None, alias="except")
    cites: Cites = ()

    @model_validator(mode="before")
    @classmethod
    def _named(cls, value: object) -> object:
        if isinstance(value, dict) and "id" not in value:
            data = value.get("data")
            words = [data] if isinstance(data, str) else data
            if isinstance(words, (list, tuple)) and all(isinstance(w, str) for w in words):
                return {"id": _retention_id(words), **value}
        return value

    @property
    def excepts(self) -> tuple[Except, ...]:
        """The `except` entries, none if there are none."""
        return self.except_ or ()


class Obligation(Part):
    """A promise with a clock: parsed, digested and listed; not a flow."""

    id: Id
    do: Id
    after: Id
    within: Duration | None = None
    cites: Cites = ()


class Contract(Part):
    """The agreement under which a recipient works."""

    until: Date


class Recipient(Part):
    """Who gets data: what it is, where, and under which hosts it is reached."""

    kind: RecipientKind
    hosts: tuple[Host, ...] = ()
    located: Region | None = None
    safeguard: Literal["adequacy", "scc", "bcr"] | None = None
    contract: Contract | None = None


class Clause(Part):
    """A part of the published text, in our own words."""

    says: Text
    sha256: Sha256 | None = None
    unenforced: Text | None = None


class Notice(Part):
    """The published text that the policy stands for."""

    title: Text = ""
    updated: Date | None = None
    source: Text | None = None
    clauses: dict[ClauseId, Clause] = Field(default_factory=dict)


class OwnTerms(Part):
    """Terms that a policy adds: data and purposes below existing ones, and facts."""

    data: dict[Term, Text] = Field(default_factory=dict)
    purposes: dict[Term, Text] = Field(default_factory=dict)
    facts: dict[Id, Text] = Field(default_factory=dict)


class NamedOnly(Part):
    """Data that a permit on something above never reaches: it must name them."""

    data: Annotated[tuple[Term, ...], OneOrList()]
    cites: Cites = ()


class PurposeChange(Part):
    """A change of purpose that is allowed inside one chain of calls."""

    from_: Term = Field(alias="from")
    to: Term


class Policy(Part):
    """The promises of one published policy. Order means nothing."""

    policyguard: Language
    id: Id
    title: Text = ""
    version: Text = ""
    extends: Annotated[tuple[Text, ...], OneOrList()] = ()
    notice: Notice = Notice()
    taxonomy: Literal["fideslang"] = "fideslang"
    terms: OwnTerms = OwnTerms()
    named_only: tuple[NamedOnly, ...] = ()
    recipients: dict[Id, Recipient] = Field(default_factory=dict)
    rules: tuple[Rule, ...] = ()
    retention: tuple[Retention, ...] = ()
    obligations: tuple[Obligation, ...] = ()
    purpose_changes: tuple[PurposeChange, ...] | None = None
    at_least: Literal["off", "flag", "redact", "block"] | None = None

    _places: dict[str, Mark] = PrivateAttr(default_factory=dict)

    @property
    def words(self) -> Taxonomy:
        """The built-in taxonomy with this policy's own terms."""
        return built_in().extended(self.terms.data, self.terms.purposes, self.terms.facts)

    @property
    def everyone(self) -> dict[str, Recipient]:
        """All recipients with the built-in ones; those keep their kinds whatever the file says."""
        found = dict(self.recipients)
        for name, kind in BUILT_IN_RECIPIENTS.items():
            given = found.get(name, Recipient(kind="first_party"))
            found[name] = given.model_copy(update={"kind": kind})
        return found

    @property
    def files(self) -> tuple[str, ...]:
        """The files that this policy was read from, parents first; none for text in memory."""
        return tuple(mark[0] for name, mark in self._places.items() if name.startswith("file "))

    def place(self, identifier: str) -> str:
        """`file:line` of a rule or retention, "" if it came from no file."""
        file, line, _ = self.mark(identifier)
        return f"{file}:{line}" if line else ""

    def mark(self, name: str) -> Mark:
        """File, line and column of a part; "" and 0 if it came from no file.

        Args:
            name: the id of a rule or retention, or `section name`: `recipients staff`,
                `clauses 4.2`, `data user.x`, `obligations breach-notice`,
                `policy notice`, `policy title`.
        """
        return self._places.get(name, ("", 0, 0))

    def all_cites(self) -> Iterator[tuple[str, str]]:
        """Every (what cites, clause id)."""
        parts: list[Rule | Retention | Obligation] = [*self.rules, *self.retention]
        for part in [*parts, *self.obligations]:
            yield from ((part.id, clause) for clause in part.cites)
        for root in self.named_only:
            yield from (("named_only", clause) for clause in root.cites)
