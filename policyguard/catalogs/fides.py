"""The schema that a fides dataset describes, with its data categories.

Layer: catalogs. Start reading at `schema_of_fides`. Reads YAML by the one door there is.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

from policyguard.catalogs.reading import SchemaError, check_size, dotted, mapping, text
from policyguard.catalogs.stated import labels_of_terms
from policyguard.policy.flow import RAW
from policyguard.policy.loader import Limits, printable, read_document
from policyguard.policy.schemas import Schema, SchemaColumn, SchemaTable, Stated, schema_of

_LIMITS: Final = Limits(size=1 << 24, depth=32, nodes=1_000_000)
_DEPTH: Final = 16
# Keys of fideslang 1 and 2 that are called otherwise since 3.
_RENAMED: Final = {
    "user.credentials": "user.authorization.credentials",
    "user.credentials.password": "user.authorization.password",
    "user.credentials.biometric_credentials": "user.authorization.biometric",
    "user.authorization.biometric_credentials": "user.authorization.biometric",
    "user.observed": "user.behavior",
    "user.browsing_history": "user.behavior.browsing_history",
    "user.media_consumption": "user.behavior.media_consumption",
    "user.search_history": "user.behavior.search_history",
    "user.biometric_health": "user.biometric.health",
    "user.genetic": "user.health_and_medical.genetic",
    "user.date_of_birth": "user.demographic.date_of_birth",
    "user.gender": "user.demographic.gender",
    "user.non_specific_age": "user.demographic.age_range",
    "user.political_opinion": "user.demographic.political_opinion",
    "user.profiling": "user.demographic.profile",
    "user.race": "user.demographic.race_ethnicity",
    "user.religious_belief": "user.demographic.religious_belief",
    "user.sexual_orientation": "user.demographic.sexual_orientation",
    "user.contact.phone": "user.contact.phone_number",
    "user.financial.account_number": "user.financial.bank_account",
    "user.financial.card_number": "user.financial.credit_card",
    "user.government_id.national_identification": (
        "user.government_id.national_identification_number"
    ),
    "user.childrens.data": "user.childrens",
}
# What fides writes where a field is about nobody.
_NOBODY: Final = frozenset({"system", "system.operations"})
_SPLIT: Final = ("identifiable", "nonidentifiable")


def schema_of_fides(path: Path) -> Schema:
    """Collections of fides datasets as tables; their categories are labels.

    Fields of the categories `system` and `system.operations` are about nobody: they carry no label.
    A field inside a field belongs to the column that it is in. What a dataset doesn't list isn't
    known, so the tables aren't complete. Categories of a collection or a dataset count for each of
    its fields that has none of its own.

    Raises:
        SchemaError: with the first problem of the file, `file:line:col`.
    """
    document = read_document(path, name=str(path), limits=_LIMITS)
    if document.problems:
        first = document.problems[0]
        place = ":".join(str(part) for part in (first.file, first.line, first.col) if part)
        raise SchemaError(f"{place}: {first.message}", hint=first.hint)
    datasets = mapping(document.tree).get("dataset")
    if not isinstance(datasets, list):
        shown = printable(str(path), 1_024)
        raise SchemaError(f"{shown}: not a fides dataset", hint="it starts with `dataset:`")
    problems: list[str] = []
    tables = [
        _collection(mapping(collection), mapping(dataset), problems)
        for dataset in datasets
        for collection in _items(mapping(dataset).get("collections"))
        if text(mapping(collection).get("name"))
    ]
    found = schema_of(tables, problems=tuple(problems))
    check_size(found.size, str(path))
    return found


def modern(term: str) -> str:
    """A category under the key that it has since fideslang 3."""
    parts = term.split(".")
    if len(parts) > 1 and parts[1] in ("provided", "derived"):
        # fideslang 1: user.provided.identifiable.contact.email
        parts = [parts[0], *(part for part in parts[2:] if part not in _SPLIT)]
    name = ".".join(parts)
    return _RENAMED.get(name, name)


def _collection(
    collection: dict[str, Any], dataset: dict[str, Any], problems: list[str]
) -> SchemaTable:
    # The name of a dataset is a key of fides; the schema may stand in its meta.
    space = mapping(mapping(dataset.get("fides_meta")).get("namespace"))
    schema = text(space.get("schema")) or text(space.get("dataset_id"))
    database = text(space.get("database_name")) or text(space.get("project_id"))
    name = dotted(database, schema, text(collection.get("name")))
    shared = collection.get("data_categories") or dataset.get("data_categories")
    columns: dict[str, SchemaColumn] = {}
    for field in _items(collection.get("fields")):
        own = text(mapping(field).get("name"))
        if not own:
            continue
        where = f"{name}.{own}"
        labels = list(_labels(mapping(field), where, problems, 0))
        if not labels and not mapping(field).get("data_categories"):
            labels = list(_terms(shared, where, problems))
        meta = mapping(mapping(field).get("fides_meta")) or mapping(
            mapping(field).get("fidesops_meta")
        )
        leads = [text(mapping(one).get("field")) for one in _items(meta.get("references"))]
        columns[own] = SchemaColumn(
            text(meta.get("data_type")),
            tuple(dict.fromkeys(labels)),
            leads[0].rpartition(".")[0] if leads else "",
            str(meta.get("primary_key")).casefold() == "true",
        )
    return SchemaTable(name, columns, complete=False, described=True)


def _labels(field: dict[str, Any], where: str, problems: list[str], depth: int) -> Iterator[Stated]:
    """The categories of a field and of all fields in it."""
    yield from _terms(field.get("data_categories"), where, problems)
    if depth < _DEPTH:
        for inner in _items(field.get("fields")):
            yield from _labels(mapping(inner), where, problems, depth + 1)


def _terms(terms: object, where: str, problems: list[str]) -> Iterator[Stated]:
    named = [modern(term) if isinstance(term, str) else term for term in _items(terms)]
    labels, wrong = labels_of_terms(named, None, where)
    problems += wrong
    for label in labels:
        if label.data not in _NOBODY:
            yield Stated(label.data, RAW)


def _items(value: object) -> list[Any]:
    return value if isinstance(value, list) else []
