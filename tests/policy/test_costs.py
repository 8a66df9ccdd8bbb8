"""Files that stay below every cap and still mean much work: load and lint end, soon and small."""

from __future__ import annotations

import resource
import subprocess
import sys
from collections.abc import Callable, Iterable
from typing import Final

import pytest

HEAD: Final = "policyguard: 1\nid: p\n"
_PROGRAM: Final = """
import resource, sys
from policyguard.errors import PolicyError
from policyguard.policy.assemble import policy_from_text
from policyguard.policy.lint import lint
from policyguard.policy.taxonomy import built_in
built_in()
text = sys.stdin.buffer.read()
pages = int(open("/proc/self/statm").read().split()[0])
most = pages * resource.getpagesize() + (100 << 20)
resource.setrlimit(resource.RLIMIT_AS, (most, most))
used = resource.getrusage(resource.RUSAGE_SELF)
before = used.ru_utime + used.ru_stime
resource.setrlimit(resource.RLIMIT_CPU, (int(before) + 2, int(before) + 2))
try:
    print(len(lint(policy_from_text(text))), "warnings")
except PolicyError as error:
    print(len(error.problems), error.problems[0].code)
used = resource.getrusage(resource.RUSAGE_SELF)
print(round(used.ru_utime + used.ru_stime - before, 2), "seconds", file=sys.stderr)
"""


def _rules(*parts: Iterable[str]) -> str:
    return HEAD + "rules:\n" + "".join(f"- {{{part}}}\n" for group in parts for part in group)


def _permit(name: str, data: str, more: str = "") -> str:
    return f"id: {name}, permit: {{data: [{data}], purposes: [essential], to: [self]}}{more}"


def _forbid_when(condition: str) -> str:
    return f"{HEAD}rules:\n- {{id: r, forbid: {{}}, when: {condition}}}\n"


def _listed(texts: Iterable[str]) -> str:
    return ", ".join(texts)


def _recipients(hosts: Iterable[Iterable[str]]) -> str:
    parts = (
        f"  a{i}: {{kind: processor, hosts: [{_listed(found)}]}}\n" for i, found in enumerate(hosts)
    )
    return HEAD + "recipients:\n" + "".join(parts)


def _own(count: int) -> str:
    return HEAD + "terms:\n  data:\n" + "".join(f"    user.own{i}: x\n" for i in range(count))


def _named(count: int) -> str:
    below = "".join(f"- {{data: user.own{i}}}\n" for i in range(count))
    return f"{_own(count)}named_only:\n{below}"


def _ages(count: int) -> str:
    return _listed(f"{{age: {{below: {i}}}}}" for i in range(1, count))


COSTS: Final[dict[str, tuple[Callable[[], str], str]]] = {
    # what costs: (the file, how the answer begins)
    "half a placeholder, again and again": (
        lambda: f'{HEAD}title: "{"[your " * 60_000}"\n',
        "",
    ),
    "thousands of misspelt terms": (
        lambda: _rules([_permit("r", _listed(f"user.contct.emial{i}" for i in range(20_000)))]),
        "20000 PG104",
    ),
    "long misspelt terms": (
        lambda: _rules([_permit("r", _listed(f"user.{'contct' * 19}{i}" for i in range(6_000)))]),
        "6000 PG104",
    ),
    "misspelt terms beside many own ones": (
        lambda: (
            _own(15_000)
            + _rules([_permit(f"r{i}", f"user.owm{i}") for i in range(900)]).removeprefix(HEAD)
        ),
        "900 PG104",
    ),
    "thousands of misspelt recipients": (
        lambda: (
            _recipients([()] * 2_000)
            + _rules(
                [f"id: r, forbid: {{to: [{_listed(f'b{i}' for i in range(20_000))}]}}"]
            ).removeprefix(HEAD)
        ),
        "20000 PG106",
    ),
    "thousands of clauses that don't exist": (
        lambda: (
            HEAD
            + "notice: {clauses: {"
            + _listed(f"c{i}: {{says: x}}" for i in range(5_000))
            + "}}\n"
            + _rules(
                [f"id: r, forbid: {{}}, cites: [{_listed(f'd{i}' for i in range(20_000))}]"]
            ).removeprefix(HEAD)
        ),
        "20000 PG107",
    ),
    "thousands of unknown keys": (
        lambda: HEAD + "".join(f"rulez{i}: 1\n" for i in range(20_000)),
        "20000 PG101",
    ),
    "thousands of wrong values": (
        lambda: (
            HEAD + "recipients:\n" + "".join(f"  a{i}: {{kind: procesor}}\n" for i in range(9_000))
        ),
        "9000 PG103",
    ),
    "thousands of recipients that are broken": (
        lambda: HEAD + "recipients:\n" + "".join(f"  a{i}: {{}}\n" for i in range(20_000)),
        "20000 PG102",
    ),
    "thousands of own terms": (lambda: _own(24_000), ""),
    "one host, thousands of recipients": (
        lambda: _recipients([f"h.example/p{i}"] for i in range(4_000)),
        "",
    ),
    "one host that thousands claim": (
        lambda: _recipients(["h.example"] for _ in range(4_000)),
        "",
    ),
    "two recipients with thousands of paths": (
        lambda: _recipients([[f"h.example/p{i}" for i in range(20_000)]] * 2),
        "",
    ),
    "paths above and below": (
        lambda: _recipients(
            [
                [f"'*.h.example/p{i}/q'" for i in range(15_000)],
                [f"a.h.example/p{i}" for i in range(15_000)],
            ]
        ),
        "",
    ),
    "recipients that no rule mentions": (
        lambda: (
            _recipients([()] * 4_000)
            + _rules(
                f"id: r{i}, forbid: {{to: [{{located: US}}]}}" for i in range(2_300)
            ).removeprefix(HEAD)
        ),
        "",
    ),
    "everyone, in every rule": (
        lambda: (
            _recipients([()] * 4_000)
            + _rules(f"id: r{i}, forbid: {{}}" for i in range(4_000)).removeprefix(HEAD)
        ),
        "",
    ),
    "nearly everyone, in every rule": (
        lambda: (
            _recipients([()] * 3_000)
            + _rules(
                f"id: r{i}, forbid: {{to: [{{kind: processor}}, {{located: US}}, a{i}]}}"
                for i in range(2_000)
            ).removeprefix(HEAD)
        ),
        "",
    ),
    "thousands of terms under named_only": (lambda: _named(8_000), ""),
    "named_only and permits on what is above": (
        lambda: (
            _named(4_000)
            + _rules(_permit(f"r{i}", "user") for i in range(1_500)).removeprefix(HEAD)
        ),
        "",
    ),
    "named_only and a permit that names nearly all": (
        lambda: (
            _named(6_000)
            + _rules(
                [_permit("r", _listed(f"user.own{i}" for i in range(5_999)) + ", user")]
            ).removeprefix(HEAD)
        ),
        "",
    ),
    "wide rules, many exceptions": (
        lambda: (
            _rules(
                f"id: r{n}, forbid: {{data: [{_listed(f'user.own{i}' for i in range(7_000))}, "
                f"system]}}, except: [{_listed(['{data: [user]}'] * 5_000)}]"
                for n in range(1)
            )
            + _own(7_000).removeprefix(HEAD)
        ),
        "",
    ),
    "two rules on thousands of terms": (
        lambda: (
            _rules(
                _permit(f"r{i}", _listed(f"user.own{i}" for i in range(9_000))) for i in range(3)
            )
            + _own(9_000).removeprefix(HEAD)
        ),
        "",
    ),
    "thousands of ages": (lambda: _forbid_when(f"{{any: [{_ages(6_900)}]}}"), "1 PG120"),
    "thousands of ages of data": (
        lambda: _forbid_when(
            f"{{any: [{_listed(f'{{data_age: {{above: P{i}D}}}}' for i in range(1, 4_800))}]}}"
        ),
        "1 PG120",
    ),
    "thousands of facts nobody declares": (
        lambda: _forbid_when(f"{{facts: {{{_listed(f'f{i}: true' for i in range(24_000))}}}}}"),
        "1 PG120",
    ),
    "thousands of regions": (
        lambda: _forbid_when(
            "{region: ["
            + _listed(
                f"{c}-{a}{b}"
                for c in ("US", "DE", "FR", "IT", "ES")
                for a in range(10)
                for b in range(10)
            )
            + "]}"
        ),
        "",
    ),
    "as many conditions as may be, in many rules": (
        lambda: _rules(
            f"id: r{i}, forbid: {{}}, when: {{any: [{_ages(60)}, {{consent: true}}, "
            "{restricted: true}, {legal_request: false}]}"
            for i in range(120)
        ),
        "",
    ),
    "conditions that never hold, in many rules": (
        lambda: (
            _rules(
                f"id: r{i}, forbid: {{}}, when: {{all: [{{consent: true}}, {{consent: false}}, "
                f"{_listed(f'{{facts: {{f{n}: true}}}}' for n in range(11))}]}}"
                for i in range(600)
            )
            + "terms: {facts: {"
            + _listed(f"f{n}: x" for n in range(11))
            + "}}\n"
        ),
        "",
    ),
}


@pytest.mark.parametrize(("make", "begins"), COSTS.values(), ids=COSTS)
def test_load_and_lint_cost_little(make: Callable[[], str], begins: str) -> None:
    """Within two seconds of CPU and 100 MiB there is an answer, and the process goes on."""
    done = subprocess.run(
        [sys.executable, "-c", _PROGRAM],
        input=make().encode(),
        capture_output=True,
        check=False,
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_CORE, (0, 0)),
    )
    assert (done.returncode, done.stderr.decode().splitlines()[-1:]) != (-24, [])
    assert done.returncode == 0, done.stderr.decode()[-400:]
    assert done.stdout.decode().startswith(begins)
