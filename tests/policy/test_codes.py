"""Every code that the source says is explained, and nothing is explained that no code says."""

from __future__ import annotations

import re
from pathlib import Path

from policyguard.codes import CODES

ROOT = Path(__file__).resolve().parent.parent.parent


def said() -> set[str]:
    """The codes in the source, but for the table itself."""
    files = [*(ROOT / "policyguard").rglob("*.py"), *(ROOT / "plugins").glob("*/policyguard_*.py")]
    texts = (path.read_text("utf-8") for path in files if path.parent.name != "codes")
    return {code for text in texts for code in re.findall(r"\bPG\d{3}\b", text)}


def test_every_code_in_the_source_is_explained() -> None:
    """A person who meets a code finds out what to do."""
    assert said() - CODES.keys() == set()


def test_no_code_is_explained_that_nothing_says() -> None:
    """The table holds no codes of the past."""
    assert CODES.keys() - said() == set()


def test_codes_are_listed_in_order() -> None:
    """A reader finds a code by its number."""
    assert list(CODES) == sorted(CODES)


def test_explanations_are_sentences() -> None:
    """Meaning and mending are whole sentences, the title is not."""
    for code, entry in CODES.items():
        assert entry.meaning.endswith("."), code
        assert entry.mend.endswith("."), code
        assert not entry.title.endswith("."), code
        assert entry.title[0].isupper() or entry.title[0] == "`", code
