"""The demo's outside world and its search, which the other tests rely on."""

from __future__ import annotations

import base64
import gzip
import hashlib
import json
import struct
from urllib.parse import quote

import pytest

from lumipic.evidence import holds_email, holds_vector
from lumipic.faces import likeness, read_face
from lumipic.outside import Letterbox, OutsideWorld
from lumipic.pictures import PictureError, draw_portrait, from_png, to_png

VECTOR = read_face(draw_portrait(seed=7, age=34)).embedding
EMAIL = "amelie.7@visitors.example"
HEAD = b"POST /v21.0/1/events HTTP/1.1\r\nHost: graph.facebook.com\r\n\r\n"


def test_a_request_arrives_under_its_real_host_byte_for_byte() -> None:
    """What the client built is what the recording server read off the wire."""
    with OutsideWorld() as world, Letterbox(world.port) as client:
        answer = client.post("https://graph.facebook.com/v21.0/1/events?a=1", json={"b": "ü"})
        client.post("https://api.mixpanel.com/track", content=(part for part in [b"x", b"yz"]))
    first, second = world.arrivals
    assert answer.url == "https://graph.facebook.com/v21.0/1/events?a=1"
    assert (first.host, first.target) == ("graph.facebook.com", "/v21.0/1/events?a=1")
    assert first.wire == client.letters[0].wire
    assert (second.host, second.body) == ("api.mixpanel.com", b"xyz")


def _packed(kind: str) -> bytes:
    return struct.pack(f"<{len(VECTOR)}{kind}", *VECTOR)


# fmt: off
HIDDEN_VECTORS = {
    "as JSON":                    json.dumps({"style": VECTOR}).encode(),
    "rounded to two decimals":    json.dumps([round(number, 2) for number in VECTOR]).encode(),
    "cut to a part":              json.dumps(VECTOR[40:50]).encode(),
    "as text with semicolons":    ";".join(map(str, VECTOR)).encode(),
    "in a query":                 quote(json.dumps(VECTOR)).encode(),
    "packed":                     _packed("f"),
    "packed and base64":          base64.b64encode(_packed("f")),
    "packed and URL-safe base64": b"v=" + base64.urlsafe_b64encode(_packed("d")),
    "packed small, hexadecimal":  _packed("e").hex().encode(),
    "compressed":                 gzip.compress(json.dumps(VECTOR).encode()),
}
HIDDEN_EMAILS = {
    "plain":               EMAIL.encode(),
    "in capitals":         EMAIL.upper().encode(),
    "in a query":          quote(EMAIL).encode(),
    "base64":              b'{"em": "' + base64.b64encode(EMAIL.encode()) + b'"}',
    "sha256":              hashlib.sha256(EMAIL.encode()).hexdigest().encode(),
    "sha256 in capitals":  hashlib.sha256(EMAIL.encode()).hexdigest().upper().encode(),
    "sha512 as base64":    base64.b64encode(hashlib.sha512(EMAIL.encode()).digest()),
    "compressed":          gzip.compress(EMAIL.encode()),
}
# fmt: on


@pytest.mark.parametrize("body", HIDDEN_VECTORS.values(), ids=HIDDEN_VECTORS)
def test_an_embedding_is_found_however_it_is_written(body: bytes) -> None:
    """The search that the demo rests on finds a vector in every usual writing."""
    assert holds_vector(HEAD + body, VECTOR)


@pytest.mark.parametrize("body", HIDDEN_EMAILS.values(), ids=HIDDEN_EMAILS)
def test_an_address_is_found_however_it_is_written(body: bytes) -> None:
    """The search that the demo rests on finds an address and its digests."""
    assert holds_email(HEAD + body, EMAIL)


def test_other_numbers_and_addresses_are_not_mistaken_for_it() -> None:
    """Somebody else's vector and address don't count."""
    other = read_face(draw_portrait(seed=8, age=34)).embedding
    body = HEAD + json.dumps({"style": other, "em": "bruno.8@visitors.example"}).encode()
    assert not holds_vector(body, VECTOR)
    assert not holds_email(body, EMAIL)


@pytest.mark.parametrize("years", [15, 20, 21, 34, 70])
def test_the_face_api_measures_the_age_on_the_picture(years: int) -> None:
    """The age comes out of the pixels, for any face."""
    ages = {read_face(draw_portrait(seed, years)).estimated_age for seed in range(12)}
    assert ages <= {years - 1, years, years + 1}


def test_one_face_gives_near_vectors_and_two_faces_do_not() -> None:
    """The vector is about the face, so it can recognise somebody."""
    older = read_face(draw_portrait(seed=7, age=36)).embedding
    other = read_face(draw_portrait(seed=8, age=34)).embedding
    assert likeness(VECTOR, VECTOR) == pytest.approx(1)
    assert likeness(VECTOR, older) == pytest.approx(1, abs=0.01)
    assert likeness(VECTOR, other) != pytest.approx(1, abs=0.1)


def test_a_picture_survives_its_file_and_a_broken_file_is_refused() -> None:
    """PNG in, PNG out; anything else is an error of its own kind."""
    picture = draw_portrait(seed=7, age=34)
    png = to_png(picture)
    assert (from_png(png) == picture).all()
    for broken in (b"", b"GIF89a", png[:40], png[:200], png[:40] + b"?" + png[41:]):
        with pytest.raises(PictureError):
            from_png(broken)
