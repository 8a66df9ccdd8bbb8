"""From the text in a configuration to a store of subjects.

Layer: stores. Start reading at `open_store`.
"""

from __future__ import annotations

import re
from contextlib import suppress
from importlib import import_module
from pathlib import Path
from typing import Final

from policyguard.enforce.asking import Store, kind_of
from policyguard.enforce.crew import AllHangError, Crew
from policyguard.stores.database import DatabaseSubjects
from policyguard.stores.known import StoreError
from policyguard.stores.sqlite import SqliteSubjects

_OWN: Final = re.compile(r"(?P<module>[A-Za-z_]\w*(\.[A-Za-z_]\w*)*):(?P<name>[A-Za-z_]\w*)")
_FILE: Final = "sqlite:///"
_START_SECONDS: Final = 2.0
_FORMS: Final = "write `sqlite:///FILE`, a URL of SQLAlchemy, or `module:object`"


def open_store(text: str, *, folder: Path | None = None) -> Store:
    """The store that a configuration names.

    Args:
        text: `sqlite:///FILE` (relative to `folder`; `sqlite:////FILE` is absolute), another URL of
            SQLAlchemy, or `module:object`: an object of the application that has a method `facts`,
            or a class or function that makes one.
        folder: by default the current one.

    Raises:
        ValueError: there is no such store. The text isn't shown: it may hold a password.
        PluginError: SQLAlchemy or a driver is needed and isn't there.
    """
    if text.startswith(_FILE):
        return _in_file(text.removeprefix(_FILE), folder or Path())
    if "://" in text:
        store = DatabaseSubjects(text)
        _prepare(store)
        return store
    own = _OWN.fullmatch(text)
    if own is None:
        raise ValueError(f"the store of subjects can't be told from what is written; {_FORMS}")
    return _own(own["module"], own["name"])


def _in_file(name: str, folder: Path) -> SqliteSubjects:
    if not name or name.startswith(":memory:"):
        raise ValueError("a store of subjects needs a file; write `sqlite:///FILE`")
    if "?" in name:
        raise ValueError("`sqlite:///FILE` takes no parameters behind `?`")
    return SqliteSubjects(folder / name)


def _prepare(store: DatabaseSubjects) -> None:
    """Connect before the first request needs it; what fails is told by the first look-up."""
    # Denies nothing yet: a database that is down at the start may be back when it is asked.
    with suppress(StoreError, TimeoutError, AllHangError):
        Crew(1).call(lambda _: store.prepare(), _START_SECONDS)


def _own(module: str, name: str) -> Store:
    try:
        found = getattr(import_module(module), name)
        # A class has the method too, but not the store.
        if isinstance(found, type) or (callable(found) and not hasattr(found, "facts")):
            found = found()
    except Exception as error:  # noqa: BLE001 - the application's own code
        # Denies: the start. The error's text is foreign, so only its kind is told.
        what = f"the store of subjects in module `{module}` can't be loaded ({kind_of(error)})"
        raise ValueError(what) from None
    if not callable(getattr(found, "facts", None)):
        raise ValueError(f"the store of subjects in module `{module}` has no method `facts`")  # noqa: TRY004 - a wrong text in a configuration
    store: Store = found
    return store
