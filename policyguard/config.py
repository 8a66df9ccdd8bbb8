"""The composition root: settings from files and environment to a ready Guard.

Layer: config. Start reading at `install` and `Guard`.
"""

from __future__ import annotations

import difflib
import os
import re
import tomllib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import date
from functools import cache
from pathlib import Path
from typing import Annotated, Any, Final, Literal

from pydantic import BeforeValidator, Field, ValidationError

from policyguard.enforce import guard as enforce
from policyguard.enforce.modes import Enforcement, Match, Modes, Switch, from_environment
from policyguard.enforce.ports import Plugin, Reporter
from policyguard.enforce.routes import Route, Routes, parse_route
from policyguard.engine.compile import Snapshot, compile_policy
from policyguard.errors import ConfigError, PluginError, Problem
from policyguard.plugins import find_plugin
from policyguard.policy.assemble import load_policy
from policyguard.policy.conditions import Part
from policyguard.policy.datamap import load_data_map
from policyguard.policy.rules import Policy
from policyguard.policy.terms import RecipientKind

NAMES: Final = ("policyguard.toml", "pyproject.toml")
ReasonName = Literal[
    "no_purpose",
    "purpose_change",
    "forbidden",
    "unknown_term",
    "unknown_recipient",
    "unlabelled",
    "cannot_tell",
    "not_covered",
    "unmet",
    "unknown_facts",
]
ModeName = Literal["block", "flag", "off"]
_WANTED: Final = (
    ("string", "text in quotes"),
    ("bool", "true or false"),
    ("int", "a whole number"),
    ("greater_than", "0 to 100"),
    ("less_than", "0 to 100"),
    ("date", "a day such as 2027-01-15"),
    ("tuple", "a list in brackets"),
    ("dict", "a table"),
    ("model", "a table"),
)
_AT_PLACE: Final = re.compile(r"at line (\d+), column (\d+)")


class MatchSettings(Part):
    """Which denied flows an entry is about; what is left out matches all."""

    rule: str | None = None
    recipient: str | None = None
    kind: RecipientKind | None = None
    data: str | None = None
    purpose: str | None = None
    reason: ReasonName | None = None
    route: str | None = None
    at: Literal["sql", "http", "call"] | None = None


def _day(value: object) -> object:
    return value.isoformat() if isinstance(value, date) else value


class EnforcementSettings(Part):
    """One entry: a mode for the flows that match, from a day on, for a share of the scopes."""

    match: MatchSettings
    mode: ModeName
    from_: Annotated[date, BeforeValidator(_day)] | None = Field(None, alias="from")
    percent: Annotated[int, Field(ge=0, le=100)] = 100


class Settings(Part):
    """`[tool.policyguard]`: how the guard behaves here and now."""

    policy: str = Field(description="the policy file, relative to this file")
    data_map: str | None = Field(None, description="the data map, relative to this file")
    mode: ModeName = Field("block", description="what is done about a denied flow")
    switch_file: str | None = Field(None, description="a file with one word, a mode; read live")
    purpose: str | None = Field(None, description="the purpose where code and route say none")
    plugins: tuple[str, ...] = Field((), description="integrations to install")
    telemetry: bool = Field(
        default=False, strict=True, description="report violations to OpenTelemetry"
    )
    routes: dict[str, str] = Field(default_factory=dict, description="purposes by route")
    enforcement: tuple[EnforcementSettings, ...] = Field((), description="first match wins")


class Loaded:
    """Settings with the file they came from and everything that file names.

    Attributes:
        file: the configuration file.
        settings: as written.
        policy: loaded.
        snapshot: compiled.
    """

    def __init__(self, file: Path, text: str, settings: Settings) -> None:
        self.file, self._text, self.settings = file, text, settings
        self.policy: Policy = load_policy(self._path(settings.policy))
        self.snapshot: Snapshot = compile_policy(self.policy)
        words, recipients = self.policy.words, self.policy.everyone
        self.data_map = (
            load_data_map(self._path(settings.data_map), words, recipients)
            if settings.data_map is not None
            else None
        )
        problems = list(self._unknown_words())
        self.routes = Routes(self._routes(problems))
        if problems:
            raise ConfigError(problems)

    def _path(self, name: str) -> Path:
        path = self.file.parent / name
        # Shown as a person would name it, not as an absolute path of this machine.
        try:
            return path.resolve().relative_to(Path.cwd())
        except ValueError:
            # Denies nothing: a file outside the working folder keeps its full path.
            return path

    def problem(self, code: str, message: str, word: str, hint: str = "") -> Problem:
        """A problem at the line that quotes a word."""
        line = _line(self._text, rf"[^#]*[\"']{re.escape(word)}[\"']")
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
        purposes[self.settings.purpose] = None
        rules = {rule.id for rule in self.policy.rules} | {
            kept.id for kept in self.policy.retention
        }
        for entry in self.settings.enforcement:
            purposes[entry.match.purpose] = None
            for kind, word, known in (
                ("recipient", entry.match.recipient, recipients),
                ("rule", entry.match.rule, rules),
                ("data category", entry.match.data, words.data.phrases),
            ):
                if word is not None and word not in known:
                    yield self._unknown(kind, word, known)
        for purpose in purposes:
            if purpose is not None and purpose not in words.purposes:
                yield self._unknown("purpose", purpose, words.purposes.phrases)

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

    def effective(self) -> dict[str, Any]:
        """What counts in the end, and why; plain data for `policyguard config --effective`."""
        modes = self.modes()
        return {
            "schema": "policyguard.config/1",
            "file": str(self.file),
            "policy": {"id": self.policy.id, "digest": self.snapshot.digest},
            "data_map": self.settings.data_map,
            "mode": modes.override or modes.default,
            "mode_from": "POLICYGUARD_MODE" if modes.override else "configuration",
            "at_least": self.policy.at_least,
            "switch_file": self.settings.switch_file,
            "purpose": os.environ.get("POLICYGUARD_PURPOSE") or self.settings.purpose,
            "plugins": list(self.settings.plugins),
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
    file = Path(path or os.environ.get("POLICYGUARD_CONFIG") or _find())
    try:
        text = file.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        # Denies: without a configuration nothing starts.
        why = error.strerror if isinstance(error, OSError) else "not UTF-8 text"
        message = f"can't read the configuration: {str(why).lower()}"
        raise ConfigError([Problem(str(file), 0, 0, "PG501", message)]) from None
    table = _table(file, text)
    try:
        settings = Settings.model_validate(table)
    except ValidationError as error:
        # Denies: a configuration with any problem starts nothing.
        raise ConfigError(_problems(file, text, error)) from None
    return Loaded(file, text, settings)


def _find() -> Path:
    here = Path.cwd()
    for folder in (here, *here.parents):
        for name in NAMES:
            file = folder / name
            if file.is_file() and (name != "pyproject.toml" or _has_table(file)):
                return file
    message = "no configuration: neither policyguard.toml nor [tool.policyguard] in pyproject.toml"
    raise ConfigError([Problem("", 0, 0, "PG501", message, "`policyguard init` writes one")])


def _has_table(file: Path) -> bool:
    try:
        tool = tomllib.loads(file.read_text(encoding="utf-8")).get("tool")
        return isinstance(tool, dict) and "policyguard" in tool
    except (OSError, ValueError, RecursionError):
        # Denies nothing: a pyproject.toml that can't be read is not ours to report.
        return False


def _table(file: Path, text: str) -> Mapping[str, Any]:
    try:
        tree = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        # Denies: text that isn't TOML configures nothing.
        place = _AT_PLACE.search(str(error))
        line, col = (int(place[1]), int(place[2])) if place else (1, 1)
        raise ConfigError([Problem(str(file), line, col, "PG502", "not valid TOML")]) from None
    except (ValueError, RecursionError):
        # Denies: as above; a number with too many digits, a list too deep.
        message = "not valid TOML: a number or a list that is too long or too deep"
        raise ConfigError([Problem(str(file), 1, 1, "PG502", message)]) from None
    tool = tree.get("tool")
    table = tool.get("policyguard") if isinstance(tool, dict) else None
    if table is None and file.name == "pyproject.toml":
        message = "there is no [tool.policyguard]"
        raise ConfigError([Problem(str(file), 1, 1, "PG501", message)])
    if table is not None and not isinstance(table, dict):
        message = "`tool.policyguard` is not a table"
        raise ConfigError([Problem(str(file), _line(text, "policyguard"), 1, "PG505", message)])
    return tree if table is None else table


@cache
def _keys() -> tuple[str, ...]:
    parts = (Settings, EnforcementSettings, MatchSettings)
    return tuple(f.alias or n for part in parts for n, f in part.model_fields.items())


def _problems(file: Path, text: str, error: ValidationError) -> list[Problem]:
    found = []
    for entry in error.errors(include_url=False, include_input=False):
        words = [str(step) for step in entry["loc"] if isinstance(step, str)]
        key = words[-1] if words else ""
        code, hint = "PG505", ""
        if entry["type"] == "extra_forbidden":
            near = difflib.get_close_matches(key, _keys(), n=1)
            message = f"unknown key `{key}`"
            hint = f"did you mean `{near[0]}`?" if near else ""
        elif entry["type"] == "missing":
            message = f"`{key}` is missing"
        elif entry["type"] == "literal_error":
            expected = str(entry.get("ctx", {}).get("expected", ""))
            message = f"`{key}` has a value that is not known"
            hint = f"one of {expected.replace(chr(39), '`')}"
        else:
            message = f"`{key}` has a wrong value"
            hint = next((says for kind, says in _WANTED if entry["type"].startswith(kind)), "")
        found.append(Problem(str(file), _place(text, entry["loc"]), 1, code, message, hint))
    return found


def _place(text: str, steps: tuple[int | str, ...]) -> int:
    """The line of the key that steps lead to, as well as its table's header tells."""
    after = 0
    for number, step in enumerate(steps):
        if isinstance(step, int):
            header = rf"\s*\[\[[^#]*\b{re.escape(str(steps[number - 1]))}\s*\]\]"
            after = _line(text, header, nth=step) - 1
        elif step == "routes":
            after = _line(text, r"\s*\[[^#\[]*\broutes\s*\]") - 1
    names = [step for step in steps if isinstance(step, str)]
    for name in reversed(names):
        key = rf"(?:[^#]*[\s\"'.{{,\[])?{re.escape(name)}[\"']?\s*[=\].]"
        line = _line(text, key, after=after, missing=0)
        if line:
            return line
    return after + 1


def _line(text: str, pattern: str, *, nth: int = 0, after: int = 0, missing: int = 1) -> int:
    """The number of the n-th line that begins with a pattern."""
    lines = text.splitlines()[after:]
    found = [i for i, line in enumerate(lines, after + 1) if re.match(pattern, line)]
    return found[nth] if nth < len(found) else missing


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
                if found.name not in self._installed:
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
    guard = Guard._of(loaded, reporters)  # noqa: SLF001 - this module's own class
    guard.install(*loaded.settings.plugins)
    _process["guard"] = guard
    return guard


def uninstall() -> None:
    """Undo `install`; does nothing if there is nothing to undo."""
    guard = _process.pop("guard", None)
    if guard is not None:
        guard.uninstall()
