"""Integrations with libraries: what one is, and how a guard takes it in and lets it go.

Layer: enforce. Start reading at `Plugin`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Protocol, runtime_checkable

from policyguard.errors import PluginError

if TYPE_CHECKING:
    from policyguard.enforce.guard import Guard

_API = 1


@runtime_checkable
class Plugin(Protocol):
    """An integration with a library.

    Attributes:
        name: what configuration calls it.
        api: the version of this protocol it was written for.
    """

    name: str
    api: int

    def install(self, guard: Guard) -> Callable[[], None]:
        """Hook the library; returns what undoes it exactly."""


class Integrations:
    """The integrations of one guard, in the order they were installed."""

    __slots__ = ("_undo",)

    def __init__(self) -> None:
        self._undo: dict[str, Callable[[], None]] = {}

    def __contains__(self, name: object) -> bool:
        """Whether an integration is installed."""
        return name in self._undo

    def add(self, plugin: Plugin, guard: Guard) -> None:
        """Install one; a second time does nothing.

        Raises:
            PluginError: it can't be installed; nothing of it stays.
        """
        if plugin.name in self._undo:
            return
        if plugin.api != _API:
            what = f"plugin `{plugin.name}` speaks version {plugin.api} of the interface"
            raise PluginError(what, f"this policyguard speaks version {_API}")
        try:
            self._undo[plugin.name] = plugin.install(guard)
        except PluginError:
            raise
        except Exception as error:  # noqa: BLE001 - a plugin's code and its library are foreign
            # Denies: the start. The error's text is foreign, so only its kind is told.
            what = f"plugin `{plugin.name}` can't be installed"
            raise PluginError(what, f"it failed with {type(error).__name__}") from None

    def remove(self, *names: str) -> None:
        """Undo some, all of them if none is named; in reverse order.

        Raises:
            PluginError: some couldn't be undone; all others are.
        """
        failed = []
        for name in reversed(names or tuple(self._undo)):
            undo = self._undo.pop(name, None)
            try:
                if undo is not None:
                    undo()
            except Exception:  # noqa: BLE001 - a plugin's code is foreign
                # Denies nothing: the hook may still stand, which is the strict side.
                failed.append(name)
        if failed:
            raise PluginError(f"plugin `{failed[0]}` can't be undone")
