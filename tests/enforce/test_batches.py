"""A batch: data of many people at once. A flow is allowed if it is for each of them."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Any
from uuid import NAMESPACE_URL, uuid5

import pytest

from policyguard import PolicyViolation
from policyguard.config import Guard
from policyguard.enforce.context import current_scope
from policyguard.enforce.subjects import Subjects
from tests.enforce.kit import ADS, EMAIL, LIKES, Memory, counts, guard
from tests.enforce.subjects_kit import Kept, KeptBatch

YES: Mapping[str, Any] = {"consent": {ADS: True}}
NO: Mapping[str, Any] = {"consent": {ADS: False}}
SLOW = 30.0


def knowing(store: Kept | None = None, *reporters: Memory) -> tuple[Guard, Kept]:
    """A guard with a store of people."""
    store = store or Kept(ann=YES, bea=YES, cid=NO)
    made = guard("block", *reporters)
    made.subjects = Subjects(store, limit=SLOW)
    return made, store


def verdict(asked: Guard, subjects: Any, **more: Any) -> str:
    """What the guard says about the likes of these people, on their way to the pixel."""
    with asked.context(subjects=subjects, purpose=ADS, **more):
        return asked.decide(data=LIKES, to="pixel").verdict


# fmt: off
BATCHES: dict[str, tuple[list[str], str]] = {
    "everybody agreed":              (["ann", "bea"],                "allow"),
    "one refused":                   (["ann", "cid", "bea"],         "deny"),
    "one is unknown":                (["ann", "dan", "bea"],         "conditional"),
    "one refused, one is unknown":   (["dan", "ann", "cid"],         "deny"),
    "one alone":                     (["ann"],                       "allow"),
    "the same one many times":       (["ann"] * 50,                  "allow"),
    "duplicates of one who refused": (["ann", "cid", "ann", "cid"],  "deny"),
    "nobody":                        ([],                            "conditional"),
}
# fmt: on


@pytest.mark.parametrize(("subjects", "expected"), BATCHES.values(), ids=BATCHES)
@pytest.mark.parametrize("kind", [Kept, KeptBatch])
def test_a_flow_must_be_allowed_for_each(
    kind: type[Kept], subjects: list[str], expected: str
) -> None:
    """The worst verdict counts, whatever the order."""
    asked, _ = knowing(kind(ann=YES, bea=YES, cid=NO))
    assert verdict(asked, subjects) == expected
    assert verdict(asked, subjects[::-1]) == expected


def test_any_collection_of_subjects_will_do() -> None:
    """A generator, a set, a dict's keys; each is read once."""
    asked, _ = knowing()
    assert verdict(asked, (name for name in ["ann", "cid"])) == "deny"
    assert verdict(asked, {"ann", "bea"}) == "allow"
    assert verdict(asked, {"ann": 1, "dan": 2}.keys()) == "conditional"


def test_each_is_asked_about_once() -> None:
    """Duplicates ask nothing twice, and neither do many flows."""
    asked, store = knowing()
    with asked.context(subjects=["ann", "bea", "ann"], purpose=ADS):
        for _ in range(10):
            assert asked.check("x", to="pixel", data=LIKES).allowed
    assert store.asked == ["ann", "bea"]


def test_what_the_code_says_counts_for_all() -> None:
    """Facts that are given come before what the store knows, of everybody."""
    asked, _ = knowing()
    assert verdict(asked, ["ann", "dan"], facts=YES) == "allow"
    assert verdict(asked, ["ann", "bea"], facts=NO) == "deny"
    with asked.context(subjects=["ann", "dan"], purpose=ADS):
        with asked.context(facts=YES):
            assert asked.decide(data=LIKES, to="pixel").allowed
        assert not asked.decide(data=LIKES, to="pixel").allowed


def test_without_a_store_a_batch_is_a_doubt_once_and_not_for_each_row() -> None:
    """A thousand rows in one call are one flow, one report, one count."""
    memory = Memory()
    asked = guard("flag", memory)
    rows = [{"id": i, "likes": f"likes {uuid5(NAMESPACE_URL, str(i))}"} for i in range(1000)]

    @asked.sink("pixel")
    def send(event: object) -> int:
        return 1000

    with asked.context(subjects=range(1000), purpose=ADS):
        for row in rows:
            asked.remember(row["likes"], asked.label(LIKES))
        assert send(rows) == 1000
    assert [record.decision.verdict for record in memory.records] == ["conditional"]
    assert counts(asked) == {("flagged", "pixel", "flag"): 1}


def test_with_a_store_too_a_call_is_one_report() -> None:
    """However many of the batch are against it."""
    memory = Memory()
    asked, _ = knowing(Kept(**{f"p{i}": NO for i in range(200)}), memory)
    everybody = asked.context(subjects=[f"p{i}" for i in range(200)], purpose=ADS)
    with everybody, pytest.raises(PolicyViolation) as caught:
        asked.check(["x"] * 1000, to="pixel", data=LIKES)
    assert caught.value.also == ()
    assert len(memory.records) == 1


def test_a_message_names_nobody() -> None:
    """Who refused stays between them and the store."""
    asked, _ = knowing(Kept(ann=YES, **{"cid.canary@mail.example": NO}))
    with asked.context(subjects=["ann", "cid.canary@mail.example"], purpose=ADS):
        with pytest.raises(PolicyViolation) as caught:
            asked.check("x", to="pixel", data=LIKES)
        assert "canary" not in f"{caught.value}{caught.value!r}{current_scope()!r}"


def test_a_batch_inside_a_request_starts_without_the_facts_of_who_asks() -> None:
    """What is known about an administrator says nothing about the people of a report."""
    asked, _ = knowing()
    with asked.request("GET", "/", subject="ann", facts=YES), asked.purpose(ADS):
        assert asked.decide(data=LIKES, to="pixel").allowed
        assert verdict(asked, ["dan"]) == "conditional"
        assert verdict(asked, ["ann", "cid"]) == "deny"
        assert verdict(asked, []) == "conditional"
        assert asked.decide(data=LIKES, to="pixel").allowed


def test_one_of_a_batch_is_somebody_else_than_the_batch() -> None:
    """Row by row inside a batch: each person for themselves, and the batch is back afterwards."""
    asked, _ = knowing()
    with asked.context(subjects=["ann", "cid"], purpose=ADS):
        found = {}
        for name in ("ann", "cid", "dan"):
            with asked.context(subject=name):
                found[name] = asked.decide(data=LIKES, to="pixel").verdict
        assert found == {"ann": "allow", "cid": "deny", "dan": "conditional"}
        assert asked.decide(data=LIKES, to="pixel").verdict == "deny"


def test_with_await_the_whole_batch_is_fetched_first() -> None:
    """And on an event loop without it, nothing is known: no look-up may hold up the loop."""
    asked, store = knowing()

    async def both() -> tuple[str, str]:
        async with asked.context(subjects=["ann", "bea"], purpose=ADS):
            known = asked.decide(data=LIKES, to="pixel").verdict
        with asked.context(subjects=["ann", "fay"], purpose=ADS):
            return known, asked.decide(data=LIKES, to="pixel").verdict

    assert asyncio.run(both()) == ("allow", "conditional")
    assert store.asked[:2] == ["ann", "bea"]


def test_data_without_a_condition_need_no_subjects() -> None:
    """What is permitted for everybody is permitted for a batch of anybody."""
    asked, _ = knowing()
    with asked.context(subjects=["dan", "cid"], purpose="essential.service.account"):
        assert asked.check("x", to="mailer", data=EMAIL).allowed


def test_what_cannot_be_meant_is_refused() -> None:
    """One text would be a batch of letters; a subject and subjects are two answers."""
    asked, _ = knowing()
    with pytest.raises(TypeError, match="not one text"):
        asked.context(subjects="ann")
    for subject in ("ann", None):
        with pytest.raises(TypeError, match="not both"):
            asked.context(subject=subject, subjects=["ann"])
