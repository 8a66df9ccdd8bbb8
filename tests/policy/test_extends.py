"""One policy on top of others: a child adds, and never changes or removes a promise."""

from __future__ import annotations

from pathlib import Path

import pytest

from policyguard.engine.compile import compile_policy
from policyguard.errors import PolicyError
from policyguard.policy.assemble import MAX_FILES, load_policy, policy_from_text
from policyguard.policy.rules import Policy

PARENT = """\
policyguard: 1
id: parent
notice: {clauses: {"1": {says: the parent's promise}}}
terms: {data: {user.face: a face}, facts: {asked: the person asked}}
recipients: {pixel: {kind: ad_pixel, hosts: [ads.example.com]}}
at_least: redact
rules:
  - id: no-ads
    forbid: {data: [user.face], to: [pixel]}
    cites: ["1"]
"""
CHILD = """\
policyguard: 1
id: child
extends: parent.yaml
recipients: {mailer: {kind: processor}}
rules:
  - id: faces-to-ads
    permit: {data: [user.face], purposes: [marketing], to: [pixel, mailer]}
    when: {facts: {asked: true}}
    cites: ["1"]
"""


def load(folder: Path, **files: str) -> Policy:
    """Write the files and load the one named `child`."""
    for name, text in files.items():
        (folder / f"{name}.yaml").write_text(text, encoding="utf-8")
    return load_policy(folder / "child.yaml")


def refusal(folder: Path, **files: str) -> list[str]:
    """The problems that loading gives, without the folder."""
    with pytest.raises(PolicyError) as caught:
        load(folder, **files)
    return [str(problem).replace(f"{folder}/", "") for problem in caught.value.problems]


def child(rest: str, parents: str = "parent.yaml") -> str:
    """A child with nothing but what is given."""
    return f"policyguard: 1\nid: child\nextends: {parents}\n{rest}"


def test_a_child_adds_to_its_parent(tmp_path: Path) -> None:
    """Terms, recipients, clauses and rules of both are in the policy, under the child's name."""
    policy = load(tmp_path, parent=PARENT, child=CHILD)
    assert policy.id == "child"
    assert {rule.id for rule in policy.rules} == {"no-ads", "faces-to-ads"}
    assert set(policy.recipients) == {"pixel", "mailer"}
    assert "user.face" in policy.words.data
    assert list(policy.notice.clauses) == ["1"]


def test_a_parents_forbid_wins(tmp_path: Path) -> None:
    """A child can't permit what its parent forbids."""
    snapshot = compile_policy(load(tmp_path, parent=PARENT, child=CHILD))
    decision = snapshot.decide("user.face", frozenset(), "marketing", "pixel")
    assert (decision.verdict, decision.rules) == ("deny", ("no-ads",))


def test_each_rule_keeps_its_file(tmp_path: Path) -> None:
    """A rule says the file and line where it stands, also when it came by `extends`."""
    policy = load(tmp_path, parent=PARENT, child=CHILD)
    assert policy.place("no-ads") == f"{tmp_path}/parent.yaml:8"
    assert policy.place("faces-to-ads") == f"{tmp_path}/child.yaml:6"


def test_a_parent_shared_by_two_counts_once(tmp_path: Path) -> None:
    """Two ways to one parent are no repetition."""
    left, right = (
        f"policyguard: 1\nid: {name}\nextends: parent.yaml\n" for name in ("left", "right")
    )
    both = child("", "[left.yaml, right.yaml]")
    policy = load(tmp_path, parent=PARENT, left=left, right=right, child=both)
    assert [rule.id for rule in policy.rules] == ["no-ads"]


# fmt: off
REDEFINED = {
    "a rule": ("rules:\n  - {id: no-ads, forbid: {}}\n", "child.yaml:5:10: PG110"),
    "a recipient": ("recipients: {pixel: {kind: processor}}\n", "child.yaml:4:21: PG118"),
    "a clause": ('notice: {clauses: {"1": {says: other}}}\n', "child.yaml:4:25: PG118"),
    "a term": ("terms: {data: {user.face: other}}\n", "child.yaml:4:27: PG118"),
    "a fact": ("terms: {facts: {asked: other}}\n", "child.yaml:4:24: PG118"),
}
# fmt: on


@pytest.mark.parametrize(("text", "says"), REDEFINED.values(), ids=REDEFINED)
def test_a_child_redefines_nothing(tmp_path: Path, text: str, says: str) -> None:
    """Giving a parent's name another meaning is an error, with its place."""
    (problem,) = refusal(tmp_path, parent=PARENT, child=child(text))
    assert problem.startswith(says)


def test_saying_the_same_again_is_no_redefinition(tmp_path: Path) -> None:
    """A recipient that is declared alike in both files is one recipient."""
    same = "recipients: {pixel: {kind: ad_pixel, hosts: [ads.example.com]}}\n"
    assert set(load(tmp_path, parent=PARENT, child=child(same)).recipients) == {"pixel"}


@pytest.mark.parametrize(
    ("mine", "both"), [("off", "redact"), ("flag", "redact"), ("block", "block"), ("", "redact")]
)
def test_the_stronger_floor_wins(tmp_path: Path, mine: str, both: str) -> None:
    """A child may raise `at_least` and never lowers it."""
    text = child(f"at_least: {mine}\n" if mine else "")
    assert load(tmp_path, parent=PARENT, child=text).at_least == both


def test_named_only_of_a_parent_holds(tmp_path: Path) -> None:
    """A child's broad permit doesn't reach what the parent protects by name."""
    parent = PARENT.replace("at_least: redact", "named_only: [{data: user.face}]")
    broad = "rules:\n  - {id: all, permit: {data: [user], purposes: any, to: [self]}}\n"
    snapshot = compile_policy(load(tmp_path, parent=parent, child=child(broad)))
    assert snapshot.decide("user.face", frozenset(), "marketing", "self").verdict == "deny"
    assert snapshot.decide("user.name", frozenset(), "marketing", "self").verdict == "allow"


def test_a_circle_is_shown(tmp_path: Path) -> None:
    """Files that extend each other are refused, with the way round."""
    around = "policyguard: 1\nid: parent\nextends: [child.yaml]\n"
    (problem,) = refusal(tmp_path, parent=around, child=child(""))
    where = "parent.yaml:3:11: PG117 `extends` runs in a circle: "
    assert problem.startswith(where)
    assert "child.yaml -> parent.yaml -> child.yaml" in problem


def test_a_file_can_not_extend_itself(tmp_path: Path) -> None:
    """The shortest circle is refused too."""
    (problem,) = refusal(tmp_path, child=child("", "./child.yaml"))
    assert "PG117" in problem


# fmt: off
OUTSIDE = {
    "the folder above": "../secret.yaml",
    "round about": "sub/../../secret.yaml",
    "an absolute path": "/etc/hosts",
    "a URL": "https://example.com/policy.yaml",
    "a file URL": "file:///etc/hosts",
    "a link that leads out": "link.yaml",
    "a linked folder that leads out": "linked/secret.yaml",
}
# fmt: on


@pytest.mark.parametrize("path", OUTSIDE.values(), ids=OUTSIDE)
def test_parents_outside_of_the_folder_are_refused(tmp_path: Path, path: str) -> None:
    """Whatever lies outside is refused unread."""
    root = tmp_path / "root"
    (root / "sub").mkdir(parents=True)
    secret = tmp_path / "secret.yaml"
    secret.write_text(PARENT, encoding="utf-8")
    (root / "link.yaml").symlink_to(secret)
    (root / "linked").symlink_to(tmp_path)
    (problem,) = refusal(root, child=child("", f'"{path}"'))
    assert "child.yaml:3:10: PG116" in problem


def test_a_link_inside_the_folder_is_followed(tmp_path: Path) -> None:
    """Only where a link leads counts."""
    (tmp_path / "real.yaml").write_text(PARENT, encoding="utf-8")
    (tmp_path / "parent.yaml").symlink_to(tmp_path / "real.yaml")
    assert len(load(tmp_path, child=CHILD).rules) == 2


def test_a_parent_that_is_missing_or_no_file_is_refused(tmp_path: Path) -> None:
    """The problem stands where the child names the file that can't be read."""
    (problem,) = refusal(tmp_path, child=child("", "nowhere.yaml"))
    assert problem.startswith("child.yaml:3:10: PG001 can't read the parent `nowhere.yaml`")
    (tmp_path / "folder").mkdir()
    (problem,) = refusal(tmp_path, child=child("", "folder"))
    assert problem.startswith("child.yaml:3:10: PG001 can't read the parent `folder`")


def test_problems_of_parent_and_child_come_together(tmp_path: Path) -> None:
    """One run names what is wrong in every file."""
    broken = PARENT.replace("user.face]", "user.fce]")
    text = child("rules:\n  - {id: x, forbid: {data: [user.emal]}}\n")
    found = refusal(tmp_path, parent=broken, child=text)
    assert [problem.split(" ")[0:2] for problem in found] == [
        ["child.yaml:5:29:", "PG104"],
        ["parent.yaml:9:21:", "PG104"],
    ]


def test_a_chain_of_too_many_files_is_refused(tmp_path: Path) -> None:
    """The number of files of one policy is bounded."""
    last = MAX_FILES + 3
    for number in range(last):
        up = f"extends: f{number + 1}.yaml\n" if number + 1 < last else ""
        (tmp_path / f"f{number}.yaml").write_text(f"policyguard: 1\nid: f{number}\n{up}")
    with pytest.raises(PolicyError) as caught:
        load_policy(tmp_path / "f0.yaml")
    assert [problem.code for problem in caught.value.problems] == ["PG116"]


def test_text_in_memory_extends_nothing() -> None:
    """Without a file there is no folder to stay inside of."""
    with pytest.raises(PolicyError) as caught:
        policy_from_text(CHILD)
    assert "PG116" in [problem.code for problem in caught.value.problems]
