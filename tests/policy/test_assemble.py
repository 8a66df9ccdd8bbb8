"""From a file to a Policy: references, places, and all problems in one run."""

from __future__ import annotations

from pathlib import Path
from typing import Final

import pytest

from policyguard.errors import PolicyError
from policyguard.policy.assemble import load_policy, policy_from_dict, policy_from_text
from policyguard.policy.loader import Limits
from policyguard.policy.rules import Policy

TEXT: Final = """\
policyguard: 1
id: shop
title: A shop
notice:
  clauses:
    "1": {says: orders are delivered}
terms:
  data: {user.parcel: what is in a parcel}
recipients:
  courier: {kind: processor, hosts: [courier.example.com]}
rules:
  - id: deliver
    permit: {data: user.parcel, purposes: essential.service, to: courier}
    cites: "1"
retention:
  - {data: [user.parcel, user.name], keep: P6M, since: delivery}
obligations:
  - {id: tell, do: notify, after: breach}
"""


def codes(text: str) -> list[str]:
    """Every problem of a text as `line code`."""
    with pytest.raises(PolicyError) as caught:
        policy_from_text(text)
    return [f"{problem.line} {problem.code}" for problem in caught.value.problems]


def test_parts_know_where_they_stand(tmp_path: Path) -> None:
    """Rules, retentions, recipients, clauses, terms and obligations have a place."""
    path = tmp_path / "policy.yaml"
    path.write_text(TEXT, encoding="utf-8")
    policy = load_policy(path)
    assert policy.place("deliver") == f"{path}:12"
    assert policy.place("retention:user.parcel+user.name") == f"{path}:16"
    assert policy.place("nobody") == ""
    names = ("recipients courier", "clauses 1", "data user.parcel", "obligations tell")
    assert [policy.mark(name)[1:] for name in (*names, "policy notice")] == [
        (10, 3),
        (6, 5),
        (8, 10),
        (18, 5),
        (4, 1),
    ]


def test_one_value_stands_for_a_list_of_one() -> None:
    """Terms, recipients and cites may be written without brackets."""
    rule = policy_from_text(TEXT).rules[0]
    assert rule.permit is not None
    assert rule.permit.data == ("user.parcel",)
    assert rule.permit.to == ("courier",)
    assert rule.cites == ("1",)


def test_self_and_subject_are_there_without_being_declared() -> None:
    """They keep their kinds, whatever a file says."""
    assert policy_from_text(TEXT).everyone["self"].kind == "first_party"
    text = TEXT.replace("recipients:\n", "recipients:\n  self: {kind: processor, located: DE}\n")
    mine = policy_from_text(text).everyone["self"]
    assert (mine.kind, mine.located) == ("first_party", "DE")


def test_a_tree_in_memory_is_a_policy_too() -> None:
    """Its problems name the file that was said."""
    assert policy_from_dict({"policyguard": 1, "id": "p"}).id == "p"
    with pytest.raises(PolicyError) as caught:
        policy_from_dict({"id": "p"}, name="made up")
    assert str(caught.value).startswith("made up:1:1: PG102")


def test_a_policy_never_changes() -> None:
    """Neither the whole nor its parts can be assigned to."""
    policy = policy_from_text(TEXT)
    for part, name in ((policy, "id"), (policy.rules[0], "cites"), (policy.rules[0].cover, "to")):
        with pytest.raises(ValueError, match="frozen"):
            setattr(part, name, "other")


def test_warnings_do_not_stop_the_load() -> None:
    """A built-in term with another meaning is no error."""
    text = TEXT.replace("user.parcel: what", "user.name: nickname, user.parcel: what")
    assert isinstance(policy_from_text(text), Policy)


def test_a_broken_recipient_is_reported_once() -> None:
    """Rules that name it are not blamed as well."""
    assert codes(TEXT.replace("processor", "procesor")) == ["10 PG103"]
    assert codes(TEXT.replace("{kind: processor, ", "{")) == ["10 PG102"]
    assert codes(
        TEXT.replace("courier: {kind: processor, hosts", "courier: [{hosts").replace(
            "example.com]}", "example.com]}]"
        )
    ) == ["10 PG103"]


def test_a_broken_clause_or_term_is_reported_once() -> None:
    """What cites or uses it is not blamed as well."""
    assert codes(TEXT.replace("{says: orders are delivered}", "{say: orders}")) == [
        "6 PG102",
        "6 PG101",
    ]
    assert codes(TEXT.replace("user.parcel: what is in a parcel", "user.parcel: [a]")) == [
        "8 PG103"
    ]


def test_a_broken_rule_hides_nothing_of_itself() -> None:
    """Its structure and all its words are checked in one run."""
    text = TEXT.replace("purposes: essential.service", "purposes: essential.servise, form: rwa")
    text = text.replace('cites: "1"', 'cites: ["1", "2"]\n    wehn: {}')
    assert codes(text) == ["13 PG105", "13 PG103", "14 PG107", "15 PG101"]


def test_a_section_of_the_wrong_kind_hides_nothing_else() -> None:
    """The other sections are still checked."""
    text = TEXT.replace("obligations:\n  - ", "obligations:\n  a: ").replace("P6M", "6M")
    assert codes(text) == ["16 PG112", "18 PG103"]


def test_the_same_problems_come_every_time() -> None:
    """Problems are sorted by place, so that two runs can be compared."""
    text = TEXT.replace("user.parcel", "user.parcl", 1).replace("essential", "esential")
    assert codes(text) == codes(text)
    lines = [int(code.split()[0]) for code in codes(text)]
    assert lines == sorted(lines)


def test_limits_can_be_set(tmp_path: Path) -> None:
    """A host program may allow less, or more."""
    with pytest.raises(PolicyError):
        policy_from_text(TEXT, limits=Limits(size=100))
    rules = "".join(f"- {{id: r{number}, forbid: {{}}}}\n" for number in range(12_000))
    path = tmp_path / "policy.yaml"
    path.write_text(f"policyguard: 1\nid: p\nrules:\n{rules}", encoding="utf-8")
    assert len(load_policy(path, limits=Limits(nodes=100_000)).rules) == 12_000
