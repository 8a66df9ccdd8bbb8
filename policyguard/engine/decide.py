"""From the rules that cover a flow to one Decision.

Layer: engine. `resolve` runs once per flow; `Answer.settle` once per state of its facts; both are
remembered by the Snapshot. Start reading at `resolve`, then `Answer.settle`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Final, Literal

from policyguard.engine.atoms import (
    FAILS,
    HOLDS,
    UNKNOWN,
    Atom,
    AtomsFunction,
    Compiler,
    Logic,
    State,
    digit,
)
from policyguard.engine.covers import Compiled
from policyguard.engine.decision import Decision
from policyguard.engine.holds import to_blame, value
from policyguard.engine.index import Index
from policyguard.policy.flow import Flow, Reason, Verdict
from policyguard.policy.rules import Notice, Recipient
from policyguard.policy.taxonomy import Taxonomy
from policyguard.policy.terms import at_or_below

_STATES: Final = 1024  # of one flow that are remembered; more are worked out each time


@dataclass(frozen=True, slots=True, eq=False)
class Context:
    """A compiled policy's parts.

    Attributes:
        id: the policy's id.
        digest: of its meaning.
        rules: all rules and retentions; an index gives their numbers.
        permits: postings of the permits.
        forbids: postings of the forbids and retentions.
        named_only: (root, cites), sorted.
        recipients: declared and built-in ones.
        taxonomy: all words.
        notice: the published text.
        places: rule id to file:line.
        since: for each retention the event that its clock starts with.
        changes: allowed purpose changes; None allows all.
        nearest: finds the clauses that a denial without rules cites.
        compiler: of the conditions.
    """

    id: str
    digest: str
    rules: tuple[Compiled, ...]
    permits: Index
    forbids: Index
    named_only: tuple[tuple[str, tuple[str, ...]], ...]
    recipients: Mapping[str, Recipient]
    taxonomy: Taxonomy
    notice: Notice
    places: Mapping[str, str]
    since: Mapping[str, str]
    changes: tuple[tuple[str, str], ...] | None
    nearest: Callable[[Context, Flow], tuple[str, ...]]
    compiler: Compiler

    def roots(self, data: str) -> list[tuple[str, tuple[str, ...]]]:
        """The `named_only` roots at, above or below the data."""
        return [
            (root, cites)
            for root, cites in self.named_only
            if at_or_below(data, root) or at_or_below(root, data)
        ]


@dataclass(frozen=True, slots=True)
class Side:
    """A covering rule with its condition for this flow's purpose."""

    rule: Compiled
    when: Logic | None

    def state(self, look: Callable[[Atom], State]) -> State:
        """HOLDS, FAILS or UNKNOWN; a lenient forbid that is unknown fails."""
        if self.when is None:
            return HOLDS
        found = value(self.when, look)
        return FAILS if found == UNKNOWN and self.rule.lenient else found


class Answer:
    """What a flow resolved to: one constant Decision, or atoms and the rules above them.

    Attributes:
        known: every word of the flow is known, so the answer may be remembered.
        atoms: facts to state; None if the answer is `always` the same.
        table: state to Decision, filled as states occur.
    """

    __slots__ = (
        "_certain",
        "_context",
        "_flow",
        "_forbids",
        "_order",
        "_permits",
        "always",
        "atoms",
        "known",
        "table",
    )

    def __init__(
        self, context: Context, flow: Flow, permits: list[Side], forbids: list[Side], *, known: bool
    ) -> None:
        self._context, self._flow = context, flow
        self._permits, self._forbids = permits, forbids
        self.known = known
        self.atoms: AtomsFunction | None = None
        self.table: dict[int, Decision] = {}
        self.always: Decision | None = None
        # Under a forbid without condition no permit can matter; the other forbids still decide too.
        certain = any(side.when is None for side in forbids)
        sides = forbids if certain else [*forbids, *permits]
        asked = [atom for side in sides if side.when for atom in side.when.atoms()]
        # An atom that two rules share is asked once.
        self._order = {atom: i for i, atom in enumerate(dict.fromkeys(asked))}
        self._certain = certain
        if self._order:
            self.atoms = context.compiler.function(tuple(self._order), keep=known)
        else:
            self.always = self.settle(0)

    def settle(self, state: int) -> Decision:
        """The Decision for a state of the atoms. Cost: O(atoms); once per state."""

        def look(atom: Atom) -> State:
            return digit(state, self._order[atom])

        forbids = [(side, side.state(look)) for side in self._forbids]
        needed = () if self._certain else self._permits
        permits = [(side, side.state(look)) for side in needed]
        decision = self._decide(forbids, permits, look)
        if len(self.table) < _STATES:
            self.table[state] = decision
        return decision

    def _decide(
        self,
        forbids: list[tuple[Side, State]],
        permits: list[tuple[Side, State]],
        look: Callable[[Atom], State],
    ) -> Decision:
        if held := [side for side, state in forbids if state == HOLDS]:
            return self._ruled("deny", "forbidden", held)
        doubts = [side for side, state in forbids if state == UNKNOWN]
        holding = [side for side, state in permits if state == HOLDS]
        open_ = [side for side, state in permits if state == UNKNOWN]
        if not permits:
            return constant(self._context, self._flow, "deny", self._why_uncovered())
        if not holding and not open_:
            sides = [side for side, _ in permits]
            return self._ruled("deny", "unmet", sides, self._blame(sides, look, FAILS))
        if holding and not doubts:
            lifted = [side for side, _ in forbids if _lifted(side, look)]
            return self._ruled("allow", "permitted", [*holding, *lifted])
        unknown = [*doubts, *([] if holding else open_)]
        blamed = self._blame(unknown, look, UNKNOWN)
        return self._ruled("conditional", "unknown_facts", [*unknown, *holding], blamed)

    def _why_uncovered(self) -> Reason:
        flow, context = self._flow, self._context
        if not context.taxonomy.purposes.known(flow.purpose or ""):
            return "unknown_term"
        if flow.data and not context.taxonomy.data.known(flow.data):
            return "unknown_term"
        if flow.recipient not in context.recipients:
            return "unknown_recipient"
        return "not_covered" if flow.data else "unlabelled"

    def _ruled(
        self, verdict: Verdict, reason: Reason, sides: Iterable[Side], unmet: set[str] | None = None
    ) -> Decision:
        rules = [side.rule for side in sides]
        clauses = {clause for rule in rules for clause in rule.cites}
        return Decision(
            verdict,
            reason,
            self._flow,
            self._context.digest,
            rules=tuple(sorted({rule.id for rule in rules})),
            clauses=tuple(sorted(clauses)),
            unmet=tuple(sorted(unmet or ())),
        )

    @staticmethod
    def _blame(
        sides: Iterable[Side], look: Callable[[Atom], State], wanted: Literal[0, 2]
    ) -> set[str]:
        parts = [side.when for side in sides if side.when is not None]
        return set().union(*(to_blame(when, look, wanted) for when in parts))


def _lifted(side: Side, look: Callable[[Atom], State]) -> bool:
    """Whether a retention has expired and a fact that is known to be true lifts it."""
    if side.rule.effect != "retention" or side.when is None or side.when.op == "atom":
        return False
    return look(side.when.parts[0].atom) == HOLDS  # type: ignore[arg-type]  # parts[0] is the atom of `outlived`


def constant(context: Context, flow: Flow, verdict: Verdict, reason: Reason) -> Decision:
    """A Decision without rules; its clauses are those of the nearest permits."""
    cited = () if reason == "no_purpose" else (lambda: context.nearest(context, flow))
    return Decision(verdict, reason, flow, context.digest, clauses=cited)


def resolve(context: Context, flow: Flow) -> Answer:
    """Find the rules that cover a flow and what is left to ask of the facts.

    Args:
        context: the compiled policy.
        flow: its form closed under implication.

    Returns:
        An Answer, complete but for the facts.

    Cost: O(candidate rules).
    """
    known_data = not flow.data or context.taxonomy.data.known(flow.data)
    declared = flow.recipient in context.recipients
    if flow.purpose is None:
        answer = Answer(context, flow, [], [], known=False)
        answer.atoms, answer.always = None, constant(context, flow, "deny", "no_purpose")
        return answer
    known = known_data and declared and context.taxonomy.purposes.known(flow.purpose)
    purpose = flow.purpose

    def sides(index: Index) -> list[Side]:
        found = index.candidates(flow.data, purpose, flow.recipient, declared=declared)
        rules = [context.rules[number] for number in found]
        return [
            Side(rule, None if rule.when is None else rule.when.for_purpose(purpose))
            for rule in rules
            if rule.takes(flow, declared=declared)
        ]

    permits: list[Side] = []
    if known and flow.data:
        roots = [root for root, _ in context.roots(flow.data)]
        permits = [
            side
            for side in sides(context.permits)
            if all(side.rule.names(root, flow.data) for root in roots)
        ]
    exact = known and flow.data in context.taxonomy.data and purpose in context.taxonomy.purposes
    return Answer(context, flow, permits, sides(context.forbids), known=exact)
