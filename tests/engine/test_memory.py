"""What must not matter: the file a policy came from, the hash seed, and what is remembered."""

from __future__ import annotations

import copy
import json
import os
import random
import subprocess
import sys
from pathlib import Path

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, rule, run_state_machine_as_test

from policyguard.engine.compile import Snapshot, compile_policy
from policyguard.policy.assemble import load_policy, policy_from_dict
from policyguard.policy.flow import Facts, close_form
from tests.engine.asking import (
    FLOWS_WANTED,
    asked,
    compiled,
    shown,
    shuffled,
    walk,
    with_default_ids,
)
from tests.engine.generator import Pool, learn, plain, random_context, random_flow, random_policy
from tests.engine.oracle import Answer
from tests.engine.words import OWN_FACTS, Plain

ROOT = Path(__file__).parents[2]


def test_a_policy_survives_being_written_and_read(tmp_path: Path) -> None:
    """A policy read from a file, in any order of keys, means what the dictionary meant."""
    for number, (rng, policy, flows) in enumerate(walk("written")):
        path = tmp_path / f"{number}.yaml"
        path.write_text(json.dumps(shuffled(rng, plain(with_default_ids(policy))), indent=1))
        first = compiled(with_default_ids(policy))
        second = compile_policy(load_policy(path))
        assert first.digest == second.digest, shown(policy)
        for flow in flows[:3]:
            assert asked(first, flow) == asked(second, flow), shown(policy, flow)


FINGERPRINT = """
import hashlib, random
from tests.engine.asking import asked, compiled
from tests.engine.generator import pairs
digest = hashlib.sha256()
for policy, flows in pairs(random.Random(7), 40, 20):
    snapshot = compiled(policy)
    answers = [asked(snapshot, flow) for flow in flows]
    digest.update(repr((snapshot.digest, answers)).encode())
print(digest.hexdigest())
"""


def test_answers_do_not_depend_on_the_hash_seed() -> None:
    """Processes with different hash seeds give the same answers in the same order."""
    found = set()
    for seed in range(int(os.environ.get("POLICYGUARD_HASH_SEEDS", "4"))):
        done = subprocess.run(
            [sys.executable, "-c", FINGERPRINT],
            cwd=ROOT,
            env={**os.environ, "PYTHONHASHSEED": str(seed), "PYTHONPATH": str(ROOT)},
            capture_output=True,
            text=True,
            check=True,
        )
        found.add(done.stdout)
    assert len(found) == 1


ODD = ["", ".", ".user", "USER", "User.contact", "user\x00", "us\u0435r", "ü" * 300, "a." * 5000]


def test_odd_questions_are_denied() -> None:
    """Strings that are no terms, and facts of any shape, are answered and never allowed."""
    for rng, policy, flows in walk("odd"):
        snapshot = compiled(policy)
        flow = {**flows[0], "purpose": flows[0]["purpose"] or "marketing"}
        for part in ("data", "purpose", "recipient"):
            odd = {**flow, part: rng.choice(ODD), "context": rng.choice(flows)["context"]}
            assert asked(snapshot, odd).verdict == "deny", shown(policy, odd)


class Memory(RuleBasedStateMachine):
    """Snapshots and facts that remember answer like fresh ones, through reloads and flips."""

    @initialize(seed=st.integers(0, 2**32))
    def start(self, seed: int) -> None:
        self.rng = random.Random(seed)
        self.policies: list[Plain] = []
        self.snapshots: list[Snapshot] = []
        self.flows: list[Plain] = []
        self.reload()

    @rule()
    def reload(self) -> None:
        """Another policy comes; older snapshots stay in the hands of running requests."""
        policy = random_policy(self.rng)
        small = compile_policy(policy_from_dict(plain(policy)), memo_size=2)
        self.policies += [policy, policy]
        self.snapshots += [compiled(policy), small]
        self.flows = [random_flow(self.rng, policy) for _ in range(3)] + self.flows[:3]
        self.learn()

    @rule()
    def learn(self) -> None:
        """New facts for the running request; their object lives until the next ones."""
        pool: Pool = self.policies[-1]["pool"]
        self.context = random_context(self.rng, pool, self.flows[0]["purpose"])
        self.facts = Facts(self.context)

    @rule(fact=st.sampled_from(["restricted", "legal_request", *OWN_FACTS]))
    def flip(self, fact: str) -> None:
        """One answer changes: consent to everything asked so far, or one named fact."""
        self.context = copy.deepcopy(self.context)
        if fact in OWN_FACTS:
            learn(self.context, "facts", fact, self.rng.random() < 0.5)
        else:
            self.context[fact] = self.rng.random() < 0.5
        for flow in self.flows:
            if flow["purpose"] is not None:
                learn(self.context, "consent", flow["purpose"], self.rng.random() < 0.5)
        self.facts = Facts(self.context)

    @rule(which=st.integers(0, 99), flow=st.integers(0, 99))
    def ask(self, which: int, flow: int) -> None:
        """Any snapshot alive is asked any recent flow and compared with one made afresh."""
        which %= len(self.snapshots)
        asks = {**self.flows[flow % len(self.flows)], "context": self.context}
        form = close_form(asks["form"])
        said = self.snapshots[which].decide(
            asks["data"], form, asks["purpose"], asks["recipient"], self.facts
        )
        fresh = compiled(self.policies[which])
        expected: Answer = asked(fresh, asks)
        answer = (said.verdict, said.reason, *map(tuple, (said.rules, said.clauses, said.unmet)))
        assert answer == expected, shown(self.policies[which], asks)
        assert said.digest == fresh.digest


def test_what_is_remembered_changes_no_answer() -> None:
    """Memo on equals memo off, through reloads and changing facts."""
    runs = max(25, FLOWS_WANTED // 100)
    run_state_machine_as_test(
        Memory,
        settings=settings(
            max_examples=runs,
            stateful_step_count=50,
            deadline=None,
            database=None,
            derandomize=True,
        ),
    )


def test_questions_of_callers_are_not_remembered() -> None:
    """Purposes that callers make up leave nothing behind with the facts, however many there are."""
    snapshot = compile_policy(load_policy(ROOT / "tests" / "enforce" / "picnic.yaml"))
    facts = Facts(consent={"marketing": True}, opt_out={"marketing": False}, region="DE")
    sizes = set()
    for number in range(200):
        purpose = f"marketing.advertising.made_up_{number}"
        snapshot.decide("user.behavior", close_form([]), purpose, "pixel", facts)
        sizes.add(len(facts.memo))
    assert max(sizes) <= 1
    for _ in range(2):
        snapshot.decide("user.behavior", close_form([]), "marketing.advertising", "pixel", facts)
    assert 1 <= len(facts.memo) <= 4
