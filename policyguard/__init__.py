"""policyguard holds running code to the published privacy policy.

Start with `policyguard.install()` (from configuration) or `Guard.load("policy.yaml")`. Names are
loaded when first used, so that importing this package costs next to nothing.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from policyguard.config import Guard, install, installed, uninstall
    from policyguard.enforce.violation import NoPurpose, PolicyViolation
    from policyguard.engine.decision import Decision
    from policyguard.errors import (
        CasesError,
        ConfigError,
        DataMapError,
        PluginError,
        PolicyError,
        PolicyGuardError,
        TermError,
    )
    from policyguard.labels.sealed import Sealed
    from policyguard.labels.typed import Category

__all__ = [
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

_HOME = {
    "Category": "policyguard.labels.typed",
    "Decision": "policyguard.engine.decision",
    "Guard": "policyguard.config",
    "NoPurpose": "policyguard.enforce.violation",
    "PolicyViolation": "policyguard.enforce.violation",
    "Sealed": "policyguard.labels.sealed",
    "install": "policyguard.config",
    "installed": "policyguard.config",
    "uninstall": "policyguard.config",
}


def __getattr__(name: str) -> Any:
    """Load a public name from its module when it is first used."""
    if name == "__version__":
        from importlib.metadata import version  # noqa: PLC0415 - costs more than the rest

        return version("policyguard-runtime")
    if name not in __all__:
        raise AttributeError(f"module 'policyguard' has no attribute {name!r}")
    value = getattr(import_module(_HOME.get(name, "policyguard.errors")), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted([*__all__, "__version__"])
