"""What users import is exactly this, and importing it costs next to nothing."""

from __future__ import annotations

import inspect
import json
import subprocess
import sys
from pathlib import Path

import pytest

import policyguard
from tests.enforce.kit import DATA_MAP, POLICY

NAMES = [
    "CasesError",
    "Category",
    "ConfigError",
    "DataMapError",
    "Decision",
    "Guard",
    "NoPurpose",
    "PluginError",
    "PolicyError",
    "PolicyGuardError",
    "PolicyViolation",
    "Sealed",
    "TermError",
    "install",
    "installed",
    "uninstall",
]
GUARD = [
    "add",
    "asked",
    "bind",
    "check",
    "close",
    "context",
    "current_purpose",
    "data_map",
    "decide",
    "differences",
    "egress",
    "enter",
    "from_config",
    "hosts",
    "install",
    "job",
    "jobs",
    "judge",
    "label",
    "labels_in",
    "load",
    "modes",
    "open",
    "purpose",
    "redact",
    "registry",
    "reload",
    "remember",
    "request",
    "route_purpose",
    "routes",
    "seal",
    "settle",
    "signal",
    "sink",
    "snapshot",
    "source",
    "sql",
    "sql_session",
    "stops",
    "subjects",
    "swap",
    "transform",
    "uninstall",
    "watchers",
    "worst",
]
HEAVY = ("pydantic", "sqlglot", "opentelemetry", "rich", "yaml", "numpy", "typer", "httpx")


def test_the_public_names_are_exactly_these() -> None:
    """A name more or less is a decision, not an accident."""
    assert policyguard.__all__ == NAMES
    assert dir(policyguard) == sorted([*NAMES, "__version__"])
    for name in NAMES:
        assert getattr(policyguard, name).__name__ == name


def test_the_guards_methods_are_exactly_these() -> None:
    """The names that the documentation promises, and those that integrations use."""
    assert [name for name in dir(policyguard.Guard) if not name.startswith("_")] == GUARD


def test_everything_public_says_what_it_is() -> None:
    """Each name and each method has a docstring."""
    for name in NAMES:
        assert inspect.getdoc(getattr(policyguard, name))
    for name in GUARD:
        assert inspect.getdoc(getattr(policyguard.Guard, name)), name


def test_an_unknown_name_is_an_attribute_error() -> None:
    """Lazy names don't hide typos."""
    with pytest.raises(AttributeError):
        _ = policyguard.PolicyViolatoin


def test_the_version_is_the_distributions() -> None:
    """Read from metadata when asked for."""
    assert policyguard.__version__.count(".") == 2


def test_every_error_is_a_policyguard_error() -> None:
    """One `except` catches all of ours, and none is caught by accident."""
    errors = [name for name in NAMES if name.endswith(("Error", "Violation", "Purpose"))]
    for name in errors:
        assert issubclass(getattr(policyguard, name), policyguard.PolicyGuardError)
    assert issubclass(policyguard.NoPurpose, policyguard.PolicyViolation)


def imported(program: str) -> set[str]:
    """Which heavy packages a program has imported at its end."""
    told = f"{program}\nimport sys, json\nprint(json.dumps(sorted(sys.modules)))"
    done = subprocess.run(
        [sys.executable, "-c", told],
        capture_output=True,
        text=True,
        check=True,
        cwd=Path(policyguard.__file__).parent.parent,
    )
    modules = {name.partition(".")[0] for name in json.loads(done.stdout)}
    return modules & set(HEAVY)


def test_importing_the_package_imports_nothing_heavy() -> None:
    """`import policyguard` alone."""
    assert imported("import policyguard; dir(policyguard)") == set()


def test_a_guard_without_sql_imports_no_parser() -> None:
    """Loading a policy and deciding needs neither sqlglot nor telemetry nor a plugin's library."""
    program = (
        "import policyguard\n"
        f"made = policyguard.Guard.load({str(POLICY)!r}, data_map={str(DATA_MAP)!r})\n"
        "with made.purpose('essential.service.account'):\n"
        "    made.check('x', to='mailer', data='user.contact.email')\n"
        "    made.remember('somebody@example.org', made.label('user.contact.email'))\n"
        "    made.check({'to': 'somebody@example.org'}, to='mailer')\n"
    )
    assert imported(program) == {"pydantic", "yaml"}
    sql = f"{program}made.sql('SELECT 1', dialect='sqlite')"
    assert imported(sql) == {"pydantic", "yaml", "sqlglot"}
