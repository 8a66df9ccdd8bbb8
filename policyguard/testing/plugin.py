"""The pytest plugin `policyguard`: a mode for the run, tests in a scope, and what was denied.

Layer: testing. pytest loads this module in every run of an environment that has policyguard, so it
imports nothing of the package until a test needs it. Start reading at `pytest_configure`.
"""

from __future__ import annotations

import inspect
import os
import sys
from collections.abc import Generator, Iterator
from dataclasses import replace
from functools import wraps
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, cast

import pytest

if TYPE_CHECKING:
    from policyguard.enforce.guard import Guard
    from policyguard.testing.recorder import Recorder
    from policyguard.testing.summary import Denied

_MODE: Final = "POLICYGUARD_MODE"
_MARK: Final = "policyguard"
_GUARD: Final = "policyguard_guard"
_ARGUMENTS: Final = frozenset({"purpose", "subject", "facts"})
_SHOWN: Final = 25
_BEFORE: Final[pytest.StashKey[str | None]] = pytest.StashKey()
_LOADED: Final[pytest.StashKey[Guard]] = pytest.StashKey()
_DENIED: Final[pytest.StashKey[Denied]] = pytest.StashKey()


def pytest_addoption(parser: pytest.Parser) -> None:
    """`--policyguard=MODE` and the ini option `policyguard_config`."""
    group = parser.getgroup("policyguard", "policyguard: hold the program to its privacy policy")
    group.addoption(
        "--policyguard",
        choices=("flag", "block", "off"),
        default=None,
        help="what guards do about denied flows in this run; by default what they are configured "
        "to do. Never below the policy's at_least.",
    )
    parser.addini(
        "policyguard_config",
        "policyguard.toml or pyproject.toml for the fixture policyguard_guard, relative to this "
        "file; by default the nearest one",
    )


@pytest.hookimpl(tryfirst=True)
def pytest_load_initial_conftests(early_config: pytest.Config) -> None:
    """Set the mode before any conftest.py is imported, since it may make a guard."""
    _set_mode(early_config, early_config.known_args_namespace.policyguard)


def pytest_configure(config: pytest.Config) -> None:
    """Declare the mark; set the mode."""
    config.addinivalue_line(
        "markers",
        "policyguard(purpose=..., subject=None, facts=None): run the test in this scope.",
    )
    _set_mode(config, config.option.policyguard)


def pytest_unconfigure(config: pytest.Config) -> None:
    """Leave the environment, and the guards that outlive the run, as they were."""
    if _DENIED in config.stash:
        config.stash[_DENIED].end()
    if _BEFORE in config.stash:
        before = config.stash[_BEFORE]
        if before is None:
            os.environ.pop(_MODE, None)
        else:
            os.environ[_MODE] = before


def pytest_report_header(config: pytest.Config) -> str | None:
    """The mode, where the run chose one."""
    mode = config.option.policyguard
    return f"policyguard: mode {mode} in this run" if mode else None


def _set_mode(config: pytest.Config, mode: str | None) -> None:
    # The environment reaches guards that don't exist yet, subprocesses and xdist's workers.
    if mode is not None and _BEFORE not in config.stash:
        config.stash[_BEFORE] = os.environ.get(_MODE)
        os.environ[_MODE] = mode


# Tests in a scope.


def pytest_itemcollected(item: pytest.Item) -> None:
    """Check the mark's arguments, and ask for the guard that a marked test needs."""
    if not isinstance(item, pytest.Function) or item.get_closest_marker(_MARK) is None:
        return
    _said(item)
    if _GUARD not in item.fixturenames:
        item.fixturenames.append(_GUARD)


def _said(item: pytest.Item) -> dict[str, Any]:
    """What the marks say: the function's own wins over the class's, the class's over the module's.

    Raises:
        pytest.UsageError: a mark can't be understood.
    """
    said: dict[str, Any] = {}
    for mark in reversed(list(item.iter_markers(_MARK))):
        unknown = sorted(set(mark.kwargs) - _ARGUMENTS)
        if mark.args or unknown or not mark.kwargs:
            wrong = f"unknown argument `{unknown[0]}`" if unknown else "arguments have names"
            usage = '@pytest.mark.policyguard(purpose="...", subject=None, facts=None)'
            raise pytest.UsageError(f"{item.nodeid}: {wrong}; write {usage}")
        said |= mark.kwargs
    return said


@pytest.hookimpl(wrapper=True)
def pytest_runtest_setup(item: pytest.Item) -> Generator[None, Any, Any]:
    """Count what new guards deny, and say before the test that a mark's words are wrong."""
    _count(item.config)
    result = yield
    if isinstance(item, pytest.Function) and item.get_closest_marker(_MARK) is not None:
        _scope(item)
    return result


def _scope(item: pytest.Function) -> Any:
    """The scope that the marks of a test say."""
    from policyguard.errors import PolicyGuardError  # noqa: PLC0415 - see the module's docstring

    guard = cast("Guard", item.funcargs[_GUARD])
    try:
        return guard.context(**_said(item))
    except PolicyGuardError as error:
        pytest.fail(f"the mark `policyguard` of {item.nodeid}: {error}", pytrace=False)


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_runtest_call(item: pytest.Item) -> Generator[None, Any, Any]:
    """Run a marked test in its scope; an async one inside its own task."""
    if not isinstance(item, pytest.Function) or item.get_closest_marker(_MARK) is None:
        return (yield)
    scope, test = _scope(item), item.obj
    if not inspect.iscoroutinefunction(test):
        with scope:
            return (yield)

    @wraps(test)
    async def in_scope(*args: Any, **kwargs: Any) -> Any:
        async with scope:
            return await test(*args, **kwargs)

    item.obj = in_scope
    try:
        return (yield)
    finally:
        item.obj = test


# Fixtures.


@pytest.fixture
def policyguard_guard(pytestconfig: pytest.Config) -> Iterator[Guard]:
    """The process's guard, or one from the configuration. Override it to give another."""
    guard = _process_guard() or _loaded(pytestconfig)
    mode = pytestconfig.option.policyguard
    modes = guard.modes
    if mode is None or modes.override == mode:
        yield guard
        return
    # A guard that is older than the run.
    guard.modes = replace(modes, override=mode)
    yield guard
    guard.modes = modes


@pytest.fixture
def policyguard_recorder(policyguard_guard: Guard) -> Iterator[Recorder]:
    """Every flow that the guard judges in this test."""
    from policyguard.testing.recorder import recording  # noqa: PLC0415 - see the module's docstring

    with recording(policyguard_guard) as recorder:
        yield recorder


def _process_guard() -> Guard | None:
    """The guard that `policyguard.install` made, if it did."""
    home = sys.modules.get("policyguard.config.guard")
    return None if home is None else home.installed()


def _loaded(config: pytest.Config) -> Guard:
    """The guard from the configuration, made once in a run."""
    if _LOADED in config.stash:
        return config.stash[_LOADED]
    from policyguard.config import Guard  # noqa: PLC0415 - see the module's docstring
    from policyguard.errors import PolicyGuardError  # noqa: PLC0415 - as above

    _count(config)
    named = config.getini("policyguard_config")
    folder = config.inipath.parent if config.inipath else config.rootpath
    try:
        guard = Guard.from_config(Path(folder, named) if named else None)
    except PolicyGuardError as error:
        hint = "set `policyguard_config`, or override the fixture `policyguard_guard`"
        pytest.fail(f"no guard for the tests: {error}\n  {hint}", pytrace=False)
    config.stash[_LOADED] = guard
    return guard


# What was denied.


def _count(config: pytest.Config) -> None:
    """Count what guards deny, from the moment that the program has loaded policyguard."""
    if _DENIED in config.stash or "policyguard.enforce.claims" not in sys.modules:
        return
    from policyguard.testing.summary import Denied  # noqa: PLC0415 - see the module's docstring

    config.stash[_DENIED] = Denied()


def pytest_collection_finish(session: pytest.Session) -> None:
    """Count from here on: the test modules are imported."""
    _count(session.config)


def pytest_sessionfinish(session: pytest.Session) -> None:
    """In a worker of xdist: hand the counts over."""
    output = getattr(session.config, "workeroutput", None)
    if output is not None and _DENIED in session.config.stash:
        output["policyguard"] = session.config.stash[_DENIED].as_lists()


@pytest.hookimpl(optionalhook=True)
def pytest_testnodedown(node: Any) -> None:
    """In xdist's controller: add up what a worker counted."""
    counted = getattr(node, "workeroutput", {}).get("policyguard")
    if counted:
        from policyguard.testing.summary import Denied  # noqa: PLC0415 - see the module's docstring

        stash = node.config.stash
        if _DENIED not in stash:
            stash[_DENIED] = Denied()
        stash[_DENIED].add(counted)


def pytest_terminal_summary(
    terminalreporter: pytest.TerminalReporter, config: pytest.Config
) -> None:
    """Each flow that was denied, once, with its count; only a number where pytest is quiet."""
    lines = config.stash[_DENIED].lines() if _DENIED in config.stash else []
    if not lines:
        return
    if config.get_verbosity() < 0:
        terminalreporter.write_line(f"policyguard: {len(lines)} denied flows")
        return
    terminalreporter.section("policyguard: flows denied in this run")
    shown = lines if config.get_verbosity() > 0 else lines[:_SHOWN]
    for line in shown:
        terminalreporter.write_line(line)
    if len(shown) < len(lines):
        terminalreporter.write_line(f"and {len(lines) - len(shown)} more; -v shows them")
