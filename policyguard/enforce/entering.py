"""Ways into a scope: why code runs, for whom, and what is known; for code, requests and jobs.

Layer: enforce. Start reading at `Entering.context`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING, Any, Final

from policyguard.enforce.context import Entered, Scope, current_scope, restore
from policyguard.enforce.decorators import PurposeEntry
from policyguard.enforce.judge import Judge
from policyguard.policy.flow import NO_FACTS, Facts
from policyguard.policy.terms import at_or_below

if TYPE_CHECKING:
    from policyguard.enforce.subjects import Person

SAME: Final[Any] = object()
"""The person of the scope around; None says that nobody knows who it is."""
# What a browser's `Sec-GPC: 1` opts out of (California's sale and sharing for advertising).
_GPC_ROOTS: Final = ("marketing.advertising", "third_party_sharing.sale")


class Entering(Judge):
    """What code, middleware and workers say: why they run, for whom, and what is known."""

    def purpose(self, purpose: str) -> PurposeEntry:
        """Say why code runs: a decorator, a `with` or an `async with` block.

        Raises:
            TermError: the policy doesn't know the purpose; names the nearest.
        """
        return PurposeEntry(self, self.in_force.named.purpose(purpose))

    def context(
        self,
        *,
        subject: object = SAME,
        subjects: Iterable[object] | None = None,
        facts: Mapping[str, Any] | None = None,
        purpose: str | None = None,
        reader: str | None = None,
        route: str = "",
    ) -> Entered:
        """Say for whom code runs and what is known; a `with` or an `async with` block.

        Args:
            subject: the person; a context with another subject starts without facts, and with what
                the subject store knows. None: nobody knows who it is. What somebody opted out of
                before it was known who they are stays with them.
            subjects: everybody in a batch: a flow must be allowed for each of them.
            facts: consent, opt_out, restricted, age, region, legal_request, facts; these come
                before what the subject store knows.
            purpose: why, as `purpose`.
            reader: the recipient that reads from databases here, by default `self`.
            route: of the request or job, for modes and reports.

        Raises:
            TermError: the policy doesn't know the purpose or reader.
            TypeError: both a subject and subjects are given, or one text as subjects.

        Cost: with a subject store one look-up of at most 50 ms, never on an event loop; `async
        with` awaits it.
        """
        named = self.in_force.named
        if purpose is not None:
            named.purpose(purpose)
        if reader is not None:
            named.recipient(reader)
        if facts:
            self._mistaken(facts)
        return self._entered(
            subject, _batch(subject, subjects), facts, purpose, reader, route=route
        )

    def _entered(
        self,
        subject: object,
        many: tuple[object, ...] | None,
        facts: Mapping[str, Any] | None,
        purpose: str | None,
        reader: str | None = None,
        *,
        route: str = "",
        gpc: bool = False,
    ) -> Entered:
        """The way into a scope whose words are checked."""

        def make(scope: Scope, persons: tuple[Person, ...] | None) -> None:
            if scope.registry is None:
                scope.registry = self.recent.opened()
            if persons is not None:
                # Before anybody knew who asks, they may have said no: that stays theirs.
                refused = _refused(scope) if scope.subject is None else {}
                scope.subject = subject if many is None else many
                scope.persons = persons
                scope.facts = _with(refused, facts)
            elif facts:
                scope.facts = scope.facts.merged(facts)
            if gpc:
                scope.gpc, scope.asker = True, subject
            if scope.gpc and (gpc or persons is not None) and _may_be_asker(scope, many):
                self.signal(scope)
            scope.reader = reader or scope.reader
            scope.route = route or scope.route
            if purpose is not None:
                self.enter(scope, purpose)

        return PersonEntered(self, make, subject, many)

    def request(
        self,
        method: str,
        path: str,
        *,
        subject: object = None,
        facts: Mapping[str, Any] | None = None,
        region: str | None = None,
        gpc: bool = False,
    ) -> Entered:
        """The scope of one incoming request, for web integrations: `with` or `async with`.

        Args:
            method: `GET`; `WEBSOCKET` for a socket.
            path: as asked for; never kept: the name of the configured route is.
            subject: who asks; None if nobody knows.
            facts: what else is known.
            region: where the person is, an ISO 3166 code.
            gpc: the request says `Sec-GPC: 1`: an opt-out of sale and of all advertising.
        """
        route = self.in_force.routes.find(method, path)
        return self._entered(
            subject,
            None,
            self._facts(facts, region),
            self._known_purpose(route.purpose if route else None),
            # The pattern, not the path: a path may hold personal data.
            route=route.name if route else "",
            gpc=gpc,
        )

    def job(
        self,
        name: str,
        *,
        purpose: str | None = None,
        subject: object = None,
        facts: Mapping[str, Any] | None = None,
        region: str | None = None,
        gpc: bool = False,
    ) -> Entered:
        """The scope of one background job, for workers: `with` or `async with`.

        Args:
            name: of the job or task; the purpose that the configuration gives it counts.
            purpose: where the configuration gives none; one that the policy doesn't know is none.
            subject: whose data it handles; None if nobody knows.
            facts: what else is known.
            region: where the person is.
            gpc: the person opted out of sale and advertising.
        """
        found = self.in_force.jobs.find(name)
        return self._entered(
            subject,
            None,
            self._facts(facts, region),
            self._known_purpose(found.purpose if found else purpose),
            route=name,
            gpc=gpc,
        )

    def route_purpose(self, method: str, path: str) -> str | None:
        """The purpose that the configuration gives a route, None if it names none."""
        return self.in_force.routes.purpose(method, path)

    def signal(self, scope: Scope) -> None:
        """Lay the opt-out of a browser's signal over what is known in a scope.

        Every declared purpose that GPC speaks of is named, so that no narrower answer of the past
        stands against it.
        """
        purposes = self.in_force.snapshot.context.taxonomy.purposes.phrases
        meant = (name for name in purposes if any(at_or_below(name, root) for root in _GPC_ROOTS))
        scope.facts = scope.facts.merged({"opt_out": dict.fromkeys(meant, True)})

    def _facts(self, facts: Mapping[str, Any] | None, region: str | None) -> Mapping[str, Any]:
        found = dict(facts or {})
        if region is not None:
            found["region"] = region
        if found:
            self._mistaken(found)
        return found

    def _known_purpose(self, purpose: str | None) -> str | None:
        """The purpose, or none where the policy in force doesn't know it (any more)."""
        known = self.in_force.snapshot.context.taxonomy.purposes
        return purpose if purpose is not None and purpose in known else None

    def _mistaken(self, facts: Mapping[str, Any]) -> None:
        """Say once which facts count as unknown because of how they are given."""
        for what in Facts.unusable(facts):
            self.doubts.tell(what)


def _batch(subject: object, subjects: Iterable[object] | None) -> tuple[object, ...] | None:
    """Everybody in a batch, None if it is none."""
    if subjects is None:
        return None
    if subject is not SAME:
        raise TypeError("a context has a subject or subjects, not both")
    if isinstance(subjects, str | bytes):
        # Its letters would be taken for people.
        raise TypeError("subjects is a list of subjects, not one text")
    return tuple(subjects)


def _with(refused: Mapping[str, Any], facts: Mapping[str, Any] | None) -> Facts:
    if not refused and not facts:
        return NO_FACTS
    return Facts(refused).merged(facts or {})


def _refused(scope: Scope) -> dict[str, dict[str, bool]]:
    """The opt-outs that are known in a scope."""
    found = {purpose: True for purpose, answer in scope.facts.opt_out.items() if answer}
    return {"opt_out": found} if found else {}


def _may_be_asker(scope: Scope, many: tuple[object, ...] | None) -> bool:
    """Whether a scope is about whoever sent the signal, or may be.

    Where nobody knew who asks, whoever is named first is taken for them.
    """
    asker = scope.asker
    if asker is None:
        scope.asker = scope.subject if many is None else None
        return True
    return scope.subject is None or any(_same(asker, one) for one in many or (scope.subject,))


class PersonEntered(Entered):
    """A way into a scope that may be about another person, whose facts are looked up first."""

    __slots__ = ("_judge", "_many", "_person", "_subject")

    def __init__(
        self,
        judge: Judge,
        make: Callable[[Scope, tuple[Person, ...] | None], None],
        subject: object,
        many: tuple[object, ...] | None,
    ) -> None:
        self._judge, self._subject, self._many = judge, subject, many
        self._person = make
        super().__init__(lambda scope: make(scope, self._opened(scope)))

    def _changes(self, scope: Scope | None) -> bool:
        """Whether the scope is about somebody else than the one around it."""
        if self._many is not None:
            return True
        if self._subject is SAME:
            return False
        return scope is None or self._subject is None or not _same(self._subject, scope.subject)

    def _opened(self, scope: Scope) -> tuple[Person, ...] | None:
        if not self._changes(scope):
            return None
        store = self._judge.subjects
        if store is None:
            return ()
        if self._many is not None:
            return store.open_all(self._many)
        return () if self._subject is None else (store.open(self._subject),)

    async def __aenter__(self) -> None:
        """Enter the scope; the subject store is awaited first."""
        before = current_scope()
        scope = Scope(before, self)
        store = self._judge.subjects
        persons: tuple[Person, ...] | None = () if self._changes(scope) else None
        if persons is not None and store is not None:
            if self._many is not None:
                persons = await store.aopen_all(self._many)
            elif self._subject is not None:
                persons = (await store.aopen(self._subject),)
        self._person(scope, persons)
        restore(scope)


def _same(one: object, other: object) -> bool:
    try:
        # 1, True and 1.0 are equal, and three subjects.
        return type(one) is type(other) and bool(one == other)
    except Exception:  # noqa: BLE001 - a subject is the application's own object
        # Denies: whoever can't be compared is somebody else, about whom nothing is known.
        return False
