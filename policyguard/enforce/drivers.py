"""What integrations with database drivers share: hooks, sessions, and what was found of a text.

Layer: enforce. A driver's plugin makes one `Driver` for the process. Its hooks stand while any
guard is installed, and every statement is judged by all of them. Start reading at `Driver.check`.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from threading import RLock
from typing import TYPE_CHECKING, Any, Final, NamedTuple
from weakref import WeakKeyDictionary

from policyguard.enforce.context import current_scope
from policyguard.enforce.rows import Rows
from policyguard.enforce.site import call_site
from policyguard.policy.flow import Label
from policyguard.policy.terms import SELF

if TYPE_CHECKING:
    from policyguard.enforce.guard import Guard
    from policyguard.enforce.plans import Plan
    from policyguard.enforce.sql import SqlCheck
    from policyguard.inspectors.sql import Session

# Of whose statements most have one of these, though no table of the program is called so.
_OWN_TABLE: Final = ("policyguard_subjects", "pg_catalog")
_OWN_MODULES: Final = "policyguard.stores"
_MOST_FRAMES: Final = 200
_ABSENT: Final = object()

Patches = Mapping[tuple[Any, str], Callable[[Any], Any]]


class Part(NamedTuple):
    """A text that one guard let through."""

    guard: Guard
    session: Session
    dialect: str
    text: str
    check: SqlCheck


@dataclass(frozen=True, slots=True)
class Checked:
    """A text that may run.

    Attributes:
        text: what is to be sent.
        rows: who remembers rows of its last statement; empty if no column is labelled.
        parts: one for each guard.
    """

    text: str
    rows: tuple[Rows, ...] = ()
    parts: tuple[Part, ...] = ()

    def seen(self, rows: Iterable[Any]) -> None:
        """Remember rows that were fetched."""
        for one in self.rows:
            one.seen(rows)

    def seen_one(self, row: Any) -> None:
        """Remember a row that was fetched."""
        for one in self.rows:
            one.seen_one(row)

    def seen_result(self, found: Any) -> Any:
        """Remember what a driver gives in one piece.

        Args:
            found: rows, a row, a frame, an Arrow table, arrays by name, or an iterator of these.

        Returns:
            The same; an iterator that remembers in place of one that doesn't.
        """
        if not self.rows or found is None:
            return found
        columns = columns_of(found)
        if columns is not None:
            self.seen(zip(*columns, strict=True))
        elif isinstance(found, list):
            self.seen(found)
        elif isinstance(found, tuple):
            self.seen_one(found)
        elif type(found).__name__ in {"generator", "list_iterator", "map"}:
            return (self.seen_result(part) for part in found)
        else:
            # What a reader gives later isn't seen, so nothing is known to be clean.
            self.saturate()
        return found

    def saturate(self) -> None:
        """From now on nothing that leaves the scope is known to be clean, if a row has a label."""
        for part in self.parts:
            if part.check.labelled:
                part.guard.registry.saturated = True

    @property
    def sends(self) -> bool:
        """Whether values bound to it may leave to a recipient."""
        return any(plan is None or plan.leaves for _, plan in self._plans())

    def also(self, parameters: object) -> None:
        """Judge further values that are bound to it.

        Raises:
            PolicyViolation: they may not leave to the recipient whose table it is.
        """
        for guard, session, dialect, text, _ in self.parts:
            guard.sql(text, dialect=dialect, parameters=parameters, session=session)

    def joined(self, later: Checked) -> Checked:
        """Either of two texts: which of them a result belongs to can't be told."""
        return Checked(later.text, (*self.rows, *later.rows), (*self.parts, *later.parts))

    def shown(self, guard: Guard) -> frozenset[str]:
        """Which labelled columns the text shows to a guard; they are judged already."""
        plans = [plan for part, plan in self._plans() if part.guard is guard]
        return frozenset(label.source for plan in plans if plan for label in plan.reads)

    def shown_to(self, guard: Guard, recipient: str) -> bool:
        """Whether the text shows a guard that it writes to a recipient."""
        plans = [plan for part, plan in self._plans() if part.guard is guard]
        return any(plan and recipient in dict(plan.leaves) for plan in plans)

    @property
    def unresolved(self) -> bool:
        """Whether some guard can't tell what the text does."""
        return any(part.check.unresolved for part in self.parts)

    def any_statement(
        self, width: int, told: Callable[[Guard], Iterable[Label]] | None = None
    ) -> Checked:
        """For a result of any statement of the text: each column may be whatever was read.

        Args:
            width: how many columns the result has.
            told: labels of all that was read, where the database tells that.
        """
        from policyguard.enforce.sql import SqlCheck  # noqa: PLC0415 - SQL is loaded when first used

        at, rows = call_site(), []
        for part, plan in self._plans():
            every = (*(plan.reads if plan else ()), *(told(part.guard) if told else ()))
            reads = tuple(dict.fromkeys(replace(label, at=at) for label in every))
            unresolved = told is None and (plan is None or bool(plan.unresolved))
            check = SqlCheck(part.text, (reads,) * width, unresolved=unresolved)
            if check.labelled:
                rows.append(Rows(part.guard, check))
        return Checked(self.text, tuple(rows), self.parts)

    def _plans(self) -> Iterator[tuple[Part, Plan | None]]:
        from policyguard.enforce.sql import planner_of  # noqa: PLC0415 - as above

        for part in self.parts:
            found: Plan | None = None
            with suppress(Exception):
                # Denies: without a plan every value may be anything, and may go anywhere.
                planner = planner_of(part.guard.in_force)
                if planner is None:
                    # This guard has no data map, so nothing has a label.
                    continue
                found = planner.plan(part.text, part.dialect, part.session)
            yield part, found


class Driver:
    """The hooks of one driver, for all guards that are installed. Safe for threads.

    Args:
        patches: gives a replacement for each hooked attribute; asked when the first guard comes.
    """

    def __init__(self, patches: Callable[[], Patches] = dict) -> None:
        self._patches, self._lock = patches, RLock()
        self.guards: tuple[Guard, ...] = ()
        self._installed: list[Guard] = []
        self._before: list[tuple[Any, str, Any]] = []
        self._connections: WeakKeyDictionary[Any, Connection] = WeakKeyDictionary()

    def install(self, guard: Guard) -> Callable[[], None]:
        """Take in a guard; the first sets the hooks.

        Returns:
            What lets it go; the last one restores what was before.

        Raises:
            AttributeError: this version of the driver has no place to hook. Nothing is hooked.
        """
        with self._lock:
            if not self._installed:
                self._hook()
            self._now([*self._installed, guard])

        gone = False

        def undo() -> None:
            nonlocal gone
            with self._lock:
                if gone:
                    return
                gone = True
                left = list(self._installed)
                left.remove(guard)
                self._now(left)
                if not left:
                    self._unhook()
                    self._connections = WeakKeyDictionary()

        return undo

    def _now(self, guards: list[Guard]) -> None:
        self._installed, self.guards = guards, tuple(dict.fromkeys(guards))

    def _hook(self) -> None:
        patches = self._patches()
        made = [
            (owner, name, make(getattr(owner, name))) for (owner, name), make in patches.items()
        ]
        for owner, name, replacement in made:
            self._before.append((owner, name, vars(owner).get(name, _ABSENT)))
            setattr(owner, name, replacement)

    def _unhook(self) -> None:
        while self._before:
            owner, name, before = self._before.pop()
            if before is _ABSENT:
                delattr(owner, name)
            else:
                setattr(owner, name, before)

    def connection(self, connection: Any) -> Connection:
        """What earlier statements left on a connection."""
        found = self._connections.get(connection)
        if found is None:
            with self._lock:
                found = self._connections.setdefault(connection, Connection())
        return found

    def check(self, connection: Any, text: str, dialect: str, parameters: object = None) -> Checked:
        """Judge a text by every guard, in the order they came.

        Args:
            connection: the driver's object; what texts leave there is kept with it.
            text: as it will run.
            dialect: of the database.
            parameters: bound values.

        Raises:
            PolicyViolation: a read, write or export is denied and its mode is block.
        """
        if not self.guards or not text.strip() or _own(text):
            return Checked(text)
        return self.connection(connection).check(self.guards, text, dialect, parameters)


class Connection:
    """One connection to a database, as all guards see it."""

    __slots__ = ("_lock", "_sessions")

    def __init__(self) -> None:
        self._lock = RLock()
        self._sessions: WeakKeyDictionary[Guard, Session] = WeakKeyDictionary()

    def check(
        self, guards: Iterable[Guard], text: str, dialect: str, parameters: object = None
    ) -> Checked:
        """As `Driver.check`."""
        rows: list[Rows] = []
        parts: list[Part] = []
        with self._lock:
            for guard in guards:
                session = self._sessions.get(guard)
                if session is None:
                    session = self._sessions[guard] = guard.sql_session()
                # Each guard is handed what the one before it lets out.
                check = guard.sql(text, dialect=dialect, parameters=parameters, session=session)
                parts.append(Part(guard, session, dialect, text, check))
                text = check.text
                if check.labelled:
                    rows.append(Rows(guard, check))
        return Checked(text, tuple(rows), tuple(parts))


def batch(checked: Checked, values: Iterable[Any]) -> Iterator[Any]:
    """Values that come one by one after the text was judged, each judged before it is handed on."""
    sends = checked.sends
    for value in values:
        if sends:
            checked.also(value)
        yield value


def columns_of(found: Any) -> list[Any] | None:
    """The columns of a frame, an Arrow table or arrays by name; None if it is none of these."""
    if hasattr(found, "column_names") and hasattr(found, "column"):
        return [found.column(place).to_pylist() for place in range(len(found.column_names))]
    if hasattr(found, "columns") and hasattr(found, "iloc"):
        return [found.iloc[:, place].tolist() for place in range(len(found.columns))]
    if hasattr(found, "get_columns"):
        return [column.to_list() for column in found.get_columns()]
    if isinstance(found, dict) and found and all(hasattr(v, "tolist") for v in found.values()):
        return [column.tolist() for column in found.values()]
    return None


def held(guard: Guard, name: str, column: str) -> tuple[Label, ...]:
    """What a data map says of a column that a database tells is read."""
    data_map = guard.data_map
    found = data_map.column(name, column) if data_map is not None else None
    return found.labels if found is not None else ()


def judge_hidden(guard: Guard, now: Checked | None, labels: Iterable[Label]) -> bool:
    """Judge labels of columns that are read and that the text didn't show.

    Args:
        guard: who judges.
        now: the text that runs, None if it isn't known.
        labels: of a column that the database tells is read.

    Returns:
        Whether there are any.

    Raises:
        PolicyViolation: the read is denied and its mode is block.
    """
    shown = now.shown(guard) if now is not None else frozenset()
    found: list[tuple[Label, str, Any]] = [
        (label, "", "strong") for label in labels if label.source not in shown
    ]
    if found:
        scope = current_scope()
        guard.judge(found, scope.reader if scope else SELF, at="sql")
    return bool(found)


def _own(text: str) -> bool:
    """Whether a store of policyguard asks: that is no flow of the program."""
    if not any(name in text for name in _OWN_TABLE):
        return False
    frame = sys._getframe(1)  # noqa: SLF001 - the documented way to look at one's callers
    for _ in range(_MOST_FRAMES):
        if str(frame.f_globals.get("__name__", "")).startswith(_OWN_MODULES):
            return True
        if frame.f_back is None:
            break
        frame = frame.f_back
    return False
