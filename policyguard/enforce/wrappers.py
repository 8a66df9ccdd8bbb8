"""Makes a wrapper with the very signature of a function, from a template of source.

Layer: enforce. A wrapper that takes `*args, **kwargs` costs a tuple and a dict a call, and finds a
wrong argument too late; one with the function's own parameters doesn't. Nothing of the application
is pasted into source but names of parameters, which the interpreter itself took for names.
Start reading at `wrapper`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import lru_cache, wraps
from inspect import Parameter, signature
from types import CodeType, FunctionType
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


_STARS: Final[Mapping[object, str]] = {
    Parameter.VAR_POSITIONAL: "*",
    Parameter.VAR_KEYWORD: "**",
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
    it is, not as it says.
    """
    if type(function) is not FunctionType:
        return ANY
    try:
        parameters = tuple(signature(function, follow_wrapped=False).parameters.values())
    except (ValueError, TypeError):
        # Denies nothing: the wrapper hands on whatever comes.
        return ANY
    plain = all(one.name.isidentifier() and not one.name.startswith(_OURS) for one in parameters)
    return _shape(parameters) if plain and not hasattr(function, "__signature__") else ANY


def _shape(parameters: tuple[Parameter, ...]) -> Shape:
    head, call, positional, named = [], [], [], []
    before, starred = "", False
    for one in parameters:
        kind, name = one.kind, one.name
        if before and kind is not Parameter.POSITIONAL_ONLY:
            head.append("/")
            before = ""
        if kind is Parameter.POSITIONAL_ONLY:
            before = name
        if kind is Parameter.KEYWORD_ONLY and not starred:
            head.append("*")
            starred = True
        if kind is Parameter.VAR_POSITIONAL:
            starred = True
        star = _STARS.get(kind, "")
        # The defaults themselves are put in place afterwards; here they only say "optional".
        head.append(f"{star}{name}" + ("" if one.default is Parameter.empty else "=None"))
        if kind is Parameter.KEYWORD_ONLY:
            call.append(f"{name}={name}")
            named.append(f"{name!r}: {name}")
        elif kind is Parameter.VAR_KEYWORD:
            call.append(f"**{name}")
            named.append(f"**{name}")
        else:
            call.append(f"{star}{name}")
            positional.append(f"{star}{name}")
    head += ["/"] if before else []
    rest = (Parameter.VAR_POSITIONAL, Parameter.VAR_KEYWORD)
    return Shape(
        ", ".join(head),
        ", ".join(call),
        tuple(one.name for one in parameters if one.kind not in rest),
        f"({', '.join(positional)},)" if positional else "()",
        f"{{{', '.join(named)}}}" if named else "{}",
        tuple(one.name for one in parameters if one.kind in rest),
    )


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
            for the arguments; `{odd}` for an expression that is true if one of them is odd.
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
    space: dict[str, Any] = {**names, f"{_OURS}function": function, "__name__": __name__}
    exec(_compiled(source), space)  # noqa: S102 - our own template around names of parameters
    made: Wrapper = space[f"{_OURS}wrapper"]
    if shape is not ANY:
        made.__defaults__ = function.__defaults__
        made.__kwdefaults__ = function.__kwdefaults__
    return wraps(function)(made)


@lru_cache(maxsize=1024)
def _compiled(source: str) -> CodeType:
    return compile(source, "<policyguard wrapper>", "exec")
