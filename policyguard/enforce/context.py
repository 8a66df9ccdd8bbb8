"""The scope of running code: its purpose, for whom, with which facts and labelled values.

Layer: enforce. One context variable holds the innermost scope; a scope never changes, entering one
makes a new one that points to its parent. Start reading at `Scope` and `Entered`.
"""

from __future__ import annotations

import random
from collections.abc import Awaitable, Callable, Generator
from contextvars import ContextVar
from types import CoroutineType, TracebackType, coroutine
from typing import TYPE_CHECKING, Any, Final

from policyguard.labels.recent import Remembers
from policyguard.policy.flow import NO_FACTS, Facts
from policyguard.policy.terms import SELF

if TYPE_CHECKING:
    from policyguard.enforce.subjects import Person

_KEPT: Final = 512
CURRENT: Final[ContextVar[Scope | None]] = ContextVar("policyguard_scope", default=None)


class Scope:
    """One layer of context. Treat it as immutable.

    Attributes:
        purpose: the innermost purpose; None if no one said any.
        path: all purposes from the outermost on.
        subject: the person whose data are handled; compared, never shown.
        facts: what the code said about that person.
        persons: what the subject store knows: of one person, or of everybody in a batch.
        reader: the recipient that reads from databases here.
        registry: labelled values seen here: a request's own, or those of all jobs; None: as yet.
        route: the route or job, for modes and reports.
        id: random, one for each outermost scope: a percentage takes a request whole or not at all.
        parent: the scope to go back to.
        gpc: whoever asked opted out of sale and advertising by a signal of the browser.
        asker: who that was; None if nobody knew.
        owner: the object that entered it.
        inner: what was worked out for this scope, by who asked: scopes of decorated functions, and
            sinks whose flows are allowed here.
    """

    __slots__ = (
        "_known",
        "asker",
        "facts",
        "gpc",
        "id",
        "inner",
        "owner",
        "parent",
        "path",
        "persons",
        "purpose",
        "reader",
        "registry",
        "route",
        "subject",
    )

    def __init__(self, parent: Scope | None, owner: object) -> None:
        self.parent, self.owner = parent, owner
        self.inner: dict[object, Any] = {}
        self._known: tuple[tuple[Facts, ...], tuple[Facts, ...]] | None = None
        if parent is None:
            self.purpose: str | None = None
            self.path: tuple[str, ...] = ()
            self.subject: object = None
            self.facts: Facts = NO_FACTS
            self.persons: tuple[Person, ...] = ()
            self.gpc = False
            self.asker: object = None
            self.reader = SELF
            # Whoever enters the outermost scope says where values are remembered.
            self.registry: Remembers | None = None
            self.route = ""
            self.id = random.getrandbits(32)
        else:
            self.purpose, self.path = parent.purpose, parent.path
            self.subject, self.facts = parent.subject, parent.facts
            self.persons = parent.persons
            self.gpc, self.asker = parent.gpc, parent.asker
            self.reader, self.registry = parent.reader, parent.registry
            self.route, self.id = parent.route, parent.id

    def __repr__(self) -> str:
        """The purposes only: subject and facts are personal data."""
        return f"Scope(path={list(self.path)}, route={self.route!r})"

    def known(self) -> tuple[Facts, ...]:
        """What is known now: for one person one element, for a batch one for each different case.

        Cost: nothing but a look without a subject store; a merge when the store's answer is new.
        """
        if not self.persons:
            return (self.facts,)
        stored = tuple(person.facts() for person in self.persons)
        known = self._known
        if known is None or known[0] != stored:
            merged = (self.facts.above(facts) for facts in stored)
            # Set whole: another thread sees the old answer or the new one.
            known = self._known = (stored, tuple({one.key: one for one in merged}.values()))
        return known[1]

    def keep(self, key: object, made: Any) -> None:
        """Keep what was worked out for this scope; bounded: functions may be decorated in loops."""
        if len(self.inner) >= _KEPT:
            self.forget()
        self.inner[key] = made

    def forget(self) -> None:
        """Drop what was worked out, so that nothing points in circles; it is made again if asked.

        A scope that is still in use elsewhere, such as in a thread, works on.
        """
        inner, self.inner = self.inner, {}
        for made in inner.values():
            if type(made) is Scope:
                made.forget()


def current_scope() -> Scope | None:
    """The innermost scope of the running code, None outside any."""
    return CURRENT.get()


def restore(scope: Scope | None) -> None:
    """Make a scope, or none, the current one."""
    CURRENT.set(scope)


class Entered:
    """A way into a scope: a `with` block, an `async with` block.

    Holds no state of its own between enter and exit, so one object serves any number of threads,
    tasks and nested blocks: what to go back to stands in the scope itself.
    """

    __slots__ = ("_make",)

    def __init__(self, make: Callable[[Scope], None]) -> None:
        self._make = make

    def enter(self) -> Scope | None:
        """Enter a new scope; returns the one before, for `restore`."""
        before = CURRENT.get()
        CURRENT.set(self.below(before))
        return before

    def step_into(self, before: Scope | None) -> None:
        """Make the scope of a generator's or coroutine's steps the current one."""
        del before
        self.enter()

    def below(self, parent: Scope | None) -> Scope:
        """The new scope, not entered."""
        scope = Scope(parent, self)
        self._make(scope)
        return scope

    def __enter__(self) -> None:
        """Enter the scope."""
        self.enter()

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Go back to what was before this block, whatever was left open inside it."""
        scope = CURRENT.get()
        while scope is not None and scope.owner is not self:
            scope = scope.parent
        if scope is not None:
            CURRENT.set(scope.parent)
            scope.forget()

    async def __aenter__(self) -> None:
        """Enter the scope."""
        self.enter()

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """As `__exit__`."""
        self.__exit__(kind, error, trace)


class Steps:
    """Makes steps, one at a time, in one scope; between them the caller has its own.

    Who makes a step, and where, may change: a half-run generator or coroutine that nobody wants any
    more is closed in the middle of somebody else's work. It cleans up in its own scope, and leaves
    the other's alone. What the steps themselves enter stays open until their own code leaves it.
    """

    __slots__ = ("_entered", "_scope")

    def __init__(self, entered: Entered) -> None:
        self._entered = entered
        self._scope: Scope | None = None

    def __call__(self, move: Callable[..., Any], *args: Any) -> Any:
        """Make a step; what was before is back when it ends, however it ends."""
        before = CURRENT.get()
        if self._scope is None:
            self._entered.step_into(before)
        else:
            CURRENT.set(self._scope)
        try:
            return move(*args)
        finally:
            self._scope = CURRENT.get()
            CURRENT.set(before)


class ScopedGenerator(Generator[Any, Any, Any]):
    """A generator that runs each of its steps in a scope; awaited, a coroutine that does."""

    __slots__ = ("_inner", "_on")

    def __init__(self, inner: Generator[Any, Any, Any], on: Steps) -> None:
        self._inner, self._on = inner, on

    def __await__(self) -> Generator[Any, Any, Any]:
        """Itself: to wait is to make steps."""
        return self

    def __next__(self) -> Any:
        """As of the generator, in its scope."""
        return self._on(self._inner.send, None)

    def send(self, value: Any) -> Any:
        """As of the generator, in its scope."""
        return self._on(self._inner.send, value)

    def throw(self, *error: Any) -> Any:
        """As of the generator, in its scope."""
        return self._on(self._inner.throw, *error)

    def close(self) -> None:
        """As of the generator, in its scope."""
        self._on(self._inner.close)


@coroutine
def awaited(inner: Awaitable[Any], entered: Entered) -> Generator[Any, Any, Any]:
    """What awaits a coroutine in a scope, from its first step to its last.

    The steps of `Steps` written out: most coroutines take one, and it should cost little.
    """
    steps: Any = inner if type(inner) is CoroutineType else inner.__await__()
    sent = error = None
    before = CURRENT.get()
    entered.step_into(before)
    while True:
        try:
            value = steps.send(sent) if error is None else steps.throw(error)
        except StopIteration as end:
            return end.value
        finally:
            scope = CURRENT.get()
            CURRENT.set(before)
        sent = error = None
        try:
            sent = yield value
        except GeneratorExit:
            before = CURRENT.get()
            CURRENT.set(scope)
            try:
                steps.close()
            finally:
                CURRENT.set(before)
            raise
        except BaseException as thrown:  # noqa: BLE001 - handed on to the coroutine
            # Denies: nothing; what is thrown belongs to the bare coroutine, which gets it outside
            # of this block, or it would show up as the context of what is raised later.
            error = thrown
        value = None
        before = CURRENT.get()
        CURRENT.set(scope)


class ScopedSteps:
    """Awaits each step of an async generator in its scope; between steps the caller has its own."""

    __slots__ = ("_on",)

    def __init__(self, entered: Entered) -> None:
        self._on = Steps(entered)

    def __call__(self, step: Awaitable[Any]) -> Awaitable[Any]:
        """What awaits one step."""
        return ScopedGenerator(step.__await__(), self._on)

    def now(self, move: Callable[[], Any]) -> None:
        """Do something in the scope at once."""
        self._on(move)
