"""Settings with everything they name: policy, data map, routes, modes.

Layer: config. Start reading at `load_config`.
"""

from __future__ import annotations

import difflib
import os
import re
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from policyguard.config.environment import misspelt, overrides, variable
from policyguard.config.settings import (
    MatchSettings,
    Settings,
    line_of,
    only_environment,
    read_settings,
)
from policyguard.enforce.inforce import InForce, hosts_of
from policyguard.enforce.modes import Enforcement, Match, Modes, Switch, from_environment
from policyguard.enforce.routes import JobPattern, Jobs, Route, Routes, parse_route
from policyguard.enforce.waivers import Waiver, Waivers
from policyguard.engine.compile import Snapshot, compile_policy
from policyguard.errors import ConfigError, PolicyGuardError, Problem
from policyguard.policy.assemble import load_policy
from policyguard.policy.datamap import DataMap, load_data_map
from policyguard.policy.rules import Policy
from policyguard.policy.schemamap import with_schema
from policyguard.policy.schemas import Schema


class Loaded:
    """Settings with the file they came from and everything that file names.

    Attributes:
        file: the configuration file; where one would be if there is none.
        only_environment: there is none.
        settings: as written.
        policy: loaded.
        snapshot: compiled.
    """

    def __init__(self, file: Path, text: str, settings: Settings) -> None:
        self.file, self._text, self.settings = file, text, settings
        self.only_environment = not text and not file.exists()
        self.policy: Policy = load_policy(self._path(settings.policy))
        self.snapshot: Snapshot = compile_policy(self.policy)
        words, recipients = self.policy.words, self.policy.everyone
        self.data_map: DataMap | None = (
            load_data_map(self._path(settings.data_map), words, recipients)
            if settings.data_map is not None
            else None
        )
        self.schema = None if settings.schema_ is None else self._schema(settings.schema_)
        if self.schema is not None:
            self.data_map = with_schema(self.data_map, self.schema)
        self._shadow = None if settings.shadow is None else load_policy(self._path(settings.shadow))
        problems = [*self._unknown_words(), *self._wide_waivers()]
        self.routes = Routes(self._routes(problems))
        if problems:
            raise ConfigError(problems)

    def _schema(self, name: str) -> Schema:
        from policyguard.catalogs import load_schema  # noqa: PLC0415 - only where asked for

        try:
            return load_schema(self._path(name))
        except PolicyGuardError as error:
            # Denies: a schema that can't be read lists nothing, so nothing starts.
            what = f"`schema`: {error.what}"
            hint = error.hint or error.because
            raise ConfigError([self.problem("PG505", what, name, hint)]) from None

    @property
    def files(self) -> tuple[Path, ...]:
        """Every file that was read."""
        named = [self.file, *map(Path, self.policy.files)]
        named += [] if self.settings.data_map is None else [self._path(self.settings.data_map)]
        named += [] if self.settings.schema_ is None else [self._path(self.settings.schema_)]
        named += [] if self._shadow is None else map(Path, self._shadow.files)
        return tuple(dict.fromkeys(file.absolute() for file in named if file.exists()))

    def again(self) -> Loaded:
        """Read everything anew, from where it was; raises as `load_config`."""
        file = self.file.absolute()
        return Loaded(*only_environment(file)) if self.only_environment else load_config(file)

    def in_force(self) -> InForce:
        """The policy with its surroundings, ready for a guard."""
        jobs = (JobPattern(name, purpose) for name, purpose in self.settings.jobs.items())
        return InForce(
            self.snapshot,
            data_map=self.data_map,
            modes=self.modes(),
            waivers=self.waivers(),
            routes=self.routes,
            jobs=Jobs(jobs),
            schema=self.schema,
            undescribed=self.settings.undescribed,
            functions=self.settings.functions,
            shadow=None if self._shadow is None else compile_policy(self._shadow),
            hosts=hosts_of(self.snapshot),
        )

    def waivers(self) -> Waivers:
        """The exceptions that the settings make."""
        return Waivers(
            Waiver(Match(**entry.match.model_dump()), entry.owner, entry.reason, entry.expires)
            for entry in self.settings.waivers
        )

    def _path(self, name: str) -> Path:
        path = self.file.parent / name
        # Shown as a person would name it, not as an absolute path of this machine.
        try:
            # Links stay links: what they point at may be exchanged while the program runs.
            return path.absolute().relative_to(Path.cwd())
        except ValueError:
            # Denies nothing: a file outside the working folder keeps its full path.
            return path

    def problem(self, code: str, message: str, word: str, hint: str = "") -> Problem:
        """A problem at the line that quotes a word."""
        line = line_of(self._text, rf"[^#]*[\"']{re.escape(word)}[\"']")
        return Problem(str(self.file), line, 1, code, message, hint)

    def _routes(self, problems: list[Problem]) -> Iterator[Route]:
        for pattern, purpose in self.settings.routes.items():
            try:
                yield parse_route(pattern, purpose)
            except ValueError as error:
                # Denies: a route that can't be read stops the start. The text is our own sentence.
                hint = "such as `POST /images` or `/auth/*`"
                problems.append(self.problem("PG503", f"bad route: {error}", pattern, hint))

    def _unknown_words(self) -> Iterable[Problem]:
        words, recipients = self.policy.words, self.policy.everyone
        purposes: dict[str | None, None] = dict.fromkeys(self.settings.routes.values())
        purposes |= dict.fromkeys(self.settings.jobs.values())
        purposes[self.settings.purpose] = None
        rules = {rule.id for rule in self.policy.rules} | {
            kept.id for kept in self.policy.retention
        }
        for match in self._matches():
            purposes[match.purpose] = None
            for kind, word, known in (
                ("recipient", match.recipient, recipients),
                ("rule", match.rule, rules),
                ("data category", match.data, words.data.phrases),
            ):
                if word is not None and word not in known:
                    yield self._unknown(kind, word, known)
        for purpose in purposes:
            if purpose is not None and purpose not in words.purposes:
                yield self._unknown("purpose", purpose, words.purposes.phrases)

    def _matches(self) -> Iterator[MatchSettings]:
        yield from (entry.match for entry in self.settings.enforcement)
        yield from (entry.match for entry in self.settings.waivers)

    def _wide_waivers(self) -> Iterator[Problem]:
        for number, entry in enumerate(self.settings.waivers):
            match = entry.match
            if not (match.rule or match.recipient or match.data or match.purpose):
                line = line_of(self._text, r"\s*\[\[[^#]*\bwaivers\s*\]\]", nth=number)
                what = "this waiver lets far too much pass"
                hint = "its `match` names at least a rule, a recipient, data or a purpose"
                yield Problem(str(self.file), line, 1, "PG505", what, hint)

    def _unknown(self, kind: str, word: str, known: Iterable[str]) -> Problem:
        near = difflib.get_close_matches(word, list(known), n=1)
        hint = f"did you mean `{near[0]}`?" if near else "the policy doesn't declare it"
        return self.problem("PG504", f"unknown {kind} `{word}`", word, hint)

    def modes(self) -> Modes:
        """The modes as the settings, the environment and the policy's floor give them."""
        entries = [
            Enforcement(Match(**entry.match.model_dump()), entry.mode, entry.from_, entry.percent)
            for entry in self.settings.enforcement
        ]
        switch = self.settings.switch_file
        return Modes(
            default=self.settings.mode,
            entries=tuple(entries),
            floor=self.policy.at_least,
            switch=Switch(self.file.parent / switch) if switch else None,
            override=from_environment(),
        )

    def gaps(self) -> list[str]:
        """What the configuration leaves open so wide that little or nothing is checked."""
        plugins = self.settings.plugins
        found = []
        if not plugins:
            found.append("no plugins are listed: only decorated functions are checked")
        if "sqlalchemy" in plugins and self.data_map is None:
            found.append("sqlalchemy is hooked without a data map: no column has a label")
        if self.data_map is not None and "sqlalchemy" not in plugins:
            found.append("there is a data map, but no database plugin is listed that reads it")
        job = os.environ.get("POLICYGUARD_PURPOSE")
        if job and job not in self.policy.words.purposes:
            found.append("POLICYGUARD_PURPOSE holds a purpose that the policy doesn't know")
        return found + misspelt()

    def effective(self) -> dict[str, Any]:
        """What counts in the end, and why; plain data for `policyguard config --effective`."""
        modes = self.modes()
        mode, mode_from = modes.in_general()
        return {
            "schema": "policyguard.config/1",
            "file": None if self.only_environment else str(self.file),
            "environment": [variable(key) for key in overrides()],
            "policy": {"id": self.policy.id, "digest": self.snapshot.digest},
            "data_map": self.settings.data_map,
            "schema_file": self.settings.schema_,
            "undescribed": self.settings.undescribed,
            "functions": dict(self.settings.functions),
            "mode": mode,
            "mode_from": mode_from,
            "at_least": self.policy.at_least,
            "switch_file": self.settings.switch_file,
            "purpose": os.environ.get("POLICYGUARD_PURPOSE") or self.settings.purpose,
            "plugins": list(self.settings.plugins),
            "gaps": self.gaps(),
            "telemetry": self.settings.telemetry,
            "routes": [
                {
                    "route": f"{route.method or 'ANY'} /{'/'.join(route.parts)}",
                    "purpose": route.purpose,
                }
                for route in self.routes.all
            ],
            "enforcement": [
                entry.model_dump(mode="json", by_alias=True, exclude_none=True)
                for entry in self.settings.enforcement
            ],
            "on_block": self.settings.on_block,
            "sql_comment": self.settings.sql_comment,
            "reload": self.settings.reload,
            # A URL may hold a password.
            "subjects": None if self.settings.subjects is None else "set",
            "shadow": self.settings.shadow,
            "jobs": [{"job": job.name, "purpose": job.purpose} for job in self.in_force().jobs.all],
            "waivers": [
                entry.model_dump(mode="json", exclude_none=True) for entry in self.settings.waivers
            ],
            "expired_waivers": [waiver.subject for waiver in self.waivers().expired()],
        }


def load_config(path: str | Path | None = None) -> Loaded:
    """Read the configuration and everything it names.

    Args:
        path: policyguard.toml or pyproject.toml; by default `POLICYGUARD_CONFIG`, else the nearest
            of these in the working folder or above it.

    Raises:
        ConfigError: it is missing or wrong, with every problem.
        PolicyError, DataMapError: what it names can't be used.
    """
    return Loaded(*read_settings(path))
