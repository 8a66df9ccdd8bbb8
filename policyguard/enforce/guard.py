"""The guard: makes the policy's answer bind.

Layer: enforce. Decorators stand in `decorators`, statements in `sql`, requests in `egress`; this
module holds what they share: judging labels, choosing the mode, reporting, raising. Start reading
at `Guard` and `Guard.settle`.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, suppress
from functools import wraps
from time import perf_counter
from typing import TYPE_CHECKING, Any, Final

from policyguard.enforce.context import Entered, Scope, current_scope, restore
from policyguard.enforce.logreport import LogReporter
from policyguard.enforce.modes import Modes
from policyguard.enforce.ports import At, Effect, Mode, Plugin, Record, Reporter
from policyguard.enforce.routes import Routes
from policyguard.enforce.seen import labels_seen
from policyguard.enforce.site import call_site
from policyguard.enforce.tally import Tally
from policyguard.enforce.violation import Judged, PolicyViolation, build, fingerprint
from policyguard.engine.compile import Snapshot
from policyguard.engine.decision import Decision
from policyguard.errors import PluginError, TermError
from policyguard.inspectors.http import OutgoingRequest
from policyguard.labels.registry import Registry
from policyguard.labels.typed import labels_of_value
from policyguard.policy.datamap import DataMap
from policyguard.policy.flow import RAW, Facts, Flow, Form, Label, close_form
from policyguard.policy.hosts import HostTable, parse_host_pattern
from policyguard.policy.taxonomy import Terms

if TYPE_CHECKING:
    from policyguard.enforce.decorators import PurposeEntry, SinkDecorator, SourceDecorator
    from policyguard.enforce.sql import Planner, SqlCheck

_LOGGER: Final = logging.getLogger("policyguard")


class Guard:
    """Holds running code to one policy. Safe for threads and tasks; usually one per process.

    Attributes:
        snapshot: the compiled policy.
        data_map: what tables, columns and fields hold; None if there is none.
        modes: what is done about denied flows.
        tally: counts of all decisions.
        hosts: which hosts belong to which recipient.
        routes: purposes by route.
        job_purpose: the purpose where code and route say none (`POLICYGUARD_PURPOSE`).
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
        self.snapshot = snapshot
        self.data_map = data_map
        self.modes = modes or Modes()
        self.reporters: tuple[Reporter, ...] = (LogReporter(), *reporters)
        self.routes = routes or Routes(())
        self.job_purpose = job_purpose
        self.transforms = frozenset(transforms)
        recipients = snapshot.context.recipients
        self.tally = Tally(frozenset(recipients))
        self.hosts = HostTable(
            (name, [parse_host_pattern(host) for host in who.hosts])
            for name, who in recipients.items()
        )
        # Telemetry's own requests are not the application's flows; set with telemetry only.
        self.exempt: Callable[[], bool] = lambda: False
        self.took: Callable[[At, str, float], None] | None = None
        self._planner: Planner | None = None
        self._installed: dict[str, Callable[[], None]] = {}
        self._outside = Registry()

    # What code says.

    def purpose(self, purpose: str) -> PurposeEntry:
        """Say why code runs: a decorator, a `with` or an `async with` block.

        Raises:
            TermError: the policy doesn't know the purpose; names the nearest.
        """
        from policyguard.enforce.decorators import PurposeEntry  # noqa: PLC0415 - a circle otherwise

        self._known("purpose", purpose, self.snapshot.context.taxonomy.purposes)
        return PurposeEntry(self, purpose)

    def source(self, data: str, *, form: str | Iterable[str] = RAW) -> SourceDecorator:
        """Decorate a function whose result is this data.

        Raises:
            TermError: the policy doesn't know the data category or form.
        """
        from policyguard.enforce.decorators import SourceDecorator  # noqa: PLC0415 - a circle otherwise

        return SourceDecorator(self, data, self.form(form), self.label(data, form))

    def sink(self, recipient: str, *, data: str | Sequence[str] = ()) -> SinkDecorator:
        """Decorate a function whose arguments leave to a recipient.

        Args:
            recipient: a declared recipient's id.
            data: what the arguments are, where nothing else says it.

        Raises:
            TermError: the policy doesn't know the recipient or a data category.
        """
        from policyguard.enforce.decorators import SinkDecorator  # noqa: PLC0415 - a circle otherwise

        self.recipient(recipient)
        names = (data,) if isinstance(data, str) else tuple(data)
        return SinkDecorator(self, recipient, tuple(self.label(name) for name in names))

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
            self._known("purpose", purpose, self.snapshot.context.taxonomy.purposes)
        if reader is not None:
            self.recipient(reader)

        def make(scope: Scope) -> None:
            if subject is not None and subject != scope.subject:
                scope.facts = Facts(facts)
                scope.subject = subject
            elif facts:
                scope.facts = scope.facts.merged(facts)
            scope.reader = reader or scope.reader
            scope.route = route or scope.route
            if purpose is not None:
                self._enter(scope, purpose)

        return Entered(make)

    def _enter(self, scope: Scope, purpose: str) -> None:
        """Make a purpose the innermost one of a scope."""
        before = scope.purpose
        if before is not None and not self.snapshot.change_allowed(before, purpose):
            scope.change_denied = True
        scope.purpose = purpose
        scope.path = (*scope.path, purpose)

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
        names = (data,) if isinstance(data, str) else tuple(data)
        labels = [(self.label(name), "") for name in names]
        found = self.labels_in(value, labels)
        if not any(label.data for label, _, _ in found):
            found.append((Label(""), "", "strong"))
        return self.judge(found, to, at="call", purpose=purpose)

    def labels_in(
        self, value: object, known: Iterable[tuple[Label, str]] = ()
    ) -> list[tuple[Label, str, Any]]:
        """All labels of a value: those known, annotated fields, and what the scope remembers.

        Returns:
            (label, path of names, strength).
        """
        found: list[tuple[Label, str, Any]] = [(label, where, "strong") for label, where in known]
        for part in labels_of_value(value):
            found += [(label, part.path, "strong") for label in part.labels]
        return found + labels_seen(self.registry, value)

    def remember(self, value: object, *labels: Label) -> None:
        """From now on the value carries these labels in the current scope.

        A value that can't be looked into, or one too many, makes what leaves the scope cannot-tell.
        """
        registry = self.registry
        if not registry.remember(value, labels):
            registry.saturated = True

    @property
    def registry(self) -> Registry:
        """The labelled values of the current scope; outside any, those of the process."""
        scope = current_scope()
        return self._outside if scope is None else scope.registry

    def current_purpose(self) -> str | None:
        """The purpose that counts here: code or route first, then the job's."""
        scope = current_scope()
        return (scope.purpose if scope else None) or self.job_purpose

    # What integrations ask.

    def sql(self, text: str, *, dialect: str, parameters: object = None) -> SqlCheck:
        """Judge a statement before it runs; see `policyguard.enforce.sql`."""
        from policyguard.enforce.sql import check_sql  # noqa: PLC0415 - SQL is loaded when first used

        with self._timed("sql"):
            return check_sql(self, text, dialect, parameters)

    def egress(self, request: OutgoingRequest) -> None:
        """Search an outgoing request and judge what is found; see `policyguard.enforce.egress`."""
        from policyguard.enforce.egress import check_request  # noqa: PLC0415 - a circle otherwise

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

    # What these share.

    def judge(
        self,
        found: Iterable[tuple[Label, str, Any]],
        recipient: str,
        *,
        at: At,
        purpose: str | None = None,
        observed: Mapping[str, Any] | None = None,
        host: str = "",
    ) -> Decision:
        """Decide every label's flow to a recipient and act on the answers.

        Args:
            found: (label, where, strength), at least one.
            recipient: id; a host that nobody declared is its own id.
            at: where the flows were seen.
            purpose: by default the scope's.
            observed: facts that the guard saw itself, such as the transport.
            host: for http.

        Returns:
            The worst decision.

        Raises:
            PolicyViolation: for the worst flow whose mode is block.
        """
        scope = current_scope()
        facts = scope.facts if scope else Facts()
        if observed:
            facts = facts.merged(observed)
        purpose = purpose or self.current_purpose()
        judged = [
            Judged(self._decide(label, purpose, recipient, facts, scope), label, where, strength)
            for label, where, strength in found
        ]
        self.settle(judged, facts, at=at, host=host)
        return max(judged, key=lambda one: one.rank).decision

    def _decide(
        self, label: Label, purpose: str | None, recipient: str, facts: Facts, scope: Scope | None
    ) -> Decision:
        if scope is not None and self._change_denied(scope, purpose):
            flow = Flow(label.data, label.form, purpose, recipient)
            return self.snapshot.deny(flow, "purpose_change").along(scope.path)
        decision = self.snapshot.decide(label.data, label.form, purpose, recipient, facts)
        if decision.reason == "unlabelled" and label.evidence != "declared":
            # Nobody failed to label it: what it is can't be told.
            decision = self.snapshot.deny(decision.flow, "cannot_tell")
        if not decision.allowed and scope is not None and len(scope.path) > 1:
            return decision.along(scope.path)
        return decision

    def _change_denied(self, scope: Scope, purpose: str | None) -> bool:
        """Whether the scope's purpose may not become this one; a call may name its own."""
        if scope.change_denied or purpose is None or scope.purpose is None:
            return scope.change_denied
        return not self.snapshot.change_allowed(scope.purpose, purpose)

    def settle(self, judged: Sequence[Judged], facts: Facts, *, at: At, host: str = "") -> None:
        """Count, report and, in mode block, raise.

        Raises:
            PolicyViolation: for the worst flow whose mode is block.
        """
        denied = [one for one in judged if not one.decision.allowed]
        for one in judged:
            if one.decision.allowed:
                self.tally.allowed(one.decision)
        if not denied:
            return
        scope, sent_at = current_scope(), call_site()
        blocked = []
        for one in sorted(denied, key=lambda each: each.rank, reverse=True):
            mode = self.modes.of(self.snapshot, one.decision, at, one.strength, scope)
            violation = self._report(one, facts, mode, at=at, host=host, sent_at=sent_at)
            if violation is not None:
                blocked.append(violation)
        if blocked:
            blocked[0].also = tuple(dict.fromkeys(other.what for other in blocked[1:]))
            raise blocked[0]

    def _report(
        self, one: Judged, facts: Facts, mode: Mode, *, at: At, host: str, sent_at: str
    ) -> PolicyViolation | None:
        """Count and report one denied flow; the violation if it is to be raised."""
        effect: Effect = {"off": "ignored", "flag": "flagged"}.get(mode, "blocked")  # type: ignore[assignment]  # the three effects
        self.tally.denied(one.decision, "deny" if effect == "blocked" else effect, mode)
        if effect == "ignored":
            return None
        violation = build(
            self.snapshot, one, facts, at=at, sent_at=sent_at, transforms=self.transforms
        )
        if effect != "blocked":
            violation.what = violation.what.replace("blocked:", "flagged:", 1)
        scope = current_scope()
        record = Record(
            decision=one.decision,
            mode=mode,
            effect=effect,
            at=at,
            source=one.label.source,
            read_at=one.label.at,
            sent_at=sent_at,
            where=one.where,
            host=host,
            strength=one.strength,
            route=scope.route if scope else "",
            fingerprint=fingerprint(one.decision, at, one.label.source, sent_at),
            policy=self.snapshot.id,
            message=str(violation),
        )
        for reporter in self.reporters:
            self._tell(reporter, record)
        return violation if effect == "blocked" else None

    @staticmethod
    def _tell(reporter: Reporter, record: Record) -> None:
        try:
            reporter.report(record)
        except Exception:  # noqa: BLE001 - a reporter is foreign code
            # Denies: nothing, and allows nothing: the verdict stands whatever a reporter does. Its
            # error may quote data, so only its kind is told.
            kind = type(reporter).__name__
            with suppress(Exception):  # the logging that failed may be the application's own
                _LOGGER.error("PG602 reporter %s failed; the verdict stands", kind)  # noqa: TRY400 - the trace may hold data

    # Words that code may name.

    def form(self, form: str | Iterable[str]) -> Form:
        """A form that code names; raises TermError for one that doesn't exist."""
        try:
            return close_form(form)
        except ValueError as error:
            raise TermError(str(error)) from None

    def label(self, data: str, form: str | Iterable[str] = RAW) -> Label:
        """A label that code declares; raises TermError for a term the policy doesn't know."""
        self._known("data category", data, self.snapshot.context.taxonomy.data)
        return Label(data, self.form(form), evidence="declared")

    def recipient(self, name: str) -> str:
        """A recipient that code names; raises TermError if the policy declares none such."""
        known = self.snapshot.context.recipients
        self._known("recipient", name, Terms(dict.fromkeys(known, "")))
        return name

    @staticmethod
    def _known(kind: str, term: str, terms: Terms) -> None:
        if term in terms:
            return
        near = terms.nearest(term)
        hint = f"did you mean `{near[0]}`?" if near else "`policyguard terms WORD` finds terms"
        raise TermError(f"unknown {kind} `{term}`", "the policy doesn't declare it", hint)

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
