"""What is remembered is found again, in every dress; what is not remembered is not."""

from __future__ import annotations

import base64
import dataclasses
import hashlib
import html
import json
import threading
from array import array
from collections import OrderedDict
from datetime import UTC, date, datetime
from decimal import Decimal
from enum import Enum
from typing import TYPE_CHECKING, Any
from urllib.parse import quote
from uuid import UUID

import numpy as np
import pydantic
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from policyguard.labels.registry import Found, Registry
from policyguard.policy.flow import Label, close_form

if TYPE_CHECKING:
    from collections.abc import Callable

EMAIL = (Label("user.contact.email", source="users.email", evidence="column"),)
FACE = (Label("user.biometric.face_embedding", source="users.face_embedding"),)
ADDRESS = "Anna.Schmidt+news@example.com"
SMALL_ADDRESS = ADDRESS.lower()


def registry(value: object = ADDRESS, labels: tuple[Label, ...] = EMAIL) -> Registry:
    made = Registry(b"key")
    made.remember(value, labels)
    return made


def strengths(made: Registry, *values: object) -> list[str]:
    return [found.strength for found in made.search([("a", value) for value in values])]


def b64(text: str) -> str:
    return base64.b64encode(text.encode()).decode()


JPEG = b"\xff\xd8\xff\xe0 not text"
U = UUID(int=2**120 + 77)
NOW = datetime(2024, 1, 2, 3, 4, 5, 678901, UTC)

# fmt: off
DRESSES: dict[str, Callable[[str], str]] = {
    "as it is":                lambda text: text,
    "other case":              str.swapcase,
    "white space around":      lambda text: f" \t{text}\n",
    "zero-width inside":       lambda text: text[:3] + "\u200b" + text[3:],
    "full width":              lambda text: text.replace("@", "\uff20"),
    "percent":                 lambda text: quote(text, safe=""),
    "double percent":          lambda text: quote(quote(text, safe=""), safe=""),
    "all percent":             lambda text: "".join(f"%{ord(sign):02x}" for sign in text),
    "base64":                  b64,
    "url-safe base64":         lambda text: b64(text).translate({43: "-", 47: "_", 61: ""}),
    "base64 of base64":        lambda text: b64(b64(text)),
    "base64 in a sentence":    lambda text: f"Basic {b64(text)}",
    "base64 of JSON":          lambda text: b64(json.dumps({"e": text})),
    "base64 of UTF-16":        lambda text: base64.b64encode(text.encode("utf-16-le")).decode(),
    "base64 cut at the front": lambda text: b64(f"some bytes before {text} and after")[3:],
    "hexadecimal":             lambda text: text.encode().hex(),
    "upper hexadecimal":       lambda text: text.encode().hex().upper(),
    "spaced hexadecimal":      lambda text: text.encode().hex(":"),
    "JSON escapes":            lambda text: "".join(f"\\u{ord(sign):04x}" for sign in text),
    "entities":                lambda text: "".join(f"&#{ord(sign)};" for sign in text),
    "escaped mark-up":         lambda text: html.escape(f"<b>{text}</b>"),
    "in a sentence":           lambda text: f"please write to {text}, not to me",
    "glued to others":         lambda text: f"xyz{text}abc",
    "in a URL":                lambda text: f"https://shop.example/?e={quote(text)}&x=1",
    "in JSON text":            lambda text: json.dumps({"deep": [{"mail": text}]}),
}
# fmt: on


@pytest.mark.parametrize("dress", DRESSES.values(), ids=DRESSES)
def test_an_address_is_found_in_every_dress(dress: Callable[[str], str]) -> None:
    """An e-mail address is strong evidence under each encoding, also inside longer text."""
    assert registry().search([("body.note", dress(ADDRESS))]) == (
        Found(dataclasses.replace(EMAIL[0], evidence="fingerprint"), "body.note", "strong"),
    )


@pytest.mark.parametrize("dress", DRESSES.values(), ids=DRESSES)
def test_another_address_is_not_found(dress: Callable[[str], str]) -> None:
    """An address nobody remembered is not found under any encoding."""
    assert registry().search([("body.note", dress("berta.meier@other.example"))]) == ()


@pytest.mark.parametrize("algorithm", ["md5", "sha1", "sha256"])
@pytest.mark.parametrize(
    ("value", "hashed"),
    [
        (ADDRESS, ADDRESS),
        (ADDRESS, SMALL_ADDRESS),
        (f" {ADDRESS} ", SMALL_ADDRESS),
        ("anna.s.schmidt+ads@gmail.com", "annasschmidt@gmail.com"),
        ("+49 (170) 123-4567", "491701234567"),
        ("+49 (170) 123-4567", "+491701234567"),
        ("Anna Schmidt", "annaschmidt"),
        (date(1990, 5, 17), "19900517"),
        (123456789, "123456789"),
    ],
)
def test_hashes_that_ad_interfaces_ask_for(algorithm: str, value: object, hashed: str) -> None:
    """A hash of the value in an advertiser's spelling is found, pseudonymised."""
    raw = hashlib.new(algorithm, hashed.encode()).digest()
    expected = close_form(["pseudonymised"])
    made = registry(value)
    for leaf in (
        raw.hex(),
        raw.hex().upper(),
        base64.b64encode(raw).decode(),
        raw,
        f"x:{raw.hex()}",
    ):
        found = made.search([("em", leaf)])
        assert [label.form for label, *_ in found] == [expected]
    assert [
        found.label.form for found in made.search([("em", hashlib.md5(b"x").hexdigest())])
    ] == []


def test_hash_of_an_identifier_is_strong_and_of_an_age_weak() -> None:
    """Anybody can hash all ages; nobody hashes an address by accident."""
    assert strengths(registry(), hashlib.sha256(SMALL_ADDRESS.encode()).hexdigest()) == ["strong"]
    assert strengths(registry(33), hashlib.sha256(b"33").hexdigest()) == ["weak"]


# fmt: off
GRADES = {
    #                            remembered            leaf                          strength
    "a small number":           (42,                   42,                           ["weak"]),
    "a number as text":         (42,                   "42",                         ["weak"]),
    "a country code":           ("DE",                 "de",                         ["weak"]),
    "a country code in text":   ("DE",                 "the DE market",              []),
    "a first name":             ("Johannes",           "johannes",                   ["weak"]),
    "a name in text":           ("Johannes Schmidt",   "dear Johannes Schmidt, hi",  ["weak"]),
    "a word in a word":         ("Johannes",           "Johannesburg",               []),
    "a date":                   (date(1990, 5, 17),    "1990-05-17",                 ["weak"]),
    "a date, German":           (date(1990, 5, 17),    "17.05.1990",                 ["weak"]),
    "a long number":            (4917012345678,        4917012345678,                ["strong"]),
    "a card":                   ("4111111111111111",   "4111 1111 1111 1111",        ["strong"]),
    "a card number":            (4111111111111111,     "4111-1111-1111-1111",        ["strong"]),
    "an IBAN":                  ("DE89370400440532013000",
                                "DE89 3704 0044 0532 0130 00", ["strong"]),
    "a telephone number":       ("+49 170 1234567",    "+491701234567",              ["strong"]),
    "a social security number": ("078-05-1120",        "078051120",                  ["strong"]),
    "a random token":           ("tok_9f8A7b6C5d4E",   "tok_9f8A7b6C5d4E",           ["strong"]),
    "an amount":                (Decimal("1234.50"),   "1234.5",                     ["weak"]),
    "a float":                  (0.123456789012345,    0.123456789012345,            ["strong"]),
    "three as a float":         (3.0,                  3,                            ["weak"]),
    "a moment":                 (NOW,                  "2024-01-02T03:04:05.678901Z", ["strong"]),
    "a UUID":                   (U, "01000000-0000-0000-0000-00000000004D",         ["strong"]),
    "a UUID without dashes":    (U, "0100000000000000000000000000004d",             ["strong"]),
    "bytes":                    (JPEG,                 JPEG,                         ["strong"]),
    "bytes as base64":          (JPEG,  base64.b64encode(JPEG).decode(),             ["strong"]),
    "true":                     (True,                 True,                         []),
    "nothing":                  (None,                 None,                         []),
    "an empty text":            ("",                   "",                           []),
    "not a number":             (float("nan"),         float("nan"),                 []),
    "a giant number":           (10**5000,             "1",                          []),
}
# fmt: on


@pytest.mark.parametrize(("value", "leaf", "expected"), GRADES.values(), ids=GRADES)
def test_strength_follows_what_a_value_tells(
    value: object, leaf: object, expected: list[str]
) -> None:
    """An exact leaf of 40 bits is strong; less, or a part of a text, is weak."""
    assert strengths(registry(value), leaf) == expected


@dataclasses.dataclass
class Customer:
    email: str
    age: int = 33


class Model(pydantic.BaseModel):
    inner: list[dict[str, str]]


class Open(pydantic.BaseModel, extra="allow"):
    known: int = 1


@dataclasses.dataclass(slots=True)
class Slotted:
    email: str
    never_set: str = dataclasses.field(init=False)


class Loads:
    """Stands for a column that loads when it is read."""

    def __get__(self, instance: object, owner: type) -> str:
        raise AssertionError("application code was called")


@dataclasses.dataclass
class Row2:
    email: str
    later: str = dataclasses.field(init=False)


Row2.later = Loads()  # type: ignore[assignment]  # as an ORM does after the class is made


class Colour(Enum):
    MAIL = ADDRESS


class Row(list[Any]):
    def __iter__(self) -> Any:
        raise AssertionError("application code was called")


class Name(str):
    __slots__ = ()

    def __str__(self) -> str:
        raise AssertionError("application code was called")

    __repr__ = __format__ = __hash__ = __eq__ = __str__  # type: ignore[assignment]


class Hostile:
    def __getattribute__(self, name: str) -> Any:
        raise AssertionError("application code was called")


def test_containers_and_objects_are_walked() -> None:
    """A value is found whatever it was remembered in."""
    holders: list[object] = [
        [ADDRESS],
        (1, {"x": {"y": ADDRESS}}),
        {ADDRESS: 3},
        {1, ADDRESS},
        OrderedDict(a=ADDRESS),
        Customer(ADDRESS),
        Model(inner=[{"a": ADDRESS}]),
        Open.model_validate({"more": ADDRESS}),
        Slotted(ADDRESS),
        Row2(ADDRESS),
        Colour.MAIL,
        Row([ADDRESS]),
        Name(ADDRESS),
        ADDRESS.encode(),
        bytearray(ADDRESS.encode()),
    ]
    for holder in holders:
        assert strengths(registry(holder), ADDRESS) == ["strong"], type(holder)


def test_code_of_the_application_is_never_called() -> None:
    """Objects that can't be looked into make the answer false and nothing else."""
    assert Registry().remember([Hostile(), ADDRESS], EMAIL) is False
    assert Registry().remember([ADDRESS], EMAIL) is True
    assert strengths(registry(), Hostile(), Name(ADDRESS)) == ["strong"]


def test_cycles_and_depth_end() -> None:
    """A container that holds itself, or nests without end, is left at the cap."""
    cycle: list[object] = [ADDRESS]
    cycle.append(cycle)
    made = Registry()
    assert made.remember(cycle, EMAIL) is False
    assert strengths(made, ADDRESS) == ["strong"]


def test_labels_of_one_value_add_up() -> None:
    """A value remembered from two places carries both labels, and each place once."""
    made = registry()
    made.remember(SMALL_ADDRESS, FACE)
    made.remember(ADDRESS, EMAIL)
    data = sorted(found.label.data for found in made.search([("a", ADDRESS), ("a", ADDRESS)]))
    assert data == ["user.biometric.face_embedding", "user.contact.email"]
    assert len(made) == 1


def test_saturation_is_told() -> None:
    """Beyond the cap nothing is remembered, and the registry says so until it is cleared."""
    made = Registry(max_values=2, max_vectors=1)
    assert made.remember(["one one", "two two"], EMAIL)
    assert not made.saturated
    assert made.remember("three three", EMAIL) is False
    assert made.saturated
    made.clear()
    assert not made.saturated
    assert made.search([("a", "one one")]) == ()


def test_places_are_bounded_and_keys_masked() -> None:
    """A remembered value that stands as a key is not repeated in the path."""
    made = registry("johannes_schmidt_97")
    places = [
        found.where
        for found in made.search(
            [
                ("a.johannes_schmidt_97#key", "johannes_schmidt_97"),
                ("a.johannes_schmidt_97.mail", "johannes_schmidt_97"),
            ]
        )
    ]
    assert places == ["a.*#key", "a.*.mail"]
    many = [(f"a[{place}]", ADDRESS) for place in range(1000)]
    assert len(registry().search(many)) == 64


def test_nothing_shows_in_reprs() -> None:
    """Neither the registry nor what it finds shows a value."""
    made = registry([ADDRESS, [0.111222333 * (place % 7) for place in range(99)]])
    shown = repr(made) + repr(made.search([("a", ADDRESS)])) + repr(made._index.vectors._sizes)
    assert "schmidt" not in shown.lower()
    assert "0.111" not in shown


def test_values_are_not_kept() -> None:
    """No text of a remembered value is reachable from the registry."""
    made = registry()
    index = made._index
    kept = repr([getattr(index, name) for name in index.__slots__ if name != "vectors"])
    assert "schmidt" not in kept.lower()


def test_two_registries_digest_differently() -> None:
    """Digests of one scope say nothing about another."""
    first, second = Registry(), Registry()
    first.remember(ADDRESS, EMAIL)
    second.remember(ADDRESS, EMAIL)
    assert set(first._index.leaves).isdisjoint(second._index.leaves)


def test_remembering_and_searching_at_once() -> None:
    """Searches beside writers never fail and find whatever was remembered before they began."""
    made = registry()
    failures: list[BaseException] = []

    def write(start: int) -> None:
        for number in range(200):
            made.remember(f"person{start + number}@example.com", EMAIL)

    def read() -> None:
        try:
            for _ in range(100):
                assert strengths(made, ADDRESS) == ["strong"]
        except BaseException as failure:  # noqa: BLE001 -- reported by the main thread
            failures.append(failure)

    threads = [threading.Thread(target=write, args=(number * 1000,)) for number in range(2)]
    threads += [threading.Thread(target=read) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not failures
    assert len(made) == 401


LOCAL = st.from_regex(r"[a-z][a-z0-9]{2,10}([._-][a-z0-9]{1,8})?", fullmatch=True)
EMAILS = st.builds(lambda name, host: f"{name}@{host}.example", LOCAL, LOCAL)


CODINGS = (
    "percent",
    "base64",
    "url-safe base64",
    "hexadecimal",
    "upper hexadecimal",
    "JSON escapes",
    "entities",
    "in JSON text",
    "in a sentence",
)


@settings(max_examples=200, deadline=None)
@given(EMAILS, st.sampled_from(sorted(DRESSES)), st.sampled_from(CODINGS))
def test_any_address_in_any_two_dresses_is_found(email: str, inner: str, outer: str) -> None:
    """A second layer of encoding around the first hides no address."""
    if inner == "spaced hexadecimal" and outer.startswith("in"):
        return  # it is looked for as a whole leaf only
    assert "strong" in strengths(registry(email), DRESSES[outer](DRESSES[inner](email)))


@settings(max_examples=200, deadline=None)
@given(
    st.recursive(
        st.none() | st.booleans() | st.floats() | st.text(),
        lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    )
)
def test_a_payload_without_it_gives_nothing_strong(payload: object) -> None:
    """Random text and numbers are no evidence."""
    made = registry(["zq" + ADDRESS, "+49 170 1234567", "Anna Schmidt"])
    leaves = [("a", payload if isinstance(payload, str | float) else json.dumps(payload))]
    assert not [found for found in made.search(leaves) if found.strength == "strong"]


VECTORS = st.lists(st.floats(-1, 1, width=32), min_size=16, max_size=64, unique=True)


@settings(max_examples=150, deadline=None)
@given(VECTORS, st.data())
def test_any_vector_is_found_rounded_and_packed(vector: list[float], data: st.DataObject) -> None:
    """Six decimals, float32, base64 of float32, text and single leaves are all the same vector."""
    made = Registry()
    made.remember(vector, FACE)
    if not made._index.vectors.count:
        return  # too regular to tell one from another
    single = array("f", vector)
    copies: list[list[tuple[str, object]]] = [
        [("e", tuple(vector))],
        [("e", tuple(single))],
        [("e", single.tobytes())],
        [("e", b"x" + array("d", vector).tobytes() + b"yz")],
        [("e", base64.b64encode(single.tobytes()).decode())],
        [("e", json.dumps(vector))],
        [(f"e[{place}]", number) for place, number in enumerate(vector)],
        [(f"e[{place}].v", str(number)) for place, number in enumerate(vector)],
    ]
    leaves = data.draw(st.sampled_from(copies))
    assert "strong" in {found.strength for found in made.search(leaves)}


def gaussian(seed: int, size: int = 512) -> list[float]:
    import random  # noqa: PLC0415 -- only here

    source = random.Random(seed)
    return [source.gauss(0, 0.044) for _ in range(size)]


def test_vectors_are_told_apart() -> None:
    """A rounded, scaled, cut or embedded copy is found; 300 other vectors are not."""
    vector = gaussian(0)
    made = registry(vector, FACE)
    found: list[list[Any]] = [
        [round(number, 6) for number in vector],
        [round(number, 4) for number in vector],
        [number * 7.5 for number in vector],
        [round(number * 900) for number in vector],
        vector[:64],
        vector[3:],
        [*gaussian(1), *vector, *gaussian(2)],
    ]
    for copy in found:
        assert made.search([("e", tuple(copy))]), copy[:2]
    for seed in range(1, 300):
        assert not made.search([("e", tuple(gaussian(seed)))])
    noisy = [number + other * 0.5 for number, other in zip(vector, gaussian(5), strict=True)]
    assert not made.search([("e", tuple(noisy))])


def test_dull_vectors_are_no_evidence() -> None:
    """Zeros, constants and ranges are everywhere and belong to nobody."""
    made = Registry()
    for dull in ([0.0] * 64, [1.5] * 64, list(range(64)), [0.0] * 63 + [1.0], [float("nan")] * 16):
        made.remember(dull, FACE)
        assert made.search([("e", tuple(float(number) for number in dull))]) == ()


def test_numpy_arrays_and_rows() -> None:
    """An array is remembered by its rows, whatever its type and layout."""
    rows = np.array([gaussian(1), gaussian(2)], dtype="float32")
    for array_ in (
        rows,
        rows.astype("float64"),
        rows.astype("float16"),
        np.asfortranarray(rows),
    ):
        made = registry(array_, FACE)
        assert strengths(made, tuple(gaussian(2))) == ["strong"]
    assert strengths(registry(np.float64(0.123456789012)), 0.123456789012) == ["strong"]
    assert Registry().remember(np.array([object()], dtype=object), FACE) is False


def test_bytes_that_were_remembered_whole_are_known_whole() -> None:
    """A picture is known by all its bytes; a part of it, or more than it, isn't that picture."""
    registry = Registry()
    picture = bytes(range(256)) * 40
    registry.remember(picture, (Label("user.content.source_image"),))
    assert [label.data for label in registry.exactly(picture)] == ["user.content.source_image"]
    assert registry.exactly(picture[:-1]) == ()
    assert registry.exactly(picture + b"\0") == ()


def test_absurd_numbers_are_no_vector() -> None:
    """Bytes of anything else may read as numbers near the largest there is; nothing breaks."""
    registry = Registry()
    assert registry.remember([1.7e308, -1.7e308, 1.6e308, 1.5e308] * 8, FACE)
