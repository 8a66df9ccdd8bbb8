"""In front of an allowed function nothing changes; in front of a denied one nothing runs."""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import AsyncGenerator, Callable, Generator
from typing import Annotated, Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from policyguard import Category, NoPurpose, PolicyViolation, TermError
from policyguard.enforce.context import current_scope
from tests.enforce.kit import ACCOUNT, ADDRESS, ADS, COUNTING, EMAIL, FACE, LIKES, SECURITY, guard

GUARD = guard()
VECTOR = [((number * 7919) % 1009) / 1009 for number in range(64)]
Decorator = Callable[[Any], Any]
# fmt: off
DECORATORS: dict[str, Decorator] = {
    "purpose": GUARD.purpose(ACCOUNT),
    "source":  GUARD.source("system"),
    "sink":    GUARD.sink("mailer"),
    "all":     lambda function: GUARD.purpose(ACCOUNT)(
        GUARD.source("system")(GUARD.sink("mailer")(function))
    ),
}
# fmt: on
every = pytest.mark.parametrize("decorate", DECORATORS.values(), ids=DECORATORS)


def plain(a: int, b: str = "b", *rest: int, c: bool = False, **more: int) -> tuple[Any, ...]:
    """The bare function."""
    return a, b, rest, c, more


async def coroutine(a: int) -> int:
    """The bare coroutine function."""
    await asyncio.sleep(0)
    return a + 1


def generator(a: int) -> Generator[int, str, str]:
    """The bare generator function."""
    got = yield a
    return got


async def async_generator(a: int) -> AsyncGenerator[int, str]:
    """The bare async generator function."""
    yield a


BARE = (plain, coroutine, generator, async_generator)
KINDS = (inspect.iscoroutinefunction, inspect.isgeneratorfunction, inspect.isasyncgenfunction)


@every
@pytest.mark.parametrize("bare", BARE, ids=lambda bare: bare.__name__)
def test_name_signature_docstring_and_kind_stay(decorate: Decorator, bare: Any) -> None:
    """A decorated function looks like the bare one to whoever inspects it."""
    decorated = decorate(bare)
    assert decorated is not bare
    assert (decorated.__name__, decorated.__qualname__) == (bare.__name__, bare.__qualname__)
    assert (decorated.__doc__, decorated.__module__) == (bare.__doc__, bare.__module__)
    assert inspect.signature(decorated) == inspect.signature(bare)
    assert [kind(decorated) for kind in KINDS] == [kind(bare) for kind in KINDS]


@every
@settings(deadline=None, max_examples=40)
@given(
    a=st.integers(),
    b=st.text(),
    rest=st.lists(st.integers()),
    more=st.dictionaries(st.sampled_from("xyz"), st.integers()),
)
def test_arguments_and_results_pass_unchanged(
    decorate: Decorator, a: int, b: str, rest: list[int], more: dict[str, int]
) -> None:
    """What is handed in arrives, and what is returned is the very object."""
    with GUARD.context(purpose=ACCOUNT):
        assert decorate(plain)(a, b, *rest, c=True, **more) == plain(a, b, *rest, c=True, **more)
        kept = object()
        assert decorate(lambda: [kept])()[0] is kept


@every
def test_exceptions_are_those_of_the_bare_function(decorate: Decorator) -> None:
    """The same object is raised, without a cause of ours."""
    error = KeyError("x")

    def fail() -> None:
        raise error

    async def fail_later() -> None:
        raise error

    with GUARD.purpose(ACCOUNT):
        for call in (decorate(fail), lambda: asyncio.run(decorate(fail_later)())):
            with pytest.raises(KeyError) as caught:
                call()
            assert caught.value is error
            assert (error.__cause__, error.__context__) == (None, None)


@every
def test_nothing_runs_before_it_would(decorate: Decorator) -> None:
    """Coroutines and generators stay lazy."""
    ran: list[str] = []

    async def later() -> None:
        ran.append("coroutine")

    def steps() -> Generator[int, None, None]:
        ran.append("generator")
        yield 1

    async def async_steps() -> AsyncGenerator[int, None]:
        ran.append("async generator")
        yield 1

    with GUARD.purpose(ACCOUNT):
        waiting = decorate(later)()
        iterator, async_iterator = decorate(steps)(), decorate(async_steps)()
        assert ran == []
        waiting.close()
        assert next(iterator) == 1
        iterator.close()
        assert asyncio.run(_first(async_iterator)) == 1
    assert ran == ["generator", "async generator"]


async def _first(iterator: AsyncGenerator[Any, Any]) -> Any:
    try:
        return await anext(iterator)
    finally:
        await iterator.aclose()


class Stop(Exception):  # noqa: N818 - thrown by the tests
    """What the caller throws."""


STEPS = st.lists(st.sampled_from(["next", "send", "throw", "stop", "close"]), max_size=8)


def _machine(log: list[Any]) -> Generator[int, Any, str]:
    for number in range(4):
        try:
            log.append((yield number))
        except Stop:
            log.append("thrown")
        finally:
            log.append(number)
    return "done"


async def _async_machine(log: list[Any]) -> AsyncGenerator[int, Any]:
    for number in range(4):
        try:
            await asyncio.sleep(0)
            log.append((yield number))
        except Stop:
            log.append("thrown")
        finally:
            log.append(number)


def _drive(made: Generator[int, Any, str], steps: list[str]) -> list[Any]:
    seen: list[Any] = []
    # fmt: off
    moves: dict[str, Callable[[], Any]] = {
        "next":  lambda: next(made),
        "send":  lambda: made.send(None if not seen else "sent"),
        "throw": lambda: made.throw(Stop),
        "stop":  lambda: made.throw(StopIteration),
        "close": made.close,
    }
    # fmt: on
    for step in steps:
        try:
            seen.append(moves[step]())
        except (Stop, StopIteration, RuntimeError, TypeError) as error:
            seen.append((type(error), getattr(error, "value", None), str(error)))
        assert current_scope() is OUTSIDE[0]
    made.close()
    return seen


async def _drive_async(made: AsyncGenerator[int, Any], steps: list[str]) -> list[Any]:
    seen: list[Any] = []
    # fmt: off
    moves: dict[str, Callable[[], Any]] = {
        "next":  lambda: anext(made),
        "send":  lambda: made.asend(None if not seen else "sent"),
        "throw": lambda: made.athrow(Stop),
        "stop":  lambda: made.athrow(StopAsyncIteration),
        "close": made.aclose,
    }
    # fmt: on
    for step in steps:
        try:
            seen.append(await moves[step]())
        except (Stop, StopAsyncIteration, RuntimeError, TypeError) as error:
            seen.append((type(error), str(error)))
        assert current_scope() is OUTSIDE[0]
    await made.aclose()
    return seen


OUTSIDE: list[Any] = [None]


@every
@settings(deadline=None, max_examples=80)
@given(steps=STEPS)
def test_a_generator_answers_every_move_like_the_bare_one(
    decorate: Decorator, steps: list[str]
) -> None:
    """Next, send, throw, close and the return value, in any order."""
    bare_log: list[Any] = []
    log: list[Any] = []
    with GUARD.purpose(ACCOUNT):
        OUTSIDE[0] = current_scope()
        assert _drive(decorate(_machine)(log), steps) == _drive(_machine(bare_log), steps)
    assert log == bare_log


@every
@settings(deadline=None, max_examples=80)
@given(steps=STEPS)
def test_an_async_generator_answers_every_move_like_the_bare_one(
    decorate: Decorator, steps: list[str]
) -> None:
    """Anext, asend, athrow and aclose, in any order."""
    bare_log: list[Any] = []
    log: list[Any] = []

    async def both() -> None:
        OUTSIDE[0] = current_scope()
        decorated = await _drive_async(decorate(_async_machine)(log), steps)
        assert decorated == await _drive_async(_async_machine(bare_log), steps)

    with GUARD.purpose(ACCOUNT):
        asyncio.run(both())
    assert log == bare_log


@every
def test_cancellation_reaches_the_function(decorate: Decorator) -> None:
    """A cancelled coroutine sees the cancellation, cleans up, and is cancelled."""
    seen: list[str] = []
    started = asyncio.Event()

    async def wait() -> None:
        try:
            seen.append("started")
            started.set()
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            seen.append("cancelled")
            raise

    async def run() -> None:
        with GUARD.purpose(ACCOUNT):
            task = asyncio.create_task(decorate(wait)())
            await started.wait()
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
            assert task.cancelled()

    asyncio.run(run())
    assert seen == ["started", "cancelled"]


def _accounts(decorate: Decorator) -> Any:
    class Accounts:
        @decorate
        def method(self, a: int) -> tuple[object, int]:
            return type(self).__name__, a

        @decorate
        @classmethod
        def above(cls, a: int) -> tuple[object, int]:
            return cls.__name__, a

        @classmethod
        @decorate
        def below(cls, a: int) -> tuple[object, int]:
            return cls.__name__, a

        @decorate
        @staticmethod
        def alone(a: int) -> int:
            return a

    return Accounts


@every
def test_methods_of_every_kind_stay_what_they_are(decorate: Decorator) -> None:
    """Method, classmethod in either order, staticmethod: each gets what it should."""
    kind = _accounts(decorate)
    made = kind()
    with GUARD.purpose(ACCOUNT):
        assert made.method(1) == ("Accounts", 1)
        assert made.above(2) == kind.above(2) == ("Accounts", 2)
        assert made.below(3) == kind.below(3) == ("Accounts", 3)
        assert made.alone(4) == kind.alone(4) == 4


def test_each_kind_of_function_runs_for_its_purpose() -> None:
    """Inside every kind of decorated function the purpose is the named one."""
    mark = GUARD.purpose(ADS)

    @mark
    def sync() -> str | None:
        return GUARD.current_purpose()

    @mark
    async def later() -> str | None:
        await asyncio.sleep(0)
        return GUARD.current_purpose()

    @mark
    def steps() -> Generator[str | None, None, None]:
        yield GUARD.current_purpose()

    @mark
    async def async_steps() -> AsyncGenerator[str | None, None]:
        await asyncio.sleep(0)
        yield GUARD.current_purpose()

    with GUARD.purpose(ACCOUNT):
        assert sync() == ADS
        assert asyncio.run(later()) == ADS
        assert list(steps()) == [ADS]
        assert asyncio.run(_first(async_steps())) == ADS
        assert GUARD.current_purpose() == ACCOUNT


def test_what_a_source_gives_is_known_from_then_on() -> None:
    """Results, yields and awaited results carry the label, the function's name and its caller."""
    mark = GUARD.source(EMAIL)

    @mark
    def sync() -> dict[str, str]:
        return {"to": ADDRESS}

    @mark
    async def later() -> str:
        return ADDRESS

    @mark
    def steps() -> Generator[str, None, None]:
        yield ADDRESS

    @mark
    async def async_steps() -> AsyncGenerator[str, None]:
        yield ADDRESS

    calls: list[Callable[[], Any]] = [
        sync,
        lambda: asyncio.run(later()),
        lambda: list(steps()),
        lambda: asyncio.run(_first(async_steps())),
    ]
    for call in calls:
        with GUARD.context(purpose=ADS):
            call()
            ((label, _, strength),) = GUARD.labels_in(ADDRESS)
        assert (label.data, strength) == (EMAIL, "strong")
        assert label.source.endswith("steps()") or label.source.endswith(("sync()", "later()"))
        assert "test_decorators.py:" in label.at


def _kinds_of_sinks(ran: list[int]) -> dict[str, Callable[[Any], Any]]:
    mark = GUARD.sink("pixel")

    @mark
    def sync(value: object) -> None:
        ran.append(1)

    @mark
    async def later(value: object) -> None:
        ran.append(1)

    @mark
    def steps(value: object) -> Generator[int, None, None]:
        ran.append(1)
        yield 1

    @mark
    async def async_steps(value: object) -> AsyncGenerator[int, None]:
        ran.append(1)
        yield 1

    class Sender:
        @mark
        def method(self, value: object) -> None:
            ran.append(1)

        @classmethod
        @mark
        def of_class(cls, *, value: object) -> None:
            ran.append(1)

        @mark
        @staticmethod
        def alone(value: object) -> None:
            ran.append(1)

    return {
        "sync": sync,
        "coroutine": lambda value: asyncio.run(later(value)),
        "generator": lambda value: list(steps(value)),
        "async generator": lambda value: asyncio.run(_first(async_steps(value))),
        "method": Sender().method,
        "classmethod": lambda value: Sender.of_class(value=value),
        "staticmethod": Sender.alone,
    }


@pytest.mark.parametrize("kind", _kinds_of_sinks([]))
def test_a_denied_call_never_runs_the_function(kind: str) -> None:
    """In mode block the violation is raised and not a line of the function has run."""
    ran: list[int] = []
    call = _kinds_of_sinks(ran)[kind]
    with GUARD.purpose(ADS):
        GUARD.remember(ADDRESS, GUARD.label(EMAIL))
        with pytest.raises(PolicyViolation) as caught:
            call({"profile": [ADDRESS]})
        assert caught.value.decision.flow.data == EMAIL
        assert ran == []
        call({"profile": ["somebody else"]})
    assert ran == [1]


@pytest.mark.parametrize("kind", _kinds_of_sinks([]))
@pytest.mark.parametrize("value", [None, "", {}, "text"])
def test_a_sink_without_a_purpose_is_denied_whatever_it_gets(kind: str, value: object) -> None:
    """No purpose, no call: also with nothing in the arguments."""
    ran: list[int] = []
    with pytest.raises(NoPurpose) as caught:
        _kinds_of_sinks(ran)[kind](value)
    assert (caught.value.code, caught.value.decision.reason) == ("PG202", "no_purpose")
    assert ran == []


def test_a_sink_without_arguments_and_purpose_is_denied() -> None:
    """Even a call of nothing leaves."""

    @GUARD.sink("pixel")
    def ping() -> None:
        raise AssertionError

    with pytest.raises(NoPurpose):
        ping()


def test_conditional_blocks() -> None:
    """What depends on a fact that nobody knows may not leave."""

    @GUARD.sink("pixel", data=LIKES)
    def track(event: str) -> str:
        return event

    with GUARD.purpose(ADS), pytest.raises(PolicyViolation) as caught:
        track("x")
    assert (caught.value.decision.verdict, caught.value.decision.unmet) == (
        "conditional",
        (f"consent:{ADS}",),
    )
    with GUARD.context(purpose=ADS, facts={"consent": {ADS: True}}):
        assert track("x") == "x"


Mail = Annotated[str, Category(EMAIL)]


def test_annotated_parameters_are_labelled_wherever_they_stand() -> None:
    """By position, by name, in *args and in **kwargs."""

    @GUARD.sink("pixel")
    def positional(a: int, to: Mail) -> None:
        raise AssertionError

    @GUARD.sink("pixel")
    def rest(*to: Mail) -> None:
        raise AssertionError

    @GUARD.sink("pixel")
    def more(a: int, **to: Mail) -> None:
        raise AssertionError

    calls: list[Callable[[], Any]] = [
        lambda: positional(1, "m"),
        lambda: positional(1, to="m"),
        lambda: positional(to="m", a=1),
        lambda: rest("m"),
        lambda: rest("m", "n"),
        lambda: more(1, bcc="m"),
        lambda: more(a=1, b="m"),
    ]
    for call in calls:
        with GUARD.purpose(ADS), pytest.raises(PolicyViolation) as caught:
            call()
        assert caught.value.decision.flow.data == EMAIL


def test_a_sink_under_a_source_under_a_purpose() -> None:
    """Nested decorators each do their part."""

    @GUARD.purpose(SECURITY)
    @GUARD.source(FACE)
    def embed() -> list[float]:
        return VECTOR

    @GUARD.purpose(ADS)
    @GUARD.sink("pixel")
    def track(event: dict[str, Any]) -> None:
        raise AssertionError

    with GUARD.purpose(COUNTING):
        vector = embed()
        with pytest.raises(PolicyViolation) as caught:
            track({"features": vector})
    assert caught.value.decision.path == (COUNTING, ADS)
    assert "2" in caught.value.decision.clauses


@pytest.mark.parametrize(
    ("call", "kind", "near"),
    [
        (lambda: GUARD.purpose("marketing.advertisng"), "purpose", ADS),
        (lambda: GUARD.source("user.contact.emial"), "data category", EMAIL),
        (lambda: GUARD.sink("pixl"), "recipient", "pixel"),
        (lambda: GUARD.sink("pixel", data="user.contact.emial"), "data category", EMAIL),
        (lambda: GUARD.sink("pixel", data=[EMAIL, "user.nam"]), "data category", "user.name"),
    ],
)
def test_unknown_words_fail_at_decoration_and_name_the_nearest(
    call: Callable[[], object], kind: str, near: str
) -> None:
    """The import fails, not the first request, and says what was meant."""
    with pytest.raises(TermError) as caught:
        call()
    assert caught.value.code == "PG203"
    assert f"unknown {kind}" in caught.value.what
    assert caught.value.hint == f"did you mean `{near}`?"


@pytest.mark.parametrize("form", ["hashed", ["raw", "encrypted"]])
def test_an_unknown_form_fails_at_decoration(form: Any) -> None:
    """A source can't claim a form that doesn't exist."""
    with pytest.raises(TermError):
        GUARD.source(EMAIL, form=form)


def test_a_source_gives_data_in_its_form() -> None:
    """What a source gives in a form is judged in that form."""

    @GUARD.source(EMAIL, form="pseudonymised")
    def token() -> str:
        return "9f86d081884c7d659a2feaa0c55ad015"

    with GUARD.purpose(ADS):
        assert GUARD.check(token(), to="pixel").allowed
