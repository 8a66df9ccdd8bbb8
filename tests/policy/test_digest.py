"""The digest of a policy: the same for the same meaning, another for another meaning."""

from __future__ import annotations

import copy
import os
import random
import subprocess
import sys
from pathlib import Path
from typing import Any, Final

import pytest

from policyguard.policy.assemble import load_policy, policy_from_dict
from policyguard.policy.digest import clause_digest, policy_digest

ROOT: Final = Path(__file__).resolve().parent.parent.parent
POLICIES: Final = sorted((ROOT / "policies").glob("*/policy.yaml"))
BASE: Final[dict[str, Any]] = {
    "policyguard": 1,
    "id": "p",
    "title": "P",
    "version": "1",
    "notice": {"title": "N", "clauses": {"1": {"says": "x", "sha256": "0" * 64}}},
    "terms": {"data": {"user.face": "a face"}, "purposes": {}, "facts": {"asked": "was asked"}},
    "named_only": [{"data": ["user.face"], "cites": ["1"]}],
    "recipients": {"shop": {"kind": "processor", "hosts": ["a.example.com", "b.example.com"]}},
    "rules": [
        {
            "id": "a",
            "permit": {
                "data": ["user.face", "user.name"],
                "purposes": ["essential"],
                "to": ["shop"],
            },
            "except": [{"data": ["user.name"], "to": ["shop"]}],
            "when": {
                "all": [{"consent": True}, {"facts": {"asked": True}}],
                "region": ["DE", "FR"],
            },
            "cites": ["1"],
        },
        {"id": "b", "forbid": {}, "when": {"age": {"below": 13}}},
    ],
    "retention": [{"id": "k", "data": ["user.face"], "keep": "P6M", "since": "upload"}],
    "obligations": [{"id": "o", "do": "tell", "after": "breach", "within": "PT72H"}],
    "purpose_changes": [{"from": "essential", "to": "marketing"}],
    "at_least": "flag",
}


def digest(tree: dict[str, Any]) -> str:
    """The digest of a policy in memory."""
    return policy_digest(policy_from_dict(tree))


def changed(*path: str | int, to: Any) -> dict[str, Any]:
    """The base with one value replaced; `...` takes it out."""
    tree = copy.deepcopy(BASE)
    node: Any = tree
    for step in path[:-1]:
        node = node[step]
    if to is ...:
        del node[path[-1]]
    else:
        node[path[-1]] = to
    return tree


def shuffled(rng: random.Random, tree: Any) -> Any:
    """The same with keys and lists in another order."""
    if isinstance(tree, dict):
        return {key: shuffled(rng, tree[key]) for key in rng.sample(sorted(tree), len(tree))}
    if isinstance(tree, list):
        return [shuffled(rng, part) for part in rng.sample(tree, len(tree))]
    return tree


PERMIT: Final = ("rules", 0, "permit")
SAME: Final = {
    "another title": changed("title", to="other"),
    "a notice with another title": changed("notice", "title", to="other"),
    "a clause in other words": changed("notice", "clauses", "1", "says", to="other"),
    "why a clause is not enforced": changed("notice", "clauses", "1", "unenforced", to="talk"),
    "a term in other words": changed("terms", "data", "user.face", to="other"),
    "a term written twice": changed(*PERMIT, "data", to=["user.face", "user.name", "user.face"]),
    "one for a list of one": changed(*PERMIT, "purposes", to="essential"),
}
OTHER: Final = {
    "another id": changed("id", to="q"),
    "another version": changed("version", to="2"),
    "another rule id": changed("rules", 0, "id", to="c"),
    "a rule less": changed("rules", 1, to=...),
    "a term more": changed(*PERMIT, "data", to=["user.face", "user.name", "user.device"]),
    "a term less": changed(*PERMIT, "data", to=["user.face"]),
    "another purpose": changed(*PERMIT, "purposes", to=["marketing"]),
    "any purpose": changed(*PERMIT, "purposes", to="any"),
    "another recipient": changed(*PERMIT, "to", to=["self"]),
    "anyone": changed(*PERMIT, "to", to="anyone"),
    "a recipient by kind": changed(*PERMIT, "to", to=[{"kind": "processor"}]),
    "a form": changed(*PERMIT, "form", to="anonymised"),
    "no exception": changed("rules", 0, "except", to=...),
    "a wider exception": changed("rules", 0, "except", 0, to={"data": ["user.name"]}),
    "no condition": changed("rules", 0, "when", to=...),
    "consent refused": changed("rules", 0, "when", "all", 0, "consent", to=False),
    "any instead of all": changed("rules", 0, "when", to={"any": [{"consent": True}]}),
    "a region less": changed("rules", 0, "when", "region", to=["DE"]),
    "another age": changed("rules", 1, "when", "age", to={"below": 14}),
    "an age from": changed("rules", 1, "when", "age", to={"from": 13}),
    "a lenient forbid": changed("rules", 1, "if_unknown", to="does_not_apply"),
    "no clause cited": changed("rules", 0, "cites", to=...),
    "another text of a clause": changed("notice", "clauses", "1", "sha256", to="1" * 64),
    "no data to be named": changed("named_only", to=[]),
    "another kind": changed("recipients", "shop", "kind", to="ad_pixel"),
    "a host less": changed("recipients", "shop", "hosts", to=["a.example.com"]),
    "a place": changed("recipients", "shop", "located", to="US"),
    "a recipient more": changed("recipients", "self", to={"kind": "first_party", "located": "DE"}),
    "a longer retention": changed("retention", 0, "keep", to="P7M"),
    "another clock": changed("retention", 0, "since", to="order"),
    "a retention that can be lifted": changed("retention", 0, "unless", to=["asked"]),
    "a later duty": changed("obligations", 0, "within", to="PT96H"),
    "no purpose change": changed("purpose_changes", to=[]),
    "purposes change freely": changed("purpose_changes", to=...),
    "another floor": changed("at_least", to="block"),
}


@pytest.mark.parametrize("tree", SAME.values(), ids=SAME)
def test_what_means_the_same_has_one_digest(tree: dict[str, Any]) -> None:
    """Words for people don't count."""
    assert digest(tree) == digest(BASE)


@pytest.mark.parametrize("tree", OTHER.values(), ids=OTHER)
def test_what_means_something_else_has_another_digest(tree: dict[str, Any]) -> None:
    """Whatever can change a verdict, a citation or a duty changes the digest."""
    assert digest(tree) != digest(BASE)


def test_different_changes_have_different_digests() -> None:
    """No two of the changes are taken for each other."""
    assert len({digest(tree) for tree in OTHER.values()}) == len(OTHER)


def test_order_does_not_count() -> None:
    """Neither of keys nor of lists."""
    rng = random.Random("digest")
    for _ in range(50):
        assert digest(shuffled(rng, BASE)) == digest(BASE)


@pytest.mark.parametrize("path", POLICIES[:1], ids=lambda path: path.parent.name)
def test_every_process_finds_the_same_digest(path: Path) -> None:
    """The seed of Python's hashes doesn't count."""
    program = (
        "import sys\n"
        "from policyguard.policy.assemble import load_policy\n"
        "from policyguard.policy.digest import policy_digest\n"
        "print(policy_digest(load_policy(sys.argv[1])))\n"
    )
    found = {
        subprocess.run(
            [sys.executable, "-c", program, path],
            env={**os.environ, "PYTHONHASHSEED": seed},
            capture_output=True,
            check=True,
            text=True,
        ).stdout.strip()
        for seed in ("0", "1", "424242")
    }
    assert found == {policy_digest(load_policy(path))}


def test_a_digest_is_64_hexadecimal_digits() -> None:
    """It can stand in a file name, a header or a log."""
    assert len(digest(BASE)) == 64
    assert int(digest(BASE), 16)


def test_a_clause_is_read_without_its_spacing() -> None:
    """White space, line ends and compatible letters don't count; words do."""
    first = clause_digest("We keep\n\tyour data  for \u00a06 months. \ufb01ne")
    assert first == clause_digest("  We keep your data for 6 months. fine\r\n")
    assert first != clause_digest("We keep your data for 7 months. fine")
