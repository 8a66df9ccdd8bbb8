"""Whatever a store does, a person about whom it can't be told is unknown, and it is told once."""

from __future__ import annotations

import asyncio
import subprocess
import sys
import threading
from collections.abc import Iterator, Mapping
from datetime import timedelta
from pathlib import Path
from typing import Any, NoReturn

import pytest

from policyguard.enforce.subjects import Subjects
from policyguard.policy.flow import NO_FACTS, Facts
from tests.enforce.subjects_kit import ADS, ANNA, Clock, Does, Hangs, Kept, KeptBatch, await_, wait

ROOT = Path(__file__).resolve().parents[2]
YES = {"consent": {ADS: True}}
CANARY = "canary-7f3a9c"
SLOW = 30.0
SHORT = 0.02


def raises(error: BaseException) -> Any:
    def does() -> NoReturn:
        raise error

    return does


class OwnError(Exception):
    def __str__(self) -> str:
        raise RuntimeError(CANARY)


class Lying(Mapping[str, Any]):
    """A mapping whose methods do as they are told."""

    def __init__(self, items: Any = None, length: Any = 1) -> None:
        self._items, self._length = items, length

    def __getitem__(self, key: str) -> Any:
        raise RuntimeError(CANARY)

    def __iter__(self) -> Iterator[str]:
        raise RuntimeError(CANARY)

    def __len__(self) -> int:
        raise RuntimeError(CANARY)

    def items(self) -> Any:
        if callable(self._items):
            return self._items()
        raise RuntimeError(CANARY)


def endless() -> Iterator[tuple[str, int]]:
    while True:
        yield CANARY, 1


class OddText(str):
    __slots__ = ()

    def __str__(self) -> str:
        raise RuntimeError(CANARY)

    def __eq__(self, other: object) -> bool:
        raise RuntimeError(CANARY)

    __hash__ = str.__hash__


ERRORS = [
    RuntimeError(CANARY),
    ValueError(CANARY),
    KeyError(CANARY),
    OSError(5, CANARY),
    TimeoutError(CANARY),
    ConnectionRefusedError(CANARY),
    UnicodeDecodeError("utf-8", CANARY.encode(), 0, 1, CANARY),
    MemoryError(CANARY),
    RecursionError(CANARY),
    StopIteration(CANARY),
    StopAsyncIteration(CANARY),
    AssertionError(CANARY),
    asyncio.InvalidStateError(CANARY),
    BaseExceptionGroup(CANARY, [KeyError(CANARY)]),
    SystemExit(CANARY),
    OwnError(CANARY),
    type(CANARY * 9, (Exception,), {})(CANARY),
]
LIES: dict[str, Any] = {
    "a list": [CANARY],
    "a text": CANARY,
    "a number": 1,
    "true": True,
    "false": False,
    "an empty text": "",
    "bytes": CANARY.encode(),
    "a set": {CANARY},
    "a class": dict,
    "an object": object(),
    "a function": raises(RuntimeError(CANARY)),
    "a generator": (one for one in [CANARY]),
    "pairs": [("consent", {ADS: True})],
    "Facts": Facts(YES),
    "itself": NotImplemented,
    "a mapping that raises": Lying(),
    "a mapping without end": Lying(endless),
    "a mapping of no pairs": Lying(lambda: [1, 2]),
    "a mapping with an inner one that raises": {"consent": Lying()},
    "a mapping with an inner one without end": {"consent": Lying(endless)},
    "a mapping with an inner one of no pairs": {"consent": Lying(lambda: [1])},
}
WRONG: dict[str, Any] = {
    "consent for all": {"consent": True},
    "consent as text": {"consent": {ADS: "yes"}},
    "consent as number": {"consent": {ADS: 1}},
    "consent as list": {"consent": [ADS]},
    "an odd text as answer": {"consent": {ADS: OddText("true")}},
    "an odd key": {"consent": {1: True, None: True}},
    "another key": {CANARY: {ADS: True}},
    "a key that is no text": {7: True, b"consent": {ADS: True}},
    "restricted as text": {"restricted": "no"},
    "age as text": {"age": "33"},
    "age below zero": {"age": -1},
    "age as fraction": {"age": 33.5},
    "a region that is none": {"region": CANARY},
    "an odd region": {"region": OddText(CANARY)},
    "region as bytes": {"region": b"DE"},
    "facts as list": {"facts": ["processing_complete"]},
    "facts as numbers": {"facts": {"processing_complete": 1}},
    "data age before its time": {"data_age": timedelta(days=-1)},
}


def told(caplog: pytest.LogCaptureFixture) -> list[str]:
    """What the logger says; whatever it is, no foreign text."""
    shown = [record.getMessage() for record in caplog.records]
    assert all(record.name == "policyguard" for record in caplog.records)
    assert CANARY not in caplog.text
    assert ANNA not in caplog.text
    return shown


def both(store: Any, **options: Any) -> list[Facts]:
    """What is known when a thread asks, and when an event loop does."""

    async def request() -> Facts:
        person = await Subjects(store, **options).aopen(ANNA)
        return person.facts()

    return [Subjects(store, **options).open(ANNA).facts(), asyncio.run(request())]


@pytest.mark.parametrize("error", ERRORS, ids=lambda error: type(error).__name__[:20])
def test_a_store_that_raises_is_unknown(
    error: BaseException, caplog: pytest.LogCaptureFixture
) -> None:
    """Whatever it raises, nothing is known, nothing is raised, and only the kind is told."""
    assert both(Does(raises(error)), limit=SLOW) == [NO_FACTS, NO_FACTS]
    shown = told(caplog)
    assert shown
    assert all(line.startswith("PG205 ") for line in shown)
    assert {record.levelname for record in caplog.records} == {"ERROR"}


@pytest.mark.parametrize("lie", LIES.values(), ids=LIES)
def test_an_answer_that_is_no_mapping_is_unknown(
    lie: Any, caplog: pytest.LogCaptureFixture
) -> None:
    """Nothing is known from an answer that can't be read whole."""
    assert both(Does(lambda: lie), limit=SLOW) == [NO_FACTS, NO_FACTS]
    assert told(caplog)


@pytest.mark.parametrize("wrong", WRONG.values(), ids=WRONG)
def test_facts_of_a_wrong_type_are_unknown(wrong: Any, caplog: pytest.LogCaptureFixture) -> None:
    """Each wrong fact is unknown and told; those beside it count."""
    for facts in both(Does(lambda: {"legal_request": False, **wrong}), limit=SLOW):
        assert facts.legal_request is False
        assert not any(facts.consent.values())
        assert not facts.facts
        known = facts.restricted, facts.age, facts.region, facts.data_age
        assert known == (None, None, None, None)
    assert told(caplog)


def test_a_text_that_changes_how_it_shows_itself_is_taken_as_it_is() -> None:
    """A subclass of text is a text, and none of its methods is called later."""
    purpose, region = OddText(ADS), OddText("DE")
    for facts in both(Does(lambda: {"consent": {purpose: True}, "region": region}), limit=SLOW):
        assert facts.consent == {ADS: True}
        assert {type(one) for one in (*facts.consent, facts.region)} == {str}


def test_a_function_that_should_be_awaited_is_unknown(caplog: pytest.LogCaptureFixture) -> None:
    """`facts` written as `async def` answers with a coroutine, which is no mapping."""

    class Async:
        async def facts(self, subject: object, /) -> Mapping[str, Any]:
            return YES

    assert Subjects(Async(), limit=SLOW).open(ANNA).facts() is NO_FACTS  # type: ignore[arg-type]  # that is the point
    assert "answered with coroutine instead of a mapping" in told(caplog)[0]


class NoHash:
    __hash__ = None  # type: ignore[assignment]  # as a list has it


class BadHash:
    def __hash__(self) -> int:
        raise RuntimeError(CANARY)


class BadEq:
    def __hash__(self) -> int:
        return 1

    def __eq__(self, other: object) -> bool:
        raise RuntimeError(CANARY)


@pytest.mark.parametrize("kind", [NoHash, BadHash, BadEq, list, dict])
def test_a_subject_that_cannot_be_compared_is_unknown(
    kind: type, caplog: pytest.LogCaptureFixture
) -> None:
    """Somebody who can't be told from others isn't known, and nothing crashes."""
    view = Subjects(Does(lambda: YES), limit=SLOW)
    people = view.open_all([kind(), kind(), kind()])
    assert people[-1].facts() is NO_FACTS
    assert told(caplog)


def test_a_store_that_hangs_is_unknown_in_time(caplog: pytest.LogCaptureFixture) -> None:
    """The caller comes back with nothing, and later calls find few threads held."""
    store = Hangs(**{ANNA: YES})
    view = Subjects(store, limit=SHORT, clock=Clock())
    try:
        assert [view.open(ANNA).facts() is NO_FACTS for _ in range(3)] == [True] * 3
        assert "didn't answer in time (20 ms for one person)" in told(caplog)[0]
        assert len(caplog.records) == len(set(told(caplog)))
    finally:
        store.let_go.set()


def test_calls_that_hang_do_not_pile_up() -> None:
    """A bounded number of threads is held; when all are, the answer is unknown at once."""
    store, clock = Hangs(), Clock()
    view = Subjects(store, limit=SHORT, clock=clock)
    try:
        for number in range(40):
            clock.now += 10  # the store is asked again after a pause
            view.open(f"p{number}")
        assert len(store.asked) == 4
        assert any("still hangs" in kind for kind in view.failures)
    finally:
        store.let_go.set()
    wait(lambda: view._asking._crew._lost == 0)
    clock.now += 10
    store.people[ANNA] = YES
    wait(lambda: view.open(ANNA).facts().consent == {ADS: True})


def test_a_late_answer_is_unknown_and_never_comes_later() -> None:
    """What arrives after the limit isn't taken over."""
    store = Hangs(**{ANNA: YES})
    view = Subjects(store, limit=SHORT, clock=Clock())
    person = view.open(ANNA)
    store.let_go.set()
    wait(lambda: view._asking._crew._lost == 0)
    assert person._known[1] is NO_FACTS


def test_a_store_that_hangs_on_an_event_loop_is_unknown_in_time() -> None:
    """The loop goes on, also where the store swallows cancellation."""
    release = asyncio.Event()

    class Stubborn(Kept):
        async def afacts(self, subject: object, /) -> Mapping[str, Any]:
            while not release.is_set():
                try:
                    await release.wait()
                except asyncio.CancelledError:
                    continue
            return YES

    async def request() -> None:
        view = Subjects(Stubborn(), limit=SHORT, clock=Clock())
        person = await view.aopen("anna")
        assert person._known[1] is NO_FACTS
        release.set()
        await await_(lambda: not view._asking._hanging)
        assert person._known[1] is NO_FACTS

    asyncio.run(request())


def test_tasks_that_hang_do_not_pile_up() -> None:
    """A bounded number of tasks is left to itself; then the store isn't asked any more."""
    release, clock, begun = asyncio.Event(), Clock(), []

    class Stubborn(Kept):
        async def afacts(self, subject: object, /) -> None:
            begun.append(subject)
            while not release.is_set():
                try:
                    await release.wait()
                except asyncio.CancelledError:
                    continue

    async def request() -> None:
        view = Subjects(Stubborn(), limit=0.0, clock=clock)
        for number in range(100):
            clock.now += 10
            await view.aopen(number)
        assert len(view._asking._hanging) == 64
        assert any("still hangs" in kind for kind in view.failures)
        release.set()
        await await_(lambda: not view._asking._hanging)

    asyncio.run(request())


def test_who_is_cancelled_while_the_store_is_awaited_is_cancelled() -> None:
    """Cancellation reaches the caller, and the store's call too."""
    cancelled = []

    class Slow(Kept):
        async def afacts(self, subject: object, /) -> None:
            try:
                await asyncio.sleep(SLOW)
            except asyncio.CancelledError:
                cancelled.append(subject)
                raise

    async def request() -> None:
        task = asyncio.create_task(Subjects(Slow(), limit=SLOW).aopen("anna"))
        await asyncio.sleep(0.01)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        await await_(lambda: cancelled)

    asyncio.run(request())


def test_what_is_known_becomes_unknown_when_the_store_stops_answering() -> None:
    """The last answer counts for a second, not longer; on a loop nothing is waited for."""
    store, clock = Hangs(**{ANNA: YES}), Clock()
    store.let_go.set()
    view = Subjects(store, limit=SLOW, clock=clock)

    async def request() -> None:
        person = await view.aopen(ANNA)
        store.let_go.clear()
        clock.now += 0.99
        assert person.facts().consent == {ADS: True}
        clock.now += 0.02
        assert person.facts() is NO_FACTS
        store.let_go.set()
        await await_(lambda: person.facts().consent == {ADS: True})

    asyncio.run(request())
    assert threading.get_ident() not in store.threads


def test_the_breaker_opens_after_some_failures_and_closes_with_an_answer() -> None:
    """After failures in a row nobody asks for a second; then one call tries, and may close it."""
    clock, store = Clock(), Does(raises(OSError(CANARY)))
    view = Subjects(store, limit=SLOW, clock=clock)

    def ask(times: int) -> int:
        before = store.calls
        assert all(view.open(n).facts() is NO_FACTS for n in range(times))
        return store.calls - before

    # Each person is asked for by `open` and once more by `facts`.
    assert ask(10) == 5
    assert ask(10) == 0
    clock.now += 1.01
    assert ask(10) == 1
    assert ask(10) == 0
    clock.now += 1.01
    store.does = lambda: YES
    person = view.open(ANNA)
    assert person.facts().consent == {ADS: True}
    assert all(view.open(f"q{n}").facts().consent == {ADS: True} for n in range(10))
    assert view.failures["the store failed with OSError"] == 6


def test_each_kind_of_failure_is_told_once_and_counted(caplog: pytest.LogCaptureFixture) -> None:
    """The log isn't flooded, and nothing is lost from the count."""
    clock = Clock()
    view = Subjects(Does(raises(OSError(CANARY))), limit=SLOW, clock=clock)
    for number in range(50):
        clock.now += 2
        view.open(number)
    assert view.failures == {"the store failed with OSError": 50}
    assert len(told(caplog)) == 1


def test_the_kinds_of_failure_are_bounded(caplog: pytest.LogCaptureFixture) -> None:
    """A store that fails in another way each time fills neither log nor memory."""
    clock, store = Clock(), Does(dict)
    view = Subjects(store, limit=SLOW, clock=clock)
    for number in range(200):
        store.does = raises(type(f"Error{number}", (Exception,), {})())
        clock.now += 2
        view.open(number)
    assert len(view.failures) == 101
    assert sum(view.failures.values()) == 200
    assert len(told(caplog)) == 101


def test_in_a_batch_those_who_can_be_told_are_known() -> None:
    """One wrong answer is one unknown person; a batch that fails is unknown whole."""
    store = KeptBatch(anna=YES, ben=Lying(), eve=YES)
    people = Subjects(store, limit=SLOW).open_all(["anna", "ben", "eve"])
    assert [person.facts().consent for person in people] == [{ADS: True}, {}, {ADS: True}]

    class Broken(KeptBatch):
        def facts_of(self, subjects: Any, /) -> Any:
            return [YES, YES]

    people = Subjects(Broken(anna=YES), limit=SLOW, clock=Clock()).open_all(["anna", "ben"])
    assert [person._known[1] for person in people] == [NO_FACTS, NO_FACTS]


def test_in_a_batch_asked_one_by_one_those_before_a_hang_are_known() -> None:
    """What came in time counts; the rest is unknown."""
    store = Hangs()

    class HangsForBen(Kept):
        def facts(self, subject: object, /) -> Mapping[str, Any] | None:
            return store.facts(subject) if subject == "ben" else super().facts(subject)

    view = Subjects(HangsForBen(anna=YES, eve=YES), limit=0.2, clock=Clock())
    try:
        people = view.open_all(["anna", "ben", "eve"])
        assert [one._known[1].consent for one in people] == [{ADS: True}, {}, {}]
    finally:
        store.let_go.set()


def _no_clock() -> float:
    raise OSError(CANARY)


@pytest.mark.parametrize("clock", [_no_clock, lambda: float("nan"), lambda: "noon"])
def test_without_a_clock_nothing_is_known(clock: Any, caplog: pytest.LogCaptureFixture) -> None:
    """A time that can't be told is never fresh."""
    assert both(Does(lambda: YES), limit=SLOW, clock=clock) == [NO_FACTS, NO_FACTS]
    told(caplog)


def test_a_clock_that_goes_back_makes_everything_old() -> None:
    """What seems to be asked in the future is asked again."""
    store, clock = Kept(anna=YES), Clock()
    person = Subjects(store, limit=SLOW, clock=clock).open("anna")
    store.people["anna"] = None
    clock.now -= 5
    assert person.facts() is NO_FACTS


def script(text: str) -> str:
    """Run a program of its own, which must end by itself."""
    done = subprocess.run(
        [sys.executable, "-W", "ignore::DeprecationWarning", "-c", text],
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
        cwd=ROOT,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


EXIT = """
import threading
from policyguard.enforce.subjects import Subjects

class Hangs:
    def facts(self, subject, /):
        threading.Event().wait()

view = Subjects(Hangs(), limit=0.01)
held = view.open("anna")
print(view.open("ben").facts().age)
"""


def test_a_call_that_hangs_does_not_hold_up_the_end_of_the_program() -> None:
    """The program ends although the store never answers."""
    assert script(EXIT) == "None\n"


FORK = """
import os, threading, time
from policyguard.enforce.subjects import Subjects

age, hang = 33, threading.Event()

class Store:
    def facts(self, subject, /):
        if subject == "hangs":
            hang.wait()
        return {"age": age}

now = 1000.0
view = Subjects(Store(), limit=0.05, clock=lambda: now)
held = view.open("anna")
for number in range(4):
    view.open("hangs")
now += 10
assert view.open("ben").facts().age is None, "all threads hang"
view._lock.acquire()
release = threading.Timer(0.1, lambda: None)
child = os.fork()
if child == 0:
    try:
        view._asking._limit = 30
        age = 34
        assert view.open("ben").facts().age == 34, "asked anew"
        assert held.facts().age == 34
        assert view._keeper is not None and view._keeper.is_alive()
        age = 35
        now += 0.5
        end = time.monotonic() + 10
        while held.facts().age != 35:
            assert time.monotonic() < end
            time.sleep(0.01)
    except BaseException as error:
        print(repr(error), flush=True)
        os._exit(1)
    os._exit(0)
view._lock.release()
_, status = os.waitpid(child, 0)
print(status)
"""


def test_after_a_fork_the_child_asks_for_itself() -> None:
    """Threads, calls that hang and locks stay with the parent; people are known and kept fresh."""
    assert script(FORK) == "0\n"
