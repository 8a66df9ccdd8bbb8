"""Scopes hold what they should, where they should, and leave nothing behind."""

from __future__ import annotations

import asyncio
import contextvars
import threading
from collections.abc import AsyncGenerator, Callable, Generator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from policyguard import NoPurpose, PolicyViolation, TermError
from policyguard.config import Guard
from policyguard.enforce.context import Entered, current_scope
from policyguard.enforce.modes import Modes
from policyguard.engine.compile import compile_policy
from policyguard.policy.assemble import load_policy
from tests.enforce.kit import (
    ACCOUNT,
    ADDRESS,
    ADS,
    COUNTING,
    EMAIL,
    LIKES,
    POLICY,
    SECURITY,
    Memory,
    guard,
)

GUARD = guard()
PURPOSES = (ACCOUNT, SECURITY, ADS, COUNTING)


def path() -> tuple[str, ...]:
    scope = current_scope()
    return scope.path if scope else ()


def test_outside_any_block_there_is_no_scope() -> None:
    """Code that said nothing has no scope and no purpose."""
    assert current_scope() is None
    assert GUARD.current_purpose() is None


def test_the_innermost_purpose_counts_and_the_path_is_kept() -> None:
    """Nested purposes: the inner one decides, all are remembered in order."""
    with GUARD.purpose(ACCOUNT), GUARD.purpose(COUNTING):
        assert GUARD.current_purpose() == COUNTING
        assert path() == (ACCOUNT, COUNTING)
    assert current_scope() is None


def test_one_block_object_can_be_entered_again_and_again() -> None:
    """The same `guard.purpose(...)` nests in itself and leaves exactly."""
    block = GUARD.purpose(ACCOUNT)
    with block:
        outer = current_scope()
        with block:
            assert path() == (ACCOUNT, ACCOUNT)
        assert current_scope() is outer
    assert current_scope() is None


def test_an_exception_restores_what_was_before() -> None:
    """Leaving by an error is leaving."""
    with GUARD.purpose(ACCOUNT):
        before = current_scope()
        with pytest.raises(KeyError), GUARD.purpose(ADS):
            raise KeyError
        assert current_scope() is before


def test_a_block_takes_along_what_was_left_open_inside_it() -> None:
    """A block that someone entered and never left ends with the block around it."""
    with GUARD.purpose(ACCOUNT):
        GUARD.purpose(ADS).__enter__()
        assert GUARD.current_purpose() == ADS
    assert current_scope() is None


def test_leaving_twice_changes_nothing() -> None:
    """An exit without its enter leaves the scope alone."""
    stray = GUARD.purpose(ADS)
    with GUARD.purpose(ACCOUNT):
        before = current_scope()
        stray.__exit__(None, None, None)
        assert current_scope() is before


def test_async_with_is_a_block_too() -> None:
    """`async with` enters and leaves like `with`."""

    async def run() -> tuple[str, ...]:
        async with GUARD.purpose(ACCOUNT), GUARD.purpose(ADS):
            inside = path()
        assert current_scope() is None
        return inside

    assert asyncio.run(run()) == (ACCOUNT, ADS)


@settings(deadline=None)
@given(st.recursive(st.sampled_from(PURPOSES), lambda deeper: st.lists(deeper, max_size=4)))
def test_any_nesting_restores_exactly(tree: Any) -> None:
    """Whatever is nested in whatever, each block finds its own scope again."""

    def walk(node: Any) -> None:
        before = current_scope()
        if isinstance(node, str):
            with GUARD.purpose(node):
                assert GUARD.current_purpose() == node
        else:
            for child in node:
                with GUARD.purpose(ADS):
                    walk(child)
                assert current_scope() is before
        assert current_scope() is before

    walk(tree)


def test_interleaved_generators_keep_their_own_purpose() -> None:
    """Steps of two decorated generators, mixed, each run for their own purpose."""

    def steps(purpose: str) -> Generator[str | None, None, None]:
        @GUARD.purpose(purpose)
        def run() -> Generator[str | None, None, None]:
            for _ in range(3):
                yield GUARD.current_purpose()

        return run()

    first, second = steps(ACCOUNT), steps(ADS)
    seen = []
    with GUARD.purpose(COUNTING):
        for a, b in zip(first, second, strict=True):
            seen.append((a, b))
            assert GUARD.current_purpose() == COUNTING
    assert seen == [(ACCOUNT, ADS)] * 3
    assert current_scope() is None


@settings(deadline=None, max_examples=60)
@given(st.lists(st.integers(0, 3), max_size=24))
def test_generators_keep_what_they_entered_themselves(order: list[int]) -> None:
    """A block that a generator opened is still open at its next step, and nowhere else."""

    @GUARD.purpose(SECURITY)
    def run(mark: str) -> Generator[tuple[str, ...], None, None]:
        for _ in range(3):
            yield path()
            with GUARD.purpose(mark):
                yield path()
                yield path()

    made = [run(PURPOSES[number]) for number in range(4)]
    taken = [0] * 4
    for number in order:
        got = next(made[number], None)
        assert current_scope() is None
        if taken[number] < 9:
            inside = (SECURITY,) if taken[number] % 3 == 0 else (SECURITY, PURPOSES[number])
            assert got == inside
        taken[number] += 1


@settings(deadline=None, max_examples=60)
@given(st.lists(st.integers(0, 3), max_size=24))
def test_async_generators_keep_what_they_entered_themselves(order: list[int]) -> None:
    """A block that an async generator opened is still open at its next step, and nowhere else."""

    @GUARD.purpose(SECURITY)
    async def run(mark: str) -> AsyncGenerator[tuple[str, ...], None]:
        for _ in range(3):
            yield path()
            with GUARD.purpose(mark):
                yield path()
                yield path()

    async def mix() -> None:
        made = [run(PURPOSES[number]) for number in range(4)]
        taken = [0] * 4
        for number in order:
            got = await anext(made[number], None)
            assert current_scope() is None
            if taken[number] < 9:
                inside = (SECURITY,) if taken[number] % 3 == 0 else (SECURITY, PURPOSES[number])
                assert got == inside
            else:
                assert got is None
            taken[number] += 1
        for each in made:
            await each.aclose()

    asyncio.run(mix())


def test_a_cancelled_task_leaves_its_caller_alone() -> None:
    """Cancelling a task in the middle of a block changes no other task's scope."""

    async def run() -> None:
        entered = asyncio.Event()

        @GUARD.purpose(ADS)
        async def sleeper() -> None:
            entered.set()
            await asyncio.Event().wait()

        with GUARD.purpose(ACCOUNT):
            task = asyncio.create_task(sleeper())
            await entered.wait()
            assert GUARD.current_purpose() == ACCOUNT
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
            assert GUARD.current_purpose() == ACCOUNT
        assert current_scope() is None

    asyncio.run(run())


def test_a_cancelled_step_of_an_async_generator_restores() -> None:
    """Cancellation while a decorated async generator waits gives the caller its scope back."""

    @GUARD.purpose(ADS)
    async def numbers() -> AsyncGenerator[int, None]:
        yield 1
        await asyncio.Event().wait()

    async def run() -> None:
        with GUARD.purpose(ACCOUNT):
            made = numbers()
            await anext(made)
            with pytest.raises(TimeoutError):
                await asyncio.wait_for(anext(made), 0.01)
            assert GUARD.current_purpose() == ACCOUNT

    asyncio.run(run())


def test_tasks_and_to_thread_inherit_a_bare_thread_does_not() -> None:
    """Tasks copy the context; a bare thread starts without, so what it does is denied."""

    async def child() -> str | None:
        return GUARD.current_purpose()

    async def run() -> list[str | None]:
        with GUARD.purpose(ACCOUNT):
            task = asyncio.create_task(child())
            thread = await asyncio.to_thread(GUARD.current_purpose)
        return [await task, thread]

    assert asyncio.run(run()) == [ACCOUNT, ACCOUNT]
    seen: list[str | None] = []

    def bare() -> None:
        seen.append(GUARD.current_purpose())
        with pytest.raises(NoPurpose):
            GUARD.check("x", to="pixel", data=EMAIL)

    with GUARD.purpose(ACCOUNT):
        # An empty context, as every thread starts with unless it is told otherwise.
        thread = threading.Thread(target=contextvars.Context().run, args=(bare,))
        thread.start()
        thread.join()
    assert seen == [None]


def test_bind_carries_the_scope_into_an_executor_and_back_out() -> None:
    """`guard.bind` runs a function in the scope of its making; the worker forgets it after."""

    def ask(mark: int) -> tuple[int, str | None]:
        """What a job asks."""
        return mark, GUARD.current_purpose()

    with ThreadPoolExecutor(1) as pool:
        with GUARD.purpose(ACCOUNT):
            bound = GUARD.bind(ask)
        assert (bound.__name__, bound.__doc__) == (ask.__name__, ask.__doc__)
        assert pool.submit(bound, 1).result() == (1, ACCOUNT)
        assert pool.submit(ask, 2).result() == (2, None)

        def fail() -> None:
            raise KeyError

        with GUARD.purpose(ADS):
            failing: Future[None] = pool.submit(GUARD.bind(fail))
        with pytest.raises(KeyError):
            failing.result()
        assert pool.submit(ask, 3).result() == (3, None)


class Requests:
    """Requests of 64 people, of whom every third has consented; counts what crosses over."""

    def __init__(self) -> None:
        self.crossed: list[object] = []
        self.made = 0
        self.lock = threading.Lock()

    @staticmethod
    def context(number: int) -> AbstractContextManager[None]:
        """One person's scope."""
        facts = {"consent": {ADS: number % 3 == 0}}
        return GUARD.context(subject=number, facts=facts, purpose=ADS)

    def decide(self, number: int, times: int = 1) -> None:
        """Ask, and compare with what this person said."""
        for _ in range(times):
            scope = current_scope()
            decision = GUARD.decide(data=LIKES, to="pixel")
            own = scope is not None and scope.subject == number and scope.path == (ADS,)
            if not own or decision.allowed is not (number % 3 == 0):
                self.crossed.append((number, decision))
        with self.lock:
            self.made += times

    def in_thread(self, number: int) -> None:
        """Many in a thread."""
        with self.context(number):
            self.decide(number, 550)

    def in_steps(self, number: int) -> Generator[None, None, None]:
        """Many in the steps of a generator that opens its own scope at each."""
        for _ in range(500):
            with self.context(number):
                self.decide(number)
            yield

    async def in_task(self, number: int) -> None:
        """Many in a task that gives way between them, and one in a thread of its own."""
        with self.context(number):
            for _ in range(11):
                await asyncio.sleep(0)
                self.decide(number, 50)
            await asyncio.to_thread(self.decide, number)

    async def in_tasks(self) -> None:
        """All people at once."""
        async with asyncio.TaskGroup() as group:
            for number in range(64):
                group.create_task(self.in_task(number))


@pytest.mark.slow
def test_no_decision_sees_another_request() -> None:
    """100,000 decisions in threads, tasks, executors and generators: not one crosses over."""
    requests = Requests()
    running = [threading.Thread(target=requests.in_thread, args=(n,)) for n in range(64)]
    running.append(threading.Thread(target=lambda: asyncio.run(requests.in_tasks())))
    for thread in running:
        thread.start()
    with ThreadPoolExecutor(4) as pool:
        for number in range(64):
            with requests.context(number):
                bound = GUARD.bind(requests.decide)
            for _ in range(10):
                pool.submit(bound, number)
        for _ in zip(*(requests.in_steps(number) for number in range(64)), strict=True):
            assert current_scope() is None
    for thread in running:
        thread.join()
    assert requests.crossed == []
    assert requests.made >= 100_000


def test_another_subject_starts_without_facts() -> None:
    """What is known about one person is never taken for another."""
    with GUARD.context(subject="a", facts={"consent": {ADS: True}}, purpose=ADS):
        assert GUARD.decide(data=LIKES, to="pixel").allowed
        with GUARD.context(subject="b"):
            assert GUARD.decide(data=LIKES, to="pixel").verdict == "conditional"
        with GUARD.context(subject="a"):
            assert GUARD.decide(data=LIKES, to="pixel").allowed
        assert GUARD.decide(data=LIKES, to="pixel").allowed


def test_facts_of_the_same_subject_add_up() -> None:
    """A nested context adds facts and takes them away again."""
    with GUARD.context(subject="a", purpose=ADS):
        with GUARD.context(facts={"consent": {ADS: True}}):
            assert GUARD.decide(data=LIKES, to="pixel").allowed
        assert not GUARD.decide(data=LIKES, to="pixel").allowed


def test_values_seen_in_one_request_are_unknown_in_another() -> None:
    """Each request remembers for itself; nested scopes share."""
    with GUARD.context(purpose=ACCOUNT):
        with GUARD.purpose(ADS):
            GUARD.remember(ADDRESS, GUARD.label(EMAIL))
        assert len(GUARD.labels_in(ADDRESS)) == 1
    with GUARD.context(purpose=ACCOUNT):
        assert GUARD.labels_in(ADDRESS) == []


def test_jobs_share_what_they_remember() -> None:
    """One function reads, the next one sends, and each says its own purpose."""
    with GUARD.purpose(ACCOUNT):
        GUARD.remember(ADDRESS, GUARD.label(EMAIL))
    with GUARD.purpose(ADS):
        assert len(GUARD.labels_in(ADDRESS)) == 1


def test_a_thread_that_nobody_bound_is_searched_against_everything_recent() -> None:
    """Forgetting to bind a thread loses its purpose, never the labels."""
    with GUARD.context(purpose=ACCOUNT), ThreadPoolExecutor(1) as pool:
        GUARD.remember(ADDRESS, GUARD.label(EMAIL))
        assert len(pool.submit(GUARD.labels_in, ADDRESS).result()) == 1


@pytest.mark.parametrize(
    ("call", "near"),
    [
        (lambda: GUARD.purpose("marketing.advertisin"), "marketing.advertising"),
        (lambda: GUARD.context(purpose="essential.service.acount"), ACCOUNT),
        (lambda: GUARD.context(reader="sel"), "self"),
    ],
)
def test_a_word_the_policy_does_not_know_fails_at_once(
    call: Callable[[], Entered], near: str
) -> None:
    """An unknown purpose or reader is an error where it is written, with the nearest word."""
    with pytest.raises(TermError) as caught:
        call()
    assert caught.value.hint == f"did you mean `{near}`?"


def test_a_scope_shows_no_person() -> None:
    """The repr of a scope names purposes, never subject or facts."""
    with GUARD.context(subject=ADDRESS, facts={"region": "DE"}, purpose=ADS):
        shown = repr(current_scope())
    assert ADDRESS not in shown
    assert "DE" not in shown
    assert ADS in shown


def _with_changes(tmp_path: Path) -> Guard:
    file = tmp_path / "policy.yaml"
    file.write_text(
        f"{POLICY.read_text()}\npurpose_changes: [{{from: {ACCOUNT}, to: {SECURITY}}}]\n"
    )
    return Guard(compile_policy(load_policy(file)), modes=Modes(), reporters=(Memory(),))


def test_a_purpose_may_only_follow_as_the_policy_lists(tmp_path: Path) -> None:
    """A change that isn't listed denies everything inside it, however deep."""
    made = _with_changes(tmp_path)
    with made.purpose(ACCOUNT):
        with made.purpose(SECURITY):
            made.check("x", to="self", data="user.biometric")
        with made.purpose(ADS), made.purpose(ADS), pytest.raises(PolicyViolation) as caught:
            made.check("x", to="mailer", data=EMAIL)
        assert caught.value.decision.reason == "purpose_change"
        assert caught.value.decision.path == (ACCOUNT, ADS, ADS)
        made.check("x", to="mailer", data=EMAIL)


def test_a_purpose_named_in_a_call_is_a_change_too(tmp_path: Path) -> None:
    """`check(..., purpose=...)` can't get around the listed changes."""
    made = _with_changes(tmp_path)
    with made.purpose(ADS), pytest.raises(PolicyViolation) as caught:
        made.check("x", to="mailer", data=EMAIL, purpose=ACCOUNT)
    assert caught.value.decision.reason == "purpose_change"
    with made.purpose(ACCOUNT):
        made.check("x", to="self", data="user.biometric", purpose=SECURITY)
