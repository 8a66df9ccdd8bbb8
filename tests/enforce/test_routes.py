"""A request finds the purpose of its route, or none."""

from __future__ import annotations

import pytest

from policyguard.enforce.routes import Routes, parse_route

# fmt: off
ROUTES = Routes([
    parse_route(pattern, purpose) for pattern, purpose in {
        "/auth/*":                 "auth",
        "/auth/public":            "public",
        "POST /images":            "provide",
        "/images":                 "look",
        "/users/{id}/photo":       "photo",
        "/users/*/*":              "user",
        "GET /":                   "home",
        "websocket /live/{room}":  "chat",
        "/orders/{id}":            "order",
        "/orders/{id}/{part}":     "part",
    }.items()
])
REQUESTS: dict[tuple[str, str], str | None] = {
    ("GET",  "/auth/login"):         "auth",
    ("GET",  "/auth/a/b/c"):         "auth",
    ("GET",  "/auth"):               "auth",
    ("GET",  "/auth/public"):        "public",
    ("GET",  "/auth/public/"):       "public",
    ("GET",  "/authors"):            None,
    ("POST", "/images"):             "provide",
    ("post", "/images"):             "provide",
    ("GET",  "/images"):             "look",
    ("GET",  "/images/1"):           None,
    ("GET",  "/IMAGES"):             None,
    ("GET",  "/users/7/photo"):      "photo",
    ("GET",  "/users/7/name"):       "user",
    ("GET",  "/users/7"):            "user",
    ("GET",  "/"):                   "home",
    ("POST", "/"):                   None,
    ("WEBSOCKET", "/live/7"):        "chat",
    ("GET",  "/live/7"):             None,
    ("GET",  "/nothing"):            None,
    ("GET",  "/orders"):             None,
    ("GET",  "/orders/7"):           "order",
    ("GET",  "/orders/7/address"):   "part",
    ("GET",  "/orders/7/items/9"):   None,
    ("GET",  ""):                    "home",
}
# fmt: on


@pytest.mark.parametrize(("request_", "purpose"), REQUESTS.items(), ids=str)
def test_the_most_exact_route_counts(request_: tuple[str, str], purpose: str | None) -> None:
    """Fixed segments beat `*`, a method beats none, and what nobody names has no purpose."""
    assert ROUTES.purpose(*request_) == purpose


def test_order_has_no_meaning() -> None:
    """The same routes in any order answer the same."""
    turned = Routes(reversed(ROUTES.all))
    assert [turned.purpose(*asked) for asked in REQUESTS] == list(REQUESTS.values())


def test_a_route_shows_its_pattern_never_the_path() -> None:
    """What reports name holds no part of a request."""
    found = ROUTES.find("GET", "/users/anna@example.com/photo")
    assert found is not None
    assert found.name == "/users/{id}/photo"


@pytest.mark.parametrize(
    "text",
    ["auth", "", "FETCH /x", "GET", "/a*/b", "/a/**", "* /x", "GET x", "/a/{b}.txt", "/a/<int:b>"],
)
def test_what_is_no_route_is_an_error(text: str) -> None:
    """A typo stops the start; it doesn't match nothing in silence."""
    with pytest.raises(ValueError):  # noqa: PT011 - the configuration words it
        parse_route(text, "p")


def test_many_different_paths_keep_the_memory_bounded() -> None:
    """Looking up endless new paths forgets old ones and stays right."""
    for number in range(10_000):
        assert ROUTES.purpose("GET", f"/auth/{number}") == "auth"
    assert ROUTES._find.cache_info().currsize <= 4096


def test_a_head_runs_for_what_its_get_does() -> None:
    """Frameworks answer HEAD with the code of GET; a route of its own comes first."""
    routes = Routes([parse_route("GET /a", "get"), parse_route("HEAD /b", "head")])
    assert routes.purpose("HEAD", "/a") == "get"
    assert routes.purpose("HEAD", "/b") == "head"
    assert routes.purpose("GET", "/b") is None
    assert routes.purpose("POST", "/a") is None
