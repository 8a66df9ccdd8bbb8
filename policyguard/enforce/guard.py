"""The guard: makes the policy's answer bind.

Layer: enforce. The names that code uses; judging stands in `judge`, decorators in `decorators`,
statements in `sql`, requests in `egress`. Start reading at `Guard`.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from functools import wraps
from time import perf_counter
from typing import TYPE_CHECKING, Any, Final, Protocol, runtime_checkable

from policyguard.enforce.context import Entered, Scope, current_scope, restore
from policyguard.enforce.decorators import PurposeEntry, SinkDecorator, SourceDecorator
from policyguard.enforce.egress import check_request
from policyguard.enforce.judge import Judge
from policyguard.enforce.modes import Modes
from policyguard.enforce.named import Named
from policyguard.enforce.ports import At, Reporter
from policyguard.enforce.routes import Routes
from policyguard.engine.compile import Snapshot
from policyguard.engine.decision import Decision
from policyguard.errors import PluginError
from policyguard.inspectors.http import OutgoingRequest
from policyguard.policy.datamap import DataMap
from policyguard.policy.flow import RAW, Facts, Flow, Label, close_form

if TYPE_CHECKING:
    from policyguard.enforce.sql import SqlCheck

_LOGGER: Final = logging.getLogger("policyguard")
_TOLD: Final = 100


@runtime_checkable
class Plugin(Protocol):
    """An integration with a library.

    Attributes:
        name: what configuration calls it.
        api: the version of this protocol it was written for.
    """

    name: str
    api: int

    def install(self, guard: Guard) -> Callable[[], None]:
        """Hook the library; returns what undoes it exactly."""


class Guard(Judge):
    """Holds running code to one policy. Safe for threads and tasks; usually one per process.

    Attributes:
        routes: purposes by route.
    """

    def __init__(
        self,
        snapshot: Snapshot,
        *,
        data_map: DataMap | None = None,
        modes: Modes | None = None,
        reporters: Sequence[Reporter] = (),
        routes: Routes | None = None,
        job_purpose: str | None = None,
        transforms: Iterable[str] = (),
    ) -> None:
        super().__init__(
            snapshot,
            data_map=data_map,
            modes=modes,
            reporters=reporters,
            job_purpose=job_purpose,
            transforms=transforms,
        )
        self.routes = routes or Routes(())
        self._named = Named(snapshot)
        self._installed: dict[str, Callable[[], None]] = {}
        self._told: set[str] = set()

    # What code says.

    def purpose(self, purpose: str) -> PurposeEntry:
        """Say why code runs: a decorator, a `with` or an `async with` block.

        Raises:
            TermError: the policy doesn't know the purpose; names the nearest.
        """
        return PurposeEntry(self, self._named.purpose(purpose))

    def source(self, data: str, *, form: str | Iterable[str] = RAW) -> SourceDecorator:
        """Decorate a function whose result is this data.

        Raises:
            TermError: the policy doesn't know the data category or form.
        """
        return SourceDecorator(self, self._named.label(data, form))

    def sink(self, recipient: str, *, data: str | Sequence[str] = ()) -> SinkDecorator:
        """Decorate a function whose arguments leave to a recipient.

        Args:
            recipient: a declared recipient's id.
            data: what the arguments are, where nothing else says it.

        Raises:
            TermError: the policy doesn't know the recipient or a data category.
        """
        return SinkDecorator(self, self._named.recipient(recipient), self._named.labels(data))

    def context(
        self,
        *,
        subject: object = None,
        facts: Mapping[str, Any] | None = None,
        purpose: str | None = None,
        reader: str | None = None,
        route: str = "",
    ) -> AbstractContextManager[None]:
        """Say for whom code runs and what is known; a `with` or an `async with` block.

        Args:
            subject: the person; a context with another subject starts without facts.
            facts: consent, opt_out, restricted, age, region, legal_request, facts.
            purpose: why, as `purpose`.
            reader: the recipient that reads from databases here, by default `self`.
            route: of the request or job, for modes and reports.

        Raises:
            TermError: the policy doesn't know the purpose or reader.
        """
        if purpose is not None:
            self._named.purpose(purpose)
        if reader is not None:
            self._named.recipient(reader)

        if facts:
            self._mistaken(facts)

        def make(scope: Scope) -> None:
            if scope.registry is None:
                scope.registry = self.recent.opened()
            if subject is not None and subject != scope.subject:
                scope.facts = Facts(facts)
                scope.subject = subject
            elif facts:
                scope.facts = scope.facts.merged(facts)
            scope.reader = reader or scope.reader
            scope.route = route or scope.route
            if purpose is not None:
                self.enter(scope, purpose)

        return Entered(make)

    def _mistaken(self, facts: Mapping[str, Any]) -> None:
        """Say once which facts count as unknown because of how they are given."""
        for what in Facts.unusable(facts):
            if what not in self._told and len(self._told) < _TOLD:
                self._told.add(what)
                _LOGGER.warning("PG204 a fact counts as unknown: %s", what)

    def route_purpose(self, method: str, path: str) -> str | None:
        """The purpose that the configuration gives a route, None if it names none."""
        return self.routes.purpose(method, path)

    def bind(self, function: Callable[..., Any]) -> Callable[..., Any]:
        """The function, run in the scope that is current now: for threads and executors."""
        scope = current_scope()

        @wraps(function)
        def bound(*args: Any, **kwargs: Any) -> Any:
            before = current_scope()
            restore(scope)
            try:
                return function(*args, **kwargs)
            finally:
                restore(before)

        return bound

    # What code asks.

    def decide(
        self,
        *,
        data: str,
        to: str,
        form: str | Iterable[str] = RAW,
        purpose: str | None = None,
        facts: Mapping[str, Any] | None = None,
    ) -> Decision:
        """May this flow happen? Never raises for strings; nothing is reported.

        Args:
            data: data category.
            to: a recipient's id.
            form: form names; none = raw. An unknown form is denied as an unknown term.
            purpose: by default the scope's.
            facts: on top of the scope's.
        """
        scope = current_scope()
        known = scope.facts if scope else Facts()
        purpose = purpose or self.current_purpose()
        merged = known.merged(facts) if facts else known
        try:
            closed = close_form(form)
        except (ValueError, TypeError):
            # Denies: a form that nobody knows may be anything.
            return self.snapshot.deny(Flow(data, RAW, purpose, to), "unknown_term")
        return self.snapshot.decide(data, closed, purpose, to, merged)

    def check(
        self, value: object, *, to: str, purpose: str | None = None, data: str | Sequence[str] = ()
    ) -> Decision:
        """May this value go to a recipient?

        Args:
            value: searched for what is known to be labelled; annotated fields count too.
            to: a recipient's id.
            purpose: by default the scope's.
            data: what the value is, where nothing else says it.

        Returns:
            The worst decision of all labels that were found. A value without any is unlabelled.

        Raises:
            PolicyViolation: the flow is denied or conditional, and the mode is block.
            TermError: the policy doesn't know a data category that is named.
        """
        found = self.labels_in(value, [(label, "") for label in self._named.labels(data)])
        if not any(label.data for label, _, _ in found):
            found.append((Label(""), "", "strong"))
        return self.judge(found, to, at="call", purpose=purpose)

    def label(self, data: str, form: str | Iterable[str] = RAW) -> Label:
        """A label for `remember`.

        Raises:
            TermError: the policy doesn't know the data category or form.
        """
        return self._named.label(data, form)

    # What integrations ask.

    def sql(self, text: str, *, dialect: str, parameters: object = None) -> SqlCheck:
        """Judge a statement before it runs; see `policyguard.enforce.sql`."""
        from policyguard.enforce.sql import check_sql  # noqa: PLC0415 - SQL is loaded when first used

        with self._timed("sql"):
            return check_sql(self, text, dialect, parameters)

    def egress(self, request: OutgoingRequest) -> None:
        """Search an outgoing request and judge what is found; see `policyguard.enforce.egress`."""
        with self._timed("http"):
            check_request(self, request)

    @contextmanager
    def _timed(self, at: At) -> Iterator[None]:
        """Tell `took` how long a check took and how it ended, if anybody listens."""
        if self.took is None:
            yield
            return
        start, outcome = perf_counter(), "deny"
        try:
            yield
            outcome = "allow"
        finally:
            self.took(at, outcome, perf_counter() - start)

    # Integrations.

    def add(self, plugin: Plugin) -> None:
        """Install an integration; a second time does nothing.

        Raises:
            PluginError: it can't be installed; nothing of it stays.
        """
        if plugin.name not in self._installed:
            if plugin.api != 1:
                what = f"plugin `{plugin.name}` speaks version {plugin.api} of the interface"
                raise PluginError(what, "this policyguard speaks version 1")
            try:
                self._installed[plugin.name] = plugin.install(self)
            except PluginError:
                raise
            except Exception as error:  # noqa: BLE001 - a plugin's code and its library are foreign
                # Denies: the start. The error's text is foreign, so only its kind is told.
                what = f"plugin `{plugin.name}` can't be installed"
                raise PluginError(what, f"it failed with {type(error).__name__}") from None

    def uninstall(self, *names: str) -> None:
        """Undo integrations, all of them if none is named; in reverse order.

        Raises:
            PluginError: some couldn't be undone; all others are.
        """
        failed = []
        for name in reversed(names or tuple(self._installed)):
            undo = self._installed.pop(name, None)
            try:
                if undo is not None:
                    undo()
            except Exception:  # noqa: BLE001 - a plugin's code is foreign
                # Denies nothing: the hook may still stand, which is the strict side.
                failed.append(name)
        if failed:
            raise PluginError(f"plugin `{failed[0]}` can't be undone")
