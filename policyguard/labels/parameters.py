"""What the annotations of a function say about the arguments of its calls.

Layer: labels. Start reading at `Parameters`.
"""

from __future__ import annotations

import inspect
from inspect import unwrap
from typing import TYPE_CHECKING, Any, Unpack, cast, get_origin

from policyguard.labels.annotations import fields_of, says_fields, typed_dicts
from policyguard.labels.typed import annotations_of, labels_of_annotations, labels_of_hint

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from policyguard.policy.flow import Label


def parameters_of(function: Callable[..., Any]) -> Mapping[str, inspect.Parameter]:
    """The parameters that a function says it has; none where it doesn't say any."""
    try:
        return inspect.signature(function).parameters
    except NameError:
        # Denies nothing: an annotation names what isn't there; Python 3.14 reads it all the same.
        from annotationlib import Format  # type: ignore[import-not-found]  # noqa: PLC0415 - new in 3.14

        said = cast("Any", inspect.signature)(function, annotation_format=Format.FORWARDREF)
        return cast("Mapping[str, inspect.Parameter]", said.parameters)
    except (ValueError, TypeError):
        # Denies nothing: some built-in functions don't say. Their arguments are searched.
        return {}


class Parameters:
    """Which parameter takes which argument, and what its annotation says.

    An argument is named by its place or its keyword. `*args` takes what no place is left for,
    `**kwargs` every keyword that nothing else takes; `**kwargs: Unpack[TD]` takes them by name.

    Args:
        function: also one that a decorator wraps.

    Raises:
        TermError: an annotation that names a category can't be evaluated.

    Cost: some 10 us for each parameter, once; then a look-up for each argument.
    """

    __slots__ = ("_by_name", "_hints", "_labels", "_places", "_rest", "_rest_named")

    def __init__(self, function: Callable[..., Any]) -> None:
        self._labels = labels_of_annotations(function)
        # Most annotations need no look at the argument: they label it as a whole, or its class.
        self._hints = {
            name: hint
            for name, hint in annotations_of(function).items()
            if name != "return" and says_fields(hint)
        }
        parameters = parameters_of(function).values()
        placed = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
        named = (inspect.Parameter.KEYWORD_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
        self._places = [one.name for one in parameters if one.kind in placed]
        self._by_name = frozenset(one.name for one in parameters if one.kind in named)
        self._rest = next((one.name for one in parameters if one.kind is one.VAR_POSITIONAL), "")
        self._rest_named = next((one.name for one in parameters if one.kind is one.VAR_KEYWORD), "")
        self._unpack(getattr(unwrap(function), "__qualname__", "function"))

    def _unpack(self, name: str) -> None:
        """`**kwargs: Unpack[TD]`: the keys of the TypedDict are parameters like others."""
        hint = self._hints.get(self._rest_named)
        if get_origin(hint) is not Unpack:
            return
        del self._hints[self._rest_named]
        for kind in typed_dicts(hint):
            for key, said in fields_of(kind).items():
                self._by_name |= {key}
                self._labels[key] = labels_of_hint(said, f"{name}({key})")
                if says_fields(said):
                    self._hints[key] = said

    def name(self, argument: int | str) -> str:
        """The parameter that takes an argument; "" when none does, so that the call fails."""
        if isinstance(argument, int):
            places = self._places
            return places[argument] if argument < len(places) else self._rest
        return argument if argument in self._by_name else self._rest_named

    def labels(self, argument: int | str) -> tuple[Label, ...]:
        """What an argument is by its parameter's annotation, evidence `typed`."""
        return self._labels.get(self.name(argument), ())

    def hint(self, argument: int | str) -> object:
        """The annotation to give to `labels_of_value`; None where the argument tells enough."""
        return self._hints.get(self.name(argument))
