"""Rows that are older than their data may be kept.

Layer: enforce. A statement that returns a clock column of the data map tells the age of each row;
every retention with that clock is asked about it. Start reading at `Ages.seen`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, date, datetime, time, timedelta
from typing import TYPE_CHECKING, Any, Final

from policyguard.enforce.context import current_scope
from policyguard.enforce.judge import Judge
from policyguard.policy.flow import Label
from policyguard.policy.terms import SELF

if TYPE_CHECKING:
    from policyguard.enforce.plans import Clock

# Numbers are seconds since 1970, or milliseconds where seconds would lie far in the future.
_MILLISECONDS: Final = 100_000_000_000


def _now() -> datetime:
    return datetime.now(UTC)


class Ages:
    """The ages of one statement's rows.

    Args:
        guard: whose policy counts.
        clocks: output columns that tell an age.
        names: of the output columns, for rows that are mappings.
        now: the clock, with a time zone.

    Cost: some 2 us a row and clock; a decision for each label and day that is new.
    """

    __slots__ = ("_clocks", "_fine", "_guard", "_names", "_now", "_under")

    def __init__(
        self,
        guard: Judge,
        clocks: Sequence[Clock],
        names: Sequence[str],
        *,
        now: Callable[[], datetime] = _now,
    ) -> None:
        self._guard, self._clocks, self._names, self._now = guard, clocks, names, now
        self._fine: set[tuple[int, str, int]] = set()
        self._under: tuple[object, ...] = ()

    def seen(self, row: Any) -> None:
        """Judge what is too old in a row.

        Raises:
            PolicyViolation: a retention has ended, and the mode is block.
        """
        scope = current_scope()
        under = (self._guard.in_force, scope, None if scope is None else scope.known())
        if under != self._under:
            # Another policy, another person, another answer of the store: look again.
            self._under, self._fine = under, set()
        for clock in self._clocks:
            days = self._days(row, clock.place)
            known = (clock.place, clock.event, days or 0)
            if days is None or days <= 0 or known in self._fine:
                continue
            old = [label for label in clock.labels if self._too_old(label, clock.event, days)]
            if not old:
                self._fine.add(known)
                continue
            found = [(label, "", "strong") for label in old]
            observed = {"data_age": timedelta(days=days)}
            reader = scope.reader if scope else SELF
            self._guard.judge(found, reader, at="sql", observed=observed)

    def _too_old(self, label: Label, event: str, days: int) -> bool:
        """Whether a retention with this clock has ended for data of this age."""
        now, scope = self._guard.in_force, current_scope()
        since = now.snapshot.context.since
        asked = self._guard.asked(
            scope.reader if scope else SELF, None, {"data_age": timedelta(days=days)}
        )
        decision, _ = self._guard.worst(now, label, asked)
        return any(since.get(rule) == event for rule in decision.rules) and not decision.allowed

    def _days(self, row: Any, place: int) -> int | None:
        """Full days since a row's clock began; None if it can't be told."""
        try:
            began = [found for value in self._values(row, place) if (found := _moment(value))]
            return (self._now() - min(began)).days if began else None
        except Exception:  # noqa: BLE001 - rows are a driver's, the clock the system's
            # Denies nothing by itself: an age that can't be told is unknown, which the language
            # says does not end a retention.
            return None

    def _values(self, row: Any, place: int) -> list[Any]:
        """The clock's value; of a row that is a mapping all that may be it: the oldest counts.

        Drivers spell names in their own case, and two columns of one name show once.
        """
        if not isinstance(row, Mapping):
            return [row[place]]
        name = self._names[place].casefold()
        once = sum(one.casefold() == name for one in self._names) == 1
        found = [value for key, value in row.items() if str(key).casefold() == name]
        if once and found:
            return found
        return [value for value in row.values() if isinstance(value, date | str)]


def _moment(value: object) -> datetime | None:
    """A point in time, in UTC where nothing else is said; None for what is none."""
    if isinstance(value, datetime):
        return value if value.tzinfo is not None else value.replace(tzinfo=UTC)
    if isinstance(value, date):
        return datetime.combine(value, time(), UTC)
    if isinstance(value, str):
        try:
            return _moment(datetime.fromisoformat(value.strip()))
        except ValueError:
            # Denies nothing: a text that is no day has no age.
            return None
    if isinstance(value, int | float) and not isinstance(value, bool):
        seconds = value / 1000 if abs(value) > _MILLISECONDS else value
        return datetime.fromtimestamp(seconds, UTC)
    return None
