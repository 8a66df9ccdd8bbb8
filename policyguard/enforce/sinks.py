"""`@guard.sink`: the arguments of a function leave to a recipient, so they are judged first.

Layer: enforce. Where a scope has seen nothing labelled, and all arguments are plain scalars, the
answer of the call before still holds: it is kept with the scope, and a call costs a few look-ups.
Start reading at `SinkDecorator`.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from datetime import date, datetime
from decimal import Decimal
from itertools import count
from typing import Any, Final, ParamSpec, TypeVar, cast
from uuid import UUID

from policyguard.enforce.context import CURRENT, Scope, current_scope
from policyguard.enforce.decorators import inside
from policyguard.enforce.generators import (
    Each,
    NewArguments,
    nothing,
    wrap_async_generator,
    wrap_generator,
)
from policyguard.enforce.inforce import InForce
from policyguard.enforce.judge import Judge
from policyguard.enforce.redaction import redacted_value
from policyguard.enforce.seen import is_opaque
from policyguard.enforce.wrappers import ANY, Wrapper, behind, shape_of, wrapper
from policyguard.labels.parameters import Parameters, parameters_of
from policyguard.labels.registry import Touch
from policyguard.labels.typed import REDACTED, labels_of_annotations
from policyguard.policy.flow import Label

P = ParamSpec("P")
R = TypeVar("R")
Found = list[tuple[Label, str, Any]]

# Values of these types carry no label by themselves; the very types, not what derives from them.
SCALARS: Final = frozenset(
    {type(None), bool, int, float, str, bytes, date, datetime, Decimal, UUID}
)
_JUDGED: Final = """
    _pg_scope = _pg_get()
    _pg_pass = None if _pg_scope is None else _pg_scope.inner.get(_pg_key)
    if (
        _pg_pass is None or _pg_pass.now is not _pg_judge.in_force or _pg_pass.touch.used or {odd}
    ):
        _pg_new = _pg_first({positional}, {named})
        if _pg_new is not None:
            return AWAITED_pg_function(*_pg_new[0], **_pg_new[1])
    else:
        for _pg_count in _pg_pass.counts:
            _pg_next(_pg_count)
    return AWAITED_pg_function({call})
"""
_RUN: Final = "def _pg_wrapper({head}):" + _JUDGED.replace("AWAITED", "")
_RUN_ASYNC: Final = "async def _pg_wrapper({head}):" + _JUDGED.replace("AWAITED", "await ")


class Pass:
    """What was allowed in a scope, for as long as the same is in force and nothing was labelled.

    Attributes:
        now: the policy that allowed it.
        touch: whether the scope has something to remember since.
        counts: one counter of the tally for each flow.
    """

    __slots__ = ("counts", "now", "touch")

    def __init__(self, now: InForce, touch: Touch, counts: tuple[count[int], ...]) -> None:
        self.now, self.touch, self.counts = now, touch, counts


class SinkDecorator:
    """`guard.sink(...)`: the arguments leave to a recipient, so they are judged first."""

    __slots__ = ("_declared", "_judge", "recipient")

    def __init__(self, judge: Judge, recipient: str, declared: tuple[Label, ...]) -> None:
        self._judge, self.recipient, self._declared = judge, recipient, declared

    def __call__(self, function: Callable[P, R]) -> Callable[P, R]:
        """Judge every call before the function runs.

        A call without a purpose is denied whatever its arguments are. Raises, when called,
        PolicyViolation in mode block.

        Cost: some 0.4 us for scalars where nothing labelled was seen; else that of the search.
        """
        return cast("Callable[P, R]", inside(function, self._wrap))

    def _wrap(self, function: Wrapper) -> Wrapper:
        first = Arguments(self._judge, self.recipient, self._declared, function)
        code = behind(function)
        if inspect.isasyncgenfunction(code):
            return wrap_async_generator(function, first.begin)
        if inspect.isgeneratorfunction(code):
            return wrap_generator(function, first.begin)
        names = {
            "_pg_get": CURRENT.get,
            "_pg_key": first,
            "_pg_judge": self._judge,
            "_pg_first": first.judge,
            "_pg_scalars": SCALARS,
        }
        template = _RUN_ASYNC if inspect.iscoroutinefunction(code) else _RUN
        # Whether the caller gave it must be seen, so that a default isn't taken for data.
        shape = ANY if first.optional else shape_of(function)
        first.keeps = first.labelled.issubset(shape.values)
        return wrapper(function, template, names, odd=first.odd, shape=shape)


class Arguments:
    """The arguments of one function that is a sink.

    Attributes:
        keeps: whether the wrapper sees if a labelled argument is missing, so that an answer for all
            of them may be kept.
    """

    def __init__(
        self, judge: Judge, recipient: str, declared: tuple[Label, ...], function: Wrapper
    ) -> None:
        self._judge, self._recipient, self._declared = judge, recipient, declared
        typed = labels_of_annotations(function)
        self._signature = parameters_of(function)
        self.keeps = False
        self._names = list(self._signature)
        self._said = Parameters(function)
        self._typed = typed
        # A method's own object doesn't leave; what it holds isn't an argument.
        self._skip = 1 if self._names[:1] in (["self"], ["cls"]) and _in_class(function) else 0
        of_names = [label for name in self._names for label in typed.get(name, ())]
        self._all = frozenset([*declared, *of_names])

    @property
    def optional(self) -> bool:
        """Whether a labelled parameter has a default that may be taken for data."""
        return any(
            one.default is not one.empty and one.default is not None and one.name in self._typed
            for one in self._signature.values()
        )

    @property
    def labelled(self) -> frozenset[str]:
        """The names of labelled parameters."""
        return frozenset(name for name in self._names if name in self._typed)

    def odd(self, name: str) -> str:
        """Source that is true where an argument isn't as plain as the kept answer asks for."""
        absent = f" or {name} is None" if name in self._typed else ""
        skipped = self._names[: self._skip]
        return "False" if name in skipped else f"_pg_type({name}) not in _pg_scalars{absent}"

    def judge(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> NewArguments:
        """Judge a call; other arguments if some were redacted.

        Raises:
            PolicyViolation: a flow is denied or conditional, and it isn't redacted or let pass.
        """
        call = _Call(self, args, kwargs)
        # A traceback that shows locals doesn't show the arguments from this frame.
        del args, kwargs
        return self._judged(call)

    def begin(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> tuple[NewArguments, Each]:
        """As `judge`, for generators; what they yield isn't looked at."""
        call = _Call(self, args, kwargs)
        del args, kwargs
        return self._judged(call), nothing

    def _judged(self, call: _Call) -> NewArguments:
        judge, now, scope = self._judge, self._judge.in_force, current_scope()
        known = self._known(call.args, call.kwargs)
        found = known + self._searched(call.args, call.kwargs)
        if not found and judge.current_purpose() is None:
            found.append((Label(""), "", "strong"))
        if found:
            judge.judge(found, self._recipient, at="call", redact=call, now=now)
        if scope is not None and found == known and call.done is None:
            self._keep(now, scope, known)
        return call.done

    def _known(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Found:
        """Labels that are declared or stand in annotations."""
        found: Found = [(each, "", "strong") for each in self._declared]
        for i in range(self._skip, len(args)):
            name = self._said.name(i)
            found += [(label, name, "strong") for label in self._at(i, args[i])]
        for name, value in kwargs.items():
            found += [(label, name, "strong") for label in self._under(name, value)]
        return found

    def _at(self, place: int, value: object) -> tuple[Label, ...]:
        """The labels of a positional parameter; None is nothing, so it carries none."""
        return () if value is None else self._said.labels(place)

    def _under(self, name: str, value: object) -> tuple[Label, ...]:
        """The labels of a keyword; as `_at`."""
        return () if value is None else self._said.labels(name)

    def _searched(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Found:
        """Labels that the values carry themselves."""
        given: list[tuple[int | str, Any]] = [(i, args[i]) for i in range(self._skip, len(args))]
        given += kwargs.items()
        labels_in, hint = self._judge.labels_in, self._said.hint
        return [hit for key, value in given for hit in labels_in(value, hint=hint(key))]

    def _keep(self, now: InForce, scope: Scope, known: Found) -> None:
        """Keep that these flows are allowed here, if nothing but another policy can change that."""
        judge = self._judge
        touch = None if scope.registry is None else scope.registry.touch
        if not self.keeps or touch is None or touch.used or judge.watchers:
            return
        if scope.persons or now.shadow is not None:
            return
        labels = frozenset(label for label, _, _ in known)
        facts, purpose = scope.known()[0], judge.current_purpose()
        if purpose is None or labels != self._all or now.snapshot.context.changes is not None:
            return
        counts = []
        for label in labels:
            decision = now.snapshot.decide(label.data, label.form, purpose, self._recipient, facts)
            if not decision.allowed:
                return
            counts.append(judge.tally.counter(decision))
        scope.keep(self, Pass(now, touch, tuple(counts)))

    def redacted(
        self, args: tuple[Any, ...], kwargs: dict[str, Any], labels: frozenset[Label]
    ) -> NewArguments:
        """The arguments without what carries these labels; None if that can't be made."""
        if labels.intersection(self._declared):
            # Nobody said which argument it is.
            return None

        def without(key: int | str, value: object) -> tuple[object, bool]:
            typed = self._at(key, value) if isinstance(key, int) else self._under(key, value)
            if labels.intersection(typed):
                return REDACTED, True
            if is_opaque(value):
                # No data, such as a client: a weak doubt elsewhere, so it stops nothing here.
                return value, True
            made = redacted_value(
                value, self._judge.registry, labels.__contains__, hint=self._said.hint(key)
            )
            return made.value, made.complete

        parts = [
            without(i, value) if i >= self._skip else (value, True) for i, value in enumerate(args)
        ]
        named = {name: without(name, value) for name, value in kwargs.items()}
        if not all(complete for _, complete in (*parts, *named.values())):
            return None
        return tuple(value for value, _ in parts), {name: v for name, (v, _) in named.items()}


def _in_class(function: Wrapper) -> bool:
    """Whether a function is written inside a class, so that its first argument is its object."""
    around = str(getattr(function, "__qualname__", "")).rpartition(".")[0]
    return bool(around) and not around.endswith("<locals>")


class _Call:
    """The arguments of one call; takes denied labels out of them, if the judge asks for it."""

    __slots__ = ("_of", "args", "done", "kwargs")

    def __init__(self, of: Arguments, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        self._of, self.args, self.kwargs = of, args, kwargs
        self.done: NewArguments = None

    def __repr__(self) -> str:
        """Never the arguments."""
        return "a call"

    def __call__(self, labels: frozenset[Label]) -> bool:
        """Whether the arguments could be redacted; they stand in `done` then."""
        self.done = self._of.redacted(self.args, self.kwargs, labels)
        return self.done is not None
