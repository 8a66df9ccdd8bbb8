"""Does a condition hold: Kleene logic over the states of its atoms, and which facts are to blame.

Layer: engine. Start reading at `value`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import cast

from policyguard.engine.atoms import FAILS, HOLDS, UNKNOWN, Atom, Logic, State

Look = Callable[[Atom], State]


def value(logic: Logic, look: Look) -> State:
    """HOLDS, FAILS or UNKNOWN.

    Args:
        logic: the condition.
        look: the state of an atom.

    Source: Kleene's strong three-valued logic.
    """
    if logic.atom is not None:
        return look(logic.atom)
    states = [value(part, look) for part in logic.parts]
    if logic.op == "not":
        return UNKNOWN if states[0] == UNKNOWN else cast("State", 1 - states[0])
    decisive: State = FAILS if logic.op == "all" else HOLDS
    if decisive in states:
        return decisive
    return UNKNOWN if UNKNOWN in states else cast("State", 1 - decisive)


def to_blame(logic: Logic, look: Look, wanted: State) -> set[str]:
    """The facts that give a condition its value.

    Args:
        logic: a condition whose value is `wanted`.
        look: the state of an atom.
        wanted: UNKNOWN, or the definite value that is to be explained.

    Returns:
        Names of facts; only parts that have the wanted value themselves are looked into.
    """
    if logic.atom is not None:
        return {logic.atom.name}
    if logic.op == "not":
        inner = UNKNOWN if wanted == UNKNOWN else cast("State", 1 - wanted)
        return to_blame(logic.parts[0], look, inner)
    parts = [part for part in logic.parts if value(part, look) == wanted]
    return set().union(*(to_blame(part, look, wanted) for part in parts))
