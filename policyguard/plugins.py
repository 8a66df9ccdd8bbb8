"""Finds integrations by entry point; what is named is installed, and a failure is loud.

Layer: plugins. Discovery is implicit, installation explicit. Start reading at `find_plugin`.
"""

from __future__ import annotations

import difflib
from importlib.metadata import EntryPoint, entry_points
from typing import Final

from policyguard.enforce.integrations import Plugin
from policyguard.enforce.threads import ThreadsPlugin
from policyguard.errors import PluginError

GROUP: Final = "policyguard.plugins"
# Only names that are ours are suggested: anybody can publish a distribution of another name.
_OURS: Final = frozenset(
    {
        *("asgi", "asyncpg", "celery", "dbapi", "django", "django_db", "duckdb", "flask"),
        *("httpx", "psycopg", "sqlalchemy", "sqlite3", "wsgi"),
    }
)
# What needs no library comes with policyguard itself.
_BUILT_IN: Final = {"threads": ThreadsPlugin}


def available() -> dict[str, EntryPoint]:
    """Installed integrations by name. Reads metadata only; imports nothing."""
    return {point.name: point for point in entry_points(group=GROUP)}


def find_plugin(name: str) -> Plugin:
    """Load one integration.

    Args:
        name: as configuration names it, such as `httpx`.

    Raises:
        PluginError: there is none of this name, it can't be imported, or it is no plugin; names its
            distribution.
    """
    if name in _BUILT_IN:
        return _BUILT_IN[name]()
    found = available()
    point = found.get(name)
    if point is None:
        near = difflib.get_close_matches(name, found, n=1)
        ours = f"install the distribution `policyguard-{name}`" if name in _OURS else ""
        hint = f"did you mean `{near[0]}`?" if near else ours
        known = ", ".join(sorted(found)) or "none"
        raise PluginError(f"no plugin `{name}`", f"installed plugins: {known}", hint)
    distribution = point.dist.name if point.dist else "unknown"
    try:
        plugin = point.load()
        plugin = plugin() if isinstance(plugin, type) else plugin
    except Exception as error:  # noqa: BLE001 - a plugin's import is foreign code
        # Denies: a guard that was told to hook a library doesn't start without it. The error's text
        # is foreign, so only its kind is told.
        kind = type(error).__name__
        because = f"importing it from `{distribution}` failed with {kind}"
        raise PluginError(f"plugin `{name}` can't be loaded", because) from None
    if not isinstance(plugin, Plugin):
        because = f"`{distribution}` gives no object with name, api and install"
        raise PluginError(f"plugin `{name}` is no plugin", because)
    return plugin
