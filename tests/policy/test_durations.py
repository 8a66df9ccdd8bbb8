"""Durations: what ISO 8601 text means in seconds, and what is refused."""

from __future__ import annotations

from calendar import monthrange
from datetime import date, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from policyguard.policy.durations import describe_duration, looks_like_minutes, parse_duration

DAY = 86_400


def days(text: str) -> tuple[float, float]:
    fewest, most = parse_duration(text)
    return fewest / DAY, most / DAY


def brute_force(months: int) -> tuple[int, int]:
    """Add months to every day of one 400-year cycle, the way a calendar does it."""
    day, seen = date(2000, 1, 1), set()
    while day < date(2400, 1, 1):
        index = day.year * 12 + day.month - 1 + months
        year, month = divmod(index, 12)
        last = monthrange(year, month + 1)[1]
        seen.add((date(year, month + 1, min(day.day, last)) - day).days)
        day += timedelta(days=1)
    return min(seen), max(seen)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("P1M", (28, 31)),
        ("P2M", (59, 62)),
        ("P6M", (181, 184)),
        ("P1Y", (365, 366)),
        ("P12M", (365, 366)),
        ("P4Y", (1460, 1461)),
        ("P400Y", (146_097, 146_097)),
        ("P9999Y", (3_652_059, 3_652_060)),
        ("P45D", (45, 45)),
        ("P2W", (14, 14)),
        ("P1W3D", (10, 10)),
        ("P0D", (0, 0)),
        ("PT72H", (3, 3)),
        ("P1M1D", (29, 32)),
        ("P1DT12H", (1.5, 1.5)),
    ],
)
def test_span_in_days(text: str, expected: tuple[float, float]) -> None:
    """A duration lasts between these two numbers of days, over all starts in the calendar."""
    assert days(text) == expected


def test_every_part_counts() -> None:
    """Hours, minutes and seconds add up exactly."""
    assert parse_duration("P1DT2H3M4S") == (93_784, 93_784)


@pytest.mark.slow
@pytest.mark.parametrize("months", [1, 6, 11, 13, 97])
def test_months_equal_brute_force(months: int) -> None:
    """Only first days of months are tried, and the answer is that of trying every day."""
    fewest, most = brute_force(months)
    assert parse_duration(f"P{months}M") == (fewest * DAY, most * DAY)


@given(st.integers(1, 12 * 9_999))
def test_months_stay_between_their_bounds(months: int) -> None:
    """No month is shorter than 28 or longer than 31 days, and 12 months are a year."""
    fewest, most = days(f"P{months}M")
    assert 28 * months <= fewest <= most <= 31 * months
    years, rest = divmod(months, 12)
    assert days(f"P{years}Y{rest}M") == (fewest, most)


@given(st.integers(0, 2_000), st.integers(0, 2_000))
def test_a_longer_duration_is_never_shorter(first: int, second: int) -> None:
    """Both bounds grow with the number of months."""
    less, more = sorted((first, second))
    assert days(f"P{less}M")[0] <= days(f"P{more}M")[0]
    assert days(f"P{less}M")[1] <= days(f"P{more}M")[1]


BAD = [
    ("", "not an ISO 8601"),
    ("P", "at least one part"),
    ("PT", "at least one part"),
    ("P1DT", "ends in `T`"),
    ("-P1D", "negative"),
    ("P-1D", "negative"),
    ("PT1.5H", "whole numbers"),
    ("P0,5Y", "whole numbers"),
    ("P6", "not an ISO 8601"),
    ("6M", "not an ISO 8601"),
    ("p6m", "not an ISO 8601"),
    ("P6M ", "not an ISO 8601"),
    ("P6M\n", "not an ISO 8601"),
    ("P1D1Y", "not an ISO 8601"),
    ("P1H", "not an ISO 8601"),
    ("P\u0661M", "not an ISO 8601"),
    ("P10000Y", "9,999 years"),
    ("P9999Y1D", "9,999 years"),
    ("P9999Y1M", "9,999 years"),
    ("P119988M1D", "9,999 years"),
    ("PT999999999999999S", "9,999 years"),
    ("P" + "9" * 5_000 + "D", "64 characters"),
]


@pytest.mark.parametrize(("text", "reason"), BAD)
def test_refused_with_a_reason(text: str, reason: str) -> None:
    """A text that is no usable duration is refused in our own words."""
    with pytest.raises(ValueError, match=reason):
        parse_duration(text)


@given(st.text(max_size=80))
def test_any_text_is_parsed_or_refused_without_being_repeated(text: str) -> None:
    """Nothing but a ValueError comes out, and it doesn't carry what was written."""
    try:
        fewest, most = parse_duration(f"{text}#secret")
    except ValueError as error:
        assert "#secret" not in str(error)  # noqa: PT017 - either outcome is right
        assert error.__context__ is None  # noqa: PT017 - no foreign text travels along
    else:
        assert fewest <= most


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("PT6M", True),
        ("PT90M", True),
        ("P6M", False),
        ("PT1H6M", False),
        ("P1DT6M", False),
        ("PT6M1S", False),
        ("PT72H", False),
        ("PT", False),
        ("six", False),
    ],
)
def test_minutes_that_may_be_months(text: str, *, expected: bool) -> None:
    """Only minutes without any other part are doubtful."""
    assert looks_like_minutes(text) is expected


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("P6M", "6 months"),
        ("P1Y", "1 year"),
        ("P45D", "45 days"),
        ("PT72H", "72 hours"),
        ("P2W", "2 weeks"),
        ("P1Y6M", "1 year and 6 months"),
        ("P1DT2H3M", "1 day, 2 hours and 3 minutes"),
        ("P0D", "0 days"),
        ("P0Y3M", "3 months"),
    ],
)
def test_words(text: str, words: str) -> None:
    """A duration reads as a person would say it."""
    assert describe_duration(text) == words


def test_words_refuse_what_is_no_duration() -> None:
    """A text that can't be parsed can't be described either."""
    with pytest.raises(ValueError, match="9,999 years"):
        describe_duration("P10000Y")
