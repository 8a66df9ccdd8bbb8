"""The guard: makes the policy's answer bind.

Layer: enforce. The names that code uses. Judging stands in `judge`, ways into a scope in
`entering`, decorators in `decorators`, `sinks` and `transforms`, statements in `sql`, requests in
`egress`. Start reading at `Guard`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import date
from time import perf_counter
from typing import TYPE_CHECKING, Any, Final, ParamSpec, TypeVar

from policyguard.enforce import claims
from policyguard.enforce.decorators import SourceDecorator
from policyguard.enforce.egress import check_request
from policyguard.enforce.entering import Entering
from policyguard.enforce.inforce import InForce
from policyguard.enforce.integrations import Integrations, Plugin
from policyguard.enforce.modes import Modes
from policyguard.enforce.ports import At, Reporter
from policyguard.enforce.redaction import redacted_value
from policyguard.enforce.routes import Jobs, Routes
from policyguard.enforce.sinks import SinkDecorator
from policyguard.enforce.site import call_site
from policyguard.enforce.transforms import TransformDecorator, last_day
from policyguard.enforce.violation import Judged
from policyguard.engine.compile import Snapshot
from policyguard.engine.decision import Decision
from policyguard.errors import TermError
from policyguard.inspectors.http import OutgoingRequest
from policyguard.labels.sealed import Sealed, opened
from policyguard.policy.datamap import DataMap
from policyguard.policy.flow import RAW, Flow, Label, close_form

if TYPE_CHECKING:
    from policyguard.enforce.sql import SqlCheck
    from policyguard.inspectors.sql import Session

__all__ = ["Guard", "Plugin"]

P = ParamSpec("P")
R = TypeVar("R")
T = TypeVar("T")
_WORST: Final = {"allow": 0, "conditional": 1, "deny": 2}


class Guard(Entering):
    """Holds running code to one policy. Safe for threads and tasks; usually one per process."""

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
        if routes is not None:
            self.in_force = self.in_force.but(routes=routes)
        self._integrations = Integrations()
        claims.known(self)

    @property
    def routes(self) -> Routes:
        """Purposes by route."""
        return self.in_force.routes

    @property
    def jobs(self) -> Jobs:
        """Purposes by background job."""
        return self.in_force.jobs

    def swap(self, now: InForce) -> None:
        """Put another policy with its surroundings in force, whole.

        Whoever judges at the moment ends on the policy it began with. Labels that are remembered
        stay; counts go on.
        """
        self.tally.also(frozenset(now.snapshot.context.recipients))
        self.in_force = now
        now.waivers.tell()

    # What code says.

    def source(self, data: str, *, form: str | Iterable[str] = RAW) -> SourceDecorator:
        """Decorate a function whose result is this data.

        Raises:
            TermError: the policy doesn't know the data category or form.
        """
        return SourceDecorator(self, self.in_force.named.label(data, form))

    def sink(self, recipient: str, *, data: str | Sequence[str] = ()) -> SinkDecorator:
        """Decorate a function whose arguments leave to a recipient.

        Args:
            recipient: a declared recipient's id.
            data: what the arguments are, where nothing else says it.

        Raises:
            TermError: the policy doesn't know the recipient or a data category.
        """
        named = self.in_force.named
        return SinkDecorator(self, named.recipient(recipient), named.labels(data))

    def transform(self, *form: str, reviewed_by: str, expires: date | str) -> TransformDecorator:
        """Decorate a function whose result has a form that somebody reviewed.

        Args:
            form: names of forms, such as `aggregated`.
            reviewed_by: who looked at the function and vouches for the claim.
            expires: the claim's last day, in UTC. After it the result counts as what went in.

        Raises:
            TermError: a form doesn't exist, nobody vouches, or `expires` is no day.
        """
        closed, until = self.in_force.named.form(form), last_day(expires)
        if not closed or not str(reviewed_by or "").strip():
            what = "a transform names a form, and who reviewed that it gives it"
            raise TermError(what, hint="reviewed_by=..., expires=...")
        made = TransformDecorator(self, closed, reviewed_by, until)
        if made.in_force():
            # Only then a way out that can be proposed.
            self.transforms |= closed
        return made

    def label(self, data: str, form: str | Iterable[str] = RAW) -> Label:
        """A label for `remember`.

        Raises:
            TermError: the policy doesn't know the data category or form.
        """
        return self.in_force.named.label(data, form)

    def seal(self, value: T, data: str, form: str | Iterable[str] = RAW) -> Sealed[T]:
        """Seal a value: text of it shows only its category, and only `open` gives it back.

        Raises:
            TermError: the policy doesn't know the data category or form.
        """
        self.in_force.named.label(data, form)
        return Sealed(value, data, form, at=call_site())

    def bind(self, function: Callable[P, R]) -> claims.Bound[P, R]:
        """The function, run in the scope that is current now: for threads and executors.

        In another process it runs for the same purpose, and nothing about a person goes along.
        """
        return claims.bind(self, function)

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

        Returns:
            In a batch the worst decision of all its persons.
        """
        now, asked = self.in_force, self.asked(to, purpose)
        try:
            closed = close_form(form)
        except (ValueError, TypeError):
            # Denies: a form that nobody knows may be anything.
            return now.snapshot.deny(Flow(data, RAW, asked.purpose, to), "unknown_term")
        found = [
            now.snapshot.decide(
                data, closed, asked.purpose, to, one.merged(facts) if facts else one
            )
            for one in asked.known
        ]
        return max(found, key=lambda decision: _WORST[decision.verdict])

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
        now = self.in_force
        found = self.labels_in(value, [(label, "") for label in now.named.labels(data)])
        if not any(label.data for label, _, _ in found):
            found.append((Label(""), "", "strong"))
        return self.judge(found, to, at="call", purpose=purpose, now=now)

    def redact(self, value: T, *, to: str, purpose: str | None = None) -> T:
        """A copy of a value without what may not go to a recipient.

        Args:
            value: containers, dataclasses, models, arrays, text; left as it is.
            to: a recipient's id.
            purpose: by default the scope's.

        Returns:
            A copy in which the placeholder `[redacted]` stands in place of every denied part.

        Raises:
            PolicyViolation: some part can't be looked into, or can't be taken out.
        """
        now, asked = self.in_force, self.asked(to, purpose)

        def denied(label: Label) -> bool:
            return not self.worst(now, label, asked)[0].allowed

        made = redacted_value(value, self.registry, denied)
        if made.complete:
            return made.value  # type: ignore[return-value]  # a copy has the shape of what it copies
        flow = Flow("", RAW, asked.purpose, to)
        doubt = Label("", source="a value that can't be redacted", evidence="suspected")
        judged = Judged(now.snapshot.deny(flow, "cannot_tell"), doubt)
        self.settle([judged], at="call", now=now, strict=True)
        raise AssertionError("a denied flow was settled")  # pragma: no cover - settling it raises

    def open(self, sealed: Sealed[T], *, to: str, purpose: str | None = None) -> T:
        """The value of a seal, for a recipient that may have it.

        Whatever the mode is, a seal opens only for what the policy allows.

        Args:
            sealed: from `seal`, or a field of a model.
            to: a recipient's id; `self` for the company's own code.
            purpose: by default the scope's.

        Raises:
            PolicyViolation: the flow is denied or conditional.
            TypeError: the value isn't sealed.
        """
        if type(sealed) is not Sealed:
            raise TypeError("only a sealed value can be opened")
        now, label = self.in_force, sealed.label
        decision, facts = self.worst(now, label, self.asked(to, purpose))
        judged = Judged(decision, label, facts=facts)
        self.settle([judged], at="call", now=now, strict=True)
        self.remember(value := opened(sealed), label)
        return value

    # What integrations ask.

    def sql(
        self, text: str, *, dialect: str, parameters: object = None, session: Session | None = None
    ) -> SqlCheck:
        """Judge a statement before it runs; see `policyguard.enforce.sql`.

        Args:
            text: as it will run.
            dialect: of the database.
            parameters: bound values.
            session: of the connection, from `sql_session`.
        """
        from policyguard.enforce.sql import check_sql, with_purpose  # noqa: PLC0415 - SQL is loaded when first used

        with self._timed("sql"):
            check = check_sql(self, text, dialect, parameters, session)
            return with_purpose(check, self.current_purpose()) if self.sql_comment else check

    def sql_session(self) -> Session:
        """One for each connection to a database: it knows what earlier statements left there."""
        from policyguard.inspectors.sql import Session  # noqa: PLC0415 - as above

        return Session()

    def egress(self, request: OutgoingRequest) -> OutgoingRequest:
        """Search an outgoing request and judge what is found; see `policyguard.enforce.egress`.

        Returns:
            The request as it may be sent: the same, or a redacted one.
        """
        with self._timed("http"):
            return check_request(self, request)

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
        self._integrations.add(plugin, self)

    def uninstall(self, *names: str) -> None:
        """Undo integrations, all of them if none is named; in reverse order.

        Raises:
            PluginError: some couldn't be undone; all others are.
        """
        self._integrations.remove(*names)
