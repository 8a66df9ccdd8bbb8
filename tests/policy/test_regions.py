"""Regions: which codes exist, and which place lies in which group."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from policyguard.policy.regions import COUNTRIES, GROUPS, is_region, place_in, suggest_region

TWENTY_SEVEN = """
AT BE BG CY CZ DE DK EE ES FI FR GR HR HU IE IT LT LU LV MT NL PL PT RO SE SI SK
"""
MEMBERS = TWENTY_SEVEN.split()

codes = st.one_of(
    st.sampled_from(sorted(COUNTRIES | GROUPS)),
    st.builds(
        "{}-{}".format,
        st.sampled_from(sorted(COUNTRIES)),
        st.text("ABCPRGQ0129", min_size=1, max_size=3),
    ),
    st.sampled_from(["US-PR", "FR-PF", "FR-971", "NL-BQ1", "FI-01", "NO-21", "FR-CP", "BQ-BO"]),
)


@pytest.mark.parametrize(
    "code", ["DE", "US", "US-CA", "GB-ENG", "FR-75", "NL-BQ1", "EU", "EEA", "SS", "TW", "AX"]
)
def test_codes_that_exist(code: str) -> None:
    """Assigned countries, the shape of their subdivisions and the two groups are regions."""
    assert is_region(code)


@pytest.mark.parametrize(
    "code",
    ["", "UK", "EL", "eu", "de", "XK", "AN", "SU", "EU-DE", "US-", "US-CALI", "US-ca", "US CA",
     "ZZ-1", "USA", "DE\n", "US-CA\n", "U\u0405", "world", "us-ca"],
)  # fmt: skip
def test_codes_that_do_not_exist(code: str) -> None:
    """Withdrawn, reserved, misspelt and lower-case codes are refused."""
    assert not is_region(code)


def test_number_of_countries() -> None:
    """ISO 3166-1 assigns 249 two-letter codes."""
    assert len(COUNTRIES) == 249
    assert all(len(code) == 2 and code.isascii() and code.isupper() for code in COUNTRIES)


@pytest.mark.parametrize(
    ("code", "meant"),
    [
        ("UK", "GB"),
        ("EL", "GR"),
        ("uk", "GB"),
        ("UK-ENG", "GB-ENG"),
        ("de", "DE"),
        ("us_ca", "US-CA"),
        ("eea", "EEA"),
        ("USA", "US"),
        ("DE", None),
        ("XX", None),
        ("", None),
    ],
)
def test_suggestions(code: str, meant: str | None) -> None:
    """A code in everyday use or another spelling leads to the right one."""
    assert suggest_region(code) == meant


@pytest.mark.parametrize(
    ("place", "group", "expected"),
    [
        ("DE", "EU", True),
        ("DE-BY", "EU", True),
        ("DE-BY", "DE", True),
        ("US-CA", "US", True),
        ("EU", "EEA", True),
        ("NO", "EEA", True),
        ("NO", "EU", False),
        ("CH", "EEA", False),
        ("GB", "EEA", False),
        ("US", "EU", False),
        ("EU", "US", False),
        ("US-CA", "US-NY", False),
        ("US-CA", "CA", False),
        # A place that only contains the group.
        ("US", "US-CA", None),
        ("EU", "DE", None),
        ("EU", "DE-BY", None),
        ("EU", "RE", None),
        ("EEA", "EU", None),
        ("EEA", "NO", None),
        ("EU", "NO", False),
        # Codes that nobody knows.
        ("UK", "EU", None),
        ("DE", "Europe", None),
        ("de", "de", None),
        # Parts of members, inside the Union and outside.
        ("FR-971", "EU", True),
        ("FR-RE", "EU", True),
        ("AX", "EU", True),
        ("FI-01", "EU", True),
        ("PT-20", "EU", True),
        ("ES-CN", "EU", True),
        ("FR-PF", "EU", False),
        ("FR-NC", "EEA", False),
        ("FR-CP", "EU", False),
        ("NL-AW", "EU", False),
        ("NL-BQ1", "EU", False),
        ("GL", "EU", False),
        ("NO-21", "EEA", False),
        ("EU", "FR-PF", False),
        # One place, two codes.
        ("US-PR", "PR", True),
        ("PR", "US-PR", True),
        ("FR-971", "GP", True),
        ("NL-BQ1", "BQ", True),
        ("BQ", "NL-BQ1", None),
        ("FR-PF", "FR", True),
        # A territory's own code and its state: sources differ.
        ("PR", "US", None),
        ("US", "PR", None),
        ("HK", "CN", None),
        ("GP", "FR", None),
        ("PR", "US-CA", False),
    ],
)
def test_place_in(place: str, group: str, *, expected: bool | None) -> None:
    """Inside holds, apart fails, and what can't be told is None."""
    assert place_in(place, group) is expected


@pytest.mark.parametrize("code", [*MEMBERS, "AX", "GF", "GP", "MF", "MQ", "RE", "YT"])
def test_the_union(code: str) -> None:
    """All 27 members and the parts with a code of their own are in the Union."""
    assert place_in(code, "EU") is True


def test_the_union_holds_no_other_country() -> None:
    """No other country is in the Union, and three more are in the EEA."""
    union = {code for code in COUNTRIES if place_in(code, "EU")}
    assert len(MEMBERS) == 27
    assert len(union) == 27 + 7
    assert {code for code in COUNTRIES if place_in(code, "EEA")} == union | {"IS", "LI", "NO"}


@given(codes)
def test_every_place_is_in_itself(code: str) -> None:
    """A place lies in its own code."""
    assert place_in(code, code) is True


@given(codes)
def test_the_union_is_inside_the_eea(code: str) -> None:
    """What is in the Union is in the EEA, and what is outside the EEA is outside the Union."""
    if place_in(code, "EU"):
        assert place_in(code, "EEA") is True
    if place_in(code, "EEA") is False:
        assert place_in(code, "EU") is False


@given(codes, codes, codes)
def test_lying_inside_is_transitive(inner: str, middle: str, outer: str) -> None:
    """What is inside something is never surely outside of what surrounds that, bar split states."""
    if place_in(inner, middle) and place_in(middle, outer) and len(middle) != 2:
        assert place_in(inner, outer) is True


@given(codes, codes)
def test_a_place_and_its_group_are_never_apart(place: str, group: str) -> None:
    """When one lies inside the other, the way back is doubt or equality, never a plain no."""
    if place_in(place, group):
        assert place_in(group, place) is not False


@given(st.text(max_size=10), codes)
def test_unknown_places_are_never_inside(text: str, group: str) -> None:
    """A code that nobody knows gives no answer either way."""
    if not is_region(text):
        assert place_in(text, group) is None
        assert place_in(group, text) is None
