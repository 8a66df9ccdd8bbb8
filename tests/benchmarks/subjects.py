"""What the benchmarks ask about: one policy, its requests, and the plain look-up to compare with.

One rule for each (data, purpose, recipient); in turn without condition, with consent, with consent
and age. One request in ten matches no rule. Start reading at `Subject`.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass
from itertools import product
from typing import Any, Literal

from policyguard.engine.compile import Snapshot, compile_policy
from policyguard.policy.assemble import policy_from_dict
from policyguard.policy.flow import RAW, Facts
from policyguard.policy.rules import Policy

Condition = Literal["none", "consent", "consent and age"]
CONDITIONS: tuple[Condition, ...] = ("none", "consent", "consent and age")
SHAPES = {150: (10, 5, 3), 10_000: (40, 25, 10), 100_000: (100, 40, 25)}
ADULT = 13
PEOPLE = 16

Key = tuple[str, str, str]
Person = tuple[bool, int]


@dataclass(frozen=True, slots=True)
class Request:
    """One question, with what each engine needs to answer it, and the right answer."""

    key: Key
    consent: bool
    age: int
    facts: Facts
    allowed: bool


class Subject:
    """A policy of `size` rules and 2,000 requests, made from a fixed seed."""

    def __init__(self, size: int, *, requests: int = 2_000) -> None:
        self.size = size
        data, purposes, recipients = SHAPES[size]
        self.data = [f"user.content.bench.d{i}" for i in range(data)]
        self.purposes = [f"marketing.advertising.bench.p{i}" for i in range(purposes)]
        self.recipients = [f"partner_{i}" for i in range(recipients)]
        keys = product(self.data, self.purposes, self.recipients)
        self.rules: dict[Key, Condition] = {
            key: CONDITIONS[number % len(CONDITIONS)] for number, key in enumerate(keys)
        }
        self.requests = self._requests(requests)

    def _requests(self, count: int) -> list[Request]:
        rng = random.Random(20_260_101)
        keys = list(self.rules)
        everyone = dict.fromkeys(self.purposes, True), dict.fromkeys(self.purposes, False)
        people = [(rng.random() < 0.8, rng.choice((9, 30, 41))) for _ in range(PEOPLE)]
        facts = [Facts(consent=everyone[not agreed], age=age) for agreed, age in people]
        found = []
        for _ in range(count):
            key = rng.choice(keys)
            if rng.random() < 0.1:
                key = (key[0], key[1], "nobody")
            who = rng.randrange(PEOPLE)
            agreed, age = people[who]
            allowed = {
                None: False,
                "none": True,
                "consent": agreed,
                "consent and age": agreed and age >= ADULT,
            }[self.rules.get(key)]
            found.append(Request(key, agreed, age, facts[who], allowed))
        return found

    def tree(self) -> dict[str, Any]:
        """The policy as the plain tree of its YAML."""
        terms = {
            "data": dict.fromkeys(("user.content.bench", *self.data), "one kind"),
            "purposes": dict.fromkeys(("marketing.advertising.bench", *self.purposes), "one use"),
        }
        partners = {
            name: {"kind": "ad_pixel", "hosts": [f"{name.replace('_', '-')}.example"]}
            for name in (*self.recipients, "nobody")
        }
        when: dict[Condition, dict[str, Any]] = {
            "none": {},
            "consent": {"when": {"consent": True}},
            "consent and age": {"when": {"all": [{"consent": True}, {"age": {"from": ADULT}}]}},
        }
        rules = [
            {
                "id": f"rule-{number}",
                "permit": {"data": [key[0]], "purposes": [key[1]], "to": [key[2]]},
                **when[condition],
                "cites": ["1"],
            }
            for number, (key, condition) in enumerate(self.rules.items())
        ]
        return {
            "policyguard": 1,
            "id": "bench",
            "notice": {"clauses": {"1": {"says": "everything of this benchmark"}}},
            "terms": terms,
            "recipients": partners,
            "rules": rules,
        }

    def policy(self) -> Policy:
        """The policy, loaded from its tree."""
        if self.size <= 10_000:
            return policy_from_dict(self.tree())
        return Policy.model_validate(self.tree())

    def snapshot(self, **more: Any) -> Snapshot:
        """The policy, compiled."""
        return compile_policy(self.policy(), **more)

    def questions(self) -> list[tuple[str, str, str, Facts]]:
        """(data, purpose, recipient, facts) of every request."""
        return [(*request.key, request.facts) for request in self.requests]

    def closure(self) -> Callable[[str, str, str], object]:
        """The yardstick: a function that does one dict.get on a tuple of three."""
        table: dict[Key, Condition] = dict(self.rules)

        def look(data: str, purpose: str, recipient: str) -> object:
            return table.get((data, purpose, recipient))

        return look


def looker(look: Callable[[str, str, str], object], subject: Subject) -> Callable[[], None]:
    """One pass of the plain look-up over all requests."""
    questions = subject.questions()

    def run() -> None:
        for data, purpose, recipient, _ in questions:
            look(data, purpose, recipient)

    return run


def decider(snapshot: Snapshot, subject: Subject) -> Callable[[], None]:
    """One pass of `decide` over all requests."""
    questions, decide = subject.questions(), snapshot.decide

    def run() -> None:
        for data, purpose, recipient, facts in questions:
            decide(data, RAW, purpose, recipient, facts)

    return run


def wrong(snapshot: Snapshot, subject: Subject) -> int:
    """How many requests are answered otherwise than the rules say."""
    return sum(
        snapshot.decide(r.key[0], RAW, r.key[1], r.key[2], r.facts).allowed != r.allowed
        for r in subject.requests
    )
