"""`--fact` words as facts: `consent:marketing=true`, `age=20`, `region=EU`.

Layer: cli. In a running program a fact that can't be read counts as unknown; here a person typed
it, so it is a mistake. Start reading at `read_facts`.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterator, Sequence
from typing import Any, Final

from policyguard.cli.output import MistakeError
from policyguard.policy.durations import parse_duration
from policyguard.policy.flow import OLDEST, TRANSPORTS
from policyguard.policy.regions import is_region, suggest_region
from policyguard.policy.taxonomy import Taxonomy, Terms

_NAMED: Final = ("consent", "opt_out", "facts")
_PLAIN: Final = ("restricted", "legal_request", "age", "region", "transport", "data_age")
_DIGITS: Final = 3


def read_facts(given: Sequence[str]) -> dict[str, Any]:
    """The context of a flow, as a truth table writes it.

    Raises:
        MistakeError: a word that isn't a fact, or one that is given twice.
    """
    context: dict[str, Any] = {}
    for word in given:
        key, equals, text = word.partition("=")
        kind, colon, name = key.strip().partition(":")
        if not equals:
            raise _wrong(word, "needs `name=value`", "for example age=20 or consent:marketing=true")
        value = _value(word, kind, text.strip(), named=bool(colon and name))
        box = context.setdefault(kind, {}) if kind in _NAMED else context
        inner = name if kind in _NAMED else kind
        if inner in box:
            raise _wrong(word, "is given twice")
        box[inner] = value
    return context


def unheard(context: dict[str, Any], words: Taxonomy) -> Iterator[str]:
    """Sentences about names in a context that the policy doesn't know: they count for nothing."""
    trees: tuple[tuple[str, str, Terms], ...] = (
        ("consent", "purpose", words.purposes),
        ("opt_out", "purpose", words.purposes),
        ("facts", "fact", words.facts),
    )
    for key, kind, tree in trees:
        for name in context.get(key, {}):
            known = name in tree if kind == "fact" else tree.known(name)
            if not known:
                near = tree.nearest(name)
                hint = f"; did you mean `{near[0]}`?" if near else ""
                told = f"the policy knows no such {kind}, so it is ignored"
                yield f"--fact {key}:{name}: {told}{hint}"


def _value(word: str, kind: str, text: str, *, named: bool) -> Any:
    if kind in _NAMED and not named:
        what = "NAME" if kind == "facts" else "PURPOSE"
        raise _wrong(word, f"needs a name after `{kind}`", f"write {kind}:{what}=true")
    if kind not in _NAMED and (named or kind not in _PLAIN):
        near = difflib.get_close_matches(kind, (*_NAMED, *_PLAIN), n=1)
        hint = f"did you mean `{near[0]}`?" if near and not named else ""
        shown = (*(f"{k}:NAME" for k in _NAMED), *_PLAIN)
        raise _wrong(word, "is no fact", hint or f"there are: {', '.join(shown)}")
    if kind == "age":
        return _age(word, text)
    if kind == "region":
        return _region(word, text)
    if kind == "transport":
        if text not in TRANSPORTS:
            raise _wrong(word, "is no transport", f"one of {', '.join(sorted(TRANSPORTS))}")
        return text
    if kind == "data_age":
        return _duration(word, text)
    if text not in ("true", "false"):
        raise _wrong(word, "is neither true nor false", "leave it out if it is not known")
    return text == "true"


def _age(word: str, text: str) -> int:
    if text.isascii() and text.isdigit() and len(text) <= _DIGITS and int(text) <= OLDEST:
        return int(text)
    raise _wrong(word, "is no age in whole years", f"0 to {OLDEST}")


def _region(word: str, text: str) -> str:
    if not is_region(text):
        near = suggest_region(text)
        hint = f"did you mean `{near}`?" if near else "use codes such as DE, US-CA, EU or EEA"
        raise _wrong(word, "is no region", hint)
    return text


def _duration(word: str, text: str) -> str:
    try:
        parse_duration(text)
    except ValueError:
        # Denies: what can't be read as an age of data isn't taken for one.
        raise _wrong(word, "is no ISO 8601 duration", "for example P6M or P45D") from None
    return text


def _wrong(word: str, what: str, hint: str = "") -> MistakeError:
    # The name alone: what is known about a person doesn't belong into a terminal's log.
    return MistakeError(f"decide: --fact {word.partition('=')[0]}: {what}", hint)
