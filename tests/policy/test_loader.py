"""The YAML front door: plain trees with places, caps before anything is built."""

from __future__ import annotations

import gc
import os
from pathlib import Path
from typing import Any, Final

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from policyguard.policy.loader import (
    LIMITS,
    Limits,
    printable,
    read_document,
    read_text,
    read_trusted,
)
from policyguard.policy.terms import Ambiguous

TEXT: Final = """\
first: one
second:
  - a
  - {inner: b, other: [c, d]}
  -
    deep: |
      two
      lines
"""


def codes(text: str | bytes, limits: Limits = LIMITS) -> list[str]:
    """The codes that reading gives."""
    return [problem.code for problem in read_text(text, name="t", limits=limits).problems]


def test_a_tree_is_plain() -> None:
    """Mappings, lists and text, in the order of the file."""
    assert read_text(TEXT, name="t").tree == {
        "first": "one",
        "second": ["a", {"inner": "b", "other": ["c", "d"]}, {"deep": "two\nlines\n"}],
    }


# fmt: off
PLACES: Final = {
    "a value": (["first"], (1, 8)),
    "an item": (["second", 0], (3, 5)),
    "a value in a flow mapping": (["second", 1, "inner"], (4, 13)),
    "an item of a flow list": (["second", 1, "other", 1], (4, 27)),
    "a block text": (["second", 2, "deep"], (6, 11)),
    "a step that is not there": (["second", 1, "missing"], (4, 5)),
    "the file": ([], (1, 1)),
}
# fmt: on


@pytest.mark.parametrize(("path", "place"), PLACES.values(), ids=PLACES)
def test_places(path: list[str | int], place: tuple[int, int]) -> None:
    """Each node knows its line and column; what is missing has the place of what holds it."""
    found = read_text(TEXT, name="t").place(path)
    assert found == place


def test_places_of_keys() -> None:
    """A key has a place of its own."""
    assert read_text(TEXT, name="t").place(["second", 1, "other"], of_key=True) == (4, 16)


# fmt: off
SCALARS: Final[dict[str, tuple[str, object]]] = {
    "a number": ("1.10", "1.10"),
    "zeros in front": ("007", "007"),
    "text": ("some text", "some text"),
    "nothing": ("", None),
    "a tilde": ("~", None),
    "null": ("null", None),
    "null in quotes": ("'null'", "null"),
    "a template": ("${HOME}", "${HOME}"),
    "an escape": ('"\\u00e4"', "\u00e4"),
}
# fmt: on


@pytest.mark.parametrize(("text", "value"), SCALARS.values(), ids=SCALARS)
def test_scalars_stay_text(text: str, value: object) -> None:
    """Nothing is turned into a number, a date or a boolean."""
    assert read_text(f"a: {text}\n", name="t").tree == {"a": value}


@pytest.mark.parametrize("word", ["yes", "No", "ON", "off", "true", "FALSE", "y", "2024-11-11"])
def test_words_with_two_meanings_are_marked(word: str) -> None:
    """What other readers take for a boolean or a date can be told from quoted text."""
    bare = read_text(f"a: {word}\n", name="t").tree["a"]
    quoted = read_text(f"a: '{word}'\n", name="t").tree["a"]
    assert (type(bare), bare) == (Ambiguous, word)
    assert (type(quoted), quoted) == (str, word)


def test_caps_are_exact() -> None:
    """What just fits is read, one more is refused."""
    assert codes("a" * 100, Limits(size=100)) == []
    assert codes("a" * 101, Limits(size=100)) == ["PG001"]
    assert codes("[" * 32 + "]" * 32) == []
    assert codes("[" * 33 + "]" * 33) == ["PG004"]
    assert codes("[a, b]", Limits(nodes=3)) == []
    assert codes("[a, b, c]", Limits(nodes=3)) == ["PG004"]


def test_a_file_at_the_cap_is_read(tmp_path: Path) -> None:
    """The size of a file is checked before and while reading."""
    path = tmp_path / "a.yaml"
    path.write_bytes(b"a" * 100)
    assert read_document(path, limits=Limits(size=100)).problems == []
    path.write_bytes(b"a" * 101)
    (problem,) = read_document(path, limits=Limits(size=100)).problems
    assert (problem.file, problem.code) == (str(path), "PG001")


def test_only_regular_files_are_read(tmp_path: Path) -> None:
    """A pipe doesn't hang the load; folders, devices and missing files are told."""
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    for path in (pipe, tmp_path, Path("/dev/zero"), tmp_path / "missing", Path("a\0b")):
        (problem,) = read_document(path, name="shown").problems
        assert (problem.file, problem.code) == ("shown", "PG001")


def test_the_collector_is_left_as_it_was() -> None:
    """Reading pauses garbage collection and turns it on again, also after an error."""
    for text in ("a: b", "a: [", "[" * 100):
        read_text(text, name="t")
        assert gc.isenabled()
    gc.disable()
    try:
        read_text("a: b", name="t")
        assert not gc.isenabled()
    finally:
        gc.enable()


def test_shipped_data_must_be_whole() -> None:
    """A broken file of the package is an error of the program."""
    assert read_trusted("a: {b: c}\n") == {"a": {"b": "c"}}
    for text in ("a: [", "- a", "a: b\na: c"):
        with pytest.raises(ValueError, match="shipped data"):
            read_trusted(text)


def test_printable_text_is_short_and_on_one_line() -> None:
    """Text of a file can stand in a message."""
    assert printable("a\n\x1b\u202e") == "a\\u000a\\u001b\\u202e"
    assert printable("x" * 100, 10) == "x" * 10 + "..."
    assert printable("\u00e4") == "\u00e4"


@given(st.binary(max_size=300))
@settings(max_examples=400)
def test_any_bytes_give_a_document(data: bytes) -> None:
    """Whatever the bytes, reading ends in a tree or in problems, never in an exception."""
    document = read_text(data, name="t")
    assert (
        document.tree is None or document.problems or isinstance(document.tree, (dict, list, str))
    )


SIGNS: Final = st.text(alphabet="ab:-,[]{}&*!<>|#'\"%@` \n\t0~?", max_size=60)


@given(SIGNS)
@settings(max_examples=800)
def test_any_signs_give_a_document(text: str) -> None:
    """The signs of YAML in any order break nothing."""
    read_text(text, name="t")


TREES: Final = st.recursive(
    st.text(max_size=12),
    lambda inner: (
        st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4)
    ),
    max_leaves=20,
)


@given(TREES, st.booleans())
@settings(max_examples=400)
def test_what_was_written_is_read(tree: Any, flow: bool) -> None:
    """A tree of text that PyYAML writes comes back as it was."""
    text = yaml.safe_dump(tree, default_flow_style=flow, allow_unicode=False, width=1_000)
    document = read_text(text, name="t")
    if all(problem.code == "PG002" for problem in document.problems) and document.problems:
        return  # control characters are refused, in whatever way they are written
    assert document.tree == tree


@given(TREES)
@settings(max_examples=200)
def test_every_node_has_a_place_of_its_own(tree: Any) -> None:
    """Two keys never share a line and column."""
    text = yaml.safe_dump({"root": tree}, default_flow_style=False)
    document = read_text(text, name="t")
    if document.problems:
        return
    paths = list(_paths(document.tree, ()))
    places = [document.place(path, of_key=True) for path in paths]
    assert len(set(places)) == len(places)


def _paths(node: Any, path: tuple[str | int, ...]) -> list[tuple[str | int, ...]]:
    """The paths of all keys."""
    if isinstance(node, dict):
        return [
            found
            for key, value in node.items()
            for found in [(*path, key), *_paths(value, (*path, key))]
        ]
    if isinstance(node, list):
        return [found for i, value in enumerate(node) for found in _paths(value, (*path, i))]
    return []
