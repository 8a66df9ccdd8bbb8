"""Where a flow is allowed, a decorated function is the bare one.

Functions with generated signatures, of every kind, are called by generated arguments, bare and
behind every decorator: results, exceptions and everything that can be asked of them are the same.

`POLICYGUARD_PROPERTY` sets how many cases are made (default 4,000). Start reading at `Case`.
"""

from __future__ import annotations

import abc
import asyncio
import dataclasses
import functools
import gc
import inspect
import os
import pickle
import random
import sys
import traceback
import types
import weakref
from collections.abc import AsyncGenerator, Callable, Generator
from contextlib import suppress
from typing import Any, overload
from unittest import mock

import pytest

from tests.enforce.kit import ACCOUNT, guard

CASES = int(os.environ.get("POLICYGUARD_PROPERTY", "4000"))
SEED = os.environ.get("POLICYGUARD_SEED", "2024-11-11")
GUARD = guard()
Decorator = Callable[[Any], Any]


def _all(function: Any) -> Any:
    return GUARD.purpose(ACCOUNT)(
        GUARD.source("system")(
            GUARD.transform("aggregated", reviewed_by="us", expires="2999-01-01")(
                GUARD.sink("mailer")(function)
            )
        )
    )


# fmt: off
DECORATORS: dict[str, Decorator] = {
    "purpose":   GUARD.purpose(ACCOUNT),
    "source":    GUARD.source("system"),
    "sink":      GUARD.sink("mailer"),
    "transform": GUARD.transform("aggregated", reviewed_by="us", expires="2999-01-01"),
    "all":       _all,
}
# fmt: on
every = pytest.mark.parametrize("decorate", DECORATORS.values(), ids=DECORATORS)
NAMES = ["a", "b", "self", "cls", "args", "kwargs", "_", "_C__own", "type", "next", "StopIteration"]
NAMES += [
    "BaseException",
    "pg_x",
    "_pgx",
    "été",
    "function",
    "value",
    "scope",
    "_pg",
    "print",
    "id",
]
KINDS = ["def", "async def", "generator", "async generator"]
STRANGE = ["_pg_args", "_pg_function", "_pg_scope", "_pg_"]


class Odd:
    """A value that is like no other, and whose comparisons fail."""

    def __eq__(self, other: object) -> bool:
        raise ZeroDivisionError

    __hash__ = None  # type: ignore[assignment]  # as a list's


class Case:
    """A function with a generated signature, and calls that may or may not fit it.

    Attributes:
        bare: gives its locals back.
        calls: positional and named arguments.
    """

    def __init__(self, rng: random.Random) -> None:
        self.rng, self.kind = rng, rng.choice(KINDS)
        pool = NAMES + (STRANGE if rng.random() < 0.1 else [])
        count = rng.choice([0, 1, 1, 2, 3, 4, 6]) if rng.random() < 0.98 else 200
        names = rng.sample(pool, count) if count <= 6 else [f"p{n}" for n in range(count)]
        head = self._head(names)
        space: dict[str, Any] = {"Odd": Odd, "odd": Odd(), "__name__": __name__}
        future = "from __future__ import annotations\n" * (rng.random() < 0.5)
        exec(f"{future}{self._source(head, names)}", space)
        self.bare = space["made"]
        self.calls = [self._call(names) for _ in range(10)]

    def _source(self, head: str, names: list[str]) -> str:
        body = f"({', '.join(names)}{',' if names else ''})"
        lines = {
            "def": f"def made({head}):\n '''What it does.'''\n return {body}",
            "async def": f"async def made({head}):\n return {body}",
            "generator": f"def made({head}):\n got = yield {body}\n return got",
            "async generator": f"async def made({head}):\n yield {body}",
        }
        return lines[self.kind]

    def _head(self, names: list[str]) -> str:
        rng = self.rng
        marks = sorted(rng.randrange(len(names) + 1) for _ in range(2))
        only, keyword = marks if rng.random() < 0.7 else (0, len(names))
        starred = rng.random() < 0.3 and keyword < len(names)
        double = rng.random() < 0.3 and len(names) > keyword + starred
        head, optional = [], False
        for place, name in enumerate(names):
            optional = (optional and place < keyword) or rng.random() < 0.3
            hint = rng.choice(["", "", ": int", ": 'Nobody'", ": list[str]"])
            # Three in four are as a person would write them.
            default = rng.choice([" = 1", " = None", " = odd", " = []"]) if optional else ""
            if place == keyword and starred:
                head.append(f"*{name}{hint}")
            elif place == len(names) - 1 and double:
                head.append(f"**{name}{hint}")
            else:
                if place == keyword and not starred:
                    head.append("*")
                head.append(f"{name}{hint}{default}")
            if place == only - 1 and only <= keyword:
                head.append("/")
        return ", ".join(head)

    def _call(self, names: list[str]) -> tuple[list[Any], dict[str, Any]]:
        rng = self.rng
        places = rng.randrange(len(names) + 2) if rng.random() < 0.8 else len(names)
        args = [self._value() for _ in range(places)]
        rest = names[places:] if rng.random() < 0.8 else rng.sample(names, len(names) // 2)
        named = {name: self._value() for name in rest if rng.random() < 0.8}
        if rng.random() < 0.1:
            named["unheard_of"] = 1
        return args, named

    def _value(self) -> Any:
        return self.rng.choice([1, "x", None, Odd(), object(), [], {"a": 1}, 1.5, b"x", True])


def _ran(kind: str, function: Any, args: list[Any], named: dict[str, Any]) -> Any:
    """What comes of a call: whether it failed at the call, with what, or what it gave."""
    with GUARD.context(purpose=ACCOUNT):
        return _ended(kind, function, args, named)


def _ended(kind: str, function: Any, args: list[Any], named: dict[str, Any]) -> Any:
    try:
        made = function(*args, **named)
    except TypeError as error:
        return "at the call", str(error), None
    try:
        if kind == "def":
            given = made
        elif kind == "async def":
            given = asyncio_run(made)
        elif kind == "generator":
            given = next(made)
        else:
            given = asyncio_run(anext(made))
    except TypeError as error:
        return "later", str(error), None
    return "ran", "", given


def asyncio_run(awaitable: Any) -> Any:
    """Run something that waits for nothing, without an event loop."""
    steps = awaitable.__await__()
    try:
        while True:
            next(steps)
    except StopIteration as end:
        return end.value


def _same(one: Any, other: Any) -> bool:
    """Whether two results are the very same, looked into as far as the wrapper may have copied."""
    if type(one) is not type(other):
        return False
    if isinstance(one, tuple):
        return len(one) == len(other) and all(map(_same, one, other))
    if isinstance(one, dict) and one.keys() == other.keys():
        return one is other or all(_same(one[key], other[key]) for key in one)
    return one is other


ASKED = ("__name__", "__qualname__", "__doc__", "__module__", "__annotations__")
KIND = (inspect.iscoroutinefunction, inspect.isgeneratorfunction, inspect.isasyncgenfunction)


@pytest.mark.slow
def test_generated_functions_are_the_same_behind_every_decorator() -> None:
    """Arguments, results, errors at the call, and all that can be asked of a function."""
    rng = random.Random(SEED)
    ran = failed = 0
    for _ in range(max(CASES // 20, 20)):
        try:
            case = Case(rng)
        except SyntaxError:
            continue
        for name, decorate in DECORATORS.items():
            decorated = decorate(case.bare)
            assert decorated is not case.bare
            assert decorated.__wrapped__ is not None
            assert str(inspect.signature(decorated)) == str(inspect.signature(case.bare))
            for asked in ASKED:
                assert getattr(decorated, asked) == getattr(case.bare, asked)
            assert [kind(decorated) for kind in KIND] == [kind(case.bare) for kind in KIND]
            for args, named in case.calls:
                bare = _ran(case.kind, case.bare, args, named)
                ours = _ran(case.kind, decorated, args, named)
                strange = any(one in str(inspect.signature(case.bare)) for one in STRANGE)
                if strange and bare[0] == "at the call":
                    # Its names might be ours, so it takes whatever comes, and says so later.
                    assert ours[1] == bare[1]
                    continue
                assert ours[:2] == bare[:2], (name, args, named)
                assert _same(ours[2], bare[2]), (name, args, named)
                ran += bare[0] == "ran"
                failed += bare[0] != "ran"
    assert ran + failed >= CASES * 1.5
    assert min(ran, failed) > CASES / 10


# Everything that can be called.


def _plain(a: int, b: int = 2, *, c: int = 3) -> tuple[int, int, int]:
    return a, b, c


def _by_others(function: Any) -> Any:
    @functools.wraps(function)
    def passed(*args: Any, **kwargs: Any) -> Any:
        return function(*args, **kwargs)

    return passed


def _by_others_unnamed(function: Any) -> Any:
    # A function of its own is the point.
    return lambda *args, **kwargs: function(*args, **kwargs)  # noqa: PLW0108 - the point


class Callable_:  # noqa: N801 - an object that can be called
    """As a client of a library."""

    def __call__(self, a: int, b: int = 2, *, c: int = 3) -> tuple[int, int, int]:
        return a, b, c


class Later:
    """As above, to be awaited."""

    async def __call__(self, a: int, b: int = 2, *, c: int = 3) -> Any:
        await asyncio.sleep(0)
        return a, b, c, GUARD.current_purpose()


class Made:
    """A class is called too."""

    def __init__(self, a: int, b: int = 2, *, c: int = 3) -> None:
        self.given = (a, b, c)


# fmt: off
CALLABLE: dict[str, Any] = {
    "lambda":            lambda a, b=2, *, c=3: (a, b, c),
    "partial":           functools.partial(_plain, c=4),
    "partial of partial": functools.partial(functools.partial(_plain, 1), c=4),
    "built-in":          max,
    "built-in method":   [].__eq__,
    "type":              dict,
    "no signature":      types.SimpleNamespace,
    "object":            Callable_(),
    "bound method":      Callable_().__call__,
    "wrapped by others": _by_others(_plain),
    "wrapped unnamed":   _by_others_unnamed(_plain),
    "cached":            functools.lru_cache(_plain),
    "single dispatch":   functools.singledispatch(_plain),
    "mock":              mock.Mock(return_value=(1, 2, 3)),
}
# fmt: on


@every
@pytest.mark.parametrize("function", CALLABLE.values(), ids=CALLABLE)
def test_whatever_can_be_called_can_be_decorated(decorate: Decorator, function: Any) -> None:
    """With the same results and the same errors, each as often as it is called."""
    decorated = decorate(function)
    for args, kwargs in (((5,), {}), ((5, 6), {}), ((5,), {"c": 7}), ((), {}), ((1, 2, 3), {})):
        ends = []
        for called in (function, decorated):
            try:
                with GUARD.context(purpose=ACCOUNT):
                    ends.append(("gave", repr(called(*args, **kwargs))))
            except TypeError as error:
                ends.append(("TypeError", str(error)))
        assert ends[0] == ends[1]


@every
def test_what_cannot_be_called_is_refused_where_it_stands(decorate: Decorator) -> None:
    """A property would silently become a method."""
    for wrong in (property(lambda self: 1), functools.cached_property(len), 3):
        with pytest.raises(TypeError, match="below it"):
            decorate(wrong)


@every
def test_in_classes(decorate: Decorator) -> None:
    """Below properties, caches, overloads, abstract methods; in dataclasses; private names."""

    class Base(abc.ABC):
        @abc.abstractmethod
        @decorate
        def below(self) -> int: ...

        @decorate
        @abc.abstractmethod
        def above(self) -> int: ...

    @dataclasses.dataclass
    class Shop(Base):
        price: int
        asked: int = 0

        @decorate
        def below(self) -> int:
            return self.price

        @decorate
        def above(self) -> int:
            return int(self.__own(_Shop__x=self.price))

        @decorate
        def __own(self, __x: int) -> int:  # noqa: PYI063 - a mangled name is the point
            return __x

        @property
        @decorate
        def double(self) -> int:
            return 2 * self.price

        @functools.cached_property
        @decorate
        def once(self) -> int:
            self.asked += 1
            return self.price

        @overload
        def same(self, a: int) -> int: ...
        @overload
        def same(self, a: str) -> str: ...
        @decorate
        def same(self, a: Any) -> Any:
            return a

    assert Base.__abstractmethods__ == {"below", "above"}
    with pytest.raises(TypeError):
        Base()  # type: ignore[abstract]  # that is the point
    with GUARD.context(purpose=ACCOUNT):
        shop = Shop(7)
        assert (shop.below(), shop.above(), shop.double) == (7, 7, 14)
        assert (shop.once, shop.once, shop.asked) == (7, 7, 1)
        assert shop.same("x") == "x"


class Here:
    """A stand-in without any magic: what can be iterated over would be taken for data."""

    def __call__(self) -> str:
        """A folder."""
        return "/"


@every
def test_injected_arguments_and_caches_around(decorate: Decorator) -> None:
    """`mock.patch` below and above, and a cache around a decorated function."""
    calls: list[int] = []

    @decorate
    @mock.patch("os.getcwd", new_callable=Here)
    def below(a: int, injected: Any) -> Any:
        return a, injected is os.getcwd

    @mock.patch("os.getcwd", new_callable=Here)
    @decorate
    def above(a: int, injected: Any) -> Any:
        return a, injected is os.getcwd

    @functools.cache
    @decorate
    def cached(a: int) -> int:
        calls.append(a)
        return a

    with GUARD.context(purpose=ACCOUNT):
        assert below(1) == above(1) == (1, True)
        assert (cached(1), cached(1), calls) == (1, 1, [1])


@every
def test_whatever_is_awaited_runs_in_its_scope(decorate: Decorator) -> None:
    """Objects with an async call, partials, `types.coroutine`, and functions marked as such."""

    @types.coroutine
    def old(a: int) -> Generator[None, None, Any]:
        yield
        return a, GUARD.current_purpose()

    async def later(a: int, b: int = 2, *, c: int = 3) -> Any:
        await asyncio.sleep(0)
        return a, b, c, GUARD.current_purpose()

    made: list[Any] = [functools.partial(later, c=4), Later(), old, later]
    if sys.version_info >= (3, 12):

        def marked(a: int) -> Any:
            seen = GUARD.current_purpose()

            async def run() -> Any:
                return a, seen

            return run()

        made.append(inspect.markcoroutinefunction(marked))

    async def run() -> None:
        for function in made:
            given, bare = await decorate(function)(1), await function(1)
            assert given == bare
            assert given[-1] == ACCOUNT

    with GUARD.context(purpose=ACCOUNT):
        asyncio.run(run())
    assert inspect.iscoroutinefunction(decorate(functools.partial(later)))


# Exceptions, memory, depth.


@every
def test_an_exception_is_the_functions_own(decorate: Decorator) -> None:
    """The same object, its traceback down to the function, no cause and no context of ours."""

    def fail() -> Any:
        raise error

    async def fail_later() -> Any:
        raise error

    def fail_in_steps() -> Generator[int, None, None]:
        yield 1
        raise error

    async def fail_in_async_steps() -> AsyncGenerator[int, None]:
        yield 1
        raise error

    async def each(made: AsyncGenerator[int, None]) -> None:
        async for _ in made:
            pass

    for error in (KeyError("x"), StopAsyncIteration(), GeneratorExit(), KeyboardInterrupt()):
        calls: list[Any] = [decorate(fail), lambda: asyncio_run(decorate(fail_later)())]
        if isinstance(error, (KeyError, KeyboardInterrupt)):
            calls.append(lambda: list(decorate(fail_in_steps)()))
            calls.append(lambda: asyncio_run(each(decorate(fail_in_async_steps)())))
        for call in calls:
            with GUARD.context(purpose=ACCOUNT), pytest.raises(type(error)) as caught:
                call()
            if type(error) is StopAsyncIteration:
                continue
            assert caught.value is error
            frames = traceback.extract_tb(caught.value.__traceback__)
            assert frames[-1].name.startswith("fail")
            assert (error.__cause__, error.__context__) == (None, None)
            error.__traceback__ = None


@every
def test_what_is_thrown_in_is_no_context_of_what_comes_later(decorate: Decorator) -> None:
    """A generator that dealt with an exception is done with it."""

    def steps() -> Generator[int, None, None]:
        with suppress(KeyError):
            yield 1
        raise UnboundLocalError

    async def async_steps() -> AsyncGenerator[int, None]:
        with suppress(KeyError):
            yield 1
        raise UnboundLocalError

    with GUARD.context(purpose=ACCOUNT):
        iterator = decorate(steps)()
        next(iterator)
        with pytest.raises(UnboundLocalError) as caught:
            iterator.throw(KeyError())
        assert caught.value.__context__ is None
        async_iterator = decorate(async_steps)()
        asyncio_run(anext(async_iterator))
        with pytest.raises(UnboundLocalError) as caught:
            asyncio_run(async_iterator.athrow(KeyError()))
        assert caught.value.__context__ is None


@every
def test_closing_gives_what_the_bare_generator_gives(decorate: Decorator) -> None:
    """Its return value on Python 3.13, and the error of one that goes on yielding."""

    def returns() -> Generator[int, None, str]:
        try:
            yield 1
        except GeneratorExit:
            return "closed"
        return "ended"

    def refuses() -> Generator[int, None, None]:
        while True:
            with suppress(GeneratorExit):
                yield 1

    with GUARD.context(purpose=ACCOUNT):
        ends = []
        for function in (returns, decorate(returns)):
            made = function()
            next(made)
            ends.append(made.close())
        assert ends[0] == ends[1]
        for function in (refuses, decorate(refuses)):
            made = function()
            next(made)
            with pytest.raises(RuntimeError, match="ignored GeneratorExit"):
                made.close()
            with pytest.raises(RuntimeError):
                made.throw(RuntimeError)


class Thing:
    """Can be pointed at weakly."""


@every
def test_nothing_is_kept_alive(decorate: Decorator) -> None:
    """Arguments and results go when their users let go, without waiting for the collector."""

    def give(value: Any) -> Any:
        return Thing()

    def steps(value: Any) -> Generator[Any, None, None]:
        del value
        while True:
            yield Thing()

    gc.disable()
    try:
        with GUARD.context(purpose=ACCOUNT):
            thing = Thing()
            argument, result = weakref.ref(thing), weakref.ref(decorate(give)(thing))
            del thing
            assert (argument(), result()) == (None, None)
        with GUARD.context(purpose=ACCOUNT):
            iterator = decorate(steps)(Thing())
            value = next(iterator)
            held = weakref.ref(value)
            del value
            assert held() is None
            iterator.close()
    finally:
        gc.enable()


def recursive(depth: int) -> int:
    """Module level, so that it can be decorated in place."""
    return depth and 1 + deep(depth - 1)


deep = recursive


@every
def test_recursion_takes_one_frame_more_a_call(
    decorate: Decorator, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Half the depth is as deep as ever for one decorator, and deeper ends in a RecursionError."""
    decorated = decorate(recursive)
    monkeypatch.setitem(globals(), "deep", decorated)
    layers = 5 if decorate is DECORATORS["all"] else 2
    with GUARD.context(purpose=ACCOUNT):
        assert decorated((sys.getrecursionlimit() - 200) // layers - 20) > 0
        with pytest.raises(RecursionError):
            decorated(sys.getrecursionlimit() + 10)
        assert GUARD.current_purpose() == ACCOUNT


@GUARD.purpose(ACCOUNT)
@GUARD.sink("mailer")
def at_the_top(a: int) -> int:
    """A decorated function at the top of its module."""
    return a


@every
def test_pickling_is_by_name(decorate: Decorator, monkeypatch: pytest.MonkeyPatch) -> None:
    """A decorated function of a module is pickled as any function."""
    monkeypatch.setitem(sys.modules, __name__, sys.modules.get(__name__) or types.ModuleType(""))
    module = types.ModuleType("made_for_pickling")
    exec("def made(a):\n    return a", vars(module))
    module.made = decorate(module.made)  # type: ignore[attr-defined]  # just made
    monkeypatch.setitem(sys.modules, "made_for_pickling", module)
    assert pickle.loads(pickle.dumps(module.made)) is module.made


def test_defaults_that_change_later() -> None:
    """Keyword-only defaults stay shared; positional ones are those of the decoration."""

    def bare(a: int = 1, *, b: int = 2) -> tuple[int, int]:
        return a, b

    decorated = GUARD.purpose(ACCOUNT)(bare)
    assert bare.__kwdefaults__ is not None
    bare.__kwdefaults__["b"] = 3
    assert decorated() == (1, 3)
    bare.__defaults__ = (9,)
    assert decorated() == (1, 3)
