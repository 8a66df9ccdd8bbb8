"""What a column may hold, guessed from its name, its type, its comment and its table.

Layer: catalogs. Start reading at `suggest`. A guess is made from structure alone: no row is read.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from typing import Final

from policyguard.catalogs.guesses import (
    ANSWERS,
    BOOLEAN,
    GUESSES,
    MOMENT,
    NOTHING,
    NUMBER,
    PEOPLE,
    SUBJECTS,
    Guess,
)
from policyguard.policy.schemas import Schema, SchemaColumn, SchemaTable, last_of

_HUMP: Final = re.compile(r"(?<=[a-z0-9])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])")
_NO_WORD: Final = re.compile(r"[^a-z0-9]+")
_LONGEST: Final = 512
# A moment or a yes-or-no can be what these say, and nothing else.
_MOMENTS: Final = frozenset({"user.demographic.date_of_birth", "user.payment.transaction"})


@dataclass(frozen=True, slots=True)
class Suggestion:
    """A guess about one column.

    Attributes:
        data: data category, or "".
        form: the form such values are usually stored in, or "".
        fact: the fact that it may hold, or "": for a person to decide.
        subject: the column says whose row it is.
        why: where the guess comes from, in a few words; names nothing but structure.
    """

    data: str = ""
    form: str = ""
    fact: str = ""
    subject: bool = False
    why: str = ""


def suggest(schema: Schema, table: SchemaTable, column: str) -> Suggestion | None:
    """What a column may hold; None where nothing says so.

    Args:
        schema: for the tables that foreign keys lead to.
        table: the column's table.
        column: its name.

    Cost: O(lines of the table of guesses), remembered by name, table and type.
    """
    one = table.columns[column]
    name, where = words(column), words(last_of(table.name))
    subject = _subject(schema, table, one, name)
    if subject is not None:
        return subject
    kind = one.type.lower()
    fact = _fact(name, kind)
    if fact is not None:
        return fact
    found = _by_name(name, where, kind)
    if found is not None:
        return found
    return _by_comment(one.comment, kind) if one.comment else None


def suggestions(schema: Schema, table: SchemaTable) -> Iterator[tuple[str, Suggestion]]:
    """The columns of a table about which there is a guess, in their order."""
    for column in table.columns:
        found = suggest(schema, table, column)
        if found is not None:
            yield column, found


def is_people(table: SchemaTable) -> bool:
    """Whether the rows of a table are people, by its name."""
    return PEOPLE.search(words(last_of(table.name))) is not None


@lru_cache(maxsize=4096)
def words(name: str) -> str:
    """A name as its words: `billingEmail` and `billing-email` are `_billing_email_`."""
    parted = _HUMP.sub("_", name[:_LONGEST]).lower()
    return f"_{_NO_WORD.sub('_', parted).strip('_')}_"


def _subject(
    schema: Schema, table: SchemaTable, column: SchemaColumn, name: str
) -> Suggestion | None:
    if column.leads_to:
        if any(is_people(one) for one in schema.fitting(column.leads_to)) or PEOPLE.search(
            words(last_of(column.leads_to))
        ):
            return Suggestion(subject=True, why="foreign key to a table of people")
        return None
    if is_people(table) and (column.key or name == "_id_"):
        return Suggestion(subject=True, why="key of a table of people")
    if SUBJECTS.search(name):
        return Suggestion(subject=True, why="name of a column that points to a person")
    return None


def _fact(name: str, kind: str) -> Suggestion | None:
    for fact, pattern in ANSWERS:
        if not pattern.search(name):
            continue
        if fact in ("age", "region") or not kind or BOOLEAN.search(kind) or NUMBER.search(kind):
            return Suggestion(fact=fact, why="name")
    return None


@lru_cache(maxsize=4096)
def _by_name(name: str, where: str, kind: str) -> Suggestion | None:
    if NOTHING.search(name) and not _named_moment(name, where):
        return None
    if BOOLEAN.search(kind):
        return None
    for guess in GUESSES:
        if not _fits(guess, name, where, kind):
            continue
        if MOMENT.search(kind) and guess.data not in _MOMENTS:
            continue
        why = "name" if guess.table is None else "name and table"
        if guess.type is not None:
            why = "type"
        return Suggestion(guess.data, guess.form, why=why)
    return None


def _named_moment(name: str, where: str) -> bool:
    """A moment that is data itself, such as that of a payment."""
    return any(guess.data in _MOMENTS and _fits(guess, name, where, "") for guess in GUESSES)


def _fits(guess: Guess, name: str, where: str, kind: str) -> bool:
    if guess.type is not None and not guess.type.search(kind):
        return False
    if guess.table is not None and not guess.table.search(where):
        return False
    return guess.column.search(name) is not None


def _by_comment(comment: str, kind: str) -> Suggestion | None:
    """A guess from the words of a comment; only by lines that need no table."""
    said = words(comment)
    if BOOLEAN.search(kind) or MOMENT.search(kind):
        return None
    for guess in GUESSES:
        # What is anchored speaks about whole names, and a comment is a sentence.
        plain = guess.table is None and guess.type is None and "$" not in guess.column.pattern
        if plain and guess.column.search(said):
            return Suggestion(guess.data, guess.form, why="comment")
    return None
