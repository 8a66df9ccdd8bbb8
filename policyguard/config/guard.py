"""A guard that knows how to load its parts and find its integrations, and the process's own one.

Layer: config. Start reading at `install` and `Guard`.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from policyguard.config.loaded import Loaded, load_config
from policyguard.config.settings import ModeName
from policyguard.enforce import guard as enforce
from policyguard.enforce.integrations import Plugin
from policyguard.enforce.modes import STRICTNESS, Modes, from_environment
from policyguard.enforce.ports import Reporter
from policyguard.engine.compile import compile_policy
from policyguard.errors import ConfigError, PluginError, Problem
from policyguard.plugins import find_plugin
from policyguard.policy.assemble import load_policy
from policyguard.policy.datamap import load_data_map

_LOGGER: Final = logging.getLogger("policyguard")


class Guard(enforce.Guard):
    """A guard that knows how to load its parts and find its integrations."""

    @classmethod
    def load(
        cls,
        policy: str | Path,
        *,
        data_map: str | Path | None = None,
        mode: ModeName = "block",
        reporters: Sequence[Reporter] = (),
    ) -> Guard:
        """A guard from a policy file, by hand.

        Args:
            policy: the policy file.
            data_map: what tables, columns and fields hold.
            mode: what is done about denied flows; POLICYGUARD_MODE wins, `at_least` is the floor.
            reporters: told of every denied flow, beside the logger `policyguard`.

        Raises:
            PolicyError, DataMapError: with every problem, file:line:col.
        """
        if mode not in STRICTNESS:
            problem = Problem("", 0, 0, "PG505", "unknown mode", "one of `block`, `flag`, `off`")
            raise ConfigError([problem])
        loaded = load_policy(policy)
        labels = None
        if data_map is not None:
            labels = load_data_map(data_map, loaded.words, loaded.everyone)
        modes = Modes(default=mode, floor=loaded.at_least, override=from_environment())
        return cls(
            compile_policy(loaded),
            data_map=labels,
            modes=modes,
            reporters=reporters,
            job_purpose=os.environ.get("POLICYGUARD_PURPOSE"),
        )

    @classmethod
    def from_config(
        cls, path: str | Path | None = None, *, reporters: Sequence[Reporter] = ()
    ) -> Guard:
        """A guard from `[tool.policyguard]`, policyguard.toml and POLICYGUARD_*.

        Integrations that the configuration lists are not installed yet; `policyguard.install` does.

        Raises:
            ConfigError, PolicyError, DataMapError: with every problem.
        """
        return cls._of(load_config(path), reporters)

    @classmethod
    def _of(cls, loaded: Loaded, reporters: Sequence[Reporter]) -> Guard:
        made = cls(
            loaded.snapshot,
            data_map=loaded.data_map,
            modes=loaded.modes(),
            reporters=reporters,
            routes=loaded.routes,
            job_purpose=os.environ.get("POLICYGUARD_PURPOSE") or loaded.settings.purpose,
        )
        if loaded.settings.telemetry:
            from policyguard.observe.otel import exporting, observe  # noqa: PLC0415 - only where asked for

            made.took = observe(made).took
            made.exempt = exporting
        return made

    def install(self, *plugins: str | Plugin) -> None:
        """Hook integrations by name; a second time does nothing.

        Raises:
            PluginError: one can't be found or installed; those installed by this call are undone.
        """
        done: list[str] = []
        try:
            for plugin in plugins:
                found = find_plugin(plugin) if isinstance(plugin, str) else plugin
                if found.name not in self._integrations:
                    self.add(found)
                    done.append(found.name)
        except BaseException:
            # Denies: a guard with half of its hooks would look like a whole one.
            if done:
                self.uninstall(*done)
            raise


# One guard per process may hook libraries: hooks are process-wide, so two would check twice and
# undo each other. This is the only state of the package.
_process: dict[str, Guard] = {}


def install(path: str | Path | None = None, *, reporters: Sequence[Reporter] = ()) -> Guard:
    """Read the configuration, make the process's guard, hook what is listed.

    Args:
        path: as `load_config`.
        reporters: told of every denied flow, beside the logger.

    Raises:
        ConfigError, PolicyError, DataMapError, PluginError: nothing is hooked then.
    """
    if "guard" in _process:
        what = "policyguard is installed in this process already"
        raise PluginError(what, hint="call policyguard.uninstall() first")
    loaded = load_config(path)
    for gap in loaded.gaps():
        _LOGGER.warning("PG506 %s", gap)
    guard = Guard._of(loaded, reporters)  # noqa: SLF001 - this module's own class
    guard.install(*loaded.settings.plugins)
    _process["guard"] = guard
    return guard


def uninstall() -> None:
    """Undo `install`; does nothing if there is nothing to undo."""
    guard = _process.pop("guard", None)
    if guard is not None:
        guard.uninstall()
