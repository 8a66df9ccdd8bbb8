"""Truth tables: what is taken as a row, and what is a mistake with its place."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, Final

import pytest

from policyguard.errors import CasesError, Problem
from policyguard.policy.casefile import load_cases
from policyguard.policy.flow import Facts

ROW: Final[dict[str, Any]] = {
    "id": "a",
    "data": "user",
    "purpose": "marketing",
    "recipient": "self",
}
YAML: Final = "- {id: a, data: user, purpose: marketing, recipient: self, "
# fmt: off
BAD_FACTS: Final = {
    # the context in YAML: (place and code, what the message says)
    "consent: true": ("1:79 PG103", "{marketing: true}"),
    "consent: {marketing: yes}": ("1:91 PG103", "true or false"),
    "consent: {marketing: }": ("1:80 PG103", "`marketing` is empty"),
    "opt_out: yes": ("1:79 PG103", "must be a mapping"),
    "region: UK": ("1:78 PG113", "did you mean `GB`?"),
    "region: [DE]": ("1:78 PG113", "ISO 3166"),
    "age: twelve": ("1:75 PG103", "whole number"),
    "age: -1": ("1:75 PG103", "whole number"),
    "age: 151": ("1:75 PG103", "at most 150 years"),
    "age: ": ("1:70 PG103", "`age` is empty"),
    "transport: ftp": ("1:81 PG103", "`https`"),
    "data_age: 6 months": ("1:80 PG112", "P6M"),
    "restricted: yes": ("1:82 PG103", "true or false"),
    "legal_request: 'true'": ("1:85 PG103", "without quotes"),
    "facts: [a]": ("1:77 PG103", "must be a mapping"),
    "facts: {a: 1}": ("1:81 PG103", "true or false"),
    "agee: 3": ("1:76 PG108", "did you mean `age`?"),
}
BAD_ROWS: Final[dict[str, tuple[dict[str, Any], str, str]]] = {
    # what is wrong: (the keys that differ, code, what the message says)
    "a context that is a list": ({"context": []}, "PG103", "`context` must be a mapping"),
    "cites that is a number": ({"cites": 0}, "PG103", "`cites` must be a list"),
    "a form that is a mapping": ({"form": {"raw": 1}}, "PG111", "unknown form"),
    "a form that is a number": ({"form": 0}, "PG111", "unknown form"),
    "a form that can't be": ({"form": ["raw", "encrypted"]}, "PG111", "beside another"),
    "an unknown verdict": ({"expect": "alow"}, "PG103", "did you mean `allow`?"),
    "a purpose that is a number": ({"purpose": 1}, "PG103", "`purpose` must be text"),
    "an unknown key": ({"expcet": "allow"}, "PG101", "did you mean `expect`?"),
    "consent without a purpose": ({"context": {"consent": True}}, "PG103", "must be a mapping"),
    "an age in words": ({"context": {"age": "twelve"}}, "PG103", "whole number"),
    "an age that is true": ({"context": {"age": True}}, "PG103", "whole number"),
    "an answer in words": (
        {"context": {"consent": {"marketing": "true"}}}, "PG103", "true or false",
    ),
    "a place that is none": ({"context": {"region": "UK"}}, "PG113", "did you mean `GB`?"),
    "a fact deep down": (
        {"context": {"facts": json.loads('{"a":' * 400 + "1" + "}" * 400)}}, "PG103", "true or",
    ),
}
# fmt: on


def table(folder: Path, text: str, name: str = "cases.yaml") -> Path:
    """A truth table of this text."""
    path = folder / name
    path.write_text(text, encoding="utf-8", newline="")
    return path


def refusal(path: Path) -> CasesError:
    """The error that loading gives."""
    with pytest.raises(CasesError) as caught:
        load_cases(path)
    return caught.value


@pytest.mark.parametrize("context", BAD_FACTS)
def test_wrongly_typed_facts_are_told(tmp_path: Path, context: str) -> None:
    """A fact that counts as unknown is told where a person wrote it; the row may mean just that."""
    place, says = BAD_FACTS[context]
    told: list[Problem] = []
    if place.endswith("PG108"):
        told += refusal(table(tmp_path, f"{YAML}context: {{{context}}}}}\n")).problems
        assert says in "\n".join(map(str, told))
        return
    (case,) = load_cases(table(tmp_path, f"{YAML}context: {{{context}}}}}\n"), warn=told.append)
    assert [f"{p.line}:{p.col} {p.code}" for p in told] == [place]
    assert {p.severity for p in told} == {"warning"}
    assert says in "\n".join(map(str, told))
    answers = Facts(case.context)
    assert not {True, False} & {*answers.consent.values(), *answers.opt_out.values()}


@pytest.mark.parametrize("name", BAD_ROWS)
def test_bad_rows_of_jsonl_are_refused(tmp_path: Path, name: str) -> None:
    """Each is a problem at its line; the rows before and after it are looked at too."""
    change, code, says = BAD_ROWS[name]
    rows = [ROW, {**ROW, "id": "b", **change}, {**ROW, "id": "c"}]
    text = "".join(json.dumps(row) + "\n" for row in rows)
    told: list[Problem] = []
    path = table(tmp_path, text, "cases.jsonl")
    if isinstance(change.get("context"), dict) and code != "PG108":
        assert len(load_cases(path, warn=told.append)) == 3
    else:
        told += refusal(path).problems
    assert [(p.line, p.code) for p in told] == [(2, code)]
    assert says in "\n".join(map(str, told))


def test_strange_facts_of_a_program_are_unknown() -> None:
    """Where no person wrote them, a place that is none and an age of nobody are just not known."""
    assert Facts({"region": "Atlantis"}).region is None
    for age in (-1, 151, True, "young"):
        assert Facts({"age": age}).age is None
    assert [Facts({"age": age}).age for age in (0, 150)] == [0, 150]


def test_facts_get_their_types(tmp_path: Path) -> None:
    """YAML has text only; the facts of a row are typed as a program gives them."""
    context = (
        "consent: {marketing: true}, opt_out: {marketing: false}, age: 20, region: DE, "
        "transport: https, data_age: P6M, restricted: false, legal_request: true, facts: {a: true}"
    )
    (case,) = load_cases(table(tmp_path, f"{YAML}context: {{{context}}}}}\n"))
    assert case.context == {
        "consent": {"marketing": True},
        "opt_out": {"marketing": False},
        "age": 20,
        "region": "DE",
        "transport": "https",
        "data_age": "P6M",
        "restricted": False,
        "legal_request": True,
        "facts": {"a": True},
    }


def test_a_null_of_jsonl_is_left_out(tmp_path: Path) -> None:
    """Programs write null for what they don't know."""
    row = {**ROW, "expect": None, "cites": None, "form": None, "why": None}
    row["context"] = {"age": None, "region": "DE", "consent": {"marketing": None}}
    (case,) = load_cases(table(tmp_path, json.dumps(row), "cases.jsonl"))
    assert case.context == {"region": "DE", "consent": {}}


def test_no_purpose_is_null_or_empty(tmp_path: Path) -> None:
    """As on the command line, an empty purpose is none."""
    text = "\n".join(json.dumps({**ROW, "id": str(p), "purpose": p}) for p in (None, ""))
    cases = load_cases(table(tmp_path, text, "cases.jsonl"))
    assert [case.purpose for case in cases] == [None, None]


def test_only_a_line_feed_ends_a_row(tmp_path: Path) -> None:
    """Other line breaks may stand inside the text of a row; Windows' own is taken as well."""
    rows = [{**ROW, "id": str(i), "why": "a\u2028b\u2029c\x85d"} for i in range(2)]
    text = "\r\n".join(json.dumps(row, ensure_ascii=False) for row in rows)
    cases = load_cases(table(tmp_path, text, "cases.jsonl"))
    assert [(case.why, case.place[-2:]) for case in cases] == [
        ("a\u2028b\u2029c\x85d", ":1"),
        ("a\u2028b\u2029c\x85d", ":2"),
    ]


@pytest.mark.parametrize(
    ("line", "code"),
    [
        ('{"id": "a", "id": "b"}', "PG007"),
        ('{"context": {"age": 1, "age": 2}}', "PG007"),
        ('{"id": NaN}', "PG003"),
        ("[" * 100_000, "PG003"),
        ('{"a":' * 50_000, "PG003"),
    ],
)
def test_lines_that_are_no_honest_json(tmp_path: Path, line: str, code: str) -> None:
    """Keys written twice, numbers that are none and endless nesting are problems, not crashes."""
    error = refusal(table(tmp_path, line, "cases.jsonl"))
    assert [p.code for p in error.problems] == [code]


def test_keys_beside_the_cases_are_refused(tmp_path: Path) -> None:
    """A mapping around the rows holds nothing else that could be meant."""
    error = refusal(table(tmp_path, f"cases:\n{YAML[:-2]}}}\npolicy: x\n"))
    assert [(p.line, p.code) for p in error.problems] == [(3, "PG101")]
