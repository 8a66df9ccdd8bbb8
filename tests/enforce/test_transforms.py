"""A reviewed claim about a function's result: the labels of what went in, in another form."""

from __future__ import annotations

import asyncio
import functools
import inspect
from collections.abc import AsyncIterator, Callable, Iterable, Iterator
from datetime import UTC, date, datetime
from typing import Annotated, Any

import pytest

from policyguard import Category, PolicyViolation, TermError
from policyguard.config import Guard
from policyguard.enforce.transforms import TransformDecorator
from policyguard.policy.flow import close_form
from tests.enforce.kit import ADDRESS, ADS, COUNTING, EMAIL, guard

BERT = "bert.mueller@mail.example.org"
CLAIM: dict[str, Any] = {"reviewed_by": "privacy@picnic.example", "expires": "9999-12-31"}
TOTALS = frozenset({"aggregated", "anonymised", "deidentified", "pseudonymised"})
Email = Annotated[str | None, Category(EMAIL)]
Name = Annotated[str, Category("user.name")]
NOON = datetime(2027, 6, 30, 12, tzinfo=UTC)
# Long enough to be found again for certain.
DIGEST = "3f9c2c0ab9a6d1e04b7f5f1d8a3e6c11"


def forms(asked: Guard, value: object, data: str = EMAIL) -> set[frozenset[str]]:
    """The forms in which a value is known to be such data."""
    return {label.form for label, _, _ in asked.labels_in(value) if label.data == data}


def publish(asked: Guard) -> Callable[[object], str]:
    """A sink that takes only what is aggregated and anonymised."""

    @asked.sink("public")
    def send(event: object) -> str:
        return "sent"

    return send


def addresses(asked: Guard) -> list[str]:
    """Two addresses that the guard knows to be some."""
    found = [ADDRESS, BERT]
    asked.remember(found, asked.label(EMAIL))
    return found


def test_the_result_passes_where_the_raw_input_is_stopped() -> None:
    """Which is what a transform is for."""
    asked = guard()
    send = publish(asked)

    @asked.transform("aggregated", "anonymised", **CLAIM)
    def daily(rows: list[str]) -> dict[str, str]:
        return {"day": DIGEST, "n": str(len(rows))}

    with asked.purpose(COUNTING):
        rows = addresses(asked)
        result = daily(rows)
        assert send(result) == "sent"
        for raw in (rows, {"result": result, "from": ADDRESS}):
            with pytest.raises(PolicyViolation):
                send(raw)
    with asked.purpose(ADS), pytest.raises(PolicyViolation) as caught:
        asked.check(result, to="public")
    assert "daily()" in str(caught.value)


def test_the_form_is_closed_under_what_it_implies() -> None:
    """Anonymised counts as deidentified and pseudonymised; what went in keeps its own form."""
    asked = guard()

    @asked.transform("anonymised", **CLAIM)
    def blurred(value: str) -> str:
        return DIGEST

    with asked.purpose(COUNTING):
        asked.remember(BERT, asked.label(EMAIL, "aggregated"))
        asked.remember(ADDRESS, asked.label(EMAIL))
        assert forms(asked, blurred(BERT)) == {TOTALS}
        blurred(ADDRESS)
        assert forms(asked, DIGEST) == {TOTALS, TOTALS - {"aggregated"}}


def test_a_result_that_holds_what_went_in_is_still_raw() -> None:
    """A claim is about the result; it takes no label off what was there before."""
    asked = guard()

    @asked.transform("aggregated", "anonymised", **CLAIM)
    def careless(rows: list[str]) -> list[str]:
        return rows

    with asked.purpose(COUNTING):
        result = careless(addresses(asked))
        assert frozenset() in forms(asked, result)
        with pytest.raises(PolicyViolation):
            publish(asked)(result)


def test_without_labels_going_in_none_come_out() -> None:
    """A claim about the form says nothing about the data."""
    asked = guard()

    @asked.transform("aggregated", **CLAIM)
    def size(rows: list[int]) -> str:
        return DIGEST

    with asked.purpose(COUNTING):
        addresses(asked)
        assert asked.labels_in(size([1, 2, 3])) == []


def test_annotations_say_what_goes_in() -> None:
    """By position, by name, in `*args` and `**kwargs`; an argument of None is nothing."""
    asked = guard()

    @asked.transform("pseudonymised", **CLAIM)
    def one(mail: Email = None, /, other: Email = None) -> str:
        return DIGEST

    @asked.transform("pseudonymised", **CLAIM)
    def many(first: str, *mails: Email, **names: Name) -> str:
        return DIGEST

    def known(make: Callable[[], str]) -> set[str]:
        with asked.context(subject=object()):
            return {label.data for label, _, _ in asked.labels_in(make())}

    assert known(lambda: one("x")) == {EMAIL}
    assert known(lambda: one(other="x")) == {EMAIL}
    assert known(one) == set()
    assert known(lambda: many("a")) == set()
    assert known(lambda: many("a", "b")) == {EMAIL}
    assert known(lambda: many("a", None, "b")) == {EMAIL}
    assert known(lambda: many("a", ann="b")) == {"user.name"}


def test_an_expired_claim_counts_as_absent(caplog: pytest.LogCaptureFixture) -> None:
    """The result is what went in; the log says so once, as an error."""
    asked = guard()

    @asked.transform("aggregated", "anonymised", reviewed_by="Ada", expires="2020-01-01")
    def daily(rows: list[str]) -> str:
        return DIGEST

    with asked.purpose(COUNTING):
        for _ in range(3):
            result = daily(addresses(asked))
        assert forms(asked, result) == {frozenset()}
        with pytest.raises(PolicyViolation):
            publish(asked)(result)
    (record,) = [one for one in caplog.records if "PG208" in one.getMessage()]
    assert record.levelname == "ERROR"
    assert "daily()" in record.getMessage()
    assert "Ada" in record.getMessage()


@pytest.mark.parametrize(("today", "claimed"), [(30, True), (31, False), (29, True)])
def test_the_last_day_counts(today: int, claimed: bool) -> None:
    """And the next one doesn't."""
    asked = guard()
    made = TransformDecorator(
        asked,
        close_form("pseudonymised"),
        "Ada",
        date(2027, 1, 30),
        today=lambda: date(2027, 1, today),
    )
    with asked.purpose(COUNTING):
        asked.remember(ADDRESS, asked.label(EMAIL))
        result = made(lambda value: DIGEST)(ADDRESS)
        assert forms(asked, result) == {frozenset({"pseudonymised"} if claimed else ())}


def test_a_clock_that_fails_means_expired() -> None:
    """Without a day nobody vouches, and the function still runs."""

    def broken() -> date:
        raise OSError

    asked = guard()
    made = TransformDecorator(asked, close_form("pseudonymised"), "Ada", date.max, today=broken)
    with asked.purpose(COUNTING):
        asked.remember(ADDRESS, asked.label(EMAIL))
        assert forms(asked, made(lambda value: DIGEST)(ADDRESS)) == {frozenset()}


# Every kind of function.


def test_async_functions_generators_and_async_generators() -> None:
    """Everything they return or yield is remembered in its new form."""
    asked = guard()
    claim = functools.partial(asked.transform, "aggregated", "anonymised", **CLAIM)

    @claim()
    async def later(rows: list[str]) -> str:
        await asyncio.sleep(0)
        return DIGEST

    @claim()
    def each(rows: list[str]) -> Iterator[str]:
        for i, _ in enumerate(rows):
            yield DIGEST[i:]

    @claim()
    async def each_later(rows: list[str]) -> AsyncIterator[str]:
        for i, _ in enumerate(rows):
            yield DIGEST[i + 5 :]

    async def all_of_it() -> list[str]:
        with asked.purpose(COUNTING):
            rows = addresses(asked)
            found = [await later(rows), *each(rows), *[one async for one in each_later(rows)]]
            assert [forms(asked, one) for one in found] == [{TOTALS}] * 5
            return found

    assert len(asyncio.run(all_of_it())) == 5
    assert inspect.iscoroutinefunction(later)
    assert inspect.isgeneratorfunction(each)
    assert inspect.isasyncgenfunction(each_later)


def test_methods_of_every_kind() -> None:
    """Plain, class and static methods; signature and name stay."""
    asked = guard()
    claim = functools.partial(asked.transform, "aggregated", "anonymised", **CLAIM)

    class Report:
        @claim()
        def plain(self, rows: list[str]) -> str:
            return DIGEST

        @claim()
        @classmethod
        def of_class(cls, rows: list[str]) -> str:
            return cls.__name__ + DIGEST

        @claim()
        @staticmethod
        def static(rows: list[str]) -> str:
            return DIGEST + "!"

    with asked.purpose(COUNTING):
        rows = addresses(asked)
        for result in (Report().plain(rows), Report.of_class(rows), Report.static(rows)):
            assert forms(asked, result) == {TOTALS}
    assert str(inspect.signature(Report.plain)) == "(self, rows: 'list[str]') -> 'str'"


def test_a_generator_that_goes_in_is_looked_at_while_it_is_used() -> None:
    """Its rows needn't be known before the function runs, and it stays a generator."""
    asked = guard()
    kinds: list[type] = []

    @asked.source(EMAIL)
    def rows() -> Iterator[str]:
        yield ADDRESS
        yield BERT

    @asked.transform("aggregated", "anonymised", **CLAIM)
    def total(found: Iterable[str]) -> str:
        kinds.append(type(found))
        return DIGEST + str(sum(1 for _ in found))

    @asked.transform("aggregated", "anonymised", **CLAIM)
    def running(found: Iterable[str]) -> Iterator[str]:
        for i, _ in enumerate(found):
            yield DIGEST[i:]

    with asked.purpose(COUNTING):
        result = total(rows())
        assert result.endswith("2")
        assert kinds[0].__name__ == "generator"
        assert forms(asked, result) == {TOTALS}
        assert [forms(asked, one) for one in running(rows())] == [{TOTALS}] * 2


@pytest.mark.parametrize("make", [iter, lambda rows: map(str, rows)])
def test_an_iterator_that_cannot_be_looked_into_makes_a_doubt(
    make: Callable[[list[str]], Any],
) -> None:
    """To look would use it up; so the result may be anything, and leaves to nobody outside."""
    asked = guard()

    @asked.transform("aggregated", "anonymised", **CLAIM)
    def total(found: Iterable[str]) -> str:
        return DIGEST + str(sum(1 for _ in found))

    with asked.purpose(COUNTING):
        result = total(make(addresses(asked)))
        assert result.endswith("2")
        with pytest.raises(PolicyViolation) as caught:
            publish(asked)(result)
    assert caught.value.decision.reason == "cannot_tell"


def test_what_the_bare_function_does_stays() -> None:
    """Exceptions, None, sending into a generator, and closing it."""
    asked = guard()
    claim = functools.partial(asked.transform, "aggregated", **CLAIM)
    told: list[object] = []

    @claim()
    def fails(value: str) -> str:
        raise LookupError(value)

    @claim()
    def nothing(value: str) -> None:
        told.append(value)

    @claim()
    def talks(value: str) -> Any:
        try:
            told.append((yield DIGEST))
        finally:
            told.append("closed")
        return "end"

    with asked.purpose(COUNTING):
        asked.remember(ADDRESS, asked.label(EMAIL))
        with pytest.raises(LookupError, match="anna"):
            fails(ADDRESS)
        assert nothing(ADDRESS) is None
        steps = talks(ADDRESS)
        assert next(steps) == DIGEST
        with pytest.raises(StopIteration) as caught:
            steps.send("hello")
        assert caught.value.value == "end"
    assert told == [ADDRESS, "hello", "closed"]


# What can't be meant.


# fmt: off
MISTAKES: dict[str, tuple[tuple[Any, ...], dict[str, Any], str]] = {
    "nobody reviewed it":  (("aggregated",), {"reviewed_by": ""},           "who reviewed"),
    "blanks":              (("aggregated",), {"reviewed_by": "  "},         "who reviewed"),
    "None":                (("aggregated",), {"reviewed_by": None},         "who reviewed"),
    "no day":              (("aggregated",), {"expires": "soon"},           "a day such as"),
    "no such day":         (("aggregated",), {"expires": "2027-02-30"},     "a day such as"),
    "an empty day":        (("aggregated",), {"expires": ""},               "a day such as"),
    "no day at all":       (("aggregated",), {"expires": None},             "a day such as"),
    "a number":            (("aggregated",), {"expires": 2027},             "a day such as"),
    "a time":              (("aggregated",), {"expires": NOON},            "a day such as"),
    "an unknown form":     (("agregated",),  {},                            "agregated"),
    "two, one unknown":    (("aggregated", "blurred"), {},                  "blurred"),
    "no form":             ((),              {},                            "names a form"),
    "raw":                 (("raw",),        {},                            "names a form"),
    "a list of forms":     ((["aggregated"],), {},                          "form"),
}
# fmt: on


@pytest.mark.parametrize(("form", "more", "says"), MISTAKES.values(), ids=MISTAKES)
def test_a_claim_that_cannot_be_meant_is_refused(
    form: tuple[Any, ...], more: dict[str, Any], says: str
) -> None:
    """When the module is imported, with what is wrong."""
    with pytest.raises(TermError, match=says):
        guard().transform(*form, **{**CLAIM, **more})


# Ways out.


def test_a_form_is_proposed_only_if_a_transform_gives_it() -> None:
    """A hint never sends anybody to a function that doesn't exist, or that nobody vouches for."""

    def proposed(asked: Guard) -> list[str]:
        with asked.purpose(COUNTING), pytest.raises(PolicyViolation) as caught:
            asked.check("x", to="public", data=EMAIL)
        return [change.what for change in caught.value.nearest if change.kind == "form"]

    bare, half, over, whole = guard(), guard(), guard(), guard()
    half.transform("aggregated", **CLAIM)
    over.transform("aggregated", "anonymised", reviewed_by="Ada", expires="2020-01-01")
    whole.transform("aggregated", "anonymised", **CLAIM)
    assert proposed(bare) == proposed(half) == proposed(over) == []
    assert proposed(whole) == ["aggregated and anonymised"]
