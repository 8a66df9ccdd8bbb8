"""What holds of every policy file: loading what was written, and never a foreign exception."""

from __future__ import annotations

import random
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, Final

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from policyguard.errors import DataMapError, PolicyError, Problem
from policyguard.policy.assemble import policy_from_dict, policy_from_text
from policyguard.policy.datamap import DataMap, data_map_from_text
from policyguard.policy.digest import policy_digest
from policyguard.policy.lint import lint
from policyguard.policy.rules import Policy
from tests.engine.generator import plain, random_policy

ROOT: Final = Path(__file__).resolve().parent.parent.parent
POLICIES: Final = sorted((ROOT / "policies").glob("*/policy.yaml"))
MAPS: Final = sorted((ROOT / "policies").glob("*/data-map.yaml"))


def dumped(policy: Policy) -> str:
    """A policy written as YAML by another program."""
    tree = policy.model_dump(mode="json", by_alias=True, exclude_unset=True)
    return yaml.safe_dump(_unwrapped(tree), sort_keys=False, allow_unicode=True, width=100)


def _unwrapped(node: Any) -> Any:
    """`any` and `anyone` as the plain words that they are in a file."""
    if isinstance(node, dict):
        return {
            key: (value[0] if value in (["any"], ["anyone"]) else _unwrapped(value))
            for key, value in node.items()
        }
    return [_unwrapped(part) for part in node] if isinstance(node, list) else node


@pytest.mark.slow
def test_a_written_policy_loads_as_it_was() -> None:
    """load(dump(p)) == p for random policies, and the digest is the same."""
    rng = random.Random("round trip")
    for _ in range(300):
        policy = policy_from_dict(plain(random_policy(rng)))
        again = policy_from_text(dumped(policy))
        assert again.model_dump() == policy.model_dump()
        assert policy_digest(again) == policy_digest(policy)


@pytest.mark.parametrize("path", POLICIES, ids=lambda path: path.parent.name)
def test_the_published_policies_load_as_they_were(path: Path) -> None:
    """load(dump(p)) == p for the policies that ship."""
    policy = policy_from_text(path.read_text("utf-8"))
    assert policy_from_text(dumped(policy)).model_dump() == policy.model_dump()


def problems(load: Callable[[], Policy | DataMap]) -> tuple[Problem, ...]:
    """The problems of loading; only our own error may come, and what loads can be used."""
    try:
        found = load()
    except (PolicyError, DataMapError) as error:
        return error.problems
    if isinstance(found, Policy):
        lint(found)
        policy_digest(found)
    return ()


def sound(found: tuple[Problem, ...]) -> bool:
    """Whether the problems can be shown, and are the reason of the refusal."""
    errors = [problem for problem in found if problem.severity == "error"]
    return (not found or bool(errors)) and all(str(problem).isprintable() for problem in found)


TEXTS: Final = [path.read_bytes() for path in POLICIES]


@given(st.binary(max_size=200))
@settings(max_examples=300)
def test_random_bytes_raise_only_policy_errors(data: bytes) -> None:
    """Whatever the file is, the error is ours."""
    assert sound(problems(lambda: policy_from_text(data)))


@pytest.mark.slow
def test_mutated_policies_raise_only_policy_errors() -> None:
    """Bytes and lines of real policies, changed, moved and lost."""
    rng = random.Random("mutations")
    signs = b"abz09:-,[]{}&*!<>|#'\"%@ \n\t~?\x00\xff"
    for _ in range(250):
        data = bytearray(rng.choice(TEXTS))
        start = rng.randrange(len(data))
        data = data[start : start + 3_000] if rng.random() < 0.3 else data
        for _ in range(rng.randint(1, 4)):
            at = rng.randrange(len(data))
            kind = rng.randrange(3)
            if kind == 0:
                data[at] = rng.choice(signs)
            elif kind == 1:
                del data[at : at + rng.randint(1, 40)]
            else:
                data[at:at] = bytes(rng.choices(signs, k=rng.randint(1, 5)))
            data = data or bytearray(b"a")
        text = bytes(data)
        assert sound(problems(partial(policy_from_text, text)))


ODD: Final[list[Any]] = [
    None, True, 0, -1, 1.5, "", "any", "x y", "a" * 200, [], {}, [None], [[]], {"a": None},
    {"": ""}, [{"kind": "processor"}], {"all": []}, float("nan"), 10**400, ["any", "user"],
]  # fmt: skip


@pytest.mark.slow
def test_trees_with_odd_values_raise_only_policy_errors() -> None:
    """Any value anywhere in a policy: refused with a place, or of the right kind."""
    rng = random.Random("odd values")
    for _ in range(600):
        tree = plain(random_policy(rng))
        for _ in range(rng.randint(1, 3)):
            _spoil(rng, tree)
        assert sound(problems(partial(policy_from_dict, tree)))


def _spoil(rng: random.Random, tree: Any) -> None:
    """Replace, remove or rename something, somewhere."""
    node = tree
    while True:
        keys: list[Any] = list(node) if isinstance(node, dict) else list(range(len(node)))
        if not keys:
            return
        key = rng.choice(keys)
        if isinstance(node[key], (dict, list)) and node[key] and rng.random() < 0.8:
            node = node[key]
            continue
        kind = rng.randrange(4)
        if kind == 0 and isinstance(node, dict):
            node[rng.choice(["permt", "", "when", "id", "a b"])] = node.pop(key)
        elif kind == 1:
            del node[key]
        else:
            node[key] = rng.choice(ODD)
        return


@pytest.mark.slow
def test_mutated_data_maps_raise_only_data_map_errors() -> None:
    """As for policies."""
    rng = random.Random("maps")
    texts = [path.read_bytes() for path in MAPS]
    signs = b"abz09:-,[]{}&*!<>|#'\"%@ \n\t~?\x00\xff"
    for _ in range(250):
        data = bytearray(rng.choice(texts))
        for _ in range(rng.randint(1, 4)):
            data[rng.randrange(len(data))] = rng.choice(signs)
        assert sound(problems(partial(data_map_from_text, bytes(data))))


def test_a_problem_never_stands_outside_of_its_file() -> None:
    """Every place of a mutated policy is a line that the file has."""
    rng = random.Random("places")
    for _ in range(60):
        lines = rng.choice(TEXTS).decode("utf-8").splitlines()
        lines[rng.randrange(len(lines))] = "  wrong: [1"
        found = problems(partial(policy_from_text, "\n".join(lines)))
        assert all(problem.line <= len(lines) + 1 for problem in found)
