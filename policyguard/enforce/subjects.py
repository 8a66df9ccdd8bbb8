"""What is known about the people whose data are handled, at most a second old.

Layer: enforce. A guard asks a store of the application; `policyguard.enforce.asking` does so within
a time limit. Whatever goes wrong is unknown, which denies. Start reading at `Subjects`.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable, Iterable, Mapping, Sequence
from math import inf
from threading import Event, RLock, Thread
from time import monotonic
from typing import Any, Final, Protocol
from weakref import WeakValueDictionary, ref

from policyguard.enforce.asking import Asking, Store, kind_of
from policyguard.enforce.crew import renew_after_fork
from policyguard.errors import PolicyGuardError
from policyguard.policy.flow import CONTEXT_KEYS, NO_FACTS, Facts

_CHUNK: Final = 256
_RENEW_AFTER: Final = 0.4
_PACE: Final = 0.05
_NAME: Final = "policyguard-keeps-fresh"


class SubjectStore(Store, Protocol):
    """Where the application keeps what people decided: consent, opt-outs, age, region, ...

    `facts` alone is enough; `afacts` is used on event loops where it exists, and must await, not
    block. A third method, `facts_of(subjects)`, is used for many people at once where it exists: it
    takes a tuple of subjects and returns a mapping from subject to facts, without those about whom
    nothing is known.

    The methods are called outside of any scope, `facts` and `facts_of` in threads of their own.
    When one raises, or answers with something that `guard.context(facts=...)` wouldn't take, that
    counts as unknown.
    """

    def facts(self, subject: object, /) -> Mapping[str, Any] | None:
        """What is known about a person, None if nothing is."""

    async def afacts(self, subject: object, /) -> Mapping[str, Any] | None:
        """As `facts`, for event loops."""


class Person:
    """One subject while some scope holds it.

    Attributes:
        subject: who; compared, never shown.
        tried: when the store was asked last, whether it answered or not. For `Subjects`.
    """

    __slots__ = ("__weakref__", "_fresh", "_known", "_now", "_subjects", "subject", "tried")

    def __init__(
        self,
        subject: object,
        subjects: Subjects | None,
        now: Callable[[], float] = monotonic,
        fresh: float = 0.0,
    ) -> None:
        self.subject, self._subjects = subject, subjects
        self._now, self._fresh = now, fresh
        self.tried = -inf
        self._known: tuple[float, Facts] = (-inf, NO_FACTS)

    def facts(self) -> Facts:
        """What is known now: at most as old as `Subjects` allows, else nothing.

        In a thread without an event loop the store is asked again, within its limit, when what is
        known is too old. The same object is returned while nothing changed.

        Cost: one look at a clock.
        """
        asked, facts = self._known
        # A clock that goes back makes everything old, and so does one that is no number.
        if 0 <= self._now() - asked <= self._fresh:
            return facts
        if self._subjects is None:
            return NO_FACTS
        self._subjects.renew(self)
        asked, facts = self._known
        return facts if 0 <= self._now() - asked <= self._fresh else NO_FACTS

    @property
    def kept(self) -> bool:
        """Whether anything can ever be known."""
        return self._subjects is not None

    def age(self, now: float) -> float:
        """Seconds since the store was asked what is known."""
        return now - self._known[0]

    def learn(self, asked: float, facts: Facts) -> None:
        """Take over an answer. For `Subjects`.

        Args:
            asked: when the store was asked.
            facts: what it said.
        """
        before, known = self._known
        # Two threads may answer at once; then either may stay, each with its own time.
        if not asked < before:
            self._known = (asked, known if _same(known, facts) else facts)

    def __repr__(self) -> str:
        """Names of what is known, never who it is."""
        return f"Person({self._known[1]!r})"


class Subjects:
    """A guard's view of its store. Safe for threads, tasks and after a fork.

    Whoever holds a `Person` keeps it fresh: a thread asks the store again before what is known gets
    too old, and ends when nobody holds one. So a withdrawal is seen within `fresh` seconds.

    In a thread in which an event loop runs, the store is only asked by `await aopen(...)`: by its
    `afacts`, or in another thread. (The loops of asyncio are recognised, uvloop's with them.)

    Attributes:
        store: whom to ask.

    Args:
        store: whom to ask; safe for threads.
        limit: seconds for one look-up, after which the answer is unknown.
        fresh: seconds for which an answer counts.
        clock: monotonic seconds.

    Raises:
        PolicyGuardError: the store has no method `facts`.
    """

    def __init__(
        self,
        store: Store,
        *,
        limit: float = 0.05,
        fresh: float = 1.0,
        clock: Callable[[], float] = monotonic,
    ) -> None:
        if not callable(getattr(store, "facts", None)):
            what = "the store of subjects can't be used"
            raise PolicyGuardError(what, "it has no method `facts`", code="PG205")
        self.store = store
        self._fresh = fresh
        # What is asked for longer than half its time of use wouldn't be of use for long.
        self._asking = Asking(store, limit=limit, longest=fresh / 2, clock=clock)
        self._people: WeakValueDictionary[object, Person] = WeakValueDictionary()
        self._keeper: Thread | None = None
        self.after_fork()
        renew_after_fork(self)

    @property
    def failures(self) -> dict[str, int]:
        """How often the store failed, by kind; for reports and tests."""
        return self._asking.failures

    def open(self, subject: object) -> Person:
        """A person, asked for at once unless an event loop runs in this thread.

        Args:
            subject: who; None is nobody, about whom nothing is known.

        Cost: nothing is asked while a scope holds the same person; else one change of threads and
        what the store takes, at most the limit.
        """
        return self.open_all((subject,))[0]

    async def aopen(self, subject: object) -> Person:
        """As `open`, with `await`: the store is asked, and the event loop goes on."""
        return (await self.aopen_all((subject,)))[0]

    def open_all(self, subjects: Iterable[object]) -> tuple[Person, ...]:
        """As `open`, for many people in one go: by the store's `facts_of`, or one by one.

        The limit grows with their number, by a twentieth for each, up to half of `fresh`. Who
        isn't answered by then is unknown for now.
        """
        people = tuple(map(self._person, subjects))
        old = self._old(people)
        if old and _on_loop():
            self._asking.tell("a person is opened on an event loop without `async with` or `await`")
            self._wanted.set()
        elif old:
            self._ask(old)
        self._keep_fresh()
        return people

    async def aopen_all(self, subjects: Iterable[object]) -> tuple[Person, ...]:
        """As `open_all`, with `await`."""
        people = tuple(map(self._person, subjects))
        old = self._old(people)
        if old:
            asked = self._trying(old)
            found = await self._asking.aask([person.subject for person in old])
            for position, facts in found.items():
                old[position].learn(asked, facts)
        self._keep_fresh()
        return people

    # For `Person`.

    def renew(self, person: Person) -> None:
        """Ask again about a person, or have it done where an event loop runs in this thread."""
        if _on_loop():
            self._asking.tell("it got too old on an event loop before the store was asked again")
            self._wanted.set()
        else:
            self._ask((person,))
        self._keep_fresh()

    # People.

    def _person(self, subject: object) -> Person:
        if subject is None:
            return Person(None, None)
        # 1, True and 1.0 are equal, and three subjects.
        key = (type(subject), subject)
        try:
            with self._lock:
                person = self._people.get(key)
                if person is None:
                    person = Person(subject, self, self._asking.now, self._fresh)
                    self._people[key] = person
        except Exception as error:  # noqa: BLE001 - how a subject compares is foreign
            # Denies: nothing is ever known about somebody who can't be told from others.
            self._asking.tell(f"a subject can't be compared, it failed with {kind_of(error)}")
            return Person(subject, None)
        return person

    def _old(self, people: Sequence[Person]) -> list[Person]:
        """Those whose facts don't count any more, each once."""
        now = self._asking.now()
        return [
            person
            for person in dict.fromkeys(people)
            if person.kept and not 0 <= person.age(now) <= self._fresh
        ]

    def _trying(self, people: Sequence[Person]) -> float:
        # The time before the question: what changes while the store answers may not be in it.
        now = self._asking.now()
        for person in people:
            person.tried = now
        return now

    def _ask(self, people: Sequence[Person]) -> None:
        asked = self._trying(people)
        found = self._asking.ask([person.subject for person in people])
        for position, facts in found.items():
            people[position].learn(asked, facts)

    # The thread that keeps people fresh.

    def _keep_fresh(self) -> None:
        """Start the thread unless it runs. Whoever is opened is listed before this is asked."""
        if self._keeper is not None or not self._people:
            return
        with self._lock:
            if self._keeper is None:
                keeper = Thread(
                    target=_keep, args=(ref(self), self._wanted), daemon=True, name=_NAME
                )
                try:
                    keeper.start()
                except RuntimeError as error:
                    # Denies: what is known gets too old, and is then unknown on event loops.
                    self._asking.tell(f"no thread can be started, it failed with {kind_of(error)}")
                else:
                    self._keeper = keeper

    def keep(self) -> float | None:
        """Ask again about everybody whose facts get old. For the thread that keeps them fresh.

        Returns:
            Seconds until it is needed again; None when nobody is held any more.
        """
        with self._lock:
            people = list(self._people.values())
            if not people:
                self._keeper = None
                return None
        now, renew, pace = self._asking.now(), self._fresh * _RENEW_AFTER, self._fresh * _PACE
        due = [
            person
            for person in people
            if not 0 <= person.age(now) < renew and not 0 <= now - person.tried < pace
        ]
        # In another order each time: one person with whom the store hangs doesn't starve others.
        due = random.sample(due, len(due))
        for start in range(0, len(due), _CHUNK):
            self._ask(due[start : start + _CHUNK])
        now = self._asking.now()
        return min(max(pace, renew - max(person.age(now) for person in people)), renew)

    # Forks.

    def before_fork(self) -> None:
        """Nothing is held that a child must not have."""

    def after_fork(self) -> None:
        """The thread, and whoever held a lock, don't exist in the child; people do."""
        self._lock = RLock()
        self._wanted = Event()
        self._keeper = None
        # A thread that was in the middle of a look at the old one would keep it from being cleaned.
        people: WeakValueDictionary[object, Person] = WeakValueDictionary()
        for key, person in list(self._people.items()):
            try:
                people[key] = person
            except Exception as error:  # noqa: BLE001 - how a subject compares is foreign
                # Denies: the person isn't kept fresh any more.
                self._asking.tell(f"a subject can't be compared, it failed with {kind_of(error)}")
        self._people = people

    def __repr__(self) -> str:
        """The store's kind and how many people are held, never who."""
        return f"Subjects({kind_of(self.store)}, people={len(self._people)})"


def _keep(mine: ref[Subjects], wanted: Event) -> None:
    """Keep people fresh while there are any; holds nothing of a guard that is gone."""
    while True:
        subjects = mine()
        seconds = subjects.keep() if subjects is not None else None
        if seconds is None:
            return
        del subjects
        wanted.wait(seconds)
        wanted.clear()


def _on_loop() -> bool:
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        # Denies nothing: no loop runs in this thread, so it may wait for the store.
        return False
    return True


def _same(one: Facts, other: Facts) -> bool:
    return all(getattr(one, name) == getattr(other, name) for name in CONTEXT_KEYS)
