"""Conditions as atoms: each asks one thing of the facts and answers holds, fails or unknown.

Layer: engine. A condition tree is split into its atoms and the logic above them. The atoms of all
rules that cover a flow are compiled into one function from facts to an integer, its *state*: two
bits an atom (0 fails, 1 holds, 2 unknown). All logic above the atoms is a function of
that integer, so it runs once per state. Start reading at `split` and `Compiler`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Final, Literal, cast

from policyguard.policy.conditions import When
from policyguard.policy.durations import parse_duration
from policyguard.policy.flow import Facts
from policyguard.policy.regions import place_in
from policyguard.policy.taxonomy import Terms
from policyguard.policy.terms import ancestors

State = Literal[0, 1, 2]
FAILS: Final = 0
HOLDS: Final = 1
UNKNOWN: Final = 2

Kind = Literal[
    "consent",
    "opt_out",
    "restricted",
    "legal_request",
    "age_below",
    "age_from",
    "region",
    "transport",
    "data_age",
    "fact",
    "expired",
    "lifted",
]


@dataclass(frozen=True, slots=True)
class Atom:
    """One question to the facts.

    Attributes:
        kind: what is asked.
        value: the purpose (None: the flow's), number, regions, transports, duration or fact name.
        wanted: the answer that makes the atom hold, for yes/no facts.
    """

    kind: Kind
    value: str | int | tuple[str, ...] | None = None
    wanted: bool = True

    def for_purpose(self, purpose: str) -> Atom:
        """With the flow's purpose filled in, where the rule names none."""
        if self.value is None and self.kind in ("consent", "opt_out"):
            return Atom(self.kind, purpose, self.wanted)
        return self

    @property
    def name(self) -> str:
        """The fact that is asked for, as `Decision.unmet` names it."""
        if self.kind in ("consent", "opt_out"):
            return f"{self.kind}:{self.value}"
        if self.kind in ("age_below", "age_from"):
            return "age"
        if self.kind == "expired":
            return "data_age"
        if self.kind in ("fact", "lifted"):
            return "legal_request" if self.value == "legal_request" else f"facts:{self.value}"
        return self.kind


@dataclass(frozen=True, slots=True)
class Logic:
    """A condition: an atom, or all, any or not of further conditions."""

    op: Literal["atom", "all", "any", "not"]
    atom: Atom | None = None
    parts: tuple[Logic, ...] = ()

    def for_purpose(self, purpose: str) -> Logic:
        """With the flow's purpose filled into its atoms."""
        if self.atom is not None:
            return Logic("atom", self.atom.for_purpose(purpose))
        return Logic(self.op, None, tuple(part.for_purpose(purpose) for part in self.parts))

    def atoms(self) -> list[Atom]:
        """Its atoms, in order, with repeats."""
        if self.atom is not None:
            return [self.atom]
        return [atom for part in self.parts for atom in part.atoms()]


def split(when: When) -> Logic:
    """A condition of a rule as logic over atoms. Several keys mean all of them."""
    found: list[Logic] = []
    if when.all is not None:
        found.append(_both("all", [split(part) for part in when.all]))
    if when.any is not None:
        found.append(_both("any", [split(part) for part in when.any]))
    if when.not_ is not None:
        found.append(Logic("not", None, (split(when.not_),)))
    found += [Logic("atom", atom) for atom in _own_atoms(when)]
    return _both("all", found)


def _both(op: Literal["all", "any"], parts: list[Logic]) -> Logic:
    return parts[0] if len(parts) == 1 else Logic(op, None, tuple(parts))


def _own_atoms(when: When) -> list[Atom]:
    found: list[Atom] = []
    for kind, answer in (("consent", when.consent), ("opt_out", when.opt_out)):
        named = answer if isinstance(answer, Mapping) else {None: answer}
        found += [Atom(cast("Kind", kind), p, w) for p, w in named.items() if w is not None]
    if when.restricted is not None:
        found.append(Atom("restricted", None, when.restricted))
    if when.legal_request is not None:
        found.append(Atom("legal_request", None, when.legal_request))
    if when.age is not None and when.age.below is not None:
        found.append(Atom("age_below", when.age.below))
    if when.age is not None and when.age.from_ is not None:
        found.append(Atom("age_from", when.age.from_))
    if when.region is not None:
        found.append(Atom("region", tuple(sorted(set(when.region)))))
    if when.transport is not None:
        found.append(Atom("transport", tuple(sorted(set(when.transport)))))
    if when.data_age is not None:
        found.append(Atom("data_age", when.data_age.above))
    found += [Atom("fact", name, wanted) for name, wanted in (when.facts or {}).items()]
    return found


def outlived(keep: str, unless: Sequence[str]) -> Logic:
    """The condition of a retention: surely older than `keep`, and nothing known lifts it."""
    expired = Logic("atom", Atom("expired", keep))
    if not unless:
        return expired
    lifts = [Logic("atom", Atom("lifted", name)) for name in sorted(set(unless))]
    return Logic("all", None, (expired, Logic("not", None, (_both("any", lifts),))))


class Asked:
    """Consent or opt-out for one purpose: nearest answer at or above, refusals below count.

    `bad` is the answer that counts from below as well: False for consent, True for opt-out.
    """

    __slots__ = ("_above", "_below", "_declared", "_kept", "_of", "bad")

    def __init__(
        self,
        kind: Literal["consent", "opt_out"],
        purpose: str,
        declared: Terms,
        *,
        kept: bool = True,
    ) -> None:
        self._of, self._kept = kind, kept
        self._above = ancestors(purpose)
        self._below = purpose + "."
        self._declared = declared
        self.bad = kind == "opt_out"

    def of(self, facts: Facts) -> bool | None:
        """The answer that counts, None if there is none or it can't be read."""
        answers: Mapping[str, bool | None] = getattr(facts, self._of)
        if not answers:
            return None
        found = self._answer(answers)
        if self._kept:
            facts.memo[self] = found
        return found

    def _answer(self, answers: Mapping[str, bool | None]) -> bool | None:
        doubt = False
        for purpose, answer in answers.items():
            if purpose.startswith(self._below) and purpose in self._declared:
                if answer is self.bad:
                    return answer
                doubt = doubt or answer is None
        for purpose in self._above:
            if purpose in answers and purpose in self._declared:
                nearest = answers[purpose]
                # Denies: an unreadable answer below may be a refusal.
                return None if doubt and nearest is not self.bad else nearest
        return None


class Place:
    """Whether the flow's region lies in one of several."""

    __slots__ = ("_groups", "_kept")

    def __init__(self, groups: Sequence[str], *, kept: bool = True) -> None:
        self._groups, self._kept = tuple(groups), kept

    def of(self, facts: Facts) -> bool | None:
        """Holds in any of the groups; unknown if the region only contains one."""
        if facts.region is None:
            return None
        answers = [place_in(facts.region, group) for group in self._groups]
        found = True if True in answers else (None if None in answers else False)
        if self._kept:
            facts.memo[self] = found
        return found


class Older:
    """Whether data are surely older than a duration; unknown where the calendar decides."""

    __slots__ = ("_fewest", "_most")

    def __init__(self, limit: str) -> None:
        self._fewest, self._most = parse_duration(limit)

    def of(self, facts: Facts) -> bool | None:
        """Both ends are counted over all calendar starts."""
        if facts.data_age is None:
            return None
        fewest, most = facts.data_age
        if fewest > self._most:
            return True
        return False if most <= self._fewest else None


class Expired(Older):
    """As `Older`, for a retention: only a sure excess counts, an unknown age doesn't."""

    __slots__ = ()

    def of(self, facts: Facts) -> bool | None:
        """Never unknown."""
        return facts.data_age is not None and facts.data_age[0] > self._most


AtomsFunction = Callable[[Facts], int]

# One line of source per kind: `v` is read, then `s` grows. Names are positions; no id, term or
# value of a policy ever enters the source. Constants come in as arguments of the factory.
_READ: Final[Mapping[str, str]] = {
    "question": "v = m.get(c{i}, m)\n        if v is m: v = c{i}.of(f)",
    "restricted": "v = f.restricted",
    "legal_request": "v = f.legal_request",
    "age_below": "v = f.age\n        v = None if v is None else v < c{i}",
    "age_from": "v = f.age\n        v = None if v is None else v >= c{i}",
    "transport": "v = f.transport\n        v = None if v is None else v in c{i}",
    "fact": "v = f.facts.get(c{i})",
    "lifted": "v = f.facts.get(c{i}) is True",
    "lifted_legal": "v = f.legal_request is True",
}


class Compiler:
    """Compiles the atoms of one policy; what several flows ask is compiled once and shared.

    So the answer to a question is remembered once for each person, not once for each flow, and
    flows with the same questions run the same code, which the processor has at hand.
    """

    __slots__ = ("_declared", "_functions", "_questions")

    def __init__(self, declared: Terms) -> None:
        self._declared = declared
        self._functions: dict[tuple[Atom, ...], AtomsFunction] = {}
        self._questions: dict[Atom, object] = {}

    def function(self, atoms: tuple[Atom, ...], *, keep: bool) -> AtomsFunction:
        """One function from facts to the state of all atoms.

        Args:
            atoms: distinct, with the flow's purpose filled in.
            keep: for other flows; not where callers choose the words, of which there is no end.

        Returns:
            facts -> the states, that of atom i in bits 2i and 2i + 1.

        Cost: source is compiled once per shape (the sequence of kinds), then shared.
        """
        found = self._functions.get(atoms)
        if found is None:
            shape = tuple((_shape(atom), atom.wanted) for atom in atoms)
            found = _factory(shape)(*(self._constant(atom, keep=keep) for atom in atoms))
            if keep:
                self._functions[atoms] = found
        return found

    def _constant(self, atom: Atom, *, keep: bool) -> object:
        if _shape(atom) != "question":
            return atom.value
        # Whether yes or no is wanted is asked outside of the question.
        asked = Atom(atom.kind, atom.value)
        found = self._questions.get(asked)
        if found is None:
            found = _question(asked, self._declared, kept=keep)
            if keep:
                self._questions[asked] = found
        return found


def _shape(atom: Atom) -> str:
    if atom.kind in ("consent", "opt_out", "region", "data_age", "expired"):
        return "question"
    if atom.kind == "lifted" and atom.value == "legal_request":
        return "lifted_legal"
    return atom.kind


def _question(atom: Atom, declared: Terms, *, kept: bool) -> object:
    """The constant that asks; `kept` is whether facts may remember its answer, as it is shared."""
    if atom.kind == "consent" or atom.kind == "opt_out":  # noqa: PLR1714 - narrows the type
        return Asked(atom.kind, cast("str", atom.value), declared, kept=kept)
    if atom.kind == "region":
        return Place(cast("tuple[str, ...]", atom.value), kept=kept)
    if atom.kind == "data_age":
        return Older(cast("str", atom.value))
    if atom.kind == "expired":
        return Expired(cast("str", atom.value))
    return atom.value


@lru_cache(maxsize=1024)
def _factory(shape: tuple[tuple[str, bool], ...]) -> Callable[..., AtomsFunction]:
    names = ", ".join(f"c{i}" for i in range(len(shape)))
    lines = [f"def make({names}):", "    def atoms(f):", "        m = f.memo", "        s = 0"]
    for i, (kind, wanted) in enumerate(shape):
        lines.append("        " + _READ[kind].format(i=i))
        answer = "v" if wanted else "(not v)"
        # Hexadecimal, because a decimal literal may not be long, and a policy may ask much.
        one, two = hex(1 << 2 * i), hex(2 << 2 * i)
        lines.append(f"        s += {two} if v is None else {one} * {answer}")
    lines += ["        return s", "    return atoms"]
    space: dict[str, Callable[..., AtomsFunction]] = {}
    exec(compile("\n".join(lines), "<policyguard atoms>", "exec"), space)  # noqa: S102 - source is built from the table above only
    return space["make"]


def digit(state: int, index: int) -> State:
    """The state of atom `index` inside a joint state."""
    return cast("State", state >> 2 * index & 3)
