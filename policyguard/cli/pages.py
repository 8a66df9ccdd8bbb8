"""A policy as a page: each clause of the notice beside the rules that stand for it.

Layer: cli. Start reading at `page_of`, then `as_text`.
"""

from __future__ import annotations

import html
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from policyguard.cli.output import printable
from policyguard.cli.sentences import Speaker
from policyguard.cli.shapes import wrapped
from policyguard.policy.rules import Policy

_STYLE: Final = """
body { font: 16px/1.5 system-ui, sans-serif; max-width: 70rem; margin: 2rem auto; padding: 0 1rem }
table { border-collapse: collapse; width: 100% }
th, td { border-top: 1px solid #bbb; padding: .6rem; text-align: left; vertical-align: top }
td:first-child { width: 40% } code { font-size: .85em; color: #555 }
ul { margin: 0; padding-left: 1.2rem } .gap { color: #a00 } .un { color: #555; font-style: italic }
"""


@dataclass(frozen=True, slots=True)
class Entry:
    """One part of the policy in words.

    Attributes:
        name: the id of the rule, retention or obligation.
        says: the sentence.
    """

    name: str
    says: str


@dataclass(frozen=True, slots=True)
class Section:
    """A clause and what stands for it.

    Attributes:
        clause: its id; "" for what cites no clause.
        says: the clause in the policy's words.
        unenforced: why no rule stands for it, or "".
        entries: what cites it.
    """

    clause: str
    says: str
    unenforced: str
    entries: tuple[Entry, ...]

    @property
    def is_gap(self) -> bool:
        """Nothing cites the clause, and nobody says why."""
        return bool(self.clause) and not self.entries and not self.unenforced


@dataclass(frozen=True, slots=True)
class PolicyPage:
    """A policy to read.

    Attributes:
        title: of the policy and its notice.
        about: id, version and digest.
        sections: clauses in the order of the file, then what cites none.
    """

    title: str
    about: str
    sections: tuple[Section, ...]


def page_of(policy: Policy, digest: str) -> PolicyPage:
    """The page of a policy. Cost: O(parts)."""
    cited: dict[str, list[Entry]] = {clause: [] for clause in policy.notice.clauses}
    homeless: list[Entry] = []
    for entry, clauses in _entries(policy):
        for clause in clauses:
            cited.setdefault(clause, []).append(entry)
        if not clauses:
            homeless.append(entry)
    sections = []
    for clause, entries in cited.items():
        told = policy.notice.clauses.get(clause)
        says, unenforced = (told.says, told.unenforced or "") if told else ("", "")
        sections.append(Section(clause, _line(says), _line(unenforced), tuple(entries)))
    if homeless:
        sections.append(Section("", "parts that cite no clause", "", tuple(homeless)))
    notice = policy.notice
    dated = f", updated {notice.updated}" if notice.updated else ""
    titles = [text for text in (policy.title or policy.id, notice.title) if text]
    about = f"policy {policy.id}, version {policy.version or 'none'}, digest {digest}"
    return PolicyPage(_line(": ".join(titles) + dated), _line(about), tuple(sections))


def _entries(policy: Policy) -> Iterator[tuple[Entry, tuple[str, ...]]]:
    speaker = Speaker(policy)
    for root in policy.named_only:
        yield Entry("named_only", _line(speaker.named_only(root.data))), root.cites
    for rule in policy.rules:
        yield Entry(rule.id, _line(speaker.rule(rule))), rule.cites
    for kept in policy.retention:
        yield Entry(kept.id, _line(speaker.retention(kept))), kept.cites
    for promise in policy.obligations:
        yield Entry(promise.id, _line(speaker.obligation(promise))), promise.cites


def _line(text: str) -> str:
    """On one line, with control characters escaped: the text is a stranger's."""
    return printable(" ".join(text.split()))


def as_text(page: PolicyPage) -> str:
    """For a terminal."""
    lines = [page.title, page.about]
    for section in page.sections:
        head = f"{section.clause}: {section.says}" if section.clause else section.says
        lines += ["", *wrapped(head)]
        for entry in section.entries:
            lines += wrapped(f"{entry.says} [{entry.name}]", "  - ")
        if section.unenforced:
            lines += wrapped(f"Not enforced: {section.unenforced}", "  ~ ")
        elif section.is_gap:
            lines.append("  ! nothing stands for this clause")
    return "\n".join(lines) + "\n"


def as_markdown(page: PolicyPage) -> str:
    """For a document or a pull request."""
    lines = [f"# {_markdown(page.title)}", "", _markdown(page.about)]
    for section in page.sections:
        head = f"Clause {section.clause}" if section.clause else "Without a clause"
        lines += ["", f"## {_markdown(head)}", "", f"> {_markdown(section.says)}", ""]
        lines += [f"- {_markdown(entry.says)} (`{entry.name}`)" for entry in section.entries]
        if section.unenforced:
            lines.append(f"*Not enforced:* {_markdown(section.unenforced)}")
        elif section.is_gap:
            lines.append("**Nothing stands for this clause.**")
    return "\n".join(lines) + "\n"


def _markdown(text: str) -> str:
    """A stranger's text as plain words: neither markup nor HTML."""
    escaped = "".join(f"\\{c}" if c in "\\`*_[]<>#|~" else c for c in text)
    return escaped.replace("&", "&amp;")


def as_html(page: PolicyPage) -> str:
    """One file without scripts and without network."""
    title = html.escape(page.title)
    rows = "\n".join(_row(section) for section in page.sections)
    return (
        f'<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n<title>{title}</title>'
        f"\n<style>{_STYLE}</style>\n</head>\n<body>\n<h1>{title}</h1>\n"
        f"<p>{html.escape(page.about)}</p>\n<table>\n"
        "<tr><th>The notice says</th><th>The policy says</th></tr>\n"
        f"{rows}\n</table>\n</body>\n</html>\n"
    )


def _row(section: Section) -> str:
    head = f"<strong>{html.escape(section.clause)}</strong> " if section.clause else ""
    items = "".join(
        f"<li>{html.escape(entry.says)} <code>{html.escape(entry.name)}</code></li>"
        for entry in section.entries
    )
    body = f"<ul>{items}</ul>" if items else ""
    if section.unenforced:
        body += f'<p class="un">Not enforced: {html.escape(section.unenforced)}</p>'
    elif section.is_gap:
        body += '<p class="gap">Nothing stands for this clause.</p>'
    return f"<tr><td>{head}{html.escape(section.says)}</td><td>{body}</td></tr>"
