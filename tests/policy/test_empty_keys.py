"""A key that is written has a value: an empty key never counts as one that was left out."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from pydantic import ValidationError

from policyguard.policy import conditions, mapfile, rules
from policyguard.policy.conditions import Part


def _keys() -> Iterator[tuple[type[Part], str]]:
    parts = {
        part
        for module in (conditions, rules, mapfile)
        for part in vars(module).values()
        if isinstance(part, type) and issubclass(part, Part)
    }
    for part in sorted(parts, key=lambda part: part.__name__):
        yield from ((part, field.alias or name) for name, field in part.model_fields.items())


@pytest.mark.parametrize(("part", "key"), list(_keys()))
def test_an_empty_key_is_refused(part: type[Part], key: str) -> None:
    """Every key of every part says so when nothing stands behind it."""
    with pytest.raises(ValidationError) as caught:
        part.model_validate({key: None})
    about = [entry for entry in caught.value.errors() if entry["loc"][:1] == (key,)]
    assert [entry["input"] for entry in about] == [None]
