"""Can a condition hold at all: a search over everything that its atoms tell apart.

Layer: policy. For the lint only; what a condition means for a flow is decided in
`policyguard.engine`. Start reading at
`Search.can_hold`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import lru_cache
from itertools import chain, product
from math import prod
from typing import Any, Final

from policyguard.policy.conditions import When
from policyguard.policy.durations import parse_duration
from policyguard.policy.flow import TRANSPORTS
from policyguard.policy.regions import COUNTRIES, place_in

_MOST_WORLDS: Final = 4_096
_MOST_ANSWERS: Final = 200_000
_FEW_PLACES: Final = 8
_SMALL: Final = 512  # as nearly all conditions are; 10,000 of them are not too many
Atom = tuple[str, Any]
"""What is asked (`age`, `region`, ...) and of which bound, place, purpose or name."""
Truth = bool | None
"""Holds, fails, or can't be told."""
World = Callable[[Atom], Truth]
Answers = Mapping[Atom, Truth]


class Search:
    """Looks for facts that make a condition hold, and gives up quietly when it takes too long."""

    __slots__ = ("_left",)

    def __init__(self) -> None:
        self._left = _MOST_ANSWERS

    def can_hold(self, when: When) -> bool:
        """Whether some facts make the condition hold; True also when there are too many to try.

        Facts count as independent of each other: a condition that only fails because a refusal for
        one purpose answers for another is not found. Cost: at most 4,096 evaluations, and 200,000
        answers of atoms for all large conditions of one search together.
        """
        asked: dict[str, dict[Atom, None]] = {}
        for atom, _ in chain.from_iterable(_atoms(part) for part in when.walk()):
            group = atom[0] if atom[0] in _WORLDS else str(atom)
            asked.setdefault(group, {})[atom] = None
        cost = sum(_cost(group, atoms) for group, atoms in asked.items())
        if cost > _SMALL and not self._spend(cost):
            return True
        dimensions = [_distinct(group, tuple(atoms)) for group, atoms in asked.items()]
        worlds = prod(len(found) for found in dimensions)
        if worlds > _MOST_WORLDS:
            return True
        atoms = sum(len(found) for found in asked.values())
        small = worlds * atoms <= _SMALL
        for world in product(*dimensions):
            if not small and not self._spend(atoms):
                return True
            if _holds(when, dict(chain.from_iterable(world))) is True:
                return True
        return False

    def _spend(self, answers: int) -> bool:
        self._left -= answers
        return self._left > 0


def can_hold(when: When) -> bool:
    """As `Search.can_hold`, for one condition."""
    return Search().can_hold(when)


def _cost(group: str, atoms: Iterable[Atom]) -> int:
    """How many answers it takes at most to tell the atoms of one group apart."""
    if group == "region":
        codes = sum(len(codes) for _, codes in atoms)
        return codes * (len(COUNTRIES) + codes) if codes > _FEW_PLACES else 0
    return 2 * len(list(atoms)) ** 2


def _atoms(part: When) -> Iterator[tuple[Atom, bool]]:
    """What one condition asks itself, without the conditions inside it, and the answer it wants."""
    for name in ("consent", "opt_out", "facts"):
        answer = getattr(part, name)
        if isinstance(answer, bool):
            yield (name, ""), answer
        for key, wanted in answer.items() if isinstance(answer, Mapping) else ():
            yield (name, key), wanted
    for name in ("restricted", "legal_request"):
        if (wanted := getattr(part, name)) is not None:
            yield (name, ""), wanted
    if part.age is not None and part.age.below is not None:
        yield ("age", ("below", part.age.below)), True
    if part.age is not None and part.age.from_ is not None:
        yield ("age", ("from", part.age.from_)), True
    if part.region is not None:
        yield ("region", part.region), True
    if part.transport is not None:
        yield ("transport", part.transport), True
    if part.data_age is not None:
        yield ("data_age", part.data_age.above), True


def _holds(when: When, answers: Answers) -> Truth:
    """Three-valued: all, any and not as the language has them."""
    found = [_wanted(answers[atom], wanted=wanted) for atom, wanted in _atoms(when)]
    if when.all is not None:
        found.append(_all([_holds(part, answers) for part in when.all]))
    if when.any is not None:
        inner = [_holds(part, answers) for part in when.any]
        found.append(_not(_all([_not(value) for value in inner])))
    if when.not_ is not None:
        found.append(_not(_holds(when.not_, answers)))
    return _all(found)


def _wanted(answer: Truth, *, wanted: bool) -> Truth:
    return None if answer is None else answer is wanted


def _all(values: Iterable[Truth]) -> Truth:
    found = list(values)
    if any(value is False for value in found):
        return False
    return None if any(value is None for value in found) else True


def _not(value: Truth) -> Truth:
    return None if value is None else not value


def _ages(atoms: list[Atom]) -> list[World]:
    bounds: list[int] = [atom[1][1] for atom in atoms]
    ages = {0, *bounds, *(bound - 1 for bound in bounds if bound)}

    def world(age: int) -> World:
        return lambda atom: age < atom[1][1] if atom[1][0] == "below" else age >= atom[1][1]

    return [world(age) for age in sorted(ages)]


def _places(atoms: list[Atom]) -> list[World]:
    named: set[str] = {code for _, codes in atoms for code in codes}

    def world(place: str) -> World:
        def inside(atom: Atom) -> Truth:
            found = [place_in(place, code) for code in atom[1]]
            return _not(_all([_not(value) for value in found]))

        return inside

    # Somewhere else in a state of which only parts are named; codes of parts are a matter of shape.
    elsewhere = {f"{code[:2]}-ZZZ" for code in named if "-" in code}
    return [world(place) for place in sorted(COUNTRIES | named | elsewhere)]


def _transports(_: list[Atom]) -> list[World]:
    def world(transport: str) -> World:
        return lambda atom: transport in atom[1]

    return [world(transport) for transport in sorted(TRANSPORTS)]


def _spans(atoms: list[Atom]) -> list[World]:
    limits = {str(above): parse_duration(str(above))[1] for _, above in atoms}

    def world(seconds: int) -> World:
        return lambda atom: seconds > limits[str(atom[1])]

    return [world(seconds) for seconds in sorted({0, *(most + 1 for most in limits.values())})]


def _answers(_: list[Atom]) -> list[World]:
    return [lambda _: True, lambda _: False]


_WORLDS: Final[Mapping[str, Callable[[list[Atom]], list[World]]]] = {
    "age": _ages,
    "region": _places,
    "transport": _transports,
    "data_age": _spans,
}


@lru_cache(maxsize=256)
def _distinct(group: str, atoms: tuple[Atom, ...]) -> list[tuple[tuple[Atom, Truth], ...]]:
    """Every different way in which the world can answer these atoms."""
    worlds = _WORLDS.get(group, _answers)(list(atoms))
    return list(dict.fromkeys(tuple((atom, world(atom)) for atom in atoms) for world in worlds))
