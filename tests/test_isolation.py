"""No decision sees another piece of work: its purpose, its facts, its subject.

Many pieces of work run at once, each for a person of its own: in threads, tasks, executors, in
generators of both kinds, in nested scopes, and half-run ones that are dropped in the middle of
others. Every decision is compared with what its own piece of work said.

`POLICYGUARD_ISOLATION` sets how many decisions are made (default 1,000,000). Start reading at
`Work`.
"""

from __future__ import annotations

import asyncio
import gc
import os
import random
import threading
from collections import Counter
from collections.abc import AsyncGenerator, Callable, Generator, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager, suppress
from typing import Any, ClassVar

import pytest

from policyguard import PolicyViolation
from policyguard.enforce.context import current_scope
from policyguard.enforce.threads import carry
from tests.enforce.kit import ACCOUNT, ADS, COUNTING, EMAIL, LIKES, SECURITY, guard

DECISIONS = int(os.environ.get("POLICYGUARD_ISOLATION", "1000000"))
GUARD = guard()
BURST = 40
# fmt: off
# What is asked, and whether it is allowed for a purpose with consent and without.
PLAN: dict[str, tuple[str, str, bool, bool]] = {
    ADS:      (LIKES, "pixel",   True,  False),
    COUNTING: (LIKES, "counter", True,  True),
    ACCOUNT:  (EMAIL, "mailer",  True,  True),
    SECURITY: (EMAIL, "mailer",  False, False),
}
# fmt: on
PURPOSES = list(PLAN)


@GUARD.sink("pixel", data=LIKES)
def show_ad(event: int) -> int:
    """One sink for everybody: what one may send another may not."""
    return event


@GUARD.sink("counter", data=LIKES)
def tally_up(event: int) -> int:
    """As above."""
    return event


@GUARD.sink("mailer", data=EMAIL)
def mail(event: int) -> int:
    """As above."""
    return event


SINKS: dict[str, Callable[[int], int]] = {"pixel": show_ad, "counter": tally_up, "mailer": mail}


class Work:
    """What one piece of work said, and what its decisions must be.

    Attributes:
        person: the subject, also known by whether they consented: even ones did.
        purpose: why it runs.
    """

    crossed: ClassVar[list[str]] = []
    made: ClassVar[Counter[str]] = Counter()

    def __init__(self, person: int, purpose: str | None = None) -> None:
        self.person = person
        self.purpose = purpose or PURPOSES[person // 2 % len(PURPOSES)]

    @property
    def facts(self) -> dict[str, Any]:
        """Consent of this person."""
        return {"consent": {ADS: self.person % 2 == 0}}

    def scope(self) -> Any:
        """The scope of the person's request, with the purpose."""
        return GUARD.context(subject=self.person, facts=self.facts, purpose=self.purpose)

    def request(self) -> Any:
        """The scope of the person's request; the purpose comes later, by a decorator."""
        return GUARD.request("GET", "/", subject=self.person, facts=self.facts)

    def for_purpose(self, purpose: str) -> Work:
        """The same person, another purpose inside."""
        return Work(self.person, purpose)

    def decide(self, where: str, times: int = BURST) -> None:
        """Ask, and send by the shared sinks; what isn't this work's own is told."""
        data, to, consenting, refusing = PLAN[self.purpose]
        wanted = consenting if self.person % 2 == 0 else refusing
        scope = current_scope()
        own = scope is not None and scope.subject == self.person and scope.purpose == self.purpose
        for number in range(times):
            # A denied call costs its message, so mostly the question alone is asked then.
            if (number % 8 > 0) is wanted:
                allowed = _sent(to, number)
            else:
                decision = GUARD.decide(data=data, to=to)
                own = own and decision.flow.purpose == self.purpose
                allowed = decision.allowed
            if not own or allowed is not wanted:
                self.crossed.append(f"{where}: person {self.person}, {self.purpose}, {scope!r}")
        self.made[where] += times


def _sent(to: str, number: int) -> bool:
    try:
        return SINKS[to](number) == number
    except PolicyViolation:
        return False


@pytest.fixture(autouse=True)
def _quiet(caplog: pytest.LogCaptureFixture) -> Iterator[None]:
    """A denied flow is reported each time; a million lines prove nothing."""
    reporters, GUARD.reporters = GUARD.reporters, ()
    Work.crossed.clear()
    Work.made.clear()
    yield
    GUARD.reporters = reporters


# One decorated function for all: its scopes are kept with the scopes it is called in.


def _decorated(purpose: str) -> dict[str, Callable[..., Any]]:
    mark = GUARD.purpose(purpose)

    @mark
    def sync(work: Work) -> None:
        work.decide("decorated function")

    @mark
    async def later(work: Work) -> None:
        work.decide("decorated coroutine", BURST // 2)
        await asyncio.sleep(0)
        work.decide("decorated coroutine", BURST // 2)

    @mark
    def steps(work: Work) -> Generator[None, None, None]:
        for _ in range(4):
            work.decide("decorated generator", BURST // 4)
            yield

    @mark
    async def async_steps(work: Work) -> AsyncGenerator[None, None]:
        for _ in range(4):
            await asyncio.sleep(0)
            work.decide("decorated async generator", BURST // 4)
            yield

    return {"sync": sync, "later": later, "steps": steps, "async_steps": async_steps}


SHARED = {purpose: _decorated(purpose) for purpose in PURPOSES}


class Many:
    """All pieces of work; `share` is how many decisions each way of running may take."""

    def __init__(self, decisions: int) -> None:
        self.share = max(decisions // 6, 4_000)
        self.rng = random.Random(15)

    def rounds(self, each: int) -> range:
        """Persons until the share is used up."""
        return range(max(self.share // each, 8))

    # 64 threads.

    def threads(self) -> None:
        """Threads with scopes of their own, and a nested one for another purpose."""
        rounds = len(self.rounds(64 * 3 * BURST))

        def run(person: int) -> None:
            for turn in range(rounds):
                work = Work(person + 64 * turn)
                with work.scope():
                    work.decide("thread")
                    inner = work.for_purpose(PURPOSES[turn % 4])
                    SHARED[inner.purpose]["sync"](inner)
                    work.decide("thread after another purpose")
                assert current_scope() is None

        running = [threading.Thread(target=run, args=(person,)) for person in range(64)]
        for thread in running:
            thread.start()
        for thread in running:
            thread.join()

    # Thousands of tasks.

    async def tasks(self) -> None:
        """Tasks that give way, that are cancelled, that fail, and that use threads."""
        persons = self.rounds(3 * BURST)
        for start in range(0, len(persons), 2_000):
            chunk = persons[start : start + 2_000]
            tasks = [asyncio.create_task(self.task(Work(person))) for person in chunk]
            for task in tasks[::7]:
                asyncio.get_running_loop().call_soon(task.cancel)
            await asyncio.gather(*tasks, return_exceptions=True)

    async def task(self, work: Work) -> None:
        """One of them."""
        with work.scope():
            work.decide("task")
            try:
                await asyncio.sleep(0)
                work.decide("task")
                await SHARED[work.purpose]["later"](work)
                if work.person % 5 == 0:
                    raise KeyError
                if work.person % 50 == 1:
                    await asyncio.to_thread(work.decide, "to_thread")
            finally:
                work.decide("task that ends")

    async def requests(self) -> None:
        """Requests of different people that share decorated functions."""
        persons = self.rounds(3 * BURST)

        async def serve(work: Work) -> None:
            async with work.request():
                await SHARED[work.purpose]["later"](work)
                SHARED[work.purpose]["sync"](work)
                inner = work.for_purpose(PURPOSES[work.person % 4])
                await SHARED[inner.purpose]["later"](inner)

        for start in range(0, len(persons), 1_000):
            chunk = persons[start : start + 1_000]
            await asyncio.gather(*(serve(Work(person)) for person in chunk))

    # Executors.

    def executors(self) -> None:
        """Bound functions, and functions submitted with threads hooked."""
        undo = carry()
        try:
            with ThreadPoolExecutor(8) as pool:
                waiting: list[Future[None]] = []
                for person in self.rounds(2 * BURST):
                    work = Work(person)
                    with work.scope():
                        waiting.append(pool.submit(work.decide, "hooked executor"))
                    with work.request(), GUARD.purpose(work.purpose):
                        bound = GUARD.bind(work.decide)
                    waiting.append(pool.submit(bound, "bound in executor"))
                for future in waiting:
                    future.result()
        finally:
            undo()

    # Generators, mixed across scopes.

    def generators(self) -> None:
        """Each step of one is made in the scope of another; many are never finished."""
        open_ones: list[tuple[Work, Generator[None, None, None]]] = []
        for person in self.rounds(BURST):
            work = Work(person)
            with work.request():
                open_ones.append((work, SHARED[work.purpose]["steps"](work)))
                next(open_ones[-1][1])
            for _ in range(3):
                self._step(open_ones)
        while open_ones:
            self._step(open_ones)

    def _step(self, open_ones: list[tuple[Work, Generator[None, None, None]]]) -> None:
        if not open_ones:
            return
        place = self.rng.randrange(len(open_ones))
        other = Work(self.rng.randrange(1_000))
        with other.scope():
            move = self.rng.random()
            with suppress(StopIteration, KeyError):
                if move < 0.02:
                    open_ones.pop(place)
                elif move < 0.04:
                    open_ones.pop(place)[1].close()
                elif move < 0.06:
                    open_ones.pop(place)[1].throw(KeyError)
                else:
                    self._next(open_ones, place)
            other.decide("beside a generator", 4)

    @staticmethod
    def _next(open_ones: list[tuple[Work, Generator[None, None, None]]], place: int) -> None:
        try:
            next(open_ones[place][1])
        except StopIteration:
            open_ones.pop(place)

    async def async_generators(self) -> None:
        """As above, in tasks: stepped in the scope of another request, some left behind."""

        async def serve(person: int) -> None:
            work, other = Work(person), Work(person + 1)
            with work.request():
                made = SHARED[work.purpose]["async_steps"](work)
                await anext(made)
            with other.scope():
                for _ in range(3):
                    await anext(made)
                    other.decide("beside an async generator", 10)
                if person % 3 == 0:
                    await made.aclose()
                elif person % 3 == 1:
                    with suppress(KeyError):
                        await made.athrow(KeyError)
                del made
                await asyncio.sleep(0)
                other.decide("beside an async generator", 10)

        persons = self.rounds(2 * BURST)
        for start in range(0, len(persons), 1_000):
            await asyncio.gather(*(serve(person) for person in persons[start : start + 1_000]))


@pytest.mark.slow
def test_no_decision_sees_another_piece_of_work() -> None:
    """A million decisions, in every way that Python runs code at once: none crosses over."""
    many = Many(DECISIONS)
    many.executors()
    many.generators()
    beside = threading.Thread(target=many.threads)
    beside.start()
    asyncio.run(many.tasks())
    asyncio.run(many.requests())
    asyncio.run(many.async_generators())
    beside.join()
    assert Work.crossed[:5] == []
    assert sum(Work.made.values()) >= DECISIONS
    assert len(Work.made) == 13
    assert current_scope() is None


# Half-run ones that are dropped: closed by whoever happens to run then.


@contextmanager
def _in_the_middle_of(work: Work) -> Iterator[None]:
    with work.scope():
        before = current_scope()
        yield
        assert current_scope() is before
        work.decide("after somebody was closed", 8)


class Parked:
    """Awaited, it suspends; nobody ever wakes it."""

    def __await__(self) -> Generator[None, None, None]:
        yield


SEEN: list[tuple[str | None, object]] = []


def _sees() -> None:
    scope = current_scope()
    SEEN.append((scope.purpose, scope.subject) if scope else (None, None))


@GUARD.purpose(ADS)
async def parked() -> None:
    """Cleans up when it is closed."""
    try:
        await Parked()
    finally:
        _sees()


@GUARD.purpose(ADS)
async def parked_steps() -> AsyncGenerator[int, None]:
    """As above, half a step done."""
    try:
        await Parked()
        yield 1
    finally:
        _sees()


@GUARD.purpose(ADS)
def steps() -> Generator[int, None, None]:
    """As above."""
    try:
        yield 1
    finally:
        _sees()


@GUARD.purpose(ADS)
async def parked_inside_a_block() -> None:
    """A block is open when it is closed."""
    with GUARD.purpose(COUNTING):
        await parked()


def _half_run(kind: str) -> Any:
    if kind == "generator":
        iterator = steps()
        next(iterator)
        return iterator
    if kind == "bound generator":
        with GUARD.purpose(ADS):
            bound: Any = GUARD.bind(steps.__wrapped__)  # type: ignore[attr-defined]  # of functools
        iterator = bound()
        next(iterator)
        return iterator
    if kind == "bound coroutine":
        with GUARD.purpose(ADS):
            bound = GUARD.bind(parked.__wrapped__)  # type: ignore[attr-defined]  # as above
        waiting = bound()
    else:
        waiting = {
            "coroutine": parked,
            "async generator": lambda: anext(parked_steps()),
            "block": parked_inside_a_block,
        }[kind]()
        waiting = waiting if kind != "async generator" else waiting.__await__()
    waiting.send(None)
    return waiting


HALF_RUN = ["generator", "coroutine", "async generator", "block"]
HALF_RUN += ["bound generator", "bound coroutine"]


@pytest.mark.parametrize("how", ["close", "drop", "collect"])
@pytest.mark.parametrize("kind", HALF_RUN)
def test_what_is_dropped_half_run_leaves_the_scope_of_others_alone(kind: str, how: str) -> None:
    """Closed, dropped or collected in another's scope: it cleans up in its own."""
    SEEN.clear()
    with Work(2).request():
        made = _half_run(kind)
    with _in_the_middle_of(Work(3)):
        if how == "close" and kind != "async generator":
            made.close()
        elif how != "collect":
            del made
        else:
            ring: list[Any] = [made]
            ring.append(ring)
            del made, ring
            gc.collect()
    assert SEEN == [(ADS, 2)]
    assert current_scope() is None
    assert Work.crossed == []


def test_steps_in_other_tasks_are_made_in_the_scope_of_the_beginning() -> None:
    """An async generator that one task begins and another ends has one scope throughout."""
    seen: list[object] = []

    @GUARD.purpose(ADS)
    async def numbers() -> AsyncGenerator[int, None]:
        for number in range(3):
            await asyncio.sleep(0)
            scope = current_scope()
            seen.append((scope and scope.subject, scope and scope.purpose))
            yield number

    async def step(made: AsyncGenerator[int, None], person: int) -> None:
        with Work(person, ACCOUNT).scope():
            await anext(made)
            assert GUARD.current_purpose() == ACCOUNT

    async def run() -> None:
        made = numbers()
        for person in (1, 2, 3):
            await asyncio.create_task(step(made, person))

    asyncio.run(run())
    assert seen == [(1, ADS)] * 3


def test_a_loop_that_ends_closes_half_run_generators_once() -> None:
    """What a program leaves half-run at its end is closed in its own scope, without a complaint."""
    kept: list[Any] = []
    SEEN.clear()
    complaints: list[Any] = []

    @GUARD.purpose(ADS)
    @GUARD.source("system")
    async def numbers() -> AsyncGenerator[int, None]:
        try:
            yield 1
        finally:
            await asyncio.sleep(0)
            _sees()

    async def run() -> None:
        asyncio.get_running_loop().set_exception_handler(lambda _, told: complaints.append(told))
        for person in range(5):
            with Work(person).request():
                kept.append(numbers())
                await anext(kept[-1])

    asyncio.run(run())
    assert sorted(SEEN) == [(ADS, person) for person in range(5)]
    assert complaints == []


def test_a_batch_is_judged_for_all_of_its_people_and_only_there() -> None:
    """A batch inside a request, a request inside a batch: each decision is about its own people."""
    with Work(2, ADS).scope():
        assert _sent("pixel", 1)
        with GUARD.context(subjects=[2, 3], facts={"consent": {ADS: False}}, purpose=ADS):
            assert not _sent("pixel", 1)
            with Work(4, ADS).scope():
                assert _sent("pixel", 1)
            assert not _sent("pixel", 1)
        assert _sent("pixel", 1)


def test_functions_decorated_in_a_loop_fill_no_scope() -> None:
    """A worker that decorates again and again in one long scope keeps few scopes."""
    with GUARD.job("worker", purpose=ACCOUNT):
        scope = current_scope()
        assert scope is not None
        for _ in range(2_000):
            GUARD.purpose(ADS)(_sees)()
            GUARD.sink("counter")(len)("x")
        assert len(scope.inner) <= 1_024
    assert scope.inner == {}
