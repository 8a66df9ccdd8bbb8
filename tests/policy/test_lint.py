"""Warnings about a policy: each kind is found at its place, and each warning is true."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any, Final

import pytest

from policyguard.engine.compile import Snapshot, compile_policy
from policyguard.policy.assemble import load_policy, policy_from_dict, policy_from_text
from policyguard.policy.conditions import When
from policyguard.policy.datamap import data_map_from_text, load_data_map
from policyguard.policy.flow import Facts, close_form
from policyguard.policy.lint import lint
from policyguard.policy.satisfiable import can_hold
from tests.engine.generator import plain, random_flow, random_policy, random_when
from tests.engine.words import Plain

ROOT: Final = Path(__file__).resolve().parent.parent.parent
POLICIES: Final = sorted((ROOT / "policies").glob("*/policy.yaml"))
SHA: Final = "0" * 64
HEAD: Final = f"""\
policyguard: 1
id: p
notice: {{clauses: {{"1": {{says: x, sha256: {SHA}}}}}}}
named_only: [{{data: [user.biometric, user.contact.email]}}, {{data: user.contact.phone_number}}]
recipients: {{shop: {{kind: processor, located: US}}}}
rules:
  - {{id: a, permit: {{data: [user.device], purposes: [essential], to: [self, shop]}}, cites: "1"}}
"""


def rule(text: str) -> str:
    """The valid policy and one more rule, on line 8."""
    return f'{HEAD}  - {{id: new, cites: "1", {text}}}\n'


def found(text: str, data_map: str = "") -> list[str]:
    """The warnings as `line:col code`."""
    labels = data_map_from_text(data_map, name="map.yaml") if data_map else None
    problems = lint(policy_from_text(text, name="policy.yaml"), labels)
    assert all(problem.severity == "warning" for problem in problems)
    return [f"{problem.line}:{problem.col} {problem.code}" for problem in problems]


def test_a_clean_policy_has_no_warnings() -> None:
    """The base of the tables below is clean."""
    assert found(HEAD) == []


def permit(data: str, purposes: str = "[collect]", to: str = "[self]", rest: str = "") -> str:
    """A permit."""
    return f"permit: {{data: {data}, purposes: {purposes}, to: {to}{rest}}}"


def when(condition: str) -> str:
    """A forbid with a condition."""
    return f"forbid: {{data: [user.name]}}, when: {{{condition}}}"


RULES: Final = {
    "an age that is no age": (when("age: {below: 13, from: 18}"), ["8:5 PG301"]),
    "an age below zero": (when("age: {below: 0}"), ["8:5 PG301"]),
    "agreed and refused": (when("all: [{consent: true}, {consent: false}]"), ["8:5 PG301"]),
    "in two states at once": (when("all: [{region: DE}, {region: FR}]"), ["8:5 PG301"]),
    "in the EU, not in the EEA": (when("region: EU, not: {region: EEA}"), ["8:5 PG301"]),
    "old and not old": (
        when("data_age: {above: P2Y}, not: {data_age: {above: P1Y}}"),
        ["8:5 PG301"],
    ),
    "a range of ages": (when("age: {below: 18, from: 13}"), []),
    "one of two states": (when("any: [{region: DE}, {region: FR}]"), []),
    "in a state, not in a part of it": (when("region: US, not: {region: US-CA}"), []),
    "in the EEA, not in the EU": (when("region: EEA, not: {region: EU}"), []),
    "everything taken out": ("forbid: {data: [user.name]}, except: {data: user}", ["8:5 PG302"]),
    "what lies above is not taken out": (
        "forbid: {data: [user.name]}, except: {data: user.name}",
        [],
    ),
    "everything taken out by form": (
        permit("[user.name]", rest=", form: anonymised") + ", except: {form: pseudonymised}",
        ["8:5 PG302"],
    ),
    "something taken out": (
        "forbid: {data: [user.contact]}, except: {data: user.contact.email}",
        [],
    ),
    "a kind that nobody is": ("forbid: {to: {kind: data_broker}}", ["8:5 PG302"]),
    "a narrower permit": (permit("[user.device]", "[essential.service]"), ["8:5 PG303"]),
    "a narrower permit with a condition": (
        permit("[user.device]", "[essential.service]") + ", when: {consent: true}",
        ["8:5 PG303"],
    ),
    "the same permit": (permit("[user.device]", "[essential]", "[self, shop]"), ["8:5 PG303"]),
    "a wider permit": (permit("[user.device]", "[essential, marketing]"), []),
    "a permit that names more": (permit("[user.device, user.contact.email]", "[essential]"), []),
    "any data": (permit("any"), ["8:5 PG311"]),
    "any purpose": (permit("[user.name]", "any"), ["8:5 PG311"]),
    "anyone": (permit("[user.name]", to="anyone"), ["8:5 PG311"]),
    "a tree for one purpose": (permit("[user]"), []),
    "minutes": (when("data_age: {above: PT6M}"), ["8:5 PG314"]),
    "raw only": (permit("[user.name]", rest=", form: raw"), ["8:5 PG315"]),
}


def beside(other: str) -> str:
    """A permit to the shop, on line 8, and another rule."""
    return rule(permit("[user.name]", to="[shop]")) + f'  - {{id: other, cites: "1", {other}}}\n'


def idle(more: str = "", other: str = "") -> str:
    """Another recipient, on line 5, and perhaps another rule."""
    text = HEAD.replace("located: US}", f"located: US}}, idle: {{kind: analytics{more}}}")
    return text + (f'  - {{id: other, cites: "1", {other}}}\n' if other else "")


def also(part: str) -> str:
    """Another section, on line 8."""
    return f"{HEAD}{part}\n"


OTHERS: Final = {
    "a narrower forbid": (
        HEAD + '  - {id: new, forbid: {data: [user.name]}, cites: "1"}\n'
        '  - {id: wide, forbid: {data: [user.name, user.content]}, cites: "1"}\n',
        ["8:5 PG303"],
    ),
    "a permit taken back": (beside("forbid: {data: [user.name]}"), ["8:5 PG304"]),
    "a permit taken back but for it": (
        beside("forbid: {data: [user.name]}, except: {to: [shop]}"),
        [],
    ),
    "a permit taken back but for others": (
        beside("forbid: {data: [user.name]}, except: {to: [self]}"),
        ["8:5 PG304"],
    ),
    "a permit of what must be named": (
        HEAD.replace("user.biometric, ", "user.device.ip_address, ")
        + "terms: {data: {user.device.ip_address.v4: x}}\n",
        [],
    ),
    "a recipient nobody mentions": (idle(), ["5:52 PG305"]),
    "a recipient mentioned by kind": (idle(other="forbid: {to: {kind: analytics}}"), []),
    "a recipient mentioned by place": (
        idle(", located: DE", "forbid: {to: {located: EU}, data: [user.name]}"),
        [],
    ),
    "a recipient mentioned in an exception": (
        idle(other="forbid: {data: [user.name]}, except: {to: idle}"),
        [],
    ),
    "self as a processor": (
        HEAD.replace("located: US}", "located: US}, self: {kind: processor}"),
        ["5:52 PG313"],
    ),
    "a contract": (
        HEAD.replace("located: US}", "located: US, contract: {until: 2030-01-01}}"),
        ["5:14 PG317"],
    ),
    "a clause nobody cites": (
        HEAD.replace('"1":', f'"2": {{says: y, sha256: {SHA}}}, "1":'),
        ["3:20 PG306"],
    ),
    "a clause that says why": (
        HEAD.replace('"1":', f'"2": {{says: y, sha256: {SHA}, unenforced: talk}}, "1":'),
        [],
    ),
    "a clause without a digest": (HEAD.replace(f", sha256: {SHA}", ""), ["3:20 PG308"]),
    "rules that cite nothing": (
        HEAD + "  - {id: c, forbid: {data: [user.name]}}\n"
        "  - {id: b, forbid: {data: [user.content]}}\n",
        ["8:5 PG307"],
    ),
    "no notice": ("policyguard: 1\nid: p\n", ["1:1 PG307"]),
    "a built-in term": (also("terms: {data: {user.name: nickname}}"), ["8:16 PG309"]),
    "a blank in a title": (also("title: Policy of [Your Company Name]"), ["8:1 PG310"]),
    "a blank in a clause": (HEAD.replace("says: x", "says: ask <e-mail>"), ["3:20 PG310"]),
    "work left in a term": (also('terms: {facts: {asked: "TODO: say what"}}'), ["8:17 PG310"]),
    "signs that are no blanks": (also('title: "${VAR} {x} [1] a < b"'), []),
    "minutes of retention": (
        also('retention: [{data: [user.device], keep: PT6M, since: x, cites: "1"}]'),
        ["8:13 PG314"],
    ),
    "minutes of an obligation": (
        also("obligations: [{id: tell, do: a, after: b, within: PT6M}]"),
        ["8:15 PG314"],
    ),
    "hours of an obligation": (
        also("obligations: [{id: tell, do: a, after: b, within: PT72H}]"),
        [],
    ),
}


@pytest.mark.parametrize(("text", "warnings"), RULES.values(), ids=RULES)
def test_rules(text: str, warnings: list[str]) -> None:
    """What a rule surely doesn't mean is told at the rule."""
    assert found(rule(text)) == warnings


@pytest.mark.parametrize(("text", "warnings"), OTHERS.values(), ids=OTHERS)
def test_other_parts(text: str, warnings: list[str]) -> None:
    """What the other parts of a policy surely don't mean is told where it stands."""
    assert found(text) == warnings


def test_a_permit_that_reaches_only_what_must_be_named() -> None:
    """A permit on something above `named_only` data permits nothing if nothing else is below."""
    text = HEAD.replace("user.biometric,", "user.social.telegram,")
    above = permit("[user.social]")
    named = permit("[user.social, user.social.telegram]")
    wider = permit("[user.social, user.account]")
    assert [
        found(f'{text}  - {{id: new, cites: "1", {one}}}\n') for one in (above, named, wider)
    ] == [
        ["8:5 PG302"],
        [],
        ["8:5 PG302"],
    ]


# fmt: off
HOSTS: Final = {
    "one host": ("www.example.com", "www.example.com", True),
    "a host and all below another": ("a.example.com", "*.example.com", True),
    "a suffix inside a suffix": ("*.a.example.com", "*.example.com", True),
    "a path inside a path": ("example.com/a", "example.com/a/b", True),
    "two paths": ("example.com/a", "example.com/b", False),
    "a host and all below it": ("example.com", "*.example.com", False),
    "two hosts": ("a.example.com", "b.example.com", False),
}
# fmt: on


@pytest.mark.parametrize(("mine", "other", "shared"), HOSTS.values(), ids=HOSTS)
def test_hosts_that_two_recipients_claim(mine: str, other: str, shared: bool) -> None:
    """The second of two recipients that could mean one request is told, once."""
    text = HEAD.replace("kind: processor", f'kind: processor, hosts: ["{mine}"]')
    text = text.replace(
        "located: US}", f'located: US}}, extra: {{kind: processor, hosts: ["{other}"]}}'
    )
    text += '  - {id: both, forbid: {to: [extra]}, cites: "1"}\n'
    codes = [problem.code for problem in lint(policy_from_text(text))]
    assert codes.count("PG312") == int(shared)


MAP: Final = """\
tables:
  users:
    columns:
      ip: user.device.ip_address
      name: user.name
      guess: {data: user.name, suspected: true}
      id: {subject: true}
      mail: user.contact.email
fields:
  face: user.biometric
"""


def test_labelled_data_that_no_permit_reaches() -> None:
    """A column whose data may not be used at all is told in the data map."""
    assert found(HEAD, MAP) == ["5:7 PG316", "8:7 PG316", "10:3 PG316"]
    wide = rule(permit("[user]"))
    assert found(wide, MAP) == ["8:7 PG316", "10:3 PG316"]
    named = rule(permit("[user, user.contact.email, user.biometric]"))
    assert found(named, MAP) == []


@pytest.mark.parametrize("path", POLICIES, ids=lambda path: path.parent.name)
def test_the_published_policies(path: Path) -> None:
    """Their only warnings are blanks that the published text itself has."""
    policy = load_policy(path)
    labels = load_data_map(path.with_name("data-map.yaml"), policy.words, policy.everyone)
    assert {problem.code for problem in lint(policy, labels)} <= {"PG310"}


def narrowed(rng: random.Random, policy: Plain) -> Plain:
    """The policy with copies of its rules that cover less, so that some rules hold others."""
    rules = list(policy["rules"])
    for number, one in enumerate(policy["rules"]):
        effect = "permit" if "permit" in one else "forbid"
        cover = dict(one[effect])
        for key in ("data", "purposes", "to"):
            if isinstance(cover.get(key), list) and rng.random() < 0.5:
                cover[key] = rng.sample(cover[key], 1)
        if rng.random() < 0.3:
            effect = "forbid"
            cover.pop("form", None)
        copy = {key: value for key, value in one.items() if key not in ("permit", "forbid")}
        if effect == "forbid" or rng.random() < 0.5:
            copy = {key: value for key, value in copy.items() if key not in ("when", "if_unknown")}
        rules.append({**copy, "id": f"copy{number}", effect: cover})
    return {**policy, "rules": rules}


def verdict(snapshot: Snapshot, flow: Plain) -> str:
    """The verdict on a flow."""
    return snapshot.decide(
        flow["data"],
        close_form(flow["form"]),
        flow["purpose"],
        flow["recipient"],
        Facts(flow["context"]),
    ).verdict


@pytest.mark.slow
def test_a_rule_that_changes_nothing_can_go() -> None:
    """Taking out a rule that the lint calls shadowed or taken back changes no verdict."""
    rng = random.Random("lint")
    seen: dict[str, int] = {}
    for _ in range(200):
        tree = narrowed(rng, random_policy(rng))
        policy = policy_from_dict(plain(tree))
        warned = [p for p in lint(policy) if p.code in ("PG302", "PG303", "PG304")]
        if not warned:
            continue
        before = compile_policy(policy)
        flows = [random_flow(rng, tree) for _ in range(40)]
        for problem in warned[:3]:
            name = problem.message.split("`")[1]
            if problem.code == "PG302" and "never applies" not in problem.message:
                continue
            seen[problem.code] = seen.get(problem.code, 0) + 1
            rules = [one for one in tree["rules"] if one["id"] != name]
            after = compile_policy(policy_from_dict(plain({**tree, "rules": rules})))
            for flow in flows:
                assert verdict(before, flow) == verdict(after, flow), (problem, plain(tree), flow)
    assert min(seen[code] for code in ("PG302", "PG303", "PG304")) > 10


@pytest.mark.slow
def test_a_condition_that_can_not_hold_never_does() -> None:
    """No facts make a condition hold that the search calls impossible; the others hold for some."""
    rng = random.Random("conditions")
    impossible = 0
    for _ in range(300):
        tree = random_policy(rng)
        pool = tree["pool"]
        both = [random_when(rng, pool, wish=wish) for wish in (True, False)]
        condition: Plain = {"all": [*both, {"not": both[0]}] if rng.random() < 0.3 else both}
        if can_hold(When.model_validate(condition)):
            continue
        impossible += 1
        one = {"id": "only", "permit": {"data": "any", "purposes": "any", "to": "anyone"}}
        lone: dict[str, Any] = {
            **plain(tree),
            "named_only": [],
            "retention": [],
            "rules": [{**one, "when": condition}],
        }
        snapshot = compile_policy(policy_from_dict(lone))
        flows = [random_flow(rng, {**lone, "pool": pool}) for _ in range(40)]
        assert "allow" not in {verdict(snapshot, flow) for flow in flows}
    assert impossible > 20
