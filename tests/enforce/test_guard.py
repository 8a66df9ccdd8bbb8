"""Asking the guard by hand: check, decide, remember; plugins in and out."""

from __future__ import annotations

import base64
import hashlib
import json
from array import array
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Annotated, Any
from urllib.parse import quote

import numpy as np
import pytest

from policyguard import Category, NoPurpose, PluginError, PolicyViolation, TermError
from policyguard.enforce.guard import Guard as Core
from policyguard.enforce.subjects import Subjects
from tests.enforce.kit import ACCOUNT, ADDRESS, ADS, EMAIL, FACE, LIKES, SECURITY, counts, guard

GUARD = guard()
VECTOR = [((number * 7919) % 1009) / 1009 - 0.5 for number in range(128)]
# fmt: off
DRESSES: dict[str, Callable[[str], object]] = {
    "itself":          lambda text: text,
    "in a dict":       lambda text: {"user": {"mail": text}},
    "as a key":        lambda text: {text: 1},
    "in a list":       lambda text: [1, [2, [text]]],
    "in a tuple":      lambda text: (text,),
    "JSON text":       lambda text: json.dumps({"user": {"mail": text}}),
    "JSON in JSON":    lambda text: json.dumps({"inner": json.dumps([text])}),
    "bytes":           str.encode,
    "bytes of JSON":   lambda text: [json.dumps({"user": {"mail": text}}).encode()],
    "base64":          lambda text: base64.b64encode(text.encode()).decode(),
    "percent":         lambda text: quote(text, safe=""),
    "hex":             lambda text: text.encode().hex(),
    "upper case":      str.upper,
}
VECTORS: dict[str, Callable[[list[float]], object]] = {
    "list":            lambda vector: vector,
    "tuple in a dict": lambda vector: {"event": {"features": tuple(vector)}},
    "numpy":           np.array,
    "numpy float32":   lambda vector: np.array(vector, dtype="float32"),
    "array":           lambda vector: array("d", vector),
    "JSON":            lambda vector: json.dumps({"f": vector}),
    "rounded":         lambda vector: [round(number, 4) for number in vector],
}
# fmt: on


@pytest.mark.parametrize("dress", DRESSES.values(), ids=DRESSES)
def test_a_source_is_found_at_the_sink_in_every_dress(dress: Callable[[str], object]) -> None:
    """What one function gave is found in what another one sends, however it is wrapped."""

    @GUARD.source(EMAIL)
    def address() -> str:
        return ADDRESS

    @GUARD.sink("pixel")
    def track(event: object) -> None:
        raise AssertionError

    with GUARD.purpose(ADS):
        address()
        with pytest.raises(PolicyViolation) as caught:
            track(dress(ADDRESS))
    assert caught.value.decision.flow.data == EMAIL
    assert caught.value.decision.flow.form == frozenset()


@pytest.mark.parametrize("dress", VECTORS.values(), ids=VECTORS)
def test_an_embedding_is_found_in_every_container(
    dress: Callable[[list[float]], object],
) -> None:
    """A vector is found as an array whatever holds it."""
    with GUARD.purpose(ADS):
        GUARD.remember(np.array(VECTOR), GUARD.label(FACE))
        with pytest.raises(PolicyViolation) as caught:
            GUARD.check(dress(VECTOR), to="pixel")
    assert caught.value.decision.flow.data == FACE


@pytest.mark.parametrize("how", ["sha256", "sha1", "md5"])
def test_a_hashed_address_is_pseudonymised(how: str) -> None:
    """Where a permit asks for a hash, the hash passes and the address doesn't."""
    hashed = hashlib.new(how, ADDRESS.encode()).hexdigest()
    with GUARD.purpose(ADS):
        GUARD.remember(ADDRESS, GUARD.label(EMAIL))
        decision = GUARD.check({"em": hashed}, to="pixel")
        assert (decision.verdict, decision.flow.form) == ("allow", frozenset({"pseudonymised"}))
        with pytest.raises(PolicyViolation):
            GUARD.check({"em": hashed, "raw": ADDRESS}, to="pixel")
        with pytest.raises(PolicyViolation):
            GUARD.check({"em": hashed}, to="counter")


def test_a_value_without_a_label_is_denied_by_check() -> None:
    """`check` is asked about data: what nobody labelled is denied as unlabelled."""
    with GUARD.purpose(ACCOUNT), pytest.raises(PolicyViolation) as caught:
        GUARD.check("who knows", to="mailer")
    assert caught.value.decision.reason == "unlabelled"


def test_check_says_the_worst_of_all_labels() -> None:
    """Several labels are several flows."""
    with GUARD.purpose(SECURITY), pytest.raises(PolicyViolation) as caught:
        GUARD.check("x", to="self", data=[FACE, EMAIL])
    assert caught.value.decision.flow.data == EMAIL


def test_check_reads_annotated_fields() -> None:
    """A dataclass that says what its fields are needs no other label."""

    @dataclass
    class Person:
        mail: Annotated[str, Category(EMAIL)]

    with GUARD.purpose(ACCOUNT):
        assert GUARD.check(Person("x"), to="mailer").allowed
        with pytest.raises(PolicyViolation):
            GUARD.check([Person("x")], to="pixel")


def test_check_and_decide_take_the_purpose_of_the_scope_or_their_own() -> None:
    """A purpose in the call comes before the scope's; without any there is none."""
    with pytest.raises(NoPurpose):
        GUARD.check("x", to="mailer", data=EMAIL)
    assert GUARD.check("x", to="mailer", data=EMAIL, purpose=ACCOUNT).allowed
    with GUARD.purpose(ACCOUNT):
        assert GUARD.decide(data=EMAIL, to="mailer").allowed
        assert not GUARD.decide(data=EMAIL, to="mailer", purpose=ADS).allowed


def test_check_of_an_unknown_category_is_an_error() -> None:
    """A word the policy doesn't know is a mistake of the code, not a denial."""
    with pytest.raises(TermError):
        GUARD.check("x", to="mailer", data="user.contact.emial")


# fmt: off
QUESTIONS: list[tuple[dict[str, Any], str]] = [
    ({"data": "no.such"},                      "unknown_term"),
    ({"purpose": "no.such"},                   "unknown_term"),
    ({"to": "no-such"},                        "unknown_recipient"),
    ({"form": "no-such"},                      "unknown_term"),
    ({"form": ["raw", "encrypted"]},           "unknown_term"),
    ({"data": ""},                             "unlabelled"),
    ({"data": "\ud800"},                       "unknown_term"),
    ({"facts": {"consent": 7, "age": "old"}},  "permitted"),
]
# fmt: on


@pytest.mark.parametrize(("asked", "reason"), QUESTIONS)
def test_decide_never_raises(asked: dict[str, Any], reason: str) -> None:
    """Whatever text comes in, the answer is a decision, and nothing is counted or reported."""
    made = guard()
    given = {"data": EMAIL, "to": "mailer", "purpose": ACCOUNT, **asked}
    decision = made.decide(**given)
    assert decision.reason == reason
    assert counts(made) == {}
    with pytest.raises(TypeError):
        bool(decision)


def test_a_surrogate_in_a_purpose_is_denied_without_a_crash() -> None:
    """Text that no encoding takes is still an unknown term."""
    with pytest.raises(PolicyViolation):
        GUARD.check("x", to="mailer", data=EMAIL, purpose="\ud800")


class Opaque:
    """An object that nobody can look into."""


def test_a_labelled_value_that_cannot_be_searched_for_denies_what_leaves() -> None:
    """A source that gives an opaque object leaves a doubt, and a doubt is a denial."""

    @GUARD.source(FACE)
    def embed() -> Opaque:
        return Opaque()

    @GUARD.sink("pixel")
    def track(event: object) -> None:
        raise AssertionError

    with GUARD.purpose(ADS):
        embed()
        with pytest.raises(PolicyViolation) as caught:
            track({"x": 1})
    assert caught.value.decision.reason == "cannot_tell"


def test_data_nested_past_every_cap_denies() -> None:
    """A payload that can't be read to its end may hold anything that was seen."""
    deep: object = ADDRESS
    for _ in range(10_000):
        deep = [deep]
    with GUARD.purpose(ADS):
        GUARD.remember(ADDRESS, GUARD.label(EMAIL))
        with pytest.raises(PolicyViolation) as caught:
            GUARD.check(deep, to="pixel")
    assert caught.value.decision.reason in {"cannot_tell", "unlabelled"}


def test_an_object_that_is_no_data_is_shown_not_stopped() -> None:
    """A client among a sink's arguments is flagged; the labelled value beside it is stopped."""

    @GUARD.sink("pixel")
    def track(client: object, event: object) -> int:
        return 1

    made = guard()
    with GUARD.purpose(ADS):
        GUARD.remember(ADDRESS, GUARD.label(EMAIL))
        before = counts(GUARD)
        assert track(Opaque(), {"x": 1}) == 1
        changed = {key: n - before.get(key, 0) for key, n in counts(GUARD).items()}
        assert changed[("flagged", "pixel", "flag")] == 1
        with pytest.raises(PolicyViolation):
            track(Opaque(), ADDRESS)
    assert counts(made) == {}


class Hook:
    """A plugin that writes down what is done with it."""

    def __init__(self, name: str, log: list[str], *, fails: str = "", api: int = 1) -> None:
        self.name, self.api, self._log, self._fails = name, api, log, fails

    def install(self, made: Core) -> Callable[[], None]:
        """Hook nothing."""
        if self._fails == "install":
            raise AttributeError(ADDRESS)
        self._log.append(f"+{self.name}")

        def undo() -> None:
            self._log.append(f"-{self.name}")
            if self._fails == "undo":
                raise AttributeError(ADDRESS)

        return undo


def test_plugins_are_installed_once_and_undone_in_reverse() -> None:
    """A second install does nothing; uninstall goes backwards."""
    log: list[str] = []
    made = guard()
    made.install(Hook("a", log), Hook("b", log))
    made.install(Hook("a", log))
    made.uninstall()
    made.uninstall()
    assert log == ["+a", "+b", "-b", "-a"]


def test_a_plugin_that_cannot_be_installed_takes_back_only_this_call() -> None:
    """Half of the hooks would look like a guard: they go; what stood before stays."""
    log: list[str] = []
    made = guard()
    made.install(Hook("old", log))
    with pytest.raises(PluginError) as caught:
        made.install(Hook("old", log), Hook("a", log), Hook("bad", log, fails="install"))
    assert log == ["+old", "+a", "-a"]
    assert ADDRESS not in str(caught.value)
    assert "AttributeError" in str(caught.value)
    made.uninstall()
    assert log[-1] == "-old"


def test_a_plugin_that_cannot_be_undone_does_not_keep_the_others() -> None:
    """All others are undone, then the failure is told."""
    log: list[str] = []
    made = guard()
    made.install(Hook("a", log), Hook("bad", log, fails="undo"), Hook("c", log))
    with pytest.raises(PluginError):
        made.uninstall()
    assert log == ["+a", "+bad", "+c", "-c", "-bad", "-a"]


def test_a_plugin_of_another_interface_is_refused() -> None:
    """A plugin that speaks a version we don't know isn't installed."""
    log: list[str] = []
    with pytest.raises(PluginError):
        guard().install(Hook("new", log, api=2))
    assert log == []


def test_facts_that_cannot_be_used_are_told_once(caplog: pytest.LogCaptureFixture) -> None:
    """A wrong shape or name of a fact is said in the log, without what was given."""
    made = guard()
    for _ in range(3):
        with made.context(facts={"consent": True, "consnt": {ADS: True}, "region": "narnia"}):
            pass
    lines = [record.getMessage() for record in caplog.records if "PG204" in record.getMessage()]
    assert len(lines) == 3
    assert any("`consent` is a mapping" in line for line in lines)
    assert any("meant: `consent`?" in line for line in lines)
    assert "narnia" not in caplog.text


def test_a_decorator_without_parentheses_says_so() -> None:
    """The commonest slip has a message of its own."""
    with pytest.raises(TermError, match="parentheses"):
        guard().source(len)  # type: ignore[arg-type]  # the mistake


def test_a_bare_store_is_taken_for_what_is_known() -> None:
    """Nobody has to know about the wrapper."""
    made = guard()
    made.subjects = Yes()
    assert isinstance(made.subjects, Subjects)
    with made.context(subject="ann", purpose=ADS):
        assert made.decide(data=LIKES, to="pixel").allowed
    made.subjects = None
    with made.context(subject="ann", purpose=ADS):
        assert not made.decide(data=LIKES, to="pixel").allowed


class Yes:
    """Everybody agreed."""

    def facts(self, subject: object, /) -> Mapping[str, Any]:
        """Consent."""
        return {"consent": {ADS: True}}

    async def afacts(self, subject: object, /) -> Mapping[str, Any]:
        """Consent."""
        return self.facts(subject)


def test_a_category_may_stand_for_its_label() -> None:
    """And one that nobody declared is an error that names the nearest."""
    made = guard()
    with made.purpose(ADS):
        made.remember(ADDRESS, EMAIL)
        with pytest.raises(PolicyViolation):
            made.check(ADDRESS, to="pixel")
        with pytest.raises(TermError):
            made.remember(ADDRESS, "user.contact.emial")
