"""Hosts: one spelling per host, patterns that can't be dodged, and the table that finds them."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from policyguard.policy.hosts import (
    HostPattern,
    HostTable,
    canonical_host,
    parse_host_pattern,
    path_segments,
)

labels = st.from_regex(r"[a-z][a-z0-9-]{0,8}[a-z0-9]", fullmatch=True)
names = st.lists(labels, min_size=2, max_size=4).map(".".join)
segments = st.sampled_from(["tr", "track", "v1", "a"])
paths = st.lists(segments, max_size=3).map(lambda parts: "/" + "/".join(parts))
# Few names, so that patterns meet; below a private suffix, so that every wildcard is allowed.
near = st.sampled_from(["x.test", "a.x.test", "b.a.x.test", "ax.test", "test", "y.test"])
patterns = st.builds(
    HostPattern, near, st.booleans(), st.lists(segments, max_size=2).map(tuple)
)  # fmt: skip


@pytest.mark.parametrize(
    ("text", "host"),
    [
        ("Example.COM", "example.com"),
        ("example.com.", "example.com"),
        ("example.com:443", "example.com"),
        ("example.com:", "example.com"),
        ("me:secret@example.com:8443", "example.com"),
        ("facebook.com@evil.test", "evil.test"),
        ("B\u00fccher.example", "xn--bcher-kva.example"),
        ("XN--BCHER-KVA.example", "xn--bcher-kva.example"),
        ("\u4f8b\u3048\u3002jp", "xn--r8jz45g.jp"),
        ("\uff26acebook.com", "facebook.com"),
        ("my_service", "my_service"),
        ("localhost:8000", "localhost"),
        ("127.0.0.1:80", "127.0.0.1"),
        ("127.1", "127.0.0.1"),
        ("0x7f.0.0.1", "127.0.0.1"),
        ("2130706433", "127.0.0.1"),
        ("0177.0.0.1.", "127.0.0.1"),
        ("[::1]", "[::1]"),
        ("[2001:DB8:0::1]:443", "[2001:db8::1]"),
        ("::1", "[::1]"),
        ("[::ffff:10.0.0.1]", "10.0.0.1"),
    ],
)
def test_one_spelling(text: str, host: str) -> None:
    """Every spelling of a host that clients accept has one canonical form, which is stable."""
    assert canonical_host(text) == host
    assert canonical_host(host) == host


@pytest.mark.parametrize(
    "text",
    ["", ".", "a..com", "a.com..", "a b.com", "a.com\n", "a.com\x00", "a.com/x", "a\\b.com",
     "%66acebook.com", "a.com:http", "a.com:80:90", "[::1", "[::1]x", "[1.2.3.4]", "[fe80::1%eth0]",
     "1.2.3.256", "1.2.3.4.5", "09.1.1.1", "a.b.1", "x" * 64 + ".com",
     "a." * 130 + "com", "fa\u00df.example", "a\u200db.example", "a\u2100b.example",
     "a\u2024b.example", "a\uff0fb.example", "a*.com", "x" * 5_000, "\u00fc" * 300],
)  # fmt: skip
def test_no_host_can_be_told(text: str) -> None:
    """What clients could read in two ways, or not at all, is refused without being repeated."""
    with pytest.raises(ValueError, match=r"host|address|port") as caught:
        canonical_host(text)
    assert len(text) < 4 or text not in str(caught.value)


@given(st.text(max_size=60))
def test_any_text_becomes_a_stable_host_or_a_refusal(text: str) -> None:
    """A canonical host is its own canonical form, ASCII, and holds no separators."""
    try:
        host = canonical_host(text)
    except ValueError as error:
        assert error.__suppress_context__ or error.__context__ is None  # noqa: PT017 - either is right
    else:
        assert canonical_host(host) == host
        assert host.isascii()
        assert not set(host) & set("/@?#% \\")


@pytest.mark.parametrize(
    ("text", "pattern"),
    [
        ("graph.facebook.com", HostPattern("graph.facebook.com")),
        ("WWW.Facebook.com/tr", HostPattern("www.facebook.com", path=("tr",))),
        ("www.facebook.com/tr/", HostPattern("www.facebook.com", path=("tr",))),
        ("example.com/", HostPattern("example.com")),
        ("*.internal", HostPattern("internal", wildcard=True)),
        ("*.lan", HostPattern("lan", wildcard=True)),
        ("*.Example.COM./v1/x", HostPattern("example.com", wildcard=True, path=("v1", "x"))),
        ("*.B\u00fccher.example", HostPattern("xn--bcher-kva.example", wildcard=True)),
        ("localhost", HostPattern("localhost")),
        ("10.0.0.1", HostPattern("10.0.0.1")),
        ("[::1]/x", HostPattern("[::1]", path=("x",))),
        ("example.com/@scope:x", HostPattern("example.com", path=("@scope:x",))),
    ],
)
def test_patterns(text: str, pattern: HostPattern) -> None:
    """A pattern is a canonical host, a wildcard mark and path segments; it can be written back."""
    assert parse_host_pattern(text) == pattern
    assert parse_host_pattern(str(pattern)) == pattern


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("https://example.com", "not a URL"),
        ("//example.com", "not a URL"),
        ("me@example.com", "user name"),
        ("example.com/tr?id=1", "query"),
        ("example.com#top", "fragment"),
        ("example.com:443", "ports don't count"),
        ("[::1]:443", "ports don't count"),
        ("*", "everybody"),
        ("*.com", "top-level domain"),
        ("*.de", "top-level domain"),
        ("*.xn--p1ai", "top-level domain"),
        ("*.co.uk", "anybody can register"),
        ("*.com.au", "anybody can register"),
        ("*.CO.JP.", "anybody can register"),
        ("a.*.com", "only at the start"),
        ("a*.example.com", "only at the start"),
        ("*example.com", "only at the start"),
        ("*.*.example.com", "only at the start"),
        ("**.example.com", "only at the start"),
        (r".*\.facebook\.com", "regular expression"),
        ("^facebook.com$", "regular expression"),
        ("(www|m).facebook.com", "regular expression"),
        ("[a-z].facebook.com", "regular expression"),
        ("example.com/(tr|td)", "regular expression"),
        ("example.com/tr*", "plain text"),
        ("example.com/%74r", "plain text"),
        ("example.com//tr", "no empty"),
        ("example.com/../tr", "no empty"),
        ("example..com", "empty labels"),
        (".example.com", "empty labels"),
        ("*.", "missing"),
        ("/tr", "missing"),
        ("", "not empty"),
        ("exam ple.com", "spaces"),
        ("example.com\n", "control characters"),
        ("exam\u200bple.com", "control characters"),
        ("x" * 64 + ".com", "63 characters"),
        ("*.10.0.0.1", "not with an address"),
        ("*.[::1]", "regular expression"),
        ("10.0.0.0/8", "range"),
    ],
)
def test_patterns_refused_with_a_reason(text: str, reason: str) -> None:
    """A pattern that is too wide, or isn't one, is refused with the reason."""
    with pytest.raises(ValueError, match=reason):
        parse_host_pattern(text)


@pytest.mark.parametrize(
    ("pattern", "host", "path", "expected"),
    [
        ("www.facebook.com/tr", "www.facebook.com", "/tr", True),
        ("www.facebook.com/tr", "www.facebook.com", "/tr/", True),
        ("www.facebook.com/tr", "www.facebook.com", "/tr/x", True),
        ("www.facebook.com/tr", "www.facebook.com", "/tr?ev=1", True),
        ("www.facebook.com/tr", "www.facebook.com", "/tr#x", True),
        ("www.facebook.com/tr", "www.facebook.com", "/track", False),
        ("www.facebook.com/tr", "www.facebook.com", "/", False),
        ("www.facebook.com/tr", "www.facebook.com", "", False),
        ("www.facebook.com/tr", "www.facebook.com", "/x?/tr", False),
        ("www.facebook.com/tr", "facebook.com", "/tr", False),
        # The same place, written to look like another.
        ("www.facebook.com/tr", "www.facebook.com", "//tr", True),
        ("www.facebook.com/tr", "www.facebook.com", "/./tr", True),
        ("www.facebook.com/tr", "www.facebook.com", "/x/../tr", True),
        ("www.facebook.com/tr", "www.facebook.com", "/%74r", True),
        ("www.facebook.com/tr", "www.facebook.com", "/%2574r", True),
        ("www.facebook.com/tr", "www.facebook.com", "/x/%2e%2E/tr", True),
        ("www.facebook.com/tr", "www.facebook.com", "/x%2f..%2ftr", True),
        ("www.facebook.com/tr", "www.facebook.com", "\\tr", True),
        ("www.facebook.com/tr", "www.facebook.com", "/t\nr", True),
        ("www.facebook.com/tr", "www.facebook.com", "/tr;v=1", True),
        ("www.facebook.com/tr", "www.facebook.com", "/../../tr", True),
        # Another place, written to look like this one.
        ("www.facebook.com/tr", "www.facebook.com", "/tr/../x", False),
        ("www.facebook.com/tr", "www.facebook.com", "/tr/%2e%2e/x", False),
        ("www.facebook.com/tr", "www.facebook.com", "/tr/%252e%252e/x", False),
        ("www.facebook.com/tr", "www.facebook.com", "/tr%3Fx", False),
        ("*.example.com", "a.example.com", "/", True),
        ("*.example.com", "b.a.example.com", "/", True),
        ("*.example.com", "example.com", "/", False),
        ("*.example.com", ".example.com", "/", False),
        ("*.example.com", "badexample.com", "/", False),
        ("*.example.com/v1", "a.example.com", "/v2", False),
    ],
)
def test_matches(pattern: str, host: str, path: str, *, expected: bool) -> None:
    """A path prefix counts by whole segments, and spelling doesn't change where a path leads."""
    parsed = parse_host_pattern(pattern)
    assert parsed.matches(host, path) is expected
    assert HostTable([("it", [parsed])]).find(host, path) == (("it",) if expected else ())


@given(names, labels, st.booleans())
def test_a_sibling_domain_never_matches(name: str, label: str, wildcard: bool) -> None:
    """Neither `evil-facebook.com` nor `facebook.com.evil.test` is `facebook.com`."""
    pattern = HostPattern(name, wildcard)
    for host in (
        f"evil-{name}", f"{label}{name}", f"{name}.evil.test", f"{name}{label}",
        f"a.{label}{name}", f"a.{name}.evil.test", name.replace(".", "-") + ".test",
    ):  # fmt: skip
        assert not pattern.matches(canonical_host(host))
        assert HostTable([("it", [pattern])]).find(canonical_host(host)) == ()


@given(names, labels, paths)
def test_a_wildcard_stands_for_what_is_below(name: str, label: str, path: str) -> None:
    """`*.example.com` is every host below, on every path, and not the host itself."""
    pattern = HostPattern(name, wildcard=True)
    assert pattern.matches(f"{label}.{name}", path)
    assert not pattern.matches(name, path)


@given(st.text("/.%2eEfF\\;?#tr5c \t", max_size=30))
def test_a_path_is_read_one_way(path: str) -> None:
    """Reading a path that was already read changes nothing, and no dots or slashes are left."""
    read = path_segments(path)
    assert not {"", ".", ".."} & set(read)
    assert not any(sign in segment for segment in read for sign in "/\\;")
    if not any(sign in segment for segment in read for sign in "?#%\t"):
        assert path_segments("/" + "/".join(read)) == read


@given(patterns, patterns, near, labels, paths)
def test_overlap_is_symmetric_and_complete(
    first: HostPattern, second: HostPattern, base: str, label: str, path: str
) -> None:
    """Patterns that match one request overlap, seen from either side."""
    assert first.overlaps(second) is second.overlaps(first)
    assert first.overlaps(first)
    for host in (base, f"{label}.{base}"):
        if first.matches(host, path) and second.matches(host, path):
            assert first.overlaps(second)


@given(patterns, patterns)
def test_overlap_has_a_witness(first: HostPattern, second: HostPattern) -> None:
    """Patterns that overlap match one request; those that don't share none of the likely ones."""
    hosts = {("w." * pattern.wildcard) + pattern.host for pattern in (first, second)}
    paths_ = {"/" + "/".join(pattern.path) for pattern in (first, second)}
    both = any(
        first.matches(host, path) and second.matches(host, path)
        for host in hosts
        for path in paths_
    )
    assert first.overlaps(second) is both


@given(st.lists(st.tuples(st.sampled_from("abcd"), st.lists(patterns, max_size=3)), max_size=6),
       near, paths)  # fmt: skip
def test_the_table_finds_what_the_patterns_match(
    recipients: list[tuple[str, list[HostPattern]]], host: str, path: str
) -> None:
    """The look-up gives exactly the recipients that have a matching pattern, in a fixed order."""
    found = HostTable(recipients).find(host, path)
    expected = {
        recipient
        for recipient, declared in recipients
        if any(pattern.matches(host, path) for pattern in declared)
    }
    assert set(found) == expected
    assert len(found) == len(expected)
    assert HostTable(reversed(recipients)).find(host, path) == found


def test_most_specific_first() -> None:
    """An exact host comes before wildcards, a longer suffix or path before a shorter one."""
    written = {
        "wide": ["*.example.com"],
        "near": ["*.a.example.com"],
        "host": ["x.a.example.com"],
        "path": ["x.a.example.com/v1"],
        "deep": ["x.a.example.com/v1/send", "*.example.com/v1"],
        "none": ["y.a.example.com", "example.com"],
    }
    table = HostTable(
        (name, [parse_host_pattern(text) for text in texts]) for name, texts in written.items()
    )
    found = table.find("x.a.example.com", "/v1/send?x=1")
    assert found == ("deep", "path", "host", "near", "wide")
    assert table.find("x.a.example.com", "/") == ("host", "near", "wide")
    assert table.find("example.com") == ("none",)
    assert table.find("com") == ()


def test_specificity_orders_patterns() -> None:
    """Exact hosts are more specific than wildcards, then labels count, then path segments."""
    texts = ["*.a.test", "*.a.test/x", "*.b.a.test", "a.test", "b.a.test", "b.a.test/x"]
    assert sorted(texts, key=lambda text: parse_host_pattern(text).specificity) == texts


def test_patterns_are_frozen_values() -> None:
    """Equal patterns are equal keys, and nobody changes one after it was reviewed."""
    pattern = parse_host_pattern("a.test/x")
    assert {pattern, parse_host_pattern("A.TEST./x/")} == {pattern}
    with pytest.raises(AttributeError):
        pattern.host = "b.test"  # type: ignore[misc] # the point of the test
    assert not hasattr(pattern, "__dict__")
