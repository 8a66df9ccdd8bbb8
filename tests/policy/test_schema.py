"""The shipped JSON Schemas: fresh, valid, and in agreement with the loader."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml

from policyguard.errors import DataMapError, PolicyError
from policyguard.policy import jsonschema as schemas
from policyguard.policy.assemble import policy_from_dict
from policyguard.policy.datamap import data_map_from_dict

ROOT = Path(__file__).resolve().parent.parent.parent
SHIPPED = {"schema.json": schemas.policy_schema, "data-map.schema.json": schemas.data_map_schema}
POLICIES = sorted((ROOT / "policies").glob("*/policy.yaml"))
MAPS = sorted((ROOT / "policies").glob("*/data-map.yaml"))


def plain(path: Path) -> Any:
    """A file as an editor sees it: YAML as JSON, dates as text."""
    return json.loads(json.dumps(yaml.safe_load(path.read_text("utf-8")), default=str))


def errors(schema: dict[str, Any], tree: object) -> list[str]:
    """What the schema says against a tree."""
    return [error.message for error in jsonschema.Draft202012Validator(schema).iter_errors(tree)]


@pytest.mark.parametrize("name", SHIPPED)
def test_shipped_schemas_are_fresh(name: str) -> None:
    """The file is what the models generate today."""
    shipped = (ROOT / "policyguard" / "policy" / name).read_text("utf-8")
    how = f"write schema_text({SHIPPED[name].__name__}()) into {name}"
    assert shipped == schemas.schema_text(SHIPPED[name]()), how


@pytest.mark.parametrize("name", SHIPPED)
def test_schemas_are_schemas(name: str) -> None:
    """Each is valid JSON Schema of the draft it names, with an id."""
    schema = SHIPPED[name]()
    jsonschema.Draft202012Validator.check_schema(schema)
    assert schema["$schema"] == schemas.DRAFT
    assert schema["$id"].startswith(schemas.BASE)


def test_every_key_of_a_rule_is_described() -> None:
    """An editor shows what a part is for."""
    definitions = schemas.policy_schema()["$defs"]
    assert [name for name, part in definitions.items() if not part.get("description")] == []


@pytest.mark.parametrize("path", POLICIES, ids=lambda path: path.parent.name)
def test_the_published_policies_fit(path: Path) -> None:
    """What loads also fits the schema."""
    assert errors(schemas.policy_schema(), plain(path)) == []


@pytest.mark.parametrize("path", MAPS, ids=lambda path: path.parent.name)
def test_the_published_data_maps_fit(path: Path) -> None:
    """What loads also fits the schema."""
    assert errors(schemas.data_map_schema(), plain(path)) == []


HEAD: dict[str, Any] = {"policyguard": 1, "id": "p"}
PERMIT: dict[str, Any] = {"data": "user", "purposes": "essential", "to": "self"}


def rule(**parts: Any) -> dict[str, Any]:
    """A policy with one rule."""
    return {**HEAD, "rules": [{"id": "r", **parts}]}


# fmt: off
BAD_STRUCTURE: dict[str, Any] = {
    "a list": [],
    "no version": {"id": "p"},
    "another version": {"policyguard": 99, "id": "p"},
    "version true": {"policyguard": True, "id": "p"},
    "no id": {"policyguard": 1},
    "an id with a capital": {"policyguard": 1, "id": "P"},
    "an unknown key": {**HEAD, "titel": "x"},
    "allow by default": {**HEAD, "default": "allow"},
    "an unknown key in a rule": rule(permit=PERMIT, wehn={"consent": True}),
    "no effect": rule(cites=["1"]),
    "two effects": rule(permit=PERMIT, forbid={}),
    "a permit without `to`": rule(permit={"data": "user", "purposes": "essential"}),
    "an empty list": rule(permit={**PERMIT, "to": []}),
    "a term that is no term": rule(permit={**PERMIT, "data": "user contact"}),
    "an unknown form": rule(permit={**PERMIT, "form": "rwa"}),
    "several forms without a way": rule(permit={**PERMIT, "form": ["raw", "encrypted"]}),
    "two ways to select": rule(forbid={"to": {"kind": "processor", "located": "US"}}),
    "no way to select": rule(forbid={"to": {}}),
    "an empty condition": rule(permit=PERMIT, when={}),
    "no condition": rule(permit=PERMIT, when=None),
    "an unknown condition": rule(permit=PERMIT, when={"consnt": True}),
    "true in quotes": rule(permit=PERMIT, when={"consent": "true"}),
    "an age that asks nothing": rule(permit=PERMIT, when={"age": {}}),
    "all of nothing": rule(permit=PERMIT, when={"all": []}),
    "an exception of everything": rule(forbid={}, **{"except": {}}),
    "a mapping of rules": {**HEAD, "rules": {"r": {"forbid": {}}}},
    "an unknown kind": {**HEAD, "recipients": {"a": {"kind": "procesor"}}},
    "a duration in words": {**HEAD, "retention": [{"data": "user", "keep": "1 day", "since": "x"}]},
    "a floor that is none": {**HEAD, "at_least": "warn"},
}
BAD_MAP: dict[str, Any] = {
    "an unknown key": {"tabels": {}},
    "a table that says nothing": {"tables": {"users": {}}},
    "an empty label": {"tables": {"users": {"columns": {"email": None}}}},
    "a column that says nothing": {"tables": {"users": {"columns": {"email": {}}}}},
    "an unknown key of a column": {"tables": {"users": {"columns": {"email": {"dta": "user"}}}}},
    "derived otherwise": {"derived": "ignore"},
    "a list of fields": {"fields": ["email"]},
}
# fmt: on


@pytest.mark.parametrize("tree", BAD_STRUCTURE.values(), ids=BAD_STRUCTURE)
def test_a_bad_structure_fits_neither_schema_nor_loader(tree: Any) -> None:
    """The schema refuses what the loader refuses for its structure."""
    assert errors(schemas.policy_schema(), tree)
    if isinstance(tree, dict):
        with pytest.raises(PolicyError):
            policy_from_dict(tree)


@pytest.mark.parametrize("tree", BAD_MAP.values(), ids=BAD_MAP)
def test_a_bad_data_map_fits_neither_schema_nor_loader(tree: Any) -> None:
    """The schema refuses what the loader refuses for its structure."""
    assert errors(schemas.data_map_schema(), tree)
    with pytest.raises(DataMapError):
        data_map_from_dict(tree)
