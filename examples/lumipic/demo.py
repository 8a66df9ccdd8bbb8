"""The demo: Lumipic under its policy, with real visitors, a real database and real requests.

Run it with `policyguard demo`, `make demo` or `python examples/lumipic/demo.py`.
"""

from __future__ import annotations

import logging
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Final, TextIO

HERE: Final = Path(__file__).resolve().parent
if str(HERE.parent) not in sys.path:  # run by its path, it has to say where its package is
    sys.path.insert(0, str(HERE.parent))

from lumipic import promises  # noqa: E402  needs the path above
from lumipic.app import list_routes  # noqa: E402
from lumipic.journey import visits, walk  # noqa: E402
from lumipic.printing import Page  # noqa: E402
from lumipic.protection import CONFIGURATION, protected  # noqa: E402
from lumipic.running import running  # noqa: E402
from lumipic.watching import Watch, described, violations  # noqa: E402
from policyguard.enforce.modes import Modes  # noqa: E402

if TYPE_CHECKING:
    from lumipic.journey import Outcome


def main(out: TextIO | None = None, configuration: Path = CONFIGURATION) -> int:
    """Run the demo.

    Args:
        out: where it prints; standard output when not given.
        configuration: the guard's configuration.

    Returns:
        0 when every promise was kept, else 1.
    """
    page, watch = Page(out or sys.stdout), Watch()
    logging.getLogger("policyguard").setLevel(logging.ERROR)  # the page says it all
    before = len(violations())
    with protected(configuration, watch) as protection:
        guard = protection.guard
        page.heading("1. The service: FastAPI, SQLAlchemy and httpx, on a real port")
        page.routes(
            (method, path, guard.route_purpose(method, path) or "-")
            for method, path in list_routes()
        )
        with running(guard, protection.around) as stage:
            outcomes = [outcome for visit in visits() for outcome in walk(stage, visit, watch)]
    page.heading("2. The visitors")
    page.visits(visits(), outcomes)
    page.heading("3. Every flow, and what the outside world really received")
    page.departures(outcomes)
    page.heading("   and what the service read from its own database")
    page.reads(outcomes)
    page.heading("4. The new feature: what the developer reads")
    headline = promises.headline(outcomes)
    page.lines(*(headline.message.splitlines() if headline else ["(no violation was seen)"]))
    page.heading("5. The same violation in OpenTelemetry")
    events = violations()[before:]
    event = promises.event_of(headline, events)
    page.lines(*(described(event) if event else ["(no event was exported)"]))
    said = {sighting.message for sighting in watch.sightings}
    said |= {"\n".join(described(record)) for record in events}
    page.heading("6. The promises")
    promised = promises.check(outcomes, stage.world.arrivals, said, event)
    promised["with the guard off embedding and address do arrive, so this search finds them"] = [
        *promises.leaks(unguarded(configuration))
    ]
    return _judge(page, promised)


def unguarded(configuration: Path) -> list[Outcome]:
    """The first visit once more, with the guard in mode off: what would have happened."""
    watch = Watch()
    with protected(configuration, watch) as protection:
        protection.guard.modes = Modes(default="off")
        with running(protection.guard, protection.around) as stage:
            return list(walk(stage, visits()[0], watch))


def _judge(page: Page, promised: dict[str, list[str]]) -> int:
    """Print each promise with what broke it; the exit code."""
    for promise, broken in promised.items():
        page.lines(f"{'BROKEN' if broken else 'kept  '}  {promise}", style="red" if broken else "")
        page.lines(*(f"          {text}" for text in broken))
    return int(any(promised.values()))


if __name__ == "__main__":
    raise SystemExit(main())
