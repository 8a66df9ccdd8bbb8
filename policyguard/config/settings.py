"""`[tool.policyguard]` as validated data, and where it is found.

Layer: config. Start reading at `Settings` and `read_settings`.
"""

from __future__ import annotations

import difflib
import os
import re
import tomllib
from collections.abc import Mapping
from datetime import date
from functools import cache
from pathlib import Path
from typing import Annotated, Any, Final, Literal

from pydantic import BeforeValidator, Field, ValidationError

from policyguard.config.environment import overrides, variable
from policyguard.errors import ConfigError, Problem
from policyguard.policy.conditions import Part
from policyguard.policy.flow import Reason
from policyguard.policy.loader import Limits, read_regular
from policyguard.policy.terms import RecipientKind

NAMES: Final = ("policyguard.toml", "pyproject.toml")
ModeName = Literal["block", "redact", "flag", "off"]
_WANTED: Final = (
    ("string_too_short", "some text"),
    ("string_pattern", "some text"),
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
_LIMITS: Final = Limits()
_AT_PLACE: Final = re.compile(r"at line (\d+), column (\d+)")


class MatchSettings(Part):
    """Which denied flows an entry is about; what is left out matches all."""

    rule: str | None = None
    recipient: str | None = None
    kind: RecipientKind | None = None
    data: str | None = None
    purpose: str | None = None
    reason: Reason | None = None
    route: str | None = None
    at: Literal["sql", "http", "call"] | None = None


def _day(value: object) -> object:
    return value.isoformat() if isinstance(value, date) else value


Day = Annotated[date, BeforeValidator(_day)]
Words = Annotated[str, Field(min_length=1, pattern=r"\S")]


class EnforcementSettings(Part):
    """One entry: a mode for the flows that match, from a day on, for a share of the scopes."""

    match: MatchSettings
    mode: ModeName
    from_: Day | None = Field(None, alias="from")
    percent: Annotated[int, Field(ge=0, le=100)] = 100


class WaiverSettings(Part):
    """A reviewed exception: denied flows that pass until a day, and who answers for it."""

    match: MatchSettings
    owner: Words = Field(description="who answers for it")
    reason: Words = Field(description="why it is needed")
    expires: Day = Field(description="its last day; after it the waiver counts as absent")


class Settings(Part):
    """`[tool.policyguard]`: how the guard behaves here and now."""

    policy: str = Field(description="the policy file, relative to this file")
    data_map: str | None = Field(None, description="the data map, relative to this file")
    mode: ModeName = Field("block", description="what is done about a denied flow")
    on_block: Literal["raise", "respond"] = Field(
        "raise", description="a blocked request raises, or is answered with a local 451"
    )
    switch_file: str | None = Field(None, description="a file with one word, a mode; read live")
    purpose: str | None = Field(None, description="the purpose where code and route say none")
    subjects: str | None = Field(
        None,
        description="facts about persons: `sqlite:///FILE`, a URL, `module:object`",
        # A URL may hold a password.
        repr=False,
    )
    schema_: str | None = Field(
        None, alias="schema", description="a schema lock, or another file that lists all tables"
    )
    undescribed: Literal["cannot_tell", "clean"] = Field(
        "cannot_tell", description="what a table of the schema is that nobody describes"
    )
    sql_comment: bool = Field(
        default=False, strict=True, description="write the purpose into statements, as a comment"
    )
    functions: dict[str, Literal["direct", "derived", "hashed", "aggregated", "encrypted"]] = Field(
        default_factory=dict, description="reviewed own functions of SQL, and what they do"
    )
    shadow: str | None = Field(
        None, description="a second policy that is only compared, relative to this file"
    )
    reload: bool = Field(
        default=False, strict=True, description="read changed files again while running"
    )
    plugins: tuple[str, ...] = Field((), description="integrations to install")
    telemetry: bool = Field(
        default=False, strict=True, description="report violations to OpenTelemetry"
    )
    routes: dict[str, str] = Field(default_factory=dict, description="purposes by route")
    jobs: dict[str, str] = Field(default_factory=dict, description="purposes by background job")
    enforcement: tuple[EnforcementSettings, ...] = Field((), description="first match wins")
    waivers: tuple[WaiverSettings, ...] = Field((), description="exceptions that end")


def read_settings(path: str | Path | None = None) -> tuple[Path, str, Settings]:
    """Find and read the configuration.

    Args:
        path: policyguard.toml or pyproject.toml; by default `POLICYGUARD_CONFIG`, else the nearest
            of these in the working folder or above it, else none if `POLICYGUARD_POLICY` is set.

    Returns:
        The file, its text, and the settings with what the environment says in their place.

    Raises:
        ConfigError: it is missing or wrong, with every problem.
    """
    named = path or os.environ.get("POLICYGUARD_CONFIG")
    file = Path(named) if named else _find()
    if file is None:
        return only_environment(Path.cwd() / NAMES[0])
    try:
        text = read_regular(file, _LIMITS).decode("utf-8")
    except (OSError, ValueError) as error:
        # Denies: without a configuration nothing starts.
        broken = "not UTF-8 text" if isinstance(error, UnicodeDecodeError) else str(error)
        why = error.strerror if isinstance(error, OSError) else broken
        message = f"can't read the configuration: {str(why).lower()}"
        raise ConfigError([Problem(str(file), 0, 0, "PG501", message)]) from None
    return _validated(file, text, _table(file, text))


def only_environment(file: Path) -> tuple[Path, str, Settings]:
    """As `read_settings`, where there is no file.

    Args:
        file: where one would be; paths are relative to its folder.
    """
    return _validated(file, "", {})


def _validated(file: Path, text: str, table: Mapping[str, Any]) -> tuple[Path, str, Settings]:
    try:
        settings = Settings.model_validate({**table, **overrides()})
    except ValidationError as error:
        # Denies: a configuration with any problem starts nothing.
        raise ConfigError(_problems(file, text, error)) from None
    return file, text, settings


def _find() -> Path | None:
    here = Path.cwd()
    for folder in (here, *here.parents):
        for name in NAMES:
            file = folder / name
            if file.is_file() and (name != "pyproject.toml" or _has_table(file)):
                return file
    if "policy" in overrides():
        return None
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
        raise ConfigError([Problem(str(file), line_of(text, "policyguard"), 1, "PG505", message)])
    return tree if table is None else table


@cache
def _keys() -> tuple[str, ...]:
    parts = (Settings, EnforcementSettings, MatchSettings, WaiverSettings)
    return tuple(f.alias or n for part in parts for n, f in part.model_fields.items())


def _problems(file: Path, text: str, error: ValidationError) -> list[Problem]:
    found = []
    said = overrides()
    for entry in error.errors(include_url=False, include_input=False):
        words = [str(step) for step in entry["loc"] if isinstance(step, str)]
        key = words[-1] if words else ""
        message, hint = _explained(key, entry["type"], entry.get("ctx", {}))
        if key in said and len(entry["loc"]) == 1:
            message = f"the environment variable {variable(key)} has a value that is not known"
            found.append(Problem("", 0, 0, "PG505", message, hint))
        else:
            line = _place(text, entry["loc"])
            found.append(Problem(str(file), line, 1, "PG505", message, hint))
    return found


def _explained(key: str, kind: str, more: Mapping[str, Any]) -> tuple[str, str]:
    """What is wrong about a key, and what would be right. The value itself is never shown."""
    if kind == "extra_forbidden":
        near = difflib.get_close_matches(key, _keys(), n=1)
        return f"unknown key `{key}`", f"did you mean `{near[0]}`?" if near else ""
    if kind == "missing":
        return f"`{key}` is missing", ""
    if kind == "literal_error":
        expected = str(more.get("expected", "")).replace(chr(39), "`")
        return f"`{key}` has a value that is not known", f"one of {expected}"
    hint = next((says for start, says in _WANTED if kind.startswith(start)), "")
    return f"`{key}` has a wrong value", hint


def _place(text: str, steps: tuple[int | str, ...]) -> int:
    """The line of the key that steps lead to, as well as its table's header tells."""
    after = 0
    for number, step in enumerate(steps):
        if isinstance(step, int):
            header = rf"\s*\[\[[^#]*\b{re.escape(str(steps[number - 1]))}\s*\]\]"
            after = line_of(text, header, nth=step) - 1
            # Not beyond: the next entry's key is another one's.
            end = line_of(text, r"\s*\[", after=after + 1, missing=0)
            text = "\n".join(text.splitlines()[: end - 1]) if end else text
        elif step in ("routes", "jobs"):
            after = line_of(text, rf"\s*\[[^#\[]*\b{step}\s*\]") - 1
    names = [step for step in steps if isinstance(step, str)]
    for name in reversed(names):
        key = rf"(?:[^#]*[\s\"'.{{,\[])?{re.escape(name)}[\"']?\s*[=\].]"
        line = line_of(text, key, after=after, missing=0)
        if line:
            return line
    return after + 1


def line_of(text: str, pattern: str, *, nth: int = 0, after: int = 0, missing: int = 1) -> int:
    """The number of the n-th line that begins with a pattern."""
    lines = text.splitlines()[after:]
    found = [i for i, line in enumerate(lines, after + 1) if re.match(pattern, line)]
    return found[nth] if nth < len(found) else missing
