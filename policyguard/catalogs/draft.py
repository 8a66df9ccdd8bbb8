"""A first data map for a database: guesses to be confirmed, as YAML with the evidence beside them.

Layer: catalogs. Start reading at `draft_map`. Nothing in a draft calls a table clean: one in which
nothing looks personal stands in a comment, and stays unknown until somebody uncomments it.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from typing import Final

from policyguard.catalogs.suggest import Suggestion, suggestions
from policyguard.policy.loader import printable
from policyguard.policy.schemas import Schema, SchemaTable, Stated

_MODELINE: Final = "# yaml-language-server: $schema=data-map.schema.json"
_HEAD: Final = """\
# A draft: guesses from names, types and comments; no row was read.
# A person confirms each line: take `suspected: true` out, or the line. Until then it only flags.
# Editors check this file with `policyguard schema data-map > data-map.schema.json` beside it.
"""
_LONGEST: Final = 512
_WIDTH: Final = 64
_ANSWERED: Final = {"consent", "opt_out"}


def draft_map(schema: Schema) -> str:
    """A data map of what the columns of a schema probably hold.

    Args:
        schema: as the database has it. Views and partitions are left out: they inherit.

    Returns:
        YAML that `policyguard check --data-map` accepts.
    """
    short = _one_schema(schema)
    lines: list[str] = []
    clean: list[str] = []
    for table in sorted(schema.tables.values(), key=lambda one: one.name):
        name = table.name.rsplit(".", 1)[-1] if short else table.name
        if table.part_of:
            continue
        if table.view:
            if not table.query:
                lines.append(f"  # {printable(name)}: a view whose query isn't known: describe it")
            continue
        if not _sayable(name):
            lines.append(f"  # {printable(name)}: a name that no data map can hold")
            continue
        own = list(_columns(schema, table))
        if any(not line.lstrip().startswith("#") for line in own):
            lines += [f"  {_quoted(name)}:", "    columns:", *own]
        else:
            clean += [
                f"  # {_quoted(name)}: {{columns: {{}}}}",
                *(f"  # {line.strip()}" for line in own),
            ]
    if clean:
        lines.append(
            "  # Nothing in these looks personal. Uncomment a line once somebody has looked:"
        )
        lines += clean
    if not any(not line.lstrip().startswith("#") for line in lines):
        lines = ["tables: {}", *(line[2:] for line in lines)]
    else:
        lines.insert(0, "tables:")
    return "\n".join([_MODELINE, _HEAD.rstrip("\n"), *lines, "derived: inherit"]) + "\n"


def _columns(schema: Schema, table: SchemaTable) -> Iterator[str]:
    guessed = dict(suggestions(schema, table))
    for column, one in table.columns.items():
        found = guessed.get(column)
        if one.labels:
            yield _line(column, _stated(one.labels), "said by the database")
        elif found is not None:
            yield _guess(column, found)


def _guess(column: str, found: Suggestion) -> str:
    if found.subject:
        return _line(column, "{subject: true}", found.why)
    if found.fact:
        purpose = ", purpose: PURPOSE" if found.fact in _ANSWERED else ""
        value = f"{{fact: {found.fact}{purpose}}}"
        return _line(column, value, "a fact about a person?", mark="# ")
    form = f", form: {found.form}" if found.form else ""
    return _line(column, f"{{data: {found.data}{form}, suspected: true}}", f"by {found.why}")


def _stated(labels: Iterable[Stated]) -> str:
    found = list(labels)
    terms = [label.data for label in found]
    data = terms[0] if len(terms) == 1 else f"[{', '.join(terms)}]"
    # Labels of several forms are one entry here: only what all of them have is safe to say.
    form = sorted(frozenset.intersection(*(label.form for label in found)))
    if not form:
        return f"{{data: {data}}}"
    return f"{{data: {data}, form: [{', '.join(form)}]}}"


def _line(column: str, value: str, why: str, *, mark: str = "") -> str:
    if not _sayable(column):
        return f"      # {printable(column)}: a name that no data map can hold"
    line = f"      {mark}{_quoted(column)}: {value}"
    return f"{line.ljust(_WIDTH)}  # {why}"


def _sayable(name: str) -> bool:
    """Whether a data map can hold this name, meaning just it."""
    plain = bool(name) and name.isprintable() and name == name.strip() and len(name) <= _LONGEST
    return plain and "*" not in name and "?" not in name


def _quoted(name: str) -> str:
    """A name as a key of YAML."""
    simple = name.isascii() and name.replace("_", "a").replace(".", "a").isalnum()
    if simple and not name[0].isdigit() and name.casefold() not in _WORDS:
        return name
    return json.dumps(name, ensure_ascii=False)


_WORDS: Final = frozenset({"yes", "no", "on", "off", "true", "false", "null", "y", "n", "none"})


def _one_schema(schema: Schema) -> bool:
    """Whether all tables lie in one schema, so that their names do without it."""
    schemas = {table.name.rpartition(".")[0].casefold() for table in schema.tables.values()}
    return len(schemas) == 1
