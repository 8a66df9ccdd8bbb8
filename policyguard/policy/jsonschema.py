"""JSON Schemas of the files that people write, generated from the models.

Layer: policy. For editors and other programs: the schemas say less than the loader checks (terms,
recipients and clauses must exist; ids are unique). The shipped copies are `schema.json` and
`data-map.schema.json` beside this module; a test says when they are stale and how to write them.
Start reading at `policy_schema`.
"""

from __future__ import annotations

import json
from typing import Any, Final

from pydantic import BaseModel
from pydantic.json_schema import GenerateJsonSchema

from policyguard.policy.mapfile import DataMapFile
from policyguard.policy.rules import Policy

DRAFT: Final = "https://json-schema.org/draft/2020-12/schema"
BASE: Final = "https://policyguard.invalid/schema/1/"
"""A name, not an address: nothing is ever fetched from it."""


def policy_schema() -> dict[str, Any]:
    """The JSON Schema (draft 2020-12) of policy.yaml. Cost: a few milliseconds."""
    return _schema(Policy, "policy.json", "A policy: the promises of a published notice")


def data_map_schema() -> dict[str, Any]:
    """The JSON Schema (draft 2020-12) of data-map.yaml."""
    return _schema(DataMapFile, "data-map.json", "A data map: what tables and fields hold")


def schema_text(schema: dict[str, Any]) -> str:
    """A schema as it is written into a file."""
    return json.dumps(schema, indent=2, ensure_ascii=False, sort_keys=False) + "\n"


def _schema(model: type[BaseModel], name: str, title: str) -> dict[str, Any]:
    found = model.model_json_schema(
        mode="validation", by_alias=True, schema_generator=GenerateJsonSchema
    )
    del found["title"]
    return {"$schema": DRAFT, "$id": BASE + name, "title": title, **_trimmed(found)}


def _trimmed(node: Any) -> Any:
    """Without the titles that only repeat a key, and without the nulls that no file may hold."""
    if isinstance(node, list):
        return [_trimmed(item) for item in node]
    if not isinstance(node, dict):
        return node
    kept = {key: value for key, value in node.items() if not _noise(key, value)}
    choices = [one for one in kept.get("anyOf", []) if one != {"type": "null"}]
    if "anyOf" in kept and len(choices) == 1:
        del kept["anyOf"]
        kept = {**choices[0], **kept}
    elif choices:
        kept["anyOf"] = choices
    return {key: _trimmed(value) for key, value in kept.items()}


def _noise(key: str, value: Any) -> bool:
    return (key == "title" and isinstance(value, str)) or (key == "default" and value is None)
