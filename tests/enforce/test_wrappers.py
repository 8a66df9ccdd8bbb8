"""A wrapper has the function's own parameters, whatever they are called."""

from __future__ import annotations

import functools
import inspect
from typing import Annotated, Any

import pytest

from policyguard import Category, PolicyViolation
from policyguard.enforce.context import current_scope
from policyguard.enforce.sinks import Pass
from policyguard.enforce.wrappers import ANY, behind, shape_of, wrapper
from tests.enforce.kit import ACCOUNT, ADDRESS, ADS, EMAIL, counts, guard

TEMPLATE = "def _pg_wrapper({head}):\n    return _pg_function({call}), {positional}, {named}, {odd}"
Mail = Annotated[str, Category(EMAIL)]
# fmt: off
HEADS = [
    "", "a", "a, b", "a, /", "a, /, b", "a, b=1, /", "a=1, /, b=2", "*, k", "a, *, k=1",
    "*args", "**kwargs", "a, *args, k, m=2, **kwargs", "a, /, b=1, *args, k=3, **kwargs",
    "*, a=1, b",
    "self, cls, args, kwargs", "*args, args_=1", "_", "_pg", "type, next, BaseException",
]
# fmt: on


def _made(head: str) -> Any:
    space: dict[str, Any] = {}
    exec(f"def made({head}):\n    return locals()", space)
    return space["made"]


@pytest.mark.parametrize("head", HEADS)
def test_the_parameters_are_the_functions_own(head: str) -> None:
    """In their order, kinds and defaults, without help of `__wrapped__`."""
    bare = _made(head)
    made = wrapper(bare, TEMPLATE, {})
    del made.__wrapped__  # type: ignore[attr-defined]  # of functools
    assert inspect.signature(made) == inspect.signature(bare)
    assert made.__code__.co_posonlyargcount == bare.__code__.co_posonlyargcount


@pytest.mark.parametrize("head", [*HEADS, "_pg_args", "a, *, _pg_function=1"])
def test_arguments_are_told_apart_as_in_a_call(head: str) -> None:
    """The positional and the named ones, handed on, bind to the same parameters again."""
    bare = _made(head)
    made = wrapper(bare, TEMPLATE, {})
    parameters = inspect.signature(bare).parameters.values()
    args = [n for n, p in enumerate(parameters) if p.kind in (p.POSITIONAL_ONLY, p.VAR_POSITIONAL)]
    named = {
        "more" if p.kind is p.VAR_KEYWORD else p.name: p.name
        for p in parameters
        if p.kind not in (p.POSITIONAL_ONLY, p.VAR_POSITIONAL)
    }
    if any(p.kind is p.VAR_POSITIONAL for p in parameters):
        args = list(range(len(parameters)))
        named = {p.name: p.name for p in parameters if p.kind is p.KEYWORD_ONLY}
    given, positional, keywords, _ = made(*args, **named)
    assert given == bare(*args, **named) == bare(*positional, **keywords)


def test_names_that_are_ours_or_none_take_whatever_comes() -> None:
    """A name of the template's own, a keyword, or one that nobody can write."""
    assert shape_of(_made("_pg_x")) is ANY
    for name in (".0", "class"):
        odd = _made("a")
        odd.__code__ = odd.__code__.replace(co_varnames=(name,))
        assert shape_of(odd) is ANY
        assert wrapper(odd, TEMPLATE, {})(5)[1] == (5,)


def test_a_function_that_says_another_signature_is_taken_as_it_is() -> None:
    """`functools.wraps` and `__signature__` say what somebody else takes."""

    @functools.wraps(_made("a, b"))
    def passed(*args: Any, **kwargs: Any) -> Any:
        return args, kwargs

    assert shape_of(passed).rest == ("args", "kwargs")
    said = _made("a")
    said.__signature__ = inspect.signature(_made("a, b"))
    assert shape_of(said) is ANY
    assert shape_of(len) is ANY


def test_the_error_of_a_bad_call_is_the_functions_own() -> None:
    """Raised at the call, with its name."""
    for bare in (_made("a"), functools.partial(_made("a"), 1, 2)):
        for calls in (bare, wrapper(bare, TEMPLATE, {})):
            with pytest.raises(TypeError, match=r"made\(\) takes 1 positional argument but"):
                calls(1, 2)


def test_what_tells_the_kind_of_a_function() -> None:
    """Behind partials, and in objects; a class is called, not awaited."""

    async def later() -> None: ...

    class Client:
        async def __call__(self) -> None: ...

    for made in (later, functools.partial(functools.partial(later)), Client()):
        assert inspect.iscoroutinefunction(behind(made))
    assert behind(Client) is Client


def test_a_parameter_called_self_of_a_plain_function_is_an_argument() -> None:
    """Only in a class the first argument is the object itself."""
    made = guard()

    @made.sink("pixel")
    def track(self: object) -> None:
        raise AssertionError("the function ran")

    @made.sink("pixel")
    def classified(cls: object) -> None:
        raise AssertionError("the function ran")

    for call in (track, classified):
        with made.context(purpose=ADS):
            made.remember(ADDRESS, made.label(EMAIL))
            with pytest.raises(PolicyViolation):
                call({"mail": ADDRESS})


def test_an_answer_for_a_missing_argument_is_not_kept() -> None:
    """What was allowed and counted for an argument isn't counted again where it isn't given."""

    class Client:
        def __call__(self, to: Mail = "x") -> str:
            return to

    def by_default(to: Mail = "x") -> str:
        return to

    @functools.wraps(by_default)
    def passed(*args: Any, **kwargs: Any) -> str:
        return by_default(*args, **kwargs)

    for function in (Client(), by_default, passed):
        made = guard()
        sent = made.sink("mailer")(function)
        with made.context(purpose=ACCOUNT):
            assert (sent("y"), sent(), sent()) == ("y", "x", "x")
            assert counts(made) == {("allow", "mailer", ""): 1}


def test_a_default_that_compares_badly_is_no_trouble() -> None:
    """Arrays and expressions of query builders have no truth."""

    class Loud:
        def __eq__(self, other: object) -> bool:
            raise ZeroDivisionError

        __hash__ = None  # type: ignore[assignment]  # as an array's

    made = guard()

    @made.sink("mailer")
    def send(to: Mail, how: object = Loud()) -> str:
        return to

    with made.context(purpose=ACCOUNT):
        assert send("x") == "x"


def test_answers_are_kept_where_every_labelled_argument_shows() -> None:
    """That is what makes an allowed call cheap."""
    made = guard()

    @made.sink("mailer")
    def send(to: Mail, how: str = "now") -> str:
        return to

    with made.context(purpose=ACCOUNT):
        send("x")
        scope = current_scope()
        assert scope is not None
        assert [type(one) for one in scope.inner.values()] == [Pass]


def test_annotations_count_in_whatever_can_be_called() -> None:
    """In a partial, in an object with a call, and in a class that is made."""

    class Client:
        def __call__(self, to: Mail) -> None: ...

    class Message:
        def __init__(self, to: Mail) -> None: ...

    def send(how: int, to: Mail) -> None: ...

    made = guard()
    for function in (Client(), Client().__call__, Message, functools.partial(send, 1)):
        with made.context(purpose=ADS), pytest.raises(PolicyViolation) as caught:
            made.sink("pixel")(function)("x")
        assert caught.value.decision.flow.data == EMAIL
