"""What the demo prints: plain tables, at most 100 columns wide, also through a pipe."""

from __future__ import annotations

from collections import defaultdict
from textwrap import wrap
from typing import TYPE_CHECKING, Final

from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from lumipic.journey import HOSTS

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from typing import TextIO

    from lumipic.journey import Outcome, Visit
    from lumipic.watching import Sighting

WIDTH: Final = 100
_MANY: Final = 4  # from so many on visitors are counted, not named
_PLAIN: Final = box.Box("    \n    \n -- \n    \n    \n    \n    \n    \n", ascii=True)
_COLOURS: Final = {"allow": "green", "deny": "red", "conditional": "yellow"}


class Page:
    """Writes the demo's sections to a stream."""

    def __init__(self, out: TextIO) -> None:
        self._console = Console(file=out, width=WIDTH, highlight=False, soft_wrap=False)

    def heading(self, text: str) -> None:
        """A line that starts a section."""
        self._console.print()
        self._console.print(Text(text, style="bold"))
        rule = " " * (len(text) - len(text.lstrip())) + "-" * len(text.lstrip())
        self._console.print(Text(rule, style="bold"))

    def lines(self, *lines: str, style: str = "") -> None:
        """Lines as they are; what is too long goes on below, a little further in."""
        for line in lines:
            indent = " " * (len(line) - len(line.lstrip()) + 4)
            folded = wrap(line, WIDTH, subsequent_indent=indent, break_on_hyphens=False)
            for part in folded or [""]:
                self._console.print(Text(part, style=style))

    def routes(self, rows: Iterable[tuple[str, str, str]]) -> None:
        """Method, path and purpose of every route."""
        table = self._table("route", "", "purpose (from the configuration)")
        for row in rows:
            table.add_row(*row)
        self._console.print(table)

    def visits(self, visits: Iterable[Visit], outcomes: Sequence[Outcome]) -> None:
        """Who came, and what the service answered to each step."""
        table = self._table("visitor", "lives in", "is", "steps, and those that were stopped")
        for visit in visits:
            mine = [outcome for outcome in outcomes if outcome.visitor.name == visit.visitor.name]
            fine = sum(outcome.reply.ok for outcome in mine)
            stopped = [o.step.name for o in mine if not o.reply.ok]
            what = f"{fine} went through" + (f"; stopped: {', '.join(stopped)}" if stopped else "")
            table.add_row(visit.visitor.name, visit.visitor.country, visit.who, what)
        self._console.print(table)

    def departures(self, outcomes: Iterable[Outcome]) -> None:
        """Every flow to somebody else: verdict and clauses, and what really arrived."""
        table = Table(box=_PLAIN, show_lines=True, padding=(0, 1, 0, 0))
        for name, width in (("flow", 46), ("verdict, clauses", 16), ("seen at", 18)):
            table.add_column(name, width=width, overflow="fold")
        table.add_column("arrived", width=11, overflow="fold")
        for sighting, places in _grouped(outcomes, inside=False):
            data = sighting.flow.data or f"(can't tell: {sighting.source})"
            form = f" ({', '.join(sorted(sighting.flow.form))})" if sighting.flow.form else ""
            flow = f"{data}{form}\nfor {sighting.flow.purpose}\nto {sighting.flow.recipient}"
            table.add_row(flow, _verdict(sighting), _places(places), _arrived(sighting, places))
        self._console.print(table)

    def reads(self, outcomes: Iterable[Outcome]) -> None:
        """Every flow to the service itself: what it reads from its own database."""
        table = Table(box=_PLAIN, show_lines=True, padding=(0, 1, 0, 0))
        for name, width in (("data", 30), ("purpose, and where", 43), ("verdict, clauses", 20)):
            table.add_column(name, width=width, overflow="fold")
        for sighting, places in _grouped(outcomes, inside=True):
            why = f"{sighting.flow.purpose}\n{_places(places)}"
            table.add_row(sighting.flow.data, why, _verdict(sighting))
        self._console.print(table)

    def _table(self, *columns: str) -> Table:
        table = Table(box=_PLAIN, padding=(0, 1, 0, 0))
        for column in columns:
            table.add_column(column, overflow="fold")
        return table


def _grouped(outcomes: Iterable[Outcome], *, inside: bool) -> list[tuple[Sighting, list[Outcome]]]:
    """Equal sightings once, with the steps that showed them; what passes comes first."""
    groups: dict[tuple[object, ...], tuple[Sighting, list[Outcome]]] = {}
    for outcome in outcomes:
        for sighting in outcome.seen:
            if (sighting.flow.recipient == "self") is not inside:
                continue
            key = (sighting.flow, sighting.verdict, sighting.clauses, sighting.effect)
            _, places = groups.setdefault(key, (sighting, []))
            if outcome not in places:
                places.append(outcome)
    order = {"allow": 0, "conditional": 1, "deny": 2}
    return sorted(groups.values(), key=lambda group: order[group[0].verdict])


def _verdict(sighting: Sighting) -> Text:
    said = Text(sighting.verdict, style=_COLOURS[sighting.verdict])
    said.append(f"\n{sighting.effect}" if sighting.effect else "")
    said.append("\n" + " ".join(sighting.clauses), style="default")
    return said


def _places(places: Iterable[Outcome]) -> str:
    """Step names with their visitors."""
    people: dict[str, list[str]] = defaultdict(list)
    for outcome in places:
        people[outcome.step.name].append(outcome.visitor.name)
    return "\n".join(
        f"{step}: {', '.join(names) if len(names) < _MANY else f'{len(names)} visitors'}"
        for step, names in people.items()
    )


def _arrived(sighting: Sighting, places: Sequence[Outcome]) -> str:
    """How many requests, how much, and whether it is what the service sent."""
    host = HOSTS.get(sighting.flow.recipient, "")
    requests, size, same = 0, 0, True
    for outcome in places:
        sent = {letter.wire for letter in outcome.meant}
        for arrival in outcome.arrived:
            if arrival.host == host:
                requests, size = requests + 1, size + len(arrival.body)
                same = same and arrival.wire in sent
    if not requests:
        return "nothing"
    return f"{requests} request{'s' * (requests > 1)}\n{size:,} B\n{'' if same else 'NOT '}as sent"
