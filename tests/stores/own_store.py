"""What an application may name as its store."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NoReturn


class Store:
    """A store of the application's own."""

    def facts(self, subject: object, /) -> Mapping[str, Any] | None:
        return {"age": 33} if subject == "anna" else None


class Callable_(Store):  # noqa: N801 - told apart from the type
    """A store that can be called for another reason."""

    def __call__(self) -> NoReturn:
        raise AssertionError("called")


store = Store()
called = Callable_()
nothing = object()


def make() -> Store:
    return Store()


def fails() -> NoReturn:
    raise RuntimeError("hunter2")


def makes_nothing() -> None:
    return None
