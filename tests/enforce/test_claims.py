"""Bound functions run in their scope here, and under a claim of it in another process."""

from __future__ import annotations

import asyncio
import gc
import inspect
import pickle
import subprocess
import sys
from collections.abc import AsyncGenerator, Generator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import FrozenInstanceError
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from policyguard.enforce.claims import UNREADABLE, Claim, bind, each_guard, known
from policyguard.enforce.context import Scope, current_scope, restore
from policyguard.engine.compile import compile_policy
from policyguard.policy.assemble import load_policy
from tests.enforce.kit import ACCOUNT, ADDRESS, ADS, LIKES, POLICY, SECURITY, guard

GUARD = guard()
SNAPSHOT = GUARD.snapshot
WHOLE = Claim((ACCOUNT, ADS), "POST /images", "mailer")


def look(*_: object) -> tuple[tuple[str, ...] | None, str | None]:
    """Purposes and route here."""
    scope = current_scope()
    return (None, None) if scope is None else (scope.path, scope.route)


def steps(number: int) -> Generator[Any, Any, str]:
    """A generator that looks at each step and takes what is sent."""
    sent = None
    for _ in range(number):
        sent = yield look()[0], sent
    return "done"


async def wait(value: object) -> tuple[object, object]:
    """A coroutine that looks after it has waited."""
    await asyncio.sleep(0)
    return value, look()[0]


async def asteps(number: int) -> AsyncGenerator[Any, Any]:
    """An async generator that looks at each step."""
    for _ in range(number):
        await asyncio.sleep(0)
        yield look()[0]


def test_a_claim_says_purposes_route_and_reader_and_nothing_about_a_person() -> None:
    """What was known of the person stays here."""
    facts = {"region": "DE", "consent": {ADS: True}}
    outer = GUARD.context(subject=ADDRESS, facts=facts, purpose=ACCOUNT, route="POST /images")
    with outer, GUARD.context(reader="mailer"), GUARD.purpose(ADS), GUARD.purpose(ADS):
        claim = Claim.of(current_scope())
    assert claim == WHOLE
    assert claim.purpose == ADS
    for told in (repr(claim), claim.to_text(), pickle.dumps(claim).decode("latin-1")):
        assert ADDRESS not in told
        assert "DE" not in told
    assert Claim.of(None) is None
    with pytest.raises(FrozenInstanceError):
        claim.route = "GET /"  # type: ignore[misc]  # what is refused


def test_a_claim_arrives_as_it_was_sent() -> None:
    """By pickle and by text, with any words in it."""
    for claim in (WHOLE, Claim(), Claim((), 'GET "/ü\n"'), Claim((ADS,), gpc=True)):
        assert pickle.loads(pickle.dumps(claim)) == claim
        text = claim.to_text()
        assert text.isascii()
        assert "\n" not in text
        assert Claim.from_text(text, SNAPSHOT) == claim


def test_a_claim_out_of_proportion_is_none() -> None:
    """Half of a chain of purposes could hide a change that the policy forbids."""
    scope = Scope(None, None)
    scope.path = (ACCOUNT, ADS) * 9
    assert Claim.of(scope) is None
    scope.path, scope.route = (ACCOUNT,), "x" * 5000
    assert Claim.of(scope) is None


# fmt: off
WRONG = {
    "nothing":              "",
    "no text":              None,
    "bytes":                b"{}",
    "no JSON":              "{",
    "a list":               "[]",
    "deep":                 "[" * 4000,
    "long":                 WHOLE.to_text().replace("POST", "x" * 5000),
    "another version":      WHOLE.to_text().replace('"claim":1', '"claim":2'),
    "true for one":         WHOLE.to_text().replace('"claim":1', '"claim":true'),
    "a key more":           WHOLE.to_text().replace("{", '{"subject":"7",', 1),
    "a key less":           WHOLE.to_text().replace('"route":"POST /images",', ""),
    "an unknown purpose":   WHOLE.to_text().replace(ADS, "marketing.advertisin"),
    "an unknown reader":    WHOLE.to_text().replace("mailer", "mailed"),
    "a path of text":       WHOLE.to_text().replace(f'["{ACCOUNT}","{ADS}"]', f'"{ADS}"'),
    "a path of numbers":    WHOLE.to_text().replace(f'"{ADS}"', "7"),
    "a path too long":      WHOLE.to_text().replace(f'"{ADS}"', ",".join([f'"{ADS}"'] * 40)),
    "a route that is none": WHOLE.to_text().replace('"POST /images"', "null"),
    "an opt-out of text":   WHOLE.to_text().replace("false", '"no"'),
    "an opt-out of null":   WHOLE.to_text().replace("false", "null"),
    "a number too large":   WHOLE.to_text().replace('"claim":1', '"claim":' + "9" * 4000),
}
# fmt: on


@pytest.mark.parametrize("text", WRONG.values(), ids=WRONG)
def test_a_text_that_is_no_claim_is_none_and_never_an_error(text: object) -> None:
    """What comes from outside may be anything."""
    assert Claim.from_text(text, SNAPSHOT) is None


@given(st.text())
def test_no_text_makes_an_error(text: str) -> None:
    """Whatever arrives."""
    claim = Claim.from_text(text, SNAPSHOT)
    assert claim is None or claim.fits(SNAPSHOT)


def test_a_bound_function_runs_in_its_own_scope_here() -> None:
    """In any thread, whatever is current there; and what was is back when it ends."""
    with GUARD.context(subject=7, purpose=ACCOUNT):
        scope = current_scope()
        bound = bind(GUARD, current_scope)
    with GUARD.purpose(ADS), ThreadPoolExecutor(1) as pool:
        assert pool.submit(bound).result() is scope
        assert bound() is scope
        assert look()[0] == (ADS,)
    nowhere = bind(GUARD, look)
    with GUARD.purpose(ADS):
        assert nowhere() == (None, None)


def test_a_bound_function_looks_and_behaves_as_the_function() -> None:
    """Name, signature, documentation, attributes, errors, partials, classes, methods."""

    class Shop:
        """Sells."""

        def sell(self, thing: str, *, times: int = 1) -> tuple[object, ...]:
            """Sell a thing."""
            return self, thing, times, look()[0]

    with GUARD.purpose(ADS):
        bound = bind(GUARD, Shop.sell)
        method = bind(GUARD, Shop().sell)
        made = bind(GUARD, Shop)
        part = bind(GUARD, partial(look, 1))
        odd = bind(GUARD, lambda **given: given)
    assert bound.__name__ == "sell"
    assert bound.__doc__ == "Sell a thing."
    assert inspect.signature(bound) == inspect.signature(Shop.sell)
    assert "sell" in repr(bound)
    assert method("tea", times=2)[1:] == ("tea", 2, (ADS,))
    assert type(made()) is Shop
    assert part()[0] == (ADS,)
    assert odd(self=1, function=2) == {"self": 1, "function": 2}
    Shop.bound = bound  # type: ignore[attr-defined]  # as a decorator puts it there
    shop = Shop()
    assert shop.bound("tea")[0] is shop  # type: ignore[attr-defined]  # as above
    with pytest.raises(TypeError, match="missing 1 required"):
        bound(shop)  # type: ignore[call-arg]  # the function's own error


def test_the_steps_of_a_bound_generator_run_in_the_scope() -> None:
    """The caller's code between the steps doesn't; what is sent, thrown and returned arrives."""
    with GUARD.purpose(ADS):
        bound = bind(GUARD, steps)
    assert inspect.isgenerator(bound(1))
    with GUARD.purpose(SECURITY):
        running = bound(2)
        assert next(running) == ((ADS,), None)
        assert look()[0] == (SECURITY,)
        assert running.send("sent") == ((ADS,), "sent")
        with pytest.raises(StopIteration) as ended:
            running.send(None)
        assert ended.value.value == "done"
    with pytest.raises(TypeError, match="missing 1 required"):
        bound()  # type: ignore[call-arg]  # at the call, as of the function


def test_the_steps_of_bound_async_functions_run_in_the_scope() -> None:
    """Coroutines and async generators, also as tasks beside others."""
    with GUARD.purpose(ADS):
        coroutine, generator = bind(GUARD, wait), bind(GUARD, asteps)

    async def run() -> None:
        with GUARD.purpose(SECURITY):
            found = await asyncio.gather(coroutine(1), wait(2))
            assert list(found) == [(1, (ADS,)), (2, (SECURITY,))]
            assert await coroutine(3) == (3, (ADS,))
            assert look()[0] == (SECURITY,)
            async for seen in generator(2):
                assert seen == (ADS,)
                assert look()[0] == (SECURITY,)

    asyncio.run(run())
    assert inspect.iscoroutinefunction(type(coroutine).__call__)


def test_a_bound_function_that_was_pickled_runs_under_its_claim() -> None:
    """In a new outermost scope of the guard with the policy's id; the person stays behind."""
    made = guard()
    known(made)
    with made.context(subject=ADDRESS, purpose=ACCOUNT, route="POST /images"), made.purpose(ADS):
        raw = pickle.dumps([bind(made, current_scope), bind(made, wait)])
    assert ADDRESS.encode() not in raw
    arrived, coroutine = pickle.loads(raw)
    again = pickle.loads(pickle.dumps(arrived))
    with made.purpose(SECURITY):
        for bound in (arrived, again):
            scope = bound()
            assert (scope.path, scope.route) == ((ACCOUNT, ADS), "POST /images")
            assert (scope.subject, scope.parent) == (None, None)
        assert asyncio.run(coroutine(1)) == (1, (ACCOUNT, ADS))
        assert look()[0] == (SECURITY,)


def test_without_a_guard_of_the_policy_the_claim_is_unreadable() -> None:
    """Nobody can say what it is worth; also once a guard is gone and others are no answer."""
    other, made = guard(), guard()
    with made.purpose(ADS):
        raw = pickle.dumps(bind(made, look))
    stranger = pickle.loads(raw.replace(b"picnic", b"picnik"))
    known(made)
    here = pickle.loads(raw)
    with made.purpose(SECURITY):
        assert stranger() == ((UNREADABLE,), "")
        assert here() == ((ADS,), "")
    del made
    gc.collect()
    assert here() == ((UNREADABLE,), "")
    del other


def test_a_claim_with_words_that_the_policy_does_not_know_counts_for_nothing() -> None:
    """The policy over there may be older."""
    made = guard()
    known(made)
    with made.purpose(ADS):
        raw = pickle.dumps(bind(made, look))
    older = pickle.loads(raw.replace(ADS.encode(), ADS.encode()[:-1] + b"x"))
    with made.purpose(SECURITY):
        assert older() == ((UNREADABLE,), "")
        assert pickle.loads(pickle.dumps(older))() == ((UNREADABLE,), "")


def asked() -> tuple[str, bool | None]:
    """The reason for what happens to behaviour for an advertiser here, and the known opt-out."""
    scope = current_scope()
    out = scope.facts.opt_out.get(ADS) if scope else None
    return GUARD.decide(data=LIKES, to="pixel").reason, out


def test_an_unreadable_claim_is_denied_whatever_the_process_runs_for(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The process's own purpose doesn't take its place, and the person may have opted out."""
    monkeypatch.setattr(GUARD, "job_purpose", ADS)
    known(GUARD)
    with GUARD.purpose(ACCOUNT):
        raw = pickle.dumps(bind(GUARD, asked))
    deep = Scope(None, None)
    deep.path = (ACCOUNT, ADS) * 9
    before = current_scope()
    restore(deep)
    long = pickle.dumps(bind(GUARD, asked))
    restore(before)
    older = raw.replace(ACCOUNT.encode(), ACCOUNT.encode()[:-1] + b"x")
    assert pickle.loads(raw)()[1] is None
    for wrong in (older, raw.replace(b"picnic", b"picnik"), long):
        assert pickle.loads(wrong)() == ("unknown_term", True)
    nowhere = pickle.loads(pickle.dumps(bind(GUARD, asked)))
    assert nowhere() == asked()
    assert nowhere()[0] != "unknown_term"


def test_an_opt_out_by_a_signal_arrives_with_the_claim() -> None:
    """Without it an advertisement that the browser refused would be sent from the other process."""
    known(GUARD)
    for signal in (True, False):
        with GUARD.request("GET", "/", subject=ADDRESS, gpc=signal), GUARD.purpose(ADS):
            raw = pickle.dumps(bind(GUARD, asked))
        assert ADDRESS.encode() not in raw
        arrived = pickle.loads(pickle.dumps(pickle.loads(raw)))
        assert arrived()[1] is (signal or None)
        with GUARD.context(subject="somebody"):
            assert pickle.loads(raw)()[1] is (signal or None)


def test_the_policy_that_a_guard_has_now_counts(tmp_path: Path) -> None:
    """A reload may change the policy's id; two guards that took the same one are no answer."""
    file = tmp_path / "outing.yaml"
    file.write_text(POLICY.read_text().replace("id: picnic", "id: outing", 1))
    snapshot = compile_policy(load_policy(file))
    mine, other = guard(), guard()
    mine.in_force = mine.in_force.but(snapshot=snapshot)
    with mine.purpose(ADS):
        arrived = pickle.loads(pickle.dumps(bind(mine, look)))
    assert arrived() == ((ADS,), "")
    other.in_force = other.in_force.but(snapshot=snapshot)
    assert arrived() == ((UNREADABLE,), "")


def test_who_asks_is_told_of_every_guard_of_the_process() -> None:
    """Of those that are there, those to come, and no more once it has ended."""
    told: list[object] = []
    end = each_guard(told.append)
    assert GUARD in told
    later = guard()
    assert later in told
    end()
    end()
    assert guard() not in told


def test_what_cannot_be_pickled_says_so_as_ever() -> None:
    """A lambda stays where it is, bound or not."""
    with pytest.raises((pickle.PicklingError, AttributeError)):
        pickle.dumps(bind(GUARD, lambda: 1))


PROCESSES = """
import multiprocessing, os, pickle, sys
from concurrent.futures import ProcessPoolExecutor
from policyguard.enforce.claims import bind, known
from policyguard.enforce.context import current_scope
from policyguard.enforce.threads import carry
from tests.enforce.kit import ADS, ADDRESS, guard

if __name__ == "__main__" or WITH_GUARD:
    made = guard()
    known(made)

def look(number=0):
    scope = current_scope()
    subject = None if scope is None else scope.subject
    assert subject is None
    return None if scope is None else scope.path[-1]

def tell(answers):
    answers.put(look())

def main(method):
    context = multiprocessing.get_context(method)
    with made.context(subject=ADDRESS, purpose=ADS):
        bound, telling = bind(made, look), bind(made, tell)
    with ProcessPoolExecutor(1, mp_context=context) as pool:
        told = [pool.submit(bound).result(), pool.submit(look).result()]
        told += pool.map(bound, range(2))
    with context.Pool(1) as pool:
        told += pool.map(bound, range(2))
    answers = context.Queue()
    child = context.Process(target=telling, args=(answers,))
    child.start()
    told.append(answers.get())
    child.join()
    print(*told, sep="; ")

if __name__ == "__main__":
    carry()
    main(sys.argv[1])
"""


@pytest.mark.parametrize(
    ("method", "with_guard", "sees"),
    [("fork", True, ADS), ("spawn", True, ADS), ("spawn", False, UNREADABLE)],
    ids=["fork", "spawn", "spawn without a guard"],
)
def test_a_bound_function_keeps_its_purpose_in_real_processes(
    tmp_path: Path, method: str, with_guard: bool, sees: str
) -> None:
    """Executors, pools and processes; a worker shows no purpose to calls that weren't bound."""
    script = tmp_path / "work.py"
    script.write_text(PROCESSES.replace("WITH_GUARD", str(with_guard)))
    root = Path(__file__).parents[2]
    done = subprocess.run(
        [sys.executable, "-W", "ignore", str(script), method],
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
        cwd=root,
        env={"PYTHONPATH": str(root), "PATH": ""},
    )
    told = done.stdout.strip().split("; ")
    assert told == [sees, "None", sees, sees, sees, sees, sees], done.stderr
