"""Makes a wrapper with the very signature of a function, from a template of source.

Layer: enforce. A wrapper that takes `*args, **kwargs` costs a tuple and a dict a call, and finds a
wrong argument too late; one with the function's own parameters doesn't. Nothing of the application
is pasted into source but names of parameters, which the interpreter itself took for names.
Start reading at `wrapper`.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from functools import lru_cache, partial, wraps
from inspect import CO_ITERABLE_COROUTINE, CO_VARARGS, CO_VARKEYWORDS
from keyword import iskeyword
from types import CodeType, FunctionType, coroutine
from typing import Any, Final, NamedTuple

Wrapper = Callable[..., Any]
_OURS: Final = "_pg_"


class Shape(NamedTuple):
    """A function's parameters as source.

    Attributes:
        head: the parameter list.
        call: the arguments that hand them on.
        values: the names of plain parameters.
        positional: a tuple of the positional ones.
        named: a dict of the rest.
        rest: names of `*args` and `**kwargs` parameters.
    """

    head: str
    call: str
    values: tuple[str, ...]
    positional: str
    named: str
    rest: tuple[str, ...]


# A parameter may have any name, that of a built-in too, so templates use these.
_BUILT_IN: Final[Mapping[str, Any]] = {
    f"{_OURS}type": type,
    f"{_OURS}next": next,
    f"{_OURS}stop": StopIteration,
    f"{_OURS}async_stop": StopAsyncIteration,
    f"{_OURS}exit": GeneratorExit,
    f"{_OURS}any_error": BaseException,
}
# Whatever comes.
ANY: Final = Shape(
    f"*{_OURS}args, **{_OURS}kwargs",
    f"*{_OURS}args, **{_OURS}kwargs",
    (),
    f"{_OURS}args",
    f"{_OURS}kwargs",
    (f"{_OURS}args", f"{_OURS}kwargs"),
)


def shape_of(function: Wrapper) -> Shape:
    """The parameters of a plain function; of anything else, whatever comes.

    A function that says another signature than it has (`__wrapped__`, `__signature__`) is taken as
    it is, not as it says; so annotations aren't looked at.
    """
    if type(function) is not FunctionType or hasattr(function, "__signature__"):
        return ANY
    code = function.__code__
    flags = (code.co_flags & CO_VARARGS, code.co_flags & CO_VARKEYWORDS)
    count = code.co_argcount + code.co_kwonlyargcount + sum(map(bool, flags))
    names = code.co_varnames[:count]
    plain = all(n.isidentifier() and not iskeyword(n) and not n.startswith(_OURS) for n in names)
    return _shape(function, names) if plain and len(set(names)) == count else ANY


def _shape(function: FunctionType, names: tuple[str, ...]) -> Shape:
    code, optional = function.__code__, function.__kwdefaults__ or {}
    places, only = code.co_argcount, code.co_posonlyargcount
    values = names[: places + code.co_kwonlyargcount]
    rest = list(names[len(values) :])
    args = rest.pop(0) if code.co_flags & CO_VARARGS else ""
    given = places - len(function.__defaults__ or ())
    # The defaults themselves are put in place afterwards; here they only say "optional".
    head = [f"{name}=None" if i >= given else name for i, name in enumerate(values[:places])]
    if only:
        head.insert(only, "/")
    if args or values[places:]:
        head.append(f"*{args}")
    head += [f"{name}=None" if name in optional else name for name in values[places:]]
    positional = [*values[:places], *([f"*{args}"] if args else [])]
    more = [f"**{name}" for name in rest]
    named = [f"{name!r}: {name}" for name in values[places:]]
    return Shape(
        ", ".join(head + more),
        ", ".join([*positional, *(f"{name}={name}" for name in values[places:]), *more]),
        values,
        f"({', '.join(positional)},)" if positional else "()",
        f"{{{', '.join(named + more)}}}",
        (*([args] if args else []), *rest),
    )


def behind(function: Wrapper) -> Wrapper:
    """What tells the kind of a function: behind a partial and in an object that can be called."""
    while isinstance(function, partial):
        function = function.func
    if inspect.isroutine(function) or isinstance(function, type):
        return function
    # As it is marked (Python 3.12), an object is a coroutine function by itself.
    return function if inspect.iscoroutinefunction(function) else type(function).__call__


def _never(name: str) -> str:
    """No argument is odd."""
    del name
    return "False"


def wrapper(
    function: Wrapper,
    template: str,
    names: Mapping[str, Any],
    *,
    odd: Callable[[str], str] = _never,
    shape: Shape | None = None,
) -> Wrapper:
    """A function with the same signature, kind and name whose body is the template.

    Args:
        function: what is wrapped; `_pg_function` in the template.
        template: source of `def _pg_wrapper({head}):`. `{call}`, `{positional}` and `{named}` stand
            for the arguments; `{odd}` for an expression that is true if one of them is odd. What is
            built in has names such as `_pg_next`.
        names: what the template's other names stand for; all begin with `_pg_`.
        odd: for a parameter, source that is true where its argument is odd. What comes for `*args`
            and `**kwargs` always is.
        shape: instead of the function's own.

    Cost: some 0.2 ms, once.
    """
    shape = shape or shape_of(function)
    source = template.format(
        head=shape.head,
        call=shape.call,
        positional=shape.positional,
        named=shape.named,
        odd=" or ".join([*map(odd, shape.values), *shape.rest]) or "False",
    )
    space: dict[str, Any] = {
        **_BUILT_IN,
        **names,
        f"{_OURS}function": function,
        "__name__": __name__,
    }
    exec(_compiled(source), space)  # noqa: S102 - our own template around names of parameters
    made: Wrapper = space[f"{_OURS}wrapper"]
    if shape is not ANY:
        made.__defaults__ = function.__defaults__
        made.__kwdefaults__ = function.__kwdefaults__
    code = getattr(behind(function), "__code__", None)
    if code is not None and code.co_flags & CO_ITERABLE_COROUTINE:
        made = coroutine(made)
    # A class has attributes for its objects, a function for itself.
    return wraps(function, updated=() if isinstance(function, type) else ("__dict__",))(made)


@lru_cache(maxsize=1024)
def _compiled(source: str) -> CodeType:
    return compile(source, "<policyguard wrapper>", "exec")
