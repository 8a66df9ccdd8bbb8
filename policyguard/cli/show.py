"""`show`, `due`, `terms`, `explain`, `schema` and `config`: what is written, and what words mean.

Layer: cli. Start reading at `register`.
"""

from __future__ import annotations

import difflib
import os
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer

from policyguard.cli.files import find_file, find_policy, load
from policyguard.cli.output import Exit, MistakeError, complain, say, say_json, say_text, write_file
from policyguard.cli.shapes import (
    Format,
    Listing,
    Page,
    PolicyWord,
    SchemaKind,
    rows_in_columns,
    wrapped,
)

if TYPE_CHECKING:
    from policyguard.policy.rules import Policy


def register(app: typer.Typer) -> None:
    """Add this module's commands."""
    app.command(epilog="Example: policyguard show lumipic --format html -o policy.html")(show)
    app.command(epilog="Example: policyguard due policy.yaml")(due)
    app.command(epilog="Example: policyguard terms email --policy policy.yaml")(terms)
    app.command(epilog="Example: policyguard explain PG104")(explain)
    app.command(epilog="Example: policyguard schema --kind data-map > data-map.schema.json")(schema)
    app.command(epilog="Example: policyguard config --effective")(config)


def show(
    *,
    policy: PolicyWord,
    shape: Annotated[Page, typer.Option("--format", help="What to make of it.")] = Page.text,
    output: Annotated[
        str, typer.Option("--output", "-o", metavar="FILE", help="Write it to a file.")
    ] = "",
    force: Annotated[
        bool, typer.Option("--force", help="Write over a file that is there already.")
    ] = False,
) -> None:
    """Write the rules as sentences beside their clauses.

    Clauses that nothing stands for are marked.
    """
    from policyguard.cli import pages  # noqa: PLC0415 - not for `--help`

    model, snapshot = load(policy)
    page = pages.page_of(model, snapshot.digest)
    writers = {
        Page.text: pages.as_text,
        Page.markdown: pages.as_markdown,
        Page.html: pages.as_html,
    }
    text = writers[shape](page)
    if output:
        write_file(output, text, spare=find_policy(policy), force=force)
    else:
        say_text(text)


def due(*, policy: PolicyWord, shape: Format = Listing.text) -> None:
    """List the promises with a clock: obligations and retention."""
    model, snapshot = load(policy)
    if shape is Listing.json:
        say_json(
            {
                "schema": "policyguard.due/1",
                "policy": model.id,
                "digest": snapshot.digest,
                "obligations": [
                    {
                        "id": promise.id,
                        "do": promise.do,
                        "after": promise.after,
                        "within": promise.within,
                        "cites": list(promise.cites),
                    }
                    for promise in model.obligations
                ],
                "retention": [
                    {
                        "id": kept.id,
                        "data": list(kept.data),
                        "keep": kept.keep,
                        "since": kept.since,
                        "unless": list(kept.unless),
                        "cites": list(kept.cites),
                    }
                    for kept in model.retention
                ],
            }
        )
        return
    promises = list(_due(model))
    for text in promises:
        for line in wrapped(text, "- "):
            say(line)
    if not promises:
        say(f"policy `{model.id}` has neither obligations nor retention")


def _due(policy: Policy) -> Iterator[str]:
    from policyguard.cli.sentences import Speaker  # noqa: PLC0415 - not for `--help`

    speaker = Speaker(policy)
    for promise in policy.obligations:
        yield f"{speaker.obligation(promise)} [{promise.id}, {_cited(promise.cites)}]"
    for kept in policy.retention:
        yield f"{speaker.retention(kept)} [{kept.id}, {_cited(kept.cites)}]"


def _cited(clauses: tuple[str, ...]) -> str:
    return f"clause {', '.join(clauses)}" if clauses else "no clause"


def terms(
    *,
    word: Annotated[str, typer.Argument(help="Part of a term or of its description.")],
    policy: Annotated[
        str, typer.Option(metavar="POLICY", help="Search this policy's own terms too.")
    ] = "",
    shape: Format = Listing.text,
) -> None:
    """Find data categories and purposes by a word.

    With a policy also its own terms, facts and recipients. Exits with 1 when there is none.
    """
    known = list(_terms(policy))
    found = [entry for entry in known if _holds(word, *entry[1:])]
    if shape is Listing.json:
        listed = [{"kind": kind, "term": key, "says": says} for kind, key, says in found]
        say_json({"schema": "policyguard.terms/1", "terms": listed})
    else:
        for line in rows_in_columns(iter(found)):
            say(line)
        if not found:
            near = difflib.get_close_matches(word, [key for _, key, _ in known], n=3, cutoff=0.5)
            hint = f"; similar: {', '.join(near)}" if near else ""
            say(f"no term holds `{word}`{hint}")
    raise typer.Exit(Exit.CLEAN if found else Exit.FINDINGS)


def _holds(word: str, key: str, says: str) -> bool:
    return word.casefold() in key.casefold() or word.casefold() in says.casefold()


def _terms(word: str) -> Iterator[tuple[str, str, str]]:
    from policyguard.policy.taxonomy import built_in  # noqa: PLC0415 - not for `--help`

    policy = load(word)[0] if word else None
    words = policy.words if policy else built_in()
    trees: dict[str, Mapping[str, str]] = {
        "data": words.data.phrases,
        "purpose": words.purposes.phrases,
        "fact": words.facts.phrases,
    }
    if policy:
        trees["recipient"] = {name: who.kind for name, who in policy.everyone.items()}
    for kind, tree in trees.items():
        for key in sorted(tree):
            yield kind, key, tree[key]


def explain(
    *,
    code: Annotated[str, typer.Argument(metavar="CODE", help="PGnnn, as in a message.")],
    shape: Format = Listing.text,
) -> None:
    """Explain the code of an error or warning."""
    from policyguard.codes import CODES  # noqa: PLC0415 - not for `--help`

    name = code.strip().upper()
    name = f"PG{name}" if name.isascii() and name.isdigit() else name
    entry = CODES.get(name)
    if entry is None:
        raise MistakeError(f"explain: no code `{code}`", f"there are {', '.join(CODES)}")
    if shape is Listing.json:
        say_json({"schema": "policyguard.explain/1", "code": name, **entry._asdict()})
        return
    say(f"{name}: {entry.title}", colour="bold")
    for text in (entry.meaning, f"What to do: {entry.mend}"):
        say()
        for line in wrapped(text):
            say(line)


def schema(
    *,
    kind: Annotated[SchemaKind, typer.Option(help="Which file it describes.")] = SchemaKind.policy,
) -> None:
    """Print the JSON Schema of a file, for editors."""
    say_json(_schema(kind))


def _schema(kind: SchemaKind) -> Mapping[str, Any]:
    from policyguard.policy import jsonschema  # noqa: PLC0415 - not for `--help`

    if kind is SchemaKind.config:
        from policyguard.config import Settings  # noqa: PLC0415 - as above

        return {
            "$schema": "https://json-schema.org/draft/2020-12/schema",
            **Settings.model_json_schema(by_alias=True),
        }
    return (
        jsonschema.data_map_schema() if kind is SchemaKind.data_map else jsonschema.policy_schema()
    )


def config(
    *,
    effective: Annotated[
        bool, typer.Option("--effective", help="What counts in the end, and why (the default).")
    ] = True,
    file: Annotated[
        str, typer.Option("--config", metavar="FILE", help="Instead of the nearest one.")
    ] = "",
    shape: Format = Listing.text,
) -> int:
    """Print the configuration as the guard would use it.

    That is the file, the environment, and the floor that the policy sets. An expired waiver is a
    finding.
    """
    from policyguard.config import load_config  # noqa: PLC0415 - not for `--help`
    from policyguard.enforce.modes import STRICTNESS  # noqa: PLC0415 - as above

    del effective
    word = os.environ.get("POLICYGUARD_MODE")
    if word is not None and word.strip() not in STRICTNESS:
        told = f"unknown word `{word}`, which counts as `block`"
        complain(f"policyguard: config: POLICYGUARD_MODE: {told} (one of {', '.join(STRICTNESS)})")
    found = load_config(find_file(file, "policyguard.toml") if file else None).effective()
    if shape is Listing.json:
        say_json(found)
    else:
        for key, value in found.items():
            for line in _setting(key, value) if key != "schema" else ():
                say(line)
    for waived in found["expired_waivers"]:
        complain(f"policyguard: config: PG206 a waiver has expired: {waived}")
    return Exit.FINDINGS if found["expired_waivers"] else Exit.CLEAN


_NOTHING: Final[tuple[object, ...]] = (None, "", [], {})
# These have commas of their own.
_SENTENCES: Final = ("gaps", "expired_waivers")


def _setting(key: str, value: Any) -> Iterator[str]:
    if value in _NOTHING:
        yield f"{key}: none"
    elif isinstance(value, list) and all(isinstance(item, dict) for item in value):
        yield f"{key}:"
        yield from (f"  {_flat(item)}" for item in value)
    elif isinstance(value, dict):
        yield f"{key}: {_flat(value)}"
    elif key in _SENTENCES and len(value) > 1:
        yield f"{key}:"
        yield from (f"  {sentence}" for sentence in value)
    elif isinstance(value, list):
        yield f"{key}: {', '.join(map(str, value))}"
    else:
        yield f"{key}: {str(value).lower() if isinstance(value, bool) else value}"


def _flat(item: Mapping[str, Any]) -> str:
    parts = []
    for key, value in item.items():
        inner = f"({_flat(value)})" if isinstance(value, dict) else value
        parts.append(f"{key} {inner}")
    return ", ".join(parts)
