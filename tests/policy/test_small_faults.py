"""Small faults that were found by attack, each with its place and a hint that helps."""

from __future__ import annotations

from pathlib import Path
from typing import Final

import pytest

from policyguard.errors import PolicyError
from policyguard.policy.assemble import load_policy, policy_from_text
from policyguard.policy.lint import lint

HEAD: Final = "policyguard: 1\nid: p\n"
RULE: Final = HEAD + "rules:\n  - id: r\n"
HOSTING: Final = (
    "github.io", "herokuapp.com", "web.app", "amazonaws.com", "cloudfront.net", "azurewebsites.net",
    "vercel.app", "netlify.app", "pages.dev", "workers.dev", "appspot.com", "run.app",
)  # fmt: skip
REFUSED: Final = {
    # what is wrong: (file, every `line:col code`, a part of the message or hint)
    "only the start of a change": (
        HEAD + "purpose_changes: [{from: marketing}]\n",
        "3:19 PG102",
        "`to` is missing (name a purpose)",
    ),
    "an exception with a condition": (
        RULE + "    forbid: {}\n    except: {when: {consent: true}}\n",
        "6:14 PG101",
        "unknown key `when` (write a rule of its own)",
    ),
    "an empty entry of any": (
        RULE + "    forbid: {}\n    when: {any: [{age: {below: x}}]}\n",
        "6:32 PG103",
        "whole number",
    ),
    "forms without a way": (
        RULE + "    forbid: {form: [raw, encrypted]}\n",
        "5:20 PG111",
        "write form: {all_of: [...]} or form: {any_of: [...]}",
    ),
    "a tab": (HEAD + "rules:\n\t- id: r\n", "4:1 PG003", "a tab can't indent (use spaces)"),
    "a recipient named anyone": (
        HEAD + "recipients: {anyone: {kind: processor}}\n",
        "3:22 PG109",
        "another name",
    ),
    "a recipient named any": (
        HEAD + "recipients: {any: {kind: processor}}\n",
        "3:19 PG109",
        "another name",
    ),
    "a date without lines": (HEAD + "notice: {updated: 20241111}\n", "3:19 PG103", "2027-01-31"),
    "a date by week": (HEAD + "notice: {updated: 2024-W46-1}\n", "3:19 PG103", "2027-01-31"),
    **{
        f"a suffix of hosting, {suffix}": (
            HEAD + f'recipients: {{a: {{kind: processor, hosts: ["*.{suffix}"]}}}}\n',
            "3:43 PG114",
            "name your own subdomain",
        )
        for suffix in HOSTING
    },
}


@pytest.mark.parametrize("name", REFUSED)
def test_small_faults_are_refused_with_a_hint_that_helps(name: str) -> None:
    """One problem at one place, and what to do about it."""
    text, place, says = REFUSED[name]
    with pytest.raises(PolicyError) as caught:
        policy_from_text(text)
    assert ", ".join(f"{p.line}:{p.col} {p.code}" for p in caught.value.problems) == place
    assert says in str(caught.value)


def test_an_own_subdomain_of_a_host_is_fine() -> None:
    """Below a name of one's own nobody else can rent one."""
    hosts = ", ".join(f'"shop.{suffix}", "*.shop.{suffix}"' for suffix in HOSTING)
    text = HEAD + f"recipients: {{a: {{kind: processor, hosts: [{hosts}]}}}}\n"
    assert len(policy_from_text(text).recipients["a"].hosts) == 2 * len(HOSTING)


def test_a_retention_over_many_data_has_an_id() -> None:
    """A default id that would be too long names the first term, and differs with any other."""
    terms = [f"user.contact.own_{number}" for number in range(60)]
    own = "".join(f"    {term}: x\n" for term in terms)
    ids = set()
    for data in (terms, terms[:-1], terms[:2]):
        kept = f"retention: [{{data: [{', '.join(data)}], keep: P1D, since: x}}]\n"
        ids.add(policy_from_text(f"{HEAD}terms:\n  data:\n{own}{kept}").retention[0].id)
    short, *long = sorted(ids, key=len)
    assert short == f"retention:{terms[0]}+{terms[1]}"
    assert len(long) == 2
    assert all(name.startswith(f"retention:{terms[0]}+5") and len(name) < 80 for name in long)


def test_a_built_in_root_with_another_meaning_is_a_warning() -> None:
    """A term at the top hangs below nothing, and needn't when it is built in."""
    policy = policy_from_text(HEAD + "terms: {data: {user: somebody}}\n")
    assert "PG309" in [problem.code for problem in lint(policy)]


def test_rules_don_t_take_the_places_of_other_parts() -> None:
    """A rule may be called `notice` or `title`; a warning still stands where its part stands."""
    rules = "rules:\n  - {id: title, forbid: {}}\n  - {id: notice, forbid: {}}\n"
    policy = policy_from_text(f"{HEAD}{rules}title: TODO\nnotice: {{title: TODO}}\n")
    found = {(p.line, p.code) for p in lint(policy) if p.code in ("PG310", "PG307")}
    assert found == {(6, "PG310"), (7, "PG310"), (7, "PG307")}


def test_a_parent_that_can_t_be_read_is_a_problem_of_its_child(tmp_path: Path) -> None:
    """It stands at the line that names the parent; the name is shown on one line."""
    child = tmp_path / "chi\nld.yaml"
    child.write_text(HEAD + 'extends: ["no\\nwhere.yaml"]\n', encoding="utf-8")
    with pytest.raises(PolicyError) as caught:
        load_policy(child)
    shown = (
        f"{tmp_path}/chi\\u000ald.yaml:3:11: PG001 can't read the parent `no\\u000awhere.yaml`: "
    )
    assert str(caught.value) == f"{shown}no such file or directory"
