"""ISO 8601 durations as spans of seconds: a month has no length until it has a start.

Layer: policy. Imports nothing of policyguard. Start reading at `parse_duration`.
"""

from __future__ import annotations

import re
from functools import lru_cache
from itertools import accumulate
from typing import Final

Span = tuple[int, int]
"""The fewest and the most seconds that a duration can last."""

MOST_YEARS: Final = 9_999
_LONGEST_TEXT: Final = 64  # seven parts of six digits fit; keeps the cache small
_MONTHS_OF_CYCLE: Final = 4_800  # the Gregorian calendar repeats after 400 years
_DAYS_OF_CYCLE: Final = 146_097
_DAY: Final = 86_400
_UNITS: Final = ("year", "month", "week", "day", "hour", "minute", "second")
_SECONDS: Final = (7 * _DAY, _DAY, 3_600, 60, 1)  # week, day, hour, minute, second
_DURATION: Final = re.compile(
    r"P(?:([0-9]+)Y)?(?:([0-9]+)M)?(?:([0-9]+)W)?(?:([0-9]+)D)?"
    r"(T(?:([0-9]+)H)?(?:([0-9]+)M)?(?:([0-9]+)S)?)?"
)
_FRACTION: Final = re.compile(r"[0-9][.,][0-9]")

_Parts = tuple[int | None, ...]


def parse_duration(text: str) -> Span:
    """The fewest and the most seconds that an ISO 8601 duration can last.

    Years and months count from every day of the calendar, so `P1M` is 28 to 31 days and `P6M` 181
    to 184; an end that its month doesn't have is moved to the month's last day. Days have 86,400
    seconds. Weeks may stand beside other parts, as ISO 8601-2 lets them: their length is in no
    doubt, and a refused age of data would keep a retention from applying.

    Args:
        text: `PnYnMnWnDTnHnMnS`, upper case, whole numbers, at least one part.

    Returns:
        `(fewest, most)`, equal unless the duration names years or months.

    Raises:
        ValueError: malformed, empty, negative, fractional or longer than 9,999 years. The message
            never repeats the text.

    Cost: a cached look-up. A new text costs a regular expression, plus once for each count of
        months a pass over the 4,800 month starts of the calendar's cycle (under a millisecond).
    """
    if len(text) > _LONGEST_TEXT:
        raise ValueError("a duration has at most 64 characters")
    return _span(text)


def looks_like_minutes(text: str) -> bool:
    """True for `PT6M` and its like: minutes and nothing else, where months may be meant."""
    try:
        parts = _parts(text)
    except ValueError:
        # Denies nothing: what isn't a duration is reported as that, not as a doubtful one.
        return False
    return parts[5] is not None and sum(part is not None for part in parts) == 1


def describe_duration(text: str) -> str:
    """A duration in words: `6 months`, `45 days`, `1 year and 6 months`.

    Raises:
        ValueError: as `parse_duration`.
    """
    parse_duration(text)
    parts = _parts(text)
    named = [
        f"{count:,} {unit}{'' if count == 1 else 's'}"
        for count, unit in zip(parts, _UNITS, strict=True)
        if count
    ]
    if not named:
        first = next(at for at, part in enumerate(parts) if part is not None)
        return f"0 {_UNITS[first]}s"
    *most, last = named
    return f"{', '.join(most)} and {last}" if most else last


@lru_cache(maxsize=1_024)
def _span(text: str) -> Span:
    years, months, *exact = (part or 0 for part in _parts(text))
    fixed = sum(count * unit for count, unit in zip(exact, _SECONDS, strict=True))
    total = 12 * years + months
    if total > 12 * MOST_YEARS:
        raise ValueError("a duration lasts at most 9,999 years")
    fewest, most = (days * _DAY + fixed for days in _days_of(total))
    if most > _days_of(12 * MOST_YEARS)[1] * _DAY:
        raise ValueError("a duration lasts at most 9,999 years")
    return fewest, most


def _parts(text: str) -> _Parts:
    """Years, months, weeks, days, hours, minutes and seconds; None where the text has no such."""
    found = _DURATION.fullmatch(text) if len(text) <= _LONGEST_TEXT else None
    if found is None:
        if text.startswith("-") or "P-" in text:
            raise ValueError("a duration can't be negative")
        if _FRACTION.search(text):
            raise ValueError("a duration has whole numbers only")
        raise ValueError("not an ISO 8601 duration such as `P6M`, `P45D` or `PT72H`")
    *date, clock, hours, minutes, seconds = found.groups()
    texts = (*date, hours, minutes, seconds)
    if all(part is None for part in texts):
        raise ValueError("a duration needs at least one part, such as `P6M`")
    if clock == "T":
        raise ValueError("a duration ends in `T` without hours, minutes or seconds")
    return tuple(None if part is None else int(part) for part in texts)


def _days_of(months: int) -> Span:
    """The fewest and the most days of a number of months, from every start in the calendar."""
    cycles, rest = divmod(months, _MONTHS_OF_CYCLE)
    fewest, most = _days_within_cycle(rest)
    return cycles * _DAYS_OF_CYCLE + fewest, cycles * _DAYS_OF_CYCLE + most


@lru_cache(maxsize=_MONTHS_OF_CYCLE)
def _days_within_cycle(months: int) -> Span:
    # Only first days of months are tried. A start on day d of month A with an end in a shorter
    # month B loses at most len(A) - len(B) days, which ends at the sum that starts one month later:
    # every other start lies between two of these sums.
    starts = _month_starts()
    lengths = [starts[at + months] - starts[at] for at in range(_MONTHS_OF_CYCLE)]
    return min(lengths), max(lengths)


@lru_cache(maxsize=1)
def _month_starts() -> tuple[int, ...]:
    """Day number of the first day of every month of two cycles."""
    lengths = [_length(at // 12, at % 12) for at in range(2 * _MONTHS_OF_CYCLE)]
    return tuple(accumulate(lengths, initial=0))


def _length(year: int, month: int) -> int:
    """Days of a month; January is 0."""
    if month != 1:
        return (31, 0, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31)[month]
    return 29 if year % 4 == 0 and (year % 100 != 0 or year % 400 == 0) else 28
