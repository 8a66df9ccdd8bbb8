"""A sink's kept answer is the answer: with it and without it every call ends the same.

Random programs run twice on guards of their own: once as they are, once with every kept answer
thrown away before each call. Verdicts and counts must be equal after every step.

`POLICYGUARD_PROPERTY` sets how many steps are made (default 4,000). Start reading at `Side`.
"""

from __future__ import annotations

import os
import random
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack
from datetime import date
from pathlib import Path
from typing import Annotated, Any

import pytest

from policyguard import Category, PolicyViolation
from policyguard.config import Guard
from policyguard.enforce.context import current_scope, restore
from policyguard.enforce.modes import Modes
from policyguard.enforce.ports import Mode
from policyguard.enforce.sinks import Pass
from policyguard.enforce.subjects import Subjects
from tests.enforce.kit import (
    ACCOUNT,
    ADDRESS,
    ADS,
    COUNTING,
    DATA_MAP,
    EMAIL,
    LIKES,
    POLICY,
    SECURITY,
    counts,
)

STEPS = int(os.environ.get("POLICYGUARD_PROPERTY", "4000"))
SEED = os.environ.get("POLICYGUARD_SEED", "2024-11-11")
Mail = Annotated[str | None, Category(EMAIL)]
Like = Annotated[object, Category(LIKES)]


class Text(str):
    """A text of a class of its own."""

    __slots__ = ()


class Number(int):
    """A number of a class of its own."""


# Bare functions; what each gives back shows what reached it.


def nothing() -> Any:
    return "nothing"


def one(value: object) -> Any:
    return value


def typed(to: Mail) -> Any:
    return to


def two_typed(to: Mail, like: Like) -> Any:
    return to, like


def optional(to: Mail = None, other: int = 1) -> Any:
    return to, other


def by_default(to: Mail = "a@b.example") -> Any:
    return to


def only_named(*, like: Like, other: object = None) -> Any:
    return like, other


def rest(*values: object) -> Any:
    return values


def typed_rest(*values: Like) -> Any:
    return values


def more(**values: object) -> Any:
    return values


def typed_more(first: object = 0, **values: Like) -> Any:
    return first, values


def names(type: object, next: Like = None) -> Any:  # noqa: A002 - names that templates may not mistake
    return type, next


class Client:
    """A method's object isn't an argument."""

    def method(self, value: object) -> Any:
        return value

    def __call__(self, like: Like = "x") -> Any:
        return like


BARE: list[Callable[..., Any]] = [
    nothing,
    one,
    typed,
    two_typed,
    optional,
    by_default,
    only_named,
    rest,
    typed_rest,
    more,
    typed_more,
    names,
]
CALLS: list[tuple[tuple[Any, ...], dict[str, Any]]] = [
    ((), {}),
    (("x",), {}),
    ((None,), {}),
    ((Text("x"),), {}),
    ((Number(3),), {}),
    ((["x"],), {}),
    ((ADDRESS,), {}),
    (({"mail": ADDRESS},), {}),
    ((date(2026, 1, 1),), {}),
    (("x", "y"), {}),
    (("x", None), {}),
    ((None, "y"), {}),
    ((), {"to": "x"}),
    ((), {"like": "x"}),
    ((), {"like": "x", "other": 2}),
    ((), {"other": ADDRESS, "like": 1}),
    ((), {"like": None}),
    ((), {"value": "x"}),
    (("x",), {"like": True}),
    ((), {"type": "x", "next": "y"}),
    ((), {"like": "x", "to": "y"}),
]
PURPOSES = [ACCOUNT, ADS, COUNTING, SECURITY]
FORBID = "\n  - id: no-mail\n    forbid: {data: [user.contact], to: [mailer]}\n    cites: ['1']\n"
CHANGES = "\npurpose_changes:\n  - {from: essential.service.account, to: marketing.advertising}\n"


class Store:
    """Whoever has an even number has consented."""

    def facts(self, subject: object) -> Mapping[str, Any]:
        return {"consent": {ADS: subject in (2, 4)}}


@pytest.fixture(scope="module")
def policies(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Policies that differ in what they allow."""
    folder = tmp_path_factory.mktemp("policies")
    text = POLICY.read_text(encoding="utf-8")
    texts = [text, text + FORBID, text + CHANGES, text.replace("    when: {consent: true}\n", "")]
    files = []
    for number, each in enumerate(texts):
        files.append(folder / f"{number}.yaml")
        files[-1].write_text(each)
    return files


class Side:
    """One guard that a program runs on.

    Args:
        kept: whether kept answers may be used.
    """

    def __init__(self, policies: list[Path], *, kept: bool) -> None:
        self.kept = kept
        self.states = [Guard.load(file, data_map=DATA_MAP).in_force for file in policies]
        self.guard = Guard.load(policies[0], data_map=DATA_MAP)
        self.guard.reporters = ()
        self.store = Subjects(Store(), limit=5.0)
        self.stacks: list[ExitStack] = []
        self.used = 0
        self.watched: list[str] = []
        client = Client()
        bare: list[Callable[..., Any]] = [*BARE, client.method, client]
        declared: list[tuple[str, ...]] = [(), (LIKES,)]
        self.sinks: list[Callable[..., Any]] = [
            self.guard.sink(to, data=data)(function)
            for to in ("mailer", "pixel", "counter")
            for data in declared
            for function in bare
        ]

    def enter(self, entry: Any) -> str:
        stack = ExitStack()
        stack.enter_context(entry)
        self.stacks.append(stack)
        return "entered"

    def leave(self) -> str:
        if self.stacks:
            self.stacks.pop().close()
        return "left"

    def call(self, sink: int, call: int) -> Any:
        scope = current_scope()
        if scope is not None:
            held = [key for key, made in scope.inner.items() if type(made) is Pass]
            self.used += len(held)
            if not self.kept:
                for key in held:
                    del scope.inner[key]
        args, kwargs = CALLS[call]
        try:
            return "ran", self.sinks[sink](*args, **kwargs)
        except PolicyViolation as violation:
            return violation.decision.verdict, violation.decision.reason
        except TypeError as error:
            return "TypeError", str(error)

    def mode(self, mode: Mode) -> None:
        self.guard.modes = Modes(mode)

    def watch(self, watching: bool) -> str:
        seen = self.watched
        self.guard.watchers = (lambda judged, at: seen.append(judged.decision.verdict),) * watching
        return "watching"


def _steps(rng: random.Random, sinks: int) -> Iterator[Callable[[Side], Any]]:
    """Random steps; what is called is called often, so that answers are kept and used."""
    yield lambda side: side.enter(side.guard.context(purpose=rng.choice(PURPOSES[:1])))
    favourites = [(rng.randrange(sinks), rng.randrange(len(CALLS))) for _ in range(6)]
    while True:
        kind = rng.random()
        if kind < 0.70:
            sink, call = rng.choice(favourites)
            if rng.random() < 0.3:
                call = rng.randrange(len(CALLS))
            yield lambda side, sink=sink, call=call: side.call(sink, call)  # type: ignore[misc]  # defaults of a lambda
        elif kind < 0.74:
            yield Side.leave
        else:
            yield _other(rng)


def _other(rng: random.Random) -> Callable[[Side], Any]:
    purpose, number = rng.choice(PURPOSES), rng.randrange(4)
    facts = {"consent": {ADS: rng.random() < 0.7}}
    who = rng.choice([1, 2, None])
    # fmt: off
    return rng.choice([
        lambda side: side.enter(side.guard.purpose(purpose)),
        lambda side: side.enter(side.guard.purpose(purpose)),
        lambda side: side.enter(side.guard.context(facts=facts)),
        lambda side: side.enter(side.guard.context(purpose=purpose, facts=facts, subject=who)),
        lambda side: side.enter(side.guard.request("GET", "/", subject=who)),
        lambda side: side.enter(side.guard.context(subjects=[1, 2], facts=facts, purpose=purpose)),
        lambda side: side.guard.swap(side.states[number]),
        lambda side: side.mode("flag" if number else "off"),
        lambda side: side.mode("block"),
        lambda side: side.watch(watching=number == 0),
        lambda side: side.guard.remember(ADDRESS, side.guard.label(EMAIL)) if number == 0 else None,
        lambda side: setattr(side.guard, "subjects", side.store if number == 0 else None),
        lambda side: setattr(side.guard, "job_purpose", [None, ADS, ACCOUNT, COUNTING][number]),
    ])
    # fmt: on


@pytest.mark.slow
def test_a_kept_answer_is_the_answer(policies: list[Path]) -> None:
    """Random programs end the same, step by step, with kept answers and without."""
    used = 0
    for program in range(max(STEPS // 200, 10)):
        rng = random.Random(f"{SEED}-{program}")
        sides = [Side(policies, kept=True), Side(policies, kept=False)]
        scopes: list[Any] = [None, None]
        steps = _steps(rng, len(sides[0].sinks))
        for number in range(200):
            step, ends = next(steps), []
            for place, side in enumerate(sides):
                restore(scopes[place])
                ends.append((step(side), counts(side.guard), list(side.watched)))
                scopes[place] = current_scope()
            assert ends[0] == ends[1], (SEED, program, number)
        for place, side in enumerate(sides):
            restore(scopes[place])
            while side.stacks:
                side.leave()
        restore(None)
        used += sides[0].used
    assert used > STEPS / 20
