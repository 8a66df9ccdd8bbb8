"""A task runs for the purpose of whoever sent it, or of its name; nothing is left behind."""

from __future__ import annotations

import logging
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, suppress
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from celery import Celery, chain, chord, group, signals  # type: ignore[import-untyped]
from celery.contrib.testing.worker import start_worker  # type: ignore[import-untyped]
from celery.exceptions import Ignore, Reject  # type: ignore[import-untyped]
from hypothesis import given
from hypothesis import strategies as st
from policyguard_celery import HEADER, Claim, Plugin, read_claim, shortened

from policyguard import PluginError, PolicyViolation
from policyguard.config import Guard
from policyguard.enforce.claims import UNREADABLE
from policyguard.enforce.context import current_scope
from policyguard.enforce.routes import JobPattern, Jobs
from policyguard.labels.recent import Recent
from tests.enforce.kit import (
    ACCOUNT,
    ADDRESS,
    ADS,
    COUNTING,
    EMAIL,
    LIKES,
    POLICY,
    SECURITY,
    guard,
)

SALE = "third_party_sharing.sale"
GUARD = guard()
GUARD.in_force = GUARD.in_force.but(jobs=Jobs([JobPattern("reports.*", COUNTING)]))
PURPOSES = GUARD.snapshot.context.taxonomy.purposes
Seen = tuple[tuple[str, ...], object]


def now() -> Seen:
    """Path of purposes and subject as the running code sees them."""
    scope = current_scope()
    return (scope.path, scope.subject) if scope else ((), None)


def opted_out() -> bool:
    """Whether the running code knows of an opt-out of advertising and sale."""
    scope = current_scope()
    out = (scope.facts.opt_out if scope else None) or {}
    return out.get(ADS) is True and out.get(SALE) is True


PROJECTS: dict[Any, Project] = {}


class Project:
    """A Celery application that writes down what each of its tasks sees.

    Attributes:
        bodies: what tasks do after that, by name.
    """

    def __init__(self) -> None:
        self.app: Any = Celery(
            broker="memory://",
            backend="cache+memory://",
            set_as_current=False,
            task_default_queue=f"queue-{id(self)}",
            broker_transport_options={"polling_interval": 0.01},
            broker_connection_retry_on_startup=True,
            worker_hijack_root_logger=False,
        )
        self.tasks = {name: self._task(name, **options) for name, options in TASKS.items()}
        self.reset()
        PROJECTS[self.app] = self

    def reset(self) -> None:
        """As new."""
        self.seen: dict[str, list[Seen]] = {}
        self.out: list[bool] = []
        self.bodies: dict[str, Callable[..., Any]] = {}
        self.done = threading.Semaphore(0)
        self.app.conf.task_always_eager = False

    def task(self, name: str, body: Callable[..., Any] | None = None) -> Any:
        """A task that notes what it sees, then does what is given."""
        if body is not None:
            self.bodies[name] = body
        return self.tasks[name]

    def _task(self, name: str, **options: Any) -> Any:
        def run(*args: Any, **kwargs: Any) -> Any:
            self.seen.setdefault(name, []).append(now())
            self.out.append(opted_out())
            return self.bodies[name](*args, **kwargs) if name in self.bodies else None

        return self.app.task(name=name, shared=False, **options)(run)

    def wait(self, tasks: int = 1) -> None:
        """Until so many tasks have run."""
        for _ in range(tasks):
            assert self.done.acquire(timeout=10)

    def bare(self, name: str) -> Any:
        """The name of a task that another process knows."""
        return self.app.signature(name, immutable=True)

    def paths(self, name: str) -> set[tuple[str, ...]]:
        """All purposes that a task saw."""
        return {path for path, _ in self.seen[name]}


TASKS: dict[str, dict[str, Any]] = {
    "task": {},
    "inner": {},
    "after": {},
    "last": {},
    "reports.daily": {},
    "retrying": {
        "autoretry_for": (ZeroDivisionError,),
        "retry_backoff": False,
        "default_retry_delay": 0,
    },
}


def no_logging(**_: Any) -> None:
    """Celery would set up the logging of the whole process."""


@pytest.fixture(scope="module", params=["solo", "threads"])
def worker(request: pytest.FixtureRequest) -> Iterator[Project]:
    """A real worker in a thread of its own, for all tests of this module."""
    made = Project()
    signals.setup_logging.connect(no_logging, weak=False)
    with start_worker(
        made.app,
        pool=request.param,
        concurrency=8,
        perform_ping_check=False,
        shutdown_timeout=10,
    ):
        yield made
    signals.setup_logging.disconnect(no_logging)


@pytest.fixture
def project(worker: Project) -> Project:
    """The worker's project, as new."""
    worker.reset()
    return worker


def hook(plugin: Plugin, installed: Guard = GUARD) -> None:
    """Install the plugin in the place of what is there; then tasks are waited for."""
    signals.task_postrun.disconnect(ended)
    GUARD.uninstall("celery")
    installed.install(plugin)
    signals.task_postrun.connect(ended, weak=False)


def ended(task: Any, **_: Any) -> None:
    """A task has left its scope."""
    PROJECTS[task.app].done.release()


@pytest.fixture(autouse=True)
def hooked() -> Iterator[None]:
    """The plugin is installed for the module's guard, and leaves nothing."""
    GUARD.recent = Recent()
    hook(Plugin(subject=lambda task, args, kwargs: kwargs.get("person")))
    yield
    GUARD.uninstall("celery")
    assert current_scope() is None


def test_a_task_runs_for_the_purpose_it_was_sent_for(project: Project) -> None:
    """The worker's threads know nothing else, and nothing after it."""
    task = project.task("task")
    with GUARD.context(subject="anna", facts={"region": "DE"}, purpose=ACCOUNT):
        task.delay()
    project.wait()
    task.delay()
    with GUARD.purpose(ACCOUNT), GUARD.purpose(SECURITY):
        project.wait()
        task.delay(person="bert")
    project.wait()
    # The sender's person and facts aren't in the message.
    assert project.seen["task"] == [
        ((ACCOUNT,), None),
        ((), None),
        ((ACCOUNT, SECURITY), "bert"),
    ]


def test_the_name_of_the_job_counts_before_the_claim(project: Project) -> None:
    """What the worker's configuration says is nearer than who sent it."""
    task = project.task("reports.daily")
    task.delay()
    project.wait()
    for purpose in (ACCOUNT, COUNTING):
        with GUARD.purpose(purpose):
            task.delay()
        project.wait()
    assert [path for path, _ in project.seen["reports.daily"]] == [
        (COUNTING,),
        (ACCOUNT, COUNTING),
        (COUNTING,),
    ]


def _raises(*_: Any, **__: Any) -> None:
    raise KeyError(ADDRESS)


def _ignores() -> None:
    raise Ignore


def _rejects() -> None:
    raise Reject(requeue=False)


def _leaves_open() -> None:
    GUARD.purpose(ADS).__enter__()
    GUARD.context(subject="left open").__enter__()


ENDS: dict[str, Callable[..., Any]] = {
    "raises": _raises,
    "is ignored": _ignores,
    "is rejected": _rejects,
    "leaves a scope open": _leaves_open,
    "gives a generator": lambda: (one for one in "ab"),
    "gives what can't be sent": object,
}


@pytest.mark.parametrize("body", ENDS.values(), ids=ENDS)
def test_the_next_task_of_a_thread_sees_nothing_of_the_last(
    project: Project, body: Callable[..., Any]
) -> None:
    """However a task ends, its thread comes back clean."""
    task, after = project.task("task", body), project.task("after")
    for _ in range(2):
        with GUARD.purpose(ACCOUNT):
            task.delay()
        after.delay()
    project.wait(4)
    assert project.seen == {"task": [((ACCOUNT,), None)] * 2, "after": [((), None)] * 2}


def test_a_retry_keeps_what_the_task_was_sent_for(project: Project) -> None:
    """Also where the task said another purpose by the time."""

    def body() -> None:
        if len(project.seen["task"]) < 3:
            with GUARD.purpose(ADS):
                raise project.tasks["task"].retry(countdown=0)

    task = project.task("task", body)
    with GUARD.purpose(ACCOUNT):
        task.delay()
    project.wait(3)
    assert project.seen["task"] == [((ACCOUNT,), None)] * 3


def test_automatic_retries_keep_it_too(project: Project) -> None:
    """As retries by hand."""

    def body() -> None:
        if len(project.seen["retrying"]) < 2:
            raise ZeroDivisionError

    task = project.task("retrying", body)
    with GUARD.purpose(ACCOUNT):
        task.delay()
    project.wait(2)
    assert project.seen["retrying"] == [((ACCOUNT,), None)] * 2


def test_a_task_that_is_sent_by_a_task_runs_for_what_that_one_runs_for(project: Project) -> None:
    """The sending code's purpose counts, also the one that it says itself."""
    inner = project.task("inner")

    def body() -> None:
        inner.delay()
        with GUARD.purpose(SECURITY):
            inner.delay()

    outer = project.task("task", body)
    with GUARD.purpose(ACCOUNT):
        outer.delay()
    project.wait(3)
    assert project.paths("inner") == {(ACCOUNT,), (ACCOUNT, SECURITY)}


def test_a_chain_runs_for_whoever_sent_it(project: Project) -> None:
    """Each part, whatever the one before it was configured for; groups in it as well."""
    parts = [project.bare(name) for name in ("task", "reports.daily", "after")]
    sent = chain(*parts, group([project.bare("last")] * 2), app=project.app)
    with GUARD.purpose(ACCOUNT):
        sent.apply_async()
    project.wait(5)
    assert {name: project.paths(name) for name in project.seen} == {
        "task": {(ACCOUNT,)},
        "reports.daily": {(ACCOUNT, COUNTING)},
        "after": {(ACCOUNT,)},
        "last": {(ACCOUNT,)},
    }


def test_the_body_of_a_chord_runs_for_whoever_sent_it(project: Project) -> None:
    """Whichever of its parts ends last."""
    parts = [project.bare(name) for name in ("task", "reports.daily")]
    for one in (parts, parts[::-1]):
        with GUARD.purpose(ACCOUNT):
            chord(one, app=project.app)(project.bare("last"))
    project.wait(6)
    assert project.paths("last") == {(ACCOUNT,)}
    assert project.paths("reports.daily") == {(ACCOUNT, COUNTING)}


def test_a_link_runs_for_the_task_before_it(project: Project) -> None:
    """A callback is sent by the worker, in the scope of the task that has just ended."""
    project.task("reports.daily").apply_async(link=project.bare("after"))
    project.wait(2)
    assert project.paths("after") == {(COUNTING,)}


def test_a_task_that_replaces_another_keeps_its_claim(project: Project) -> None:
    """It takes the other's place, and its id."""
    task = project.task("task", lambda: project.tasks["task"].replace(project.bare("after")))
    with GUARD.purpose(ACCOUNT):
        task.delay()
    project.wait(2)
    assert project.paths("after") == {(ACCOUNT,)}


def test_an_eager_task_is_nested_in_its_caller(project: Project) -> None:
    """Called in place it has its own job's purpose, or its caller's, and ends before its caller."""
    inner, report = project.task("inner"), project.task("reports.daily")

    def body() -> None:
        inner.apply()
        report.apply()

    outer = project.task("task", body)
    with GUARD.context(subject="anna", purpose=ACCOUNT):
        outer.apply()
        assert now() == ((ACCOUNT,), "anna")
        project.app.conf.task_always_eager = True
        with suppress(KeyError):
            project.task("after", _raises).delay().get()
        inner.delay(person="bert")
        assert now() == ((ACCOUNT,), "anna")
    assert project.seen == {
        "task": [((ACCOUNT,), None)],
        "inner": [((ACCOUNT,), None), ((ACCOUNT,), "bert")],
        "reports.daily": [((ACCOUNT, COUNTING), None)],
        "after": [((ACCOUNT,), None)],
    }
    inner.apply()
    assert project.seen["inner"][-1] == ((), None)


def test_an_eager_coroutine_or_generator_runs_for_whoever_runs_it(project: Project) -> None:
    """What a task gives back unfinished isn't the task's any more."""

    def steps() -> Iterator[Seen]:
        yield now()

    task = project.task("reports.daily", steps)
    with GUARD.purpose(ACCOUNT):
        result = task.apply().get()
        assert list(result) == [((ACCOUNT,), None)]
    assert list(task.apply().get()) == [((), None)]


def test_a_task_that_is_revoked_leaves_nothing(project: Project) -> None:
    """It never starts, and the next one is as clean as ever."""
    task = project.task("task")
    with GUARD.purpose(ACCOUNT):
        task.apply_async(expires=-1)
    task.delay()
    project.wait()
    assert project.seen == {"task": [((), None)]}


def test_an_opt_out_of_the_visitor_goes_along(project: Project) -> None:
    """Without it, a sale that the visitor's browser refused would be allowed in the worker."""
    inner = project.task("inner")
    outer = project.task("task", inner.delay)
    with GUARD.request("GET", "/", gpc=True), GUARD.purpose(ACCOUNT):
        outer.delay()
    project.wait(2)
    with GUARD.request("GET", "/"), GUARD.purpose(ACCOUNT):
        outer.delay()
    project.wait(2)
    with GUARD.request("GET", "/", facts={"opt_out": {ADS: True}}):
        inner.delay()
    project.wait()
    assert project.out == [True, True, False, False, False]
    with GUARD.request("GET", "/", gpc=True):
        inner.apply()
    assert project.out[-1] is True


def test_the_message_says_nothing_about_a_person() -> None:
    """Purposes, and nothing that tells who it is."""
    project = Project()
    task = project.task("task")
    facts = {"region": "DE", "age": 33, "consent": {ADS: True}}
    with (
        project.app.connection_for_write() as connection,
        GUARD.context(subject=ADDRESS, facts=facts, purpose=ACCOUNT),
    ):
        task.delay()
        message = connection.SimpleQueue(project.app.conf.task_default_queue).get(timeout=5)
    assert message.headers[HEADER] == {"v": 1, "purpose": [ACCOUNT]}
    assert ADDRESS not in str(message.headers) + str(message.body)


def test_a_header_of_the_program_is_no_claim(project: Project) -> None:
    """Only the purpose of the running code is sent."""
    task = project.task("task")
    task.apply_async(headers={HEADER: Claim((ADS,)).header})
    project.wait()
    assert project.seen["task"] == [((), None)]


FORGED: dict[str, Any] = {
    "a new purpose, with an opt-out": {"v": 1, "purpose": ["marketing.new", ADS], "gpc": True},
    "another version, with an opt-out": {"v": 2, "purpose": [ADS], "gpc": True},
    "an unknown purpose": {"v": 1, "purpose": ["world.domination"]},
    "an unknown purpose before a known one": {"v": 1, "purpose": ["world.domination", ADS]},
    "another version": {"v": 2, "purpose": [ADS]},
    "a version that is true": {"v": True, "purpose": [ADS]},
    "no version": {"purpose": [ADS]},
    "more than a claim": {"v": 1, "purpose": [ADS], "subject": ADDRESS},
    "a text": ADS,
    "a text for the path": {"v": 1, "purpose": ADS},
    "a list": [ADS],
    "nothing": None,
    "too long": {"v": 1, "purpose": [ADS] * 9},
    "a number": {"v": 1, "purpose": [1]},
    "nested": {"v": 1, "purpose": [[ADS]]},
    "an opt-out that is text": {"v": 1, "purpose": [ADS], "gpc": "yes"},
}


@pytest.mark.parametrize("claim", FORGED.values(), ids=FORGED)
def test_a_claim_that_cannot_be_read_is_denied(
    project: Project,
    claim: Any,
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The worker's own purpose doesn't take its place; the person counts as opted out."""
    reasons: list[str] = []

    def body() -> None:
        reasons.append(GUARD.decide(data=LIKES, to="counter").reason)

    project.task("task", body)
    monkeypatch.setattr(GUARD, "job_purpose", COUNTING)
    _forge(project, {HEADER: claim})
    project.wait()
    assert project.seen["task"] == [((UNREADABLE,), None)]
    assert project.out == [True]
    assert reasons == ["unknown_term"]
    assert ADDRESS not in caplog.text
    # Without any claim the worker's own purpose counts.
    _forge(project, {})
    project.wait()
    assert project.out == [True, False]
    assert reasons == ["unknown_term", "permitted"]


@pytest.mark.parametrize("depth", [0, 12])
def test_what_a_task_sends_is_as_unreadable_as_its_own_claim(project: Project, depth: int) -> None:
    """Whatever purposes its code says on the way."""
    inner = project.task("inner")

    def body() -> None:
        with ExitStack() as stack:
            for number in range(depth):
                stack.enter_context(GUARD.purpose((ACCOUNT, SECURITY)[number % 2]))
            inner.delay()

    project.task("task", body)
    _forge(project, {HEADER: {"v": 2}})
    project.wait(2)
    assert project.seen["inner"] == [((UNREADABLE,), None)]
    assert project.out == [True, True]


def test_a_retry_after_an_unreadable_claim_is_denied_too(project: Project) -> None:
    """The claim stays what it was."""

    def body() -> None:
        if len(project.seen["task"]) < 2:
            raise project.tasks["task"].retry(countdown=0)

    project.task("task", body)
    _forge(project, {HEADER: {"v": 2}})
    project.wait(2)
    assert project.seen["task"] == [((UNREADABLE,), None)] * 2
    assert project.out == [True, True]


def test_a_job_whose_purpose_is_configured_runs_for_it_whatever_the_claim(project: Project) -> None:
    """It doesn't need the claim; the opt-out that the claim may hide counts."""
    reasons: list[str] = []

    def body() -> None:
        reasons.append(GUARD.decide(data=LIKES, to="counter").reason)

    project.task("reports.daily", body)
    _forge(project, {"task": "reports.daily", HEADER: {"v": 2}})
    project.wait()
    assert project.seen["reports.daily"] == [((UNREADABLE, COUNTING), None)]
    assert project.out == [True]
    assert reasons == ["permitted"]


def test_an_eager_task_about_somebody_else_has_not_their_senders_opt_out(project: Project) -> None:
    """A signal of one person's browser isn't another's."""
    inner = project.task("inner")
    project.app.conf.task_always_eager = True
    with GUARD.request("GET", "/", subject="anna", gpc=True):
        inner.delay(person="anna")
        inner.delay(person="bert")
        inner.delay()
    assert project.out == [True, False, True]


@pytest.mark.parametrize(
    "headers",
    [
        {"is_eager": True},
        {"policyguard_running": {"before": ADS}},
        {"headers": {HEADER: {"v": 1, "purpose": [ADS]}}},
        {"chain": 7, "chord": {"options": 7, "kwargs": {"tasks": {"body": "x"}}}},
    ],
    ids=["eager", "running", "headers", "chain"],
)
def test_other_forged_headers_give_no_purpose(project: Project, headers: dict[str, Any]) -> None:
    """Nor do they leave one behind."""
    project.task("task")
    for _ in range(2):
        _forge(project, headers)
        project.wait()
    assert project.seen["task"] == [((), None)] * 2


def _forge(project: Project, headers: dict[str, Any]) -> None:
    """Write a message to the broker by hand."""
    body = [[], {}, {"callbacks": None, "errbacks": None, "chain": None, "chord": None}]
    with project.app.connection_for_write() as connection:
        connection.SimpleQueue(project.app.conf.task_default_queue).put(
            body,
            serializer="json",
            headers={"lang": "py", "task": "task", "id": os.urandom(8).hex(), **headers},
        )


ANYTHING = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.sampled_from(
        ["v", "purpose", "gpc", ADS, ACCOUNT, 1]
    ),
    lambda inner: st.lists(inner, max_size=4)
    | st.dictionaries(st.sampled_from(["v", "purpose", "gpc"]) | st.text(), inner, max_size=4),
    max_leaves=12,
)  # fmt: skip
NEARLY = st.fixed_dictionaries(
    {
        "v": st.just(1) | ANYTHING,
        "purpose": st.lists(st.sampled_from([ADS, ACCOUNT]) | st.text(), max_size=10),
    },
    optional={"gpc": st.booleans() | ANYTHING},
)


@given(ANYTHING | NEARLY)
def test_whatever_a_message_holds_is_a_claim_or_unreadable(header: Any) -> None:
    """Reading never raises, gives known purposes or an opt-out, and reads what it would write."""
    claim = read_claim(header, PURPOSES)
    known = all(purpose in PURPOSES for purpose in claim.path)
    assert known or claim == Claim((UNREADABLE,), gpc=True)
    assert type(claim.gpc) is bool
    assert read_claim(claim.header, PURPOSES) == claim


@given(st.lists(st.sampled_from(["a", "b", "c", "d", "e"]), min_size=1, max_size=30))
def test_a_long_path_is_shortened_to_one_that_is_worth_the_same(path: list[str]) -> None:
    """Tasks that send each other don't grow their claims, and a denied change stays denied."""

    def allowed(before: str, after: str) -> bool:
        return before == after or (before, after) not in {("a", "b"), ("c", "e")}

    short = shortened(tuple(path), allowed)
    assert len(short) <= 8
    assert short[-1] == path[-1]
    denied = [not all(allowed(*pair) for pair in pairwise(one)) for one in (path, short)]
    assert denied[0] == denied[1]


def test_sending_a_task_is_no_way_around_a_purpose_change(project: Project, tmp_path: Path) -> None:
    """What the policy denies in one process it denies across two."""
    text = POLICY.read_text("utf-8")
    changes = f"purpose_changes: [{{from: {ACCOUNT}, to: {SECURITY}}}]\n"
    policy = tmp_path / "policy.yaml"
    policy.write_text(text + changes, "utf-8")
    strict = Guard.load(policy)
    strict.in_force = strict.in_force.but(jobs=Jobs([JobPattern("reports.*", COUNTING)]))
    hook(Plugin(), strict)
    reasons: list[str] = []

    def body() -> None:
        try:
            reasons.append(strict.check("x", to="counter", data=LIKES).reason)
        except PolicyViolation as stopped:
            reasons.append(stopped.decision.reason)

    task = project.task("reports.daily", body)
    try:
        task.delay()
        with strict.purpose(ACCOUNT):
            task.delay()
        project.wait(2)
    finally:
        strict.uninstall()
    assert sorted(reasons) == ["permitted", "purpose_change"]


def test_a_thread_of_the_pool_never_mixes_two_people(project: Project) -> None:
    """A hundred tasks over eight threads, each with its own person and purpose."""
    wrong: list[Seen] = []

    def body(person: int, purpose: str) -> None:
        for _ in range(3):
            if now() != ((purpose,), person):
                wrong.append(now())
            threading.Event().wait(0.0005)

    task = project.task("task", body)
    for person in range(1, 101):
        purpose = (ACCOUNT, SECURITY, ADS)[person % 3]
        with GUARD.purpose(purpose):
            task.delay(person=person, purpose=purpose)
    project.wait(100)
    assert wrong == []
    assert len(project.seen["task"]) == 100


def test_a_person_that_cannot_be_told_is_unknown(
    project: Project, caplog: pytest.LogCaptureFixture
) -> None:
    """The callable's error says nothing, and the task runs."""
    caplog.set_level(logging.WARNING)
    hook(Plugin(subject=_raises))
    task = project.task("task")
    with GUARD.purpose(ACCOUNT):
        task.delay()
        task.delay()
    project.wait(2)
    assert project.seen["task"] == [((ACCOUNT,), None)] * 2
    assert [r.message for r in caplog.records if r.name == "policyguard"] == [
        "PG204 a fact counts as unknown: `subject` failed with KeyError"
    ]


def test_labelled_values_of_one_task_are_not_anothers(project: Project) -> None:
    """Each remembers its own; what the callable for the person read belongs to the task."""

    def subject(task: Any, args: Any, kwargs: Any) -> str:
        if kwargs["load"]:
            GUARD.remember(ADDRESS, GUARD.label(EMAIL))
        return "anna"

    hook(Plugin(subject=subject))
    found: list[str] = []

    def body(*, load: bool) -> None:
        labels = GUARD.labels_in(f"to {ADDRESS}")
        found.extend(label.data for label, _, _ in labels)
        found.append("end")

    task = project.task("task", body)
    for load in (True, False):
        with GUARD.purpose(ACCOUNT):
            task.delay(load=load)
        project.wait()
    assert found == [EMAIL, "end", "end"]


def test_the_purpose_of_the_process_is_claimed_where_code_says_none(project: Project) -> None:
    """A script that is run for a purpose sends its tasks for it."""
    task = project.task("task")
    GUARD.job_purpose = SECURITY
    try:
        task.delay()
        project.wait()
    finally:
        GUARD.job_purpose = None
    assert project.seen["task"] == [((SECURITY,), None)]


def test_only_one_guard_is_connected() -> None:
    """Two would leave each other's scopes; the same guard a second time changes nothing."""
    GUARD.install(Plugin())
    with pytest.raises(PluginError, match="another guard"):
        guard().install(Plugin())


def test_uninstalled_it_is_as_if_it_had_never_been_there(project: Project) -> None:
    """No header, no scope."""
    GUARD.uninstall("celery")
    task = project.task("task")
    with GUARD.purpose(ACCOUNT):
        task.delay()
    project.wait()
    assert project.seen["task"] == [((), None)]


PREFORK = """
import os, threading, time
from celery import Celery
from celery.exceptions import SoftTimeLimitExceeded
from policyguard.config import Guard
from policyguard.enforce.context import current_scope
from policyguard_celery import Plugin
from tests.enforce.kit import guard

GUARD = guard()
GUARD.install(Plugin())
folder = os.environ["FOLDER"]
app = Celery("prefork", broker="filesystem://")
app.conf.update(
    broker_transport_options={
        "data_folder_in": folder, "data_folder_out": folder, "polling_interval": 0.02,
    },
    broker_connection_retry_on_startup=True,
)

@app.task(name="note")
def note():
    scope = current_scope()
    with open(os.environ["OUT"], "a") as out:
        out.write(f"{os.getpid() != int(os.environ['PARENT'])} {list(scope.path)}\\n")

@app.task(name="slow", soft_time_limit=1)
def slow():
    note.run()
    time.sleep(30)

def send():
    with GUARD.purpose(os.environ["FIRST"]):
        slow.delay()
    threading.Thread(target=then, daemon=True).start()

def then():
    written(1)
    note.delay()
    written(2)
    with GUARD.purpose(os.environ["LAST"]):
        note.delay()

def written(lines):
    while open(os.environ["OUT"]).read().count(chr(10)) < lines:
        time.sleep(0.01)
"""


def test_a_prefork_worker_keeps_purposes_apart(tmp_path: Path) -> None:
    """Tasks run in child processes; one is interrupted by its time limit, and nothing stays."""
    (tmp_path / "prefork.py").write_text(PREFORK)
    (tmp_path / "queue").mkdir()
    out = tmp_path / "out"
    out.touch()
    root = Path(__file__).resolve().parents[2]
    environment = os.environ | {
        "FOLDER": str(tmp_path / "queue"),
        "OUT": str(out),
        "FIRST": ACCOUNT,
        "LAST": SECURITY,
        "PYTHONPATH": os.pathsep.join([str(tmp_path), str(root), *sys.path]),
    }
    script = (
        "import os; os.environ['PARENT'] = str(os.getpid())\n"
        "import prefork; prefork.send()\n"
        "prefork.app.worker_main(['worker', '--pool=prefork', '-c1', '--loglevel=CRITICAL',"
        " '--without-gossip', '--without-mingle', '--without-heartbeat'])\n"
    )
    worker = subprocess.Popen(
        [sys.executable, "-c", script], env=environment, cwd=tmp_path, start_new_session=True
    )
    try:
        for _ in range(400):
            if out.read_text().count("\n") == 3:
                break
            threading.Event().wait(0.02)
    finally:
        # With its children; there is nothing left to wait for.
        os.killpg(worker.pid, signal.SIGKILL)
        worker.wait(20)
    assert out.read_text().splitlines() == [
        f"True {[ACCOUNT]}",
        "True []",
        f"True {[SECURITY]}",
    ]
