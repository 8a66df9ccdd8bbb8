"""Threads and executors run in the scope in which they were asked to; workers keep none of it."""

from __future__ import annotations

import asyncio
import contextvars
import gc
import inspect
import subprocess
import sys
import threading
import weakref
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from multiprocessing.dummy import Process as DummyProcess
from multiprocessing.pool import ThreadPool
from pathlib import Path
from typing import Any

import pytest

from policyguard import PluginError
from policyguard.enforce import threads
from policyguard.enforce.context import Scope, current_scope
from policyguard.enforce.threads import ThreadsPlugin, carry
from tests.enforce.kit import ACCOUNT, ADS, SECURITY, guard

GUARD = guard()
PLAIN = {(owner, name): getattr(owner, name) for owner, name in threads.PATCHES}


@pytest.fixture(autouse=True)
def unhook() -> Iterator[Callable[[], None]]:
    """Threads are hooked in every test; what undoes it."""
    undo = carry()
    yield undo
    undo()
    assert {(owner, name): getattr(owner, name) for owner, name in PLAIN} == PLAIN


def purpose() -> str | None:
    """The purpose here."""
    scope = current_scope()
    return None if scope is None else scope.purpose


def in_thread(make: Callable[[Callable[[], None]], threading.Thread]) -> list[str | None]:
    """What a thread sees, started in a scope that is left before it looks."""
    seen: list[str | None] = []
    gate = threading.Event()

    def look() -> None:
        gate.wait()
        seen.append(purpose())

    with GUARD.purpose(ADS):
        thread = make(look)
        thread.start()
    with GUARD.purpose(SECURITY):
        gate.set()
        thread.join()
    return seen


class Overrides(threading.Thread):
    """A thread with a `run` of its own, as many programs write them."""

    def __init__(self, look: Callable[[], None]) -> None:
        super().__init__()
        self.look = look

    def run(self) -> None:
        """Look."""
        self.look()


def patched(look: Callable[[], None]) -> threading.Thread:
    """A thread whose object has a `run` of its own."""
    thread = threading.Thread()
    thread.run = look  # type: ignore[method-assign]  # what programs do
    return thread


@pytest.mark.parametrize(
    "make",
    [
        lambda look: threading.Thread(target=look),
        lambda look: threading.Thread(target=look, daemon=True),
        lambda look: threading.Timer(0, look),
        lambda look: DummyProcess(target=look),
        Overrides,
        patched,
    ],
    ids=["thread", "daemon", "timer", "dummy process", "subclass", "patched"],
)
def test_a_thread_runs_in_the_scope_it_was_started_in(
    make: Callable[[Callable[[], None]], threading.Thread],
) -> None:
    """The scope counts that was current at `start`, also after it was left."""
    assert in_thread(make) == [ADS]


def test_the_scope_is_the_same_object() -> None:
    """Person, facts and labelled values are those of the starter."""
    seen: list[Scope | None] = []
    with GUARD.context(subject=7, facts={"region": "DE"}, purpose=ADS):
        scope = current_scope()
        thread = threading.Thread(target=lambda: seen.append(current_scope()))
        thread.start()
        thread.join()
    assert seen == [scope]


def test_the_scope_of_a_thread_counts_where_it_is_started_not_where_it_is_made() -> None:
    """A thread object may be made long before."""
    seen: list[str | None] = []
    with GUARD.purpose(ADS):
        thread = threading.Thread(target=lambda: seen.append(purpose()))
    with GUARD.purpose(ACCOUNT):
        thread.start()
        thread.join()
    outside = threading.Thread(target=lambda: seen.append(purpose()))
    outside.start()
    outside.join()
    assert seen == [ACCOUNT, None]


def test_a_thread_that_a_thread_starts_goes_on_in_the_scope() -> None:
    """Grandchildren too."""
    seen: list[str | None] = []

    def child() -> None:
        inner = threading.Thread(target=lambda: seen.append(purpose()))
        inner.start()
        inner.join()

    with GUARD.purpose(ADS):
        thread = threading.Thread(target=child)
        thread.start()
        thread.join()
    assert seen == [ADS]


def test_a_thread_that_ran_already_when_the_hook_came_is_left_alone() -> None:
    """It has no scope, before and after."""
    seen: list[str | None] = []
    gate = threading.Event()

    def look() -> None:
        gate.wait()
        seen.append(purpose())

    thread = threading.Thread(target=look)
    thread.start()
    with GUARD.purpose(ADS):
        undo = carry()
        gate.set()
        thread.join()
        undo()
    assert seen == [None]


def test_a_thread_is_as_it_would_be_without_the_hook() -> None:
    """Nothing of the hook stays on the object, before, while and after it runs."""
    inside: list[object] = []
    with GUARD.purpose(ADS):
        thread = threading.Thread(target=lambda: inside.append("run" in vars(thread)), name="t-1")
        thread.start()
        thread.join()
    assert inside == [False]
    assert "run" not in vars(thread)
    own = patched(lambda: None)
    run = own.run
    with GUARD.purpose(ADS):
        own.start()
        own.join()
    assert own.run is run


def test_a_thread_that_cannot_start_says_so_as_ever_and_stays_as_it_was() -> None:
    """A second start, and a subclass that forgot its constructor."""

    class Forgot(threading.Thread):
        def __init__(self) -> None:
            pass

    thread = threading.Thread(target=lambda: None)
    with GUARD.purpose(ADS):
        thread.start()
        thread.join()
        with pytest.raises(RuntimeError, match="only be started once"):
            thread.start()
        with pytest.raises(RuntimeError, match="not called"):
            Forgot().start()
    assert "run" not in vars(thread)


def test_what_a_thread_raises_reaches_the_hook_for_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """Type and text are the thread's own, and the report is made outside of the scope."""
    seen: list[tuple[object, str, str | None]] = []
    monkeypatch.setattr(
        threading,
        "excepthook",
        lambda told: seen.append((told.exc_type, str(told.exc_value), purpose())),
    )

    def fail() -> None:
        raise KeyError("mine")

    with GUARD.purpose(ADS):
        thread = threading.Thread(target=fail)
        thread.start()
        thread.join()
    assert seen == [(KeyError, "'mine'", None)]


def test_an_ended_thread_keeps_no_scope_alive() -> None:
    """Neither the thread object nor an exception's trace holds on to it."""

    class Held(threading.Thread):
        error: BaseException | None = None

        def run(self) -> None:
            try:
                int("x")
            except ValueError as error:
                self.error = error

    class Someone:
        pass

    with GUARD.context(subject=Someone(), purpose=ADS):
        scope = current_scope()
        assert scope is not None
        someone = weakref.ref(scope.subject)
        del scope
        thread = Held()
        thread.start()
        thread.join()
        with ThreadPoolExecutor(1) as pool:
            failed: Future[Any] = pool.submit(lambda: 1 // 0)
            assert isinstance(failed.exception(), ZeroDivisionError)
    gc.collect()
    assert someone() is None
    assert thread.error is not None


def test_a_submitted_call_runs_in_the_scope_of_its_submission() -> None:
    """Whichever worker takes it; between calls the worker shows nothing."""
    with ThreadPoolExecutor(2) as pool:
        with GUARD.purpose(ADS):
            first = [pool.submit(purpose) for _ in range(8)]
            mapped = pool.map(lambda _: purpose(), range(4))
        with GUARD.purpose(SECURITY):
            second = [pool.submit(purpose) for _ in range(8)]
        third = [pool.submit(purpose) for _ in range(8)]
        assert {one.result() for one in first} == {ADS}
        assert set(mapped) == {ADS}
        assert {one.result() for one in second} == {SECURITY}
        assert {one.result() for one in third} == {None}


def test_a_scope_left_open_by_a_call_is_closed_in_the_worker() -> None:
    """A forgetful task says nothing about the next one."""

    def forgetful() -> None:
        GUARD.purpose(SECURITY).__enter__()

    with ThreadPoolExecutor(1) as pool:
        for scope in (None, ADS):
            if scope is None:
                pool.submit(forgetful).result()
            else:
                with GUARD.purpose(scope):
                    pool.submit(forgetful).result()
            assert pool.submit(purpose).result() is None


def test_the_purpose_that_a_pool_gives_its_workers_stays_theirs() -> None:
    """A pool for one purpose: calls submitted in no scope run for it, others for their own."""

    def only_security() -> None:
        GUARD.purpose(SECURITY).__enter__()

    with ThreadPoolExecutor(1, initializer=only_security) as pool:
        with GUARD.purpose(ADS):
            assert pool.submit(purpose).result() == ADS
        assert pool.submit(purpose).result() == SECURITY


def test_the_workers_of_a_pool_serve_everybody() -> None:
    """A pool that is made or grows in a scope has workers in no scope: a pool of either kind."""
    with GUARD.purpose(ADS), ThreadPool(1) as pool:
        assert pool.apply(purpose) is None
    with GUARD.purpose(ADS):
        executor = ThreadPoolExecutor(1)
        executor.submit(purpose).result()
    with executor:
        assert executor.submit(purpose).result() is None


def library(tmp_path: Path, folder: str, name: str) -> Any:
    """A module that lies in a folder and starts threads on its own behalf."""
    file = tmp_path / folder / f"{name}.py"
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(
        "import threading\n"
        "class Later(threading.Thread):\n"
        "    def start(self):\n"
        "        super().start()\n"
        "def serve(work, daemon):\n"
        "    thread = threading.Thread(target=work, daemon=daemon)\n"
        "    thread.start()\n"
        "    return thread\n"
    )
    space: dict[str, Any] = {"__name__": name, "__file__": str(file)}
    exec(compile(file.read_text(), str(file), "exec"), space)  # a module of our own
    return space


@pytest.mark.parametrize(
    ("folder", "name", "daemon", "sees"),
    [
        ("site-packages", "some_sdk", True, None),
        ("site-packages", "our_app", False, ADS),
        ("site-packages", "posthog.consumer", False, None),
        ("src", "policyguard.stores.database", False, None),
        ("src", "our_app", True, ADS),
    ],
    ids=["a daemon of a library", "installed application", "known SDK", "ours", "application"],
)
def test_a_thread_that_a_library_starts_for_itself_starts_in_no_scope(
    tmp_path: Path, folder: str, name: str, daemon: bool, sees: str | None
) -> None:
    """The sender that the first request started must not send for its purpose ever after."""
    found: list[str | None] = []
    module = library(tmp_path, folder, name)
    with GUARD.purpose(ADS):
        module["serve"](lambda: found.append(purpose()), daemon).join()
        assert purpose() == ADS
    assert found == [sees]


def test_a_librarys_kind_of_thread_belongs_to_who_starts_it(tmp_path: Path) -> None:
    """What passes on `start` for the application isn't asked; nor is a library's function."""
    found: list[str | None] = []
    later = library(tmp_path, "site-packages", "some_sdk")["Later"]
    with GUARD.purpose(ADS):
        thread = later(target=lambda: found.append(purpose()), daemon=True)
        thread.start()
        thread.join()
    assert found == [ADS]


def test_to_thread_has_the_scope_once() -> None:
    """The copied context's scope is the submitter's, and stays apart from the worker's."""

    async def run() -> list[Scope | None]:
        with GUARD.purpose(ADS):
            scope = current_scope()
            loop = asyncio.get_running_loop()
            return [
                scope,
                await asyncio.to_thread(current_scope),
                await loop.run_in_executor(None, current_scope),
            ]

    mine, copied, submitted = asyncio.run(run())
    assert mine is copied is submitted
    assert mine is not None
    assert mine.path == (ADS,)


def test_a_context_that_the_program_chose_has_its_own_scope() -> None:
    """A copy made elsewhere wins inside."""
    with GUARD.purpose(SECURITY):
        chosen = contextvars.copy_context()
    with GUARD.purpose(ADS), ThreadPoolExecutor(1) as pool:
        assert pool.submit(chosen.run, purpose).result() == SECURITY
        assert pool.submit(purpose).result() == ADS


def test_a_thread_with_a_context_of_its_own_has_that_contexts_scope() -> None:
    """Python 3.14 lets a program choose it; the hook doesn't look over the program's shoulder."""
    seen: list[str | None] = []
    thread = threading.Thread(target=lambda: seen.append(purpose()))
    vars(thread)["_context"] = contextvars.Context()
    with GUARD.purpose(ADS):
        thread.start()
        thread.join()
    assert seen == [None]


def test_where_threads_inherit_the_context_nothing_changes(
    unhook: Callable[[], None], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """As a Python 3.14 may be set up: one scope for threads, none for those of a library."""
    unhook()
    plain = threading.Thread.start

    def inherits(self: threading.Thread) -> None:
        context, run = contextvars.copy_context(), self.run
        self.run = lambda: context.run(run)  # type: ignore[method-assign]  # what 3.14 does inside
        plain(self)

    with monkeypatch.context() as patch:
        patch.setattr(threading.Thread, "start", inherits)
        undo = carry()
        assert in_thread(lambda look: threading.Thread(target=look)) == [ADS]
        found: list[str | None] = []
        serve = library(tmp_path, "site-packages", "some_sdk")["serve"]
        with GUARD.purpose(ADS):
            serve(lambda: found.append(purpose()), True).join()
            pool = ThreadPoolExecutor(1)
            found.append(pool.submit(purpose).result())
        with pool:
            found.append(pool.submit(purpose).result())
        undo()
    assert found == [None, ADS, None]


def test_futures_are_as_ever() -> None:
    """Results, exceptions, cancellation, arguments by name, and the error of a bad call."""

    def echo(*args: object, **kwargs: object) -> tuple[object, ...]:
        return args, kwargs

    error = ValueError("mine")

    def fail() -> None:
        raise error

    gate = threading.Event()
    with GUARD.purpose(ADS), ThreadPoolExecutor(1) as pool:
        odd: Any = {"fn": 1, "self": 2, "scope": 3, "function": 4}
        assert pool.submit(echo, 5, **odd).result() == ((5,), odd)
        assert pool.submit(fail).exception() is error
        not_callable: Any = 7
        assert isinstance(pool.submit(not_callable).exception(), TypeError)
        pool.submit(gate.wait)
        waiting = pool.submit(purpose)
        assert waiting.cancel()
        gate.set()
        with pytest.raises(TypeError, match=r"submit\(\) missing 1 required"):
            pool.submit()  # type: ignore[call-arg]  # what it says about itself
    with GUARD.purpose(ADS):
        with pytest.raises(RuntimeError, match="after shutdown"):
            pool.submit(purpose)
        assert purpose() == ADS


def test_names_and_signatures_are_those_of_the_library() -> None:
    """Whoever looks at `start` and `submit` sees what was there."""
    for (owner, name), before in PLAIN.items():
        hooked = getattr(owner, name)
        assert hooked is not before
        assert hooked.__name__ == before.__name__
        assert hooked.__qualname__ == before.__qualname__
        assert hooked.__module__ == before.__module__
        assert inspect.signature(hooked) == inspect.signature(before)


def test_hooks_are_counted_and_leave_in_any_order() -> None:
    """Hooked once for all who ask; the last to leave takes the hook out; leaving twice is once."""
    hooked = threading.Thread.start
    undos = [carry() for _ in range(3)]
    assert threading.Thread.start is hooked
    for undo in (undos[1], undos[1], undos[0]):
        undo()
        assert threading.Thread.start is hooked
    undos[2]()
    assert in_thread(lambda look: threading.Thread(target=look)) == [ADS]


def test_what_somebody_built_on_the_hook_stands_when_it_leaves(
    unhook: Callable[[], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Their wrapper stays, ours below it only passes on, and a later hook works above it."""
    ours = threading.Thread.start
    calls: list[str] = []

    def theirs(self: threading.Thread) -> None:
        calls.append("theirs")
        ours(self)

    monkeypatch.setattr(threading.Thread, "start", theirs)
    unhook()
    assert threading.Thread.start is theirs
    assert in_thread(lambda look: threading.Thread(target=look)) == [None]
    again = carry()
    assert in_thread(lambda look: threading.Thread(target=look)) == [ADS]
    again()
    assert threading.Thread.start is theirs
    assert calls == ["theirs", "theirs"]
    monkeypatch.undo()
    threading.Thread.start = PLAIN[threading.Thread, "start"]  # type: ignore[method-assign]  # as it was


def test_it_is_an_integration() -> None:
    """`threads` is installed and undone like any other."""
    made = guard()
    made.add(ThreadsPlugin())
    made.add(ThreadsPlugin())
    assert in_thread(lambda look: threading.Thread(target=look)) == [ADS]
    made.uninstall("threads")
    with pytest.raises(PluginError):
        made.add(type("Newer", (ThreadsPlugin,), {"api": 2, "name": "newer"})())


def test_scopes_never_cross_between_busy_threads() -> None:
    """Many submissions and threads from many scopes: each sees its own, always."""
    purposes = (ADS, SECURITY, ACCOUNT, None)
    wrong: list[object] = []

    def ask(expected: str | None) -> bool:
        return purpose() == expected

    def tell(expected: str | None) -> None:
        if not ask(expected):
            wrong.append(expected)

    def work(number: int, pool: ThreadPoolExecutor) -> None:
        for step in range(50):
            mine = purposes[(number + step) % 4]
            if mine is None:
                answers = [pool.submit(ask, None)]
            else:
                with GUARD.purpose(mine):
                    answers = [pool.submit(ask, mine) for _ in range(5)]
                    child = threading.Thread(target=tell, args=(mine,))
                    child.start()
                    child.join()
            wrong.extend(mine for one in answers if not one.result())

    with ThreadPoolExecutor(4) as pool:
        workers = [threading.Thread(target=work, args=(n, pool)) for n in range(8)]
        for one in workers:
            one.start()
        for one in workers:
            one.join()
    assert wrong == []


FORKED = """
import multiprocessing, os, sys
from concurrent.futures import ProcessPoolExecutor
from policyguard.enforce.context import current_scope
from policyguard.enforce.threads import carry
from tests.enforce.kit import ADS, guard

def look(answers=None):
    answer = getattr(current_scope(), "purpose", None)
    return answer if answers is None else answers.put(answer)

if __name__ == "__main__":
    carry()
    made = guard()
    fork = multiprocessing.get_context("fork")
    with made.purpose(ADS):
        answers = fork.Queue()
        child = fork.Process(target=look, args=(answers,))
        child.start()
        print(answers.get())
        child.join()
        with ProcessPoolExecutor(1, mp_context=fork) as pool:
            print(pool.submit(look).result())
        reading, writing = os.pipe()
        if not os.fork():
            os.write(writing, str(look()).encode())
            os._exit(0)
        os.wait()
        print(os.read(reading, 100).decode())
        print(look())
"""


def test_a_forked_worker_starts_in_no_scope() -> None:
    """As a spawned one does; a plain fork goes on in its block."""
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", FORKED],
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
        cwd=Path(__file__).parents[2],
    )
    assert done.stdout.split() == ["None", "None", ADS, ADS], done.stderr
