"""Thirty kinds of bad policy files: what is refused, where, with which code and which way out.

The files that need others (`extends`) are in test_extends.py; the warnings in test_lint.py.
"""

from __future__ import annotations

import resource
import subprocess
import sys
from typing import Final

import pytest

from policyguard.errors import PolicyError
from policyguard.policy.assemble import policy_from_text
from policyguard.policy.loader import Limits

HEAD: Final = "policyguard: 1\nid: p\n"
RULE: Final = HEAD + "rules:\n  - id: r\n"
PERMIT: Final = RULE + (
    "    permit: {data: [user.contact.email], purposes: [essential.service], to: [self]}\n"
)
KEPT: Final = HEAD + "retention:\n  - {data: [user], since: x, keep: "
HOST: Final = HEAD + "recipients: {a: {kind: processor, hosts: ["


def permit(cover: str) -> str:
    """A policy with one permit, on line 5."""
    return f"{RULE}    permit: {{{cover}}}\n"


def forbid_when(condition: str) -> str:
    """A policy with one forbid and its condition, on line 6."""
    return f"{RULE}    forbid: {{}}\n    when: {condition}\n"


REFUSED: Final[dict[str, tuple[str | bytes, str, str]]] = {
    # what is wrong: (file, every `line:col code`, a part of some hint or message)
    "01 an alias": (
        HEAD + "id2: &a x\ntitle: *a\n",
        "3:1 PG101, 3:6 PG005, 4:8 PG005",
        "write it out",
    ),
    "01 aliases in a list": (
        HEAD + "title: &a x\nrules:\n  - &b [*a, *a]\n",
        "3:8 PG005, 5:5 PG005, 5:5 PG103, 5:9 PG005, 5:13 PG005",
        "anchors",
    ),
    "02 a merge key": (HEAD + "terms:\n  <<: {data: {}}\n", "4:3 PG005", "merge keys"),
    "03 an alias to itself": (
        HEAD + "rules: &r\n  - *r\n",
        "3:8 PG005, 4:5 PG005",
        "aliases",
    ),
    "04 30,000 open brackets": (HEAD + "rules: " + "[" * 30_000, "3:39 PG004", "deeper than 32"),
    "04 3,000 nested mappings": (
        HEAD + "rules: " + "{a: " * 3_000,
        "3:132 PG004",
        "deeper than 32",
    ),
    "04 33 levels": (HEAD + "rules: " + "[" * 32 + "]" * 32, "3:39 PG004", "deeper than 32"),
    "05 a scalar of 10 MB": (
        HEAD + "title: " + "x" * 10_000_000,
        "0:0 PG001",
        "larger than 1048576 bytes",
    ),
    "05 100,000 rules": (
        HEAD + "rules:\n" + "- {id: r, forbid: {}}\n" * 100_000,
        "0:0 PG001",
        "larger",
    ),
    "05 50,001 parts": (
        HEAD + "rules: [" + "a," * 50_001 + "]",
        "3:99995 PG004",
        "more than 50000 nodes",
    ),
    "06 a number of 5,000 digits": (
        forbid_when("{age: {below: " + "9" * 5_000 + "}}"),
        "6:25 PG103",
        "at most 9 digits",
    ),
    "06 not a number": (forbid_when("{age: {below: .nan}}"), "6:25 PG103", "whole number"),
    "06 infinity": (forbid_when("{age: {from: .inf}}"), "6:24 PG103", "whole number"),
    "07 empty": ("", "1:1 PG008", "policyguard: 1"),
    "07 comments only": ("# nothing\n", "1:1 PG008", "empty"),
    "07 a list": ("- a\n", "1:1 PG008", "not a mapping"),
    "07 a word": ("hello\n", "1:1 PG008", "not a mapping"),
    "08 UTF-16": (HEAD.encode("utf-16"), "1:1 PG002", "save it as UTF-8"),
    "08 Latin-1": (HEAD.encode() + b"title: caf\xe9\n", "3:11 PG002", "save it as UTF-8"),
    "08 NUL": (HEAD + "title: a\0b\n", "3:9 PG002", "U+0000"),
    **{
        f"08 a line break that no editor shows, {name}": (
            HEAD + f"# a comment{char}rules: [{{id: r, forbid: {{}}}}]\n",
            "3:12 PG002",
            f"U+{ord(char):04X} is not allowed (end each line with a line feed)",
        )
        for name, char in {
            "NEL": "\x85",
            "LS": "\u2028",
            "PS": "\u2029",
            "CR": "\r",
        }.items()
    },
    "08 a line break in quotes that no editor shows": (
        HEAD + 'title: "a\\Lb"\n',
        "3:8 PG002",
        "control characters",
    ),
    "08 a tab that indents": (HEAD + "rules:\n\t- id: r\n", "4:1 PG003", "not valid YAML"),
    "09 cut off inside a list": (
        RULE + "    permit: {data: [user.con",
        "6:1 PG003",
        "not valid YAML",
    ),
    "09 cut off after a line": (
        permit("data: [user], purposes: [essential]"),
        "5:13 PG102",
        "to: anyone",
    ),
    "10 a key twice": (HEAD + "id: q\n", "3:1 PG007", "`id`"),
    "10 a key twice, deep": (
        RULE + "    forbid: {data: [user], data: [system]}\n",
        "5:28 PG007",
        "`data`",
    ),
    "10 a key twice, once in quotes": (HEAD + '"id": q\n', "3:1 PG007", "`id`"),
    "11 a second document": (HEAD + "---\n" + HEAD, "3:1 PG006", "second document"),
    "12 `wehn`": (PERMIT + "    wehn: {consent: true}\n", "6:5 PG101", "did you mean `when`?"),
    "12 `rule`": (HEAD + "rule: []\n", "3:1 PG101", "did you mean `rules`?"),
    "12 `too`": (
        permit("data: [user], purposes: [essential], too: [self]"),
        "5:13 PG102, 5:51 PG101",
        "did you mean `to`?",
    ),
    "12 `consnt`": (PERMIT + "    when: {consnt: true}\n", "6:12 PG101", "did you mean `consent`?"),
    "12 `excpt`": (
        RULE + "    forbid: {}\n    excpt: {data: [user]}\n",
        "6:5 PG101",
        "did you mean `except`?",
    ),
    "13 an id that is a boolean": (
        HEAD + "rules:\n  - id: no\n    forbid: {}\n",
        "4:9 PG109",
        "put it in quotes",
    ),
    "13 a key that is a boolean": (
        HEAD + "recipients: {no: {kind: processor}}\n",
        "3:18 PG109",
        "put it in quotes",
    ),
    "13 yes for true": (PERMIT + "    when: {consent: yes}\n", "6:21 PG103", "write `true`"),
    "15 an octal number": (forbid_when("{age: {below: 010}}"), "6:25 PG103", "start with 0"),
    "15 a sexagesimal number": (forbid_when("{age: {below: 1:30}}"), "6:25 PG103", "whole number"),
    "15 a hexadecimal number": (forbid_when("{age: {below: 0x10}}"), "6:25 PG103", "whole number"),
    "15 a day that doesn't exist": (
        HEAD + "notice: {updated: 2024-02-30}\n",
        "3:19 PG103",
        "2027-01-31",
    ),
    "15 an id that is a date": (
        HEAD + "rules:\n  - id: 2024-11-11\n    forbid: {}\n",
        "4:9 PG109",
        "put it in quotes",
    ),
    "16 a tag that runs code": (
        HEAD + 'title: !!python/object/apply:os.system ["exit 1"]\n',
        "3:8 PG005, 3:8 PG103",
        "remove it",
    ),
    "16 a tag of the environment": (HEAD + "title: !env HOME\n", "3:8 PG005", "remove it"),
    "16 a tag that includes": (
        HEAD + "rules: !include other.yaml\n",
        "3:8 PG005, 3:8 PG103",
        "remove it",
    ),
    "16 a binary tag": (HEAD + "title: !!binary aGk=\n", "3:8 PG005", "remove it"),
    "21 no version": ("id: p\n", "1:1 PG102", "start with `policyguard: 1`"),
    "21 version 99": ("policyguard: 99\nid: p\n", "1:14 PG115", "write policyguard: 1"),
    "21 version true": ("policyguard: true\nid: p\n", "1:14 PG115", "write policyguard: 1"),
    "21 version 1.0": ("policyguard: 1.0\nid: p\n", "1:14 PG115", "write policyguard: 1"),
    "22 a list for a condition": (
        PERMIT + "    when: [consent]\n",
        "6:11 PG103",
        "must be a mapping",
    ),
    "22 an empty condition": (PERMIT + "    when:\n", "6:5 PG103", "`when` is empty"),
    "22 a condition that asks nothing": (
        PERMIT + "    when: {}\n",
        "6:11 PG120",
        "leave `when` out",
    ),
    **{
        f"22 nothing behind `{text}`": (f"{before}{text}\n", place, says)
        for before, text, place, says in (
            (PERMIT, "    forbid: ", "6:5 PG103", "`forbid` is empty (give it a value"),
            (RULE, "    forbid: {}\n    permit: ", "6:5 PG103", "`permit` is empty"),
            (PERMIT, "    except: ", "6:5 PG103", "`except` is empty"),
            (PERMIT, "    cites: ", "6:5 PG103", "`cites` is empty"),
            (PERMIT, "    when: {age: {below: 21, from: }}", "6:29 PG103", "`from` is empty"),
            (PERMIT, "    when: {all: [{consent: true}, ]}\n    if_unknown:", "7:5 PG103", "empty"),
            (PERMIT, "    when: {all: [{consent: true}, null]}", "6:35 PG103", "an entry of `all`"),
            (PERMIT, "    when: {not: }", "6:12 PG103", "`not` is empty"),
            (RULE, "    forbid: {form: }", "5:14 PG103", "`form` is empty"),
            (RULE, "    forbid: {data: }", "5:14 PG103", "write `data: any` if all are meant"),
            (RULE, "    forbid: {form: {all_of: , any_of: [raw]}}", "5:21 PG103", "`all_of` is"),
            (RULE, "    forbid: {to: [{kind: , located: EU}]}", "5:20 PG103", "`kind` is empty"),
            (KEPT, "P6M, except: }", "4:41 PG103", "`except` is empty"),
            (KEPT, "P6M, unless: }", "4:41 PG103", "`unless` is empty"),
            (HEAD, "purpose_changes: ", "3:1 PG103", "`purpose_changes` is empty"),
            (HEAD, "at_least: ", "3:1 PG103", "`at_least` is empty"),
            (HEAD, "rules: ", "3:1 PG103", "`rules` is empty"),
            (HEAD, "notice: {title: }", "3:10 PG103", "`title` is empty"),
            (HEAD, "notice: {clauses: {a: }}", "3:20 PG103", "`a` is empty"),
            (HEAD, "terms: {data: {user.x: }}", "3:16 PG103", "`user.x` is empty"),
            (HEAD, "recipients: {a: }", "3:14 PG103", "`a` is empty"),
            (HEAD, "recipients: {a: {kind: processor, located: }}", "3:35 PG103", "`located` is"),
            (HEAD, "recipients: {a: {kind: processor, hosts: }}", "3:35 PG103", "`hosts` is"),
        )
    },
    "22 all of nothing": (PERMIT + "    when: {all: []}\n", "6:17 PG103", "must not be empty"),
    "22 an age that asks nothing": (PERMIT + "    when: {age: {}}\n", "6:17 PG120", "below"),
    "22 an empty fact": (PERMIT + "    when: {consent: }\n", "6:12 PG103", "give it a value"),
    "22 to nobody": (
        permit("data: [user], purposes: [essential], to: []"),
        "5:55 PG103",
        "names nothing",
    ),
    "22 a mapping for a term": (
        permit("data: {a: b}, purposes: [essential], to: [self]"),
        "5:20 PG109",
        "must be text",
    ),
    "22 a mapping of rules": (HEAD + "rules: {r: {forbid: {}}}\n", "3:8 PG103", "must be a list"),
    "22 an empty rule": (HEAD + "rules:\n  -\n", "4:4 PG103", "an entry of `rules` is empty"),
    "22 a rule without an effect": (
        RULE + "    cites: [a]\n",
        "4:5 PG103",
        "either `permit` or `forbid`",
    ),
    "22 a rule with both effects": (
        PERMIT + "    forbid: {}\n",
        "4:5 PG103",
        "either `permit` or `forbid`",
    ),
    "22 true in quotes": (PERMIT + '    when: {consent: "true"}\n', "6:21 PG103", "without quotes"),
    "22 any in a list": (
        permit("data: [any], purposes: [essential], to: [self]"),
        "5:20 PG103",
        "without a list",
    ),
    "22 two forms without a way": (
        permit("data: [user], purposes: [essential], to: [self], form: [raw, encrypted]"),
        "5:69 PG111",
        "all_of",
    ),
    "22 a forbid that asks for a safe form": (
        RULE + "    forbid: {form: anonymised}\n",
        "4:5 PG111",
        "permit the safer ones",
    ),
    "22 raw and another form": (
        permit("data: [user], purposes: [essential], to: [self], form: {all_of: [raw, encrypted]}"),
        "5:69 PG111",
        "no flow is `raw`",
    ),
    "22 if_unknown of a permit": (
        PERMIT + "    when: {consent: true}\n    if_unknown: does_not_apply\n",
        "4:5 PG103",
        "belongs to a forbid",
    ),
    "22 an exception of everything": (
        RULE + "    forbid: {}\n    except: {}\n",
        "6:13 PG103",
        "must name something",
    ),
    "22 two ways to select": (
        permit("data: [user], purposes: [essential], to: [{kind: processor, located: US}]"),
        "5:56 PG103",
        "exactly one",
    ),
    "23 an unknown category": (
        permit("data: [user.contct.email], purposes: [essential], to: [self]"),
        "5:21 PG104",
        "did you mean `user.contact.email`?",
    ),
    "23 an unknown purpose": (
        permit("data: [user], purposes: [essential.servce], to: [self]"),
        "5:39 PG105",
        "did you mean `essential.service`?",
    ),
    "23 an unknown recipient": (
        HEAD + "recipients: {facebook_pixel: {kind: ad_pixel}}\n"
        "rules:\n  - id: r\n    forbid: {to: facebok_pixel}\n",
        "6:18 PG106",
        "did you mean `facebook_pixel`?",
    ),
    "23 an unknown clause": (
        HEAD + 'notice: {clauses: {"4.2": {says: x}}}\n'
        'rules:\n  - {id: r, forbid: {}, cites: ["4.3"]}\n',
        "5:33 PG107",
        "did you mean `4.2`?",
    ),
    "23 an unknown fact": (
        PERMIT + "    when: {facts: {processing_done: true}}\n",
        "6:37 PG108",
        "terms.facts",
    ),
    "23 an unknown kind": (
        HEAD + "recipients: {a: {kind: procesor}}\n",
        "3:24 PG103",
        "did you mean `processor`?",
    ),
    "23 an unknown form": (
        RULE + "    forbid: {form: [rwa]}\n",
        "5:21 PG103",
        "did you mean `raw`?",
    ),
    "23 an own term below nothing": (
        HEAD + "terms: {data: {usr.face: x}}\n",
        "3:26 PG119",
        "policyguard terms",
    ),
    "23 named_only of an unknown term": (
        HEAD + "named_only: [{data: user.biometrc}]\n",
        "3:21 PG104",
        "did you mean `user.biometric`?",
    ),
    "23 a condition on an unknown purpose": (
        PERMIT + "    when: {not: {consent: {marketng: true}}}\n",
        "6:38 PG105",
        "did you mean `marketing`?",
    ),
    "24 a rule id twice": (
        HEAD + "rules:\n  - {id: r, forbid: {}}\n  - {id: r, forbid: {}}\n",
        "5:10 PG110",
        "rename one",
    ),
    "24 a rule and an obligation": (
        HEAD + "obligations:\n  - {id: r, do: a, after: b}\n  - {id: r, do: a, after: b}\n",
        "5:10 PG110",
        "rename one",
    ),
    "26 a negative duration": (KEPT + "-P6M}\n", "4:36 PG112", "P6M, P45D or PT72H"),
    "26 a duration in words": (KEPT + "6 months}\n", "4:36 PG112", "P6M, P45D or PT72H"),
    "26 a duration without end": (KEPT + "P99999999999Y}\n", "4:36 PG112", "P6M, P45D or PT72H"),
    "26 half a month": (KEPT + "P0.5M}\n", "4:36 PG112", "P6M, P45D or PT72H"),
    "27 a Cyrillic letter in an id": (
        HEAD + "rules:\n  - id: p\u0430y\n    forbid: {}\n",
        "4:9 PG109",
        "small letters",
    ),
    "27 a zero-width space in an id": (
        HEAD + "rules:\n  - id: p\u200bay\n    forbid: {}\n",
        "4:9 PG109",
        "small letters",
    ),
    "27 a sign that turns text round": (
        HEAD + "rules:\n  - id: p\u202eay\n    forbid: {}\n",
        "4:10 PG002",
        "U+202E",
    ),
    "27 a letter in two pieces": (
        HEAD + "rules:\n  - id: cafe\u0301\n    forbid: {}\n",
        "4:9 PG109",
        "small letters",
    ),
    "27 a capital letter in an id": (
        HEAD + "rules:\n  - id: Pay\n    forbid: {}\n",
        "4:9 PG109",
        "small letters",
    ),
    "27 a wide letter in a term": (
        permit("data: [\uff55ser], purposes: [essential], to: [self]"),
        "5:21 PG109",
        "small letters",
    ),
    "28 an escape sequence in a title": (
        HEAD + 'title: "a\\e[31m"\n',
        "3:8 PG002",
        "control characters",
    ),
    "28 a raw escape sequence": (HEAD + "title: a\x1b[31m\n", "3:9 PG002", "U+001B"),
    "28 a line break in an id": (
        HEAD + 'rules:\n  - id: "a\\nb"\n    forbid: {}\n',
        "4:9 PG109",
        "small letters",
    ),
    "28 a line break in a key": (HEAD + '"a\\nb": 1\n', "3:1 PG101", "`a\\u000ab`"),
    "29 the host *": (HOST + '"*"]}}\n', "3:43 PG114", "everybody"),
    "29 the host *.com": (HOST + '"*.com"]}}\n', "3:43 PG114", "top-level domain"),
    "29 a URL for a host": (
        HOST + '"https://a.example"]}}\n',
        "3:43 PG114",
        "leave out the scheme",
    ),
    "29 a regular expression for a host": (
        HOST + "'^a\\.com$']}}\n",
        "3:43 PG114",
        "no regular expressions",
    ),
    "30 allow by default": (HEAD + "default: allow\n", "3:1 PG101", "unknown key `default`"),
    "30 allow on errors": (HEAD + "on_error: allow\n", "3:1 PG101", "unknown key `on_error`"),
}
ACCEPTED: Final[dict[str, str | bytes]] = {
    "08 a byte order mark": b"\xef\xbb\xbf" + HEAD.encode(),
    "08 line ends of Windows": HEAD.replace("\n", "\r\n"),
    "13 Norway": RULE + "    forbid: {to: [{located: NO}]}\n",
    "14 clause ids that look like numbers": (
        HEAD + "notice: {clauses: {4.1: {says: a}, 4.10: {says: b}}}\n"
        "rules:\n  - {id: r, forbid: {}, cites: [4.10]}\n"
    ),
    "17 text that looks like a template": HEAD + 'title: "${VAR} {0.__class__}"\n',
    "28 a line break in a title": HEAD + 'title: "a\\nb"\n',
}


def refusal(text: str | bytes, **more: Limits) -> PolicyError:
    """The error that loading gives."""
    with pytest.raises(PolicyError) as caught:
        policy_from_text(text, name="bad.yaml", **more)
    return caught.value


@pytest.mark.parametrize(("text", "places", "says"), REFUSED.values(), ids=REFUSED)
def test_bad_files_are_refused(text: str | bytes, places: str, says: str) -> None:
    """Every problem is reported with its place and code, and a way out that helps."""
    error = refusal(text)
    found = ", ".join(f"{p.line}:{p.col} {p.code}" for p in error.problems)
    assert found == places
    assert says in str(error)


@pytest.mark.parametrize("text", ACCEPTED.values(), ids=ACCEPTED)
def test_strange_but_plain_files_are_accepted(text: str | bytes) -> None:
    """What has one meaning only is taken as that."""
    assert policy_from_text(text).id == "p"


def test_a_template_stays_text() -> None:
    """Nothing in a text is expanded."""
    policy = policy_from_text(ACCEPTED["17 text that looks like a template"])
    assert policy.title == "${VAR} {0.__class__}"


def test_numbers_stay_what_was_written() -> None:
    """4.10 and 4.1 are two clauses."""
    policy = policy_from_text(ACCEPTED["14 clause ids that look like numbers"])
    assert list(policy.notice.clauses) == ["4.1", "4.10"]
    assert policy.rules[0].cites == ("4.10",)


def test_messages_are_one_line_of_printable_text() -> None:
    """No file can write onto the terminal of the person who loads it."""
    for text, _, _ in REFUSED.values():
        for problem in refusal(text).problems:
            assert str(problem).isprintable()


def test_more_than_10000_rules_are_refused() -> None:
    """The cap on rules holds where the other caps are wide enough."""
    text = HEAD + "rules:\n" + "".join(f"- {{id: r{i}, forbid: {{}}}}\n" for i in range(10_001))
    error = refusal(text, limits=Limits(nodes=50_006))
    assert [p.code for p in error.problems] == ["PG004"]


def test_all_problems_come_in_one_run() -> None:
    """A broken rule, an unknown term and an unknown key are reported together."""
    text = (
        HEAD
        + "titel: x\nrules:\n  - id: a\n    forbid: {data: [user.emial]}\n    when: {age: {}}\n"
        "  - id: b\n    permit: {data: [user.contct], purposes: [essential]}\n"
    )
    assert [(p.line, p.code) for p in refusal(text).problems] == [
        (3, "PG101"),
        (6, "PG104"),
        (7, "PG120"),
        (9, "PG102"),
        (9, "PG104"),
    ]


def _bombs() -> dict[str, str]:
    levels = range(1, 30)
    alias = "".join(f"b{i}: &b{i} [{', '.join([f'*b{i - 1}'] * 9)}]\n" for i in levels)
    merge = "".join(f"b{i}: &b{i} {{<<: [{', '.join([f'*b{i - 1}'] * 9)}]}}\n" for i in levels)
    return {
        "aliases": f"{HEAD}b0: &b0 [x]\n{alias}rules: *b29\n",
        "merge keys": f"{HEAD}b0: &b0 {{x: y}}\n{merge}rules: *b29\n",
        "brackets": HEAD + "rules: " + "[" * 30_000,
        "mappings": HEAD + "rules: " + "{a: " * 3_000,
        "block mappings": HEAD + "".join(f"{' ' * i}a:\n" for i in range(1_300)),
    }


@pytest.mark.parametrize("bomb", _bombs().values(), ids=_bombs())
def test_bombs_leave_the_process_alive(bomb: str) -> None:
    """Within two seconds of CPU and 400 MiB, the loader says no and the process goes on."""
    program = (
        "import resource, sys\n"
        "from policyguard.errors import PolicyError\n"
        "from policyguard.policy.assemble import policy_from_text\n"
        "resource.setrlimit(resource.RLIMIT_AS, (400 << 20, 400 << 20))\n"
        "before = resource.getrusage(resource.RUSAGE_SELF).ru_utime\n"
        "resource.setrlimit(resource.RLIMIT_CPU, (int(before) + 2, int(before) + 2))\n"
        "try:\n"
        "    policy_from_text(sys.stdin.buffer.read())\n"
        "except PolicyError as error:\n"
        "    print(error.problems[0].code)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program],
        input=bomb.encode(),
        capture_output=True,
        check=True,
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_CORE, (0, 0)),
    )
    assert done.stdout.startswith(b"PG")
