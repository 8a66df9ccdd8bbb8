"""Whether every word of a policy file names something: terms, recipients, facts, clauses, ids.

Layer: policy. Start reading at `check_references`.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Sequence

from policyguard.errors import Problem
from policyguard.policy.flow import CONTEXT_KEYS
from policyguard.policy.rules import ANY, ANYONE, Cover, Except, Permit, Policy, Retention, Rule
from policyguard.policy.source import Source
from policyguard.policy.suggest import Suggestions
from policyguard.policy.taxonomy import Taxonomy, built_in, parents_missing

Path = tuple[str | int, ...]
LEGAL_REQUEST = "legal_request"
_ASKING = frozenset({"consent", "opt_out", "facts"})


def check_references(
    source: Source, merged: Policy, sources: Sequence[Source], near: Suggestions
) -> list[Problem]:
    """Every word of one file that names nothing, with its place and the nearest name.

    Args:
        source: the file.
        merged: the whole policy, whose names count.
        sources: all files, parents first; names of their broken parts are not reported again.
        near: finds the nearest names; shared by the files of one run.

    Cost: O(words), and that of the suggestions.
    """
    broken = frozenset().union(*(s.broken for s in sources))
    return list(_Check(source, merged, broken, near).all(sources))


class _Check:
    def __init__(
        self, source: Source, merged: Policy, broken: Collection[str], near: Suggestions
    ) -> None:
        self.near = near
        self.source, self.model, self.merged = source, source.model, merged
        self.words: Taxonomy = merged.words
        self.recipients = merged.everyone
        self.clauses = merged.notice.clauses
        self.broken = broken

    def all(self, sources: Sequence[Source]) -> Iterator[Problem]:
        yield from self._terms()
        yield from self._own_facts()
        yield from self._recipients()
        yield from self._ids(sources)
        for index, rule in enumerate(self.model.rules):
            if self._plainly_right(rule):
                continue
            yield from self._rule(rule, self.source.path("rules", index))
        for index, kept in enumerate(self.model.retention):
            yield from self._retention(kept, self.source.path("retention", index))
        for index, promise in enumerate(self.model.obligations):
            path = self.source.path("obligations", index)
            yield from self._cites(promise.cites, path)
        for index, root in enumerate(self.model.named_only):
            path = self.source.path("named_only", index)
            yield from self._data(root.data, (*path, "data"))
            yield from self._cites(root.cites, path)
        for index, change in enumerate(self.model.purpose_changes or ()):
            path = self.source.path("purpose_changes", index)
            yield from self._purposes([change.from_], (*path, "from"))
            yield from self._purposes([change.to], (*path, "to"))

    def _say(self, code: str, message: str, path: Path, hint: str = "") -> Problem:
        return self.source.document.problem(code, message, path, hint)

    def _terms(self) -> Iterator[Problem]:
        for kind in ("data", "purposes"):
            own = getattr(self.model.terms, kind)
            shipped = getattr(built_in(), kind)
            added = [term for term in own if term not in shipped]
            for term in parents_missing(added, getattr(self.words, kind)):
                hint = "hang it below a term that exists; `policyguard terms WORD` finds one"
                message = f"`{term}` hangs below nothing that is known"
                yield self._say("PG119", message, ("terms", kind, term), hint)
            for term, says in own.items():
                if term in shipped and shipped.phrases[term] != says:
                    yield self._warn(term, ("terms", kind, term))

    def _own_facts(self) -> Iterator[Problem]:
        for name in self.model.terms.facts:
            if name in CONTEXT_KEYS:
                message = f"`{name}` is a fact that every policy has"
                yield self._say("PG109", message, ("terms", "facts", name), "give it another name")

    def _asked(self, path: Path) -> dict[str, Path]:
        """The words that a condition asks for, with their paths; depth is capped by the loader."""
        node = self.source.document.tree
        for step in path:
            node = node[step]
        found: dict[str, Path] = {}
        stack: list[tuple[object, Path]] = [(node, path)]
        while stack:
            node, where = stack.pop()
            if isinstance(node, dict):
                for key, inner in node.items():
                    if key in _ASKING and isinstance(inner, dict):
                        found |= {word: (*where, key, word) for word in inner}
                    else:
                        stack.append((inner, (*where, key)))
            elif isinstance(node, list):
                stack += [(inner, (*where, i)) for i, inner in enumerate(node)]
        return found

    def _warn(self, term: str, path: Path) -> Problem:
        line, col = self.source.document.place(path)
        message = f"`{term}` is a built-in term; its own meaning counts"
        file = self.source.document.file
        hint = "remove it, or add a term below it"
        return Problem(file, line, col, "PG309", message, hint, "warning")

    def _recipients(self) -> Iterator[Problem]:
        for name in self.model.recipients:
            if name in (*ANY, *ANYONE):
                message = f"`{name}` is the word for all, and no recipient's id"
                path = ("recipients", name)
                yield self._say("PG109", message, path, "give the recipient another name")

    def _ids(self, sources: Sequence[Source]) -> Iterator[Problem]:
        """Ids written twice, in this file or in a parent."""
        seen: set[str] = set()
        for other in sources:
            if other is self.source:
                break
            seen |= {rule.id for rule in other.model.rules}
            seen |= {kept.id for kept in other.model.retention}
        duties = {d.id for s in sources[: sources.index(self.source)] for d in s.model.obligations}
        for section, known in (("rules", seen), ("retention", seen), ("obligations", duties)):
            for index, part in enumerate(getattr(self.model, section)):
                if part.id in known:
                    path = (*self.source.path(section, index), "id")
                    yield self._say("PG110", f"id `{part.id}` is used twice", path, "rename one")
                known.add(part.id)

    def _plainly_right(self, rule: Rule) -> bool:
        """A quick look that spares nearly every rule the slow one, which finds places."""
        cover = rule.permit or rule.forbid
        if cover is None or rule.except_ is not None:
            return False
        data, purposes = self.words.data.phrases, self.words.purposes.phrases
        if cover.data is not None and cover.data != ANY and not all(d in data for d in cover.data):
            return False
        named = () if cover.purposes is None or cover.purposes == ANY else cover.purposes
        if not all(purpose in purposes for purpose in named):
            return False
        targets = () if cover.to is None or cover.to == ANYONE else cover.to
        if not all(type(one) is not str or one in self.recipients for one in targets):
            return False
        when = rule.when
        if when is not None and not (
            all(purpose in purposes for purpose in when.purposes())
            and all(name in self.words.facts for name in when.fact_names())
        ):
            return False
        return not self.clauses or all(clause in self.clauses for clause in rule.cites)

    def _rule(self, rule: Rule, path: Path) -> Iterator[Problem]:
        if rule.permit is not None:
            yield from self._cover(rule.permit, (*path, "permit"))
        if rule.forbid is not None:
            yield from self._cover(rule.forbid, (*path, "forbid"))
        yield from self._excepts(rule.excepts, path)
        if rule.when is not None:
            asked = self._asked((*path, "when"))
            for term in rule.when.purposes():
                yield from self._purposes([term], asked.get(term, path))
            for name in rule.when.fact_names():
                yield from self._facts([name], asked.get(name, path))
        yield from self._cites(rule.cites, path)

    def _retention(self, kept: Retention, path: Path) -> Iterator[Problem]:
        yield from self._data(kept.data, (*path, "data"))
        yield from self._excepts(kept.excepts, path)
        named = [name for name in kept.unless if name != LEGAL_REQUEST]
        yield from self._facts(named, (*path, "unless"))
        yield from self._cites(kept.cites, path)

    def _excepts(self, excepts: Iterable[Except], path: Path) -> Iterator[Problem]:
        for index, part in enumerate(excepts):
            yield from self._cover(part, (*path, "except", index))

    def _cover(self, cover: Permit | Cover, path: Path) -> Iterator[Problem]:
        yield from self._data(cover.data or (), (*path, "data"))
        yield from self._purposes(cover.purposes or (), (*path, "purposes"))
        if cover.to is None or cover.to == ANYONE:
            return
        for index, target in enumerate(cover.to):
            if isinstance(target, str) and target not in self.recipients:
                yield from self._unknown(
                    "PG106", "recipient", target, self.recipients, (*path, "to", index)
                )

    def _data(self, terms: Sequence[str], path: Path) -> Iterator[Problem]:
        if terms == ANY:
            return
        for index, term in enumerate(terms):
            if term not in self.words.data and term not in self.broken:
                near = self.near.term(term, self.words.data)
                yield self._term("PG104", "data category", term, near, (*path, index))

    def _purposes(self, terms: Iterable[str], path: Path) -> Iterator[Problem]:
        if terms == ANY:
            return
        for index, term in enumerate(terms):
            if term not in self.words.purposes and term not in self.broken:
                near = self.near.term(term, self.words.purposes)
                yield self._term("PG105", "purpose", term, near, (*path, index))

    def _term(self, code: str, kind: str, term: str, near: str, path: Path) -> Problem:
        hint = f"did you mean `{near}`?" if near else "`policyguard terms WORD` finds terms"
        return self._say(code, f"unknown {kind} `{term}`", path, hint)

    def _facts(self, names: Iterable[str], path: Path) -> Iterator[Problem]:
        for name in names:
            if name not in self.words.facts:
                yield from self._unknown("PG108", "fact", name, self.words.facts.phrases, path)

    def _cites(self, cites: Iterable[str], path: Path) -> Iterator[Problem]:
        if not self.clauses:
            return  # without a notice there is nothing to point at; the lint says so
        for index, clause in enumerate(cites):
            if clause not in self.clauses:
                where = (*path, "cites", index)
                yield from self._unknown("PG107", "clause", clause, self.clauses, where)

    def _unknown(
        self, code: str, kind: str, name: str, known: Collection[str], path: Path
    ) -> Iterator[Problem]:
        if name in self.broken:
            return
        near = self.near.name(name, known)
        where = {"fact": "terms.facts", "clause": "notice.clauses", "recipient": "recipients"}[kind]
        hint = f"did you mean `{near}`?" if near else f"declare it under `{where}`"
        yield self._say(code, f"unknown {kind} `{name}`", path, hint)
