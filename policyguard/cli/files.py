"""Which file a word on the command line means: a path, or a policy that ships with the package.

Layer: cli. Start reading at `find_policy`.
"""

from __future__ import annotations

import difflib
import os
from pathlib import Path
from typing import TYPE_CHECKING, Final

from policyguard.cli.output import MistakeError

if TYPE_CHECKING:
    from policyguard.engine.compile import Snapshot
    from policyguard.policy.rules import Policy

PARTS: Final = ("policy.yaml", "data-map.yaml", "cases.yaml")
_PACKAGE: Final = Path(__file__).resolve().parent.parent


def shipped() -> dict[str, Path]:
    """The policies that ship with the package, id to folder.

    A wheel carries them inside of the package, a checkout beside it.
    """
    for home in (_PACKAGE / "policies", _PACKAGE.parent / "policies"):
        if home.is_dir():
            folders = sorted(path for path in home.iterdir() if (path / PARTS[0]).is_file())
            return {path.name: path for path in folders}
    return {}


def shipped_folder(name: str) -> Path:
    """The folder of a shipped policy.

    Raises:
        MistakeError: there is none of this id; names the nearest.
    """
    known = shipped()
    if name in known:
        return known[name]
    near = difflib.get_close_matches(name, known, n=1)
    hint = f"did you mean `{near[0]}`?" if near else f"there are: {', '.join(known) or 'none'}"
    raise MistakeError(f"no shipped policy `{name}`", hint)


def checkout() -> Path | None:
    """The repository this package runs from, None if it was installed from a wheel."""
    home = _PACKAGE.parent
    return home if (home / "examples" / "lumipic" / "demo.py").is_file() else None


def find_policy(word: str) -> Path:
    """The policy file that a word means: a path, or the id of a shipped policy.

    Raises:
        MistakeError: neither; or it is a folder.
    """
    if not os.path.lexists(_checked(word)):
        known = shipped()
        if word in known:
            return _short(known[word] / PARTS[0])
        near = difflib.get_close_matches(word, known, n=1)
        hint = f"did you mean the shipped policy `{near[0]}`?" if near else ""
        hint = hint or f"give a path, or a shipped policy: {', '.join(known) or 'none'}"
        raise MistakeError(f"{word}: no such file", hint)
    return find_file(word, PARTS[0])


def find_file(word: str, usual: str = "") -> Path:
    """An existing file that can be read.

    Args:
        word: the path.
        usual: the file's usual name, for a hint when a folder is given.

    Raises:
        MistakeError: it isn't there, is a folder, or may not be read.
    """
    path = Path(_checked(word))
    if not os.path.lexists(path):
        raise MistakeError(f"{word}: no such file")
    if path.is_dir():
        inside = path / usual
        hint = f"did you mean `{inside}`?" if usual and inside.is_file() else "give a file"
        raise MistakeError(f"{word}: is a folder", hint)
    if not path.exists():
        raise MistakeError(f"{word}: a link that leads nowhere")
    if not os.access(path, os.R_OK):
        raise MistakeError(f"{word}: permission denied")
    return path


def load(word: str) -> tuple[Policy, Snapshot]:
    """Load and compile the policy that a word means.

    Raises:
        MistakeError: no such file.
        PolicyError: every problem of it.
    """
    from policyguard.engine.compile import compile_policy  # noqa: PLC0415 - not for `--help`
    from policyguard.policy.assemble import load_policy  # noqa: PLC0415 - as above

    policy = load_policy(find_policy(word))
    return policy, compile_policy(policy)


def _checked(word: str) -> str:
    if not word or "\x00" in word:
        raise MistakeError("a file's name is empty or holds a NUL character")
    return word


def _short(path: Path) -> Path:
    """Relative to the working folder if it lies below: how a person would name it."""
    try:
        return path.relative_to(Path.cwd())
    except (ValueError, OSError):
        # Denies nothing: a file elsewhere keeps its full path.
        return path
