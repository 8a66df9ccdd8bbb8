"""What tests of a program import: flows on record, and assertions about them.

Layer: testing, beside cli; nothing else imports it. Names are loaded when first used, because
pytest loads this package at its start. Start reading at `policyguard.testing.recorder`.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from policyguard.testing.asserts import (
        assert_flow,
        assert_no_flows,
        assert_none_left,
        assert_only_flows,
    )
    from policyguard.testing.recorder import Recorder, Seen, recording

__all__ = [
    "Recorder",
    "Seen",
    "assert_flow",
    "assert_no_flows",
    "assert_none_left",
    "assert_only_flows",
    "recording",
]


def __getattr__(name: str) -> Any:
    """Load a public name from its module when it is first used."""
    if name not in __all__:
        raise AttributeError(f"module 'policyguard.testing' has no attribute {name!r}")
    home = "asserts" if name.startswith("assert_") else "recorder"
    value = getattr(import_module(f"policyguard.testing.{home}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted(__all__)
