"""A guard that knows how to load its parts and find its integrations, and the process's own one.

Layer: config. Start reading at `install` and `Guard`.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Sequence
from pathlib import Path
from time import time_ns
from typing import Final

from policyguard.config.environment import overrides, variable
from policyguard.config.loaded import Loaded, load_config
from policyguard.config.reload import Read, Reloader
from policyguard.config.settings import ModeName
from policyguard.enforce import guard as enforce
from policyguard.enforce.asking import Store as SubjectStore
from policyguard.enforce.inforce import InForce, hosts_of
from policyguard.enforce.integrations import Plugin
from policyguard.enforce.modes import STRICTNESS, Modes, from_environment
from policyguard.enforce.ports import Reporter
from policyguard.engine.compile import compile_policy
from policyguard.errors import ConfigError, PluginError, Problem
from policyguard.plugins import find_plugin
from policyguard.policy.assemble import load_policy
from policyguard.policy.datamap import load_data_map
from policyguard.policy.schemamap import with_schema

_LOGGER: Final = logging.getLogger("policyguard")


class Guard(enforce.Guard):
    """A guard that knows how to load its parts and find its integrations."""

    _reloader: Reloader | None = None

    @classmethod
    def load(
        cls,
        policy: str | Path,
        *,
        data_map: str | Path | None = None,
        schema: str | Path | None = None,
        mode: ModeName = "block",
        reporters: Sequence[Reporter] = (),
    ) -> Guard:
        """A guard from a policy file, by hand.

        Args:
            policy: the policy file.
            data_map: what tables, columns and fields hold.
            schema: a schema lock, or another file that lists all tables and columns.
            mode: what is done about denied flows; POLICYGUARD_MODE wins, `at_least` is the floor.
            reporters: told of every denied flow, beside the logger `policyguard`.

        Raises:
            PolicyError, DataMapError: with every problem, file:line:col.
        """
        if mode not in STRICTNESS:
            hint = "one of `block`, `redact`, `flag`, `off`"
            raise ConfigError([Problem("", 0, 0, "PG505", "unknown mode", hint)])

        home, since = Path.cwd(), time_ns()

        def read() -> tuple[InForce, tuple[Path, ...]]:
            # The files that were named, also where the program works in another folder since.
            start = Path() if _here(home) else home
            named = [None if one is None else start / one for one in (data_map, schema)]
            return _by_hand(start / policy, named[0], named[1], mode)

        now, files = read()
        made = cls(
            now.snapshot, reporters=reporters, job_purpose=os.environ.get("POLICYGUARD_PURPOSE")
        )
        made.in_force = now
        made._reloader = Reloader(made, read, files, since=since)
        return made

    @classmethod
    def from_config(
        cls, path: str | Path | None = None, *, reporters: Sequence[Reporter] = ()
    ) -> Guard:
        """A guard from `[tool.policyguard]`, policyguard.toml and POLICYGUARD_*.

        Integrations that the configuration lists are not installed yet; `policyguard.install` does.

        Raises:
            ConfigError, PolicyError, DataMapError: with every problem.
        """
        since = time_ns()
        return cls._of(load_config(path), reporters, since)

    @classmethod
    def _of(cls, loaded: Loaded, reporters: Sequence[Reporter], since: int) -> Guard:
        settings = loaded.settings
        made = cls(
            loaded.snapshot,
            reporters=reporters,
            job_purpose=os.environ.get("POLICYGUARD_PURPOSE") or settings.purpose,
        )
        made.swap(loaded.in_force())
        made.on_block, made.sql_comment = settings.on_block, settings.sql_comment
        if settings.subjects is not None:
            made.subjects = _store(loaded, settings.subjects)
        if settings.telemetry:
            from policyguard.observe.otel import exporting, observe  # noqa: PLC0415 - only where asked for

            made.took = observe(made).took
            made.exempt = exporting
        made._reloader = Reloader(made, _again(loaded), loaded.files, since=since)
        if settings.reload:
            made._reloader.watch()
        return made

    def reload(self) -> bool:
        """Read policy, data map and configuration again; whether they are in force now.

        What can't be used is logged (PG603) and changes nothing. Plugins, telemetry and the subject
        store stay as they were at the start.
        """
        return self._reloader is not None and self._reloader.reload()

    def close(self) -> None:
        """Undo all integrations, and look for changed files no more."""
        if self._reloader is not None:
            self._reloader.close()
        self.uninstall()

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


def _here(home: Path) -> bool:
    try:
        return Path.cwd() == home
    except OSError:
        # Denies nothing: the working folder is gone, so it isn't the one that was.
        return False


def _by_hand(
    policy: Path, data_map: Path | None, schema: Path | None, mode: ModeName
) -> tuple[InForce, tuple[Path, ...]]:
    """What `Guard.load` puts in force, and the files it came from."""
    loaded = load_policy(policy)
    labels = None
    if data_map is not None:
        labels = load_data_map(data_map, loaded.words, loaded.everyone)
    tables = None
    if schema is not None:
        from policyguard.catalogs import load_schema  # noqa: PLC0415 - only where asked for

        tables = load_schema(schema)
        labels = with_schema(labels, tables)
    snapshot = compile_policy(loaded)
    now = InForce(
        snapshot,
        data_map=labels,
        schema=tables,
        modes=Modes(default=mode, floor=loaded.at_least, override=from_environment()),
        hosts=hosts_of(snapshot),
    )
    files = [*map(Path, loaded.files), *(one for one in (data_map, schema) if one is not None)]
    return now, tuple(file.absolute() for file in files)


def _again(loaded: Loaded) -> Read:
    """Reads a configuration again, from where it was."""
    loaded.file = loaded.file.absolute()

    def read() -> tuple[InForce, tuple[Path, ...]]:
        found = loaded.again()
        return found.in_force(), found.files

    return read


def _store(loaded: Loaded, text: str) -> SubjectStore:
    from policyguard.stores import open_store  # noqa: PLC0415 - only where asked for

    try:
        return open_store(text, folder=loaded.file.parent)
    except ValueError as error:
        # Denies: a program that was told to know persons doesn't start without. The sentence is
        # our own; the text isn't shown, it may hold a password.
        said = "subjects" in overrides()
        place, name = ("", variable("subjects")) if said else (str(loaded.file), "`subjects`")
        problem = Problem(place, 0, 0, "PG505", f"{name}: {error}")
        raise ConfigError([problem]) from None


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
    since, loaded = time_ns(), load_config(path)
    for gap in loaded.gaps():
        _LOGGER.warning("PG506 %s", gap)
    guard = Guard._of(loaded, reporters, since)  # noqa: SLF001 - this module's own class
    try:
        # A purpose that ends at a thread's door would deny what the policy allows.
        guard.install("threads", *loaded.settings.plugins)
    except BaseException:
        # Denies: the start; what was hooked is undone, and nothing goes on watching.
        guard.close()
        raise
    _process["guard"] = guard
    return guard


def installed() -> Guard | None:
    """The process's guard; None if `install` was not called, or undone."""
    return _process.get("guard")


def uninstall() -> None:
    """Undo `install`; does nothing if there is nothing to undo."""
    guard = _process.pop("guard", None)
    if guard is not None:
        guard.close()
