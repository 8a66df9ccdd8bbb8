"""What is known about a person is asked for within a limit and is at most a second old."""

from __future__ import annotations

import asyncio
import gc
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from enum import IntEnum
from time import monotonic
from typing import Any
from uuid import UUID

import pytest

from policyguard.enforce.subjects import Person, Subjects
from policyguard.errors import PolicyGuardError
from policyguard.policy.flow import NO_FACTS
from tests.enforce.subjects_kit import (
    ADS,
    ANNA,
    Clock,
    Kept,
    KeptAsync,
    KeptBatch,
    await_,
    wait,
)

YES = {"consent": {ADS: True}, "age": 33, "region": "DE"}
NO = {"consent": {ADS: False}, "age": 33, "region": "DE"}
SLOW = 30.0
"""A limit that a store which answers keeps on any machine."""


def subjects(store: Any, clock: Callable[[], float] = monotonic) -> Subjects:
    """A view of a store that never is too slow."""
    return Subjects(store, limit=SLOW, clock=clock)


def consents(person: Person) -> bool | None:
    return person.facts().consent.get(ADS)


def test_a_person_is_known_as_the_store_knows_them() -> None:
    """What the store says is what the person's facts are."""
    person = subjects(Kept(anna=YES)).open("anna")
    assert (consents(person), person.facts().age, person.facts().region) == (True, 33, "DE")
    assert person.subject == "anna"


def test_who_is_not_in_the_store_is_unknown() -> None:
    """None from the store, and no subject at all, are unknown; nobody isn't even asked about."""
    store = Kept()
    view = subjects(store)
    assert view.open("anna").facts() is NO_FACTS
    assert view.open(None).facts() is NO_FACTS
    assert store.asked == ["anna"]
    assert view.failures == {}


def test_somebody_new_is_seen_within_a_second() -> None:
    """That nobody is known isn't kept for longer than a second."""
    store, clock = Kept(), Clock()
    person = subjects(store, clock).open("anna")
    store.people["anna"] = YES
    clock.now += 1.01
    assert consents(person) is True


def test_a_person_is_shared_while_held_and_asked_about_once() -> None:
    """Scopes of the same subject hold the same person; afterwards the store is asked again."""
    store = Kept(anna=YES)
    view = subjects(store, Clock())
    person = view.open("anna")
    assert view.open("anna") is person
    assert store.asked == ["anna"]
    del person
    gc.collect()
    assert consents(view.open("anna")) is True
    assert store.asked == ["anna", "anna"]


class Number(IntEnum):
    ONE = 1


def test_subjects_that_are_equal_but_of_other_types_are_other_people() -> None:
    """1, "1", True and 1.0 don't share what is known."""
    view = subjects(Kept())
    people = [view.open(one) for one in (1, "1", True, 1.0, Number.ONE, UUID(int=1))]
    assert len(set(map(id, people))) == len(people)


def test_facts_stay_the_same_object_while_nothing_changes() -> None:
    """Asking again gives the same facts, so that what was worked out for them stays."""
    store, clock = Kept(anna=YES), Clock()
    person = subjects(store, clock).open("anna")
    before = person.facts()
    for _ in range(3):
        clock.now += 1.01
        store.people["anna"] = {**YES, "consent": dict(YES["consent"])}  # type: ignore[call-overload]  # a mapping
        assert person.facts() is before
    store.people["anna"] = NO
    clock.now += 1.01
    assert person.facts() is not before


def test_within_a_second_the_store_is_not_asked_again() -> None:
    """A flow that asks for facts costs no look-up while they are fresh."""
    store, clock = Kept(anna=YES), Clock()
    person = subjects(store, clock).open("anna")
    clock.now += 0.3
    assert {id(person.facts()) for _ in range(100)} == {id(person.facts())}
    assert store.asked == ["anna"]


def test_a_withdrawal_is_seen_within_a_second_in_a_thread() -> None:
    """A request that holds a person for long sees what changed, without asking by itself."""
    store, clock = Kept(anna=YES), Clock()
    person = subjects(store, clock).open("anna")
    store.people["anna"] = NO
    clock.now += 0.5
    wait(lambda: consents(person) is False)
    assert threading.get_ident() not in store.threads


def test_a_withdrawal_is_seen_after_a_second_even_if_nothing_kept_it_fresh() -> None:
    """What is older than a second doesn't count: the store is asked first."""
    store, clock = Kept(anna=YES), Clock()
    person = subjects(store, clock).open("anna")
    store.people["anna"] = NO
    clock.now += 1.01
    assert consents(person) is False


@pytest.mark.parametrize("kind", [Kept, KeptAsync])
def test_a_withdrawal_is_seen_within_a_second_on_an_event_loop(kind: type[Kept]) -> None:
    """A request on an event loop sees it too, and the loop's thread never asks."""
    store, clock = kind(anna=YES), Clock()

    async def request() -> None:
        person = await subjects(store, clock).aopen("anna")
        assert consents(person) is True
        store.people["anna"] = NO
        clock.now += 0.5
        await await_(lambda: consents(person) is False)

    asyncio.run(request())
    assert threading.get_ident() not in store.threads


def test_what_is_too_old_on_an_event_loop_is_unknown_until_it_is_asked_again() -> None:
    """The loop doesn't wait for a store: it has it asked, and until then nothing is known."""
    store, clock = Kept(anna=YES), Clock()

    async def request() -> None:
        view = subjects(store, clock)
        person = await view.aopen("anna")
        clock.now += 1.01
        # Nobody else runs here before the next await but the keeper, which may be quicker.
        assert consents(person) in {None, True}
        await await_(lambda: consents(person) is True)

    asyncio.run(request())
    assert threading.get_ident() not in store.threads


def test_on_an_event_loop_a_person_opened_without_await_is_unknown_at_first(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """`open` does no I/O on a loop; it says so, and what is asked meanwhile counts later."""
    store = Kept(anna=YES)

    async def request() -> None:
        person = subjects(store).open("anna")
        await await_(lambda: consents(person) is True)

    asyncio.run(request())
    assert threading.get_ident() not in store.threads
    assert "on an event loop without `async with`" in caplog.text


def test_a_person_held_by_another_scope_is_known_on_a_loop_at_once() -> None:
    """What is fresh already needs no asking."""
    view = subjects(KeptAsync(anna=YES), Clock())
    held = view.open("anna")

    async def request() -> None:
        assert view.open("anna") is held
        assert consents(view.open("anna")) is True

    asyncio.run(request())
    assert view.failures == {}


def test_a_store_for_loops_only_needs_no_thread() -> None:
    """`afacts` is awaited on the loop itself; `facts` isn't called."""
    store = KeptAsync(anna=YES)

    async def request() -> bool | None:
        return consents(await subjects(store).aopen("anna"))

    assert asyncio.run(request()) is True
    assert store.asked == []


@pytest.mark.parametrize("kind", [Kept, KeptAsync, KeptBatch])
def test_many_people_are_opened_in_their_order(kind: type[Kept]) -> None:
    """A batch gives a person for each subject, twice the same for the same, unknown ones too."""
    store = kind(anna=YES, ben=NO)
    view = subjects(store)
    asked = ["ben", "anna", "eve", "ben", None]
    people = view.open_all(asked)
    assert [consents(person) for person in people] == [False, True, None, False, None]
    assert people[0] is people[3]
    assert asyncio.run(opened(subjects(kind(anna=YES, ben=NO)), asked)) == [
        *(False, True, None, False, None)
    ]


async def opened(view: Subjects, asked: list[Any]) -> list[bool | None]:
    return [consents(person) for person in await view.aopen_all(asked)]


def test_a_batch_is_asked_for_in_one_go_where_the_store_can() -> None:
    """`facts_of` is called once, with those whose facts aren't fresh."""
    store = KeptBatch(anna=YES, ben=NO, eve=YES)
    view = subjects(store, Clock())
    held = view.open("eve")
    assert [consents(one) for one in view.open_all(["anna", "ben", "eve"])] == [True, False, True]
    assert consents(held) is True
    assert store.asked == ["eve", ("anna", "ben")]


def test_in_a_batch_equal_subjects_of_other_types_are_told_apart() -> None:
    """A mapping takes 1 and True for one key, so these are asked about one by one."""
    store = KeptBatch()
    subjects(store).open_all([1, True])
    assert store.asked == [1, True]


def test_the_store_is_asked_outside_of_any_scope() -> None:
    """What a store is told doesn't depend on who asks: no purpose or subject is passed on."""
    from policyguard.enforce.context import current_scope  # noqa: PLC0415 - only here
    from tests.enforce.kit import guard  # noqa: PLC0415 - only here

    seen: list[object] = []

    class Looks(Kept):
        def facts(self, subject: object, /) -> None:
            seen.append(current_scope())

        async def afacts(self, subject: object, /) -> None:
            seen.append(current_scope())

    async def request() -> None:
        with made.purpose("essential.service.account"):
            await view.aopen("ben")

    made, view = guard(), subjects(Looks())
    with made.purpose("essential.service.account"):
        view.open("anna")
    asyncio.run(request())
    assert seen == [None, None]


def test_threads_share_people_without_mixing_them_up() -> None:
    """Many threads open many people at once; everybody gets their own facts."""
    people: dict[str, Any] = {f"p{number}": {"age": number} for number in range(100)}
    view = subjects(Kept(**people))

    def one(number: int) -> bool:
        return view.open(f"p{number % 100}").facts().age == number % 100

    with ThreadPoolExecutor(8) as pool:
        assert all(pool.map(one, range(2000)))
    assert view.failures == {}


def test_the_thread_that_keeps_people_fresh_ends_when_there_are_none() -> None:
    """It holds nobody itself, ends without people, and starts again with the next one."""
    view = Subjects(Kept(anna=YES), limit=SLOW, fresh=0.05)
    for _ in range(2):
        person = view.open("anna")
        assert view._keeper is not None
        assert view._keeper.daemon
        del person
        gc.collect()
        wait(lambda: view._keeper is None)


def test_a_view_that_nobody_holds_is_gone() -> None:
    """Its threads keep neither it nor its store alive."""
    store = Kept(anna=YES)
    threads = threading.active_count()
    view = Subjects(store, limit=SLOW, fresh=0.05)
    view.open("anna")
    keeper = view._keeper
    assert keeper is not None
    del view
    gc.collect()
    wait(lambda: not keeper.is_alive())
    assert threading.active_count() <= threads + 1


def test_neither_people_nor_their_facts_are_shown() -> None:
    """The text of a person and of the view says what kind of thing is known, never who or what."""
    view = subjects(Kept(**{ANNA: YES}))
    person = view.open(ANNA)
    shown = f"{person!r} {view!r} {person} {view} {person.facts()!r}"
    assert ANNA not in shown
    assert "33" not in shown
    assert "DE" not in shown
    assert "age" in repr(person)


def test_a_store_without_facts_is_refused_at_the_start() -> None:
    """A store that can't be asked from threads would be unknown for ever."""
    with pytest.raises(PolicyGuardError) as raised:
        Subjects(object())  # type: ignore[arg-type]  # that is the point
    assert raised.value.code == "PG205"
