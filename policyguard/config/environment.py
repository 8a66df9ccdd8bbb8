"""What the environment says in place of the configuration file: POLICYGUARD_POLICY and its like.

Layer: config. Secrets, such as the password in a store's URL, belong here and not into a file.
`POLICYGUARD_MODE` and `POLICYGUARD_PURPOSE` have meanings of their own: the mode that wins, and the
purpose of last resort. Start reading at `overrides`.
"""

from __future__ import annotations

import difflib
import os
from typing import Final

_PREFIX: Final = "POLICYGUARD_"
_TEXTS: Final = ("policy", "data_map", "subjects", "shadow", "switch_file", "on_block")
_SWITCHES: Final = ("telemetry", "reload")
_OTHERS: Final = ("mode", "purpose", "config")
_ANSWERS: Final = {"true": True, "1": True, "false": False, "0": False}
_NEAR: Final = 0.75


def variable(key: str) -> str:
    """The variable that stands for a setting."""
    return _PREFIX + key.upper()


def overrides() -> dict[str, object]:
    """Settings that the environment gives; an empty variable gives nothing.

    A switch that is neither true nor false stays text, which the settings refuse.
    """
    found: dict[str, object] = {}
    for key in (*_TEXTS, *_SWITCHES):
        text = os.environ.get(variable(key), "").strip()
        if text:
            found[key] = _ANSWERS.get(text.lower(), text) if key in _SWITCHES else text
    return found


def misspelt() -> list[str]:
    """Variables that were surely meant for us and mean nothing, each with what it looks like."""
    known = [key.upper() for key in (*_TEXTS, *_SWITCHES, *_OTHERS)]
    found = []
    for name in sorted(os.environ):
        # Without the prefix that all of them share, and that would make any two look alike.
        key = name.removeprefix(_PREFIX)
        if key not in (name, *known):
            found += [
                f"the environment variable {name} means nothing; did you mean {_PREFIX}{near}?"
                for near in difflib.get_close_matches(key, known, n=1, cutoff=_NEAR)
            ]
    return found
