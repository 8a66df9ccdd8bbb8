"""What may cross to another process: why the work is done, and nothing about a person.

Layer: enforce. A scope holds a person, facts and labelled values, so it stays in its process. A
bound function that arrives in another one runs under a claim: the chain of purposes, route, reader
and the opt-out of a browser's signal, checked against the policy over there. Without a guard of the
same policy, or with a word it doesn't know, the function runs for `UNREADABLE`, a purpose that no
policy knows, so what needs a purpose is denied. Start reading at `Bound` and `Claim`.
"""

from __future__ import annotations

import inspect
import json
import os
import sys
from collections.abc import Callable
from dataclasses import dataclass
from functools import update_wrapper
from itertools import groupby
from types import MethodType
from typing import TYPE_CHECKING, Any, Final, Generic, ParamSpec, TypeVar
from weakref import WeakSet, WeakValueDictionary

from policyguard.enforce.context import (
    Entered,
    Scope,
    ScopedSteps,
    Steps,
    awaited,
    current_scope,
    restore,
)
from policyguard.enforce.generators import stepped, wrap_async_generator
from policyguard.policy.terms import SELF

if TYPE_CHECKING:
    from policyguard.enforce.guard import Guard
    from policyguard.engine.compile import Snapshot

P = ParamSpec("P")
R = TypeVar("R")
UNREADABLE: Final = "unreadable claim"
"""The purpose of work whose claim can't be read: no term, so every policy denies it, and the
purpose of the process doesn't take its place."""
_VERSION: Final = 1
_LONGEST_TEXT: Final = 4096
_LONGEST_WORD: Final = 512
_MOST_PURPOSES: Final = 16
_KEYS: Final = frozenset({"claim", "path", "route", "reader", "gpc"})


@dataclass(frozen=True, slots=True)
class Claim:
    """Why a piece of work is done, to be checked where it arrives. Picklable; names only.

    Attributes:
        path: all purposes from the outermost on; () if no one said any.
        route: the route or job, for modes and reports.
        reader: the recipient that reads from databases.
        gpc: the request behind it opted out of sale and advertising by a signal of the browser.
    """

    path: tuple[str, ...] = ()
    route: str = ""
    reader: str = SELF
    gpc: bool = False

    @property
    def purpose(self) -> str | None:
        """The innermost purpose; None if no one said any."""
        return self.path[-1] if self.path else None

    @classmethod
    def of(cls, scope: Scope | None) -> Claim | None:
        """What may be said of a scope elsewhere; None outside any, or if it is out of proportion.

        A purpose that follows itself is said once: no policy tells the two apart.
        """
        if scope is None:
            return None
        path = tuple(one for one, _ in groupby(scope.path))
        made = cls(path, scope.route, scope.reader, scope.gpc)
        return made if made._proportioned() else None

    def to_text(self) -> str:
        """One line of ASCII, for a message or a header; `from_text` reads it."""
        parts = {
            "claim": _VERSION,
            "path": self.path,
            "route": self.route,
            "reader": self.reader,
            "gpc": self.gpc,
        }
        return json.dumps(parts, separators=(",", ":"))

    @classmethod
    def from_text(cls, text: object, snapshot: Snapshot) -> Claim | None:
        """The claim that a text makes, None if anything about it is wrong. Never an error.

        Args:
            text: from outside, so it may be anything.
            snapshot: the policy that must know every purpose and the reader.
        """
        claim = cls.read(text)
        return claim if claim is not None and claim.fits(snapshot) else None

    @classmethod
    def read(cls, text: object) -> Claim | None:
        """What a text says, not yet checked against any policy; None if it is no claim."""
        if not isinstance(text, str) or len(text) > _LONGEST_TEXT:
            return None
        try:
            parts = json.loads(text)
        except (ValueError, RecursionError):
            # Denies: what can't be read says no purpose.
            return None
        if not isinstance(parts, dict) or frozenset(parts) != _KEYS:
            return None
        if type(parts["claim"]) is not int or parts["claim"] != _VERSION:
            return None
        path, gpc = parts["path"], parts["gpc"]
        words = [*path, parts["route"], parts["reader"]] if isinstance(path, list) else [None]
        if type(gpc) is not bool or not all(isinstance(word, str) for word in words):
            return None
        claim = cls(tuple(path), parts["route"], parts["reader"], gpc)
        return claim if claim._proportioned() else None

    def fits(self, snapshot: Snapshot) -> bool:
        """Whether the policy knows every word of it."""
        purposes = snapshot.context.taxonomy.purposes
        return (
            self._proportioned()
            and all(purpose in purposes for purpose in self.path)
            and self.reader in snapshot.context.recipients
        )

    def _proportioned(self) -> bool:
        words = (*self.path, self.route, self.reader)
        return (
            len(self.path) <= _MOST_PURPOSES
            and all(len(word) <= _LONGEST_WORD for word in words)
            and len(self.to_text()) <= _LONGEST_TEXT
        )


# The guards of this process, so that work that arrives finds the one that judges it. They live as
# long as the program holds them.
_guards: Final[WeakValueDictionary[str, Guard]] = WeakValueDictionary()
_everyone: Final[WeakSet[Guard]] = WeakSet()
_listeners: Final[list[Callable[[Guard], None]]] = []


def known(guard: Guard) -> None:
    """Let work that arrives under this guard's policy be judged by it; the newest guard counts."""
    _guards[guard.snapshot.id] = guard
    _everyone.add(guard)
    for tell in tuple(_listeners):
        tell(guard)


def _guard_of(policy: str) -> Guard | None:
    """The guard that judges by a policy now; None if there is none, or several to choose from."""
    found = _guards.get(policy)
    if found is not None and found.snapshot.id == policy:
        return found
    # A reload may have given a guard another policy than it started with.
    others = [guard for guard in tuple(_everyone) if guard.snapshot.id == policy]
    return others[0] if len(others) == 1 else None


def each_guard(tell: Callable[[Guard], None]) -> Callable[[], None]:
    """Be told of every guard of this process, of those that are there and those to come.

    Returns:
        What ends it.
    """
    _listeners.append(tell)
    for guard in tuple(_everyone):
        tell(guard)

    def end() -> None:
        if tell in _listeners:
            _listeners.remove(tell)

    return end


def bind(guard: Guard, function: Callable[P, R]) -> Bound[P, R]:
    """The function, run in the scope that is current now: for threads, executors and processes.

    In this process it is exactly this scope. In another one it is a claim of it, under the guard
    of the same policy there; what was known of the person doesn't cross.

    Args:
        guard: whose policy the work is judged by elsewhere.
        function: sync, async, a generator or an async generator; the steps run in the scope too.
    """
    into = _Back(current_scope(), guard.snapshot.id)
    return _bound(function, into)


class _Back(Entered):
    """The way back into a scope that exists already; in another process, under a claim of it."""

    __slots__ = ("_home", "_scope", "policy")

    def __init__(self, scope: Scope | None, policy: str) -> None:
        self._scope, self.policy, self._home = scope, policy, os.getpid()

    def text(self) -> str | None:
        """What may be said of the scope elsewhere; None outside any, "" where nothing may be."""
        claim = Claim.of(self._scope)
        return None if self._scope is None else "" if claim is None else claim.to_text()

    def enter(self) -> Scope | None:
        """Make the scope the current one; returns the one before."""
        if os.getpid() != self._home:
            # A forked child has the parent's memory, and what is in it may be long out of date.
            return _Under(self.text(), self.policy).enter()
        before = current_scope()
        restore(self._scope)
        return before


class _Under(Entered):
    """The way into a scope under a claim that came from another process."""

    __slots__ = ("_claim", "_text", "policy")

    def __init__(self, text: object, policy: str) -> None:
        self._claim, self.policy = Claim.read(text), policy
        # What can't be read is handed on as such, not as nothing.
        self._text = None if text is None else self._claim.to_text() if self._claim else ""

    def text(self) -> str | None:
        """The claim, to be handed on."""
        return self._text

    def enter(self) -> Scope | None:
        """Enter a new outermost scope; returns the one before."""
        before = current_scope()
        restore(self._made())
        return before

    def _made(self) -> Scope | None:
        if self._text is None:
            # Bound outside any scope.
            return None
        guard, claim, scope = _guard_of(self.policy), self._claim, Scope(None, self)
        if guard is None or claim is None or not claim.fits(guard.snapshot):
            # Denies: nobody here can say what the claim is worth, so its purpose is one that no
            # policy knows, and whoever is behind it may have opted out.
            scope.purpose, scope.path, scope.gpc = UNREADABLE, (UNREADABLE,), True
            for one in tuple(_everyone):
                one.signal(scope)
            return scope
        scope.route, scope.reader = claim.route, claim.reader
        if claim.gpc:
            scope.gpc = True
            guard.signal(scope)
        for purpose in claim.path:
            guard.enter(scope, purpose)
        return scope


class Bound(Generic[P, R]):
    """A function with the scope it is to run in. Made by `guard.bind`.

    Looks like the function: name, signature, documentation; what it gives and raises is the
    function's. Picklable wherever the function is.
    """

    __name__: str

    def __init__(self, function: Callable[P, R], into: _Back | _Under) -> None:
        # A class has attributes for its objects, a function for itself.
        update_wrapper(self, function, updated=() if isinstance(function, type) else ("__dict__",))
        self._function, self._into = function, into

    def __call__(self, /, *args: P.args, **kwargs: P.kwargs) -> R:
        """Call the function in its scope."""
        before = self._into.enter()
        try:
            return self._function(*args, **kwargs)
        finally:
            restore(before)

    def __get__(self, instance: object, owner: type | None = None) -> Any:
        """As a function in a class: bound to its object."""
        return self if instance is None else MethodType(self, instance)

    def __repr__(self) -> str:
        """The function's name only."""
        return f"Bound({getattr(self._function, '__qualname__', 'function')})"

    def __reduce__(self) -> tuple[object, ...]:
        """Pickled as the function, the policy's id and the claim as text."""
        return _arrived, (self._function, self._into.policy, self._into.text())


class _BoundGenerator(Bound[P, R]):
    """Every step of the generator runs in the scope, its caller's code outside of it."""

    def __call__(self, /, *args: P.args, **kwargs: P.kwargs) -> R:
        made: Any = stepped(lambda: self._function(*args, **kwargs), Steps(self._into))  # type: ignore[arg-type,return-value]  # a generator function's result is a generator
        return made  # type: ignore[no-any-return]  # as above


class _BoundAsyncGenerator(Bound[P, R]):
    """As `_BoundGenerator`."""

    def __call__(self, /, *args: P.args, **kwargs: P.kwargs) -> R:
        wrapped = wrap_async_generator(self._function, step=lambda: ScopedSteps(self._into))
        made: R = wrapped(*args, **kwargs)
        return made


class _BoundCoroutine(Bound[P, R]):
    """The coroutine runs in the scope from its first step to its last."""

    def __init__(self, function: Callable[P, R], into: _Back | _Under) -> None:
        super().__init__(function, into)
        if sys.version_info >= (3, 12):
            # Web frameworks and schedulers ask whether they may call it in a thread.
            inspect.markcoroutinefunction(self)

    async def __call__(  # type: ignore[override]  # a coroutine function's R is a coroutine
        self, /, *args: P.args, **kwargs: P.kwargs
    ) -> Any:
        """Await the function in its scope."""
        return await awaited(_called(self._function, args, kwargs), self._into)


async def _called(
    function: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]
) -> Any:
    """The call too belongs to the scope: a function may do something before it can be awaited."""
    return await function(*args, **kwargs)


def _bound(function: Callable[P, R], into: _Back | _Under) -> Bound[P, R]:
    """The kind of `Bound` that keeps the function's kind."""
    kind: type[Bound[P, R]] = Bound
    if inspect.isasyncgenfunction(function):
        kind = _BoundAsyncGenerator
    elif inspect.isgeneratorfunction(function):
        kind = _BoundGenerator
    elif inspect.iscoroutinefunction(function):
        kind = _BoundCoroutine
    return kind(function, into)


def _arrived(function: Callable[P, R], policy: str, text: object) -> Bound[P, R]:
    """A bound function that came from another process. Never an error because of its claim."""
    return _bound(function, _Under(text, policy))
